//! The queues of the embedded mode: tables in the file that also holds the links. No server, the same guarantees.
//!
//! Whoever publishes returns once its transaction is on the disk. Of all processes that have the file open, one at a time
//! takes messages out ([`Database::lead`]); the others may publish and look. What it has out is, in the file, everything
//! up to the place `taken` of each queue: if it dies, that goes back, and each message's redelivery is counted. A message
//! that comes back goes to the end of its queue.
//!
//! Delayed messages wait for their own time, which is drawn as on RabbitMQ's ladder. Letters are a table that is only
//! added to. `tables` has every statement.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use super::{Broker, BrokerError, BrokerHealth, Outgoing, PublishError, Queue, QueueDepth, delay};
use crate::database::{Database, DatabaseError};
use crate::domain::LetterEntry;
use crate::failpoint::hit;
use feed::Feeds;
use parcel::Parcel;
use settler::Settler;
use tables::PutError;

mod consumer;
mod delivery;
mod feed;
mod letters;
mod lookout;
mod parcel;
mod settler;
mod tables;

pub use consumer::EmbeddedConsumer;
pub use delivery::EmbeddedDelivery;
pub use letters::LetterLog;

/// What names begin with where somebody reads them, the same as RabbitMQ's by default.
const PREFIX: &str = "muster";

/// How long closing waits for what is under way.
const CLOSE_DEADLINE: Duration = Duration::from_secs(5);

/// The queues in a file. Clones share them.
#[derive(Debug, Clone)]
pub struct EmbeddedBroker {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    database: Database,
    feeds: Arc<Feeds>,
    settler: Settler,
    waiting: Mutex<Waiting>,
    looking_out: AtomicBool,
    closing: CancellationToken,
    /// What has to end before the broker is closed.
    tasks: TaskTracker,
    _close_on_drop: DropGuard,
}

/// The publishers that wait for the disk.
#[derive(Debug, Default)]
struct Waiting {
    publishers: usize,
    reason: Option<String>,
}

impl EmbeddedBroker {
    /// The queues in this file. To be called within a tokio runtime, which then carries the broker's work.
    pub fn open(database: &Database) -> Self {
        let feeds = Arc::new(Feeds::default());
        let closing = CancellationToken::new();
        Self {
            shared: Arc::new(Shared {
                database: database.clone(),
                settler: Settler::start(database.clone(), Arc::clone(&feeds)),
                feeds,
                waiting: Mutex::default(),
                looking_out: AtomicBool::new(false),
                _close_on_drop: closing.clone().drop_guard(),
                closing,
                tasks: TaskTracker::new(),
            }),
        }
    }

    /// The log of dead letters, from its first entry to the last one that was stored before this call. Nothing is taken
    /// out.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn letters(&self) -> Result<LetterLog, BrokerError> {
        LetterLog::open(self.open_file()?.clone()).await
    }

    fn open_file(&self) -> Result<&Database, BrokerError> {
        if self.shared.closing.is_cancelled() { Err(BrokerError::Closed) } else { Ok(&self.shared.database) }
    }
}

impl Broker for EmbeddedBroker {
    type Consumer = EmbeddedConsumer;

    async fn publish(&self, messages: Vec<Outgoing>) -> Result<(), PublishError> {
        let shared = &self.shared;
        let parcels: Arc<[Parcel]> =
            messages.into_iter().map(|message| Parcel::new(message, fastrand::f64())).collect::<Result<_, _>>()?;
        if parcels.is_empty() {
            return Ok(());
        }
        let mut delays = delay::busy_delays();
        let mut waiting = None;
        while !shared.closing.is_cancelled() {
            let these = Arc::clone(&parcels);
            match shared.database.write(move |connection| tables::put(connection, &these, tables::now())).await {
                Ok(()) => {
                    hit("file.published");
                    shared.feeds.offer(parcels.iter().filter_map(Parcel::home));
                    return Ok(());
                }
                Err(PutError::Refused(error)) => return Err(error),
                Err(PutError::Failed(DatabaseError::Closed)) => break,
                Err(PutError::Failed(error)) => {
                    // The new one first, so that the reason is never gone between two attempts.
                    let next = WaitingPublisher::new(shared, error.to_string());
                    waiting = Some(next);
                    tokio::select! {
                        () = shared.closing.cancelled() => {}
                        () = sleep(delay::full_jitter(delays.next().unwrap_or_default(), fastrand::f64())) => {}
                    }
                }
            }
        }
        drop(waiting);
        Err(PublishError::Closed)
    }

    /// Returns at once. The consumer waits in [`Consumer::next`](super::Consumer::next) while another process works on the
    /// file, and declares the queues that are missing.
    async fn consume(&self, queues: Vec<Queue>, prefetch: u16) -> Result<EmbeddedConsumer, BrokerError> {
        let shared = &self.shared;
        let database = self.open_file()?.clone();
        if !shared.looking_out.swap(true, Ordering::Relaxed) {
            let work = lookout::work(database.clone(), Arc::clone(&shared.feeds), shared.closing.clone());
            shared.tasks.spawn(work);
        }
        Ok(EmbeddedConsumer::start(shared, queues, prefetch))
    }

    async fn declare(&self, queues: &[Queue]) -> Result<(), BrokerError> {
        let names: Vec<_> = queues.iter().map(Queue::to_string).collect();
        let declared = self.open_file()?.write(move |connection| Ok(tables::declare(connection, &names)?)).await;
        declared.map_err(refused)
    }

    /// All delayed messages are shown as one rung, and there are no unroutable ones: a retry to a queue that is not there
    /// is refused when it is published.
    async fn read_log(&self, mut take: impl FnMut(LetterEntry) + Send) -> Result<(), BrokerError> {
        let mut log = self.letters().await?;
        while let Some(entry) = log.next().await? {
            take(entry);
        }
        Ok(())
    }

    fn rewrites_log(&self) -> bool {
        true
    }

    async fn rewrite_log(
        &self,
        change: impl Fn(&LetterEntry) -> Option<LetterEntry> + Send + 'static,
    ) -> Result<u64, BrokerError> {
        letters::rewrite(self.open_file()?, change).await
    }

    async fn depths(&self, queues: &[Queue]) -> Result<Vec<QueueDepth>, BrokerError> {
        let names: Vec<_> = queues.iter().map(Queue::to_string).collect();
        let counted =
            self.open_file()?.read(move |connection| Ok(tables::depths(connection, names)?)).await.map_err(refused)?;
        let homes = counted.queues.into_iter().map(|(name, ready)| {
            let name = format!("{PREFIX}.{name}");
            match ready {
                Some(ready) => Ok(QueueDepth { name, ready }),
                None => Err(BrokerError::Missing(name)),
            }
        });
        homes.chain([Ok(QueueDepth { name: format!("{PREFIX}.retry"), ready: counted.delayed })]).collect()
    }

    fn health(&self) -> BrokerHealth {
        let blocked = self.shared.waiting.lock().expect("nothing panics while the lock is held").reason.clone();
        BrokerHealth {
            publishing: !self.shared.closing.is_cancelled() && blocked.is_none(),
            consuming: self.shared.feeds.all_fed(),
            blocked,
        }
    }

    async fn close(&self) {
        let shared = &self.shared;
        shared.closing.cancel();
        shared.tasks.close();
        let finished = async {
            shared.tasks.wait().await;
            shared.settler.flush().await;
        };
        if timeout(CLOSE_DEADLINE, finished).await.is_err() {
            debug!("Not everything was settled before the file was closed, it comes again");
        }
    }
}

/// Counts a publisher among those that wait, as long as it does: it may succeed, fail, or be given up.
struct WaitingPublisher(Arc<Shared>);

impl WaitingPublisher {
    fn new(shared: &Arc<Shared>, reason: String) -> Self {
        let mut waiting = shared.waiting.lock().expect("nothing panics while the lock is held");
        if waiting.publishers == 0 {
            warn!("The file takes no messages, waiting: {reason}");
        }
        waiting.publishers += 1;
        waiting.reason = Some(reason);
        Self(Arc::clone(shared))
    }
}

impl Drop for WaitingPublisher {
    fn drop(&mut self) {
        let mut waiting = self.0.waiting.lock().expect("nothing panics while the lock is held");
        waiting.publishers -= 1;
        if waiting.publishers == 0 {
            info!("No message waits for the file any more");
            waiting.reason = None;
        }
    }
}

/// The error of a question that is not asked again.
fn refused(error: DatabaseError) -> BrokerError {
    match error {
        DatabaseError::Closed => BrokerError::Closed,
        DatabaseError::Unavailable(text) | DatabaseError::Unusable(text) => BrokerError::Refused(text),
    }
}
