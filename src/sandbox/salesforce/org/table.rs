//! The records of one object.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::sandbox::salesforce::object::Object;
use crate::sandbox::salesforce::row::Row;

/// First serial number of each table: ids then have letters of both cases, as real ones do.
const FIRST_SERIAL: u64 = 17_000_000;

/// All records of one object, and the ways to find them.
pub(in crate::sandbox::salesforce) struct Table {
    pub object: Arc<Object>,
    pub rows: BTreeMap<u64, Arc<Row>>,
    /// (SystemModstamp, serial) of every row.
    pub stamps: BTreeSet<(i64, u64)>,
    /// Field place -> text in lower case -> serials.
    lookups: HashMap<usize, HashMap<String, BTreeSet<u64>>>,
    pub(super) next_serial: u64,
}

impl Table {
    pub(super) fn new(object: Arc<Object>) -> Self {
        let indexed = object.fields.iter().enumerate().skip(1).filter(|(_, field)| field.indexed());
        let lookups = indexed.map(|(place, _)| (place, HashMap::new())).collect();
        Self { object, rows: BTreeMap::new(), stamps: BTreeSet::new(), lookups, next_serial: FIRST_SERIAL }
    }

    /// The rows whose field has this text, if the field is indexed.
    pub fn lookup(&self, place: usize, text: &str) -> Option<BTreeSet<u64>> {
        let lookup = self.lookups.get(&place)?;
        Some(lookup.get(&text.to_lowercase()).cloned().unwrap_or_default())
    }

    pub(super) fn put(&mut self, row: Arc<Row>) -> Option<Arc<Row>> {
        let before = self.remove(row.serial);
        self.stamps.insert((row.stamp(), row.serial));
        for (place, lookup) in &mut self.lookups {
            if let Some(text) = row.cells[*place].as_text() {
                lookup.entry(text.to_lowercase()).or_default().insert(row.serial);
            }
        }
        self.rows.insert(row.serial, row);
        before
    }

    pub(super) fn remove(&mut self, serial: u64) -> Option<Arc<Row>> {
        let row = self.rows.remove(&serial)?;
        self.stamps.remove(&(row.stamp(), serial));
        for (place, lookup) in &mut self.lookups {
            let Some(text) = row.cells[*place].as_text() else { continue };
            let text = text.to_lowercase();
            if let Some(serials) = lookup.get_mut(&text) {
                serials.remove(&serial);
                if serials.is_empty() {
                    lookup.remove(&text);
                }
            }
        }
        Some(row)
    }
}
