//! What time it is for the stages, and how they wait: by this machine's clock, or by that of a simulated world, which
//! moves only when everybody in the world waits. A world belongs to one thread and is seen by no other.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::Timestamp;

thread_local! {
    static SIMULATED: RefCell<Option<Simulated>> = const { RefCell::new(None) };
}

/// The clock of the world that this thread simulates.
struct Simulated {
    begin: Instant,
    began_at: Timestamp,
    elapsed: Duration,
    /// Who waits, by when and in which order they began to.
    sleepers: BTreeMap<(Duration, u64), Waker>,
    asked: u64,
}

/// The time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the time is over")]
pub struct Elapsed;

/// Now, on a clock that is never set back.
pub fn now() -> Instant {
    simulated(|clock| clock.begin + clock.elapsed).unwrap_or_else(Instant::now)
}

/// The time of day on this machine.
pub fn wall() -> Timestamp {
    simulated(|clock| clock.began_at + clock.elapsed)
        .unwrap_or_else(|| Timestamp(jiff::Timestamp::now().as_millisecond()))
}

/// Whether this thread simulates a world.
pub fn is_simulated() -> bool {
    simulated(|_| ()).is_some()
}

/// A new id that begins with the time, so that ids sort by age. In a simulated world it follows from the world's seed.
pub fn new_id() -> String {
    match simulated(|clock| clock.began_at + clock.elapsed) {
        Some(now) => {
            let bytes = fastrand::u128(..).to_le_bytes();
            let random: [u8; 10] = std::array::from_fn(|index| bytes[index]);
            let ms = u64::try_from(now.0).unwrap_or_default();
            uuid::Builder::from_unix_timestamp_millis(ms, &random).into_uuid().to_string()
        }
        None => uuid::Uuid::now_v7().to_string(),
    }
}

/// Waits so long.
pub async fn sleep(duration: Duration) {
    sleep_until(now() + duration).await;
}

/// Waits until then.
pub async fn sleep_until(until: Instant) {
    match simulated(|clock| until.saturating_duration_since(clock.begin)) {
        Some(until) => Sleep { until, asleep: None }.await,
        None => tokio::time::sleep_until(until).await,
    }
}

/// Waits for a future, so long at most.
///
/// # Errors
/// If it is not done by then.
pub async fn timeout<F: Future>(duration: Duration, future: F) -> Result<F::Output, Elapsed> {
    timeout_at(now() + duration, future).await
}

/// Waits for a future, until then at most.
///
/// # Errors
/// If it is not done by then.
pub async fn timeout_at<F: Future>(until: Instant, future: F) -> Result<F::Output, Elapsed> {
    tokio::select! {
        biased;
        output = future => Ok(output),
        () = sleep_until(until) => Err(Elapsed),
    }
}

fn simulated<T>(look: impl FnOnce(&mut Simulated) -> T) -> Option<T> {
    SIMULATED.with_borrow_mut(|clock| clock.as_mut().map(look))
}

/// Sleeps in a simulated world.
struct Sleep {
    until: Duration,
    /// Where it waits, and who is woken.
    asleep: Option<((Duration, u64), Waker)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let until = self.until;
        // A world that has ended keeps nobody waiting.
        if simulated(|clock| clock.elapsed >= until).unwrap_or(true) {
            return Poll::Ready(());
        }
        let stays = self.asleep.as_ref().is_some_and(|(_, waker)| waker.will_wake(context.waker()));
        if !stays {
            self.wake_up();
            let waker = context.waker().clone();
            let place = simulated(|clock| {
                clock.asked += 1;
                let place = (until, clock.asked);
                clock.sleepers.insert(place, waker.clone());
                place
            });
            self.asleep = place.map(|place| (place, waker));
        }
        Poll::Pending
    }
}

impl Sleep {
    fn wake_up(&mut self) {
        if let Some((place, _)) = self.asleep.take() {
            simulated(|clock| drop(clock.sleepers.remove(&place)));
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.wake_up();
    }
}

/// The clock of a world, for as long as it is held: this thread sees no other.
pub(crate) struct World(());

impl World {
    /// Begins at this time of day.
    pub(crate) fn begin(began_at: Timestamp) -> Self {
        let (elapsed, sleepers) = (Duration::ZERO, BTreeMap::new());
        let clock = Simulated { begin: Instant::now(), began_at, elapsed, sleepers, asked: 0 };
        SIMULATED.set(Some(clock));
        Self(())
    }

    /// How long the world has been.
    pub(crate) fn elapsed(&self) -> Duration {
        simulated(|clock| clock.elapsed).unwrap_or_default()
    }

    /// Moves on to when the next sleeper wants to be woken, but not beyond `limit`, and wakes whoever wants it then.
    /// `false`: nobody sleeps.
    pub(crate) fn advance(&self, limit: Duration) -> bool {
        let woken = simulated(|clock| {
            let ((until, _), _) = clock.sleepers.first_key_value()?;
            clock.elapsed = clock.elapsed.max((*until).min(limit));
            let later = clock.sleepers.split_off(&(clock.elapsed + Duration::from_nanos(1), 0));
            Some(std::mem::replace(&mut clock.sleepers, later))
        });
        match woken.flatten() {
            Some(woken) => {
                // Outside of the clock: whoever is woken may look at it.
                woken.into_values().for_each(Waker::wake);
                true
            }
            None => false,
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let ended = SIMULATED.take();
        // Outside of the cell: what is dropped with it may look at the clock.
        drop(ended);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn in_a_world_time_passes_only_when_it_is_moved() {
        let world = World::begin(Timestamp(1_000));
        let begin = now();
        let mut first = pin!(sleep(Duration::from_secs(60)));
        let mut second = pin!(timeout(Duration::from_secs(90), std::future::pending::<()>()));
        assert_eq!((first.as_mut().now_or_never(), second.as_mut().now_or_never()), (None, None));
        assert!(world.advance(Duration::MAX));
        assert_eq!((now() - begin, wall()), (Duration::from_secs(60), Timestamp(61_000)));
        assert_eq!((first.now_or_never(), second.as_mut().now_or_never()), (Some(()), None));
        assert!(world.advance(Duration::MAX));
        assert_eq!(second.now_or_never(), Some(Err(Elapsed)));
        assert!(!world.advance(Duration::MAX), "nobody sleeps any more");
    }

    #[test]
    fn without_a_world_the_clock_is_the_machines() {
        let before = Instant::now();
        let at = now();
        assert!(before <= at && at <= Instant::now());
    }
}
