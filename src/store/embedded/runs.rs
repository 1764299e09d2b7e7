//! Runs and their counts, and the requests for runs.

use rusqlite::{Connection, Params};

use super::books::Books;
use super::memory::{home, known, known_in, number};
use super::{EmbeddedStore, milliseconds, quantity, readers, schedules, sql};
use crate::domain::retention::Retention;
use crate::domain::{ChangeOutcome, CommandOutcome, ConnectionName, Epoch, RunId, Side, Sides, Token};
use crate::store::retention::{REQUESTS_TTL, RUNS_KEPT};
use crate::store::{LeaseName, ReaderState, Run, RunKind, StoreError, SyncRequest};

/// Changes a run that has not expired, and lets it live its time anew: connection, run and now come first, and whatever
/// the assignments name after.
macro_rules! amend {
    ($assignments:literal) => {
        concat!(
            "UPDATE runs SET expires_at = ?3 + kept_ms, ",
            $assignments,
            " WHERE connection = ?1 AND id = ?2 AND expires_at > ?3"
        )
    };
}
macro_rules! select {
    ($condition:literal) => {
        concat!(
            "SELECT place, about, reading_a, reading_b, read, emitted, expected, failed FROM runs WHERE ",
            $condition
        )
    };
}
impl EmbeddedStore {
    /// See [`Store::begin_run`](crate::store::Store::begin_run).
    pub(super) async fn start_run(&self, connection: &ConnectionName, run: &Run) -> Result<bool, StoreError> {
        let (name, run) = (connection.clone(), run.clone());
        let Retention { runs, live_runs, .. } = self.retention;
        self.write(move |file, now| {
            let connection = home(file, &name)?;
            let expired = "SELECT place FROM runs WHERE connection = ?1 AND id = ?2 AND expires_at <= ?3";
            let expired =
                sql::one(file, expired, (connection, run.id.as_str(), now.0), |row| Ok(row.get::<_, i64>(0)?))?;
            if let Some(place) = expired {
                forget(file, place)?;
            }
            let known = "SELECT 1 FROM runs WHERE connection = ?1 AND id = ?2";
            if sql::one(file, known, (connection, run.id.as_str()), |_| Ok(()))?.is_some()
                || !schedules::serve(file, connection, run.slot)?
            {
                return Ok(false);
            }
            let kept = milliseconds(if run.kind == RunKind::Live { live_runs } else { runs });
            // The counts begin at nothing: they belong to the numbers that the store gives out.
            let about = Run { read: 0, changes: Vec::new(), emitted: 0, commands: Vec::new(), ..run };
            sql::run(
                file,
                "INSERT INTO runs \
                 (connection, id, about, began_at, kept_ms, expires_at, reading_a, reading_b, expected, failed) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
                (
                    connection,
                    about.id.as_str(),
                    super::json(&about),
                    about.began_at.0,
                    kept,
                    now.0.saturating_add(kept),
                    about.reading.a,
                    about.reading.b,
                    about.expected.map(quantity),
                    about.failed,
                ),
            )?;
            Ok(true)
        })
        .await
    }

    /// See [`Store::end_reading`](crate::store::Store::end_reading).
    pub(super) async fn stop_reading(
        &self,
        connection: &ConnectionName,
        run: &RunId,
        side: Side,
        failed: Option<&str>,
    ) -> Result<(), StoreError> {
        let (name, run, failed) = (connection.clone(), run.clone(), failed.map(ToOwned::to_owned));
        // The first reason is the one that explains the others.
        let amend = match side {
            Side::A => amend!("reading_a = 0, failed = coalesce(failed, ?4)"),
            Side::B => amend!("reading_b = 0, failed = coalesce(failed, ?4)"),
        };
        self.write(move |file, now| {
            let Some(connection) = number(file, &name)? else { return Ok(()) };
            sql::run(file, amend, (connection, run.as_str(), now.0, failed)).map(drop)
        })
        .await
    }

    /// See [`Store::expect`](crate::store::Store::expect).
    pub(super) async fn add_expected(
        &self,
        connection: &ConnectionName,
        run: &RunId,
        accounts: u64,
    ) -> Result<(), StoreError> {
        let (name, run) = (connection.clone(), run.clone());
        let accounts = quantity(accounts);
        self.write(move |file, now| {
            let Some(connection) = number(file, &name)? else { return Ok(()) };
            let amend = amend!("expected = coalesce(expected, 0) + ?4");
            sql::run(file, amend, (connection, run.as_str(), now.0, accounts)).map(drop)
        })
        .await
    }

    /// See [`Store::reserve`](crate::store::Store::reserve).
    pub(super) async fn reserve_numbers(
        &self,
        connection: &ConnectionName,
        run: &RunId,
        count: u32,
        reader: Option<(Epoch, Side, Token, &ReaderState)>,
    ) -> Result<Option<u32>, StoreError> {
        let (name, run) = (connection.clone(), run.clone());
        let reader = reader.map(|(epoch, side, token, state)| (epoch, side, token, state.clone()));
        self.write(move |file, now| {
            let known = match &reader {
                Some((epoch, ..)) => known_in(file, &name, *epoch)?,
                None => known(file, &name)?,
            };
            if let Some((_, side, token, _)) = &reader
                && !readers::holds(file, known.connection, &LeaseName::Reader(*side), *token, now)?
            {
                return Ok(None);
            }
            let given_out = "SELECT read FROM runs WHERE connection = ?1 AND id = ?2 AND expires_at > ?3";
            let first = sql::one(file, given_out, (known.connection, run.as_str(), now.0), |row| Ok(row.get(0)?))?;
            let Some(first): Option<u32> = first else { return Ok(None) };
            if first.checked_add(count).is_none() {
                return Err(StoreError::Unusable(format!("run {run} of connection {name} has no more numbers")));
            }
            sql::run(file, amend!("read = read + ?4"), (known.connection, run.as_str(), now.0, count))?;
            if let Some((_, side, _, mut state)) = reader {
                if let Some(active) = &mut state.active {
                    active.reserved = Some((first, count));
                }
                readers::put(file, &known, side, &state)?;
            }
            Ok(Some(first))
        })
        .await
    }

    /// See [`Store::reserve_up_to`](crate::store::Store::reserve_up_to).
    pub(super) async fn reserve_numbers_up_to(
        &self,
        connection: &ConnectionName,
        run: &RunId,
        count: u32,
    ) -> Result<bool, StoreError> {
        let (name, run) = (connection.clone(), run.clone());
        self.write(move |file, now| {
            let connection = known(file, &name)?.connection;
            let up_to = amend!("read = max(read, ?4)");
            Ok(sql::run(file, up_to, (connection, run.as_str(), now.0, count))? > 0)
        })
        .await
    }

    /// See [`Store::abandon`](crate::store::Store::abandon).
    pub(super) async fn abandon_numbers(
        &self,
        connection: &ConnectionName,
        run: &RunId,
        (first, count): (u32, u32),
    ) -> Result<(), StoreError> {
        let (name, run) = (connection.clone(), run.clone());
        self.write(move |file, now| {
            let Some(connection) = number(file, &name)? else { return Ok(()) };
            let mut books = Books::open(file, connection, now);
            books.abandon(&run, first, count)?;
            books.close()
        })
        .await
    }

    /// See [`Store::run`](crate::store::Store::run).
    pub(super) async fn one_run(&self, connection: &ConnectionName, run: &RunId) -> Result<Option<Run>, StoreError> {
        let (name, run) = (connection.clone(), run.clone());
        self.read(move |file, now| {
            let Some(connection) = number(file, &name)? else { return Ok(None) };
            let one = select!("connection = ?1 AND expires_at > ?2 AND id = ?3");
            Ok(read_runs(file, &name, one, (connection, now.0, run.as_str()))?.pop())
        })
        .await
    }

    /// See [`Store::runs`](crate::store::Store::runs).
    pub(super) async fn latest_runs(&self, connection: &ConnectionName, limit: usize) -> Result<Vec<Run>, StoreError> {
        let name = connection.clone();
        self.read(move |file, now| {
            let Some(connection) = number(file, &name)? else { return Ok(Vec::new()) };
            let latest = select!("connection = ?1 AND expires_at > ?2 ORDER BY began_at DESC, id DESC LIMIT ?3");
            read_runs(file, &name, latest, (connection, now.0, limit.min(RUNS_KEPT) as i64))
        })
        .await
    }

    /// See [`Store::request`](crate::store::Store::request).
    pub(super) async fn add_request(
        &self,
        connection: &ConnectionName,
        request: &SyncRequest,
    ) -> Result<(), StoreError> {
        let (name, request) = (connection.clone(), request.clone());
        self.write(move |file, now| {
            let connection = home(file, &name)?;
            sql::run(
                file,
                "INSERT OR IGNORE INTO requests VALUES (?1, ?2, ?3, ?4)",
                (connection, request.run.as_str(), now.0, super::json(&request)),
            )?;
            Ok(())
        })
        .await
    }

    /// See [`Store::requests`](crate::store::Store::requests).
    pub(super) async fn open_requests(&self, connection: &ConnectionName) -> Result<Vec<SyncRequest>, StoreError> {
        let name = connection.clone();
        self.read(move |file, now| {
            let Some(connection) = number(file, &name)? else { return Ok(Vec::new()) };
            let open = "SELECT request FROM requests WHERE connection = ?1 AND asked_at > ?2 ORDER BY asked_at, run";
            sql::all(file, open, (connection, (now - REQUESTS_TTL).0), |row| {
                serde_json::from_str(&row.get::<_, String>(0)?)
                    .map_err(|_| StoreError::Unusable(format!("connection {name}: a request for a run is unreadable")))
            })
        })
        .await
    }

    /// See [`Store::request_done`](crate::store::Store::request_done).
    pub(super) async fn drop_request(&self, connection: &ConnectionName, run: &RunId) -> Result<(), StoreError> {
        let (name, run) = (connection.clone(), run.clone());
        self.write(move |file, _| {
            let Some(connection) = number(file, &name)? else { return Ok(()) };
            let done = "DELETE FROM requests WHERE connection = ?1 AND run = ?2";
            sql::run(file, done, (connection, run.as_str())).map(drop)
        })
        .await
    }
}

fn read_runs(
    file: &Connection,
    name: &ConnectionName,
    select: &str,
    params: impl Params,
) -> Result<Vec<Run>, StoreError> {
    sql::all(file, select, params, |row| {
        let place: i64 = row.get(0)?;
        let about: Run = serde_json::from_str(&row.get::<_, String>(1)?)
            .map_err(|_| StoreError::Unusable(format!("a run of connection {name} is unreadable")))?;
        let counted = "SELECT outcome, count FROM run_outcomes WHERE run = ?1 AND kind = ?2";
        let counted = |kind: &str| -> Result<Vec<(String, u32)>, StoreError> {
            sql::all(file, counted, (place, kind), |row| Ok((row.get(0)?, row.get(1)?)))
        };
        let (changes, commands) = (counted("change")?, counted("command")?);
        let count = |counts: &[(String, u32)], word: &str| {
            counts.iter().find(|(outcome, _)| outcome == word).map_or(0, |(_, count)| *count)
        };
        let changes = ChangeOutcome::ALL.iter().map(|outcome| (*outcome, count(&changes, outcome.as_str())));
        let commands = CommandOutcome::ALL.iter().map(|outcome| (*outcome, count(&commands, outcome.as_str())));
        Ok(Run {
            reading: Sides { a: row.get(2)?, b: row.get(3)? },
            read: row.get(4)?,
            emitted: row.get(5)?,
            expected: row.get::<_, Option<i64>>(6)?.map(i64::unsigned_abs),
            changes: changes.filter(|(_, count)| *count > 0).collect(),
            commands: commands.filter(|(_, count)| *count > 0).collect(),
            failed: row.get(7)?,
            ..about
        })
    })
}

/// Forgets a run with all that was counted of it.
pub(super) fn forget(file: &Connection, place: i64) -> Result<(), StoreError> {
    sql::run(file, "DELETE FROM run_marks WHERE run = ?1", (place,))?;
    sql::run(file, "DELETE FROM run_outcomes WHERE run = ?1", (place,))?;
    sql::run(file, "DELETE FROM runs WHERE place = ?1", (place,)).map(drop)
}
