//! How long to wait: between attempts at a connection, and on the retry ladder. Chance comes in as an argument.

use std::time::Duration;

use backoff::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// The rungs of the retry ladder, lowest first: the name in the names of its exchange and queue, and the longest wait.
pub const RUNGS: [Rung; 6] = [
    Rung { name: "1s", wait: Duration::from_secs(1) },
    Rung { name: "5s", wait: Duration::from_secs(5) },
    Rung { name: "30s", wait: Duration::from_secs(30) },
    Rung { name: "2m", wait: Duration::from_secs(120) },
    Rung { name: "10m", wait: Duration::from_secs(600) },
    Rung { name: "1h", wait: Duration::from_secs(3600) },
];

/// One rung.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rung {
    /// Names its exchange and queue.
    pub name: &'static str,
    /// The longest that a message stays on it.
    pub wait: Duration,
}

/// The lowest rung that waits at least `after`; above the highest, the highest.
pub fn rung(after: Duration) -> Rung {
    RUNGS.into_iter().find(|rung| rung.wait >= after).unwrap_or(RUNGS[RUNGS.len() - 1])
}

/// How long this message stays on the rung of `after`: never less than `after` (as far as the ladder reaches), and
/// spread from the rung below up to this one, so that what failed together does not come back together.
/// `draw` is uniform in 0..1.
///
/// A quorum queue expires messages only at its head, so one may wait for those before it, but never longer than its rung.
pub fn expiration(after: Duration, draw: f64) -> Duration {
    let rung = rung(after);
    let below = RUNGS.into_iter().rev().find(|below| below.wait < rung.wait).map_or(Duration::ZERO, |below| below.wait);
    let least = below.max(after.min(rung.wait));
    least + (rung.wait - least).mul_f64(draw)
}

/// The waits between attempts at something that cannot be given up: from 0.2 s, doubling up to 30 s, without end.
pub fn reconnect_delays() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(200))
        .with_factor(2.0)
        .with_max_delay(Duration::from_secs(30))
        .without_max_times()
        .build()
}

/// The waits before a file that is busy or full is tried again: from 50 ms, doubling up to 5 s, without end.
pub fn busy_delays() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(50))
        .with_factor(2.0)
        .with_max_delay(Duration::from_secs(5))
        .without_max_times()
        .build()
}

/// Full jitter: anything up to the whole delay, so that clients that lost one broker do not return as one.
/// (backon's own jitter only adds up to the least delay.) `draw` is uniform in 0..1.
pub fn full_jitter(delay: Duration, draw: f64) -> Duration {
    delay.mul_f64(draw)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn the_lowest_rung_that_is_long_enough_is_taken() {
        for (after, name) in [
            (0.0, "1s"),
            (1.0, "1s"),
            (1.001, "5s"),
            (5.0, "5s"),
            (29.0, "30s"),
            (31.0, "2m"),
            (120.0, "2m"),
            (599.0, "10m"),
            (601.0, "1h"),
            (3600.0, "1h"),
            (90_000.0, "1h"),
        ] {
            assert_eq!(rung(seconds(after)).name, name, "after {after} s");
        }
    }

    #[test]
    fn a_wait_lies_between_what_was_asked_and_the_rung() {
        for (after, draw, expected) in [
            (0.0, 0.0, 0.0),
            (0.0, 0.5, 0.5),
            (0.5, 0.0, 0.5),
            (3.0, 0.0, 3.0),
            (3.0, 0.5, 4.0),
            (30.0, 0.9, 30.0),
            (31.0, 0.0, 31.0),
            (90_000.0, 0.3, 3600.0),
        ] {
            assert_eq!(expiration(seconds(after), draw), seconds(expected), "after {after} s, draw {draw}");
        }
    }

    proptest! {
        #[test]
        fn no_wait_is_shorter_than_asked_or_longer_than_its_rung(after in 0u64..5_000_000, draw in 0.0f64..1.0) {
            let after = Duration::from_millis(after);
            let wait = expiration(after, draw);
            prop_assert!(wait >= after.min(RUNGS[RUNGS.len() - 1].wait));
            prop_assert!(wait <= rung(after).wait);
        }
    }

    #[test]
    fn reconnecting_never_ends() {
        let mut delays = reconnect_delays();
        let first: Vec<_> = delays.by_ref().take(4).map(|delay| delay.as_millis()).collect();
        assert_eq!(first, [200, 400, 800, 1600]);
        assert_eq!(delays.nth(10_000), Some(Duration::from_secs(30)));
        assert_eq!(full_jitter(seconds(8.0), 0.25), seconds(2.0));
    }
}
