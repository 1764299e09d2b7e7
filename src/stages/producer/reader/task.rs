//! What a reader reads next, and whether it may read now.

use tokio_util::sync::CancellationToken;
use tracing::info;

use super::super::RUNS;
use super::Reader;
use crate::broker::Broker;
use crate::domain::circuit::Admission;
use crate::domain::{AccountId, Epoch};
use crate::stages::Halt;
use crate::store::{ActiveRead, EpochState, ReaderState, Run, RunKind, Store};

/// What is to be read now.
pub(super) enum Task {
    Page { state: ReaderState, active: ActiveRead },
    Only { state: ReaderState, run: Run, account: AccountId },
    Rereads { state: ReaderState },
    Nothing,
}

impl<B: Broker, S: Store> Reader<B, S> {
    /// What there is to read: the read under way, else a run that waits for this side, else accounts to read again.
    pub(super) async fn next_task(&self, stop: &CancellationToken, epoch: Epoch) -> Result<Task, Halt> {
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
    pub(super) async fn ready(&self, stop: &CancellationToken, epoch: EpochState) -> Result<bool, Halt> {
        let name = &self.connection.name;
        let target = &self.connection.systems[self.side];
        let paused = self.pipeline.state_of(stop, target).await?.not_before;
        if paused.is_some_and(|until| until > epoch.now) {
            return Ok(false);
        }
        let usable_from = self.pipeline.usable_from(&self.connection, epoch);
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
        Ok(match self.pipeline.line(target).admission() {
            Admission::Go => true,
            Admission::Wait(_) => false,
            Admission::Probe => self.pipeline.take_probe(target).await,
        })
    }
}
