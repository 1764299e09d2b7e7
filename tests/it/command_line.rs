//! The command line as a person meets it: what it prints, and how it ends.

use lapin::options::{QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use muster::broker::Broker as _;
use muster::domain::dead_letter::DiscardReason;
use muster::domain::{LetterEntry, Resolution};
use muster::sandbox::{Effect, Fault, Matcher, Sandbox, SandboxSettings, System};
use serde_json::{Value, json};

use super::amqp::foreign_channel;
use super::processes::{CONNECTION, Installation, active_users, written};

const BROKEN: &str = r#"[broker]
url = "amqp://muster:hush@localhost"
prefxi = "x"

[systems.crm]
kind = "salesforce"
url = "http://crm.example"

[connections.one]
a = "crm"
b = "nowhere"
direction = "two_way"
schedule = { every = "15 parsecs" }
"#;

async fn start(users: usize, more: &str) -> (Sandbox, Installation) {
    let sandbox = Sandbox::start(SandboxSettings { users, ..SandboxSettings::default() }).await.unwrap();
    let muster = Installation::between(&sandbox, more).await;
    (sandbox, muster)
}

/// What is the same each time: without this installation's names, ids and times.
fn stable(muster: &Installation, text: &str) -> String {
    // The file's path first: the prefix is part of it.
    let text = text.replace(&*muster.config().to_string_lossy(), "muster.toml").replace(muster.prefix(), "PREFIX");
    // What the store's server is advised to change differs from server to server.
    let words = text.lines().filter(|line| !line.starts_with("ok    store: ")).map(|line| {
        let word = |word: &str| {
            let is_run = word.len() == 36 && word.matches('-').count() == 4;
            let is_time = word.len() == 20 && word.starts_with("20") && word.ends_with('Z');
            match (is_run, is_time) {
                (true, _) => "RUN".to_owned(),
                (_, true) => "TIME".to_owned(),
                _ => word.to_owned(),
            }
        };
        line.split(' ').map(word).collect::<Vec<_>>().join(" ")
    });
    words.collect::<Vec<_>>().join("\n")
}

/// A broken file shows all its mistakes at once, to people and to machines, and ends with 2; secrets are not quoted.
#[tokio::test(flavor = "multi_thread")]
async fn a_broken_file_shows_all_its_mistakes() {
    let (_sandbox, muster) = start(0, "").await;
    std::fs::write(muster.config(), BROKEN).unwrap();
    let checked = muster.muster(&["check", "--offline"]).await;
    assert_eq!((checked.status, &*checked.stdout), (2, ""));
    assert!(!checked.stderr.contains("hush"));
    insta::assert_snapshot!(stable(&muster, &checked.stderr));
    let json = muster.muster(&["check", "--offline", "--json"]).await;
    let report: Value = serde_json::from_str(&json.stderr).unwrap();
    let mistakes = report["mistakes"].as_array().unwrap();
    assert_eq!((json.status, mistakes.len()), (2, 8), "{report}");
    assert!(mistakes.iter().all(|mistake| mistake["line"].is_u64() && mistake["remedy"].is_string()));
    // Every worker says the same and stops.
    for command in [&["status"][..], &["dead", "list"], &["sync", "one"], &["topology"]] {
        assert_eq!(muster.muster(command).await.status, 2, "{command:?}");
    }
}

/// `check` proves servers, credential, rights and fields, and ends with 1 where one of them is wrong.
#[tokio::test(flavor = "multi_thread")]
async fn check_asks_the_systems() {
    let (sandbox, muster) = start(3, "").await;
    let good = muster.muster(&["check"]).await;
    assert_eq!((good.status, &*good.stderr), (0, ""), "{good:?}");
    insta::assert_snapshot!(stable(&muster, &good.stdout));
    let admin = sandbox.admin();
    admin.configure_salesforce(serde_json::from_value(json!({"access": {"User.Title": "hidden"}})).unwrap()).unwrap();
    let hidden = muster.muster(&["check"]).await;
    assert!(hidden.status == 1 && hidden.stdout.contains("WRONG crm: field User.Title"), "{hidden:?}");
    admin.configure_salesforce(serde_json::from_value(json!({"flow": "disabled"})).unwrap()).unwrap();
    let refused = muster.muster(&["check", "--json"]).await;
    assert_eq!(refused.status, 1);
    let wrong: Vec<Value> = refused.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(wrong.iter().any(|finding| finding["subject"] == "crm: token" && finding["problem"].is_string()));
}

/// Before anything ran, each command says so and names the next one.
#[tokio::test(flavor = "multi_thread")]
async fn empty_states_name_the_next_command() {
    let (_sandbox, muster) = start(3, "").await;
    let topology = muster.muster(&["topology"]).await;
    assert_eq!(topology.status, 0);
    insta::assert_snapshot!("topology", stable(&muster, &topology.stdout));
    let status = muster.muster(&["status"]).await;
    assert_eq!(status.status, 0);
    insta::assert_snapshot!("status_before_anything", stable(&muster, &status.stdout));
    for (command, expected) in [
        (&["dead", "list"][..], (0, "No open letters\n", "")),
        (&["dead", "retry", "--all"], (0, "No open letters\n", "")),
        (&["dead", "show", "x"], (2, "", "error: there is no open letter x; see `muster dead list`\n")),
        (&["sync", "nope"], (2, "", "error: there is no connection nope; the configuration has: crm-directory\n")),
        (
            &["sync", CONNECTION, "--only", "77"],
            (2, "", "error: `77` is no account; write <system>:<id>, such as crm:005...\n"),
        ),
        (&["sync", CONNECTION, "--only", "crm:77"], (2, "", "error: `77` is no account id of crm\n")),
    ] {
        let outcome = muster.muster(command).await;
        assert_eq!((outcome.status, &*outcome.stdout, &*outcome.stderr), expected, "{command:?}");
    }
}

/// R66: two syncs at once are two runs, one after the other: nobody is created twice, neither request is lost, and both
/// commands end. Without workers `sync --wait` does the work itself. `--only` reads one account.
#[tokio::test(flavor = "multi_thread")]
async fn two_syncs_at_once_are_neither_doubled_nor_lost() {
    let (sandbox, muster) = start(60, "").await;
    let admin = sandbox.admin();
    let (one, two) = tokio::join!(muster.sync(&[]), muster.sync(&[]));
    assert_ne!(one.run, two.run);
    assert_eq!(one.commands("applied") + two.commands("applied"), active_users(&admin).len() as i64, "{one:?} {two:?}");
    assert_eq!(written(&admin).len(), active_users(&admin).len());

    let users = active_users(&admin);
    for user in &users[1..3] {
        admin.edit(System::Salesforce, user["Id"].as_str().unwrap(), &json!({"Title": "Edited"})).unwrap();
    }
    // As reports show it: 15 characters (R48).
    let only = format!("crm:{}", &users[1]["Id"].as_str().unwrap()[..15]);
    let one = muster.sync(&["--only", &only]).await;
    assert_eq!((one.read, one.commands("applied")), (1, 1));
    assert_eq!(admin.accounts(System::Scim).iter().filter(|account| account["title"] == "Edited").count(), 1);
    let text = muster.muster(&["sync", CONNECTION, "--wait"]).await;
    assert_eq!(text.status, 0);
    assert!(text.stdout.contains("applied") && text.stdout.contains("emitted"), "{text:?}");
}

/// R78, B6, B7: a refused creation has one letter, which says what to do; `sync` and `status` end with 3 while it is open.
/// When its cause is gone, a retry writes and closes it; done again, it says that there is none.
#[tokio::test(flavor = "multi_thread")]
async fn a_letter_is_retried_once_its_cause_is_gone() {
    let (sandbox, mut muster) = start(5, "").await;
    let admin = sandbox.admin();
    let user = active_users(&admin)[2].clone();
    let taken = admin.create(System::Scim, &json!({"userName": user["Username"]})).unwrap();
    muster.start().await;
    let synced = muster.muster(&["sync", CONNECTION, "--wait"]).await;
    assert_eq!(synced.status, 3, "{synced:?}");
    assert!(synced.stdout.contains("see `muster dead list`"));
    let letters = muster.letters().await;
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(letters[0]["partner"], user["Id"]);
    let id = letters[0]["id"].as_str().unwrap();
    let hide = |text: &str| {
        let link = id.rsplit('/').next().unwrap();
        stable(&muster, text).replace(link, "LINK").replace(user["Id"].as_str().unwrap(), "USER")
    };
    let shown = muster.muster(&["dead", "show", id]).await;
    // How long the attempt took sets the width of its column.
    let narrow = |line: &str| match line.contains(" ms ") || line.contains("TOOK") {
        true => line.split_whitespace().filter(|word| word.parse::<u32>().is_err()).collect::<Vec<_>>().join(" "),
        false => line.to_owned(),
    };
    let shown = hide(&shown.stdout).lines().map(narrow).collect::<Vec<_>>().join("\n");
    insta::assert_snapshot!("dead_show", shown);
    let listed = muster.muster(&["dead", "list"]).await;
    assert!(listed.status == 3 && listed.stdout.contains("1 open letter; see one"), "{listed:?}");
    assert_eq!(muster.muster(&["status"]).await.status, 3);

    // The cause is still there: the letter is joined, not doubled.
    assert_eq!(muster.muster(&["dead", "retry", id]).await.status, 0);
    loop {
        let again = muster.await_letters(1).await;
        if again[0]["failures"].as_u64() > letters[0]["failures"].as_u64() {
            assert_eq!(again[0]["first_at"], letters[0]["first_at"]);
            break;
        }
    }

    admin.delete(System::Scim, &taken).unwrap();
    let retried = muster.muster(&["dead", "retry", id]).await;
    assert_eq!(retried.status, 0, "{retried:?}");
    muster.await_letters(0).await;
    let status = muster.status().await;
    let run = &status["connections"][0]["runs"][0];
    assert_eq!((&run["kind"], &run["commands"]), (&json!("retry"), &json!([["applied", 1]])));
    assert_eq!(admin.accounts(System::Scim).len(), active_users(&admin).len());
    assert_eq!(muster.muster(&["dead", "retry", id]).await.status, 2);
    assert_eq!(muster.muster(&["status"]).await.status, 0);
}

/// A run that a system's answers end early makes `sync` end with 1 and say why.
#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_failed_says_why() {
    let (sandbox, mut muster) = start(5, "").await;
    muster.start().await;
    sandbox.admin().inject(Fault {
        on: Matcher { path: Some("/oauth2/token".into()), ..Matcher::default() },
        effect: Effect::Status {
            status: 400,
            body: muster::sandbox::FaultBody::Json(json!({"error": "invalid_client"})),
        },
    });
    let failed = muster.muster(&["sync", CONNECTION, "--wait"]).await;
    assert_eq!(failed.status, 1, "{failed:?}");
    assert!(failed.stdout.contains("The run ended early: blocked: crm: token: "), "{failed:?}");
}

/// `muster run` does over servers what the three workers do there; one stage that cannot go on ends the process with 1.
#[tokio::test(flavor = "multi_thread")]
async fn run_works_over_servers_as_well() {
    let (sandbox, mut muster) = start(5, "").await;
    let admin = sandbox.admin();
    muster.start_run().await;
    assert_eq!(muster.sync(&[]).await.commands("applied"), active_users(&admin).len() as i64);
    assert_eq!(muster.sync(&["--full"]).await.emitted, 0);
    muster.kill("run").await;

    let (_connection, channel) = foreign_channel(muster.amqp()).await;
    let queue = format!("{}.changes", muster.prefix());
    channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await.unwrap();
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.as_str().into(), options, FieldTable::default()).await.unwrap();
    let ended = muster.muster(&["run"]).await;
    assert!(ended.status == 1 && ended.stderr.contains("error: the "), "{ended:?}");
    assert!(ended.stderr.contains("a queue exists with other settings"), "{ended:?}");
}

/// R78: letters are discarded over servers too, and what was discarded is logged with its reason.
#[tokio::test(flavor = "multi_thread")]
async fn a_discarded_letter_is_logged() {
    let (sandbox, mut muster) = start(3, "").await;
    let admin = sandbox.admin();
    let user = active_users(&admin)[0].clone();
    admin.create(System::Scim, &json!({"userName": user["Username"]})).unwrap();
    muster.start().await;
    assert!(muster.sync(&[]).await.commands("dead") >= 1);
    let id = muster.letters().await[0]["id"].as_str().unwrap().to_owned();
    let discard = ["dead", "discard", &id, "--reason", "not-wanted", "--text", "a test account", "--json"];
    assert_eq!(muster.muster(&discard).await.status, 0);
    assert!(muster.letters().await.is_empty());
    assert_eq!(muster.sync(&["--full"]).await.emitted, 0);
    let broker = muster.broker();
    let mut log = broker.letters().await.unwrap();
    let mut closed = Vec::new();
    while let Some(entry) = log.next().await.unwrap() {
        if let LetterEntry::Closed { id, resolution, by, .. } = entry {
            closed.push((id.to_string(), resolution, by.split('@').next().unwrap().to_owned()));
        }
    }
    let text = Some("a test account".to_owned());
    assert_eq!(closed, [(id, Resolution::Discarded { reason: DiscardReason::NotWanted, text }, "ada".to_owned())]);
    broker.close().await;
}
