//! One process's connector to an imitated system. A request, once sent, lives by itself: it is carried out and answered
//! whether or not its sender still lives, and until its deadline at most.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Account, GRAIN, Guard, Remote};
use crate::clock;
use crate::domain::{AccountId, Code, Failure, FailureClass, Snapshot, Timestamp, Value, Version};
use crate::simulation::executor::{Owner, Spawner};
use crate::simulation::faults::{Fault, Faults};
use crate::systems::http::SystemClock;
use crate::systems::{
    Action, CallReport, Finding, Lookup, Next, Page, ReadFrom, Record, Schema, SearchKey, System, Write, Written,
};

/// How far behind the watermark an incremental read begins, in milliseconds: longer than any call takes.
const OVERLAP_MS: i64 = 15_000;

/// How long after its sender's deadline a request may still be carried out, in milliseconds: shorter than the rest of the
/// sender's lease ([`super::super::world`]), as the design takes for granted.
const MOST_LATE_MS: u64 = 4_500;

/// The connector of one process.
pub(crate) struct Connector {
    remote: Arc<Remote>,
    faults: Faults,
    spawner: Spawner,
    /// Whose it is.
    owner: Owner,
    clock: SystemClock,
    /// Numbers the requests of all processes.
    requests: Arc<AtomicU64>,
}

/// A write, and when its account was last looked at, in the world's clock.
type Planned = (Write, Timestamp);

pub(super) fn failed(class: FailureClass, code: &'static str) -> Failure {
    Failure::new(class, Code::known(code), "it went wrong")
}

fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp(time.0.div_euclid(1_000) * 1_000)
}

impl Connector {
    pub(crate) fn new(
        remote: Arc<Remote>,
        faults: Faults,
        (spawner, owner): (Spawner, Owner),
        requests: Arc<AtomicU64>,
    ) -> Self {
        Self { remote, faults, spawner, owner, clock: SystemClock::default(), requests }
    }

    /// The way there or back.
    async fn travel(&self) {
        let slow = self.faults.strike(Fault::CallSlow);
        let ms = if slow { fastrand::u64(500..4_000) } else { fastrand::u64(..120) };
        clock::sleep(Duration::from_millis(ms)).await;
    }

    /// What a call comes to while the system is out of order.
    async fn is_out(&self, deadline: Option<Instant>) -> Result<(), Failure> {
        let Some(answers) = self.remote.is_out() else { return Ok(()) };
        self.faults.count(Fault::CalledWhileOut);
        if answers {
            return Err(Failure { status: Some(503), ..failed(FailureClass::Transient, "unavailable") });
        }
        clock::sleep_until(deadline.unwrap_or_else(|| clock::now() + Duration::from_secs(5))).await;
        Err(failed(FailureClass::Transient, "timeout"))
    }

    /// An answer with this `Date` came to what was sent then.
    fn heard(&self, date: Timestamp, sent: Instant) {
        self.clock.observe(whole_seconds(date), sent, clock::now());
    }

    /// A call that only looks: what `look` sees at the moment when the system works on it. It is told when the call was
    /// sent, by the system's clock as far as the answer shows it.
    async fn call<T: Send>(&self, look: impl FnOnce(&Remote, Timestamp) -> T + Send) -> Result<T, Failure> {
        let sent = clock::now();
        self.travel().await;
        self.is_out(None).await?;
        let date = self.remote.now();
        self.heard(date, sent);
        if self.faults.strike(Fault::CallRefused) {
            return Err(failed(FailureClass::Transient, "unavailable"));
        }
        if self.faults.strike(Fault::Throttled) {
            let retry_after = fastrand::bool().then(|| Duration::from_secs(fastrand::u64(1..20)));
            return Err(Failure { retry_after, ..failed(FailureClass::Throttled, "throttled") });
        }
        let seen = look(&self.remote, self.clock.at(sent));
        self.travel().await;
        Ok(seen)
    }

    /// Looks at accounts just before they are written without any condition: what is to be written all the same.
    async fn look_first(&self, writes: &[Write]) -> Result<Vec<Result<Planned, Written>>, Failure> {
        let (seen, looked_at) = self
            .call(|remote, read_at| {
                let look = |write: &Write| match &write.action {
                    Action::Update { account, .. }
                    | Action::Remove { account, .. }
                    | Action::Delete { account, .. } => {
                        Some(remote.snapshot(account, &remote.account(account)?, read_at))
                    }
                    Action::Create { .. } => None,
                };
                (writes.iter().map(look).collect::<Vec<_>>(), remote.clock.now())
            })
            .await?;
        let plan = |write: &Write, now: Option<Snapshot>| {
            let (Action::Update { unless_changed_since, .. }
            | Action::Remove { unless_changed_since, .. }
            | Action::Delete { unless_changed_since, .. }) = &write.action
            else {
                return Ok((write.clone(), looked_at));
            };
            let Some(now) = now else { return Err(Written::Gone(self.clock.now())) };
            if is_moved(self.remote.shape.guard, &now.version, unless_changed_since) {
                self.faults.count(Fault::WriteRefusedByCondition);
                return Err(Written::Moved(now));
            }
            let is_update = matches!(write.action, Action::Update { .. });
            if is_update && write.values.iter().all(|(path, value)| now.attributes.get(path) == Some(value)) {
                return Err(Written::Done(now));
            }
            Ok((write.clone(), looked_at))
        };
        Ok(writes.iter().zip(seen).map(|(write, seen)| plan(write, seen)).collect())
    }

    /// What is to be sent, and what needs not be.
    async fn plan(&self, writes: &[Write]) -> Result<Vec<Result<Planned, Written>>, Failure> {
        if self.remote.shape.guard.has_window() {
            return self.look_first(writes).await;
        }
        self.is_out(None).await?;
        if self.faults.strike(Fault::CallRefused) {
            return Err(failed(FailureClass::Transient, "unavailable"));
        }
        let now = self.remote.clock.now();
        Ok(writes.iter().map(|write| Ok((write.clone(), now))).collect())
    }

    /// Sends a request, which from then on has a life of its own, and waits for its answer.
    async fn send(&self, writes: Vec<Planned>, deadline: Instant) -> Vec<Written> {
        let (rows, sent) = (writes.len(), clock::now());
        if sent >= deadline {
            return vec![Written::Failed(failed(FailureClass::Transient, "too_late")); rows];
        }
        let in_doubt = || vec![Written::Failed(failed(FailureClass::Transient, "timeout").in_doubt()); rows];
        let longest = u64::try_from((deadline - sent).as_millis()).unwrap_or(u64::MAX).max(1);
        let way = match self.faults.strike(Fault::CallSlow) {
            true => fastrand::u64(..longest),
            false => fastrand::u64(..120).min(longest - 1),
        };
        // The sender gives up at its deadline; what it noted with the write counts the request for as long as its lease.
        let way = match self.faults.strike(Fault::LandsLate) {
            true => longest + fastrand::u64(100..MOST_LATE_MS),
            false => way,
        };
        let (answer, answered) = oneshot::channel();
        let (remote, faults) = (Arc::clone(&self.remote), self.faults.clone());
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let targets = writes.iter().flat_map(|(write, _)| match &write.action {
            Action::Update { account, .. } => write.values.keys().map(|path| (account.clone(), path.clone())).collect(),
            Action::Create { .. } | Action::Remove { .. } | Action::Delete { .. } => Vec::new(),
        });
        remote.state().on_the_way.insert(number, targets.collect());
        if self.faults.strike(Fault::LeftBehind) {
            self.spawner.kill(self.owner, 1);
        }
        self.spawner.spawn(Owner::World, async move {
            clock::sleep(Duration::from_millis(way)).await;
            let (date, left_behind) = (remote.now(), answer.is_closed());
            let written: Vec<_> =
                writes.iter().map(|(write, looked_at)| remote.carry_out(write, *looked_at, number, &faults)).collect();
            remote.state().on_the_way.remove(&number);
            let is_done = written.iter().any(|written| match written {
                Written::Done(_) | Written::Ended => true,
                Written::Failed(failure) => failure.in_doubt,
                _ => false,
            });
            if left_behind && is_done {
                faults.count(Fault::DoneForTheDead);
            }
            let lost = is_done && faults.strike(Fault::AnswerLost);
            if !lost {
                clock::sleep(Duration::from_millis(fastrand::u64(..120))).await;
            }
            let unheard = lost || answer.send((date, written.clone())).is_err();
            for ((write, _), written) in writes.iter().zip(&written) {
                if unheard || matches!(written, Written::Failed(_)) {
                    let (Action::Create { partner: id }
                    | Action::Update { account: id, .. }
                    | Action::Remove { account: id, .. }
                    | Action::Delete { account: id, .. }) = &write.action;
                    let mut state = remote.state();
                    *state.unanswered.entry(id.clone()).or_default() += 1;
                    state.unheard.insert(number);
                }
            }
        });
        let Ok(Ok((date, mut written))) = clock::timeout_at(deadline, answered).await else {
            // Nobody knows before the deadline that no answer comes.
            clock::sleep_until(deadline).await;
            return in_doubt();
        };
        self.heard(date, sent);
        for written in &mut written {
            if let Written::Done(snapshot) | Written::Moved(snapshot) = written {
                // A write counts from its answer.
                snapshot.version.read_at = self.clock.now();
            }
        }
        written
    }
}

/// Whether an account is in another state than the one that a write was decided on.
pub(super) fn is_moved(guard: Guard, now: &Version, decided_on: &Version) -> bool {
    match guard {
        Guard::Tag | Guard::Unstamped => now.tag != decided_on.tag,
        Guard::Stamp => now.modified_at > decided_on.modified_at,
        Guard::LookFirst => now.modified_at != decided_on.modified_at,
    }
}

#[async_trait]
impl System for Connector {
    fn schema(&self) -> &Schema {
        self.remote.schema()
    }

    async fn preflight(&self) -> Vec<Finding> {
        Vec::new()
    }

    async fn read(&self, from: &ReadFrom) -> Result<Page, Failure> {
        // Position: `<least stamp> <next watermark> <last account>`.
        let number = |text: &str| text.parse::<i64>().unwrap_or(0);
        let (since, watermark, after) = match from {
            ReadFrom::Start => (0, None, None),
            ReadFrom::Watermark(at) => (number(at) - OVERLAP_MS, None, None),
            ReadFrom::Position(text) => {
                let mut parts = text.splitn(3, ' ');
                let mut part = || parts.next().unwrap_or_default();
                (number(part()), Some(number(part())), Some(part().to_owned()))
            }
        };
        let read = self.call(|remote, sent| (remote.page(since, after.as_deref(), sent), sent.0));
        let ((mut records, mut last, mut expected), sent) = read.await?;
        // The next read begins where the first page of this one was asked for.
        let watermark = watermark.unwrap_or(sent);
        let mut proven_complete = true;
        if records.len() > 1 && self.faults.strike(Fault::ListCutShort) {
            records.truncate(fastrand::usize(1..records.len()));
            proven_complete = fastrand::bool();
            last = last.filter(|_| fastrand::bool());
        } else if !records.is_empty() && self.faults.strike(Fault::ListEmpty) {
            records.clear();
            (last, expected, proven_complete) = (None, 0, fastrand::bool());
        }
        let is_settled = |record: &Record| match record {
            Record::Account(Snapshot { version, .. }) => version.modified_at.is_none() || version.settled(GRAIN),
            Record::Unreadable { .. } => true,
        };
        let unsettled = (!records.iter().all(is_settled)).then_some(2 * GRAIN);
        let next = match last {
            Some(last) => Next::Page(format!("{since} {watermark} {last}")),
            None => {
                let watermark = self.schema().incremental.then(|| watermark.to_string());
                Next::End { watermark, proven_complete, unsettled }
            }
        };
        Ok(Page { records, next, expected: Some(expected) })
    }

    async fn get(&self, accounts: &[AccountId]) -> Result<Vec<Lookup>, Failure> {
        self.call(|remote, sent| {
            let look = |id: &AccountId| match remote.account(id) {
                Some(account) => Lookup::Found(remote.snapshot(id, &account, sent)),
                None => Lookup::Absent(sent),
            };
            accounts.iter().map(look).collect()
        })
        .await
    }

    async fn search(&self, keys: &[SearchKey]) -> Result<Vec<Vec<Snapshot>>, Failure> {
        self.call(|remote, sent| {
            let accounts = remote.accounts();
            let has = |account: &Account, key: &SearchKey| match key {
                SearchKey::Partner(partner) => account.partner.as_ref() == Some(partner),
                SearchKey::Attribute(path, text) => {
                    account.attributes.get(path).and_then(Option::as_ref).and_then(Value::as_text) == Some(text)
                }
            };
            let is_listed = |account: &Account| account.created_at + remote.shape.search_lag <= remote.clock.now();
            if !accounts.values().all(is_listed) {
                self.faults.count(Fault::SearchTooEarly);
            }
            let with = |key: &SearchKey| {
                let found = accounts.iter().filter(|(_, account)| has(account, key) && is_listed(account));
                found.map(|(id, account)| remote.snapshot(id, account, sent)).collect()
            };
            keys.iter().map(with).collect()
        })
        .await
    }

    async fn write(&self, writes: &[Write], deadline: Instant) -> Vec<Written> {
        assert!((1..=self.schema().batch).contains(&writes.len()), "{} accounts in one call", writes.len());
        let refused = |failure: Failure| vec![Written::Failed(failure); writes.len()];
        let planned = match clock::timeout_at(deadline, self.plan(writes)).await {
            Ok(Ok(planned)) => planned,
            Ok(Err(failure)) => return refused(failure),
            Err(_) => return refused(failed(FailureClass::Transient, "timeout")),
        };
        let to_send: Vec<_> = planned.iter().filter_map(|plan| plan.as_ref().ok().cloned()).collect();
        let sent = if to_send.is_empty() { Vec::new() } else { self.send(to_send, deadline).await };
        let mut sent = sent.into_iter();
        let answer = |plan: Result<Planned, Written>| match plan {
            Ok(_) => sent.next().expect("each that was sent has an answer"),
            Err(written) => written,
        };
        planned.into_iter().map(answer).collect()
    }

    fn clock(&self) -> Timestamp {
        self.clock.now()
    }

    fn shown_clock(&self) -> Option<Timestamp> {
        self.clock.is_known().then(|| self.clock.now())
    }

    fn remedy(&self, _code: &Code) -> Option<&'static str> {
        None
    }

    fn report(&self) -> CallReport {
        CallReport::default()
    }
}
