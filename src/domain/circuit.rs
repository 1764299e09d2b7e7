//! Whether a system may be called: what all processes together know of how its calls fare, and what follows from that.
//!
//! A *circuit* is closed as long as calls go well. It opens at once when the credential is refused, when many calls of a
//! minute fail, and when there are no answers at all. Then nobody calls the system but one *probe* at a time, ever more
//! seldom, and a probe that goes well closes it. Commands and reads wait meanwhile: an outage is no fault of an account, so
//! it makes no dead letter.
//!
//! Counted are calls and not accounts, in slices of time, so that what is kept does not grow with what is called.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::failure::{Code, Failure, FailureClass};
use super::id::Token;
use super::time::Timestamp;

/// When a circuit opens, and how it is probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// So many of a hundred calls that fail open it.
    pub share_percent: u32,
    /// The time over which calls are counted, in [`SLICES`] slices.
    pub window: Duration,
    /// Fewer calls within the window say nothing of a share.
    pub least_calls: u32,
    /// So many calls in a row without an answer open it.
    pub least_unanswered: u32,
    /// The wait before the first probe, and the longest one; each failed probe doubles it.
    pub waits: (Duration, Duration),
    /// The same where the credential is refused: a system may lock whoever tries too often.
    pub waits_unauthorised: (Duration, Duration),
    /// How long after a probe is due somebody with nothing else to do makes one: until then it is left to work that waits.
    pub left_to_work: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            share_percent: 40,
            window: seconds(60),
            least_calls: 10,
            least_unanswered: 3,
            waits: (seconds(5), seconds(60)),
            waits_unauthorised: (seconds(30), seconds(600)),
            // Longer than commands wait, see `Circuit::wait`.
            left_to_work: seconds(40),
        }
    }
}

impl Policy {
    /// One that never opens: who only looks, once, wants to hear of a failure and not to wait until it has passed.
    pub fn never() -> Self {
        Self { share_percent: u32::MAX, least_calls: u32::MAX, least_unanswered: u32::MAX, ..Self::default() }
    }
}

/// Slices of the window that are counted by themselves.
pub const SLICES: u32 = 6;

/// The shortest and the longest wait of work that finds a circuit open, until it looks again.
const WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// A command whose attempts are used up is spared while its system fails others as well, but not for more than so many
/// times its attempts: some accounts fail wherever they are sent.
const SPARED: u32 = 2;

/// Calls, by how they fared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Answered, whatever the answer said about an account.
    #[serde(rename = "o", default)]
    pub well: u32,
    /// Failed in a way that says something about the system.
    #[serde(rename = "f", default)]
    pub failed: u32,
    /// Those of the failed ones that had no answer.
    #[serde(rename = "u", default)]
    pub unanswered: u32,
}

impl Counts {
    fn plus(self, other: Self) -> Self {
        Self {
            well: self.well.saturating_add(other.well),
            failed: self.failed.saturating_add(other.failed),
            unanswered: self.unanswered.saturating_add(other.unanswered),
        }
    }

    /// All of them.
    pub fn calls(self) -> u32 {
        self.well.saturating_add(self.failed)
    }

    fn fails(self, percent: u32) -> bool {
        u64::from(self.failed) * 100 >= u64::from(self.calls()) * u64::from(percent)
    }
}

/// What a failed call said of the system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Symptom {
    /// What kind of failure it was.
    pub class: FailureClass,
    /// What went wrong, in one word.
    pub code: Code,
    /// HTTP status of the answer; absent if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
}

/// How a call fared, as far as the system is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fared {
    /// The system works: it did what was asked, or said why not.
    Well,
    /// It says nothing: nothing was sent, or the system asked for fewer calls.
    Nothing,
    /// It speaks against the system.
    Ill(Symptom),
}

impl From<&Failure> for Fared {
    fn from(failure: &Failure) -> Self {
        let ill = || Self::Ill(Symptom { class: failure.class, code: failure.code.clone(), status: failure.status });
        match (failure.class, failure.status) {
            (FailureClass::Permanent | FailureClass::Busy, _) => Self::Well,
            (FailureClass::Throttled, _) => Self::Nothing,
            (FailureClass::Unauthorised, _) => ill(),
            // About the account, such as one that changed meanwhile.
            (FailureClass::Transient, Some(400..=407 | 409..=499)) => Self::Well,
            (FailureClass::Transient, _) if failure.code.as_str() == "not_sent" => Self::Nothing,
            (FailureClass::Transient, _) => ill(),
        }
    }
}

impl<T> From<&Result<T, Failure>> for Fared {
    fn from(result: &Result<T, Failure>) -> Self {
        result.as_ref().map_or_else(Self::from, |_| Self::Well)
    }
}

/// What a process tells of its calls since the last time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// How many there were.
    pub counts: Counts,
    /// The latest that failed; an unauthorised one before all others.
    pub symptom: Option<Symptom>,
    /// The probe that they are.
    pub probe: Option<Token>,
    /// Whether a command has used up its attempts by it.
    pub is_last: bool,
}

impl Report {
    /// Adds a call.
    pub fn add(&mut self, fared: &Fared) {
        let one = match fared {
            Fared::Nothing => return,
            Fared::Well => Counts { well: 1, ..Counts::default() },
            Fared::Ill(symptom) => {
                let unanswered = u32::from(symptom.class == FailureClass::Transient && symptom.status.is_none());
                if !self.is_unauthorised() {
                    self.symptom = Some(symptom.clone());
                }
                Counts { well: 0, failed: 1, unanswered }
            }
        };
        self.counts = self.counts.plus(one);
    }

    /// Both, where this one could not be told before the later one.
    pub fn plus(&self, later: &Self) -> Self {
        let symptom = if self.is_unauthorised() { &self.symptom } else { &later.symptom };
        Self {
            counts: self.counts.plus(later.counts),
            symptom: symptom.clone().or_else(|| self.symptom.clone()),
            ..self.clone()
        }
    }

    fn is_unauthorised(&self) -> bool {
        self.symptom.as_ref().is_some_and(|symptom| symptom.class == FailureClass::Unauthorised)
    }
}

/// Why a circuit is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The credential is not accepted.
    Unauthorised,
    /// Too many calls fail.
    Failing,
    /// There are no answers.
    Unanswered,
}

impl Why {
    /// Every reason.
    pub const ALL: [Self; 3] = [Self::Unauthorised, Self::Failing, Self::Unanswered];

    /// The word that metrics and `--json` use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unauthorised => "unauthorised",
            Self::Failing => "failing",
            Self::Unanswered => "unanswered",
        }
    }
}

/// An open circuit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// Since when, in the store's clock.
    pub since: Timestamp,
    /// Why.
    pub why: Why,
    /// The latest failure.
    pub symptom: Symptom,
    /// Failed probes.
    pub probes: u32,
    /// When the next probe is due, in the store's clock.
    pub probe_at: Timestamp,
    /// The probe under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<Probe>,
}

/// A probe under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// Whose it is.
    pub token: Token,
    /// When nobody waits for it any more, in the store's clock: whoever makes it may be dead.
    pub until: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Slice {
    #[serde(rename = "t")]
    at: Timestamp,
    #[serde(flatten)]
    counts: Counts,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// What all processes know of how the calls of a system fare.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Circuit {
    /// Grows with each change, so that what was decided on an older state is not put in the place of a newer one.
    pub revision: u64,
    /// While it is closed: calls since the first failure of the window. What goes well for all is not counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    slices: Vec<Slice>,
    /// While it is closed: calls in a row that had no answer.
    #[serde(default, skip_serializing_if = "is_zero")]
    streak: u32,
    /// Absent while it is closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<Open>,
}

/// Whether a call may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Calls go out as they come.
    Go,
    /// A probe is due: whoever takes it makes one.
    Probe,
    /// Nobody calls; look again after this.
    Wait(Duration),
}

impl Circuit {
    /// Whether a call may be made at `now` (store clock).
    pub fn admission(&self, now: Timestamp) -> Admission {
        let Some(open) = &self.open else { return Admission::Go };
        let until = match open.probe {
            Some(probe) if probe.until > now => probe.until,
            _ if open.probe_at > now => open.probe_at,
            _ => return Admission::Probe,
        };
        Admission::Wait(open.wait(until, now))
    }

    /// The circuit with a probe taken, which is given up after `lasts`; `None` if none is due.
    pub fn take_probe(&self, token: Token, now: Timestamp, lasts: Duration) -> Option<Self> {
        if self.admission(now) != Admission::Probe {
            return None;
        }
        let mut after = self.clone();
        after.open.as_mut()?.probe = Some(Probe { token, until: now + lasts });
        after.revision += 1;
        Some(after)
    }

    /// Whether somebody with nothing else to do should make the probe that is due.
    pub fn is_probe_overdue(&self, now: Timestamp, policy: &Policy) -> bool {
        let left_to_work = |open: &Open| match open.why {
            // Whether a credential is accepted, any call shows.
            Why::Unauthorised => Duration::ZERO,
            Why::Failing | Why::Unanswered => policy.left_to_work,
        };
        let is_overdue = |open: &Open| open.probe_at + left_to_work(open) <= now;
        self.admission(now) == Admission::Probe && self.open.as_ref().is_some_and(is_overdue)
    }

    /// Whether calls that go well are to be told of: a share needs both.
    pub fn is_troubled(&self) -> bool {
        self.open.is_none() && self.slices.iter().any(|slice| slice.counts.failed > 0)
    }

    /// The circuit after calls that a process tells of at `now` (store clock).
    pub fn after(&self, report: &Report, now: Timestamp, policy: &Policy) -> Self {
        let mut after = self.clone();
        match after.open.as_mut() {
            None => after.count(report, now, policy),
            Some(open) => {
                let is_probe = report.probe.is_some() && open.probe.map(|probe| probe.token) == report.probe;
                if is_probe && report.counts.failed == 0 && report.counts.well > 0 {
                    after.close(now);
                } else {
                    open.hear(report, is_probe, now, policy);
                }
            }
        }
        if after != *self {
            after.revision = self.revision + 1;
        }
        after
    }

    /// A person says that the system is well again.
    pub fn closed(&self, now: Timestamp) -> Self {
        let mut after = self.clone();
        after.close(now);
        after.revision = self.revision + 1;
        after
    }

    fn close(&mut self, now: Timestamp) {
        // What has gone well speaks for the system against the first account that fails by itself.
        let counts = Counts { well: 1, ..Counts::default() };
        (self.open, self.slices, self.streak) = (None, vec![Slice { at: now, counts }], 0);
    }

    fn count(&mut self, report: &Report, now: Timestamp, policy: &Policy) {
        let lately = self.slices.last().is_some_and(|slice| slice.at + policy.window > now);
        let is_silent = report.counts.calls() == report.counts.unanswered;
        let before = if lately { self.streak } else { 0 };
        // Of calls that are told together nobody knows the order.
        self.streak = if is_silent { before.saturating_add(report.counts.unanswered) } else { 0 };
        self.slices.retain(|slice| slice.at + policy.window > now);
        let length = policy.window / SLICES;
        match self.slices.last_mut().filter(|slice| slice.at + length > now) {
            Some(slice) => slice.counts = slice.counts.plus(report.counts),
            None => self.slices.push(Slice { at: now, counts: report.counts }),
        }
        let Some(symptom) = &report.symptom else { return };
        let seen = self.seen();
        let why = if symptom.class == FailureClass::Unauthorised {
            Why::Unauthorised
        } else if self.streak >= policy.least_unanswered {
            Why::Unanswered
        } else if (seen.calls() >= policy.least_calls || report.is_last && seen.well == 0)
            && seen.fails(policy.share_percent)
        {
            if seen.unanswered == seen.failed { Why::Unanswered } else { Why::Failing }
        } else {
            return;
        };
        let probe_at = now + policy.wait(why, 0);
        (self.slices, self.streak) = (Vec::new(), 0);
        self.open = Some(Open { since: now, why, symptom: symptom.clone(), probes: 0, probe_at, probe: None });
    }

    fn seen(&self) -> Counts {
        self.slices.iter().fold(Counts::default(), |seen, slice| seen.plus(slice.counts))
    }

    /// Whether a command with so many failed attempts, of so many that it has, is not given up for the last failure, since
    /// the system fails others as well.
    pub fn spares(&self, failed: u32, attempts: u32, policy: &Policy) -> bool {
        let seen = self.seen();
        let is_ill = seen.failed > 0 && seen.fails(policy.share_percent) && policy.share_percent <= 100;
        self.open.is_some() || is_ill && failed < attempts.saturating_mul(SPARED)
    }
}

impl Open {
    /// The wait of work that finds the circuit open until then: it grows with the outage, since a backlog that waits for
    /// long must not go round and round.
    fn wait(&self, until: Timestamp, now: Timestamp) -> Duration {
        until.since(now).max(now.since(self.since) / 4).clamp(WAITS.0, WAITS.1)
    }

    fn hear(&mut self, report: &Report, is_probe: bool, now: Timestamp, policy: &Policy) {
        if let Some(symptom) = report.symptom.as_ref().filter(|_| is_probe || report.is_unauthorised()) {
            self.symptom = symptom.clone();
        }
        if report.is_unauthorised() && self.why != Why::Unauthorised {
            self.why = Why::Unauthorised;
            self.probe_at = now + policy.wait(self.why, self.probes);
        }
        if is_probe {
            self.probe = None;
            self.probes = self.probes.saturating_add(u32::from(report.counts.failed > 0));
            self.probe_at = now + policy.wait(self.why, self.probes);
        }
    }
}

impl Policy {
    /// The wait before the next probe after so many that failed.
    fn wait(&self, why: Why, probes: u32) -> Duration {
        let (first, longest) = match why {
            Why::Unauthorised => self.waits_unauthorised,
            Why::Failing | Why::Unanswered => self.waits,
        };
        first.saturating_mul(1 << probes.min(16)).min(longest)
    }
}

#[cfg(test)]
mod tests;
