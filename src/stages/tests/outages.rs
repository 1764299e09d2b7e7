//! Systems that fail for everybody: nobody calls them, commands wait, nobody is given up, and all goes on afterwards.

use std::time::Duration;

use super::system::Shape;
use super::world::{World, rules};
use crate::domain::circuit::Why;
use crate::domain::{Code, Failure, FailureClass, SystemName};
use crate::stages::writer::Turns;
use crate::store::{RunKind, Store};

fn scim() -> SystemName {
    "scim".parse().unwrap()
}

fn failure(class: FailureClass, status: Option<u16>) -> Failure {
    Failure { status, ..Failure::new(class, Code::known("it_failed"), "it failed") }
}

/// A world in which so many new accounts wait for a writer, each as a message of its own, and the target fails like that.
async fn wait_for(accounts: usize, failure: Failure) -> World {
    let mut world = World::of(Shape { page: 50, batch: 1, calls: 1 }, rules());
    for id in 0..accounts {
        world.crm.edit(&format!("u{id}"), &format!("title {id}"));
    }
    world.ask(RunKind::Sync, None).await;
    world.clock.advance(Duration::from_secs(60));
    while world.pipeline.broker.is_empty() {
        world.read().await;
    }
    world.map().await;
    world.scim.take_calls();
    // A process that knows nothing of what went well before.
    world.pipeline.circuits = Default::default();
    world.scim.go_down(u32::MAX, failure);
    world
}

async fn why(world: &World) -> Option<Why> {
    world.pipeline.store.system(&scim()).await.unwrap().circuit.open.map(|open| open.why)
}

/// Lets writers work for so long; they look every second.
async fn write_for(world: &World, duration: Duration) {
    let turns = Turns::new(&world.pipeline);
    for _ in 0..duration.as_secs() {
        while let Some(delivery) = world.pipeline.broker.take(&world.pipeline.command_queues()) {
            world.pipeline.write_deliveries(vec![delivery], &turns, world.stop.clone()).await;
        }
        world.clock.advance(Duration::from_secs(1));
    }
}

fn calls(world: &World) -> u32 {
    world.scim.take_calls().values().sum()
}

/// An outage of an hour costs a handful of calls and no letter, and all is written afterwards, once, without a person.
async fn an_outage_makes_no_letter(accounts: usize, failure: Failure, reason: Why, most_calls: u32) {
    let mut world = wait_for(accounts, failure).await;
    write_for(&world, Duration::from_secs(3600)).await;
    assert_eq!(why(&world).await, Some(reason));
    let made = calls(&world);
    assert!(made <= most_calls, "{made} calls");
    assert!(world.pipeline.store.all_letters().is_empty());
    world.scim.go_down(0, self::failure(FailureClass::Transient, None));
    world.come_to_rest().await;
    world.judge();
    assert_eq!(world.scim.created().len(), accounts);
    assert_eq!(why(&world).await, None);
}

/// F21: an hour of 5xx for twenty accounts. Each probe is two calls here: what is not known of the target is asked first.
#[tokio::test]
async fn an_hour_of_errors_makes_no_letter() {
    an_outage_makes_no_letter(20, failure(FailureClass::Transient, Some(503)), Why::Failing, 90).await;
}

/// F19: an hour without an answer.
#[tokio::test]
async fn an_hour_of_time_outs_makes_no_letter() {
    an_outage_makes_no_letter(20, failure(FailureClass::Transient, None), Why::Unanswered, 80).await;
}

/// F22: an hour of a refused credential, which is tried ever more seldom: it may be locked otherwise.
#[tokio::test]
async fn an_hour_of_a_refused_credential_makes_no_letter() {
    an_outage_makes_no_letter(20, failure(FailureClass::Unauthorised, Some(401)), Why::Unauthorised, 12).await;
}

/// A single command is too few calls for any share, and has its attempts used up all the same.
#[tokio::test]
async fn an_outage_makes_no_letter_for_a_single_command_either() {
    let mut world = wait_for(1, failure(FailureClass::Transient, Some(500))).await;
    write_for(&world, Duration::from_secs(6 * 3600)).await;
    assert_eq!(why(&world).await, Some(Why::Failing));
    assert!(world.pipeline.store.all_letters().is_empty());
    world.scim.go_down(0, failure(FailureClass::Transient, None));
    world.come_to_rest().await;
    world.judge();
}

/// One account that fails wherever it is sent has its letter, and stops nobody else.
#[tokio::test]
async fn an_account_that_fails_by_itself_has_a_letter() {
    let mut world = wait_for(20, failure(FailureClass::Transient, None)).await;
    world.scim.go_down(0, failure(FailureClass::Transient, None));
    world.pipeline.settings.attempts = 3;
    world.scim.refuse("title 3", Some(failure(FailureClass::Transient, Some(500))));
    world.come_to_rest().await;
    assert_eq!(world.scim.titles().len(), 19);
    let letters = world.pipeline.store.all_letters();
    assert_eq!(letters.len(), 1, "{letters:#?}");
}

/// F22: one account that the system keeps from us, and says so as if the credential had no right, has its letter, and stops
/// nobody else.
#[tokio::test]
async fn an_account_that_is_refused_alone_stops_nobody() {
    let mut world = wait_for(20, failure(FailureClass::Transient, None)).await;
    world.scim.go_down(0, failure(FailureClass::Transient, None));
    world.scim.refuse("title 3", Some(failure(FailureClass::Unauthorised, Some(403))));
    write_for(&world, Duration::from_secs(20)).await;
    assert_eq!(why(&world).await, None);
    world.come_to_rest().await;
    assert_eq!(world.scim.titles().len(), 19);
    let letters = world.pipeline.store.all_letters();
    let codes: Vec<_> = letters.iter().map(|letter| letter.fingerprint.code.as_str()).collect();
    assert_eq!(codes, ["account_refused"]);
}

/// F22: a credential that may read and not write is one that lacks a right: its system is left alone after a few letters.
#[tokio::test]
async fn a_right_that_nobody_has_stops_all_writes() {
    let world = wait_for(20, failure(FailureClass::Transient, None)).await;
    world.scim.go_down(0, failure(FailureClass::Transient, None));
    for id in 0..20 {
        world.scim.refuse(&format!("title {id}"), Some(failure(FailureClass::Unauthorised, Some(403))));
    }
    write_for(&world, Duration::from_secs(3600)).await;
    assert_eq!(why(&world).await, Some(Why::Unauthorised));
    assert_eq!(world.pipeline.store.all_letters().len(), 3);
}
