//! The judge: it knows what people typed and what the systems logged, and nothing of how Muster came to it. Of Muster's own
//! books it looks at the journal, where a value that lost must be found, and at the counts, which must add up.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::faults::Fault;
use super::people::{Edit, Person, number, shown};
use super::system::{Account, Author, Entry, Remote};
use super::world::World;
use crate::domain::pending::pending;
use crate::domain::rules::{AttributeRule, Drift, Flow, Leavers, Policy};
use crate::domain::{AccountId, AttributePath, Attributes, Side, Sides, Timestamp, Value};

/// What must be true, and is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    /// Which invariant, such as `I3 no duplicate create`.
    pub(crate) invariant: &'static str,
    pub(crate) person: Option<String>,
    /// In plain words.
    pub(crate) what: String,
}

/// What there is to look at.
struct Records<'w> {
    world: &'w World,
    people: Vec<Person>,
    edits: Vec<Edit>,
    removed: BTreeMap<usize, Timestamp>,
    logs: Sides<Vec<Entry>>,
    /// Requests whose answer their sender did not get, or that were said to have failed.
    unheard: Sides<BTreeSet<u64>>,
    /// Where each value that is kept for somebody comes from, and its attribute.
    journal: BTreeSet<(AttributePath, Origin)>,
    /// When the store's memory was doubted or lost.
    losses: Vec<Timestamp>,
    /// Writes that may have been carried out without anybody noting it, whosever they were.
    unnoted: usize,
}

/// One attribute of one person, as the judge sees it.
struct Case<'w> {
    records: &'w Records<'w>,
    person: usize,
    who: &'w Person,
    accounts: &'w Sides<Option<AccountId>>,
    path: &'w AttributePath,
    rule: &'w AttributeRule,
    /// What is held in the end, on the side of the person's first account, and on the other.
    held: [Option<Value>; 2],
}

/// A person's edit, or that somebody cleared the attribute: which of several clears one is cannot be told from a value.
type Origin = Option<usize>;

/// How long after a write its answer may still be on the way to the store: the deadline of the request, and a commit that
/// is asked for again and again.
const UNNOTED: Duration = Duration::from_secs(60);

/// How long after a loss of memory an account may not have been read again: the quarantine of the new memory, and a reader that
/// died meanwhile.
const UNREAD: Duration = Duration::from_secs(120);

/// Everything that is not as it must be.
pub(crate) fn judge(world: &World) -> Vec<Violation> {
    let records = Records::of(world);
    let mut violations = Vec::new();
    for (person, who) in records.people.iter().enumerate() {
        let accounts = Sides::from_fn(|side| world.people.account(who, side));
        violations.extend(records.created_twice(who));
        violations.extend(records.deactivated_for_nothing(person, who, &accounts));
        let (home, other) = (who.home, who.home.other());
        let held = |side: Side| accounts[side].as_ref().and_then(|id| world.remotes[side].account(id));
        let (own, partner) = match (held(home), held(other)) {
            (Some(own), Some(partner)) => (own, partner),
            (Some(own), None) => {
                // Nobody is created for somebody who has left, or of whom there is nothing to say.
                let is_told = |(path, rule): (&AttributePath, &AttributeRule)| {
                    let has_value = own.attributes.get(path).is_some_and(Option::is_some);
                    has_value && rule.flow.contributes(home) && rule.flow.writes(other)
                };
                let is_known = world.plan.rules.attributes.iter().any(is_told);
                if world.plan.rules.create[other] && is_known && !is_off(&own.attributes) {
                    let what = format!("{} has no partner on {other}", who.account);
                    violations.push(violation("I1 convergence", who, what));
                }
                continue;
            }
            (None, partner) => {
                violations.extend(partner.and_then(|partner| records.stays_active(person, who, &partner)));
                continue;
            }
        };
        for (path, rule) in &world.plan.rules.attributes {
            let value = |attributes: &Attributes| attributes.get(path).cloned().flatten();
            let held = [value(&own.attributes), value(&partner.attributes)];
            let case = Case { records: &records, person, who, accounts: &accounts, path, rule, held };
            violations.extend(case.has_converged());
            violations.extend(case.has_lost_nothing());
            violations.extend(case.was_not_overwritten_by_older());
            violations.extend(case.was_not_written_too_often());
        }
    }
    violations.extend(books(world));
    violations
}

fn is_off(attributes: &Attributes) -> bool {
    attributes.get(&AttributePath::active()) == Some(&Some(Value::Bool(false)))
}

fn violation(invariant: &'static str, who: &Person, what: String) -> Violation {
    Violation { invariant, person: Some(who.account.to_string()), what }
}

impl<'w> Records<'w> {
    fn of(world: &'w World) -> Self {
        let journal = world.store.whole_journal();
        let hits = world.faults.hits();
        let unnoted = [
            Fault::WriterKilled,
            Fault::ProcessFrozen,
            Fault::MemoryDoubted,
            Fault::MemoryEmptied,
            Fault::MemoryRestored,
        ];
        let unnoted: u64 = unnoted.iter().filter_map(|fault| hits.get(fault)).sum();
        Self {
            world,
            people: world.people.all(),
            edits: world.people.edits(),
            removed: world.people.removed(),
            logs: Sides::from_fn(|side| world.remotes[side].log()),
            unheard: Sides::from_fn(|side| world.remotes[side].unheard()),
            journal: journal.iter().map(|entry| (entry.attribute.clone(), number(entry.value.as_ref()))).collect(),
            losses: world.losses(),
            unnoted: usize::try_from(unnoted).unwrap_or(usize::MAX),
        }
    }

    /// I3: of the requests that create, at most one for each person was ever carried out. Every request here ends by its
    /// deadline, so there is no exception, whatever unique keys a system lacks (design: the doubling that no rule can
    /// prevent needs a request beyond its deadline).
    fn created_twice(&self, who: &Person) -> Option<Violation> {
        let created = self.world.remotes[who.home.other()].created();
        let of: Vec<_> =
            created.iter().filter(|(partner, _)| *partner == who.account).map(|(_, id)| id.as_str()).collect();
        let what = || format!("was created {} times: {}", of.len(), of.join(", "));
        (of.len() > 1).then(|| violation("I3 no duplicate create", who, what()))
    }

    /// I7: nobody is deactivated who did not leave: whom no person deactivated or removed before.
    fn deactivated_for_nothing(
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
    fn stays_active(&self, person: usize, who: &Person, partner: &Account) -> Option<Violation> {
        let rules = &self.world.plan.rules;
        let removed_at = self.removed.get(&person)?;
        let follows =
            rules.attributes.get(&AttributePath::active()).is_some_and(|rule| rule.flow.contributes(who.home));
        let is_forgotten = self.losses.iter().any(|lost_at| *lost_at + UNREAD >= *removed_at);
        let must_leave = rules.leavers == Leavers::Deactivate && follows && !is_forgotten;
        let what = || format!("was removed, and is still active on {}", who.home.other());
        (must_leave && !is_off(&partner.attributes)).then(|| violation("I1 convergence", who, what()))
    }
}

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
    fn has_converged(&self) -> Option<Violation> {
        let [own, partner] = &self.held;
        let alike = match (own, partner) {
            (Some(Value::Text(_)), Some(Value::Text(_))) => number(own.as_ref()) == number(partner.as_ref()),
            (own, partner) => own == partner,
        };
        if alike || matches!(self.rule.flow, Flow::WatchedOn(_)) {
            return None;
        }
        if let Flow::Towards(target) = self.rule.flow {
            let (log, source) = (self.log(target), self.log(target.other()));
            let last_by_person = log.last().is_some_and(|entry| matches!(entry.author, Author::Person(_)));
            // Nothing is cleared on a first sight, and each memory has one; and from a side that never had a value nothing
            // flows.
            let is_first_sight = log.is_empty() || source.is_empty() || !self.records.losses.is_empty();
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
        let is_of = |(_, edit): &(usize, &Edit)| self::number(edit.value.as_ref()) == Some(number) && edit.at <= until;
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
    fn has_lost_nothing(&self) -> Vec<Violation> {
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
            let is_kept = kept.contains(&origin) || self.is_put_back(index, edit);
            if self.rule.flow.contributes(edit.side) && !is_kept {
                let what = format!("edit {index}, {} on {}, is lost unseen", shown(edit.value.as_ref()), edit.side);
                lost.push(self.violation("no lost edit", what));
            }
            kept.insert(number(edit.over.as_ref()));
        }
        lost
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
        let Policy::DefaultSystem(winner) = self.rule.policy else { return false };
        let [typed, preferred] = [typed, preferred].map(|edit| (edit, &self.records.edits[edit]));
        let number_of = |edit: &Edit| number(edit.value.as_ref());
        let is_kept = self.records.journal.contains(&(self.path.clone(), number_of(typed.1)));
        let mut put_there = log.iter().filter(|entry| {
            matches!(entry.author, Author::Muster { .. }) && number(entry.after.as_ref()) == number_of(preferred.1)
        });
        let is_unnoted = |entry: &&&Entry| match entry.author {
            Author::Muster { request, .. } => {
                self.records.unheard[side].contains(&request) || typed.1.at.since(entry.at) <= UNNOTED
            }
            Author::Person(_) => false,
        };
        let is_unread = put_there.clone().next().is_none() || put_there.any(|entry| is_unnoted(&entry));
        preferred.1.side == winner && is_kept && is_unread
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
    fn was_not_written_too_often(&self) -> Option<Violation> {
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
}

/// I2, B16: the outcomes add up, and at rest nothing is in flight or lacking.
fn books(world: &World) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut wrong = |invariant, what| violations.push(Violation { invariant, person: None, what });
    let cut = world.cut_runs();
    for run in world.store.all_runs().into_iter().filter(|run| !cut.contains(&run.id)) {
        let (changes, commands) = (run.changes_in_flight(), run.commands_in_flight());
        if changes != 0 || commands != 0 {
            wrong(
                "I2 conservation",
                format!("run {} never accounts for {changes} changes and {commands} commands", run.id),
            );
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
                wrong(
                    "I2 at rest nothing is in flight",
                    format!("link {} still lacks {} on {side}", link.id, paths.join(", ")),
                );
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
