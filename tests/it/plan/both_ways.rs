//! A plan of a connection that flows both ways and writes the partner's id back.

use std::collections::BTreeMap;

use muster::sandbox::{Sandbox, SandboxSettings, System, Write};
use serde_json::{Value, json};

use super::WRITER;
use crate::crm_target::crm_with_defaults;
use crate::place::On;
use crate::processes::{CONNECTION, active_users, directory};

/// The titles that the plan says each account would be given, by system and account.
fn planned_titles(items: &[Value]) -> BTreeMap<(String, String), (Value, Value)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let with_title = items.iter().filter(|item| item["values"]["title"].is_object());
    let title = |item: &Value| {
        let title = &item["values"]["title"];
        ((text(&item["system"]), text(&item["account"])), (title["before"].clone(), title["after"].clone()))
    };
    with_title.map(title).collect()
}

/// R57, R58, R43: both ways, with the partner's id written back: who is created, which account is told of whom, and which
/// side wins.
#[tokio::test(flavor = "multi_thread")]
async fn a_plan_of_both_directions_is_what_a_sync_does() {
    let settings = SandboxSettings { users: 6, ..SandboxSettings::default() };
    let sandbox = Sandbox::start(settings).await.unwrap();
    let admin = sandbox.admin();
    let systems = crm_with_defaults(&sandbox)
        + &directory(&sandbox.scim_url())
        + &format!(
            "[connections.{CONNECTION}]\na = {{ system = \"crm\", object = \"User\", partner_field = \"Partner_Id__c\", \
             write_back = true }}\nb = \"directory\"\ndirection = \"two_way\"\ndefault_system = \"crm\"\n\
             create = \"automatic\"\n\n[connections.{CONNECTION}.attributes]\nuserName = {{}}\nemails = {{}}\n\
             \"name.familyName\" = {{}}\ntitle = {{}}\n"
        );
    let muster = On::File.installation(&systems, WRITER).await;
    let plan = async || -> Vec<Value> {
        let outcome = muster.muster(&["plan", CONNECTION, "--json"]).await;
        assert_eq!((outcome.status, &*outcome.stderr), (4, ""), "{outcome:?}");
        let mut items: Vec<Value> = outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(items.pop().unwrap()["summary"].is_object());
        items
    };
    let nothing = async || {
        let outcome = muster.muster(&["plan", CONNECTION]).await;
        assert_eq!((outcome.status, &*outcome.stderr), (0, ""), "{outcome:?}");
    };

    let users = active_users(&admin);
    let items = plan().await;
    assert_eq!(items.len(), 2 * users.len(), "{items:?}");
    for user in &users {
        let of_user = |item: &&Value| item["partner"] == user["Id"] || item["account"] == user["Id"];
        let of_user: Vec<_> = items.iter().filter(of_user).collect();
        let [told, created] = of_user[..] else { panic!("{of_user:?}") };
        assert_eq!((&told["system"], &told["action"]), (&json!("crm"), &json!("change")));
        let values = told["values"].as_object().unwrap();
        assert!(values.len() == 1 && values.values().all(|value| value["id_of_new"] == user["Id"]), "{told}");
        assert_eq!((&created["system"], &created["action"]), (&json!("directory"), &json!("create")));
    }
    muster.sync(&[]).await;
    let copies = admin.accounts(System::Scim);
    let users = active_users(&admin);
    assert_eq!((copies.len(), admin.write_count()), (users.len(), 2 * users.len() as u64));
    for user in &users {
        let copy = copies.iter().find(|copy| copy["externalId"] == user["Id"]).unwrap();
        assert_eq!(user["Partner_Id__c"], copy["id"]);
    }
    nothing().await;

    // An edit on each side, and one person edited on both.
    let copy =
        |user: &Value| copies.iter().find(|copy| copy["externalId"] == user["Id"]).unwrap()["id"].as_str().unwrap();
    let id = |user: &Value| user["Id"].as_str().unwrap().to_owned();
    admin.edit(System::Salesforce, &id(&users[0]), &json!({"Title": "Captain"})).unwrap();
    admin.edit(System::Scim, copy(&users[1]), &json!({"title": "Boss"})).unwrap();
    admin.edit(System::Salesforce, &id(&users[2]), &json!({"Title": "Clerk"})).unwrap();
    admin.edit(System::Scim, copy(&users[2]), &json!({"title": "Chief"})).unwrap();
    let count = admin.write_count();
    let items = plan().await;
    let key = |system: &str, id: &str| (system.to_owned(), id.to_owned());
    let expected = BTreeMap::from([
        (key("directory", copy(&users[0])), (users[0]["Title"].clone(), json!("Captain"))),
        (key("crm", &id(&users[1])), (users[1]["Title"].clone(), json!("Boss"))),
        (key("directory", copy(&users[2])), (json!("Chief"), json!("Clerk"))),
    ]);
    assert_eq!((items.len(), planned_titles(&items)), (3, expected.clone()), "{items:?}");
    muster.sync(&[]).await;
    let writes = admin.writes(count);
    let title = |write: &Write, account: &Option<Value>| match write.system {
        System::Salesforce => account.as_ref().unwrap()["Title"].clone(),
        _ => account.as_ref().unwrap()["title"].clone(),
    };
    let name = |write: &Write| if write.system == System::Scim { "directory" } else { "crm" };
    let written = writes
        .iter()
        .map(|write| (key(name(write), &write.account), (title(write, &write.before), title(write, &write.after))))
        .collect();
    assert_eq!((writes.len(), expected), (3, written));
    nothing().await;
}
