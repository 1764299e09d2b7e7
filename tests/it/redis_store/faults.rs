//! Redis refuses, delays or does not answer: never taken for "absent".

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use ::redis::Value as Answer;
use muster::domain::*;
use muster::store::redis::{RedisSettings, RedisStore};
use muster::store::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::process;
use crate::redis_server::RedisServer;
use crate::store::{DONE, begin, commit, connection, epoch, load, new_link};

#[track_caller]
fn assert_unavailable<T: std::fmt::Debug>(answer: Result<T, StoreError>, word: &str) {
    assert!(matches!(&answer, Err(StoreError::Unavailable(text)) if text.contains(word)), "{word}: {answer:?}");
}

/// F16: the old primary, demoted, and a replica that was promoted: another run id is another server.
#[tokio::test]
async fn a_read_only_server_is_unavailable() {
    let server = RedisServer::private(&[]).await;
    let store = server.store();
    let epoch = epoch(&store).await;
    commit(&store, epoch, new_link(epoch, 1)).await;
    server.tell(&["REPLICAOF", "127.0.0.1", "1"]).await;
    assert_unavailable(store.commit(&connection(), epoch, &[new_link(epoch, 2)]).await, "READONLY");
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
    assert_unavailable(store.commit(&connection(), epoch, std::slice::from_ref(&full)).await, "OOM");
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
    assert_unavailable(store.commit(&connection(), epoch, &[new_link(epoch, 1)]).await, "MISCONF");
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
    let commits: Vec<_> = (2..30).map(|id| new_link(epoch, id)).collect();
    let done = store.commit(&connection(), epoch, &commits).await.unwrap();
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
                match store.commit(&connection(), epoch, &commits.clone().collect::<Vec<_>>()).await {
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
