//! Schedules: by which timetable a connection runs, and how it stands.

use rusqlite::Connection;

use super::memory::{home, number};
use super::{EmbeddedStore, readers, sql};
use crate::domain::schedule::{Slot, Timetable};
use crate::domain::watch::Watch;
use crate::domain::{ConnectionName, Timestamp, Token};
use crate::store::{LeaseName, StoreError};

impl EmbeddedStore {
    /// See [`Store::timetable`](crate::store::Store::timetable).
    pub(super) async fn stored_timetable(&self, connection: &ConnectionName) -> Result<Option<Timetable>, StoreError> {
        let name = connection.clone();
        self.read(move |file, _| match number(file, &name)? {
            Some(connection) => timetable(file, connection),
            None => Ok(None),
        })
        .await
    }

    /// See [`Store::set_timetable`](crate::store::Store::set_timetable).
    pub(super) async fn replace_timetable(
        &self,
        connection: &ConnectionName,
        before: Option<&Timetable>,
        new: &Timetable,
    ) -> Result<bool, StoreError> {
        let (name, before, new) = (connection.clone(), before.cloned(), new.clone());
        self.write(move |file, _| {
            let connection = home(file, &name)?;
            if timetable(file, connection)? != before {
                return Ok(false);
            }
            let put = "INSERT INTO schedules (connection, rule, since, served) VALUES (?1, ?2, ?3, ?4) \
                       ON CONFLICT DO UPDATE SET rule = excluded.rule, since = excluded.since, served = excluded.served";
            sql::run(file, put, (connection, new.rule, new.since.0, new.served.0))?;
            Ok(true)
        })
        .await
    }

    /// See [`Store::watch`](crate::store::Store::watch).
    pub(super) async fn stored_watch(&self, connection: &ConnectionName) -> Result<Watch, StoreError> {
        let name = connection.clone();
        self.read(move |file, _| {
            let Some(connection) = number(file, &name)? else { return Ok(Watch::default()) };
            let find = "SELECT watch FROM schedules WHERE connection = ?1";
            let stored = sql::one(file, find, (connection,), |row| Ok(row.get::<_, Option<String>>(0)?))?.flatten();
            let Some(stored) = stored else { return Ok(Watch::default()) };
            serde_json::from_str(&stored)
                .map_err(|_| StoreError::Unusable(format!("connection {name}: how it stands is unreadable")))
        })
        .await
    }

    /// See [`Store::set_watch`](crate::store::Store::set_watch).
    pub(super) async fn replace_watch(
        &self,
        connection: &ConnectionName,
        token: Token,
        watch: &Watch,
    ) -> Result<bool, StoreError> {
        let (name, watch) = (connection.clone(), super::json(watch));
        self.write(move |file, now| {
            let Some(connection) = number(file, &name)? else { return Ok(false) };
            if !readers::holds(file, connection, &LeaseName::Watch, token, now)? {
                return Ok(false);
            }
            let put = "INSERT INTO schedules (connection, watch) VALUES (?1, ?2) \
                       ON CONFLICT DO UPDATE SET watch = excluded.watch";
            sql::run(file, put, (connection, watch))?;
            Ok(true)
        })
        .await
    }
}

fn timetable(file: &Connection, connection: i64) -> Result<Option<Timetable>, StoreError> {
    let find = "SELECT rule, since, served FROM schedules WHERE connection = ?1 AND rule IS NOT NULL";
    sql::one(file, find, (connection,), |row| {
        Ok(Timetable { rule: row.get(0)?, since: Timestamp(row.get(1)?), served: Timestamp(row.get(2)?) })
    })
}

/// Notes a slot as served; whether a run for it may begin.
pub(super) fn serve(file: &Connection, connection: i64, slot: Option<Slot>) -> Result<bool, StoreError> {
    let Some(slot) = slot else { return Ok(true) };
    let serve = "UPDATE schedules SET served = ?2 WHERE connection = ?1 AND served < ?2";
    Ok(sql::run(file, serve, (connection, slot.at.0))? > 0)
}
