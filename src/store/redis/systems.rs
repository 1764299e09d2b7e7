//! What is known of each system, and the processes that work.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::RedisStore;
use super::keys::{self, INSTANCE_TTL, SUSPECT_TTL};
use super::pool::failed;
use super::script::{Call, PAUSE, SAVE_CIRCUIT, STAMP, TAKE_CALL};
use crate::domain::circuit::Circuit;
use crate::domain::rate::{self, Window};
use crate::domain::{SystemName, Timestamp};
use crate::store::{CLOCK_KEPT, Instance, StoreError, SystemState};

/// An [`Instance`] without its time.
#[derive(Serialize, Deserialize)]
struct Heard {
    role: String,
    name: String,
    version: String,
}

fn heard(role: &str, name: &str) -> Heard {
    Heard { role: role.to_owned(), name: name.to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() }
}

impl RedisStore {
    /// See [`Store::system`](crate::store::Store::system).
    pub(super) async fn system_state(&self, system: &SystemName) -> Result<SystemState, StoreError> {
        let mut server = self.pool.lend().await?;
        type Known = (Option<i64>, Option<String>, Option<u64>, Option<u64>, Option<i64>, Option<String>);
        // The time first: what is said holds for it or later.
        let ((seconds, micros), (not_before, reason, used, allowed, ahead_ms, circuit)): ((i64, i64), Known) =
            redis::pipe()
                .cmd("TIME")
                .cmd("HMGET")
                .arg(keys::system(&self.prefix, system))
                .arg(&["not_before", "reason", "used", "allowed", "ahead_ms", "circuit"])
                .query_async(&mut *server)
                .await
                .map_err(failed)?;
        let circuit = match circuit {
            None => Circuit::default(),
            Some(circuit) => serde_json::from_str(&circuit).map_err(|_| {
                StoreError::Unusable(format!("the circuit of {system} noted in the store is unreadable"))
            })?,
        };
        let now = Timestamp(seconds * 1000 + micros / 1000);
        let (not_before, usage) = (not_before.map(Timestamp), used.zip(allowed));
        Ok(SystemState { not_before, reason, usage, ahead_ms, circuit, now })
    }

    /// See [`Store::save_circuit`](crate::store::Store::save_circuit).
    pub(super) async fn replace_circuit(&self, system: &SystemName, circuit: &Circuit) -> Result<bool, StoreError> {
        let mut call = Call::new([keys::system(&self.prefix, system)]);
        call.number(circuit.revision - 1).number(circuit.revision).arg(super::json(circuit));
        SAVE_CIRCUIT.run(&mut *self.pool.lend().await?, &call).await
    }

    /// See [`Store::pause_system`](crate::store::Store::pause_system).
    pub(super) async fn pause_calls(
        &self,
        system: &SystemName,
        pause: Duration,
        reason: &str,
    ) -> Result<(), StoreError> {
        let mut call = Call::new([keys::system(&self.prefix, system)]);
        call.number(pause.as_millis()).arg(reason);
        PAUSE.run::<()>(&mut *self.pool.lend().await?, &call).await
    }

    /// See [`Store::take_call`](crate::store::Store::take_call).
    pub(super) async fn take(
        &self,
        system: &SystemName,
        bucket: &str,
        windows: &[Window],
        urgent: bool,
    ) -> Result<Option<Duration>, StoreError> {
        let mut call = Call::new([keys::calls(&self.prefix, system, bucket)]);
        call.number(rate::longest(windows).as_millis());
        for window in windows {
            call.number(window.open_to(urgent)).number(window.within.as_millis());
        }
        let wait: u64 = TAKE_CALL.run(&mut *self.pool.lend().await?, &call).await?;
        Ok((wait > 0).then(|| Duration::from_millis(wait)))
    }

    /// See [`Store::note_clock`](crate::store::Store::note_clock). Not one step: two processes that measure at once may
    /// keep the lesser of two good measures, until the next one.
    pub(super) async fn set_clock(&self, system: &SystemName, clock: Timestamp) -> Result<(), StoreError> {
        let key = keys::system(&self.prefix, system);
        let mut server = self.pool.lend().await?;
        let mut ask = redis::pipe();
        ask.cmd("TIME").cmd("HMGET").arg(&key).arg(&["ahead_ms", "ahead_at"]);
        let ((seconds, micros), (known, known_at)): ((i64, i64), (Option<i64>, Option<i64>)) =
            ask.query_async(&mut *server).await.map_err(failed)?;
        let now = seconds * 1000 + micros / 1000;
        let ahead = clock.0 - now;
        let stands = known_at.is_some_and(|at| Timestamp(now).since(Timestamp(at)) < CLOCK_KEPT);
        if stands && known.is_some_and(|known| known >= ahead) {
            return Ok(());
        }
        let note = redis::cmd("HSET").arg(key).arg("ahead_ms").arg(ahead).arg("ahead_at").arg(now).to_owned();
        note.query_async(&mut *server).await.map_err(failed)
    }

    /// See [`Store::note_usage`](crate::store::Store::note_usage).
    pub(super) async fn set_usage(&self, system: &SystemName, used: u64, allowed: u64) -> Result<(), StoreError> {
        let set = redis::cmd("HSET")
            .arg(keys::system(&self.prefix, system))
            .arg("used")
            .arg(used)
            .arg("allowed")
            .arg(allowed)
            .to_owned();
        set.exec_async(&mut *self.pool.lend().await?).await.map_err(failed)
    }

    /// See [`Store::begin_suspect`](crate::store::Store::begin_suspect).
    pub(super) async fn count_suspect(&self, message: &str) -> Result<u32, StoreError> {
        let key = keys::suspect(&self.prefix, message);
        let mut server = self.pool.lend().await?;
        let (begun,): (u32,) = redis::pipe()
            .atomic()
            .incr(&key, 1)
            .pexpire(&key, i64::try_from(SUSPECT_TTL.as_millis()).unwrap_or(i64::MAX))
            .ignore()
            .query_async(&mut *server)
            .await
            .map_err(failed)?;
        Ok(begun)
    }

    /// See [`Store::beat`](crate::store::Store::beat).
    pub(super) async fn note_instance(&self, role: &str, name: &str) -> Result<(), StoreError> {
        let mut call = Call::new([keys::instances(&self.prefix)]);
        call.arg(super::json(&heard(role, name))).arg("CH").number(INSTANCE_TTL.as_millis());
        STAMP.run::<()>(&mut *self.pool.lend().await?, &call).await
    }

    /// See [`Store::leave`](crate::store::Store::leave).
    pub(super) async fn forget_instance(&self, role: &str, name: &str) -> Result<(), StoreError> {
        let mut pipeline = redis::pipe();
        pipeline.zrem(keys::instances(&self.prefix), super::json(&heard(role, name))).ignore();
        pipeline.exec_async(&mut *self.pool.lend().await?).await.map_err(failed)
    }

    /// See [`Store::instances`](crate::store::Store::instances).
    pub(super) async fn heard_instances(&self) -> Result<Vec<Instance>, StoreError> {
        let mut server = self.pool.lend().await?;
        let ((seconds, micros), heard): ((i64, i64), Vec<(String, f64)>) = redis::pipe()
            .cmd("TIME")
            .cmd("ZRANGE")
            .arg(keys::instances(&self.prefix))
            .arg(&["0", "-1", "WITHSCORES"])
            .query_async(&mut *server)
            .await
            .map_err(failed)?;
        let now = Timestamp(seconds * 1000 + micros / 1000);
        let mut instances = Vec::new();
        for (heard, seen_at) in heard {
            let seen_at = Timestamp(seen_at as i64);
            if now.since(seen_at) > INSTANCE_TTL {
                continue;
            }
            let Heard { role, name, version } = serde_json::from_str(&heard)
                .map_err(|_| StoreError::Unusable("a process noted in the store is unreadable".to_owned()))?;
            instances.push(Instance { role, name, version, seen_at });
        }
        instances.sort_by(|left, right| (&left.role, &left.name).cmp(&(&right.role, &right.name)));
        Ok(instances)
    }
}
