//! The reader of one side: reads pages, publishes them with confirms, and then moves its cursor. Killed anywhere in
//! between, its successor reads the page again.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::page::{looked_up, messages, sighting};
use super::{LEASE, RUNS, Step, token};
use crate::broker::{Broker, Queue};
use crate::domain::{
    AccountId, AttributePath, Cause, Change, Epoch, Failure, FailureClass, Lane, RunId, Side, Sighting, Token, Value,
};
use crate::failpoint::hit;
use crate::stages::{Connection, Halt, Pipeline, wait};
use crate::store::{ActiveRead, EpochState, LeaseName, ReaderState, Run, RunKind, Store, StoreError};
use crate::systems::{Lookup, Next, ReadFrom, SharedSystem};

/// Failed reads in a row after which a run is given up. The next run tries again.
const FAILURES: u32 = 8;

/// Accounts asked for by id in one step, of those that somebody wants to have read again.
const REREADS: usize = 100;

/// The largest share of the known accounts, in percent, that may be missing from a list before the list itself is
/// doubted, and the number below which the share says nothing.
const DOUBTFUL_PERCENT: usize = 20;
const DOUBTFUL_ABOVE: usize = 10;

/// The reader of one side of one connection in one process.
#[derive(Clone)]
pub(in crate::stages) struct Reader<B, S> {
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

/// A complete read that this process follows from its first page.
struct Followed {
    run: RunId,
    /// Accounts that links held when it began.
    known: usize,
    /// Hashes of the ids of those that were not listed yet: 8 bytes each. Who was linked since is no part of it.
    unlisted: HashSet<u64>,
}

/// What is to be read now.
enum Task {
    Page { state: ReaderState, active: ActiveRead },
    Only { state: ReaderState, run: Run, account: AccountId },
    Rereads { state: ReaderState },
    Nothing,
}

impl<B: Broker, S: Store> Reader<B, S> {
    pub(in crate::stages) fn new(pipeline: Pipeline<B, S>, connection: Arc<Connection>, side: Side) -> Self {
        let memory = Memory { token: token(), leased_at: None, followed: None, failures: 0, announced: None };
        Self { pipeline, connection, side, memory: Arc::new(Mutex::new(memory)) }
    }

    /// The name of the present hold of the lease.
    pub(in crate::stages) fn token(&self) -> Token {
        self.memory().token
    }

    pub(in crate::stages) async fn step(&self, stop: &CancellationToken) -> Result<Step, Halt> {
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
        let asked = Instant::now();
        let token = {
            let mut memory = self.memory();
            if memory.leased_at.is_some_and(|leased_at| leased_at.elapsed() >= LEASE) {
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

    async fn set(&self, stop: &CancellationToken, epoch: Epoch, state: &ReaderState) -> Result<bool, Halt> {
        let (store, name) = (&self.pipeline.store, &self.connection.name);
        self.pipeline.ask(stop, || store.set_reader(name, epoch, self.side, self.token(), state)).await
    }

    /// What there is to read: the read under way, else a run that waits for this side, else accounts to read again.
    async fn next_task(&self, stop: &CancellationToken, epoch: Epoch) -> Result<Task, Halt> {
        let (store, name) = (&self.pipeline.store, &self.connection.name);
        let mut state = self.pipeline.ask(stop, || store.reader(name, self.side)).await?;
        if let Some(active) = &mut state.active {
            // Whoever reserved these numbers died, or gave up, before it moved the cursor: what was read is read again.
            if let Some(range) = active.reserved.take() {
                let run = active.run.clone();
                self.pipeline.ask(stop, || store.abandon(name, &run, range)).await?;
                if !self.set(stop, epoch, &state).await? {
                    return Ok(Task::Nothing);
                }
            }
        }
        if let Some(active) = state.active.clone() {
            let run = self.pipeline.ask(stop, || store.run(name, &active.run)).await?;
            if let Some(run) = run.filter(|run| run.kind != RunKind::Live && run.reading[self.side]) {
                return Ok(match run.only.clone() {
                    Some((_, account)) => Task::Only { state, run, account },
                    None => Task::Page { state, active },
                });
            }
            state.active = None;
            if !self.set(stop, epoch, &state).await? {
                return Ok(Task::Nothing);
            }
        }
        let runs = self.pipeline.ask(stop, || store.runs(name, RUNS)).await?;
        let waiting = runs.into_iter().rev().find(|run| run.kind != RunKind::Live && run.reading[self.side]);
        if let Some(run) = waiting {
            if let Some((_, account)) = run.only.clone() {
                return Ok(Task::Only { state, run, account });
            }
            let complete = run.kind == RunKind::Reconcile
                || state.watermark.as_deref().is_none_or(str::is_empty)
                || !self.system().schema().incremental;
            let active = ActiveRead { run: run.id, complete, position: None, reserved: None };
            return Ok(Task::Page { state, active });
        }
        let asked = self.pipeline.ask(stop, || store.rereads(name, self.side, 1)).await?;
        Ok(if asked.is_empty() { Task::Nothing } else { Task::Rereads { state } })
    }

    /// Whether the system may be called, and requests from before this epoch can land no more.
    async fn ready(&self, stop: &CancellationToken, epoch: EpochState) -> Result<bool, Halt> {
        let (store, name) = (&self.pipeline.store, &self.connection.name);
        let target = &self.connection.systems[self.side];
        let paused = self.pipeline.ask(stop, || store.system(target)).await?.not_before;
        if paused.is_some_and(|until| until > epoch.now) {
            return Ok(false);
        }
        // What such a request created must be found by the search that precedes the next creation.
        let search_lag = |side| self.connection.ends[side].schema().search_lag;
        let lag = Side::BOTH.into_iter().map(search_lag).max().unwrap_or_default();
        let usable_from = epoch.began_at + self.pipeline.settings.quarantine() + lag;
        if epoch.now < usable_from {
            let mut memory = self.memory();
            if memory.announced != Some(epoch.id) {
                memory.announced = Some(epoch.id);
                info!(
                    "The store's memory of {name} is new; reading in {:?}, when no earlier write can land any more",
                    usable_from.since(epoch.now)
                );
            }
            return Ok(false);
        }
        Ok(true)
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
            let mut unlisted = HashSet::new();
            self.known(stop, |account| unlisted.extend([hash(&account)])).await?;
            let followed = Followed { run: active.run.clone(), known: unlisted.len(), unlisted };
            self.memory().followed = Some(followed);
        }
        let page = match self.keeping_lease(stop, self.system().read(&from)).await? {
            Ok(page) => page,
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
        let seen: Vec<_> = page.records.into_iter().map(sighting).collect();
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
                    self.keeping_lease(stop, tokio::time::sleep(wait_for)).await?;
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
        let answer = self.keeping_lease(stop, self.system().get(std::slice::from_ref(&account))).await?;
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
        self.keeping_lease(stop, tokio::time::sleep(Duration::from_secs(1))).await?;
        let lookups = match self.keeping_lease(stop, self.system().get(&accounts)).await? {
            Ok(lookups) => lookups,
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
                self.keeping_lease(stop, tokio::time::sleep(pause)).await?;
                return Ok(Step::Idle);
            }
        };
        hit("producer.read");
        self.memory().failures = 0;
        // An account that is not there is nobody's proof yet: the next complete read decides.
        let seen: Vec<_> =
            accounts.iter().zip(lookups).filter_map(|(account, lookup)| looked_up(account, lookup).ok()).collect();
        let run = self.live_run(stop).await?;
        state.active = Some(ActiveRead { run: run.clone(), complete: false, position: None, reserved: None });
        if !self.publish(stop, &state, &run, epoch, Lane::Live, seen).await? {
            return Ok(Step::Idle);
        }
        self.pipeline.ask(stop, || store.reread_done(name, self.side, &asked)).await?;
        state.active = None;
        self.moved(stop, epoch, &state).await
    }

    /// The run in which live changes of this hour are counted.
    async fn live_run(&self, stop: &CancellationToken) -> Result<RunId, Halt> {
        let (store, name) = (&self.pipeline.store, &self.connection.name);
        let now = self.pipeline.ask(stop, || store.epoch(name)).await?.now;
        let hour = now.to_string().chars().filter(char::is_ascii_digit).take(10).collect::<String>();
        let id: RunId = format!("live-{hour}").parse().expect("digits and a name are a run id");
        let run = Run {
            id: id.clone(),
            kind: RunKind::Live,
            by: "live".to_owned(),
            began_at: now,
            only: None,
            reading: crate::domain::Sides { a: false, b: false },
            read: 0,
            expected: None,
            changes: Vec::new(),
            emitted: 0,
            commands: Vec::new(),
            failed: None,
        };
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

    /// Hands each account that a link of this side holds to `take`.
    async fn known(&self, stop: &CancellationToken, mut take: impl FnMut(AccountId) + Send) -> Result<(), Halt> {
        let (store, name) = (&self.pipeline.store, &self.connection.name);
        let mut from = None;
        loop {
            let (accounts, next) = self.pipeline.ask(stop, || store.accounts(name, self.side, from.clone())).await?;
            accounts.into_iter().for_each(|(account, _)| take(account));
            match next {
                Some(next) => from = Some(next),
                None => return Ok(()),
            }
        }
    }

    /// Notes the ids of a page, as long as this process has followed the read from its beginning.
    fn remember(&self, run: &RunId, seen: &[Sighting]) {
        if let Some(followed) = &mut self.memory().followed
            && followed.run == *run
        {
            for seen in seen {
                let account = match seen {
                    Sighting::Present { snapshot } => Some(&snapshot.account),
                    Sighting::Unreadable { account, .. } => account.as_ref(),
                    Sighting::Absent { .. } => None,
                };
                if let Some(account) = account {
                    followed.unlisted.remove(&hash(account));
                }
            }
        }
    }

    /// Who is linked, was not listed by a complete read, and is not there when asked for by id either (B12). An error
    /// says why nobody may be taken for gone, if that is worth saying.
    async fn absent(
        &self,
        stop: &CancellationToken,
        run: &RunId,
        proven_complete: bool,
    ) -> Result<Result<Vec<Sighting>, Option<String>>, Halt> {
        let followed = self.memory().followed.take().filter(|followed| followed.run == *run);
        let Some(Followed { known, unlisted, .. }) = followed else { return Ok(Err(None)) };
        if unlisted.is_empty() {
            return Ok(Ok(Vec::new()));
        }
        let mut missing = Vec::new();
        self.known(stop, |account| {
            if unlisted.contains(&hash(&account)) {
                missing.push(account);
            }
        })
        .await?;
        let system = &self.connection.systems[self.side];
        if missing.len() > DOUBTFUL_ABOVE && missing.len() * 100 > known * DOUBTFUL_PERCENT {
            return Ok(Err(Some(format!(
                "{system} did not list {} of {known} known accounts; the list is doubted, and nobody is taken for gone",
                missing.len()
            ))));
        }
        let mut gone = Vec::new();
        for chunk in missing.chunks(REREADS) {
            match self.keeping_lease(stop, self.system().get(chunk)).await? {
                Ok(lookups) => gone.extend(chunk.iter().zip(lookups).filter_map(|(account, lookup)| match lookup {
                    Lookup::Absent(read_at) => Some(Sighting::Absent { account: account.clone(), read_at }),
                    Lookup::Found(_) | Lookup::Unreadable { .. } => None,
                })),
                Err(failure) => {
                    warn!("Could not ask {system} for accounts that it did not list: {failure}");
                    return Ok(Err(None));
                }
            }
        }
        if !gone.is_empty() && !proven_complete {
            return Ok(Err(Some(format!(
                "the list of {system} was not proven complete, so {} accounts that it lacks are not taken for gone",
                gone.len()
            ))));
        }
        Ok(Ok(gone))
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
        let failures = {
            let mut memory = self.memory();
            memory.failures += 1;
            memory.failures
        };
        let hopeless = matches!(failure.class, FailureClass::Permanent | FailureClass::Unauthorised);
        if !hopeless && failures < FAILURES {
            let pause = super::delays().nth(failures as usize).unwrap_or_default();
            warn!("Reading {system} for {name} failed, trying again in {pause:?}: {failure}");
            self.keeping_lease(stop, tokio::time::sleep(pause)).await?;
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
        Sighting::Unreadable { .. } => false,
    }
}

fn hash(account: &AccountId) -> u64 {
    use std::hash::Hasher as _;
    let mut hasher = siphasher::sip::SipHasher13::new();
    hasher.write(account.as_str().as_bytes());
    hasher.finish()
}
