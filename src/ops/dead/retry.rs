//! Sending letters again: one, or a batch. Nothing leaves the dead letters before its successor is confirmed; what a retry
//! writes is computed from the link of the day, so it can be made at any time (B6).

use std::collections::BTreeMap;

use anyhow::Context as _;

use super::moved::{self, Moved};
use super::{find, log_closed};
use crate::broker::message::Payload;
use crate::broker::{Broker, Destination, Message, Outgoing, Queue};
use crate::domain::pending::lacking;
use crate::domain::write::exhume;
use crate::domain::{
    Cause, ChangeOutcome, Command, ConnectionName, DeadLetter, Epoch, Lane, LetterContent, LetterId, Link, LinkId,
    Resolution, Rules, RunId, Side, Sides,
};
use crate::failpoint::hit;
use crate::ops::audit;
use crate::ops::connect::{Mode, operator};
use crate::ops::exit::Exit;
use crate::ops::output::{self, Form};
use crate::ops::sync::UsageError;
use crate::ops::worker::{how_to_start, missing};
use crate::stages::Pipeline;
use crate::stages::producer::new_run_id;
use crate::store::{Commit, Committed, Count, Run, RunKind, Store, StoreError};

/// Links that are loaded, asked or sent at a time.
pub(super) const AT_ONCE: usize = 200;

/// What is sent again.
enum Again {
    /// An open letter.
    Letter(Box<DeadLetter>),
    /// A side of a link that stays buried since its letter was discarded.
    Discarded(LetterId, Refused),
}

/// The side of a link that a target refused to write.
struct Refused {
    connection: ConnectionName,
    side: Side,
    link: LinkId,
}

/// What became of a letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sent {
    /// The writer is asked again.
    Asked,
    /// Nothing was sent: the side lacks nothing any more, so the letter is closed.
    Closed,
    /// The producer reads the account again.
    Reread,
    /// Its link is gone, and the account is read again: should it fail again, a new letter is opened.
    Relinked,
    /// The message is in its queue again.
    Requeued,
    /// It cannot be sent.
    Left(String),
}

impl Sent {
    /// In words.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Asked => "sent; a success closes the letter, a failure joins it".to_owned(),
            Self::Closed => "nothing was sent: the side lacks nothing any more, so the letter is closed".to_owned(),
            Self::Reread => "the producer reads the account again; a good reading closes the letter".to_owned(),
            Self::Relinked => {
                "its link is gone, so the account is read again; if it fails again, a new letter is opened".to_owned()
            }
            Self::Requeued => "the message is in its queue again; if it fails again, a new letter is opened".to_owned(),
            Self::Left(why) => format!("not sent: {why}"),
        }
    }
}

/// Sends letters again, by their ids.
pub async fn retry<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    mode: &Mode,
    ids: &[String],
    form: Form,
) -> anyhow::Result<Exit> {
    let mut letters = Vec::new();
    for id in ids {
        letters.push(again(pipeline, id).await?);
    }
    let mut failed = 0;
    let mut runs = Runs::new();
    for again in &letters {
        let id = match again {
            Again::Letter(letter) => &letter.id,
            Again::Discarded(id, _) => id,
        };
        let sent = match retry_one(pipeline, again, &mut runs).await {
            Ok(sent) => sent,
            Err(error) => Sent::Left(format!("{error:#}")),
        };
        failed += usize::from(matches!(sent, Sent::Left(_)));
        tell(id, &sent, form);
    }
    audit::count("sent", (letters.len() - failed) as u64);
    audit::count("left", failed as u64);
    if form == Form::Text {
        how_to_start(&missing(&pipeline.store).await?, mode).into_iter().for_each(output::line);
    }
    Ok(if failed == 0 { Exit::Done } else { Exit::Failed })
}

/// Says what became of a letter.
pub(super) fn tell(id: &LetterId, sent: &Sent, form: Form) {
    let text = sent.text();
    match form {
        Form::Json => {
            let is_sent = !matches!(sent, Sent::Left(_));
            output::object(&serde_json::json!({ "letter": id, "sent": is_sent, "text": text }));
        }
        Form::Text => output::line(format!("{id}: {text}")),
    }
}

/// Sends one letter again; what came of it, in words.
pub(in crate::ops) async fn retry_by_id<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    id: &LetterId,
) -> anyhow::Result<String> {
    let letter = again(pipeline, id.as_str()).await?;
    Ok(retry_one(pipeline, &letter, &mut Runs::new()).await?.text())
}

/// What somebody means by the id of a letter: an open one, or one that was discarded and can be taken back.
async fn again<B: Broker, S: Store>(pipeline: &Pipeline<B, S>, id: &str) -> anyhow::Result<Again> {
    let not_open = match find(pipeline, id).await {
        Ok(letter) => return Ok(Again::Letter(Box::new(letter))),
        Err(error) if error.is::<UsageError>() => error,
        Err(error) => return Err(error),
    };
    let id = LetterId::from_text(id);
    let Some((connection, side, link)) = id.link().filter(|(name, ..)| pipeline.connections.contains_key(name)) else {
        return Err(not_open);
    };
    pipeline.store.epoch(&connection).await?;
    let found = pipeline.store.load(&connection, &[link]).await?.items.into_iter().next().flatten();
    match found.is_some_and(|link| link.sides[side].dead.is_some()) {
        true => Ok(Again::Discarded(id, Refused { connection, side, link })),
        false => Err(not_open),
    }
}

/// The run that a retry counts in, for each connection: one, however many letters are sent again.
pub(super) type Runs = BTreeMap<ConnectionName, RunId>;

async fn retry_one<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    again: &Again,
    runs: &mut Runs,
) -> anyhow::Result<Sent> {
    let (id, refused) = match again {
        Again::Letter(letter) => match without_command(pipeline, letter).await? {
            Ok(sent) => return Ok(sent),
            Err((connection, side, link)) => (&letter.id, &Refused { connection, side, link }),
        },
        Again::Discarded(id, refused) => (id, refused),
    };
    let Refused { connection, side, link } = refused;
    anyhow::ensure!(pipeline.connections.contains_key(connection), "connection {connection} is not configured here");
    let cause = reserve(pipeline, connection, 1, runs).await?;
    let order = Order { letter: id.clone(), side: *side, link: *link, cause, is_open: true };
    let sent = send_sides(pipeline, connection, vec![order]).await?.pop();
    sent.map(|(_, sent)| sent).context("a letter got lost on its way")
}

/// Sends a letter again for which no writer is asked. An error of the inner result: the side of the link whose writer is
/// to be asked.
pub(super) async fn without_command<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    letter: &DeadLetter,
) -> anyhow::Result<Result<Sent, (ConnectionName, Side, LinkId)>> {
    Ok(match &letter.content {
        LetterContent::Command { command } => {
            let (name, side, link) = (command.connection.clone(), command.side, command.link);
            // The letter may be another's since the store lost its memory; the command is as it was sent.
            let (name, side, link) = letter.id.link().unwrap_or((name, side, link));
            if !pipeline.connections.contains_key(&name) {
                return Ok(Ok(Sent::Left(format!("connection {name} is not configured here"))));
            }
            match moved::follow(pipeline, letter, (&name, side, link)).await? {
                Moved::Stays => Err((name, side, link)),
                Moved::To(link) => Err((name, side, link)),
                Moved::Healed => Ok(Sent::Closed),
                Moved::Unknown => Ok(relink(pipeline, letter, &name, side).await?),
            }
        }
        LetterContent::Account { side } => {
            let (Some(connection), Some(account)) = (&letter.connection, &letter.account) else {
                let why = "the record has no id to ask for; correct it in its system, the next full sync reads it";
                return Ok(Ok(Sent::Left(why.to_owned())));
            };
            let epoch = pipeline.store.epoch(connection).await?.id;
            let commit = Commit { reread: vec![(*side, account.clone())], ..Commit::default() };
            pipeline.store.commit(connection, epoch, &[commit]).await?;
            Ok(Sent::Reread)
        }
        LetterContent::Message { queue, body } => {
            let queue =
                Queue::parse("x", &format!("x.{queue}")).context("the queue that it came from is none of ours")?;
            let body = crate::stages::from_base64(body).context("the letter's body is damaged")?;
            let message = Message::new(Payload::Raw(body.into()));
            pipeline.broker.publish(vec![Outgoing { to: Destination::Queue(queue), message }]).await?;
            log_closed(pipeline, std::slice::from_ref(&letter.id), &Resolution::Retried).await?;
            pipeline.store.file_letters(&[], std::slice::from_ref(&letter.id)).await?;
            Ok(Sent::Requeued)
        }
    })
}

/// Has the accounts of a letter read again whose link is gone. What they then lack is written like any other change.
async fn relink<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    letter: &DeadLetter,
    name: &ConnectionName,
    side: Side,
) -> anyhow::Result<Sent> {
    let account = letter.account.clone().map(|account| (side, account));
    let partner = letter.partner.clone().map(|account| (side.other(), account));
    let reread: Vec<_> = account.into_iter().chain(partner).collect();
    if reread.is_empty() {
        return Ok(Sent::Left("its link is gone and the letter names no account; discard it".to_owned()));
    }
    let epoch = pipeline.store.epoch(name).await?.id;
    let commit = Commit { reread, close: vec![letter.id.clone()], ..Commit::default() };
    pipeline.store.commit(name, epoch, &[commit]).await?;
    log_closed(pipeline, std::slice::from_ref(&letter.id), &Resolution::Retried).await?;
    Ok(Sent::Relinked)
}

/// Takes numbers in the run of this retry for the connection, and returns the first.
pub(super) async fn reserve<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    name: &ConnectionName,
    count: u32,
    runs: &mut Runs,
) -> anyhow::Result<Cause> {
    let began = pipeline.store.epoch(name).await?;
    let run = match runs.get(name) {
        Some(run) => run.clone(),
        None => {
            let run = Run::new(new_run_id(), RunKind::Retry, operator(), began.now);
            pipeline.store.begin_run(name, &run).await?;
            runs.insert(name.clone(), run.id.clone());
            run.id
        }
    };
    let number = pipeline.store.reserve(name, &run, count, None).await?.unwrap_or_default();
    Ok(Cause { run, number })
}

/// A side of a link whose writer is asked again.
#[derive(Debug, Clone)]
pub(super) struct Order {
    pub(super) letter: LetterId,
    pub(super) side: Side,
    pub(super) link: LinkId,
    pub(super) cause: Cause,
    /// Whether the letter is open, or was discarded and is taken back. One that was closed after it was taken in hand asks for
    /// nothing but what was counted for it and never published.
    pub(super) is_open: bool,
}

/// Why a letter stays open although its side asks for nothing now.
const NOT_TOLD: &str = "nothing was sent: what it is about waits for a person (`muster held list`), or its accounts were not read \
                        since the store forgot them; the letter stays open";

/// Whether a side that asks for nothing really has everything: both sides were read in this epoch, and nothing waits.
fn is_at_rest(link: &Link, side: Side, rules: &Rules, epoch: Epoch) -> bool {
    let is_known = |side: Side| {
        let state = &link.sides[side];
        state.account.is_none() || state.seen_at.is_some() || rules.write_only[side]
    };
    link.epoch == epoch && Side::BOTH.into_iter().all(is_known) && link.held().all(|held| held.side != side)
}

/// Lets sides of links ask for a command again, and asks. A letter about a side that has everything is closed. Done twice
/// under the same numbers, everything is counted once, and what was never published is published.
pub(super) async fn send_sides<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    name: &ConnectionName,
    orders: Vec<Order>,
) -> anyhow::Result<Vec<(LetterId, Sent)>> {
    let connection =
        pipeline.connections.get(name).with_context(|| format!("connection {name} is not configured here"))?;
    let (mut left, mut sent, mut by_side) = (orders, Vec::new(), Sides::<Vec<Command>>::default());
    while !left.is_empty() {
        let now: Vec<_> = left.drain(..left.len().min(AT_ONCE)).collect();
        let ids: Vec<_> = now.iter().map(|order| order.link).collect();
        let loaded = match pipeline.store.load(name, &ids).await {
            Err(StoreError::EpochChanged(_)) => {
                pipeline.store.epoch(name).await?;
                left.extend(now);
                continue;
            }
            loaded => loaded?,
        };
        let rules = connection.rules(loaded.epoch);
        let (mut lacks, mut commits) = (Vec::new(), Vec::new());
        for (order, link) in now.iter().zip(loaded.items) {
            let side = order.side;
            let lacking = order.is_open && link.as_ref().is_some_and(|link| lacking(link, side, &rules).is_some());
            let is_closed = order.is_open
                && link.as_ref().is_some_and(|link| !lacking && is_at_rest(link, side, &rules, loaded.epoch));
            let mut emits = Sides { a: false, b: false };
            emits[side] = lacking;
            let Cause { run, number } = order.cause.clone();
            let count = Count::Change { run, number, outcome: ChangeOutcome::Unchanged, emits };
            let link = link.filter(|_| order.is_open).map(|link| {
                let mut link = exhume(&link, side);
                if is_closed {
                    link.sides[side].dead = None;
                }
                link
            });
            let close = if is_closed { vec![order.letter.clone()] } else { Vec::new() };
            lacks.push((lacking, is_closed));
            commits.push(Commit { link, count: Some(count), close, ..Commit::default() });
        }
        let committed = match pipeline.store.commit(name, loaded.epoch, &commits).await {
            Err(StoreError::EpochChanged(_)) => {
                pipeline.store.epoch(name).await?;
                left.extend(now);
                continue;
            }
            committed => committed?,
        };
        let mut closed = Vec::new();
        for ((order, (lacks, is_closed)), committed) in now.into_iter().zip(lacks).zip(committed) {
            let Committed::Done { owed } = committed else {
                // Committed by somebody else meanwhile: it is looked at again.
                left.push(order);
                continue;
            };
            // What was counted before a crash and never published is published now, whatever is lacking by now.
            if lacks || owed[order.side] {
                by_side[order.side].push(Command {
                    connection: name.clone(),
                    link: order.link,
                    side: order.side,
                    cause: order.cause,
                    lane: Lane::Live,
                    approval: None,
                    failed: Vec::new(),
                });
            }
            if is_closed {
                closed.push(order.letter.clone());
            }
            let became = match (lacks, is_closed) {
                (true, _) => Sent::Asked,
                _ if !order.is_open => Sent::Closed,
                (false, true) => Sent::Closed,
                (false, false) => Sent::Left(NOT_TOLD.to_owned()),
            };
            sent.push((order.letter, became));
        }
        if !closed.is_empty() {
            log_closed(pipeline, &closed, &Resolution::Healed).await?;
        }
    }
    hit("dead.asked");
    let mut outgoing = Vec::new();
    for side in Side::BOTH {
        let queue = Queue::commands(&connection.systems[side], Lane::Live);
        outgoing.extend(by_side[side].chunks(pipeline.commands_at_once(&queue)).map(|commands| Outgoing {
            to: Destination::Queue(queue.clone()),
            message: Message::new(Payload::Commands(commands.to_vec())),
        }));
    }
    if !outgoing.is_empty() {
        pipeline.broker.publish(outgoing).await?;
    }
    Ok(sent)
}
