//! The search: by filter, and where a server has none to rely on, by looking through the roster.

use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde_json::{Value as Json, json};
use tokio::time::Instant;

use super::Scim;
use super::attributes::attribute;
use super::client::List;
use super::listing::{After, Position};
use super::profile::{Profile, Seen};
use super::resource::{member, partner_of, read, text_of, value_of};
use crate::domain::{AttributePath, Code, Comparison, Failure, FailureClass, Snapshot, Value};
use crate::systems::{Record, SearchKey};

/// Values are found by servers that fold letter case as well as by those that do not.
const FOLDED: Comparison = Comparison { fold_case: true, trim: true, empty_is_clear: false };

/// Whether servers are asked for accounts by this attribute: by others most do not filter.
pub(super) fn is_searched(attribute: &AttributePath) -> bool {
    matches!(attribute.as_str(), "userName" | "emails")
}

impl Scim {
    /// Accounts that have a value, for each key, see [`System::search`](crate::systems::System::search). Keys that the
    /// server cannot search by share one walk through the roster.
    pub(super) async fn with_keys(
        &self,
        keys: &[SearchKey],
        deadline: Option<Instant>,
    ) -> Result<Vec<Vec<Snapshot>>, Failure> {
        let profile = self.client.profile(deadline).await?;
        let searches: Vec<_> = keys.iter().map(|key| self.by_filter(key, &profile, deadline)).collect();
        let found: Vec<Option<Vec<Snapshot>>> = stream::iter(searches).buffered(self.concurrency).try_collect().await?;
        let left: Vec<&SearchKey> =
            keys.iter().zip(&found).filter(|(_, found)| found.is_none()).map(|(key, _)| key).collect();
        let mut listed = match left.is_empty() {
            true => Vec::new(),
            false => self.look_through(None, &left, &profile, deadline).await?.unwrap_or_default(),
        }
        .into_iter();
        Ok(found.into_iter().map(|found| found.or_else(|| listed.next()).unwrap_or_default()).collect())
    }

    /// Accounts that have a value, if the server's filter can be relied on.
    async fn by_filter(
        &self,
        key: &SearchKey,
        profile: &Profile,
        deadline: Option<Instant>,
    ) -> Result<Option<Vec<Snapshot>>, Failure> {
        let (name, value) = match key {
            SearchKey::Partner(partner) => ("externalId", json!(partner)),
            SearchKey::Attribute(path, text) => match path.as_str() {
                "userName" => ("userName", json!(text)),
                "emails" => ("emails.value", json!(text)),
                _ => {
                    let code = Code::known("invalid_filter");
                    let text = "SCIM accounts are searched by userName, emails and external id only";
                    return Err(Failure::new(FailureClass::Permanent, code, text).at(path.clone()));
                }
            },
        };
        // What the others of this very batch taught counts as well.
        if !profile.filters_by(name) || !self.client.profile(deadline).await?.filters_by(name) {
            return Ok(None);
        }
        let filter = format!("{name} eq {value}");
        match self.look_through(Some(&filter), &[key], profile, deadline).await {
            Ok(found) => Ok(found.map(|mut found| found.remove(0))),
            // Nothing was found out, neither that there is such an account nor that there is none.
            Err(failure) if failure.code.as_str() == "invalid_filter" => {
                self.client.learn(Seen::FilterRefused(name));
                Ok(None)
            }
            Err(failure) if matches!(failure.status, Some(400 | 501)) && failure.class == FailureClass::Permanent => {
                Ok(None)
            }
            Err(failure) => Err(failure),
        }
    }

    /// Walks through the roster, or what a filter leaves of it, for the accounts that have the value of each key.
    /// `None` if the filter is passed over.
    async fn look_through(
        &self,
        filter: Option<&str>,
        keys: &[&SearchKey],
        profile: &Profile,
        deadline: Option<Instant>,
    ) -> Result<Option<Vec<Vec<Snapshot>>>, Failure> {
        let (asked, by_cursor) = (self.count(profile), profile.declared.cursor);
        let mut position = Position::start(0);
        let mut found = vec![Vec::new(); keys.len()];
        loop {
            let mut query = position.query(asked, by_cursor);
            query.extend(filter.map(|filter| ("filter", filter.to_owned())));
            let list = self.client.list("search", &query, deadline).await?;
            if filter.is_some()
                && list.resources.iter().any(|resource| keys.iter().all(|key| !could_fit(resource, key)))
            {
                self.client.learn(Seen::FilterIgnored);
                return Ok(None);
            }
            for (key, found) in keys.iter().zip(&mut found) {
                matching(&list, key, found)?;
            }
            match position.passed(list.shown(), asked, by_cursor) {
                After::More => {}
                After::End if position.fell_short() => {
                    let code = Code::known("incomplete_list");
                    let text = "the server listed fewer accounts than it says the search finds";
                    return Err(Failure::new(FailureClass::Transient, code, text));
                }
                After::End => return Ok(Some(found)),
            }
        }
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

/// Whether a filter can have found a resource for a key: also one with the address in another entry than ours, or in
/// another letter case.
fn could_fit(resource: &Json, key: &SearchKey) -> bool {
    let equal = |found: &str, wanted: &str| FOLDED.equal(Some(&Value::from(found)), Some(&Value::from(wanted)));
    let text = |name: &str| member(resource, name).and_then(text_of);
    match key {
        SearchKey::Partner(partner) => text("externalId").is_some_and(|id| equal(&id, partner.as_str())),
        SearchKey::Attribute(path, wanted) if path.as_str() == "emails" => {
            let entries = member(resource, "emails").and_then(Json::as_array).into_iter().flatten();
            let mut values = entries.filter_map(|entry| member(entry, "value").or(Some(entry)).and_then(text_of));
            values.any(|value| equal(&value, wanted))
        }
        SearchKey::Attribute(path, wanted) => text(path.as_str()).is_some_and(|found| equal(&found, wanted)),
    }
}
