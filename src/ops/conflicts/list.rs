//! `muster conflicts list`.

use std::collections::HashMap;

use super::{Conflict, Filter, connections, is_called};
use crate::broker::Broker;
use crate::domain::{Side, Timestamp};
use crate::ops::exit::Exit;
use crate::ops::explain::words::{quoted, short};
use crate::ops::output::{self, Form};
use crate::ops::sync::UsageError;
use crate::stages::{Connection, Pipeline};
use crate::store::{Kept, Store};

/// Entries asked for at a time.
const AT_ONCE: usize = 500;

/// Lines for people, unless they ask for more.
const LINES: usize = 100;

/// How much is shown.
pub(super) struct Shown {
    pub(super) all: bool,
    pub(super) values: bool,
    pub(super) limit: Option<usize>,
}

/// Lists what did not win.
pub(super) async fn run<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    filter: &Filter,
    shown: &Shown,
    form: Form,
) -> anyhow::Result<Exit> {
    let limit = shown.limit.unwrap_or(if form == Form::Json { usize::MAX } else { LINES });
    let (conflicts, has_more) = gather(pipeline, filter, shown.all, limit).await?;
    if form == Form::Json {
        conflicts.iter().for_each(|conflict| output::object(&conflict.json(shown.values)));
        return Ok(Exit::Done);
    }
    if conflicts.is_empty() {
        output::line("No value has lost");
        return Ok(Exit::Done);
    }
    let mut table = output::table(&["CONFLICT", "WHEN", "ACCOUNTS", "ATTRIBUTE", "LOST", "REASON", "STATE"]);
    for conflict in &conflicts {
        let entry = &conflict.kept.entry;
        let system = &conflict.connection.systems[entry.side];
        let lost = match shown.values {
            true if entry.is_erased => format!("erased, of {system}"),
            true => format!("{} of {system}", quoted(entry.value.as_ref(), false)),
            false => format!("*** of {system}"),
        };
        table.add_row([
            conflict.name(),
            entry.seen_at.to_string(),
            conflict.accounts(),
            short(&entry.attribute).to_owned(),
            lost,
            entry.reason.as_str().to_owned(),
            conflict.state().to_owned(),
        ]);
    }
    output::print(&table);
    if has_more {
        output::line("... and more: --limit shows more of them");
    }
    output::line(format!(
        "{}; see one with `muster conflicts show`, give it back with `muster conflicts give-back`",
        output::count(conflicts.len(), "conflict")
    ));
    Ok(Exit::Done)
}

/// The conflicts that a filter means, newest first, at most `limit`, and whether there are more. `all`: those too that are
/// settled.
pub(crate) async fn gather<'p, B: Broker, S: Store>(
    pipeline: &'p Pipeline<B, S>,
    filter: &Filter,
    all: bool,
    limit: usize,
) -> anyhow::Result<(Vec<Conflict<'p>>, bool)> {
    let mut conflicts = Vec::new();
    for connection in connections(pipeline, filter.connection.as_ref())? {
        // One more than is shown, to know whether there are more.
        conflicts.extend(of(pipeline, connection, filter, all, limit.saturating_add(1)).await?);
    }
    conflicts.sort_by_key(|conflict| std::cmp::Reverse(conflict.kept.entry.seen_at));
    let has_more = conflicts.len() > limit;
    conflicts.truncate(limit);
    Ok((conflicts, has_more))
}

/// The conflicts of a connection that a filter means, newest first, at most `limit`.
async fn of<'p, B: Broker, S: Store>(
    pipeline: &'p Pipeline<B, S>,
    connection: &'p Connection,
    filter: &Filter,
    all: bool,
    limit: usize,
) -> anyhow::Result<Vec<Conflict<'p>>> {
    let store = &pipeline.store;
    let now = store.epoch(&connection.name).await?.now;
    let since = filter.since.map_or(Timestamp(i64::MIN), |since| since.before(now));
    let account = match &filter.account {
        None => None,
        Some(text) => match account(pipeline, connection, text)? {
            Some(account) => Some(account),
            // Of a system that is not on this connection.
            None => return Ok(Vec::new()),
        },
    };
    let is_meant = |kept: &Kept| {
        let entry = &kept.entry;
        let of_account = account.as_ref().is_none_or(|(sides, id)| {
            sides.iter().any(|side| entry.accounts[*side].as_ref().is_some_and(|known| known == id))
        });
        of_account
            && entry.seen_at >= since
            && filter.reason.is_none_or(|reason| entry.reason == reason)
            && filter.attribute.as_ref().is_none_or(|name| is_called(connection, &entry.attribute, name))
    };
    let mut found = Vec::new();
    // Whatever says that an entry was given back is newer than the entry.
    let mut given = HashMap::new();
    let mut from = None;
    loop {
        let mut page = store.journal(&connection.name, None, from.as_ref(), AT_ONCE).await?;
        // The last one of the page before, if it is still there.
        let is_last = page.len() < AT_ONCE;
        page.retain(|kept| from.as_ref().is_none_or(|from| kept.id != *from));
        let Some(oldest) = page.last() else { return Ok(found) };
        from = Some(oldest.id.clone());
        // Entries are a little out of order where several mappers are at work.
        let is_over = oldest.entry.seen_at + std::time::Duration::from_secs(60) < since;
        given.extend(super::given_back(&page));
        for kept in page {
            let given_back = given.remove(&kept.id);
            let is_settled = given_back.is_some() || kept.entry.gave_back.is_some();
            if is_meant(&kept) && (all || !is_settled) {
                found.push(Conflict { connection, kept, given_back });
                if found.len() == limit {
                    return Ok(found);
                }
            }
        }
        if is_last || is_over {
            return Ok(found);
        }
    }
}

/// The account that a person means, and the sides that may have it; `None`: neither side is of that system.
fn account<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    connection: &Connection,
    text: &str,
) -> anyhow::Result<Option<(Vec<Side>, crate::domain::AccountId)>> {
    let named =
        text.split_once(':').filter(|(system, _)| pipeline.systems.keys().any(|known| known.as_str() == *system));
    let Some((system, id)) = named else {
        return Err(UsageError::new(format!("`{text}` is no account; write <system>:<id>")).into());
    };
    let sides: Vec<_> = Side::BOTH.into_iter().filter(|side| connection.systems[*side].as_str() == system).collect();
    let Some(side) = sides.first() else { return Ok(None) };
    let id = connection.parse_id(*side, id);
    let id = id.ok_or_else(|| UsageError::new(format!("`{text}` is no account id of {system}")))?;
    Ok(Some((sides, id)))
}
