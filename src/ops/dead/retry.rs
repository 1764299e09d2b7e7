//! `muster dead retry`: sends letters again. Nothing leaves the dead letters before its successor is confirmed; what a
//! retry writes is computed from the link of the day, so it can be made at any time (B6).

use std::collections::BTreeMap;

use anyhow::Context as _;

use super::{all, find, log_closed};
use crate::broker::message::Payload;
use crate::broker::{Broker, Destination, Message, Outgoing, Queue};
use crate::domain::pending::lacking;
use crate::domain::write::exhume;
use crate::domain::{
    Cause, ChangeOutcome, Command, ConnectionName, DeadLetter, Lane, LetterContent, LetterId, LinkId, Resolution,
    RunId, Side, Sides,
};
use crate::ops::connect::{Mode, operator};
use crate::ops::exit::Exit;
use crate::ops::output::{self, Form};
use crate::ops::sync::UsageError;
use crate::ops::worker::{how_to_start, missing};
use crate::stages::Pipeline;
use crate::stages::producer::new_run_id;
use crate::store::{Commit, Committed, Count, Run, RunKind, Store};

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

/// Sends letters again.
pub async fn retry<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    mode: &Mode,
    ids: &[String],
    everything: bool,
    form: Form,
) -> anyhow::Result<Exit> {
    let letters: Vec<Again> = if everything {
        all(pipeline).await?.into_iter().map(|letter| Again::Letter(Box::new(letter))).collect()
    } else {
        let mut letters = Vec::new();
        for id in ids {
            letters.push(again(pipeline, id).await?);
        }
        letters
    };
    let mut failed = 0;
    let mut runs = BTreeMap::new();
    for again in &letters {
        let id = match again {
            Again::Letter(letter) => &letter.id,
            Again::Discarded(id, _) => id,
        };
        let result = retry_one(pipeline, again, &mut runs).await;
        let text = match &result {
            Ok(text) => (*text).to_owned(),
            Err(error) => {
                failed += 1;
                format!("not sent: {error:#}")
            }
        };
        match form {
            Form::Json => output::object(&serde_json::json!({ "letter": id, "sent": result.is_ok(), "text": text })),
            Form::Text => output::line(format!("{id}: {text}")),
        }
    }
    match form {
        Form::Json => {}
        Form::Text if letters.is_empty() => output::line("No open letters"),
        Form::Text => how_to_start(&missing(&pipeline.store).await?, mode).into_iter().for_each(output::line),
    }
    Ok(if failed == 0 { Exit::Done } else { Exit::Failed })
}

/// Sends one letter again; what came of it, in words.
pub(in crate::ops) async fn retry_by_id<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    id: &LetterId,
) -> anyhow::Result<&'static str> {
    let letter = again(pipeline, id.as_str()).await?;
    retry_one(pipeline, &letter, &mut Runs::new()).await
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
type Runs = BTreeMap<ConnectionName, RunId>;

async fn retry_one<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    again: &Again,
    runs: &mut Runs,
) -> anyhow::Result<&'static str> {
    let letter = match again {
        Again::Letter(letter) => letter,
        Again::Discarded(id, refused) => return retry_side(pipeline, id, refused, runs).await,
    };
    match &letter.content {
        LetterContent::Command { command } => {
            let (connection, side, link) = (command.connection.clone(), command.side, command.link);
            retry_side(pipeline, &letter.id, &Refused { connection, side, link }, runs).await
        }
        LetterContent::Account { side } => {
            let (Some(connection), Some(account)) = (&letter.connection, &letter.account) else {
                anyhow::bail!("the record has no id to ask for; correct it in its system, the next full sync reads it");
            };
            let epoch = pipeline.store.epoch(connection).await?.id;
            let commit = Commit { reread: vec![(*side, account.clone())], ..Commit::default() };
            pipeline.store.commit(connection, epoch, &[commit]).await?;
            Ok("the producer reads the account again; a good reading closes the letter")
        }
        LetterContent::Message { queue, body } => {
            let queue =
                Queue::parse("x", &format!("x.{queue}")).context("the queue that it came from is none of ours")?;
            let body = crate::stages::from_base64(body).context("the letter's body is damaged")?;
            let message = Message::new(Payload::Raw(body.into()));
            pipeline.broker.publish(vec![Outgoing { to: Destination::Queue(queue), message }]).await?;
            log_closed(pipeline, &letter.id, Resolution::Retried).await?;
            pipeline.store.file_letters(&[], std::slice::from_ref(&letter.id)).await?;
            Ok("the message is in its queue again; if it fails again, a new letter is opened")
        }
    }
}

/// The run of this retry for the connection.
async fn run_of<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    name: &ConnectionName,
    runs: &mut Runs,
) -> anyhow::Result<RunId> {
    if let Some(run) = runs.get(name) {
        return Ok(run.clone());
    }
    let began = pipeline.store.epoch(name).await?;
    let run = Run::new(new_run_id(), RunKind::Retry, operator(), began.now);
    pipeline.store.begin_run(name, &run).await?;
    runs.insert(name.clone(), run.id.clone());
    Ok(run.id)
}

/// Lets the side ask for a command again, and asks. A letter about a side that lacks nothing is closed.
async fn retry_side<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    letter: &LetterId,
    refused: &Refused,
    runs: &mut Runs,
) -> anyhow::Result<&'static str> {
    let Refused { connection: name, side, link } = refused;
    let (side, link_id) = (*side, *link);
    let connection =
        pipeline.connections.get(name).with_context(|| format!("connection {name} is not configured here"))?;
    let run = run_of(pipeline, name, runs).await?;
    let number = pipeline.store.reserve(name, &run, 1, None).await?.unwrap_or_default();
    let cause = Cause { run, number };
    loop {
        let loaded = pipeline.store.load(name, &[link_id]).await?;
        let link = loaded.items.into_iter().next().flatten();
        let lacks = link.as_ref().is_some_and(|link| lacking(link, side, &connection.rules(loaded.epoch)).is_some());
        let mut emits = Sides { a: false, b: false };
        emits[side] = lacks;
        let count = Count::Change { run: cause.run.clone(), number, outcome: ChangeOutcome::Unchanged, emits };
        let link = link.map(|link| {
            let mut link = exhume(&link, side);
            if !lacks {
                link.sides[side].dead = None;
            }
            link
        });
        let close = if lacks { Vec::new() } else { vec![letter.clone()] };
        let commit = Commit { link, count: Some(count), close, ..Commit::default() };
        match pipeline.store.commit(name, loaded.epoch, &[commit]).await?.pop() {
            Some(Committed::Done { .. }) if !lacks => {
                log_closed(pipeline, letter, Resolution::Healed).await?;
                return Ok("nothing was sent: the side lacks nothing any more, so the letter is closed");
            }
            Some(Committed::Done { .. }) => {
                let cause = cause.clone();
                let command =
                    Command { connection: name.clone(), link: link_id, side, cause, lane: Lane::Live, approval: None };
                let queue = Queue::commands(&connection.systems[side], Lane::Live);
                let message = Message::new(Payload::Commands(vec![command]));
                pipeline.broker.publish(vec![Outgoing { to: Destination::Queue(queue), message }]).await?;
                return Ok("sent; a success closes the letter, a failure joins it");
            }
            _ => continue,
        }
    }
}
