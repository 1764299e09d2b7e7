//! What keeps messages and links between the stages: `[broker]` and `[store]`, the servers that all processes of an
//! installation share, or without them one file.

use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::endpoint::{PATH, PREFIX, Secret, ServerUrl, ca_file};
use super::shape::{Flag, Sub, Whole};
use super::table::Table;

/// What keeps messages and links between the stages.
#[derive(Debug, Clone)]
pub enum Infrastructure {
    /// Servers, shared by any number of processes.
    Servers {
        /// The message broker.
        broker: Box<BrokerConfig>,
        /// The state store.
        store: Box<StoreConfig>,
    },
    /// The embedded mode: one file, at work for one process at a time.
    File {
        /// Where it is; made by the first command that works on it.
        path: PathBuf,
    },
}

impl Infrastructure {
    /// The file of the embedded mode.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Servers { .. } => None,
            Self::File { path } => Some(path),
        }
    }
}

/// A RabbitMQ.
#[derive(Debug, Clone)]
pub struct BrokerConfig {
    /// `amqp` or `amqps`, host, port, user and virtual host; never a password.
    pub url: Url,
    /// The user's password.
    pub password: Option<SecretString>,
    /// Begins every name of ours at the broker.
    pub prefix: String,
    /// Whether processes declare what is missing of the topology; `false` where their account may not.
    pub declare: bool,
    /// Certificates to trust instead of the platform's.
    pub ca_file: Option<PathBuf>,
    /// Messages of one queue that a worker holds unsettled at most.
    pub prefetch: u16,
}

/// A Redis or Valkey.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// `redis` or `rediss`, host, port, user and database; never a password.
    pub url: Url,
    /// The user's password.
    pub password: Option<SecretString>,
    /// Begins every key of ours in the store.
    pub prefix: String,
    /// Certificates to trust instead of the platform's.
    pub ca_file: Option<PathBuf>,
}

impl BrokerConfig {
    /// The URL with the password in it, as the client wants it.
    pub fn url_with_password(&self) -> SecretString {
        with_password(&self.url, self.password.as_ref())
    }
}

impl StoreConfig {
    /// The URL with the password in it, as the client wants it.
    pub fn url_with_password(&self) -> SecretString {
        with_password(&self.url, self.password.as_ref())
    }
}

fn with_password(url: &Url, password: Option<&SecretString>) -> SecretString {
    let mut url = url.clone();
    if let Some(password) = password {
        url.set_password(Some(password.expose_secret())).expect("the configuration accepts only URLs that have a host");
    }
    SecretString::from(String::from(url))
}

/// The name of the file in the embedded mode, where the configuration says nothing.
const FILE: &str = "muster.db";

/// Reads `file`, `[broker]` and `[store]`: the two tables come together, or there is one file instead.
pub(super) fn infrastructure(table: &mut Table<'_, '_>) -> Option<Infrastructure> {
    let file = table.default(
        "file",
        PATH,
        FILE.to_owned(),
        "Without [broker] and [store]: the one file that holds queues and links. Its path begins at this file's folder.",
    );
    let broker = table.optional(
        "broker",
        Sub(broker),
        "The RabbitMQ that all processes share. Only together with [store]; without both, one file takes their place.",
    );
    let store = table.optional(
        "store",
        Sub(store),
        "The Redis or Valkey that all processes share. Only together with [broker].",
    );
    for (alone, other, server) in [("broker", "store", "Redis"), ("store", "broker", "RabbitMQ")] {
        if table.has(alone) && !table.has(other) {
            let remedy = format!(
                "add [{other}] with the url of a {server}, or take [{alone}] out: without both, one file takes their place"
            );
            table.missing_beside(alone, other, format!("is missing beside [{alone}]"), remedy);
        }
    }
    if let Some(server) = ["broker", "store"].into_iter().find(|server| table.has(server))
        && table.has("file")
    {
        let remedy = "take it out, or take out [broker] and [store] to keep everything in this file";
        table.mistake("file", format!("has no meaning beside [{server}]"), remedy);
    }
    match (broker?, store?) {
        (Some(broker), Some(store)) => {
            Some(Infrastructure::Servers { broker: Box::new(broker), store: Box::new(store) })
        }
        (None, None) => Some(Infrastructure::File { path: table.path(&file?) }),
        (Some(_), None) | (None, Some(_)) => None,
    }
}

fn broker(table: &mut Table<'_, '_>) -> Option<BrokerConfig> {
    let url = table.required(
        "url",
        ServerUrl {
            schemes: ["amqp", "amqps"],
            example: "amqp://muster@localhost:5672/%2f",
            variable: "BROKER_PASSWORD",
        },
        "The broker: url = \"amqp://user@host:port/virtual-host\", or amqps for TLS.",
    );
    let password =
        table.optional("password", Secret { variable: "BROKER_PASSWORD" }, "The password of the URL's user.");
    let prefix = table.default(
        "prefix",
        PREFIX,
        "muster".to_owned(),
        "Begins every queue and exchange name, so that installations can share a broker.",
    );
    let declare = table.default(
        "declare",
        Flag,
        true,
        "Whether processes declare missing queues. If false, `muster topology` has to be run by an account that may.",
    );
    let ca_file = ca_file(table);
    let prefetch = table.default(
        "prefetch",
        Whole(1..=5_000_u16),
        100,
        "Messages of one queue that a worker holds unsettled at most; a bulk message has up to 200 accounts.",
    );
    let (url, password) = (url?, password?);
    if password.is_some() && url.username().is_empty() {
        table.mistake("url", "there is a password, but the URL names no user", "write amqp://user@host");
        return None;
    }
    Some(BrokerConfig { url, password, prefix: prefix?, declare: declare?, ca_file: ca_file?, prefetch: prefetch? })
}

fn store(table: &mut Table<'_, '_>) -> Option<StoreConfig> {
    let url = table.required(
        "url",
        ServerUrl { schemes: ["redis", "rediss"], example: "redis://localhost:6379/0", variable: "STORE_PASSWORD" },
        "The store: url = \"redis://host:port/database\", or rediss for TLS.",
    );
    let password = table.optional(
        "password",
        Secret { variable: "STORE_PASSWORD" },
        "The password, of the URL's user if it names one.",
    );
    let prefix = table.default(
        "prefix",
        PREFIX,
        "muster".to_owned(),
        "Begins every key, so that installations can share a store.",
    );
    let ca_file = ca_file(table);
    let url = url?;
    let database = url.path().trim_start_matches('/');
    if !database.is_empty() && database.parse::<u16>().is_err() {
        table.mistake("url", "the path of the URL is not the number of a database", "write redis://host:port/0");
        return None;
    }
    Some(StoreConfig { url, password: password?, prefix: prefix?, ca_file: ca_file? })
}
