//! What waits for a person, and what people did.

use muster::sandbox::{Admin, Sandbox, SandboxSettings, System};
use serde_json::{Value, json};

use super::{CONNECTION, Desk, Installation, Mode, Office, PATIENCE, active_users, connection, directory, id, section};
use crate::examples;

/// B10, B11: people decide about what is over a budget.
pub(super) async fn held_writes() {
    let mut office =
        Office::start(Mode::File, 14, "budgets = { deactivate = \"1/1h\", email_change = \"1/1h\" }").await;
    office.later();
    let users = active_users(&office.admin);
    for user in &users[..4] {
        office.admin.edit(System::Salesforce, id(user), &json!({ "IsActive": false })).unwrap();
    }
    for (number, user) in users[4..7].iter().enumerate() {
        let fields = json!({ "Email": format!("new{number}@corp.example") });
        office.admin.edit(System::Salesforce, id(user), &fields).unwrap();
    }
    office.later();
    office.run_ends_with(3).await;
    let held = office.desk.list("muster held list --json").await;
    let of_risk = |risk: &str| held.iter().filter(|held| held["risk"] == risk).collect::<Vec<_>>();
    assert_eq!((of_risk("deactivate").len(), of_risk("email_change").len()), (3, 2), "{held:?}");
    let account = of_risk("deactivate")[0]["account"].as_str().unwrap();
    office.desk.fill_in("ACCOUNT", format!("directory:{account}"));
    let mut page = section("Held writes");
    page.next(&office.desk, 3, &["deactivate", "over_budget", "muster held approve"]).await;
    page.next(&office.desk, 0, &["1 held write approved"]).await;
    page.next(&office.desk, 0, &["approved"]).await;
    page.next(&office.desk, 0, &["rejected"]).await;
    page.next(&office.desk, 3, &["email_change", "rejected by ada@"]).await;
    let is_off =
        |admin: &Admin| admin.accounts(System::Scim).iter().filter(|copy| copy["active"] == false).count() == 4;
    let off = office.admin.wait_until(is_off);
    tokio::time::timeout(PATIENCE, off).await.expect("what was approved is written");
    assert_eq!(office.desk.carry_out("muster held list").await.status, 0, "nothing waits any more");
}

/// B13: a run has done harm.
pub(super) async fn a_run_is_undone() {
    let mut office = Office::start(Mode::File, 6, "").await;
    office.edit_all("Before");
    office.sync().await;
    office.edit_all("Harm");
    let report = office.desk.muster.sync(&[]).await;
    office.desk.fill_in("RUN", &*report.run);
    let mut page = section("Undo a run");
    page.next(&office.desk, 0, &["Paused: all connections"]).await;
    page.next(&office.desk, 0, &[&report.run]).await;
    page.next(&office.desk, 0, &[]).await;
    page.next(&office.desk, 0, &[]).await;
    page.next(&office.desk, 0, &["Written: "]).await;
    let copies = office.admin.accounts(System::Scim);
    assert!(copies.iter().all(|copy| copy["title"] == "Before"), "{copies:?}");
}

/// B4: two people, or two programs, undo each other.
pub(super) async fn a_frozen_attribute() {
    let sandboxes = [Sandbox::start(SandboxSettings::default()), Sandbox::start(SandboxSettings::default())];
    let [a, b] = futures_util::future::join_all(sandboxes).await.try_into().ok().expect("there are two");
    let (a, b) = (a.unwrap(), b.unwrap());
    let (crm, other) = (a.admin(), b.admin());
    let people = crm.seed(System::Scim, 1, 7).unwrap();
    let both = directory(&a.scim_url()).replace("systems.directory", "systems.crm") + &directory(&b.scim_url());
    let mapped =
        format!("loop_breaker = \"1/10m\"\n[connections.{CONNECTION}.attributes]\nuserName = {{}}\ntitle = {{}}\n");
    let two_way = connection(&mapped).replace("\"a_to_b\"", "\"two_way\"\ndefault_system = \"crm\"");
    let muster = Installation::on(Mode::File, &(both + &two_way), "lease = \"5s\"\nrequest_timeout = \"3s\"").await;
    let mut desk = Desk::at(muster);
    let mut minutes = 0;
    let mut sync = async |desk: &Desk| {
        for _ in 0..2 {
            minutes += 1;
            [&crm, &other].iter().for_each(|admin| admin.set_clock(System::Scim, minutes * 20_000));
            desk.muster.muster(&["sync", CONNECTION, "--full", "--wait"]).await;
        }
    };
    sync(&desk).await;
    let copy = other.accounts(System::Scim)[0]["id"].as_str().unwrap().to_owned();
    for turn in 0..8 {
        let (admin, account) = if turn % 2 == 0 { (&crm, &people[0]) } else { (&other, &copy) };
        admin.edit(System::Scim, account, &json!({ "title": format!("Turn {turn}") })).unwrap();
        sync(&desk).await;
        if !desk.list("muster held list --json").await.is_empty() {
            break;
        }
    }
    desk.fill_in("ACCOUNT", format!("crm:{}", people[0]));
    let mut page = section("Alert `frozen`");
    page.next(&desk, 3, &["title", "frozen"]).await;
    page.next(&desk, 3, &["title", "frozen"]).await;
    page.next(&desk, 0, &[]).await;
    page.next(&desk, 0, &["1 held write approved"]).await;
    sync(&desk).await;
    assert_eq!(desk.list("muster held list --json").await, [] as [Value; 0]);
}

/// R22: somebody works with an account.
pub(super) async fn somebody_is_at_work() {
    let sandbox = Sandbox::start(SandboxSettings { users: 2, ..SandboxSettings::default() }).await.unwrap();
    let admin = sandbox.admin();
    admin.configure(System::Iadvize, json!({"requests_per_second": 100_000, "logins_per_minute": 1_000})).unwrap();
    admin.set_clock(System::Salesforce, 10_000);
    let user = active_users(&admin).remove(0);
    admin.edit(System::Salesforce, id(&user), &json!({"Sync__c": true})).unwrap();
    let mut desk = Desk::at(examples::installation(Mode::File, "iadvize-automatic.toml", &sandbox).await);
    desk.muster.start().await;
    desk.muster.sync_of("crm-chat", &[]).await;
    let made = admin.accounts(System::Iadvize).into_iter().find(|agent| agent["email"] == user["Email"]).unwrap();
    let operator = made["id"].as_str().map_or_else(|| made["id"].to_string(), str::to_owned);
    admin.edit(System::Iadvize, &operator, &json!({"presence": "conversation"})).unwrap();
    admin.set_clock(System::Salesforce, 60_000);
    admin.edit(System::Salesforce, id(&user), &json!({"LastName": "Lovelace"})).unwrap();
    desk.carry_out("muster sync crm-chat").await;
    desk.fill_in("ACCOUNT", format!("chat:{operator}"));
    desk.until("muster status", "wait until nobody works with them").await;
    let mut page = section("Busy");
    page.next(&desk, 0, &["writes to 1 account wait until nobody works with them"]).await;
    page.next(&desk, 0, &["waits until nobody works with the account"]).await;
    page.next(&desk, 0, &["No open letters"]).await;
}

/// R51: who did what, whether that is still what was written, and what is erased of a person.
pub(super) async fn records_of_acts() {
    let mut office = Office::start(Mode::File, 2, "").await;
    office.desk.carry_out("muster pause --all && muster resume --all").await;
    let mut list = section("Who did what");
    list.next(&office.desk, 0, &["resume", "pause", "sync"]).await;
    list.next(&office.desk, 0, &[]).await;
    list.next(&office.desk, 0, &["\"verb\":\"pause\""]).await;
    drop(list);
    let mut verify = section("Is the log what was written?");
    let verified = verify.next(&office.desk, 0, &["follow from each other"]).await;
    let end = verified.stdout.lines().find_map(|line| line.strip_prefix("It ends with ")).unwrap();
    office.desk.fill_in("END", end);
    verify.next(&office.desk, 0, &["follow from each other"]).await;
    section("Export").next(&office.desk, 0, &[]).await;
    let exported = std::fs::read_to_string(office.desk.muster.config().with_file_name("acts.jsonl")).unwrap();
    assert!(exported.lines().count() >= 6 && exported.starts_with("{\"hash\":\""), "{exported}");

    office.desk.fill_in("ACCOUNT", office.somebody());
    let mut forget = section("Forgetting a person");
    forget.next(&office.desk, 0, &["Would erase of crm:"]).await;
    forget.next(&office.desk, 0, &["Erased of crm:"]).await;
}
