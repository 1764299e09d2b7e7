//! A process that is killed while it commits.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use muster::domain::*;
use muster::store::*;

use super::{folder, open};
use crate::store::{begin, claims, connection, epoch, new_link};

/// Tells the test below to be the process that is killed, and on which file.
const FILE: &str = "MUSTER_TEST_COMMITS_TO";
const BATCH: u64 = 25;
/// The process ends by itself after so many batches if nobody kills it.
const BATCHES: u64 = 4_000;

/// Not a fact of its own: what the next test starts as another process. It says which batches are committed.
#[tokio::test]
async fn commits_until_it_is_killed() {
    let Ok(path) = std::env::var(FILE) else { return };
    let store = open(Path::new(&path)).await;
    let epoch = epoch(&store).await;
    let run: RunId = "r1".parse().unwrap();
    let first = store.counts(&connection()).await.unwrap().links;
    for batch in 0..BATCHES {
        let first = first + batch * BATCH;
        let commits = (first..first + BATCH).map(|id| {
            let mut new = new_link(epoch, id);
            new.claim.push(Claim::Key(Side::A, format!("emails={id:016x}")));
            let (number, outcome) = (id as u32, ChangeOutcome::Accepted);
            let emits = Sides { a: false, b: true };
            Commit { count: Some(Count::Change { run: run.clone(), number, outcome, emits }), ..new }
        });
        store.commit(&connection(), epoch, &commits.collect::<Vec<_>>()).await.unwrap();
        println!("committed {}", first + BATCH);
    }
}

/// B3, R76: what was answered is there after a kill -9, and of what was not, each step is there whole or not at all.
#[tokio::test]
async fn a_killed_process_leaves_whole_commits() {
    let (_folder, path) = folder();
    let run = begin(&open(&path).await, "r1", RunKind::Sync, 1_000_000).await;
    for round in 1..=5 {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["embedded_store::kills::commits_until_it_is_killed", "--exact", "--nocapture"])
            .env(FILE, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        // The runner writes something of its own in front of the first.
        let mut committed = lines.filter_map(|line| Some(line.split_once("committed ")?.1.parse::<u64>().unwrap()));
        let answered = committed.nth(4 * round).unwrap();
        process.kill().unwrap();
        // It may have said more before it died.
        let answered = committed.last().unwrap_or(answered);
        process.wait().unwrap();

        let store = open(&path).await;
        let links = store.counts(&connection()).await.unwrap().links;
        assert!(links >= answered, "{links} of {answered}");
        let all: Vec<LinkId> = (0..links + 2 * BATCH).map(LinkId).collect();
        let loaded = store.load(&connection(), &all).await.unwrap().items;
        assert_eq!(loaded.iter().flatten().count() as u64, links);
        assert!(loaded.iter().take(answered as usize).all(Option::is_some), "what was answered");
        assert_eq!(claims(&store).await.len() as u64, 2 * links);
        let run = store.run(&connection(), &run).await.unwrap().unwrap();
        assert_eq!(u64::from(run.changes(ChangeOutcome::Accepted)), links);
        assert_eq!(u64::from(run.emitted), links);
    }
}
