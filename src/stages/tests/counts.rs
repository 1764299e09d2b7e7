//! What a thousand changes cost: calls of the target, questions to the store, publishes. These numbers depend on no
//! machine.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::system::Shape;
use super::world::{World, rules};
use crate::broker::message::Payload;
use crate::broker::{Broker, Delivery, Destination, Message, Outgoing, Queue};
use crate::domain::rules::OnExisting;
use crate::stages::{mapper, writer};
use crate::store::RunKind;

/// Calls by what they did.
type Calls = BTreeMap<&'static str, u32>;

/// What one stage did.
#[derive(Debug)]
struct Cost {
    source: Calls,
    target: Calls,
    store: Calls,
    /// Publishes that were waited for.
    publishes: u32,
    /// Messages in them.
    messages: u32,
}

fn take(world: &World, stage: &str) -> Cost {
    let (publishes, messages) = world.pipeline.broker.take_published();
    let (source, target, mut store) =
        (world.crm.take_calls(), world.scim.take_calls(), world.pipeline.store.take_calls());
    // A few times a second, however much there is to do.
    store.remove("system");
    store.remove("pauses");
    let cost = Cost { source, target, store, publishes, messages };
    println!("{stage}: {cost:?}");
    cost
}

/// Reads, maps and writes what there is, each stage to its end.
async fn pass(world: &World, kind: RunKind) -> [Cost; 3] {
    let asked = world.ask(kind, None).await;
    let is_read =
        || world.pipeline.store.all_runs().iter().any(|run| run.id == asked && !run.reading.a && !run.reading.b);
    while !is_read() {
        world.read().await;
    }
    let read = take(world, "reading");
    world.map().await;
    let mapped = take(world, "mapping");
    world.write().await;
    let written = take(world, "writing");
    [read, mapped, written]
}

fn calls(of: &[(&'static str, u32)]) -> Calls {
    of.iter().copied().collect()
}

/// Salesforce's shape: 200 accounts a call, and reading pages of 2,000.
#[tokio::test]
async fn a_thousand_accounts_at_two_hundred_a_call() {
    let shape = Shape { page: 2000, batch: 200, calls: 4 };
    let world = World::of(shape, rules());
    world.crm.edit_all(1000, "first");
    let [read, mapped, written] = pass(&world, RunKind::Sync).await;
    assert_eq!(read.source, calls(&[("read", 1)]));
    assert_eq!((read.publishes, read.messages), (1, 5));
    assert_eq!(mapped.store, calls(&[("commit", 5), ("find", 5)]));
    assert_eq!((mapped.publishes, mapped.messages), (5, 5));
    assert_eq!(written.target, calls(&[("search", 5), ("write", 5)]));
    assert_eq!(written.store, calls(&[("commit", 10), ("load", 5)]));
    assert_eq!((written.publishes, written.messages), (0, 0));
    assert_eq!(world.scim.titles(), world.crm.titles());

    // The same accounts, changed.
    world.crm.edit_all(1000, "second");
    let [read, mapped, written] = pass(&world, RunKind::Sync).await;
    assert_eq!(read.source, calls(&[("read", 1)]));
    assert_eq!(mapped.store, calls(&[("commit", 5), ("find", 5)]));
    assert_eq!(written.target, calls(&[("write", 5)]));
    assert_eq!(written.store, calls(&[("commit", 10), ("load", 5)]));
    assert_eq!(world.scim.titles(), world.crm.titles());

    // And once more with nothing to do: nobody calls the target.
    let [_, mapped, written] = pass(&world, RunKind::Reconcile).await;
    assert_eq!((mapped.publishes, mapped.messages), (0, 0));
    assert_eq!((written.target, written.store), (Calls::new(), Calls::new()));
}

/// How many accounts a system says there are is added up over the sides, not over the pages.
#[tokio::test]
async fn a_run_expects_each_account_once() {
    let world = World::of(Shape { page: 100, batch: 200, calls: 4 }, rules());
    world.crm.edit_all(1000, "first");
    let [read, ..] = pass(&world, RunKind::Sync).await;
    assert_eq!(read.source, calls(&[("read", 10)]));
    assert_eq!(world.pipeline.store.all_runs()[0].expected, Some(1000));
}

/// Matching keys go with the search for the partners.
#[tokio::test]
async fn a_wave_searches_once_for_all_its_keys() {
    let mut rules = rules();
    rules.match_on = vec!["title".parse::<crate::domain::AttributePath>().unwrap().into()];
    rules.on_existing = OnExisting::Link;
    let world = World::of(Shape { page: 2000, batch: 200, calls: 4 }, rules);
    world.crm.edit_all(1000, "first");
    let [_, _, written] = pass(&world, RunKind::Sync).await;
    // Whoever is created first has the title, and is taken: the others of later waves are refused with letters.
    assert_eq!(written.target["search"], 5);
    assert_eq!(written.target["write"], 1);
}

/// A SCIM service's shape: one account a call, eight of them at once.
#[tokio::test]
async fn a_thousand_accounts_at_one_a_call() {
    let world = World::of(Shape { page: 200, batch: 1, calls: 8 }, rules());
    world.crm.edit_all(1000, "first");
    let [_, mapped, written] = pass(&world, RunKind::Sync).await;
    assert_eq!(mapped.store, calls(&[("commit", 5), ("find", 5)]));
    assert_eq!((mapped.publishes, mapped.messages), (5, 125));
    assert_eq!(written.target, calls(&[("search", 1000), ("write", 1000)]));
    assert_eq!(written.store["load"], 125);
    // One for the intents of a wave and one for its answers; a few more where the store was asked for a pause between.
    assert!((250..300).contains(&written.store["commit"]), "{:?}", written.store);
    assert_eq!(world.scim.titles(), world.crm.titles());
}

/// Makes a message of each item that waits in these queues.
async fn split(world: &World, queues: &[Queue]) {
    let broker = &world.pipeline.broker;
    let mut singles = Vec::new();
    while let Some(delivery) = broker.take(queues) {
        let to = |queue: &Queue| Destination::Queue(queue.clone());
        let payloads: Vec<_> = match &delivery.message().unwrap().payload {
            Payload::Changes(changes) => changes.iter().map(|change| Payload::Changes(vec![change.clone()])).collect(),
            Payload::Commands(commands) => commands.iter().map(|one| Payload::Commands(vec![one.clone()])).collect(),
            other => panic!("{other:?} is no work"),
        };
        singles
            .extend(payloads.into_iter().map(|one| Outgoing { to: to(delivery.queue()), message: Message::new(one) }));
        delivery.ack().await;
    }
    broker.publish(singles).await.unwrap();
}

/// Edits that come one by one share their round trips as a page does, if they are there at the same time.
#[tokio::test]
async fn edits_that_wait_are_worked_on_together() {
    let mut world = World::of(Shape { page: 2000, batch: 200, calls: 4 }, rules());
    // What is in hand when a worker is stopped is finished.
    world.pipeline.settings.drain = Duration::from_secs(60);
    world.crm.edit_all(150, "first");
    pass(&world, RunKind::Sync).await;
    world.crm.edit_all(150, "second");
    world.ask(RunKind::Sync, None).await;
    while world.pipeline.broker.is_empty() {
        world.read().await;
    }
    split(&world, &world.pipeline.change_queues()).await;
    take(&world, "reading");

    let stop = CancellationToken::new();
    let mapping = tokio::spawn(mapper::run(world.pipeline.clone(), stop.clone()));
    while world.pipeline.store.all_runs().iter().all(|run| run.commands_in_flight() != 150) {
        tokio::task::yield_now().await;
    }
    stop.cancel();
    mapping.await.unwrap().unwrap();
    let mapped = take(&world, "mapping");
    assert_eq!((mapped.store["find"], mapped.store["commit"], mapped.messages), (1, 1, 1));

    split(&world, &world.pipeline.command_queues()).await;
    take(&world, "splitting");
    let stop = CancellationToken::new();
    let writing = tokio::spawn(writer::run(world.pipeline.clone(), stop.clone()));
    while world.scim.titles() != world.crm.titles() {
        tokio::task::yield_now().await;
    }
    stop.cancel();
    writing.await.unwrap().unwrap();
    let written = take(&world, "writing");
    assert_eq!((written.target["write"], written.store["load"], written.store["commit"]), (1, 1, 2));
}
