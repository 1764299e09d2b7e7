//! `muster status`: is it healthy, how far is it, and what waits for a person?

use serde::Serialize;

use super::connect::Mode;
use super::exit::Exit;
use super::outage::Outage;
use super::output::{self, Form};
use super::worker::{how_to_start, missing_among};
use crate::broker::{Broker, BrokerError, QueueDepth};
use crate::domain::schedule::Slot;
use crate::domain::watch::Standing;
use crate::domain::{ChangeOutcome, CommandOutcome, ConnectionName, Sides, SystemName, Timestamp};
use crate::stages::mapper::INCOMPLETE_LINK;
use crate::stages::{Connection, Pipeline, watch};
use crate::store::{Instance, LinkCounts, Pause, Run, Store, StoreError, SystemState};

/// How everything stands.
#[derive(Serialize)]
pub(crate) struct Status {
    pub(crate) connections: Vec<ConnectionStatus>,
    pub(crate) systems: Vec<(SystemName, SystemState)>,
    /// Systems that nobody calls, since their calls fail.
    pub(crate) outages: Vec<Outage>,
    pub(crate) queues: Result<Vec<(String, u64)>, String>,
    pub(crate) instances: Vec<Instance>,
    /// Connections that nobody writes for.
    pub(crate) pauses: Vec<Pause>,
    /// Open letters about messages that belong to no configured connection.
    pub(crate) other_letters: u64,
}

/// How a connection stands.
#[derive(Serialize)]
pub(crate) struct ConnectionStatus {
    pub(crate) connection: ConnectionName,
    #[serde(skip)]
    pub(crate) systems: Sides<SystemName>,
    #[serde(flatten)]
    pub(crate) counts: LinkCounts,
    /// How long a write waits at most until nobody works with its account.
    #[serde(skip)]
    longest_wait: std::time::Duration,
    /// Accounts with only one of the fields that make a link by hand (R4).
    pub(crate) incomplete: usize,
    pub(crate) runs: Vec<Run>,
    pub(crate) schedule: ScheduleStatus,
}

/// When a connection runs by itself, and whether it does.
#[derive(Serialize)]
pub(crate) struct ScheduleStatus {
    /// As text: `daily 02:30 Europe/Paris`.
    pub(crate) rule: String,
    /// The next slot, or the one that is due; absent where there is none, or nobody has begun to keep the schedule.
    pub(crate) next: Option<Timestamp>,
    #[serde(flatten)]
    pub(crate) standing: Standing,
}

impl ScheduleStatus {
    /// Whether a person should look.
    fn is_well(&self) -> bool {
        self.standing.overdue.is_none() && self.standing.failing.is_none()
    }
}

/// Everything that a person on call asks first.
pub(crate) async fn look<B: Broker, S: Store>(pipeline: &Pipeline<B, S>) -> anyhow::Result<Status> {
    let now = Timestamp(jiff::Timestamp::now().as_millisecond());
    let mut connections = Vec::new();
    for (name, connection) in pipeline.connections.iter() {
        let systems = connection.systems.clone();
        let counts = pipeline.store.counts(name).await?;
        let runs = pipeline.store.runs(name, 3).await?;
        let letters = pipeline.store.letters(Some(name)).await?;
        let half_made = letters.iter().filter(|letter| letter.fingerprint.code.as_str() == INCOMPLETE_LINK);
        let incomplete = half_made.count();
        let schedule = schedule(&pipeline.store, connection, now).await?;
        let longest_wait = connection.template().busy.wait;
        let connection = name.clone();
        let status = ConnectionStatus { connection, systems, counts, longest_wait, incomplete, runs, schedule };
        connections.push(status);
    }
    let (mut systems, mut outages) = (Vec::new(), Vec::new());
    for name in pipeline.systems.keys() {
        let state = pipeline.store.system(name).await?;
        outages.extend(Outage::of(pipeline, name, &state));
        systems.push((name.clone(), state.for_calls()));
    }
    let patience = std::time::Duration::from_secs(5);
    let queues = match tokio::time::timeout(patience, pipeline.broker.depths(&pipeline.queues())).await {
        Ok(Ok(depths)) => Ok(depths.into_iter().map(|QueueDepth { name, ready }| (name, ready)).collect()),
        Ok(Err(BrokerError::Missing(_))) => Ok(Vec::new()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("the broker did not answer within {} s", patience.as_secs())),
    };
    let instances = pipeline.store.instances().await?;
    let other_letters = pipeline.store.letters(None).await?.len() as u64;
    let pauses = pipeline.store.pauses().await?;
    Ok(Status { connections, systems, outages, queues, instances, pauses, other_letters })
}

/// Shows everything that a person on call asks first.
pub async fn run<B: Broker, S: Store>(pipeline: &Pipeline<B, S>, mode: &Mode, form: Form) -> anyhow::Result<Exit> {
    let status = look(pipeline).await?;
    let held: u64 = status.connections.iter().map(|connection| connection.counts.held).sum();
    let of_connections: u64 = status.connections.iter().map(|connection| connection.counts.letters).sum();
    let letters = of_connections + status.other_letters;
    match form {
        Form::Json => output::object(&status),
        Form::Text => show(&status, mode, letters),
    }
    let is_well = status.connections.iter().all(|connection| connection.schedule.is_well());
    let is_well = is_well && status.outages.is_empty();
    Ok(if letters > 0 || held > 0 || !is_well { Exit::Attention } else { Exit::Done })
}

async fn schedule<S: Store>(store: &S, connection: &Connection, now: Timestamp) -> Result<ScheduleStatus, StoreError> {
    let rule = connection.schedule.to_string();
    let kept = store.timetable(&connection.name).await?.filter(|timetable| timetable.rule == rule);
    let next = kept.and_then(|timetable| {
        let due = connection.schedule.due(timetable.served, now).map(|slot| slot.at);
        due.or_else(|| connection.schedule.next(timetable.served))
    });
    Ok(ScheduleStatus { rule, next, standing: watch::standing(store, connection, now).await? })
}

fn show(status: &Status, mode: &Mode, letters: u64) {
    status.pauses.iter().map(super::pause::said).for_each(output::line);
    connections(status);
    schedules(status);
    runs(status);
    systems(status);
    status.outages.iter().flat_map(Outage::lines).for_each(output::line);
    queues(status);
    workers(status, mode);
    for ConnectionStatus { connection, counts, .. } in &status.connections {
        if let Some(since) = counts.held_since {
            let held = output::count(usize::try_from(counts.held).unwrap_or(usize::MAX), "account");
            output::line(format!(
                "\n{connection}: writes to {held} are held, the first since {since}. See `muster held list`"
            ));
        }
    }
    for ConnectionStatus { connection, counts, longest_wait, .. } in &status.connections {
        if let Some(since) = counts.deferred_since {
            let deferred = output::count(usize::try_from(counts.deferred).unwrap_or(usize::MAX), "account");
            output::line(format!(
                "\n{connection}: writes to {deferred} wait until nobody works with them, the first since {since} and until {} \
                 at the latest",
                since + *longest_wait
            ));
        }
    }
    if letters > 0 {
        output::line(format!("\nOpen letters: {letters}. See `muster dead list`"));
    }
}

fn connections(status: &Status) {
    let mut table = output::table(&["CONNECTION", "LINKS", "ACCOUNTS", "LETTERS", "HELD", "TO READ AGAIN"]);
    for ConnectionStatus { connection, systems, counts, .. } in &status.connections {
        table.add_row([
            connection.to_string(),
            counts.links.to_string(),
            format!("{} {}, {} {}", systems.a, counts.accounts.a, systems.b, counts.accounts.b),
            counts.letters.to_string(),
            counts.held.to_string(),
            (counts.rereads.a + counts.rereads.b).to_string(),
        ]);
    }
    output::print(&table);
    for ConnectionStatus { connection, incomplete, .. } in
        status.connections.iter().filter(|status| status.incomplete > 0)
    {
        let links = output::count(*incomplete, "incomplete link");
        output::line(format!("{connection}: {links}, see `muster links list {connection} --incomplete`"));
    }
    output::line("");
}

fn schedules(status: &Status) {
    let mut table = output::table(&["SCHEDULE", "", "NEXT", "LAST GOOD RUN", "STATE"]);
    for ConnectionStatus { connection, schedule, .. } in &status.connections {
        let or_dash = |at: Option<Timestamp>| at.map_or("-".to_owned(), |at| at.to_string());
        let ScheduleStatus { rule, next, standing } = schedule;
        let state = match (&standing.failing, standing.overdue) {
            (Some(run), None) => format!("failing since {}", run.began_at),
            (Some(run), Some(slot)) => format!("failing since {}, overdue since {slot}", run.began_at),
            (None, Some(slot)) => format!("overdue since {slot}"),
            (None, None) if standing.good_at.is_some() => "ok".to_owned(),
            (None, None) => "-".to_owned(),
        };
        let row = [connection.to_string(), rule.clone(), or_dash(*next), or_dash(standing.good_at), state];
        table.add_row(row);
    }
    output::print(&table);
    output::line("");
}

fn runs(status: &Status) {
    let mut table = output::table(&["RUN", "OF", "BEGAN", "READ", "ACCEPTED", "COMMANDS", "APPLIED", "DEAD", "STATE"]);
    for ConnectionStatus { connection, runs, .. } in &status.connections {
        for run in runs {
            let state = match &run.failed {
                Some(failed) => failed.clone(),
                None if run.is_over() => match run.slot {
                    Some(Slot { missed: missed @ 1.., .. }) => {
                        format!("over, made up for {}", output::count(missed as usize, "missed slot"))
                    }
                    _ => "over".to_owned(),
                },
                None if run.reading.a || run.reading.b => "reading".to_owned(),
                None => format!("{} in flight", run.changes_in_flight() + run.commands_in_flight()),
            };
            table.add_row([
                run.id.to_string(),
                connection.to_string(),
                run.began_at.to_string(),
                run.read.to_string(),
                run.changes(ChangeOutcome::Accepted).to_string(),
                run.emitted.to_string(),
                run.commands(CommandOutcome::Applied).to_string(),
                run.commands(CommandOutcome::Dead).to_string(),
                state,
            ]);
        }
    }
    if table.row_iter().next().is_some() {
        output::print(&table);
    }
    for ConnectionStatus { connection, .. } in status.connections.iter().filter(|status| status.runs.is_empty()) {
        output::line(format!("{connection} has not run yet: `muster sync {connection} --wait` does it now"));
    }
    output::line("");
}

fn systems(status: &Status) {
    let mut table = output::table(&["SYSTEM", "STATE", "QUOTA USED", "CLOCK AHEAD"]);
    for (name, state) in &status.systems {
        let paused = match (&state.not_before, &state.reason) {
            (Some(until), Some(reason)) => format!("paused until {until}: {reason}"),
            _ => "ok".to_owned(),
        };
        let usage = state.usage.map_or("-".to_owned(), |(used, allowed)| format!("{used} of {allowed}"));
        let clock = state.ahead_ms.map_or("-".to_owned(), |ahead| format!("{:.1} s", ahead as f64 / 1_000.0));
        table.add_row([name.to_string(), paused, usage, clock]);
    }
    output::print(&table);
    output::line("");
}

fn queues(status: &Status) {
    match &status.queues {
        Ok(queues) if queues.is_empty() => {
            output::line("Not all queues are there yet: whoever works next declares them")
        }
        Ok(queues) => {
            let mut table = output::table(&["QUEUE", "MESSAGES"]);
            for (name, ready) in queues.iter().filter(|(_, ready)| *ready > 0) {
                table.add_row([name.clone(), ready.to_string()]);
            }
            if table.row_iter().next().is_some() {
                output::print(&table);
            } else {
                output::line(format!("All {} queues are empty", queues.len()));
            }
        }
        Err(problem) => output::line(format!("The queues cannot be seen: {problem}")),
    }
    output::line("");
}

fn workers(status: &Status, mode: &Mode) {
    let mut table = output::table(&["WORKER", "PROCESS", "VERSION"]);
    for instance in &status.instances {
        table.add_row([instance.role.clone(), instance.name.clone(), instance.version.clone()]);
    }
    if !status.instances.is_empty() {
        output::print(&table);
    }
    how_to_start(&missing_among(&status.instances), mode).into_iter().for_each(output::line);
}
