//! The search: by a filter of the list where one is heeded, else by walking through everybody.
//!
//! Which filters there are is unconfirmed; `username` and `externalId` are tried. One that is ignored gives users who do
//! not have the value, and is not asked again.
//!
//! A first load searches for thousands of partners' ids, and would walk through everybody for each. So where that filter is
//! not heeded, who has which partner's id is kept for [`KEPT`], which [`Schema::search_lag`](crate::systems::Schema) covers.

use std::collections::HashMap;
use std::hash::Hasher as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde_json::Value as Json;
use siphasher::sip::SipHasher13;
use tokio::time::Instant;

use super::InitLive;
use super::attributes::{EXTERNAL_ID, USERNAME, attribute};
use super::client::{Fetched, List};
use super::user::{id_of, partner_of, read, username_of};
use super::walk::{After, Walk};
use crate::domain::{AccountId, AttributePath, Code, Failure, FailureClass, Snapshot, Value};
use crate::systems::{Record, SearchKey};

/// Users of a page when everybody is walked through: as many as the service gives.
const WALK_TAKE: usize = 499;

/// How long it is kept who has which partner's id. A search may miss what was written since.
pub const KEPT: Duration = Duration::from_secs(20);

/// Who has which partner's id, by digests of those.
#[derive(Debug)]
pub struct Index {
    /// When the walk began that saw them.
    began: Instant,
    accounts: HashMap<u64, Vec<AccountId>>,
}

impl InitLive {
    /// Users who have a value, for each key, see [`System::search`](crate::systems::System::search). Keys that no filter
    /// finds share one walk.
    pub(super) async fn with_keys(
        &self,
        keys: &[SearchKey],
        deadline: Option<Instant>,
    ) -> Result<Vec<Vec<Snapshot>>, Failure> {
        let searches: Vec<_> = keys.iter().map(|key| self.by_filter(key, deadline)).collect();
        let found: Vec<Option<Vec<Snapshot>>> = stream::iter(searches).buffered(self.concurrency).try_collect().await?;
        let mut answers = Vec::with_capacity(keys.len());
        for (key, found) in keys.iter().zip(found) {
            answers.push(match (found, key) {
                (Some(found), _) => Some(found),
                (None, SearchKey::Partner(partner)) => Some(self.by_index(partner, deadline).await?),
                (None, SearchKey::Attribute(..)) => None,
            });
        }
        let left: Vec<&SearchKey> =
            keys.iter().zip(&answers).filter(|(_, found)| found.is_none()).map(|(key, _)| key).collect();
        let walked = if left.is_empty() { Vec::new() } else { self.walk_for(&left, deadline).await? };
        let mut walked = walked.into_iter();
        Ok(answers.into_iter().map(|found| found.or_else(|| walked.next()).unwrap_or_default()).collect())
    }

    /// Users who have a partner's id, by what the last walk saw. Who searches meanwhile waits for the walk of the first.
    async fn by_index(&self, partner: &AccountId, deadline: Option<Instant>) -> Result<Vec<Snapshot>, Failure> {
        let accounts = {
            let mut index = self.index.lock().await;
            if index.as_ref().is_none_or(|index| index.began.elapsed() >= KEPT) {
                *index = Some(self.walk_all(deadline).await?);
            }
            index.as_ref().and_then(|index| index.accounts.get(&digest(partner)).cloned()).unwrap_or_default()
        };
        let mut found = Vec::new();
        for account in accounts {
            match self.client.fetch("search", &account, deadline).await? {
                Fetched::Found(current) if current.snapshot.partner.as_ref() == Some(partner) => {
                    found.push(current.snapshot);
                }
                Fetched::Found(_) | Fetched::Absent(_) => {}
                Fetched::Unreadable { code, attribute } => return Err(unusable(code, attribute)),
            }
        }
        Ok(found)
    }

    /// Walks through everybody and notes the partners' ids.
    async fn walk_all(&self, deadline: Option<Instant>) -> Result<Index, Failure> {
        let (mut walk, mut index) = (Walk::default(), Index { began: Instant::now(), accounts: HashMap::new() });
        loop {
            let list = self.client.list("search", &walk.query(WALK_TAKE), deadline).await?;
            let ids: Vec<_> = list.users.iter().map(id_of).collect();
            let (after, _) = walk.passed(&ids, WALK_TAKE);
            for (user, account) in list.users.iter().zip(ids) {
                if let (Some(partner), Some(account)) = (partner_of(user), account) {
                    let accounts: &mut Vec<AccountId> = index.accounts.entry(digest(&partner)).or_default();
                    if !accounts.contains(&account) {
                        accounts.push(account);
                    }
                }
            }
            match after {
                After::More => {}
                After::End { whole } if whole || walk.is_empty() => return Ok(index),
                After::End { .. } => return Err(incomplete()),
            }
        }
    }

    /// Users who have a value, if there is a filter for it that is heeded.
    async fn by_filter(&self, key: &SearchKey, deadline: Option<Instant>) -> Result<Option<Vec<Snapshot>>, Failure> {
        let Some((name, value, ignored)) = self.filter(key) else { return Ok(None) };
        if ignored.load(Ordering::Relaxed) {
            return Ok(None);
        }
        // More than one would be a service that keeps addresses in two letter cases apart.
        let query = [(name, value), ("skip", "0".to_owned()), ("take", "10".to_owned())];
        let list = self.client.list("search", &query, deadline).await?;
        if !list.users.iter().all(|user| has(user, key)) {
            ignored.store(true, Ordering::Relaxed);
            return Ok(None);
        }
        snapshots(&list, key).map(Some)
    }

    /// Whether the filter for a key that nobody has is heeded.
    pub(super) async fn heeds_filter(&self, key: &SearchKey) -> Result<bool, Failure> {
        self.by_filter(key, None).await.map(|found| found.is_some())
    }

    /// The filter for a key, and whether it showed to be ignored.
    fn filter(&self, key: &SearchKey) -> Option<(&'static str, String, &AtomicBool)> {
        match key {
            SearchKey::Partner(partner) => Some((EXTERNAL_ID, partner.as_str().to_owned(), &self.ignored.external_id)),
            SearchKey::Attribute(path, value) if path.as_str() == "emails" => {
                Some((USERNAME, value.trim().to_owned(), &self.ignored.username))
            }
            SearchKey::Attribute(..) => None,
        }
    }

    /// Users who have one of these values, for each key, by walking through everybody.
    async fn walk_for(&self, keys: &[&SearchKey], deadline: Option<Instant>) -> Result<Vec<Vec<Snapshot>>, Failure> {
        let (mut walk, mut found) = (Walk::default(), vec![Vec::new(); keys.len()]);
        loop {
            let list = self.client.list("search", &walk.query(WALK_TAKE), deadline).await?;
            let ids: Vec<_> = list.users.iter().map(id_of).collect();
            let (after, _) = walk.passed(&ids, WALK_TAKE);
            for (key, found) in keys.iter().zip(&mut found) {
                for snapshot in snapshots(&list, key)? {
                    if !found.iter().any(|known: &Snapshot| known.account == snapshot.account) {
                        found.push(snapshot);
                    }
                }
            }
            match after {
                After::More => {}
                // Nobody at all is no list that has a gap.
                After::End { whole } if whole || walk.is_empty() || found.iter().all(|found| !found.is_empty()) => {
                    return Ok(found);
                }
                After::End { .. } => return Err(incomplete()),
            }
        }
    }
}

/// Who was not found may be who slipped through, and would be created a second time.
fn incomplete() -> Failure {
    let text = "the list of users changed while it was searched, or has no pages to rely on";
    Failure::new(FailureClass::Transient, Code::known("incomplete_list"), text)
}

fn unusable(code: Code, attribute: Option<AttributePath>) -> Failure {
    let text = "a user who was searched for cannot be used as they are";
    Failure { attribute, ..Failure::new(FailureClass::Permanent, code, text) }
}

fn digest(partner: &AccountId) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(partner.as_str().as_bytes());
    hasher.finish()
}

/// The users of a page who have a value.
fn snapshots(list: &List, key: &SearchKey) -> Result<Vec<Snapshot>, Failure> {
    let users = list.users.iter().filter(|user| has(user, key));
    users
        .map(|user| match read(user, list.sent_at, list.lossy) {
            Record::Account(snapshot) => Ok(snapshot),
            Record::Unreadable { code, attribute, .. } => Err(unusable(code, attribute)),
        })
        .collect()
}

/// Whether a user truly has the value.
fn has(user: &Json, key: &SearchKey) -> bool {
    match key {
        SearchKey::Partner(partner) => partner_of(user).as_ref() == Some(partner),
        SearchKey::Attribute(path, value) => {
            let Some(attribute) = attribute(path) else { return false };
            let wanted = Value::from(value.as_str());
            let found = match path.as_str() {
                "emails" => username_of(user).map(Value::from),
                _ => match read(user, crate::domain::Timestamp(0), false) {
                    Record::Account(snapshot) => snapshot.attributes.get(path).cloned().flatten(),
                    Record::Unreadable { .. } => None,
                },
            };
            found.is_some_and(|found| attribute.comparison.equal(Some(&found), Some(&wanted)))
        }
    }
}
