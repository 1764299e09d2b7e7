//! The books of runs: what was counted already, and the counts. Opened for one transaction, so that a block of marks is
//! read and written once however many outcomes of it are counted.

use std::collections::{BTreeMap, HashMap};

use rusqlite::Connection;

use super::sql;
use crate::domain::{ChangeOutcome, CommandOutcome, RunId, Side, Sides, Timestamp};
use crate::store::StoreError;

/// Changes whose marks lie together, a byte each.
const BLOCK: u32 = 512;

/// The outcome of the change is counted.
const OUTCOME: u8 = 1;

/// A command of the change is counted as emitted.
fn emitted(side: Side) -> u8 {
    match side {
        Side::A => 1 << 1,
        Side::B => 1 << 2,
    }
}

/// The outcome of that command is counted.
fn settled(side: Side) -> u8 {
    match side {
        Side::A => 1 << 3,
        Side::B => 1 << 4,
    }
}

/// The books of a connection's runs within one transaction. What is counted is written by [`Books::close`].
pub(super) struct Books<'a> {
    file: &'a Connection,
    connection: i64,
    now: Timestamp,
    /// `None`: there is no such run (any more), and nothing to add up to.
    runs: HashMap<RunId, Option<Book>>,
}

struct Book {
    /// The run's place.
    run: i64,
    /// Numbers given out.
    read: u32,
    emitted: u32,
    outcomes: BTreeMap<(&'static str, &'static str), u32>,
    blocks: BTreeMap<u32, Block>,
}

struct Block {
    marks: Vec<u8>,
    changed: bool,
}

impl<'a> Books<'a> {
    pub(super) fn open(file: &'a Connection, connection: i64, now: Timestamp) -> Self {
        Self { file, connection, now, runs: HashMap::new() }
    }

    /// Counts the outcome of a change and the commands that it emits, each once. Tells for which sides a command was
    /// emitted earlier and has no outcome yet.
    pub(super) fn change(
        &mut self,
        run: &RunId,
        number: u32,
        outcome: ChangeOutcome,
        emits: Sides<bool>,
    ) -> Result<Sides<bool>, StoreError> {
        let file = self.file;
        let Some(book) = self.book(run, number)? else { return Ok(Sides::default()) };
        let known = book.marks(file, number)?;
        let mut marks = known | OUTCOME;
        if known & OUTCOME == 0 {
            book.count("change", outcome.as_str());
        }
        for side in Side::BOTH {
            if emits[side] && known & emitted(side) == 0 {
                marks |= emitted(side);
                book.emitted += 1;
            }
        }
        book.mark(number, marks);
        Ok(Sides::from_fn(|side| known & emitted(side) != 0 && known & settled(side) == 0))
    }

    /// Counts the outcome of a command, once.
    pub(super) fn command(
        &mut self,
        run: &RunId,
        number: u32,
        side: Side,
        outcome: CommandOutcome,
    ) -> Result<(), StoreError> {
        let file = self.file;
        let Some(book) = self.book(run, number)? else { return Ok(()) };
        let known = book.marks(file, number)?;
        if known & settled(side) == 0 {
            book.count("command", outcome.as_str());
            book.emitted += u32::from(known & emitted(side) == 0);
            book.mark(number, known | emitted(side) | settled(side));
        }
        Ok(())
    }

    /// Counts as stale what has no outcome of so many changes from `first` on.
    pub(super) fn abandon(&mut self, run: &RunId, first: u32, count: u32) -> Result<(), StoreError> {
        let Some(read) = self.book(run, first)?.map(|book| book.read) else { return Ok(()) };
        for number in first..first.saturating_add(count).min(read) {
            self.change(run, number, ChangeOutcome::Stale, Sides::default())?;
        }
        Ok(())
    }

    /// Writes down what was counted.
    pub(super) fn close(self) -> Result<(), StoreError> {
        for book in self.runs.into_values().flatten() {
            book.close(self.file)?;
        }
        Ok(())
    }

    /// The book of a run that gave this number out.
    fn book(&mut self, run: &RunId, number: u32) -> Result<Option<&mut Book>, StoreError> {
        if !self.runs.contains_key(run) {
            let find = "SELECT place, read FROM runs WHERE connection = ?1 AND id = ?2 AND expires_at > ?3";
            let found = sql::one(self.file, find, (self.connection, run.as_str(), self.now.0), |row| {
                let (outcomes, blocks) = (BTreeMap::new(), BTreeMap::new());
                Ok(Book { run: row.get(0)?, read: row.get(1)?, emitted: 0, outcomes, blocks })
            })?;
            self.runs.insert(run.clone(), found);
        }
        Ok(self.runs.get_mut(run).and_then(Option::as_mut).filter(|book| number < book.read))
    }
}

impl Book {
    fn count(&mut self, kind: &'static str, outcome: &'static str) {
        *self.outcomes.entry((kind, outcome)).or_default() += 1;
    }

    fn marks(&mut self, file: &Connection, number: u32) -> Result<u8, StoreError> {
        let (block, place) = (number / BLOCK, (number % BLOCK) as usize);
        if !self.blocks.contains_key(&block) {
            let find = "SELECT marks FROM run_marks WHERE run = ?1 AND block = ?2";
            let marks: Option<Vec<u8>> = sql::one(file, find, (self.run, block), |row| Ok(row.get(0)?))?;
            let mut marks = marks.unwrap_or_default();
            marks.resize(BLOCK as usize, 0);
            self.blocks.insert(block, Block { marks, changed: false });
        }
        Ok(self.blocks[&block].marks[place])
    }

    /// Replaces marks that [`Book::marks`] has read.
    fn mark(&mut self, number: u32, marks: u8) {
        if let Some(block) = self.blocks.get_mut(&(number / BLOCK)) {
            let place = &mut block.marks[(number % BLOCK) as usize];
            block.changed |= *place != marks;
            *place = marks;
        }
    }

    fn close(self, file: &Connection) -> Result<(), StoreError> {
        for (block, Block { marks, .. }) in self.blocks.iter().filter(|(_, block)| block.changed) {
            sql::run(file, "INSERT OR REPLACE INTO run_marks VALUES (?1, ?2, ?3)", (self.run, block, marks))?;
        }
        for ((kind, outcome), count) in self.outcomes {
            sql::run(
                file,
                "INSERT INTO run_outcomes VALUES (?1, ?2, ?3, ?4) \
                 ON CONFLICT DO UPDATE SET count = count + excluded.count",
                (self.run, kind, outcome, count),
            )?;
        }
        if self.emitted > 0 {
            sql::run(file, "UPDATE runs SET emitted = emitted + ?2 WHERE place = ?1", (self.run, self.emitted))?;
        }
        Ok(())
    }
}
