//! One attempt at one command, as one account's story: plan, note the intent, search or write, and commit the answer.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, error};

use super::guard::Guarded;
use super::turns::Turn;
use super::wave::Wave;
use super::{Fate, Origin, count};
use crate::broker::Broker;
use crate::clock;
use crate::domain::course::{Course, course};
use crate::domain::link::{LastWrite, WriteAnswer};
use crate::domain::pending::{Need, Pending, pending};
use crate::domain::rules::Departure;
use crate::domain::undo::{answered, overwritten};
use crate::domain::write::{self, Deadlines, Finish};
use crate::domain::{
    AccountId, Attributes, Code, Command, CommandOutcome, Failure, FailureClass, LetterId, Link, Sighting, Snapshot,
    Token,
};
use crate::failpoint::hit;
use crate::stages::Halt;
use crate::stages::letters::wall_clock;
use crate::stages::retry::Verdict;
use crate::stages::validate::validate;
use crate::store::{Claim, Commit, Committed, Overwrite, Store};
use crate::systems::{Action, Lookup, SearchKey, Write, Written};

/// The wait of a command that finds its side leased, once that lease is over.
pub(super) const LEASE_MARGIN: Duration = Duration::from_millis(200);

/// The longest wait of a command that finds its side leased before it looks again. A holder that lives is done within
/// moments, and the whole lease would keep a run open on the ladder's next long rung for nothing.
pub(super) const NEXT_LOOK: Duration = Duration::from_secs(1);

/// One attempt at one command.
pub(super) struct Attempt<'a, B, S> {
    /// What is asked of the store, the broker and the target goes through it.
    pub(super) wave: &'a Wave<'a, B, S>,
    pub(super) command: &'a Command,
    /// The message that it came with.
    pub(super) message: Origin<'a>,
}

/// A write that was begun: what every way out of it needs.
pub(super) struct Begun {
    pub(super) token: Token,
    pub(super) wanted: Pending,
    /// When it began, by this process's own clock.
    pub(super) began: Instant,
    /// When no further request may be sent, by this process's own clock.
    pub(super) deadline: Instant,
}

impl<B: Broker, S: Store> Attempt<'_, B, S> {
    /// What is rare is boxed: an attempt is moved and kept a few hundred times over, and would be the size of its longest
    /// way.
    pub(super) async fn run(&self, link: Option<Link>) -> Result<Fate, Halt> {
        let wave = self.wave;
        let Some(mut link) = link else {
            // The link was removed: the next read of its accounts decides.
            return self.over(CommandOutcome::Superseded).await;
        };
        if let Some(approval) = self.command.approval.as_ref().filter(|_| link.epoch == wave.epoch) {
            link = Box::pin(self.approve(link, approval)).await?;
        }
        // When what the link shows was known, by this process's own clock.
        let mut known_at = wave.loaded_at;
        let mut turn: Option<Turn> = None;
        loop {
            match course(&link, wave.side, &wave.rules, wave.epoch, wave.now, self.message.redelivered) {
                Course::Over(outcome) => return self.over(outcome).await,
                Course::Heal => return Box::pin(self.heal(link)).await,
                Course::EndWait => return Box::pin(self.end_wait(link)).await,
                Course::Leased { until } => {
                    return Ok(self.later((until.since(wave.now) + LEASE_MARGIN).min(NEXT_LOOK)));
                }
                Course::Wait { until } => return Ok(self.later(until.since(wave.now) + LEASE_MARGIN)),
                Course::Look { account, settled } => {
                    drop(turn);
                    if settled {
                        wave.settle(known_at).await?;
                    }
                    return Box::pin(self.look(link, account)).await;
                }
                Course::Write(wanted) => {
                    let checked = write::outbound(&wave.rules, wave.side, &wanted)
                        .and_then(|values| validate(&wanted, &values, wave.system().schema()).map(|()| values));
                    let values = match checked {
                        Ok(values) => values,
                        Err(failure) => return Box::pin(self.refuse(link, &wanted, &failure)).await,
                    };
                    if let Some(after) = wave.paused().await? {
                        return Ok(self.later(after));
                    }
                    // Whoever is to be created may be there under another id: all accounts are compared first.
                    if matches!(wanted.need, Need::Create { .. })
                        && !wave.pipeline.is_matched(wave.stop, wave.connection, wave.epoch).await?
                    {
                        return Ok(self.later(NEXT_LOOK));
                    }
                    if turn.is_none() {
                        match wave.turn().await? {
                            Ok(granted) => turn = Some(granted),
                            Err(after) => return Ok(self.later(after)),
                        }
                    }
                    match Box::pin(self.guard(&link, &wanted)).await? {
                        Guarded::Pass => {}
                        Guarded::Stopped(held) => {
                            link = held;
                            continue;
                        }
                        Guarded::Moved(moved) => {
                            (link, known_at) = (moved, clock::now());
                            continue;
                        }
                    }
                    if let Need::Part { how, .. } = &wanted.need {
                        let how = *how;
                        if how == Departure::Detach {
                            return Box::pin(self.detach(link)).await;
                        }
                        if let Some(fate) = Box::pin(self.prove_left(&link)).await? {
                            return Ok(fate);
                        }
                    }
                    if let Some(fate) = Box::pin(self.learn_clock(&wanted)).await? {
                        return Ok(fate);
                    }
                    match self.begin(link, wanted).await? {
                        Ok((begun, link)) => return self.carry_out(begun, link, values, turn).await,
                        Err(moved) => (link, known_at) = (moved, clock::now()),
                    }
                }
            }
        }
    }

    /// Comes back later; nothing failed.
    pub(super) fn later(&self, after: Duration) -> Fate {
        Fate::Later { after, attempt: self.message.attempt }
    }

    pub(super) async fn over(&self, outcome: CommandOutcome) -> Result<Fate, Halt> {
        let count = Some(count(self.command, outcome));
        self.commit(Commit { count, ..Commit::default() }).await?;
        self.wave.pipeline.metrics.command(&self.wave.connection.name, outcome);
        Ok(Fate::Over)
    }

    /// Reads an account that is known and must be read before it is written: what is seen is a change. One that cannot
    /// be read for good, or too often in a row, is a change as well: it opens a letter, and the next good read heals it.
    async fn look(&self, link: Link, account: AccountId) -> Result<Fate, Halt> {
        let wave = self.wave;
        let turn = match wave.turn().await? {
            Ok(turn) => turn,
            Err(after) => return Ok(self.later(after)),
        };
        let answer = wave.get(account.clone()).await;
        drop(turn);
        let seen = match answer {
            Ok(Lookup::Found(snapshot)) => Sighting::Present { snapshot },
            // Not a proof of absence: no complete read stands behind it (B12).
            Ok(Lookup::Absent(_)) => {
                if let Ok(Some(into)) = self.survivor(&account).await {
                    return Ok(Fate::Change(Box::new(Sighting::Merged { account, into })));
                }
                return match pending(&link, wave.side, &wave.rules) {
                    Some(wanted) => self.refuse(link, &wanted, &gone()).await,
                    None => self.over(CommandOutcome::Superseded).await,
                };
            }
            Ok(Lookup::Unreadable { code, attribute }) => {
                Sighting::Unreadable { account: Some(account), code, attribute }
            }
            Err(failure) => {
                self.note_failure(&failure).await?;
                match self.verdict(&failure).await {
                    Verdict::Retry { after, attempt } => return Ok(Fate::Later { after, attempt }),
                    Verdict::Dead => Sighting::Unreadable {
                        account: Some(account),
                        code: failure.code,
                        attribute: failure.attribute,
                    },
                }
            }
        };
        Ok(Fate::Change(Box::new(seen)))
    }

    /// Sees to it that the target's clock is known, from an answer: what is noted with a write counts in it. Where it is ahead
    /// of ours, a write would otherwise count as over while it is on its way, and its effect as an edit made there.
    async fn learn_clock(&self, wanted: &Pending) -> Result<Option<Fate>, Halt> {
        let (wave, system) = (self.wave, self.wave.system());
        if system.shown_clock().is_some() || !system.schema().readable {
            return Ok(None);
        }
        let deadline = clock::now() + wave.pipeline.settings.deadline;
        let answer = match &wanted.need {
            Need::Update { account } | Need::Part { account, .. } => wave.get(account.clone()).await.map(drop),
            Need::Create { partner } | Need::Find { partner } => {
                wave.search(SearchKey::Partner(partner.clone()), deadline).await.map(drop)
            }
        };
        let Err(failure) = answer else { return Ok(None) };
        self.note_failure(&failure).await?;
        Ok(match self.verdict(&failure).await {
            Verdict::Retry { after, attempt } => Some(Fate::Later { after, attempt }),
            // The write says what is wrong.
            Verdict::Dead => None,
        })
    }

    /// Takes the lease and notes the intent. An error holds the link as somebody else left it.
    async fn begin(&self, link: Link, wanted: Pending) -> Result<Result<(Begun, Link), Link>, Halt> {
        let (wave, settings) = (self.wave, &self.wave.pipeline.settings);
        let token = Token(fastrand::u64(..));
        // Own clock first: what the store and the target count from later moments ends later.
        let started = clock::now();
        let (lease, lag) = (settings.lease, wave.system().schema().search_lag);
        let deadlines = Deadlines::of(wave.store_clock(), wave.system().clock(), lease, lag);
        let noted = write::begin(&link, wave.side, token, &wanted, &wave.rules, deadlines);
        // Before the request leaves: whatever becomes of its answer, it can be undone.
        let overwrite = self.overwrite(&link, &wanted);
        let commit = Commit { link: Some(noted.clone()), overwrite, ..Commit::default() };
        match self.commit(commit).await? {
            Committed::Done { .. } => {
                hit("writer.noted_intent");
                let deadline = started + settings.lease.min(settings.deadline);
                let link = Link { revision: noted.revision + 1, ..noted };
                Ok(Ok((Begun { token, wanted, began: clock::now(), deadline }, link)))
            }
            Committed::Moved | Committed::Taken { .. } => self.reload().await.map(Err),
        }
    }

    /// What a write is about to overwrite, where that is kept.
    pub(super) fn overwrite(&self, link: &Link, wanted: &Pending) -> Option<Overwrite> {
        let wave = self.wave;
        let kept = wave.connection.undo?;
        let entry = overwritten(link, wave.side, wanted, wave.store_clock(), &wave.rules);
        Some(Overwrite { run: self.command.cause.run.clone(), kept, entry })
    }

    /// What only the answer to a write tells an undo, where that is kept.
    fn answered(&self, link: &Link, begun: &Begun, answer: &Snapshot) -> Option<Overwrite> {
        let wave = self.wave;
        let kept = wave.connection.undo?;
        let entry = answered(link, wave.side, &begun.wanted, answer, wave.store_clock(), &wave.rules)?;
        Some(Overwrite { run: self.command.cause.run.clone(), kept, entry })
    }

    /// Sends what was begun, and commits the answer.
    async fn carry_out(&self, begun: Begun, link: Link, values: Attributes, turn: Option<Turn>) -> Result<Fate, Halt> {
        let action = match &begun.wanted.need {
            Need::Create { partner } => {
                if let Some(fate) = Box::pin(self.search_first(&begun, &link, partner)).await? {
                    return Ok(fate);
                }
                Action::Create { partner: partner.clone() }
            }
            Need::Find { partner } => return Box::pin(self.find(&begun, link, partner)).await,
            Need::Update { account } => {
                let now = self.wave.system().clock();
                let Some(base) = write::base(&link, self.wave.side, &self.wave.rules, now) else {
                    drop(turn);
                    return Box::pin(self.look(link, account.clone())).await;
                };
                Action::Update { account: account.clone(), unless_changed_since: base }
            }
            Need::Part { account, how } => {
                let now = self.wave.system().clock();
                let Some(unless_changed_since) = write::base(&link, self.wave.side, &self.wave.rules, now) else {
                    drop(turn);
                    return Box::pin(self.look(link, account.clone())).await;
                };
                let account = account.clone();
                match how {
                    Departure::Delete => Action::Delete { account, unless_changed_since },
                    Departure::Remove => Action::Remove { account, unless_changed_since },
                    Departure::Detach => unreachable!("nothing is sent, so nothing was begun"),
                }
            }
        };
        let parts = matches!(begun.wanted.need, Need::Part { .. });
        let state = &link.sides[self.wave.side];
        let in_use = self.wave.rules.busy.in_use(state, &begun.wanted, self.wave.store_clock());
        let write = Write { action, values, urgent: begun.wanted.deactivates(), in_use };
        let written = self.wave.write(write, begun.deadline).await;
        // Whoever waits for a turn need not wait for the store as well.
        drop(turn);
        let Some(written) = written else {
            Box::pin(self.take_back(&begun, link)).await?;
            return Ok(self.later(NEXT_LOOK));
        };
        hit("writer.answered");
        match written {
            Written::Ended => Box::pin(self.ended(&begun, link, false)).await,
            // Deleted by ourselves, perhaps, and the answer was lost.
            Written::Gone(_) if parts => Box::pin(self.ended(&begun, link, true)).await,
            Written::Done(snapshot) => self.written(&begun, link, &snapshot).await,
            Written::Moved(snapshot) => {
                let said = LastWrite::new(wall_clock(), WriteAnswer::Moved);
                self.give_back(&begun, link, None, said).await?;
                Ok(Fate::Change(Box::new(Sighting::Present { snapshot })))
            }
            Written::Gone(_) => Box::pin(self.gone(&begun, link)).await,
            Written::Exists { attribute } => Box::pin(self.exists(&begun, link, attribute)).await,
            Written::Failed(failure) => Box::pin(self.failed(&begun, link, &failure)).await,
        }
    }

    /// The target answered that it holds the values.
    async fn written(&self, begun: &Begun, link: Link, answer: &Snapshot) -> Result<Fate, Halt> {
        let (wave, side) = (self.wave, self.wave.side);
        let letter = LetterId::of_link(&wave.connection.name, side, link.id);
        let how = match begun.wanted.need {
            Need::Create { .. } | Need::Find { .. } => WriteAnswer::Created,
            Need::Update { .. } | Need::Part { .. } => WriteAnswer::Updated,
        };
        let said = LastWrite::new(wall_clock(), how);
        let mut link = link;
        loop {
            let heals = link.sides[side].dead.is_some();
            if heals {
                wave.heal_letter(letter.clone()).await?;
            }
            let outcome = match wave.rules.is_unseen(side, &link.registers) {
                true => CommandOutcome::NeedsTeam,
                false => CommandOutcome::Applied,
            };
            let mut commit = Commit { count: Some(count(self.command, outcome)), ..Commit::default() };
            let mut follow = None;
            // Whose the account is was settled when it became the link's.
            let is_known = link.sides[side].account.as_ref() == Some(&answer.account);
            match write::finish(&link, side, begun.token, &begun.wanted, answer, &wave.rules) {
                Finish::Done { link, rest } => {
                    if !is_known {
                        commit.claim = vec![Claim::Account(side, answer.account.clone())];
                    }
                    commit.close = vec![letter.clone()];
                    commit.overwrite = self.answered(&link, begun, answer);
                    commit.link = Some(write::note(link, side, said.clone()));
                    if let Some(rest) = rest {
                        // The rest is mapped in the command's place, so the command is not over yet.
                        commit.count = None;
                        follow = Some(rest);
                    }
                }
                Finish::Fenced { link } => {
                    if !wave.rules.write_only[side] {
                        commit.reread = vec![(side, answer.account.clone())];
                    }
                    commit.overwrite = self.answered(&link, begun, answer);
                    commit.link = Some(write::note(link, side, said.clone()));
                }
                Finish::LostLease => return Ok(self.later(LEASE_MARGIN)),
            }
            match self.commit(commit).await? {
                Committed::Done { .. } => {
                    hit("writer.committed");
                    self.observe_freshness(begun, &link);
                    return Ok(match follow {
                        Some(snapshot) => Fate::Change(Box::new(Sighting::Present { snapshot })),
                        None => {
                            wave.pipeline.metrics.command(&wave.connection.name, outcome);
                            if heals {
                                wave.pipeline.metrics.letter_healed(&wave.connection.name);
                            }
                            Fate::Over
                        }
                    });
                }
                Committed::Taken { holder, claim } => {
                    error!("Account {claim:?} that was just written belongs to link {holder}; see `muster dead list`");
                    let failure = Failure::new(
                        FailureClass::Permanent,
                        Code::known("already_linked"),
                        format!("the account that was written belongs to link {holder} already"),
                    );
                    return Box::pin(self.bury(begun, link, &failure)).await;
                }
                Committed::Moved => link = self.reload().await?,
            }
        }
    }

    /// How long the written edits took from their source to here.
    fn observe_freshness(&self, begun: &Begun, link: &Link) {
        let wave = self.wave;
        let clock = wave.connection.ends[wave.side.other()].clock();
        let newest = begun
            .wanted
            .generations
            .iter()
            .filter_map(|(path, _)| link.registers.get(path).and_then(|register| register.at.modified_at))
            .max();
        if let Some(edited_at) = newest {
            wave.pipeline.metrics.fresh(&wave.connection.name, clock.since(edited_at));
        }
    }

    pub(super) fn commit(&self, commit: Commit) -> impl Future<Output = Result<Committed, Halt>> + Send {
        debug!("Committing a step for command {} of run {}", self.command.cause.number, self.command.cause.run);
        self.wave.commit(commit)
    }

    /// The link as others left it.
    pub(super) async fn reload(&self) -> Result<Link, Halt> {
        self.wave.reload(self.command.link).await?.ok_or(Halt::NewEpoch)
    }
}

pub(super) fn gone() -> Failure {
    Failure::new(
        FailureClass::Permanent,
        Code::known("account_gone"),
        "the account is no longer there; bring it back, or remove the link and let the next sync decide",
    )
}
