//! One fault each, and what the stages make of it.

use std::time::Duration;

use super::system::Shape;
use super::world::{World, killed_after, rules};
use crate::domain::{Code, Failure, FailureClass, Side};
use crate::stages::mapper;
use crate::stages::writer::Turns;
use crate::store::RunKind;

/// A world in which account `u1` is in step.
async fn in_step() -> World {
    let mut world = World::new();
    world.crm.edit("u1", "first");
    world.ask(RunKind::Sync, None).await;
    world.come_to_rest().await;
    world.clock.advance(Duration::from_secs(60));
    world
}

/// A worker that is stopped ends, whether or not its broker ever confirms again.
#[tokio::test]
async fn a_mapper_stops_while_the_broker_is_away() {
    let world = World::new();
    world.crm.edit("u1", "first");
    world.ask(RunKind::Sync, None).await;
    world.clock.advance(Duration::from_secs(60));
    while world.pipeline.broker.is_empty() {
        world.read().await;
    }
    world.pipeline.broker.go_away();
    let stop = world.stop.clone();
    let run = tokio::spawn(mapper::run(world.pipeline.clone(), stop.clone()));
    while !world.pipeline.broker.is_empty() {
        tokio::task::yield_now().await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(20), run).await.expect("it stops").unwrap().unwrap();
}

/// R85: a writer that has not heard from its target yet asks it something before it notes a write: by its own clock a target that
/// is ahead would be done with the request while that is on its way, and its effect would count as an edit made there.
#[tokio::test]
async fn a_write_is_noted_in_the_clock_of_its_target() {
    let world = in_step().await;
    world.crm.edit("u1", "second");
    world.ask(RunKind::Sync, None).await;
    while world.pipeline.broker.is_empty() {
        world.read().await;
    }
    world.map().await;
    let ahead = Duration::from_secs(95);
    world.scim.run_ahead(ahead);
    world.scim.stall(Some("second"));
    let began_at = world.scim.now();
    // The process dies while its request is on the way.
    killed_after(1_000, world.write()).await;
    let links = world.pipeline.store.all_links();
    let noted: Vec<_> = links.iter().flat_map(|link| &link.sides[Side::B].intents).collect();
    assert_eq!(noted.len(), 1, "the write was noted: {links:#?}");
    assert!(noted[0].begun_at >= began_at, "{:?} is not in the target's clock, {began_at:?}", noted[0].begun_at);
    assert!(noted[0].over_at >= began_at + world.pipeline.settings.lease, "{:?}", noted[0].over_at);
}

/// B12: what a writer does not find when it looks is no proof that the account is gone.
#[tokio::test]
async fn a_writers_glimpse_is_no_proof_of_absence() {
    let mut world = in_step().await;
    world.unsettle();
    world.scim.remove("t1");
    world.crm.edit("u1", "second");
    world.ask(RunKind::Sync, None).await;
    world.come_to_rest().await;
    let links = world.pipeline.store.all_links();
    assert!(links.iter().all(|link| link.sides[Side::B].absence.is_none()), "{links:#?}");
    let codes: Vec<_> = world.pipeline.store.all_letters().into_iter().map(|letter| letter.fingerprint.code).collect();
    assert_eq!(codes, [Code::known("account_gone")]);
}

/// B16: a command whose account can never be read ends, in a letter.
#[tokio::test]
async fn an_account_that_cannot_be_read_ends_the_command_with_a_letter() {
    let mut world = in_step().await;
    world.unsettle();
    world.scim.fail_gets(Some(Failure::new(FailureClass::Permanent, Code::known("forbidden"), "not allowed")));
    world.crm.edit("u1", "second");
    world.ask(RunKind::Sync, None).await;
    world.come_to_rest().await;
    let codes: Vec<_> = world.pipeline.store.all_letters().into_iter().map(|letter| letter.fingerprint.code).collect();
    assert_eq!(codes, [Code::known("forbidden")]);

    // Readable again, the next read heals the letter and asks for what is lacking.
    world.scim.fail_gets(None);
    world.ask(RunKind::Reconcile, None).await;
    world.come_to_rest().await;
    world.judge();
    assert!(world.pipeline.store.all_letters().is_empty());
}

/// A world of such systems, in which ten new accounts wait for a writer as one message.
async fn ten_wait(batch: usize) -> World {
    let world = World::of(Shape { page: 50, batch, calls: 10 }, rules());
    for id in 0..10 {
        world.crm.edit(&format!("u{id}"), &format!("title {id}"));
    }
    world.ask(RunKind::Sync, None).await;
    world.clock.advance(Duration::from_secs(60));
    while world.pipeline.broker.is_empty() {
        world.read().await;
    }
    world.map().await;
    world.scim.take_calls();
    world
}

fn codes(world: &World) -> Vec<Code> {
    world.pipeline.store.all_letters().into_iter().map(|letter| letter.fingerprint.code).collect()
}

/// A row that is refused has its letter, and the others of its call are written all the same.
#[tokio::test]
async fn a_bad_row_does_not_touch_the_others_of_its_call() {
    let mut world = ten_wait(200).await;
    let refused = Failure::new(FailureClass::Permanent, Code::known("too_odd"), "not this one");
    world.scim.refuse("title 3", Some(refused));
    world.write().await;
    assert_eq!(world.scim.take_calls()["write"], 1);
    assert_eq!((world.scim.titles().len(), codes(&world)), (9, vec![Code::known("too_odd")]));
    assert!(world.pipeline.broker.is_empty());

    // Changed, it is written, and the letter heals.
    world.crm.edit("u3", "title 3b");
    world.ask(RunKind::Sync, None).await;
    world.come_to_rest().await;
    world.judge();
    assert_eq!(codes(&world), []);
}

/// A row that fails for the moment is tried again alone.
#[tokio::test]
async fn a_row_that_fails_for_the_moment_is_tried_again_alone() {
    let mut world = ten_wait(200).await;
    world.scim.refuse("title 3", Some(Failure::new(FailureClass::Transient, Code::known("locked"), "in use")));
    world.write().await;
    assert_eq!(world.scim.titles().len(), 9);
    world.scim.refuse("title 3", None);
    world.clock.advance(Duration::from_secs(5));
    world.scim.take_calls();
    world.write().await;
    assert_eq!(world.scim.take_calls()["write"], 1);
    world.come_to_rest().await;
    world.judge();
}

/// A call that is refused as a whole fails for all its accounts, and is one call again when it is tried again.
#[tokio::test]
async fn a_refused_call_is_one_call_again() {
    let mut world = ten_wait(200).await;
    world.scim.go_down(1, Failure::new(FailureClass::Transient, Code::known("unavailable"), "down"));
    world.write().await;
    assert_eq!(world.scim.take_calls(), [("search", 1)].into());
    world.clock.advance(Duration::from_secs(5));
    world.write().await;
    assert_eq!(world.scim.take_calls(), [("search", 1), ("write", 1)].into());
    world.come_to_rest().await;
    world.judge();
}

/// B19: a target that asks for fewer calls is left alone by all its accounts, and the store is told once.
#[tokio::test]
async fn a_throttled_call_is_noted_once() {
    let mut world = ten_wait(1).await;
    let retry_after = Some(Duration::from_secs(30));
    let throttled = Failure::new(FailureClass::Throttled, Code::known("throttled"), "slow down");
    world.scim.go_down(10, Failure { retry_after, ..throttled });
    world.pipeline.store.take_calls();
    world.write().await;
    assert_eq!(world.scim.take_calls(), [("search", 10)].into());
    assert_eq!(world.pipeline.store.take_calls()["pause_system"], 1);
    assert_eq!(codes(&world), []);
    world.come_to_rest().await;
    world.judge();
}

/// One account whose call hangs holds up nobody else's.
#[tokio::test]
async fn a_slow_account_does_not_hold_the_others_up() {
    let mut world = ten_wait(1).await;
    world.scim.stall(Some("title 3"));
    {
        let mut writing = std::pin::pin!(world.write());
        let over = || world.pipeline.store.all_runs().iter().map(|run| run.commands_in_flight()).sum::<i64>() == 1;
        std::future::poll_fn(|context| {
            assert!(writing.as_mut().poll(context).is_pending(), "one of them still hangs");
            if over() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
        world.scim.stall(None);
        writing.await;
    }
    world.come_to_rest().await;
    world.judge();
}

/// Two commands for one account in one wave: the first writes, and the second finds nothing to do.
#[tokio::test]
async fn commands_for_one_account_are_worked_on_one_after_the_other() {
    let world = in_step().await;
    for title in ["second", "third"] {
        world.crm.edit("u1", title);
        let asked = world.ask(RunKind::Sync, None).await;
        let is_read =
            || world.pipeline.store.all_runs().iter().any(|run| run.id == asked && !run.reading.a && !run.reading.b);
        while !is_read() {
            world.read().await;
        }
        world.map().await;
    }
    world.scim.take_calls();
    let mut handful = Vec::new();
    handful.extend(std::iter::from_fn(|| world.pipeline.broker.take(&world.pipeline.command_queues())));
    assert_eq!(handful.len(), 2);
    world.pipeline.write_deliveries(handful, &Turns::new(&world.pipeline), world.stop.clone()).await;
    assert_eq!(world.scim.take_calls(), [("write", 1)].into());
    assert!(world.pipeline.broker.is_empty(), "nothing waits for a lease");
    world.judge();
}
