//! Rules of the requirements that need both systems and the whole pipeline to be seen.

use muster::sandbox::{Effect, Fault, Matcher, Sandbox, SandboxSettings, System};
use serde_json::{Value, json};

use super::processes::{CONNECTION, Installation, active_users, connection, crm, directory, written};

async fn start(users: usize, more: &str) -> (Sandbox, Installation) {
    let sandbox = Sandbox::start(SandboxSettings { users, ..SandboxSettings::default() }).await.unwrap();
    let mut muster = Installation::between(&sandbox, more).await;
    muster.start().await;
    (sandbox, muster)
}

fn user_id(user: &Value) -> &str {
    user["Id"].as_str().unwrap()
}

fn copy_of(sandbox: &Sandbox, user: &str) -> Value {
    let accounts = sandbox.admin().accounts(System::Scim);
    accounts.into_iter().find(|account| account["externalId"] == user).unwrap()
}

/// R56: one-way, what is edited on the side that follows never reaches the side that leads; it stays until the next edit
/// of the leading side, which overwrites it. Only that attribute is written.
#[tokio::test(flavor = "multi_thread")]
async fn an_edit_of_the_following_side_stays_there() {
    let (sandbox, muster) = start(10, "").await;
    let admin = sandbox.admin();
    muster.sync(&[]).await;
    let user = active_users(&admin)[1].clone();
    let copy = copy_of(&sandbox, user_id(&user));
    let edit = json!({"title": "Edited in the directory", "nickName": "Nick"});
    admin.edit(System::Scim, copy["id"].as_str().unwrap(), &edit).unwrap();
    let rest = muster.sync(&["--full"]).await;
    assert_eq!(rest.emitted, 0);
    assert_eq!(admin.account(System::Salesforce, user_id(&user)).unwrap(), user);
    assert_eq!(copy_of(&sandbox, user_id(&user))["title"], "Edited in the directory");

    admin.edit(System::Salesforce, user_id(&user), &json!({"Title": "Edited in the org"})).unwrap();
    assert_eq!(muster.sync(&[]).await.commands("applied"), 1);
    let copy = copy_of(&sandbox, user_id(&user));
    assert_eq!((&copy["title"], &copy["nickName"]), (&json!("Edited in the org"), &json!("Nick")));
}

/// R81, B12: a user that is out of sight is deactivated, never deleted, and only after two complete reads that prove the
/// absence; back in sight it is active again.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_gone_is_deactivated_and_never_deleted() {
    let (sandbox, muster) = start(40, "").await;
    let admin = sandbox.admin();
    muster.sync(&[]).await;
    let user = active_users(&admin)[1].clone();
    admin.delete(System::Salesforce, user_id(&user)).unwrap();
    let once = muster.sync(&["--full"]).await;
    assert_eq!((once.emitted, copy_of(&sandbox, user_id(&user))["active"].clone()), (0, json!(true)));
    let twice = muster.sync(&["--full"]).await;
    assert_eq!(twice.commands("applied"), 1, "{twice:?}");
    assert_eq!(copy_of(&sandbox, user_id(&user))["active"], json!(false));
    assert_eq!(muster.sync(&["--full"]).await.emitted, 0);
    assert!(written(&admin).iter().all(|write| write.method != "DELETE"));
}

/// R82: users with one stamp, more of them than a page holds, are all read by an incremental read; one that changes while
/// pages are read, after its page was, is not missed.
#[tokio::test(flavor = "multi_thread")]
async fn equal_stamps_and_edits_during_paging_are_not_missed() {
    let (sandbox, muster) = start(60, "").await;
    let admin = sandbox.admin();
    muster.sync(&[]).await;
    admin.configure_salesforce(serde_json::from_value(json!({"max_page": 3})).unwrap()).unwrap();
    let users = active_users(&admin);
    let stamp = users.iter().map(|user| user["SystemModstamp"].as_str().unwrap()).max().unwrap();
    for user in &users[1..21] {
        let edit = json!({"Title": "At one moment", "SystemModstamp": stamp});
        admin.edit(System::Salesforce, user_id(user), &edit).unwrap();
    }
    let at_once = muster.sync(&[]).await;
    assert_eq!(at_once.commands("applied"), 20, "{at_once:?}");

    for user in &users[1..21] {
        admin.edit(System::Salesforce, user_id(user), &json!({"Title": "Before"})).unwrap();
    }
    let on = Matcher {
        system: Some(System::Salesforce),
        path: Some("/query".into()),
        every: Some(4.try_into().unwrap()),
        times: Some(1),
        ..Matcher::default()
    };
    admin.inject(Fault { on, effect: Effect::Hang });
    let meanwhile = async {
        admin.wait_until(|admin| admin.held() > 0).await;
        for user in &users[1..21] {
            admin.edit(System::Salesforce, user_id(user), &json!({"Title": "Meanwhile"})).unwrap();
        }
        admin.release();
    };
    let (read, ()) = tokio::join!(muster.sync(&[]), meanwhile);
    assert_eq!(read.failed, None);
    muster.sync(&[]).await;
    for user in &users[1..21] {
        assert_eq!(copy_of(&sandbox, user_id(user))["title"], "Meanwhile");
    }
    assert_eq!(muster.sync(&["--full"]).await.emitted, 0);
}

/// R83, B21: a value that is cleared arrives as a clear; one that is not mapped, and one that nobody set, are left alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_cleared_value_arrives_as_a_clear() {
    let mapped = format!(
        "[connections.{CONNECTION}.attributes]\nuserName = {{}}\nemails = {{}}\n\"name.familyName\" = {{}}\ntitle = {{}}\n\
         \"phoneNumbers.mobile\" = {{}}\n"
    );
    let (sandbox, muster) = start(10, &mapped).await;
    let admin = sandbox.admin();
    let user = active_users(&admin)[1].clone();
    admin.edit(System::Salesforce, user_id(&user), &json!({"Title": "Agent", "MobilePhone": "+44 1"})).unwrap();
    muster.sync(&[]).await;
    let id = copy_of(&sandbox, user_id(&user))["id"].as_str().unwrap().to_owned();
    admin.edit(System::Scim, &id, &json!({"nickName": "Nick"})).unwrap();
    admin.edit(System::Salesforce, user_id(&user), &json!({"Title": null, "MobilePhone": null})).unwrap();
    assert_eq!(muster.sync(&[]).await.commands("applied"), 1);
    let copy = admin.account(System::Scim, &id).unwrap();
    assert!(copy["title"].is_null(), "{copy}");
    assert!(!copy["phoneNumbers"].to_string().contains("+44 1"), "{copy}");
    assert_eq!((&copy["nickName"], &copy["userName"]), (&json!("Nick"), &user["Username"]));
    assert_eq!(muster.sync(&["--full"]).await.emitted, 0);
}

/// R29: a nickname may hide who somebody is, so it flows only where the file names it.
#[tokio::test(flavor = "multi_thread")]
async fn a_nickname_flows_only_where_the_file_names_it() {
    let named = format!(
        "[connections.{CONNECTION}.attributes]\nuserName = {{}}\nemails = {{}}\n\"name.familyName\" = {{}}\nnickName = {{}}\n"
    );
    for (mapped, flows) in [("", false), (&*named, true)] {
        let (sandbox, muster) = start(2, mapped).await;
        muster.sync(&[]).await;
        for user in active_users(&sandbox.admin()) {
            let copy = copy_of(&sandbox, user_id(&user));
            assert_eq!(copy["userName"], user["Username"]);
            assert_eq!(copy["nickName"] == user["Alias"], flows, "{copy}");
        }
    }
}

/// R18, B22: an address that is none is refused before any call, and the letter names the attribute and the rule.
#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_none_is_refused_before_any_call() {
    let mapped = format!("[connections.{CONNECTION}.attributes]\nuserName = {{}}\nemails = {{ a = \"title\" }}\n");
    let (sandbox, muster) = start(3, &mapped).await;
    let admin = sandbox.admin();
    for user in active_users(&admin) {
        admin.edit(System::Salesforce, user_id(&user), &json!({"Title": "not an address"})).unwrap();
    }
    let refused = muster.sync(&[]).await;
    assert_eq!(refused.commands("dead"), active_users(&admin).len() as i64);
    let letters = muster.letters().await;
    let fingerprint = &letters[0]["fingerprint"];
    assert_eq!((&fingerprint["code"], &fingerprint["attribute"]), (&json!("invalid_email"), &json!("emails")));
    assert_eq!(
        admin.requests().iter().filter(|request| request.system == System::Scim && request.method == "POST").count(),
        0
    );
}

/// R43: the id of the partner is kept at the target from the creation on, and comes first when accounts are matched: an
/// account of another name that carries it is linked, not doubled. R45: with `create = "manual"` nobody is created.
#[tokio::test(flavor = "multi_thread")]
async fn the_partners_id_finds_the_account() {
    let sandbox = Sandbox::start(SandboxSettings { users: 10, ..SandboxSettings::default() }).await.unwrap();
    let admin = sandbox.admin();
    let user = active_users(&admin)[1].clone();
    let ours = json!({"userName": "someone.else@x.example", "externalId": user["Id"]});
    let known = admin.create(System::Scim, &ours).unwrap();
    let systems = crm(&sandbox) + &directory(&sandbox.scim_url());
    let manual = connection("").replace("\"automatic\"", "\"manual\"");
    let mut muster = Installation::new(&(systems + &manual)).await;
    muster.start().await;
    muster.sync(&[]).await;
    muster.sync(&["--full"]).await;
    assert_eq!(admin.accounts(System::Scim).len(), 1);
    assert!(written(&admin).iter().all(|write| !write.created));
    let linked = admin.account(System::Scim, &known).unwrap();
    assert_eq!((&linked["userName"], &linked["externalId"]), (&user["Username"], &user["Id"]));
}
