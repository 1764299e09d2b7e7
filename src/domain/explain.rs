//! Why a link is as it is: how each attribute stands towards each side, and the one verdict that a person asks for
//! first. Nothing is decided here: it asks the functions that decide.

use super::account::Snapshot;
use super::attribute::{AttributePath, Value};
use super::hold::HoldState;
use super::id::{Side, Sides};
use super::link::{Link, Register};
use super::mapping::Flaw;
use super::pending::{lacking, pending};
use super::resolve::{Decision, Lost, Question, decide};
use super::rules::{AttributeRule, Drift, Occasion, Rules};
use super::time::Timestamp;

mod verdict;

pub use verdict::{Since, Verdict};

/// What is known of a link.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'f> {
    /// The link.
    pub link: &'f Link,
    /// The rules of its connection.
    pub rules: &'f Rules,
    /// Now, in the store's clock.
    pub now: Timestamp,
    /// What each side was seen to hold just now; `None` where nobody looked, or no answer came.
    pub today: Sides<Option<Sight<'f>>>,
    /// Values of this link that did not win, newest first.
    pub lost: &'f [Lost],
}

/// What a look at one account showed.
#[derive(Debug, Clone, Copy)]
pub enum Sight<'f> {
    /// The account.
    Shown(&'f Snapshot),
    /// The system says that there is no such account.
    Absent,
}

/// What is to be said of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The one thing to say first.
    pub verdict: Verdict,
    /// Every attribute that a rule or the link knows.
    pub attributes: Vec<Story>,
}

/// What is to be said of one attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Story {
    /// Its name on the link.
    pub path: AttributePath,
    /// Its rule; absent for one that is no longer mapped.
    pub rule: Option<AttributeRule>,
    /// The value that both sides should have, and whose it is.
    pub register: Option<Register>,
    /// What each side was last seen to hold, compared with that value.
    pub seen: Sides<Seen>,
    /// What each side holds today, if that was shown.
    pub today: Sides<Option<Today>>,
    /// Why the link cannot keep what a side holds today, if it cannot.
    pub flaws: Sides<Option<Flaw>>,
    /// How the value stands towards each side.
    pub standing: Sides<Standing>,
}

/// What a side was last seen to hold, compared with the value that both should have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// It never showed this attribute, or there is nothing to compare with.
    Never,
    /// The same.
    Same,
    /// Something else.
    Other,
}

/// What a side holds today.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Today {
    /// The value, as the side calls it; `None`: it has none.
    pub value: Option<Value>,
    /// Whether it is the value that both should have, as this side compares values.
    pub agrees: bool,
    /// What the next reading of it will be taken for; `None`: it is what was last seen.
    pub news: Option<Decision>,
}

/// How a value stands towards one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// No value is known.
    Unknown,
    /// The side holds it.
    There,
    /// The side holds something else, or the same in another form, and that stays so.
    Stays,
    /// It is to be written, and nothing is in the way.
    Due,
    /// A writer is at it.
    UnderWay,
    /// It waits for a person: a guard has stopped it, or which of two values is the later one was forgotten.
    Held,
    /// A guard has stopped it, and a person, or nobody in time, decided that it is not written.
    Rejected,
    /// The side refused it, and nothing has changed since.
    Refused,
    /// An account must be read before anything is written.
    Unread,
    /// The side never showed the attribute, and what was not seen is not written over.
    Unshown,
    /// The account on the side is gone.
    Gone,
    /// There is no account on the side, for this reason.
    NoAccount(NoAccount),
    /// The rules never write it there.
    NotWritten,
    /// The rules write it there only when the account is created.
    CreationOnly,
}

/// Why there is no account on a side, and none is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoAccount {
    /// The rules create none.
    NotCreated,
    /// The account on the other side may not be used any more.
    Leaver,
    /// The account on the other side is gone.
    PartnerGone,
}

/// Explains a link.
pub fn explain(facts: Facts<'_>) -> Explanation {
    let mut paths: Vec<_> = facts.rules.attributes.keys().chain(facts.link.registers.keys()).collect();
    paths.sort();
    paths.dedup();
    let attributes: Vec<_> = paths.into_iter().map(|path| facts.story(path)).collect();
    Explanation { verdict: facts.verdict(&attributes), attributes }
}

impl Facts<'_> {
    fn story(&self, path: &AttributePath) -> Story {
        let Self { link, rules, .. } = *self;
        let (rule, register) = (rules.attributes.get(path), link.registers.get(path));
        let seen = Sides::from_fn(|side| {
            let should = register.map(|register| rules.digest(side, path, register.value.as_ref()));
            match (link.sides[side].told(path), should) {
                (None, _) | (_, None) => Seen::Never,
                (Some(held), Some(should)) if held == should => Seen::Same,
                _ => Seen::Other,
            }
        });
        Story {
            path: path.clone(),
            rule: rule.cloned(),
            register: register.cloned(),
            seen,
            today: Sides::from_fn(|side| self.today(side, path, rule?)),
            flaws: Sides::from_fn(|side| match self.today[side]? {
                Sight::Shown(snapshot) => rule?.look(side, snapshot)?.err(),
                _ => None,
            }),
            standing: Sides::from_fn(|side| match (rule, register) {
                (Some(rule), Some(register)) => self.standing(side, path, rule, register, seen[side]),
                (None, Some(_)) => Standing::NotWritten,
                (_, None) => Standing::Unknown,
            }),
        }
    }

    fn today(&self, side: Side, path: &AttributePath, rule: &AttributeRule) -> Option<Today> {
        let Self { link, rules, now, .. } = *self;
        let Some(Sight::Shown(snapshot)) = self.today[side] else { return None };
        let value = rule.seen(side, snapshot)?;
        let value = value.as_ref();
        let digest = rules.digest(side, path, value);
        let question = Question { link, side, path, value, snapshot, version: &snapshot.version, rule, rules, now };
        let is_news = link.sides[side].seen.get(path) != Some(&digest);
        let register = link.registers.get(path);
        Some(Today {
            value: rule.leave(side, &value.cloned()).unwrap_or_else(|_| value.cloned()),
            agrees: register.is_some_and(|register| rules.digest(side, path, register.value.as_ref()) == digest),
            news: is_news.then(|| decide(question)),
        })
    }

    fn standing(
        &self,
        side: Side,
        path: &AttributePath,
        rule: &AttributeRule,
        register: &Register,
        seen: Seen,
    ) -> Standing {
        let Self { link, now, .. } = *self;
        let state = &link.sides[side];
        if state.is_gone() {
            return Standing::Gone;
        }
        if !rule.flow.writes(side) {
            return if seen == Seen::Same { Standing::There } else { Standing::NotWritten };
        }
        if state.account.is_some() {
            if state.seen_at.is_none() {
                return Standing::Unread;
            }
            if register.applied[side] == register.generation {
                return if seen == Seen::Other { Standing::Stays } else { Standing::There };
            }
            if rule.occasion == Occasion::Create {
                return Standing::CreationOnly;
            }
            if state.told(path).is_none() {
                return Standing::Unshown;
            }
        } else if let Some(why) = self.no_account(side) {
            return Standing::NoAccount(why);
        } else if register.value.is_none() {
            // A creation clears nothing.
            return Standing::There;
        }
        let lease = state.leased(now);
        let stop = state.stop.as_ref().filter(|_| state.account.is_none());
        let hold = register.hold.as_ref().map(|hold| hold.state(now)).or(stop.map(|stop| stop.state(now)));
        if let Some(HoldState::Rejected | HoldState::Expired) = hold {
            Standing::Rejected
        } else if hold == Some(HoldState::Waiting) {
            Standing::Held
        } else if link.sides[side.other()].seen_at.is_none() {
            Standing::Unread
        } else if self.is_refused(side) {
            Standing::Refused
        } else if state.open_intents(path).any(|intent| lease.is_some_and(|lease| lease.token == intent.token)) {
            Standing::UnderWay
        } else {
            Standing::Due
        }
    }

    /// Why no account is created on a side that has none; `None` if one is.
    fn no_account(&self, side: Side) -> Option<NoAccount> {
        let active = self.link.registers.get(&AttributePath::active());
        let is_leaver = active.is_some_and(|register| register.value == Some(Value::Bool(false)));
        if self.link.sides[side.other()].is_gone() {
            Some(NoAccount::PartnerGone)
        } else if is_leaver {
            Some(NoAccount::Leaver)
        } else {
            (!self.rules.create[side]).then_some(NoAccount::NotCreated)
        }
    }

    /// Whether a refusal of what the side lacks stands.
    fn is_refused(&self, side: Side) -> bool {
        let Self { link, rules, .. } = *self;
        lacking(link, side, rules).is_some() && pending(link, side, rules).is_none()
    }
}

impl Story {
    /// Whether the next reading of this side changes something somewhere.
    pub fn is_changed(&self, side: Side) -> bool {
        let news = self.today[side].as_ref().and_then(|today| today.news);
        match news {
            Some(
                Decision::Edit
                | Decision::ConflictWon
                | Decision::ConflictLost
                | Decision::SetBack
                | Decision::BaseLost,
            ) => true,
            Some(Decision::Drift) => self.rule.as_ref().is_some_and(|rule| rule.drift == Drift::Enforce),
            // Our own hand, or what may be: the side counts as behind then, and is written again.
            Some(Decision::OwnHand { .. } | Decision::InDoubt) => true,
            Some(Decision::Agree | Decision::NoEdit | Decision::Noted | Decision::LeftAlone) | None => false,
        }
    }

    /// Whether the two sides differ, and the rules leave them so.
    pub fn is_apart(&self) -> bool {
        Side::BOTH.into_iter().any(|side| {
            let differs = match &self.today[side] {
                Some(today) => !today.agrees,
                None => self.seen[side] == Seen::Other,
            };
            let is_left_so = matches!(
                self.standing[side],
                Standing::Stays | Standing::There | Standing::NotWritten | Standing::CreationOnly
            );
            differs && is_left_so && self.register.is_some()
        })
    }

    /// Whether there is no more to say of it than its value: the sides hold it, or are not meant to.
    pub fn is_plain(&self) -> bool {
        let is_quiet = |side: Side| match self.standing[side] {
            Standing::There | Standing::Unknown => true,
            Standing::NotWritten => self.rule.is_some(),
            _ => false,
        };
        Side::BOTH.into_iter().all(|side| is_quiet(side) && !self.is_changed(side)) && !self.is_apart()
    }
}

#[cfg(test)]
mod tests;
