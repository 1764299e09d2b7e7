//! The clerk of a connection: begins runs that people asked for, or that are due.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{LEASE, RUNS, Step};
use crate::broker::Broker;
use crate::clock;
use crate::domain::circuit::Why;
use crate::domain::schedule::{Slot, Timetable};
use crate::domain::{RunId, Side, Sides, Timestamp, Token};
use crate::failpoint::hit;
use crate::stages::matching::MatchError;
use crate::stages::{Connection, Halt, Pipeline, preflight, wait};
use crate::store::{LeaseName, Run, RunKind, Store, SyncRequest};

/// The clerk of one connection in one process.
#[derive(Clone)]
pub(crate) struct Clerk<B, S> {
    pipeline: Pipeline<B, S>,
    connection: Arc<Connection>,
    pub(crate) token: Token,
    /// When both systems were last found fit for the connection.
    cleared_at: Arc<Mutex<Option<Instant>>>,
}

/// How long the systems are trusted to stay as they were found.
const CLEARED: Duration = Duration::from_secs(3600);

impl<B: Broker, S: Store> Clerk<B, S> {
    pub(crate) fn new(pipeline: Pipeline<B, S>, connection: Arc<Connection>, token: Token) -> Self {
        Self { pipeline, connection, token, cleared_at: Arc::default() }
    }

    pub(crate) async fn step(&self, stop: &CancellationToken) -> Result<Step, Halt> {
        let (store, name) = (&self.pipeline.store, &self.connection.name);
        if !self.pipeline.ask(stop, || store.lease(name, &LeaseName::Runs, self.token, LEASE)).await? {
            return Ok(Step::Idle);
        }
        let now = self.pipeline.ask(stop, || store.epoch(name)).await?.now;
        let Some(timetable) = self.timetable(stop, now).await? else { return Ok(Step::Idle) };
        // One run at a time: a request made during a run waits for it, and is not lost (R66).
        let runs = self.pipeline.ask(stop, || store.runs(name, RUNS)).await?;
        if runs.iter().any(|run| run.kind != RunKind::Live && (run.reading.a || run.reading.b)) {
            return Ok(Step::Idle);
        }
        let requests = self.pipeline.ask(stop, || store.requests(name)).await?;
        if let Some(request) = requests.into_iter().next() {
            let Some(blocked) = self.prepare(stop, &runs, &request).await? else { return Ok(Step::Idle) };
            self.begin_run(stop, &request, None, blocked, now).await?;
            hit("clerk.began");
            self.pipeline.ask(stop, || store.request_done(name, &request.run)).await?;
            return Ok(Step::Worked);
        }
        let Some(slot) = self.connection.schedule.due(timetable.served, now) else { return Ok(Step::Idle) };
        let request = SyncRequest { run: new_run_id(), kind: RunKind::Sync, by: "schedule".to_owned(), only: None };
        let Some(blocked) = self.prepare(stop, &runs, &request).await? else { return Ok(Step::Idle) };
        self.begin_run(stop, &request, Some(slot), blocked, now).await?;
        hit("clerk.began");
        Ok(Step::Worked)
    }

    /// The timetable to go by; `None` if it changed meanwhile.
    async fn timetable(&self, stop: &CancellationToken, now: Timestamp) -> Result<Option<Timetable>, Halt> {
        let (store, name, schedule) = (&self.pipeline.store, &self.connection.name, &self.connection.schedule);
        let stored = self.pipeline.ask(stop, || store.timetable(name)).await?;
        let Some(renewed) = Timetable::renewed(schedule, stored.as_ref(), now) else {
            // What a schedule that never was in force has served is of no account.
            let nothing = || Timetable { rule: schedule.to_string(), since: now, served: now };
            return Ok(Some(stored.unwrap_or_else(nothing)));
        };
        if !self.pipeline.ask(stop, || store.set_timetable(name, stored.as_ref(), &renewed)).await? {
            return Ok(None);
        }
        info!(connection = %name, "The schedule of {name} is: {schedule}");
        Ok(Some(renewed))
    }

    /// Why no run can go well, if that is so (R6). The systems are asked before the first run of this process, once an
    /// hour, and as long as runs fail.
    async fn blocked(&self, stop: &CancellationToken, runs: &[Run]) -> Result<Option<String>, Halt> {
        let latest = runs.iter().find(|run| run.kind != RunKind::Live);
        let cleared_at = *self.cleared_at.lock().expect("nothing panics while the lock is held");
        let is_cleared = cleared_at.is_some_and(|cleared_at| clock::now() - cleared_at < CLEARED);
        if is_cleared && latest.is_none_or(|run| run.failed.is_none()) {
            return Ok(None);
        }
        let blocked = self.keeping_lease(stop, preflight::blocked(&self.connection)).await?;
        let cleared_at = blocked.is_none().then(clock::now);
        *self.cleared_at.lock().expect("nothing panics while the lock is held") = cleared_at;
        Ok(blocked)
    }

    /// Sees to it that this run can begin: why it is blocked, if it is. The outer `None`: not yet.
    async fn prepare(
        &self,
        stop: &CancellationToken,
        runs: &[Run],
        request: &SyncRequest,
    ) -> Result<Option<Option<String>>, Halt> {
        let mut is_called = true;
        for side in Side::BOTH {
            let system = &self.connection.systems[side];
            let Some(open) = self.pipeline.state_of(stop, system).await?.circuit.open else { continue };
            if open.why == Why::Unauthorised {
                // A person has to mend it, and should hear of it.
                return Ok(Some(Some(format!(
                    "{system} refuses its credential ({}) since {}; when it is mended: `muster resume --system {system}`",
                    open.symptom.code, open.since
                ))));
            }
            is_called = false;
        }
        // An outage is no reason for a run not to begin: what can be read is read, and the rest waits.
        if is_called && let Some(blocked) = self.blocked(stop, runs).await? {
            return Ok(Some(Some(blocked)));
        }
        self.match_first(stop, request, is_called).await
    }

    /// Matches the accounts of both systems before anything else is read in an epoch, where accounts are linked by what
    /// they have in common; again once the rules have changed, and for each reconcile.
    async fn match_first(
        &self,
        stop: &CancellationToken,
        request: &SyncRequest,
        is_called: bool,
    ) -> Result<Option<Option<String>>, Halt> {
        let (pipeline, connection) = (&self.pipeline, &self.connection);
        let (store, name) = (&pipeline.store, &connection.name);
        if !connection.matches_first() {
            return Ok(Some(None));
        }
        let epoch = pipeline.ask(stop, || store.epoch(name)).await?;
        let note = pipeline.ask(stop, || store.match_note(name)).await?;
        let is_current = note.is_some_and(|note| {
            let looks_again = request.kind == RunKind::Reconcile && note.run != request.run;
            note.epoch == epoch.id && note.version == connection.template().version && !looks_again
        });
        if is_current {
            return Ok(Some(None));
        }
        // What was created just before the epoch began is seen.
        if !is_called || epoch.now < pipeline.usable_from(connection, epoch) {
            return Ok(None);
        }
        let mut reread = Sides { a: false, b: false };
        for side in Side::BOTH {
            let known = pipeline.ask(stop, || store.reader(name, side)).await?.watermark.is_some();
            reread[side] = known && request.kind != RunKind::Reconcile;
        }
        let work = async {
            let found = match pipeline.compare(stop, connection).await {
                Ok(found) => found,
                Err(MatchError::Halt(halt)) => return Err(halt),
                Err(MatchError::Unread(reason)) => return Ok(Some(Some(reason))),
            };
            let note = pipeline.link_matched(stop, connection, &found, &request.run, reread).await?;
            info!(
                connection = %name,
                "Matched the accounts of {name}: {} pairs by a key, {} accounts ambiguous",
                note.matched, note.ambiguous.a + note.ambiguous.b
            );
            Ok(Some(None))
        };
        self.keeping_lease(stop, work).await?
    }

    /// Does something that may take longer than the lease, renewing it meanwhile.
    async fn keeping_lease<T>(&self, stop: &CancellationToken, work: impl Future<Output = T>) -> Result<T, Halt> {
        let (store, name) = (&self.pipeline.store, &self.connection.name);
        let mut work = std::pin::pin!(work);
        loop {
            let done = tokio::select! {
                biased;
                done = &mut work => Some(done),
                waited = wait(stop, LEASE / 3) => waited.map(|()| None)?,
            };
            // Also when it is done: who was away for long may have been replaced by somebody who began a run.
            if !self.pipeline.ask(stop, || store.lease(name, &LeaseName::Runs, self.token, LEASE)).await? {
                return Err(Halt::LostLease);
            }
            if let Some(done) = done {
                return Ok(done);
            }
        }
    }

    /// Begins a run: the readers find it and read. A blocked one is over at once, and says why.
    ///
    /// A side that only receives is read when nothing is known of it in this epoch, and by a reconcile; what happens on it
    /// otherwise does not count (R56), so reading it each time would only cost its API.
    async fn begin_run(
        &self,
        stop: &CancellationToken,
        request: &SyncRequest,
        slot: Option<Slot>,
        blocked: Option<String>,
        began_at: Timestamp,
    ) -> Result<(), Halt> {
        let (store, name) = (&self.pipeline.store, &self.connection.name);
        let mut reading = Sides { a: false, b: false };
        for side in Side::BOTH.into_iter().filter(|_| blocked.is_none()) {
            let known = self.pipeline.ask(stop, || store.reader(name, side)).await?.watermark.is_some();
            let is_readable = self.connection.ends[side].schema().readable;
            reading[side] = is_readable
                && match (&request.only, request.kind) {
                    (Some((of, _)), _) => *of == side,
                    (None, RunKind::Reconcile) => true,
                    (None, _) => self.connection.template().contributes(side) || !known,
                };
        }
        let run = Run {
            only: request.only.clone(),
            slot,
            reading,
            failed: blocked,
            ..Run::new(request.run.clone(), request.kind, request.by.clone(), began_at)
        };
        // Asked again after a lost answer, the store says that the run is there, which is as good.
        if self.pipeline.ask(stop, || store.begin_run(name, &run)).await? {
            info!(connection = %name, run = %run.id, "Began run {} of {name}, asked for by {}", run.id, run.by);
            if let Some(blocked) = &run.failed {
                warn!(connection = %name, run = %run.id, "Run {} of {name} reads nothing: {blocked}", run.id);
            }
            if let Some(Slot { at, missed: missed @ 1.. }) = slot {
                self.pipeline.metrics.missed_slots(name, missed);
                warn!(
                    connection = %name, run = %run.id,
                    "No run of {name} served the {missed} slots before {at}; run {} makes up for them", run.id
                );
            }
        }
        Ok(())
    }
}

/// A new id for a run.
pub fn new_run_id() -> RunId {
    clock::new_id().parse().expect("a UUID is a run id")
}
