//! Which accounts a connection is about.

use muster::sandbox::{Sandbox, SandboxSettings, System};
use serde_json::{Value, json};

use super::embedded_run::Home;
use super::processes::{CONNECTION, active_users, crm, directory};

fn id(user: &Value) -> &str {
    user["Id"].as_str().unwrap()
}

/// R7, R8: accounts are made of ticked users only; one that is unticked keeps its account and its link, and is not written
/// any more; ticked again, it gets what it missed, and no second account.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_ticked_is_kept_in_step() {
    let sandbox = Sandbox::start(SandboxSettings { users: 30, ..SandboxSettings::default() }).await.unwrap();
    let admin = sandbox.admin();
    for system in [System::Salesforce, System::Scim] {
        admin.set_clock(system, 10_000);
    }
    let people = active_users(&admin);
    let tick = |user: &Value, ticked: bool, title: &str| {
        let fields = json!({"Sync__c": ticked, "Title": title});
        admin.edit(System::Salesforce, id(user), &fields).unwrap();
    };
    for user in &people[..10] {
        tick(user, true, "Ticked");
    }
    let home = Home::with(&format!(
        "{}fields = [\"Sync__c\"]\n{}[connections.{CONNECTION}]\na = \"crm\"\nb = \"directory\"\n\
         direction = \"a_to_b\"\ncreate = \"automatic\"\nscope = \"a.native.Sync__c == true\"\n",
        crm(&sandbox),
        directory(&sandbox.scim_url())
    ));
    let copy_of = |user: &Value| {
        let accounts = admin.accounts(System::Scim).into_iter();
        let mut copies: Vec<Value> = accounts.filter(|account| account["externalId"] == user["Id"]).collect();
        assert!(copies.len() < 2, "{} has one account at most", id(user));
        copies.pop()
    };
    let plan = async || {
        let plan = home.muster(&["plan", CONNECTION, "--json"]).await;
        let mut items: Vec<Value> = plan.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(items.pop().unwrap()["summary"].is_object(), "{plan:?}");
        items
    };
    let planned = plan().await;
    let ticked = |item: &Value| people[..10].iter().any(|user| item["partner"] == user["Id"]);
    assert_eq!(
        (planned.len(), planned.iter().all(ticked)),
        (10, true),
        "the others are planned for as little: {planned:?}"
    );
    let first = home.sync(&[]).await;
    // Read again within its stamp's second, an account may be asked for twice.
    assert_eq!((first.commands("applied"), first.commands("dead")), (10, 0), "{first:?}");
    assert_eq!(admin.accounts(System::Scim).len(), 10);
    assert!(first.changes("out_of_scope") >= people.len() as i64 - 10, "{first:?}");

    admin.set_clock(System::Salesforce, 60_000);
    tick(&people[0], false, "Missed");
    assert_eq!(plan().await, [Value::Null; 0]);
    let without = home.sync(&[]).await;
    assert_eq!((without.emitted, without.failed), (0, None));
    let copy = copy_of(&people[0]).unwrap();
    assert_eq!(copy["title"], "Ticked");
    assert_ne!(copy["active"], false);
    let page = home.muster(&["explain", &format!("crm:{}", id(&people[0]))]).await;
    assert!(page.stdout.contains("out of scope") && page.stdout.contains("a.native.Sync__c == true"), "{page:?}");
    assert_eq!(home.sync(&["--full"]).await.emitted, 0);

    admin.set_clock(System::Salesforce, 120_000);
    tick(&people[0], true, "Missed");
    tick(&people[11], true, "Newly ticked");
    let again = home.sync(&[]).await;
    assert_eq!(again.commands("applied"), 2, "{again:?}");
    assert_eq!(copy_of(&people[0]).unwrap()["title"], "Missed");
    assert_eq!(copy_of(&people[11]).unwrap()["title"], "Newly ticked");
    assert_eq!(home.sync(&["--full"]).await.emitted, 0);
}

/// A scope that cannot work is refused before anything is called, with its place and the reason.
#[tokio::test(flavor = "multi_thread")]
async fn a_scope_that_cannot_work_is_refused() {
    let sandbox = Sandbox::start(SandboxSettings::default()).await.unwrap();
    for (scope, said) in [
        ("a.native.Sync__c == ", "cannot be read at character"),
        ("a.native.Nothing__c == true", "has no attribute native.Nothing__c"),
        ("a.title", "neither true nor false"),
        ("a.active && b.active", "not exactly one side"),
    ] {
        let home = Home::with(&format!(
            "{}{}[connections.{CONNECTION}]\na = \"crm\"\nb = \"directory\"\ndirection = \"a_to_b\"\n\
             scope = \"{scope}\"\n",
            crm(&sandbox),
            directory(&sandbox.scim_url())
        ));
        let outcome = home.muster(&["check", "--offline"]).await;
        let told = format!("{}{}", outcome.stdout, outcome.stderr);
        assert!(outcome.status != 0 && told.contains(said), "{scope}: {outcome:?}");
    }
}
