//! One round of one contender: changes are fed, work is done, and both are timed.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use futures_util::StreamExt as _;
use futures_util::future::{BoxFuture, FutureExt as _};
use futures_util::stream::FuturesUnordered;
use serde::Serialize;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::ledger::{Ledger, Timing};
use super::process::Process;
use super::roster::Roster;
use super::servers::{Feeder, Parcel};
use crate::broker::embedded::EmbeddedBroker;
use crate::broker::message::Payload;
use crate::broker::{Broker as _, Destination, Message, Outgoing, Queue};

/// When an answer that did not come has become pointless to wait for.
const PATIENCE: Duration = Duration::from_secs(60);

/// How changes arrive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Load {
    /// All of them wait when work begins: the most that a contender can do.
    Backlog,
    /// So many are under way at once, and the next one comes with an answer.
    Window(usize),
    /// So many come a second, evenly.
    Rate(f64),
}

/// Where changes are published.
pub enum Feed {
    /// To a queue at the broker, over a connection of its own.
    Broker {
        /// The publisher.
        feeder: Feeder,
        /// The queue's name.
        queue: String,
    },
    /// To a queue of the embedded mode.
    File {
        /// The broker.
        broker: EmbeddedBroker,
        /// The queue.
        queue: Queue,
    },
}

impl Feed {
    /// Publishes one message. The order of calls is the order in the queue.
    fn publish<'f>(&'f self, parcel: &'f Parcel) -> BoxFuture<'f, anyhow::Result<()>> {
        match self {
            Self::Broker { feeder, queue } => feeder.publish(queue, parcel).boxed(),
            Self::File { broker, queue } => {
                let published = broker.publish(vec![outgoing(queue, parcel)]);
                async move { Ok(published.await?) }.boxed()
            }
        }
    }

    async fn publish_all(&self, parcels: &[Parcel]) -> anyhow::Result<()> {
        match self {
            Self::Broker { feeder, queue } => feeder.publish_all(queue, parcels).await,
            Self::File { broker, queue } => {
                for parcels in parcels.chunks(500) {
                    broker.publish(parcels.iter().map(|parcel| outgoing(queue, parcel)).collect()).await?;
                }
                Ok(())
            }
        }
    }
}

fn outgoing(queue: &Queue, parcel: &Parcel) -> Outgoing {
    let payload = Payload::Raw(bytes::Bytes::copy_from_slice(&parcel.body));
    let message = Message { id: parcel.id.clone(), attempt: 0, traceparent: None, payload };
    Outgoing { to: Destination::Queue(queue.clone()), message }
}

/// The processes whose cost counts.
#[derive(Clone)]
pub struct Meters {
    /// This one: both stages, the target, and whoever feeds them.
    pub own: Process,
    /// The broker's, if it is on this machine.
    pub broker: Option<Process>,
    /// The store's, if it is on this machine.
    pub store: Option<Process>,
}

/// What a round cost, process by process; `None` where a process is not on this machine or not needed.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Cost {
    /// Seconds of processor time.
    pub cpu_seconds: Each,
    /// The most memory held, in bytes.
    pub peak_bytes: Each,
}

/// A figure for each process.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Each {
    /// This process.
    pub own: Option<f64>,
    /// The broker's.
    pub broker: Option<f64>,
    /// The store's.
    pub store: Option<f64>,
}

impl Each {
    /// All of them together.
    pub fn sum(self) -> f64 {
        [self.own, self.broker, self.store].into_iter().flatten().sum()
    }

    /// Figure by figure.
    pub fn zip(self, other: Self, with: impl Fn(f64, f64) -> f64) -> Self {
        let both = |a: Option<f64>, b: Option<f64>| Some(with(a?, b?));
        Self {
            own: both(self.own, other.own),
            broker: both(self.broker, other.broker),
            store: both(self.store, other.store),
        }
    }
}

/// A measurement that has begun.
pub struct Begun<'m> {
    meters: &'m Meters,
    cpu: Each,
}

impl Meters {
    fn each(&self, of: impl Fn(&Process) -> Option<f64>) -> Each {
        Each {
            own: of(&self.own),
            broker: self.broker.as_ref().and_then(&of),
            store: self.store.as_ref().and_then(&of),
        }
    }

    /// Begins to measure.
    pub fn begin(&self) -> Begun<'_> {
        [Some(&self.own), self.broker.as_ref(), self.store.as_ref()]
            .into_iter()
            .flatten()
            .for_each(Process::forget_peak);
        Begun { meters: self, cpu: self.each(Process::cpu_seconds) }
    }
}

impl Begun<'_> {
    /// What was used since.
    pub fn end(self) -> Cost {
        let cpu = self.meters.each(Process::cpu_seconds);
        Cost {
            cpu_seconds: cpu.zip(self.cpu, |after, before| after - before),
            peak_bytes: self.meters.each(|process| process.peak_bytes().map(|bytes| bytes as f64)),
        }
    }
}

/// Feeds these messages, lets `work` begin, and waits until the target has answered for all of them.
pub async fn drive<W>(
    feed: &Feed,
    parcels: &[Parcel],
    load: Load,
    target: &Roster,
    meters: &Meters,
    work: impl FnOnce(CancellationToken) -> W,
) -> anyhow::Result<(Timing, Cost)>
where
    W: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let accounts = parcels.iter().map(|parcel| parcel.numbers().end).max().context("there is nothing to do")?;
    let changes: usize = parcels.iter().map(|parcel| parcel.count as usize).sum();
    // While the first ones come, consumers still attach.
    let ledger = Arc::new(Ledger::new(accounts, accounts / 5));
    target.report_to(Some(Arc::clone(&ledger)));
    if load == Load::Backlog {
        ledger.publishing(0..accounts);
        feed.publish_all(parcels).await?;
    }
    let begun = meters.begin();
    let stop = CancellationToken::new();
    // Whoever stops the benchmark stops this as well.
    let _stop_with_us = stop.clone().drop_guard();
    let mut working = tokio::spawn(work(stop.clone()));
    let fed = async {
        match load {
            Load::Backlog => {}
            Load::Window(window) => feed_window(feed, parcels, window, &ledger).await?,
            Load::Rate(rate) => feed_evenly(feed, parcels, rate, &ledger).await?,
        }
        anyhow::Ok(ledger.wait_for(changes, PATIENCE).await?)
    };
    let done = tokio::select! {
        done = fed => done,
        ended = &mut working => {
            ended??;
            Err(anyhow!("the contender ended unasked"))
        }
    };
    let cost = begun.end();
    stop.cancel();
    target.report_to(None);
    done?;
    working.await??;
    let timing = ledger.timing().context("the answers came at once; ask for more --changes")?;
    Ok((timing, cost))
}

async fn feed_window(feed: &Feed, parcels: &[Parcel], window: usize, ledger: &Ledger) -> anyhow::Result<()> {
    let mut confirms = FuturesUnordered::new();
    let mut sent = 0;
    for parcel in parcels {
        sent += parcel.count as usize;
        if sent > window {
            let room = ledger.wait_for(sent - window, PATIENCE);
            settle(&mut confirms, room).await??;
        }
        ledger.publishing(parcel.numbers());
        confirms.push(feed.publish(parcel));
        // Sent now, confirmed later.
        if let Some(Some(published)) = confirms.next().now_or_never() {
            published?;
        }
    }
    while let Some(published) = confirms.next().await {
        published?;
    }
    Ok(())
}

async fn feed_evenly(feed: &Feed, parcels: &[Parcel], rate: f64, ledger: &Ledger) -> anyhow::Result<()> {
    let mut confirms = FuturesUnordered::new();
    let began = Instant::now();
    let mut sent = 0_u32;
    for parcel in parcels {
        let due = began + Duration::from_secs_f64(f64::from(sent) / rate);
        settle(&mut confirms, sleep_until(due)).await?;
        ledger.publishing(parcel.numbers());
        confirms.push(feed.publish(parcel));
        if let Some(Some(published)) = confirms.next().now_or_never() {
            published?;
        }
        sent += parcel.count;
    }
    while let Some(published) = confirms.next().await {
        published?;
    }
    Ok(())
}

/// Waits for something, while confirms come in.
async fn settle<T>(
    confirms: &mut FuturesUnordered<BoxFuture<'_, anyhow::Result<()>>>,
    wait: impl Future<Output = T>,
) -> anyhow::Result<T> {
    let mut wait = std::pin::pin!(wait);
    loop {
        tokio::select! {
            done = &mut wait => return Ok(done),
            Some(published) = confirms.next(), if !confirms.is_empty() => published?,
        }
    }
}
