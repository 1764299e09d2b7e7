//! The store of the embedded mode: tables in the one file that holds the queues as well.
//!
//! - `src/database/links.sql`: every table. Begin here.
//! - `memory`: finds out that the file is another one than it was; epochs.
//! - `links`, `commit`, `journal`: links, their claims, the atomic step.
//! - `books`: what was counted already. `runs`, `schedules`, `readers`, `letters`, `systems`: a file per concern of the
//!   trait.
//! - `guards`: budgets, what is held, pauses. `acts`: what people did.
//! - `expiry`: forgets what is old.
//! - `copy`: a copy of another store's connection, for a dry run.
//! - `clock`, `sql`: the time, and statements in few words.
//!
//! Other processes may work on the same file at the same time, so nothing of it is remembered between two calls.

mod acts;
mod books;
mod clock;
mod commit;
mod copy;
mod erasure;
mod expiry;
mod guards;
mod history;
mod journal;
mod letters;
mod links;
mod matched;
mod memory;
mod readers;
mod runs;
mod schedules;
mod sql;
mod systems;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use rusqlite::Connection;
use serde::Serialize;

use self::clock::Clock;
use super::{
    AccountPage, ActsEnds, ClaimPage, Commit, Committed, EntryId, EpochState, Erased, Find, Found, Instance, Kept,
    LeaseName, LetterPage, LinkCounts, Loaded, MatchNote, Pause, Person, ReaderState, Recorded, Run, Spend, Store,
    StoreError, SyncRequest, SystemState, Told,
};
use crate::database::{Database, DatabaseError};
use crate::domain::audit::{End, Line};
use crate::domain::circuit::Circuit;
use crate::domain::guard::Risk;
use crate::domain::rate::Window;
use crate::domain::redrive::Redrive;
use crate::domain::retention::Retention;
use crate::domain::schedule::Timetable;
use crate::domain::undo::Overwritten;
use crate::domain::watch::Watch;
use crate::domain::{
    AccountId, ConnectionName, DeadLetter, Epoch, Fingerprint, LetterGroup, LetterId, LetterPlace, Link, LinkId, RunId,
    Side, SystemName, Timestamp, Token,
};

/// The store in a file. Clones share it; other stores, in this process or another, may be open on the same file.
#[derive(Clone)]
pub struct EmbeddedStore {
    database: Database,
    clock: Arc<Clock>,
    /// Whether nobody can have asked anything of a system before the first epochs of this file.
    untouched: bool,
    /// When this process last looked for what is old.
    swept_at: Arc<AtomicI64>,
    retention: Retention,
}

impl fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedStore").field("path", &self.database.path()).finish_non_exhaustive()
    }
}

impl From<DatabaseError> for StoreError {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Unusable(text) => Self::Unusable(text),
            DatabaseError::Unavailable(text) => Self::Unavailable(text),
            DatabaseError::Closed => Self::Unavailable(DatabaseError::Closed.to_string()),
        }
    }
}

fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("domain types have string keys, so they are JSON")
}

/// Numbers of 64 bits that are no quantities lie in the file as SQLite's signed ones.
fn signed(bits: u64) -> i64 {
    bits.cast_signed()
}

/// A number that is one. SQLite's end at half of ours.
fn quantity(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl EmbeddedStore {
    /// The store, keeping what it may forget for so long.
    #[must_use]
    pub fn keeping(self, retention: Retention) -> Self {
        Self { retention, ..self }
    }

    /// Does `work` whole or not at all. It is handed the store's clock.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection, Timestamp) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let clock = Arc::clone(&self.clock);
        self.database.write(move |file| work(file, clock.now())).await
    }

    /// Reads one state of the file.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection, Timestamp) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let clock = Arc::clone(&self.clock);
        self.database.read(move |file| work(file, clock.now())).await
    }
}

impl Store for EmbeddedStore {
    async fn epoch(&self, connection: &ConnectionName) -> Result<EpochState, StoreError> {
        self.current_epoch(connection).await
    }

    async fn find(&self, connection: &ConnectionName, questions: Vec<Find>) -> Result<Loaded<Found>, StoreError> {
        self.find_links(connection, questions).await
    }

    async fn load(&self, connection: &ConnectionName, links: &[LinkId]) -> Result<Loaded<Option<Link>>, StoreError> {
        self.load_links(connection, links).await
    }

    async fn commit(
        &self,
        connection: &ConnectionName,
        epoch: Epoch,
        commits: &[Commit],
    ) -> Result<Vec<Committed>, StoreError> {
        self.commit_all(connection, epoch, commits).await
    }

    async fn accounts(
        &self,
        connection: &ConnectionName,
        side: Side,
        from: Option<String>,
    ) -> Result<AccountPage, StoreError> {
        self.account_page(connection, side, from).await
    }

    async fn claims(&self, connection: &ConnectionName, from: Option<String>) -> Result<ClaimPage, StoreError> {
        self.claim_page(connection, from).await
    }

    async fn counts(&self, connection: &ConnectionName) -> Result<LinkCounts, StoreError> {
        self.link_counts(connection).await
    }

    async fn journal(
        &self,
        connection: &ConnectionName,
        link: Option<LinkId>,
        from: Option<&EntryId>,
        limit: usize,
    ) -> Result<Vec<Kept>, StoreError> {
        self.journal_of(connection, link, from, limit).await
    }

    async fn record(&self, connection: &ConnectionName, recorded: &[Recorded]) -> Result<(), StoreError> {
        self.note_changes(connection, recorded).await
    }

    async fn history(
        &self,
        connection: &ConnectionName,
        before: Option<&EntryId>,
        limit: usize,
    ) -> Result<Vec<Told>, StoreError> {
        self.recorded(connection, before, limit).await
    }

    async fn overwritten(
        &self,
        connection: &ConnectionName,
        run: &RunId,
        from: usize,
        limit: usize,
    ) -> Result<Vec<Overwritten>, StoreError> {
        self.overwritten_by(connection, run, from, limit).await
    }

    async fn lease(
        &self,
        connection: &ConnectionName,
        name: &LeaseName,
        token: Token,
        ttl: Duration,
    ) -> Result<bool, StoreError> {
        self.take_lease(connection, name, token, ttl).await
    }

    async fn release(&self, connection: &ConnectionName, name: &LeaseName, token: Token) -> Result<(), StoreError> {
        self.release_lease(connection, name, token).await
    }

    async fn reader(&self, connection: &ConnectionName, side: Side) -> Result<ReaderState, StoreError> {
        self.reader_state(connection, side).await
    }

    async fn set_reader(
        &self,
        connection: &ConnectionName,
        epoch: Epoch,
        side: Side,
        token: Token,
        state: &ReaderState,
    ) -> Result<bool, StoreError> {
        self.replace_reader(connection, epoch, side, token, state).await
    }

    async fn reserve(
        &self,
        connection: &ConnectionName,
        run: &RunId,
        count: u32,
        reader: Option<(Epoch, Side, Token, &ReaderState)>,
    ) -> Result<Option<u32>, StoreError> {
        self.reserve_numbers(connection, run, count, reader).await
    }

    async fn reserve_up_to(&self, connection: &ConnectionName, run: &RunId, count: u32) -> Result<bool, StoreError> {
        self.reserve_numbers_up_to(connection, run, count).await
    }

    async fn abandon(&self, connection: &ConnectionName, run: &RunId, range: (u32, u32)) -> Result<(), StoreError> {
        self.abandon_numbers(connection, run, range).await
    }

    async fn rereads(
        &self,
        connection: &ConnectionName,
        side: Side,
        limit: usize,
    ) -> Result<Vec<(AccountId, Timestamp)>, StoreError> {
        self.asked_rereads(connection, side, limit).await
    }

    async fn reread_done(
        &self,
        connection: &ConnectionName,
        side: Side,
        accounts: &[(AccountId, Timestamp)],
    ) -> Result<(), StoreError> {
        self.forget_rereads(connection, side, accounts).await
    }

    async fn begin_run(&self, connection: &ConnectionName, run: &Run) -> Result<bool, StoreError> {
        self.start_run(connection, run).await
    }

    async fn end_reading(
        &self,
        connection: &ConnectionName,
        run: &RunId,
        side: Side,
        failed: Option<&str>,
    ) -> Result<(), StoreError> {
        self.stop_reading(connection, run, side, failed).await
    }

    async fn expect(&self, connection: &ConnectionName, run: &RunId, accounts: u64) -> Result<(), StoreError> {
        self.add_expected(connection, run, accounts).await
    }

    async fn run(&self, connection: &ConnectionName, run: &RunId) -> Result<Option<Run>, StoreError> {
        self.one_run(connection, run).await
    }

    async fn runs(&self, connection: &ConnectionName, limit: usize) -> Result<Vec<Run>, StoreError> {
        self.latest_runs(connection, limit).await
    }

    async fn request(&self, connection: &ConnectionName, request: &SyncRequest) -> Result<(), StoreError> {
        self.add_request(connection, request).await
    }

    async fn requests(&self, connection: &ConnectionName) -> Result<Vec<SyncRequest>, StoreError> {
        self.open_requests(connection).await
    }

    async fn request_done(&self, connection: &ConnectionName, run: &RunId) -> Result<(), StoreError> {
        self.drop_request(connection, run).await
    }

    async fn timetable(&self, connection: &ConnectionName) -> Result<Option<Timetable>, StoreError> {
        self.stored_timetable(connection).await
    }

    async fn set_timetable(
        &self,
        connection: &ConnectionName,
        before: Option<&Timetable>,
        timetable: &Timetable,
    ) -> Result<bool, StoreError> {
        self.replace_timetable(connection, before, timetable).await
    }

    async fn watch(&self, connection: &ConnectionName) -> Result<Watch, StoreError> {
        self.stored_watch(connection).await
    }

    async fn set_watch(&self, connection: &ConnectionName, token: Token, watch: &Watch) -> Result<bool, StoreError> {
        self.replace_watch(connection, token, watch).await
    }

    async fn match_note(&self, connection: &ConnectionName) -> Result<Option<MatchNote>, StoreError> {
        self.stored_match(connection).await
    }

    async fn note_match(&self, connection: &ConnectionName, note: &MatchNote) -> Result<(), StoreError> {
        self.put_match(connection, note).await
    }

    async fn file_letters(&self, open: &[DeadLetter], close: &[LetterId]) -> Result<(), StoreError> {
        self.file(open, close).await
    }

    async fn letter(
        &self,
        connection: Option<&ConnectionName>,
        id: &LetterId,
    ) -> Result<Option<DeadLetter>, StoreError> {
        self.open_letter(connection, id).await
    }

    async fn letters(&self, connection: Option<&ConnectionName>) -> Result<Vec<DeadLetter>, StoreError> {
        self.open_letters(connection).await
    }

    async fn letter_groups(
        &self,
        connection: Option<&ConnectionName>,
        when: &Range<Timestamp>,
    ) -> Result<Vec<LetterGroup>, StoreError> {
        self.groups_of_letters(connection, when).await
    }

    async fn letter_page(
        &self,
        connection: Option<&ConnectionName>,
        fingerprint: &Fingerprint,
        when: &Range<Timestamp>,
        after: Option<&LetterPlace>,
        limit: usize,
    ) -> Result<LetterPage, StoreError> {
        self.page_of_letters(connection, fingerprint, when, after, limit).await
    }

    async fn save_redrive(&self, redrive: &Redrive) -> Result<bool, StoreError> {
        self.keep_redrive(redrive).await
    }

    async fn redrives(&self) -> Result<Vec<Redrive>, StoreError> {
        self.kept_redrives().await
    }

    async fn spend(&self, connection: &ConnectionName, spend: &Spend) -> Result<Vec<bool>, StoreError> {
        self.take_places(connection, spend).await
    }

    async fn spent(
        &self,
        connection: &ConnectionName,
        side: Side,
        risk: Risk,
    ) -> Result<Vec<(String, Timestamp)>, StoreError> {
        self.places_taken(connection, side, risk).await
    }

    async fn held(&self, connection: &ConnectionName) -> Result<Vec<(LinkId, Timestamp)>, StoreError> {
        self.held_links(connection).await
    }

    async fn deferred(&self, connection: &ConnectionName) -> Result<(u64, Option<Timestamp>), StoreError> {
        self.count_deferred(connection).await
    }

    async fn pause(&self, connection: Option<&ConnectionName>, by: &str) -> Result<(), StoreError> {
        self.note_pause(connection, by).await
    }

    async fn resume(&self, connection: Option<&ConnectionName>) -> Result<bool, StoreError> {
        self.forget_pause(connection).await
    }

    async fn pauses(&self) -> Result<Vec<Pause>, StoreError> {
        self.known_pauses().await
    }

    async fn acts_ends(&self) -> Result<ActsEnds, StoreError> {
        self.ends_of_acts().await
    }

    async fn append_act(&self, after: Option<&End>, line: &Line, place: &End) -> Result<bool, StoreError> {
        self.append_line(after, line, place).await
    }

    async fn acts(&self, after: u64, limit: usize) -> Result<Vec<Line>, StoreError> {
        self.lines_of_acts(after, limit).await
    }

    async fn cut_acts(&self, anchor: &End) -> Result<bool, StoreError> {
        self.cut_lines(anchor).await
    }

    async fn erase(&self, connection: &ConnectionName, person: &Person, really: bool) -> Result<Erased, StoreError> {
        self.erase_person(connection, person, really).await
    }

    async fn scrub(&self) -> Result<(), StoreError> {
        Ok(self.database.rewrite().await?)
    }

    async fn expire(&self, connection: &ConnectionName) -> Result<(), StoreError> {
        self.forget_old(connection).await
    }

    async fn system(&self, system: &SystemName) -> Result<SystemState, StoreError> {
        self.system_state(system).await
    }

    async fn pause_system(&self, system: &SystemName, pause: Duration, reason: &str) -> Result<(), StoreError> {
        self.pause_calls(system, pause, reason).await
    }

    async fn save_circuit(&self, system: &SystemName, circuit: &Circuit) -> Result<bool, StoreError> {
        self.replace_circuit(system, circuit).await
    }

    async fn take_call(
        &self,
        system: &SystemName,
        bucket: &str,
        windows: &[Window],
        urgent: bool,
    ) -> Result<Option<Duration>, StoreError> {
        self.take(system, bucket, windows, urgent).await
    }

    async fn note_clock(&self, system: &SystemName, clock: Timestamp) -> Result<(), StoreError> {
        self.set_clock(system, clock).await
    }

    async fn note_usage(&self, system: &SystemName, used: u64, allowed: u64) -> Result<(), StoreError> {
        self.set_usage(system, used, allowed).await
    }

    async fn beat(&self, role: &str, name: &str) -> Result<(), StoreError> {
        self.note_instance(role, name).await?;
        self.sweep_if_due().await
    }

    async fn leave(&self, role: &str, name: &str) -> Result<(), StoreError> {
        self.forget_instance(role, name).await
    }

    async fn instances(&self) -> Result<Vec<Instance>, StoreError> {
        self.heard_instances().await
    }

    async fn begin_suspect(&self, message: &str) -> Result<u32, StoreError> {
        self.count_suspect(message).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.read(|file, _| sql::one(file, "SELECT 1 FROM meta", (), |_| Ok(())).map(drop)).await
    }
}
