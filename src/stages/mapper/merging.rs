//! Accounts that were merged into others: their links go on with those. Nobody is a leaver for it, nobody is created for it,
//! and where both accounts have a partner, a person decides.

use super::linking::{Linking, Refusal, Sighted};
use super::{Desk, Mapped};
use crate::domain::pairing::{Merge, merge};
use crate::domain::resolve::Resolution;
use crate::domain::{AccountId, Change, ChangeOutcome, LetterId, Sides};
use crate::store::Claim;

/// Code of the letter about a merged account whose link cannot go on by itself.
const AMBIGUOUS: &str = "merged_accounts";

impl Desk<'_> {
    /// What follows from a proof that `account` was merged `into` another one.
    pub(super) fn merged(&self, change: &Change, account: &AccountId, into: &AccountId, sighted: Sighted) -> Mapped {
        let side = change.side;
        let Sighted { found, other } = sighted;
        let Some((link, _)) = found.link.filter(|(link, _)| link.sides[side].account.as_ref() == Some(account)) else {
            return self.unlinked(change, ChangeOutcome::OutOfScope);
        };
        let nothing = |reread| Resolution {
            link: link.clone(),
            changed: false,
            outcome: ChangeOutcome::Stale,
            lost: Vec::new(),
            reread,
            emits: Sides::default(),
            frozen: Vec::new(),
            flaws: Vec::new(),
        };
        match merge(&link, side, into, other.as_ref(), self.epoch, self.now) {
            Merge::Busy => self.resolved(change, nothing(true), Linking::default()),
            Merge::Ambiguous { partner } => {
                let own = link.sides[side.other()].account.as_ref();
                let own = own.map_or("nobody yet".to_owned(), ToString::to_string);
                let message = format!(
                    "{account} was merged into {into}; the first is linked with {own}, the second with {partner}, and one \
                     account has one partner. Remove the link that shall not stay; nothing is changed meanwhile"
                );
                let refusal = Refusal { code: AMBIGUOUS, message };
                self.with_letter(self.unlinked(change, ChangeOutcome::Refused), change, refusal)
            }
            Merge::Rekeyed { link: rekeyed, ended } => {
                let resolution =
                    Resolution { link: *rekeyed, changed: true, outcome: ChangeOutcome::Accepted, ..nothing(false) };
                let reread = self.unread(side, into.clone());
                let claim = vec![Claim::Account(side, into.clone())];
                let release = vec![Claim::Account(side, account.clone())];
                let linking = Linking { claim, release, ended, reread };
                let mut mapped = self.resolved(change, resolution, linking);
                if found.open_letter {
                    mapped.commit.close.push(LetterId::of_account(&self.connection.name, side, account));
                }
                mapped
            }
        }
    }
}
