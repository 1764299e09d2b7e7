//! Reading: pages of the roster, and users by id.

use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::InitLive;
use super::client::Fetched;
use super::user::{id_of, read};
use super::walk::{After, Walk};
use crate::domain::{AccountId, Failure};
use crate::systems::{Lookup, Next, Page, ReadFrom};

impl InitLive {
    /// One page, see [`System::read`](crate::systems::System::read).
    pub(super) async fn page(&self, from: &ReadFrom) -> Result<Page, Failure> {
        let mut walk = match from {
            ReadFrom::Start => Walk::default(),
            ReadFrom::Watermark(text) | ReadFrom::Position(text) => Walk::parse(text)?,
        };
        let list = self.client.list("list", &walk.query(self.page_size), None).await?;
        let ids: Vec<_> = list.users.iter().map(id_of).collect();
        let (after, joins) = walk.passed(&ids, self.page_size);
        let new = list.users.iter().skip(usize::from(joins));
        let records = new.map(|user| read(user, list.sent_at, list.lossy)).collect();
        let next = match after {
            After::More => Next::Page(walk.to_text()),
            After::End { whole } => Next::End { watermark: None, proven_complete: whole, unsettled: None },
        };
        Ok(Page { records, next, expected: None })
    }

    /// Users by id, see [`System::get`](crate::systems::System::get).
    pub(super) async fn by_ids(&self, accounts: &[AccountId]) -> Result<Vec<Lookup>, Failure> {
        let lookups = accounts.iter().map(|account| async move {
            Ok(match self.client.fetch("get", account, None).await {
                Ok(Fetched::Found(current)) => Lookup::Found(current.snapshot),
                Ok(Fetched::Absent(asked_at)) => Lookup::Absent(asked_at),
                Ok(Fetched::Unreadable { code, attribute }) => Lookup::Unreadable { code, attribute },
                // An id that nobody can have: the others can be read all the same.
                Err(failure) if failure.code.as_str() == "invalid_id" => {
                    Lookup::Unreadable { code: failure.code, attribute: None }
                }
                Err(failure) => return Err(failure),
            })
        });
        // Collected first: a stream over borrowed futures confuses the compiler about their lifetimes.
        let lookups: Vec<_> = lookups.collect();
        let lookups: Vec<Lookup> = stream::iter(lookups).buffered(self.concurrency).try_collect().await?;
        if lookups.iter().any(|lookup| matches!(lookup, Lookup::Absent(_))) {
            self.client.prove_roster(None).await?;
        }
        Ok(lookups)
    }
}
