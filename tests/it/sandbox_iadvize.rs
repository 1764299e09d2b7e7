//! The imitation of iAdvize as plain HTTP clients meet it.

use muster::sandbox::{Sandbox, SandboxSettings, System, iadvize};
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

    /// REST: status and body.
    async fn rest(&self, method: Method, path: &str, form: &[(&str, &str)]) -> (u16, Value) {
        let url = format!("{}/api/2{path}", self.sandbox.iadvize_url());
        let request = self.client.request(method, url).header("x-api-key", iadvize::DEFAULT_API_KEY);
        let request = if form.is_empty() { request } else { request.form(form) };
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default())
    }

    async fn login(&self, password: &str) -> (u16, Value) {
        let form = [("username", iadvize::DEFAULT_USERNAME), ("password", password), ("grant_type", "password")];
        let url = format!("{}/oauth2/token", self.sandbox.iadvize_url());
        let answer = self.client.post(url).form(&form).send().await.unwrap();
        (answer.status().as_u16(), serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap())
    }

    async fn token(&self) -> String {
        let (status, body) = self.login(iadvize::DEFAULT_PASSWORD).await;
        assert_eq!((status, &body["token_type"], &body["refresh_token"]), (200, &json!("Bearer"), &json!("none")));
        body["access_token"].as_str().unwrap().to_owned()
    }

    async fn ask(&self, token: &str, query: &str, variables: Value) -> Value {
        let url = format!("{}/graphql?platform=sd", self.sandbox.iadvize_url());
        let body = json!({"query": query, "variables": variables}).to_string();
        let answer = self.client.post(url).bearer_auth(token).body(body).send().await.unwrap();
        serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
    }
}

fn input(email: &str) -> Value {
    json!({
        "email": email, "lastName": "Byron", "userName": "Ada", "projectIds": [1],
        "roleId": "5f0c3a9e-0000-4000-8000-000000000001", "externalId": "005A",
    })
}

const CREATE: &str = "mutation Create($input: UserCreateInput!) { made: userCreate(input: $input) {
    user { __typename id ... on Professional { email role { name } } } userErrors { __typename message } } }";

/// R19: each new operator gets one mail; a refused one gets none.
#[tokio::test]
async fn creations_mail_and_refusals_do_not() {
    let guest = Guest::start().await;
    let token = guest.token().await;
    let made = guest.ask(&token, CREATE, json!({"input": input("ada@x.example")})).await;
    let user = &made["data"]["made"]["user"];
    assert_eq!((&user["__typename"], &user["role"]["name"]), (&json!("Professional"), &json!("operator")), "{made}");
    assert!(user["id"].is_u64());
    let again = guest.ask(&token, CREATE, json!({"input": input("ADA@x.example")})).await;
    assert_eq!(again["data"]["made"]["userErrors"][0]["__typename"], "EmailAlreadyUsedError");
    let mut empty = input("grace@x.example");
    empty["firstName"] = json!("");
    let empty = guest.ask(&token, CREATE, json!({"input": empty})).await;
    assert_eq!(empty["data"]["made"]["userErrors"][0]["__typename"], "FirstNameIsEmptyError");

    let form = [("name", "Hopper"), ("email", "grace@x.example"), ("pseudo", "Grace"), ("website_list[0]", "2")];
    let (status, body) = guest.rest(Method::POST, "/operator", &form).await;
    assert_eq!((status, &body["meta"]["status"], &body["data"]["website_list"]), (200, &json!("success"), &json!([2])));
    let (status, body) = guest.rest(Method::POST, "/operator", &form).await;
    let taken = json!({"meta": {"status": "fail", "message": "Value of field 'email' is not valid."}});
    assert_eq!((status, body), (400, taken));
    let (_, body) = guest.rest(Method::POST, "/operator", &[("name", "Hopper")]).await;
    assert_eq!(body["meta"]["message"], "Field 'email' is missing.");
    assert_eq!(guest.sandbox.admin().records(System::Iadvize, "Mail").len(), 2);
}

/// A document is checked whole before any of it happens.
#[tokio::test]
async fn documents_are_checked_against_the_schema() {
    let guest = Guest::start().await;
    let token = guest.token().await;
    for (query, variables, expected) in [
        ("{ user(userId: 1001) { id email } }", json!({}), "Cannot query field \"email\" on type \"User\""),
        ("{ user(userId: \"1001\") { id } }", json!({}), "LegacyId"),
        ("{ user { id } }", json!({}), "userId"),
        ("{ user(userId: 1001) }", json!({}), "selection of subfields"),
        ("{ users(first: $n) { pageInfo { hasNextPage } } }", json!({"n": 1}), "not defined"),
        ("{ roles { id name ", json!({}), "Syntax Error"),
        (CREATE, json!({"input": {"email": "x@x.example"}}), "$input"),
        (CREATE, json!({"input": {"emial": "x@x.example"}}), "emial"),
    ] {
        let answer = guest.ask(&token, query, variables).await;
        let message = answer["errors"][0]["message"].as_str().unwrap_or_else(|| panic!("{query}: {answer}"));
        assert!(message.contains(expected), "{query}: {message}");
    }
    assert_eq!(guest.sandbox.admin().write_count(), 0);
    let (status, _) = guest.login("wrong").await;
    assert_eq!(status, 400);
    let answer = guest.ask("wrong", "{ roles { id } }", json!({})).await;
    assert_eq!(answer["error"], "invalid_token");
}

/// Connections page by cursor, and a deleted user is still shown, as deleted.
#[tokio::test]
async fn lists_page_and_deleted_users_stay_readable() {
    let guest = Guest::start().await;
    let token = guest.token().await;
    let ids = guest.sandbox.admin().seed(System::Iadvize, 5, 1).unwrap();
    let query = "query List($after: String) { users(first: 4, after: $after, filters: {isDeleted: false}) {
        edges { node { id } } pageInfo { hasNextPage endCursor } } }";
    let first = guest.ask(&token, query, json!({})).await;
    assert_eq!(first["data"]["users"]["edges"].as_array().unwrap().len(), 4);
    assert_eq!(first["data"]["users"]["pageInfo"]["hasNextPage"], true);
    let cursor = &first["data"]["users"]["pageInfo"]["endCursor"];
    let second = guest.ask(&token, query, json!({"after": cursor})).await;
    assert_eq!(second["data"]["users"]["edges"].as_array().unwrap().len(), 2);
    assert_eq!(second["data"]["users"]["pageInfo"]["hasNextPage"], false);

    let (status, body) = guest.rest(Method::DELETE, &format!("/operator/{}", ids[0]), &[]).await;
    assert_eq!((status, body), (200, json!({"meta": {"status": "success"}})));
    let (status, body) = guest.rest(Method::GET, &format!("/operator/{}", ids[0]), &[]).await;
    assert_eq!((status, &body["meta"]["status"]), (404, &json!("fail")));
    let query = format!("{{ user(userId: {}) {{ ... on Professional {{ isDeleted }} }} }}", ids[0]);
    assert_eq!(guest.ask(&token, &query, json!({})).await["data"]["user"]["isDeleted"], true);
}

/// REST lists ids only unless asked for more; filters know `*`; the key is taken in three places, and needed.
#[tokio::test]
async fn rest_lists_filter_and_page() {
    let guest = Guest::start().await;
    guest.sandbox.admin().seed(System::Iadvize, 30, 1).unwrap();
    let (_, list) = guest.rest(Method::GET, "/operator", &[]).await;
    assert_eq!(list["pagination"], json!({"page": 1, "pages": 2, "limit": 20, "count": 31}));
    assert_eq!(list["data"][0].as_object().unwrap().keys().collect::<Vec<_>>(), ["_link", "id"]);
    let (_, list) = guest.rest(Method::GET, "/operator?full=1&filters[email]=*sync@*", &[]).await;
    assert_eq!(list["data"][0]["pseudo"], "sync");
    assert_eq!(list["pagination"]["count"], 1);
    let (status, _) = guest.rest(Method::POST, "/skill", &[("name", "x")]).await;
    assert_eq!(status, 405);
    let url = format!("{}/api/2/skill", guest.sandbox.iadvize_url());
    let refused = guest.client.get(&url).send().await.unwrap();
    assert_eq!(refused.status(), 403);
    let by_query = guest.client.get(format!("{url}?key={}", iadvize::DEFAULT_API_KEY)).send().await.unwrap();
    assert_eq!(by_query.status(), 200);
    let by_basic = guest.client.get(url).basic_auth(iadvize::DEFAULT_API_KEY, Some("x")).send().await.unwrap();
    assert_eq!(by_basic.status(), 200);
}

/// R22, R23: an update disconnects who is logged in, and does nothing to who is in a conversation; both are answered alike.
#[tokio::test]
async fn updates_disconnect_or_are_ignored() {
    let guest = Guest::start().await;
    let admin = guest.sandbox.admin();
    let id = admin.seed(System::Iadvize, 1, 1).unwrap().remove(0);
    let path = format!("/operator/{id}");
    let live = format!("/operator/{id}/live");
    assert_eq!(guest.rest(Method::GET, &live, &[]).await.0, 404, "never logged in");
    for (presence, taken) in [("conversation", false), ("online", true), ("offline", true)] {
        let before = admin.account(System::Iadvize, &id).unwrap()["pseudo"].clone();
        admin.edit(System::Iadvize, &id, &json!({"presence": presence})).unwrap();
        let (_, shown) = guest.rest(Method::GET, &live, &[]).await;
        assert_eq!(shown["data"]["connected"], presence != "offline");
        let (status, body) = guest.rest(Method::PUT, &path, &[("pseudo", presence)]).await;
        assert_eq!((status, &body["meta"]["status"]), (200, &json!("success")));
        let expected = if taken { json!(presence) } else { before };
        assert_eq!(admin.account(System::Iadvize, &id).unwrap()["pseudo"], expected, "{presence}");
    }
    assert_eq!(admin.records(System::Iadvize, "Disconnection").len(), 1);
    let changed: Vec<bool> =
        admin.writes(0).iter().filter(|write| write.method == "PUT").map(|write| write.changed).collect();
    assert_eq!(changed, [false, true, true]);
}

/// Ten logins a minute; the next are told when to come again.
#[tokio::test]
async fn logins_are_counted() {
    let guest = Guest::start().await;
    for _ in 0..10 {
        guest.token().await;
    }
    let (status, _) = guest.login(iadvize::DEFAULT_PASSWORD).await;
    assert_eq!(status, 429);
    guest.sandbox.admin().set_clock(System::Iadvize, 61_000);
    guest.token().await;
}
