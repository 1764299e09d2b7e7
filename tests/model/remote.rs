//! An outside system with one account: a clock of its own, a stamp of whole seconds, and what it can promise of a write.

use muster::domain::{Attributes, Side, Snapshot, Timestamp, Value, Version};

use super::setup::{Condition, GRAIN, Setup, account, edit_of, normalised};

#[derive(Debug, Clone)]
pub struct Remote {
    /// What the account holds; empty while there is none.
    pub values: Attributes,
    pub exists: bool,
    /// When it was last changed, in the one time that there is.
    pub modified: i64,
    /// Counts its states.
    pub version: i64,
    /// Its last state was not read, or not read settled.
    pub unread: bool,
    /// When its last state was read last; a second read in the same second would show the same.
    pub read_at: Option<i64>,
    /// Accounts that creations have left.
    pub created: u8,
    /// When the account was created.
    pub created_at: i64,
}

impl Remote {
    pub fn new(values: Attributes, exists: bool, now: i64) -> Self {
        Self { values, exists, modified: now, version: 0, unread: exists, read_at: None, created: 0, created_at: now }
    }

    pub fn change(&mut self, values: &Attributes, now: i64, normalises: bool) {
        for (path, value) in values {
            let value = value.clone().map(|value| if normalises { normalised(value) } else { value });
            self.values.insert(path.clone(), value);
        }
        self.modified = now;
        self.version += 1;
        self.unread = true;
        self.read_at = None;
    }

    /// What a read shows that counts from this moment on.
    pub fn look(&self, side: Side, setup: &Setup, counts_from: i64) -> Snapshot {
        let condition = setup.conditions[side];
        let stamp = clock(side, setup, self.modified).0.div_euclid(1_000) * 1_000;
        let version = Version {
            modified_at: (condition != Condition::Unstamped).then_some(Timestamp(stamp)),
            read_at: clock(side, setup, counts_from),
            tag: match condition {
                Condition::Tag => Some(self.version.to_string().into()),
                Condition::Unstamped => Some(self.contents().to_string().into()),
                Condition::Stamp | Condition::CheckFirst => None,
            },
        };
        // What we created says whose partner it is.
        let partner = (self.created > 0).then(|| account(side.other()));
        Snapshot { account: account(side), version, attributes: self.values.clone(), partner }
    }

    /// A number that stands for what the account holds.
    pub fn contents(&self) -> i64 {
        self.values.values().fold(0, |number, value| match value {
            Some(Value::Bool(flag)) => number * 64 + 62 + i64::from(*flag),
            _ => number * 64 + edit_of(value.as_ref()).map_or(0, |edit| 1 + i64::from(edit)),
        })
    }

    /// Whether a read that shows this leaves nothing to be read again. Accounts without stamps are all read in every
    /// run, hence once after the last change.
    pub fn is_settled_by(&self, snapshot: &Snapshot, sent: i64) -> bool {
        match snapshot.version.modified_at {
            Some(_) => snapshot.version.settled(GRAIN),
            None => sent > self.modified,
        }
    }
}

/// The clock of a system when this time has come.
pub fn clock(side: Side, setup: &Setup, now: i64) -> Timestamp {
    Timestamp(now + if side == Side::A { setup.a_ahead_ms } else { 0 })
}
