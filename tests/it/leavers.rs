//! Leavers who part from their partners: deleted, removed or detached as the connection says, once, within the budget, never
//! without proof, and never the protected. Each test is of the real programs.

use std::collections::BTreeSet;
use std::time::Duration;

use muster::sandbox::{Admin, Effect, Fault, INITLIVE_ORGANIZATION, Matcher, Sandbox, SandboxSettings, System, Totals};
use serde_json::{Value, json};

use super::examples;
use super::processes::{CONNECTION, Installation, Mode, active_users, crm, directory, written};

fn id(user: &Value) -> &str {
    user["Id"].as_str().unwrap()
}

/// The directory follows the org; `more` are further lines of the connection.
fn systems(sandbox: &Sandbox, leavers: &str, more: &str) -> String {
    let connection = format!(
        "[connections.{CONNECTION}]\na = \"crm\"\nb = \"directory\"\ndirection = \"a_to_b\"\ncreate = \"automatic\"\n\
         leavers = \"{leavers}\"\n{more}\n"
    );
    crm(sandbox) + &directory(&sandbox.scim_url()) + &connection
}

/// So many people who may be used.
async fn sandbox(people: usize) -> (Sandbox, Admin, Vec<Value>) {
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

/// The users of the org that accounts of the directory name.
fn partners(admin: &Admin) -> BTreeSet<String> {
    let accounts = admin.accounts(System::Scim).into_iter();
    accounts.map(|account| account["externalId"].as_str().unwrap().to_owned()).collect()
}

/// Edits made a minute later than all before, so that no stamp is shared with a read.
fn later(admin: &Admin, minutes: i64) {
    admin.set_clock(System::Salesforce, 10_000 + minutes * 60_000);
}

fn leave(admin: &Admin, user: &Value) {
    admin.edit(System::Salesforce, id(user), &json!({ "IsActive": false })).unwrap();
}

fn deletions(admin: &Admin) -> usize {
    written(admin).iter().filter(|write| write.method == "DELETE").count()
}

async fn lines(installation: &Installation, arguments: &[&str]) -> Vec<Value> {
    let listed = installation.muster(&[arguments, &["--json"]].concat()).await;
    listed.stdout.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{listed:?}"))).collect()
}

/// How a pair stands, by the account of the org.
async fn state(installation: &Installation, user: &Value) -> Option<String> {
    let all = lines(installation, &["links", "list", CONNECTION]).await;
    let own = format!("crm:{}", id(user));
    all.iter().find(|link| link["a"] == own.as_str()).map(|link| link["state"].as_str().unwrap().to_owned())
}

/// Changes texts of an example, which then runs only when it is asked to.
fn amend(muster: &Installation, changes: &[(&str, &str)]) {
    let text = std::fs::read_to_string(muster.config()).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with("schedule = "));
    let mut text = lines.collect::<Vec<_>>().join("\n");
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    std::fs::write(muster.config(), text).unwrap();
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

async fn until<F: AsyncFnMut() -> bool>(what: &str, mut done: F) {
    let look = async {
        while !done().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(180), look).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// R25, B12, B16, B17: who is no longer active, and who is proven gone twice, is deleted in the directory; a plan names it
/// first, `links list` and `explain` say so afterwards, by which run and why; and who comes back is created again.
async fn leavers_are_deleted_and_come_back(mode: Mode) {
    let (sandbox, admin, users) = sandbox(12).await;
    let mut muster = Installation::patient_on(mode, &systems(&sandbox, "delete", "budgets = \"off\"")).await;
    muster.start().await;
    assert_eq!(muster.sync(&[]).await.commands("applied"), 12);
    later(&admin, 1);
    let [inactive, gone, ..] = &users[..] else { unreachable!() };
    leave(&admin, inactive);

    let planned = lines(&muster, &["plan", CONNECTION]).await;
    let deed = planned.iter().find(|line| line["action"] == "delete").unwrap_or_else(|| panic!("{planned:?}"));
    assert_eq!((&deed["partner"], &deed["why"]), (&inactive["Id"], &json!("inactive")), "{planned:?}");
    assert_eq!(planned.last().unwrap()["summary"]["b"]["delete"], 1);
    assert_eq!(partners(&admin).len(), 12, "a plan deletes nobody");

    let run = muster.sync(&[]).await;
    assert_eq!((run.commands("applied"), partners(&admin).contains(id(inactive))), (1, false));
    assert_eq!(state(&muster, inactive).await.as_deref(), Some("deleted"));
    let page = muster.muster(&["explain", &format!("crm:{}", id(inactive))]).await;
    let said = one_line(&page.stdout);
    assert!(
        said.contains("Muster deleted") && said.contains(&run.run) && said.contains("was not active any more"),
        "{page:?}"
    );

    admin.delete_record(System::Salesforce, "User", id(gone)).unwrap();
    muster.sync(&["--full"]).await;
    assert_eq!(partners(&admin).len(), 11, "one proof deletes nobody");
    let page = muster.muster(&["explain", &format!("crm:{}", id(gone))]).await;
    assert!(one_line(&page.stdout).contains("1 so far"), "{page:?}");
    muster.sync(&["--full"]).await;
    assert_eq!(partners(&admin).len(), 10, "two do");
    assert_eq!(deletions(&admin), 2);
    assert_eq!(muster.sync(&["--full"]).await.commands("applied"), 0, "and that is all");

    later(&admin, 2);
    admin.edit(System::Salesforce, id(inactive), &json!({ "IsActive": true, "Title": "Back" })).unwrap();
    muster.sync(&[]).await;
    let accounts = admin.accounts(System::Scim);
    let back = accounts.iter().find(|account| account["externalId"] == inactive["Id"]).expect("created again");
    assert_eq!(back["title"], "Back");
    assert_eq!(state(&muster, inactive).await.as_deref(), Some("in_step"));
    assert_eq!((partners(&admin).len(), accounts.len(), deletions(&admin)), (11, 11, 2));
    assert_eq!(muster.letters().await, [] as [Value; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn leavers_are_deleted_and_come_back_over_a_file() {
    leavers_are_deleted_and_come_back(Mode::File).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leavers_are_deleted_and_come_back_over_servers() {
    leavers_are_deleted_and_come_back(Mode::Servers).await;
}

/// B10, B11, R25: a mistake that would delete 60 of 80 deletes the budget's share; the rest is held, listed and deleted once
/// it is approved. Rejected, and corrected at the source, nobody more is harmed.
async fn a_mistake_deletes_few(mode: Mode) {
    let (sandbox, admin, users) = sandbox(80).await;
    let budget = "budgets = { delete = \"4/1h\" }";
    let mut muster = Installation::patient_on(mode, &systems(&sandbox, "delete", budget)).await;
    muster.start().await;
    if mode == Mode::Servers {
        muster.start_worker("writer", None);
    }
    assert_eq!(muster.sync(&[]).await.commands("applied"), 80);
    later(&admin, 1);
    users[..60].iter().for_each(|user| leave(&admin, user));
    let planned = lines(&muster, &["plan", CONNECTION]).await;
    let summary = &planned.last().unwrap()["summary"];
    assert_eq!((&summary["b"]["delete"], &summary["held"]), (&json!(4), &json!(56)), "the plan says both");
    let outcome = muster.muster(&["sync", CONNECTION, "--wait", "--json"]).await;
    assert_eq!((outcome.status, partners(&admin).len()), (3, 76), "{outcome:?}");
    let held = lines(&muster, &["held", "list"]).await;
    assert_eq!(held.len(), 56);
    assert!(held.iter().all(|held| held["risk"] == "delete" && held["reason"] == "over_budget"), "{held:?}");
    let waiting = held[0]["partner"].as_str().unwrap().to_owned();
    let page = muster.muster(&["explain", &waiting]).await;
    assert!(one_line(&page.stdout).contains("the account is not deleted in directory"), "{page:?}");
    muster.sync(&["--full"]).await;
    assert_eq!((partners(&admin).len(), deletions(&admin)), (76, 4), "a second run deletes nobody more");

    let approved = lines(&muster, &["held", "approve", &waiting]).await;
    assert_eq!(approved.len(), 1, "{approved:?}");
    until("it is deleted", async || partners(&admin).len() == 75).await;
    assert_eq!(lines(&muster, &["held", "reject", "--all"]).await.len(), 55);
    muster.sync(&["--full"]).await;
    later(&admin, 2);
    for user in &users[..60] {
        admin.edit(System::Salesforce, id(user), &json!({ "IsActive": true })).unwrap();
    }
    muster.sync(&[]).await;
    assert_eq!((partners(&admin).len(), deletions(&admin)), (80, 5), "nobody more, and those who were are back");
    assert_eq!(lines(&muster, &["held", "list", "--rejected"]).await, [] as [Value; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_deletes_few_over_a_file() {
    a_mistake_deletes_few(Mode::File).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_deletes_few_over_servers() {
    a_mistake_deletes_few(Mode::Servers).await;
}

/// B12: an empty list, one that ends early, and one that lacks somebody who is there all the same delete nobody; nor does
/// an org that refuses to be asked once more just before.
#[tokio::test(flavor = "multi_thread")]
async fn lists_with_holes_delete_nobody() {
    let (sandbox, admin, users) = sandbox(12).await;
    let mut muster = Installation::patient_on(Mode::File, &systems(&sandbox, "delete", "budgets = \"off\"")).await;
    muster.start().await;
    assert_eq!(muster.sync(&[]).await.commands("applied"), 12);
    for effect in [Effect::EmptyList, Effect::PartialList { per_mille: 300, totals: Totals::Kept }] {
        let on = Matcher { system: Some(System::Salesforce), ..Matcher::default() };
        admin.inject(Fault { on, effect: effect.clone() });
        for _ in 0..3 {
            muster.muster(&["sync", CONNECTION, "--full", "--wait", "--json"]).await;
        }
        assert_eq!((deletions(&admin), partners(&admin).len()), (0, 12), "{effect:?}");
        admin.end_faults();
    }
    later(&admin, 1);
    leave(&admin, &users[0]);
    muster.sync(&[]).await;
    assert_eq!(deletions(&admin), 1, "and who left is deleted all the same");
}

/// Protected accounts are never deleted, by whatever they are named; the link shows the leaver, and `held` why.
#[tokio::test(flavor = "multi_thread")]
async fn the_protected_are_never_deleted() {
    let (sandbox, admin, users) = sandbox(12).await;
    let email = users[1]["Email"].as_str().unwrap().to_uppercase();
    let protected = format!("budgets = \"off\"\nprotected = [\"crm:{}\", \"{email}\"]", id(&users[0]));
    let mut muster = Installation::patient_on(Mode::File, &systems(&sandbox, "delete", &protected)).await;
    muster.start().await;
    muster.sync(&[]).await;
    later(&admin, 1);
    users[..3].iter().for_each(|user| leave(&admin, user));
    muster.muster(&["sync", CONNECTION, "--wait"]).await;
    assert_eq!((deletions(&admin), partners(&admin).len()), (1, 11));
    let held = lines(&muster, &["held", "list", "--risk", "delete"]).await;
    assert_eq!(held.len(), 2, "{held:?}");
    assert!(held.iter().all(|held| held["reason"] == "protected"));
    assert_eq!(state(&muster, &users[0]).await.as_deref(), Some("held"));
    let left = muster.muster(&["held", "approve", "--all", "--json"]).await;
    assert!(left.status == 3 && left.stdout.contains("take it out of `protected`"), "{left:?}");
    muster.sync(&["--full"]).await;
    assert_eq!(deletions(&admin), 1, "an approval does not help");
}

/// R25: with `detach` only the link ends: both accounts stay as they are, the two are not linked again as long as the one is a
/// leaver, although the directory names it, and are linked again when it is back. With `report` nothing happens at all.
#[tokio::test(flavor = "multi_thread")]
async fn detached_accounts_stay_as_they_are() {
    let (sandbox, admin, users) = sandbox(12).await;
    let mut muster = Installation::patient_on(Mode::File, &systems(&sandbox, "report", "budgets = \"off\"")).await;
    muster.start().await;
    muster.sync(&[]).await;
    later(&admin, 1);
    let user = &users[0];
    leave(&admin, user);
    assert_eq!(muster.sync(&[]).await.emitted, 0, "nothing is written");
    assert_eq!(state(&muster, user).await.as_deref(), Some("left"), "and the link shows it");

    muster.configure(&systems(&sandbox, "detach", "budgets = \"off\"")).await;
    muster.kill("run").await;
    muster.start().await;
    muster.sync(&["--full"]).await;
    assert_eq!(state(&muster, user).await.as_deref(), Some("detached"));
    let before = admin.accounts(System::Scim);
    admin.edit(System::Salesforce, id(user), &json!({ "Title": "Elsewhere" })).unwrap();
    for _ in 0..2 {
        muster.sync(&["--full"]).await;
        assert_eq!(state(&muster, user).await.as_deref(), Some("detached"), "nobody links them again");
    }
    assert_eq!(admin.accounts(System::Scim), before, "nothing was written");
    later(&admin, 2);
    admin.edit(System::Salesforce, id(user), &json!({ "IsActive": true })).unwrap();
    muster.sync(&[]).await;
    assert_eq!(state(&muster, user).await.as_deref(), Some("in_step"));
    let accounts = admin.accounts(System::Scim);
    let own = accounts.iter().find(|account| account["externalId"] == user["Id"]).unwrap();
    assert_eq!((accounts.len(), &own["title"]), (12, &json!("Elsewhere")), "the same account, and what it missed");
}

/// B3, R25, R26: a writer that dies at any step of a deletion deletes nobody twice and nobody else, and the link ends with it; an
/// answer that is lost is no failure.
async fn a_deletion_survives_kills(mode: Mode) {
    let (sandbox, admin, users) = sandbox(40).await;
    let mut muster = Installation::on(
        mode,
        &systems(&sandbox, "delete", "budgets = \"off\""),
        "lease = \"3s\"\nrequest_timeout = \"1s\"",
    )
    .await;
    muster.start().await;
    assert_eq!(muster.sync(&[]).await.commands("applied"), 40);
    let role = if mode == Mode::File { "run" } else { "writer" };
    let failpoints = ["writer.proved_left", "writer.noted_intent", "writer.answered", "writer.committed"];
    for (number, failpoint) in (0..).zip(failpoints) {
        later(&admin, number + 1);
        let first = usize::try_from(number).unwrap() * 5;
        users[first..first + 5].iter().for_each(|user| leave(&admin, user));
        muster.kill(role).await;
        let armed = format!("{failpoint}:3");
        if mode == Mode::File {
            // Over a file the command does the work where nobody else does.
            let killed = muster.killed_command(&["sync", CONNECTION, "--wait"], &armed).await;
            assert!(killed.stderr.contains("failpoint"), "{killed:?}");
        } else {
            muster.start_worker(role, Some(&armed));
            muster.muster(&["sync", CONNECTION]).await;
            until(failpoint, async || muster.has_ended(role)).await;
        }
        muster.start_worker(role, None);
        let left = 40 - first - 5;
        until(failpoint, async || partners(&admin).len() == left).await;
    }
    admin.inject(Fault {
        on: Matcher { method: Some("DELETE".into()), times: Some(3), ..Matcher::default() },
        effect: Effect::AppliedThenCut,
    });
    later(&admin, 9);
    users[20..25].iter().for_each(|user| leave(&admin, user));
    muster.sync(&[]).await;
    until("all are deleted", async || partners(&admin).len() == 15).await;
    until("all have parted", async || {
        let links = lines(&muster, &["links", "list", CONNECTION]).await;
        links.iter().filter(|link| link["state"] == "deleted").count() == 25
    })
    .await;
    assert_eq!(deletions(&admin), 25, "each once");
    assert_eq!(muster.sync(&["--full"]).await.commands("applied"), 0);
    assert_eq!(muster.letters().await, [] as [Value; 0]);
    let expected: BTreeSet<_> = users[25..].iter().map(|user| id(user).to_owned()).collect();
    assert_eq!(partners(&admin), expected, "and nobody else");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_survives_kills_over_a_file() {
    a_deletion_survives_kills(Mode::File).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_survives_kills_over_servers() {
    a_deletion_survives_kills(Mode::Servers).await;
}

/// R24, R25: operators of leavers are deleted, also those who are logged in, and a user who comes back gets a new one, whose id
/// nothing of the old one is in the way of.
#[tokio::test(flavor = "multi_thread")]
async fn operators_of_leavers_are_deleted() {
    let (sandbox, admin, users) = sandbox(4).await;
    admin.configure(System::Iadvize, json!({"requests_per_second": 100_000})).unwrap();
    for user in &users {
        admin.edit(System::Salesforce, id(user), &json!({"Sync__c": true})).unwrap();
    }
    let mut muster = examples::installation(Mode::File, "iadvize-automatic.toml", &sandbox).await;
    amend(&muster, &[("direction = \"a_to_b\"", "direction = \"a_to_b\"\nleavers = \"delete\"")]);
    muster.start().await;
    muster.sync_of("crm-chat", &[]).await;
    let operators = || admin.accounts(System::Iadvize);
    let of = |user: &Value| operators().into_iter().find(|operator| operator["email"] == user["Email"]);
    let count = operators().len();
    let user = &users[0];
    let operator = of(user).unwrap();
    let operator = operator["id"].as_str().map_or_else(|| operator["id"].to_string(), str::to_owned);
    admin.edit(System::Iadvize, &operator, &json!({"presence": "online"})).unwrap();
    later(&admin, 1);
    leave(&admin, user);
    muster.sync_of("crm-chat", &[]).await;
    assert_eq!((operators().len(), of(user)), (count - 1, None));
    later(&admin, 2);
    admin.edit(System::Salesforce, id(user), &json!({"IsActive": true})).unwrap();
    muster.sync_of("crm-chat", &[]).await;
    let next = of(user).expect("a new operator");
    assert_eq!(operators().len(), count);
    assert_ne!(next["id"].as_str().map_or_else(|| next["id"].to_string(), str::to_owned), operator);
    assert_eq!(muster.letters().await, [] as [Value; 0]);
}

/// R25, R54: who is no contact any more is taken out of the organisation at InitLive, and the person stays; a contact who is
/// no user any more is put into the recycle bin.
#[tokio::test(flavor = "multi_thread")]
async fn memberships_of_leavers_end() {
    let sandbox = Sandbox::start(SandboxSettings { contacts: 5, ..SandboxSettings::default() }).await.unwrap();
    let admin = sandbox.admin();
    admin.set_clock(System::Salesforce, 10_000);
    let mut muster = examples::installation(Mode::File, "salesforce-to-initlive.toml", &sandbox).await;
    amend(&muster, &[("direction = \"a_to_b\"", "direction = \"a_to_b\"\nleavers = \"remove\"")]);
    muster.start().await;
    muster.sync_of("contacts-volunteers", &[]).await;
    let contacts = admin.records(System::Salesforce, "Contact");
    let is_member = |person: &Value| {
        person["organizations"].as_array().is_some_and(|all| all.contains(&json!(INITLIVE_ORGANIZATION)))
    };
    let members = || admin.accounts(System::InitLive).iter().filter(|person| is_member(person)).count();
    assert_eq!(members(), contacts.len());
    later(&admin, 1);
    admin.delete_record(System::Salesforce, "Contact", id(&contacts[0])).unwrap();
    for proofs in 1..=2 {
        muster.sync_of("contacts-volunteers", &["--full"]).await;
        assert_eq!(members(), contacts.len() - proofs / 2, "{proofs} proofs");
    }
    assert_eq!(admin.accounts(System::InitLive).len(), contacts.len(), "the person stays");
    let page = muster.muster(&["explain", &format!("crm:{}", id(&contacts[0]))]).await;
    assert!(one_line(&page.stdout).contains("Muster removed"), "{page:?}");
    assert_eq!(muster.letters().await, [] as [Value; 0]);
}

/// R50, R53: at SalesScreen who left is moved to the team of leavers, and into the own team again when they are back.
#[tokio::test(flavor = "multi_thread")]
async fn leavers_are_moved_to_a_team_of_their_own() {
    let (sandbox, admin, users) = sandbox(4).await;
    for user in &users {
        admin.edit(System::Salesforce, id(user), &json!({"Department": "Sales EMEA"})).unwrap();
    }
    let mut muster = examples::installation(Mode::File, "salesscreen-automatic.toml", &sandbox).await;
    amend(
        &muster,
        &[
            ("scope = \"a.active\"", "leavers = \"remove\""),
            ("teams = { ", "leavers_team = \"left\"\nteams = { left = \"Leavers\", "),
        ],
    );
    muster.start().await;
    muster.sync_of("crm-results", &[]).await;
    let team = |user: &Value| {
        let user = admin.account(System::SalesScreen, id(user)).unwrap();
        user["team"]["key"].as_str().or(user["team"].as_str()).unwrap_or_default().to_owned()
    };
    assert_eq!(team(&users[0]), "north");
    later(&admin, 1);
    leave(&admin, &users[0]);
    muster.sync_of("crm-results", &[]).await;
    assert_eq!((team(&users[0]), team(&users[1])), ("left".to_owned(), "north".to_owned()));
    later(&admin, 2);
    admin.edit(System::Salesforce, id(&users[0]), &json!({"IsActive": true})).unwrap();
    muster.sync_of("crm-results", &[]).await;
    assert_eq!(team(&users[0]), "north");
    assert_eq!(muster.letters().await, [] as [Value; 0]);
}
