//! Changes with what was decided of them: one stream a connection, trimmed by age and length.

use std::collections::HashMap;

use super::RedisStore;
use super::keys::HISTORY_ENTRIES;
use super::pool::failed;
use crate::domain::ConnectionName;
use crate::store::{EntryId, Recorded, StoreError, Told};

impl RedisStore {
    /// See [`Store::record`](crate::store::Store::record).
    pub(super) async fn note_changes(
        &self,
        connection: &ConnectionName,
        recorded: &[Recorded],
    ) -> Result<(), StoreError> {
        let Some(last) = recorded.last() else { return Ok(()) };
        let key = self.keys(connection).history();
        let kept_ms = i64::try_from(last.kept.as_millis()).unwrap_or(i64::MAX);
        let mut steps = redis::pipe();
        for entry in recorded {
            let add = steps.cmd("XADD").arg(&key).arg("MAXLEN").arg("~").arg(HISTORY_ENTRIES);
            add.arg("*").arg("e").arg(entry.packed()).ignore();
        }
        // The ids are the server's time.
        let oldest = last.at.0.saturating_sub(kept_ms).max(0);
        steps.cmd("XTRIM").arg(&key).arg("MINID").arg("~").arg(oldest).ignore();
        steps.cmd("PEXPIRE").arg(&key).arg(kept_ms).ignore();
        let mut server = self.pool.lend().await?;
        steps.query_async::<()>(&mut *server).await.map_err(failed)
    }

    /// See [`Store::history`](crate::store::Store::history).
    pub(super) async fn recorded(
        &self,
        connection: &ConnectionName,
        before: Option<&EntryId>,
        limit: usize,
    ) -> Result<Vec<Told>, StoreError> {
        let key = self.keys(connection).history();
        let newest = before.map_or("+".to_owned(), |before| format!("({}", before.as_str()));
        let mut server = self.pool.lend().await?;
        let page = redis::cmd("XREVRANGE").arg(key).arg(newest).arg("-").arg("COUNT").arg(limit).to_owned();
        let page: Vec<(String, HashMap<String, String>)> = page.query_async(&mut *server).await.map_err(failed)?;
        let told = |(id, fields): (String, HashMap<String, String>)| {
            let text = fields.get("e").map(String::as_str).unwrap_or_default();
            let recorded = Recorded::unpacked(&id, text)?;
            Ok((EntryId(id), recorded))
        };
        page.into_iter().map(told).collect()
    }
}
