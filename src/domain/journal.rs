//! What is kept of values that did not win, so that they can be given back (B5).

use serde::{Deserialize, Serialize};

use super::attribute::{AttributePath, Value};
use super::id::Side;

/// Why a value is kept in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JournalReason {
    /// It lost a clash (B5).
    ConflictLost,
    /// It was taken for our own hand, or overruled by a write that may have landed; it may have been a person's.
    MayBeAPersons,
    /// It was on hold, and a later edit settled the matter.
    Overruled,
    /// A person had pinned the attribute to the other side.
    Pinned,
    /// A person gave another value back in its place (B5).
    GivenBack,
}

impl JournalReason {
    /// Every reason, in the order in which tables show them.
    pub const ALL: [Self; 5] =
        [Self::ConflictLost, Self::MayBeAPersons, Self::Overruled, Self::Pinned, Self::GivenBack];

    /// The word that tables and `--json` use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConflictLost => "conflict_lost",
            Self::MayBeAPersons => "may_be_a_persons",
            Self::Overruled => "overruled",
            Self::Pinned => "pinned",
            Self::GivenBack => "given_back",
        }
    }
}

/// A value that did not win, kept so that it can be given back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// The attribute.
    pub path: AttributePath,
    /// The side whose value it was.
    pub side: Side,
    /// The value; `None` is a clear.
    pub value: Option<Value>,
    /// Why it is kept.
    pub reason: JournalReason,
    /// Generation of the register's value at that time: the one that it lost to.
    pub generation: u32,
}
