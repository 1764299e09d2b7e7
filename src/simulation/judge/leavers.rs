//! What must be true of whoever leaves and comes back, and of everybody else.

use super::{Records, UNREAD, Violation, is_off, violation};
use crate::domain::rules::{Departure, Leavers};
use crate::domain::{AccountId, AttributePath, Link, Side, Sides, Timestamp, Value};
use crate::simulation::people::{Edit, Person};
use crate::simulation::system::{Account, Author, Entry};

/// How long a deletion may take from the last question whether somebody left to the moment when it is carried out: as long
/// as its lease.
const ASKED_BEFORE: std::time::Duration = std::time::Duration::from_secs(10);

impl Records<'_> {
    /// I7: nobody is deactivated who did not leave: whom no person deactivated or removed before.
    pub(super) fn deactivated_for_nothing(
        &self,
        person: usize,
        who: &Person,
        accounts: &Sides<Option<AccountId>>,
    ) -> Option<Violation> {
        let off = Some(Value::Bool(false));
        let removed_at = self.removed.get(&person);
        for side in Side::BOTH {
            let by_muster = |entry: &&Entry| {
                let is_meant = Some(&entry.account) == accounts[side].as_ref() && entry.path.is_active();
                is_meant && entry.after == off && matches!(entry.author, Author::Muster { .. })
            };
            for entry in self.logs[side].iter().filter(by_muster) {
                let left = |edit: &Edit| edit.person == person && edit.path.is_active() && edit.value == off;
                let is_removed = removed_at.is_some_and(|removed_at| *removed_at <= entry.at);
                if !is_removed && !self.edits.iter().any(|edit| left(edit) && edit.at <= entry.at) {
                    let what = format!("{} is deactivated on {side} for nothing", entry.account);
                    return Some(violation("I7 no mass harm", who, what));
                }
            }
        }
        None
    }

    /// Where leavers are deactivated, whoever is removed on one side is not active on the other.
    ///
    /// Unless the store lost its memory after the removal, or so shortly before that nobody had read the account again: then
    /// it was never seen in the memory that is left, and that somebody is named who is not there does not prove that they
    /// ever were.
    pub(super) fn stays_active(&self, person: usize, who: &Person, partner: &Account) -> Option<Violation> {
        let rules = &self.world.plan.rules;
        let removed_at = self.removed.get(&person)?;
        let follows =
            rules.attributes.get(&AttributePath::active()).is_some_and(|rule| rule.flow.contributes(who.home));
        let is_forgotten = self.losses.iter().any(|lost_at| *lost_at + UNREAD >= *removed_at);
        let must_leave = rules.leavers == Leavers::Deactivate && follows && !is_forgotten && self.was_read(who);
        let what = || format!("was removed, and is still active on {}", who.home.other());
        (must_leave && !is_off(&partner.attributes)).then(|| violation("I1 convergence", who, what()))
    }

    /// Whether somebody's own account was ever read before they were removed, as far as the memory that is left goes: of an
    /// account that only its partner names nobody knows that it was there.
    fn was_read(&self, who: &Person) -> bool {
        let links = self.world.store.all_links();
        let own = |link: &&Link| link.sides[who.home].account.as_ref() == Some(&who.account);
        links.iter().find(own).is_none_or(|link| link.sides[who.home].seen_at.is_some())
    }

    /// When somebody was out, in order: not active on their own side, or removed. Without an end: they still are.
    fn out(&self, person: usize, who: &Person) -> Vec<(Timestamp, Option<Timestamp>)> {
        let mut out = Vec::<(Timestamp, Option<Timestamp>)>::new();
        let is_move = |edit: &&Edit| edit.person == person && edit.side == who.home && edit.path.is_active();
        for edit in self.edits.iter().filter(is_move) {
            let is_out = out.last().is_some_and(|(_, back)| back.is_none());
            match (edit.value == Some(Value::Bool(false)), is_out) {
                (true, false) => out.push((edit.at, None)),
                (false, true) => out.last_mut().expect("somebody is out").1 = Some(edit.at),
                _ => {}
            }
        }
        if let Some(at) = self.removed.get(&person)
            && out.last().is_none_or(|(_, back)| back.is_some())
        {
            out.push((*at, None));
        }
        out
    }

    /// Whether somebody is out in the end, where leavers part from their partners: then nothing flows between the two.
    pub(super) fn has_parted(&self, person: usize, who: &Person) -> bool {
        let parts = matches!(self.world.plan.rules.leavers, Leavers::Part(_));
        parts && self.out(person, who).last().is_some_and(|(_, back)| back.is_none())
    }

    /// When somebody came back for the last time to a partner from whom they had been parted.
    pub(super) fn met_again_at(&self, person: usize, who: &Person) -> Option<Timestamp> {
        let parts = matches!(self.world.plan.rules.leavers, Leavers::Part(_));
        self.out(person, who).last().filter(|_| parts)?.1
    }

    /// I7: no account is deleted, or taken out of its roster, whose partner was not out when somebody last asked.
    pub(super) fn deleted_for_nothing(&self, person: usize, who: &Person) -> Option<Violation> {
        let out = self.out(person, who);
        let was_out =
            |at: Timestamp| out.iter().any(|(from, to)| *from <= at && to.is_none_or(|back| back + ASKED_BEFORE >= at));
        let deleted = self.world.remotes[who.home.other()].deleted();
        let for_nothing = deleted.iter().find(|(partner, _, at)| *partner == who.account && !was_out(*at));
        for_nothing.map(|(_, account, _)| violation("I7 no mass harm", who, format!("{account} is ended for nothing")))
    }

    /// Where leavers' partners are deleted or removed, none of a leaver is left. Who was removed from their side before a
    /// loss of memory, or shortly after, proves nothing ([`Self::stays_active`]).
    pub(super) fn is_left_behind(&self, person: usize, who: &Person) -> Option<Violation> {
        let ends = matches!(self.world.plan.rules.leavers, Leavers::Part(Departure::Delete | Departure::Remove));
        let is_forgotten = |at: &Timestamp| self.losses.iter().any(|lost_at| *lost_at + UNREAD >= *at);
        let is_unknown = |at: &Timestamp| is_forgotten(at) || !self.was_read(who);
        if !ends || !self.has_parted(person, who) || self.removed.get(&person).is_some_and(is_unknown) {
            return None;
        }
        let what = || format!("left, and is still on {}", who.home.other());
        self.world.people.account(who, who.home.other()).map(|_| violation("I1 convergence", who, what()))
    }
}
