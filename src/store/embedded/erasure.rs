//! Erasing what is kept of one person.

use rusqlite::Connection;

use super::memory::number;
use super::{EmbeddedStore, sql};
use crate::domain::ConnectionName;
use crate::store::erasure::Fate;
use crate::store::{Erased, Person, StoreError};

/// Entries that are looked at in one transaction: others wait for the thread that writes.
const PAGE: i64 = 500;

impl EmbeddedStore {
    /// See [`Store::erase`](crate::store::Store::erase). What is erased stays in free parts of the file until
    /// [`scrub`](crate::store::Store::scrub).
    pub(super) async fn erase_person(
        &self,
        connection: &ConnectionName,
        person: &Person,
        really: bool,
    ) -> Result<Erased, StoreError> {
        let conflicts = self.go_through(connection, person, really, "journal", Person::of_journal).await?;
        let history = self.go_through(connection, person, really, "history", Person::of_history).await?;
        let overwritten = self.go_through(connection, person, really, "overwritten", Person::of_overwritten).await?;
        Ok(Erased { conflicts, history, overwritten })
    }

    async fn go_through(
        &self,
        connection: &ConnectionName,
        person: &Person,
        really: bool,
        table: &'static str,
        fate: fn(&Person, &str) -> Fate,
    ) -> Result<u64, StoreError> {
        let (mut meant, mut after) = (0, 0);
        loop {
            let (name, person) = (connection.clone(), person.clone());
            let page = move |file: &Connection| page(file, &name, table, after, |text| fate(&person, text), really);
            let (more, last) = match really {
                true => self.write(move |file, _| page(file)).await?,
                false => self.read(move |file, _| page(file)).await?,
            };
            meant += more;
            match last {
                Some(last) => after = last,
                None => return Ok(meant),
            }
        }
    }
}

/// Goes through the entries behind `after`: how many do not stay as they are, and the last that was looked at (`None`: there
/// was none).
fn page(
    file: &Connection,
    name: &ConnectionName,
    table: &str,
    after: i64,
    fate: impl Fn(&str) -> Fate,
    really: bool,
) -> Result<(u64, Option<i64>), StoreError> {
    let Some(connection) = number(file, name)? else { return Ok((0, None)) };
    let find = format!("SELECT id, entry FROM {table} WHERE connection = ?1 AND id > ?2 ORDER BY id LIMIT ?3");
    let entries: Vec<(i64, String)> =
        sql::all(file, &find, (connection, after, PAGE), |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut meant = 0;
    for (id, entry) in &entries {
        let fate = fate(entry);
        meant += u64::from(fate != Fate::Stays);
        match fate {
            Fate::Becomes(text) if really => {
                sql::run(file, &format!("UPDATE {table} SET entry = ?2 WHERE id = ?1"), (id, text))?;
            }
            Fate::Goes if really => {
                sql::run(file, &format!("DELETE FROM {table} WHERE id = ?1"), (id,))?;
            }
            _ => {}
        }
    }
    Ok((meant, entries.last().map(|(id, _)| *id)))
}
