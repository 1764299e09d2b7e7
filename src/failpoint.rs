//! Named places at which a test can kill the process. Without the feature `failpoints` they cost nothing and do nothing.
//!
//! `MUSTER_FAILPOINT=writer.answered:3` kills the process with SIGKILL when it passes `writer.answered` for the third
//! time, so no destructor runs and nothing is flushed.

/// Every name that the stages call [`hit`] with, by stage; tests walk this list.
pub const STAGES: &[&str] = &[
    "producer.leased",
    "producer.read",
    "producer.reserved",
    "producer.published",
    "producer.moved_cursor",
    "producer.ended_reading",
    "mapper.received",
    "mapper.found",
    "mapper.committed",
    "mapper.published",
    "mapper.acked",
    "writer.received",
    "writer.loaded",
    "writer.noted_intent",
    "writer.searched",
    "writer.answered",
    "writer.committed",
    "writer.acked",
];

/// The names that are passed only where a guard has stopped something, or a person decides about it.
pub const GUARDS: &[&str] = &[
    // Places in budgets are taken, and what has none is not on hold yet.
    "writer.asked_guards",
    // It is.
    "writer.held",
    // What a person let pass is noted, and not written yet.
    "writer.approved",
    // A batch of approvals is published, and not counted yet.
    "held.sent",
    // A batch of rejections is noted.
    "held.rejected",
];

/// The names that are passed only on the way to a deletion.
pub const LEAVERS: &[&str] = &[
    // The system of the leaver was asked once more, and nothing is noted yet.
    "writer.proved_left",
];

/// The names where a person gives a value back.
pub const CONFLICTS: &[&str] = &[
    // The link has it, and nobody was asked to write it.
    "conflicts.given_back",
    // Somebody was asked, and that is not counted yet.
    "conflicts.sent",
];

/// The names where many letters are sent again.
pub const LETTERS: &[&str] = &[
    // What is sent next is noted, and nothing of it is sent.
    "dead.noted",
    // The links ask for their commands again, and those are counted; none is published.
    "dead.asked",
    // They are published, and that is not noted yet.
    "dead.sent",
];

/// The names around an act of a person.
pub const ACTS: &[&str] = &[
    // It is noted that the act begins, and nothing of it is done.
    "audit.begun",
    // It is done, and its end is not noted.
    "audit.acted",
    // Of a person who is forgotten, letters are closed; conflicts and history are as they were.
    "forget.letters",
    // Conflicts and history are erased, links are as they were.
    "forget.entries",
];

/// The names where a system that fails is left alone.
pub const CIRCUITS: &[&str] = &[
    // What follows from a failure is decided, and this process knows it.
    "circuit.decided",
    // A system was asked whether it is well again, and nobody was told what it said.
    "circuit.probed",
];

/// The names where a run is undone.
pub const UNDO: &[&str] = &[
    // The run of the undo has its numbers.
    "undo.reserved",
    // Links have the values, and nobody was asked to write them.
    "undo.restored",
    // Somebody was asked, and that is not counted yet.
    "undo.sent",
];

/// The names below the stages in the embedded mode, where queues and links share one file.
pub const FILE: &[&str] = &[
    // The lock is held, what a dead process had out is not yet put back.
    "file.locked",
    // It is put back.
    "file.took_over",
    // A link is replaced in a transaction that has more to do.
    "file.replaced_link",
    // All jobs of a group are done, and not committed.
    "file.before_commit",
    // The group is durable, and nobody was told.
    "file.committed",
    // Whoever published is about to hear that the messages are durable.
    "file.published",
    // Messages were taken out of their queues, and handed to nobody.
    "file.taken",
    // Deliveries were acknowledged or given back, and the file does not know.
    "file.settling",
    // Now it does.
    "file.settled",
    // Delayed messages are home, and no consumer was told.
    "file.promoted",
];

/// The names around schedules and what people are told.
pub const SCHEDULES: &[&str] = &[
    // A run has begun, and the request for it is still there.
    "mapper.recorded",
    "clerk.began",
    "clerk.compared",
    "clerk.linked",
    "clerk.matched",
    // What is to be told is durable, and nobody was told.
    "watch.noted",
    // Somebody was told, and the store does not know.
    "watch.told",
];

/// Passes the place called `name`.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn hit(_name: &'static str) {}

/// Passes the place called `name`.
#[cfg(feature = "failpoints")]
pub fn hit(name: &'static str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static ARMED: OnceLock<Option<(String, AtomicU64)>> = OnceLock::new();

    let known = [STAGES, GUARDS, LEAVERS, CONFLICTS, CIRCUITS, UNDO, LETTERS, ACTS, FILE, SCHEDULES];
    debug_assert!(known.iter().any(|names| names.contains(&name)), "{name} is missing from this file's lists");
    let armed = ARMED.get_or_init(|| {
        let text = std::env::var("MUSTER_FAILPOINT").ok()?;
        let (name, count) = text.split_once(':').unwrap_or((&text, "1"));
        Some((name.to_owned(), AtomicU64::new(count.parse().unwrap_or(1))))
    });
    if let Some((armed, left)) = armed
        && armed == name
        && left.fetch_sub(1, Ordering::SeqCst) == 1
    {
        // A message on standard error is all that a test has to know the place by.
        eprintln!("failpoint {name} reached");
        // A refusal leaves the process standing here for ever, which a test notices.
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).ok();
        // The signal is on its way; nothing of this process may go on meanwhile.
        loop {
            std::thread::park();
        }
    }
}
