//! Sending many letters again: which ones are meant, how fast it goes, and how far it has come. It is kept in the store, so
//! that it can be stopped, and carried on also by another process after a crash.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::attribute::AttributePath;
use super::change::Cause;
use super::dead_letter::{DeadLetter, Fingerprint, LetterId, LetterPlace};
use super::failure::FailureClass;
use super::id::{ConnectionName, RunId, SystemName};
use super::time::Timestamp;

/// Which open letters are meant: those that fit everything that is given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LetterFilter {
    /// Only this connection.
    pub connection: Option<ConnectionName>,
    /// Only what this system refused, or what is wrong with its records.
    pub target: Option<SystemName>,
    /// Only failures of this class.
    pub class: Option<FailureClass>,
    /// Only this code.
    pub code: Option<String>,
    /// Only this attribute.
    pub attribute: Option<AttributePath>,
    /// Only what was opened at this time or later.
    pub since: Option<Timestamp>,
    /// Only what was opened before this time.
    pub until: Option<Timestamp>,
}

impl LetterFilter {
    /// Whether letters of this fingerprint are meant, as far as it tells.
    pub fn fits_cause(&self, fingerprint: &Fingerprint) -> bool {
        self.target.as_ref().is_none_or(|target| fingerprint.target.as_ref() == Some(target))
            && self.class.is_none_or(|class| fingerprint.class == class)
            && self.code.as_ref().is_none_or(|code| fingerprint.code.as_str() == code)
            && self.attribute.as_ref().is_none_or(|path| fingerprint.attribute.as_ref() == Some(path))
    }

    /// Whether this letter is meant.
    pub fn fits(&self, letter: &DeadLetter) -> bool {
        self.fits_cause(&letter.fingerprint)
            && self.connection.as_ref().is_none_or(|name| letter.connection.as_ref() == Some(name))
            && self.when().contains(&letter.first_at)
    }

    /// When the letters that are meant were opened.
    pub fn when(&self) -> Range<Timestamp> {
        self.since.unwrap_or(Timestamp(0))..self.until.unwrap_or(Timestamp(i64::MAX))
    }

    /// Whether every open letter is meant.
    pub fn is_open(&self) -> bool {
        *self == Self::default()
    }
}

/// What is sent again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Which {
    /// These.
    Letters(Vec<LetterId>),
    /// Those that a filter means, opened before it began.
    Fitting(LetterFilter),
}

impl Which {
    /// Without what is opened at `now` or later: nobody has looked at that. Letters that are named stay.
    pub fn as_of(self, now: Timestamp) -> Self {
        match self {
            Self::Fitting(filter) => {
                let until = Some(filter.until.map_or(now, |until| until.min(now)));
                Self::Fitting(LetterFilter { until, ..filter })
            }
            ids @ Self::Letters(_) => ids,
        }
    }
}

/// How far it has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "phase")]
pub enum Phase {
    /// The first few are sent, or waited for.
    Canary,
    /// The others are sent.
    Going,
    /// A person or a failed canary stopped it; it can be carried on.
    Stopped {
        /// Why, for people.
        why: String,
        /// What came of the first few is not known yet, and is waited for when it is carried on.
        #[serde(default)]
        unproven: bool,
    },
    /// Everything that was meant was sent.
    Done,
}

/// A letter that is being sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InHand {
    /// The letter.
    pub place: LetterPlace,
    /// How often it had failed.
    pub failures: u32,
    /// What the command that is sent for it is counted under, where one is sent. Sent a second time after a crash it is
    /// counted under the same number, so once.
    pub counted: Option<(ConnectionName, Cause)>,
}

/// Sending many letters again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redrive {
    /// Its name.
    pub id: String,
    /// Counts the times that it was saved.
    pub revision: u64,
    /// When it was saved last, by the clock of whoever carries it out.
    pub saved_at: Timestamp,
    /// What is sent again.
    pub which: Which,
    /// Who began it: `user@host`.
    pub by: String,
    /// When, by that host's clock.
    pub began_at: Timestamp,
    /// So many are sent first, and the others only once none of these failed again; 0: no such caution.
    pub canary: u32,
    /// Letters a second at most.
    pub rate: Option<u32>,
    /// How far it has come.
    #[serde(flatten)]
    pub phase: Phase,
    /// How many letters were meant when it began.
    pub meant: u64,
    /// How many of them were sent.
    pub sent: u64,
    /// How many were closed without sending anything, since nothing was lacking any more.
    pub closed: u64,
    /// How many cannot be sent.
    pub left: u64,
    /// The last letter that was dealt with: those behind it are still to be sent.
    pub after: Option<LetterPlace>,
    /// The letters that are being sent right now.
    pub in_hand: Vec<InHand>,
    /// Those sent first, until their outcome is known.
    pub canaries: Vec<InHand>,
    /// The run that counts what comes of the commands, for each connection.
    pub runs: BTreeMap<ConnectionName, RunId>,
}

impl Redrive {
    /// How many letters it has dealt with.
    pub fn dealt_with(&self) -> u64 {
        self.sent + self.closed + self.left
    }

    /// Whether nothing is left to be sent.
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Done
    }

    /// How many letters may be dealt with now, `elapsed_ms` after this process began to send, having dealt with `dealt`
    /// of them: as many as are due by the rate, but never more than `at_once` or what a second brings, so that a stall is not
    /// made up for at once.
    pub fn due(&self, elapsed_ms: u64, dealt: u64, at_once: usize) -> usize {
        let left = match self.rate {
            // The first is due at once.
            Some(rate) => {
                let due = elapsed_ms.saturating_mul(u64::from(rate)) / 1_000 + 1;
                due.saturating_sub(dealt).min(u64::from(rate))
            }
            None => u64::MAX,
        };
        let canaries = match self.phase {
            Phase::Canary => u64::from(self.canary).saturating_sub(self.dealt_with()),
            _ => u64::MAX,
        };
        usize::try_from(left.min(canaries)).unwrap_or(usize::MAX).min(at_once)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redrive(canary: u32, rate: Option<u32>) -> Redrive {
        Redrive {
            id: "r".to_owned(),
            revision: 1,
            saved_at: Timestamp(0),
            which: Which::Fitting(LetterFilter::default()),
            by: "ada@host".to_owned(),
            began_at: Timestamp(0),
            canary,
            rate,
            phase: if canary > 0 { Phase::Canary } else { Phase::Going },
            meant: 0,
            sent: 0,
            closed: 0,
            left: 0,
            after: None,
            in_hand: Vec::new(),
            canaries: Vec::new(),
            runs: BTreeMap::new(),
        }
    }

    /// B8: never faster than the rate, and as fast over any time.
    #[test]
    fn letters_are_due_at_the_rate() {
        for rate in [1, 7, 50, 400] {
            let redrive = redrive(0, Some(rate));
            let mut dealt = 0;
            for elapsed in (0..10_000).step_by(13) {
                dealt += redrive.due(elapsed, dealt, 200) as u64;
                let allowed = elapsed * u64::from(rate) / 1_000 + 1;
                assert!(dealt <= allowed, "{dealt} of {allowed} after {elapsed} ms at {rate}/s");
                assert!(dealt + u64::from(rate) * 13 / 1_000 + 1 >= allowed, "{dealt} of {allowed}");
            }
        }
    }

    /// B8: nothing but the canaries before their outcome is known.
    #[test]
    fn the_canaries_go_first_and_alone() {
        let mut redrive = redrive(3, None);
        assert_eq!(redrive.due(0, 0, 200), 3);
        (redrive.sent, redrive.left) = (2, 1);
        assert_eq!(redrive.due(9_999, 3, 200), 0);
        redrive.phase = Phase::Going;
        assert_eq!(redrive.due(9_999, 3, 200), 200);
    }
}
