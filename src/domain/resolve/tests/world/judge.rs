//! The judge knows what people typed, where and over what; which values went into the journal; and which edits were
//! overwritten in the one window that no rule can close. It knows nothing of links.

use std::collections::{BTreeMap, BTreeSet};

use super::super::vocabulary::text;
use super::remote::Remote;
use crate::domain::attribute::{AttributePath, Value};
use crate::domain::id::{Epoch, Side, Sides};
use crate::domain::resolve::Lost;
use crate::domain::{Link, Snapshot};

#[derive(Default)]
pub struct Judge {
    edits: Vec<Edit>,
    /// Values by attribute that may be taken for a side's own: typed there, or found there with nothing to compare.
    own: BTreeSet<(Side, String, String)>,
    journal: BTreeSet<String>,
    /// Overwritten between our last look and our write.
    unseen: BTreeSet<String>,
    writes: BTreeMap<String, usize>,
    unfinished_writes: usize,
    /// The epoch after the store was lost, and when.
    lost_at: Option<(Epoch, i64)>,
}

struct Edit {
    attribute: String,
    value: String,
    /// The value that the person saw and replaced.
    over: String,
    at: i64,
}

impl Judge {
    /// What an account holds in the beginning counts as typed there.
    pub fn begins_with(&mut self, side: Side, path: &AttributePath, value: Option<&Value>, now: i64) {
        self.own.insert((side, path.to_string(), text(value)));
        if value.is_some() {
            let (attribute, value) = (path.to_string(), text(value));
            self.edits.push(Edit { attribute, value, over: "-".into(), at: now });
        }
    }

    /// A person types a value that nobody typed before.
    pub fn edit(&mut self, side: Side, path: &AttributePath, over: Option<&Value>, now: i64) -> Value {
        let value = format!("{side}{}", self.edits.len());
        self.own.insert((side, path.to_string(), value.clone()));
        let edit = Edit { attribute: path.to_string(), value: value.clone(), over: text(over), at: now };
        self.edits.push(edit);
        Value::Text(value)
    }

    /// A first read has no base: what it shows is the side's own, whoever put it there.
    pub fn is_first_read(&mut self, side: Side, snapshot: &Snapshot) {
        for (path, value) in &snapshot.attributes {
            self.own.insert((side, path.to_string(), text(value.as_ref())));
        }
    }

    pub fn journal(&mut self, lost: &[Lost]) {
        self.journal.extend(lost.iter().map(|lost| text(lost.value.as_ref())));
    }

    /// A write replaces this value, which the writer looked for at `checked_at`.
    pub fn overwritten_unseen(&mut self, value: Option<&Value>, checked_at: i64) {
        let value = text(value);
        if self.edits.iter().any(|edit| edit.value == value && edit.at >= checked_at) {
            self.unseen.insert(value);
        }
    }

    /// A write that was decided in this epoch replaces one value by another. After a loss of the store it may do so only
    /// with a value that was typed since, or over the other one: nothing else tells which is the later.
    pub fn written(&mut self, path: &AttributePath, old: Option<&Value>, new: Option<&Value>, epoch: Epoch) {
        *self.writes.entry(path.to_string()).or_default() += 1;
        if let Some((_, lost_at)) = self.lost_at.filter(|(current, _)| *current == epoch) {
            let (old, mut new) = (text(old), text(new));
            while old != new {
                let typed = self.edits.iter().find(|edit| edit.value == new && edit.attribute == path.as_str());
                let typed = typed.unwrap_or_else(|| panic!("{old} is overwritten on the strength of a loss"));
                if typed.at >= lost_at {
                    break;
                }
                new.clone_from(&typed.over);
            }
        }
    }

    /// A write was begun and its answer never committed.
    pub fn unfinished(&mut self) {
        self.unfinished_writes += 1;
    }

    /// The store was lost: writes that were under way are not finished, and each attribute begins anew.
    pub fn forgot(&mut self, epoch: Epoch, now: i64) {
        self.unfinished_writes += 1;
        self.lost_at = Some((epoch, now));
    }

    /// Nothing is ever taken for an edit of a side on which nobody typed it.
    pub fn no_phantom(&self, link: &Link) {
        for (path, register) in &link.registers {
            let key = (register.by, path.to_string(), text(register.value.as_ref()));
            assert!(self.own.contains(&key), "nobody typed {key:?}");
        }
    }

    pub fn verdict(&self, systems: &Sides<Remote>, link: &Link) {
        let mut kept: BTreeSet<String> = self.journal.union(&self.unseen).cloned().collect();
        for (path, a) in &systems.a.values {
            let b = &systems.b.values[path];
            let held = link.registers.get(path).is_some_and(|register| register.hold.is_some());
            assert!(a == b || held, "{path} ends as {} and {}", text(a.as_ref()), text(b.as_ref()));
            kept.extend([text(a.as_ref()), text(b.as_ref())]);
        }
        // Whoever types over a value has seen it.
        for edit in self.edits.iter().rev() {
            assert!(kept.contains(&edit.value), "{} of {} is lost unseen", edit.value, edit.attribute);
            kept.insert(edit.over.clone());
        }
        for (attribute, writes) in &self.writes {
            let edits = self.edits.iter().filter(|edit| edit.attribute == *attribute).count();
            let bound = edits + 1 + self.unfinished_writes;
            assert!(*writes <= bound, "{writes} writes of {attribute} for {edits} edits, {bound} are enough");
        }
    }
}
