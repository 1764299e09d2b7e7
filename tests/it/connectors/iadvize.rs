//! The iAdvize connector against the sandbox, over both of its APIs.

use std::sync::Arc;
use std::time::Duration;

use muster::domain::deferral::InUse;
use muster::domain::{
    AccountId, AttributePath, Attributes, Code, Failure, FailureClass, Snapshot, Timestamp, Value, Version,
};
use muster::sandbox::{self, Effect, Fault, FaultBody, Matcher, RetryAfter, Sandbox, SandboxSettings, Totals};
use muster::systems::budget::OwnCalls;
use muster::systems::iadvize::{Iadvize, IadvizeSettings, Login, Platform, Presence};
use muster::systems::{Action, Lookup, Next, Page, ReadFrom, Record, Rights, SearchKey, System, Write, Written};
use serde_json::{Value as Json, json};

use super::soon;

const CHAT: sandbox::System = sandbox::System::Iadvize;

/// Which of the two APIs a test speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Api {
    Graphql,
    Rest,
}

const BOTH: [Api; 2] = [Api::Graphql, Api::Rest];

struct World {
    sandbox: Sandbox,
    iadvize: Iadvize,
    api: Api,
}

fn path(name: &str) -> AttributePath {
    name.parse().unwrap()
}

fn id(text: impl AsRef<str>) -> AccountId {
    text.as_ref().parse().unwrap()
}

fn values(pairs: &[(&str, Value)]) -> Attributes {
    pairs.iter().map(|(name, value)| (path(name), Some(value.clone()))).collect()
}

fn set(items: &[&str]) -> Value {
    Value::Set(items.iter().map(|item| (*item).to_owned()).collect())
}

fn settings(sandbox: &Sandbox, api: Api) -> IadvizeSettings {
    let settings = IadvizeSettings {
        url: sandbox.iadvize_url().parse().unwrap(),
        login: match api {
            Api::Graphql => Login::User {
                username: sandbox::iadvize::DEFAULT_USERNAME.into(),
                password: sandbox::iadvize::DEFAULT_PASSWORD.into(),
            },
            Api::Rest => Login::Key(sandbox::iadvize::DEFAULT_API_KEY.into()),
        },
        platform: Platform::HighAvailability,
        defaults: values(&[("roles", "operator".into()), ("native.projects", set(&["Shop"]))]),
        presence: Presence::Respect,
        calls_per_second: 1_000,
        page_size: 100,
        concurrency: 4,
        request_timeout: Duration::from_secs(20),
        ca_file: None,
        calls: Arc::new(OwnCalls::default()),
    };
    let shown = format!("{settings:?}");
    assert!(!shown.contains(sandbox::iadvize::DEFAULT_PASSWORD) && !shown.contains(sandbox::iadvize::DEFAULT_API_KEY));
    settings
}

impl World {
    async fn start(api: Api) -> Self {
        Self::with(api, |_| {}).await
    }

    async fn with(api: Api, change: impl FnOnce(&mut IadvizeSettings)) -> Self {
        let sandbox = Sandbox::start(SandboxSettings::default()).await.unwrap();
        let mut settings = settings(&sandbox, api);
        change(&mut settings);
        let iadvize = Iadvize::new(settings).unwrap();
        Self { sandbox, iadvize, api }
    }

    fn set(&self, settings: Json) {
        self.sandbox.admin().configure(CHAT, settings).unwrap();
    }

    fn fault(&self, on: Matcher, effect: Effect) {
        self.sandbox.admin().inject(Fault { on, effect });
    }

    /// An operator who was there before.
    fn add(&self, name: &str) -> AccountId {
        let fields = json!({"name": name, "pseudo": name, "email": format!("{name}@x.example"), "website_list": [1]});
        id(self.sandbox.admin().create(CHAT, &fields).unwrap())
    }

    fn held(&self, account: &AccountId) -> Json {
        self.sandbox.admin().account(CHAT, account.as_str()).unwrap()
    }

    fn presence(&self, account: &AccountId, presence: &str) {
        self.sandbox.admin().edit(CHAT, account.as_str(), &json!({"presence": presence})).unwrap();
    }

    fn mails(&self) -> usize {
        self.sandbox.admin().records(CHAT, "Mail").len()
    }

    /// Writes that programs made.
    fn client_writes(&self) -> usize {
        let writes = self.sandbox.admin().writes(0);
        writes.iter().filter(|write| write.actor == sandbox::Actor::Client).count()
    }

    async fn look(&self, account: &AccountId) -> Snapshot {
        match self.iadvize.get(std::slice::from_ref(account)).await.unwrap().remove(0) {
            Lookup::Found(snapshot) => snapshot,
            other => panic!("{other:?}"),
        }
    }

    async fn create(&self, partner: &str, values: Attributes) -> Written {
        let write = Write::new(Action::Create { partner: id(partner) }, values);
        self.iadvize.write(&[write], soon()).await.remove(0)
    }

    async fn change(&self, account: &AccountId, version: Version, values: Attributes, in_use: InUse) -> Written {
        let action = Action::Update { account: account.clone(), unless_changed_since: version };
        self.iadvize.write(&[Write { in_use, ..Write::new(action, values) }], soon()).await.remove(0)
    }

    /// Reads the operator, and changes it.
    async fn update(&self, account: &AccountId, pairs: &[(&str, Value)]) -> Written {
        let seen = self.look(account).await;
        self.change(account, seen.version, values(pairs), InUse::Spare).await
    }

    async fn find(&self, key: SearchKey) -> Vec<Snapshot> {
        self.iadvize.search(&[key]).await.unwrap().remove(0)
    }
}

fn ada() -> Attributes {
    values(&[
        ("emails", "ada@x.example".into()),
        ("name.givenName", "Ada".into()),
        ("name.familyName", "Byron".into()),
        ("nickName", "Countess".into()),
    ])
}

#[track_caller]
fn done(written: Written) -> Snapshot {
    match written {
        Written::Done(snapshot) => snapshot,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn failed(written: Written) -> Failure {
    match written {
        Written::Failed(failure) => failure,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn check_busy(written: Written, code: &str, in_doubt: bool) {
    let failure = failed(written);
    assert_eq!((failure.class, failure.code.as_str(), failure.in_doubt), (FailureClass::Busy, code, in_doubt));
}

fn value<'s>(snapshot: &'s Snapshot, name: &str) -> Option<&'s Value> {
    snapshot.attributes.get(&path(name)).and_then(Option::as_ref)
}

fn proven(page: &Page) -> bool {
    matches!(page.next, Next::End { proven_complete: true, .. })
}

fn accounts(page: &Page) -> Vec<AccountId> {
    let account = |record: &Record| match record {
        Record::Account(snapshot) => snapshot.account.clone(),
        other @ Record::Unreadable { .. } => panic!("{other:?}"),
    };
    page.records.iter().map(account).collect()
}

async fn pages(iadvize: &Iadvize) -> Vec<Page> {
    let (mut pages, mut from) = (Vec::new(), ReadFrom::Start);
    loop {
        let page = iadvize.read(&from).await.unwrap();
        let next = page.next.clone();
        pages.push(page);
        match next {
            Next::Page(position) => from = ReadFrom::Position(position),
            Next::End { .. } => return pages,
        }
    }
}

/// R9, R10, R15, R19, R43, B23: a creation makes an agent who carries the partner's id, gets one mail, and is found again
/// by that id and by the address in any letter case (R13).
#[tokio::test]
async fn an_agent_is_created_once_and_found_again() {
    for api in BOTH {
        let world = World::start(api).await;
        let created = done(world.create("005A", ada()).await);
        assert_eq!(created.partner, Some(id("005A")), "{api:?}");
        assert_eq!(value(&created, "emails"), Some(&"ada@x.example".into()));
        assert_eq!(value(&created, "roles"), Some(&"operator".into()));
        assert_eq!(value(&created, "native.projects"), Some(&set(&["Shop"])));
        assert_eq!(world.held(&created.account)["pseudo"], "Countess");
        assert_eq!(world.mails(), 1);

        let by_partner = world.find(SearchKey::Partner(id("005A"))).await;
        assert_eq!(by_partner.len(), 1);
        assert_eq!(by_partner[0].account, created.account);
        let by_email = world.find(SearchKey::Attribute(path("emails"), " ADA@x.example ".into())).await;
        assert_eq!(by_email[0].account, created.account);
        assert_eq!(world.find(SearchKey::Partner(id("005"))).await.len(), 0);
        let wild = if api == Api::Rest { "005*" } else { "005B" };
        assert_eq!(world.find(SearchKey::Partner(id(wild))).await.len(), 0, "a wildcard is no id");
        let key = [SearchKey::Attribute(path("nickName"), "Countess".into())];
        assert_eq!(world.iadvize.search(&key).await.unwrap_err().code.as_str(), "not_searchable");
    }
}

/// R12, R19, R20: where the address is taken nobody is created, no mail goes out, and the other operator is untouched.
#[tokio::test]
async fn a_taken_address_creates_nobody_and_touches_nobody() {
    for api in BOTH {
        let world = World::start(api).await;
        let other = world.add("ada");
        let before = (world.held(&other), world.mails());
        let mut wanted = ada();
        wanted.insert(path("emails"), Some("Ada@X.example".into()));
        assert_eq!(world.create("005A", wanted).await, Written::Exists { attribute: Some(path("emails")) }, "{api:?}");
        let somebody = world.add("grace");
        let moved = world.update(&somebody, &[("emails", "ADA@x.example".into())]).await;
        assert_eq!(moved, Written::Exists { attribute: Some(path("emails")) });
        assert_eq!((world.held(&other), world.mails()), (before.0, before.1 + 1));
        assert_eq!(world.client_writes(), 0);
    }
}

/// R15, B23: a creation whose answer was lost is in doubt, left one operator and one mail, and is found by the partner's id.
#[tokio::test]
async fn a_creation_without_an_answer_is_found_by_the_partners_id() {
    for api in BOTH {
        let world = World::start(api).await;
        world.iadvize.preflight().await;
        let on = match api {
            Api::Graphql => Matcher { body: Some("userCreate(".into()), times: Some(1), ..Matcher::default() },
            Api::Rest => Matcher { method: Some("POST".into()), times: Some(1), ..Matcher::default() },
        };
        world.fault(on, Effect::AppliedThenCut);
        let failure = failed(world.create("005A", ada()).await);
        assert_eq!((failure.class, failure.in_doubt), (FailureClass::Transient, true), "{api:?}");
        let found = world.find(SearchKey::Partner(id("005A"))).await;
        assert_eq!((found.len(), world.mails()), (1, 1));
    }
}

/// R9, R11, R36: an update sends what is asked for, and what an administrator filled in stays.
#[tokio::test]
async fn an_update_changes_what_is_asked_for_and_nothing_else() {
    for api in BOTH {
        let world = World::start(api).await;
        let account = world.add("ada");
        let filled = json!({
            "skill_list": [1, 3], "chat_max_number": 3, "role": "manager", "language_admin": "fr", "chat_priority": true,
            "language_list": ["fr", "en"], "group_id": 2,
        });
        world.sandbox.admin().edit(CHAT, account.as_str(), &filled).unwrap();
        let after = done(world.update(&account, &[("name.givenName", "Ada".into())]).await);
        assert_eq!(value(&after, "name.givenName"), Some(&"Ada".into()), "{api:?}");
        let mut expected = world.held(&account);
        for (field, kept) in filled.as_object().unwrap() {
            assert_eq!(&expected[field], kept, "{field}");
        }
        // A member of a block goes out with the others as they are.
        done(world.update(&account, &[("native.chatSlots", Value::Int(4)), ("preferredLanguage", "es".into())]).await);
        expected["chat_max_number"] = json!(4);
        expected["language_admin"] = json!("es");
        assert_eq!(world.held(&account), expected);
        // What it has already is not sent: an update throws people out.
        let writes = world.client_writes();
        done(world.update(&account, &[("native.chatSlots", Value::Int(4))]).await);
        assert_eq!(world.client_writes(), writes);
    }
}

/// R22, R24, B20: whoever is logged in is left alone, unless it is urgent; then they are thrown out.
#[tokio::test]
async fn somebody_at_work_is_left_alone_unless_it_is_urgent() {
    for api in BOTH {
        let world = World::start(api).await;
        let account = world.add("ada");
        let thrown_out = || world.sandbox.admin().records(CHAT, "Disconnection").len();
        for presence in ["online", "conversation"] {
            world.presence(&account, presence);
            check_busy(world.update(&account, &[("nickName", "Countess".into())]).await, "logged_in", false);
        }
        assert_eq!((world.client_writes(), thrown_out()), (0, 0), "{api:?}");
        world.presence(&account, "online");
        let seen = world.look(&account).await;
        done(world.change(&account, seen.version, values(&[("nickName", "Countess".into())]), InUse::Override).await);
        assert_eq!(thrown_out(), 1);
        // Offline again, and once seen: that is told as well.
        done(world.update(&account, &[("nickName", "Lady".into())]).await);
        assert_eq!(thrown_out(), 1);
    }
}

/// R23, B20: a change that a conversation swallowed is noticed, although it was answered like any other.
#[tokio::test]
async fn a_change_that_is_accepted_and_ignored_is_busy() {
    for api in BOTH {
        let world = World::start(api).await;
        let account = world.add("ada");
        // The conversation begins between the look at the presence and the update.
        world.set(json!({"busy_on_update": 1}));
        check_busy(world.update(&account, &[("nickName", "Countess".into())]).await, "in_conversation", true);
        assert_eq!(world.held(&account)["pseudo"], "ada", "{api:?}");
        // An urgent change is swallowed by a conversation as well.
        let seen = world.look(&account).await;
        let urgent =
            world.change(&account, seen.version, values(&[("nickName", "Countess".into())]), InUse::Override).await;
        check_busy(urgent, "in_conversation", true);
        world.presence(&account, "offline");
        done(world.update(&account, &[("nickName", "Countess".into())]).await);
        assert_eq!(world.held(&account)["pseudo"], "Countess");
    }
}

/// An operator who was changed meanwhile is not written to, one who is deleted is gone, also where GraphQL still shows it.
#[tokio::test]
async fn changed_and_deleted_operators_are_not_written_to() {
    for api in BOTH {
        let world = World::start(api).await;
        let account = world.add("ada");
        let seen = world.look(&account).await;
        world.sandbox.admin().edit(CHAT, account.as_str(), &json!({"pseudo": "Lady"})).unwrap();
        let wanted = values(&[("name.familyName", "Byron".into())]);
        match world.change(&account, seen.version.clone(), wanted.clone(), InUse::Spare).await {
            Written::Moved(now) => assert_eq!(value(&now, "nickName"), Some(&"Lady".into())),
            other => panic!("{api:?} {other:?}"),
        }
        world.sandbox.admin().delete(CHAT, account.as_str()).unwrap();
        assert!(
            matches!(world.change(&account, seen.version, wanted, InUse::Spare).await, Written::Gone(_)),
            "{api:?}"
        );
        let lookups = world.iadvize.get(&[account, id("9999"), id("x")]).await.unwrap();
        assert!(matches!(lookups[..2], [Lookup::Absent(_), Lookup::Absent(_)]), "{lookups:?}");
        assert_eq!(lookups[2], Lookup::Unreadable { code: Code::known("invalid_id"), attribute: None });
        assert_eq!(world.client_writes(), 0);
        assert_eq!(world.find(SearchKey::Attribute(path("emails"), "ada@x.example".into())).await.len(), 0);
    }
}

/// R28, R32, R37, R38, R39, B22: names that iAdvize does not have and limits that it does are refused before a call.
#[tokio::test]
async fn what_iadvize_would_refuse_is_refused_before_the_call() {
    for api in BOTH {
        let world = World::start(api).await;
        let account = world.add("ada");
        for (name, wanted, code) in [
            ("native.skills", set(&["Sales", "Juggling"]), "unknown_skill"),
            ("native.projects", set(&["Nowhere"]), "unknown_project"),
            ("native.group", "Mars".into(), "unknown_group"),
            ("roles", "emperor".into(), "unknown_role"),
            ("native.chatSlots", Value::Int(7), "too_many_slots"),
            ("displayName", "Ada".into(), "unknown_attribute"),
        ] {
            let failure = failed(world.update(&account, &[(name, wanted)]).await);
            assert_eq!((failure.class, failure.code.as_str()), (FailureClass::Permanent, code), "{api:?} {name}");
            assert_eq!(failure.attribute, Some(path(name)));
            assert!(world.iadvize.remedy(&failure.code).is_some(), "{code}");
        }
        assert_eq!(world.client_writes(), 0);
        // A name that was made since the tables were read is found; letter case does not matter.
        let update =
            [("native.skills", set(&["sales"])), ("native.group", "Lille".into()), ("roles", "manager".into())];
        done(world.update(&account, &update).await);
        let held = world.held(&account);
        assert_eq!(
            (&held["skill_list"], &held["group_id"], &held["role"]),
            (&json!([2]), &json!(2), &json!("manager"))
        );
    }
}

/// B21: clears travel as clears where the API can clear, and are refused by name where it cannot.
#[tokio::test]
async fn clears_are_carried_or_refused_by_name() {
    for api in BOTH {
        let world = World::start(api).await;
        let account = world.add("ada");
        let fields = json!({"first_name": "Ada", "skill_list": [1], "group_id": 1});
        world.sandbox.admin().edit(CHAT, account.as_str(), &fields).unwrap();
        let cleared: Attributes = [(path("name.givenName"), None), (path("native.skills"), None)].into();
        let seen = world.look(&account).await;
        let after = done(world.change(&account, seen.version, cleared, InUse::Spare).await);
        assert_eq!(after.attributes[&path("name.givenName")], None, "{api:?}");
        assert_eq!(after.attributes[&path("native.skills")], None);
        let group: Attributes = [(path("native.group"), None)].into();
        let written = world.change(&account, after.version, group, InUse::Spare).await;
        match api {
            Api::Graphql => assert_eq!(failed(written).code.as_str(), "cannot_clear"),
            Api::Rest => assert_eq!(done(written).attributes[&path("native.group")], None),
        }
    }
}

/// R31, R35: a channel that the subscription lacks is a permanent refusal with a name of its own.
#[tokio::test]
async fn a_channel_without_a_subscription_is_refused_by_name() {
    let world = World::start(Api::Graphql).await;
    let account = world.add("ada");
    world.set(json!({"channels": ["chat"]}));
    let failure = failed(world.update(&account, &[("native.videoEnabled", Value::Bool(true))]).await);
    assert_eq!((failure.class, failure.code.as_str()), (FailureClass::Permanent, "channel_not_subscribed"));
    let failure = failed(world.update(&account, &[("native.chatToVideo", Value::Bool(true))]).await);
    assert_eq!(failure.code.as_str(), "chat_to_video_without_video");
    assert_eq!(failure.attribute, Some(path("native.chatToVideo")));
}

/// R27, R33 to R36, R40 to R42: every attribute that an API has can be written, and is read as it was written.
#[tokio::test]
async fn every_attribute_comes_back_as_it_was_written() {
    for api in BOTH {
        let world = World::start(api).await;
        let account = world.add("ada");
        let wanted = [
            ("emails", "lady@x.example".into()),
            ("name.familyName", "Lovelace".into()),
            ("name.givenName", "Ada".into()),
            ("nickName", "Lady".into()),
            ("roles", "admin".into()),
            ("preferredLanguage", "de".into()),
            ("timezone", "Europe/Paris".into()),
            ("native.dateFormat", "YMD".into()),
            ("native.timeFormat", "MERIDIAN".into()),
            ("native.languages", set(&["de", "sv"])),
            ("native.projects", set(&["Shop", "Outlet"])),
            ("native.skills", set(&["Technical"])),
            ("native.group", "Paris".into()),
            ("native.chatEnabled", Value::Bool(true)),
            ("native.chatSlots", Value::Int(6)),
            ("native.chatPriority", Value::Bool(true)),
            ("native.chatToVideo", Value::Bool(true)),
            ("native.chatAndCall", Value::Bool(true)),
            ("native.callEnabled", Value::Bool(true)),
            ("native.callPriority", Value::Bool(true)),
            ("native.callAskNumber", Value::Bool(true)),
            ("native.callFrom", "phone".into()),
            ("native.callNumber", "+33123456789".into()),
            ("native.videoEnabled", Value::Bool(true)),
            ("native.videoPriority", Value::Bool(true)),
            ("native.thirdPartyEnabled", Value::Bool(true)),
            ("native.thirdPartySlots", Value::Int(3)),
            ("native.avatar", "https://x.example/ada.png".into()),
            ("native.samlId", "ada-saml".into()),
            ("externalId", "005-ada".into()),
        ];
        let known = |name: &str| world.iadvize.schema().attribute(&path(name)).is_some();
        let wanted: Vec<(&str, Value)> = wanted.into_iter().filter(|(name, _)| known(name)).collect();
        assert_eq!(wanted.len(), world.iadvize.schema().attributes.len(), "{api:?}");
        let after = done(world.update(&account, &wanted).await);
        for (name, wanted) in &wanted {
            assert!(value(&after, name) == Some(wanted), "{api:?} {name}");
        }
        assert!(world.look(&account).await.attributes == after.attributes);
        assert_eq!(after.partner, Some(id("005-ada")), "{api:?}");
    }
}

/// B12: REST counts, so a whole read is proven; a list that hides somebody, and GraphQL's, which has no count, prove
/// nothing. Bots and the like are no operators.
#[tokio::test]
async fn reads_are_proven_only_by_a_count_that_was_reached() {
    for api in BOTH {
        let world = World::with(api, |settings| settings.page_size = 7).await;
        let added = world.sandbox.admin().seed(CHAT, 20, 1).unwrap();
        let read = pages(&world.iadvize).await;
        assert_eq!(read.len(), 3, "{api:?}");
        let mut seen: Vec<AccountId> = read.iter().flat_map(accounts).collect();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 21, "with the login's own operator");
        assert!(added.iter().all(|account| seen.contains(&id(account))));
        assert_eq!(proven(&read[2]), api == Api::Rest);
        world.fault(Matcher::default(), Effect::PartialList { per_mille: 300, totals: Totals::Kept });
        assert!(!proven(pages(&world.iadvize).await.last().unwrap()), "{api:?}");
    }
}

/// Ids in lists are numbers, digits or objects, as the vendor's own client expects them.
#[tokio::test]
async fn ids_of_rest_are_taken_in_every_form() {
    let world = World::start(Api::Rest).await;
    let account = world.add("ada");
    for form in ["number", "text", "object"] {
        world.set(json!({"ids": form}));
        let found = world.find(SearchKey::Attribute(path("emails"), "ada@x.example".into())).await;
        assert_eq!(found.len(), 1, "{form}");
        assert_eq!(found[0].account, account);
        let read = pages(&world.iadvize).await;
        assert_eq!(accounts(&read[0]).len(), 2, "{form}");
    }
}

/// One login serves all; a token that dies is renewed once for all who wait, and the write behind it is carried out once.
#[tokio::test]
async fn one_token_serves_all_and_is_renewed_once() {
    let world = World::start(Api::Graphql).await;
    let logins = || {
        let counts = world.sandbox.admin().request_counts();
        counts.iter().filter(|((_, operation, _), _)| *operation == "token").map(|(_, count)| count).sum::<u64>()
    };
    let account = world.add("ada");
    let accounts = vec![account.clone(); 12];
    world.iadvize.get(&accounts).await.unwrap();
    assert_eq!(logins(), 1);
    world.fault(Matcher { body: Some("user(".into()), times: Some(1), ..Matcher::default() }, Effect::ExpiredSession);
    world.iadvize.get(&accounts).await.unwrap();
    assert_eq!(logins(), 2);
    let on = Matcher { body: Some("userUpdate(".into()), times: Some(1), ..Matcher::default() };
    world.fault(on, Effect::ExpiredSession);
    done(world.update(&account, &[("nickName", "Lady".into())]).await);
    assert_eq!((logins(), world.client_writes()), (3, 1));
}

/// Logins are rationed by ourselves, before the vendor blocks the user for all.
#[tokio::test]
async fn logins_are_rationed() {
    let world = World::start(Api::Graphql).await;
    world.fault(Matcher { body: Some("user(".into()), ..Matcher::default() }, Effect::ExpiredSession);
    let account = world.add("ada");
    let mut last = None;
    for _ in 0..12 {
        last = world.iadvize.get(std::slice::from_ref(&account)).await.err();
    }
    let failure = last.unwrap();
    assert_eq!((failure.class, failure.code.as_str()), (FailureClass::Throttled, "login_limit"));
    assert!(failure.retry_after.is_some_and(|wait| wait <= Duration::from_secs(61)));
    let counts = world.sandbox.admin().request_counts();
    assert_eq!(counts.get(&(CHAT, "token", 200)), Some(&9));
    assert_eq!(counts.get(&(CHAT, "token", 429)), None);
}

/// A login that is refused is not tried again at once, since each try counts and ten of them block the user.
#[tokio::test]
async fn a_refused_login_is_not_tried_again_at_once() {
    let world = World::with(Api::Graphql, |settings| {
        let username = sandbox::iadvize::DEFAULT_USERNAME.into();
        settings.login = Login::User { username, password: "hush-hush".into() };
    })
    .await;
    for _ in 0..3 {
        let failure = world.iadvize.read(&ReadFrom::Start).await.unwrap_err();
        assert_eq!((failure.class, failure.code.as_str()), (FailureClass::Unauthorised, "login_refused"));
        assert!(!format!("{failure:?} {failure} {:?}", world.iadvize).contains("hush-hush"));
    }
    assert_eq!(world.sandbox.admin().request_counts().get(&(CHAT, "token", 400)), Some(&1));
    let world = World::with(Api::Rest, |settings| settings.login = Login::Key("hush-hush".into())).await;
    let failure = world.iadvize.read(&ReadFrom::Start).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Unauthorised);
    assert!(!format!("{failure:?} {failure} {:?}", world.iadvize).contains("hush-hush"));
}

/// Faults of calls are classified: who is asked to wait waits as long, a gateway's page is no answer, and a write that may
/// have been carried out is in doubt.
#[tokio::test]
async fn failures_are_classified() {
    use FailureClass::{Throttled, Transient};
    for api in BOTH {
        let world = World::start(api).await;
        let account = world.add("ada");
        let on = || match api {
            Api::Graphql => Matcher { body: Some("userUpdate(".into()), times: Some(1), ..Matcher::default() },
            Api::Rest => Matcher { method: Some("PUT".into()), times: Some(1), ..Matcher::default() },
        };
        let status = |status, body| Effect::Status { status, body };
        for (effect, class, in_doubt) in [
            (Effect::TooManyRequests { retry_after: RetryAfter::Seconds(7) }, Throttled, false),
            (status(502, FaultBody::Html), Transient, true),
            (status(500, FaultBody::Native), Transient, true),
            (Effect::AppliedThenStatus { status: 504, body: FaultBody::Empty }, Transient, true),
            (Effect::LoginPage, Transient, true),
            (Effect::TruncatedJson, Transient, true),
            (Effect::Cut, Transient, true),
        ] {
            world.fault(on(), effect.clone());
            let name = format!("Ada{}", fastrand::u32(..));
            let failure = failed(world.update(&account, &[("nickName", Value::Text(name))]).await);
            assert_eq!((failure.class, failure.in_doubt), (class, in_doubt), "{api:?} {effect:?} {failure:?}");
            assert!(world.iadvize.remedy(&failure.code).is_some(), "{}", failure.code);
            if class == Throttled {
                assert_eq!(failure.retry_after, Some(Duration::from_secs(7)));
            }
        }
    }
}

/// REST is decided by `meta.status`, whatever the HTTP status says.
#[tokio::test]
async fn rest_is_decided_by_meta_status() {
    let world = World::start(Api::Rest).await;
    let account = world.add("ada");
    let on = || Matcher { method: Some("GET".into()), times: Some(1), ..Matcher::default() };
    let body = |json| FaultBody::Json(json);
    for (status, answer, code) in [
        (200, json!({"meta": {"status": "error", "message": "Forbidden"}}), "unauthorised"),
        (200, json!({"meta": {"status": "error", "message": "Oops"}}), "vendor_error"),
        (200, json!({"meta": {"status": "fail", "message": "Value of field 'id' is not valid."}}), "invalid_value"),
        (200, json!({"id": 17}), "unreadable_answer"),
        (404, json!({"error": "no route"}), "unreadable_answer"),
    ] {
        world.fault(on(), Effect::Status { status, body: body(answer.clone()) });
        let failure = world.iadvize.get(std::slice::from_ref(&account)).await.unwrap_err();
        assert_eq!(failure.code.as_str(), code, "{answer}");
    }
    let gone = json!({"meta": {"status": "fail", "message": format!("Unknown 'operator' with 'id' {account}.")}});
    world.fault(on(), Effect::Status { status: 200, body: body(gone) });
    let lookups = world.iadvize.get(std::slice::from_ref(&account)).await.unwrap();
    assert!(matches!(lookups[..], [Lookup::Absent(_)]));
}

/// Calls are spread over time, so that no second sees more than were allowed.
#[tokio::test]
async fn calls_keep_to_the_configured_rate() {
    let world = World::with(Api::Rest, |settings| settings.calls_per_second = 8).await;
    // The sandbox refuses the ninth call of a second.
    world.set(json!({"requests_per_second": 8}));
    let account = world.add("ada");
    world.iadvize.get(&vec![account; 24]).await.unwrap();
    let counts = world.sandbox.admin().request_counts();
    assert!(counts.keys().all(|(_, _, status)| *status != 429), "{counts:?}");
}

/// R16, R22: the check before the first run names what is missing.
#[tokio::test]
async fn preflight_names_what_is_missing() {
    let rights = Rights { attributes: vec![path("emails")], creates: true, ..Rights::default() };
    for api in BOTH {
        let world = World::start(api).await;
        let findings = world.iadvize.preflight().await;
        assert!(findings.iter().all(|finding| finding.problem.is_none()), "{api:?} {findings:?}");
        let findings = world.iadvize.prove_rights(&rights).await;
        assert!(findings.iter().all(|finding| finding.problem.is_none()), "{api:?} {findings:?}");
        assert_eq!(world.client_writes(), 0);
    }
    let problem = |findings: &[muster::systems::Finding], subject: &str| {
        let finding =
            findings.iter().find(|finding| finding.subject == subject).unwrap_or_else(|| panic!("{findings:?}"));
        finding.problem.clone().unwrap_or_default()
    };
    // R16: an agent's login may not change anybody.
    let world = World::start(Api::Graphql).await;
    let own = world.find(SearchKey::Attribute(path("emails"), sandbox::iadvize::DEFAULT_USERNAME.into())).await;
    world.sandbox.admin().edit(CHAT, own[0].account.as_str(), &json!({"role": "operator"})).unwrap();
    assert!(problem(&world.iadvize.preflight().await, "role of the login").contains("role of a manager"));
    let failure = failed(world.create("005A", ada()).await);
    assert_eq!((failure.class, failure.code.as_str()), (FailureClass::Permanent, "forbidden"));
    // The presence cannot be told.
    let world = World::start(Api::Graphql).await;
    world.set(json!({"presence": false}));
    assert!(problem(&world.iadvize.preflight().await, "presence").contains("presence = \"ignore\""));
    let account = world.add("ada");
    let failure = failed(world.update(&account, &[("nickName", "Lady".into())]).await);
    assert_eq!((failure.class, failure.code.as_str()), (FailureClass::Permanent, "presence_unknown"));
    // Defaults that name nothing.
    let defaults = values(&[("roles", "operator".into()), ("native.projects", set(&["Nowhere"]))]);
    let world = World::with(Api::Rest, |settings| settings.defaults = defaults).await;
    assert!(problem(&world.iadvize.prove_rights(&rights).await, "defaults").contains("unknown_project"));
    let world = World::with(Api::Rest, |settings| settings.defaults = Attributes::new()).await;
    let findings = world.iadvize.prove_rights(&rights).await;
    assert!(problem(&findings, "projects of new operators").contains("no project"));
}

/// With `presence = "ignore"` nobody is looked at, and what a conversation swallows is still noticed.
#[tokio::test]
async fn presence_can_be_ignored() {
    let world = World::with(Api::Graphql, |settings| settings.presence = Presence::Ignore).await;
    world.set(json!({"presence": false}));
    let account = world.add("ada");
    world.presence(&account, "online");
    done(world.update(&account, &[("nickName", "Lady".into())]).await);
    world.presence(&account, "conversation");
    check_busy(world.update(&account, &[("nickName", "Countess".into())]).await, "in_conversation", true);
}

/// R5, R21: neither the SSO key nor a password is ever read into an attribute.
#[tokio::test]
async fn no_secret_of_an_operator_is_read() {
    let world = World::start(Api::Rest).await;
    let account = world.add("ada");
    let whole = reqwest::Client::new()
        .get(format!("{}/api/2/operator/{account}", world.sandbox.iadvize_url()))
        .header("x-api-key", sandbox::iadvize::DEFAULT_API_KEY)
        .send()
        .await
        .unwrap();
    let whole: Json = serde_json::from_slice(&whole.bytes().await.unwrap()).unwrap();
    let key = whole["data"]["sso_key"].as_str().unwrap().to_owned();
    assert_eq!(key.len(), 32);
    let snapshot = world.look(&account).await;
    assert!(!serde_json::to_string(&snapshot).unwrap().contains(&key));
    assert_eq!(snapshot.version.modified_at, None);
    assert!(snapshot.version.read_at > Timestamp(0));
    assert!(!world.held(&account).to_string().contains(&key));
    assert_eq!(world.api, Api::Rest);
}

/// The configurations of `docs/systems/iadvize.md` are valid, and what a default cannot be is said with the attribute.
#[test]
fn the_configurations_of_the_page_are_valid() {
    let environment: std::collections::BTreeMap<String, String> =
        ["CHAT_PASSWORD", "CHAT_KEY"].map(|name| (name.to_owned(), "hush-hush".to_owned())).into();
    let read = |text: &str| muster::config::Config::parse(text, "muster.toml", &environment);
    let page = include_str!("../../../docs/systems/iadvize.md");
    let examples: Vec<&str> = page.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert_eq!(examples.len(), 2);
    for example in examples {
        let config = read(example).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(config.systems[&"chat".parse().unwrap()].kind.word(), "iadvize");
        assert!(!format!("{config:?}").contains("hush-hush"));
    }
    let graphql = "transport = \"graphql\", username = \"a@x.example\", password = { env = \"CHAT_PASSWORD\" }";
    let rest = "transport = \"rest\", key = { env = \"CHAT_KEY\" }";
    for (auth, defaults, expected) in [
        (graphql, "\"native.chatSlots\" = 7", "above the 6"),
        (graphql, "\"native.chatSlots\" = \"two\"", "wrong kind"),
        (graphql, "timezone = \"Mars/North\"", "time zone"),
        (rest, "timezone = \"Europe/Paris\"", "timezone is none that this API"),
        (graphql, "displayName = \"Ada\"", "displayName"),
    ] {
        let text = format!(
            "[systems.chat]\nkind = \"iadvize\"\nurl = \"https://x.example\"\nauth = {{ {auth} }}\ndefaults = {{ {defaults} }}\n"
        );
        let errors = read(&text).unwrap_err().to_string();
        assert!(errors.contains(expected) && !errors.contains("hush-hush"), "{errors}");
    }
}

/// R24, R25: an operator is deleted once, unless it was changed meanwhile; who is logged in only where it is urgent.
#[tokio::test]
async fn an_operator_is_deleted_once() {
    for api in BOTH {
        let world = World::start(api).await;
        let account = world.add("ada");
        let delete = async |version: Version, in_use| {
            let action = Action::Delete { account: account.clone(), unless_changed_since: version };
            world.iadvize.write(&[Write { in_use, ..Write::new(action, Attributes::new()) }], soon()).await.remove(0)
        };
        let seen = world.look(&account).await;
        world.sandbox.admin().edit(CHAT, account.as_str(), &json!({"pseudo": "Lady"})).unwrap();
        assert!(matches!(delete(seen.version, InUse::Override).await, Written::Moved(_)), "{api:?}");
        let seen = world.look(&account).await;
        world.presence(&account, "online");
        match delete(seen.version.clone(), InUse::Spare).await {
            Written::Failed(failure) => assert_eq!(failure.class, FailureClass::Busy, "{api:?}"),
            other => panic!("{api:?} {other:?}"),
        }
        assert_eq!(delete(seen.version.clone(), InUse::Override).await, Written::Ended, "{api:?}");
        assert!(matches!(delete(seen.version, InUse::Override).await, Written::Gone(_)), "{api:?}");
        assert_eq!(world.client_writes(), 1);
        assert!(
            matches!(world.iadvize.get(std::slice::from_ref(&account)).await.unwrap()[..], [Lookup::Absent(_)]),
            "{api:?}"
        );
    }
}
