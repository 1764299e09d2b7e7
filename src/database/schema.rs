//! The tables, and how an older file becomes one of this version. `user_version` of the file is the version of its form;
//! a form that was released is never changed, only followed by a step to the next.

use rusqlite::{Connection, TransactionBehavior};

use super::DatabaseError;

/// Steps from an empty file to this version's: step `n` makes a file of version `n` one of `n + 1`.
const STEPS: &[&str] = &[concat!(include_str!("queues.sql"), include_str!("links.sql"))];

/// Brings the file to this version's form.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), DatabaseError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let version = usize::try_from(version).unwrap_or(usize::MAX);
    if version > STEPS.len() {
        return Err(DatabaseError::Unusable(format!(
            "the file is of a newer version of Muster (form {version}, this program knows {})",
            STEPS.len()
        )));
    }
    for step in &STEPS[version..] {
        transaction.execute_batch(step)?;
    }
    if version < STEPS.len() {
        transaction.pragma_update(None, "user_version", STEPS.len() as i64)?;
    }
    transaction.commit()?;
    Ok(())
}
