//! `[systems.<name>]`: the outside applications. What the table of a kind says is read in the folder of that system.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::SystemName;
use crate::systems::kind::{KINDS, Kind};

use super::shape::{Lasting, Text};
use super::table::Table;

/// A configured system.
#[derive(Debug, Clone)]
pub struct SystemConfig {
    /// Its name.
    pub name: SystemName,
    /// What it is, and what that needs.
    pub kind: Arc<dyn Kind>,
}

pub(super) fn system(table: &mut Table<'_, '_>) -> Option<Arc<dyn Kind>> {
    table.variant("kind", "What the system is.", KINDS)
}

/// `request_timeout`, which every kind has.
pub(crate) fn request_timeout(table: &mut Table<'_, '_>) -> Option<Duration> {
    table.default(
        "request_timeout",
        Lasting(Duration::from_millis(100)..=Duration::from_secs(600)),
        Duration::from_secs(30),
        "How long a request may take. Writes have the shorter deadline of [writer].",
    )
}

pub(crate) const FIELD: Text<String> = Text {
    what: "the API name of a field",
    rule: "the API name of a field has 1 to 80 letters, digits and _, and begins with a letter",
    parse: |text| is_field_name(text).then(|| text.to_owned()),
};

/// It becomes part of queries, so nothing else may pass.
pub(crate) fn is_field_name(text: &str) -> bool {
    (1..=80).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
