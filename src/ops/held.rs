//! `muster held`: what guards have stopped, and what a person decides about it (B11). What is approved goes to the writers,
//! which decide against the state of the day; what is rejected is not written until the source changes it.

use std::collections::BTreeSet;

use super::explain::words::quoted;
use super::output;
use super::sync::UsageError;
use crate::broker::Broker;
use crate::domain::guard::Risk;
use crate::domain::hold::{HoldState, Stop};
use crate::domain::{AccountId, AttributePath, ConnectionName, Link, LinkId, Side, SystemName, Timestamp, Value};
use crate::stages::{Connection, Pipeline};
use crate::store::{Claim, Find, Store, StoreError};

mod decide;
mod key;
mod list;

pub use decide::{Decision, approve, reject};
pub(crate) use decide::{carry_out, meant};
pub(crate) use key::Key;
pub use list::list;

/// Links that are loaded, decided about or sent at a time.
const AT_ONCE: usize = 200;

/// How often a store that loses its memory meanwhile is asked again.
const EPOCHS: usize = 5;

/// What is meant.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only this connection.
    pub connection: Option<ConnectionName>,
    /// Only writes of this kind.
    pub risk: Option<Risk>,
    /// Only what concerns these accounts, as `<system>:<id>`; none: all of them.
    pub accounts: Vec<String>,
    /// Only these writes, as they were shown; none: all of them.
    pub(crate) writes: Vec<Key>,
    /// What was rejected or has expired, too.
    pub rejected: bool,
}

/// Something that is held.
pub(crate) struct Item {
    pub(crate) connection: ConnectionName,
    pub(crate) link: LinkId,
    /// The side that is not written, and its system.
    pub(crate) side: Side,
    pub(crate) system: SystemName,
    /// The account there; `None`: it is to be created.
    pub(crate) account: Option<AccountId>,
    /// The account on the other side, and its system.
    pub(crate) partner: Option<AccountId>,
    pub(crate) source: SystemName,
    /// The attribute; `None`: the account as a whole.
    pub(crate) path: Option<AttributePath>,
    pub(crate) generation: u32,
    pub(crate) value: Option<Value>,
    pub(crate) since: Timestamp,
    pub(crate) stop: Option<Stop>,
    pub(crate) state: HoldState,
    pub(crate) is_protected: bool,
}

impl Item {
    /// The account that a person knows it by.
    pub(crate) fn name(&self) -> String {
        let partner = || self.partner.as_ref().map(|partner| format!("{}:{partner}", self.source));
        let own = self.account.as_ref().map(|account| format!("{}:{account}", self.system));
        own.or_else(partner).unwrap_or_else(|| self.link.to_string())
    }

    /// What would be written, in words.
    pub(crate) fn what(&self) -> String {
        match &self.path {
            Some(path) => format!("{path} = {}", quoted(self.value.as_ref(), false)),
            None => match self.stop.as_ref().and_then(|stop| stop.risk) {
                Some(Risk::Delete) => "delete the account".to_owned(),
                Some(Risk::Relink) => "end the link".to_owned(),
                Some(Risk::Deactivate) => "remove the account".to_owned(),
                _ => "create the account".to_owned(),
            },
        }
    }

    /// The kind of write, in one word.
    pub(crate) fn risk(&self) -> &'static str {
        self.stop.as_ref().and_then(|stop| stop.risk).map_or("-", Risk::as_str)
    }

    /// Why it was stopped, in one word.
    pub(crate) fn reason(&self) -> &'static str {
        self.stop.as_ref().map_or("base_lost", |stop| stop.why.as_str())
    }

    fn json(&self) -> serde_json::Value {
        let ruling = self.stop.as_ref().and_then(|stop| stop.ruling.as_ref());
        serde_json::json!({
            "connection": self.connection,
            "link": self.link,
            "system": self.system,
            "account": self.account,
            "partner": self.partner.as_ref().map(|partner| format!("{}:{partner}", self.source)),
            "attribute": self.path,
            "value": self.value,
            "risk": self.stop.as_ref().and_then(|stop| stop.risk),
            "reason": self.reason(),
            "since": self.since,
            "state": self.state,
            "decided_by": ruling.map(|ruling| &ruling.by),
            "decided_at": ruling.map(|ruling| ruling.at),
        })
    }
}

/// What is held and meant by a filter.
pub(crate) async fn gather<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    filter: &Filter,
) -> anyhow::Result<Vec<Item>> {
    if let Some(name) = filter.connection.as_ref().filter(|name| !pipeline.connections.contains_key(*name)) {
        let known = pipeline.connections.keys().map(ConnectionName::as_str).collect::<Vec<_>>().join(", ");
        let text = format!("there is no connection {name}; the configuration has: {known}");
        return Err(UsageError::new(text).into());
    }
    let accounts = filter.accounts.iter().map(|text| account(pipeline, text)).collect::<Result<Vec<_>, _>>()?;
    let mut items = Vec::new();
    for connection in pipeline.connections.values() {
        if filter.connection.as_ref().is_some_and(|name| *name != connection.name) {
            continue;
        }
        let links = if !accounts.is_empty() {
            links_of(pipeline, connection, &accounts).await?
        } else if !filter.writes.is_empty() {
            let of_connection = filter.writes.iter().filter(|key| key.connection == connection.name);
            let links: BTreeSet<_> = of_connection.map(|key| key.link).collect();
            links.into_iter().collect()
        } else {
            held_links(pipeline, connection, filter.rejected).await?
        };
        for links in links.chunks(AT_ONCE) {
            items.extend(load(pipeline, connection, links).await?);
        }
    }
    let writes: BTreeSet<_> = filter.writes.iter().collect();
    items.retain(|item| {
        let is_meant = match item.state {
            HoldState::Waiting => true,
            // What somebody refused passes only where a person says that this is meant, whatever else is named.
            HoldState::Rejected | HoldState::Expired => filter.rejected,
            HoldState::Approved => false,
        };
        let is_named = writes.is_empty() || writes.contains(&item.key());
        is_meant
            && is_named
            && filter.risk.is_none_or(|risk| item.stop.as_ref().is_some_and(|stop| stop.risk == Some(risk)))
    });
    items.sort_by_key(|item| item.since);
    Ok(items)
}

/// An account as a person names it.
fn account<B, S>(pipeline: &Pipeline<B, S>, text: &str) -> Result<(SystemName, String), UsageError> {
    let named = text.split_once(':').and_then(|(system, id)| Some((system.parse().ok()?, id.to_owned())));
    let known = named.filter(|(system, _)| pipeline.systems.contains_key(system));
    known.ok_or_else(|| {
        let example = pipeline.systems.keys().next().map_or("crm", SystemName::as_str);
        UsageError::new(format!("`{text}` is no account; write <system>:<id>, such as {example}:005..."))
    })
}

/// The links of which something is held.
async fn held_links<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    connection: &Connection,
    rejected: bool,
) -> Result<Vec<LinkId>, StoreError> {
    let name = &connection.name;
    if !rejected {
        return Ok(pipeline.store.held(name).await?.into_iter().map(|(link, _)| link).collect());
    }
    // Nothing lists what was decided: every link is looked at.
    let mut all = BTreeSet::new();
    for side in Side::BOTH {
        let mut from = None;
        loop {
            let (page, next) = pipeline.store.accounts(name, side, from).await?;
            all.extend(page.into_iter().map(|(_, link)| link));
            match next {
                Some(next) => from = Some(next),
                None => break,
            }
        }
    }
    Ok(all.into_iter().collect())
}

/// The links of these accounts on a connection.
async fn links_of<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    connection: &Connection,
    accounts: &[(SystemName, String)],
) -> anyhow::Result<Vec<LinkId>> {
    let mut questions = Vec::new();
    for (system, id) in accounts {
        for side in Side::BOTH.into_iter().filter(|side| connection.systems[*side] == *system) {
            if let Some(account) = connection.parse_id(side, id) {
                questions.push(Find { claims: vec![Claim::Account(side, account)], letter: None });
            }
        }
    }
    if questions.is_empty() {
        return Ok(Vec::new());
    }
    let mut found = pipeline.store.find(&connection.name, questions.clone()).await;
    for _ in 0..EPOCHS {
        let Err(StoreError::EpochChanged(_)) = found else { break };
        pipeline.store.epoch(&connection.name).await?;
        found = pipeline.store.find(&connection.name, questions.clone()).await;
    }
    let links: BTreeSet<_> = found?.items.into_iter().filter_map(|found| Some(found.link?.0.id)).collect();
    Ok(links.into_iter().collect())
}

/// What is held of these links.
async fn load<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    connection: &Connection,
    links: &[LinkId],
) -> Result<Vec<Item>, StoreError> {
    let loaded = pipeline.store.load(&connection.name, links).await?;
    let rules = connection.rules(loaded.epoch);
    let of_link = |link: &Link| -> Vec<Item> {
        let is_protected = crate::domain::guard::is_protected(link, &rules);
        let item = |held: crate::domain::hold::Held<'_>| Item {
            connection: connection.name.clone(),
            link: link.id,
            side: held.side,
            system: connection.systems[held.side].clone(),
            account: link.sides[held.side].account.clone(),
            partner: link.sides[held.side.other()].account.clone(),
            source: connection.systems[held.side.other()].clone(),
            path: held.path.cloned(),
            generation: held.generation,
            value: held.path.and_then(|path| link.registers[path].value.clone()),
            since: held.since,
            stop: held.stop.cloned(),
            state: held.state(loaded.now),
            is_protected,
        };
        link.held().map(item).collect()
    };
    // What a link of another epoch remembers counts no more: its accounts are read first.
    let links = loaded.items.iter().flatten().filter(|link| link.epoch == loaded.epoch);
    Ok(links.flat_map(of_link).collect())
}

/// How many of what is held there are, in words.
fn counted(items: usize) -> String {
    output::count(items, "held write")
}
