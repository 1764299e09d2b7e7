//! How long each kind of data is kept that may be forgotten.

use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// How long a store keeps what it may forget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Values that did not win a conflict, since they were noted.
    pub conflicts: Duration,
    /// Runs, since their last number was given out or a side of them was read to its end.
    pub runs: Duration,
    /// The hourly counts of live changes, likewise.
    pub live_runs: Duration,
    /// The log of what people did, since an entry was noted.
    pub audit: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self { conflicts: 30 * DAY, runs: 30 * DAY, live_runs: 7 * DAY, audit: 365 * DAY }
    }
}
