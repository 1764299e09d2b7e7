//! The embedded mode, where one process does everything: killed at every failpoint of the stages and of the file below
//! them, again and again, while people edit and the target fails now and then.

use std::sync::Arc;
use std::time::{Duration, Instant};

use muster::failpoint;
use muster::sandbox::{Admin, Effect, Fault, FaultBody, Matcher, RetryAfter, Sandbox, SandboxSettings, System};
use muster::store::{RunKind, Store};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::edits::{Joiners, edit_some, people};
use super::judge::{ask, assert_nothing_lost_and_nothing_doubled, settle};
use super::plan::{Plan, keep_filled, seed};
use crate::pipeline::{CONNECTION, End, ONE_WAY, Parts, Place, Rig, Role, org_and_directory, until, within};
use crate::show::show;

/// The people of the org, at first.
const USERS: usize = 2_000;

/// Kills that must have happened at least, over all failpoints.
const KILLS: u32 = 80;

/// After this it goes nowhere any more.
const PATIENCE: Duration = Duration::from_secs(1200);

/// From here on the directory now and then fails before it does something, fails after it did it, is slow, or asks for a
/// pause.
fn now_and_then_it_fails(admin: &Admin, seed: u64) {
    let failing = |status| Effect::Status { status, body: FaultBody::Html };
    for (probability, effect) in [
        (0.01, failing(503)),
        (0.01, Effect::AppliedThenStatus { status: 500, body: FaultBody::Native }),
        (0.01, Effect::AppliedThenCut),
        (0.002, Effect::Slow { ms: 1_500 }),
        (0.002, Effect::TooManyRequests { retry_after: RetryAfter::Seconds(1) }),
    ] {
        let on = Matcher { system: Some(System::Scim), probability: Some(probability), seed, ..Matcher::default() };
        admin.inject(Fault { on, effect });
    }
}

/// Asks for run after run until every failpoint was reached, and edits between them.
async fn keep_busy(rig: &Rig, admin: &Admin, plan: &Plan, people: &[String], mut random: fastrand::Rng, seed: u64) {
    let (connection, mut joiners, mut edits) = (CONNECTION.parse().unwrap(), Joiners::after(USERS, seed, 3_000), 0);
    while !plan.is_done() {
        let run = ask(&rig.file_store().await, RunKind::Sync).await;
        // Open for a moment only, so that some deaths leave a file that nobody else has open.
        let is_read = || async {
            let found = rig.file_store().await.run(&connection, &run).await.unwrap();
            found.is_some_and(|run| !run.reading.a && !run.reading.b) || plan.is_done()
        };
        until("a run is read", is_read).await;
        joiners.join(admin, 6);
        for _ in 0..4 {
            edit_some(admin, people, &mut random, &mut edits);
        }
    }
}

/// B3, B16, B23, R76: the one process is killed at every failpoint, of the stages and of the file, and from outside,
/// while people edit and join and the directory fails now and then. The two sides come to be equal, nobody is created
/// twice, every outcome is counted once, nobody has a letter, and no message is left in the file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_process_killed_at_every_step_loses_nothing_and_doubles_nothing() {
    let (seed, began) = (seed(), Instant::now());
    let mut random = fastrand::Rng::with_seed(seed);
    let sandbox = Sandbox::start(SandboxSettings { users: USERS, seed, ..SandboxSettings::default() }).await.unwrap();
    let admin = sandbox.admin();
    let parts = Parts { place: Place::File, systems: org_and_directory(&sandbox), connection: ONE_WAY };
    let rig = Arc::new(Rig::new("embedded-killed-at-every-step", &parts));
    let names = || failpoint::STAGES.iter().chain(failpoint::FILE);
    let plan = Arc::new(Plan::draw(&mut random, names().map(|name| (Role::Run, *name, 3))));
    now_and_then_it_fails(&admin, seed);

    let (kill, kills) = mpsc::unbounded_channel();
    let stop = CancellationToken::new();
    let place = tokio::spawn(keep_filled(Arc::clone(&rig), Role::Run, Arc::clone(&plan), kills, stop.clone()));
    let (people, mut more) = (people(&admin), random.fork());
    let (mut edits, mut from_outside) = (0, 0);
    let trouble = async {
        let mut next = 50;
        loop {
            admin.wait_until(|admin| admin.write_count() >= next).await;
            edit_some(&admin, &people, &mut more, &mut edits);
            next = admin.write_count() + more.u64(60..120);
            if more.u8(..4) == 0 {
                kill.send(()).unwrap();
                from_outside += 1;
            }
        }
    };
    let work = tokio::time::timeout(PATIENCE, keep_busy(&rig, &admin, &plan, &people, random, seed));
    tokio::select! {
        () = trouble => {}
        busy = work => busy.expect("every failpoint is reached"),
    }
    assert!(!place.is_finished(), "{:?}", place.await);
    let writes = admin.write_count();
    show(format_args!(
        "seed {seed}, {} kills at failpoints, {from_outside} from outside, {writes} writes, {:?}",
        plan.kills(),
        began.elapsed()
    ));

    admin.end_faults();
    let store = rig.file_store().await;
    settle(&store).await;
    rig.sync(&[]).await;
    let rest = rig.sync(&["--full"]).await;
    assert_eq!((&rest["emitted"], &rest["failed"]), (&json!(0), &json!(null)), "{rest}");
    plan.assert_reached(names(), KILLS);
    assert_nothing_lost_and_nothing_doubled(&rig, &admin, &store).await;
    until_no_message_is_left(&rig).await;
    stop.cancel();
    place.await.unwrap();
    show(format_args!("in step after {:?}", began.elapsed()));
    rig.passed();
}

/// B3, B23: somebody who is created by a process that dies before it notes so, and who leaves before the next one begins,
/// does not keep an account that may be used.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_who_leaves_after_a_creation_without_an_answer_is_deactivated() {
    let sandbox = Sandbox::start(SandboxSettings { users: 5, ..SandboxSettings::default() }).await.unwrap();
    let admin = sandbox.admin();
    let parts = Parts { place: Place::File, systems: org_and_directory(&sandbox), connection: ONE_WAY };
    let rig = Rig::new("left-meanwhile", &parts);
    let mut worker = rig.start(Role::Run, Some("writer.answered:1"));
    ask(&rig.file_store().await, RunKind::Sync).await;
    let end = within("the process dies", worker.ended()).await;
    assert_eq!(end, End::Failpoint("writer.answered".to_owned()));
    let created = admin.accounts(System::Scim);
    assert!(!created.is_empty());
    for account in &created {
        admin.deactivate(System::Salesforce, account["externalId"].as_str().unwrap()).unwrap();
    }
    let mut worker = rig.start(Role::Run, None);
    rig.sync(&[]).await;
    let store = rig.file_store().await;
    settle(&store).await;
    assert_nothing_lost_and_nothing_doubled(&rig, &admin, &store).await;
    for account in created {
        let now = admin.account(System::Scim, account["id"].as_str().unwrap()).unwrap();
        assert_eq!(now["active"], false, "{now}");
    }
    worker.kill().await;
    rig.passed();
}

/// Waits until no message is in the file, ready, out or delayed: acknowledged ones go a moment after their run is over.
pub async fn until_no_message_is_left(rig: &Rig) {
    let file = rusqlite::Connection::open(rig.file()).unwrap();
    let count = "SELECT (SELECT count(*) FROM messages) + (SELECT count(*) FROM delayed)";
    let is_empty = || async { file.query_row(count, [], |row| row.get::<_, i64>(0)).unwrap() == 0 };
    until("no message is left in the file", is_empty).await;
}
