//! The book in which one round is timed: when each change was published, and when the target answered for it.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// See the module.
pub struct Ledger {
    origin: Instant,
    /// Nanoseconds from `origin`, by the account's number.
    published: Vec<AtomicU64>,
    /// Accounts with a smaller number warm up: how long they took is not kept.
    warm_up: u32,
    /// Answers so far.
    count: AtomicUsize,
    kept: Mutex<Kept>,
    changed: Notify,
}

#[derive(Default)]
struct Kept {
    /// Answers so far.
    count: usize,
    /// When a fifth of the answers was there, and how many came by then.
    fifth: Option<(Instant, usize)>,
    /// The same for four fifths.
    four_fifths: Option<(Instant, usize)>,
    latencies: Vec<Duration>,
}

/// What a round came to.
#[derive(Debug, Clone)]
pub struct Timing {
    /// Changes a second while the second to the fourth fifth of them were answered: then as much is under way at the
    /// beginning as at the end.
    pub rate: f64,
    /// From the publish of a change to the target's answer, in rising order.
    pub latencies: Vec<Duration>,
}

impl Ledger {
    /// A book for the accounts below `accounts`.
    pub fn new(accounts: u32, warm_up: u32) -> Self {
        Self {
            origin: Instant::now(),
            published: (0..accounts).map(|_| AtomicU64::new(0)).collect(),
            warm_up,
            count: AtomicUsize::new(0),
            kept: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// These accounts' changes are published now.
    pub fn publishing(&self, numbers: impl IntoIterator<Item = u32>) {
        let now = u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        for number in numbers {
            if let Some(published) = self.published.get(number as usize) {
                published.store(now, Ordering::Relaxed);
            }
        }
    }

    /// The target has answered for these accounts.
    pub fn answered(&self, numbers: impl IntoIterator<Item = u32>) {
        let now = Instant::now();
        let mut kept = self.kept();
        let mut answers = 0;
        for number in numbers {
            answers += 1;
            if let Some(published) = self.published.get(number as usize).filter(|_| number >= self.warm_up) {
                let published = self.origin + Duration::from_nanos(published.load(Ordering::Relaxed));
                kept.latencies.push(now.saturating_duration_since(published));
            }
        }
        if answers == 0 {
            return;
        }
        kept.count += answers;
        let (count, all) = (kept.count, self.published.len());
        if 5 * count >= all {
            kept.fifth.get_or_insert((now, count));
        }
        if 5 * count >= 4 * all {
            kept.four_fifths.get_or_insert((now, count));
        }
        drop(kept);
        self.count.fetch_add(answers, Ordering::Relaxed);
        self.changed.notify_waiters();
    }

    /// Waits until so many answers have come, or until there was none for `patience`.
    pub async fn wait_for(&self, answers: usize, patience: Duration) -> Result<(), Overdue> {
        loop {
            let changed = self.changed.notified();
            let count = self.count.load(Ordering::Relaxed);
            if count >= answers {
                return Ok(());
            }
            if tokio::time::timeout(patience, changed).await.is_err() && self.count.load(Ordering::Relaxed) == count {
                return Err(Overdue { came: count, expected: answers, patience });
            }
        }
    }

    /// What the round came to; `None` if there is no time between the fifths.
    pub fn timing(&self) -> Option<Timing> {
        let mut kept = self.kept();
        let ((from, before), (to, after)) = (kept.fifth?, kept.four_fifths?);
        let (seconds, answers) = ((to - from).as_secs_f64(), after - before);
        let mut latencies = std::mem::take(&mut kept.latencies);
        latencies.sort_unstable();
        (seconds > 0.0).then(|| Timing { rate: answers as f64 / seconds, latencies })
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers that did not come.
#[derive(Debug, thiserror::Error)]
#[error("{came} of {expected} changes were answered, and then none for {patience:?}")]
pub struct Overdue {
    came: usize,
    expected: usize,
    patience: Duration,
}

/// The value that this share (0 to 1) of values in rising order does not exceed.
pub fn percentile(sorted: &[Duration], share: f64) -> Duration {
    let place = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(place.saturating_sub(1)).copied().unwrap_or_default()
}

/// The middle value.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => values[odd / 2],
        even => f64::midpoint(values[even / 2 - 1], values[even / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn middle_and_tail_are_found() {
        for (values, middle) in [(vec![3.0, 1.0, 2.0], 2.0), (vec![4.0, 1.0, 2.0, 3.0], 2.5), (vec![], 0.0)] {
            assert_eq!(median(values.clone()), middle, "{values:?}");
        }
        let sorted: Vec<_> = (1..=200).map(Duration::from_millis).collect();
        for (share, expected) in [(0.5, 100), (0.99, 198), (1.0, 200), (0.0, 1)] {
            assert_eq!(percentile(&sorted, share), Duration::from_millis(expected), "{share}");
        }
        assert_eq!(percentile(&[], 0.5), Duration::ZERO);
    }

    #[tokio::test]
    async fn what_warms_up_is_counted_and_not_timed() {
        let ledger = Ledger::new(4, 1);
        ledger.publishing(0..4);
        ledger.answered([0, 1]);
        assert!(ledger.timing().is_none(), "the fifths are not over");
        ledger.answered([]);
        std::thread::yield_now();
        ledger.answered([2, 3]);
        let timing = ledger.timing().unwrap();
        assert!(timing.rate > 0.0 && timing.latencies.len() == 3, "{timing:?}");
        ledger.wait_for(4, Duration::from_millis(1)).await.unwrap();
        assert!(ledger.wait_for(5, Duration::from_millis(1)).await.is_err());
    }
}
