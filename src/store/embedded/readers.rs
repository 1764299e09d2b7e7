//! Readers: their leases, where they stand, and what they are asked to read again.

use std::time::Duration;

use rusqlite::Connection;

use super::memory::{Known, home, known, known_in, number};
use super::{EmbeddedStore, milliseconds, signed, sql};
use crate::domain::{AccountId, ConnectionName, Epoch, Side, Timestamp, Token};
use crate::store::{LeaseName, ReaderState, StoreError};

fn lease_name(name: &LeaseName) -> String {
    match name {
        LeaseName::Reader(side) => format!("reader:{side}"),
        LeaseName::Runs => "runs".to_owned(),
        LeaseName::Watch => "watch".to_owned(),
    }
}

impl EmbeddedStore {
    /// See [`Store::lease`](crate::store::Store::lease).
    pub(super) async fn take_lease(
        &self,
        connection: &ConnectionName,
        name: &LeaseName,
        token: Token,
        ttl: Duration,
    ) -> Result<bool, StoreError> {
        let (connection, name) = (connection.clone(), lease_name(name));
        if self.is_fresh(&connection, &name, token, ttl).await? {
            return Ok(true);
        }
        self.write(move |file, now| {
            let connection = home(file, &connection)?;
            let taken = sql::run(
                file,
                "INSERT INTO leases VALUES (?1, ?2, ?3, ?4) \
                 ON CONFLICT DO UPDATE SET token = excluded.token, until = excluded.until \
                 WHERE token = excluded.token OR until <= ?5",
                (connection, name, signed(token.0), now.0.saturating_add(milliseconds(ttl)), now.0),
            )?;
            Ok(taken > 0)
        })
        .await
    }

    /// Whether the lease is held under this very name with two thirds of its time left. Then it is not renewed: its holder
    /// asks four times a second, also when there is nothing to do, and each renewal would be a sync of the file. Nobody
    /// outside this process could take it, see [`Database::lead`](crate::database::Database::lead).
    async fn is_fresh(
        &self,
        connection: &ConnectionName,
        name: &str,
        token: Token,
        ttl: Duration,
    ) -> Result<bool, StoreError> {
        let (connection, name) = (connection.clone(), name.to_owned());
        self.read(move |file, now| {
            let Some(connection) = number(file, &connection)? else { return Ok(false) };
            let fresh =
                "SELECT count(*) FROM leases WHERE connection = ?1 AND name = ?2 AND token = ?3 AND until >= ?4";
            let until = now.0.saturating_add(milliseconds(ttl / 3 * 2));
            Ok(sql::count(file, fresh, (connection, name, signed(token.0), until))? > 0)
        })
        .await
    }

    /// See [`Store::release`](crate::store::Store::release).
    pub(super) async fn release_lease(
        &self,
        connection: &ConnectionName,
        name: &LeaseName,
        token: Token,
    ) -> Result<(), StoreError> {
        let (connection, name) = (connection.clone(), lease_name(name));
        self.write(move |file, _| {
            let Some(connection) = number(file, &connection)? else { return Ok(()) };
            let release = "DELETE FROM leases WHERE connection = ?1 AND name = ?2 AND token = ?3";
            sql::run(file, release, (connection, name, signed(token.0))).map(drop)
        })
        .await
    }

    /// See [`Store::reader`](crate::store::Store::reader).
    pub(super) async fn reader_state(
        &self,
        connection: &ConnectionName,
        side: Side,
    ) -> Result<ReaderState, StoreError> {
        let name = connection.clone();
        self.read(move |file, _| {
            let known = known(file, &name)?;
            let find = "SELECT epoch, state FROM readers WHERE connection = ?1 AND side = ?2";
            let found = sql::one(file, find, (known.connection, side.as_str()), |row| {
                Ok((Epoch(row.get::<_, i64>(0)?.cast_unsigned()), row.get::<_, String>(1)?))
            })?;
            let Some((epoch, state)) = found else { return Ok(ReaderState::default()) };
            let state: ReaderState = serde_json::from_str(&state).map_err(|_| {
                StoreError::Unusable(format!("connection {name}: the state of reader {side} is unreadable"))
            })?;
            Ok(if epoch == known.epoch { state } else { state.of_another_epoch() })
        })
        .await
    }

    /// See [`Store::set_reader`](crate::store::Store::set_reader).
    pub(super) async fn replace_reader(
        &self,
        connection: &ConnectionName,
        epoch: Epoch,
        side: Side,
        token: Token,
        state: &ReaderState,
    ) -> Result<bool, StoreError> {
        let (name, state) = (connection.clone(), state.clone());
        self.write(move |file, now| {
            let known = known_in(file, &name, epoch)?;
            let held = holds(file, known.connection, &LeaseName::Reader(side), token, now)?;
            if held {
                put(file, &known, side, &state)?;
            }
            Ok(held)
        })
        .await
    }

    /// See [`Store::rereads`](crate::store::Store::rereads).
    pub(super) async fn asked_rereads(
        &self,
        connection: &ConnectionName,
        side: Side,
        limit: usize,
    ) -> Result<Vec<(AccountId, Timestamp)>, StoreError> {
        let (name, limit) = (connection.clone(), i64::try_from(limit).unwrap_or(i64::MAX));
        self.read(move |file, _| {
            let Some(connection) = number(file, &name)? else { return Ok(Vec::new()) };
            let longest = "SELECT account, asked_at FROM rereads WHERE connection = ?1 AND side = ?2 \
                           ORDER BY asked_at, account LIMIT ?3";
            sql::all(file, longest, (connection, side.as_str(), limit), |row| {
                let account = row.get::<_, String>(0)?.parse().map_err(|_| {
                    StoreError::Unusable(format!("connection {name}: an account to read again is no id"))
                })?;
                Ok((account, Timestamp(row.get(1)?)))
            })
        })
        .await
    }

    /// See [`Store::reread_done`](crate::store::Store::reread_done).
    pub(super) async fn forget_rereads(
        &self,
        connection: &ConnectionName,
        side: Side,
        accounts: &[(AccountId, Timestamp)],
    ) -> Result<(), StoreError> {
        let (name, accounts) = (connection.clone(), accounts.to_vec());
        self.write(move |file, _| {
            let Some(connection) = number(file, &name)? else { return Ok(()) };
            let done = "DELETE FROM rereads WHERE connection = ?1 AND side = ?2 AND account = ?3 AND asked_at <= ?4";
            for (account, asked_at) in &accounts {
                sql::run(file, done, (connection, side.as_str(), account.as_str(), asked_at.0))?;
            }
            Ok(())
        })
        .await
    }
}

/// Whether `token` holds this lease.
pub(super) fn holds(
    file: &Connection,
    connection: i64,
    lease: &LeaseName,
    token: Token,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let held = "SELECT 1 FROM leases WHERE connection = ?1 AND name = ?2 AND token = ?3 AND until > ?4";
    let name = lease_name(lease);
    Ok(sql::one(file, held, (connection, name, signed(token.0), now.0), |_| Ok(()))?.is_some())
}

/// Replaces the state of a reader.
pub(super) fn put(file: &Connection, known: &Known, side: Side, state: &ReaderState) -> Result<(), StoreError> {
    sql::run(
        file,
        "INSERT OR REPLACE INTO readers VALUES (?1, ?2, ?3, ?4)",
        (known.connection, side.as_str(), signed(known.epoch.0), super::json(state)),
    )?;
    Ok(())
}
