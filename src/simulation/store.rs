//! A store of one connection in memory. Any answer may be lost, before or after what was asked for took effect; and its
//! memory may be doubted, emptied, or be that of a while ago.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::task::yield_now;

use super::Clock;
use super::faults::{Fault, Faults};
use crate::clock;
use crate::domain::{ConnectionName, DeadLetter, Epoch, Fingerprint, LetterGroup, LetterPlace, Link, Side, Timestamp};
use crate::store::{JournalEntry, LetterPage, Run, StoreError};

use state::State;

mod answers;
mod state;

/// The store; all its clones are one.
#[derive(Clone)]
pub(crate) struct MemoryStore {
    clock: Clock,
    faults: Faults,
    state: Arc<Mutex<State>>,
}

impl MemoryStore {
    pub(crate) fn new(clock: Clock, faults: Faults) -> Self {
        Self { clock, faults, state: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while the lock is held")
    }

    pub(crate) fn all_letters(&self) -> Vec<DeadLetter> {
        self.state().letters.values().cloned().collect()
    }

    /// Those of the connection, or about messages, oldest first.
    fn open_letters(&self, connection: Option<&ConnectionName>, when: &Range<Timestamp>) -> Vec<DeadLetter> {
        let is_meant =
            |letter: &DeadLetter| letter.id.is_of_message() == connection.is_none() && when.contains(&letter.first_at);
        let mut letters = self.all_letters();
        letters.retain(is_meant);
        letters.sort_by_key(DeadLetter::place);
        letters
    }

    fn groups_of_letters(&self, connection: Option<&ConnectionName>, when: &Range<Timestamp>) -> Vec<LetterGroup> {
        let mut groups = BTreeMap::<_, LetterGroup>::new();
        for letter in self.open_letters(connection, when) {
            let (fingerprint, first_at, last_at) = (letter.fingerprint, letter.first_at, letter.last_at);
            let group =
                groups.entry(fingerprint.key()).or_insert(LetterGroup { fingerprint, letters: 0, first_at, last_at });
            group.letters += 1;
            group.first_at = group.first_at.min(first_at);
            group.last_at = group.last_at.max(last_at);
        }
        groups.into_values().collect()
    }

    fn page_of_letters(
        &self,
        connection: Option<&ConnectionName>,
        fingerprint: &Fingerprint,
        when: &Range<Timestamp>,
        after: Option<&LetterPlace>,
        limit: usize,
    ) -> LetterPage {
        let mut letters = self.open_letters(connection, when);
        letters
            .retain(|letter| letter.fingerprint == *fingerprint && after.is_none_or(|after| letter.place() > *after));
        letters.truncate(limit);
        let next = letters.last().filter(|_| letters.len() == limit).map(DeadLetter::place);
        (letters, next)
    }

    pub(crate) fn all_runs(&self) -> Vec<Run> {
        self.state().runs.values().cloned().collect()
    }

    pub(crate) fn all_links(&self) -> Vec<Link> {
        self.state().links.values().cloned().collect()
    }

    /// All that was ever kept for somebody.
    pub(crate) fn whole_journal(&self) -> Vec<JournalEntry> {
        self.state().journal.clone()
    }

    /// Letters about what may pass by itself that were ever opened.
    pub(crate) fn letters_for_nothing(&self) -> Vec<DeadLetter> {
        self.state().transient.clone()
    }

    pub(crate) fn rereads_are_done(&self) -> bool {
        Side::BOTH.iter().all(|side| self.state().rereads[*side].is_empty())
    }

    /// Whether nobody asks for a run any more.
    pub(crate) fn nothing_is_asked_for(&self) -> bool {
        self.state().requests.is_empty()
    }

    /// The memory is doubted, as after a restart that lost its last seconds: a new epoch begins. What is not of an epoch
    /// stays: runs and leases.
    pub(crate) fn begin_epoch(&self) {
        let mut state = self.state();
        state.epoch = Some((Epoch(fastrand::u64(..)), self.clock.now()));
        for side in Side::BOTH {
            state.readers[side] = std::mem::take(&mut state.readers[side]).of_another_epoch();
        }
    }

    pub(crate) fn present_epoch(&self) -> Option<Epoch> {
        self.state().epoch.map(|(epoch, _)| epoch)
    }

    /// A copy of the memory, as a backup has it.
    pub(crate) fn back_up(&self) -> Backup {
        Backup(self.state().clone())
    }

    /// The memory is that of the copy from now on, in an epoch of its own; without a copy, it is empty.
    pub(crate) fn restore(&self, copy: Option<Backup>) {
        let kept = {
            let state = self.state();
            // The journal is kept elsewhere for as long as the judge wants to see it.
            (state.calls.clone(), state.journal.clone(), state.transient.clone())
        };
        let mut state = copy.map(|Backup(state)| state).unwrap_or_default();
        (state.calls, state.journal, state.transient) = kept;
        *self.state() = state;
        self.begin_epoch();
    }

    async fn op<T>(
        &self,
        what: &'static str,
        effect: impl FnOnce(&mut State, Timestamp) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let lost = |fault| {
            if self.faults.strike(fault) { Err(StoreError::Unavailable("lost".to_owned())) } else { Ok(()) }
        };
        *self.state().calls.entry(what).or_default() += 1;
        yield_now().await;
        if self.faults.strike(Fault::StoreSlow) {
            clock::sleep(Duration::from_millis(fastrand::u64(1..12_000))).await;
        }
        lost(Fault::StoreRefused)?;
        let answer = effect(&mut self.state(), self.clock.now());
        yield_now().await;
        lost(Fault::AnswerOfStoreLost)?;
        answer
    }
}

/// What a store held once.
#[derive(Clone)]
pub(crate) struct Backup(State);

#[cfg(test)]
impl MemoryStore {
    /// Of so many thousandths of the questions nobody hears the answer.
    pub(crate) fn lose_answers(&self, of_a_thousand: u16) {
        self.faults.set(Fault::StoreRefused, of_a_thousand);
        self.faults.set(Fault::AnswerOfStoreLost, of_a_thousand);
    }

    pub(crate) fn amend_links(&self, amend: impl Fn(&mut Link)) {
        self.state().links.values_mut().for_each(amend);
    }

    /// Questions since the last time, by what they asked.
    pub(crate) fn take_calls(&self) -> std::collections::BTreeMap<&'static str, u32> {
        std::mem::take(&mut self.state().calls)
    }
}
