//! A system in memory: accounts with stamps and tags, a log of what was created, and faults of whole calls and of rows.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::yield_now;

use crate::domain::{AccountId, Attributes, Code, Failure, FailureClass, Snapshot, Timestamp, Value, Version};
use crate::simulation::Clock;
use crate::systems::{
    Action, AttributeSchema, CallReport, Finding, Lookup, Next, Page, ReadFrom, Record, Schema, SearchKey, System,
    ValueKind, Write, Written,
};

/// How much it does at once.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Accounts on a page.
    pub page: usize,
    /// Accounts that one call writes.
    pub batch: usize,
    /// Calls at once.
    pub calls: usize,
}

/// What goes wrong, each of a thousand.
#[derive(Debug, Clone, Copy, Default)]
pub struct Trouble {
    /// Calls that are refused as a whole.
    pub calls: u16,
    /// Calls that are refused, with the wish to be left alone.
    pub throttled: u16,
    /// Writes that are carried out and whose answer is lost, for all their rows.
    pub answers: u16,
    /// Rows of a write that fail, and nothing happens.
    pub rows: u16,
    /// Rows of a write that are carried out and reported as failed.
    pub row_answers: u16,
}

fn chance(of_a_thousand: u16) -> bool {
    of_a_thousand > 0 && fastrand::u16(..1000) < of_a_thousand
}

fn failed(class: FailureClass, code: &'static str) -> Failure {
    Failure::new(class, Code::known(code), "it went wrong")
}

#[derive(Debug, Clone)]
struct Account {
    attributes: Attributes,
    partner: Option<AccountId>,
    modified_at: Timestamp,
    tag: u64,
}

#[derive(Debug, Default)]
struct State {
    accounts: BTreeMap<AccountId, Account>,
    created: Vec<AccountId>,
    tags: u64,
    /// What asking for an account by its id comes to, if not to the account.
    get_fails: Option<Failure>,
    /// What writing a title comes to.
    refused: BTreeMap<String, Failure>,
    /// Accounts that were deleted or removed, in order.
    deleted: Vec<AccountId>,
    /// Writing this title takes until it is another one.
    slow: Option<String>,
    /// How many calls are refused from now on, as a whole and like that.
    down: Option<(u32, Failure)>,
    trouble: Trouble,
    /// Calls, by what they did.
    calls: BTreeMap<&'static str, u32>,
    /// By how much its own clock is ahead, and whether no answer has shown it yet.
    ahead: Duration,
    clock_unknown: bool,
}

pub struct MemorySystem {
    clock: Clock,
    page: usize,
    schema: Schema,
    state: Mutex<State>,
}

impl MemorySystem {
    pub fn new(clock: Clock, shape: Shape) -> Arc<Self> {
        let attribute = AttributeSchema {
            path: "title".parse().unwrap(),
            kind: ValueKind::Text,
            max_chars: None,
            required: false,
            writable: true,
            comparison: Default::default(),
        };
        let schema = Schema {
            attributes: vec![attribute],
            grain: Duration::from_secs(1),
            stamps: true,
            batch: shape.batch,
            calls: shape.calls,
            writable: true,
            readable: true,
            whole: false,
            shown_by: None,
            partner: None,
            incremental: true,
            parse_id: |id| id.parse().ok(),
            search_lag: Duration::ZERO,
        };
        Arc::new(Self { clock, page: shape.page, schema, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// From now on its clock is ahead by so much, which nobody knows who has not heard from it.
    pub fn run_ahead(&self, ahead: Duration) {
        let mut state = self.state();
        (state.ahead, state.clock_unknown) = (ahead, true);
    }

    /// Its own clock.
    pub fn now(&self) -> Timestamp {
        self.clock.now() + self.state().ahead
    }

    /// A person sets the title.
    pub fn edit(&self, id: &str, title: &str) {
        // Never twice under one stamp.
        self.clock.advance(Duration::from_secs(3));
        let mut state = self.state();
        state.tags += 1;
        let account = Account {
            attributes: [("title".parse().unwrap(), Some(Value::from(title)))].into(),
            partner: None,
            modified_at: self.clock.now(),
            tag: state.tags,
        };
        state.accounts.insert(id.parse().unwrap(), account);
        self.clock.advance(Duration::from_secs(3));
    }

    pub fn remove(&self, id: &str) {
        self.state().accounts.remove(&id.parse().unwrap());
    }

    /// Many people set their titles within one moment.
    pub fn edit_all(&self, accounts: usize, title: &str) {
        self.clock.advance(Duration::from_secs(3));
        let now = self.clock.now();
        let mut state = self.state();
        for number in 0..accounts {
            state.tags += 1;
            let attributes = [("title".parse().unwrap(), Some(Value::from(title)))].into();
            let account = Account { attributes, partner: None, modified_at: now, tag: state.tags };
            state.accounts.insert(format!("u{number}").parse().unwrap(), account);
        }
        self.clock.advance(Duration::from_secs(3));
    }

    pub fn set_trouble(&self, trouble: Trouble) {
        self.state().trouble = trouble;
    }

    /// From now on writing this title fails like that, or (`None`) no more.
    pub fn refuse(&self, title: &str, failure: Option<Failure>) {
        match failure {
            Some(failure) => drop(self.state().refused.insert(title.to_owned(), failure)),
            None => drop(self.state().refused.remove(title)),
        }
    }

    /// From now on writing this title (and what is in the same call) takes until this is said of another one.
    pub fn stall(&self, title: Option<&str>) {
        self.state().slow = title.map(ToOwned::to_owned);
    }

    /// The next calls are refused as a whole.
    pub fn go_down(&self, calls: u32, failure: Failure) {
        self.state().down = Some((calls, failure));
    }

    /// Calls since the last time, by what they did.
    pub fn take_calls(&self) -> BTreeMap<&'static str, u32> {
        std::mem::take(&mut self.state().calls)
    }

    /// Notes a call, which may be refused as a whole.
    fn call(&self, what: &'static str) -> Result<(), Failure> {
        let mut state = self.state();
        *state.calls.entry(what).or_default() += 1;
        state.clock_unknown = false;
        if let Some((left, failure)) = state.down.take() {
            state.down = left.checked_sub(2).map(|more| (more + 1, failure.clone()));
            return Err(failure);
        }
        if chance(state.trouble.calls) {
            return Err(failed(FailureClass::Transient, "unavailable"));
        }
        if chance(state.trouble.throttled) {
            let retry_after = Some(Duration::from_secs(fastrand::u64(1..5)));
            return Err(Failure { retry_after, ..failed(FailureClass::Throttled, "throttled") });
        }
        Ok(())
    }

    pub fn fail_gets(&self, failure: Option<Failure>) {
        self.state().get_fails = failure;
    }

    /// Titles by account, or by partner where it has one.
    pub fn titles(&self) -> BTreeMap<String, String> {
        let title = "title".parse().unwrap();
        let state = self.state();
        let mut titles = BTreeMap::new();
        for (id, account) in &state.accounts {
            let text = account.attributes[&title].as_ref().and_then(Value::as_text).unwrap_or_default();
            titles.insert(account.partner.as_ref().unwrap_or(id).to_string(), text.to_owned());
        }
        titles
    }

    /// The partner of each account that was created.
    pub fn created(&self) -> Vec<AccountId> {
        self.state().created.clone()
    }

    /// Accounts that were deleted or removed, in order.
    pub fn deleted(&self) -> Vec<AccountId> {
        self.state().deleted.clone()
    }

    fn snapshot(&self, id: &AccountId, account: &Account, read_at: Timestamp) -> Snapshot {
        Snapshot {
            account: id.clone(),
            version: Version {
                modified_at: Some(account.modified_at),
                read_at,
                tag: Some(account.tag.to_string().into()),
            },
            attributes: account.attributes.clone(),
            partner: account.partner.clone(),
        }
    }

    fn write_one(&self, write: &Write) -> Written {
        let now = self.now();
        let mut state = self.state();
        let title = write.values.values().flatten().find_map(Value::as_text).unwrap_or_default();
        if let Some(failure) = state.refused.get(title) {
            return Written::Failed(failure.clone());
        }
        if chance(state.trouble.rows) {
            return Written::Failed(failed(FailureClass::Transient, "row_locked"));
        }
        state.tags += 1;
        let tag = state.tags;
        let (id, account) = match &write.action {
            Action::Create { partner } => {
                state.created.push(partner.clone());
                let id = format!("t{tag}").parse().unwrap();
                let attributes = write.values.clone();
                (id, Account { attributes, partner: Some(partner.clone()), modified_at: now, tag })
            }
            Action::Update { account: id, unless_changed_since } => {
                let Some(before) = state.accounts.get(id) else { return Written::Gone(now) };
                if unless_changed_since.tag.as_deref() != Some(before.tag.to_string().as_str()) {
                    return Written::Moved(self.snapshot(id, before, now));
                }
                let mut account = Account { modified_at: now, tag, ..before.clone() };
                account.attributes.extend(write.values.clone());
                (id.clone(), account)
            }
            Action::Remove { account: id, unless_changed_since }
            | Action::Delete { account: id, unless_changed_since } => {
                let Some(before) = state.accounts.get(id) else { return Written::Gone(now) };
                if unless_changed_since.tag.as_deref() != Some(before.tag.to_string().as_str()) {
                    return Written::Moved(self.snapshot(id, before, now));
                }
                state.accounts.remove(id);
                state.deleted.push(id.clone());
                if chance(state.trouble.row_answers) {
                    return Written::Failed(failed(FailureClass::Transient, "row_timeout").in_doubt());
                }
                return Written::Ended;
            }
        };
        let snapshot = self.snapshot(&id, &account, now);
        state.accounts.insert(id, account);
        if chance(state.trouble.row_answers) {
            return Written::Failed(failed(FailureClass::Transient, "row_timeout").in_doubt());
        }
        Written::Done(snapshot)
    }
}

#[async_trait]
impl System for MemorySystem {
    fn schema(&self) -> &Schema {
        &self.schema
    }

    async fn preflight(&self) -> Vec<Finding> {
        Vec::new()
    }

    async fn read(&self, from: &ReadFrom) -> Result<Page, Failure> {
        yield_now().await;
        self.call("read")?;
        // Position and watermark: `<least stamp> <accounts to skip> <next watermark>`.
        let (since, skip, next) = match from {
            ReadFrom::Start => (0, 0, self.now().0),
            ReadFrom::Watermark(at) => (at.parse::<i64>().unwrap() - 5_000, 0, self.now().0),
            ReadFrom::Position(text) => {
                let parts: Vec<i64> = text.split(' ').map(|part| part.parse().unwrap()).collect();
                (parts[0], usize::try_from(parts[1]).unwrap(), parts[2])
            }
        };
        let page = {
            let read_at = self.now();
            let state = self.state();
            let is_meant = |(_, account): &(&_, &Account)| account.modified_at.0 >= since;
            let expected = Some(state.accounts.iter().filter(is_meant).count() as u64);
            let mut listed = state.accounts.iter().filter(is_meant).skip(skip);
            let records: Vec<_> = listed
                .by_ref()
                .take(self.page)
                .map(|(id, one)| Record::Account(self.snapshot(id, one, read_at)))
                .collect();
            let more = listed.next().is_some();
            let end = Next::End { watermark: Some(next.to_string()), proven_complete: true, unsettled: None };
            let next = if more { Next::Page(format!("{since} {} {next}", skip + self.page)) } else { end };
            Page { records, next, expected }
        };
        yield_now().await;
        Ok(page)
    }

    async fn get(&self, accounts: &[AccountId]) -> Result<Vec<Lookup>, Failure> {
        yield_now().await;
        self.call("get")?;
        let now = self.now();
        let state = self.state();
        if let Some(failure) = &state.get_fails {
            return Err(failure.clone());
        }
        let look = |id| match state.accounts.get(id) {
            Some(account) => Lookup::Found(self.snapshot(id, account, now)),
            None => Lookup::Absent(now),
        };
        Ok(accounts.iter().map(look).collect())
    }

    async fn search(&self, keys: &[SearchKey]) -> Result<Vec<Vec<Snapshot>>, Failure> {
        yield_now().await;
        self.call("search")?;
        let found = {
            let now = self.now();
            let state = self.state();
            let has = |account: &Account, key: &SearchKey| match key {
                SearchKey::Partner(partner) => account.partner.as_ref() == Some(partner),
                SearchKey::Attribute(path, text) => {
                    account.attributes.get(path).and_then(Option::as_ref).and_then(Value::as_text) == Some(text)
                }
            };
            let with = |key| {
                let found = state.accounts.iter().filter(|(_, account)| has(account, key));
                found.map(|(id, account)| self.snapshot(id, account, now)).collect()
            };
            keys.iter().map(with).collect()
        };
        yield_now().await;
        Ok(found)
    }

    async fn write(&self, writes: &[Write], _deadline: tokio::time::Instant) -> Vec<Written> {
        assert!((1..=self.schema.batch).contains(&writes.len()), "{} accounts in one call", writes.len());
        yield_now().await;
        if let Err(failure) = self.call("write") {
            return vec![Written::Failed(failure); writes.len()];
        }
        let texts = |write: &Write| write.values.values().flatten().filter_map(Value::as_text).collect::<String>();
        while writes.iter().any(|write| self.state().slow == Some(texts(write))) {
            yield_now().await;
        }
        let written = writes.iter().map(|write| self.write_one(write)).collect();
        yield_now().await;
        // It is carried out and the answer is lost.
        if chance(self.state().trouble.answers) {
            return vec![Written::Failed(failed(FailureClass::Transient, "timeout").in_doubt()); writes.len()];
        }
        written
    }

    fn clock(&self) -> Timestamp {
        self.shown_clock().unwrap_or_else(|| self.clock.now())
    }

    fn shown_clock(&self) -> Option<Timestamp> {
        let is_known = !self.state().clock_unknown;
        is_known.then(|| self.now())
    }

    fn remedy(&self, _code: &Code) -> Option<&'static str> {
        None
    }

    fn report(&self) -> CallReport {
        CallReport::default()
    }
}
