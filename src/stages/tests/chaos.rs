//! Stages killed anywhere, answers of the store lost, and a judge at the end.

use std::time::Duration;

use super::system::{Shape, Trouble};
use super::world::{Weather, World, rules};
use crate::domain::rules::OnExisting;
use crate::store::RunKind;

/// One account a call, a few of them, and as many as come.
const SHAPES: [Shape; 3] = [
    Shape { page: 4, batch: 1, calls: 3 },
    Shape { page: 10, batch: 3, calls: 2 },
    Shape { page: 50, batch: 200, calls: 1 },
];

/// Something is wrong with every tenth call, and with every tenth row.
const TROUBLE: Trouble = Trouble { calls: 40, throttled: 20, answers: 40, rows: 50, row_answers: 50 };

async fn storm(seed: u64, epochs: bool) {
    fastrand::seed(seed);
    let mut rules = rules();
    if seed.is_multiple_of(2) {
        rules.match_on = vec!["title".parse::<crate::domain::AttributePath>().unwrap().into()];
        rules.on_existing = OnExisting::Link;
    }
    let mut world = World::of(SHAPES[usize::try_from(seed).unwrap() % SHAPES.len()], rules);
    let weather = Weather { killed: 40 };
    world.pipeline.store.lose_answers(2);
    world.crm.set_trouble(Trouble { rows: 0, row_answers: 0, ..TROUBLE });
    world.scim.set_trouble(TROUBLE);
    for id in 0..30 {
        world.crm.edit(&format!("u{id}"), &format!("{id}"));
    }
    world.ask(RunKind::Sync, None).await;
    // Past the quarantine of the first epoch.
    world.clock.advance(Duration::from_secs(60));
    for round in 0..300 {
        world.round(weather).await;
        if round % 20 == 0 {
            world.crm.edit(&format!("u{}", fastrand::u8(..33)), &format!("round {round}"));
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
