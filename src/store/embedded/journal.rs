//! Values that lost.

use super::memory::number;
use super::{EmbeddedStore, signed, sql};
use crate::domain::{ConnectionName, LinkId};
use crate::store::{JournalEntry, StoreError};

impl EmbeddedStore {
    /// See [`Store::journal`](crate::store::Store::journal).
    pub(super) async fn journal_of(
        &self,
        connection: &ConnectionName,
        link: LinkId,
        limit: usize,
    ) -> Result<Vec<JournalEntry>, StoreError> {
        let (name, limit) = (connection.clone(), i64::try_from(limit).unwrap_or(i64::MAX));
        let entries: Vec<(i64, String)> = self
            .read(move |file, _| {
                let Some(connection) = number(file, &name)? else { return Ok(Vec::new()) };
                let newest =
                    "SELECT id, entry FROM journal WHERE link = ?1 AND connection = ?2 ORDER BY id DESC LIMIT ?3";
                sql::all(file, newest, (signed(link.0), connection, limit), |row| Ok((row.get(0)?, row.get(1)?)))
            })
            .await?;
        let unreadable = |id: i64| StoreError::Unusable(format!("entry {id} of the journal is unreadable"));
        entries.iter().map(|(id, entry)| serde_json::from_str(entry).map_err(|_| unreadable(*id))).collect()
    }
}
