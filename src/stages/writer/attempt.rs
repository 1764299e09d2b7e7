//! One attempt at one command: plan, note the intent, search or write, and commit the answer.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

use super::{Again, Fate, count};
use crate::broker::Broker;
use crate::domain::account::READ_UNCERTAINTY;
use crate::domain::link::{LastWrite, WriteAnswer};
use crate::domain::pending::{Need, Pending, pending};
use crate::domain::rules::OnExisting;
use crate::domain::write::{self, Deadlines, Finish, Plan, plan};
use crate::domain::{
    AccountId, Code, Command, CommandOutcome, Epoch, Failure, FailureClass, LetterId, Link, Rules, Side, Sighting,
    Snapshot, Timestamp, Token, Value,
};
use crate::failpoint::hit;
use crate::stages::letters::wall_clock;
use crate::stages::retry::{RetryPolicy, Verdict};
use crate::stages::validate::validate;
use crate::stages::{Connection, Halt, Pipeline, wait};
use crate::store::{Claim, Commit, Committed, Store};
use crate::systems::{Action, Lookup, SearchKey, SharedSystem, Write, Written};

/// The wait of a command that finds its side leased, once that lease is over.
pub(super) const LEASE_MARGIN: Duration = Duration::from_millis(200);

/// One attempt at one command.
pub(super) struct Attempt<'a, B, S> {
    pub(super) pipeline: &'a Pipeline<B, S>,
    pub(super) stop: &'a CancellationToken,
    pub(super) connection: &'a Arc<Connection>,
    pub(super) command: &'a Command,
    pub(super) again: &'a Again,
    /// How many writes may be begun at the target.
    pub(super) turns: &'a Semaphore,
    pub(super) epoch: Epoch,
    /// When the link was asked for, by this process's own clock.
    pub(super) loaded_at: Instant,
}

/// A write that was begun: what every way out of it needs.
pub(super) struct Begun {
    pub(super) token: Token,
    pub(super) wanted: Pending,
    /// When no further request may be sent, by this process's own clock.
    pub(super) deadline: Instant,
}

impl<B: Broker, S: Store> Attempt<'_, B, S> {
    pub(super) async fn run(&self, link: Option<Link>, now: Timestamp) -> Result<Fate, Halt> {
        let Some(link) = link else {
            // The store forgot it, or the link was removed: the next read of its accounts decides.
            return self.over(CommandOutcome::Superseded).await;
        };
        if link.epoch != self.epoch {
            return self.over(CommandOutcome::Superseded).await;
        }
        if let Some(after) = self.pause(now).await? {
            return Ok(self.later(after));
        }
        let mut link = link;
        loop {
            match plan(&link, self.side(), &self.rules(), now) {
                // A refusal that no longer matters: what was refused is there all the same.
                Plan::Nothing if link.sides[self.side()].dead.is_some() => return self.heal(link).await,
                Plan::Nothing if self.again.redelivered => return self.over(CommandOutcome::Merged).await,
                Plan::Nothing => return self.over(CommandOutcome::AlreadyTrue).await,
                Plan::Held => return self.over(CommandOutcome::Held).await,
                Plan::Buried => return self.over(CommandOutcome::Dead).await,
                // Never acknowledged away: the holder may be dead, its own redelivery first of all.
                Plan::Leased { until } | Plan::Wait { until } => {
                    return Ok(self.later(until.since(now) + LEASE_MARGIN));
                }
                Plan::Unseen { account } => return self.look(link, &account).await,
                Plan::Unsettled { account } => {
                    // An answer within the grain of the stamp would be as unsettled as the last one.
                    wait(self.stop, self.system().schema().grain + READ_UNCERTAINTY).await?;
                    return self.look(link, &account).await;
                }
                Plan::Write(wanted) => {
                    let values = write::outbound(&self.rules(), self.side(), &wanted);
                    if let Err(failure) = validate(&wanted, &values, self.system().schema()) {
                        return self.refuse(link, &wanted, &failure).await;
                    }
                    let _turn = match self.turn(now).await? {
                        Ok(turn) => turn,
                        Err(after) => return Ok(self.later(after)),
                    };
                    match self.begin(link, wanted, now).await? {
                        Ok((begun, link)) => return self.carry_out(begun, link).await,
                        Err(moved) => link = moved,
                    }
                }
            }
        }
    }

    pub(super) fn side(&self) -> Side {
        self.command.side
    }

    pub(super) fn rules(&self) -> Arc<Rules> {
        self.connection.rules(self.epoch)
    }

    pub(super) fn system(&self) -> &SharedSystem {
        &self.connection.ends[self.side()]
    }

    /// Comes back later; nothing failed.
    pub(super) fn later(&self, after: Duration) -> Fate {
        Fate::Later { after, attempt: self.again.attempt }
    }

    pub(super) async fn over(&self, outcome: CommandOutcome) -> Result<Fate, Halt> {
        let count = Some(count(self.command, outcome));
        self.commit(Commit { count, ..Commit::default() }).await?;
        self.pipeline.metrics.command(&self.connection.name, outcome);
        Ok(Fate::Over)
    }

    /// Waits for a turn at the target. An error: the target asked to be left alone for this long meanwhile.
    async fn turn(&self, now: Timestamp) -> Result<Result<SemaphorePermit<'_>, Duration>, Halt> {
        if let Ok(turn) = self.turns.try_acquire() {
            return Ok(Ok(turn));
        }
        let turn = tokio::select! {
            () = self.stop.cancelled() => return Err(Halt::Stopped),
            turn = self.turns.acquire() => turn.expect("the semaphore is never closed"),
        };
        Ok(match self.pause(now + self.loaded_at.elapsed()).await? {
            Some(after) => Err(after),
            None => Ok(turn),
        })
    }

    /// How long the target wants to be left alone.
    async fn pause(&self, now: Timestamp) -> Result<Option<Duration>, Halt> {
        let target = &self.connection.systems[self.side()];
        let state = self.pipeline.ask(self.stop, || self.pipeline.store.system(target)).await?;
        Ok(state.not_before.filter(|until| *until > now).map(|until| until.since(now)))
    }

    /// Reads an account that is known and must be read before it is written: what is seen is a change. One that cannot
    /// be read for good, or too often in a row, is a change as well: it opens a letter, and the next good read heals it.
    async fn look(&self, link: Link, account: &AccountId) -> Result<Fate, Halt> {
        let answer = self.system().get(std::slice::from_ref(account)).await;
        let seen = match answer.map(|mut lookups| lookups.pop()) {
            Ok(Some(Lookup::Found(snapshot))) => Sighting::Present { snapshot },
            // Not a proof of absence: no complete read stands behind it (B12).
            Ok(Some(Lookup::Absent(_))) => {
                return match pending(&link, self.side(), &self.rules()) {
                    Some(wanted) => self.refuse(link, &wanted, &gone()).await,
                    None => self.over(CommandOutcome::Superseded).await,
                };
            }
            Ok(Some(Lookup::Unreadable { code, attribute })) => {
                Sighting::Unreadable { account: Some(account.clone()), code, attribute }
            }
            Ok(None) => return Ok(self.later(Duration::from_secs(1))),
            Err(failure) => {
                self.note_failure(&failure).await?;
                let policy = RetryPolicy { attempts: self.pipeline.settings.attempts };
                match policy.verdict(failure.class, self.again.attempt, failure.retry_after) {
                    Verdict::Retry { after, attempt } => return Ok(Fate::Later { after, attempt }),
                    Verdict::Dead => Sighting::Unreadable {
                        account: Some(account.clone()),
                        code: failure.code,
                        attribute: failure.attribute,
                    },
                }
            }
        };
        Ok(Fate::Change(Box::new(seen)))
    }

    /// Takes the lease and notes the intent. An error holds the link as somebody else left it.
    async fn begin(&self, link: Link, wanted: Pending, now: Timestamp) -> Result<Result<(Begun, Link), Link>, Halt> {
        let settings = &self.pipeline.settings;
        let token = Token(fastrand::u64(..));
        // Own clock first: what the store and the target count from later moments ends later.
        let started = Instant::now();
        let clock = self.system().clock();
        // The Date header has whole seconds, so the target's clock may be a second ahead of what is known of it.
        let over_at = clock + settings.lease + Duration::from_secs(1);
        let now = now + self.loaded_at.elapsed();
        let deadlines = Deadlines {
            lease_until: now + settings.lease,
            over_at,
            search_counts_at: now + settings.lease + self.system().schema().search_lag,
        };
        let noted = write::begin(&link, self.side(), token, &wanted, &self.rules(), deadlines);
        let commit = Commit { link: Some(noted.clone()), ..Commit::default() };
        match self.commit(commit).await? {
            Committed::Done { .. } => {
                hit("writer.noted_intent");
                let deadline = started + settings.lease.min(settings.deadline);
                let link = Link { revision: noted.revision + 1, ..noted };
                Ok(Ok((Begun { token, wanted, deadline }, link)))
            }
            Committed::Moved | Committed::Taken { .. } => match self.reload().await? {
                Some(link) => Ok(Err(link)),
                None => Err(Halt::NewEpoch),
            },
        }
    }

    /// Sends what was begun, and commits the answer.
    async fn carry_out(&self, begun: Begun, link: Link) -> Result<Fate, Halt> {
        let rules = self.rules();
        let values = write::outbound(&rules, self.side(), &begun.wanted);
        let action = match &begun.wanted.need {
            Need::Create { partner } => {
                if let Some(fate) = self.search_first(&begun, &link, partner).await? {
                    return Ok(fate);
                }
                Action::Create { partner: partner.clone() }
            }
            Need::Update { account } => {
                let Some(base) = write::base(&link, self.side()) else {
                    return self.look(link, account).await;
                };
                Action::Update { account: account.clone(), unless_changed_since: base.clone() }
            }
        };
        let write = Write { action, values };
        let written = self.system().write(std::slice::from_ref(&write), begun.deadline).await.pop();
        hit("writer.answered");
        match written {
            Some(Written::Done(snapshot)) => self.written(&begun, link, &snapshot).await,
            Some(Written::Moved(snapshot)) => {
                let said = LastWrite::new(wall_clock(), WriteAnswer::Moved);
                self.give_back(&begun, link, false, said).await?;
                Ok(Fate::Change(Box::new(Sighting::Present { snapshot })))
            }
            Some(Written::Gone(_)) => self.bury(&begun, link, &gone()).await,
            Some(Written::Exists { attribute }) => self.exists(&begun, link, attribute).await,
            Some(Written::Failed(failure)) => self.failed(&begun, link, &failure).await,
            None => {
                let failure =
                    Failure::new(FailureClass::Transient, Code::known("no_answer"), "the connector gave no answer");
                self.failed(&begun, link, &failure.in_doubt()).await
            }
        }
    }

    /// Searches before an account is created: what carries our partner's id is ours, anything else is the policy's case
    /// for existing accounts. `None`: there is no such account.
    async fn search_first(&self, begun: &Begun, link: &Link, partner: &AccountId) -> Result<Option<Fate>, Halt> {
        let rules = self.rules();
        let found = self.search(begun, &SearchKey::Partner(partner.clone())).await;
        let ours = match found {
            Ok(found) => found,
            Err(failure) => return self.failed(begun, link.clone(), &failure).await.map(Some),
        };
        hit("writer.searched");
        match ours.len() {
            0 => {}
            1 => {
                let account = ours.into_iter().next().expect("there is one");
                return self.adopt(begun, link.clone(), account, true).await.map(Some);
            }
            _ => {
                let failure = Failure::new(
                    FailureClass::Permanent,
                    Code::known("ambiguous"),
                    "several accounts of the target carry the partner's id; clear it on all but one, then retry",
                );
                return self.bury(begun, link.clone(), &failure).await.map(Some);
            }
        }
        for path in &rules.match_on {
            let Some(rule) = rules.attributes.get(path) else { continue };
            let name = &rule.names[self.side()];
            let Some(Some(Value::Text(text))) = begun.wanted.values.get(path) else { continue };
            let existing = match self.search(begun, &SearchKey::Attribute(name.clone(), text.clone())).await {
                Ok(existing) => existing,
                Err(failure) => return self.failed(begun, link.clone(), &failure).await.map(Some),
            };
            let free = |snapshot: &Snapshot| snapshot.partner.is_none();
            match <[Snapshot; 1]>::try_from(existing) {
                Ok([account]) if rules.on_existing == OnExisting::Link && free(&account) => {
                    return self.adopt(begun, link.clone(), account, false).await.map(Some);
                }
                Err(none) if none.is_empty() => {}
                _ => return self.exists_refusal(begun, link.clone(), Some(name.clone())).await.map(Some),
            }
        }
        Ok(None)
    }

    async fn search(&self, begun: &Begun, key: &SearchKey) -> Result<Vec<Snapshot>, Failure> {
        let timeout = || Failure::new(FailureClass::Transient, Code::known("timeout"), "the search took too long");
        let search = self.system().search(std::slice::from_ref(key));
        let mut found = tokio::time::timeout_at(begun.deadline, search).await.unwrap_or_else(|_| Err(timeout()))?;
        Ok(found.pop().unwrap_or_default())
    }

    /// The target says that an account with a unique value exists. Perhaps it is ours: a creation whose answer was lost.
    async fn exists(
        &self,
        begun: &Begun,
        link: Link,
        attribute: Option<crate::domain::AttributePath>,
    ) -> Result<Fate, Halt> {
        if let Need::Create { partner } = &begun.wanted.need {
            match self.search(begun, &SearchKey::Partner(partner.clone())).await {
                Ok(ours) => {
                    if let Ok([account]) = <[Snapshot; 1]>::try_from(ours) {
                        return self.adopt(begun, link, account, true).await;
                    }
                }
                Err(failure) => return self.failed(begun, link, &failure).await,
            }
        }
        self.exists_refusal(begun, link, attribute).await
    }

    /// R12: nothing is created, nothing on the existing account is touched, and nothing is linked.
    async fn exists_refusal(
        &self,
        begun: &Begun,
        link: Link,
        attribute: Option<crate::domain::AttributePath>,
    ) -> Result<Fate, Halt> {
        let named = attribute.as_ref().map(|attribute| attribute.as_str().to_owned());
        let (code, what) = match named.as_deref() {
            Some("emails") => (Code::known("email_exists"), "its e-mail address".to_owned()),
            Some(other) => (Code::known("account_exists"), format!("its {other}")),
            None => (Code::known("account_exists"), "a value that must be unique".to_owned()),
        };
        let message = format!(
            "another account of the target has {what} already; nothing was changed there. Link the two, or change one \
             of them, then retry"
        );
        let failure = Failure { attribute, ..Failure::new(FailureClass::Permanent, code, message) };
        self.bury(begun, link, &failure).await
    }

    /// Links the account that a search found. What it holds goes to the mapper as a change.
    async fn adopt(&self, begun: &Begun, link: Link, account: Snapshot, remembered: bool) -> Result<Fate, Halt> {
        let side = self.side();
        let mut link = link;
        loop {
            let Some(adopted) = write::adopt(&link, side, begun.token, account.account.clone(), remembered) else {
                return Ok(self.later(LEASE_MARGIN));
            };
            let adopted = write::note(adopted, side, LastWrite::new(wall_clock(), WriteAnswer::Found));
            let claim = vec![Claim::Account(side, account.account.clone())];
            match self.commit(Commit { link: Some(adopted), claim, ..Commit::default() }).await? {
                Committed::Done { .. } => {
                    hit("writer.committed");
                    return Ok(Fate::Change(Box::new(Sighting::Present { snapshot: account })));
                }
                Committed::Taken { holder, .. } => {
                    let failure = Failure::new(
                        FailureClass::Permanent,
                        Code::known("already_linked"),
                        format!(
                            "the account that exists at the target belongs to link {holder} already; the first link stays"
                        ),
                    );
                    return self.bury(begun, link, &failure).await;
                }
                Committed::Moved => match self.reload().await? {
                    Some(moved) => link = moved,
                    None => return Err(Halt::NewEpoch),
                },
            }
        }
    }

    /// The target answered that it holds the values.
    async fn written(&self, begun: &Begun, link: Link, answer: &Snapshot) -> Result<Fate, Halt> {
        let (side, rules) = (self.side(), self.rules());
        let letter = LetterId::of_link(&self.connection.name, side, link.id);
        let how = match begun.wanted.need {
            Need::Create { .. } => WriteAnswer::Created,
            Need::Update { .. } => WriteAnswer::Updated,
        };
        let said = LastWrite::new(wall_clock(), how);
        let mut link = link;
        loop {
            let heals = link.sides[side].dead.is_some();
            if heals {
                self.pipeline.log_healed(std::slice::from_ref(&letter), "writer").await?;
            }
            let mut commit = Commit { count: Some(count(self.command, CommandOutcome::Applied)), ..Commit::default() };
            let mut follow = None;
            match write::finish(&link, side, begun.token, &begun.wanted, answer, &rules) {
                Finish::Done { link, rest } => {
                    commit.claim = vec![Claim::Account(side, answer.account.clone())];
                    commit.close = vec![letter.clone()];
                    commit.link = Some(write::note(link, side, said.clone()));
                    if let Some(rest) = rest {
                        // The rest is mapped in the command's place, so the command is not over yet.
                        commit.count = None;
                        follow = Some(rest);
                    }
                }
                Finish::Fenced { link } => {
                    commit.reread = vec![(side, answer.account.clone())];
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
                            self.pipeline.metrics.command(&self.connection.name, CommandOutcome::Applied);
                            if heals {
                                self.pipeline.metrics.letter_healed(&self.connection.name);
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
                    return self.bury(begun, link, &failure).await;
                }
                Committed::Moved => match self.reload().await? {
                    Some(moved) => link = moved,
                    None => return Err(Halt::NewEpoch),
                },
            }
        }
    }

    /// How long the written edits took from their source to here.
    fn observe_freshness(&self, begun: &Begun, link: &Link) {
        let clock = self.connection.ends[self.side().other()].clock();
        let newest = begun
            .wanted
            .generations
            .iter()
            .filter_map(|(path, _)| link.registers.get(path).and_then(|register| register.at.modified_at))
            .max();
        if let Some(edited_at) = newest {
            self.pipeline.metrics.fresh(&self.connection.name, clock.since(edited_at));
        }
    }

    pub(super) async fn commit(&self, commit: Commit) -> Result<Committed, Halt> {
        let name = &self.connection.name;
        let store = &self.pipeline.store;
        let mut answer = self.pipeline.ask(self.stop, || store.commit(name, self.epoch, vec![commit.clone()])).await?;
        debug!("Committed link step for command {} of run {}", self.command.cause.number, self.command.cause.run);
        Ok(answer.pop().expect("the store answers each commit"))
    }

    pub(super) async fn reload(&self) -> Result<Option<Link>, Halt> {
        let name = &self.connection.name;
        let ids = [self.command.link];
        let mut loaded = self.pipeline.ask(self.stop, || self.pipeline.store.load(name, &ids)).await?;
        if loaded.epoch != self.epoch {
            return Err(Halt::NewEpoch);
        }
        Ok(loaded.items.pop().flatten())
    }
}

fn gone() -> Failure {
    Failure::new(
        FailureClass::Permanent,
        Code::known("account_gone"),
        "the account is no longer there; bring it back, or remove the link and let the next sync decide",
    )
}
