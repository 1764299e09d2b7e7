//! A wave: commands for one side of one connection that are worked on at the same time. Each attempt is one account's
//! story; what several of them ask of the store, the broker or the target at the same moment is put together into one
//! call, and each gets the answer that it would have got alone.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use futures_util::future::{BoxFuture, try_join_all};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::task::unconstrained;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::attempt::NEXT_LOOK;
use super::guard::Place;
use super::lane::{Batch, Lane};
use super::pauses::{self, Pauses};
use super::turns::{Gate, Turn};
use crate::broker::Broker;
use crate::clock;
use crate::domain::account::READ_UNCERTAINTY;
use crate::domain::circuit::{Admission, Fared};
use crate::domain::{
    AccountId, Code, DeadLetter, Epoch, Failure, FailureClass, LetterId, Link, LinkId, Rules, Side, Snapshot,
    SystemName, Timestamp,
};
use crate::stages::circuit::{Era, Line};
use crate::stages::{Connection, Halt, Pipeline};
use crate::store::{Commit, Committed, Pause, Spend, Store};
use crate::systems::{Lookup, SearchKey, SharedSystem, Write, Written};

/// Writes whose deadlines are further apart share no call: the one that began first would cut the other's time short.
const SAME_DEADLINE: Duration = Duration::from_secs(1);

/// What the attempts of one wave have in common.
pub(super) struct Wave<'w, B, S> {
    pub(super) pipeline: &'w Pipeline<B, S>,
    pub(super) stop: &'w CancellationToken,
    pub(super) connection: &'w Arc<Connection>,
    pub(super) side: Side,
    pub(super) rules: Arc<Rules>,
    pub(super) epoch: Epoch,
    /// The store's clock when the links were loaded.
    pub(super) now: Timestamp,
    /// When the links were asked for, by this process's own clock.
    pub(super) loaded_at: Instant,
    pub(super) gate: &'w Gate,
    /// How the target's calls fare.
    pub(super) line: Arc<Line>,
    pub(super) pauses: &'w Pauses,
    pub(super) asked: Asked,
}

/// A turn at the target, or how long the target wants to be left alone.
type Granted = Result<Result<Turn, Duration>, Halt>;

/// What the attempts ask and nobody has put yet.
#[derive(Default)]
pub(super) struct Asked {
    turns: Lane<(), Granted>,
    commits: Lane<Commit, Result<Committed, Halt>>,
    /// A batch of commits is under way. What comes meanwhile goes with the next one.
    committing: AtomicBool,
    reloads: Lane<LinkId, Result<Option<Link>, Halt>>,
    settles: Lane<Instant, Result<(), Halt>>,
    gets: Lane<AccountId, Result<Lookup, Failure>>,
    searches: Lane<(SearchKey, Instant), Result<Vec<Snapshot>, Failure>>,
    paused: Lane<(), Result<Option<Duration>, Halt>>,
    places: Lane<Place, Result<bool, Halt>>,
    writes: Lane<(Write, Instant), Option<Written>>,
    opened: Lane<DeadLetter, Result<DeadLetter, Halt>>,
    healed: Lane<LetterId, Result<(), Halt>>,
}

/// What the attempts ask. A question is no part of the future that waits for its answer: there are hundreds of those.
impl<B: Broker, S: Store> Wave<'_, B, S> {
    pub(super) fn system(&self) -> &SharedSystem {
        &self.connection.ends[self.side]
    }

    /// The store's clock, and not earlier than the truth.
    pub(super) fn store_clock(&self) -> Timestamp {
        self.now + (clock::now() - self.loaded_at)
    }

    /// Waits for a turn at the target. The accounts of one call share a turn; it ends when all have dropped it.
    pub(super) fn turn(&self) -> impl Future<Output = Granted> + Send {
        self.asked.turns.ask(())
    }

    pub(super) fn commit(&self, commit: Commit) -> impl Future<Output = Result<Committed, Halt>> + Send {
        self.asked.commits.ask(commit)
    }

    /// Loads a link again that others have committed.
    pub(super) fn reload(&self, link: LinkId) -> impl Future<Output = Result<Option<Link>, Halt>> + Send {
        self.asked.reloads.ask(link)
    }

    /// Waits until what was seen at `known_at` can be told from what is seen now: an answer within the grain of the stamp
    /// would be as unsettled as the last one.
    pub(super) fn settle(&self, known_at: Instant) -> impl Future<Output = Result<(), Halt>> + Send {
        self.asked.settles.ask(known_at)
    }

    pub(super) fn get(&self, account: AccountId) -> impl Future<Output = Result<Lookup, Failure>> + Send {
        self.asked.gets.ask(account)
    }

    /// Searches until `deadline` at most.
    pub(super) async fn search(&self, key: SearchKey, deadline: Instant) -> Result<Vec<Snapshot>, Failure> {
        let timeout = |_| Failure::new(FailureClass::Transient, Code::known("timeout"), "the search took too long");
        clock::timeout_at(deadline, self.asked.searches.ask((key, deadline))).await.map_err(timeout)?
    }

    /// How long to wait until the pause of this connection is looked at again; `None`: there is none.
    pub(super) fn paused(&self) -> impl Future<Output = Result<Option<Duration>, Halt>> + Send {
        self.asked.paused.ask(())
    }

    /// Whether there is a place for a write in its budget.
    pub(super) fn spend(&self, place: Place) -> impl Future<Output = Result<bool, Halt>> + Send {
        self.asked.places.ask(place)
    }

    /// `None`: nothing was sent, since the connection was paused meanwhile.
    pub(super) fn write(&self, write: Write, deadline: Instant) -> impl Future<Output = Option<Written>> + Send {
        self.asked.writes.ask((write, deadline))
    }

    /// Logs that a letter was opened; what fails again joins the one that is open (B7).
    pub(super) fn open_letter(&self, letter: DeadLetter) -> impl Future<Output = Result<DeadLetter, Halt>> + Send {
        self.asked.opened.ask(letter)
    }

    /// Logs that a letter has healed.
    pub(super) fn heal_letter(&self, letter: LetterId) -> impl Future<Output = Result<(), Halt>> + Send {
        self.asked.healed.ask(letter)
    }
}

/// What becomes of it.
impl<B: Broker, S: Store> Wave<'_, B, S> {
    /// Lets the attempts go on as far as they can, then puts together what they ask, and so on to their end. Nobody waits
    /// for anything but the own answer: an account whose call is slow holds none of the others up. So updates do not wait
    /// for the searches that creations begin with either, and a wave of both writes in two calls.
    pub(super) async fn serve<T>(&self, attempts: impl Future<Output = T>) -> T {
        // Constrained, tokio would interrupt them after some dozens, and what the others ask would miss its call.
        let mut attempts = pin!(unconstrained(attempts));
        let mut calls = FuturesUnordered::new();
        poll_fn(|context| {
            loop {
                if let Poll::Ready(done) = attempts.as_mut().poll(context) {
                    return Poll::Ready(done);
                }
                // All answers that are there are handed out before anything more is asked.
                if let Poll::Ready(Some(())) = calls.poll_next_unpin(context) {
                    continue;
                }
                let asked = self.calls();
                if asked.is_empty() {
                    return Poll::Pending;
                }
                calls.extend(asked);
            }
        })
        .await
    }

    /// The calls that put what is asked now.
    fn calls(&self) -> Vec<BoxFuture<'_, ()>> {
        let asked = &self.asked;
        let size = self.system().schema().batch.max(1);
        let mut calls: Vec<BoxFuture<'_, ()>> = Vec::new();
        calls.extend(asked.paused.take_all().map(|batch| self.look_for_pause(batch).boxed()));
        let of_one_kind = |a: &Place, b: &Place| a.risk == b.risk;
        calls.extend(asked.places.take(usize::MAX, of_one_kind).into_iter().map(|batch| self.spend_all(batch).boxed()));
        calls.extend(asked.turns.take(size, |_, _| true).into_iter().map(|batch| self.take_turn(batch).boxed()));
        calls.extend(asked.settles.take(usize::MAX, |a, b| a == b).into_iter().map(|b| self.wait_settled(b).boxed()));
        calls.extend(asked.gets.take(size, |_, _| true).into_iter().map(|batch| self.get_all(batch).boxed()));
        // Every key of as many accounts as a write has.
        let keys = size.saturating_mul(1 + self.rules.match_on.len());
        calls.extend(asked.searches.take(keys, |_, _| true).into_iter().map(|batch| self.search_all(batch).boxed()));
        let together =
            |(_, a): &(Write, Instant), (_, b): &(Write, Instant)| a.max(b).duration_since(*a.min(b)) < SAME_DEADLINE;
        calls.extend(asked.writes.take(size, together).into_iter().map(|batch| self.write_all(batch).boxed()));
        calls.extend(asked.reloads.take_all().map(|batch| self.reload_all(batch).boxed()));
        calls.extend(asked.opened.take_all().map(|batch| self.open_all(batch).boxed()));
        calls.extend(asked.healed.take_all().map(|batch| self.heal_all(batch).boxed()));
        if !asked.committing.load(Ordering::Relaxed)
            && let Some(batch) = asked.commits.take_all()
        {
            asked.committing.store(true, Ordering::Relaxed);
            calls.push(self.commit_all(batch).boxed());
        }
        calls
    }

    async fn take_turn(&self, batch: Batch<(), Granted>) {
        let granted = async {
            let turn = tokio::select! {
                biased;
                () = self.stop.cancelled() => return Err(Halt::Stopped),
                turn = self.gate.turn() => turn,
            };
            Ok(match self.pause().await? {
                Some(left) => Err(left),
                None => Ok(turn),
            })
        };
        let granted = granted.await;
        let Ok(Ok(turn)) = granted else { return batch.answer_all(granted) };
        match self.line.admission() {
            Admission::Go => batch.answer_all(Ok(Ok(turn))),
            Admission::Wait(left) => batch.answer_all(Ok(Err(left))),
            Admission::Probe if self.line.probes_neutrally() => {
                self.pipeline.probe(self.target()).await;
                batch.answer_all(Ok(Err(NEXT_LOOK)));
            }
            Admission::Probe => {
                // One account is enough to see whether the target is well again.
                let probe = self.pipeline.take_probe(self.target()).await.then_some(turn).ok_or(NEXT_LOOK);
                let others = std::iter::repeat_with(|| Ok(Err(NEXT_LOOK)));
                batch.answer(std::iter::once(Ok(probe)).chain(others));
            }
        }
    }

    fn target(&self) -> &SystemName {
        &self.connection.systems[self.side]
    }

    /// Notes how a call of the target fared.
    async fn fared(&self, era: Era, fared: impl Into<Fared>) {
        self.pipeline.fared(self.target(), era, fared).await;
    }

    /// How long the target wants to be left alone.
    async fn pause(&self) -> Result<Option<Duration>, Halt> {
        if let Some(known) = self.gate.pause(clock::now()) {
            return Ok(known);
        }
        let _asking = self.gate.asking.lock().await;
        let asked_at = clock::now();
        if let Some(known) = self.gate.pause(asked_at) {
            return Ok(known);
        }
        let state = self.pipeline.state_of(self.stop, self.target()).await?;
        let now = self.store_clock();
        let pause = state.not_before.filter(|until| *until > now).map(|until| until.since(now));
        self.gate.store_said(asked_at, clock::now(), pause);
        Ok(pause)
    }

    /// The pause of this connection, if a person said that nobody writes.
    async fn known_pause(&self) -> Result<Option<Pause>, Halt> {
        let name = &self.connection.name;
        if let Some(known) = self.pauses.of(name, clock::now()) {
            return Ok(known);
        }
        let _asking = self.pauses.asking.lock().await;
        let asked_at = clock::now();
        if let Some(known) = self.pauses.of(name, asked_at) {
            return Ok(known);
        }
        let pauses = self.pipeline.ask(self.stop, || self.pipeline.store.pauses()).await?;
        let pause = pauses.iter().find(|pause| pause.is_of(name)).cloned();
        self.pauses.store_said(asked_at, pauses);
        Ok(pause)
    }

    async fn look_for_pause(&self, batch: Batch<(), Result<Option<Duration>, Halt>>) {
        let pause = self.known_pause().await;
        batch.answer_all(pause.map(|pause| pause.map(|pause| pauses::wait(&pause, self.store_clock()))));
    }

    async fn spend_all(&self, mut batch: Batch<Place, Result<bool, Halt>>) {
        let places = std::mem::take(&mut batch.questions);
        let risk = places[0].risk;
        let Some(budget) = self.rules.budgets.of(risk) else { return batch.answer_all(Ok(true)) };
        let acts = places.into_iter().map(|place| place.act).collect();
        let spend = Spend { side: self.side, risk, budget, acts };
        let (store, name) = (&self.pipeline.store, &self.connection.name);
        batch.answer_each(self.pipeline.ask(self.stop, || store.spend(name, &spend)).await);
    }

    async fn commit_all(&self, mut batch: Batch<Commit, Result<Committed, Halt>>) {
        let (store, name) = (&self.pipeline.store, &self.connection.name);
        let commits = std::mem::take(&mut batch.questions);
        let committed = self.pipeline.ask(self.stop, || store.commit(name, self.epoch, &commits)).await;
        self.asked.committing.store(false, Ordering::Relaxed);
        batch.answer_each(committed);
    }

    async fn reload_all(&self, batch: Batch<LinkId, Result<Option<Link>, Halt>>) {
        let (store, name) = (&self.pipeline.store, &self.connection.name);
        let loaded = self.pipeline.ask(self.stop, || store.load(name, &batch.questions)).await;
        batch.answer_each(match loaded {
            Ok(loaded) if loaded.epoch == self.epoch => Ok(loaded.items),
            Ok(_) => Err(Halt::NewEpoch),
            Err(halt) => Err(halt),
        });
    }

    async fn wait_settled(&self, batch: Batch<Instant, Result<(), Halt>>) {
        let settled_at = batch.questions[0] + self.system().schema().grain + READ_UNCERTAINTY;
        let waited = tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Halt::Stopped),
            () = clock::sleep_until(settled_at) => Ok(()),
        };
        batch.answer_all(waited);
    }

    async fn get_all(&self, batch: Batch<AccountId, Result<Lookup, Failure>>) {
        let era = self.line.era();
        let found = self.system().get(&batch.questions).await;
        self.fared(era, &found).await;
        let found = found.and_then(|found| complete(found, batch.questions.len()));
        batch.answer_each(found);
    }

    async fn search_all(&self, mut batch: Batch<(SearchKey, Instant), Result<Vec<Snapshot>, Failure>>) {
        let keys: Vec<_> = std::mem::take(&mut batch.questions).into_iter().map(|(key, _)| key).collect();
        let era = self.line.era();
        let found = self.system().search(&keys).await;
        // What cannot be read answers a search without a call.
        if self.system().schema().readable {
            self.fared(era, &found).await;
        }
        // Who waits for it no longer than its own deadline. An answer that is not there is none, and never "no account".
        batch.answer_each(found.and_then(|found| complete(found, keys.len())));
    }

    async fn write_all(&self, mut batch: Batch<(Write, Instant), Option<Written>>) {
        let (writes, deadlines): (Vec<_>, Vec<_>) = std::mem::take(&mut batch.questions).into_iter().unzip();
        let deadline = deadlines.into_iter().min().expect("a batch has a question");
        // Looked at once more: between the plan and the call a commit was waited for. Nothing is sent where the store does
        // not say in time that it may be.
        if !matches!(clock::timeout_at(deadline, self.known_pause()).await, Ok(Ok(None))) {
            return batch.answer_all(None);
        }
        let era = self.line.era();
        let mut written = self.system().write(&writes, deadline).await;
        self.pipeline.judge_refusals(self.target(), &mut written).await;
        self.fared(era, together(&written)).await;
        match complete(written, writes.len()) {
            Ok(written) => batch.answer(written.into_iter().map(Some)),
            Err(failure) => batch.answer_all(Some(Written::Failed(failure.in_doubt()))),
        }
    }

    async fn open_all(&self, mut batch: Batch<DeadLetter, Result<DeadLetter, Halt>>) {
        let letters = std::mem::take(&mut batch.questions);
        let opened = async {
            let joined = try_join_all(letters.into_iter().map(|letter| self.pipeline.join(self.stop, letter))).await?;
            self.pipeline.log_opened(&joined).await?;
            Ok(joined)
        };
        let opened = opened.await;
        batch.answer_each(opened);
    }

    async fn heal_all(&self, batch: Batch<LetterId, Result<(), Halt>>) {
        let logged = self.pipeline.log_healed(&batch.questions, "writer").await;
        batch.answer_all(logged);
    }
}

/// How a call fared that wrote several accounts: if one of them was answered well, so was the call.
fn together(written: &[Written]) -> Fared {
    let fared = |written: &Written| match written {
        Written::Failed(failure) => Fared::from(failure),
        _ => Fared::Well,
    };
    let mut worst = Fared::Nothing;
    for fared in written.iter().map(fared) {
        match fared {
            Fared::Well => return Fared::Well,
            Fared::Ill(_) => worst = fared,
            Fared::Nothing => {}
        }
    }
    worst
}

/// One answer for each question, or none at all: whose answer is missing could not be told.
fn complete<A>(answers: Vec<A>, questions: usize) -> Result<Vec<A>, Failure> {
    if answers.len() == questions {
        return Ok(answers);
    }
    Err(Failure::new(FailureClass::Transient, Code::known("no_answer"), "the connector left questions unanswered"))
}
