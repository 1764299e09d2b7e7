//! Dead letters: incidents that need a person, about one account of one side, or about one message that nobody can read.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::attribute::AttributePath;
use super::command::Command;
use super::failure::{Code, FailureClass};
use super::id::{AccountId, ConnectionName, LinkId, Side, SystemName};
use super::link::Link;
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

    /// The letters about what was refused to the sides of this link.
    pub fn of_refusals(connection: &ConnectionName, link: &Link) -> Vec<Self> {
        let refused = Side::BOTH.into_iter().filter(|side| link.sides[*side].dead.is_some());
        refused.map(|side| Self::of_link(connection, side, link.id)).collect()
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

    /// The side of a link that it is about, if it is about one.
    pub fn link(&self) -> Option<(ConnectionName, Side, LinkId)> {
        let mut parts = self.0.splitn(3, '/');
        let (connection, side, link) = (parts.next()?, parts.next()?, parts.next()?);
        let side = Side::BOTH.into_iter().find(|known| known.as_str() == side)?;
        Some((connection.parse().ok()?, side, link.parse().ok()?))
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resolution {
    /// A later write or read of the same account went well.
    Healed,
    /// A person sent it again; should it fail again, a new letter is opened.
    Retried,
    /// A person decided that nothing is to be done. A side that was refused stays so until its values or the rules
    /// change, or the person takes it back.
    Discarded {
        /// Why.
        reason: DiscardReason,
        /// What else the person said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<String>,
    },
}

/// Why a person discards a letter. A closed list, so that letters can be counted by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiscardReason {
    /// The two systems may differ here.
    Accepted,
    /// Somebody corrected it without Muster.
    FixedElsewhere,
    /// The account shall not be written.
    NotWanted,
    /// It is about something that is gone, or does not matter any more.
    Obsolete,
}

impl DiscardReason {
    /// Every reason, in the order in which lists show them.
    pub const ALL: [Self; 4] = [Self::Accepted, Self::FixedElsewhere, Self::NotWanted, Self::Obsolete];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::FixedElsewhere => "fixed-elsewhere",
            Self::NotWanted => "not-wanted",
            Self::Obsolete => "obsolete",
        }
    }

    /// What it means, for the person who chooses.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Accepted => "the two systems may differ here",
            Self::FixedElsewhere => "somebody corrected it without Muster",
            Self::NotWanted => "the account shall not be written",
            Self::Obsolete => "it is about something that is gone or does not matter any more",
        }
    }
}

impl fmt::Display for DiscardReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_tells_the_link_that_it_is_about() {
        let (connection, link) = ("crm-scim".parse().unwrap(), LinkId(7));
        let id = LetterId::of_link(&connection, Side::B, link);
        assert_eq!(id.link(), Some((connection.clone(), Side::B, link)));
        for other in [
            LetterId::of_account(&connection, Side::A, &"00000000000000ab".parse().unwrap()),
            LetterId::of_message("crm-scim/b/0000000000000007"),
            LetterId::from_text("crm-scim/b/7"),
            LetterId::from_text(""),
        ] {
            assert_eq!(other.link(), None, "{other}");
        }
    }

    /// The log is append-only: what earlier versions wrote into it must stay readable, as must what this one writes.
    #[test]
    fn entries_keep_their_form() {
        let entry = |resolution: &str| {
            format!(r#"{{"entry":"closed","id":"c/b/1","resolution":{resolution},"at":7,"by":"ada@host"}}"#)
        };
        let discarded = |text| Resolution::Discarded { reason: DiscardReason::FixedElsewhere, text };
        for (text, expected) in [
            (r#""healed""#, Resolution::Healed),
            (r#""retried""#, Resolution::Retried),
            (r#"{"discarded":{"reason":"fixed-elsewhere"}}"#, discarded(None)),
            (r#"{"discarded":{"reason":"fixed-elsewhere","text":"by hand"}}"#, discarded(Some("by hand".to_owned()))),
        ] {
            let read: LetterEntry = serde_json::from_str(&entry(text)).unwrap();
            assert!(matches!(&read, LetterEntry::Closed { resolution, .. } if *resolution == expected), "{text}");
            assert_eq!(serde_json::to_string(&read).unwrap(), entry(text));
        }
        for reason in DiscardReason::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
        }
    }
}
