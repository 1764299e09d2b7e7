//! Processes that die at every step, servers that go away in the middle, and what is left of the guarantees: both sides
//! equal, nobody created twice, every outcome counted once.

pub mod edits;
mod embedded;
pub mod judge;
mod log;
mod plan;
mod power_loss;
mod restore;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use muster::domain::ChangeOutcome;
use muster::failpoint;
use muster::sandbox::{Admin, Sandbox, SandboxSettings, System};
use muster::store::{RunKind, Store};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::edits::{Joiners, edit_some, people};
use self::judge::{assert_in_step, assert_nothing_lost_and_nothing_doubled, backward_writes, runs, settle};
use self::plan::{Plan, keep_filled, seed};
use super::pipeline::{
    CONNECTION, End, ONE_WAY, Parts, Place, Rig, Role, Worker, assert_adds_up, directory, directory_by_partner,
    org_and_directory, within,
};
use super::proxy::Proxy;
use super::rabbitmq::RabbitMq;
use super::redis_server::RedisServer;
use super::show::show;

/// The people of the org in the great test.
const USERS: usize = 2_000;

/// Kills that must have happened at least, over all failpoints.
const KILLS: u32 = 50;

/// R17, R18, B1, B16: killed at every failpoint, from outside, with the broker killed and the store cut off, the two
/// sides come to be equal, nobody is created twice and every outcome is counted once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_every_step_nothing_is_lost_and_nothing_doubled() {
    let (seed, began) = (seed(), Instant::now());
    let mut random = fastrand::Rng::with_seed(seed);

    let mut node = Some(RabbitMq::private().await);
    let redis = RedisServer::private(&[]).await;
    let redis_port: u16 = redis.url().trim_end_matches('/').rsplit_once(':').unwrap().1.parse().unwrap();
    let proxy = Proxy::start(([127, 0, 0, 1], redis_port).into()).await;
    let sandbox = Sandbox::start(SandboxSettings { users: USERS, seed, ..SandboxSettings::default() }).await.unwrap();
    let admin = sandbox.admin();
    let parts = Parts {
        place: Place::Servers { amqp: node.as_ref().unwrap().url(), redis: format!("redis://{}/", proxy.addr()) },
        systems: org_and_directory(&sandbox),
        connection: ONE_WAY,
    };
    let rig = Arc::new(Rig::new("killed-at-every-step", &parts));
    let store = rig.store(&redis);

    let failpoints = failpoint::STAGES.iter().map(|name| match Role::of_failpoint(name) {
        // A producer that is killed leaves a lease behind that lasts ten seconds.
        Role::Producer => (Role::Producer, *name, 1),
        role => (role, *name, 4),
    });
    let plan = Arc::new(Plan::draw(&mut random, failpoints));
    let (stop, mut crew) = (CancellationToken::new(), JoinSet::new());
    let mut places = Vec::new();
    for role in [Role::Producer, Role::Producer, Role::Mapper, Role::Mapper, Role::Writer, Role::Writer] {
        let (kill, kills) = mpsc::unbounded_channel();
        places.push(kill);
        crew.spawn(keep_filled(Arc::clone(&rig), role, Arc::clone(&plan), kills, stop.clone()));
    }

    // What happens meanwhile happens after so many writes, not after so much time.
    let people = people(&admin);
    let mut edits = 0;
    let mut from_outside = 0;
    let (restarted, cut) = (Cell::new(false), Cell::new(false));
    let mut more = random.fork();
    let trouble = async {
        let mut next = 50;
        loop {
            admin.wait_until(|admin| admin.write_count() >= next).await;
            edit_some(&admin, &people, &mut random, &mut edits);
            next = admin.write_count() + random.u64(60..120);
            if random.u8(..4) == 0 {
                places[random.usize(..places.len())].send(()).unwrap();
                from_outside += 1;
            }
            if !restarted.get() && admin.write_count() > 500 {
                let mut dying = node.take().unwrap();
                dying.kill();
                node = Some(dying.restart().await);
                restarted.set(true);
            } else if !cut.get() && admin.write_count() > 1_200 {
                proxy.cut();
                cut.set(true);
            }
        }
    };
    let work = async {
        // A failpoint that only creations pass is reached however soon the first load is over.
        let mut joiners = Joiners::after(USERS, seed, 6_000);
        let mut edits = 1_000_000;
        while !(plan.is_done() && restarted.get() && cut.get()) {
            // It may end badly while everything dies around it; what it began is judged at the end.
            let asked = rig.muster(&["sync", CONNECTION, "--wait", "--json"]).await;
            eprintln!(
                "{:?}: {} kills, {} writes, a sync ended with {:?} {}",
                began.elapsed(),
                plan.kills(),
                admin.write_count(),
                asked.status,
                asked.stderr
            );
            joiners.join(&admin, 24);
            for _ in 0..4 {
                edit_some(&admin, &people, &mut more, &mut edits);
            }
        }
    };
    tokio::select! {
        () = trouble => {}
        () = work => {}
        Some(ended) = crew.join_next() => ended.unwrap(),
    }

    eprintln!("{:?} kills are over", began.elapsed());
    settle(&store).await;
    let last = rig.sync(&[]).await;
    eprintln!("{last}");
    stop.cancel();
    within("the crew stops", async {
        while let Some(ended) = crew.join_next().await {
            ended.unwrap()
        }
    })
    .await;

    show(format_args!(
        "seed {seed}, {} kills at failpoints, {from_outside} from outside, {edits} edits, {:?}",
        plan.kills(),
        began.elapsed()
    ));
    plan.assert_reached(failpoint::STAGES, KILLS);
    assert_nothing_lost_and_nothing_doubled(&rig, &admin, &store).await;
    assert!(runs(&store).await.iter().any(|run| run.kind != RunKind::Live));
    rig.passed();
}

/// What all tests but the great one need: shared servers, one sandbox, an org that leads.
async fn small_rig(name: &str, redis: &RedisServer, sandbox: &Sandbox) -> Rig {
    let broker = RabbitMq::shared().await;
    let place = Place::Servers { amqp: broker.url().clone(), redis: redis.url().to_owned() };
    let parts = Parts { place, systems: org_and_directory(sandbox), connection: ONE_WAY };
    Rig::new(name, &parts)
}

async fn sandbox(users: usize) -> Sandbox {
    Sandbox::start(SandboxSettings { users, ..SandboxSettings::default() }).await.unwrap()
}

/// Nothing waits for a person, no run has lost a conflict, and all of them add up.
async fn assert_calm(rig: &Rig, store: &impl Store) {
    settle(store).await;
    for run in runs(store).await {
        assert_adds_up(&run);
        assert_eq!(run.changes(ChangeOutcome::ConflictLost), 0, "{run:#?}");
    }
    let letters = rig.muster(&["dead", "list", "--json"]).await;
    assert_eq!(letters.stdout, "", "{letters:?}");
}

/// Reasons of all that the journal keeps.
async fn journal_reasons(rig: &Rig, redis: &RedisServer) -> Vec<String> {
    let key = format!("{}:{{{CONNECTION}}}:journal", rig.prefix());
    let entries: Vec<(String, BTreeMap<String, String>)> = redis.ask(&["XRANGE", &key, "-", "+"]).await.unwrap();
    let reason = |entry: &BTreeMap<String, String>| -> String {
        serde_json::from_str::<Value>(&entry["e"]).unwrap()["reason"].as_str().unwrap().to_owned()
    };
    entries.iter().map(|(_, entry)| reason(entry)).collect()
}

/// Kills a writer between the answer of the directory and the commit, edits `meanwhile`, and lets another one go on.
async fn kill_after_the_answer(
    rig: &Rig,
    store: &impl Store,
    admin: &Admin,
    edit: impl Fn(&str),
    meanwhile: impl Fn(),
) -> Vec<Worker> {
    let mut crew = rig.crew(store, &[Role::Producer, Role::Mapper, Role::Writer]).await;
    rig.sync(&[]).await;
    let mut writer = crew.pop().unwrap();
    writer.kill().await;
    let mut writer = rig.start(Role::Writer, Some("writer.answered:1"));
    edit("One");
    let before = admin.write_count();
    let asked = rig.muster(&["sync", CONNECTION, "--json"]).await;
    assert_eq!(asked.status, Some(0), "{asked:?}");
    let end = within("the writer is killed", writer.ended()).await;
    assert_eq!(end, End::Failpoint("writer.answered".to_owned()));
    assert!(admin.write_count() > before, "nothing was written before the answer");
    meanwhile();
    crew.push(rig.start(Role::Writer, None));
    rig.sync(&[]).await;
    settle(store).await;
    crew
}

/// B3, B5: a write whose answer was never committed is our own hand and no edit, so the newer edit of the source wins.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_between_answer_and_commit_makes_no_phantom_conflict() {
    let (redis, sandbox) = (RedisServer::shared().await, sandbox(3).await);
    let rig = small_rig("kill-after-answer", redis, &sandbox).await;
    let (admin, store) = (sandbox.admin(), rig.store(redis));
    let somebody = active_user(&admin);
    let title = |text: &str| admin.edit(System::Salesforce, &somebody, &json!({ "Title": text })).unwrap();
    let _crew = kill_after_the_answer(&rig, &store, &admin, title, || title("Two")).await;
    assert_calm(&rig, &store).await;
    assert_in_step(&admin);
    let directory = admin.accounts(System::Scim);
    assert_eq!(directory_by_partner(&directory)[&somebody]["title"], "Two");
    assert!(!journal_reasons(&rig, redis).await.contains(&"conflict_lost".to_owned()));
    rig.passed();
}

/// The same, while a person edits another attribute of the account in the directory: that edit stays as it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_between_answer_and_commit_leaves_a_persons_edit_beside_it_alone() {
    let (redis, sandbox) = (RedisServer::shared().await, sandbox(3).await);
    let rig = small_rig("kill-beside-an-edit", redis, &sandbox).await;
    let (admin, store) = (sandbox.admin(), rig.store(redis));
    let somebody = active_user(&admin);
    let title = |text: &str| admin.edit(System::Salesforce, &somebody, &json!({ "Title": text })).unwrap();
    let meanwhile = || {
        title("Two");
        let directory = admin.accounts(System::Scim);
        let account = directory_by_partner(&directory)[&somebody]["id"].as_str().unwrap().to_owned();
        admin.edit(System::Scim, &account, &json!({ "userType": "Guest" })).unwrap();
    };
    let _crew = kill_after_the_answer(&rig, &store, &admin, title, meanwhile).await;
    assert_calm(&rig, &store).await;
    assert_in_step(&admin);
    let directory = admin.accounts(System::Scim);
    let account = directory_by_partner(&directory)[&somebody];
    assert_eq!((account["title"].as_str(), account["userType"].as_str()), (Some("Two"), Some("Guest")));
    rig.passed();
}

fn active_user(admin: &Admin) -> String {
    let users = admin.accounts(System::Salesforce);
    let active = users.iter().find(|user| user["IsActive"] == true).unwrap();
    active["Id"].as_str().unwrap().to_owned()
}

/// R76, B2: a store that is emptied in the middle of a run costs that run. The next one finds every account again by the
/// partner that it names.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_emptied_in_the_middle_costs_a_run_and_nothing_else() {
    let (redis, sandbox) = (RedisServer::private(&[]).await, sandbox(400).await);
    let rig = small_rig("flushed", &redis, &sandbox).await;
    let (admin, store) = (sandbox.admin(), rig.store(&redis));
    let _crew = rig.crew(&store, &[Role::Producer, Role::Mapper, Role::Mapper, Role::Writer, Role::Writer]).await;
    let flush = async {
        admin.wait_until(|admin| admin.write_count() >= 100).await;
        redis.tell(&["FLUSHALL"]).await;
    };
    let (first, ()) = tokio::join!(rig.muster(&["sync", CONNECTION, "--wait", "--json"]), flush);
    assert_eq!(first.status, Some(1), "{first:?}");
    assert!(first.stderr.contains("the store lost"), "{first:?}");

    rig.sync(&[]).await;
    assert_calm(&rig, &store).await;
    assert_in_step(&admin);
    let writes = admin.writes(0);
    let deactivated = writes.iter().find(|write| {
        write.system == System::Scim && write.after.as_ref().is_some_and(|after| after["active"] == false)
    });
    assert!(deactivated.is_none(), "{deactivated:#?}");
    let counts = store.counts(&CONNECTION.parse().unwrap()).await.unwrap();
    let accounts = admin.accounts(System::Scim).len() as u64;
    assert_eq!((counts.links, counts.accounts.a, counts.accounts.b), (accounts, accounts, accounts));
    rig.passed();
}

/// B1: a writer that is frozen past its lease, and wakes up when others have done its work, doubles nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_sleeps_past_its_lease_doubles_nothing() {
    let (redis, sandbox) = (RedisServer::shared().await, sandbox(200).await);
    let rig = small_rig("zombie", redis, &sandbox).await;
    let (admin, store) = (sandbox.admin(), rig.store(redis));
    let mut crew = rig.crew(&store, &[Role::Producer, Role::Mapper, Role::Writer, Role::Writer]).await;
    let mut zombie = crew.pop().unwrap();
    let freeze = async {
        admin.wait_until(|admin| admin.write_count() >= 30).await;
        zombie.signal("STOP");
    };
    // It is over only when the other writer has done what the frozen one held.
    tokio::join!(rig.sync(&[]), freeze);
    let people = people(&admin);
    edit_some(&admin, &people, &mut fastrand::Rng::with_seed(1), &mut 0);
    zombie.signal("CONT");
    rig.sync(&[]).await;
    zombie.signal("TERM");
    within("the writer that slept stops", zombie.ended()).await;
    rig.sync(&[]).await;
    assert_calm(&rig, &store).await;
    assert_in_step(&admin);
    let writes = admin.writes(0);
    assert!(backward_writes(&writes).is_empty(), "{:#?}", backward_writes(&writes));
    rig.passed();
}

/// B5: the same kill where both directories may edit. What we wrote ourselves is not an edit by the second one, which
/// the policy would let win.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_between_answer_and_commit_is_no_edit_where_both_sides_may_edit() {
    let (redis, broker) = (RedisServer::shared().await, RabbitMq::shared().await);
    let (first, second) = (sandbox(0).await, sandbox(0).await);
    first.admin().seed(System::Scim, 3, 7).unwrap();
    let connection = r#"direction = "two_way"
default_system = "directory"
create = "automatic"
schedule = "manual""#;
    let systems = directory("crm", &first) + &directory("directory", &second);
    let place = Place::Servers { amqp: broker.url().clone(), redis: redis.url().to_owned() };
    let parts = Parts { place, systems, connection };
    let rig = Rig::new("kill-two-way", &parts);
    let (leader, follower, store) = (first.admin(), second.admin(), rig.store(redis));
    let somebody = leader.accounts(System::Scim)[0]["id"].as_str().unwrap().to_owned();
    let title = |text: &str| leader.edit(System::Scim, &somebody, &json!({ "title": text })).unwrap();
    let _crew = kill_after_the_answer(&rig, &store, &follower, title, || title("Two")).await;
    assert_calm(&rig, &store).await;
    let account = |admin: &Admin| {
        let directory = admin.accounts(System::Scim);
        directory.iter().find(|account| account["externalId"] == somebody.as_str()).cloned()
    };
    assert_eq!(account(&follower).unwrap()["title"], "Two");
    assert_eq!(leader.account(System::Scim, &somebody).unwrap()["title"], "Two");
    assert_eq!(follower.accounts(System::Scim).len(), leader.accounts(System::Scim).len());
    assert!(!journal_reasons(&rig, redis).await.contains(&"conflict_lost".to_owned()));
    rig.passed();
}
