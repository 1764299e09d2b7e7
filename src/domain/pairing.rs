//! How two accounts become partners because somebody says so: a person by a command, or by the fields of an account that
//! name its partner. One account has one partner, and the first link stays (R2, R3).

use super::id::{AccountId, Epoch, LinkId, Side, Sides};
use super::link::{Link, Origin, SideState};
use super::time::Timestamp;

/// What two accounts that somebody wants to be partners are already.
#[derive(Debug, Clone, Copy)]
pub struct Known<'k> {
    /// The accounts.
    pub accounts: &'k Sides<AccountId>,
    /// The link that each of them has, alone or with a partner.
    pub links: Sides<Option<&'k Link>>,
    /// The store's epoch.
    pub epoch: Epoch,
    /// Now, in the store's clock.
    pub now: Timestamp,
}

/// What follows for two accounts that somebody wants to be partners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pairing {
    /// They are partners already.
    Linked,
    /// One of them has another partner, and keeps it.
    Taken {
        /// The side of the account that has one.
        side: Side,
        /// The partner that it has.
        partner: AccountId,
    },
    /// A writer is at work on what is known of one of them: to be asked again.
    Busy,
    /// They become partners.
    New {
        /// The link of the two.
        link: Box<Link>,
        /// Where both had a link of their own: the one that ends with it.
        ended: Option<Box<Link>>,
    },
}

/// Makes two accounts partners, if neither has another one. What is known of `a` is kept, and the two meet for the first
/// time: differing values go to the policy. `id` is that of a link that has to be made.
pub fn pair(known: Known<'_>, id: LinkId) -> Pairing {
    let Known { accounts, links, epoch, now } = known;
    for side in Side::BOTH {
        let partner = links[side].and_then(|link| link.sides[side.other()].account.clone());
        match partner {
            Some(partner) if partner == accounts[side.other()] => return Pairing::Linked,
            Some(partner) => return Pairing::Taken { side, partner },
            None => {}
        }
    }
    let is_leased = |link: &&Link| Side::BOTH.iter().any(|side| link.sides[*side].leased(now).is_some());
    if links.a.iter().chain(&links.b).any(is_leased) {
        return Pairing::Busy;
    }
    let ended = links.a.and(links.b).map(|link| Box::new(link.clone()));
    let mut link = links.a.or(links.b).cloned().unwrap_or_else(|| {
        let account = accounts.a.clone();
        Link::new(id, epoch, Origin::FirstMatch, Side::A, account)
    });
    link.enter(epoch);
    link.origin = Origin::FirstMatch;
    link.ambiguity = None;
    for side in Side::BOTH {
        let state = &mut link.sides[side];
        if state.account.is_none() {
            state.account = Some(accounts[side].clone());
            // Of creations without an answer: what they may have left is not this account.
            state.intents.clear();
        }
    }
    Pairing::New { link: Box::new(link), ended }
}

/// What follows for a linked account that was merged into another one of its side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Merge {
    /// A writer is at work on one of the two, or an account may just be coming into being for the one that is left: to be
    /// asked again.
    Busy,
    /// The one that is left has a partner of its own, and keeps it: a person decides which of the two partners stays.
    Ambiguous {
        /// The partner of the one that is left.
        partner: AccountId,
    },
    /// The link goes on with the account that is left.
    Rekeyed {
        /// The link.
        link: Box<Link>,
        /// The link that the account that is left had for itself: it ends with it.
        ended: Option<Box<Link>>,
    },
}

/// Brings a link whose account on `side` was merged into `into` over to that one. `own` is the link that `into` has
/// already. What the two sides should hold is kept; what is left has not been read yet, and differing values are those of a
/// first match.
pub fn merge(link: &Link, side: Side, into: &AccountId, own: Option<&Link>, epoch: Epoch, now: Timestamp) -> Merge {
    let is_leased = |link: &Link| Side::BOTH.iter().any(|side| link.sides[*side].leased(now).is_some());
    let may_be_creating = |link: &Link| {
        let other = &link.sides[side.other()];
        other.account.is_none() && !other.intents.is_empty()
    };
    let is_busy = |link: &Link| is_leased(link) || may_be_creating(link);
    if is_busy(link) || own.is_some_and(is_busy) {
        return Merge::Busy;
    }
    if let (Some(own), None) = (own, &link.sides[side.other()].account) {
        // The one that is gone had no partner, so that nothing is lost with its link.
        return Merge::Rekeyed { link: Box::new(own.clone()), ended: Some(Box::new(link.clone())) };
    }
    if let Some(partner) = own.and_then(|own| own.sides[side.other()].account.clone()) {
        return Merge::Ambiguous { partner };
    }
    let mut after = link.clone();
    after.enter(epoch);
    after.origin = Origin::FirstMatch;
    after.sides[side] = SideState { account: Some(into.clone()), ..SideState::default() };
    for register in after.registers.values_mut() {
        // Of what is left nothing is known.
        register.applied[side] = 0;
    }
    Merge::Rekeyed { link: Box::new(after), ended: own.map(|own| Box::new(own.clone())) }
}

#[cfg(test)]
mod tests;
