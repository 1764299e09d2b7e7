//! The clerk of a connection: begins runs that people asked for, or that are due.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{LEASE, RUNS, Step};
use crate::broker::Broker;
use crate::domain::{RunId, Side, Sides, Token};
use crate::stages::{Connection, Halt, Pipeline};
use crate::store::{LeaseName, Run, RunKind, Store, SyncRequest};

/// The clerk of one connection in one process.
#[derive(Clone)]
pub(in crate::stages) struct Clerk<B, S> {
    pub(in crate::stages) pipeline: Pipeline<B, S>,
    pub(in crate::stages) connection: Arc<Connection>,
    pub(in crate::stages) token: Token,
}

impl<B: Broker, S: Store> Clerk<B, S> {
    pub(in crate::stages) async fn step(&self, stop: &CancellationToken) -> Result<Step, Halt> {
        let (store, name) = (&self.pipeline.store, &self.connection.name);
        if !self.pipeline.ask(stop, || store.lease(name, &LeaseName::Runs, self.token, LEASE)).await? {
            return Ok(Step::Idle);
        }
        // One run at a time: a request made during a run waits for it, and is not lost (R66).
        let runs = self.pipeline.ask(stop, || store.runs(name, RUNS)).await?;
        if runs.iter().any(|run| run.kind != RunKind::Live && (run.reading.a || run.reading.b)) {
            return Ok(Step::Idle);
        }
        let requests = self.pipeline.ask(stop, || store.requests(name)).await?;
        if let Some(request) = requests.into_iter().next() {
            begin_run(&self.pipeline, &self.connection, &request, stop).await?;
            self.pipeline.ask(stop, || store.request_done(name, &request.run)).await?;
            return Ok(Step::Worked);
        }
        if let Some(every) = self.connection.every {
            let now = self.pipeline.ask(stop, || store.epoch(name)).await?.now;
            let last = runs
                .iter()
                .filter(|run| matches!(run.kind, RunKind::Sync | RunKind::Reconcile))
                .map(|run| run.began_at)
                .max();
            if last.is_none_or(|last| now >= last + every) {
                let request =
                    SyncRequest { run: new_run_id(), kind: RunKind::Sync, by: "schedule".to_owned(), only: None };
                begin_run(&self.pipeline, &self.connection, &request, stop).await?;
                return Ok(Step::Worked);
            }
        }
        Ok(Step::Idle)
    }
}

/// A new id for a run.
pub fn new_run_id() -> RunId {
    uuid::Uuid::now_v7().to_string().parse().expect("a UUID is a run id")
}

/// Begins the run that was asked for: the readers find it and read.
///
/// A side that only receives is read when nothing is known of it in this epoch, and by a reconcile; what happens on it
/// otherwise does not count (R56), so reading it each time would only cost its API.
pub(crate) async fn begin_run<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    connection: &Connection,
    request: &SyncRequest,
    stop: &CancellationToken,
) -> Result<(), Halt> {
    let (store, name) = (&pipeline.store, &connection.name);
    let mut reading = Sides { a: false, b: false };
    for side in Side::BOTH {
        let known = pipeline.ask(stop, || store.reader(name, side)).await?.watermark.is_some();
        let is_readable = connection.ends[side].schema().readable;
        reading[side] = is_readable
            && match (&request.only, request.kind) {
                (Some((of, _)), _) => *of == side,
                (None, RunKind::Reconcile) => true,
                (None, _) => connection.template().contributes(side) || !known,
            };
    }
    let began_at = pipeline.ask(stop, || store.epoch(name)).await?.now;
    let run = Run {
        only: request.only.clone(),
        reading,
        ..Run::new(request.run.clone(), request.kind, request.by.clone(), began_at)
    };
    pipeline.ask(stop, || store.begin_run(name, &run)).await?;
    info!(connection = %name, run = %run.id, "Began run {} of {name}, asked for by {}", run.id, run.by);
    Ok(())
}
