//! The producer: reads the accounts of each side and publishes what it sees as changes. Two kinds of tasks a
//! connection, any number of replicas of each, one of each kind at work at a time by lease: the *clerk* begins runs
//! when they are asked for or due, and a *reader* for each side reads.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use super::{Connection, Halt, Pipeline, delays, wait};
use crate::broker::{Broker, BrokerError};
use crate::domain::{Side, Token};
use crate::store::{LeaseName, Store};

mod clerk;
mod page;
mod reader;

pub use clerk::new_run_id;

/// How long a lease of a reader or a clerk lasts without being renewed. A reader that dies is replaced after this.
const LEASE: Duration = Duration::from_secs(10);

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
        let stop_clerk = stop.clone();
        tasks.spawn(async move {
            persist("clerk", clerk.connection.name.to_string(), stop_clerk, |stop| {
                let clerk = clerk.clone();
                async move { clerk.step(&stop).await }
            })
            .await;
            clerk.pipeline.leave(&clerk.connection, &LeaseName::Runs, clerk.token).await;
        });
        for side in Side::BOTH {
            let (connection, token, stop_reader) = (connection.clone(), token(), stop.clone());
            let (pipeline, name) = (pipeline.clone(), format!("{} side {side}", connection.name));
            tasks.spawn(async move {
                let reader = reader::Reader::new(pipeline.clone(), connection.clone(), side, token);
                persist("reader", name, stop_reader, |stop| {
                    let reader = reader.clone();
                    async move { reader.step(&stop).await }
                })
                .await;
                pipeline.leave(&connection, &LeaseName::Reader(side), token).await;
            });
        }
    }
    tasks.close();
    tasks.wait().await;
    Ok(())
}

impl<B: Broker, S: Store> Pipeline<B, S> {
    /// Gives a lease up, so that a successor need not wait for its end. Tried once: it ends by itself.
    async fn leave(&self, connection: &Connection, lease: &LeaseName, token: Token) {
        if let Err(error) = self.store.release(&connection.name, lease, token).await {
            debug!("A lease of {} ends by itself: {error}", connection.name);
        }
    }
}

fn token() -> Token {
    Token(fastrand::u64(..))
}

/// What a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
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
