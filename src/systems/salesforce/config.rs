//! What the configuration says of an org, and how the org is set up from it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use url::Url;

use super::{Login, Object, Org, OrgSettings, RecordSettings, Salesforce};
use crate::config::endpoint::{Secret, SystemUrl, ca_file, private_key, system_url};
use crate::config::shape::{List, Pairs, Plain, Sub, Text, Whole};
use crate::config::system::{FIELD, is_field_name, request_timeout};
use crate::config::table::{Table, Variant};
use crate::domain::rules::Departure;
use crate::domain::{SystemName, Value};
use crate::systems::SharedSystem;
use crate::systems::budget::CallBudget;
use crate::systems::http::SetupError;
use crate::systems::kind::{Fingerprint, Kind, Records, SetUp};

/// How far an incremental read of Salesforce goes back behind the last row that was read: room for transactions that
/// were open then and committed rows with older stamps.
const OVERLAP: Duration = Duration::from_secs(60);

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

impl Kind for SalesforceConfig {
    fn word(&self) -> &'static str {
        "salesforce"
    }

    fn objects(&self) -> &'static [&'static str] {
        &["User", "Contact"]
    }

    fn takes_partner_field(&self) -> bool {
        true
    }

    fn reads_field(&self, name: &str) -> bool {
        self.fields.iter().any(|field| field.eq_ignore_ascii_case(name))
    }

    fn id_headers(&self, object: &str) -> &'static [&'static str] {
        match object {
            "Contact" => &["Contact ID", "Salesforce Contact ID"],
            _ => &["User ID", "Salesforce User ID"],
        }
    }

    fn departs(&self, object: &str, how: Departure) -> Result<(), &'static str> {
        match (how, object) {
            (Departure::Detach, _) => Ok(()),
            // Into the recycle bin, for two weeks.
            (Departure::Delete, "Contact") => Ok(()),
            // R81.
            (Departure::Delete, _) => {
                Err("users of Salesforce are never deleted, only deactivated: say \"deactivate\"")
            }
            (Departure::Remove, "Contact") => Err("say \"delete\", \"detach\" or \"report\""),
            (Departure::Remove, _) => Err("say \"deactivate\", \"detach\" or \"report\""),
        }
    }

    fn fingerprint(&self, of: &mut Fingerprint) {
        // Named one by one, so that a new field does not compile until it was thought of here.
        let Self { url, auth, api_version, fields, defaults, page_size: _, request_timeout: _, ca_file: _ } = self;
        of.line("salesforce", url);
        match auth {
            SalesforceAuth::ClientCredentials { client_id, client_secret: _ } => of.line("client_id", client_id),
            SalesforceAuth::JwtBearer { client_id, username, key: _, audience } => {
                of.line("client_id", client_id);
                of.line("username", username);
                of.line("audience", audience.as_deref().unwrap_or_default());
            }
        }
        of.line("api_version", api_version);
        of.line("fields", fields.join(","));
        for ((object, field), value) in defaults {
            let value = serde_json::to_string(value).expect("a value is JSON");
            of.line("default", format_args!("{object}.{field} {value}"));
        }
    }

    fn set_up(&self, _name: &SystemName, _calls: Arc<dyn CallBudget>) -> Result<Box<dyn SetUp>, SetupError> {
        let org = Org::new(OrgSettings {
            url: self.url.clone(),
            api_version: self.api_version.clone(),
            login: login(&self.auth),
            page_size: usize::try_from(self.page_size).unwrap_or(usize::MAX),
            request_timeout: self.request_timeout,
            ca_file: self.ca_file.clone(),
        })?;
        Ok(Box::new(Configured { org, config: self.clone() }))
    }
}

/// An org, and the connectors for its kinds of record: they share its login, its clock and its count of calls.
struct Configured {
    org: Org,
    config: SalesforceConfig,
}

impl SetUp for Configured {
    fn connector(&self, records: &Records) -> SharedSystem {
        let object = Object::named(&records.object).expect("the configuration offers no others");
        let defaults = self.config.defaults.iter().filter(|((of, _), _)| of == object.name());
        let settings = RecordSettings {
            object,
            overlap: OVERLAP,
            fields: self.config.fields.clone(),
            defaults: defaults.map(|((_, field), value)| (field.clone(), value.clone())).collect(),
            partner_field: records.partner_field.clone(),
            partner_requires: records.partner_requires.clone(),
        };
        Arc::new(Salesforce::new(&self.org, settings))
    }
}

fn login(auth: &SalesforceAuth) -> Login {
    match auth.clone() {
        SalesforceAuth::ClientCredentials { client_id, client_secret } => {
            Login::ClientCredentials { client_id, client_secret }
        }
        SalesforceAuth::JwtBearer { client_id, username, key, audience } => {
            Login::JwtBearer { client_id, username, key, audience }
        }
    }
}

/// Reads the table of an org.
pub(in crate::systems) fn read(table: &mut Table<'_, '_>) -> Option<Arc<dyn Kind>> {
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
    Some(Arc::new(SalesforceConfig {
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
