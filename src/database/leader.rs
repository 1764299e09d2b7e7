//! One working process a file: whoever takes messages out of its queues holds a lock on the file beside it. The lock
//! ends with its process, however that ends, so it also tells at once whether anybody works.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::time::sleep;
use tracing::info;

use super::{Database, DatabaseError, private};
use crate::failpoint::hit;

/// Puts what a dead process had out back into its queues.
const TAKE_OVER: &str = include_str!("take_over.sql");

/// Ends the leases of its readers, which are gone with it: whoever comes next need not wait until they run out. (A lease
/// on a link stays, since a request that the dead process sent may still land.)
const END_LEASES: &str = "DELETE FROM leases";

/// Nobody else works any more, whoever was heard of a moment ago.
const FORGET_OTHERS: &str = "DELETE FROM instances";

/// The wait before the lock is tried again. Waiting within `flock` could not be given up.
const PAUSE: Duration = Duration::from_millis(100);

/// Refusals in a row after which it is told that somebody else works.
const TELLING: u64 = 1;

/// The lock, held or not.
#[derive(Debug)]
pub(super) struct Leadership {
    path: PathBuf,
    held: OnceCell<Arc<File>>,
}

impl Leadership {
    pub fn new(path: PathBuf) -> Self {
        Self { path, held: OnceCell::new() }
    }

    /// See [`Database::lead`].
    pub async fn take(&self, database: &Database) -> Result<(), DatabaseError> {
        let take = async || {
            let file = Arc::new(self.lock().await?);
            hit("file.locked");
            // The job holds the lock as well: it may run on after this future was dropped, and must not do so beside
            // another working process.
            let held = Arc::clone(&file);
            database
                .write(move |connection| {
                    let taken_over = [TAKE_OVER, END_LEASES, FORGET_OTHERS]
                        .iter()
                        .try_for_each(|step| connection.execute_batch(step));
                    drop(held);
                    taken_over.map_err(DatabaseError::from)
                })
                .await?;
            hit("file.took_over");
            Ok(file)
        };
        self.held.get_or_try_init(take).await.map(drop)
    }

    /// See [`Database::is_led`].
    pub fn is_held(&self) -> bool {
        if self.held.initialized() {
            return true;
        }
        // Without the file nobody has ever worked. The lock is shared, so that two who look do not take each other for a
        // working process.
        let look = File::open(&self.path).map(|file| file.try_lock_shared());
        matches!(look, Ok(Err(TryLockError::WouldBlock)))
    }

    async fn lock(&self) -> Result<File, DatabaseError> {
        let cannot = |error: io::Error| DatabaseError::Unavailable(format!("{}: {error}", self.path.display()));
        let open = || private(OpenOptions::new().read(true).write(true).create(true)).open(&self.path);
        let mut file = open().map_err(cannot)?;
        let mut refusals = 0_u64;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => {
                    // Whoever only looks holds the lock for a moment: see `is_held`.
                    if refusals == TELLING {
                        info!("Another process{} works on this file, waiting for its end", owner(&mut file));
                    }
                    refusals += 1;
                    sleep(PAUSE).await;
                }
                Err(TryLockError::Error(error)) => return Err(cannot(error)),
            }
        }
        if refusals > TELLING {
            info!("The other process ended, working on the file from here on");
        }
        // For whoever waits next. The lock counts, not this note, so it may fail.
        drop(note_owner(&mut file));
        Ok(file)
    }
}

fn note_owner(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

/// The working process, as it calls itself.
fn owner(file: &mut File) -> String {
    let mut note = String::new();
    match file.read_to_string(&mut note) {
        Ok(_) if note.trim().parse::<u32>().is_ok() => format!(" (process {})", note.trim()),
        _ => String::new(),
    }
}
