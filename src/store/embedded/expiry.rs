//! What is old goes, at the same ages as in every store. A working process looks for it now and then, and each look
//! does a bounded piece, so that nobody waits for long behind it in the writer's queue.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rusqlite::Connection;

use super::{EmbeddedStore, milliseconds, runs, sql};
use crate::domain::retention::Retention;
use crate::domain::{ConnectionName, Timestamp};
use crate::store::StoreError;
use crate::store::acts::forget_old_acts;
use crate::store::retention::{HISTORY_ENTRIES, INSTANCE_TTL, JOURNAL_ENTRIES, REQUESTS_TTL, SUSPECT_TTL};

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
        let retention = self.retention;
        self.write(move |file, now| sweep(file, now, &retention, PIECE, JOURNAL_ENTRIES as i64)).await
    }

    /// See [`Store::expire`](crate::store::Store::expire). The rest goes with each [`beat`](crate::store::Store::beat).
    pub(super) async fn forget_old(&self, _: &ConnectionName) -> Result<(), StoreError> {
        forget_old_acts(self, self.retention.audit).await
    }
}

/// Takes away what is old, at most `piece` rows of each table; of the journal what is beyond `entries` as well.
fn sweep(file: &Connection, now: Timestamp, retention: &Retention, piece: i64, entries: i64) -> Result<(), StoreError> {
    let before = |age: Duration| now.0 - milliseconds(age);
    sql::run(file, "DELETE FROM instances WHERE seen_at < ?1", (before(INSTANCE_TTL),))?;
    sql::run(file, "DELETE FROM requests WHERE asked_at <= ?1", (before(REQUESTS_TTL),))?;
    sql::run(file, "DELETE FROM suspects WHERE last_at < ?1", (before(SUSPECT_TTL),))?;

    // The run itself goes last, so that what is left of it can be found.
    let expired = "SELECT place FROM runs WHERE expires_at <= ?1 ORDER BY expires_at LIMIT 10";
    for run in sql::all(file, expired, (now.0,), |row| Ok(row.get::<_, i64>(0)?))? {
        let marks = "DELETE FROM run_marks WHERE run = ?1 AND block IN \
                     (SELECT block FROM run_marks WHERE run = ?1 LIMIT ?2)";
        if sql::run(file, marks, (run, piece))? < piece as usize {
            runs::forget(file, run)?;
        }
    }

    // Entries lie in the order in which they were noted.
    let oldest = "DELETE FROM journal WHERE id IN \
                  (SELECT id FROM (SELECT id, noted_at FROM journal ORDER BY id LIMIT ?2) WHERE noted_at < ?1)";
    sql::run(file, oldest, (before(retention.conflicts), piece))?;
    for connection in sql::all(file, "SELECT id FROM connections", (), |row| Ok(row.get::<_, i64>(0)?))? {
        let beyond = "DELETE FROM journal WHERE id IN (SELECT id FROM journal WHERE connection = ?1 AND id <= \
                      (SELECT id FROM journal WHERE connection = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2) \
                      ORDER BY id LIMIT ?3)";
        sql::run(file, beyond, (connection, entries, piece))?;
        let beyond = "DELETE FROM history WHERE id IN (SELECT id FROM history WHERE connection = ?1 AND id <= \
                      (SELECT id FROM history WHERE connection = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2) \
                      ORDER BY id LIMIT ?3)";
        sql::run(file, beyond, (connection, HISTORY_ENTRIES as i64, piece))?;
    }
    let expired = "DELETE FROM history WHERE id IN (SELECT id FROM history WHERE expires_at <= ?1 LIMIT ?2)";
    sql::run(file, expired, (now.0, piece))?;
    // All of a run goes together, once its last entry is old.
    let expired = "DELETE FROM overwritten WHERE id IN (SELECT o.id FROM overwritten o WHERE o.expires_at <= ?1 AND NOT EXISTS \
                   (SELECT 1 FROM overwritten y WHERE y.connection = o.connection AND y.run = o.run AND y.expires_at > ?1) \
                   LIMIT ?2)";
    sql::run(file, expired, (now.0, piece))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 3_600_000;
    const NOW: Timestamp = Timestamp(1_000 * DAY);

    fn file() -> Connection {
        let file = Connection::open_in_memory().unwrap();
        file.execute_batch(include_str!("../../database/links.sql")).unwrap();
        file.execute_batch(include_str!("../../database/history.sql")).unwrap();
        file.execute_batch(include_str!("../../database/undo.sql")).unwrap();
        file.execute("INSERT INTO connections (id, name) VALUES (1, 'crm-scim'), (2, 'other')", []).unwrap();
        file
    }

    fn numbers(file: &Connection, sql: &str) -> Vec<i64> {
        sql::all(file, sql, (), |row| Ok(row.get(0)?)).unwrap()
    }

    #[test]
    fn what_is_old_goes_and_what_is_young_stays() {
        let file = file();
        let old_and_young = |insert: &str, days: i64| {
            for (id, age) in [(1, days * DAY + 1), (2, days * DAY - 1)] {
                file.execute(insert, (id, NOW.0 - age)).unwrap();
            }
        };
        old_and_young("INSERT INTO requests VALUES (1, CAST(?1 AS TEXT), ?2, '{}')", 7);
        old_and_young("INSERT INTO suspects VALUES (CAST(?1 AS TEXT), 1, ?2)", 1);
        old_and_young("INSERT INTO journal VALUES (?1, 1, 7, ?2, '{}')", 30);
        old_and_young("INSERT INTO history VALUES (?1, 1, ?2, '{}')", 0);
        old_and_young("INSERT INTO overwritten VALUES (?1, 1, CAST(?1 AS TEXT), ?2, '')", 0);
        old_and_young("INSERT INTO instances VALUES ('mapper', CAST(?1 AS TEXT), '1', ?2 + 86385000)", 1);
        let run = "INSERT INTO runs (place, connection, id, about, began_at, kept_ms, expires_at, reading_a, reading_b) \
                   VALUES (?1, 1, CAST(?1 AS TEXT), '{}', 1, 1, ?2, 0, 0)";
        old_and_young(run, 0);
        for run in [1, 2] {
            file.execute("INSERT INTO run_marks VALUES (?1, 0, x'01')", (run,)).unwrap();
            file.execute("INSERT INTO run_outcomes VALUES (?1, 'change', 'stale', 1)", (run,)).unwrap();
        }
        sweep(&file, NOW, &Retention::default(), PIECE, 10).unwrap();
        for table in ["requests", "suspects", "journal", "history", "overwritten", "runs", "run_marks", "run_outcomes"]
        {
            let left = numbers(&file, &format!("SELECT count(*) FROM {table}"));
            assert_eq!(left, [1], "{table}");
        }
        assert_eq!(numbers(&file, "SELECT CAST(name AS INTEGER) FROM instances"), [2]);
        assert_eq!(numbers(&file, "SELECT run FROM run_marks"), [2]);
    }

    #[test]
    fn each_look_does_a_piece_until_nothing_old_is_left() {
        let file = file();
        let run = "INSERT INTO runs (place, connection, id, about, began_at, kept_ms, expires_at, reading_a, reading_b) \
                   VALUES (1, 1, 'r1', '{}', 1, 1, 1, 0, 0)";
        file.execute(run, ()).unwrap();
        for id in 1..=5 {
            file.execute("INSERT INTO run_marks VALUES (1, ?1, x'01')", (id,)).unwrap();
            file.execute("INSERT INTO journal VALUES (?1, 1, 7, 1, '{}')", (id,)).unwrap();
        }
        for (marks, entries) in [(3, 3), (1, 1), (0, 0)] {
            sweep(&file, NOW, &Retention::default(), 2, 10).unwrap();
            assert_eq!(numbers(&file, "SELECT count(*) FROM run_marks"), [marks]);
            assert_eq!(numbers(&file, "SELECT count(*) FROM journal"), [entries]);
        }
        assert_eq!(numbers(&file, "SELECT count(*) FROM runs"), [0]);
    }

    #[test]
    fn the_journal_of_each_connection_keeps_its_newest() {
        let file = file();
        for id in 1..=9 {
            file.execute("INSERT INTO journal VALUES (?1, 1 + ?1 % 2, 7, ?2, '{}')", (id, NOW.0)).unwrap();
        }
        sweep(&file, NOW, &Retention::default(), PIECE, 3).unwrap();
        assert_eq!(numbers(&file, "SELECT id FROM journal ORDER BY id"), [4, 5, 6, 7, 8, 9]);
    }

    #[test]
    fn conflicts_are_kept_as_long_as_people_say() {
        let file = file();
        for days in [3, 2, 1] {
            file.execute("INSERT INTO journal VALUES (?1, 1, 7, ?2, '{}')", (10 - days, NOW.0 - days * DAY)).unwrap();
        }
        let conflicts = Duration::from_secs(2 * 24 * 3_600 + 1);
        sweep(&file, NOW, &Retention { conflicts, ..Retention::default() }, PIECE, 10).unwrap();
        assert_eq!(numbers(&file, "SELECT id FROM journal ORDER BY id"), [8, 9]);
    }
}
