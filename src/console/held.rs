//! What guards have stopped, for a person and a program.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::access::Values;
use super::letters::{ValueView, given, shown};
use super::operations::Over;
use crate::broker::Broker;
use crate::domain::ConnectionName;
use crate::domain::guard::Risk;
use crate::ops::held;
use crate::ops::sync::UsageError;
use crate::store::Store;

/// Held writes of a list at most.
const MOST: usize = 500;

/// Which held writes are listed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct HeldAsk {
    /// Only those of this connection.
    pub connection: Option<String>,
    /// Only those of this kind, such as `deactivate` or `email_change`.
    pub risk: Option<String>,
    /// Only those of this account, as `<system>:<id>`.
    pub account: Option<String>,
    /// What was rejected or has expired, too.
    pub rejected: bool,
}

/// What is held.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct HeldList {
    /// The writes, the longest waiting first; at most 500.
    pub held: Vec<HeldView>,
    /// How many there are.
    pub count: usize,
}

/// A write that is held.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct HeldView {
    /// The write; by it a person decides about this one and no other. A value that changes gets another.
    pub write: String,
    /// The connection.
    pub connection: String,
    /// The account, as `<system>:<id>`.
    pub account: String,
    /// What would be written, in words.
    pub what: String,
    /// The attribute and its value; absent where the account as a whole is meant.
    pub value: Option<ValueView>,
    /// The kind of write.
    pub risk: Option<String>,
    /// Why it was stopped, in one word.
    pub reason: String,
    /// Since when it waits.
    pub since: String,
    /// `waiting`, `rejected`, or `expired`: nobody decided in time.
    pub state: String,
}

impl<B: Broker, S: Store> Over<B, S> {
    pub(super) async fn held_list(&self, ask: &HeldAsk, values: Values) -> anyhow::Result<HeldList> {
        let risk = given(&ask.risk).map(|word| {
            let known = Risk::ALL.into_iter().find(|risk| risk.as_str() == word);
            known.ok_or_else(|| UsageError::new(format!("`{word}` is no kind of write")))
        });
        let connection = given(&ask.connection).map(|name| {
            name.parse::<ConnectionName>().map_err(|_| UsageError::new(format!("`{name}` is no name of a connection")))
        });
        let filter = held::Filter {
            connection: connection.transpose()?,
            risk: risk.transpose()?,
            accounts: given(&ask.account).map(str::to_owned).into_iter().collect(),
            writes: Vec::new(),
            rejected: ask.rejected,
        };
        let items = held::gather(&self.pipeline, &filter).await?;
        let view = |item: &held::Item| {
            let value = item.path.as_ref().map(|path| shown(path.as_str(), item.value.as_ref(), values));
            let what =
                value.as_ref().map_or_else(|| item.what(), |value| format!("{} = {}", value.attribute, value.text));
            HeldView {
                write: item.key().to_string(),
                connection: item.connection.to_string(),
                account: item.name(),
                what,
                value,
                risk: item.stop.as_ref().and_then(|stop| stop.risk).map(|risk| risk.as_str().to_owned()),
                reason: item.reason().to_owned(),
                since: item.since.to_string(),
                state: item.state.as_str().to_owned(),
            }
        };
        Ok(HeldList { held: items.iter().take(MOST).map(view).collect(), count: items.len() })
    }
}
