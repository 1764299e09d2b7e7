//! Deliveries from several queues of the file. A task of its own takes messages out, many at once, and holds them ready.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::Shared;
use super::delivery::EmbeddedDelivery;
use super::feed::{BYTES, Feed, Wish};
use super::settler::Settler;
use super::tables::{self, Settlement};
use crate::broker::{Consumer, Queue, delay};
use crate::database::{Database, DatabaseError};
use crate::failpoint::hit;

/// The longest wait for the file to take back what was not handed out.
const STOP_DEADLINE: Duration = Duration::from_secs(5);

/// Deliveries from the file.
#[derive(Debug)]
pub struct EmbeddedConsumer {
    feed: Arc<Feed>,
    settler: Settler,
    /// Set when it was stopped, and when the broker closes.
    stopped: CancellationToken,
    /// Taken when it was stopped.
    work: Option<JoinHandle<()>>,
    /// Keeps the broker open after its own handles are gone.
    _broker: Arc<Shared>,
}

impl EmbeddedConsumer {
    /// A consumer that begins to take messages out once this process works on the file.
    pub(super) fn start(shared: &Arc<Shared>, queues: Vec<Queue>, prefetch: u16) -> Self {
        let feed = shared.feeds.add(queues, prefetch);
        let (settler, stopped) = (shared.settler.clone(), shared.closing.child_token());
        let work = Work {
            database: shared.database.clone(),
            feed: Arc::clone(&feed),
            settler: settler.clone(),
            stopped: stopped.clone(),
        };
        let work = Some(shared.tasks.spawn(work.run()));
        Self { feed, settler, stopped, work, _broker: Arc::clone(shared) }
    }
}

impl Consumer for EmbeddedConsumer {
    type Delivery = EmbeddedDelivery;

    async fn next(&mut self) -> Option<EmbeddedDelivery> {
        loop {
            if self.stopped.is_cancelled() {
                return None;
            }
            if let Some((slot, queue, taken)) = self.feed.hand_out() {
                return Some(EmbeddedDelivery::new(taken, queue, slot, Arc::clone(&self.feed), self.settler.clone()));
            }
            tokio::select! {
                () = self.stopped.cancelled() => {}
                () = self.feed.arrived.notified() => {}
            }
        }
    }

    async fn stop(&mut self) {
        self.stopped.cancel();
        let Some(work) = self.work.take() else { return };
        let given_back = async {
            drop(work.await);
            self.settler.flush().await;
        };
        if timeout(STOP_DEADLINE, given_back).await.is_err() {
            debug!("The file is busy; what was not handed out goes back later");
        }
    }
}

impl Drop for EmbeddedConsumer {
    fn drop(&mut self) {
        self.stopped.cancel();
    }
}

/// Takes messages out, as long as its consumer wants some.
struct Work {
    database: Database,
    feed: Arc<Feed>,
    settler: Settler,
    stopped: CancellationToken,
}

impl Work {
    async fn run(self) {
        if let Some(queues) = self.begin().await {
            self.serve(&queues).await;
        }
        for taken in self.feed.stop() {
            // Nobody failed at it.
            self.settler.settle(taken.place, Settlement::Back { counted: false });
        }
    }

    /// Waits until this process is the working one, declares the queues, and returns their ids; `None` when it was
    /// stopped first.
    async fn begin(&self) -> Option<Vec<i64>> {
        let mut trouble = Trouble::new();
        loop {
            let begun = async {
                self.database.lead().await?;
                let names = self.feed.names();
                let declare = move |connection: &_| -> Result<_, DatabaseError> {
                    tables::declare(connection, &names)?;
                    Ok(tables::ids(connection, &names)?)
                };
                self.database.write(declare).await
            };
            let begun = tokio::select! {
                () = self.stopped.cancelled() => return None,
                begun = begun => begun,
            };
            match begun {
                Ok(queues) => {
                    self.feed.set_fed(true);
                    return Some(queues);
                }
                Err(error) => trouble.wait(&error, &self.stopped).await,
            }
        }
    }

    async fn serve(&self, queues: &[i64]) {
        let mut trouble = Trouble::new();
        while !self.stopped.is_cancelled() {
            let wishes = self.feed.wishes();
            if wishes.is_empty() {
                tokio::select! {
                    () = self.stopped.cancelled() => return,
                    () = self.feed.wanted.notified() => continue,
                }
            }
            match self.take(queues, &wishes).await {
                Ok(()) => {
                    self.feed.set_fed(true);
                    trouble = Trouble::new();
                }
                Err(error) => {
                    wishes.iter().for_each(|wish| self.feed.still_wants(wish.slot));
                    self.feed.set_fed(false);
                    trouble.wait(&error, &self.stopped).await;
                }
            }
        }
    }

    /// Takes out what is wished for. It is not to be dropped before its end: what it took out would be out until this
    /// process ends.
    async fn take(&self, queues: &[i64], wishes: &[Wish]) -> Result<(), DatabaseError> {
        let (ids, limits): (Vec<_>, Vec<_>) = wishes.iter().map(|wish| (queues[wish.slot], wish.limit)).unzip();
        let take = move |connection: &_| -> Result<Vec<_>, DatabaseError> {
            let wishes = ids.into_iter().zip(limits);
            wishes.map(|(queue, limit)| Ok(tables::take(connection, queue, limit, BYTES)?)).collect()
        };
        let taken = self.database.write(take).await?;
        if taken.iter().any(|(taken, _)| !taken.is_empty()) {
            hit("file.taken");
        }
        for (wish, (taken, more)) in wishes.iter().zip(taken) {
            if more {
                self.feed.still_wants(wish.slot);
            }
            if !taken.is_empty() {
                self.feed.fill(wish.slot, taken);
            }
        }
        Ok(())
    }
}

/// Growing waits while the file cannot be used; the same trouble is told once, not at every attempt.
struct Trouble {
    delays: backoff::ExponentialBackoff,
    told: Option<String>,
}

impl Trouble {
    fn new() -> Self {
        Self { delays: delay::busy_delays(), told: None }
    }

    async fn wait(&mut self, error: &DatabaseError, stopped: &CancellationToken) {
        let text = error.to_string();
        if self.told.as_ref() != Some(&text) {
            warn!("Cannot take messages from the file, trying on: {text}");
            self.told = Some(text);
        }
        let pause = delay::full_jitter(self.delays.next().unwrap_or_default(), fastrand::f64());
        tokio::select! {
            () = stopped.cancelled() => {}
            () = sleep(pause) => {}
        }
    }
}
