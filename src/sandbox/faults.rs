//! Faults on demand: which requests are struck, and what happens to them.

mod answer;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::{NonZeroU64, NonZeroUsize};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch;

pub(super) use answer::{garble, instead};

use super::lock;
use super::log::System;

/// A fault: the requests that it strikes, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Which requests.
    #[serde(default)]
    pub on: Matcher,
    /// What happens to them.
    pub effect: Effect,
}

/// Which requests a fault strikes: those that fit all that is given, and of those every n-th, some, or the next few.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Matcher {
    /// Only this system.
    pub system: Option<System>,
    /// Only this HTTP method.
    pub method: Option<String>,
    /// Only where path and query contain this text.
    pub path: Option<String>,
    /// Only where the body contains this text: picks out one account.
    pub body: Option<String>,
    /// Every n-th that fits, the n-th first.
    pub every: Option<NonZeroU64>,
    /// A chance between 0 and 1, drawn from `seed`.
    pub probability: Option<f64>,
    /// See `probability`.
    pub seed: u64,
    /// So many times, then never again.
    pub times: Option<u64>,
}

/// What happens to a request that is struck.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Effect {
    /// 429, nothing applied.
    TooManyRequests {
        /// When to come again.
        #[serde(default)]
        retry_after: RetryAfter,
    },
    /// This status, nothing applied.
    Status {
        /// HTTP status.
        status: u16,
        /// What it says.
        #[serde(default)]
        body: FaultBody,
    },
    /// The request is carried out, but answered with this status.
    AppliedThenStatus {
        /// HTTP status.
        status: u16,
        /// What it says.
        #[serde(default)]
        body: FaultBody,
    },
    /// The connection is cut, nothing applied.
    Cut,
    /// The request is carried out, then the connection is cut without an answer.
    AppliedThenCut,
    /// The answer's JSON ends in the middle.
    TruncatedJson,
    /// 200, but the body is a login page in HTML; nothing applied.
    LoginPage,
    /// Carried out and answered after this many milliseconds.
    Slow {
        /// Milliseconds.
        ms: u64,
    },
    /// Held before anything happens, until released; then carried out, even if the client has gone meanwhile.
    Hang,
    /// Carried out at once, but the answer is held until released.
    AppliedThenHang,
    /// The session of the request ends just before it (SCIM: its token is refused this once).
    ExpiredSession,
    /// Lists have no entries, and say that there are none.
    EmptyList,
    /// Some records are missing from lists: always the same ones.
    PartialList {
        /// Of a thousand records, this many are missing.
        per_mille: u16,
        /// Whether the list's own count still includes them.
        totals: Totals,
    },
    /// One text in the middle of the answer is no UTF-8.
    InvalidUtf8,
    /// One text in the middle of the answer has this many bytes.
    HugeAttribute {
        /// Bytes; 4 MiB if not given.
        #[serde(default = "four_mebibytes")]
        bytes: usize,
    },
    /// 403 with `REQUEST_LIMIT_EXCEEDED`.
    RequestLimitExceeded,
    /// Salesforce: some records of a writing call are refused, the others are carried out.
    RefuseRows(RefusedRows),
    /// Salesforce: the first records of a writing call are carried out (none, if it asked for all or none), then the
    /// connection is cut without an answer.
    RowsThenCut {
        /// Records that are carried out.
        rows: usize,
    },
}

/// Which records of a writing call are refused, and with what words. A call about one record has one row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefusedRows {
    /// Such as `UNABLE_TO_LOCK_ROW`.
    pub code: String,
    /// What the org says to it.
    #[serde(default)]
    pub message: String,
    /// Fields that the refusal names.
    #[serde(default)]
    pub fields: Vec<String>,
    /// Only rows of which the client says this: an id, or part of a value.
    #[serde(default)]
    pub containing: Option<String>,
    /// Only every n-th row of a call, the n-th first.
    #[serde(default)]
    pub every: Option<NonZeroUsize>,
}

impl RefusedRows {
    /// Whether the row at this place of its call, counted from 0, is refused.
    pub(super) fn strikes(&self, number: usize, text: impl FnOnce() -> String) -> bool {
        self.every.is_none_or(|every| (number + 1).is_multiple_of(every.get()))
            && self.containing.as_ref().is_none_or(|part| text().contains(part.as_str()))
    }
}

/// What a fault does to the rows of a writing call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RowFault {
    Refuse(RefusedRows),
    /// Nothing happens after so many.
    StopAfter(usize),
}

fn four_mebibytes() -> usize {
    4 * 1024 * 1024
}

/// The header `Retry-After` of a 429.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RetryAfter {
    /// No such header.
    #[default]
    Absent,
    /// Seconds.
    Seconds(u64),
    /// An HTTP date, this many seconds from now by the system's clock.
    DateInSeconds(i64),
    /// Anything else, such as `soon` or `99999999999999`.
    Text(String),
}

/// What an answer says that is made up by a fault.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultBody {
    /// An error in the system's own shape.
    #[default]
    Native,
    /// A gateway's page.
    Html,
    /// Nothing.
    Empty,
    /// This.
    Json(Value),
}

/// Whether a list's count includes records that are withheld from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Totals {
    /// It does: the list is seen to be incomplete.
    Kept,
    /// It does not: the list looks complete.
    Reduced,
}

/// Records withheld from a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Withhold {
    per_mille: u16,
    pub totals: Totals,
}

impl Withhold {
    /// Whether a record is withheld: always the same ones.
    pub fn hides(self, id: &str) -> bool {
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        hasher.finish() % 1000 < u64::from(self.per_mille)
    }
}

impl Effect {
    /// What it withholds from lists.
    pub(super) fn withholds(&self) -> Option<Withhold> {
        match self {
            Self::EmptyList => Some(Withhold { per_mille: 1000, totals: Totals::Reduced }),
            Self::PartialList { per_mille, totals } => Some(Withhold { per_mille: *per_mille, totals: *totals }),
            _ => None,
        }
    }
}

impl Effect {
    /// What it does to single rows.
    pub(super) fn row_fault(&self) -> Option<RowFault> {
        match self {
            Self::RefuseRows(rows) => Some(RowFault::Refuse(rows.clone())),
            Self::RowsThenCut { rows } => Some(RowFault::StopAfter(*rows)),
            _ => None,
        }
    }
}

/// The faults in force, oldest first. The first that fits strikes.
pub(super) struct Faults {
    armed: Mutex<Vec<Armed>>,
    last_id: AtomicUsize,
    /// Goes up at every release.
    gate: watch::Sender<u64>,
    held: AtomicUsize,
}

struct Armed {
    id: u64,
    fault: Fault,
    fitted: u64,
    struck: u64,
    random: fastrand::Rng,
}

impl Faults {
    pub fn new() -> Self {
        Self {
            armed: Mutex::default(),
            last_id: AtomicUsize::new(0),
            gate: watch::Sender::new(0),
            held: AtomicUsize::new(0),
        }
    }

    /// Puts a fault in force; its id.
    pub fn arm(&self, fault: Fault) -> u64 {
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) as u64 + 1;
        let random = fastrand::Rng::with_seed(fault.on.seed);
        lock(&self.armed).push(Armed { id, fault, fitted: 0, struck: 0, random });
        id
    }

    /// Ends one fault; whether it was in force.
    pub fn disarm(&self, id: u64) -> bool {
        let mut armed = lock(&self.armed);
        let before = armed.len();
        armed.retain(|armed| armed.id != id);
        armed.len() < before
    }

    pub fn disarm_all(&self) {
        lock(&self.armed).clear();
    }

    /// (id, fault, times that it struck)
    pub fn in_force(&self) -> Vec<(u64, Fault, u64)> {
        lock(&self.armed).iter().map(|armed| (armed.id, armed.fault.clone(), armed.struck)).collect()
    }

    /// The fault that strikes a request, if one does.
    pub fn strike(&self, system: System, method: &str, path: &str, body: &[u8]) -> Option<(u64, Effect)> {
        lock(&self.armed).iter_mut().find_map(|armed| armed.strike(system, method, path, body))
    }

    /// Waits until all held requests are released. `noticed` runs once this one counts as held.
    pub async fn hold(&self, noticed: impl FnOnce()) {
        let mut gate = self.gate.subscribe();
        let closed = *gate.borrow_and_update();
        self.held.fetch_add(1, Ordering::SeqCst);
        noticed();
        // An error means that the sandbox is gone, which is a release as well.
        let _released = gate.wait_for(|opened| *opened != closed).await.is_ok();
        self.held.fetch_sub(1, Ordering::SeqCst);
    }

    /// Lets all held requests go on.
    pub fn release(&self) {
        self.gate.send_modify(|opened| *opened += 1);
    }

    /// Requests held now.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::SeqCst)
    }
}

impl Armed {
    fn strike(&mut self, system: System, method: &str, path: &str, body: &[u8]) -> Option<(u64, Effect)> {
        let on = &self.fault.on;
        let fits = on.system.is_none_or(|wanted| wanted == system)
            && on.method.as_ref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(method))
            && on.path.as_ref().is_none_or(|wanted| path.contains(wanted.as_str()))
            && on.body.as_ref().is_none_or(|wanted| contains(body, wanted.as_bytes()));
        if !fits || on.times.is_some_and(|times| self.struck >= times) {
            return None;
        }
        self.fitted += 1;
        let due = on.every.is_none_or(|every| self.fitted.is_multiple_of(every.get()))
            && on.probability.is_none_or(|probability| self.random.f64() < probability);
        if !due {
            return None;
        }
        self.struck += 1;
        Some((self.id, self.fault.effect.clone()))
    }
}

fn contains(body: &[u8], wanted: &[u8]) -> bool {
    wanted.is_empty() || body.windows(wanted.len()).any(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Which of the first twelve GETs of `/scim/v2/Users` are struck.
    #[track_caller]
    fn check(on: Value, expected: &[u64]) {
        let faults = Faults::new();
        faults.arm(serde_json::from_value(json!({"on": on, "effect": {"kind": "cut"}})).unwrap());
        let struck =
            (1..=12).filter(|_| faults.strike(System::Scim, "GET", "/scim/v2/Users?count=2", b"{\"a\":1}").is_some());
        let struck: Vec<u64> = struck.collect();
        assert_eq!(struck, expected, "{on}");
    }

    #[test]
    fn matchers_choose_requests() {
        let all: Vec<u64> = (1..=12).collect();
        check(json!({}), &all);
        check(json!({"system": "scim", "method": "get", "path": "/Users?", "body": "\"a\""}), &all);
        check(json!({"system": "salesforce"}), &[]);
        check(json!({"method": "POST"}), &[]);
        check(json!({"path": "/Groups"}), &[]);
        check(json!({"body": "\"b\""}), &[]);
        check(json!({"every": 5}), &[5, 10]);
        check(json!({"times": 2}), &[1, 2]);
        check(json!({"every": 3, "times": 2}), &[3, 6]);
        check(json!({"probability": 0.0}), &[]);
        check(json!({"probability": 1.0}), &all);
    }

    #[test]
    fn chance_is_the_same_for_the_same_seed() {
        let draw = |seed| {
            let faults = Faults::new();
            faults
                .arm(Fault { on: Matcher { probability: Some(0.5), seed, ..Matcher::default() }, effect: Effect::Cut });
            (0..64).map(|_| faults.strike(System::Scim, "GET", "/", b"").is_some()).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn faults_are_written_as_the_help_says() {
        for text in super::super::admin::FAULT_EXAMPLES.lines().filter(|line| !line.trim().is_empty()) {
            serde_json::from_str::<Effect>(text.trim()).unwrap_or_else(|error| panic!("{text}: {error}"));
        }
    }
}
