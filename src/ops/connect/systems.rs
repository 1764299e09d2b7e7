//! The connectors of a configuration: one system is one login, one clock and one budget, and has a connector for each
//! side of a connection that its records are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{Config, End, PartnerField, SalesforceAuth, SalesforceConfig, ScimAuth, SystemKind};
use crate::domain::{ConnectionName, Rules, Side, Sides, SystemName};
use crate::stages::{Connection, connection};
use crate::systems::http::SetupError;
use crate::systems::salesforce::{Login, Object, Org, OrgSettings, RecordSettings, Salesforce};
use crate::systems::scim::{Scim, ScimSettings};
use crate::systems::{Finding, Rights, SharedSystem};

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

/// How far an incremental read of Salesforce goes back behind the last row that was read: room for transactions that
/// were open then and committed rows with older stamps.
const SALESFORCE_OVERLAP: Duration = Duration::from_secs(60);

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
