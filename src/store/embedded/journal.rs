//! Values that lost, and what the writes of each run have overwritten.

use super::memory::number;
use super::{EmbeddedStore, signed, sql};
use crate::domain::undo::Overwritten;
use crate::domain::{ConnectionName, LinkId, RunId};
use crate::store::{EntryId, Kept, StoreError};

impl EmbeddedStore {
    /// See [`Store::journal`](crate::store::Store::journal).
    pub(super) async fn journal_of(
        &self,
        connection: &ConnectionName,
        link: Option<LinkId>,
        from: Option<&EntryId>,
        limit: usize,
    ) -> Result<Vec<Kept>, StoreError> {
        let (name, limit) = (connection.clone(), i64::try_from(limit).unwrap_or(i64::MAX));
        // One of another form is no entry of this store, and nothing comes after it.
        let newest = from.map_or(i64::MAX, |from| from.as_str().parse().unwrap_or(0));
        let entries: Vec<(i64, String)> = self
            .read(move |file, _| {
                let Some(connection) = number(file, &name)? else { return Ok(Vec::new()) };
                let pair = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
                match link {
                    Some(link) => sql::all(
                        file,
                        "SELECT id, entry FROM journal WHERE link = ?1 AND connection = ?2 AND id <= ?3 \
                         ORDER BY id DESC LIMIT ?4",
                        (signed(link.0), connection, newest, limit),
                        pair,
                    ),
                    None => sql::all(
                        file,
                        "SELECT id, entry FROM journal WHERE connection = ?1 AND id <= ?2 ORDER BY id DESC LIMIT ?3",
                        (connection, newest, limit),
                        pair,
                    ),
                }
            })
            .await?;
        let kept = |(id, entry): (i64, String)| {
            let unreadable = |_| StoreError::Unusable(format!("entry {id} of the journal is unreadable"));
            let entry = serde_json::from_str(&entry).map_err(unreadable)?;
            Ok(Kept { id: EntryId(id.to_string()), entry })
        };
        entries.into_iter().map(kept).collect()
    }

    /// See [`Store::overwritten`](crate::store::Store::overwritten).
    pub(super) async fn overwritten_by(
        &self,
        connection: &ConnectionName,
        run: &RunId,
        from: usize,
        limit: usize,
    ) -> Result<Vec<Overwritten>, StoreError> {
        let whole = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let (name, of, from, limit) = (connection.clone(), run.clone(), whole(from), whole(limit));
        let page: Vec<String> = self
            .read(move |file, _| {
                let Some(connection) = number(file, &name)? else { return Ok(Vec::new()) };
                let find =
                    "SELECT entry FROM overwritten WHERE connection = ?1 AND run = ?2 ORDER BY id LIMIT ?4 OFFSET ?3";
                sql::all(file, find, (connection, of.as_str(), from, limit), |row| Ok(row.get(0)?))
            })
            .await?;
        let unreadable =
            |error| StoreError::Unusable(format!("what run {run} has overwritten cannot be read: {error}"));
        page.iter().map(|text| Overwritten::unpacked(text).map_err(unreadable)).collect()
    }
}
