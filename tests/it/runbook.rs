//! The runbook, `docs/operations.md`, and `docs/records.md`: each command in a box is carried out as it stands by a shell, with what
//! begins with `$` filled in, in the situation that its section is about. A command that no situation expects fails the test, and so
//! does a section with commands that no test carries out.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use muster::domain::FailureClass;
use muster::domain::watch::Trouble;
use muster::sandbox::{Admin, Effect, Fault, FaultBody, Matcher, Sandbox, SandboxSettings, System};
use serde_json::{Value, json};

use super::processes::{CONNECTION, Installation, Mode, Outcome, active_users, connection, crm, directory};

mod failures;
mod people;
mod place;
mod servers;

/// A short lease makes a new memory usable soon.
const WRITER: &str = "lease = \"3s\"\nrequest_timeout = \"1s\"";

/// After this something will never be seen.
const PATIENCE: Duration = Duration::from_secs(180);

/// The pages whose commands are carried out.
const PAGES: [&str; 2] = ["docs/operations.md", "docs/records.md"];

/// The commands of each section that has some, by the headline that they stand under.
fn commands() -> BTreeMap<String, VecDeque<String>> {
    let mut sections = BTreeMap::<String, VecDeque<String>>::new();
    for page in PAGES {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap();
        let (mut headline, mut fence) = (String::new(), None);
        for line in text.lines() {
            match (line.strip_prefix("```"), &fence) {
                (Some(_), Some(_)) => fence = None,
                (Some(language), None) => fence = Some(language.to_owned()),
                (None, None) if line.starts_with('#') => {
                    line.trim_start_matches('#').trim().clone_into(&mut headline);
                }
                (None, Some(language)) if language == "sh" && !line.trim().is_empty() => {
                    sections.entry(headline.clone()).or_default().push_back(line.to_owned());
                }
                (None, _) => {}
            }
        }
        assert!(fence.is_none(), "{page}: a box does not end");
    }
    sections
}

/// A section of a page, whose commands are carried out one after the other.
struct Section {
    headline: &'static str,
    commands: VecDeque<String>,
}

/// The section under this headline.
fn section(headline: &'static str) -> Section {
    let commands = commands().remove(headline).unwrap_or_else(|| panic!("no section {headline:?} has commands"));
    Section { headline, commands }
}

impl Section {
    /// Carries the next command out: it ends with this status, and says all of this.
    async fn next(&mut self, desk: &Desk, status: i32, says: &[&str]) -> Outcome {
        let command = self.commands.pop_front();
        let command = command.unwrap_or_else(|| panic!("{:?} has no more commands", self.headline));
        let outcome = desk.carry_out(&command).await;
        assert_eq!(outcome.status, status, "{:?}: {command}: {outcome:?}", self.headline);
        for text in says {
            let is_said = outcome.stdout.contains(text) || outcome.stderr.contains(text);
            assert!(is_said, "{:?}: {command}: never {text:?}: {outcome:?}", self.headline);
        }
        outcome
    }
}

impl Drop for Section {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(self.commands.is_empty(), "{:?}: nobody expects {:?}", self.headline, self.commands);
        }
    }
}

/// Where somebody sits who carries commands out.
struct Desk {
    muster: Installation,
    /// What is filled in.
    variables: BTreeMap<&'static str, String>,
}

impl Desk {
    fn at(muster: Installation) -> Self {
        Self { muster, variables: BTreeMap::new() }
    }

    fn fill_in(&mut self, name: &'static str, value: impl Into<String>) {
        self.variables.insert(name, value.into());
    }

    /// Carries a line out as it stands; what is not filled in is an error.
    async fn carry_out(&self, line: &str) -> Outcome {
        let programs = Path::new(env!("CARGO_BIN_EXE_muster")).parent().unwrap();
        let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
        let mut shell = self.muster.command("sh");
        shell.args(["-euc", line]).env("PATH", path).envs(&self.variables).stdin(Stdio::null());
        let output = tokio::time::timeout(PATIENCE, shell.output()).await;
        let output = output.unwrap_or_else(|_| panic!("{line} hangs")).unwrap();
        Outcome {
            status: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Carries a line of the test's own out until it says this.
    async fn until(&self, line: &str, says: &str) {
        let look = async {
            while !self.carry_out(line).await.stdout.contains(says) {
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
        };
        tokio::time::timeout(PATIENCE, look).await.unwrap_or_else(|_| panic!("{line}: never {says:?}"));
    }

    /// What a command with `--json` lists.
    async fn list(&self, line: &str) -> Vec<Value> {
        let outcome = self.carry_out(line).await;
        outcome
            .stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{outcome:?}")))
            .collect()
    }
}

/// An org that a directory follows.
struct Office {
    desk: Desk,
    _sandbox: Sandbox,
    admin: Admin,
    minutes: i64,
}

impl Office {
    /// With so many people, and these lines in the table of the connection. Its workers work, and the first sync is over.
    async fn start(mode: Mode, users: usize, more: &str) -> Self {
        let mut office = Self::found(mode, users, more).await;
        office.desk.muster.start().await;
        office.sync().await;
        office
    }

    /// The same before anybody works.
    async fn found(mode: Mode, users: usize, more: &str) -> Self {
        let sandbox = Sandbox::start(SandboxSettings { users, ..SandboxSettings::default() }).await.unwrap();
        let admin = sandbox.admin();
        let systems = crm(&sandbox) + &directory(&sandbox.scim_url()) + &connection(more);
        let muster = Installation::on(mode, &systems, WRITER).await;
        let mut office = Self { desk: Desk::at(muster), _sandbox: sandbox, admin, minutes: 0 };
        office.later();
        office
    }

    /// A minute passes, so that no stamp is shared with what was read before.
    fn later(&mut self) {
        self.minutes += 1;
        for system in [System::Salesforce, System::Scim] {
            self.admin.set_clock(system, self.minutes * 60_000);
        }
    }

    async fn sync(&self) {
        let report = self.desk.muster.sync(&[]).await;
        assert_eq!((report.commands("dead"), report.failed.as_deref()), (0, None), "{report:?}");
    }

    /// A run ends with this exit status of the command that waits for it.
    async fn run_ends_with(&self, status: i32) {
        let ended = self.desk.muster.muster(&["sync", CONNECTION, "--wait"]).await;
        assert_eq!(ended.status, status, "{ended:?}");
    }

    /// Everybody gets a new title in the org.
    fn edit_all(&mut self, title: &str) {
        self.later();
        for user in active_users(&self.admin) {
            self.admin.edit(System::Salesforce, id(&user), &json!({ "Title": title })).unwrap();
        }
        self.later();
    }

    /// The same, and a run is asked for that nobody waits for.
    async fn edit_all_and_ask(&mut self, title: &str) {
        self.edit_all(title);
        let asked = self.desk.muster.muster(&["sync", CONNECTION]).await;
        assert_eq!(asked.status, 0, "{asked:?}");
    }

    /// Requests to the directory fail like this, of this method if one is given, until faults end.
    fn fail(&self, system: System, method: Option<&str>, effect: Effect) {
        let on = Matcher { system: Some(system), method: method.map(ToOwned::to_owned), ..Matcher::default() };
        self.admin.inject(Fault { on, effect });
    }

    /// Somebody of the org, as commands name an account.
    fn somebody(&self) -> String {
        format!("crm:{}", id(&active_users(&self.admin)[0]))
    }

    /// Everybody in the directory has the title of the org.
    fn assert_in_step(&self) {
        let copies = self.admin.accounts(System::Scim);
        for user in active_users(&self.admin) {
            let copy = copies.iter().find(|copy| copy["externalId"] == user["Id"]).expect("everybody is there");
            assert_eq!(copy["title"], user["Title"], "{user}");
        }
    }
}

fn id(user: &Value) -> &str {
    user["Id"].as_str().unwrap()
}

/// An answer of this status.
fn status(status: u16) -> Effect {
    Effect::Status { status, body: FaultBody::Native }
}

/// R70, R78, B4, B10, B11, B13, R22, R86: what the pages say of an installation over a file. The scenes wait more than they work, so
/// three of them are played at a time.
#[tokio::test(flavor = "multi_thread")]
async fn the_commands_do_what_the_pages_say_over_a_file() {
    let refused = async {
        failures::a_refusal_and_a_run_that_fails().await;
        people::a_run_is_undone().await;
        people::records_of_acts().await;
    };
    let failing = async {
        failures::outages_and_a_system_that_asks_for_fewer_calls().await;
        people::held_writes().await;
        place::a_connection_is_overdue().await;
    };
    let kept = async {
        place::a_file_is_looked_at_upgraded_damaged_and_restored().await;
        people::a_frozen_attribute().await;
        people::somebody_is_at_work().await;
    };
    tokio::join!(refused, failing, kept);
}

/// R52, R85, R86: what the pages say of an installation over servers.
#[tokio::test(flavor = "multi_thread")]
async fn the_commands_do_what_the_pages_say_over_servers() {
    tokio::join!(
        servers::rabbitmq_goes_away_and_loses_everything(),
        servers::redis_goes_away_and_loses_everything(),
        servers::a_file_is_left_for_servers(),
    );
}

/// Each section that has commands is carried out by a test here.
#[test]
fn each_command_is_carried_out_by_a_test() {
    let tests = [
        include_str!("runbook/failures.rs"),
        include_str!("runbook/people.rs"),
        include_str!("runbook/place.rs"),
        include_str!("runbook/servers.rs"),
    ];
    for headline in commands().keys() {
        let begun = format!("section(\"{headline}\")");
        assert!(tests.iter().any(|test| test.contains(&begun)), "nobody carries out what {headline:?} says");
    }
}

/// Whoever hears an alert, or reads a class of failure, finds a section about it.
#[test]
fn each_alert_and_each_class_of_failures_has_a_section() {
    let alerts = [Trouble::Overdue, Trouble::Failing, Trouble::Letters, Trouble::Frozen];
    let alerts = alerts.map(|alert| match alert {
        // Whoever adds one writes a section.
        Trouble::Overdue | Trouble::Failing | Trouble::Letters | Trouble::Frozen => {
            format!("Alert `{}`", alert.as_str())
        }
    });
    let class = |class: FailureClass| {
        let (first, rest) = class.as_str().split_at(1);
        first.to_uppercase() + rest
    };
    let sections = commands();
    for headline in alerts.into_iter().chain(FailureClass::ALL.map(class)) {
        assert!(sections.contains_key(&headline), "nothing is said about {headline}");
    }
}

/// What the pages call a metric is one.
#[test]
fn each_metric_is_one() {
    let known = include_str!("../../src/telemetry/metrics.rs");
    for page in PAGES {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap();
        for rest in text.split("`muster_").skip(1) {
            let name = rest.split(|c: char| !c.is_ascii_lowercase() && c != '_').next().unwrap();
            assert!(known.contains(&format!("\"muster_{name}\"")), "{page}: muster_{name}");
        }
    }
}

/// A link within the pages, or from one to another, leads to a headline or a file that is there.
#[test]
fn each_link_leads_somewhere() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let anchors = |file: &str| -> Vec<String> {
        let text = std::fs::read_to_string(docs.join(file)).unwrap_or_else(|_| panic!("there is no {file}"));
        let headlines = text.lines().filter(|line| line.starts_with('#'));
        let kept = |c: &char| c.is_alphanumeric() || *c == '-';
        headlines
            .map(|line| {
                line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-").chars().filter(kept).collect()
            })
            .collect()
    };
    for page in PAGES {
        let own = page.trim_start_matches("docs/");
        let text = std::fs::read_to_string(docs.join(own)).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let known = anchors(if file.is_empty() { own } else { file });
            assert!(anchor.is_empty() || known.iter().any(|known| known == anchor), "{page}: {target}");
        }
    }
}
