//! What people did: one entry when an act begins, one when it has ended. The entries are a [`chain`]: each carries a hash
//! over itself and the one before, so that one that is changed, removed or moved is found.
//!
//! An entry names accounts, links and letters by their ids. It never holds a value of an account, nor a secret.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::id::ConnectionName;
use super::time::Timestamp;

pub mod chain;

pub use chain::{ChainId, End, Flaw, Follower, Hash, Line};

/// Ids of one kind that an entry names at most; of more it tells how many.
pub const IDS_NAMED: usize = 100;

/// Characters of an id or of a word of a filter that an entry keeps at most.
const LONGEST_WORD: usize = 300;

/// Characters of a person's own words that an entry keeps at most.
pub const LONGEST_TEXT: usize = 1_000;

/// What a person did. A closed list: what reads, and what only tries, is no act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Verb {
    /// Dead letters were sent again, or a stopped retry was carried on.
    #[serde(rename = "dead.retry")]
    DeadRetry,
    /// Dead letters were closed for good.
    #[serde(rename = "dead.discard")]
    DeadDiscard,
    /// The list of open letters was made anew from the log.
    #[serde(rename = "dead.rebuild")]
    DeadRebuild,
    /// Held writes were let pass.
    #[serde(rename = "held.approve")]
    HeldApprove,
    /// Held writes were refused.
    #[serde(rename = "held.reject")]
    HeldReject,
    /// Two accounts were linked by hand.
    #[serde(rename = "links.add")]
    LinksAdd,
    /// A link was ended by hand.
    #[serde(rename = "links.remove")]
    LinksRemove,
    /// Accounts were linked from a list.
    #[serde(rename = "links.import")]
    LinksImport,
    /// Values that had lost were given back.
    #[serde(rename = "conflicts.give_back")]
    ConflictsGiveBack,
    /// A pin was taken away.
    #[serde(rename = "conflicts.unpin")]
    ConflictsUnpin,
    /// Writing was stopped.
    #[serde(rename = "pause")]
    Pause,
    /// Writing goes on.
    #[serde(rename = "resume")]
    Resume,
    /// A run was asked for.
    #[serde(rename = "sync")]
    Sync,
    /// The values that a run had written were taken back.
    #[serde(rename = "undo")]
    Undo,
    /// What is remembered of a person was erased.
    #[serde(rename = "forget")]
    Forget,
    /// The queues were declared.
    #[serde(rename = "topology")]
    Topology,
}

impl Verb {
    /// Every verb.
    pub const ALL: [Self; 16] = [
        Self::DeadRetry,
        Self::DeadDiscard,
        Self::DeadRebuild,
        Self::HeldApprove,
        Self::HeldReject,
        Self::LinksAdd,
        Self::LinksRemove,
        Self::LinksImport,
        Self::ConflictsGiveBack,
        Self::ConflictsUnpin,
        Self::Pause,
        Self::Resume,
        Self::Sync,
        Self::Undo,
        Self::Forget,
        Self::Topology,
    ];

    /// The word for it, as entries have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DeadRetry => "dead.retry",
            Self::DeadDiscard => "dead.discard",
            Self::DeadRebuild => "dead.rebuild",
            Self::HeldApprove => "held.approve",
            Self::HeldReject => "held.reject",
            Self::LinksAdd => "links.add",
            Self::LinksRemove => "links.remove",
            Self::LinksImport => "links.import",
            Self::ConflictsGiveBack => "conflicts.give_back",
            Self::ConflictsUnpin => "conflicts.unpin",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Sync => "sync",
            Self::Undo => "undo",
            Self::Forget => "forget",
            Self::Topology => "topology",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The way in which a person came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Door {
    /// The command line.
    Cli,
    /// The HTTP API, and the web console over it.
    Api,
}

impl Door {
    /// The word for it, as entries have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cli => "cli",
            Self::Api => "api",
        }
    }
}

/// What an act is about. Only ids and words of filters, never values.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The connection, where the person named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<ConnectionName>,
    /// Accounts, as `<system>:<id>` or by their ids alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accounts: Vec<String>,
    /// Letters, conflicts or runs by their ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<String>,
    /// How many more accounts and ids there were than these.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more: u64,
    /// What else decided what was meant: options by their names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl About {
    /// A connection, or all of them.
    pub fn connection(connection: Option<&ConnectionName>) -> Self {
        Self { connection: connection.cloned(), ..Self::default() }
    }

    /// With these accounts, as a person typed them. What looks like an address is left out: it may be one.
    pub fn accounts(mut self, accounts: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let accounts = accounts.into_iter().map(|account| account_named(account.as_ref()));
        self.more += fill(&mut self.accounts, accounts);
        self
    }

    /// With these letters, conflicts or runs.
    pub fn ids(mut self, ids: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let cut = ids.into_iter().map(|id| id_named(id.as_ref()));
        self.more += fill(&mut self.ids, cut);
        self
    }

    /// With an option, if it was given.
    pub fn option(mut self, name: &str, value: Option<impl fmt::Display>) -> Self {
        if let Some(value) = value {
            self.options.insert(name.to_owned(), cut(&value.to_string()));
        }
        self
    }

    /// With an option that has no value, if it was given.
    pub fn flag(self, name: &str, is_given: bool) -> Self {
        self.option(name, is_given.then_some("yes"))
    }
}

/// Adds what there is room for, and tells how many there was no room for.
fn fill(list: &mut Vec<String>, more: impl Iterator<Item = String>) -> u64 {
    let mut left = 0;
    for item in more {
        if list.len() < IDS_NAMED { list.push(item) } else { left += 1 }
    }
    left
}

fn cut(text: &str) -> String {
    text.chars().take(LONGEST_WORD).collect()
}

/// What stands for something that may be an address.
const ADDRESS: &str = "(an address)";

/// An account as a person typed it, without what may be an address.
pub(crate) fn account_named(text: &str) -> String {
    match (text.contains('@'), text.split_once(':')) {
        (false, _) => cut(text),
        (true, Some((system, _))) if !system.contains('@') => format!("{}:{ADDRESS}", cut(system)),
        (true, _) => ADDRESS.to_owned(),
    }
}

/// One `@` is part of the ids of letters about accounts.
fn id_named(text: &str) -> String {
    match text.split_once('@') {
        Some((of, account)) if account.contains('@') => format!("{}@{ADDRESS}", cut(of)),
        // Without a slash before it, it is no letter's.
        Some((of, _)) if !of.contains('/') => ADDRESS.to_owned(),
        _ => cut(text),
    }
}

/// Why a person did it, as they said themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// A reason from a list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// In their words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

impl Why {
    /// No longer than an entry keeps it.
    pub fn cut(self) -> Self {
        let text = self.text.map(|text| text.chars().take(LONGEST_TEXT).collect());
        Self { reason: self.reason.as_deref().map(cut), text }
    }

    fn is_silent(&self) -> bool {
        self.reason.is_none() && self.text.is_none()
    }
}

/// What an act is: the part of it that is known before it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Act {
    /// What is done.
    pub verb: Verb,
    /// What it is about.
    pub about: About,
    /// Why.
    pub why: Why,
}

impl Act {
    /// An act of which nobody said why.
    pub fn new(verb: Verb, about: About) -> Self {
        Self { verb, about, why: Why::default() }
    }
}

/// How an act stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It begins. An act of which nothing else is noted is under way, or was killed.
    Begun,
    /// It was done.
    Done,
    /// It was done, and something waits for a person.
    Attention,
    /// Nothing was done: what was asked for does not exist, or makes no sense.
    Refused,
    /// It failed. Part of it may have been done.
    Failed,
}

impl Outcome {
    /// The word for it, as entries have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Done => "done",
            Self::Attention => "attention",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// An entry. Its text, see [`Line`], has these fields in this order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The chain that it belongs to.
    pub chain: ChainId,
    /// Its place in it: 1, 2, 3, ...
    pub number: u64,
    /// When, in the store's clock.
    pub at: Timestamp,
    /// The number of the entry that began this act.
    pub act: u64,
    /// Who: `user@host`, or the name of an API token.
    pub by: String,
    /// Which way they came.
    pub door: Door,
    /// What they did.
    pub verb: Verb,
    /// What it is about; the entry that begins an act tells it, and the one that ends it adds what turned out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<About>,
    /// Why; the entry that begins an act tells it.
    #[serde(default, skip_serializing_if = "Why::is_silent")]
    pub why: Why,
    /// How it stands.
    pub outcome: Outcome,
    /// How much was done, by what was counted; the entry that ends an act tells it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counts: BTreeMap<String, u64>,
}

/// What stands between who asked for an act and who approved it.
const APPROVED_BY: &str = ", approved by ";

/// Who did an act that one person asked for and another one approved, as its entries name them.
pub fn by_both(asked: &str, approved: &str) -> String {
    format!("{asked}{APPROVED_BY}{approved}")
}

impl Entry {
    /// Whether this person did it, or was one of the two who did.
    pub fn is_by(&self, who: &str) -> bool {
        self.by == who || self.by.split(APPROVED_BY).any(|by| by == who)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verb_is_written_as_it_is_called() {
        for verb in Verb::ALL {
            assert_eq!(serde_json::to_value(verb).unwrap(), verb.as_str());
        }
    }

    /// Forgetting a person would be in vain if the audit named them by their address.
    #[test]
    fn what_may_be_an_address_is_not_kept() {
        let about = About::default()
            .accounts(["crm:005RM000001iKYtYAM", "ada@x.example", "scim:ada@x.example", "7"])
            .ids(["crm-scim/b@17", "crm-scim/b@ada@x.example", "crm-scim/a/00000000000000ab", "ada@x.example"]);
        assert_eq!(about.accounts, ["crm:005RM000001iKYtYAM", "(an address)", "scim:(an address)", "7"]);
        assert_eq!(
            about.ids,
            ["crm-scim/b@17", "crm-scim/b@(an address)", "crm-scim/a/00000000000000ab", "(an address)"]
        );
    }

    /// An entry is never larger than what it is for.
    #[test]
    fn long_words_are_cut() {
        let long = Some("x".repeat(LONGEST_TEXT + 1));
        let why = Why { reason: long.clone(), text: long }.cut();
        let lengths = [why.reason, why.text].map(|text| text.unwrap().len());
        assert_eq!(lengths, [LONGEST_WORD, LONGEST_TEXT]);
    }

    /// R78: what two did is found by the name of either.
    #[test]
    fn an_act_of_two_is_by_both() {
        let entry = |by: String| Entry {
            chain: ChainId(1),
            number: 1,
            at: Timestamp(1),
            act: 1,
            by,
            door: Door::Api,
            verb: Verb::Pause,
            about: None,
            why: Why::default(),
            outcome: Outcome::Begun,
            counts: BTreeMap::new(),
        };
        let both = entry(by_both("alice", "bob"));
        assert!(both.is_by("alice") && both.is_by("bob") && !both.is_by("ali"));
        assert!(entry("alice".to_owned()).is_by("alice") && !entry("alice".to_owned()).is_by("bob"));
    }

    #[test]
    fn of_many_ids_some_are_named_and_the_rest_is_counted() {
        let about = About::default().ids((0..IDS_NAMED + 7).map(|id| id.to_string()));
        assert_eq!((about.ids.len(), about.more), (IDS_NAMED, 7));
    }
}
