//! What people did.

use rusqlite::Connection;

use super::{EmbeddedStore, quantity, sql};
use crate::domain::audit::{End, Line};
use crate::store::{ActsEnds, StoreError};

const LAST: &str = "last";
const ANCHOR: &str = "anchor";

impl EmbeddedStore {
    /// See [`Store::acts_ends`](crate::store::Store::acts_ends).
    pub(super) async fn ends_of_acts(&self) -> Result<ActsEnds, StoreError> {
        let kept = self.retention.audit;
        self.read(move |file, now| Ok(ActsEnds { now, last: end(file, LAST)?, anchor: end(file, ANCHOR)?, kept })).await
    }

    /// See [`Store::append_act`](crate::store::Store::append_act).
    pub(super) async fn append_line(&self, after: Option<&End>, line: &Line, place: &End) -> Result<bool, StoreError> {
        let (after, line, place) = (after.cloned(), line.clone(), place.clone());
        self.write(move |file, _| {
            if end(file, LAST)? != after {
                return Ok(false);
            }
            sql::run(file, "INSERT INTO acts VALUES (?1, ?2)", (quantity(place.number), line.as_str()))?;
            note(file, LAST, &place)?;
            Ok(true)
        })
        .await
    }

    /// See [`Store::acts`](crate::store::Store::acts).
    pub(super) async fn lines_of_acts(&self, after: u64, limit: usize) -> Result<Vec<Line>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let page = "SELECT line FROM acts WHERE number > ?1 ORDER BY number LIMIT ?2";
        self.read(move |file, _| sql::all(file, page, (quantity(after), limit), |row| Ok(Line::found(row.get(0)?))))
            .await
    }

    /// See [`Store::cut_acts`](crate::store::Store::cut_acts).
    pub(super) async fn cut_lines(&self, anchor: &End) -> Result<bool, StoreError> {
        let anchor = anchor.clone();
        self.write(move |file, _| {
            let reaches =
                end(file, LAST)?.is_some_and(|last| last.chain == anchor.chain && last.number >= anchor.number);
            let is_newer = |known: End| known.chain == anchor.chain && known.number < anchor.number;
            if !reaches || !end(file, ANCHOR)?.is_none_or(is_newer) {
                return Ok(false);
            }
            sql::run(file, "DELETE FROM acts WHERE number <= ?1", (quantity(anchor.number),))?;
            note(file, ANCHOR, &anchor)?;
            Ok(true)
        })
        .await
    }
}

fn end(file: &Connection, name: &str) -> Result<Option<End>, StoreError> {
    let find = "SELECT place FROM act_ends WHERE name = ?1";
    let place: Option<String> = sql::one(file, find, (name,), |row| Ok(row.get(0)?))?;
    let unreadable = |_| StoreError::Unusable(format!("the {name} place of the log of acts is unreadable"));
    place.map(|place| place.parse().map_err(unreadable)).transpose()
}

fn note(file: &Connection, name: &str, place: &End) -> Result<(), StoreError> {
    let note = "INSERT INTO act_ends VALUES (?1, ?2) ON CONFLICT DO UPDATE SET place = excluded.place";
    sql::run(file, note, (name, place.to_string())).map(drop)
}
