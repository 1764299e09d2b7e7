//! When a failed command is tried again, and when it is given up.

use std::time::Duration;

use crate::domain::FailureClass;

/// How often, and after how long, a command is tried again. The waits are the rungs of the broker's retry ladder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Failed attempts after which it becomes a dead letter.
    pub attempts: u32,
}

/// The waits after the first, second, ... failed attempt. Later ones wait as long as the last.
const WAITS: [Duration; 6] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(2 * 60),
    Duration::from_secs(10 * 60),
    Duration::from_secs(60 * 60),
];

/// What becomes of a command after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It waits this long at least. `attempt` is what the next try carries.
    Retry {
        /// The least wait.
        after: Duration,
        /// Failed attempts so far.
        attempt: u32,
    },
    /// It needs a person.
    Dead,
}

impl RetryPolicy {
    /// What becomes of a command whose attempt number `attempt` (from 0) failed like this. `asked`: the wait that the
    /// system asked for.
    pub fn verdict(self, class: FailureClass, attempt: u32, asked: Option<Duration>) -> Verdict {
        let step = |attempt: u32| WAITS[(attempt as usize).min(WAITS.len() - 1)];
        match class {
            FailureClass::Permanent => Verdict::Dead,
            FailureClass::Transient if attempt + 1 >= self.attempts => Verdict::Dead,
            FailureClass::Transient => {
                Verdict::Retry { after: step(attempt).max(asked.unwrap_or_default()), attempt: attempt + 1 }
            }
            FailureClass::Throttled => Verdict::Retry { after: asked.unwrap_or(WAITS[1]), attempt },
            FailureClass::Unauthorised => Verdict::Retry { after: WAITS[2], attempt },
            FailureClass::Busy => Verdict::Retry { after: asked.unwrap_or(WAITS[2]), attempt },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_transient_failures_cost_an_attempt() {
        let policy = RetryPolicy { attempts: 3 };
        let seconds = Duration::from_secs;
        for (class, attempt, asked, expected) in [
            (FailureClass::Transient, 0, None, Verdict::Retry { after: seconds(1), attempt: 1 }),
            (FailureClass::Transient, 1, Some(seconds(9)), Verdict::Retry { after: seconds(9), attempt: 2 }),
            (FailureClass::Transient, 2, None, Verdict::Dead),
            (FailureClass::Permanent, 0, None, Verdict::Dead),
            (FailureClass::Throttled, 2, Some(seconds(90)), Verdict::Retry { after: seconds(90), attempt: 2 }),
            (FailureClass::Unauthorised, 2, None, Verdict::Retry { after: seconds(30), attempt: 2 }),
            (FailureClass::Busy, 2, None, Verdict::Retry { after: seconds(30), attempt: 2 }),
        ] {
            assert_eq!(policy.verdict(class, attempt, asked), expected, "{class} {attempt} {asked:?}");
        }
    }

    #[test]
    fn waits_never_get_shorter() {
        let policy = RetryPolicy { attempts: u32::MAX };
        let wait = |attempt| match policy.verdict(FailureClass::Transient, attempt, None) {
            Verdict::Retry { after, .. } => after,
            Verdict::Dead => Duration::MAX,
        };
        for attempt in 0..100 {
            assert!(wait(attempt) <= wait(attempt + 1), "attempt {attempt}");
        }
    }
}
