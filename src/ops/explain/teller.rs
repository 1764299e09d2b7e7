//! The parts of a report, told one after the other.

use super::find::Meant;
use super::report::{
    AttributeReport, AttributeSide, DeferralReport, KeptReport, LastWriteReport, LetterReport, PartingReport,
    SideReport, standing,
};
use super::words::{Words, short};
use super::{Known, Look, output};
use crate::domain::explain::{Explanation, Seen, Story, Verdict};
use crate::domain::link::SideState;
use crate::domain::rules::Rules;
use crate::domain::{AttributePath, DeadLetter, LetterContent, LetterId, Side, Sides, Value};
use crate::store::Kept;

/// Tells the parts of a report.
pub(super) struct Teller<'t> {
    pub(super) meant: &'t Meant,
    pub(super) known: &'t Known,
    pub(super) words: &'t Words,
    pub(super) rules: &'t Rules,
    pub(super) explanation: Option<&'t Explanation>,
}

impl Teller<'_> {
    pub(super) fn state(&self, side: Side) -> Option<&SideState> {
        self.meant.link.as_ref().map(|link| &link.sides[side])
    }

    /// The open letter about an account that cannot be read or linked.
    pub(super) fn account_letter(&self) -> Option<&DeadLetter> {
        self.known.letters.iter().find(|letter| matches!(letter.content, LetterContent::Account { .. }))
    }

    fn link_letter(&self, side: Side) -> Option<&DeadLetter> {
        let link = self.meant.link.as_ref()?.id;
        let id = LetterId::of_link(&self.meant.connection.name, side, link);
        self.known.letters.iter().find(|letter| letter.id == id)
    }

    pub(super) fn verdict(&self) -> (&'static str, String) {
        if let Some(letter) = self.account_letter() {
            return ("unusable", format!("needs a person: {}", letter.message));
        }
        let Some(explanation) = self.explanation else { return self.unlinked() };
        let (letter, proofs) = match &explanation.verdict {
            Verdict::Held { side, paths, stop: Some(stop) } | Verdict::Rejected { side, paths, stop } => {
                return self.stopped(*side, paths, stop);
            }
            Verdict::Leaving { side, stop: Some(stop), .. } => return self.stopped(*side, &[], stop),
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
                ("left_alone", format!("not linked: the account in {name} is not active, and such a one is left alone"))
            }
            _ if !self.rules.contributes(side) => (
                "left_alone",
                format!(
                    "not linked: {name} only follows, so an account there is left alone unless it names its partner in \
                     {other}"
                ),
            ),
            _ => ("unlinked", format!("not linked: no sync has read this account of {name} yet")),
        }
    }

    pub(super) fn side(&self, side: Side) -> SideReport {
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
            parting: state.and_then(|state| state.parting.as_deref()).map(PartingReport::new),
            deferred: state.and_then(|state| state.deferral.as_ref()).map(|deferral| DeferralReport {
                since: deferral.since,
                until: self.rules.busy.until(deferral),
                code: deferral.code.to_string(),
            }),
            open_writes: state.map_or(0, |state| state.intents.len()),
            text: self.side_text(side),
        }
    }

    fn side_text(&self, side: Side) -> Vec<String> {
        let words = self.words;
        let mut text = Vec::new();
        let state = self.state(side);
        if let Some(seen_at) = state.and_then(|state| state.seen_at.as_ref()) {
            text.push(format!("Last seen {}.", words.when(side, seen_at.read_at)));
            text.extend(seen_at.modified_at.map(|at| format!("Changed there {}.", words.when(side, at))));
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
            text.extend(state.parting.as_ref().map(|parting| words.parting(side, parting)));
            text.extend(state.last_write.as_ref().map(|write| words.last_write(write)));
            text.extend(self.work(side, state));
        }
        for rival in self.known.rivals.iter().filter(|rival| rival.side == side) {
            text.push(format!("{} has the same {}.", rival.account, rival.attribute));
        }
        text
    }

    /// Writes that are not over, and proofs of absence.
    fn work(&self, side: Side, state: &SideState) -> Vec<String> {
        let mut text = Vec::new();
        if let Some(lease) = state.leased(self.meant.now) {
            text.push(format!("It is being written right now, until {} at the latest.", lease.until));
        } else if let Some(until) = state.intents.iter().map(|intent| intent.until).max() {
            text.push(if until > self.meant.now {
                format!("An earlier write without an answer may still take effect, until {until}.")
            } else {
                "An earlier write without an answer may have taken effect; the next sync looks.".to_owned()
            });
        }
        text.extend(state.deferral.as_ref().map(|deferral| self.words.deferral(deferral, &self.rules.busy)));
        if let Some(absence) = state.absence.filter(|_| !state.is_gone()) {
            let times = output::count(absence.proofs as usize, "full sync");
            text.push(format!("Not found by {times}, last {}.", self.words.when(side, absence.last_at)));
        }
        text
    }

    pub(super) fn attribute(&self, story: &Story) -> AttributeReport {
        let is_seen = Side::BOTH.into_iter().any(|side| matches!(&story.today[side], Some(t) if t.value.is_some()));
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
        let pin = self.meant.link.as_ref().and_then(|link| link.pins.get(&story.path));
        let set_at = register.map(|register| register.at.modified_at.unwrap_or(register.at.read_at));
        let by = register.map(|register| register.by);
        AttributeReport {
            attribute: story.path.clone(),
            is_empty: story.register.is_none() && !is_seen,
            value: register.map(|register| register.value.clone()),
            set_by: by,
            set_at,
            in_step: story.is_plain(),
            rule: match pin {
                Some(pin) => Some(self.words.pin(pin)),
                None => story.rule.as_ref().map(|rule| self.words.rule(rule)),
            },
            pinned_to: pin.map(|pin| pin.side),
            sides: Side::BOTH.into_iter().map(side).collect(),
            names: Sides::from_fn(|side| story.rule.as_ref().map(|rule| rule.names[side].clone())),
            origin: by.zip(set_at).map(|(by, at)| format!("{}, {}", self.words.name(by), self.words.when(by, at))),
        }
    }

    pub(super) fn kept(&self, kept: &Kept) -> KeptReport {
        let Kept { id, entry } = kept;
        let rule = self.rules.attributes.get(&entry.attribute);
        let conflict = format!("{}/{}", self.meant.connection.name, id.as_str());
        let given = |kept: &&Kept| kept.entry.gave_back.as_ref().is_some_and(|gave_back| gave_back.entry == *id);
        let given = self.known.kept.iter().find(given).and_then(|kept| kept.entry.gave_back.as_ref());
        let counts = rule.is_some_and(|rule| rule.flow.contributes(entry.side));
        let back = match given {
            Some(gave_back) => format!("{} gave it back.", gave_back.by),
            None if counts => format!("To have it back: muster conflicts give-back {conflict}"),
            None => format!("To have it back, enter it again in {}.", self.words.name(entry.side.other())),
        };
        KeptReport {
            conflict,
            attribute: entry.attribute.clone(),
            side: entry.side,
            value: entry.value.clone(),
            reason: entry.reason,
            seen_at: entry.seen_at,
            text: self.words.kept(entry, rule),
            back,
        }
    }

    pub(super) fn letter(&self, letter: &DeadLetter, remedy: Option<String>) -> LetterReport {
        let times = output::count(letter.failures as usize, "time");
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
}
