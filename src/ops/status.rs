//! `muster status`: is it healthy, how far is it, and what waits for a person?

use serde::Serialize;

use super::connect::Distributed;
use super::exit::Exit;
use super::output::{self, Form};
use crate::broker::{Broker, QueueDepth};
use crate::domain::{ChangeOutcome, CommandOutcome, ConnectionName, SystemName};
use crate::store::{Instance, LinkCounts, Run, Store, SystemState};

#[derive(Serialize)]
struct Status {
    connections: Vec<ConnectionStatus>,
    systems: Vec<(SystemName, SystemState)>,
    queues: Result<Vec<(String, u64)>, String>,
    instances: Vec<Instance>,
}

#[derive(Serialize)]
struct ConnectionStatus {
    connection: ConnectionName,
    #[serde(flatten)]
    counts: LinkCounts,
    runs: Vec<Run>,
}

/// Shows everything that a person on call asks first.
pub async fn run(pipeline: &Distributed, form: Form) -> anyhow::Result<Exit> {
    let mut connections = Vec::new();
    for name in pipeline.connections.keys() {
        let counts = pipeline.store.counts(name).await?;
        let runs = pipeline.store.runs(name, 3).await?;
        connections.push(ConnectionStatus { connection: name.clone(), counts, runs });
    }
    let mut systems = Vec::new();
    for name in pipeline.systems.keys() {
        systems.push((name.clone(), pipeline.store.system(name).await?));
    }
    let patience = std::time::Duration::from_secs(5);
    let queues = match tokio::time::timeout(patience, pipeline.broker.depths(&pipeline.queues())).await {
        Ok(Ok(depths)) => Ok(depths.into_iter().map(|QueueDepth { name, ready }| (name, ready)).collect()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("the broker did not answer within {} s", patience.as_secs())),
    };
    let status = Status { connections, systems, queues, instances: pipeline.store.instances().await? };
    // Letters about messages may belong to no connection.
    let homeless = pipeline.store.letters(None).await?.iter().filter(|letter| letter.connection.is_none()).count();
    let letters = homeless as u64 + status.connections.iter().map(|status| status.counts.letters).sum::<u64>();
    match form {
        Form::Json => output::object(&status),
        Form::Text => show(&status),
    }
    if form == Form::Text && homeless > 0 {
        output::line(format!("{homeless} open letters belong to no connection; see `muster dead list`"));
    }
    Ok(if letters > 0 { Exit::Attention } else { Exit::Done })
}

fn show(status: &Status) {
    let mut table = output::table(&["CONNECTION", "LINKS", "A", "B", "LETTERS", "TO READ AGAIN"]);
    for ConnectionStatus { connection, counts, .. } in &status.connections {
        table.add_row([
            connection.to_string(),
            counts.links.to_string(),
            counts.accounts.a.to_string(),
            counts.accounts.b.to_string(),
            counts.letters.to_string(),
            (counts.rereads.a + counts.rereads.b).to_string(),
        ]);
    }
    output::print(&table);
    output::line("");
    let mut table = output::table(&["RUN", "OF", "BEGAN", "READ", "ACCEPTED", "COMMANDS", "APPLIED", "DEAD", "STATE"]);
    for ConnectionStatus { connection, runs, .. } in &status.connections {
        for run in runs {
            let state = match &run.failed {
                Some(failed) => failed.clone(),
                None if run.is_over() => "over".to_owned(),
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
    output::print(&table);
    output::line("");
    let mut table = output::table(&["SYSTEM", "STATE", "QUOTA USED"]);
    for (name, state) in &status.systems {
        let paused = match (&state.not_before, &state.reason) {
            (Some(until), Some(reason)) => format!("paused until {until}: {reason}"),
            _ => "ok".to_owned(),
        };
        let usage = state.usage.map_or("-".to_owned(), |(used, allowed)| format!("{used} of {allowed}"));
        table.add_row([name.to_string(), paused, usage]);
    }
    output::print(&table);
    output::line("");
    match &status.queues {
        Ok(queues) => {
            let mut table = output::table(&["QUEUE", "MESSAGES"]);
            for (name, ready) in queues {
                table.add_row([name.clone(), ready.to_string()]);
            }
            output::print(&table);
        }
        Err(problem) => output::line(format!("The queues cannot be seen: {problem}")),
    }
    output::line("");
    let mut table = output::table(&["WORKER", "PROCESS", "VERSION"]);
    for instance in &status.instances {
        table.add_row([instance.role.clone(), instance.name.clone(), instance.version.clone()]);
    }
    output::print(&table);
    if status.instances.is_empty() {
        output::line("No worker is running: start muster-producer, muster-mapper and muster-writer");
    }
}
