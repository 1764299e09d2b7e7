//! What is told of an account on one connection: the page shows it, and `--json` prints it.

use serde::Serialize;

use super::find::Meant;
use super::teller::Teller;
use super::words::{Words, short};
use super::{Known, Look, lost};
use crate::domain::Rules;
use crate::domain::explain::{Facts, Sight, Standing, explain};
use crate::domain::link::{LastWrite, Left, Parting, WriteAnswer};
use crate::domain::rules::Departure;
use crate::domain::{
    AccountId, AttributePath, ConnectionName, DeadLetter, LetterId, LinkId, RunId, Side, Sides, SystemName, Timestamp,
    Value,
};
use crate::ops::dead;
use crate::stages::Pipeline;
use crate::stages::skew::a_ahead;

/// An account on one connection.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) connection: ConnectionName,
    pub(crate) link: Option<LinkId>,
    /// The verdict in one word.
    pub(crate) state: &'static str,
    /// The same as a sentence.
    pub(crate) verdict: String,
    /// Whether nothing more happens before a person has acted.
    pub(crate) needs_a_person: bool,
    pub(crate) sides: Vec<SideReport>,
    pub(crate) attributes: Vec<AttributeReport>,
    /// Values that did not win, newest first.
    pub(crate) kept: Vec<KeptReport>,
    pub(crate) letters: Vec<LetterReport>,
    pub(crate) next: Vec<Step>,
}

/// One side of it.
#[derive(Debug, Serialize)]
pub(crate) struct SideReport {
    pub(crate) side: Side,
    pub(crate) system: SystemName,
    #[serde(skip)]
    pub(crate) name: String,
    pub(crate) account: Option<AccountId>,
    /// When what is known of it was true, in the system's clock.
    pub(crate) seen_at: Option<Timestamp>,
    /// When it was changed there, in the system's clock.
    pub(crate) modified_at: Option<Timestamp>,
    /// What a look at it today showed: `shown`, `absent`, `failed`, `paused` or `not_asked`.
    pub(crate) today: &'static str,
    pub(crate) last_write: Option<LastWriteReport>,
    /// How the account that was here last parted from its partner, who had left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) parting: Option<PartingReport>,
    /// Since when a write waits until nobody works with the account, and until when at the latest; in the store's clock.
    pub(crate) deferred: Option<DeferralReport>,
    /// Writes that were begun and whose end is not known.
    pub(crate) open_writes: usize,
    /// What there is to say of it, a sentence each.
    pub(crate) text: Vec<String>,
}

/// How an account parted from its partner, who had left.
#[derive(Debug, Serialize)]
pub(crate) struct PartingReport {
    pub(crate) account: AccountId,
    how: Departure,
    why: Left,
    at: Timestamp,
    run: RunId,
    /// The account was gone already.
    was_gone: bool,
}

/// A write that waits until nobody works with the account.
#[derive(Debug, Serialize)]
pub(crate) struct DeferralReport {
    pub(crate) since: Timestamp,
    pub(crate) until: Timestamp,
    /// How the account was in use, such as `logged_in`.
    pub(crate) code: String,
}

/// What the system said to the last write.
#[derive(Debug, Serialize)]
pub(crate) struct LastWriteReport {
    pub(crate) at: Timestamp,
    /// `created`, `updated`, `found`, `moved` or `failed`.
    pub(crate) answer: &'static str,
    pub(crate) code: Option<String>,
    pub(crate) status: Option<u16>,
    pub(crate) request_id: Option<String>,
}

/// One attribute.
#[derive(Debug, Serialize)]
pub(crate) struct AttributeReport {
    pub(crate) attribute: AttributePath,
    /// The value that both sides should have; left out if none is known, null if they should have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) value: Option<Option<Value>>,
    /// The side whose value it is.
    pub(crate) set_by: Option<Side>,
    /// When it was set, in that side's clock.
    pub(crate) set_at: Option<Timestamp>,
    /// Whether both sides hold it and nothing follows.
    pub(crate) in_step: bool,
    pub(crate) rule: Option<String>,
    /// The side that alone counts for it on this link, since a person said so.
    pub(crate) pinned_to: Option<Side>,
    pub(crate) sides: Vec<AttributeSide>,
    /// Neither side has a value, as far as is known.
    #[serde(skip)]
    pub(crate) is_empty: bool,
    #[serde(skip)]
    pub(crate) names: Sides<Option<AttributePath>>,
    /// Whose value it is and since when, for the page.
    #[serde(skip)]
    pub(crate) origin: Option<String>,
}

/// How an attribute is on one side.
#[derive(Debug, Serialize)]
pub(crate) struct AttributeSide {
    pub(crate) side: Side,
    pub(crate) system: SystemName,
    /// What it was last seen to hold, compared with the value: `same`, `other` or `never`.
    pub(crate) last_seen: &'static str,
    /// What it holds today; left out if it was not looked at, null if it holds nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) today: Option<Option<Value>>,
    /// How the value stands towards it.
    pub(crate) standing: &'static str,
    #[serde(skip)]
    pub(crate) name: String,
    pub(crate) text: String,
    /// The same with values at full length.
    #[serde(skip)]
    pub(crate) full_text: String,
}

/// A value that did not win.
#[derive(Debug, Serialize)]
pub(crate) struct KeptReport {
    /// Its id, as `conflicts list` prints it.
    pub(crate) conflict: String,
    pub(crate) attribute: AttributePath,
    pub(crate) side: Side,
    pub(crate) value: Option<Value>,
    pub(crate) reason: crate::domain::resolve::JournalReason,
    pub(crate) seen_at: Timestamp,
    pub(crate) text: String,
    /// How to have it back.
    pub(crate) back: String,
}

/// An open letter.
#[derive(Debug, Serialize)]
pub(crate) struct LetterReport {
    pub(crate) letter: LetterId,
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) first_at: Timestamp,
    pub(crate) last_at: Timestamp,
    pub(crate) failures: u32,
    pub(crate) status: Option<u16>,
    pub(crate) request_id: Option<String>,
    pub(crate) remedy: Option<String>,
    pub(crate) text: String,
}

/// What to do next.
#[derive(Debug, Serialize)]
pub(crate) struct Step {
    pub(crate) text: String,
    pub(crate) command: Option<String>,
}

impl Report {
    pub(super) fn new<B, S>(meant: &Meant, known: &Known, pipeline: &Pipeline<B, S>) -> Self {
        let connection = &meant.connection;
        let words = Words::new(connection, meant.now);
        let a_ahead = a_ahead(Sides { a: &known.systems.a, b: &known.systems.b });
        let rules = Rules::clone(&connection.rules(meant.epoch)).with_skew(a_ahead);
        let lost = lost(&known.kept);
        let today = Sides::from_fn(|side| match &known.today[side] {
            Look::Shown(snapshot) => Some(Sight::Shown(snapshot)),
            Look::Absent => Some(Sight::Absent),
            Look::NotAsked | Look::Paused { .. } | Look::Failed(_) => None,
        });
        let explanation =
            meant.link.as_ref().map(|link| explain(Facts { link, rules: &rules, now: meant.now, today, lost: &lost }));
        let teller = Teller { meant, known, words: &words, rules: &rules, explanation: explanation.as_ref() };
        let (state, verdict) = teller.verdict();
        let remedy = |letter: &DeadLetter| Some(dead::remedy(pipeline, &letter.fingerprint).to_owned());
        let letters: Vec<_> = known.letters.iter().map(|letter| teller.letter(letter, remedy(letter))).collect();
        let stories = explanation.as_ref().map(|explanation| &explanation.attributes[..]).unwrap_or_default();
        Self {
            connection: connection.name.clone(),
            link: meant.link.as_ref().map(|link| link.id),
            state,
            verdict,
            needs_a_person: !letters.is_empty() || state == "held",
            sides: Side::BOTH.into_iter().map(|side| teller.side(side)).collect(),
            attributes: stories.iter().map(|story| teller.attribute(story)).collect(),
            kept: known.kept.iter().map(|entry| teller.kept(entry)).collect(),
            next: teller.next(&letters),
            letters,
        }
    }

    /// Leaves one attribute. `false` if there is none that a person would call so.
    pub(crate) fn narrow(&mut self, name: &str) -> bool {
        let is_called = |attribute: &AttributeReport| {
            let names = Side::BOTH.into_iter().filter_map(|side| attribute.names[side].as_ref());
            let mut names = names.chain([&attribute.attribute]).flat_map(|path| [path.as_str(), short(path)]);
            names.any(|known| known.eq_ignore_ascii_case(name))
        };
        let Some(place) = self.attributes.iter().position(is_called) else { return false };
        self.attributes = vec![self.attributes.swap_remove(place)];
        let path = self.attributes[0].attribute.clone();
        self.kept.retain(|kept| kept.attribute == path);
        true
    }
}

impl AttributeSide {
    /// How it is there, with values at full length if it was asked for.
    pub(crate) fn told(&self, asked: bool) -> &str {
        if asked { &self.full_text } else { &self.text }
    }
}

impl PartingReport {
    pub(crate) fn new(parting: &Parting) -> Self {
        let Parting { account, how, why, at, run, was_gone, over_at: _ } = parting.clone();
        Self { account, how, why, at, run, was_gone }
    }
}

impl LastWriteReport {
    pub(crate) fn new(write: &LastWrite) -> Self {
        let (answer, code) = match &write.answer {
            WriteAnswer::Created => ("created", None),
            WriteAnswer::Updated => ("updated", None),
            WriteAnswer::Found => ("found", None),
            WriteAnswer::Moved => ("moved", None),
            WriteAnswer::Failed(code) => ("failed", Some(code.to_string())),
        };
        let request_id = write.request_id.as_deref().map(str::to_owned);
        Self { at: write.at, answer, code, status: write.status, request_id }
    }
}

/// The word for machines.
pub(crate) fn standing(standing: Standing) -> &'static str {
    match standing {
        Standing::Unknown => "unknown",
        Standing::There => "there",
        Standing::Stays => "stays",
        Standing::Due => "due",
        Standing::UnderWay => "under_way",
        Standing::Held => "held",
        Standing::Rejected => "rejected",
        Standing::Refused => "refused",
        Standing::Unread => "unread",
        Standing::Unshown => "unshown",
        Standing::Gone => "gone",
        Standing::NoAccount(_) => "no_account",
        Standing::NotWritten => "not_written",
        Standing::CreationOnly => "creation_only",
    }
}
