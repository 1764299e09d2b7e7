//! Agents of iAdvize through the whole pipeline: made once while writers die, and left alone while they are at work.
//!
//! `MUSTER_TEST_USERS=5000 tests/run --test it -- agents_are_made_once --nocapture` takes an organisation of that size.

use std::collections::BTreeSet;
use std::time::Duration;

use muster::sandbox::{Admin, Sandbox, SandboxSettings, System};
use serde_json::{Value, json};

use super::embedded_run::PATIENCE;
use super::examples::installation;
use super::processes::{Mode, active_users};
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
    let mut page = String::new();
    for _ in 0..100 {
        page = muster.muster(&["explain", &format!("chat:{operator}")]).await.stdout;
        if page.contains("logged_in") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(page.contains("logged_in"), "{page}");
    assert_eq!((admin.write_count(), &agent()[0]["name"]), (writes, &made["name"]), "nobody is thrown out");
    assert_eq!(muster.letters().await, Vec::<Value>::new());

    admin.edit(System::Iadvize, &operator, &json!({"presence": "offline"})).unwrap();
    let caught_up = async {
        while agent()[0]["name"] != "Lovelace" {
            assert!(!muster.has_ended("run"));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, caught_up).await.expect("the update is made up for");
}
