//! RabbitMQ, 3.10 to 4.x, over plain AMQP 0-9-1 and without a plugin.
//!
//! Two connections, each with its `supervisor`: one publishes, through the one task of the `publisher`; one consumes.
//! [`topology`] says what is declared, `wire` how a message travels.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::{Broker, BrokerError, BrokerHealth, Destination, Outgoing, PublishError, Queue, QueueDepth, delay};
use crate::domain::LetterEntry;
use publisher::Publisher;
use supervisor::{Incarnation, Supervisor};

mod confirm;
mod consumer;
mod delivery;
mod letters;
mod publisher;
mod settings;
mod socket;
mod supervisor;
pub mod topology;
mod wire;

pub use consumer::AmqpConsumer;
pub use delivery::AmqpDelivery;
pub use letters::LetterLog;
pub use settings::{AmqpSettings, SettingsError};
pub use topology::Topology;

/// A RabbitMQ. Clones share the connections; with the last of them, consumers included, the connections end.
#[derive(Debug, Clone)]
pub struct AmqpBroker {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    settings: Arc<AmqpSettings>,
    names: topology::Names,
    publishing: Supervisor,
    consuming: Supervisor,
    publisher: Publisher,
    census: Arc<consumer::Census>,
    runtime: Handle,
    closing: CancellationToken,
    publisher_task: TaskTracker,
    supervisor_tasks: TaskTracker,
    _close_on_drop: [DropGuard; 2],
}

impl AmqpBroker {
    /// Returns at once and connects in the background, again and again, without end. To be called within a tokio
    /// runtime, which then carries the connections.
    pub fn open(settings: AmqpSettings) -> Self {
        let settings = Arc::new(settings);
        let closing = CancellationToken::new();
        // When nobody holds the broker any more, nothing needs its connections.
        let abandoned = CancellationToken::new();
        let (publishing, keep_publishing) =
            Supervisor::new("publisher", Arc::clone(&settings), abandoned.child_token());
        let (consuming, keep_consuming) = Supervisor::new("consumer", Arc::clone(&settings), abandoned.child_token());
        let (publisher, publish) = Publisher::new(Arc::clone(&settings), publishing.clone(), closing.clone());
        let (publisher_task, supervisor_tasks) = (TaskTracker::new(), TaskTracker::new());
        publisher_task.spawn(publish);
        supervisor_tasks.spawn(keep_publishing);
        supervisor_tasks.spawn(keep_consuming);
        publishing.start();
        Self {
            shared: Arc::new(Shared {
                names: topology::Names::new(&settings.prefix),
                settings,
                publishing,
                consuming,
                publisher,
                census: Arc::default(),
                runtime: Handle::current(),
                _close_on_drop: [closing.clone().drop_guard(), abandoned.drop_guard()],
                closing,
                publisher_task,
                supervisor_tasks,
            }),
        }
    }

    /// The log of dead letters, from its first entry to the last one that was stored before this call. Nothing is taken
    /// out, and a bookmark is put in, which waits like every publish while the broker takes no messages.
    ///
    /// # Errors
    /// The log does not exist, or the broker cannot be reached within the connect timeout.
    pub async fn letters(&self) -> Result<LetterLog, BrokerError> {
        let incarnation = self.reachable().await?;
        let message = letters::bookmark();
        let bookmark = message.id.clone();
        match self.publish(vec![Outgoing { to: Destination::Dead, message }]).await {
            Ok(()) => {}
            Err(PublishError::Closed) => return Err(BrokerError::Closed),
            Err(error) => return Err(BrokerError::Refused(error.to_string())),
        }
        let shared = &self.shared;
        LetterLog::open(incarnation, &shared.names.dead(), bookmark, shared.settings.confirm_deadline).await
    }

    /// The consuming connection, which also carries questions: alarms do not block it.
    async fn reachable(&self) -> Result<Arc<Incarnation>, BrokerError> {
        let consuming = &self.shared.consuming;
        match timeout(self.shared.settings.connect_timeout, consuming.connected()).await {
            Ok(Some(incarnation)) => Ok(incarnation),
            Ok(None) => Err(BrokerError::Closed),
            Err(_) => {
                let why = consuming.trouble().unwrap_or_else(|| "no connection yet".to_owned());
                Err(BrokerError::Refused(why))
            }
        }
    }

    /// Waits for an answer as long as for a confirm. A connection that gives none is given up.
    async fn answered<T>(
        &self,
        incarnation: &Incarnation,
        question: impl Future<Output = Result<T, BrokerError>>,
    ) -> Result<T, BrokerError> {
        match timeout(self.shared.settings.confirm_deadline, question).await {
            Ok(answer) => answer,
            Err(_) => {
                incarnation.condemn("it does not answer");
                Err(BrokerError::Refused("no answer in time".to_owned()))
            }
        }
    }
}

impl Broker for AmqpBroker {
    type Consumer = AmqpConsumer;

    async fn publish(&self, messages: Vec<Outgoing>) -> Result<(), PublishError> {
        let parcels = messages
            .into_iter()
            .map(|message| wire::Parcel::new(&self.shared.names, message, fastrand::f64()))
            .collect::<Result<_, _>>()?;
        self.shared.publisher.publish(parcels).await
    }

    /// Returns at once: the consumer attaches itself when it is first asked for a delivery.
    async fn consume(&self, queues: Vec<Queue>, prefetch: u16) -> Result<AmqpConsumer, BrokerError> {
        let shared = &self.shared;
        if shared.closing.is_cancelled() {
            return Err(BrokerError::Closed);
        }
        shared.consuming.start();
        let context = consumer::Shared {
            settings: Arc::clone(&shared.settings),
            supervisor: shared.consuming.clone(),
            closing: shared.closing.clone(),
            census: Arc::clone(&shared.census),
            runtime: shared.runtime.clone(),
        };
        let keep: Arc<dyn Send + Sync> = Arc::clone(shared) as _;
        Ok(AmqpConsumer::new(context, queues, prefetch, keep))
    }

    /// Waits while the broker is away. Where this account may not declare, it only looks, and the error names what is
    /// missing.
    async fn declare(&self, queues: &[Queue]) -> Result<(), BrokerError> {
        let settings = &self.shared.settings;
        let topology = Topology::new(&settings.prefix, queues);
        loop {
            let Some(incarnation) = self.shared.consuming.connected().await else { return Err(BrokerError::Closed) };
            let declared = self.answered(&incarnation, async {
                if settings.declare {
                    let channel = incarnation.connection.create_channel().await.map_err(topology::refused)?;
                    return topology.declare(&channel).await.map_err(topology::refused);
                }
                let missing = topology.missing(&incarnation.connection).await?;
                if missing.is_empty() {
                    return Ok(());
                }
                let text = format!("missing: {}; declare it with `muster topology`", missing.join(", "));
                Err(BrokerError::Refused(text))
            });
            match declared.await {
                // Lost in the middle: that is no answer, so it is asked again.
                Err(_) if incarnation.is_over() || !incarnation.connection.status().connected() => {
                    incarnation.condemn("lost while declaring");
                }
                answer => return answer,
            }
        }
    }

    async fn read_log(&self, mut take: impl FnMut(LetterEntry) + Send) -> Result<(), BrokerError> {
        let mut log = self.letters().await?;
        while let Some(entry) = log.next().await? {
            take(entry);
        }
        Ok(())
    }

    fn rewrites_log(&self) -> bool {
        false
    }

    async fn rewrite_log(
        &self,
        _: impl Fn(&LetterEntry) -> Option<LetterEntry> + Send + 'static,
    ) -> Result<u64, BrokerError> {
        Ok(0)
    }

    async fn depths(&self, queues: &[Queue]) -> Result<Vec<QueueDepth>, BrokerError> {
        let names = &self.shared.names;
        let homes = queues.iter().map(|queue| names.home(queue));
        let rungs = delay::RUNGS.into_iter().map(|rung| names.rung(rung));
        let names: Vec<_> = homes.chain(rungs).chain([names.unrouted()]).collect();
        let incarnation = self.reachable().await?;
        self.answered(&incarnation, async {
            let channel = incarnation.connection.create_channel().await.map_err(topology::refused)?;
            let mut depths = Vec::with_capacity(names.len());
            for name in names {
                let Some(ready) = topology::depth(&channel, &name).await? else {
                    return Err(BrokerError::Missing(name));
                };
                depths.push(QueueDepth { name, ready });
            }
            Ok(depths)
        })
        .await
    }

    fn health(&self) -> BrokerHealth {
        let shared = &self.shared;
        let publishing = shared.publishing.current();
        let blocked = publishing.as_ref().and_then(|incarnation| incarnation.blocked().borrow().clone());
        let consumers = shared.census.consumers.load(Ordering::Relaxed);
        let attached = shared.census.attached.load(Ordering::Relaxed);
        BrokerHealth {
            publishing: publishing.is_some() && blocked.is_none(),
            consuming: consumers == 0 || (shared.consuming.current().is_some() && attached >= consumers),
            blocked,
        }
    }

    async fn close(&self) {
        let shared = &self.shared;
        // Consumers hand out nothing further, and the publisher finishes what it has begun, if the broker lets it.
        shared.closing.cancel();
        shared.publisher_task.close();
        let finished = timeout(shared.settings.confirm_deadline, shared.publisher_task.wait()).await.is_ok();
        if !finished {
            tracing::warn!("Some messages were not confirmed before the connection to the broker was closed");
        }
        shared.publishing.shut_down();
        // Last, so that what was published could still be acknowledged at its source.
        shared.consuming.shut_down();
        shared.supervisor_tasks.close();
        // Each ends within its own deadline.
        shared.supervisor_tasks.wait().await;
    }
}
