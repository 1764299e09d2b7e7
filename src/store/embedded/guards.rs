//! Budgets, what is held or deferred, and pauses.

use rusqlite::Connection;

use super::links::{account_kind, link_id};
use super::memory::{home, number};
use super::{EmbeddedStore, milliseconds, sql};
use crate::domain::guard::{Risk, decide};
use crate::domain::hold::HOLD_TTL;
use crate::domain::{ConnectionName, LinkId, Side, Timestamp};
use crate::store::{Pause, Spend, StoreError};

impl EmbeddedStore {
    /// See [`Store::spend`](crate::store::Store::spend).
    pub(super) async fn take_places(
        &self,
        connection: &ConnectionName,
        spend: &Spend,
    ) -> Result<Vec<bool>, StoreError> {
        let (name, Spend { side, risk, budget, acts }) = (connection.clone(), spend.clone());
        self.write(move |file, now| {
            let of = (home(file, &name)?, side.as_str(), risk.as_str());
            let over = "DELETE FROM spent WHERE connection = ?1 AND side = ?2 AND risk = ?3 AND at <= ?4";
            sql::run(file, over, (of.0, of.1, of.2, now.0 - milliseconds(budget.window)))?;
            let held = "SELECT count(*) FROM claims WHERE connection = ?1 AND kind = ?2";
            let limit = budget.limit(sql::count(file, held, (of.0, account_kind(side)))?);
            let taken = "SELECT count(*) FROM spent WHERE connection = ?1 AND side = ?2 AND risk = ?3";
            let mut spent = sql::count(file, taken, of)?;
            let mut answers = Vec::with_capacity(acts.len());
            for act in &acts {
                let again = "UPDATE spent SET at = ?5 WHERE connection = ?1 AND side = ?2 AND risk = ?3 AND act = ?4";
                let has_place = sql::run(file, again, (of.0, of.1, of.2, act, now.0))? > 0;
                let fits = has_place || decide(spent, 1, limit) == 1;
                if fits && !has_place {
                    sql::run(file, "INSERT INTO spent VALUES (?1, ?2, ?3, ?4, ?5)", (of.0, of.1, of.2, act, now.0))?;
                    spent += 1;
                }
                answers.push(fits);
            }
            Ok(answers)
        })
        .await
    }

    /// See [`Store::spent`](crate::store::Store::spent).
    pub(super) async fn places_taken(
        &self,
        connection: &ConnectionName,
        side: Side,
        risk: Risk,
    ) -> Result<Vec<(String, Timestamp)>, StoreError> {
        let name = connection.clone();
        self.read(move |file, _| {
            let Some(connection) = number(file, &name)? else { return Ok(Vec::new()) };
            let taken = "SELECT act, at FROM spent WHERE connection = ?1 AND side = ?2 AND risk = ?3 ORDER BY at, act";
            let of = (connection, side.as_str(), risk.as_str());
            sql::all(file, taken, of, |row| Ok((row.get(0)?, Timestamp(row.get(1)?))))
        })
        .await
    }

    /// See [`Store::held`](crate::store::Store::held).
    pub(super) async fn held_links(&self, connection: &ConnectionName) -> Result<Vec<(LinkId, Timestamp)>, StoreError> {
        let name = connection.clone();
        self.read(move |file, now| {
            let Some(connection) = number(file, &name)? else { return Ok(Vec::new()) };
            let held = "SELECT l.id, h.since FROM held h JOIN links l ON l.place = h.link \
                        WHERE h.connection = ?1 AND h.since > ?2 ORDER BY h.since, h.link";
            sql::all(file, held, (connection, (now - HOLD_TTL).0), |row| Ok((link_id(row, 0)?, Timestamp(row.get(1)?))))
        })
        .await
    }

    /// See [`Store::deferred`](crate::store::Store::deferred).
    pub(super) async fn count_deferred(
        &self,
        connection: &ConnectionName,
    ) -> Result<(u64, Option<Timestamp>), StoreError> {
        let name = connection.clone();
        self.read(move |file, _| match number(file, &name)? {
            Some(connection) => deferred(file, connection),
            None => Ok((0, None)),
        })
        .await
    }

    /// See [`Store::pause`](crate::store::Store::pause).
    pub(super) async fn note_pause(&self, connection: Option<&ConnectionName>, by: &str) -> Result<(), StoreError> {
        let (place, by) = (Pause::place(connection).to_owned(), by.to_owned());
        self.write(move |file, now| {
            sql::run(file, "INSERT OR IGNORE INTO pauses VALUES (?1, ?2, ?3)", (place, now.0, by)).map(drop)
        })
        .await
    }

    /// See [`Store::resume`](crate::store::Store::resume).
    pub(super) async fn forget_pause(&self, connection: Option<&ConnectionName>) -> Result<bool, StoreError> {
        let place = Pause::place(connection).to_owned();
        self.write(move |file, _| Ok(sql::run(file, "DELETE FROM pauses WHERE connection = ?1", (place,))? > 0)).await
    }

    /// See [`Store::pauses`](crate::store::Store::pauses).
    pub(super) async fn known_pauses(&self) -> Result<Vec<Pause>, StoreError> {
        // The star sorts before every name.
        let known = "SELECT connection, since, by FROM pauses ORDER BY connection";
        let known = self.read(move |file, _| {
            sql::all(file, known, (), |row| {
                Ok((row.get::<_, String>(0)?, Timestamp(row.get(1)?), row.get::<_, String>(2)?))
            })
        });
        known.await?.into_iter().map(|(place, since, by)| Pause::at(&place, since, by)).collect()
    }
}

/// How many links have a write that waits for its account to be free, and since when the first of them does.
pub(super) fn deferred(file: &Connection, connection: i64) -> Result<(u64, Option<Timestamp>), StoreError> {
    let deferred = sql::count(file, "SELECT count(*) FROM deferred WHERE connection = ?1", (connection,))?;
    let first = "SELECT since FROM deferred WHERE connection = ?1 ORDER BY since LIMIT 1";
    Ok((deferred, sql::one(file, first, (connection,), |row| Ok(Timestamp(row.get(0)?)))?))
}
