//! The embedded mode's one file: an SQLite database that holds queues and links side by side.
//!
//! One thread writes. What many tasks ask of it within a moment is one transaction and one sync of the disk (group
//! commit); each of them hears of its own part only once that is durable. Reading goes on beside it, on connections of
//! its own.
//!
//! Other processes may open the same file, and read and write it: SQLite's locks keep their transactions apart. Only one
//! of them at a time takes messages out of the queues, see [`Database::lead`].
//!
//! The file belongs on a disk of this machine: SQLite's write-ahead log needs memory that all processes share. Beside it
//! lie `-wal` and `-shm`, which hold the latest transactions and go away when the last process closes the file, and
//! `.lock`, which stays. A plain copy of the file alone, made while a process works on it, lacks what is in `-wal` and may
//! be torn; [`Database::backup`] makes a whole one, at any time. A copy that is put in the file's place is an older state:
//! the one that `backup` made says so of itself, and any other is noticed by being another file to the machine; the store
//! then begins a new epoch. Only a plain copy that was written over the old file (`cp copy.db muster.db`) is not noticed:
//! whoever puts one back removes the old file first.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OpenFlags};
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;
use tracing::debug;

use leader::Leadership;
use threads::{Job, Queue};

mod backup;
mod leader;
mod schema;
mod threads;

/// SQLite versions before this one can corrupt a WAL database that has several connections
/// (<https://sqlite.org/wal.html#walresetbug>).
const OLDEST_SQLITE: i32 = 3_051_003;

/// How long SQLite waits for another process to end its transaction.
const BUSY: Duration = Duration::from_secs(10);

/// What is said of a file that another process keeps busy.
const KEPT_BUSY: &str = "another process keeps the file busy";

/// The wait before a file that was busy is opened again.
const OPENING_PAUSE: Duration = Duration::from_millis(20);

/// How long [`Database::close`] waits for what others in this process still do with the file.
const CLOSING: Duration = Duration::from_secs(5);

/// Threads that read.
const READERS: usize = 2;

/// The file did not do what was asked of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseError {
    /// It is busy, full, read-only, or the disk fails. What was asked for did not happen.
    #[error("{0}")]
    Unavailable(String),
    /// It is no file of Muster, of a newer version, damaged, or lies where it cannot work; or the program has a defect.
    /// What was asked for did not happen.
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
            Some(ErrorCode::DatabaseBusy) => Self::Unavailable(KEPT_BUSY.to_owned()),
            _ => Self::Unavailable(text),
        }
    }
}

/// An open file. Clones share it; it is closed with the last of them, once what was asked of it is done.
#[derive(Debug, Clone)]
pub struct Database {
    path: Arc<Path>,
    worked_before: bool,
    leadership: Arc<Leadership>,
    writer: Queue,
    reader: Queue,
    /// The threads, which end after their connections.
    threads: TaskTracker,
}

impl Database {
    /// Opens the file, and makes it, for its owner alone, if it is not there.
    ///
    /// # Errors
    /// It cannot be made or read, is not ours, or lies on a file system without write-ahead logs.
    pub fn open(path: &Path) -> Result<Self, DatabaseError> {
        let sqlite = rusqlite::version_number();
        if sqlite < OLDEST_SQLITE {
            return Err(DatabaseError::Unusable(format!(
                "this program was built with SQLite {sqlite}, which is too old"
            )));
        }
        let named = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let cannot = |error: std::io::Error| DatabaseError::Unavailable(named(&error));
        private(fs::OpenOptions::new().write(true).create(true)).open(path).map_err(cannot)?;
        // One name for the file, whatever links lead to it, so that all processes find the same lock.
        let path = fs::canonicalize(path).map_err(cannot)?;
        let lock = beside(&path, ".lock");
        let somebody_worked = lock.exists();
        let open = || {
            let (writer, is_new) = patiently(|| {
                let mut writer = connect(&path)?;
                let is_new = schema::migrate(&mut writer, somebody_worked)?;
                Ok((writer, is_new))
            })?;
            let worked_before = is_new && somebody_worked;
            let leadership = Arc::new(Leadership::new(lock));
            let threads = TaskTracker::new();
            let (reading, readers_ended) = std::sync::mpsc::channel();
            let to_writer = threads::writer(writer, Arc::clone(&leadership), readers_ended, &threads)?;
            let readers = (0..READERS).map(|_| patiently(|| connect(&path))).collect::<Result<_, _>>()?;
            let to_readers = threads::readers(readers, &reading, &threads)?;
            let path = path.as_path().into();
            Ok(Self { path, worked_before, leadership, writer: to_writer, reader: to_readers, threads })
        };
        open().map_err(|error| match error {
            DatabaseError::Unavailable(text) => DatabaseError::Unavailable(named(&text)),
            DatabaseError::Unusable(text) => DatabaseError::Unusable(named(&text)),
            DatabaseError::Closed => DatabaseError::Closed,
        })
    }

    /// Where the file is, all links followed.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file was not there, or empty, when it was opened, although a process has worked here before: somebody lost or
    /// removed it.
    pub fn worked_before(&self) -> bool {
        self.worked_before
    }

    /// Does this whole or not at all, and returns once it is durable. It shares a transaction with what others ask at
    /// the same time, so it must not end one itself. Once asked for it is done, also if nobody waits any more.
    pub async fn write<T, E>(&self, work: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DatabaseError> + Send + 'static,
    {
        ask(&self.writer, move |connection| threads::in_savepoint(connection, work)).await
    }

    /// Reads one consistent state: nothing of a transaction that has not ended. It cannot write.
    pub async fn read<T, E>(&self, work: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DatabaseError> + Send + 'static,
    {
        ask(&self.reader, work).await
    }

    /// Makes this process the one that works on the file, and returns at once if it is already. While another one does,
    /// it waits, and says so in the log; whoever stops waiting has taken nothing. The process stays the working one until
    /// the last clone is dropped, or it dies.
    ///
    /// What a process that died had taken out of the queues is put back first, each message's redelivery counted, and the
    /// leases of its readers end: no process but the working one has any.
    ///
    /// # Errors
    /// The lock file cannot be made, or the file cannot be written. It may be tried again.
    pub async fn lead(&self) -> Result<(), DatabaseError> {
        self.leadership.take(self).await
    }

    /// Whether a process takes messages out of the queues now, this one or another: what [`lead`](Self::lead) makes it.
    /// One that died does not, from that moment on.
    pub fn is_led(&self) -> bool {
        self.leadership.is_held()
    }

    /// Closes the file, and returns once all that was asked of it is done and it is closed: the last process to do so
    /// leaves one file, without `-wal` and `-shm`. Dropping the last clone closes it as well, but a process that ends just
    /// then may end first, and leave them. So it is for the end of a program, after everything that has a clone.
    pub async fn close(self) {
        let threads = self.threads.clone();
        drop(self);
        threads.close();
        if tokio::time::timeout(CLOSING, threads.wait()).await.is_err() {
            // It loses nothing by that: what was confirmed is on the disk.
            debug!("The file is still in use in this process and is not closed in order");
        }
    }

    /// Writes a whole copy of the file as it is now, while work goes on, and puts it in place of `to` in one step. The
    /// copy knows that it is one: when it is opened, the store begins a new epoch.
    ///
    /// # Errors
    /// `to` is a file that somebody works on, or cannot be written. What was there is unchanged.
    pub async fn backup(&self, to: &Path) -> Result<(), DatabaseError> {
        let (from, to) = (Arc::clone(&self.path), to.to_owned());
        let copied = tokio::task::spawn_blocking(move || backup::copy(&from, &to)).await;
        copied.unwrap_or_else(|_| Err(defect()))
    }

    /// Reads the file through and tells what is wrong with it; `None` if it is sound. Values are not compared with their
    /// indexes, which would take longer.
    ///
    /// # Errors
    /// It cannot be read at all.
    pub async fn damage(&self) -> Result<Option<String>, DatabaseError> {
        let check = |connection: &Connection| {
            connection
                .query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0))
                .map_err(DatabaseError::from)
        };
        Ok(Some(self.read(check).await?).filter(|said| said != "ok"))
    }

    /// Rewrites the file whole, so that nothing that was deleted or replaced is left in free parts of it, or in `-wal`. It
    /// takes about as long as a copy, and whoever writes waits meanwhile.
    ///
    /// # Errors
    /// Somebody else keeps the file busy, or the disk has no room for it twice. Nothing is lost, and it may be tried again.
    pub async fn rewrite(&self) -> Result<(), DatabaseError> {
        let path = Arc::clone(&self.path);
        let rewritten = tokio::task::spawn_blocking(move || patiently(|| rewrite(&path))).await;
        rewritten.unwrap_or_else(|_| Err(defect()))
    }
}

/// Rewrites the file, so that nothing that was erased or replaced is left in free parts of it or of its log.
fn rewrite(path: &Path) -> Result<(), DatabaseError> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.busy_timeout(BUSY)?;
    connection.execute_batch("VACUUM")?;
    // The log has what the file is to become, and what it was.
    let is_busy = |row: &rusqlite::Row<'_>| row.get::<_, bool>(0);
    match connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], is_busy)? {
        false => Ok(()),
        true => Err(DatabaseError::Unavailable(KEPT_BUSY.to_owned())),
    }
}

/// Hands a job over and waits for its end.
async fn ask<T, E>(to: &Queue, work: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: From<DatabaseError> + Send + 'static,
{
    let (reply, answer) = oneshot::channel();
    let job: Job = Box::new(move |connection| {
        let result = match connection {
            Ok(connection) => threads::caught(|| work(connection)),
            Err(error) => Err(error.into()),
        };
        Box::new(move |failed: Option<DatabaseError>| {
            // What failed by itself knows better why.
            let result = result.and_then(|done| failed.map_or(Ok(done), |error| Err(error.into())));
            // Whoever asked may have gone away.
            drop(reply.send(result));
        })
    });
    to.send(job).map_err(|_| DatabaseError::Closed)?;
    answer.await.unwrap_or_else(|_| Err(DatabaseError::Closed.into()))
}

/// Tries again while another process opens or closes the file: SQLite does not wait by itself where it sets up the log or
/// folds it in.
fn patiently<T>(attempt: impl Fn() -> Result<T, DatabaseError>) -> Result<T, DatabaseError> {
    let until = Instant::now() + BUSY;
    loop {
        match attempt() {
            Err(DatabaseError::Unavailable(text)) if text == KEPT_BUSY && Instant::now() < until => {
                std::thread::sleep(OPENING_PAUSE);
            }
            other => return other,
        }
    }
}

fn connect(path: &Path) -> Result<Connection, DatabaseError> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    keep_a_log(&connection)?;
    // A commit is on the disk when it returns; `fullfsync` says so to macOS.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "fullfsync", true)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // A few hundred links lie on as many pages. 16 MiB keep them in memory until their commit, with what would undo a
    // job of it, and the log is moved into the file only when it has as much.
    connection.pragma_update(None, "cache_size", -16_384)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "wal_autocheckpoint", 4_000)?;
    connection.set_prepared_statement_cache_capacity(200);
    Ok(connection)
}

/// With a write-ahead log, reading goes on while somebody writes.
fn keep_a_log(connection: &Connection) -> Result<(), DatabaseError> {
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode.eq_ignore_ascii_case("wal") {
        return Ok(());
    }
    Err(DatabaseError::Unusable(format!(
        "the file cannot have a write-ahead log where it is (journal mode {mode}); it belongs on a disk of this machine, \
         not on a network file system"
    )))
}

/// The file's path with something appended to its name.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Whatever these options create is for its owner alone.
fn private(options: &mut fs::OpenOptions) -> &mut fs::OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

/// A job panicked, which was logged where it happened.
fn defect() -> DatabaseError {
    DatabaseError::Unusable("a defect of this program stopped work on the file, see the log above".to_owned())
}

#[cfg(test)]
mod tests;
