//! What is told of an account on one connection: the page shows it, and `--json` prints it.

use serde::Serialize;

use super::find::Meant;
use super::words::{Words, short};
use super::{Known, Look, lost};
use crate::domain::explain::{Explanation, Facts, NoAccount, Seen, Sight, Standing, Story, Verdict, explain};
use crate::domain::link::{LastWrite, SideState, WriteAnswer};
use crate::domain::rules::{Leavers, Rules};
use crate::domain::{
    AccountId, AttributePath, ConnectionName, DeadLetter, LetterContent, LetterId, LinkId, Side, Sides, SystemName,
    Timestamp, Value,
};
use crate::stages::Pipeline;

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
    /// Writes that were begun and whose end is not known.
    pub(super) open_writes: usize,
    /// What there is to say of it, a sentence each.
    pub(super) text: Vec<String>,
}

/// What the system said to the last write.
#[derive(Debug, Serialize)]
pub(super) struct LastWriteReport {
    at: Timestamp,
    /// `created`, `updated`, `found`, `moved` or `failed`.
    answer: &'static str,
    code: Option<String>,
    status: Option<u16>,
    request_id: Option<String>,
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
    pub(super) sides: Vec<AttributeSide>,
    #[serde(skip)]
    names: Sides<Option<AttributePath>>,
    /// Whose value it is and since when, for the page.
    #[serde(skip)]
    pub(super) origin: Option<String>,
}

/// How an attribute is on one side.
#[derive(Debug, Serialize)]
pub(super) struct AttributeSide {
    side: Side,
    system: SystemName,
    /// What it was last seen to hold, compared with the value: `same`, `other` or `never`.
    last_seen: &'static str,
    /// What it holds today; left out if it was not looked at, null if it holds nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    today: Option<Option<Value>>,
    /// How the value stands towards it.
    standing: &'static str,
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
    pub(super) attribute: AttributePath,
    side: Side,
    value: Option<Value>,
    reason: crate::domain::resolve::JournalReason,
    seen_at: Timestamp,
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
    status: Option<u16>,
    request_id: Option<String>,
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
        let rules = connection.rules(meant.epoch);
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
        let remedy = |letter: &DeadLetter| {
            let system = pipeline.systems.get(letter.fingerprint.target.as_ref()?)?;
            system.remedy(&letter.fingerprint.code).map(str::to_owned)
        };
        let letters: Vec<_> = known.letters.iter().map(|letter| teller.letter(letter, remedy(letter))).collect();
        let stories = explanation.as_ref().map(|explanation| &explanation.attributes[..]).unwrap_or_default();
        Self {
            connection: connection.name.clone(),
            link: meant.link.as_ref().map(|link| link.id),
            state,
            verdict,
            needs_a_person: !letters.is_empty() || state == "held",
            sides: Side::BOTH.into_iter().map(|side| teller.side(side)).collect(),
            attributes: stories.iter().filter_map(|story| teller.attribute(story)).collect(),
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

/// Tells the parts of a report.
struct Teller<'t> {
    meant: &'t Meant,
    known: &'t Known,
    words: &'t Words,
    rules: &'t Rules,
    explanation: Option<&'t Explanation>,
}

impl Teller<'_> {
    fn state(&self, side: Side) -> Option<&SideState> {
        self.meant.link.as_ref().map(|link| &link.sides[side])
    }

    /// The open letter about an account that cannot be read or linked.
    fn account_letter(&self) -> Option<&DeadLetter> {
        self.known.letters.iter().find(|letter| matches!(letter.content, LetterContent::Account { .. }))
    }

    fn link_letter(&self, side: Side) -> Option<&DeadLetter> {
        let link = self.meant.link.as_ref()?.id;
        let id = LetterId::of_link(&self.meant.connection.name, side, link);
        self.known.letters.iter().find(|letter| letter.id == id)
    }

    fn verdict(&self) -> (&'static str, String) {
        if let Some(letter) = self.account_letter() {
            return ("unusable", format!("needs a person: {}", letter.message));
        }
        let Some(explanation) = self.explanation else { return self.unlinked() };
        let (letter, proofs) = match &explanation.verdict {
            Verdict::Refused { side } => (self.link_letter(*side), 0),
            Verdict::Missing { side } => {
                let absence = self.state(*side).and_then(|state| state.absence);
                (None, absence.map_or(0, |absence| absence.proofs))
            }
            _ => (None, 0),
        };
        self.words.verdict(&explanation.verdict, letter, proofs)
    }

    fn unlinked(&self) -> (&'static str, String) {
        let has = |side: &Side| self.meant.accounts[*side].is_some();
        let Some(side) = Side::BOTH.into_iter().find(has) else { return ("unknown", "nothing is known".to_owned()) };
        let (name, other) = (self.words.name(side), self.words.name(side.other()));
        let is_inactive = |look: &Look| match look {
            Look::Shown(snapshot) => {
                snapshot.attributes.get(&AttributePath::active()) == Some(&Some(Value::Bool(false)))
            }
            _ => false,
        };
        match &self.known.today[side] {
            Look::Absent => ("unknown", format!("unknown: {name} has no such account, and Muster knows none either")),
            _ if Side::BOTH.iter().all(has) => {
                ("unlinked", "not linked: no sync has brought the two accounts together".to_owned())
            }
            look if is_inactive(look) => {
                ("unlinked", format!("not linked: the account in {name} is not active, and such a one is left alone"))
            }
            _ if !self.rules.contributes(side) => (
                "unlinked",
                format!(
                    "not linked: {name} only follows, so an account there is left alone unless it names its partner in \
                     {other}"
                ),
            ),
            _ => ("unlinked", format!("not linked: no sync has read this account of {name} yet")),
        }
    }

    fn side(&self, side: Side) -> SideReport {
        let state = self.state(side);
        let seen_at = state.and_then(|state| state.seen_at.as_ref());
        let last_write = state.and_then(|state| state.last_write.as_ref());
        SideReport {
            side,
            system: self.meant.connection.systems[side].clone(),
            name: self.words.name(side).to_owned(),
            account: self.meant.accounts[side].clone(),
            seen_at: seen_at.map(|seen_at| seen_at.read_at),
            modified_at: seen_at.and_then(|seen_at| seen_at.modified_at),
            today: match &self.known.today[side] {
                Look::NotAsked => "not_asked",
                Look::Paused { .. } => "paused",
                Look::Failed(_) => "failed",
                Look::Shown(_) => "shown",
                Look::Absent => "absent",
            },
            last_write: last_write.map(LastWriteReport::new),
            open_writes: state.map_or(0, |state| state.intents.len()),
            text: self.side_text(side),
        }
    }

    fn side_text(&self, side: Side) -> Vec<String> {
        let (words, name) = (self.words, self.words.name(side));
        let mut text = Vec::new();
        let state = self.state(side);
        if let Some(seen_at) = state.and_then(|state| state.seen_at.as_ref()) {
            let changed = seen_at.modified_at.map(|at| format!("; changed there {}", words.when(side, at)));
            let changed = changed.unwrap_or_default();
            text.push(format!("Last seen {}{changed}.", words.when(side, seen_at.read_at)));
        }
        match &self.known.today[side] {
            Look::NotAsked => {}
            Look::Paused { until, reason } => {
                text.push(format!("Not read just now: no calls before {until} ({reason})."));
            }
            Look::Failed(reason) => text.push(format!("Could not be read just now: {reason}.")),
            Look::Absent => text.push("Read just now: there is no such account.".to_owned()),
            Look::Shown(_) => {
                let stories = self.explanation.map(|explanation| &explanation.attributes[..]).unwrap_or_default();
                let has_news = |story: &Story| story.today[side].as_ref().is_some_and(|today| today.news.is_some());
                let news: Vec<_> = stories.iter().filter(|story| has_news(story)).map(|s| short(&s.path)).collect();
                text.push(match (stories.is_empty(), news.is_empty()) {
                    (true, _) => "Read just now.".to_owned(),
                    (_, true) => "Read just now: as it was last seen.".to_owned(),
                    (_, false) => format!("Read just now: {} changed since.", news.join(", ")),
                });
            }
        }
        if let Some(state) = state {
            text.extend(state.last_write.as_ref().map(|write| words.last_write(write)));
            text.extend(self.work(side, state));
        }
        for rival in self.known.rivals.iter().filter(|rival| rival.side == side) {
            text.push(format!("{} has the same {}.", rival.account, rival.attribute));
        }
        if text.is_empty() && self.meant.accounts[side].is_none() {
            text.push(format!("There is no account in {name}."));
        }
        text
    }

    /// Writes that are not over, and proofs of absence.
    fn work(&self, side: Side, state: &SideState) -> Vec<String> {
        let mut text = Vec::new();
        if let Some(lease) = state.leased(self.meant.now) {
            text.push(format!("A writer is at it, until {} at the latest.", lease.until));
        } else if let Some(until) = state.intents.iter().map(|intent| intent.until).max() {
            text.push(if until > self.meant.now {
                format!("An earlier write without an answer may still take effect, until {until}.")
            } else {
                "An earlier write without an answer may have taken effect; the next sync looks.".to_owned()
            });
        }
        if let Some(absence) = state.absence.filter(|_| !state.is_gone()) {
            let times = super::output::count(absence.proofs as usize, "full sync");
            text.push(format!("Not found by {times}, last {}.", self.words.when(side, absence.last_at)));
        }
        text
    }

    fn attribute(&self, story: &Story) -> Option<AttributeReport> {
        let is_seen = Side::BOTH.into_iter().any(|side| matches!(&story.today[side], Some(t) if t.value.is_some()));
        if story.register.is_none() && !is_seen {
            return None;
        }
        let side = |side: Side| {
            let has_account = self.meant.accounts[side].is_some();
            AttributeSide {
                side,
                system: self.meant.connection.systems[side].clone(),
                last_seen: match story.seen[side] {
                    Seen::Never => "never",
                    Seen::Same => "same",
                    Seen::Other => "other",
                },
                today: story.today[side].as_ref().map(|today| today.value.clone()),
                standing: standing(story.standing[side]),
                name: self.words.name(side).to_owned(),
                text: self.words.side(story, side, has_account, false),
                full_text: self.words.side(story, side, has_account, true),
            }
        };
        let register = story.register.as_ref();
        let set_at = register.map(|register| register.at.modified_at.unwrap_or(register.at.read_at));
        let by = register.map(|register| register.by);
        Some(AttributeReport {
            attribute: story.path.clone(),
            value: register.map(|register| register.value.clone()),
            set_by: by,
            set_at,
            in_step: story.is_plain(),
            rule: story.rule.as_ref().map(|rule| self.words.rule(rule)),
            sides: Side::BOTH.into_iter().map(side).collect(),
            names: Sides::from_fn(|side| story.rule.as_ref().map(|rule| rule.names[side].clone())),
            origin: by.zip(set_at).map(|(by, at)| format!("{}, {}", self.words.name(by), self.words.when(by, at))),
        })
    }

    fn kept(&self, entry: &crate::store::JournalEntry) -> KeptReport {
        let rule = self.rules.attributes.get(&entry.attribute);
        let may_change = |side: &Side| rule.is_some_and(|rule| rule.flow.contributes(*side));
        let enter_in = [entry.side, entry.side.other()].into_iter().find(may_change);
        KeptReport {
            attribute: entry.attribute.clone(),
            side: entry.side,
            value: entry.value.clone(),
            reason: entry.reason,
            seen_at: entry.seen_at,
            text: self.words.kept(entry),
            back: format!("To have it back, enter it again in {}.", self.words.name(enter_in.unwrap_or(entry.side))),
        }
    }

    fn letter(&self, letter: &DeadLetter, remedy: Option<String>) -> LetterReport {
        let times = super::output::count(letter.failures as usize, "time");
        let (first, last) = (self.words.when_here(letter.first_at), self.words.when_here(letter.last_at));
        let mut text = if letter.first_at == letter.last_at {
            format!("Failed {times}, {last}.")
        } else {
            format!("Failed {times}: first {first}, last {last}.")
        };
        if let Some(id) = &letter.request_id {
            text.push_str(&format!(" The request was {id}."));
        }
        LetterReport {
            letter: letter.id.clone(),
            code: letter.fingerprint.code.to_string(),
            message: letter.message.clone(),
            first_at: letter.first_at,
            last_at: letter.last_at,
            failures: letter.failures,
            status: letter.status,
            request_id: letter.request_id.clone(),
            remedy,
            text,
        }
    }

    /// Reads the account anew, and does what follows.
    fn sync(&self, text: impl Into<String>) -> Step {
        let connection = &self.meant.connection;
        let has = |side: &Side| self.meant.accounts[*side].is_some();
        let contributes = |side: &Side| has(side) && self.rules.contributes(*side);
        let side = Side::BOTH.into_iter().find(contributes).or_else(|| Side::BOTH.into_iter().find(has));
        let only = side.and_then(|side| {
            let account = self.meant.accounts[side].as_ref()?;
            Some(format!(" --only {}:{account}", connection.systems[side]))
        });
        let command = format!("muster sync {}{} --wait", connection.name, only.unwrap_or_default());
        Step { text: text.into(), command: Some(command) }
    }

    fn full_sync(&self, text: &str) -> Step {
        let command = format!("muster sync {} --full --wait", self.meant.connection.name);
        Step { text: text.to_owned(), command: Some(command) }
    }

    fn next(&self, letters: &[LetterReport]) -> Vec<Step> {
        let told = |text: String| vec![Step { text, command: None }];
        let nothing = || told("Nothing to do.".to_owned());
        let verdict = self.explanation.map(|explanation| &explanation.verdict);
        if !letters.is_empty() && (self.account_letter().is_some() || matches!(verdict, Some(Verdict::Refused { .. })))
        {
            return letters.iter().map(again).collect();
        }
        let Some(verdict) = verdict else {
            return match self.verdict().0 {
                "unknown" => nothing(),
                _ => vec![self.sync("To have it read now:")],
            };
        };
        match verdict {
            Verdict::InStep | Verdict::ConflictDecided { .. } | Verdict::Apart { .. } => nothing(),
            Verdict::Behind { side, .. } => vec![self.sync(self.waiting(*side))],
            Verdict::Writing { .. } => told("Nothing to do: look again in a moment.".to_owned()),
            Verdict::Changed { .. } => vec![self.sync("The next sync takes it up. To have that now:")],
            Verdict::Unread { .. } => vec![self.sync("The next sync reads it. To have that now:")],
            Verdict::Missing { .. } => vec![self.full_sync("A full sync looks at every account:")],
            Verdict::Gone { back: true, .. } => vec![self.sync("The next sync takes it up. To have that now:")],
            Verdict::Gone { side, .. } => {
                let other = self.words.name(side.other());
                told(match self.rules.leavers {
                    Leavers::Report => format!(
                        "By the rules nothing follows (leavers = \"report\"). Should the account in {other} end as \
                         well, end it there."
                    ),
                    Leavers::Deactivate => {
                        format!("By the rules the account in {other} is deactivated; there is nothing to do.")
                    }
                })
            }
            Verdict::OnlyHere { side, why: NoAccount::NotCreated } => {
                let (here, other) = (self.words.name(*side), self.words.name(side.other()));
                told(format!(
                    "Let accounts be created (create = \"automatic\" for this connection), or create one in {other} \
                     that carries the id of the one in {here} as its external id."
                ))
            }
            Verdict::OnlyHere { .. } => nothing(),
            Verdict::Held { .. } => vec![self.sync(
                "Give both sides the value that is right, or one of them a new one; the next sync takes it up. To have \
                 that now:",
            )],
            // Only if its letter was lost.
            Verdict::Refused { .. } => vec![self.full_sync("Change the value that was refused, then:")],
        }
    }

    /// Why a side that is behind was not written yet.
    fn waiting(&self, side: Side) -> String {
        let name = self.words.name(side);
        if let Some(until) = self.known.systems[side].not_before {
            let reason = self.known.systems[side].reason.as_deref().unwrap_or("it asked for that");
            return format!("{name} is left alone until {until} ({reason}), then it goes on by itself. To look again:");
        }
        let failed = |write: &LastWrite| matches!(write.answer, WriteAnswer::Failed(_));
        if let Some(role) = self.known.missing.iter().find(|role| **role != "producer") {
            return format!("No {role} is running, so nothing is written. To have it done now:");
        }
        if self.state(side).and_then(|state| state.last_write.as_ref()).is_some_and(failed) {
            return "It is tried again by itself. To have that now:".to_owned();
        }
        "It is written by itself. To have that now:".to_owned()
    }
}

fn again(letter: &LetterReport) -> Step {
    let text = match &letter.remedy {
        Some(remedy) => format!("{remedy} Then:"),
        None => "When the cause is gone:".to_owned(),
    };
    Step { text, command: Some(format!("muster dead retry '{}'", letter.letter)) }
}

impl LastWriteReport {
    fn new(write: &LastWrite) -> Self {
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

fn standing(standing: Standing) -> &'static str {
    match standing {
        Standing::Unknown => "unknown",
        Standing::There => "there",
        Standing::Stays => "stays",
        Standing::Due => "due",
        Standing::UnderWay => "under_way",
        Standing::Held => "held",
        Standing::Refused => "refused",
        Standing::Unread => "unread",
        Standing::Unshown => "unshown",
        Standing::Gone => "gone",
        Standing::NoAccount(_) => "no_account",
        Standing::NotWritten => "not_written",
        Standing::CreationOnly => "creation_only",
    }
}
