//! The store in Redis: the suite of every store, and what only Redis can do wrong.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use ::redis::Value as Answer;
use muster::domain::link::Register;
use muster::domain::*;
use muster::store::redis::{RedisSettings, RedisStore};
use muster::store::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::redis_server::RedisServer;
use crate::store::{DONE, begin, commit, connection, epoch, find, load, new_link};

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

#[track_caller]
fn assert_unavailable<T: std::fmt::Debug>(answer: Result<T, StoreError>, word: &str) {
    assert!(matches!(&answer, Err(StoreError::Unavailable(text)) if text.contains(word)), "{word}: {answer:?}");
}

/// All three questions of a worker, each of which must notice by itself.
async fn assert_loss_is_noticed(store: &RedisStore, epoch: Epoch) {
    let find = vec![Find { claims: vec![Claim::Account(Side::A, "a1".parse().unwrap())], letter: None }];
    assert_changed(store.find(&connection(), find).await);
    assert_changed(store.load(&connection(), &[LinkId(1)]).await);
    assert_changed(store.commit(&connection(), epoch, vec![new_link(epoch, 77)]).await);
    assert_changed(store.reserve(&connection(), &"r1".parse().unwrap(), 1, None).await);
    assert_changed(store.set_reader(&connection(), Side::A, Token(1), &ReaderState::default()).await);
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
    assert_changed(store.commit(&connection(), before, vec![decided]).await);
    assert_loss_is_noticed(&store, before).await;
    assert_eq!(server.ask::<i64>(&["DBSIZE"]).await.unwrap(), 0, "nothing was written");

    let after = epoch(&store).await;
    assert_ne!(after, before);
    assert_eq!(load(&store, 1).await, None);
    assert_changed(store.commit(&connection(), before, vec![new_link(before, 2)]).await);
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

/// A reader's watermark of another epoch is none, while letters stay.
#[tokio::test]
async fn a_new_epoch_forgets_cursors_and_keeps_letters() {
    let mut server = RedisServer::private(&["--appendfsync", "always"]).await;
    let settings = server.settings();
    let store = process(&settings);
    epoch(&store).await;
    let name = LeaseName::Reader(Side::A);
    assert!(store.lease(&connection(), &name, Token(1), Duration::from_secs(60)).await.unwrap());
    let moved = ReaderState { watermark: Some("w1".to_owned()), active: None };
    assert!(store.set_reader(&connection(), Side::A, Token(1), &moved).await.unwrap());
    server.restart().await;
    let fresh = process(&settings);
    epoch(&fresh).await;
    assert_eq!(fresh.reader(&connection(), Side::A).await.unwrap(), ReaderState::default());
    assert!(!fresh.lease(&connection(), &name, Token(2), Duration::from_secs(60)).await.unwrap(), "leases stay");
}

/// F16: the old primary, demoted, and a replica that was promoted: another run id is another server.
#[tokio::test]
async fn a_read_only_server_is_unavailable() {
    let server = RedisServer::private(&[]).await;
    let store = server.store();
    let epoch = epoch(&store).await;
    commit(&store, epoch, new_link(epoch, 1)).await;
    server.tell(&["REPLICAOF", "127.0.0.1", "1"]).await;
    assert_unavailable(store.commit(&connection(), epoch, vec![new_link(epoch, 2)]).await, "READONLY");
    assert!(load(&store, 1).await.is_some());
    server.tell(&["REPLICAOF", "NO", "ONE"]).await;
    assert_eq!(commit(&store, epoch, new_link(epoch, 2)).await, DONE);
    assert!(load(&store, 2).await.is_some());
}

/// F17, B3: a full server refuses a commit whole.
#[tokio::test]
async fn a_full_server_is_unavailable_and_takes_nothing() {
    let server = RedisServer::private(&[]).await;
    let store = server.store();
    let epoch = epoch(&store).await;
    let run = begin(&store, "r1", RunKind::Sync, 2).await;
    commit(&store, epoch, new_link(epoch, 1)).await;
    server.tell(&["CONFIG", "SET", "maxmemory", "1mb"]).await;
    let emits = Sides { a: true, b: true };
    let count = |number| Some(Count::Change { run: run.clone(), number, outcome: ChangeOutcome::Accepted, emits });
    let full = Commit {
        count: count(0),
        release: vec![Claim::Account(Side::A, "a2".parse().unwrap())],
        close: vec![LetterId::from_text("x")],
        ..new_link(epoch, 2)
    };
    assert_unavailable(store.commit(&connection(), epoch, vec![full.clone()]).await, "OOM");
    assert!(load(&store, 1).await.is_some(), "reading goes on");
    assert_eq!(load(&store, 2).await, None);
    server.tell(&["CONFIG", "SET", "maxmemory", "0"]).await;
    assert_eq!(store.run(&connection(), &run).await.unwrap().unwrap().emitted, 0);
    assert_eq!(commit(&store, epoch, full).await, DONE);
}

/// F17: the server cannot write its snapshot, or is kept busy by somebody's script, or has forgotten ours.
#[tokio::test]
async fn a_server_in_trouble_is_unavailable_until_it_is_over() {
    let server = RedisServer::private(&["--appendonly", "no", "--lua-time-limit", "1", "--dbfilename", "taken"]).await;
    let store = server.store();
    let epoch = epoch(&store).await;

    // Where the snapshot should go there is a directory already.
    fs::create_dir(server.directory().join("taken")).unwrap();
    server.tell(&["CONFIG", "SET", "save", "3600 1"]).await;
    server.tell(&["BGSAVE"]).await;
    while !server.ask::<String>(&["INFO", "persistence"]).await.unwrap().contains("rdb_last_bgsave_status:err") {
        tokio::task::yield_now().await;
    }
    assert_unavailable(store.commit(&connection(), epoch, vec![new_link(epoch, 1)]).await, "MISCONF");
    server.tell(&["CONFIG", "SET", "save", ""]).await;

    let url = server.url().to_owned();
    let busy = tokio::spawn(async move {
        let mut connection = ::redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap();
        ::redis::cmd("EVAL").arg("while true do end").arg(0).query_async::<Answer>(&mut connection).await
    });
    // The event is the first answer that says so.
    let answer = loop {
        match store.load(&connection(), &[LinkId(1)]).await {
            Ok(_) => tokio::task::yield_now().await,
            answer => break answer,
        }
    };
    assert_unavailable(answer, "BUSY");
    server.tell(&["SCRIPT", "KILL"]).await;
    busy.await.unwrap().unwrap_err();

    assert_eq!(commit(&store, epoch, new_link(epoch, 1)).await, DONE);
    server.tell(&["SCRIPT", "FLUSH"]).await;
    let commits = (2..30).map(|id| new_link(epoch, id)).collect();
    let done = store.commit(&connection(), epoch, commits).await.unwrap();
    assert!(done.iter().all(|committed| *committed == DONE), "each of them once: {done:?}");
    server.tell(&["SCRIPT", "FLUSH"]).await;
    assert!(load(&store, 29).await.is_some());
}

/// F17: scripts are forgotten over and over while commits are under way; each commit still happens once.
#[tokio::test]
async fn commits_happen_once_while_scripts_are_forgotten() {
    let server = RedisServer::private(&[]).await;
    let store = server.store();
    let epoch = epoch(&store).await;
    let run = begin(&store, "r1", RunKind::Sync, 400).await;
    let emits = Sides { a: false, b: true };
    let forgetting = async {
        for _ in 0..50 {
            server.tell(&["SCRIPT", "FLUSH"]).await;
        }
    };
    let committing = async {
        for number in 0..40 {
            let commits = (number * 10..number * 10 + 10).map(|number| Commit {
                count: Some(Count::Change { run: run.clone(), number, outcome: ChangeOutcome::Accepted, emits }),
                ..new_link(epoch, number.into())
            });
            let done = loop {
                match store.commit(&connection(), epoch, commits.clone().collect()).await {
                    Ok(done) => break done,
                    // Forgotten too often; some may have happened, as the trait says.
                    Err(StoreError::Unavailable(_)) => {}
                    Err(error) => panic!("{error}"),
                }
            };
            assert!(done.iter().all(|done| matches!(done, Committed::Done { .. } | Committed::Moved)), "{done:?}");
        }
    };
    tokio::join!(forgetting, committing);
    let run = store.run(&connection(), &run).await.unwrap().unwrap();
    assert_eq!((run.changes, run.emitted), (vec![(ChangeOutcome::Accepted, 400)], 400));
}

/// F13: a server that loads its data answers, but knows nothing yet.
#[tokio::test]
async fn a_loading_server_is_unavailable_never_empty() {
    let (store, _server) = imitation(|command| match command {
        "INFO" => Some(bulk("# Server\r\nredis_version:7.0.15\r\nrun_id:1\r\n")),
        "CLIENT" => Some("+OK\r\n".to_owned()),
        _ => Some("-LOADING Redis is loading the dataset in memory\r\n".to_owned()),
    })
    .await;
    assert_unavailable(store.epoch(&connection()).await, "LOADING");
    assert_unavailable(store.load(&connection(), &[LinkId(1)]).await, "LOADING");
    assert_unavailable(store.accounts(&connection(), Side::A, None).await, "LOADING");
    assert_unavailable(store.verify().await, "LOADING");
    for (answer, word) in
        [("CLUSTERDOWN down", "CLUSTERDOWN"), ("TRYAGAIN later", "TRYAGAIN"), ("MASTERDOWN x", "MASTERDOWN")]
    {
        let (store, _server) = imitation(move |command| match command {
            "INFO" => Some(bulk("run_id:1\r\n")),
            "CLIENT" => Some("+OK\r\n".to_owned()),
            _ => Some(format!("-{answer}\r\n")),
        })
        .await;
        assert_unavailable(store.letters(Some(&connection())).await, word);
    }
}

/// F18: a server that hangs costs one response time-out, and the connection.
#[tokio::test]
async fn a_hanging_server_is_unavailable() {
    let (store, _server) = imitation(|command| match command {
        "INFO" => Some(bulk("run_id:1\r\n")),
        "CLIENT" => Some("+OK\r\n".to_owned()),
        _ => None,
    })
    .await;
    assert_unavailable(store.load(&connection(), &[LinkId(1)]).await, "");
    assert_unavailable(store.ping().await, "");
    let (store, _server) = imitation(|_| None).await;
    assert_unavailable(store.ping().await, "");
}

/// F18: more work than connections waits for a bounded time.
#[tokio::test]
async fn an_exhausted_pool_is_unavailable() {
    let server = RedisServer::private(&[]).await;
    let settings = RedisSettings { pool_size: 1, wait_timeout: Duration::from_millis(50), ..server.settings() };
    let store = Arc::new(process(&settings));
    store.ping().await.unwrap();
    server.tell(&["CLIENT", "PAUSE", "60000", "ALL"]).await;
    let waiting = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.ping().await }
    });
    tokio::task::yield_now().await;
    assert_unavailable(store.ping().await, "Wait");
    waiting.abort();
    drop(waiting.await);
}

/// R5: no password in any text that can reach a log.
#[tokio::test]
async fn the_password_is_never_shown() {
    const PASSWORD: &str = "correct-horse";
    let server = RedisServer::private(&["--requirepass", PASSWORD]).await;
    let mut settings = RedisSettings { password: Some(PASSWORD.into()), ..server.settings() };
    let store = process(&settings);
    store.ping().await.unwrap();
    epoch(&store).await;
    assert!(!format!("{settings:?} {store:?}").contains(PASSWORD));

    settings.password = Some("wrong-horse".into());
    let store = process(&settings);
    let error = store.ping().await.unwrap_err();
    assert!(!format!("{error} {error:?} {settings:?} {store:?}").contains("wrong-horse"), "{error:?}");
    settings.password = None;
    let error = process(&settings).ping().await.unwrap_err();
    assert!(error.to_string().contains("NOAUTH"), "{error}");
}

/// F17, R86: a server that would lose links in silence is refused at the start.
#[tokio::test]
async fn a_server_that_evicts_is_refused() {
    let server = RedisServer::private(&["--maxmemory", "64mb"]).await;
    let store = server.store();
    assert_eq!(store.verify().await.unwrap(), Vec::<String>::new());
    server.tell(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]).await;
    let refused = store.verify().await;
    assert!(matches!(&refused, Err(StoreError::Unusable(text)) if text.contains("noeviction")), "{refused:?}");
    server.tell(&["CONFIG", "SET", "maxmemory", "0"]).await;
    let warnings = store.verify().await.unwrap();
    assert!(warnings[0].contains("noeviction") && warnings[1].contains("no maxmemory"), "{warnings:?}");
    server.tell(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
    server.tell(&["CONFIG", "SET", "appendonly", "no"]).await;
    let warnings = store.verify().await.unwrap();
    assert!(warnings[1].contains("nothing on disk"), "{warnings:?}");
    server.tell(&["CONFIG", "SET", "save", "3600 1"]).await;
    assert!(store.verify().await.unwrap()[1].contains("snapshots only"));

    server.tell(&["ACL", "SETUSER", "muster", "on", ">pw", "~*", "+@all", "-config"]).await;
    let account = |name: &str| RedisSettings {
        username: Some(name.to_owned()),
        password: Some("pw".into()),
        ..server.settings()
    };
    let warnings = process(&account("muster")).verify().await.unwrap();
    assert!(warnings[1].contains("could not be checked"), "{warnings:?}");
    server.tell(&["ACL", "SETUSER", "meek", "on", ">pw", "~*", "+@all", "-info"]).await;
    let refused = process(&account("meek")).verify().await;
    assert!(matches!(&refused, Err(StoreError::Unusable(text)) if text.contains("info")), "{refused:?}");
}

/// A link that nobody can read is named, and its content is not.
#[tokio::test]
async fn an_unreadable_link_is_named() {
    let server = RedisServer::shared().await;
    let settings = server.settings();
    let store = process(&settings);
    let epoch = epoch(&store).await;
    commit(&store, epoch, new_link(epoch, 1)).await;
    let key = format!("{}:{{{}}}:links", settings.prefix, connection());
    server.tell(&["HSET", &key, &LinkId(1).to_string(), r#"1:{"secret":"ada@x.example"}"#]).await;
    let error = store.load(&connection(), &[LinkId(1)]).await.unwrap_err();
    assert!(matches!(error, StoreError::Unusable(_)));
    let text = error.to_string();
    assert!(text.contains("crm-scim") && text.contains("0000000000000001") && !text.contains("ada"), "{text}");

    server.tell(&["DEL", &key]).await;
    server.tell(&["SET", &key, "of something else"]).await;
    assert!(matches!(store.load(&connection(), &[LinkId(1)]).await, Err(StoreError::Unusable(_))));
}

/// Every key has the connection's hash tag, and those that may go have an expiry.
#[tokio::test]
async fn keys_are_tagged_and_expire_as_documented() {
    let server = RedisServer::shared().await;
    let settings = server.settings();
    let store = process(&settings);
    let epoch = epoch(&store).await;
    let run = begin(&store, "r1", RunKind::Sync, 3).await;
    let live = begin(&store, "live-1", RunKind::Live, 1).await;
    let entry = JournalEntry {
        link: LinkId(1),
        attribute: "title".parse().unwrap(),
        side: Side::B,
        value: None,
        reason: resolve::JournalReason::ConflictLost,
        seen_at: Timestamp(1),
    };
    let emits = Sides { a: true, b: false };
    let step = Commit {
        journal: vec![entry.clone()],
        reread: vec![(Side::B, "b1".parse().unwrap())],
        count: Some(Count::Change { run: run.clone(), number: 0, outcome: ChangeOutcome::ConflictLost, emits }),
        ..new_link(epoch, 1)
    };
    assert_eq!(commit(&store, epoch, step).await, DONE);
    let request = SyncRequest { run, kind: RunKind::Sync, by: "ada".to_owned(), only: None };
    store.request(&connection(), &request).await.unwrap();
    store.beat("writer", "host/1").await.unwrap();

    let tag = format!("{}:{{crm-scim}}:", settings.prefix);
    let day = 24 * 3600_i64;
    let keys: Vec<String> = server.ask(&["KEYS", &format!("{}:*", settings.prefix)]).await.unwrap();
    assert!(keys.len() >= 11, "{keys:?}");
    for key in keys {
        let ttl: i64 = server.ask(&["TTL", &key]).await.unwrap();
        let expected = match key.strip_prefix(&tag) {
            Some(name) if name.starts_with(&format!("run:{live}")) => 7 * day,
            Some(name) if name.starts_with("run:") || name == "journal" => 30 * day,
            Some("requests") => 7 * day,
            Some(_) => -1,
            None => {
                assert_eq!(key, format!("{}:instances", settings.prefix));
                15
            }
        };
        assert!(ttl <= expected && ttl >= expected - 5, "{key}: {ttl} s, expected {expected} s");
    }
    let journal: Vec<(String, Vec<String>)> =
        server.ask(&["XRANGE", &format!("{tag}journal"), "-", "+"]).await.unwrap();
    assert_eq!(journal[0].1[0], "e");
    assert_eq!(serde_json::from_str::<JournalEntry>(&journal[0].1[1]).unwrap(), entry);
}

/// The budget of the design: 1,300 bytes for a link with ten attributes, its claims included.
#[tokio::test]
async fn a_link_of_ten_attributes_fits_its_budget() {
    const LINKS: u64 = 2_000;
    let server = RedisServer::private(&[]).await;
    let settings = server.settings();
    let store = process(&settings);
    let epoch = epoch(&store).await;
    let used = async || -> i64 {
        let info: String = server.ask(&["INFO", "memory"]).await.unwrap();
        let line = info.lines().find_map(|line| line.strip_prefix("used_memory_dataset:")).unwrap();
        line.trim().parse().unwrap()
    };
    let before = used().await;
    let commits: Vec<Commit> = (0..LINKS).map(|id| link_in_sync(epoch, id)).collect();
    for commits in commits.chunks(200) {
        store.commit(&connection(), epoch, commits.to_vec()).await.unwrap();
    }
    let after = used().await;

    let mut bytes = 0;
    for name in ["links", "accounts:a", "accounts:b", "keys:a", "keys:b"] {
        let key = format!("{}:{{crm-scim}}:{name}", settings.prefix);
        let size: u64 = server.ask(&["MEMORY", "USAGE", &key, "SAMPLES", "0"]).await.unwrap();
        println!("{name}: {} bytes a link", size / LINKS);
        bytes += size;
    }
    println!("{} bytes a link by MEMORY USAGE, {} by INFO", bytes / LINKS, (after - before) / LINKS as i64);
    assert!(bytes / LINKS <= 1_300, "{} bytes a link", bytes / LINKS);
}

/// A pair in sync, as a first load leaves it: ten attributes of ordinary length, two accounts, a matching key on each side.
fn link_in_sync(epoch: Epoch, id: u64) -> Commit {
    let (a, b) = (format!("005RM00000{id:08}"), uuid::Uuid::from_u128(u128::from(id) << 64 | 7).to_string());
    let values = [
        ("userName", format!("Ada.Lovelace.{id}@example.com")),
        ("emails", format!("Ada.Lovelace.{id}@example.com")),
        ("name.givenName", "Ada Augusta".to_owned()),
        ("name.familyName", format!("Lovelace{id}")),
        ("displayName", format!("Ada Lovelace{id}")),
        ("title", "Senior Analyst".to_owned()),
        ("phoneNumbers", format!("+44 20 7946 {id:04}")),
        ("locale", "en_GB".to_owned()),
        ("timezone", "Europe/London".to_owned()),
        ("urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department", "Analytical Engines".to_owned()),
    ];
    let mut commit = new_link(epoch, id.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let link = commit.link.as_mut().unwrap();
    let version = |at: i64, tag: Option<&str>| Version {
        modified_at: Some(Timestamp(1_763_760_000_000 + at)),
        read_at: Timestamp(1_763_760_900_000 + at),
        tag: tag.map(Box::from),
    };
    link.sides.a.account = Some(a.parse().unwrap());
    link.sides.b.account = Some(b.parse().unwrap());
    link.sides.a.seen_at = Some(version(0, None));
    link.sides.b.seen_at = Some(version(5_000, Some("W/\"3694e05e9dff590\"")));
    let key = DigestKey::new(&connection(), epoch);
    // The two systems compare letter case differently, so that hardly a digest is the same on both sides.
    let folded = Comparison { fold_case: true, trim: true, empty_is_clear: true };
    for (name, value) in values {
        let path: AttributePath = name.parse().unwrap();
        let value = Value::Text(value);
        let exact = Comparison::default();
        link.sides.a.seen.insert(path.clone(), key.digest(&path, Some(&value), exact));
        link.sides.b.seen.insert(path.clone(), key.digest(&path, Some(&value), folded));
        let at = version(0, None);
        let register =
            Register { value: Some(value), at, by: Side::A, generation: 1, applied: Sides { a: 1, b: 1 }, hold: None };
        link.registers.insert(path, register);
    }
    let digest = format!("emails={:016x}", id.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    commit.claim = vec![
        Claim::Account(Side::A, a.parse().unwrap()),
        Claim::Account(Side::B, b.parse().unwrap()),
        Claim::Key(Side::A, digest.clone()),
        Claim::Key(Side::B, digest),
    ];
    commit
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

fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

/// A server that answers each command by its first word, or not at all; it goes with what is returned beside the store.
async fn imitation(
    answer: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
) -> (RedisStore, tokio::task::JoinSet<()>) {
    let listener = TcpListener::bind(("127.0.0.1", crate::redis_server::free_port())).await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = Arc::new(answer);
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        let mut served = tokio::task::JoinSet::new();
        while let Ok((mut client, _)) = listener.accept().await {
            let answer = Arc::clone(&answer);
            served.spawn(async move {
                let (mut received, mut buffer) = (Vec::new(), [0; 4096]);
                while let Ok(bytes @ 1..) = client.read(&mut buffer).await {
                    received.extend_from_slice(&buffer[..bytes]);
                    for command in take_commands(&mut received) {
                        if let Some(text) = answer(&command) {
                            client.write_all(text.as_bytes()).await.unwrap();
                        }
                    }
                }
            });
        }
    });
    let settings = RedisSettings {
        response_timeout: Duration::from_millis(150),
        connect_timeout: Duration::from_millis(150),
        ..RedisSettings::new(format!("redis://{address}/"))
    };
    (RedisStore::open(&settings).unwrap(), tasks)
}

/// Takes whole commands off what was received, and returns their first words.
fn take_commands(received: &mut Vec<u8>) -> Vec<String> {
    let mut commands = Vec::new();
    loop {
        let text = String::from_utf8_lossy(received).into_owned();
        let Some(rest) = text.strip_prefix('*') else { return commands };
        let Some((count, mut rest)) = rest.split_once("\r\n") else { return commands };
        let mut first = None;
        for _ in 0..count.parse::<usize>().unwrap() {
            let Some((length, after)) = rest.split_once("\r\n") else { return commands };
            let length: usize = length[1..].parse().unwrap();
            if after.len() < length + 2 {
                return commands;
            }
            first.get_or_insert_with(|| after[..length].to_uppercase());
            rest = &after[length + 2..];
        }
        let taken = text.len() - rest.len();
        commands.extend(first);
        received.drain(..taken);
    }
}
