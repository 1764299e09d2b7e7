//! How an attempt ends that did not write: given back, tried again, refused or buried with a letter.

use std::time::Duration;

use tracing::{debug, warn};

use super::attempt::{Attempt, Begun, LEASE_MARGIN, gone};
use super::{Fate, count};
use crate::broker::Broker;
use crate::clock;
use crate::domain::circuit::{Admission, Fared};
use crate::domain::dead_letter::add_attempts;
use crate::domain::deferral::{Busy, defer, end_idle};
use crate::domain::link::LastWrite;
use crate::domain::pending::{Need, Pending, lacking};
use crate::domain::write;
use crate::domain::{
    AccountId, CommandOutcome, DeadLetter, FailedAttempt, Failure, FailureClass, Fingerprint, LetterContent, LetterId,
    Link, Sighting,
};
use crate::failpoint::hit;
use crate::stages::Halt;
use crate::stages::circuit::Line;
use crate::stages::letters::wall_clock;
use crate::stages::retry::{RetryPolicy, Verdict};
use crate::store::{Commit, Committed, Store};

/// The wait of a command that is spared until it is tried again.
const SPARED_LOOK: Duration = Duration::from_secs(30);

/// The pause of a system that asked for fewer calls and did not say for how long.
const THROTTLED_PAUSE: Duration = Duration::from_secs(5);

/// The wait until it is looked again whether somebody still works with an account.
const BUSY_LOOK: Duration = Duration::from_secs(30);

impl<B: Broker, S: Store> Attempt<'_, B, S> {
    /// Releases the lease, and takes back the intent unless the effect of a write that `failed` is in doubt. What the system said is noted.
    /// Where the lease moved on, nothing is touched.
    pub(super) async fn give_back(
        &self,
        begun: &Begun,
        link: Link,
        failed: Option<&Failure>,
        said: LastWrite,
    ) -> Result<(), Halt> {
        self.step(link, |link| {
            let after = match failed {
                Some(failure) if failure.in_doubt => {
                    write::give_up(link, self.wave.side, begun.token, failure.may_still_land())
                }
                _ => write::withdraw(link, self.wave.side, begun.token),
            };
            let noted = after.map(|link| write::note(link, self.wave.side, said.clone()));
            noted.map(|link| Commit { link: Some(link), ..Commit::default() })
        })
        .await
        .map(drop)
    }

    /// Releases the lease and takes back the intent of a write that was never sent. Where the lease moved on, nothing is
    /// touched.
    pub(super) async fn take_back(&self, begun: &Begun, link: Link) -> Result<(), Halt> {
        self.step(link, |link| {
            let after = write::withdraw(link, self.wave.side, begun.token);
            after.map(|link| Commit { link: Some(link), ..Commit::default() })
        })
        .await
        .map(drop)
    }

    /// Commits what `next` makes of the link, and of the link as others left it if it moved meanwhile. `None` from
    /// `next`: there is nothing to commit any more, and `false` is returned.
    async fn step(&self, link: Link, next: impl Fn(&Link) -> Option<Commit> + Send) -> Result<bool, Halt> {
        let mut link = link;
        loop {
            let Some(commit) = next(&link) else { return Ok(false) };
            match self.commit(commit).await? {
                Committed::Done { .. } => {
                    hit("writer.committed");
                    return Ok(true);
                }
                Committed::Moved | Committed::Taken { .. } => link = self.reload().await?,
            }
        }
    }

    /// A call of the write failed.
    pub(super) async fn failed(&self, begun: &Begun, link: Link, failure: &Failure) -> Result<Fate, Halt> {
        self.note_failure(failure).await?;
        if failure.class != FailureClass::Busy {
            return self.retry_or_bury(begun, link, failure).await;
        }
        let state = &link.sides[self.wave.side];
        match self.wave.rules.busy.after(state, failure, self.wave.store_clock()) {
            Busy::Over(failure) => self.retry_or_bury(begun, link, &failure).await,
            Busy::Waits(left) => self.wait_for_account(begun, link, failure, left).await,
        }
    }

    /// Somebody works with the account: the command comes back until nobody does, `left` from now on at the latest. The
    /// link says so, for people, and so that the wait outlives this command.
    async fn wait_for_account(
        &self,
        begun: &Begun,
        link: Link,
        failure: &Failure,
        left: Duration,
    ) -> Result<Fate, Halt> {
        let (wave, said) = (self.wave, LastWrite::failed(wall_clock(), failure));
        let now = wave.store_clock();
        self.step(link, |link| {
            let after = match failure.in_doubt {
                true => write::give_up(link, wave.side, begun.token, failure.may_still_land()),
                false => write::withdraw(link, wave.side, begun.token),
            };
            let deferred = defer(after?, wave.side, &failure.code, now);
            Some(Commit { link: Some(write::note(deferred, wave.side, said.clone())), ..Commit::default() })
        })
        .await?;
        debug!(account = begun_account(begun), "A write to {} waits: {failure}", wave.connection.systems[wave.side]);
        Ok(self.later(failure.retry_after.unwrap_or(BUSY_LOOK).min(left + LEASE_MARGIN)))
    }

    /// The side lacks nothing any more, so nothing waits for its account to be free either.
    pub(super) async fn end_wait(&self, link: Link) -> Result<Fate, Halt> {
        let outcome = match self.message.redelivered {
            true => CommandOutcome::Merged,
            false => CommandOutcome::AlreadyTrue,
        };
        let ended = self.step(link, |link| {
            let mut after = link.clone();
            let ended = end_idle(&mut after, &self.wave.rules);
            let count = Some(count(self.command, outcome));
            ended.then_some(Commit { link: Some(after), count, ..Commit::default() })
        });
        if !ended.await? {
            // Something else was committed meanwhile: it is looked at anew.
            return Ok(self.later(LEASE_MARGIN));
        }
        self.wave.pipeline.metrics.command(&self.wave.connection.name, outcome);
        Ok(Fate::Over)
    }

    /// What becomes of the command after this failure. What fails because the target fails costs no attempt once that is
    /// known, and nobody is given up for it.
    pub(super) async fn verdict(&self, failure: &Failure) -> Verdict {
        let (wave, attempt) = (self.wave, self.message.attempt);
        let speaks_against_target = matches!(Fared::from(failure), Fared::Ill(_));
        if speaks_against_target && wave.line.is_open() {
            return Verdict::Retry { after: left_alone(&wave.line), attempt };
        }
        let policy = RetryPolicy { attempts: wave.pipeline.settings.attempts };
        let verdict = policy.verdict(failure.class, attempt, failure.retry_after);
        let target = &wave.connection.systems[wave.side];
        if verdict == Verdict::Dead && speaks_against_target && wave.pipeline.spares(target, attempt + 1).await {
            let attempt = if wave.line.is_open() { attempt } else { attempt + 1 };
            return Verdict::Retry { after: left_alone(&wave.line), attempt };
        }
        verdict
    }

    /// Tries again as often as such a failure deserves, then opens a letter.
    async fn retry_or_bury(&self, begun: &Begun, link: Link, failure: &Failure) -> Result<Fate, Halt> {
        match self.verdict(failure).await {
            Verdict::Retry { after, attempt } => {
                warn!(
                    account = begun_account(begun),
                    "Writing to {} failed, trying again in about {after:?}: {failure}",
                    self.wave.connection.systems[self.wave.side]
                );
                let said = LastWrite::failed(wall_clock(), failure);
                self.give_back(begun, link, Some(failure), said).await?;
                Ok(Fate::Again { after, attempt, failed: Box::new(failed_attempt(failure, Some(begun))) })
            }
            Verdict::Dead => self.bury(begun, link, failure).await,
        }
    }

    /// There is no such account any more: it was merged into another one, with which the link goes on, or a person has to
    /// look.
    pub(super) async fn gone(&self, begun: &Begun, link: Link) -> Result<Fate, Halt> {
        let Need::Update { account } = &begun.wanted.need else { return self.bury(begun, link, &gone()).await };
        match self.survivor(account).await {
            Ok(Some(into)) => {
                self.take_back(begun, link).await?;
                Ok(Fate::Change(Box::new(Sighting::Merged { account: account.clone(), into })))
            }
            Ok(None) => self.bury(begun, link, &gone()).await,
            Err(failure) => self.failed(begun, link, &failure).await,
        }
    }

    /// The account that one that is not there was merged into.
    pub(super) async fn survivor(&self, account: &AccountId) -> Result<Option<AccountId>, Failure> {
        let survivors = self.wave.system().merged_into(std::slice::from_ref(account)).await?;
        Ok(survivors.into_iter().next().flatten())
    }

    /// Tells all workers that the system asks for fewer calls. What else a failure says of it, the call has told already.
    pub(super) async fn note_failure(&self, failure: &Failure) -> Result<(), Halt> {
        let target = &self.wave.connection.systems[self.wave.side];
        self.wave.pipeline.metrics.retry(target, failure.class);
        if failure.class != FailureClass::Throttled {
            return Ok(());
        }
        let pause = failure.retry_after.unwrap_or(THROTTLED_PAUSE);
        let Some(pause) = self.wave.gate.target_said(clock::now(), pause) else { return Ok(()) };
        let (pipeline, reason) = (self.wave.pipeline, failure.class.as_str());
        pipeline.ask(self.wave.stop, || pipeline.store.pause_system(target, pause, reason)).await
    }

    /// The side lacks nothing any more, so its letter is closed.
    pub(super) async fn heal(&self, link: Link) -> Result<Fate, Halt> {
        let side = self.wave.side;
        let letter = LetterId::of_link(&self.wave.connection.name, side, link.id);
        self.wave.heal_letter(letter.clone()).await?;
        let healed = self.step(link, |link| {
            // Meanwhile it may lack something new, or again.
            if lacking(link, side, &self.wave.rules).is_some() {
                return None;
            }
            let mut link = link.clone();
            link.sides[side].dead = None;
            Some(Commit {
                link: Some(link),
                count: Some(count(self.command, CommandOutcome::AlreadyTrue)),
                close: vec![letter.clone()],
                ..Commit::default()
            })
        });
        if !healed.await? {
            return Ok(self.later(LEASE_MARGIN));
        }
        self.wave.pipeline.metrics.letter_healed(&self.wave.connection.name);
        self.wave.pipeline.metrics.command(&self.wave.connection.name, CommandOutcome::AlreadyTrue);
        Ok(Fate::Over)
    }

    /// Refused before anything was begun.
    pub(super) async fn refuse(&self, link: Link, wanted: &Pending, failure: &Failure) -> Result<Fate, Halt> {
        let letter = self.open_letter(&link, wanted, failure, failed_attempt(failure, None)).await?;
        self.step(link, |link| {
            Some(
                self.burial(
                    write::bury(link, self.wave.side, wanted, failure.code.as_str(), &self.wave.rules),
                    &letter,
                ),
            )
        })
        .await?;
        self.wave.pipeline.metrics.command(&self.wave.connection.name, CommandOutcome::Dead);
        Ok(Fate::Over)
    }

    /// Refused by the target for good, or given up after the last attempt.
    pub(super) async fn bury(&self, begun: &Begun, link: Link, failure: &Failure) -> Result<Fate, Halt> {
        let attempt = failed_attempt(failure, Some(begun));
        let letter = self.open_letter(&link, &begun.wanted, failure, attempt).await?;
        let rules = &self.wave.rules;
        let buried = self.step(link, |link| {
            let released = if failure.in_doubt {
                write::give_up(link, self.wave.side, begun.token, failure.may_still_land())
            } else {
                write::withdraw(link, self.wave.side, begun.token)
            };
            let buried = write::bury(&released?, self.wave.side, &begun.wanted, failure.code.as_str(), rules);
            let noted = write::note(buried, self.wave.side, LastWrite::failed(letter.last_at, failure));
            Some(self.burial(noted, &letter))
        });
        if !buried.await? {
            // The lease moved on: somebody else decides about the side, and a letter beside that would never heal.
            self.wave.heal_letter(letter.id.clone()).await?;
            return Ok(self.later(LEASE_MARGIN));
        }
        self.wave.pipeline.metrics.command(&self.wave.connection.name, CommandOutcome::Dead);
        Ok(Fate::Over)
    }

    fn burial(&self, link: Link, letter: &DeadLetter) -> Commit {
        Commit {
            link: Some(link),
            count: Some(count(self.command, CommandOutcome::Dead)),
            open: vec![letter.clone()],
            ..Commit::default()
        }
    }

    /// Logs the letter; what fails again joins the one that is open (B7).
    async fn open_letter(
        &self,
        link: &Link,
        wanted: &Pending,
        failure: &Failure,
        attempt: FailedAttempt,
    ) -> Result<DeadLetter, Halt> {
        let (name, side) = (&self.wave.connection.name, self.wave.side);
        let id = LetterId::of_link(name, side, link.id);
        let now = wall_clock();
        let mut attempts = self.command.failed.clone();
        add_attempts(&mut attempts, [attempt]);
        let account = match &wanted.need {
            Need::Update { account } | Need::Part { account, .. } => Some(account.clone()),
            Need::Create { .. } | Need::Find { .. } => None,
        };
        // The attribute under the name that the link and the configuration know it by.
        let attribute = failure
            .attribute
            .as_ref()
            .map(|path| write::named(&self.wave.rules, side, path).unwrap_or_else(|| path.clone()));
        let letter = DeadLetter {
            id,
            fingerprint: Fingerprint {
                target: Some(self.wave.connection.systems[side].clone()),
                class: failure.class,
                code: failure.code.clone(),
                attribute,
            },
            connection: Some(name.clone()),
            account,
            partner: link.sides[side.other()].account.clone(),
            first_at: now,
            last_at: now,
            failures: self.message.attempt + 1,
            message: failure.to_string(),
            first_message: None,
            attempts,
            status: failure.status,
            request_id: failure.request_id.clone(),
            content: LetterContent::Command { command: self.command.clone() },
        };
        self.wave.open_letter(letter).await
    }
}

/// The wait of a command whose target fails, until it looks again.
fn left_alone(line: &Line) -> Duration {
    match line.admission() {
        Admission::Wait(left) => left,
        Admission::Go | Admission::Probe => SPARED_LOOK,
    }
}

/// What a letter remembers of this failure. `begun`: the write that met it, if one was begun.
fn failed_attempt(failure: &Failure, begun: Option<&Begun>) -> FailedAttempt {
    FailedAttempt {
        at: wall_clock(),
        code: failure.code.clone(),
        status: failure.status,
        request_id: failure.request_id.clone(),
        latency_ms: begun.map(|begun| u32::try_from((clock::now() - begun.began).as_millis()).unwrap_or(u32::MAX)),
    }
}

fn begun_account(begun: &Begun) -> &str {
    match &begun.wanted.need {
        Need::Create { partner } | Need::Find { partner } => partner.as_str(),
        Need::Update { account } | Need::Part { account, .. } => account.as_str(),
    }
}
