//! What every broker does: one suite, generic over the trait, run against each implementation.

use std::collections::BTreeSet;
use std::future::Future;
use std::time::{Duration, Instant};

use muster::broker::amqp::AmqpBroker;
use muster::broker::embedded::EmbeddedBroker;
use muster::broker::message::{MAX_BODY_BYTES, Payload};
use muster::broker::{Broker, Consumer, Delivery, Destination, Message, MessageError, Outgoing, PublishError, Queue};
use muster::database::Database;
use muster::domain::{Cause, Command, Lane, LetterEntry, LetterId, LinkId, Resolution, Side, Timestamp};
use tokio::time::timeout;

use crate::rabbitmq::RabbitMq;

/// Nothing in here takes this long unless it hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for what must come.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.expect("it did not happen in time")
}

/// A command for a link of this number.
pub fn command(number: u64) -> Message {
    Message::new(Payload::Commands(vec![Command {
        connection: "crm-chat".parse().unwrap(),
        link: LinkId(number),
        side: Side::B,
        cause: Cause { run: "r1".parse().unwrap(), number: 0 },
        lane: Lane::Live,
        approval: None,
        failed: Vec::new(),
    }]))
}

/// The number that [`command`] was given.
pub fn number(message: &Message) -> u64 {
    match &message.payload {
        Payload::Commands(commands) => commands[0].link.0,
        other => panic!("not a command: {other:?}"),
    }
}

pub fn to(queue: &Queue, message: Message) -> Outgoing {
    Outgoing { to: Destination::Queue(queue.clone()), message }
}

pub fn live() -> Queue {
    Queue::Commands("chat".parse().unwrap())
}

pub fn bulk() -> Queue {
    Queue::CommandsBulk("chat".parse().unwrap())
}

/// A broker under test: with what the trait leaves to its implementations.
pub trait Subject: Broker {
    /// All entries of the log of dead letters.
    fn entries(&self) -> impl Future<Output = Vec<LetterEntry>> + Send;
}

impl Subject for AmqpBroker {
    async fn entries(&self) -> Vec<LetterEntry> {
        let mut log = self.letters().await.unwrap();
        let mut entries = Vec::new();
        while let Some(entry) = log.next().await.unwrap() {
            entries.push(entry);
        }
        entries
    }
}

impl Subject for EmbeddedBroker {
    async fn entries(&self) -> Vec<LetterEntry> {
        let mut log = self.letters().await.unwrap();
        let mut entries = Vec::new();
        while let Some(entry) = log.next().await.unwrap() {
            entries.push(entry);
        }
        entries
    }
}

/// Two brokers on the same queues, as two processes have them.
async fn at_rabbitmq() -> (AmqpBroker, AmqpBroker, ()) {
    let settings = RabbitMq::shared().await.settings();
    (AmqpBroker::open(settings.clone()), AmqpBroker::open(settings), ())
}

/// Two brokers in one file, as two processes have them, and the directory that goes when the test ends.
async fn in_a_file() -> (EmbeddedBroker, EmbeddedBroker, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let open = || EmbeddedBroker::open(&Database::open(&directory.path().join("muster.db")).unwrap());
    (open(), open(), directory)
}

/// One test per fact and implementation. A fact is about one broker, or about two on the same queues. What else `$open`
/// makes is kept until the test ends.
macro_rules! conformance {
    ($($module:ident: $open:expr),+; one: $one:tt, two: $two:tt) => {
        $(
            mod $module {
                use super::*;
                conformance! { @one $open, $one }
                conformance! { @two $open, $two }
            }
        )+
    };
    (@one $open:expr, [$($fact:ident),+ $(,)?]) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $fact() {
                let (broker, _, _keep) = $open.await;
                soon(super::$fact(&broker)).await;
                soon(broker.close()).await;
            }
        )+
    };
    (@two $open:expr, [$($fact:ident),+ $(,)?]) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $fact() {
                let (first, second, _keep) = $open.await;
                soon(super::$fact(first, second)).await;
            }
        )+
    };
}

conformance! {
    rabbitmq: at_rabbitmq(),
    embedded: in_a_file();
    one: [
        what_was_published_is_delivered_and_acknowledged_once,
        what_is_dropped_comes_back_and_is_counted,
        a_consumer_that_stops_gives_back_what_it_did_not_hand_out,
        a_retry_comes_home_with_its_attempts,
        a_retry_waits_as_long_as_was_asked_at_least,
        live_work_overtakes_bulk_work,
        letters_are_read_without_taking_them_out,
        a_message_without_a_queue_is_named_to_its_own_publisher,
        what_cannot_be_read_is_handed_out_with_the_reason,
        a_body_over_the_limit_is_named,
        no_more_than_the_prefetch_is_in_hand,
        a_closed_broker_says_so,
    ],
    two: [
        what_was_published_outlives_its_broker,
        another_process_may_publish_meanwhile,
        what_a_process_leaves_in_hand_comes_to_the_next_and_is_counted,
    ]
}

/// What was published before the answer came is there for any consumer, and gone once acknowledged.
async fn what_was_published_is_delivered_and_acknowledged_once(broker: &impl Subject) {
    broker.declare(&[live()]).await.unwrap();
    broker.declare(&[live()]).await.expect("declaring again changes nothing");
    let message = Message { attempt: 2, traceparent: Some("00-1-2-01".to_owned()), ..command(1) };
    broker.publish(vec![to(&live(), message.clone()), to(&live(), command(2))]).await.unwrap();
    let mut consumer = broker.consume(vec![live()], 10).await.unwrap();
    let first = consumer.next().await.unwrap();
    assert_eq!(first.message(), Ok(&message));
    assert_eq!((first.message_id(), first.queue(), first.attempt()), (message.id.as_str(), &live(), 2));
    assert_eq!((first.redeliveries(), first.body()), (0, &message.encode()[..]));
    let second = consumer.next().await.unwrap();
    assert_eq!(number(second.message().unwrap()), 2);
    first.ack().await;
    second.ack().await;
    consumer.stop().await;
    assert!(consumer.next().await.is_none());
    let depths = broker.depths(&[live()]).await.unwrap();
    assert!(depths.iter().all(|depth| depth.ready == 0), "{depths:?}");
    assert!(broker.health().publishing);
}

/// B3: a delivery whose work was not finished is delivered again, and says how often that was.
async fn what_is_dropped_comes_back_and_is_counted(broker: &impl Subject) {
    broker.declare(&[live()]).await.unwrap();
    broker.publish(vec![to(&live(), command(1))]).await.unwrap();
    let mut consumer = broker.consume(vec![live()], 10).await.unwrap();
    for redeliveries in 0..4 {
        let delivery = consumer.next().await.unwrap();
        assert_eq!(delivery.redeliveries(), redeliveries);
        drop(delivery);
    }
    consumer.next().await.unwrap().ack().await;
}

async fn a_consumer_that_stops_gives_back_what_it_did_not_hand_out(broker: &impl Subject) {
    broker.declare(&[live()]).await.unwrap();
    broker.publish((0..20).map(|number| to(&live(), command(number))).collect()).await.unwrap();
    let mut first = broker.consume(vec![live()], 20).await.unwrap();
    let in_hand = first.next().await.unwrap();
    first.stop().await;
    let mut second = broker.consume(vec![live()], 20).await.unwrap();
    let mut numbers = BTreeSet::new();
    for _ in 1..20 {
        let delivery = second.next().await.unwrap();
        numbers.insert(number(delivery.message().unwrap()));
        delivery.ack().await;
    }
    // What was handed out is still settled after the stop.
    numbers.insert(number(in_hand.message().unwrap()));
    in_hand.ack().await;
    assert_eq!(numbers, (0..20).collect());
}

/// R74: retries wait outside the queue and come back to it with their attempts counted.
async fn a_retry_comes_home_with_its_attempts(broker: &impl Subject) {
    broker.declare(&[live(), bulk()]).await.unwrap();
    let retry = |home: Queue, attempt: u32| Outgoing {
        to: Destination::Retry { home, after: Duration::from_millis(1) },
        message: Message { attempt, ..command(u64::from(attempt)) },
    };
    broker.publish(vec![retry(live(), 3), retry(bulk(), 4)]).await.unwrap();
    let mut consumer = broker.consume(vec![live(), bulk()], 10).await.unwrap();
    let mut found = BTreeSet::new();
    for _ in 0..2 {
        let delivery = consumer.next().await.unwrap();
        assert_eq!(delivery.message().unwrap().attempt, delivery.attempt());
        found.insert((delivery.queue().clone(), delivery.attempt()));
        delivery.ack().await;
    }
    assert_eq!(found, [(live(), 3), (bulk(), 4)].into());
}

/// R74: the wait is never shorter than asked for, so what a target forbade for a while is not sent earlier.
async fn a_retry_waits_as_long_as_was_asked_at_least(broker: &impl Subject) {
    broker.declare(&[live()]).await.unwrap();
    let after = Duration::from_millis(700);
    let mut consumer = broker.consume(vec![live()], 10).await.unwrap();
    let began = Instant::now();
    let to = Destination::Retry { home: live(), after };
    broker.publish(vec![Outgoing { to, message: command(1) }]).await.unwrap();
    consumer.next().await.unwrap().ack().await;
    assert!(began.elapsed() >= after, "it came after {:?}", began.elapsed());
}

/// B18: a live edit overtakes a bulk load.
async fn live_work_overtakes_bulk_work(broker: &impl Subject) {
    broker.declare(&[live(), bulk()]).await.unwrap();
    broker.publish((0..50).map(|number| to(&bulk(), command(number))).collect()).await.unwrap();
    let mut consumer = broker.consume(vec![live(), bulk()], 10).await.unwrap();
    let mut unsettled = vec![consumer.next().await.unwrap()];
    broker.publish(vec![to(&live(), command(100))]).await.unwrap();
    // At most the prefetch can have come before it.
    while unsettled.last().is_none_or(|delivery| delivery.queue() != &live()) {
        assert!(unsettled.len() <= 10, "the live message was not served first");
        unsettled.push(consumer.next().await.unwrap());
    }
    assert_eq!(number(unsettled.last().unwrap().message().unwrap()), 100);
    for delivery in unsettled {
        delivery.ack().await;
    }
}

/// R78: the log of dead letters can be read again and again.
async fn letters_are_read_without_taking_them_out(broker: &impl Subject) {
    broker.declare(&[]).await.unwrap();
    assert_eq!(broker.entries().await, []);
    let entry = |name: &str| LetterEntry::Closed {
        id: LetterId::from_text(name),
        resolution: Resolution::Healed,
        at: Timestamp(7),
        by: "writer".to_owned(),
    };
    let page = |names: &[&str]| Outgoing {
        to: Destination::Dead,
        message: Message::new(Payload::Letters(names.iter().map(|name| entry(name)).collect())),
    };
    broker.publish(vec![page(&["one", "two"])]).await.unwrap();
    broker.publish(vec![page(&["three"])]).await.unwrap();
    let expected = ["one", "two", "three"].map(entry);
    assert_eq!(broker.entries().await, expected);
    assert_eq!(broker.entries().await, expected);
}

async fn a_message_without_a_queue_is_named_to_its_own_publisher(broker: &impl Subject) {
    broker.declare(&[live()]).await.unwrap();
    let nowhere = Queue::Commands("nowhere".parse().unwrap());
    let publishers = (0..100_u64).map(|number| {
        let (broker, lost) = (broker.clone(), number % 3 == 0);
        let queue = if lost { nowhere.clone() } else { live() };
        tokio::spawn(async move {
            let message = command(number);
            let id = message.id.clone();
            match broker.publish(vec![to(&queue, message)]).await {
                Ok(()) => assert!(!lost, "{number} was taken for published"),
                Err(PublishError::Unroutable { message_id, .. }) => assert!(lost && message_id == id, "{number}"),
                Err(error) => panic!("{number}: {error}"),
            }
        })
    });
    for publisher in publishers.collect::<Vec<_>>() {
        publisher.await.unwrap();
    }
    assert_eq!(broker.depths(&[live()]).await.unwrap()[0].ready, 66);
}

async fn what_cannot_be_read_is_handed_out_with_the_reason(broker: &impl Subject) {
    broker.declare(&[live()]).await.unwrap();
    let raw = Message::new(Payload::Raw(b"\xff not json"[..].into()));
    let id = raw.id.clone();
    broker.publish(vec![to(&live(), raw)]).await.unwrap();
    let mut consumer = broker.consume(vec![live()], 1).await.unwrap();
    let delivery = consumer.next().await.unwrap();
    assert!(matches!(delivery.message(), Err(MessageError::Malformed(_))));
    assert_eq!((delivery.message_id(), delivery.body()), (id.as_str(), &b"\xff not json"[..]));
    delivery.ack().await;
}

async fn a_body_over_the_limit_is_named(broker: &impl Subject) {
    broker.declare(&[live()]).await.unwrap();
    let message = Message::new(Payload::Raw(vec![b'x'; MAX_BODY_BYTES + 1].into()));
    let id = message.id.clone();
    let refused = broker.publish(vec![to(&live(), message)]).await.unwrap_err();
    assert!(matches!(refused, PublishError::TooLarge { message_id, .. } if message_id == id));
}

async fn no_more_than_the_prefetch_is_in_hand(broker: &impl Subject) {
    broker.declare(&[live(), bulk()]).await.unwrap();
    for queue in [live(), bulk()] {
        broker.publish((0..5).map(|number| to(&queue, command(number))).collect()).await.unwrap();
    }
    let mut consumer = broker.consume(vec![live(), bulk()], 2).await.unwrap();
    let mut in_hand = Vec::new();
    for _ in 0..4 {
        in_hand.push(consumer.next().await.unwrap());
    }
    let ready: Vec<_> = broker.depths(&[live(), bulk()]).await.unwrap().into_iter().map(|depth| depth.ready).collect();
    assert_eq!(ready[..2], [3, 3], "two of each queue are out");
    in_hand.pop().unwrap().ack().await;
    assert!(consumer.next().await.is_some(), "room was made for one more");
}

async fn a_closed_broker_says_so(broker: &impl Subject) {
    broker.declare(&[live()]).await.unwrap();
    let mut consumer = broker.consume(vec![live()], 2).await.unwrap();
    broker.close().await;
    assert!(consumer.next().await.is_none());
    assert_eq!(broker.publish(vec![to(&live(), command(1))]).await, Err(PublishError::Closed));
    assert!(broker.consume(vec![live()], 2).await.is_err());
    assert!(broker.depths(&[live()]).await.is_err());
}

/// B3: what a publish that returned has stored does not depend on the process that published.
async fn what_was_published_outlives_its_broker(first: impl Subject, second: impl Subject) {
    first.declare(&[live()]).await.unwrap();
    first.publish((0..10).map(|number| to(&live(), command(number))).collect()).await.unwrap();
    first.close().await;
    drop(first);
    let mut consumer = second.consume(vec![live()], 10).await.unwrap();
    let mut numbers = BTreeSet::new();
    while numbers.len() < 10 {
        let delivery = consumer.next().await.unwrap();
        assert_eq!(delivery.redeliveries(), 0);
        numbers.insert(number(delivery.message().unwrap()));
        delivery.ack().await;
    }
}

async fn another_process_may_publish_meanwhile(first: impl Subject, second: impl Subject) {
    first.declare(&[live()]).await.unwrap();
    let mut consumer = first.consume(vec![live()], 10).await.unwrap();
    for round in 0..3 {
        second.publish(vec![to(&live(), command(round))]).await.unwrap();
        let delivery = consumer.next().await.unwrap();
        assert_eq!(number(delivery.message().unwrap()), round);
        delivery.ack().await;
    }
}

/// B3: whoever works on after a process has ended gets what that had in hand.
async fn what_a_process_leaves_in_hand_comes_to_the_next_and_is_counted(first: impl Subject, second: impl Subject) {
    first.declare(&[live()]).await.unwrap();
    first.publish((0..3).map(|number| to(&live(), command(number))).collect()).await.unwrap();
    let mut consumer = first.consume(vec![live()], 3).await.unwrap();
    let mut in_hand = Vec::new();
    for _ in 0..3 {
        in_hand.push(consumer.next().await.unwrap());
    }
    first.close().await;
    drop((consumer, in_hand, first));
    let mut consumer = second.consume(vec![live()], 3).await.unwrap();
    let mut numbers = BTreeSet::new();
    while numbers.len() < 3 {
        let delivery = consumer.next().await.unwrap();
        assert_eq!(delivery.redeliveries(), 1);
        numbers.insert(number(delivery.message().unwrap()));
        delivery.ack().await;
    }
}
