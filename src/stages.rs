//! The three stages, and what they share: the pipeline they work in, the loop that takes deliveries, and patience with
//! a broker or a store that is away.
//!
//! Each stage reads from the edges, asks [`crate::domain`] what to do, and writes to the edges. A process may die
//! between any two lines: nothing is acknowledged before its effect is durable elsewhere, and everything may be done
//! again.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use backoff::{BackoffBuilder, ExponentialBuilder};
use futures_util::FutureExt;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use crate::alerts::Alerts;
use crate::broker::{Broker, BrokerError, Consumer, Delivery, Queue};
use crate::clock;
use crate::domain::circuit::Policy;
use crate::domain::course::quarantine_ends;
use crate::domain::{ConnectionName, Side, Sides, SystemName, Timestamp};
use crate::store::{Commit, Committed, Count, EpochState, Store, StoreError};
use crate::systems::SharedSystem;
use crate::telemetry::metrics::Metrics;

mod circuit;
pub mod connection;
mod intake;
mod letters;
pub mod mapper;
pub(crate) mod matching;
mod partner;
pub mod preflight;
pub mod producer;
mod remedy;
mod retry;
pub(crate) mod searches;
pub mod skew;
mod validate;
pub mod watch;
pub mod writer;

#[cfg(test)]
mod tests;

pub use circuit::Circuits;
pub use connection::Connection;
pub(crate) use letters::base64;
pub use letters::from_base64;
pub use partner::PartnerFields;
pub use remedy::{remedy, remedy_of_class};
pub use retry::RetryPolicy;
pub(crate) use validate::validate;
pub(crate) use writer::PAUSES_BELIEVED;

/// Everything that a stage works with.
#[derive(Clone)]
pub struct Pipeline<B, S> {
    /// The broker.
    pub broker: B,
    /// The store.
    pub store: S,
    /// The systems, logged in on first use.
    pub systems: Arc<BTreeMap<SystemName, SharedSystem>>,
    /// The connections.
    pub connections: Arc<BTreeMap<ConnectionName, Arc<Connection>>>,
    /// What can be set.
    pub settings: Settings,
    /// Where outcomes are counted for Prometheus.
    pub metrics: Arc<Metrics>,
    /// Held while this process works on a message that came back often.
    pub suspect: Arc<tokio::sync::Mutex<()>>,
    /// What this process knows of how calls of the systems fare.
    pub circuits: Arc<Circuits>,
    /// How people are told of trouble.
    pub alerts: Arc<Alerts>,
}

/// What can be set about the stages.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long a writer may hold one side of one link.
    pub lease: Duration,
    /// How long one call of a write may take; shorter than the lease.
    pub deadline: Duration,
    /// Failed attempts after which a command becomes a dead letter.
    pub attempts: u32,
    /// Handfuls of messages that one worker works on at once.
    pub concurrency: usize,
    /// Unsettled messages that the broker may hand one worker for each queue.
    pub prefetch: u16,
    /// How long a stopping worker finishes what it has in hand.
    pub drain: Duration,
    /// When a system that fails is left alone.
    pub circuit: Policy,
    /// `host/pid`, for `status`.
    pub instance: String,
}

impl Settings {
    /// From the beginning of an epoch, how long a request from before it may still land.
    pub fn quarantine(&self) -> Duration {
        self.lease + self.deadline
    }
}

/// Why work was left undone. The delivery in hand comes again.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Halt {
    /// The process stops.
    #[error("the process stops")]
    Stopped,
    /// The store began a new epoch: what was computed so far is void.
    #[error("the store began a new epoch")]
    NewEpoch,
    /// Somebody else reads now.
    #[error("the lease was lost")]
    LostLease,
    /// The store holds something that cannot be used.
    #[error("{0}")]
    Unusable(String),
    /// A message cannot be published whatever is tried.
    #[error(transparent)]
    Publish(#[from] crate::broker::PublishError),
}

impl<B: Broker, S: Store> Pipeline<B, S> {
    /// Asks the store until it answers. An unavailable store is waited out; it is never taken for an empty one.
    pub(crate) async fn ask<T, F>(
        &self,
        stop: &CancellationToken,
        mut question: impl FnMut() -> F + Send,
    ) -> Result<T, Halt>
    where
        F: Future<Output = Result<T, StoreError>> + Send,
    {
        let mut delays = delays();
        loop {
            match question().await {
                Ok(answer) => return Ok(answer),
                Err(StoreError::EpochChanged(connection)) => {
                    // Only this question lets the store begin a new epoch; if it cannot be asked now, the next try will.
                    if let Err(error) = self.store.epoch(&connection).await {
                        warn!("Did not open a new epoch of {connection}: {error}");
                    }
                    return Err(Halt::NewEpoch);
                }
                Err(StoreError::Unusable(reason)) => return Err(Halt::Unusable(reason)),
                Err(StoreError::Unavailable(reason)) => {
                    self.metrics.store(false);
                    let delay = delays.next().unwrap_or(LONGEST_DELAY);
                    warn!("The store does not answer, asking again in {delay:?}: {reason}");
                    wait(stop, delay).await?;
                }
            }
        }
    }

    /// From when on what is read in an epoch is a base: no request from before it can land any more.
    pub(crate) fn usable_from(&self, connection: &Connection, epoch: EpochState) -> Timestamp {
        let search_lag = |side| connection.ends[side].schema().search_lag;
        let lag = Side::BOTH.into_iter().map(search_lag).max().unwrap_or_default();
        quarantine_ends(epoch.began_at, self.settings.lease, self.settings.deadline, lag)
    }

    /// Counts an outcome that changes no link, and tells what is owed. The epoch does not matter to a count, and a run
    /// may outlive its epoch: the one of the day accepts it.
    pub(crate) async fn tally(
        &self,
        stop: &CancellationToken,
        connection: &ConnectionName,
        count: Count,
    ) -> Result<Sides<bool>, Halt> {
        let commit = Commit { count: Some(count), ..Commit::default() };
        loop {
            let epoch = self.ask(stop, || self.store.epoch(connection)).await?.id;
            match self.ask(stop, || self.store.commit(connection, epoch, std::slice::from_ref(&commit))).await {
                Err(Halt::NewEpoch) => {}
                Err(halt) => return Err(halt),
                Ok(committed) => {
                    return Ok(match committed.first() {
                        Some(Committed::Done { owed }) => *owed,
                        _ => Sides::default(),
                    });
                }
            }
        }
    }

    /// All queues of changes, live first.
    pub fn change_queues(&self) -> Vec<Queue> {
        let bulk = self.connections.keys().map(|name| Queue::ChangesBulk(name.clone()));
        std::iter::once(Queue::Changes).chain(bulk).collect()
    }

    /// All queues of commands, live first.
    pub fn command_queues(&self) -> Vec<Queue> {
        let targets = self.targets();
        let live = targets.iter().map(|name| Queue::Commands(name.clone()));
        let bulk = targets.iter().map(|name| Queue::CommandsBulk(name.clone()));
        live.chain(bulk).collect()
    }

    /// Every queue.
    pub fn queues(&self) -> Vec<Queue> {
        let mut queues = self.change_queues();
        queues.extend(self.command_queues());
        queues
    }

    /// The systems that some connection writes to.
    fn targets(&self) -> Vec<SystemName> {
        let mut targets: Vec<_> = self
            .connections
            .values()
            .flat_map(|connection| {
                crate::domain::Side::BOTH
                    .into_iter()
                    .filter(|side| connection.template().writes(*side))
                    .map(|side| connection.systems[side].clone())
            })
            .collect();
        targets.sort();
        targets.dedup();
        targets
    }

    /// Tells the store every few seconds that this process works, until it stops.
    pub(crate) async fn beat(&self, role: &'static str, stop: CancellationToken) {
        loop {
            let up = self.store.beat(role, &self.settings.instance).await.is_ok();
            self.metrics.store(up);
            self.report_calls().await;
            self.look_after_circuits().await;
            if wait(&stop, Duration::from_secs(3)).await.is_err() {
                if let Err(error) = self.store.leave(role, &self.settings.instance).await {
                    tracing::debug!("Did not say that this {role} stops: {error}");
                }
                return;
            }
        }
    }

    /// Hands on what the systems said about being called.
    pub(crate) async fn report_calls(&self) {
        for (name, system) in self.systems.iter() {
            let report = system.report();
            self.metrics.calls(name, &report);
            if let Some((used, allowed)) = report.usage
                && let Err(error) = self.store.note_usage(name, used, allowed).await
            {
                tracing::debug!("Did not note the usage of {name}: {error}");
            }
        }
    }
}

/// The longest wait between two questions to a store that is away.
const LONGEST_DELAY: Duration = Duration::from_secs(5);

/// Growing waits with full jitter, without end.
pub(crate) fn delays() -> impl Iterator<Item = Duration> + Send {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(LONGEST_DELAY)
        .without_max_times()
        .with_jitter()
        .build()
}

/// Waits, unless the process stops first.
pub(crate) async fn wait(stop: &CancellationToken, duration: Duration) -> Result<(), Halt> {
    tokio::select! {
        biased;
        () = stop.cancelled() => Err(Halt::Stopped),
        () = clock::sleep(duration) => Ok(()),
    }
}

/// Gives deliveries back that could not be worked on. Each time counts towards calling one poison, so what ails the store
/// or the broker must not use them up within a moment: the more often it came back, the longer it is kept.
pub(crate) async fn give_back<D: Delivery>(deliveries: Vec<D>, halt: Halt, stop: &CancellationToken) {
    match &halt {
        Halt::Stopped => debug!("Gave {} messages back, the process stops", deliveries.len()),
        Halt::NewEpoch | Halt::LostLease => warn!("Gave {} messages back: {halt}", deliveries.len()),
        Halt::Unusable(_) | Halt::Publish(_) => {
            let redeliveries = deliveries.iter().map(D::redeliveries).max().unwrap_or_default();
            let pause = Duration::from_secs(u64::from(redeliveries).clamp(1, 10));
            warn!("Giving {} messages back in {pause:?}: {halt}", deliveries.len());
            // Stopped meanwhile, they are given back at once.
            drop(wait(stop, pause).await);
        }
    }
    // Dropped unsettled, they come again, and then each is worked on alone.
    drop(deliveries);
}

/// Takes deliveries from these queues and hands them to `handle`, at most `concurrency` handfuls at once, until `stop`;
/// then finishes what is in hand within the drain deadline. What is not finished by then comes again.
///
/// A handful is what of one queue is there already, up to as many items as there is `room` for: single edits share their
/// round trips as the items of a page do, and none waits for another.
pub(crate) async fn work<B, S, H, F>(
    pipeline: &Pipeline<B, S>,
    queues: Vec<Queue>,
    stop: CancellationToken,
    room: impl Fn(&Queue) -> usize,
    handle: H,
) -> Result<(), BrokerError>
where
    B: Broker,
    S: Store,
    H: Fn(Vec<<B::Consumer as Consumer>::Delivery>, CancellationToken) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let settings = &pipeline.settings;
    let mut consumer = pipeline.broker.consume(queues, settings.prefetch).await?;
    let permits = Arc::new(Semaphore::new(settings.concurrency));
    let tasks = TaskTracker::new();
    // Cancelled when the drain deadline is over: what is still in hand then is dropped where it stands.
    let give_up = CancellationToken::new();
    // Taken, and in no handful yet.
    let mut held = None;
    loop {
        let permit = tokio::select! {
            () = stop.cancelled() => break,
            permit = Arc::clone(&permits).acquire_owned() => permit.expect("the semaphore is never closed"),
        };
        let first = match held.take() {
            Some(delivery) => delivery,
            None => tokio::select! {
                () = stop.cancelled() => break,
                delivery = consumer.next() => match delivery {
                    Some(delivery) => delivery,
                    None => break,
                },
            },
        };
        let room = room(first.queue());
        let mut handful = Handful::new(first);
        while handful.items < room
            && let Some(Some(delivery)) = consumer.next().now_or_never()
        {
            held = handful.add(delivery, room);
            if held.is_some() {
                break;
            }
        }
        let work = handle(handful.deliveries, give_up.clone());
        let give_up = give_up.clone();
        tasks.spawn(async move {
            // A publish waits for its broker without end. Dropped there, as anywhere, the deliveries come again.
            tokio::select! {
                () = work => {}
                () = give_up.cancelled() => {}
            }
            drop(permit);
        });
    }
    drop(held);
    consumer.stop().await;
    tasks.close();
    if tokio::time::timeout(settings.drain, tasks.wait()).await.is_err() {
        info!("Not everything in hand was finished in {:?}; it will come again", settings.drain);
        give_up.cancel();
        tasks.wait().await;
    }
    Ok(())
}

/// Deliveries that are worked on together.
pub(crate) struct Handful<D> {
    pub(crate) deliveries: Vec<D>,
    /// Changes or commands in them.
    items: usize,
}

impl<D: Delivery> Handful<D> {
    pub(crate) fn new(first: D) -> Self {
        // A message that comes alone leaves no room for others.
        let items = items_that_share(&first).unwrap_or(usize::MAX);
        Self { deliveries: vec![first], items }
    }

    /// Adds one of the same queue, if there is room for all of it; else it is given back.
    pub(crate) fn add(&mut self, delivery: D, room: usize) -> Option<D> {
        let same_queue = self.deliveries[0].queue() == delivery.queue();
        match items_that_share(&delivery).and_then(|items| self.items.checked_add(items)) {
            Some(items) if items <= room && same_queue => {
                self.items = items;
                self.deliveries.push(delivery);
                None
            }
            _ => Some(delivery),
        }
    }
}

/// The items of a delivery that may be worked on together with others; `None` for one that was given back before, or that
/// cannot be read: should it be what kills workers, it is to be found out alone.
fn items_that_share<D: Delivery>(delivery: &D) -> Option<usize> {
    let message = delivery.message().ok()?;
    (delivery.redeliveries() == 0).then(|| message.payload.items())
}
