//! Reading: pages of the roster, accounts by id, and the search.

use std::sync::PoisonError;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde_json::{Value as Json, json};

use super::Scim;
use super::attributes::attribute;
use super::client::{Fetched, List};
use super::listing::{After, Position};
use super::resource::{id_of, partner_of, read, value_of};
use crate::domain::{AccountId, Code, Failure, FailureClass, Snapshot, Value};
use crate::systems::{Lookup, Next, Page, ReadFrom, Record, SearchKey};

impl Scim {
    /// One page, see [`System::read`](crate::systems::System::read).
    pub(super) async fn page(&self, from: &ReadFrom) -> Result<Page, Failure> {
        let profile = self.client.profile(None).await?;
        let mut position = match from {
            ReadFrom::Start => Position::start(fastrand::u64(..)),
            ReadFrom::Watermark(text) | ReadFrom::Position(text) => Position::parse(text)?,
        };
        let asked = profile.max_results.map_or(self.page_size, |most| most.min(self.page_size));
        let ask = |position: &Position| position.query(asked, profile.cursor);
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
        let head = list.resources.first().and_then(id_of);
        let expected = list.total;
        let after = position.passed(list.resources.len(), asked, head, list.total, list.next_cursor, profile.cursor);
        let next = match after {
            After::More => Next::Page(position.to_text()),
            After::End => Next::End { watermark: None, proven_complete: listings.end(&position), unsettled: None },
        };
        Ok(Page { records, next, expected })
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

    /// Accounts that have a value, see [`System::search`](crate::systems::System::search).
    pub(super) async fn with_key(&self, key: &SearchKey) -> Result<Vec<Snapshot>, Failure> {
        let profile = self.client.profile(None).await?;
        let filter = match key {
            SearchKey::Partner(partner) => format!("externalId eq {}", json!(partner)),
            SearchKey::Attribute(path, text) => {
                let Some(name) = filter_name(path.as_str()) else {
                    let code = Code::known("invalid_filter");
                    let text = "SCIM accounts are searched by userName, emails and external id only";
                    return Err(Failure::new(FailureClass::Permanent, code, text).at(path.clone()));
                };
                format!("{name} eq {}", json!(text))
            }
        };
        let asked = profile.max_results.map_or(self.page_size, |most| most.min(self.page_size));
        let mut position = Position::start(0);
        let mut found = Vec::new();
        loop {
            let mut query = position.query(asked, profile.cursor);
            // A server without filters, or one that ignores them, lists everybody: then all pages are looked through.
            if profile.filter {
                query.push(("filter", filter.clone()));
            }
            let list = self.client.list("search", &query, None).await?;
            matching(&list, key, &mut found)?;
            let head = list.resources.first().and_then(id_of);
            let received = list.resources.len();
            match position.passed(received, asked, head, list.total, list.next_cursor, profile.cursor) {
                After::More => {}
                After::End if position.fell_short() => {
                    let code = Code::known("incomplete_list");
                    let text = "the server listed fewer accounts than it says the search finds";
                    return Err(Failure::new(FailureClass::Transient, code, text));
                }
                After::End => return Ok(found),
            }
        }
    }
}

fn is_lost_cursor(failure: &Failure) -> bool {
    matches!(failure.code.as_str(), "invalid_cursor" | "expired_cursor")
}

/// What an attribute is called in a filter, if servers can be expected to search by it.
fn filter_name(canonical: &str) -> Option<&'static str> {
    match canonical {
        "userName" => Some("userName"),
        "emails" => Some("emails.value"),
        _ => None,
    }
}

/// Adds the resources of a page that truly have the value.
fn matching(list: &List, key: &SearchKey, found: &mut Vec<Snapshot>) -> Result<(), Failure> {
    for resource in list.resources.iter().filter(|resource| has_value(resource, key)) {
        match read(resource, list.sent_at, None, list.lossy) {
            Record::Account(snapshot) if found.iter().all(|known| known.account != snapshot.account) => {
                found.push(snapshot);
            }
            Record::Account(_) => {}
            // To leave it out would say that nobody has the value.
            Record::Unreadable { code, attribute, .. } => {
                let mut failure =
                    Failure::new(FailureClass::Permanent, code, "the account that was found cannot be used");
                failure.attribute = attribute;
                return Err(failure);
            }
        }
    }
    Ok(())
}

/// Whether a resource has the value that was searched for.
fn has_value(resource: &Json, key: &SearchKey) -> bool {
    match key {
        SearchKey::Partner(partner) => partner_of(resource).as_ref() == Some(partner),
        SearchKey::Attribute(path, text) => attribute(path).is_some_and(|attribute| {
            let value = value_of(resource, attribute);
            matches!(value, Ok(Some(value)) if attribute.comparison.equal(Some(&value), Some(&Value::from(text.as_str()))))
        }),
    }
}
