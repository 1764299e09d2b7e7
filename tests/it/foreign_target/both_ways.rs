//! Contacts of an org and accounts of a service that nobody here wrote, both ways.

use muster::sandbox::{DEFAULT_SCIM_TOKEN, Sandbox, SandboxSettings, System};
use serde_json::{Value, json};

use super::Service;
use crate::processes::{CONNECTION, Installation, Mode, crm, directory};

impl Service {
    /// Creates or changes a user as a person would; the user.
    async fn send(&self, method: reqwest::Method, path: &str, body: &Value) -> Value {
        let request = reqwest::Client::new().request(method, format!("{}/v2/{path}", self.own_url));
        let request = request.bearer_auth(DEFAULT_SCIM_TOKEN).header("content-type", "application/scim+json");
        let answer = request.body(body.to_string()).send().await.unwrap();
        // A change is answered without a body.
        serde_json::from_str(&answer.error_for_status().unwrap().text().await.unwrap()).unwrap_or_default()
    }

    async fn edit(&self, user: &str, values: &Value) {
        let operations = json!([{ "op": "replace", "value": values }]);
        let patch = json!({ "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": operations });
        self.send(reqwest::Method::PATCH, &format!("Users/{user}"), &patch).await;
    }
}

/// B1, B5, R54, R57 to R59: edits of different attributes on both sides at once both survive; of the same one the default
/// system's value wins, and the other is listed and given back by one command.
async fn a_contact_and_a_foreign_account_both_change(mode: Mode) {
    let sandbox =
        Sandbox::start(SandboxSettings { users: 2, contacts: 2, ..SandboxSettings::default() }).await.unwrap();
    let admin = sandbox.admin();
    let service = Service::start().await;
    let contact = admin.records(System::Salesforce, "Contact").remove(0);
    let id = contact["Id"].as_str().unwrap();
    let user = json!({ "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "ada@x.example",
        "title": contact["Title"], "active": true,
        "name": { "familyName": contact["LastName"], "givenName": contact["FirstName"] } });
    let user = service.send(reqwest::Method::POST, "Users", &user).await;
    let account = user["id"].as_str().unwrap();
    let two_way = format!(
        "[connections.{CONNECTION}]\na = {{ system = \"crm\", object = \"Contact\" }}\nb = \"directory\"\ndirection = \
         \"two_way\"\ndefault_system = \"crm\"\nbudgets = \"off\"\nmatch = [\"name.familyName\"]\n\
         [connections.{CONNECTION}.attributes]\n\"name.familyName\" = {{}}\n\"name.givenName\" = {{}}\ntitle = {{}}\n"
    );
    let systems = crm(&sandbox) + &directory(&service.url) + &two_way;
    let muster = Installation::patient_on(mode, &systems).await;
    let (a, b) = (format!("crm:{id}"), format!("directory:{account}"));
    let linked = muster.muster(&["links", "add", CONNECTION, &a, &b]).await;
    assert_eq!(linked.status, 0, "{linked:?}");
    muster.sync(&["--full"]).await;

    let edit = |fields: Value| admin.edit_record(System::Salesforce, "Contact", id, &fields).unwrap();
    let both = async || {
        let contacts = admin.records(System::Salesforce, "Contact");
        let contact = contacts.into_iter().find(|known| known["Id"] == id).unwrap();
        let user = service.users().await.into_iter().find(|known| known["id"] == account).unwrap();
        let of_contact = ["Title", "LastName", "FirstName"].map(|name| contact[name].clone());
        let of_user = [user["title"].clone(), user["name"]["familyName"].clone(), user["name"]["givenName"].clone()];
        [of_contact, of_user]
    };
    edit(json!({ "Title": "Captain", "LastName": "Lovelace" }));
    service
        .edit(
            account,
            &json!({ "title": "Boss", "name": { "familyName": contact["LastName"], "givenName": "Augusta" } }),
        )
        .await;
    muster.sync(&["--full"]).await;
    muster.sync(&["--full"]).await;
    let expected = ["Captain", "Lovelace", "Augusta"].map(Value::from);
    assert_eq!(both().await, [expected.clone(), expected]);

    let listed = muster.muster(&["conflicts", "list", "--values", "--json"]).await;
    let listed: Vec<Value> = listed.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    // What may have been typed again while a write was under way is kept as well, and lost nothing.
    let (lost, doubts): (Vec<Value>, Vec<Value>) =
        listed.into_iter().partition(|entry| entry["reason"] == "conflict_lost");
    assert_eq!((lost.len(), &lost[0]["value"]), (1, &json!("Boss")), "{lost:?}");
    assert!(doubts.iter().all(|entry| entry["reason"] == "may_be_a_persons"), "{doubts:?}");
    let listed = lost;
    let given = muster.muster(&["conflicts", "give-back", listed[0]["conflict"].as_str().unwrap()]).await;
    assert_eq!(given.status, 0, "{given:?}");
    muster.sync(&["--full"]).await;
    let expected = ["Boss", "Lovelace", "Augusta"].map(Value::from);
    assert_eq!(both().await, [expected.clone(), expected]);
    assert_eq!(muster.letters().await, [] as [Value; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contact_and_a_foreign_account_over_a_file() {
    a_contact_and_a_foreign_account_both_change(Mode::File).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contact_and_a_foreign_account_over_servers() {
    a_contact_and_a_foreign_account_both_change(Mode::Servers).await;
}
