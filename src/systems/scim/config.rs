//! What the configuration says of a SCIM service, and how its connector is set up from it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use url::Url;

use super::{Scim, ScimSettings};
use crate::config::endpoint::{Secret, ca_file, system_url};
use crate::config::shape::{Either, Whole, Word};
use crate::config::system::request_timeout;
use crate::config::table::{Table, Variant};
use crate::domain::SystemName;
use crate::domain::rules::Departure;
use crate::systems::SharedSystem;
use crate::systems::budget::CallBudget;
use crate::systems::http::SetupError;
use crate::systems::kind::{Fingerprint, Kind, SetUp};

/// A SCIM 2.0 service.
#[derive(Debug, Clone)]
pub struct ScimConfig {
    /// Base of its endpoints: `Users` is below it.
    pub url: Url,
    /// How to log in.
    pub auth: ScimAuth,
    /// Accounts in one page of a list.
    pub page_size: u32,
    /// Requests at once.
    pub concurrency: u32,
    /// How long a request may take, where nothing else limits it.
    pub request_timeout: Duration,
    /// Certificates to trust instead of the platform's.
    pub ca_file: Option<PathBuf>,
}

/// How to log in to a SCIM service.
#[derive(Debug, Clone)]
pub enum ScimAuth {
    /// With a token (RFC 6750).
    Bearer {
        /// The token.
        token: SecretString,
    },
    /// Not at all: a test server.
    None,
}

impl Kind for ScimConfig {
    fn word(&self) -> &'static str {
        "scim"
    }

    fn departs(&self, _object: &str, how: Departure) -> Result<(), &'static str> {
        match how {
            Departure::Detach | Departure::Delete => Ok(()),
            Departure::Remove => Err(
                "SCIM knows no roster besides its accounts: say \"delete\", \"deactivate\", \"detach\" or \"report\"",
            ),
        }
    }

    fn fingerprint(&self, of: &mut Fingerprint) {
        let Self { url, auth, page_size: _, concurrency: _, request_timeout: _, ca_file: _ } = self;
        of.line("scim", url);
        let auth = match auth {
            ScimAuth::Bearer { .. } => "bearer",
            ScimAuth::None => "none",
        };
        of.line("auth", auth);
    }

    fn set_up(&self, name: &SystemName, _calls: Arc<dyn CallBudget>) -> Result<Box<dyn SetUp>, SetupError> {
        let scim = Scim::new(ScimSettings {
            name: name.clone(),
            url: self.url.clone(),
            token: match &self.auth {
                ScimAuth::Bearer { token } => Some(token.clone()),
                ScimAuth::None => None,
            },
            page_size: usize::try_from(self.page_size).unwrap_or(usize::MAX),
            concurrency: usize::try_from(self.concurrency).unwrap_or(usize::MAX),
            request_timeout: self.request_timeout,
            ca_file: self.ca_file.clone(),
        })?;
        let scim: SharedSystem = Arc::new(scim);
        Ok(Box::new(scim))
    }
}

/// Reads the table of a SCIM service.
pub(in crate::systems) fn read(table: &mut Table<'_, '_>) -> Option<Arc<dyn Kind>> {
    let url = system_url(table, "https://directory.example.com/scim/v2", "Base of the SCIM endpoints, without /Users.");
    let auth = table.required(
        "auth",
        Either(Word("none", || ScimAuth::None), bearer),
        "How to log in: { flow = \"bearer\", token = { env = \"SCIM_TOKEN\" } }, or \"none\" for a test server.",
    );
    let page_size = table.default("page_size", Whole(1..=1_000_u32), 100, "Accounts in one page of a list.");
    let concurrency = table.default("concurrency", Whole(1..=64_u32), 8, "Requests to it at once, of one process.");
    let request_timeout = request_timeout(table);
    let ca_file = ca_file(table);
    Some(Arc::new(ScimConfig {
        url: url?,
        auth: auth?,
        page_size: page_size?,
        concurrency: concurrency?,
        request_timeout: request_timeout?,
        ca_file: ca_file?,
    }))
}

fn bearer(table: &mut Table<'_, '_>) -> Option<ScimAuth> {
    fn token(table: &mut Table<'_, '_>) -> Option<ScimAuth> {
        let token = table.required("token", Secret { variable: "SCIM_TOKEN" }, "The token: { env = \"SCIM_TOKEN\" }");
        Some(ScimAuth::Bearer { token: token? })
    }
    let variant = Variant { word: "bearer", doc: "A bearer token (RFC 6750).", read: token };
    table.variant("flow", "How to log in.", &[variant])
}
