//! `muster conflicts pins` and `muster conflicts unpin`.

use std::collections::BTreeSet;

use serde_json::json;
use tracing::info;

use super::{connections, is_called};
use crate::broker::Broker;
use crate::domain::give_back::unpin;
use crate::domain::link::Pin;
use crate::domain::{AttributePath, ConnectionName, Link, LinkId, Side};
use crate::ops::audit;
use crate::ops::connect::operator;
use crate::ops::exit::Exit;
use crate::ops::explain::find;
use crate::ops::explain::words::short;
use crate::ops::output::{self, Form};
use crate::ops::sync::UsageError;
use crate::stages::{Connection, Pipeline};
use crate::store::{Commit, Committed, Store, StoreError};

/// Links that are loaded at a time.
const AT_ONCE: usize = 200;

/// Lists all pins. Nothing lists them but the links: each is looked at.
pub(super) async fn list<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    only: Option<&ConnectionName>,
    form: Form,
) -> anyhow::Result<Exit> {
    let mut table = output::table(&["CONNECTION", "ACCOUNTS", "ATTRIBUTE", "COUNTS", "BY", "SINCE"]);
    let mut pins = 0;
    for connection in connections(pipeline, only)? {
        let links: Vec<_> = links(pipeline, connection).await?.into_iter().collect();
        for ids in links.chunks(AT_ONCE) {
            let loaded = pipeline.store.load(&connection.name, ids).await?;
            for link in loaded.items.iter().flatten() {
                for (path, pin) in &link.pins {
                    pins += 1;
                    match form {
                        Form::Json => output::object(&line(connection, link, path, pin)),
                        Form::Text => drop(table.add_row([
                            connection.name.to_string(),
                            accounts(connection, link).join(" "),
                            short(path).to_owned(),
                            connection.systems[pin.side].to_string(),
                            pin.by.clone(),
                            pin.at.to_string(),
                        ])),
                    }
                }
            }
        }
    }
    match (form, pins) {
        (Form::Json, _) => {}
        (Form::Text, 0) => output::line("Nothing is pinned"),
        (Form::Text, _) => output::print(&table),
    }
    Ok(Exit::Done)
}

fn line(connection: &Connection, link: &Link, path: &AttributePath, pin: &Pin) -> serde_json::Value {
    json!({
        "connection": connection.name,
        "link": link.id,
        "accounts": accounts(connection, link),
        "attribute": path,
        "side": pin.side,
        "system": connection.systems[pin.side],
        "by": pin.by,
        "at": pin.at,
    })
}

fn accounts(connection: &Connection, link: &Link) -> Vec<String> {
    let account = |side: Side| Some(format!("{}:{}", connection.systems[side], link.sides[side].account.as_ref()?));
    Side::BOTH.into_iter().filter_map(account).collect()
}

async fn links<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    connection: &Connection,
) -> Result<BTreeSet<LinkId>, StoreError> {
    let mut links = BTreeSet::new();
    let mut from = None;
    loop {
        let (page, next) = pipeline.store.accounts(&connection.name, Side::A, from).await?;
        links.extend(page.into_iter().map(|(_, link)| link));
        match next {
            Some(next) => from = Some(next),
            None => return Ok(links),
        }
    }
}

/// Takes the pins of an attribute of an account away.
pub(super) async fn remove<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    account: &str,
    attribute: &str,
    only: Option<&ConnectionName>,
    form: Form,
) -> anyhow::Result<Exit> {
    let mut removed = Vec::new();
    for meant in find::find(pipeline, account, only, true).await? {
        let connection = &meant.connection;
        let mut found = meant.link.map(|link| (link, meant.epoch));
        while let Some((link, epoch)) = found {
            let pinned = link.pins.keys().find(|path| is_called(connection, path, attribute)).cloned();
            let Some((path, after)) = pinned.and_then(|path| Some((path.clone(), unpin(&link, &path)?))) else { break };
            let commit = Commit { link: Some(after), ..Commit::default() };
            match pipeline.store.commit(&connection.name, epoch, &[commit]).await {
                Ok(committed) if matches!(committed.first(), Some(Committed::Done { .. })) => {
                    let by = operator();
                    info!(connection = %connection.name, link = %link.id, attribute = %path, by, "{by} unpins {path}");
                    removed.push((connection.name.clone(), path));
                    break;
                }
                Ok(_) => {}
                Err(StoreError::EpochChanged(_)) => drop(pipeline.store.epoch(&connection.name).await?),
                Err(error) => return Err(error.into()),
            }
            let loaded = pipeline.store.load(&connection.name, &[link.id]).await?;
            found = loaded.items.into_iter().next().flatten().map(|link| (link, loaded.epoch));
        }
    }
    audit::count("pins", removed.len() as u64);
    if removed.is_empty() {
        return Err(
            UsageError::new(format!("{attribute} of {account} is not pinned; see `muster conflicts pins`")).into()
        );
    }
    for (connection, path) in &removed {
        match form {
            Form::Json => output::object(&json!({ "connection": connection, "attribute": path, "unpinned": true })),
            Form::Text => {
                output::line(format!("{} of {account} counts from both sides again on {connection}", short(path)));
            }
        }
    }
    Ok(Exit::Done)
}
