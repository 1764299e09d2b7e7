//! Dead letters: incidents that need a person, about one account of one side, or about one message that nobody can read.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::attribute::AttributePath;
use super::audit::Line;
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

    /// Whether it is the letter about a message.
    pub fn is_of_message(&self) -> bool {
        self.0.starts_with("message/")
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

impl Fingerprint {
    /// The fingerprint as the text that stores group letters by: target, class, code and attribute, each followed by a
    /// space but the last; what is absent is empty. None of them can hold a space.
    pub fn key(&self) -> String {
        let target = self.target.as_ref().map_or("", SystemName::as_str);
        let attribute = self.attribute.as_ref().map_or("", AttributePath::as_str);
        format!("{target} {} {} {attribute}", self.class, self.code)
    }

    /// The fingerprint of a [`Fingerprint::key`]; `None` if the text is none.
    pub fn from_key(key: &str) -> Option<Self> {
        let words: Vec<&str> = key.split(' ').collect();
        let [target, class, code, attribute] = words[..] else { return None };
        let some = |text: &'_ str| (!text.is_empty()).then(|| text.to_owned());
        Some(Self {
            target: some(target).map(|name| name.parse()).transpose().ok()?,
            class: FailureClass::ALL.into_iter().find(|known| known.as_str() == class)?,
            code: Code::vendor(code),
            attribute: some(attribute).map(|path| path.parse()).transpose().ok()?,
        })
    }
}

/// Where an open letter stands among others: the one that was opened first comes first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LetterPlace {
    /// When it was opened.
    pub first_at: Timestamp,
    /// Which one it is.
    pub id: LetterId,
}

/// Letters of one cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LetterGroup {
    /// The cause.
    pub fingerprint: Fingerprint,
    /// How many are open.
    pub letters: u64,
    /// When the oldest of them was opened.
    pub first_at: Timestamp,
    /// When one of this cause last failed; it may have been closed since.
    pub last_at: Timestamp,
}

/// One attempt that failed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FailedAttempt {
    /// When its failure was known, by the clock of the worker that made it.
    pub at: Timestamp,
    /// What went wrong.
    pub code: Code,
    /// HTTP status of the answer; absent if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The vendor's id of the request, for their support.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// From the beginning of the attempt until its failure was known, in milliseconds, the waits for a turn at the target
    /// left out; absent where nothing was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<u32>,
}

/// Attempts that a letter or a command remembers at most: the first one and the latest. What lies between is in the log
/// of letters, where each failure that joined a letter has an entry.
pub const ATTEMPTS_KEPT: usize = 20;

/// Adds attempts to those before. Of too many the first one and the latest stay.
pub fn add_attempts(attempts: &mut Vec<FailedAttempt>, more: impl IntoIterator<Item = FailedAttempt>) {
    attempts.extend(more);
    if attempts.len() > ATTEMPTS_KEPT {
        attempts.drain(1..=attempts.len() - ATTEMPTS_KEPT);
    }
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
    /// What happened the first time, where that was something else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_message: Option<String>,
    /// The attempts that failed, oldest first, see [`ATTEMPTS_KEPT`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<FailedAttempt>,
    /// HTTP status of the last answer.
    pub status: Option<u16>,
    /// The vendor's id of the last request.
    pub request_id: Option<String>,
    /// What a retry sends.
    pub content: LetterContent,
}

impl DeadLetter {
    /// Where it stands among others.
    pub fn place(&self) -> LetterPlace {
        LetterPlace { first_at: self.first_at, id: self.id.clone() }
    }

    /// This failure as one more of the letter that is open already (B7): when the incident began and how often it failed
    /// are those of both, everything else is what was seen last.
    pub fn joined(self, open: Self) -> Self {
        let first = open.first_message.unwrap_or(open.message);
        let mut attempts = open.attempts;
        add_attempts(&mut attempts, self.attempts);
        Self {
            first_at: open.first_at,
            failures: open.failures.saturating_add(self.failures),
            first_message: (first != self.message).then_some(first),
            attempts,
            ..self
        }
    }
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
    /// The store had lost its memory, and the account has another link since: that one's letter goes on in its place.
    Moved {
        /// The letter that goes on.
        to: LetterId,
    },
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
    /// A copy of an entry of the log of acts, which is about no letter: the store may be lost, and this log stays.
    Act {
        /// The entry as it lies in the store.
        line: Line,
    },
}

impl LetterEntry {
    /// Carries the entry out on the letters that are open: a fold over the log leaves those that are open today.
    pub fn carry_out(self, open: &mut BTreeMap<LetterId, DeadLetter>) {
        match self {
            Self::Opened { letter } => drop(open.insert(letter.id.clone(), *letter)),
            Self::Closed { id, .. } => drop(open.remove(&id)),
            Self::Act { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_told_from_its_key() {
        let whole = Fingerprint {
            target: Some("scim".parse().unwrap()),
            class: FailureClass::Permanent,
            code: Code::known("email_exists"),
            attribute: Some("emails".parse().unwrap()),
        };
        let bare = Fingerprint { target: None, attribute: None, code: Code::vendor(""), ..whole.clone() };
        for (fingerprint, key) in [(whole, "scim permanent email_exists emails"), (bare, " permanent  ")] {
            assert_eq!(fingerprint.key(), key);
            assert_eq!(Fingerprint::from_key(key), Some(fingerprint), "{key}");
        }
        for none in
            ["", "scim permanent x", "scim odd x y", "A! permanent x y", "scim permanent x 1", "a permanent b c d"]
        {
            assert_eq!(Fingerprint::from_key(none), None, "{none}");
        }
    }

    #[test]
    fn of_many_attempts_the_first_and_the_latest_stay() {
        let attempt = |at| FailedAttempt {
            at: Timestamp(at),
            code: Code::known("timeout"),
            status: None,
            request_id: None,
            latency_ms: None,
        };
        let mut attempts = Vec::new();
        add_attempts(&mut attempts, (0..15).map(attempt));
        assert_eq!(attempts.len(), 15);
        add_attempts(&mut attempts, (15..40).map(attempt));
        let times: Vec<i64> = attempts.iter().map(|attempt| attempt.at.0).collect();
        assert_eq!(times, [0].into_iter().chain(21..40).collect::<Vec<_>>());
    }

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

    fn letter(at: i64, message: &str) -> DeadLetter {
        let code = Code::known("timeout");
        let attempt = FailedAttempt {
            at: Timestamp(at),
            code: code.clone(),
            status: None,
            request_id: None,
            latency_ms: Some(1),
        };
        DeadLetter {
            id: LetterId::from_text("c/b/1"),
            fingerprint: Fingerprint { target: None, class: FailureClass::Transient, code, attribute: None },
            connection: None,
            account: None,
            partner: None,
            first_at: Timestamp(at),
            last_at: Timestamp(at),
            failures: 2,
            message: message.to_owned(),
            first_message: None,
            attempts: vec![attempt],
            status: None,
            request_id: None,
            content: LetterContent::Account { side: Side::B },
        }
    }

    /// B7: whatever fails again joins the open letter, and the log folds to the letters that are open.
    #[test]
    fn a_letter_keeps_its_beginning_and_counts_on() {
        let (first, second, third) = (letter(1, "slow"), letter(5, "cut"), letter(9, "slow"));
        let twice = second.joined(first.clone());
        assert_eq!((twice.first_at, twice.last_at, twice.failures), (Timestamp(1), Timestamp(5), 4));
        assert_eq!((twice.message.as_str(), twice.first_message.as_deref()), ("cut", Some("slow")));
        let thrice = third.joined(twice.clone());
        assert_eq!((thrice.failures, thrice.attempts.len(), thrice.first_message), (6, 3, None));

        let opened = |letter: &DeadLetter| LetterEntry::Opened { letter: Box::new(letter.clone()) };
        let (id, by) = (first.id.clone(), "ada@host".to_owned());
        let closed = LetterEntry::Closed { id, resolution: Resolution::Healed, at: Timestamp(7), by };
        let mut open = BTreeMap::new();
        for (entry, expected) in [
            (opened(&first), Some(&first)),
            (opened(&twice), Some(&twice)),
            (closed.clone(), None),
            (closed, None),
            (opened(&first), Some(&first)),
        ] {
            entry.carry_out(&mut open);
            assert_eq!(open.get(&first.id), expected);
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
            (r#"{"moved":{"to":"c/b/2"}}"#, Resolution::Moved { to: LetterId::from_text("c/b/2") }),
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
