//! The sandbox as a client meets it: over HTTP and TLS, with faults, log and administrator.
#![allow(clippy::unwrap_used, reason = "clippy takes only test functions for tests, not what they share")]

use std::collections::HashSet;

use muster::sandbox::{Dialect, Quirk, SalesforceEdit, Sandbox, SandboxSettings, Scheme, System};
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};

/// A sandbox and a client of both its systems.
pub(super) struct Guest {
    pub(super) sandbox: Sandbox,
    pub(super) client: Client,
    pub(super) token: String,
}

impl Guest {
    pub(super) async fn start(settings: SandboxSettings) -> Self {
        let sandbox = Sandbox::start(settings).await.unwrap();
        let mut client = Client::builder();
        if let Some(pem) = sandbox.authority_pem() {
            client = client.tls_certs_only([reqwest::Certificate::from_pem(pem.as_bytes()).unwrap()]);
        }
        let client = client.build().unwrap();
        let mut guest = Self { sandbox, client, token: String::new() };
        guest.log_in().await;
        guest
    }

    pub(super) async fn with_users(users: usize) -> Self {
        Self::start(SandboxSettings { users, ..SandboxSettings::default() }).await
    }

    pub(super) async fn log_in(&mut self) {
        let url = format!("{}/services/oauth2/token", self.sandbox.salesforce_url());
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", self.sandbox.client_id()),
            ("client_secret", self.sandbox.client_secret()),
        ];
        let answer = json_of(self.client.post(url).form(&form).send().await.unwrap()).await;
        self.token = answer["access_token"].as_str().unwrap().to_owned();
    }

    pub(super) fn salesforce(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}/services/data/v66.0{path}", self.sandbox.salesforce_url());
        self.client.request(method, url).bearer_auth(&self.token)
    }

    pub(super) async fn query(&self, soql: &str) -> Response {
        self.salesforce(Method::GET, "/query").query(&[("q", soql)]).send().await.unwrap()
    }

    /// All records of a query, page by page, with the number of pages.
    pub(super) async fn query_all(&self, soql: &str) -> (Vec<Value>, usize) {
        let mut page = json_of(self.query(soql).await).await;
        let (mut records, mut pages) = (Vec::new(), 1);
        loop {
            records.append(page["records"].as_array_mut().unwrap());
            let Some(next) = page["nextRecordsUrl"].as_str() else { return (records, pages) };
            let url = format!("{}{next}", self.sandbox.salesforce_url());
            page = json_of(self.client.get(url).bearer_auth(&self.token).send().await.unwrap()).await;
            pages += 1;
        }
    }

    fn scim(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.sandbox.scim_url());
        self.client.request(method, url).bearer_auth(self.sandbox.scim_token())
    }

    async fn create_scim_user(&self, name: &str) -> Value {
        let answer = self.scim(Method::POST, "/Users").json(&scim_user(name)).send().await.unwrap();
        assert_eq!(answer.status(), 201);
        json_of(answer).await
    }

    pub(super) fn inject(&self, fault: Value) -> u64 {
        self.sandbox.admin().inject(serde_json::from_value(fault).unwrap())
    }
}

fn scim_user(name: &str) -> Value {
    json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": name,
        "name": {"givenName": "Ada", "familyName": "Lovelace"}, "emails": [{"value": name, "type": "work", "primary": true}]})
}

fn patch(operations: Value) -> Value {
    json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": operations})
}

pub(super) async fn json_of(response: Response) -> Value {
    let text = response.text().await.unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[tokio::test]
async fn token_requests_are_answered_or_refused_as_documented() {
    let guest = Guest::with_users(0).await;
    let url = format!("{}/services/oauth2/token", guest.sandbox.salesforce_url());
    let (id, secret) = (guest.sandbox.client_id(), guest.sandbox.client_secret());
    for (form, expected) in [
        (
            vec![("grant_type", "client_credentials"), ("client_id", "other"), ("client_secret", secret)],
            "invalid_client_id",
        ),
        (vec![("grant_type", "client_credentials"), ("client_id", id), ("client_secret", "other")], "invalid_client"),
        (vec![("grant_type", "client_credentials"), ("client_id", id)], "invalid_request"),
        (vec![("grant_type", "password"), ("client_id", id), ("client_secret", secret)], "unsupported_grant_type"),
        (vec![("client_id", id), ("client_secret", secret)], "invalid_request"),
    ] {
        let answer = guest.client.post(&url).form(&form).send().await.unwrap();
        assert_eq!(answer.status(), 400, "{form:?}");
        assert_eq!(json_of(answer).await["error"], expected, "{form:?}");
    }
    let basic = guest.client.post(&url).basic_auth(id, Some(secret)).form(&[("grant_type", "client_credentials")]);
    let answer = json_of(basic.send().await.unwrap()).await;
    assert_eq!(answer["instance_url"], guest.sandbox.salesforce_url());
    assert!(answer["issued_at"].as_str().unwrap().parse::<u64>().is_ok());
    assert_eq!(answer["id"].as_str().unwrap().rsplit('/').next().unwrap().len(), 18);
}

#[tokio::test]
async fn a_session_dies_by_revocation_by_age_and_by_the_administrator() {
    let mut guest = Guest::with_users(0).await;
    let admin = guest.sandbox.admin();
    for death in ["revoke", "age", "administrator", "fault"] {
        guest.log_in().await;
        assert_eq!(guest.salesforce(Method::GET, "/limits").send().await.unwrap().status(), 200, "before {death}");
        match death {
            "revoke" => {
                let url = format!("{}/services/oauth2/revoke", guest.sandbox.salesforce_url());
                let answer = guest.client.post(&url).form(&[("token", &guest.token)]).send().await.unwrap();
                assert_eq!(answer.status(), 200);
            }
            "age" => admin.set_clock(System::Salesforce, 7_300_000),
            "administrator" => assert!(admin.expire_sessions() > 0),
            _ => {
                guest.inject(json!({"on": {"path": "/limits", "times": 1}, "effect": {"kind": "expired-session"}}));
            }
        }
        for _ in 0..2 {
            let answer = guest.salesforce(Method::GET, "/limits").send().await.unwrap();
            assert_eq!(answer.status(), 401, "{death}");
            assert!(answer.headers().contains_key("sforce-limit-info"));
            assert_eq!(json_of(answer).await[0]["errorCode"], "INVALID_SESSION_ID", "{death}");
        }
    }
}

#[tokio::test]
async fn a_query_is_paged_and_its_locator_is_a_snapshot_of_ids() {
    let guest = Guest::with_users(450).await;
    let soql =
        "SELECT Id, Username, LastName, Profile.Name, UserRole.Name FROM User WHERE UserType = 'Standard' ORDER BY Id";
    let first =
        guest.salesforce(Method::GET, "/query").query(&[("q", soql)]).header("Sforce-Query-Options", "batchSize=200");
    let first = json_of(first.send().await.unwrap()).await;
    assert_eq!((first["totalSize"].as_u64(), first["done"].as_bool()), (Some(450), Some(false)));
    assert_eq!(first["records"].as_array().unwrap().len(), 200);
    let record = &first["records"][1];
    assert_eq!(record["Profile"]["attributes"]["type"], "Profile");
    assert_eq!(
        record["attributes"]["url"],
        format!("/services/data/v66.0/sobjects/User/{}", record["Id"].as_str().unwrap())
    );

    // The next page lists who was found, and shows what they are called by now.
    let everybody = guest.sandbox.admin().accounts(System::Salesforce);
    let late = everybody[300]["Id"].as_str().unwrap();
    guest.sandbox.admin().edit(System::Salesforce, late, &json!({"LastName": "Married", "UserType": "Guest"})).unwrap();
    let url = format!("{}{}", guest.sandbox.salesforce_url(), first["nextRecordsUrl"].as_str().unwrap());
    let second = json_of(guest.client.get(&url).bearer_auth(&guest.token).send().await.unwrap()).await;
    assert!(second["records"].as_array().unwrap().iter().any(|record| record["LastName"] == "Married"));

    assert_eq!(guest.sandbox.admin().drop_cursors(), 1);
    let dead = guest.client.get(&url).bearer_auth(&guest.token).send().await.unwrap();
    assert_eq!(dead.status(), 400);
    assert_eq!(json_of(dead).await[0]["errorCode"], "INVALID_QUERY_LOCATOR");

    let count =
        json_of(guest.query("SELECT COUNT() FROM User WHERE IsActive = true AND UserType = 'Standard'").await).await;
    let active = everybody.iter().filter(|user| user["IsActive"] == true && user["UserType"] == "Standard").count();
    assert_eq!(count["totalSize"].as_u64().unwrap() as usize + usize::from(everybody[300]["IsActive"] == true), active);
}

#[tokio::test]
async fn writes_of_users_are_checked_as_documented() {
    let guest = Guest::with_users(1).await;
    let profile = json_of(guest.query("SELECT Id FROM Profile").await).await["records"][0]["Id"].clone();
    let good = json!({"Username": "Eve@x.example", "LastName": "Eve", "Email": "eve@x.example", "Alias": "eve", "ProfileId": profile,
        "TimeZoneSidKey": "Europe/Paris", "LocaleSidKey": "fr_FR", "LanguageLocaleKey": "fr", "EmailEncodingKey": "UTF-8"});
    let answer = guest.salesforce(Method::POST, "/sobjects/User/").json(&good).send().await.unwrap();
    assert_eq!(answer.status(), 201);
    let id = json_of(answer).await["id"].as_str().unwrap().to_owned();
    for (field, value, code) in [
        ("Username", json!("eve@x.example"), "DUPLICATE_USERNAME"),
        ("Username", json!("EVE@X.example"), "DUPLICATE_USERNAME"),
        ("Username", json!("eve"), "FIELD_INTEGRITY_EXCEPTION"),
        ("Username", json!("a@other-org.example"), "DUPLICATE_USERNAME"),
        ("LastName", Value::Null, "REQUIRED_FIELD_MISSING"),
        ("LastName", json!("  "), "REQUIRED_FIELD_MISSING"),
        ("LastName", json!("x".repeat(81)), "STRING_TOO_LONG"),
        ("FirstName", json!("ж".repeat(41)), "STRING_TOO_LONG"),
        ("Alias", json!("ninechars"), "STRING_TOO_LONG"),
        ("Email", json!("not an address"), "INVALID_EMAIL_ADDRESS"),
        ("TimeZoneSidKey", json!("Mars/Olympus"), "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"),
        ("ProfileId", json!("003000000000001AAA"), "MALFORMED_ID"),
        ("ProfileId", json!("00e000000000001"), "INVALID_CROSS_REFERENCE_KEY"),
        ("Name", json!("Eve"), "INVALID_FIELD_FOR_INSERT_UPDATE"),
        ("Title", json!("hidden"), "INVALID_FIELD_FOR_INSERT_UPDATE"),
        ("Bogus", json!("x"), "INVALID_FIELD"),
        ("IsActive", json!("yes"), "JSON_PARSER_ERROR"),
    ] {
        let reserved = SalesforceEdit {
            reserved_usernames: vec!["A@other-org.example".into()],
            access: serde_json::from_value(json!({"User.Title": "hidden"})).unwrap(),
            ..SalesforceEdit::default()
        };
        guest.sandbox.admin().configure_salesforce(reserved).unwrap();
        let mut fields = good.clone();
        fields["Username"] = json!("second@x.example");
        fields[field] = value;
        let answer = guest.salesforce(Method::POST, "/sobjects/User").json(&fields).send().await.unwrap();
        assert_eq!(answer.status(), 400, "{field} {code}");
        let errors = json_of(answer).await;
        assert_eq!(errors[0]["errorCode"], code, "{field}: {errors}");
        if code != "JSON_PARSER_ERROR" {
            assert_eq!(errors[0]["fields"], json!([field]), "{code}");
        }
    }
    let path = format!("/sobjects/User/{id}");
    for (method, path, status, code) in [
        (Method::DELETE, path.as_str(), 405, "METHOD_NOT_ALLOWED"),
        (Method::GET, "/sobjects/User/005RM0000000000", 404, "NOT_FOUND"),
        (Method::GET, "/sobjects/Nothing/describe", 404, "NOT_FOUND"),
    ] {
        let answer = guest.salesforce(method, path).send().await.unwrap();
        assert_eq!(answer.status(), status, "{path}");
        assert_eq!(json_of(answer).await[0]["errorCode"], code, "{path}");
    }
    let describe = json_of(guest.salesforce(Method::GET, "/sobjects/User/describe").send().await.unwrap()).await;
    let names: HashSet<&str> =
        describe["fields"].as_array().unwrap().iter().filter_map(|field| field["name"].as_str()).collect();
    assert!(names.contains("Email") && !names.contains("Title"));

    guest
        .sandbox
        .admin()
        .configure_salesforce(SalesforceEdit { licences: Some(1), ..SalesforceEdit::default() })
        .unwrap();
    let mut third = good.clone();
    third["Username"] = json!("third@x.example");
    let refused = guest.salesforce(Method::POST, "/sobjects/User").json(&third).send().await.unwrap();
    assert_eq!(json_of(refused).await[0]["errorCode"], "LICENSE_LIMIT_EXCEEDED");
    third["IsActive"] = json!(false);
    assert_eq!(guest.salesforce(Method::POST, "/sobjects/User").json(&third).send().await.unwrap().status(), 201);
}

#[tokio::test]
async fn an_update_moves_the_stamp_and_a_stale_condition_stops_it() {
    let guest = Guest::with_users(1).await;
    let admin = guest.sandbox.admin();
    let id = admin.accounts(System::Salesforce)[1]["Id"].as_str().unwrap().to_owned();
    let path = format!("/sobjects/User/{id}");
    let read = || async { json_of(guest.salesforce(Method::GET, &path).send().await.unwrap()).await };
    let before = read().await;
    let update = |title: &'static str, since: String| {
        let request = guest.salesforce(Method::PATCH, &path).json(&json!({"Title": title}));
        request.header("If-Unmodified-Since", since).send()
    };
    let stamp = |record: &Value| record["SystemModstamp"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let http =
        |at: jiff::Timestamp| jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&at).unwrap();
    assert!(before["SystemModstamp"].as_str().unwrap().ends_with(".000+0000"), "whole seconds");
    assert_eq!(update("Boss", http(stamp(&before))).await.unwrap().status(), 204);
    let after = read().await;
    assert!(stamp(&after) > stamp(&before));
    let refused = update("Chief", http(stamp(&before))).await.unwrap();
    assert_eq!(refused.status(), 412);
    assert_eq!(update("Chief", "soon".into()).await.unwrap().status(), 400);
    assert_eq!(read().await["Title"], "Boss");

    // A clock that jumps back does not take the stamp with it.
    admin.set_clock(System::Salesforce, -3_600_000);
    assert_eq!(
        guest.salesforce(Method::PATCH, &path).json(&json!({"Title": null})).send().await.unwrap().status(),
        204
    );
    let again = read().await;
    assert!(stamp(&again) >= stamp(&after) && again["Title"].is_null());
    admin
        .configure_salesforce(SalesforceEdit { every_write_moves_stamp: Some(true), ..SalesforceEdit::default() })
        .unwrap();
    admin.edit(System::Salesforce, &id, &json!({"Title": "x"})).unwrap();
    assert!(stamp(&read().await) > stamp(&again));
}

#[tokio::test]
async fn the_request_quota_is_told_and_kept() {
    let guest = Guest::with_users(0).await;
    let edit = SalesforceEdit { daily_requests: Some(2), used_requests: Some(0), ..SalesforceEdit::default() };
    guest.sandbox.admin().configure_salesforce(edit).unwrap();
    for (number, status) in [(1, 200), (2, 200), (3, 403)] {
        let answer = guest.salesforce(Method::GET, "/limits").send().await.unwrap();
        assert_eq!(answer.headers()["sforce-limit-info"], format!("api-usage={}/2", number.min(2)));
        assert_eq!(answer.status(), status, "request {number}");
    }
}

#[tokio::test]
async fn an_external_id_is_a_way_to_create_or_update() {
    let guest = Guest::with_users(1).await;
    let contact = |method| guest.salesforce(method, "/sobjects/Contact/Email/a@x.example");
    let created = contact(Method::PATCH).json(&json!({"LastName": "A"})).send().await.unwrap();
    assert_eq!(created.status(), 201);
    let created = json_of(created).await;
    assert_eq!(created["created"], true);
    let updated = contact(Method::PATCH).json(&json!({"Title": "T"})).send().await.unwrap();
    assert_eq!((updated.status().as_u16(), json_of(updated).await["created"].clone()), (200, json!(false)));
    let second = json!({"LastName": "A", "Email": "A@x.example"});
    assert_eq!(guest.salesforce(Method::POST, "/sobjects/Contact").json(&second).send().await.unwrap().status(), 201);
    assert_eq!(contact(Method::PATCH).json(&json!({"Title": "T"})).send().await.unwrap().status(), 300);

    let path = format!("/sobjects/Contact/{}", created["id"].as_str().unwrap());
    assert_eq!(guest.salesforce(Method::DELETE, &path).send().await.unwrap().status(), 204);
    let gone = guest.salesforce(Method::GET, &path).send().await.unwrap();
    assert_eq!(
        (gone.status().as_u16(), json_of(gone).await[0]["errorCode"].clone()),
        (404, json!("ENTITY_IS_DELETED"))
    );
    let all =
        guest.salesforce(Method::GET, "/queryAll").query(&[("q", "SELECT Id FROM Contact WHERE IsDeleted = true")]);
    assert_eq!(json_of(all.send().await.unwrap()).await["totalSize"], 1);
}

#[tokio::test]
async fn scim_resources_live_from_post_to_delete() {
    let guest = Guest::with_users(0).await;
    let ada = guest.create_scim_user("Ada@x.example").await;
    let path = format!("/Users/{}", ada["id"].as_str().unwrap());
    let version = ada["meta"]["version"].as_str().unwrap().to_owned();
    assert_eq!(ada["meta"]["location"], format!("{}{path}", guest.sandbox.scim_url()));

    let twice = guest.scim(Method::POST, "/Users").json(&scim_user("ADA@x.example")).send().await.unwrap();
    assert_eq!(twice.status(), 409);
    let refusal = json_of(twice).await;
    assert_eq!((refusal["scimType"].clone(), refusal["status"].clone()), (json!("uniqueness"), json!("409")));

    let unchanged = guest.scim(Method::GET, &path).header("If-None-Match", &version).send().await.unwrap();
    assert_eq!(unchanged.status(), 304);
    let change = patch(
        json!([{"op": "Replace", "path": "name.familyName", "value": "Byron"}, {"op": "add", "value": {"title": "Countess"}}]),
    );
    let changed = guest.scim(Method::PATCH, &path).header("If-Match", &version).json(&change).send().await.unwrap();
    assert_eq!(changed.status(), 200);
    let changed = json_of(changed).await;
    assert_eq!((&changed["name"]["familyName"], &changed["name"]["givenName"]), (&json!("Byron"), &json!("Ada")));
    assert_ne!(changed["meta"]["version"], version);
    let stale = guest.scim(Method::PATCH, &path).header("If-Match", &version).json(&change).send().await.unwrap();
    assert_eq!(stale.status(), 412);

    let put = guest.scim(Method::PUT, &path).json(&scim_user("ada@x.example")).send().await.unwrap();
    assert_eq!(json_of(put).await.get("title"), None, "PUT replaces the whole");
    assert_eq!(guest.scim(Method::DELETE, &path).send().await.unwrap().status(), 204);
    assert_eq!(guest.scim(Method::GET, &path).send().await.unwrap().status(), 404);
    let anonymous = guest.client.get(format!("{}/Users", guest.sandbox.scim_url())).send().await.unwrap();
    assert_eq!(anonymous.status(), 401);
    assert!(anonymous.headers().contains_key("www-authenticate"));
}

#[tokio::test]
async fn scim_lists_are_filtered_sorted_paged_and_cut_down() {
    let guest = Guest::with_users(0).await;
    for name in ["c@x.example", "a@x.example", "b@x.example"] {
        guest.create_scim_user(name).await;
    }
    for (parameters, total, names) in [
        (vec![("filter", "userName eq \"A@X.example\"")], 1, "a"),
        (vec![("filter", "emails[type eq \"work\"].value eq \"b@x.example\"")], 1, "b"),
        (vec![("filter", "not (userName eq \"a@x.example\")"), ("sortBy", "userName")], 2, "bc"),
        (vec![("filter", "meta.lastModified gt \"2020-01-01T00:00:00Z\""), ("sortBy", "userName")], 3, "abc"),
        (vec![("sortBy", "userName"), ("sortOrder", "descending"), ("startIndex", "2"), ("count", "1")], 3, "b"),
        (vec![("count", "0")], 3, ""),
        (vec![("startIndex", "-5"), ("count", "2")], 3, "ca"),
        (vec![("startIndex", "9")], 3, ""),
    ] {
        let list = json_of(guest.scim(Method::GET, "/Users").query(&parameters).send().await.unwrap()).await;
        let found: String =
            list["Resources"].as_array().unwrap().iter().map(|user| &user["userName"].as_str().unwrap()[..1]).collect();
        assert_eq!((list["totalResults"].as_u64().unwrap(), found.as_str()), (total, names), "{parameters:?}");
    }
    let search = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:SearchRequest"], "attributes": ["userName"], "count": 1});
    let list = json_of(guest.scim(Method::POST, "/Users/.search").json(&search).send().await.unwrap()).await;
    let keys: Vec<&String> = list["Resources"][0].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["id", "schemas", "userName"]);
    let bad = guest.scim(Method::GET, "/Users").query(&[("filter", "userName like \"a\"")]).send().await.unwrap();
    assert_eq!((bad.status().as_u16(), json_of(bad).await["scimType"].clone()), (400, json!("invalidFilter")));
}

#[tokio::test]
async fn a_bulk_request_may_refer_to_what_it_creates() {
    let guest = Guest::with_users(0).await;
    let bulk = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"], "failOnErrors": 1, "Operations": [
        {"method": "POST", "path": "/Users", "bulkId": "u", "data": scim_user("a@x.example")},
        {"method": "POST", "path": "/Groups", "bulkId": "g", "data": {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"],
            "displayName": "Agents", "members": [{"value": "bulkId:u"}]}},
        {"method": "POST", "path": "/Users", "bulkId": "v", "data": scim_user("a@x.example")},
        {"method": "DELETE", "path": "/Users/bulkId:u"},
    ]});
    let answer = json_of(guest.scim(Method::POST, "/Bulk").json(&bulk).send().await.unwrap()).await;
    let statuses: Vec<&str> =
        answer["Operations"].as_array().unwrap().iter().map(|entry| entry["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["201", "201", "409"]);
    let users = guest.sandbox.admin().accounts(System::Scim);
    assert_eq!(users[0]["groups"][0]["display"], "Agents");
}

#[tokio::test]
async fn dialects_change_what_is_stored_and_answered() {
    let guest = Guest::with_users(0).await;
    let admin = guest.sandbox.admin();
    let mut user = scim_user("Ada@x.example");
    user["title"] = json!("  A very long title  ");
    user["externalId"] = json!("e1");
    user["active"] = json!(true);
    for (quirk, pointer, expected) in [
        (Quirk::TruncateAt(5), "/title", json!("  A v")),
        (Quirk::ValuesTrimmed, "/title", json!("A very long title")),
        (Quirk::UserNameLowerCased, "/userName", json!("ada@x.example")),
        (Quirk::ExternalIdDropped, "/externalId", Value::Null),
        (Quirk::StringBooleans, "/active", json!("True")),
        (Quirk::NoEtag, "/meta/version", Value::Null),
    ] {
        admin.set_dialect(Dialect::from([quirk]));
        let created = json_of(guest.scim(Method::POST, "/Users").json(&user).send().await.unwrap()).await;
        assert_eq!(created.pointer(pointer).cloned().unwrap_or_default(), expected, "{quirk:?}");
        admin.delete(System::Scim, created["id"].as_str().unwrap()).unwrap();
    }
    let ada = guest.create_scim_user("ada@x.example").await;
    let path = format!("/Users/{}", ada["id"].as_str().unwrap());
    let change = patch(json!([{"op": "replace", "path": "active", "value": false}]));
    for (quirk, status, body_is_empty) in
        [(Quirk::PatchNoContent, 204, true), (Quirk::PatchUnsupported, 501, false), (Quirk::EmptyBody, 200, true)]
    {
        admin.set_dialect(Dialect::from([quirk]));
        let answer = guest.scim(Method::PATCH, &path).json(&change).send().await.unwrap();
        assert_eq!(answer.status(), status, "{quirk:?}");
        assert_eq!(answer.bytes().await.unwrap().is_empty(), body_is_empty, "{quirk:?}");
    }
    for (quirk, resources) in [(Quirk::ResourcesNull, Some(Value::Null)), (Quirk::ResourcesMissing, None)] {
        admin.set_dialect(Dialect::from([quirk, Quirk::PlainJson]));
        let answer =
            guest.scim(Method::GET, "/Users").query(&[("filter", "userName eq \"nobody\"")]).send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], "application/json");
        assert_eq!(json_of(answer).await.get("Resources").cloned(), resources, "{quirk:?}");
    }
}

/// F20 to F22, F30: what each fault leaves of a request.
#[tokio::test]
async fn faults_strike_as_told() {
    let mut guest = Guest::with_users(40).await;
    let admin = guest.sandbox.admin();
    let list = |guest: &Guest| guest.scim(Method::GET, "/Users").query(&[("count", "200")]).send();
    admin.seed(System::Scim, 40, 9).unwrap();

    for (retry_after, expected) in [
        (json!({"seconds": 3}), Some("3")),
        (json!("absent"), None),
        (json!({"text": "99999999999999"}), Some("99999999999999")),
    ] {
        guest.inject(json!({"on": {"times": 1}, "effect": {"kind": "too-many-requests", "retry_after": retry_after}}));
        let answer = list(&guest).await.unwrap();
        assert_eq!(answer.status(), 429);
        assert_eq!(
            answer.headers().get("retry-after").and_then(|value| value.to_str().ok()),
            expected,
            "{retry_after}"
        );
    }
    guest.inject(
        json!({"on": {"times": 1}, "effect": {"kind": "too-many-requests", "retry_after": {"date-in-seconds": 60}}}),
    );
    let after = list(&guest).await.unwrap().headers()["retry-after"].to_str().unwrap().to_owned();
    assert!(after.ends_with(" GMT"), "{after}");

    guest.inject(json!({"on": {"times": 1}, "effect": {"kind": "login-page"}}));
    let answer = list(&guest).await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), answer.headers()["content-type"].clone()),
        (200, HeaderValue::from_static("text/html; charset=utf-8"))
    );

    guest.inject(json!({"on": {"times": 1}, "effect": {"kind": "status", "status": 503, "body": "html"}}));
    assert!(list(&guest).await.unwrap().text().await.unwrap().starts_with("<html>"));

    guest.inject(json!({"on": {"times": 1}, "effect": {"kind": "truncated-json"}}));
    let text = list(&guest).await.unwrap().text().await.unwrap();
    assert!(serde_json::from_str::<Value>(&text).is_err());

    guest.inject(json!({"on": {"times": 1}, "effect": {"kind": "invalid-utf8"}}));
    assert!(std::str::from_utf8(&list(&guest).await.unwrap().bytes().await.unwrap()).is_err());

    guest.inject(json!({"on": {"times": 1}, "effect": {"kind": "huge-attribute"}}));
    assert!(list(&guest).await.unwrap().bytes().await.unwrap().len() > 4 * 1024 * 1024);

    guest.inject(json!({"on": {"times": 1}, "effect": {"kind": "empty-list"}}));
    let empty = json_of(list(&guest).await.unwrap()).await;
    assert_eq!((&empty["totalResults"], &empty["Resources"]), (&json!(0), &json!([])));

    for (totals, total_is_kept) in [("kept", true), ("reduced", false)] {
        guest.inject(
            json!({"on": {"times": 1}, "effect": {"kind": "partial-list", "per_mille": 300, "totals": totals}}),
        );
        let partial = json_of(list(&guest).await.unwrap()).await;
        let here = partial["Resources"].as_array().unwrap().len() as u64;
        assert!(here > 0 && here < 40, "{here}");
        assert_eq!(partial["totalResults"], if total_is_kept { 40 } else { here });
        let query = json!({"on": {"path": "/query", "times": 1}, "effect": {"kind": "partial-list", "per_mille": 300, "totals": totals}});
        guest.inject(query);
        let partial = json_of(guest.query("SELECT Id FROM User WHERE UserType = 'Standard'").await).await;
        let here = partial["records"].as_array().unwrap().len() as u64;
        assert!(here > 0 && here < 40, "{here}");
        assert_eq!(partial["totalSize"], if total_is_kept { 40 } else { here });
    }

    guest.inject(json!({"on": {"system": "salesforce", "times": 1}, "effect": {"kind": "request-limit-exceeded"}}));
    let answer = guest.query("SELECT Id FROM User").await;
    assert_eq!(
        (answer.status().as_u16(), json_of(answer).await[0]["errorCode"].clone()),
        (403, json!("REQUEST_LIMIT_EXCEEDED"))
    );
    guest.log_in().await;
    assert_eq!(guest.query("SELECT Id FROM User").await.status(), 200, "no fault is left");
}

/// F02, F10: the request is carried out, and the client does not learn it.
#[tokio::test]
async fn a_write_may_be_applied_and_its_answer_lost() {
    let guest = Guest::with_users(0).await;
    let admin = guest.sandbox.admin();
    for (number, effect, applied) in [
        (1, json!({"kind": "applied-then-status", "status": 500}), true),
        (2, json!({"kind": "applied-then-cut"}), true),
        (3, json!({"kind": "cut"}), false),
        (4, json!({"kind": "status", "status": 500}), false),
    ] {
        guest.inject(json!({"on": {"method": "POST", "body": format!("user{number}@"), "times": 1}, "effect": effect}));
        let name = format!("user{number}@x.example");
        let answer = guest.scim(Method::POST, "/Users").json(&scim_user(&name)).send().await;
        assert!(answer.map_or(true, |answer| answer.status() == 500), "{effect}");
        let exists = admin.accounts(System::Scim).iter().any(|user| user["userName"] == name.as_str());
        assert_eq!(exists, applied, "{effect}");
    }
    let counts = admin.request_counts();
    assert_eq!(counts[&(System::Scim, "create", 500)], 2);
    assert_eq!(counts[&(System::Scim, "create", 0)], 2);
}

/// F19: a request hangs until it is released, and takes effect then, even if nobody waits for it any more.
#[tokio::test]
async fn a_held_write_lands_late() {
    let guest = Guest::with_users(0).await;
    let admin = guest.sandbox.admin();
    guest.inject(json!({"on": {"method": "POST", "times": 1}, "effect": {"kind": "hang"}}));
    let request = tokio::spawn(guest.scim(Method::POST, "/Users").json(&scim_user("late@x.example")).send());
    admin.wait_until(|admin| admin.held() == 1).await;
    request.abort();
    assert!(request.await.unwrap_err().is_cancelled());
    assert_eq!(admin.write_count(), 0);
    admin.release();
    admin.wait_until(|admin| admin.write_count() == 1).await;
    assert_eq!(admin.accounts(System::Scim)[0]["userName"], "late@x.example");

    guest.inject(json!({"on": {"method": "POST", "times": 1}, "effect": {"kind": "applied-then-hang"}}));
    let request = tokio::spawn(guest.scim(Method::POST, "/Users").json(&scim_user("soon@x.example")).send());
    admin.wait_until(|admin| admin.held() == 1).await;
    assert_eq!(admin.write_count(), 2, "applied, but not answered");
    admin.release();
    assert_eq!(request.await.unwrap().unwrap().status(), 201);
}

#[tokio::test]
async fn the_log_has_every_write_with_what_was_before() {
    let guest = Guest::with_users(1).await;
    let admin = guest.sandbox.admin();
    let ada = guest.create_scim_user("ada@x.example").await;
    let id = ada["id"].as_str().unwrap();
    let path = format!("/Users/{id}");
    let change = patch(json!([{"op": "replace", "path": "title", "value": "Countess"}]));
    let answer = guest.scim(Method::PATCH, &path).json(&change).send().await.unwrap();
    let request = answer.headers()["x-sandbox-request"].to_str().unwrap().to_owned();
    assert_eq!(guest.scim(Method::PATCH, &path).json(&change).send().await.unwrap().status(), 200);
    admin.edit(System::Scim, id, &json!({"title": null})).unwrap();
    let user = admin.accounts(System::Salesforce)[1]["Id"].as_str().unwrap().to_owned();
    admin.deactivate(System::Salesforce, &user).unwrap();

    let seen: Vec<_> = admin
        .writes(0)
        .into_iter()
        .map(|write| (write.sequence, write.system, write.method, write.created, write.changed))
        .collect();
    assert_eq!(
        seen,
        [
            (1, System::Scim, "POST", true, true),
            (2, System::Scim, "PATCH", false, true),
            (3, System::Scim, "PATCH", false, false),
            (4, System::Scim, "PATCH", false, true),
            (5, System::Salesforce, "PATCH", false, true),
        ]
    );
    let second = &admin.writes(1)[0];
    assert_eq!(second.request, request);
    assert_eq!(second.before.as_ref().unwrap().get("title"), None);
    assert_eq!(second.after.as_ref().unwrap()["title"], "Countess");
    assert_eq!(admin.writes(4)[0].after.as_ref().unwrap()["IsActive"], false);
}

#[tokio::test]
async fn the_administrator_works_over_http_as_well() {
    let guest = Guest::with_users(2).await;
    let admin = |method, path: &str| guest.client.request(method, format!("{}/_admin{path}", guest.sandbox.url()));
    let help = admin(Method::GET, "").send().await.unwrap().text().await.unwrap();
    assert!(help.contains("POST   /_admin/faults"));
    let fault = json!({"on": {"system": "scim", "times": 1}, "effect": {"kind": "status", "status": 503}});
    assert_eq!(json_of(admin(Method::POST, "/faults").json(&fault).send().await.unwrap()).await, json!({"id": 1}));
    assert_eq!(guest.scim(Method::GET, "/Users").send().await.unwrap().status(), 503);
    assert_eq!(json_of(admin(Method::GET, "/faults").send().await.unwrap()).await[0]["struck"], 1);
    let wrong = admin(Method::POST, "/faults").json(&json!({"effect": {"kind": "flood"}})).send().await.unwrap();
    assert_eq!(wrong.status(), 422);

    let users = json_of(admin(Method::GET, "/accounts?system=salesforce").send().await.unwrap()).await;
    let id = users[1]["Id"].as_str().unwrap();
    for (method, path, body, status) in [
        (Method::POST, format!("/salesforce/users/{id}"), json!({"Title": "Edited"}), 200),
        (Method::POST, format!("/salesforce/users/{id}"), json!({"Title": "x".repeat(81)}), 400),
        (Method::POST, format!("/salesforce/users/{id}/deactivate"), json!({}), 200),
        (Method::POST, "/salesforce/contacts".into(), json!({"LastName": "C"}), 200),
        (Method::POST, "/scim/users".into(), json!({"userName": "made@x.example"}), 200),
        (Method::POST, "/seed".into(), json!({"system": "scim", "users": 5}), 200),
        (Method::POST, "/clock".into(), json!({"system": "scim", "offset_ms": -600_000}), 200),
        (Method::PUT, "/scim/dialect".into(), json!(["patch-no-content", {"truncate-at": 40}]), 200),
        (Method::POST, "/salesforce/settings".into(), json!({"max_page": 1}), 200),
        (Method::DELETE, format!("/salesforce/users/{id}"), json!({}), 200),
        (Method::DELETE, format!("/salesforce/users/{id}"), json!({}), 400),
    ] {
        let answer = admin(method.clone(), &path).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), status, "{method} {path} {body}");
    }
    let (records, pages) = guest.query_all("SELECT Id, Title FROM User ORDER BY Id").await;
    assert_eq!((records.len(), pages), (2, 2), "the robot and the user that is left, a page each");
    let writes = json_of(admin(Method::GET, "/writes?after=1").send().await.unwrap()).await;
    assert_eq!(writes[0]["after"]["IsActive"], false);
    assert_eq!(writes[0]["actor"], "administrator");
    let requests = json_of(admin(Method::GET, "/requests").send().await.unwrap()).await;
    assert!(
        requests["counts"]
            .as_array()
            .unwrap()
            .contains(&json!({"system": "scim", "operation": "list", "status": 503, "count": 1}))
    );
    let date = guest.scim(Method::GET, "/Users").send().await.unwrap().headers()["date"].to_str().unwrap().to_owned();
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(&date).unwrap();
    assert!(
        date < jiff::Timestamp::now() - jiff::SignedDuration::from_mins(9),
        "the clock of the directory is ten minutes late"
    );
}

#[tokio::test]
async fn it_speaks_tls_with_its_own_authority_and_two_do_not_mix() {
    let one = Guest::start(SandboxSettings { scheme: Scheme::Https, users: 3, ..SandboxSettings::default() }).await;
    let other = Guest::start(SandboxSettings { scheme: Scheme::Https, users: 1, ..SandboxSettings::default() }).await;
    assert!(one.sandbox.scim_url().starts_with("https://"));
    one.create_scim_user("a@x.example").await;
    assert_eq!(one.sandbox.admin().accounts(System::Scim).len(), 1);
    assert_eq!(other.sandbox.admin().accounts(System::Scim).len(), 0);
    let stranger = other.client.get(one.sandbox.scim_url()).send().await;
    assert!(stranger.is_err(), "another authority's certificate is not trusted");
    let url = one.sandbox.scim_url();
    let (client, headers) = (one.client.clone(), HeaderMap::new());
    one.sandbox.shutdown().await.unwrap();
    assert!(client.get(url).headers(headers).send().await.is_err(), "nobody listens any more");
}
