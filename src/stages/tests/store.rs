//! A store of one connection in memory. Any answer may be lost, before or after what was asked for took effect.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::task::yield_now;

use self::state::State;
use super::Clock;
use crate::domain::{DeadLetter, Epoch, Link, Side, Timestamp};
use crate::store::{Run, StoreError};

mod answers;
mod state;

#[derive(Clone)]
pub struct MemoryStore {
    clock: Clock,
    state: Arc<Mutex<State>>,
    /// Of a thousand answers, how many are lost.
    lost: Arc<std::sync::atomic::AtomicU16>,
}

impl MemoryStore {
    pub fn new(clock: Clock) -> Self {
        Self { clock, state: Arc::default(), lost: Arc::default() }
    }

    pub fn lose_answers(&self, of_a_thousand: u16) {
        self.lost.store(of_a_thousand, std::sync::atomic::Ordering::Relaxed);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn all_letters(&self) -> Vec<DeadLetter> {
        self.state().letters.values().cloned().collect()
    }

    pub fn all_runs(&self) -> Vec<Run> {
        self.state().runs.values().cloned().collect()
    }

    pub fn all_links(&self) -> Vec<Link> {
        self.state().links.values().cloned().collect()
    }

    pub fn amend_links(&self, amend: impl Fn(&mut Link)) {
        self.state().links.values_mut().for_each(amend);
    }

    /// Questions since the last time, by what they asked.
    pub fn take_calls(&self) -> BTreeMap<&'static str, u32> {
        std::mem::take(&mut self.state().calls)
    }

    pub fn rereads_are_done(&self) -> bool {
        Side::BOTH.iter().all(|side| self.state().rereads[*side].is_empty())
    }

    /// The memory is lost, but for what is not of an epoch: runs and leases, as after a restart that lost its last
    /// seconds.
    pub fn begin_epoch(&self) {
        self.state().epoch = Some((Epoch(fastrand::u64(..)), self.clock.now()));
        for side in Side::BOTH {
            let mut state = self.state();
            state.readers[side] = std::mem::take(&mut state.readers[side]).of_another_epoch();
        }
    }

    async fn op<T>(
        &self,
        what: &'static str,
        effect: impl FnOnce(&mut State, Timestamp) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let lost = || {
            let chance = self.lost.load(std::sync::atomic::Ordering::Relaxed);
            if fastrand::u16(..1000) < chance { Err(StoreError::Unavailable("lost".to_owned())) } else { Ok(()) }
        };
        *self.state().calls.entry(what).or_default() += 1;
        yield_now().await;
        lost()?;
        let answer = effect(&mut self.state(), self.clock.now());
        yield_now().await;
        lost()?;
        answer
    }
}
