//! A backlog of a bad night: listing it takes neither long nor much memory.
//!
//! `MUSTER_TEST_LETTERS=100000 tests/run --test it -- dead::large --nocapture` prints figures for as many letters.

use std::time::Instant;

use muster::database::Database;
use muster::domain::*;
use muster::store::Store;
use muster::store::embedded::EmbeddedStore;
use muster::store::redis::{RedisSettings, RedisStore};

use super::super::processes::{CONNECTION, Installation, Mode, connection, crm, directory};
use super::super::redis_server::RedisServer;
use super::super::show::show;
use super::{objects, people};
use muster::sandbox::{Sandbox, SandboxSettings};

/// Causes of letters.
const CAUSES: usize = 12;

fn letter(number: usize) -> DeadLetter {
    let (name, cause): (ConnectionName, usize) = (CONNECTION.parse().unwrap(), number % CAUSES);
    let at = Timestamp(1_790_000_000_000 + number as i64 * 100);
    let link = LinkId(number as u64 + 1);
    let run = "letters".parse().unwrap();
    let cause_of = change::Cause { run, number: number as u32 };
    let attempt = FailedAttempt {
        at,
        code: Code::vendor(&format!("refused_{cause}")),
        status: Some(409),
        request_id: Some(format!("request-{number:08}")),
        latency_ms: Some(120),
    };
    DeadLetter {
        id: LetterId::of_link(&name, Side::B, link),
        fingerprint: Fingerprint {
            target: Some("directory".parse().unwrap()),
            class: FailureClass::Permanent,
            code: attempt.code.clone(),
            attribute: (cause % 2 == 0).then(|| "emails".parse().unwrap()),
        },
        connection: Some(name.clone()),
        account: Some(format!("account-{number:08}").parse().unwrap()),
        partner: Some(format!("005{number:012}AAA").parse().unwrap()),
        first_at: at,
        last_at: at,
        failures: 1,
        message: "another account of the target has its e-mail address already; nothing was changed there".to_owned(),
        first_message: None,
        attempts: vec![attempt],
        status: Some(409),
        request_id: Some(format!("request-{number:08}")),
        content: LetterContent::Command {
            command: Command {
                connection: name,
                link,
                side: Side::B,
                cause: cause_of,
                lane: Lane::Live,
                approval: None,
                failed: Vec::new(),
            },
        },
    }
}

async fn fill<S: Store>(store: &S, letters: usize) {
    for first in (0..letters).step_by(500) {
        let page: Vec<_> = (first..letters.min(first + 500)).map(letter).collect();
        store.file_letters(&page, &[]).await.unwrap();
    }
}

/// B9: the whole backlog by cause, and the first of one cause.
async fn a_backlog_is_listed_at_once(mode: Mode) {
    let letters = people(1_000);
    let sandbox = Sandbox::start(SandboxSettings { users: 1, ..SandboxSettings::default() }).await.unwrap();
    let systems = crm(&sandbox) + &directory(&sandbox.scim_url()) + &connection("");
    let muster = Installation::patient_on(mode, &systems).await;
    match mode {
        Mode::Servers => {
            let redis = RedisServer::shared().await.url();
            let settings = RedisSettings { prefix: muster.prefix().to_owned(), ..RedisSettings::new(redis) };
            fill(&RedisStore::open(&settings).unwrap(), letters).await;
            for name in ["letters.2", "letters:index", "letters:groups"] {
                let key = format!("{}:{{{CONNECTION}}}:{name}", muster.prefix());
                let usage = ["MEMORY", "USAGE", &key, "SAMPLES", "0"];
                let bytes: u64 = RedisServer::shared().await.ask(&usage).await.unwrap();
                show(format_args!("{letters} letters: {name} takes {} bytes a letter", bytes / letters as u64));
            }
        }
        Mode::File => {
            let database = Database::open(&muster.config().with_file_name("muster.db")).unwrap();
            fill(&EmbeddedStore::open(&database).await.unwrap(), letters).await;
            database.close().await;
        }
    }
    for arguments in [
        &["dead", "list", "--group", "--json"][..],
        &["dead", "list", "--code", "refused_7"],
        &["dead", "list", "--code", "refused_7", "--since", "2026-09-21T00:00:00Z", "--limit", "100", "--json"],
        &["dead", "list", "--json"],
    ] {
        let began = Instant::now();
        let outcome = muster.muster(arguments).await;
        show(format_args!("{letters} letters, {mode:?}: {} took {:?}", arguments.join(" "), began.elapsed()));
        assert_eq!((outcome.status, outcome.stderr.as_str()), (3, ""), "{arguments:?}");
        if arguments.contains(&"--group") {
            let groups = objects(&outcome);
            assert_eq!(groups.len(), CAUSES);
            assert_eq!(groups.iter().map(|group| group["letters"].as_u64().unwrap()).sum::<u64>(), letters as u64);
        }
        if !arguments.contains(&"--code") && !arguments.contains(&"--group") {
            assert_eq!(outcome.stdout.lines().count(), letters);
        }
    }
    let peak = muster.peak_memory_kib().pop().unwrap().1;
    show(format_args!("{letters} letters, {mode:?}: peak memory {} MiB", peak / 1024));
    assert!(peak < 100 * 1024, "{peak} KiB: what is listed is read page by page");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_is_listed_at_once_over_a_file() {
    a_backlog_is_listed_at_once(Mode::File).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_is_listed_at_once_over_servers() {
    a_backlog_is_listed_at_once(Mode::Servers).await;
}
