//! The home queues: every queue that a stage consumes.

use std::fmt;

use crate::domain::{ConnectionName, Lane, SystemName};

/// A home queue. Its name at the broker is the configured prefix, a dot, and what `Display` prints.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Queue {
    /// Live changes of all connections.
    Changes,
    /// Bulk changes of one connection, so that one cannot starve the others.
    ChangesBulk(ConnectionName),
    /// Live commands for one target.
    Commands(SystemName),
    /// Bulk commands for one target.
    CommandsBulk(SystemName),
}

impl Queue {
    /// Where changes of a connection go.
    pub fn changes(connection: &ConnectionName, lane: Lane) -> Self {
        match lane {
            Lane::Live => Self::Changes,
            Lane::Bulk => Self::ChangesBulk(connection.clone()),
        }
    }

    /// Where commands for a target go.
    pub fn commands(target: &SystemName, lane: Lane) -> Self {
        match lane {
            Lane::Live => Self::Commands(target.clone()),
            Lane::Bulk => Self::CommandsBulk(target.clone()),
        }
    }

    /// The queue of this name at a broker with this prefix; `None` for a name that is none of ours.
    pub fn parse(prefix: &str, name: &str) -> Option<Self> {
        let rest = name.strip_prefix(prefix)?.strip_prefix('.')?;
        if rest == "changes" {
            return Some(Self::Changes);
        }
        if let Some(connection) = rest.strip_prefix("changes.bulk.") {
            return connection.parse().ok().map(Self::ChangesBulk);
        }
        let target = rest.strip_prefix("commands.")?;
        match target.strip_suffix(".bulk") {
            Some(target) => target.parse().ok().map(Self::CommandsBulk),
            None => target.parse().ok().map(Self::Commands),
        }
    }
}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changes => f.write_str("changes"),
            Self::ChangesBulk(connection) => write!(f, "changes.bulk.{connection}"),
            Self::Commands(target) => write!(f, "commands.{target}"),
            Self::CommandsBulk(target) => write!(f, "commands.{target}.bulk"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for queue in [
            Queue::Changes,
            Queue::ChangesBulk("crm-chat".parse().unwrap()),
            Queue::Commands("chat".parse().unwrap()),
            Queue::CommandsBulk("chat".parse().unwrap()),
        ] {
            assert_eq!(Queue::parse("muster", &format!("muster.{queue}")), Some(queue));
        }
        for foreign in ["muster.dead", "other.changes", "muster.retry.5s", "muster.commands.Bad Name"] {
            assert_eq!(Queue::parse("muster", foreign), None, "{foreign}");
        }
    }
}
