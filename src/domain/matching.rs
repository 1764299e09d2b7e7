//! Who belongs to whom where two systems meet for the first time and both have accounts. Keys are tried in order; a value
//! that two accounts of one side share tells nobody apart, so those accounts wait for a person.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hasher;

use serde::{Deserialize, Serialize};
use siphasher::sip128::{Hasher128, SipHasher24};

use super::attribute::{AttributePath, Attributes, Value};
use super::id::{AccountId, Side, Sides};
use super::pending::pending;
use super::resolve::resolve;
use super::rules::{AttributeRule, Flow, Occasion, Policy, Rules};
use super::{Link, LinkId, Snapshot, Timestamp, link::Origin};

/// Accounts that an [`Ambiguity`] names of each side; there may be more.
pub const NAMED: usize = 10;

/// One or several attributes (as the link names them) by which partners are recognised: all of them have to agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatchKey(Vec<AttributePath>);

impl MatchKey {
    /// The key of these attributes; `None` of none.
    pub fn new(paths: Vec<AttributePath>) -> Option<Self> {
        (!paths.is_empty()).then_some(Self(paths))
    }

    /// Its attributes: at least one.
    pub fn paths(&self) -> &[AttributePath] {
        &self.0
    }

    /// Stands for what an account has of the key, its attributes being known as `inbound`: the same for two accounts
    /// only where their values are. `None` where one of them is missing or empty, which matches nobody.
    ///
    /// Space around a text never counts. Letter case does not count for e-mail addresses, nor where one of the two systems
    /// makes no difference.
    pub fn print(&self, inbound: &Attributes, rules: &Rules) -> Option<u128> {
        let mut hasher = SipHasher24::new();
        for path in &self.0 {
            let text = folded(path, inbound.get(path)?.as_ref()?, rules)?;
            hasher.write_usize(text.len());
            hasher.write(text.as_bytes());
        }
        Some(hasher.finish128().as_u128())
    }
}

impl From<AttributePath> for MatchKey {
    fn from(path: AttributePath) -> Self {
        Self(vec![path])
    }
}

impl fmt::Display for MatchKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, path) in self.0.iter().enumerate() {
            write!(f, "{}{path}", if place > 0 { " + " } else { "" })?;
        }
        Ok(())
    }
}

/// The form in which a value is compared between the two systems; `None` of one that tells nobody apart.
fn folded(path: &AttributePath, value: &Value, rules: &Rules) -> Option<String> {
    let text = match value {
        Value::Text(text) => text.trim().to_owned(),
        Value::Int(number) => number.to_string(),
        Value::Reference { account } => account.to_string(),
        Value::Bool(_) | Value::Set(_) => return None,
    };
    let rule = rules.attributes.get(path);
    let folds = rule.is_some_and(|rule| {
        Side::BOTH.iter().any(|side| rule.comparison[*side].fold_case || rule.names[*side].as_str() == "emails")
    });
    let text = if folds { text.to_lowercase() } else { text };
    (!text.is_empty()).then_some(text)
}

/// What is remembered of an account until all were read: a few dozen bytes, none of its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The account.
    pub account: AccountId,
    /// It may be used. One that may not is taken only where nobody else has the value.
    pub active: bool,
    /// It is to have a partner: its side brings links into being, and it fits the scope.
    pub wishes: bool,
    /// Its link is marked ambiguous since an earlier look.
    pub marked: bool,
    /// What it has of each key.
    pub prints: Box<[Option<u128>]>,
    /// Stands for all that the two sides compare.
    pub whole: u64,
}

/// Who belongs to whom. Accounts are named by their places in the lists that were joined.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Joined {
    /// Partners, each with the place of the key that found them.
    pub pairs: Vec<Pair>,
    /// Accounts that share a value with several others.
    pub ambiguous: Vec<Group>,
    /// Accounts that nobody on the other side has a value in common with.
    pub alone: Sides<Vec<usize>>,
}

/// Two accounts that belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    /// The accounts.
    pub places: Sides<usize>,
    /// The place of the key that found them.
    pub key: usize,
}

/// Accounts with one value of a key, of which nobody can tell who belongs to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The accounts: at least one on each side, and several on one.
    pub places: Sides<Vec<usize>>,
    /// The place of the key.
    pub key: usize,
}

/// Finds out who belongs to whom among accounts without a partner. The first key by which an account finds anybody
/// decides about it.
pub fn join(candidates: Sides<&[Candidate]>, keys: usize) -> Joined {
    let mut joined = Joined::default();
    let mut open = Sides::from_fn(|side| vec![true; candidates[side].len()]);
    for key in 0..keys {
        let mut groups: HashMap<u128, Sides<Vec<usize>>> = HashMap::new();
        for side in Side::BOTH {
            for (place, candidate) in candidates[side].iter().enumerate().filter(|(place, _)| open[side][*place]) {
                if let Some(print) = candidate.prints.get(key).copied().flatten() {
                    groups.entry(print).or_default()[side].push(place);
                }
            }
        }
        let mut groups: Vec<_> =
            groups.into_values().filter(|group| !group.a.is_empty() && !group.b.is_empty()).collect();
        groups.sort_unstable_by_key(|group| group.a[0]);
        for group in groups {
            let wish = |side: Side| group[side].iter().any(|place| candidates[side][*place].wishes);
            if !wish(Side::A) && !wish(Side::B) {
                continue;
            }
            let places = Sides::from_fn(|side| {
                let active: Vec<_> = group[side].iter().copied().filter(|p| candidates[side][*p].active).collect();
                if active.is_empty() { group[side].clone() } else { active }
            });
            for side in Side::BOTH {
                places[side].iter().for_each(|place| open[side][*place] = false);
            }
            match (&*places.a, &*places.b) {
                ([a], [b]) => joined.pairs.push(Pair { places: Sides { a: *a, b: *b }, key }),
                _ => joined.ambiguous.push(Group { places, key }),
            }
        }
    }
    joined.alone = Sides::from_fn(|side| (0..open[side].len()).filter(|place| open[side][*place]).collect());
    joined
}

/// Why nobody is created or linked for an account: it shares a value with several others, and a person says who belongs to
/// whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ambiguity {
    /// The key, as people call it.
    #[serde(rename = "k")]
    pub key: String,
    /// Accounts of the other side that have the value, [`NAMED`] of them at most.
    #[serde(rename = "c")]
    pub candidates: Vec<AccountId>,
    /// Other accounts of its own side that have it, [`NAMED`] of them at most.
    #[serde(rename = "r", default, skip_serializing_if = "Vec::is_empty")]
    pub rivals: Vec<AccountId>,
}

/// An attribute that two accounts which meet for the first time hold different values of, and what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The attribute.
    pub path: AttributePath,
    /// What each side holds.
    pub values: Sides<Option<Value>>,
    /// The side whose value both will have; `None`: each keeps its own.
    pub wins: Option<Side>,
    /// By which rule.
    pub rule: MeetingRule,
}

/// Which rule decides about an attribute of two accounts that meet for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MeetingRule {
    /// It flows one way.
    OneWay,
    /// One side had no value, and nothing is cleared at a first match.
    Filled,
    /// Both count, and the default system wins.
    DefaultSystem,
    /// Both count, and the owner of the attribute wins.
    Owner,
    /// Both count, and the later edit wins.
    LastWrite,
    /// The rules write it only at a creation, or not to an account that has a value of its own.
    NotWritten,
}

impl MeetingRule {
    /// The word that tables and `--json` use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OneWay => "one_way",
            Self::Filled => "filled",
            Self::DefaultSystem => "default_system",
            Self::Owner => "owner",
            Self::LastWrite => "last_write",
            Self::NotWritten => "not_written",
        }
    }
}

/// What becomes of what two accounts hold that meet for the first time: what [`resolve`] makes of both sights.
pub fn differences(seen: Sides<&Snapshot>, rules: &Rules, now: Timestamp) -> Vec<Difference> {
    let epoch = super::Epoch(0);
    let mut link = Link::new(LinkId(0), epoch, Origin::FirstMatch, Side::A, seen.a.account.clone());
    link.sides.b.account = Some(seen.b.account.clone());
    for side in Side::BOTH {
        link = resolve(&link, side, seen[side], rules, now).link;
    }
    let inbound = Sides::from_fn(|side| rules.inbound(side, seen[side]));
    let written = Sides::from_fn(|side| pending(&link, side, rules).map(|pending| pending.values).unwrap_or_default());
    let difference = |(path, rule): (&AttributePath, &AttributeRule)| {
        if rule.occasion == Occasion::Fill {
            return None;
        }
        let values = Sides { a: inbound.a.get(path)?.clone(), b: inbound.b.get(path)?.clone() };
        let equal = |side: Side| rule.comparison[side].equal(values.a.as_ref(), values.b.as_ref());
        if equal(Side::A) || equal(Side::B) {
            return None;
        }
        let wins = Side::BOTH.into_iter().find(|side| written[side.other()].contains_key(path));
        let rule = match (wins, rule.flow, rule.policy) {
            (None, ..) => MeetingRule::NotWritten,
            (Some(_), Flow::Towards(_) | Flow::WatchedOn(_), _) => MeetingRule::OneWay,
            (Some(wins), Flow::Both, _) if values[wins.other()].is_none() => MeetingRule::Filled,
            (Some(_), Flow::Both, Policy::LastWrite { .. }) => MeetingRule::LastWrite,
            (Some(_), Flow::Both, Policy::DefaultSystem(side)) if side == rules.leads => MeetingRule::DefaultSystem,
            (Some(_), Flow::Both, Policy::DefaultSystem(_)) => MeetingRule::Owner,
        };
        Some(Difference { path: path.clone(), values, wins, rule })
    };
    rules.attributes.iter().filter_map(difference).collect()
}

/// Stands for what a side holds of all that the two sides compare: where two accounts have the same, they do not differ.
pub fn whole(inbound: &Attributes, rules: &Rules) -> u64 {
    let mut hasher = siphasher::sip::SipHasher24::new();
    for (path, rule) in &rules.attributes {
        // Each in the form that both systems take for the same.
        let loosest = super::Comparison {
            fold_case: rule.comparison.a.fold_case || rule.comparison.b.fold_case,
            trim: rule.comparison.a.trim || rule.comparison.b.trim,
            empty_is_clear: rule.comparison.a.empty_is_clear || rule.comparison.b.empty_is_clear,
        };
        // Not to hold it and not to show it is the same here: a first match clears nothing.
        let value = inbound.get(path).and_then(Option::as_ref);
        if rule.occasion != Occasion::Fill {
            hasher.write_u64(rules.digest_key.digest(path, value, loosest).0);
        }
    }
    hasher.finish()
}

#[cfg(test)]
mod tests;
