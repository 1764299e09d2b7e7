//! `muster dead`: open letters, sending them again, and closing them for good.

use super::connect::operator;
use super::exit::Exit;
use super::output::{self, Form};
use super::sync::UsageError;
use crate::broker::message::Payload;
use crate::broker::{Broker, Destination, Message, Outgoing};
use crate::domain::{ConnectionName, DeadLetter, LetterContent, LetterEntry, LetterId, Resolution, Timestamp};
use crate::stages::{self, Pipeline};
use crate::store::Store;

mod discard;
mod retry;

pub use discard::{Grounds, discard};
pub use retry::retry;
pub(super) use retry::retry_by_id;

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
    output::line(format!("\nSend it again:      muster dead retry '{}'", letter.id));
    output::line(format!("Close it for good:  muster dead discard '{}' --reason ...", letter.id));
    Ok(Exit::Done)
}

/// What the connector of the target advises for the code, or else the stages themselves.
pub(crate) fn remedy<B, S>(pipeline: &Pipeline<B, S>, letter: &DeadLetter) -> Option<&'static str> {
    let code = &letter.fingerprint.code;
    let target = letter.fingerprint.target.as_ref().and_then(|target| pipeline.systems.get(target));
    target.and_then(|system| system.remedy(code)).or_else(|| stages::remedy(code))
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

/// Appends to the log of letters that one was closed, by whoever runs this command.
pub(super) async fn log_closed<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    id: &LetterId,
    resolution: Resolution,
) -> anyhow::Result<()> {
    let at = Timestamp(jiff::Timestamp::now().as_millisecond());
    let closed = LetterEntry::Closed { id: id.clone(), resolution, at, by: operator() };
    let log = Outgoing { to: Destination::Dead, message: Message::new(Payload::Letters(vec![closed])) };
    Ok(pipeline.broker.publish(vec![log]).await?)
}
