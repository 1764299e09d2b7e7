//! What an undo came to.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::Ask;
use crate::domain::undo::Skip;
use crate::domain::{AccountId, AttributePath, CommandOutcome, ConnectionName, Link, RunId, Side, SystemName};
use crate::ops::exit::Exit;
use crate::ops::explain::words::short;
use crate::ops::output::{self, Form};
use crate::stages::Connection;
use crate::store::Run;

/// What became of one attribute, or of an account as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is brought back, now or before.
    Undone,
    /// It stays as it is.
    Skipped(Skip),
    /// It was created, and stays as it is.
    Created,
    /// The write was begun and never made.
    NotDone,
    /// It cannot be undone, for this reason.
    Cannot(&'static str),
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Undone => "undone",
            Self::Skipped(Skip::EditedSince) => "edited_since",
            Self::Skipped(Skip::Held) => "held",
            Self::Skipped(Skip::AlreadyUndone) | Self::NotDone => "nothing_to_undo",
            Self::Skipped(_) | Self::Created | Self::Cannot(_) => "cannot",
        }
    }

    fn why(self) -> Option<&'static str> {
        match self {
            Self::Undone | Self::NotDone => None,
            Self::Skipped(skip) => Some(match skip {
                Skip::AlreadyUndone => "it is as it was before",
                Skip::EditedSince => "edited since",
                Skip::Held => "a write of it waits for a person: see `muster held list`",
                Skip::Pinned => "pinned to the other system: see `muster conflicts unpin`",
                Skip::Unknown => "what it held before was not known",
                Skip::NotMapped => "the connection does not write it any more",
                Skip::Forgotten => "the store lost its memory since: nobody can tell what was edited",
                Skip::BothWays => "it was created, and values flow both ways: its partner would be deactivated as well",
                Skip::Unread => "not read since the store lost its memory: a sync reads it",
            }),
            Self::Created => Some(
                "it was created and stays: --deactivate-created takes the right to use it away; mail that went out is out",
            ),
            Self::Cannot(why) => Some(why),
        }
    }
}

/// What became of one attribute, or (without one) of an account as a whole.
pub(super) struct Entry {
    system: SystemName,
    account: Option<AccountId>,
    /// Named where the account has no id yet.
    partner: Option<(SystemName, AccountId)>,
    path: Option<AttributePath>,
    pub(super) verdict: Verdict,
}

impl Entry {
    pub(super) fn new(
        connection: &Connection,
        side: Side,
        account: Option<AccountId>,
        partner: Option<AccountId>,
        path: Option<&AttributePath>,
        verdict: Verdict,
    ) -> Self {
        let partner = partner.map(|partner| (connection.systems[side.other()].clone(), partner));
        Self { system: connection.systems[side].clone(), account, partner, path: path.cloned(), verdict }
    }

    /// The same, of the account that the link has today.
    pub(super) fn of(self, link: &Link, side: Side) -> Self {
        Self { account: link.sides[side].account.clone(), ..self }
    }

    fn name(&self) -> String {
        match (&self.account, &self.partner) {
            (Some(account), _) => format!("{}:{account}", self.system),
            (None, Some((system, partner))) => format!("partner of {system}:{partner}"),
            (None, None) => self.system.to_string(),
        }
    }

    fn json(&self) -> Json {
        json!({
            "account": self.name(),
            "attribute": self.path,
            "outcome": self.verdict.word(),
            "why": self.verdict.why(),
        })
    }
}

/// What an undo came to.
pub(super) struct Report {
    connection: ConnectionName,
    run: RunId,
    dry_run: bool,
    pub(super) entries: Vec<Entry>,
    /// The run of the undo, where it was waited for.
    pub(super) done: Option<Run>,
}

/// Attributes and accounts that are named to a person at most.
const NAMED: usize = 50;

impl Report {
    pub(super) fn new(connection: &Connection, ask: &Ask) -> Self {
        let (connection, run) = (connection.name.clone(), ask.run.clone());
        Self { connection, run, dry_run: ask.dry_run, entries: Vec::new(), done: None }
    }

    /// Whether the writers were asked for something.
    pub(super) fn writes(&self) -> bool {
        self.entries.iter().any(|entry| entry.verdict == Verdict::Undone)
    }

    fn count(&self, outcome: CommandOutcome) -> u32 {
        self.done.as_ref().map_or(0, |run| run.commands(outcome))
    }

    /// Prints it.
    pub(super) fn print(&self, form: Form) -> Exit {
        let mut values = BTreeMap::<&str, u64>::new();
        self.entries.iter().for_each(|entry| *values.entry(entry.verdict.word()).or_default() += 1);
        let of = |word: &str| values.get(word).copied().unwrap_or(0);
        let left: Vec<_> = self.entries.iter().filter(|entry| entry.verdict.why().is_some()).collect();
        let (held, dead) = (self.count(CommandOutcome::Held), self.count(CommandOutcome::Dead));
        match form {
            Form::Json => {
                let writes = self.done.as_ref().map(|run| {
                    let outcome = |outcome: &CommandOutcome| (outcome.as_str(), run.commands(*outcome));
                    CommandOutcome::ALL.iter().map(outcome).collect::<BTreeMap<_, _>>()
                });
                output::object(&json!({
                    "connection": self.connection,
                    "run": self.run,
                    "dry_run": self.dry_run,
                    "undone": of("undone"),
                    "edited_since": of("edited_since"),
                    "cannot": of("cannot"),
                    "held": of("held"),
                    "nothing_to_undo": of("nothing_to_undo"),
                    "undo_run": self.done.as_ref().map(|run| &run.id),
                    "writes": writes,
                    "left": left.iter().map(|entry| entry.json()).collect::<Vec<_>>(),
                }));
            }
            Form::Text => {
                let would = if self.dry_run { "would be " } else { "" };
                let mut table = output::table(&["VALUES", ""]);
                for (word, text) in [
                    ("undone", format!("{would}undone")),
                    ("edited_since", "skipped: edited since".to_owned()),
                    ("cannot", "cannot be undone".to_owned()),
                    ("held", "held already".to_owned()),
                    ("nothing_to_undo", "nothing to undo".to_owned()),
                ] {
                    table.add_row([of(word).to_string(), text]);
                }
                output::print(&table);
                for entry in left.iter().take(NAMED) {
                    let path = entry.path.as_ref().map_or(String::new(), |path| format!(" {}", short(path)));
                    output::line(format!("{}{path}: {}", entry.name(), entry.verdict.why().unwrap_or_default()));
                }
                if left.len() > NAMED {
                    output::line(format!("and {} more; --json names all", left.len() - NAMED));
                }
                if let Some(run) = &self.done {
                    let applied = run.commands(CommandOutcome::Applied);
                    output::line(format!("Written: {applied} accounts; held: {held}; dead letters: {dead}"));
                }
            }
        }
        if of("edited_since") + of("cannot") + of("held") + u64::from(held) + u64::from(dead) > 0 {
            Exit::Attention
        } else {
            Exit::Done
        }
    }
}
