//! Reading: pages of all operators, operators by id, and the tables that give their ids names.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde_json::Value as Json;
use tokio::time::Instant;

use super::Iadvize;
use super::attributes::Wire;
use super::listings::Position;
use super::tables::Tables;
use super::transport::{Fetched, Haste, Seen};
use super::values::{read, refers_to_unknown};
use crate::domain::{AccountId, AttributePath, Code, Failure, FailureClass, Snapshot};
use crate::systems::{Lookup, Next, Page, ReadFrom, Record};

/// How long the tables are good.
const TABLES_FOR: Duration = Duration::from_secs(15 * 60);
/// Tables that lack something are not read again sooner.
const TABLES_AT_LEAST: Duration = Duration::from_secs(30);

/// What an operator was found to be.
pub(super) enum Current {
    /// It can be used.
    Usable(Box<(Json, Snapshot)>),
    /// It cannot.
    Unreadable { code: Code, attribute: Option<AttributePath> },
}

impl Iadvize {
    /// One page, see [`System::read`](crate::systems::System::read).
    pub(super) async fn page(&self, from: &ReadFrom) -> Result<Page, Failure> {
        let mut position = match from {
            ReadFrom::Start => Position::start(fastrand::u64(..)),
            ReadFrom::Watermark(text) | ReadFrom::Position(text) => Position::parse(text)?,
        };
        let listed = self.transport.page(position.mark.as_ref(), self.page_size).await?;
        let tables = self.tables_for(&listed.users, None).await?;
        let mut listings = self.listings.lock().unwrap_or_else(PoisonError::into_inner);
        listings.begin(&position);
        let mut records = Vec::with_capacity(listed.users.len());
        for user in &listed.users {
            let record = read(self.transport.wire(), user, listed.at, listed.lossy, &tables);
            let account = match &record {
                Record::Account(snapshot) => Some(&snapshot.account),
                Record::Unreadable { account, .. } => account.as_ref(),
            };
            if account.is_none_or(|account| listings.note(&position, account)) {
                records.push(record);
            }
        }
        position.passed(&listed);
        let next = match position.mark {
            Some(_) => Next::Page(position.to_text()),
            None => Next::End { watermark: None, proven_complete: listings.end(&position), unsettled: None },
        };
        Ok(Page { records, next, expected: listed.count })
    }

    /// Operators by id, see [`System::get`](crate::systems::System::get).
    pub(super) async fn by_ids(&self, accounts: &[AccountId]) -> Result<Vec<Lookup>, Failure> {
        let lookups = accounts.iter().map(|account| async move {
            if super::attributes::parse_id(account.as_str()).is_none() {
                return Ok(Lookup::Unreadable { code: Code::known("invalid_id"), attribute: None });
            }
            match self.transport.fetch("get", account, None).await? {
                Fetched::Absent(asked_at) => Ok(Lookup::Absent(asked_at)),
                Fetched::Found(seen) => match self.current(seen, None).await? {
                    Current::Usable(current) => Ok(Lookup::Found(current.1)),
                    Current::Unreadable { code, attribute } => Ok(Lookup::Unreadable { code, attribute }),
                },
            }
        });
        // Collected first: a stream over borrowed futures confuses the compiler about their lifetimes.
        let lookups: Vec<_> = lookups.collect();
        stream::iter(lookups).buffered(self.concurrency).try_collect().await
    }

    /// What an answer means.
    pub(super) async fn current(&self, seen: Seen, haste: Option<Haste>) -> Result<Current, Failure> {
        let tables = self.tables_for(std::slice::from_ref(&seen.user), haste).await?;
        Ok(match read(self.transport.wire(), &seen.user, seen.at, seen.lossy, &tables) {
            Record::Account(snapshot) => Current::Usable(Box::new((seen.user, snapshot))),
            Record::Unreadable { code, attribute, .. } => Current::Unreadable { code, attribute },
        })
    }

    /// The tables that what was read needs. GraphQL shows names; REST ids, of which some may be younger than the tables.
    async fn tables_for(&self, users: &[Json], haste: Option<Haste>) -> Result<Arc<Tables>, Failure> {
        if self.transport.wire() == Wire::Graphql || users.is_empty() {
            return Ok(Arc::default());
        }
        let tables = self.tables(None, haste).await?;
        match users.iter().any(|user| refers_to_unknown(user, &tables)) {
            true => self.tables(Some(TABLES_AT_LEAST), haste).await,
            false => Ok(tables),
        }
    }

    /// The tables, not older than `age` (their usual age, if not given). Whoever comes meanwhile waits for them.
    pub(super) async fn tables(&self, age: Option<Duration>, haste: Option<Haste>) -> Result<Arc<Tables>, Failure> {
        let mut known = self.tables.lock().await;
        if let Some((tables, read_at)) = &*known
            && read_at.elapsed() < age.unwrap_or(TABLES_FOR)
        {
            return Ok(Arc::clone(tables));
        }
        let tables = Arc::new(self.transport.tables(haste).await?);
        *known = Some((Arc::clone(&tables), Instant::now()));
        Ok(tables)
    }
}

/// The failure of a call that needs an operator who cannot be used.
pub(super) fn unusable(code: Code, attribute: Option<AttributePath>) -> Failure {
    let failure = Failure::new(FailureClass::Permanent, code, "the operator cannot be used as it is");
    Failure { attribute, ..failure }
}
