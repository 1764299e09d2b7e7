//! The imitation of SalesScreen as a plain HTTP client meets it.

use muster::sandbox::log::System;
use muster::sandbox::{Actor, DEFAULT_SALESSCREEN_KEY, Sandbox, SandboxSettings};
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
        let request = self.client.request(method, format!("{}/api/v1{path}", self.sandbox.salesscreen_url()));
        let request = request.header("apiKey", DEFAULT_SALESSCREEN_KEY);
        let request = if body.is_null() { request } else { request.json(body) };
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default())
    }

    async fn add(&self, body: Value) -> (u16, Value) {
        self.ask(Method::POST, "/User/Add", &body).await
    }

    fn user(&self, id: &str) -> Value {
        self.sandbox.admin().account(System::SalesScreen, id).unwrap()
    }
}

fn ada() -> Value {
    json!({"userId": "005-ada", "email": "ada@x.example", "firstname": "Ada", "lastname": "Byron"})
}

#[tokio::test]
async fn nothing_can_be_read_and_nothing_goes_without_the_key() {
    let guest = Guest::start().await;
    for path in ["/User/Add", "/User/List", "/Team", "/User/005-ada"] {
        assert_eq!(guest.ask(Method::GET, path, &Value::Null).await.0, 404, "{path}");
    }
    let url = format!("{}/api/v1/User/Add", guest.sandbox.salesscreen_url());
    for (header, key, status) in [
        ("APIKEY", DEFAULT_SALESSCREEN_KEY, 200),
        ("apiKey", "another", 401),
        ("authorization", DEFAULT_SALESSCREEN_KEY, 401),
    ] {
        let answer = guest.client.post(&url).header(header, key).json(&ada()).send().await.unwrap();
        assert_eq!(answer.status(), status, "{header}");
    }
    let form = guest.client.post(&url).header("apiKey", DEFAULT_SALESSCREEN_KEY).form(&[("userId", "1")]);
    assert_eq!(form.send().await.unwrap().status(), 415);
}

#[tokio::test]
async fn a_user_is_upserted_by_the_callers_own_id() {
    let guest = Guest::start().await;
    assert_eq!(guest.add(ada()).await, (200, json!({})));
    let mut body = ada();
    body["email"] = json!("ADA@y.example");
    body["team"] = json!({"key": "north", "name": "North"});
    body["nickname"] = json!("passed over");
    assert_eq!(guest.add(body).await.0, 200);
    let user = guest.user("005-ada");
    assert_eq!((&user["email"], &user["team"]["name"]), (&json!("ADA@y.example"), &json!("North")));
    assert_eq!(guest.sandbox.admin().accounts(System::SalesScreen).len(), 1);
    let writes = guest.sandbox.admin().writes(0);
    assert!(writes.iter().all(|write| write.actor == Actor::Client && write.account == "005-ada"));
    assert_eq!(writes.iter().map(|write| write.created).collect::<Vec<_>>(), [true, false]);

    // What is left out: cleared, or kept; the team stays either way.
    let short = json!({"userId": "005-ada", "email": "ada@y.example"});
    assert_eq!(guest.add(short.clone()).await.0, 200);
    let user = guest.user("005-ada");
    assert_eq!((&user["firstname"], &user["team"]["key"]), (&json!(""), &json!("north")));
    guest.add(ada()).await;
    guest.sandbox.admin().configure(System::SalesScreen, json!({"absent": "keep"})).unwrap();
    guest.add(short).await;
    assert_eq!(guest.user("005-ada")["firstname"], "Ada");
}

#[tokio::test]
async fn what_is_wrong_with_a_user_is_told_by_field() {
    let guest = Guest::start().await;
    guest.add(ada()).await;
    for (body, field) in [
        (json!({"email": "a@b"}), "userId"),
        (json!({"userId": "2"}), "email"),
        (json!({"userId": "2", "email": "nowhere"}), "email"),
        (json!({"userId": "2", "email": "Ada@X.example"}), "email"),
        (json!({"userId": 2, "email": "a@b"}), "userId"),
        (json!({"userId": "2", "email": "a@b", "firstname": 1}), "firstname"),
        (json!({"userId": "2", "email": "a@b", "team": {"name": "North"}}), "team"),
    ] {
        let (status, answer) = guest.add(body.clone()).await;
        assert_eq!(status, 400, "{body}");
        assert!(answer["errors"][field][0].is_string(), "{body}: {answer}");
    }
    assert_eq!(guest.sandbox.admin().accounts(System::SalesScreen).len(), 1);
}

/// The trap of the keys: an unknown one makes a team beside the right one, with the same name.
#[tokio::test]
async fn an_unknown_key_makes_a_second_team() {
    let guest = Guest::start().await;
    let mut body = ada();
    body["team"] = json!({"key": "North", "name": "North"});
    assert_eq!(guest.add(body).await.0, 200);
    let teams = guest.sandbox.admin().records(System::SalesScreen, "Team");
    let named = teams.iter().filter(|team| team["name"] == "North");
    assert_eq!(named.map(|team| team["members"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 0]);
}

/// R50, R53: records make users behind everybody's back, and are seen only of users who have a team.
#[tokio::test]
async fn a_record_is_seen_only_with_a_team() {
    let guest = Guest::start().await;
    let record = json!([{"id": "deal-1", "activityTypeName": "Deal", "user": {"id": "7", "email": "g@x.example"},
        "quantity": 1}]);
    assert_eq!(guest.ask(Method::POST, "/Record/Add", &record).await.0, 200);
    assert_eq!(guest.ask(Method::POST, "/Record/Add", &json!([{"id": "deal-2"}])).await.0, 400);
    let admin = guest.sandbox.admin();
    let visible = || admin.records(System::SalesScreen, "Record")[0]["visible"].clone();
    assert_eq!((guest.user("7")["email"].clone(), visible()), (json!("g@x.example"), json!(false)));
    admin.edit(System::SalesScreen, "7", &json!({"team": "south"})).unwrap();
    assert_eq!(visible(), json!(true));
}

/// Both windows slide, are counted where calls arrive, and say when to come again.
#[tokio::test]
async fn calls_beyond_a_window_are_refused() {
    let guest = Guest::start().await;
    let admin = guest.sandbox.admin();
    let hour = json!({"windows": [{"calls": 15, "within_ms": 1}, {"calls": 3, "within_ms": 3_600_000}]});
    admin.configure(System::SalesScreen, hour).unwrap();
    for _ in 0..3 {
        assert_eq!(guest.add(ada()).await.0, 200);
    }
    let url = format!("{}/api/v1/User/Add", guest.sandbox.salesscreen_url());
    let refused = guest.client.post(url).header("apiKey", DEFAULT_SALESSCREEN_KEY).json(&ada()).send().await.unwrap();
    assert_eq!(refused.status(), 429);
    let wait: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=3_600).contains(&wait), "{wait}");
    let windows = admin.records(System::SalesScreen, "Window");
    assert_eq!((&windows[1]["peak"], &windows[1]["refused"]), (&json!(3), &json!(1)));
    assert!(admin.configure(System::SalesScreen, json!({"window": []})).is_err());
}

/// What a person does at the screens: users without a mapping, teams, and who leaves.
#[tokio::test]
async fn a_person_makes_users_and_maps_them() {
    let guest = Guest::start().await;
    let admin = guest.sandbox.admin();
    let number = admin.create(System::SalesScreen, &json!({"email": "ada@x.example", "firstname": "A"})).unwrap();
    assert_eq!(guest.add(ada()).await.0, 400, "nothing is mapped to the user who has this address");
    admin.edit(System::SalesScreen, &number, &json!({"userId": "005-ada"})).unwrap();
    assert_eq!(guest.add(ada()).await.0, 200);
    assert_eq!(guest.user("005-ada")["id"], number.as_str());
    admin.deactivate(System::SalesScreen, "005-ada").unwrap();
    assert_eq!(guest.user("005-ada")["active"], false);
    for wrong in [json!({"team": "nowhere"}), json!({"email": "x"}), json!({"age": 3})] {
        assert!(admin.edit(System::SalesScreen, "005-ada", &wrong).is_err(), "{wrong}");
    }
    admin.create_record(System::SalesScreen, "Team", &json!({"key": "east", "name": "East"})).unwrap();
    admin.delete(System::SalesScreen, "005-ada").unwrap();
    assert!(admin.account(System::SalesScreen, "005-ada").is_none());
    assert_eq!(admin.seed(System::SalesScreen, 5, 1).unwrap().len(), 5);
}
