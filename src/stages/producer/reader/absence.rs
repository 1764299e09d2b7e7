//! Who is proven gone (B12): linked, not listed by a complete read that this process followed from its first page, and
//! not there when asked for by id either.

use std::collections::HashSet;
use std::hash::Hasher as _;

use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{REREADS, Reader};
use crate::broker::Broker;
use crate::domain::{AccountId, Failure, RunId, Sighting};
use crate::stages::Halt;
use crate::store::Store;
use crate::systems::Lookup;

/// The largest share of the known accounts, in percent, that may be missing from a list before the list itself is
/// doubted, and the number below which the share says nothing.
const DOUBTFUL_PERCENT: usize = 20;
const DOUBTFUL_ABOVE: usize = 10;

/// A complete read that this process follows from its first page.
pub(super) struct Followed {
    run: RunId,
    /// Accounts that links held when it began.
    known: usize,
    /// Hashes of the ids of those that were not listed yet: 8 bytes each. Who was linked since is no part of it.
    unlisted: HashSet<u64>,
}

impl<B: Broker, S: Store> Reader<B, S> {
    /// Follows this run's complete read, which begins now.
    pub(super) async fn follow(&self, stop: &CancellationToken, run: &RunId) -> Result<(), Halt> {
        let mut unlisted = HashSet::new();
        self.known(stop, |account| unlisted.extend([hash(&account)])).await?;
        self.memory().followed = Some(Followed { run: run.clone(), known: unlisted.len(), unlisted });
        Ok(())
    }

    /// Hands each account that a link of this side holds to `take`.
    async fn known(&self, stop: &CancellationToken, mut take: impl FnMut(AccountId) + Send) -> Result<(), Halt> {
        let (store, name) = (&self.pipeline.store, &self.connection.name);
        let mut from = None;
        loop {
            let (accounts, next) = self.pipeline.ask(stop, || store.accounts(name, self.side, from.clone())).await?;
            accounts.into_iter().for_each(|(account, _)| take(account));
            match next {
                Some(next) => from = Some(next),
                None => return Ok(()),
            }
        }
    }

    /// Notes the ids of a page, as long as this process has followed the read from its beginning.
    pub(super) fn remember(&self, run: &RunId, seen: &[Sighting]) {
        if let Some(followed) = &mut self.memory().followed
            && followed.run == *run
        {
            for seen in seen {
                let account = match seen {
                    Sighting::Present { snapshot } => Some(&snapshot.account),
                    Sighting::Unreadable { account, .. } => account.as_ref(),
                    Sighting::Absent { .. } | Sighting::Merged { .. } => None,
                };
                if let Some(account) = account {
                    followed.unlisted.remove(&hash(account));
                }
            }
        }
    }

    /// Who is linked, was not listed by a complete read, and is not there when asked for by id either (B12). An error
    /// says why nobody may be taken for gone, if that is worth saying.
    pub(super) async fn absent(
        &self,
        stop: &CancellationToken,
        run: &RunId,
        proven_complete: bool,
    ) -> Result<Result<Vec<Sighting>, Option<String>>, Halt> {
        let followed = self.memory().followed.take().filter(|followed| followed.run == *run);
        let Some(Followed { known, unlisted, .. }) = followed else { return Ok(Err(None)) };
        if unlisted.is_empty() {
            return Ok(Ok(Vec::new()));
        }
        let mut missing = Vec::new();
        self.known(stop, |account| {
            if unlisted.contains(&hash(&account)) {
                missing.push(account);
            }
        })
        .await?;
        let system = &self.connection.systems[self.side];
        if missing.len() > DOUBTFUL_ABOVE && missing.len() * 100 > known * DOUBTFUL_PERCENT {
            return Ok(Err(Some(format!(
                "{system} did not list {} of {known} known accounts; the list is doubted, and nobody is taken for gone",
                missing.len()
            ))));
        }
        let mut gone = Vec::new();
        for chunk in missing.chunks(REREADS) {
            match self.call(stop, self.system().get(chunk)).await? {
                Ok(lookups) => gone.extend(chunk.iter().zip(lookups).filter_map(|(account, lookup)| match lookup {
                    Lookup::Absent(read_at) => Some(Sighting::Absent { account: account.clone(), read_at }),
                    Lookup::Found(_) | Lookup::Unreadable { .. } => None,
                })),
                Err(failure) => {
                    warn!("Could not ask {system} for accounts that it did not list: {failure}");
                    return Ok(Err(None));
                }
            }
        }
        let (mut merged, gone) = match self.call(stop, self.told_apart(gone)).await? {
            Ok(told_apart) => told_apart,
            Err(failure) => {
                warn!("Could not ask {system} whether accounts that it did not list were merged: {failure}");
                return Ok(Err(None));
            }
        };
        if !gone.is_empty() && !proven_complete {
            return Ok(Err(Some(format!(
                "the list of {system} was not proven complete, so {} accounts that it lacks are not taken for gone",
                gone.len()
            ))));
        }
        merged.extend(gone);
        Ok(Ok(merged))
    }

    /// Those of the accounts that are gone that were merged into others, and the rest.
    async fn told_apart(&self, gone: Vec<Sighting>) -> Result<(Vec<Sighting>, Vec<Sighting>), Failure> {
        let accounts: Vec<_> = gone.iter().filter_map(Sighting::account).cloned().collect();
        let merged = self.merged(&accounts).await?;
        let left = gone.into_iter().filter(|seen| !merged.iter().any(|merged| merged.account() == seen.account()));
        let left = left.collect();
        Ok((merged, left))
    }

    /// Those of the accounts, which are not there, that were merged into others.
    pub(super) async fn merged(&self, accounts: &[AccountId]) -> Result<Vec<Sighting>, Failure> {
        if accounts.is_empty() {
            return Ok(Vec::new());
        }
        let survivors = self.system().merged_into(accounts).await?;
        let merged = accounts.iter().zip(survivors);
        Ok(merged
            .filter_map(|(account, into)| Some(Sighting::Merged { account: account.clone(), into: into? }))
            .collect())
    }
}

fn hash(account: &AccountId) -> u64 {
    let mut hasher = siphasher::sip::SipHasher13::new();
    hasher.write(account.as_str().as_bytes());
    hasher.finish()
}
