//! What waits for a person: a value, or the creation of an account, that is not written for the time being, and what a
//! person decided about it (B11). A hold sits on the attribute; the rest of the account flows.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::attribute::{AttributePath, Value};
use super::guard::Risk;
use super::id::Side;
use super::link::{Link, Register};
use super::time::Timestamp;

/// How long a person has for a decision. Afterwards the value counts as rejected.
pub const HOLD_TTL: Duration = Duration::from_secs(30 * 24 * 3600);

/// Why an attribute is not written for the time being.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// The store forgot which of two differing values is the later one. Ended by the next edit, by agreement, or by a
    /// person.
    BaseLost {
        /// The value that the register does not have: the other side's.
        other: Option<Value>,
    },
    /// A guard stopped it. It is about this generation of the register, and the next edit ends it. What is frozen stays so
    /// until an edit comes after a quiet time.
    Stopped(Stop),
}

/// A write that a guard stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// Why.
    #[serde(rename = "w")]
    pub why: Why,
    /// The kind of write; `None`: of no kind that has a budget.
    #[serde(rename = "k", default, skip_serializing_if = "Option::is_none")]
    pub risk: Option<Risk>,
    /// Since when, in the store's clock.
    #[serde(rename = "t")]
    pub since: Timestamp,
    /// What a person decided.
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    pub ruling: Option<Ruling>,
}

/// Why a guard stops a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// There were as many writes of this kind within the window as the budget allows.
    OverBudget,
    /// The account is protected from writes of this kind.
    Protected,
    /// The loop breaker: the attribute went to and fro too often (B4).
    Frozen,
}

impl Why {
    /// The word that metrics, tables and `--json` use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OverBudget => "over_budget",
            Self::Protected => "protected",
            Self::Frozen => "frozen",
        }
    }
}

/// What a person decided about a stopped write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ruling {
    /// What.
    #[serde(rename = "v")]
    pub verdict: Verdict,
    /// Who: `user@host`.
    #[serde(rename = "b")]
    pub by: String,
    /// When, by the clock of that person's machine.
    #[serde(rename = "t")]
    pub at: Timestamp,
}

/// What a person can decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is written.
    Approved,
    /// It is not written, until the source changes it.
    Rejected,
}

/// Where a hold stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldState {
    /// It waits for a person.
    Waiting,
    /// A person let it pass.
    Approved,
    /// A person refused it.
    Rejected,
    /// Nobody decided in time: as if refused.
    Expired,
}

impl HoldState {
    /// The word that tables and `--json` use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
        }
    }
}

impl Stop {
    /// One that nobody has decided about.
    pub fn new(why: Why, risk: impl Into<Option<Risk>>, since: Timestamp) -> Self {
        Self { why, risk: risk.into(), since, ruling: None }
    }

    /// Where it stands at `now`, in the store's clock.
    pub fn state(&self, now: Timestamp) -> HoldState {
        match self.ruling.as_ref().map(|ruling| ruling.verdict) {
            Some(Verdict::Approved) => HoldState::Approved,
            Some(Verdict::Rejected) => HoldState::Rejected,
            None if self.since + HOLD_TTL <= now => HoldState::Expired,
            None => HoldState::Waiting,
        }
    }

    /// Whether a person let it pass.
    pub fn is_approved(&self) -> bool {
        self.ruling.as_ref().is_some_and(|ruling| ruling.verdict == Verdict::Approved)
    }
}

impl Hold {
    /// Whether it keeps the value from being written: it does until a person lets it pass.
    pub fn holds(&self) -> bool {
        match self {
            Self::BaseLost { .. } => true,
            Self::Stopped(stop) => !stop.is_approved(),
        }
    }

    /// Where it stands at `now`, in the store's clock.
    pub fn state(&self, now: Timestamp) -> HoldState {
        match self {
            Self::BaseLost { .. } => HoldState::Waiting,
            Self::Stopped(stop) => stop.state(now),
        }
    }
}

impl Register {
    /// Whether it is not written for the time being.
    pub fn is_held(&self) -> bool {
        self.hold.as_ref().is_some_and(Hold::holds)
    }

    /// Whether the loop breaker holds it, and no person has decided about that.
    pub fn is_frozen(&self) -> bool {
        matches!(&self.hold, Some(Hold::Stopped(stop)) if stop.why == Why::Frozen && stop.ruling.is_none())
    }

    /// Whether a person, or nobody in time, decided that its value is not written.
    pub fn is_rejected(&self, now: Timestamp) -> bool {
        let state = self.hold.as_ref().map(|hold| hold.state(now));
        matches!(state, Some(HoldState::Rejected | HoldState::Expired))
    }
}

/// What is held of a link: an attribute, or an account as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held<'l> {
    /// The side that is not written.
    pub side: Side,
    /// The attribute; `None`: the account as a whole is not created, or does not part from its partner.
    pub path: Option<&'l AttributePath>,
    /// Generation of the value; of an account that is not created 0, else which leaving of its partner is meant.
    pub generation: u32,
    /// Since when, in the store's clock.
    pub since: Timestamp,
    /// Why it was stopped; `None`: the base was lost.
    pub stop: Option<&'l Stop>,
}

impl Held<'_> {
    /// Where it stands at `now`, in the store's clock.
    pub fn state(&self, now: Timestamp) -> HoldState {
        self.stop.map_or(HoldState::Waiting, |stop| stop.state(now))
    }
}

impl Link {
    /// Everything of this link that is held or was decided about, and is not there all the same.
    pub fn held(&self) -> impl Iterator<Item = Held<'_>> {
        let attributes = self.registers.iter().filter_map(|(path, register)| {
            let side = Side::BOTH.into_iter().find(|side| register.applied[*side] != register.generation)?;
            let (since, stop) = match register.hold.as_ref()? {
                Hold::BaseLost { .. } => (register.at.read_at, None),
                Hold::Stopped(stop) => (stop.since, Some(stop)),
            };
            Some(Held { side, path: Some(path), generation: register.generation, since, stop })
        });
        let accounts = Side::BOTH.into_iter().filter_map(|side| {
            let state = &self.sides[side];
            let stop = state.stop.as_ref()?;
            let (is_due, generation) = match stop.risk {
                Some(Risk::Create) => (self.may_be_created(side), 0),
                _ => (state.account.is_some() && self.left(side.other()).is_some(), self.leaving()),
            };
            is_due.then_some(Held { side, path: None, generation, since: stop.since, stop: Some(stop) })
        });
        attributes.chain(accounts)
    }

    /// Since when something waits for a person; `None`: nothing does. What waits too long does so no more, which is up to
    /// whoever knows the time.
    pub fn held_since(&self) -> Option<Timestamp> {
        self.held().filter(|held| held.stop.is_none_or(|stop| stop.ruling.is_none())).map(|held| held.since).min()
    }

    /// Whether the side has no account, and its partner is there and may use its own.
    fn may_be_created(&self, side: Side) -> bool {
        let other = &self.sides[side.other()];
        let active = self.registers.get(&AttributePath::active());
        let is_leaver = active.is_some_and(|register| register.value == Some(Value::Bool(false)));
        self.sides[side].account.is_none() && other.account.is_some() && !other.is_gone() && !is_leaver
    }
}

/// What a person decided about one side of a link, and about what: a value that was changed since is not meant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Approval {
    /// The attributes, with the generation of the value that the person saw.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<(AttributePath, u32)>,
    /// Whether the account as a whole is meant: it may be created, or part from its partner.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub account: bool,
    /// Which leaving of the partner is meant; 0 for a creation.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub leaving: u32,
    /// Who: `user@host`.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Approval {
    /// Of nothing yet.
    pub fn new(by: String, at: Timestamp) -> Self {
        Self { values: Vec::new(), account: false, leaving: 0, by, at }
    }

    /// Adds a value of this generation; without an attribute the account as a whole.
    pub fn add(&mut self, path: Option<&AttributePath>, generation: u32) {
        match path {
            Some(path) => self.values.push((path.clone(), generation)),
            None => (self.account, self.leaving) = (true, generation),
        }
    }
}

/// Notes what a person decided about `side`. `None`: there is nothing of it that is not decided so already.
pub fn rule(link: &Link, side: Side, about: &Approval, verdict: Verdict) -> Option<Link> {
    let ruling = Ruling { verdict, by: about.by.clone(), at: about.at };
    let is_new = |stop: &Stop| stop.ruling.as_ref().is_none_or(|ruling| ruling.verdict != verdict);
    let mut after = link.clone();
    let mut changed = false;
    for (path, generation) in &about.values {
        let Some(register) = after.registers.get_mut(path).filter(|register| register.generation == *generation) else {
            continue;
        };
        match &mut register.hold {
            Some(Hold::Stopped(stop)) if is_new(stop) => {
                stop.ruling = Some(ruling.clone());
                if stop.why == Why::Frozen {
                    // Counted from the beginning, whatever was decided.
                    after.turns.remove(path);
                }
                changed = true;
            }
            // What the other side holds is overwritten by the register's value, or stays.
            Some(Hold::BaseLost { .. }) => {
                register.hold = None;
                if verdict == Verdict::Rejected {
                    register.applied[side] = register.generation;
                }
                changed = true;
            }
            Some(Hold::Stopped(_)) | None => {}
        }
    }
    let leaving = link.leaving();
    let is_meant = |stop: &Stop| about.leaving == if stop.risk == Some(Risk::Create) { 0 } else { leaving };
    if about.account
        && let Some(stop) = after.sides[side].stop.as_mut().filter(|stop| is_meant(stop) && is_new(stop))
    {
        stop.ruling = Some(ruling);
        changed = true;
    }
    changed.then_some(after)
}

#[cfg(test)]
mod tests;
