//! Budgets on what does harm in bulk (B10). A connection may deactivate, rename, relink so many accounts within a
//! window and no more; what is over the budget is held for a person, and all else flows on (B11).

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::pending::{Need, Pending};

/// A kind of write that does harm if a mistake makes many of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Risk {
    /// An account loses its right to be used.
    Deactivate,
    /// An account is deleted.
    Delete,
    /// The address or the name that a person signs in with changes.
    EmailChange,
    /// Roles change. Which role stands above which only the target knows, so each change counts.
    RoleElevation,
    /// An account is linked to another partner than before.
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

    /// The kinds that a write of these values is of, in order. Deletions and relinks are no values: who asks for one
    /// names it.
    pub fn of(wanted: &Pending) -> Vec<Self> {
        match wanted.need {
            Need::Create { .. } => return vec![Self::Create],
            // It only searches.
            Need::Find { .. } => return Vec::new(),
            Need::Update { .. } => {}
        }
        let changes = |names: &[&str]| wanted.values.keys().any(|path| names.contains(&path.as_str()));
        let clears = wanted.values.values().any(Option::is_none);
        let is_of = |risk: &Self| match risk {
            Self::Deactivate => wanted.deactivates(),
            Self::EmailChange => changes(&["emails", "userName"]),
            Self::RoleElevation => changes(&["roles"]),
            Self::MassClear => clears,
            Self::Delete | Self::Relink | Self::Create => false,
        };
        Self::ALL.into_iter().filter(is_of).collect()
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

fn parse_window(text: &str) -> Option<Duration> {
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
mod tests {
    use super::*;
    use crate::domain::attribute::Value;
    use crate::domain::id::Side;
    use crate::domain::resolve::tests::vocabulary::{account, path, value};

    fn budget(share_percent: u8, at_least: u64, seconds: u64) -> Budget {
        Budget { share_percent, at_least, window: Duration::from_secs(seconds) }
    }

    #[test]
    fn budgets_are_shares_or_numbers_over_a_window() {
        for (text, expected) in [
            ("2%/1h", Some(budget(2, 5, 3600))),
            (" 50 / 30m ", Some(budget(0, 50, 1800))),
            ("0%/1d", Some(budget(0, 0, 86_400))),
            ("0/45s", Some(budget(0, 0, 45))),
            ("100%/1h", Some(budget(100, 5, 3600))),
            ("101%/1h", None),
            ("2%", None),
            ("2%/h", None),
            ("2%/0h", None),
            ("-2/1h", None),
            ("+2/1h", None),
            ("two/1h", None),
            ("2%/1é", None),
            ("/1h", None),
            ("1/99999999999999999999d", None),
            ("", None),
        ] {
            assert_eq!(text.parse().ok(), expected, "{text}");
        }
    }

    /// B10: the budget grows with the roster, and a small roster is not stuck.
    #[test]
    fn limits_follow_the_population() {
        for (text, population, limit) in [
            ("2%/1h", 0, 5),
            ("2%/1h", 100, 5),
            ("2%/1h", 1_000, 20),
            ("2%/1h", 1_049, 20),
            ("50/1h", 1_000_000, 50),
            ("0%/1h", 1_000, 0),
            ("100%/1h", u64::MAX, u64::MAX),
        ] {
            assert_eq!(text.parse::<Budget>().unwrap().limit(population), limit, "{text} of {population}");
        }
    }

    /// B11: what is over the budget waits; the rest passes.
    #[test]
    fn only_what_is_over_the_budget_is_held() {
        for (spent, wanted, limit, passes) in
            [(0, 3, 5, 3), (0, 8, 5, 5), (4, 3, 5, 1), (5, 1, 5, 0), (9, 1, 5, 0), (0, 0, 0, 0)]
        {
            assert_eq!(decide(spent, wanted, limit), passes, "{spent} spent, {wanted} wanted of {limit}");
        }
    }

    #[test]
    fn risks_are_read_off_the_values() {
        let update = Need::Update { account: account(Side::B) };
        let create = Need::Create { partner: account(Side::A) };
        for (need, values, risks) in [
            (&update, vec![("title", "Captain")], vec![]),
            (&update, vec![("emails", "ada@x.example")], vec![Risk::EmailChange]),
            (&update, vec![("userName", "ada"), ("title", "-")], vec![Risk::EmailChange, Risk::MassClear]),
            (&update, vec![("roles", "admin")], vec![Risk::RoleElevation]),
            (&create, vec![("emails", "ada@x.example"), ("roles", "agent")], vec![Risk::Create]),
        ] {
            let values = values.into_iter().map(|(name, text)| (path(name), value(text))).collect();
            let wanted = Pending { need: need.clone(), values, generations: Vec::new() };
            assert_eq!(Risk::of(&wanted), risks, "{:?}", wanted.values);
        }
        let values = [(path("active"), Some(Value::Bool(false)))].into_iter().collect();
        let leaver = Pending { need: update, values, generations: Vec::new() };
        assert_eq!(Risk::of(&leaver), [Risk::Deactivate]);
    }
}
