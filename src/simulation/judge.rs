//! The judge: it knows what people typed and what the systems logged, and nothing of how Muster came to it. Of Muster's own
//! books it looks at the journal, where a value that lost must be found, and at the counts, which must add up.

use std::collections::{BTreeMap, BTreeSet};

use super::faults::Fault;
use super::people::{Edit, Person, number, shown};
use super::system::{Author, Entry, Remote};
use super::world::World;
use crate::domain::pending::pending;
use crate::domain::rules::{AttributeRule, Drift, Flow, Leavers};
use crate::domain::{AccountId, AttributePath, Side, Timestamp, Value};

/// What must be true, and is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    /// Which invariant, such as `I3 no duplicate create`.
    pub(crate) invariant: &'static str,
    pub(crate) person: Option<String>,
    /// In plain words.
    pub(crate) what: String,
}

/// One attribute of one person, as the judge sees it.
struct Case<'w> {
    world: &'w World,
    edits: &'w [Edit],
    person: usize,
    who: &'w Person,
    path: &'w AttributePath,
    rule: &'w AttributeRule,
    /// What is held in the end, on the side of the person's first account, and on the other.
    held: [Option<Value>; 2],
}

/// A person's edit, or that somebody cleared the attribute: which of several clears one is cannot be told from a value.
type Origin = Option<usize>;

/// Everything that is not as it must be.
pub(crate) fn judge(world: &World) -> Vec<Violation> {
    let mut violations = Vec::new();
    let active = AttributePath::active();
    let (people, edits) = (world.people.all(), world.people.edits());
    for (index, who) in people.iter().enumerate() {
        violations.extend(created_twice(world, who));
        violations.extend(deactivated_for_nothing(world, index, who, &edits));
        let (home, other) = (who.home, who.home.other());
        let Some(own) = world.remotes[home].account(&who.account) else {
            violations.extend(stays_active(world, who));
            continue;
        };
        let partner = world.remotes[other].partner_of(&who.account).and_then(|id| world.remotes[other].account(&id));
        let Some(partner) = partner else {
            // Nobody is created for somebody who has left.
            if world.plan.rules.create[other] && own.attributes.get(&active) != Some(&Some(Value::Bool(false))) {
                violations.push(violation("I1 convergence", who, format!("{} has no partner on {other}", who.account)));
            }
            continue;
        };
        for (path, rule) in &world.plan.rules.attributes {
            let value = |attributes: &crate::domain::Attributes| attributes.get(path).cloned().flatten();
            let held = [value(&own.attributes), value(&partner.attributes)];
            let case = Case { world, edits: &edits, person: index, who, path, rule, held };
            violations.extend(case.has_converged());
            violations.extend(case.has_lost_nothing());
            violations.extend(case.was_not_overwritten_by_older());
            violations.extend(case.was_not_written_too_often());
        }
    }
    violations.extend(books(world));
    violations
}

fn violation(invariant: &'static str, who: &Person, what: String) -> Violation {
    Violation { invariant, person: Some(who.account.to_string()), what }
}

/// I3: of the requests that create, at most one for each person was ever carried out. Every request here ends by its
/// deadline, so there is no exception, whatever unique keys a system lacks (design: the doubling that no rule can
/// prevent needs a request beyond its deadline).
fn created_twice(world: &World, who: &Person) -> Option<Violation> {
    let created: Vec<_> = world.remotes[who.home.other()].created();
    let of: Vec<_> = created.iter().filter(|(partner, _)| *partner == who.account).map(|(_, id)| id.as_str()).collect();
    (of.len() > 1).then(|| violation("I3 no duplicate create", who, format!("was created {} times: {}", of.len(), of.join(", "))))
}

/// I7: nobody is deactivated who did not leave: whose account on the other side no person deactivated or removed before.
fn deactivated_for_nothing(world: &World, person: usize, who: &Person, edits: &[Edit]) -> Option<Violation> {
    let off = Some(Value::Bool(false));
    let removed_at = world.people.removed().get(&person).copied();
    for side in Side::BOTH {
        let account = world.people.account(who, side)?;
        let log = world.remotes[side].log();
        let by_muster = |entry: &&Entry| {
            let is_meant = entry.account == account && entry.path.is_active() && entry.after == off;
            is_meant && matches!(entry.author, Author::Muster { .. })
        };
        for entry in log.iter().filter(by_muster) {
            let left = |edit: &Edit| edit.person == person && edit.path.is_active() && edit.value == off;
            let removed = removed_at.is_some_and(|removed_at| removed_at <= entry.at);
            if !removed && !edits.iter().any(|edit| left(edit) && edit.at <= entry.at) {
                return Some(violation("I7 no mass harm", who, format!("{account} is deactivated for nothing")));
            }
        }
    }
    None
}

/// Where leavers are deactivated, whoever is removed on one side is not active on the other.
fn stays_active(world: &World, who: &Person) -> Option<Violation> {
    let rules = &world.plan.rules;
    let other = who.home.other();
    let follows = rules.attributes.get(&AttributePath::active()).is_some_and(|rule| rule.flow.contributes(who.home));
    let partner = world.remotes[other].partner_of(&who.account).and_then(|id| world.remotes[other].account(&id))?;
    let is_active = partner.attributes.get(&AttributePath::active()) != Some(&Some(Value::Bool(false)));
    let must_leave = rules.leavers == Leavers::Deactivate && follows;
    (must_leave && is_active)
        .then(|| violation("I1 convergence", who, format!("was removed, and is still active on {other}")))
}

impl Case<'_> {
    fn violation(&self, invariant: &'static str, what: String) -> Violation {
        violation(invariant, self.who, format!("{}: {what}", self.path))
    }

    fn remote(&self, side: Side) -> &Remote {
        &self.world.remotes[side]
    }

    fn edits(&self) -> impl DoubleEndedIterator<Item = (usize, &Edit)> {
        let is_meant = |(_, edit): &(usize, &Edit)| edit.person == self.person && edit.path == *self.path;
        self.edits.iter().enumerate().filter(is_meant)
    }

    fn held_on(&self, side: Side) -> Option<&Value> {
        self.held[usize::from(side != self.who.home)].as_ref()
    }

    /// What was written and typed of it on a side, in order.
    fn log(&self, side: Side) -> Vec<Entry> {
        let account = self.world.people.account(self.who, side);
        let log = self.remote(side).log();
        log.into_iter().filter(|entry| Some(&entry.account) == account.as_ref() && entry.path == *self.path).collect()
    }

    /// I1: both sides hold the same, as far as both can keep it.
    ///
    /// Where an attribute flows one way and drift is kept, a value that somebody typed on the receiving side may stand (R56).
    fn has_converged(&self) -> Option<Violation> {
        let [own, partner] = &self.held;
        let alike = match (own, partner) {
            (Some(Value::Text(_)), Some(Value::Text(_))) => number(own.as_ref()) == number(partner.as_ref()),
            (own, partner) => own == partner,
        };
        if alike || matches!(self.rule.flow, Flow::WatchedOn(_)) {
            return None;
        }
        if let Flow::Towards(target) = self.rule.flow
            && self.rule.drift == Drift::Keep
        {
            let last_by_person = self.log(target).last().is_some_and(|entry| matches!(entry.author, Author::Person(_)));
            // Nothing is cleared on a first sight, and each epoch has one.
            let spared = self.held_on(target.other()).is_none();
            if last_by_person || spared {
                return None;
            }
        }
        let what = format!("ends as {} and {}", shown(own.as_ref()), shown(partner.as_ref()));
        Some(self.violation("I1 convergence", what))
    }

    /// The edits whose values the author of this one could see. Each person sees what they replace.
    fn seen_by(&self, edit: usize) -> BTreeSet<usize> {
        let mut seen = BTreeSet::from([edit]);
        let mut over = number(self.edits[edit].over.as_ref());
        while let Some(before) = over.filter(|before| seen.insert(*before)) {
            over = number(self.edits[before].over.as_ref());
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
                    self.world.faults.count(Fault::EditInWindow);
                    unseen.insert(number(entry.before.as_ref()));
                }
            }
        }
        unseen
    }

    /// No lost edit: each is held in the end, was replaced by somebody who saw it, or is in the journal.
    ///
    /// Whether somebody is active is said by two words only, so that no edit can be told from another.
    fn has_lost_nothing(&self) -> Vec<Violation> {
        if self.path.is_active() {
            return Vec::new();
        }
        let mut kept = self.overwritten_in_window();
        kept.extend(self.held.iter().map(|value| number(value.as_ref())));
        let journal = self.world.store.whole_journal();
        let of_path = journal.iter().filter(|entry| entry.attribute == *self.path);
        kept.extend(of_path.map(|entry| number(entry.value.as_ref())));
        let mut lost = Vec::new();
        for (index, edit) in self.edits().rev() {
            let origin = number(edit.value.as_ref());
            // What the receiving side of a one-way attribute types does not count (R56).
            if self.rule.flow.contributes(edit.side) && !kept.contains(&origin) {
                let what = format!("edit {index}, {} on {}, is lost unseen", shown(edit.value.as_ref()), edit.side);
                lost.push(self.violation("no lost edit", what));
            }
            kept.insert(number(edit.over.as_ref()));
        }
        lost
    }

    /// I5, I6: no write puts an older value in the place of a newer one, unless the newer one was typed in the window that
    /// no rule can close. Which of two values is the older is told by who saw what: a clear tells nothing.
    fn was_not_overwritten_by_older(&self) -> Vec<Violation> {
        let mut stale = Vec::new();
        for side in Side::BOTH {
            let log = self.log(side);
            for (index, entry) in log.iter().enumerate() {
                let Author::Muster { looked_at, .. } = entry.author else { continue };
                let (Some(before), Some(after)) = (number(entry.before.as_ref()), number(entry.after.as_ref())) else {
                    continue;
                };
                if before == after || !self.seen_by(before).contains(&after) {
                    continue;
                }
                // Drift on the receiving side is overwritten by what it replaced.
                let is_drift = !self.rule.flow.contributes(self.edits[before].side);
                let placed_at = index.checked_sub(1).map_or(Timestamp(0), |before| log[before].at);
                let in_window = self.remote(side).shape.guard.has_window() && placed_at >= looked_at;
                if !is_drift && !in_window {
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
    fn was_not_written_too_often(&self) -> Option<Violation> {
        let by_muster = |entry: &&Entry| matches!(entry.author, Author::Muster { .. }) && entry.before != entry.after;
        let writes: usize = Side::BOTH.iter().map(|side| self.log(*side).iter().filter(by_muster).count()).sum();
        let edits = self.edits().count();
        let unanswered: usize = Side::BOTH
            .iter()
            .filter_map(|side| Some(self.remote(*side).unanswered(&self.world.people.account(self.who, *side)?)))
            .sum();
        let hits = self.world.faults.hits();
        let unnoted: u64 = [
            Fault::WriterKilled,
            Fault::ProcessFrozen,
            Fault::MemoryDoubted,
            Fault::MemoryEmptied,
            Fault::MemoryRestored,
        ]
        .iter()
        .filter_map(|fault| hits.get(fault))
        .sum();
        let bound = edits + 1 + unanswered + usize::try_from(unnoted).unwrap_or(usize::MAX);
        let what = || format!("{writes} writes for {edits} edits and {unanswered} requests without an answer");
        (writes > bound).then(|| self.violation("I4 no ping-pong", what()))
    }
}

/// I2, B16: the outcomes add up, and at rest nothing is in flight or lacking.
fn books(world: &World) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut wrong = |invariant, what| violations.push(Violation { invariant, person: None, what });
    let cut = world.cut_runs();
    for run in world.store.all_runs().into_iter().filter(|run| !cut.contains(&run.id)) {
        let (changes, commands) = (run.changes_in_flight(), run.commands_in_flight());
        if changes != 0 || commands != 0 {
            wrong("I2 conservation", format!("run {} never accounts for {changes} changes and {commands} commands", run.id));
        }
    }
    let Some(epoch) = world.store.present_epoch() else { return violations };
    let rules = crate::domain::Rules {
        digest_key: crate::domain::DigestKey::new(&world.plan.rules.connection, epoch),
        ..world.plan.rules.clone()
    };
    let mut partners = BTreeMap::new();
    for link in world.store.all_links().into_iter().filter(|link| link.epoch == epoch) {
        for side in Side::BOTH {
            if let Some(lacking) = pending(&link, side, &rules) {
                let paths: Vec<_> = lacking.values.keys().map(AttributePath::as_str).collect();
                wrong("I2 at rest nothing is in flight", format!("link {} still lacks {} on {side}", link.id, paths.join(", ")));
            }
            if let Some(account) = &link.sides[side].account
                && partners.insert((side, account.clone()), link.id).is_some()
            {
                wrong("one link an account", format!("account {account} of {side} belongs to two links"));
            }
        }
    }
    let people = world.people.all();
    let gone: BTreeSet<_> = world.people.removed().keys().map(|person| people[*person].account.clone()).collect();
    let is_of = |account: &Option<AccountId>| account.as_ref().is_some_and(|account| gone.contains(account));
    let mut letters = world.store.all_letters();
    letters.retain(|letter| !is_of(&letter.account) && !is_of(&letter.partner));
    if let Some(letter) = letters.first() {
        let what = format!("{} letters stay open, such as {}: {}", letters.len(), letter.id, letter.fingerprint.code);
        wrong("I8 a letter heals", what);
    }
    violations
}
