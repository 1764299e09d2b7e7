//! What a configuration of the model sets: rules, systems, and how much of each trouble there may be.

use std::time::Duration;

use muster::domain::rules::{AttributeRule, Flow, Leavers, Policy, Rules};
use muster::domain::{AccountId, AttributePath, Epoch, Side, Sides, Value};

/// One step of the clocks. Everything between two steps happens in the same second of every stamp; what is read a step
/// after an edit is settled.
pub const STEP_MS: i64 = 2_000;

/// Leases end when a multiple of this has come: so late that no number of steps reaches it. That is an action of its own,
/// and all that was begun before ends with it.
pub const PERIOD_MS: i64 = 1_000_000_000;

/// How long a writer may send, as far as its lease lets it. A request may land until the lease is over, and a second more.
pub const DEADLINE: Duration = Duration::from_millis(PERIOD_MS as u64);

/// How long a lease lasts that begins at `now`.
pub fn lease(now: i64) -> Duration {
    Duration::from_millis(u64::try_from(PERIOD_MS - now % PERIOD_MS).unwrap())
}

/// The grain of every stamp.
pub const GRAIN: Duration = Duration::from_secs(1);

/// The epoch in which everything begins; a loss of the store begins the next one.
pub const FIRST_EPOCH: Epoch = Epoch(7);

/// What a write can be conditioned on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// An exact version tag (`If-Match`).
    Tag,
    /// The stamp (`If-Unmodified-Since`).
    Stamp,
    /// Nothing: the writer looks at the stamp just before it writes.
    CheckFirst,
    /// Nothing, and there is no stamp either: what the account holds is its tag, which the writer looks at just before it
    /// writes.
    Unstamped,
}

impl Condition {
    /// Whether an edit between the writer's look and its write is overwritten unseen, which no rule can prevent.
    pub fn looks_first(self) -> bool {
        matches!(self, Self::CheckFirst | Self::Unstamped)
    }
}

/// What the two sides hold in the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Both were read, and hold the same.
    InSync,
    /// Both are there, hold different values, and nobody has read them.
    Different,
    /// There is an account on `a` alone; it was read.
    OnlyA,
}

/// How much of what may happen, each counted down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Trouble {
    /// Edits by people.
    pub edits: u8,
    /// Processes killed, answers lost and requests left behind.
    pub crashes: u8,
    /// Leases that run out while their holder lives.
    pub expiries: u8,
    /// Changes delivered once more.
    pub duplicates: u8,
    /// Reads that nothing asks for.
    pub reads: u8,
    /// Reads in the second of the last change, which show it unsettled.
    pub hasty_reads: u8,
    /// Reads whose data are younger than they count.
    pub late_reads: u8,
    /// Reads that show one attribute only.
    pub partial_reads: u8,
    /// The store forgets everything but the pairing, or comes back as it was in the beginning.
    pub losses: u8,
}

/// A configuration of the model.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Its name in tables.
    pub name: &'static str,
    pub conditions: Sides<Condition>,
    /// Systems that trim, lower-case and cut what they are given.
    pub normalises: Sides<bool>,
    pub policy: Policy,
    /// Milliseconds by which `a`'s clock is ahead of `b`'s.
    pub a_ahead_ms: i64,
    pub attributes: u8,
    /// Who may edit which attribute.
    pub typists: Vec<(Side, u8)>,
    /// Whether people also put back what was there before.
    pub reuse: bool,
    pub writers: usize,
    /// Commands for one side that wait at once; one more is as good as the last of them.
    pub commands: u8,
    /// Whether a write is answered by a call that reads the account back, so that an edit may come between.
    pub reads_back: bool,
    pub start: Start,
    /// `b` refuses a second account for the same partner.
    pub unique_key: bool,
    /// How long an account of `b` is not found after it was created.
    pub search_lag: Duration,
    /// The `active` flag flows from `a` to `b`, and the person may leave and come back so often.
    pub leaver: bool,
    /// A loss brings back the link of the beginning instead of the bare pairing.
    pub restores: bool,
    pub trouble: Trouble,
}

impl Setup {
    /// Two systems with conditional writes, in sync; one attribute, two writers, no trouble at all.
    pub fn plain(name: &'static str) -> Self {
        Self {
            name,
            conditions: Sides { a: Condition::Stamp, b: Condition::Stamp },
            normalises: Sides::default(),
            policy: Policy::DefaultSystem(Side::A),
            a_ahead_ms: 0,
            attributes: 1,
            typists: vec![(Side::A, 0), (Side::B, 0)],
            reuse: false,
            writers: 2,
            commands: 1,
            reads_back: false,
            start: Start::InSync,
            unique_key: true,
            search_lag: Duration::ZERO,
            leaver: false,
            restores: false,
            trouble: Trouble { edits: 2, hasty_reads: 1, ..Trouble::default() },
        }
    }

    /// The connection's rules in an epoch.
    pub fn rules(&self, epoch: Epoch) -> Rules {
        let flow = |path: &AttributePath| if path.is_active() { Flow::Towards(Side::B) } else { Flow::Both };
        let rule = |path: AttributePath| (path.clone(), AttributeRule::new(path.clone(), flow(&path), self.policy));
        Rules {
            create: Sides { a: false, b: true },
            leavers: if self.leaver { Leavers::Deactivate } else { Leavers::Report },
            ..Rules::new("crm-scim".parse().unwrap(), epoch, self.paths().map(rule).collect(), GRAIN)
        }
    }

    /// The mapped attributes.
    pub fn paths(&self) -> impl Iterator<Item = AttributePath> {
        (0..self.attributes).map(path).chain(self.leaver.then(AttributePath::active))
    }

    /// Which decisions compare the two clocks with each other.
    pub fn compares_clocks(&self) -> bool {
        matches!(self.policy, Policy::LastWrite { .. })
    }
}

/// The attribute of this number.
pub fn path(attribute: u8) -> AttributePath {
    ["x", "y"][usize::from(attribute)].parse().unwrap()
}

/// The number of an attribute; `active` has the one after the last.
pub fn number(path: &AttributePath) -> u8 {
    match path.as_str() {
        "x" => 0,
        "y" => 1,
        _ => 2,
    }
}

/// The one account of a side.
pub fn account(side: Side) -> AccountId {
    format!("account-{side}").parse().unwrap()
}

/// What people type in their edit of this number; 0 is what both sides hold in the beginning. A system that normalises
/// keeps its first letters.
pub fn typed(edit: u8) -> Value {
    Value::Text(format!("V{edit} "))
}

/// What a system that trims, lower-cases and cuts keeps of a value.
pub fn normalised(value: Value) -> Value {
    match value {
        Value::Text(text) => Value::Text(text.trim().to_lowercase().chars().take(2).collect()),
        other => other,
    }
}

/// The edit that a value comes from.
pub fn edit_of(value: Option<&Value>) -> Option<u8> {
    let digits: String = value?.as_text()?.chars().filter(char::is_ascii_digit).collect();
    digits.parse().ok()
}
