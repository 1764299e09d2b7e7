//! Leavers among kills and lost answers: who is gone is deleted once, and nobody else.

use std::collections::BTreeSet;
use std::time::Duration;

use super::system::{Shape, Trouble};
use super::world::{Weather, World, rules};
use crate::domain::guard::{Budgets, Risk};
use crate::domain::rules::{Departure, Leavers};
use crate::store::{RunKind, Store};

const PEOPLE: usize = 30;

async fn storm(seed: u64) {
    fastrand::seed(seed);
    let how = [Departure::Delete, Departure::Remove, Departure::Detach][usize::try_from(seed % 3).unwrap()];
    let shape = [Shape { page: 4, batch: 1, calls: 3 }, Shape { page: 50, batch: 200, calls: 1 }];
    let mut rules = rules();
    rules.leavers = Leavers::Part(how);
    rules.budgets = Budgets::off();
    rules.budgets.set(how.risk(), Some("4/20d".parse().unwrap()));
    let mut world = World::of(shape[usize::from(seed.is_multiple_of(2))], rules);
    for id in 0..PEOPLE {
        world.crm.edit(&format!("u{id}"), &format!("{id}"));
    }
    world.ask(RunKind::Sync, None).await;
    // Past the quarantine of the first epoch.
    world.clock.advance(Duration::from_secs(60));
    world.come_to_rest().await;
    let before = world.scim.titles();
    assert_eq!(before.len(), PEOPLE);

    let gone: BTreeSet<String> = (0..6).map(|id| format!("u{id}")).collect();
    gone.iter().for_each(|id| world.crm.remove(id));
    let weather = Weather { killed: 40 };
    world.pipeline.store.lose_answers(2);
    world.scim.set_trouble(Trouble { calls: 40, throttled: 20, answers: 40, rows: 50, row_answers: 50 });
    for round in 0..360 {
        if round % 60 == 0 {
            world.ask(RunKind::Reconcile, None).await;
        }
        world.round(weather).await;
        let deleted = world.scim.deleted();
        assert!(deleted.len() <= 4, "round {round}: {deleted:?}");
    }
    world.come_to_rest().await;
    for _ in 0..2 {
        // Proofs need readers that live through a whole list.
        world.ask(RunKind::Reconcile, None).await;
        world.come_to_rest().await;
    }
    let store = &world.pipeline.store;
    assert_eq!(store.held(&world.connection.name).await.unwrap().len(), 2, "what is over the budget waits");
    assert_eq!(store.all_letters(), []);
    let left: BTreeSet<String> = before.keys().filter(|id| !world.scim.titles().contains_key(*id)).cloned().collect();
    let parted = store.all_links().into_iter().filter(|link| link.sides.b.account.is_none()).count();
    assert_eq!(parted, 4);
    match how {
        Departure::Detach => assert_eq!(left.len(), 0, "the accounts stay"),
        Departure::Remove | Departure::Delete => {
            assert!(left.len() == 4 && left.is_subset(&gone), "{left:?}");
            assert_eq!(world.scim.deleted().len(), 4, "each once");
        }
    }

    // One of them comes back, and has an account again.
    let link = store.all_links().into_iter().find(|link| link.sides.b.account.is_none()).unwrap();
    let back = link.sides.a.account.unwrap();
    world.crm.edit(back.as_str(), "back");
    world.ask(RunKind::Sync, None).await;
    world.come_to_rest().await;
    assert_eq!(world.scim.titles().get(back.as_str()).map(String::as_str), Some("back"));
    for run in world.pipeline.store.all_runs() {
        assert!(run.is_over(), "outcomes add up: {run:#?}");
    }
}

/// B3, B10, B12, B16, R25: whatever is killed, who is gone parts from the partner once, as far as the budget allows, and who
/// comes back has one again; the outcomes add up.
#[tokio::test]
async fn kills_part_nobody_twice() {
    for seed in 0..12 {
        println!("seed {seed}");
        storm(seed).await;
    }
}

/// B12: who is back by the time that the deletion is to be sent stays, although two proofs said otherwise.
#[tokio::test]
async fn who_is_back_just_before_the_deletion_stays() {
    let mut rules = rules();
    rules.leavers = Leavers::Part(Departure::Delete);
    rules.budgets.set(Risk::Delete, None);
    let mut world = World::of(Shape { page: 50, batch: 200, calls: 1 }, rules);
    (0..3).for_each(|id| world.crm.edit(&format!("u{id}"), "1"));
    world.ask(RunKind::Sync, None).await;
    world.clock.advance(Duration::from_secs(60));
    world.come_to_rest().await;
    world.crm.remove("u1");
    world.ask(RunKind::Reconcile, None).await;
    world.come_to_rest().await;
    world.ask(RunKind::Reconcile, None).await;
    let gone = || world.pipeline.store.all_links().iter().any(|link| link.sides.a.is_gone());
    for _ in 0..40 {
        world.read().await;
        world.map().await;
        if gone() {
            break;
        }
    }
    assert!(gone(), "two proofs");
    world.crm.edit("u1", "2");
    world.write().await;
    assert_eq!(world.scim.deleted(), []);
    world.come_to_rest().await;
    assert_eq!((world.scim.deleted(), world.scim.titles()), (Vec::new(), world.crm.titles()));
}
