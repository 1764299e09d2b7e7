//! A whole copy of the file, made while work goes on.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::{BUSY, DatabaseError, beside, private};

/// Copies the file and puts the copy in place of `to`.
pub(super) fn copy(from: &Path, to: &Path) -> Result<(), DatabaseError> {
    // The target itself may not exist yet, its directory must.
    let parent = match to.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let failed = |error: io::Error| DatabaseError::Unavailable(format!("{}: {error}", to.display()));
    let directory = fs::canonicalize(parent).map_err(failed)?;
    let name = to.file_name().ok_or_else(|| failed(io::ErrorKind::InvalidFilename.into()))?;
    let target = directory.join(name);
    // A log left beside it would be taken for the log of the copy.
    let in_use = |suffix| beside(&target, suffix).exists();
    if fs::canonicalize(&target).is_ok_and(|target| target == from) || in_use("-wal") || in_use("-shm") {
        return Err(DatabaseError::Unavailable(format!("{}: a process works on this file", to.display())));
    }
    let unfinished = Unfinished(beside(&target, &format!(".{}.part", std::process::id())));
    write(from, &unfinished.0).map_err(|error| match error {
        DatabaseError::Unavailable(text) => DatabaseError::Unavailable(format!("{}: {text}", to.display())),
        other => other,
    })?;
    let sync = || {
        File::open(&unfinished.0)?.sync_all()?;
        fs::rename(&unfinished.0, &target)?;
        // The new name is as durable as what it names.
        File::open(&directory)?.sync_all()
    };
    sync().map_err(failed)
}

/// Writes the copy, and into it that it is one.
fn write(from: &Path, part: &Path) -> Result<(), DatabaseError> {
    let failed = |error: io::Error| DatabaseError::Unavailable(error.to_string());
    // SQLite copies into an empty file as well, and this one is for its owner alone.
    private(OpenOptions::new().write(true).create(true).truncate(true)).open(part).map_err(failed)?;
    let source = Connection::open_with_flags(from, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    source.busy_timeout(BUSY)?;
    let name = part.to_str().ok_or_else(|| failed(io::ErrorKind::InvalidFilename.into()))?;
    source.execute("VACUUM INTO ?1", [name])?;
    let copy = Connection::open(part)?;
    copy.execute("INSERT OR REPLACE INTO meta (name, value) VALUES ('restored', 1)", [])?;
    copy.close().map_err(|(_, error)| error.into())
}

/// A file that is removed unless it was renamed.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Renamed, or never made.
        drop(fs::remove_file(&self.0));
    }
}
