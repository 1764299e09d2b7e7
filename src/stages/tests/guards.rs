//! Budgets, approvals and pauses among kills and lost answers.

use std::time::Duration;

use super::system::{Shape, Trouble};
use super::world::{Weather, World, rules};
use crate::broker::message::Payload;
use crate::broker::{Broker, Destination, Message, Outgoing, Queue};
use crate::domain::guard::{Budgets, Risk};
use crate::domain::hold::Approval;
use crate::domain::{Cause, Command, Lane, Side, Timestamp};
use crate::stages::producer::new_run_id;
use crate::store::{RunKind, Store};

const PEOPLE: usize = 30;
const BUDGET: usize = 10;

/// Sends an approval of everything that is held, as often as somebody asks for it.
async fn approve_all(world: &World) {
    let mut outgoing = Vec::new();
    for (number, link) in (0..).zip(world.pipeline.store.all_links()) {
        let mut approval = Approval::new("ada@host".to_owned(), Timestamp(1));
        link.held().for_each(|held| approval.add(held.path, held.generation));
        let command = Command {
            connection: world.connection.name.clone(),
            link: link.id,
            side: Side::B,
            cause: Cause { run: new_run_id(), number },
            lane: Lane::Live,
            approval: Some(Box::new(approval)),
            failed: Vec::new(),
        };
        outgoing.push(Outgoing {
            to: Destination::Queue(Queue::commands(&world.connection.systems.b, Lane::Live)),
            message: Message::new(Payload::Commands(vec![command])),
        });
    }
    while world.pipeline.broker.publish(outgoing.clone()).await.is_err() {}
}

async fn storm(seed: u64) {
    fastrand::seed(seed);
    let shape = [Shape { page: 4, batch: 1, calls: 3 }, Shape { page: 50, batch: 200, calls: 1 }];
    let mut rules = rules();
    rules.budgets = Budgets::off();
    rules.budgets.set(Risk::Create, Some(format!("{BUDGET}/20d").parse().unwrap()));
    let mut world = World::of(shape[usize::from(seed.is_multiple_of(2))], rules);
    let weather = Weather { killed: 40 };
    world.pipeline.store.lose_answers(2);
    world.scim.set_trouble(Trouble { calls: 40, throttled: 20, answers: 40, rows: 50, row_answers: 50 });
    for id in 0..PEOPLE {
        world.crm.edit(&format!("u{id}"), &format!("{id}"));
    }
    world.ask(RunKind::Sync, None).await;
    // Past the quarantine of the first epoch.
    world.clock.advance(Duration::from_secs(60));
    for round in 0..240 {
        world.round(weather).await;
        match round {
            60 => while world.pipeline.store.pause(None, "ada@host").await.is_err() {},
            100 => while world.pipeline.store.resume(None).await.is_err() {},
            160 => drop(world.ask(RunKind::Reconcile, None).await),
            _ => {}
        }
        assert!(world.scim.created().len() <= BUDGET, "round {round}");
    }
    world.come_to_rest().await;
    assert_eq!(world.scim.created().len(), BUDGET, "every place is used, and none twice");
    assert_eq!(world.pipeline.store.held(&world.connection.name).await.unwrap().len(), PEOPLE - BUDGET);
    assert_eq!(world.pipeline.store.all_letters(), []);

    world.pipeline.store.lose_answers(2);
    for round in 0..120 {
        if round % 40 == 0 {
            approve_all(&world).await;
        }
        world.round(weather).await;
    }
    world.come_to_rest().await;
    world.judge();
    assert_eq!(world.scim.created().len(), PEOPLE);
    assert_eq!(world.pipeline.store.held(&world.connection.name).await.unwrap(), []);
}

/// B3, B10, B11, B16: whatever is killed, and whoever pauses, no more is created than the budget allows, and every place of
/// it is used; what is approved is created once, and the outcomes add up.
#[tokio::test]
async fn kills_let_nothing_pass_a_guard() {
    for seed in 0..12 {
        println!("seed {seed}");
        storm(seed).await;
    }
}
