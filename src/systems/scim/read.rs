//! Reading: pages of the roster, and accounts by id.

use std::sync::PoisonError;

use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::Scim;
use super::client::Fetched;
use super::listing::{After, Position};
use super::profile::Profile;
use super::resource::read;
use crate::domain::{AccountId, Failure};
use crate::systems::{Lookup, Next, Page, ReadFrom, Record};

impl Scim {
    /// One page, see [`System::read`](crate::systems::System::read).
    pub(super) async fn page(&self, from: &ReadFrom) -> Result<Page, Failure> {
        let profile = self.client.profile(None).await?;
        let mut position = match from {
            ReadFrom::Start => Position::start(fastrand::u64(..)),
            ReadFrom::Watermark(text) | ReadFrom::Position(text) => Position::parse(text)?,
        };
        let (asked, by_cursor) = (self.count(&profile), profile.declared.cursor);
        let ask = |position: &Position| position.query(asked, by_cursor);
        let list = match self.client.list("list", &ask(&position), None).await {
            // The list is read again from its beginning: the accounts come twice, which harms nobody.
            Err(failure) if is_lost_cursor(&failure) && !position.is_start() => {
                position = Position::start(fastrand::u64(..));
                self.client.list("list", &ask(&position), None).await?
            }
            other => other?,
        };
        let mut listings = self.listings.lock().unwrap_or_else(PoisonError::into_inner);
        listings.begin(&position);
        let mut records = Vec::with_capacity(list.resources.len());
        for resource in &list.resources {
            let record = read(resource, list.sent_at, None, list.lossy);
            let account = match &record {
                Record::Account(snapshot) => Some(&snapshot.account),
                Record::Unreadable { account, .. } => account.as_ref(),
            };
            if account.is_none_or(|account| listings.note(&position, account)) {
                records.push(record);
            }
        }
        let expected = list.total;
        let after = position.passed(list.shown(), asked, by_cursor);
        let next = match after {
            After::More => Next::Page(position.to_text()),
            After::End => Next::End { watermark: None, proven_complete: listings.end(&position), unsettled: None },
        };
        Ok(Page { records, next, expected })
    }

    /// Accounts to ask for at once.
    pub(super) fn count(&self, profile: &Profile) -> usize {
        profile.declared.max_results.map_or(self.page_size, |most| most.min(self.page_size))
    }

    /// Accounts by id, see [`System::get`](crate::systems::System::get).
    pub(super) async fn by_ids(&self, accounts: &[AccountId]) -> Result<Vec<Lookup>, Failure> {
        let lookups = accounts.iter().map(|account| async move {
            Ok(match self.client.fetch("get", account, None).await {
                Ok(Fetched::Found(current)) => Lookup::Found(current.snapshot),
                Ok(Fetched::Absent(asked_at)) => Lookup::Absent(asked_at),
                Ok(Fetched::Unreadable { code, attribute }) => Lookup::Unreadable { code, attribute },
                // An id that no server gave, or an account that is protected: the others can be read all the same.
                Err(failure) if matches!(failure.code.as_str(), "invalid_id" | "forbidden") => {
                    Lookup::Unreadable { code: failure.code, attribute: failure.attribute }
                }
                Err(failure) => return Err(failure),
            })
        });
        // Collected first: a stream over borrowed futures confuses the compiler about their lifetimes.
        let lookups: Vec<_> = lookups.collect();
        let lookups: Vec<Lookup> = stream::iter(lookups).buffered(self.concurrency).try_collect().await?;
        if lookups.iter().any(|lookup| matches!(lookup, Lookup::Absent(_))) {
            self.client.prove_endpoint(None).await?;
        }
        Ok(lookups)
    }
}

fn is_lost_cursor(failure: &Failure) -> bool {
    matches!(failure.code.as_str(), "invalid_cursor" | "expired_cursor")
}
