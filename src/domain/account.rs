//! What was seen of one account, and how old that sight is.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::attribute::Attributes;
use super::id::AccountId;
use super::time::Timestamp;

/// Two reads of one system are ordered by their times only when these differ by at least this much: the clock of a
/// system is known from its `Date` headers, which have whole seconds.
pub const READ_UNCERTAINTY: Duration = Duration::from_secs(1);

/// A stamp further ahead of its own system's clock than this is set aside: it would make every later state look stale.
pub const FUTURE_STAMP: Duration = Duration::from_secs(5 * 60);

/// When a state of an account was true, in that system's own clock. Versions of one side are compared only with each
/// other, never with the other side's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// The system's own stamp of the last change; absent if it has none.
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    pub modified_at: Option<Timestamp>,
    /// A read counts from the moment it was sent, a write from the moment its answer came (last `Date` header plus
    /// the time elapsed since).
    #[serde(rename = "r")]
    pub read_at: Timestamp,
    /// The system's version tag of this state (SCIM's ETag), for conditional writes; absent if it has none.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<Box<str>>,
}

/// How a version relates to another one of the same side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Surely later.
    Newer,
    /// The stamps cannot tell which came first.
    Tie,
    /// Surely earlier.
    Older,
}

impl Version {
    /// How `self` relates to `seen`: `modified_at` first, then `read_at`; without `modified_at` on both, `read_at` alone.
    pub fn against(&self, seen: &Self) -> Freshness {
        if let (Some(new), Some(old)) = (self.modified_at, seen.modified_at) {
            match new.cmp(&old) {
                std::cmp::Ordering::Greater => return Freshness::Newer,
                std::cmp::Ordering::Less => return Freshness::Older,
                std::cmp::Ordering::Equal => {}
            }
        }
        if self.read_at >= seen.read_at + READ_UNCERTAINTY {
            Freshness::Newer
        } else if seen.read_at >= self.read_at + READ_UNCERTAINTY {
            Freshness::Older
        } else {
            Freshness::Tie
        }
    }

    /// The version without a stamp that lies ahead of the moment of reading by more than [`FUTURE_STAMP`].
    pub fn without_future_stamp(mut self) -> Self {
        self.modified_at = self.modified_at.filter(|modified_at| *modified_at <= self.read_at + FUTURE_STAMP);
        self
    }

    /// Whether the stamps alone say that `self` is earlier than `seen`.
    pub fn is_stamped_before(&self, seen: &Self) -> bool {
        matches!((self.modified_at, seen.modified_at), (Some(own), Some(seen)) if own < seen)
    }

    /// The version of an answer to a write. It counts from the moment when the answer came, but what it shows is as old
    /// as the write: an edit just after that may carry the same stamp, so it is never settled.
    pub fn of_answer(mut self, grain: Duration) -> Self {
        if let Some(modified_at) = self.modified_at {
            self.read_at = self.read_at.min(modified_at + grain);
        }
        self
    }

    /// Whether no later change can carry the same stamp: it was read more than one `grain` of the stamp after it.
    /// A state without a stamp is never settled.
    pub fn settled(&self, grain: Duration) -> bool {
        self.modified_at.is_some_and(|modified_at| self.read_at > modified_at + grain)
    }
}

/// What one read showed of one account. Attributes that are absent were not seen: a partial snapshot is ordinary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The account's id in its system, in the one form that the connector settled on.
    pub account: AccountId,
    /// How old this sight is.
    pub version: Version,
    /// What was seen, under canonical names.
    pub attributes: Attributes,
    /// The other system's account that this one names as its partner, where the system has a field for it
    /// (SCIM's `externalId`). It finds links again after a loss of the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partner: Option<AccountId>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(modified: Option<i64>, read: i64) -> Version {
        Version { modified_at: modified.map(Timestamp), read_at: Timestamp(read), tag: None }
    }

    #[test]
    fn stamps_decide_before_reads() {
        for (new, seen, expected) in [
            (version(Some(2_000), 0), version(Some(1_000), 9_000), Freshness::Newer),
            (version(Some(1_000), 9_000), version(Some(2_000), 0), Freshness::Older),
            (version(Some(1_000), 3_000), version(Some(1_000), 2_000), Freshness::Newer),
            (version(Some(1_000), 2_000), version(Some(1_000), 3_000), Freshness::Older),
            (version(Some(1_000), 2_500), version(Some(1_000), 2_000), Freshness::Tie),
            (version(None, 4_000), version(None, 2_000), Freshness::Newer),
            (version(None, 2_000), version(Some(9_000), 4_000), Freshness::Older),
            (version(None, 2_000), version(None, 2_000), Freshness::Tie),
        ] {
            assert_eq!(new.against(&seen), expected, "{new:?} against {seen:?}");
        }
    }

    #[test]
    fn settled_means_read_after_the_stamps_grain() {
        let grain = Duration::from_secs(1);
        assert!(!version(Some(1_000), 1_500).settled(grain));
        assert!(!version(Some(1_000), 2_000).settled(grain));
        assert!(version(Some(1_000), 2_001).settled(grain));
        assert!(!version(None, 9_000).settled(grain));
    }
}
