//! The people of a world: who they are, and what they type. This is the judge's knowledge; Muster never sees it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use super::Clock;
use super::events::Timeline;
use super::faults::{Fault, Faults};
use super::plan::Plan;
use super::system::{Entry, Remote};
use crate::domain::rules::{Flow, Leavers};
use crate::domain::{AccountId, AttributePath, Side, Sides, Timestamp, Value};

/// A person, by the account that was made first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Person {
    pub(crate) home: Side,
    pub(crate) account: AccountId,
}

/// Something that a person typed. Its number is its place in the list, and part of the text.
#[derive(Debug, Clone)]
pub(crate) struct Edit {
    pub(crate) person: usize,
    pub(crate) side: Side,
    pub(crate) path: AttributePath,
    /// As the system keeps it.
    pub(crate) value: Option<Value>,
    /// What the person saw and replaced.
    pub(crate) over: Option<Value>,
    /// In the world's clock.
    pub(crate) at: Timestamp,
}

/// Which edit a value comes from, however a system keeps it; `None` for a clear.
pub(crate) fn number(value: Option<&Value>) -> Option<usize> {
    value?.as_text()?.get(..4)?.parse().ok()
}

#[derive(Debug, Default)]
struct State {
    people: Vec<Person>,
    edits: Vec<Edit>,
    /// Who removed their first account, and when.
    removed: BTreeMap<usize, Timestamp>,
}

/// All of them.
#[derive(Clone)]
pub(crate) struct People {
    remotes: Sides<Arc<Remote>>,
    clock: Clock,
    timeline: Timeline,
    state: Arc<Mutex<State>>,
}

const WORDS: [&str; 4] = ["Ada Lovelace", "Grace Hopper ", "Hedy Lamarr", "Emmy Noether "];

impl People {
    pub(crate) fn new(remotes: Sides<Arc<Remote>>, clock: Clock, timeline: Timeline) -> Self {
        Self { remotes, clock, timeline, state: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while the lock is held")
    }

    pub(crate) fn all(&self) -> Vec<Person> {
        self.state().people.clone()
    }

    pub(crate) fn edits(&self) -> Vec<Edit> {
        self.state().edits.clone()
    }

    /// A new text with the number of the edit to come.
    fn text(edits: usize) -> Value {
        let word = WORDS[fastrand::usize(..WORDS.len())];
        Value::Text(format!("{edits:04} {word}"))
    }

    /// Somebody gets an account on one side, and on the other as well if `both` says so, with equal values.
    pub(crate) fn hire(&self, home: Side, paths: &[AttributePath], both: bool) {
        let mut state = self.state();
        let person = state.people.len();
        let account: AccountId = format!("{home}{person:02}").parse().expect("letters are an id");
        let mut attributes = crate::domain::Attributes::new();
        for path in paths {
            let value = if fastrand::u8(..10) == 0 { None } else { Some(Self::text(state.edits.len())) };
            // One that both sides keep alike, so that both hold the same.
            let value = value.map(|value| match value {
                Value::Text(text) => Value::Text(text.trim().to_lowercase().chars().take(8).collect()),
                other => other,
            });
            let edit =
                Edit { person, side: home, path: path.clone(), value: value.clone(), over: None, at: self.clock.now() };
            state.edits.push(edit);
            attributes.insert(path.clone(), value);
        }
        state.people.push(Person { home, account: account.clone() });
        drop(state);
        self.remotes[home].hire(&account, attributes.clone(), None);
        if both {
            let other = home.other();
            let partner: AccountId = format!("{other}-of-{account}").parse().expect("letters are an id");
            self.remotes[other].hire(&partner, attributes, Some(account.clone()));
        }
        self.tell(
            person,
            format!("gets account {account} on {home}{}", if both { ", and one on the other side" } else { "" }),
        );
    }

    /// The account of a person on a side, if there is one.
    pub(crate) fn account(&self, person: &Person, side: Side) -> Option<AccountId> {
        if person.home == side { Some(person.account.clone()) } else { self.remotes[side].partner_of(&person.account) }
    }

    /// Who removed their first account, and when.
    pub(crate) fn removed(&self) -> BTreeMap<usize, Timestamp> {
        self.state().removed.clone()
    }

    /// The person types a value, or clears it, or leaves or comes back. Nothing happens where they have no account.
    pub(crate) fn edit(&self, person: usize, side: Side, path: &AttributePath, clears: bool) {
        let Some(who) = self.state().people.get(person).cloned() else { return };
        let Some(account) = self.account(&who, side) else { return };
        if self.state().removed.contains_key(&person) {
            return;
        }
        let typed = match path.is_active() {
            true => Some(Value::Bool(!clears)),
            false => (!clears).then(|| Self::text(self.state().edits.len())),
        };
        self.types(person, (side, &account), path, typed);
    }

    fn types(&self, person: usize, (side, account): (Side, &AccountId), path: &AttributePath, typed: Option<Value>) {
        let mut state = self.state();
        let Some(over) = self.remotes[side].edit(account, path, typed, state.edits.len()) else { return };
        let value =
            self.remotes[side].account(account).and_then(|account| account.attributes.get(path).cloned()).flatten();
        let told = format!("types {} over {} in {path} on {side}", shown(value.as_ref()), shown(over.as_ref()));
        state.edits.push(Edit { person, side, path: path.clone(), value, over, at: self.clock.now() });
        drop(state);
        self.tell(person, told);
    }

    /// The person puts back what was there before the last change, whoever made it. `false`: there was nothing else.
    fn put_back(&self, person: usize, side: Side, path: &AttributePath) -> bool {
        let Some(who) = self.state().people.get(person).cloned() else { return false };
        let Some(account) = self.account(&who, side) else { return false };
        let log = self.remotes[side].log();
        let is_meant = |entry: &&Entry| entry.account == account && entry.path == *path;
        let Some(last) = log.iter().rev().find(is_meant) else { return false };
        let differs = last.before.is_some() && number(last.before.as_ref()) != number(last.after.as_ref());
        if differs && !self.state().removed.contains_key(&person) {
            self.types(person, (side, &account), path, last.before.clone());
        }
        differs
    }

    /// Somebody types something somewhere.
    pub(crate) fn edit_somewhere(&self, plan: &Plan, faults: &Faults, last: &mut Option<(usize, AttributePath)>) {
        let rules = &plan.rules;
        let people = self.state().people.len();
        let paths: Vec<_> = rules.attributes.iter().filter(|(path, _)| !path.is_active()).collect();
        let (mut person, mut path) = (fastrand::usize(..people), paths[fastrand::usize(..paths.len())].0.clone());
        // Often at what was just edited, so that edits meet.
        if let Some((last_person, last_path)) = last
            && fastrand::u8(..100) < plan.sticky
        {
            person = *last_person;
            if fastrand::bool() {
                path.clone_from(last_path);
            }
        }
        match fastrand::u8(..100) {
            moves if moves < plan.moves => {
                let side = match rules.leavers {
                    Leavers::Part(_) => rules.leads,
                    _ => Side::BOTH[fastrand::usize(..2)],
                };
                *last = Some((person, path));
                return self.edit(person, side, &AttributePath::active(), fastrand::bool());
            }
            99 if !plan.needs_no_complete_read() => return self.leave(person),
            _ => {}
        }
        let side = match rules.attributes[&path].flow {
            // Now and then where it does not count.
            Flow::Towards(target) if fastrand::u8(..10) > 0 => target.other(),
            _ => Side::BOTH[fastrand::usize(..2)],
        };
        if fastrand::u8(..100) < 6 && self.put_back(person, side, &path) {
            faults.count(Fault::PutBack);
        } else {
            self.edit(person, side, &path, fastrand::u8(..100) < 6);
        }
        *last = Some((person, path));
    }

    /// The person's first account is removed.
    fn leave(&self, person: usize) {
        let mut state = self.state();
        let Person { home, account } = state.people[person].clone();
        if self.remotes[home].remove(&account) {
            state.removed.insert(person, self.clock.now());
            drop(state);
            self.tell(person, format!("is removed from {home}"));
        }
    }

    /// Somebody types just where a request is about to write; `false` if none is.
    pub(crate) fn edit_under_way(&self) -> bool {
        let side = Side::BOTH[fastrand::usize(..2)];
        let on_the_way = self.remotes[side].on_the_way();
        let Some((account, path)) = on_the_way.get(fastrand::usize(..on_the_way.len().max(1))) else { return false };
        let people = self.all();
        let is_theirs = |person: &Person| self.account(person, side).as_ref() == Some(account);
        let Some(person) = people.iter().position(is_theirs) else { return false };
        // Now and then on the side that the value comes from.
        let side = if fastrand::u8(..10) < 3 { side.other() } else { side };
        self.edit(person, side, path, fastrand::u8(..100) < 6);
        true
    }

    fn tell(&self, person: usize, what: String) {
        let account = self.state().people[person].account.to_string();
        self.timeline.note(self.clock.elapsed_ms(), Some(&account), what);
    }
}

/// A value in plain words. There are no real people here, so it may be shown.
pub(crate) fn shown(value: Option<&Value>) -> String {
    match value {
        None => "nothing".to_owned(),
        Some(Value::Text(text)) => format!("\u{201c}{text}\u{201d}"),
        Some(Value::Bool(value)) => value.to_string(),
        Some(other) => format!("{other:?}"),
    }
}
