//! A run that did harm is undone (B13). Each test is of the real programs, over a file and over servers.

use std::collections::{BTreeMap, BTreeSet};

use muster::database::Database;
use muster::domain::ConnectionName;
use muster::sandbox::{Admin, Sandbox, SandboxSettings, System, Write};
use muster::store::embedded::EmbeddedStore;
use muster::store::{Run, RunKind, Store};
use serde_json::{Value, json};

use super::processes::{CONNECTION, Installation, Mode, connection, directory, written};

/// Two directories, of which one follows the other one, or both each other.
struct Pair {
    installation: Installation,
    sandboxes: [Sandbox; 2],
    admins: [Admin; 2],
    direction: &'static str,
    minutes: i64,
}

const CRM: usize = 0;
const DIRECTORY: usize = 1;

const ONE_WAY: &str = "\"a_to_b\"";
const TWO_WAY: &str = "\"two_way\"\ndefault_system = \"crm\"";

impl Pair {
    async fn start(mode: Mode, direction: &'static str, people: usize) -> Self {
        let crm = Sandbox::start(SandboxSettings::default()).await.unwrap();
        let other = Sandbox::start(SandboxSettings::default()).await.unwrap();
        crm.admin().seed(System::Scim, people, 7).unwrap();
        let installation = Installation::on(mode, "", "lease = \"5s\"\nrequest_timeout = \"3s\"").await;
        let admins = [crm.admin(), other.admin()];
        let mut pair = Self { installation, sandboxes: [crm, other], admins, direction, minutes: 0 };
        for person in pair.accounts(CRM) {
            let id = person["id"].as_str().unwrap();
            pair.admins[CRM]
                .edit(System::Scim, id, &json!({"title": format!("was {id}"), "nickName": "Nick"}))
                .unwrap();
        }
        pair.map("title = {}").await;
        pair.sync().await;
        pair
    }

    /// The configuration, with this line about titles.
    async fn map(&self, title: &str) {
        let both = directory(&self.sandboxes[CRM].scim_url()).replace("systems.directory", "systems.crm")
            + &directory(&self.sandboxes[DIRECTORY].scim_url());
        let mapped = format!("[connections.{CONNECTION}.attributes]\nuserName = {{}}\nnickName = {{}}\n{title}\n");
        let connected = connection(&mapped).replace("\"a_to_b\"", self.direction);
        self.installation.configure(&(both + &connected)).await;
    }

    /// A minute passes for both systems, so that no stamp is shared with what was read before.
    fn later(&mut self) {
        self.minutes += 1;
        self.admins.iter().for_each(|admin| admin.set_clock(System::Scim, self.minutes * 60_000));
    }

    async fn sync(&mut self) -> String {
        self.later();
        let report = self.installation.sync(&["--full"]).await;
        assert_eq!((report.commands("dead"), report.failed.as_deref()), (0, None), "{report:?}");
        report.run
    }

    fn accounts(&self, system: usize) -> Vec<Value> {
        self.admins[system].accounts(System::Scim)
    }

    /// Titles of the directory by the id of the partner.
    fn titles(&self) -> BTreeMap<String, String> {
        let title = |account: &Value| {
            (account["externalId"].as_str().unwrap().to_owned(), account["title"].as_str().unwrap_or("-").to_owned())
        };
        self.accounts(DIRECTORY).iter().map(title).collect()
    }

    /// The id in the directory of whom `crm` knows by this one.
    fn copy(&self, id: &str) -> String {
        let accounts = self.accounts(DIRECTORY);
        let copy = accounts.iter().find(|account| account["externalId"] == id).unwrap();
        copy["id"].as_str().unwrap().to_owned()
    }

    async fn undo(&self, run: &str, more: &[&str]) -> Value {
        let done = self.installation.muster(&[&["undo", run, "--json"], more].concat()).await;
        let report: Value = serde_json::from_str(&done.stdout).unwrap_or_else(|_| panic!("{done:?}"));
        let held = report["writes"]["held"].as_u64().unwrap_or(0);
        let is_whole = report["left"].as_array().unwrap().is_empty() && held == 0;
        assert_eq!(done.status, if is_whole { 0 } else { 3 }, "{done:?}");
        report
    }
}

fn changed(admin: &Admin) -> Vec<Write> {
    written(admin).into_iter().filter(|write| write.changed).collect()
}

/// B13, F33: of 200 accounts and some whose titles a wrong mapping has changed, 20 were edited since, in the directory, some of them
/// unread. Undoing, killed in its middle and begun again, restores all others and writes nothing else; the 20 are named.
async fn a_wrong_mapping_is_undone(mode: Mode) {
    let mut pair = Pair::start(mode, ONE_WAY, 225).await;
    let before = pair.titles();
    let all = before.len();
    assert!(all >= 200, "{all}");
    pair.map("title = { to_b = \"'oops ' + a.title\" }").await;
    let run = pair.sync().await;
    assert!(pair.titles().values().all(|title| title.starts_with("oops")));

    let edited: BTreeSet<String> = before.keys().take(20).cloned().collect();
    for (place, id) in edited.iter().enumerate() {
        if place == 10 {
            // These were read since, and those after were not.
            pair.sync().await;
        }
        pair.later();
        pair.admins[DIRECTORY].edit(System::Scim, &pair.copy(id), &json!({"title": "by hand"})).unwrap();
    }
    pair.later();
    pair.admins[DIRECTORY].clear_log();

    let planned = pair.undo(&run, &["--dry-run"]).await;
    assert_eq!((&planned["undone"], &planned["edited_since"]), (&json!(all - 20), &json!(20)), "{planned}");
    assert_eq!(changed(&pair.admins[DIRECTORY]).len(), 0, "nothing was done");

    for failpoint in ["undo.reserved", "undo.restored", "undo.sent"] {
        let killed = pair.installation.killed_command(&["undo", &run], failpoint).await;
        assert!(killed.status != 0 && killed.stderr.contains(failpoint), "{killed:?}");
    }
    pair.installation.start().await;
    let undone = pair.undo(&run, &["--wait"]).await;
    assert_eq!(
        (&undone["undone"], &undone["edited_since"], &undone["held"]),
        (&json!(all - 20), &json!(20), &json!(0)),
        "{undone}"
    );
    let named: BTreeSet<&str> =
        undone["left"].as_array().unwrap().iter().map(|left| left["account"].as_str().unwrap()).collect();
    let copies: BTreeSet<String> = edited.iter().map(|id| format!("directory:{}", pair.copy(id))).collect();
    assert_eq!(named, copies.iter().map(String::as_str).collect());

    let titles = pair.titles();
    for (id, was) in &before {
        let expected = if edited.contains(id) { "by hand" } else { was };
        assert_eq!(titles[id], expected, "{id}");
    }
    let writes = changed(&pair.admins[DIRECTORY]);
    assert_eq!(writes.len(), all - 20, "nothing else was written");
    assert_eq!(writes.iter().map(|write| &write.account).collect::<BTreeSet<_>>().len(), all - 20);
    assert_eq!(changed(&pair.admins[CRM]).len(), 0);

    // Once more there is nothing to do, and what the source says again is nothing new.
    let again = pair.undo(&run, &["--wait"]).await;
    assert_eq!((&again["undone"], &again["edited_since"]), (&json!(all - 20), &json!(20)), "{again}");
    pair.sync().await;
    assert_eq!(changed(&pair.admins[DIRECTORY]).len(), all - 20);
    assert_eq!(pair.titles(), titles);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_mapping_is_undone_over_a_file() {
    a_wrong_mapping_is_undone(Mode::File).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_mapping_is_undone_over_servers() {
    a_wrong_mapping_is_undone(Mode::Servers).await;
}

/// B13: both ways, an edit that a run has carried over is undone on both sides; what was edited since on either stays. And an
/// undo is a run that can be undone.
async fn both_sides_are_set_back(mode: Mode) {
    let mut pair = Pair::start(mode, TWO_WAY, 6).await;
    let ids: Vec<String> = pair.titles().into_keys().collect();
    pair.later();
    for id in &ids {
        pair.admins[CRM].edit(System::Scim, id, &json!({"title": "oops"})).unwrap();
    }
    let run = pair.sync().await;
    pair.later();
    pair.admins[CRM].edit(System::Scim, &ids[0], &json!({"title": "by hand"})).unwrap();
    pair.admins[DIRECTORY].edit(System::Scim, &pair.copy(&ids[1]), &json!({"title": "by hand"})).unwrap();
    pair.sync().await;
    pair.later();
    pair.installation.start().await;
    let undone = pair.undo(&run, &["--wait"]).await;
    assert_eq!((&undone["undone"], &undone["edited_since"]), (&json!(4), &json!(2)), "{undone}");
    let titles = |pair: &Pair| -> Vec<[Value; 2]> {
        let of = |system: usize, id: &str| pair.admins[system].account(System::Scim, id).unwrap()["title"].clone();
        ids.iter().map(|id| [of(CRM, id), of(DIRECTORY, &pair.copy(id))]).collect()
    };
    for (place, held) in titles(&pair).iter().enumerate() {
        let expected = if place < 2 { json!("by hand") } else { json!(format!("was {}", ids[place])) };
        assert_eq!(held, &[expected.clone(), expected], "{place}");
    }
    pair.later();
    let back = pair.undo(&format!("undo-{run}"), &["--wait"]).await;
    assert_eq!(back["undone"], json!(8), "{back}");
    assert!(titles(&pair)[2..].iter().all(|held| held == &[json!("oops"), json!("oops")]), "{:?}", titles(&pair));
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_are_set_back_over_a_file() {
    both_sides_are_set_back(Mode::File).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_are_set_back_over_servers() {
    both_sides_are_set_back(Mode::Servers).await;
}

/// B13, R25: who was created stays unless a person asks for their deactivation, and nobody is deleted; guards hold what they
/// would hold of any write.
#[tokio::test(flavor = "multi_thread")]
async fn who_was_created_is_deactivated_within_the_budget() {
    let mut pair = Pair::start(Mode::File, ONE_WAY, 12).await;
    let runs = pair.installation.status().await["connections"][0]["runs"].clone();
    let run = runs[0]["id"].as_str().unwrap().to_owned();
    let all = pair.accounts(DIRECTORY).len();
    let said = pair.undo(&run, &[]).await;
    assert_eq!((&said["undone"], &said["cannot"]), (&json!(0), &json!(all)), "{said}");
    assert!(said["left"][0]["why"].as_str().unwrap().contains("--deactivate-created"), "{said}");

    let both = directory(&pair.sandboxes[CRM].scim_url()).replace("systems.directory", "systems.crm")
        + &directory(&pair.sandboxes[DIRECTORY].scim_url());
    let mapped = format!(
        "budgets = {{ deactivate = \"5/1h\" }}\n[connections.{CONNECTION}.attributes]\nuserName = {{}}\nnickName = {{}}\ntitle = {{}}\n"
    );
    pair.installation.configure(&(both + &connection(&mapped))).await;
    pair.later();
    pair.installation.start().await;
    let done = pair.undo(&run, &["--deactivate-created", "--wait"]).await;
    assert_eq!(done["undone"], json!(all), "{done}");
    assert_eq!((&done["writes"]["applied"], &done["writes"]["held"]), (&json!(5), &json!(all - 5)), "{done}");
    let accounts = pair.accounts(DIRECTORY);
    assert_eq!(accounts.len(), all, "nobody is deleted");
    assert_eq!(accounts.iter().filter(|account| account["active"] == false).count(), 5);
}

/// B13: what cannot be undone, or is not known, is said.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_nobody_knows_is_refused() {
    let pair = Pair::start(Mode::File, ONE_WAY, 2).await;
    let unknown = pair.installation.muster(&["undo", "no-such-run"]).await;
    assert!(unknown.status == 2 && unknown.stderr.contains("there is no run no-such-run"), "{unknown:?}");
}

/// B13: hours of live changes have the same name on every connection, so undoing one asks which connection is meant.
#[tokio::test(flavor = "multi_thread")]
async fn of_several_runs_of_a_name_one_must_be_meant() {
    const OTHER: &str = "crm-other";
    let pair = Pair::start(Mode::File, ONE_WAY, 2).await;
    let url = pair.sandboxes[DIRECTORY].scim_url();
    let systems = directory(&pair.sandboxes[CRM].scim_url()).replace("systems.directory", "systems.crm")
        + &directory(&url)
        + &directory(&url).replace("systems.directory", "systems.other");
    let to_other = connection("").replace(CONNECTION, OTHER).replace("\"directory\"", "\"other\"");
    pair.installation.configure(&(systems + &connection("") + &to_other)).await;
    let database = Database::open(&pair.installation.config().with_file_name("muster.db")).unwrap();
    let store = EmbeddedStore::open(&database).await.unwrap();
    for name in [CONNECTION, OTHER] {
        let name: ConnectionName = name.parse().unwrap();
        let began_at = store.epoch(&name).await.unwrap().now;
        let live = Run::new("live-2026112121".parse().unwrap(), RunKind::Live, "live".to_owned(), began_at);
        store.begin_run(&name, &live).await.unwrap();
    }
    drop(store);
    database.close().await;
    let refused = pair.installation.muster(&["undo", "live-2026112121"]).await;
    let names = format!("{CONNECTION} and {OTHER}");
    assert!(refused.status == 2 && refused.stderr.contains(&names), "{refused:?}");
    assert!(refused.stderr.contains("--connection"), "{refused:?}");
    let undone = pair.undo("live-2026112121", &["--connection", OTHER]).await;
    assert_eq!(undone["connection"], OTHER);
    let unknown = pair.installation.muster(&["undo", "live-2026112121", "--connection", "crm-nobody"]).await;
    assert!(unknown.status == 2 && unknown.stderr.contains("no connection crm-nobody"), "{unknown:?}");
}
