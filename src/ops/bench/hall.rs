//! Where contenders take turns: everything is set up once, everybody is hired, and then each is measured round by round.

use anyhow::{Context as _, bail};
use lapin::Connection;

use super::contender::{Batch, Contender, Series};
use super::drive::{Cost, Feed, Load, Meters, drive};
use super::ledger::Timing;
use super::process::Process;
use super::progress::Progress;
use super::report::Latency;
use super::rig::{Pair, Rig};
use super::servers::{Feeder, Parcel, Servers};
use super::skeleton::Skeleton;
use super::{File, Options, PAIRS, bare, meters};
use crate::broker::amqp::AmqpBroker;
use crate::broker::embedded::EmbeddedBroker;
use crate::broker::message::{MAX_ITEMS, Payload};
use crate::broker::{Broker, Message};
use crate::domain::{Cause, Command, ConnectionName, Lane, LinkId, Side};
use crate::stages::producer::new_run_id;
use crate::store::embedded::EmbeddedStore;
use crate::store::redis::RedisStore;

/// Changes under way at once where a contender is saturated.
const WINDOW: usize = 256;

/// See the module.
pub struct Hall<'h> {
    options: &'h Options,
    over_servers: Option<OverServers<'h>>,
    over_a_file: OverAFile,
    /// Bodies as Muster publishes them, a change each.
    singles: Vec<Parcel>,
    /// The same, a page each.
    pages: Vec<Parcel>,
}

struct OverServers<'h> {
    servers: &'h Servers,
    rig: Rig<AmqpBroker, RedisStore>,
    feeder: Feeder,
    skeletons: Vec<(Pair, Skeleton)>,
    document_bytes: usize,
    meters: Meters,
    _feeding: Connection,
}

struct OverAFile {
    file: File,
    rig: Rig<EmbeddedBroker, EmbeddedStore>,
    meters: Meters,
}

impl<'h> Hall<'h> {
    /// Sets everything up, and lets everybody be hired and edited once.
    pub async fn set(options: &'h Options, servers: Option<&'h Servers>) -> anyhow::Result<Self> {
        let changes = options.changes;
        let own = Meters { own: Process::own(), broker: None, store: None };
        let file = File::open(&options.folder).await?;
        let rig = file.rig(pairs()?).await?;
        let over_a_file = OverAFile { file, rig, meters: own };
        over_a_file.rig.pipeline.broker.declare(&over_a_file.rig.pipeline.queues()).await?;
        let (mut singles, mut pages) = (Vec::new(), Vec::new());
        for (place, page) in [(0, MAX_ITEMS), (1, MAX_ITEMS), (0, 1), (1, 1)] {
            let lane = if page == 1 { Lane::Live } else { Lane::Bulk };
            let pair = &over_a_file.rig.pairs[place];
            let parcels = over_a_file.round(pair, changes, lane, Load::Backlog).await?.2;
            if page == 1 {
                singles = parcels;
            } else {
                pages = parcels;
            }
        }
        let over_servers = match servers {
            Some(servers) => Some(OverServers::set(servers, changes).await?),
            None => None,
        };
        Ok(Self { options, over_servers, over_a_file, singles, pages })
    }

    /// Bytes of a message with one change.
    pub fn change_bytes(&self) -> usize {
        self.singles.last().map_or(0, |parcel| parcel.body.len())
    }

    /// Bytes of the document of a link in Redis.
    pub fn document_bytes(&self) -> Option<usize> {
        self.over_servers.as_ref().map(|over| over.document_bytes)
    }

    /// Lets all contenders take turns.
    pub async fn rounds(&self, rounds: usize, progress: &mut Progress) -> anyhow::Result<Vec<Series>> {
        let mut contenders = Contender::over_a_file();
        if self.over_servers.is_some() {
            contenders.splice(0..0, Contender::over_servers());
        }
        if let Some(only) = &self.options.only {
            contenders.retain(|contender| contender.name().contains(only));
            if contenders.is_empty() {
                bail!("no contender that can be measured here has {only:?} in its name");
            }
        }
        let mut results = vec![Vec::new(); contenders.len()];
        for round in 1..=rounds {
            for (contender, results) in contenders.iter().zip(&mut results) {
                let name = contender.name();
                let (rate, cost) = self.saturated(*contender).await.with_context(|| name.clone())?;
                progress.say(&format!("round {round} of {rounds}: {name}: {rate:.0} changes/s"));
                results.push((rate, cost));
            }
        }
        let series = contenders.iter().zip(&results);
        Ok(series.map(|(contender, rounds)| Series::new(*contender, rounds, self.options.changes)).collect())
    }

    /// How long changes take, where a contender is saturated and at half of what Muster's live lane can do.
    pub async fn latencies(&self, contenders: &[Series], progress: &mut Progress) -> anyhow::Result<Vec<Latency>> {
        let rate = |wanted: Contender| {
            contenders.iter().find(|series| series.contender == wanted).map(|series| series.changes_per_second)
        };
        let mut latencies = Vec::new();
        for batch in Batch::BOTH {
            for (contender, muster) in [
                (Contender::Skeleton(batch), Contender::Live(batch)),
                (Contender::Live(batch), Contender::Live(batch)),
                (Contender::FileLive(batch), Contender::FileLive(batch)),
            ] {
                let Some(rate) = rate(muster) else { continue };
                for load in [Load::Window(WINDOW), Load::Rate((rate / 2.0).round())] {
                    let name = contender.name();
                    progress.say(&format!("how long changes take: {name}"));
                    let (timing, _) = self.driven(contender, load).await.with_context(|| name.clone())?;
                    let (word, at) = match load {
                        Load::Rate(rate) => ("rate", rate),
                        Load::Window(_) | Load::Backlog => ("window", WINDOW as f64),
                    };
                    latencies.push(Latency::new(contender, word, at, &timing.latencies));
                }
            }
        }
        Ok(latencies)
    }

    /// Closes connections in order.
    pub async fn close(self) {
        self.over_a_file.rig.pipeline.broker.close().await;
        if let Some(over) = &self.over_servers {
            over.rig.pipeline.broker.close().await;
        }
        drop(self.over_a_file.file);
    }

    /// One round with all that a contender can do.
    async fn saturated(&self, contender: Contender) -> anyhow::Result<(f64, Cost)> {
        match contender {
            Contender::BareFile => {
                let (folder, singles) = (self.options.folder.clone(), self.singles.clone());
                let begun = self.over_a_file.meters.begin();
                let rate = tokio::task::spawn_blocking(move || bare::file_loop(&folder, &singles)).await??;
                Ok((rate, begun.end()))
            }
            Contender::BareBroker => {
                let over = self.over_servers()?;
                bare::broker_loop(over.servers, &self.singles, &over.meters).await
            }
            _ => {
                let (timing, cost) = self.driven(contender, Load::Backlog).await?;
                Ok((timing.rate, cost))
            }
        }
    }

    /// One round of a contender that writes to a target.
    async fn driven(&self, contender: Contender, load: Load) -> anyhow::Result<(Timing, Cost)> {
        let changes = self.options.changes;
        let place = |batch| usize::from(batch == Batch::Many);
        let muster = async |batch, lane| {
            let over = self.over_servers()?;
            over.round(&over.rig.pairs[place(batch)], changes, lane, load).await
        };
        let embedded = async |batch, lane| {
            let over = &self.over_a_file;
            let (timing, cost, _) = over.round(&over.rig.pairs[place(batch)], changes, lane, load).await?;
            Ok((timing, cost))
        };
        let skeleton = async |batch, parcels| {
            let over = self.over_servers()?;
            over.skeleton_round(place(batch), parcels, load).await
        };
        match contender {
            Contender::Skeleton(batch) => skeleton(batch, &self.singles).await,
            Contender::SkeletonPages(batch) => skeleton(batch, &self.pages).await,
            Contender::Live(batch) => muster(batch, Lane::Live).await,
            Contender::Bulk(batch) => muster(batch, Lane::Bulk).await,
            Contender::FileLive(batch) => embedded(batch, Lane::Live).await,
            Contender::FileBulk(batch) => embedded(batch, Lane::Bulk).await,
            Contender::BareBroker | Contender::BareFile => bail!("a bare loop has no target"),
        }
    }

    fn over_servers(&self) -> anyhow::Result<&OverServers<'h>> {
        self.over_servers.as_ref().context("there are no servers")
    }
}

impl<'h> OverServers<'h> {
    async fn set(servers: &'h Servers, changes: u32) -> anyhow::Result<Self> {
        let rig = Rig::new(servers.muster_broker()?, servers.muster_store()?, pairs()?)?;
        rig.pipeline.broker.declare(&rig.pipeline.queues()).await?;
        let feeding = servers.amqp().await?;
        let mut over = Self {
            servers,
            rig,
            feeder: Feeder::open(&feeding).await?,
            skeletons: Vec::new(),
            document_bytes: 0,
            meters: meters(Some(servers)),
            _feeding: feeding,
        };
        for pair in &over.rig.pairs {
            over.round(pair, changes, Lane::Bulk, Load::Backlog).await?;
        }
        over.document_bytes = servers.document_bytes(PAIRS[1]).await?;
        for batch in Batch::BOTH {
            let pair = Pair::new("skeleton", batch.size())?;
            pair.source.edit(changes);
            pair.target.edit(changes);
            let rosters = (pair.source.clone(), pair.target.clone());
            let skeleton = Skeleton::new(servers, rosters, over.document_bytes, command_bytes(PAIRS[1])?).await?;
            over.skeletons.push((pair, skeleton));
        }
        Ok(over)
    }

    /// Muster writes what somebody edited.
    async fn round(&self, pair: &Pair, people: u32, lane: Lane, load: Load) -> anyhow::Result<(Timing, Cost)> {
        let edits = self.rig.edit(pair, people, page(lane)).await?;
        let queue = self.servers.queue(&self.rig.queue(pair, lane));
        let feed = Feed::Broker { feeder: self.feeder.clone(), queue };
        let work = |stop| self.rig.mapper_and_writer(stop);
        let driven = drive(&feed, &edits.parcels, load, &pair.target, &self.meters, work).await?;
        self.rig.verify(pair, &edits).await?;
        Ok(driven)
    }

    async fn skeleton_round(&self, place: usize, parcels: &[Parcel], load: Load) -> anyhow::Result<(Timing, Cost)> {
        let (pair, skeleton) = &self.skeletons[place];
        let people = parcels.last().map_or(0, |parcel| parcel.numbers().end);
        pair.source.edit(people);
        let feed = Feed::Broker { feeder: self.feeder.clone(), queue: skeleton.changes.clone() };
        let work = |stop| skeleton.clone().run(stop);
        drive(&feed, parcels, load, &pair.target, &self.meters, work).await
    }
}

impl OverAFile {
    /// Muster writes what somebody edited; with the messages that said so.
    async fn round(
        &self,
        pair: &Pair,
        people: u32,
        lane: Lane,
        load: Load,
    ) -> anyhow::Result<(Timing, Cost, Vec<Parcel>)> {
        let edits = self.rig.edit(pair, people, page(lane)).await?;
        let feed = Feed::File { broker: self.rig.pipeline.broker.clone(), queue: self.rig.queue(pair, lane) };
        let work = |stop| self.rig.mapper_and_writer(stop);
        let (timing, cost) = drive(&feed, &edits.parcels, load, &pair.target, &self.meters, work).await?;
        self.rig.verify(pair, &edits).await?;
        Ok((timing, cost, edits.parcels))
    }
}

/// One that takes one account a call, and one that takes two hundred.
fn pairs() -> anyhow::Result<Vec<Pair>> {
    Batch::BOTH.into_iter().zip(PAIRS).map(|(batch, name)| Pair::new(name, batch.size())).collect()
}

/// Changes in a message of this lane.
fn page(lane: Lane) -> usize {
    match lane {
        Lane::Live => 1,
        Lane::Bulk => MAX_ITEMS,
    }
}

/// Bytes of a command in a message, and of what is around all commands of one.
fn command_bytes(connection: &str) -> anyhow::Result<(usize, usize)> {
    let name: ConnectionName = connection.parse()?;
    let command = Command {
        connection: name,
        link: LinkId(u64::MAX),
        side: Side::B,
        cause: Cause { run: new_run_id(), number: 1_000 },
        lane: Lane::Live,
        approval: None,
        failed: Vec::new(),
    };
    let size = |commands: usize| Message::new(Payload::Commands(vec![command.clone(); commands])).encode().len();
    let (one, two) = (size(1), size(2));
    Ok((two - one, one - (two - one)))
}
