//! What a store answers, where that is more than a word.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Claim;
use crate::domain::audit::End;
use crate::domain::{AccountId, DeadLetter, Epoch, LetterPlace, LinkId, Sides, Timestamp};

/// The store's memory of one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochState {
    /// Its id. All digests are keyed with it.
    pub id: Epoch,
    /// When it began, in the store's clock. A request from before may land until one lease and one request deadline
    /// later; what is read earlier than that is no base. `Timestamp(0)` where nobody can have sent a request before.
    pub began_at: Timestamp,
    /// The store's clock now.
    pub now: Timestamp,
}

/// Where the log of acts begins and ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActsEnds {
    /// The store's clock.
    pub now: Timestamp,
    /// The entry that was appended last; `None` before the first.
    pub last: Option<End>,
    /// The last one of those that are not kept any more; `None`: all are.
    pub anchor: Option<End>,
    /// How long an entry is kept at least.
    pub kept: Duration,
}

/// How long a measure of a system's clock stands against one that says less.
pub const CLOCK_KEPT: Duration = Duration::from_secs(60);

/// A page of accounts with the links that hold them, and where the next page begins (`None`: that was the last).
pub type AccountPage = (Vec<(AccountId, LinkId)>, Option<String>);

/// A page of claims with the links that hold them, and where the next page begins (`None`: that was the last).
pub type ClaimPage = (Vec<(Claim, LinkId)>, Option<String>);

/// A page of open letters, and behind which place the next page begins (`None`: that was the last).
pub type LetterPage = (Vec<DeadLetter>, Option<LetterPlace>);

/// Counts over all links of a connection, for `status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LinkCounts {
    /// Links.
    pub links: u64,
    /// Accounts claimed, by side.
    pub accounts: Sides<u64>,
    /// Open letters of the connection.
    pub letters: u64,
    /// Accounts that wait to be read again, by side.
    pub rereads: Sides<u64>,
    /// Links of which something waits for a person's approval.
    pub held: u64,
    /// Since when the first of them does.
    pub held_since: Option<Timestamp>,
    /// Links of which a write waits until nobody works with the account.
    pub deferred: u64,
    /// Since when the first of them does.
    pub deferred_since: Option<Timestamp>,
}
