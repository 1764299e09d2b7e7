//! SalesScreen: people appear in its competitions and on its screens. Its *connect* API writes and cannot read.
//!
//! One call does everything: `POST User/Add` changes the user of an id, or creates one where there is none. The ids are
//! the caller's own, so the account id of this system *is* the partner's id, known before the call and the same after it.
//! That makes a creation safe to repeat when its answer was lost (R15, B23), without a search, which would find nothing.
//!
//! What follows from an API without a read side:
//! - the answer to a write shows what was sent, since that is all that anybody knows;
//! - nobody's edit is seen, and nothing is conditional: the last write holds;
//! - whether a user left out of a call keeps a name is unconfirmed, so each call carries every mapped value
//!   ([`Schema::whole`]), and a clear travels as an empty text (module `user`);
//! - a team is named by a key that only the product's own settings show. One that does not exist is made on the spot, with
//!   the same label as the right one, and its members play against nobody: so only keys that the configuration lists are
//!   sent.
//!
//! Unconfirmed are the bodies of refusals; the module `errors` alone reads them.

pub use config::SalesScreenConfig;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
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
use crate::domain::{AccountId, Code, Failure, FailureClass, Snapshot, Timestamp};

pub(super) mod config;
mod errors;
mod preflight;
mod user;
mod write;

pub use errors::remedy;

/// How unevenly calls may travel: two that are taken this far apart may arrive at the same moment.
const TRAVEL: Duration = Duration::from_secs(1);

/// What the vendor allows, 15 calls a second and 200 a minute, each over a stretch that is longer by `TRAVEL`: calls are
/// counted when they are taken, and the vendor counts them when they arrive. The second loses nothing by that: at full
/// pace the minute's calls are used up long before it ends.
pub const WINDOWS: [Window; 2] = [
    Window { calls: 15, within: Duration::from_secs(1).saturating_add(TRAVEL), reserve: 2 },
    Window { calls: 200, within: Duration::from_secs(60).saturating_add(TRAVEL), reserve: 5 },
];

/// What must be known to connect to an account.
#[derive(Debug, Clone)]
pub struct SalesScreenSettings {
    /// The address below which `api/v1` is.
    pub url: Url,
    /// The key, as Settings > Api Keys shows it.
    pub api_key: SecretString,
    /// The teams that users may join: their keys, as Settings > Mappings shows them, and their names.
    pub teams: BTreeMap<String, String>,
    /// The key of the team that leavers are moved to, if there is one.
    pub leavers_team: Option<String>,
    /// Somebody says that the product's own automatic sync is off.
    pub automatic_sync_off: bool,
    /// Requests under way at once, and accounts of one batch.
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
pub struct SalesScreen {
    http: Http,
    url: Url,
    api_key: SecretString,
    teams: BTreeMap<String, String>,
    leavers_team: Option<String>,
    automatic_sync_off: bool,
    concurrency: usize,
    schema: Schema,
}

impl SalesScreen {
    /// Sets the connector up, without connecting.
    ///
    /// # Errors
    /// The address can have no others below it, or the certificates cannot be read.
    pub fn new(settings: SalesScreenSettings) -> Result<Self, SetupError> {
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
            http,
            url: settings.url,
            api_key: settings.api_key,
            teams: settings.teams,
            leavers_team: settings.leavers_team,
            automatic_sync_off: settings.automatic_sync_off,
            concurrency,
            schema: user::schema(concurrency),
        })
    }
}

/// The API has no read side.
fn unreadable() -> Failure {
    Failure::new(FailureClass::Permanent, Code::known("not_readable"), "SalesScreen cannot be read")
}

#[async_trait]
impl System for SalesScreen {
    fn schema(&self) -> &Schema {
        &self.schema
    }

    async fn preflight(&self) -> Vec<Finding> {
        self.findings().await
    }

    async fn prove_rights(&self, rights: &Rights) -> Vec<Finding> {
        self.judge_mapping(rights)
    }

    async fn probe(&self) -> Result<(), Failure> {
        self.prove_key().await.map(drop)
    }

    /// Always fails: see [`Schema::readable`].
    async fn read(&self, _from: &ReadFrom) -> Result<Page, Failure> {
        Err(unreadable())
    }

    /// Always fails: see [`Schema::readable`].
    async fn get(&self, _accounts: &[AccountId]) -> Result<Vec<Lookup>, Failure> {
        Err(unreadable())
    }

    /// Finds nothing: a creation is repeated instead, with the same id.
    async fn search(&self, keys: &[SearchKey]) -> Result<Vec<Vec<Snapshot>>, Failure> {
        Ok(vec![Vec::new(); keys.len()])
    }

    async fn write(&self, writes: &[Write], deadline: Instant) -> Vec<Written> {
        let writes: Vec<_> = writes.iter().map(|write| self.write_one(write, deadline)).collect();
        stream::iter(writes).buffered(self.concurrency).collect().await
    }

    fn clock(&self) -> Timestamp {
        self.http.clock().now()
    }

    fn remedy(&self, code: &Code) -> Option<&'static str> {
        errors::remedy(code)
    }

    fn report(&self) -> CallReport {
        self.http.report()
    }
}
