//! Every statement of the embedded broker. Each function is part of a transaction that others end.

use std::time::Duration;

use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, params};

use super::PREFIX;
use super::parcel::{Parcel, Table};
use crate::broker::PublishError;
use crate::broker::delay::RUNGS;
use crate::database::DatabaseError;

/// Delayed messages that are brought home in one transaction at most.
const PROMOTED: usize = 500;

/// Why nothing was published.
#[derive(Debug)]
pub(super) enum PutError {
    /// One of the messages cannot be, ever.
    Refused(PublishError),
    /// The file.
    Failed(DatabaseError),
}

impl From<DatabaseError> for PutError {
    fn from(error: DatabaseError) -> Self {
        Self::Failed(error)
    }
}

impl From<rusqlite::Error> for PutError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// A message that was taken out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Taken {
    pub place: i64,
    pub message_id: String,
    pub attempt: u32,
    pub traceparent: Option<String>,
    pub redeliveries: u32,
    pub body: Vec<u8>,
}

/// What becomes of a message that was taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Settlement {
    /// Its work is done.
    Done,
    /// It goes to the end of its queue. Whether that counts as a redelivery: not if nobody has begun with it.
    Back { counted: bool },
}

/// What waits.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Depths {
    /// Each queue that was asked for; `None` if it is not there.
    pub queues: Vec<(String, Option<u64>)>,
    pub delayed: u64,
}

/// The clock of the file: milliseconds since 1970.
pub(super) fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// Makes those of these queues that are not there.
pub(super) fn declare(connection: &Connection, names: &[String]) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO queues (id, name, taken)
         SELECT next, ?1, next << 40 FROM (SELECT 1 + ifnull(max(id), 0) AS next FROM queues)
         WHERE NOT EXISTS (SELECT 1 FROM queues WHERE name = ?1)",
    )?;
    names.iter().try_for_each(|name| insert.execute([name]).map(drop))
}

/// Stores all of these, or none.
pub(super) fn put(connection: &Connection, parcels: &[Parcel], now: i64) -> Result<(), PutError> {
    for parcel in parcels {
        let Parcel { to, message_id, attempt, traceparent, body } = parcel;
        let body = &body[..];
        let (stored, home) = match to {
            Table::Queue(name) => {
                let mut insert = connection.prepare_cached(
                    "INSERT INTO messages (place, message_id, attempt, traceparent, redeliveries, body)
                     SELECT last + 1, ?2, ?3, ?4, 0, ?5 FROM queue_ends WHERE name = ?1",
                )?;
                (insert.execute(params![name, message_id, attempt, traceparent, body])?, name)
            }
            Table::Delayed { home, wait } => {
                let mut insert = connection.prepare_cached(
                    "INSERT INTO delayed (queue, due_at, message_id, attempt, traceparent, body)
                     SELECT id, ?2, ?3, ?4, ?5, ?6 FROM queues WHERE name = ?1",
                )?;
                let due_at = now.saturating_add(milliseconds(*wait));
                (insert.execute(params![home, due_at, message_id, attempt, traceparent, body])?, home)
            }
            Table::Letters => {
                let mut insert =
                    connection.prepare_cached("INSERT INTO letter_log (message_id, body) VALUES (?1, ?2)")?;
                insert.execute(params![message_id, body])?;
                continue;
            }
        };
        if stored == 0 {
            let (queue, message_id) = (format!("{PREFIX}.{home}"), message_id.clone());
            return Err(PutError::Refused(PublishError::Unroutable { queue, message_id }));
        }
    }
    Ok(())
}

/// Takes out what is ready in a queue: `limit` messages at most, and no further one after `bytes` of bodies. Says as well
/// whether more may be ready.
pub(super) fn take(
    connection: &Connection,
    queue: i64,
    limit: usize,
    bytes: usize,
) -> rusqlite::Result<(Vec<Taken>, bool)> {
    let mut select = connection.prepare_cached(
        "SELECT place, message_id, attempt, traceparent, redeliveries, body FROM messages
         WHERE place > (SELECT taken FROM queues WHERE id = ?1) AND place < (?1 + 1) << 40 ORDER BY place LIMIT ?2",
    )?;
    let mut rows = select.query(params![queue, i64::try_from(limit).unwrap_or(i64::MAX)])?;
    let (mut taken, mut size) = (Vec::new(), 0);
    while size < bytes
        && let Some(row) = rows.next()?
    {
        let message = Taken {
            place: row.get(0)?,
            message_id: row.get(1)?,
            attempt: row.get(2)?,
            traceparent: row.get(3)?,
            redeliveries: row.get(4)?,
            body: row.get(5)?,
        };
        size += message.body.len();
        taken.push(message);
    }
    if let Some(last) = taken.last() {
        connection.prepare_cached("UPDATE queues SET taken = ?2 WHERE id = ?1")?.execute([queue, last.place])?;
    }
    let more = taken.len() >= limit || size >= bytes;
    Ok((taken, more))
}

/// The ids of these queues, which were declared.
pub(super) fn ids(connection: &Connection, names: &[String]) -> rusqlite::Result<Vec<i64>> {
    let mut select = connection.prepare_cached("SELECT id FROM queues WHERE name = ?1")?;
    names.iter().map(|name| select.query_row([name], |row| row.get(0))).collect()
}

/// Settles a message that was taken out.
pub(super) fn settle(connection: &Connection, place: i64, settlement: Settlement) -> rusqlite::Result<()> {
    match settlement {
        Settlement::Done => connection.prepare_cached("DELETE FROM messages WHERE place = ?1")?.execute([place]),
        Settlement::Back { counted } => connection
            .prepare_cached(
                "UPDATE messages SET
                     place = 1 + (SELECT last FROM queue_ends WHERE id = ?1 >> 40),
                     redeliveries = redeliveries + ?2
                 WHERE place = ?1",
            )?
            .execute(params![place, counted]),
    }
    .map(drop)
}

/// The names of queues where something is ready.
pub(super) fn ready(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut select = connection.prepare_cached("SELECT name FROM queue_ends WHERE last > taken")?;
    let names = select.query_map([], |row| row.get(0))?;
    names.collect()
}

/// What is due: what a message of the highest rung cannot be waiting for counts as well, since then the clock was set
/// back.
const DUE: &str = "(due_at <= ?1 OR due_at > ?1 + ?2)";

/// Whether a delayed message is due.
pub(super) fn is_due(connection: &Connection, now: i64) -> rusqlite::Result<bool> {
    let mut select = connection.prepare_cached(&format!("SELECT EXISTS (SELECT 1 FROM delayed WHERE {DUE})"))?;
    select.query_row([now, longest_wait()], |row| row.get(0))
}

/// Brings delayed messages home that are due, and says whether more may be.
pub(super) fn promote(connection: &Connection, now: i64) -> rusqlite::Result<bool> {
    let due = format!("SELECT number FROM delayed WHERE {DUE} ORDER BY due_at LIMIT {PROMOTED}");
    let run = |mut statement: CachedStatement<'_>| statement.execute([now, longest_wait()]);
    run(connection.prepare_cached(&format!(
        "INSERT INTO messages (place, message_id, attempt, traceparent, redeliveries, body)
         SELECT last + row_number() OVER (PARTITION BY queue ORDER BY due_at, number),
             message_id, attempt, traceparent, 0, body
         FROM delayed JOIN queue_ends ON id = queue WHERE number IN ({due})"
    ))?)?;
    let promoted = run(connection.prepare_cached(&format!("DELETE FROM delayed WHERE number IN ({due})"))?)?;
    Ok(promoted >= PROMOTED)
}

/// Counts what waits.
pub(super) fn depths(connection: &Connection, names: Vec<String>) -> rusqlite::Result<Depths> {
    // No place above `taken` is ever missing, so nothing has to be counted.
    let mut select = connection.prepare_cached("SELECT last - taken FROM queue_ends WHERE name = ?1")?;
    let queues = names
        .into_iter()
        .map(|name| {
            let ready = select.query_row([&name], count).optional()?;
            Ok((name, ready))
        })
        .collect::<rusqlite::Result<_>>()?;
    let delayed = connection.prepare_cached("SELECT count(*) FROM delayed")?.query_row([], count)?;
    Ok(Depths { queues, delayed })
}

/// Puts another body in the place of that of a message in the log of letters.
pub(super) fn replace_letter(connection: &Connection, number: i64, body: &[u8]) -> rusqlite::Result<()> {
    connection.execute("UPDATE letter_log SET body = ?2 WHERE number = ?1", params![number, body]).map(drop)
}

/// The number of the newest letter; 0 if there is none.
pub(super) fn newest_letter(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT ifnull(max(number), 0) FROM letter_log", [], |row| row.get(0))
}

/// Letters after one number up to another, oldest first: number, message id, body.
pub(super) fn letters(
    connection: &Connection,
    after: i64,
    newest: i64,
    limit: i64,
) -> rusqlite::Result<Vec<(i64, String, Vec<u8>)>> {
    let mut select = connection.prepare_cached(
        "SELECT number, message_id, body FROM letter_log WHERE number > ?1 AND number <= ?2 ORDER BY number LIMIT ?3",
    )?;
    let letters = select.query_map([after, newest, limit], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    letters.collect()
}

fn count(row: &Row<'_>) -> rusqlite::Result<u64> {
    row.get::<_, i64>(0).map(i64::unsigned_abs)
}

fn longest_wait() -> i64 {
    milliseconds(RUNGS[RUNGS.len() - 1].wait)
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
