//! What all workers know: of the systems, of each other, and of what a person stopped.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::StoreError;
use crate::domain::circuit::Circuit;
use crate::domain::guard::{Budget, Risk};
use crate::domain::{ConnectionName, Side, Timestamp};

/// What all workers know of one system.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SystemState {
    /// Nobody calls it before this time (store clock), because it asked for that or refused the credential.
    pub not_before: Option<Timestamp>,
    /// Why, for `status`: a code such as `throttled` or `unauthorised`.
    pub reason: Option<String>,
    /// Calls used and allowed in the system's own window, as it last said (Salesforce: 24 hours).
    pub usage: Option<(u64, u64)>,
    /// By how many milliseconds its clock is ahead of the store's, if that was measured.
    pub ahead_ms: Option<i64>,
    /// How its calls fare.
    #[serde(skip)]
    pub circuit: Circuit,
    /// When all of this was so, in the store's clock.
    #[serde(skip)]
    pub now: Timestamp,
}

impl SystemState {
    /// The same for whoever calls the system now: a pause that is over is none, and one whose calls fail is left alone.
    pub fn for_calls(mut self) -> Self {
        if self.not_before.is_some_and(|until| until <= self.now) {
            (self.not_before, self.reason) = (None, None);
        }
        if let Some(open) = &self.circuit.open {
            let until = open.probe_at.max(self.now + Duration::from_secs(1));
            (self.not_before, self.reason) = (Some(until), Some(open.symptom.code.to_string()));
        }
        self
    }
}

/// A process that works, for `status` and for `sync` to know whether somebody will serve it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// `producer`, `mapper` or `writer`.
    pub role: String,
    /// `host/pid`.
    pub name: String,
    /// Version of the program.
    pub version: String,
    /// When it was last heard of, in the store's clock.
    pub seen_at: Timestamp,
}

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
