//! What guards ask of a store: places in budgets, and pauses.

use serde::{Deserialize, Serialize};

use super::StoreError;
use crate::domain::guard::{Budget, Risk};
use crate::domain::{ConnectionName, Side, Timestamp};

/// Writes of one kind to one side of a connection that ask for a place in their budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spend {
    /// The side that is written.
    pub side: Side,
    /// The kind.
    pub risk: Risk,
    /// Its budget.
    pub budget: Budget,
    /// Each write by a name of its own. One that has a place keeps it, and has it from now on anew.
    pub acts: Vec<String>,
}

/// Nobody writes, on one connection or on all, until a person says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// The connection; `None`: all of them.
    pub connection: Option<ConnectionName>,
    /// Since when, in the store's clock.
    pub since: Timestamp,
    /// Who said so: `user@host`.
    pub by: String,
}

impl Pause {
    /// What a store files the pause under.
    pub(crate) fn place(connection: Option<&ConnectionName>) -> &str {
        // No connection has this name, and it sorts before all that have one.
        connection.map_or("*", ConnectionName::as_str)
    }

    /// The pause that a store has there.
    pub(crate) fn at(place: &str, since: Timestamp, by: String) -> Result<Self, StoreError> {
        let unreadable = |_| StoreError::Unusable("a pause noted in the store is unreadable".to_owned());
        let connection = if place == Self::place(None) { None } else { Some(place.parse().map_err(unreadable)?) };
        Ok(Self { connection, since, by })
    }

    /// Whether it is one of this connection, alone or with all others.
    pub fn is_of(&self, connection: &ConnectionName) -> bool {
        self.connection.as_ref().is_none_or(|paused| paused == connection)
    }
}
