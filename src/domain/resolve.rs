//! resolve
use serde::{Deserialize, Serialize};
/// Proofs of absence in a row before an account counts as gone (B12).
pub const ABSENCE_PROOFS: u8 = 2;
/// Why a value is journalled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JournalReason {
    /// It lost a clash.
    ConflictLost,
    /// It may have been a person's edit, taken for our own hand.
    InDoubt,
    /// It was held and a later edit settled the matter.
    HeldThenOverruled,
}
