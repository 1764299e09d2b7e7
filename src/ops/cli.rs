//! The command line: arguments, and which function serves them.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};

use super::exit::Exit;
use super::output::{self, Form};
use super::{check, connect, dead, explain, status, sync, topology, worker};
use crate::config::{Config, ProcessEnvironment};
use crate::domain::ConnectionName;
use crate::telemetry::logs;
use crate::telemetry::metrics::Metrics;

/// Keeps the user rosters of several systems in step.
#[derive(Debug, Parser)]
#[command(name = "muster", version, max_term_width = 100)]
struct Cli {
    /// The configuration.
    #[arg(long, env = "MUSTER_CONFIG", default_value = "muster.toml", value_name = "FILE", global = true)]
    config: PathBuf,
    /// Print JSON: lists one object a line, everything else one object; errors as JSON on standard error.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check the configuration, and the systems it names.
    Check {
        /// Look at the file only; connect to nothing.
        #[arg(long)]
        offline: bool,
    },
    /// Sync a connection now.
    Sync {
        /// The connection.
        connection: ConnectionName,
        /// Only this account, as `<system>:<id>`.
        #[arg(long, value_name = "ACCOUNT")]
        only: Option<String>,
        /// Read every account of both sides, not only what changed.
        #[arg(long, conflicts_with = "only")]
        full: bool,
        /// Wait until everything that follows is done, and show the outcomes.
        #[arg(long)]
        wait: bool,
    },
    /// Show connections, runs, systems, queues and workers.
    Status,
    /// Tell why an account is as it is: what both systems hold, what was decided, and what to do next.
    Explain {
        /// The account, as `<system>:<id>`, or an e-mail address or user name that one person has.
        account: String,
        /// Only this attribute.
        attribute: Option<String>,
        /// Only on this connection.
        #[arg(long)]
        connection: Option<ConnectionName>,
        /// Do not ask the systems what they hold today.
        #[arg(long)]
        offline: bool,
    },
    /// Look at dead letters, and send them again.
    Dead {
        #[command(subcommand)]
        command: DeadCommand,
    },
    /// Declare the queues, and list them.
    Topology,
    /// Print the JSON Schema of the configuration.
    ConfigSchema,
}

#[derive(Debug, Subcommand)]
enum DeadCommand {
    /// List open letters.
    List {
        /// Only those of this connection.
        #[arg(long)]
        connection: Option<ConnectionName>,
        /// Only those with this code.
        #[arg(long)]
        code: Option<String>,
    },
    /// Show one letter whole.
    Show {
        /// Its id, as `dead list` prints it.
        letter: String,
    },
    /// Send letters again. What is written is computed anew from today's state.
    Retry {
        /// Their ids, as `dead list` prints them.
        #[arg(required_unless_present = "all")]
        letters: Vec<String>,
        /// All open letters.
        #[arg(long, conflicts_with = "letters")]
        all: bool,
    },
}

/// The whole of `muster`.
pub async fn main() -> ExitCode {
    worker::install_tls();
    let cli = Cli::parse();
    let form = if cli.json { Form::Json } else { Form::Text };
    if let Command::ConfigSchema = cli.command {
        output::line(serde_json::to_string_pretty(&crate::config::schema()).unwrap_or_default());
        return Exit::Done.into();
    }
    let config = match Config::load(&cli.config, &ProcessEnvironment) {
        Ok(config) => config,
        Err(errors) => {
            match form {
                Form::Json => eprintln!("{}", errors.to_json()),
                Form::Text => eprintln!("{errors}"),
            }
            return Exit::Usage.into();
        }
    };
    if let Err(error) = logs::init_quiet(&config.telemetry) {
        eprintln!("{error}");
        return Exit::Usage.into();
    }
    match run(cli.command, &config, form).await {
        Ok(exit) => exit.into(),
        Err(error) => {
            match form {
                Form::Json => eprintln!("{}", serde_json::json!({ "error": format!("{error:#}") })),
                Form::Text => eprintln!("error: {error:#}"),
            }
            if error.is::<connect::Unfit>() || error.is::<sync::UsageError>() {
                Exit::Usage.into()
            } else {
                Exit::Failed.into()
            }
        }
    }
}

async fn run(command: Command, config: &Config, form: Form) -> anyhow::Result<Exit> {
    if let Command::Check { offline } = command {
        return check::run(config, offline, form).await;
    }
    let pipeline = connect::pipeline(config, Arc::new(Metrics::new())).await?;
    let exit = match command {
        Command::Check { .. } | Command::ConfigSchema => Ok(Exit::Done),
        Command::Sync { connection, only, full, wait } => {
            let stop = worker::on_signal()?;
            sync::run(&pipeline, &connection, sync::Ask { only, full, wait }, stop, form).await
        }
        Command::Status => status::run(&pipeline, form).await,
        Command::Explain { account, attribute, connection, offline } => {
            explain::run(&pipeline, &explain::Ask { account, attribute, connection, offline }, form).await
        }
        Command::Dead { command } => match command {
            DeadCommand::List { connection, code } => {
                dead::list(&pipeline, connection.as_ref(), code.as_deref(), form).await
            }
            DeadCommand::Show { letter } => dead::show(&pipeline, &letter, form).await,
            DeadCommand::Retry { letters, all } => dead::retry(&pipeline, &letters, all, form).await,
        },
        Command::Topology => topology::run(&pipeline, form).await,
    };
    use crate::broker::Broker as _;
    pipeline.broker.close().await;
    exit
}
