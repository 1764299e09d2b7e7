//! What people did: one stream, whose entries have the numbers of the log as ids, and one hash with its ends.

use std::collections::HashMap;

use super::RedisStore;
use super::keys;
use super::pool::failed;
use super::script::{APPEND_ACT, CUT_ACTS, Call};
use crate::domain::Timestamp;
use crate::domain::audit::{End, Line};
use crate::store::{ActsEnds, StoreError};

impl RedisStore {
    /// See [`Store::acts_ends`](crate::store::Store::acts_ends).
    pub(super) async fn ends_of_acts(&self) -> Result<ActsEnds, StoreError> {
        let mut server = self.pool.lend().await?;
        let ((seconds, micros), ends): ((i64, i64), HashMap<String, String>) = redis::pipe()
            .cmd("TIME")
            .hgetall(keys::act_ends(&self.prefix))
            .query_async(&mut *server)
            .await
            .map_err(failed)?;
        let end = |name| {
            let unreadable = |_| StoreError::Unusable(format!("the {name} place of the log of acts is unreadable"));
            ends.get(name).map(|text| text.parse().map_err(unreadable)).transpose()
        };
        let (now, kept) = (Timestamp(seconds * 1000 + micros / 1000), self.retention.audit);
        Ok(ActsEnds { now, last: end("last")?, anchor: end("anchor")?, kept })
    }

    /// See [`Store::append_act`](crate::store::Store::append_act).
    pub(super) async fn append_line(&self, after: Option<&End>, line: &Line, place: &End) -> Result<bool, StoreError> {
        let mut call = Call::new([keys::act_lines(&self.prefix), keys::act_ends(&self.prefix)]);
        call.arg(after.map(ToString::to_string).unwrap_or_default()).text(place).number(place.number);
        call.arg(line.as_str());
        APPEND_ACT.run(&mut *self.pool.lend().await?, &call).await
    }

    /// See [`Store::acts`](crate::store::Store::acts).
    pub(super) async fn lines_of_acts(&self, after: u64, limit: usize) -> Result<Vec<Line>, StoreError> {
        let from = format!("{}-0", after.saturating_add(1));
        let page = redis::cmd("XRANGE")
            .arg(keys::act_lines(&self.prefix))
            .arg(from)
            .arg("+")
            .arg("COUNT")
            .arg(limit)
            .to_owned();
        let mut server = self.pool.lend().await?;
        let page: Vec<(String, HashMap<String, String>)> = page.query_async(&mut *server).await.map_err(failed)?;
        Ok(page.into_iter().map(|(_, mut fields)| Line::found(fields.remove("e").unwrap_or_default())).collect())
    }

    /// See [`Store::cut_acts`](crate::store::Store::cut_acts).
    pub(super) async fn cut_lines(&self, anchor: &End) -> Result<bool, StoreError> {
        let mut call = Call::new([keys::act_lines(&self.prefix), keys::act_ends(&self.prefix)]);
        call.text(anchor).arg(format!("{}:", anchor.chain)).number(anchor.number);
        CUT_ACTS.run(&mut *self.pool.lend().await?, &call).await
    }
}
