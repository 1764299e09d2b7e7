//! A store of one connection in memory. Any answer may be lost, before or after what was asked for took effect.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::task::yield_now;

use super::Clock;
use crate::domain::guard::{Risk, decide};
use crate::domain::rate::Window;
use crate::domain::schedule::Timetable;
use crate::domain::watch::Watch;
use crate::domain::{
    AccountId, ChangeOutcome, CommandOutcome, ConnectionName, DeadLetter, Epoch, LetterId, Link, LinkId, RunId, Side,
    Sides, SystemName, Timestamp, Token,
};
use crate::store::{
    AccountPage, Claim, ClaimPage, Commit, Committed, Count, EntryId, EpochState, Find, Found, Instance, Kept,
    LeaseName, LinkCounts, Loaded, Pause, ReaderState, Run, Spend, Store, StoreError, SyncRequest, SystemState,
};

/// Whether the change has an outcome; whether a command was emitted for each side, and has an outcome.
type Bits = (bool, Sides<bool>, Sides<bool>);

#[derive(Default)]
struct State {
    epoch: Option<(Epoch, Timestamp)>,
    links: HashMap<LinkId, Link>,
    claims: BTreeMap<Claim, LinkId>,
    letters: BTreeMap<LetterId, DeadLetter>,
    runs: BTreeMap<RunId, Run>,
    bits: HashMap<(RunId, u32), Bits>,
    readers: Sides<ReaderState>,
    leases: HashMap<LeaseName, (Token, Timestamp)>,
    rereads: Sides<BTreeMap<AccountId, Timestamp>>,
    requests: Vec<SyncRequest>,
    timetable: Option<Timetable>,
    watch: Watch,
    /// Systems that are to be left alone, and until when.
    pauses: HashMap<SystemName, Timestamp>,
    /// Places taken in budgets.
    spent: BTreeMap<(Side, Risk), BTreeMap<String, Timestamp>>,
    /// Connections that nobody writes for.
    paused: Vec<Pause>,
    /// Questions, by what they asked.
    calls: BTreeMap<&'static str, u32>,
}

#[derive(Clone)]
pub struct MemoryStore {
    clock: Clock,
    state: Arc<Mutex<State>>,
    /// Of a thousand answers, how many are lost.
    lost: Arc<std::sync::atomic::AtomicU16>,
}

fn change_key<O: PartialEq>(counts: &mut Vec<(O, u32)>, outcome: O) {
    match counts.iter_mut().find(|(of, _)| *of == outcome) {
        Some((_, count)) => *count += 1,
        None => counts.push((outcome, 1)),
    }
}

impl State {
    fn check(&self, connection: &ConnectionName, epoch: Epoch) -> Result<(), StoreError> {
        match self.epoch {
            Some((id, _)) if id == epoch => Ok(()),
            _ => Err(StoreError::EpochChanged(connection.clone())),
        }
    }

    fn current(&self, connection: &ConnectionName) -> Result<Epoch, StoreError> {
        self.epoch.map(|(id, _)| id).ok_or_else(|| StoreError::EpochChanged(connection.clone()))
    }

    fn count_change(
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

    fn count_command(&mut self, run: &RunId, number: u32, side: Side, outcome: CommandOutcome) {
        let Some(found) = self.runs.get_mut(run).filter(|found| number < found.read) else { return };
        let bits = self.bits.entry((run.clone(), number)).or_default();
        if !std::mem::replace(&mut bits.2[side], true) {
            change_key(&mut found.commands, outcome);
            if !std::mem::replace(&mut bits.1[side], true) {
                found.emitted += 1;
            }
        }
    }

    fn commit(&mut self, commit: Commit, now: Timestamp) -> Committed {
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
        if let Some(link) = &commit.link {
            self.claims.extend(commit.claim.into_iter().map(|claim| (claim, link.id)));
            self.links.insert(link.id, Link { revision: link.revision + 1, ..link.clone() });
        }
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

impl MemoryStore {
    pub fn new(clock: Clock) -> Self {
        Self { clock, state: Arc::default(), lost: Arc::default() }
    }

    pub fn lose_answers(&self, of_a_thousand: u16) {
        self.lost.store(of_a_thousand, std::sync::atomic::Ordering::Relaxed);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn all_letters(&self) -> Vec<DeadLetter> {
        self.state().letters.values().cloned().collect()
    }

    pub fn all_runs(&self) -> Vec<Run> {
        self.state().runs.values().cloned().collect()
    }

    pub fn all_links(&self) -> Vec<Link> {
        self.state().links.values().cloned().collect()
    }

    pub fn amend_links(&self, amend: impl Fn(&mut Link)) {
        self.state().links.values_mut().for_each(amend);
    }

    /// Questions since the last time, by what they asked.
    pub fn take_calls(&self) -> BTreeMap<&'static str, u32> {
        std::mem::take(&mut self.state().calls)
    }

    pub fn rereads_are_done(&self) -> bool {
        Side::BOTH.iter().all(|side| self.state().rereads[*side].is_empty())
    }

    /// The memory is lost, but for what is not of an epoch: runs and leases, as after a restart that lost its last
    /// seconds.
    pub fn begin_epoch(&self) {
        self.state().epoch = Some((Epoch(fastrand::u64(..)), self.clock.now()));
        for side in Side::BOTH {
            let mut state = self.state();
            state.readers[side] = std::mem::take(&mut state.readers[side]).of_another_epoch();
        }
    }

    async fn op<T>(
        &self,
        what: &'static str,
        effect: impl FnOnce(&mut State, Timestamp) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let lost = || {
            let chance = self.lost.load(std::sync::atomic::Ordering::Relaxed);
            if fastrand::u16(..1000) < chance { Err(StoreError::Unavailable("lost".to_owned())) } else { Ok(()) }
        };
        *self.state().calls.entry(what).or_default() += 1;
        yield_now().await;
        lost()?;
        let answer = effect(&mut self.state(), self.clock.now());
        yield_now().await;
        lost()?;
        answer
    }
}

impl Store for MemoryStore {
    async fn epoch(&self, _: &ConnectionName) -> Result<EpochState, StoreError> {
        self.op("epoch", |state, now| {
            let (id, began_at) = *state.epoch.get_or_insert_with(|| (Epoch(fastrand::u64(..)), now));
            Ok(EpochState { id, began_at, now })
        })
        .await
    }

    async fn find(&self, name: &ConnectionName, questions: Vec<Find>) -> Result<Loaded<Found>, StoreError> {
        self.op("find", |state, now| {
            let epoch = state.current(name)?;
            let find = |question: Find| {
                let mut claims = question.claims.iter().enumerate();
                let held = claims.find_map(|(index, claim)| Some((*state.claims.get(claim)?, index)));
                Found {
                    link: held.map(|(id, index)| (state.links[&id].clone(), index)),
                    open_letter: question.letter.is_some_and(|letter| state.letters.contains_key(&letter)),
                }
            };
            Ok(Loaded { now, epoch, items: questions.into_iter().map(find).collect() })
        })
        .await
    }

    async fn load(&self, name: &ConnectionName, links: &[LinkId]) -> Result<Loaded<Option<Link>>, StoreError> {
        self.op("load", |state, now| {
            let epoch = state.current(name)?;
            Ok(Loaded { now, epoch, items: links.iter().map(|id| state.links.get(id).cloned()).collect() })
        })
        .await
    }

    async fn commit(
        &self,
        name: &ConnectionName,
        epoch: Epoch,
        commits: &[Commit],
    ) -> Result<Vec<Committed>, StoreError> {
        self.op("commit", |state, now| {
            state.check(name, epoch)?;
            Ok(commits.iter().map(|commit| state.commit(commit.clone(), now)).collect())
        })
        .await
    }

    async fn journal(
        &self,
        _: &ConnectionName,
        _: Option<LinkId>,
        _: Option<&EntryId>,
        _: usize,
    ) -> Result<Vec<Kept>, StoreError> {
        Ok(Vec::new())
    }

    async fn accounts(&self, _: &ConnectionName, side: Side, _: Option<String>) -> Result<AccountPage, StoreError> {
        self.op("accounts", |state, _| {
            let held = state.claims.iter().filter_map(|(claim, link)| match claim {
                Claim::Account(of, account) if *of == side => Some((account.clone(), *link)),
                _ => None,
            });
            Ok((held.collect(), None))
        })
        .await
    }

    async fn claims(&self, _: &ConnectionName, _: Option<String>) -> Result<ClaimPage, StoreError> {
        self.op("claims", |state, _| {
            Ok((state.claims.iter().map(|(claim, link)| (claim.clone(), *link)).collect(), None))
        })
        .await
    }

    async fn counts(&self, _: &ConnectionName) -> Result<LinkCounts, StoreError> {
        Ok(LinkCounts::default())
    }

    async fn lease(
        &self,
        _: &ConnectionName,
        name: &LeaseName,
        token: Token,
        ttl: Duration,
    ) -> Result<bool, StoreError> {
        self.op("lease", |state, now| {
            let free = state.leases.get(name).is_none_or(|(holder, until)| *holder == token || *until <= now);
            if free {
                state.leases.insert(name.clone(), (token, now + ttl));
            }
            Ok(free)
        })
        .await
    }

    async fn release(&self, _: &ConnectionName, _: &LeaseName, _: Token) -> Result<(), StoreError> {
        Ok(())
    }

    async fn reader(&self, name: &ConnectionName, side: Side) -> Result<ReaderState, StoreError> {
        self.op("reader", |state, _| state.current(name).map(|_| state.readers[side].clone())).await
    }

    async fn set_reader(
        &self,
        name: &ConnectionName,
        epoch: Epoch,
        side: Side,
        token: Token,
        reader: &ReaderState,
    ) -> Result<bool, StoreError> {
        self.op("set_reader", |state, now| {
            state.check(name, epoch)?;
            let held =
                state.leases.get(&LeaseName::Reader(side)).is_some_and(|(of, until)| *of == token && *until > now);
            if held {
                state.readers[side] = reader.clone();
            }
            Ok(held)
        })
        .await
    }

    async fn reserve(
        &self,
        name: &ConnectionName,
        run: &RunId,
        count: u32,
        reader: Option<(Epoch, Side, Token, &ReaderState)>,
    ) -> Result<Option<u32>, StoreError> {
        self.op("reserve", |state, now| {
            let Some(found) = state.runs.get(run) else { return Ok(None) };
            let first = found.read;
            if let Some((epoch, side, token, reader)) = reader {
                state.check(name, epoch)?;
                let lease = state.leases.get(&LeaseName::Reader(side));
                if lease.is_none_or(|(of, until)| *of != token || *until <= now) {
                    return Ok(None);
                }
                state.readers[side] = reader.clone();
                state.readers[side].active.as_mut().unwrap().reserved = Some((first, count));
            }
            state.runs.get_mut(run).unwrap().read += count;
            Ok(Some(first))
        })
        .await
    }

    async fn abandon(&self, _: &ConnectionName, run: &RunId, (first, count): (u32, u32)) -> Result<(), StoreError> {
        self.op("abandon", |state, _| {
            for number in first..first + count {
                state.count_change(run, number, Some(ChangeOutcome::Stale), Sides::default());
            }
            Ok(())
        })
        .await
    }

    async fn rereads(
        &self,
        _: &ConnectionName,
        side: Side,
        limit: usize,
    ) -> Result<Vec<(AccountId, Timestamp)>, StoreError> {
        self.op("rereads", |state, _| {
            Ok(state.rereads[side].iter().take(limit).map(|(id, at)| (id.clone(), *at)).collect())
        })
        .await
    }

    async fn reread_done(
        &self,
        _: &ConnectionName,
        side: Side,
        done: &[(AccountId, Timestamp)],
    ) -> Result<(), StoreError> {
        self.op("reread_done", |state, _| {
            state.rereads[side].retain(|id, at| !done.iter().any(|(of, asked)| of == id && *at <= *asked));
            Ok(())
        })
        .await
    }

    async fn begin_run(&self, _: &ConnectionName, run: &Run) -> Result<bool, StoreError> {
        self.op("begin_run", |state, _| {
            if state.runs.contains_key(&run.id) {
                return Ok(false);
            }
            if let Some(slot) = run.slot {
                match &mut state.timetable {
                    Some(timetable) if timetable.served < slot.at => timetable.served = slot.at,
                    _ => return Ok(false),
                }
            }
            state.runs.insert(run.id.clone(), run.clone());
            Ok(true)
        })
        .await
    }

    async fn timetable(&self, _: &ConnectionName) -> Result<Option<Timetable>, StoreError> {
        self.op("timetable", |state, _| Ok(state.timetable.clone())).await
    }

    async fn set_timetable(
        &self,
        _: &ConnectionName,
        before: Option<&Timetable>,
        timetable: &Timetable,
    ) -> Result<bool, StoreError> {
        self.op("set_timetable", |state, _| {
            let is_there = state.timetable.as_ref() == before;
            if is_there {
                state.timetable = Some(timetable.clone());
            }
            Ok(is_there)
        })
        .await
    }

    async fn watch(&self, _: &ConnectionName) -> Result<Watch, StoreError> {
        self.op("watch", |state, _| Ok(state.watch.clone())).await
    }

    async fn set_watch(&self, _: &ConnectionName, token: Token, watch: &Watch) -> Result<bool, StoreError> {
        self.op("set_watch", |state, now| {
            let held = state.leases.get(&LeaseName::Watch).is_some_and(|(of, until)| *of == token && *until > now);
            if held {
                state.watch = watch.clone();
            }
            Ok(held)
        })
        .await
    }

    async fn end_reading(
        &self,
        _: &ConnectionName,
        run: &RunId,
        side: Side,
        failed: Option<&str>,
    ) -> Result<(), StoreError> {
        self.op("end_reading", |state, _| {
            let run = state.runs.get_mut(run).unwrap();
            run.reading[side] = false;
            run.failed = run.failed.take().or(failed.map(ToOwned::to_owned));
            Ok(())
        })
        .await
    }

    async fn expect(&self, _: &ConnectionName, run: &RunId, accounts: u64) -> Result<(), StoreError> {
        self.op("expect", |state, _| {
            let run = state.runs.get_mut(run).unwrap();
            run.expected = Some(run.expected.unwrap_or(0) + accounts);
            Ok(())
        })
        .await
    }

    async fn run(&self, _: &ConnectionName, run: &RunId) -> Result<Option<Run>, StoreError> {
        self.op("run", |state, _| Ok(state.runs.get(run).cloned())).await
    }

    async fn runs(&self, _: &ConnectionName, limit: usize) -> Result<Vec<Run>, StoreError> {
        self.op("runs", |state, _| {
            let mut runs: Vec<_> = state.runs.values().cloned().collect();
            runs.sort_by_key(|run| std::cmp::Reverse(run.began_at));
            runs.truncate(limit);
            Ok(runs)
        })
        .await
    }

    async fn request(&self, _: &ConnectionName, request: &SyncRequest) -> Result<(), StoreError> {
        self.op("request", |state, _| {
            state.requests.push(request.clone());
            Ok(())
        })
        .await
    }

    async fn requests(&self, _: &ConnectionName) -> Result<Vec<SyncRequest>, StoreError> {
        self.op("requests", |state, _| Ok(state.requests.clone())).await
    }

    async fn request_done(&self, _: &ConnectionName, run: &RunId) -> Result<(), StoreError> {
        self.op("request_done", |state, _| {
            state.requests.retain(|request| request.run != *run);
            Ok(())
        })
        .await
    }

    async fn file_letters(&self, open: &[DeadLetter], close: &[LetterId]) -> Result<(), StoreError> {
        self.op("file_letters", |state, now| {
            state.commit(Commit { open: open.to_vec(), close: close.to_vec(), ..Commit::default() }, now);
            Ok(())
        })
        .await
    }

    async fn letter(&self, _: Option<&ConnectionName>, id: &LetterId) -> Result<Option<DeadLetter>, StoreError> {
        self.op("letter", |state, _| Ok(state.letters.get(id).cloned())).await
    }

    async fn letters(&self, _: Option<&ConnectionName>) -> Result<Vec<DeadLetter>, StoreError> {
        Ok(self.all_letters())
    }

    async fn spend(&self, _: &ConnectionName, spend: &Spend) -> Result<Vec<bool>, StoreError> {
        self.op("spend", |state, now| {
            let Spend { side, risk, budget, acts } = spend;
            let population = state.claims.keys().filter(|claim| matches!(claim, Claim::Account(of, _) if of == side));
            let limit = budget.limit(population.count() as u64);
            let spent = state.spent.entry((*side, *risk)).or_default();
            spent.retain(|_, at| *at + budget.window > now);
            let place = |act: &String| {
                let fits = spent.contains_key(act) || decide(spent.len() as u64, 1, limit) == 1;
                if fits {
                    spent.insert(act.clone(), now);
                }
                fits
            };
            Ok(acts.iter().map(place).collect())
        })
        .await
    }

    async fn held(&self, _: &ConnectionName) -> Result<Vec<(LinkId, Timestamp)>, StoreError> {
        self.op("held", |state, _| {
            let mut held: Vec<_> =
                state.links.values().filter_map(|link| Some((link.id, link.held_since()?))).collect();
            held.sort_by_key(|(_, since)| *since);
            Ok(held)
        })
        .await
    }

    async fn pause(&self, connection: Option<&ConnectionName>, by: &str) -> Result<(), StoreError> {
        self.op("pause", |state, now| {
            if state.paused.iter().all(|pause| pause.connection.as_ref() != connection) {
                state.paused.push(Pause { connection: connection.cloned(), since: now, by: by.to_owned() });
            }
            Ok(())
        })
        .await
    }

    async fn resume(&self, connection: Option<&ConnectionName>) -> Result<bool, StoreError> {
        self.op("resume", |state, _| {
            let before = state.paused.len();
            state.paused.retain(|pause| pause.connection.as_ref() != connection);
            Ok(state.paused.len() < before)
        })
        .await
    }

    async fn pauses(&self) -> Result<Vec<Pause>, StoreError> {
        self.op("pauses", |state, _| Ok(state.paused.clone())).await
    }

    async fn system(&self, system: &SystemName) -> Result<SystemState, StoreError> {
        self.op("system", |state, _| {
            Ok(SystemState { not_before: state.pauses.get(system).copied(), ..SystemState::default() })
        })
        .await
    }

    async fn pause_system(&self, system: &SystemName, pause: Duration, _: &str) -> Result<(), StoreError> {
        self.op("pause_system", |state, now| {
            let until = state.pauses.entry(system.clone()).or_insert(now);
            *until = (*until).max(now + pause);
            Ok(())
        })
        .await
    }

    async fn take_call(&self, _: &SystemName, _: &str, _: &[Window], _: bool) -> Result<Option<Duration>, StoreError> {
        Ok(None)
    }

    async fn note_clock(&self, _: &SystemName, _: Timestamp) -> Result<(), StoreError> {
        Ok(())
    }

    async fn note_usage(&self, _: &SystemName, _: u64, _: u64) -> Result<(), StoreError> {
        Ok(())
    }

    async fn beat(&self, _: &str, _: &str) -> Result<(), StoreError> {
        Ok(())
    }

    async fn leave(&self, _: &str, _: &str) -> Result<(), StoreError> {
        Ok(())
    }

    async fn instances(&self) -> Result<Vec<Instance>, StoreError> {
        Ok(Vec::new())
    }

    async fn begin_suspect(&self, _: &str) -> Result<u32, StoreError> {
        // Nothing in this world is poison, so no count can be too high.
        Ok(1)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
