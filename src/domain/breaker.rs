//! The loop breaker (B4): an attribute of an account that goes to and fro too often within a short time is frozen. What
//! people change by hand does not come near that; two systems that each insist on a form of their own, or connections that
//! form a ring, do.

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::attribute::{AttributePath, Digest, Value};
use super::guard::parse_window;
use super::hold::{Hold, Stop, Why};
use super::id::Side;
use super::link::{Link, Register};
use super::rules::Rules;
use super::time::Timestamp;

/// How often an attribute of an account may go to and fro.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breaker {
    /// So many turns may there be within the window; one more freezes the attribute.
    pub turns: u32,
    /// The window, which slides.
    pub within: Duration,
}

impl Default for Breaker {
    /// Six turns in ten minutes.
    fn default() -> Self {
        Self { turns: 6, within: Duration::from_secs(600) }
    }
}

/// A loop breaker is a number of turns, a slash, and a window in seconds, minutes, hours or days.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a loop breaker is a number of turns from 1 to 30 and a window, such as \"6/10m\"")]
pub struct BreakerError;

impl FromStr for Breaker {
    type Err = BreakerError;

    fn from_str(text: &str) -> Result<Self, BreakerError> {
        let (turns, window) = text.split_once('/').ok_or(BreakerError)?;
        let turns = turns.trim();
        let turns = turns.bytes().all(|byte| byte.is_ascii_digit()).then(|| turns.parse().ok()).flatten();
        let turns = turns.filter(|turns| (1..=MOST_TURNS).contains(turns)).ok_or(BreakerError)?;
        let within = parse_window(window.trim()).ok_or(BreakerError)?;
        Ok(Self { turns, within })
    }
}

/// The most turns that can be let pass: of so many the changes are remembered.
const MOST_TURNS: u32 = 30;

/// The most changes of one attribute that a link remembers: a loop that does not stop must not make it grow.
const REMEMBERED: usize = 64;

/// A change of an attribute that came soon after another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// When it was mapped, in the store's clock.
    #[serde(rename = "t")]
    pub at: Timestamp,
    /// The value that it replaced, as side `a` compares values.
    #[serde(rename = "d")]
    pub replaced: Digest,
    /// Whether it went to and fro: the other side's hand before, or back to a value that was there within the window.
    #[serde(rename = "c", default, skip_serializing_if = "std::ops::Not::not")]
    pub counts: bool,
}

/// Drops what is older than the window.
pub(super) fn forget_old_turns(link: &mut Link, rules: &Rules, now: Timestamp) {
    let Some(breaker) = rules.breaker else { return link.turns.clear() };
    link.turns.retain(|_, turns| {
        turns.retain(|turn| turn.at + breaker.within > now);
        !turns.is_empty()
    });
}

/// Takes note of a change of a register from `before` to what the link has now. An attribute that was frozen stays so,
/// unless it was left alone for a whole window.
pub(super) fn replaced(link: &mut Link, path: &AttributePath, before: &Register, rules: &Rules, now: Timestamp) {
    let Some(register) = link.registers.get(path) else { return };
    let crosses = before.by != register.by;
    // Of one side, so of one clock.
    let is_quick = rules.breaker.is_some_and(|breaker| register.at.read_at.since(before.at.read_at) < breaker.within);
    let value = register.value.clone();
    let was_left_alone = !link.turns.contains_key(path);
    if before.is_frozen() && !was_left_alone {
        freeze(link, path, before.hold.clone());
    }
    if crosses || is_quick {
        note(link, path, before.value.as_ref(), value.as_ref(), crosses, rules, now);
    }
}

/// Takes note of a value of `side` that is to be overwritten by the register's, which stays as it is.
pub(super) fn set_back(
    link: &mut Link,
    side: Side,
    path: &AttributePath,
    value: Option<&Value>,
    rules: &Rules,
    now: Timestamp,
) {
    let Some(register) = link.registers.get(path).filter(|register| register.by != side) else { return };
    let kept = register.value.clone();
    note(link, path, kept.as_ref(), value, true, rules, now);
}

fn note(
    link: &mut Link,
    path: &AttributePath,
    before: Option<&Value>,
    after: Option<&Value>,
    crosses: bool,
    rules: &Rules,
    now: Timestamp,
) {
    let Some(breaker) = rules.breaker else { return };
    let turns = link.turns.entry(path.clone()).or_default();
    let after = rules.digest(Side::A, path, after);
    let returns = turns.iter().any(|turn| turn.replaced == after);
    let replaced = rules.digest(Side::A, path, before);
    turns.push(Turn { at: now, replaced, counts: crosses || returns });
    if turns.len() > REMEMBERED {
        turns.remove(0);
    }
    let counted = turns.iter().filter(|turn| turn.counts).count();
    if counted > breaker.turns as usize {
        freeze(link, path, Some(Hold::Stopped(Stop::new(Why::Frozen, None, now))));
    }
}

/// Puts the hold on the register, unless one is there already.
fn freeze(link: &mut Link, path: &AttributePath, hold: Option<Hold>) {
    if let Some(register) = link.registers.get_mut(path)
        && !register.is_frozen()
    {
        register.hold = hold;
    }
}

/// The attributes that are frozen after a change and were not before.
pub(super) fn newly_frozen(before: &Link, after: &Link) -> Vec<AttributePath> {
    let was_frozen = |path: &AttributePath| before.registers.get(path).is_some_and(Register::is_frozen);
    let frozen = after.registers.iter().filter(|(path, register)| register.is_frozen() && !was_frozen(path));
    frozen.map(|(path, _)| path.clone()).collect()
}

#[cfg(test)]
mod tests;
