//! Runs and those who read for them: positions, leases, counts, requests.

use serde::{Deserialize, Serialize};

use crate::domain::schedule::Slot;
use crate::domain::{AccountId, ChangeOutcome, CommandOutcome, RunId, Side, Sides, Timestamp};

/// Where the reader of one side stands. Replaced as a whole, only by the holder of the reader's lease.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ReaderState {
    /// Where the next incremental read begins: the connector's own text, opaque here. Absent before the first complete
    /// read of this epoch.
    pub watermark: Option<String>,
    /// The read under way, if one was begun and not finished.
    pub active: Option<ActiveRead>,
}

impl ReaderState {
    /// What is left of it in another epoch: nothing but numbers that were reserved and perhaps never published, since
    /// their run may outlive the epoch and has to add up. What is read for it then is read from the beginning.
    pub fn of_another_epoch(self) -> Self {
        let active = self.active.filter(|active| active.reserved.is_some());
        Self { watermark: None, active: active.map(|active| ActiveRead { complete: true, position: None, ..active }) }
    }
}

/// A read under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActiveRead {
    /// The run that it belongs to.
    pub run: RunId,
    /// Whether it reads every account (a reconcile), or only those changed since the watermark.
    pub complete: bool,
    /// The connector's position: what was published up to here is durable. Absent at the beginning.
    pub position: Option<String>,
    /// Numbers reserved for a page that is being published: `(first, count)`. Found by the next holder of the lease,
    /// it means that some of them may never have been published.
    pub reserved: Option<(u32, u32)>,
}

/// Something that reads or works for a while and must be alone: named in Redis keys.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LeaseName {
    /// The reader of one side.
    Reader(Side),
    /// Whoever begins and ends the runs of the connection.
    Runs,
    /// Whoever tells people how the connection stands.
    Watch,
}

/// What kind of run it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunKind {
    /// Incremental where a watermark allows it, else complete.
    Sync,
    /// Every account of both sides.
    Reconcile,
    /// One account.
    Only,
    /// Dead letters that a person sent again, or held writes that a person let pass.
    Retry,
    /// The hourly bucket in which live changes are counted. Never "over".
    Live,
}

/// A run and its counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// What it reads.
    pub kind: RunKind,
    /// Who or what began it: `user@host`, or `schedule`.
    pub by: String,
    /// When it began, in the store's clock.
    pub began_at: Timestamp,
    /// For [`RunKind::Only`]: the account.
    pub only: Option<(Side, AccountId)>,
    /// The slot of the schedule that it serves, if it serves one.
    #[serde(default)]
    pub slot: Option<Slot>,
    /// Which sides have still to be read to their end.
    pub reading: Sides<bool>,
    /// Numbers given out so far: every change that was read.
    pub read: u32,
    /// Accounts that the systems say there are, if they said so: for progress and time left.
    pub expected: Option<u64>,
    /// Changes by outcome.
    pub changes: Vec<(ChangeOutcome, u32)>,
    /// Commands emitted.
    pub emitted: u32,
    /// Commands by outcome.
    pub commands: Vec<(CommandOutcome, u32)>,
    /// Why it ended before its end (a system that could not be read), if it did.
    pub failed: Option<String>,
}

impl Run {
    /// One that reads nothing, and of which nothing is counted yet.
    pub fn new(id: RunId, kind: RunKind, by: String, began_at: Timestamp) -> Self {
        Self {
            id,
            kind,
            by,
            began_at,
            only: None,
            slot: None,
            reading: Sides::default(),
            read: 0,
            expected: None,
            changes: Vec::new(),
            emitted: 0,
            commands: Vec::new(),
            failed: None,
        }
    }

    /// Changes that have no outcome yet.
    pub fn changes_in_flight(&self) -> i64 {
        i64::from(self.read) - self.changes.iter().map(|(_, count)| i64::from(*count)).sum::<i64>()
    }

    /// Commands that have no outcome yet.
    pub fn commands_in_flight(&self) -> i64 {
        i64::from(self.emitted) - self.commands.iter().map(|(_, count)| i64::from(*count)).sum::<i64>()
    }

    /// Whether everything was read and nothing is in flight (B16).
    pub fn is_over(&self) -> bool {
        !self.reading.a && !self.reading.b && self.changes_in_flight() == 0 && self.commands_in_flight() == 0
    }

    /// How many changes had this outcome.
    pub fn changes(&self, outcome: ChangeOutcome) -> u32 {
        self.changes.iter().filter(|(o, _)| *o == outcome).map(|(_, count)| count).sum()
    }

    /// How many commands had this outcome.
    pub fn commands(&self, outcome: CommandOutcome) -> u32 {
        self.commands.iter().filter(|(o, _)| *o == outcome).map(|(_, count)| count).sum()
    }
}

/// A "sync now" (R63) that waits for a producer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncRequest {
    /// The run that it asks for; whoever asked follows it by this id.
    pub run: RunId,
    /// What it shall read.
    pub kind: RunKind,
    /// Who asked.
    pub by: String,
    /// For [`RunKind::Only`]: the account.
    pub only: Option<(Side, AccountId)>,
}
