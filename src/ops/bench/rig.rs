//! Muster itself, the way it always works, between rosters in memory: over the servers or over one file.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio_util::sync::CancellationToken;

use super::roster::{ATTRIBUTES, Roster, USER_NAME};
use super::servers::Parcel;
use crate::broker::message::{MAX_ITEMS, Payload};
use crate::broker::{Broker, Message, Queue};
use crate::domain::guard::Budgets;
use crate::domain::rules::{AttributeRule, Flow, Policy, Rules};
use crate::domain::{
    AttributePath, Cause, Change, CommandOutcome, ConnectionName, Epoch, Lane, RunId, Side, Sides, Sighting, SystemName,
};
use crate::ops::connect;
use crate::ops::worker::{self, Role};
use crate::stages::producer::new_run_id;
use crate::stages::{Connection, Pipeline, Settings};
use crate::store::{Run, RunKind, Store};
use crate::systems::SharedSystem;
use crate::telemetry::metrics::Metrics;

/// Messages of one queue that a stage holds unsettled at most: the default of both modes.
pub const PREFETCH: u16 = 100;

/// Handfuls that a stage has in hand at once: the default.
pub const CONCURRENCY: usize = 8;

/// How long a write may take: the default.
pub const DEADLINE: Duration = Duration::from_secs(8);

/// How long a writer holds a side of a link: the default.
const LEASE: Duration = Duration::from_secs(12);

/// Two rosters, of which the second follows the first.
#[derive(Clone)]
pub struct Pair {
    /// The connection between them, and the name of its target.
    pub name: ConnectionName,
    /// The one that leads.
    pub source: Arc<Roster>,
    /// The one that follows.
    pub target: Arc<Roster>,
}

impl Pair {
    /// A pair without accounts, whose target takes `batch` accounts a call.
    pub fn new(name: &str, batch: usize) -> anyhow::Result<Self> {
        let (source, target) = (Roster::new(Side::A, batch), Roster::new(Side::B, batch));
        Ok(Self { name: name.parse()?, source, target })
    }

    fn systems(&self) -> anyhow::Result<Sides<SystemName>> {
        Ok(Sides { a: format!("{}-a", self.name).parse()?, b: format!("{}-b", self.name).parse()? })
    }

    fn connection(&self) -> anyhow::Result<Connection> {
        let (flow, policy) = (Flow::Towards(Side::B), Policy::DefaultSystem(Side::A));
        let paths = ATTRIBUTES.iter().map(|name| name.parse()).collect::<Result<Vec<AttributePath>, _>>()?;
        let attributes = paths.into_iter().map(|path| (path.clone(), AttributeRule::new(path, flow, policy))).collect();
        let rules = Rules {
            create: Sides { a: false, b: true },
            match_on: vec![USER_NAME.parse::<AttributePath>()?.into()],
            budgets: Budgets::default(),
            // The epoch is replaced once it is known.
            ..Rules::new(self.name.clone(), Epoch(0), attributes, Duration::from_secs(1))
        };
        let ends = Sides { a: Arc::clone(&self.source) as SharedSystem, b: Arc::clone(&self.target) as SharedSystem };
        Ok(Connection::new(self.systems()?, ends, rules))
    }
}

/// See the module.
pub struct Rig<B, S> {
    /// The pipeline over all pairs.
    pub pipeline: Pipeline<B, S>,
    /// What it keeps in step.
    pub pairs: Vec<Pair>,
}

/// Changes that are ready to be published, and where their outcomes are counted.
pub struct Edits {
    /// The messages.
    pub parcels: Vec<Parcel>,
    run: RunId,
    people: u32,
}

impl<B: Broker, S: Store> Rig<B, S> {
    /// Muster over this broker and store, with its settings as they are by default.
    pub fn new(broker: B, store: S, pairs: Vec<Pair>) -> anyhow::Result<Self> {
        let mut systems = BTreeMap::<SystemName, SharedSystem>::new();
        let mut connections = BTreeMap::new();
        for pair in &pairs {
            let names = pair.systems()?;
            systems.insert(names.a, Arc::clone(&pair.source) as SharedSystem);
            systems.insert(names.b, Arc::clone(&pair.target) as SharedSystem);
            connections.insert(pair.name.clone(), Arc::new(pair.connection()?));
        }
        let settings = Settings {
            lease: LEASE,
            deadline: DEADLINE,
            attempts: 8,
            concurrency: CONCURRENCY,
            prefetch: PREFETCH,
            drain: Duration::from_secs(20),
            circuit: Default::default(),
            instance: connect::instance(),
        };
        let pipeline = Pipeline {
            broker,
            store,
            systems: Arc::new(systems),
            connections: Arc::new(connections),
            settings,
            metrics: Arc::new(Metrics::new()),
            suspect: Arc::default(),
            circuits: Arc::default(),
            alerts: Arc::default(),
        };
        Ok(Self { pipeline, pairs })
    }

    /// Somebody edits each of the first `people` of a pair (or hires them): the changes as a producer would publish them,
    /// `page` of them in a message.
    pub async fn edit(&self, pair: &Pair, people: u32, page: usize) -> anyhow::Result<Edits> {
        pair.source.edit(people);
        let (store, name) = (&self.pipeline.store, &pair.name);
        let epoch = store.epoch(name).await?;
        let run = Run::new(new_run_id(), RunKind::Sync, "bench".to_owned(), epoch.now);
        store.begin_run(name, &run).await?;
        let first = store.reserve(name, &run.id, people, None).await?.context("the run is gone")?;
        let change = |number| {
            let snapshot = pair.source.seen(number)?;
            Some(Change {
                connection: name.clone(),
                side: Side::A,
                cause: Cause { run: run.id.clone(), number: first + number },
                epoch: epoch.id,
                seen: Sighting::Present { snapshot },
            })
        };
        let numbers: Vec<u32> = (0..people).collect();
        let parcels = numbers.chunks(page.clamp(1, MAX_ITEMS)).map(|numbers| {
            let changes: Vec<_> = numbers.iter().filter_map(|number| change(*number)).collect();
            let (first, count) = (numbers[0], numbers.len() as u32);
            let message = Message::new(Payload::Changes(changes));
            Parcel { body: message.encode()[..].into(), id: message.id, first, count }
        });
        Ok(Edits { parcels: parcels.collect(), run: run.id, people })
    }

    /// The queue that changes of a pair are published to.
    pub fn queue(&self, pair: &Pair, lane: Lane) -> Queue {
        Queue::changes(&pair.name, lane)
    }

    /// Makes of mapper and writer what works until `stop`.
    pub fn mapper_and_writer(&self, stop: CancellationToken) -> impl Future<Output = anyhow::Result<()>> + use<B, S> {
        let pipeline = self.pipeline.clone();
        async move { worker::stages(&[Role::Mapper, Role::Writer], &pipeline, &stop).await }
    }

    /// Proves that every one of these edits was written once and counted once, and that both rosters are equal.
    ///
    /// # Errors
    /// If not: then a rate would be the rate of something else.
    pub async fn verify(&self, pair: &Pair, edits: &Edits) -> anyhow::Result<()> {
        let run = self.pipeline.store.run(&pair.name, &edits.run).await?.context("the run is gone")?;
        let applied = run.commands(CommandOutcome::Applied);
        ensure!(
            run.is_over() && applied == edits.people,
            "of {} changes {applied} were written; {} have no outcome",
            edits.people,
            run.changes_in_flight() + run.commands_in_flight()
        );
        ensure!(pair.source.all_editions() == pair.target.all_editions(), "the two systems are not in step");
        Ok(())
    }
}
