//! `[systems.<name>]`: the outside applications, each with what its kind needs.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use url::Url;

use crate::domain::SystemName;

use super::endpoint::{Secret, ca_file, system_url};
use super::shape::{Either, Lasting, List, Sub, Text, Whole, Word};
use super::table::{Table, Variant};

/// A configured system.
#[derive(Debug, Clone)]
pub struct SystemConfig {
    /// Its name.
    pub name: SystemName,
    /// What it is, and what that needs.
    pub kind: SystemKind,
}

/// The kinds of systems.
#[derive(Debug, Clone)]
pub enum SystemKind {
    /// A Salesforce org.
    Salesforce(SalesforceConfig),
    /// A SCIM 2.0 service.
    Scim(ScimConfig),
}

/// A Salesforce org.
#[derive(Debug, Clone)]
pub struct SalesforceConfig {
    /// The org's own (My Domain) address.
    pub url: Url,
    /// How to log in.
    pub auth: ClientCredentials,
    /// Version of the REST API, such as `v66.0`.
    pub api_version: String,
    /// Fields to read besides those with canonical names, by their API names; attributes `native.<field>`.
    pub fields: Vec<String>,
    /// Records in one page of a query.
    pub page_size: u32,
    /// How long a request may take, where nothing else limits it.
    pub request_timeout: Duration,
    /// Certificates to trust instead of the platform's.
    pub ca_file: Option<PathBuf>,
}

/// OAuth 2.0 client credentials.
#[derive(Debug, Clone)]
pub struct ClientCredentials {
    /// The consumer key of the connected app.
    pub client_id: String,
    /// Its secret.
    pub client_secret: SecretString,
}

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

impl SystemKind {
    /// The word that the file uses.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Salesforce(_) => "salesforce",
            Self::Scim(_) => "scim",
        }
    }

    /// The kinds of record that can be an end of a connection; the first is meant where the file names none.
    pub fn objects(&self) -> &'static [&'static str] {
        match self {
            Self::Salesforce(_) | Self::Scim(_) => &["User"],
        }
    }
}

pub(super) fn system(table: &mut Table<'_, '_>) -> Option<SystemKind> {
    table.variant(
        "kind",
        "What the system is.",
        &[
            Variant { word: "salesforce", doc: "A Salesforce org.", read: salesforce },
            Variant { word: "scim", doc: "A SCIM 2.0 service.", read: scim },
        ],
    )
}

fn salesforce(table: &mut Table<'_, '_>) -> Option<SystemKind> {
    let url =
        system_url(table, "https://example.my.salesforce.com", "The org's own address: Setup, My Domain, current URL.");
    let auth = table.required("auth", Sub(client_credentials), "How to log in: { flow = \"client-credentials\", ... }");
    let api_version = table.default("api_version", API_VERSION, "v66.0".to_owned(), "Version of the REST API.");
    let fields = table.default(
        "fields",
        List { of: FIELD, least: 0 },
        Vec::new(),
        "Further fields to read, by their API names. Attributes know them as native.<field>.",
    );
    // The range of the header Sforce-Query-Options, batchSize.
    let page_size = table.default("page_size", Whole(200..=2_000_u32), 2_000, "Records in one page of a query.");
    let request_timeout = request_timeout(table);
    let ca_file = ca_file(table);
    Some(SystemKind::Salesforce(SalesforceConfig {
        url: url?,
        auth: auth?,
        api_version: api_version?,
        fields: fields?,
        page_size: page_size?,
        request_timeout: request_timeout?,
        ca_file: ca_file?,
    }))
}

fn client_credentials(table: &mut Table<'_, '_>) -> Option<ClientCredentials> {
    fn credentials(table: &mut Table<'_, '_>) -> Option<ClientCredentials> {
        let client_id = table.required("client_id", CLIENT_ID, "The consumer key of the connected app.");
        let client_secret =
            table.required("client_secret", Secret { variable: "CRM_SECRET" }, "Its secret: { env = \"CRM_SECRET\" }");
        Some(ClientCredentials { client_id: client_id?, client_secret: client_secret? })
    }
    let doc = "OAuth 2.0 client credentials of a connected app with a run-as user.";
    table.variant("flow", "How to log in.", &[Variant { word: "client-credentials", doc, read: credentials }])
}

fn scim(table: &mut Table<'_, '_>) -> Option<SystemKind> {
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
    Some(SystemKind::Scim(ScimConfig {
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

fn request_timeout(table: &mut Table<'_, '_>) -> Option<Duration> {
    table.default(
        "request_timeout",
        Lasting(Duration::from_millis(100)..=Duration::from_secs(600)),
        Duration::from_secs(30),
        "How long a request may take. Writes have the shorter deadline of [writer].",
    )
}

const CLIENT_ID: Text<String> = Text {
    what: "a client id",
    rule: "a client id has 1 to 512 characters without white space",
    parse: |text| {
        let valid = (1..=512).contains(&text.len()) && !text.contains(|c: char| c.is_whitespace() || c.is_control());
        valid.then(|| text.to_owned())
    },
};

const API_VERSION: Text<String> = Text {
    what: "an API version",
    rule: "an API version is v46.0 or later, such as \"v66.0\"",
    parse: |text| {
        let number: u16 = text.strip_prefix('v')?.strip_suffix(".0")?.parse().ok()?;
        // The canonical form only, since it becomes part of a path.
        (46..1000).contains(&number).then(|| format!("v{number}.0"))
    },
};

const FIELD: Text<String> = Text {
    what: "the API name of a field",
    rule: "the API name of a field has 1 to 80 letters, digits and _, and begins with a letter",
    // It becomes part of queries, so nothing else may pass.
    parse: |text| {
        let valid = (1..=80).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        valid.then(|| text.to_owned())
    },
};
