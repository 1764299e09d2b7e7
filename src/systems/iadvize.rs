//! iAdvize: the operators of one customer, over its GraphQL API or over REST v2.
//!
//! Editing somebody who is logged in throws them out, and editing somebody in a conversation does nothing although it is
//! answered like any other: so presence is looked up before an update, and what was written is read back after it.
//! `docs/systems/iadvize.md` says what an administrator has to know.

pub use config::{IadvizeAuth, IadvizeConfig};

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
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
use crate::domain::{AccountId, AttributePath, Attributes, Code, Failure, Snapshot, Timestamp};

mod attributes;
pub(super) mod config;
mod errors;
mod graphql;
mod listings;
mod preflight;
mod read;
mod rest;
mod rules;
mod search;
mod session;
mod tables;
mod transport;
mod values;
mod write;

pub use errors::remedy;

use graphql::Graphql;
use listings::Listings;
use rest::Rest;
use session::Sessions;
use tables::Tables;
use transport::Transport;

/// Calls are counted before they travel, so that a window at the other end may see two of ours that lie closer together:
/// ours is longer by this.
const MARGIN: Duration = Duration::from_millis(100);

/// Which platform a customer lives on. Ids are unique on one only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Platform {
    /// Standard (`sd.iadvize.com`).
    Standard,
    /// High availability (`ha.iadvize.com`).
    HighAvailability,
}

/// How to log in, and with that which API is spoken.
#[derive(Debug, Clone)]
pub enum Login {
    /// GraphQL, as a user.
    User {
        /// The user's e-mail address.
        username: String,
        /// Their password.
        password: SecretString,
    },
    /// REST, with an API key.
    Key(SecretString),
}

/// Whether the presence of operators is looked at before they are changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It is, and who is logged in is left alone until later (R22).
    Respect,
    /// It is not: who is logged in is thrown out.
    Ignore,
}

/// What must be known to connect.
#[derive(Debug, Clone)]
pub struct IadvizeSettings {
    /// The address: of the GraphQL API, or of the platform.
    pub url: Url,
    /// How to log in.
    pub login: Login,
    /// Where the customer lives.
    pub platform: Platform,
    /// What new operators get in attributes that the mapping does not fill.
    pub defaults: Attributes,
    /// Whether presence counts.
    pub presence: Presence,
    /// Requests a second, by all processes together.
    pub calls_per_second: u32,
    /// Operators of a page.
    pub page_size: usize,
    /// Requests under way at once.
    pub concurrency: usize,
    /// The longest that one request may take.
    pub request_timeout: Duration,
    /// Certificates to trust besides those of the machine.
    pub ca_file: Option<PathBuf>,
    /// Who counts the calls and the logins.
    pub calls: Arc<dyn CallBudget>,
}

/// The connector.
#[derive(Debug)]
pub struct Iadvize {
    transport: Box<dyn Transport>,
    schema: Schema,
    defaults: Attributes,
    presence: Presence,
    page_size: usize,
    concurrency: usize,
    listings: Mutex<Listings>,
    /// The tables, and when they were read.
    tables: tokio::sync::Mutex<Option<(Arc<Tables>, Instant)>>,
}

impl Iadvize {
    /// Sets the connector up, without connecting.
    ///
    /// # Errors
    /// The address or the certificates cannot be used.
    pub fn new(settings: IadvizeSettings) -> Result<Self, SetupError> {
        if settings.url.cannot_be_a_base() || settings.url.query().is_some() {
            return Err(SetupError::Url);
        }
        let concurrency = settings.concurrency.max(1);
        let per_second = settings.calls_per_second.max(1);
        // One call in five is kept for what is urgent.
        let window = Window { reserve: per_second / 5, ..Window::new(per_second, Duration::from_secs(1) + MARGIN) };
        let http = Http::new(&HttpSettings {
            request_timeout: settings.request_timeout,
            concurrency,
            ca_file: settings.ca_file,
            limits: Some(Limits { windows: vec![window], budget: Arc::clone(&settings.calls) }),
        })?;
        let transport: Box<dyn Transport> = match settings.login {
            Login::User { username, password } => {
                let sessions = Sessions::new(settings.url.clone(), username, password, settings.calls);
                let platform = (settings.platform == Platform::Standard).then_some("sd");
                Box::new(Graphql::new(http, settings.url, platform, sessions))
            }
            Login::Key(key) => Box::new(Rest::new(http, settings.url, key)),
        };
        let filled: Vec<&str> = settings.defaults.keys().map(crate::domain::AttributePath::as_str).collect();
        Ok(Self {
            schema: attributes::schema(transport.wire(), &filled, concurrency),
            transport,
            defaults: settings.defaults,
            presence: settings.presence,
            page_size: settings.page_size.max(1),
            concurrency,
            listings: Mutex::default(),
            tables: tokio::sync::Mutex::default(),
        })
    }
}

#[async_trait]
impl System for Iadvize {
    fn schema(&self) -> &Schema {
        &self.schema
    }

    async fn preflight(&self) -> Vec<Finding> {
        self.findings().await
    }

    async fn prove_rights(&self, rights: &Rights) -> Vec<Finding> {
        self.rights_findings(rights).await
    }

    async fn read(&self, from: &ReadFrom) -> Result<Page, Failure> {
        self.page(from).await
    }

    async fn get(&self, accounts: &[AccountId]) -> Result<Vec<Lookup>, Failure> {
        self.by_ids(accounts).await
    }

    fn searches_by(&self, attribute: &AttributePath) -> bool {
        attribute.as_str() == "emails"
    }

    async fn search(&self, keys: &[SearchKey]) -> Result<Vec<Vec<Snapshot>>, Failure> {
        self.with_keys(keys, None).await
    }

    async fn write(&self, writes: &[Write], deadline: Instant) -> Vec<Written> {
        let writes: Vec<_> = writes.iter().map(|write| self.write_one(write, deadline)).collect();
        stream::iter(writes).buffered(self.concurrency).collect().await
    }

    fn clock(&self) -> Timestamp {
        self.transport.http().clock().now()
    }

    fn shown_clock(&self) -> Option<Timestamp> {
        let clock = self.transport.http().clock();
        clock.is_known().then(|| clock.now())
    }

    fn remedy(&self, code: &Code) -> Option<&'static str> {
        errors::remedy(code)
    }

    fn report(&self) -> CallReport {
        self.transport.http().report()
    }
}
