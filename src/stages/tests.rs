//! The stages over a broker, a store and two systems in memory, with a clock that only the test moves. A stage is
//! killed by dropping its future between two polls; everything in memory gives way before and after each effect, so
//! that it may die before it, after it, and before its answer arrives.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::domain::Timestamp;

mod broker;
mod chaos;
mod counts;
mod faults;
mod guards;
mod leavers;
mod schedules;
mod store;
mod system;
mod world;

/// The one clock of a world: of its store and of its systems.
#[derive(Debug, Clone, Default)]
pub(super) struct Clock(Arc<AtomicI64>);

impl Clock {
    pub(super) fn now(&self) -> Timestamp {
        Timestamp(1_700_000_000_000 + self.0.load(Ordering::Relaxed))
    }

    pub(super) fn advance(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::Relaxed);
    }
}
