//! The embedded mode's one file: an SQLite database that holds queues and links side by side.
//!
//! One thread writes. What many tasks ask of it within a moment is one transaction and one sync of the disk (group
//! commit); each of them hears of its own part only once that is durable. Reading goes on beside it, on connections of
//! its own. Other processes may open the same file: SQLite's locks keep their transactions apart.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode};
use tokio::sync::{mpsc, oneshot};

mod schema;

/// SQLite versions before this one can corrupt a WAL database that has several connections
/// (<https://sqlite.org/wal.html#walresetbug>).
const OLDEST_SQLITE: i32 = 3_051_003;

/// Jobs in one transaction at most.
const GROUP: usize = 256;

/// How long SQLite waits for another process to end its transaction.
const BUSY: Duration = Duration::from_secs(10);

/// Threads that read.
const READERS: usize = 2;

/// The file did not do what was asked of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseError {
    /// It is busy, full, read-only, or the disk fails. What was asked for did not happen.
    #[error("{0}")]
    Unavailable(String),
    /// It is no file of Muster, of a newer version, or damaged.
    #[error("{0}")]
    Unusable(String),
    /// This process closed it.
    #[error("the file was closed")]
    Closed,
}

impl From<rusqlite::Error> for DatabaseError {
    fn from(error: rusqlite::Error) -> Self {
        // SQLite's own text names tables, never what is in them.
        let text = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Self::Unusable(text),
            Some(ErrorCode::DiskFull) => Self::Unavailable("the disk is full".to_owned()),
            _ => Self::Unavailable(text),
        }
    }
}

/// A job for a thread: does its part of the transaction, and leaves behind who is told of the end.
type Job = Box<dyn FnOnce(&Connection) -> Finish + Send>;
/// Tells whoever asked. An error is that of the whole transaction.
type Finish = Box<dyn FnOnce(Option<DatabaseError>) + Send>;

/// An open file. Clones share it.
#[derive(Clone)]
pub struct Database {
    path: Arc<Path>,
    writer: mpsc::UnboundedSender<Job>,
    reader: mpsc::UnboundedSender<Job>,
}

impl Database {
    /// Opens the file, and makes it if it is not there.
    pub fn open(path: &Path) -> Result<Self, DatabaseError> {
        let sqlite = rusqlite::version_number();
        if sqlite < OLDEST_SQLITE {
            return Err(DatabaseError::Unusable(format!(
                "this program was built with SQLite {sqlite}, which is too old"
            )));
        }
        let mut writer = connect(path)?;
        schema::migrate(&mut writer)?;
        let (to_writer, jobs) = mpsc::unbounded_channel();
        spawn("muster-file-writer", move || write_in_groups(&writer, jobs))?;
        let (to_reader, jobs) = mpsc::unbounded_channel();
        let jobs = Arc::new(Mutex::new(jobs));
        for _ in 0..READERS {
            let (reader, jobs) = (connect(path)?, Arc::clone(&jobs));
            spawn("muster-file-reader", move || read_one_by_one(&reader, &jobs))?;
        }
        Ok(Self { path: path.into(), writer: to_writer, reader: to_reader })
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Does this whole or not at all, and returns once it is durable. It shares a transaction with what others ask at
    /// the same time, so it must not end one itself.
    pub async fn write<T, E>(&self, work: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DatabaseError> + Send + 'static,
    {
        ask(&self.writer, move |connection| in_savepoint(connection, work)).await
    }

    /// Reads one consistent state: nothing of a transaction that has not ended.
    pub async fn read<T, E>(&self, work: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DatabaseError> + Send + 'static,
    {
        ask(&self.reader, work).await
    }
}

/// Hands a job over and waits for its end.
async fn ask<T, E>(
    to: &mpsc::UnboundedSender<Job>,
    work: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
) -> Result<T, E>
where
    T: Send + 'static,
    E: From<DatabaseError> + Send + 'static,
{
    let (reply, answer) = oneshot::channel();
    let job: Job = Box::new(move |connection| {
        let result = work(connection);
        Box::new(move |failed: Option<DatabaseError>| {
            let result = failed.map_or(result, |error| Err(error.into()));
            // Whoever asked may have gone away.
            drop(reply.send(result));
        })
    });
    to.send(job).map_err(|_| DatabaseError::Closed)?;
    answer.await.unwrap_or_else(|_| Err(DatabaseError::Closed.into()))
}

/// What fails leaves no trace, and the others of its group go on.
fn in_savepoint<T, E: From<DatabaseError>>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, E>,
) -> Result<T, E> {
    let run = |sql| connection.prepare_cached(sql).and_then(|mut it| it.execute([])).map_err(DatabaseError::from);
    run("SAVEPOINT job")?;
    let result = work(connection);
    if result.is_err() {
        run("ROLLBACK TO job")?;
    }
    run("RELEASE job")?;
    result
}

fn write_in_groups(connection: &Connection, mut jobs: mpsc::UnboundedReceiver<Job>) {
    while let Some(first) = jobs.blocking_recv() {
        let mut done: Vec<Finish> = Vec::new();
        let began = connection.execute_batch("BEGIN IMMEDIATE");
        let mut next = Some(first);
        while let Some(job) = next {
            done.push(job(connection));
            next = if done.len() < GROUP { jobs.try_recv().ok() } else { None };
        }
        let ended = began.and_then(|()| connection.execute_batch("COMMIT"));
        let failed = ended.err().map(DatabaseError::from);
        if failed.is_some() && !connection.is_autocommit() {
            // Nothing of it was kept; the next group begins anew.
            drop(connection.execute_batch("ROLLBACK"));
        }
        for finish in done {
            finish(failed.clone());
        }
    }
}

fn read_one_by_one(connection: &Connection, jobs: &Mutex<mpsc::UnboundedReceiver<Job>>) {
    loop {
        let job = jobs.lock().expect("nothing panics while the lock is held").blocking_recv();
        let Some(job) = job else { return };
        // One transaction, so that all its questions see one state.
        let began = connection.execute_batch("BEGIN");
        let finish = job(connection);
        let ended = began.and_then(|()| connection.execute_batch("COMMIT"));
        if !connection.is_autocommit() {
            drop(connection.execute_batch("ROLLBACK"));
        }
        finish(ended.err().map(DatabaseError::from));
    }
}

fn connect(path: &Path) -> Result<Connection, DatabaseError> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    // FULL: a commit is on the disk when it returns. WAL: reading goes on while somebody writes.
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // A few hundred links lie on as many pages. 16 MiB keep them in memory until their commit, with what would undo a
    // job of it, and the log is moved into the file only when it has as much.
    connection.pragma_update(None, "cache_size", -16_384)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "wal_autocheckpoint", 4_000)?;
    connection.set_prepared_statement_cache_capacity(200);
    Ok(connection)
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), DatabaseError> {
    let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(work);
    spawned.map(drop).map_err(|error| DatabaseError::Unavailable(format!("no thread for the file: {error}")))
}
