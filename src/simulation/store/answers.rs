//! What the store in memory answers to each question of the [`Store`] trait.

use std::ops::Range;
use std::time::Duration;

use super::MemoryStore;
use super::state::place_id;
use crate::domain::audit::{End, Line};
use crate::domain::circuit::Circuit;
use crate::domain::guard::{Risk, decide};
use crate::domain::rate::Window;
use crate::domain::redrive::Redrive;
use crate::domain::schedule::Timetable;
use crate::domain::undo::Overwritten;
use crate::domain::watch::Watch;
use crate::domain::{
    AccountId, ChangeOutcome, ConnectionName, DeadLetter, Epoch, Fingerprint, LetterGroup, LetterId, LetterPlace, Link,
    LinkId, RunId, Side, Sides, SystemName, Timestamp, Token,
};
use crate::store::{
    AccountPage, ActsEnds, CLOCK_KEPT, Claim, ClaimPage, Commit, Committed, EntryId, EpochState, Erased, Find, Found,
    Instance, Kept, LeaseName, LetterPage, LinkCounts, Loaded, MatchNote, Pause, Person, ReaderState, Recorded, Run,
    Spend, Store, StoreError, SyncRequest, SystemState, Told,
};

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
        link: Option<LinkId>,
        from: Option<&EntryId>,
        limit: usize,
    ) -> Result<Vec<Kept>, StoreError> {
        let from = from.and_then(|id| id.as_str().parse::<usize>().ok()).unwrap_or(usize::MAX);
        self.op("journal", |state, _| {
            let kept = state
                .journal
                .iter()
                .enumerate()
                .rev()
                .filter(|(place, entry)| *place <= from && link.is_none_or(|link| entry.link == link));
            let kept = kept.map(|(place, entry)| Kept { id: place_id(place), entry: entry.clone() });
            Ok(kept.take(limit).collect())
        })
        .await
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

    async fn overwritten(
        &self,
        _: &ConnectionName,
        run: &RunId,
        from: usize,
        limit: usize,
    ) -> Result<Vec<Overwritten>, StoreError> {
        self.op("overwritten", |state, _| {
            Ok(state.overwritten.get(run).into_iter().flatten().skip(from).take(limit).cloned().collect())
        })
        .await
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

    async fn release(&self, _: &ConnectionName, name: &LeaseName, token: Token) -> Result<(), StoreError> {
        self.op("release", |state, _| {
            state.leases.retain(|of, (holder, _)| of != name || *holder != token);
            Ok(())
        })
        .await
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
            let Some(first) = state.runs.get(run).map(|run| run.read) else { return Ok(None) };
            if let Some((epoch, side, token, reader)) = reader {
                state.check(name, epoch)?;
                let lease = state.leases.get(&LeaseName::Reader(side));
                if lease.is_none_or(|(of, until)| *of != token || *until <= now) {
                    return Ok(None);
                }
                state.readers[side] = reader.clone();
                if let Some(active) = &mut state.readers[side].active {
                    active.reserved = Some((first, count));
                }
            }
            if let Some(run) = state.runs.get_mut(run) {
                run.read += count;
            }
            Ok(Some(first))
        })
        .await
    }

    async fn reserve_up_to(&self, _: &ConnectionName, run: &RunId, count: u32) -> Result<bool, StoreError> {
        self.op("reserve", |state, _| {
            let run = state.runs.get_mut(run);
            Ok(run.map(|run| run.read = run.read.max(count)).is_some())
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

    async fn record(&self, _: &ConnectionName, recorded: &[Recorded]) -> Result<(), StoreError> {
        self.op("record", |state, _| {
            state.history.extend_from_slice(recorded);
            Ok(())
        })
        .await
    }

    async fn history(
        &self,
        _: &ConnectionName,
        before: Option<&EntryId>,
        limit: usize,
    ) -> Result<Vec<Told>, StoreError> {
        let before = before.and_then(|id| id.as_str().parse().ok()).unwrap_or(usize::MAX);
        self.op("history", |state, _| {
            let told = state.history.iter().enumerate().rev().filter(|(place, _)| *place < before).take(limit);
            Ok(told.map(|(place, recorded)| (place_id(place), recorded.clone())).collect())
        })
        .await
    }

    async fn match_note(&self, _: &ConnectionName) -> Result<Option<MatchNote>, StoreError> {
        self.op("match_note", |state, _| Ok(state.matched.clone())).await
    }

    async fn note_match(&self, _: &ConnectionName, note: &MatchNote) -> Result<(), StoreError> {
        self.op("note_match", |state, _| {
            state.matched = Some(note.clone());
            Ok(())
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
            let Some(run) = state.runs.get_mut(run) else { return Ok(()) };
            run.reading[side] = false;
            run.failed = run.failed.take().or(failed.map(ToOwned::to_owned));
            Ok(())
        })
        .await
    }

    async fn expect(&self, _: &ConnectionName, run: &RunId, accounts: u64) -> Result<(), StoreError> {
        self.op("expect", |state, _| {
            let Some(run) = state.runs.get_mut(run) else { return Ok(()) };
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

    async fn letter_groups(
        &self,
        connection: Option<&ConnectionName>,
        when: &Range<Timestamp>,
    ) -> Result<Vec<LetterGroup>, StoreError> {
        Ok(self.groups_of_letters(connection, when))
    }

    async fn letter_page(
        &self,
        connection: Option<&ConnectionName>,
        fingerprint: &Fingerprint,
        when: &Range<Timestamp>,
        after: Option<&LetterPlace>,
        limit: usize,
    ) -> Result<LetterPage, StoreError> {
        Ok(self.page_of_letters(connection, fingerprint, when, after, limit))
    }

    async fn save_redrive(&self, _: &Redrive) -> Result<bool, StoreError> {
        Err(StoreError::Unusable("nobody retries many letters in a simulated world".to_owned()))
    }

    async fn redrives(&self) -> Result<Vec<Redrive>, StoreError> {
        Ok(Vec::new())
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

    async fn spent(&self, _: &ConnectionName, side: Side, risk: Risk) -> Result<Vec<(String, Timestamp)>, StoreError> {
        self.op("spent", |state, _| {
            Ok(state.spent.get(&(side, risk)).into_iter().flatten().map(|(act, at)| (act.clone(), *at)).collect())
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

    async fn deferred(&self, _: &ConnectionName) -> Result<(u64, Option<Timestamp>), StoreError> {
        self.op("deferred", |state, _| {
            let since: Vec<_> = state.links.values().filter_map(Link::deferred_since).collect();
            Ok((since.len() as u64, since.into_iter().min()))
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

    async fn acts_ends(&self) -> Result<ActsEnds, StoreError> {
        Ok(ActsEnds { now: self.clock.now(), last: None, anchor: None, kept: Duration::MAX })
    }

    async fn append_act(&self, _: Option<&End>, _: &Line, _: &End) -> Result<bool, StoreError> {
        Err(StoreError::Unusable("nobody notes what people do in a simulated world".to_owned()))
    }

    async fn acts(&self, _: u64, _: usize) -> Result<Vec<Line>, StoreError> {
        Ok(Vec::new())
    }

    async fn cut_acts(&self, _: &End) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn erase(&self, _: &ConnectionName, _: &Person, _: bool) -> Result<Erased, StoreError> {
        Err(StoreError::Unusable("nobody is forgotten in a simulated world".to_owned()))
    }

    async fn scrub(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn expire(&self, _: &ConnectionName) -> Result<(), StoreError> {
        Ok(())
    }

    async fn system(&self, system: &SystemName) -> Result<SystemState, StoreError> {
        self.op("system", |state, now| {
            let ahead_ms = state.clocks.get(system).map(|(ahead, _)| *ahead);
            let circuit = state.circuits.get(system).cloned().unwrap_or_default();
            let not_before = state.pauses.get(system).copied();
            Ok(SystemState { not_before, ahead_ms, circuit, now, ..SystemState::default() })
        })
        .await
    }

    async fn save_circuit(&self, system: &SystemName, circuit: &Circuit) -> Result<bool, StoreError> {
        self.op("save_circuit", |state, _| {
            let before = state.circuits.entry(system.clone()).or_default();
            let is_next = before.revision + 1 == circuit.revision;
            if is_next {
                *before = circuit.clone();
            }
            Ok(is_next)
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

    async fn note_clock(&self, system: &SystemName, clock: Timestamp) -> Result<(), StoreError> {
        self.op("note_clock", |state, now| {
            let ahead = clock.0 - now.0;
            let known = state.clocks.get(system).copied();
            if known.is_none_or(|(known, at)| known < ahead || now.since(at) >= CLOCK_KEPT) {
                state.clocks.insert(system.clone(), (ahead, now));
            }
            Ok(())
        })
        .await
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
