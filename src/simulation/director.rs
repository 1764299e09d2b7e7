//! The course of a world: a storm in which people edit and everything goes wrong; then the faults stop, everything comes
//! to rest, people decide what only they can, and nothing may move any more.

use std::time::Duration;

use super::executor::Owner;
use super::faults::Fault;
use super::people::shown;
use super::plan::{Focus, texts};
use super::system::Entry;
use super::world::World;
use crate::clock;
use crate::domain::Side;
use crate::domain::rules::Flow;
use crate::store::RunKind;

/// Rounds in which people decide what is held or has a letter. One is enough where nothing goes wrong any more; what a
/// person types may meet what another one typed.
const DECISIONS: usize = 6;

/// Lets a world take its course.
pub(crate) async fn direct(world: World) {
    if let Err(complaint) = course(&world).await {
        world.complain(complaint);
    }
    world.spawner.end();
}

async fn course(world: &World) -> Result<(), String> {
    populate(world);
    world.plan.unleash(&world.faults);
    storm(world).await;
    world.faults.calm();
    world.tell("from here on nothing goes wrong".to_owned());
    // Whoever is frozen or dead works again by then.
    clock::sleep(Duration::from_secs(60)).await;
    world.ask(RunKind::Sync).await;
    world.come_to_rest().await?;
    let kind = if world.plan.needs_no_complete_read() { RunKind::Sync } else { RunKind::Reconcile };
    for round in 0.. {
        world.ask(kind).await;
        world.come_to_rest().await?;
        // Two proofs make somebody gone, each from a complete read of its own.
        if !decide(world) && round >= 2 {
            break;
        }
        if round == DECISIONS {
            return Err("people decide again and again, and something is always held".to_owned());
        }
        clock::sleep(Duration::from_secs(5)).await;
    }
    // I4: at rest, nothing is written however often everything is read.
    let before = Side::BOTH.map(|side| world.remotes[side].log_len());
    world.ask(RunKind::Reconcile).await;
    world.come_to_rest().await?;
    let after = Side::BOTH.map(|side| world.remotes[side].log_len());
    if before != after {
        let written = Side::BOTH.into_iter().zip(before).flat_map(|(side, before)| {
            let told = |Entry { account, path, before, after, .. }: &Entry| {
                format!("{} over {} in {path} of {account} on {side}", shown(after.as_ref()), shown(before.as_ref()))
            };
            world.remotes[side].log().iter().skip(before).map(told).collect::<Vec<_>>()
        });
        return Err(format!("a reconcile with nothing to do writes {}", written.collect::<Vec<_>>().join(", ")));
    }
    Ok(())
}

fn populate(world: &World) {
    let (on_a, on_b, on_both) = world.plan.people;
    (0..on_a).for_each(|_| world.people.hire(Side::A, &texts(), false));
    (0..on_b).for_each(|_| world.people.hire(Side::B, &texts(), false));
    (0..on_both).for_each(|_| world.people.hire(Side::A, &texts(), true));
}

/// People edit, runs are asked for, and blows fall, each in its own time.
async fn storm(world: &World) {
    world.spawner.spawn(Owner::World, {
        let world = world.clone();
        async move {
            while !world.faults.is_calm() {
                let is_complete = fastrand::u8(..100) < world.plan.complete_runs;
                world.ask(if is_complete { RunKind::Reconcile } else { RunKind::Sync }).await;
                clock::sleep(Duration::from_millis(world.plan.runs_ms + fastrand::u64(..2_000))).await;
            }
        }
    });
    let length =
        world.plan.gaps_ms.iter().sum::<u64>() / world.plan.gaps_ms.len() as u64 * world.plan.edits as u64 + 30_000;
    world.spawner.spawn(Owner::World, {
        let world = world.clone();
        async move {
            let mut copies = Vec::new();
            for _ in 0..world.plan.blows {
                let wait = length / world.plan.blows as u64;
                clock::sleep(Duration::from_millis(fastrand::u64(..wait * 2))).await;
                if world.faults.is_calm() {
                    return;
                }
                if fastrand::bool() {
                    copies.push(world.store.back_up());
                }
                if world.plan.focus == Focus::LostUnderWay {
                    something_is_under_way(&world).await;
                }
                world.strike(&mut copies);
            }
        }
    });
    world.spawner.spawn(Owner::World, {
        let world = world.clone();
        async move {
            for _ in 0..world.plan.outages {
                clock::sleep(Duration::from_millis(fastrand::u64(20_000..length))).await;
                if world.faults.is_calm() {
                    return;
                }
                let side = if fastrand::bool() { Side::A } else { Side::B };
                // Not longer than the judge takes for granted that everybody is read again.
                let outage = Duration::from_secs(fastrand::u64(20..75));
                world.faults.count(Fault::OutOfOrder);
                world.tell(format!("the system on {side} is out of order for {outage:?}"));
                world.remotes[side].go_out_of_order(outage, fastrand::bool());
            }
        }
    });
    // Past the quarantine of the first epoch, so that edits meet what is known.
    clock::sleep(Duration::from_secs(30)).await;
    let mut last = None;
    for _ in 0..world.plan.edits {
        let gap = world.plan.gaps_ms[fastrand::usize(..world.plan.gaps_ms.len())];
        clock::sleep(Duration::from_millis(gap)).await;
        if fastrand::u8(..100) < world.plan.under_way && edits_under_way(world).await {
            continue;
        }
        world.people.edit_somewhere(&world.plan, &world.faults, &mut last);
    }
    clock::sleep(Duration::from_secs(fastrand::u64(..40))).await;
}

/// Waits for a request that is on its way, for a few seconds at most.
async fn something_is_under_way(world: &World) {
    for _ in 0..200 {
        if Side::BOTH.iter().any(|side| !world.remotes[*side].is_quiet()) {
            return;
        }
        clock::sleep(Duration::from_millis(50)).await;
    }
}

/// Somebody waits for a request that is on its way, and types where it is about to write.
async fn edits_under_way(world: &World) -> bool {
    for _ in 0..80 {
        if world.people.edit_under_way() {
            return true;
        }
        clock::sleep(Duration::from_millis(50)).await;
    }
    false
}

/// People edit what waits for them: what is held, and what has a letter. `false`: nothing does.
fn decide(world: &World) -> bool {
    let mut decided = false;
    let (people, removed) = (world.people.all(), world.people.removed());
    for link in world.store.all_links() {
        let is_theirs = |side: Side| link.sides[side].account.clone();
        let index = people.iter().position(|person| is_theirs(person.home).as_ref() == Some(&person.account));
        let Some(person) = index.filter(|person| !removed.contains_key(person)) else { continue };
        let held: Vec<_> =
            link.registers.iter().filter(|(_, register)| register.is_held()).map(|(path, _)| path.clone()).collect();
        let has_letter = link.sides.a.dead.is_some() || link.sides.b.dead.is_some();
        let lettered = link.registers.keys().next().cloned().filter(|_| has_letter && held.is_empty());
        for path in held.into_iter().chain(lettered) {
            let side = match world.plan.rules.attributes[&path].flow {
                Flow::Towards(target) => target.other(),
                _ => people[person].home,
            };
            if path.is_active() {
                // Two words cannot say anything new, but both sides can say the same.
                Side::BOTH.iter().for_each(|side| world.people.edit(person, *side, &path, false));
            } else {
                world.people.edit(person, side, &path, false);
            }
            decided = true;
        }
    }
    decided
}
