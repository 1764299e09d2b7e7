//! A backup that was made in the middle of work, put in the place of a file that is lost.

use std::fs;

use muster::sandbox::{Sandbox, SandboxSettings};
use muster::store::RunKind;
use serde_json::json;

use super::edits::{Joiners, edit_some, people};
use super::embedded::until_no_message_is_left;
use super::judge::{ask, assert_in_step, backward_writes, settle};
use crate::pipeline::{ONE_WAY, Parts, Place, Rig, Role, assert_adds_up, org_and_directory, within};

const USERS: usize = 400;

/// R86, B3: `muster backup` copies the file while the first load and edits go on. Later the machine dies, the backup takes
/// the file's place, and what was created, edited and counted since is not in it. Both sides are read again and end equal,
/// nobody is created twice, and nothing older is written over anything newer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_made_under_load_is_restored_without_a_double() {
    let settings = SandboxSettings { users: USERS, seed: 3, ..SandboxSettings::default() };
    let sandbox = Sandbox::start(settings).await.unwrap();
    let admin = sandbox.admin();
    let parts = Parts { place: Place::File, systems: org_and_directory(&sandbox), connection: ONE_WAY };
    let rig = Rig::new("restored", &parts);
    let (people, mut joiners) = (people(&admin), Joiners::after(USERS, 3, 50));
    let (mut random, mut edits) = (fastrand::Rng::with_seed(3), 0);

    let mut worker = rig.start(Role::Run, None);
    ask(&rig.file_store().await, RunKind::Sync).await;
    within("the load is under way", admin.wait_until(|admin| admin.write_count() > 100)).await;
    edit_some(&admin, &people, &mut random, &mut edits);
    let copied = rig.muster(&["backup", "copy.db", "--json"]).await;
    assert_eq!(copied.status, Some(0), "{copied:?}");
    // What the backup does not know: creations, edits, and another run.
    joiners.join(&admin, 5);
    let more = admin.write_count() + 100;
    within("work goes on", admin.wait_until(|admin| admin.write_count() > more)).await;
    ask(&rig.file_store().await, RunKind::Sync).await;
    edit_some(&admin, &people, &mut random, &mut edits);
    let more = admin.write_count() + 20;
    within("work goes on", admin.wait_until(|admin| admin.write_count() > more)).await;
    worker.kill().await;

    let file = rig.file();
    for name in ["muster.db", "muster.db-wal", "muster.db-shm"] {
        fs::remove_file(file.with_file_name(name)).ok();
    }
    fs::copy(file.with_file_name("copy.db"), &file).unwrap();
    let mut worker = rig.start(Role::Run, None);
    let first = rig.sync(&[]).await;
    assert_eq!(first["failed"], json!(null), "{first}");
    let store = rig.file_store().await;
    settle(&store).await;
    let rest = rig.sync(&["--full"]).await;
    assert_eq!((&rest["emitted"], &rest["failed"]), (&json!(0), &json!(null)), "{rest}");
    assert_in_step(&admin);
    let writes = admin.writes(0);
    assert!(backward_writes(&writes).is_empty(), "{:#?}", backward_writes(&writes));
    super::judge::runs(&store).await.iter().for_each(assert_adds_up);
    let letters = rig.muster(&["dead", "list", "--json"]).await;
    assert_eq!(letters.stdout, "", "{letters:?}");
    until_no_message_is_left(&rig).await;
    worker.kill().await;
    rig.passed();
}
