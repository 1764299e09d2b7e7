//! `muster links`: which accounts are partners, and making and ending that by hand (R1 to R3, R51, R52). What is linked is
//! one atomic step beside running workers; values flow afterwards the usual way, once both accounts were read again.

use std::path::PathBuf;

use clap::Subcommand;

use super::connect::Mode;
use super::exit::Exit;
use super::output::{self, Form};
use super::sync::UsageError;
use crate::broker::Broker;
use crate::config::Config;
use crate::domain::audit::{About, Act, Verb};
use crate::domain::{AccountId, ConnectionName, Side, Sides};
use crate::stages::{Connection, Pipeline};
use crate::store::Store;

mod add;
mod columns;
mod end;
mod export;
pub(crate) mod import;
mod list;
mod make;
pub(crate) mod missing;
mod table;

/// What is to be done with links.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List links and how they stand.
    List {
        /// The connection; all of them if none is named.
        connection: Option<ConnectionName>,
        /// Instead, accounts with only one of the fields that make a link by hand.
        #[arg(long)]
        incomplete: bool,
        /// Links to show at most; there is no limit by default.
        #[arg(long, value_name = "LINKS")]
        limit: Option<usize>,
    },
    /// Link two accounts that exist. An account that has a partner keeps it.
    Add {
        /// The connection.
        connection: ConnectionName,
        /// The account on side a, as `<system>:<id>` or by its id alone.
        a: String,
        /// The account on side b.
        b: String,
        /// Do not ask the systems whether there are such accounts.
        #[arg(long)]
        offline: bool,
    },
    /// End the link of an account. Neither account is changed.
    Remove {
        /// The connection.
        connection: ConnectionName,
        /// One of the two accounts, as `<system>:<id>`.
        account: String,
    },
    /// Link the pairs that a CSV file lists, a row each: good rows are linked, bad ones named with line and reason.
    ///
    /// Columns are known by their headers: `a` and `b`, or the names of the two systems, or what people call the ids there
    /// (User ID, Operator ID, External ID). Commas, semicolons or tabs, quotes, a byte order mark and Windows line ends are
    /// all taken, as are the lines that a report ends with. Doing it twice changes nothing.
    Import {
        /// The connection.
        connection: ConnectionName,
        /// The file; `-` is standard input.
        file: PathBuf,
        /// Say what would happen, and link nothing.
        #[arg(long)]
        dry_run: bool,
        /// Ask the systems first whether there are such accounts.
        #[arg(long)]
        check: bool,
        /// Header of the column with the accounts of side a, where it has another.
        #[arg(long, value_name = "HEADER")]
        a: Option<String>,
        /// Header of the column with the accounts of side b.
        #[arg(long, value_name = "HEADER")]
        b: Option<String>,
    },
    /// Write all links as CSV, in a form that `import` takes.
    Export {
        /// The connection.
        connection: ConnectionName,
        /// Write to this file, not to standard output.
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Write as CSV who is on one side only. Both systems are read whole, as far as they can be read.
    Missing {
        /// The connection.
        connection: ConnectionName,
        /// Write to this file, not to standard output.
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

impl Command {
    /// The act that it is, if it changes something.
    pub(super) fn act(&self) -> Option<Act> {
        let about = |connection| About::connection(Some(connection));
        match self {
            Self::List { .. } | Self::Export { .. } | Self::Missing { .. } | Self::Import { dry_run: true, .. } => None,
            Self::Add { connection, a, b, offline } => {
                Some(Act::new(Verb::LinksAdd, about(connection).accounts([a, b]).flag("offline", *offline)))
            }
            Self::Remove { connection, account } => {
                Some(Act::new(Verb::LinksRemove, about(connection).accounts([account])))
            }
            Self::Import { connection, check, .. } => {
                Some(Act::new(Verb::LinksImport, about(connection).flag("check", *check)))
            }
        }
    }
}

/// Does it.
pub async fn run<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    mode: &Mode,
    config: &Config,
    command: Command,
    form: Form,
) -> anyhow::Result<Exit> {
    match command {
        Command::List { connection, incomplete: true, .. } => list::incomplete(pipeline, connection, form).await,
        Command::List { connection, limit, .. } => list::run(pipeline, connection, limit, form).await,
        Command::Add { connection, a, b, offline } => {
            let linked = add::run(pipeline, &Desk::of(pipeline, &connection)?, [&a, &b], offline, form).await?;
            if linked == Exit::Done && form == Form::Text {
                say_when_it_is_read(pipeline, mode, &connection).await?;
            }
            Ok(linked)
        }
        Command::Remove { connection, account } => {
            end::run(pipeline, &Desk::of(pipeline, &connection)?, &account, form).await
        }
        Command::Import { connection, file, dry_run, check, a, b } => {
            let desk = Desk::of(pipeline, &connection)?;
            let ask = import::Ask { file, dry_run, check, columns: Sides { a, b } };
            let imported = import::run(pipeline, &desk, config, &ask, form).await?;
            if form == Form::Text && imported.linked > 0 {
                say_when_it_is_read(pipeline, mode, &connection).await?;
            }
            Ok(imported.exit)
        }
        Command::Export { connection, output } => {
            export::run(pipeline, &Desk::of(pipeline, &connection)?, output.as_deref(), form).await
        }
        Command::Missing { connection, output } => {
            missing::run(pipeline, &Desk::of(pipeline, &connection)?, output.as_deref(), form).await
        }
    }
}

/// A connection, as people name its accounts.
pub(crate) struct Desk<'d> {
    connection: &'d Connection,
    name: &'d ConnectionName,
    /// `<system>`, or `<system> (a)` where both sides are of one system.
    systems: Sides<String>,
}

impl<'d> Desk<'d> {
    pub(crate) fn of<B, S>(pipeline: &'d Pipeline<B, S>, name: &ConnectionName) -> Result<Self, UsageError> {
        let connection = pipeline.connections.get(name).ok_or_else(|| {
            let known = pipeline.connections.keys().map(ConnectionName::as_str).collect::<Vec<_>>().join(", ");
            UsageError::new(format!("there is no connection {name}; the configuration has: {known}"))
        })?;
        let systems = &connection.systems;
        let systems = Sides::from_fn(|side| match systems.a == systems.b {
            true => format!("{} ({side})", systems[side]),
            false => systems[side].to_string(),
        });
        Ok(Self { connection, name: &connection.name, systems })
    }

    /// `<system>:<id>`.
    fn account(&self, side: Side, account: &AccountId) -> String {
        format!("{}:{account}", self.connection.systems[side])
    }

    /// The account that somebody means by `<system>:<id>`, or by its id alone.
    fn parse(&self, side: Side, text: &str) -> Option<AccountId> {
        let prefix = text.split_once(':').filter(|(system, _)| *system == self.connection.systems[side].as_str());
        self.connection.parse_id(side, prefix.map_or(text, |(_, id)| id))
    }
}

/// Says who reads the accounts again, so that values flow.
async fn say_when_it_is_read<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    mode: &Mode,
    name: &ConnectionName,
) -> anyhow::Result<()> {
    let idle = super::worker::missing(&pipeline.store).await?;
    let whom = match mode {
        Mode::Distributed => idle.contains(&super::worker::Role::Producer),
        Mode::Embedded(_) => !idle.is_empty(),
    };
    output::line(match whom {
        true => format!("The accounts are read again by the next `muster sync {name}`"),
        false => "The accounts are read again now".to_owned(),
    });
    Ok(())
}
