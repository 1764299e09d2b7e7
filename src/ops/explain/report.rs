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
pub(super) struct Report {
    pub(super) connection: ConnectionName,
    pub(super) link: Option<LinkId>,
    /// The verdict in one word.
    pub(super) state: &'static str,
    /// The same as a sentence.
    pub(super) verdict: String,
    /// Whether nothing more happens before a person has acted.
    pub(super) needs_a_person: bool,
    pub(super) sides: Vec<SideReport>,
    pub(super) attributes: Vec<AttributeReport>,
    /// Values that did not win, newest first.
    pub(super) kept: Vec<KeptReport>,
    pub(super) letters: Vec<LetterReport>,
    pub(super) next: Vec<Step>,
}

/// One side of it.
#[derive(Debug, Serialize)]
pub(super) struct SideReport {
    pub(super) side: Side,
    pub(super) system: SystemName,
    #[serde(skip)]
    pub(super) name: String,
    pub(super) account: Option<AccountId>,
    /// When what is known of it was true, in the system's clock.
    pub(super) seen_at: Option<Timestamp>,
    /// When it was changed there, in the system's clock.
    pub(super) modified_at: Option<Timestamp>,
    /// What a look at it today showed: `shown`, `absent`, `failed`, `paused` or `not_asked`.
    pub(super) today: &'static str,
    pub(super) last_write: Option<LastWriteReport>,
    /// How the account that was here last parted from its partner, who had left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) parting: Option<PartingReport>,
    /// Since when a write waits until nobody works with the account, and until when at the latest; in the store's clock.
    pub(super) deferred: Option<DeferralReport>,
    /// Writes that were begun and whose end is not known.
    pub(super) open_writes: usize,
    /// What there is to say of it, a sentence each.
    pub(super) text: Vec<String>,
}

/// How an account parted from its partner, who had left.
#[derive(Debug, Serialize)]
pub(super) struct PartingReport {
    account: AccountId,
    how: Departure,
    why: Left,
    at: Timestamp,
    run: RunId,
    /// The account was gone already.
    was_gone: bool,
}

/// A write that waits until nobody works with the account.
#[derive(Debug, Serialize)]
pub(super) struct DeferralReport {
    pub(super) since: Timestamp,
    pub(super) until: Timestamp,
    /// How the account was in use, such as `logged_in`.
    pub(super) code: String,
}

/// What the system said to the last write.
#[derive(Debug, Serialize)]
pub(super) struct LastWriteReport {
    at: Timestamp,
    /// `created`, `updated`, `found`, `moved` or `failed`.
    answer: &'static str,
    code: Option<String>,
    pub(super) status: Option<u16>,
    pub(super) request_id: Option<String>,
}

/// One attribute.
#[derive(Debug, Serialize)]
pub(super) struct AttributeReport {
    pub(super) attribute: AttributePath,
    /// The value that both sides should have; left out if none is known, null if they should have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) value: Option<Option<Value>>,
    /// The side whose value it is.
    pub(super) set_by: Option<Side>,
    /// When it was set, in that side's clock.
    pub(super) set_at: Option<Timestamp>,
    /// Whether both sides hold it and nothing follows.
    pub(super) in_step: bool,
    pub(super) rule: Option<String>,
    /// The side that alone counts for it on this link, since a person said so.
    pub(super) pinned_to: Option<Side>,
    pub(super) sides: Vec<AttributeSide>,
    /// Neither side has a value, as far as is known.
    #[serde(skip)]
    pub(super) is_empty: bool,
    #[serde(skip)]
    pub(super) names: Sides<Option<AttributePath>>,
    /// Whose value it is and since when, for the page.
    #[serde(skip)]
    pub(super) origin: Option<String>,
}

/// How an attribute is on one side.
#[derive(Debug, Serialize)]
pub(super) struct AttributeSide {
    pub(super) side: Side,
    pub(super) system: SystemName,
    /// What it was last seen to hold, compared with the value: `same`, `other` or `never`.
    pub(super) last_seen: &'static str,
    /// What it holds today; left out if it was not looked at, null if it holds nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) today: Option<Option<Value>>,
    /// How the value stands towards it.
    pub(super) standing: &'static str,
    #[serde(skip)]
    pub(super) name: String,
    pub(super) text: String,
    /// The same with values at full length.
    #[serde(skip)]
    pub(super) full_text: String,
}

/// A value that did not win.
#[derive(Debug, Serialize)]
pub(super) struct KeptReport {
    /// Its id, as `conflicts list` prints it.
    pub(super) conflict: String,
    pub(super) attribute: AttributePath,
    pub(super) side: Side,
    pub(super) value: Option<Value>,
    pub(super) reason: crate::domain::resolve::JournalReason,
    pub(super) seen_at: Timestamp,
    pub(super) text: String,
    /// How to have it back.
    pub(super) back: String,
}

/// An open letter.
#[derive(Debug, Serialize)]
pub(super) struct LetterReport {
    pub(super) letter: LetterId,
    pub(super) code: String,
    pub(super) message: String,
    pub(super) first_at: Timestamp,
    pub(super) last_at: Timestamp,
    pub(super) failures: u32,
    pub(super) status: Option<u16>,
    pub(super) request_id: Option<String>,
    pub(super) remedy: Option<String>,
    pub(super) text: String,
}

/// What to do next.
#[derive(Debug, Serialize)]
pub(super) struct Step {
    pub(super) text: String,
    pub(super) command: Option<String>,
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
    pub(super) fn narrow(&mut self, name: &str) -> bool {
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
    pub(super) fn told(&self, asked: bool) -> &str {
        if asked { &self.full_text } else { &self.text }
    }
}

impl PartingReport {
    pub(super) fn new(parting: &Parting) -> Self {
        let Parting { account, how, why, at, run, was_gone, over_at: _ } = parting.clone();
        Self { account, how, why, at, run, was_gone }
    }
}

impl LastWriteReport {
    pub(super) fn new(write: &LastWrite) -> Self {
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
pub(super) fn standing(standing: Standing) -> &'static str {
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
