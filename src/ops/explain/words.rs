//! The sentences of the page. Only here do the domain's cases become words, with the systems' own names.

use std::time::Duration;

use crate::domain::deferral::{AfterWait, BusyPolicy, Deferral};
use crate::domain::explain::{NoAccount, Seen, Since, Standing, Story, Verdict};
use crate::domain::link::{LastWrite, Left, Parting, Pin, WriteAnswer};
use crate::domain::mapping::Step;
use crate::domain::resolve::{ABSENCE_PROOFS, Decision, JournalReason};
use crate::domain::rules::{AttributeRule, Departure, Drift, Flow, Occasion, Policy};
use crate::domain::{AttributePath, DeadLetter, FailureClass, Side, Sides, Timestamp, Value};
use crate::stages::Connection;
use crate::store::JournalEntry;

/// What the sentences are about: the names of the two sides, and what time it is where.
pub(in crate::ops) struct Words {
    names: Sides<String>,
    /// Now, in each system's clock.
    clocks: Sides<Timestamp>,
    /// Now, in the store's clock.
    pub(super) now: Timestamp,
}

impl Words {
    pub(in crate::ops) fn new(connection: &Connection, now: Timestamp) -> Self {
        let systems = &connection.systems;
        let names = Sides::from_fn(|side| match systems.a == systems.b {
            true => format!("{} ({side})", systems[side]),
            false => systems[side].to_string(),
        });
        Self { names, clocks: Sides::from_fn(|side| connection.ends[side].clock()), now }
    }

    pub(in crate::ops) fn name(&self, side: Side) -> &str {
        &self.names[side]
    }

    /// A time of a system's own clock.
    pub(super) fn when(&self, side: Side, at: Timestamp) -> String {
        format!("{} ({at})", ago(self.clocks[side].since(at)))
    }

    /// A time of the store's clock, or of a machine's.
    pub(super) fn when_here(&self, at: Timestamp) -> String {
        format!("{} ({at})", ago(self.now.since(at)))
    }

    /// The verdict as one word for machines, and as a sentence. `letter` is the open one about the refusal: without one
    /// a person has closed it. `proofs` are those of an absence.
    pub(super) fn verdict(&self, verdict: &Verdict, letter: Option<&DeadLetter>, proofs: u8) -> (&'static str, String) {
        let name = |side: Side| self.name(side);
        match verdict {
            Verdict::InStep => ("in_step", "in step: both accounts hold the same values".to_owned()),
            Verdict::Apart { paths } => {
                let differ = if paths.len() == 1 { "differs" } else { "differ" };
                ("apart", format!("in step, except for {}, which {differ} and by the rules may", list(paths)))
            }
            Verdict::ConflictDecided { path, loser } => (
                "conflict_decided",
                format!("in step; {} was changed on both sides, and {} won", short(path), name(loser.other())),
            ),
            Verdict::Changed { side, paths } => {
                ("changed", format!("{} was changed since it was last read: {}", name(*side), list(paths)))
            }
            Verdict::Behind { side, creating: true, .. } => {
                ("behind", format!("behind: an account is to be created in {}", name(*side)))
            }
            Verdict::Behind { side, since, paths, .. } => {
                let since = since.map_or(String::new(), |Since { changed, at }| {
                    format!(" since {} was changed {}", name(changed), self.when(changed, at))
                });
                ("behind", format!("behind: {} lacks {}{since}", name(*side), list(paths)))
            }
            Verdict::Writing { side } => ("writing", format!("{} is being written right now", name(*side))),
            Verdict::Held { paths, .. } => (
                "held",
                format!(
                    "waits for a person: {} differs, and after a loss of Muster's memory nobody can tell which value \
                     is the later one",
                    list(paths)
                ),
            ),
            Verdict::Rejected { paths, .. } => {
                ("rejected", format!("in step, except for {}, which a person has rejected", list(paths)))
            }
            Verdict::Unread { side } => {
                ("unread", format!("waits: the account in {} has not been read yet", name(*side)))
            }
            Verdict::Leaving { side, how, .. } => {
                let (here, other) = (name(*side), name(side.other()));
                let todo = match how {
                    Departure::Detach => "only the link ends".to_owned(),
                    Departure::Remove | Departure::Delete => format!("the one in {here} is to be {}", how.done()),
                };
                ("leaving", format!("leaving: the account in {other} left, so by the rules {todo}"))
            }
            Verdict::Parted { side } => {
                ("parted", format!("parted: the account in {} left, see {} below", name(side.other()), name(*side)))
            }
            Verdict::OnlyHere { side, why } => {
                ("only_here", format!("only in {}: {}", name(*side), self.no_account(side.other(), *why)))
            }
            Verdict::OutOfScope { side } => (
                "out_of_scope",
                format!(
                    "out of scope: the account in {} is not one that this connection is about; its link stays, and \
                     nothing is written to either side",
                    name(*side)
                ),
            ),
            Verdict::Missing { side } => (
                "missing",
                format!(
                    "{} says that there is no such account; that counts once {ABSENCE_PROOFS} full syncs have found \
                     the same ({proofs} so far)",
                    name(*side)
                ),
            ),
            Verdict::Gone { side, back: false } => {
                ("gone", format!("gone: the account in {} is no longer there", name(*side)))
            }
            Verdict::Gone { side, back: true } => {
                ("gone", format!("the account in {} was gone and is there again", name(*side)))
            }
            Verdict::Refused { side } => match letter {
                Some(letter) if letter.fingerprint.class == FailureClass::Transient => {
                    let times = super::output::count(letter.failures as usize, "attempt");
                    ("given_up", format!("given up after {times} to write to {}: {}", name(*side), letter.message))
                }
                Some(letter) => {
                    ("refused", format!("refused, nothing was written to {}: {}", name(*side), letter.message))
                }
                None => (
                    "discarded",
                    format!("{} was not written, and a person has closed the letter about it", name(*side)),
                ),
            },
        }
    }

    fn no_account(&self, side: Side, why: NoAccount) -> String {
        match why {
            NoAccount::NotCreated => format!("by the rules nothing is created in {}", self.name(side)),
            NoAccount::Leaver => {
                format!("the account is not active there, and for such a one none is created in {}", self.name(side))
            }
            NoAccount::PartnerGone => format!("the account in {} is gone", self.name(side.other())),
        }
    }

    /// Who may change an attribute, and what happens then.
    pub(super) fn rule(&self, rule: &AttributeRule) -> String {
        let made = Side::BOTH.into_iter().filter_map(|side| {
            let conversion = match side {
                Side::A => rule.mapping.to_a.as_ref().or(rule.mapping.to_link.b.as_ref()),
                Side::B => rule.mapping.to_link.a.as_ref(),
            };
            let has_table = conversion?.0.iter().any(|step| !matches!(step, Step::Formula(_)));
            let formula = conversion?.formula().map(|formula| format!("made by {}", formula.text()));
            let table = has_table.then(|| "called as `values` say".to_owned());
            let ways: Vec<_> = formula.into_iter().chain(table).collect();
            Some(format!("; in {} it is {}", self.name(side), ways.join(" and ")))
        });
        let made: String = made.collect();
        format!("{}{made}", self.flow(rule))
    }

    fn flow(&self, rule: &AttributeRule) -> String {
        let name = |side: Side| self.name(side);
        let once = rule.occasion == Occasion::Create;
        match (rule.flow, rule.policy) {
            (Flow::Towards(side), _) if once => {
                let (lead, follower) = (name(side.other()), name(side));
                format!("{lead} gives it to an account that is created in {follower}, which keeps its own from then on")
            }
            (Flow::Both, _) if once => "written to an account that is created; each side keeps its own then".to_owned(),
            (Flow::Towards(side), _) => {
                let (lead, follower) = (name(side.other()), name(side));
                match rule.drift {
                    Drift::Keep => {
                        format!(
                            "{lead} leads, {follower} follows; a change in {follower} stays until {lead} changes it"
                        )
                    }
                    Drift::Enforce => {
                        format!("{lead} leads, {follower} follows; a change in {follower} is set back")
                    }
                }
            }
            (Flow::Both, Policy::DefaultSystem(side)) => {
                format!("either side may change it; if both do, {} wins", name(side))
            }
            (Flow::Both, Policy::LastWrite { default, .. }) => {
                format!("either side may change it; if both do, the later one wins, and else {}", name(default))
            }
            (Flow::WatchedOn(side), _) => format!("only watched in {}, and written nowhere", name(side)),
        }
    }

    /// How an attribute is on one side: what the side holds, and what follows.
    pub(super) fn side(&self, story: &Story, side: Side, has_account: bool, asked: bool) -> String {
        let holds = match (&story.today[side], story.seen[side]) {
            _ if !has_account => "no account".to_owned(),
            _ if story.flaws[side].is_some() => {
                let flaw = story.flaws[side].as_ref().map_or("", |flaw| &flaw.what);
                format!("has what no value can be made of: it {flaw}")
            }
            (Some(today), _) if story.register.is_none() => format!("holds {}", quoted(today.value.as_ref(), asked)),
            (Some(today), _) if today.agrees => "holds it".to_owned(),
            (Some(today), _) => format!("holds {}", quoted(today.value.as_ref(), asked)),
            (None, Seen::Same) => "held it when it was last seen".to_owned(),
            (None, Seen::Other) => "held something else when it was last seen".to_owned(),
            (None, Seen::Never) => "never showed it".to_owned(),
        };
        match self.follows(story, side) {
            Some(follows) => format!("{holds}; {follows}"),
            None => holds,
        }
    }

    fn follows(&self, story: &Story, side: Side) -> Option<String> {
        let (name, other) = (self.name(side), self.name(side.other()));
        let news = story.today[side].as_ref().and_then(|today| today.news);
        let rule = story.rule.as_ref();
        let is_enforced = rule.is_some_and(|rule| rule.drift == Drift::Enforce);
        let once = rule.is_some_and(|rule| rule.occasion == Occasion::Create);
        let flows_on = !once && rule.is_some_and(|rule| rule.flow.writes(side.other()));
        let news = news.and_then(|news| match news {
            Decision::Edit if flows_on => {
                Some(format!("changed since it was last read, the next sync brings it to {other}"))
            }
            Decision::Edit => Some("changed since it was last read, the next sync takes note of it".into()),
            Decision::ConflictWon => Some(format!("changed as it was in {other}, and by the rules {name} will win")),
            Decision::ConflictLost => Some(format!("changed as it was in {other}, and by the rules {other} will win")),
            Decision::Drift if once => Some("changed since it was last read, and stays so".into()),
            Decision::Drift if is_enforced => Some("changed since it was last read, the next sync sets it back".into()),
            Decision::Drift => Some(format!("changed since it was last read, which stays until {other} changes it")),
            Decision::OwnHand { .. } | Decision::InDoubt => {
                Some("an older value that Muster wrote, the next sync writes it again".into())
            }
            Decision::SetBack => Some(format!(
                "changed since it was last read; a person pinned it to {other}, the next sync sets it back"
            )),
            Decision::BaseLost => Some("which of the two is the later one is not known".into()),
            Decision::Agree | Decision::NoEdit | Decision::Noted | Decision::LeftAlone => None,
        });
        let contributes = rule.is_some_and(|rule| rule.flow.contributes(side));
        let agrees = story.today[side].as_ref().is_some_and(|today| today.agrees);
        news.or_else(|| {
            Some(match story.standing[side] {
                Standing::Unknown | Standing::There => return None,
                Standing::Stays if agrees => return None,
                Standing::Stays if once => "and keeps its own".to_owned(),
                Standing::Stays if contributes => format!("{name} keeps the value in a form of its own"),
                Standing::Stays => format!("that stays until {other} changes it"),
                Standing::Due if agrees => "the next sync takes note of that".to_owned(),
                Standing::Due => "it is to be written".to_owned(),
                Standing::UnderWay => "it is being written right now".to_owned(),
                Standing::Held => "it is not written before a person has decided".to_owned(),
                Standing::Rejected => "a person has rejected it".to_owned(),
                Standing::Refused => "it is not sent again before something changes".to_owned(),
                Standing::Unread => "nothing is written before the account was read".to_owned(),
                Standing::Unshown => "and what was never seen is not written over".to_owned(),
                Standing::Gone => "the account is gone".to_owned(),
                Standing::NoAccount(why) => self.no_account(side, why),
                Standing::NotWritten => "by the rules it is never written there".to_owned(),
                Standing::CreationOnly => "by the rules it is written only when the account is created".to_owned(),
            })
        })
    }

    /// How an account parted from its partner, who left.
    pub(super) fn parting(&self, side: Side, parting: &Parting) -> String {
        let Parting { account, how, why, at, run, was_gone, over_at: _ } = parting;
        let (here, other, when) = (self.name(side), self.name(side.other()), self.when_here(*at));
        let why = match why {
            Left::Inactive => format!("the account in {other} was not active any more"),
            Left::Gone => format!("the account in {other} was gone"),
        };
        let done = match how {
            _ if *was_gone => format!("{account} was gone from {here} already when they parted {when}"),
            Departure::Detach => format!("Muster ended the link with {account}, which stayed as it was, {when}"),
            Departure::Remove => format!("Muster removed {account} from {here} {when}"),
            Departure::Delete => format!("Muster deleted {account} in {here} {when}"),
        };
        format!("{done}, in run {run}, since {why}.")
    }

    /// What the system said to the last write.
    pub(super) fn last_write(&self, write: &LastWrite) -> String {
        let when = self.when_here(write.at);
        match &write.answer {
            WriteAnswer::Created => format!("Muster created it {when}."),
            WriteAnswer::Updated => format!("Last written by Muster {when}: done."),
            WriteAnswer::Found => format!("Muster found it {when} and linked it instead of creating one."),
            WriteAnswer::Moved => {
                format!("Last write {when}: nothing was written, since somebody had just changed the account.")
            }
            WriteAnswer::Failed(code) => {
                let status = write.status.map_or(String::new(), |status| format!(", HTTP {status}"));
                let id = write.request_id.as_ref().map_or(String::new(), |id| format!(", request {}", clean(id)));
                format!("Last write {when}: failed ({code}{status}{id}).")
            }
        }
    }

    /// A write that waits until nobody works with the account, and what comes at last.
    pub(super) fn deferral(&self, deferral: &Deferral, policy: &BusyPolicy) -> String {
        let then = match policy.then {
            AfterWait::Letter => "it becomes a dead letter",
            AfterWait::Write => "it is made all the same",
        };
        format!(
            "A write waits until nobody works with the account ({}), since {}. By {} at the latest {then}.",
            deferral.code,
            self.when_here(deferral.since),
            policy.until(deferral)
        )
    }

    /// That one side alone counts for an attribute of this account.
    pub(in crate::ops) fn pin(&self, pin: &Pin) -> String {
        let (own, other) = (self.name(pin.side), self.name(pin.side.other()));
        let when = self.when_here(pin.at);
        format!("pinned to {own} by {} {when}: only {own} counts, and what is changed in {other} is set back", pin.by)
    }

    /// A value that did not win, and why.
    pub(in crate::ops) fn kept(&self, entry: &JournalEntry, rule: Option<&AttributeRule>) -> String {
        let (name, other) = (self.name(entry.side), self.name(entry.side.other()));
        let value = match entry.is_erased {
            true => "a value that was erased".to_owned(),
            false => quoted(entry.value.as_ref(), true),
        };
        let when = self.when_here(entry.seen_at);
        match entry.reason {
            JournalReason::ConflictLost => {
                // The rule may have been another one then.
                let by_rule = rule.is_some_and(|rule| rule.policy == Policy::DefaultSystem(entry.side.other()));
                let won = if by_rule { format!("by the rules {other} wins") } else { format!("{other} won") };
                format!("{when}: {name} had been changed to {value}, and {other} as well; {won}.")
            }
            JournalReason::MayBeAPersons => {
                format!("{when}: {name} held {value}, perhaps by a person's hand; the newer value was kept.")
            }
            JournalReason::Overruled => {
                format!("{when}: {name} held {value} while nobody could tell which was later; a newer edit settled it.")
            }
            JournalReason::Pinned => {
                format!("{when}: {name} had been changed to {value}, but a person had pinned it to {other}.")
            }
            JournalReason::GivenBack => {
                let by = entry.gave_back.as_ref().map_or("a person", |gave_back| gave_back.by.as_str());
                format!("{when}: it was {value}, from {name}, until {by} gave another value back.")
            }
        }
    }
}

/// How long ago, for people.
pub(super) fn ago(since: Duration) -> String {
    match since.as_secs() {
        0 => "just now".to_owned(),
        seconds @ 1..60 => format!("{seconds} s ago"),
        seconds @ 60..3_600 => format!("{} min ago", seconds / 60),
        seconds @ 3_600..172_800 => format!("{} h ago", seconds / 3_600),
        seconds => format!("{} days ago", seconds / 86_400),
    }
}

/// The name of an attribute for people: without the long prefix of an extension.
pub(crate) fn short(path: &AttributePath) -> &str {
    let path = path.as_str();
    match path.strip_prefix("urn:") {
        Some(urn) => urn.rsplit(':').next().unwrap_or(path),
        None => path,
    }
}

pub(super) fn list(paths: &[AttributePath]) -> String {
    let names: Vec<_> = paths.iter().map(short).collect();
    match names.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => names.concat(),
    }
}

/// The longest value on a page that is about more than it.
const SHOWN_CHARS: usize = 60;

/// A value for people. A value of a system must not give orders to a terminal, so control characters are shown by name.
pub(crate) fn quoted(value: Option<&Value>, whole: bool) -> String {
    let cut = |text: &str| match text.char_indices().nth(SHOWN_CHARS) {
        Some((at, _)) if !whole => format!("\"{}...\"", clean(&text[..at])),
        _ => format!("\"{}\"", clean(text)),
    };
    match value {
        None => "nothing".to_owned(),
        Some(Value::Bool(true)) => "yes".to_owned(),
        Some(Value::Bool(false)) => "no".to_owned(),
        Some(Value::Int(number)) => number.to_string(),
        Some(Value::Text(text)) => cut(text),
        Some(Value::Set(items)) => items.iter().map(|item| cut(item)).collect::<Vec<_>>().join(", "),
        Some(Value::Reference { account }) => format!("account {account}"),
    }
}

fn clean(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_give_no_orders_to_a_terminal() {
        let long = "x".repeat(61);
        for (value, whole, shown) in [
            (Some(Value::from("Ada\u{1b}[2J")), false, "\"Ada\\u{1b}[2J\"".to_owned()),
            (Some(Value::from("")), false, "\"\"".to_owned()),
            (Some(Value::Bool(true)), false, "yes".to_owned()),
            (Some(Value::from(&*long)), false, format!("\"{}...\"", &long[1..])),
            (Some(Value::from(&*long)), true, format!("\"{long}\"")),
            (None, true, "nothing".to_owned()),
        ] {
            assert_eq!(quoted(value.as_ref(), whole), shown);
        }
    }

    #[test]
    fn names_of_extensions_are_short() {
        for (path, name) in [
            ("urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department", "department"),
            ("name.givenName", "name.givenName"),
        ] {
            assert_eq!(short(&path.parse().unwrap()), name);
        }
    }
}
