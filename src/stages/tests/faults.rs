//! One fault each, and what the stages make of it.

use std::time::Duration;

use super::world::World;
use crate::domain::{Code, Failure, FailureClass, Side};
use crate::stages::mapper;
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
