//! The store in Redis: the suite of every store, and what only Redis can do wrong. Here: what it forgets.

mod faults;
mod layout;

use std::fs;
use std::time::Duration;

use muster::domain::*;
use muster::store::redis::{RedisSettings, RedisStore};
use muster::store::*;

use crate::redis_server::RedisServer;
use crate::store::{DONE, commit, connection, epoch, find, load, new_link};

mod conformance {
    crate::store::suite!(crate::redis_server::RedisServer::shared().await.store());
}

/// Another process on the same keys: one that remembers nothing.
fn process(settings: &RedisSettings) -> RedisStore {
    RedisStore::open(settings).unwrap()
}

#[track_caller]
fn assert_changed<T: std::fmt::Debug>(answer: Result<T, StoreError>) {
    assert!(matches!(&answer, Err(StoreError::EpochChanged(name)) if *name == connection()), "{answer:?}");
}

/// All three questions of a worker, each of which must notice by itself.
async fn assert_loss_is_noticed(store: &RedisStore, epoch: Epoch) {
    let find = vec![Find { claims: vec![Claim::Account(Side::A, "a1".parse().unwrap())], letter: None }];
    assert_changed(store.find(&connection(), find).await);
    assert_changed(store.load(&connection(), &[LinkId(1)]).await);
    assert_changed(store.commit(&connection(), epoch, &[new_link(epoch, 77)]).await);
    assert_changed(store.reserve(&connection(), &"r1".parse().unwrap(), 1, None).await);
    assert_changed(store.set_reader(&connection(), epoch, Side::A, Token(1), &ReaderState::default()).await);
}

/// F15, R86: what was decided before the store was emptied is not written after.
#[tokio::test]
async fn an_emptied_store_takes_no_commit_of_before() {
    let server = RedisServer::private(&[]).await;
    let store = server.store();
    let before = epoch(&store).await;
    commit(&store, before, new_link(before, 1)).await;
    let mut link = load(&store, 1).await.unwrap();
    link.origin = link::Origin::Rebuilt;

    server.tell(&["FLUSHALL"]).await;
    let decided = Commit { link: Some(link), ..Commit::default() };
    assert_changed(store.commit(&connection(), before, &[decided]).await);
    assert_loss_is_noticed(&store, before).await;
    assert_eq!(server.ask::<i64>(&["DBSIZE"]).await.unwrap(), 0, "nothing was written");

    let after = epoch(&store).await;
    assert_ne!(after, before);
    assert_eq!(load(&store, 1).await, None);
    assert_changed(store.commit(&connection(), before, &[new_link(before, 2)]).await);
    assert_eq!(commit(&store, after, new_link(after, 2)).await, DONE);
}

/// Another process began the new epoch: whoever remembers the old one is told so once, and goes on when it has asked.
#[tokio::test]
async fn an_epoch_that_another_process_began_is_taken_over_by_asking() {
    let server = RedisServer::private(&[]).await;
    let settings = server.settings();
    let (first, second) = (process(&settings), process(&settings));
    let before = epoch(&first).await;
    assert_eq!(epoch(&second).await, before, "one store, one epoch");
    server.tell(&["FLUSHALL"]).await;
    let after = epoch(&second).await;
    assert_ne!(after, before);
    assert_loss_is_noticed(&first, before).await;
    assert_eq!(epoch(&first).await, after);
    assert_eq!(commit(&first, after, new_link(after, 1)).await, DONE);
}

/// F13: after a clean restart a process that remembers vouches for the store; a fresh one cannot.
#[tokio::test]
async fn a_restart_that_lost_nothing_keeps_the_epoch_for_who_remembers() {
    let mut server = RedisServer::private(&["--appendfsync", "always"]).await;
    let settings = server.settings();
    let store = process(&settings);
    let before = epoch(&store).await;
    commit(&store, before, new_link(before, 1)).await;

    server.restart().await;
    // A connection of before is dead, and which one the pool lends is its own affair.
    while let Err(error) = store.ping().await {
        assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    }
    assert_eq!(load(&store, 1).await.map(|link| link.id), Some(LinkId(1)), "a question alone takes it over");
    assert_eq!(commit(&store, before, new_link(before, 2)).await, DONE);
    assert_eq!(epoch(&store).await, before);
    assert_eq!(epoch(&process(&settings)).await, before, "somebody vouched for it");

    server.restart().await;
    let fresh = process(&settings);
    assert_changed(fresh.load(&connection(), &[LinkId(1)]).await);
    let after = epoch(&fresh).await;
    assert_ne!(after, before, "nobody vouched for it");
    while let Err(StoreError::Unavailable(_)) = store.ping().await {}
    assert_loss_is_noticed(&store, before).await;
    assert_eq!(epoch(&store).await, after);
}

/// F14: kill -9 alone loses nothing, so the tail of the append-only file is taken off as a dying machine would.
#[tokio::test]
async fn a_lost_tail_is_noticed() {
    let mut server = RedisServer::private(&["--appendfsync", "always"]).await;
    let settings = server.settings();
    let (store, idle) = (process(&settings), process(&settings));
    let before = epoch(&store).await;
    assert_eq!(epoch(&idle).await, before);
    commit(&store, before, new_link(before, 1)).await;
    assert!(load(&idle, 1).await.is_some());
    let kept = append_only_bytes(&server);
    commit(&store, before, new_link(before, 2)).await;
    assert_eq!(find(&idle, vec![]).await, None, "and so it knows the tick");
    commit(&store, before, new_link(before, 3)).await;

    server.kill();
    truncate_append_only(&server, kept);
    server.start().await;
    while let Err(StoreError::Unavailable(_)) = store.ping().await {}
    assert_loss_is_noticed(&store, before).await;
    while let Err(StoreError::Unavailable(_)) = idle.ping().await {}
    assert_loss_is_noticed(&idle, before).await;
    let after = epoch(&store).await;
    assert_ne!(after, before);
    assert_eq!(epoch(&idle).await, after);
    let link = load(&store, 1).await.unwrap();
    assert_eq!(link.epoch, before, "what survived is a hint");
    assert_eq!(load(&store, 2).await, None);
}

/// F14: one process that remembers less takes the restarted server over and works on, past the tick that was lost.
/// Whoever remembers more still finds out.
#[tokio::test]
async fn a_lost_tail_is_noticed_though_others_worked_on() {
    let mut server = RedisServer::private(&["--appendfsync", "always"]).await;
    let settings = server.settings();
    let (store, idle) = (process(&settings), process(&settings));
    let before = epoch(&store).await;
    assert_eq!(epoch(&idle).await, before);
    commit(&store, before, new_link(before, 1)).await;
    let kept = append_only_bytes(&server);
    commit(&store, before, new_link(before, 2)).await;

    server.kill();
    truncate_append_only(&server, kept);
    server.start().await;
    while let Err(StoreError::Unavailable(_)) = idle.ping().await {}
    for id in 10..20 {
        assert_eq!(commit(&idle, before, new_link(before, id)).await, DONE);
    }
    while let Err(StoreError::Unavailable(_)) = store.ping().await {}
    assert_loss_is_noticed(&store, before).await;
    assert_ne!(epoch(&store).await, before);
}

/// F15, R86, V15: an older copy of the data.
#[tokio::test]
async fn a_restored_copy_is_noticed() {
    let mut server = RedisServer::private(&["--appendonly", "no", "--save", "3600 1"]).await;
    let store = server.store();
    let before = epoch(&store).await;
    commit(&store, before, new_link(before, 1)).await;
    server.tell(&["SAVE"]).await;
    commit(&store, before, new_link(before, 2)).await;
    server.restart().await;
    while let Err(StoreError::Unavailable(_)) = store.ping().await {}
    assert_loss_is_noticed(&store, before).await;
    assert_ne!(epoch(&store).await, before);
    assert!(load(&store, 1).await.is_some());

    // A copy from before the epoch that is known: its own epoch is older.
    let again = epoch(&store).await;
    let copy = fs::read(server.directory().join("dump.rdb")).unwrap();
    commit(&store, again, new_link(again, 3)).await;
    server.kill();
    fs::write(server.directory().join("dump.rdb"), copy).unwrap();
    server.start().await;
    while let Err(StoreError::Unavailable(_)) = store.ping().await {}
    assert_loss_is_noticed(&store, again).await;
    let last = epoch(&store).await;
    assert!(last != again && last != before);
}

/// F15: a copy from before the epoch that is known, taken over by a process that remembers that time.
#[tokio::test]
async fn a_restored_epoch_is_noticed_though_others_took_it_over() {
    let mut server = RedisServer::private(&["--appendonly", "no", "--save", "3600 1"]).await;
    let settings = server.settings();
    let (store, idle) = (process(&settings), process(&settings));
    let before = epoch(&store).await;
    assert_eq!(epoch(&idle).await, before);
    server.tell(&["SAVE"]).await;
    let copy = fs::read(server.directory().join("dump.rdb")).unwrap();
    server.tell(&["FLUSHALL"]).await;
    let after = epoch(&store).await;
    assert_ne!(after, before);

    server.kill();
    fs::write(server.directory().join("dump.rdb"), copy).unwrap();
    server.start().await;
    while let Err(StoreError::Unavailable(_)) = idle.ping().await {}
    assert_eq!(epoch(&idle).await, before, "it cannot know better");
    while let Err(StoreError::Unavailable(_)) = store.ping().await {}
    assert_loss_is_noticed(&store, after).await;
    let last = epoch(&store).await;
    assert!(last != after && last != before);
    assert_loss_is_noticed(&idle, before).await;
}

/// F15, R86: older data under a server that was not restarted, as after following another server for a while.
#[tokio::test]
async fn a_copy_restored_into_a_running_server_is_noticed() {
    let server = RedisServer::private(&[]).await;
    let settings = server.settings();
    let store = process(&settings);
    let before = epoch(&store).await;
    commit(&store, before, new_link(before, 1)).await;
    let key = format!("{}:{{crm-scim}}:epoch", settings.prefix);
    let tick: i64 = server.ask(&["HGET", &key, "tick"]).await.unwrap();
    commit(&store, before, new_link(before, 2)).await;
    server.tell(&["HSET", &key, "tick", &tick.to_string()]).await;
    assert_loss_is_noticed(&store, before).await;
    assert_ne!(epoch(&store).await, before);
}

/// A reader's watermark of another epoch is none; a lease holds in any epoch.
#[tokio::test]
async fn a_new_epoch_forgets_cursors_and_keeps_leases() {
    let mut server = RedisServer::private(&["--appendfsync", "always"]).await;
    let settings = server.settings();
    let store = process(&settings);
    let before = epoch(&store).await;
    let name = LeaseName::Reader(Side::A);
    assert!(store.lease(&connection(), &name, Token(1), Duration::from_secs(60)).await.unwrap());
    let moved = ReaderState { watermark: Some("w1".to_owned()), active: None };
    assert!(store.set_reader(&connection(), before, Side::A, Token(1), &moved).await.unwrap());
    server.restart().await;
    let fresh = process(&settings);
    epoch(&fresh).await;
    assert_eq!(fresh.reader(&connection(), Side::A).await.unwrap(), ReaderState::default());
    assert!(!fresh.lease(&connection(), &name, Token(2), Duration::from_secs(60)).await.unwrap(), "leases stay");

    // A reader that was reading meanwhile still has its lease, in a process that has learnt of the new epoch.
    assert_changed(fresh.set_reader(&connection(), before, Side::A, Token(1), &moved).await);
    let (run, one) = ("r1".parse().unwrap(), (before, Side::A, Token(1), &moved));
    assert_changed(fresh.reserve(&connection(), &run, 1, Some(one)).await);
    assert_eq!(fresh.reader(&connection(), Side::A).await.unwrap(), ReaderState::default());
}

/// The server's file of increments, of which there is one until it is rewritten.
fn append_only(server: &RedisServer) -> std::path::PathBuf {
    let files = fs::read_dir(server.directory().join("appendonlydir")).unwrap();
    let mut increments =
        files.map(|file| file.unwrap().path()).filter(|path| path.to_string_lossy().contains(".incr."));
    increments.next().expect("the server keeps an append-only file")
}

fn append_only_bytes(server: &RedisServer) -> u64 {
    fs::metadata(append_only(server)).unwrap().len()
}

fn truncate_append_only(server: &RedisServer, bytes: u64) {
    fs::OpenOptions::new().write(true).open(append_only(server)).unwrap().set_len(bytes).unwrap();
}
