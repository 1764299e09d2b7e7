//! A RabbitMQ for tests: the one that is given, else a plain process of the installed server, else a container.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use muster::broker::amqp::{AmqpBroker, AmqpSettings};
use testcontainers::core::{IntoContainerPort, WaitFor};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, GenericImage};
use tokio::sync::OnceCell;
use url::Url;

const SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
const CTL: &str = "/usr/lib/rabbitmq/bin/rabbitmqctl";

/// Under this machine's load a start takes some ten seconds; after this it hangs.
const START_DEADLINE: Duration = Duration::from_secs(120);

/// A RabbitMQ that tests share. Each uses names of its own.
pub struct RabbitMq {
    url: Url,
    _server: Server,
}

enum Server {
    Given,
    Process { _node: Node },
    Container { _container: Box<ContainerAsync<GenericImage>> },
}

impl RabbitMq {
    /// The RabbitMQ of this test process: `MUSTER_TEST_AMQP_URL`, else a process, else a container.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<RabbitMq> = OnceCell::const_new();
        SHARED.get_or_init(Self::find).await
    }

    async fn find() -> Self {
        show_logs();
        if let Ok(url) = std::env::var("MUSTER_TEST_AMQP_URL") {
            return Self { url: url.parse().expect("MUSTER_TEST_AMQP_URL is a url"), _server: Server::Given };
        }
        if Path::new(SERVER).exists() {
            let node = Node::start().await;
            return Self { url: node.url(), _server: Server::Process { _node: node } };
        }
        let image = GenericImage::new("rabbitmq", "4")
            .with_exposed_port(5672.tcp())
            .with_wait_for(WaitFor::message_on_stdout("Server startup complete"));
        match image.start().await {
            Ok(container) => {
                let port = container.get_host_port_ipv4(5672).await.expect("the port is exposed");
                let url = format!("amqp://guest:guest@127.0.0.1:{port}").parse().unwrap();
                Self { url, _server: Server::Container { _container: Box::new(container) } }
            }
            Err(error) => panic!(
                "these tests need a RabbitMQ: give one in MUSTER_TEST_AMQP_URL, install rabbitmq-server, or start \
                 Docker ({error})"
            ),
        }
    }

    /// A process of its own, for a test that stops or starves it.
    pub async fn private() -> Node {
        assert!(
            Path::new(SERVER).exists(),
            "this test kills its RabbitMQ: it needs rabbitmq-server installed ({SERVER})"
        );
        show_logs();
        Node::start().await
    }

    /// Settings with a prefix that no other test has.
    pub fn settings(&self) -> AmqpSettings {
        settings(&self.url)
    }

    /// Settings that go through a proxy, with a prefix that no other test has.
    pub fn settings_through(&self, proxy: SocketAddr) -> AmqpSettings {
        let mut url = self.url.clone();
        url.set_host(Some(&proxy.ip().to_string())).unwrap();
        url.set_port(Some(proxy.port())).unwrap();
        settings(&url)
    }

    /// A broker with a prefix that no other test has.
    pub fn broker(&self) -> AmqpBroker {
        AmqpBroker::open(self.settings())
    }

    /// Host and port, for a proxy.
    pub fn addr(&self) -> SocketAddr {
        let port = self.url.port().unwrap_or(5672);
        let host = self.url.host_str().unwrap();
        std::net::ToSocketAddrs::to_socket_addrs(&(host, port)).unwrap().next().unwrap()
    }

    /// The address, for a client of the test's own.
    pub fn url(&self) -> &Url {
        &self.url
    }
}

/// With RUST_LOG set, a failing test shows what its connections went through.
fn show_logs() {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init().ok();
}

/// Settings for this address with a prefix that no other test has.
pub fn settings(url: &Url) -> AmqpSettings {
    let prefix = format!("muster-test.{}", uuid::Uuid::new_v4().simple());
    AmqpSettings::new(url, None).unwrap().with_prefix(&prefix).unwrap()
}

/// A node as a plain process: loopback only, data under `target/`, nothing of the machine's own server touched.
pub struct Node {
    dir: PathBuf,
    port: u16,
    epmd_port: u16,
    server: Child,
    /// A shell that waits for the end of its standard input, whose other end only this process holds. So whatever ends
    /// the tests, a signal that nobody can catch included, the shell wakes up, kills the server's process group and removes its data.
    watcher: Child,
}

impl Node {
    async fn start() -> Self {
        tokio::task::spawn_blocking(Self::start_blocking).await.unwrap()
    }

    fn start_blocking() -> Self {
        let (port, epmd_port) = (free_port(), free_port());
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("rabbitmq-{}-{port}", std::process::id()));
        std::fs::create_dir_all(dir.join("home")).unwrap();
        std::fs::write(
            dir.join("rabbitmq.conf"),
            format!(
                "listeners.tcp.default = 127.0.0.1:{port}\nvm_memory_high_watermark.absolute = 1GB\n\
                 disk_free_limit.absolute = 50MB\n"
            ),
        )
        .unwrap();
        std::fs::write(dir.join("enabled_plugins"), "[].").unwrap();
        let server = spawn_server(&dir, port, epmd_port);
        let watcher = watch(&server, &dir);
        let node = Self { dir, port, epmd_port, server, watcher };
        node.wait_until_up();
        node
    }

    /// Where it listens, with the default account.
    pub fn url(&self) -> Url {
        format!("amqp://guest:guest@127.0.0.1:{}", self.port).parse().unwrap()
    }

    /// Settings with a prefix that no other test has.
    pub fn settings(&self) -> AmqpSettings {
        settings(&self.url())
    }

    /// Where it keeps its queues and its log.
    pub fn directory(&self) -> &Path {
        &self.dir
    }

    /// Runs `rabbitmqctl` and returns what it printed.
    pub async fn ctl(&self, arguments: &[&str]) -> String {
        let mut command = command(CTL, &self.dir, self.port, self.epmd_port);
        command.arg("-q").args(arguments);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "rabbitmqctl: {text}{}", String::from_utf8_lossy(&output.stderr));
        text
    }

    /// Kills it as a power cut would.
    pub fn kill(&mut self) {
        signal("KILL", &self.server);
        self.server.wait().unwrap();
        self.watcher.kill().unwrap();
        self.watcher.wait().unwrap();
    }

    /// Starts it again with the data that it had.
    pub async fn restart(mut self) -> Self {
        tokio::task::spawn_blocking(move || {
            self.server = spawn_server(&self.dir, self.port, self.epmd_port);
            self.watcher = watch(&self.server, &self.dir);
            self.wait_until_up();
            self
        })
        .await
        .unwrap()
    }

    /// Freezes it: its sockets stay open and nobody answers.
    pub fn pause(&self) {
        signal("STOP", &self.server);
    }

    /// Ends a pause.
    pub fn resume(&self) {
        signal("CONT", &self.server);
    }

    fn wait_until_up(&self) {
        let deadline = Instant::now() + START_DEADLINE;
        // The listener is the last thing that a node starts.
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < deadline, "RabbitMQ did not start, see {}", self.dir.display());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        signal("KILL", &self.server);
        self.server.wait().ok();
        self.watcher.kill().ok();
        self.watcher.wait().ok();
        std::fs::remove_dir_all(&self.dir).ok();
    }
}

/// The server in a process group of its own, together with its port mapper.
fn spawn_server(dir: &Path, port: u16, epmd_port: u16) -> Child {
    let log = |name: &str| std::fs::File::create(dir.join(name)).unwrap();
    let mut command = command("/bin/sh", dir, port, epmd_port);
    command
        .args(["-c", "epmd -port \"$ERL_EPMD_PORT\" -address 127.0.0.1 & exec \"$0\"", SERVER])
        .stdin(Stdio::null())
        .stdout(log("stdout"))
        .stderr(log("stderr"))
        .process_group(0)
        .spawn()
        .unwrap()
}

fn watch(server: &Child, dir: &Path) -> Child {
    Command::new("/bin/sh")
        .args(["-c", "read -r _; kill -s KILL -- \"-$0\"; rm -rf -- \"$1\"", &server.id().to_string()])
        .arg(dir)
        .stdin(Stdio::piped())
        // Ctrl-C reaches the whole group of the tests; the watcher must outlive that.
        .process_group(0)
        .spawn()
        .unwrap()
}

/// Sends a signal to the server's process group.
fn signal(signal: &str, server: &Child) {
    Command::new("kill").args([&format!("-{signal}"), "--", &format!("-{}", server.id())]).status().unwrap();
}

fn command(program: &str, dir: &Path, port: u16, epmd_port: u16) -> Command {
    let mut command = Command::new(program);
    let place = |name: &str| dir.join(name);
    command
        .env("HOME", place("home"))
        .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
        .env("RABBITMQ_NODENAME", format!("muster{port}@localhost"))
        .env("RABBITMQ_NODE_PORT", port.to_string())
        .env("RABBITMQ_DIST_PORT", (port + 1).to_string())
        .env("RABBITMQ_CTL_DIST_PORT_MIN", (port + 2).to_string())
        .env("RABBITMQ_CTL_DIST_PORT_MAX", (port + 9).to_string())
        .env("RABBITMQ_MNESIA_BASE", place("mnesia"))
        .env("RABBITMQ_LOG_BASE", place("log"))
        .env("RABBITMQ_CONFIG_FILE", place("rabbitmq.conf"))
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", place("enabled_plugins"))
        .env("RABBITMQ_GENERATED_CONFIG_DIR", place("config"))
        .env("RABBITMQ_ADVANCED_CONFIG_FILE", place("advanced.config"))
        .env("RABBITMQ_PID_FILE", place("pid"))
        .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-kernel inet_dist_use_interface {127,0,0,1}")
        .env("ERL_EPMD_PORT", epmd_port.to_string())
        .env("ERL_EPMD_ADDRESS", "127.0.0.1")
        .env("LANG", "C.UTF-8");
    command
}

/// A port of which the next nine are free as well, below the range from which outgoing connections draw theirs.
fn free_port() -> u16 {
    loop {
        let port = fastrand::u16(1_500..3_100) * 10;
        if (port..port + 10).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return port;
        }
    }
}
