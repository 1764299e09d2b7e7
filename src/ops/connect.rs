//! From the configuration to a pipeline: makes the systems, checks the connections against their schemas, and opens the
//! broker and the store.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::broker::amqp::{AmqpBroker, AmqpSettings};
use crate::broker::embedded::EmbeddedBroker;
use crate::config::{BrokerConfig, Config, Infrastructure, ScimAuth, StoreConfig, SystemConfig, SystemKind};
use crate::database::Database;
use crate::domain::{ConnectionName, Sides, SystemName};
use crate::stages::{Connection, Pipeline, Settings, connection};
use crate::store::embedded::EmbeddedStore;
use crate::store::redis::{RedisSettings, RedisStore};
use crate::systems::SharedSystem;
use crate::systems::salesforce::{Object, Salesforce, SalesforceSettings};
use crate::systems::scim::{Scim, ScimSettings};
use crate::telemetry::metrics::Metrics;

/// The pipeline over RabbitMQ and Redis.
pub type Distributed = Pipeline<AmqpBroker, RedisStore>;

/// The pipeline over one file.
pub type Embedded = Pipeline<EmbeddedBroker, EmbeddedStore>;

/// Messages of one queue that a stage holds unsettled at most, where no `[broker]` says it.
const EMBEDDED_PREFETCH: u16 = 100;

/// How far an incremental read of Salesforce goes back behind the last row that was read: room for transactions that
/// were open then and committed rows with older stamps.
const SALESFORCE_OVERLAP: Duration = Duration::from_secs(60);

/// What the systems cannot do of what is configured, or why one of them cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct Unfit(pub Vec<String>);

/// Makes the systems. Nothing is called yet.
pub fn systems(config: &Config) -> Result<BTreeMap<SystemName, SharedSystem>, Unfit> {
    let mut systems = BTreeMap::new();
    let mut problems = Vec::new();
    for (name, system) in &config.systems {
        match make(system) {
            Ok(system) => drop(systems.insert(name.clone(), system)),
            Err(problem) => problems.push(format!("system {name}: {problem}")),
        }
    }
    if problems.is_empty() { Ok(systems) } else { Err(Unfit(problems)) }
}

fn make(system: &SystemConfig) -> Result<SharedSystem, String> {
    Ok(match &system.kind {
        SystemKind::Salesforce(config) => Arc::new(
            Salesforce::new(SalesforceSettings {
                name: system.name.clone(),
                url: config.url.clone(),
                api_version: config.api_version.clone(),
                client_id: config.auth.client_id.clone(),
                client_secret: config.auth.client_secret.clone(),
                object: Object::User,
                overlap: SALESFORCE_OVERLAP,
                fields: config.fields.clone(),
                page_size: usize::try_from(config.page_size).unwrap_or(usize::MAX),
                request_timeout: config.request_timeout,
                ca_file: config.ca_file.clone(),
            })
            .map_err(|error| error.to_string())?,
        ),
        SystemKind::Scim(config) => Arc::new(
            Scim::new(ScimSettings {
                name: system.name.clone(),
                url: config.url.clone(),
                token: match &config.auth {
                    ScimAuth::Bearer { token } => Some(token.clone()),
                    ScimAuth::None => None,
                },
                page_size: usize::try_from(config.page_size).unwrap_or(usize::MAX),
                concurrency: usize::try_from(config.concurrency).unwrap_or(usize::MAX),
                request_timeout: config.request_timeout,
                ca_file: config.ca_file.clone(),
            })
            .map_err(|error| error.to_string())?,
        ),
    })
}

/// Puts the connections together.
pub fn connections(
    config: &Config,
    systems: &BTreeMap<SystemName, SharedSystem>,
) -> Result<BTreeMap<ConnectionName, Arc<Connection>>, Unfit> {
    let mut connections = BTreeMap::new();
    let mut problems = Vec::new();
    for (name, connection_config) in &config.connections {
        let ends = Sides::from_fn(|side| Arc::clone(&systems[&connection_config.ends[side].system]));
        match connection::connect(connection_config, ends) {
            Ok(connection) => drop(connections.insert(name.clone(), Arc::new(connection))),
            Err(found) => problems.extend(found.into_iter().map(|problem| format!("connection {name}: {problem}"))),
        }
    }
    if problems.is_empty() { Ok(connections) } else { Err(Unfit(problems)) }
}

/// Which mode it is, for what differs between the two.
#[derive(Debug, Clone)]
pub enum Mode {
    /// Over servers: any number of processes work.
    Distributed,
    /// Over this file: one process works at a time.
    Embedded(Database),
}

/// An open pipeline.
pub enum Opened {
    /// Over RabbitMQ and Redis.
    Distributed(Distributed),
    /// Over one file.
    Embedded(Embedded, Database),
}

/// Opens what the configuration asks for.
pub async fn open(config: &Config, metrics: Arc<Metrics>) -> anyhow::Result<Opened> {
    Ok(match &config.infrastructure {
        Infrastructure::Servers { broker, store } => {
            Opened::Distributed(distributed(config, broker, store, metrics).await?)
        }
        Infrastructure::File { path } => {
            let (pipeline, database) = embedded(config, path, metrics).await?;
            Opened::Embedded(pipeline, database)
        }
    })
}

/// Opens the servers. The broker connects in the background; the store is checked, since a wrong setting there loses
/// data.
pub async fn distributed(
    config: &Config,
    broker: &BrokerConfig,
    store: &StoreConfig,
    metrics: Arc<Metrics>,
) -> anyhow::Result<Distributed> {
    let systems = systems(config)?;
    let connections = connections(config, &systems)?;
    let store = redis(store)?;
    for warning in store.verify().await? {
        tracing::warn!("{warning}");
    }
    let settings = settings(config, broker.prefetch);
    Ok(pipeline(amqp(broker)?, store, systems, connections, settings, metrics))
}

/// Opens the file.
async fn embedded(config: &Config, path: &Path, metrics: Arc<Metrics>) -> anyhow::Result<(Embedded, Database)> {
    // Before the file is made: a configuration that cannot work says so first.
    let systems = systems(config)?;
    let connections = connections(config, &systems)?;
    let database = Database::open(path)?;
    let (broker, store) = (EmbeddedBroker::open(&database), EmbeddedStore::open(&database).await?);
    let settings = settings(config, EMBEDDED_PREFETCH);
    Ok((pipeline(broker, store, systems, connections, settings, metrics), database))
}

fn pipeline<B, S>(
    broker: B,
    store: S,
    systems: BTreeMap<SystemName, SharedSystem>,
    connections: BTreeMap<ConnectionName, Arc<Connection>>,
    settings: Settings,
    metrics: Arc<Metrics>,
) -> Pipeline<B, S> {
    let (systems, connections) = (Arc::new(systems), Arc::new(connections));
    Pipeline { broker, store, systems, connections, settings, metrics, suspect: Arc::default() }
}

/// A broker of the configuration.
pub fn amqp(broker: &BrokerConfig) -> anyhow::Result<AmqpBroker> {
    let mut settings = AmqpSettings::new(&broker.url, broker.password.clone())?.with_prefix(&broker.prefix)?;
    settings.declare = broker.declare;
    settings.ca_file.clone_from(&broker.ca_file);
    Ok(AmqpBroker::open(settings))
}

/// A store of the configuration.
pub fn redis(store: &StoreConfig) -> anyhow::Result<RedisStore> {
    Ok(RedisStore::open(&RedisSettings {
        password: store.password.clone(),
        prefix: store.prefix.clone(),
        ca_file: store.ca_file.clone(),
        ..RedisSettings::new(store.url.as_str())
    })?)
}

fn settings(config: &Config, prefetch: u16) -> Settings {
    Settings {
        lease: config.writer.lease,
        deadline: config.writer.request_timeout,
        attempts: config.writer.attempts,
        concurrency: usize::try_from(config.writer.concurrency).unwrap_or(usize::MAX),
        prefetch,
        drain: Duration::from_secs(20),
        instance: instance(),
    }
}

/// `host/pid`.
pub fn instance() -> String {
    format!("{}/{}", host(), std::process::id())
}

/// Who runs this command: `user@host`.
pub fn operator() -> String {
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_else(|_| "unknown".to_owned());
    format!("{user}@{}", host())
}

fn host() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    if host.is_empty() { "localhost".to_owned() } else { host.to_owned() }
}
