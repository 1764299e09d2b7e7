//! How the server must be set up, what lies in it, and what that costs.

use muster::domain::link::{LastWrite, Register, WriteAnswer};
use muster::domain::*;
use muster::store::redis::{RedisSettings, RedisStore};
use muster::store::*;

use super::process;
use crate::redis_server::RedisServer;
use crate::store::{DONE, begin, commit, connection, epoch, new_link};

/// The way to the store over TLS, trusting one authority and no other.
#[tokio::test]
async fn tls_is_spoken_and_the_certificate_checked() {
    // Another test of this process may have installed it.
    let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let files = tempfile::tempdir().unwrap();
    let file = |name: &str, text: String| {
        let path = files.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let pair = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let (cert, key) = (file("cert.pem", pair.cert.pem()), file("key.pem", pair.signing_key.serialize_pem()));
    let port = crate::redis_server::free_port().to_string();
    let options = ["--tls-port", &port, "--tls-cert-file", &cert, "--tls-key-file", &key, "--tls-ca-cert-file", &cert];
    let server = RedisServer::private(&[&options[..], &["--tls-auth-clients", "no"]].concat()).await;

    let settings = |ca_file: String| RedisSettings {
        url: format!("rediss://127.0.0.1:{port}/"),
        ca_file: Some(ca_file.into()),
        ..server.settings()
    };
    let store = process(&settings(cert.clone()));
    let epoch = epoch(&store).await;
    assert_eq!(commit(&store, epoch, new_link(epoch, 1)).await, DONE);
    let stranger = process(&settings(file("other.pem", other.cert.pem())));
    assert!(matches!(stranger.ping().await, Err(StoreError::Unavailable(_))));
    assert!(RedisStore::open(&settings("/nowhere/ca.pem".to_owned())).is_err());
}

/// R5: no password in any text that can reach a log.
#[tokio::test]
async fn the_password_is_never_shown() {
    const PASSWORD: &str = "correct-horse";
    let server = RedisServer::private(&["--requirepass", PASSWORD]).await;
    let mut settings = RedisSettings { password: Some(PASSWORD.into()), ..server.settings() };
    let store = process(&settings);
    store.ping().await.unwrap();
    epoch(&store).await;
    assert!(!format!("{settings:?} {store:?}").contains(PASSWORD));

    settings.password = Some("wrong-horse".into());
    let store = process(&settings);
    let error = store.ping().await.unwrap_err();
    assert!(!format!("{error} {error:?} {settings:?} {store:?}").contains("wrong-horse"), "{error:?}");
    settings.password = None;
    let error = process(&settings).ping().await.unwrap_err();
    assert!(error.to_string().contains("NOAUTH"), "{error}");
}

/// F17, R86: a server that would lose links in silence is refused at the start.
#[tokio::test]
async fn a_server_that_evicts_is_refused() {
    let server = RedisServer::private(&["--maxmemory", "64mb"]).await;
    let store = server.store();
    assert_eq!(store.verify().await.unwrap(), Vec::<String>::new());
    server.tell(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]).await;
    let refused = store.verify().await;
    assert!(matches!(&refused, Err(StoreError::Unusable(text)) if text.contains("noeviction")), "{refused:?}");
    server.tell(&["CONFIG", "SET", "maxmemory", "0"]).await;
    let warnings = store.verify().await.unwrap();
    assert!(warnings[0].contains("noeviction") && warnings[1].contains("no maxmemory"), "{warnings:?}");
    server.tell(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
    server.tell(&["CONFIG", "SET", "appendonly", "no"]).await;
    let warnings = store.verify().await.unwrap();
    assert!(warnings[1].contains("nothing on disk"), "{warnings:?}");
    server.tell(&["CONFIG", "SET", "save", "3600 1"]).await;
    assert!(store.verify().await.unwrap()[1].contains("snapshots only"));

    server.tell(&["ACL", "SETUSER", "muster", "on", ">pw", "~*", "+@all", "-config"]).await;
    let account = |name: &str| RedisSettings {
        username: Some(name.to_owned()),
        password: Some("pw".into()),
        ..server.settings()
    };
    let warnings = process(&account("muster")).verify().await.unwrap();
    assert!(warnings[1].contains("could not be checked"), "{warnings:?}");
    server.tell(&["ACL", "SETUSER", "meek", "on", ">pw", "~*", "+@all", "-info"]).await;
    let refused = process(&account("meek")).verify().await;
    assert!(matches!(&refused, Err(StoreError::Unusable(text)) if text.contains("info")), "{refused:?}");
}

/// A link that nobody can read is named, and its content is not.
#[tokio::test]
async fn an_unreadable_link_is_named() {
    let server = RedisServer::shared().await;
    let settings = server.settings();
    let store = process(&settings);
    let epoch = epoch(&store).await;
    commit(&store, epoch, new_link(epoch, 1)).await;
    let key = format!("{}:{{{}}}:links", settings.prefix, connection());
    server.tell(&["HSET", &key, &LinkId(1).to_string(), r#"1:{"secret":"ada@x.example"}"#]).await;
    let error = store.load(&connection(), &[LinkId(1)]).await.unwrap_err();
    assert!(matches!(error, StoreError::Unusable(_)));
    let text = error.to_string();
    assert!(text.contains("crm-scim") && text.contains("0000000000000001") && !text.contains("ada"), "{text}");

    server.tell(&["DEL", &key]).await;
    server.tell(&["SET", &key, "of something else"]).await;
    assert!(matches!(store.load(&connection(), &[LinkId(1)]).await, Err(StoreError::Unusable(_))));
}

/// Every key has the connection's hash tag, and those that may go have an expiry.
#[tokio::test]
async fn keys_are_tagged_and_expire_as_documented() {
    let server = RedisServer::shared().await;
    let settings = server.settings();
    let store = process(&settings);
    let epoch = epoch(&store).await;
    let run = begin(&store, "r1", RunKind::Sync, 3).await;
    let live = begin(&store, "live-1", RunKind::Live, 1).await;
    let entry = JournalEntry {
        link: LinkId(1),
        attribute: "title".parse().unwrap(),
        side: Side::B,
        value: None,
        is_erased: false,
        reason: resolve::JournalReason::ConflictLost,
        seen_at: Timestamp(1),
        generation: 2,
        accounts: Sides { a: Some("005".parse().unwrap()), b: None },
        gave_back: None,
    };
    let emits = Sides { a: true, b: false };
    let step = Commit {
        journal: vec![entry.clone()],
        reread: vec![(Side::B, "b1".parse().unwrap())],
        count: Some(Count::Change { run: run.clone(), number: 0, outcome: ChangeOutcome::ConflictLost, emits }),
        ..new_link(epoch, 1)
    };
    assert_eq!(commit(&store, epoch, step).await, DONE);
    let request = SyncRequest { run, kind: RunKind::Sync, by: "ada".to_owned(), only: None };
    store.request(&connection(), &request).await.unwrap();
    store.beat("writer", "host/1").await.unwrap();

    let tag = format!("{}:{{crm-scim}}:", settings.prefix);
    let day = 24 * 3600_i64;
    let keys: Vec<String> = server.ask(&["KEYS", &format!("{}:*", settings.prefix)]).await.unwrap();
    assert!(keys.len() >= 11, "{keys:?}");
    for key in keys {
        let ttl: i64 = server.ask(&["TTL", &key]).await.unwrap();
        let expected = match key.strip_prefix(&tag) {
            Some(name) if name.starts_with(&format!("run:{live}")) => 7 * day,
            Some(name) if name.starts_with("run:") || name == "journal" => 30 * day,
            Some("requests") => 7 * day,
            Some(_) => -1,
            None => {
                assert_eq!(key, format!("{}:instances", settings.prefix));
                15
            }
        };
        assert!(ttl <= expected && ttl >= expected - 5, "{key}: {ttl} s, expected {expected} s");
    }
    let journal: Vec<(String, Vec<String>)> =
        server.ask(&["XRANGE", &format!("{tag}journal"), "-", "+"]).await.unwrap();
    assert_eq!(journal[0].1[0], "e");
    assert_eq!(serde_json::from_str::<JournalEntry>(&journal[0].1[1]).unwrap(), entry);
}

/// The budget of the design: 1,300 bytes for a link with ten attributes, its claims included.
#[tokio::test]
async fn a_link_of_ten_attributes_fits_its_budget() {
    const LINKS: u64 = 2_000;
    let server = RedisServer::private(&[]).await;
    let settings = server.settings();
    let store = process(&settings);
    let epoch = epoch(&store).await;
    let used = async || -> i64 {
        let info: String = server.ask(&["INFO", "memory"]).await.unwrap();
        let line = info.lines().find_map(|line| line.strip_prefix("used_memory_dataset:")).unwrap();
        line.trim().parse().unwrap()
    };
    let before = used().await;
    let commits: Vec<Commit> = (0..LINKS).map(|id| link_in_sync(epoch, id)).collect();
    for commits in commits.chunks(200) {
        store.commit(&connection(), epoch, commits).await.unwrap();
    }
    let after = used().await;

    let mut bytes = 0;
    for name in ["links", "accounts:a", "accounts:b", "keys:a", "keys:b"] {
        let key = format!("{}:{{crm-scim}}:{name}", settings.prefix);
        let size: u64 = server.ask(&["MEMORY", "USAGE", &key, "SAMPLES", "0"]).await.unwrap();
        println!("{name}: {} bytes a link", size / LINKS);
        bytes += size;
    }
    println!("{} bytes a link by MEMORY USAGE, {} by INFO", bytes / LINKS, (after - before) / LINKS as i64);
    assert!(bytes / LINKS <= 1_300, "{} bytes a link", bytes / LINKS);
}

/// A pair in sync, as a first load leaves it: ten attributes of ordinary length, two accounts, a matching key on each side.
fn link_in_sync(epoch: Epoch, id: u64) -> Commit {
    let (a, b) = (format!("005RM00000{id:08}"), uuid::Uuid::from_u128(u128::from(id) << 64 | 7).to_string());
    let values = [
        ("userName", format!("Ada.Lovelace.{id}@example.com")),
        ("emails", format!("Ada.Lovelace.{id}@example.com")),
        ("name.givenName", "Ada Augusta".to_owned()),
        ("name.familyName", format!("Lovelace{id}")),
        ("displayName", format!("Ada Lovelace{id}")),
        ("title", "Senior Analyst".to_owned()),
        ("phoneNumbers", format!("+44 20 7946 {id:04}")),
        ("locale", "en_GB".to_owned()),
        ("timezone", "Europe/London".to_owned()),
        ("urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department", "Analytical Engines".to_owned()),
    ];
    let mut commit = new_link(epoch, id.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let link = commit.link.as_mut().unwrap();
    let version = |at: i64, tag: Option<&str>| Version {
        modified_at: Some(Timestamp(1_763_760_000_000 + at)),
        read_at: Timestamp(1_763_760_900_000 + at),
        tag: tag.map(Box::from),
    };
    link.sides.a.account = Some(a.parse().unwrap());
    link.sides.b.account = Some(b.parse().unwrap());
    link.sides.a.seen_at = Some(version(0, None));
    link.sides.b.seen_at = Some(version(5_000, Some("W/\"3694e05e9dff590\"")));
    link.sides.b.last_write = Some(LastWrite::new(Timestamp(1_763_760_905_000), WriteAnswer::Created));
    let key = DigestKey::new(&connection(), epoch);
    // The two systems compare letter case differently, so that hardly a digest is the same on both sides.
    let folded = Comparison { fold_case: true, trim: true, empty_is_clear: true };
    for (name, value) in values {
        let path: AttributePath = name.parse().unwrap();
        let value = Value::Text(value);
        let exact = Comparison::default();
        link.sides.a.seen.insert(path.clone(), key.digest(&path, Some(&value), exact));
        link.sides.b.seen.insert(path.clone(), key.digest(&path, Some(&value), folded));
        let at = version(0, None);
        let register =
            Register { value: Some(value), at, by: Side::A, generation: 1, applied: Sides { a: 1, b: 1 }, hold: None };
        link.registers.insert(path, register);
    }
    let digest = format!("emails={:016x}", id.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    commit.claim = vec![
        Claim::Account(Side::A, a.parse().unwrap()),
        Claim::Account(Side::B, b.parse().unwrap()),
        Claim::Key(Side::A, digest.clone()),
        Claim::Key(Side::B, digest),
    ];
    commit
}

/// What was kept long enough goes also where nothing is added any more: recorded changes after as long as they were recorded
/// for, conflicts after the span of the configuration.
#[tokio::test]
async fn old_entries_go_from_a_quiet_connection() {
    let server = RedisServer::shared().await;
    let settings = server.settings();
    let store = process(&settings);
    let now = store.epoch(&connection()).await.unwrap().now;
    let key = |name: &str| format!("{}:{{{}}}:{name}", settings.prefix, connection());
    let id = |minutes_ago: i64| format!("{}-1", now.0 - minutes_ago * 60_000);
    let lengths = async || {
        let length = async |name: &str| server.ask::<i64>(&["XLEN", &key(name)]).await.unwrap();
        [length("history").await, length("journal").await]
    };
    for name in ["history", "journal"] {
        for minutes_ago in [90, 61, 59, 1] {
            server.tell(&["XADD", &key(name), &id(minutes_ago), "e", "{}"]).await;
        }
        // As it was set a minute ago, with the last entry.
        server.tell(&["PEXPIRE", &key(name), &(59 * 60_000).to_string()]).await;
    }
    store.expire(&connection()).await.unwrap();
    assert_eq!(lengths().await, [2, 4], "an hour of changes, a month of conflicts");
    let hour = std::time::Duration::from_secs(3_600);
    let sooner = store.keeping(retention::Retention { conflicts: hour, ..Default::default() });
    sooner.expire(&connection()).await.unwrap();
    assert_eq!(lengths().await, [2, 2]);
    sooner.expire(&"other".parse().unwrap()).await.unwrap();
    assert_eq!(server.ask::<i64>(&["EXISTS", &format!("{}:{{other}}:journal", settings.prefix)]).await.unwrap(), 0);
}
