//! An imitation of InitLive (Bloomerang Volunteer): the users of an organisation, through the public API v4.
//!
//! Published, or seen at work: the paths, bearer keys that can expire or be switched off, `POST users` with `username` (the
//! e-mail address), `firstName` and `lastName`, its answer with an array of users, reads of the list and of one user, and
//! the trap: an address that has an account already is *added to the organisation*, and its profile is not overwritten,
//! with an answer that looks like a success. Unconfirmed, and our own choice here:
//!
//! - paging by `skip` and `take` in the order of ids, and the filter `username`; both can be switched off, and so can the
//!   filter `externalId`, which is off at first;
//! - `PUT users/{id}`, partial, an address replaced whole, and 403 for a person who is in another organisation as well;
//! - `DELETE users/{id}`, which ends the membership and keeps the person;
//! - that somebody who is attached gets no `externalId` by it, and the names of the optional members;
//! - the bodies of errors: `{"error", "fields": {field: text}}`; 401 for a key that is off or expired, 404 for an
//!   organisation that the key does not reach.

mod administration;
mod directory;
mod http;

use std::sync::{Arc, Mutex};

use serde_json::Value;

pub(super) use administration::HELP;

use super::clock::Clock;
use super::lock;
use super::log::{Actor, Contents, Entry, Log, System};
use administration::Switches;
use directory::{Change, Directory};

/// The organisation that the key reaches.
pub const ORGANIZATION: u64 = 1001;

/// The people and organisations of the product.
pub(super) struct InitLive {
    clock: Clock,
    directory: Mutex<Directory>,
    switches: Mutex<Switches>,
    log: Arc<Log>,
}

impl InitLive {
    pub fn new(log: Arc<Log>) -> Self {
        Self { clock: Clock::default(), directory: Mutex::default(), switches: Mutex::default(), log }
    }

    /// Writes and notes it in one step, so that the log has the order of the writes. Answers with what was changed.
    fn write<E>(
        &self,
        actor: Actor,
        method: &'static str,
        request: &str,
        work: impl FnOnce(&mut Directory, &Switches, i64) -> Result<Change, E>,
    ) -> Result<Change, E> {
        let (switches, at_ms) = (lock(&self.switches).clone(), self.clock.now_ms());
        let mut directory = lock(&self.directory);
        let change = work(&mut directory, &switches, at_ms)?;
        let contents = |shown: &Option<Value>| shown.clone().map(|shown| Arc::new(Shown(shown)) as Arc<dyn Contents>);
        self.log.wrote(Entry {
            at_ms,
            system: System::InitLive,
            actor,
            method,
            object: "User",
            account: change.id.to_string(),
            before: contents(&change.before),
            after: contents(&change.after),
            changed: change.before != change.after,
            request: request.to_owned(),
        });
        Ok(change)
    }
}

/// A user as the API showed it at one moment.
struct Shown(Value);

impl Contents for Shown {
    fn to_json(&self) -> Value {
        self.0.clone()
    }
}
