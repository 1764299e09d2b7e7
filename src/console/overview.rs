//! How everything stands, for a person and a program.

use schemars::JsonSchema;
use serde::Serialize;

use super::operations::Over;
use crate::broker::Broker;
use crate::domain::{ChangeOutcome, CommandOutcome, ConnectionName};
use crate::ops::outage::Outage;
use crate::ops::status::{self, ConnectionStatus, Status};
use crate::ops::worker::{how_to_start, missing_among};
use crate::store::{Pause, Run, Store, SystemState};

/// How everything stands.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Overview {
    /// When it was looked at.
    pub at: String,
    /// The connections.
    pub connections: Vec<ConnectionView>,
    /// The systems.
    pub systems: Vec<SystemView>,
    /// Queues that have messages.
    pub queues: Vec<QueueView>,
    /// Why the queues cannot be seen, if so.
    pub queues_problem: Option<String>,
    /// Who works.
    pub workers: Vec<WorkerView>,
    /// What to start so that all stages are run.
    pub missing: Vec<String>,
    /// Who writes nothing, since a person said so.
    pub pauses: Vec<PauseView>,
    /// Open letters about messages that belong to no configured connection.
    pub other_letters: u64,
}

/// A connection.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ConnectionView {
    /// Its name.
    pub connection: String,
    /// The system on side a.
    pub a: String,
    /// The system on side b.
    pub b: String,
    /// `ok`, `paused`, `failing`, `overdue` or `not_run_yet`.
    pub state: String,
    /// The same for a person.
    pub state_text: String,
    /// Links.
    pub links: u64,
    /// Accounts that links hold on side a.
    pub accounts_a: u64,
    /// Accounts that links hold on side b.
    pub accounts_b: u64,
    /// Open letters.
    pub letters: u64,
    /// Accounts of which something waits for approval.
    pub held: u64,
    /// Accounts that wait to be read again.
    pub to_read_again: u64,
    /// Accounts of which a write waits until nobody works with them.
    pub deferred: u64,
    /// Accounts with only one of the fields that make a link by hand.
    pub incomplete: usize,
    /// When it runs by itself.
    pub schedule: String,
    /// The next time.
    pub next_run: Option<String>,
    /// When the last run that went well began: how fresh the connection is.
    pub last_good_run: Option<String>,
    /// The latest runs.
    pub runs: Vec<RunView>,
}

/// A run.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RunView {
    /// Its id.
    pub run: String,
    /// The connection.
    pub connection: String,
    /// `sync`, `reconcile`, `only`, `retry` or `live`.
    pub kind: String,
    /// Who or what began it.
    pub by: String,
    /// When.
    pub began_at: String,
    /// `reading`, `in_flight`, `over` or `failed`.
    pub state: String,
    /// The same for a person.
    pub state_text: String,
    /// Per cent of what is known to be done; absent when it is over.
    pub progress: Option<u8>,
    /// Changes that were read.
    pub read: u32,
    /// Accounts that the systems say there are, if they said so.
    pub expected: Option<u64>,
    /// Changes that were accepted.
    pub accepted: u32,
    /// Commands emitted.
    pub commands: u32,
    /// Commands applied.
    pub applied: u32,
    /// Commands that became dead letters.
    pub dead: u32,
    /// Changes and commands that have no outcome yet.
    pub in_flight: i64,
    /// Why it ended before its end, if it did.
    pub failed: Option<String>,
}

/// A system.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct SystemView {
    /// Its name.
    pub system: String,
    /// `ok`, `paused` or `failing`: then nobody calls it.
    pub state: String,
    /// The same for a person.
    pub state_text: String,
    /// Calls used in the system's own window, as it last said.
    pub used: Option<u64>,
    /// Calls allowed in it.
    pub allowed: Option<u64>,
    /// By how many milliseconds its clock is ahead of the store's.
    pub clock_ahead_ms: Option<i64>,
}

/// A queue.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct QueueView {
    /// Its name.
    pub queue: String,
    /// Messages that nobody has taken.
    pub messages: u64,
}

/// A process that works.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct WorkerView {
    /// `producer`, `mapper` or `writer`.
    pub role: String,
    /// `host/pid`.
    pub process: String,
    /// Version of the program.
    pub version: String,
}

/// A pause.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct PauseView {
    /// The connection; absent: all of them.
    pub connection: Option<String>,
    /// Since when.
    pub since: String,
    /// Who said so.
    pub by: String,
}

impl ConnectionView {
    /// Whether a person should look.
    pub fn is_well(&self) -> bool {
        self.state == "ok" && self.letters == 0 && self.held == 0 && self.incomplete == 0
    }

    fn new(status: &ConnectionStatus, pauses: &[Pause]) -> Self {
        let ConnectionStatus { connection, systems, counts, incomplete, runs, schedule, .. } = status;
        let standing = &schedule.standing;
        let pause = pauses.iter().find(|pause| pause.is_of(connection));
        let (state, state_text) = match (&standing.failing, standing.overdue) {
            _ if pause.is_some() => {
                let by = pause.map(|pause| format!("paused by {} since {}", pause.by, pause.since));
                ("paused", by.unwrap_or_default())
            }
            (Some(run), _) => ("failing", format!("failing since {}", run.began_at)),
            (None, Some(slot)) => ("overdue", format!("overdue since {slot}")),
            (None, None) if standing.good_at.is_none() && runs.is_empty() => {
                ("not_run_yet", "has not run yet".to_owned())
            }
            (None, None) => ("ok", "ok".to_owned()),
        };
        Self {
            connection: connection.to_string(),
            a: systems.a.to_string(),
            b: systems.b.to_string(),
            state: state.to_owned(),
            state_text,
            links: counts.links,
            accounts_a: counts.accounts.a,
            accounts_b: counts.accounts.b,
            letters: counts.letters,
            held: counts.held,
            to_read_again: counts.rereads.a + counts.rereads.b,
            deferred: counts.deferred,
            incomplete: *incomplete,
            schedule: schedule.rule.clone(),
            next_run: schedule.next.map(|at| at.to_string()),
            last_good_run: standing.good_at.map(|at| at.to_string()),
            runs: runs.iter().map(|run| RunView::new(connection, run)).collect(),
        }
    }
}

impl RunView {
    pub(super) fn new(connection: &ConnectionName, run: &Run) -> Self {
        let in_flight = run.changes_in_flight() + run.commands_in_flight();
        let reading = run.reading.a || run.reading.b;
        let (state, state_text) = match &run.failed {
            Some(failed) => ("failed", failed.clone()),
            None if run.is_over() => ("over", "over".to_owned()),
            None if reading => ("reading", "reading".to_owned()),
            None => ("in_flight", format!("{in_flight} in flight")),
        };
        let all = u64::from(run.read).max(run.expected.unwrap_or_default()) + u64::from(run.emitted);
        let open = u64::try_from(in_flight).unwrap_or_default() + all - u64::from(run.read) - u64::from(run.emitted);
        let done = (all.saturating_sub(open) * 100).checked_div(all).unwrap_or_default();
        Self {
            run: run.id.to_string(),
            connection: connection.to_string(),
            kind: serde_json::to_value(run.kind)
                .ok()
                .and_then(|kind| Some(kind.as_str()?.to_owned()))
                .unwrap_or_default(),
            by: run.by.clone(),
            began_at: run.began_at.to_string(),
            state: state.to_owned(),
            state_text,
            progress: (!run.is_over() && run.failed.is_none()).then(|| u8::try_from(done.min(100)).unwrap_or(100)),
            read: run.read,
            expected: run.expected,
            accepted: run.changes(ChangeOutcome::Accepted),
            commands: run.emitted,
            applied: run.commands(CommandOutcome::Applied),
            dead: run.commands(CommandOutcome::Dead),
            in_flight,
            failed: run.failed.clone(),
        }
    }
}

impl SystemView {
    fn new(system: &crate::domain::SystemName, state: &SystemState, outage: Option<&Outage>) -> Self {
        let (word, text) = match (outage, &state.not_before, &state.reason) {
            (Some(outage), ..) => ("failing", outage.lines().concat()),
            (None, Some(until), Some(reason)) => ("paused", format!("paused until {until}: {reason}")),
            _ => ("ok", "ok".to_owned()),
        };
        Self {
            system: system.to_string(),
            state: word.to_owned(),
            state_text: text,
            used: state.usage.map(|(used, _)| used),
            allowed: state.usage.map(|(_, allowed)| allowed),
            clock_ahead_ms: state.ahead_ms,
        }
    }
}

impl<B: Broker, S: Store> Over<B, S> {
    /// How everything stands.
    pub(super) async fn all_of_it(&self) -> anyhow::Result<Overview> {
        let Status { connections, systems, outages, queues, instances, pauses, other_letters } =
            status::look(&self.pipeline).await?;
        let (queues, queues_problem) = match queues {
            Ok(queues) => (queues, None),
            Err(problem) => (Vec::new(), Some(problem)),
        };
        Ok(Overview {
            at: super::now().to_string(),
            connections: connections.iter().map(|connection| ConnectionView::new(connection, &pauses)).collect(),
            systems: systems
                .iter()
                .map(|(name, state)| SystemView::new(name, state, outages.iter().find(|outage| outage.system == *name)))
                .collect(),
            queues: queues
                .into_iter()
                .filter(|(_, messages)| *messages > 0)
                .map(|(queue, messages)| QueueView { queue, messages })
                .collect(),
            queues_problem,
            missing: how_to_start(&missing_among(&instances), &self.mode),
            workers: instances
                .into_iter()
                .map(|instance| WorkerView { role: instance.role, process: instance.name, version: instance.version })
                .collect(),
            pauses: pauses
                .into_iter()
                .map(|Pause { connection, since, by }| PauseView {
                    connection: connection.map(|name| name.to_string()),
                    since: since.to_string(),
                    by,
                })
                .collect(),
            other_letters,
        })
    }
}
