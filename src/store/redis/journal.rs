//! The journal of a connection: one stream for all its links, trimmed by age and length. And what the writes of each run
//! have overwritten.

use std::collections::HashMap;

use super::RedisStore;
use super::pool::failed;
use crate::domain::undo::Overwritten;
use crate::domain::{ConnectionName, LinkId, RunId};
use crate::store::{EntryId, JournalEntry, Kept, StoreError};

/// Entries looked at in one round trip: other processes wait while the server answers.
const PAGE: usize = 1_000;

impl RedisStore {
    /// See [`Store::journal`](crate::store::Store::journal). The stream has no index by link: a person asks about one
    /// link now and then, and the writers pay for nothing.
    pub(super) async fn journal_of(
        &self,
        connection: &ConnectionName,
        link: Option<LinkId>,
        from: Option<&EntryId>,
        limit: usize,
    ) -> Result<Vec<Kept>, StoreError> {
        let key = self.keys(connection).journal();
        let mut server = self.pool.lend().await?;
        let mut found = Vec::new();
        let mut newest = from.map_or("+".to_owned(), |from| from.as_str().to_owned());
        // Who asks for one entry by its id is not sent a thousand.
        let count = if link.is_none() { PAGE.min(limit.max(1)) } else { PAGE };
        while found.len() < limit {
            let page = redis::cmd("XREVRANGE").arg(&key).arg(&newest).arg("-").arg("COUNT").arg(count).to_owned();
            let page: Vec<(String, HashMap<String, String>)> = page.query_async(&mut *server).await.map_err(failed)?;
            let Some((oldest, _)) = page.last() else { break };
            newest = format!("({oldest}");
            for (id, fields) in page {
                let entry = fields.get("e").and_then(|entry| serde_json::from_str::<JournalEntry>(entry).ok());
                let unreadable = || StoreError::Unusable(format!("entry {id} of the journal is unreadable"));
                let entry = entry.ok_or_else(unreadable)?;
                if link.is_none_or(|link| entry.link == link) {
                    found.push(Kept { id: EntryId(id), entry });
                }
            }
        }
        found.truncate(limit);
        Ok(found)
    }

    /// See [`Store::overwritten`](crate::store::Store::overwritten).
    pub(super) async fn overwritten_by(
        &self,
        connection: &ConnectionName,
        run: &RunId,
        from: usize,
        limit: usize,
    ) -> Result<Vec<Overwritten>, StoreError> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let key = self.keys(connection).run_undo(run);
        let mut server = self.pool.lend().await?;
        let page = redis::cmd("LRANGE").arg(key).arg(from).arg(from.saturating_add(limit - 1)).to_owned();
        let page: Vec<String> = page.query_async(&mut *server).await.map_err(failed)?;
        let unreadable =
            |error| StoreError::Unusable(format!("what run {run} has overwritten cannot be read: {error}"));
        page.iter().map(|text| Overwritten::unpacked(text).map_err(unreadable)).collect()
    }
}
