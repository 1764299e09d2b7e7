//! What is noted of the last match of two systems' accounts.

use super::memory::{home, number};
use super::{EmbeddedStore, sql};
use crate::domain::ConnectionName;
use crate::store::{MatchNote, StoreError};

impl EmbeddedStore {
    /// See [`Store::match_note`](crate::store::Store::match_note).
    pub(super) async fn stored_match(&self, connection: &ConnectionName) -> Result<Option<MatchNote>, StoreError> {
        let name = connection.clone();
        self.read(move |file, _| {
            let Some(connection) = number(file, &name)? else { return Ok(None) };
            let find = "SELECT note FROM matches WHERE connection = ?1";
            let stored = sql::one(file, find, (connection,), |row| Ok(row.get::<_, String>(0)?))?;
            let unreadable =
                |_| StoreError::Unusable(format!("connection {name}: the note of its match is unreadable"));
            stored.map(|stored| serde_json::from_str(&stored).map_err(unreadable)).transpose()
        })
        .await
    }

    /// See [`Store::note_match`](crate::store::Store::note_match).
    pub(super) async fn put_match(&self, connection: &ConnectionName, note: &MatchNote) -> Result<(), StoreError> {
        let (name, note) = (connection.clone(), super::json(note));
        self.write(move |file, _| {
            let put = "INSERT INTO matches VALUES (?1, ?2) ON CONFLICT DO UPDATE SET note = excluded.note";
            sql::run(file, put, (home(file, &name)?, note)).map(drop)
        })
        .await
    }
}
