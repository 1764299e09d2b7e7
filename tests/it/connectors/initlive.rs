//! The connector of InitLive against the imitation.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use muster::domain::{AccountId, Attributes, Failure, FailureClass, Snapshot, Value, Version};
use muster::sandbox::log::System as Imitated;
use muster::sandbox::{
    DEFAULT_INITLIVE_KEY, Effect, Fault, FaultBody, INITLIVE_ORGANIZATION, Matcher, RetryAfter, Sandbox,
    SandboxSettings, Totals,
};
use muster::systems::budget::OwnCalls;
use muster::systems::initlive::{InitLive, InitLiveSettings};
use muster::systems::{Action, Finding, Lookup, Next, ReadFrom, Record, Rights, SearchKey, System, Write, Written};
use serde_json::{Value as Json, json};

use super::soon;

async fn sandbox() -> Sandbox {
    Sandbox::start(SandboxSettings::default()).await.unwrap()
}

fn settings(sandbox: &Sandbox) -> InitLiveSettings {
    InitLiveSettings {
        url: sandbox.initlive_url().parse().unwrap(),
        organization: INITLIVE_ORGANIZATION,
        api_key: DEFAULT_INITLIVE_KEY.into(),
        defaults: BTreeMap::new(),
        page_size: 2,
        concurrency: 4,
        request_timeout: Duration::from_secs(20),
        ca_file: None,
        windows: Vec::new(),
        calls: Arc::new(OwnCalls::default()),
    }
}

fn connector(sandbox: &Sandbox) -> InitLive {
    InitLive::new(settings(sandbox)).unwrap()
}

fn id(text: &str) -> AccountId {
    text.parse().unwrap()
}

fn values(pairs: &[(&str, Option<&str>)]) -> Attributes {
    pairs.iter().map(|(path, value)| (path.parse().unwrap(), value.map(Value::from))).collect()
}

fn ada() -> Vec<(&'static str, Option<&'static str>)> {
    vec![("emails", Some("ada@x.example")), ("name.givenName", Some("Ada")), ("name.familyName", Some("Byron"))]
}

fn create(partner: &str, pairs: &[(&str, Option<&str>)]) -> Write {
    Write::new(Action::Create { partner: id(partner) }, values(pairs))
}

fn update(snapshot: &Snapshot, pairs: &[(&str, Option<&str>)]) -> Write {
    let unless_changed_since = snapshot.version.clone();
    let action = Action::Update { account: snapshot.account.clone(), unless_changed_since };
    Write::new(action, values(pairs))
}

async fn write(connector: &InitLive, write: Write) -> Written {
    connector.write(&[write], soon()).await.pop().unwrap()
}

async fn done(connector: &InitLive, wanted: Write) -> Snapshot {
    match write(connector, wanted).await {
        Written::Done(snapshot) => snapshot,
        other => panic!("{other:?}"),
    }
}

async fn failed(connector: &InitLive, wanted: Write) -> Failure {
    match write(connector, wanted).await {
        Written::Failed(failure) => failure,
        other => panic!("{other:?}"),
    }
}

async fn found(connector: &InitLive, account: &str) -> Snapshot {
    match connector.get(&[id(account)]).await.unwrap().pop().unwrap() {
        Lookup::Found(snapshot) => snapshot,
        other => panic!("{other:?}"),
    }
}

fn configure(sandbox: &Sandbox, settings: Json) {
    sandbox.admin().configure(Imitated::InitLive, settings).unwrap();
}

fn user(sandbox: &Sandbox, account: &str) -> Json {
    sandbox.admin().account(Imitated::InitLive, account).unwrap()
}

fn users(sandbox: &Sandbox) -> usize {
    sandbox.admin().accounts(Imitated::InitLive).len()
}

/// Enters a person by hand, who is a member of these organisations; their id.
fn enter(sandbox: &Sandbox, organizations: &[u64]) -> String {
    let fields = json!({"username": "ADA@x.example", "firstName": "Augusta", "lastName": "King", "phone": "1",
        "organizations": organizations});
    sandbox.admin().create(Imitated::InitLive, &fields).unwrap()
}

/// Strikes the next request of this method.
fn strike(sandbox: &Sandbox, method: &str, effect: Effect) {
    let on = Matcher { method: Some(method.into()), times: Some(1), ..Matcher::default() };
    sandbox.admin().inject(Fault { on, effect });
}

/// Everybody a read lists, and whether it was proven to be everybody.
async fn read(connector: &InitLive) -> (Vec<String>, bool) {
    let (mut from, mut accounts) = (ReadFrom::Start, Vec::new());
    loop {
        let page = connector.read(&from).await.unwrap();
        accounts.extend(page.records.into_iter().map(|record| match record {
            Record::Account(snapshot) => snapshot.account.as_str().to_owned(),
            Record::Unreadable { .. } => panic!(),
        }));
        match page.next {
            Next::Page(position) => from = ReadFrom::Position(position),
            Next::End { proven_complete, .. } => return (accounts, proven_complete),
        }
    }
}

/// B12: pages that join show everybody; a list that is empty, or lacks somebody, makes nobody gone.
#[tokio::test]
async fn a_roster_is_walked_and_absence_needs_a_probe() {
    let sandbox = sandbox().await;
    let connector = connector(&sandbox);
    assert_eq!(read(&connector).await, (Vec::new(), false), "an empty list is no proof");
    let ids = sandbox.admin().seed(Imitated::InitLive, 5, 1).unwrap();
    assert_eq!(read(&connector).await, (ids.clone(), true));
    for settings in [json!({"max_take": 2}), json!({"max_take": 500, "paging": "ignored"})] {
        configure(&sandbox, settings.clone());
        let (mut seen, whole) = read(&connector).await;
        seen.sort();
        seen.dedup();
        assert_eq!((seen, whole), (ids.clone(), true), "{settings}");
    }
    configure(&sandbox, json!({"paging": "honoured"}));

    sandbox.admin().delete(Imitated::InitLive, &ids[1]).unwrap();
    let lookups = connector.get(&[id(&ids[0]), id(&ids[1]), id("7")]).await.unwrap();
    assert!(matches!(lookups[..], [Lookup::Found(_), Lookup::Absent(_), Lookup::Absent(_)]), "{lookups:?}");
    // The list lacks half of them, but each is there when asked for.
    let effect = Effect::PartialList { per_mille: 500, totals: Totals::Reduced };
    let on = Matcher { path: Some("take=".into()), ..Matcher::default() };
    let fault = sandbox.admin().inject(Fault { on, effect });
    let (seen, _) = read(&connector).await;
    for missing in ids.iter().filter(|id| !seen.contains(id) && **id != ids[1]) {
        found(&connector, missing).await;
    }
    sandbox.admin().end_fault(fault);
    // Where nobody can be seen, a 404 says nothing.
    strike(&sandbox, "GET", Effect::Status { status: 404, body: FaultBody::Native });
    let on = Matcher { path: Some("take=1".into()), ..Matcher::default() };
    sandbox.admin().inject(Fault { on, effect: Effect::EmptyList });
    assert_eq!(connector.get(&[id(&ids[0])]).await.unwrap_err().code.as_str(), "empty_list");
}

/// B12: somebody who leaves while the list is walked moves the others forward, and that is noticed.
#[tokio::test]
async fn a_walk_that_somebody_left_is_no_proof() {
    let sandbox = sandbox().await;
    let connector = connector(&sandbox);
    let ids = sandbox.admin().seed(Imitated::InitLive, 5, 1).unwrap();
    let page = connector.read(&ReadFrom::Start).await.unwrap();
    sandbox.admin().delete(Imitated::InitLive, &ids[0]).unwrap();
    let mut next = page.next;
    while let Next::Page(position) = next {
        next = connector.read(&ReadFrom::Position(position)).await.unwrap().next;
    }
    assert_eq!(next, Next::End { watermark: None, proven_complete: false, unsettled: None });
    let bad = ReadFrom::Position("x".into());
    assert_eq!(connector.read(&bad).await.unwrap_err().code.as_str(), "invalid_position");
}

/// R43: a search finds who truly has the value, by a filter or without one.
#[tokio::test]
async fn a_search_finds_who_has_the_value() {
    for filters in [json!(["username"]), json!(["username", "external-id"]), json!([])] {
        let sandbox = sandbox().await;
        configure(&sandbox, json!({"filters": filters}));
        let connector = connector(&sandbox);
        let ids = sandbox.admin().seed(Imitated::InitLive, 5, 1).unwrap();
        sandbox.admin().edit(Imitated::InitLive, &ids[3], &json!({"externalId": "003x", "phone": "42"})).unwrap();
        let email = user(&sandbox, &ids[2])["username"].as_str().unwrap().to_uppercase();
        let attribute = |path: &str, value: &str| SearchKey::Attribute(path.parse().unwrap(), value.to_owned());
        let keys = [
            SearchKey::Partner(id("003x")),
            attribute("emails", &email),
            attribute("emails", "nobody@x.example"),
            SearchKey::Partner(id("003y")),
            attribute("phoneNumbers", "42"),
            attribute("title", "42"),
        ];
        // The second time, what is ignored is known.
        for _ in 0..2 {
            let found = connector.search(&keys).await.unwrap();
            let found: Vec<Vec<&str>> =
                found.iter().map(|found| found.iter().map(|snapshot| snapshot.account.as_str()).collect()).collect();
            assert_eq!(found, [vec![&*ids[3]], vec![&*ids[2]], vec![], vec![], vec![&*ids[3]], vec![]], "{filters}");
        }
    }
}

/// Thousands of searches for partners' ids read the list once, and what they find is looked at again.
#[tokio::test]
async fn searches_for_partners_share_a_walk() {
    let sandbox = sandbox().await;
    let connector = connector(&sandbox);
    let ids = sandbox.admin().seed(Imitated::InitLive, 3, 1).unwrap();
    let mark = |place: usize, partner: Json| {
        sandbox.admin().edit(Imitated::InitLive, &ids[place], &json!({"externalId": partner})).unwrap();
    };
    mark(0, json!("003a"));
    mark(1, json!("003b"));
    let lists = || sandbox.admin().request_counts()[&(Imitated::InitLive, "list", 200)];
    let search = async |partner: &str| connector.search(&[SearchKey::Partner(id(partner))]).await.unwrap()[0].len();
    assert_eq!(search("003a").await, 1);
    let before = lists();
    mark(1, Json::Null);
    for (partner, found) in [("003a", 1), ("003b", 0), ("003c", 0)] {
        assert_eq!(search(partner).await, found, "{partner}");
    }
    assert_eq!(lists(), before);
}

/// R54, R54a: a user is created with the partner's id, and read back.
#[tokio::test]
async fn a_user_is_created() {
    let sandbox = sandbox().await;
    let defaults = [("langPref".to_owned(), Value::from("eng_can"))].into();
    let connector = InitLive::new(InitLiveSettings { defaults, ..settings(&sandbox) }).unwrap();
    let pairs = [ada(), vec![("addresses.locality", Some("London")), ("phoneNumbers", None)]].concat();
    let snapshot = done(&connector, create("003RM000001iKYtYAM", &pairs)).await;
    assert_eq!(snapshot.partner, Some(id("003RM000001iKYtYAM")));
    let city = &snapshot.attributes[&"addresses.locality".parse().unwrap()];
    assert_eq!(*city, Some(Value::from("London")));
    let user = user(&sandbox, snapshot.account.as_str());
    assert_eq!((&user["langPref"], &user["username"]), (&json!("eng_can"), &json!("ada@x.example")));
    assert_eq!(sandbox.admin().writes(0).len(), 1);
}

/// R15, R19, B23: a creation whose answer was lost is found again, by the search and by the creation itself.
#[tokio::test]
async fn a_creation_whose_answer_was_lost_is_found() {
    let sandbox = sandbox().await;
    let connector = connector(&sandbox);
    for (number, effect) in [
        Effect::AppliedThenCut,
        Effect::AppliedThenStatus { status: 500, body: FaultBody::Html },
        Effect::TruncatedJson,
    ]
    .into_iter()
    .enumerate()
    {
        strike(&sandbox, "POST", effect.clone());
        let (partner, email) = (format!("003-{number}"), format!("u{number}@x.example"));
        let pairs = [("emails", Some(&*email)), ("name.givenName", Some("U")), ("name.familyName", Some("V"))];
        let lost = failed(&connector, create(&partner, &pairs)).await;
        assert_eq!((lost.class, lost.in_doubt), (FailureClass::Transient, true), "{effect:?}");
        // What another connector of this kind finds: this one keeps what it saw for as long as the schema says.
        let ours = self::connector(&sandbox).search(&[SearchKey::Partner(id(&partner))]).await.unwrap();
        assert_eq!(ours[0].len(), 1, "{effect:?}");
        let again = done(&connector, create(&partner, &pairs)).await;
        assert_eq!(again.account, ours[0][0].account);
    }
    assert_eq!(users(&sandbox), 3);
}

/// R12, R13: a member who has the address is not touched, in whatever letter case it is written.
#[tokio::test]
async fn a_member_with_the_address_is_not_touched() {
    for filters in [json!(["username"]), json!([])] {
        let sandbox = sandbox().await;
        configure(&sandbox, json!({"filters": filters}));
        let member = enter(&sandbox, &[1001]);
        let (before, writes) = (user(&sandbox, &member), sandbox.admin().write_count());
        let written = write(&connector(&sandbox), create("003x", &ada())).await;
        assert_eq!(written, Written::Exists { attribute: Some("emails".parse().unwrap()) });
        assert_eq!((user(&sandbox, &member), sandbox.admin().write_count()), (before, writes));
    }
}

/// R54a: who has an account elsewhere is attached; that is noticed, and their profile is set if it lets us.
#[tokio::test]
async fn who_is_attached_is_noticed_and_completed() {
    let sandbox = sandbox().await;
    configure(&sandbox, json!({"owned_elsewhere": "allowed"}));
    let person = enter(&sandbox, &[2002]);
    let connector = connector(&sandbox);
    let pairs = [ada(), vec![("phoneNumbers", None)]].concat();
    let snapshot = done(&connector, create("003x", &pairs)).await;
    assert_eq!((snapshot.account.as_str(), &snapshot.partner), (&*person, &Some(id("003x"))));
    let user = user(&sandbox, &person);
    assert_eq!(
        (&user["firstName"], &user["phone"]),
        (&json!("Ada"), &json!("1")),
        "a clear is not for a stranger's data"
    );
}

/// A profile that its owner keeps is a failure with a name, for good, and for this one person.
#[tokio::test]
async fn a_profile_owned_elsewhere_is_named() {
    let sandbox = sandbox().await;
    let person = enter(&sandbox, &[2002]);
    let connector = connector(&sandbox);
    let refused = failed(&connector, create("003x", &ada())).await;
    assert_eq!((refused.class, refused.code.as_str()), (FailureClass::Permanent, "profile_owned_elsewhere"));
    assert!(refused.in_doubt && refused.message.contains(&person), "{refused}");
    assert!(connector.remedy(&refused.code).is_some());
    assert_eq!(user(&sandbox, &person)["firstName"], "Augusta");
    assert_eq!(user(&sandbox, &person)["organizations"], json!([1001, 2002]));
    let member = found(&connector, &person).await;
    let refused = failed(&connector, update(&member, &[("name.givenName", Some("Ada"))])).await;
    assert_eq!((refused.code.as_str(), refused.in_doubt), ("profile_owned_elsewhere", false));

    // Where the profile holds what was wanted, there is nothing to refuse.
    let same =
        [("emails", Some("ADA@x.example")), ("name.givenName", Some("Augusta")), ("name.familyName", Some("King"))];
    sandbox.admin().edit(Imitated::InitLive, &person, &json!({"organizations": [2002]})).unwrap();
    assert_eq!(done(&connector, create("003x", &same)).await.account.as_str(), person);

    // A key that may change nobody is the key's fault, and no letter for each person.
    configure(&sandbox, json!({"permission": "read"}));
    let refused = failed(&connector, update(&found(&connector, &person).await, &ada()[1..])).await;
    assert_eq!((refused.class, refused.code.as_str()), (FailureClass::Unauthorised, "unauthorised"));
}

/// R9-R11, B21: an update carries what is written and no more; a clear is a clear.
#[tokio::test]
async fn an_update_changes_what_it_names() {
    let sandbox = sandbox().await;
    let connector = connector(&sandbox);
    let address =
        [("addresses.locality", Some("London")), ("addresses.country", Some("UK")), ("phoneNumbers", Some("1"))];
    let snapshot = done(&connector, create("003x", &[ada(), address.to_vec()].concat())).await;
    sandbox.admin().edit(Imitated::InitLive, snapshot.account.as_str(), &json!({"tags": ["Bar"]})).unwrap();
    let now = found(&connector, snapshot.account.as_str()).await;
    let changed =
        done(&connector, update(&now, &[("phoneNumbers", None), ("addresses.locality", Some("Paris"))])).await;
    assert_eq!(changed.attributes[&"phoneNumbers".parse().unwrap()], None);
    let user = user(&sandbox, snapshot.account.as_str());
    assert_eq!(user["address"]["country"], "UK", "an address is sent whole");
    assert_eq!((&user["address"]["city"], &user["tags"]), (&json!("Paris"), &json!(["Bar"])));
    // What is there already is not written again.
    let writes = sandbox.admin().write_count();
    done(&connector, update(&changed, &[("addresses.locality", Some("Paris"))])).await;
    assert_eq!(sandbox.admin().write_count(), writes);
    for (pair, code) in [
        (("name.familyName", None), "cannot_be_cleared"),
        (("native.dob", Some("tomorrow")), "invalid_date"),
        (("native.status", Some("approved")), "unknown_attribute"),
    ] {
        let refused = failed(&connector, update(&changed, &[pair])).await;
        assert_eq!((refused.class, refused.code.as_str()), (FailureClass::Permanent, code));
        assert!(connector.remedy(&refused.code).is_some(), "{code}");
    }
}

/// A person's edit between read and write is not overwritten; who is no member any more is gone.
#[tokio::test]
async fn a_user_who_moved_on_is_left_alone() {
    let sandbox = sandbox().await;
    let connector = connector(&sandbox);
    let snapshot = done(&connector, create("003x", &ada())).await;
    let account = snapshot.account.as_str().to_owned();
    sandbox.admin().set_clock(Imitated::InitLive, 5_000);
    sandbox.admin().edit(Imitated::InitLive, &account, &json!({"firstName": "Countess"})).unwrap();
    let moved = write(&connector, update(&snapshot, &[("name.givenName", Some("Augusta"))])).await;
    assert!(matches!(moved, Written::Moved(_)), "{moved:?}");
    assert_eq!(user(&sandbox, &account)["firstName"], "Countess");

    let other = json!({"username": "b@x.example", "firstName": "B", "lastName": "B"});
    sandbox.admin().create(Imitated::InitLive, &other).unwrap();
    let now = found(&connector, &account).await;
    let taken = write(&connector, update(&now, &[("emails", Some("B@x.example"))])).await;
    assert_eq!(taken, Written::Exists { attribute: Some("emails".parse().unwrap()) }, "R20");
    sandbox.admin().delete(Imitated::InitLive, &account).unwrap();
    let gone = write(&connector, update(&now, &[("name.givenName", Some("A"))])).await;
    assert!(matches!(gone, Written::Gone(_)), "{gone:?}");
}

/// Each failure has one class, keeps values and secrets to itself, and says what to do.
#[tokio::test]
async fn failures_are_classified() {
    let sandbox = sandbox().await;
    let connector = connector(&sandbox);
    let snapshot = done(&connector, create("003x", &ada())).await;
    let bad = FaultBody::Json(json!({"error": "ada@x.example", "fields": {"phone": "ada@x.example is wrong"}}));
    let status = |status, body| Effect::Status { status, body };
    for (effect, class, code, attribute, in_doubt) in [
        (status(400, bad), FailureClass::Permanent, "invalid_value", Some("phoneNumbers"), false),
        (status(400, FaultBody::Empty), FailureClass::Permanent, "refused", None, false),
        (status(401, FaultBody::Native), FailureClass::Unauthorised, "unauthorised", None, false),
        (
            status(404, FaultBody::Json(json!({"message": "no route"}))),
            FailureClass::Transient,
            "not_initlive",
            None,
            false,
        ),
        (status(502, FaultBody::Html), FailureClass::Transient, "server_error", None, true),
        (Effect::Cut, FailureClass::Transient, "connection_cut", None, true),
        (Effect::LoginPage, FailureClass::Transient, "html_answer", None, true),
    ] {
        strike(&sandbox, "PUT", effect.clone());
        let failure = failed(&connector, update(&snapshot, &[("phoneNumbers", Some("2"))])).await;
        assert_eq!((failure.class, failure.code.as_str(), failure.in_doubt), (class, code, in_doubt), "{effect:?}");
        assert_eq!(failure.attribute, attribute.map(|path: &str| path.parse().unwrap()), "{effect:?}");
        assert!(connector.remedy(&failure.code).is_some(), "{code}");
        assert!(!format!("{failure} {failure:?}").contains("ada@"), "{failure}");
    }
    strike(&sandbox, "GET", Effect::TooManyRequests { retry_after: RetryAfter::Seconds(7) });
    let throttled = connector.get(&[id("7")]).await.unwrap_err();
    assert_eq!((throttled.class, throttled.retry_after), (FailureClass::Throttled, Some(Duration::from_secs(7))));
    strike(&sandbox, "GET", Effect::LoginPage);
    assert_eq!(connector.read(&ReadFrom::Start).await.unwrap_err().code.as_str(), "html_answer");
    let shown = format!("{:?} {connector:?}", settings(&sandbox));
    assert!(!shown.contains(DEFAULT_INITLIVE_KEY), "{shown}");
    assert_eq!(Version { modified_at: None, ..snapshot.version }.tag, None);
}

/// R44, R60: the check names what is missing, and changes nothing.
#[tokio::test]
async fn the_check_says_what_is_missing() {
    let sandbox = sandbox().await;
    let problems = |findings: Vec<Finding>| {
        findings
            .into_iter()
            .filter(|finding| finding.problem.is_some())
            .map(|finding| finding.subject)
            .collect::<Vec<_>>()
    };
    let check = async |settings: InitLiveSettings| problems(InitLive::new(settings).unwrap().preflight().await);
    sandbox.admin().seed(Imitated::InitLive, 3, 1).unwrap();
    assert_eq!(check(settings(&sandbox)).await, Vec::<String>::new());
    let subject = "api key and organisation";
    assert_eq!(check(InitLiveSettings { api_key: "another".into(), ..settings(&sandbox) }).await, [subject]);
    assert_eq!(check(InitLiveSettings { organization: 2002, ..settings(&sandbox) }).await, [subject]);
    let elsewhere = sandbox.url().parse().unwrap();
    assert_eq!(check(InitLiveSettings { url: elsewhere, ..settings(&sandbox) }).await, [subject]);
    let creates = Rights { creates: true, ..Rights::default() };
    assert_eq!(problems(connector(&sandbox).prove_rights(&creates).await), Vec::<String>::new());
    configure(&sandbox, json!({"permission": "read"}));
    assert_eq!(problems(connector(&sandbox).prove_rights(&creates).await), ["right to create users"]);
    configure(&sandbox, json!({"key": "expired"}));
    assert_eq!(check(settings(&sandbox)).await, [subject]);
    assert_eq!(sandbox.admin().write_count(), 0);
}

/// The configuration of the administrator's page is one.
#[test]
fn the_page_for_administrators_has_a_configuration_that_is_read() {
    let config = super::page_configuration(include_str!("../../../docs/systems/initlive.md"), "INITLIVE_KEY");
    let connection = &config.connections[&"contacts-volunteers".parse().unwrap()];
    assert_eq!(config.systems[&connection.ends.b.system].kind.word(), "initlive");
}

/// R25: a membership ends, the person stays; twice is no failure, and who was changed meanwhile is left alone.
#[tokio::test]
async fn a_membership_is_ended_once() {
    let sandbox = sandbox().await;
    let connector = connector(&sandbox);
    let account = enter(&sandbox, &[INITLIVE_ORGANIZATION, 7]);
    enter_somebody_else(&sandbox);
    let seen = found(&connector, &account).await;
    let remove = |unless_changed_since: &Version| {
        let unless_changed_since = unless_changed_since.clone();
        Write::new(Action::Remove { account: id(&account), unless_changed_since }, Attributes::new())
    };
    // Its stamps tell seconds apart, and no less.
    sandbox.admin().set_clock(Imitated::InitLive, 60_000);
    sandbox.admin().edit(Imitated::InitLive, &account, &json!({"lastName": "Byron"})).unwrap();
    assert!(matches!(write(&connector, remove(&seen.version)).await, Written::Moved(_)));
    let seen = found(&connector, &account).await;
    assert_eq!(write(&connector, remove(&seen.version)).await, Written::Ended);
    assert!(matches!(write(&connector, remove(&seen.version)).await, Written::Gone(_)));
    assert_eq!(user(&sandbox, &account)["organizations"], json!([7]), "the person stays in the other one");
    let delete = Action::Delete { account: id(&account), unless_changed_since: seen.version };
    let refused = failed(&connector, Write::new(delete, Attributes::new())).await;
    assert_eq!(refused.code.as_str(), "not_offered");
}

/// Without anybody in it, an organisation cannot be told from one that the key does not see.
fn enter_somebody_else(sandbox: &Sandbox) {
    let fields = json!({"username": "grace@x.example", "firstName": "Grace", "lastName": "Hopper",
        "organizations": [INITLIVE_ORGANIZATION]});
    sandbox.admin().create(Imitated::InitLive, &fields).unwrap();
}
