//! The store in Redis 6.2 or later, or Valkey.
//!
//! - `keys`: every key, its type and expiry. Begin here.
//! - `pool`: connections, which know the server process they lead to; what errors mean.
//! - `script`: every change is one Lua script, the `.lua` files beside, and so happens whole or not at all.
//! - `epoch`: finds out that the server forgot something.
//! - `links`, `readers`, `runs`, `letters`, `guards`, `acts`, `systems`: a file per concern of the trait.
//! - `verify`: whether the server is set up as it must be.

mod acts;
mod epoch;
mod erasure;
mod expiry;
mod guards;
mod history;
mod journal;
mod keys;
mod letters;
mod links;
mod matched;
mod pool;
mod readers;
mod runs;
mod schedules;
mod script;
mod systems;
mod verify;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use self::epoch::Memory;
use self::keys::Keys;
use self::pool::{Pool, failed};
use super::{
    AccountPage, ActsEnds, ClaimPage, Commit, Committed, EntryId, EpochState, Erased, Find, Found, Instance, Kept,
    LeaseName, LetterPage, LinkCounts, Loaded, MatchNote, Pause, Person, ReaderState, Recorded, Run, Spend, Store,
    StoreError, SyncRequest, SystemState, Told,
};
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

pub use self::pool::RedisSettings;

/// The store in Redis. Clones share the connections, and what the process remembers of each epoch: a process opens one.
#[derive(Clone)]
pub struct RedisStore {
    pool: Pool,
    prefix: Arc<str>,
    memory: Arc<Memory>,
    retention: Retention,
}

impl RedisStore {
    /// Prepares the store; connects to nothing yet.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unusable`] for settings that cannot be meant: a malformed URL, one with a password in it, a prefix
    /// that would break the hash tags of keys, unreadable certificates.
    pub fn open(settings: &RedisSettings) -> Result<Self, StoreError> {
        let prefix = settings.prefix.as_str();
        if prefix.is_empty() || prefix.contains(|c: char| "{}".contains(c) || c.is_whitespace() || c.is_control()) {
            return Err(StoreError::Unusable(
                "the store's prefix must be text without braces and white space".to_owned(),
            ));
        }
        let retention = Retention::default();
        Ok(Self { pool: Pool::new(settings)?, prefix: prefix.into(), memory: Arc::default(), retention })
    }

    /// The store, keeping what it may forget for so long.
    #[must_use]
    pub fn keeping(self, retention: Retention) -> Self {
        Self { retention, ..self }
    }

    fn keys(&self, connection: &ConnectionName) -> Keys {
        Keys::new(&self.prefix, connection)
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").field("pool", &self.pool).field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("domain types have string keys, so they are JSON")
}

impl Store for RedisStore {
    async fn epoch(&self, connection: &ConnectionName) -> Result<EpochState, StoreError> {
        self.current_epoch(connection).await
    }

    async fn find(&self, connection: &ConnectionName, questions: Vec<Find>) -> Result<Loaded<Found>, StoreError> {
        self.find_links(connection, &questions).await
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
        self.account_page(connection, side, from.as_deref()).await
    }

    async fn claims(&self, connection: &ConnectionName, from: Option<String>) -> Result<ClaimPage, StoreError> {
        self.claim_page(connection, from.as_deref()).await
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
        // An entry that was replaced is in no key any more.
        Ok(())
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
        self.note_instance(role, name).await
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
        let mut server = self.pool.lend().await?;
        redis::cmd("PING").exec_async(&mut *server).await.map_err(failed)
    }
}
