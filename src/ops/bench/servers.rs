//! The servers that are measured on, as a bare client sees them: queues and keys of the benchmark's own, which are removed
//! when it ends, and a publisher that feeds every contender alike.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions, ExchangeDeleteOptions,
    QueueDeclareOptions, QueueDeleteOptions, QueuePurgeOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use redis::aio::MultiplexedConnection;
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::process::Process;
use crate::broker::Queue;
use crate::broker::amqp::{AmqpBroker, AmqpSettings, Topology};
use crate::store::redis::{RedisSettings, RedisStore};

/// Messages published before their confirms are waited for.
const WINDOW: usize = 256;

/// Where the servers are.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// The broker, without a password.
    pub amqp: Url,
    /// The password of the broker's user.
    pub amqp_password: Option<SecretString>,
    /// The store, without a password.
    pub redis: Url,
    /// The password of the store's user.
    pub redis_password: Option<SecretString>,
}

/// The servers.
pub struct Servers {
    addresses: Addresses,
    /// Begins every name of the benchmark at both.
    pub prefix: String,
    /// The broker's process, if it is on this machine.
    pub broker: Option<Process>,
    /// The store's process, if it is on this machine.
    pub store: Option<Process>,
    /// For what is not measured.
    redis: MultiplexedConnection,
    amqp: Connection,
}

impl Servers {
    /// Connects to both.
    pub async fn connect(addresses: Addresses) -> anyhow::Result<Self> {
        let local = |url: &Url, port, names: &[&str]| {
            let here = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
            here.then(|| Process::listening(url.port().unwrap_or(port), names)).flatten()
        };
        let amqp = amqp(&addresses).await?;
        let redis = redis(&addresses).await?;
        Ok(Self {
            prefix: format!("muster-bench.{}", uuid::Uuid::new_v4().simple()),
            broker: local(&addresses.amqp, 5672, &["beam.smp"]),
            store: local(&addresses.redis, 6379, &["redis-server", "valkey-server"]),
            addresses,
            redis,
            amqp,
        })
    }

    /// A connection of its own to the broker.
    pub async fn amqp(&self) -> anyhow::Result<Connection> {
        amqp(&self.addresses).await
    }

    /// A connection of its own to the store.
    pub async fn redis(&self) -> anyhow::Result<MultiplexedConnection> {
        redis(&self.addresses).await
    }

    /// Muster's broker, with names of the benchmark's own.
    pub fn muster_broker(&self) -> anyhow::Result<AmqpBroker> {
        let settings = AmqpSettings::new(&self.addresses.amqp, self.addresses.amqp_password.clone())?;
        Ok(AmqpBroker::open(settings.with_prefix(&self.prefix)?))
    }

    /// Muster's store, with keys of the benchmark's own.
    pub fn muster_store(&self) -> anyhow::Result<RedisStore> {
        Ok(RedisStore::open(&RedisSettings {
            password: self.addresses.redis_password.clone(),
            prefix: self.prefix.clone(),
            ..RedisSettings::new(self.addresses.redis.as_str())
        })?)
    }

    /// The name of one of Muster's queues at the broker.
    pub fn queue(&self, queue: &Queue) -> String {
        format!("{}.{queue}", self.prefix)
    }

    /// Declares a quorum queue like Muster's own, or finds it, and empties it; its name.
    pub async fn empty_queue(&self, name: &str) -> anyhow::Result<String> {
        let name = format!("{}.{name}", self.prefix);
        let channel = self.amqp.create_channel().await?;
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(200));
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(name.as_str().into(), options, arguments).await?;
        channel.queue_purge(name.as_str().into(), QueuePurgeOptions::default()).await?;
        Ok(name)
    }

    /// Bytes that each of `links` takes in the store: of all keys of the benchmark, whatever they are for, with what the
    /// server needs to keep them.
    pub async fn bytes_a_link(&self, links: u64) -> anyhow::Result<f64> {
        let mut redis = self.redis.clone();
        let mut bytes = 0;
        for key in self.keys(&mut redis).await? {
            let usage = redis::cmd("MEMORY").arg("USAGE").arg(&key).arg("SAMPLES").arg(0).to_owned();
            bytes += usage.query_async::<Option<u64>>(&mut redis).await?.unwrap_or_default();
        }
        ensure!(links > 0 && bytes > 0, "the store holds no links");
        Ok(bytes as f64 / links as f64)
    }

    /// Bytes that the document of a link takes in the store, the middle of many: the skeleton carries as many.
    pub async fn document_bytes(&self, connection: &str) -> anyhow::Result<usize> {
        let mut redis = self.redis.clone();
        let key = format!("{}:{{{connection}}}:links", self.prefix);
        let ids: Vec<String> =
            redis::cmd("HRANDFIELD").arg(&key).arg(101).query_async(&mut redis).await.context("looking at links")?;
        let mut sizes: Vec<usize> = Vec::new();
        for id in ids {
            sizes.push(redis::cmd("HSTRLEN").arg(&key).arg(id).query_async(&mut redis).await?);
        }
        sizes.sort_unstable();
        sizes.get(sizes.len() / 2).copied().context("there are no links")
    }

    /// The versions of broker and store, as far as they tell.
    pub async fn versions(&self) -> anyhow::Result<String> {
        let mut redis = self.redis.clone();
        let info: String = redis::cmd("INFO").arg("server").query_async(&mut redis).await?;
        let field = |name| info.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        Ok(match field("valkey_version:") {
            Some(version) => format!("Valkey {version}"),
            None => format!("Redis {}", field("redis_version:").unwrap_or("of an unknown version")),
        })
    }

    /// Removes all queues, exchanges and keys of the benchmark.
    pub async fn clean_up(&self, homes: &[Queue], others: &[&str]) -> anyhow::Result<()> {
        let topology = Topology::new(&self.prefix, homes);
        let channel = self.amqp.create_channel().await?;
        let others = others.iter().map(|name| format!("{}.{name}", self.prefix));
        for name in topology.queues.into_iter().map(|queue| queue.name).chain(others) {
            channel.queue_delete(name.as_str().into(), QueueDeleteOptions::default()).await?;
        }
        for exchange in topology.exchanges {
            channel.exchange_delete(exchange.name.as_str().into(), ExchangeDeleteOptions::default()).await?;
        }
        let mut redis = self.redis.clone();
        let keys = self.keys(&mut redis).await?;
        for keys in keys.chunks(100) {
            let _: u64 = redis::cmd("UNLINK").arg(keys).query_async(&mut redis).await?;
        }
        Ok(())
    }

    async fn keys(&self, redis: &mut MultiplexedConnection) -> anyhow::Result<Vec<String>> {
        let mut keys = Vec::new();
        let mut cursor = "0".to_owned();
        loop {
            let scan = redis::cmd("SCAN")
                .arg(&cursor)
                .arg("MATCH")
                .arg(format!("{}:*", self.prefix))
                .arg("COUNT")
                .arg(1000)
                .to_owned();
            let (next, page): (String, Vec<String>) = scan.query_async(redis).await?;
            keys.extend(page);
            if next == "0" {
                keys.sort();
                keys.dedup();
                return Ok(keys);
            }
            cursor = next;
        }
    }
}

async fn amqp(addresses: &Addresses) -> anyhow::Result<Connection> {
    let mut url = addresses.amqp.clone();
    if let Some(password) = &addresses.amqp_password {
        ensure!(
            url.set_password(Some(password.expose_secret())).is_ok(),
            "the broker's url has no place for a password"
        );
    }
    let name = ConnectionProperties::default().with_connection_name("muster bench".into());
    Connection::connect(url.as_str(), name).await.context("connecting to the broker")
}

async fn redis(addresses: &Addresses) -> anyhow::Result<MultiplexedConnection> {
    let mut url = addresses.redis.clone();
    if let Some(password) = &addresses.redis_password {
        ensure!(
            url.set_password(Some(password.expose_secret())).is_ok(),
            "the store's url has no place for a password"
        );
    }
    let client = redis::Client::open(url.as_str()).map_err(|_| anyhow::anyhow!("the store's url cannot be used"))?;
    client.get_multiplexed_async_connection().await.context("connecting to the store")
}

/// A message as bytes, with what the skeleton needs to know of it without reading them.
#[derive(Clone)]
pub struct Parcel {
    /// The message's id.
    pub id: String,
    /// Its body.
    pub body: Arc<[u8]>,
    /// The first account that it is about; the others follow.
    pub first: u32,
    /// How many it is about.
    pub count: u32,
}

impl Parcel {
    /// The accounts that it is about.
    pub fn numbers(&self) -> std::ops::Range<u32> {
        self.first..self.first + self.count
    }

    /// As Muster's own broker has them. The accounts stand in the field that it does not use.
    fn properties(&self) -> BasicProperties {
        let mut headers = FieldTable::default();
        headers.insert("x-muster-attempt".into(), AMQPValue::LongLongInt(0));
        BasicProperties::default()
            .with_message_id(self.id.as_str().into())
            .with_content_type("application/cloudevents+json".into())
            .with_delivery_mode(2)
            .with_headers(headers)
            .with_correlation_id(format!("{} {}", self.first, self.count).into())
    }

    /// The accounts that a delivery is about.
    pub fn numbers_of(properties: &BasicProperties) -> Option<std::ops::Range<u32>> {
        let (first, count) = properties.correlation_id().as_ref()?.as_str().split_once(' ')?;
        let first: u32 = first.parse().ok()?;
        Some(first..first + count.parse::<u32>().ok()?)
    }
}

/// A channel that publishes with confirms.
#[derive(Clone)]
pub struct Feeder {
    channel: Channel,
}

impl Feeder {
    /// One on this connection.
    pub async fn open(connection: &Connection) -> lapin::Result<Self> {
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(Self { channel })
    }

    /// Publishes, and waits until the broker has it for sure.
    pub async fn publish(&self, queue: &str, parcel: &Parcel) -> anyhow::Result<()> {
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let publish = self.channel.basic_publish("".into(), queue.into(), options, &parcel.body, parcel.properties());
        let confirmation = publish.await?.await?;
        ensure!(confirmation.is_ack() && confirmation.take_message().is_none(), "the broker refused a message");
        Ok(())
    }

    /// Publishes all of these, a window at a time.
    pub async fn publish_all(&self, queue: &str, parcels: &[Parcel]) -> anyhow::Result<()> {
        let mut waiting = FuturesUnordered::new();
        for parcel in parcels {
            waiting.push(self.publish(queue, parcel));
            if waiting.len() >= WINDOW {
                waiting.next().await.transpose()?;
            }
        }
        while let Some(published) = waiting.next().await {
            published?;
        }
        Ok(())
    }
}

/// A consumer of this queue, with at most `prefetch` deliveries unsettled.
pub async fn consumer(connection: &Connection, queue: &str, prefetch: u16) -> lapin::Result<lapin::Consumer> {
    let channel = connection.create_channel().await?;
    channel.basic_qos(prefetch, BasicQosOptions { global: false }).await?;
    channel.basic_consume(queue.into(), "".into(), BasicConsumeOptions::default(), FieldTable::default()).await
}
