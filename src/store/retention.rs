//! How much a store keeps of what it may forget, and how long what nobody chooses. The same in every store.
//! What people choose is [`Retention`](crate::domain::retention::Retention).

use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Entries of a connection's journal at most, about.
pub(super) const JOURNAL_ENTRIES: usize = 100_000;
/// Changes that a connection's history keeps at most, about.
pub(super) const HISTORY_ENTRIES: usize = 100_000;
/// Runs that are listed.
pub(super) const RUNS_KEPT: usize = 5_000;
/// Life of requests that nobody serves, after the last of them.
pub(super) const REQUESTS_TTL: Duration = DAY.saturating_mul(7);
/// A process that was not heard of for as long does not work any more.
pub(super) const INSTANCE_TTL: Duration = Duration::from_secs(15);
/// Life of what is noted of a message that came back often.
pub(super) const SUSPECT_TTL: Duration = DAY;

/// Retries of many letters that are kept; of more, those that came to their end are forgotten.
pub const REDRIVES_KEPT: usize = 20;
/// Retries that are kept although they have not come to their end, so that one that was stopped can be carried on.
pub const REDRIVES_OPEN_KEPT: usize = 200;
