//! The connector of SalesScreen against the imitation.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use muster::domain::rate::Window;
use muster::domain::{AccountId, Attributes, Code, Failure, FailureClass, Timestamp, Value, Version};
use muster::sandbox::log::System as Imitated;
use muster::sandbox::{
    DEFAULT_SALESSCREEN_KEY, Effect, Fault, FaultBody, Matcher, RetryAfter, Sandbox, SandboxSettings,
};
use muster::systems::budget::{CallBudget, OwnCalls};
use muster::systems::salesscreen::{SalesScreen, SalesScreenSettings, WINDOWS};
use muster::systems::{Action, ReadFrom, Rights, SearchKey, System, Write, Written};
use serde_json::{Value as Json, json};

use super::soon;

async fn sandbox() -> Sandbox {
    Sandbox::start(SandboxSettings::default()).await.unwrap()
}

fn settings(sandbox: &Sandbox) -> SalesScreenSettings {
    let teams = [("north", "North"), ("south", "South")];
    SalesScreenSettings {
        url: sandbox.salesscreen_url().parse().unwrap(),
        api_key: DEFAULT_SALESSCREEN_KEY.into(),
        teams: teams.map(|(key, name)| (key.to_owned(), name.to_owned())).into(),
        leavers_team: Some("left".to_owned()),
        automatic_sync_off: true,
        concurrency: 4,
        request_timeout: Duration::from_secs(20),
        ca_file: None,
        windows: WINDOWS.to_vec(),
        calls: Arc::new(OwnCalls::default()),
    }
}

fn connector(sandbox: &Sandbox) -> SalesScreen {
    SalesScreen::new(settings(sandbox)).unwrap()
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

fn update(account: &str, pairs: &[(&str, Option<&str>)]) -> Write {
    let unless_changed_since = Version { modified_at: None, read_at: Timestamp(0), tag: None };
    let action = Action::Update { account: id(account), unless_changed_since };
    Write::new(action, values(pairs))
}

async fn write(connector: &SalesScreen, write: Write) -> Written {
    connector.write(&[write], soon()).await.pop().unwrap()
}

fn failure(written: Written) -> Failure {
    match written {
        Written::Failed(failure) => failure,
        other => panic!("{other:?}"),
    }
}

fn user(sandbox: &Sandbox, account: &str) -> Json {
    sandbox.admin().account(Imitated::SalesScreen, account).unwrap()
}

/// R48, R15, B23: the account has the partner's id, so a creation is done once however often it is asked for.
#[tokio::test]
async fn an_account_has_the_partners_id() {
    let sandbox = sandbox().await;
    let connector = connector(&sandbox);
    let account = "005RM000001iKYtYAM";
    for _ in 0..2 {
        let Written::Done(snapshot) = write(&connector, create(account, &ada())).await else { panic!() };
        assert_eq!((snapshot.account, snapshot.partner), (id(account), Some(id(account))));
        assert_eq!((snapshot.version.modified_at, snapshot.version.tag), (None, None));
        assert_eq!(snapshot.attributes, values(&ada()), "what was sent is all that is known");
    }
    assert_eq!(sandbox.admin().accounts(Imitated::SalesScreen).len(), 1);
    assert_eq!((connector.schema().parse_id)("005RM000001iKYt"), Some(id(account)));
    let keys =
        [SearchKey::Partner(id(account)), SearchKey::Attribute("emails".parse().unwrap(), "ada@x.example".into())];
    assert_eq!(connector.search(&keys).await, Ok(vec![Vec::new(), Vec::new()]));
    assert_eq!(connector.get(&[id(account)]).await.unwrap_err().code.as_str(), "not_readable");
    assert_eq!(connector.read(&ReadFrom::Start).await.unwrap_err().code.as_str(), "not_readable");
    assert!(!connector.schema().readable && connector.schema().whole);
}

/// R15, B23: whatever becomes of the answer, a creation that is repeated leaves one account.
#[tokio::test]
async fn a_creation_whose_answer_was_lost_is_repeated() {
    let sandbox = sandbox().await;
    let connector = connector(&sandbox);
    let native = FaultBody::Native;
    for (number, effect) in
        [Effect::AppliedThenCut, Effect::AppliedThenStatus { status: 500, body: native }, Effect::LoginPage]
            .into_iter()
            .enumerate()
    {
        let on = Matcher { method: Some("POST".into()), times: Some(1), ..Matcher::default() };
        sandbox.admin().inject(Fault { on, effect: effect.clone() });
        let (account, email) = (format!("005-{number}"), format!("u{number}@x.example"));
        let lost = failure(write(&connector, create(&account, &[("emails", Some(&email))])).await);
        assert_eq!((lost.class, lost.in_doubt), (FailureClass::Transient, true), "{effect:?}");
        let again = write(&connector, create(&account, &[("emails", Some(&email))])).await;
        assert!(matches!(again, Written::Done(_)), "{effect:?}");
    }
    assert_eq!(sandbox.admin().accounts(Imitated::SalesScreen).len(), 3);
}

/// B21: every write carries all that is mapped, and a clear as a clear, whatever SalesScreen does to what it is not sent.
#[tokio::test]
async fn an_update_carries_every_value() {
    for absent in ["clear", "keep"] {
        let sandbox = sandbox().await;
        sandbox.admin().configure(Imitated::SalesScreen, json!({ "absent": absent })).unwrap();
        let connector = connector(&sandbox);
        write(&connector, create("005-ada", &ada())).await;
        let mut changed = ada();
        changed[1].1 = None;
        changed[0].1 = Some("ada@y.example");
        let written = write(&connector, update("005-ada", &changed)).await;
        assert!(matches!(&written, Written::Done(snapshot) if snapshot.attributes == values(&changed)), "{written:?}");
        let user = user(&sandbox, "005-ada");
        let shown = (&user["email"], &user["firstname"], &user["lastname"]);
        assert_eq!(shown, (&json!("ada@y.example"), &json!(""), &json!("Byron")), "{absent}");
        let partial = failure(write(&connector, update("005-ada", &changed[1..])).await);
        assert_eq!((partial.class, partial.code.as_str()), (FailureClass::Permanent, "partial_write"));
    }
}

/// R49, R12, R20: an address that another user has is no failure of ours: nothing is changed there.
#[tokio::test]
async fn an_address_that_is_taken_is_told_as_such() {
    let sandbox = sandbox().await;
    let by_hand = json!({"email": "ada@x.example", "firstname": "Countess"});
    let number = sandbox.admin().create(Imitated::SalesScreen, &by_hand).unwrap();
    let before = user(&sandbox, &number);
    let connector = connector(&sandbox);
    for pairs in [create("005-ada", &ada()), update("005-bob", &ada())] {
        let written = write(&connector, pairs).await;
        assert_eq!(written, Written::Exists { attribute: Some("emails".parse().unwrap()) });
    }
    assert_eq!(user(&sandbox, &number), before);
    // A person maps the user, and from then on it is the same call (R49).
    sandbox.admin().edit(Imitated::SalesScreen, &number, &json!({"userId": "005-ada"})).unwrap();
    assert!(matches!(write(&connector, update("005-ada", &ada())).await, Written::Done(_)));
    assert_eq!(user(&sandbox, &number)["firstname"], "Ada");
}

/// R50, B22: a team is sent by a key that the configuration lists; without one the write is done and says so.
#[tokio::test]
async fn only_known_teams_are_sent() {
    let sandbox = sandbox().await;
    let connector = connector(&sandbox);
    let with = |team: Option<&'static str>| [ada(), vec![("native.team", team)]].concat();
    let Written::Done(snapshot) = write(&connector, create("005-ada", &with(None))).await else { panic!() };
    assert_eq!(snapshot.attributes[&"native.team".parse().unwrap()], None);
    assert_eq!(user(&sandbox, "005-ada")["team"], Json::Null);
    write(&connector, update("005-ada", &with(Some("south")))).await;
    assert_eq!(user(&sandbox, "005-ada")["team"], json!({"key": "south", "name": "South"}));
    for unknown in ["South", "east"] {
        let refused = failure(write(&connector, update("005-ada", &with(Some(unknown)))).await);
        assert_eq!((refused.class, refused.code.as_str()), (FailureClass::Permanent, "unknown_team"));
        assert_eq!(refused.attribute, Some("native.team".parse().unwrap()));
        assert!(!refused.message.contains(unknown), "values stay out of failures");
    }
    assert_eq!(sandbox.admin().records(Imitated::SalesScreen, "Team").len(), 2);
}

/// Each failure has one class, keeps values and secrets to itself, and says what to do.
#[tokio::test]
async fn failures_are_classified() {
    let sandbox = sandbox().await;
    let connector = connector(&sandbox);
    let errors = |errors: Json| FaultBody::Json(json!({"message": "ada@x.example", "errors": errors}));
    let status = |status, body| Effect::Status { status, body };
    for (effect, class, code, attribute, in_doubt) in [
        (
            status(400, errors(json!({"email": ["bad: ada@x.example"]}))),
            FailureClass::Permanent,
            "invalid_value",
            Some("emails"),
            false,
        ),
        (
            status(400, errors(json!({"lastname": ["long"]}))),
            FailureClass::Permanent,
            "invalid_value",
            Some("name.familyName"),
            false,
        ),
        (status(400, FaultBody::Empty), FailureClass::Permanent, "refused", None, false),
        (status(400, FaultBody::Html), FailureClass::Transient, "html_answer", None, false),
        (status(401, FaultBody::Native), FailureClass::Unauthorised, "unauthorised", None, false),
        (status(403, FaultBody::Native), FailureClass::Unauthorised, "unauthorised", None, false),
        (status(404, FaultBody::Native), FailureClass::Transient, "not_salesscreen", None, false),
        (status(503, FaultBody::Html), FailureClass::Transient, "server_error", None, true),
        (Effect::Cut, FailureClass::Transient, "connection_cut", None, true),
    ] {
        let times = Matcher { times: Some(1), ..Matcher::default() };
        sandbox.admin().inject(Fault { on: times, effect: effect.clone() });
        let failed = failure(write(&connector, create("005-ada", &ada())).await);
        let attribute = attribute.map(|path| path.parse().unwrap());
        assert_eq!((failed.class, failed.code.as_str(), failed.in_doubt), (class, code, in_doubt), "{effect:?}");
        assert_eq!(failed.attribute, attribute, "{effect:?}");
        assert!(connector.remedy(&failed.code).is_some(), "{code}");
        assert!(!format!("{failed} {failed:?}").contains("ada@"), "{failed}");
    }
    let throttled = Effect::TooManyRequests { retry_after: RetryAfter::Seconds(7) };
    sandbox.admin().inject(Fault { on: Matcher { times: Some(1), ..Matcher::default() }, effect: throttled });
    let failed = failure(write(&connector, create("005-ada", &ada())).await);
    assert_eq!((failed.class, failed.retry_after), (FailureClass::Throttled, Some(Duration::from_secs(7))));
    assert_eq!(sandbox.admin().accounts(Imitated::SalesScreen).len(), 0);
    let shown = format!("{:?} {connector:?}", settings(&sandbox));
    assert!(!shown.contains(DEFAULT_SALESSCREEN_KEY), "{shown}");
}

/// R44, R46, R47, R50: the check names what only a person can see, and changes nothing.
#[tokio::test]
async fn the_check_says_what_is_missing() {
    let sandbox = sandbox().await;
    let problems = async |settings: SalesScreenSettings| {
        let findings = SalesScreen::new(settings).unwrap().preflight().await;
        findings
            .into_iter()
            .filter(|finding| finding.problem.is_some())
            .map(|finding| finding.subject)
            .collect::<Vec<_>>()
    };
    assert_eq!(problems(settings(&sandbox)).await, Vec::<String>::new());
    let asked = SalesScreenSettings { automatic_sync_off: false, ..settings(&sandbox) };
    assert_eq!(problems(asked.clone()).await, ["automatic sync"]);
    // What a person should see to says nothing of whether it works (F22).
    assert_eq!(SalesScreen::new(asked).unwrap().probe().await, Ok(()));
    let wrong_key = SalesScreenSettings { api_key: "another".into(), ..settings(&sandbox) };
    let refused = SalesScreen::new(wrong_key.clone()).unwrap().probe().await.unwrap_err();
    assert_eq!(refused.class, FailureClass::Unauthorised);
    assert_eq!(problems(wrong_key).await, ["api key"]);
    let elsewhere = sandbox.url().parse().unwrap();
    assert_eq!(problems(SalesScreenSettings { url: elsewhere, ..settings(&sandbox) }).await, ["api key"]);
    assert_eq!(sandbox.admin().write_count(), 0);

    let rights = |names: &[&str]| Rights {
        attributes: names.iter().map(|name| name.parse().unwrap()).collect(),
        creates: true,
        ..Rights::default()
    };
    let connector = connector(&sandbox);
    let wrong = |findings: Vec<muster::systems::Finding>| findings.into_iter().filter(|f| f.problem.is_some()).count();
    let all = ["emails", "name.givenName", "name.familyName", "native.team"];
    assert_eq!(connector.prove_rights(&rights(&all)).await, Vec::new());
    assert_eq!(wrong(connector.prove_rights(&rights(&all[1..])).await), 1);
    let teamless = SalesScreen::new(SalesScreenSettings { teams: BTreeMap::new(), ..settings(&sandbox) }).unwrap();
    assert_eq!(wrong(teamless.prove_rights(&rights(&all)).await), 1);
}

/// B19: four clients that share one count never exceed a window, by the vendor's own count, and use it up. The windows
/// are small here, with the margin that the real ones have.
#[tokio::test(flavor = "multi_thread")]
async fn four_clients_keep_to_both_windows() {
    let sandbox = sandbox().await;
    let windows = json!({"windows": [{"calls": 5, "within_ms": 100}, {"calls": 12, "within_ms": 500}]});
    sandbox.admin().configure(Imitated::SalesScreen, windows).unwrap();
    let travel = WINDOWS[0].within - Duration::from_secs(1);
    assert_eq!(travel, WINDOWS[1].within - Duration::from_secs(60));
    let own = [(5, 100), (12, 500)].map(|(calls, ms)| Window::new(calls, Duration::from_millis(ms) + travel));
    let calls: Arc<dyn CallBudget> = Arc::new(OwnCalls::default());
    let client = |number: usize| {
        let settings = SalesScreenSettings {
            windows: own.to_vec(),
            calls: Arc::clone(&calls),
            concurrency: 2,
            ..settings(&sandbox)
        };
        let connector = SalesScreen::new(settings).unwrap();
        async move {
            let write = |place| {
                let (account, email) = (format!("005-{number}-{place}"), format!("u{number}.{place}@x.example"));
                create(&account, &[("emails", Some(&email))])
            };
            connector.write(&(0..6).map(write).collect::<Vec<_>>(), soon()).await
        }
    };
    let written = join_all((0..4).map(client)).await.concat();
    assert_eq!(written.len(), 24);
    assert!(written.iter().all(|written| matches!(written, Written::Done(_))), "{written:?}");
    let windows = sandbox.admin().records(Imitated::SalesScreen, "Window");
    assert!(windows.iter().all(|window| window["refused"] == 0), "{windows:?}");
}

/// B18, B19: some calls are kept for what is urgent; what finds none left before its deadline is throttled by ourselves.
#[tokio::test]
async fn urgent_writes_find_calls_kept_for_them() {
    let sandbox = sandbox().await;
    let hour = Window { calls: 2, within: Duration::from_secs(3600), reserve: 1 };
    let connector = SalesScreen::new(SalesScreenSettings { windows: vec![hour], ..settings(&sandbox) }).unwrap();
    assert!(matches!(write(&connector, create("005-ada", &ada())).await, Written::Done(_)));
    let refused = failure(write(&connector, update("005-ada", &ada())).await);
    assert_eq!((refused.class, refused.code.as_str()), (FailureClass::Throttled, "own_rate_limit"));
    assert!(refused.retry_after > Some(Duration::from_secs(3000)) && !refused.in_doubt);
    assert!(connector.remedy(&Code::known("own_rate_limit")).is_some());
    let urgent = Write { urgent: true, ..update("005-ada", &ada()) };
    assert!(matches!(write(&connector, urgent).await, Written::Done(_)));
}

/// The configuration of the administrator's page is one.
#[test]
fn the_page_for_administrators_has_a_configuration_that_is_read() {
    let config = super::page_configuration(include_str!("../../../docs/systems/salesscreen.md"), "SALESSCREEN_KEY");
    let connection = &config.connections[&"crm-results".parse().unwrap()];
    assert_eq!(config.systems[&connection.ends.b.system].kind.word(), "salesscreen");
}

/// R50, R53: no call takes a user out of a team, so who left is moved to one of their own; nothing ends an account.
#[tokio::test]
async fn who_left_is_moved_to_the_team_of_leavers() {
    let sandbox = sandbox().await;
    let mut settings = settings(&sandbox);
    settings.teams.insert("left".to_owned(), "Leavers".to_owned());
    let connector = SalesScreen::new(settings).unwrap();
    let account = "005RM000001iKYtYAM";
    write(&connector, create(account, &ada())).await;
    let unless_changed_since = Version { modified_at: None, read_at: Timestamp(0), tag: None };
    let leave = |action| Write::new(action, values(&ada()));
    let remove = Action::Remove { account: id(account), unless_changed_since: unless_changed_since.clone() };
    assert_eq!(write(&connector, leave(remove)).await, Written::Ended);
    let shown = user(&sandbox, account);
    assert!(shown.to_string().contains("left"), "{shown}");
    let delete = Action::Delete { account: id(account), unless_changed_since };
    assert_eq!(failure(write(&connector, leave(delete)).await).code.as_str(), "not_offered");
}
