//! Budgets, what is held or deferred, and pauses.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::RedisStore;
use super::keys;
use super::pool::failed;
use super::script::{Call, PAUSE_WRITES, SPEND};
use crate::domain::guard::Risk;
use crate::domain::hold::HOLD_TTL;
use crate::domain::{ConnectionName, LinkId, Side, Timestamp};
use crate::store::{Pause, Spend, StoreError};

/// Writes in one script: a script runs alone, and must not keep others waiting.
const ACTS: usize = 500;

/// A [`Pause`] without its place.
#[derive(Serialize, Deserialize)]
struct Noted {
    since: Timestamp,
    by: String,
}

impl RedisStore {
    /// See [`Store::spend`](crate::store::Store::spend).
    pub(super) async fn take_places(
        &self,
        connection: &ConnectionName,
        spend: &Spend,
    ) -> Result<Vec<bool>, StoreError> {
        let Spend { side, risk, budget, acts } = spend;
        let keys = self.keys(connection);
        let mut server = self.pool.lend().await?;
        let mut answers = Vec::with_capacity(acts.len());
        for acts in acts.chunks(ACTS) {
            let mut call = Call::new([keys.spent(*side, *risk), keys.accounts(*side)]);
            call.number(budget.share_percent).number(budget.at_least).number(budget.window.as_millis());
            for act in acts {
                call.arg(act);
            }
            answers.extend(SPEND.run::<Vec<bool>>(&mut server, &call).await?);
        }
        Ok(answers)
    }

    /// See [`Store::spent`](crate::store::Store::spent).
    pub(super) async fn places_taken(
        &self,
        connection: &ConnectionName,
        side: Side,
        risk: Risk,
    ) -> Result<Vec<(String, Timestamp)>, StoreError> {
        let mut server = self.pool.lend().await?;
        let taken: Vec<(String, f64)> = redis::cmd("ZRANGE")
            .arg(self.keys(connection).spent(side, risk))
            .arg(&["0", "-1", "WITHSCORES"])
            .query_async(&mut *server)
            .await
            .map_err(failed)?;
        Ok(taken.into_iter().map(|(act, at)| (act, Timestamp(at as i64))).collect())
    }

    /// See [`Store::held`](crate::store::Store::held).
    pub(super) async fn held_links(&self, connection: &ConnectionName) -> Result<Vec<(LinkId, Timestamp)>, StoreError> {
        let mut server = self.pool.lend().await?;
        let ((seconds, micros), held): ((i64, i64), Vec<(String, f64)>) = redis::pipe()
            .cmd("TIME")
            .cmd("ZRANGE")
            .arg(self.keys(connection).held())
            .arg(&["0", "-1", "WITHSCORES"])
            .query_async(&mut *server)
            .await
            .map_err(failed)?;
        let expired = Timestamp(seconds * 1000 + micros / 1000) - HOLD_TTL;
        let mut links = Vec::with_capacity(held.len());
        for (link, since) in held {
            let unreadable = |_| StoreError::Unusable(format!("connection {connection}: what is held is no link"));
            let since = Timestamp(since as i64);
            if since > expired {
                links.push((link.parse().map_err(unreadable)?, since));
            }
        }
        Ok(links)
    }

    /// How many links wait for a person, and since when the first of them does.
    pub(super) async fn count_held(&self, connection: &ConnectionName) -> Result<(u64, Option<Timestamp>), StoreError> {
        let key = self.keys(connection).held();
        let mut server = self.pool.lend().await?;
        let (all, (seconds, micros)): (u64, (i64, i64)) =
            redis::pipe().zcard(&key).cmd("TIME").query_async(&mut *server).await.map_err(failed)?;
        if all == 0 {
            return Ok((0, None));
        }
        let expired = format!("({}", (Timestamp(seconds * 1000 + micros / 1000) - HOLD_TTL).0);
        let (held, first): (u64, Vec<(String, f64)>) = redis::pipe()
            .zcount(&key, &expired, "+inf")
            .zrangebyscore_limit_withscores(&key, &expired, "+inf", 0, 1)
            .query_async(&mut *server)
            .await
            .map_err(failed)?;
        Ok((held, first.first().map(|(_, since)| Timestamp(*since as i64))))
    }

    /// See [`Store::deferred`](crate::store::Store::deferred).
    pub(super) async fn count_deferred(
        &self,
        connection: &ConnectionName,
    ) -> Result<(u64, Option<Timestamp>), StoreError> {
        let key = self.keys(connection).deferred();
        let mut server = self.pool.lend().await?;
        let (deferred, first): (u64, Vec<(String, f64)>) =
            redis::pipe().zcard(&key).zrange_withscores(&key, 0, 0).query_async(&mut *server).await.map_err(failed)?;
        Ok((deferred, first.first().map(|(_, since)| Timestamp(*since as i64))))
    }

    /// See [`Store::pause`](crate::store::Store::pause).
    pub(super) async fn note_pause(&self, connection: Option<&ConnectionName>, by: &str) -> Result<(), StoreError> {
        let mut call = Call::new([keys::pauses(&self.prefix)]);
        call.arg(Pause::place(connection)).arg(super::json(&by));
        PAUSE_WRITES.run::<()>(&mut *self.pool.lend().await?, &call).await
    }

    /// See [`Store::resume`](crate::store::Store::resume).
    pub(super) async fn forget_pause(&self, connection: Option<&ConnectionName>) -> Result<bool, StoreError> {
        let mut server = self.pool.lend().await?;
        let forget = redis::cmd("HDEL").arg(keys::pauses(&self.prefix)).arg(Pause::place(connection)).to_owned();
        forget.query_async(&mut *server).await.map_err(failed)
    }

    /// See [`Store::pauses`](crate::store::Store::pauses).
    pub(super) async fn known_pauses(&self) -> Result<Vec<Pause>, StoreError> {
        let mut server = self.pool.lend().await?;
        let known = redis::cmd("HGETALL").arg(keys::pauses(&self.prefix)).to_owned();
        let known: BTreeMap<String, String> = known.query_async(&mut *server).await.map_err(failed)?;
        let read = known.into_iter().map(|(place, noted)| {
            let unreadable = |_| StoreError::Unusable("a pause noted in the store is unreadable".to_owned());
            let Noted { since, by } = serde_json::from_str(&noted).map_err(unreadable)?;
            Pause::at(&place, since, by)
        });
        read.collect()
    }
}
