//! `muster conflicts`: values that did not win, and giving one of them back (B5). A value that is given back is a person's
//! decision: it becomes the value that both sides should have and goes to the writers, past no guard of theirs. What it
//! replaces is kept in its turn, so that the command can be taken back with itself.

use std::collections::HashMap;

use clap::Subcommand;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::connect::Mode;
use super::exit::Exit;
use super::explain::words::short;
use super::output::Form;
use super::sync::UsageError;
use crate::broker::Broker;
use crate::domain::audit::{About, Act, Verb};
use crate::domain::journal::JournalReason;
use crate::domain::{ConnectionName, Side, Timestamp};
use crate::stages::{Connection, Pipeline};
use crate::store::{EntryId, GaveBack, Kept, Store};

pub(crate) mod give_back;
pub(crate) mod list;
mod pins;
pub(crate) mod show;

/// What is to be done with values that did not win.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List values that did not win, the newest first. They are kept for 30 days, or as long as `[retention]` says.
    List {
        /// Which.
        #[command(flatten)]
        which: Filter,
        /// Those too that were given back or replaced by a value that was.
        #[arg(long)]
        all: bool,
        /// Show the values. `conflicts show` always does.
        #[arg(long)]
        values: bool,
        /// Values to show at most; with --json there is no limit by default.
        #[arg(long, value_name = "CONFLICTS")]
        limit: Option<usize>,
    },
    /// Show one: what lost, why, and what both sides hold now.
    Show {
        /// Its id, as `conflicts list` prints it.
        conflict: String,
        /// Do not ask the systems what they hold today.
        #[arg(long)]
        offline: bool,
    },
    /// Give values back: each becomes the value of both sides. What it replaces is listed as a conflict in its turn.
    GiveBack {
        /// Their ids, as `conflicts list` prints them.
        #[arg(required = true)]
        conflicts: Vec<String>,
        /// Also let the side whose value it was be the only one that counts for this attribute of this account: what is
        /// changed on the other side is kept as a conflict and set back, until `conflicts unpin`.
        #[arg(long)]
        pin: bool,
        /// Also where the attribute was changed since the value lost.
        #[arg(long)]
        force: bool,
        /// Do not ask the systems whether the attribute was changed there since the last sync.
        #[arg(long)]
        offline: bool,
    },
    /// List attributes that are pinned to one side.
    Pins {
        /// Only those of this connection.
        #[arg(long)]
        connection: Option<ConnectionName>,
    },
    /// Let both sides count again for an attribute of an account.
    Unpin {
        /// The account, as `<system>:<id>`.
        account: String,
        /// The attribute.
        attribute: String,
        /// Only on this connection.
        #[arg(long)]
        connection: Option<ConnectionName>,
    },
}

/// Which conflicts are meant.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Filter {
    /// Only those of this connection.
    #[arg(long)]
    pub(crate) connection: Option<ConnectionName>,
    /// Only those of this account, as `<system>:<id>`.
    #[arg(long)]
    pub(crate) account: Option<String>,
    /// Only those about this attribute.
    #[arg(long)]
    pub(crate) attribute: Option<String>,
    /// Only those with this reason.
    #[arg(long, value_parser = reasons())]
    pub(crate) reason: Option<JournalReason>,
    /// Only those since then: so long ago ("30m", "12h", "7d"), or a time ("2026-03-01T12:00:00Z").
    #[arg(long, value_parser = since)]
    pub(crate) since: Option<Since>,
}

/// The beginning of a time, as a person names it.
#[derive(Debug, Clone, Copy)]
pub enum Since {
    /// So long ago.
    Ago {
        /// In seconds.
        seconds: i64,
    },
    /// From this time on.
    At(Timestamp),
}

impl Since {
    /// As a time of the store's clock.
    pub(super) fn before(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Ago { seconds } => Timestamp(now.0.saturating_sub(seconds.saturating_mul(1_000))),
            Self::At(at) => at,
        }
    }
}

/// Reads the beginning of a time.
pub(super) fn since(text: &str) -> Result<Since, String> {
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Ok(Since::At(Timestamp(at.as_millisecond())));
    }
    let unit_s = |unit| match unit {
        's' => Some(1),
        'm' => Some(60),
        'h' => Some(3_600),
        'd' => Some(86_400),
        _ => None,
    };
    let ago = || {
        let unit = text.chars().last()?;
        let count: u32 = text.strip_suffix(unit)?.parse().ok()?;
        Some(Since::Ago { seconds: i64::from(count) * unit_s(unit)? })
    };
    ago().ok_or_else(|| "write so long ago, such as 30m, 12h or 7d, or a time such as 2026-03-01T12:00:00Z".to_owned())
}

fn reasons() -> impl TypedValueParser<Value = JournalReason> {
    PossibleValuesParser::new(JournalReason::ALL.map(JournalReason::as_str)).map(|word| {
        let known = JournalReason::ALL.into_iter().find(|reason| reason.as_str() == word);
        known.expect("the parser before has refused every other word")
    })
}

impl Command {
    /// The act that it is, if it changes something.
    pub(super) fn act(&self) -> Option<Act> {
        match self {
            Self::List { .. } | Self::Show { .. } | Self::Pins { .. } => None,
            Self::GiveBack { conflicts, pin, force, offline: _ } => {
                let about = About::default().ids(conflicts).flag("pin", *pin).flag("force", *force);
                Some(Act::new(Verb::ConflictsGiveBack, about))
            }
            Self::Unpin { account, attribute, connection } => {
                let about = About::connection(connection.as_ref()).accounts([account]);
                Some(Act::new(Verb::ConflictsUnpin, about.option("attribute", Some(attribute))))
            }
        }
    }
}

/// Does it.
pub async fn run<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    mode: &Mode,
    command: Command,
    form: Form,
) -> anyhow::Result<Exit> {
    match command {
        Command::List { which, all, values, limit } => {
            list::run(pipeline, &which, &list::Shown { all, values, limit }, form).await
        }
        Command::Show { conflict, offline } => show::run(pipeline, &conflict, offline, form).await,
        Command::GiveBack { conflicts, pin, force, offline } => {
            let ask = give_back::Ask { pin, force, offline };
            give_back::run(pipeline, mode, &conflicts, &ask, form).await
        }
        Command::Pins { connection } => pins::list(pipeline, connection.as_ref(), form).await,
        Command::Unpin { account, attribute, connection } => {
            pins::remove(pipeline, &account, &attribute, connection.as_ref(), form).await
        }
    }
}

/// The connections that are meant.
fn connections<'p, B, S>(
    pipeline: &'p Pipeline<B, S>,
    only: Option<&ConnectionName>,
) -> Result<Vec<&'p Connection>, UsageError> {
    if let Some(name) = only.filter(|name| !pipeline.connections.contains_key(*name)) {
        let known = pipeline.connections.keys().map(ConnectionName::as_str).collect::<Vec<_>>().join(", ");
        return Err(UsageError::new(format!("there is no connection {name}; the configuration has: {known}")));
    }
    let all = pipeline.connections.values().map(AsRef::as_ref);
    Ok(all.filter(|connection: &&Connection| only.is_none_or(|name| connection.name == *name)).collect())
}

/// An entry, and what a person made of it later.
pub(crate) struct Conflict<'p> {
    pub(crate) connection: &'p Connection,
    pub(crate) kept: Kept,
    /// Who gave its value back.
    pub(crate) given_back: Option<GaveBack>,
}

impl Conflict<'_> {
    /// The id by which people name it.
    pub(crate) fn name(&self) -> String {
        named(&self.connection.name, &self.kept.id)
    }

    /// The account of a side, as people name it.
    fn account(&self, side: Side) -> Option<String> {
        let account = self.kept.entry.accounts[side].as_ref()?;
        Some(format!("{}:{account}", self.connection.systems[side]))
    }

    /// Both accounts, in one text.
    pub(crate) fn accounts(&self) -> String {
        let known: Vec<_> = Side::BOTH.into_iter().filter_map(|side| self.account(side)).collect();
        if known.is_empty() { format!("link {}", self.kept.entry.link) } else { known.join(" ") }
    }

    /// What became of it, in one word.
    pub(crate) fn state(&self) -> &'static str {
        match (&self.given_back, &self.kept.entry.gave_back) {
            _ if self.kept.entry.is_erased => "erased",
            (Some(_), _) => "given_back",
            (None, Some(_)) => "replaced",
            (None, None) => "lost",
        }
    }

    fn json(&self, values: bool) -> serde_json::Value {
        let entry = &self.kept.entry;
        let mut line = serde_json::json!({
            "conflict": self.name(),
            "connection": self.connection.name,
            "link": entry.link,
            "attribute": entry.attribute,
            "side": entry.side,
            "system": self.connection.systems[entry.side],
            "accounts": { "a": self.account(Side::A), "b": self.account(Side::B) },
            "at": entry.seen_at,
            "reason": entry.reason,
            "state": self.state(),
            "given_back_by": self.given_back.as_ref().map(|given| &given.by),
            "replaced_by": entry.gave_back.as_ref().map(|gave| named(&self.connection.name, &gave.entry)),
        });
        if values {
            line["value"] = serde_json::json!(entry.value);
        }
        line
    }
}

/// The id by which people name an entry of the journal.
pub(crate) fn named(connection: &ConnectionName, id: &EntryId) -> String {
    format!("{connection}/{}", id.as_str())
}

/// The entries that a person gave back, by the entries that say so.
fn given_back(kept: &[Kept]) -> HashMap<EntryId, GaveBack> {
    let gave_back = kept.iter().filter_map(|kept| kept.entry.gave_back.clone());
    gave_back.map(|gave_back| (gave_back.entry.clone(), gave_back)).collect()
}

/// Entries of one link that are looked at.
const OF_LINK: usize = 1_000;

/// The entry that a person names.
pub(crate) async fn find<'p, B: Broker, S: Store>(
    pipeline: &'p Pipeline<B, S>,
    text: &str,
) -> anyhow::Result<Conflict<'p>> {
    let unknown = || UsageError::new(format!("there is no conflict `{text}`; see `muster conflicts list`"));
    let (connection, id) = text.split_once('/').ok_or_else(unknown)?;
    let name: ConnectionName = connection.parse().map_err(|_| unknown())?;
    let connection = pipeline.connections.get(&name).ok_or_else(unknown)?;
    let id = EntryId::parse(id).ok_or_else(unknown)?;
    let found = pipeline.store.journal(&name, None, Some(&id), 1).await?.pop().filter(|kept| kept.id == id);
    let kept = found.ok_or_else(unknown)?;
    let of_link = pipeline.store.journal(&name, Some(kept.entry.link), None, OF_LINK).await?;
    let given_back = given_back(&of_link).remove(&id);
    Ok(Conflict { connection, kept, given_back })
}

/// Whether a person calls the attribute so.
fn is_called(connection: &Connection, path: &crate::domain::AttributePath, name: &str) -> bool {
    let rule = connection.template().attributes.get(path);
    let names = rule.into_iter().flat_map(|rule| [&rule.names.a, &rule.names.b]);
    names
        .chain([path])
        .any(|known| known.as_str().eq_ignore_ascii_case(name) || short(known).eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_is_so_long_ago_or_a_time() {
        let now = Timestamp(1_000_000_000);
        for (text, begins) in [
            ("30s", Some(999_970_000)),
            ("2h", Some(992_800_000)),
            ("7d", Some(395_200_000)),
            ("1970-01-01T00:00:01Z", Some(1_000)),
            ("7", None),
            ("-1h", None),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(since(text).ok().map(|since| since.before(now).0), begins, "{text}");
        }
    }
}
