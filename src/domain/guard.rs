//! Budgets on what does harm in bulk (B10). A connection may deactivate, rename, relink so many accounts within a
//! window and no more; what is over the budget is held for a person, and all else flows on (B11).

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

mod exposure;

pub use exposure::{Exposure, Protected, exposures, is_protected, spares, stop};

/// A kind of write that does harm if a mistake makes many of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Risk {
    /// An account loses its right to be used, or is taken out of its system's roster.
    Deactivate,
    /// An account is deleted.
    Delete,
    /// The address or the name that a person signs in with changes.
    EmailChange,
    /// Roles or groups change. Which role stands above which only the target knows, so each change counts (R28, R39).
    RoleElevation,
    /// A link ends since one of its accounts left, or an account is linked to another partner than before.
    Relink,
    /// Values are cleared.
    MassClear,
    /// An account is created.
    Create,
}

impl Risk {
    /// Every kind, in the order in which tables show them.
    pub const ALL: [Self; 7] = [
        Self::Deactivate,
        Self::Delete,
        Self::EmailChange,
        Self::RoleElevation,
        Self::Relink,
        Self::MassClear,
        Self::Create,
    ];

    /// The word that the configuration, metrics and `--json` use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deactivate => "deactivate",
            Self::Delete => "delete",
            Self::EmailChange => "email_change",
            Self::RoleElevation => "role_elevation",
            Self::Relink => "relink",
            Self::MassClear => "mass_clear",
            Self::Create => "create",
        }
    }
}

impl fmt::Display for Risk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How many writes of one kind may pass within a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Share of the linked accounts, in percent, from 0 to 100.
    pub share_percent: u8,
    /// So many may pass even if the share is smaller, so that a small roster is not stuck.
    pub at_least: u64,
    /// The window, which slides.
    pub window: Duration,
}

impl Default for Budget {
    /// Two percent, at least five, an hour.
    fn default() -> Self {
        Self { share_percent: 2, at_least: 5, window: Duration::from_secs(3600) }
    }
}

/// The budgets of one connection. A kind without one is not counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budgets(BTreeMap<Risk, Budget>);

impl Default for Budgets {
    /// The default budget for every kind but creations. Those must be asked for (`create = "automatic"`), `plan` shows them
    /// beforehand, and the first load of a roster is nothing else: with a share of the accounts that are linked so far, it
    /// would be stuck after five.
    fn default() -> Self {
        let kinds = Risk::ALL.into_iter().filter(|risk| *risk != Risk::Create);
        Self(kinds.map(|risk| (risk, Budget::default())).collect())
    }
}

impl Budgets {
    /// No budget at all.
    pub fn off() -> Self {
        Self(BTreeMap::new())
    }

    /// The budget of this kind, if it has one.
    pub fn of(&self, risk: Risk) -> Option<Budget> {
        self.0.get(&risk).copied()
    }

    /// Sets the budget of this kind; `None` takes it away.
    pub fn set(&mut self, risk: Risk, budget: Option<Budget>) {
        match budget {
            Some(budget) => drop(self.0.insert(risk, budget)),
            None => drop(self.0.remove(&risk)),
        }
    }
}

/// A budget is a share or a number, a slash, and a window in seconds, minutes, hours or days.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a budget is a share or a number and a window, such as \"2%/1h\" or \"50/30m\"")]
pub struct BudgetError;

impl FromStr for Budget {
    type Err = BudgetError;

    fn from_str(text: &str) -> Result<Self, BudgetError> {
        let (amount, window) = text.split_once('/').ok_or(BudgetError)?;
        let window = parse_window(window.trim()).ok_or(BudgetError)?;
        let amount = amount.trim();
        let budget = match amount.strip_suffix('%') {
            Some(share) => {
                let share_percent = number(share.trim()).filter(|share| *share <= 100).ok_or(BudgetError)?;
                // Zero percent means none at all.
                let at_least = if share_percent == 0 { 0 } else { Self::default().at_least };
                Self { share_percent: share_percent as u8, at_least, window }
            }
            None => Self { share_percent: 0, at_least: number(amount).ok_or(BudgetError)?, window },
        };
        Ok(budget)
    }
}

/// A number of digits alone: no sign.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

pub(super) fn parse_window(text: &str) -> Option<Duration> {
    let unit_s = match text.bytes().last()? {
        b's' => 1,
        b'm' => 60,
        b'h' => 3600,
        b'd' => 24 * 3600,
        _ => return None,
    };
    let count = number(&text[..text.len() - 1]).filter(|count| *count > 0)?;
    count.checked_mul(unit_s).map(Duration::from_secs)
}

impl fmt::Display for Budget {
    /// As the configuration writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.window.as_secs();
        let (count, unit) = [(86_400, 'd'), (3_600, 'h'), (60, 'm')]
            .into_iter()
            .find(|(unit_s, _)| seconds > 0 && seconds.is_multiple_of(*unit_s))
            .map_or((seconds, 's'), |(unit_s, unit)| (seconds / unit_s, unit));
        // Of a share of none, and a number of none, nothing passes either way.
        match self.share_percent {
            0 => write!(f, "{}/{count}{unit}", self.at_least),
            share => write!(f, "{share}%/{count}{unit}"),
        }
    }
}

impl Budget {
    /// How many may pass within the window, of so many linked accounts.
    pub fn limit(&self, population: u64) -> u64 {
        let share = u128::from(population) * u128::from(self.share_percent) / 100;
        u64::try_from(share).unwrap_or(u64::MAX).max(self.at_least)
    }
}

/// How many of the wanted writes may pass, when so many passed within the window already. The others are held.
pub fn decide(spent_in_window: u64, wanted: u64, limit: u64) -> u64 {
    wanted.min(limit.saturating_sub(spent_in_window))
}

#[cfg(test)]
mod tests;
