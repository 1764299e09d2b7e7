//! The file's memory of a connection. The file is durable, so that memory outlives processes and machines; it ends
//! where the file is not the one that was written last: a backup that was restored, or a copy that somebody made.

use std::fs;
use std::path::Path;
use std::time::UNIX_EPOCH;

use rusqlite::Connection;

use super::clock::Clock;
use super::{EmbeddedStore, signed, sql};
use crate::database::Database;
use crate::domain::retention::Retention;
use crate::domain::{ConnectionName, Epoch, Timestamp};
use crate::store::{EpochState, StoreError};

/// The rows of `meta` that the links know: see `src/database/queues.sql`.
const FILE: &str = "file";
const RESTORED: &str = "restored";
const WORKED_BEFORE: &str = "worked_before";

/// A connection as the file knows it.
pub(super) struct Known {
    /// Its number in the other tables.
    pub(super) connection: i64,
    pub(super) epoch: Epoch,
}

impl EmbeddedStore {
    /// Opens the store in a file. Every connection begins a new epoch if the file is a restored backup, or a copy.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] if the file cannot be written, [`StoreError::Unusable`] if it cannot be read.
    pub async fn open(database: &Database) -> Result<Self, StoreError> {
        let file_id = file_id(database.path())
            .map_err(|error| StoreError::Unavailable(format!("the file cannot be looked at: {error}")))?;
        let untouched = database.write(move |file| take_over(file, &file_id)).await?;
        Ok(Self {
            database: database.clone(),
            clock: std::sync::Arc::new(Clock::default()),
            untouched,
            swept_at: std::sync::Arc::default(),
            retention: Retention::default(),
        })
    }

    /// Opens the store in a file only to look at it: nothing is noted there. Tells as well whether a process that came to
    /// work on it would begin new epochs, since the file is a restored backup, or a copy.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] if the file cannot be read, [`StoreError::Unusable`] if it is not ours.
    pub async fn look(database: &Database) -> Result<(Self, bool), StoreError> {
        let file_id = file_id(database.path())
            .map_err(|error| StoreError::Unavailable(format!("the file cannot be looked at: {error}")))?;
        let is_other = database.read(move |file| is_other(file, &file_id)).await?;
        let (clock, swept_at) = (std::sync::Arc::default(), std::sync::Arc::default());
        let retention = Retention::default();
        Ok((Self { database: database.clone(), clock, untouched: false, swept_at, retention }, is_other))
    }

    /// See [`Store::epoch`](crate::store::Store::epoch).
    pub(super) async fn current_epoch(&self, connection: &ConnectionName) -> Result<EpochState, StoreError> {
        let name = connection.clone();
        let kept = self.read(move |file, now| epoch_in(file, &name, now)).await?;
        if let Some(state) = kept {
            return Ok(state);
        }
        let (name, untouched) = (connection.clone(), self.untouched);
        self.write(move |file, now| {
            // Somebody else may have been faster.
            if let Some(state) = epoch_in(file, &name, now)? {
                return Ok(state);
            }
            let (id, epoch) = (home(file, &name)?, Epoch(fastrand::u64(..)));
            let began_at = if untouched { Timestamp(0) } else { now };
            sql::run(
                file,
                "UPDATE connections SET epoch = ?2, began_at = ?3 WHERE id = ?1",
                (id, signed(epoch.0), began_at.0),
            )?;
            if !untouched {
                tracing::warn!(connection = %name, %epoch, "Began a new memory of connection {name}: both sides are read again");
            }
            Ok(EpochState { id: epoch, began_at, now })
        })
        .await
    }
}

/// Makes the file this one's, and tells whether nobody worked with it before.
fn take_over(file: &Connection, file_id: &str) -> Result<bool, StoreError> {
    let last: Option<String> =
        sql::one(file, "SELECT value FROM meta WHERE name = ?1", (FILE,), |row| Ok(row.get(0)?))?;
    let restored = sql::run(file, "DELETE FROM meta WHERE name = ?1", (RESTORED,))? > 0;
    let lost = restored || last.as_deref().is_some_and(|last| last != file_id);
    if lost {
        sql::run(file, "UPDATE connections SET epoch = NULL", ())?;
        tracing::warn!("The file is a copy or a restored backup: both sides of every connection are read again");
    }
    if last.as_deref() != Some(file_id) {
        sql::run(
            file,
            "INSERT INTO meta VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = excluded.value",
            (FILE, file_id),
        )?;
    }
    let worked = "SELECT EXISTS (SELECT 1 FROM connections WHERE began_at IS NOT NULL) \
                  OR EXISTS (SELECT 1 FROM meta WHERE name = ?1)";
    Ok(!lost && sql::count(file, worked, (WORKED_BEFORE,))? == 0)
}

/// Whether [`take_over`] would find that this is another file than the one that was opened last.
fn is_other(file: &Connection, file_id: &str) -> Result<bool, StoreError> {
    let last: Option<String> =
        sql::one(file, "SELECT value FROM meta WHERE name = ?1", (FILE,), |row| Ok(row.get(0)?))?;
    let restored = sql::count(file, "SELECT EXISTS (SELECT 1 FROM meta WHERE name = ?1)", (RESTORED,))? > 0;
    Ok(restored || last.is_some_and(|last| last != file_id))
}

/// Names the file itself, whatever it is called: what a copy of it does not share.
fn file_id(path: &Path) -> std::io::Result<String> {
    use std::os::unix::fs::MetadataExt;
    let meta = fs::metadata(path)?;
    // The number of a device may change when the machine starts again, so the time at which the file was made is the
    // better second half, where the file system has it.
    let made_at = meta.created().ok().and_then(|made_at| made_at.duration_since(UNIX_EPOCH).ok());
    Ok(match made_at {
        Some(made_at) => format!("inode {} made {}", meta.ino(), made_at.as_nanos()),
        None => format!("inode {} device {}", meta.ino(), meta.dev()),
    })
}

fn epoch_in(file: &Connection, name: &ConnectionName, now: Timestamp) -> Result<Option<EpochState>, StoreError> {
    let find = "SELECT epoch, began_at FROM connections WHERE name = ?1 AND epoch IS NOT NULL";
    sql::one(file, find, (name.as_str(),), |row| {
        Ok(EpochState { id: Epoch(row.get::<_, i64>(0)?.cast_unsigned()), began_at: Timestamp(row.get(1)?), now })
    })
}

/// The connection, whose memory must be there.
pub(super) fn known(file: &Connection, name: &ConnectionName) -> Result<Known, StoreError> {
    let find = "SELECT id, epoch FROM connections WHERE name = ?1 AND epoch IS NOT NULL";
    let found = sql::one(file, find, (name.as_str(),), |row| {
        Ok(Known { connection: row.get(0)?, epoch: Epoch(row.get::<_, i64>(1)?.cast_unsigned()) })
    })?;
    found.ok_or_else(|| StoreError::EpochChanged(name.clone()))
}

/// The connection, whose memory must be that of `epoch`.
pub(super) fn known_in(file: &Connection, name: &ConnectionName, epoch: Epoch) -> Result<Known, StoreError> {
    let known = known(file, name)?;
    if known.epoch == epoch { Ok(known) } else { Err(StoreError::EpochChanged(name.clone())) }
}

/// The connection's number, if anything was ever noted of it.
pub(super) fn number(file: &Connection, name: &ConnectionName) -> Result<Option<i64>, StoreError> {
    sql::one(file, "SELECT id FROM connections WHERE name = ?1", (name.as_str(),), |row| Ok(row.get(0)?))
}

/// The connection's number; gives it one if it has none yet.
pub(super) fn home(file: &Connection, name: &ConnectionName) -> Result<i64, StoreError> {
    if let Some(connection) = number(file, name)? {
        return Ok(connection);
    }
    sql::run(file, "INSERT INTO connections (name) VALUES (?1)", (name.as_str(),))?;
    Ok(file.last_insert_rowid())
}
