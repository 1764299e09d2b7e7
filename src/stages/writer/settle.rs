//! How an attempt ends that did not write: given back, tried again, refused or buried with a letter.

use std::time::Duration;

use tracing::warn;

use super::attempt::{Attempt, Begun, LEASE_MARGIN};
use super::{Fate, count};
use crate::broker::Broker;
use crate::domain::link::LastWrite;
use crate::domain::pending::{Need, Pending, lacking};
use crate::domain::write;
use crate::domain::{CommandOutcome, DeadLetter, Failure, FailureClass, Fingerprint, LetterContent, LetterId, Link};
use crate::failpoint::hit;
use crate::stages::Halt;
use crate::stages::letters::wall_clock;
use crate::stages::retry::{RetryPolicy, Verdict};
use crate::store::{Commit, Committed, Store};

/// The pause of a system that refuses the credential: long enough not to lock it, short enough to notice a new one.
const UNAUTHORISED_PAUSE: Duration = Duration::from_secs(30);

/// The pause of a system that asked for fewer calls and did not say for how long.
const THROTTLED_PAUSE: Duration = Duration::from_secs(5);

impl<B: Broker, S: Store> Attempt<'_, B, S> {
    /// Releases the lease, and takes back the intent unless the write is `in_doubt`. What the system said is noted.
    /// Where the lease moved on, nothing is touched.
    pub(super) async fn give_back(
        &self,
        begun: &Begun,
        link: Link,
        in_doubt: bool,
        said: LastWrite,
    ) -> Result<(), Halt> {
        self.step(link, |link| {
            let after = if in_doubt {
                write::give_up(link, self.side(), begun.token)
            } else {
                write::withdraw(link, self.side(), begun.token)
            };
            let noted = after.map(|link| write::note(link, self.side(), said.clone()));
            noted.map(|link| Commit { link: Some(link), ..Commit::default() })
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
                Committed::Moved | Committed::Taken { .. } => match self.reload().await? {
                    Some(moved) => link = moved,
                    None => return Err(Halt::NewEpoch),
                },
            }
        }
    }

    /// A call of the write failed.
    pub(super) async fn failed(&self, begun: &Begun, link: Link, failure: &Failure) -> Result<Fate, Halt> {
        self.note_failure(failure).await?;
        let policy = RetryPolicy { attempts: self.pipeline.settings.attempts };
        match policy.verdict(failure.class, self.again.attempt, failure.retry_after) {
            Verdict::Retry { after, attempt } => {
                warn!(
                    account = begun_account(begun),
                    "Writing to {} failed, trying again in about {after:?}: {failure}",
                    self.connection.systems[self.side()]
                );
                let said = LastWrite::failed(wall_clock(), failure);
                self.give_back(begun, link, failure.in_doubt, said).await?;
                Ok(Fate::Later { after, attempt })
            }
            Verdict::Dead => self.bury(begun, link, failure).await,
        }
    }

    /// Tells all workers what the failure says about the system.
    pub(super) async fn note_failure(&self, failure: &Failure) -> Result<(), Halt> {
        let target = &self.connection.systems[self.side()];
        self.pipeline.metrics.retry(target, failure.class);
        let pause = match failure.class {
            FailureClass::Throttled => failure.retry_after.unwrap_or(THROTTLED_PAUSE),
            FailureClass::Unauthorised => UNAUTHORISED_PAUSE,
            FailureClass::Transient | FailureClass::Permanent | FailureClass::Busy => return Ok(()),
        };
        let store = &self.pipeline.store;
        self.pipeline.ask(self.stop, || store.pause_system(target, pause, failure.class.as_str())).await
    }

    /// The side lacks nothing any more, so its letter is closed.
    pub(super) async fn heal(&self, link: Link) -> Result<Fate, Halt> {
        let side = self.side();
        let letter = LetterId::of_link(&self.connection.name, side, link.id);
        self.pipeline.log_healed(std::slice::from_ref(&letter), "writer").await?;
        let healed = self.step(link, |link| {
            // Meanwhile it may lack something new, or again.
            if lacking(link, side, &self.rules()).is_some() {
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
        self.pipeline.metrics.letter_healed(&self.connection.name);
        self.pipeline.metrics.command(&self.connection.name, CommandOutcome::AlreadyTrue);
        Ok(Fate::Over)
    }

    /// Refused before anything was begun.
    pub(super) async fn refuse(&self, link: Link, wanted: &Pending, failure: &Failure) -> Result<Fate, Halt> {
        let letter = self.open_letter(&link, wanted, failure).await?;
        self.step(link, |link| {
            Some(self.burial(write::bury(link, self.side(), wanted, failure.code.as_str(), &self.rules()), &letter))
        })
        .await?;
        self.pipeline.metrics.command(&self.connection.name, CommandOutcome::Dead);
        Ok(Fate::Over)
    }

    /// Refused by the target for good, or given up after the last attempt.
    pub(super) async fn bury(&self, begun: &Begun, link: Link, failure: &Failure) -> Result<Fate, Halt> {
        let letter = self.open_letter(&link, &begun.wanted, failure).await?;
        let rules = self.rules();
        let buried = self.step(link, |link| {
            let released = if failure.in_doubt {
                write::give_up(link, self.side(), begun.token)
            } else {
                write::withdraw(link, self.side(), begun.token)
            };
            let buried = write::bury(&released?, self.side(), &begun.wanted, failure.code.as_str(), &rules);
            let noted = write::note(buried, self.side(), LastWrite::failed(letter.last_at, failure));
            Some(self.burial(noted, &letter))
        });
        if !buried.await? {
            // The lease moved on: somebody else decides about the side, and a letter beside that would never heal.
            self.pipeline.log_healed(std::slice::from_ref(&letter.id), "writer").await?;
            return Ok(self.later(LEASE_MARGIN));
        }
        self.pipeline.metrics.command(&self.connection.name, CommandOutcome::Dead);
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
    async fn open_letter(&self, link: &Link, wanted: &Pending, failure: &Failure) -> Result<DeadLetter, Halt> {
        let (name, side) = (&self.connection.name, self.side());
        let id = LetterId::of_link(name, side, link.id);
        let now = wall_clock();
        let account = match &wanted.need {
            Need::Update { account } => Some(account.clone()),
            Need::Create { .. } => None,
        };
        // The attribute under the name that the link and the configuration know it by.
        let attribute = failure
            .attribute
            .as_ref()
            .map(|path| write::named(&self.rules(), side, path).unwrap_or_else(|| path.clone()));
        let letter = DeadLetter {
            id,
            fingerprint: Fingerprint {
                target: Some(self.connection.systems[side].clone()),
                class: failure.class,
                code: failure.code.clone(),
                attribute,
            },
            connection: Some(name.clone()),
            account,
            partner: link.sides[side.other()].account.clone(),
            first_at: now,
            last_at: now,
            failures: self.again.attempt + 1,
            message: failure.to_string(),
            status: failure.status,
            request_id: failure.request_id.clone(),
            content: LetterContent::Command { command: self.command.clone() },
        };
        let letter = self.pipeline.join(self.stop, letter).await?;
        self.pipeline.log_opened(std::slice::from_ref(&letter)).await?;
        Ok(letter)
    }
}

fn begun_account(begun: &Begun) -> &str {
    match &begun.wanted.need {
        Need::Create { partner } => partner.as_str(),
        Need::Update { account } => account.as_str(),
    }
}
