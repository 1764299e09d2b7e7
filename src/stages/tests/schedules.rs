//! Replicas that keep one schedule, killed anywhere, while the clock of their store goes through the days when clocks
//! change.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use jiff::tz::TimeZone;

use super::system::Shape;
use super::world::{World, killed_after, rules};
use crate::domain::schedule::Schedule;
use crate::domain::{Side, Timestamp};
use crate::store::{Run, RunKind, Store};

const SHAPE: Shape = Shape { page: 50, batch: 10, calls: 1 };

fn at(text: &str) -> Timestamp {
    Timestamp(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
}

fn daily(hour: i8, minute: i8, zone: &str) -> Schedule {
    Schedule::Daily { at: jiff::civil::time(hour, minute, 0, 0), zone: TimeZone::get(zone).unwrap() }
}

/// A world at this time.
fn world(schedule: Schedule, now: &str) -> World {
    let world = World::scheduled(SHAPE, rules(), schedule);
    world.clock.advance(at(now).since(world.clock.now()));
    world
}

/// The runs that the schedule began, in the order of their slots.
fn scheduled(world: &World) -> Vec<Run> {
    let mut runs: Vec<_> = world.pipeline.store.all_runs().into_iter().filter(|run| run.slot.is_some()).collect();
    runs.sort_by_key(|run| run.slot.unwrap().at);
    runs
}

fn slots(world: &World) -> Vec<String> {
    scheduled(world).iter().map(|run| run.slot.unwrap().at.to_string()).collect()
}

/// Readers read whatever there is to read.
async fn read_all(world: &World) {
    for _ in 0..5 {
        world.read().await;
    }
}

/// B24, R65: three replicas, killed again and again, the answers of their store lost now and then: over both changes of
/// clocks each day has one run, begun as soon as somebody lived long enough to begin it.
#[tokio::test]
async fn a_daily_slot_is_served_once_by_replicas_that_are_killed() {
    fastrand::seed(7);
    let paris = daily(2, 30, "Europe/Paris");
    let new_york = daily(1, 30, "America/New_York");
    // At once, since whoever gets no answer waits.
    join_all([
        four_days(&paris, "2026-03-27T12:00:00Z"),
        four_days(&paris, "2026-10-23T12:00:00Z"),
        four_days(&daily(2, 30, "America/New_York"), "2026-03-06T12:00:00Z"),
        four_days(&new_york, "2026-10-30T12:00:00Z"),
    ])
    .await;
}

async fn four_days(schedule: &Schedule, begin: &str) {
    let end = at(begin) + Duration::from_secs(4 * 24 * 3600);
    let world = world(schedule.clone(), begin);
    let mut clerks: Vec<_> = (0..3).map(|_| world.another_clerk()).collect();
    while world.clock.now() < end {
        let killed = fastrand::usize(..3);
        let steps = clerks.iter().enumerate().map(|(index, clerk)| {
            let polls = if index == killed { fastrand::usize(..25) } else { usize::MAX };
            let stop = &world.stop;
            killed_after(polls, async move { drop(clerk.step(stop).await) })
        });
        world.pipeline.store.lose_answers(5);
        join_all(steps).await;
        world.pipeline.store.lose_answers(0);
        clerks[killed] = world.another_clerk();
        read_all(&world).await;
        world.clock.advance(Duration::from_secs(fastrand::u64(60..1800)));
    }
    let expected = std::iter::successors(schedule.next(at(begin)), |slot| schedule.next(*slot));
    let expected: Vec<_> = expected.take_while(|slot| *slot < end).map(|slot| slot.to_string()).collect();
    assert_eq!(expected.len(), 4);
    assert_eq!(slots(&world), expected, "{schedule} from {begin}");
    for run in scheduled(&world) {
        let slot = run.slot.unwrap();
        assert_eq!(slot.missed, 0, "{run:?}");
        // A round takes half an hour at most, and may kill whoever was about to begin it: now and then several in a row.
        assert!(run.began_at.since(slot.at) < Duration::from_secs(4 * 3600), "{run:?}");
    }
}

/// B24: a producer that was down over three slots runs once, and says so.
#[tokio::test]
async fn slots_missed_while_nobody_worked_are_made_up_for_by_one_run() {
    let world = world(daily(2, 30, "Europe/Paris"), "2026-11-16T12:00:00Z");
    read_all(&world).await;
    assert_eq!(slots(&world), [""; 0], "what was before the schedule was not missed");
    world.clock.advance(Duration::from_secs(3 * 24 * 3600));
    read_all(&world).await;
    let runs = scheduled(&world);
    assert_eq!(runs.len(), 1, "{runs:?}");
    assert_eq!((runs[0].slot.unwrap().at, runs[0].slot.unwrap().missed), (at("2026-11-19T01:30:00Z"), 2));
    let metrics = world.pipeline.metrics.render();
    assert!(metrics.contains("muster_missed_slots_total{connection=\"crm-scim\"} 2"), "{metrics}");
    world.clock.advance(Duration::from_secs(24 * 3600));
    read_all(&world).await;
    assert_eq!(slots(&world)[1..], ["2026-11-20T01:30:00Z"]);
}

/// R66: what is asked for during a run that the schedule began waits for its end, and runs once. No two runs are read at
/// a time.
#[tokio::test]
async fn a_sync_asked_for_during_a_scheduled_run_is_neither_doubled_nor_lost() {
    let world = world(Schedule::Every(Duration::from_secs(900)), "2026-11-16T12:00:00Z");
    world.crm.edit("u1", "one");
    world.clock.advance(Duration::from_secs(60));
    let reading = |world: &World| {
        let runs = world.pipeline.store.all_runs();
        runs.iter().filter(|run| run.reading.a || run.reading.b).map(|run| run.id.clone()).collect::<BTreeSet<_>>()
    };
    let clerks = [world.another_clerk(), world.another_clerk()];
    for clerk in &clerks {
        drop(clerk.step(&world.stop).await);
    }
    let first = scheduled(&world)[0].id.clone();
    assert_eq!(reading(&world), [first.clone()].into());
    let asked = world.ask(RunKind::Sync, None).await;
    for _ in 0..5 {
        for clerk in &clerks {
            drop(clerk.step(&world.stop).await);
        }
        assert_eq!(reading(&world), [first.clone()].into(), "one at a time");
    }
    for _ in 0..100 {
        world.clock.advance(Duration::from_secs(3));
        for clerk in &clerks {
            drop(clerk.step(&world.stop).await);
        }
        world.read().await;
        assert!(reading(&world).len() <= 1, "one at a time");
    }
    let store = &world.pipeline.store;
    let runs = store.all_runs();
    let synced: Vec<_> = runs.iter().filter(|run| run.kind == RunKind::Sync).map(|run| &run.id).collect();
    assert_eq!(synced.len(), 2, "{runs:?}");
    assert!(synced.contains(&&asked) && synced.contains(&&first), "{runs:?}");
    assert!(store.requests(&world.connection.name).await.unwrap().is_empty());
    assert!(Side::BOTH.iter().all(|side| runs.iter().all(|run| !run.reading[*side])), "{runs:?}");
}

/// R64: a schedule that is switched off begins nothing, and one that is switched on again misses nothing.
#[tokio::test]
async fn a_schedule_that_was_off_misses_nothing() {
    let on = world(daily(2, 30, "Europe/Paris"), "2026-11-16T12:00:00Z");
    read_all(&on).await;
    let mut off = world(Schedule::Manual, "2026-11-16T13:00:00Z");
    // The same store, under another configuration.
    off.pipeline.store = on.pipeline.store.clone();
    drop(off.another_clerk().step(&off.stop).await);
    on.clock.advance(Duration::from_secs(20 * 24 * 3600));
    drop(off.another_clerk().step(&off.stop).await);
    on.clock.advance(Duration::from_secs(60));
    read_all(&on).await;
    assert_eq!(slots(&on), [""; 0]);
    on.clock.advance(Duration::from_secs(24 * 3600));
    read_all(&on).await;
    assert_eq!(slots(&on), ["2026-12-07T01:30:00Z"]);
}
