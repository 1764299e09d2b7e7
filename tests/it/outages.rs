//! Systems that are out of order for everybody: nobody calls them but one probe at a time, others keep their pace, nobody has
//! a letter, and everything goes on afterwards. Each test is of the real programs, over a file and over servers.

use std::collections::BTreeMap;
use std::time::Duration;

use muster::sandbox::{Admin, Effect, Fault, FaultBody, Matcher, Sandbox, SandboxSettings, System};
use serde_json::{Value, json};

use super::processes::{CONNECTION, Installation, Mode, active_users, connection, crm, directory, written};

/// The connection to the target that is well.
const OTHER: &str = "crm-other";

/// An org that two directories follow, of which the first is about to fall ill.
struct Office {
    installation: Installation,
    _sandboxes: [Sandbox; 2],
    sick: Admin,
    well: Admin,
}

impl Office {
    async fn start(mode: Mode, users: usize) -> Self {
        let sandbox = Sandbox::start(SandboxSettings { users, ..SandboxSettings::default() }).await.unwrap();
        let other = Sandbox::start(SandboxSettings::default()).await.unwrap();
        let to_other = connection("").replace(CONNECTION, OTHER).replace("\"directory\"", "\"other\"");
        let systems = crm(&sandbox)
            + &directory(&sandbox.scim_url())
            + &directory(&other.scim_url()).replace("systems.directory", "systems.other")
            + &connection("")
            + &to_other;
        let installation = Installation::on(mode, &systems, "lease = \"3s\"\nrequest_timeout = \"1s\"").await;
        let (sick, well) = (sandbox.admin(), other.admin());
        let mut office = Self { installation, _sandboxes: [sandbox, other], sick, well };
        office.installation.start().await;
        for connection in [CONNECTION, OTHER] {
            let first = office.installation.sync_of(connection, &[]).await;
            assert_eq!((first.commands("dead"), first.failed.as_deref()), (0, None), "{first:?}");
        }
        office
    }

    /// Puts processes in the place of those that run, which know nothing of what went well before.
    async fn start_anew(&mut self) {
        for role in ["run", "producer", "mapper", "writer"] {
            self.installation.kill(role).await;
        }
        self.installation.start().await;
    }

    /// Everybody gets a new title in the org, and the sick directory is asked to follow.
    async fn edit_all(&self, title: &str) {
        self.sick.clear_log();
        for user in active_users(&self.sick) {
            self.sick.edit(System::Salesforce, user["Id"].as_str().unwrap(), &json!({"Title": title})).unwrap();
        }
        let asked = self.installation.muster(&["sync", CONNECTION]).await;
        assert_eq!(asked.status, 0, "{asked:?}");
    }

    fn fall_ill(&self, effect: Effect, every: u64) {
        let on = Matcher { system: Some(System::Scim), every: every.try_into().ok(), ..Matcher::default() };
        self.sick.inject(Fault { on, effect });
    }

    /// The outage, once `status` shows it.
    async fn outage(&self) -> Value {
        let look = async {
            loop {
                let status = self.installation.muster(&["status", "--json"]).await;
                let shown: Value = serde_json::from_str(&status.stdout).unwrap_or_else(|_| panic!("{status:?}"));
                if let Some(outage) = shown["outages"].as_array().unwrap().first() {
                    assert_eq!(status.status, 3, "somebody should look");
                    return outage.clone();
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(120), look).await.expect("the outage is seen")
    }

    /// Calls of the sick directory since the last time that the log was cleared.
    fn calls(&self) -> u64 {
        let of_scim =
            |((system, ..), count): (&(System, &str, u16), &u64)| if *system == System::Scim { *count } else { 0 };
        self.sick.request_counts().iter().map(of_scim).sum()
    }

    /// Waits until everybody in the sick directory has this title.
    async fn await_all(&self, title: &str) {
        let has_it = |account: &Value| account["title"] == title || account["active"] == false;
        let all = self.sick.wait_until(|sick| sick.accounts(System::Scim).iter().all(has_it));
        tokio::time::timeout(Duration::from_secs(240), all).await.expect("everybody gets the title");
    }

    /// Everybody was written once since the log was cleared, nobody waits for a person, and the system is called again.
    async fn assert_well(&self, title: &str) {
        self.await_all(title).await;
        let mut changes = BTreeMap::<String, usize>::new();
        for write in written(&self.sick).into_iter().filter(|write| write.changed) {
            *changes.entry(write.account).or_default() += 1;
        }
        assert_eq!(changes.len(), active_users(&self.sick).len());
        assert!(changes.values().all(|count| *count == 1), "{changes:?}");
        // Its books are closed, whatever was redelivered.
        let rest = self.installation.sync(&["--full"]).await;
        assert_eq!((rest.commands("applied"), rest.failed.as_deref()), (0, None), "{rest:?}");
        assert_eq!(self.installation.letters().await.len(), 0);
        let status = self.installation.status().await;
        assert_eq!(status["outages"], json!([]), "{status}");
    }
}

/// R70, F22: a refused credential stops all calls of its system at once and of no other; `status` says since when, why, what
/// comes next and what to do. A person who has mended it says so, and all goes on.
async fn a_refused_credential_stops_its_system_alone(mode: Mode) {
    let office = Office::start(mode, 30).await;
    office.fall_ill(Effect::Status { status: 401, body: FaultBody::Native }, 1);
    office.edit_all("Captain").await;
    let outage = office.outage().await;
    assert_eq!(
        (&outage["system"], &outage["why"], &outage["class"], &outage["status"]),
        (&json!("directory"), &json!("unauthorised"), &json!("unauthorised"), &json!(401)),
        "{outage}"
    );
    assert!(outage["next_probe_at"].as_i64() > outage["since"].as_i64(), "{outage}");
    assert!(outage["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty()), "{outage}");

    let other = office.installation.sync_of(OTHER, &[]).await;
    let expected = i64::try_from(active_users(&office.sick).len()).unwrap();
    assert_eq!((other.commands("applied"), other.failed.as_deref()), (expected, None), "{other:?}");
    assert_eq!(written(&office.well).iter().filter(|write| write.changed && !write.created).count() as i64, expected);
    // Each of some writes under way when the first was refused, and a probe.
    assert!(office.calls() < 30, "{} calls of a system that refuses the credential", office.calls());
    assert_eq!(office.installation.letters().await.len(), 0);

    let page = office.installation.muster(&["status"]).await;
    for told in ["directory refuses the credential", "HTTP 401", "muster resume --system directory"] {
        assert!(page.stdout.contains(told), "{told} in {}", page.stdout);
    }
    // A run that cannot go well says so at once, and does not call.
    let blocked = office.installation.sync(&[]).await;
    assert!(blocked.failed.as_deref().is_some_and(|failed| failed.contains("muster resume --system")), "{blocked:?}");

    office.sick.end_faults();
    let resumed = office.installation.muster(&["resume", "--system", "directory", "--json"]).await;
    assert_eq!(resumed.status, 0, "{resumed:?}");
    assert_eq!(serde_json::from_str::<Value>(&resumed.stdout).unwrap()["resumed"], true);
    office.assert_well("Captain").await;
    let unknown = office.installation.muster(&["resume", "--system", "nobody"]).await;
    assert_eq!(unknown.status, 2, "{unknown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_credential_stops_its_system_alone_over_a_file() {
    a_refused_credential_stops_its_system_alone(Mode::File).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_credential_stops_its_system_alone_over_servers() {
    a_refused_credential_stops_its_system_alone(Mode::Servers).await;
}

/// F19, F21: a system of which every second call fails, or that does not answer, is left alone; another one goes on. Once it is
/// well again, that is noticed without a person.
async fn an_outage_passes_without_a_person(mode: Mode, effect: Effect, every: u64, why: &str) {
    let mut office = Office::start(mode, 40).await;
    office.start_anew().await;
    office.fall_ill(effect, every);
    office.edit_all("Captain").await;
    let outage = office.outage().await;
    assert_eq!((&outage["system"], &outage["why"]), (&json!("directory"), &json!(why)), "{outage}");
    let other = office.installation.sync_of(OTHER, &[]).await;
    assert_eq!(other.commands("applied"), i64::try_from(active_users(&office.sick).len()).unwrap(), "{other:?}");
    assert_eq!(office.installation.letters().await.len(), 0);
    office.sick.end_faults();
    office.assert_well("Captain").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_second_call_fails_over_a_file() {
    let effect = Effect::Status { status: 500, body: FaultBody::Empty };
    an_outage_passes_without_a_person(Mode::File, effect, 2, "failing").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_second_call_fails_over_servers() {
    let effect = Effect::Status { status: 500, body: FaultBody::Empty };
    an_outage_passes_without_a_person(Mode::Servers, effect, 2, "failing").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_answered_over_a_file() {
    an_outage_passes_without_a_person(Mode::File, Effect::Cut, 1, "unanswered").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_answered_in_time_over_servers() {
    an_outage_passes_without_a_person(Mode::Servers, Effect::Hang, 1, "unanswered").await;
}

/// B3: a process that is killed in the middle of a probe leaves it to the next one.
async fn a_probe_outlives_its_process(mode: Mode) {
    let mut office = Office::start(mode, 20).await;
    office.start_anew().await;
    office.fall_ill(Effect::Status { status: 503, body: FaultBody::Html }, 1);
    office.edit_all("Captain").await;
    let before = office.outage().await;
    let role = if mode == Mode::File { "run" } else { "writer" };
    office.installation.kill(role).await;
    office.installation.start_worker(role, Some("circuit.probed"));
    let killed = async {
        while !office.installation.has_ended(role) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(180), killed).await.expect("it probes, and dies of that");
    let after = office.outage().await;
    assert_eq!(after["since"], before["since"], "nobody knows how the probe went");
    assert_eq!(office.installation.letters().await.len(), 0);
    office.sick.end_faults();
    office.installation.start_worker(role, None);
    office.assert_well("Captain").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_outlives_its_process_over_a_file() {
    a_probe_outlives_its_process(Mode::File).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_outlives_its_process_over_servers() {
    a_probe_outlives_its_process(Mode::Servers).await;
}
