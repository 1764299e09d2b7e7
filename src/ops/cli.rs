//! The command line: arguments, and which function serves them.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Parser, Subcommand};

use super::connect::{Mode, Opened};
use super::exit::Exit;
use super::init::Kind;
use super::output::{self, Form};
use super::{
    audit, backup, bench, check, conflicts, connect, dead, demo, explain, forget, held, init, links, map, pause, plan,
    replay, run, simulate, status, sync, topology, undo, worker,
};
use crate::broker::Broker;
use crate::config::{Config, ProcessEnvironment};
use crate::console;
use crate::domain::guard::Risk;
use crate::domain::{ConnectionName, RunId, SystemName};
use crate::stages::Pipeline;
use crate::store::Store;
use crate::telemetry::logs;
use crate::telemetry::metrics::Metrics;

mod acts;

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
    /// See it work, on this machine alone: two imitated systems, edits, an outage, and checks of it all.
    ///
    /// Both systems run in this process, with invented people; everything else is Muster as it always works, over a
    /// temporary file. No configuration is read. Shorter than usual are only the lease of a write (3 s, not 12 s) and
    /// the time that a request may take (1 s, not 8 s). Exit status 1: a check failed.
    Demo {
        /// People in the CRM.
        #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(i64::from(demo::FEWEST_USERS)..=100_000))]
        users: u32,
        /// Leave everything up until Ctrl-C, for trying the other commands.
        #[arg(long)]
        keep: bool,
    },
    /// Write a configuration to begin with.
    Init {
        /// The kind of the system that leads.
        #[arg(default_value = "salesforce")]
        from: Kind,
        /// The kind of the system that follows.
        #[arg(default_value = "scim")]
        to: Kind,
    },
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
    /// Show what a sync would change, and why, without changing anything. Exit status 4: it would change something.
    Plan {
        /// The connection; all of them if none is named.
        connection: Option<ConnectionName>,
        /// What `sync --full` would change: every account of both sides is read.
        #[arg(long)]
        full: bool,
        /// Accounts to show at most; with --json, and where no terminal shows them, there is no limit by default.
        #[arg(long, value_name = "ACCOUNTS")]
        limit: Option<usize>,
    },
    /// Decide recorded changes again under another configuration, and list each decision that would differ. Nothing is
    /// read from the systems or written anywhere. Exit status 4: something differs.
    Replay {
        /// The other configuration.
        #[arg(long, value_name = "FILE")]
        with: PathBuf,
        /// The connection; all of them if none is named.
        connection: Option<ConnectionName>,
        /// Only changes since then: so long ago ("30m", "12h", "7d"), or a time ("2026-03-01T12:00:00Z").
        #[arg(long, value_parser = super::conflicts::since)]
        since: Option<super::conflicts::Since>,
        /// The latest so many changes of each connection; there is no limit by default.
        #[arg(long, value_name = "CHANGES")]
        limit: Option<usize>,
    },
    /// Keep all connections in step until SIGTERM or Ctrl-C: all stages in one process.
    Run,
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
    /// Look at dead letters, send them again or close them.
    Dead {
        #[command(subcommand)]
        command: dead::Command,
    },
    /// See who is linked with whom; link accounts and end links, one by one or by the thousand.
    Links {
        #[command(subcommand)]
        command: links::Command,
    },
    /// Try expressions and value tables on accounts, without writing anything.
    Map {
        #[command(subcommand)]
        command: map::Command,
    },
    /// See values that did not win a conflict, and give them back.
    Conflicts {
        #[command(subcommand)]
        command: conflicts::Command,
    },
    /// Look at writes that a guard has stopped, let them pass or refuse them.
    Held {
        #[command(subcommand)]
        command: HeldCommand,
    },
    /// Bring back what a run has overwritten. What somebody has changed since stays, and is named. Guards hold what they would
    /// hold of any write.
    ///
    /// Where values flow one way, the target is set back, and the source is left alone: what is restored stands until the
    /// source changes it. Both ways, both sides are set back. The same command carries on what was stopped or killed.
    Undo {
        /// The run, as `muster status` shows it.
        run: RunId,
        /// The connection, where several have a run of this name, as they have for each hour of live changes.
        #[arg(long)]
        connection: Option<ConnectionName>,
        /// Only show what would be done.
        #[arg(long)]
        dry_run: bool,
        /// Deactivate the accounts that the run has created. Nobody is ever deleted.
        #[arg(long)]
        deactivate_created: bool,
        /// Wait until the writers are done, and show what became of it.
        #[arg(long)]
        wait: bool,
    },
    /// Stop every write of a connection at once, until `resume`. Reading goes on, and what is to be written waits.
    Pause {
        /// The connection.
        #[arg(required_unless_present = "all")]
        connection: Option<ConnectionName>,
        /// All connections.
        #[arg(long, conflicts_with = "connection")]
        all: bool,
    },
    /// Let the writes of a paused connection go on, or have a system called again that was left alone since its calls failed.
    Resume {
        /// The connection.
        #[arg(required_unless_present_any = ["all", "system"])]
        connection: Option<ConnectionName>,
        /// All connections that were paused together; one that was paused by itself stays so.
        #[arg(long, conflicts_with = "connection")]
        all: bool,
        /// A system that `muster status` calls failing: it is well again.
        #[arg(long, value_name = "SYSTEM", conflicts_with_all = ["connection", "all"])]
        system: Option<SystemName>,
    },
    /// Erase what is remembered of a person: values of conflicts, of recorded changes, of messages that nobody could read, and
    /// of links with one account left. That something was erased stays, in the log of acts.
    Forget {
        /// An account of theirs, as `<system>:<id>`, or an e-mail address or user name that one person has.
        account: String,
        /// Tell what would be erased, by kind and count, and erase nothing.
        #[arg(long)]
        dry_run: bool,
        /// Do not ask at a terminal.
        #[arg(long, short)]
        yes: bool,
    },
    /// See what people did with Muster: who, when, what, why, and what it came to.
    Audit {
        #[command(subcommand)]
        command: audit::Command,
    },
    /// Copy the file that holds queues and links, also while `muster run` works on it.
    Backup {
        /// The copy; it must not be there yet.
        to: PathBuf,
    },
    /// Measure what Muster costs on this machine, beside bare loops and a skeleton that do the same input and output.
    ///
    /// The servers are those of --amqp and --redis, else those of the configuration; without servers only the embedded mode
    /// is measured. Queues and keys have names of their own and are removed at the end. Takes about a quarter of an hour; the
    /// machine should have nothing else to do. Use a release build.
    Bench(bench::Arguments),
    /// Play small worlds in which everything goes wrong, and judge what comes of it: processes are killed, answers lost,
    /// memory lost, and people edit both sides all the while. No configuration is read, and nothing is connected to.
    ///
    /// A seed replays exactly. Exit status 1: in one of the worlds something that must be true was not; what, and how it
    /// came to that, is printed.
    Simulate(simulate::Arguments),
    /// Serve the web console and the HTTP API until SIGTERM or Ctrl-C, beside whatever works.
    ///
    /// Without tokens in the configuration it serves loopback only, and prints a token to sign in with.
    Console(console::Arguments),
    /// Make tokens for the HTTP API and the console.
    Token {
        #[command(subcommand)]
        command: console::token::Command,
    },
    /// Print the OpenAPI description of the HTTP API.
    Openapi,
    /// Declare the queues, and list them.
    Topology,
    /// Print the JSON Schema of the configuration.
    ConfigSchema,
}

#[derive(Debug, Subcommand)]
enum HeldCommand {
    /// List what is held, the longest waiting first.
    List {
        #[command(flatten)]
        which: HeldFilter,
        /// What was rejected or has expired, too.
        #[arg(long)]
        rejected: bool,
        /// Writes to show at most.
        #[arg(long, value_name = "WRITES")]
        limit: Option<usize>,
    },
    /// Let writes pass. Each is written if it still has the value that `held list` shows.
    Approve {
        #[command(flatten)]
        which: HeldFilter,
        /// Everything that is held.
        #[arg(long)]
        all: bool,
        /// What was rejected or has expired, too.
        #[arg(long)]
        rejected: bool,
        /// Do not ask at a terminal.
        #[arg(long, short)]
        yes: bool,
    },
    /// Refuse writes. The value is not written until its source changes it; `held approve --rejected <account>` takes it back.
    Reject {
        #[command(flatten)]
        which: HeldFilter,
        /// Everything that is held.
        #[arg(long)]
        all: bool,
        /// Do not ask at a terminal.
        #[arg(long, short)]
        yes: bool,
    },
}

/// Which held writes are meant.
#[derive(Debug, clap::Args)]
struct HeldFilter {
    /// Only those of these accounts, as `<system>:<id>`.
    accounts: Vec<String>,
    /// Only those of this connection.
    #[arg(long)]
    connection: Option<ConnectionName>,
    /// Only those of this kind.
    #[arg(long, value_parser = risks())]
    risk: Option<Risk>,
}

impl HeldFilter {
    fn with(self, rejected: bool) -> held::Filter {
        let Self { accounts, connection, risk } = self;
        held::Filter { connection, risk, accounts, rejected, ..held::Filter::default() }
    }
}

/// The kinds of writes that have budgets.
fn risks() -> impl TypedValueParser<Value = Risk> {
    PossibleValuesParser::new(Risk::ALL.map(Risk::as_str)).map(|word| {
        let known = Risk::ALL.into_iter().find(|risk| risk.as_str() == word);
        known.expect("the parser before has refused every other word")
    })
}

/// The whole of `muster`.
pub async fn main() -> ExitCode {
    worker::install_tls();
    let cli = Cli::parse();
    let form = if cli.json { Form::Json } else { Form::Text };
    let exit = match cli.command {
        Command::ConfigSchema => {
            output::line(serde_json::to_string_pretty(&crate::config::schema()).unwrap_or_default());
            Ok(Exit::Done)
        }
        Command::Openapi => {
            output::line(serde_json::to_string_pretty(&console::api::openapi()).unwrap_or_default());
            Ok(Exit::Done)
        }
        Command::Token { command } => console::token::run(command, form),
        Command::Init { from, to } => init::run(from, to, &cli.config, form),
        Command::Bench(arguments) => measure(arguments, &cli.config, form).await,
        Command::Simulate(arguments) => simulate(arguments, form).await,
        Command::Demo { users, keep } => demonstrate(demo::Options { users, keep }, form).await,
        command => {
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
            // One that works for long logs what it does; the others say it themselves.
            let init =
                if matches!(command, Command::Run | Command::Console(_)) { logs::init } else { logs::init_quiet };
            if let Err(error) = init(&config.telemetry) {
                eprintln!("{error}");
                return Exit::Usage.into();
            }
            serve(command, &config, form).await
        }
    };
    match exit {
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

async fn demonstrate(options: demo::Options, form: Form) -> anyhow::Result<Exit> {
    demo::run(options, worker::on_signal()?, form).await
}

async fn simulate(arguments: simulate::Arguments, form: Form) -> anyhow::Result<Exit> {
    simulate::run(arguments, worker::on_signal()?, form).await
}

async fn measure(arguments: bench::Arguments, config: &Path, form: Form) -> anyhow::Result<Exit> {
    bench::run(arguments.options(config)?, worker::on_signal()?, form).await
}

async fn serve(command: Command, config: &Config, form: Form) -> anyhow::Result<Exit> {
    match command {
        Command::Check { offline } => return check::run(config, offline, form).await,
        Command::Map { command } => return map::run(config, command, form).await,
        Command::Backup { to } => return backup::run(config, &to, form).await,
        Command::Plan { connection, full, limit } => {
            let stop = worker::on_signal()?;
            return plan::run(config, &plan::Ask { connection, full, limit }, stop, form).await;
        }
        _ => {}
    }
    match connect::open(config, Arc::new(Metrics::new())).await? {
        Opened::Distributed(pipeline) => serve_with(command, &pipeline, &Mode::Distributed, config, form).await,
        Opened::Embedded(pipeline, file) => {
            let exit = serve_with(command, &pipeline, &Mode::Embedded(file.clone()), config, form).await;
            // So that whoever copies the file afterwards has everything in it.
            drop(pipeline);
            file.close().await;
            exit
        }
    }
}

/// The commands that work with a pipeline, of either mode. What changes something is noted in the log of acts.
async fn serve_with<B: Broker, S: Store>(
    command: Command,
    pipeline: &Pipeline<B, S>,
    mode: &Mode,
    config: &Config,
    form: Form,
) -> anyhow::Result<Exit> {
    let exit = match command.act() {
        Some(act) => {
            let work = carry_out(command, pipeline, mode, config, form);
            audit::recorded(pipeline, &audit::Who::at_the_command_line(), act, work).await
        }
        None => carry_out(command, pipeline, mode, config, form).await,
    };
    pipeline.broker.close().await;
    exit
}

async fn carry_out<B: Broker, S: Store>(
    command: Command,
    pipeline: &Pipeline<B, S>,
    mode: &Mode,
    config: &Config,
    form: Form,
) -> anyhow::Result<Exit> {
    match command {
        Command::Bench(_)
        | Command::Simulate(_)
        | Command::Demo { .. }
        | Command::Init { .. }
        | Command::Check { .. }
        | Command::Plan { .. }
        | Command::Map { .. }
        | Command::Backup { .. }
        | Command::Token { .. }
        | Command::Openapi
        | Command::ConfigSchema => Ok(Exit::Done),
        Command::Console(arguments) => {
            console::run(pipeline, mode, config, &arguments, worker::on_signal()?, form).await
        }
        Command::Run => run::run(pipeline, mode, config.telemetry.listen.run, worker::on_signal()?, form).await,
        Command::Sync { connection, only, full, wait } => {
            let stop = worker::on_signal()?;
            sync::run(pipeline, mode, &connection, sync::Ask { only, full, wait }, stop, form).await
        }
        Command::Replay { with, connection, since, limit } => {
            let ask = replay::Ask { with, connection, since, limit };
            replay::run(&pipeline.store, &pipeline.connections, &ask, form).await
        }
        Command::Undo { run, connection, dry_run, deactivate_created, wait } => {
            let ask = undo::Ask { run, connection, dry_run, deactivate_created, wait };
            undo::run(pipeline, mode, ask, worker::on_signal()?, form).await
        }
        Command::Status => status::run(pipeline, mode, form).await,
        Command::Explain { account, attribute, connection, offline } => {
            explain::run(pipeline, mode, &explain::Ask { account, attribute, connection, offline }, form).await
        }
        Command::Dead { command } => dead::run(pipeline, mode, command, form).await,
        Command::Links { command } => links::run(pipeline, mode, config, command, form).await,
        Command::Conflicts { command } => conflicts::run(pipeline, mode, command, form).await,
        Command::Held { command } => match command {
            HeldCommand::List { which, rejected, limit } => {
                held::list(pipeline, &which.with(rejected), limit, form).await
            }
            HeldCommand::Approve { which, all, rejected, yes } => {
                let decision = held::Decision { filter: which.with(rejected), all, sure: yes };
                held::approve(pipeline, mode, &decision, form).await
            }
            HeldCommand::Reject { which, all, yes } => {
                let decision = held::Decision { filter: which.with(false), all, sure: yes };
                held::reject(pipeline, &decision, form).await
            }
        },
        Command::Pause { connection, all: _ } => pause::pause(pipeline, connection, form).await,
        Command::Resume { system: Some(system), .. } => pause::resume_system(pipeline, &system, form).await,
        Command::Resume { connection, .. } => pause::resume(pipeline, connection, form).await,
        Command::Topology => topology::run(pipeline, form).await,
        Command::Forget { account, dry_run, yes } => {
            let options = forget::Options { dry_run, sure: yes };
            forget::run(pipeline, mode, &account, options, form).await
        }
        Command::Audit { command } => audit::run(pipeline, command, form).await,
    }
}
