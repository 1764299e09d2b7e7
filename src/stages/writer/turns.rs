//! How much this process may have under way at each target, and whether a target wants to be left alone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::pauses::Pauses;
use crate::domain::SystemName;
use crate::stages::Pipeline;
use crate::systems::SharedSystem;

/// How long it is believed that nobody else asked for a target to be left alone. What this process learns itself counts
/// at once.
const TRUSTED: Duration = Duration::from_millis(250);

/// Two pauses that end this close together are one: all rows of a refused call ask for the same.
const SAME_PAUSE: Duration = Duration::from_millis(100);

/// The gates of all targets, and what is known of pauses.
pub(crate) struct Turns {
    gates: BTreeMap<SystemName, Gate>,
    pub(super) pauses: Pauses,
}

/// What stands between this process and one target.
pub(super) struct Gate {
    /// As many as it takes calls at once. A write that waited for its turn after it was begun would wait its lease away,
    /// and fail without a request.
    calls: Arc<Semaphore>,
    known: Mutex<Known>,
    /// Held by whoever asks the store, so that one asks for all.
    pub(super) asking: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    /// When the store was last asked.
    asked_at: Option<Instant>,
    /// Until when nobody calls the target, by this process's own clock.
    not_before: Option<Instant>,
}

/// A turn at a target: one call may be under way. The accounts of one call share it.
pub(super) type Turn = Arc<OwnedSemaphorePermit>;

impl Turns {
    pub(crate) fn new<B, S>(pipeline: &Pipeline<B, S>) -> Self {
        let gate = |system: &SharedSystem| Gate {
            calls: Arc::new(Semaphore::new(system.schema().calls.max(1))),
            known: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
        };
        let gates = pipeline.systems.iter().map(|(name, system)| (name.clone(), gate(system))).collect();
        Self { gates, pauses: Pauses::default() }
    }

    pub(super) fn gate(&self, system: &SystemName) -> &Gate {
        &self.gates[system]
    }
}

impl Gate {
    /// Waits for a turn.
    pub(super) async fn turn(&self) -> Turn {
        Arc::new(Arc::clone(&self.calls).acquire_owned().await.expect("the semaphore is never closed"))
    }

    /// How long the target wants to be left alone, as far as that is known well enough not to ask the store. The outer
    /// `None`: it must be asked.
    pub(super) fn pause(&self, now: Instant) -> Option<Option<Duration>> {
        let known = self.known();
        let left = known.not_before.and_then(|until| until.checked_duration_since(now)).filter(|left| !left.is_zero());
        let fresh = known.asked_at.is_some_and(|asked_at| now.duration_since(asked_at) < TRUSTED);
        (left.is_some() || fresh).then_some(left)
    }

    /// What the store answered to a question sent at `asked_at`: a pause ends so long after its answer.
    pub(super) fn store_said(&self, asked_at: Instant, now: Instant, pause: Option<Duration>) {
        let mut known = self.known();
        known.asked_at = Some(asked_at);
        known.not_before = known.not_before.max(pause.map(|pause| now + pause));
    }

    /// The target asked to be left alone for `pause`. Returns how long all workers are to be told to leave it alone;
    /// `None` if they know.
    pub(super) fn target_said(&self, now: Instant, pause: Duration) -> Option<Duration> {
        let mut known = self.known();
        let until = now + pause;
        if known.not_before.is_some_and(|not_before| not_before >= until) {
            return None;
        }
        known.not_before = Some(until + SAME_PAUSE);
        Some(pause + SAME_PAUSE)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().expect("nothing panics while the lock is held")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate() -> Gate {
        Gate { calls: Arc::new(Semaphore::new(1)), known: Mutex::default(), asking: Default::default() }
    }

    #[test]
    fn what_the_store_said_is_believed_for_a_moment() {
        let (gate, mut now) = (gate(), Instant::now());
        assert_eq!(gate.pause(now), None, "it was never asked");
        gate.store_said(now, now, None);
        assert_eq!(gate.pause(now), Some(None));
        now += TRUSTED;
        assert_eq!(gate.pause(now), None);
        gate.store_said(now, now, Some(Duration::from_secs(2)));
        now += Duration::from_secs(1);
        assert_eq!(gate.pause(now), Some(Some(Duration::from_secs(1))));
        now += Duration::from_secs(1);
        assert_eq!(gate.pause(now), None);
    }

    #[test]
    fn one_refused_call_tells_all_workers_once() {
        let (gate, mut now) = (gate(), Instant::now());
        let pause = Duration::from_secs(5);
        assert_eq!(gate.target_said(now, pause), Some(pause + SAME_PAUSE));
        assert_eq!(gate.target_said(now, pause), None, "another row of the same call");
        now += Duration::from_secs(1);
        assert!(gate.target_said(now, pause).is_some(), "a later call");
        assert!(gate.pause(now).flatten() >= Some(pause), "it is obeyed to its end");
    }
}
