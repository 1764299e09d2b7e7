//! `muster plan`: what it names is what a sync then does, and it does nothing itself.

mod both_ways;
mod situations;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use muster::sandbox::{Actor, Admin, Dialect, Quirk, Sandbox, SandboxSettings, System, Write};
use serde_json::{Value, json};

use super::explain::masked;
use super::place::{On, Place};
use super::processes::{CONNECTION, active_users, connection, crm, directory};
use super::redis_server::RedisServer;

/// The longest line of a page.
const WIDTH: usize = 100;

/// The longest title that the target keeps.
const KEPT_CHARS: usize = 40;

/// How long a write may take.
const WRITER: &str = "lease = \"8s\"\nrequest_timeout = \"6s\"";

/// The attributes of the tests.
const MAPPED: [&str; 5] = ["userName", "emails", "name.familyName", "title", "active"];

/// All that is kept. Of the file its rows, since SQLite moves them from its log into the file when it likes.
async fn dump(muster: &Place) -> BTreeMap<String, Vec<u8>> {
    let mut dump = BTreeMap::new();
    match muster {
        Place::File(muster) => {
            for entry in std::fs::read_dir(muster.path("")).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_str().unwrap();
                if !name.starts_with("muster.db") {
                    dump.insert(name.to_owned(), std::fs::read(&path).unwrap());
                }
            }
            let path = muster.path("muster.db");
            if path.exists() {
                dump.extend(rows(&path));
            }
        }
        Place::Servers(muster) => {
            let redis = RedisServer::shared().await;
            let keys: Vec<String> = redis.ask(&["KEYS", &format!("*{}*", muster.prefix())]).await.unwrap();
            for key in keys {
                let left: i64 = redis.ask(&["PTTL", &key]).await.unwrap();
                // What is about to be forgotten may be forgotten meanwhile.
                if !(0..=600_000).contains(&left) {
                    dump.insert(key.clone(), redis.ask(&["DUMP", &key]).await.unwrap());
                }
            }
        }
    }
    dump
}

/// The rows of each table of the file.
fn rows(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let file = rusqlite::Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
    let mut names = file.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").unwrap();
    let names: Vec<String> = names.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let of = |table: &String| {
        let mut question = file.prepare(&format!("SELECT * FROM \"{table}\"")).unwrap();
        let columns = question.column_count();
        let rows = question.query_map([], |row| {
            (0..columns).map(|column| row.get::<_, rusqlite::types::Value>(column)).collect::<Result<Vec<_>, _>>()
        });
        let mut rows: Vec<_> = rows.unwrap().map(|row| format!("{:?}", row.unwrap())).collect();
        rows.sort();
        (table.clone(), rows.join("\n").into_bytes())
    };
    names.iter().map(of).collect()
}

/// Names what is not as it was.
#[track_caller]
fn assert_same(before: &BTreeMap<String, Vec<u8>>, after: &BTreeMap<String, Vec<u8>>) {
    let names: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    if let Some(name) = names.into_iter().find(|name| before.get(*name) != after.get(*name)) {
        let text = |of: Option<&Vec<u8>>| of.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        panic!("{name} of the store was changed from {:?} to {:?}", text(before.get(name)), text(after.get(name)));
    }
}

/// Before and after of each attribute, by account: created accounts are named by their partners.
type Changes = BTreeMap<(String, String), BTreeMap<String, (Value, Value)>>;

/// The value of an attribute in the target's own JSON.
fn value(account: Option<&Value>, attribute: &str) -> Value {
    let Some(account) = account else { return Value::Null };
    match attribute {
        "emails" => account["emails"][0]["value"].clone(),
        "name.familyName" => account["name"]["familyName"].clone(),
        other => account[other].clone(),
    }
}

/// What the target keeps of a value.
fn kept(attribute: &str, value: &Value) -> Value {
    match (attribute, value.as_str()) {
        ("userName", Some(text)) => json!(text.to_lowercase()),
        (_, Some(text)) => json!(text.chars().take(KEPT_CHARS).collect::<String>()),
        _ => value.clone(),
    }
}

/// What the target says that it was told.
fn done(writes: &[Write]) -> Changes {
    let mut first_and_last: BTreeMap<&str, (&Write, &Write)> = BTreeMap::new();
    for write in writes {
        first_and_last.entry(&write.account).and_modify(|(_, last)| *last = write).or_insert((write, write));
    }
    let mut changes = Changes::new();
    for (account, (first, last)) in first_and_last {
        let who = match first.created {
            true => ("new".to_owned(), last.after.as_ref().unwrap()["externalId"].as_str().unwrap().to_owned()),
            false => ("old".to_owned(), account.to_owned()),
        };
        let of = |attribute: &str| (value(first.before.as_ref(), attribute), value(last.after.as_ref(), attribute));
        let differing = MAPPED.into_iter().map(|attribute| (attribute.to_owned(), of(attribute)));
        changes.insert(who, differing.filter(|(_, (before, after))| before != after).collect());
    }
    changes
}

/// What the plan says that the target would be told, as that keeps it.
fn planned(items: &[Value]) -> Changes {
    let mut changes = Changes::new();
    for item in items.iter().filter(|item| !item["values"].is_null()) {
        assert_eq!((&item["connection"], &item["system"]), (&json!(CONNECTION), &json!("directory")), "{item}");
        let who = match item["account"].as_str() {
            None => ("new".to_owned(), item["partner"].as_str().unwrap().to_owned()),
            Some(account) => ("old".to_owned(), account.to_owned()),
        };
        let values = item["values"].as_object().unwrap().iter();
        let values = values.map(|(attribute, change)| {
            (attribute.clone(), (change["before"].clone(), kept(attribute, &change["after"])))
        });
        assert!(changes.insert(who, values.filter(|(_, (a, b))| a != b).collect()).is_none(), "{item}");
    }
    changes
}

/// Plans, syncs, and compares. Then there is nothing left to do. What was planned, and the sum.
async fn assert_done_as_planned(muster: &Place, admin: &Admin, more: &[&str]) -> (Vec<Value>, Value) {
    let (known, count) = (dump(muster).await, admin.write_count());
    let asked = admin.requests().len();
    let outcome = muster.muster(&[&["plan", CONNECTION, "--json"], more].concat()).await;
    assert_eq!((outcome.status, &*outcome.stderr), (4, ""), "{outcome:?}");
    let mut items: Vec<Value> = outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let summary = items.pop().unwrap()["summary"].clone();

    let page = muster.muster(&[&["plan", CONNECTION], more].concat()).await;
    assert_eq!((page.status, &*page.stderr), (4, ""), "{page:?}");
    assert!(page.stdout.starts_with(&format!("{CONNECTION}: ")), "{page:?}");
    page.stdout.lines().for_each(|line| assert!(console::measure_text_width(line) <= WIDTH, "{line}"));

    // Nothing was written anywhere, nor tried.
    assert_eq!(admin.write_count(), count);
    for request in &admin.requests()[asked..] {
        assert!(request.method == "GET" || request.operation == "token", "{request:?}");
    }
    assert_same(&known, &dump(muster).await);

    let letters: BTreeSet<_> = muster.letters().await.iter().map(|letter| letter["id"].to_string()).collect();
    assert_eq!(muster.sync(more).await.failed, None);
    let writes = admin.writes(count);
    assert!(writes.iter().all(|write| (write.actor, write.system) == (Actor::Client, System::Scim)));
    assert_eq!(planned(&items), done(&writes));
    let refused = |item: &&Value| item["action"] == "refuse";
    let expected: BTreeSet<_> =
        items.iter().filter(refused).map(|item| (item["partner"].to_string(), item["code"].to_string())).collect();
    let opened: Vec<_> = muster.letters().await;
    let opened: BTreeSet<_> = opened
        .iter()
        .filter(|letter| !letters.contains(&letter["id"].to_string()))
        .map(|letter| (letter["partner"].to_string(), letter["fingerprint"]["code"].to_string()))
        .collect();
    assert_eq!(expected, opened);

    let again = muster.muster(&["plan", CONNECTION]).await;
    assert_eq!((again.status, &*again.stderr), (0, ""), "{again:?}");
    assert!(again.stdout.starts_with(&format!("{CONNECTION}: nothing to do; ")), "{again:?}");
    (items, summary)
}

fn item<'i>(items: &'i [Value], partner: &Value) -> &'i Value {
    items.iter().find(|item| item["partner"] == *partner).unwrap_or_else(|| panic!("{partner} in {items:?}"))
}

/// A pair that is populated on both sides, step by step: the first sync, edits of every kind, and nothing.
async fn a_plan_is_what_a_sync_does(muster: &Place, admin: &Admin) {
    // The same person is there already, with another title; another account has somebody's login.
    let users = active_users(admin);
    let id = |user: &Value| user["Id"].as_str().unwrap().to_owned();
    let twin = admin
        .create(
            System::Scim,
            &json!({"userName": "somebody", "emails": [{"value": users[1]["Email"], "type": "work"}], "title": "Boss",
                    "name": {"familyName": "Somebody"}}),
        )
        .unwrap();
    admin.create(System::Scim, &json!({"userName": users[2]["Username"]})).unwrap();
    admin.edit(System::Salesforce, &id(&users[1]), &json!({"Title": "Captain"})).unwrap();
    admin.edit(System::Salesforce, &id(&users[3]), &json!({"Title": "Clerk"})).unwrap();
    admin.edit(System::Salesforce, &id(&users[4]), &json!({"Title": "Clerk"})).unwrap();
    let (items, summary) = assert_done_as_planned(muster, admin, &[]).await;
    let linked = item(&items, &users[1]["Id"]);
    assert_eq!(linked["account"], json!(twin));
    assert_eq!(
        (&linked["values"]["title"]["before"], &linked["values"]["title"]["after"]),
        (&json!("Boss"), &json!("Captain"))
    );
    assert_eq!(linked["values"]["title"]["reason"], "first_match");
    let refused = item(&items, &users[2]["Id"]);
    assert_eq!((&refused["action"], &refused["code"]), (&json!("refuse"), &json!("account_exists")));
    assert_eq!(summary["b"]["create"], json!(users.len() - 2));

    // A change, one that is cut, a clear, a leaver, somebody new, and drift that stays.
    let long = "Head of the Department for Keeping Everything in Step Everywhere";
    admin.edit(System::Salesforce, &id(&users[1]), &json!({"Title": long})).unwrap();
    admin.edit(System::Salesforce, &id(&users[3]), &json!({"Title": null, "LastName": "Lovelace"})).unwrap();
    admin.deactivate(System::Salesforce, &id(&users[5])).unwrap();
    admin.edit(System::Scim, &twin, &json!({"title": "Boss"})).unwrap();
    let new = admin.seed(System::Salesforce, 1, 99).unwrap().remove(0);
    let (items, summary) = assert_done_as_planned(muster, admin, &["--full"]).await;
    let counts = json!({
        "create": 1, "change": 2, "deactivate": 1, "reactivate": 0, "delete": 0, "remove": 0, "detach": 0
    });
    assert_eq!(summary["b"], counts, "{items:?}");
    let cleared = &item(&items, &users[3]["Id"])["values"]["title"];
    assert_eq!(
        (&cleared["before"], &cleared["after"], &cleared["reason"]),
        (&json!("Clerk"), &Value::Null, &json!("edited"))
    );
    assert_eq!(item(&items, &users[5]["Id"])["values"]["active"]["reason"], "left");
    assert_eq!(item(&items, &json!(new))["action"], "create");

    // And back again, by what changed alone.
    admin.edit(System::Salesforce, &id(&users[5]), &json!({"IsActive": true})).unwrap();
    let (items, _) = assert_done_as_planned(muster, admin, &[]).await;
    assert_eq!(item(&items, &users[5]["Id"])["action"], "reactivate");

    let usage = muster.muster(&["plan", "nothing"]).await;
    assert_eq!((usage.status, &*usage.stdout), (2, ""), "{usage:?}");
}

/// A sandbox whose target cuts texts and keeps user names in small letters, and the configuration.
async fn world() -> (Sandbox, String) {
    let dialect = [Quirk::TruncateAt(KEPT_CHARS), Quirk::UserNameLowerCased].into_iter().collect::<Dialect>();
    let sandbox = Sandbox::start(SandboxSettings { users: 12, dialect, ..SandboxSettings::default() }).await.unwrap();
    let attributes = format!(
        "match = [\"emails\"]\non_existing = \"link\"\n\n[connections.{CONNECTION}.attributes]\nuserName = {{}}\n\
         emails = {{}}\n\"name.familyName\" = {{}}\ntitle = {{}}\n"
    );
    let systems = crm(&sandbox) + &directory(&sandbox.scim_url()) + &connection(&attributes);
    (sandbox, systems)
}

/// A plan names exactly what the sync after it does, to the value, and changes nothing: over a file.
#[tokio::test(flavor = "multi_thread")]
async fn a_plan_over_a_file_is_what_a_sync_does() {
    let (sandbox, systems) = world().await;
    a_plan_is_what_a_sync_does(&On::File.installation(&systems, WRITER).await, &sandbox.admin()).await;
}

/// The same over RabbitMQ and Redis.
#[tokio::test(flavor = "multi_thread")]
async fn a_plan_over_servers_is_what_a_sync_does() {
    let (sandbox, systems) = world().await;
    a_plan_is_what_a_sync_does(&On::Servers.installation(&systems, WRITER).await, &sandbox.admin()).await;
}

/// The page, with something of every kind.
#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_a_plan() {
    let (sandbox, systems) = world().await;
    let admin = sandbox.admin();
    let muster = On::File.installation(&systems, WRITER).await;
    muster.sync(&[]).await;
    let users = active_users(&admin);
    let id = |number: usize| users[number]["Id"].as_str().unwrap();
    admin.edit(System::Salesforce, id(0), &json!({"Title": "Captain"})).unwrap();
    admin.edit(System::Salesforce, id(1), &json!({"Title": null, "LastName": "Lovelace"})).unwrap();
    admin.deactivate(System::Salesforce, id(2)).unwrap();
    let new = admin.seed(System::Salesforce, 1, 99).unwrap().remove(0);
    let mut others = admin.accounts(System::Salesforce).into_iter();
    let back = others.find(|user| user["IsActive"] == false && user["Id"] != users[2]["Id"]).unwrap();
    let other = back["Id"].as_str().unwrap();
    admin.create(System::Scim, &json!({"userName": back["Username"]})).unwrap();
    admin.edit(System::Salesforce, other, &json!({"IsActive": true})).unwrap();
    let page = muster.muster(&["plan", "--full"]).await;
    assert_eq!(page.status, 4, "{page:?}");
    let mut names = vec![(new, "NEW".to_owned()), (other.to_owned(), "OTHER".to_owned())];
    for copy in admin.accounts(System::Scim) {
        if let Some(number) = users.iter().position(|user| user["Id"] == copy["externalId"]) {
            names.push((id(number).to_owned(), format!("USER-{number}")));
            names.push((copy["id"].as_str().unwrap().to_owned(), format!("COPY-{number}")));
        }
    }
    let names: Vec<_> = names.iter().map(|(id, name)| (&**id, &**name)).collect();
    insta::assert_snapshot!("plan", masked(page.stdout, &names));
}
