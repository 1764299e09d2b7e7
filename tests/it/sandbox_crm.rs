//! The Salesforce org of the sandbox, as clients that write meet it.
#![allow(clippy::unwrap_used, reason = "clippy takes only test functions for tests, not what they share")]

use muster::sandbox::{SandboxSettings, System};
use reqwest::{Method, Response};
use serde_json::{Value, json};

use super::sandbox::{Guest, json_of};

const COLLECTIONS: &str = "/composite/sobjects";

impl Guest {
    /// Sends a body and reads the answer: its status, and its JSON or null.
    async fn send(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        read(self.salesforce(method, path).json(&body).send().await.unwrap()).await
    }

    async fn user(&self, name: &str) -> Value {
        let profile = json_of(self.query("SELECT Id FROM Profile LIMIT 1").await).await["records"][0]["Id"].clone();
        json!({"attributes": {"type": "User"}, "Username": name, "LastName": "New", "Email": name, "Alias": "new",
            "ProfileId": profile, "TimeZoneSidKey": "Europe/Paris", "LocaleSidKey": "fr_FR", "LanguageLocaleKey": "fr",
            "EmailEncodingKey": "UTF-8"})
    }

    /// Ids of the people of the org.
    fn user_ids(&self) -> Vec<String> {
        let users = self.sandbox.admin().accounts(System::Salesforce);
        let people = users.iter().filter(|user| user["UserType"] == "Standard");
        people.map(|user| user["Id"].as_str().unwrap().to_owned()).collect()
    }
}

async fn read(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (status, if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() })
}

fn records(all_or_none: bool, records: impl IntoIterator<Item = Value>) -> Value {
    json!({"allOrNone": all_or_none, "records": records.into_iter().collect::<Vec<_>>()})
}

fn change(object: &str, id: &str, fields: Value) -> Value {
    let mut record = fields;
    record["attributes"] = json!({"type": object});
    record["id"] = json!(id);
    record
}

/// The codes of the rows of an answer; empty for those that succeeded.
fn codes(answer: &Value) -> Vec<&str> {
    let rows = answer.as_array().unwrap().iter();
    rows.map(|row| row["errors"][0]["statusCode"].as_str().unwrap_or_default()).collect()
}

#[tokio::test]
async fn a_collection_has_a_result_for_each_row() {
    let guest = Guest::with_users(3).await;
    let admin = guest.sandbox.admin();
    let ids = guest.user_ids();
    let rows = [
        change("User", &ids[0], json!({"Title": "Agent"})),
        change("User", &ids[1], json!({"Username": "not an address"})),
        change("User", "003RM0000000001AAA", json!({"Title": "Agent"})),
        change("User", "005RM0000000001", json!({"Title": "Agent"})),
        change("User", &ids[2], json!({"LastName": null})),
        change("User", &ids[0], json!({"Title": "Chief"})),
        json!({"attributes": {"type": "User"}, "Title": "Nobody"}),
    ];
    let (status, answer) = guest.send(Method::PATCH, COLLECTIONS, records(false, rows)).await;
    assert_eq!(status, 200, "even though rows failed");
    assert_eq!(answer[0], json!({"id": ids[0], "success": true, "errors": []}));
    assert_eq!(
        codes(&answer),
        [
            "",
            "FIELD_INTEGRITY_EXCEPTION",
            "MALFORMED_ID",
            "INVALID_CROSS_REFERENCE_KEY",
            "REQUIRED_FIELD_MISSING",
            "DUPLICATE_VALUE",
            "MISSING_ARGUMENT"
        ]
    );
    assert_eq!(answer[2]["errors"][0]["fields"], json!(["Id"]));
    assert_eq!(answer[1].get("id"), None);
    let writes = admin.writes(0);
    assert_eq!(writes.len(), 1);
    assert_eq!((&writes[0].account, writes[0].after.as_ref().unwrap()["Title"].as_str()), (&ids[0], Some("Agent")));
    assert_eq!(admin.request_counts()[&(System::Salesforce, "update-many", 200)], 1);

    let mut users = Vec::new();
    for number in 0..200 {
        users.push(guest.user(&format!("u{number}@x.example")).await);
    }
    users[7]["Username"] = json!("U3@x.example");
    let (_, answer) = guest.send(Method::POST, COLLECTIONS, records(false, users)).await;
    let failed: Vec<_> = codes(&answer).into_iter().enumerate().filter(|(_, code)| !code.is_empty()).collect();
    assert_eq!(failed, [(7, "DUPLICATE_USERNAME")]);
    let created = admin.writes(1);
    assert_eq!(created.len(), 199);
    assert!(created.iter().all(|write| write.created && write.request == created[0].request), "of one request");
}

#[tokio::test]
async fn all_or_none_means_none_when_one_row_fails() {
    let guest = Guest::with_users(2).await;
    let ids = guest.user_ids();
    let before = guest.sandbox.admin().accounts(System::Salesforce);
    let rows = |last: Value| {
        let first = change("User", &ids[0], json!({"IsActive": false, "Title": "Gone"}));
        records(true, [first, change("User", &ids[1], last)])
    };
    let (status, answer) = guest.send(Method::PATCH, COLLECTIONS, rows(json!({"Alias": "much too long"}))).await;
    assert_eq!(status, 200);
    assert_eq!(codes(&answer), ["ALL_OR_NONE_OPERATION_ROLLED_BACK", "STRING_TOO_LONG"]);
    assert_eq!(answer[0]["id"], json!(ids[0]), "a row that was there keeps its id");
    let (_, answer) = {
        let rows = [guest.user("a@x.example").await, guest.user("A@x.example").await];
        guest.send(Method::POST, COLLECTIONS, records(true, rows)).await
    };
    assert_eq!(codes(&answer), ["ALL_OR_NONE_OPERATION_ROLLED_BACK", "DUPLICATE_USERNAME"]);
    assert_eq!(answer[0].get("id"), None);
    assert_eq!(guest.sandbox.admin().accounts(System::Salesforce), before);
    assert_eq!(guest.sandbox.admin().write_count(), 0);
    let free = guest.send(Method::POST, "/sobjects/User", guest.user("a@x.example").await).await;
    assert_eq!(free.0, 201, "the name is free again: {}", free.1);

    let (_, answer) = guest.send(Method::PATCH, COLLECTIONS, rows(json!({"Alias": "short"}))).await;
    assert_eq!(codes(&answer), ["", ""]);
    assert_eq!(guest.sandbox.admin().write_count(), 3);
}

#[tokio::test]
async fn what_is_wrong_with_a_whole_call_is_400_and_writes_nothing() {
    let guest = Guest::with_users(1).await;
    let ids = guest.user_ids();
    let good = || change("User", &ids[0], json!({"Title": "Agent"}));
    let contact = || json!({"attributes": {"type": "Contact"}, "LastName": "C"});
    let user = guest.user("u@x.example").await;
    for (method, path, body, code) in [
        (Method::PATCH, COLLECTIONS, records(false, (0..201).map(|_| good())), "EXCEEDED_ID_LIMIT"),
        (Method::POST, COLLECTIONS, records(false, [contact(), user]), "MIXED_DML_OPERATION"),
        (Method::PATCH, COLLECTIONS, records(false, [good(), json!({"id": "x"})]), "INVALID_INPUT"),
        (Method::PATCH, COLLECTIONS, json!({"rows": []}), "JSON_PARSER_ERROR"),
        (Method::PATCH, COLLECTIONS, records(false, [good(), change("Ship", "x", json!({}))]), "INVALID_TYPE"),
        (
            Method::PATCH,
            COLLECTIONS,
            records(false, [good(), change("User", &ids[0], json!({"Bogus": 1}))]),
            "DUPLICATE_VALUE",
        ),
        (
            Method::POST,
            COLLECTIONS,
            records(false, [contact(), json!({"attributes": {"type": "Contact"}, "Bogus": "x"})]),
            "INVALID_FIELD",
        ),
        (
            Method::PATCH,
            "/composite/sobjects/Contact/Email",
            records(false, [change("User", "x", json!({}))]),
            "INVALID_INPUT",
        ),
        (Method::PATCH, "/composite/sobjects/Contact/Title", records(false, [contact()]), "NOT_FOUND"),
        (
            Method::POST,
            "/composite/sobjects/User",
            json!({"ids": vec![&ids[0]; 2001], "fields": ["Id"]}),
            "EXCEEDED_ID_LIMIT",
        ),
    ] {
        let (status, answer) = guest.send(method, path, body).await;
        if code == "DUPLICATE_VALUE" {
            // Found at its row, before its fields are looked at.
            assert_eq!((status, codes(&answer)), (200, vec!["", code]));
            continue;
        }
        assert_eq!(status, if code == "NOT_FOUND" { 404 } else { 400 }, "{code}: {answer}");
        assert_eq!(answer[0]["errorCode"], code, "{answer}");
    }
    assert_eq!(guest.sandbox.admin().write_count(), 1);
}

#[tokio::test]
async fn rows_are_upserted_deleted_and_retrieved_together() {
    let guest = Guest::with_users(1).await;
    let contact = |email: &str, title: &str| json!({"attributes": {"type": "Contact"}, "Email": email, "LastName": "L", "Title": title});
    let path = "/composite/sobjects/Contact/Email";
    let rows = [contact("a@x.example", "1"), contact("b@x.example", "1"), contact("A@x.example", "2")];
    let (_, answer) = guest.send(Method::PATCH, path, records(false, rows)).await;
    assert_eq!(codes(&answer), ["", "", "DUPLICATE_VALUE"]);
    assert_eq!((&answer[0]["created"], &answer[1]["created"]), (&json!(true), &json!(true)));
    let mut nameless = contact("c@x.example", "1");
    nameless.as_object_mut().unwrap().remove("Email");
    let (_, again) = guest.send(Method::PATCH, path, records(false, [contact("A@x.example", "2"), nameless])).await;
    assert_eq!((&again[0]["created"], &again[0]["id"]), (&json!(false), &answer[0]["id"]));
    assert_eq!(codes(&again), ["", "MISSING_ARGUMENT"]);
    let twin = guest.send(Method::POST, "/sobjects/Contact", json!({"LastName": "T", "Email": "a@x.example"})).await.1;
    let (_, several) = guest.send(Method::PATCH, path, records(false, [contact("a@x.example", "3")])).await;
    assert_eq!(codes(&several), ["DUPLICATE_EXTERNAL_ID"]);

    let ids = [&answer[0]["id"], &twin["id"], &answer[1]["id"]].map(|id| id.as_str().unwrap().to_owned());
    let body = json!({"ids": [&ids[2], "003RM0000000001AAA", &ids[0]], "fields": ["Title", "Email"]});
    let (_, found) = guest.send(Method::POST, "/composite/sobjects/Contact", body).await;
    assert_eq!((&found[0]["Email"], &found[1], &found[2]["Title"]), (&json!("b@x.example"), &Value::Null, &json!("2")));
    let get = guest
        .salesforce(Method::GET, "/composite/sobjects/Contact")
        .query(&[("ids", &ids[0]), ("fields", &"Id".into())]);
    assert_eq!(read(get.send().await.unwrap()).await.1[0]["Id"], json!(ids[0]));

    let user = guest.user_ids().remove(0);
    let delete = |ids: String, all_or_none: &'static str| {
        guest.salesforce(Method::DELETE, COLLECTIONS).query(&[("ids", ids.as_str()), ("allOrNone", all_or_none)])
    };
    let (_, refused) = read(delete(format!("{},{user},nonsense", ids[0]), "true").send().await.unwrap()).await;
    assert_eq!(
        codes(&refused),
        ["ALL_OR_NONE_OPERATION_ROLLED_BACK", "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", "MALFORMED_ID"]
    );
    assert_eq!(refused[0]["id"], json!(ids[0]));
    let (_, deleted) = read(delete(ids.join(","), "false").send().await.unwrap()).await;
    assert_eq!(codes(&deleted), ["", "", ""]);
    let (_, twice) = read(delete(ids[0].clone(), "false").send().await.unwrap()).await;
    assert_eq!(codes(&twice), ["ENTITY_IS_DELETED"]);
    assert_eq!(guest.sandbox.admin().records(System::Salesforce, "Contact"), [Value::Null; 0]);
}

/// F02, F10, F19: what may go wrong in the middle of a collection.
#[tokio::test]
async fn faults_strike_single_rows_or_the_whole_of_a_collection() {
    let guest = Guest::with_users(9).await;
    let admin = guest.sandbox.admin();
    let ids = guest.user_ids();
    let titles = |admin: &muster::sandbox::Admin, title: &str| {
        admin.accounts(System::Salesforce).iter().filter(|user| user["Title"] == title).count()
    };
    let rows = |title: &str| records(false, ids.iter().map(|id| change("User", id, json!({"Title": title}))));
    let on = json!({"path": "/composite/sobjects", "times": 1});
    guest.inject(json!({"on": on, "effect": {"kind": "refuse-rows", "code": "UNABLE_TO_LOCK_ROW",
        "message": "unable to obtain exclusive access to this record", "every": 4}}));
    let (_, answer) = guest.send(Method::PATCH, COLLECTIONS, rows("A")).await;
    assert_eq!(codes(&answer).iter().filter(|code| **code == "UNABLE_TO_LOCK_ROW").count(), 2);
    assert_eq!(titles(&admin, "A"), 7);

    guest.inject(json!({"on": on, "effect": {"kind": "refuse-rows", "code": "FIELD_CUSTOM_VALIDATION_EXCEPTION",
        "message": "Not him.", "fields": ["Title"], "containing": ids[3]}}));
    let (_, answer) = guest.send(Method::PATCH, COLLECTIONS, rows("B")).await;
    let error = json!({"statusCode": "FIELD_CUSTOM_VALIDATION_EXCEPTION", "message": "Not him.", "fields": ["Title"]});
    assert_eq!(answer[3], json!({"success": false, "errors": [error]}));
    assert_eq!(titles(&admin, "B"), 8);
    let path = format!("/sobjects/User/{}", ids[3]);
    guest.inject(
        json!({"on": {"path": path, "times": 1}, "effect": {"kind": "refuse-rows", "code": "UNABLE_TO_LOCK_ROW"}}),
    );
    let (status, refused) = guest.send(Method::PATCH, &path, json!({"Title": "B"})).await;
    assert_eq!((status, &refused[0]["errorCode"]), (400, &json!("UNABLE_TO_LOCK_ROW")));

    for (effect, title, written) in [
        (json!({"kind": "rows-then-cut", "rows": 5}), "C", 5),
        (json!({"kind": "rows-then-cut", "rows": 0}), "D", 0),
        (json!({"kind": "applied-then-cut"}), "E", 9),
        (json!({"kind": "applied-then-status", "status": 500}), "F", 9),
    ] {
        guest.inject(json!({"on": on, "effect": effect}));
        let answer = guest.salesforce(Method::PATCH, COLLECTIONS).json(&rows(title)).send().await;
        assert!(answer.map_or(true, |answer| answer.status() == 500), "{effect}");
        assert_eq!(titles(&admin, title), written, "{effect}");
    }
    guest.inject(json!({"on": on, "effect": {"kind": "applied-then-hang"}}));
    let request = tokio::spawn(guest.salesforce(Method::PATCH, COLLECTIONS).json(&rows("G")).send());
    admin.wait_until(|admin| admin.held() == 1).await;
    assert_eq!(titles(&admin, "G"), 9, "written, and nobody knows");
    request.abort();
    admin.release();
}

#[tokio::test]
async fn a_condition_is_about_the_last_change_by_a_person_or_a_client() {
    let guest = Guest::with_users(1).await;
    let admin = guest.sandbox.admin();
    let id = guest.user_ids().remove(0);
    let path = format!("/sobjects/User/{id}");
    let stamps = || {
        let user = admin.account(System::Salesforce, &id).unwrap();
        ["LastModifiedDate", "SystemModstamp"]
            .map(|field| user[field].as_str().unwrap().parse::<jiff::Timestamp>().unwrap())
    };
    let send = |method: Method, header: &'static str, at: jiff::Timestamp| {
        let date = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&at).unwrap();
        guest.salesforce(method, &path).header(header, date).json(&json!({"Title": "x"})).send()
    };
    let [modified, _] = stamps();
    // A background job of the org moves one of the stamps.
    let later = modified + jiff::SignedDuration::from_secs(30);
    admin.edit(System::Salesforce, &id, &json!({"SystemModstamp": later.to_string()})).unwrap();
    assert_eq!(stamps(), [modified, later]);
    assert_eq!(send(Method::GET, "If-Modified-Since", modified).await.unwrap().status(), 304);
    let earlier = modified - jiff::SignedDuration::from_secs(1);
    assert_eq!(send(Method::GET, "If-Modified-Since", earlier).await.unwrap().status(), 200);
    assert_eq!(send(Method::GET, "If-Unmodified-Since", earlier).await.unwrap().status(), 412);
    assert_eq!(send(Method::PATCH, "If-Unmodified-Since", earlier).await.unwrap().status(), 412);
    // On a write it is no condition.
    assert_eq!(send(Method::PATCH, "If-Modified-Since", later).await.unwrap().status(), 204);
    let [modified, stamp] = stamps();
    assert_eq!(modified, stamp, "a write moves both");
    // Twice in a second: the stamp cannot tell.
    assert_eq!(send(Method::PATCH, "If-Unmodified-Since", stamp).await.unwrap().status(), 204);
    let by_key = format!(
        "/sobjects/User/Username/{}",
        admin.account(System::Salesforce, &id).unwrap()["Username"].as_str().unwrap()
    );
    let upsert =
        guest.salesforce(Method::PATCH, &by_key).header("If-Unmodified-Since", "Thu, 01 Jan 2015 00:00:00 GMT");
    assert_eq!(upsert.json(&json!({"Title": "y"})).send().await.unwrap().status(), 412);
    let wrong = guest.salesforce(Method::PATCH, &path).header("If-Unmodified-Since", "soon").json(&json!({}));
    assert_eq!(wrong.send().await.unwrap().status(), 400);
}

#[tokio::test]
async fn a_write_by_external_id_is_told_apart_from_one_that_cannot_be() {
    let settings = SandboxSettings { users: 2, ..SandboxSettings::default() };
    let guest = Guest::start(settings).await;
    let admin = guest.sandbox.admin();
    let ids = guest.user_ids();
    admin.edit(System::Salesforce, &ids[0], &json!({"Partner_Id__c": "p 1/2"})).unwrap();
    let path = "/sobjects/User/Partner_Id__c/p%201%2F2";
    assert_eq!(guest.send(Method::PATCH, path, json!({"Title": "A"})).await.0, 200);
    assert_eq!(guest.send(Method::POST, &format!("{path}?_HttpMethod=PATCH"), json!({"Title": "B"})).await.0, 200);
    assert_eq!(admin.account(System::Salesforce, &ids[0]).unwrap()["Title"], "B");
    for (path, body, status, code) in [
        (path, json!({"Partner_Id__c": "p 1/2"}), 400, "INVALID_FIELD"),
        (path, json!({"Id": ids[0]}), 400, "INVALID_FIELD"),
        ("/sobjects/User/Partner_Id__c/none?updateOnly=true", json!({"Title": "A"}), 404, "NOT_FOUND"),
        ("/sobjects/User/CommunityNickname/x", json!({"Title": "A"}), 404, "NOT_FOUND"),
        ("/sobjects/User/Email/a@x.inc", json!({"Title": "A"}), 404, "NOT_FOUND"),
    ] {
        let (answered, answer) = guest.send(Method::PATCH, path, body).await;
        assert_eq!((answered, &answer[0]["errorCode"]), (status, &json!(code)), "{path}");
    }
    let values = "'p 1/2','P 1/2','nobody'";
    let found = json_of(guest.query(&format!("SELECT Id FROM User WHERE Partner_Id__c IN ({values})")).await).await;
    assert_eq!((&found["totalSize"], &found["records"][0]["Id"]), (&json!(1), &json!(ids[0])));
}

#[tokio::test]
async fn contacts_are_seeded_described_queried_and_end_in_the_recycle_bin() {
    let guest = Guest::start(SandboxSettings { contacts: 30, ..SandboxSettings::default() }).await;
    let admin = guest.sandbox.admin();
    let describe = json_of(guest.salesforce(Method::GET, "/sobjects/Contact/describe").send().await.unwrap()).await;
    let field = |name: &str| {
        let fields = describe["fields"].as_array().unwrap();
        fields.iter().find(|field| field["name"] == name).unwrap_or_else(|| panic!("no {name}")).clone()
    };
    assert_eq!(field("Name")["createable"], false);
    assert_eq!(
        (&field("LastName")["nillable"], &field("AccountId")["referenceTo"]),
        (&json!(false), &json!(["Account"]))
    );
    assert_eq!(
        (&field("HasOptedOutOfEmail")["type"], &field("IsDeleted")["updateable"]),
        (&json!("boolean"), &json!(false))
    );
    assert_eq!(
        (&field("Partner_Id__c")["externalId"], &field("Partner_Id__c")["unique"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(describe["deletable"], true);

    let soql = "SELECT Id, Name, Account.Name, Owner.Username FROM Contact WHERE HasOptedOutOfEmail = false ORDER BY SystemModstamp, Id";
    let (found, _) = guest.query_all(soql).await;
    assert!(found.len() > 20 && found.len() < 30, "those who left have opted out");
    assert!(found.iter().any(|contact| contact["Account"]["Name"] == "Sandbox Ltd."));
    assert!(found.iter().all(|contact| contact["Owner"]["Username"] == "integration@sandbox.example"));

    let [one, two] = [&found[0]["Id"], &found[1]["Id"]].map(|id| id.as_str().unwrap().to_owned());
    assert_eq!(guest.send(Method::DELETE, &format!("/sobjects/Contact/{one}"), json!({})).await.0, 204);
    let deleted = |id: String| {
        let guest = &guest;
        async move {
            let soql = format!("SELECT IsDeleted, MasterRecordId FROM Contact WHERE Id = '{id}'");
            let all = guest.salesforce(Method::GET, "/queryAll").query(&[("q", soql)]);
            json_of(all.send().await.unwrap()).await["records"][0].clone()
        }
    };
    assert_eq!(deleted(one.clone()).await["IsDeleted"], true);
    admin.undelete("Contact", &one).unwrap();
    assert_eq!(guest.send(Method::PATCH, &format!("/sobjects/Contact/{one}"), json!({"Title": "Back"})).await.0, 204);
    assert!(admin.undelete("Contact", &one).is_err());
    admin.merge("Contact", &one, &two).unwrap();
    let merged = deleted(two.clone()).await;
    assert_eq!((&merged["IsDeleted"], &merged["MasterRecordId"]), (&json!(true), &json!(one)));
    assert_eq!(guest.send(Method::GET, &format!("/sobjects/Contact/{two}"), json!({})).await.0, 404);
    let log: Vec<_> = admin.writes(0).into_iter().map(|write| (write.method, write.object, write.created)).collect();
    assert_eq!(
        log.iter().map(|(method, _, _)| *method).collect::<Vec<_>>(),
        ["DELETE", "PATCH", "PATCH", "PATCH", "DELETE"]
    );
    assert!(log.iter().all(|(_, object, created)| object == "Contact" && !created));
    assert!(admin.merge("User", &guest.user_ids().pop().unwrap_or_default(), "x").is_err());
}

#[tokio::test]
async fn a_duplicate_rule_warns_or_blocks() {
    use muster::sandbox::{DuplicateRule, SalesforceEdit};
    let guest = Guest::with_users(0).await;
    let contact = || json!({"LastName": "Twin", "Email": "Twin@x.example"});
    let create = |allow: &'static str| {
        let request = guest.salesforce(Method::POST, "/sobjects/Contact").json(&contact());
        let request =
            request.header("Sforce-Duplicate-Rule-Header", format!("includeRecordDetails=true; allowSave={allow}"));
        async { read(request.send().await.unwrap()).await }
    };
    let (_, first) = create("false").await;
    for (rule, allow, status) in [
        (DuplicateRule::Off, "false", 201),
        (DuplicateRule::Alert, "false", 400),
        (DuplicateRule::Alert, "true", 201),
        (DuplicateRule::Block, "true", 400),
    ] {
        let edit = SalesforceEdit { duplicate_rule: Some(rule), ..SalesforceEdit::default() };
        guest.sandbox.admin().configure_salesforce(edit).unwrap();
        let (answered, answer) = create(allow).await;
        assert_eq!(answered, status, "{rule:?} {allow}: {answer}");
        if status == 400 {
            assert_eq!(answer[0]["errorCode"], "DUPLICATES_DETECTED");
            let found = &answer[0]["duplicateResut"];
            assert_eq!(found["allowSave"], rule == DuplicateRule::Alert);
            assert_eq!(found["matchResults"][0]["matchRecords"][0]["record"]["Id"], first["id"]);
        }
    }
    let mut row = contact();
    row["attributes"] = json!({"type": "Contact"});
    let (status, answer) = guest.send(Method::POST, COLLECTIONS, records(false, [row])).await;
    assert_eq!((status, codes(&answer)), (200, vec!["DUPLICATES_DETECTED"]));
    let path = format!("/sobjects/Contact/{}", first["id"].as_str().unwrap());
    let unchanged = guest.send(Method::PATCH, &path, json!({"Email": "twin@X.example"})).await.0;
    assert_eq!(guest.send(Method::PATCH, &path, json!({"Title": "T"})).await.0, 204, "only a new address is looked up");
    assert_eq!(unchanged, 400);
}

/// A token request with an assertion, and what came of it.
async fn bear(guest: &Guest, key: &str, algorithm: jsonwebtoken::Algorithm, claims: &Value) -> (u16, Value) {
    use jsonwebtoken::{EncodingKey, Header, encode};
    let key = match algorithm {
        jsonwebtoken::Algorithm::HS256 => EncodingKey::from_secret(b"secret"),
        _ => EncodingKey::from_rsa_pem(key.as_bytes()).unwrap(),
    };
    let assertion = encode(&Header::new(algorithm), claims, &key).unwrap();
    let form = [("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), ("assertion", assertion.as_str())];
    let url = format!("{}/services/oauth2/token", guest.sandbox.salesforce_url());
    read(guest.client.post(url).form(&form).send().await.unwrap()).await
}

#[tokio::test]
async fn an_assertion_is_taken_or_refused_as_documented() {
    use jsonwebtoken::Algorithm::{HS256, RS256, RS384};
    use muster::sandbox::{ClientKey, INTEGRATION_USERNAME, PermittedUsers, SalesforceEdit};
    use secrecy::ExposeSecret;
    let [key, other] = [(); 2].map(|()| ClientKey::generate().unwrap());
    let settings =
        SandboxSettings { users: 1, certificate_pem: Some(key.certificate_pem.clone()), ..SandboxSettings::default() };
    let guest = Guest::start(settings).await;
    let admin = guest.sandbox.admin();
    let somebody = admin.account(System::Salesforce, &guest.user_ids()[0]).unwrap()["Username"].clone();
    let now = jiff::Timestamp::now().as_second();
    let good = json!({"iss": guest.sandbox.client_id(), "sub": INTEGRATION_USERNAME, "aud": "https://login.salesforce.com", "exp": now + 170});
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        claims
    };
    let private = key.private_pem.expose_secret();
    for claims in [
        good.clone(),
        with("aud", json!(guest.sandbox.salesforce_url())),
        with("exp", json!((now + 170).to_string())),
        with("exp", json!(now - 100)),
        with("sub", json!(INTEGRATION_USERNAME.to_uppercase())),
    ] {
        let (status, answer) = bear(&guest, private, RS256, &claims).await;
        assert_eq!(status, 200, "{claims}: {answer}");
        let mut names: Vec<_> = answer.as_object().unwrap().keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["access_token", "id", "instance_url", "scope", "token_type"]);
        let url = format!("{}/services/oauth2/userinfo", guest.sandbox.salesforce_url());
        let who = guest.client.get(url).bearer_auth(answer["access_token"].as_str().unwrap());
        assert_eq!(json_of(who.send().await.unwrap()).await["preferred_username"], INTEGRATION_USERNAME);
    }
    let stranger = other.private_pem.expose_secret();
    for (key, algorithm, claims, error, description) in [
        (private, RS256, with("iss", json!("nobody")), "invalid_client_id", "client identifier invalid"),
        (stranger, RS256, good.clone(), "invalid_grant", "invalid assertion"),
        (private, HS256, good.clone(), "invalid_grant", "invalid assertion"),
        (private, RS384, good.clone(), "invalid_grant", "invalid assertion"),
        (private, RS256, with("exp", Value::Null), "invalid_grant", "invalid assertion"),
        (private, RS256, with("aud", json!("https://example.com")), "invalid_grant", "audience is invalid"),
        (private, RS256, with("exp", json!(now - 200)), "invalid_grant", "expired authorization code"),
        (private, RS256, with("exp", json!(now + 3600)), "invalid_grant", "expired authorization code"),
        (
            private,
            RS256,
            with("sub", somebody.clone()),
            "invalid_app_access",
            "user is not admin approved to access this app",
        ),
        (
            private,
            RS256,
            with("sub", json!("no@x.example")),
            "invalid_app_access",
            "user is not admin approved to access this app",
        ),
    ] {
        let (status, answer) = bear(&guest, key, algorithm, &claims).await;
        let expected = json!({"error": error, "error_description": description});
        assert_eq!((status, answer), (400, expected), "{claims}");
    }
    let edit = SalesforceEdit { permitted_users: Some(PermittedUsers::SelfAuthorized), ..SalesforceEdit::default() };
    admin.configure_salesforce(edit).unwrap();
    let (_, answer) = bear(&guest, private, RS256, &with("sub", somebody)).await;
    assert_eq!(answer["error_description"], "user hasn't approved this consumer");
    // The org's clock decides, not the client's.
    admin.set_clock(System::Salesforce, 600_000);
    assert_eq!(bear(&guest, private, RS256, &good).await.1["error_description"], "expired authorization code");

    let without = Guest::with_users(0).await;
    assert_eq!(bear(&without, private, RS256, &good).await.1["error"], "invalid_client");
}

/// A query goes by GET only, so its list of ids ends where the URI does.
#[tokio::test]
async fn a_list_of_ids_is_as_long_as_a_uri_may_be() {
    let guest = Guest::with_users(3).await;
    let ids = guest.user_ids();
    let soql = |count: usize| {
        let others = (0..count).map(|number| format!("'005{number:012}'"));
        let list: Vec<String> = ids.iter().map(|id| format!("'{id}'")).chain(others).collect();
        format!("SELECT Id FROM User WHERE Id IN ({})", list.join(","))
    };
    let found = json_of(guest.query(&soql(500)).await).await;
    assert_eq!(found["totalSize"], 3);
    assert_eq!(guest.query(&soql(900)).await.status(), 414);
    let post = guest.salesforce(Method::POST, "/query").form(&[("q", soql(1))]).send().await.unwrap();
    assert_eq!(post.status(), 405);
    let all = |count: usize| {
        let ids = vec![ids[0].as_str(); count].join(",");
        guest.salesforce(Method::GET, "/composite/sobjects/User").query(&[("ids", ids.as_str()), ("fields", "Id")])
    };
    assert_eq!(json_of(all(600).send().await.unwrap()).await.as_array().unwrap().len(), 600);
    assert_eq!(all(900).send().await.unwrap().status(), 414);
}

/// Five queries cost one call of the quota, and each is answered or refused for itself.
#[tokio::test]
async fn several_queries_are_one_call() {
    let guest = Guest::with_users(3).await;
    let get = |number: usize, soql: &str| {
        let query = url::form_urlencoded::Serializer::new(String::new()).append_pair("q", soql).finish();
        let url = format!("/services/data/v66.0/query?{query}");
        json!({"method": "GET", "url": url, "referenceId": format!("q{number}")})
    };
    let send =
        async |parts: Vec<Value>| guest.send(Method::POST, "/composite", json!({ "compositeRequest": parts })).await;
    let used = async || {
        let answer = guest.salesforce(Method::GET, "/limits").send().await.unwrap();
        let usage = answer.headers()["sforce-limit-info"].to_str().unwrap().to_owned();
        usage.trim_start_matches("api-usage=").split('/').next().unwrap().parse::<u64>().unwrap()
    };
    let before = used().await;
    let (status, answer) = send(vec![get(0, "SELECT Id FROM User LIMIT 2"), get(1, "SELECT Nothing FROM User")]).await;
    assert_eq!((status, used().await), (200, before + 2), "this question costs one itself");
    let [good, bad] = answer["compositeResponse"].as_array().unwrap().as_slice() else { panic!("{answer}") };
    assert_eq!((&good["httpStatusCode"], good["body"]["records"].as_array().unwrap().len()), (&json!(200), 2));
    assert_eq!((&bad["httpStatusCode"], &bad["body"][0]["errorCode"]), (&json!(400), &json!("INVALID_FIELD")));
    assert_eq!((&good["referenceId"], &bad["referenceId"]), (&json!("q0"), &json!("q1")));

    // A write, and a query that sees it only where their order is promised.
    let id = &good["body"]["records"][0]["Id"];
    let read = get(1, &format!("SELECT Title FROM User WHERE Id = '{}'", id.as_str().unwrap()));
    for (title, collated) in [("Collated", true), ("In order", false)] {
        let record = json!({"attributes": {"type": "User"}, "id": id, "Title": title});
        let body = json!({"allOrNone": false, "records": [record]});
        let url = "/services/data/v66.0/composite/sobjects";
        let write = json!({"method": "PATCH", "url": url, "referenceId": "w", "body": body});
        let both = json!({"collateSubrequests": collated, "compositeRequest": [write, read.clone()]});
        let (status, answer) = guest.send(Method::POST, "/composite", both).await;
        let parts = &answer["compositeResponse"];
        assert_eq!((status, &parts[0]["body"][0]["success"]), (200, &json!(true)), "{answer}");
        assert_eq!(parts[1]["body"]["records"][0]["Title"] == title, !collated, "{answer}");
    }

    let query = "SELECT Id FROM User LIMIT 1";
    let mut with_header = get(0, query);
    with_header["httpHeaders"] = json!({"Authorization": "Bearer x"});
    for parts in [
        vec![],
        (0..6).map(|number| get(number, query)).collect(),
        vec![get(1, query), get(1, query)],
        vec![with_header],
        vec![json!({"method": "DELETE", "url": "/services/data/v66.0/sobjects/User/005", "referenceId": "d"})],
        vec![json!({"method": "GET", "url": "https://elsewhere.example/", "referenceId": "q0"})],
    ] {
        assert_eq!(send(parts).await.0, 400);
    }
}
