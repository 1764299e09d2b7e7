//! Stages killed anywhere, answers of the store lost, and a judge at the end.

use std::time::Duration;

use super::world::{Weather, World};
use crate::store::RunKind;

async fn storm(seed: u64, epochs: bool) {
    fastrand::seed(seed);
    let mut world = World::new();
    let weather = Weather { killed: 40 };
    world.pipeline.store.lose_answers(2);
    for id in 0..10 {
        world.crm.edit(&format!("u{id}"), "first");
    }
    world.ask(RunKind::Sync, None).await;
    // Past the quarantine of the first epoch.
    world.clock.advance(Duration::from_secs(60));
    for round in 0..300 {
        world.round(weather).await;
        if round % 20 == 0 {
            world.crm.edit(&format!("u{}", fastrand::u8(..12)), &format!("round {round}"));
        }
        match round {
            100 => drop(world.ask(RunKind::Only, Some("u1")).await),
            150 => drop(world.ask(RunKind::Reconcile, None).await),
            170 if epochs => world.pipeline.store.begin_epoch(),
            200 => drop(world.ask(RunKind::Sync, None).await),
            _ => {}
        }
    }
    world.come_to_rest().await;
    world.ask(RunKind::Reconcile, None).await;
    world.come_to_rest().await;
    world.judge();
}

/// B1, B3, B16: whatever is killed, nothing is lost, nobody is created twice, and the outcomes add up.
#[tokio::test]
async fn killed_stages_lose_nothing_and_double_nothing() {
    for seed in 0..12 {
        println!("seed {seed}");
        storm(seed, false).await;
    }
}

/// R86: the same when the store loses its memory in the middle, and the runs survive it.
#[tokio::test]
async fn a_new_epoch_among_kills_loses_nothing() {
    for seed in 100..112 {
        println!("seed {seed}");
        storm(seed, true).await;
    }
}
