//! What happened in a world: a digest of all of it, which shows that a seed replays exactly, and a timeline of what
//! matters to people and to the judge.

use std::hash::Hasher;
use std::sync::{Arc, Mutex, MutexGuard};

use siphasher::sip::SipHasher13;

/// A digest of everything that happens in a world, in order.
#[derive(Clone, Default)]
pub(crate) struct Digest(Arc<Mutex<SipHasher13>>);

impl Digest {
    fn hasher(&self) -> MutexGuard<'_, SipHasher13> {
        self.0.lock().expect("nothing panics while the lock is held")
    }

    /// Takes note of something that happened.
    pub(crate) fn note(&self, what: &[u64]) {
        let mut hasher = self.hasher();
        what.iter().for_each(|part| hasher.write_u64(*part));
    }

    /// The same, for what is told in words.
    pub(crate) fn note_text(&self, what: &str) {
        self.hasher().write(what.as_bytes());
    }

    pub(crate) fn value(&self) -> u64 {
        self.hasher().finish()
    }
}

/// One thing that happened.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    /// Milliseconds since the world began.
    pub(crate) at_ms: u64,
    /// The person whom it is about: the account on the side where it was made first. Absent: it is about everybody.
    pub(crate) person: Option<String>,
    /// In plain words.
    pub(crate) what: String,
}

/// What happened, in order.
#[derive(Clone, Default)]
pub(crate) struct Timeline {
    pub(crate) digest: Digest,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Timeline {
    pub(crate) fn note(&self, at_ms: u64, person: Option<&str>, what: String) {
        self.digest.note_text(&what);
        let event = Event { at_ms, person: person.map(ToOwned::to_owned), what };
        self.events.lock().expect("nothing panics while the lock is held").push(event);
    }

    /// What happened to this person, and to everybody.
    pub(crate) fn of(&self, person: &str) -> Vec<Event> {
        let events = self.events.lock().expect("nothing panics while the lock is held");
        events.iter().filter(|event| event.person.as_deref().is_none_or(|of| of == person)).cloned().collect()
    }
}
