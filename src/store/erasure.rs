//! Erasing what is kept of one person: which entries are about them, and what is left of those.

use std::collections::BTreeSet;

use super::{JournalEntry, Recorded};
use crate::domain::undo::{Before, Overwritten, Replaced};
use crate::domain::{AccountId, Digest, LinkId, Side, Sides};

/// A person on one connection: the accounts and the links that are theirs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Person {
    /// Their accounts.
    pub accounts: Sides<BTreeSet<AccountId>>,
    /// Their links.
    pub links: BTreeSet<LinkId>,
}

/// What was erased, or would be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Erased {
    /// Values that lost a conflict: the entries stay, without the values.
    pub conflicts: u64,
    /// Recorded changes: they go whole.
    pub history: u64,
    /// Writes whose values before are kept for an undo: that there was a write stays, without the values.
    pub overwritten: u64,
}

/// What becomes of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is about somebody else, or holds nothing of the person any more.
    Stays,
    /// It stays as this text.
    Becomes(String),
    /// It goes.
    Goes,
}

impl Person {
    /// What becomes of an entry of the journal. One that nobody can read stays: whoever reads the journal is told of it.
    pub(super) fn of_journal(&self, stored: &str) -> Fate {
        let Ok(entry) = serde_json::from_str::<JournalEntry>(stored) else { return Fate::Stays };
        let has = |accounts: &BTreeSet<AccountId>, account: &Option<AccountId>| {
            account.as_ref().is_some_and(|account| accounts.contains(account))
        };
        let is_theirs = self.links.contains(&entry.link)
            || has(&self.accounts.a, &entry.accounts.a)
            || has(&self.accounts.b, &entry.accounts.b);
        if !is_theirs || entry.is_erased {
            return Fate::Stays;
        }
        let erased = JournalEntry { value: None, is_erased: true, ..entry };
        Fate::Becomes(serde_json::to_string(&erased).expect("domain types have string keys, so they are JSON"))
    }

    /// What becomes of the note of what a write has overwritten. One that nobody can read stays, likewise.
    pub(super) fn of_overwritten(&self, stored: &str) -> Fate {
        let Ok(mut write) = Overwritten::unpacked(stored) else { return Fate::Stays };
        let has = |side: Side| write.accounts[side].as_ref().is_some_and(|it| self.accounts[side].contains(it));
        let is_theirs = self.links.contains(&write.link) || has(Side::A) || has(Side::B);
        let is_held = |replaced: &Replaced| matches!(replaced.before, Before::Held(_));
        if !is_theirs || !write.values.iter().any(is_held) {
            return Fate::Stays;
        }
        for replaced in &mut write.values {
            (replaced.before, replaced.wrote) = (Before::Unknown, Digest(0));
        }
        Fate::Becomes(write.packed())
    }

    /// What becomes of a recorded change. One that nobody can read stays, likewise.
    pub(super) fn of_history(&self, stored: &str) -> Fate {
        let Ok(recorded) = Recorded::unpacked("", stored) else { return Fate::Stays };
        let change = &recorded.change;
        let mut links = recorded.link.iter().chain(&recorded.partner);
        let is_theirs = change.account().is_some_and(|account| self.accounts[change.side].contains(account))
            || links.any(|link| self.links.contains(&link.id));
        if is_theirs { Fate::Goes } else { Fate::Stays }
    }
}
