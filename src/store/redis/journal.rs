//! The journal of a connection: one stream for all its links, trimmed by age and length.

use std::collections::HashMap;

use super::RedisStore;
use super::pool::failed;
use crate::domain::{ConnectionName, LinkId};
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
}
