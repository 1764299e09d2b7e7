//! SCIM 2.0 (RFC 7643, RFC 7644): the Users of any server that speaks it. Read, searched and written.

pub use config::{ScimAuth, ScimConfig};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{self, StreamExt};
use secrecy::SecretString;
use tokio::time::Instant;
use url::Url;

use super::http::{Http, HttpSettings, SetupError};
use super::{CallReport, Finding, Lookup, Page, ReadFrom, Schema, SearchKey, System, Write, Written};
use crate::domain::{AccountId, AttributePath, Code, Failure, Snapshot, SystemName, Timestamp};

mod attributes;
mod client;
pub(super) mod config;
mod edit;
mod errors;
mod listing;
mod preflight;
mod profile;
mod read;
mod resource;
mod search;
mod style;
mod write;

pub use errors::remedy;

use client::Client;
use listing::Listings;

/// Accounts of a page where nothing is configured.
pub const DEFAULT_PAGE_SIZE: usize = 100;
/// Requests under way at once where nothing is configured.
pub const DEFAULT_CONCURRENCY: usize = 8;

/// What must be known to connect to a server.
#[derive(Debug, Clone)]
pub struct ScimSettings {
    /// The system's name in the configuration.
    pub name: SystemName,
    /// The address below which `/Users` are.
    pub url: Url,
    /// The bearer token, if the server wants one.
    pub token: Option<SecretString>,
    /// The longest that one request may take.
    pub request_timeout: Duration,
    /// Accounts asked for at once; the server's own limit holds if that is lower.
    pub page_size: usize,
    /// Requests under way at once, and accounts of one batch.
    pub concurrency: usize,
    /// Certificates to trust besides those of the machine.
    pub ca_file: Option<PathBuf>,
}

/// The connector.
#[derive(Debug)]
pub struct Scim {
    client: Client,
    schema: Schema,
    page_size: usize,
    concurrency: usize,
    listings: Mutex<Listings>,
    /// Held by the write that shows what the server's version tags are good for.
    proving: tokio::sync::Mutex<()>,
}

impl Scim {
    /// Sets the connector up, without connecting.
    pub fn new(settings: ScimSettings) -> Result<Self, SetupError> {
        if settings.url.cannot_be_a_base() || settings.url.query().is_some() {
            return Err(SetupError::Url);
        }
        let concurrency = settings.concurrency.max(1);
        let http = Http::new(&HttpSettings {
            request_timeout: settings.request_timeout,
            concurrency,
            ca_file: settings.ca_file,
            limits: None,
        })?;
        Ok(Self {
            client: Client::new(http, settings.url, settings.token),
            schema: attributes::schema(concurrency),
            page_size: settings.page_size.max(1),
            concurrency,
            listings: Mutex::default(),
            proving: tokio::sync::Mutex::default(),
        })
    }
}

#[async_trait]
impl System for Scim {
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

    fn searches_by(&self, attribute: &AttributePath) -> bool {
        search::is_searched(attribute)
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
