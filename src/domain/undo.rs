//! Undoing what a run wrote (B13): what each write overwrites is noted before the write leaves, and brought back later where
//! nobody has changed it since.
//!
//! A link remembers values as digests, which cannot be brought back. So where a side does not hold what both should have,
//! that is, where it may be overwritten, the link keeps the value itself ([`SideState::before`](super::link::SideState)), as
//! long as that is so. Of a link in step nothing is kept, and of no link where the
//! connection says `undo = "off"`.

use serde::{Deserialize, Serialize};

use super::account::{Snapshot, Version};
use super::attribute::{AttributePath, Attributes, Digest, Value};
use super::hold::Hold;
use super::id::{AccountId, Epoch, LinkId, Side, Sides};
use super::link::{Link, Register};
use super::pending::{Need, Pending};
use super::resolve::holds;
use super::rules::{AttributeRule, Departure, Occasion, Rules};
use super::time::Timestamp;
use super::write::is_kept_form_of;

mod target;

pub use target::{Target, Written, targets};

/// A note of what a write is about to do to an account and overwrites there, or of what its answer showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overwritten {
    /// The link.
    pub link: LinkId,
    /// The store's epoch: generations of another one count something else.
    pub epoch: Epoch,
    /// The side that is written.
    pub side: Side,
    /// The accounts of the link then. One that is to be created has no id yet.
    pub accounts: Sides<Option<AccountId>>,
    /// When, in the store's clock.
    pub at: Timestamp,
    /// What is done.
    pub act: Act,
    /// The attributes that it is about.
    pub values: Vec<Replaced>,
}

/// One attribute of a note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaced {
    /// The attribute.
    pub path: AttributePath,
    /// Generation of its new value.
    pub generation: u32,
    /// The new value, as the written side compares it.
    pub wrote: Digest,
    /// What it held before; of [`Act::Kept`] what it holds in the new value's place.
    pub before: Before,
}

/// What a note says of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Act {
    /// It is about to be searched for, and to be created if it is not there.
    #[serde(rename = "c")]
    Created,
    /// The system answered that it created it.
    #[serde(rename = "m")]
    Made,
    /// It is about to be changed.
    #[serde(rename = "u")]
    Changed,
    /// The answer to a change showed values in another form than they were sent in.
    #[serde(rename = "k")]
    Kept,
    /// It is about to part from its partner like that.
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
        if !after.is_paired() || !rules.keeps_before {
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
pub fn overwritten(link: &Link, side: Side, wanted: &Pending, at: Timestamp, rules: &Rules) -> Overwritten {
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
        let wrote = rules.digest(side, path, wanted.values.get(path).and_then(Option::as_ref));
        values.push(Replaced { path: path.clone(), generation: *generation, wrote, before });
    }
    if act == Act::Created {
        // All that can be taken back of a creation is the right to use the account.
        let path = AttributePath::active();
        let active = link.registers.get(&path);
        let generation = active.map_or(0, |active| active.generation);
        let wrote = rules.digest(side, &path, active.and_then(|active| active.value.as_ref()));
        values.push(Replaced { path, generation, wrote, before: Before::Held(Some(Value::Bool(false))) });
    }
    let accounts = Sides::from_fn(|side| link.sides[side].account.clone());
    Overwritten { link: link.id, epoch: link.epoch, side, accounts, at, act, values }
}

/// What the answer to a write tells an undo that nothing else will: that the account was created, or which values it holds in
/// another form than they were sent in. `link`: as it is with the answer.
pub fn answered(
    link: &Link,
    side: Side,
    wanted: &Pending,
    answer: &Snapshot,
    at: Timestamp,
    rules: &Rules,
) -> Option<Overwritten> {
    let mut accounts = Sides::from_fn(|side| link.sides[side].account.clone());
    accounts[side] = Some(answer.account.clone());
    let note = |act, values| Overwritten { link: link.id, epoch: link.epoch, side, accounts, at, act, values };
    if wanted.need.has_no_account() {
        // Where nothing can be read, an account that was there is created all the same.
        return (!rules.write_only[side]).then(|| note(Act::Made, Vec::new()));
    }
    let shown = rules.view(side, answer).values;
    let mut values = Vec::new();
    for (path, generation) in &wanted.generations {
        let (Some(sent), Some(held)) = (wanted.values.get(path), shown.get(path)) else { continue };
        let wrote = rules.digest(side, path, sent.as_ref());
        let is_other_form =
            rules.digest(side, path, held.as_ref()) != wrote && is_kept_form_of(sent, path, side, answer, rules);
        if is_other_form {
            let before = Before::Held(held.clone());
            values.push(Replaced { path: path.clone(), generation: *generation, wrote, before });
        }
    }
    (!values.is_empty()).then(|| note(Act::Kept, values))
}

/// What is to be brought back.
#[derive(Debug, Clone, Copy)]
pub struct Restore<'r> {
    /// The side that was written.
    pub side: Side,
    /// The attribute.
    pub path: &'r AttributePath,
    /// What was written there, and what it held before.
    pub written: &'r Written,
    /// What each account holds now, under the names of the link; `None`: nobody could ask, or need ask.
    pub today: Sides<Option<&'r Attributes>>,
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
    /// The store forgot since then what the accounts held, so that nobody can tell what was edited.
    Forgotten,
    /// The right to use an account would be taken away from its partner as well, whom nobody created.
    BothWays,
}

/// The link with a value brought back: like a value that a person gives back, it is what both sides should have.
///
/// # Errors
/// It is not brought back.
pub fn restore(link: &Link, what: Restore<'_>, rules: &Rules) -> Result<Link, Skip> {
    let Restore { side, path, written, today, read_at } = what;
    let rule = rules.attributes.get(path).filter(|rule| rule.flow.writes(side)).ok_or(Skip::NotMapped)?;
    let Before::Held(value) = &written.before else { return Err(Skip::Unknown) };
    if written.epoch != link.epoch {
        return Err(Skip::Forgotten);
    }
    let register = link.registers.get(path).ok_or(Skip::Unread)?;
    let digest = |value: Option<&Value>| rules.digest(side, path, value);
    if digest(register.value.as_ref()) == digest(value.as_ref()) {
        return Err(Skip::AlreadyUndone);
    }
    if register.generation != written.generation {
        return Err(Skip::EditedSince);
    }
    if matches!(&register.hold, Some(Hold::Stopped(_) | Hold::BaseLost { .. })) && register.is_held() {
        return Err(Skip::Held);
    }
    let by = if rule.flow.contributes(side) { side } else { side.other() };
    if link.pins.get(path).is_some_and(|pin| pin.side != by) {
        return Err(Skip::Pinned);
    }
    // What the account holds now must be what was written, or what the system was seen to make of that, or what was there
    // before: the write may not have landed.
    let ours = [Some(&register.value), Some(value), written.kept.as_ref()];
    let is_ours = |held: Option<&Value>| ours.into_iter().flatten().any(|ours| digest(ours.as_ref()) == digest(held));
    let seen = link.sides[side].seen.get(path);
    let was_ours = match link.sides[side].before.get(path) {
        _ if seen == Some(&digest(register.value.as_ref())) => true,
        Some(held) => is_ours(held.as_ref()),
        None => seen.is_none() || seen == Some(&digest(value.as_ref())),
    };
    let is_today = today[side].is_none_or(|today| match today.get(path) {
        Some(held) => is_ours(held.as_ref()),
        // What was not shown says nothing.
        None => true,
    });
    if !was_ours || !is_today || is_edited_on(link, side.other(), path, today[side.other()], rules) {
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

/// Whether a side whose values count holds what nobody has read yet.
fn is_edited_on(link: &Link, side: Side, path: &AttributePath, today: Option<&Attributes>, rules: &Rules) -> bool {
    let counts = rules.attributes.get(path).is_some_and(|rule| rule.flow.contributes(side) && rule.flow.writes(side));
    let (Some(today), Some(seen)) = (today.and_then(|today| today.get(path)), link.sides[side].seen.get(path)) else {
        return false;
    };
    counts && *seen != rules.digest(side, path, today.as_ref())
}

/// The link with the right taken away to use an account that was created: see [`restore`].
///
/// # Errors
/// It is not taken away.
pub fn deactivate(link: &Link, what: Restore<'_>, rules: &Rules) -> Result<Link, Skip> {
    let flows_back = rules.attributes.get(what.path).is_some_and(|rule| rule.flow.contributes(what.side));
    if flows_back { Err(Skip::BothWays) } else { restore(link, what, rules) }
}

#[cfg(test)]
mod tests;
