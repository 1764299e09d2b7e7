//! A connection, and how it is put together: from its configuration and its two systems to the rules that the domain works
//! by.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::partner::PartnerFields;
use crate::config::{Conflict, ConnectionConfig, Direction, ProtectedConfig};
use crate::domain::guard::Protected;
use crate::domain::mapping::Mapping;
use crate::domain::matching::MatchKey;
use crate::domain::rules::{AttributeRule, Drift, Flow, Leavers, Occasion, Policy, Rules};
use crate::domain::schedule::Schedule;
use crate::domain::{AccountId, AttributePath, ConnectionName, DigestKey, Epoch, Side, Sides, Snapshot, SystemName};
use crate::expression::Scope;
use crate::systems::{Schema, SharedSystem};

use mapping::mapping;

mod circle;
mod law;
mod mapping;

/// A connection, ready to work with.
pub struct Connection {
    /// Its name.
    pub name: ConnectionName,
    /// The name of each side's system: its queues, its pauses, its budget.
    pub systems: Sides<SystemName>,
    /// Each side's connector, for the kind of record that this side keeps in step.
    pub ends: Sides<SharedSystem>,
    /// When it is read without being asked.
    pub schedule: Schedule,
    /// How long after its time a run that goes well may be missing before somebody is told (R70).
    pub overdue_after: Duration,
    /// Which accounts it is about; `None`: all.
    pub scope: Option<Scope>,
    /// Which accounts are spared, where a condition says so.
    pub protected: Option<Scope>,
    /// The fields by which accounts of each side name their partner, where the configuration names them.
    pub partners: Sides<Option<PartnerFields>>,
    /// How long changes are kept with what was decided of them; `None`: they are not.
    pub history: Option<Duration>,
    /// How long is kept what its writes overwrite, so that a run can be undone; `None`: it is not.
    pub undo: Option<Duration>,
    /// Its rules, except for the key of the digests, which changes with the epoch.
    pub(super) template: Rules,
    pub(super) keyed: Mutex<Option<(Epoch, Arc<Rules>)>>,
    /// The epoch in which this process knows that the accounts were matched.
    pub(super) matched: Mutex<Option<Epoch>>,
}

impl Connection {
    /// A connection with these rules, about all accounts, that runs only when asked.
    pub fn new(systems: Sides<SystemName>, ends: Sides<SharedSystem>, template: Rules) -> Self {
        let (name, schedule) = (template.connection.clone(), Schedule::Manual);
        let overdue_after = schedule.usual_patience();
        let partners = Sides::default();
        let (keyed, matched) = (Mutex::new(None), Mutex::new(None));
        Self {
            name,
            systems,
            ends,
            schedule,
            overdue_after,
            scope: None,
            protected: None,
            partners,
            history: None,
            undo: None,
            template,
            keyed,
            matched,
        }
    }

    /// The same connection between other connectors.
    pub fn between(&self, ends: Sides<SharedSystem>) -> Self {
        // Taken apart whole, so that a new rule cannot be forgotten here.
        let Self {
            name,
            systems,
            ends: _,
            schedule,
            overdue_after,
            scope,
            protected,
            partners,
            history,
            undo,
            template,
            keyed: _,
            matched: _,
        } = self;
        Self {
            name: name.clone(),
            systems: systems.clone(),
            ends,
            schedule: schedule.clone(),
            overdue_after: *overdue_after,
            scope: scope.clone(),
            protected: protected.clone(),
            partners: partners.clone(),
            history: *history,
            undo: *undo,
            template: template.clone(),
            keyed: Mutex::new(None),
            matched: Mutex::new(None),
        }
    }

    /// Whether an account that was seen on `side` is one of those that the connection is about; `None` if that cannot be
    /// told.
    pub fn fits(&self, side: Side, snapshot: &Snapshot) -> Option<bool> {
        match self.scope.as_ref().filter(|scope| scope.side() == side) {
            Some(scope) => scope.fits(snapshot),
            None => Some(true),
        }
    }

    /// Whether an account that was seen on `side` is one of those that are spared; `None` if that cannot be told, or no
    /// condition says so.
    pub fn protects(&self, side: Side, snapshot: &Snapshot) -> Option<bool> {
        match &self.protected {
            Some(condition) if condition.side() == side => condition.fits(snapshot),
            Some(_) => None,
            // It may have been one before the configuration changed.
            None => Some(false),
        }
    }

    /// Brings an account id of a side to the form that its system gives it; `None` if it is none.
    pub fn parse_id(&self, side: Side, id: &str) -> Option<AccountId> {
        (self.ends[side].schema().parse_id)(id)
    }

    /// The rules with the digests of this epoch.
    pub fn rules(&self, epoch: Epoch) -> Arc<Rules> {
        let mut keyed = self.keyed.lock().expect("nothing panics while the lock is held");
        if let Some((of, rules)) = keyed.as_ref()
            && *of == epoch
        {
            return Arc::clone(rules);
        }
        let rules = Arc::new(Rules { digest_key: DigestKey::new(&self.name, epoch), ..self.template.clone() });
        *keyed = Some((epoch, Arc::clone(&rules)));
        rules
    }

    /// Whether this process knows that the accounts were matched in this epoch.
    pub(super) fn known_as_matched(&self, epoch: Epoch) -> bool {
        *self.matched.lock().expect("nothing panics while the lock is held") == Some(epoch)
    }

    pub(super) fn know_as_matched(&self, epoch: Epoch) {
        *self.matched.lock().expect("nothing panics while the lock is held") = Some(epoch);
    }

    /// The rules without a usable digest key: for what does not look at digests.
    pub fn template(&self) -> &Rules {
        &self.template
    }
}

/// Puts a connection together. The errors say, in sentences, what the systems cannot do of what is configured.
pub fn connect(config: &ConnectionConfig, ends: Sides<SharedSystem>) -> Result<Connection, Vec<String>> {
    let schemas = Sides::from_fn(|side| ends[side].schema());
    let mut problems = Vec::new();
    let mut attributes = BTreeMap::new();
    let active = AttributePath::active();
    let leads = source(config.direction);
    let mut candidates: Vec<AttributePath> = match &config.attributes {
        Some(listed) => listed.keys().cloned().collect(),
        None => schemas.a.attributes.iter().map(|attribute| attribute.path.clone()).collect(),
    };
    let names_partners =
        |path: &AttributePath| Side::BOTH.iter().any(|side| schemas[*side].partner.as_ref() == Some(path));
    candidates
        .retain(|path| *path != active && (config.attributes.is_some() || !(is_private(path) || names_partners(path))));
    candidates.push(active.clone());
    for path in candidates {
        let listed = config.attributes.is_some() && path != active;
        let plain = || crate::config::AttributeConfig::plain(&path, config.direction.flow());
        let mapped = config.attribute(&path).filter(|_| path != active).unwrap_or_else(plain);
        if let Some(side) =
            Side::BOTH.into_iter().find(|side| schemas[*side].partner.as_ref() == Some(&mapped.names[*side]))
        {
            problems.push(format!(
                "attribute {path}: {} keeps the partner's id in {}; take it out of the attributes, and set write_back = true to \
                 have it filled",
                config.ends[side].system, mapped.names[side]
            ));
            continue;
        }
        let mut found = Sides::from_fn(|side| schemas[side].attribute(&mapped.names[side]));
        let is_watched = path == active && config.leavers != Leavers::Deactivate;
        if is_watched && found[leads].is_some() {
            // The other side need not know it.
            found[leads.other()] = found[leads];
        }
        // What is made of others has no name of its own where it comes from.
        let nameless = |side: &Side| mapped.made[side.other()].is_some() && !mapped.flow.writes(*side);
        if let Some(side) = Side::BOTH.into_iter().find(nameless) {
            found[side] = found[side.other()];
        }
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
        if let (Flow::Both, Some(_), Some(side)) =
            (mapped.flow, &mapped.values, Side::BOTH.into_iter().find(|side| !writable[*side]))
            && !is_watched
        {
            // Read from the one side, the table has other words in front than read from the other.
            problems.push(format!(
                "attribute {path}: {} cannot write it, so its `values` cannot be meant both ways; give it a direction",
                config.ends[side].system
            ));
            continue;
        }
        let flow = match (mapped.flow, writable) {
            _ if is_watched => Flow::WatchedOn(leads),
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
        let unseen = Side::BOTH.into_iter().find(|side| flow.contributes(*side) && !schemas[*side].readable);
        if let Some(side) = unseen {
            if listed || path != active {
                let system = &config.ends[side].system;
                problems.push(format!("attribute {path}: {system} cannot be read, so nothing can flow from it"));
            }
            continue;
        }
        let mapping = match mapping(&mapped, flow, Sides { a, b }, schemas) {
            Ok(mapping) => mapping,
            Err(found) => {
                problems.extend(found.into_iter().map(|problem| format!("attribute {path}: {problem}")));
                continue;
            }
        };
        let rule = AttributeRule {
            names: mapped.names,
            flow,
            policy: policy(config.direction, mapped.owner, mapped.conflict.filter(|_| flow == Flow::Both)),
            drift: mapped.drift,
            occasion: mapped.occasion,
            comparison: Sides { a: a.comparison, b: b.comparison },
            mapping,
        };
        attributes.insert(path, rule);
    }
    problems.extend(circle::problems(&attributes));
    for side in Side::BOTH {
        if config.ends[side].write_back && schemas[side].partner.is_none() {
            problems
                .push(format!("write_back: {} has no field that takes a partner's id later", config.ends[side].system));
        }
        match write_back(config, side, schemas) {
            Some((_, rule)) if attributes.values().any(|other| other.names[side] == rule.names[side]) => {
                problems.push(format!(
                    "attribute {}: it holds the partner's id, which write_back puts there; take it out of the attributes",
                    rule.names[side]
                ));
            }
            Some((path, rule)) => drop(attributes.insert(path, rule)),
            None => {}
        }
    }
    if let Some(scope) = &config.scope {
        problems.extend(scope.problems(schemas[scope.side()]));
    }
    if let ProtectedConfig::Fitting(condition) = &config.protected {
        let found = condition.problems(schemas[condition.side()]);
        problems.extend(found.into_iter().map(|problem| problem.replacen("scope", "protected", 1)));
    }
    if attributes.values().any(|rule| matches!(rule.policy, Policy::LastWrite { .. })) {
        for side in Side::BOTH.into_iter().filter(|side| !schemas[*side].stamps) {
            problems.push(format!(
                "conflict = \"last_write\" compares when accounts were changed, and {} does not say; leave it out, so that the \
                 default system wins",
                config.ends[side].system
            ));
        }
    }
    for side in Side::BOTH {
        if config.direction.flow().writes(side) && !schemas[side].writable {
            problems.push(format!("{} cannot be written to; turn the direction round", config.ends[side].system));
        }
    }
    for path in config.match_on.iter().flat_map(MatchKey::paths).filter(|path| !attributes.contains_key(path)) {
        let known = |side: Side| schemas[side].attribute(path).is_some();
        let system = Side::BOTH.into_iter().find(|side| !known(*side)).map_or("one side", |side| named(config, side));
        problems.push(format!(
            "match: {path} is not mapped, and {system} may not know it; match by an attribute of both, such as \"emails\""
        ));
    }
    for path in config.busy.urgent.iter().filter(|path| !path.is_active() && !attributes.contains_key(path)) {
        problems.push(format!("busy: urgent names {path}, which is not mapped; map it, or take it out"));
    }
    for side in Side::BOTH.into_iter().filter(|side| config.creates()[*side]) {
        let filled = |name: &AttributePath| {
            attributes.values().any(|rule| rule.names[side] == *name && rule.flow.writes(side)) || *name == active
        };
        for needed in schemas[side].attributes.iter().filter(|attribute| attribute.required && !filled(&attribute.path))
        {
            problems.push(format!(
                "no account can be created in {} without {}; map it, or give a default for it in the table of the system",
                config.ends[side].system, needed.path
            ));
        }
    }
    for side in Side::BOTH.into_iter().filter(|side| config.creates()[*side]) {
        let requires = config.ends[side].partner.as_ref().and_then(|partner| partner.requires.as_ref());
        if let Some(requires) = requires {
            problems.push(format!(
                "partner_requires: accounts created in {} would have no {requires}, which only people fill; set create = \
                 \"manual\", or leave it out",
                config.ends[side].system
            ));
        }
    }
    if problems.is_empty() && !attributes.values().any(|rule| rule.flow.writes(Side::A) || rule.flow.writes(Side::B)) {
        problems.push("the two systems have no attribute in common that could flow".to_owned());
    }
    if config.leavers == Leavers::Deactivate && !attributes.contains_key(&active) {
        let without = Side::BOTH.into_iter().find(|side| schemas[*side].attribute(&active).is_none());
        let without = without.map_or("one of the systems", |side| named(config, side));
        problems.push(format!(
            "leavers cannot be deactivated: {without} does not say whether an account is active; set leavers = \"report\""
        ));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let shown_by = Sides::from_fn(|side| {
        let name = schemas[side].shown_by.as_ref()?;
        attributes.iter().find(|(_, rule)| rule.names[side] == *name).map(|(path, _)| path.clone())
    });
    let rules = Rules {
        connection: config.name.clone(),
        version: config.version,
        attributes,
        create: config.creates(),
        leavers: config.leavers,
        leads,
        on_existing: config.on_existing,
        match_on: config.match_on.clone(),
        shown_by,
        write_only: Sides::from_fn(|side| !schemas[side].readable),
        whole: Sides::from_fn(|side| schemas[side].whole),
        budgets: config.budgets.clone(),
        protected: protected(config, schemas),
        busy: config.busy.clone(),
        breaker: config.loop_breaker,
        keeps_before: config.undo.is_some(),
        grain: Sides { a: schemas.a.grain, b: schemas.b.grain },
        // Replaced once the epoch is known; nothing is digested before.
        digest_key: DigestKey::new(&config.name, Epoch(0)),
    };
    let systems = Sides::from_fn(|side| config.ends[side].system.clone());
    let protected = match &config.protected {
        ProtectedConfig::Fitting(condition) => Some(condition.clone()),
        ProtectedConfig::Nobody | ProtectedConfig::Listed(_) => None,
    };
    Ok(Connection {
        scope: config.scope.clone(),
        protected,
        partners: Sides::from_fn(|side| config.ends[side].partner.as_ref().map(PartnerFields::new)),
        schedule: config.schedule.clone(),
        overdue_after: config.overdue_after,
        history: config.history,
        undo: config.undo,
        ..Connection::new(systems, ends, rules)
    })
}

/// Whether an attribute flows only where the file names it: a nickname may hide who somebody is (R29).
fn is_private(path: &AttributePath) -> bool {
    path.as_str() == "nickName"
}

/// How a person knows a side: by the name of its system, or of its records where they are not the usual ones.
fn named(config: &ConnectionConfig, side: Side) -> &str {
    let end = &config.ends[side];
    if end.object == "User" { end.system.as_str() } else { &end.object }
}

/// The rule by which the id of the account on the other side is written into the field of `side` that holds it: an
/// ordinary attribute that flows there, whichever way the connection flows, and fills what is empty.
fn write_back(
    config: &ConnectionConfig,
    side: Side,
    schemas: Sides<&Schema>,
) -> Option<(AttributePath, AttributeRule)> {
    let end = &config.ends[side];
    let mut names = Sides { a: AttributePath::id(), b: AttributePath::id() };
    names[side] = match &end.partner {
        Some(field) if field.write_back => AttributePath::native(&field.name).ok()?,
        None if end.write_back => schemas[side].partner.clone()?,
        Some(_) | None => return None,
    };
    // Under a name of its own, since both sides may do so, with fields of one name.
    let path = format!("id.{}", side.other()).parse().expect("letters and a dot are a path");
    let comparison = Sides::from_fn(|side| {
        schemas[side].attribute(&names[side]).map(|attribute| attribute.comparison).unwrap_or_default()
    });
    let rule = AttributeRule {
        names,
        flow: Flow::Towards(side),
        policy: Policy::DefaultSystem(side.other()),
        drift: Drift::Keep,
        occasion: Occasion::Fill,
        comparison,
        mapping: Mapping::default(),
    };
    Some((path, rule))
}

/// The accounts that are spared by name. A text that could be the id of either side is taken for both.
fn protected(config: &ConnectionConfig, schemas: Sides<&Schema>) -> Protected {
    let mut protected = Protected::default();
    let ProtectedConfig::Listed(listed) = &config.protected else { return protected };
    for text in listed {
        for side in Side::BOTH {
            let system = config.ends[side].system.as_str();
            let id = match text.split_once(':') {
                Some((named, id)) if named == system => Some(id),
                Some((named, _)) if named == config.ends[side.other()].system.as_str() => None,
                _ => Some(text.as_str()),
            };
            protected.accounts[side].extend(id.and_then(|id| (schemas[side].parse_id)(id)));
        }
        protected.names.push(text.clone());
    }
    protected
}

/// The side whose leavers matter.
fn source(direction: Direction) -> Side {
    match direction {
        Direction::AToB => Side::A,
        Direction::BToA => Side::B,
        Direction::TwoWay { default_side, .. } => default_side,
    }
}

fn policy(direction: Direction, owner: Option<Side>, of_attribute: Option<Conflict>) -> Policy {
    match (direction, owner) {
        (_, Some(owner)) => Policy::DefaultSystem(owner),
        (Direction::TwoWay { default_side: default, conflict }, None) => match of_attribute.unwrap_or(conflict) {
            Conflict::DefaultSystem => Policy::DefaultSystem(default),
            // Whoever decides puts in by how much.
            Conflict::LastWrite => Policy::LastWrite { default, a_ahead_ms: 0 },
        },
        (direction, None) => Policy::DefaultSystem(source(direction)),
    }
}
