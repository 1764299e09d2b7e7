//! The store in a file: the suite of every store, and what only a file can do: outlive, be copied, be shared.

mod kills;

use std::path::{Path, PathBuf};
use std::time::Duration;

use muster::database::Database;
use muster::domain::*;
use muster::store::embedded::EmbeddedStore;
use muster::store::*;
use rusqlite::Connection;
use tempfile::TempDir;

use crate::store::{DONE, begin, commit, connection, epoch, find, load, new_link};

mod conformance {
    crate::store::suite!(super::fresh().await);
}

/// An empty store that this process works on. Its folder is taken away while the file is open, so nothing is left behind.
pub async fn fresh() -> EmbeddedStore {
    let folder = TempDir::new().unwrap();
    let database = Database::open(&folder.path().join("muster.db")).unwrap();
    database.lead().await.unwrap();
    EmbeddedStore::open(&database).await.unwrap()
}

/// The store in this file, as one more process would open it.
async fn open(path: &Path) -> EmbeddedStore {
    EmbeddedStore::open(&Database::open(path).unwrap()).await.unwrap()
}

/// A folder, and the name of a file in it.
fn folder() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("muster.db");
    (folder, path)
}

/// Closes the store and waits until its file is one again.
async fn close(store: EmbeddedStore, path: &Path) {
    drop(store);
    let log = path.with_file_name("muster.db-wal");
    while log.exists() {
        tokio::task::yield_now().await;
    }
}

/// A whole copy that says nothing of being one, as a person makes it.
fn copy(from: &Path, to: &Path) {
    let to = to.to_str().unwrap();
    Connection::open(from).unwrap().execute("VACUUM INTO ?1", [to]).unwrap();
}

/// What was decided in `before` is refused, and what is left of it is a hint in a new epoch, which begins after `before`.
async fn assert_begins_anew(store: &EmbeddedStore, before: &EpochState) {
    let changed =
        |answer: Result<(), StoreError>| assert!(matches!(answer, Err(StoreError::EpochChanged(_))), "{answer:?}");
    changed(store.load(&connection(), &[LinkId(1)]).await.map(drop));
    changed(store.find(&connection(), vec![]).await.map(drop));
    changed(store.commit(&connection(), before.id, &[new_link(before.id, 9)]).await.map(drop));
    changed(store.set_reader(&connection(), before.id, Side::A, Token(1), &ReaderState::default()).await.map(drop));
    changed(store.reserve(&connection(), &"r1".parse().unwrap(), 1, None).await.map(drop));
    let after = store.epoch(&connection()).await.unwrap();
    assert_ne!(after.id, before.id);
    assert!(after.began_at >= before.now, "requests of before may still land");
    changed(store.commit(&connection(), before.id, &[new_link(before.id, 9)]).await.map(drop));
    assert_eq!(load(store, 1).await.unwrap().epoch, before.id, "what survived is a hint");
    assert_eq!(store.reader(&connection(), Side::A).await.unwrap(), ReaderState::default());
    assert_eq!(commit(store, after.id, new_link(after.id, 9)).await, DONE);
}

/// A store of which something is known: link 1, and how far side `a` was read.
async fn worked_on(path: &Path) -> (EmbeddedStore, EpochState) {
    let store = open(path).await;
    let epoch = store.epoch(&connection()).await.unwrap();
    assert_eq!(commit(&store, epoch.id, new_link(epoch.id, 1)).await, DONE);
    let minute = Duration::from_secs(60);
    assert!(store.lease(&connection(), &LeaseName::Reader(Side::A), Token(1), minute).await.unwrap());
    let state = ReaderState { watermark: Some("w1".to_owned()), active: None };
    assert!(store.set_reader(&connection(), epoch.id, Side::A, Token(1), &state).await.unwrap());
    (store, epoch)
}

/// R86: the file is the memory, and it lasts.
#[tokio::test]
async fn an_epoch_outlives_the_process_and_a_move_of_the_file() {
    let (_folder, path) = folder();
    let (store, before) = worked_on(&path).await;
    close(store, &path).await;
    let moved = path.with_file_name("elsewhere.db");
    std::fs::rename(&path, &moved).unwrap();
    let store = open(&moved).await;
    let after = store.epoch(&connection()).await.unwrap();
    assert_eq!((after.id, after.began_at), (before.id, before.began_at));
    assert!(load(&store, 1).await.is_some());
    assert!(store.reader(&connection(), Side::A).await.unwrap().watermark.is_some());
    assert_eq!(commit(&store, after.id, new_link(after.id, 2)).await, DONE);
}

/// A first user waits for no requests of before, since there are none; whoever adds a connection later may have some.
#[tokio::test]
async fn only_a_fresh_file_knows_that_nobody_worked_before() {
    let (_folder, path) = folder();
    let other: ConnectionName = "other".parse().unwrap();
    let waiting = open(&path).await;
    // A request for a run may be there before anything else.
    let asked = SyncRequest { run: "r1".parse().unwrap(), kind: RunKind::Sync, by: "ada@host".to_owned(), only: None };
    waiting.request(&connection(), &asked).await.unwrap();
    drop(waiting);
    let (store, first) = worked_on(&path).await;
    assert_eq!(first.began_at, Timestamp(0));
    assert_eq!(store.epoch(&other).await.unwrap().began_at, Timestamp(0));
    drop(store);
    let later = open(&path).await.epoch(&"third".parse().unwrap()).await.unwrap();
    assert!(later.began_at > Timestamp(0) && later.began_at <= later.now);
}

/// F15, R86: an older state of the file is older than the truth.
#[tokio::test]
async fn a_copy_of_the_file_begins_a_new_epoch() {
    let (_folder, path) = folder();
    let (store, before) = worked_on(&path).await;
    let other = path.with_file_name("copy.db");
    copy(&path, &other);
    let copied = open(&other).await;
    assert_begins_anew(&copied, &before).await;
    let after = epoch(&copied).await;
    assert_eq!(epoch(&open(&other).await).await, after, "once");
    assert_eq!(epoch(&store).await, before.id, "the original has lost nothing");
    assert_eq!(load(&store, 9).await, None);
}

/// F15, R86: a backup that is put over the file itself, which stays the same file to the machine.
#[tokio::test]
async fn a_restored_backup_begins_a_new_epoch() {
    let (_folder, path) = folder();
    let (store, before) = worked_on(&path).await;
    let backup = path.with_file_name("backup.db");
    Database::open(&path).unwrap().backup(&backup).await.unwrap();
    commit(&store, before.id, new_link(before.id, 2)).await;
    close(store, &path).await;
    std::fs::copy(&backup, &path).unwrap();
    let store = open(&path).await;
    assert_begins_anew(&store, &before).await;
    assert_eq!(load(&store, 2).await, None);
    assert_eq!(epoch(&open(&path).await).await, epoch(&store).await, "once");
}

/// F15, R86: whoever removes the file leaves requests behind that nobody knows of.
#[tokio::test]
async fn a_file_made_anew_waits_for_the_requests_of_the_lost_one() {
    let (_folder, path) = folder();
    let database = Database::open(&path).unwrap();
    database.lead().await.unwrap();
    let lost = EmbeddedStore::open(&database).await.unwrap();
    assert_eq!(lost.epoch(&connection()).await.unwrap().began_at, Timestamp(0));
    drop(database);
    close(lost, &path).await;
    std::fs::remove_file(&path).unwrap();
    // Whoever makes the file need not be the one that works on it.
    drop(open(&path).await);
    let state = open(&path).await.epoch(&connection()).await.unwrap();
    assert!(state.began_at > Timestamp(0) && state.began_at <= state.now);
}

/// B3: whoever works on the file after another process reads at once: the leases of the other's readers ended with it.
#[tokio::test]
async fn leases_of_readers_end_with_their_process() {
    let (_folder, path) = folder();
    let (store, _) = worked_on(&path).await;
    let (minute, lease) = (Duration::from_secs(60), LeaseName::Reader(Side::A));
    let next = Database::open(&path).unwrap();
    let next_store = EmbeddedStore::open(&next).await.unwrap();
    assert!(!next_store.lease(&connection(), &lease, Token(2), minute).await.unwrap());
    drop(store);
    next.lead().await.unwrap();
    assert!(next_store.lease(&connection(), &lease, Token(2), minute).await.unwrap());
}

/// Commands work on the file beside a running instance: each sees at once what the other did.
#[tokio::test]
async fn two_that_share_a_file_see_each_other() {
    let (_folder, path) = folder();
    let (one, two) = (open(&path).await, open(&path).await);
    let epoch = epoch(&one).await;
    assert_eq!(crate::store::epoch(&two).await, epoch);
    commit(&one, epoch, new_link(epoch, 1)).await;
    let seen = load(&two, 1).await.unwrap();
    let replace = Commit { link: Some(seen), ..Commit::default() };
    assert_eq!(commit(&two, epoch, replace.clone()).await, DONE);
    assert_eq!(commit(&one, epoch, replace).await, Committed::Moved);

    let minute = Duration::from_secs(60);
    assert!(one.lease(&connection(), &LeaseName::Runs, Token(1), minute).await.unwrap());
    assert!(!two.lease(&connection(), &LeaseName::Runs, Token(2), minute).await.unwrap());
    let asked = SyncRequest { run: "r1".parse().unwrap(), kind: RunKind::Sync, by: "ada@host".to_owned(), only: None };
    two.request(&connection(), &asked).await.unwrap();
    assert_eq!(one.requests(&connection()).await.unwrap(), [asked]);

    // Of claims for one account at the same time, one succeeds.
    for id in 10..30 {
        let (left, right) = (new_link(epoch, id), new_link(epoch, 1_000 + id));
        let same = |mut commit: Commit| {
            commit.claim = vec![Claim::Account(Side::A, format!("a{id}").parse().unwrap())];
            commit
        };
        let (left, right) = (same(left), same(right));
        let (left, right) = tokio::join!(commit(&one, epoch, left), commit(&two, epoch, right));
        assert!((left == DONE) != (right == DONE), "{left:?} {right:?}");
    }
    assert_eq!(one.counts(&connection()).await.unwrap(), two.counts(&connection()).await.unwrap());
}

/// What cannot be read is named, and its content is not.
#[tokio::test]
async fn a_damaged_row_is_named_without_its_values() {
    let (_folder, path) = folder();
    let (store, epoch) = worked_on(&path).await;
    let damage = |sql: &str| Connection::open(&path).unwrap().execute(sql, []).unwrap();
    let unusable = |answer: Result<(), StoreError>, word: &str| match answer {
        Err(StoreError::Unusable(text)) => assert!(text.contains(word) && !text.contains("zoe"), "{text}"),
        other => panic!("{other:?}"),
    };
    damage("UPDATE links SET packed = '1:[\"zoe\"]'");
    unusable(store.load(&connection(), &[LinkId(1)]).await.map(drop), "0000000000000001");
    let held = || vec![Find { claims: vec![Claim::Account(Side::A, "a1".parse().unwrap())], letter: None }];
    unusable(store.find(&connection(), held()).await.map(drop), "0000000000000001");
    damage("UPDATE claims SET link = 77");
    unusable(store.find(&connection(), held()).await.map(drop), "cannot be read");
    unusable(store.accounts(&connection(), Side::A, None).await.map(drop), "cannot be read");
    damage("UPDATE readers SET state = '{\"active\":\"zoe\"}'");
    unusable(store.reader(&connection(), Side::A).await.map(drop), "reader a");
    assert_eq!(commit(&store, epoch.id, new_link(epoch.id, 2)).await, DONE, "the rest is sound");
    assert_eq!(find(&store, vec![Claim::Account(Side::A, "a2".parse().unwrap())]).await, Some((LinkId(2), 0)));
}

/// B16: what is as old as in any other store is gone for whoever asks, also before it is taken away.
#[tokio::test]
async fn an_expired_run_is_none() {
    let (_folder, path) = folder();
    let store = open(&path).await;
    let epoch = epoch(&store).await;
    let run = begin(&store, "r1", RunKind::Sync, 3).await;
    let emits = Sides { a: false, b: true };
    let count = Count::Change { run: run.clone(), number: 1, outcome: ChangeOutcome::Accepted, emits };
    let counted = Commit { count: Some(count), ..Commit::default() };
    commit(&store, epoch, counted.clone()).await;
    Connection::open(&path).unwrap().execute("UPDATE runs SET expires_at = 1", []).unwrap();
    assert_eq!(store.run(&connection(), &run).await.unwrap(), None);
    assert!(store.runs(&connection(), 10).await.unwrap().is_empty());
    assert_eq!(store.reserve(&connection(), &run, 1, None).await.unwrap(), None);
    assert_eq!(commit(&store, epoch, counted.clone()).await, DONE, "nothing is owed to it");

    begin(&store, "r1", RunKind::Sync, 2).await;
    let found = store.run(&connection(), &run).await.unwrap().unwrap();
    assert_eq!((found.read, found.emitted, found.changes), (2, 0, vec![]));
    assert_eq!(commit(&store, epoch, counted).await, DONE, "its books begin anew");
    assert_eq!(store.run(&connection(), &run).await.unwrap().unwrap().emitted, 1);
}
