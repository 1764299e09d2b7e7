//! `muster dead`: open letters, sending them again, and closing them for good (R78).
//!
//! - `select`: which letters are meant, and reading them page by page.
//! - `list`, `show`, `preview`, `export`: looking. Nothing that looks takes anything out.
//! - `retry`: one or a batch; `redrive`: many of them, which can be stopped and carried on; `discard`.
//! - `rebuild`: the store's index from the append-only log; `moved`: letters whose link the store forgot.

use super::connect::operator;
use super::sync::UsageError;
use crate::broker::message::Payload;
use crate::broker::{Broker, Destination, Message, Outgoing};
use crate::domain::{DeadLetter, Fingerprint, LetterContent, LetterEntry, LetterId, Resolution, Timestamp};
use crate::stages::{self, Pipeline};
use crate::store::Store;

mod command;
mod discard;
mod export;
mod list;
mod moved;
mod preview;
mod rebuild;
mod redrive;
mod retry;
mod select;
mod show;

pub(crate) use command::Meant;
pub use command::{Command, run};
pub(crate) use discard::{Grounds, close};
pub(crate) use preview::{Prediction, Sight, predict};
pub(crate) use redrive::{Pace, carry_out, planned, so_far, taken_up};
pub(super) use retry::retry_by_id;
pub(crate) use select::{Fitting, Group, Letters, groups, time};
pub(crate) use show::{masked, what_a_retry_does};

/// What the connector of the target advises for the code, or else the stages themselves.
pub(crate) fn remedy<B, S>(pipeline: &Pipeline<B, S>, fingerprint: &Fingerprint) -> &'static str {
    let target = fingerprint.target.as_ref().and_then(|target| pipeline.systems.get(target));
    target
        .and_then(|system| system.remedy(&fingerprint.code))
        .or_else(|| stages::remedy(&fingerprint.code))
        .unwrap_or_else(|| stages::remedy_of_class(fingerprint.class))
}

/// A letter as a program sees it. The bytes of a message hold values of accounts: they are only shown to who asks for them.
fn shown(letter: &DeadLetter, values: bool) -> serde_json::Value {
    let mut shown = serde_json::to_value(letter).unwrap_or_default();
    if let (LetterContent::Message { body, .. }, false) = (&letter.content, values) {
        let bytes = stages::from_base64(body).map_or(0, |bytes| bytes.len());
        shown["content"]["body"] = serde_json::Value::Null;
        shown["content"]["bytes"] = bytes.into();
    }
    shown
}

/// The open letter of this id.
pub(crate) async fn find<B: Broker, S: Store>(pipeline: &Pipeline<B, S>, id: &str) -> anyhow::Result<DeadLetter> {
    let id = LetterId::from_text(id);
    // Most ids tell their connection, and thousands may be looked up in a row.
    let named = id.link().map(|(name, ..)| name).filter(|name| pipeline.connections.contains_key(name));
    if let Some(name) = &named
        && let Some(letter) = pipeline.store.letter(Some(name), &id).await?
    {
        return Ok(letter);
    }
    if let Some(letter) = pipeline.store.letter(None, &id).await? {
        return Ok(letter);
    }
    for name in pipeline.connections.keys().filter(|name| named.as_ref() != Some(name)) {
        if let Some(letter) = pipeline.store.letter(Some(name), &id).await? {
            return Ok(letter);
        }
    }
    Err(UsageError::new(format!("there is no open letter {id}; see `muster dead list`")).into())
}

/// Now, by this machine's clock.
fn now() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_millisecond())
}

/// Appends to the log of letters that some were closed, by whoever runs this command.
pub(super) async fn log_closed<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    ids: &[LetterId],
    resolution: &Resolution,
) -> anyhow::Result<()> {
    let (at, by) = (now(), operator());
    let closed =
        |id: &LetterId| LetterEntry::Closed { id: id.clone(), resolution: resolution.clone(), at, by: by.clone() };
    log(pipeline, ids.iter().map(closed).collect()).await
}

/// Appends to the log of letters.
pub(super) async fn log<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    entries: Vec<LetterEntry>,
) -> anyhow::Result<()> {
    let messages = entries
        .chunks(20)
        .map(|entries| Outgoing { to: Destination::Dead, message: Message::new(Payload::Letters(entries.to_vec())) });
    Ok(pipeline.broker.publish(messages.collect()).await?)
}
