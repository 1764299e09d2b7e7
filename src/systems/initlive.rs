//! InitLive, now Bloomerang Volunteer: the users of one organisation, staff and volunteers alike, through the public API v4.
//!
//! What shapes this connector:
//! - A user's name at login is the e-mail address, which is unique over all organisations. Creating one whose address has an
//!   account *attaches* the person: they become a member, and their profile stays as it is, in an answer that looks like a
//!   success. So every creation is read back, and what is different is set, if the person's profile lets us.
//! - A person who is in other organisations as well may keep their profile: then a change is refused, for this one person
//!   and for good (module `errors`).
//! - Lists are bare arrays without a count. What a walk through them proves is said in the module `walk`.
//! - Filters may be ignored, so nobody is found by one unless they truly have the value (module `search`).
//!
//! Update, removal, paging, filters, error bodies and all members but `username`, `firstName` and `lastName` are unconfirmed; each
//! stands in one place: `user`, `walk`, `search`, `errors`.

pub use config::InitLiveConfig;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{self, StreamExt};
use secrecy::SecretString;
use tokio::time::Instant;
use url::Url;

use super::budget::{CallBudget, Limits};
use super::http::{Http, HttpSettings, SetupError};
use super::{CallReport, Finding, Lookup, Page, ReadFrom, Rights, Schema, SearchKey, System, Write, Written};
use crate::domain::rate::Window;
use crate::domain::{AccountId, Code, Failure, Snapshot, Timestamp, Value};

mod attributes;
mod client;
pub(super) mod config;
mod errors;
mod preflight;
mod read;
mod search;
mod user;
mod walk;
mod write;

pub use errors::remedy;

use client::Client;

/// The vendor publishes no limit. This is our own: five calls a second of all processes, one of them kept for urgent work.
pub const WINDOWS: [Window; 1] = [Window { calls: 5, within: Duration::from_secs(1), reserve: 1 }];

/// Users of a page where nothing is configured.
pub const DEFAULT_PAGE_SIZE: usize = 100;

/// What must be known to connect to an organisation.
#[derive(Debug, Clone)]
pub struct InitLiveSettings {
    /// The address below which `v4` is.
    pub url: Url,
    /// The organisation's id.
    pub organization: u64,
    /// The key, as Data Tools > API Access shows it.
    pub api_key: SecretString,
    /// What new users get in members that the mapping does not fill.
    pub defaults: BTreeMap<String, Value>,
    /// Users asked for at once.
    pub page_size: usize,
    /// Requests under way at once.
    pub concurrency: usize,
    /// The longest that one request may take.
    pub request_timeout: Duration,
    /// Certificates to trust besides those of the machine.
    pub ca_file: Option<PathBuf>,
    /// How often it may be called: [`WINDOWS`].
    pub windows: Vec<Window>,
    /// Who counts the calls of all processes.
    pub calls: Arc<dyn CallBudget>,
}

/// The connector.
#[derive(Debug)]
pub struct InitLive {
    client: Client,
    schema: Schema,
    defaults: BTreeMap<String, Value>,
    page_size: usize,
    concurrency: usize,
    /// Filters that showed to be ignored, by what they search for.
    ignored: Ignored,
    /// Who has which partner's id, where no filter tells.
    index: tokio::sync::Mutex<Option<search::Index>>,
}

/// See [`InitLive::ignored`].
#[derive(Debug, Default)]
struct Ignored {
    username: AtomicBool,
    external_id: AtomicBool,
}

impl InitLive {
    /// Sets the connector up, without connecting.
    ///
    /// # Errors
    /// The address can have no others below it, or the certificates cannot be read.
    pub fn new(settings: InitLiveSettings) -> Result<Self, SetupError> {
        if settings.url.cannot_be_a_base() || settings.url.query().is_some() {
            return Err(SetupError::Url);
        }
        let concurrency = settings.concurrency.max(1);
        let http = Http::new(&HttpSettings {
            request_timeout: settings.request_timeout,
            concurrency,
            ca_file: settings.ca_file,
            limits: Some(Limits { windows: settings.windows, budget: settings.calls }),
        })?;
        Ok(Self {
            client: Client::new(http, settings.url, settings.organization, settings.api_key),
            schema: attributes::schema(concurrency, &settings.defaults),
            defaults: settings.defaults,
            page_size: settings.page_size.max(1),
            concurrency,
            ignored: Ignored::default(),
            index: tokio::sync::Mutex::default(),
        })
    }
}

#[async_trait]
impl System for InitLive {
    fn schema(&self) -> &Schema {
        &self.schema
    }

    async fn preflight(&self) -> Vec<Finding> {
        self.findings().await
    }

    async fn prove_rights(&self, rights: &Rights) -> Vec<Finding> {
        self.rights(rights).await
    }

    async fn read(&self, from: &ReadFrom) -> Result<Page, Failure> {
        self.page(from).await
    }

    async fn get(&self, accounts: &[AccountId]) -> Result<Vec<Lookup>, Failure> {
        self.by_ids(accounts).await
    }

    async fn search(&self, keys: &[SearchKey]) -> Result<Vec<Vec<Snapshot>>, Failure> {
        self.with_keys(keys, None).await
    }

    async fn write(&self, writes: &[Write], deadline: Instant) -> Vec<Written> {
        let writes: Vec<_> = writes.iter().map(|write| self.write_one(write, deadline)).collect();
        stream::iter(writes).buffered(self.concurrency).collect().await
    }

    fn clock(&self) -> Timestamp {
        self.client.http.clock().now()
    }

    fn shown_clock(&self) -> Option<Timestamp> {
        let clock = self.client.http.clock();
        clock.is_known().then(|| clock.now())
    }

    fn remedy(&self, code: &Code) -> Option<&'static str> {
        errors::remedy(code)
    }

    fn report(&self) -> CallReport {
        self.client.http.report()
    }
}
