//! The search by e-mail address or by the partner's id. What a filter finds is checked: one passes some filters over, and
//! `*` is a wildcard in those of REST.

use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde_json::Value as Json;

use super::Iadvize;
use super::attributes::attribute;
use super::read::{Current, unusable};
use super::transport::{By, Haste, Seen};
use super::values::partner_of;
use crate::domain::{AccountId, AttributePath, Code, Failure, FailureClass, Snapshot, Value};
use crate::systems::SearchKey;

impl Iadvize {
    /// Operators that have a value, for each key, see [`System::search`](crate::systems::System::search).
    pub(super) async fn with_keys(
        &self,
        keys: &[SearchKey],
        haste: Option<Haste>,
    ) -> Result<Vec<Vec<Snapshot>>, Failure> {
        let searches: Vec<_> = keys.iter().map(|key| self.with_key(key, haste)).collect();
        stream::iter(searches).buffered(self.concurrency).try_collect().await
    }

    async fn with_key(&self, key: &SearchKey, haste: Option<Haste>) -> Result<Vec<Snapshot>, Failure> {
        let (by, value) = match key {
            SearchKey::Partner(partner) => (By::ExternalId, partner.as_str()),
            SearchKey::Attribute(path, text) if path.as_str() == "emails" => (By::Email, text.trim()),
            SearchKey::Attribute(path, _) => {
                let text = "operators are searched by emails and the partner's id only";
                let failure = Failure::new(FailureClass::Permanent, Code::known("not_searchable"), text);
                return Err(failure.at(path.clone()));
            }
        };
        let mut found = self.by_filter(by, value, key, haste).await?;
        // Whether the filter folds letter case is not known (R13), so small letters are tried as well.
        let lowered = value.to_lowercase();
        if by == By::Email && found.is_empty() && lowered != value {
            found = self.by_filter(by, &lowered, key, haste).await?;
        }
        Ok(found)
    }

    async fn by_filter(
        &self,
        by: By,
        value: &str,
        key: &SearchKey,
        haste: Option<Haste>,
    ) -> Result<Vec<Snapshot>, Failure> {
        let mut found: Vec<Snapshot> = Vec::new();
        let mut mark = None;
        loop {
            let listed = self.transport.find(by, value, mark.as_ref(), haste).await?;
            for user in listed.users {
                if !self.has(&user, key) {
                    continue;
                }
                // To leave it out would say that nobody has the value.
                match self.current(Seen { user, at: listed.at, lossy: listed.lossy }, haste).await? {
                    Current::Usable(current) => {
                        if found.iter().all(|known| known.account != current.1.account) {
                            found.push(current.1);
                        }
                    }
                    Current::Unreadable { code, attribute } => return Err(unusable(code, attribute)),
                }
            }
            match listed.next {
                Some(next) if Some(&next) != mark.as_ref() => mark = Some(next),
                _ => return Ok(found),
            }
        }
    }

    /// Whether an operator truly has the value.
    fn has(&self, user: &Json, key: &SearchKey) -> bool {
        match key {
            SearchKey::Partner(partner) => partner_of(self.transport.wire(), user).as_ref() == Some(partner),
            SearchKey::Attribute(path, wanted) => attribute(path).is_some_and(|attribute| {
                let held = user.get("email").and_then(Json::as_str).map(Value::from);
                attribute.comparison().equal(held.as_ref(), Some(&Value::from(wanted.as_str())))
            }),
        }
    }

    /// Whether somebody other than `own` has an e-mail address (R20).
    pub(super) async fn is_taken(&self, email: &str, own: Option<&AccountId>, haste: Haste) -> Result<bool, Failure> {
        let path: AttributePath = "emails".parse().expect("a constant path");
        let key = SearchKey::Attribute(path, email.to_owned());
        let holders = self.with_key(&key, Some(haste)).await?;
        Ok(holders.iter().any(|holder| Some(&holder.account) != own))
    }
}
