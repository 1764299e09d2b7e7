//! Why a value would be written, from what was known of the link before and what would be known of it.

use crate::domain::link::{Origin, Register};
use crate::domain::{AttributePath, Link, Side, SystemName, Timestamp, Value};

/// Why a value would be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// The account is to be created.
    Missing,
    /// The two accounts would be linked now, and the rules say whose value counts.
    FirstMatch,
    /// It was changed on the other side.
    Edited,
    /// It was changed on the other side, which is known already, and not written yet.
    Waiting,
    /// It was changed on this side, and the rules put the other side's value back.
    PutBack,
    /// The account on the other side may not be used any more.
    Left,
    /// The account on the other side may be used again.
    CameBack,
    /// The account on the other side is gone.
    Gone,
}

impl Reason {
    /// The word for machines.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::FirstMatch => "first_match",
            Self::Edited => "edited",
            Self::Waiting => "waiting",
            Self::PutBack => "put_back",
            Self::Left => "left",
            Self::CameBack => "came_back",
            Self::Gone => "gone",
        }
    }

    /// For people; `by` is the system on the other side, `at` when its value was set, in its clock.
    pub(super) fn text(self, by: &SystemName, at: Option<Timestamp>) -> String {
        let at = at.map_or(String::new(), |at| format!(" {at}"));
        match self {
            Self::Missing => format!("as in {by}"),
            Self::FirstMatch => format!("first match, {by} decides"),
            Self::Edited => format!("edited in {by}{at}"),
            Self::Waiting => format!("edited in {by}{at}, waits to be written"),
            Self::PutBack => format!("changed here, {by} decides"),
            Self::Left => format!("left {by}{at}"),
            Self::CameBack => format!("came back to {by}{at}"),
            Self::Gone => format!("gone from {by}"),
        }
    }
}

/// Why the value of an attribute would be written to `side` of a link that is there already. `was`: the link before.
pub(super) fn reason(link: &Link, was: Option<&Link>, side: Side, path: &AttributePath) -> Reason {
    let Some(register) = link.registers.get(path) else { return Reason::Edited };
    let before = was.filter(|was| was.epoch == link.epoch);
    let known = before.and_then(|was| was.registers.get(path));
    if path.is_active() && register.value == Some(Value::Bool(false)) && link.sides[side.other()].is_gone() {
        return Reason::Gone;
    }
    if before.is_none_or(|was| !was.is_paired()) && link.origin == Origin::FirstMatch {
        return Reason::FirstMatch;
    }
    if let Some(known) = known.filter(|known| known.generation == register.generation) {
        return if is_applied(known, side) { Reason::PutBack } else { Reason::Waiting };
    }
    match &register.value {
        Some(Value::Bool(false)) if path.is_active() => Reason::Left,
        Some(Value::Bool(true)) if path.is_active() => Reason::CameBack,
        _ => Reason::Edited,
    }
}

fn is_applied(register: &Register, side: Side) -> bool {
    register.applied[side] == register.generation
}
