//! Plans where more is going on: an older file, work that waits, workers beside it, and one that is killed.

use std::process::Stdio;
use std::time::Duration;

use muster::sandbox::{Effect, Fault, Matcher, System};
use serde_json::{Value, json};

use super::{WRITER, assert_done_as_planned, done, item, planned, world};
use crate::place::{On, Place};
use crate::processes::{CONNECTION, active_users};

/// After this something hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// R86: over a file that is older than the truth, a backup or a plain copy, of which nothing but the pairing is believed.
#[tokio::test(flavor = "multi_thread")]
async fn a_plan_over_an_older_file_is_what_a_sync_does() {
    let (sandbox, systems) = world().await;
    let admin = sandbox.admin();
    let muster = On::File.installation(&systems, WRITER).await;
    let Place::File(home) = &muster else { unreachable!() };
    let users = active_users(&admin);
    let edit = |number: usize, title: &str| {
        admin.edit(System::Salesforce, users[number]["Id"].as_str().unwrap(), &json!({"Title": title})).unwrap();
    };
    muster.sync(&[]).await;
    let copied = muster.muster(&["backup", "backup.db"]).await;
    assert_eq!(copied.status, 0, "{copied:?}");
    std::fs::copy(home.path("muster.db"), home.path("copy.db")).unwrap();
    for (number, older) in ["backup.db", "copy.db"].into_iter().enumerate() {
        let round = 4 * number;
        // The file that is put back does not know of this one, nor of what a person did in the directory since.
        edit(round, "Clerk");
        muster.sync(&[]).await;
        edit(round + 1, "Captain");
        let copies = admin.accounts(System::Scim);
        let theirs = copies.iter().find(|copy| copy["externalId"] == users[round + 2]["Id"]).unwrap();
        admin.edit(System::Scim, theirs["id"].as_str().unwrap(), &json!({"title": "Boss"})).unwrap();
        // Whoever puts a file back takes the old one away first, with its log: on a busy machine a command may end before
        // SQLite has folded that into the file, and the older file would be read through the newer one's log.
        for old in ["muster.db", "muster.db-wal", "muster.db-shm"].map(|old| home.path(old)) {
            if old.exists() {
                std::fs::remove_file(old).unwrap();
            }
        }
        std::fs::rename(home.path(older), home.path("muster.db")).unwrap();

        let (items, summary) = assert_done_as_planned(&muster, &admin, &[]).await;
        assert_eq!(
            summary["b"],
            json!({"create": 0, "change": 2, "deactivate": 0, "reactivate": 0, "delete": 0, "remove": 0, "detach": 0}),
            "{older}: {items:?}"
        );
        assert_eq!(item(&items, &users[round + 1]["Id"])["values"]["title"]["after"], "Captain", "{older}");
        let back = &item(&items, &users[round + 2]["Id"])["values"]["title"];
        assert_eq!((&back["before"], &back["after"]), (&json!("Boss"), &users[round + 2]["Title"]), "{older}");
    }
}

/// What was decided before, and waits in the queues of workers that died, is part of the plan.
async fn what_waits_is_planned(on: On) {
    let (sandbox, systems) = world().await;
    let admin = sandbox.admin();
    let mut muster = on.installation(&systems, "lease = \"3s\"\nrequest_timeout = \"1s\"").await;
    muster.sync(&[]).await;
    let user = active_users(&admin)[1].clone();
    admin.edit(System::Salesforce, user["Id"].as_str().unwrap(), &json!({"Title": "Captain"})).unwrap();
    match &mut muster {
        Place::File(muster) => {
            let run = muster.run("run", Some("writer.noted_intent:1")).await;
            assert_eq!(muster.muster(&["sync", CONNECTION]).await.status, 0);
            run.killed().await;
        }
        Place::Servers(muster) => {
            muster.start_worker("producer", None);
            muster.start_worker("mapper", None);
            muster.start_worker("writer", Some("writer.noted_intent:1"));
            assert_eq!(muster.muster(&["sync", CONNECTION]).await.status, 0);
            let ended = async {
                while !muster.has_ended("writer") {
                    muster.status().await;
                }
            };
            tokio::time::timeout(PATIENCE, ended).await.expect("the writer has nothing to write");
            muster.kill("producer").await;
            muster.kill("mapper").await;
        }
    }
    let (items, _) = assert_done_as_planned(&muster, &admin, &[]).await;
    let title = &item(&items, &user["Id"])["values"]["title"];
    assert_eq!(
        (items.len(), &title["after"], &title["reason"]),
        (1, &json!("Captain"), &json!("waiting")),
        "{items:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_in_a_file_is_planned() {
    what_waits_is_planned(On::File).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_on_servers_is_planned() {
    what_waits_is_planned(On::Servers).await;
}

/// Beside workers a plan is a picture of the moment, says so, and neither helps nor disturbs them.
async fn a_plan_beside_workers_says_so(on: On) {
    let (sandbox, systems) = world().await;
    let admin = sandbox.admin();
    let mut muster = on.installation(&systems, WRITER).await;
    let run = match &mut muster {
        Place::Servers(muster) => {
            muster.start().await;
            None
        }
        Place::File(muster) => Some(muster.run("run", None).await),
    };
    assert_eq!(muster.sync(&[]).await.failed, None);
    let user = active_users(&admin)[1].clone();
    admin.edit(System::Salesforce, user["Id"].as_str().unwrap(), &json!({"Title": "Captain"})).unwrap();
    let count = admin.write_count();
    let outcome = muster.muster(&["plan", CONNECTION, "--json"]).await;
    assert_eq!((outcome.status, &*outcome.stderr), (4, ""), "{outcome:?}");
    let mut items: Vec<Value> = outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(items.pop().unwrap()["summary"]["workers"], true);
    assert_eq!((items.len(), &item(&items, &user["Id"])["action"]), (1, &json!("change")), "{items:?}");
    let page = muster.muster(&["plan", CONNECTION]).await;
    let told = "\n\nWorkers are running: this is a picture of the moment, and they go on meanwhile.\n";
    assert!(page.stdout.ends_with(told), "{page:?}");
    assert_eq!(admin.write_count(), count);

    assert_eq!(muster.sync(&[]).await.failed, None);
    assert_eq!(planned(&items), done(&admin.writes(count)));
    if let Some(run) = run {
        run.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_beside_a_run_says_so() {
    a_plan_beside_workers_says_so(On::File).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_beside_workers_on_servers_says_so() {
    a_plan_beside_workers_says_so(On::Servers).await;
}

/// The copy that a plan works on has no name: one that is killed leaves nothing behind.
#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_is_killed_leaves_nothing_behind() {
    let (sandbox, systems) = world().await;
    let admin = sandbox.admin();
    let muster = On::File.installation(&systems, WRITER).await;
    let Place::File(home) = &muster else { unreachable!() };
    muster.sync(&[]).await;
    let temporary = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let on = Matcher { system: Some(System::Scim), ..Matcher::default() };
    admin.inject(Fault { on, effect: Effect::Hang });
    let mut plan = home
        .command(env!("CARGO_BIN_EXE_muster"))
        .args(["plan", "--full"])
        .env("TMPDIR", temporary.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let reads = async {
        while admin.held() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, reads).await.expect("it asks nobody");
    plan.kill().await.unwrap();
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0);
    admin.end_faults();
    admin.release();
}
