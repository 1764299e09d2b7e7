//! The SCIM connector against servers with every habit that the sandbox knows: the same life of an account on each.

use std::collections::BTreeSet;

use muster::domain::{AccountId, Attributes, Failure, FailureClass, Snapshot, Value};
use muster::sandbox::{Actor, Admin, Dialect, Preset, Quirk, Sandbox, SandboxSettings, System as Imitated};
use muster::systems::scim::Scim;
use muster::systems::{Action, Lookup, Next, ReadFrom, Record, SearchKey, System, Write, Written};
use serde_json::{Value as Json, json};

use super::{scim_of, soon};

const DEPARTMENT: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department";
const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

/// More refusals in a row than any server of these has.
const TRIES: usize = 20;

/// A server with some habits, its administrator, and a connector as a worker has it.
struct World {
    dialect: Dialect,
    name: String,
    admin: Admin,
    scim: Scim,
    sandbox: Sandbox,
    clock_ms: i64,
}

fn values(pairs: &[(&str, Option<Value>)]) -> Attributes {
    pairs.iter().map(|(path, value)| (path.parse().unwrap(), value.clone())).collect()
}

fn by_user_name(name: &str) -> SearchKey {
    SearchKey::Attribute("userName".parse().unwrap(), name.to_owned())
}

fn partner() -> AccountId {
    "005RM000001iKYtYAM".parse().unwrap()
}

impl World {
    /// A directory of five users, of whom two fit on a page.
    async fn start(name: &str, dialect: Dialect) -> Self {
        let settings = SandboxSettings {
            dialect: dialect.clone(),
            scim_token: "hush-hush".into(),
            scim_max_page: 2,
            ..SandboxSettings::default()
        };
        let sandbox = Sandbox::start(settings).await.unwrap();
        let admin = sandbox.admin();
        for number in 0..5 {
            let user = json!({"userName": format!("u{number}@x.example"), "externalId": format!("e{number}"),
                "title": "Agent", "active": true, "emails": [{"value": format!("u{number}@x.example"), "type": "work", "primary": true}]});
            admin.create(Imitated::Scim, &user).unwrap();
        }
        let scim = scim_of(&sandbox.scim_url().parse().unwrap(), 2);
        Self { dialect, name: name.to_owned(), admin, scim, sandbox, clock_ms: 0 }
    }

    fn has(&self, quirk: Quirk) -> bool {
        self.dialect.contains(&quirk)
    }

    /// Another worker, that knows nothing of the server yet.
    fn restart(&mut self) {
        self.scim = scim_of(&self.sandbox.scim_url().parse().unwrap(), 2);
    }

    async fn write(&self, write: Write) -> Written {
        for _ in 0..TRIES {
            match self.scim.write(std::slice::from_ref(&write), soon()).await.pop().unwrap() {
                Written::Failed(failure) if failure.class == FailureClass::Throttled => {}
                written => return written,
            }
        }
        panic!("{}: throttled for good", self.name)
    }

    async fn done(&self, action: Action, values: Attributes) -> Snapshot {
        match self.write(Write::new(action, values)).await {
            Written::Done(snapshot) => {
                self.shows(&snapshot);
                snapshot
            }
            other => panic!("{}: {other:?}", self.name),
        }
    }

    async fn update(&self, on: &Snapshot, pairs: &[(&str, Option<Value>)]) -> Snapshot {
        self.done(update(on), values(pairs)).await
    }

    async fn again<T>(&self, call: impl AsyncFn() -> Result<T, Failure>) -> T {
        for _ in 0..TRIES {
            match call().await {
                Err(failure) if failure.class == FailureClass::Throttled => {}
                result => return result.unwrap_or_else(|failure| panic!("{}: {failure:?}", self.name)),
            }
        }
        panic!("{}: throttled for good", self.name)
    }

    async fn search(&self, keys: &[SearchKey]) -> Vec<Vec<AccountId>> {
        let found = self.again(async || self.scim.search(keys).await).await;
        found.into_iter().map(|found| found.into_iter().map(|snapshot| snapshot.account).collect()).collect()
    }

    async fn get(&self, account: &AccountId) -> Lookup {
        self.again(async || self.scim.get(std::slice::from_ref(account)).await).await.remove(0)
    }

    async fn found(&self, account: &AccountId) -> Snapshot {
        match self.get(account).await {
            Lookup::Found(snapshot) => snapshot,
            other => panic!("{}: {other:?}", self.name),
        }
    }

    /// What the directory itself holds of an account.
    fn record(&self, account: &AccountId) -> Json {
        self.admin.account(Imitated::Scim, account.as_str()).unwrap()
    }

    /// A person's edit, a while later.
    fn edit(&mut self, account: &AccountId, fields: &Json) {
        self.clock_ms += 60_000;
        self.admin.set_clock(Imitated::Scim, self.clock_ms);
        self.admin.edit(Imitated::Scim, account.as_str(), fields).unwrap();
    }

    /// Whether a snapshot is what the directory holds, whatever form the directory gives to values.
    fn shows(&self, snapshot: &Snapshot) {
        let record = self.record(&snapshot.account);
        let text = |json: &Json| json.as_str().map(str::to_owned);
        let email = record["emails"].as_array().and_then(|list| list.iter().find(|entry| entry["type"] == "work"));
        for (path, expected) in [
            ("userName", text(&record["userName"])),
            ("title", text(&record["title"])),
            ("nickName", text(&record["nickName"])),
            ("name.givenName", text(&record["name"]["givenName"])),
            ("emails", email.and_then(|entry| text(&entry["value"]))),
            (DEPARTMENT, text(&record[ENTERPRISE]["department"])),
        ] {
            assert_eq!(snapshot.attributes[&path.parse().unwrap()], expected.map(Value::Text), "{}: {path}", self.name);
        }
        let active = snapshot.attributes.get(&"active".parse().unwrap());
        assert_eq!(active.cloned(), record["active"].as_bool().map(|flag| Some(Value::Bool(flag))), "{}", self.name);
    }

    fn writes(&self) -> usize {
        let mut writes = self.admin.writes(0);
        writes.retain(|write| write.actor == Actor::Client && write.system == Imitated::Scim);
        writes.len()
    }

    /// The roster as the connector lists it, and whether it says that this is all.
    async fn list(&self) -> (Vec<Snapshot>, bool) {
        let (mut from, mut snapshots) = (ReadFrom::Start, Vec::new());
        for _ in 0..TRIES {
            let page = self.again(async || self.scim.read(&from).await).await;
            snapshots.extend(page.records.into_iter().map(|record| match record {
                Record::Account(snapshot) => snapshot,
                unreadable => panic!("{}: {unreadable:?}", self.name),
            }));
            match page.next {
                Next::Page(position) => from = ReadFrom::Position(position),
                Next::End { proven_complete, .. } => return (snapshots, proven_complete),
            }
        }
        panic!("{}: the list does not end", self.name)
    }
}

fn update(on: &Snapshot) -> Action {
    Action::Update { account: on.account.clone(), unless_changed_since: on.version.clone() }
}

/// The life of an account on one server.
async fn live(name: &str, dialect: Dialect) {
    let mut world = World::start(name, dialect).await;
    let create = || Action::Create { partner: partner() };

    let ada = values(&[
        ("userName", Some("Ada@x.example".into())),
        ("name.givenName", Some("Ada".into())),
        ("name.familyName", Some("Lovelace".into())),
        ("emails", Some("ada@x.example".into())),
        ("title", Some("Agent".into())),
        ("nickName", Some("ada".into())),
        (DEPARTMENT, Some("Support".into())),
        ("active", Some(true.into())),
    ]);
    let created = world.done(create(), ada.clone()).await;
    let record = world.record(&created.account);
    assert_eq!((&record["title"], &record[ENTERPRISE]["department"]), (&json!("Agent"), &json!("Support")), "{name}");
    assert_eq!(record["active"], true, "{name}");
    let account = created.account.clone();

    // Found by what it was created for.
    let nobody = by_user_name("nobody@x.example");
    let found = world.search(&[SearchKey::Partner(partner()), by_user_name("ADA@x.example"), nobody]).await;
    let kept = if world.has(Quirk::ExternalIdDropped) { vec![] } else { vec![account.clone()] };
    assert_eq!(found, [kept, vec![account.clone()], vec![]], "{name}");
    let email = SearchKey::Attribute("emails".parse().unwrap(), "ada@x.example".into());
    assert_eq!(world.search(&[email]).await, [[account.clone()]], "{name}");

    // Entries that are not ours stay, also those that Muster knows nothing of.
    if !world.has(Quirk::SingleValued) {
        let emails = json!([{"value": "home@x.example", "type": "home", "display": "h"},
            {"value": "ada@x.example", "type": "work", "primary": true}]);
        world.edit(&account, &json!({"emails": emails, "roles": [{"value": "r"}]}));
    }
    let seen = world.found(&account).await;
    world.shows(&seen);
    let changes = [("title", Some("Lead".into())), ("emails", Some("a.lovelace@x.example".into()))];
    let changed = world.update(&seen, &changes).await;
    let record = world.record(&account);
    assert_eq!(record["title"], "Lead", "{name}");
    let emails: BTreeSet<_> =
        record["emails"].as_array().unwrap().iter().map(|entry| entry["value"].as_str()).collect();
    let mut expected = BTreeSet::from([Some("a.lovelace@x.example")]);
    if !world.has(Quirk::SingleValued) {
        expected.insert(Some("home@x.example"));
        assert!(record["roles"] == json!([{"value": "r"}]), "{name}: what is not ours stays");
    }
    assert_eq!(emails, expected, "{name}");
    if !world.has(Quirk::ExternalIdDropped) {
        assert_eq!(record["externalId"], partner().as_str(), "{name}");
    }

    // What is true already is not written again.
    let before = world.writes();
    let same = world.update(&changed, &changes).await;
    let log = world.admin.writes(0);
    assert!(world.writes() == before || !log.last().unwrap().changed, "{name}");

    let cleared = world.update(&same, &[("nickName", None), ("name.givenName", Some("Augusta".into()))]).await;
    let record = world.record(&account);
    assert_eq!((record.get("nickName"), &record["name"]["givenName"]), (None, &json!("Augusta")), "{name}");
    assert_eq!(record["name"]["familyName"], "Lovelace", "{name}");
    let phoned = world.update(&cleared, &[("phoneNumbers", Some("5550100".into())), (DEPARTMENT, None)]).await;
    let record = world.record(&account);
    assert_eq!((&record["phoneNumbers"][0]["value"], record.get(ENTERPRISE)), (&json!("5550100"), None), "{name}");

    let left = world.update(&phoned, &[("active", Some(false.into()))]).await;
    assert_eq!(world.record(&account)["active"], false, "{name}");
    let back = world.update(&left, &[("active", Some(true.into()))]).await;
    assert_eq!(world.record(&account)["active"], true, "{name}");

    // An edit by a person is never overwritten, by a worker that knows the server or by a new one.
    let mut base = back;
    for person in ["Boss", "Chief"] {
        world.edit(&account, &json!({"title": person}));
        for pairs in [&[("title", Some("Lead".into()))][..], &[("emails", Some("x@x.example".into()))]] {
            let written = world.write(Write::new(update(&base), values(pairs))).await;
            let Written::Moved(snapshot) = written else { panic!("{name}: {written:?}") };
            world.shows(&snapshot);
            assert_eq!(world.record(&account)["title"], person, "{name}");
        }
        base = world.found(&account).await;
        world.restart();
    }
    let lead = world.update(&base, &[("title", Some("Lead".into()))]).await;
    assert_eq!(world.record(&account)["title"], "Lead", "{name}");

    // Nobody is created twice, and no user name is taken from another.
    let again = world.write(Write::new(create(), ada)).await;
    assert!(matches!(again, Written::Exists { .. }), "{name}: {again:?}");
    let taken = Write::new(update(&lead), values(&[("userName", Some("u3@x.example".into()))]));
    let taken = world.write(taken).await;
    assert!(matches!(taken, Written::Exists { .. }), "{name}: {taken:?}");

    // The list shows everybody, and what it shows is what a read by id shows.
    let (listed, proven) = world.list().await;
    assert_eq!(proven, !world.has(Quirk::TotalOfPage), "{name}");
    let ids: BTreeSet<&str> = listed.iter().map(|snapshot| snapshot.account.as_str()).collect();
    let users = world.admin.accounts(Imitated::Scim);
    assert_eq!((listed.len(), ids), (6, users.iter().map(|user| user["id"].as_str().unwrap()).collect()), "{name}");
    for snapshot in &listed {
        assert_eq!(world.found(&snapshot.account).await.attributes, snapshot.attributes, "{name}");
    }

    // A deletion is of the state that was seen, and done once.
    let deletion = |unless_changed_since| {
        Write::new(Action::Delete { account: account.clone(), unless_changed_since }, Attributes::new())
    };
    if name == "none" {
        let moved = world.write(deletion(base.version.clone())).await;
        assert!(matches!(moved, Written::Moved(_)), "{moved:?}");
    }
    let now = world.found(&account).await;
    assert_eq!(world.write(deletion(now.version.clone())).await, Written::Ended, "{name}");
    assert!(matches!(world.write(deletion(now.version)).await, Written::Gone(_)), "{name}");
    assert!(matches!(world.get(&account).await, Lookup::Absent(_)), "{name}");
    let gone = world.write(Write::new(update(&lead), values(&[("title", None)]))).await;
    assert!(matches!(gone, Written::Gone(_)), "{name}: {gone:?}");
}

/// B25, R75: whatever habit a server has, accounts are created once, found, changed in what differs and no more, and a
/// person's edit is never overwritten.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_lives_the_same_life_under_every_habit() {
    live("none", Dialect::new()).await;
    for quirk in Quirk::ALL {
        live(&format!("{quirk:?}"), [quirk].into()).await;
    }
}

/// B25: so it does under habits that are met together.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_lives_the_same_life_under_habits_that_are_met_together() {
    for preset in Preset::ALL {
        live(&format!("{preset:?}"), preset.dialect()).await;
    }
}

/// B25: `muster check` says what was found out, and none of it is a fault.
#[tokio::test(flavor = "multi_thread")]
async fn the_check_says_in_words_how_a_server_behaves() {
    let preset = |preset: Preset| preset.dialect();
    let one = |quirk: Quirk| Dialect::from([quirk]);
    for (dialect, says) in [
        (Dialect::new(), "versions: ETags are offered"),
        (one(Quirk::PatchUnsupported), "PATCH is not offered, so accounts are replaced whole"),
        (one(Quirk::NoEtag), "can be overwritten unseen"),
        (one(Quirk::NoMeta), "left alone if its values differ"),
        (one(Quirk::StringBooleans), "booleans: answered as texts"),
        (one(Quirk::CursorPaging), "lists: paged by cursor"),
        (one(Quirk::StartIndexFromZero), "lists: counted from 0"),
        (one(Quirk::FilterIgnored), "filters: not offered"),
        (one(Quirk::ExternalIdDropped), "externalId: no account listed has one"),
        (one(Quirk::NoDiscovery), "schemas: not offered"),
        (preset(Preset::Careless), "externalId: no account listed has one"),
        (preset(Preset::Bare), "no ETag and no stamp"),
        (Dialect::from([Quirk::NoDiscovery, Quirk::FilterIgnored]), "filters: passed over"),
        (Dialect::from([Quirk::NoDiscovery, Quirk::CursorPaging]), "lists: paged by cursor"),
    ] {
        let world = World::start(&format!("{dialect:?}"), dialect).await;
        let findings = world.scim.preflight().await;
        assert!(findings.iter().all(|finding| finding.problem.is_none()), "{}: {findings:?}", world.name);
        assert!(findings.iter().any(|finding| finding.subject.contains(says)), "{}: {findings:?}", world.name);
    }
}
