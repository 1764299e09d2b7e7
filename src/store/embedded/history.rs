//! Changes with what was decided of them.

use super::memory::{home, number};
use super::{EmbeddedStore, milliseconds, sql};
use crate::domain::ConnectionName;
use crate::store::{EntryId, Recorded, StoreError, Told};

impl EmbeddedStore {
    /// See [`Store::record`](crate::store::Store::record).
    pub(super) async fn note_changes(
        &self,
        connection: &ConnectionName,
        recorded: &[Recorded],
    ) -> Result<(), StoreError> {
        let name = connection.clone();
        let entries: Vec<_> = recorded.iter().map(|recorded| (recorded.kept, recorded.packed())).collect();
        self.write(move |file, now| {
            let connection = home(file, &name)?;
            for (kept, entry) in entries {
                let add = "INSERT INTO history (connection, expires_at, entry) VALUES (?1, ?2, ?3)";
                sql::run(file, add, (connection, now.0.saturating_add(milliseconds(kept)), entry))?;
            }
            Ok(())
        })
        .await
    }

    /// See [`Store::history`](crate::store::Store::history).
    pub(super) async fn recorded(
        &self,
        connection: &ConnectionName,
        before: Option<&EntryId>,
        limit: usize,
    ) -> Result<Vec<Told>, StoreError> {
        let (name, limit) = (connection.clone(), i64::try_from(limit).unwrap_or(i64::MAX));
        // One of another form is no entry of this store, and nothing comes after it.
        let before = before.map_or(i64::MAX, |before| before.as_str().parse().unwrap_or(0));
        let found: Vec<(i64, String)> = self
            .read(move |file, now| {
                let Some(connection) = number(file, &name)? else { return Ok(Vec::new()) };
                let find = "SELECT id, entry FROM history WHERE connection = ?1 AND id < ?2 AND expires_at > ?3 \
                            ORDER BY id DESC LIMIT ?4";
                sql::all(file, find, (connection, before, now.0, limit), |row| Ok((row.get(0)?, row.get(1)?)))
            })
            .await?;
        let told = |(id, text): (i64, String)| {
            let id = id.to_string();
            Ok((EntryId(id.clone()), Recorded::unpacked(&id, &text)?))
        };
        found.into_iter().map(told).collect()
    }
}
