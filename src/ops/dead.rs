//! `muster dead`: open letters, and sending them again. Nothing leaves the dead letters before its successor is
//! confirmed; what a retry writes is computed from the link of the day, so it can be made at any time (B6).

use std::collections::BTreeMap;

use anyhow::Context as _;

use super::connect::operator;
use super::exit::Exit;
use super::output::{self, Form};
use super::sync::UsageError;
use crate::broker::message::Payload;
use crate::broker::{Broker, Destination, Message, Outgoing, Queue};
use crate::domain::pending::lacking;
use crate::domain::write::exhume;
use crate::domain::{
    Cause, ChangeOutcome, Command, ConnectionName, DeadLetter, Lane, LetterContent, LetterEntry, LetterId, Resolution,
    RunId, Sides, Timestamp,
};
use crate::stages::Pipeline;
use crate::stages::producer::new_run_id;
use crate::store::{Commit, Committed, Count, Run, RunKind, Store};

/// Lists open letters, oldest first.
pub async fn list<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    connection: Option<&ConnectionName>,
    code: Option<&str>,
    form: Form,
) -> anyhow::Result<Exit> {
    let mut letters = match connection {
        Some(connection) => pipeline.store.letters(Some(connection)).await?,
        None => all(pipeline).await?,
    };
    letters.retain(|letter| code.is_none_or(|code| letter.fingerprint.code.as_str() == code));
    if form == Form::Json {
        letters.iter().for_each(output::object);
    } else if letters.is_empty() {
        output::line("No open letters");
    } else {
        let mut table = output::table(&["LETTER", "TARGET", "CODE", "ATTRIBUTE", "ACCOUNT", "LAST", "TIMES", "WHAT"]);
        for letter in &letters {
            let text = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
            table.add_row([
                letter.id.to_string(),
                text(letter.fingerprint.target.as_ref().map(ToString::to_string)),
                letter.fingerprint.code.to_string(),
                text(letter.fingerprint.attribute.as_ref().map(ToString::to_string)),
                text(letter.account.as_ref().or(letter.partner.as_ref()).map(ToString::to_string)),
                letter.last_at.to_string(),
                letter.failures.to_string(),
                letter.message.clone(),
            ]);
        }
        output::print(&table);
        let count = output::count(letters.len(), "open letter");
        output::line(format!("{count}; see one with `muster dead show <letter>`"));
    }
    Ok(if letters.is_empty() { Exit::Done } else { Exit::Attention })
}

async fn all<B: Broker, S: Store>(pipeline: &Pipeline<B, S>) -> anyhow::Result<Vec<DeadLetter>> {
    let mut letters = pipeline.store.letters(None).await?;
    for name in pipeline.connections.keys() {
        letters.extend(pipeline.store.letters(Some(name)).await?);
    }
    letters.sort_by_key(|letter| letter.first_at);
    Ok(letters)
}

/// Shows one letter whole.
pub async fn show<B: Broker, S: Store>(pipeline: &Pipeline<B, S>, id: &str, form: Form) -> anyhow::Result<Exit> {
    let letter = find(pipeline, id).await?;
    if form == Form::Json {
        output::object(&letter);
        return Ok(Exit::Done);
    }
    let text = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let rows = [
        ("letter", letter.id.to_string()),
        ("connection", text(letter.connection.as_ref().map(ToString::to_string))),
        ("target", text(letter.fingerprint.target.as_ref().map(ToString::to_string))),
        ("account", text(letter.account.as_ref().map(ToString::to_string))),
        ("partner", text(letter.partner.as_ref().map(ToString::to_string))),
        ("class", letter.fingerprint.class.to_string()),
        ("code", letter.fingerprint.code.to_string()),
        ("attribute", text(letter.fingerprint.attribute.as_ref().map(ToString::to_string))),
        ("what happened", letter.message.clone()),
        ("HTTP status", text(letter.status.map(|status| status.to_string()))),
        ("request id", text(letter.request_id.clone())),
        ("first", letter.first_at.to_string()),
        ("last", letter.last_at.to_string()),
        ("times", letter.failures.to_string()),
        ("a retry", what_a_retry_does(&letter.content).to_owned()),
    ];
    for (name, value) in rows {
        output::line(format!("{name:<14} {value}"));
    }
    if let Some(remedy) = remedy(pipeline, &letter) {
        output::line(format!("{:<14} {remedy}", "what to do"));
    }
    output::line(format!("\nSend it again with `muster dead retry '{}'`", letter.id));
    Ok(Exit::Done)
}

/// What the connector of the target advises for the code.
fn remedy<B: Broker, S: Store>(pipeline: &Pipeline<B, S>, letter: &DeadLetter) -> Option<&'static str> {
    pipeline.systems.get(letter.fingerprint.target.as_ref()?)?.remedy(&letter.fingerprint.code)
}

fn what_a_retry_does(content: &LetterContent) -> &'static str {
    match content {
        LetterContent::Command { .. } => "writes what the account lacks on that day, if it still lacks anything",
        LetterContent::Account { .. } => "reads the account again",
        LetterContent::Message { .. } => "puts the message back into its queue as it came",
    }
}

async fn find<B: Broker, S: Store>(pipeline: &Pipeline<B, S>, id: &str) -> anyhow::Result<DeadLetter> {
    let id = LetterId::from_text(id);
    if let Some(letter) = pipeline.store.letter(None, &id).await? {
        return Ok(letter);
    }
    for name in pipeline.connections.keys() {
        if let Some(letter) = pipeline.store.letter(Some(name), &id).await? {
            return Ok(letter);
        }
    }
    Err(UsageError::new(format!("there is no open letter {id}; see `muster dead list`")).into())
}

/// Sends letters again.
pub async fn retry<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    ids: &[String],
    everything: bool,
    form: Form,
) -> anyhow::Result<Exit> {
    let letters = if everything {
        all(pipeline).await?
    } else {
        let mut letters = Vec::new();
        for id in ids {
            letters.push(find(pipeline, id).await?);
        }
        letters
    };
    let mut failed = 0;
    let mut runs = BTreeMap::new();
    for letter in &letters {
        let result = retry_one(pipeline, letter, &mut runs).await;
        let text = match &result {
            Ok(text) => (*text).to_owned(),
            Err(error) => {
                failed += 1;
                format!("not sent: {error:#}")
            }
        };
        match form {
            Form::Json => {
                output::object(&serde_json::json!({ "letter": letter.id, "sent": result.is_ok(), "text": text }))
            }
            Form::Text => output::line(format!("{}: {text}", letter.id)),
        }
    }
    if letters.is_empty() && form == Form::Text {
        output::line("No open letters");
    }
    Ok(if failed == 0 { Exit::Done } else { Exit::Failed })
}

/// The run that a retry counts in, for each connection: one, however many letters are sent again.
type Runs = BTreeMap<ConnectionName, RunId>;

async fn retry_one<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    letter: &DeadLetter,
    runs: &mut Runs,
) -> anyhow::Result<&'static str> {
    match &letter.content {
        LetterContent::Command { command } => retry_command(pipeline, &letter.id, command, runs).await,
        LetterContent::Account { side } => {
            let (Some(connection), Some(account)) = (&letter.connection, &letter.account) else {
                anyhow::bail!("the record has no id to ask for; correct it in its system, the next full sync reads it");
            };
            let epoch = pipeline.store.epoch(connection).await?.id;
            let commit = Commit { reread: vec![(*side, account.clone())], ..Commit::default() };
            pipeline.store.commit(connection, epoch, vec![commit]).await?;
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

async fn log_closed<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    id: &LetterId,
    resolution: Resolution,
) -> anyhow::Result<()> {
    let at = Timestamp(jiff::Timestamp::now().as_millisecond());
    let closed = LetterEntry::Closed { id: id.clone(), resolution, at, by: operator() };
    let log = Outgoing { to: Destination::Dead, message: Message::new(Payload::Letters(vec![closed])) };
    Ok(pipeline.broker.publish(vec![log]).await?)
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
    let run = Run {
        id: new_run_id(),
        kind: RunKind::Retry,
        by: operator(),
        began_at: began.now,
        only: None,
        reading: Sides { a: false, b: false },
        read: 0,
        expected: None,
        changes: Vec::new(),
        emitted: 0,
        commands: Vec::new(),
        failed: None,
    };
    pipeline.store.begin_run(name, &run).await?;
    runs.insert(name.clone(), run.id.clone());
    Ok(run.id)
}

/// Lets the side ask for a command again, and asks. A letter about a side that lacks nothing is closed.
async fn retry_command<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    letter: &LetterId,
    failed: &Command,
    runs: &mut Runs,
) -> anyhow::Result<&'static str> {
    let name = &failed.connection;
    let connection =
        pipeline.connections.get(name).with_context(|| format!("connection {name} is not configured here"))?;
    let run = run_of(pipeline, name, runs).await?;
    let number = pipeline.store.reserve(name, &run, 1, None).await?.unwrap_or_default();
    let cause = Cause { run, number };
    loop {
        let loaded = pipeline.store.load(name, &[failed.link]).await?;
        let link = loaded.items.into_iter().next().flatten();
        let lacks =
            link.as_ref().is_some_and(|link| lacking(link, failed.side, &connection.rules(loaded.epoch)).is_some());
        let mut emits = Sides { a: false, b: false };
        emits[failed.side] = lacks;
        let count = Count::Change { run: cause.run.clone(), number, outcome: ChangeOutcome::Unchanged, emits };
        let link = link.map(|link| {
            let mut link = exhume(&link, failed.side);
            if !lacks {
                link.sides[failed.side].dead = None;
            }
            link
        });
        let close = if lacks { Vec::new() } else { vec![letter.clone()] };
        let commit = Commit { link, count: Some(count), close, ..Commit::default() };
        match pipeline.store.commit(name, loaded.epoch, vec![commit]).await?.pop() {
            Some(Committed::Done { .. }) if !lacks => {
                log_closed(pipeline, letter, Resolution::Healed).await?;
                return Ok("nothing was sent: the side lacks nothing any more, so the letter is closed");
            }
            Some(Committed::Done { .. }) => {
                let command = Command { cause: cause.clone(), lane: Lane::Live, ..failed.clone() };
                let queue = Queue::commands(&connection.systems[failed.side], Lane::Live);
                let message = Message::new(Payload::Commands(vec![command]));
                pipeline.broker.publish(vec![Outgoing { to: Destination::Queue(queue), message }]).await?;
                return Ok("sent; a success closes the letter, a failure joins it");
            }
            _ => continue,
        }
    }
}
