//! `muster run`: all stages in one process, until SIGTERM or Ctrl-C. Over a file it is the one process that works; over
//! servers it works beside others, as three workers would.

use std::net::SocketAddr;
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::connect::Mode;
use super::exit::Exit;
use super::output::{self, Form};
use super::sync::UsageError;
use super::worker::{self, Role};
use crate::broker::Broker;
use crate::domain::schedule::Schedule;
use crate::stages::Pipeline;
use crate::store::Store;

/// Works until `stop`. `listen`: where the health pages are served.
pub async fn run<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    mode: &Mode,
    listen: Option<SocketAddr>,
    stop: CancellationToken,
    form: Form,
) -> anyhow::Result<Exit> {
    if pipeline.connections.is_empty() {
        return Err(UsageError::new(
            "there is nothing to do: the configuration has no [connections.<name>]".to_owned(),
        )
        .into());
    }
    if let Mode::Embedded(database) = mode {
        // Waiting, it says in the log for whom.
        tokio::select! {
            () = stop.cancelled() => return Ok(Exit::Done),
            led = database.lead() => led?,
        }
    }
    let began = Instant::now();
    // The pages go on while what is in hand is finished.
    let pages = CancellationToken::new();
    let address = worker::serve_health(listen, pipeline, &pages).await?;
    greet(pipeline, mode, address, form);
    let worked = worker::stages(&Role::ALL, pipeline, &stop).await;
    pages.cancel();
    worked?;
    match form {
        Form::Json => output::object(&serde_json::json!({ "stopped": true, "seconds": began.elapsed().as_secs_f64() })),
        Form::Text => output::line(format!(
            "Stopped after {}; what was left goes on at the next start",
            output::duration(began.elapsed())
        )),
    }
    Ok(Exit::Done)
}

/// Says on what it works.
fn greet<B: Broker, S: Store>(pipeline: &Pipeline<B, S>, mode: &Mode, address: Option<SocketAddr>, form: Form) {
    let file = match mode {
        Mode::Distributed => None,
        Mode::Embedded(database) => Some(database.path()),
    };
    let health = address.map(|address| format!("http://{address}"));
    if form == Form::Json {
        let connections: Vec<_> = pipeline.connections.keys().collect();
        output::object(&serde_json::json!({ "file": file, "connections": connections, "health": health }));
        return;
    }
    let place = file.map_or("RabbitMQ and Redis".to_owned(), |file| file.display().to_string());
    output::line(format!("Working on {place}; Ctrl-C stops it"));
    for (name, connection) in pipeline.connections.iter() {
        let when = match &connection.schedule {
            Schedule::Manual => format!("when asked: `muster sync {name} --wait`"),
            schedule => schedule.to_string(),
        };
        output::line(format!("{name} runs {when}"));
    }
    if let Some(health) = health {
        output::line(format!("Health and metrics: {health}/readyz, {health}/metrics"));
    }
}
