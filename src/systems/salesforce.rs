//! Salesforce: the Users of one org, over the REST API. Reading only.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;
use tokio::time::Instant;
use url::Url;

use super::http::{Http, HttpSettings, SetupError};
use super::{CallReport, Finding, Lookup, Page, ReadFrom, Schema, SearchKey, System, Write, Written};
use crate::domain::{AccountId, Code, Failure, FailureClass, Snapshot, SystemName, Timestamp};

mod client;
mod errors;
mod fields;
mod id;
mod position;
mod preflight;
mod read;
mod session;
mod soql;

pub use errors::remedy;
pub use fields::is_field_name;
pub use id::parse_id;

use client::Client;
use fields::FieldSet;
use session::Sessions;

/// The API version that is asked for where none is configured.
pub const DEFAULT_API_VERSION: &str = "v66.0";
/// Rows of a page where none is configured: the most that Salesforce gives.
pub const DEFAULT_PAGE_SIZE: usize = 2000;
/// How far incremental reads overlap where nothing is configured.
pub const DEFAULT_OVERLAP: Duration = Duration::from_secs(60);

/// Requests under way at once. Reading is one page after the other; the rest is probes and searches.
const CONCURRENCY: usize = 4;

/// Which kind of record a side of a connection keeps in step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Object {
    /// The people who log in to the org.
    User,
}

impl Object {
    /// Its name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "User",
        }
    }
}

/// What must be known to connect to an org.
#[derive(Debug, Clone)]
pub struct SalesforceSettings {
    /// The system's name in the configuration.
    pub name: SystemName,
    /// The org's My Domain address.
    pub url: Url,
    /// Such as `v66.0`, see [`DEFAULT_API_VERSION`].
    pub api_version: String,
    /// Consumer key of the app.
    pub client_id: String,
    /// Consumer secret of the app.
    pub client_secret: SecretString,
    /// The kind of record.
    pub object: Object,
    /// The longest that one request may take.
    pub request_timeout: Duration,
    /// Rows asked for at once, 200 to 2000; Salesforce takes it as a hint.
    pub page_size: usize,
    /// How far an incremental read goes back behind the last row that was read. It covers the stamp's grain of one
    /// second, and transactions that were open then.
    pub overlap: Duration,
    /// Further fields to read, by their API names; they are called `native.<field>`. See [`is_field_name`].
    pub fields: Vec<String>,
    /// Certificates to trust besides those of the machine.
    pub ca_file: Option<PathBuf>,
}

/// The connector.
#[derive(Debug)]
pub struct Salesforce {
    client: Client,
    object: Object,
    overlap: Duration,
    fields: FieldSet,
    schema: Schema,
    /// Fields that the run-as user may not see, and when that was learnt.
    hidden: Mutex<Option<(Instant, BTreeSet<String>)>>,
}

impl Salesforce {
    /// Sets the connector up, without connecting.
    pub fn new(settings: SalesforceSettings) -> Result<Self, SetupError> {
        if settings.url.cannot_be_a_base() || settings.url.query().is_some() {
            return Err(SetupError::Url);
        }
        let http = Http::new(&HttpSettings {
            request_timeout: settings.request_timeout,
            concurrency: CONCURRENCY,
            ca_file: settings.ca_file,
        })?;
        let sessions = Sessions::new(settings.url, settings.client_id, settings.client_secret);
        Ok(Self {
            client: Client::new(http, sessions, settings.api_version, settings.page_size.clamp(200, 2000)),
            object: settings.object,
            overlap: settings.overlap.max(position::GRAIN),
            fields: FieldSet::new(&settings.fields),
            schema: fields::schema(&settings.fields),
            hidden: Mutex::default(),
        })
    }
}

#[async_trait]
impl System for Salesforce {
    fn schema(&self) -> &Schema {
        &self.schema
    }

    async fn preflight(&self) -> Vec<Finding> {
        self.findings().await
    }

    async fn read(&self, from: &ReadFrom) -> Result<Page, Failure> {
        self.page(from).await
    }

    async fn get(&self, accounts: &[AccountId]) -> Result<Vec<Lookup>, Failure> {
        self.by_ids(accounts).await
    }

    async fn search(&self, keys: &[SearchKey]) -> Result<Vec<Vec<Snapshot>>, Failure> {
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            found.push(match key {
                // The User has no field for a partner's id, so no user names one.
                SearchKey::Partner(_) => Vec::new(),
                SearchKey::Attribute(path, text) => self.with_value(path, text).await?,
            });
        }
        Ok(found)
    }

    async fn write(&self, writes: &[Write], _deadline: Instant) -> Vec<Written> {
        let text = "the users of Salesforce are only read; the configuration check refuses to write them";
        let refusal = || Written::Failed(Failure::new(FailureClass::Permanent, Code::known("read_only"), text));
        writes.iter().map(|_| refusal()).collect()
    }

    fn clock(&self) -> Timestamp {
        self.client.http.clock().now()
    }

    fn remedy(&self, code: &Code) -> Option<&'static str> {
        errors::remedy(code)
    }

    fn report(&self) -> CallReport {
        self.client.http.report()
    }
}
