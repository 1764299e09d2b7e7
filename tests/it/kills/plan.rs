//! Which process of a kill test dies where: every failpoint some times, in an order that chance draws.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::pipeline::{End, Rig, Role, until};
use crate::show::show;

/// The failpoints that are still to be reached, by role, and those that were.
pub struct Plan {
    left: Mutex<BTreeMap<Role, VecDeque<String>>>,
    /// How often each was reached.
    reached: Mutex<BTreeMap<(Role, String), u32>>,
    /// Kills of the whole plan.
    whole: BTreeMap<Role, u32>,
}

impl Plan {
    /// Each of these failpoints so many times, in an order and after a number of passes that `random` draws.
    pub fn draw(random: &mut fastrand::Rng, failpoints: impl IntoIterator<Item = (Role, &'static str, usize)>) -> Self {
        let mut left = BTreeMap::<Role, Vec<String>>::new();
        for (role, name, times) in failpoints {
            let passes = match name {
                "producer.ended_reading" => 1..=1,
                "producer.leased" => 1..=8,
                "writer.noted_intent" | "writer.searched" | "writer.answered" | "writer.committed" => 1..=40,
                "writer.received" | "writer.loaded" | "writer.acked" => 1..=6,
                "file.locked" | "file.took_over" => 1..=1,
                "file.replaced_link" => 1..=200,
                "file.before_commit" | "file.committed" => 1..=100,
                "file.published" | "file.taken" | "file.settling" | "file.settled" => 1..=12,
                _ => 1..=3,
            };
            for _ in 0..times {
                left.entry(role).or_default().push(format!("{name}:{}", random.u64(passes.clone())));
            }
        }
        for names in left.values_mut() {
            random.shuffle(names);
        }
        let whole = left.iter().map(|(role, names)| (*role, names.len() as u32)).collect();
        let left = left.into_iter().map(|(role, names)| (role, names.into())).collect();
        Self { left: Mutex::new(left), reached: Mutex::default(), whole }
    }

    pub fn next(&self, role: Role) -> Option<String> {
        self.left.lock().unwrap().get_mut(&role)?.pop_front()
    }

    /// It was killed before it came there.
    pub fn put_back(&self, role: Role, failpoint: String) {
        self.left.lock().unwrap().entry(role).or_default().push_back(failpoint);
    }

    pub fn note(&self, role: Role, name: &str) {
        *self.reached.lock().unwrap().entry((role, name.to_owned())).or_default() += 1;
    }

    pub fn kills(&self) -> u32 {
        self.reached.lock().unwrap().values().sum()
    }

    pub fn is_done(&self) -> bool {
        self.whole.keys().all(|role| self.is_done_for(*role))
    }

    pub fn is_done_for(&self, role: Role) -> bool {
        let reached = self.reached.lock().unwrap();
        reached.iter().filter(|((of, _), _)| *of == role).map(|(_, count)| count).sum::<u32>() >= self.whole[&role]
    }

    /// Shows how often each failpoint was reached, and asserts that all of these were, and all together so often.
    pub fn assert_reached<'n>(&self, names: impl IntoIterator<Item = &'n &'n str>, kills: u32) {
        let reached = self.reached.lock().unwrap();
        for ((_, name), count) in reached.iter() {
            show(format_args!("{count:4} {name}"));
        }
        for name in names {
            assert!(reached.keys().any(|(_, reached)| reached == name), "{name} was never reached");
        }
        let whole = reached.values().sum::<u32>();
        assert!(whole >= kills, "only {whole} kills");
    }
}

/// Keeps one place of a role filled: whoever dies is replaced, by one with the next failpoint of the plan.
pub async fn keep_filled(
    rig: Arc<Rig>,
    role: Role,
    plan: Arc<Plan>,
    mut kills: mpsc::UnboundedReceiver<()>,
    stop: CancellationToken,
) {
    loop {
        let failpoint = plan.next(role);
        if failpoint.is_none() && role == Role::Producer {
            // One that may live would take the leases, and the others would never come to their ends.
            until("the failpoints of producers are reached", || async { plan.is_done_for(role) }).await;
        }
        let mut worker = rig.start(role, failpoint.as_deref());
        tokio::select! {
            () = stop.cancelled() => return,
            end = worker.ended() => match end {
                End::Failpoint(name) => plan.note(role, &name),
                other => panic!("a {role:?} ended unasked: {other:?}"),
            },
            Some(()) = kills.recv() => {
                worker.kill().await;
                match (worker.ended().await, failpoint) {
                    (End::Failpoint(name), _) => plan.note(role, &name),
                    (_, Some(failpoint)) => plan.put_back(role, failpoint),
                    (_, None) => {}
                }
            }
        }
    }
}

/// The seed of this test: what `MUSTER_SEED` says, or a new one. It is shown.
pub fn seed() -> u64 {
    let given = std::env::var("MUSTER_SEED");
    let seed = given.map_or_else(|_| fastrand::u64(..), |seed| seed.parse().expect("MUSTER_SEED is a number"));
    show(format_args!("MUSTER_SEED={seed}"));
    seed
}
