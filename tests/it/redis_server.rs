//! Starts Redis for tests: a plain `redis-server` on loopback where one is installed, else one in Docker.
//!
//! A server ends with the test process however that ends, without code that would have to run at the end: its parent is
//! a `sh` that reads from a pipe whose other end is ours. When we are gone, killed or not, the pipe closes, `cat`
//! returns, and the shell kills its own child by the process id it got when it started it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use muster::store::redis::{RedisSettings, RedisStore};
use redis::{FromRedisValue, RedisResult};
use testcontainers::core::{IntoContainerPort, WaitFor};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, GenericImage, ImageExt};
use tokio::net::TcpSocket;
use tokio::sync::OnceCell;

/// The watcher: `$0` is not used, the arguments are the server's command line.
const WATCHER: &str = r#"
"$@" </dev/null >/dev/null 2>&1 &
server=$!
cat >/dev/null
kill -9 "$server" 2>/dev/null
wait "$server" 2>/dev/null
"#;

static SHARED: OnceCell<RedisServer> = OnceCell::const_new();
static SERVERS: AtomicU32 = AtomicU32::new(0);

/// A running Redis.
pub struct RedisServer {
    url: String,
    kind: Kind,
}

enum Kind {
    /// Given from outside: left as it was found, but for keys under the tests' own prefixes.
    Given,
    Process {
        watcher: Option<Child>,
        directory: PathBuf,
        port: u16,
        options: Vec<String>,
    },
    /// Held until the test process ends.
    Container {
        _container: Box<ContainerAsync<GenericImage>>,
    },
}

impl RedisServer {
    /// The server that tests with prefixes of their own share: the one of `MUSTER_TEST_REDIS_URL`, else a process of
    /// this machine, else one in Docker.
    pub async fn shared() -> &'static Self {
        SHARED
            .get_or_init(|| async {
                if let Ok(url) = std::env::var("MUSTER_TEST_REDIS_URL") {
                    return Self { url, kind: Kind::Given };
                }
                match is_installed() {
                    true => Self::private(&[]).await,
                    false => Self::in_docker().await,
                }
            })
            .await
    }

    /// A server of one's own, to be killed, filled and emptied; keeps an append-only file.
    pub async fn private(options: &[&str]) -> Self {
        assert!(is_installed(), "this test needs redis-server in the PATH (apt-get install redis-server)");
        let number = SERVERS.fetch_add(1, Ordering::SeqCst);
        let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("target/it-redis")
            .join(format!("{}-{number}", std::process::id()));
        if number == 0 {
            remove_left_behind(directory.parent().unwrap());
        }
        // Of a process that had the same id, if it is there at all.
        let _absent = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        let port = free_port();
        let mut server = Self {
            url: format!("redis://127.0.0.1:{port}/"),
            kind: Kind::Process {
                watcher: None,
                directory,
                port,
                options: options.iter().map(|option| (*option).to_owned()).collect(),
            },
        };
        server.start().await;
        server
    }

    async fn in_docker() -> Self {
        let container = GenericImage::new("redis", "7.2-alpine")
            .with_exposed_port(6379.tcp())
            .with_wait_for(WaitFor::message_on_stdout("Ready to accept connections"))
            // Nothing in a container can see that we were killed, so it ends by itself at last.
            .with_cmd(["timeout", "3600", "redis-server", "--save", ""])
            .start()
            .await
            .expect("Redis for tests: set MUSTER_TEST_REDIS_URL, or install redis-server, or start Docker");
        let port = container.get_host_port_ipv4(6379).await.unwrap();
        Self { url: format!("redis://127.0.0.1:{port}/"), kind: Kind::Container { _container: Box::new(container) } }
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Settings with a prefix that no other test uses.
    pub fn settings(&self) -> RedisSettings {
        RedisSettings { prefix: format!("test-{:016x}", fastrand::u64(..)), ..RedisSettings::new(self.url()) }
    }

    /// A store with a prefix of its own.
    pub fn store(&self) -> RedisStore {
        RedisStore::open(&self.settings()).unwrap()
    }

    /// Asks the server something directly.
    pub async fn ask<T: FromRedisValue>(&self, command: &[&str]) -> RedisResult<T> {
        let client = redis::Client::open(self.url())?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        redis::cmd(command[0]).arg(&command[1..]).query_async(&mut connection).await
    }

    /// The same, where nothing but success is of interest.
    pub async fn tell(&self, command: &[&str]) {
        self.ask::<redis::Value>(command).await.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    }

    /// Where a private server keeps its files.
    pub fn directory(&self) -> &Path {
        match &self.kind {
            Kind::Process { directory, .. } => directory,
            _ => panic!("only a private server has a directory"),
        }
    }

    /// Kills a private server with SIGKILL and returns when it is gone.
    pub fn kill(&mut self) {
        if let Kind::Process { watcher, .. } = &mut self.kind
            && let Some(mut child) = watcher.take()
        {
            drop(child.stdin.take());
            child.wait().unwrap();
        }
    }

    /// Starts a killed server again, on the same port and files.
    pub async fn start(&mut self) {
        let url = self.url.clone();
        let Kind::Process { watcher, directory, port, options } = &mut self.kind else {
            panic!("only a private server can be started again");
        };
        let child = Command::new("sh")
            .args(["-c", WATCHER, "sh", "redis-server", "--bind", "127.0.0.1", "--port"])
            .arg(port.to_string())
            .arg("--dir")
            .arg(&*directory)
            .args(["--logfile", "redis.log", "--appendonly", "yes", "--save", "", "--maxmemory-policy", "noeviction"])
            .args(options.iter())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        *watcher = Some(child);
        let log = directory.join("redis.log");
        let begun = Instant::now();
        // `PONG` is the event; a server that loads answers with an error first.
        loop {
            let answer = async {
                let mut connection = redis::Client::open(&*url)?.get_multiplexed_async_connection().await?;
                redis::cmd("PING").query_async::<String>(&mut connection).await
            };
            match answer.await {
                Ok(_) => return,
                // A server that wants a password is up as well.
                Err(error) if error.code() == Some("NOAUTH") || error.to_string().contains("NOAUTH") => return,
                Err(error) if begun.elapsed() > Duration::from_secs(30) => {
                    panic!("redis-server did not start: {error}\n{}", fs::read_to_string(log).unwrap_or_default())
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    }

    /// Kills the server and starts it again.
    pub async fn restart(&mut self) {
        self.kill();
        self.start().await;
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
        if let Kind::Process { directory, .. } = &self.kind
            && !std::thread::panicking()
        {
            let _kept = fs::remove_dir_all(directory);
        }
    }
}

/// Removes what test processes that are gone have left: the shared server is never dropped.
fn remove_left_behind(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.split('-').next()).unwrap_or_default();
        if !Path::new("/proc").join(owner).exists() {
            let _in_use = fs::remove_dir_all(entry.path());
        }
    }
}

fn is_installed() -> bool {
    let probe = Command::new("redis-server").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    probe.is_ok_and(|status| status.success())
}

/// A port that nobody listens on, below the range from which the kernel takes ports for clients.
pub fn free_port() -> u16 {
    loop {
        let port = fastrand::u16(20_000..32_000);
        // Bound but not listening: a child that is being started by another thread inherits the socket for a moment,
        // and if it listened, the port would be taken for as long.
        let probe = TcpSocket::new_v4().unwrap();
        probe.set_reuseaddr(true).unwrap();
        if probe.bind(([127, 0, 0, 1], port).into()).is_ok() {
            return port;
        }
    }
}
