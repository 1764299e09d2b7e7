//! Values that lost a conflict, for a person and a program.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::access::Values;
use super::letters::{ValueView, given, shown};
use super::operations::Over;
use crate::broker::Broker;
use crate::domain::{ConnectionName, Side};
use crate::ops::conflicts::{self, Conflict};
use crate::ops::sync::UsageError;
use crate::store::Store;

/// Conflicts of a list, where nobody says how many, and at most.
const MOST: usize = 500;

/// Which conflicts are listed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct ConflictAsk {
    /// Only those of this connection.
    pub connection: Option<String>,
    /// Only those of this account, as `<system>:<id>`.
    pub account: Option<String>,
    /// Only those about this attribute.
    pub attribute: Option<String>,
    /// Those too that were given back or replaced.
    pub all: bool,
    /// Conflicts at most: 100, or up to 500.
    pub limit: Option<u32>,
}

/// Values that lost.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ConflictList {
    /// The newest first.
    pub conflicts: Vec<ConflictView>,
    /// Whether there are more.
    pub has_more: bool,
}

/// A value that lost.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ConflictView {
    /// Its id.
    pub conflict: String,
    /// The connection.
    pub connection: String,
    /// The system whose value it was.
    pub system: String,
    /// Both accounts.
    pub accounts: String,
    /// The value that lost.
    pub lost: ValueView,
    /// When.
    pub at: String,
    /// Why, in one word.
    pub reason: String,
    /// `lost`, `given_back` or `replaced`.
    pub state: String,
    /// Who gave it back.
    pub given_back_by: Option<String>,
}

/// One of them, with what both sides hold now.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ConflictPage {
    /// The value that lost.
    #[serde(flatten)]
    pub conflict: ConflictView,
    /// What both sides should have; absent if that is not known.
    pub should_be: Option<ValueView>,
    /// What each system holds today, as far as it says so.
    pub today: Vec<TodayView>,
    /// The system that alone counts for the attribute, since a person said so.
    pub pinned_to: Option<String>,
}

/// What a system holds today.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct TodayView {
    /// The system.
    pub system: String,
    /// The value; absent if the system did not say.
    pub value: Option<ValueView>,
}

impl ConflictView {
    fn new(conflict: &Conflict<'_>, values: Values) -> Self {
        let entry = &conflict.kept.entry;
        Self {
            conflict: conflict.name(),
            connection: conflict.connection.name.to_string(),
            system: conflict.connection.systems[entry.side].to_string(),
            accounts: conflict.accounts(),
            lost: shown(entry.attribute.as_str(), entry.value.as_ref(), values),
            at: entry.seen_at.to_string(),
            reason: entry.reason.as_str().to_owned(),
            state: conflict.state().to_owned(),
            given_back_by: conflict.given_back.as_ref().map(|given| given.by.clone()),
        }
    }
}

impl<B: Broker, S: Store> Over<B, S> {
    pub(super) async fn conflict_list(&self, ask: &ConflictAsk, values: Values) -> anyhow::Result<ConflictList> {
        let connection = given(&ask.connection).map(|name| {
            name.parse::<ConnectionName>().map_err(|_| UsageError::new(format!("`{name}` is no name of a connection")))
        });
        let filter = conflicts::Filter {
            connection: connection.transpose()?,
            account: given(&ask.account).map(str::to_owned),
            attribute: given(&ask.attribute).map(str::to_owned),
            ..conflicts::Filter::default()
        };
        let limit = ask.limit.map_or(100, |limit| usize::try_from(limit).unwrap_or(MOST)).clamp(1, MOST);
        let (found, has_more) = conflicts::list::gather(&self.pipeline, &filter, ask.all, limit).await?;
        Ok(ConflictList { conflicts: found.iter().map(|it| ConflictView::new(it, values)).collect(), has_more })
    }

    pub(super) async fn conflict_page(&self, id: &str, values: Values) -> anyhow::Result<ConflictPage> {
        let conflict = conflicts::find(&self.pipeline, id).await?;
        let standing = conflicts::show::standing(&self.pipeline, &conflict, false).await?;
        let path = conflict.kept.entry.attribute.as_str();
        let systems = &conflict.connection.systems;
        Ok(ConflictPage {
            should_be: standing.should_be.as_ref().map(|value| shown(path, value.as_ref(), values)),
            today: Side::BOTH
                .into_iter()
                .map(|side| TodayView {
                    system: systems[side].to_string(),
                    value: standing.today[side].as_ref().map(|value| shown(path, value.as_ref(), values)),
                })
                .collect(),
            pinned_to: standing.pinned_to.map(|side| systems[side].to_string()),
            conflict: ConflictView::new(&conflict, values),
        })
    }
}
