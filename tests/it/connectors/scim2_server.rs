//! The SCIM connector against `scim2-server` (PyPI), which other people wrote: the program that
//! `MUSTER_TEST_SCIM2_SERVER` names, as `tests/run` does, or the one on the `PATH`.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use muster::domain::{AccountId, Attributes, Snapshot, Value};
use muster::systems::{Action, Lookup, Next, ReadFrom, Record, SearchKey, System, Write, Written};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use url::Url;

use super::{listen, scim, soon};

/// A machine without it must not pass as one on which this was tested.
fn program() -> PathBuf {
    let on_path = || {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).map(|folder| folder.join("scim2-server")).find(|program| program.is_file())
    };
    let named = std::env::var_os("MUSTER_TEST_SCIM2_SERVER").map(PathBuf::from);
    named.or_else(on_path).expect("scim2-server is not installed; ./tests/run installs it")
}

/// Starts the server and waits until it listens.
async fn start(program: PathBuf) -> (Url, Child) {
    let port = listen().await.local_addr().unwrap().port();
    let mut child = Command::new(program)
        .args(["--hostname", "127.0.0.1", "--port", &port.to_string(), "--bearer-token", "hush-hush"])
        .env("PYTHONUNBUFFERED", "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines.next_line().await.unwrap().unwrap_or_default();
    assert!(line.starts_with("Serving SCIM"), "{line}");
    // It says so a moment before it does.
    while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    (format!("http://127.0.0.1:{port}/v2").parse().unwrap(), child)
}

fn values(pairs: &[(&str, Option<&str>)]) -> Attributes {
    pairs.iter().map(|(path, value)| (path.parse().unwrap(), value.map(Value::from))).collect()
}

fn value(snapshot: &Snapshot, path: &str) -> Option<Value> {
    snapshot.attributes[&path.parse().unwrap()].clone()
}

async fn write(scim: &impl System, action: Action, values: Attributes) -> Written {
    scim.write(&[Write::new(action, values)], soon()).await.pop().unwrap()
}

fn done(written: Written) -> Snapshot {
    match written {
        Written::Done(snapshot) => snapshot,
        other => panic!("{other:?}"),
    }
}

fn update(snapshot: &Snapshot) -> Action {
    Action::Update { account: snapshot.account.clone(), unless_changed_since: snapshot.version.clone() }
}

const DEPARTMENT: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department";

/// R75: accounts of an independent SCIM server are created, changed, found, paged and deactivated.
#[tokio::test]
async fn an_independent_server_is_kept_in_step() {
    let (url, _child) = start(program()).await;
    let scim = scim(&url);
    let findings = scim.preflight().await;
    assert!(findings.iter().all(|finding| finding.problem.is_none()), "{findings:?}");

    let partner: AccountId = "005RM000001iKYtYAM".parse().unwrap();
    let create = || Action::Create { partner: partner.clone() };
    let ada = [
        ("userName", Some("ada@x.example")),
        ("name.givenName", Some("Ada")),
        ("name.familyName", Some("Lovelace")),
        ("emails", Some("ada@x.example")),
        ("phoneNumbers.mobile", Some("+44 20 5550100")),
        (DEPARTMENT, Some("Support")),
        ("title", Some("Agent")),
    ];
    let created = done(write(&scim, create(), values(&ada)).await);
    assert_eq!(created.partner.as_ref(), Some(&partner));
    assert!(created.version.tag.is_some() && created.version.modified_at.is_some());
    for (path, expected) in ada {
        assert_eq!(value(&created, path), expected.map(Value::from), "{path}");
    }
    let again = write(&scim, create(), values(&[("userName", Some("ADA@x.example"))])).await;
    assert!(matches!(again, Written::Exists { .. }), "{again:?}");

    // Its PATCH is answered 204, so this is read back.
    let changed = values(&[
        ("name.givenName", Some("Augusta")),
        (DEPARTMENT, None),
        ("emails", Some("augusta@x.example")),
        ("phoneNumbers", Some("+44 20 5550199")),
        ("phoneNumbers.mobile", None),
        ("title", Some("")),
        ("nickName", None),
    ]);
    let updated = done(write(&scim, update(&created), changed.clone()).await);
    for (path, expected) in &changed {
        assert_eq!(&updated.attributes[path], expected, "{path}");
    }
    assert_eq!(value(&updated, "name.familyName"), Some("Lovelace".into()));
    let one = done(write(&scim, update(&updated), values(&[("title", Some("Lead"))])).await);
    assert_eq!(value(&one, "title"), Some("Lead".into()));
    let stale = write(&scim, update(&updated), values(&[("title", Some("Boss"))])).await;
    assert_eq!(stale, Written::Moved(Snapshot { version: moved_version(&stale), ..one.clone() }));

    let found = scim.search(&[SearchKey::Partner(partner.clone())]).await.unwrap().remove(0);
    assert_eq!(found.iter().map(|snapshot| &snapshot.account).collect::<Vec<_>>(), [&created.account]);
    for (path, text) in [("userName", "Ada@X.example"), ("emails", "augusta@x.example")] {
        let key = SearchKey::Attribute(path.parse().unwrap(), text.into());
        assert_eq!(scim.search(std::slice::from_ref(&key)).await.unwrap()[0].len(), 1, "{path}");
    }
    let nobody = SearchKey::Attribute("userName".parse().unwrap(), "a\" or \\ userName pr".into());
    assert_eq!(scim.search(&[nobody]).await.unwrap(), [[]]);

    let inactive = [("active".parse().unwrap(), Some(Value::Bool(false)))].into();
    let left = done(write(&scim, update(&one), inactive).await);
    assert_eq!(value(&left, "active"), Some(Value::Bool(false)));

    for number in 0..4 {
        let name = format!("u{number}@x.example");
        let action = Action::Create { partner: format!("e{number}").parse().unwrap() };
        done(write(&scim, action, values(&[("userName", Some(name.as_str()))])).await);
    }
    let (mut from, mut pages, mut accounts) = (ReadFrom::Start, 0, 0);
    loop {
        let page = scim.read(&from).await.unwrap();
        pages += 1;
        accounts += page.records.iter().filter(|record| matches!(record, Record::Account(_))).count();
        match page.next {
            Next::Page(position) => from = ReadFrom::Position(position),
            Next::End { proven_complete, .. } => {
                assert!(proven_complete);
                break;
            }
        }
    }
    assert_eq!((pages, accounts), (3, 5));
    let lookups = scim.get(&["nobody".parse().unwrap(), created.account.clone()]).await.unwrap();
    assert!(matches!(lookups[..], [Lookup::Absent(_), Lookup::Found(_)]), "{lookups:?}");
}

/// The version of what a refused write showed: read later than the one before, and else the same.
fn moved_version(written: &Written) -> muster::domain::Version {
    match written {
        Written::Moved(snapshot) => snapshot.version.clone(),
        other => panic!("{other:?}"),
    }
}
