//! The log of acts, by the real programs, over a file and over servers: what people did is in it, once, in order, and what
//! is done to it afterwards is found.

use aws_lc_rs::digest::{SHA256, digest};
use futures_util::future::join_all;
use muster::sandbox::{Sandbox, SandboxSettings};
use serde_json::{Value, json};

use super::processes::{CONNECTION, Installation, Mode, Outcome, connection, crm, directory};
use super::redis_server::RedisServer;

async fn start(mode: Mode) -> (Sandbox, Installation) {
    let sandbox = Sandbox::start(SandboxSettings { users: 2, ..SandboxSettings::default() }).await.unwrap();
    let systems = crm(&sandbox) + &directory(&sandbox.scim_url()) + &connection("");
    let muster = Installation::on(mode, &systems, "lease = \"3s\"\nrequest_timeout = \"1s\"").await;
    (sandbox, muster)
}

async fn done(muster: &Installation, arguments: &[&str]) {
    let outcome = muster.muster(arguments).await;
    assert_eq!((outcome.status, &*outcome.stderr), (0, ""), "{arguments:?}: {outcome:?}");
}

fn lines(outcome: &Outcome) -> Vec<Value> {
    outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{outcome:?}"))).collect()
}

/// The acts of the log, the latest first.
async fn acts(muster: &Installation, more: &[&str]) -> Vec<Value> {
    lines(&muster.muster(&[&["audit", "list", "--json"], more].concat()).await)
}

/// What `verify` says, and whether it found the log intact.
async fn verify(muster: &Installation, more: &[&str]) -> Value {
    let outcome = muster.muster(&[&["audit", "verify", "--json"], more].concat()).await;
    let said = lines(&outcome).remove(0);
    assert_eq!(outcome.status, i32::from(said["intact"] == false), "{outcome:?}");
    said
}

fn word<'v>(act: &'v Value, of: &str) -> &'v str {
    act[of].as_str().unwrap_or_default()
}

/// Each act is noted with who, when, what, about what, why and how it ended; what reads or only tries is not.
async fn what_people_do_is_noted(mode: Mode) {
    let (_sandbox, muster) = start(mode).await;
    done(&muster, &["pause", CONNECTION]).await;
    done(&muster, &["resume", CONNECTION]).await;
    muster.sync(&[]).await;
    let discard = ["dead", "discard", "crm-directory/b@ada@x.example", "--reason", "accepted", "--text", "as agreed"];
    assert_eq!(muster.muster(&discard).await.status, 2);
    for looks in
        [&["status"][..], &["plan"], &["dead", "list"], &["held", "list"], &["links", "list"], &["audit", "list"]]
    {
        muster.muster(looks).await;
    }

    let all = acts(&muster, &[]).await;
    let told: Vec<_> = all.iter().map(|act| (word(act, "verb"), word(act, "outcome"))).collect();
    assert_eq!(told, [("dead.discard", "refused"), ("sync", "done"), ("resume", "done"), ("pause", "done")]);
    for act in &all {
        assert!(word(act, "by").starts_with("ada@") && act["door"] == "cli", "{act}");
        assert!(act["begun_at"].as_i64() <= act["ended_at"].as_i64() && act["begun_at"].as_i64() > Some(0), "{act}");
    }
    assert_eq!(all[0]["why"], json!({"reason": "accepted", "text": "as agreed"}));
    assert_eq!(all[0]["about"], json!({"ids": ["crm-directory/b@(an address)"]}), "an address is not kept");
    assert_eq!(all[1]["about"], json!({ "connection": CONNECTION }));
    assert!(all[1]["counts"]["read"].as_i64() >= Some(2), "{}", all[1]);
    for (filter, found) in [
        (&["--verb", "pause"][..], 1),
        (&["--by", "nobody"], 0),
        (&["--by", word(&all[0], "by")], 4),
        (&["--since", "1h"], 4),
        (&["--until", "2001-01-01T00:00:00Z"], 0),
        (&["--limit", "2"], 2),
    ] {
        assert_eq!(acts(&muster, filter).await.len(), found, "{filter:?}");
    }
    let page = muster.muster(&["audit", "list"]).await;
    assert!(page.stdout.contains("because: accepted “as agreed”"), "{page:?}");
    let verified = verify(&muster, &[]).await;
    assert_eq!((&verified["entries"], &verified["copied"]), (&json!(8), &json!(8)), "{verified}");
}

/// B3: killed before it did anything, an act stands as begun; killed before its end was noted, too, and it was done. Both
/// can be seen, and the log goes on.
async fn a_killed_act_stands_as_begun(mode: Mode) {
    let (_sandbox, muster) = start(mode).await;
    let killed = muster.killed_command(&["pause", "--all"], "audit.begun").await;
    assert!(killed.stderr.contains("failpoint audit.begun"), "{killed:?}");
    let pauses = |status: &Value| status["pauses"].as_array().unwrap().len();
    assert_eq!(pauses(&muster.status().await), 0, "nothing was done");
    let killed = muster.killed_command(&["pause", "--all"], "audit.acted").await;
    assert!(killed.stderr.contains("failpoint audit.acted"), "{killed:?}");
    assert_eq!(pauses(&muster.status().await), 1, "it was done");
    done(&muster, &["resume", "--all"]).await;
    let all = acts(&muster, &[]).await;
    let told: Vec<_> = all.iter().map(|act| (word(act, "verb"), word(act, "outcome"))).collect();
    assert_eq!(told, [("resume", "done"), ("pause", "begun"), ("pause", "begun")]);
    assert!(all[1]["ended_at"].is_null() && all[1]["about"] == json!({"options": {"all": "yes"}}), "{}", all[1]);
    let page = muster.muster(&["audit", "list"]).await;
    assert_eq!(page.stdout.matches("no end is noted").count(), 2, "{page:?}");
    assert_eq!(verify(&muster, &[]).await["intact"], true);
}

/// Many processes act at once: one chain comes of it, without a gap, and each act is in it twice.
async fn many_processes_keep_one_chain(mode: Mode) {
    const HANDS: usize = 8;
    let (_sandbox, muster) = start(mode).await;
    let hands = (0..HANDS).map(|hand| {
        let arguments = if hand % 2 == 0 { ["pause", CONNECTION] } else { ["resume", CONNECTION] };
        let muster = &muster;
        async move { done(muster, &arguments).await }
    });
    join_all(hands).await;
    let verified = verify(&muster, &[]).await;
    assert_eq!((&verified["intact"], &verified["entries"]), (&json!(true), &json!(2 * HANDS)), "{verified}");
    let all = acts(&muster, &[]).await;
    assert!(all.len() == HANDS && all.iter().all(|act| act["outcome"] == "done"), "{all:?}");
}

/// The hashes of an export follow from each other as the documentation says: computed here from its bytes alone.
async fn an_export_proves_itself(mode: Mode) {
    let (_sandbox, muster) = start(mode).await;
    for _ in 0..3 {
        done(&muster, &["resume", CONNECTION]).await;
    }
    let exported = muster.muster(&["audit", "export"]).await;
    let mut before = "0".repeat(64);
    let mut entries = 0;
    for line in exported.stdout.lines() {
        let (hash, entry) = line.strip_prefix("{\"hash\":\"").unwrap().split_at(64);
        let entry = entry.strip_prefix("\",\"entry\":").unwrap().strip_suffix('}').unwrap();
        let follows = digest(&SHA256, format!("{before}\n{entry}").as_bytes());
        let follows: String = follows.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hash, follows, "{line}");
        before = follows;
        entries += 1;
        let entry: Value = serde_json::from_str(entry).unwrap();
        assert_eq!(entry["number"], entries);
    }
    assert_eq!(entries, 6);
    let some = muster.muster(&["audit", "export", "--verb", "pause"]).await;
    assert_eq!(some.stdout, "");
}

/// In the file an entry is changed, one is taken out, and the end is cut off: each is found, and named. A cut of everything,
/// notes and copies included, is found by an end that was kept elsewhere, and by nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_to_the_file_is_found() {
    let (_sandbox, muster) = start(Mode::File).await;
    for _ in 0..4 {
        done(&muster, &["resume", CONNECTION]).await;
    }
    let whole = verify(&muster, &[]).await;
    let end = word(&whole, "end").to_owned();
    let file = muster.config().with_file_name("muster.db");
    let saved = file.with_file_name("saved.db");
    std::fs::copy(&file, &saved).unwrap();
    let tamper = |how: &str| {
        std::fs::copy(&saved, &file).unwrap();
        rusqlite::Connection::open(&file).unwrap().execute_batch(how).unwrap();
    };
    for (how, flaw) in [
        ("UPDATE acts SET line = replace(line, 'ada@', 'eve@') WHERE number = 3", "entry 3 does not follow"),
        ("DELETE FROM acts WHERE number = 5", "entry 5 is missing: entry 6 stands in its place"),
        (
            "UPDATE acts SET line = (SELECT line FROM acts WHERE number = 2) WHERE number = 4",
            "entry 4 is missing: entry 2",
        ),
        ("UPDATE acts SET line = 'x' WHERE number = 1", "what stands after entry 0 is no entry"),
        ("DELETE FROM acts WHERE number = 8", "ends with entry 7, and entry 8"),
        ("DELETE FROM acts WHERE number > 6; DELETE FROM act_ends", "ends with entry 6, and entry 8"),
    ] {
        tamper(how);
        let found = verify(&muster, &[]).await;
        assert!(word(&found, "flaw").contains(flaw), "{how}: {found}");
    }
    // Cut off at the beginning, with a note of it that fits what is left; and one that does not fit the copies.
    let (chain, _) = end.split_once(':').unwrap();
    for (hash, flaw) in [
        ("substr(line, 10, 64)", "entry 1 is not kept any more, and its copy says that it is younger"),
        ("replace(hex(zeroblob(32)), 'A', 'a')", "entry 2 is not the one whose copy"),
    ] {
        tamper(&format!(
            "INSERT OR REPLACE INTO act_ends SELECT 'anchor', '{chain}:2:' || {hash} FROM acts WHERE number = 2; \
             DELETE FROM acts WHERE number <= 2"
        ));
        let found = verify(&muster, &[]).await;
        assert!(word(&found, "flaw").contains(flaw), "{found}");
        let alone = verify(&muster, &["--store-only"]).await;
        assert_eq!(alone["intact"], hash.starts_with("substr"), "{alone}");
    }
    tamper("DELETE FROM acts WHERE number > 6; DELETE FROM act_ends; DELETE FROM letter_log");
    assert!(word(&verify(&muster, &[]).await, "flaw").contains("ends with entry 6, and entry 0"));
    tamper("DELETE FROM acts; DELETE FROM act_ends; DELETE FROM letter_log");
    assert_eq!(verify(&muster, &[]).await["intact"], true, "nothing is left that could tell");
    let found = verify(&muster, &["--end", &end]).await;
    assert!(word(&found, "flaw").contains("entry 8 of chain"), "{found}");
    tamper("");
    assert_eq!(verify(&muster, &["--end", &end]).await["intact"], true);
}

/// R86: a store that was emptied begins another log. The copies of the one before are in the broker, and intact; and they
/// betray who cuts the end off in the store alone.
#[tokio::test(flavor = "multi_thread")]
async fn the_broker_keeps_what_the_store_forgot() {
    let (_sandbox, muster) = start(Mode::Servers).await;
    done(&muster, &["topology"]).await;
    done(&muster, &["pause", CONNECTION]).await;
    let whole = verify(&muster, &[]).await;
    assert_eq!((&whole["entries"], &whole["copied"]), (&json!(4), &json!(4)), "{whole}");
    let end = word(&whole, "end").to_owned();
    let server = RedisServer::shared().await;
    let (lines, ends) = (format!("{}:{{+acts}}:lines", muster.prefix()), format!("{}:{{+acts}}:ends", muster.prefix()));

    // Who takes the last entry out and notes the one before as the end has the store on their side, and nothing else.
    let third = server.ask::<Vec<(String, Vec<String>)>>(&["XRANGE", &lines, "3-0", "3-9"]).await.unwrap();
    let hash = third[0].1[1].split('"').nth(3).unwrap().to_owned();
    server.tell(&["XDEL", &lines, "4-1"]).await;
    let (chain, _) = end.split_once(':').unwrap();
    server.tell(&["HSET", &ends, "last", &format!("{chain}:3:{hash}")]).await;
    let found = verify(&muster, &["--store-only"]).await;
    assert_eq!((&found["intact"], &found["entries"]), (&json!(true), &json!(3)), "{found}");
    let found = verify(&muster, &[]).await;
    assert!(word(&found, "flaw").contains("ends with entry 3, and entry 4"), "{found}");

    server.tell(&["DEL", &lines, &ends]).await;
    assert_eq!(acts(&muster, &[]).await.len(), 0);
    done(&muster, &["resume", CONNECTION]).await;
    let after = verify(&muster, &["--end", &end]).await;
    assert_eq!((&after["intact"], &after["entries"]), (&json!(true), &json!(2)), "{after}");
    let forgotten = &after["forgotten"][0];
    assert_eq!((&forgotten["entries"], &forgotten["last"]), (&json!(4), &json!(4)), "{after}");
    assert!(forgotten["flaw"].is_null() && forgotten["chain"] == *chain, "{after}");
}

macro_rules! in_both_modes {
    ($($name:ident, $over_a_file:ident, $over_servers:ident;)+) => {
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $over_a_file() {
            $name(Mode::File).await;
        }

        #[tokio::test(flavor = "multi_thread")]
        async fn $over_servers() {
            $name(Mode::Servers).await;
        })+
    };
}

in_both_modes! {
    what_people_do_is_noted, what_people_do_over_a_file_is_noted, what_people_do_over_servers_is_noted;
    a_killed_act_stands_as_begun, a_killed_act_over_a_file_stands_as_begun, a_killed_act_over_servers_stands_as_begun;
    many_processes_keep_one_chain, many_processes_keep_one_chain_over_a_file, many_processes_keep_one_chain_over_servers;
    an_export_proves_itself, an_export_over_a_file_proves_itself, an_export_over_servers_proves_itself;
}
