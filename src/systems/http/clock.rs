//! What time it is for a system, from the `Date` headers of its answers.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::clock;
use crate::domain::Timestamp;

/// A system's clock and ours drift apart by no more than one part in this many.
const DRIFT: i64 = 10_000;

/// `Date` has whole seconds: the system's clock was at most this much further when it wrote one.
const DATE_GRAIN: Duration = Duration::from_secs(1);

/// Hosts behind one address may differ by this much before a `Date` counts as "the clock was set back".
const HOST_SKEW: Duration = Duration::from_secs(2);

/// A lower bound of a system's clock: never later than the truth, and as close to it as its answers allow.
///
/// An answer with `Date: D` that came at our instant `t` shows that the system's clock was at or past `D` at `t`. The
/// latest such bound is kept and carried on by our monotonic clock, a little slowly, so that drift cannot push it past
/// the truth. Only an answer that contradicts the bound replaces it by an earlier one: the system's clock was set back.
#[derive(Debug, Default)]
pub struct SystemClock {
    bound: Mutex<Option<Bound>>,
}

/// At `at`, the system's clock showed `time` or later.
#[derive(Debug, Clone, Copy)]
struct Bound {
    at: Instant,
    time: Timestamp,
}

impl Bound {
    fn carried_to(self, instant: Instant) -> Timestamp {
        let drift = |elapsed: Duration| elapsed / u32::try_from(DRIFT).expect("a small constant");
        match instant.checked_duration_since(self.at) {
            Some(later) => self.time + (later - drift(later)),
            None => {
                let earlier = self.at - instant;
                self.time - (earlier + drift(earlier))
            }
        }
    }
}

impl SystemClock {
    /// Learns from an answer to a request that was sent at `sent`, came at `arrived` and carried `Date: date`.
    pub fn observe(&self, date: Timestamp, sent: Instant, arrived: Instant) {
        let mut bound = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        let replace = bound.is_none_or(|known| {
            // The header was written at or after `sent`, when the clock was before `date` plus the header's grain.
            let set_back = known.carried_to(sent) > date + DATE_GRAIN + HOST_SKEW;
            date >= known.carried_to(arrived) || set_back
        });
        if replace {
            *bound = Some(Bound { at: arrived, time: date });
        }
    }

    /// The system's clock at one of our instants; our own clock while no answer has shown the system's.
    pub fn at(&self, instant: Instant) -> Timestamp {
        let bound = *self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        match bound {
            Some(bound) => bound.carried_to(instant),
            None => Bound { at: clock::now(), time: clock::wall() }.carried_to(instant),
        }
    }

    /// The system's clock now.
    pub fn now(&self) -> Timestamp {
        self.at(clock::now())
    }

    /// Whether an answer has shown the system's clock.
    pub fn is_known(&self) -> bool {
        self.bound.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Date headers in seconds, and our instants in milliseconds after a common start.
    fn clock_after(answers: &[(i64, u64, u64)]) -> (SystemClock, Instant) {
        let start = Instant::now();
        let clock = SystemClock::default();
        for (date, sent, arrived) in answers {
            let instant = |ms: &u64| start + Duration::from_millis(*ms);
            clock.observe(Timestamp(date * 1_000), instant(sent), instant(arrived));
        }
        (clock, start)
    }

    #[test]
    fn the_latest_bound_is_kept_and_carried_on() {
        // The truth is 1_000.9 s at the start. The second answer was slow, so it says less than the first.
        let (clock, start) = clock_after(&[(1_001, 0, 150), (1_001, 500, 1_900)]);
        let at = clock.at(start + SECOND).0;
        assert!((1_001_849..=1_001_850).contains(&at), "{at}");
        assert!(at <= 1_001_900, "never later than the truth");
    }

    #[test]
    fn an_earlier_instant_is_carried_back() {
        let (clock, start) = clock_after(&[(1_001, 0, 2_000)]);
        let at = clock.at(start).0;
        assert!((998_999..=999_000).contains(&at), "{at}");
    }

    #[test]
    fn drift_never_pushes_the_bound_past_the_truth() {
        let (clock, start) = clock_after(&[(1_000, 0, 0)]);
        assert_eq!(clock.at(start + 10_000 * SECOND).0, 1_000_000 + 9_999_000);
    }

    #[test]
    fn a_clock_that_was_set_back_is_followed() {
        let (clock, start) = clock_after(&[(5_000, 0, 10), (1_000, 1_000, 1_010)]);
        assert_eq!(clock.at(start + Duration::from_millis(1_010)).0, 1_000_000);
    }

    #[test]
    fn a_skewed_host_does_not_set_the_clock_back() {
        let (clock, start) = clock_after(&[(5_000, 0, 0), (4_999, 1_000, 1_000)]);
        assert!(clock.at(start + SECOND).0 >= 5_000_999);
    }

    #[test]
    fn own_clock_until_the_first_answer() {
        let clock = SystemClock::default();
        assert!(!clock.is_known());
        assert!(clock::wall().since(clock.now()) < Duration::from_secs(60));
    }
}
