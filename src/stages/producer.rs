//! The producer: reads the accounts of each side and publishes what it sees as changes. Two kinds of tasks a
//! connection, any number of replicas of each, one of each kind at work at a time by lease: the *clerk* begins runs
//! when they are asked for or due, and a *reader* for each side reads.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use super::{Halt, Pipeline, delays, wait};
use crate::broker::{Broker, BrokerError};
use crate::domain::{Side, Token};
use crate::store::Store;

pub(super) mod clerk;
pub(super) mod page;
pub(super) mod reader;

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
    tasks.spawn({
        let (pipeline, stop) = (pipeline.clone(), stop.clone());
        async move { pipeline.beat("producer", stop).await }
    });
    for connection in pipeline.connections.values() {
        let clerk = clerk::Clerk { pipeline: pipeline.clone(), connection: connection.clone(), token: token() };
        tasks.spawn(persist("clerk", connection.name.to_string(), stop.clone(), move |stop| {
            let clerk = clerk.clone();
            async move { clerk.step(&stop).await }
        }));
        for side in Side::BOTH {
            let reader = reader::Reader::new(pipeline.clone(), connection.clone(), side, token());
            let name = format!("{} side {side}", connection.name);
            tasks.spawn(persist("reader", name, stop.clone(), move |stop| {
                let reader = reader.clone();
                async move { reader.step(&stop).await }
            }));
        }
    }
    tasks.close();
    tasks.wait().await;
    Ok(())
}

fn token() -> Token {
    Token(fastrand::u64(..))
}

/// What a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// There may be more to do.
    Worked,
    /// There was nothing to do, or somebody else does it.
    Idle,
}

/// Takes step after step until `stop`. A step that fails is taken again: all of them may be.
async fn persist<F>(
    what: &'static str,
    name: String,
    stop: CancellationToken,
    step: impl Fn(CancellationToken) -> F + Send,
) where
    F: Future<Output = Result<Step, Halt>> + Send,
{
    let mut growing = delays();
    loop {
        let pause = match step(stop.clone()).await {
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
        if wait(&stop, pause).await.is_err() {
            break;
        }
    }
}
