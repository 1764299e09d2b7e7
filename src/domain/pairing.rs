//! How two accounts become partners because somebody says so: a person by a command, or by the fields of an account that
//! name its partner. One account has one partner, and the first link stays (R2, R3).

use super::id::{AccountId, Epoch, LinkId, Side, Sides};
use super::link::{Link, Origin};
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

#[cfg(test)]
mod tests;
