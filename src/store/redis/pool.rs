//! Connections to the server. Each knows the run id of the server process it leads to, so that an answer from a server
//! that was restarted or replaced is never taken for one of the server before.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use deadpool::managed::{self, PoolConfig, PoolError, QueueMode, RecycleError, Timeouts};
use deadpool_redis::{Manager, Runtime};
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ErrorKind, IntoConnectionInfo, Pipeline, RedisError,
    RedisFuture, ServerErrorKind, TlsCertificates, Value,
};
use secrecy::{ExposeSecret, SecretString};

use crate::store::StoreError;

/// A connection that was used within this time is taken as alive without asking the server first. Should it be dead all
/// the same, the caller gets [`StoreError::Unavailable`] and all idle connections are renewed.
const TRUSTED_IDLE: Duration = Duration::from_secs(5);

/// Where the store is and how to speak with it.
#[derive(Debug, Clone)]
pub struct RedisSettings {
    /// `redis://host:port/database`, or `rediss://` for TLS. A password in it is refused: it would be printed.
    pub url: String,
    /// Name of the account; absent for the server's default one.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<SecretString>,
    /// First part of every key, `muster` by default: any text but braces and white space.
    pub prefix: String,
    /// Certificates, in PEM, of the authorities that may have signed the server's; absent for the machine's own.
    pub ca_file: Option<PathBuf>,
    /// Connections at most: one for each batch that is under way at once.
    pub pool_size: usize,
    /// Longest wait for the answer to a batch.
    pub response_timeout: Duration,
    /// Longest wait for a connection to be made.
    pub connect_timeout: Duration,
    /// Longest wait for a connection of the pool to become free.
    pub wait_timeout: Duration,
}

impl RedisSettings {
    /// The defaults for a server at this address.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            username: None,
            password: None,
            prefix: "muster".to_owned(),
            ca_file: None,
            pool_size: 16,
            response_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(2),
            wait_timeout: Duration::from_secs(5),
        }
    }

    fn client(&self) -> Result<Client, StoreError> {
        let url = redis::parse_redis_url(&self.url)
            .ok_or_else(|| StoreError::Unusable("the store's url is not of the form redis://host:port".to_owned()))?;
        if url.password().is_some() {
            return Err(StoreError::Unusable("the store's url must not carry the password".to_owned()));
        }
        let info = url.into_connection_info().map_err(failed)?;
        let mut account = info.redis_settings().clone();
        if let Some(username) = &self.username {
            account = account.set_username(username);
        }
        if let Some(password) = &self.password {
            account = account.set_password(password.expose_secret());
        }
        let info = info.set_redis_settings(account);
        let Some(ca_file) = &self.ca_file else { return Client::open(info).map_err(failed) };
        let root_cert = std::fs::read(ca_file).map_err(|error| {
            StoreError::Unusable(format!("the store's authorities {} cannot be read: {error}", ca_file.display()))
        })?;
        Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert: Some(root_cert) }).map_err(failed)
    }
}

/// The connections of one process to the store.
#[derive(Clone)]
pub(super) struct Pool {
    connections: managed::Pool<Servers>,
    address: Arc<str>,
}

impl Pool {
    /// Connects to nothing yet.
    pub(super) fn new(settings: &RedisSettings) -> Result<Self, StoreError> {
        let client = settings.client()?;
        let info = client.get_connection_info().clone();
        let address = match info.addr() {
            ConnectionAddr::TcpTls { .. } => format!("{} with TLS", info.addr()),
            _ => info.addr().to_string(),
        };
        // Set on purpose: the crate's own 500 ms are too short for a batch on a busy server.
        let timeouts = AsyncConnectionConfig::new()
            .set_response_timeout(Some(settings.response_timeout))
            .set_connection_timeout(Some(settings.connect_timeout));
        let manager = Manager::new_with_config(info, timeouts).map_err(failed)?;
        let mut config = PoolConfig::new(settings.pool_size.max(1));
        config.timeouts = Timeouts {
            wait: Some(settings.wait_timeout),
            // Two round trips follow the connection: the greeting and the run id.
            create: Some(settings.connect_timeout + settings.response_timeout),
            recycle: Some(settings.response_timeout),
        };
        // The connection used last is the likeliest to be alive.
        config.queue_mode = QueueMode::Lifo;
        let connections = managed::Pool::builder(Servers { manager, generation: Arc::default() })
            .config(config)
            .runtime(Runtime::Tokio1)
            .build()
            .expect("a runtime is given, and nothing else can be missing");
        Ok(Self { connections, address: address.into() })
    }

    /// Lends a connection, for one batch.
    pub(super) async fn lend(&self) -> Result<managed::Object<Servers>, StoreError> {
        self.connections.get().await.map_err(|error| match error {
            PoolError::Backend(error) => failed(error),
            PoolError::Timeout(stage) => {
                StoreError::Unavailable(format!("no connection to {} in time ({stage:?})", self.address))
            }
            other => StoreError::Unavailable(other.to_string()),
        })
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pool").field(&self.address).finish()
    }
}

/// Makes connections and looks after them.
#[derive(Debug)]
pub(super) struct Servers {
    manager: Manager,
    /// Counts the connections that were found dead: those made before the last such find are not lent any more.
    generation: Arc<AtomicU64>,
}

/// A connection to one server process. It does not reconnect by itself, so the run id holds for its whole life.
pub(super) struct Connected {
    connection: MultiplexedConnection,
    /// The server's own id of its process.
    pub(super) run_id: Arc<str>,
    made_in: u64,
    generation: Arc<AtomicU64>,
    used_at: Instant,
    /// Set when an answer did not come in time: it may come yet, and nobody waits for it.
    overdue: bool,
}

impl managed::Manager for Servers {
    type Type = Connected;
    type Error = RedisError;

    async fn create(&self) -> Result<Connected, RedisError> {
        let made_in = self.generation.load(Ordering::SeqCst);
        let mut connection = self.manager.create().await?;
        let info: String = redis::cmd("INFO").arg("server").query_async(&mut connection).await?;
        let run_id = info_field(&info, "run_id")
            .ok_or((ErrorKind::Client, "the server does not tell its run_id in INFO"))?
            .into();
        let generation = Arc::clone(&self.generation);
        Ok(Connected { connection, run_id, made_in, generation, used_at: Instant::now(), overdue: false })
    }

    async fn recycle(
        &self,
        connected: &mut Connected,
        metrics: &managed::Metrics,
    ) -> managed::RecycleResult<RedisError> {
        if connected.overdue || connected.made_in != self.generation.load(Ordering::SeqCst) {
            return Err(RecycleError::message("a connection of the same time was found dead"));
        }
        if connected.used_at.elapsed() < TRUSTED_IDLE {
            return Ok(());
        }
        self.manager.recycle(&mut connected.connection, metrics).await
    }
}

impl Connected {
    fn note<T>(&mut self, answer: &Result<T, RedisError>) {
        self.used_at = Instant::now();
        let Err(error) = answer else { return };
        if error.is_timeout() {
            self.overdue = true;
        } else if error.is_io_error() || error.is_unrecoverable_error() {
            // Of many that find out at once, one counts.
            let _already_counted =
                self.generation.compare_exchange(self.made_in, self.made_in + 1, Ordering::SeqCst, Ordering::SeqCst);
            self.overdue = true;
        }
    }
}

impl ConnectionLike for Connected {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async move {
            let answer = self.connection.req_packed_command(command).await;
            self.note(&answer);
            answer
        })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(async move {
            let answer = self.connection.req_packed_commands(pipeline, offset, count).await;
            self.note(&answer);
            answer
        })
    }

    fn get_db(&self) -> i64 {
        self.connection.get_db()
    }
}

/// The value of a field in the answer to `INFO`.
pub(super) fn info_field<'i>(info: &'i str, field: &str) -> Option<&'i str> {
    info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).map(str::trim)
}

/// What an error of the server or of the way to it means: never that something is absent.
pub(super) fn failed(error: RedisError) -> StoreError {
    let detail = error.detail().unwrap_or_default();
    match (error.kind(), error.code()) {
        // The crate quotes the answer in these, and the answer may hold somebody's data.
        (ErrorKind::Parse | ErrorKind::UnexpectedReturnType, _) => {
            StoreError::Unusable("the store answered in a form that this version does not know".to_owned())
        }
        (ErrorKind::InvalidClientConfig, _) => StoreError::Unusable(error.to_string()),
        (ErrorKind::Server(ServerErrorKind::NoPerm), _) => {
            StoreError::Unusable(format!("the store's account may not do this: {detail}"))
        }
        (_, Some("WRONGTYPE")) => StoreError::Unusable(
            "a key of the store has another type: is the prefix used by something else?".to_owned(),
        ),
        (_, Some(code)) => StoreError::Unavailable(format!("{code} {detail}").trim_end().to_owned()),
        _ => StoreError::Unavailable(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_refused_in_the_url_and_never_shown() {
        let mut settings = RedisSettings::new("redis://:hunter2@127.0.0.1/");
        let error = Pool::new(&settings).unwrap_err();
        assert!(matches!(error, StoreError::Unusable(_)));
        assert!(!error.to_string().contains("hunter2"));

        settings = RedisSettings::new("redis://127.0.0.1/");
        settings.password = Some("hunter2".into());
        let pool = Pool::new(&settings).unwrap();
        assert!(!format!("{settings:?} {pool:?} {:?}", pool.connections.manager()).contains("hunter2"));
    }

    #[test]
    fn fields_of_info_are_found_by_their_whole_name() {
        let info = "# Server\r\nredis_version:7.0.15\r\nrun_id:abc\r\nrun_id_of_another:x\r\n";
        assert_eq!(info_field(info, "run_id"), Some("abc"));
        assert_eq!(info_field(info, "redis_version"), Some("7.0.15"));
        assert_eq!(info_field(info, "version"), None);
    }
}
