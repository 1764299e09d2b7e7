//! What is known of each system, and the processes that work.

use std::time::Duration;

use super::{EmbeddedStore, milliseconds, quantity, sql};
use crate::domain::circuit::Circuit;
use crate::domain::rate::{self, Window};
use crate::domain::{SystemName, Timestamp};
use crate::store::retention::{INSTANCE_TTL, SUSPECT_TTL};
use crate::store::{CLOCK_KEPT, Instance, StoreError, SystemState};

impl EmbeddedStore {
    /// See [`Store::system`](crate::store::Store::system).
    pub(super) async fn system_state(&self, system: &SystemName) -> Result<SystemState, StoreError> {
        let system = system.clone();
        let find = "SELECT not_before, reason, used, allowed, ahead_ms, circuit FROM systems WHERE name = ?1";
        self.read(move |file, now| {
            let found = sql::one(file, find, (system.as_str(),), |row| {
                let not_before = row.get::<_, Option<i64>>(0)?.map(Timestamp);
                let used = row.get::<_, Option<i64>>(2)?.map(i64::unsigned_abs);
                let allowed = row.get::<_, Option<i64>>(3)?.map(i64::unsigned_abs);
                let (reason, usage) = (row.get(1)?, used.zip(allowed));
                let circuit = match row.get::<_, Option<String>>(5)? {
                    None => Circuit::default(),
                    Some(circuit) => serde_json::from_str(&circuit).map_err(|_| unreadable(&system))?,
                };
                Ok(SystemState { not_before, reason, usage, ahead_ms: row.get(4)?, circuit, now })
            })?;
            Ok(found.unwrap_or_else(|| SystemState { now, ..SystemState::default() }))
        })
        .await
    }

    /// See [`Store::save_circuit`](crate::store::Store::save_circuit).
    pub(super) async fn replace_circuit(&self, system: &SystemName, circuit: &Circuit) -> Result<bool, StoreError> {
        let (system, revision, circuit) = (system.clone(), circuit.revision, super::json(circuit));
        self.write(move |file, _| {
            let known = "SELECT circuit_revision FROM systems WHERE name = ?1";
            let before = sql::one(file, known, (system.as_str(),), |row| Ok(row.get::<_, Option<i64>>(0)?))?;
            if before.flatten().unwrap_or(0) != quantity(revision - 1) {
                return Ok(false);
            }
            sql::run(
                file,
                "INSERT INTO systems (name, circuit_revision, circuit) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET \
                 circuit_revision = excluded.circuit_revision, circuit = excluded.circuit",
                (system.as_str(), quantity(revision), circuit),
            )?;
            Ok(true)
        })
        .await
    }

    /// See [`Store::pause_system`](crate::store::Store::pause_system).
    pub(super) async fn pause_calls(
        &self,
        system: &SystemName,
        pause: Duration,
        reason: &str,
    ) -> Result<(), StoreError> {
        let (system, reason) = (system.clone(), reason.to_owned());
        self.write(move |file, now| {
            sql::run(
                file,
                "INSERT INTO systems (name, not_before, reason) VALUES (?1, ?2, ?3) \
                 ON CONFLICT DO UPDATE SET not_before = excluded.not_before, reason = excluded.reason \
                 WHERE not_before IS NULL OR not_before < excluded.not_before",
                (system.as_str(), (now + pause).0, reason),
            )?;
            Ok(())
        })
        .await
    }

    /// See [`Store::take_call`](crate::store::Store::take_call).
    pub(super) async fn take(
        &self,
        system: &SystemName,
        bucket: &str,
        windows: &[Window],
        urgent: bool,
    ) -> Result<Option<Duration>, StoreError> {
        let (system, bucket, windows) = (system.clone(), bucket.to_owned(), windows.to_vec());
        self.write(move |file, now| {
            let of = (system.as_str(), bucket.as_str());
            let over = now.0.saturating_sub(milliseconds(rate::longest(&windows)));
            sql::run(file, "DELETE FROM calls WHERE system = ?1 AND bucket = ?2 AND at <= ?3", (of.0, of.1, over))?;
            let find = "SELECT at FROM calls WHERE system = ?1 AND bucket = ?2 ORDER BY at";
            let taken = sql::all(file, find, of, |row| Ok(Timestamp(row.get(0)?)))?;
            let wait = rate::wait(&taken, &windows, now, urgent);
            if wait.is_none() {
                sql::run(file, "INSERT INTO calls (system, bucket, at) VALUES (?1, ?2, ?3)", (of.0, of.1, now.0))?;
            }
            Ok(wait)
        })
        .await
    }

    /// See [`Store::note_clock`](crate::store::Store::note_clock).
    pub(super) async fn set_clock(&self, system: &SystemName, clock: Timestamp) -> Result<(), StoreError> {
        let system = system.clone();
        self.write(move |file, now| {
            sql::run(
                file,
                "INSERT INTO systems (name, ahead_ms, ahead_at) VALUES (?1, ?2, ?3) \
                 ON CONFLICT DO UPDATE SET ahead_ms = excluded.ahead_ms, ahead_at = excluded.ahead_at \
                 WHERE ahead_ms IS NULL OR ahead_ms < excluded.ahead_ms OR ahead_at <= ?4",
                (system.as_str(), clock.0 - now.0, now.0, (now - CLOCK_KEPT).0),
            )?;
            Ok(())
        })
        .await
    }

    /// See [`Store::note_usage`](crate::store::Store::note_usage).
    pub(super) async fn set_usage(&self, system: &SystemName, used: u64, allowed: u64) -> Result<(), StoreError> {
        let system = system.clone();
        // Said again at every heartbeat, and mostly the same.
        self.write(move |file, _| {
            sql::run(
                file,
                "INSERT INTO systems (name, used, allowed) VALUES (?1, ?2, ?3) \
                 ON CONFLICT DO UPDATE SET used = excluded.used, allowed = excluded.allowed \
                 WHERE used IS NOT excluded.used OR allowed IS NOT excluded.allowed",
                (system.as_str(), quantity(used), quantity(allowed)),
            )?;
            Ok(())
        })
        .await
    }

    /// See [`Store::begin_suspect`](crate::store::Store::begin_suspect).
    pub(super) async fn count_suspect(&self, message: &str) -> Result<u32, StoreError> {
        let message = message.to_owned();
        let begin = "INSERT INTO suspects VALUES (?1, 1, ?2) ON CONFLICT DO UPDATE SET \
                     begun = CASE WHEN last_at < ?3 THEN 1 ELSE begun + 1 END, last_at = excluded.last_at \
                     RETURNING begun";
        let begun =
            self.write(move |file, now| sql::count(file, begin, (message, now.0, (now - SUSPECT_TTL).0))).await?;
        Ok(u32::try_from(begun).unwrap_or(u32::MAX))
    }

    /// See [`Store::beat`](crate::store::Store::beat).
    pub(super) async fn note_instance(&self, role: &str, name: &str) -> Result<(), StoreError> {
        let (role, name) = (role.to_owned(), name.to_owned());
        self.write(move |file, now| {
            sql::run(
                file,
                "INSERT OR REPLACE INTO instances VALUES (?1, ?2, ?3, ?4)",
                (role, name, env!("CARGO_PKG_VERSION"), now.0),
            )?;
            Ok(())
        })
        .await
    }

    /// See [`Store::leave`](crate::store::Store::leave).
    pub(super) async fn forget_instance(&self, role: &str, name: &str) -> Result<(), StoreError> {
        let (role, name) = (role.to_owned(), name.to_owned());
        self.write(move |file, _| {
            sql::run(file, "DELETE FROM instances WHERE role = ?1 AND name = ?2", (role, name)).map(drop)
        })
        .await
    }

    /// See [`Store::instances`](crate::store::Store::instances).
    pub(super) async fn heard_instances(&self) -> Result<Vec<Instance>, StoreError> {
        // The lock knows before the time to live has passed.
        if !self.database.is_led() {
            return Ok(Vec::new());
        }
        let heard = "SELECT role, name, version, seen_at FROM instances WHERE seen_at >= ?1 ORDER BY role, name";
        self.read(move |file, now| {
            sql::all(file, heard, (now.0 - milliseconds(INSTANCE_TTL),), |row| {
                let seen_at = Timestamp(row.get(3)?);
                Ok(Instance { role: row.get(0)?, name: row.get(1)?, version: row.get(2)?, seen_at })
            })
        })
        .await
    }
}

fn unreadable(system: &SystemName) -> StoreError {
    StoreError::Unusable(format!("the circuit of {system} noted in the store is unreadable"))
}
