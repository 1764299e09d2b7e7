//! The real programs for tests: started with a generated configuration, followed, killed, and ended with the test.

use std::collections::BTreeMap;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use muster::database::Database;
use muster::sandbox::Sandbox;
use muster::store::embedded::EmbeddedStore;
use muster::store::redis::{RedisSettings, RedisStore};
use muster::store::{Run, Store};
use serde_json::Value;
use url::Url;

use super::redis_server::RedisServer;

/// The connection that every rig has.
pub const CONNECTION: &str = "crm-directory";

/// How long anything in a test may take before the test fails. Nobody waits this long when all is well.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// A program of the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    Producer,
    Mapper,
    Writer,
    /// All three in one process: `muster run`.
    Run,
}

impl Role {
    fn program(self) -> &'static str {
        match self {
            Self::Producer => env!("CARGO_BIN_EXE_muster-producer"),
            Self::Mapper => env!("CARGO_BIN_EXE_muster-mapper"),
            Self::Writer => env!("CARGO_BIN_EXE_muster-writer"),
            Self::Run => env!("CARGO_BIN_EXE_muster"),
        }
    }

    /// The role whose code passes a failpoint.
    pub fn of_failpoint(name: &str) -> Self {
        match name.split_once('.') {
            Some(("producer", _)) => Self::Producer,
            Some(("mapper", _)) => Self::Mapper,
            Some(("writer", _)) => Self::Writer,
            _ => panic!("failpoint {name} belongs to no role"),
        }
    }
}

/// One installation: a configuration with names of its own, the programs that were started with it, and what they said.
pub struct Rig {
    directory: PathBuf,
    prefix: String,
    /// A shell that waits for the end of its input, whose other end only this process holds. It leads the process group
    /// of all programs of the rig, so whatever ends the test, a signal that nobody can catch included, ends them too.
    watcher: Child,
    started: AtomicU32,
    passed: AtomicBool,
}

/// What a rig is made of.
pub struct Parts<'p> {
    /// Where it keeps what it knows.
    pub place: Place,
    /// `[systems.crm]` and `[systems.directory]`.
    pub systems: String,
    /// Lines that follow in `[connections.crm-directory]`.
    pub connection: &'p str,
}

/// An org as the first system, and a directory as the second.
pub fn org_and_directory(sandbox: &Sandbox) -> String {
    let org = format!(
        r#"
[systems.crm]
kind = "salesforce"
url = "{}"
auth = {{ flow = "client-credentials", client_id = "{}", client_secret = {{ env = "CRM_SECRET" }} }}
page_size = 200
"#,
        sandbox.salesforce_url(),
        sandbox.client_id()
    );
    org + &directory("directory", sandbox)
}

/// A directory under this name.
pub fn directory(name: &str, sandbox: &Sandbox) -> String {
    format!(
        r#"
[systems.{name}]
kind = "scim"
url = "{}"
auth = {{ flow = "bearer", token = {{ env = "DIRECTORY_TOKEN" }} }}
"#,
        sandbox.scim_url()
    )
}

/// Where an installation keeps queues and links.
pub enum Place {
    /// On servers.
    Servers {
        /// The broker, `amqp://user:password@host:port`.
        amqp: Url,
        /// Where the programs find the store.
        redis: String,
    },
    /// In one file, [`Rig::file`].
    File,
}

/// The org leads, the directory follows. More people leave in these tests than a budget would let pass.
pub const ONE_WAY: &str = r#"direction = "a_to_b"
create = "automatic"
leavers = "deactivate"
budgets = "off""#;

impl Rig {
    /// Writes the configuration. `name` is that of the test.
    pub fn new(name: &str, parts: &Parts<'_>) -> Self {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        // Of a process that had the same id, if it is there at all.
        let _absent = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).unwrap();
        let prefix = format!("test-{}", uuid::Uuid::new_v4().simple());
        std::fs::write(directory.join("muster.toml"), configuration(&prefix, parts)).unwrap();
        let watcher = std::process::Command::new("/bin/sh")
            .args(["-c", "read -r _; kill -s KILL -- -$$"])
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        Self { directory, prefix, watcher, started: AtomicU32::new(0), passed: AtomicBool::new(false) }
    }

    fn command(&self, program: &str, log: &Path) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(program);
        command
            .current_dir(&self.directory)
            .env_remove("MUSTER_FAILPOINT")
            .env("MUSTER_CONFIG", self.directory.join("muster.toml"))
            .env("CRM_SECRET", muster::sandbox::DEFAULT_CLIENT_SECRET)
            .env("DIRECTORY_TOKEN", muster::sandbox::DEFAULT_SCIM_TOKEN)
            .env("BROKER_PASSWORD", "guest")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(log).unwrap())
            .process_group(i32::try_from(self.watcher.id()).unwrap())
            .kill_on_drop(true);
        command
    }

    /// Starts a worker, to be killed at a failpoint if one is given: `writer.answered:3`.
    pub fn start(&self, role: Role, failpoint: Option<&str>) -> Worker {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let armed = failpoint.map_or(String::new(), |failpoint| format!("-{}", failpoint.replace(':', "-")));
        let log = self.directory.join(format!("{number:03}-{role:?}{armed}.log").to_lowercase());
        let mut command = self.command(role.program(), &log);
        command.stdout(Stdio::null());
        if role == Role::Run {
            command.arg("run");
        }
        if let Some(failpoint) = failpoint {
            command.env("MUSTER_FAILPOINT", failpoint);
        }
        Worker { child: command.spawn().unwrap(), log }
    }

    /// Runs `muster` to its end; exit status and what it printed.
    pub async fn muster(&self, arguments: &[&str]) -> Finished {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let log = self.directory.join(format!("{number:03}-muster-{}.log", arguments[0]));
        let mut command = self.command(env!("CARGO_BIN_EXE_muster"), &log);
        let output = within(&format!("muster {arguments:?}"), command.args(arguments).output()).await.unwrap();
        Finished {
            status: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// `muster sync --wait` to its end; what it reports.
    pub async fn sync(&self, more: &[&str]) -> Value {
        let arguments = [&["sync", CONNECTION, "--wait", "--json"], more].concat();
        let done = self.muster(&arguments).await;
        assert_eq!(done.status, Some(0), "muster {arguments:?}: {}{}", done.stdout, done.stderr);
        serde_json::from_str(&done.stdout).unwrap()
    }

    /// A store of the test's own with the keys of this rig, at another address than that of the programs perhaps.
    pub fn store(&self, redis: &RedisServer) -> RedisStore {
        RedisStore::open(&RedisSettings { prefix: self.prefix.clone(), ..RedisSettings::new(redis.url()) }).unwrap()
    }

    /// The file of [`Place::File`].
    pub fn file(&self) -> PathBuf {
        self.directory.join("muster.db")
    }

    /// The store in that file, open beside the programs until it is dropped.
    pub async fn file_store(&self) -> EmbeddedStore {
        EmbeddedStore::look(&Database::open(&self.file()).unwrap()).await.unwrap().0
    }

    /// The test went well: nobody needs to see what the programs said. The last word of a test, since a rig may outlive
    /// the thread that panics.
    pub fn passed(&self) {
        self.passed.store(true, Ordering::Relaxed);
    }

    /// The prefix of its queues and keys.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// One worker for each of these roles, all of them at work.
    pub async fn crew(&self, store: &impl Store, roles: &[Role]) -> Vec<Worker> {
        let before = store.instances().await.unwrap().len();
        let crew = roles.iter().map(|role| self.start(*role, None)).collect();
        let heard = || async { store.instances().await.unwrap().len() >= before + roles.len() };
        until("the workers work", heard).await;
        crew
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let group = format!("-{}", self.watcher.id());
        std::process::Command::new("kill").args(["-s", "KILL", "--", &group]).status().ok();
        self.watcher.wait().ok();
        if *self.passed.get_mut() {
            std::fs::remove_dir_all(&self.directory).ok();
        } else {
            show_logs(&self.directory);
        }
    }
}

/// The ends of what the programs said last, for a test that failed.
fn show_logs(directory: &Path) {
    let mut logs: Vec<_> = std::fs::read_dir(directory).into_iter().flatten().flatten().map(|log| log.path()).collect();
    logs.sort();
    eprintln!("--- all that the programs said is in {}", directory.display());
    for log in logs.iter().filter(|log| log.extension().is_some_and(|extension| extension == "log")).rev().take(8) {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        eprintln!("--- {}", log.display());
        for line in &lines[lines.len().saturating_sub(15)..] {
            eprintln!("{line}");
        }
    }
}

fn configuration(prefix: &str, parts: &Parts<'_>) -> String {
    let place = match &parts.place {
        Place::File => String::new(),
        Place::Servers { amqp, redis } => {
            let mut amqp = amqp.clone();
            amqp.set_password(None).unwrap();
            format!(
                r#"
[broker]
url = "{amqp}"
password = {{ env = "BROKER_PASSWORD" }}
prefix = "{prefix}"

[store]
url = "{redis}"
prefix = "{prefix}"
"#
            )
        }
    };
    format!(
        r#"{place}
{systems}
[writer]
lease = "3s"
request_timeout = "1s"

[telemetry]
listen = "off"

[connections.{CONNECTION}]
a = "crm"
b = "directory"
{connection}
"#,
        systems = parts.systems,
        connection = parts.connection,
    )
}

/// A run of `muster` that ended.
#[derive(Debug)]
pub struct Finished {
    /// Exit status; `None` if a signal ended it.
    pub status: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it said beside that.
    pub stderr: String,
}

/// A worker process.
pub struct Worker {
    child: tokio::process::Child,
    log: PathBuf,
}

/// How a worker ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// It killed itself at this failpoint.
    Failpoint(String),
    /// Somebody else killed it.
    Killed,
    /// It ended by itself, which no worker does unasked.
    Other(String),
}

impl Worker {
    /// Waits until it has ended.
    pub async fn ended(&mut self) -> End {
        let status = self.child.wait().await.unwrap();
        if status.signal() != Some(9) {
            return End::Other(format!("{status}; see {}", self.log.display()));
        }
        let reached = self.said("failpoint ");
        reached.map_or(End::Killed, |line| End::Failpoint(line.split(' ').nth(1).unwrap().to_owned()))
    }

    /// The last line it said that begins like this.
    fn said(&self, beginning: &str) -> Option<String> {
        let said = std::fs::read_to_string(&self.log).unwrap_or_default();
        said.lines().rev().find(|line| line.starts_with(beginning)).map(str::to_owned)
    }

    /// Kills it with SIGKILL, and returns when it is gone.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Whether it calls itself so: its process id.
    pub fn is(&self, name: &str) -> bool {
        self.child.id().is_some_and(|id| id.to_string() == name.trim())
    }

    /// Sends it a signal: `STOP`, `CONT`, `TERM`.
    pub fn signal(&self, signal: &str) {
        let id = self.child.id().expect("it runs").to_string();
        let sent = std::process::Command::new("kill").args([&format!("-{signal}"), &id]).status().unwrap();
        assert!(sent.success(), "kill -{signal} {id}");
    }
}

/// Waits for something that comes soon when all is well.
pub async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}

/// Asks again and again until it is true.
pub async fn until<F: Future<Output = bool>>(what: &str, mut question: impl FnMut() -> F) {
    let began = Instant::now();
    while !question().await {
        assert!(began.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Asserts that a run is over and its outcomes add up (B16).
pub fn assert_adds_up(run: &Run) {
    let changes: u32 = run.changes.iter().map(|(_, count)| count).sum();
    let commands: u32 = run.commands.iter().map(|(_, count)| count).sum();
    assert!(run.is_over() && run.read == changes && run.emitted == commands, "{run:#?}");
}

/// The accounts of the directory by the id of the org's user that they name.
pub fn directory_by_partner(accounts: &[Value]) -> BTreeMap<String, &Value> {
    let mut by_partner = BTreeMap::new();
    for account in accounts {
        if let Some(partner) = account["externalId"].as_str() {
            assert!(by_partner.insert(partner.to_owned(), account).is_none(), "two accounts name {partner}");
        }
    }
    by_partner
}
