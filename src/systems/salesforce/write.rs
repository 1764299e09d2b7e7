//! Writing. One record by itself, on the condition that it was not changed since; several in one call that takes up to
//! 200, after one query that leaves out those that were. What the records hold then is read back: where it can be, by a
//! query in the same call.

use std::collections::{HashMap, VecDeque};
use std::iter;

use reqwest::{Method, StatusCode};
use serde_json::{Map, Value as Json, json};
use tokio::time::Instant;

use super::Object;
use super::Salesforce;
use super::client::{PARTS_A_CALL, Part, Request, ids_query};
use super::errors::{Refusal, refusal, row_refusal};
use super::fields::BATCH;
use super::id::parse_id;
use crate::domain::{AccountId, Attributes, Code, Failure, FailureClass, Snapshot, Timestamp, Version};
use crate::systems::http::{Answer, Call};
use crate::systems::{Action, Lookup, Record, Write, Written, not_offered};

/// A call that is refused whole, for the fault of some of its records, is made again in halves. No more calls than this
/// are made for one: enough to find one bad record among 200.
const MOST_CALLS: usize = 20;

/// The fields of one record, and where among the writes it stands.
struct Row {
    place: usize,
    /// Absent for a new record.
    account: Option<AccountId>,
    fields: Map<String, Json>,
}

/// What became of one record.
enum Sent {
    /// It was written; and what it holds then, where the call that wrote it has read that as well.
    Done(AccountId, Option<Snapshot>),
    /// It was not, or nobody knows.
    Not(Refusal),
}

/// One update.
struct Update<'w> {
    place: usize,
    account: AccountId,
    values: &'w Attributes,
    decided_on: &'w Version,
}

impl Salesforce {
    /// See [`System::write`](crate::systems::System::write).
    pub(super) async fn write_all(&self, writes: &[Write], deadline: Instant) -> Vec<Written> {
        let mut outcomes = Outcomes::default();
        for (number, chunk) in writes.chunks(BATCH).enumerate() {
            let (mut creates, mut updates) = (Vec::new(), Vec::new());
            for (place, write) in (number * BATCH..).zip(chunk) {
                match &write.action {
                    Action::Create { partner } => match self.fields.create(&write.values, partner) {
                        Ok(fields) => creates.push(Row { place, account: None, fields }),
                        Err(failure) => outcomes.failed(place, failure),
                    },
                    Action::Update { account, unless_changed_since } => match parse_id(account.as_str()) {
                        Some(account) => updates.push(Update {
                            place,
                            account,
                            values: &write.values,
                            decided_on: unless_changed_since,
                        }),
                        None => {
                            let text = "the account has no id of Salesforce's";
                            let failure = Failure::new(FailureClass::Permanent, Code::known("invalid_id"), text);
                            outcomes.failed(place, failure);
                        }
                    },
                    Action::Delete { account, unless_changed_since } => {
                        let written = self.delete(account, unless_changed_since, deadline).await;
                        outcomes.set(place, written.unwrap_or_else(Written::Failed));
                    }
                    Action::Remove { .. } => outcomes.failed(place, not_offered()),
                }
            }
            self.create(creates, deadline, &mut outcomes).await;
            self.update(updates, deadline, &mut outcomes).await;
        }
        (0..writes.len()).map(|place| outcomes.take(place)).collect()
    }

    /// Deletes one record that can be deleted: it goes to the recycle bin. A deletion takes no condition, so the record is
    /// looked at just before.
    async fn delete(&self, account: &AccountId, decided_on: &Version, deadline: Instant) -> Result<Written, Failure> {
        if self.object == Object::User {
            return Err(not_offered());
        }
        let call = Call::read("read_before").by(Some(deadline));
        match self.by_ids(call, std::slice::from_ref(account)).await?.pop() {
            Some(Lookup::Found(snapshot)) if moved(&snapshot.version, decided_on) => {
                return Ok(Written::Moved(snapshot));
            }
            Some(Lookup::Found(_)) => {}
            Some(Lookup::Absent(asked_at)) => return Ok(Written::Gone(asked_at)),
            Some(Lookup::Unreadable { code, attribute }) => return Err(unusable(code, attribute)),
            None => {
                let text = "the record was passed over";
                return Err(Failure::new(FailureClass::Transient, Code::known("no_answer"), text));
            }
        }
        let request = Request {
            call: Call::write("delete", deadline),
            method: Method::DELETE,
            path: &["sobjects", self.object.name(), account.as_str()],
            soql: None,
            unmodified_since: None,
            body: None,
        };
        let answer = self.client.send(&request).await?;
        if answer.status.is_success() {
            return match answer.is_html() {
                true => Err(answer.unreadable("a web page answered the deletion")),
                false => Ok(Written::Ended),
            };
        }
        match refusal(&answer) {
            Refusal::Gone(failure) => Ok(self.gone(account, failure, deadline).await),
            Refusal::Failed(failure) => Err(failure),
            Refusal::Exists(_) => Err(not_offered()),
        }
    }

    async fn create(&self, rows: Vec<Row>, deadline: Instant, outcomes: &mut Outcomes) {
        let mut done = Vec::new();
        for (place, sent) in self.send_rows(rows, deadline).await {
            match sent {
                Sent::Done(_, Some(snapshot)) => outcomes.set(place, Written::Done(snapshot)),
                Sent::Done(account, None) => done.push((place, account)),
                Sent::Not(Refusal::Exists(attribute)) => outcomes.set(place, Written::Exists { attribute }),
                // Where there is no record yet, it is the object that is not there.
                Sent::Not(Refusal::Gone(failure) | Refusal::Failed(failure)) => outcomes.failed(place, failure),
            }
        }
        self.read_back(done, deadline, outcomes).await;
    }

    async fn update(&self, updates: Vec<Update<'_>>, deadline: Instant, outcomes: &mut Outcomes) {
        // The condition of a single call is the stamp; without one, it is looked at before.
        let single = matches!(updates.as_slice(), [one] if one.decided_on.modified_at.is_some());
        let standing = if single { updates } else { self.leave_out_moved(updates, deadline, outcomes).await };
        let mut rows = Vec::with_capacity(standing.len());
        let mut conditions = HashMap::new();
        for update in standing {
            match self.fields.change(update.values) {
                Ok(fields) => {
                    conditions.insert(update.place, (update.account.clone(), update.decided_on.modified_at));
                    rows.push(Row { place: update.place, account: Some(update.account), fields });
                }
                Err(failure) => outcomes.failed(update.place, failure),
            }
        }
        if let Ok([row]) = <[Row; 1]>::try_from(std::mem::take(&mut rows)).map_err(|several| rows = several) {
            let (account, stamp) = conditions.remove(&row.place).expect("every row is of an update");
            return self.update_one(row, account, stamp, deadline, outcomes).await;
        }
        let (mut done, mut gone) = (Vec::new(), Vec::new());
        for (place, sent) in self.send_rows(rows, deadline).await {
            match sent {
                Sent::Done(_, Some(snapshot)) => outcomes.set(place, Written::Done(snapshot)),
                Sent::Done(account, None) => done.push((place, account)),
                Sent::Not(Refusal::Exists(attribute)) => outcomes.set(place, Written::Exists { attribute }),
                Sent::Not(Refusal::Failed(failure)) => outcomes.failed(place, failure),
                Sent::Not(Refusal::Gone(failure)) => gone.push((place, failure)),
            }
        }
        for (place, failure) in gone {
            let (account, _) = conditions.remove(&place).expect("every row is of an update");
            outcomes.set(place, self.gone(&account, failure, deadline).await);
        }
        self.read_back(done, deadline, outcomes).await;
    }

    /// Reads the accounts of several updates just before they are written, and answers for those that moved, are gone,
    /// or hold the values already. What is left stands as it was decided on.
    ///
    /// An edit between this query and the call is lost unseen: a call with many records takes no conditions.
    async fn leave_out_moved<'w>(
        &self,
        updates: Vec<Update<'w>>,
        deadline: Instant,
        outcomes: &mut Outcomes,
    ) -> Vec<Update<'w>> {
        let accounts: Vec<AccountId> = updates.iter().map(|update| update.account.clone()).collect();
        let call = Call::read("read_before").by(Some(deadline));
        let lookups = match self.by_ids(call, &accounts).await {
            Ok(lookups) => lookups,
            Err(failure) => {
                updates.iter().for_each(|update| outcomes.failed(update.place, failure.clone()));
                return Vec::new();
            }
        };
        let mut standing = Vec::with_capacity(updates.len());
        for (update, lookup) in updates.into_iter().zip(lookups) {
            match lookup {
                Lookup::Found(snapshot) if moved(&snapshot.version, update.decided_on) => {
                    outcomes.set(update.place, Written::Moved(snapshot));
                }
                Lookup::Found(snapshot) if holds(&snapshot, update.values) => {
                    outcomes.set(update.place, Written::Done(snapshot));
                }
                Lookup::Found(_) => standing.push(update),
                Lookup::Absent(asked_at) => outcomes.set(update.place, Written::Gone(asked_at)),
                Lookup::Unreadable { code, attribute } => outcomes.failed(update.place, unusable(code, attribute)),
            }
        }
        standing
    }

    /// Changes one record, unless it was changed after this second.
    async fn update_one(
        &self,
        row: Row,
        account: AccountId,
        stamp: Option<Timestamp>,
        deadline: Instant,
        outcomes: &mut Outcomes,
    ) {
        let body = Json::Object(row.fields);
        let request = Request {
            call: Call::write("update", deadline),
            method: Method::PATCH,
            path: &["sobjects", self.object.name(), account.as_str()],
            soql: None,
            unmodified_since: stamp,
            body: Some(&body),
        };
        let answer = match self.client.send(&request).await {
            Ok(answer) => answer,
            Err(failure) => return outcomes.failed(row.place, failure),
        };
        if answer.status.is_success() {
            return match answer.is_html() {
                true => outcomes.failed(row.place, answer.unreadable("a web page answered the write")),
                false => self.read_back(vec![(row.place, account)], deadline, outcomes).await,
            };
        }
        if answer.status == StatusCode::PRECONDITION_FAILED {
            return outcomes.set(row.place, self.moved_to(&account, &answer, deadline).await);
        }
        match refusal(&answer) {
            Refusal::Exists(attribute) => outcomes.set(row.place, Written::Exists { attribute }),
            Refusal::Gone(failure) => {
                let written = self.gone(&account, failure, deadline).await;
                outcomes.set(row.place, written);
            }
            Refusal::Failed(failure) => outcomes.failed(row.place, failure),
        }
    }

    /// What a record has become that was changed before we came.
    async fn moved_to(&self, account: &AccountId, answer: &Answer, deadline: Instant) -> Written {
        let call = Call::read("get").by(Some(deadline));
        match self.by_ids(call, std::slice::from_ref(account)).await.map(|mut lookups| lookups.pop()) {
            Ok(Some(Lookup::Found(snapshot))) => Written::Moved(snapshot),
            Ok(Some(Lookup::Absent(asked_at))) => Written::Gone(asked_at),
            Ok(Some(Lookup::Unreadable { code, attribute })) => Written::Failed(unusable(code, attribute)),
            Ok(None) => Written::Failed(answer.unreadable("the record was not answered for")),
            Err(failure) => Written::Failed(failure),
        }
    }

    /// A record that a call did not find: a query by its id says whether it is gone, or only the call was wrong.
    async fn gone(&self, account: &AccountId, failure: Failure, deadline: Instant) -> Written {
        let call = Call::read("get").by(Some(deadline));
        match self.by_ids(call, std::slice::from_ref(account)).await.map(|mut lookups| lookups.pop()) {
            Ok(Some(Lookup::Absent(asked_at))) => Written::Gone(asked_at),
            Ok(_) => Written::Failed(failure),
            Err(failure) => Written::Failed(failure),
        }
    }

    /// Sends records, all of them new or none: one by itself, several in one call, or in halves of it.
    async fn send_rows(&self, rows: Vec<Row>, deadline: Instant) -> Vec<(usize, Sent)> {
        let mut results = Vec::with_capacity(rows.len());
        let mut parts = VecDeque::from([rows]);
        let mut calls = 0;
        while let Some(mut part) = parts.pop_front() {
            calls += 1;
            match part.len() {
                0 => {}
                1 if part[0].account.is_none() => {
                    let row = part.pop().expect("there is one");
                    results.push((row.place, self.create_one(row.fields, deadline).await));
                }
                _ => match self.send_collection(&part, deadline).await {
                    Ok(sent) => results.extend(part.iter().map(|row| row.place).zip(sent)),
                    Err(failure) if is_refused_whole(&failure) && part.len() > 1 && calls < MOST_CALLS => {
                        let second = part.split_off(part.len() / 2);
                        parts.extend([part, second]);
                    }
                    Err(failure) => {
                        results.extend(part.iter().map(|row| (row.place, Sent::Not(Refusal::Failed(failure.clone())))))
                    }
                },
            }
        }
        results
    }

    async fn create_one(&self, fields: Map<String, Json>, deadline: Instant) -> Sent {
        let body = Json::Object(fields);
        let request = Request {
            call: Call::write("create", deadline),
            method: Method::POST,
            path: &["sobjects", self.object.name()],
            soql: None,
            unmodified_since: None,
            body: Some(&body),
        };
        let answer = match self.client.send(&request).await {
            Ok(answer) => answer,
            Err(failure) => return Sent::Not(Refusal::Failed(failure)),
        };
        if !answer.status.is_success() {
            return Sent::Not(refusal(&answer));
        }
        let created = answer.json().ok().as_ref().and_then(id_of);
        let nameless = || Refusal::Failed(answer.unreadable("the answer to the create does not name the record"));
        created.map_or_else(|| Sent::Not(nameless()), |account| Sent::Done(account, None))
    }

    /// One call with several records, in which each stands for itself. The answers are in the order of the records.
    ///
    /// # Errors
    /// The call failed as a whole; each of its records is in doubt if it is.
    async fn send_collection(&self, rows: &[Row], deadline: Instant) -> Result<Vec<Sent>, Failure> {
        let (operation, method) = match rows.first().is_some_and(|row| row.account.is_none()) {
            true => ("create_many", Method::POST),
            false => ("update_many", Method::PATCH),
        };
        let record = |row: &Row| {
            let mut record = Map::from_iter([("attributes".to_owned(), json!({"type": self.object.name()}))]);
            record.extend(row.account.as_ref().map(|account| ("id".to_owned(), account.as_str().into())));
            record.extend(row.fields.clone());
            Json::Object(record)
        };
        let body = json!({"allOrNone": false, "records": rows.iter().map(record).collect::<Vec<_>>()});
        let queries = self.read_along(rows);
        let parts: Vec<_> =
            iter::once(Part::Collection(method, body)).chain(queries.iter().map(|query| Part::Query(query))).collect();
        let answers = self.client.together(Call::write(operation, deadline), &parts).await?;
        let (answer, read) = answers.split_first().expect("there is an answer for each part");
        if !answer.status.is_success() {
            return match refusal(answer) {
                Refusal::Failed(failure) | Refusal::Gone(failure) => Err(failure),
                Refusal::Exists(_) => Err(answer.failure()),
            };
        }
        let answers = match answer.json()? {
            Json::Array(answers) if answers.len() == rows.len() => answers,
            _ => return Err(answer.unreadable("the answer does not have a row for each record")),
        };
        let mut held: HashMap<AccountId, Snapshot> = HashMap::new();
        for rows in read.iter().filter_map(|answer| self.client.all_rows(answer)) {
            // It is the answer to a write, and not older than that, whenever the call was sent.
            let accounts = rows.records.iter().map(|row| self.fields.read_row(row, answer.answered_at, rows.lossy));
            held.extend(accounts.filter_map(|record| match record {
                Record::Account(snapshot) => Some((snapshot.account.clone(), snapshot)),
                // It is asked for once more, by its id, and then it is said what is wrong with it.
                Record::Unreadable { .. } => None,
            }));
        }
        let mut sent = |(row, row_answer): (&Row, &Json)| {
            if row_answer.get("success").and_then(Json::as_bool) != Some(true) {
                return Sent::Not(row_refusal(row_answer, answer));
            }
            match id_of(row_answer).or_else(|| row.account.clone()) {
                Some(account) => {
                    let snapshot = held.remove(&account);
                    Sent::Done(account, snapshot)
                }
                None => Sent::Not(Refusal::Failed(answer.unreadable("a record was created that is not named"))),
            }
        };
        Ok(rows.iter().zip(&answers).map(&mut sent).collect())
    }

    /// Queries that find all these records once they are written: by their ids, or new ones by the partner that each of
    /// them names. None, if there are no such, or more than a call takes beside the write.
    fn read_along(&self, rows: &[Row]) -> Vec<String> {
        let ids: Option<Vec<&str>> = rows.iter().map(|row| row.account.as_ref().map(AccountId::as_str)).collect();
        let queries = match (ids, self.fields.partner()) {
            (Some(ids), _) => {
                let mut queries = Vec::new();
                let mut rest = &ids[..];
                while !rest.is_empty() {
                    let (query, taken) = ids_query(self.object.name(), &self.select(), rest);
                    queries.push(query);
                    rest = &rest[taken..];
                }
                queries
            }
            (None, Some(field)) => {
                let partners: Option<Vec<&str>> = rows.iter().map(|row| row.fields.get(field)?.as_str()).collect();
                partners.map(|partners| self.holders_of(field, &partners)).unwrap_or_default()
            }
            (None, None) => Vec::new(),
        };
        if queries.len() < PARTS_A_CALL { queries } else { Vec::new() }
    }

    /// Reads what records hold after they were written. One that cannot be read is in doubt: nobody knows what the write
    /// has put there.
    async fn read_back(&self, done: Vec<(usize, AccountId)>, deadline: Instant, outcomes: &mut Outcomes) {
        if done.is_empty() {
            return;
        }
        let accounts: Vec<AccountId> = done.iter().map(|(_, account)| account.clone()).collect();
        let in_doubt = |failure: Failure| {
            let text = format!("the write was carried out but could not be read back: {}", failure.message);
            Failure { code: Code::known("read_back"), message: text.into(), ..failure }.in_doubt()
        };
        let call = Call::read("read_back").by(Some(deadline));
        let lookups = match self.by_ids(call, &accounts).await {
            Ok(lookups) => lookups,
            Err(failure) => {
                let failure = in_doubt(failure);
                return done.iter().for_each(|(place, _)| outcomes.failed(*place, failure.clone()));
            }
        };
        for ((place, _), lookup) in done.into_iter().zip(lookups) {
            match lookup {
                Lookup::Found(snapshot) => outcomes.set(place, Written::Done(snapshot)),
                Lookup::Absent(_) => {
                    let text = "the run-as user cannot see the record";
                    let failure = Failure::new(FailureClass::Transient, Code::known("read_back"), text);
                    outcomes.failed(place, in_doubt(failure));
                }
                Lookup::Unreadable { code, attribute } => {
                    outcomes.failed(place, unusable(code, attribute).in_doubt());
                }
            }
        }
    }
}

/// The answers, by the place of their writes.
#[derive(Default)]
struct Outcomes(HashMap<usize, Written>);

impl Outcomes {
    fn set(&mut self, place: usize, written: Written) {
        self.0.insert(place, written);
    }

    fn failed(&mut self, place: usize, failure: Failure) {
        self.set(place, Written::Failed(failure));
    }

    fn take(&mut self, place: usize) -> Written {
        self.0.remove(&place).unwrap_or_else(|| {
            let failure = Failure::new(FailureClass::Transient, Code::known("no_answer"), "the record was passed over");
            Written::Failed(failure.in_doubt())
        })
    }
}

/// Whether a call was refused before any of its records was looked at, and perhaps for the fault of one of them.
fn is_refused_whole(failure: &Failure) -> bool {
    failure.class == FailureClass::Permanent && failure.status == Some(400) && !failure.in_doubt
}

/// The id of a record that an answer names.
fn id_of(answer: &Json) -> Option<AccountId> {
    parse_id(answer.get("id")?.as_str()?)
}

/// Whether a record is in another state than the one that a write was decided on. Without stamps nobody can tell.
fn moved(now: &Version, decided_on: &Version) -> bool {
    now.modified_at.zip(decided_on.modified_at).is_some_and(|(now, then)| now != then)
}

/// Whether a record has all these values already. A value that differs in letter case only is still written, since
/// somebody asked for it.
fn holds(snapshot: &Snapshot, values: &Attributes) -> bool {
    values.iter().all(|(path, value)| snapshot.attributes.get(path) == Some(value))
}

fn unusable(code: Code, attribute: Option<crate::domain::AttributePath>) -> Failure {
    let mut failure = Failure::new(FailureClass::Permanent, code, "the account cannot be used as it is");
    failure.attribute = attribute;
    failure
}
