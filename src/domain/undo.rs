//! Undoing what a run wrote (B13): what each write overwrites is noted before the write leaves, and brought back later where
//! nobody has changed it since.
//!
//! A link remembers values as digests, which cannot be brought back. So where a side does not hold what both should have,
//! that is, where it may be overwritten, the link keeps the value itself ([`SideState::before`](super::link::SideState)), as
//! long as that is so. Of a link in step nothing is kept.

use serde::{Deserialize, Serialize};

use super::account::Version;
use super::attribute::{AttributePath, Attributes, Value};
use super::hold::Hold;
use super::id::{AccountId, LinkId, Side, Sides};
use super::link::{Link, Register};
use super::pending::{Need, Pending};
use super::resolve::holds;
use super::rules::{AttributeRule, Departure, Occasion, Rules};
use super::time::Timestamp;
use super::write::may_be_kept_as;

/// What a write is about to do to an account, and what it overwrites.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overwritten {
    /// The link.
    pub link: LinkId,
    /// The side that is written.
    pub side: Side,
    /// The accounts of the link then. A created one has no id yet.
    pub accounts: Sides<Option<AccountId>>,
    /// When, in the store's clock.
    pub at: Timestamp,
    /// What is done.
    pub act: Act,
    /// Each attribute that is written, with the generation of its new value and what it held before.
    pub values: Vec<(AttributePath, u32, Before)>,
}

/// What a write does to an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Act {
    /// It is created.
    #[serde(rename = "c")]
    Created,
    /// It is changed.
    #[serde(rename = "u")]
    Changed,
    /// It parts from its partner like that.
    #[serde(rename = "p")]
    Parted(Departure),
}

/// What an attribute held before a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Before {
    /// This value; `None`: none.
    Held(Option<Value>),
    /// It was not known.
    Unknown,
}

/// Keeps the values that a write of either side would overwrite: where what the side was last seen to hold is not what both
/// should have. `shown`: what was just seen of a side, under the names of the link.
pub fn remember(before: &Link, after: &mut Link, shown: Option<(Side, &Attributes)>, rules: &Rules) {
    for side in Side::BOTH {
        let known = std::mem::take(&mut after.sides[side].before);
        if !after.is_paired() {
            continue;
        }
        let mut kept = Attributes::new();
        for (path, rule) in &rules.attributes {
            let Some(seen) = after.sides[side].seen.get(path).filter(|_| overwrites(rule, side)) else { continue };
            let is_seen = |value: Option<&Value>| *seen == rules.digest(side, path, value);
            let register = |link: &'_ Link| link.registers.get(path).map(|register| register.value.clone());
            if register(after).is_some_and(|value| is_seen(value.as_ref())) {
                continue;
            }
            let just_shown = shown.filter(|(of, _)| *of == side).and_then(|(_, values)| values.get(path).cloned());
            let candidates = [just_shown, known.get(path).cloned(), register(before)];
            if let Some(value) = candidates.into_iter().flatten().find(|value| is_seen(value.as_ref())) {
                kept.insert(path.clone(), value);
            }
        }
        after.sides[side].before = kept;
    }
}

/// Whether writes of an attribute can overwrite what `side` holds.
fn overwrites(rule: &AttributeRule, side: Side) -> bool {
    rule.flow.writes(side) && rule.occasion == Occasion::Always
}

/// What a write of `side` that was decided on this link is about to overwrite.
pub fn overwritten(link: &Link, side: Side, wanted: &Pending, at: Timestamp) -> Overwritten {
    let state = &link.sides[side];
    let act = match wanted.need {
        Need::Create { .. } | Need::Find { .. } => Act::Created,
        Need::Update { .. } => Act::Changed,
        Need::Part { how, .. } => Act::Parted(how),
    };
    let mut values = Vec::new();
    for (path, generation) in wanted.generations.iter().filter(|_| act == Act::Changed) {
        // A write of a whole account carries what the side holds already.
        if link.registers.get(path).is_some_and(|register| register.applied[side] == *generation) {
            continue;
        }
        let before = state.before.get(path).map_or(Before::Unknown, |value| Before::Held(value.clone()));
        values.push((path.clone(), *generation, before));
    }
    if act == Act::Created {
        // All that can be taken back of a creation is the right to use the account.
        let active = link.registers.get(&AttributePath::active());
        let generation = active.map_or(0, |active| active.generation);
        values.push((AttributePath::active(), generation, Before::Held(Some(Value::Bool(false)))));
    }
    let accounts = Sides::from_fn(|side| link.sides[side].account.clone());
    Overwritten { link: link.id, side, accounts, at, act, values }
}

/// What is to be brought back.
#[derive(Debug, Clone, Copy)]
pub struct Restore<'r> {
    /// The side that was written.
    pub side: Side,
    /// The attribute.
    pub path: &'r AttributePath,
    /// Generation of the value that was written.
    pub generation: u32,
    /// What it held before.
    pub before: &'r Before,
    /// What the account of that side holds now, under the names of the link; `None`: nobody could ask.
    pub today: Option<&'r Attributes>,
    /// When, in the clock of the side that values of the attribute come from.
    pub read_at: Timestamp,
}

/// Why a value is not brought back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Skip {
    /// It is as it was before.
    AlreadyUndone,
    /// Somebody, or a later run, has changed it since.
    EditedSince,
    /// A write of it waits for a person already.
    Held,
    /// A person pinned the attribute to the other side.
    Pinned,
    /// What it held before was not known.
    Unknown,
    /// The connection does not write the attribute to that side any more.
    NotMapped,
    /// The accounts were not read since the store forgot what they held.
    Unread,
}

/// The link with a value brought back: like a value that a person gives back, it is what both sides should have.
///
/// # Errors
/// It is not brought back.
pub fn restore(link: &Link, what: Restore<'_>, rules: &Rules) -> Result<Link, Skip> {
    let Restore { side, path, generation, before, today, read_at } = what;
    let rule = rules.attributes.get(path).filter(|rule| rule.flow.writes(side)).ok_or(Skip::NotMapped)?;
    let Before::Held(value) = before else { return Err(Skip::Unknown) };
    let register = link.registers.get(path).ok_or(Skip::Unread)?;
    let digest = |value: Option<&Value>| rules.digest(side, path, value);
    if digest(register.value.as_ref()) == digest(value.as_ref()) {
        return Err(Skip::AlreadyUndone);
    }
    if register.generation != generation {
        return Err(Skip::EditedSince);
    }
    if matches!(&register.hold, Some(Hold::Stopped(_) | Hold::BaseLost { .. })) && register.is_held() {
        return Err(Skip::Held);
    }
    let by = if rule.flow.contributes(side) { side } else { side.other() };
    if link.pins.get(path).is_some_and(|pin| pin.side != by) {
        return Err(Skip::Pinned);
    }
    // What the account holds now must be what was written, or what was there before: the write may not have landed.
    let ours = [register.value.as_ref(), value.as_ref()];
    let is_ours = |held: Option<&Value>| {
        ours.iter().any(|ours| digest(*ours) == digest(held)) || may_be_kept_as(register.value.as_ref(), held)
    };
    let seen = link.sides[side].seen.get(path);
    let was_ours = match link.sides[side].before.get(path) {
        _ if seen == Some(&digest(register.value.as_ref())) => true,
        Some(held) => is_ours(held.as_ref()),
        None => seen.is_none() || seen == Some(&digest(value.as_ref())),
    };
    let is_today = today.is_none_or(|today| match today.get(path) {
        Some(held) => is_ours(held.as_ref()),
        // What was not shown says nothing.
        None => true,
    });
    if !was_ours || !is_today {
        return Err(Skip::EditedSince);
    }
    let mut after = link.clone();
    let next = register.generation + 1;
    let mut applied = register.applied;
    for side in Side::BOTH {
        if holds(link, side, path, value.as_ref(), rules) {
            applied[side] = next;
        }
    }
    let at = Version { modified_at: None, read_at, tag: None };
    let restored = Register { value: value.clone(), at, by, generation: next, applied, hold: None };
    after.registers.insert(path.clone(), restored);
    // It is not the next turn of a loop.
    after.turns.remove(path);
    remember(link, &mut after, None, rules);
    Ok(after)
}

#[cfg(test)]
mod tests;
