//! Schedules kept by real processes that are killed, and what people are told, in both modes. How slots lie around changes
//! of clocks is shown beside the code, where a test sets the clock.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use base64::Engine;
use muster::database::Database;
use muster::domain::schedule::Slot;
use muster::domain::{ConnectionName, Token};
use muster::sandbox::{Effect, Fault, FaultBody, Matcher, Sandbox, SandboxSettings, System};
use muster::store::embedded::EmbeddedStore;
use muster::store::redis::{RedisSettings, RedisStore};
use muster::store::{LeaseName, Run, RunKind, Store};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use super::processes::{CONNECTION, Installation, Mode, active_users, connection, crm, directory, written};
use super::redis_server::RedisServer;

const PATIENCE: &str = "lease = \"3s\"\nrequest_timeout = \"1s\"";

fn name() -> ConnectionName {
    CONNECTION.parse().unwrap()
}

/// A sandbox, and an installation between its systems; `more` are lines of its connection, `tables` whole tables.
async fn start(mode: Mode, more: &str, tables: &str) -> (Sandbox, Installation) {
    let sandbox = Sandbox::start(SandboxSettings { users: 5, ..SandboxSettings::default() }).await.unwrap();
    let systems = tables.to_owned() + &crm(&sandbox) + &directory(&sandbox.scim_url()) + &connection(more);
    let muster = Installation::on(mode, &systems, PATIENCE).await;
    (sandbox, muster)
}

async fn redis(muster: &Installation) -> RedisStore {
    let url = RedisServer::shared().await.url();
    RedisStore::open(&RedisSettings { prefix: muster.prefix().to_owned(), ..RedisSettings::new(url) }).unwrap()
}

async fn file(muster: &Installation) -> EmbeddedStore {
    EmbeddedStore::open(&Database::open(&muster.config().with_file_name("muster.db")).unwrap()).await.unwrap()
}

/// Waits for what the store says; a test that waits for ever shows what the workers logged.
async fn until<S: Store, T>(
    store: &S,
    muster: &mut Installation,
    what: &str,
    look: impl AsyncFn(&S, &mut Installation) -> Option<T>,
) -> T {
    let looking = async {
        loop {
            if let Some(found) = look(store, muster).await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let found = tokio::time::timeout(Duration::from_secs(180), looking).await;
    found.unwrap_or_else(|_| panic!("never {what}"))
}

async fn ended<S: Store>(store: &S, muster: &mut Installation, role: &str) {
    let what = format!("the end of the {role}");
    until(store, muster, &what, async |_, muster| muster.has_ended(role).then_some(())).await;
}

/// The runs that the schedule began and that are over, in the order of their slots.
async fn scheduled<S: Store>(store: &S) -> Vec<(Slot, Run)> {
    let runs = store.runs(&name(), 1_000).await.unwrap();
    let mut served: Vec<_> = runs.into_iter().filter_map(|run| Some((run.slot?, run))).collect();
    served.retain(|(_, run)| run.is_over());
    served.sort_by_key(|(slot, _)| slot.at);
    served
}

async fn until_scheduled<S: Store>(store: &S, muster: &mut Installation, count: usize) {
    let what = format!("{count} runs");
    until(store, muster, &what, async |store, _| (scheduled(store).await.len() >= count).then_some(())).await;
}

/// B24: each slot was served by a run of its own, or made up for by the next one, and none by two.
async fn assert_each_slot_is_served_once<S: Store>(store: &S, every: Duration) {
    let served = scheduled(store).await;
    for pair in served.windows(2) {
        let [(before, one), (after, other)] = pair else { unreachable!("windows of two") };
        assert_eq!(after.at.since(before.at), every * (1 + after.missed), "{one:?} {other:?}");
        assert!(other.began_at >= one.began_at, "{one:?} {other:?}");
        assert_eq!(other.failed, None, "{other:?}");
    }
}

/// B24, R65: three replicas of the producer, the one at work killed just when it has begun a run, and later another one.
#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_are_killed_miss_no_slot_and_double_none() {
    let (sandbox, mut muster) = start(Mode::Servers, "schedule = { every = \"2s\" }", "").await;
    let store = redis(&muster).await;
    muster.start_worker("producer", Some("clerk.began:2"));
    muster.start_worker("mapper", None);
    muster.start_worker("writer", None);
    until_scheduled(&store, &mut muster, 1).await;
    for _ in 0..2 {
        muster.start_worker("producer", None);
    }
    ended(&store, &mut muster, "producer").await;
    until_scheduled(&store, &mut muster, 3).await;
    // A sync that somebody asks for comes in between, and once (R66).
    let asked = muster.sync(&[]).await;
    until_scheduled(&store, &mut muster, 5).await;
    assert_each_slot_is_served_once(&store, Duration::from_secs(2)).await;
    let runs = store.runs(&name(), 1_000).await.unwrap();
    let asked_for: Vec<_> = runs.iter().filter(|run| run.kind == RunKind::Sync && run.slot.is_none()).collect();
    assert_eq!(asked_for.len(), 1, "{asked_for:?}");
    assert_eq!(asked_for[0].id.as_str(), asked.run);
    let admin = sandbox.admin();
    assert_eq!(written(&admin).len(), active_users(&admin).len(), "nobody was created twice");
}

/// B24: a `run` over a file, killed just when it has begun a run of its schedule; the next one goes on, and makes up for
/// what was missed between.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_run_over_a_file_misses_no_slot_and_doubles_none() {
    let (sandbox, mut muster) = start(Mode::File, "schedule = { every = \"2s\" }", "").await;
    muster.start_worker("run", Some("clerk.began:2"));
    let store = file(&muster).await;
    ended(&store, &mut muster, "run").await;
    let served = store.timetable(&name()).await.unwrap().unwrap().served;
    // Until three slots have passed, as a machine that is off for a night lets them pass.
    until(&store, &mut muster, "three slots", async |store, _| {
        let now = store.epoch(&name()).await.unwrap().now;
        (now.since(served) > Duration::from_secs(7)).then_some(())
    })
    .await;
    muster.start_worker("run", None);
    until_scheduled(&store, &mut muster, 4).await;
    assert_each_slot_is_served_once(&store, Duration::from_secs(2)).await;
    let made_up: u32 = scheduled(&store).await.iter().map(|(slot, _)| slot.missed).sum();
    assert!(made_up >= 2, "{made_up}");
    let admin = sandbox.admin();
    assert_eq!(written(&admin).len(), active_users(&admin).len(), "nobody was created twice");
}

/// What a webhook received.
#[derive(Clone, Default)]
struct Hook {
    alerts: Arc<Mutex<Vec<(HeaderMap, Value)>>>,
    /// Answers that are still to be refusals.
    refusals: Arc<Mutex<u32>>,
}

impl Hook {
    /// Serves it on loopback; its URL.
    async fn serve(&self) -> String {
        let take = async |State(hook): State<Hook>, headers: HeaderMap, Json(alert): Json<Value>| {
            let mut refusals = hook.refusals.lock().unwrap();
            if *refusals > 0 {
                *refusals -= 1;
                return StatusCode::SERVICE_UNAVAILABLE;
            }
            hook.alerts.lock().unwrap().push((headers, alert));
            StatusCode::NO_CONTENT
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/alerts", listener.local_addr().unwrap());
        let router = Router::new().route("/alerts", post(take)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        url
    }

    fn received(&self) -> Vec<Value> {
        self.alerts.lock().unwrap().iter().map(|(_, alert)| alert.clone()).collect()
    }

    /// What was told, in order, without repetitions.
    fn told(&self) -> Vec<String> {
        let mut seen = BTreeMap::new();
        let mut told = Vec::new();
        for alert in self.received() {
            let again = seen.insert(alert["id"].to_string(), alert.clone());
            assert!(again.is_none_or(|again| again == alert), "it comes again as it was");
            let text = format!("{} {}", alert["alert"].as_str().unwrap(), alert["state"].as_str().unwrap());
            if told.last() != Some(&text) {
                told.push(text);
            }
        }
        told
    }
}

/// R70: a connection whose producer is gone is overdue: the other workers say so, once, whatever is killed: one dies just
/// before it tells, one just after. `status` ends with 3. When the producer is back, that is told too.
#[tokio::test(flavor = "multi_thread")]
async fn people_are_told_that_a_connection_is_overdue_whoever_is_killed() {
    let hook = Hook::default();
    let url = hook.serve().await;
    let tables =
        format!("[alerts]\nwebhook = {{ url = \"{url}\", header = \"X-Token\", value = {{ file = \"token\" }} }}\n\n");
    // The token is a file beside the configuration, which is there once that is.
    let (_sandbox, mut muster) =
        start(Mode::Servers, "schedule = { every = \"1s\" }\noverdue_after = \"15s\"", "").await;
    std::fs::write(muster.config().with_file_name("token"), "hook-token\n").unwrap();
    let text = std::fs::read_to_string(muster.config()).unwrap();
    std::fs::write(muster.config(), text + "\n" + &tables).unwrap();
    let store = redis(&muster).await;

    // The mapper looks after the schedule, since it was there first.
    muster.start_worker("mapper", Some("watch.noted"));
    until(&store, &mut muster, "somebody who watches", async |store, _| {
        let moment = Duration::from_millis(1);
        let free = store.lease(&name(), &LeaseName::Watch, Token(1), moment).await.unwrap();
        (!free).then_some(())
    })
    .await;
    muster.start_worker("writer", Some("watch.told"));
    muster.start_worker("producer", None);
    until_scheduled(&store, &mut muster, 2).await;
    let status = muster.status().await;
    assert_eq!(status["connections"][0]["schedule"]["overdue"], Value::Null);
    assert_eq!(status["connections"][0]["schedule"]["rule"], "every 1s");
    assert_eq!(muster.muster(&["status"]).await.status, 0);
    muster.kill("producer").await;
    ended(&store, &mut muster, "mapper").await;
    assert_eq!(hook.received(), [Value::Null; 0], "it died before it told anybody");
    let late = muster.muster(&["status"]).await;
    assert_eq!(late.status, 3, "{late:?}");
    assert!(late.stdout.contains("overdue since"), "{late:?}");
    ended(&store, &mut muster, "writer").await;
    assert_eq!(hook.told(), ["overdue firing"]);
    muster.start_worker("mapper", None);
    until(&store, &mut muster, "a second delivery", async |_, _| (hook.received().len() >= 2).then_some(())).await;
    assert_eq!(hook.told(), ["overdue firing"], "the same once more");

    muster.start_worker("writer", None);
    muster.start_worker("producer", None);
    until(&store, &mut muster, "recovery", async |_, _| (hook.told().len() == 2).then_some(())).await;
    assert_eq!(hook.told(), ["overdue firing", "overdue resolved"]);
    let (headers, alert) = hook.alerts.lock().unwrap()[0].clone();
    assert_eq!(headers["x-token"], "hook-token");
    let keys: Vec<_> = alert.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["alert", "at", "connection", "id", "schedule", "since", "state", "text"]);
    assert_eq!((&alert["connection"], &alert["schedule"]), (&json!(CONNECTION), &json!("every 1s")));
    let logs = muster.logs();
    assert!(!logs.contains("hook-token"), "{logs}");
}

/// A mail server that answers what an ordinary one would, and keeps what it was told. The first of its letters it does not
/// take (RFC 5321: 451).
#[derive(Clone, Default)]
struct Mailbox {
    letters: Arc<Mutex<Vec<String>>>,
}

impl Mailbox {
    /// Serves it on loopback; its URL.
    async fn serve(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("smtp://{}", listener.local_addr().unwrap());
        let letters = self.letters.clone();
        tokio::spawn(async move {
            let mut refused = false;
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                // Whoever hangs up has said enough.
                converse(stream, &letters, &mut refused).await.ok();
            }
        });
        url
    }
}

/// One conversation: every line of it is kept with the letter.
async fn converse(
    stream: tokio::net::TcpStream,
    letters: &Mutex<Vec<String>>,
    refused: &mut bool,
) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    let mut said = String::new();
    write.write_all(b"220 mail.test ESMTP\r\n").await?;
    while let Some(line) = lines.next_line().await? {
        said += &format!("{line}\n");
        let answer = match line.split(' ').next().unwrap() {
            "EHLO" => "250-mail.test\r\n250 AUTH PLAIN",
            "AUTH" => "235 welcome",
            "DATA" => {
                write.write_all(b"354 go on\r\n").await?;
                while let Some(line) = lines.next_line().await?.filter(|line| line != ".") {
                    said += &format!("{line}\n");
                }
                let again = std::mem::replace(refused, true);
                if again {
                    letters.lock().unwrap().push(std::mem::take(&mut said));
                }
                if again { "250 taken" } else { "451 try again" }
            }
            "QUIT" => {
                write.write_all(b"221 bye\r\n").await?;
                return Ok(());
            }
            _ => "250 fine",
        };
        write.write_all(format!("{answer}\r\n").as_bytes()).await?;
    }
    Ok(())
}

/// R70: the same by mail, for those who have neither Prometheus nor a service that takes webhooks: a server that refuses at
/// first loses nothing, and the password is in no log.
#[tokio::test(flavor = "multi_thread")]
async fn people_are_told_by_mail() {
    let mailbox = Mailbox::default();
    let tables = format!(
        "[alerts.mail]\nserver = \"{}\"\nfrom = \"Muster <muster@example.com>\"\n\
         to = [\"Ada <ada@example.com>\", \"grace@example.com\"]\nuser = \"muster\"\npassword = {{ file = \"token\" }}\n\n",
        mailbox.serve().await
    );
    let (sandbox, mut muster) = start(Mode::File, "schedule = { every = \"1s\" }", "").await;
    std::fs::write(muster.config().with_file_name("token"), "mail-password\n").unwrap();
    let text = std::fs::read_to_string(muster.config()).unwrap();
    std::fs::write(muster.config(), text + "\n" + &tables).unwrap();
    let fault = sandbox.admin().inject(Fault {
        on: Matcher { system: Some(System::Salesforce), path: Some("/query".to_owned()), ..Matcher::default() },
        effect: Effect::Status { status: 400, body: FaultBody::Native },
    });
    muster.start_run().await;
    let store = file(&muster).await;
    let letters = || mailbox.letters.lock().unwrap().clone();
    until(&store, &mut muster, "a letter", async |_, _| (!letters().is_empty()).then_some(())).await;
    sandbox.admin().end_fault(fault);
    until(&store, &mut muster, "another letter", async |_, _| (letters().len() > 1).then_some(())).await;
    let letters = letters();
    assert_eq!(letters.len(), 2, "{letters:?}");
    for line in [
        "MAIL FROM:<muster@example.com>",
        "RCPT TO:<ada@example.com>",
        "RCPT TO:<grace@example.com>",
        "From: Muster <muster@example.com>",
        "To: Ada <ada@example.com>, grace@example.com",
        "alert: failing",
        &format!("connection: {CONNECTION}"),
    ] {
        assert!(letters[0].lines().any(|found| found.starts_with(line)), "{line}: {}", letters[0]);
    }
    assert!(letters[1].contains("runs end well again"), "{}", letters[1]);
    let plain = base64::engine::general_purpose::STANDARD.encode("\0muster\0mail-password");
    assert!(letters[0].contains(&format!("AUTH PLAIN {plain}")), "{}", letters[0]);
    let logs = muster.logs();
    assert!(logs.contains("it answered 451"), "{logs}");
    assert!(!logs.contains("mail-password") && !logs.contains(&plain), "{logs}");
}

/// R70: runs that end with an error are told once, and so is their end; a webhook that refuses for a while loses nothing. No
/// value of an account is in it.
#[tokio::test(flavor = "multi_thread")]
async fn people_are_told_that_runs_fail_and_that_they_go_well_again() {
    let hook = Hook::default();
    *hook.refusals.lock().unwrap() = 2;
    let tables = format!("[alerts]\nwebhook = \"{}\"\n\n", hook.serve().await);
    let (sandbox, mut muster) = start(Mode::File, "schedule = { every = \"1s\" }", &tables).await;
    muster.start_run().await;
    let store = file(&muster).await;
    until_scheduled(&store, &mut muster, 1).await;
    let admin = sandbox.admin();
    let fault = admin.inject(Fault {
        on: Matcher { system: Some(System::Salesforce), path: Some("/query".to_owned()), ..Matcher::default() },
        effect: Effect::Status { status: 400, body: FaultBody::Native },
    });
    until(&store, &mut muster, "an alert", async |_, _| (!hook.received().is_empty()).then_some(())).await;
    let failing = muster.muster(&["status"]).await;
    assert_eq!(failing.status, 3, "{failing:?}");
    assert!(failing.stdout.contains("failing since"), "{failing:?}");
    let fails = store.runs(&name(), 100).await.unwrap().iter().filter(|run| run.failed.is_some()).count();
    until(&store, &mut muster, "more failing runs", async |store, _| {
        let runs = store.runs(&name(), 100).await.unwrap();
        (runs.iter().filter(|run| run.failed.is_some()).count() > fails + 1).then_some(())
    })
    .await;
    admin.end_fault(fault);
    until(&store, &mut muster, "recovery", async |_, _| (hook.received().len() >= 2).then_some(())).await;
    let received = hook.received();
    assert_eq!(hook.told(), ["failing firing", "failing resolved"], "{received:?}");
    assert_eq!(received.len(), 2, "{received:?}");
    assert!(received[0]["text"].as_str().unwrap().contains("crm could not be read"), "{received:?}");
    for user in active_users(&admin) {
        for field in ["Email", "LastName", "Username"] {
            let value = user[field].as_str().unwrap();
            assert!(!received.iter().any(|alert| alert.to_string().contains(value)), "{field} in {received:?}");
        }
    }
}
