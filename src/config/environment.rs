//! Where `{ env = "NAME" }` is looked up. Handed in, so that no test sets a variable of its process.

use std::collections::BTreeMap;

/// Variables by name.
pub trait Environment {
    /// The variable's value; `None` if it is not set or is no UTF-8.
    fn variable(&self, name: &str) -> Option<String>;
}

/// The variables of this process.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
}

/// Variables given as a map, for tests.
impl Environment for BTreeMap<String, String> {
    fn variable(&self, name: &str) -> Option<String> {
        self.get(name).cloned()
    }
}
