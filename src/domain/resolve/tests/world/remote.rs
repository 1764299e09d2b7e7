//! An outside system with one account: a clock of its own, a stamp of whole seconds, and what it can promise of a write.

use crate::domain::attribute::{AttributePath, Attributes, Value};
use crate::domain::id::{Epoch, Side};
use crate::domain::{Snapshot, Timestamp, Version};

use super::super::vocabulary::GRAIN;
use super::account;

/// What a write can be conditioned on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// An exact version tag (`If-Match`).
    Tag,
    /// The stamp (`If-Unmodified-Since`).
    Stamp,
    /// Nothing: the writer looks at the stamp just before it writes.
    CheckFirst,
    /// Nothing, and there is no stamp either: the writer reads the account just before it writes.
    Unstamped,
}

impl Condition {
    /// Whether an edit between the look and the write is overwritten unseen, which no rule can prevent.
    pub fn checks_before(self) -> bool {
        matches!(self, Self::CheckFirst | Self::Unstamped)
    }
}

/// A request of a writer.
#[derive(Debug, Clone)]
pub struct Request {
    pub side: Side,
    pub values: Attributes,
    /// The state that it is conditioned on, if the system can do that.
    pub base: Version,
    /// The last moment at which it can take effect.
    pub deadline: i64,
    /// When the account was looked at before it was sent.
    pub checked_at: i64,
    /// The epoch in which it was decided.
    pub epoch: Epoch,
}

pub struct Remote {
    side: Side,
    pub condition: Condition,
    ahead_ms: i64,
    pub values: Attributes,
    modified: i64,
    version: u64,
    /// Its last state was not read, or not read settled.
    pub unread: bool,
}

impl Remote {
    pub fn new(side: Side, condition: Condition, ahead_ms: i64, now: i64) -> Self {
        Self { side, condition, ahead_ms, values: Attributes::new(), modified: now, version: 0, unread: true }
    }

    /// The system's clock at this moment.
    pub fn clock(&self, now: i64) -> Timestamp {
        Timestamp(now + self.ahead_ms)
    }

    pub fn change(&mut self, path: &AttributePath, value: Option<Value>, now: i64) {
        self.values.insert(path.clone(), value);
        self.modified = now;
        self.version += 1;
        self.unread = true;
    }

    /// What a read shows that counts from this moment on.
    pub fn look(&self, counts_from: i64) -> Snapshot {
        let stamp = Timestamp((self.modified + self.ahead_ms).div_euclid(1_000) * 1_000);
        let version = Version {
            modified_at: (self.condition != Condition::Unstamped).then_some(stamp),
            read_at: self.clock(counts_from),
            tag: (self.condition == Condition::Tag).then(|| self.version.to_string().into()),
        };
        Snapshot { account: account(self.side), version, attributes: self.values.clone(), partner: None }
    }

    /// The producer's read. A stamped account is read until it was read settled; accounts without stamps are all read
    /// in every run, hence once after the last change.
    pub fn read(&mut self, sent: i64) -> Snapshot {
        let snapshot = self.look(sent);
        let settled = match self.condition {
            Condition::Unstamped => sent > self.modified + 1_000,
            _ => snapshot.version.settled(GRAIN),
        };
        self.unread &= !settled;
        snapshot
    }

    /// Whether the request's condition holds.
    pub fn allows(&self, request: &Request) -> bool {
        let now = self.look(0).version;
        match self.condition {
            Condition::Tag => now.tag == request.base.tag,
            Condition::Stamp => now.modified_at <= request.base.modified_at,
            Condition::CheckFirst | Condition::Unstamped => true,
        }
    }
}
