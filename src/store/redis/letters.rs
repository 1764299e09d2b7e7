//! Open letters. Those about a link or an account lie with their connection. Those about a message lie by themselves,
//! also where the connection is known: their id does not name it, so that they could not be closed otherwise.

use redis::Pipeline;

use super::RedisStore;
use super::keys;
use super::pool::failed;
use crate::domain::{ConnectionName, DeadLetter, LetterId};
use crate::store::StoreError;

/// First part of the id of a letter about a message.
const MESSAGE: &str = "message";

impl RedisStore {
    /// See [`Store::file_letters`](crate::store::Store::file_letters).
    pub(super) async fn file(&self, open: &[DeadLetter], close: &[LetterId]) -> Result<(), StoreError> {
        let mut pipeline = Pipeline::new();
        for letter in open {
            let key = match &letter.connection {
                Some(connection) if first_part(&letter.id) != MESSAGE => self.keys(connection).letters(),
                _ => keys::message_letters(&self.prefix),
            };
            pipeline.hset(key, letter.id.as_str(), super::json(letter)).ignore();
        }
        for id in close {
            let first = first_part(id);
            // A connection may be called `message` as well.
            if let Ok(connection) = first.parse() {
                pipeline.hdel(self.keys(&connection).letters(), id.as_str()).ignore();
            }
            if first == MESSAGE {
                pipeline.hdel(keys::message_letters(&self.prefix), id.as_str()).ignore();
            }
        }
        if pipeline.is_empty() {
            return Ok(());
        }
        pipeline.exec_async(&mut *self.pool.lend().await?).await.map_err(failed)
    }

    /// See [`Store::letter`](crate::store::Store::letter).
    pub(super) async fn open_letter(
        &self,
        connection: Option<&ConnectionName>,
        id: &LetterId,
    ) -> Result<Option<DeadLetter>, StoreError> {
        let key = match connection {
            Some(connection) if first_part(id) != MESSAGE => self.keys(connection).letters(),
            _ => keys::message_letters(&self.prefix),
        };
        let question = redis::cmd("HGET").arg(key).arg(id.as_str()).to_owned();
        let stored: Option<String> = question.query_async(&mut *self.pool.lend().await?).await.map_err(failed)?;
        stored.map(|stored| parse(id.as_str(), &stored)).transpose()
    }

    /// See [`Store::letters`](crate::store::Store::letters).
    pub(super) async fn open_letters(
        &self,
        connection: Option<&ConnectionName>,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        let mut letters = self.message_letters().await?;
        letters.retain(|letter| letter.connection.as_ref() == connection);
        if let Some(connection) = connection {
            letters.extend(self.letters_in(&self.keys(connection).letters()).await?);
        }
        letters.sort_by(|left, right| (left.first_at, &left.id).cmp(&(right.first_at, &right.id)));
        Ok(letters)
    }

    /// Letters about messages, of any connection or none.
    pub(super) async fn message_letters(&self) -> Result<Vec<DeadLetter>, StoreError> {
        self.letters_in(&keys::message_letters(&self.prefix)).await
    }

    async fn letters_in(&self, key: &str) -> Result<Vec<DeadLetter>, StoreError> {
        let mut server = self.pool.lend().await?;
        let mut letters = std::collections::BTreeMap::new();
        let mut cursor = "0".to_owned();
        // Page by page: other processes wait while the server answers, and there may be many.
        loop {
            let scan = redis::cmd("HSCAN").arg(key).arg(&cursor).arg("COUNT").arg(500).to_owned();
            let (next, page): (String, Vec<(String, String)>) = scan.query_async(&mut *server).await.map_err(failed)?;
            for (id, stored) in page {
                let letter = parse(&id, &stored)?;
                letters.insert(id, letter);
            }
            if next == "0" {
                return Ok(letters.into_values().collect());
            }
            cursor = next;
        }
    }
}

fn parse(id: &str, stored: &str) -> Result<DeadLetter, StoreError> {
    serde_json::from_str(stored).map_err(|_| StoreError::Unusable(format!("letter {id} in the store is unreadable")))
}

fn first_part(id: &LetterId) -> &str {
    id.as_str().split('/').next().unwrap_or_default()
}
