//! Agents of iAdvize through the whole pipeline: made once while writers die, and left alone while they are at work.
//!
//! `MUSTER_TEST_USERS=5000 tests/run --test it -- agents_are_made_once --nocapture` takes an organisation of that size.

use std::collections::BTreeSet;
use std::time::Duration;

use muster::sandbox::{Admin, Sandbox, SandboxSettings, System};
use serde_json::{Value, json};

use super::embedded_run::PATIENCE;
use super::examples::installation;
use super::processes::{Installation, Mode, active_users};
use super::show::show;

/// Where each writer kills itself, and how many times it passes there before. The last one lives.
const KILLS: [Option<&str>; 4] =
    [Some("writer.answered:4"), Some("writer.noted_intent:7"), Some("writer.committed:9"), None];

async fn sandbox(users: usize) -> (Sandbox, Admin, Vec<Value>) {
    let sandbox = Sandbox::start(SandboxSettings { users, ..SandboxSettings::default() }).await.unwrap();
    let admin = sandbox.admin();
    admin.configure(System::Iadvize, json!({"requests_per_second": 100_000, "logins_per_minute": 1_000})).unwrap();
    admin.set_clock(System::Salesforce, 10_000);
    // Some share an address: who comes second would be refused as well.
    let mut addresses = BTreeSet::new();
    let mut users = active_users(&admin);
    users.retain(|user| addresses.insert(user["Email"].as_str().unwrap_or_default().to_lowercase()));
    (sandbox, admin, users)
}

fn id(user: &Value) -> &str {
    user["Id"].as_str().unwrap()
}

/// R7, R12, R15, R19, B23: of five users three are ticked, and of those one in seventy-five has an address that is taken.
/// Writers are killed just after a request, just before one, and just after a commit: nobody is made twice, each new agent
/// has one mail, and who is refused is shown with the reason.
#[tokio::test(flavor = "multi_thread")]
async fn agents_are_made_once_while_writers_are_killed() {
    let count = std::env::var("MUSTER_TEST_USERS").map_or(150, |users| users.parse().expect("it is a number"));
    let (sandbox, admin, users) = sandbox(count).await;
    let ticked = &users[..users.len() * 3 / 5];
    let taken = &ticked[..ticked.len().div_ceil(75)];
    for user in ticked {
        admin.edit(System::Salesforce, id(user), &json!({"Sync__c": true})).unwrap();
    }
    for user in taken {
        let fields = json!({"name": "Before", "pseudo": "Before", "email": user["Email"], "website_list": [1]});
        admin.create(System::Iadvize, &fields).unwrap();
    }
    let (operators, mails) = (admin.accounts(System::Iadvize).len(), admin.records(System::Iadvize, "Mail").len());
    let mut muster = installation(Mode::Servers, "iadvize-automatic.toml", &sandbox).await;
    for role in ["producer", "mapper"] {
        muster.start_worker(role, None);
    }
    for failpoint in KILLS {
        muster.start_worker("writer", failpoint);
    }
    let run = muster.sync_of("crm-chat", &[]).await;
    let made = ticked.len() - taken.len();
    show(format_args!("{made} agents in {:.0} s, {} refused: {run:?}", run.seconds, taken.len()));
    assert!(muster.has_ended("writer"), "nobody was killed");
    assert_eq!(admin.accounts(System::Iadvize).len(), operators + made);
    assert_eq!(admin.records(System::Iadvize, "Mail").len(), mails + made);
    let letters = muster.letters().await;
    assert_eq!(letters.len(), taken.len());
    assert!(letters.iter().all(|letter| letter["fingerprint"]["code"] == "email_exists"), "{letters:?}");
    assert_eq!(muster.sync_of("crm-chat", &["--full"]).await.emitted, 0);
}

/// R22, R23, B20: who is in a conversation is not written, `explain` says why, and it is made up for afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_in_a_conversation_is_written_afterwards() {
    let (sandbox, admin, users) = sandbox(2).await;
    let user = &users[0];
    admin.edit(System::Salesforce, id(user), &json!({"Sync__c": true})).unwrap();
    let mut muster = installation(Mode::File, "iadvize-automatic.toml", &sandbox).await;
    let health = show_metrics(&muster);
    muster.start().await;
    muster.sync_of("crm-chat", &[]).await;
    let agent = || {
        let agents = admin.accounts(System::Iadvize).into_iter();
        agents.filter(|agent| agent["email"] == user["Email"]).collect::<Vec<_>>()
    };
    let [made] = agent().try_into().expect("one agent");
    let operator = made["id"].as_str().map_or_else(|| made["id"].to_string(), str::to_owned);
    admin.edit(System::Iadvize, &operator, &json!({"presence": "conversation"})).unwrap();
    admin.set_clock(System::Salesforce, 60_000);
    admin.edit(System::Salesforce, id(user), &json!({"LastName": "Lovelace"})).unwrap();
    let writes = admin.write_count();
    let asked = muster.muster(&["sync", "crm-chat"]).await;
    assert_eq!(asked.status, 0, "{asked:?}");
    let account = format!("chat:{operator}");
    let page = until_deferred(&muster, &account).await;
    assert!(page.contains("waits until nobody works with the account (logged_in)"), "{page}");
    assert!(page.contains("it becomes a dead letter"), "{page}");
    assert_eq!((admin.write_count(), &agent()[0]["name"]), (writes, &made["name"]), "nobody is thrown out");
    assert_eq!(muster.letters().await, Vec::<Value>::new());
    let status = muster.status().await;
    assert_eq!(status["connections"][0]["deferred"], 1, "{status}");
    let shown = |count| format!("muster_deferred_accounts{{connection=\"crm-chat\"}} {count}\n");
    await_metric(&health, &shown(1)).await;

    // The wait goes on where it was, whoever is killed.
    let waits = |report: Value| report["sides"][1]["deferred"].clone();
    let before = waits(report(&muster, &account).await);
    muster.kill("run").await;
    muster.start().await;
    assert_eq!(waits(report(&muster, &account).await), before);

    admin.edit(System::Iadvize, &operator, &json!({"presence": "offline"})).unwrap();
    let caught_up = async {
        while agent()[0]["name"] != "Lovelace" {
            assert!(!muster.has_ended("run"));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, caught_up).await.expect("the update is made up for");
    await_metric(&health, &shown(0)).await;
    let report = report(&muster, &account).await;
    assert_eq!((&report["sides"][1]["deferred"], &report["state"]), (&Value::Null, &json!("in_step")), "{report}");
}

/// R22, R24, B20: a write waits no longer than configured. Then a person decides, or it is made although somebody is at work;
/// what is urgent does not wait at all.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_waits_no_longer_than_configured() {
    let (sandbox, admin, users) = sandbox(2).await;
    let user = &users[0];
    admin.edit(System::Salesforce, id(user), &json!({"Sync__c": true})).unwrap();
    let mut muster = installation(Mode::File, "iadvize-automatic.toml", &sandbox).await;
    set_busy(&muster, "busy = { wait = \"2s\" }");
    muster.start().await;
    muster.sync_of("crm-chat", &[]).await;
    let agents = admin.accounts(System::Iadvize);
    let made = agents.iter().find(|agent| agent["email"] == user["Email"]).expect("one agent");
    let operator = made["id"].as_str().map_or_else(|| made["id"].to_string(), str::to_owned);
    let thrown_out = || admin.records(System::Iadvize, "Disconnection").len();
    let field = |field: &str| admin.account(System::Iadvize, &operator).unwrap()[field].clone();
    admin.edit(System::Iadvize, &operator, &json!({"presence": "online"})).unwrap();
    admin.set_clock(System::Salesforce, 60_000);
    admin.edit(System::Salesforce, id(user), &json!({"LastName": "Lovelace"})).unwrap();
    let report = muster.sync_of("crm-chat", &[]).await;
    assert_eq!(report.commands("dead"), 1, "{report:?}");
    let letters = muster.letters().await;
    assert_eq!(letters[0]["fingerprint"]["code"], "busy_too_long", "{letters:?}");
    assert_eq!((field("name"), thrown_out()), (made["name"].clone(), 0));
    muster.kill("run").await;

    // What a new rule makes of it is tried at once.
    set_busy(&muster, "busy = { wait = \"2s\", then = \"write\" }");
    muster.start().await;
    admin.set_clock(System::Salesforce, 120_000);
    admin.edit(System::Salesforce, id(user), &json!({"FirstName": "Augusta"})).unwrap();
    let report = muster.sync_of("crm-chat", &[]).await;
    assert_eq!((report.commands("applied"), thrown_out()), (1, 1), "{report:?}");
    assert_eq!((field("name"), field("first_name")), (json!("Lovelace"), json!("Augusta")));
    assert_eq!(muster.letters().await, Vec::<Value>::new());
    muster.kill("run").await;

    set_busy(&muster, "busy = { urgent = [\"name.familyName\"] }");
    muster.start().await;
    admin.edit(System::Iadvize, &operator, &json!({"presence": "online"})).unwrap();
    admin.set_clock(System::Salesforce, 180_000);
    admin.edit(System::Salesforce, id(user), &json!({"LastName": "King"})).unwrap();
    let report = muster.sync_of("crm-chat", &[]).await;
    assert_eq!((report.commands("applied"), field("name"), thrown_out()), (1, json!("King"), 2), "{report:?}");
}

/// Puts this line into the connection's table, in the place of an earlier one.
fn set_busy(muster: &Installation, line: &str) {
    let text = std::fs::read_to_string(muster.config()).unwrap();
    let mut lines: Vec<_> = text.lines().filter(|line| !line.starts_with("busy = ")).collect();
    let place = lines.iter().position(|line| *line == "[connections.crm-chat]").unwrap();
    lines.insert(place + 1, line);
    std::fs::write(muster.config(), lines.join("\n")).unwrap();
}

/// Has the workers show their metrics, and tells where.
fn show_metrics(muster: &Installation) -> String {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let text = std::fs::read_to_string(muster.config()).unwrap();
    std::fs::write(muster.config(), text.replace("listen = \"off\"", &format!("listen = \"{free}\""))).unwrap();
    format!("http://{free}/metrics")
}

async fn await_metric(url: &str, line: &str) {
    let shown = async {
        while !reqwest::get(url).await.unwrap().text().await.unwrap().contains(line) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, shown).await.unwrap_or_else(|_| panic!("the metrics never show {line}"));
}

async fn report(muster: &Installation, account: &str) -> Value {
    let outcome = muster.muster(&["explain", account, "--json"]).await;
    serde_json::from_str(&outcome.stdout).unwrap_or_else(|_| panic!("{outcome:?}"))
}

/// Waits until a write of the account waits, and shows the page about it in one line.
async fn until_deferred(muster: &Installation, account: &str) -> String {
    let deferred = async {
        while muster.status().await["connections"][0]["deferred"] != 1 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, deferred).await.expect("the update waits");
    let page = muster.muster(&["explain", account]).await.stdout;
    page.split_whitespace().collect::<Vec<_>>().join(" ")
}
