//! Who has no partner, and linking by a file, for a person and a program.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex as StdMutex};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::Mutex;

use super::access::Values;
use super::act::ImportLinks;
use super::operations::Over;
use crate::broker::Broker;
use crate::domain::ConnectionName;
use crate::ops::links::Desk;
use crate::ops::links::import::link_pairs;
use crate::ops::links::missing::{Row, gather};
use crate::store::Store;

/// Who is on one side only.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Missing {
    /// The accounts, as many as were asked for.
    pub accounts: Vec<Lonely>,
    /// How many there are.
    pub count: usize,
    /// When both systems were read.
    pub as_of: String,
}

/// How long an answer stands: to read all accounts of two systems costs many of their calls.
const FRESH: Duration = Duration::from_secs(300);

/// Accounts of an answer that are kept.
const KEPT: usize = 1_000;

/// What was answered lately, by connection. Whoever asks for the same meanwhile waits for the one answer.
#[derive(Debug, Default)]
pub(super) struct Lately(StdMutex<BTreeMap<ConnectionName, Answer>>);

/// What was answered last, and when.
type Answer = Arc<Mutex<Option<(Instant, Missing)>>>;

impl Lately {
    fn of(&self, connection: &ConnectionName) -> Answer {
        let mut all = self.0.lock().expect("nothing panics while the lock is held");
        Arc::clone(all.entry(connection.clone()).or_default())
    }

    /// Nothing is known of it any more.
    fn forget(&self, connection: &ConnectionName) {
        self.0.lock().expect("nothing panics while the lock is held").remove(connection);
    }
}

/// An account without a partner.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Lonely {
    /// The system.
    pub system: String,
    /// The side: `a` or `b`.
    pub side: String,
    /// The account.
    pub account: String,
    /// The person's name; only for who may see values.
    pub name: Option<String>,
    /// The e-mail address; only for who may see values.
    pub email: Option<String>,
    /// Whether the account may be used.
    pub active: Option<bool>,
    /// Whether the scope of the connection fits.
    pub in_scope: Option<bool>,
    /// Why it has no partner, in one word.
    pub why: String,
}

/// What came of a file, or would come of it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Imported {
    /// How many rows of pairs there are.
    pub rows: usize,
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// Rows by outcome: `linked`, `would_link`, `already_linked`, `refused`, `skipped`.
    pub counts: BTreeMap<String, u64>,
    /// Each row, in the order of the file.
    pub lines: Vec<ImportedLine>,
}

/// One row.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ImportedLine {
    /// Its first line in the file, from 1.
    pub line: u64,
    /// What came of it.
    pub outcome: String,
    /// The account on side a.
    pub a: Option<String>,
    /// The account on side b.
    pub b: Option<String>,
    /// Why not, in one word.
    pub code: Option<String>,
    /// Why not, for a person.
    pub reason: Option<String>,
}

impl<B: Broker, S: Store> Over<B, S> {
    pub(super) async fn missing_links(
        &self,
        connection: &ConnectionName,
        limit: usize,
        values: Values,
    ) -> anyhow::Result<Missing> {
        let desk = Desk::of(&self.pipeline, connection)?;
        let lately = self.lately.of(connection);
        let mut known = lately.lock().await;
        let mut missing = match known.as_ref().filter(|(at, _)| at.elapsed() < FRESH) {
            Some((_, missing)) => missing.clone(),
            None => {
                let missing = self.read_missing(&desk).await?;
                known.insert((Instant::now(), missing)).1.clone()
            }
        };
        missing.accounts.truncate(limit);
        if !values.is_open() {
            missing.accounts.iter_mut().for_each(|account| (account.name, account.email) = (None, None));
        }
        Ok(missing)
    }

    async fn read_missing(&self, desk: &Desk<'_>) -> anyhow::Result<Missing> {
        let mut missing = Missing { accounts: Vec::new(), count: 0, as_of: super::now().to_string() };
        let mut told = |row: Row| {
            missing.count += 1;
            if missing.accounts.len() < KEPT {
                let is = |text: Option<String>| text.map(|text| text == "true");
                missing.accounts.push(Lonely {
                    system: row.system,
                    side: row.side.to_string(),
                    account: row.account.to_string(),
                    name: row.name,
                    email: row.email,
                    active: is(row.active),
                    in_scope: is(row.in_scope),
                    why: row.why,
                });
            }
            Ok(())
        };
        gather(&self.pipeline, desk, ProgressBar::hidden(), &mut told).await?;
        Ok(missing)
    }

    pub(super) async fn import(&self, ask: &ImportLinks, dry_run: bool) -> anyhow::Result<Imported> {
        let desk = Desk::of(&self.pipeline, &ask.connection)?;
        let how = (dry_run, ask.check);
        let imported = link_pairs(&self.pipeline, &desk, &self.config, ask.csv.as_bytes(), how).await?;
        if !dry_run {
            self.lately.forget(&ask.connection);
        }
        let line = |line: crate::ops::links::import::Line| ImportedLine {
            line: line.line,
            outcome: line.outcome.to_owned(),
            a: line.a,
            b: line.b,
            code: line.code.map(str::to_owned),
            reason: line.reason,
        };
        Ok(Imported {
            rows: imported.rows,
            dry_run,
            counts: imported.counts.into_iter().map(|(outcome, count)| (outcome.to_owned(), count)).collect(),
            lines: imported.lines.into_iter().map(line).collect(),
        })
    }
}
