//! The rules of one connection, as the pure core needs them: made from the configuration and the two schemas.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::account::Snapshot;
use super::attribute::{AttributePath, Attributes, Comparison, Digest, DigestKey, Value};
use super::breaker::Breaker;
use super::deferral::BusyPolicy;
use super::guard::{Budgets, Protected, Risk};
use super::id::{ConnectionName, Epoch, Side, Sides};
use super::link::Register;
use super::mapping::{Flaw, Mapping};
use super::matching::MatchKey;

/// Which way an attribute may flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Only towards this side; the other one contributes.
    Towards(Side),
    /// Both ways.
    Both,
    /// Taken note of on this side, and written nowhere.
    WatchedOn(Side),
}

impl Flow {
    /// Whether values of this side count.
    pub fn contributes(self, side: Side) -> bool {
        match self {
            Self::Towards(target) => target != side,
            Self::Both => true,
            Self::WatchedOn(watched) => watched == side,
        }
    }

    /// Whether this side may be written.
    pub fn writes(self, side: Side) -> bool {
        match self {
            Self::Towards(target) => target == side,
            Self::Both => true,
            Self::WatchedOn(_) => false,
        }
    }
}

/// Who wins when both sides edited one attribute since they last agreed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// This side wins (R57, R58).
    DefaultSystem(Side),
    /// The later edit wins. The two clocks are made comparable by `a_ahead_ms`; what is closer than a second, a stamp from
    /// the future and a side without stamps go to `default`.
    LastWrite {
        /// Who wins where time does not tell.
        default: Side,
        /// Milliseconds by which the clock of side `a` is ahead of side `b`'s, from their `Date` headers.
        a_ahead_ms: i64,
    },
}

/// What happens to a value that a side which may not contribute has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Drift {
    /// It stays until the contributing side next changes the attribute (R56).
    #[default]
    Keep,
    /// It is overwritten at once.
    Enforce,
}

/// When an attribute is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Occasion {
    /// When the account is created, and whenever it changes.
    #[default]
    Always,
    /// Only when the account is created.
    Create,
    /// Only while the account has no value: what a person put there is never overwritten. So the partner's id is written
    /// back. Such an attribute follows a link, and brings none into being.
    Fill,
}

/// The rule of one mapped attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttributeRule {
    /// What the attribute is called on each side.
    pub names: Sides<AttributePath>,
    /// Which way it may flow.
    pub flow: Flow,
    /// Who wins a clash.
    pub policy: Policy,
    /// What happens to drift.
    pub drift: Drift,
    /// When it is written.
    pub occasion: Occasion,
    /// How each side compares values of it.
    pub comparison: Sides<Comparison>,
    /// What the values of one side are called on the other.
    pub mapping: Mapping,
}

impl AttributeRule {
    /// An attribute that both sides call by its name, compare to the letter and are told whenever it changes.
    pub fn new(name: AttributePath, flow: Flow, policy: Policy) -> Self {
        Self {
            names: Sides { a: name.clone(), b: name },
            flow,
            policy,
            drift: Drift::Keep,
            occasion: Occasion::Always,
            comparison: Sides::default(),
            mapping: Mapping::default(),
        }
    }

    /// What a snapshot of `side` shows of it, as the link keeps it (`None` inside: a clear); `None`: nothing, or nothing
    /// that the link could keep.
    pub fn seen(&self, side: Side, snapshot: &Snapshot) -> Option<Option<Value>> {
        self.look(side, snapshot)?.ok()
    }

    /// The same, with the reason where the link cannot keep what is shown. `None`: the snapshot does not show all that the
    /// value is made of.
    pub fn look(&self, side: Side, snapshot: &Snapshot) -> Option<Result<Option<Value>, Flaw>> {
        if !self.mapping.converts(side) {
            return shown(snapshot, &self.names[side]).map(Ok);
        }
        let inputs: Option<Vec<_>> = self.sources(side).iter().map(|name| shown(snapshot, name)).collect();
        Some(self.mapping.enter(side, &inputs?, &self.comparison))
    }

    /// What `side` is told for a value of the link.
    ///
    /// # Errors
    /// It has no form there.
    pub fn leave(&self, side: Side, value: &Option<Value>) -> Result<Option<Value>, Flaw> {
        self.mapping.leave(side, value, &self.comparison)
    }

    /// The attributes of `side` that its value is made of, under the side's own names.
    pub fn sources(&self, side: Side) -> &[AttributePath] {
        self.mapping.reads(side, &self.names[side])
    }
}

/// What a snapshot shows of an attribute of its side (`None` inside: a clear); `None`: nothing.
pub fn shown(snapshot: &Snapshot, name: &AttributePath) -> Option<Option<Value>> {
    match name.is_id() {
        true => Some(Some(Value::from(snapshot.account.as_str()))),
        false => snapshot.attributes.get(name).cloned(),
    }
}

/// What a snapshot comes to in the link's words.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct View {
    /// The values, under the names that the link keeps them by.
    pub values: Attributes,
    /// Attributes with a value that the link cannot keep, and why.
    pub flaws: Vec<(AttributePath, Flaw)>,
}

impl View {
    /// Whether the account was read with this attribute, be it one with a value that the link cannot keep.
    pub fn shows(&self, path: &AttributePath) -> bool {
        self.values.contains_key(path) || self.flaws.iter().any(|(flawed, _)| flawed == path)
    }
}

/// What follows for the partner when an account leaves: it is gone, or no longer active.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Leavers {
    /// Nothing: the link shows it.
    #[default]
    Report,
    /// The partner is deactivated, and reactivated when the account comes back.
    Deactivate,
    /// The two part, in this way.
    Part(Departure),
}

/// How two accounts part because one of them left. Each of them ends the link; whoever comes back is linked or created
/// again as the connection's rules say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Departure {
    /// The partner stays as it is.
    Detach,
    /// The partner is taken out of what its system calls the roster: a membership ends, a team is left.
    Remove,
    /// The partner is deleted.
    Delete,
}

impl Departure {
    /// The word that the configuration, tables and `--json` use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Detach => "detach",
            Self::Remove => "remove",
            Self::Delete => "delete",
        }
    }

    /// The word for an account to which this was done.
    pub fn done(self) -> &'static str {
        match self {
            Self::Detach => "detached",
            Self::Remove => "removed",
            Self::Delete => "deleted",
        }
    }

    /// Of which kind such a write is: what counts its budget.
    pub fn risk(self) -> Risk {
        match self {
            Self::Detach => Risk::Relink,
            Self::Remove => Risk::Deactivate,
            Self::Delete => Risk::Delete,
        }
    }
}

/// What happens when an account that is to be created is found to exist already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnExisting {
    /// Nothing is written; a dead letter says so (R12).
    #[default]
    Refuse,
    /// The two are linked.
    Link,
}

/// The rules of one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// The connection's name.
    pub connection: ConnectionName,
    /// Changes whenever the configuration of the connection does, so that refused values are tried again.
    pub version: u64,
    /// The mapped attributes, under the name that the link keeps them by.
    pub attributes: BTreeMap<AttributePath, AttributeRule>,
    /// Whether accounts may be created on that side.
    pub create: Sides<bool>,
    /// What follows from a leaver.
    pub leavers: Leavers,
    /// The side whose leavers matter; of two that follow each other, the default system's.
    pub leads: Side,
    /// What follows from an account that exists already.
    pub on_existing: OnExisting,
    /// The keys by which an existing account is found, in this order.
    pub match_on: Vec<MatchKey>,
    /// A side that can be written and never read: what it holds is what was last written, and nothing flows from it.
    pub write_only: Sides<bool>,
    /// A side whose writes carry every attribute, since it may clear what it is not sent.
    pub whole: Sides<bool>,
    /// The attribute (as the link names it) without which an account of the side is there and shows nothing (R50), where
    /// it is mapped.
    pub shown_by: Sides<Option<AttributePath>>,
    /// How many writes that do harm in bulk may pass (B10).
    pub budgets: Budgets,
    /// Accounts that are spared.
    pub protected: Protected,
    /// What happens to writes of accounts that somebody works with (R22).
    pub busy: BusyPolicy,
    /// How often an attribute may go to and fro before it is frozen (B4); `None`: as often as it likes.
    pub breaker: Option<Breaker>,
    /// Whether links keep the values that a write would overwrite, so that it can be undone (B13).
    pub keeps_before: bool,
    /// The grain of each side's modification stamp.
    pub grain: Sides<Duration>,
    /// The key of the link's digests.
    pub digest_key: DigestKey,
}

impl Rules {
    /// Rules that guard nothing, create nobody and do nothing about leavers, of systems that can do everything; `a` leads.
    pub fn new(
        connection: ConnectionName,
        epoch: Epoch,
        attributes: BTreeMap<AttributePath, AttributeRule>,
        grain: Duration,
    ) -> Self {
        Self {
            digest_key: DigestKey::new(&connection, epoch),
            connection,
            version: 1,
            attributes,
            create: Sides::default(),
            leavers: Leavers::Report,
            leads: Side::A,
            on_existing: OnExisting::Refuse,
            match_on: Vec::new(),
            write_only: Sides::default(),
            whole: Sides::default(),
            shown_by: Sides::default(),
            budgets: Budgets::off(),
            protected: Protected::default(),
            busy: BusyPolicy::default(),
            breaker: None,
            keeps_before: true,
            grain: Sides { a: grain, b: grain },
        }
    }

    /// Digest of a value of an attribute as `side` compares it.
    pub fn digest(&self, side: Side, path: &AttributePath, value: Option<&Value>) -> Digest {
        let comparison = self.attributes.get(path).map(|rule| rule.comparison[side]).unwrap_or_default();
        self.digest_key.digest(path, value, comparison)
    }

    /// The mapped attributes of a snapshot of `side`, under the names that the link keeps them by, and with the values
    /// that it keeps. The account's own id is one of them, where it is mapped.
    pub fn inbound(&self, side: Side, snapshot: &Snapshot) -> Attributes {
        self.view(side, snapshot).values
    }

    /// The same, with what of it the link cannot keep.
    pub fn view(&self, side: Side, snapshot: &Snapshot) -> View {
        let mut view = View::default();
        for (path, rule) in &self.attributes {
            match rule.look(side, snapshot) {
                Some(Ok(value)) => drop(view.values.insert(path.clone(), value)),
                Some(Err(flaw)) => view.flaws.push((path.clone(), flaw)),
                None => {}
            }
        }
        view
    }

    /// Whether a snapshot of `side` shows a part of what some value is made of, and not all: it says that something
    /// changed and not what.
    pub fn is_torn(&self, side: Side, snapshot: &Snapshot) -> bool {
        self.attributes.values().filter(|rule| rule.mapping.converts(side)).any(|rule| {
            let shown = rule.sources(side).iter().filter(|name| shown(snapshot, name).is_some()).count();
            (1..rule.sources(side).len()).contains(&shown)
        })
    }

    /// Attributes of the link under the names that `side` knows them by, and with the values that it gives them.
    ///
    /// # Errors
    /// The attribute with a value that has no form on that side.
    pub fn outbound(&self, side: Side, values: &Attributes) -> Result<Attributes, (AttributePath, Flaw)> {
        let mut outbound = Attributes::new();
        for (path, value) in values {
            let Some(rule) = self.attributes.get(path) else { continue };
            let told = rule.leave(side, value).map_err(|flaw| (path.clone(), flaw))?;
            outbound.insert(rule.names[side].clone(), told);
        }
        Ok(outbound)
    }

    /// How the account of `side` and its partner part when the partner leaves; `None`: they do not. Only on a side that
    /// follows: who leaves there means nothing for the side that leads.
    pub fn departure(&self, side: Side) -> Option<Departure> {
        match self.leavers {
            Leavers::Part(how) if side != self.leads => Some(how),
            Leavers::Part(_) | Leavers::Report | Leavers::Deactivate => None,
        }
    }

    /// Whether a sight of `side` leaves out an attribute that the side is to show.
    pub fn is_partial(&self, side: Side, view: &View) -> bool {
        let is_shown = |rule: &AttributeRule| rule.flow != Flow::WatchedOn(side.other());
        self.attributes.iter().any(|(path, rule)| is_shown(rule) && !view.shows(path))
    }

    /// Whether `side` contributes at least one attribute: only such a side brings new links into being.
    pub fn contributes(&self, side: Side) -> bool {
        self.attributes.values().any(|rule| rule.flow.contributes(side) && rule.occasion != Occasion::Fill)
    }

    /// Whether the account of `side` is there and shows nothing: nobody has given it what it is shown by.
    pub fn is_unseen(&self, side: Side, registers: &BTreeMap<AttributePath, Register>) -> bool {
        let has_none = |path| registers.get(path).is_none_or(|register| register.value.is_none());
        self.shown_by[side].as_ref().is_some_and(has_none)
    }

    /// Whether who wins a clash depends on when the two sides were changed.
    pub fn compares_times(&self) -> bool {
        self.attributes.values().any(|rule| matches!(rule.policy, Policy::LastWrite { .. }))
    }

    /// The same rules where the clock of side `a` is ahead of side `b`'s by so many milliseconds; `None`: nobody knows, so
    /// the default side wins.
    pub fn with_skew(mut self, a_ahead: Option<i64>) -> Self {
        for rule in self.attributes.values_mut() {
            if let Policy::LastWrite { default, .. } = rule.policy {
                rule.policy = match a_ahead {
                    Some(a_ahead_ms) => Policy::LastWrite { default, a_ahead_ms },
                    None => Policy::DefaultSystem(default),
                };
            }
        }
        self
    }

    /// Whether `side` is written to at all.
    pub fn writes(&self, side: Side) -> bool {
        self.attributes.values().any(|rule| rule.flow.writes(side))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::mapping::{Conversion, Step, ValueTable};
    use crate::domain::resolve::tests::vocabulary::{at, path, snapshot, to_b};

    /// R50: a value is called otherwise in the other system; one that is not listed has no name there.
    #[test]
    fn values_of_the_contributing_side_are_translated() {
        let mut rules = to_b(&["x"]);
        let entries = BTreeMap::from([("Sales".to_owned(), "north".to_owned())]);
        let table = ValueTable { entries, otherwise: None };
        let mapping = Mapping::one_way(Side::A, Conversion(vec![Step::Table(table.clone())]));
        rules.attributes.get_mut(&path("x")).unwrap().mapping = mapping;
        let seen = |rules: &Rules, side, value| rules.inbound(side, &snapshot(side, at(1.0, 2.0), &[("x", value)]));
        for (value, translated) in [("Sales", Some("north")), ("sales", None), ("north", None)] {
            assert_eq!(seen(&rules, Side::A, value)[&path("x")], translated.map(Value::from), "{value}");
        }
        assert_eq!(seen(&rules, Side::B, "Sales")[&path("x")], Some("Sales".into()), "it is called so there");
        let table = ValueTable { otherwise: Some("south".to_owned()), ..table };
        assert_eq!(table.translate(None), Some("south".into()));
        assert_eq!(table.translate(Some(&true.into())), Some("south".into()));
    }
}
