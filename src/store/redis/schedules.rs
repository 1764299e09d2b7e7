//! Schedules: by which timetable a connection runs, and how it stands.

use super::RedisStore;
use super::pool::failed;
use super::script::{Call, SET_TIMETABLE, SET_WATCH};
use crate::domain::schedule::Timetable;
use crate::domain::watch::Watch;
use crate::domain::{ConnectionName, Timestamp, Token};
use crate::store::{LeaseName, StoreError};

impl RedisStore {
    /// See [`Store::timetable`](crate::store::Store::timetable).
    pub(super) async fn stored_timetable(&self, connection: &ConnectionName) -> Result<Option<Timetable>, StoreError> {
        let mut server = self.pool.lend().await?;
        let (rule, since, served): (Option<String>, Option<i64>, Option<i64>) = redis::cmd("HMGET")
            .arg(self.keys(connection).timetable())
            .arg(&["rule", "since", "served"])
            .query_async(&mut *server)
            .await
            .map_err(failed)?;
        let timetable = |rule, since, served| Timetable { rule, since: Timestamp(since), served: Timestamp(served) };
        Ok(rule.zip(since).zip(served).map(|((rule, since), served)| timetable(rule, since, served)))
    }

    /// See [`Store::set_timetable`](crate::store::Store::set_timetable).
    pub(super) async fn replace_timetable(
        &self,
        connection: &ConnectionName,
        before: Option<&Timetable>,
        timetable: &Timetable,
    ) -> Result<bool, StoreError> {
        let mut call = Call::new([self.keys(connection).timetable()]);
        match before {
            None => call.arg("").arg("").arg(""),
            Some(before) => call.arg(&before.rule).number(before.since.0).number(before.served.0),
        };
        call.arg(&timetable.rule).number(timetable.since.0).number(timetable.served.0);
        SET_TIMETABLE.run(&mut *self.pool.lend().await?, &call).await
    }

    /// See [`Store::watch`](crate::store::Store::watch).
    pub(super) async fn stored_watch(&self, connection: &ConnectionName) -> Result<Watch, StoreError> {
        let mut server = self.pool.lend().await?;
        let stored: Option<String> =
            redis::cmd("GET").arg(self.keys(connection).watch()).query_async(&mut *server).await.map_err(failed)?;
        let Some(stored) = stored else { return Ok(Watch::default()) };
        serde_json::from_str(&stored)
            .map_err(|_| StoreError::Unusable(format!("connection {connection}: how it stands is unreadable")))
    }

    /// See [`Store::set_watch`](crate::store::Store::set_watch).
    pub(super) async fn replace_watch(
        &self,
        connection: &ConnectionName,
        token: Token,
        watch: &Watch,
    ) -> Result<bool, StoreError> {
        let keys = self.keys(connection);
        let mut call = Call::new([keys.watch(), keys.lease(&LeaseName::Watch)]);
        call.arg(token.to_string()).arg(super::json(watch));
        SET_WATCH.run(&mut *self.pool.lend().await?, &call).await
    }
}
