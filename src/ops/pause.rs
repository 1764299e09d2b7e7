//! `muster pause` and `muster resume`: nobody writes, until a person says so. Reading goes on, and commands wait. A system
//! that was left alone since its calls failed is called again by `muster resume --system`.

use super::connect::operator;
use super::exit::Exit;
use super::output::{self, Form};
use super::sync::UsageError;
use crate::broker::Broker;
use crate::domain::{ConnectionName, SystemName};
use crate::stages::{PAUSES_BELIEVED, Pipeline};
use crate::store::{Pause, Store};

/// What is paused or goes on: a connection, or all of them (`None`).
pub(crate) fn target<B, S>(
    pipeline: &Pipeline<B, S>,
    connection: Option<ConnectionName>,
) -> Result<Option<ConnectionName>, UsageError> {
    match connection {
        Some(name) if !pipeline.connections.contains_key(&name) => {
            let known = pipeline.connections.keys().map(ConnectionName::as_str).collect::<Vec<_>>().join(", ");
            Err(UsageError::new(format!("there is no connection {name}; the configuration has: {known}")))
        }
        connection => Ok(connection),
    }
}

/// Stops every write of a connection (`None`: of all). Returns when no call begins any more; one under way may still end.
/// What is paused then is the answer.
pub(crate) async fn stop_writes<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    connection: Option<ConnectionName>,
) -> anyhow::Result<Vec<Pause>> {
    let connection = target(pipeline, connection)?;
    pipeline.store.pause(connection.as_ref(), &operator()).await?;
    // So long a writer may believe that there is no pause.
    tokio::time::sleep(PAUSES_BELIEVED).await;
    Ok(pipeline.store.pauses().await?)
}

/// Lets the writes of a connection (`None`: of all that were paused together) go on; whether they were paused.
pub(crate) async fn let_write<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    connection: Option<ConnectionName>,
) -> anyhow::Result<bool> {
    let connection = target(pipeline, connection)?;
    Ok(pipeline.store.resume(connection.as_ref()).await?)
}

/// Stops every write of a connection (`None`: of all), and says so.
pub async fn pause<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    connection: Option<ConnectionName>,
    form: Form,
) -> anyhow::Result<Exit> {
    let pauses = stop_writes(pipeline, connection).await?;
    match form {
        Form::Json => output::object(&serde_json::json!({ "pauses": pauses })),
        Form::Text => {
            pauses.iter().for_each(|pause| output::line(said(pause)));
            let deadline = output::duration(pipeline.settings.deadline);
            output::line(format!("No write begins any more; one that was under way may still land within {deadline}"));
        }
    }
    Ok(Exit::Done)
}

/// Lets the writes of a connection (`None`: of all that were paused together) go on, and says so.
pub async fn resume<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    connection: Option<ConnectionName>,
    form: Form,
) -> anyhow::Result<Exit> {
    let was_paused = let_write(pipeline, connection.clone()).await?;
    let pauses = pipeline.store.pauses().await?;
    let what = what(connection.as_ref());
    match form {
        Form::Json => output::object(&serde_json::json!({ "resumed": was_paused, "pauses": pauses })),
        Form::Text => {
            output::line(match was_paused {
                true => format!("Writes of {what} go on; what waited looks again within 30 s"),
                false => format!("{what} was not paused by itself"),
            });
            pauses.iter().for_each(|pause| output::line(said(pause)));
        }
    }
    Ok(Exit::Done)
}

/// Has a system called again that was left alone since its calls failed: a person says that it is well.
pub async fn resume_system<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    system: &SystemName,
    form: Form,
) -> anyhow::Result<Exit> {
    if !pipeline.systems.contains_key(system) {
        let known = pipeline.systems.keys().map(SystemName::as_str).collect::<Vec<_>>().join(", ");
        return Err(UsageError::new(format!("there is no system {system}; the configuration has: {known}")).into());
    }
    let was_open = loop {
        let state = pipeline.store.system(system).await?;
        if state.circuit.open.is_none() {
            break false;
        }
        if pipeline.store.save_circuit(system, &state.circuit.closed(state.now)).await? {
            break true;
        }
    };
    match form {
        Form::Json => output::object(&serde_json::json!({ "system": system, "resumed": was_open })),
        Form::Text => output::line(match was_open {
            true => format!("{system} is called again; what waited looks again within 30 s"),
            false => format!("{system} is called as ever"),
        }),
    }
    Ok(Exit::Done)
}

/// A connection, or all of them, in words.
pub(crate) fn what(connection: Option<&ConnectionName>) -> String {
    connection.map_or("all connections".to_owned(), ToString::to_string)
}

/// A pause for people.
pub(super) fn said(pause: &Pause) -> String {
    let Pause { connection, since, by } = pause;
    let resume = connection.as_ref().map_or("--all".to_owned(), ToString::to_string);
    format!("Paused: {}, since {since} by {by}; `muster resume {resume}` ends it", what(connection.as_ref()))
}
