//! Looks into the file every moment for what nobody in this process was told of: messages that another process stored,
//! and delayed ones whose time has come.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::feed::Feeds;
use super::tables;
use crate::database::{Database, DatabaseError};
use crate::failpoint::hit;

/// The wait between two looks. One look reads a few rows.
const LOOK: Duration = Duration::from_millis(100);

/// Looks until the broker closes, as long as this process is the working one.
pub(super) async fn work(database: Database, feeds: Arc<Feeds>, closing: CancellationToken) {
    let mut well = true;
    loop {
        tokio::select! {
            () = closing.cancelled() => return,
            () = sleep(LOOK) => {}
        }
        let looked = tokio::select! {
            () = closing.cancelled() => return,
            looked = look(&database, &feeds) => looked,
        };
        match looked {
            Err(error) if well => {
                warn!("Cannot look for new and delayed messages in the file, trying on: {error}");
                well = false;
            }
            Ok(()) if !well => {
                debug!("The file can be looked into again");
                well = true;
            }
            _ => {}
        }
    }
}

async fn look(database: &Database, feeds: &Feeds) -> Result<(), DatabaseError> {
    database.lead().await?;
    let see = |connection: &_| -> Result<_, DatabaseError> {
        Ok((tables::ready(connection)?, tables::is_due(connection, tables::now())?))
    };
    let (ready, is_due) = database.read(see).await?;
    feeds.offer(ready.iter().map(String::as_str));
    let mut more = is_due;
    while more {
        let promote = |connection: &_| -> Result<_, DatabaseError> { Ok(tables::promote(connection, tables::now())?) };
        more = database.write(promote).await?;
        hit("file.promoted");
        feeds.offer_all();
    }
    Ok(())
}
