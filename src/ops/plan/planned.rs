//! A system that is read and never written: a write becomes a record of what it would have done, and whatever is read
//! afterwards is as if it had been done.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use tokio::time::Instant;

use crate::domain::{
    AccountId, AttributePath, Attributes, Code, Comparison, Failure, FailureClass, Snapshot, Timestamp, Value, Version,
};
use crate::systems::{
    Action, CallReport, Finding, Lookup, Next, Page, ReadFrom, Record, Rights, Schema, SearchKey, SharedSystem, System,
    Write, Written,
};

/// Accounts that would be created are called so, and a number, until their system gives them ids.
const PLACEHOLDER: &str = "planned-";

/// What would become of one account.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    /// The account; for one that would be created a placeholder.
    pub(super) account: AccountId,
    /// The partner of an account that would be created; `None`: it exists.
    pub(super) created_for: Option<AccountId>,
    /// The attributes that would be written, under the system's names, as they are now.
    pub(super) before: Attributes,
    /// The same as they would be.
    pub(super) after: Attributes,
    /// The account as it would be.
    pub(super) then: Snapshot,
}

/// A system whose writes are only noted.
pub(super) struct Planned {
    real: SharedSystem,
    /// Attributes by which accounts are searched for before one is created.
    matched: Vec<AttributePath>,
    notes: Mutex<Notes>,
}

#[derive(Default)]
struct Notes {
    outcomes: BTreeMap<AccountId, Outcome>,
    /// Accounts that would be created, by their partners.
    by_partner: HashMap<AccountId, AccountId>,
    /// Accounts by values that they would have, of the attributes by which accounts are searched for; `key` folds them.
    by_value: HashMap<(AttributePath, String), Vec<AccountId>>,
    /// Counts what was noted: names accounts and versions.
    count: u64,
}

impl Planned {
    /// `matched` are the attributes, under the system's names, by which the connection finds existing accounts.
    pub(super) fn new(real: SharedSystem, matched: Vec<AttributePath>) -> Self {
        Self { real, matched, notes: Mutex::default() }
    }

    /// What would become of the accounts of the system, in the order of their ids.
    pub(super) fn outcomes(&self) -> Vec<Outcome> {
        self.notes().outcomes.values().cloned().collect()
    }

    /// The partner of the account that this text is the placeholder of.
    pub(super) fn created_for(&self, placeholder: &str) -> Option<AccountId> {
        let account: AccountId = placeholder.starts_with(PLACEHOLDER).then(|| placeholder.parse().ok())??;
        self.notes().outcomes.get(&account)?.created_for.clone()
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().expect("nothing panics while the lock is held")
    }

    /// The attribute whose values are unique in every system that has it: a system refuses a second account with one.
    fn login(&self) -> Option<AttributePath> {
        let name: AttributePath = "userName".parse().expect("letters are a path");
        self.real.schema().attribute(&name).is_some().then_some(name)
    }

    fn comparison(&self, path: &AttributePath) -> Comparison {
        self.real.schema().attribute(path).map(|attribute| attribute.comparison).unwrap_or_default()
    }

    /// Whether values of this attribute are searched for.
    fn is_searched(&self, path: &AttributePath) -> bool {
        self.matched.contains(path) || path.as_str() == "userName"
    }

    fn has(&self, snapshot: &Snapshot, key: &SearchKey) -> bool {
        match key {
            SearchKey::Partner(partner) => snapshot.partner.as_ref() == Some(partner),
            SearchKey::Attribute(path, text) => {
                let value = snapshot.attributes.get(path).and_then(Option::as_ref);
                value.is_some() && self.comparison(path).equal(value, Some(&Value::from(&**text)))
            }
        }
    }

    /// The accounts that have this value: of those that the system found, and of those that were noted.
    fn found(&self, key: &SearchKey, found: Vec<Snapshot>) -> Vec<Snapshot> {
        let notes = self.notes();
        let mut all: Vec<_> = found.into_iter().map(|snapshot| notes.shown(snapshot)).collect();
        all.retain(|snapshot| !notes.outcomes.contains_key(&snapshot.account) || self.has(snapshot, key));
        let noted: Vec<&AccountId> = match key {
            SearchKey::Partner(partner) => notes.by_partner.get(partner).into_iter().collect(),
            SearchKey::Attribute(path, text) => {
                notes.by_value.get(&(path.clone(), folded(text))).into_iter().flatten().collect()
            }
        };
        for outcome in noted.into_iter().filter_map(|account| notes.outcomes.get(account)) {
            if self.has(&outcome.then, key) && !all.iter().any(|known| known.account == outcome.account) {
                all.push(self.now(&outcome.then));
            }
        }
        all
    }

    /// A noted state, as if it were read now.
    fn now(&self, then: &Snapshot) -> Snapshot {
        let version = Version { read_at: self.real.clock(), ..then.version.clone() };
        Snapshot { version, ..then.clone() }
    }

    /// For each write, whether an account that is there already has the login that it would give.
    async fn clashes(&self, writes: &[Write]) -> Result<Vec<bool>, Failure> {
        let mut clashes = vec![false; writes.len()];
        let Some(login) = self.login() else { return Ok(clashes) };
        let (places, keys): (Vec<_>, Vec<_>) = writes
            .iter()
            .enumerate()
            // Before a creation the writer searched by these itself.
            .filter(|(_, write)| !(matches!(write.action, Action::Create { .. }) && self.matched.contains(&login)))
            .filter_map(|(place, write)| match write.values.get(&login) {
                Some(Some(Value::Text(text))) => Some((place, SearchKey::Attribute(login.clone(), text.clone()))),
                _ => None,
            })
            .unzip();
        if keys.is_empty() {
            return Ok(clashes);
        }
        for (place, found) in places.into_iter().zip(self.real.search(&keys).await?) {
            let own = writes[place].action.account();
            let notes = self.notes();
            // One that would be renamed is judged by what was noted of it.
            clashes[place] =
                found.iter().any(|other| Some(&other.account) != own && !notes.outcomes.contains_key(&other.account));
        }
        Ok(clashes)
    }

    /// Whether an account that was noted would have the login that this write gives to another one.
    fn clashes_noted(&self, notes: &Notes, write: &Write, own: Option<&AccountId>) -> bool {
        let Some(login) = self.login() else { return false };
        let Some(Some(Value::Text(text))) = write.values.get(&login) else { return false };
        let key = SearchKey::Attribute(login.clone(), text.clone());
        let noted = notes.by_value.get(&(login, folded(text))).into_iter().flatten();
        noted
            .filter_map(|account| notes.outcomes.get(account))
            .any(|outcome| Some(&outcome.account) != own && self.has(&outcome.then, &key))
    }

    async fn note(&self, writes: &[Write]) -> Result<Vec<Written>, Failure> {
        let updated: Vec<_> = writes.iter().filter_map(|write| write.action.account().cloned()).collect();
        let mut lookups = match (updated.is_empty(), self.real.schema().readable) {
            (true, _) => Vec::new(),
            (false, true) => self.get(&updated).await?,
            // Nobody knows what it holds; the write would not be conditional either.
            (false, false) => writes.iter().filter_map(blank).map(Lookup::Found).collect(),
        }
        .into_iter();
        let clashes = self.clashes(writes).await?;
        let mut notes = self.notes();
        let answers = writes.iter().zip(clashes).map(|(write, clash)| match &write.action {
            Action::Create { partner } => {
                if clash || self.clashes_noted(&notes, write, None) {
                    return Written::Exists { attribute: self.login() };
                }
                Written::Done(self.create(&mut notes, partner, &write.values))
            }
            Action::Update { account, unless_changed_since } => match lookups.next() {
                Some(Lookup::Found(now)) if is_other(&now.version, unless_changed_since) => Written::Moved(now),
                Some(Lookup::Found(_)) if clash || self.clashes_noted(&notes, write, Some(account)) => {
                    Written::Exists { attribute: self.login() }
                }
                Some(Lookup::Found(now)) => Written::Done(self.update(&mut notes, now, &write.values)),
                Some(Lookup::Absent(at)) => Written::Gone(at),
                Some(Lookup::Unreadable { code, attribute }) => {
                    let failure = Failure::new(FailureClass::Permanent, code, "the account cannot be read");
                    Written::Failed(Failure { attribute, ..failure })
                }
                None => Written::Failed(unanswered()),
            },
            // What becomes of the account is read off its link.
            Action::Remove { unless_changed_since, .. } | Action::Delete { unless_changed_since, .. } => {
                match lookups.next() {
                    Some(Lookup::Found(now)) if is_other(&now.version, unless_changed_since) => Written::Moved(now),
                    Some(Lookup::Found(_) | Lookup::Unreadable { .. }) => Written::Ended,
                    Some(Lookup::Absent(at)) => Written::Gone(at),
                    None => Written::Failed(unanswered()),
                }
            }
        });
        Ok(answers.collect())
    }

    fn create(&self, notes: &mut Notes, partner: &AccountId, values: &Attributes) -> Snapshot {
        notes.count += 1;
        let account: AccountId = format!("{PLACEHOLDER}{}", notes.count).parse().expect("letters and digits are an id");
        let now = self.real.clock();
        let then = Snapshot {
            account: account.clone(),
            version: Version { modified_at: Some(now), read_at: now, tag: None },
            attributes: values.clone(),
            partner: Some(partner.clone()),
        };
        notes.by_partner.insert(partner.clone(), account.clone());
        self.index(notes, &account, values);
        let outcome = Outcome {
            account: account.clone(),
            created_for: Some(partner.clone()),
            before: Attributes::new(),
            after: values.clone(),
            then: then.clone(),
        };
        notes.outcomes.insert(account, outcome);
        then
    }

    fn update(&self, notes: &mut Notes, now: Snapshot, values: &Attributes) -> Snapshot {
        notes.count += 1;
        let clock = self.real.clock();
        let mut then = now.clone();
        then.attributes.extend(values.clone());
        then.version = Version {
            modified_at: now.version.modified_at.map(|before| before.max(clock)),
            read_at: clock,
            tag: now.version.tag.as_ref().map(|_| format!("{PLACEHOLDER}{}", notes.count).into()),
        };
        self.index(notes, &now.account, values);
        let outcome = notes.outcomes.entry(now.account.clone()).or_insert_with(|| Outcome {
            account: now.account.clone(),
            created_for: None,
            before: Attributes::new(),
            after: Attributes::new(),
            then: then.clone(),
        });
        for (path, value) in values {
            // What was noted before is not what the account holds.
            if !outcome.after.contains_key(path) && outcome.created_for.is_none() {
                outcome.before.insert(path.clone(), now.attributes.get(path).cloned().flatten());
            }
            outcome.after.insert(path.clone(), value.clone());
        }
        outcome.then = then.clone();
        then
    }

    fn index(&self, notes: &mut Notes, account: &AccountId, values: &Attributes) {
        for (path, value) in values.iter().filter(|(path, _)| self.is_searched(path)) {
            if let Some(Value::Text(text)) = value {
                notes.by_value.entry((path.clone(), folded(text))).or_default().push(account.clone());
            }
        }
    }
}

impl Notes {
    /// What was read, as if all that was noted of the account had been done.
    fn shown(&self, mut read: Snapshot) -> Snapshot {
        let Some(outcome) = self.outcomes.get(&read.account) else { return read };
        read.attributes.extend(outcome.after.clone());
        let Version { modified_at, tag, .. } = &outcome.then.version;
        read.version.modified_at = read.version.modified_at.max(*modified_at);
        read.version.tag.clone_from(tag);
        read
    }
}

/// A form that all values share which some system takes for the same.
fn folded(text: &str) -> String {
    text.trim().to_lowercase()
}

/// Whether the account is in another state than the one that a write was decided on.
fn is_other(now: &Version, known: &Version) -> bool {
    match (&now.tag, &known.tag) {
        (Some(now), Some(known)) => now != known,
        _ => matches!((now.modified_at, known.modified_at), (Some(now), Some(known)) if now != known),
    }
}

fn unanswered() -> Failure {
    Failure::new(FailureClass::Transient, Code::known("no_answer"), "the connector left questions unanswered")
}

#[async_trait]
impl System for Planned {
    fn schema(&self) -> &Schema {
        self.real.schema()
    }

    async fn preflight(&self) -> Vec<Finding> {
        self.real.preflight().await
    }

    async fn prove_rights(&self, rights: &Rights) -> Vec<Finding> {
        self.real.prove_rights(rights).await
    }

    async fn read(&self, from: &ReadFrom) -> Result<Page, Failure> {
        let mut page = self.real.read(from).await?;
        let notes = self.notes();
        page.records = page
            .records
            .into_iter()
            .map(|record| match record {
                Record::Account(snapshot) => Record::Account(notes.shown(snapshot)),
                unreadable => unreadable,
            })
            .collect();
        // Accounts that would be there by now would be listed; a list that lacks too many is doubted.
        if matches!(page.next, Next::End { .. }) && !matches!(from, ReadFrom::Watermark(_)) {
            let created = notes.outcomes.values().filter(|outcome| outcome.created_for.is_some());
            page.records.extend(created.map(|outcome| Record::Account(self.now(&outcome.then))));
        }
        Ok(page)
    }

    async fn get(&self, accounts: &[AccountId]) -> Result<Vec<Lookup>, Failure> {
        let noted: Vec<Option<Snapshot>> = {
            let notes = self.notes();
            let created = |account| notes.outcomes.get(account).filter(|outcome| outcome.created_for.is_some());
            accounts.iter().map(|account| created(account).map(|outcome| self.now(&outcome.then))).collect()
        };
        let rest: Vec<_> =
            accounts.iter().zip(&noted).filter(|(_, noted)| noted.is_none()).map(|(a, _)| a.clone()).collect();
        let read = if rest.is_empty() { Vec::new() } else { self.real.get(&rest).await? };
        if read.len() != rest.len() {
            return Err(unanswered());
        }
        let (mut read, notes) = (read.into_iter(), self.notes());
        let answer = |noted| match noted {
            Some(snapshot) => Lookup::Found(snapshot),
            None => match read.next().expect("as many as were asked for") {
                Lookup::Found(snapshot) => Lookup::Found(notes.shown(snapshot)),
                other => other,
            },
        };
        Ok(noted.into_iter().map(answer).collect())
    }

    async fn merges(&self, from: &ReadFrom) -> Result<Vec<(AccountId, AccountId)>, Failure> {
        self.real.merges(from).await
    }

    async fn merged_into(&self, gone: &[AccountId]) -> Result<Vec<Option<AccountId>>, Failure> {
        self.real.merged_into(gone).await
    }

    fn searches_by(&self, attribute: &AttributePath) -> bool {
        self.real.searches_by(attribute)
    }

    async fn search(&self, keys: &[SearchKey]) -> Result<Vec<Vec<Snapshot>>, Failure> {
        let found = self.real.search(keys).await?;
        Ok(keys.iter().zip(found).map(|(key, found)| self.found(key, found)).collect())
    }

    /// Notes what would be written. Only reads are sent.
    async fn write(&self, writes: &[Write], deadline: Instant) -> Vec<Written> {
        let timeout = |_| Failure::new(FailureClass::Transient, Code::known("timeout"), "looking took too long");
        let answers = tokio::time::timeout_at(deadline, self.note(writes)).await.map_err(timeout);
        match answers.and_then(|answers| answers) {
            Ok(answers) => answers,
            Err(failure) => writes.iter().map(|_| Written::Failed(failure.clone())).collect(),
        }
    }

    fn clock(&self) -> Timestamp {
        self.real.clock()
    }

    fn shown_clock(&self) -> Option<Timestamp> {
        self.real.shown_clock()
    }

    fn remedy(&self, code: &Code) -> Option<&'static str> {
        self.real.remedy(code)
    }

    fn report(&self) -> CallReport {
        self.real.report()
    }
}

/// An account of a system that cannot be read, in the state that a write expects.
fn blank(write: &Write) -> Option<Snapshot> {
    let (Action::Update { account, unless_changed_since }
    | Action::Remove { account, unless_changed_since }
    | Action::Delete { account, unless_changed_since }) = &write.action
    else {
        return None;
    };
    let (account, version) = (account.clone(), unless_changed_since.clone());
    Some(Snapshot { account, version, attributes: Attributes::new(), partner: None })
}
