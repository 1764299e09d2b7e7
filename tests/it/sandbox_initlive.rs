//! The imitation of InitLive as a plain HTTP client meets it.

use muster::sandbox::log::System;
use muster::sandbox::{DEFAULT_INITLIVE_KEY, INITLIVE_ORGANIZATION, Sandbox, SandboxSettings};
use reqwest::{Client, Method};
use serde_json::{Value, json};

struct Guest {
    sandbox: Sandbox,
    client: Client,
}

impl Guest {
    async fn start() -> Self {
        Self { sandbox: Sandbox::start(SandboxSettings::default()).await.unwrap(), client: Client::new() }
    }

    /// Status, and what the answer says: null without a body.
    async fn ask(&self, method: Method, path: &str, body: &Value) -> (u16, Value) {
        let users = format!("{}/v4/organizations/{INITLIVE_ORGANIZATION}/users", self.sandbox.initlive_url());
        let request = self.client.request(method, format!("{users}{path}")).bearer_auth(DEFAULT_INITLIVE_KEY);
        let request = if body.is_null() { request } else { request.json(body) };
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default())
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.ask(Method::GET, path, &Value::Null).await
    }

    async fn create(&self, body: Value) -> (u16, Value) {
        self.ask(Method::POST, "", &body).await
    }

    async fn put(&self, id: &str, body: Value) -> (u16, Value) {
        self.ask(Method::PUT, &format!("/{id}"), &body).await
    }

    fn configure(&self, settings: Value) {
        self.sandbox.admin().configure(System::InitLive, settings).unwrap();
    }

    /// Enters a person, who is a member of these organisations.
    fn enter(&self, username: &str, organizations: &[u64]) -> String {
        let fields = json!({"username": username, "firstName": "Augusta", "lastName": "King",
            "organizations": organizations});
        self.sandbox.admin().create(System::InitLive, &fields).unwrap()
    }
}

fn ada() -> Value {
    json!({"username": "Ada@x.example", "firstName": "Ada", "lastName": "Byron", "externalId": "003x"})
}

fn ids(list: &Value) -> Vec<u64> {
    list.as_array().unwrap().iter().map(|user| user["id"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn a_user_is_created_and_cannot_log_in_yet() {
    let guest = Guest::start().await;
    let (status, created) = guest.create(ada()).await;
    assert_eq!(status, 200);
    let id = created[0]["id"].to_string();
    let (status, user) = guest.get(&format!("/{id}")).await;
    assert_eq!((status, &user["username"], &user["externalId"]), (200, &json!("Ada@x.example"), &json!("003x")));
    let account = guest.sandbox.admin().account(System::InitLive, &id).unwrap();
    assert_eq!((&account["canLogIn"], &account["organizations"]), (&json!(false), &json!([1001])));
    for (body, field) in [
        (json!({"username": "b@x.example", "firstName": "B"}), "lastName"),
        (json!({"username": "b@x.example", "firstName": " ", "lastName": "B"}), "firstName"),
        (json!({"username": "b", "firstName": "B", "lastName": "B"}), "username"),
        (json!({"username": "b@x.example", "firstName": "B", "lastName": "B", "dob": "1.2.1999"}), "dob"),
    ] {
        let (status, answer) = guest.create(body).await;
        assert_eq!((status, answer["fields"][field].is_string()), (400, true), "{field}: {answer}");
    }
}

/// The trap: who has an account becomes a member as they are, in an answer that looks like a success.
#[tokio::test]
async fn an_account_that_exists_is_attached_and_not_overwritten() {
    let guest = Guest::start().await;
    let elsewhere = guest.enter("ada@X.example", &[2002]);
    assert_eq!(guest.get(&format!("/{elsewhere}")).await.0, 404, "another organisation's member");
    let (status, created) = guest.create(ada()).await;
    assert_eq!((status, created[0]["id"].to_string()), (200, elsewhere.clone()));
    let (_, user) = guest.get(&format!("/{elsewhere}")).await;
    assert_eq!((&user["firstName"], &user["externalId"]), (&json!("Augusta"), &Value::Null));
    // They keep their profile, unless the product lets others change it.
    assert_eq!(guest.put(&elsewhere, json!({"firstName": "Ada"})).await.0, 403);
    guest.configure(json!({"owned_elsewhere": "allowed"}));
    assert_eq!(guest.put(&elsewhere, json!({"firstName": "Ada"})).await.0, 200);
}

#[tokio::test]
async fn a_change_is_partial_and_a_removal_ends_the_membership() {
    let guest = Guest::start().await;
    let (_, created) = guest.create(ada()).await;
    let id = created[0]["id"].to_string();
    let change = json!({"phone": "+1 555", "address": {"city": "London"}, "externalId": null, "tags": ["x"]});
    let (status, user) = guest.put(&id, change).await;
    assert_eq!((status, &user["firstName"], &user["address"]["city"]), (200, &json!("Ada"), &json!("London")));
    assert_eq!((&user["externalId"], &user["tags"]), (&Value::Null, &json!([])));
    let (_, user) = guest.put(&id, json!({"phone": null, "address": {"country": "UK"}})).await;
    assert_eq!((&user["phone"], &user["address"]["city"]), (&Value::Null, &json!("")), "an address is replaced whole");
    guest.enter("b@x.example", &[1001]);
    let (status, answer) = guest.put(&id, json!({"username": "B@x.example"})).await;
    assert_eq!((status, answer["fields"]["username"].is_string()), (400, true));
    assert_eq!(guest.put(&id, json!({"lastName": null})).await.0, 400);
    for status in [204, 404] {
        assert_eq!(guest.ask(Method::DELETE, &format!("/{id}"), &Value::Null).await.0, status);
    }
    let person = guest.sandbox.admin().account(System::InitLive, &id).unwrap();
    assert_eq!(person["organizations"], json!([]), "the person stays");
    assert_eq!(guest.create(ada()).await.1[0]["id"].to_string(), id);
}

#[tokio::test]
async fn a_list_is_a_bare_array_in_the_order_of_ids() {
    let guest = Guest::start().await;
    guest.sandbox.admin().seed(System::InitLive, 5, 1).unwrap();
    guest.enter("somebody@x.example", &[2002]);
    let (_, all) = guest.get("").await;
    assert!(ids(&all).is_sorted() && ids(&all).len() == 5);
    let (_, page) = guest.get("?skip=3&take=7").await;
    assert_eq!(ids(&page), ids(&all)[3..]);
    let name = all[2]["username"].as_str().unwrap().to_uppercase();
    assert_eq!(ids(&guest.get(&format!("?username={name}")).await.1), ids(&all)[2..3]);
    assert_eq!(ids(&guest.get("?externalId=003x").await.1).len(), 5, "this filter is not heeded");
    guest.configure(json!({"filters": ["external-id"], "max_take": 2}));
    assert_eq!(ids(&guest.get("?externalId=003x").await.1).len(), 0);
    assert_eq!(ids(&guest.get(&format!("?username={name}&take=4")).await.1).len(), 2);
    guest.configure(json!({"paging": "ignored"}));
    assert_eq!(ids(&guest.get("?skip=4&take=1").await.1).len(), 5);
}

#[tokio::test]
async fn a_key_can_be_off_expired_or_without_permission() {
    let guest = Guest::start().await;
    for (settings, read, write) in [
        (json!({"key": "off"}), 401, 401),
        (json!({"key": "expired"}), 401, 401),
        (json!({"key": "active", "permission": "read"}), 200, 403),
        (json!({"permission": "none"}), 403, 403),
        (json!({"permission": "full"}), 200, 200),
    ] {
        guest.configure(settings.clone());
        assert_eq!((guest.get("").await.0, guest.create(ada()).await.0), (read, write), "{settings}");
    }
    let url = |organization| format!("{}/v4/organizations/{organization}/users", guest.sandbox.initlive_url());
    let ask = async |url: String, key: &str| guest.client.get(url).bearer_auth(key).send().await.unwrap().status();
    assert_eq!(ask(url(2002), DEFAULT_INITLIVE_KEY).await, 404);
    assert_eq!(ask(url(1001), "another").await, 401);
    assert!(guest.sandbox.admin().configure(System::InitLive, json!({"keys": 1})).is_err());
}

/// What a person does at the screens.
#[tokio::test]
async fn a_person_edits_and_rejects() {
    let guest = Guest::start().await;
    let admin = guest.sandbox.admin();
    let id = guest.enter("ada@x.example", &[1001]);
    admin.edit(System::InitLive, &id, &json!({"tags": ["Bar"], "externalId": "003x", "phone": null})).unwrap();
    admin.deactivate(System::InitLive, &id).unwrap();
    let (_, user) = guest.get(&format!("/{id}")).await;
    assert_eq!((&user["tags"], &user["status"]), (&json!(["Bar"]), &json!("rejected")));
    for wrong in [json!({"username": "x"}), json!({"age": 3}), json!({"lastName": null})] {
        assert!(admin.edit(System::InitLive, &id, &wrong).is_err(), "{wrong}");
    }
    let again = json!({"username": "ADA@x.example", "firstName": "A", "lastName": "B"});
    assert!(admin.create(System::InitLive, &again).is_err());
    admin.delete(System::InitLive, &id).unwrap();
    assert_eq!(guest.get(&format!("/{id}")).await.0, 404);
}
