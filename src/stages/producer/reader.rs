//! The reader of one side: reads pages, publishes them with confirms, and then moves its cursor. Killed anywhere in
//! between, its successor reads the page again.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::page::{looked_up, messages, sighting};
use super::{LEASE, Step, token};
use crate::broker::{Broker, Queue};
use crate::clock;
use crate::domain::{
    AccountId, AttributePath, Cause, Change, Epoch, Failure, FailureClass, Lane, RunId, Side, Sighting, Token, Value,
};
use crate::failpoint::hit;
use crate::stages::{Connection, Halt, Pipeline, wait};
use crate::store::{ActiveRead, LeaseName, ReaderState, Run, RunKind, Store, StoreError};
use crate::systems::{Next, Page, ReadFrom, SharedSystem};

mod absence;
mod task;

use absence::Followed;
use task::Task;

/// Failed reads in a row after which a run is given up. The next run tries again.
const FAILURES: u32 = 8;

/// Accounts asked for by id in one step, of those that somebody wants to have read again.
const REREADS: usize = 100;

/// The reader of one side of one connection in one process.
#[derive(Clone)]
pub(crate) struct Reader<B, S> {
    pipeline: Pipeline<B, S>,
    connection: Arc<Connection>,
    side: Side,
    memory: Arc<Mutex<Memory>>,
}

/// What only this process knows of the read under way: lost with it, and then nothing is proven absent.
struct Memory {
    /// Names this reader's hold of the lease. A hold that lapsed is never taken up again: what was decided under it may
    /// be out of date, so the next one has another name.
    token: Token,
    /// When the lease was last asked for and granted.
    leased_at: Option<Instant>,
    /// The complete read that was followed from its first page.
    followed: Option<Followed>,
    /// Failed reads in a row.
    failures: u32,
    /// The epoch whose quarantine was announced.
    announced: Option<Epoch>,
}

impl<B: Broker, S: Store> Reader<B, S> {
    pub(crate) fn new(pipeline: Pipeline<B, S>, connection: Arc<Connection>, side: Side) -> Self {
        let memory = Memory { token: token(), leased_at: None, followed: None, failures: 0, announced: None };
        Self { pipeline, connection, side, memory: Arc::new(Mutex::new(memory)) }
    }

    /// The name of the present hold of the lease.
    pub(crate) fn token(&self) -> Token {
        self.memory().token
    }

    pub(crate) async fn step(&self, stop: &CancellationToken) -> Result<Step, Halt> {
        if !self.hold_lease(stop).await? {
            self.memory().followed = None;
            return Ok(Step::Idle);
        }
        hit("producer.leased");
        // First of all: where the reader stands, and what it reads, belong to this epoch or are refused.
        let name = &self.connection.name;
        let epoch = self.pipeline.ask(stop, || self.pipeline.store.epoch(name)).await?;
        match self.next_task(stop, epoch.id).await? {
            Task::Nothing => Ok(Step::Idle),
            task => {
                if !self.ready(stop, epoch).await? {
                    return Ok(Step::Idle);
                }
                let epoch = epoch.id;
                match task {
                    Task::Page { state, active } => self.read_page(stop, state, active, epoch).await,
                    Task::Only { state, run, account } => self.read_only(stop, state, run, account, epoch).await,
                    Task::Rereads { state } => self.read_again(stop, state, epoch).await,
                    Task::Nothing => Ok(Step::Idle),
                }
            }
        }
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().expect("nothing panics while the lock is held")
    }

    fn system(&self) -> &SharedSystem {
        &self.connection.ends[self.side]
    }

    async fn hold_lease(&self, stop: &CancellationToken) -> Result<bool, Halt> {
        let (store, name) = (&self.pipeline.store, &self.connection.name);
        let lease = LeaseName::Reader(self.side);
        let asked = clock::now();
        let token = {
            let mut memory = self.memory();
            if memory.leased_at.is_some_and(|leased_at| clock::now() - leased_at >= LEASE) {
                (memory.token, memory.leased_at, memory.followed) = (token(), None, None);
            }
            memory.token
        };
        let held = self.pipeline.ask(stop, || store.lease(name, &lease, token, LEASE)).await?;
        if held {
            self.memory().leased_at = Some(asked);
        }
        Ok(held)
    }

    /// Does something that may take longer than the lease, renewing it meanwhile.
    async fn keeping_lease<T>(&self, stop: &CancellationToken, work: impl Future<Output = T>) -> Result<T, Halt> {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return Ok(done),
                waited = wait(stop, LEASE / 3) => {
                    waited?;
                    let before = self.token();
                    if !self.hold_lease(stop).await? || self.token() != before {
                        // Somebody else may have gone on from where this step began.
                        return Err(Halt::LostLease);
                    }
                }
            }
        }
    }

    /// Calls the system, and notes how that fared.
    async fn call<T>(
        &self,
        stop: &CancellationToken,
        call: impl Future<Output = Result<T, Failure>>,
    ) -> Result<Result<T, Failure>, Halt> {
        let target = &self.connection.systems[self.side];
        let era = self.pipeline.line(target).era();
        let answer = self.keeping_lease(stop, call).await?;
        self.pipeline.fared(target, era, &answer).await;
        Ok(answer)
    }

    async fn set(&self, stop: &CancellationToken, epoch: Epoch, state: &ReaderState) -> Result<bool, Halt> {
        let (store, name) = (&self.pipeline.store, &self.connection.name);
        self.pipeline.ask(stop, || store.set_reader(name, epoch, self.side, self.token(), state)).await
    }

    async fn read_page(
        &self,
        stop: &CancellationToken,
        mut state: ReaderState,
        active: ActiveRead,
        epoch: Epoch,
    ) -> Result<Step, Halt> {
        let (store, name) = (&self.pipeline.store, &self.connection.name);
        let from = from(&active, state.watermark.as_deref());
        if from == ReadFrom::Start {
            self.follow(stop, &active.run).await?;
        }
        let (merges, page) = match self.call(stop, self.merges_and_page(&from)).await? {
            Ok(read) => read,
            Err(failure) => return self.read_failed(stop, epoch, state, &active.run, &failure).await,
        };
        hit("producer.read");
        self.memory().failures = 0;
        // What the first page says is said again by each of the others.
        if active.position.is_none()
            && let Some(expected) = page.expected
        {
            self.pipeline.ask(stop, || store.expect(name, &active.run, expected)).await?;
        }
        // First, so that what is left of a merge is not taken for somebody new.
        let seen: Vec<_> = merges.into_iter().chain(page.records.into_iter().map(sighting)).collect();
        self.remember(&active.run, &seen);
        let lane = if active.complete { Lane::Bulk } else { Lane::Live };
        state.active = Some(active.clone());
        if !self.publish(stop, &state, &active.run, epoch, lane, seen).await? {
            return Ok(Step::Idle);
        }
        match page.next {
            Next::Page(position) => {
                let position = Some(format!("{POSITION}{position}"));
                state.active = Some(ActiveRead { position, ..active });
                self.moved(stop, epoch, &state).await
            }
            Next::End { watermark, proven_complete, unsettled } => {
                let mut doubt = None;
                if active.complete && is_first_pass(&active) {
                    match self.absent(stop, &active.run, proven_complete).await? {
                        Ok(absent) => {
                            if !self.publish(stop, &state, &active.run, epoch, lane, absent).await? {
                                return Ok(Step::Idle);
                            }
                        }
                        Err(reason) => doubt = reason,
                    }
                }
                state.watermark = Some(watermark.clone().unwrap_or_default());
                if let (Some(wait_for), Some(watermark), true) = (unsettled, watermark, is_first_pass(&active)) {
                    // Some account may change again under the stamp it was read with: once more, after the grain. What
                    // is edited during that second look belongs to the next run, whose overlap covers it: on a busy
                    // system this one would never end.
                    state.active = Some(ActiveRead { position: Some(format!("{WATERMARK}{watermark}")), ..active });
                    let step = self.moved(stop, epoch, &state).await?;
                    self.keeping_lease(stop, clock::sleep(wait_for)).await?;
                    return Ok(step);
                }
                state.active = None;
                let step = self.moved(stop, epoch, &state).await?;
                if step == Step::Worked {
                    self.pipeline
                        .ask(stop, || store.end_reading(name, &active.run, self.side, doubt.as_deref()))
                        .await?;
                    hit("producer.ended_reading");
                }
                Ok(step)
            }
        }
    }

    async fn read_only(
        &self,
        stop: &CancellationToken,
        mut state: ReaderState,
        run: Run,
        account: AccountId,
        epoch: Epoch,
    ) -> Result<Step, Halt> {
        let (store, name) = (&self.pipeline.store, &self.connection.name);
        let active = ActiveRead { run: run.id.clone(), complete: false, position: None, reserved: None };
        state.active = Some(active);
        let answer = self.call(stop, self.system().get(std::slice::from_ref(&account))).await?;
        let lookup = match answer.map(|mut lookups| lookups.pop()) {
            Ok(lookup) => lookup,
            Err(failure) => return self.read_failed(stop, epoch, state, &run.id, &failure).await,
        };
        hit("producer.read");
        let mut problem = None;
        match lookup.map(|lookup| looked_up(&account, lookup)) {
            Some(Ok(seen)) => {
                if !self.publish(stop, &state, &run.id, epoch, Lane::Live, vec![seen]).await? {
                    return Ok(Step::Idle);
                }
            }
            Some(Err(_)) | None => problem = Some(format!("there is no account {account}")),
        }
        state.active = None;
        let step = self.moved(stop, epoch, &state).await?;
        if step == Step::Worked {
            self.pipeline.ask(stop, || store.end_reading(name, &run.id, self.side, problem.as_deref())).await?;
        }
        Ok(step)
    }

    /// Reads the accounts again that somebody could not order or decide by what was read. They are counted in the
    /// bucket of the hour.
    async fn read_again(&self, stop: &CancellationToken, mut state: ReaderState, epoch: Epoch) -> Result<Step, Halt> {
        let (store, name) = (&self.pipeline.store, &self.connection.name);
        let asked = self.pipeline.ask(stop, || store.rereads(name, self.side, REREADS)).await?;
        let accounts: Vec<_> = asked.iter().map(|(account, _)| account.clone()).collect();
        // A second answer within the grain of the stamps could not be ordered either.
        self.keeping_lease(stop, clock::sleep(Duration::from_secs(1))).await?;
        let seen = match self.call(stop, self.seen_again(&accounts)).await? {
            Ok(seen) => seen,
            Err(failure) => {
                self.note_failure(stop, &failure).await?;
                let failures = {
                    let mut memory = self.memory();
                    memory.failures = memory.failures.saturating_add(1).min(FAILURES);
                    memory.failures
                };
                let pause = super::delays().nth(failures as usize).unwrap_or_default();
                warn!(
                    "Reading {} accounts of {name} again failed, trying again in {pause:?}: {failure}",
                    accounts.len()
                );
                self.keeping_lease(stop, clock::sleep(pause)).await?;
                return Ok(Step::Idle);
            }
        };
        hit("producer.read");
        self.memory().failures = 0;
        let run = self.live_run(stop).await?;
        state.active = Some(ActiveRead { run: run.clone(), complete: false, position: None, reserved: None });
        if !self.publish(stop, &state, &run, epoch, Lane::Live, seen).await? {
            return Ok(Step::Idle);
        }
        self.pipeline.ask(stop, || store.reread_done(name, self.side, &asked)).await?;
        state.active = None;
        self.moved(stop, epoch, &state).await
    }

    /// A page, and before the first one the accounts that were merged into others.
    async fn merges_and_page(&self, from: &ReadFrom) -> Result<(Vec<Sighting>, Page), Failure> {
        let merges = self.system().merges(from).await?;
        let merges = merges.into_iter().map(|(account, into)| Sighting::Merged { account, into }).collect();
        Ok((merges, self.system().read(from).await?))
    }

    /// What asking for accounts shows. One that is not there is nobody's proof yet, unless it was merged: the next
    /// complete read decides.
    async fn seen_again(&self, accounts: &[AccountId]) -> Result<Vec<Sighting>, Failure> {
        let lookups = self.system().get(accounts).await?;
        let mut absent = Vec::new();
        let mut seen = Vec::with_capacity(accounts.len());
        for (account, lookup) in accounts.iter().zip(lookups) {
            match looked_up(account, lookup) {
                Ok(sighting) => seen.push(sighting),
                Err(_) => absent.push(account.clone()),
            }
        }
        seen.extend(self.merged(&absent).await?);
        Ok(seen)
    }

    /// The run in which live changes of this hour are counted.
    async fn live_run(&self, stop: &CancellationToken) -> Result<RunId, Halt> {
        let (store, name) = (&self.pipeline.store, &self.connection.name);
        let now = self.pipeline.ask(stop, || store.epoch(name)).await?.now;
        let hour = now.to_string().chars().filter(char::is_ascii_digit).take(10).collect::<String>();
        let id: RunId = format!("live-{hour}").parse().expect("digits and a name are a run id");
        let run = Run::new(id.clone(), RunKind::Live, "live".to_owned(), now);
        self.pipeline.ask(stop, || store.begin_run(name, &run)).await?;
        Ok(id)
    }

    /// Gives numbers to what was seen and publishes it. `false`: the lease is somebody else's.
    async fn publish(
        &self,
        stop: &CancellationToken,
        state: &ReaderState,
        run: &RunId,
        epoch: Epoch,
        lane: Lane,
        seen: Vec<Sighting>,
    ) -> Result<bool, Halt> {
        if seen.is_empty() {
            return Ok(true);
        }
        let name = &self.connection.name;
        self.pipeline.note_clock(stop, &self.connection, self.side).await?;
        let count = u32::try_from(seen.len()).expect("a page has far fewer accounts");
        let reserved = self.reserve(stop, epoch, run, count, state).await?;
        let Some(first) = reserved else { return Ok(false) };
        hit("producer.reserved");
        let (mut live, mut bulk) = (Vec::new(), Vec::new());
        for (number, seen) in (first..).zip(seen) {
            let leaves = is_inactive(&seen);
            let change = Change {
                connection: name.clone(),
                side: self.side,
                cause: Cause { run: run.clone(), number },
                epoch,
                seen,
            };
            // Who loses the right to use an account overtakes everybody else (B18).
            if lane == Lane::Live || leaves { live.push(change) } else { bulk.push(change) }
        }
        let mut outgoing = messages(&Queue::changes(name, Lane::Live), live);
        outgoing.extend(messages(&Queue::changes(name, Lane::Bulk), bulk));
        self.keeping_lease(stop, self.pipeline.broker.publish(outgoing)).await??;
        hit("producer.published");
        Ok(true)
    }

    /// Reserves numbers under the lease. Not repeated after an unknown outcome: a second range would leave the first
    /// without an owner. The step begins again instead, and finds the range in the reader's state.
    async fn reserve(
        &self,
        stop: &CancellationToken,
        epoch: Epoch,
        run: &RunId,
        count: u32,
        state: &ReaderState,
    ) -> Result<Option<u32>, Halt> {
        let (store, name) = (&self.pipeline.store, &self.connection.name);
        match store.reserve(name, run, count, Some((epoch, self.side, self.token(), state))).await {
            Ok(first) => Ok(first),
            Err(StoreError::EpochChanged(_)) => Err(Halt::NewEpoch),
            Err(error) => {
                warn!("Could not reserve numbers for a page of {name}: {error}");
                wait(stop, Duration::from_millis(500)).await?;
                Ok(None)
            }
        }
    }

    /// Moves the cursor.
    async fn moved(&self, stop: &CancellationToken, epoch: Epoch, state: &ReaderState) -> Result<Step, Halt> {
        if !self.set(stop, epoch, state).await? {
            return Ok(Step::Idle);
        }
        hit("producer.moved_cursor");
        Ok(Step::Worked)
    }

    /// A read failed: again later, until it has failed too often or cannot succeed.
    async fn read_failed(
        &self,
        stop: &CancellationToken,
        epoch: Epoch,
        mut state: ReaderState,
        run: &RunId,
        failure: &Failure,
    ) -> Result<Step, Halt> {
        let (store, name) = (&self.pipeline.store, &self.connection.name);
        let system = &self.connection.systems[self.side];
        self.note_failure(stop, failure).await?;
        let hopeless = matches!(failure.class, FailureClass::Permanent | FailureClass::Unauthorised);
        if !hopeless && self.pipeline.line(system).is_open() {
            // It goes on from here when the system is called again.
            return Ok(Step::Idle);
        }
        let failures = {
            let mut memory = self.memory();
            memory.failures += 1;
            memory.failures
        };
        if !hopeless && failures < FAILURES {
            let pause = super::delays().nth(failures as usize).unwrap_or_default();
            warn!("Reading {system} for {name} failed, trying again in {pause:?}: {failure}");
            self.keeping_lease(stop, clock::sleep(pause)).await?;
            return Ok(Step::Worked);
        }
        self.memory().failures = 0;
        let reason = format!("{system} could not be read: {failure}");
        warn!(connection = %name, run = %run, "Run {run} of {name} ends early: {reason}");
        state.active = None;
        let step = self.moved(stop, epoch, &state).await?;
        if step == Step::Worked {
            self.pipeline.ask(stop, || store.end_reading(name, run, self.side, Some(&reason))).await?;
        }
        Ok(step)
    }

    /// Tells all workers what the failure says about the system.
    async fn note_failure(&self, stop: &CancellationToken, failure: &Failure) -> Result<(), Halt> {
        let system = &self.connection.systems[self.side];
        self.pipeline.metrics.retry(system, failure.class);
        if failure.class == FailureClass::Throttled {
            let pause = failure.retry_after.unwrap_or(Duration::from_secs(5));
            let store = &self.pipeline.store;
            self.pipeline.ask(stop, || store.pause_system(system, pause, failure.class.as_str())).await?;
        }
        Ok(())
    }
}

const POSITION: char = 'p';
const WATERMARK: char = 'w';

/// Where a read goes on.
fn from(active: &ActiveRead, watermark: Option<&str>) -> ReadFrom {
    let marked = |mark: char| active.position.as_deref().and_then(|position| position.strip_prefix(mark));
    match (marked(POSITION), marked(WATERMARK), watermark) {
        (Some(position), _, _) => ReadFrom::Position(position.to_owned()),
        (None, Some(watermark), _) => ReadFrom::Watermark(watermark.to_owned()),
        (None, None, Some(watermark)) if !active.complete => ReadFrom::Watermark(watermark.to_owned()),
        (None, None, _) => ReadFrom::Start,
    }
}

/// Whether the pages read so far are those of the complete read itself, not of a second look at unsettled accounts.
fn is_first_pass(active: &ActiveRead) -> bool {
    !active.position.as_deref().is_some_and(|position| position.starts_with(WATERMARK))
}

fn is_inactive(seen: &Sighting) -> bool {
    match seen {
        Sighting::Present { snapshot } => {
            snapshot.attributes.get(&AttributePath::active()) == Some(&Some(Value::Bool(false)))
        }
        Sighting::Absent { .. } => true,
        Sighting::Merged { .. } | Sighting::Unreadable { .. } => false,
    }
}
