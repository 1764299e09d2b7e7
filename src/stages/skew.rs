//! The difference of two systems' clocks, for connections on which the later edit wins. It is measured from the `Date`
//! headers against the store's clock and kept in the store, so that every mapper takes off the same.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{Connection, Halt, Pipeline};
use crate::broker::Broker;
use crate::domain::{Epoch, Rules, Side, Sides};
use crate::store::{Store, SystemState};

/// By how many milliseconds the clock of side `a` is ahead of side `b`'s, if both are known.
pub fn a_ahead(systems: Sides<&SystemState>) -> Option<i64> {
    Some(systems.a.ahead_ms? - systems.b.ahead_ms?)
}

impl<B: Broker, S: Store> Pipeline<B, S> {
    /// Notes what time it is for the system of a side. Whoever publishes what it holds has done so before, so that a clash
    /// finds both clocks known.
    pub(super) async fn note_clock(
        &self,
        stop: &CancellationToken,
        connection: &Connection,
        side: Side,
    ) -> Result<(), Halt> {
        let Some(clock) = connection.ends[side].shown_clock().filter(|_| connection.template().compares_times()) else {
            return Ok(());
        };
        // The store may have to be waited for.
        let measured = crate::clock::now();
        self.ask(stop, || self.store.note_clock(&connection.systems[side], clock + measured.elapsed())).await
    }

    /// The rules to decide by now.
    pub(super) async fn rules_now(
        &self,
        stop: &CancellationToken,
        connection: &Connection,
        epoch: Epoch,
    ) -> Result<Arc<Rules>, Halt> {
        let rules = connection.rules(epoch);
        if !rules.compares_times() {
            return Ok(rules);
        }
        let a = self.ask(stop, || self.store.system(&connection.systems.a)).await?;
        let b = self.ask(stop, || self.store.system(&connection.systems.b)).await?;
        for side in Side::BOTH {
            let state = if side == Side::A { &a } else { &b };
            if let Some(ahead_ms) = state.ahead_ms {
                self.metrics.clock_ahead(&connection.systems[side], ahead_ms);
            }
        }
        Ok(Arc::new(Rules::clone(&rules).with_skew(a_ahead(Sides { a: &a, b: &b }))))
    }
}
