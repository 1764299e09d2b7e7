//! The Salesforce connector against an org that answers by script.

use std::sync::atomic::{AtomicUsize, Ordering};

use muster::domain::{AccountId, FailureClass, Timestamp, Value};
use muster::systems::salesforce::remedy;
use muster::systems::{Lookup, Next, ReadFrom, Record, SearchKey, System};
use serde_json::{Value as Json, json};

use super::{Asked, Reply, Server, salesforce, salesforce_with};

/// Any time after the stamps of these tests.
const DATE: &str = "Sat, 21 Nov 2026 12:00:00 GMT";

/// An org: it gives tokens, and this is what it answers to everything else.
async fn org(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Server {
    let tokens = AtomicUsize::new(0);
    Server::start(move |asked| match asked.path.as_str() {
        "/services/oauth2/token" => {
            let number = tokens.fetch_add(1, Ordering::SeqCst) + 1;
            let instance = format!("http://{}/", asked.header("host").unwrap());
            Reply::json(200, json!({"access_token": format!("token-{number}"), "instance_url": instance}))
                .with("date", DATE)
        }
        _ => answer(asked).with("date", DATE),
    })
    .await
}

fn user(number: usize, stamp: &str) -> Json {
    json!({"Id": id(number).as_str(), "SystemModstamp": stamp, "Username": format!("u{number}@x.example"), "IsActive": true})
}

fn id(number: usize) -> AccountId {
    muster::systems::salesforce::parse_id(&format!("005{number:012}")).unwrap()
}

fn rows(total: usize, records: &[Json], next: Option<&str>) -> Reply {
    let mut page = json!({"totalSize": total, "done": next.is_none(), "records": records});
    if let Some(locator) = next {
        page["nextRecordsUrl"] = json!(format!("/services/data/v66.0/query/{locator}"));
    }
    Reply::json(200, page)
}

fn data(name: &str, status: u16) -> Reply {
    let path = format!("{}/tests/data/salesforce/{name}", env!("CARGO_MANIFEST_DIR"));
    Reply { body: std::fs::read(path).unwrap(), ..Reply::json(status, "") }
}

const STAMP: &str = "2026-11-21T10:15:30.000+0000";

#[tokio::test]
async fn a_user_is_read_under_canonical_names() {
    let server = org(|_| data("page.json", 200).with("sforce-limit-info", "api-usage=18/5000")).await;
    let crm = salesforce_with(&server.url, &["iAdvize_Sync__c", "Seats__c", "Score__c"]);
    let page = crm.read(&ReadFrom::Start).await.unwrap();
    let [Record::Account(snapshot)] = &page.records[..] else { panic!("{page:?}") };
    assert_eq!(snapshot.account.as_str(), "005RM000001iKYtYAM");
    assert_eq!(snapshot.version.modified_at.unwrap().to_string(), "2026-11-21T10:15:30Z");
    let enterprise = |name: &str| format!("urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:{name}");
    for (path, expected) in [
        ("userName", Some(Value::from("ada@x.example"))),
        ("displayName", Some("Ada Lovelace".into())),
        ("nickName", Some("ada".into())),
        ("emails", Some("ada@x.example".into())),
        ("phoneNumbers", None),
        ("phoneNumbers.mobile", Some("+44 20 5550100".into())),
        ("title", None),
        (&enterprise("department"), Some("Support".into())),
        ("locale", Some("en-US".into())),
        ("preferredLanguage", Some("fr".into())),
        ("timezone", Some("Europe/Paris".into())),
        ("active", Some(true.into())),
        ("native.iAdvize_Sync__c", Some(true.into())),
        ("native.Seats__c", Some(Value::Int(3))),
        ("native.Score__c", Some("3.5".into())),
    ] {
        assert_eq!(snapshot.attributes.get(&path.parse().unwrap()), Some(&expected), "{path}");
    }
    assert_eq!(crm.report().usage, Some((18, 5000)));
    assert!(server.asked()[0].header("authorization").unwrap().starts_with("Basic "));
    assert_eq!(server.asked()[1].header("authorization"), Some("Bearer token-1"));
}

/// B12: one unbroken query that gave as many rows as it said, and a count that is still the same.
#[tokio::test]
async fn a_complete_read_proves_itself_in_few_calls() {
    for (count_at_the_end, proven) in [(3_000, true), (3_001, false)] {
        let server = org(move |asked| match asked.param("q") {
            Some(soql) if soql.starts_with("SELECT COUNT()") => rows(count_at_the_end, &[], None),
            Some(_) => rows(3_000, &(0..2_000).map(|n| user(n, STAMP)).collect::<Vec<_>>(), Some("01g-2000")),
            None => rows(3_000, &(2_000..3_000).map(|n| user(n, STAMP)).collect::<Vec<_>>(), None),
        })
        .await;
        let crm = salesforce(&server.url);
        let first = crm.read(&ReadFrom::Start).await.unwrap();
        assert_eq!((first.records.len(), first.expected), (2_000, Some(3_000)));
        let Next::Page(position) = first.next else { panic!("{:?}", first.next) };
        let last = crm.read(&ReadFrom::Position(position)).await.unwrap();
        // An hour and more has passed since the last change, so the clock carries the watermark.
        let watermark = Some("2026-11-21T11:45:00Z".to_owned());
        assert_eq!(last.next, Next::End { watermark, proven_complete: proven, unsettled: None });
        assert_eq!(server.asked_for("/query").len(), 3, "at most three calls per thousand accounts");
    }
}

#[tokio::test]
async fn one_answer_needs_no_second_count() {
    let server = org(|_| rows(1, &[user(1, STAMP)], None)).await;
    let page = salesforce(&server.url).read(&ReadFrom::Start).await.unwrap();
    assert!(matches!(page.next, Next::End { proven_complete: true, .. }), "{:?}", page.next);
    assert_eq!(server.asked().len(), 2);
}

/// R82: a cursor that died is begun again behind the last row by (stamp, id); equal stamps are not skipped.
#[tokio::test]
async fn a_dead_cursor_goes_on_from_the_keyset() {
    let server = org(|asked| match asked.param("q") {
        None => data("error_locator.json", 400),
        Some(soql) if soql.contains("Id >") => rows(1, &[user(3, STAMP)], None),
        Some(_) => rows(3, &[user(1, STAMP), user(2, STAMP)], Some("01g-2")),
    })
    .await;
    let crm = salesforce(&server.url);
    let Next::Page(position) = crm.read(&ReadFrom::Start).await.unwrap().next else { panic!() };
    let page = crm.read(&ReadFrom::Position(position)).await.unwrap();
    assert_eq!(page.records.len(), 1);
    assert!(matches!(page.next, Next::End { proven_complete: false, .. }), "rows may have come twice: {:?}", page.next);
    let restart = server.asked().pop().unwrap();
    let condition = "WHERE (SystemModstamp = 2026-11-21T10:15:30Z AND Id > '005000000000002AAA') \
                     OR SystemModstamp > 2026-11-21T10:15:30Z ORDER BY SystemModstamp, Id";
    assert!(restart.param("q").unwrap().ends_with(condition), "{:?}", restart.param("q"));
}

/// R82: incremental reads overlap.
#[tokio::test]
async fn an_incremental_read_begins_at_its_watermark() {
    let server = org(|_| rows(1, &[user(1, "2026-11-21T11:59:30.000+0000")], None)).await;
    let crm = salesforce(&server.url);
    let page = crm.read(&ReadFrom::Watermark("2026-11-21T11:50:00Z".into())).await.unwrap();
    let watermark = Some("2026-11-21T11:58:30Z".to_owned());
    assert_eq!(page.next, Next::End { watermark, proven_complete: false, unsettled: None });
    let soql = server.asked().pop().unwrap();
    assert!(soql.param("q").unwrap().contains("WHERE SystemModstamp >= 2026-11-21T11:50:00Z ORDER BY"));
}

#[tokio::test]
async fn an_account_read_in_the_second_of_its_change_is_unsettled() {
    let server = org(|_| rows(1, &[user(1, "2026-11-21T12:00:00.000+0000")], None)).await;
    let page = salesforce(&server.url).read(&ReadFrom::Start).await.unwrap();
    assert!(matches!(page.next, Next::End { unsettled: Some(_), .. }), "{:?}", page.next);
}

#[tokio::test]
async fn an_expired_session_is_renewed_once_for_all() {
    let server = org(|asked| match asked.header("authorization") {
        Some("Bearer token-1") => data("error_session_expired.json", 401),
        _ => rows(1, &[user(1, STAMP)], None),
    })
    .await;
    let crm = salesforce(&server.url);
    let start = ReadFrom::Start;
    let reads = (0..10).map(|_| crm.read(&start));
    for page in futures_util::future::join_all(reads).await {
        assert_eq!(page.unwrap().records.len(), 1);
    }
    assert_eq!(server.asked_for("token").len(), 2);
}

#[tokio::test]
async fn a_session_that_stays_refused_is_renewed_once_and_no_more() {
    for (body, tokens) in [("error_session_expired.json", 2), ("error_token.json", 1)] {
        let server = org(move |_| data(body, 401)).await;
        let failure = salesforce(&server.url).read(&ReadFrom::Start).await.unwrap_err();
        assert_eq!(failure.class, FailureClass::Unauthorised, "{body}");
        assert_eq!(server.asked_for("token").len(), tokens, "{body}");
    }
}

#[tokio::test]
async fn a_refused_secret_is_asked_for_once_by_all_who_wait() {
    let server = Server::start(|_| data("error_token.json", 400)).await;
    let crm = salesforce(&server.url);
    let start = ReadFrom::Start;
    for page in futures_util::future::join_all((0..5).map(|_| crm.read(&start))).await {
        let failure = page.unwrap_err();
        assert_eq!((failure.class, failure.code.as_str()), (FailureClass::Unauthorised, "no_run_as_user"));
        assert!(remedy(&failure.code).unwrap().contains("run-as user"));
    }
    assert_eq!(server.asked().len(), 1);
}

/// R6: a field that cannot be read is named, and the rest goes on without it.
#[tokio::test]
async fn a_hidden_field_is_left_out_and_named() {
    let server = org(|asked| match asked.path.rsplit('/').next().unwrap() {
        "limits" => Reply::json(200, json!({"DailyApiRequests": {"Max": 100, "Remaining": 3}})),
        "describe" => {
            let names = ["Id", "Username", "FirstName", "LastName", "Name", "Alias", "Email", "Phone", "Title"];
            let fields = names.map(|name| json!({"name": name, "type": "string"}));
            Reply::json(200, json!({ "fields": fields }))
        }
        _ if asked.param("q").unwrap().contains("MobilePhone") => data("error_invalid_field.json", 400),
        _ => rows(1, &[user(1, STAMP)], None),
    })
    .await;
    let crm = salesforce(&server.url);
    assert_eq!(crm.read(&ReadFrom::Start).await.unwrap().records.len(), 1);
    crm.read(&ReadFrom::Start).await.unwrap();
    assert_eq!(server.asked_for("describe").len(), 1, "what is hidden is remembered");
    let problems: Vec<_> = crm.preflight().await.into_iter().filter(|finding| finding.problem.is_some()).collect();
    let subjects: Vec<_> = problems.iter().map(|finding| finding.subject.as_str()).collect();
    assert_eq!(subjects[..2], ["quota", "field User.MobilePhone"]);
}

/// R48: either form of an id finds the same user. B12: only a whole answer proves an absence.
#[tokio::test]
async fn users_are_looked_up_by_id_in_short_addresses() {
    let server = org(|asked| {
        let soql = asked.param("q").unwrap();
        let found: Vec<Json> =
            (0..900).filter(|n| soql.contains(&format!("'{}'", id(*n)))).map(|n| user(n, STAMP)).collect();
        rows(found.len(), &found, None)
    })
    .await;
    let crm = salesforce(&server.url);
    let mut ids: Vec<AccountId> = (0..1_000).map(id).collect();
    ids.push("005000000000007".parse().unwrap());
    ids.push("no-such-form".parse().unwrap());
    let lookups = crm.get(&ids).await.unwrap();
    assert_eq!(lookups.len(), ids.len());
    for (number, lookup) in lookups[..1_000].iter().enumerate() {
        match lookup {
            Lookup::Found(snapshot) => assert!(number < 900 && snapshot.account == id(number)),
            Lookup::Absent(asked_at) => assert!(number >= 900 && *asked_at > Timestamp(0)),
            Lookup::Unreadable { .. } => panic!("{number}"),
        }
    }
    assert_eq!(lookups[1_000], lookups[7]);
    assert!(matches!(&lookups[1_001], Lookup::Unreadable { code, .. } if code.as_str() == "invalid_id"));
    let longest = server.asked().iter().map(|asked| asked.address_bytes).max().unwrap();
    assert!(longest <= 14_000, "{longest} bytes");
}

#[tokio::test]
async fn an_answer_with_rows_missing_proves_no_absence() {
    let server = org(|_| rows(2, &[user(1, STAMP)], None)).await;
    let failure = salesforce(&server.url).get(&[id(1), id(2)]).await.unwrap_err();
    assert_eq!((failure.class, failure.code.as_str()), (FailureClass::Transient, "unreadable_answer"));
}

#[tokio::test]
async fn a_search_escapes_and_verifies() {
    let server = org(|_| rows(2, &[user(1, STAMP), user(2, STAMP)], None)).await;
    let crm = salesforce(&server.url);
    let search = async |value: &str| {
        let key = SearchKey::Attribute("userName".parse().unwrap(), value.to_owned());
        crm.search(std::slice::from_ref(&key))
            .await
            .unwrap()
            .remove(0)
            .into_iter()
            .map(|snapshot| snapshot.account)
            .collect::<Vec<_>>()
    };
    assert_eq!(search("U2@x.example").await, [id(2)]);
    assert_eq!(search("O'Neill").await, []);
    assert!(server.asked().pop().unwrap().param("q").unwrap().ends_with(r"WHERE Username = 'O\'Neill'"));
    let key = SearchKey::Attribute("shoeSize".parse().unwrap(), "42".into());
    assert_eq!(crm.search(std::slice::from_ref(&key)).await.unwrap_err().code.as_str(), "not_searchable");
}

/// Bytes that are no UTF-8 spoil one record and not the page.
#[tokio::test]
async fn a_damaged_record_is_named_and_the_rest_goes_on() {
    let server = org(|_| data("page_invalid_utf8.json", 200)).await;
    let page = salesforce(&server.url).read(&ReadFrom::Start).await.unwrap();
    let [Record::Unreadable { account, code, attribute }, Record::Account(snapshot)] = &page.records[..] else {
        panic!("{page:?}")
    };
    assert_eq!((account.clone(), code.as_str()), (Some(id(1)), "invalid_text"));
    assert_eq!(attribute.as_ref().unwrap().as_str(), "name.givenName");
    assert_eq!(snapshot.account, id(2));
}

#[tokio::test]
async fn refusals_are_classified_by_salesforces_own_codes() {
    use FailureClass::{Permanent, Throttled, Transient};
    for (name, status, class, code, wait) in [
        ("error_daily_limit.json", 403, Throttled, "request_limit_exceeded", Some(900)),
        ("error_concurrent_limit.json", 403, Throttled, "concurrent_limit_exceeded", Some(30)),
        ("error_bare_object.json", 404, Permanent, "not_found", None),
        ("page_truncated.json", 200, Transient, "unreadable_answer", None),
        ("gateway.html", 200, Transient, "html_answer", None),
        ("gateway.html", 503, Transient, "server_error", None),
    ] {
        let server = org(move |_| data(name, status)).await;
        let failure = salesforce(&server.url).read(&ReadFrom::Start).await.unwrap_err();
        assert_eq!((failure.class, failure.code.as_str()), (class, code), "{name} {status}");
        assert_eq!(failure.retry_after.map(|wait| wait.as_secs()), wait, "{name}");
        assert!(remedy(&failure.code).is_some(), "{code}");
    }
}

#[tokio::test]
async fn a_next_page_elsewhere_is_not_followed() {
    let server = org(|_| {
        let next = "https://evil.example/services/data/v66.0/query/01g-2";
        Reply::json(200, json!({"totalSize": 2, "done": false, "records": [], "nextRecordsUrl": next}))
    })
    .await;
    let failure = salesforce(&server.url).read(&ReadFrom::Start).await.unwrap_err();
    assert_eq!(failure.code.as_str(), "unreadable_answer");
}
