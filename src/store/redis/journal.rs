//! The journal of a connection: one stream for all its links, trimmed by age and length.

use std::collections::HashMap;

use super::RedisStore;
use super::pool::failed;
use crate::domain::{ConnectionName, LinkId};
use crate::store::{JournalEntry, StoreError};

/// Entries looked at in one round trip: other processes wait while the server answers.
const PAGE: usize = 1_000;

impl RedisStore {
    /// See [`Store::journal`](crate::store::Store::journal). The stream has no index by link: a person asks about one
    /// link now and then, and the writers pay for nothing.
    pub(super) async fn journal_of(
        &self,
        connection: &ConnectionName,
        link: LinkId,
        limit: usize,
    ) -> Result<Vec<JournalEntry>, StoreError> {
        let key = self.keys(connection).journal();
        let mut server = self.pool.lend().await?;
        let mut found = Vec::new();
        let mut newest = "+".to_owned();
        while found.len() < limit {
            let page = redis::cmd("XREVRANGE").arg(&key).arg(&newest).arg("-").arg("COUNT").arg(PAGE).to_owned();
            let page: Vec<(String, HashMap<String, String>)> = page.query_async(&mut *server).await.map_err(failed)?;
            let Some((oldest, _)) = page.last() else { break };
            newest = format!("({oldest}");
            for (id, fields) in page {
                let entry = fields.get("e").and_then(|entry| serde_json::from_str::<JournalEntry>(entry).ok());
                let unreadable = || StoreError::Unusable(format!("entry {id} of the journal is unreadable"));
                let entry = entry.ok_or_else(unreadable)?;
                if entry.link == link {
                    found.push(entry);
                }
            }
        }
        found.truncate(limit);
        Ok(found)
    }
}
