//! The pipeline on a copy: what the store holds of a connection, copied into a file that nobody else sees, the same
//! stages, and systems that are only read.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::planned::Planned;
use crate::broker::embedded::EmbeddedBroker;
use crate::broker::message::Payload;
use crate::broker::{Broker, Destination, Message, Outgoing, Queue};
use crate::config::Config;
use crate::database::Database;
use crate::domain::circuit::Policy;
use crate::domain::matching::MatchKey;
use crate::domain::pending::pending;
use crate::domain::{
    Cause, ChangeOutcome, Command, ConnectionName, DeadLetter, Lane, Link, LinkId, RunId, Side, Sides,
};
use crate::ops::connect::{EMBEDDED_PREFETCH, Systems, operator, settings};
use crate::ops::output::Form;
use crate::ops::worker::{self, Role};
use crate::ops::{sync, sync::Until};
use crate::stages::producer::new_run_id;
use crate::stages::{Connection, Pipeline, Settings};
use crate::store::embedded::EmbeddedStore;
use crate::store::{Commit, Committed, Count, Run, RunKind, Store, StoreError, SyncRequest};
use crate::telemetry::metrics::Metrics;

/// How often a copy is begun again because the store began a new epoch meanwhile.
const COPIES: usize = 3;

/// The wait between two looks at what is under way.
const POLL: Duration = Duration::from_millis(200);

/// A connection on the copy.
pub(super) struct Dry {
    pub(super) pipeline: Pipeline<EmbeddedBroker, EmbeddedStore>,
    pub(super) connection: Arc<Connection>,
    pub(super) ends: Sides<Arc<Planned>>,
    /// What was known before.
    pub(super) before: Before,
    /// The run that is planned.
    pub(super) id: RunId,
}

/// What the copy held at first.
#[derive(Default)]
pub(super) struct Before {
    /// Links of two accounts.
    pub(super) paired: HashSet<LinkId>,
    /// Sides of links whose account parted from its partner.
    pub(super) parted: HashSet<(LinkId, Side)>,
    /// Open letters.
    pub(super) letters: Vec<DeadLetter>,
    /// Sides of links that already waited to be written.
    owed: Vec<(LinkId, Side)>,
}

impl Dry {
    /// Copies what the store holds of the connection; `is_other`: its memory would begin anew. Without a store nothing
    /// is known yet.
    pub(super) async fn of<S: Store>(
        config: &Config,
        systems: &Systems,
        connection: &Connection,
        source: Option<(&S, bool)>,
    ) -> anyhow::Result<Self> {
        let name = &connection.name;
        let mut tries = 0;
        let (database, store) = loop {
            let folder = tempfile::Builder::new().prefix("muster-plan-").tempdir()?;
            let database = Database::open(&folder.path().join("plan.db"))?;
            let store = EmbeddedStore::open(&database).await?;
            database.lead().await?;
            // Open files need no names: without them they go with this process, however that ends.
            folder.close()?;
            let Some((source, is_other)) = source else { break (database, store) };
            match store.copy_from(source, name).await {
                Ok(()) if is_other => {
                    store.begin_anew(name).await?;
                    break (database, store);
                }
                Ok(()) => break (database, store),
                Err(StoreError::EpochChanged(_)) if tries < COPIES => tries += 1,
                Err(error) => return Err(error.into()),
            }
        };
        if let Some((source, _)) = source {
            copy_pauses(source, &store, connection).await?;
        }
        let ends = Sides::from_fn(|side| {
            let rules = connection.template();
            let matched = rules.match_on.iter().flat_map(MatchKey::paths).filter_map(|path| rules.attributes.get(path));
            let matched = matched.map(|rule| rule.names[side].clone()).collect();
            Arc::new(Planned::new(Arc::clone(&connection.ends[side]), matched))
        });
        let shared = Sides::from_fn(|side| Arc::clone(&ends[side]) as crate::systems::SharedSystem);
        let connection = Arc::new(connection.between(shared));
        let pipeline = Pipeline {
            broker: EmbeddedBroker::open(&database),
            store,
            systems: Arc::new(systems.by_name.clone()),
            connections: Arc::new(BTreeMap::from([(name.clone(), Arc::clone(&connection))])),
            // A plan says what it could not read; it does not wait until an outage is over.
            settings: Settings { circuit: Policy::never(), ..settings(config, EMBEDDED_PREFETCH) },
            metrics: Arc::new(Metrics::new()),
            suspect: Arc::default(),
            circuits: Arc::default(),
            alerts: Arc::default(),
        };
        let mut dry = Self { pipeline, connection, ends, before: Before::default(), id: new_run_id() };
        dry.prepare().await?;
        Ok(dry)
    }

    /// Looks at what is there, and lets go of what writers held: nothing is written here, and nobody is waited for.
    async fn prepare(&mut self) -> anyhow::Result<()> {
        let (store, name) = (self.pipeline.store.clone(), self.connection.name.clone());
        let epoch = store.epoch(&name).await?;
        let rules = self.connection.rules(epoch.id);
        let mut before = Before { letters: store.letters(Some(&name)).await?, ..Before::default() };
        let mut held = Vec::new();
        each_link(&store, &name, |link| {
            if link.is_paired() {
                before.paired.insert(link.id);
            }
            before
                .parted
                .extend(Side::BOTH.into_iter().filter(|side| link.parted(*side).is_some()).map(|s| (link.id, s)));
            if link.epoch != epoch.id {
                return;
            }
            for side in Side::BOTH {
                // What was refused and is wanted again since the rules changed, waits for the next reading.
                if link.sides[side].dead.is_none() && pending(&link, side, &rules).is_some() {
                    before.owed.push((link.id, side));
                }
            }
            let is_held = |side| link.sides[side].leased(epoch.now).is_some();
            if Side::BOTH.into_iter().any(|side| is_held(side) || !link.sides[side].intents.is_empty()) {
                held.push(link);
            }
        })
        .await?;
        for mut link in held {
            for side in Side::BOTH {
                let state = &mut link.sides[side];
                state.lease = None;
                state.intents.iter_mut().for_each(|intent| intent.until = intent.until.min(epoch.now));
            }
            store.commit(&name, epoch.id, &[Commit { link: Some(link), ..Commit::default() }]).await?;
        }
        self.before = before;
        Ok(())
    }

    /// Lets the pipeline run until nothing is left to do; the run, with its counts.
    pub(super) async fn run(&self, full: bool, stop: &CancellationToken, form: Form) -> anyhow::Result<Run> {
        let (pipeline, name) = (&self.pipeline, &self.connection.name);
        pipeline.broker.declare(&pipeline.queues()).await?;
        let owed = self.owe().await?;
        let kind = if full { RunKind::Reconcile } else { RunKind::Sync };
        let request = SyncRequest { run: self.id.clone(), kind, by: operator(), only: None };
        pipeline.store.request(name, &request).await?;
        let own = CancellationToken::new();
        let work = worker::stages(&Role::ALL, pipeline, &own);
        let follow = async {
            let (run, _) = sync::follow(pipeline, name, &request, Until::Over, Instant::now(), form).await?;
            while let Some(owed) = &owed
                && pipeline.store.run(name, owed).await?.is_some_and(|run| !run.is_over())
            {
                tokio::time::sleep(POLL).await;
            }
            anyhow::Ok(run)
        };
        let mut work = std::pin::pin!(work);
        let ended = tokio::select! {
            run = follow => run,
            error = self.watch() => Err(error),
            ended = &mut work => match ended {
                Ok(()) => Err(anyhow::anyhow!("the stages ended unasked")),
                Err(error) => return Err(error),
            },
            () = stop.cancelled() => Err(anyhow::anyhow!("stopped; nothing was changed")),
        };
        own.cancel();
        work.await?;
        pipeline.broker.close().await;
        ended
    }

    /// Ends when a system lets nobody in: a sync would wait until it does.
    async fn watch(&self) -> anyhow::Error {
        loop {
            for system in [&self.connection.systems.a, &self.connection.systems.b] {
                match self.pipeline.store.system(system).await {
                    Ok(state) if state.reason.as_deref() == Some("unauthorised") => {
                        return anyhow::anyhow!("{system} does not accept the credential; see `muster check`");
                    }
                    Ok(_) => {}
                    Err(error) => return error.into(),
                }
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Publishes a command for each side that already waited to be written: its own waits in the real queues. They are
    /// counted in a run.
    async fn owe(&self) -> anyhow::Result<Option<RunId>> {
        let (pipeline, name) = (&self.pipeline, &self.connection.name);
        if self.before.owed.is_empty() {
            return Ok(None);
        }
        let epoch = pipeline.store.epoch(name).await?;
        let run = Run::new(new_run_id(), RunKind::Retry, operator(), epoch.now);
        pipeline.store.begin_run(name, &run).await?;
        for (link, side) in self.before.owed.iter().copied() {
            let number = pipeline.store.reserve(name, &run.id, 1, None).await?.unwrap_or_default();
            let mut emits = Sides { a: false, b: false };
            emits[side] = true;
            let cause = Cause { run: run.id.clone(), number };
            let count = Count::Change { run: run.id.clone(), number, outcome: ChangeOutcome::Unchanged, emits };
            let commit = Commit { count: Some(count), ..Commit::default() };
            let counted = pipeline.store.commit(name, epoch.id, &[commit]).await?;
            anyhow::ensure!(matches!(counted[..], [Committed::Done { .. }]), "the copy does not count");
            let command = Command {
                connection: name.clone(),
                link,
                side,
                cause,
                lane: Lane::Live,
                approval: None,
                failed: Vec::new(),
            };
            let queue = Queue::commands(&self.connection.systems[side], Lane::Live);
            let message = Message::new(Payload::Commands(vec![command]));
            pipeline.broker.publish(vec![Outgoing { to: Destination::Queue(queue), message }]).await?;
        }
        Ok(Some(run.id))
    }

    /// Hands every link of the copy to `take`, once each.
    pub(super) async fn each_link(&self, take: impl FnMut(Link)) -> Result<(), StoreError> {
        each_link(&self.pipeline.store, &self.connection.name, take).await
    }
}

/// A system that asked to be left alone is left alone.
async fn copy_pauses<S: Store>(source: &S, store: &EmbeddedStore, connection: &Connection) -> Result<(), StoreError> {
    let now = crate::domain::Timestamp(jiff::Timestamp::now().as_millisecond());
    for system in [&connection.systems.a, &connection.systems.b] {
        let state = source.system(system).await?;
        if let Some(until) = state.not_before.filter(|until| *until > now) {
            let reason = state.reason.unwrap_or_default();
            store.pause_system(system, until.since(now), &reason).await?;
        }
    }
    Ok(())
}

async fn each_link(store: &EmbeddedStore, name: &ConnectionName, mut take: impl FnMut(Link)) -> Result<(), StoreError> {
    let (mut from, mut seen) = (None, HashSet::new());
    loop {
        let (claims, next) = store.claims(name, from).await?;
        let links: Vec<_> = claims.into_iter().map(|(_, link)| link).filter(|link| seen.insert(*link)).collect();
        store.load(name, &links).await?.items.into_iter().flatten().for_each(&mut take);
        match next {
            Some(next) => from = Some(next),
            None => return Ok(()),
        }
    }
}
