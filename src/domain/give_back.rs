//! A value that did not win is given back (B5): a person decides that it is the right one, and it flows to both sides like
//! any other. What it replaces is kept in its turn, so that giving back can be taken back.

use super::account::Version;
use super::attribute::{AttributePath, Value};
use super::hold::Hold;
use super::id::Side;
use super::journal::{JournalReason, Lost};
use super::link::{Link, Pin, Register};
use super::resolve::holds;
use super::rules::Rules;
use super::time::Timestamp;
use super::undo::remember;

/// The value that is to be given back.
#[derive(Debug, Clone, Copy)]
pub struct Offer<'o> {
    /// The attribute.
    pub path: &'o AttributePath,
    /// The side whose value it was.
    pub side: Side,
    /// The value; `None`: a clear.
    pub value: Option<&'o Value>,
    /// Generation of the register's value that it lost to.
    pub generation: u32,
}

/// How a person wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Who: `user@host`.
    pub by: String,
    /// When, in the store's clock.
    pub at: Timestamp,
    /// When, in the clock of the side whose value it was.
    pub read_at: Timestamp,
    /// Whether this side alone shall count for the attribute from now on.
    pub pin: bool,
    /// Whether it shall be so although the attribute was changed since.
    pub force: bool,
}

/// Why a value is not given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The connection does not map the attribute.
    NotMapped,
    /// Values of that side do not count for the attribute: what they were changed to is drift.
    DoesNotCount,
    /// A person pinned the attribute to the other side.
    PinnedAway,
    /// The accounts were not read since the store forgot what they held.
    Unread,
    /// The attribute was changed since the value lost.
    ChangedSince,
    /// It is the value that both sides should have.
    AlreadyThere,
}

/// A link with a value given back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// The link after.
    pub link: Link,
    /// What was replaced.
    pub replaced: Vec<Lost>,
}

/// Makes a value that did not win the one that both sides should have.
///
/// # Errors
/// It cannot be, or should not without a person's say.
pub fn give_back(link: &Link, offer: Offer<'_>, wish: &Wish, rules: &Rules) -> Result<Given, Refusal> {
    let Offer { path, side, value, generation: lost_to } = offer;
    let rule = rules.attributes.get(path).ok_or(Refusal::NotMapped)?;
    if !rule.flow.contributes(side) {
        return Err(Refusal::DoesNotCount);
    }
    let pin = link.pins.get(path);
    if pin.is_some_and(|pin| pin.side != side) && !wish.pin {
        return Err(Refusal::PinnedAway);
    }
    let before = link.registers.get(path).ok_or(Refusal::Unread)?;
    let is_there = rules.digest(side, path, before.value.as_ref()) == rules.digest(side, path, value);
    let pins = wish.pin && pin.is_none_or(|pin| pin.side != side);
    if is_there && before.hold.is_none() && !pins {
        return Err(Refusal::AlreadyThere);
    }
    if before.generation != lost_to && !wish.force {
        return Err(Refusal::ChangedSince);
    }
    let mut after = link.clone();
    if pins {
        after.pins.insert(path.clone(), Pin { side, by: wish.by.clone(), at: wish.at });
    }
    let generation = before.generation + 1;
    let mut applied = before.applied;
    for side in Side::BOTH {
        if holds(link, side, path, value, rules) {
            applied[side] = generation;
        }
    }
    let at = Version { modified_at: None, read_at: wish.read_at, tag: None };
    let given = Register { value: value.cloned(), at, by: side, generation, applied, hold: None };
    after.registers.insert(path.clone(), given);
    // It is not the next turn of a loop, and whatever loop there was may begin anew.
    after.turns.remove(path);
    remember(link, &mut after, None, rules);
    let lost = |side, value: Option<&Value>| Lost {
        path: path.clone(),
        side,
        value: value.cloned(),
        reason: JournalReason::GivenBack,
        generation,
    };
    let mut replaced = vec![lost(before.by, before.value.as_ref())];
    if let Some(Hold::BaseLost { other }) = &before.hold {
        replaced.push(lost(before.by.other(), other.as_ref()));
    }
    // What is there already was not replaced.
    let digest = rules.digest(side, path, value);
    replaced.retain(|lost| rules.digest(side, path, lost.value.as_ref()) != digest);
    Ok(Given { link: after, replaced })
}

/// Takes a pin away: both sides count again, from the value that both have. `None`: there is none.
pub fn unpin(link: &Link, path: &AttributePath) -> Option<Link> {
    let mut after = link.clone();
    after.pins.remove(path).map(|_| after)
}

#[cfg(test)]
mod tests;
