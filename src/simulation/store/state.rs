//! What a store in memory holds, and its atomic step.

use std::collections::{BTreeMap, HashMap};

use crate::domain::circuit::Circuit;
use crate::domain::guard::Risk;
use crate::domain::schedule::Timetable;
use crate::domain::undo::Overwritten;
use crate::domain::watch::Watch;
use crate::domain::{
    AccountId, ChangeOutcome, CommandOutcome, ConnectionName, DeadLetter, Epoch, FailureClass, LetterId, Link, LinkId,
    RunId, Side, Sides, SystemName, Timestamp, Token,
};
use crate::store::{
    Claim, Commit, Committed, Count, EntryId, JournalEntry, LeaseName, MatchNote, Pause, ReaderState, Recorded, Run,
    StoreError, SyncRequest,
};

/// Whether the change has an outcome; whether a command was emitted for each side, and has an outcome.
type Bits = (bool, Sides<bool>, Sides<bool>);

/// What a store of one connection holds.
#[derive(Clone, Default)]
pub(super) struct State {
    pub(super) epoch: Option<(Epoch, Timestamp)>,
    pub(super) links: BTreeMap<LinkId, Link>,
    pub(super) claims: BTreeMap<Claim, LinkId>,
    pub(super) letters: BTreeMap<LetterId, DeadLetter>,
    pub(super) runs: BTreeMap<RunId, Run>,
    pub(super) bits: HashMap<(RunId, u32), Bits>,
    pub(super) readers: Sides<ReaderState>,
    pub(super) leases: HashMap<LeaseName, (Token, Timestamp)>,
    pub(super) rereads: Sides<BTreeMap<AccountId, Timestamp>>,
    pub(super) requests: Vec<SyncRequest>,
    pub(super) timetable: Option<Timetable>,
    pub(super) watch: Watch,
    pub(super) matched: Option<MatchNote>,
    pub(super) history: Vec<Recorded>,
    /// Systems that are to be left alone, and until when.
    pub(super) pauses: HashMap<SystemName, Timestamp>,
    /// How the calls of each system fare.
    pub(super) circuits: HashMap<SystemName, Circuit>,
    /// By how many milliseconds each system's clock is ahead of the store's, and when that was measured.
    pub(super) clocks: HashMap<SystemName, (i64, Timestamp)>,
    /// Values that lost, the oldest first.
    pub(super) journal: Vec<JournalEntry>,
    /// What the writes of each run have overwritten.
    pub(super) overwritten: BTreeMap<RunId, Vec<Overwritten>>,
    /// Places taken in budgets.
    pub(super) spent: BTreeMap<(Side, Risk), BTreeMap<String, Timestamp>>,
    /// Connections that nobody writes for.
    pub(super) paused: Vec<Pause>,
    /// Letters about what may pass by itself that were ever opened.
    pub(super) transient: Vec<DeadLetter>,
    /// Questions, by what they asked.
    pub(super) calls: BTreeMap<&'static str, u32>,
}

/// What an entry of a list is called.
pub(super) fn place_id(place: usize) -> EntryId {
    EntryId::parse(&place.to_string()).expect("digits are an id")
}

fn change_key<O: PartialEq>(counts: &mut Vec<(O, u32)>, outcome: O) {
    match counts.iter_mut().find(|(of, _)| *of == outcome) {
        Some((_, count)) => *count += 1,
        None => counts.push((outcome, 1)),
    }
}

impl State {
    pub(super) fn check(&self, connection: &ConnectionName, epoch: Epoch) -> Result<(), StoreError> {
        match self.epoch {
            Some((id, _)) if id == epoch => Ok(()),
            _ => Err(StoreError::EpochChanged(connection.clone())),
        }
    }

    pub(super) fn current(&self, connection: &ConnectionName) -> Result<Epoch, StoreError> {
        self.epoch.map(|(id, _)| id).ok_or_else(|| StoreError::EpochChanged(connection.clone()))
    }

    pub(super) fn count_change(
        &mut self,
        run: &RunId,
        number: u32,
        outcome: Option<ChangeOutcome>,
        emits: Sides<bool>,
    ) -> Sides<bool> {
        let mut owed = Sides::default();
        let Some(found) = self.runs.get_mut(run).filter(|found| number < found.read) else { return owed };
        let bits = self.bits.entry((run.clone(), number)).or_default();
        if let Some(outcome) = outcome.filter(|_| !std::mem::replace(&mut bits.0, true)) {
            change_key(&mut found.changes, outcome);
        }
        for side in Side::BOTH {
            owed[side] = bits.1[side] && !bits.2[side];
            if emits[side] && !std::mem::replace(&mut bits.1[side], true) {
                found.emitted += 1;
            }
        }
        owed
    }

    pub(super) fn count_command(&mut self, run: &RunId, number: u32, side: Side, outcome: CommandOutcome) {
        let Some(found) = self.runs.get_mut(run).filter(|found| number < found.read) else { return };
        let bits = self.bits.entry((run.clone(), number)).or_default();
        if !std::mem::replace(&mut bits.2[side], true) {
            change_key(&mut found.commands, outcome);
            if !std::mem::replace(&mut bits.1[side], true) {
                found.emitted += 1;
            }
        }
    }

    pub(super) fn commit(&mut self, commit: Commit, now: Timestamp) -> Committed {
        let stands = |link: &Link| self.links.get(&link.id).map_or(0, |stored| stored.revision) == link.revision;
        if !commit.link.iter().chain(&commit.ended).all(stands) {
            return Committed::Moved;
        }
        let ended = commit.ended.as_ref().map(|ended| ended.id);
        for claim in &commit.claim {
            let own = commit.link.as_ref().map(|link| link.id);
            let holder = self.claims.get(claim).copied();
            if let Some(holder) = holder.filter(|holder| Some(*holder) != own && Some(*holder) != ended) {
                return Committed::Taken { claim: claim.clone(), holder };
            }
        }
        if let Some(ended) = ended {
            self.claims.retain(|_, holder| *holder != ended);
            self.links.remove(&ended);
        }
        self.journal.extend(commit.journal);
        if let Some(link) = &commit.link {
            let is_released = |claim: &Claim| commit.release.contains(claim) && !commit.claim.contains(claim);
            self.claims.retain(|claim, holder| *holder != link.id || !is_released(claim));
            self.claims.extend(commit.claim.iter().map(|claim| (claim.clone(), link.id)));
            self.links.insert(link.id, Link { revision: link.revision + 1, ..link.clone() });
        }
        if let Some(overwrite) = commit.overwrite {
            self.overwritten.entry(overwrite.run).or_default().push(overwrite.entry);
        }
        let transient = |letter: &&DeadLetter| letter.fingerprint.class == FailureClass::Transient;
        self.transient.extend(commit.open.iter().filter(transient).cloned());
        self.letters.extend(commit.open.into_iter().map(|letter| (letter.id.clone(), letter)));
        commit.close.iter().for_each(|id| drop(self.letters.remove(id)));
        for (side, account) in commit.reread {
            self.rereads[side].insert(account, now);
        }
        let owed = match commit.count {
            Some(Count::Change { run, number, outcome, emits }) => {
                self.count_change(&run, number, Some(outcome), emits)
            }
            Some(Count::Command { run, number, side, outcome }) => {
                self.count_command(&run, number, side, outcome);
                Sides::default()
            }
            None => Sides::default(),
        };
        Committed::Done { owed }
    }
}
