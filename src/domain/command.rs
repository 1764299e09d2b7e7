//! A command: what the mapper asks of a writer.

use serde::{Deserialize, Serialize};

use super::change::{Cause, Lane};
use super::dead_letter::FailedAttempt;
use super::hold::Approval;
use super::id::{ConnectionName, LinkId, Side};

/// "Bring this side of this link up to date." It carries no values: what the side lacks is computed from the link when
/// the writer looks at it, so a command may come twice, late, or in another order.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Command {
    /// The connection of the link.
    pub connection: ConnectionName,
    /// The link whose side is behind.
    pub link: LinkId,
    /// The side to write to.
    pub side: Side,
    /// The change that brought this about; the outcome is counted under it and `side`.
    pub cause: Cause,
    /// The queue it takes.
    pub lane: Lane,
    /// What a person let pass, and this command is about. It travels here, so that nothing can come between the decision
    /// and the write that follows from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Box<Approval>>,
    /// The attempts at it that failed, oldest first: should it need a person, its letter tells them all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<FailedAttempt>,
}
