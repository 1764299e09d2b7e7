//! Whether a person said that nobody writes.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::{ConnectionName, Timestamp};
use crate::store::Pause;

/// How long what the store said of pauses is believed. Whoever pauses waits as long before saying that it is done, so that
/// from then on no call begins.
pub(crate) const BELIEVED: Duration = Duration::from_millis(250);

/// The shortest and the longest wait of a command for the end of a pause, until it looks again. It grows with the pause: a
/// short one is over soon, and a backlog that waits for long must not go round and round.
const WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// What this process knows of pauses.
#[derive(Default)]
pub(super) struct Pauses {
    known: Mutex<Option<(Instant, Vec<Pause>)>>,
    /// Held by whoever asks the store, so that one asks for all.
    pub(super) asking: tokio::sync::Mutex<()>,
}

impl Pauses {
    /// The pause of a connection, as far as that is known well enough not to ask the store. The outer `None`: it must be
    /// asked.
    pub(super) fn of(&self, connection: &ConnectionName, now: Instant) -> Option<Option<Pause>> {
        let known = self.known();
        // Somebody else may have asked since `now`: that is known all the better.
        let (_, pauses) = known.as_ref().filter(|(asked_at, _)| now.duration_since(*asked_at) < BELIEVED)?;
        Some(pauses.iter().find(|pause| pause.is_of(connection)).cloned())
    }

    /// What the store answered to a question sent at `asked_at`.
    pub(super) fn store_said(&self, asked_at: Instant, pauses: Vec<Pause>) {
        *self.known() = Some((asked_at, pauses));
    }

    fn known(&self) -> MutexGuard<'_, Option<(Instant, Vec<Pause>)>> {
        self.known.lock().expect("nothing panics while the lock is held")
    }
}

/// How long a command waits that finds this pause at `now`, in the store's clock.
pub(super) fn wait(pause: &Pause, now: Timestamp) -> Duration {
    (now.since(pause.since) / 4).clamp(WAITS.0, WAITS.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pause(connection: Option<&str>) -> Pause {
        let connection = connection.map(|name| name.parse().unwrap());
        Pause { connection, since: Timestamp(10_000), by: "ada@host".to_owned() }
    }

    #[test]
    fn what_the_store_said_is_believed_for_a_moment() {
        let (pauses, now, name) = (Pauses::default(), Instant::now(), "crm-chat".parse().unwrap());
        assert_eq!(pauses.of(&name, now), None, "it was never asked");
        pauses.store_said(now, vec![pause(Some("crm-scim"))]);
        assert_eq!(pauses.of(&name, now), Some(None), "another connection");
        pauses.store_said(now, vec![pause(None)]);
        assert_eq!(pauses.of(&name, now), Some(Some(pause(None))));
        assert_eq!(pauses.of(&name, now + BELIEVED), None);
    }

    #[test]
    fn the_longer_the_pause_the_longer_the_wait() {
        for (now_ms, seconds) in [(9_000, 1), (10_000, 1), (18_000, 2), (110_000, 25), (10_000_000, 30)] {
            assert_eq!(wait(&pause(None), Timestamp(now_ms)), Duration::from_secs(seconds), "{now_ms}");
        }
    }
}
