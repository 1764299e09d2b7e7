//! What a store keeps of changes, so that they can be decided again under other rules (B14).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::packed::{pack, unpack};
use super::{EntryId, StoreError};
use crate::domain::history::Verdict;
use crate::domain::{Change, Epoch, Link, LinkId, Timestamp};

/// A change as it was decided: all that the decision looked at, and what it came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// When it was decided, in the store's clock.
    pub at: Timestamp,
    /// How long it is kept.
    pub kept: Duration,
    /// The store's epoch.
    pub epoch: Epoch,
    /// The version of the rules.
    pub version: u64,
    /// By how many milliseconds the clock of side `a` was ahead of side `b`'s, where the rules looked at that.
    pub a_ahead_ms: Option<i64>,
    /// The change.
    pub change: Change,
    /// The link that it was found to belong to, as it was before; `None`: there was none.
    pub link: Option<Link>,
    /// The link of the partner that the account names, where it had one of its own.
    pub partner: Option<Link>,
    /// What was decided.
    pub verdicts: Vec<Verdict>,
}

/// A recorded change with its place in the history: later ones have later places.
pub type Told = (EntryId, Recorded);

/// The form in which it lies in a store.
#[derive(Serialize, Deserialize)]
struct Packed {
    #[serde(rename = "t")]
    at: Timestamp,
    #[serde(rename = "e")]
    epoch: Epoch,
    #[serde(rename = "k")]
    version: u64,
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    a_ahead_ms: Option<i64>,
    #[serde(rename = "c")]
    change: Change,
    #[serde(rename = "l", default, skip_serializing_if = "Option::is_none")]
    link: Option<(LinkId, String)>,
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    partner: Option<(LinkId, String)>,
    #[serde(rename = "d")]
    verdicts: Vec<Verdict>,
}

impl Recorded {
    /// As text. How long it is kept is no part of it.
    pub(super) fn packed(&self) -> String {
        let link = |link: &Option<Link>| link.as_ref().map(|link| (link.id, pack(link, link.revision)));
        let packed = Packed {
            at: self.at,
            epoch: self.epoch,
            version: self.version,
            a_ahead_ms: self.a_ahead_ms,
            change: self.change.clone(),
            link: link(&self.link),
            partner: link(&self.partner),
            verdicts: self.verdicts.clone(),
        };
        serde_json::to_string(&packed).expect("domain types have string keys, so they are JSON")
    }

    /// The recorded change that lies in a store as this text, under this id.
    pub(super) fn unpacked(id: &str, text: &str) -> Result<Self, StoreError> {
        let unreadable = || StoreError::Unusable(format!("entry {id} of the history is unreadable"));
        let packed: Packed = serde_json::from_str(text).map_err(|_| unreadable())?;
        let link = |stored: Option<(LinkId, String)>| {
            stored.map(|(id, text)| unpack(id, text.as_bytes()).map_err(|_| unreadable())).transpose()
        };
        Ok(Self {
            at: packed.at,
            kept: Duration::ZERO,
            epoch: packed.epoch,
            version: packed.version,
            a_ahead_ms: packed.a_ahead_ms,
            change: packed.change,
            link: link(packed.link)?,
            partner: link(packed.partner)?,
            verdicts: packed.verdicts,
        })
    }
}
