//! A state of the model: the link, the two systems, what is under way, and what people know.

use std::hash::{Hash, Hasher};

use muster::domain::link::Link;
use muster::domain::pending::Pending;
use muster::domain::{Attributes, Epoch, Side, Sides, Snapshot, Token, Version};

use super::judge::Judge;
use super::remote::Remote;
use super::setup::Trouble;

#[derive(Debug, Clone)]
pub struct State {
    /// Milliseconds on the store's clock; the systems' clocks differ from it by what the setup says.
    pub now: i64,
    /// The store's.
    pub epoch: Epoch,
    /// Until then, a read of the present epoch is no base.
    pub quarantine_until: i64,
    pub link: Link,
    pub systems: Sides<Remote>,
    /// Published and not mapped, in no order.
    pub changes: Vec<Change>,
    /// Commands in the broker. They say nothing but their side, so one more may be as good as the last.
    pub commands: Sides<u8>,
    pub writers: Vec<Writer>,
    /// Requests that nobody waits for any more and that may still land.
    pub left_behind: Vec<Request>,
    /// Since when an account is asked to be read again.
    pub asked: Sides<Option<i64>>,
    /// Reads under way: since when they count, and their epoch.
    pub reading: Sides<Option<(i64, Epoch)>>,
    /// The person of the `active` flag may still leave or come back so often.
    pub moves: u8,
    pub trouble: Trouble,
    pub tokens: u64,
    pub judge: Judge,
    /// Stands for all that matters of this state: see [`super::rank`].
    pub code: u64,
}

/// What a read showed, on its way to the mapper.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    pub side: Side,
    pub snapshot: Snapshot,
    /// The store's epoch when the read was sent.
    pub epoch: Epoch,
    /// Commands that were counted as emitted and perhaps never published.
    pub owed: Sides<bool>,
}

#[derive(Debug, Clone)]
pub enum Writer {
    Idle,
    /// The intent is noted.
    Begun(Work),
    /// A search found nothing, or the account was found unchanged.
    Checked(Work),
    /// The request was answered; what it left is still to be read back.
    Unread(Work),
    /// The answer is known.
    Answered(Work, Snapshot),
    /// The account was found changed: nothing was written.
    Moved(Work, Snapshot),
}

#[derive(Debug, Clone)]
pub struct Work {
    pub side: Side,
    pub token: Token,
    pub wanted: Pending,
    pub request: Request,
    pub send_until: i64,
    pub lease_until: i64,
    /// The epoch in which it began: whatever it sees belongs to that one.
    pub epoch: Epoch,
}

#[derive(Debug, Clone)]
pub struct Request {
    pub side: Side,
    pub values: Attributes,
    /// The state that it is conditioned on, if the system can do that; `None`: it creates the account.
    pub base: Option<Version>,
    /// The last moment at which it can land.
    pub land_until: i64,
    /// What was seen when the account was looked at last before it was sent.
    pub checked: Option<Attributes>,
    pub epoch: Epoch,
}

impl Writer {
    pub fn work(&self) -> Option<&Work> {
        match self {
            Self::Idle => None,
            Self::Begun(work) | Self::Checked(work) | Self::Unread(work) => Some(work),
            Self::Answered(work, _) | Self::Moved(work, _) => Some(work),
        }
    }

    pub fn is_idle(&self) -> bool {
        matches!(self, Self::Idle)
    }
}

impl State {
    /// Publishes what was seen of an account; the very same sight twice is a matter of delivery.
    pub fn publish(&mut self, side: Side, snapshot: Snapshot, epoch: Epoch) {
        let change = Change { side, snapshot, epoch, owed: Sides::default() };
        if !self.changes.contains(&change) {
            self.changes.push(change);
        }
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.code.hash(state);
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.code == other.code
    }
}
