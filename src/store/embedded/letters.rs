//! Open letters. Their ids are unique over all connections.

use std::ops::Range;

use rusqlite::Connection;

use super::{EmbeddedStore, sql};
use crate::domain::redrive::Redrive;
use crate::domain::{ConnectionName, DeadLetter, Fingerprint, LetterGroup, LetterId, LetterPlace, Timestamp};
use crate::store::{LetterPage, REDRIVES_KEPT, REDRIVES_OPEN_KEPT, StoreError};

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

    /// See [`Store::letter_groups`](crate::store::Store::letter_groups).
    pub(super) async fn groups_of_letters(
        &self,
        connection: Option<&ConnectionName>,
        when: &Range<Timestamp>,
    ) -> Result<Vec<LetterGroup>, StoreError> {
        let (shelf, when) = (connection.cloned(), when.clone());
        let count = "SELECT fingerprint, count(*), min(first_at), max(last_at) FROM open_letters \
                     WHERE shelf IS ?1 AND first_at >= ?2 AND first_at < ?3 GROUP BY fingerprint ORDER BY fingerprint";
        let counted: Vec<(String, i64, i64, i64)> = self
            .read(move |file, _| {
                let shelf = shelf.as_ref().map(ConnectionName::as_str);
                sql::all(file, count, (shelf, when.start.0, when.end.0), |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
                })
            })
            .await?;
        let group = |(key, letters, first_at, last_at): (String, i64, i64, i64)| {
            let fingerprint = Fingerprint::from_key(&key)
                .ok_or_else(|| StoreError::Unusable(format!("letters of {key:?} in the store are unreadable")))?;
            let (first_at, last_at) = (Timestamp(first_at), Timestamp(last_at));
            Ok(LetterGroup { fingerprint, letters: letters.unsigned_abs(), first_at, last_at })
        };
        counted.into_iter().map(group).collect()
    }

    /// See [`Store::letter_page`](crate::store::Store::letter_page).
    pub(super) async fn page_of_letters(
        &self,
        connection: Option<&ConnectionName>,
        fingerprint: &Fingerprint,
        when: &Range<Timestamp>,
        after: Option<&LetterPlace>,
        limit: usize,
    ) -> Result<LetterPage, StoreError> {
        let (shelf, key, until) = (connection.cloned(), fingerprint.key(), when.end);
        let beginning = LetterPlace { first_at: when.start, id: LetterId::from_text("") };
        let after = after.filter(|after| after.first_at >= when.start).cloned().unwrap_or(beginning);
        let page = "SELECT id, letter FROM open_letters WHERE shelf IS ?1 AND fingerprint = ?2 \
                    AND (first_at, id) > (?3, ?4) AND first_at < ?5 ORDER BY first_at, id LIMIT ?6";
        let stored: Vec<(String, String)> = self
            .read(move |file, _| {
                let shelf = shelf.as_ref().map(ConnectionName::as_str);
                let limit = i64::try_from(limit).unwrap_or(i64::MAX);
                let params = (shelf, key, after.first_at.0, after.id.as_str(), until.0, limit);
                sql::all(file, page, params, |row| Ok((row.get(0)?, row.get(1)?)))
            })
            .await?;
        let letters: Vec<DeadLetter> = stored.iter().map(parse).collect::<Result<_, _>>()?;
        let next = letters.last().filter(|_| letters.len() == limit).map(DeadLetter::place);
        Ok((letters, next))
    }

    /// See [`Store::save_redrive`](crate::store::Store::save_redrive).
    pub(super) async fn keep_redrive(&self, redrive: &Redrive) -> Result<bool, StoreError> {
        let redrive = redrive.clone();
        self.write(move |file, _| {
            let revision = "SELECT revision FROM redrives WHERE id = ?1";
            let known: Option<i64> = sql::one(file, revision, (&redrive.id,), |row| Ok(row.get(0)?))?;
            let next = i64::try_from(redrive.revision).unwrap_or(i64::MAX);
            if known.unwrap_or(0) != next - 1 {
                return Ok(false);
            }
            let json = super::json(&redrive);
            let row = (&redrive.id, next, redrive.saved_at.0, json);
            sql::run(file, "INSERT OR REPLACE INTO redrives VALUES (?1, ?2, ?3, ?4)", row)?;
            let forget = "DELETE FROM redrives WHERE (SELECT count(*) FROM redrives) > ?2 AND id = \
                          (SELECT id FROM redrives WHERE id <> ?1 AND (?3 OR json_extract(redrive, '$.phase') = 'done') \
                          ORDER BY saved_at, id LIMIT 1)";
            for (kept, any) in [(REDRIVES_KEPT, false), (REDRIVES_OPEN_KEPT, true)] {
                sql::run(file, forget, (&redrive.id, i64::try_from(kept).unwrap_or(i64::MAX), any))?;
            }
            Ok(true)
        })
        .await
    }

    /// See [`Store::redrives`](crate::store::Store::redrives).
    pub(super) async fn kept_redrives(&self) -> Result<Vec<Redrive>, StoreError> {
        let stored: Vec<String> =
            self.read(|file, _| sql::all(file, "SELECT redrive FROM redrives", (), |row| Ok(row.get(0)?))).await?;
        let unreadable = |_| StoreError::Unusable("a retry noted in the store is unreadable".to_owned());
        let redrives: Result<Vec<Redrive>, _> = stored.iter().map(|json| serde_json::from_str(json)).collect();
        let mut redrives = redrives.map_err(unreadable)?;
        redrives.sort_by_key(|redrive| std::cmp::Reverse((redrive.began_at, redrive.id.clone())));
        Ok(redrives)
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
            "INSERT OR REPLACE INTO open_letters (id, connection, first_at, letter, shelf, fingerprint, last_at) \
             VALUES (?1, ?2, ?3, ?4, iif(?1 GLOB 'message/*', NULL, ?2), ?5, ?6)",
            (
                letter.id.as_str(),
                connection.map(ConnectionName::as_str),
                letter.first_at.0,
                super::json(letter),
                letter.fingerprint.key(),
                letter.last_at.0,
            ),
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
