//! A change: what a producer saw of one account of one side.

use serde::{Deserialize, Serialize};

use super::account::Snapshot;
use super::attribute::AttributePath;
use super::failure::Code;
use super::id::{AccountId, ConnectionName, Epoch, RunId, Side};
use super::time::Timestamp;

/// Which of the two queues a message takes. Workers serve live work first, so an edit overtakes a bulk load (B18).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lane {
    /// An edit that somebody waits for; deactivations always.
    Live,
    /// First loads and reconciles.
    Bulk,
}

/// The place of a change in its run, by which its outcome is counted once however often it is delivered.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Cause {
    /// The run that read the account.
    pub run: RunId,
    /// The change's number within the run, from 0.
    pub number: u32,
}

/// What a producer saw of one account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The connection that it was read for.
    pub connection: ConnectionName,
    /// The side that was read.
    pub side: Side,
    /// Where its outcome is counted.
    pub cause: Cause,
    /// The store's epoch when the read was sent. A change of another epoch is not used.
    pub epoch: Epoch,
    /// What was seen.
    pub seen: Sighting,
}

/// What a read showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sighting {
    /// The account, or some of its attributes.
    Present {
        /// What was seen of it.
        snapshot: Snapshot,
    },
    /// Proof that the account is not there: a complete read did not list it *and* a probe by its id found nothing (B12).
    Absent {
        /// The account that is gone.
        account: AccountId,
        /// When the probe was sent, in the system's clock.
        read_at: Timestamp,
    },
    /// Proof that the account was merged into another one, which is left: no leaver, but another id.
    Merged {
        /// The account that is gone.
        account: AccountId,
        /// The account that is left.
        into: AccountId,
    },
    /// The system listed a record that cannot be used: text that is no UTF-8, a value over the size limit, no id.
    Unreadable {
        /// The account, if the record had a usable id.
        account: Option<AccountId>,
        /// What is wrong with it.
        code: Code,
        /// The attribute at fault, if it is one.
        attribute: Option<AttributePath>,
    },
}

impl Change {
    /// The account it is about, if the record had a usable id.
    pub fn account(&self) -> Option<&AccountId> {
        self.seen.account()
    }
}

impl Sighting {
    /// The account it is about, if the record had a usable id.
    pub fn account(&self) -> Option<&AccountId> {
        match self {
            Sighting::Present { snapshot } => Some(&snapshot.account),
            Sighting::Absent { account, .. } | Sighting::Merged { account, .. } => Some(account),
            Sighting::Unreadable { account, .. } => account.as_ref(),
        }
    }
}
