//! What must be true of one attribute of one person.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Origin, Records, UNREAD, Violation, violation};
use crate::domain::rules::{AttributeRule, Drift, Flow, Policy};
use crate::domain::{AccountId, AttributePath, Side, Sides, Timestamp, Value};
use crate::simulation::faults::Fault;
use crate::simulation::people::{self, Edit, Person, number, shown};
use crate::simulation::system::{Author, Entry, Guard, Remote};

/// One attribute of one person, as the judge sees it.
pub(super) struct Case<'w> {
    pub(super) records: &'w Records<'w>,
    pub(super) person: usize,
    pub(super) who: &'w Person,
    pub(super) accounts: &'w Sides<Option<AccountId>>,
    pub(super) path: &'w AttributePath,
    pub(super) rule: &'w AttributeRule,
    /// What is held in the end, on the side of the person's first account, and on the other.
    pub(super) held: [Option<Value>; 2],
}

/// How long after a write its answer may still be on the way to the store: the deadline of the request, and a commit that
/// is asked for again and again.
const UNNOTED: Duration = Duration::from_secs(60);

/// By how much two edits must be apart for their order to be known: stamps and `Date` headers have whole seconds.
const APART: Duration = Duration::from_secs(5);

impl Case<'_> {
    fn violation(&self, invariant: &'static str, what: String) -> Violation {
        violation(invariant, self.who, format!("{}: {what}", self.path))
    }

    fn remote(&self, side: Side) -> &Remote {
        &self.records.world.remotes[side]
    }

    fn edits(&self) -> impl DoubleEndedIterator<Item = (usize, &Edit)> {
        let is_meant = |(_, edit): &(usize, &Edit)| edit.person == self.person && edit.path == *self.path;
        self.records.edits.iter().enumerate().filter(is_meant)
    }

    fn held_on(&self, side: Side) -> Option<&Value> {
        self.held[usize::from(side != self.who.home)].as_ref()
    }

    /// What was written and typed of it on a side, in order.
    fn log(&self, side: Side) -> Vec<&Entry> {
        let account = self.accounts[side].as_ref();
        let is_meant = |entry: &&Entry| Some(&entry.account) == account && entry.path == *self.path;
        self.records.logs[side].iter().filter(is_meant).collect()
    }

    /// I1: both sides hold the same, as far as both can keep it.
    ///
    /// Where an attribute flows one way and drift is kept, a value that somebody typed on the receiving side may stand (R56).
    pub(super) fn has_converged(&self) -> Option<Violation> {
        let [own, partner] = &self.held;
        let alike = match (own, partner) {
            (Some(Value::Text(_)), Some(Value::Text(_))) => number(own.as_ref()) == number(partner.as_ref()),
            (own, partner) => own == partner,
        };
        if alike || matches!(self.rule.flow, Flow::WatchedOn(_)) || self.records.has_parted(self.person, self.who) {
            return None;
        }
        if let Flow::Towards(target) = self.rule.flow {
            let (log, source) = (self.log(target), self.log(target.other()));
            let last_by_person = log.last().is_some_and(|entry| matches!(entry.author, Author::Person(_)));
            // Nothing is cleared on a first sight, and each memory has one; and from a side that never had a value nothing
            // flows.
            // What was typed and cleared again before anybody read it was never there (design, section 5).
            let was_never_read = source.first().is_none_or(|first| first.before.is_none())
                && source.windows(2).all(|pair| pair[0].after.is_none() || pair[1].at.since(pair[0].at) <= UNREAD);
            // People may type on a target of which Muster knows nothing yet: as long as the first reads are on their way.
            let was_never_told = log.iter().all(|entry| matches!(entry.author, Author::Person(_)));
            // Who left and was parted from their partner meets them anew when they come back.
            let met_again_at = self.records.met_again_at(self.person, self.who);
            let was_cleared_apart =
                source.last().zip(met_again_at).is_some_and(|(clear, met)| clear.at <= met + UNREAD);
            let is_first_sight =
                was_never_told || was_never_read || was_cleared_apart || !self.records.losses.is_empty();
            let is_spared = self.held_on(target.other()).is_none() && is_first_sight;
            if is_spared || (self.rule.drift == Drift::Keep && last_by_person) {
                return None;
            }
        }
        let what = format!("ends as {} and {}", shown(own.as_ref()), shown(partner.as_ref()));
        Some(self.violation("I1 convergence", what))
    }

    /// Who typed the value of this number, up to then: more than one edit, where somebody put it back.
    fn typed(&self, number: usize, until: Timestamp) -> Vec<usize> {
        let is_of =
            |(_, edit): &(usize, &Edit)| people::number(edit.value.as_ref()) == Some(number) && edit.at <= until;
        self.edits().filter(is_of).map(|(index, _)| index).collect()
    }

    /// The edits whose values the author of this one could see. Each person sees what they replace.
    fn seen_by(&self, edit: usize) -> BTreeSet<usize> {
        let mut seen = BTreeSet::from([edit]);
        let mut at = edit;
        while let Some(number) = number(self.records.edits[at].over.as_ref()) {
            let before = self.typed(number, self.records.edits[at].at).into_iter().rfind(|before| *before < at);
            let Some(before) = before.filter(|before| seen.insert(*before)) else { break };
            at = before;
        }
        seen
    }

    /// Values that were overwritten between the last look and the write, at a system that knows no conditions. Nothing
    /// can prevent it (design, section 5): the bound is that window of one call.
    fn overwritten_in_window(&self) -> BTreeSet<Origin> {
        let mut unseen = BTreeSet::new();
        for side in Side::BOTH.into_iter().filter(|side| self.remote(*side).shape.guard.has_window()) {
            let log = self.log(side);
            for (index, entry) in log.iter().enumerate() {
                if let Author::Muster { looked_at, .. } = entry.author
                    && let Some(before) = index.checked_sub(1).map(|before| &log[before])
                    && before.at >= looked_at
                {
                    self.records.world.faults.count(Fault::EditInWindow);
                    unseen.insert(number(entry.before.as_ref()));
                }
            }
        }
        unseen
    }

    /// No lost edit: each is held in the end, was replaced by somebody who saw it, or is in the journal.
    ///
    /// Whether somebody is active is said by two words only, so that no edit can be told from another.
    pub(super) fn has_lost_nothing(&self) -> Vec<Violation> {
        if self.path.is_active() {
            return Vec::new();
        }
        let mut kept = self.overwritten_in_window();
        kept.extend(self.held.iter().map(|value| number(value.as_ref())));
        let of_path = self.records.journal.iter().filter(|(path, _)| path == self.path);
        kept.extend(of_path.map(|(_, origin)| *origin));
        let mut lost = Vec::new();
        for (index, edit) in self.edits().rev() {
            let origin = number(edit.value.as_ref());
            // What the receiving side of a one-way attribute types does not count (R56).
            let is_kept = kept.contains(&origin) || self.is_put_back(index, edit) || self.is_clear_like_another(edit);
            if self.rule.flow.contributes(edit.side) && !is_kept {
                let what = format!("edit {index}, {} on {}, is lost unseen", shown(edit.value.as_ref()), edit.side);
                lost.push(self.violation("no lost edit", what));
            }
            kept.insert(number(edit.over.as_ref()));
        }
        lost
    }

    /// A clear that met a clear of the other side: the two agree, and whoever types there next has seen it, on either side. Or one
    /// of an account that Muster had created so shortly before that nobody had noted or read it: then it is a first sight,
    /// and no value asserts nothing on a first sight (design, section 5).
    fn is_clear_like_another(&self, edit: &Edit) -> bool {
        let is_near = |other: &Edit| other.at.since(edit.at) <= UNREAD && edit.at.since(other.at) <= UNREAD;
        let met = |(_, other): (usize, &Edit)| other.side != edit.side && other.value.is_none() && is_near(other);
        let account = self.accounts[edit.side].as_ref();
        let created_at = account.and_then(|account| self.remote(edit.side).created_at(account));
        let is_new = created_at.is_some_and(|at| edit.at.since(at) <= UNNOTED);
        edit.value.is_none() && (is_new || self.edits().any(met))
    }

    /// A person who puts back what Muster last saw, before anybody read, made no edit (design, section 5): what the side had
    /// before people began to type one after the other.
    fn is_put_back(&self, index: usize, edit: &Edit) -> bool {
        let log = self.log(edit.side);
        let own = log.iter().position(|entry| entry.author == Author::Person(index));
        let typed = |entry: &Entry| matches!(entry.author, Author::Person(_));
        let Some(own) = own else { return false };
        let before = |entry: &&Entry| number(entry.before.as_ref()) == number(edit.value.as_ref());
        log[..=own].iter().rev().take_while(|entry| typed(entry)).any(before)
    }

    /// Whether a person typed this value over one that Muster had put there so shortly before that nobody had noted it, and
    /// which the policy prefers. Then it cannot be told from a clash, which the policy decides and the journal keeps: a
    /// window of one call and its commit, or of a request whose answer was lost (design, section 5; finding V14). So it is
    /// with an account that Muster created and nobody has read yet.
    fn is_clash_in_appearance(&self, side: Side, log: &[&Entry], typed: usize, preferred: usize) -> bool {
        let may_win = |side: Side| match self.rule.policy {
            Policy::DefaultSystem(winner) => side == winner,
            Policy::LastWrite { .. } => true,
        };
        let [typed, preferred] = [typed, preferred].map(|edit| (edit, &self.records.edits[edit]));
        let is_kept = self.records.journal.contains(&(self.path.clone(), number(typed.1.value.as_ref())));
        let mut put_there = log.iter().filter(|entry| {
            matches!(entry.author, Author::Muster { .. })
                && number(entry.after.as_ref()) == number(preferred.1.value.as_ref())
        });
        let is_unnoted = |entry: &&&Entry| match entry.author {
            Author::Muster { request, .. } => {
                self.records.unheard[side].contains(&request) || typed.1.at.since(entry.at) <= UNNOTED
            }
            Author::Person(_) => false,
        };
        let is_unread = put_there.clone().next().is_none() || put_there.any(|entry| is_unnoted(&entry));
        may_win(preferred.1.side) && is_kept && is_unread
    }

    /// I5, I6: no write puts an older value in the place of a newer one, unless the newer one was typed in the window that
    /// no rule can close. Which of two values is the older is told by who saw what: a clear tells nothing.
    pub(super) fn was_not_overwritten_by_older(&self) -> Vec<Violation> {
        let mut stale = Vec::new();
        for side in Side::BOTH {
            let log = self.log(side);
            for (index, entry) in log.iter().enumerate() {
                let Author::Muster { looked_at, .. } = entry.author else { continue };
                let (Some(before), Some(after)) = (number(entry.before.as_ref()), number(entry.after.as_ref())) else {
                    continue;
                };
                if before == after {
                    continue;
                }
                // Of a value that was put back nobody can tell which of its edits it comes from.
                let pairs = |before: usize| self.typed(after, entry.at).into_iter().map(move |after| (before, after));
                let mut pairs = self.typed(before, entry.at).into_iter().flat_map(pairs);
                let is_older = pairs.clone().all(|(before, after)| self.seen_by(before).contains(&after));
                // Drift on the receiving side is overwritten by what it replaced.
                let is_drift =
                    pairs.clone().any(|(before, _)| !self.rule.flow.contributes(self.records.edits[before].side));
                let placed_at = index.checked_sub(1).map_or(Timestamp(0), |before| log[before].at);
                let in_window = self.remote(side).shape.guard.has_window() && placed_at >= looked_at;
                let is_clash = pairs.any(|(before, after)| self.is_clash_in_appearance(side, &log, before, after));
                if is_older && !is_drift && !in_window && !is_clash {
                    let what = format!(
                        "{} on {side} is overwritten by the older {}",
                        shown(entry.before.as_ref()),
                        shown(entry.after.as_ref())
                    );
                    stale.push(self.violation("I5 no older version over a newer one", what));
                }
            }
        }
        stale
    }

    /// I4: Muster changes the value at most once for each edit, once more, and once for each request that ended without
    /// an answer that its sender could note.
    pub(super) fn was_not_written_too_often(&self) -> Option<Violation> {
        let by_muster = |entry: &&&Entry| matches!(entry.author, Author::Muster { .. }) && entry.before != entry.after;
        let writes: usize = Side::BOTH.iter().map(|side| self.log(*side).iter().filter(by_muster).count()).sum();
        let edits = self.edits().count();
        let unanswered: usize = Side::BOTH
            .iter()
            .filter_map(|side| Some(self.remote(*side).unanswered(self.accounts[*side].as_ref()?)))
            .sum();
        let bound = edits + 1 + unanswered + self.records.unnoted;
        let what = || format!("{writes} writes for {edits} edits and {unanswered} requests without an answer");
        (writes > bound).then(|| self.violation("I4 no ping-pong", what()))
    }

    /// Where the later edit wins: no edit stands over one of the other side that was typed later, and whose author did not know
    /// it.
    ///
    /// Times are those of the accounts, so an account that was changed again before it was read looks younger; and they are
    /// known to the second, on either side. A system without stamps has none, and what a memory forgot has none either.
    pub(super) fn was_not_won_by_the_earlier(&self) -> Option<Violation> {
        let has_times = Side::BOTH.iter().all(|side| self.remote(*side).shape.guard != Guard::Unstamped);
        let Policy::LastWrite { .. } = self.rule.policy else { return None };
        let standing = number(self.held[0].as_ref()).filter(|_| has_times && self.records.losses.is_empty())?;
        let (standing, last) = self.edits().rfind(|(_, edit)| number(edit.value.as_ref()) == Some(standing))?;
        let in_window = self.overwritten_in_window();
        for (index, edit) in self.edits().filter(|(_, edit)| edit.side == last.side.other() && edit.value.is_some()) {
            let own = number(edit.value.as_ref());
            let is_replaced = self.edits().any(|(_, later)| number(later.over.as_ref()) == own);
            let knows = self.seen_by(index).contains(&standing) || self.seen_by(standing).contains(&index);
            if is_replaced || knows || in_window.contains(&own) {
                continue;
            }
            if edit.at + APART < last.at && self.records.journal.contains(&(self.path.clone(), own)) {
                self.records.world.faults.count(Fault::LaterWins);
            }
            let account = self.accounts[last.side].as_ref();
            let looks_younger = self.records.logs[last.side]
                .iter()
                .any(|entry| Some(&entry.account) == account && entry.at > last.at && entry.at <= edit.at + UNREAD);
            if last.at + APART < edit.at && !looks_younger {
                let what = format!("edit {standing} stands over the later edit {index}, whose author did not know it");
                return Some(self.violation("the later edit wins", what));
            }
        }
        None
    }
}
