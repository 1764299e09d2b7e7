//! The producer: reads the accounts of each side and publishes what it sees as changes. Two kinds of tasks a
//! connection, any number of replicas of each, one of each kind at work at a time by lease: the *clerk* begins runs
//! when they are asked for or due, and a *reader* for each side reads.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use super::{Halt, Pipeline, delays, wait};
use crate::broker::{Broker, BrokerError};
use crate::domain::{Side, Token};
use crate::store::{LeaseName, Store};

pub(crate) mod clerk;
pub(super) mod page;
pub(crate) mod reader;

pub use clerk::new_run_id;

/// How long a lease of a reader or a clerk lasts without being renewed. A reader that dies is replaced after this.
const LEASE: Duration = Duration::from_secs(10);

/// The latest runs that are looked through for those to be read. Retries and hourly buckets are runs as well, and must
/// not push one out of sight.
const RUNS: usize = 50;

/// The wait between two looks at what there is to do.
const POLL: Duration = Duration::from_millis(250);

/// Produces until `stop`.
pub async fn run<B: Broker, S: Store>(pipeline: Pipeline<B, S>, stop: CancellationToken) -> Result<(), BrokerError> {
    let tasks = TaskTracker::new();
    let beat = tokio::spawn({
        let (pipeline, stop) = (pipeline.clone(), stop.clone());
        async move { pipeline.beat("producer", stop).await }
    });
    // A step that was begun is finished, unless that takes longer than the drain deadline.
    let stopping = Stopping { stop: stop.clone(), give_up: CancellationToken::new() };
    let (mut leases, mut readers) = (Vec::new(), Vec::new());
    for connection in pipeline.connections.values() {
        let clerk = clerk::Clerk::new(pipeline.clone(), connection.clone(), token());
        leases.push((connection.name.clone(), LeaseName::Runs, clerk.token));
        tasks.spawn(persist("clerk", connection.name.to_string(), stopping.clone(), move |give_up| {
            let clerk = clerk.clone();
            async move { clerk.step(&give_up).await }
        }));
        for side in Side::BOTH {
            let reader = reader::Reader::new(pipeline.clone(), connection.clone(), side);
            readers.push((connection.name.clone(), side, reader.clone()));
            let name = format!("{} side {side}", connection.name);
            tasks.spawn(persist("reader", name, stopping.clone(), move |give_up| {
                let reader = reader.clone();
                async move { reader.step(&give_up).await }
            }));
        }
    }
    tasks.close();
    stop.cancelled().await;
    if tokio::time::timeout(pipeline.settings.drain, tasks.wait()).await.is_err() {
        stopping.give_up.cancel();
        tasks.wait().await;
    }
    leases.extend(readers.into_iter().map(|(name, side, reader)| (name, LeaseName::Reader(side), reader.token())));
    for (connection, lease, token) in leases {
        // Whoever comes next need not wait for it to run out.
        if let Err(error) = pipeline.store.release(&connection, &lease, token).await {
            debug!("Did not give a lease of {connection} back: {error}");
        }
    }
    if let Err(error) = beat.await {
        warn!("The producer's heartbeat ended badly: {error}");
    }
    Ok(())
}

/// How the tasks of a producer are stopped.
#[derive(Clone)]
struct Stopping {
    /// No further step is begun.
    stop: CancellationToken,
    /// The step under way gives up whatever it waits for.
    give_up: CancellationToken,
}

fn token() -> Token {
    Token(fastrand::u64(..))
}

/// What a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// There may be more to do.
    Worked,
    /// There was nothing to do, or somebody else does it.
    Idle,
}

/// Takes step after step until `stop`. A step that fails is taken again: all of them may be.
async fn persist<F>(what: &'static str, name: String, stopping: Stopping, step: impl Fn(CancellationToken) -> F + Send)
where
    F: Future<Output = Result<Step, Halt>> + Send,
{
    let mut growing = delays();
    loop {
        let pause = match step(stopping.give_up.clone()).await {
            Ok(Step::Worked) => {
                growing = delays();
                Duration::ZERO
            }
            Ok(Step::Idle) => POLL,
            Err(Halt::Stopped) => break,
            Err(Halt::NewEpoch) => {
                info!("The store began a new epoch; the {what} of {name} begins again");
                POLL
            }
            Err(halt) => {
                warn!("The {what} of {name} could not go on and tries again: {halt}");
                growing.next().unwrap_or(POLL)
            }
        };
        if wait(&stopping.stop, pause).await.is_err() {
            break;
        }
    }
}
