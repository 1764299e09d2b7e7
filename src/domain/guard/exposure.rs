//! What of a write does harm if it is a mistake, and which accounts are spared whatever the budgets say.

use std::collections::BTreeSet;
use std::hash::Hasher;

use siphasher::sip::SipHasher24;

use super::Risk;
use crate::domain::attribute::{AttributePath, Value};
use crate::domain::hold::{Hold, Stop, Why};
use crate::domain::id::{AccountId, Side, Sides};
use crate::domain::link::Link;
use crate::domain::pending::{Need, Pending};
use crate::domain::rules::{AttributeRule, Rules};
use crate::domain::time::Timestamp;

/// What a person signs in with or is written to at, as a side calls it.
const CALLED_BY: &[&str] = &["emails", "userName", "native.Email", "native.Username"];

/// What says which rights an account has, as a side calls it. Joining a group takes rights away as well (R39).
const RIGHTS: &[&str] = &["roles", "groups", "entitlements", "native.group", "native.ProfileId", "native.UserRoleId"];

/// A kind of write, and which values of a write are of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposure {
    /// The kind.
    pub risk: Risk,
    /// The values; none: the account as a whole.
    pub paths: Vec<AttributePath>,
}

impl Exposure {
    /// Names this act among all of its kind, on this side of the connection: the same write tried again, or delivered
    /// again, is the same act.
    pub fn act(&self, link: &Link, wanted: &Pending) -> String {
        let mut hasher = SipHasher24::new();
        let is_meant = |path: &AttributePath| self.paths.contains(path) || matches!(wanted.need, Need::Part { .. });
        for (path, generation) in wanted.generations.iter().filter(|(path, _)| is_meant(path)) {
            hasher.write(path.as_str().as_bytes());
            hasher.write_u8(0);
            hasher.write_u32(*generation);
        }
        format!("{}-{:016x}", link.id, hasher.finish())
    }
}

/// What of a write to `side` does harm if it is a mistake, in the order of [`Risk::ALL`]. What a person let pass is none of
/// it, unless the account is protected from it.
pub fn exposures(link: &Link, side: Side, wanted: &Pending, rules: &Rules) -> Vec<Exposure> {
    let is_new = |path: &&AttributePath| {
        // Where a write carries everything, most of it is there already.
        link.registers.get(*path).is_some_and(|register| register.applied[side] != register.generation)
    };
    let is_approved = |path: &AttributePath| {
        let hold = link.registers.get(path).and_then(|register| register.hold.as_ref());
        // A loop was let go on, whatever its values do.
        matches!(hold, Some(Hold::Stopped(stop)) if stop.is_approved() && stop.why != Why::Frozen)
    };
    let is_protected = is_protected(link, rules);
    let of = |risk: Risk| -> Option<Exposure> {
        let is_of = |path: &AttributePath, value: Option<&Value>| {
            let name = rules.attributes.get(path).map_or(path.as_str(), |rule| rule.names[side].as_str());
            match risk {
                Risk::Deactivate => *path == AttributePath::active() && value == Some(&Value::Bool(false)),
                Risk::EmailChange => CALLED_BY.contains(&name),
                Risk::RoleElevation => RIGHTS.contains(&name),
                Risk::MassClear => value.is_none(),
                Risk::Delete | Risk::Relink | Risk::Create => false,
            }
        };
        let may_pass = |path: &AttributePath| is_approved(path) && !(is_protected && spares(risk));
        let values = wanted.values.iter().filter(|(path, value)| is_of(path, value.as_ref()));
        let paths: Vec<_> =
            values.map(|(path, _)| path).filter(is_new).filter(|path| !may_pass(path)).cloned().collect();
        (!paths.is_empty()).then_some(Exposure { risk, paths })
    };
    match wanted.need {
        Need::Create { .. } => {
            let is_approved = link.sides[side].stop.as_ref().is_some_and(Stop::is_approved);
            let creation = Exposure { risk: Risk::Create, paths: Vec::new() };
            if is_approved { Vec::new() } else { vec![creation] }
        }
        Need::Part { how, .. } => {
            let risk = how.risk();
            let stop = link.sides[side].stop.as_ref().filter(|stop| stop.risk == Some(risk));
            let may_pass = stop.is_some_and(Stop::is_approved) && !is_protected;
            if may_pass { Vec::new() } else { vec![Exposure { risk, paths: Vec::new() }] }
        }
        // It only searches.
        Need::Find { .. } => Vec::new(),
        Need::Update { .. } => Risk::ALL.into_iter().filter_map(of).collect(),
    }
}

/// Notes that a guard stops this part of a write to `side`, at `now` in the store's clock.
pub fn stop(link: &Link, side: Side, exposure: &Exposure, why: Why, now: Timestamp) -> Link {
    let mut after = link.clone();
    if exposure.paths.is_empty() {
        after.sides[side].stop = Some(Stop::new(why, exposure.risk, now));
    }
    for path in &exposure.paths {
        if let Some(register) = after.registers.get_mut(path) {
            register.hold = Some(Hold::Stopped(Stop::new(why, exposure.risk, now)));
        }
    }
    after
}

/// Accounts that are spared: never deactivated, deleted, renamed or relinked by Muster, whatever the budgets say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Protected {
    /// By their ids.
    pub accounts: Sides<BTreeSet<AccountId>>,
    /// By their e-mail addresses or user names.
    pub names: Vec<String>,
}

/// Whether protected accounts are spared writes of this kind.
pub fn spares(risk: Risk) -> bool {
    match risk {
        Risk::Deactivate | Risk::Delete | Risk::EmailChange | Risk::Relink => true,
        Risk::RoleElevation | Risk::MassClear | Risk::Create => false,
    }
}

/// Whether the two accounts of a link are protected: one of them is named, or was found to fit the condition when it was
/// last read.
pub fn is_protected(link: &Link, rules: &Rules) -> bool {
    Side::BOTH.into_iter().any(|side| {
        let state = &link.sides[side];
        let Protected { accounts, names } = &rules.protected;
        let by_id = state.account.as_ref().is_some_and(|account| accounts[side].contains(account));
        // By what it is called today, not by what it is about to be called.
        let is_called =
            |rule: &AttributeRule| matches!(rule.sources(side), [only] if CALLED_BY.contains(&only.as_str()));
        let called = rules.attributes.iter().filter(|(_, rule)| is_called(rule));
        let by_name = || {
            called.clone().any(|(path, rule)| {
                let Some(seen) = state.seen.get(path) else { return false };
                names.iter().any(|name| {
                    let kept = rule.mapping.enter(side, &[Some(Value::from(name.as_str()))], &rule.comparison);
                    kept.is_ok_and(|kept| *seen == rules.digest(side, path, kept.as_ref()))
                })
            })
        };
        state.protected || by_id || by_name()
    })
}
