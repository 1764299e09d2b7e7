//! One record at one moment. Rows are never changed, only replaced, so that the log can keep what was.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::id::id18;
use super::object::Object;
use crate::sandbox::clock::iso_ms;
use crate::sandbox::log::Contents;

/// The value of one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cell {
    Null,
    Bool(bool),
    Text(Box<str>),
    /// Whole seconds since 1970: Salesforce keeps no finer stamp.
    Stamp(i64),
}

impl Cell {
    pub fn text(text: &str) -> Self {
        Self::Text(text.into())
    }

    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn to_json(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(flag) => json!(flag),
            Self::Text(text) => json!(text),
            Self::Stamp(seconds) => json!(iso_ms(seconds * 1000).replace('Z', "+0000")),
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Row {
    pub object: Arc<Object>,
    pub serial: u64,
    /// One for each field of the object.
    pub cells: Vec<Cell>,
    pub deleted: bool,
}

impl Row {
    pub fn id(&self) -> String {
        id18(self.object.prefix, self.serial)
    }

    /// SystemModstamp, in seconds since 1970.
    pub fn stamp(&self) -> i64 {
        self.seconds(self.object.stamps[0])
    }

    /// LastModifiedDate, in seconds since 1970. Never later than [`Self::stamp`].
    pub fn modified_at(&self) -> i64 {
        self.seconds(self.object.stamps[1])
    }

    fn seconds(&self, place: usize) -> i64 {
        match self.cells[place] {
            Cell::Stamp(seconds) => seconds,
            _ => 0,
        }
    }

    /// Sets SystemModstamp and LastModifiedDate.
    pub fn set_stamp(&mut self, seconds: i64) {
        for place in &self.object.stamps[..2] {
            self.cells[*place] = Cell::Stamp(seconds);
        }
    }

    pub fn cell(&self, field: &str) -> &Cell {
        self.object.index(field).map_or(&Cell::Null, |index| &self.cells[index])
    }

    /// Sets a field, if the object has it.
    pub fn put(&mut self, field: &str, cell: Cell) {
        if let Some(place) = self.object.index(field) {
            self.cells[place] = cell;
        }
    }

    /// Whether a field other than the stamps differs.
    pub fn differs(&self, other: &Self) -> bool {
        let stamps = &self.object.stamps;
        self.deleted != other.deleted
            || (0..self.cells.len()).any(|place| !stamps.contains(&place) && self.cells[place] != other.cells[place])
    }
}

impl Contents for Row {
    fn to_json(&self) -> Value {
        let fields = self.object.fields.iter().zip(&self.cells);
        Value::Object(fields.map(|(field, cell)| (field.name.clone(), cell.to_json())).collect::<Map<_, _>>())
    }
}
