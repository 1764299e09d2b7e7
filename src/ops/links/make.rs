//! Linking accounts because a person says so: each pair is one atomic step, beside whatever workers do meanwhile.

use std::time::{Duration, Instant};

use super::Desk;
use crate::broker::Broker;
use crate::domain::pairing::{Known, Pairing, pair};
use crate::domain::{AccountId, Epoch, LetterId, Link, LinkId, Resolution, Side, Sides, Timestamp};
use crate::ops::dead;
use crate::stages::Pipeline;
use crate::store::{Claim, Commit, Committed, Find, Loaded, Store, StoreError};

/// How often a store that loses its memory meanwhile is asked again.
const EPOCHS: usize = 5;

/// Between two looks at a link that a writer works on.
const PAUSE: Duration = Duration::from_millis(200);

/// What became of two accounts that a person wants to be partners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Made {
    /// They are from now on, or in a dry run would be.
    Linked,
    /// They were before.
    Already,
    /// The account of this side has another partner, and keeps it (R2, R3).
    Taken { side: Side, partner: AccountId },
    /// A writer was at work on one of them all the time.
    Busy,
}

/// Links pairs, no account of which is in two of them. One answer for each, in the same order.
pub(super) async fn link<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    desk: &Desk<'_>,
    pairs: &[Sides<AccountId>],
    dry_run: bool,
) -> anyhow::Result<Vec<Made>> {
    let mut made: Vec<Option<Made>> = vec![None; pairs.len()];
    let patience = Instant::now() + pipeline.settings.quarantine();
    loop {
        let open: Vec<usize> = (0..pairs.len()).filter(|place| made[*place].is_none()).collect();
        if open.is_empty() {
            return Ok(made.into_iter().flatten().collect());
        }
        let Loaded { now, epoch, items } = find(pipeline, desk, open.iter().map(|place| &pairs[*place])).await?;
        let mut commits = Vec::new();
        for (place, links) in open.into_iter().zip(items) {
            let links = Sides { a: links.a.as_ref(), b: links.b.as_ref() };
            match pair(Known { accounts: &pairs[place], links, epoch, now }, LinkId(fastrand::u64(..))) {
                Pairing::Linked => made[place] = Some(Made::Already),
                Pairing::Taken { side, partner } => made[place] = Some(Made::Taken { side, partner }),
                Pairing::Busy if Instant::now() > patience => made[place] = Some(Made::Busy),
                Pairing::Busy => {}
                Pairing::New { .. } if dry_run => made[place] = Some(Made::Linked),
                Pairing::New { link, ended } => {
                    let commit = commit(desk, *link, ended.map(|link| *link));
                    for letter in &commit.close {
                        dead::log_closed(pipeline, std::slice::from_ref(letter), &Resolution::Healed).await?;
                    }
                    commits.push((place, commit));
                }
            }
        }
        let waits = commits.is_empty() && made.iter().any(Option::is_none);
        let (places, commits): (Vec<_>, Vec<_>) = commits.into_iter().unzip();
        match pipeline.store.commit(desk.name, epoch, &commits).await {
            Ok(committed) => {
                for (place, committed) in places.into_iter().zip(committed) {
                    // Whoever was quicker decides in the next round.
                    if let Committed::Done { .. } = committed {
                        made[place] = Some(Made::Linked);
                    }
                }
            }
            Err(StoreError::EpochChanged(_)) => drop(pipeline.store.epoch(desk.name).await?),
            Err(error) => return Err(error.into()),
        }
        if waits {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// The step that links two accounts, and has both read again.
fn commit(desk: &Desk<'_>, link: Link, ended: Option<Link>) -> Commit {
    let claim = Claim::of_accounts(&link);
    let accounts = Side::BOTH.into_iter().filter_map(|side| Some((side, link.sides[side].account.clone()?)));
    // What nobody can read nobody would take off the list either.
    let reread = accounts.filter(|(side, _)| desk.connection.ends[*side].schema().readable).collect();
    let close = ended.iter().flat_map(|ended| LetterId::of_refusals(desk.name, ended)).collect();
    Commit { link: Some(link), claim, ended, reread, close, ..Commit::default() }
}

/// The links that these accounts have, alone or with a partner.
async fn find<'p, B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    desk: &Desk<'_>,
    pairs: impl Iterator<Item = &'p Sides<AccountId>>,
) -> Result<Loaded<Sides<Option<Link>>>, StoreError> {
    let claims = pairs.flat_map(|pair| Side::BOTH.map(|side| (side, pair[side].clone()))).collect::<Vec<_>>();
    let Loaded { now, epoch, items } = links_of(pipeline, desk, &claims).await?;
    let mut items = items.into_iter();
    let mut pairs = Vec::new();
    while let (Some(a), Some(b)) = (items.next(), items.next()) {
        pairs.push(Sides { a, b });
    }
    Ok(Loaded { now, epoch, items: pairs })
}

/// The link of each account, if it has one.
pub(super) async fn links_of<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    desk: &Desk<'_>,
    accounts: &[(Side, AccountId)],
) -> Result<Loaded<Option<Link>>, StoreError> {
    let questions = || -> Vec<Find> {
        let claims = accounts.iter().map(|(side, account)| vec![Claim::Account(*side, account.clone())]);
        claims.map(|claims| Find { claims, letter: None }).collect()
    };
    let mut found = pipeline.store.find(desk.name, questions()).await;
    for _ in 0..EPOCHS {
        let Err(StoreError::EpochChanged(_)) = found else { break };
        // Only this question lets the store begin a new memory, where it has lost the old one or has none yet.
        pipeline.store.epoch(desk.name).await?;
        found = pipeline.store.find(desk.name, questions()).await;
    }
    let Loaded { now, epoch, items } = found?;
    Ok(Loaded { now, epoch, items: items.into_iter().map(|found| found.link.map(|(link, _)| link)).collect() })
}

/// The link of one account, once no writer works on it.
pub(super) async fn idle_link_of<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    desk: &Desk<'_>,
    account: (Side, AccountId),
) -> anyhow::Result<(Option<Link>, Epoch)> {
    let patience = Instant::now() + pipeline.settings.quarantine();
    let account = [account];
    loop {
        let Loaded { now, epoch, mut items } = links_of(pipeline, desk, &account).await?;
        let link = items.pop().flatten();
        if !link.as_ref().is_some_and(|link| is_leased(link, now)) {
            return Ok((link, epoch));
        }
        anyhow::ensure!(Instant::now() < patience, "a writer is at work on this link all the time; try again");
        tokio::time::sleep(PAUSE).await;
    }
}

fn is_leased(link: &Link, now: Timestamp) -> bool {
    Side::BOTH.iter().any(|side| link.sides[*side].leased(now).is_some())
}

impl Desk<'_> {
    /// Why two accounts did not become partners, for a person; `None` if they are.
    pub(super) fn reason(&self, pair: &Sides<AccountId>, made: &Made) -> Option<(&'static str, String)> {
        match made {
            Made::Linked | Made::Already => None,
            Made::Taken { side, partner } => {
                let (own, other) = (self.account(*side, &pair[*side]), self.account(side.other(), partner));
                Some(("taken", format!("{own} is linked with {other} already; the first link stays")))
            }
            Made::Busy => Some(("busy", "a writer was at work on it all the time; try again".to_owned())),
        }
    }
}
