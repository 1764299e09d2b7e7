//! A world of one connection: accounts of `crm` are created at `scim` and kept in step there.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt, join_all};
use tokio_util::sync::CancellationToken;

use super::system::{MemorySystem, Shape, Trouble};
use crate::broker::Queue;
use crate::domain::rules::{AttributeRule, Flow, Policy, Rules};
use crate::domain::schedule::Schedule;
use crate::domain::{Epoch, RunId, Side, Sides, Token};
use crate::simulation::{Clock, Faults, MemoryBroker, MemoryDelivery, MemoryStore};
use crate::stages::producer::clerk::Clerk;
use crate::stages::producer::new_run_id;
use crate::stages::producer::reader::Reader;
use crate::stages::writer::Turns;
use crate::stages::{Connection, Handful, Pipeline, Settings};
use crate::store::{RunKind, Store, SyncRequest};
use crate::systems::SharedSystem;

pub struct World {
    pub clock: Clock,
    pub crm: Arc<MemorySystem>,
    pub scim: Arc<MemorySystem>,
    pub pipeline: Pipeline<MemoryBroker, MemoryStore>,
    pub connection: Arc<Connection>,
    pub stop: CancellationToken,
    readers: Sides<Reader<MemoryBroker, MemoryStore>>,
    clerk: Clerk<MemoryBroker, MemoryStore>,
}

/// How a world is driven.
#[derive(Debug, Clone, Copy)]
pub struct Weather {
    /// Of a hundred steps, how many are killed in the middle.
    pub killed: u8,
}

pub fn rules() -> Rules {
    let title: crate::domain::AttributePath = "title".parse().unwrap();
    let rule = AttributeRule::new(title.clone(), Flow::Towards(Side::B), Policy::DefaultSystem(Side::A));
    Rules {
        create: Sides { a: false, b: true },
        ..Rules::new("crm-scim".parse().unwrap(), Epoch(0), [(title, rule)].into(), Duration::from_secs(1))
    }
}

/// Polls a future so often at most, then drops it.
pub async fn killed_after<F: Future>(polls: usize, future: F) {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(_) => Poll::Ready(()),
        Poll::Pending if left == 0 => Poll::Ready(()),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
    })
    .await;
}

impl World {
    pub fn new() -> Self {
        Self::of(Shape { page: 4, batch: 1, calls: 3 }, rules())
    }

    /// A world of systems of this shape, one connection of which has these rules.
    pub fn of(shape: Shape, rules: Rules) -> Self {
        Self::scheduled(shape, rules, Schedule::Manual)
    }

    /// The same, where the connection runs by itself.
    pub fn scheduled(shape: Shape, rules: Rules, schedule: Schedule) -> Self {
        let clock = Clock::default();
        let (crm, scim) = (MemorySystem::new(clock.clone(), shape), MemorySystem::new(clock.clone(), shape));
        let names = Sides { a: "crm".parse().unwrap(), b: "scim".parse().unwrap() };
        let ends = Sides { a: Arc::clone(&crm) as SharedSystem, b: Arc::clone(&scim) as SharedSystem };
        let connection = Connection::new(names.clone(), ends, rules);
        let connection = Arc::new(Connection { schedule, ..connection });
        let systems: BTreeMap<_, SharedSystem> =
            [(names.a, Arc::clone(&crm) as SharedSystem), (names.b, Arc::clone(&scim) as SharedSystem)].into();
        let pipeline = Pipeline {
            broker: MemoryBroker::new(clock.clone(), Faults::default()),
            store: MemoryStore::new(clock.clone(), Faults::default()),
            systems: Arc::new(systems),
            connections: Arc::new([(connection.name.clone(), Arc::clone(&connection))].into()),
            settings: Settings {
                lease: Duration::from_secs(10),
                deadline: Duration::from_secs(5),
                attempts: 8,
                concurrency: 4,
                prefetch: 4,
                drain: Duration::from_millis(10),
                circuit: crate::domain::circuit::Policy::default(),
                instance: "test/1".to_owned(),
            },
            metrics: Arc::default(),
            suspect: Arc::default(),
            circuits: Arc::default(),
            alerts: Arc::default(),
        };
        let readers = Sides::from_fn(|side| Reader::new(pipeline.clone(), Arc::clone(&connection), side));
        let clerk = Clerk::new(pipeline.clone(), Arc::clone(&connection), token());
        Self { clock, crm, scim, pipeline, connection, stop: CancellationToken::new(), readers, clerk }
    }

    /// The clerk of one more replica.
    pub fn another_clerk(&self) -> Clerk<MemoryBroker, MemoryStore> {
        Clerk::new(self.pipeline.clone(), Arc::clone(&self.connection), token())
    }

    /// Asks for a run.
    pub async fn ask(&self, kind: RunKind, only: Option<&str>) -> RunId {
        let only = only.map(|id| (Side::A, id.parse().unwrap()));
        let request = SyncRequest { run: new_run_id(), kind, by: "test".to_owned(), only };
        while self.pipeline.store.request(&self.connection.name, &request).await.is_err() {}
        request.run
    }

    /// One round of a few stages at once, some of which are killed.
    pub async fn round(&mut self, weather: Weather) {
        let mut steps: Vec<BoxFuture<'_, ()>> = Vec::new();
        let mut reborn = Vec::new();
        let mut reading = Sides { a: false, b: false };
        for _ in 0..fastrand::usize(1..=3) {
            let killed = fastrand::u8(..100) < weather.killed;
            let polls = if killed { fastrand::usize(..40) } else { usize::MAX };
            let pipeline = self.pipeline.clone();
            let step = match fastrand::u8(..6) {
                0 => self.clerk.step(&self.stop).map(drop).boxed(),
                which @ (1 | 2) => {
                    let side = if which == 1 { Side::A } else { Side::B };
                    // A process takes one step of a reader after the other.
                    if std::mem::replace(&mut reading[side], true) {
                        continue;
                    }
                    if killed {
                        reborn.push(side);
                    }
                    let reader = self.readers[side].clone();
                    let stop = self.stop.clone();
                    async move { drop(reader.step(&stop).await) }.boxed()
                }
                which => {
                    let stop = self.stop.clone();
                    let queues = if which < 5 { pipeline.change_queues() } else { pipeline.command_queues() };
                    let Some(deliveries) = self.take_handful(&queues) else { continue };
                    async move {
                        if which < 5 {
                            pipeline.map_deliveries(deliveries, stop).await;
                        } else {
                            let turns = Turns::new(&pipeline);
                            pipeline.write_deliveries(deliveries, &turns, stop).await;
                        }
                    }
                    .boxed()
                }
            };
            steps.push(killed_after(polls, step).boxed());
        }
        join_all(steps).await;
        for side in reborn {
            // Another process, which knows nothing of this one's.
            let (pipeline, connection) = (self.pipeline.clone(), Arc::clone(&self.connection));
            self.readers[side] = Reader::new(pipeline, connection, side);
        }
        self.clock.advance(Duration::from_millis(fastrand::u64(..800)));
    }

    /// A few deliveries of one queue, as many as may be worked on together.
    fn take_handful(&self, queues: &[Queue]) -> Option<Vec<MemoryDelivery>> {
        let mut handful = Handful::new(self.pipeline.broker.take(queues)?);
        for _ in 0..fastrand::usize(..4) {
            let refused = self.pipeline.broker.take(queues).and_then(|delivery| handful.add(delivery, 20));
            if let Some(delivery) = refused {
                delivery.put_back();
                break;
            }
        }
        Some(handful.deliveries)
    }

    /// Lets a mapper work until nothing is left for it.
    pub async fn map(&self) {
        while let Some(delivery) = self.pipeline.broker.take(&self.pipeline.change_queues()) {
            self.pipeline.map_deliveries(vec![delivery], self.stop.clone()).await;
        }
    }

    /// Lets one writer work until nothing is left for it.
    pub async fn write(&self) {
        let turns = Turns::new(&self.pipeline);
        while let Some(delivery) = self.pipeline.broker.take(&self.pipeline.command_queues()) {
            self.pipeline.write_deliveries(vec![delivery], &turns, self.stop.clone()).await;
        }
    }

    /// Lets the clerk and the readers take a step, and nobody else.
    pub async fn read(&self) {
        self.clock.advance(Duration::from_secs(1));
        drop(self.clerk.step(&self.stop).await);
        for side in Side::BOTH {
            drop(self.readers[side].step(&self.stop).await);
        }
    }

    /// Makes every link's account at `scim` one that was last read within the grain of its stamp.
    pub fn unsettle(&self) {
        self.pipeline.store.amend_links(|link| {
            let seen_at = link.sides[Side::B].seen_at.as_mut().unwrap();
            seen_at.tag = None;
            seen_at.read_at = seen_at.modified_at.unwrap();
        });
    }

    /// Rounds in fair weather until nothing is under way any more; panics if that never happens.
    pub async fn come_to_rest(&mut self) {
        self.pipeline.store.lose_answers(0);
        self.crm.set_trouble(Trouble::default());
        self.scim.set_trouble(Trouble::default());
        for _ in 0..20_000 {
            self.round(Weather { killed: 0 }).await;
            let store = &self.pipeline.store;
            let asked = store.requests(&self.connection.name).await.unwrap();
            let over = store.all_runs().iter().all(|run| run.kind == RunKind::Live || run.is_over());
            if asked.is_empty() && over && store.rereads_are_done() && self.pipeline.broker.is_empty() {
                return;
            }
        }
        let store = &self.pipeline.store;
        panic!(
            "never came to rest: {:?} asked for, rereads done {}, queues empty {}, runs not over {:#?}",
            store.requests(&self.connection.name).await,
            store.rereads_are_done(),
            self.pipeline.broker.is_empty(),
            store.all_runs().into_iter().filter(|run| !run.is_over()).collect::<Vec<_>>()
        );
    }

    /// What must be true of a world at rest.
    pub fn judge(&self) {
        assert_eq!(self.scim.titles(), self.crm.titles(), "both sides are equal");
        let mut created = self.scim.created();
        let all = created.len();
        created.sort();
        created.dedup();
        assert_eq!(created.len(), all, "nobody was created twice");
        for run in self.pipeline.store.all_runs() {
            assert!(run.is_over(), "outcomes add up: {run:#?}");
        }
    }
}

fn token() -> Token {
    Token(fastrand::u64(..))
}
