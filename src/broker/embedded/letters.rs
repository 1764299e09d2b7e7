//! Reads the log of dead letters. Reading takes nothing out.

use tracing::warn;

use super::{refused, tables};
use crate::broker::message::Payload;
use crate::broker::{BrokerError, Message};
use crate::database::{Database, DatabaseError};
use crate::domain::LetterEntry;

/// Messages that are read at once.
const PAGE: i64 = 50;

/// Puts what `change` makes of entries in their place, all of it or nothing; how many that are.
pub(super) async fn rewrite(
    database: &Database,
    change: impl Fn(&LetterEntry) -> Option<LetterEntry> + Send + 'static,
) -> Result<u64, BrokerError> {
    let rewrite = move |connection: &_| -> Result<_, DatabaseError> {
        let (mut read, mut replaced) = (0, 0);
        let newest = tables::newest_letter(connection)?;
        loop {
            let page = tables::letters(connection, read, newest, PAGE)?;
            let Some((last, ..)) = page.last() else { return Ok(replaced) };
            read = *last;
            for (number, _, body) in page {
                let Ok(mut message) = Message::decode(&body, 0, None) else { continue };
                let Payload::Letters(entries) = &mut message.payload else { continue };
                let before = replaced;
                for entry in entries {
                    if let Some(other) = change(entry) {
                        *entry = other;
                        replaced += 1;
                    }
                }
                if replaced > before {
                    tables::replace_letter(connection, number, &message.encode())?;
                }
            }
        }
    };
    database.write(rewrite).await.map_err(refused)
}

/// The log of dead letters, from its first entry to the last one that was there when reading began.
#[derive(Debug)]
pub struct LetterLog {
    database: Database,
    read: i64,
    newest: i64,
    /// Entries of the last page, in reverse.
    entries: Vec<LetterEntry>,
}

impl LetterLog {
    pub(super) async fn open(database: Database) -> Result<Self, BrokerError> {
        let newest = |connection: &_| -> Result<_, DatabaseError> { Ok(tables::newest_letter(connection)?) };
        let newest = database.read(newest).await.map_err(refused)?;
        Ok(Self { database, read: 0, newest, entries: Vec::new() })
    }

    /// The next entry, oldest first; `None` at the end. A message that this version cannot read is passed over, with a
    /// warning.
    ///
    /// # Errors
    /// The file cannot be read. Asked again, it goes on where it was.
    pub async fn next(&mut self) -> Result<Option<LetterEntry>, BrokerError> {
        loop {
            if let Some(entry) = self.entries.pop() {
                return Ok(Some(entry));
            }
            let (read, newest) = (self.read, self.newest);
            let page = move |connection: &_| -> Result<_, DatabaseError> {
                Ok(tables::letters(connection, read, newest, PAGE)?)
            };
            let page = self.database.read(page).await.map_err(refused)?;
            let Some((last, ..)) = page.last() else { return Ok(None) };
            self.read = *last;
            for (_, id, body) in page {
                match Message::decode(&body, 0, None).map(|message| message.payload) {
                    Ok(Payload::Letters(entries)) => self.entries.extend(entries),
                    _ => warn!(message_id = id, "The log of dead letters holds a message that cannot be read: {id}"),
                }
            }
            self.entries.reverse();
        }
    }
}
