//! A whole roster through all three stages: loaded once, and read again when nothing has changed.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::drive::{Cost, Meters};
use super::rig::Rig;
use crate::broker::Broker;
use crate::domain::CommandOutcome;
use crate::ops::output::Form;
use crate::ops::sync;
use crate::ops::worker::{self, Role};
use crate::store::{RunKind, Store};

/// What a roster costs.
#[derive(Debug, Clone, Serialize)]
pub struct Reconcile {
    /// Where messages and links were kept.
    pub mode: &'static str,
    /// People.
    pub users: u32,
    /// The first load, in which each of them is created.
    pub load: Pass,
    /// A reconcile that reads every account of both sides and finds nothing to do.
    pub no_change: Pass,
    /// Accounts that the reconcile wrote: none.
    pub writes: u64,
    /// Bytes of the store a link, where it is Redis: all keys counted, claims and runs included.
    pub bytes_a_link: Option<f64>,
}

/// One pass over a roster.
#[derive(Debug, Clone, Serialize)]
pub struct Pass {
    /// Accounts read.
    pub read: u32,
    /// Accounts read a second, from the request to the last outcome.
    pub rate: f64,
    /// What it cost.
    pub cost: Cost,
}

/// Loads a roster of `users` and reconciles it, with the first pair of the rig.
pub async fn run<B: Broker, S: Store>(
    rig: &Rig<B, S>,
    mode: &'static str,
    users: u32,
    meters: &Meters,
) -> anyhow::Result<Reconcile> {
    let pair = rig.pairs.first().context("the rig has no pair")?;
    pair.source.edit(users);
    let stop = CancellationToken::new();
    // Whoever stops the benchmark stops this as well.
    let _stop_with_us = stop.clone().drop_guard();
    let mut working = tokio::spawn({
        let (pipeline, stop) = (rig.pipeline.clone(), stop.clone());
        async move { worker::stages(&Role::ALL, &pipeline, &stop).await }
    });
    let measured = async {
        // Over servers, writers of an earlier memory of the store may still be at work as far as anybody knows.
        let epoch = rig.pipeline.store.epoch(&pair.name).await?;
        let opens_at = epoch.began_at + rig.pipeline.settings.quarantine() + Duration::from_secs(1);
        tokio::time::sleep(opens_at.since(epoch.now)).await;
        let (load, _) = pass(rig, RunKind::Sync, users, meters).await?;
        let before = pair.target.writes();
        let (no_change, emitted) = pass(rig, RunKind::Reconcile, 0, meters).await?;
        let writes = pair.target.writes() - before;
        ensure!(writes == 0 && emitted == 0, "a reconcile with nothing to do wrote {writes} accounts");
        ensure!(no_change.read == 2 * users, "a reconcile of {users} users read {} accounts", no_change.read);
        Ok(Reconcile { mode, users, load, no_change, writes, bytes_a_link: None })
    };
    let measured = tokio::select! {
        measured = measured => measured,
        ended = &mut working => {
            ended??;
            anyhow::bail!("the stages ended unasked")
        }
    };
    stop.cancel();
    working.await??;
    measured
}

async fn pass<B: Broker, S: Store>(
    rig: &Rig<B, S>,
    kind: RunKind,
    writes: u32,
    meters: &Meters,
) -> anyhow::Result<(Pass, u32)> {
    let begun = meters.begin();
    let (run, took) = sync::follow_new(&rig.pipeline, &rig.pairs[0].name, kind, Form::Json).await?;
    let cost = begun.end();
    ensure!(run.failed.is_none(), "the roster could not be read: {:?}", run.failed);
    let applied = run.commands(CommandOutcome::Applied);
    ensure!(applied == writes, "{applied} accounts were written where {writes} were to be");
    Ok((Pass { read: run.read, rate: f64::from(run.read) / took.as_secs_f64(), cost }, run.emitted))
}
