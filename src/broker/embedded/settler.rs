//! The one task that settles deliveries: many in one transaction, and each again and again until the file took it.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;
use tracing::warn;

use super::feed::Feeds;
use super::tables::{self, Settlement};
use crate::broker::delay;
use crate::database::{Database, DatabaseError};
use crate::failpoint::hit;

/// Settlements in one transaction at most.
const BATCH: usize = 1000;

/// Where deliveries say what became of them. The task ends with the last of its clones, once it has done all of it.
#[derive(Debug, Clone)]
pub(super) struct Settler(mpsc::UnboundedSender<Order>);

#[derive(Debug)]
enum Order {
    Settle(Settled),
    /// Says when everything before it is in the file.
    Flush(oneshot::Sender<()>),
}

#[derive(Debug, Clone, Copy)]
struct Settled {
    place: i64,
    settlement: Settlement,
}

impl Settler {
    /// Starts the task.
    pub fn start(database: Database, feeds: Arc<Feeds>) -> Self {
        let (orders, inbox) = mpsc::unbounded_channel();
        tokio::spawn(work(database, feeds, inbox));
        Self(orders)
    }

    /// Settles this message, soon. It may be called on any thread.
    pub fn settle(&self, place: i64, settlement: Settlement) {
        // The task is gone when its runtime is. Then the process ends, and what was out comes again.
        drop(self.0.send(Order::Settle(Settled { place, settlement })));
    }

    /// Returns once all that was settled before is in the file.
    pub async fn flush(&self) {
        let (done, answer) = oneshot::channel();
        if self.0.send(Order::Flush(done)).is_ok() {
            // No answer: the task is gone, see above.
            drop(answer.await);
        }
    }
}

async fn work(database: Database, feeds: Arc<Feeds>, mut inbox: mpsc::UnboundedReceiver<Order>) {
    let mut orders = Vec::new();
    while inbox.recv_many(&mut orders, BATCH).await > 0 {
        let (mut settled, mut flushes) = (Vec::new(), Vec::new());
        for order in orders.drain(..) {
            match order {
                Order::Settle(one) => settled.push(one),
                Order::Flush(done) => flushes.push(done),
            }
        }
        let come_back = settled.iter().any(|one| one.settlement != Settlement::Done);
        if !settled.is_empty() {
            hit("file.settling");
            if write(&database, settled.into()).await.is_err() {
                return;
            }
            hit("file.settled");
        }
        if come_back {
            feeds.offer_all();
        }
        for done in flushes {
            // Nobody may be waiting any more.
            done.send(()).ok();
        }
    }
}

/// Tries without end.
///
/// # Errors
/// The file was closed.
async fn write(database: &Database, settled: Arc<[Settled]>) -> Result<(), DatabaseError> {
    let mut delays = delay::busy_delays();
    let mut told = false;
    loop {
        let these = Arc::clone(&settled);
        let work = move |connection: &_| -> Result<(), DatabaseError> {
            these.iter().try_for_each(|one| Ok(tables::settle(connection, one.place, one.settlement)?))
        };
        match database.write(work).await {
            Err(error) if error != DatabaseError::Closed => {
                if !told {
                    warn!("Cannot settle {} messages in the file, trying on: {error}", settled.len());
                    told = true;
                }
                sleep(delay::full_jitter(delays.next().unwrap_or_default(), fastrand::f64())).await;
            }
            settled => return settled,
        }
    }
}
