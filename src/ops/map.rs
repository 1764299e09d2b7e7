//! `muster map test`: what a connection makes of accounts, attribute by attribute, before anything flows. Nothing is
//! written, and the store is not asked.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::bail;
use clap::Subcommand;
use console::measure_text_width;
use serde_json::{Map, Value as Json, json};

use super::connect::{self, Connections};
use super::exit::Exit;
use super::explain::words::{quoted, short};
use super::output::{self, Form};
use super::sync::UsageError;
use crate::config::Config;
use crate::domain::mapping::Flaw;
use crate::domain::rules::AttributeRule;
use crate::domain::{AttributePath, ConnectionName, Rules, Side, Snapshot, Value};
use crate::stages::Connection;
use crate::systems::{Next, ReadFrom, Record, Schema};

mod sample;

/// Accounts that are tried where nobody says how many.
const ACCOUNTS: usize = 20;

/// What is to be done with mappings.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show what expressions and value tables make of accounts: what goes in, what comes out, or why nothing does.
    ///
    /// The accounts are those of a file (--file), of the system itself (--live), or made up. Nothing is written. Exit
    /// status 1: some value could not be made.
    #[command(
        after_help = "Example:\n  muster map test crm-directory --file people.jsonl\n\nwith people.jsonl, an object \
                            for each account under the attributes' canonical names:\n  {\"id\": \"1\", \
                            \"name.givenName\": \"Ada\", \"name.familyName\": \"Lovelace\"}\n\nor people.csv, with these \
                            names as its header; an empty cell is no value."
    )]
    Test(Test),
}

/// What is to be tried on whom.
#[derive(Debug, clap::Args)]
pub struct Test {
    /// The connection; all of them if none is named.
    connection: Option<ConnectionName>,
    /// Accounts of one side: a .csv file, or JSON, one object a line.
    #[arg(long, value_name = "FILE", conflicts_with = "live")]
    file: Option<PathBuf>,
    /// Read accounts from the system.
    #[arg(long)]
    live: bool,
    /// The side that the accounts are of; by default every side whose values are made into others.
    #[arg(long, value_name = "a|b", value_parser = side)]
    side: Option<Side>,
    /// Accounts to try at most; 20 by default, and of a file all.
    #[arg(long, value_name = "ACCOUNTS")]
    limit: Option<usize>,
}

fn side(text: &str) -> Result<Side, String> {
    Side::BOTH.into_iter().find(|side| side.as_str() == text).ok_or_else(|| "write a or b".to_owned())
}

/// Tries mappings, and prints what comes of it.
pub async fn run(config: &Config, command: Command, form: Form) -> anyhow::Result<Exit> {
    let Command::Test(test) = command;
    let systems = connect::systems(config)?;
    let connections = connect::connections(config, &systems)?;
    let mut tally = Tally::default();
    for connection in chosen(&connections, test.connection.as_ref())? {
        for side in sides(&connection, test.side) {
            let accounts = accounts(&connection, side, &test).await?;
            let tried = tried(&connection, side, &accounts);
            tally.add(&tried, accounts.len());
            match form {
                Form::Json => tried.iter().for_each(|tried| output::object(&tried.json(&connection, side))),
                Form::Text => print(&connection, side, &tried),
            }
        }
    }
    if form == Form::Text {
        output::line(tally.sentence());
    }
    Ok(if tally.failed == 0 { Exit::Done } else { Exit::Failed })
}

fn chosen(connections: &Connections, name: Option<&ConnectionName>) -> Result<Vec<Arc<Connection>>, UsageError> {
    match name {
        None => Ok(connections.values().cloned().collect()),
        Some(name) => connections.get(name).map(|connection| vec![Arc::clone(connection)]).ok_or_else(|| {
            let known = connections.keys().map(ConnectionName::as_str).collect::<Vec<_>>().join(", ");
            UsageError::new(format!("there is no connection {name}; the configuration has: {known}"))
        }),
    }
}

/// The sides whose values are made into others, or the one that was asked for.
fn sides(connection: &Connection, asked: Option<Side>) -> Vec<Side> {
    let rules = connection.template();
    let converts = |side: Side| rules.attributes.values().any(|rule| rule.mapping.converts(side));
    Side::BOTH.into_iter().filter(|side| asked.map_or_else(|| converts(*side), |asked| asked == *side)).collect()
}

async fn accounts(connection: &Connection, side: Side, test: &Test) -> anyhow::Result<Vec<Snapshot>> {
    let schema = connection.ends[side].schema();
    let limit = test.limit.unwrap_or(if test.file.is_some() { usize::MAX } else { ACCOUNTS });
    let mut accounts = match &test.file {
        Some(file) => sample::read(file, schema)?,
        None if test.live => live(connection, side, limit).await?,
        None => vec![sample::made_up(connection.template(), side, schema)],
    };
    accounts.truncate(limit);
    Ok(accounts)
}

/// The first accounts that the system lists.
async fn live(connection: &Connection, side: Side, limit: usize) -> anyhow::Result<Vec<Snapshot>> {
    let (system, name) = (&connection.ends[side], &connection.systems[side]);
    if !system.schema().readable {
        bail!("{name} cannot be read; try it with --file");
    }
    let mut accounts = Vec::new();
    let mut from = ReadFrom::Start;
    while accounts.len() < limit {
        let page = system.read(&from).await.map_err(|failure| anyhow::anyhow!("{name}: {failure}"))?;
        accounts.extend(page.records.into_iter().filter_map(|record| match record {
            Record::Account(snapshot) => Some(snapshot),
            Record::Unreadable { .. } => None,
        }));
        match page.next {
            Next::Page(position) => from = ReadFrom::Position(position),
            Next::End { .. } => break,
        }
    }
    Ok(accounts)
}

/// What one attribute of one account came to.
struct Tried {
    account: String,
    attribute: AttributePath,
    /// What it is made of; `None` inside: the accounts do not show it.
    inputs: Vec<(AttributePath, Option<Option<Value>>)>,
    /// `None`: not all of it is known.
    made: Option<Result<Option<Value>, Flaw>>,
}

fn tried(connection: &Connection, side: Side, accounts: &[Snapshot]) -> Vec<Tried> {
    let rules = connection.template();
    let mapped = |rule: &&AttributeRule| rule.mapping.converts(side);
    let each = |account: &Snapshot, path: &AttributePath, rule: &AttributeRule| {
        let inputs = rule.sources(side).iter().map(|name| (name.clone(), crate::domain::rules::shown(account, name)));
        let kept = rule.look(side, account);
        Tried {
            account: account.account.to_string(),
            attribute: path.clone(),
            inputs: inputs.collect(),
            made: kept.map(|kept| kept.and_then(|kept| rule.leave(side.other(), &kept))),
        }
    };
    let of_account = |account| {
        let rules = rules.attributes.iter().filter(move |(_, rule)| mapped(rule));
        rules.map(move |(path, rule)| each(account, path, rule))
    };
    accounts.iter().flat_map(of_account).collect()
}

impl Tried {
    fn flaw(&self) -> Option<&Flaw> {
        self.made.as_ref()?.as_ref().err()
    }

    fn json(&self, connection: &Connection, side: Side) -> Json {
        let shown =
            |(name, value): &(AttributePath, Option<Option<Value>>)| Some((name.to_string(), json!(value.as_ref()?)));
        let inputs: Map<String, Json> = self.inputs.iter().filter_map(shown).collect();
        let mut object = json!({
            "connection": connection.name, "side": side, "account": self.account, "attribute": self.attribute,
            "in": inputs,
        });
        match &self.made {
            Some(Ok(value)) => object["out"] = json!(value),
            Some(Err(Flaw { code, what, at })) => {
                object["error"] = json!({ "code": code, "text": what });
                if let Some((line, column)) = at {
                    object["error"]["line"] = json!(line);
                    object["error"]["column"] = json!(column);
                }
            }
            None => object["unknown"] = json!(true),
        }
        object
    }

    fn cells(&self) -> [String; 4] {
        let input = |(name, value): &(AttributePath, Option<Option<Value>>)| match value {
            Some(value) => format!("{} {}", short(name), quoted(value.as_ref(), false)),
            None => format!("{} not shown", short(name)),
        };
        let inputs = self.inputs.iter().map(input).collect::<Vec<_>>().join(", ");
        let made = match &self.made {
            Some(Ok(value)) => quoted(value.as_ref(), false),
            Some(Err(flaw)) => format!("ERROR: {flaw}"),
            None => "unknown: not all that it is made of is shown".to_owned(),
        };
        [self.account.clone(), short(&self.attribute).to_owned(), inputs, made]
    }
}

fn print(connection: &Connection, side: Side, tried: &[Tried]) {
    let systems = &connection.systems;
    let heading = format!("{}: from {} to {}", connection.name, systems[side], systems[side.other()]);
    output::line(&heading);
    output::line("-".repeat(measure_text_width(&heading)));
    let mut table = output::table(&["ACCOUNT", "ATTRIBUTE", "IN", "OUT"]);
    for tried in tried {
        table.add_row(tried.cells());
    }
    output::print(&table);
    output::line("");
}

/// How often it went how.
#[derive(Default)]
struct Tally {
    accounts: usize,
    values: usize,
    failed: usize,
    unknown: usize,
}

impl Tally {
    fn add(&mut self, tried: &[Tried], accounts: usize) {
        self.accounts += accounts;
        self.values += tried.len();
        self.failed += tried.iter().filter(|tried| tried.flaw().is_some()).count();
        self.unknown += tried.iter().filter(|tried| tried.made.is_none()).count();
    }

    fn sentence(&self) -> String {
        if self.values == 0 {
            return "Nothing is made of other values here: no attribute has to_a, to_b or values".to_owned();
        }
        let (accounts, values) = (output::count(self.accounts, "account"), output::count(self.values, "value"));
        let unknown = match self.unknown {
            0 => String::new(),
            unknown => format!(", {unknown} unknown"),
        };
        format!("{accounts}, {values}: {} failed{unknown}", self.failed)
    }
}
