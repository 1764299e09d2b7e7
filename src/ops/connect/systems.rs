//! The connectors of a configuration: one system is one login, one clock and one budget, and has a connector for each
//! side of a connection that its records are.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::{Config, End};
use crate::domain::{ConnectionName, Rules, Side, Sides, SystemName};
use crate::stages::{Connection, connection};
use crate::systems::budget::{CallBudget, OwnCalls};
use crate::systems::kind::{Records, SetUp};
use crate::systems::{Finding, Rights, SharedSystem};

/// What the systems cannot do of what is configured, or why one of them cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct Unfit(pub Vec<String>);

/// The configured systems.
pub struct Systems {
    /// One connector of each: for reports and remedies, which concern the system as a whole.
    pub by_name: BTreeMap<SystemName, SharedSystem>,
    set_up: BTreeMap<SystemName, Box<dyn SetUp>>,
}

/// Makes the systems, each of which counts its calls in this process alone. Nothing is called yet.
pub fn systems(config: &Config) -> Result<Systems, Unfit> {
    systems_with(config, |_| Arc::<OwnCalls>::default())
}

/// Makes the systems. Nothing is called yet. `calls` says who counts the calls of each.
pub fn systems_with(config: &Config, calls: impl Fn(&SystemName) -> Arc<dyn CallBudget>) -> Result<Systems, Unfit> {
    let mut systems = Systems { by_name: BTreeMap::new(), set_up: BTreeMap::new() };
    let mut problems = Vec::new();
    for (name, system) in &config.systems {
        match system.kind.set_up(name, calls(name)) {
            Ok(set_up) => {
                let usual = system.kind.objects().first().copied().unwrap_or_default();
                let records = Records { object: usual.to_owned(), partner_field: None, partner_requires: None };
                systems.by_name.insert(name.clone(), set_up.connector(&records));
                systems.set_up.insert(name.clone(), set_up);
            }
            Err(error) => problems.push(format!("system {name}: {error}")),
        }
    }
    if problems.is_empty() { Ok(systems) } else { Err(Unfit(problems)) }
}

impl Systems {
    /// The connector of one end of a connection.
    fn end(&self, end: &End) -> SharedSystem {
        let partner_field = end.partner.as_ref().map(|field| field.name.clone());
        let partner_requires = end.partner.as_ref().and_then(|field| field.requires.clone());
        self.set_up[&end.system].connector(&Records { object: end.object.clone(), partner_field, partner_requires })
    }
}

/// The connections of a configuration.
pub type Connections = BTreeMap<ConnectionName, Arc<Connection>>;

/// Puts the connections together.
pub fn connections(config: &Config, systems: &Systems) -> Result<Connections, Unfit> {
    let mut connections = BTreeMap::new();
    let mut problems = Vec::new();
    for (name, connection_config) in &config.connections {
        let ends = Sides::from_fn(|side| systems.end(&connection_config.ends[side]));
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
