//! What is old goes, at the same ages as in every store. A working process looks for it now and then, and each look
//! does a bounded piece, so that nobody waits for long behind it in the writer's queue.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rusqlite::Connection;

use super::{EmbeddedStore, milliseconds, sql};
use crate::domain::Timestamp;
use crate::store::StoreError;
use crate::store::retention::{INSTANCE_TTL, JOURNAL_ENTRIES, JOURNAL_TTL, REQUESTS_TTL, SUSPECT_TTL};

/// How often a process looks.
const EVERY: Duration = Duration::from_secs(30);
/// Rows of one table that a look takes away at most.
const PIECE: i64 = 1_000;

impl EmbeddedStore {
    /// Forgets a piece of what is old, if this process has not looked for it for a while.
    pub(super) async fn sweep_if_due(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let last = self.swept_at.load(Ordering::Relaxed);
        if now.since(Timestamp(last)) < EVERY
            || self.swept_at.compare_exchange(last, now.0, Ordering::Relaxed, Ordering::Relaxed).is_err()
        {
            return Ok(());
        }
        self.write(|file, now| sweep(file, now, PIECE, JOURNAL_ENTRIES as i64)).await
    }
}

/// Takes away what is old, at most `piece` rows of each table; of the journal what is beyond `entries` as well.
fn sweep(file: &Connection, now: Timestamp, piece: i64, entries: i64) -> Result<(), StoreError> {
    let before = |age: Duration| now.0 - milliseconds(age);
    sql::run(file, "DELETE FROM instances WHERE seen_at < ?1", (before(INSTANCE_TTL),))?;
    sql::run(file, "DELETE FROM requests WHERE asked_at <= ?1", (before(REQUESTS_TTL),))?;
    sql::run(file, "DELETE FROM suspects WHERE last_at < ?1", (before(SUSPECT_TTL),))?;

    // The run itself goes last, so that what is left of it can be found.
    let expired = "SELECT place FROM runs WHERE expires_at <= ?1 ORDER BY expires_at LIMIT 10";
    for run in sql::all(file, expired, (now.0,), |row| Ok(row.get::<_, i64>(0)?))? {
        let marks = "DELETE FROM marks WHERE run = ?1 AND block IN \
                     (SELECT block FROM marks WHERE run = ?1 LIMIT ?2)";
        if sql::run(file, marks, (run, piece))? < piece as usize {
            sql::run(file, "DELETE FROM outcomes WHERE run = ?1", (run,))?;
            sql::run(file, "DELETE FROM runs WHERE place = ?1", (run,))?;
        }
    }

    // Entries lie in the order in which they were noted.
    let oldest = "DELETE FROM journal WHERE id IN \
                  (SELECT id FROM (SELECT id, noted_at FROM journal ORDER BY id LIMIT ?2) WHERE noted_at < ?1)";
    sql::run(file, oldest, (before(JOURNAL_TTL), piece))?;
    for connection in sql::all(file, "SELECT id FROM connections", (), |row| Ok(row.get::<_, i64>(0)?))? {
        let beyond = "DELETE FROM journal WHERE id IN (SELECT id FROM journal WHERE connection = ?1 AND id <= \
                      (SELECT id FROM journal WHERE connection = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2) \
                      ORDER BY id LIMIT ?3)";
        sql::run(file, beyond, (connection, entries, piece))?;
    }
    Ok(())
}
