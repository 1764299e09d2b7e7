//! The SCIM connector against a small server with the switches that real ones differ by.

use std::sync::{Arc, Mutex};

use muster::domain::{AccountId, Attributes, FailureClass, Snapshot, Timestamp, Value, Version};
use muster::systems::{Action, Lookup, Next, ReadFrom, Record, SearchKey, System, Write, Written};
use serde_json::{Value as Json, json};

use super::{Asked, Reply, Server, scim, scim_of, soon};

/// How this server differs from others.
#[derive(Debug, Clone, Copy, Default)]
struct Dialect {
    /// It checks `If-Match`, and says so.
    etag: bool,
    /// It answers 501 to PATCH, and does not say so.
    no_patch: bool,
    /// It answers changes with 204 and no body.
    silent: bool,
    /// It ignores filters.
    ignores_filters: bool,
    /// The gateway before it lost its routes: an empty 404 for everything.
    lost: bool,
}

/// The users of a server, each with a version.
#[derive(Debug, Default)]
struct Roster {
    users: Vec<(Json, u64)>,
}

impl Roster {
    fn add(&mut self, user: Json) {
        self.users.push((user, 1));
    }

    /// A person's edit.
    fn edit(&mut self, id: &str, name: &str, value: Json) {
        let (user, version) = self.users.iter_mut().find(|(user, _)| user["id"] == id).unwrap();
        user[name] = value;
        *version += 1;
    }

    fn show(&self, place: usize) -> Json {
        let (mut user, version) = self.users[place].clone();
        let stamp = format!("2026-11-21T10:00:{version:02}Z");
        user["meta"] = json!({"lastModified": stamp, "version": format!("W/\"{version}\"")});
        user
    }
}

struct Target {
    server: Server,
    roster: Arc<Mutex<Roster>>,
}

impl Target {
    async fn start(dialect: Dialect, users: Vec<Json>) -> Self {
        let mut roster = Roster::default();
        users.into_iter().for_each(|user| roster.add(user));
        let roster = Arc::new(Mutex::new(roster));
        let server = Server::start({
            let roster = Arc::clone(&roster);
            move |asked| serve(&mut roster.lock().unwrap(), dialect, asked)
        })
        .await;
        Self { server, roster }
    }

    fn user(&self, place: usize) -> Json {
        self.roster.lock().unwrap().users[place].0.clone()
    }
}

fn error(status: u16, scim_type: &str) -> Reply {
    let urn = "urn:ietf:params:scim:api:messages:2.0:Error";
    let body = json!({"schemas": [urn], "status": status.to_string(), "scimType": scim_type, "detail": "see userName"});
    Reply::json(status, body)
}

fn serve(roster: &mut Roster, dialect: Dialect, asked: &Asked) -> Reply {
    if dialect.lost {
        return Reply::empty(404);
    }
    if asked.path == "/ServiceProviderConfig" {
        return Reply::json(200, json!({"etag": {"supported": dialect.etag}, "patch": {"supported": true}}));
    }
    let Some(id) = asked.path.strip_prefix("/Users/") else { return roster_call(roster, dialect, asked) };
    let Some(place) = roster.users.iter().position(|(user, _)| user["id"] == id) else { return error(404, "") };
    if asked.method == "GET" {
        let shown = roster.show(place);
        let tag = shown["meta"]["version"].as_str().unwrap().to_owned();
        return Reply::json(200, shown).with("etag", &tag);
    }
    let tag = format!("W/\"{}\"", roster.users[place].1);
    if dialect.etag && asked.header("if-match").is_some_and(|wanted| wanted != tag) {
        return error(412, "");
    }
    let mut user = roster.users[place].0.clone();
    match asked.method.as_str() {
        "PATCH" if dialect.no_patch => return error(501, ""),
        "PATCH" => {
            for operation in asked.json()["Operations"].as_array().unwrap() {
                let path = operation["path"].as_str().unwrap();
                match operation["op"].as_str().unwrap() {
                    "remove" => drop(user.as_object_mut().unwrap().remove(path)),
                    _ => user[path] = operation["value"].clone(),
                }
            }
        }
        _ => user = asked.json(),
    }
    if roster.users.iter().any(|(other, _)| other["id"] != user["id"] && other["userName"] == user["userName"]) {
        return error(409, "uniqueness");
    }
    roster.users[place].0 = user;
    roster.users[place].1 += 1;
    if dialect.silent { Reply::empty(204) } else { Reply::json(200, roster.show(place)) }
}

fn roster_call(roster: &mut Roster, dialect: Dialect, asked: &Asked) -> Reply {
    if asked.method == "POST" {
        let mut user = asked.json();
        if roster.users.iter().any(|(other, _)| other["userName"] == user["userName"]) {
            return error(409, "uniqueness");
        }
        user["id"] = json!(format!("new-{}", roster.users.len()));
        roster.add(user);
        return Reply::json(201, roster.show(roster.users.len() - 1));
    }
    let filter = asked.param("filter").filter(|_| !dialect.ignores_filters).map(|filter| {
        let (name, value) = filter.split_once(" eq ").unwrap();
        (name.to_owned(), serde_json::from_str::<Json>(value).unwrap())
    });
    let found: Vec<Json> = (0..roster.users.len())
        .map(|place| roster.show(place))
        .filter(|user| filter.as_ref().is_none_or(|(name, value)| user[name] == *value))
        .collect();
    let number = |name| asked.param(name).map_or(1, |number| number.parse::<usize>().unwrap());
    let page: Vec<Json> = found.iter().skip(number("startIndex") - 1).take(number("count")).cloned().collect();
    Reply::json(200, json!({"totalResults": found.len(), "Resources": page}))
}

fn user(number: usize) -> Json {
    json!({"id": number.to_string(), "userName": format!("u{number}@x.example"), "externalId": format!("e{number}"), "title": "Agent"})
}

fn id(text: &str) -> AccountId {
    text.parse().unwrap()
}

fn values(pairs: &[(&str, Option<Value>)]) -> Attributes {
    pairs.iter().map(|(path, value)| (path.parse().unwrap(), value.clone())).collect()
}

/// The version that a read at the beginning would have shown.
fn first_version() -> Version {
    let stamp: jiff::Timestamp = "2026-11-21T10:00:01Z".parse().unwrap();
    let tag = Some("W/\"1\"".into());
    Version {
        modified_at: Some(Timestamp(stamp.as_millisecond())),
        read_at: Timestamp(stamp.as_millisecond() + 5_000),
        tag,
    }
}

fn update(account: &str, pairs: &[(&str, Option<Value>)]) -> Write {
    let action = Action::Update { account: id(account), unless_changed_since: first_version() };
    Write::new(action, values(pairs))
}

async fn write(target: &Target, write: Write) -> Written {
    scim(&target.server.url).write(&[write], soon()).await.pop().unwrap()
}

fn title(snapshot: &Snapshot) -> Option<Value> {
    snapshot.attributes[&"title".parse().unwrap()].clone()
}

/// B12: pages are walked to the end, and the end says whether the list was whole.
#[tokio::test]
async fn a_roster_is_read_page_by_page() {
    let target = Target::start(Dialect::default(), (0..5).map(user).collect()).await;
    let scim = scim(&target.server.url);
    let (mut from, mut accounts) = (ReadFrom::Start, Vec::new());
    let next = loop {
        let page = scim.read(&from).await.unwrap();
        assert_eq!(page.expected, Some(5));
        accounts.extend(page.records.into_iter().map(|record| match record {
            Record::Account(snapshot) => snapshot.account.as_str().to_owned(),
            Record::Unreadable { .. } => panic!(),
        }));
        match page.next {
            Next::Page(position) => from = ReadFrom::Position(position),
            end => break end,
        }
    };
    assert_eq!(accounts, ["0", "1", "2", "3", "4"]);
    assert_eq!(next, Next::End { watermark: None, proven_complete: true, unsettled: None });
    assert_eq!(target.server.asked_for("ServiceProviderConfig").len(), 1);
}

/// B12: a 404 is an absence only where a SCIM roster is truly served.
#[tokio::test]
async fn an_absence_needs_a_scim_server_that_says_so() {
    let target = Target::start(Dialect::default(), vec![user(1)]).await;
    let lookups = scim(&target.server.url).get(&[id("7"), id("1"), id("..")]).await.unwrap();
    assert!(matches!(lookups[0], Lookup::Absent(_)));
    assert!(matches!(&lookups[1], Lookup::Found(snapshot) if snapshot.account == id("1")));
    assert!(matches!(&lookups[2], Lookup::Unreadable { code, .. } if code.as_str() == "invalid_id"));

    let lost = Target::start(Dialect { lost: true, ..Dialect::default() }, Vec::new()).await;
    let html = Server::start(|_| Reply::html(404)).await;
    let other = Server::start(|_| Reply::json(404, json!({"message": "no Route matched"}))).await;
    for url in [&lost.server.url, &html.url, &other.url] {
        assert!(scim(url).get(&[id("1")]).await.is_err());
    }
}

#[tokio::test]
async fn a_search_returns_only_what_has_the_value() {
    for ignores_filters in [false, true] {
        let dialect = Dialect { ignores_filters, ..Dialect::default() };
        let target = Target::start(dialect, (0..5).map(user).collect()).await;
        let scim = scim(&target.server.url);
        let search = async |key| {
            let found = scim.search(std::slice::from_ref(&key)).await.unwrap().remove(0);
            found.into_iter().map(|snapshot| snapshot.account.as_str().to_owned()).collect::<Vec<_>>()
        };
        let by_name = |name: &str| SearchKey::Attribute("userName".parse().unwrap(), name.to_owned());
        assert_eq!(search(SearchKey::Partner(id("e4"))).await, ["4"]);
        assert_eq!(search(by_name("u3@x.example")).await, ["3"]);
        assert_eq!(search(by_name("a\" or userName pr")).await, [""; 0]);
    }
}

/// R12: an account that exists is not created, and nothing is changed on it.
#[tokio::test]
async fn a_create_names_the_partner_and_never_doubles() {
    let target = Target::start(Dialect::default(), vec![user(1)]).await;
    let create = |name: &str| {
        Write::new(
            Action::Create { partner: id("005RM000001iKYtYAM") },
            values(&[("userName", Some(name.into())), ("active", Some(true.into()))]),
        )
    };
    let Written::Done(snapshot) = write(&target, create("ada@x.example")).await else { panic!() };
    assert_eq!((snapshot.account.as_str(), snapshot.partner), ("new-1", Some(id("005RM000001iKYtYAM"))));
    assert_eq!(target.user(1)["externalId"], "005RM000001iKYtYAM");
    let exists = write(&target, create("u1@x.example")).await;
    assert_eq!(exists, Written::Exists { attribute: Some("userName".parse().unwrap()) });
    assert_eq!(target.user(0), user(1));
}

/// Whatever the dialect, the answer to a write is what the target holds, and only what differs was sent.
#[tokio::test]
async fn an_update_is_answered_by_what_the_target_holds() {
    for etag in [false, true] {
        for silent in [false, true] {
            for no_patch in [false, true] {
                let dialect = Dialect { etag, silent, no_patch, ..Dialect::default() };
                let target = Target::start(dialect, vec![user(1)]).await;
                let scim = scim(&target.server.url);
                let first = update("1", &[("title", Some("Lead".into())), ("nickName", None)]);
                let written = scim.write(&[first], soon()).await.pop().unwrap();
                let Written::Done(snapshot) = written else { panic!("{dialect:?}: {written:?}") };
                assert_eq!(title(&snapshot), Some("Lead".into()), "{dialect:?}");
                assert_eq!(snapshot.version.tag.as_deref(), Some("W/\"2\""), "{dialect:?}");
                let held = target.user(0);
                assert_eq!((&held["title"], &held["externalId"]), (&json!("Lead"), &json!("e1")), "{dialect:?}");

                // The first change showed what tags are good for.
                let asked = target.server.asked_for("/Users").len();
                let action = Action::Update { account: id("1"), unless_changed_since: snapshot.version };
                let second = Write::new(action, values(&[("title", Some("Agent".into()))]));
                let written = scim.write(&[second], soon()).await.pop().unwrap();
                assert!(matches!(written, Written::Done(_)), "{dialect:?}: {written:?}");
                let calls = target.server.asked_for("/Users").len() - asked;
                let reads = usize::from(!etag || no_patch) + usize::from(silent);
                assert_eq!(calls, 1 + reads, "{dialect:?}: a tag that is heeded saves the read before");
            }
        }
    }
}

/// The base of a write is checked by tag, or by reading before writing: an edit by a person is never overwritten.
#[tokio::test]
async fn an_account_that_moved_on_is_not_written() {
    for etag in [false, true] {
        for no_patch in [false, true] {
            let dialect = Dialect { etag, no_patch, ..Dialect::default() };
            let target = Target::start(dialect, vec![user(1)]).await;
            target.roster.lock().unwrap().edit("1", "title", json!("Boss"));
            let written = write(&target, update("1", &[("title", Some("Lead".into()))])).await;
            let Written::Moved(snapshot) = written else { panic!("{dialect:?}: {written:?}") };
            assert_eq!(title(&snapshot), Some("Boss".into()));
            assert_eq!(target.user(0)["title"], "Boss");
        }
    }
}

#[tokio::test]
async fn what_is_true_already_is_not_written() {
    let target = Target::start(Dialect::default(), vec![user(1)]).await;
    let written = write(&target, update("1", &[("title", Some("Agent".into()))])).await;
    assert!(matches!(written, Written::Done(_)), "{written:?}");
    assert!(target.server.asked().iter().all(|asked| asked.method == "GET"));
}

/// R20: a value that must be unique is refused by name when it is changed, too.
#[tokio::test]
async fn what_is_gone_or_taken_is_said_so() {
    for etag in [false, true] {
        let target = Target::start(Dialect { etag, ..Dialect::default() }, vec![user(1), user(2)]).await;
        let gone = write(&target, update("7", &[("title", None)])).await;
        assert!(matches!(gone, Written::Gone(_)), "{gone:?}");
        let taken = write(&target, update("1", &[("userName", Some("u2@x.example".into()))])).await;
        assert_eq!(taken, Written::Exists { attribute: Some("userName".parse().unwrap()) });
    }
}

/// A leaver is deactivated; the other members of a batch have answers of their own.
#[tokio::test]
async fn a_batch_has_one_answer_for_each_write() {
    let target = Target::start(Dialect::default(), vec![user(1), user(2)]).await;
    let writes = [
        update("2", &[("active", Some(false.into()))]),
        update("7", &[("title", None)]),
        update("1", &[("shoeSize", Some(Value::Int(42)))]),
    ];
    let written = scim(&target.server.url).write(&writes, soon()).await;
    assert!(matches!(&written[0], Written::Done(snapshot) if snapshot.account == id("2")));
    assert!(matches!(&written[1], Written::Gone(_)));
    let Written::Failed(failure) = &written[2] else { panic!() };
    assert_eq!((failure.class, failure.code.as_str()), (FailureClass::Permanent, "unknown_attribute"));
    assert_eq!(target.user(1)["active"], json!(false));
}

#[tokio::test]
async fn preflight_names_what_is_wrong() {
    let target = Target::start(Dialect::default(), vec![user(1)]).await;
    let findings = scim(&target.server.url).preflight().await;
    assert!(findings.iter().all(|finding| finding.problem.is_none()), "{findings:?}");
    let refused = Server::start(|_| Reply::json(401, "{}")).await;
    let findings = scim_of(&refused.url, 1).preflight().await;
    assert!(findings[0].problem.as_ref().unwrap().contains("renew"), "{findings:?}");
}
