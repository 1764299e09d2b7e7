//! `muster sync`: asks for a run and follows it. Beside running workers it only asks; stages that nobody runs, it runs
//! itself for as long as the run takes. Over a file one process does all the work, so there it runs all of them or none.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::audit;
use super::connect::{Mode, operator};
use super::exit::Exit;
use super::output::{self, Form};
use super::worker::{self, Role, missing};
use crate::broker::Broker;
use crate::domain::{AccountId, ChangeOutcome, CommandOutcome, ConnectionName, Side};
use crate::stages::producer::new_run_id;
use crate::stages::{Connection, Pipeline};
use crate::store::{Run, RunKind, Store, StoreError, SyncRequest};

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Only this account, as `<system>:<id>`.
    pub only: Option<String>,
    /// Every account of both sides.
    pub full: bool,
    /// Whether to wait for the end.
    pub wait: bool,
}

/// What was asked for does not exist.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(String);

impl UsageError {
    /// With this text for the person.
    pub fn new(text: String) -> Self {
        Self(text)
    }
}

/// How long a store that does not answer is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Notes for whoever produces that a run is wanted: what was noted, and when it can begin to read.
pub(crate) async fn request<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    name: &ConnectionName,
    ask: &Ask,
) -> anyhow::Result<(SyncRequest, Instant)> {
    let (kind, only) = kind_of(pipeline, name, ask)?;
    let request = SyncRequest { run: new_run_id(), kind, by: operator(), only };
    let opens_at = ask_for(pipeline, name, &request).await?;
    Ok((request, opens_at))
}

/// What kind of run is meant, and the account that it is about.
pub(crate) fn kind_of<B, S>(
    pipeline: &Pipeline<B, S>,
    name: &ConnectionName,
    ask: &Ask,
) -> anyhow::Result<(RunKind, Option<(Side, AccountId)>)> {
    let connection = pipeline.connections.get(name).ok_or_else(|| {
        let known = pipeline.connections.keys().map(ConnectionName::as_str).collect::<Vec<_>>().join(", ");
        UsageError(format!("there is no connection {name}; the configuration has: {known}"))
    })?;
    let only = ask.only.as_deref().map(|text| account(connection, text)).transpose()?;
    let kind = match (&only, ask.full) {
        (Some(_), _) => RunKind::Only,
        (None, true) => RunKind::Reconcile,
        (None, false) => RunKind::Sync,
    };
    Ok((kind, only))
}

/// Asks for a run, and follows it if asked to.
pub async fn run<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    mode: &Mode,
    name: &ConnectionName,
    ask: Ask,
    stop: CancellationToken,
    form: Form,
) -> anyhow::Result<Exit> {
    let (request, opens_at) = request(pipeline, name, &ask).await?;
    let missing = missing(&pipeline.store).await?;
    let (is_served, until) = match mode {
        Mode::Distributed => (!missing.contains(&Role::Producer), if ask.wait { Until::Over } else { Until::Read }),
        // What one process begins, nobody would end for it.
        Mode::Embedded(_) => (missing.is_empty(), Until::Over),
    };
    if is_served && !ask.wait {
        return asked(name, &request, &missing, mode, form);
    }
    let own = CancellationToken::new();
    let tasks = TaskTracker::new();
    let followed = tokio::select! {
        followed = follow(pipeline, name, &request, until, opens_at, form) => followed,
        error = stand_in(pipeline, mode, until, &own, &tasks) => Err(error),
        () = stop.cancelled() => Err(anyhow::anyhow!(
            "stopped waiting for run {}; it goes on with {}, see `muster status`",
            request.run,
            match mode {
                Mode::Distributed => "the workers",
                Mode::Embedded(_) => "the next `muster run` or `muster sync`",
            }
        )),
    };
    own.cancel();
    tasks.close();
    tasks.wait().await;
    let (run, took) = followed?;
    let held = pipeline.store.counts(name).await?.held;
    audit::count("read", u64::from(run.read));
    audit::count("emitted", u64::from(run.emitted));
    report(name, &run, held, took, form);
    Ok(exit(&run, held))
}

/// Notes the request for whoever produces; when its run can begin to read.
async fn ask_for<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    name: &ConnectionName,
    request: &SyncRequest,
) -> Result<Instant, StoreError> {
    // The first to ask begins the store's memory of the connection.
    let epoch = pipeline.store.epoch(name).await?;
    pipeline.store.request(name, request).await?;
    let opens_at = epoch.began_at + pipeline.settings.quarantine();
    let wait = Duration::from_millis(u64::try_from(opens_at.0 - epoch.now.0).unwrap_or(0));
    Ok(Instant::now() + wait)
}

/// Asks for a run beside stages that work already, and follows it to its end.
pub(super) async fn follow_new<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    name: &ConnectionName,
    kind: RunKind,
    form: Form,
) -> anyhow::Result<(Run, Duration)> {
    let request = SyncRequest { run: new_run_id(), kind, by: operator(), only: None };
    let opens_at = ask_for(pipeline, name, &request).await?;
    follow(pipeline, name, &request, Until::Over, opens_at, form).await
}

fn asked(
    name: &ConnectionName,
    request: &SyncRequest,
    missing: &[Role],
    mode: &Mode,
    form: Form,
) -> anyhow::Result<Exit> {
    match form {
        Form::Json => output::object(&serde_json::json!({ "connection": name, "run": request.run })),
        Form::Text => {
            let whom = match mode {
                Mode::Distributed => "the producer",
                Mode::Embedded(_) => "the process at work",
            };
            output::line(format!("Asked {whom} for run {}; follow it with `muster status`", request.run));
            for role in missing {
                output::line(format!("No {0} is running: start muster-{0}, or use --wait", role.as_str()));
            }
        }
    }
    Ok(Exit::Done)
}

/// The account that somebody means by `<system>:<id>`.
fn account(connection: &Connection, text: &str) -> anyhow::Result<(Side, AccountId)> {
    let (system, id) = text.split_once(':').ok_or_else(|| {
        UsageError(format!("`{text}` is no account; write <system>:<id>, such as {}:005...", connection.systems.a))
    })?;
    let side = Side::BOTH.into_iter().find(|side| connection.systems[*side].as_str() == system).ok_or_else(|| {
        UsageError(format!(
            "{} connects {} and {}, not {system}",
            connection.name, connection.systems.a, connection.systems.b
        ))
    })?;
    let id = connection.parse_id(side, id).ok_or_else(|| UsageError(format!("`{id}` is no account id of {system}")))?;
    Ok((side, id))
}

/// Runs the stages that nobody else runs, and looks again and again: a worker counts as running for a while after it
/// died, and one that runs now may not last as long as the run. Returns when one of them fails here.
async fn stand_in<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    mode: &Mode,
    until: Until,
    own: &CancellationToken,
    tasks: &TaskTracker,
) -> anyhow::Error {
    if let Mode::Embedded(database) = mode
        && let Err(error) = database.lead().await
    {
        return error.into();
    }
    let mut run_here = Vec::new();
    let (failed, mut failures) = tokio::sync::mpsc::channel(Role::ALL.len());
    loop {
        let wanted = match mode {
            // A store that is away is noticed by whoever follows the run.
            Mode::Distributed => missing(&pipeline.store).await.unwrap_or_default(),
            // Nobody else works, whoever was heard of a moment ago.
            Mode::Embedded(_) => Role::ALL.to_vec(),
        };
        for role in wanted {
            if run_here.contains(&role) || (until == Until::Read && role != Role::Producer) {
                continue;
            }
            run_here.push(role);
            let (pipeline, own, failed) = (pipeline.clone(), own.clone(), failed.clone());
            tasks.spawn(async move {
                if let Err(error) = worker::stage(role, pipeline, own).await {
                    let error = error.context(format!("the {} ended", role.as_str()));
                    // Nobody listens any more: the run is over.
                    drop(failed.send(error).await);
                }
            });
        }
        if let Ok(Some(error)) = tokio::time::timeout(Duration::from_secs(1), failures.recv()).await {
            return error;
        }
    }
}

/// How far a run is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    Read,
    Over,
}

/// Follows a run, with a progress bar at a terminal. Nothing is read before `opens_at`.
pub(super) async fn follow<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    name: &ConnectionName,
    request: &SyncRequest,
    until: Until,
    opens_at: Instant,
    form: Form,
) -> anyhow::Result<(Run, Duration)> {
    let began = Instant::now();
    let bar = bar(form);
    let mut seen = false;
    let mut away_since: Option<Instant> = None;
    let mut told_of_pause = false;
    loop {
        match look(pipeline, name, request).await {
            Ok(Sight::Begun { run, quiet }) => {
                seen = true;
                away_since = None;
                show(&bar, &run, opens_at);
                let pauses = pipeline.store.pauses().await.unwrap_or_default();
                if let Some(pause) = pauses.iter().find(|pause| pause.is_of(name)) {
                    bar.set_message(super::pause::said(pause));
                    if form == Form::Text && !told_of_pause {
                        bar.suspend(|| eprintln!("{}", super::pause::said(pause)));
                    }
                    told_of_pause = true;
                }
                let read = !run.reading.a && !run.reading.b;
                if (until == Until::Read && read) || (run.is_over() && quiet) {
                    bar.finish_and_clear();
                    return Ok((*run, began.elapsed()));
                }
            }
            Ok(Sight::Waiting) if !seen => {
                away_since = None;
                bar.set_message("waiting for the run to begin");
            }
            Ok(_) => {
                bar.finish_and_clear();
                anyhow::bail!("the store lost run {}; what is in step stays so, run the command again", request.run);
            }
            Err(StoreError::Unavailable(reason)) => {
                let since = *away_since.get_or_insert_with(Instant::now);
                bar.set_message(format!("waiting for the store: {reason}"));
                anyhow::ensure!(since.elapsed() < PATIENCE, "the store does not answer: {reason}");
            }
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// What the store says of a run that was asked for.
enum Sight {
    /// It began; `quiet`: it is over, and nothing else of the connection is under way.
    Begun { run: Box<Run>, quiet: bool },
    /// It was asked for and has not begun.
    Waiting,
    /// Neither.
    Lost,
}

async fn look<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    name: &ConnectionName,
    request: &SyncRequest,
) -> Result<Sight, StoreError> {
    // In this order: a request is dropped once its run has begun.
    let asked = pipeline.store.requests(name).await?.iter().any(|asked| asked.run == request.run);
    Ok(match pipeline.store.run(name, &request.run).await? {
        Some(run) => Sight::Begun { quiet: run.is_over() && quiet(pipeline, name).await?, run: Box::new(run) },
        None if asked => Sight::Waiting,
        None => Sight::Lost,
    })
}

/// Whether nothing that belongs to the connection is still under way: accounts to read again, and live changes.
async fn quiet<B: Broker, S: Store>(pipeline: &Pipeline<B, S>, name: &ConnectionName) -> Result<bool, StoreError> {
    let rereads = pipeline.store.counts(name).await?.rereads;
    let runs = pipeline.store.runs(name, 5).await?;
    let live_is_over = runs.iter().filter(|run| run.kind == RunKind::Live).all(Run::is_over);
    Ok(rereads.a == 0 && rereads.b == 0 && live_is_over)
}

/// A progress bar on standard error, where that is a terminal.
pub(super) fn bar(form: Form) -> ProgressBar {
    let shown = form == Form::Text && std::io::stderr().is_terminal();
    let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(None, target);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} [{bar:30}] {pos}/{len} {per_sec} {eta}") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

fn show(bar: &ProgressBar, run: &Run, opens_at: Instant) {
    let over = |in_flight: i64, of: u32| u64::from(of).saturating_sub(u64::try_from(in_flight).unwrap_or(0));
    let read = u64::from(run.read);
    let expected = run.expected.unwrap_or(0).max(read);
    bar.set_length(expected + u64::from(run.emitted));
    bar.set_position(over(run.changes_in_flight(), run.read) + over(run.commands_in_flight(), run.emitted));
    bar.set_message(match (run.reading.a || run.reading.b, run.changes_in_flight() > 0) {
        (true, _) if run.read == 0 => match opens_at.saturating_duration_since(Instant::now()).as_secs() {
            0 => "waiting to read".to_owned(),
            seconds => format!("waiting {seconds} s, until nothing from before can land any more"),
        },
        (true, _) => format!("read {read}"),
        (false, true) => "deciding".to_owned(),
        (false, false) => format!("writing {}", run.emitted),
    });
}

/// `held`: links of the connection of which something waits for a person.
fn exit(run: &Run, held: u64) -> Exit {
    if run.failed.is_some() {
        return Exit::Failed;
    }
    let waits = run.changes(ChangeOutcome::Refused)
        + run.changes(ChangeOutcome::Undecodable)
        + run.commands(CommandOutcome::Dead);
    if waits > 0 || held > 0 { Exit::Attention } else { Exit::Done }
}

/// The outcomes of a run, and that they add up.
#[derive(Serialize)]
struct Report<'r> {
    connection: &'r ConnectionName,
    run: &'r crate::domain::RunId,
    seconds: f64,
    read: u32,
    changes: std::collections::BTreeMap<&'static str, u32>,
    changes_in_flight: i64,
    emitted: u32,
    commands: std::collections::BTreeMap<&'static str, u32>,
    commands_in_flight: i64,
    /// Links of which something waits for a person, whichever run brought that about.
    held: u64,
    failed: Option<&'r str>,
}

fn report(name: &ConnectionName, run: &Run, held: u64, took: Duration, form: Form) {
    if form == Form::Json {
        output::object(&Report {
            connection: name,
            run: &run.id,
            seconds: took.as_secs_f64(),
            read: run.read,
            changes: ChangeOutcome::ALL.iter().map(|outcome| (outcome.as_str(), run.changes(*outcome))).collect(),
            changes_in_flight: run.changes_in_flight(),
            emitted: run.emitted,
            commands: CommandOutcome::ALL.iter().map(|outcome| (outcome.as_str(), run.commands(*outcome))).collect(),
            commands_in_flight: run.commands_in_flight(),
            held,
            failed: run.failed.as_deref(),
        });
        return;
    }
    let rate = f64::from(run.read) / took.as_secs_f64().max(0.001);
    output::line(format!("{name}: run {} took {}, {rate:.0} accounts/s", run.id, output::duration(took)));
    let mut table = output::table(&["CHANGES", "", "COMMANDS", ""]);
    let mut left: Vec<(String, String)> = vec![("read".to_owned(), run.read.to_string())];
    left.extend(
        ChangeOutcome::ALL
            .iter()
            .filter(|o| run.changes(**o) > 0)
            .map(|o| (format!("  {o}"), run.changes(*o).to_string())),
    );
    if run.changes_in_flight() != 0 {
        left.push(("  in flight".to_owned(), run.changes_in_flight().to_string()));
    }
    let mut right: Vec<(String, String)> = vec![("emitted".to_owned(), run.emitted.to_string())];
    right.extend(
        CommandOutcome::ALL
            .iter()
            .filter(|o| run.commands(**o) > 0)
            .map(|o| (format!("  {o}"), run.commands(*o).to_string())),
    );
    if run.commands_in_flight() != 0 {
        right.push(("  in flight".to_owned(), run.commands_in_flight().to_string()));
    }
    for row in 0..left.len().max(right.len()) {
        let (a, b) = left.get(row).cloned().unwrap_or_default();
        let (c, d) = right.get(row).cloned().unwrap_or_default();
        table.add_row([a, b, c, d]);
    }
    output::print(&table);
    if let Some(failed) = &run.failed {
        output::line(format!("The run ended early: {failed}"));
    }
    if held > 0 {
        let accounts = output::count(usize::try_from(held).unwrap_or(usize::MAX), "account");
        output::line(format!("Writes to {accounts} are held: see `muster held list`"));
    }
    if exit(run, 0) == Exit::Attention {
        output::line("Something waits for a person: see `muster dead list`");
    }
}
