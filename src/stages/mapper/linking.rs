//! Which link a snapshot belongs to: that of its own account, else that of the partner that it names, else a new one. An
//! account that is known without a partner gets the one that it names, unless that one has another already (R2, R3).

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::Desk;
use crate::broker::Broker;
use crate::domain::link::Origin;
use crate::domain::matching::Ambiguity;
use crate::domain::pairing::{Known, Pairing, pair};
use crate::domain::{
    AccountId, AttributePath, Change, Lane, LetterId, Link, LinkId, Side, Sides, Sighting, Snapshot, Value,
};
use crate::stages::partner::Naming;
use crate::stages::{Connection, Halt, Pipeline};
use crate::store::{Claim, Find, Found, Loaded, Store};

/// Code of the letter about an account with only one of the fields that make a link by hand (R4).
pub const INCOMPLETE_LINK: &str = "incomplete_link";

/// Code of the letter about an account that shares a matching key with several others.
pub const AMBIGUOUS_MATCH: &str = "ambiguous_match";

/// What the store knows of the accounts of a change.
pub(super) struct Sighted {
    pub(super) found: Found,
    /// The link of the partner that the account names, where its own link has none yet; of a merged account, that of the
    /// account that is left.
    pub(super) other: Option<Link>,
}

/// Where a snapshot belongs.
pub(super) enum Linked {
    /// To this link.
    To {
        link: Box<Link>,
        linking: Linking,
        /// What it names is another partner than it has.
        quarrel: Option<Refusal>,
    },
    /// Nobody asked for a link.
    Nowhere,
    /// It may not have the partner that it asks for. It may have a link without one.
    Refused { link: Option<Box<Link>>, refusal: Refusal },
}

/// What a link newly takes when it is committed.
#[derive(Default)]
pub(super) struct Linking {
    pub(super) claim: Vec<Claim>,
    /// What it had until now.
    pub(super) release: Vec<Claim>,
    /// The link that the partner had.
    pub(super) ended: Option<Box<Link>>,
    /// Accounts that must be read before anything is written to them.
    pub(super) reread: Vec<(Side, AccountId)>,
}

/// Why an account is not linked as it wishes.
pub(super) struct Refusal {
    pub(super) code: &'static str,
    pub(super) message: String,
}

/// How the link of a change is found: by its own account, else by the partner that it names.
pub(super) fn question(change: &Change, connection: &Connection) -> Find {
    let mut claims = Vec::new();
    if let Some(account) = change.account() {
        claims.push(Claim::Account(change.side, account.clone()));
    }
    if let Some(partner) = partner(change, connection) {
        claims.push(Claim::Account(change.side.other(), partner));
    }
    let letter = change.account().map(|account| LetterId::of_account(&connection.name, change.side, account));
    Find { claims, letter }
}

/// The account of the other side that a change names.
fn partner(change: &Change, connection: &Connection) -> Option<AccountId> {
    let Sighting::Present { snapshot } = &change.seen else { return None };
    connection.partner_named(change.side, snapshot)
}

impl<B: Broker, S: Store> Pipeline<B, S> {
    /// Finds the links of partners as well, for accounts that name one and are known without one, and those of accounts
    /// that others were merged into. It is asked for only then: mostly whoever names a partner has it.
    pub(super) async fn find_partners(
        &self,
        stop: &CancellationToken,
        connection: &Arc<Connection>,
        changes: &[&Change],
        found: Loaded<Found>,
    ) -> Result<Loaded<Sighted>, Halt> {
        let Loaded { now, epoch, items } = found;
        let wish = |change: &Change, found: &Found| {
            let (link, _) = found.link.as_ref()?;
            if let Sighting::Merged { into, .. } = &change.seen {
                return Some(Claim::Account(change.side, into.clone()));
            }
            let is_alone =
                link.sides[change.side].account.is_some() && link.sides[change.side.other()].account.is_none();
            let partner = partner(change, connection).filter(|_| is_alone)?;
            Some(Claim::Account(change.side.other(), partner))
        };
        let wishes: Vec<_> = changes.iter().zip(&items).map(|(change, found)| wish(change, found)).collect();
        let mut partners = Vec::new();
        if wishes.iter().any(Option::is_some) {
            let questions = || {
                let claims = wishes.iter().flatten().map(|claim| vec![claim.clone()]);
                claims.map(|claims| Find { claims, letter: None }).collect()
            };
            let answered = self.ask(stop, || self.store.find(&connection.name, questions())).await?;
            if answered.epoch != epoch {
                return Err(Halt::NewEpoch);
            }
            partners = answered.items;
        }
        let mut partners = partners.into_iter();
        let sighted = items.into_iter().zip(wishes).map(|(found, wish)| {
            let other = wish.and_then(|_| partners.next()).and_then(|found| Some(found.link?.0));
            Sighted { found, other }
        });
        Ok(Loaded { now, epoch, items: sighted.collect() })
    }
}

impl Desk<'_> {
    /// The link that a snapshot of `side` belongs to, and what it newly takes.
    pub(super) fn link_for(&self, side: Side, snapshot: &Snapshot, sighted: Sighted, fits: Option<bool>) -> Linked {
        let Sighted { found, other: partner } = sighted;
        let naming = self.connection.naming(side, snapshot);
        match found.link {
            Some((link, _)) => self.link_known(side, snapshot, link, partner, naming),
            None => match naming {
                Naming::Half { .. } | Naming::NoId { .. } => {
                    Linked::Refused { link: None, refusal: self.refusal(side, snapshot, &naming) }
                }
                // A leaver gets no partner: the two would part again at once.
                Naming::Partner(_) if is_off(snapshot) && self.rules.departure(side.other()).is_some() => {
                    Linked::Nowhere
                }
                Naming::Partner(partner) => {
                    let id = LinkId(fastrand::u64(..));
                    let mut link = Link::new(id, self.epoch, Origin::Rebuilt, side, snapshot.account.clone());
                    link.sides[side.other()].account = Some(partner.clone());
                    // A complete read reads the other side as well; but there the account may have been refused just
                    // before, for what its own fields say.
                    let other = &self.connection.partners[side.other()];
                    let judged = other.as_ref().is_some_and(|fields| fields.requires.is_some());
                    let complete = self.lane == Lane::Bulk && self.connection.ends[side].schema().incremental;
                    let reread = if judged || !complete { self.unread(side.other(), partner) } else { Vec::new() };
                    let linking = Linking { claim: Claim::of_accounts(&link), reread, ..Linking::default() };
                    Linked::To { link: Box::new(link), linking, quarrel: None }
                }
                Naming::Nobody => {
                    if !self.rules.contributes(side) || is_off(snapshot) || fits != Some(true) {
                        return Linked::Nowhere;
                    }
                    let id = LinkId(fastrand::u64(..));
                    let link = Link::new(id, self.epoch, Origin::FirstMatch, side, snapshot.account.clone());
                    let linking = Linking { claim: Claim::of_accounts(&link), ..Linking::default() };
                    Linked::To { link: Box::new(link), linking, quarrel: None }
                }
            },
        }
    }

    /// The same, where an account of the snapshot has a link: its own, or the partner that it names.
    fn link_known(
        &self,
        side: Side,
        snapshot: &Snapshot,
        mut link: Link,
        of_partner: Option<Link>,
        naming: Naming,
    ) -> Linked {
        let is_of_this_epoch = link.epoch == self.epoch;
        link.enter(self.epoch);
        let parted = link.parted(side).is_some_and(|parting| parting.account == snapshot.account);
        if parted && self.rules.departure(side).is_some() && link.left(side.other()).is_some() {
            // It names somebody who left, and parted from them for that. One of whose parting nothing is known is linked, and
            // what follows for it is decided as for anybody: the store may have been lost in between.
            return Linked::Nowhere;
        }
        if link.sides[side].parting.as_ref().is_some_and(|parting| parting.outdates(snapshot)) {
            return Linked::Nowhere;
        }
        let other = &link.sides[side.other()];
        let naming = match naming {
            // Of an account that we deleted the id says no more than an empty field.
            Naming::Partner(named) if other.parting.as_ref().is_some_and(|parting| parting.is_of(&named)) => {
                Naming::Nobody
            }
            Naming::Partner(_) if self.leaves(side, snapshot, &link) => Naming::Nobody,
            naming => naming,
        };
        match &link.sides[side].account {
            Some(account) if *account == snapshot.account => {}
            // Whoever is there now takes the place of whom it was made for. A write that is not over may still find it there.
            Some(holder) if link.sides[side].is_gone() && link.sides[side].is_idle(self.now) => {
                let release = vec![Claim::Account(side, holder.clone())];
                let claim = vec![Claim::Account(side, snapshot.account.clone())];
                link.succeed(side, snapshot, self.rules);
                let linking = Linking { claim, release, ..Linking::default() };
                return Linked::To { link: Box::new(link), linking, quarrel: None };
            }
            Some(holder) => {
                let message = format!(
                    "{} names a partner that is linked with {holder} already; the first link stays. Clear the id there, \
                     or remove the first link",
                    snapshot.account,
                );
                return Linked::Refused { link: None, refusal: Refusal { code: "already_linked", message } };
            }
            None => {
                link.take_in(side, snapshot, self.rules);
                let claim = vec![Claim::Account(side, snapshot.account.clone())];
                let linking = Linking { claim, ..Linking::default() };
                return Linked::To { link: Box::new(link), linking, quarrel: None };
            }
        }
        let to = |link, linking| Linked::To { link: Box::new(link), linking, quarrel: None };
        match (naming, link.sides[side.other()].account.clone()) {
            (Naming::Partner(named), Some(partner)) if named != partner && self.connection.partners[side].is_some() => {
                let message = format!(
                    "{} names {named} as its partner and is linked with {partner}; the first link stays. Put that id back, \
                     or remove the link",
                    snapshot.account,
                );
                let quarrel = Some(Refusal { code: "already_linked", message });
                Linked::To { link: Box::new(link), linking: Linking::default(), quarrel }
            }
            (Naming::Nobody, None) => {
                let wishes = self.rules.contributes(side) && !is_off(snapshot);
                let ambiguity = link.ambiguity.as_deref().filter(|_| wishes);
                let quarrel = ambiguity.map(|ambiguity| self.ambiguous(side, snapshot, ambiguity));
                Linked::To { link: Box::new(link), linking: Linking::default(), quarrel }
            }
            (_, Some(_)) => to(link, Linking::default()),
            (naming @ (Naming::Half { .. } | Naming::NoId { .. }), None) => {
                Linked::Refused { refusal: self.refusal(side, snapshot, &naming), link: Some(Box::new(link)) }
            }
            (Naming::Partner(partner), None) => {
                let mut accounts = Sides { a: partner.clone(), b: partner.clone() };
                accounts[side] = snapshot.account.clone();
                let links = Sides::from_fn(|of| if of == side { Some(&link) } else { of_partner.as_ref() });
                match pair(Known { accounts: &accounts, links, epoch: self.epoch, now: self.now }, link.id) {
                    Pairing::New { link: mut paired, ended } => {
                        if !is_of_this_epoch {
                            paired.origin = Origin::Rebuilt;
                        }
                        let claim = Claim::of_accounts(&paired);
                        let reread = self.unread(side.other(), partner);
                        let linking = Linking { claim, ended, reread, ..Linking::default() };
                        // `pair` keeps what is known of `a`; this is what was seen just now.
                        Linked::To { link: paired, linking, quarrel: None }
                    }
                    Pairing::Taken { partner: holder, .. } => {
                        let message = format!(
                            "{} names {partner} as its partner, which is linked with {holder} already; the first link \
                             stays. Clear the id there, or remove the first link",
                            snapshot.account,
                        );
                        let refusal = Refusal { code: "already_linked", message };
                        Linked::Refused { link: Some(Box::new(link)), refusal }
                    }
                    // A writer is at work on one of the two: once more when it is done.
                    Pairing::Busy => {
                        let reread = vec![(side, snapshot.account.clone())];
                        to(link, Linking { reread, ..Linking::default() })
                    }
                    Pairing::Linked => to(link, Linking::default()),
                }
            }
        }
    }

    /// Whether an account that has no partner is to have none, since it left.
    fn leaves(&self, side: Side, snapshot: &Snapshot, link: &Link) -> bool {
        let is_alone = link.sides[side.other()].account.is_none();
        is_alone && is_off(snapshot) && self.rules.departure(side.other()).is_some()
    }

    /// The account, if its side can be read at all.
    pub(super) fn unread(&self, side: Side, account: AccountId) -> Vec<(Side, AccountId)> {
        if self.connection.ends[side].schema().readable { vec![(side, account)] } else { Vec::new() }
    }

    /// Why an account gets no partner although some account could be it.
    fn ambiguous(&self, side: Side, snapshot: &Snapshot, ambiguity: &Ambiguity) -> Refusal {
        let list = |side: Side, accounts: &[AccountId]| {
            let system = &self.connection.systems[side];
            accounts.iter().map(|account| format!("{system}:{account}")).collect::<Vec<_>>().join(", ")
        };
        let Ambiguity { key, candidates, rivals } = ambiguity;
        let (candidates, rivals) = (list(side.other(), candidates), list(side, rivals));
        let rivals = if rivals.is_empty() { String::new() } else { format!(", and so has {rivals}") };
        let message = format!(
            "{} has the same {key} as {candidates}{rivals}: nobody is created or linked for it until `muster links add {}` \
             says who belongs to whom, or the {key} differs and `muster sync {} --full` has looked again",
            snapshot.account, self.connection.name, self.connection.name
        );
        Refusal { code: AMBIGUOUS_MATCH, message }
    }

    /// Why an account cannot be linked by what it has in the fields for that.
    fn refusal(&self, side: Side, snapshot: &Snapshot, naming: &Naming) -> Refusal {
        let account = &snapshot.account;
        match naming {
            Naming::NoId { field } => {
                let target = &self.connection.systems[side.other()];
                let message = format!("what {account} has in {field} is no account id of {target}; correct it there");
                Refusal { code: "invalid_partner_id", message }
            }
            Naming::Half { filled, empty } => {
                let message =
                    format!("{account} has {filled} and no {empty}; fill or clear both, nothing is written meanwhile");
                Refusal { code: INCOMPLETE_LINK, message }
            }
            Naming::Nobody | Naming::Partner(_) => unreachable!("asked only of an account that is not linked"),
        }
    }
}

/// Whether an account says that it may not be used.
fn is_off(snapshot: &Snapshot) -> bool {
    snapshot.attributes.get(&AttributePath::active()) == Some(&Some(Value::Bool(false)))
}
