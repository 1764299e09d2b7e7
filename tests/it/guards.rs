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

/// Text that was broken into lines for people.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

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

/// B11: an approval lets pass what a person saw, however many processes die in the middle: of the command, and of a writer
/// that noted the approval and had not written. What was not sent is held as before, and nothing is counted twice.
async fn an_approval_survives_kills(mode: Mode) {
    let (sandbox, admin, users) = sandbox(500).await;
    let mut installation =
        Installation::patient_on(mode, &systems(&sandbox, "budgets = { deactivate = \"5/1h\" }")).await;
    installation.start().await;
    assert_eq!(installation.sync(&[]).await.commands("applied"), 500);
    later(&admin, 1);
    for user in &users[..450] {
        admin.edit(System::Salesforce, id(user), &json!({ "IsActive": false })).unwrap();
    }
    // A writer dies between asking the budget and noting what is on hold, and another one once that is noted.
    let role = if mode == Mode::File { "run" } else { "writer" };
    for failpoint in ["writer.asked_guards:40", "writer.held:60"] {
        installation.kill(role).await;
        if mode == Mode::File {
            // Over a file the command does the work where nobody else does.
            let killed = installation.killed_command(&["sync", CONNECTION, "--wait"], failpoint).await;
            assert!(killed.stderr.contains("failpoint"), "{killed:?}");
        } else {
            installation.start_worker(role, Some(failpoint));
            installation.muster(&["sync", CONNECTION]).await;
            until(failpoint, async || installation.has_ended(role)).await;
        }
    }
    installation.start_worker(role, None);
    let report: Report =
        serde_json::from_str(&installation.muster(&["sync", CONNECTION, "--wait", "--json"]).await.stdout).unwrap();
    report.assert_adds_up();
    assert_eq!(inactive(&admin).len(), 5, "a kill lets nothing more pass");
    let waiting = held(&installation, &[]).await;
    assert_eq!(waiting.len(), 445);

    // One by its name.
    let [one, other] = [0, 1].map(|place| waiting[place]["partner"].as_str().unwrap());
    assert_eq!(decide(&installation, &["approve", one]).await.len(), 1);
    until("one is written", async || inactive(&admin).len() == 6).await;
    let page = installation.muster(&["explain", other]).await;
    assert!(one_line(&page.stdout).contains("the budget of deactivate (\"5/1h\") was used up"), "{page:?}");

    // The command dies after its first batch, and a writer after it has noted an approval.
    installation.kill(role).await;
    let cut = installation.killed_command(&["held", "approve", "--all"], "held.sent").await;
    assert!(cut.stderr.contains("failpoint held.sent"), "{cut:?}");
    installation.start_worker(role, Some("writer.approved:30"));
    until("writer.approved", async || installation.has_ended(role)).await;
    installation.start_worker(role, None);
    until("what was sent is written", async || inactive(&admin).len() == 6 + 200).await;
    until("and no longer listed", async || held(&installation, &[]).await.len() == 244).await;
    assert_eq!(decide(&installation, &["approve", "--all"]).await.len(), 244);
    until("all are written", async || inactive(&admin).len() == 450).await;
    until("nothing is listed", async || held(&installation, &[]).await.is_empty()).await;
    let offs = written(&admin)
        .into_iter()
        .filter(|write| write.changed && write.after.as_ref().is_some_and(|after| after["active"] == false));
    assert_eq!(offs.count(), 450, "and each of them once");
    assert_eq!(installation.letters().await, [] as [Value; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_survives_kills_over_a_file() {
    an_approval_survives_kills(Mode::File).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_survives_kills_over_servers() {
    an_approval_survives_kills(Mode::Servers).await;
}

/// Protected accounts are never deactivated or renamed, by id, by e-mail address or by a condition; what concerns no right
/// of theirs flows. An approval does not help before they are taken off the list.
#[tokio::test(flavor = "multi_thread")]
async fn protected_accounts_are_spared() {
    for by_condition in [false, true] {
        let (sandbox, admin, users) = sandbox(12).await;
        let protected = if by_condition {
            "protected = 'a.title == \"Head\"'".to_owned()
        } else {
            let email = users[1]["Email"].as_str().unwrap().to_uppercase();
            format!("protected = [\"crm:{}\", \"{email}\"]", id(&users[0]))
        };
        for user in &users[..2] {
            admin.edit(System::Salesforce, id(user), &json!({ "Title": "Head" })).unwrap();
        }
        let systems_with = |protected: &str| systems(&sandbox, &format!("budgets = \"off\"\n{protected}"));
        let mut installation = Installation::patient_on(Mode::File, &systems_with(&protected)).await;
        installation.start().await;
        assert_eq!(installation.sync(&[]).await.commands("applied"), 12);
        later(&admin, 1);
        for (number, user) in users[..4].iter().enumerate() {
            let fields =
                json!({ "IsActive": false, "Email": format!("new{number}@corp.example"), "LastName": "Renamed" });
            admin.edit(System::Salesforce, id(user), &fields).unwrap();
        }
        let outcome = installation.muster(&["sync", CONNECTION, "--wait", "--json"]).await;
        assert_eq!(outcome.status, 3, "{outcome:?}");
        let expected: BTreeSet<_> = users[2..4].iter().map(|user| id(user).to_owned()).collect();
        assert_eq!(inactive(&admin), expected, "by condition: {by_condition}");
        let copy = copies(&admin).into_iter().find(|copy| copy["externalId"] == users[0]["Id"]).unwrap();
        assert_eq!(copy["name"]["familyName"], "Renamed");
        assert_eq!(copy["emails"][0]["value"], users[0]["Email"]);

        let waiting = held(&installation, &["--risk", "deactivate"]).await;
        assert_eq!(waiting.len(), 2);
        assert!(waiting.iter().all(|held| held["reason"] == "protected"), "{waiting:?}");
        let left = installation.muster(&["held", "approve", "--all", "--json"]).await;
        assert!(left.status == 3 && left.stdout.contains("take it out of `protected`"), "{left:?}");
        assert_eq!(inactive(&admin).len(), 2);
        let page = installation.muster(&["explain", &format!("crm:{}", id(&users[0]))]).await;
        assert!(page.status == 3 && one_line(&page.stdout).contains("the account is protected"), "{page:?}");

        installation.configure(&systems_with("")).await;
        installation.kill("run").await;
        installation.start().await;
        if by_condition {
            // It counts from the next time that the account is read.
            installation.muster(&["sync", CONNECTION, "--full", "--wait", "--json"]).await;
        }
        assert_eq!(decide(&installation, &["approve", "--all"]).await.len(), 4);
        until("they are written", async || inactive(&admin).len() == 4).await;
    }
}

/// A pause stops every write of every writer at once, costs no attempt and opens no letter, outlives all processes, and is
/// shown; when it ends, what waited is written.
async fn a_pause_stops_every_write(mode: Mode) {
    let (sandbox, admin, users) = sandbox(60).await;
    let mut installation = Installation::patient_on(mode, &systems(&sandbox, "")).await;
    installation.start().await;
    if mode == Mode::Servers {
        installation.start_worker("writer", None);
    }
    assert_eq!(installation.sync(&[]).await.commands("applied"), 60);
    later(&admin, 1);
    for user in &users {
        admin.edit(System::Salesforce, id(user), &json!({ "Title": "Before" })).unwrap();
    }
    installation.muster(&["sync", CONNECTION]).await;
    let before = written(&admin).len();
    until("some are written", async || written(&admin).len() > before).await;
    let paused = installation.muster(&["pause", "--all"]).await;
    assert!(paused.status == 0 && paused.stdout.contains("all connections"), "{paused:?}");
    // One that was under way may still land; the link says so until its answer has come.
    until("no write is under way any more", async || {
        let links = installation.muster(&["links", "list", "--json"]).await.stdout;
        assert_eq!(links.lines().count(), users.len(), "{links}");
        !links.contains("\"writing\"")
    })
    .await;
    let stopped = written(&admin).len();
    for user in &users {
        admin.edit(System::Salesforce, id(user), &json!({ "Title": "Paused" })).unwrap();
    }
    installation.muster(&["sync", CONNECTION, "--full"]).await;
    let read = async || {
        let status = installation.status().await;
        let runs = status["connections"][0]["runs"].as_array().unwrap().clone();
        runs[0]["kind"] == "reconcile"
            && runs[0]["reading"] == json!({"a": false, "b": false})
            && runs[0]["emitted"] != 0
    };
    until("reading goes on", read).await;
    // Whoever works is replaced: the pause is in the store.
    for role in if mode == Mode::File { &["run"][..] } else { &["writer"][..] } {
        installation.kill(role).await;
        installation.start_worker(role, None);
    }
    let status = installation.muster(&["status"]).await;
    assert!(
        status.stdout.contains("Paused: all connections, since ") && status.stdout.contains(" by ada@"),
        "{status:?}"
    );
    assert_eq!(written(&admin).len(), stopped, "nothing is written");
    assert_eq!(installation.letters().await, [] as [Value; 0]);
    let resumed = installation.muster(&["resume", "--all", "--json"]).await;
    assert_eq!(serde_json::from_str::<Value>(&resumed.stdout).unwrap(), json!({"resumed": true, "pauses": []}));
    let is_written = || copies(&admin).iter().all(|copy| copy["title"] == "Paused");
    until("what waited is written", async || is_written()).await;
    assert_eq!(installation.letters().await, [] as [Value; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_stops_every_write_over_a_file() {
    a_pause_stops_every_write(Mode::File).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_stops_every_write_over_servers() {
    a_pause_stops_every_write(Mode::Servers).await;
}

/// B10, B11: creations are counted where a budget says so; what is over it is held as a whole, and created once approved.
#[tokio::test(flavor = "multi_thread")]
async fn creations_over_their_budget_wait() {
    let (sandbox, admin, users) = sandbox(12).await;
    let systems = systems(&sandbox, "budgets = { create = \"5/1h\" }");
    let mut installation = Installation::patient_on(Mode::File, &systems).await;
    let plan = installation.muster(&["plan", "--json"]).await;
    assert_eq!(plan.status, 4, "{plan:?}");
    let on_hold = plan.stdout.lines().filter(|line| line.contains(r#""reasons":["create over_budget"]"#));
    assert_eq!(on_hold.count(), 7, "a plan says what would be held: {plan:?}");
    installation.start().await;
    let outcome = installation.muster(&["sync", CONNECTION, "--wait", "--json"]).await;
    let report: Report = serde_json::from_str(&outcome.stdout).unwrap();
    report.assert_adds_up();
    assert_eq!((outcome.status, report.commands("applied"), report.commands("held")), (3, 5, 7), "{outcome:?}");
    assert_eq!(copies(&admin).len(), 5);
    let waiting = held(&installation, &["--risk", "create"]).await;
    assert_eq!(waiting.len(), 7);
    let [refused, rest @ ..] = &waiting[..] else { unreachable!("there are seven") };
    let refused = refused["partner"].as_str().unwrap();
    decide(&installation, &["reject", refused]).await;
    later(&admin, 1);
    for user in &users {
        admin.edit(System::Salesforce, id(user), &json!({ "Title": "Changed" })).unwrap();
    }
    installation.muster(&["sync", CONNECTION, "--wait", "--json"]).await;
    assert_eq!(copies(&admin).len(), 5, "a change of the account says nothing about its creation");
    assert_eq!(decide(&installation, &["approve", "--connection", CONNECTION]).await.len(), rest.len());
    until("they are created", async || copies(&admin).len() == 11).await;
    let page = installation.muster(&["explain", refused]).await;
    assert!(
        one_line(&page.stdout).contains("rejected it")
            && one_line(&page.stdout).contains("muster held approve --rejected"),
        "{page:?}"
    );
    let silent = installation.muster(&["held", "approve", refused]).await;
    assert!(
        silent.status == 2 && silent.stderr.contains("--rejected"),
        "a refusal stands unless it is meant: {silent:?}"
    );
    assert_eq!(decide(&installation, &["approve", "--rejected", refused]).await.len(), 1);
    until("and the last one", async || copies(&admin).len() == 12).await;
    let wrong = installation.muster(&["held", "approve"]).await;
    assert_eq!(wrong.status, 2, "{wrong:?}");

    // The places of the first five are taken for an hour, and a plan knows it.
    later(&admin, 2);
    for newcomer in ["one", "two"] {
        let address = format!("{newcomer}@newcomers.example");
        let fields = json!({ "Username": address, "Email": address, "LastName": "Newcomer", "Alias": newcomer,
                             "CommunityNickname": newcomer, "IsActive": true });
        admin.create(System::Salesforce, &fields).unwrap();
    }
    let plan = installation.muster(&["plan", "--json"]).await;
    let on_hold = plan.stdout.lines().filter(|line| line.contains(r#""reasons":["create over_budget"]"#));
    assert_eq!(on_hold.count(), 2, "{plan:?}");
}
