//! Writes that wait because somebody works with the account (R22-R24, B20): since when, how long at most, and what comes
//! then. The wait is kept on the link, so that neither a crash nor a redelivery begins it anew.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::attribute::AttributePath;
use super::failure::{Code, Failure, FailureClass};
use super::id::Side;
use super::link::{Link, SideState};
use super::pending::{Pending, lacking};
use super::rules::Rules;
use super::time::Timestamp;

/// The longest wait where nothing is configured: longer than anybody's working day.
pub const USUAL_WAIT: Duration = Duration::from_secs(24 * 3600);

/// What happens to writes of accounts that somebody works with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BusyPolicy {
    /// How long a write waits at most.
    pub wait: Duration,
    /// What comes then.
    pub then: AfterWait,
    /// Attributes whose changes do not wait at all, as the link names them; of `active` only a deactivation.
    pub urgent: BTreeSet<AttributePath>,
}

impl Default for BusyPolicy {
    /// A day, then a dead letter; only deactivations do not wait.
    fn default() -> Self {
        Self { wait: USUAL_WAIT, then: AfterWait::Letter, urgent: [AttributePath::active()].into() }
    }
}

/// What comes after the longest wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterWait {
    /// A dead letter: a person decides.
    Letter,
    /// The account is written although somebody works with it. Where the system ignores that, it is tried as often as
    /// after any failure.
    Write,
}

/// Whether a write of an account that somebody works with may go ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InUse {
    /// It may not: [`FailureClass::Busy`].
    #[default]
    Spare,
    /// It may, whatever that does to the person.
    Override,
}

/// A write that waits until nobody works with the account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deferral {
    /// When the account was first found in use, in the store's clock.
    #[serde(rename = "t")]
    pub since: Timestamp,
    /// How it was in use, as the system said last.
    #[serde(rename = "c")]
    pub code: Code,
}

/// What becomes of a write of an account that was in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Busy {
    /// It waits, this long at most.
    Waits(Duration),
    /// It has waited as long as it may: this failure takes the place of the system's answer.
    Over(Failure),
}

impl BusyPolicy {
    /// Until when a write waits at most, in the store's clock.
    pub fn until(&self, deferral: &Deferral) -> Timestamp {
        deferral.since + self.wait
    }

    /// Whether this write may go ahead at `now` (store clock) although somebody works with the account.
    pub fn in_use(&self, state: &SideState, wanted: &Pending, now: Timestamp) -> InUse {
        let waited = state.deferral.as_ref().is_some_and(|deferral| self.until(deferral) <= now);
        let is_urgent = |path: &AttributePath| match path.is_active() {
            true => wanted.deactivates(),
            false => wanted.values.contains_key(path),
        };
        if (waited && self.then == AfterWait::Write) || self.urgent.iter().any(is_urgent) {
            InUse::Override
        } else {
            InUse::Spare
        }
    }

    /// What becomes of a write that the system refused at `now` (store clock) with a failure of class
    /// [`FailureClass::Busy`].
    pub fn after(&self, state: &SideState, failure: &Failure, now: Timestamp) -> Busy {
        let until = state.deferral.as_ref().map_or(now + self.wait, |deferral| self.until(deferral));
        if now < until {
            return Busy::Waits(until.since(now));
        }
        Busy::Over(match self.then {
            AfterWait::Letter => Failure {
                class: FailureClass::Permanent,
                code: Code::known("busy_too_long"),
                message: format!("{}; it was in use for as long as `busy` lets a write wait", failure.message).into(),
                ..failure.clone()
            },
            AfterWait::Write => Failure { class: FailureClass::Transient, ..failure.clone() },
        })
    }
}

/// Notes that a write of `side` waits, at `now` in the store's clock. The first such note keeps its time.
pub fn defer(mut link: Link, side: Side, code: &Code, now: Timestamp) -> Link {
    let since = link.sides[side].deferral.as_ref().map_or(now, |deferral| deferral.since);
    link.sides[side].deferral = Some(Deferral { since, code: code.clone() });
    link
}

/// Ends the waits of sides that lack nothing any more, so that the next write waits from its own beginning. Whether there
/// were any.
pub fn end_idle(link: &mut Link, rules: &Rules) -> bool {
    let mut ended = false;
    for side in Side::BOTH {
        if link.sides[side].deferral.is_some() && lacking(link, side, rules).is_none() {
            link.sides[side].deferral = None;
            ended = true;
        }
    }
    ended
}

impl Link {
    /// Since when a write of this link waits until nobody works with the account; `None`: none does.
    pub fn deferred_since(&self) -> Option<Timestamp> {
        Side::BOTH.into_iter().filter_map(|side| Some(self.sides[side].deferral.as_ref()?.since)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::pending::pending;
    use crate::domain::resolve::tests::vocabulary::{Play, at, path, to_b};

    const NOW: Timestamp = Timestamp(1_000_000);

    fn refusal() -> Failure {
        Failure::new(FailureClass::Busy, Code::known("logged_in"), "somebody is logged in")
    }

    /// A link whose side `b` lacks a new value of `x`.
    fn behind(rules: &Rules) -> (Link, Pending) {
        let mut play = Play::in_sync(rules.clone(), &[("x", "1")]);
        play.see(Side::A, at(30.0, 40.0), &[("x", "2")]);
        let wanted = pending(&play.link, Side::B, rules).expect("the edit flows");
        (play.link, wanted)
    }

    /// R22: a write waits from the first time on that the account was found in use, and no longer than configured.
    #[test]
    fn a_wait_counts_from_its_beginning() {
        let policy = BusyPolicy { wait: Duration::from_secs(60), ..BusyPolicy::default() };
        let (link, _) = behind(&to_b(&["x"]));
        assert_eq!(policy.after(&link.sides.b, &refusal(), NOW), Busy::Waits(Duration::from_secs(60)));
        let link = defer(link, Side::B, &refusal().code, NOW);
        let link = defer(link, Side::B, &Code::known("in_conversation"), NOW + Duration::from_secs(50));
        assert_eq!(link.deferred_since(), Some(NOW));
        let left = policy.after(&link.sides.b, &refusal(), NOW + Duration::from_secs(59));
        assert_eq!(left, Busy::Waits(Duration::from_secs(1)));
        let later = NOW + Duration::from_secs(60);
        let over = |then| match (BusyPolicy { then, ..policy.clone() }).after(&link.sides.b, &refusal(), later) {
            Busy::Over(failure) => (failure.class, failure.code.as_str().to_owned()),
            waits => panic!("{waits:?}"),
        };
        assert_eq!(over(AfterWait::Letter), (FailureClass::Permanent, "busy_too_long".to_owned()));
        assert_eq!(over(AfterWait::Write), (FailureClass::Transient, "logged_in".to_owned()));
    }

    /// R24: what overrides a person at work is configured: what is urgent, and what has waited long enough.
    #[test]
    fn only_what_is_configured_overrides() {
        let mut rules = to_b(&["x"]);
        rules.busy.wait = Duration::from_secs(60);
        let (link, wanted) = behind(&rules);
        let link = defer(link, Side::B, &refusal().code, NOW);
        let later = NOW + Duration::from_secs(60);
        let asked = |policy: &BusyPolicy, now| policy.in_use(&link.sides.b, &wanted, now);
        assert_eq!(asked(&rules.busy, later), InUse::Spare, "it becomes a letter");
        let writes = BusyPolicy { then: AfterWait::Write, ..rules.busy.clone() };
        assert_eq!(asked(&writes, NOW), InUse::Spare);
        assert_eq!(asked(&writes, later), InUse::Override);
        let urgent = BusyPolicy { urgent: [path("x")].into(), ..rules.busy.clone() };
        assert_eq!(asked(&urgent, NOW), InUse::Override);
    }

    #[test]
    fn a_side_that_lacks_nothing_waits_for_nothing() {
        let rules = to_b(&["x"]);
        let (link, _) = behind(&rules);
        let mut link = defer(link, Side::B, &refusal().code, NOW);
        assert!(!end_idle(&mut link, &rules));
        link.registers.get_mut(&path("x")).unwrap().applied.b = 2;
        assert!(end_idle(&mut link, &rules));
        assert_eq!(link.deferred_since(), None);
    }
}
