//! Reading: pages, and accounts by id.

use std::collections::{BTreeSet, HashMap};
use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::Instant;

use super::Salesforce;
use super::client::{Rows, described_fields};
use super::fields::stamp_of;
use super::id::parse_id;
use super::position::Position;
use crate::domain::{AccountId, Code, Failure, FailureClass};
use crate::systems::http::Call;
use crate::systems::{Lookup, Next, Page, ReadFrom, Record};

/// How long fields that the run-as user may not see are left out before they are asked for again.
const HIDDEN_FOR: Duration = Duration::from_secs(3600);

impl Salesforce {
    /// One page, see [`System::read`](crate::systems::System::read).
    pub(super) async fn page(&self, from: &ReadFrom) -> Result<Page, Failure> {
        let mut position = match from {
            ReadFrom::Start => Position::start(None),
            ReadFrom::Watermark(watermark) => Position::from_watermark(watermark)?,
            ReadFrom::Position(position) => Position::parse(position)?,
        };
        let rows = self.rows(&mut position).await?;
        let mut records = Vec::with_capacity(rows.records.len());
        for row in &rows.records {
            let record = self.fields.read_row(row, position.asked_at, rows.lossy);
            let account = match &record {
                Record::Account(snapshot) => Some(snapshot.account.clone()),
                Record::Unreadable { account, .. } => account.clone(),
            };
            // A row that cannot be told from another proves nothing about anybody's absence.
            position.unbroken &= account.is_some();
            position.passed(stamp_of(row).zip(account), rows.sent_at);
            records.push(record);
        }
        let expected = Some(position.total.max(position.listed));
        position.locator = rows.locator;
        let next = match position.locator {
            Some(_) => Next::Page(position.to_text()),
            None => Next::End {
                watermark: position.watermark(self.overlap, self.client.http.clock().is_known()),
                proven_complete: self.proves_completeness(&position, &rows.records).await,
                unsettled: position.unsettled_for(self.client.http.clock().now()),
            },
        };
        Ok(Page { records, next, expected })
    }

    /// The next rows of a read: of its cursor, or if that is dead or there is none yet, of a query for what is left.
    async fn rows(&self, position: &mut Position) -> Result<Rows, Failure> {
        if let Some(locator) = &position.locator {
            match self.client.more(Call::read("query"), locator).await {
                Ok(rows) => {
                    position.unbroken &= rows.total == position.total;
                    return Ok(rows);
                }
                Err(failure) if failure.code.as_str() == "invalid_query_locator" => position.break_off(),
                Err(failure) => return Err(failure),
            }
        }
        let rows = self.selecting(|select| position.query(&select, self.object.name())).await?;
        position.asked(rows.sent_at, rows.total);
        Ok(rows)
    }

    /// Sends the query that `soql` makes of a list of fields. If one of them is hidden from the run-as user, the
    /// object's description tells which, and the query goes out once more without them.
    async fn selecting(&self, soql: impl Fn(String) -> String) -> Result<Rows, Failure> {
        let result = self.client.query(Call::read("query"), &soql(self.select())).await;
        match result {
            Err(failure) if failure.code.as_str() == "invalid_field" => {
                if self.learn_hidden_fields().await? {
                    self.client.query(Call::read("query"), &soql(self.select())).await
                } else {
                    Err(failure)
                }
            }
            other => other,
        }
    }

    /// The fields to ask for.
    pub(super) fn select(&self) -> String {
        let hidden = self.hidden.lock().unwrap_or_else(PoisonError::into_inner);
        match &*hidden {
            Some((since, names)) if since.elapsed() < HIDDEN_FOR => self.fields.select(names),
            _ => self.fields.select(&BTreeSet::new()),
        }
    }

    /// Reads which fields there are. Whether there is something new to leave out.
    pub(super) async fn learn_hidden_fields(&self) -> Result<bool, Failure> {
        let before = self.select();
        let description = self.client.describe(self.object.name()).await?;
        let Some(visible) = described_fields(&description) else { return Ok(false) };
        let names = self.fields.names().filter(|name| !visible.contains(*name)).map(str::to_owned).collect();
        *self.hidden.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), names));
        Ok(self.select() != before)
    }

    /// Whether a read that is at its end has shown every account: it is one unbroken query that gave as many rows as it
    /// said, each with an id, and (if it took more than one answer) there are as many now.
    async fn proves_completeness(&self, position: &Position, last_page: &[serde_json::Value]) -> bool {
        if !position.is_complete() || !position.unbroken || position.listed != position.total {
            return false;
        }
        let in_one_answer = usize::try_from(position.listed) == Ok(last_page.len());
        // A count that fails proves nothing, and costs no more than that: the rows were read.
        in_one_answer || self.client.count(self.object.name()).await == Ok(position.total)
    }

    /// Accounts by id, see [`System::get`](crate::systems::System::get).
    pub(super) async fn by_ids(&self, call: Call, accounts: &[AccountId]) -> Result<Vec<Lookup>, Failure> {
        let mut found: HashMap<AccountId, Lookup> = HashMap::new();
        let unique: BTreeSet<AccountId> = accounts.iter().filter_map(|account| parse_id(account.as_str())).collect();
        let ids: Vec<&str> = unique.iter().map(AccountId::as_str).collect();
        let mut rest = &ids[..];
        while !rest.is_empty() {
            let (pages, taken) = match self.client.by_ids(call, self.object.name(), &self.select(), rest).await {
                Err(failure) if failure.code.as_str() == "invalid_field" && self.learn_hidden_fields().await? => {
                    self.client.by_ids(call, self.object.name(), &self.select(), rest).await?
                }
                other => other?,
            };
            let asked_at = pages.first().map(|page| page.sent_at).unwrap_or_default();
            let (asked, later) = rest.split_at(taken);
            for (row, lossy) in pages.iter().flat_map(|page| page.records.iter().map(|row| (row, page.lossy))) {
                match self.fields.read_row(row, asked_at, lossy) {
                    Record::Account(snapshot) => found.insert(snapshot.account.clone(), Lookup::Found(snapshot)),
                    Record::Unreadable { account: Some(account), code, attribute } => {
                        found.insert(account, Lookup::Unreadable { code, attribute })
                    }
                    // Whose row it is cannot be told, so no other id of this answer is proven absent.
                    Record::Unreadable { account: None, code, .. } => {
                        return Err(Failure::new(FailureClass::Transient, code, "the answer has a row without an id"));
                    }
                };
            }
            for id in asked {
                let id = parse_id(id).expect("only ids were asked for");
                found.entry(id).or_insert(Lookup::Absent(asked_at));
            }
            rest = later;
        }
        let answer = |account: &AccountId| match parse_id(account.as_str()) {
            Some(id) => found.get(&id).cloned().expect("every id was asked for"),
            None => Lookup::Unreadable { code: Code::known("invalid_id"), attribute: None },
        };
        Ok(accounts.iter().map(answer).collect())
    }
}
