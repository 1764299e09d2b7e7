//! From the configuration of a connection and its two systems to the rules that the domain works by.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Connection;
use crate::config::{Conflict, ConnectionConfig, Direction, Schedule};
use crate::domain::rules::{AttributeRule, Flow, Leavers, Policy, Rules};
use crate::domain::{AttributePath, DigestKey, Epoch, Side, Sides};
use crate::systems::SharedSystem;

/// Puts a connection together. The errors say, in sentences, what the systems cannot do of what is configured.
pub fn connect(config: &ConnectionConfig, ends: Sides<SharedSystem>) -> Result<Connection, Vec<String>> {
    let schemas = Sides::from_fn(|side| ends[side].schema());
    let mut problems = Vec::new();
    let mut attributes = BTreeMap::new();
    let active = AttributePath::active();
    let mut candidates: Vec<AttributePath> = match &config.attributes {
        Some(listed) => listed.keys().cloned().collect(),
        None => schemas.a.attributes.iter().map(|attribute| attribute.path.clone()).collect(),
    };
    candidates.retain(|path| *path != active);
    candidates.push(active.clone());
    for path in candidates {
        let listed = config.attributes.is_some() && path != active;
        let plain = || crate::config::AttributeConfig::plain(&path, config.direction.flow());
        let mapped = config.attribute(&path).filter(|_| path != active).unwrap_or_else(plain);
        let found = Sides::from_fn(|side| schemas[side].attribute(&mapped.names[side]));
        let (Some(a), Some(b)) = (found.a, found.b) else {
            for side in Side::BOTH.into_iter().filter(|side| listed && found[*side].is_none()) {
                problems.push(format!(
                    "attribute {path}: {} has no attribute {}",
                    config.ends[side].system, mapped.names[side]
                ));
            }
            continue;
        };
        let writable = Sides { a: a.writable && schemas.a.writable, b: b.writable && schemas.b.writable };
        let flow = match (mapped.flow, writable) {
            (Flow::Both, Sides { a: false, b: true }) => Flow::Towards(Side::B),
            (Flow::Both, Sides { a: true, b: false }) => Flow::Towards(Side::A),
            (flow, _) => flow,
        };
        if Side::BOTH.iter().any(|side| flow.writes(*side) && !writable[*side]) {
            if listed {
                problems.push(format!("attribute {path}: it cannot be written in the direction that is configured"));
            }
            continue;
        }
        let flow = match (path == active, config.leavers) {
            (true, Leavers::Report) => Flow::WatchedOn(source(config.direction)),
            _ => flow,
        };
        let rule = AttributeRule {
            names: mapped.names,
            flow,
            policy: policy(config.direction, mapped.owner),
            drift: mapped.drift,
            occasion: mapped.occasion,
            comparison: Sides { a: a.comparison, b: b.comparison },
        };
        attributes.insert(path, rule);
    }
    if let Direction::TwoWay { conflict: Conflict::LastWrite, .. } = config.direction {
        // The domain can decide by time, but nobody compares the two systems' clocks yet.
        problems.push(
            "conflict = \"last_write\" is not offered yet; leave it out, so that the default system wins".to_owned(),
        );
    }
    for side in Side::BOTH {
        if config.direction.flow().writes(side) && !schemas[side].writable {
            problems.push(format!("{} cannot be written to; turn the direction round", config.ends[side].system));
        }
    }
    if problems.is_empty() && !attributes.values().any(|rule| rule.flow.writes(Side::A) || rule.flow.writes(Side::B)) {
        problems.push("the two systems have no attribute in common that could flow".to_owned());
    }
    if config.leavers == Leavers::Deactivate && !attributes.contains_key(&active) {
        problems.push(
            "leavers cannot be deactivated: one of the systems does not say whether an account is active".to_owned(),
        );
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let rules = Rules {
        connection: config.name.clone(),
        version: config.version,
        attributes,
        create: config.creates(),
        leavers: config.leavers,
        on_existing: config.on_existing,
        match_on: config.match_on.clone(),
        grain: Sides { a: schemas.a.grain, b: schemas.b.grain },
        // Replaced once the epoch is known; nothing is digested before.
        digest_key: DigestKey::new(&config.name, Epoch(0)),
    };
    let systems = Sides::from_fn(|side| config.ends[side].system.clone());
    Ok(Connection::new(systems, ends, every(config.schedule), rules))
}

fn every(schedule: Schedule) -> Option<Duration> {
    match schedule {
        Schedule::Manual => None,
        Schedule::Every(every) => Some(every),
    }
}

/// The side whose leavers matter.
fn source(direction: Direction) -> Side {
    match direction {
        Direction::AToB => Side::A,
        Direction::BToA => Side::B,
        Direction::TwoWay { default_side, .. } => default_side,
    }
}

fn policy(direction: Direction, owner: Option<Side>) -> Policy {
    match (direction, owner) {
        (_, Some(owner)) => Policy::DefaultSystem(owner),
        (Direction::TwoWay { default_side, .. }, None) => Policy::DefaultSystem(default_side),
        (direction, None) => Policy::DefaultSystem(source(direction)),
    }
}
