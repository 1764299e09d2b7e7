//! A world: two systems, the people in them, and the processes of Muster between, which die and are started again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Clock;
use super::broker::{MemoryBroker, MemoryDelivery};
use super::events::Timeline;
use super::executor::{Owner, Spawner};
use super::faults::{Fault, Faults};
use super::people::People;
use super::plan::Plan;
use super::store::{Backup, MemoryStore};
use super::system::Remote;
use super::system::connector::Connector;
use crate::broker::Queue;
use crate::clock;
use crate::domain::circuit::Policy;
use crate::domain::{RunId, Side, Sides, Timestamp, Token};
use crate::stages::producer::Step;
use crate::stages::producer::clerk::{Clerk, new_run_id};
use crate::stages::producer::reader::Reader;
use crate::stages::writer::Turns;
use crate::stages::{Connection, Handful, Pipeline, Settings};
use crate::store::{Run, RunKind, Store, SyncRequest};
use crate::systems::SharedSystem;
use crate::telemetry::metrics::Metrics;

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    Producer,
    Mapper,
    Writer,
}

impl Role {
    fn killed(self) -> Fault {
        match self {
            Self::Producer => Fault::ProducerKilled,
            Self::Mapper => Fault::MapperKilled,
            Self::Writer => Fault::WriterKilled,
        }
    }
}

/// What the world knows of its processes, and of what was lost.
#[derive(Default)]
struct State {
    alive: BTreeMap<Owner, Role>,
    dead: Vec<Role>,
    /// Runs of which the store forgot a part: nobody can count them to their end.
    cut: BTreeSet<RunId>,
    /// When the store's memory was doubted or lost.
    losses: Vec<Timestamp>,
    /// What went wrong with the world as a whole.
    complaint: Option<String>,
}

/// A world. All its clones are one.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) plan: Arc<Plan>,
    pub(crate) clock: Clock,
    pub(crate) faults: Faults,
    pub(crate) timeline: Timeline,
    pub(crate) spawner: Spawner,
    pub(crate) broker: MemoryBroker,
    pub(crate) store: MemoryStore,
    pub(crate) remotes: Sides<Arc<Remote>>,
    pub(crate) people: People,
    metrics: Arc<Metrics>,
    requests: Arc<AtomicU64>,
    processes: Arc<AtomicU32>,
    state: Arc<Mutex<State>>,
}

impl World {
    pub(crate) fn new(plan: Plan, clock: Clock, spawner: Spawner) -> Self {
        let (faults, timeline) = (Faults::default(), Timeline::default());
        let paths: Vec<_> = plan.rules.attributes.keys().cloned().collect();
        let remotes =
            Sides::from_fn(|side| Remote::new(side, plan.shapes[side], &paths, clock.clone(), timeline.clone()));
        let people = People::new(remotes.clone(), clock.clone(), timeline.clone());
        Self {
            broker: MemoryBroker::new(clock.clone(), faults.clone()),
            store: MemoryStore::new(clock.clone(), faults.clone()),
            plan: Arc::new(plan),
            clock,
            faults,
            timeline,
            spawner,
            remotes,
            people,
            metrics: Arc::new(Metrics::new()),
            requests: Arc::default(),
            processes: Arc::default(),
            state: Arc::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while the lock is held")
    }

    /// Something happened to everybody.
    pub(crate) fn tell(&self, what: String) {
        self.timeline.note(self.clock.elapsed_ms(), None, what);
    }

    /// Runs of which the store forgot a part.
    pub(crate) fn cut_runs(&self) -> BTreeSet<RunId> {
        self.state().cut.clone()
    }

    /// When the store's memory was doubted or lost.
    pub(crate) fn losses(&self) -> Vec<Timestamp> {
        self.state().losses.clone()
    }

    pub(crate) fn complain(&self, what: String) {
        self.state().complaint.get_or_insert(what);
    }

    pub(crate) fn complaint(&self) -> Option<String> {
        self.state().complaint.clone()
    }

    /// Starts a process.
    pub(crate) fn start(&self, role: Role) {
        let number = self.processes.fetch_add(1, Ordering::Relaxed);
        let owner = Owner::Process(number);
        self.state().alive.insert(owner, role);
        let names = Sides::from_fn(|side| ["crm", "scim"][side as usize].parse().expect("a constant name"));
        let ends = Sides::from_fn(|side| {
            let remote = Arc::clone(&self.remotes[side]);
            let connector =
                Connector::new(remote, self.faults.clone(), (self.spawner.clone(), owner), Arc::clone(&self.requests));
            Arc::new(connector) as SharedSystem
        });
        let connection = Arc::new(Connection::new(names.clone(), ends.clone(), self.plan.rules.clone()));
        let pipeline = Pipeline {
            broker: self.broker.connect(owner),
            store: self.store.clone(),
            systems: Arc::new([(names.a, ends.a), (names.b, ends.b)].into()),
            connections: Arc::new([(connection.name.clone(), Arc::clone(&connection))].into()),
            settings: Settings {
                lease: Duration::from_secs(10),
                deadline: Duration::from_secs(5),
                attempts: 8,
                concurrency: 2,
                prefetch: 4,
                drain: Duration::from_secs(1),
                circuit: Policy::default(),
                instance: format!("world/{number}"),
            },
            metrics: Arc::clone(&self.metrics),
            suspect: Arc::default(),
            circuits: Arc::default(),
            alerts: Arc::default(),
        };
        let stop = CancellationToken::new();
        match role {
            Role::Producer => self.start_producer(owner, &pipeline, &connection, &stop),
            Role::Mapper => {
                let mut idle = self.idle();
                self.spawner.spawn(owner, async move {
                    let queues = pipeline.change_queues();
                    loop {
                        let handful = take_handful(&pipeline.broker, &queues, 20);
                        let worked = handful.is_some();
                        if let Some(deliveries) = handful {
                            pipeline.map_deliveries(deliveries, stop.clone()).await;
                        }
                        idle.after(worked).await;
                    }
                });
            }
            Role::Writer => {
                let turns = Arc::new(Turns::new(&pipeline));
                for _ in 0..2 {
                    let (pipeline, stop, mut idle) = (pipeline.clone(), stop.clone(), self.idle());
                    let turns = Arc::clone(&turns);
                    self.spawner.spawn(owner, async move {
                        let queues = pipeline.command_queues();
                        loop {
                            let handful = take_handful(&pipeline.broker, &queues, 20);
                            let worked = handful.is_some();
                            if let Some(deliveries) = handful {
                                pipeline.write_deliveries(deliveries, &turns, stop.clone()).await;
                            }
                            idle.after(worked).await;
                        }
                    });
                }
            }
        }
    }

    fn start_producer(
        &self,
        owner: Owner,
        pipeline: &Pipeline<MemoryBroker, MemoryStore>,
        connection: &Arc<Connection>,
        stop: &CancellationToken,
    ) {
        let clerk = Clerk::new(pipeline.clone(), Arc::clone(connection), Token(fastrand::u64(..)));
        let (stop_clerk, mut idle) = (stop.clone(), self.idle());
        self.spawner.spawn(owner, async move {
            loop {
                let step = clerk.step(&stop_clerk).await;
                idle.after(matches!(step, Ok(Step::Worked))).await;
            }
        });
        for side in Side::BOTH {
            let reader = Reader::new(pipeline.clone(), Arc::clone(connection), side);
            let (stop, mut idle) = (stop.clone(), self.idle());
            self.spawner.spawn(owner, async move {
                loop {
                    let step = reader.step(&stop).await;
                    idle.after(matches!(step, Ok(Step::Worked))).await;
                }
            });
        }
    }

    fn idle(&self) -> Idle {
        let longest = Duration::from_millis(self.plan.idle_ms);
        Idle { faults: self.faults.clone(), pause: Duration::ZERO, longest }
    }

    /// A process ended without a word.
    pub(crate) fn killed(&self, owner: Owner) {
        let role = self.state().alive.remove(&owner);
        if let Some(role) = role {
            self.faults.count(role.killed());
            self.tell(format!("{role:?} {owner:?} is killed"));
            self.state().dead.push(role);
        }
        self.broker.lose_connection(owner);
    }

    /// Starts again what was killed.
    pub(crate) async fn look_after_processes(self) {
        loop {
            clock::sleep(Duration::from_millis(fastrand::u64(200..4_000))).await;
            let dead = std::mem::take(&mut self.state().dead);
            dead.into_iter().for_each(|role| self.start(role));
        }
    }

    /// One blow out of many.
    pub(crate) fn strike(&self, copies: &mut Vec<Backup>) {
        let alive: Vec<_> = self.state().alive.iter().map(|(owner, role)| (*owner, *role)).collect();
        if fastrand::u8(..100) < self.plan.memory_blows {
            return self.strike_memory(copies);
        }
        let Some((owner, role)) = alive.get(fastrand::usize(..alive.len().max(1))).copied() else { return };
        match fastrand::u8(..10) {
            0..6 => self.spawner.kill(owner, fastrand::u32(1..60)),
            6..8 => {
                let frozen = Duration::from_secs(fastrand::u64(2..45));
                self.faults.count(Fault::ProcessFrozen);
                self.tell(format!("{role:?} {owner:?} is frozen for {frozen:?}"));
                self.spawner.freeze(owner, self.clock.elapsed() + frozen);
                // Its heartbeats are missed.
                let broker = self.broker.clone();
                if frozen > Duration::from_secs(20) {
                    self.spawner.spawn(Owner::World, async move {
                        clock::sleep(Duration::from_secs(20)).await;
                        broker.lose_connection(owner);
                    });
                }
            }
            _ => {
                self.faults.count(Fault::ConnectionLost);
                self.tell(format!("{role:?} {owner:?} loses its broker connection"));
                self.broker.lose_connection(owner);
            }
        }
    }

    fn strike_memory(&self, copies: &mut Vec<Backup>) {
        let fault = match fastrand::u8(..3) {
            0 => Fault::MemoryDoubted,
            1 => Fault::MemoryEmptied,
            _ => Fault::MemoryRestored,
        };
        let copy = (fault == Fault::MemoryRestored && !copies.is_empty())
            .then(|| copies.swap_remove(fastrand::usize(..copies.len())));
        self.faults.count(fault);
        self.tell(fault.as_str().to_owned());
        self.state().losses.push(self.clock.now());
        match fault {
            Fault::MemoryDoubted => self.store.begin_epoch(),
            _ => {
                self.store.restore(copy);
                let cut = self.store.all_runs().into_iter().map(|run| run.id);
                self.state().cut.extend(cut);
            }
        }
    }

    /// Somebody asks for a run.
    pub(crate) async fn ask(&self, kind: RunKind) {
        let request = SyncRequest { run: new_run_id(), kind, by: "somebody".to_owned(), only: None };
        while self.store.request(&self.plan.rules.connection, &request).await.is_err() {}
    }

    /// Whether nothing is under way anywhere.
    pub(crate) fn is_at_rest(&self) -> bool {
        let cut = self.cut_runs();
        let is_over = |run: &Run| {
            let counted = cut.contains(&run.id) || (run.changes_in_flight() == 0 && run.commands_in_flight() == 0);
            counted && !run.reading.a && !run.reading.b
        };
        self.store.nothing_is_asked_for()
            && self.store.rereads_are_done()
            && self.broker.is_empty()
            && self.broker.is_settled()
            && Side::BOTH.iter().all(|side| self.remotes[*side].is_quiet())
            && self.store.all_runs().iter().all(is_over)
    }

    /// Waits until nothing is under way any more.
    pub(crate) async fn come_to_rest(&self) -> Result<(), String> {
        let begun = clock::now();
        let mut pause = Duration::from_millis(500);
        while !self.is_at_rest() {
            if clock::now() - begun > PATIENCE {
                return Err(format!(
                    "nothing goes wrong any more, and after {PATIENCE:?} work is still under way: {}",
                    self.under_way()
                ));
            }
            clock::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(60));
        }
        Ok(())
    }

    fn under_way(&self) -> String {
        let runs: Vec<_> = self
            .store
            .all_runs()
            .into_iter()
            .filter(|run| !run.is_over())
            .map(|run| {
                format!(
                    "run {} ({:?}): still to be read {:?}, {} changes and {} commands without an outcome",
                    run.id,
                    run.kind,
                    run.reading,
                    run.changes_in_flight(),
                    run.commands_in_flight()
                )
            })
            .collect();
        format!(
            "requests done {}, re-reads done {}, queues empty {}; {}",
            self.store.nothing_is_asked_for(),
            self.store.rereads_are_done(),
            self.broker.is_empty(),
            runs.join("; ")
        )
    }
}

/// Longer than a command can be on the retry ladder.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// The wait of a task that found nothing to do. It grows: a world at rest costs nothing.
struct Idle {
    faults: Faults,
    pause: Duration,
    /// In the storm.
    longest: Duration,
}

impl Idle {
    async fn after(&mut self, worked: bool) {
        let longest = if self.faults.is_calm() { Duration::from_secs(30) } else { self.longest };
        self.pause = if worked { Duration::ZERO } else { (self.pause * 2 + Duration::from_millis(100)).min(longest) };
        let wait = self.pause.mul_f64(0.5 + fastrand::f64() / 2.0);
        clock::sleep(wait).await;
        tokio::task::yield_now().await;
    }
}

/// A few deliveries of one queue, as many as may be worked on together.
fn take_handful(broker: &MemoryBroker, queues: &[Queue], room: usize) -> Option<Vec<MemoryDelivery>> {
    let mut handful = Handful::new(broker.take(queues)?);
    for _ in 0..fastrand::usize(..4) {
        let refused = broker.take(queues).and_then(|delivery| handful.add(delivery, room));
        if let Some(delivery) = refused {
            delivery.put_back();
            break;
        }
    }
    Some(handful.deliveries)
}
