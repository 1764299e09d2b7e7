//! Readers: their leases, where they stand, the numbers they give out, and what they are asked to read again.

use std::time::Duration;

use super::RedisStore;
use super::epoch::part;
use super::keys::NUMBERS_PER_RUN;
use super::pool::failed;
use super::script::{ABANDON, Call, LEASE, READER, RELEASE, REREAD_DONE, RESERVE, SET_READER};
use crate::domain::{AccountId, ConnectionName, Epoch, RunId, Side, Timestamp, Token};
use crate::store::{LeaseName, ReaderState, StoreError};

/// Items that one script goes through.
const CHUNK: usize = 5_000;

impl RedisStore {
    /// See [`Store::lease`](crate::store::Store::lease).
    pub(super) async fn take_lease(
        &self,
        connection: &ConnectionName,
        name: &LeaseName,
        token: Token,
        ttl: Duration,
    ) -> Result<bool, StoreError> {
        let mut call = Call::new([self.keys(connection).lease(name)]);
        // Redis refuses a time to live of nothing.
        call.arg(token.to_string()).number(ttl.as_millis().max(1));
        LEASE.run(&mut *self.pool.lend().await?, &call).await
    }

    /// See [`Store::release`](crate::store::Store::release).
    pub(super) async fn release_lease(
        &self,
        connection: &ConnectionName,
        name: &LeaseName,
        token: Token,
    ) -> Result<(), StoreError> {
        let mut call = Call::new([self.keys(connection).lease(name)]);
        call.arg(token.to_string());
        RELEASE.run::<()>(&mut *self.pool.lend().await?, &call).await
    }

    /// See [`Store::reader`](crate::store::Store::reader).
    pub(super) async fn reader_state(
        &self,
        connection: &ConnectionName,
        side: Side,
    ) -> Result<ReaderState, StoreError> {
        let keys = self.keys(connection);
        let (_, mut answer) = self.guarded(&READER, connection, vec![keys.epoch(), keys.reader(side)], |_| {}).await?;
        let (stored, reserved): (String, String) = (part(&mut answer)?, part(&mut answer)?);
        let of_this_epoch: bool = part(&mut answer)?;
        if stored.is_empty() {
            return Ok(ReaderState::default());
        }
        let unusable =
            || StoreError::Unusable(format!("connection {connection}: the state of reader {side} is unreadable"));
        let mut state: ReaderState = serde_json::from_str(&stored).map_err(|_| unusable())?;
        if let (Some(active), Some((first, count))) = (&mut state.active, reserved.split_once(' ')) {
            let number = |text: &str| text.parse().map_err(|_| unusable());
            active.reserved = Some((number(first)?, number(count)?));
        }
        Ok(if of_this_epoch { state } else { state.of_another_epoch() })
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
        let keys = self.keys(connection);
        let named = vec![keys.epoch(), keys.reader(side), keys.lease(&LeaseName::Reader(side))];
        let (_, mut answer) = self
            .guarded_in(Some(epoch), &SET_READER, connection, named, |call| {
                call.arg(token.to_string()).arg(super::json(state));
            })
            .await?;
        part(&mut answer)
    }

    /// See [`Store::reserve`](crate::store::Store::reserve).
    pub(super) async fn reserve_numbers(
        &self,
        connection: &ConnectionName,
        run: &RunId,
        count: u32,
        reader: Option<(Epoch, Side, Token, &ReaderState)>,
    ) -> Result<Option<u32>, StoreError> {
        let keys = self.keys(connection);
        let mut named = vec![keys.epoch(), keys.run(run), keys.run_bits(run)];
        if let Some((_, side, ..)) = reader {
            named.extend([keys.reader(side), keys.lease(&LeaseName::Reader(side))]);
        }
        let (_, mut answer) = self
            .guarded_in(reader.map(|(epoch, ..)| epoch), &RESERVE, connection, named, |call| {
                call.number(count).number(NUMBERS_PER_RUN);
                if let Some((_, _, token, state)) = reader {
                    call.arg(token.to_string()).arg(super::json(state));
                }
            })
            .await?;
        match part::<i64>(&mut answer)? {
            -2 => Err(StoreError::Unusable(format!("run {run} of connection {connection} has no more numbers"))),
            first => Ok(u32::try_from(first).ok()),
        }
    }

    /// See [`Store::reserve_up_to`](crate::store::Store::reserve_up_to).
    pub(super) async fn reserve_numbers_up_to(
        &self,
        connection: &ConnectionName,
        run: &RunId,
        count: u32,
    ) -> Result<bool, StoreError> {
        let keys = self.keys(connection);
        let named = vec![keys.epoch(), keys.run(run), keys.run_bits(run)];
        let (_, mut answer) = self
            .guarded_in(None, &RESERVE, connection, named, |call| {
                call.number(count).number(NUMBERS_PER_RUN).arg("up to");
            })
            .await?;
        match part::<i64>(&mut answer)? {
            -2 => Err(StoreError::Unusable(format!("run {run} of connection {connection} has no more numbers"))),
            first => Ok(first >= 0),
        }
    }

    /// See [`Store::abandon`](crate::store::Store::abandon).
    pub(super) async fn abandon_numbers(
        &self,
        connection: &ConnectionName,
        run: &RunId,
        (first, count): (u32, u32),
    ) -> Result<(), StoreError> {
        let keys = self.keys(connection);
        let mut server = self.pool.lend().await?;
        // Each of these may be repeated, so a range that is cut off in the middle is no harm.
        for begin in (0..count).step_by(CHUNK) {
            let mut call = Call::new([keys.run(run), keys.run_bits(run)]);
            call.number(first.saturating_add(begin)).number((count - begin).min(CHUNK as u32));
            ABANDON.run::<()>(&mut server, &call).await?;
        }
        Ok(())
    }

    /// See [`Store::rereads`](crate::store::Store::rereads).
    pub(super) async fn asked_rereads(
        &self,
        connection: &ConnectionName,
        side: Side,
        limit: usize,
    ) -> Result<Vec<(AccountId, Timestamp)>, StoreError> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let mut server = self.pool.lend().await?;
        let asked: Vec<(String, f64)> = redis::cmd("ZRANGE")
            .arg(self.keys(connection).rereads(side))
            .arg(0)
            .arg(limit - 1)
            .arg("WITHSCORES")
            .query_async(&mut *server)
            .await
            .map_err(failed)?;
        let asked = asked.into_iter().map(|(account, asked_at)| {
            let account = account.parse().map_err(|_| {
                StoreError::Unusable(format!("connection {connection}: an account to read again is no id"))
            })?;
            // Milliseconds since 1970 are far below 2^53.
            Ok((account, Timestamp(asked_at as i64)))
        });
        asked.collect()
    }

    /// See [`Store::reread_done`](crate::store::Store::reread_done).
    pub(super) async fn forget_rereads(
        &self,
        connection: &ConnectionName,
        side: Side,
        accounts: &[(AccountId, Timestamp)],
    ) -> Result<(), StoreError> {
        let mut server = self.pool.lend().await?;
        for accounts in accounts.chunks(CHUNK) {
            let mut call = Call::new([self.keys(connection).rereads(side)]);
            for (account, asked_at) in accounts {
                call.arg(account.as_str()).number(asked_at.0);
            }
            REREAD_DONE.run::<()>(&mut server, &call).await?;
        }
        Ok(())
    }
}
