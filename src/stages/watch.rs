//! Looks after the schedules, in every process that works: is a connection overdue, do its runs fail? Any of them shows
//! that in its metrics; one at a time, by lease, tells people. What is to be told is durable before it is told, so that a
//! kill makes an alert late, or lets it come twice, and never loses it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use super::{Connection, Halt, Pipeline, wait};
use crate::broker::Broker;
use crate::domain::link::Register;
use crate::domain::schedule::Timetable;
use crate::domain::watch::{Alert, AlertState, Ended, Sight, Standing};
use crate::domain::{ConnectionName, Link, Timestamp, Token};
use crate::failpoint::hit;
use crate::store::{LeaseName, Run, RunKind, Store, StoreError};

/// How long the lease lasts; longer than one delivery of an alert may take.
const LEASE: Duration = Duration::from_secs(15);

/// The wait between two looks.
const POLL: Duration = Duration::from_secs(1);

/// The longest wait between two deliveries to a channel that takes none.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The time between two counts of dead letters.
const COUNTING: Duration = Duration::from_secs(10);

/// The time between two looks for what was kept long enough.
const FORGETTING: Duration = Duration::from_secs(60);

/// The accounts that wait for a person of which it is asked why.
const HELD: usize = 200;

/// The latest runs that are looked at.
const RUNS: usize = 50;

/// Looks after all connections until `stop`. A second one in the same process does nothing.
pub async fn run<B: Broker, S: Store>(pipeline: Pipeline<B, S>, stop: CancellationToken) {
    let Ok(_alone) = pipeline.alerts.watching.try_lock() else { return };
    let tasks = TaskTracker::new();
    // Whoever stops waiting for this one stops the tasks as well.
    let stop = stop.child_token();
    let _stops = stop.clone().drop_guard();
    for connection in pipeline.connections.values() {
        let token = Token(fastrand::u64(..));
        let mut watcher = Watcher {
            pipeline: pipeline.clone(),
            connection: Arc::clone(connection),
            token,
            refusals: 0,
            counted_at: None,
            forgot_at: None,
        };
        let stop = stop.clone();
        tasks.spawn(async move {
            loop {
                let pause = match watcher.step(&stop).await {
                    Ok(pause) => pause,
                    Err(Halt::Stopped) => break,
                    Err(halt) => {
                        debug!("Could not look after {}: {halt}", watcher.connection.name);
                        POLL
                    }
                };
                if wait(&stop, pause).await.is_err() {
                    break;
                }
            }
            watcher.give_up().await;
        });
    }
    tasks.close();
    tasks.wait().await;
}

/// Looks after one connection.
struct Watcher<B, S> {
    pipeline: Pipeline<B, S>,
    connection: Arc<Connection>,
    token: Token,
    /// Deliveries in a row that failed.
    refusals: u32,
    /// When letters were last counted.
    counted_at: Option<Instant>,
    /// When it was last looked for what was kept long enough.
    forgot_at: Option<Instant>,
}

impl<B: Broker, S: Store> Watcher<B, S> {
    /// Looks once, tells one thing at most, and says when to look again.
    async fn step(&mut self, stop: &CancellationToken) -> Result<Duration, Halt> {
        let (store, name) = (&self.pipeline.store, &self.connection.name);
        let leads = self.pipeline.ask(stop, || store.lease(name, &LeaseName::Watch, self.token, LEASE)).await?;
        // First what is remembered, then what it is compared with: never the other way round, or a newer memory would be
        // turned by an older sight.
        let mut watch = self.pipeline.ask(stop, || store.watch(name)).await?;
        let now = self.pipeline.ask(stop, || store.epoch(name)).await?.now;
        let seen = self.pipeline.ask(stop, || look(store, name)).await?;
        let mut sight = seen.sight(&self.connection, now);
        let counted = self.counted_at.is_some_and(|counted_at| counted_at.elapsed() < COUNTING);
        if leads && !counted {
            // Counting goes through all links of a file.
            sight.letters = Some(self.pipeline.ask(stop, || store.counts(name)).await?.letters);
            sight.frozen = Some(self.pipeline.ask(stop, || frozen(store, name)).await?);
            self.counted_at = Some(Instant::now());
        }
        self.pipeline.metrics.standing(name, &watch.standing.now(&sight));
        let (deferred, since) = self.pipeline.ask(stop, || store.deferred(name)).await?;
        self.pipeline.metrics.deferred(name, deferred, since.map_or(Duration::ZERO, |since| now.since(since)));
        if !leads {
            return Ok(POLL);
        }
        if self.forgot_at.is_none_or(|forgot_at| forgot_at.elapsed() >= FORGETTING) {
            self.pipeline.ask(stop, || store.expire(name)).await?;
            self.forgot_at = Some(Instant::now());
        }
        let before = watch.clone();
        let channels = self.pipeline.alerts.channels();
        let alerts = watch.turn(name, &sight, &channels, &uuid::Uuid::now_v7().to_string());
        if watch != before {
            if !self.pipeline.ask(stop, || store.set_watch(name, self.token, &watch)).await? {
                return Ok(POLL);
            }
            alerts.iter().for_each(log);
            if !alerts.is_empty() {
                hit("watch.noted");
            }
        }
        let Some(unsent) = watch.unsent.first_mut() else { return Ok(POLL) };
        let mut refused = false;
        let mut left = Vec::new();
        for channel in std::mem::take(&mut unsent.to) {
            let sent = self.pipeline.alerts.send(&channel, &unsent.alert).await;
            self.pipeline.metrics.alert(&channel, sent.is_ok());
            match sent {
                Ok(()) => info!("Told the {channel} that {}", unsent.alert.text),
                Err(error) => {
                    warn!("The {channel} did not take an alert about {name}, trying again: {error}");
                    refused = true;
                    left.push(channel);
                }
            }
        }
        hit("watch.told");
        unsent.to = left;
        watch.unsent.retain(|unsent| !unsent.to.is_empty());
        self.pipeline.ask(stop, || store.set_watch(name, self.token, &watch)).await?;
        self.refusals = if refused { self.refusals.saturating_add(1) } else { 0 };
        let pause = POLL.saturating_mul(2_u32.saturating_pow(self.refusals.min(8)));
        Ok(if refused { pause.min(LONGEST_PAUSE) } else { Duration::ZERO })
    }

    /// Whoever comes next need not wait for the lease to run out.
    async fn give_up(&self) {
        let released = self.pipeline.store.release(&self.connection.name, &LeaseName::Watch, self.token).await;
        if let Err(error) = released {
            debug!("Did not give the watch of {} back: {error}", self.connection.name);
        }
    }
}

/// What the store says of how a connection runs.
struct Seen {
    timetable: Option<Timetable>,
    runs: Vec<Ended>,
}

impl Seen {
    fn sight<'s>(&'s self, connection: &'s Connection, now: Timestamp) -> Sight<'s> {
        let Connection { schedule, overdue_after, .. } = connection;
        Sight {
            schedule,
            patience: *overdue_after,
            timetable: self.timetable.as_ref(),
            runs: &self.runs,
            letters: None,
            frozen: None,
            now,
        }
    }
}

async fn look<S: Store>(store: &S, name: &ConnectionName) -> Result<Seen, StoreError> {
    let timetable = store.timetable(name).await?;
    let runs = store.runs(name, RUNS).await?.into_iter().filter_map(ended).collect();
    Ok(Seen { timetable, runs })
}

/// Accounts of which an attribute is frozen, among those that wait for a person the shortest.
async fn frozen<S: Store>(store: &S, name: &ConnectionName) -> Result<u64, StoreError> {
    let held = store.held(name).await?;
    let latest: Vec<_> = held.iter().rev().take(HELD).map(|(link, _)| *link).collect();
    if latest.is_empty() {
        return Ok(0);
    }
    let links = store.load(name, &latest).await?.items;
    let is_frozen = |link: &&Link| link.registers.values().any(Register::is_frozen);
    Ok(links.iter().flatten().filter(is_frozen).count() as u64)
}

/// How a connection stands at `now`, also where nobody looks after it.
///
/// # Errors
/// The store does not answer.
pub async fn standing<S: Store>(store: &S, connection: &Connection, now: Timestamp) -> Result<Standing, StoreError> {
    let watch = store.watch(&connection.name).await?;
    let seen = look(store, &connection.name).await?;
    Ok(watch.standing.now(&seen.sight(connection, now)))
}

/// A run that was to read all of its connection, once it has.
fn ended(run: Run) -> Option<Ended> {
    let whole = matches!(run.kind, RunKind::Sync | RunKind::Reconcile);
    let read = !run.reading.a && !run.reading.b;
    (whole && read).then_some(Ended { run: run.id, began_at: run.began_at, failed: run.failed })
}

fn log(alert: &Alert) {
    match alert.state {
        AlertState::Firing => warn!(connection = %alert.connection, "{}", alert.text),
        AlertState::Resolved => info!(connection = %alert.connection, "{}", alert.text),
    }
}
