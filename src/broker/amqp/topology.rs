//! Exchanges, queues and bindings: data first, then their declaration. Every argument is understood by RabbitMQ 3.10
//! and by every later version up to 4.x, and every one whose default differs between them is set.

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ExchangeKind};

use crate::broker::delay::{RUNGS, Rung};
use crate::broker::{BrokerError, Queue};

/// How often a home queue hands a message out and gets it back before it goes to the unrouted. Unset it would be
/// endless before RabbitMQ 4.0 and 20 since, and the place of a returned message would differ as well.
const DELIVERY_LIMIT: i64 = 200;

/// The same for the unrouted, which only a person looks at: looking counts, and must not delete. (`-1` for "no limit"
/// is refused before 4.0.)
const UNROUTED_DELIVERY_LIMIT: i64 = 1_000_000;

/// Entries of the log of dead letters that are older are dropped, whole segments at a time.
const DEAD_MAX_AGE: &str = "365D";

/// Bytes in one segment of the log of dead letters, the unit in which it is dropped.
const DEAD_SEGMENT_BYTES: i64 = 100_000_000;

/// What must exist at the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// In the order in which they are declared.
    pub exchanges: Vec<Exchange>,
    /// In the order in which they are declared, after all exchanges.
    pub queues: Vec<QueueSpec>,
}

/// An exchange; all are durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// Its name.
    pub name: String,
    /// How it routes.
    pub kind: Routing,
    /// The exchange that gets what this one cannot route.
    pub alternate: Option<String>,
}

/// How an exchange routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Routing {
    /// To the queue that is bound with the routing key.
    Direct,
    /// To every queue that is bound.
    Fanout,
}

/// A queue; all are durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueSpec {
    /// Its name.
    pub name: String,
    /// Its `x-` arguments.
    pub arguments: Vec<(&'static str, Argument)>,
    /// The exchange that it is bound to, and the key.
    pub binding: Option<(String, String)>,
}

/// The value of an argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Argument {
    /// Text.
    Text(String),
    /// A whole number.
    Number(i64),
}

/// Names, from the prefix.
#[derive(Debug, Clone)]
pub struct Names {
    prefix: String,
}

impl Names {
    /// The names that begin with this prefix.
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// A home queue.
    pub fn home(&self, queue: &Queue) -> String {
        format!("{}.{queue}", self.prefix)
    }

    /// Exchange and queue of a rung.
    pub fn rung(&self, rung: Rung) -> String {
        format!("{}.retry.{}", self.prefix, rung.name)
    }

    /// The exchange by which messages leave the ladder.
    pub fn home_coming(&self) -> String {
        format!("{}.return", self.prefix)
    }

    /// Exchange and queue of what has no home any more.
    pub fn unrouted(&self) -> String {
        format!("{}.unrouted", self.prefix)
    }

    /// The log of dead letters.
    pub fn dead(&self) -> String {
        format!("{}.dead", self.prefix)
    }
}

impl Topology {
    /// The ladder, the log of dead letters, the unrouted, and these home queues.
    pub fn new(prefix: &str, homes: &[Queue]) -> Self {
        let names = Names::new(prefix);
        let mut exchanges = vec![
            Exchange { name: names.unrouted(), kind: Routing::Fanout, alternate: None },
            // Retries for a queue that was deleted must not block the rung for all others.
            Exchange { name: names.home_coming(), kind: Routing::Direct, alternate: Some(names.unrouted()) },
        ];
        // The home queues first: they are what somebody waits for when the broker cannot answer for another one.
        let mut queues = Vec::new();
        for home in homes {
            let name = names.home(home);
            queues.push(QueueSpec {
                name: name.clone(),
                arguments: quorum(names.unrouted()),
                binding: Some((names.home_coming(), name)),
            });
        }
        for rung in RUNGS {
            let name = names.rung(rung);
            // A fanout keeps the routing key, which is the home queue's name, for the way back.
            exchanges.push(Exchange { name: name.clone(), kind: Routing::Fanout, alternate: None });
            let mut arguments = quorum(names.home_coming());
            let wait_ms = i64::try_from(rung.wait.as_millis()).expect("a rung is an hour at most");
            arguments.push(("x-message-ttl", Argument::Number(wait_ms)));
            queues.push(QueueSpec { name: name.clone(), arguments, binding: Some((name, String::new())) });
        }
        queues.extend([
            QueueSpec {
                name: names.unrouted(),
                arguments: vec![
                    ("x-queue-type", Argument::text("quorum")),
                    ("x-delivery-limit", Argument::Number(UNROUTED_DELIVERY_LIMIT)),
                ],
                binding: Some((names.unrouted(), String::new())),
            },
            // A stream is read without taking anything out; browsing a quorum queue deletes at the delivery limit.
            QueueSpec {
                name: names.dead(),
                arguments: vec![
                    ("x-queue-type", Argument::text("stream")),
                    ("x-max-age", Argument::text(DEAD_MAX_AGE)),
                    ("x-stream-max-segment-size-bytes", Argument::Number(DEAD_SEGMENT_BYTES)),
                ],
                binding: None,
            },
        ]);
        Self { exchanges, queues }
    }

    /// Declares everything, in order.
    pub(super) async fn declare(&self, channel: &Channel) -> lapin::Result<()> {
        for exchange in &self.exchanges {
            let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
            let mut arguments = FieldTable::default();
            if let Some(alternate) = &exchange.alternate {
                arguments.insert("alternate-exchange".into(), AMQPValue::LongString(alternate.as_str().into()));
            }
            let kind = match exchange.kind {
                Routing::Direct => ExchangeKind::Direct,
                Routing::Fanout => ExchangeKind::Fanout,
            };
            channel.exchange_declare(exchange.name.as_str().into(), kind, options, arguments).await?;
        }
        for queue in &self.queues {
            let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
            channel.queue_declare(queue.name.as_str().into(), options, queue.table()).await?;
            if let Some((exchange, key)) = &queue.binding {
                let (exchange, key) = (exchange.as_str().into(), key.as_str().into());
                let options = QueueBindOptions::default();
                channel.queue_bind(queue.name.as_str().into(), exchange, key, options, FieldTable::default()).await?;
            }
        }
        Ok(())
    }

    /// Names everything that does not exist, and declares nothing.
    ///
    /// # Errors
    /// Whatever the broker says other than "there is no such thing".
    pub(super) async fn missing(&self, connection: &Connection) -> Result<Vec<String>, BrokerError> {
        let mut missing = Vec::new();
        let mut channel = connection.create_channel().await.map_err(refused)?;
        for exchange in &self.exchanges {
            if !exchange_exists(&channel, &exchange.name).await? {
                missing.push(format!("exchange {}", exchange.name));
                // A negative answer costs the channel.
                channel = connection.create_channel().await.map_err(refused)?;
            }
        }
        for queue in &self.queues {
            if depth(&channel, &queue.name).await?.is_none() {
                missing.push(format!("queue {}", queue.name));
                channel = connection.create_channel().await.map_err(refused)?;
            }
        }
        Ok(missing)
    }
}

impl QueueSpec {
    fn table(&self) -> FieldTable {
        let mut table = FieldTable::default();
        for (name, value) in &self.arguments {
            let value = match value {
                Argument::Text(text) => AMQPValue::LongString(text.as_str().into()),
                Argument::Number(number) => AMQPValue::LongLongInt(*number),
            };
            table.insert((*name).into(), value);
        }
        table
    }
}

impl Argument {
    fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// A replicated queue that loses nothing on its way out: dead-lettering is at-least-once only together with
/// `reject-publish`; without it RabbitMQ falls back to at-most-once and says so in its log alone.
fn quorum(dead_letter_exchange: String) -> Vec<(&'static str, Argument)> {
    vec![
        ("x-queue-type", Argument::text("quorum")),
        ("x-delivery-limit", Argument::Number(DELIVERY_LIMIT)),
        ("x-dead-letter-exchange", Argument::Text(dead_letter_exchange)),
        ("x-dead-letter-strategy", Argument::text("at-least-once")),
        ("x-overflow", Argument::text("reject-publish")),
    ]
}

/// How many messages are ready in a queue; `None` if there is no such queue, which costs the channel.
pub(super) async fn depth(channel: &Channel, queue: &str) -> Result<Option<u64>, BrokerError> {
    let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    match channel.queue_declare(queue.into(), options, FieldTable::default()).await {
        Ok(queue) => Ok(Some(u64::from(queue.message_count()))),
        Err(error) if is_not_found(&error) => Ok(None),
        Err(error) => Err(refused(error)),
    }
}

/// Whether there is such an exchange. If not, it costs the channel.
pub(super) async fn exchange_exists(channel: &Channel, exchange: &str) -> Result<bool, BrokerError> {
    let options = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
    match channel.exchange_declare(exchange.into(), ExchangeKind::Direct, options, FieldTable::default()).await {
        Ok(()) => Ok(true),
        Err(error) if is_not_found(&error) => Ok(false),
        Err(error) => Err(refused(error)),
    }
}

/// Whether the broker said 404: no such queue or exchange.
pub(super) fn is_not_found(error: &lapin::Error) -> bool {
    use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
    let lapin::ErrorKind::ProtocolError(error) = error.kind() else { return false };
    *error.kind() == AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND)
}

/// What the broker said, as our error. lapin's text holds no credentials.
pub(super) fn refused(error: lapin::Error) -> BrokerError {
    use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
    match error.kind() {
        lapin::ErrorKind::ProtocolError(said)
            if *said.kind() == AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED) =>
        {
            BrokerError::Mismatch(said.get_message().to_string())
        }
        _ => BrokerError::Refused(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topology() -> Topology {
        Topology::new("m", &[Queue::Changes, Queue::Commands("chat".parse().unwrap())])
    }

    fn argument<'t>(queue: &'t QueueSpec, name: &str) -> Option<&'t Argument> {
        queue.arguments.iter().find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    #[test]
    fn every_exchange_that_is_named_is_declared() {
        let topology = topology();
        let exists = |name: &str| topology.exchanges.iter().any(|exchange| exchange.name == name);
        for exchange in &topology.exchanges {
            assert!(exchange.alternate.as_deref().is_none_or(exists), "{exchange:?}");
        }
        for queue in &topology.queues {
            assert!(queue.binding.as_ref().is_none_or(|(exchange, _)| exists(exchange)), "{queue:?}");
            if let Some(Argument::Text(exchange)) = argument(queue, "x-dead-letter-exchange") {
                assert!(exists(exchange), "{queue:?}");
            }
        }
    }

    #[test]
    fn no_quorum_queue_is_left_to_the_defaults_of_a_version() {
        for queue in &topology().queues {
            if argument(queue, "x-queue-type") == Some(&Argument::text("quorum")) {
                assert!(argument(queue, "x-delivery-limit").is_some(), "{queue:?}");
            }
            let at_least_once = argument(queue, "x-dead-letter-strategy") == Some(&Argument::text("at-least-once"));
            let rejects = argument(queue, "x-overflow") == Some(&Argument::text("reject-publish"));
            let dead_letters = argument(queue, "x-dead-letter-exchange").is_some();
            assert_eq!((dead_letters, dead_letters), (at_least_once, rejects), "{queue:?}");
        }
    }

    #[test]
    fn a_rung_leads_back_to_the_home_queue_by_its_full_name() {
        let topology = topology();
        let find = |name: &str| topology.queues.iter().find(|queue| queue.name == name).unwrap();
        let rung = find("m.retry.30s");
        assert_eq!(argument(rung, "x-message-ttl"), Some(&Argument::Number(30_000)));
        assert_eq!(argument(rung, "x-dead-letter-exchange"), Some(&Argument::text("m.return")));
        let home = find("m.commands.chat");
        assert_eq!(home.binding, Some(("m.return".to_owned(), "m.commands.chat".to_owned())));
    }
}
