//! `[systems.<name>]`: the outside applications, each with what its kind needs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use url::Url;

use crate::domain::{SystemName, Value};

use super::endpoint::{Secret, SystemUrl, ca_file, private_key, system_url};
use super::shape::{Either, Lasting, List, Pairs, Plain, Sub, Text, Whole, Word};
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
    pub auth: SalesforceAuth,
    /// Version of the REST API, such as `v66.0`.
    pub api_version: String,
    /// What new records get in fields that the mapping does not fill, by kind of record and API name.
    pub defaults: BTreeMap<(String, String), Value>,
    /// Fields to read besides those with canonical names, by their API names; attributes `native.<field>`.
    pub fields: Vec<String>,
    /// Records in one page of a query.
    pub page_size: u32,
    /// How long a request may take, where nothing else limits it.
    pub request_timeout: Duration,
    /// Certificates to trust instead of the platform's.
    pub ca_file: Option<PathBuf>,
}

/// How to log in to an org.
#[derive(Debug, Clone)]
pub enum SalesforceAuth {
    /// OAuth 2.0 client credentials.
    ClientCredentials {
        /// The consumer key of the app.
        client_id: String,
        /// Its secret.
        client_secret: SecretString,
    },
    /// OAuth 2.0 JWT bearer.
    JwtBearer {
        /// The consumer key of the app.
        client_id: String,
        /// The user to act as.
        username: String,
        /// The private key of the app's certificate, in PEM.
        key: SecretString,
        /// The login host that the statement is meant for, if not the usual one.
        audience: Option<String>,
    },
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
            Self::Salesforce(_) => &["User", "Contact"],
            Self::Scim(_) => &["User"],
        }
    }

    /// Whether the file names the field that holds the partner's id. Others have one of their own for it.
    pub fn takes_partner_field(&self) -> bool {
        matches!(self, Self::Salesforce(_))
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
    let auth = table.required("auth", Sub(salesforce_auth), "How to log in: { flow = \"client-credentials\", ... }");
    let api_version = table.default("api_version", API_VERSION, "v66.0".to_owned(), "Version of the REST API.");
    let fields = table.default(
        "fields",
        List { of: FIELD, least: 0 },
        Vec::new(),
        "Further fields to read, by their API names. Attributes know them as native.<field>.",
    );
    let defaults = table.default(
        "defaults",
        Pairs { name: DEFAULT_FIELD, value: Plain },
        BTreeMap::new(),
        "What new users get in fields that the mapping does not fill, by API names: { ProfileId = \"00e...\" }. \
         \"Contact.OwnerId\" names a field of new contacts.",
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
        defaults: defaults?,
        page_size: page_size?,
        request_timeout: request_timeout?,
        ca_file: ca_file?,
    }))
}

fn salesforce_auth(table: &mut Table<'_, '_>) -> Option<SalesforceAuth> {
    fn client_id(table: &mut Table<'_, '_>) -> Option<String> {
        table.required("client_id", CLIENT_ID, "The consumer key of the connected app.")
    }
    fn client_credentials(table: &mut Table<'_, '_>) -> Option<SalesforceAuth> {
        let client_id = client_id(table);
        let client_secret =
            table.required("client_secret", Secret { variable: "CRM_SECRET" }, "Its secret: { env = \"CRM_SECRET\" }");
        Some(SalesforceAuth::ClientCredentials { client_id: client_id?, client_secret: client_secret? })
    }
    fn jwt_bearer(table: &mut Table<'_, '_>) -> Option<SalesforceAuth> {
        let client_id = client_id(table);
        let username = table.required("username", USERNAME, "The username of the user to act as.");
        let key = private_key(table);
        let audience = table.optional(
            "audience",
            SystemUrl { example: "https://login.salesforce.com" },
            "The login host, if not the usual one: login.salesforce.com, or test.salesforce.com for a test org.",
        );
        Some(SalesforceAuth::JwtBearer {
            client_id: client_id?,
            username: username?,
            key: key?,
            audience: audience?.map(|url| url.as_str().trim_end_matches('/').to_owned()),
        })
    }
    let by_secret = "OAuth 2.0 client credentials of a connected app with a run-as user.";
    let by_key = "OAuth 2.0 JWT bearer: a connected app with a certificate, whose private key signs (RS256).";
    table.variant(
        "flow",
        "How to log in.",
        &[
            Variant { word: "client-credentials", doc: by_secret, read: client_credentials },
            Variant { word: "jwt-bearer", doc: by_key, read: jwt_bearer },
        ],
    )
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

const USERNAME: Text<String> = Text {
    what: "a username",
    rule: "a username of Salesforce has the form of an e-mail address",
    parse: |text| {
        let valid = text.len() <= 80 && text.contains('@') && !text.contains(|c: char| c.is_whitespace());
        valid.then(|| text.to_owned())
    },
};

pub(super) const FIELD: Text<String> = Text {
    what: "the API name of a field",
    rule: "the API name of a field has 1 to 80 letters, digits and _, and begins with a letter",
    parse: |text| is_field_name(text).then(|| text.to_owned()),
};

/// It becomes part of queries, so nothing else may pass.
fn is_field_name(text: &str) -> bool {
    (1..=80).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// A field of new records: its kind of record, the user's if none is named, and its name.
const DEFAULT_FIELD: Text<(String, String)> = Text {
    what: "the API name of a field",
    rule: "a default belongs to a field of new users, by its API name, or to one of new contacts: \"Contact.OwnerId\"",
    parse: |text| {
        let (object, field) = text.split_once('.').unwrap_or(("User", text));
        let known = ["User", "Contact"].contains(&object);
        (known && is_field_name(field)).then(|| (object.to_owned(), field.to_owned()))
    },
};
