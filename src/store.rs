//! What the stages and the commands see of the store: links and their claims, cursors and leases of readers, runs and
//! their counts, open letters, and what is known of each system. [`redis`] is the store of the distributed mode,
//! [`embedded`] that of the embedded one.
//!
//! The store holds nothing that cannot be rebuilt, but for the log of acts, of which the broker has a copy. Its answers are
//! "this" or "unknown" ([`StoreError`]), never a guess: whoever gets an error waits and asks again, and acknowledges nothing
//! meanwhile.

use std::future::Future;
use std::ops::Range;
use std::time::Duration;

use crate::domain::audit::{End, Line};
use crate::domain::circuit::Circuit;
use crate::domain::guard::Risk;
use crate::domain::rate::Window;
use crate::domain::redrive::Redrive;
use crate::domain::schedule::Timetable;
use crate::domain::undo::Overwritten;
use crate::domain::watch::Watch;
use crate::domain::{
    AccountId, ConnectionName, DeadLetter, Epoch, Fingerprint, LetterGroup, LetterId, LetterPlace, Link, LinkId, RunId,
    Side, SystemName, Timestamp, Token,
};

pub use answer::{AccountPage, ActsEnds, CLOCK_KEPT, ClaimPage, EpochState, LetterPage, LinkCounts};
pub use erasure::{Erased, Person};
pub use history::{Recorded, Told};
pub use known::{Instance, Pause, Spend, SystemState};
pub use matched::MatchNote;
pub use retention::{REDRIVES_KEPT, REDRIVES_OPEN_KEPT};
pub use run::{ActiveRead, LeaseName, ReaderState, Run, RunKind, SyncRequest};
pub use step::{
    Claim, Commit, Committed, Count, EntryId, Find, Found, GaveBack, JournalEntry, Kept, Loaded, Overwrite,
};

mod acts;
mod answer;
pub mod embedded;
mod erasure;
mod history;
mod known;
mod matched;
mod packed;
pub mod redis;
mod retention;
mod run;
mod step;

/// The store did not answer the question.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached, is loading, is full, is read-only, or did not answer in time. What was asked of it may
    /// or may not have happened.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// The store's memory of this connection is not the one that the caller knew: it was emptied, restored, or failed
    /// over. Ask [`Store::epoch`] and begin again.
    #[error("the store lost its memory of connection {0}")]
    EpochChanged(ConnectionName),
    /// It holds something that this version cannot read, or is set up in a way that would lose data.
    #[error("{0}")]
    Unusable(String),
}

/// The store.
pub trait Store: Clone + Send + Sync + 'static {
    // --- memory ---

    /// The epoch of a connection; begins a new one where the memory is empty or may have lost something.
    fn epoch(&self, connection: &ConnectionName) -> impl Future<Output = Result<EpochState, StoreError>> + Send;

    /// Finds the links of several accounts in one round trip.
    fn find(
        &self,
        connection: &ConnectionName,
        questions: Vec<Find>,
    ) -> impl Future<Output = Result<Loaded<Found>, StoreError>> + Send;

    /// Loads links by id in one round trip; `None` for one that is not there.
    fn load(
        &self,
        connection: &ConnectionName,
        links: &[LinkId],
    ) -> impl Future<Output = Result<Loaded<Option<Link>>, StoreError>> + Send;

    /// Makes these steps, each atomic by itself, in one round trip. All of them were decided in `epoch`; in another
    /// one nothing is committed and [`StoreError::EpochChanged`] is the answer. On [`StoreError::Unavailable`] any of
    /// them may have happened.
    fn commit(
        &self,
        connection: &ConnectionName,
        epoch: Epoch,
        commits: &[Commit],
    ) -> impl Future<Output = Result<Vec<Committed>, StoreError>> + Send;

    /// One page of the accounts of a side that links hold. Accounts claimed or released meanwhile may or may not appear; one may appear twice.
    fn accounts(
        &self,
        connection: &ConnectionName,
        side: Side,
        from: Option<String>,
    ) -> impl Future<Output = Result<AccountPage, StoreError>> + Send;

    /// One page of all claims that links hold, keys as well as accounts; otherwise as [`Store::accounts`].
    fn claims(
        &self,
        connection: &ConnectionName,
        from: Option<String>,
    ) -> impl Future<Output = Result<ClaimPage, StoreError>> + Send;

    /// Counts over all links.
    fn counts(&self, connection: &ConnectionName) -> impl Future<Output = Result<LinkCounts, StoreError>> + Send;

    /// What is kept of values that lost, newest first, at most `limit`: of one link, or of all; from an entry on, itself
    /// included if it is there, or from the newest.
    fn journal(
        &self,
        connection: &ConnectionName,
        link: Option<LinkId>,
        from: Option<&EntryId>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Kept>, StoreError>> + Send;

    /// Keeps changes with what was decided of them, so that they can be decided again. Asked before what was decided is
    /// committed: a change may be recorded twice, and is not left out.
    fn record(
        &self,
        connection: &ConnectionName,
        recorded: &[Recorded],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Recorded changes, newest first, at most `limit`: those before an entry, or from the newest on.
    fn history(
        &self,
        connection: &ConnectionName,
        before: Option<&EntryId>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Told>, StoreError>> + Send;

    // --- readers ---

    /// What the writes of a run have overwritten, in the order in which they were begun: those from place `from` on (the
    /// first is 0), at most `limit`. Nothing of a run that is not known, or not any more.
    fn overwritten(
        &self,
        connection: &ConnectionName,
        run: &RunId,
        from: usize,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Overwritten>, StoreError>> + Send;

    /// Takes a lease for `ttl`, or renews it when `token` already holds it. `false`: somebody else holds it.
    fn lease(
        &self,
        connection: &ConnectionName,
        name: &LeaseName,
        token: Token,
        ttl: Duration,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Gives a lease up; nothing happens if `token` does not hold it.
    fn release(
        &self,
        connection: &ConnectionName,
        name: &LeaseName,
        token: Token,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Where the reader of a side stands; if nothing is known in this epoch, [`ReaderState::of_another_epoch`].
    fn reader(
        &self,
        connection: &ConnectionName,
        side: Side,
    ) -> impl Future<Output = Result<ReaderState, StoreError>> + Send;

    /// Replaces the reader's state. `false`, and nothing happens, if `token` does not hold the reader's lease. What
    /// was read in `epoch` says nothing of another one: there the answer is [`StoreError::EpochChanged`].
    fn set_reader(
        &self,
        connection: &ConnectionName,
        epoch: Epoch,
        side: Side,
        token: Token,
        state: &ReaderState,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Gives out `count` numbers of a run and returns the first. The run's `read` grows by as many. With a reader's
    /// lease and state given, both happen in one step, `active.reserved` being set to the range, or neither does
    /// (`None`). `None` as well if there is no such run (any more). The epoch is that of the read, as for
    /// [`Store::set_reader`].
    fn reserve(
        &self,
        connection: &ConnectionName,
        run: &RunId,
        count: u32,
        reader: Option<(Epoch, Side, Token, &ReaderState)>,
    ) -> impl Future<Output = Result<Option<u32>, StoreError>> + Send;

    /// Sees to it that a run has given out at least `count` numbers: asked twice, or by two at once, none is given out twice.
    /// `false` if there is no such run (any more).
    fn reserve_up_to(
        &self,
        connection: &ConnectionName,
        run: &RunId,
        count: u32,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Closes the books on numbers that may never have been published: each that has no outcome yet is counted
    /// `stale`, since what it read is read again.
    fn abandon(
        &self,
        connection: &ConnectionName,
        run: &RunId,
        range: (u32, u32),
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Accounts of a side that somebody asked to have read again, the longest waiting first, at most `limit`.
    fn rereads(
        &self,
        connection: &ConnectionName,
        side: Side,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<(AccountId, Timestamp)>, StoreError>> + Send;

    /// These were read again. An account asked for once more since (a later time than given) stays.
    fn reread_done(
        &self,
        connection: &ConnectionName,
        side: Side,
        accounts: &[(AccountId, Timestamp)],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    // --- runs ---

    /// Begins a run, and notes the slot that it serves as served, in one step. `false`, and nothing happens, if one of
    /// this id exists, or if its slot is not after the one served last (B24): then another process serves it, or has.
    fn begin_run(
        &self,
        connection: &ConnectionName,
        run: &Run,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Notes that a side of a run was read to its end, or (with a reason) that it cannot be.
    fn end_reading(
        &self,
        connection: &ConnectionName,
        run: &RunId,
        side: Side,
        failed: Option<&str>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Notes how many accounts the systems say there are (added up over the sides).
    fn expect(
        &self,
        connection: &ConnectionName,
        run: &RunId,
        accounts: u64,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// A run with its counts.
    fn run(
        &self,
        connection: &ConnectionName,
        run: &RunId,
    ) -> impl Future<Output = Result<Option<Run>, StoreError>> + Send;

    /// The latest runs, newest first.
    fn runs(
        &self,
        connection: &ConnectionName,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Run>, StoreError>> + Send;

    /// Asks a producer for a run.
    fn request(
        &self,
        connection: &ConnectionName,
        request: &SyncRequest,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// What is asked for, oldest first. A request stays until [`Store::request_done`].
    fn requests(
        &self,
        connection: &ConnectionName,
    ) -> impl Future<Output = Result<Vec<SyncRequest>, StoreError>> + Send;

    /// The run asked for has begun.
    fn request_done(
        &self,
        connection: &ConnectionName,
        run: &RunId,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    // --- schedules ---

    /// By which timetable the connection runs, and what was served of it; `None` before the first clerk looked.
    fn timetable(
        &self,
        connection: &ConnectionName,
    ) -> impl Future<Output = Result<Option<Timetable>, StoreError>> + Send;

    /// Puts a timetable in the place of `before`. `false`, and nothing happens, if another one is there by now.
    fn set_timetable(
        &self,
        connection: &ConnectionName,
        before: Option<&Timetable>,
        timetable: &Timetable,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// What is remembered of how the connection runs.
    fn watch(&self, connection: &ConnectionName) -> impl Future<Output = Result<Watch, StoreError>> + Send;

    /// Replaces it. `false`, and nothing happens, if `token` does not hold [`LeaseName::Watch`].
    fn set_watch(
        &self,
        connection: &ConnectionName,
        token: Token,
        watch: &Watch,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    // --- first match ---

    /// What is noted of the last match of the two systems' accounts; `None` before the first. One of another epoch says
    /// nothing of this one.
    fn match_note(
        &self,
        connection: &ConnectionName,
    ) -> impl Future<Output = Result<Option<MatchNote>, StoreError>> + Send;

    /// Replaces it.
    fn note_match(
        &self,
        connection: &ConnectionName,
        note: &MatchNote,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    // --- letters ---

    /// Opens or closes letters that belong to no link, outside any connection's books.
    fn file_letters(
        &self,
        open: &[DeadLetter],
        close: &[LetterId],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// An open letter.
    fn letter(
        &self,
        connection: Option<&ConnectionName>,
        id: &LetterId,
    ) -> impl Future<Output = Result<Option<DeadLetter>, StoreError>> + Send;

    /// The open letters of a connection (`None`: those of no connection), oldest first.
    fn letters(
        &self,
        connection: Option<&ConnectionName>,
    ) -> impl Future<Output = Result<Vec<DeadLetter>, StoreError>> + Send;

    /// How many letters are open of each fingerprint that were opened within `when`, in the order of the fingerprints.
    /// Those about messages (`None`) lie by themselves, whatever their connection.
    fn letter_groups(
        &self,
        connection: Option<&ConnectionName>,
        when: &Range<Timestamp>,
    ) -> impl Future<Output = Result<Vec<LetterGroup>, StoreError>> + Send;

    /// A page of the open letters of one fingerprint that were opened within `when`, oldest first: those behind `after`, at
    /// most `limit`; and behind which place the next page begins (`None`: that was the last). Letters as for
    /// [`Store::letter_groups`].
    fn letter_page(
        &self,
        connection: Option<&ConnectionName>,
        fingerprint: &Fingerprint,
        when: &Range<Timestamp>,
        after: Option<&LetterPlace>,
        limit: usize,
    ) -> impl Future<Output = Result<LetterPage, StoreError>> + Send;

    /// Puts a retry of many letters in the place of the one of the same id and of the revision before; `false`, and nothing
    /// happens, if another one is there by now. A new one has revision 1. Of more than [`REDRIVES_KEPT`] one that is done is
    /// forgotten, and where none is and there are more than [`REDRIVES_OPEN_KEPT`], another one: that saved longest ago.
    fn save_redrive(&self, redrive: &Redrive) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// The retries of many letters, the one that was begun last first.
    fn redrives(&self) -> impl Future<Output = Result<Vec<Redrive>, StoreError>> + Send;

    // --- guards ---

    /// Gives writes their places in their budget, one after the other, counted over all workers: whether each has one. The
    /// population of a budget are the accounts of that side that links hold.
    fn spend(
        &self,
        connection: &ConnectionName,
        spend: &Spend,
    ) -> impl Future<Output = Result<Vec<bool>, StoreError>> + Send;

    /// The writes of one kind to one side that have a place in their budget, each with the time when it got it, in the
    /// store's clock. Some may be of a window that has passed.
    fn spent(
        &self,
        connection: &ConnectionName,
        side: Side,
        risk: Risk,
    ) -> impl Future<Output = Result<Vec<(String, Timestamp)>, StoreError>> + Send;

    /// The links of which something waits for a person's approval and has not expired, the longest waiting first.
    fn held(
        &self,
        connection: &ConnectionName,
    ) -> impl Future<Output = Result<Vec<(LinkId, Timestamp)>, StoreError>> + Send;

    /// How many links have a write that waits until nobody works with the account, and since when the first of them does.
    fn deferred(
        &self,
        connection: &ConnectionName,
    ) -> impl Future<Output = Result<(u64, Option<Timestamp>), StoreError>> + Send;

    /// Pauses a connection (`None`: all of them). A pause that is there already stays as it is.
    fn pause(
        &self,
        connection: Option<&ConnectionName>,
        by: &str,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Ends a pause; whether there was one. A connection paused by itself stays so when the pause of all ends.
    fn resume(&self, connection: Option<&ConnectionName>) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// All pauses, that of all connections first.
    fn pauses(&self) -> impl Future<Output = Result<Vec<Pause>, StoreError>> + Send;

    // --- acts of people ---

    /// Where the log of acts begins and ends.
    fn acts_ends(&self) -> impl Future<Output = Result<ActsEnds, StoreError>> + Send;

    /// Appends the line of the entry at `place`, in one step with noting it as the last one. `false`, and nothing happens, if
    /// `after` is not the last one any more (`None`: there is none yet).
    fn append_act(
        &self,
        after: Option<&End>,
        line: &Line,
        place: &End,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Lines of the log of acts, in order, at most `limit`: those behind entry `after`.
    fn acts(&self, after: u64, limit: usize) -> impl Future<Output = Result<Vec<Line>, StoreError>> + Send;

    /// Forgets the lines up to the entry at `anchor`, and keeps the anchor in their place. `false`, and nothing happens, if
    /// there is an anchor at that entry or behind it, or if the log is of another chain or ends before it.
    fn cut_acts(&self, anchor: &End) -> impl Future<Output = Result<bool, StoreError>> + Send;

    // --- retention ---

    /// Erases values of a person: of the journal they go out of the entries, of the history the entries go. How many that are,
    /// or without `really` would be; doing it again finds none.
    fn erase(
        &self,
        connection: &ConnectionName,
        person: &Person,
        really: bool,
    ) -> impl Future<Output = Result<Erased, StoreError>> + Send;

    /// Makes sure that what was erased or replaced is in no free part of what the store keeps, as far as it can. That may
    /// take long, and others wait meanwhile.
    fn scrub(&self) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Forgets what was kept long enough, of a connection and of what belongs to none, as far as it does not go by itself. A
    /// worker asks for it now and then.
    fn expire(&self, connection: &ConnectionName) -> impl Future<Output = Result<(), StoreError>> + Send;

    // --- systems and processes ---

    /// What is known of a system.
    fn system(&self, system: &SystemName) -> impl Future<Output = Result<SystemState, StoreError>> + Send;

    /// Asks all workers not to call a system for `pause`. A pause that ends later than this one stays.
    fn pause_system(
        &self,
        system: &SystemName,
        pause: Duration,
        reason: &str,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Puts what was decided of a system's calls in the place of the circuit of the revision before; `false`, and nothing
    /// happens, if another one is there by now.
    fn save_circuit(
        &self,
        system: &SystemName,
        circuit: &Circuit,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Takes one call of a system, of all that its processes together may make of a kind (`bucket`). `None` if it was
    /// taken; otherwise nothing was, and this is how long to wait at least.
    fn take_call(
        &self,
        system: &SystemName,
        bucket: &str,
        windows: &[Window],
        urgent: bool,
    ) -> impl Future<Output = Result<Option<Duration>, StoreError>> + Send;

    /// Notes what a system said of its own quota.
    fn note_usage(
        &self,
        system: &SystemName,
        used: u64,
        allowed: u64,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Notes what time it is for a system, from its `Date` headers: a lower bound. Of what several processes say within
    /// [`CLOCK_KEPT`] of each other the latest time counts.
    fn note_clock(&self, system: &SystemName, clock: Timestamp) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// This process works. Forgotten 15 seconds after the last call.
    fn beat(&self, role: &str, name: &str) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// This process has stopped working.
    fn leave(&self, role: &str, name: &str) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// The processes heard of in the last 15 seconds.
    fn instances(&self) -> impl Future<Output = Result<Vec<Instance>, StoreError>> + Send;

    /// Notes that work begins on a message that came back often, and tells how often it began, this time included.
    /// Forgotten a day after the last time.
    fn begin_suspect(&self, message: &str) -> impl Future<Output = Result<u32, StoreError>> + Send;

    /// Whether the store answers, for `/readyz`.
    fn ping(&self) -> impl Future<Output = Result<(), StoreError>> + Send;
}
