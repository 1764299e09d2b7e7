//! `muster conflicts give-back`.
//!
//! The link, what was replaced and a request to read both accounts again are one step in the store; then a command goes to
//! the writers. Killed in between, the reading finds what is lacking and sends it. Writers ask their guards as ever.

use serde_json::json;
use tracing::info;

use super::show::meant;
use super::{Conflict, find, named};
use crate::broker::message::Payload;
use crate::broker::{Broker, Destination, Message, Outgoing, Queue};
use crate::domain::give_back::{Given, Offer, Refusal, Wish, give_back};
use crate::domain::pending::pending;
use crate::domain::{Cause, ChangeOutcome, Command, Epoch, Lane, Link, Side, Sides};
use crate::failpoint::hit;
use crate::ops::audit;
use crate::ops::connect::{Mode, operator};
use crate::ops::exit::Exit;
use crate::ops::explain::words::short;
use crate::ops::explain::{Look, Meant, look_at};
use crate::ops::output::{self, Form};
use crate::ops::worker::{how_to_start, missing};
use crate::stages::producer::new_run_id;
use crate::stages::{Connection, Pipeline};
use crate::store::{Commit, Committed, Count, EntryId, GaveBack, JournalEntry, Run, RunKind, Store, StoreError};

/// How it is wanted.
pub(crate) struct Ask {
    pub(crate) pin: bool,
    pub(crate) force: bool,
    pub(crate) offline: bool,
}

/// Gives values back, one after the other.
pub(super) async fn run<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    mode: &Mode,
    names: &[String],
    ask: &Ask,
    form: Form,
) -> anyhow::Result<Exit> {
    let mut conflicts = Vec::new();
    for name in names {
        conflicts.push(find(pipeline, name).await?);
    }
    let mut refused = 0;
    let mut sent = false;
    for conflict in &conflicts {
        let done = one(pipeline, conflict, ask).await?;
        let (text, undo) = match &done {
            Done::Refused(text) => {
                refused += 1;
                (format!("not given back: {text}"), None)
            }
            Done::Given { replaced, writes } => {
                sent |= *writes;
                (given_text(conflict, *writes, ask), replaced.as_ref())
            }
        };
        let undo = undo.map(|entry| named(&conflict.connection.name, entry));
        match form {
            Form::Json => output::object(&json!({
                "conflict": conflict.name(),
                "given_back": matches!(done, Done::Given { .. }),
                "pinned": ask.pin && matches!(done, Done::Given { .. }),
                "replaced": undo,
                "text": text,
            })),
            Form::Text => {
                output::line(format!("{}: {text}", conflict.name()));
                if let Some(undo) = undo {
                    output::line(format!("  To take that back: muster conflicts give-back {undo}"));
                }
            }
        }
    }
    audit::count("given_back", (conflicts.len() - refused) as u64);
    audit::count("refused", refused as u64);
    if form == Form::Text && sent {
        how_to_start(&missing(&pipeline.store).await?, mode).into_iter().for_each(output::line);
    }
    Ok(if refused == 0 { Exit::Done } else { Exit::Failed })
}

/// What became of a value that somebody wants back.
pub(crate) enum Done {
    Given {
        /// The entry with what was replaced.
        replaced: Option<EntryId>,
        /// Whether something is to be written.
        writes: bool,
    },
    /// Why not.
    Refused(String),
}

/// What follows, in words.
pub(crate) fn given_text(conflict: &Conflict<'_>, writes: bool, ask: &Ask) -> String {
    let entry = &conflict.kept.entry;
    let flows = if writes { "the writers bring it to where it is missing" } else { "both sides have it" };
    let pinned = if ask.pin {
        let (own, other) = (&conflict.connection.systems[entry.side], &conflict.connection.systems[entry.side.other()]);
        format!("; pinned to {own}: what is changed in {other} is set back until `muster conflicts unpin`")
    } else {
        String::new()
    };
    format!("{} is given back, {flows}{pinned}", short(&entry.attribute))
}

/// Gives one value back, or says why not.
pub(crate) async fn one<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    conflict: &Conflict<'_>,
    ask: &Ask,
) -> anyhow::Result<Done> {
    let (connection, entry) = (conflict.connection, &conflict.kept.entry);
    if entry.is_erased {
        return Ok(Done::Refused("its value was erased: the person was forgotten".to_owned()));
    }
    if let Some(given) = &conflict.given_back
        && !ask.force
    {
        return Ok(Done::Refused(format!("{} has done so before; --force does it once more", given.by)));
    }
    loop {
        let meant = meant(pipeline, conflict).await?;
        let Some(link) = &meant.link else {
            return Ok(Done::Refused("the accounts are not linked any more, or were not read since".to_owned()));
        };
        if !ask.force
            && let Some(text) = unread_edit(pipeline, &meant, conflict, ask.offline).await?
        {
            return Ok(Done::Refused(text));
        }
        let rules = connection.rules(meant.epoch);
        let offer = Offer {
            path: &entry.attribute,
            side: entry.side,
            value: entry.value.as_ref(),
            generation: entry.generation,
        };
        let by = operator();
        let read_at = connection.ends[entry.side].clock();
        let wish = Wish { by: by.clone(), at: meant.now, read_at, pin: ask.pin, force: ask.force };
        let Given { link: given, replaced } = match give_back(link, offer, &wish, &rules) {
            Ok(given) => given,
            Err(refusal) => return Ok(Done::Refused(why_not(conflict, refusal))),
        };
        let gave_back = GaveBack { entry: conflict.kept.id.clone(), by: by.clone(), pinned: ask.pin };
        let journal = replaced.into_iter().map(|lost| JournalEntry {
            gave_back: Some(gave_back.clone()),
            ..JournalEntry::new(&given, lost, meant.now)
        });
        let emits = Sides::from_fn(|side| pending(&given, side, &rules).is_some());
        let reread = Side::BOTH.into_iter().filter(|_| emits.a || emits.b);
        let commit = Commit {
            reread: reread.filter_map(|side| Some((side, given.sides[side].account.clone()?))).collect(),
            journal: journal.collect(),
            link: Some(given),
            ..Commit::default()
        };
        match pipeline.store.commit(&connection.name, meant.epoch, &[commit]).await {
            Ok(committed) if matches!(committed.first(), Some(Committed::Done { .. })) => {}
            // Somebody worked on it: once more.
            Ok(_) | Err(StoreError::EpochChanged(_)) => continue,
            Err(error) => return Err(error.into()),
        }
        info!(
            connection = %connection.name, link = %entry.link, attribute = %entry.attribute, by, pinned = ask.pin,
            "{by} gives {} back to {}", conflict.name(), conflict.accounts(),
        );
        hit("conflicts.given_back");
        send(pipeline, connection, link, meant.epoch, emits).await?;
        let newest = pipeline.store.journal(&connection.name, Some(entry.link), None, 10).await?;
        let replaced = newest.into_iter().find(|kept| kept.entry.gave_back.as_ref() == Some(&gave_back));
        return Ok(Done::Given { replaced: replaced.map(|kept| kept.id), writes: emits.a || emits.b });
    }
}

/// What a system holds that nobody has read yet, if that is so.
async fn unread_edit<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    meant: &Meant,
    conflict: &Conflict<'_>,
    offline: bool,
) -> anyhow::Result<Option<String>> {
    let (connection, path) = (conflict.connection, &conflict.kept.entry.attribute);
    let rules = connection.rules(meant.epoch);
    let looks = look_at(pipeline, meant, offline).await?;
    for side in Side::BOTH {
        let Look::Shown(snapshot) = &looks[side] else { continue };
        let today = rules.attributes.get(path).and_then(|rule| rule.seen(side, snapshot));
        let seen = meant.link.as_ref().and_then(|link| link.sides[side].seen.get(path));
        if let (Some(today), Some(seen)) = (today, seen)
            && *seen != rules.digest(side, path, today.as_ref())
        {
            let (system, account) = (&connection.systems[side], &snapshot.account);
            return Ok(Some(format!(
                "{} was changed in {system} since the last sync: `muster sync {} --only {system}:{account} --wait` takes \
                 that up first; --force does not wait for it",
                short(path),
                connection.name
            )));
        }
    }
    Ok(None)
}

fn why_not(conflict: &Conflict<'_>, refusal: Refusal) -> String {
    let entry = &conflict.kept.entry;
    let name = short(&entry.attribute);
    let (own, other) = (&conflict.connection.systems[entry.side], &conflict.connection.systems[entry.side.other()]);
    match refusal {
        Refusal::NotMapped => format!("{} does not map {name} any more", conflict.connection.name),
        Refusal::DoesNotCount => format!("by the rules {name} comes from {other} alone: change it there"),
        Refusal::PinnedAway => {
            format!("{name} is pinned to {other}: --pin moves the pin to {own}, `muster conflicts unpin` ends it")
        }
        Refusal::Unread => "the accounts were not read since the store lost its memory; a sync reads them".to_owned(),
        Refusal::ChangedSince => format!("{name} was changed since it lost; --force gives it back all the same"),
        Refusal::AlreadyThere => "it is the value that both sides should have".to_owned(),
    }
}

/// Asks the writers for what is lacking now.
async fn send<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    connection: &Connection,
    link: &Link,
    epoch: Epoch,
    emits: Sides<bool>,
) -> anyhow::Result<()> {
    if !emits.a && !emits.b {
        return Ok(());
    }
    let name = &connection.name;
    let began_at = pipeline.store.epoch(name).await?.now;
    let run = Run::new(new_run_id(), RunKind::Retry, operator(), began_at);
    pipeline.store.begin_run(name, &run).await?;
    let number = pipeline.store.reserve(name, &run.id, 1, None).await?.unwrap_or_default();
    let outgoing = Side::BOTH.into_iter().filter(|side| emits[*side]).map(|side| {
        let cause = Cause { run: run.id.clone(), number };
        let command = Command {
            connection: name.clone(),
            link: link.id,
            side,
            cause,
            lane: Lane::Live,
            approval: None,
            failed: Vec::new(),
        };
        let queue = Queue::commands(&connection.systems[side], Lane::Live);
        Outgoing { to: Destination::Queue(queue), message: Message::new(Payload::Commands(vec![command])) }
    });
    pipeline.broker.publish(outgoing.collect()).await?;
    hit("conflicts.sent");
    // Counted afterwards: a command that nobody sent would keep the run open for ever.
    let count = Count::Change { run: run.id, number, outcome: ChangeOutcome::Accepted, emits };
    pipeline.store.commit(name, epoch, &[Commit { count: Some(count), ..Commit::default() }]).await?;
    Ok(())
}
