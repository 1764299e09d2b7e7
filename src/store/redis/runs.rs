//! Runs and their counts, and the requests for runs.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::RedisStore;
use super::keys::{REQUESTS_TTL, RUNS_KEPT};
use super::pool::failed;
use super::script::{AMEND_RUN, BEGIN_RUN, Call, STAMP};
use crate::domain::retention::Retention;
use crate::domain::schedule::Slot;
use crate::domain::{AccountId, ChangeOutcome, CommandOutcome, ConnectionName, RunId, Side, Sides, Timestamp};
use crate::store::{Run, RunKind, StoreError, SyncRequest};

/// What is known of a run from its beginning.
#[derive(Serialize, Deserialize)]
struct About {
    kind: RunKind,
    by: String,
    began_at: Timestamp,
    only: Option<(Side, AccountId)>,
    #[serde(default)]
    slot: Option<Slot>,
}

impl RedisStore {
    /// See [`Store::begin_run`](crate::store::Store::begin_run).
    pub(super) async fn start_run(&self, connection: &ConnectionName, run: &Run) -> Result<bool, StoreError> {
        let Retention { runs, live_runs, .. } = self.retention;
        let ttl: Duration = if run.kind == RunKind::Live { live_runs } else { runs };
        let (by, only) = (run.by.clone(), run.only.clone());
        let about = About { kind: run.kind, by, began_at: run.began_at, only, slot: run.slot };
        let keys = self.keys(connection);
        let mut call = Call::new([keys.run(&run.id), keys.runs(), keys.timetable()]);
        call.arg(run.id.as_str()).number(run.began_at.0).number(ttl.as_millis()).number(RUNS_KEPT);
        call.arg(run.slot.map_or_else(String::new, |slot| slot.at.0.to_string()));
        call.arg("about").arg(super::json(&about));
        // The counts begin at nothing: they belong to the numbers that the store gives out.
        call.arg("read").number(0).arg("emitted").number(0);
        for side in Side::BOTH {
            call.arg(reading(side)).number(u8::from(run.reading[side]));
        }
        if let Some(expected) = run.expected {
            call.arg("expected").number(expected);
        }
        if let Some(failed) = &run.failed {
            call.arg("failed").arg(failed);
        }
        BEGIN_RUN.run(&mut *self.pool.lend().await?, &call).await
    }

    /// See [`Store::end_reading`](crate::store::Store::end_reading).
    pub(super) async fn stop_reading(
        &self,
        connection: &ConnectionName,
        run: &RunId,
        side: Side,
        failed: Option<&str>,
    ) -> Result<(), StoreError> {
        self.amend_run(connection, run, |call| {
            call.arg("HSET").arg(reading(side)).number(0);
            if let Some(reason) = failed {
                // The first reason is the one that explains the others.
                call.arg("HSETNX").arg("failed").arg(reason);
            }
        })
        .await
    }

    /// See [`Store::expect`](crate::store::Store::expect).
    pub(super) async fn add_expected(
        &self,
        connection: &ConnectionName,
        run: &RunId,
        accounts: u64,
    ) -> Result<(), StoreError> {
        self.amend_run(connection, run, |call| {
            call.arg("HINCRBY").arg("expected").number(accounts);
        })
        .await
    }

    async fn amend_run(
        &self,
        connection: &ConnectionName,
        run: &RunId,
        fill: impl FnOnce(&mut Call),
    ) -> Result<(), StoreError> {
        let keys = self.keys(connection);
        let mut call = Call::new([keys.run(run), keys.run_bits(run)]);
        fill(&mut call);
        AMEND_RUN.run::<()>(&mut *self.pool.lend().await?, &call).await
    }

    /// See [`Store::run`](crate::store::Store::run).
    pub(super) async fn one_run(&self, connection: &ConnectionName, run: &RunId) -> Result<Option<Run>, StoreError> {
        let mut server = self.pool.lend().await?;
        let fields: HashMap<String, String> = redis::cmd("HGETALL")
            .arg(self.keys(connection).run(run))
            .query_async(&mut *server)
            .await
            .map_err(failed)?;
        read_run(connection, run.clone(), &fields)
    }

    /// See [`Store::runs`](crate::store::Store::runs).
    pub(super) async fn latest_runs(&self, connection: &ConnectionName, limit: usize) -> Result<Vec<Run>, StoreError> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let keys = self.keys(connection);
        let mut server = self.pool.lend().await?;
        let ids: Vec<String> = redis::cmd("ZREVRANGE")
            .arg(keys.runs())
            .arg(0)
            .arg(limit - 1)
            .query_async(&mut *server)
            .await
            .map_err(failed)?;
        let ids: Vec<RunId> = ids
            .iter()
            .map(|id| id.parse())
            .collect::<Result<_, _>>()
            .map_err(|_| StoreError::Unusable(format!("connection {connection}: a listed run is no run id")))?;
        let mut pipeline = redis::pipe();
        for id in &ids {
            pipeline.hgetall(keys.run(id));
        }
        if pipeline.is_empty() {
            return Ok(Vec::new());
        }
        let fields: Vec<HashMap<String, String>> = pipeline.query_async(&mut *server).await.map_err(failed)?;
        // One that is listed and has expired is skipped.
        ids.into_iter().zip(&fields).filter_map(|(id, fields)| read_run(connection, id, fields).transpose()).collect()
    }

    /// See [`Store::request`](crate::store::Store::request).
    pub(super) async fn add_request(
        &self,
        connection: &ConnectionName,
        request: &SyncRequest,
    ) -> Result<(), StoreError> {
        let mut call = Call::new([self.keys(connection).requests()]);
        call.arg(super::json(request)).arg("NX").number(REQUESTS_TTL.as_millis());
        STAMP.run::<()>(&mut *self.pool.lend().await?, &call).await
    }

    /// See [`Store::requests`](crate::store::Store::requests).
    pub(super) async fn open_requests(&self, connection: &ConnectionName) -> Result<Vec<SyncRequest>, StoreError> {
        let mut server = self.pool.lend().await?;
        let stored: Vec<String> = redis::cmd("ZRANGE")
            .arg(self.keys(connection).requests())
            .arg(0)
            .arg(-1)
            .query_async(&mut *server)
            .await
            .map_err(failed)?;
        stored
            .iter()
            .map(|request| {
                serde_json::from_str(request).map_err(|_| {
                    StoreError::Unusable(format!("connection {connection}: a request for a run is unreadable"))
                })
            })
            .collect()
    }

    /// See [`Store::request_done`](crate::store::Store::request_done).
    pub(super) async fn drop_request(&self, connection: &ConnectionName, run: &RunId) -> Result<(), StoreError> {
        let served = self.open_requests(connection).await?.into_iter().filter(|request| request.run == *run);
        let mut server = self.pool.lend().await?;
        for request in served {
            // A member is exactly the request's own JSON, so no other can be hit.
            let remove = redis::cmd("ZREM").arg(self.keys(connection).requests()).arg(super::json(&request)).to_owned();
            remove.exec_async(&mut *server).await.map_err(failed)?;
        }
        Ok(())
    }
}

fn reading(side: Side) -> &'static str {
    match side {
        Side::A => "reading:a",
        Side::B => "reading:b",
    }
}

fn read_run(
    connection: &ConnectionName,
    id: RunId,
    fields: &HashMap<String, String>,
) -> Result<Option<Run>, StoreError> {
    if fields.is_empty() {
        return Ok(None);
    }
    let unusable =
        |field: &str| StoreError::Unusable(format!("run {id} of connection {connection}: field {field} is unreadable"));
    let number = |field: &str| match fields.get(field) {
        None => Ok(0_u64),
        Some(text) => text.parse().map_err(|_| unusable(field)),
    };
    let small = |field: &str| u32::try_from(number(field)?).map_err(|_| unusable(field));
    let about: About =
        fields.get("about").and_then(|about| serde_json::from_str(about).ok()).ok_or_else(|| unusable("about"))?;

    let mut changes = Vec::new();
    for outcome in ChangeOutcome::ALL {
        let count = small(&format!("change:{outcome}"))?;
        if count > 0 {
            changes.push((*outcome, count));
        }
    }
    let mut commands = Vec::new();
    for outcome in CommandOutcome::ALL {
        let count = small(&format!("command:{outcome}"))?;
        if count > 0 {
            commands.push((*outcome, count));
        }
    }
    Ok(Some(Run {
        kind: about.kind,
        by: about.by,
        began_at: about.began_at,
        only: about.only,
        slot: about.slot,
        reading: Sides { a: number("reading:a")? == 1, b: number("reading:b")? == 1 },
        read: small("read")?,
        expected: fields.contains_key("expected").then(|| number("expected")).transpose()?,
        changes,
        emitted: small("emitted")?,
        commands,
        failed: fields.get("failed").cloned(),
        id,
    }))
}
