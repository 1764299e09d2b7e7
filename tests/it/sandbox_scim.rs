//! The habits of the SCIM sandbox as a client meets them: each one shows, and only where it should.

use muster::sandbox::{Dialect, Preset, Quirk, Sandbox, SandboxSettings};
use reqwest::redirect::Policy;
use reqwest::{Client, Method};
use serde_json::{Value, json};

const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
const PATCH_OP: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";

struct Guest {
    sandbox: Sandbox,
    client: Client,
}

impl Guest {
    async fn start(dialect: Dialect) -> Self {
        let settings = SandboxSettings { dialect, scim_max_page: 2, ..SandboxSettings::default() };
        let sandbox = Sandbox::start(settings).await.unwrap();
        Self { sandbox, client: Client::builder().redirect(Policy::none()).build().unwrap() }
    }

    /// Status, and what the answer says: null without a body.
    async fn ask(&self, method: Method, path: &str, body: &Value) -> (u16, Value) {
        let request = self.client.request(method, format!("{}{path}", self.sandbox.scim_url()));
        let request = request.bearer_auth(self.sandbox.scim_token());
        let request = if body.is_null() { request } else { request.body(body.to_string()) };
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default())
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.ask(Method::GET, path, &Value::Null).await
    }

    async fn create(&self, number: usize) -> (u16, Value) {
        let emails = json!([{"value": format!("u{number}@x.example"), "type": "work"}]);
        let user = json!({"schemas": [USER], "userName": format!("u{number}@x.example"), "emails": emails});
        self.ask(Method::POST, "/Users", &user).await
    }
}

fn patch(op: &str, path: &str, value: Value) -> Value {
    json!({"schemas": [PATCH_OP], "Operations": [{"op": op, "path": path, "value": value}]})
}

/// B25: what each habit refuses and what it takes.
#[tokio::test]
async fn a_patch_is_taken_in_the_form_that_the_habit_wants() {
    let work = "emails[type eq \"work\"].value";
    for (quirk, taken, refused) in [
        (
            Quirk::CapitalisedOperations,
            patch("Replace", "title", json!("a")),
            (patch("replace", "title", json!("a")), 400, json!("invalidSyntax")),
        ),
        (
            Quirk::PathFiltersRefused,
            patch("replace", "emails", json!([{"value": "a", "type": "work"}])),
            (patch("replace", work, json!("a")), 400, json!("invalidPath")),
        ),
        (
            Quirk::StringBooleansDemanded,
            patch("replace", "active", json!("False")),
            (patch("replace", "active", json!(false)), 400, json!("invalidValue")),
        ),
    ] {
        let guest = Guest::start([quirk].into()).await;
        let path = format!("/Users/{}", guest.create(1).await.1["id"].as_str().unwrap());
        assert_eq!(guest.ask(Method::PATCH, &path, &taken).await.0, 200, "{quirk:?}");
        let (body, status, word) = refused;
        let (found, error) = guest.ask(Method::PATCH, &path, &body).await;
        assert_eq!((found, &error["scimType"]), (status, &word), "{quirk:?}");
        let strict = Guest::start(Dialect::new()).await;
        let path = format!("/Users/{}", strict.create(1).await.1["id"].as_str().unwrap());
        assert_eq!(strict.ask(Method::PATCH, &path, &body).await.0, 200, "{quirk:?}: others take it");
    }
    let guest = Guest::start([Quirk::PatchNotAllowed].into()).await;
    let path = format!("/Users/{}", guest.create(1).await.1["id"].as_str().unwrap());
    assert_eq!(guest.ask(Method::PATCH, &path, &patch("replace", "title", json!("a"))).await.0, 405);
    assert_eq!(guest.get("/ServiceProviderConfig").await.1["patch"]["supported"], true, "it does not say so");
}

/// B25: a list by cursor goes on where it was left, and knows its own cursors only.
#[tokio::test]
async fn a_list_is_paged_by_cursor() {
    let guest = Guest::start([Quirk::CursorPaging].into()).await;
    for number in 0..5 {
        guest.create(number).await;
    }
    let (mut cursor, mut names) = (String::new(), Vec::new());
    loop {
        let (status, list) = guest.get(&format!("/Users?cursor={cursor}&count=2")).await;
        assert_eq!((status, list.get("startIndex")), (200, None));
        names.extend(list["Resources"].as_array().unwrap().iter().map(|user| user["userName"].to_string()));
        match list.get("nextCursor") {
            Some(next) => cursor = next.as_str().unwrap().to_owned(),
            None => break,
        }
    }
    names.dedup();
    assert_eq!(names.len(), 5);
    assert_eq!(guest.get("/Users?cursor=bogus").await.1["scimType"], "invalidCursor");
    assert_eq!(guest.get("/Users?cursor=&startIndex=1").await.1["scimType"], "invalidValue");
    assert!(guest.get("/Users?startIndex=3").await.1["nextCursor"].is_string(), "startIndex is passed over");
    assert_eq!(guest.get("/ServiceProviderConfig").await.1["pagination"]["index"], false);
    let strict = Guest::start(Dialect::new()).await;
    assert_eq!(strict.get("/Users?cursor=").await.1["scimType"], "invalidCursor");
}

/// B25: the other habits, as they show in answers.
#[tokio::test]
async fn the_other_habits_show_in_answers() {
    let guest = Guest::start([Quirk::NoMeta, Quirk::NumericIds].into()).await;
    let (_, user) = guest.create(1).await;
    assert_eq!((user.get("meta"), user["id"].is_u64()), (None, true));
    assert_eq!(guest.get(&format!("/Users/{}", user["id"])).await.0, 200);

    let guest = Guest::start([Quirk::FilterByNameOnly].into()).await;
    for (filter, status) in
        [("userName eq \"a\"", 200), ("externalId eq \"a\"", 200), ("title eq \"a\"", 400), ("userName sw \"a\"", 400)]
    {
        let query: String = url::form_urlencoded::byte_serialize(filter.as_bytes()).collect();
        assert_eq!(guest.get(&format!("/Users?filter={query}")).await.0, status, "{filter}");
    }

    let guest = Guest::start([Quirk::TrailingSlash].into()).await;
    assert_eq!((guest.get("/Users?count=1").await.0, guest.get("/Users/?count=1").await.0), (308, 200));

    let guest = Guest::start([Quirk::RateLimited(3)].into()).await;
    let mut statuses = Vec::new();
    for _ in 0..6 {
        statuses.push(guest.get("/Users").await.0);
    }
    assert_eq!(statuses, [200, 200, 429, 200, 200, 429]);

    let guest = Guest::start([Quirk::EmptyBody].into()).await;
    assert_eq!(guest.create(1).await, (201, Value::Null));
}

/// B25: habits that are met together are set by one name, also while the service runs.
#[tokio::test]
async fn a_preset_is_set_by_its_name() {
    let guest = Guest::start(Dialect::new()).await;
    for preset in Preset::ALL {
        let url = format!("{}/_admin/scim/dialect", guest.sandbox.url());
        let answer = guest.client.put(url).json(preset).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{preset:?}");
        let discovers = guest.get("/ServiceProviderConfig").await.0 != 404;
        assert_eq!(discovers, *preset != Preset::Bare, "{preset:?}");
    }
    let other = Preset::ALL.iter().map(|preset| preset.dialect()).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(other.len(), Preset::ALL.len(), "each has habits of its own");
}
