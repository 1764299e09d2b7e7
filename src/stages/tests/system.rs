//! A system in memory: accounts with stamps and tags, and a log of what was created.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::yield_now;

use super::Clock;
use crate::domain::{AccountId, Attributes, Code, Failure, Snapshot, Timestamp, Value, Version};
use crate::systems::{
    Action, AttributeSchema, CallReport, Finding, Lookup, Next, Page, ReadFrom, Record, Schema, SearchKey, System,
    ValueKind, Write, Written,
};

/// Accounts on a page.
const PAGE: usize = 4;

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
}

pub struct MemorySystem {
    clock: Clock,
    schema: Schema,
    state: Mutex<State>,
}

impl MemorySystem {
    pub fn new(clock: Clock) -> Arc<Self> {
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
            batch: 1,
            calls: 3,
            writable: true,
            incremental: true,
            parse_id: |id| id.parse().ok(),
            search_lag: Duration::ZERO,
        };
        Arc::new(Self { clock, schema, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
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
        let now = self.clock.now();
        let mut state = self.state();
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
        };
        let snapshot = self.snapshot(&id, &account, now);
        state.accounts.insert(id, account);
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
        // Position and watermark: `<least stamp> <accounts to skip> <next watermark>`.
        let (since, skip, next) = match from {
            ReadFrom::Start => (0, 0, self.clock.now().0),
            ReadFrom::Watermark(at) => (at.parse::<i64>().unwrap() - 5_000, 0, self.clock.now().0),
            ReadFrom::Position(text) => {
                let parts: Vec<i64> = text.split(' ').map(|part| part.parse().unwrap()).collect();
                (parts[0], usize::try_from(parts[1]).unwrap(), parts[2])
            }
        };
        let page = {
            let state = self.state();
            let read_at = self.clock.now();
            let mut listed = state.accounts.iter().filter(|(_, account)| account.modified_at.0 >= since).skip(skip);
            let records: Vec<_> =
                listed.by_ref().take(PAGE).map(|(id, one)| Record::Account(self.snapshot(id, one, read_at))).collect();
            let more = listed.next().is_some();
            let end = Next::End { watermark: Some(next.to_string()), proven_complete: true, unsettled: None };
            let next = if more { Next::Page(format!("{since} {} {next}", skip + PAGE)) } else { end };
            Page { records, next, expected: None }
        };
        yield_now().await;
        Ok(page)
    }

    async fn get(&self, accounts: &[AccountId]) -> Result<Vec<Lookup>, Failure> {
        yield_now().await;
        let state = self.state();
        if let Some(failure) = &state.get_fails {
            return Err(failure.clone());
        }
        let now = self.clock.now();
        let look = |id| match state.accounts.get(id) {
            Some(account) => Lookup::Found(self.snapshot(id, account, now)),
            None => Lookup::Absent(now),
        };
        Ok(accounts.iter().map(look).collect())
    }

    async fn search(&self, keys: &[SearchKey]) -> Result<Vec<Vec<Snapshot>>, Failure> {
        yield_now().await;
        let found = {
            let state = self.state();
            let now = self.clock.now();
            let with = |key: &SearchKey| {
                let SearchKey::Partner(partner) = key else { return Vec::new() };
                let ours = state.accounts.iter().filter(|(_, account)| account.partner.as_ref() == Some(partner));
                ours.map(|(id, account)| self.snapshot(id, account, now)).collect()
            };
            keys.iter().map(with).collect()
        };
        yield_now().await;
        Ok(found)
    }

    async fn write(&self, writes: &[Write], _deadline: tokio::time::Instant) -> Vec<Written> {
        yield_now().await;
        let written = writes.iter().map(|write| self.write_one(write)).collect();
        yield_now().await;
        // Now and then it is carried out and the answer is lost.
        if fastrand::u8(..) < 10 {
            let lost = Failure::new(crate::domain::FailureClass::Transient, Code::known("timeout"), "no answer");
            return writes.iter().map(|_| Written::Failed(lost.clone().in_doubt())).collect();
        }
        written
    }

    fn clock(&self) -> Timestamp {
        self.clock.now()
    }

    fn remedy(&self, _code: &Code) -> Option<&'static str> {
        None
    }

    fn report(&self) -> CallReport {
        CallReport::default()
    }
}
