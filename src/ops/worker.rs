//! The worker processes: one stage each, over RabbitMQ and Redis, with its health pages, until a signal.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Parser;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::connect::{self, Mode, Unfit};
use super::exit::Exit;
use super::output;
use crate::broker::{Broker, BrokerError, Queue};
use crate::config::{Config, Infrastructure, ProcessEnvironment};
use crate::stages::{self, Pipeline, mapper, producer, watch, writer};
use crate::store::{Instance, Store, StoreError};
use crate::telemetry::health::{self, Readiness};
use crate::telemetry::logs;
use crate::telemetry::metrics::Metrics;

/// A stage that has a process of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Reads the systems.
    Producer,
    /// Decides what follows.
    Mapper,
    /// Writes the systems.
    Writer,
}

impl Role {
    /// The word that `status` shows.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Producer => "producer",
            Self::Mapper => "mapper",
            Self::Writer => "writer",
        }
    }

    /// Every role.
    pub const ALL: [Self; 3] = [Self::Producer, Self::Mapper, Self::Writer];
}

/// Arguments of a worker.
#[derive(Debug, Parser)]
#[command(version, about = "A worker of Muster: runs until SIGTERM or Ctrl-C, then finishes what it has in hand.")]
struct Args {
    /// The configuration.
    #[arg(long, env = "MUSTER_CONFIG", default_value = "muster.toml", value_name = "FILE")]
    config: PathBuf,
}

/// The whole of a worker's `main`.
pub async fn main(role: Role) -> ExitCode {
    install_tls();
    let args = Args::parse();
    let config = match Config::load(&args.config, &ProcessEnvironment) {
        Ok(config) => config,
        Err(errors) => {
            eprintln!("{errors}");
            return Exit::Usage.into();
        }
    };
    if let Err(error) = logs::init(&config.telemetry) {
        eprintln!("{error}");
        return Exit::Usage.into();
    }
    match work(role, &config).await {
        Ok(()) => Exit::Done.into(),
        Err(error) if error.is::<Unfit>() => {
            eprintln!("{error}");
            Exit::Usage.into()
        }
        Err(error) => {
            error!("The {} ends: {error:#}", role.as_str());
            Exit::Failed.into()
        }
    }
}

/// The one TLS provider of the process. Whoever connects first would otherwise choose.
pub fn install_tls() {
    // An error means that one is installed already, which is as good.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
}

async fn work(role: Role, config: &Config) -> anyhow::Result<()> {
    let (broker, store) = match &config.infrastructure {
        Infrastructure::Servers { broker, store } => (broker, store),
        Infrastructure::File { path } => {
            return Err(Unfit(vec![format!(
                "muster-{} works over RabbitMQ and Redis, and this configuration has no [broker] and [store]: it keeps \
                 everything in {}, on which `muster run` does all the work",
                role.as_str(),
                path.display()
            )])
            .into());
        }
    };
    let pipeline = connect::distributed(config, broker, store, Arc::new(Metrics::new())).await?;
    let stop = on_signal()?;
    let listen = match role {
        Role::Producer => config.telemetry.listen.producer,
        Role::Mapper => config.telemetry.listen.mapper,
        Role::Writer => config.telemetry.listen.writer,
    };
    serve_health(listen, &pipeline, &stop).await?;
    run(role, pipeline, stop).await
}

/// Serves the health pages and metrics of this process, unless there is no address for them; where they are.
pub async fn serve_health<B: Broker, S: Store>(
    listen: Option<SocketAddr>,
    pipeline: &Pipeline<B, S>,
    stop: &CancellationToken,
) -> anyhow::Result<Option<SocketAddr>> {
    let Some(address) = listen else { return Ok(None) };
    let metrics = &pipeline.metrics;
    let server = health::serve(address, Arc::clone(metrics), readiness(pipeline, metrics, stop), stop.clone())
        .await
        .with_context(|| format!("serving health pages on {address}; see [telemetry] listen"))?;
    info!("Serving /livez, /readyz and /metrics on http://{}", server.address);
    Ok(Some(server.address))
}

/// The stages that nobody runs.
pub async fn missing<S: Store>(store: &S) -> Result<Vec<Role>, StoreError> {
    Ok(missing_among(&store.instances().await?))
}

/// The stages that none of these runs.
pub fn missing_among(alive: &[Instance]) -> Vec<Role> {
    Role::ALL.into_iter().filter(|role| !alive.iter().any(|instance| instance.role == role.as_str())).collect()
}

/// What to start so that these stages are run, a line each.
pub fn how_to_start(missing: &[Role], mode: &Mode) -> Vec<String> {
    match mode {
        Mode::Distributed => {
            missing.iter().map(|role| format!("No {0} is running: start muster-{0}", role.as_str())).collect()
        }
        Mode::Embedded(_) if missing.is_empty() => Vec::new(),
        Mode::Embedded(database) => vec![format!("Nothing works on {}: start `muster run`", database.path().display())],
    }
}

/// Runs a stage until `stop`, and closes the broker's connections.
pub async fn run<B: Broker, S: Store>(
    role: Role,
    pipeline: Pipeline<B, S>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let broker = pipeline.broker.clone();
    let result = stage(role, pipeline, stop).await;
    broker.close().await;
    result
}

/// Runs several stages until `stop`, or until one of them ends: then the others stop as well, and its error is returned.
pub async fn stages<B: Broker, S: Store>(
    roles: &[Role],
    pipeline: &Pipeline<B, S>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let own = stop.child_token();
    let mut tasks = JoinSet::new();
    for role in roles.iter().copied() {
        let (pipeline, own) = (pipeline.clone(), own.child_token());
        tasks.spawn(async move { (role, stage(role, pipeline, own).await) });
    }
    let mut first = Ok(());
    while let Some(ended) = tasks.join_next().await {
        let result = match ended {
            Ok((role, Err(error))) => Err(error.context(format!("the {} ended", role.as_str()))),
            Ok((role, Ok(()))) if !own.is_cancelled() => Err(anyhow::anyhow!("the {} ended unasked", role.as_str())),
            Ok((_, Ok(()))) => Ok(()),
            Err(error) => Err(anyhow::Error::from(error).context("a stage ended with a defect")),
        };
        // Nothing is left half done by one stage for long: what is in hand is finished, the rest stays in its queue.
        own.cancel();
        first = first.and(result);
    }
    first
}

/// Runs a stage until `stop`.
pub async fn stage<B: Broker, S: Store>(
    role: Role,
    pipeline: Pipeline<B, S>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let (broker, queues) = (pipeline.broker.clone(), pipeline.queues());
    info!("The {} works on {}", role.as_str(), output::count(pipeline.connections.len(), "connection"));
    tokio::select! {
        () = stop.cancelled() => return Ok(()),
        declared = declare(&broker, &queues) => declared?,
    }
    // Whoever works looks after the schedules: where all producers are dead, somebody else has to say so.
    let mut watching = tokio::spawn(watch::run(pipeline.clone(), stop.clone()));
    let result = match role {
        Role::Producer => producer::run(pipeline, stop).await,
        Role::Mapper => mapper::run(pipeline, stop).await,
        Role::Writer => writer::run(pipeline, stop).await,
    };
    // Stopped, it gives its leases back; a stage that failed stops it.
    if tokio::time::timeout(std::time::Duration::from_secs(1), &mut watching).await.is_err() {
        watching.abort();
    }
    result?;
    info!("The {} has stopped", role.as_str());
    Ok(())
}

/// Declares the queues, tried without end: a broker that has just started refuses what it grants a moment later, and a
/// queue that only another account may declare is still to come. Only a queue with other settings is a person's to mend.
async fn declare(broker: &impl Broker, queues: &[Queue]) -> Result<(), BrokerError> {
    let mut told = None;
    for delay in stages::delays() {
        let error = match broker.declare(queues).await {
            Ok(()) => return Ok(()),
            Err(error @ BrokerError::Mismatch(_)) => return Err(error),
            Err(error) => error,
        };
        let trouble = error.to_string();
        if told.as_ref() != Some(&trouble) {
            warn!("The queues are not there yet, trying on: {trouble}");
            told = Some(trouble);
        }
        tokio::time::sleep(delay).await;
    }
    Ok(())
}

/// Cancelled by SIGTERM or Ctrl-C; the second of them ends the process at once.
pub fn on_signal() -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::spawn({
        let stop = stop.clone();
        async move {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            info!("Stopping: finishing what is in hand");
            stop.cancel();
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            // Whoever asks twice does not want to wait. What is in hand comes again, as after any other death.
            warn!("Stopping at once");
            std::process::exit(1);
        }
    });
    Ok(stop)
}

/// Ready means: broker and store answer. Looked at every second, so that asking costs nothing.
fn readiness<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    metrics: &Arc<Metrics>,
    stop: &CancellationToken,
) -> impl Fn() -> Readiness + Send + Sync + 'static {
    let latest = Arc::new(std::sync::Mutex::new(Readiness::default()));
    tokio::spawn({
        let (pipeline, metrics, stop, latest) =
            (pipeline.clone(), Arc::clone(metrics), stop.clone(), Arc::clone(&latest));
        async move {
            loop {
                let health = pipeline.broker.health();
                let store = pipeline.store.ping().await;
                metrics.broker(&health);
                metrics.store(store.is_ok());
                let mut readiness = Readiness::default();
                if let Some(reason) = &health.blocked {
                    readiness = readiness.without("broker", format!("it has blocked publishing: {reason}"));
                } else if !health.publishing {
                    readiness = readiness.without("broker", "there is no connection for publishing");
                }
                if !health.consuming {
                    readiness = readiness.without("broker", "there is no connection for consuming");
                }
                if let Err(error) = store {
                    readiness = readiness.without("store", error.to_string());
                }
                *latest.lock().expect("nothing panics while the lock is held") = readiness;
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(std::time::Duration::from_secs(1)) => {}
                }
            }
        }
    });
    move || latest.lock().expect("nothing panics while the lock is held").clone()
}
