//! What is noted of the last match of two systems' accounts.

use serde::{Deserialize, Serialize};

use crate::domain::{Epoch, RunId, Sides, Timestamp};

/// All accounts of both systems were read and compared, and who belongs together was linked. Before that, in each epoch,
/// nobody is created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatchNote {
    /// The store's epoch in which that was done. It says nothing of another one.
    pub epoch: Epoch,
    /// The rules' version by which it was done: with others the accounts are compared anew.
    pub version: u64,
    /// The run that it was made for.
    pub run: RunId,
    /// When it ended, in the store's clock.
    pub at: Timestamp,
    /// Pairs that a key found.
    pub matched: u64,
    /// Accounts of each side that share a value with several others, so that a person has to say who belongs to whom.
    pub ambiguous: Sides<u64>,
    /// Accounts of each side that may be used and have no counterpart.
    pub alone: Sides<u64>,
}
