//! When nothing is left to be done.

use super::state::{State, Writer};

impl State {
    /// Nothing is under way, and nothing is to be read: what the two sides hold now they hold until somebody acts.
    pub fn is_at_rest(&self) -> bool {
        self.changes.is_empty()
            && self.commands.a + self.commands.b == 0
            && self.left_behind.is_empty()
            && self.writers.iter().all(Writer::is_idle)
            && [&self.systems.a, &self.systems.b].iter().all(|system| !system.unread)
            && [self.asked.a, self.asked.b] == [None, None]
            && [self.reading.a, self.reading.b] == [None, None]
    }
}
