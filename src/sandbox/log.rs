//! What the imitated systems received: every write in order, and how many requests of each kind. A judge that trusts
//! nobody reads only this.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch;

use super::clock::iso_ms;
use super::lock;

/// An imitated system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum System {
    /// Under `/services`.
    Salesforce,
    /// Under `/scim/v2`.
    Scim,
    /// Under `/iadvize`.
    Iadvize,
    /// Under `/salesscreen`.
    #[serde(rename = "salesscreen")]
    SalesScreen,
}

impl System {
    /// All of them, each with the first part of the paths under which it answers.
    const ALL: &[(Self, &'static str)] = &[
        (Self::Salesforce, "services"),
        (Self::Scim, "scim"),
        (Self::Iadvize, "iadvize"),
        (Self::SalesScreen, "salesscreen"),
    ];

    /// The system that answers under a path.
    pub fn of_path(path: &str) -> Option<Self> {
        let first = path.split('/').nth(1)?;
        Self::ALL.iter().find(|(_, known)| *known == first).map(|(system, _)| *system)
    }
}

/// Who wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Actor {
    /// A program, through the system's API.
    Client,
    /// A person, through the administrator's view of the sandbox.
    Administrator,
}

/// The attributes of a record at one moment, rendered only when somebody looks.
pub trait Contents: Send + Sync {
    /// All attributes, as the system's API names them.
    fn to_json(&self) -> Value;
}

/// One write that a system carried out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Write {
    /// Counts writes of all systems, from 1.
    pub sequence: u64,
    /// By the system's clock, `2026-11-21T10:15:30.123Z`.
    pub at: String,
    /// The system written to.
    pub system: System,
    /// Who wrote.
    pub actor: Actor,
    /// `POST`, `PUT`, `PATCH` or `DELETE`.
    pub method: &'static str,
    /// `User`, `Contact` or `Group`.
    pub object: String,
    /// Id of the record.
    pub account: String,
    /// Attributes before; absent for a creation.
    pub before: Option<Value>,
    /// Attributes after; absent for a deletion.
    pub after: Option<Value>,
    /// Whether any attribute is different now, stamps and versions aside.
    pub changed: bool,
    /// Whether the record is new.
    pub created: bool,
    /// The request that caused it, as in the answer's header `x-sandbox-request`; empty for an administrator's edit.
    pub request: String,
}

/// One request that a system answered, or was cut off from answering.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Request {
    /// Counts requests of all systems, from 1; its text is in the answer's header `x-sandbox-request`.
    pub id: String,
    /// By the system's clock, when it arrived.
    pub at: String,
    /// The system called.
    pub system: System,
    /// HTTP method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// What was asked for: `token`, `query`, `create`, ...
    pub operation: &'static str,
    /// HTTP status of the answer; 0 where the connection was cut instead.
    pub status: u16,
    /// The fault that struck, if one did.
    pub fault: Option<u64>,
}

/// What a system notes of a write; the log adds number and request.
pub(super) struct Entry {
    pub at_ms: i64,
    pub system: System,
    pub actor: Actor,
    pub method: &'static str,
    pub object: &'static str,
    pub account: String,
    pub before: Option<Arc<dyn Contents>>,
    pub after: Option<Arc<dyn Contents>>,
    pub changed: bool,
    pub request: String,
}

/// The requests kept one by one; older ones are only counted.
const REQUESTS_KEPT: usize = 20_000;

/// See the module.
pub(super) struct Log {
    writes: Mutex<Vec<Entry>>,
    requests: Mutex<Requests>,
    last_request: AtomicU64,
    /// Ticks at every entry and every hung request, for those who wait.
    tick: watch::Sender<u64>,
}

#[derive(Default)]
struct Requests {
    counts: BTreeMap<(System, &'static str, u16), u64>,
    latest: VecDeque<Request>,
}

impl Log {
    pub fn new() -> Self {
        Self {
            writes: Mutex::default(),
            requests: Mutex::default(),
            last_request: AtomicU64::new(0),
            tick: watch::Sender::new(0),
        }
    }

    /// A name for a request that just arrived.
    pub fn next_request(&self) -> String {
        format!("req-{:07}", self.last_request.fetch_add(1, Ordering::Relaxed) + 1)
    }

    pub fn wrote(&self, entry: Entry) {
        lock(&self.writes).push(entry);
        self.tick();
    }

    pub fn answered(&self, request: Request) {
        let mut requests = lock(&self.requests);
        *requests.counts.entry((request.system, request.operation, request.status)).or_default() += 1;
        if requests.latest.len() == REQUESTS_KEPT {
            requests.latest.pop_front();
        }
        requests.latest.push_back(request);
        drop(requests);
        self.tick();
    }

    /// Wakes those who wait for something to happen in the sandbox.
    pub fn tick(&self) {
        self.tick.send_modify(|tick| *tick += 1);
    }

    pub fn watch(&self) -> watch::Receiver<u64> {
        self.tick.subscribe()
    }

    pub fn write_count(&self) -> u64 {
        lock(&self.writes).len() as u64
    }

    /// The writes after this number.
    pub fn writes(&self, after: u64) -> Vec<Write> {
        let writes = lock(&self.writes);
        let skip = usize::try_from(after).unwrap_or(usize::MAX).min(writes.len());
        writes[skip..]
            .iter()
            .zip(after + 1..)
            .map(|(entry, sequence)| Write {
                sequence,
                at: iso_ms(entry.at_ms),
                system: entry.system,
                actor: entry.actor,
                method: entry.method,
                object: entry.object.to_owned(),
                account: entry.account.clone(),
                before: entry.before.as_ref().map(|contents| contents.to_json()),
                after: entry.after.as_ref().map(|contents| contents.to_json()),
                changed: entry.changed,
                created: entry.before.is_none(),
                request: entry.request.clone(),
            })
            .collect()
    }

    /// The latest requests, oldest first.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.requests).latest.iter().cloned().collect()
    }

    /// Requests by system, operation and status, since the start or since [`Self::clear`].
    pub fn request_counts(&self) -> BTreeMap<(System, &'static str, u16), u64> {
        lock(&self.requests).counts.clone()
    }

    /// Forgets all entries; numbers begin again with 1.
    pub fn clear(&self) {
        lock(&self.writes).clear();
        *lock(&self.requests) = Requests::default();
        self.tick();
    }
}
