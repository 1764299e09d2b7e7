//! `[retention]`: how long each kind of data is kept.

use std::time::Duration;

use super::shape::Lasting;
use super::table::Table;
use crate::domain::retention::Retention;

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// How long each kind of data is kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RetentionConfig {
    /// What the store keeps.
    pub store: Retention,
    /// Recorded changes of connections that do not say it themselves; `None`: none are recorded there.
    pub history: Option<Duration>,
}

pub(super) fn retention(table: &mut Table<'_, '_>) -> Option<RetentionConfig> {
    let usual = Retention::default();
    let conflicts = table.default(
        "conflicts",
        Lasting(HOUR..=3_660 * DAY),
        usual.conflicts,
        "Values that did not win a conflict, so that they can be given back.",
    );
    let history = table.optional(
        "history",
        Lasting(Duration::from_secs(1)..=366 * DAY),
        "Recorded changes, for `muster replay`, on every connection that has no `history` of its own. Left out: only those that \
         have one record any.",
    );
    let runs = table.default(
        "runs",
        Lasting(HOUR..=3_660 * DAY),
        usual.runs,
        "Runs with their counts, after their last number was given out.",
    );
    let live_runs = table.default(
        "live_runs",
        Lasting(HOUR..=3_660 * DAY),
        usual.live_runs,
        "The hourly counts of live changes, likewise.",
    );
    let audit = table.default(
        "audit",
        Lasting(DAY..=3_660 * DAY),
        usual.audit,
        "The log of what people did. An anchor stays for what is forgotten, so that the rest can still be verified.",
    );
    let store = Retention { conflicts: conflicts?, runs: runs?, live_runs: live_runs?, audit: audit? };
    Some(RetentionConfig { store, history: history? })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::{Config, ConfigErrors};

    fn read(retention: &str, connection: &str) -> Result<Config, ConfigErrors> {
        let system = |name: &str| {
            format!("[systems.{name}]\nkind = \"scim\"\nurl = \"https://{name}.example/scim\"\nauth = \"none\"\n")
        };
        let connection = format!("[connections.one]\na = \"x\"\nb = \"y\"\ndirection = \"a_to_b\"\n{connection}\n");
        let text = format!("[retention]\n{retention}\n{}{}{connection}", system("x"), system("y"));
        Config::parse(&text, "muster.toml", &BTreeMap::new())
    }

    #[test]
    fn what_is_left_out_is_kept_as_ever() {
        let config = read("", "").unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(config.retention, RetentionConfig::default());
        assert_eq!(config.connections[&"one".parse().unwrap()].history, None);
    }

    #[test]
    fn spans_are_read_and_a_connection_has_its_own() {
        let config = read("conflicts = \"2d\"\naudit = \"90d\"\nhistory = \"7d\"", "").unwrap();
        let expected = Retention { conflicts: 2 * DAY, audit: 90 * DAY, ..Retention::default() };
        assert_eq!(config.retention.store, expected);
        assert_eq!(config.connections[&"one".parse().unwrap()].history, Some(7 * DAY));
        let own = read("history = \"7d\"", "history = \"1d\"").unwrap();
        assert_eq!(own.connections[&"one".parse().unwrap()].history, Some(DAY));
    }

    #[test]
    fn no_time_at_all_is_refused() {
        for wrong in ["conflicts = \"0s\"", "audit = \"1h\"", "history = \"0s\"", "letters = \"1d\""] {
            assert_eq!(read(wrong, "").unwrap_err().mistakes.len(), 1, "{wrong}");
        }
    }
}
