//! What a stage sees of a broker: it publishes and knows when that is durable; it takes deliveries and settles each
//! once. RabbitMQ is in [`amqp`], the queues of the embedded mode's file in [`embedded`].

use std::future::Future;
use std::time::Duration;

use crate::domain::LetterEntry;

pub mod amqp;
pub mod delay;
pub mod embedded;
pub mod message;
pub mod queue;

pub use message::{Message, MessageError};
pub use queue::Queue;

/// How long RabbitMQ keeps an entry of the log of dead letters at least, where no policy says less. It drops entries by
/// segments, so some stay longer.
pub const LETTER_LOG_KEPT: Duration = Duration::from_secs(365 * 24 * 3_600);

/// Why a publish did not happen. Everything else (a lost connection, a refusing broker, a missing confirm) is waited
/// out and tried again with the same message id, without end, until the caller is cancelled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// There is no such queue. `muster topology` declares what is missing.
    #[error("message {message_id} could not be routed: there is no queue {queue}; declare it with `muster topology`")]
    Unroutable {
        /// Where it should have gone.
        queue: String,
        /// The message.
        message_id: String,
    },
    /// The message is over the broker's size limit.
    #[error("message {message_id} has {size_bytes} bytes, over the limit of {limit_bytes}")]
    TooLarge {
        /// The message.
        message_id: String,
        /// Its size.
        size_bytes: usize,
        /// The limit.
        limit_bytes: usize,
    },
    /// The broker was closed by this process.
    #[error("the broker connection was closed")]
    Closed,
}

/// The broker cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// It answered with an error, or not at all.
    #[error("the broker said: {0}")]
    Refused(String),
    /// A queue is there with other settings: of another version, or of somebody else.
    #[error(
        "a queue exists with other settings ({0}); let workers empty it and delete it, or choose another [broker] prefix"
    )]
    Mismatch(String),
    /// A queue is not there. Workers that may declare do so; else `muster topology` does.
    #[error("there is no queue {0}; declare it with `muster topology`")]
    Missing(String),
    /// It was closed by this process.
    #[error("the broker connection was closed")]
    Closed,
}

/// A message on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Where to.
    pub to: Destination,
    /// What.
    pub message: Message,
}

/// Where a message goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// A home queue.
    Queue(Queue),
    /// The retry ladder: the message comes back to `home` after about `after` (the next rung up, less jitter).
    Retry {
        /// The queue that it comes back to.
        home: Queue,
        /// The least wait.
        after: Duration,
    },
    /// The log of dead letters.
    Dead,
}

/// A queue's state, for `status` and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueDepth {
    /// The queue's name, prefix included.
    pub name: String,
    /// Messages waiting for a consumer. For retry rungs: messages waiting for their time.
    pub ready: u64,
}

/// Health of the connections, for `/readyz` and metrics.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BrokerHealth {
    /// The publishing connection is up and not blocked.
    pub publishing: bool,
    /// The consuming connection is up, or nobody consumes.
    pub consuming: bool,
    /// The broker has blocked the publishing connection (memory or disk alarm), with its reason.
    pub blocked: Option<String>,
}

/// A broker.
pub trait Broker: Clone + Send + Sync + 'static {
    /// What [`Broker::consume`] returns.
    type Consumer: Consumer;

    /// Publishes all of these and returns when each is durable at the broker: confirmed, and routed. Waits while the
    /// broker is away or blocked. On an error, those not named by it may or may not have been published.
    fn publish(&self, messages: Vec<Outgoing>) -> impl Future<Output = Result<(), PublishError>> + Send;

    /// Takes deliveries from these queues, those of the first queue before those of the second, and so on. At most
    /// `prefetch` of each queue are unsettled at once.
    fn consume(
        &self,
        queues: Vec<Queue>,
        prefetch: u16,
    ) -> impl Future<Output = Result<Self::Consumer, BrokerError>> + Send;

    /// Declares what is missing of the topology for these queues, the retry ladder and the log of dead letters.
    /// Declaring again changes nothing.
    fn declare(&self, queues: &[Queue]) -> impl Future<Output = Result<(), BrokerError>> + Send;

    /// Hands every entry of the log of dead letters to `take`, oldest first, up to those that were there before this call.
    /// Nothing is taken out; a message that this version cannot read is passed over, with a warning. On an error, `take`
    /// was handed some of them.
    fn read_log(&self, take: impl FnMut(LetterEntry) + Send) -> impl Future<Output = Result<(), BrokerError>> + Send;

    /// Whether [`Broker::rewrite_log`] can do anything: a stream is only ever appended to, and drops entries when they are
    /// [`LETTER_LOG_KEPT`] old.
    fn rewrites_log(&self) -> bool;

    /// Puts other entries in the place of some in the log of dead letters: what `change` makes of them, `None` where one
    /// stays. How many were replaced; none where the log is only ever appended to. On an error, some of them may have been.
    fn rewrite_log(
        &self,
        change: impl Fn(&LetterEntry) -> Option<LetterEntry> + Send + 'static,
    ) -> impl Future<Output = Result<u64, BrokerError>> + Send;

    /// How many messages wait in each of these queues, in each rung of the ladder, and among the unroutable.
    fn depths(&self, queues: &[Queue]) -> impl Future<Output = Result<Vec<QueueDepth>, BrokerError>> + Send;

    /// Health of the connections.
    fn health(&self) -> BrokerHealth;

    /// Closes the connections in order: what is in flight is confirmed or given back.
    fn close(&self) -> impl Future<Output = ()> + Send;
}

/// A stream of deliveries that goes on across lost connections.
pub trait Consumer: Send {
    /// What it yields.
    type Delivery: Delivery;

    /// The next delivery; `None` once the consumer was stopped and nothing is left. Whoever stops waiting for it loses
    /// nothing: what was begun is kept for the next call. One that is in hand already is there at the first poll.
    fn next(&mut self) -> impl Future<Output = Option<Self::Delivery>> + Send;

    /// Takes no further deliveries from the broker; those handed out may still be settled, those prefetched but not
    /// handed out go back.
    fn stop(&mut self) -> impl Future<Output = ()> + Send;
}

/// One message in hand. Dropped unsettled it comes back, to this process or another.
pub trait Delivery: Send + Sync + 'static {
    /// The message as it was published, or why it cannot be read.
    fn message(&self) -> Result<&Message, &MessageError>;

    /// The body's bytes, for the letter about a message that cannot be read.
    fn body(&self) -> &[u8];

    /// The broker's id of the message, or one made from its body if it carries none.
    fn message_id(&self) -> &str;

    /// The home queue that it was taken from.
    fn queue(&self) -> &Queue;

    /// How often the broker has handed it out before and got it back unsettled.
    fn redeliveries(&self) -> u32;

    /// How many attempts at it have failed, as counted by us in `x-muster-attempt`.
    fn attempt(&self) -> u32;

    /// Settles it: its work is durable elsewhere. If the connection it came on is gone, it will come again; that is
    /// harmless and not an error.
    fn ack(self) -> impl Future<Output = ()> + Send;
}
