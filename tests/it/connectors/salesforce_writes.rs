//! The Salesforce connector writing to the sandbox's org: one record, many records, what goes wrong with some of them or
//! with all, contacts, rights, and the login by key.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::time::Duration;

use muster::domain::{AccountId, Attributes, Failure, FailureClass, Snapshot, Value};
use muster::sandbox::salesforce::Access;
use muster::sandbox::{
    Admin, ClientKey, DuplicateRule, Effect, Fault, FaultBody, INTEGRATION_USERNAME, Matcher, RefusedRows,
    SalesforceEdit, Sandbox, SandboxSettings, System as Imitated,
};
use muster::systems::salesforce::{Login, Object, Org, RecordSettings, Salesforce, remedy};
use muster::systems::{Action, Lookup, Rights, SearchKey, System, Write, Written};
use serde_json::{Value as Json, json};
use tokio::time::Instant;

use super::{org_with, soon};

/// An org with both kinds of record, written to as both.
struct Rig {
    sandbox: Sandbox,
    org: Org,
    users: Salesforce,
    contacts: Salesforce,
}

impl Rig {
    async fn with(users: usize, contacts: usize) -> Self {
        let sandbox = Sandbox::start(SandboxSettings { users, contacts, ..SandboxSettings::default() }).await.unwrap();
        let login = Login::ClientCredentials {
            client_id: sandbox.client_id().to_owned(),
            client_secret: sandbox.client_secret().into(),
        };
        let org = org_with(&sandbox.salesforce_url().parse().unwrap(), login).unwrap();
        let users = Salesforce::new(&org, user_settings(&sandbox.admin()));
        let contacts = Salesforce::new(
            &org,
            RecordSettings { partner_field: Some("Partner_Id__c".into()), ..RecordSettings::new(Object::Contact) },
        );
        Self { sandbox, org, users, contacts }
    }

    fn admin(&self) -> Admin {
        self.sandbox.admin()
    }

    /// What the org did with a fault that strikes calls with these words in their path.
    fn fault(&self, path: &str, effect: Effect) {
        let on = Matcher { path: Some(path.into()), system: Some(Imitated::Salesforce), ..Matcher::default() };
        self.admin().inject(Fault { on, effect });
    }

    /// The people of the org as the connector sees them, settled: some time ago.
    async fn people(&self) -> Vec<Snapshot> {
        self.admin().set_clock(Imitated::Salesforce, 60_000);
        let ids = ids(&self.admin().accounts(Imitated::Salesforce), |row| row["UserType"] == "Standard");
        found(&self.users, &ids).await
    }

    async fn contacts(&self) -> Vec<Snapshot> {
        self.admin().set_clock(Imitated::Salesforce, 60_000);
        let ids = ids(&self.admin().records(Imitated::Salesforce, "Contact"), |_| true);
        found(&self.contacts, &ids).await
    }

    /// Calls since the last time, by operation.
    fn calls(&self) -> BTreeMap<&'static str, u64> {
        let mut calls = BTreeMap::new();
        for (operation, _, count) in self.users.report().calls {
            *calls.entry(operation).or_default() += count;
        }
        calls
    }
}

fn user_settings(admin: &Admin) -> RecordSettings {
    let profile = admin.records(Imitated::Salesforce, "Profile")[1]["Id"].as_str().unwrap().to_owned();
    let defaults = [
        ("ProfileId", profile.as_str()),
        ("EmailEncodingKey", "UTF-8"),
        ("TimeZoneSidKey", "Europe/Paris"),
        ("LocaleSidKey", "fr_FR"),
        ("LanguageLocaleKey", "fr"),
    ];
    RecordSettings {
        fields: vec!["Sync__c".into()],
        defaults: defaults.map(|(name, value)| (name.to_owned(), Value::from(value))).into(),
        partner_field: Some("Partner_Id__c".into()),
        ..RecordSettings::new(Object::User)
    }
}

fn ids(rows: &[Json], wanted: impl Fn(&Json) -> bool) -> Vec<AccountId> {
    rows.iter().filter(|row| wanted(row)).map(|row| row["Id"].as_str().unwrap().parse().unwrap()).collect()
}

async fn found(crm: &Salesforce, ids: &[AccountId]) -> Vec<Snapshot> {
    let lookups = crm.get(ids).await.unwrap();
    lookups
        .into_iter()
        .map(|lookup| match lookup {
            Lookup::Found(snapshot) => snapshot,
            other => panic!("{other:?}"),
        })
        .collect()
}

fn values(pairs: &[(&str, Value)]) -> Attributes {
    pairs.iter().map(|(path, value)| (path.parse().unwrap(), Some(value.clone()))).collect()
}

fn update(seen: &Snapshot, values: Attributes) -> Write {
    let (account, unless_changed_since) = (seen.account.clone(), seen.version.clone());
    Write::new(Action::Update { account, unless_changed_since }, values)
}

fn title(seen: &Snapshot, title: &str) -> Write {
    update(seen, values(&[("title", title.into())]))
}

/// A new user, or a new contact, who is the partner of this number.
fn newcomer(number: usize, object: Object) -> Write {
    let address = format!("new{number}@x.example");
    let mut values =
        values(&[("name.familyName", format!("New {number}").as_str().into()), ("emails", address.as_str().into())]);
    if object == Object::User {
        values.insert("userName".parse().unwrap(), Some(address.as_str().into()));
        values.insert("nickName".parse().unwrap(), Some("new".into()));
    }
    Write::new(Action::Create { partner: partner(number) }, values)
}

fn partner(number: usize) -> AccountId {
    format!("operator-{number}").parse().unwrap()
}

fn newcomers(count: usize, object: Object) -> Vec<Write> {
    (0..count).map(|number| newcomer(number, object)).collect()
}

#[track_caller]
fn done(written: &Written) -> &Snapshot {
    match written {
        Written::Done(snapshot) => snapshot,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn failure(written: &Written) -> &Failure {
    match written {
        Written::Failed(failure) => failure,
        other => panic!("{other:?}"),
    }
}

fn text(snapshot: &Snapshot, path: &str) -> Option<String> {
    snapshot.attributes[&path.parse().unwrap()].as_ref()?.as_text().map(str::to_owned)
}

/// B19: 200 accounts cost two calls, 1,000 cost ten: what they hold afterwards is read by the call that writes.
#[tokio::test]
async fn a_wave_of_updates_costs_two_calls() {
    let rig = Rig::with(200, 0).await;
    let people = rig.people().await;
    rig.calls();
    let writes: Vec<Write> = people.iter().map(|person| title(person, "Agent")).collect();
    for (person, written) in people.iter().zip(rig.users.write(&writes, soon()).await) {
        let snapshot = done(&written);
        assert_eq!((&snapshot.account, text(snapshot, "title").as_deref()), (&person.account, Some("Agent")));
        assert!(snapshot.version.modified_at > person.version.modified_at);
    }
    assert_eq!(rig.calls(), BTreeMap::from([("read_before", 1), ("update_many", 1)]));
    let writes = rig.admin().writes(0);
    assert_eq!(writes.len(), 200);
    assert_eq!(writes.iter().map(|write| &write.request).collect::<BTreeSet<_>>().len(), 1);
}

/// B19: 200 new accounts cost two calls, the search for them included, however long the ids of their partners are.
#[tokio::test]
async fn a_wave_of_creations_costs_two_calls() {
    let rig = Rig::with(1, 0).await;
    rig.people().await;
    rig.calls();
    let uuid = |number: usize| format!("2819c223-7f76-453a-919d-{number:012}").parse::<AccountId>().unwrap();
    let name = |number: usize| SearchKey::Attribute("userName".parse().unwrap(), format!("new{number}@x.example"));
    let keys: Vec<SearchKey> = (0..200).flat_map(|number| [SearchKey::Partner(uuid(number)), name(number)]).collect();
    assert!(rig.users.search(&keys).await.unwrap().iter().all(Vec::is_empty));
    let writes: Vec<Write> = (0..200)
        .map(|number| Write { action: Action::Create { partner: uuid(number) }, ..newcomer(number, Object::User) })
        .collect();
    let written = rig.users.write(&writes, soon()).await;
    assert_eq!(rig.calls(), BTreeMap::from([("search", 1), ("create_many", 1)]));
    // Each is found by both of its keys, in whichever of the queries they went, and once by each.
    for (keys, written) in rig.users.search(&keys).await.unwrap().chunks(2).zip(&written) {
        let account = &done(written).account;
        assert!(keys.iter().all(|found| found.len() == 1 && &found[0].account == account), "{keys:?}");
    }
}

/// Where no field names the partner, nothing finds new records in the call that makes them: they are read back by their
/// ids, in a call of its own.
#[tokio::test]
async fn creations_without_a_partner_field_are_read_back_afterwards() {
    let rig = Rig::with(0, 0).await;
    let settings = RecordSettings { partner_field: None, ..user_settings(&rig.admin()) };
    let users = Salesforce::new(&rig.org, settings);
    rig.calls();
    let written = users.write(&newcomers(5, Object::User), soon()).await;
    assert!(written.iter().all(|written| done(written).partner.is_none()));
    let calls = rig.calls();
    assert_eq!((calls["create_many"], calls["read_back"]), (1, 1), "{calls:?}");
}

/// R10: what a new user needs and the mapping does not give comes from the configuration. R43: it carries its partner.
#[tokio::test]
async fn a_wave_of_creations_fills_in_what_is_needed() {
    let rig = Rig::with(0, 0).await;
    for count in [1, 150] {
        rig.calls();
        let writes: Vec<Write> = (count..2 * count).map(|number| newcomer(number, Object::User)).collect();
        let written = rig.users.write(&writes, soon()).await;
        for (number, written) in (count..).zip(&written) {
            let snapshot = done(written);
            assert_eq!(snapshot.partner, Some(partner(number)));
            assert_eq!(text(snapshot, "locale").as_deref(), Some("fr-FR"));
            assert_eq!(snapshot.attributes[&"active".parse().unwrap()], Some(true.into()));
        }
        assert_eq!(
            rig.calls().values().sum::<u64>(),
            if count == 1 { 3 } else { 1 },
            "a single one logs in and is read back"
        );
    }
    let user = rig.admin().writes(0)[0].after.clone().unwrap();
    assert_eq!((&user["EmailEncodingKey"], &user["Partner_Id__c"]), (&json!("UTF-8"), &json!("operator-1")));
}

/// R81, B22: a record that is refused says why and at which attribute; the others are written.
#[tokio::test]
async fn each_record_has_an_answer_of_its_own() {
    use FailureClass::{Permanent, Throttled, Transient};
    let rig = Rig::with(6, 0).await;
    let people = rig.people().await;
    let taken = text(&people[1], "userName").unwrap();
    let change = |number: usize, path: &str, value: &str| update(&people[number], values(&[(path, value.into())]));
    let check = |written: &Written, class, code: &str, attribute: Option<&str>| {
        let failure = failure(written);
        assert_eq!((failure.class, failure.code.as_str(), failure.in_doubt), (class, code, false));
        assert_eq!(failure.attribute.as_ref().map(|path| path.as_str()), attribute, "{code}");
        assert!(failure.message.len() < 80 && !failure.message.contains("Not here"), "{}", failure.message);
        assert!(remedy(&failure.code).is_some() || code == "a_code_of_next_year", "{code}");
    };
    let writes = [
        change(0, "title", "Agent"),
        change(2, "userName", &taken),
        change(3, "title", &"x".repeat(81)),
        change(4, "emails", "nobody"),
        change(5, "timezone", "Mars/Olympus"),
    ];
    let written = rig.users.write(&writes, soon()).await;
    done(&written[0]);
    assert_eq!(written[1], Written::Exists { attribute: Some("userName".parse().unwrap()) });
    check(&written[2], Permanent, "string_too_long", Some("title"));
    check(&written[3], Permanent, "invalid_email_address", Some("emails"));
    check(&written[4], Permanent, "invalid_or_null_for_restricted_picklist", Some("timezone"));
    assert_eq!(rig.admin().writes(0).len(), 1);

    let division = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:division";
    for (code, message, field, class, attribute) in [
        ("UNABLE_TO_LOCK_ROW", "unable to obtain exclusive access to this record", None, Transient, None),
        ("REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.", None, Throttled, None),
        ("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", "x: execution of UNABLE_TO_LOCK_ROW", None, Transient, None),
        ("FIELD_CUSTOM_VALIDATION_EXCEPTION", "Not here.", Some("Title"), Permanent, Some("title")),
        ("LICENSE_LIMIT_EXCEEDED", "License Limit Exceeded", None, Permanent, None),
        ("A_CODE_OF_NEXT_YEAR", "Whatever.", Some("Division"), Permanent, Some(division)),
    ] {
        let fields = field.map(str::to_owned).into_iter().collect();
        let rows = RefusedRows { code: code.into(), message: message.into(), fields, containing: None, every: None };
        for (every, writes) in [(2, 2), (1, 1)] {
            let rows = RefusedRows { every: NonZeroUsize::new(every), ..rows.clone() };
            rig.fault("/s", Effect::RefuseRows(rows));
            let now = found(&rig.users, &people.iter().map(|person| person.account.clone()).collect::<Vec<_>>()).await;
            let writes: Vec<Write> = now[..writes].iter().map(|person| title(person, code)).collect();
            let written = rig.users.write(&writes, soon()).await;
            rig.admin().end_faults();
            check(written.last().unwrap(), class, &code.to_lowercase(), attribute);
            written[..writes.len() - 1].iter().for_each(|written| assert!(matches!(written, Written::Done(_))));
            rig.admin().set_clock(Imitated::Salesforce, 120_000);
        }
    }
}

/// R76: no older decision overwrites a newer edit, of one or of many.
#[tokio::test]
async fn records_that_moved_are_left_out() {
    let rig = Rig::with(10, 0).await;
    let people = rig.people().await;
    rig.admin().edit(Imitated::Salesforce, people[3].account.as_str(), &json!({"Title": "Chief"})).unwrap();
    rig.admin().edit(Imitated::Salesforce, people[4].account.as_str(), &json!({"Title": "Agent"})).unwrap();
    let fresh = found(&rig.users, &[people[4].account.clone()]).await.remove(0);
    rig.calls();

    let mut writes: Vec<Write> = people.iter().map(|person| title(person, "Agent")).collect();
    writes[4] = title(&fresh, "Agent");
    let written = rig.users.write(&writes, soon()).await;
    for (number, written) in written.iter().enumerate() {
        match written {
            Written::Moved(snapshot) => {
                assert_eq!((number, text(snapshot, "title").as_deref()), (3, Some("Chief")));
            }
            other => assert_eq!(text(done(other), "title").as_deref(), Some("Agent"), "{number}"),
        }
    }
    assert_eq!(rig.calls(), BTreeMap::from([("read_before", 1), ("update_many", 1)]));
    let written_by_us = rig.admin().writes(2);
    assert_eq!(written_by_us.len(), 8, "neither the one that moved nor the one that has the value already");

    // One alone goes out on a condition, and is refused by the org itself.
    rig.admin().set_clock(Imitated::Salesforce, 120_000);
    let alone = rig.users.write(&[title(&people[3], "Agent")], soon()).await.remove(0);
    let Written::Moved(snapshot) = alone else { panic!("{alone:?}") };
    assert_eq!(text(&snapshot, "title").as_deref(), Some("Chief"));
    assert_eq!(rig.calls(), BTreeMap::from([("update", 1), ("get", 1)]));
    let alone = rig.users.write(&[title(&snapshot, "Agent")], soon()).await.remove(0);
    assert_eq!(text(done(&alone), "title").as_deref(), Some("Agent"));
    assert_eq!(rig.calls(), BTreeMap::from([("update", 1), ("read_back", 1)]));
}

/// B21, R83: a clear is carried as a clear, and what is not mentioned stays.
#[tokio::test]
async fn a_clear_is_written_as_one() {
    let rig = Rig::with(2, 0).await;
    let people = rig.people().await;
    let clear = |person: &Snapshot| update(person, Attributes::from([("title".parse().unwrap(), None)]));
    let first = rig.users.write(&people.iter().map(clear).collect::<Vec<_>>(), soon()).await;
    let again = found(&rig.users, &[people[0].account.clone()]).await;
    let second = rig.users.write(&[title(&again[0], "Agent")], soon()).await;
    assert_eq!(text(done(&first[0]), "title"), None);
    assert_eq!(text(done(&first[0]), "name.familyName"), text(&people[0], "name.familyName"));
    assert_eq!(text(done(&second[0]), "title").as_deref(), Some("Agent"));
}

/// B23, R15: a call whose answer is lost leaves each of its records in doubt, and a search by the partner's id finds
/// those that came about; of 200 in one query.
#[tokio::test]
async fn creations_in_doubt_are_found_again() {
    for (effect, created) in [
        (Effect::AppliedThenCut, 40),
        (Effect::AppliedThenStatus { status: 503, body: FaultBody::Html }, 40),
        (Effect::AppliedThenStatus { status: 400, body: FaultBody::Html }, 40),
        (Effect::TruncatedJson, 40),
        (Effect::RowsThenCut { rows: 25 }, 25),
        (Effect::LoginPage, 0),
    ] {
        let rig = Rig::with(0, 0).await;
        rig.fault("/composite", effect.clone());
        let written = rig.users.write(&newcomers(40, Object::User), soon()).await;
        for written in &written {
            let failure = failure(written);
            assert_eq!((failure.class, failure.in_doubt), (FailureClass::Transient, true), "{effect:?}: {failure}");
        }
        rig.calls();
        let keys: Vec<SearchKey> = (0..40).map(|number| SearchKey::Partner(partner(number))).collect();
        let found = rig.users.search(&keys).await.unwrap();
        let partners: Vec<_> = found.iter().flatten().map(|account| account.partner.clone().unwrap()).collect();
        assert_eq!(partners, (0..created).map(partner).collect::<Vec<_>>(), "{effect:?}");
        assert_eq!(rig.calls(), BTreeMap::from([("search", 1)]));

        // Had the search been left out, the org's own keys would still stand in the way.
        rig.admin().end_faults();
        let again = rig.users.write(&newcomers(40, Object::User), soon()).await;
        let exist = again.iter().filter(|written| matches!(written, Written::Exists { attribute: Some(_) })).count();
        assert_eq!(exist, created);
    }
}

/// A write that was carried out and cannot be read back is in doubt; nothing is sent after the deadline, and nothing
/// runs past it.
#[tokio::test]
async fn the_deadline_holds_for_every_request() {
    let rig = Rig::with(3, 0).await;
    let people = rig.people().await;
    let writes: Vec<Write> = people.iter().map(|person| title(person, "Agent")).collect();
    rig.fault("/query", Effect::Status { status: 500, body: FaultBody::Native });
    for written in rig.users.write(&newcomers(1, Object::User), soon()).await {
        let failure = failure(&written);
        assert_eq!((failure.code.as_str(), failure.in_doubt), ("read_back", true));
    }
    assert_eq!(rig.admin().writes(0).len(), 1);
    for written in rig.users.write(&writes, soon()).await {
        assert!(!failure(&written).in_doubt, "what could not be looked at was not written");
    }
    rig.admin().end_faults();

    rig.fault("/composite", Effect::Hang);
    let deadline = Instant::now() + Duration::from_millis(300);
    for written in rig.users.write(&writes, deadline).await {
        let failure = failure(&written);
        assert_eq!((failure.code.as_str(), failure.in_doubt), ("timeout", true));
    }
    assert!(Instant::now() >= deadline);
    rig.calls();
    for written in rig.users.write(&writes, deadline).await {
        assert_eq!((failure(&written).class, failure(&written).in_doubt), (FailureClass::Transient, false));
    }
    assert_eq!(rig.calls(), BTreeMap::new());
    rig.admin().end_faults();
    rig.admin().release();
}

/// One record with a value that its field cannot hold makes Salesforce refuse the whole call: it is found, and the
/// others are written.
#[tokio::test]
async fn one_malformed_record_does_not_spoil_its_call() {
    let rig = Rig::with(60, 0).await;
    let people = rig.people().await;
    let mut writes: Vec<Write> = people.iter().map(|person| title(person, "Agent")).collect();
    writes[41] = update(&people[41], values(&[("native.Sync__c", "perhaps".into())]));
    rig.calls();
    let written = rig.users.write(&writes, soon()).await;
    for (number, written) in written.iter().enumerate() {
        if number == 41 {
            assert_eq!(failure(written).code.as_str(), "json_parser_error");
        } else {
            done(written);
        }
    }
    assert!(rig.calls()["update_many"] <= 13);
}

#[tokio::test]
async fn a_session_that_ends_before_a_write_is_renewed_and_the_write_made_once() {
    let rig = Rig::with(2, 0).await;
    let people = rig.people().await;
    let once = Matcher { path: Some("/composite".into()), times: Some(1), ..Matcher::default() };
    rig.admin().inject(Fault { on: once, effect: Effect::ExpiredSession });
    let writes: Vec<Write> = people.iter().map(|person| title(person, "Agent")).collect();
    for written in rig.users.write(&writes, soon()).await {
        done(&written);
    }
    assert_eq!(rig.admin().writes(0).len(), 2);
    assert_eq!(rig.calls()["token"], 2);
}

/// R54: contacts are kept in step by the same names. R81 does not hold for them: a deleted one is gone.
#[tokio::test]
async fn contacts_are_created_changed_and_found_gone() {
    let rig = Rig::with(0, 3).await;
    let people = rig.contacts().await;
    rig.admin().delete_record(Imitated::Salesforce, "Contact", people[0].account.as_str()).unwrap();
    rig.admin().delete_record(Imitated::Salesforce, "Contact", people[1].account.as_str()).unwrap();
    let written = rig.contacts.write(&[title(&people[0], "Agent"), title(&people[2], "Agent")], soon()).await;
    assert!(matches!(written[0], Written::Gone(_)), "{written:?}");
    assert_eq!(text(done(&written[1]), "title").as_deref(), Some("Agent"));
    let alone = rig.contacts.write(&[title(&people[1], "Agent")], soon()).await;
    assert!(matches!(alone[0], Written::Gone(_)), "{alone:?}");

    let created = rig.contacts.write(&newcomers(3, Object::Contact), soon()).await;
    assert_eq!(done(&created[2]).partner, Some(partner(2)));
    assert_eq!(text(done(&created[2]), "displayName").as_deref(), Some("New 2"));
    let schema = rig.contacts.schema();
    assert_eq!(schema.attribute(&"active".parse().unwrap()), None, "a contact is never inactive");
    assert!((schema.parse_id)(done(&created[0]).account.as_str()).is_some());
    assert!((rig.users.schema().parse_id)(done(&created[0]).account.as_str()).is_none());

    let rule = SalesforceEdit { duplicate_rule: Some(DuplicateRule::Block), ..SalesforceEdit::default() };
    rig.admin().configure_salesforce(rule).unwrap();
    let mut twin = newcomer(0, Object::Contact);
    twin.action = Action::Create { partner: partner(9) };
    let written = rig.contacts.write(&[twin], soon()).await;
    assert_eq!(failure(&written[0]).code.as_str(), "duplicates_detected");
}

/// Users belong to the set-up of an org and contacts do not: Salesforce refuses them in one call.
#[tokio::test]
async fn users_and_contacts_never_share_a_call() {
    let rig = Rig::with(20, 20).await;
    let (people, contacts) = (rig.people().await, rig.contacts().await);
    let writes = |people: &[Snapshot]| people.iter().map(|person| title(person, "Agent")).collect::<Vec<_>>();
    let (users, others) = (writes(&people), writes(&contacts));
    let more = (newcomers(20, Object::User), newcomers(20, Object::Contact));
    let answers = tokio::join!(
        rig.users.write(&users, soon()),
        rig.contacts.write(&others, soon()),
        rig.users.write(&more.0, soon()),
        rig.contacts.write(&more.1, soon()),
    );
    for written in [answers.0, answers.1, answers.2, answers.3].iter().flatten() {
        done(written);
    }
    let mut objects = BTreeMap::<String, BTreeSet<String>>::new();
    for write in rig.admin().writes(0) {
        objects.entry(write.request).or_default().insert(write.object);
    }
    assert_eq!(objects.len(), 4);
    assert!(objects.values().all(|objects| objects.len() == 1), "{objects:?}");
    assert_eq!(rig.calls()["token"], 1, "one login for both");
    assert!(rig.contacts.report().calls.is_empty(), "and one count");
}

/// Many keys take few queries, and each gets the records that truly have its value.
#[tokio::test]
async fn keys_are_searched_together() {
    let rig = Rig::with(150, 0).await;
    rig.users.write(&newcomers(100, Object::User), soon()).await;
    let people = rig.people().await;
    rig.calls();
    let mut keys: Vec<SearchKey> = (50..150).map(|number| SearchKey::Partner(partner(number))).collect();
    let by_name = |name: String| SearchKey::Attribute("userName".parse().unwrap(), name);
    keys.extend(people.iter().map(|person| by_name(text(person, "userName").unwrap().to_uppercase())));
    keys.push(by_name("x".repeat(5_000)));
    keys.push(by_name(r"'\ OR Id != null".into()));
    let found = rig.users.search(&keys).await.unwrap();
    assert_eq!(found.len(), keys.len());
    for (number, found) in found.iter().enumerate() {
        let expected = match number {
            0..50 => 1,
            50..100 => 0,
            number if number < 100 + people.len() => 1,
            _ => 0,
        };
        assert_eq!(found.len(), expected, "{number}");
    }
    assert_eq!(found[100].first().unwrap().account, people[0].account);
    assert_eq!(rig.calls(), BTreeMap::from([("search", 1)]), "several queries, one call");
}

/// R6, R16, R60: what the run-as user may not do is named before anything is written, and so is what a new record lacks.
#[tokio::test]
async fn rights_and_defaults_are_proven() {
    let rig = Rig::with(1, 0).await;
    let rights = Rights {
        attributes: ["userName", "emails", "name.familyName", "nickName", "title", "active"]
            .map(|path| path.parse().unwrap())
            .into(),
        creates: true,
        ..Rights::default()
    };
    let problems = async |crm: &Salesforce| -> Vec<String> {
        let findings = crm.prove_rights(&rights).await;
        findings.into_iter().filter(|finding| finding.problem.is_some()).map(|finding| finding.subject).collect()
    };
    assert_eq!(problems(&rig.users).await, <[String; 0]>::default());
    let access = |field: &str, access| SalesforceEdit {
        access: BTreeMap::from([(format!("User.{field}"), access)]),
        ..SalesforceEdit::default()
    };
    rig.admin().configure_salesforce(access("Title", Access::ReadOnly)).unwrap();
    rig.admin().configure_salesforce(access("Partner_Id__c", Access::Hidden)).unwrap();
    assert_eq!(problems(&rig.users).await, ["write access to User.Title", "write access to User.Partner_Id__c"]);

    let mut settings = user_settings(&rig.admin());
    settings.partner_field = None;
    settings.defaults.remove("EmailEncodingKey");
    settings.defaults.insert("LocaleSidKey".into(), "tlh_QO".into());
    settings.defaults.insert("ProfileId".into(), "Standard User".into());
    settings.defaults.insert("Nope__c".into(), "x".into());
    let careless = Salesforce::new(&rig.org, settings);
    assert_eq!(
        problems(&careless).await[1..],
        [
            "default of User.LocaleSidKey",
            "default of User.Nope__c",
            "default of User.ProfileId",
            "field User.EmailEncodingKey"
        ]
    );
    let schema = careless.schema();
    let encoding = schema.attribute(&"native.EmailEncodingKey".parse().unwrap()).unwrap();
    assert!(encoding.required && !encoding.writable, "so that the configuration is refused where users are created");
}

/// The app logs in with a key instead of a secret, and each refusal says which setting to change.
#[tokio::test]
async fn a_key_logs_in() {
    let key = ClientKey::generate().unwrap();
    let settings =
        SandboxSettings { users: 3, certificate_pem: Some(key.certificate_pem.clone()), ..SandboxSettings::default() };
    let sandbox = Sandbox::start(settings).await.unwrap();
    let url = sandbox.salesforce_url().parse().unwrap();
    let login = |username: &str, key: &ClientKey, audience: Option<&str>| Login::JwtBearer {
        client_id: sandbox.client_id().to_owned(),
        username: username.to_owned(),
        key: key.private_pem.clone(),
        audience: audience.map(str::to_owned),
    };
    let org = org_with(&url, login(INTEGRATION_USERNAME, &key, None)).unwrap();
    let crm = Salesforce::new(&org, RecordSettings::new(Object::User));
    let page = crm.read(&muster::systems::ReadFrom::Start).await.unwrap();
    assert_eq!(page.records.len(), 4, "the robot too");
    sandbox.admin().expire_sessions();
    crm.read(&muster::systems::ReadFrom::Start).await.unwrap();

    let other = ClientKey::generate().unwrap();
    let elsewhere = Some("https://login.example.com");
    for (name, login, code, word) in [
        ("unknown user", login("nobody@x.example", &key, None), "user_not_approved", "pre-authorized"),
        ("other key", login(INTEGRATION_USERNAME, &other, None), "invalid_assertion", "certificate"),
        ("audience", login(INTEGRATION_USERNAME, &key, elsewhere), "invalid_audience", "audience"),
    ] {
        let crm = Salesforce::new(&org_with(&url, login).unwrap(), RecordSettings::new(Object::User));
        let failure = crm.read(&muster::systems::ReadFrom::Start).await.unwrap_err();
        assert_eq!((failure.class, failure.code.as_str()), (FailureClass::Unauthorised, code), "{name}");
        assert!(remedy(&failure.code).unwrap().contains(word), "{name}");
    }
    let no_key = ClientKey { private_pem: key.certificate_pem.clone().into(), certificate_pem: String::new() };
    assert!(org_with(&url, login(INTEGRATION_USERNAME, &no_key, None)).is_err());
}

/// R25, R81: a contact goes to the recycle bin once, unless it was changed meanwhile; a user is never deleted.
#[tokio::test]
async fn contacts_are_deleted_and_users_are_not() {
    let rig = Rig::with(3, 3).await;
    let delete = |seen: &Snapshot| {
        let (account, unless_changed_since) = (seen.account.clone(), seen.version.clone());
        Write::new(Action::Delete { account, unless_changed_since }, Attributes::new())
    };
    let people = rig.contacts().await;
    rig.admin().set_clock(Imitated::Salesforce, 120_000);
    let edit = json!({"Title": "Agent"});
    rig.admin().edit_record(Imitated::Salesforce, "Contact", people[0].account.as_str(), &edit).unwrap();
    let writes = [delete(&people[0]), delete(&people[1]), title(&people[2], "Agent")];
    let written = rig.contacts.write(&writes, soon()).await;
    assert!(matches!(written[0], Written::Moved(_)), "{written:?}");
    assert_eq!(written[1], Written::Ended);
    assert_eq!(text(done(&written[2]), "title").as_deref(), Some("Agent"));
    let again = rig.contacts.write(&[delete(&people[1])], soon()).await;
    assert!(matches!(again[0], Written::Gone(_)), "{again:?}");
    let users = rig.people().await;
    let refused = rig.users.write(&[delete(&users[0])], soon()).await;
    assert_eq!(failure(&refused[0]).code.as_str(), "not_offered");
}
