//! An imitation of SalesScreen's *connect* API: two calls that write, nothing that reads, and two windows of calls.
//!
//! The vendor publishes the header `apiKey`, the two windows (15 calls a second, 200 a minute), that every id is the
//! caller's own, and that whatever is named and does not exist is created. Public code of others shows `User/Add` and
//! `Record/Add` at work, that every read answers 404, and the trap of the team keys: a key that the product does not know
//! makes a second team with the same name. Unconfirmed, and our own choice here:
//!
//! - the answers to errors: 401 and 429 with `{"message"}`, 400 with `{"message", "errors": {field: [text]}}`;
//! - that an e-mail address which another user has is such a 400, under `email`;
//! - what `User/Add` does to names that it leaves out: cleared, or kept with the switch `absent`;
//! - that a user who is sent with another team moves there, and one who is sent without a team stays where they are;
//! - that a call beyond the windows is answered with 429, and does not count itself.

mod administration;
mod http;
mod windows;
mod workspace;

use std::sync::{Arc, Mutex};

use serde_json::Value;

pub(super) use administration::HELP;

use super::clock::Clock;
use super::lock;
use super::log::{Actor, Contents, Entry, Log, System};
use windows::Windows;
use workspace::{Change, Workspace};

/// One company's account.
pub(super) struct SalesScreen {
    clock: Clock,
    workspace: Mutex<Workspace>,
    windows: Mutex<Windows>,
    log: Arc<Log>,
}

impl SalesScreen {
    pub fn new(log: Arc<Log>) -> Self {
        Self { clock: Clock::default(), workspace: Mutex::default(), windows: Mutex::default(), log }
    }

    /// Works and notes every write of it in one step, so that the log has the order of the writes.
    fn write<T, E>(
        &self,
        actor: Actor,
        method: &'static str,
        request: &str,
        work: impl FnOnce(&mut Workspace) -> Result<(T, Vec<Change>), E>,
    ) -> Result<T, E> {
        let at_ms = self.clock.now_ms();
        let mut workspace = lock(&self.workspace);
        let (value, changes) = work(&mut workspace)?;
        for Change { object, account, before, after } in changes {
            let changed = before != after;
            let contents = |shown: Value| Arc::new(Shown(shown)) as Arc<dyn Contents>;
            self.log.wrote(Entry {
                at_ms,
                system: System::SalesScreen,
                actor,
                method,
                object,
                account,
                before: before.map(contents),
                after: after.map(contents),
                changed,
                request: request.to_owned(),
            });
        }
        Ok(value)
    }
}

/// A record as it was shown at one moment.
struct Shown(Value);

impl Contents for Shown {
    fn to_json(&self) -> Value {
        self.0.clone()
    }
}
