//! The judge knows what people typed, where and over what; which values went into the journal; and which edits were
//! overwritten in the one window that no rule can close. It knows nothing of links but who is said to have typed what.

use std::collections::BTreeSet;

use muster::domain::link::Link;
use muster::domain::resolve::Lost;
use muster::domain::{AttributePath, Attributes, Side, Value};

use super::setup::{edit_of, number};
use super::state::State;

#[derive(Debug, Clone, Default)]
pub struct Judge {
    /// By their numbers, from 1.
    edits: Vec<Edit>,
    /// What a side may be said to have typed besides: values put back, and what a first read showed.
    own: BTreeSet<(Side, u8, u8)>,
    /// Writes that changed something, for each attribute.
    writes: [u8; 3],
    /// Writes that were begun and whose answer was not committed.
    unfinished: u8,
    /// Values that went into the journal.
    pub journalled: usize,
    /// The store was lost.
    pub lost: bool,
    /// What was seen to go wrong on the way.
    pub faults: Faults,
}

/// What must not happen on the way, whatever comes of it later.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// A value took the place of one whose author had seen it, and which is in no journal.
    pub stale_overwrite: bool,
    /// After a loss of the store, a value took the place of one that may be the later.
    pub overwritten_after_loss: bool,
    /// A side was said to have typed what nobody typed there.
    pub phantom: bool,
}

#[derive(Debug, Clone)]
struct Edit {
    side: Side,
    attribute: u8,
    /// The edit whose value the person saw and replaced; 0: what was there in the beginning.
    over: u8,
    /// It can be given back, was overwritten in the window that no rule can close, or a person took it back.
    excused: bool,
    /// It was typed after the store was lost.
    after_loss: bool,
}

impl Judge {
    /// A person types a value that nobody typed before: that of the edit whose number is returned.
    pub fn edit(&mut self, side: Side, attribute: u8, over: Option<&Value>) -> u8 {
        let over = edit_of(over).unwrap_or(0);
        self.edits.push(Edit { side, attribute, over, excused: false, after_loss: self.lost });
        u8::try_from(self.edits.len()).unwrap()
    }

    /// A person puts back `value`, which was there before, and so takes `over` back.
    pub fn put_back(&mut self, side: Side, attribute: u8, value: u8, over: Option<&Value>) {
        self.own.insert((side, attribute, value));
        self.excuse(edit_of(over).unwrap_or(0));
    }

    /// The edit that the value of this edit took the place of.
    pub fn over(&self, edit: u8) -> Option<u8> {
        Some(self.edits.get(usize::from(edit).checked_sub(1)?)?.over)
    }

    fn excuse(&mut self, edit: u8) {
        if let Some(edit) = usize::from(edit).checked_sub(1) {
            self.edits[edit].excused = true;
        }
    }

    /// These values went into the journal.
    pub fn journal(&mut self, lost: &[Lost]) {
        self.journalled += lost.len();
        for lost in lost {
            self.excuse(edit_of(lost.value.as_ref()).unwrap_or(0));
        }
    }

    /// A first read has no base: what it shows is the side's own, whoever put it there.
    pub fn is_first_read(&mut self, side: Side, shown: &Attributes) {
        for (path, value) in shown {
            if let Some(edit) = edit_of(value.as_ref()) {
                self.own.insert((side, number(path), edit));
            }
        }
    }

    /// A write was begun and its answer will not be committed.
    pub fn unfinished(&mut self) {
        self.unfinished += 1;
    }

    /// A write replaces one value by another. `checked` is what the writer saw when it looked, where it only looked.
    pub fn written(
        &mut self,
        path: &AttributePath,
        (old, new): (Option<&Value>, Option<&Value>),
        checked: Option<Option<&Value>>,
        lost_before: bool,
    ) {
        let attribute = number(path);
        if old == new {
            return;
        }
        self.writes[usize::from(attribute)] += 1;
        let (Some(old), Some(new)) = (edit_of(old), edit_of(new)) else { return };
        if checked.is_some_and(|seen| edit_of(seen) != Some(old)) {
            return self.excuse(old);
        }
        let knew = self.knows(old, new);
        let is_excused = usize::from(old).checked_sub(1).is_some_and(|edit| self.edits[edit].excused);
        self.faults.stale_overwrite |= checked.is_none() && knew && !is_excused && !self.was_put_back(attribute);
        if lost_before {
            let is_new = usize::from(new).checked_sub(1).is_some_and(|edit| self.edits[edit].after_loss);
            self.faults.overwritten_after_loss |= !is_new && !self.knows(new, old);
        }
    }

    /// Whether the author of `edit` could see the value of `other`.
    fn knows(&self, edit: u8, other: u8) -> bool {
        let mut at = edit;
        while let Some(over) = self.over(at) {
            if over == other {
                return true;
            }
            at = over;
        }
        false
    }

    fn was_put_back(&self, attribute: u8) -> bool {
        self.own.iter().any(|(_, of, _)| *of == attribute)
    }

    /// Nothing is ever taken for an edit of a side on which nobody typed it.
    pub fn look_for_phantoms(&mut self, link: &Link) {
        for (path, register) in &link.registers {
            let Some(edit) = edit_of(register.value.as_ref()) else { continue };
            let typed = self.edits.get(usize::from(edit).wrapping_sub(1));
            let is_own = typed.is_none_or(|typed| typed.side == register.by)
                || self.own.contains(&(register.by, number(path), edit));
            self.faults.phantom |= !is_own;
        }
    }

    /// What matters of it, as words.
    pub fn words(&self) -> Vec<u32> {
        let faults = self.faults;
        // Of writes only what is too many of them counts.
        let spare = self.writes.map(|writes| u32::from(writes).wrapping_sub(u32::from(self.unfinished)));
        let mut words = vec![
            u32::from(self.lost),
            u32::from(faults.stale_overwrite)
                + 2 * u32::from(faults.overwritten_after_loss)
                + 4 * u32::from(faults.phantom),
        ];
        words.extend(spare);
        for edit in &self.edits {
            let flags = u32::from(edit.excused) + 2 * u32::from(edit.after_loss);
            words.extend([edit.side as u32, u32::from(edit.attribute), u32::from(edit.over), flags]);
        }
        words.push(u32::MAX);
        words.extend(self.own.iter().flat_map(|(side, of, edit)| [*side as u32, u32::from(*of), u32::from(*edit)]));
        words
    }
}

/// Both sides hold the same, but for what waits for a person.
pub fn converged(state: &State) -> bool {
    state.systems.a.values.iter().all(|(path, a)| {
        let Some(b) = state.systems.b.values.get(path) else { return true };
        let held = state.link.registers.get(path).is_some_and(|register| register.hold.is_some());
        let agree = if path.is_active() { a == b } else { edit_of(a.as_ref()) == edit_of(b.as_ref()) };
        agree || held
    })
}

/// Each edit is in a final value, was replaced by somebody who saw it, or can be given back.
pub fn nothing_lost(state: &State) -> bool {
    let judge = &state.judge;
    let mut kept: BTreeSet<u8> = BTreeSet::new();
    for system in [&state.systems.a, &state.systems.b] {
        kept.extend(system.values.values().filter_map(|value| edit_of(value.as_ref())));
    }
    // Whoever types over a value has seen it, and edits are numbered in their order.
    (1..=judge.edits.len()).rev().all(|number| {
        let edit = &judge.edits[number - 1];
        let is_kept = edit.excused || kept.contains(&u8::try_from(number).unwrap());
        kept.insert(edit.over);
        is_kept
    })
}

/// No attribute was written more often than it was edited, once more, and once for each write without an answer.
pub fn bounded(state: &State) -> bool {
    let judge = &state.judge;
    judge.writes.iter().take(2).zip(0_u8..).all(|(writes, attribute)| {
        let edits = judge.edits.iter().filter(|edit| edit.attribute == attribute).count();
        let put_back = judge.own.iter().filter(|(_, of, _)| *of == attribute).count();
        usize::from(*writes) <= edits + put_back + 1 + usize::from(judge.unfinished)
    })
}
