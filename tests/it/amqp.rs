//! What is particular to RabbitMQ: its traps, and lapin's.

use std::collections::BTreeSet;
use std::time::Duration;

use lapin::options::{QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use muster::broker::amqp::{AmqpBroker, AmqpSettings};
use muster::broker::{
    Broker, BrokerError, BrokerHealth, Consumer, Delivery, Destination, Outgoing, PublishError, Queue,
};
use url::Url;

use crate::broker::{bulk, command, live, number, soon, to};
use crate::proxy::Proxy;
use crate::rabbitmq::RabbitMq;

/// A channel of the test's own, to do what Muster never does.
/// A client that is none of ours.
pub async fn foreign_channel(url: &Url) -> (lapin::Connection, lapin::Channel) {
    let connection = lapin::Connection::connect(url.as_str(), lapin::ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    (connection, channel)
}

/// Waits until the broker's health is as it should be. Health is asked for, as `/readyz` does; it has no event.
async fn healthy(broker: &AmqpBroker, expected: impl Fn(&BrokerHealth) -> bool) {
    soon(async {
        while !expected(&broker.health()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

fn retry(home: Queue, number: u64) -> Outgoing {
    Outgoing { to: Destination::Retry { home, after: Duration::ZERO }, message: command(number) }
}

/// A broker that gives up a silent peer within the patience of a test. The topology is there: declaring it takes longer.
async fn impatient(mut settings: AmqpSettings) -> AmqpBroker {
    let patient = AmqpBroker::open(settings.clone());
    soon(patient.declare(&[live()])).await.unwrap();
    soon(patient.close()).await;
    settings.confirm_deadline = Duration::from_secs(1);
    settings.connect_timeout = Duration::from_secs(1);
    AmqpBroker::open(settings)
}

/// Takes deliveries until each of these numbers was seen; repetitions are allowed, losses are not.
async fn drain(consumer: &mut impl Consumer, mut missing: BTreeSet<u64>) {
    while !missing.is_empty() {
        let delivery = soon(consumer.next()).await.expect("the consumer goes on");
        missing.remove(&number(delivery.message().unwrap()));
        delivery.ack().await;
    }
}

/// F11: with many publishes in flight, lapin attaches returned messages to other messages' confirms.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_unroutable_among_six_thousand_are_told_apart() {
    let broker = RabbitMq::shared().await.broker();
    broker.declare(&[live()]).await.unwrap();
    let nowhere = Queue::Commands("nowhere".parse().unwrap());
    let tasks = (0..6_u64).map(|task| {
        let (broker, nowhere) = (broker.clone(), nowhere.clone());
        tokio::spawn(async move {
            let publishes = (0..1_000).map(|number| {
                let lost = (task + number) % 3 == 0;
                let message = command(number);
                let id = message.id.clone();
                let publish = broker.publish(vec![to(&if lost { nowhere.clone() } else { live() }, message)]);
                async move { (lost, id, publish.await) }
            });
            let mut unroutable = 0;
            for (lost, id, published) in futures_util::future::join_all(publishes).await {
                match published {
                    Ok(()) => assert!(!lost),
                    Err(PublishError::Unroutable { message_id, queue }) => {
                        assert!(lost && message_id == id && queue.ends_with(".commands.nowhere"));
                        unroutable += 1;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            unroutable
        })
    });
    let mut unroutable = 0;
    for task in tasks.collect::<Vec<_>>() {
        unroutable += soon(task).await.unwrap();
    }
    assert_eq!(unroutable, 2_000);
    assert_eq!(broker.depths(&[live()]).await.unwrap()[0].ready, 4_000);
    broker.close().await;
}

/// F04, B3: connections that are cut in the middle, again and again, lose nothing that was to be published.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_survive_cut_connections() {
    let rabbit = RabbitMq::shared().await;
    let proxy = Proxy::start(rabbit.addr()).await;
    let broker = AmqpBroker::open(rabbit.settings_through(proxy.addr()));
    soon(broker.declare(&[live()])).await.unwrap();
    let mut consumer = broker.consume(vec![live()], 50).await.unwrap();
    let publisher = tokio::spawn({
        let broker = broker.clone();
        async move {
            for page in 0..40 {
                broker.publish((0..50).map(|n| to(&live(), command(page * 50 + n))).collect()).await.unwrap();
            }
        }
    });
    let mut missing: BTreeSet<u64> = (0..2_000).collect();
    let mut cut_at = 1_990;
    while !missing.is_empty() {
        // Each cut waits for progress, so that it hits different moments of both connections.
        if missing.len() <= cut_at {
            proxy.cut();
            cut_at = missing.len().saturating_sub(300);
        }
        let delivery = soon(consumer.next()).await.unwrap();
        missing.remove(&number(delivery.message().unwrap()));
        delivery.ack().await;
    }
    soon(publisher).await.unwrap();
    broker.close().await;
}

/// F10: what the broker stored while its confirm got lost is published again, under the same id.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_confirm_is_published_again() {
    let rabbit = RabbitMq::shared().await;
    let proxy = Proxy::start(rabbit.addr()).await;
    let broker = impatient(rabbit.settings_through(proxy.addr())).await;
    let mut consumer = broker.consume(vec![live()], 10).await.unwrap();
    soon(broker.publish(vec![to(&live(), command(0))])).await.unwrap();
    drain(&mut consumer, [0].into()).await;
    proxy.stall_answers(true);
    let message = command(1);
    let publish = tokio::spawn({
        let (broker, message) = (broker.clone(), message.clone());
        async move { broker.publish(vec![to(&live(), message)]).await }
    });
    healthy(&broker, |health| !health.publishing).await;
    proxy.stall_answers(false);
    soon(publish).await.unwrap().unwrap();
    for _ in 0..2 {
        let delivery = soon(consumer.next()).await.unwrap();
        assert_eq!(delivery.message_id(), message.id);
        delivery.ack().await;
    }
    broker.close().await;
}

/// F09: attempts at a frozen peer leave no sockets behind, and with them no threads of lapin.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_peer_costs_no_connections() {
    let rabbit = RabbitMq::shared().await;
    let proxy = Proxy::start(rabbit.addr()).await;
    let broker = impatient(rabbit.settings_through(proxy.addr())).await;
    healthy(&broker, |health| health.publishing).await;
    proxy.stall(true);
    proxy.cut();
    healthy(&broker, |health| !health.publishing).await;
    for _ in 0..3 {
        let refused = soon(broker.depths(&[live()])).await.unwrap_err();
        assert!(matches!(refused, BrokerError::Refused(_)), "{refused}");
    }
    assert!(proxy.open() <= 2, "{} connections are open", proxy.open());
    proxy.stall(false);
    soon(broker.publish(vec![to(&live(), command(1))])).await.unwrap();
    soon(broker.close()).await;
    soon(async {
        while proxy.open() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// A settlement that comes too late is nobody's error, and never reaches another message.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledgement_on_a_dead_channel_is_harmless() {
    let rabbit = RabbitMq::shared().await;
    let proxy = Proxy::start(rabbit.addr()).await;
    let broker = AmqpBroker::open(rabbit.settings_through(proxy.addr()));
    soon(broker.declare(&[live()])).await.unwrap();
    broker.publish(vec![to(&live(), command(1)), to(&live(), command(2))]).await.unwrap();
    let mut consumer = broker.consume(vec![live()], 10).await.unwrap();
    let late = soon(consumer.next()).await.unwrap();
    let dropped = soon(consumer.next()).await.unwrap();
    proxy.cut();
    // Both come again on the next connection, where their delivery tags are in use again.
    let again = [soon(consumer.next()).await.unwrap(), soon(consumer.next()).await.unwrap()];
    assert!(!late.acknowledge().await);
    drop(dropped);
    assert!(again.iter().all(|delivery| delivery.redeliveries() == 1));
    for delivery in again {
        assert!(delivery.acknowledge().await);
    }
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_outlives_the_deletion_of_its_queue() {
    let rabbit = RabbitMq::shared().await;
    let settings = rabbit.settings();
    let name = format!("{}.{}", settings.prefix, live());
    let broker = AmqpBroker::open(settings);
    broker.declare(&[live(), bulk()]).await.unwrap();
    broker.publish(vec![to(&live(), command(1)), to(&bulk(), command(2))]).await.unwrap();
    let mut consumer = broker.consume(vec![live(), bulk()], 10).await.unwrap();
    drain(&mut consumer, [1, 2].into()).await;
    let (_connection, channel) = foreign_channel(rabbit.url()).await;
    channel.queue_delete(name.as_str().into(), QueueDeleteOptions::default()).await.unwrap();
    // The consumer declares the queue again; until then a publish says that there is none.
    let publish = async {
        while let Err(error) = broker.publish(vec![to(&live(), command(3))]).await {
            assert!(matches!(error, PublishError::Unroutable { .. }), "{error}");
        }
    };
    tokio::join!(soon(publish), drain(&mut consumer, [3].into()));
    broker.publish(vec![to(&bulk(), command(4))]).await.unwrap();
    drain(&mut consumer, [4].into()).await;
    broker.close().await;
}

/// Retries for a queue that was deleted wait among the unrouted, and block nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_without_a_home_goes_to_the_unrouted() {
    let rabbit = RabbitMq::shared().await;
    let broker = rabbit.broker();
    broker.declare(&[live()]).await.unwrap();
    let gone = Queue::Commands("gone".parse().unwrap());
    broker.publish(vec![retry(gone, 1), retry(live(), 2)]).await.unwrap();
    let mut consumer = broker.consume(vec![live()], 10).await.unwrap();
    drain(&mut consumer, [2].into()).await;
    soon(async {
        loop {
            let depths = broker.depths(&[]).await.unwrap();
            if depths.last().is_some_and(|unrouted| unrouted.name.ends_with(".unrouted") && unrouted.ready == 1) {
                break;
            }
        }
    })
    .await;
    broker.close().await;
}

/// Where the account may not declare, what is missing is named: by the check, and by a publish that would need it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_right_to_declare_what_is_missing_is_named() {
    let mut settings = RabbitMq::shared().await.settings();
    settings.declare = false;
    let prefix = settings.prefix.clone();
    let broker = AmqpBroker::open(settings);
    let refused = broker.declare(&[live()]).await.unwrap_err().to_string();
    for name in ["exchange", ".return", ".retry.1h", ".dead", ".commands.chat", "muster topology"] {
        assert!(refused.contains(name), "{name} is not in: {refused}");
    }
    // A missing exchange costs the channel, and must cost nothing else: not the message beside it, nor the next one.
    let message = retry(live(), 1);
    let message_id = message.message.id.clone();
    let queue = format!("{prefix}.retry.1s");
    let nowhere = broker.publish(vec![to(&live(), command(2))]);
    let (no_exchange, no_queue) = tokio::join!(soon(broker.publish(vec![message])), soon(nowhere));
    assert_eq!(no_exchange, Err(PublishError::Unroutable { queue, message_id }));
    assert!(matches!(no_queue, Err(PublishError::Unroutable { .. })));
    broker.close().await;
}

/// A queue of another version, or of somebody else, is nothing that passes: it is named, with what to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_with_other_settings_is_named() {
    let rabbit = RabbitMq::shared().await;
    let settings = rabbit.settings();
    let (_connection, channel) = foreign_channel(rabbit.url()).await;
    let name = format!("{}.{}", settings.prefix, live());
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(name.as_str().into(), options, FieldTable::default()).await.unwrap();
    let broker = AmqpBroker::open(settings);
    let mismatch = soon(broker.declare(&[live()])).await.unwrap_err();
    assert!(matches!(mismatch, BrokerError::Mismatch(_)), "{mismatch}");
    assert!(mismatch.to_string().contains(&name), "{mismatch}");
    broker.close().await;
}

/// F12: a queue that refuses messages holds their publisher back, loses nothing, and holds nobody else back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_holds_back_its_own_publishers_only() {
    let rabbit = RabbitMq::shared().await;
    let mut settings = rabbit.settings();
    settings.declare = false;
    let (_connection, channel) = foreign_channel(rabbit.url()).await;
    for (queue, max_length) in [(live(), 1), (bulk(), 1_000)] {
        let mut arguments = FieldTable::default();
        arguments.insert("x-max-length".into(), AMQPValue::LongLongInt(max_length));
        arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
        let name = format!("{}.{queue}", settings.prefix);
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(name.as_str().into(), options, arguments).await.unwrap();
    }
    let broker = AmqpBroker::open(settings);
    let held_back = tokio::spawn({
        let broker = broker.clone();
        async move { broker.publish((0..5).map(|n| to(&live(), command(n))).collect()).await }
    });
    for number in 0..20 {
        soon(broker.publish(vec![to(&bulk(), command(number))])).await.unwrap();
    }
    let mut consumer = broker.consume(vec![live()], 1).await.unwrap();
    drain(&mut consumer, (0..5).collect()).await;
    soon(held_back).await.unwrap().unwrap();
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_stop_waiting_wedge_nothing() {
    let rabbit = RabbitMq::shared().await;
    let proxy = Proxy::start(rabbit.addr()).await;
    let broker = AmqpBroker::open(rabbit.settings_through(proxy.addr()));
    soon(broker.declare(&[live()])).await.unwrap();
    proxy.refuse(true);
    proxy.cut();
    healthy(&broker, |health| !health.publishing).await;
    // More than the inbox holds.
    let forsaken = (0..200).map(|number| {
        let broker = broker.clone();
        tokio::spawn(async move { broker.publish(vec![to(&live(), command(number))]).await })
    });
    let forsaken: Vec<_> = forsaken.collect();
    tokio::task::yield_now().await;
    forsaken.iter().for_each(tokio::task::JoinHandle::abort);
    for task in forsaken {
        assert!(task.await.is_err_and(|error| error.is_cancelled()));
    }
    proxy.refuse(false);
    soon(broker.publish(vec![to(&live(), command(1_000))])).await.unwrap();
    assert_eq!(broker.depths(&[live()]).await.unwrap()[0].ready, 1, "what was taken back was not sent");
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_may_be_asked_with_a_time_limit_before_there_is_a_connection() {
    let rabbit = RabbitMq::shared().await;
    let proxy = Proxy::start(rabbit.addr()).await;
    let broker = AmqpBroker::open(rabbit.settings_through(proxy.addr()));
    let mut consumer = broker.consume(vec![live()], 10).await.unwrap();
    assert!(!broker.health().consuming);
    // Each wait is far shorter than connecting takes, and still the consumer gets there.
    let publish = async { while broker.publish(vec![to(&live(), command(1))]).await.is_err() {} };
    let ask = async {
        loop {
            if let Ok(delivery) = tokio::time::timeout(Duration::from_millis(1), consumer.next()).await {
                break delivery.unwrap();
            }
        }
    };
    let ((), delivery) = tokio::join!(soon(publish), soon(ask));
    delivery.ack().await;
    assert!(broker.health().consuming);
    broker.close().await;
}

/// F04: the same broker handle, and the same consumer, go on when the server was killed and comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_that_returns_is_used_again() {
    let mut node = RabbitMq::private().await;
    let broker = AmqpBroker::open(node.settings());
    soon(broker.declare(&[live()])).await.unwrap();
    let mut consumer = broker.consume(vec![live()], 10).await.unwrap();
    broker.publish((0..20).map(|number| to(&live(), command(number))).collect()).await.unwrap();
    let in_hand = soon(consumer.next()).await.unwrap();
    // RabbitMQ writes the register of its queues with a delay, so a kill right after their creation tests something else.
    node.ctl(&["eval", "[dets:sync(Table) || Table <- dets:all()]."]).await;
    node.kill();
    healthy(&broker, |health| !health.publishing && !health.consuming).await;
    let publish = tokio::spawn({
        let broker = broker.clone();
        async move { broker.publish((20..40).map(|number| to(&live(), command(number))).collect()).await }
    });
    let node = node.restart().await;
    drain(&mut consumer, (0..40).collect()).await;
    soon(publish).await.unwrap().unwrap();
    assert!(!in_hand.acknowledge().await);
    assert_eq!(node.ctl(&["list_queues", "name", "--no-table-headers"]).await.lines().count(), 9);
    broker.close().await;
}

/// A server that is frozen is given up, and used again once it answers. What it got just before is not lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_server_that_thaws_is_used_again() {
    let node = RabbitMq::private().await;
    let broker = impatient(node.settings()).await;
    let mut consumer = broker.consume(vec![live()], 10).await.unwrap();
    soon(broker.publish(vec![to(&live(), command(1))])).await.unwrap();
    drain(&mut consumer, [1].into()).await;
    node.pause();
    let publish = tokio::spawn({
        let broker = broker.clone();
        async move { broker.publish(vec![to(&live(), command(2))]).await }
    });
    healthy(&broker, |health| !health.publishing).await;
    assert!(matches!(soon(broker.depths(&[live()])).await, Err(BrokerError::Refused(_))));
    node.resume();
    soon(publish).await.unwrap().unwrap();
    drain(&mut consumer, [2].into()).await;
    broker.close().await;
}

/// F06: under a memory alarm publishing waits, is no failure, and is seen; what is in hand is still acknowledged; and
/// closing does not wait for the alarm to end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_memory_alarm_holds_back_publishing_and_nothing_else() {
    let node = RabbitMq::private().await;
    let broker = impatient(node.settings()).await;
    broker.publish(vec![to(&live(), command(1))]).await.unwrap();
    let mut consumer = broker.consume(vec![live()], 10).await.unwrap();
    node.ctl(&["set_vm_memory_high_watermark", "absolute", "1MB"]).await;
    let publish = tokio::spawn({
        let broker = broker.clone();
        async move { broker.publish(vec![to(&live(), command(2))]).await }
    });
    healthy(&broker, |health| health.blocked.is_some() && !health.publishing).await;
    assert!(soon(consumer.next()).await.unwrap().acknowledge().await);
    assert!(broker.health().consuming);
    // The alarm outlasts the deadline for a confirm several times over. The connection is kept all the same.
    tokio::time::timeout(Duration::from_secs(3), healthy(&broker, |health| health.blocked.is_none()))
        .await
        .unwrap_err();
    node.ctl(&["set_vm_memory_high_watermark", "absolute", "1GB"]).await;
    soon(publish).await.unwrap().unwrap();
    let delivery = soon(consumer.next()).await.unwrap();
    assert_eq!(number(delivery.message().unwrap()), 2);
    delivery.ack().await;
    assert_eq!(broker.depths(&[live()]).await.unwrap()[0].ready, 0, "it was not sent twice");

    node.ctl(&["set_vm_memory_high_watermark", "absolute", "1MB"]).await;
    let publish = tokio::spawn({
        let broker = broker.clone();
        async move { broker.publish(vec![to(&live(), command(3))]).await }
    });
    healthy(&broker, |health| health.blocked.is_some()).await;
    soon(broker.close()).await;
    assert_eq!(soon(publish).await.unwrap(), Err(PublishError::Closed));
}
