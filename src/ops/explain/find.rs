//! Which account a person means: `<system>:<id>`, or an e-mail address or user name that one person has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::LOOK;
use crate::broker::Broker;
use crate::domain::{AccountId, AttributePath, ConnectionName, FailureClass, Link, Side, Sides, SystemName, Timestamp};
use crate::ops::sync::UsageError;
use crate::stages::{Connection, Pipeline};
use crate::store::{Claim, Find, Loaded, Store, StoreError};
use crate::systems::SearchKey;

/// The attributes by which people call an account.
const CALLED_BY: [&str; 2] = ["emails", "userName"];

/// How often a store that loses its memory meanwhile is asked again.
const EPOCHS: usize = 5;

/// An account on one connection, or the two of a link.
pub(crate) struct Meant {
    pub(crate) connection: Arc<Connection>,
    /// The accounts that were asked for or belong to them.
    pub(crate) accounts: Sides<Option<AccountId>>,
    /// Their link, with the time and the epoch at which the store had it; `None`: they have none.
    pub(crate) link: Option<Link>,
    pub(crate) epoch: crate::domain::Epoch,
    /// The store's clock.
    pub(crate) now: Timestamp,
}

/// Accounts by system.
type Candidates = BTreeMap<SystemName, BTreeSet<AccountId>>;

/// What a person means by `text`, on every connection that has it; at least one. Errors of the person's are
/// [`UsageError`]s.
pub(crate) async fn find<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    text: &str,
    only: Option<&ConnectionName>,
    offline: bool,
) -> anyhow::Result<Vec<Meant>> {
    let connections = connections(pipeline, only)?;
    let candidates = match named(&connections, text)? {
        Some(named) => named,
        None if offline => {
            let text = format!("without asking the systems, an account is named <system>:<id>; `{text}` is not");
            return Err(UsageError::new(text).into());
        }
        None => search(&connections, text).await?,
    };
    let mut all = Vec::new();
    for connection in &connections {
        let meant = on(pipeline, connection, &candidates).await?;
        // One person may have an account on each side that are not linked; two links are two people.
        if meant.iter().filter(|meant| meant.link.is_some()).count() > 1 {
            return Err(several(text, &candidates));
        }
        all.extend(meant);
    }
    Ok(all)
}

fn connections<B, S>(
    pipeline: &Pipeline<B, S>,
    only: Option<&ConnectionName>,
) -> Result<Vec<Arc<Connection>>, UsageError> {
    match only {
        None => Ok(pipeline.connections.values().cloned().collect()),
        Some(name) => match pipeline.connections.get(name) {
            Some(connection) => Ok(vec![Arc::clone(connection)]),
            None => {
                let known: Vec<_> = pipeline.connections.keys().map(ConnectionName::as_str).collect();
                let known = known.join(", ");
                Err(UsageError::new(format!("there is no connection {name}; the configuration has: {known}")))
            }
        },
    }
}

/// The account that `<system>:<id>` names; `None` if the text does not begin with a system.
fn named(connections: &[Arc<Connection>], text: &str) -> Result<Option<Candidates>, UsageError> {
    let Some((system, id)) = text.split_once(':') else { return Ok(None) };
    let ends = connections.iter().flat_map(|connection| Side::BOTH.map(|side| (connection, side)));
    let mut ends = ends.filter(|(connection, side)| connection.systems[*side].as_str() == system).peekable();
    if ends.peek().is_none() {
        let known: BTreeSet<_> = connections
            .iter()
            .flat_map(|connection| Side::BOTH.map(|side| connection.systems[side].as_str()))
            .collect();
        let known = known.into_iter().collect::<Vec<_>>().join(", ");
        return Err(UsageError::new(format!("there is no system {system} on a connection; there are: {known}")));
    }
    let mut candidates = Candidates::new();
    for (connection, side) in ends {
        if let Some(account) = connection.parse_id(side, id) {
            candidates.entry(connection.systems[side].clone()).or_default().insert(account);
        }
    }
    if candidates.is_empty() {
        return Err(UsageError::new(format!("`{id}` is no account id of {system}")));
    }
    Ok(Some(candidates))
}

/// Asks every system who has this e-mail address or user name.
async fn search(connections: &[Arc<Connection>], text: &str) -> anyhow::Result<Candidates> {
    let mut asked = BTreeSet::new();
    let mut candidates = Candidates::new();
    let mut problems = Vec::new();
    for (connection, side) in connections.iter().flat_map(|connection| Side::BOTH.map(|side| (connection, side))) {
        let (system, end) = (&connection.systems[side], &connection.ends[side]);
        if !asked.insert(system.clone()) {
            continue;
        }
        for name in CALLED_BY {
            let path: AttributePath = name.parse().expect("the names of this table are paths");
            if end.schema().attribute(&path).is_none() {
                continue;
            }
            let keys = [SearchKey::Attribute(path, text.to_owned())];
            match tokio::time::timeout(LOOK, end.search(&keys)).await {
                Ok(Ok(found)) => {
                    let accounts = found.into_iter().flatten().map(|snapshot| snapshot.account);
                    candidates.entry(system.clone()).or_default().extend(accounts);
                }
                // A system that cannot be searched by this attribute has nothing to say.
                Ok(Err(failure)) if failure.class == FailureClass::Permanent => {}
                Ok(Err(failure)) => problems.push(format!("{system} cannot be searched: {failure}")),
                Err(_) => problems.push(format!("{system} did not answer within {} s", LOOK.as_secs())),
            }
        }
    }
    candidates.retain(|_, accounts| !accounts.is_empty());
    if candidates.is_empty() && !problems.is_empty() {
        problems.dedup();
        anyhow::bail!("{}; try the account's id instead, as <system>:<id>", problems.join("; "));
    }
    if candidates.is_empty() {
        let example = &connections[0].systems.a;
        let text = format!(
            "no system has an account with the e-mail address or user name `{text}`; an account can also be named by \
             its id, such as {example}:<id>"
        );
        return Err(UsageError::new(text).into());
    }
    if candidates.values().any(|accounts| accounts.len() > 1) {
        return Err(several(text, &candidates));
    }
    Ok(candidates)
}

fn several(text: &str, candidates: &Candidates) -> anyhow::Error {
    let accounts: Vec<_> = candidates
        .iter()
        .flat_map(|(system, accounts)| accounts.iter().map(move |account| format!("  {system}:{account}")))
        .collect();
    UsageError::new(format!("`{text}` is more than one person's; name one of these:\n{}", accounts.join("\n"))).into()
}

/// What the candidates are on one connection.
async fn on<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    connection: &Arc<Connection>,
    candidates: &Candidates,
) -> anyhow::Result<Vec<Meant>> {
    let mut ends: Vec<(Side, AccountId)> = Vec::new();
    for side in Side::BOTH {
        let accounts = candidates.get(&connection.systems[side]).into_iter().flatten();
        ends.extend(accounts.map(|account| (side, account.clone())));
    }
    if ends.is_empty() {
        return Ok(Vec::new());
    }
    let questions = || -> Vec<Find> {
        let claim = |(side, account): &(Side, AccountId)| Claim::Account(*side, account.clone());
        ends.iter().map(|end| Find { claims: vec![claim(end)], letter: None }).collect()
    };
    let name = &connection.name;
    let mut found = pipeline.store.find(name, questions()).await;
    for _ in 0..EPOCHS {
        let Err(StoreError::EpochChanged(_)) = found else { break };
        // Only this question lets the store begin a new memory, where it has lost the old one or has none yet.
        pipeline.store.epoch(name).await?;
        found = pipeline.store.find(name, questions()).await;
    }
    let found = found?;
    let Loaded { now, epoch, items } = found;
    let mut links: Vec<Meant> = Vec::new();
    let mut unlinked = Sides::<Option<AccountId>>::default();
    for ((side, account), item) in ends.into_iter().zip(items) {
        match item.link {
            Some((link, _)) if links.iter().any(|meant| meant.link.as_ref().is_some_and(|l| l.id == link.id)) => {}
            Some((link, _)) => {
                let accounts = Sides::from_fn(|side| link.sides[side].account.clone());
                links.push(Meant { connection: Arc::clone(connection), accounts, link: Some(link), epoch, now });
            }
            None => unlinked[side] = Some(account),
        }
    }
    if links.is_empty() {
        // Both sides may be of one system, where an id is of one kind of record only.
        links.push(Meant { connection: Arc::clone(connection), accounts: unlinked, link: None, epoch, now });
    }
    Ok(links)
}
