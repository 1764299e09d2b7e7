//! What people are told when the loop breaker has frozen an attribute (B4).

use tracing::warn;

use crate::broker::Broker;
use crate::domain::{AccountId, AttributePath, Change, Side};
use crate::stages::{Connection, Pipeline};
use crate::store::Store;

impl<B: Broker, S: Store> Pipeline<B, S> {
    /// Tells, once, that attributes went to and fro too often and are frozen. Whoever dies before it leaves them to the
    /// count of what is held, and to its alert.
    pub(super) fn tell_of_loops(&self, connection: &Connection, change: &Change, frozen: &[AttributePath]) {
        for path in frozen {
            let [a, b] = Side::BOTH.map(|side| &connection.systems[side]);
            let account = change.account().map_or(String::new(), AccountId::to_string);
            warn!(
                connection = %connection.name, attribute = %path,
                "{path} of {}:{account} goes to and fro between {a} and {b}: it is frozen, and all else flows on; see \
                 `muster held list`",
                connection.systems[change.side],
            );
            self.metrics.frozen(&connection.name);
        }
    }
}
