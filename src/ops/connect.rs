//! From the configuration to a pipeline: makes the systems, checks the connections against their schemas, and opens the
//! broker and the store.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::audit;
use crate::alerts::Alerts;
use crate::broker::amqp::{AmqpBroker, AmqpSettings};
use crate::broker::embedded::EmbeddedBroker;
use crate::config::{BrokerConfig, Config, Infrastructure, StoreConfig};
use crate::database::Database;
use crate::domain::SystemName;
use crate::domain::circuit::Policy;
use crate::stages::{Pipeline, Settings};
use crate::store::Store;
use crate::store::embedded::EmbeddedStore;
use crate::store::redis::{RedisSettings, RedisStore};
use crate::systems::budget::CallBudget;
use crate::telemetry::metrics::Metrics;

mod calls;
mod systems;

pub use systems::{Connections, Systems, Unfit, connections, preflight, systems, systems_with};

use calls::SharedCalls;

/// The pipeline over RabbitMQ and Redis.
pub type Distributed = Pipeline<AmqpBroker, RedisStore>;

/// The pipeline over one file.
pub type Embedded = Pipeline<EmbeddedBroker, EmbeddedStore>;

/// Messages of one queue that a stage holds unsettled at most, where no `[broker]` says it.
pub(super) const EMBEDDED_PREFETCH: u16 = 100;

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
    let store = redis(store)?.keeping(config.retention.store);
    let systems = systems_with(config, shared_calls(&store))?;
    let connections = connections(config, &systems)?;
    for warning in store.verify().await? {
        tracing::warn!("{warning}");
    }
    let settings = settings(config, broker.prefetch);
    let pipeline = pipeline(amqp(broker)?, store, systems, connections, settings, metrics);
    Ok(Pipeline { alerts: Arc::new(Alerts::new(&config.alerts)?), ..pipeline })
}

/// Opens the file.
async fn embedded(config: &Config, path: &Path, metrics: Arc<Metrics>) -> anyhow::Result<(Embedded, Database)> {
    // Before the file is made: a configuration that cannot work says so first.
    connections(config, &systems(config)?)?;
    let database = Database::open(path)?;
    let (broker, store) =
        (EmbeddedBroker::open(&database), EmbeddedStore::open(&database).await?.keeping(config.retention.store));
    let systems = systems_with(config, shared_calls(&store))?;
    let connections = connections(config, &systems)?;
    let settings = settings(config, EMBEDDED_PREFETCH);
    let pipeline = pipeline(broker, store, systems, connections, settings, metrics);
    Ok((Pipeline { alerts: Arc::new(Alerts::new(&config.alerts)?), ..pipeline }, database))
}

/// Counts of calls that all processes on a store share.
fn shared_calls<S: Store + Clone>(store: &S) -> impl Fn(&SystemName) -> Arc<dyn CallBudget> {
    let store = store.clone();
    move |system| Arc::new(SharedCalls { store: store.clone(), system: system.clone() })
}

fn pipeline<B, S>(
    broker: B,
    store: S,
    systems: Systems,
    connections: Connections,
    settings: Settings,
    metrics: Arc<Metrics>,
) -> Pipeline<B, S> {
    let (systems, connections) = (Arc::new(systems.by_name), Arc::new(connections));
    Pipeline {
        broker,
        store,
        systems,
        connections,
        settings,
        metrics,
        suspect: Arc::default(),
        circuits: Arc::default(),
        alerts: Arc::default(),
    }
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

pub(super) fn settings(config: &Config, prefetch: u16) -> Settings {
    Settings {
        lease: config.writer.lease,
        deadline: config.writer.request_timeout,
        attempts: config.writer.attempts,
        concurrency: usize::try_from(config.writer.concurrency).unwrap_or(usize::MAX),
        prefetch,
        drain: Duration::from_secs(20),
        circuit: Policy::default(),
        instance: instance(),
    }
}

/// `host/pid`.
pub fn instance() -> String {
    format!("{}/{}", host(), std::process::id())
}

/// Who acts: the person whose act is under way, see [`audit::recorded`]; else whoever runs this command, `user@host`.
pub fn operator() -> String {
    audit::acting().unwrap_or_else(operator_of_the_process)
}

/// Who runs this program: `user@host`.
pub(crate) fn operator_of_the_process() -> String {
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_else(|_| "unknown".to_owned());
    format!("{user}@{}", host())
}

fn host() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    if host.is_empty() { "localhost".to_owned() } else { host.to_owned() }
}
