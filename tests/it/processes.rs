//! An installation of Muster as an operator has one: a configuration file, worker processes, and the command line, all
//! of them the real binaries, on the RabbitMQ and Redis of the tests with prefixes of its own, or on one file.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use muster::broker::amqp::{AmqpBroker, AmqpSettings};
use muster::sandbox::{Actor, Admin, Sandbox, System, Write};
use serde::Deserialize;
use serde_json::Value;
use tokio::process::{Child, Command};

use super::rabbitmq::RabbitMq;
use super::redis_server::RedisServer;

/// The connection between `crm` and `directory` that most tests have.
pub const CONNECTION: &str = "crm-directory";

/// After this a command has hung. The largest load takes a minute on an idle machine and ten on a crowded one.
const PATIENCE: Duration = Duration::from_secs(1200);

/// What a process may be.
const ROLES: [&str; 4] = ["producer", "mapper", "writer", "run"];

/// Where an installation keeps queues and links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// On RabbitMQ and Redis: a process for each stage.
    Servers,
    /// In one file: `muster run`.
    File,
}

/// One installation. Its processes end with it; a test that fails shows what they logged.
pub struct Installation {
    directory: PathBuf,
    prefix: String,
    /// Its broker; none over a file.
    amqp: Option<url::Url>,
    patience: &'static str,
    workers: Vec<Worker>,
    /// Of all its commands, in KiB.
    peak_of_commands: AtomicU64,
}

/// A worker process.
struct Worker {
    role: &'static str,
    child: Child,
}

/// How a command ended.
#[derive(Debug)]
pub struct Outcome {
    /// Its exit status.
    pub status: i32,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

/// What `sync --wait --json` prints.
#[derive(Debug, Deserialize)]
pub struct Report {
    /// The run.
    pub run: String,
    /// How long it took.
    pub seconds: f64,
    /// Changes read.
    pub read: i64,
    changes: BTreeMap<String, i64>,
    /// Commands emitted.
    pub emitted: i64,
    commands: BTreeMap<String, i64>,
    /// Why it ended early.
    pub failed: Option<String>,
}

impl Report {
    /// Changes with this outcome.
    pub fn changes(&self, outcome: &str) -> i64 {
        self.changes[outcome]
    }

    /// Commands with this outcome.
    pub fn commands(&self, outcome: &str) -> i64 {
        self.commands[outcome]
    }

    /// B16: outcomes add up, in every test.
    pub fn assert_adds_up(&self) {
        assert_eq!(self.read, self.changes.values().sum::<i64>(), "changes of {self:?}");
        assert_eq!(self.emitted, self.commands.values().sum::<i64>(), "commands of {self:?}");
    }
}

/// The configuration of a Salesforce sandbox as `crm`.
pub fn crm(sandbox: &Sandbox) -> String {
    format!(
        "[systems.crm]\nkind = \"salesforce\"\nurl = \"{}\"\nrequest_timeout = \"5s\"\nauth = {{ flow = \
         \"client-credentials\", client_id = \"{}\", client_secret = {{ env = \"CRM_SECRET\" }} }}\n",
        sandbox.salesforce_url(),
        sandbox.client_id()
    )
}

/// The configuration of a SCIM service as `directory`.
pub fn directory(url: &str) -> String {
    format!(
        "[systems.directory]\nkind = \"scim\"\nurl = \"{url}\"\nrequest_timeout = \"5s\"\nauth = {{ flow = \"bearer\", \
         token = {{ env = \"DIRECTORY_TOKEN\" }} }}\n"
    )
}

/// A connection in which the directory follows the org; `more` are further lines of its table and tables after it. It has
/// no budgets unless they are among these: tests change more accounts at once than a person should.
pub fn connection(more: &str) -> String {
    let budgets = if more.contains("budgets") { "" } else { "budgets = \"off\"\n" };
    format!(
        "[connections.{CONNECTION}]\na = \"crm\"\nb = \"directory\"\ndirection = \"a_to_b\"\ncreate = \"automatic\"\n\
         leavers = \"deactivate\"\n{budgets}{more}\n"
    )
}

impl Installation {
    /// Writes the configuration; `systems` are its tables of systems and connections.
    pub async fn new(systems: &str) -> Self {
        Self::with(systems, "lease = \"3s\"\nrequest_timeout = \"1s\"").await
    }

    /// The same for a slow target or a loaded machine, whose writes take longer.
    pub async fn patient(systems: &str) -> Self {
        Self::patient_on(Mode::Servers, systems).await
    }

    /// The same in this mode.
    pub async fn patient_on(mode: Mode, systems: &str) -> Self {
        Self::on(mode, systems, "lease = \"8s\"\nrequest_timeout = \"6s\"").await
    }

    /// The same with these lines in its table `[writer]`.
    pub async fn with(systems: &str, patience: &'static str) -> Self {
        Self::on(Mode::Servers, systems, patience).await
    }

    /// The same in this mode, with these lines in its table `[writer]`.
    pub async fn on(mode: Mode, systems: &str, patience: &'static str) -> Self {
        let prefix = format!("it-{}", uuid::Uuid::new_v4().simple());
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(&prefix);
        std::fs::create_dir_all(&directory).unwrap();
        let amqp = match mode {
            Mode::Servers => Some(RabbitMq::shared().await.url().clone()),
            Mode::File => None,
        };
        let (workers, peak_of_commands) = (Vec::new(), AtomicU64::new(0));
        let installation = Self { directory, prefix, amqp, patience, workers, peak_of_commands };
        installation.configure(systems).await;
        installation
    }

    /// Both systems are one sandbox, with the connection of [`connection`].
    pub async fn between(sandbox: &Sandbox, more: &str) -> Self {
        Self::new(&(crm(sandbox) + &directory(&sandbox.scim_url()) + &connection(more))).await
    }

    /// Writes the configuration anew. Workers that run keep the old one.
    pub async fn configure(&self, systems: &str) {
        let Self { prefix, patience, .. } = self;
        let place = match self.amqp.clone() {
            None => String::new(),
            Some(mut amqp) => {
                let redis = RedisServer::shared().await.url();
                amqp.set_password(None).unwrap();
                format!(
                    "[broker]\nurl = \"{amqp}\"\npassword = {{ env = \"AMQP_PASSWORD\" }}\nprefix = \"{prefix}\"\n\n\
                     [store]\nurl = \"{redis}\"\nprefix = \"{prefix}\"\n\n"
                )
            }
        };
        let text = format!("{place}[writer]\n{patience}\n\n[telemetry]\nlisten = \"off\"\n\n{systems}");
        std::fs::write(self.config(), text).unwrap();
    }

    /// Its configuration file.
    pub fn config(&self) -> PathBuf {
        self.directory.join("muster.toml")
    }

    /// What its queues and keys begin with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Where its broker is.
    pub fn amqp(&self) -> &url::Url {
        self.amqp.as_ref().expect("it has a broker")
    }

    /// Its broker, for messages of the test's own.
    pub fn broker(&self) -> AmqpBroker {
        AmqpBroker::open(AmqpSettings::new(self.amqp(), None).unwrap().with_prefix(&self.prefix).unwrap())
    }

    /// Starts one worker of each kind, or `run` over a file, and waits until they are at work: `sync` would do the work
    /// itself before.
    pub async fn start(&mut self) {
        if self.amqp.is_none() {
            return self.start_run().await;
        }
        for role in ["producer", "mapper", "writer"] {
            self.start_worker(role, None);
        }
        self.await_stages().await;
    }

    /// Starts `muster run` in the place of the three, and waits until it is at work.
    pub async fn start_run(&mut self) {
        self.start_worker("run", None);
        self.await_stages().await;
    }

    async fn await_stages(&mut self) {
        while self.status().await["instances"].as_array().unwrap().len() < 3 {
            assert!(!ROLES.iter().any(|role| self.has_ended(role)), "a worker ended");
        }
    }

    /// What `status --json` says.
    pub async fn status(&self) -> Value {
        let outcome = self.muster(&["status", "--json"]).await;
        serde_json::from_str(&outcome.stdout).unwrap_or_else(|_| panic!("{outcome:?}"))
    }

    /// Starts a worker, with a failpoint if one is given.
    pub fn start_worker(&mut self, role: &'static str, failpoint: Option<&str>) {
        let program = match role {
            "producer" => env!("CARGO_BIN_EXE_muster-producer"),
            "mapper" => env!("CARGO_BIN_EXE_muster-mapper"),
            "run" => env!("CARGO_BIN_EXE_muster"),
            _ => env!("CARGO_BIN_EXE_muster-writer"),
        };
        let log = File::options().create(true).append(true).open(self.directory.join(format!("{role}.log"))).unwrap();
        let mut command = self.command(program);
        if role == "run" {
            command.arg("run");
        }
        if let Some(failpoint) = failpoint {
            command.env("MUSTER_FAILPOINT", failpoint);
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        self.workers.push(Worker { role, child });
    }

    /// Asks all workers to end, and waits until they have.
    pub async fn end_workers(&mut self) {
        for worker in std::mem::take(&mut self.workers) {
            let mut child = worker.child;
            let pid = child.id().unwrap().to_string();
            assert!(tokio::process::Command::new("kill").arg(&pid).status().await.unwrap().success());
            let ended = tokio::time::timeout(PATIENCE, child.wait()).await;
            ended.unwrap_or_else(|_| panic!("{} does not end", worker.role)).unwrap();
        }
    }

    /// Kills the workers of this kind.
    pub async fn kill(&mut self, role: &str) {
        for worker in self.workers.extract_if(.., |worker| worker.role == role).collect::<Vec<_>>() {
            let mut child = worker.child;
            child.kill().await.unwrap();
        }
    }

    /// Whether a worker of this kind has ended by itself; it is forgotten then.
    pub fn has_ended(&mut self, role: &str) -> bool {
        let ended = |worker: &mut Worker| worker.role == role && worker.child.try_wait().unwrap().is_some();
        self.workers.extract_if(.., ended).count() > 0
    }

    /// Peak memory of each worker, and of the commands that were run, in KiB.
    pub fn peak_memory_kib(&self) -> Vec<(&'static str, u64)> {
        let workers =
            self.workers.iter().map(|worker| (worker.role, peak_kib(worker.child.id().unwrap()).expect("it runs")));
        workers.chain([("command", self.peak_of_commands.load(Ordering::Relaxed))]).collect()
    }

    /// A program with its configuration and secrets.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("MUSTER_CONFIG", self.config())
            .env("AMQP_PASSWORD", self.amqp.as_ref().and_then(|amqp| amqp.password()).unwrap_or("guest"))
            .env("CRM_SECRET", muster::sandbox::DEFAULT_CLIENT_SECRET)
            .env("DIRECTORY_TOKEN", muster::sandbox::DEFAULT_SCIM_TOKEN)
            .envs(super::examples::SECRETS)
            .env("USER", "ada")
            .env_remove("RUST_BACKTRACE")
            .current_dir(&self.directory)
            .kill_on_drop(true);
        command
    }

    /// Runs `muster` with these arguments.
    pub async fn muster(&self, arguments: &[&str]) -> Outcome {
        let mut command = self.command(env!("CARGO_BIN_EXE_muster"));
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        let pid = child.id().unwrap();
        let watch = async {
            loop {
                self.peak_of_commands.fetch_max(peak_kib(pid).unwrap_or(0), Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let output = async {
            tokio::select! {
                output = child.wait_with_output() => output,
                () = watch => unreachable!("it watches on"),
            }
        };
        let output = tokio::time::timeout(PATIENCE, output).await;
        let output = output.unwrap_or_else(|_| panic!("muster {arguments:?} hangs")).unwrap();
        Outcome {
            status: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Runs `muster` until it kills itself at a failpoint.
    pub async fn killed_command(&self, arguments: &[&str], failpoint: &str) -> Outcome {
        let mut command = self.command(env!("CARGO_BIN_EXE_muster"));
        command.args(arguments).env("MUSTER_FAILPOINT", failpoint).stdin(Stdio::null());
        let output = tokio::time::timeout(PATIENCE, command.output()).await;
        let output = output.unwrap_or_else(|_| panic!("muster {arguments:?} hangs")).unwrap();
        Outcome {
            status: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Syncs the connection and waits; `more` are further arguments.
    pub async fn sync(&self, more: &[&str]) -> Report {
        self.sync_of(CONNECTION, more).await
    }

    /// The same of another connection.
    pub async fn sync_of(&self, connection: &str, more: &[&str]) -> Report {
        let arguments = [&["sync", connection, "--wait", "--json"], more].concat();
        let outcome = self.muster(&arguments).await;
        let report: Report = serde_json::from_str(&outcome.stdout).unwrap_or_else(|_| panic!("{outcome:?}"));
        report.assert_adds_up();
        report
    }

    /// Open letters.
    pub async fn letters(&self) -> Vec<Value> {
        let listed = self.muster(&["dead", "list", "--json"]).await;
        let letters: Vec<_> = listed.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(listed.status, if letters.is_empty() { 0 } else { 3 }, "{listed:?}");
        letters
    }

    /// Waits until so many letters are open.
    pub async fn await_letters(&self, count: usize) -> Vec<Value> {
        let look = async {
            loop {
                let letters = self.letters().await;
                if letters.len() == count {
                    return letters;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), look).await.unwrap_or_else(|_| panic!("never {count} letters"))
    }

    /// What the workers logged.
    pub fn logs(&self) -> String {
        let mut text = String::new();
        for role in ROLES {
            let log = std::fs::read_to_string(self.directory.join(format!("{role}.log"))).unwrap_or_default();
            let tail: Vec<_> = log.lines().rev().take(60).collect();
            writeln!(text, "--- {role}, last lines").unwrap();
            tail.iter().rev().for_each(|line| writeln!(text, "{line}").unwrap());
        }
        text
    }
}

/// Peak memory of a process, unless it has ended.
fn peak_kib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

impl Drop for Installation {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}configuration and logs: {}", self.logs(), self.directory.display());
        } else {
            std::fs::remove_dir_all(&self.directory).ok();
        }
    }
}

/// Writes to the directory of a sandbox by the pipeline.
pub fn written(admin: &Admin) -> Vec<Write> {
    admin.writes(0).into_iter().filter(|write| write.system == System::Scim && write.actor == Actor::Client).collect()
}

/// Users of the org that may be used.
pub fn active_users(admin: &Admin) -> Vec<Value> {
    admin.accounts(System::Salesforce).into_iter().filter(|user| user["IsActive"] == true).collect()
}
