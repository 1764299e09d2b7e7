//! The systems that the benchmark works between: rosters in memory, so that what is measured is Muster and not a network.
//!
//! People are made from their number, so a system keeps only four bytes of each: the edition of the person's title. What a
//! call costs here is what it costs to make the answer; the skeleton pays the same.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::yield_now;

use super::ledger::Ledger;
use crate::domain::{
    AccountId, AttributePath, Attributes, Code, Failure, FailureClass, Side, Snapshot, Timestamp, Value, Version,
};
use crate::systems::{
    Action, AttributeSchema, CallReport, Finding, Lookup, Next, Page, ReadFrom, Record, Schema, SearchKey, System,
    ValueKind, Write, Written,
};

/// Accounts on one page of a list.
const PAGE: u32 = 1_000;

/// The attribute that changes.
const TITLE: &str = "title";

/// What the title begins with; the edition follows.
const POST: &str = "Senior Analyst";

/// The attribute by which an existing account is looked for.
pub const USER_NAME: &str = "userName";

/// The ten attributes of each person, of ordinary length.
pub const ATTRIBUTES: [&str; 10] = [
    USER_NAME,
    "emails",
    "name.givenName",
    "name.familyName",
    "displayName",
    TITLE,
    "phoneNumbers",
    "locale",
    "timezone",
    "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department",
];

/// A system in memory.
pub struct Roster {
    side: Side,
    schema: Schema,
    paths: Vec<AttributePath>,
    /// The edition of each account, by number; 0: there is none.
    editions: Mutex<Vec<u32>>,
    /// When this system came into being; the stamps of accounts lie before that.
    born_at: Timestamp,
    writes: AtomicU64,
    ledger: Mutex<Option<Arc<Ledger>>>,
}

impl Roster {
    /// A system without accounts, whose ids have the form that systems of this side give: Salesforce's on `a`, UUIDs on
    /// `b`. One call of it writes `batch` accounts.
    pub fn new(side: Side, batch: usize) -> Arc<Self> {
        let paths: Vec<AttributePath> = ATTRIBUTES.map(|name| name.parse().expect("they are paths")).into();
        let attributes = paths.iter().map(|path| AttributeSchema {
            path: path.clone(),
            kind: ValueKind::Text,
            max_chars: None,
            required: false,
            writable: true,
            comparison: Default::default(),
        });
        let schema = Schema {
            attributes: attributes.collect(),
            grain: Duration::from_secs(1),
            stamps: true,
            batch,
            // As the connector for SCIM does by default.
            calls: 8,
            writable: true,
            readable: true,
            whole: false,
            shown_by: None,
            partner: None,
            incremental: false,
            parse_id: |id| id.parse().ok(),
            search_lag: Duration::ZERO,
        };
        Arc::new(Self {
            side,
            schema,
            paths,
            editions: Mutex::default(),
            born_at: now(),
            writes: AtomicU64::new(0),
            ledger: Mutex::default(),
        })
    }

    /// Somebody edits the first `people`, who are hired where they are not there.
    pub fn edit(&self, people: u32) {
        let mut editions = self.editions();
        let least = usize::try_from(people).unwrap_or(usize::MAX);
        if editions.len() < least {
            editions.resize(least, 0);
        }
        editions.iter_mut().take(least).for_each(|edition| *edition += 1);
    }

    /// Where the answers to writes are noted from now on.
    pub fn report_to(&self, ledger: Option<Arc<Ledger>>) {
        *lock(&self.ledger) = ledger;
    }

    /// Accounts written so far.
    pub fn writes(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }

    /// The edition of each account.
    pub fn all_editions(&self) -> Vec<u32> {
        self.editions().clone()
    }

    /// What a read of this account shows now.
    pub fn seen(&self, number: u32) -> Option<Snapshot> {
        let edition = self.edition(number)?;
        Some(self.snapshot(number, edition))
    }

    /// The write that brings this account to the edition that `leader` has.
    pub fn update_to(&self, number: u32, leader: &Self) -> Option<Write> {
        let (held, wanted) = (self.edition(number)?, leader.edition(number)?);
        let action = Action::Update { account: self.id(number), unless_changed_since: self.version(held) };
        Some(Write::new(action, [(self.title_path(), Some(title(wanted)))].into()))
    }

    fn title_path(&self) -> AttributePath {
        TITLE.parse().expect("it is a path")
    }

    fn editions(&self) -> MutexGuard<'_, Vec<u32>> {
        lock(&self.editions)
    }

    fn edition(&self, number: u32) -> Option<u32> {
        self.editions().get(usize::try_from(number).ok()?).copied().filter(|edition| *edition > 0)
    }

    fn id(&self, number: u32) -> AccountId {
        account(self.side, number)
    }

    fn version(&self, edition: u32) -> Version {
        let day = Duration::from_secs(24 * 3600);
        Version {
            modified_at: Some(self.born_at - day + Duration::from_secs(u64::from(edition) * 60)),
            read_at: now(),
            tag: (self.side == Side::B).then(|| format!("W/\"{edition:016x}\"").into()),
        }
    }

    fn snapshot(&self, number: u32, edition: u32) -> Snapshot {
        let values = [
            format!("Ada.Lovelace.{number}@example.com"),
            format!("Ada.Lovelace.{number}@example.com"),
            "Ada Augusta".to_owned(),
            format!("Lovelace{number}"),
            format!("Ada Lovelace{number}"),
            format!("{POST} {edition}"),
            format!("+44 20 7946 {number:04}"),
            "en_GB".to_owned(),
            "Europe/London".to_owned(),
            "Analytical Engines".to_owned(),
        ];
        let attributes = self.paths.iter().cloned().zip(values.map(|value| Some(Value::Text(value))));
        Snapshot {
            account: self.id(number),
            version: self.version(edition),
            attributes: attributes.collect(),
            partner: (self.side == Side::B).then(|| account(Side::A, number)),
        }
    }

    fn write_one(&self, write: &Write) -> (Option<u32>, Written) {
        let edition = edition_of(&write.values);
        let mut editions = self.editions();
        let (number, edition) = match &write.action {
            Action::Create { partner } => {
                let (Some(number), Some(edition)) = (number(partner), edition) else { return (None, strange()) };
                let place = usize::try_from(number).unwrap_or(usize::MAX);
                if editions.len() <= place {
                    editions.resize(place + 1, 0);
                }
                if editions[place] > 0 {
                    return (None, Written::Exists { attribute: None });
                }
                (number, edition)
            }
            Action::Update { account, unless_changed_since } => {
                let held = number(account).and_then(|number| {
                    let held = editions.get(usize::try_from(number).ok()?).copied()?;
                    Some((number, held))
                });
                let Some((number, held)) = held else { return (None, Written::Gone(now())) };
                if unless_changed_since.tag != self.version(held).tag {
                    return (None, Written::Moved(self.snapshot(number, held)));
                }
                (number, edition.unwrap_or(held))
            }
            Action::Remove { .. } | Action::Delete { .. } => return (None, strange()),
        };
        editions[usize::try_from(number).unwrap_or(usize::MAX)] = edition;
        drop(editions);
        (Some(number), Written::Done(self.snapshot(number, edition)))
    }
}

/// The id of an account: 18 letters as Salesforce has them, or a UUID as a directory has.
fn account(side: Side, number: u32) -> AccountId {
    let id = match side {
        Side::A => format!("005RM00000{number:08}"),
        Side::B => format!("{number:08}-9e37-79b9-7f4a-7c15f39cc060"),
    };
    id.parse().expect("digits and letters are an id")
}

/// The number of an account of either side.
fn number(account: &AccountId) -> Option<u32> {
    let id = account.as_str();
    match id.strip_prefix("005RM00000") {
        Some(number) => number.parse().ok(),
        None => id.get(..8)?.parse().ok(),
    }
}

fn title(edition: u32) -> Value {
    Value::Text(format!("{POST} {edition}"))
}

/// The edition that a title names.
fn edition_of(values: &Attributes) -> Option<u32> {
    let title = values.iter().find(|(path, _)| path.as_str() == TITLE)?.1.as_ref()?.as_text()?;
    title.strip_prefix(POST)?.trim().parse().ok()
}

fn strange() -> Written {
    let text = "the benchmark's system was asked for something that it does not know";
    Written::Failed(Failure::new(FailureClass::Permanent, Code::known("strange"), text))
}

fn now() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_millisecond())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl System for Roster {
    fn schema(&self) -> &Schema {
        &self.schema
    }

    async fn preflight(&self) -> Vec<Finding> {
        Vec::new()
    }

    async fn read(&self, from: &ReadFrom) -> Result<Page, Failure> {
        yield_now().await;
        let first = match from {
            ReadFrom::Position(number) => number.parse().unwrap_or(0),
            ReadFrom::Start | ReadFrom::Watermark(_) => 0,
        };
        let editions: Vec<u32> = {
            let editions = self.editions();
            let (first, page) = (usize::try_from(first).unwrap_or(usize::MAX), PAGE as usize);
            editions.iter().skip(first).take(page).copied().collect()
        };
        let all = self.editions().len();
        let end = first + PAGE;
        let records = (first..).zip(editions).filter(|(_, edition)| *edition > 0);
        let next = match usize::try_from(end) {
            Ok(end) if end < all => Next::Page(end.to_string()),
            _ => Next::End { watermark: None, proven_complete: true, unsettled: None },
        };
        Ok(Page {
            records: records.map(|(number, edition)| Record::Account(self.snapshot(number, edition))).collect(),
            next,
            expected: Some(all as u64),
        })
    }

    async fn get(&self, accounts: &[AccountId]) -> Result<Vec<Lookup>, Failure> {
        yield_now().await;
        let look = |account| match number(account).and_then(|number| self.seen(number)) {
            Some(snapshot) => Lookup::Found(snapshot),
            None => Lookup::Absent(now()),
        };
        Ok(accounts.iter().map(look).collect())
    }

    async fn search(&self, keys: &[SearchKey]) -> Result<Vec<Vec<Snapshot>>, Failure> {
        yield_now().await;
        let found = |key: &SearchKey| {
            let number = match key {
                SearchKey::Partner(partner) => number(partner),
                SearchKey::Attribute(_, text) => text.split(['.', '@']).find_map(|part| part.parse().ok()),
            };
            number.and_then(|number| self.seen(number)).into_iter().collect()
        };
        Ok(keys.iter().map(found).collect())
    }

    async fn write(&self, writes: &[Write], _deadline: tokio::time::Instant) -> Vec<Written> {
        yield_now().await;
        let (numbers, written): (Vec<_>, Vec<_>) = writes.iter().map(|write| self.write_one(write)).unzip();
        self.writes.fetch_add(numbers.iter().flatten().count() as u64, Ordering::Relaxed);
        let ledger = lock(&self.ledger).clone();
        if let Some(ledger) = ledger {
            ledger.answered(numbers.into_iter().flatten());
        }
        written
    }

    fn clock(&self) -> Timestamp {
        now()
    }

    fn shown_clock(&self) -> Option<Timestamp> {
        Some(now())
    }

    fn remedy(&self, _code: &Code) -> Option<&'static str> {
        None
    }

    fn report(&self) -> CallReport {
        CallReport::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_roster_follows_another() {
        let (leader, follower) = (Roster::new(Side::A, 1), Roster::new(Side::B, 200));
        leader.edit(3);
        let create = |number| {
            Write::new(Action::Create { partner: account(Side::A, number) }, leader.seen(number).unwrap().attributes)
        };
        let deadline = tokio::time::Instant::now();
        let written = follower.write(&[create(0), create(2)], deadline).await;
        assert!(matches!(&written[1], Written::Done(made) if made.attributes == leader.seen(2).unwrap().attributes));
        assert_eq!((follower.all_editions(), follower.writes()), (vec![1, 0, 1], 2));

        leader.edit(3);
        let update = follower.update_to(2, &leader).unwrap();
        assert!(matches!(follower.write(std::slice::from_ref(&update), deadline).await[0], Written::Done(_)));
        assert!(matches!(follower.write(&[update], deadline).await[0], Written::Moved(_)), "its tag is an old one");
        let user_name = leader.seen(2).unwrap().attributes[&USER_NAME.parse().unwrap()].clone().unwrap();
        let key = SearchKey::Attribute(USER_NAME.parse().unwrap(), user_name.as_text().unwrap().to_owned());
        let found = follower.search(&[key, SearchKey::Partner(account(Side::A, 1))]).await.unwrap();
        assert_eq!((found[0].len(), found[1].len()), (1, 0));
    }
}
