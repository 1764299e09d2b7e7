//! Imitations of the systems that Muster connects, for tests, demos and anybody who wants to try a client: a Salesforce org,
//! a SCIM 2.0 service provider and others on one loopback listener, with faults on demand and a log of every write.
//!
//! It is written from the vendors' documents and the RFCs, and knows nothing of the rest of the crate: what it does is no
//! proof of what Muster believes. State is in memory; each [`Sandbox`] is independent.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use muster::sandbox::{Sandbox, SandboxSettings};
//! let sandbox = Sandbox::start(SandboxSettings { users: 100, ..SandboxSettings::default() }).await?;
//! let client = reqwest::Client::new();
//! let answer = client.get(format!("{}/Users", sandbox.scim_url())).bearer_auth(sandbox.scim_token()).send().await?;
//! assert_eq!(sandbox.admin().writes(0).len(), 0);
//! # Ok(()) }
//! ```

pub mod admin;
pub mod cli;
mod clock;
pub mod faults;
pub mod iadvize;
mod imitation;
mod initlive;
mod keys;
pub mod log;
pub mod people;
pub mod salesforce;
mod salesscreen;
pub mod scim;
mod serve;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::http::{HeaderMap, header};
use axum_server::Handle;
use secrecy::{ExposeSecret, SecretString};

pub use admin::Admin;
pub use faults::{Effect, Fault, FaultBody, Matcher, RefusedRows, RetryAfter, Totals};
pub use initlive::ORGANIZATION as INITLIVE_ORGANIZATION;
pub use keys::ClientKey;
pub use log::{Actor, System, Write};
pub use salesforce::{CustomField, CustomKind, DuplicateRule, Flow, PermittedUsers, SalesforceEdit, SalesforceOptions};
pub use scim::{Dialect, Preset, Quirk};

use faults::Faults;
use iadvize::Iadvize;
use imitation::Imitation;
use initlive::InitLive;
use log::Log;
use salesforce::{ConnectedApp, Salesforce};
use salesscreen::SalesScreen;
use scim::Scim;

/// Client id that the sandbox knows by default.
pub const DEFAULT_CLIENT_ID: &str = "muster-sandbox";
/// Client secret that the sandbox knows by default. It protects nothing.
pub const DEFAULT_CLIENT_SECRET: &str = "sandbox-client-secret";
/// Username of the user as whom clients of the org act: the one who runs client credentials, and a `sub` that the JWT
/// bearer flow takes.
pub const INTEGRATION_USERNAME: &str = "integration@sandbox.example";
/// Bearer token that the SCIM service knows by default. It protects nothing.
pub const DEFAULT_SCIM_TOKEN: &str = "sandbox-scim-token";
/// Key that the imitation of InitLive knows. It protects nothing.
pub const DEFAULT_INITLIVE_KEY: &str = "sandbox-initlive-key";
/// Key that the imitation of SalesScreen knows. It protects nothing.
pub const DEFAULT_SALESSCREEN_KEY: &str = "sandbox-salesscreen-key";

/// How clients reach the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scheme {
    /// Plain HTTP.
    #[default]
    Http,
    /// TLS 1.2 or 1.3, with a certificate of the sandbox's own authority.
    Https,
}

/// How a sandbox begins.
#[derive(Debug, Clone)]
pub struct SandboxSettings {
    /// Address to listen on; loopback by default, since nothing here is secret.
    pub address: IpAddr,
    /// Port to listen on; 0 for any that is free.
    pub port: u16,
    /// HTTP or TLS.
    pub scheme: Scheme,
    /// People who are users of the Salesforce org from the start.
    pub users: usize,
    /// People who are contacts of the Salesforce org from the start.
    pub contacts: usize,
    /// What they are made from.
    pub seed: u64,
    /// Whether all of them have an e-mail address.
    pub emails: people::Emails,
    /// Client id of the connected app.
    pub client_id: String,
    /// Client secret of the connected app.
    pub client_secret: SecretString,
    /// Certificate or RSA public key of the connected app, as PEM; without it the JWT bearer flow is refused.
    pub certificate_pem: Option<String>,
    /// Fields added to the org's objects.
    pub custom_fields: Vec<CustomField>,
    /// Limits of the org.
    pub salesforce: SalesforceOptions,
    /// Bearer token of the SCIM service.
    pub scim_token: SecretString,
    /// Habits of the SCIM service.
    pub dialect: Dialect,
    /// Most resources of a page of the SCIM service.
    pub scim_max_page: usize,
}

impl Default for SandboxSettings {
    fn default() -> Self {
        let field = |object: &str, name: &str, kind| CustomField { object: object.into(), name: name.into(), kind };
        Self {
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 0,
            scheme: Scheme::Http,
            users: 0,
            contacts: 0,
            seed: 1,
            emails: people::Emails::Complete,
            client_id: DEFAULT_CLIENT_ID.into(),
            client_secret: DEFAULT_CLIENT_SECRET.into(),
            certificate_pem: None,
            custom_fields: vec![
                field("User", "Partner_Id__c", CustomKind::ExternalId),
                field("User", "Badge__c", CustomKind::Text),
                field("User", "Sync__c", CustomKind::Checkbox),
                field("User", "Operator_ID__c", CustomKind::SharedExternalId),
                field("User", "SSO_Token__c", CustomKind::Text),
                field("Contact", "Partner_Id__c", CustomKind::ExternalId),
            ],
            salesforce: SalesforceOptions::default(),
            scim_token: DEFAULT_SCIM_TOKEN.into(),
            dialect: Dialect::new(),
            scim_max_page: 200,
        }
    }
}

/// A running sandbox. It stops when dropped.
pub struct Sandbox {
    world: Arc<World>,
    address: SocketAddr,
    authority_pem: Option<String>,
    handle: Handle<SocketAddr>,
    server: Option<tokio::task::JoinHandle<std::io::Result<()>>>,
    settings: SandboxSettings,
}

/// All that the parts of a sandbox share.
struct World {
    systems: BTreeMap<System, Arc<dyn Imitation>>,
    salesforce: Arc<Salesforce>,
    scim: Arc<Scim>,
    log: Arc<Log>,
    faults: Faults,
}

impl World {
    fn imitation(&self, system: System) -> &Arc<dyn Imitation> {
        &self.systems[&system]
    }
}

impl Sandbox {
    /// Starts a sandbox. It answers as soon as this returns.
    ///
    /// # Errors
    /// If the port is taken, or the keys for TLS cannot be made.
    pub async fn start(settings: SandboxSettings) -> anyhow::Result<Self> {
        let log = Arc::new(Log::new());
        let salesforce = Salesforce::new(
            ConnectedApp {
                client_id: settings.client_id.clone(),
                client_secret: settings.client_secret.clone(),
                certificate_pem: settings.certificate_pem.clone(),
            },
            &settings.custom_fields,
            settings.salesforce.clone(),
            settings.scheme,
            Arc::clone(&log),
        );
        let dialect = settings.dialect.clone();
        let scim =
            Scim::new(settings.scim_token.clone(), dialect, settings.scim_max_page, settings.scheme, Arc::clone(&log));
        let (salesforce, scim) = (Arc::new(salesforce), Arc::new(scim));
        let systems: Vec<Arc<dyn Imitation>> = vec![
            Arc::clone(&salesforce) as _,
            Arc::clone(&scim) as _,
            Arc::new(Iadvize::new(Arc::clone(&log))),
            Arc::new(InitLive::new(Arc::clone(&log))),
            Arc::new(SalesScreen::new(Arc::clone(&log))),
        ];
        let systems = systems.into_iter().map(|system| (system.system(), system)).collect();
        let world = Arc::new(World { systems, salesforce, scim, log, faults: Faults::new() });
        let admin = Admin::new(Arc::clone(&world));
        let people = people::generate_with(settings.users, settings.seed, settings.emails);
        admin
            .seed_people(System::Salesforce, &people)
            .map_err(anyhow::Error::msg)
            .context("making the users of the org")?;
        let people = people::generate_with(settings.contacts, settings.seed, settings.emails);
        admin.seed_contacts(&people).map_err(anyhow::Error::msg).context("making the contacts of the org")?;

        let wanted = SocketAddr::new(settings.address, settings.port);
        let listener = TcpListener::bind(wanted).with_context(|| format!("listening on {wanted}"))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (tls, authority_pem) = match settings.scheme {
            Scheme::Http => (None, None),
            Scheme::Https => {
                let (tls, pem) = serve::tls::localhost()?;
                (Some(tls), Some(pem))
            }
        };
        let systems = world.systems.values().map(|system| Arc::clone(system).router());
        let router = systems.fold(admin::http::router(admin), Router::merge);
        let handle = Handle::new();
        let server = serve::spawn(listener, tls, Arc::clone(&world), router, handle.clone())?;
        Ok(Self { world, address, authority_pem, handle, server: Some(server), settings })
    }

    /// `http://127.0.0.1:<port>`, without a path.
    pub fn url(&self) -> String {
        let scheme = if self.settings.scheme == Scheme::Https { "https" } else { "http" };
        let host = if self.address.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { self.address.ip() };
        format!("{scheme}://{}", SocketAddr::new(host, self.address.port()))
    }

    /// Where the org's APIs are; also its login host.
    pub fn salesforce_url(&self) -> String {
        self.url()
    }

    /// Where the SCIM endpoints are: `/Users` follows.
    pub fn scim_url(&self) -> String {
        format!("{}/scim/v2", self.url())
    }

    /// Where the imitation of InitLive is: `/v4` follows.
    pub fn initlive_url(&self) -> String {
        format!("{}/initlive", self.url())
    }

    /// Where the imitation of SalesScreen is.
    pub fn salesscreen_url(&self) -> String {
        format!("{}/salesscreen", self.url())
    }

    /// Client id of the connected app.
    pub fn client_id(&self) -> &str {
        &self.settings.client_id
    }

    /// Client secret of the connected app.
    pub fn client_secret(&self) -> &str {
        self.settings.client_secret.expose_secret()
    }

    /// Where iAdvize is: its GraphQL API at `/graphql`, its REST API below `/api/2`.
    pub fn iadvize_url(&self) -> String {
        format!("{}/iadvize", self.url())
    }

    /// Bearer token of the SCIM service.
    pub fn scim_token(&self) -> &str {
        self.settings.scim_token.expose_secret()
    }

    /// Each system as it presents itself to those who want to connect it.
    fn introductions(&self) -> Vec<imitation::Introduction> {
        self.world.systems.values().map(|system| system.introduction(&self.url())).collect()
    }

    /// The certificate of the authority to trust, as PEM; `None` without TLS.
    pub fn authority_pem(&self) -> Option<&str> {
        self.authority_pem.as_deref()
    }

    /// The administrator's view: faults, log, edits.
    pub fn admin(&self) -> Admin {
        Admin::new(Arc::clone(&self.world))
    }

    /// Stops the sandbox: held requests go on, connections get a second to end.
    ///
    /// # Errors
    /// If the listener had failed.
    pub async fn shutdown(mut self) -> anyhow::Result<()> {
        self.world.faults.release();
        self.handle.graceful_shutdown(Some(Duration::from_secs(1)));
        match self.server.take() {
            Some(server) => {
                server.await.context("the sandbox's listener panicked")?.context("the sandbox's listener failed")
            }
            None => Ok(()),
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.world.faults.release();
        self.handle.shutdown();
    }
}

/// Locks; a panic elsewhere does not make the imitation useless.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The origin under which the client reached us: what links in answers begin with.
fn origin(scheme: Scheme, headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("127.0.0.1");
    match scheme {
        Scheme::Http => format!("http://{host}"),
        Scheme::Https => format!("https://{host}"),
    }
}
