//! From what was noted on the copy to a plan: an item for each account that would be written, and what stays.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde::Serialize;
use serde_json::json;

use super::dry::Dry;
use super::meeting::Meeting;
use super::planned::{Outcome, Planned};
use super::reasons::{Reason, reason};
use crate::domain::link::Left;
use crate::domain::pending::lacking;
use crate::domain::rules::Departure;
use crate::domain::{
    AccountId, AttributePath, ChangeOutcome, ConnectionName, DeadLetter, Link, LinkId, Side, Sides, SystemName,
    Timestamp, Value, write,
};
use crate::ops::exit::Exit;
use crate::store::{Claim, Find, Run, Store, StoreError};

/// Links asked for at once.
const QUESTIONS: usize = 500;

/// What would be done to an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Deed {
    Create,
    Change,
    Deactivate,
    Reactivate,
    Detach,
    Remove,
    Delete,
}

impl Deed {
    pub(super) const ALL: [Self; 7] =
        [Self::Create, Self::Change, Self::Deactivate, Self::Reactivate, Self::Detach, Self::Remove, Self::Delete];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Change => "change",
            Self::Deactivate => "deactivate",
            Self::Reactivate => "reactivate",
            Self::Detach => "detach",
            Self::Remove => "remove",
            Self::Delete => "delete",
        }
    }
}

impl From<Departure> for Deed {
    fn from(how: Departure) -> Self {
        match how {
            Departure::Detach => Self::Detach,
            Departure::Remove => Self::Remove,
            Departure::Delete => Self::Delete,
        }
    }
}

/// An account that would be written.
#[derive(Debug, Serialize)]
pub(super) struct Item {
    pub(super) action: Deed,
    pub(super) side: Side,
    pub(super) system: SystemName,
    /// Absent for one that would be created.
    pub(super) account: Option<AccountId>,
    /// The account on the other side.
    pub(super) partner: Option<AccountId>,
    /// A name by which people know it.
    pub(super) name: Option<String>,
    pub(super) values: BTreeMap<AttributePath, ValueChange>,
    /// Why the two part, where they do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) why: Option<Left>,
}

/// A value that would be written.
#[derive(Debug, Serialize)]
pub(super) struct ValueChange {
    #[serde(serialize_with = "plain")]
    pub(super) before: Option<Value>,
    #[serde(serialize_with = "plain")]
    pub(super) after: Option<Value>,
    /// The value is the id that the system will give to the account created for this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id_of_new: Option<AccountId>,
    #[serde(serialize_with = "word")]
    pub(super) reason: Reason,
    /// When the other side's value was set, in its clock.
    #[serde(serialize_with = "time")]
    pub(super) at: Option<Timestamp>,
}

fn plain<S: serde::Serializer>(value: &Option<Value>, to: S) -> Result<S::Ok, S::Error> {
    value.serialize(to)
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn word<S: serde::Serializer>(reason: &Reason, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(reason.as_str())
}

#[allow(clippy::ref_option, reason = "serde's signature")]
fn time<S: serde::Serializer>(at: &Option<Timestamp>, to: S) -> Result<S::Ok, S::Error> {
    at.map(|at| at.to_string()).serialize(to)
}

/// What a sync would do.
pub(super) struct Report {
    pub(super) connection: ConnectionName,
    pub(super) systems: Sides<SystemName>,
    /// What the accounts are to each other, where that was looked at.
    pub(super) meeting: Option<Meeting>,
    /// By action, then by account.
    pub(super) items: Vec<Item>,
    /// What would be refused and is not yet, each with what to do.
    pub(super) refused: Vec<(DeadLetter, Option<&'static str>)>,
    /// Accounts of which something waits for a person.
    pub(super) held: Vec<OnHold>,
    pub(super) counts: Counts,
    /// Why the accounts could not be read.
    pub(super) failed: Option<String>,
    /// Workers are at it: it is a picture of the moment.
    pub(super) workers: bool,
}

/// What waits for a person of two accounts.
pub(super) struct OnHold {
    pub(super) accounts: Sides<Option<AccountId>>,
    /// The attributes; none: an account is not created.
    pub(super) attributes: Vec<AttributePath>,
    /// Why: the kind of write and what stops it.
    pub(super) reasons: BTreeSet<String>,
}

/// Accounts that would not be written.
#[derive(Debug, Default, Serialize)]
pub(super) struct Counts {
    /// Pairs that hold what they should.
    pub(super) in_step: u64,
    /// Pairs that would be linked, and are not yet.
    pub(super) to_link: u64,
    /// Accounts without a partner of which nobody can tell who belongs to whom: `muster links add` says so.
    pub(super) ambiguous: u64,
    /// Accounts on one side alone that stay so.
    pub(super) alone: u64,
    /// Accounts read that nobody asked to keep in step.
    pub(super) out_of_scope: u32,
    /// Pairs, or accounts without a partner, of which something is refused.
    pub(super) refused: u64,
    /// Open letters that are there already.
    pub(super) open_letters: usize,
}

impl Report {
    /// Of a run that is over.
    pub(super) async fn of<S: Store>(
        dry: &Dry,
        meeting: Option<Meeting>,
        run: &Run,
        source: Option<&S>,
    ) -> Result<Self, StoreError> {
        let (connection, store) = (&dry.connection, &dry.pipeline.store);
        let mut items = Vec::new();
        let mut written = HashSet::new();
        for side in Side::BOTH {
            let outcomes = dry.ends[side].outcomes();
            for outcomes in outcomes.chunks(QUESTIONS) {
                let links = links_of(dry, side, outcomes).await?;
                let was = links_before(source, &connection.name, &links).await?;
                for (outcome, link) in outcomes.iter().zip(links) {
                    let was = link.as_ref().and_then(|link| was.get(&link.id));
                    if let Some(item) = item(dry, side, outcome, link.as_ref(), was) {
                        items.push(item);
                        written.extend(link.map(|link| link.id));
                    }
                }
            }
        }
        dry.each_link(|link| {
            if let Some(item) = parting(dry, &link) {
                written.insert(link.id);
                items.push(item);
            }
        })
        .await?;
        items.sort_by_cached_key(|item| (item.side.as_str(), item.action, item.name.clone(), item.account.clone()));
        let open = store.letters(Some(&connection.name)).await?;
        let known: HashSet<_> = dry.before.letters.iter().map(|letter| &letter.id).collect();
        let open_letters = open.iter().filter(|letter| known.contains(&letter.id)).count();
        let fresh = open.into_iter().filter(|letter| !known.contains(&letter.id));
        let refused = fresh.map(|letter| {
            let system = letter.fingerprint.target.as_ref().and_then(|name| dry.pipeline.systems.get(name));
            let remedy = system.and_then(|system| system.remedy(&letter.fingerprint.code));
            (letter, remedy)
        });
        let refused: Vec<_> = refused.collect();
        let mut counts =
            Counts { out_of_scope: run.changes(ChangeOutcome::OutOfScope), open_letters, ..Counts::default() };
        let mut held = Vec::new();
        let rules = connection.rules(store.epoch(&connection.name).await?.id);
        dry.each_link(|link| {
            let sides = |is: &dyn Fn(Side) -> bool| Side::BOTH.into_iter().any(is);
            if link.is_paired() && !dry.before.paired.contains(&link.id) {
                let is_new = sides(&|side| {
                    let account = link.sides[side].account.as_ref().expect("both sides of a pair have one");
                    dry.ends[side].created_for(account.as_str()).is_some()
                });
                counts.to_link += u64::from(!is_new);
            }
            let is_on_hold = link.held_since().is_some();
            if is_on_hold {
                let accounts = Sides::from_fn(|side| link.sides[side].account.clone());
                let mut on_hold = OnHold { accounts, attributes: Vec::new(), reasons: BTreeSet::new() };
                for waiting in link.held().filter(|held| held.stop.is_none_or(|stop| stop.ruling.is_none())) {
                    on_hold.attributes.extend(waiting.path.cloned());
                    on_hold.reasons.insert(match waiting.stop {
                        Some(crate::domain::hold::Stop { risk: Some(risk), why, .. }) => {
                            format!("{risk} {}", why.as_str())
                        }
                        Some(stop) => stop.why.as_str().to_owned(),
                        None => "base_lost".to_owned(),
                    });
                }
                held.push(on_hold);
            }
            if written.contains(&link.id) || is_on_hold {
                return;
            }
            if link.ambiguity.is_some() {
                counts.ambiguous += 1;
            } else if sides(&|side| link.sides[side].dead.is_some() && lacking(&link, side, &rules).is_some()) {
                counts.refused += 1;
            } else if link.is_paired() {
                counts.in_step += 1;
            } else {
                counts.alone += 1;
            }
        })
        .await?;
        let workers = match source {
            Some(source) => !source.instances().await?.is_empty(),
            None => false,
        };
        Ok(Self {
            connection: connection.name.clone(),
            systems: connection.systems.clone(),
            meeting,
            items,
            refused,
            held,
            counts,
            failed: run.failed.clone(),
            workers,
        })
    }

    /// How many items there are of each kind on each side.
    pub(super) fn deeds(&self) -> HashMap<(Side, Deed), usize> {
        let mut deeds = HashMap::new();
        for item in &self.items {
            *deeds.entry((item.side, item.action)).or_default() += 1;
        }
        deeds
    }

    pub(super) fn exit(&self) -> Exit {
        if self.failed.is_some() {
            Exit::Failed
        } else if !self.items.is_empty() {
            Exit::Changes
        } else if !self.refused.is_empty() || self.counts.ambiguous > 0 {
            Exit::Attention
        } else {
            Exit::Done
        }
    }

    /// The last object for machines.
    pub(super) fn summary(&self) -> serde_json::Value {
        let deeds = self.deeds();
        let of_side = |side: Side| -> serde_json::Map<_, _> {
            let count = |deed: Deed| json!(deeds.get(&(side, deed)).copied().unwrap_or_default());
            Deed::ALL.into_iter().map(|deed| (deed.as_str().to_owned(), count(deed))).collect()
        };
        json!({
            "connection": self.connection,
            "systems": self.systems,
            "a": of_side(Side::A),
            "b": of_side(Side::B),
            "new_letters": self.refused.len(),
            "held": self.held.len(),
            "first_match": self.meeting.as_ref().map(|meeting| meeting.summary(&self.systems)),
            "stays": self.counts,
            "workers": self.workers,
            "failed": self.failed,
        })
    }
}

/// The link of each account that would be written.
async fn links_of(dry: &Dry, side: Side, outcomes: &[Outcome]) -> Result<Vec<Option<Link>>, StoreError> {
    let claim = |outcome: &Outcome| vec![Claim::Account(side, outcome.account.clone())];
    let questions = outcomes.iter().map(|outcome| Find { claims: claim(outcome), letter: None }).collect();
    let found = dry.pipeline.store.find(&dry.connection.name, questions).await?;
    Ok(found.items.into_iter().map(|found| found.link.map(|(link, _)| link)).collect())
}

/// The same links as the store has them.
async fn links_before<S: Store>(
    source: Option<&S>,
    name: &ConnectionName,
    links: &[Option<Link>],
) -> Result<HashMap<LinkId, Link>, StoreError> {
    let Some(source) = source else { return Ok(HashMap::new()) };
    let ids: Vec<_> = links.iter().flatten().map(|link| link.id).collect();
    match source.load(name, &ids).await {
        Ok(loaded) => Ok(loaded.items.into_iter().flatten().map(|link| (link.id, link)).collect()),
        // It knew nothing, or does not any more.
        Err(StoreError::EpochChanged(_)) => Ok(HashMap::new()),
        Err(error) => Err(error),
    }
}

/// What would become of an account; `None`: it would hold what it holds.
fn item(dry: &Dry, side: Side, outcome: &Outcome, link: Option<&Link>, was: Option<&Link>) -> Option<Item> {
    let rules = dry.connection.template();
    let creates = outcome.created_for.is_some();
    let mut values = BTreeMap::new();
    for (own, after) in &outcome.after {
        let before = outcome.before.get(own).cloned().flatten();
        if before == *after {
            continue;
        }
        let path = write::named(rules, side, own).unwrap_or_else(|| own.clone());
        let register = link.and_then(|link| link.registers.get(&path));
        let why = match (creates, link) {
            (false, Some(link)) => reason(link, was, side, &path),
            (true, _) => Reason::Missing,
            (false, None) => Reason::Edited,
        };
        let at = register.and_then(|register| register.at.modified_at);
        let id_of_new = after.as_ref().and_then(|value| new_id(&dry.ends[side.other()], value));
        let after = after.clone().filter(|_| id_of_new.is_none());
        values.insert(path, ValueChange { before, after, id_of_new, reason: why, at });
    }
    let active = values.get(&AttributePath::active()).map(|change| change.after == Some(Value::Bool(true)));
    let action = match (creates, active) {
        (true, _) => Deed::Create,
        (false, Some(true)) => Deed::Reactivate,
        (false, Some(false)) => Deed::Deactivate,
        (false, None) => Deed::Change,
    };
    let partner = link.and_then(|link| link.sides[side.other()].account.clone());
    let name = ["userName", "emails", "displayName", "name.familyName"].iter().find_map(|path| {
        let value = outcome.then.attributes.get(&path.parse::<AttributePath>().ok()?)?.as_ref()?;
        value.as_text().map(str::to_owned)
    });
    (creates || !values.is_empty()).then(|| Item {
        action,
        side,
        system: dry.connection.systems[side].clone(),
        account: (!creates).then(|| outcome.account.clone()),
        partner: partner.or_else(|| outcome.created_for.clone()),
        name,
        values,
        why: None,
    })
}

/// The account that would part from its partner, who left.
fn parting(dry: &Dry, link: &Link) -> Option<Item> {
    let is_new = |side: &Side| !dry.before.parted.contains(&(link.id, *side));
    let (side, parting) = Side::BOTH.into_iter().filter(is_new).find_map(|side| Some((side, link.parted(side)?)))?;
    let name = ["userName", "emails", "displayName", "name.familyName"].iter().find_map(|path| {
        let register = link.registers.get(&path.parse::<AttributePath>().ok()?)?;
        register.value.as_ref()?.as_text().map(str::to_owned)
    });
    Some(Item {
        action: Deed::from(parting.how),
        side,
        system: dry.connection.systems[side].clone(),
        account: Some(parting.account.clone()),
        partner: link.sides[side.other()].account.clone(),
        name,
        values: BTreeMap::new(),
        why: Some(parting.why),
    })
}

/// The partner of the account to be created whose id the value is.
fn new_id(other: &Planned, value: &Value) -> Option<AccountId> {
    other.created_for(value.as_text()?)
}
