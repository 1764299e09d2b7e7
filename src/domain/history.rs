//! What was decided of a change, so that it can be recorded and decided again under other rules (B14).

use serde::{Deserialize, Serialize};

use super::account::Freshness;
use super::attribute::Value;
use super::attribute::{AttributePath, Comparison, Digest};
use super::id::{Side, Sides};
use super::link::Link;
use super::pending::lacking;
use super::resolve::{Decision, Question, Resolution, decide, differs};
use super::rules::{AttributeRule, Drift, Flow, Leavers, Policy, Rules};
use super::{Snapshot, SystemName, Timestamp};

/// What was decided of one attribute of a change, or of the account as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The attribute; `None`: the account.
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    pub attribute: Option<AttributePath>,
    /// What it was taken for: a row of the merge table as a word, or what became of the account.
    #[serde(rename = "d")]
    pub decision: String,
    /// The rule that said so, as people read it.
    #[serde(rename = "r", default, skip_serializing_if = "String::is_empty")]
    pub rule: String,
    /// The sides that lacked the value then, so that it was to be written there.
    #[serde(rename = "w", default, skip_serializing_if = "Vec::is_empty")]
    pub writes: Vec<Side>,
    /// Stands for the value that both sides should have.
    #[serde(rename = "v", default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Digest>,
}

impl Verdict {
    /// One about the account as a whole.
    pub fn of_account(decision: &str, rule: String) -> Self {
        Self { attribute: None, decision: decision.to_owned(), rule, writes: Vec::new(), value: None }
    }

    /// Whether two verdicts about the same attribute of the same change come to the same: what it was taken for, what is
    /// written where. The words of the rule do not matter.
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.decision == other.decision && self.writes == other.writes && self.value == other.value
    }
}

/// What a snapshot of `side` means for each attribute of a link, `after` being what [`resolve`](super::resolve::resolve)
/// made of it. What says nothing new and brings no write about is left out.
pub fn verdicts(
    link: &Link,
    side: Side,
    snapshot: &Snapshot,
    after: &Resolution,
    rules: &Rules,
    systems: &Sides<SystemName>,
    now: Timestamp,
) -> Vec<Verdict> {
    // Also what was refused before: that is another matter than what was decided.
    let wanted =
        Sides::from_fn(|side| lacking(&after.link, side, rules).map(|wanted| wanted.values).unwrap_or_default());
    let verdict = |(path, decision): (AttributePath, Decision)| {
        // What is only watched, and nothing follows from.
        let idle = |rule: &AttributeRule| matches!(rule.flow, Flow::WatchedOn(_)) && rules.leavers == Leavers::Report;
        if rules.attributes.get(&path).is_some_and(idle) {
            return None;
        }
        let writes: Vec<_> = Side::BOTH.into_iter().filter(|side| wanted[*side].contains_key(&path)).collect();
        if writes.is_empty() && matches!(decision, Decision::NoEdit | Decision::Agree) {
            return None;
        }
        let register = after.link.registers.get(&path);
        let value =
            register.map(|register| rules.digest_key.digest(&path, register.value.as_ref(), Comparison::default()));
        let rule = rules.attributes.get(&path).map(|rule| words(rule, systems)).unwrap_or_default();
        Some(Verdict { decision: decision.as_str().to_owned(), rule, writes, value, attribute: Some(path) })
    };
    decisions(link, side, snapshot, rules, now).into_iter().filter_map(verdict).collect()
}

/// The rule of an attribute, as people read it.
fn words(rule: &AttributeRule, systems: &Sides<SystemName>) -> String {
    let drift = if rule.drift == Drift::Enforce { ", enforced" } else { "" };
    match (rule.flow, rule.policy) {
        (Flow::Towards(side), _) => format!("one way to {}{drift}", systems[side]),
        (Flow::WatchedOn(side), _) => format!("watched on {}", systems[side]),
        (Flow::Both, Policy::DefaultSystem(side)) => format!("both ways, {} wins", systems[side]),
        (Flow::Both, Policy::LastWrite { default, .. }) => {
            format!("both ways, the later edit wins, else {}", systems[default])
        }
    }
}

/// What a snapshot of `side` says about each attribute; nothing where
/// [`resolve`](super::resolve::resolve) makes no use of it.
fn decisions(
    link: &Link,
    side: Side,
    snapshot: &Snapshot,
    rules: &Rules,
    now: Timestamp,
) -> Vec<(AttributePath, Decision)> {
    let inbound = rules.inbound(side, snapshot);
    let version = snapshot.version.clone().without_future_stamp();
    let freshness = link.sides[side].seen_at.as_ref().map_or(Freshness::Newer, |seen_at| version.against(seen_at));
    if freshness == Freshness::Older || (freshness == Freshness::Tie && differs(link, side, &inbound, rules)) {
        return Vec::new();
    }
    let decide = |(path, value): (AttributePath, Option<Value>)| {
        let rule = rules.attributes.get(&path)?;
        let value = value.as_ref();
        let decision =
            decide(Question { link, side, path: &path, value, snapshot, version: &version, rule, rules, now });
        Some((path, decision))
    };
    inbound.into_iter().filter_map(decide).collect()
}

impl Decision {
    /// The word that histories and `--json` use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agree => "agree",
            Self::NoEdit => "no_edit",
            Self::InDoubt => "in_doubt",
            Self::OwnHand { .. } => "own_hand",
            Self::Noted => "noted",
            Self::LeftAlone => "left_alone",
            Self::BaseLost => "base_lost",
            Self::Drift => "drift",
            Self::SetBack => "set_back",
            Self::ConflictLost => "conflict_lost",
            Self::ConflictWon => "conflict_won",
            Self::Edit => "edit",
        }
    }
}
