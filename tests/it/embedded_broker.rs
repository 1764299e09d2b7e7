//! What only the broker in a file does, and the file itself: processes that share it, die on it, and fill its disk.
//!
//! A process that dies is this test program once more, see [`as_another_process`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use muster::broker::embedded::{EmbeddedBroker, EmbeddedConsumer};
use muster::broker::message::Payload;
use muster::broker::{Broker, Consumer, Delivery, Destination, Message, Outgoing};
use muster::database::{Database, DatabaseError};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::broker::{Subject, bulk, command, live, number, soon, to};

/// Says what the other process does, and on which file.
const ROLE: &str = "MUSTER_TEST_ROLE";
const FILE: &str = "MUSTER_TEST_FILE";

/// How what the other process says begins, among what the test harness says.
const SAYS: &str = "said: ";

/// A file of its own.
struct File {
    directory: tempfile::TempDir,
}

impl File {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("muster.db")
    }

    fn open(&self) -> Database {
        Database::open(&self.path()).unwrap()
    }
}

/// This test program once more, killed when it is dropped.
struct Other {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Other {
    fn start(role: &str, file: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "embedded_broker::as_another_process", "--nocapture"])
            .env(ROLE, role)
            .env(FILE, file)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The next thing that it says; `None` once it is dead.
    async fn says(&mut self) -> Option<String> {
        while let Some(line) = self.lines.next_line().await.unwrap() {
            // The harness may have begun the line.
            if let Some((_, said)) = line.split_once(SAYS) {
                return Some(said.to_owned());
            }
        }
        None
    }

    /// SIGKILL, and waits for the end.
    async fn kill(mut self) -> Vec<String> {
        self.child.kill().await.unwrap();
        let mut rest = Vec::new();
        while let Some(said) = self.says().await {
            rest.push(said);
        }
        rest
    }
}

/// Not a fact by itself: what the other process of a test does. Without its role, nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_another_process() {
    let (Ok(role), Ok(file)) = (std::env::var(ROLE), std::env::var(FILE)) else { return };
    let broker = EmbeddedBroker::open(&Database::open(Path::new(&file)).unwrap());
    match role.as_str() {
        "take" => {
            let mut consumer = broker.consume(vec![live()], 3).await.unwrap();
            let mut in_hand = Vec::new();
            loop {
                in_hand.push(consumer.next().await.unwrap());
                println!("{SAYS}{}", number(in_hand.last().unwrap().message().unwrap()));
            }
        }
        "publish" => {
            for publisher in 0..8 {
                let broker = broker.clone();
                tokio::spawn(async move {
                    for round in 0.. {
                        let page = [publisher * 1_000_000 + round * 2, publisher * 1_000_000 + round * 2 + 1];
                        broker.publish(page.map(|number| to(&live(), command(number))).into()).await.unwrap();
                        println!("{SAYS}{} {}", page[0], page[1]);
                    }
                });
            }
            std::future::pending().await
        }
        "work" => {
            let mut consumer = broker.consume(vec![live()], 20).await.unwrap();
            while let Some(delivery) = consumer.next().await {
                let again = Message::new(delivery.message().unwrap().payload.clone());
                broker.publish(vec![to(&bulk(), again)]).await.unwrap();
                println!("{SAYS}{}", number(delivery.message().unwrap()));
                delivery.ack().await;
            }
        }
        other => panic!("no role {other}"),
    }
}

async fn numbers(consumer: &mut EmbeddedConsumer, count: usize) -> BTreeMap<u64, u32> {
    let mut found = BTreeMap::new();
    while found.len() < count {
        let delivery = soon(consumer.next()).await.unwrap();
        found.insert(number(delivery.message().unwrap()), delivery.redeliveries());
        delivery.ack().await;
    }
    found
}

/// B3: a second working process waits; when the first is killed it goes on with what that had in hand, and a message
/// that kills whoever takes it is counted each time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_process_takes_over_from_a_killed_one_and_counts() {
    let file = File::new();
    let database = file.open();
    let broker = EmbeddedBroker::open(&database);
    broker.declare(&[live()]).await.unwrap();
    broker.publish((0..5).map(|number| to(&live(), command(number))).collect()).await.unwrap();
    for round in 1..=2 {
        let mut other = Other::start("take", &file.path());
        let mut out = BTreeSet::new();
        for _ in 0..3 {
            out.insert(soon(other.says()).await.unwrap());
        }
        let mut leading = Box::pin(database.lead());
        assert!(futures_util::poll!(&mut leading).is_pending(), "two processes work on one file");
        drop(leading);
        assert_eq!(broker.depths(&[live()]).await.unwrap()[0].ready, 2, "round {round}: three are out");
        assert_eq!(soon(other.kill()).await, Vec::<String>::new());
    }
    let mut consumer = broker.consume(vec![live()], 10).await.unwrap();
    let found = soon(numbers(&mut consumer, 5)).await;
    // Whatever came back went to the end, so the second process took the two that the first had not, and one of those.
    assert_eq!(found, [(0, 2), (1, 1), (2, 1), (3, 1), (4, 1)].into());
    assert!(broker.health().consuming);
}

/// B3: whoever waits for its turn can be stopped, and says meanwhile that it is not fed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_for_the_other_process_can_be_given_up() {
    let file = File::new();
    let (working, waiting) = (EmbeddedBroker::open(&file.open()), EmbeddedBroker::open(&file.open()));
    working.declare(&[live()]).await.unwrap();
    let mut first = working.consume(vec![live()], 1).await.unwrap();
    working.publish(vec![to(&live(), command(1))]).await.unwrap();
    soon(first.next()).await.unwrap().ack().await;
    let mut second = waiting.consume(vec![live()], 1).await.unwrap();
    assert!(futures_util::poll!(Box::pin(second.next())).is_pending());
    assert!(!waiting.health().consuming);
    soon(second.stop()).await;
    assert!(soon(second.next()).await.is_none());
    assert!(waiting.health().consuming, "nobody consumes");
    soon(waiting.close()).await;
}

/// B3: what a publish that returned has stored is there after a kill, and a page is there whole or not at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_published_is_lost_by_a_kill() {
    let file = File::new();
    EmbeddedBroker::open(&file.open()).declare(&[live()]).await.unwrap();
    let mut other = Other::start("publish", &file.path());
    let mut said = Vec::new();
    while said.len() < 200 {
        said.push(soon(other.says()).await.unwrap());
    }
    said.extend(soon(other.kill()).await);
    let broker = EmbeddedBroker::open(&file.open());
    let ready = broker.depths(&[live()]).await.unwrap()[0].ready;
    let mut consumer = broker.consume(vec![live()], 100).await.unwrap();
    let found = soon(numbers(&mut consumer, usize::try_from(ready).unwrap())).await;
    for page in said {
        // The last line may have been cut.
        for number in page.split(' ').filter(|_| page.contains(' ')) {
            assert!(found.contains_key(&number.parse().unwrap()), "{number} was lost");
        }
    }
    for number in found.keys() {
        assert!(found.contains_key(&(number ^ 1)), "half of a page is there: {number}");
    }
}

/// B3: work that is passed on before it is acknowledged is never lost, whenever its process is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_survives_kill_after_kill() {
    let file = File::new();
    let broker = EmbeddedBroker::open(&file.open());
    broker.declare(&[live(), bulk()]).await.unwrap();
    broker.publish((0..300).map(|number| to(&live(), command(number))).collect()).await.unwrap();
    for round in 0..4 {
        let mut other = Other::start("work", &file.path());
        for _ in 0..20 + 7 * round {
            soon(other.says()).await.unwrap();
        }
        soon(other.kill()).await;
    }
    let last = Other::start("work", &file.path());
    while broker.depths(&[live()]).await.unwrap()[0].ready > 0 {
        tokio::task::yield_now().await;
    }
    soon(last.kill()).await;
    // What the last one had in hand, if it had something.
    let mut consumer = broker.consume(vec![bulk(), live()], 100).await.unwrap();
    let found = soon(numbers(&mut consumer, 300)).await;
    assert_eq!(found.into_keys().collect::<Vec<_>>(), (0..300).collect::<Vec<_>>());
}

/// Limits the file to so many pages more than it has.
async fn limit(database: &Database, more_pages: i64) {
    let limited = database.write(move |connection| -> Result<(), DatabaseError> {
        let pages: i64 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
        connection.pragma_update_and_check(None, "max_page_count", pages + more_pages, |_| Ok(()))?;
        Ok(())
    });
    limited.await.unwrap();
}

/// Publishing waits while the disk is full, says so, and goes on; what was taken meanwhile is settled in the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_waited_out_and_nothing_is_lost() {
    let file = File::new();
    let database = file.open();
    let broker = EmbeddedBroker::open(&database);
    broker.declare(&[live()]).await.unwrap();
    let large = |number: u64| Message { traceparent: Some("x".repeat(20_000)), ..command(number) };
    broker.publish((0..3).map(|number| to(&live(), large(number))).collect()).await.unwrap();
    let mut consumer = broker.consume(vec![live()], 1).await.unwrap();
    let first = soon(consumer.next()).await.unwrap();
    limit(&database, 0).await;
    let publishers: Vec<_> = (3..40)
        .map(|number| {
            let (broker, message) = (broker.clone(), large(number));
            tokio::spawn(async move { broker.publish(vec![to(&live(), message)]).await })
        })
        .collect();
    let given_up = tokio::spawn({
        let (broker, message) = (broker.clone(), large(1000));
        async move { broker.publish(vec![to(&live(), message)]).await }
    });
    soon(async {
        while broker.health().blocked.is_none_or(|reason| reason != "the disk is full") {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(!broker.health().publishing);
    given_up.abort();
    first.ack().await;
    limit(&database, 1_000_000).await;
    for publisher in publishers {
        soon(publisher).await.unwrap().unwrap();
    }
    let found = soon(numbers(&mut consumer, 39)).await;
    assert_eq!(found.into_keys().filter(|number| *number != 1000).collect::<Vec<_>>(), (1..40).collect::<Vec<_>>());
    soon(async {
        while !broker.health().publishing {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(broker.health().blocked, None);
}

/// A copy of a file at work is whole: every message in exactly one state, letters and all, and what was out when it was
/// made comes again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_a_busy_file_holds_everything() {
    let file = File::new();
    let database = file.open();
    let broker = EmbeddedBroker::open(&database);
    broker.declare(&[live(), bulk()]).await.unwrap();
    let letter = Message::new(Payload::Raw(b"?"[..].into()));
    broker.publish(vec![Outgoing { to: Destination::Dead, message: letter }]).await.unwrap();
    broker.publish((0..500).map(|number| to(&live(), command(number))).collect()).await.unwrap();
    let work = tokio::spawn({
        let broker = broker.clone();
        async move {
            let mut consumer = broker.consume(vec![live()], 50).await.unwrap();
            while let Some(delivery) = consumer.next().await {
                let again = Message::new(delivery.message().unwrap().payload.clone());
                broker.publish(vec![to(&bulk(), again)]).await.unwrap();
                delivery.ack().await;
            }
        }
    });
    let target = file.directory.path().join("copy.db");
    // The first is replaced by the second.
    for _ in 0..2 {
        soon(database.backup(&target)).await.unwrap();
    }
    work.abort();
    let names: Vec<_> = std::fs::read_dir(file.directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("copy"))
        .collect();
    assert_eq!(names, ["copy.db"], "nothing else is left behind");
    let copy = Database::open(&target).unwrap();
    assert!(!copy.worked_before());
    assert_eq!((restored(&database).await, restored(&copy).await), (None, Some(1)));
    let copied = EmbeddedBroker::open(&copy);
    let mut consumer = copied.consume(vec![bulk(), live()], 100).await.unwrap();
    let found = soon(numbers(&mut consumer, 500)).await;
    assert_eq!(found.into_keys().collect::<Vec<_>>(), (0..500).collect::<Vec<_>>());
    assert_eq!(copied.entries().await, [], "a letter that cannot be read is passed over");
}

async fn restored(database: &Database) -> Option<i64> {
    let read = database.read(|connection| -> Result<_, DatabaseError> {
        let mut select = connection.prepare("SELECT value FROM meta WHERE name = 'restored'")?;
        let mut rows = select.query([])?;
        Ok(rows.next()?.map(|row| row.get(0)).transpose()?)
    });
    read.await.unwrap()
}

/// A retry to a queue that nobody declared is refused at once: there is nobody who could see it later.
#[tokio::test]
async fn a_retry_without_a_home_is_refused() {
    let file = File::new();
    let broker = EmbeddedBroker::open(&file.open());
    let to = Destination::Retry { home: live(), after: Duration::from_secs(1) };
    let refused = broker.publish(vec![Outgoing { to, message: command(1) }]).await.unwrap_err();
    assert!(refused.to_string().contains("muster.commands.chat"), "{refused}");
    let missing = broker.depths(&[live()]).await.unwrap_err();
    assert!(missing.to_string().contains("muster.commands.chat"), "{missing}");
}
