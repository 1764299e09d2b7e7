//! How an account is created: searched for first, adopted if it is ours, refused if it is somebody else's.

use futures_util::future::{join, try_join_all};

use super::attempt::{Attempt, Begun, LEASE_MARGIN};
use super::{Fate, count};
use crate::broker::Broker;
use crate::domain::course::{self, Existing};
use crate::domain::link::{LastWrite, WriteAnswer};
use crate::domain::pending::Need;
use crate::domain::write;
use crate::domain::{AccountId, AttributePath, Code, CommandOutcome, Failure, FailureClass, Link, Sighting, Snapshot};
use crate::failpoint::hit;
use crate::stages::Halt;
use crate::stages::letters::wall_clock;
use crate::stages::searches::Searches;
use crate::store::{Claim, Commit, Committed, Store};
use crate::systems::{Lookup, SearchKey};

impl<B: Broker, S: Store> Attempt<'_, B, S> {
    /// Searches before an account is created: what carries our partner's id is ours, anything else is the policy's case
    /// for existing accounts. `None`: there is no such account.
    pub(super) async fn search_first(
        &self,
        begun: &Begun,
        link: &Link,
        partner: &AccountId,
    ) -> Result<Option<Fate>, Halt> {
        let rules = &self.wave.rules;
        let searches = Searches::new(self.wave.connection, rules, self.wave.side, &begun.wanted);
        // All at once: searching for one key after the other would take a call for each.
        let (ours, existing) = join(
            self.search(begun, SearchKey::Partner(partner.clone())),
            try_join_all(searches.keys().map(|key| self.search(begun, key))),
        )
        .await;
        let found = ours.and_then(|ours| {
            // What is ours is ours, whether or not the other searches went well.
            let others = if ours.is_empty() { existing? } else { Vec::new() };
            Ok((ours, others))
        });
        let (ours, others) = match found {
            Ok(found) => found,
            Err(failure) => return self.failed(begun, link.clone(), &failure).await.map(Some),
        };
        hit("writer.searched");
        match course::existing(ours, searches.found(others), rules) {
            Existing::Nobody => self.reunite(begun, link, partner).await,
            Existing::Adopt { account, remembered } => {
                self.adopt(begun, link.clone(), *account, remembered).await.map(Some)
            }
            Existing::Ambiguous => self.bury(begun, link.clone(), &ambiguous()).await.map(Some),
            Existing::Taken { attribute } => self.exists_refusal(begun, link.clone(), Some(attribute)).await.map(Some),
        }
    }

    /// Links the account that was parted from this partner and left as it was, if it still names them. A search need not know
    /// it yet. `None`: there is no such account.
    async fn reunite(&self, begun: &Begun, link: &Link, partner: &AccountId) -> Result<Option<Fate>, Halt> {
        let side = self.wave.side;
        let Some(parting) = link.parted(side).filter(|it| !it.is_final() && self.wave.system().schema().readable)
        else {
            return Ok(None);
        };
        match self.wave.get(parting.account.clone()).await {
            Ok(Lookup::Found(account))
                if self.wave.connection.partner_named(side, &account).as_ref() == Some(partner) =>
            {
                self.adopt(begun, link.clone(), account, true).await.map(Some)
            }
            Ok(_) => Ok(None),
            Err(failure) => self.failed(begun, link.clone(), &failure).await.map(Some),
        }
    }

    /// Looks for what creations without an answer may have left for somebody who is not to have an account any more. What
    /// is found is linked, and then deactivated or left like any other account; where nothing is, nothing is to be done.
    pub(super) async fn find(&self, begun: &Begun, link: Link, partner: &AccountId) -> Result<Fate, Halt> {
        let ours = match self.search(begun, SearchKey::Partner(partner.clone())).await {
            Ok(ours) => ours,
            Err(failure) => return self.failed(begun, link, &failure).await,
        };
        hit("writer.searched");
        match course::existing(ours, Vec::new(), &self.wave.rules) {
            Existing::Adopt { account, remembered } => return self.adopt(begun, link, *account, remembered).await,
            Existing::Ambiguous => return self.bury(begun, link, &ambiguous()).await,
            Existing::Nobody | Existing::Taken { .. } => {}
        }
        let mut link = link;
        loop {
            let Some(forgotten) = write::forget_creations(&link, self.wave.side, begun.token) else {
                return Ok(self.later(LEASE_MARGIN));
            };
            let outcome = CommandOutcome::Superseded;
            let commit =
                Commit { link: Some(forgotten), count: Some(count(self.command, outcome)), ..Commit::default() };
            match self.commit(commit).await? {
                Committed::Done { .. } => {
                    hit("writer.committed");
                    self.wave.pipeline.metrics.command(&self.wave.connection.name, outcome);
                    return Ok(Fate::Over);
                }
                Committed::Moved | Committed::Taken { .. } => link = self.reload().await?,
            }
        }
    }

    async fn search(&self, begun: &Begun, key: SearchKey) -> Result<Vec<Snapshot>, Failure> {
        self.wave.search(key, begun.deadline).await
    }

    /// The target says that an account with a unique value exists. Perhaps it is ours: a creation whose answer was lost.
    pub(super) async fn exists(
        &self,
        begun: &Begun,
        link: Link,
        attribute: Option<AttributePath>,
    ) -> Result<Fate, Halt> {
        if let Need::Create { partner } = &begun.wanted.need {
            match self.search(begun, SearchKey::Partner(partner.clone())).await {
                Ok(ours) => {
                    if let Ok([account]) = <[Snapshot; 1]>::try_from(ours) {
                        return self.adopt(begun, link, account, true).await;
                    }
                }
                Err(failure) => return self.failed(begun, link, &failure).await,
            }
        }
        self.exists_refusal(begun, link, attribute).await
    }

    /// R12: nothing is created, nothing on the existing account is touched, and nothing is linked.
    async fn exists_refusal(&self, begun: &Begun, link: Link, attribute: Option<AttributePath>) -> Result<Fate, Halt> {
        let named = attribute.as_ref().map(|attribute| attribute.as_str().to_owned());
        let (code, what) = match named.as_deref() {
            Some("emails") => (Code::known("email_exists"), "its e-mail address".to_owned()),
            Some(other) => (Code::known("account_exists"), format!("its {other}")),
            None => (Code::known("account_exists"), "a value that must be unique".to_owned()),
        };
        let message = format!(
            "another account of the target has {what} already; nothing was changed there. Link the two, or change one \
             of them, then retry"
        );
        let failure = Failure { attribute, ..Failure::new(FailureClass::Permanent, code, message) };
        self.bury(begun, link, &failure).await
    }

    /// Links the account that a search found. What it holds goes to the mapper as a change.
    async fn adopt(&self, begun: &Begun, link: Link, account: Snapshot, remembered: bool) -> Result<Fate, Halt> {
        let side = self.wave.side;
        let mut link = link;
        loop {
            let Some(adopted) = write::adopt(&link, side, begun.token, &account, remembered, &self.wave.rules) else {
                return Ok(self.later(LEASE_MARGIN));
            };
            let adopted = write::note(adopted, side, LastWrite::new(wall_clock(), WriteAnswer::Found));
            let claim = vec![Claim::Account(side, account.account.clone())];
            match self.commit(Commit { link: Some(adopted), claim, ..Commit::default() }).await? {
                Committed::Done { .. } => {
                    hit("writer.committed");
                    return Ok(Fate::Change(Box::new(Sighting::Present { snapshot: account })));
                }
                Committed::Taken { holder, .. } => {
                    let failure = Failure::new(
                        FailureClass::Permanent,
                        Code::known("already_linked"),
                        format!(
                            "the account that exists at the target belongs to link {holder} already; the first link stays"
                        ),
                    );
                    return self.bury(begun, link, &failure).await;
                }
                Committed::Moved => link = self.reload().await?,
            }
        }
    }
}

/// The value that an account is to have.
fn ambiguous() -> Failure {
    Failure::new(
        FailureClass::Permanent,
        Code::known("ambiguous"),
        "several accounts of the target carry the partner's id; clear it on all but one, then retry",
    )
}
