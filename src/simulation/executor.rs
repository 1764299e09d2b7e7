//! Runs the tasks of a world on one thread. Of the tasks that can go on, chance picks the next, one poll at a time; time
//! moves only when none can. So a seed decides every interleaving, and a process can be killed or frozen between any two
//! of its polls.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::events::Digest;
use crate::clock;

/// Whose task it is. A process dies and freezes as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Owner {
    /// People, the network, and whoever brings the faults about.
    World,
    /// A process of Muster, by its number. One that is started again has a new number.
    Process(u32),
}

/// Starts tasks, and ends or halts processes.
#[derive(Clone, Default)]
pub(crate) struct Spawner(Arc<Mutex<Orders>>);

#[derive(Default)]
struct Orders {
    spawned: Vec<(Owner, BoxFuture<'static, ()>)>,
    /// Processes that are killed once they were polled so often more.
    doomed: BTreeMap<Owner, u32>,
    /// Processes that are not polled until then.
    frozen: BTreeMap<Owner, Duration>,
    over: bool,
}

impl Spawner {
    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.0.lock().expect("nothing panics while the lock is held")
    }

    /// Starts a task.
    pub(crate) fn spawn(&self, owner: Owner, task: impl Future<Output = ()> + Send + 'static) {
        self.orders().spawned.push((owner, Box::pin(task)));
    }

    /// Kills a process after so many polls more.
    pub(crate) fn kill(&self, process: Owner, after_polls: u32) {
        self.orders().doomed.insert(process, after_polls);
    }

    /// Halts a process for this long.
    pub(crate) fn freeze(&self, process: Owner, until: Duration) {
        self.orders().frozen.insert(process, until);
    }

    /// The world ends.
    pub(crate) fn end(&self) {
        self.orders().over = true;
    }
}

/// Where woken tasks wait for their turn, in the order in which they were woken.
type Ready = Arc<Mutex<Vec<u64>>>;

struct Call {
    task: u64,
    ready: Ready,
}

impl Wake for Call {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut ready = self.ready.lock().expect("nothing panics while the lock is held");
        if !ready.contains(&self.task) {
            ready.push(self.task);
        }
    }
}

struct Task {
    owner: Owner,
    future: BoxFuture<'static, ()>,
    waker: Waker,
}

/// Why a world stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Somebody ended it.
    Over,
    /// Nobody has anything to do, or to wait for.
    Stuck,
    /// It went on for longer than it may.
    TooLong,
}

/// The tasks of one world.
pub(crate) struct Executor {
    time: clock::World,
    spawner: Spawner,
    tasks: BTreeMap<u64, Task>,
    ready: Ready,
    /// Woken while their process is frozen.
    stalled: Vec<u64>,
    next: u64,
    /// Polls so far.
    polls: u64,
}

impl Executor {
    pub(crate) fn new(time: clock::World, spawner: Spawner) -> Self {
        let (tasks, ready, stalled) = (BTreeMap::new(), Ready::default(), Vec::new());
        Self { time, spawner, tasks, ready, stalled, next: 0, polls: 0 }
    }

    /// Runs until somebody ends the world, for so many polls at most. Whom `killed` is told of has ended without a word.
    pub(crate) fn run(&mut self, limit: u64, digest: &Digest, killed: impl Fn(Owner)) -> Ended {
        loop {
            if self.take_orders() {
                return Ended::Over;
            }
            if self.polls > limit {
                return Ended::TooLong;
            }
            let picked = {
                let mut ready = self.ready();
                match ready.len() {
                    0 => None,
                    several => Some(ready.swap_remove(fastrand::usize(..several))),
                }
            };
            match picked {
                Some(task) => self.poll(task, digest, &killed),
                None if self.advance() => {}
                None => return Ended::Stuck,
            }
        }
    }

    fn ready(&self) -> MutexGuard<'_, Vec<u64>> {
        self.ready.lock().expect("nothing panics while the lock is held")
    }

    /// Whether the world is over.
    fn take_orders(&mut self) -> bool {
        let (spawned, over) = {
            let mut orders = self.spawner.orders();
            (std::mem::take(&mut orders.spawned), orders.over)
        };
        for (owner, future) in spawned {
            self.next += 1;
            let waker = Waker::from(Arc::new(Call { task: self.next, ready: Arc::clone(&self.ready) }));
            self.ready().push(self.next);
            self.tasks.insert(self.next, Task { owner, future, waker });
        }
        over
    }

    fn poll(&mut self, id: u64, digest: &Digest, killed: &impl Fn(Owner)) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        let owner = task.owner;
        if self.spawner.orders().frozen.get(&owner).is_some_and(|until| *until > self.time.elapsed()) {
            self.stalled.push(id);
            return;
        }
        self.polls += 1;
        digest.note(&[id, u64::try_from(self.time.elapsed().as_nanos()).unwrap_or(u64::MAX)]);
        let polled = task.future.as_mut().poll(&mut Context::from_waker(&task.waker));
        if polled == Poll::Ready(()) {
            self.tasks.remove(&id);
        }
        let dies = match self.spawner.orders().doomed.get_mut(&owner) {
            Some(left) => {
                *left = left.saturating_sub(1);
                *left == 0
            }
            None => false,
        };
        if dies {
            self.spawner.orders().doomed.remove(&owner);
            self.tasks.retain(|_, task| task.owner != owner);
            killed(owner);
        }
    }

    /// Moves on to when something happens next. `false`: nothing ever will.
    fn advance(&mut self) -> bool {
        let thaws = {
            let mut orders = self.spawner.orders();
            let now = self.time.elapsed();
            orders.frozen.retain(|_, until| *until > now);
            orders.frozen.values().min().copied()
        };
        // Whoever was woken while frozen goes on once nobody is.
        let moved = match thaws {
            None if !self.stalled.is_empty() => true,
            None => return self.time.advance(Duration::MAX),
            Some(thaws) => {
                let moved = self.time.advance(thaws);
                if self.time.elapsed() < thaws {
                    return moved;
                }
                true
            }
        };
        let stalled = std::mem::take(&mut self.stalled);
        self.ready().extend(stalled);
        moved
    }

    /// Polls so far.
    pub(crate) fn polls(&self) -> u64 {
        self.polls
    }

    /// How long the world has been.
    pub(crate) fn elapsed(&self) -> Duration {
        self.time.elapsed()
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        // While the world's clock is still there.
        self.tasks.clear();
        self.spawner.orders().spawned.clear();
    }
}
