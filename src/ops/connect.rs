//! From the configuration to a pipeline: makes the systems, checks the connections against their schemas, and opens the
//! broker and the store.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::broker::amqp::{AmqpBroker, AmqpSettings};
use crate::broker::embedded::EmbeddedBroker;
use crate::config::{
    BrokerConfig, Config, End, Infrastructure, PartnerField, SalesforceAuth, SalesforceConfig, ScimAuth, StoreConfig,
    SystemKind,
};
use crate::database::Database;
use crate::domain::{ConnectionName, Rules, Side, Sides, SystemName};
use crate::stages::{Connection, Pipeline, Settings, connection};
use crate::store::embedded::EmbeddedStore;
use crate::store::redis::{RedisSettings, RedisStore};
use crate::systems::http::SetupError;
use crate::systems::salesforce::{Login, Object, Org, OrgSettings, RecordSettings, Salesforce};
use crate::systems::scim::{Scim, ScimSettings};
use crate::systems::{Finding, Rights, SharedSystem};
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

/// The configured systems. One of several kinds of record has a connector for each side that it is an end of; they share
/// its login, its clock and its count of calls.
pub struct Systems {
    /// One connector of each: for reports and remedies, which concern the system as a whole.
    pub by_name: BTreeMap<SystemName, SharedSystem>,
    orgs: BTreeMap<SystemName, Org>,
}

/// Makes the systems. Nothing is called yet.
pub fn systems(config: &Config) -> Result<Systems, Unfit> {
    let mut systems = Systems { by_name: BTreeMap::new(), orgs: BTreeMap::new() };
    let mut problems = Vec::new();
    for (name, system) in &config.systems {
        if let Err(error) = systems.add(name, &system.kind) {
            problems.push(format!("system {name}: {error}"));
        }
    }
    if problems.is_empty() { Ok(systems) } else { Err(Unfit(problems)) }
}

impl Systems {
    fn add(&mut self, name: &SystemName, kind: &SystemKind) -> Result<(), SetupError> {
        let system: SharedSystem = match kind {
            SystemKind::Salesforce(config) => {
                let org = Org::new(OrgSettings {
                    url: config.url.clone(),
                    api_version: config.api_version.clone(),
                    login: login(&config.auth),
                    page_size: usize::try_from(config.page_size).unwrap_or(usize::MAX),
                    request_timeout: config.request_timeout,
                    ca_file: config.ca_file.clone(),
                })?;
                let users = Salesforce::new(&org, records(config, Object::User, None));
                self.orgs.insert(name.clone(), org);
                Arc::new(users)
            }
            SystemKind::Scim(config) => Arc::new(Scim::new(ScimSettings {
                name: name.clone(),
                url: config.url.clone(),
                token: match &config.auth {
                    ScimAuth::Bearer { token } => Some(token.clone()),
                    ScimAuth::None => None,
                },
                page_size: usize::try_from(config.page_size).unwrap_or(usize::MAX),
                concurrency: usize::try_from(config.concurrency).unwrap_or(usize::MAX),
                request_timeout: config.request_timeout,
                ca_file: config.ca_file.clone(),
            })?),
        };
        self.by_name.insert(name.clone(), system);
        Ok(())
    }

    /// The connector of one end of a connection.
    fn end(&self, config: &Config, end: &End) -> SharedSystem {
        match (&config.systems[&end.system].kind, self.orgs.get(&end.system)) {
            (SystemKind::Salesforce(system), Some(org)) => {
                let object = Object::named(&end.object).expect("the configuration offers no others");
                Arc::new(Salesforce::new(org, records(system, object, end.partner.as_ref())))
            }
            _ => Arc::clone(&self.by_name[&end.system]),
        }
    }
}

fn login(auth: &SalesforceAuth) -> Login {
    match auth.clone() {
        SalesforceAuth::ClientCredentials { client_id, client_secret } => {
            Login::ClientCredentials { client_id, client_secret }
        }
        SalesforceAuth::JwtBearer { client_id, username, key, audience } => {
            Login::JwtBearer { client_id, username, key, audience }
        }
    }
}

fn records(config: &SalesforceConfig, object: Object, partner: Option<&PartnerField>) -> RecordSettings {
    let defaults = config.defaults.iter().filter(|((of, _), _)| of == object.name());
    RecordSettings {
        object,
        overlap: SALESFORCE_OVERLAP,
        fields: config.fields.clone(),
        defaults: defaults.map(|((_, field), value)| (field.clone(), value.clone())).collect(),
        partner_field: partner.map(|field| field.name.clone()),
    }
}

/// The connections of a configuration.
pub type Connections = BTreeMap<ConnectionName, Arc<Connection>>;

/// Puts the connections together.
pub fn connections(config: &Config, systems: &Systems) -> Result<Connections, Unfit> {
    let mut connections = BTreeMap::new();
    let mut problems = Vec::new();
    for (name, connection_config) in &config.connections {
        let ends = Sides::from_fn(|side| systems.end(config, &connection_config.ends[side]));
        match connection::connect(connection_config, ends) {
            Ok(connection) => drop(connections.insert(name.clone(), Arc::new(connection))),
            Err(found) => problems.extend(found.into_iter().map(|problem| format!("connection {name}: {problem}"))),
        }
    }
    if problems.is_empty() { Ok(connections) } else { Err(Unfit(problems)) }
}

/// Asks every system for credentials, rights and fields: for each kind of record that a connection has to do with, and
/// for what it writes there. The same finding of two connections is given once.
pub async fn preflight(systems: &Systems, connections: &Connections) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut note = |system: &SystemName, found: Vec<Finding>| {
        for finding in found {
            let finding = Finding { subject: format!("{system}: {}", finding.subject), ..finding };
            if !findings.contains(&finding) {
                findings.push(finding);
            }
        }
    };
    let mut asked: Vec<SharedSystem> = Vec::new();
    let mut is_new = |system: &SharedSystem| {
        let known = asked.iter().any(|known| Arc::ptr_eq(known, system));
        asked.push(Arc::clone(system));
        !known
    };
    for (name, system) in &systems.by_name {
        let ends = connections
            .values()
            .flat_map(|connection| Side::BOTH.into_iter().map(move |side| (connection, side)))
            .filter(|(connection, side)| connection.systems[*side] == *name);
        let mut connected = false;
        for (connection, side) in ends {
            connected = true;
            let end = &connection.ends[side];
            if is_new(end) {
                note(name, end.preflight().await);
            }
            if let Some(rights) = rights(connection.template(), side) {
                note(name, end.prove_rights(&rights).await);
            }
        }
        if !connected {
            note(name, system.preflight().await);
        }
    }
    findings
}

/// What a connection does to one of its sides; `None` if that is only read.
fn rights(rules: &Rules, side: Side) -> Option<Rights> {
    let written = rules.attributes.values().filter(|rule| rule.flow.writes(side));
    let attributes: Vec<_> = written.map(|rule| rule.names[side].clone()).collect();
    (!attributes.is_empty()).then_some(Rights { attributes, creates: rules.create[side] })
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
    Ok(pipeline(amqp(broker)?, store, systems.by_name, connections, settings, metrics))
}

/// Opens the file.
async fn embedded(config: &Config, path: &Path, metrics: Arc<Metrics>) -> anyhow::Result<(Embedded, Database)> {
    // Before the file is made: a configuration that cannot work says so first.
    let systems = systems(config)?;
    let connections = connections(config, &systems)?;
    let database = Database::open(path)?;
    let (broker, store) = (EmbeddedBroker::open(&database), EmbeddedStore::open(&database).await?);
    let settings = settings(config, EMBEDDED_PREFETCH);
    Ok((pipeline(broker, store, systems.by_name, connections, settings, metrics), database))
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
