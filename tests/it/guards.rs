//! Guards: a mistake that would harm many accounts harms as many as a budget allows, the rest waits for a person, and all
//! else flows. Each test is of the real programs, over a file and over servers.

use std::collections::BTreeSet;
use std::time::Duration;

use muster::sandbox::{Admin, Sandbox, SandboxSettings, System};
use serde_json::{Value, json};

use super::processes::{CONNECTION, Installation, Mode, Report, active_users, connection, crm, directory, written};

/// People of the org whom the great mistake is about, and how many of them it hits.
const PEOPLE: usize = 1_000;
const HIT: usize = 900;

fn id(user: &Value) -> &str {
    user["Id"].as_str().unwrap()
}

fn systems(sandbox: &Sandbox, more: &str) -> String {
    crm(sandbox) + &directory(&sandbox.scim_url()) + &connection(more)
}

/// So many people who may be used.
async fn sandbox(people: usize) -> (Sandbox, Admin, Vec<Value>) {
    // A few of those that the sandbox invents are inactive.
    let sandbox = Sandbox::start(SandboxSettings { users: people * 12 / 10 + 10, ..SandboxSettings::default() });
    let sandbox = sandbox.await.unwrap();
    let admin = sandbox.admin();
    for system in [System::Salesforce, System::Scim] {
        admin.set_clock(system, 10_000);
    }
    let users = active_users(&admin);
    for user in &users[people..] {
        admin.deactivate(System::Salesforce, id(user)).unwrap();
    }
    let users = active_users(&admin);
    assert_eq!(users.len(), people);
    (sandbox, admin, users)
}

/// Where the copy of an account stands.
fn copies(admin: &Admin) -> Vec<Value> {
    admin.accounts(System::Scim)
}

fn inactive(admin: &Admin) -> BTreeSet<String> {
    let off = copies(admin).into_iter().filter(|copy| copy["active"] == false);
    off.map(|copy| copy["externalId"].as_str().unwrap().to_owned()).collect()
}

/// Edits made a minute later than all before, so that no stamp is shared with a read.
fn later(admin: &Admin, minutes: i64) {
    admin.set_clock(System::Salesforce, 10_000 + minutes * 60_000);
}

async fn held(installation: &Installation, more: &[&str]) -> Vec<Value> {
    let listed = installation.muster(&[&["held", "list", "--json"], more].concat()).await;
    let held: Vec<_> = listed.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(listed.status, if held.is_empty() { 0 } else { 3 }, "{listed:?}");
    held
}

/// Decides about what is held; what was decided.
async fn decide(installation: &Installation, arguments: &[&str]) -> Vec<Value> {
    let done = installation.muster(&[&["held"], arguments, &["--json"]].concat()).await;
    assert_eq!(done.status, 0, "{done:?}");
    done.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Waits until nothing is under way any more, and looks.
async fn settled(installation: &Installation) -> Report {
    installation.sync(&[]).await
}

async fn until<F: AsyncFnMut() -> bool>(what: &str, mut done: F) {
    let look = async {
        while !done().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(180), look).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// B10, B11, B16: a mistake that would deactivate 900 of 1,000 deactivates the budget's share; the rest is held, and the
/// names and e-mail addresses of all 1,000 go through. Rejected, corrected and synced again, nobody is harmed.
async fn a_mistake_about_most_accounts_harms_few(mode: Mode) {
    let (sandbox, admin, users) = sandbox(PEOPLE).await;
    let budgets = "budgets = { deactivate = \"2%/1h\", email_change = \"off\" }";
    let mut installation = Installation::patient_on(mode, &systems(&sandbox, budgets)).await;
    installation.start().await;
    if mode == Mode::Servers {
        for _ in 0..2 {
            installation.start_worker("writer", None);
        }
    }
    let first = installation.sync(&[]).await;
    assert_eq!(first.commands("applied"), PEOPLE as i64, "a first load is not stuck: {first:?}");

    later(&admin, 1);
    for (number, user) in users.iter().enumerate() {
        let fields = json!({
            "LastName": format!("Renamed {number}"), "Email": format!("new{number}@corp.example"),
            "IsActive": number >= HIT,
        });
        admin.edit(System::Salesforce, id(user), &fields).unwrap();
    }
    let outcome = installation.muster(&["sync", CONNECTION, "--wait", "--json"]).await;
    assert_eq!(outcome.status, 3, "something is held: {outcome:?}");
    let report: Report = serde_json::from_str(&outcome.stdout).unwrap();
    report.assert_adds_up();
    let off = inactive(&admin);
    let share = PEOPLE * 2 / 100;
    assert_eq!(off.len(), share, "the budget's share passes");
    let expected: BTreeSet<_> = (0..PEOPLE).map(|number| format!("new{number}@corp.example")).collect();
    let emails = copies(&admin).into_iter().map(|copy| copy["emails"][0]["value"].as_str().unwrap().to_owned());
    assert_eq!(emails.collect::<BTreeSet<_>>(), expected, "e-mail addresses of all go through");
    let renamed = copies(&admin)
        .iter()
        .filter(|copy| copy["name"]["familyName"].as_str().is_some_and(|name| name.starts_with("Renamed ")))
        .count();
    assert_eq!(renamed, PEOPLE, "and names of all");

    let waiting = held(&installation, &[]).await;
    assert_eq!(waiting.len(), HIT - share);
    assert!(waiting.iter().all(|held| held["risk"] == "deactivate" && held["reason"] == "over_budget"));
    let status = installation.status().await;
    assert_eq!(status["connections"][0]["held"], HIT - share);
    assert!(status["connections"][0]["held_since"].is_number(), "{status}");
    // Read again, it is neither written nor counted anew.
    let again = installation.muster(&["sync", CONNECTION, "--full", "--wait", "--json"]).await;
    assert_eq!((again.status, inactive(&admin).len()), (3, share), "{again:?}");

    let rejected = decide(&installation, &["reject", "--all"]).await;
    assert_eq!(rejected.len(), HIT - share);
    assert_eq!(held(&installation, &[]).await, [] as [Value; 0]);
    let full = installation.sync(&["--full"]).await;
    assert_eq!((full.emitted, inactive(&admin).len()), (0, share), "a reconcile does not bring it up again");
    let refused = held(&installation, &["--rejected"]).await;
    assert_eq!(refused.len(), HIT - share);
    assert!(refused[0]["decided_by"].as_str().unwrap().starts_with("ada@"), "{}", refused[0]);

    later(&admin, 2);
    for user in &users[..HIT] {
        admin.edit(System::Salesforce, id(user), &json!({ "IsActive": true })).unwrap();
    }
    let fixed = installation.muster(&["sync", CONNECTION, "--wait", "--json"]).await;
    assert_eq!(fixed.status, 0, "{fixed:?}");
    assert_eq!(inactive(&admin), BTreeSet::new(), "nobody is harmed");
    let offs =
        written(&admin).into_iter().filter(|write| write.after.as_ref().is_some_and(|after| after["active"] == false));
    let harmed: BTreeSet<_> = offs.map(|write| write.account).collect();
    assert_eq!(harmed.len(), share, "and at no time more than the budget allows");
    assert_eq!(held(&installation, &["--rejected"]).await, [] as [Value; 0]);
    assert_eq!(installation.letters().await, [] as [Value; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_about_most_accounts_harms_few_over_a_file() {
    a_mistake_about_most_accounts_harms_few(Mode::File).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_about_most_accounts_harms_few_with_three_writers() {
    a_mistake_about_most_accounts_harms_few(Mode::Servers).await;
}
