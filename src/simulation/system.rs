//! An imitated system: accounts that people edit and Muster writes, with a clock of its own, coarse stamps or none, and
//! its own way to keep a value. It keeps a log of every change, which is all that the judge knows of it.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use siphasher::sip::SipHasher13;

use super::Clock;
use super::events::Timeline;
use super::faults::{Fault, Faults};
use super::people::shown;
use crate::domain::{
    AccountId, AttributePath, Attributes, Comparison, FailureClass, Side, Snapshot, Timestamp, Value, Version,
};
use crate::systems::{Action, AttributeSchema, Record, Schema, ValueKind, Write, Written};

use connector::{failed, is_moved};

pub(crate) mod connector;

/// What a system can promise of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guard {
    /// `If-Match` on an exact version tag.
    Tag,
    /// `If-Unmodified-Since` on a stamp of whole seconds.
    Stamp,
    /// Nothing: the connector looks at the stamp just before it writes.
    LookFirst,
    /// Nothing, and there are no stamps: the connector looks at the values just before it writes, and every read lists
    /// everybody.
    Unstamped,
}

impl Guard {
    /// Whether an edit between the look and the write is overwritten unseen, which no rule can prevent.
    pub(crate) fn has_window(self) -> bool {
        matches!(self, Self::LookFirst | Self::Unstamped)
    }
}

/// How a system keeps a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeping {
    AsSent,
    /// Without space around it and in small letters, and it compares values so.
    Folded,
    /// The first characters of it, silently.
    Cut(usize),
}

impl Keeping {
    fn keep(self, value: Option<&Value>) -> Option<Value> {
        let Some(Value::Text(text)) = value else { return value.cloned() };
        Some(match self {
            Self::AsSent => Value::Text(text.clone()),
            Self::Folded => Value::Text(text.trim().to_lowercase()),
            Self::Cut(chars) => Value::Text(text.chars().take(chars).collect()),
        })
    }
}

/// How a system is made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) guard: Guard,
    pub(crate) keeping: Keeping,
    /// By how much its clock is ahead of everybody else's, in milliseconds.
    pub(crate) ahead_ms: i64,
    /// Accounts on a page, accounts that one call writes, and calls at once.
    pub(crate) page: usize,
    pub(crate) batch: usize,
    pub(crate) calls: usize,
    pub(crate) search_lag: Duration,
}

/// Stamps have whole seconds.
pub(crate) const GRAIN: Duration = Duration::from_secs(1);

/// Who changed an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Author {
    /// A person; the number of the edit.
    Person(usize),
    Muster {
        /// When the account was last looked at before the write, in the world's clock.
        looked_at: Timestamp,
        /// The number of the request.
        request: u64,
    },
}

/// One change of one attribute.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// In the world's clock.
    pub(crate) at: Timestamp,
    pub(crate) account: AccountId,
    pub(crate) path: AttributePath,
    pub(crate) before: Option<Value>,
    pub(crate) after: Option<Value>,
    pub(crate) author: Author,
}

/// An account.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    pub(crate) attributes: Attributes,
    /// Whom it carries as its partner: accounts that Muster created do.
    pub(crate) partner: Option<AccountId>,
    created_at: Timestamp,
    /// In the system's own clock.
    modified_at: Timestamp,
    tag: u64,
}

#[derive(Debug, Default)]
struct State {
    accounts: BTreeMap<AccountId, Account>,
    log: Vec<Entry>,
    /// Each creation by Muster: the partner and the new account.
    created: Vec<(AccountId, AccountId)>,
    /// Each account that Muster deleted or took out of the roster: its partner, itself, and when, in the world's clock.
    deleted: Vec<(AccountId, AccountId, Timestamp)>,
    tags: u64,
    /// What a request on its way is about to write.
    on_the_way: BTreeMap<u64, Vec<(AccountId, AttributePath)>>,
    /// Requests whose sender did not get the answer, or was told of a failure.
    unheard: BTreeSet<u64>,
    /// How many of them there were, by account or partner.
    unanswered: BTreeMap<AccountId, usize>,
    /// Until when it is out of order, in the world's clock, and whether it says so or says nothing.
    out: Option<(Timestamp, bool)>,
}

/// A system.
pub(crate) struct Remote {
    pub(crate) side: Side,
    pub(crate) shape: Shape,
    clock: Clock,
    timeline: Timeline,
    schema: Schema,
    state: Mutex<State>,
}

impl Remote {
    pub(crate) fn new(
        side: Side,
        shape: Shape,
        paths: &[AttributePath],
        clock: Clock,
        timeline: Timeline,
    ) -> Arc<Self> {
        let folded = shape.keeping == Keeping::Folded;
        let attribute = |path: &AttributePath| AttributeSchema {
            path: path.clone(),
            kind: if path.is_active() { ValueKind::Bool } else { ValueKind::Text },
            max_chars: None,
            required: false,
            writable: true,
            comparison: Comparison { fold_case: folded, trim: folded, empty_is_clear: false },
        };
        let schema = Schema {
            attributes: paths.iter().map(attribute).collect(),
            grain: GRAIN,
            stamps: shape.guard != Guard::Unstamped,
            batch: shape.batch,
            calls: shape.calls,
            writable: true,
            readable: true,
            whole: false,
            shown_by: None,
            partner: None,
            incremental: shape.guard != Guard::Unstamped,
            parse_id: |id| id.parse().ok(),
            search_lag: shape.search_lag,
        };
        Arc::new(Self { side, shape, clock, timeline, schema, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while the lock is held")
    }

    pub(crate) fn schema(&self) -> &Schema {
        &self.schema
    }

    /// The system's own clock.
    fn now(&self) -> Timestamp {
        Timestamp(self.clock.now().0 + self.shape.ahead_ms)
    }

    /// An account is made. What it is not given it has not, and it is active.
    pub(crate) fn hire(&self, id: &AccountId, given: Attributes, partner: Option<AccountId>) {
        let (now, modified_at) = (self.clock.now(), self.now());
        let default = |path: &AttributePath| (path.clone(), path.is_active().then_some(Value::Bool(true)));
        let mut attributes: Attributes = self.schema.attributes.iter().map(|known| default(&known.path)).collect();
        attributes.extend(given);
        let mut state = self.state();
        state.tags += 1;
        let tag = state.tags;
        state.accounts.insert(id.clone(), Account { attributes, partner, created_at: now, modified_at, tag });
    }

    /// A person changes a value; returns the one that they saw and replaced. `None`: there is no such account.
    pub(crate) fn edit(
        &self,
        id: &AccountId,
        path: &AttributePath,
        value: Option<Value>,
        number: usize,
    ) -> Option<Option<Value>> {
        let kept = self.shape.keeping.keep(value.as_ref());
        self.change(id, path, kept, Author::Person(number))
    }

    fn change(
        &self,
        id: &AccountId,
        path: &AttributePath,
        after: Option<Value>,
        author: Author,
    ) -> Option<Option<Value>> {
        let (at, modified_at) = (self.clock.now(), self.now());
        let mut state = self.state();
        state.tags += 1;
        let tag = state.tags;
        let account = state.accounts.get_mut(id)?;
        let before = account.attributes.insert(path.clone(), after.clone()).flatten();
        (account.modified_at, account.tag) = (modified_at, tag);
        if let Author::Muster { request, .. } = author {
            let person = account.partner.as_ref().unwrap_or(id).to_string();
            let (side, over, value) = (self.side, shown(before.as_ref()), shown(after.as_ref()));
            let what = format!("request {request} writes {value} over {over} in {path} on {side}");
            self.timeline.note(self.clock.elapsed_ms(), Some(&person), what);
        }
        let entry = Entry { at, account: id.clone(), path: path.clone(), before: before.clone(), after, author };
        state.log.push(entry);
        Some(before)
    }

    /// It is out of order for so long, and says so or says nothing.
    pub(crate) fn go_out_of_order(&self, duration: Duration, answers: bool) {
        let until = self.clock.now() + duration;
        self.state().out = Some((until, answers));
    }

    /// Whether it is out of order, and says so.
    fn is_out(&self) -> Option<bool> {
        self.state().out.filter(|(until, _)| *until > self.clock.now()).map(|(_, answers)| answers)
    }

    /// A person removes an account.
    pub(crate) fn remove(&self, id: &AccountId) -> bool {
        self.state().accounts.remove(id).is_some()
    }

    pub(crate) fn accounts(&self) -> BTreeMap<AccountId, Account> {
        self.state().accounts.clone()
    }

    pub(crate) fn account(&self, id: &AccountId) -> Option<Account> {
        self.state().accounts.get(id).cloned()
    }

    /// The account that carries this one of the other side as its partner.
    pub(crate) fn partner_of(&self, id: &AccountId) -> Option<AccountId> {
        let state = self.state();
        state.accounts.iter().find(|(_, account)| account.partner.as_ref() == Some(id)).map(|(id, _)| id.clone())
    }

    pub(crate) fn log(&self) -> Vec<Entry> {
        self.state().log.clone()
    }

    /// How many changes the log has.
    pub(crate) fn log_len(&self) -> usize {
        self.state().log.len()
    }

    /// When Muster created an account, in the world's clock; `None`: it did not, or the account is gone.
    pub(crate) fn created_at(&self, account: &AccountId) -> Option<Timestamp> {
        let state = self.state();
        let is_ours = state.created.iter().any(|(_, created)| created == account);
        state.accounts.get(account).filter(|_| is_ours).map(|account| account.created_at)
    }

    /// Each creation by Muster: the partner and the new account.
    pub(crate) fn created(&self) -> Vec<(AccountId, AccountId)> {
        self.state().created.clone()
    }

    /// Each account that Muster deleted or took out of the roster: its partner, itself, and when, in the world's clock.
    pub(crate) fn deleted(&self) -> Vec<(AccountId, AccountId, Timestamp)> {
        self.state().deleted.clone()
    }

    pub(crate) fn unanswered(&self, id: &AccountId) -> usize {
        self.state().unanswered.get(id).copied().unwrap_or(0)
    }

    /// Whether no request can have an effect any more.
    pub(crate) fn is_quiet(&self) -> bool {
        self.state().on_the_way.is_empty()
    }

    /// Requests whose sender did not get the answer, or was told of a failure.
    pub(crate) fn unheard(&self) -> BTreeSet<u64> {
        self.state().unheard.clone()
    }

    /// What some request is about to write.
    pub(crate) fn on_the_way(&self) -> Vec<(AccountId, AttributePath)> {
        self.state().on_the_way.values().flatten().cloned().collect()
    }

    fn snapshot(&self, id: &AccountId, account: &Account, read_at: Timestamp) -> Snapshot {
        let stamped = self.shape.guard != Guard::Unstamped;
        let second = i64::try_from(GRAIN.as_millis()).expect("a second");
        let stamp = Timestamp(account.modified_at.0.div_euclid(second) * second);
        let tag = match self.shape.guard {
            Guard::Tag => Some(account.tag.to_string().into()),
            Guard::Stamp | Guard::LookFirst => None,
            // The connector digests what it was shown.
            Guard::Unstamped => Some(digest(&account.attributes).into()),
        };
        Snapshot {
            account: id.clone(),
            version: Version { modified_at: stamped.then_some(stamp), read_at, tag },
            attributes: account.attributes.clone(),
            partner: account.partner.clone(),
        }
    }

    /// Carries out one row of a request.
    fn carry_out(&self, write: &Write, looked_at: Timestamp, request: u64, faults: &Faults) -> Written {
        if faults.strike(Fault::RowFailed) {
            return Written::Failed(failed(FailureClass::Transient, "row_locked"));
        }
        let keep =
            |(path, value): (&AttributePath, &Option<Value>)| (path.clone(), self.shape.keeping.keep(value.as_ref()));
        let kept: Attributes = write.values.iter().map(keep).collect();
        if kept != write.values {
            faults.count(Fault::KeptOtherwise);
        }
        let read_at = self.now();
        let id = match &write.action {
            Action::Create { partner } => {
                let number = self.state().tags;
                let id: AccountId = format!("{}-of-{partner}-{number}", self.side).parse().expect("letters are an id");
                self.hire(&id, kept, Some(partner.clone()));
                self.state().created.push((partner.clone(), id.clone()));
                let what = format!("request {request} creates {id} on {}", self.side);
                self.timeline.note(self.clock.elapsed_ms(), Some(partner.as_str()), what);
                id
            }
            Action::Update { account, unless_changed_since } => {
                let Some(before) = self.account(account) else { return Written::Gone(read_at) };
                let now = self.snapshot(account, &before, read_at);
                if !self.shape.guard.has_window() && is_moved(self.shape.guard, &now.version, unless_changed_since) {
                    faults.count(Fault::WriteRefusedByCondition);
                    return Written::Moved(now);
                }
                for (path, value) in kept {
                    self.change(account, &path, value, Author::Muster { looked_at, request });
                }
                account.clone()
            }
            Action::Remove { account, unless_changed_since } | Action::Delete { account, unless_changed_since } => {
                let Some(before) = self.account(account) else { return Written::Gone(read_at) };
                let now = self.snapshot(account, &before, read_at);
                if !self.shape.guard.has_window() && is_moved(self.shape.guard, &now.version, unless_changed_since) {
                    faults.count(Fault::WriteRefusedByCondition);
                    return Written::Moved(now);
                }
                self.end(account, &before, request);
                faults.count(Fault::Deleted);
                if faults.strike(Fault::RowDoneAndFailed) {
                    return Written::Failed(failed(FailureClass::Transient, "row_timeout").in_doubt());
                }
                return Written::Ended;
            }
        };
        if faults.strike(Fault::RowDoneAndFailed) {
            return Written::Failed(failed(FailureClass::Transient, "row_timeout").in_doubt());
        }
        let account = self.account(&id).expect("it was written just now");
        Written::Done(self.snapshot(&id, &account, read_at))
    }

    /// Muster deletes an account, or takes it out of the roster: here both make it one that is not there.
    fn end(&self, id: &AccountId, account: &Account, request: u64) {
        let partner = account.partner.clone().unwrap_or_else(|| id.clone());
        let what = format!("request {request} ends {id} on {}", self.side);
        self.timeline.note(self.clock.elapsed_ms(), Some(partner.as_str()), what);
        let at = self.clock.now();
        let mut state = self.state();
        state.accounts.remove(id);
        state.deleted.push((partner, id.clone(), at));
    }

    /// A page of the accounts that were modified at or after `since` (own clock, in milliseconds), from behind the account
    /// `after`; the last account of it, if there are more; and how many there are in all.
    fn page(&self, since: i64, after: Option<&str>, read_at: Timestamp) -> (Vec<Record>, Option<String>, u64) {
        let accounts = self.accounts();
        let is_meant = |account: &Account| self.shape.guard == Guard::Unstamped || account.modified_at.0 >= since;
        let all: Vec<_> = accounts.iter().filter(|(_, account)| is_meant(account)).collect();
        let rest: Vec<_> = all.iter().filter(|(id, _)| after.is_none_or(|after| id.as_str() > after)).collect();
        let page = &rest[..rest.len().min(self.shape.page)];
        let last = page.last().filter(|_| rest.len() > page.len()).map(|(id, _)| id.as_str().to_owned());
        let records = page.iter().map(|(id, account)| Record::Account(self.snapshot(id, account, read_at)));
        (records.collect(), last, all.len() as u64)
    }
}

/// What stands for the values that an account holds, where a system has no version of its own.
fn digest(attributes: &Attributes) -> String {
    let mut hasher = SipHasher13::new();
    for (path, value) in attributes {
        hasher.write(path.as_str().as_bytes());
        hasher.write(shown(value.as_ref()).as_bytes());
        hasher.write_u8(0);
    }
    format!("{:016x}", hasher.finish())
}
