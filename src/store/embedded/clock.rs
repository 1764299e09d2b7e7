//! The store's clock: the machine's, kept from running backwards while this process lives.

use std::sync::{Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::domain::Timestamp;

/// A clock. Where the machine's is set back, it goes on at its own pace from where it was.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// The latest time that the machine's clock led with, and when that was.
    anchor: Mutex<Option<(Instant, Timestamp)>>,
}

impl Clock {
    pub(super) fn now(&self) -> Timestamp {
        // A machine whose clock stands before 1970 is as good as one that stands at 1970.
        let machine = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // Taken under the lock, so that no other caller has a later one.
        let mut anchor = self.anchor.lock().unwrap_or_else(PoisonError::into_inner);
        read(&mut anchor, Instant::now(), Timestamp(0) + machine)
    }
}

fn read(anchor: &mut Option<(Instant, Timestamp)>, at: Instant, machine: Timestamp) -> Timestamp {
    let own = anchor.map(|(anchored_at, time)| time + at.saturating_duration_since(anchored_at));
    match own {
        Some(own) if own > machine => own,
        _ => {
            *anchor = Some((at, machine));
            machine
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_clock_that_is_set_back_goes_on_and_one_that_is_set_forward_is_followed() {
        let (mut anchor, begin) = (None, Instant::now());
        let mut at =
            |elapsed_ms, machine| read(&mut anchor, begin + Duration::from_millis(elapsed_ms), Timestamp(machine)).0;
        for (elapsed_ms, machine, expected) in [
            (0, 1_000, 1_000),
            (10, 1_010, 1_010),
            // Set back by half a second: each reading moves on, however short the steps.
            (11, 511, 1_011),
            (500, 1_000, 1_500),
            (600, 1_700, 1_700),
            (700, 1_750, 1_800),
        ] {
            assert_eq!(at(elapsed_ms, machine), expected, "after {elapsed_ms} ms");
        }
    }
}
