//! The tables, and how an older file becomes one of this version. `user_version` of the file is the version of its form;
//! a form that was released is never changed, only followed by a step to the next.

use rusqlite::{Connection, TransactionBehavior};

use super::DatabaseError;

/// Steps from an empty file to this version's: step `n` makes a file of version `n` one of `n + 1`.
const STEPS: &[&str] = &[
    concat!(include_str!("queues.sql"), include_str!("links.sql")),
    concat!(include_str!("schedules.sql"), include_str!("guards.sql")),
    concat!(include_str!("deferred.sql"), include_str!("clocks.sql")),
    concat!(include_str!("matches.sql"), include_str!("history.sql"), include_str!("letters.sql")),
    include_str!("acts.sql"),
    concat!(include_str!("circuits.sql"), include_str!("undo.sql")),
];

/// `application_id` of our files ("Mstr"), so that another program's database is not taken for an empty one of ours.
const APPLICATION: i64 = 0x4d73_7472;

/// Brings the file to this version's form, and tells whether it was empty. A file that has the form already is only
/// read. `worked_before` is noted in a file that was empty, in the same step.
pub(super) fn migrate(connection: &mut Connection, worked_before: bool) -> Result<bool, DatabaseError> {
    if version_at_once(connection)? == STEPS.len() {
        return Ok(false);
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Asked again: another process may have been quicker.
    let version = version(&transaction)?;
    for step in &STEPS[version..] {
        transaction.execute_batch(step)?;
    }
    if version < STEPS.len() {
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", STEPS.len() as i64)?;
    }
    if version == 0 && worked_before {
        transaction.execute("INSERT INTO meta (name, value) VALUES ('worked_before', 1)", [])?;
    }
    transaction.commit()?;
    Ok(version == 0)
}

/// The version now, in a transaction of its own: another process may be making the file between two readings.
fn version_at_once(connection: &mut Connection) -> Result<usize, DatabaseError> {
    version(&*connection.transaction()?)
}

/// The version of the file's form; 0 if it is empty. It reads several times, so it belongs into a transaction.
fn version(connection: &Connection) -> Result<usize, DatabaseError> {
    let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let (version, application) = (number("user_version")?, number("application_id")?);
    let objects: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if application != APPLICATION && (version, objects) != (0, 0) {
        return Err(DatabaseError::Unusable("the file is a database of another program".to_owned()));
    }
    match usize::try_from(version) {
        Ok(known) if known <= STEPS.len() => Ok(known),
        _ => Err(DatabaseError::Unusable(format!(
            "the file is of a newer version of Muster (form {version}, this program knows {})",
            STEPS.len()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(prepare: &str, expected: &str) {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(prepare).unwrap();
        let error = migrate(&mut connection, false).unwrap_err();
        assert!(matches!(&error, DatabaseError::Unusable(text) if text.contains(expected)), "{error}");
    }

    #[test]
    fn an_empty_file_becomes_ours_once() {
        let mut connection = Connection::open_in_memory().unwrap();
        assert_eq!(migrate(&mut connection, false), Ok(true));
        assert_eq!(migrate(&mut connection, true), Ok(false));
        assert_eq!(version(&connection), Ok(STEPS.len()));
    }

    #[test]
    fn a_file_that_is_being_made_is_empty_or_ours() {
        for _ in 0..50 {
            let directory = tempfile::tempdir().unwrap();
            let open = || {
                let connection = Connection::open(directory.path().join("muster.db")).unwrap();
                connection.pragma_update(None, "journal_mode", "WAL").unwrap();
                connection
            };
            let mut maker = open();
            std::thread::scope(|scope| {
                for _ in 0..3 {
                    let mut onlooker = open();
                    scope.spawn(move || while version_at_once(&mut onlooker).unwrap() < STEPS.len() {});
                }
                migrate(&mut maker, false).unwrap();
            });
        }
    }

    #[test]
    fn a_database_of_another_program_is_left_alone() {
        check("CREATE TABLE theirs (x)", "another program");
        check("PRAGMA user_version = 1", "another program");
    }

    #[test]
    fn a_newer_form_is_not_touched() {
        check(
            &format!("PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {}", STEPS.len() + 1),
            "a newer version",
        );
    }
}
