//! The judge: it knows what people typed and what the systems logged, and nothing of how Muster came to it. Of Muster's own
//! books it looks at the journal, where a value that lost must be found, and at the counts, which must add up.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::faults::Fault;
use super::people::{Edit, Person, number};
use super::system::Entry;
use super::world::World;
use crate::domain::pending::pending;
use crate::domain::rules::{AttributeRule, Departure};
use crate::domain::{AccountId, AttributePath, Attributes, Link, Side, Sides, Timestamp, Value};

use case::Case;

mod case;
mod leavers;

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

/// A person's edit, or that somebody cleared the attribute: which of several clears one is cannot be told from a value.
type Origin = Option<usize>;

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
        violations.extend(records.deleted_for_nothing(person, who));
        violations.extend(records.is_left_behind(person, who));
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
            violations.extend(case.was_not_won_by_the_earlier());
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
        // Whose account was ended by us, and who came back, has another one.
        let ended = self.world.remotes[who.home.other()].deleted();
        let ended = ended.iter().filter(|(partner, ..)| *partner == who.account).count();
        let what = || format!("was created {} times: {}", of.len(), of.join(", "));
        (of.len() > 1 + ended).then(|| violation("I3 no duplicate create", who, what()))
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
    if let Some(letter) = world.store.letters_for_nothing().first() {
        let what = format!("letter {} was opened: {}", letter.id, letter.message);
        wrong("I8 an outage makes no letter", what);
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
    let detached = |link: &Link| link.sides.b.parting.as_ref().is_some_and(|parting| parting.how == Departure::Detach);
    for _ in world.store.all_links().iter().filter(|link| detached(link)) {
        world.faults.count(Fault::Detached);
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
