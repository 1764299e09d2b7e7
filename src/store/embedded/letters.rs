//! Open letters. Their ids are unique over all connections.

use rusqlite::Connection;

use super::{EmbeddedStore, sql};
use crate::domain::{ConnectionName, DeadLetter, LetterId};
use crate::store::StoreError;

impl EmbeddedStore {
    /// See [`Store::file_letters`](crate::store::Store::file_letters).
    pub(super) async fn file(&self, opened: &[DeadLetter], closed: &[LetterId]) -> Result<(), StoreError> {
        if opened.is_empty() && closed.is_empty() {
            return Ok(());
        }
        let (opened, closed) = (opened.to_vec(), closed.to_vec());
        self.write(move |file, _| {
            open(file, opened.iter().map(|letter| (letter, letter.connection.as_ref())))?;
            close(file, &closed)
        })
        .await
    }

    /// See [`Store::letter`](crate::store::Store::letter).
    pub(super) async fn open_letter(
        &self,
        connection: Option<&ConnectionName>,
        id: &LetterId,
    ) -> Result<Option<DeadLetter>, StoreError> {
        let (connection, id) = (connection.cloned(), id.clone());
        // A letter about a message is found whether or not its connection is known to whoever asks.
        let find = "SELECT id, letter FROM open_letters WHERE id = ?1 AND (connection IS ?2 OR id GLOB 'message/*')";
        let found = self
            .read(move |file, _| {
                let connection = connection.as_ref().map(ConnectionName::as_str);
                sql::one(file, find, (id.as_str(), connection), |row| Ok((row.get(0)?, row.get(1)?)))
            })
            .await?;
        found.as_ref().map(parse).transpose()
    }

    /// See [`Store::letters`](crate::store::Store::letters).
    pub(super) async fn open_letters(
        &self,
        connection: Option<&ConnectionName>,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        let connection = connection.cloned();
        let list = "SELECT id, letter FROM open_letters WHERE connection IS ?1 ORDER BY first_at, id";
        let stored = self
            .read(move |file, _| {
                let connection = connection.as_ref().map(ConnectionName::as_str);
                sql::all(file, list, (connection,), |row| Ok((row.get(0)?, row.get(1)?)))
            })
            .await?;
        stored.iter().map(parse).collect()
    }
}

/// Opens letters, each in the books of the connection beside it, or replaces those of the same ids.
pub(super) fn open<'a>(
    file: &Connection,
    letters: impl Iterator<Item = (&'a DeadLetter, Option<&'a ConnectionName>)>,
) -> Result<(), StoreError> {
    for (letter, connection) in letters {
        sql::run(
            file,
            "INSERT OR REPLACE INTO open_letters VALUES (?1, ?2, ?3, ?4)",
            (letter.id.as_str(), connection.map(ConnectionName::as_str), letter.first_at.0, super::json(letter)),
        )?;
    }
    Ok(())
}

pub(super) fn close(file: &Connection, letters: &[LetterId]) -> Result<(), StoreError> {
    for id in letters {
        sql::run(file, "DELETE FROM open_letters WHERE id = ?1", (id.as_str(),))?;
    }
    Ok(())
}

fn parse((id, letter): &(String, String)) -> Result<DeadLetter, StoreError> {
    serde_json::from_str(letter).map_err(|_| StoreError::Unusable(format!("letter {id} in the store is unreadable")))
}
