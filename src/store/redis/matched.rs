//! What is noted of the last match of two systems' accounts.

use super::RedisStore;
use super::pool::failed;
use crate::domain::ConnectionName;
use crate::store::{MatchNote, StoreError};

impl RedisStore {
    /// See [`Store::match_note`](crate::store::Store::match_note).
    pub(super) async fn stored_match(&self, connection: &ConnectionName) -> Result<Option<MatchNote>, StoreError> {
        let mut server = self.pool.lend().await?;
        let stored: Option<String> =
            redis::cmd("GET").arg(self.keys(connection).matched()).query_async(&mut *server).await.map_err(failed)?;
        let unreadable =
            |_| StoreError::Unusable(format!("connection {connection}: the note of its match is unreadable"));
        stored.map(|stored| serde_json::from_str(&stored).map_err(unreadable)).transpose()
    }

    /// See [`Store::note_match`](crate::store::Store::note_match).
    pub(super) async fn put_match(&self, connection: &ConnectionName, note: &MatchNote) -> Result<(), StoreError> {
        let mut server = self.pool.lend().await?;
        redis::cmd("SET")
            .arg(self.keys(connection).matched())
            .arg(super::json(note))
            .query_async(&mut *server)
            .await
            .map_err(failed)
    }
}
