//! `muster replay`: recorded changes decided again under another configuration. What differs is named to the account and
//! the attribute, and nothing else is.

use std::collections::BTreeSet;

use muster::sandbox::{Sandbox, SandboxSettings, System};
use serde_json::{Value, json};

use super::crm_target::crm_with_defaults;
use super::place::{On, Place};
use super::processes::{CONNECTION, active_users, directory};

const WRITER: &str = "lease = \"8s\"\nrequest_timeout = \"6s\"";

/// The two systems and their connection, with these lines in its table and these attributes.
fn systems(sandbox: &Sandbox, lines: &str, attributes: &str) -> String {
    crm_with_defaults(sandbox)
        + &directory(&sandbox.scim_url())
        + &format!(
            "[connections.{CONNECTION}]\na = \"crm\"\nb = \"directory\"\ndirection = \"two_way\"\ncreate = \"automatic\"\n\
             budgets = \"off\"\nhistory = \"30d\"\n{lines}\n\n[connections.{CONNECTION}.attributes]\nuserName = {{}}\n\
             emails = {{}}\n\"name.familyName\" = {{}}\n{attributes}\n"
        )
}

/// An installation, and a folder for other configurations of the same systems.
struct Replays {
    muster: Place,
    folder: tempfile::TempDir,
}

impl Replays {
    /// What would differ under these tables, and the sum.
    async fn replay(&self, tables: &str, more: &[&str]) -> (Vec<Value>, Value) {
        let path = self.folder.path().join("new.toml");
        std::fs::write(&path, tables).unwrap();
        let path = path.to_str().unwrap();
        let outcome = self.muster.muster(&[&["replay", "--with", path, CONNECTION, "--json"], more].concat()).await;
        let mut lines: Vec<Value> = outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let summary = lines.pop().unwrap_or_else(|| panic!("{outcome:?}"))["summary"].clone();
        assert_eq!((outcome.status, &*outcome.stderr), (if lines.is_empty() { 0 } else { 4 }, ""), "{outcome:?}");
        assert_eq!(
            (&summary["not_reproduced"], &summary["of_other_configurations"]),
            (&json!(0), &json!(0)),
            "{summary}"
        );
        assert_eq!(summary["differing"], json!(lines.len()));
        (lines, summary)
    }
}

fn decision<'l>(line: &'l Value, when: &str) -> &'l str {
    line[when]["decision"].as_str().unwrap()
}

/// B14: one edit, one clash, and a first load, under other rules.
async fn what_would_differ_is_listed_and_nothing_else(on: On) {
    let sandbox = Sandbox::start(SandboxSettings { users: 8, ..SandboxSettings::default() }).await.unwrap();
    let admin = sandbox.admin();
    let crm_wins = systems(&sandbox, "default_system = \"crm\"", "title = {}");
    let replays = Replays {
        muster: on.installation(&crm_wins, WRITER).await,
        folder: tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap(),
    };
    let muster = &replays.muster;
    assert_eq!(muster.sync(&[]).await.failed, None);
    let users = active_users(&admin);
    let id = |number: usize| users[number]["Id"].as_str().unwrap().to_owned();
    let copies = admin.accounts(System::Scim);
    let copy = |number: usize| {
        let copy = copies.iter().find(|copy| copy["externalId"] == users[number]["Id"]).unwrap();
        copy["id"].as_str().unwrap().to_owned()
    };
    admin.edit(System::Salesforce, &id(0), &json!({ "Title": "Captain" })).unwrap();
    admin.edit(System::Salesforce, &id(1), &json!({ "Title": "Clerk" })).unwrap();
    admin.edit(System::Scim, &copy(1), &json!({ "title": "Chief" })).unwrap();
    assert_eq!(muster.sync(&[]).await.failed, None);
    let writes = admin.write_count();

    // Under the same rules everything is decided as it was.
    let (differences, summary) = replays.replay(&crm_wins, &[]).await;
    assert_eq!(differences, [] as [Value; 0]);
    let changes = summary["changes"].as_u64().unwrap();
    assert!(changes >= users.len() as u64 + 3, "{summary}");
    assert_eq!(summary["reproduced"], json!(changes));

    // The clash alone depends on who wins, be it by the default system or by the owner of the attribute.
    for (lines, title) in [
        ("default_system = \"directory\"", "title = {}"),
        ("default_system = \"crm\"", "title = { owner = \"directory\" }"),
    ] {
        let (differences, _) = replays.replay(&systems(&sandbox, lines, title), &[]).await;
        let [one] = &differences[..] else { panic!("{differences:#?}") };
        assert_eq!(one["attribute"], "title");
        assert!(one["account"] == json!(id(1)) || one["account"] == json!(copy(1)), "{one}");
        let expected = BTreeSet::from(["conflict_won", "conflict_lost"]);
        assert_eq!(BTreeSet::from([decision(one, "then"), decision(one, "now")]), expected, "{one}");
        assert!(one["now"]["rule"].as_str().unwrap().contains("directory wins"), "{one}");
    }

    // A scope concerns the accounts that do not fit it, an attribute that is left out only itself.
    let scope =
        format!("default_system = \"crm\"\nscope = 'a.userName != \"{}\"'", users[2]["Username"].as_str().unwrap());
    let (differences, _) = replays.replay(&systems(&sandbox, &scope, "title = {}"), &[]).await;
    let accounts: BTreeSet<_> = differences.iter().map(|line| line["account"].as_str().unwrap()).collect();
    assert_eq!(accounts, BTreeSet::from([&*id(2)]), "{differences:#?}");
    let out = differences.iter().filter(|line| decision(line, "now") == "out_of_scope").count();
    assert_eq!(out, 1, "{differences:#?}");

    let (differences, _) = replays.replay(&systems(&sandbox, "default_system = \"crm\"", ""), &[]).await;
    assert!(differences.iter().all(|line| line["attribute"] == "title" && decision(line, "now") == "none"));
    let of_crm = differences.iter().filter(|line| line["system"] == "crm" && decision(line, "then") == "edit");
    let accounts: BTreeSet<_> = of_crm.map(|line| line["account"].as_str().unwrap().to_owned()).collect();
    let mut expected: BTreeSet<_> = users
        .iter()
        .filter(|user| !user["Title"].is_null())
        .map(|user| user["Id"].as_str().unwrap().to_owned())
        .collect();
    expected.insert(id(0));
    assert_eq!(accounts, expected, "{differences:#?}");

    // The latest changes alone, and those of a time.
    let (_, summary) = replays.replay(&crm_wins, &["--limit", "1"]).await;
    assert_eq!(summary["changes"], json!(1));
    let (_, summary) = replays.replay(&crm_wins, &["--since", "2100-01-01T00:00:00Z"]).await;
    assert_eq!(summary["changes"], json!(0));

    // Nothing was written anywhere, and what is not there is said.
    assert_eq!(admin.write_count(), writes);
    let missing = muster.muster(&["replay", "--with", "nowhere.toml"]).await;
    assert_eq!(missing.status, 2, "{missing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_differ_is_listed_over_a_file() {
    what_would_differ_is_listed_and_nothing_else(On::File).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_differ_is_listed_over_servers() {
    what_would_differ_is_listed_and_nothing_else(On::Servers).await;
}

/// B3, B14: whoever dies between the record and the decision, or after it, leaves each change recorded, and it counts once.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_mapper_leaves_no_gap() {
    let sandbox = Sandbox::start(SandboxSettings { users: 8, ..SandboxSettings::default() }).await.unwrap();
    let admin = sandbox.admin();
    let tables = systems(&sandbox, "default_system = \"crm\"", "title = {}");
    let replays = Replays {
        muster: On::File.installation(&tables, WRITER).await,
        folder: tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap(),
    };
    let Place::File(home) = &replays.muster else { unreachable!() };
    assert_eq!(replays.muster.sync(&[]).await.failed, None);
    for failpoint in ["mapper.recorded", "mapper.committed", "mapper.published"] {
        let before = replays.replay(&tables, &[]).await.1["changes"].as_u64().unwrap();
        for user in active_users(&admin) {
            let id = user["Id"].as_str().unwrap();
            admin.edit(System::Salesforce, id, &json!({ "Title": format!("After {failpoint}") })).unwrap();
        }
        let killed = home
            .command(env!("CARGO_BIN_EXE_muster"))
            .args(["sync", CONNECTION, "--wait"])
            .env("MUSTER_FAILPOINT", failpoint)
            .output()
            .await
            .unwrap();
        assert!(!killed.status.success(), "{failpoint} was not reached: {killed:?}");
        assert_eq!(replays.muster.sync(&[]).await.failed, None);
        let (differences, summary) = replays.replay(&systems(&sandbox, "default_system = \"crm\"", ""), &[]).await;
        let after = summary["changes"].as_u64().unwrap();
        let edited = active_users(&admin).len() as u64;
        assert!(after - before >= edited, "{failpoint}: {before} changes, then {after}");
        assert!(differences.iter().all(|line| line["attribute"] == "title"), "{failpoint}: {differences:?}");
        assert_eq!(replays.replay(&tables, &[]).await.0, [] as [Value; 0], "{failpoint}");
    }
}
