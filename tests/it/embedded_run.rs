//! The embedded mode as a person meets it: no server, one file, the real binary, and a sandbox in the place of both
//! systems.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use futures_util::future::join_all;
use muster::sandbox::{Admin, Sandbox, SandboxSettings, System};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::processes::{CONNECTION, Outcome, Report, active_users, connection, crm, directory, written};

/// After this a process has hung. The largest first match takes minutes on a crowded machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(1200);

/// A folder with a configuration.
pub(super) struct Home {
    folder: TempDir,
    variables: Vec<(&'static str, &'static str)>,
    connection: &'static str,
}

/// A `muster run` at work.
pub(super) struct Running {
    child: Child,
    stdout: Lines<BufReader<ChildStdout>>,
    log: PathBuf,
}

impl Home {
    fn new(sandbox: &Sandbox) -> Self {
        let systems = crm(sandbox) + &directory(&sandbox.scim_url()) + &connection("");
        Self::with(&format!("[writer]\nlease = \"3s\"\nrequest_timeout = \"1s\"\n\n{systems}"))
    }

    /// One with this configuration.
    pub(super) fn with(text: &str) -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let home = Self { folder, variables: Vec::new(), connection: CONNECTION };
        let text = format!("[telemetry]\nlisten = \"127.0.0.1:0\"\n\n{text}");
        std::fs::write(home.path("muster.toml"), text).unwrap();
        home
    }

    /// The same, where programs find this variable.
    pub(super) fn variable(mut self, name: &'static str, value: &'static str) -> Self {
        self.variables.push((name, value));
        self
    }

    /// The same, where this is the connection to sync.
    pub(super) fn connection(self, connection: &'static str) -> Self {
        Self { connection, ..self }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.folder.path())
            .env("CRM_SECRET", muster::sandbox::DEFAULT_CLIENT_SECRET)
            .env("DIRECTORY_TOKEN", muster::sandbox::DEFAULT_SCIM_TOKEN)
            .env("USER", "ada")
            .envs(self.variables.iter().copied())
            .env_remove("MUSTER_CONFIG")
            .env_remove("RUST_BACKTRACE")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    async fn program(&self, program: &str, arguments: &[&str]) -> Outcome {
        let output = self.command(program).args(arguments).output();
        let output = tokio::time::timeout(PATIENCE, output).await;
        let output = output.unwrap_or_else(|_| panic!("{program} {arguments:?} hangs")).unwrap();
        Outcome {
            status: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    pub(super) async fn muster(&self, arguments: &[&str]) -> Outcome {
        self.program(env!("CARGO_BIN_EXE_muster"), arguments).await
    }

    /// One that goes well; what it prints.
    async fn done(&self, arguments: &[&str]) -> String {
        let outcome = self.muster(arguments).await;
        assert_eq!((outcome.status, &*outcome.stderr), (0, ""), "{arguments:?}: {outcome:?}");
        outcome.stdout
    }

    pub(super) async fn sync(&self, more: &[&str]) -> Report {
        let outcome = self.muster(&[&["sync", self.connection, "--wait", "--json"], more].concat()).await;
        let report: Report = serde_json::from_str(&outcome.stdout).unwrap_or_else(|_| panic!("{outcome:?}"));
        report.assert_adds_up();
        report
    }

    pub(super) async fn letters(&self) -> Vec<Value> {
        let listed = self.muster(&["dead", "list", "--json"]).await;
        let letters: Vec<_> = listed.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(listed.status, if letters.is_empty() { 0 } else { 3 }, "{listed:?}");
        letters
    }

    async fn await_letters(&self, count: usize) -> Vec<Value> {
        let look = async {
            loop {
                let letters = self.letters().await;
                if letters.len() == count {
                    return letters;
                }
            }
        };
        tokio::time::timeout(PATIENCE, look).await.unwrap_or_else(|_| panic!("never {count} letters"))
    }

    async fn status(&self) -> Value {
        serde_json::from_str(&self.muster(&["status", "--json"]).await.stdout).unwrap()
    }

    /// Begins a `muster run`, which may have to wait.
    fn begin(&self, name: &str, failpoint: Option<&str>) -> Running {
        let log = self.path(&format!("{name}.log"));
        let mut command = self.command(env!("CARGO_BIN_EXE_muster"));
        if let Some(failpoint) = failpoint {
            command.env("MUSTER_FAILPOINT", failpoint);
        }
        let mut child = command
            .args(["run", "--json"])
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        Running { child, stdout, log }
    }

    /// Starts a `muster run`, and waits until it works.
    pub(super) async fn run(&self, name: &str, failpoint: Option<&str>) -> Running {
        let mut running = self.begin(name, failpoint);
        running.greeting().await;
        running
    }
}

impl Running {
    async fn line(&mut self) -> Value {
        let line = tokio::time::timeout(PATIENCE, self.stdout.next_line()).await.expect("it says nothing").unwrap();
        serde_json::from_str(&line.unwrap_or_else(|| panic!("it ended:\n{}", self.log()))).unwrap()
    }

    /// What it says once it works.
    async fn greeting(&mut self) -> Value {
        let greeting = self.line().await;
        assert_eq!(greeting["connections"], json!([CONNECTION]));
        greeting
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    async fn await_log(&self, text: &str) {
        let look = async {
            while !self.log().contains(text) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, look).await.unwrap_or_else(|_| panic!("never `{text}`:\n{}", self.log()));
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().unwrap().to_string();
        assert!(std::process::Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    /// Asks it to stop, and waits for its end.
    pub(super) async fn stop(mut self) -> String {
        self.signal("TERM");
        let stopped = self.line().await;
        assert_eq!(stopped["stopped"], true);
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("it does not end").unwrap();
        assert_eq!(status.code(), Some(0), "{}", self.log());
        self.log()
    }

    /// Waits for its end by a failpoint.
    pub(super) async fn killed(mut self) {
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("it does not end").unwrap();
        assert!(status.code().is_none() && self.log().contains("failpoint"), "{status:?}\n{}", self.log());
    }
}

async fn sandbox(users: usize) -> (Sandbox, Admin) {
    let sandbox = Sandbox::start(SandboxSettings { users, ..SandboxSettings::default() }).await.unwrap();
    let admin = sandbox.admin();
    (sandbox, admin)
}

/// Nobody was created twice, and everybody is there.
fn assert_everybody_once(admin: &Admin) {
    let mut partners: Vec<_> =
        admin.accounts(System::Scim).iter().map(|account| account["externalId"].clone()).collect();
    let mut users: Vec<_> = active_users(admin).iter().map(|user| user["Id"].clone()).collect();
    partners.sort_by_key(Value::to_string);
    users.sort_by_key(Value::to_string);
    assert_eq!(partners, users);
}

/// R79, R63, R78: the README's path with no server at all: check, run, first sync, a second one that writes nothing, an
/// edit, and an orderly end.
#[tokio::test(flavor = "multi_thread")]
async fn an_organisation_flows_over_one_file() {
    let (sandbox, admin) = sandbox(200).await;
    let home = Home::new(&sandbox);
    let checked = home.done(&["check"]).await;
    assert!(checked.contains("muster.db: made by the first command that works on it, "), "{checked}");
    assert!(!home.path("muster.db").exists(), "looking makes no file");

    let mut run = home.begin("run", None);
    let greeting = run.greeting().await;
    assert_eq!(greeting["file"], json!(home.path("muster.db").canonicalize().unwrap()));
    let health = greeting["health"].as_str().unwrap();
    let ready = async {
        while reqwest::get(format!("{health}/readyz")).await.unwrap().status() != 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, ready).await.unwrap();

    let users = active_users(&admin);
    let first = home.sync(&[]).await;
    assert_eq!((first.commands("applied"), first.failed.as_deref()), (users.len() as i64, None));
    assert_everybody_once(&admin);
    let status = home.done(&["status"]).await;
    assert!(status.contains("queues are empty") && status.contains("writer"), "{status}");
    let writes = written(&admin).len();
    assert_eq!(home.sync(&[]).await.emitted, 0);
    assert_eq!(home.sync(&["--full"]).await.emitted, 0);
    assert_eq!(written(&admin).len(), writes);

    admin.edit(System::Salesforce, users[7]["Id"].as_str().unwrap(), &json!({"Title": "Head of Ends"})).unwrap();
    assert_eq!(home.sync(&[]).await.commands("applied"), 1);
    assert!(admin.accounts(System::Scim).iter().any(|account| account["title"] == "Head of Ends"));

    // Without --wait it only asks, since somebody works.
    let asked = home.done(&["sync", CONNECTION]).await;
    assert!(asked.contains("follow it with `muster status`"), "{asked}");
    for command in [&["topology"][..], &["dead", "list"], &["check"]] {
        home.done(command).await;
    }
    let log = run.stop().await;
    assert!(log.contains("Stopping: finishing what is in hand"), "{log}");
    let stopped = home.done(&["status"]).await;
    assert!(stopped.contains("start `muster run`"), "{stopped}");
    let metrics = reqwest::get(format!("{health}/metrics")).await;
    assert!(metrics.is_err(), "the pages end with the process");
}

/// With no `run`, `sync` does all the work itself, also without `--wait`: nobody else would.
#[tokio::test(flavor = "multi_thread")]
async fn sync_stands_in_where_nothing_runs() {
    let (sandbox, admin) = sandbox(20).await;
    let home = Home::new(&sandbox);
    let synced = home.done(&["sync", CONNECTION]).await;
    assert!(synced.contains("applied"), "{synced}");
    assert_everybody_once(&admin);
    assert_eq!(home.sync(&[]).await.emitted, 0);
}

/// R78, B6, B7: a letter is retried in vain, discarded with a reason, stays away while nothing changes, is taken back,
/// and heals once its cause is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_letter_is_discarded_and_taken_back() {
    let (sandbox, admin) = sandbox(5).await;
    let home = Home::new(&sandbox);
    let user = active_users(&admin)[2].clone();
    let taken = admin.create(System::Scim, &json!({"userName": user["Username"]})).unwrap();
    let run = home.run("run", None).await;
    let first = home.sync(&[]).await;
    // Read again soon after it was created, the account may ask twice before the first refusal is known.
    let dead = first.commands("dead");
    assert!(dead >= 1, "{first:?}");
    let letters = home.letters().await;
    assert_eq!((letters.len(), &letters[0]["partner"]), (1, &user["Id"]));
    let id = letters[0]["id"].as_str().unwrap();
    home.done(&["dead", "retry", id]).await;
    let again = async { while home.letters().await[0]["failures"] == letters[0]["failures"] {} };
    tokio::time::timeout(PATIENCE, again).await.expect("the retry joins the letter");

    for (arguments, expected) in [
        (&["dead", "discard", id][..], "--reason"),
        (&["dead", "discard", id, "--reason", "because"], "fixed-elsewhere"),
        (&["dead", "discard", id, "nope", "--reason", "obsolete"], "there is no open letter nope"),
    ] {
        let refused = home.muster(arguments).await;
        assert!(refused.status == 2 && refused.stderr.contains(expected), "{refused:?}");
    }
    assert_eq!(home.letters().await.len(), 1, "one mistyped letter discards none");
    let discard = ["dead", "discard", id, "--reason", "accepted", "--text", "the old account stays", "--json"];
    let discarded: Value = serde_json::from_str(&home.done(&discard).await).unwrap();
    assert_eq!((&discarded["discarded"], &discarded["reason"]), (&json!(true), &json!("accepted")));
    assert!(home.letters().await.is_empty());
    home.done(&["status"]).await;

    // Nothing asks for it again; what was counted stays so.
    assert_eq!(home.sync(&["--full"]).await.emitted, 0);
    assert!(home.letters().await.is_empty());
    let runs = home.status().await["connections"][0]["runs"].clone();
    let first = runs.as_array().unwrap().iter().find(|run| run["id"] == first.run.as_str());
    let counted = format!(r#"["dead",{dead}]"#);
    assert!(first.is_none_or(|run| run["commands"].to_string().contains(&counted)), "{runs}");
    assert_eq!(home.muster(&["dead", "discard", id, "--reason", "obsolete"]).await.status, 2);

    // Taken back in vain, then with its cause gone.
    home.done(&["dead", "retry", id]).await;
    let open = home.await_letters(1).await;
    assert_eq!(open[0]["id"], id);
    home.done(&["dead", "discard", id, "--reason", "fixed-elsewhere"]).await;
    // Other values are another matter.
    admin.edit(System::Salesforce, user["Id"].as_str().unwrap(), &json!({"Title": "Namesake"})).unwrap();
    assert!(home.sync(&[]).await.commands("dead") >= 1);
    assert_eq!(home.letters().await[0]["id"], id);
    admin.delete(System::Scim, &taken).unwrap();
    home.done(&["dead", "retry", id]).await;
    home.await_letters(0).await;
    assert_everybody_once(&admin);
    let nothing = home.muster(&["dead", "retry", id]).await;
    assert!(nothing.status == 2 && nothing.stderr.contains("there is no open letter"), "{nothing:?}");
    run.stop().await;
}

/// A `run` that was killed is known to be dead at once: `status` says so, and the next sync does the work itself. It leaves
/// all that it knows in one file.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_run_is_not_taken_for_alive() {
    let (sandbox, admin) = sandbox(20).await;
    let home = Home::new(&sandbox);
    let mut run = home.run("run", None).await;
    let heard = async { while home.status().await["instances"].as_array().unwrap().len() < 3 {} };
    tokio::time::timeout(PATIENCE, heard).await.expect("the stages are never heard of");
    run.child.kill().await.unwrap();
    assert_eq!(home.status().await["instances"], json!([]));
    let status = home.done(&["status"]).await;
    assert!(status.contains("Nothing works on ") && status.contains("start `muster run`"), "{status}");
    // Nobody else would serve it.
    home.done(&["sync", CONNECTION]).await;
    assert_everybody_once(&admin);

    let names =
        std::fs::read_dir(home.path("")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.starts_with("muster.db")).collect();
    names.sort();
    assert_eq!(names, ["muster.db", "muster.db.lock"]);
}

/// A second `run` waits, names the first, and takes over when that ends.
#[tokio::test(flavor = "multi_thread")]
async fn one_process_works_and_the_next_waits() {
    let (sandbox, admin) = sandbox(20).await;
    let home = Home::new(&sandbox);
    let first = home.run("first", None).await;
    let mut second = home.begin("second", None);
    second.await_log(&first.child.id().unwrap().to_string()).await;
    assert_eq!(home.sync(&[]).await.commands("applied"), active_users(&admin).len() as i64);
    first.stop().await;
    second.greeting().await;
    admin.edit(System::Salesforce, active_users(&admin)[0]["Id"].as_str().unwrap(), &json!({"Title": "Next"})).unwrap();
    assert_eq!(home.sync(&[]).await.commands("applied"), 1);
    // One that waits can be told to stop as well.
    let mut third = home.begin("third", None);
    third.await_log(&second.child.id().unwrap().to_string()).await;
    third.signal("TERM");
    let ended = tokio::time::timeout(PATIENCE, third.child.wait()).await.expect("it does not end").unwrap();
    let mut said = String::new();
    third.stdout.into_inner().read_to_string(&mut said).await.unwrap();
    assert_eq!((ended.code(), &*said), (Some(0), ""));
    second.stop().await;
}

/// B3: killed in the middle of the first sync, again and again, the next `run` finishes it; nobody is created twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_run_is_finished_by_the_next() {
    let (sandbox, admin) = sandbox(100).await;
    let home = Home::new(&sandbox);
    let asked = home.run("run-0", Some("producer.published:1")).await;
    let asking = home.done(&["sync", CONNECTION, "--json"]).await;
    let run = serde_json::from_str::<Value>(&asking).unwrap()["run"].clone();
    asked.killed().await;
    for (number, failpoint) in
        ["mapper.committed:1", "writer.noted_intent:5", "writer.answered:20", "writer.committed:9"]
            .into_iter()
            .enumerate()
    {
        home.run(&format!("run-{}", number + 1), Some(failpoint)).await.killed().await;
    }
    let last = home.run("last", None).await;
    let over = async {
        loop {
            let status = home.status().await;
            let runs = status["connections"][0]["runs"].as_array().unwrap().clone();
            let sum = |counts: &Value| -> u64 {
                counts.as_array().unwrap().iter().map(|count| count[1].as_u64().unwrap()).sum()
            };
            let found = runs.iter().find(|found| found["id"] == run).unwrap_or_else(|| panic!("{status}")).clone();
            let reading = found["reading"] != json!({"a": false, "b": false});
            let in_flight = sum(&found["changes"]) != found["read"].as_u64().unwrap()
                || sum(&found["commands"]) != found["emitted"].as_u64().unwrap();
            if !reading && !in_flight {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, over).await.unwrap_or_else(|_| panic!("the run is never over:\n{}", last.log()));
    assert_everybody_once(&admin);
    assert_eq!(home.sync(&["--full"]).await.emitted, 0);
    assert!(home.letters().await.is_empty());
    last.stop().await;
}

/// R86: a backup is made beside a running instance, overwrites nothing, and put in the file's place it is believed in
/// nothing but the pairing: both sides are read, and nothing is written.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_restored() {
    let (sandbox, admin) = sandbox(20).await;
    let home = Home::new(&sandbox);
    let nothing = home.muster(&["backup", "copy.db"]).await;
    assert!(nothing.status == 2 && nothing.stderr.contains("nothing to back up"), "{nothing:?}");
    let run = home.run("run", None).await;
    home.sync(&[]).await;
    let copied = home.done(&["backup", "copy.db"]).await;
    assert!(copied.contains("To restore it"), "{copied}");
    let again = home.muster(&["backup", "copy.db", "--json"]).await;
    assert_eq!(again.status, 2);
    assert!(serde_json::from_str::<Value>(&again.stderr).unwrap()["error"].is_string());

    let user = active_users(&admin)[3]["Id"].as_str().unwrap().to_owned();
    admin.edit(System::Salesforce, &user, &json!({"Title": "Later"})).unwrap();
    assert_eq!(home.sync(&[]).await.commands("applied"), 1);
    run.stop().await;
    let writes = written(&admin).len();
    for name in ["muster.db-wal", "muster.db-shm"] {
        std::fs::remove_file(home.path(name)).ok();
    }
    std::fs::copy(home.path("copy.db"), home.path("muster.db")).unwrap();
    assert_eq!(home.sync(&[]).await.emitted, 0);
    assert_eq!(written(&admin).len(), writes);
    assert_everybody_once(&admin);
}

/// What `init` writes for any two kinds is right as it stands; it overwrites nothing.
#[tokio::test(flavor = "multi_thread")]
async fn what_init_writes_passes_check() {
    use muster::ops::init::Kind;
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let muster = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
        command.current_dir(folder.path()).env_remove("MUSTER_CONFIG").args(arguments).stdin(Stdio::null());
        for variable in
            ["CRM_SECRET", "DIRECTORY_TOKEN", "SOURCE_SECRET", "SOURCE_TOKEN", "TARGET_SECRET", "TARGET_TOKEN"]
        {
            command.env(variable, "x");
        }
        command
    };
    for from in Kind::ALL {
        for to in Kind::ALL {
            let file = format!("{}-{}.toml", from.as_str(), to.as_str());
            let init = ["init", from.as_str(), to.as_str(), "--config", &file];
            let made = muster(&init).output().await.unwrap();
            let (said, complained) = (String::from_utf8(made.stdout).unwrap(), String::from_utf8(made.stderr).unwrap());
            assert_eq!((made.status.code(), &*complained), (Some(0), ""), "{file}");
            for next in ["check", "sync ", "run"] {
                assert!(said.contains(&format!("muster --config {file} {next}")), "{said}");
            }
            let checked = muster(&["check", "--offline", "--config", &file]).output().await.unwrap();
            assert!(checked.status.success(), "{file}: {}", String::from_utf8_lossy(&checked.stderr));
            assert_without_file_is_valid(&folder.path().join(&file));

            let text = std::fs::read(folder.path().join(&file)).unwrap();
            let again = muster(&init).output().await.unwrap();
            assert_eq!(again.status.code(), Some(2));
            assert!(String::from_utf8_lossy(&again.stderr).contains("is there already"));
            assert_eq!(std::fs::read(folder.path().join(&file)).unwrap(), text);
        }
    }
    // The usual pair in the usual place.
    let usual = muster(&["init"]).output().await.unwrap();
    let said = String::from_utf8(usual.stdout).unwrap();
    assert!(said.contains("  muster check ") && said.contains("  muster sync crm-directory --wait"), "{said}");
}

/// The servers that the file proposes in a comment are right as well.
#[track_caller]
fn assert_without_file_is_valid(path: &Path) {
    let text = std::fs::read_to_string(path).unwrap();
    let (before, after) = text.split_once("file = \"muster.db\"").unwrap();
    let (explained, servers) = after.split_once("# [broker]").unwrap();
    let (servers, rest) = servers.split_once("\n\n").unwrap();
    let text = format!("{before}{explained}[broker]{}\n\n{rest}", servers.replace("\n# ", "\n"));
    let environment = ["BROKER", "STORE", "CRM", "DIRECTORY", "SOURCE", "TARGET"]
        .into_iter()
        .flat_map(|name| ["PASSWORD", "SECRET", "TOKEN"].map(|what| (format!("{name}_{what}"), "x".to_owned())))
        .collect::<std::collections::BTreeMap<_, _>>();
    let config = muster::config::Config::parse(&text, "muster.toml", &environment);
    let config = config.unwrap_or_else(|errors| panic!("{errors}\n{text}"));
    assert_eq!(config.infrastructure.file(), None);
}

/// What cannot work says so, and what would.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_work_says_what_would() {
    let (sandbox, _) = sandbox(0).await;
    let home = Home::new(&sandbox);
    for worker in [
        env!("CARGO_BIN_EXE_muster-producer"),
        env!("CARGO_BIN_EXE_muster-mapper"),
        env!("CARGO_BIN_EXE_muster-writer"),
    ] {
        let refused = home.program(worker, &[]).await;
        assert!(refused.status == 2 && refused.stderr.contains("`muster run` does all the work"), "{refused:?}");
    }
    assert!(!home.path("muster.db").exists());

    let config = std::fs::read_to_string(home.path("muster.toml")).unwrap();
    let configured = |text: &str| std::fs::write(home.path("muster.toml"), text).unwrap();
    configured(&format!("file = \"nowhere/muster.db\"\n{config}"));
    let checked = home.muster(&["check"]).await;
    assert!(checked.status == 1 && checked.stdout.contains("there is no folder nowhere"), "{checked:?}");
    std::fs::write(home.path("notes.db"), "not a database, but longer than the header of one".repeat(4)).unwrap();
    configured(&format!("file = \"notes.db\"\n{config}"));
    for command in [&["check"][..], &["run"], &["status"]] {
        let outcome = home.muster(command).await;
        let text = outcome.stdout + &outcome.stderr;
        assert!(outcome.status == 1 && text.contains("notes.db"), "{command:?}: {text}");
    }
    assert!(std::fs::read_to_string(home.path("notes.db")).unwrap().starts_with("not a database"));

    configured("");
    let nothing = home.muster(&["run"]).await;
    assert!(nothing.status == 2 && nothing.stderr.contains("[connections.<name>]"), "{nothing:?}");
    configured(&format!("[broker]\nurl = \"amqp://127.0.0.1:1\"\n[store]\nurl = \"redis://127.0.0.1:1\"\n{config}"));
    let servers = home.muster(&["backup", "copy.db"]).await;
    assert!(servers.status == 2 && servers.stderr.contains("Redis"), "{servers:?}");
}

/// Commands that begin at the same moment, on a file that none of them finds, all do their work: making the file and its
/// log, and folding the log in at the end, is nothing that anybody else is turned away for.
#[tokio::test(flavor = "multi_thread")]
async fn commands_that_begin_and_end_together_wait_for_each_other() {
    let sandbox = Sandbox::start(SandboxSettings::default()).await.unwrap();
    for _ in 0..8 {
        let home = Home::new(&sandbox);
        let outcomes = join_all((0..4).map(|_| home.muster(&["status"]))).await;
        assert!(outcomes.iter().all(|outcome| outcome.status == 0), "{outcomes:?}");
    }
}
