//! Dead letters: incidents that need a person, about one account of one side, or about one message that nobody can read.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::attribute::AttributePath;
use super::command::Command;
use super::failure::{Code, FailureClass};
use super::id::{AccountId, ConnectionName, LinkId, Side, SystemName};
use super::time::Timestamp;

/// Names the one open letter there can be about its subject (B7), so that writing it again joins it:
/// `<connection>/<side>/<link>`, `<connection>/<side>@<account>` or `message/<message id>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LetterId(String);

impl LetterId {
    /// The letter about what cannot be written to this side of this link.
    pub fn of_link(connection: &ConnectionName, side: Side, link: LinkId) -> Self {
        Self(format!("{connection}/{side}/{link}"))
    }

    /// The letter about an account that cannot be read or linked.
    pub fn of_account(connection: &ConnectionName, side: Side, account: &AccountId) -> Self {
        Self(format!("{connection}/{side}@{account}"))
    }

    /// The letter about a message that cannot be decoded or that no configuration asks for.
    pub fn of_message(message_id: &str) -> Self {
        Self(format!("message/{message_id}"))
    }

    /// The id as a person typed it; one that names no letter is simply not found.
    pub fn from_text(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What letters of one cause have in common (B9).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fingerprint {
    /// The system that refused, or whose record cannot be read; absent for a message of unknown origin.
    pub target: Option<SystemName>,
    /// The class of the failure.
    pub class: FailureClass,
    /// What went wrong.
    pub code: Code,
    /// The attribute at fault.
    pub attribute: Option<AttributePath>,
}

/// An open letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Which incident it is.
    pub id: LetterId,
    /// What it has in common with others.
    pub fingerprint: Fingerprint,
    /// The connection, unless the message could not be read so far.
    pub connection: Option<ConnectionName>,
    /// The account that cannot be written or read, where it has an id.
    pub account: Option<AccountId>,
    /// Its partner on the other side, which a person will recognise when the account itself does not exist yet.
    pub partner: Option<AccountId>,
    /// When the incident began and when it was last seen.
    pub first_at: Timestamp,
    /// When it last failed.
    pub last_at: Timestamp,
    /// How often it failed.
    pub failures: u32,
    /// For a person: what happened, without secrets and without attribute values.
    pub message: String,
    /// HTTP status of the last answer.
    pub status: Option<u16>,
    /// The vendor's id of the last request.
    pub request_id: Option<String>,
    /// What a retry sends.
    pub content: LetterContent,
}

/// What a retry of a letter sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum LetterContent {
    /// The command again; what it writes is computed from the link of that day (B6).
    Command {
        /// The command that failed last.
        command: Command,
    },
    /// The account is read again.
    Account {
        /// The side that it is read from.
        side: Side,
    },
    /// The bytes of the message go to the queue that they came from.
    Message {
        /// The queue.
        queue: String,
        /// The body, in base64 since it may be anything.
        body: String,
    },
}

/// How a letter was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resolution {
    /// A later write or read of the same account went well.
    Healed,
    /// A person sent it again; should it fail again, a new letter is opened.
    Retried,
}

/// One entry of the append-only log of letters. The open letters are a fold over it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "entry")]
pub enum LetterEntry {
    /// A letter was opened, or failed again.
    Opened {
        /// The letter as it stands.
        letter: Box<DeadLetter>,
    },
    /// A letter was closed.
    Closed {
        /// Which one.
        id: LetterId,
        /// How.
        resolution: Resolution,
        /// When, by the clock of whoever closed it.
        at: Timestamp,
        /// Who: `user@host`, or the stage that healed it.
        by: String,
    },
}
