//! Salesforce: the Users or the Contacts of one org, over the REST API.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;
use tokio::time::Instant;
use url::Url;

use super::http::{Call, Http, HttpSettings, SetupError};
use super::{CallReport, Finding, Lookup, Page, ReadFrom, Rights, Schema, SearchKey, System, Write, Written};
use crate::domain::{AccountId, AttributePath, Code, Failure, Snapshot, Timestamp, Value};

mod assertion;
mod client;
pub(super) mod config;
mod errors;
mod fields;
pub(super) mod id;
mod merges;
mod object;
mod position;
mod preflight;
mod read;
mod search;
mod session;
mod soql;
mod write;

pub use config::{SalesforceAuth, SalesforceConfig};
pub use errors::remedy;
pub use fields::{is_field_name, native_path};
pub use id::parse_id;
pub use object::Object;

use assertion::Signer;
use client::Client;
use fields::FieldSet;
use session::{Proof, Sessions};

/// The API version that is asked for where none is configured.
pub const DEFAULT_API_VERSION: &str = "v66.0";
/// Rows of a page where none is configured: the most that Salesforce gives.
pub const DEFAULT_PAGE_SIZE: usize = 2000;
/// How far incremental reads overlap where nothing is configured.
pub const DEFAULT_OVERLAP: Duration = Duration::from_secs(60);

/// Requests under way at once. Reading is one page after the other; the rest is probes and searches.
const CONCURRENCY: usize = 4;

/// How to log in to an org.
#[derive(Debug, Clone)]
pub enum Login {
    /// OAuth 2.0 client credentials: an app with a run-as user.
    ClientCredentials {
        /// Consumer key of the app.
        client_id: String,
        /// Consumer secret of the app.
        client_secret: SecretString,
    },
    /// OAuth 2.0 JWT bearer: an app with a certificate.
    JwtBearer {
        /// Consumer key of the app.
        client_id: String,
        /// The user to act as.
        username: String,
        /// The private RSA key of the app's certificate, in PEM.
        key: SecretString,
        /// Whom the statement is meant for; the login host of the org's kind, if nothing is said.
        audience: Option<String>,
    },
}

/// What must be known to connect to an org.
#[derive(Debug, Clone)]
pub struct OrgSettings {
    /// The org's My Domain address.
    pub url: Url,
    /// Such as `v66.0`, see [`DEFAULT_API_VERSION`].
    pub api_version: String,
    /// How to log in.
    pub login: Login,
    /// The longest that one request may take.
    pub request_timeout: Duration,
    /// Rows asked for at once, 200 to 2000; Salesforce takes it as a hint.
    pub page_size: usize,
    /// Certificates to trust besides those of the machine.
    pub ca_file: Option<PathBuf>,
}

/// One org: one login, one clock, one count of calls, for all kinds of its records.
#[derive(Debug, Clone)]
pub struct Org(Arc<Client>);

impl Org {
    /// Sets the org up, without connecting.
    pub fn new(settings: OrgSettings) -> Result<Self, SetupError> {
        if settings.url.cannot_be_a_base() || settings.url.query().is_some() {
            return Err(SetupError::Url);
        }
        let http = Http::new(&HttpSettings {
            request_timeout: settings.request_timeout,
            concurrency: CONCURRENCY,
            ca_file: settings.ca_file,
            limits: None,
        })?;
        let proof = match settings.login {
            Login::ClientCredentials { client_id, client_secret } => Proof::Secret { client_id, client_secret },
            Login::JwtBearer { client_id, username, key, audience } => {
                let signer = Signer::new(client_id, username, &key, audience, &settings.url);
                Proof::Signature(signer.ok_or(SetupError::Key)?)
            }
        };
        let sessions = Sessions::new(settings.url, proof);
        let page_size = settings.page_size.clamp(200, 2000);
        Ok(Self(Arc::new(Client::new(http, sessions, settings.api_version, page_size))))
    }
}

/// Which records of an org are kept in step, and how.
#[derive(Debug, Clone)]
pub struct RecordSettings {
    /// The kind of record.
    pub object: Object,
    /// How far an incremental read goes back behind the last row that was read. It covers the stamp's grain of one
    /// second, and transactions that were open then.
    pub overlap: Duration,
    /// Further fields to read, by their API names; they are called `native.<field>`. See [`is_field_name`].
    pub fields: Vec<String>,
    /// What new records get in fields that nothing else fills, by their API names.
    pub defaults: BTreeMap<String, Value>,
    /// The field that holds the partner's id.
    pub partner_field: Option<String>,
    /// A field that must be filled for that id to count. It may hold a secret: nothing but whether it is filled leaves
    /// the connector, as `native.<field>`.
    pub partner_requires: Option<String>,
}

impl RecordSettings {
    /// All records of this kind, and nothing in particular.
    pub fn new(object: Object) -> Self {
        let (overlap, fields) = (DEFAULT_OVERLAP, Vec::new());
        Self { object, overlap, fields, defaults: BTreeMap::new(), partner_field: None, partner_requires: None }
    }
}

/// The connector of one kind of record.
#[derive(Debug)]
pub struct Salesforce {
    client: Arc<Client>,
    object: Object,
    overlap: Duration,
    fields: FieldSet,
    schema: Schema,
    /// Fields that the run-as user may not see, and when that was learnt.
    hidden: Mutex<Option<(Instant, BTreeSet<String>)>>,
}

impl Salesforce {
    /// The connector of these records of an org.
    pub fn new(org: &Org, settings: RecordSettings) -> Self {
        let RecordSettings { object, overlap, fields, defaults, partner_field, partner_requires } = settings;
        let fields = FieldSet::new(object, &fields, partner_field.as_deref(), partner_requires.as_deref(), defaults);
        Self {
            client: Arc::clone(&org.0),
            object,
            overlap: overlap.max(position::GRAIN),
            schema: fields.schema(),
            fields,
            hidden: Mutex::default(),
        }
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

    async fn prove_rights(&self, rights: &Rights) -> Vec<Finding> {
        self.rights(rights).await
    }

    async fn read(&self, from: &ReadFrom) -> Result<Page, Failure> {
        self.page(from).await
    }

    async fn get(&self, accounts: &[AccountId]) -> Result<Vec<Lookup>, Failure> {
        self.by_ids(Call::read("get"), accounts).await
    }

    async fn merges(&self, from: &ReadFrom) -> Result<Vec<(AccountId, AccountId)>, Failure> {
        self.merges_since(from).await
    }

    async fn merged_into(&self, gone: &[AccountId]) -> Result<Vec<Option<AccountId>>, Failure> {
        self.survivors(gone).await
    }

    fn searches_by(&self, attribute: &AttributePath) -> bool {
        self.fields.searchable(attribute, "").is_some()
    }

    async fn search(&self, keys: &[SearchKey]) -> Result<Vec<Vec<Snapshot>>, Failure> {
        self.with_keys(keys).await
    }

    async fn write(&self, writes: &[Write], deadline: Instant) -> Vec<Written> {
        self.write_all(writes, deadline).await
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
