//! The first match: before anybody is created, all accounts of both systems are read and compared, and who belongs
//! together is linked. Who cannot be told from others waits for a person.
//!
//! It reads by itself, before the run that it comes before, and keeps a few dozen bytes of an account until both sides were
//! read. Killed anywhere, it is done again: what it linked is linked, and what was not looks the same as before.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::partner::Naming;
use super::{Connection, Halt, Pipeline};
use crate::broker::Broker;
use crate::clock;
use crate::domain::link::Origin;
use crate::domain::matching::{Ambiguity, Candidate, Joined, NAMED, join, whole};
use crate::domain::pairing::{Known, Pairing, pair};
use crate::domain::rules::OnExisting;
use crate::domain::{
    AccountId, AttributePath, Epoch, FailureClass, LetterId, Link, LinkId, Rules, RunId, Side, Sides, Snapshot, Value,
};
use crate::failpoint::hit;
use crate::store::{Claim, Commit, Committed, Find, Loaded, MatchNote, Store};
use crate::systems::{Next, Page, ReadFrom, Record};

/// How often a page is asked for before the match is given up; the next run tries again.
const ATTEMPTS: u32 = 6;

/// Accounts linked or marked in one round.
const ROUND: usize = 200;

/// Between two looks at links that a writer works on.
const PAUSE: Duration = Duration::from_millis(200);

/// Who belongs to whom, and nothing done about it yet.
pub(crate) struct Match {
    /// The store's epoch.
    pub(crate) epoch: Epoch,
    /// The accounts without a partner, in the order of their ids.
    pub(crate) candidates: Sides<Vec<Candidate>>,
    /// What became of them.
    pub(crate) joined: Joined,
    /// Pairs of which one account names the other, which is there: reading them links them. With each, whether they hold
    /// the same.
    pub(crate) named: Vec<(Sides<AccountId>, bool)>,
}

/// Why nothing was matched.
pub(crate) enum MatchError {
    /// As for any work.
    Halt(Halt),
    /// A system could not be read, for this reason.
    Unread(String),
}

impl From<Halt> for MatchError {
    fn from(halt: Halt) -> Self {
        Self::Halt(halt)
    }
}

/// What is read of one side.
#[derive(Default)]
struct Roster {
    candidates: Vec<Candidate>,
    /// Accounts of this side with the partner that they name.
    naming: Vec<(Candidate, AccountId)>,
}

impl Connection {
    /// Whether the accounts of both systems can be compared at all.
    pub fn can_match(&self) -> bool {
        let readable = |side: &Side| self.ends[*side].schema().readable;
        !self.template().match_on.is_empty() && Side::BOTH.iter().all(readable)
    }

    /// Whether accounts are linked because they have a value in common, so that nobody is created before all were
    /// compared.
    pub fn matches_first(&self) -> bool {
        let Rules { on_existing, create, .. } = self.template();
        self.can_match() && *on_existing == OnExisting::Link && (create.a || create.b)
    }
}

impl<B: Broker, S: Store> Pipeline<B, S> {
    /// Whether a match was made in this epoch and under these rules, so that accounts may be created.
    pub(crate) async fn is_matched(
        &self,
        stop: &CancellationToken,
        connection: &Connection,
        epoch: Epoch,
    ) -> Result<bool, Halt> {
        if !connection.matches_first() || connection.known_as_matched(epoch) {
            return Ok(true);
        }
        let note = self.ask(stop, || self.store.match_note(&connection.name)).await?;
        // One that was made by other keys says nothing about these.
        let version = connection.template().version;
        let is_matched = note.is_some_and(|note| note.epoch == epoch && note.version == version);
        if is_matched {
            connection.know_as_matched(epoch);
        }
        Ok(is_matched)
    }

    /// Reads all accounts of both systems and compares them. Nothing is written anywhere.
    pub(crate) async fn compare(
        &self,
        stop: &CancellationToken,
        connection: &Arc<Connection>,
    ) -> Result<Match, MatchError> {
        let epoch = self.ask(stop, || self.store.epoch(&connection.name)).await?.id;
        let rules = connection.rules(epoch);
        let a = self.roster(stop, connection, Side::A, &rules).await?;
        let b = self.roster(stop, connection, Side::B, &rules).await?;
        let mut rosters = Sides { a, b };
        let mut named = BTreeMap::new();
        for side in Side::BOTH {
            let other = &rosters[side.other()];
            let others = other.candidates.iter().chain(other.naming.iter().map(|(candidate, _)| candidate));
            let is_there: HashMap<_, _> = others.map(|candidate| (&candidate.account, candidate.whole)).collect();
            for (candidate, partner) in &rosters[side].naming {
                let mut pair = Sides { a: partner.clone(), b: partner.clone() };
                pair[side] = candidate.account.clone();
                if let Some(whole) = is_there.get(partner) {
                    named.insert((pair.a, pair.b), *whole == candidate.whole);
                }
            }
        }
        let named: Vec<_> = named.into_iter().map(|((a, b), same)| (Sides { a, b }, same)).collect();
        let taken: Sides<HashSet<&AccountId>> =
            Sides::from_fn(|side| named.iter().map(|(pair, _)| &pair[side]).collect());
        for side in Side::BOTH {
            rosters[side].candidates.retain(|candidate| !taken[side].contains(&candidate.account));
        }
        let candidates = Sides { a: rosters.a.candidates, b: rosters.b.candidates };
        let joined = join(Sides { a: &candidates.a, b: &candidates.b }, rules.match_on.len());
        hit("clerk.compared");
        Ok(Match { epoch, candidates, joined, named })
    }

    /// Links who belongs together, marks who cannot be told from others, and notes that it was done for this run. Accounts of the sides
    /// in `reread` are asked to be read again: no complete read follows there.
    pub(crate) async fn link_matched(
        &self,
        stop: &CancellationToken,
        connection: &Arc<Connection>,
        found: &Match,
        run: &RunId,
        reread: Sides<bool>,
    ) -> Result<MatchNote, Halt> {
        let orders = found.orders(connection);
        for round in orders.chunks(ROUND) {
            self.carry_out(stop, connection, found.epoch, round, reread).await?;
            hit("clerk.linked");
        }
        let now = self.ask(stop, || self.store.epoch(&connection.name)).await?.now;
        let count = |of: &dyn Fn(Side) -> usize| Sides::from_fn(|side| of(side) as u64);
        let note = MatchNote {
            epoch: found.epoch,
            version: connection.template().version,
            run: run.clone(),
            at: now,
            matched: found.joined.pairs.len() as u64,
            ambiguous: count(&|side| found.joined.ambiguous.iter().map(|group| group.places[side].len()).sum()),
            alone: count(&|side| found.alone(side).count()),
        };
        self.ask(stop, || self.store.note_match(&connection.name, &note)).await?;
        hit("clerk.matched");
        Ok(note)
    }

    /// What one side holds of accounts without a partner.
    async fn roster(
        &self,
        stop: &CancellationToken,
        connection: &Connection,
        side: Side,
        rules: &Rules,
    ) -> Result<Roster, MatchError> {
        let mut roster = Roster::default();
        let mut from = ReadFrom::Start;
        loop {
            let page = read(connection, side, &from).await?;
            let seen: Vec<Snapshot> = page
                .records
                .into_iter()
                .filter_map(|record| match record {
                    Record::Account(snapshot) => Some(snapshot),
                    Record::Unreadable { .. } => None,
                })
                .collect();
            let questions = || {
                let claims = seen.iter().map(|snapshot| vec![Claim::Account(side, snapshot.account.clone())]);
                claims.map(|claims| Find { claims, letter: None }).collect()
            };
            let Loaded { items, .. } = self.ask(stop, || self.store.find(&connection.name, questions())).await?;
            for (snapshot, found) in seen.iter().zip(items) {
                let link = found.link.map(|(link, _)| link);
                if link.as_ref().is_some_and(Link::is_paired) || connection.fits(side, snapshot) != Some(true) {
                    continue;
                }
                let candidate = || candidate(connection, side, snapshot, link.as_ref(), rules);
                match connection.naming(side, snapshot) {
                    Naming::Nobody => roster.candidates.push(candidate()),
                    Naming::Partner(partner) => roster.naming.push((candidate(), partner)),
                    // It has a letter that says so.
                    Naming::Half { .. } | Naming::NoId { .. } => {}
                }
            }
            match page.next {
                Next::Page(position) => from = ReadFrom::Position(position),
                Next::End { .. } => break,
            }
        }
        // A list that grows while it is read may show an account twice.
        roster.candidates.sort_by(|one, other| one.account.cmp(&other.account));
        roster.candidates.dedup_by(|one, other| one.account == other.account);
        Ok(roster)
    }

    /// One round of orders, beside whatever others do with the same links.
    async fn carry_out(
        &self,
        stop: &CancellationToken,
        connection: &Connection,
        epoch: Epoch,
        orders: &[Order],
        reread: Sides<bool>,
    ) -> Result<(), Halt> {
        let name = &connection.name;
        let patience = clock::now() + self.settings.quarantine();
        let mut open: Vec<&Order> = orders.iter().collect();
        while !open.is_empty() {
            let questions = || {
                let accounts = open.iter().flat_map(|order| order.accounts());
                accounts.map(|claim| Find { claims: vec![claim], letter: None }).collect()
            };
            let Loaded { now, epoch: current, items } = self.ask(stop, || self.store.find(name, questions())).await?;
            if current != epoch {
                return Err(Halt::NewEpoch);
            }
            let mut links = items.into_iter().map(|found| found.link.map(|(link, _)| link));
            let (mut asked, mut busy, mut commits) = (Vec::new(), Vec::new(), Vec::new());
            for order in open {
                let links: Vec<Option<Link>> = links.by_ref().take(order.accounts().len()).collect();
                match order.step(&links, epoch, now) {
                    Step::Nothing => {}
                    Step::Busy => busy.push(order),
                    Step::Commit(mut commit) => {
                        if let Some(ended) = &commit.ended {
                            commit.close = LetterId::of_refusals(name, ended).to_vec();
                        }
                        commit.reread = order.reread(reread);
                        asked.push(order);
                        commits.push(*commit);
                    }
                }
            }
            let healed: Vec<_> = commits.iter().flat_map(|commit| commit.close.clone()).collect();
            self.log_healed(&healed, "clerk").await?;
            let committed = self.ask(stop, || self.store.commit(name, epoch, &commits)).await?;
            let moved = asked.into_iter().zip(committed).filter(|(_, done)| !matches!(done, Committed::Done { .. }));
            open = moved.map(|(order, _)| order).collect();
            if !busy.is_empty() && clock::now() < patience {
                open.extend(busy);
                clock::sleep(PAUSE).await;
            }
        }
        Ok(())
    }
}

/// What follows from a match for one pair, or for one account.
enum Order {
    Link(Sides<AccountId>),
    Mark(Side, AccountId, Box<Ambiguity>),
    /// It was ambiguous before.
    Clear(Side, AccountId),
}

/// One order as a step of the store.
enum Step {
    /// Nothing is to be done any more.
    Nothing,
    /// A writer is at work on it.
    Busy,
    Commit(Box<Commit>),
}

impl Match {
    /// The accounts of a side that may be used and have nothing in common with anybody on the other one.
    pub(crate) fn alone(&self, side: Side) -> impl Iterator<Item = usize> {
        self.joined.alone[side].iter().copied().filter(move |place| self.candidates[side][*place].active)
    }

    /// The pairs that do not hold the same: those found by a key come first, then those that name each other.
    pub(crate) fn differing(&self) -> impl Iterator<Item = usize> {
        let whole = |side: Side, place: usize| self.candidates[side][place].whole;
        let by_key =
            self.joined.pairs.iter().map(move |pair| whole(Side::A, pair.places.a) == whole(Side::B, pair.places.b));
        let same = by_key.chain(self.named.iter().map(|(_, same)| *same));
        same.enumerate().filter(|(_, same)| !same).map(|(place, _)| place)
    }

    fn orders(&self, connection: &Connection) -> Vec<Order> {
        let account = |side: Side, place: usize| &self.candidates[side][place].account;
        let mut orders: Vec<_> = self
            .joined
            .pairs
            .iter()
            .map(|pair| Order::Link(Sides::from_fn(|side| account(side, pair.places[side]).clone())))
            .collect();
        for group in &self.joined.ambiguous {
            let key = connection.template().match_on[group.key].to_string();
            for side in Side::BOTH {
                // Those of a side that contributes nothing as well: else whoever comes next takes them.
                orders.extend(group.places[side].iter().map(|own| {
                    let named = |of: Side| {
                        let others = group.places[of].iter().filter(move |place| of != side || *place != own);
                        others.take(NAMED).map(move |place| account(of, *place).clone()).collect()
                    };
                    let ambiguity =
                        Ambiguity { key: key.clone(), candidates: named(side.other()), rivals: named(side) };
                    Order::Mark(side, account(side, *own).clone(), Box::new(ambiguity))
                }));
            }
        }
        for side in Side::BOTH {
            let alone = self.joined.alone[side].iter().filter(|place| self.candidates[side][**place].marked);
            orders.extend(alone.map(|place| Order::Clear(side, account(side, *place).clone())));
        }
        orders
    }
}

impl Order {
    fn accounts(&self) -> Vec<Claim> {
        match self {
            Self::Link(pair) => Side::BOTH.map(|side| Claim::Account(side, pair[side].clone())).to_vec(),
            Self::Mark(side, account, _) | Self::Clear(side, account) => vec![Claim::Account(*side, account.clone())],
        }
    }

    fn reread(&self, reread: Sides<bool>) -> Vec<(Side, AccountId)> {
        let accounts = self.accounts().into_iter().filter_map(|claim| match claim {
            Claim::Account(side, account) => Some((side, account)),
            Claim::Key(..) => None,
        });
        accounts.filter(|(side, _)| reread[*side]).collect()
    }

    fn step(&self, links: &[Option<Link>], epoch: Epoch, now: crate::domain::Timestamp) -> Step {
        let id = LinkId(fastrand::u64(..));
        match (self, links) {
            (Self::Link(accounts), [a, b]) => {
                let links = Sides { a: a.as_ref(), b: b.as_ref() };
                match pair(Known { accounts, links, epoch, now }, id) {
                    Pairing::New { link, ended } => {
                        let (claim, ended) = (Claim::of_accounts(&link), ended.map(|ended| *ended));
                        Step::Commit(Box::new(Commit { link: Some(*link), claim, ended, ..Commit::default() }))
                    }
                    Pairing::Busy => Step::Busy,
                    // Somebody was quicker, and the first link stays (R2, R3).
                    Pairing::Linked | Pairing::Taken { .. } => Step::Nothing,
                }
            }
            (Self::Mark(side, account, ambiguity), [link]) => {
                let mut link =
                    link.clone().unwrap_or_else(|| Link::new(id, epoch, Origin::FirstMatch, *side, account.clone()));
                if link.is_paired() || link.ambiguity.as_deref() == Some(ambiguity) {
                    return Step::Nothing;
                }
                link.enter(epoch);
                link.ambiguity = Some(ambiguity.clone());
                let claim = Claim::of_accounts(&link);
                Step::Commit(Box::new(Commit { link: Some(link), claim, ..Commit::default() }))
            }
            (Self::Clear(..), [Some(link)]) if link.ambiguity.is_some() => {
                let mut link = link.clone();
                link.enter(epoch);
                link.ambiguity = None;
                Step::Commit(Box::new(Commit { link: Some(link), ..Commit::default() }))
            }
            _ => Step::Nothing,
        }
    }
}

fn candidate(
    connection: &Connection,
    side: Side,
    snapshot: &Snapshot,
    link: Option<&Link>,
    rules: &Rules,
) -> Candidate {
    let inbound = rules.inbound(side, snapshot);
    let active = snapshot.attributes.get(&AttributePath::active()) != Some(&Some(Value::Bool(false)));
    Candidate {
        account: snapshot.account.clone(),
        active,
        wishes: active && connection.template().contributes(side),
        marked: link.is_some_and(|link| link.ambiguity.is_some()),
        prints: rules.match_on.iter().map(|key| key.print(&inbound, rules)).collect(),
        whole: whole(&inbound, rules),
    }
}

/// One page. What can be waited out is waited out.
async fn read(connection: &Connection, side: Side, from: &ReadFrom) -> Result<Page, MatchError> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        match connection.ends[side].read(from).await {
            Ok(page) => return Ok(page),
            Err(failure) => {
                let passes = matches!(failure.class, FailureClass::Transient | FailureClass::Throttled);
                if !passes || attempt == ATTEMPTS {
                    let system = &connection.systems[side];
                    return Err(MatchError::Unread(format!(
                        "{system} could not be read to match its accounts: {failure}"
                    )));
                }
                clock::sleep(failure.retry_after.unwrap_or(Duration::from_secs(u64::from(attempt)))).await;
            }
        }
    }
}
