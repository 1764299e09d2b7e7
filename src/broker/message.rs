//! Messages: CloudEvents 1.0 in JSON (<https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md>). `type`
//! carries the version of `data`, which is an array of 1 to 200 items.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::domain::{Change, Command, LetterEntry};

/// Items in one message at most.
pub const MAX_ITEMS: usize = 200;

/// Bytes in one body at most. RabbitMQ 4 takes 16 MiB; a page that approaches this is split by its sender.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;

const CHANGES: &str = "muster.changes.v1";
const COMMANDS: &str = "muster.commands.v1";
const LETTERS: &str = "muster.letters.v1";

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Unique; a message that is published again after an unknown outcome keeps it.
    pub id: String,
    /// How many attempts at its work have failed: the header `x-muster-attempt`.
    pub attempt: u32,
    /// W3C trace context of what brought it about: the header `traceparent`.
    pub traceparent: Option<String>,
    /// What it says.
    pub payload: Payload,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// What a producer saw.
    Changes(Vec<Change>),
    /// What a mapper asks for.
    Commands(Vec<Command>),
    /// Entries of the log of dead letters.
    Letters(Vec<LetterEntry>),
    /// Bytes that nobody here could read, sent again as they came.
    Raw(Bytes),
}

impl Payload {
    /// How many items it has.
    pub fn items(&self) -> usize {
        match self {
            Self::Changes(changes) => changes.len(),
            Self::Commands(commands) => commands.len(),
            Self::Letters(entries) => entries.len(),
            Self::Raw(_) => 1,
        }
    }
}

/// Why a body is no message. Never carries the body's text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Not JSON, or not of the envelope's shape.
    #[error("the body is not a CloudEvent: {0}")]
    Malformed(String),
    /// A type, or a version of one, that this program does not know: perhaps of a newer one.
    #[error("message type {0} is not known to this version")]
    UnknownType(String),
    /// `data` holds no item, or more than allowed.
    #[error("the message has {0} items, 1 to {MAX_ITEMS} are allowed")]
    Items(usize),
}

#[derive(Serialize)]
struct Envelope<'m, T> {
    specversion: &'static str,
    id: &'m str,
    source: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    datacontenttype: &'static str,
    data: T,
}

#[derive(Deserialize)]
struct Received<'m> {
    specversion: &'m str,
    id: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(borrow)]
    data: &'m serde_json::value::RawValue,
}

impl Message {
    /// A first attempt at this, with a new id.
    pub fn new(payload: Payload) -> Self {
        Self { id: crate::clock::new_id(), attempt: 0, traceparent: None, payload }
    }

    /// The body's bytes.
    pub fn encode(&self) -> Bytes {
        fn json<T: Serialize>(id: &str, kind: &'static str, data: T) -> Bytes {
            let envelope =
                Envelope { specversion: "1.0", id, source: "/muster", kind, datacontenttype: "application/json", data };
            serde_json::to_vec(&envelope).expect("domain types have string keys, so they are JSON").into()
        }
        match &self.payload {
            Payload::Changes(changes) => json(&self.id, CHANGES, changes),
            Payload::Commands(commands) => json(&self.id, COMMANDS, commands),
            Payload::Letters(entries) => json(&self.id, LETTERS, entries),
            Payload::Raw(bytes) => bytes.clone(),
        }
    }

    /// Reads a body. `attempt` and `traceparent` come from the headers.
    pub fn decode(body: &[u8], attempt: u32, traceparent: Option<String>) -> Result<Self, MessageError> {
        let malformed = |error: serde_json::Error| {
            // serde's own text may quote a value; the place is enough.
            MessageError::Malformed(format!(
                "{:?} error at line {}, column {}",
                error.classify(),
                error.line(),
                error.column()
            ))
        };
        fn items<T>(items: Vec<T>) -> Result<Vec<T>, MessageError> {
            if (1..=MAX_ITEMS).contains(&items.len()) { Ok(items) } else { Err(MessageError::Items(items.len())) }
        }
        let received: Received<'_> = serde_json::from_slice(body).map_err(malformed)?;
        if received.specversion != "1.0" {
            return Err(MessageError::Malformed("specversion is not 1.0".to_owned()));
        }
        let data = received.data.get();
        let payload = match received.kind.as_str() {
            CHANGES => Payload::Changes(items(serde_json::from_str(data).map_err(malformed)?)?),
            COMMANDS => Payload::Commands(items(serde_json::from_str(data).map_err(malformed)?)?),
            LETTERS => Payload::Letters(items(serde_json::from_str(data).map_err(malformed)?)?),
            other => return Err(MessageError::UnknownType(other.chars().take(80).collect())),
        };
        Ok(Self { id: received.id, attempt, traceparent, payload })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Cause, Lane, LinkId, Side};

    fn command() -> Message {
        Message::new(Payload::Commands(vec![Command {
            connection: "crm-scim".parse().unwrap(),
            link: LinkId(1),
            side: Side::B,
            cause: Cause { run: "r1".parse().unwrap(), number: 3 },
            lane: Lane::Bulk,
            approval: None,
            failed: Vec::new(),
        }]))
    }

    #[test]
    fn a_message_is_read_back() {
        let message = Message { attempt: 2, ..command() };
        assert_eq!(Message::decode(&message.encode(), 2, None), Ok(message));
    }

    #[test]
    fn what_cannot_be_read_is_named_without_its_text() {
        let body = command().encode();
        let text = std::str::from_utf8(&body).unwrap();
        let of = |from: &str, to: &str| Message::decode(text.replace(from, to).as_bytes(), 0, None).unwrap_err();
        assert_eq!(of("commands.v1", "commands.v9"), MessageError::UnknownType("muster.commands.v9".to_owned()));
        assert!(!of(r#""link""#, r#""l1nk""#).to_string().contains("l1nk"));
        assert!(matches!(Message::decode(b"\xff\xfe", 0, None), Err(MessageError::Malformed(_))));
        let none = r#"{"specversion":"1.0","id":"x","source":"/","type":"muster.commands.v1","data":[]}"#;
        assert_eq!(Message::decode(none.as_bytes(), 0, None), Err(MessageError::Items(0)));
    }
}
