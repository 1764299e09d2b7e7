//! What the file promises whoever writes into it.

use rusqlite::Connection;

use super::*;

/// An open file with a table for the tests, the one line of which is `n = 0`.
async fn file() -> (Database, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let database = Database::open(&directory.path().join("muster.db")).unwrap();
    run(&database, "CREATE TABLE test_marks (n INTEGER PRIMARY KEY, text TEXT); INSERT INTO test_marks (n) VALUES (0)")
        .await
        .unwrap();
    (database, directory)
}

async fn run(database: &Database, sql: &'static str) -> Result<(), DatabaseError> {
    database.write(move |connection| Ok(connection.execute_batch(sql)?)).await
}

async fn marks(database: &Database) -> Vec<i64> {
    let read = database.read(|connection| -> Result<_, DatabaseError> {
        let mut select = connection.prepare("SELECT n FROM test_marks ORDER BY n")?;
        let marks = select.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        Ok(marks)
    });
    read.await.unwrap()
}

fn mark(connection: &Connection, n: i64) -> Result<(), DatabaseError> {
    connection.execute("INSERT INTO test_marks (n) VALUES (?1)", [n])?;
    Ok(())
}

/// Holds the writing thread until it is told to go on, so that what is asked meanwhile becomes one group with this.
fn hold(database: &Database) -> (std::sync::mpsc::Sender<()>, impl Future<Output = Result<(), DatabaseError>> + use<>) {
    let (go_on, wait) = std::sync::mpsc::channel::<()>();
    let hold = move |_: &Connection| {
        wait.recv().ok();
        Ok(())
    };
    let database = database.clone();
    (go_on, async move { database.write(hold).await })
}

#[tokio::test]
async fn what_fails_or_panics_leaves_no_trace_and_the_others_of_its_group_go_on() {
    let (database, _directory) = file().await;
    let (go_on, held) = hold(&database);
    let first = database.write(|connection| mark(connection, 1));
    let failing = database.write(|connection| {
        mark(connection, 2)?;
        Err::<(), _>(DatabaseError::Unusable("no".to_owned()))
    });
    let panicking = database.write(|connection| -> Result<(), DatabaseError> {
        mark(connection, 3)?;
        panic!("on purpose")
    });
    let last = database.write(|connection| mark(connection, 4));
    let (held, first, failing, panicking, last, ()) =
        tokio::join!(held, first, failing, panicking, last, async { go_on.send(()).unwrap() });
    assert_eq!((held, first, last), (Ok(()), Ok(()), Ok(())));
    assert_eq!(failing, Err(DatabaseError::Unusable("no".to_owned())));
    assert_eq!(panicking, Err(defect()));
    assert_eq!(marks(&database).await, [0, 1, 4]);
    let read: Result<(), _> = database.read(|_| panic!("on purpose")).await;
    assert_eq!(read, Err(defect()));
    assert_eq!(marks(&database).await, [0, 1, 4]);
}

/// A transaction that could not begin does nothing, and its error is the answer.
#[tokio::test]
async fn what_another_process_keeps_from_beginning_did_not_happen() {
    let (database, _directory) = file().await;
    // Else the answer takes as long as SQLite is told to wait.
    database.write(|connection| Ok::<_, DatabaseError>(connection.busy_timeout(Duration::ZERO)?)).await.unwrap();
    let other = connect(database.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = database.write(|connection| mark(connection, 1)).await.unwrap_err();
    assert_eq!(refused, DatabaseError::Unavailable("another process keeps the file busy".to_owned()));
    assert_eq!(marks(&database).await, [0], "reading goes on");
    other.execute_batch("COMMIT").unwrap();
    database.write(|connection| mark(connection, 2)).await.unwrap();
    assert_eq!(marks(&database).await, [0, 2]);
}

/// SQLite undoes the whole transaction on some errors. Then all of its group failed, whatever each had done.
#[tokio::test]
async fn a_transaction_that_was_undone_answers_all_of_its_group() {
    let (database, _directory) = file().await;
    let (go_on, held) = hold(&database);
    let first = database.write(|connection| mark(connection, 1));
    let undoing = database.write(|connection| Ok::<_, DatabaseError>(connection.execute_batch("ROLLBACK")?));
    let later = database.write(|connection| mark(connection, 2));
    let (held, first, undoing, later, ()) =
        tokio::join!(held, first, undoing, later, async { go_on.send(()).unwrap() });
    assert_eq!((held, first, undoing), (Err(threads::undone()), Err(threads::undone()), Err(threads::undone())));
    assert_eq!(later, Ok(()), "the next group is another transaction");
    assert_eq!(marks(&database).await, [0, 2]);
}

/// A commit that fails is the answer to all that it held.
#[tokio::test]
async fn a_failed_commit_answers_all_of_its_group() {
    let (database, _directory) = file().await;
    run(&database, "CREATE TABLE parts (of INTEGER REFERENCES test_marks (n) DEFERRABLE INITIALLY DEFERRED)")
        .await
        .unwrap();
    let (go_on, held) = hold(&database);
    let first = database.write(|connection| mark(connection, 1));
    let orphan = run(&database, "INSERT INTO parts VALUES (77)");
    let (held, first, orphan, ()) = tokio::join!(held, first, orphan, async { go_on.send(()).unwrap() });
    for answer in [held, first, orphan] {
        assert!(matches!(answer, Err(DatabaseError::Unavailable(_))), "{answer:?}");
    }
    database.write(|connection| mark(connection, 2)).await.unwrap();
    assert_eq!(marks(&database).await, [0, 2]);
}

#[tokio::test]
async fn a_full_disk_is_named_and_passes() {
    let (database, _directory) = file().await;
    let limit = |pages: i64| {
        database.write(move |connection| -> Result<(), DatabaseError> {
            Ok(connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?)
        })
    };
    limit(1).await.unwrap();
    let fill = || run(&database, "INSERT INTO test_marks SELECT 1, hex(zeroblob(100000))");
    assert_eq!(fill().await, Err(DatabaseError::Unavailable("the disk is full".to_owned())));
    limit(1_000_000).await.unwrap();
    fill().await.unwrap();
    assert_eq!(marks(&database).await, [0, 1]);
}

#[tokio::test]
async fn a_question_cannot_write() {
    let (database, _directory) = file().await;
    let answer = database.read(|connection| mark(connection, 1)).await;
    assert!(matches!(answer, Err(DatabaseError::Unavailable(_))), "{answer:?}");
    assert_eq!(marks(&database).await, [0]);
}

#[test]
fn a_place_without_write_ahead_logs_is_refused() {
    let error = keep_a_log(&Connection::open_in_memory().unwrap()).unwrap_err();
    assert!(matches!(&error, DatabaseError::Unusable(text) if text.contains("network file system")), "{error}");
}

#[test]
fn what_is_no_database_is_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notes.txt");
    let text = "something that somebody wrote. ".repeat(100);
    fs::write(&path, &text).unwrap();
    let error = Database::open(&path).unwrap_err();
    assert!(matches!(&error, DatabaseError::Unusable(text) if text.contains("notes.txt")), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    let error = Database::open(&directory.path().join("missing/muster.db")).unwrap_err();
    assert!(error.to_string().contains("missing"), "{error}");
}

#[cfg(unix)]
#[tokio::test]
async fn what_it_makes_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let (database, directory) = file().await;
    database.lead().await.unwrap();
    database.backup(&directory.path().join("copy.db")).await.unwrap();
    let mut names = Vec::new();
    for entry in fs::read_dir(directory.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.file_name());
        names.push(entry.file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(names, ["copy.db", "muster.db", "muster.db-shm", "muster.db-wal", "muster.db.lock"]);
}

/// R86: a file that is gone is not taken for one that never was.
#[cfg(unix)]
#[tokio::test]
async fn a_file_that_somebody_removed_is_known() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("muster.db");
    // Whatever leads to the file, the lock is the same.
    let link = directory.path().join("link.db");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let open = |path: &Path| Database::open(path).unwrap();
    let first = open(&link);
    assert!(!first.worked_before());
    first.close().await;
    let second = open(&path);
    assert!(!second.worked_before(), "nobody has worked");
    second.close().await;
    let third = open(&link);
    third.lead().await.unwrap();
    third.close().await;
    let fourth = open(&path);
    assert!(!fourth.worked_before(), "it is there");
    // Whoever still closes it would take the new one's log away.
    fourth.close().await;
    fs::remove_file(&path).unwrap();
    assert!(open(&path).worked_before());
}

#[tokio::test]
async fn a_backup_never_replaces_a_file_at_work() {
    let (database, directory) = file().await;
    let (other, _other_directory) = file().await;
    for target in [database.path(), other.path()] {
        let error = database.backup(target).await.unwrap_err();
        assert!(error.to_string().contains("works on this file"), "{error}");
    }
    let error = database.backup(&directory.path().join("missing/copy.db")).await.unwrap_err();
    assert!(error.to_string().contains("missing"), "{error}");
    assert_eq!(marks(&other).await, [0]);
}

/// Who works is known to everybody who has the file open, and ends with whoever does.
#[tokio::test]
async fn whether_somebody_works_is_known_at_once() {
    let (first, _directory) = file().await;
    let second = Database::open(first.path()).unwrap();
    assert!(!first.is_led() && !second.is_led());
    first.lead().await.unwrap();
    assert!(first.is_led() && second.is_led());
    first.close().await;
    assert!(!second.is_led());
    second.lead().await.unwrap();
    assert!(second.is_led());
}

/// Whoever closes the file last leaves everything in it, and nothing beside it.
#[tokio::test]
async fn the_last_to_close_leaves_one_file() {
    let (first, directory) = file().await;
    let second = Database::open(first.path()).unwrap();
    first.write(|connection| mark(connection, 1)).await.unwrap();
    first.close().await;
    let log = directory.path().join("muster.db-wal");
    assert!(log.exists(), "somebody works on");
    second.write(|connection| mark(connection, 2)).await.unwrap();
    let path = second.path().to_owned();
    second.close().await;
    assert!(!log.exists() && !directory.path().join("muster.db-shm").exists());
    let copy = directory.path().join("copy.db");
    fs::copy(path, &copy).unwrap();
    assert_eq!(marks(&Database::open(&copy).unwrap()).await, [0, 1, 2]);
}

/// When nothing is asked any more the file is one file again.
/// Commands are started together, and each opens the file for itself: some find it while another one makes it, or while
/// the last one folds the log in.
#[test]
fn a_file_opens_while_others_make_it_and_close_it() {
    const TOGETHER: usize = 6;
    for _ in 0..40 {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("muster.db");
        let start = std::sync::Barrier::new(TOGETHER);
        std::thread::scope(|scope| {
            for _ in 0..TOGETHER {
                scope.spawn(|| {
                    start.wait();
                    for _ in 0..2 {
                        Database::open(&path).unwrap();
                    }
                });
            }
        });
    }
}

#[tokio::test]
async fn the_log_is_emptied_at_rest() {
    let (database, directory) = file().await;
    database.write(|connection| mark(connection, 1)).await.unwrap();
    let log = directory.path().join("muster.db-wal");
    while fs::metadata(&log).unwrap().len() > 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(marks(&database).await, [0, 1]);
}

#[tokio::test]
async fn the_next_process_leads_once_the_first_has_done_its_last_job() {
    let (first, _directory) = file().await;
    let second = Database::open(first.path()).unwrap();
    first.lead().await.unwrap();
    first.clone().lead().await.expect("it is the working one already");
    let mut waiting = Box::pin(second.lead());
    assert!(futures_util::poll!(&mut waiting).is_pending());
    let (go_on, held) = hold(&first);
    let held = tokio::spawn(held);
    let last = tokio::spawn(async move { first.write(|connection| mark(connection, 1)).await });
    assert!(futures_util::poll!(&mut waiting).is_pending());
    go_on.send(()).unwrap();
    held.await.unwrap().unwrap();
    last.await.unwrap().unwrap();
    waiting.await.unwrap();
    assert_eq!(marks(&second).await, [0, 1]);
}
