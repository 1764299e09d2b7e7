//! The skeleton of Muster: the same two hand-overs, the same round trips to the store with documents of the same size, and
//! the same call of the target, in the same batches and windows, on the bare clients and without a thought: no message is
//! read, no link is decided on, nothing is retried.

use std::ops::Range;
use std::sync::Arc;

use anyhow::Context as _;
use futures_util::future::{join_all, try_join_all};
use futures_util::{FutureExt as _, StreamExt as _};
use lapin::message::Delivery;
use lapin::options::BasicAckOptions;
use redis::aio::MultiplexedConnection;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::rig::{CONCURRENCY, DEADLINE, PREFETCH};
use super::roster::Roster;
use super::servers::{Feeder, Parcel, Servers, consumer};
use crate::broker::message::MAX_ITEMS;
use crate::systems::System as _;

/// The names of its queues.
pub const QUEUES: [&str; 2] = ["skeleton.changes", "skeleton.commands"];

/// See the module.
#[derive(Clone)]
pub struct Skeleton {
    /// The queue that changes are published to.
    pub changes: String,
    commands: String,
    key: String,
    source: Arc<Roster>,
    target: Arc<Roster>,
    /// Stands for a link, with as many bytes.
    document: Arc<[u8]>,
    /// Bytes of a command in a message, and of what is around all commands.
    command_bytes: (usize, usize),
    redis: MultiplexedConnection,
    feeder: Feeder,
    consuming: Arc<lapin::Connection>,
    _publishing: Arc<lapin::Connection>,
}

impl Skeleton {
    /// A skeleton between these rosters, its queues empty and a document for each account in the store.
    pub async fn new(
        servers: &Servers,
        rosters: (Arc<Roster>, Arc<Roster>),
        document_bytes: usize,
        command_bytes: (usize, usize),
    ) -> anyhow::Result<Self> {
        let publishing = Arc::new(servers.amqp().await?);
        let skeleton = Self {
            changes: servers.empty_queue(QUEUES[0]).await?,
            commands: servers.empty_queue(QUEUES[1]).await?,
            key: format!("{}:{{skeleton}}:links", servers.prefix),
            source: rosters.0,
            target: rosters.1,
            document: vec![b'x'; document_bytes].into(),
            command_bytes,
            redis: servers.redis().await?,
            feeder: Feeder::open(&publishing).await?,
            consuming: Arc::new(servers.amqp().await?),
            _publishing: publishing,
        };
        let all = u32::try_from(skeleton.source.all_editions().len())?;
        for first in (0..all).step_by(MAX_ITEMS) {
            let page: Vec<u32> = (first..all.min(first + MAX_ITEMS as u32)).collect();
            skeleton.store(&page).await?;
        }
        Ok(skeleton)
    }

    /// Works until `stop`.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let room = commands_per_message(&self.target);
        tokio::select! {
            mapped = self.stage(&self.changes, MAX_ITEMS, &stop, Self::map) => mapped,
            written = self.stage(&self.commands, room, &stop, Self::write) => written,
        }
    }

    /// Takes handfuls of what is there, as Muster's stages do.
    async fn stage<F>(
        &self,
        queue: &str,
        room: usize,
        stop: &CancellationToken,
        handle: impl Fn(Self, Vec<Delivery>) -> F,
    ) -> anyhow::Result<()>
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let mut deliveries = consumer(&self.consuming, queue, PREFETCH).await?;
        let permits = Arc::new(Semaphore::new(CONCURRENCY));
        let mut tasks = JoinSet::new();
        let mut held = None;
        loop {
            while let Some(ended) = tasks.try_join_next() {
                ended??;
            }
            let permit = tokio::select! {
                () = stop.cancelled() => break,
                permit = Arc::clone(&permits).acquire_owned() => permit?,
            };
            let first = match held.take() {
                Some(first) => first,
                None => tokio::select! {
                    () = stop.cancelled() => break,
                    delivery = deliveries.next() => delivery.context("the broker ended the consumer")??,
                },
            };
            let mut items = accounts(&first)?.len();
            let mut handful = vec![first];
            while items < room
                && let Some(Some(delivery)) = deliveries.next().now_or_never()
            {
                let delivery = delivery?;
                let more = accounts(&delivery)?.len();
                if items + more > room {
                    held = Some(delivery);
                    break;
                }
                items += more;
                handful.push(delivery);
            }
            let work = handle(self.clone(), handful);
            tasks.spawn(async move {
                let done = work.await;
                drop(permit);
                done
            });
        }
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        Ok(())
    }

    /// Mapper: two round trips to the store, commands with confirms, acknowledge.
    async fn map(self, handful: Vec<Delivery>) -> anyhow::Result<()> {
        let ranges: Vec<_> = handful.iter().map(accounts).collect::<Result<_, _>>()?;
        let numbers: Vec<u32> = ranges.into_iter().flatten().collect();
        self.load(&numbers).await?;
        self.store(&numbers).await?;
        let pages = numbers.chunks(commands_per_message(&self.target));
        let parcels: Vec<_> = pages.map(|page| self.commands_for(page)).collect();
        try_join_all(parcels.iter().map(|parcel| self.feeder.publish(&self.commands, parcel))).await?;
        acknowledge(handful).await
    }

    /// A message of as many bytes as Muster's commands for these accounts. It begins with the accounts, four bytes each.
    fn commands_for(&self, page: &[u32]) -> Parcel {
        let (command, envelope) = self.command_bytes;
        let mut body: Vec<u8> = page.iter().flat_map(|number| number.to_le_bytes()).collect();
        body.resize(envelope + command * page.len(), b'x');
        Parcel { id: uuid::Uuid::now_v7().to_string(), body: body.into(), first: 0, count: page.len() as u32 }
    }

    /// Writer: load, note, call, note, acknowledge.
    async fn write(self, handful: Vec<Delivery>) -> anyhow::Result<()> {
        let mut numbers = Vec::new();
        for delivery in &handful {
            let named = delivery.data.chunks_exact(4).take(accounts(delivery)?.len());
            numbers.extend(named.map(|bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])));
        }
        self.load(&numbers).await?;
        self.store(&numbers).await?;
        let updates = numbers.iter().filter_map(|number| self.target.update_to(*number, &self.source));
        let writes: Vec<_> = updates.collect();
        let deadline = Instant::now() + DEADLINE;
        let batch = self.target.schema().batch.max(1);
        join_all(writes.chunks(batch).map(|writes| self.target.write(writes, deadline))).await;
        self.store(&numbers).await?;
        acknowledge(handful).await
    }

    async fn load(&self, numbers: &[u32]) -> anyhow::Result<()> {
        let mut load = redis::cmd("HMGET");
        load.arg(&self.key);
        numbers.iter().for_each(|number| {
            load.arg(number);
        });
        let _: Vec<Option<Vec<u8>>> = load.query_async(&mut self.redis.clone()).await?;
        Ok(())
    }

    async fn store(&self, numbers: &[u32]) -> anyhow::Result<()> {
        let mut store = redis::cmd("HSET");
        store.arg(&self.key);
        numbers.iter().for_each(|number| {
            store.arg(number).arg(&self.document[..]);
        });
        let _: u64 = store.query_async(&mut self.redis.clone()).await?;
        Ok(())
    }
}

/// The accounts that a delivery is about; of commands only how many they are.
fn accounts(delivery: &Delivery) -> anyhow::Result<Range<u32>> {
    Parcel::numbers_of(&delivery.properties).context("a message is not the benchmark's")
}

async fn acknowledge(handful: Vec<Delivery>) -> anyhow::Result<()> {
    for delivery in handful {
        delivery.acker.ack(BasicAckOptions::default()).await?;
    }
    Ok(())
}

/// As the mapper packs them.
fn commands_per_message(target: &Roster) -> usize {
    target.schema().batch.max(target.schema().calls).clamp(1, MAX_ITEMS)
}
