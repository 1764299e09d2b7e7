//! The threads that have the connections: one writes, some read.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SendError};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rusqlite::Connection;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::leader::Leadership;
use super::{BUSY, DatabaseError, defect};
use crate::failpoint::hit;

/// Jobs in one transaction at most.
const GROUP: usize = 256;

/// After this long without work the write-ahead log is emptied, so that a file at rest is one file of its own size.
const IDLE: Duration = Duration::from_secs(2);

/// How long the writing thread waits for the reading ones before it closes the file.
const READERS_CLOSING: Duration = Duration::from_secs(3);

/// A job: does its part of the transaction, or hears why there is none, and leaves behind who is told of the end.
pub(super) type Job = Box<dyn FnOnce(Result<&Connection, DatabaseError>) -> Finish + Send>;
/// Tells whoever asked. An error is that of the whole transaction.
type Finish = Box<dyn FnOnce(Option<DatabaseError>) + Send>;

/// Where jobs are handed over. The threads end with the last of its clones, once they have done what was asked.
#[derive(Clone)]
pub(super) struct Queue(mpsc::Sender<Job>);

impl Queue {
    pub fn send(&self, job: Job) -> Result<(), SendError<Job>> {
        self.0.send(job)
    }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Queue")
    }
}

/// Starts the thread that writes. It keeps the process the working one until its last job is done, and closes its connection
/// after the `reading` ones: of two that close at once, each takes the other for somebody who works on, and the log stays
/// beside the file.
pub(super) fn writer(
    mut connection: Connection,
    leadership: Arc<Leadership>,
    reading: Receiver<()>,
    threads: &TaskTracker,
) -> Result<Queue, DatabaseError> {
    let (queue, jobs) = mpsc::channel();
    spawn("muster-file-writer", threads, move || {
        write_in_groups(&mut connection, &jobs);
        // Nothing is sent there: it ends with the last reader.
        reading.recv_timeout(READERS_CLOSING).ok();
        if let Err((_, error)) = connection.close() {
            debug!("The file was not closed in order: {error}");
        }
        drop(leadership);
    })?;
    Ok(Queue(queue))
}

/// Starts a thread that reads for each of these connections.
pub(super) fn readers(
    connections: Vec<Connection>,
    reading: &mpsc::Sender<()>,
    threads: &TaskTracker,
) -> Result<Queue, DatabaseError> {
    let (queue, jobs) = mpsc::channel();
    let jobs = Arc::new(Mutex::new(jobs));
    for connection in connections {
        connection.pragma_update(None, "query_only", true)?;
        let (jobs, reading) = (Arc::clone(&jobs), reading.clone());
        spawn("muster-file-reader", threads, move || {
            read_one_by_one(&connection, &jobs);
            drop(connection);
            drop(reading);
        })?;
    }
    Ok(Queue(queue))
}

/// What fails leaves no trace, and the others of its group go on.
pub(super) fn in_savepoint<T, E: From<DatabaseError>>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, E>,
) -> Result<T, E> {
    let run = |sql| connection.prepare_cached(sql).and_then(|mut it| it.execute([])).map_err(DatabaseError::from);
    run("SAVEPOINT job")?;
    let result = caught(|| work(connection));
    let mut ended = Ok(0);
    if result.is_err() && !connection.is_autocommit() {
        ended = run("ROLLBACK TO job");
    }
    if !connection.is_autocommit() {
        ended = ended.and_then(|_| run("RELEASE job"));
    }
    if ended.is_err() && !connection.is_autocommit() {
        // What it left cannot be told from what the others did, so all of it goes.
        roll_back(connection);
    }
    match connection.is_autocommit() {
        // The whole transaction was undone, this savepoint with it.
        true => result.and_then(|_| Err(undone().into())),
        false => result,
    }
}

/// Work that panics fails by itself: the thread goes on, and whoever asked hears of it.
pub(super) fn caught<T, E: From<DatabaseError>>(work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    // What it leaves half done is in the transaction and is rolled back.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(defect().into()))
}

fn write_in_groups(connection: &mut Connection, jobs: &Receiver<Job>) {
    let mut at_rest = true;
    loop {
        let first = match jobs.recv_timeout(IDLE) {
            Ok(job) => job,
            Err(RecvTimeoutError::Timeout) => {
                at_rest = at_rest || empty_the_log(connection);
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        };
        at_rest = false;
        write_group(connection, first, jobs);
    }
}

/// Does this job, and those that are already waiting, in one transaction.
fn write_group(connection: &Connection, first: Job, jobs: &Receiver<Job>) {
    if let Err(error) = connection.execute_batch("BEGIN IMMEDIATE") {
        // Each of the others tries for itself, when it is its turn.
        let error = DatabaseError::from(error);
        first(Err(error.clone()))(Some(error));
        return;
    }
    let mut done = vec![first(Ok(connection))];
    while done.len() < GROUP
        && !connection.is_autocommit()
        && let Ok(job) = jobs.try_recv()
    {
        done.push(job(Ok(connection)));
    }
    // On some errors (a full disk) SQLite undoes the whole transaction, and all that was done in it.
    let ended = match connection.is_autocommit() {
        true => Err(undone()),
        false => {
            hit("file.before_commit");
            connection.execute_batch("COMMIT").map_err(DatabaseError::from)
        }
    };
    hit("file.committed");
    if !connection.is_autocommit() {
        roll_back(connection);
    }
    let failed = ended.err();
    for finish in done {
        finish(failed.clone());
    }
}

fn roll_back(connection: &Connection) {
    if let Err(error) = connection.execute_batch("ROLLBACK") {
        // The next transaction cannot begin then, and says so to whoever asked for it.
        warn!("A transaction on the file could not be rolled back: {error}");
    }
}

pub(super) fn undone() -> DatabaseError {
    DatabaseError::Unavailable("the disk is full, or fails".to_owned())
}

/// Moves what is in the write-ahead log into the file; false if somebody still reads from it.
fn empty_the_log(connection: &Connection) -> bool {
    let emptied = connection.busy_timeout(Duration::ZERO).and_then(|()| {
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0).map(|busy| !busy))
    });
    if let Err(error) = connection.busy_timeout(BUSY) {
        warn!("The file no longer waits for others: {error}");
    }
    emptied.unwrap_or(false)
}

fn read_one_by_one(connection: &Connection, jobs: &Mutex<Receiver<Job>>) {
    loop {
        let job = jobs.lock().expect("nothing panics while the lock is held").recv();
        let Ok(job) = job else { return };
        // One transaction, so that all its questions see one state.
        if let Err(error) = connection.execute_batch("BEGIN") {
            let error = DatabaseError::from(error);
            job(Err(error.clone()))(Some(error));
            continue;
        }
        let finish = job(Ok(connection));
        // It has changed nothing, so nothing can be lost in its end.
        roll_back(connection);
        finish(None);
    }
}

fn spawn(name: &str, threads: &TaskTracker, work: impl FnOnce() + Send + 'static) -> Result<(), DatabaseError> {
    let running = threads.token();
    let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        work();
        drop(running);
    });
    spawned.map(drop).map_err(|error| DatabaseError::Unavailable(format!("no thread for the file: {error}")))
}
