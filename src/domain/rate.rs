//! How often a system may be called: at most so many calls in any stretch of time, by all processes together (B19).

use std::time::Duration;

use super::time::Timestamp;

/// At most `calls` calls in any stretch of `within`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// How many.
    pub calls: u32,
    /// In how long.
    pub within: Duration,
    /// How many of them are kept for urgent work.
    pub reserve: u32,
}

impl Window {
    /// A window of which nothing is kept for urgent work.
    pub const fn new(calls: u32, within: Duration) -> Self {
        Self { calls, within, reserve: 0 }
    }

    /// Calls that may be made in it.
    pub fn open_to(&self, urgent: bool) -> u32 {
        if urgent { self.calls } else { self.calls.saturating_sub(self.reserve) }
    }
}

/// The longest of the windows: a call from before it counts no more.
pub fn longest(windows: &[Window]) -> Duration {
    windows.iter().map(|window| window.within).max().unwrap_or_default()
}

/// How long the next call has to wait, so that every window holds; `None` if it may be made now. `taken` are the times of
/// the calls so far, oldest first.
pub fn wait(taken: &[Timestamp], windows: &[Window], now: Timestamp, urgent: bool) -> Option<Duration> {
    let of_window = |window: &Window| {
        let recent = &taken[taken.partition_point(|at| *at + window.within <= now)..];
        let open = usize::try_from(window.open_to(urgent)).unwrap_or(usize::MAX);
        // Of the calls in the window, so many have to leave it first that one more fits.
        let over = (recent.len() + 1).checked_sub(open).filter(|over| *over > 0)?;
        let last_to_leave = recent.get(over - 1).copied().unwrap_or(now);
        Some((last_to_leave + window.within).since(now))
    };
    windows.iter().filter_map(of_window).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp(milliseconds)
    }

    #[test]
    fn every_window_holds() {
        let windows = [Window::new(2, SECOND), Window { reserve: 1, ..Window::new(4, 10 * SECOND) }];
        assert_eq!(wait(&[], &windows, at(0), false), None);
        assert_eq!(wait(&[at(0)], &windows, at(0), false), None);
        assert_eq!(wait(&[at(0), at(100)], &windows, at(200), false), Some(Duration::from_millis(800)));
        assert_eq!(wait(&[at(0), at(100)], &windows, at(1_000), false), None, "the first has left");
        let three = [at(0), at(100), at(1_000)];
        assert_eq!(wait(&three, &windows, at(2_000), false), Some(8 * SECOND), "the last one is kept");
        assert_eq!(wait(&three, &windows, at(2_000), true), None, "for urgent work");
        assert_eq!(wait(&[at(5)], &[Window::new(0, SECOND)], at(5), true), Some(SECOND), "never, but asked again");
    }

    /// However calls come, taking them one by one when they may be made never breaks a window, and uses it up.
    #[test]
    fn a_window_is_used_up_and_never_exceeded() {
        let windows = [Window::new(15, SECOND), Window::new(200, 60 * SECOND)];
        let (mut taken, mut now) = (Vec::new(), at(0));
        while taken.len() < 1_000 {
            match wait(&taken, &windows, now, false) {
                None => taken.push(now),
                Some(wait) => now = now + wait,
            }
        }
        for window in windows {
            let calls = usize::try_from(window.calls).unwrap();
            assert!(taken.windows(calls + 1).all(|calls| calls[0] + window.within <= calls[calls.len() - 1]));
        }
        assert_eq!(now, at(4 * 60_000 + 13_000), "five bursts of 200, each as fast as the second allows");
    }
}
