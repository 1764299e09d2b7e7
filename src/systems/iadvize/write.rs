//! Writing one operator. Only what was asked for is ever changed on an update (R9, R11).

use std::time::Duration;

use serde_json::Value as Json;
use tokio::time::Instant;

use super::attributes::{EXTERNAL_ID, attribute};
use super::read::{Current, unusable};
use super::rules::{check, exceeds_advice};
use super::transport::{Answered, Deleted, Fetched, Haste, Seen};
use super::values::{body, needs_tables};
use super::{Iadvize, Presence};
use crate::domain::deferral::InUse;
use crate::domain::{AccountId, AttributePath, Attributes, Code, Failure, FailureClass, Snapshot, Value, Version};
use crate::systems::{Action, Write, Written, not_offered};

/// Names in a write that the tables do not know are looked for again in tables not older than this.
const TABLES_AT_LEAST: Duration = Duration::from_secs(30);

impl Iadvize {
    /// Writes one operator, see [`System::write`](crate::systems::System::write).
    pub(super) async fn write_one(&self, write: &Write, deadline: Instant) -> Written {
        let haste = Haste { deadline, urgent: write.urgent };
        let in_use = match self.presence {
            Presence::Respect => write.in_use,
            Presence::Ignore => InUse::Override,
        };
        let result = match &write.action {
            Action::Create { partner } => self.create(partner, &write.values, haste).await,
            Action::Update { account, unless_changed_since } => {
                self.update(account, &write.values, unless_changed_since, in_use, haste).await
            }
            Action::Delete { account, unless_changed_since } => {
                self.delete(account, unless_changed_since, in_use, haste).await
            }
            Action::Remove { .. } => Err(not_offered()),
        };
        result.unwrap_or_else(Written::Failed)
    }

    /// Creates an operator, who gets a mail: so all that can be refused before is refused before (R18, R19).
    async fn create(&self, partner: &AccountId, values: &Attributes, haste: Haste) -> Result<Written, Failure> {
        let mut whole = self.defaults.clone();
        // A clear of what does not exist yet says nothing.
        whole.extend(
            values.iter().filter(|(_, value)| value.is_some()).map(|(path, value)| (path.clone(), value.clone())),
        );
        // It goes out with every creation anyhow.
        whole.retain(|path, _| path.as_str() != EXTERNAL_ID);
        let sent = self.sent(&whole, None, haste).await?;
        let taken = |attribute| Ok(Written::Exists { attribute: Some(attribute) });
        match self.transport.create(sent, partner, haste).await? {
            Answered::Done(Some(seen)) => self.holds_now(seen, haste).await,
            // It is found again by the partner's id.
            Answered::Done(None) => Err(in_doubt("the answer to the creation does not show the operator")),
            Answered::Absent(_) => Err(in_doubt("the answer to the creation says that there is no such operator")),
            Answered::Taken(attribute) => taken(attribute),
            Answered::MaybeTaken(failure) => match text_of(&whole, "emails") {
                Some(email) if self.is_taken(email, None, haste).await? => taken(emails()),
                _ => Err(failure),
            },
        }
    }

    async fn update(
        &self,
        account: &AccountId,
        values: &Attributes,
        decided_on: &Version,
        in_use: InUse,
        haste: Haste,
    ) -> Result<Written, Failure> {
        check(self.transport.wire(), values)?;
        let (user, before) = match self.transport.fetch("get", account, Some(haste)).await? {
            Fetched::Absent(asked_at) => return Ok(Written::Gone(asked_at)),
            Fetched::Found(seen) => self.usable(seen, haste).await?,
        };
        if moved(&before, decided_on) {
            return Ok(Written::Moved(before));
        }
        let differing = differing(values, &before);
        if differing.is_empty() {
            return Ok(Written::Done(before));
        }
        let sent = self.sent(&differing, Some(&user), haste).await?;
        if let Some(email) = text_of(&differing, "emails")
            && self.is_taken(email, Some(account), haste).await?
        {
            return Ok(Written::Exists { attribute: Some(emails()) });
        }
        // The last look before the call, so that the moment in between is short.
        if in_use == InUse::Spare && self.transport.is_connected(account, haste).await? {
            return Err(busy("logged_in", "the operator is logged in and would be thrown out"));
        }
        match self.transport.update(account, sent, haste).await? {
            Answered::Done(_) => self.taken_into_account(account, &differing, &before, haste).await,
            Answered::Taken(attribute) => Ok(Written::Exists { attribute: Some(attribute) }),
            Answered::MaybeTaken(failure) => match text_of(&differing, "emails") {
                Some(email) if self.is_taken(email, Some(account), haste).await? => {
                    Ok(Written::Exists { attribute: Some(emails()) })
                }
                _ => Err(failure),
            },
            Answered::Absent(asked_at) => Ok(Written::Gone(asked_at)),
        }
    }

    /// Deletes an operator (R25): their conversations and statistics stay, under the name "Deleted User". Who is logged in
    /// is left alone like for any change that may wait.
    async fn delete(
        &self,
        account: &AccountId,
        decided_on: &Version,
        in_use: InUse,
        haste: Haste,
    ) -> Result<Written, Failure> {
        let before = match self.transport.fetch("get", account, Some(haste)).await? {
            Fetched::Absent(asked_at) => return Ok(Written::Gone(asked_at)),
            Fetched::Found(seen) => self.usable(seen, haste).await?.1,
        };
        if moved(&before, decided_on) {
            return Ok(Written::Moved(before));
        }
        if in_use == InUse::Spare && self.transport.is_connected(account, haste).await? {
            return Err(busy("logged_in", "the operator is logged in and would be thrown out"));
        }
        match self.transport.delete(account, haste).await? {
            Deleted::Done => Ok(Written::Ended),
            Deleted::Absent(asked_at) => Ok(Written::Gone(asked_at)),
        }
    }

    /// Reads back what an update left (R23): the answer is the same whether it was taken into account or not.
    async fn taken_into_account(
        &self,
        account: &AccountId,
        sent: &Attributes,
        before: &Snapshot,
        haste: Haste,
    ) -> Result<Written, Failure> {
        let after = match self.transport.fetch("read_back", account, Some(haste)).await {
            Ok(Fetched::Found(seen)) => self.usable(seen, haste).await.map_err(Failure::in_doubt)?.1,
            Ok(Fetched::Absent(asked_at)) => return Ok(Written::Gone(asked_at)),
            Err(failure) => {
                let text = format!("the write was carried out but could not be read back: {}", failure.message);
                return Err(Failure { code: Code::known("read_back"), message: text.into(), ..failure }.in_doubt());
            }
        };
        let unchanged =
            |path: &AttributePath| holds(&after, path, before.attributes.get(path).and_then(Option::as_ref));
        let wanted = |path: &AttributePath, value: &Option<Value>| holds(&after, path, value.as_ref());
        let mut ignored = sent.iter().filter(|(path, value)| !wanted(path, value) && unchanged(path));
        let Some((path, _)) = ignored.next() else { return Ok(Written::Done(after)) };
        // Whoever came to work meanwhile explains it; anything else a person has to look at.
        let at_work = match self.presence {
            Presence::Respect => self.transport.is_connected(account, haste).await.map_err(Failure::in_doubt)?,
            Presence::Ignore => true,
        };
        if at_work {
            let text = "iAdvize did not take the change into account: the operator is in a conversation";
            return Err(busy("in_conversation", text).in_doubt());
        }
        let text = format!("iAdvize accepted attribute {path} and kept the old value");
        Err(Failure::new(FailureClass::Transient, Code::known("not_taken"), text).at(path.clone()).in_doubt())
    }

    /// What is sent of these values, after all checks.
    async fn sent(
        &self,
        values: &Attributes,
        current: Option<&Json>,
        haste: Haste,
    ) -> Result<serde_json::Map<String, Json>, Failure> {
        let wire = self.transport.wire();
        check(wire, values)?;
        if exceeds_advice(values) {
            tracing::warn!("An operator gets more chats at once than the 4 that iAdvize advises");
        }
        if !needs_tables(wire, values) {
            return body(wire, values, current, &super::Tables::default());
        }
        let tables = self.tables(None, Some(haste)).await?;
        match body(wire, values, current, &tables) {
            // It may have been made since.
            Err(failure) if failure.code.as_str().starts_with("unknown_") => {
                let tables = self.tables(Some(TABLES_AT_LEAST), Some(haste)).await?;
                body(wire, values, current, &tables)
            }
            other => other,
        }
    }

    async fn usable(&self, seen: Seen, haste: Haste) -> Result<(Json, Snapshot), Failure> {
        match self.current(seen, Some(haste)).await? {
            Current::Usable(current) => Ok(*current),
            Current::Unreadable { code, attribute } => Err(unusable(code, attribute)),
        }
    }

    /// A creation that was carried out.
    async fn holds_now(&self, seen: Seen, haste: Haste) -> Result<Written, Failure> {
        self.usable(seen, haste).await.map(|(_, snapshot)| Written::Done(snapshot)).map_err(Failure::in_doubt)
    }
}

/// The values that the operator does not have already.
fn differing(values: &Attributes, before: &Snapshot) -> Attributes {
    let differs = |path: &AttributePath, value: &Option<Value>| match (before.attributes.get(path), value) {
        // Byte for byte: a value that differs in letter case only is still written, since somebody asked for it.
        (Some(held), wanted) => held != wanted,
        (None, _) => true,
    };
    values
        .iter()
        .filter(|(path, value)| differs(path, value))
        .map(|(path, value)| (path.clone(), value.clone()))
        .collect()
}

/// Whether an operator has this value, as the system compares.
fn holds(snapshot: &Snapshot, path: &AttributePath, value: Option<&Value>) -> bool {
    let Some(attribute) = attribute(path) else { return false };
    // What is not shown cannot be said to be otherwise.
    snapshot.attributes.get(path).is_none_or(|held| attribute.comparison().equal(held.as_ref(), value))
}

/// Whether an operator is in another state than the one that a write was decided on: by what it holds.
fn moved(now: &Snapshot, decided_on: &Version) -> bool {
    now.version.tag.as_ref().zip(decided_on.tag.as_ref()).is_some_and(|(now, then)| now != then)
}

fn text_of<'v>(values: &'v Attributes, name: &str) -> Option<&'v str> {
    let (_, value) = values.iter().find(|(path, _)| path.as_str() == name)?;
    value.as_ref()?.as_text()
}

fn emails() -> AttributePath {
    "emails".parse().expect("a constant path")
}

fn busy(code: &'static str, text: &'static str) -> Failure {
    Failure::new(FailureClass::Busy, Code::known(code), text)
}

fn in_doubt(text: &'static str) -> Failure {
    Failure::new(FailureClass::Transient, Code::known("unreadable_answer"), text).in_doubt()
}
