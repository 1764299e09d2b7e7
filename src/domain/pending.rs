//! What a side lacks. It is the only source of commands, and of what a writer writes.

use std::hash::Hasher;

use siphasher::sip::SipHasher24;

use super::attribute::{AttributePath, Attributes, Digest, Value};
use super::guard::Risk;
use super::hold::{HoldState, Stop};
use super::id::{AccountId, Side};
use super::link::{Intent, Link, Register};
use super::rules::{Departure, Occasion, Rules};
use super::time::Timestamp;

/// What a side of a link lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// Whether the account is to be created, found or changed.
    pub need: Need,
    /// The values, under the names that the link keeps them by.
    pub values: Attributes,
    /// The generation of each.
    pub generations: Vec<(AttributePath, u32)>,
}

/// Whether an account is to be created, found or changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// There is none yet; it will carry its partner's id.
    Create {
        /// The account on the other side.
        partner: AccountId,
    },
    /// There is to be none any more, since its partner left; but a creation that was begun before has no answer. What
    /// it may have left is to be found, so that the account does not stay as it is with nobody to look after it.
    Find {
        /// The account on the other side.
        partner: AccountId,
    },
    /// This one.
    Update {
        /// The account.
        account: AccountId,
    },
    /// Its partner left, and the two part.
    Part {
        /// The account.
        account: AccountId,
        /// How.
        how: Departure,
    },
}

impl Need {
    /// The kind of the write as a whole, if it has one besides those of its values.
    pub fn risk(&self) -> Option<Risk> {
        match self {
            Self::Create { .. } => Some(Risk::Create),
            Self::Part { how, .. } => Some(how.risk()),
            Self::Find { .. } | Self::Update { .. } => None,
        }
    }

    /// Whether the link knows no account yet.
    pub fn has_no_account(&self) -> bool {
        match self {
            Self::Create { .. } | Self::Find { .. } => true,
            Self::Update { .. } | Self::Part { .. } => false,
        }
    }
}

impl Pending {
    /// Stands for what is pending under these rules: a refusal holds as long as it stays the same.
    pub fn digest(&self, rules: &Rules) -> Digest {
        let mut hasher = SipHasher24::new();
        hasher.write_u64(rules.version);
        hasher.write_u8(match self.need {
            Need::Update { .. } => 0,
            Need::Create { .. } => 1,
            Need::Find { .. } => 2,
            Need::Part { how: Departure::Detach, .. } => 3,
            Need::Part { how: Departure::Remove, .. } => 4,
            Need::Part { how: Departure::Delete, .. } => 5,
        });
        for (path, generation) in &self.generations {
            hasher.write(path.as_str().as_bytes());
            hasher.write_u8(0);
            hasher.write_u32(*generation);
        }
        Digest(hasher.finish())
    }

    /// Whether it takes the right to use the account away: such a command always travels live.
    pub fn deactivates(&self) -> bool {
        matches!(self.need, Need::Part { .. })
            || self.values.get(&AttributePath::active()) == Some(&Some(Value::Bool(false)))
    }
}

/// What `side` lacks and nothing forbids to write; `None` if that is nothing, also while a refusal of the very same
/// values stands.
pub fn pending(link: &Link, side: Side, rules: &Rules) -> Option<Pending> {
    let lacking = lacking(link, side, rules)?;
    let refused = link.sides[side].dead.as_ref().is_some_and(|dead| dead.pending == lacking.digest(rules));
    (!refused).then_some(lacking)
}

/// What `side` lacks, whether or not it was refused before.
pub fn lacking(link: &Link, side: Side, rules: &Rules) -> Option<Pending> {
    let need = need(link, side, rules)?;
    let creating = need.has_no_account();
    if stopped(link, side, &need).is_some_and(|stop| !stop.is_approved()) {
        return None;
    }
    if let Need::Part { how, .. } = need {
        return Some(parting(link, side, need, how, rules));
    }
    // A write of such a side that left the held value out would clear it.
    if rules.whole[side] && !creating && writable(link, side, rules, creating).any(|(_, register)| register.is_held()) {
        return None;
    }
    let mut values = Attributes::new();
    let mut generations = Vec::new();
    for (path, register) in writable(link, side, rules, creating) {
        let clears_nothing = creating && register.value.is_none();
        if !register.is_held() && !clears_nothing {
            values.insert(path.clone(), register.value.clone());
            generations.push((path.clone(), register.generation));
        }
    }
    if rules.whole[side] && !values.is_empty() {
        complete(link, side, rules, &mut values, &mut generations);
    }
    (!values.is_empty()).then_some(Pending { need, values, generations })
}

/// What has stopped such a write as a whole.
fn stopped<'l>(link: &'l Link, side: Side, need: &Need) -> Option<&'l Stop> {
    link.sides[side].stop.as_ref().filter(|stop| need.risk().is_some() && need.risk() == stop.risk)
}

/// To part is to clear the id that the link knows the account by. Nothing else of it changes, but that a system which
/// takes only whole accounts is told the rest.
fn parting(link: &Link, side: Side, need: Need, how: Departure, rules: &Rules) -> Pending {
    let mut values = Attributes::new();
    if rules.whole[side] && how == Departure::Remove {
        complete(link, side, rules, &mut values, &mut Vec::new());
    }
    Pending { need, values, generations: vec![(AttributePath::id(), link.leaving())] }
}

/// Adds what the side holds already, so that a write carries all that it is to hold.
fn complete(
    link: &Link,
    side: Side,
    rules: &Rules,
    values: &mut Attributes,
    generations: &mut Vec<(AttributePath, u32)>,
) {
    for (path, register) in &link.registers {
        let flows = rules.attributes.get(path).is_some_and(|rule| rule.flow.writes(side));
        if flows && register.value.is_some() && !register.is_held() && !values.contains_key(path) {
            values.insert(path.clone(), register.value.clone());
            generations.push((path.clone(), register.generation));
        }
    }
    generations.sort();
}

/// Where what `side` lacks stands at `now` (store clock), if it is on hold: it waits as long as any of it does.
pub fn held(link: &Link, side: Side, rules: &Rules, now: Timestamp) -> Option<HoldState> {
    let need = need(link, side, rules)?;
    let creating = need.has_no_account();
    let values = writable(link, side, rules, creating).filter_map(|(_, register)| register.hold.as_ref());
    let account = stopped(link, side, &need);
    if matches!(need, Need::Part { .. }) {
        return account.map(|stop| stop.state(now)).filter(|state| *state != HoldState::Approved);
    }
    let states = values.map(|hold| hold.state(now)).chain(account.map(|stop| stop.state(now)));
    states.filter(|state| *state != HoldState::Approved).min()
}

/// Whether there is an account to write, or one to create or to find, and both sides were read in this epoch.
fn need(link: &Link, side: Side, rules: &Rules) -> Option<Need> {
    let (own, other) = (&link.sides[side], &link.sides[side.other()]);
    let partner = other.account.clone()?;
    if own.out_of_scope || other.out_of_scope {
        return None;
    }
    let is_known = |side: Side| rules.write_only[side] || link.sides[side].seen_at.is_some();
    if !is_known(side.other()) {
        return None;
    }
    if let (Some(account), Some(how)) = (&own.account, rules.departure(side))
        && link.left(side.other()).is_some()
    {
        let account = account.clone();
        // Nothing is left to be done to an account that is gone as well.
        let how = if own.is_gone() { Departure::Detach } else { how };
        return (how == Departure::Detach || is_known(side)).then_some(Need::Part { account, how });
    }
    if own.is_gone() {
        // The deletion whose answer is missing was carried out, and its partner is back: the pairing ends all the same, so that
        // somebody is created again.
        let is_our_hand = own.intents.iter().any(Intent::ends_the_account);
        return own
            .account
            .clone()
            .filter(|_| is_our_hand)
            .map(|account| Need::Part { account, how: Departure::Detach });
    }
    match &own.account {
        Some(account) => is_known(side).then(|| Need::Update { account: account.clone() }),
        // Somebody there may be the one already.
        None if link.ambiguity.is_some() => None,
        None => {
            let leaver = link
                .registers
                .get(&AttributePath::active())
                .is_some_and(|register| register.value == Some(Value::Bool(false)));
            match leaver || other.is_gone() {
                false => rules.create[side].then_some(Need::Create { partner }),
                true => (!own.intents.is_empty()).then_some(Need::Find { partner }),
            }
        }
    }
}

/// Whether an attribute of an account that exists may be written now.
fn is_due(link: &Link, side: Side, path: &AttributePath, rules: &Rules) -> bool {
    match rules.attributes.get(path).map(|rule| rule.occasion) {
        Some(Occasion::Always) => true,
        Some(Occasion::Fill) => {
            let seen = link.sides[side].seen.get(path);
            let is = |value: Option<&Value>| seen == Some(&rules.digest(side, path, value));
            // The id of an account that we deleted is no more than an empty field.
            let of_deleted = link.sides[side.other()].parting.as_ref().filter(|parting| parting.is_final());
            is(None) || of_deleted.is_some_and(|parting| is(Some(&Value::from(parting.account.as_str()))))
        }
        Some(Occasion::Create) | None => false,
    }
}

/// The registers that may be written to `side` and that it does not hold.
fn writable<'l>(
    link: &'l Link,
    side: Side,
    rules: &'l Rules,
    creating: bool,
) -> impl Iterator<Item = (&'l AttributePath, &'l Register)> {
    link.registers.iter().filter(move |(path, register)| {
        rules.attributes.get(*path).is_some_and(|rule| {
            rule.flow.writes(side)
                && (creating || is_due(link, side, path, rules))
                && (creating || register.applied[side] != register.generation)
                // What the side holds may be worth more: it is read before it is written over.
                && (creating || rules.write_only[side] || link.sides[side].told(path).is_some())
        })
    })
}

#[cfg(test)]
mod tests;
