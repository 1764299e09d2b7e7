//! What the configuration says of iAdvize, and how its connector is set up from it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use serde_json::{Value as Json, json};
use toml::de::DeValue;
use url::Url;

use super::attributes::{EXTERNAL_ID, Wire, attribute};
use super::rules::check;
use super::{Iadvize, IadvizeSettings, Login, Platform, Presence};
use crate::config::endpoint::{Secret, ca_file, system_url};
use crate::config::shape::{List, Pairs, Plain, Shape, Sub, Text, Whole, Words};
use crate::config::system::request_timeout;
use crate::config::table::{Found, Reader, Table, Variant};
use crate::domain::rules::Departure;
use crate::domain::{AttributePath, Attributes, SystemName, Value};
use crate::systems::budget::CallBudget;
use crate::systems::http::SetupError;
use crate::systems::kind::{Fingerprint, Kind, SetUp};
use crate::systems::{SharedSystem, ValueKind};

/// The role of new operators where nothing is configured: an agent (R10).
const DEFAULT_ROLE: &str = "operator";

/// One customer's iAdvize.
#[derive(Debug, Clone)]
pub struct IadvizeConfig {
    /// Where its API is.
    pub url: Url,
    /// How to log in, and with that which API is spoken.
    pub auth: IadvizeAuth,
    /// The platform of the customer.
    pub platform: Platform,
    /// What new operators get in attributes that the mapping does not fill.
    pub defaults: Attributes,
    /// Whether operators who are logged in are left alone.
    pub presence: Presence,
    /// Requests a second, by all processes together.
    pub calls_per_second: u32,
    /// Operators in one page of a list.
    pub page_size: u32,
    /// Requests at once.
    pub concurrency: u32,
    /// How long a request may take, where nothing else limits it.
    pub request_timeout: Duration,
    /// Certificates to trust instead of the platform's.
    pub ca_file: Option<PathBuf>,
}

/// How to log in to iAdvize.
#[derive(Debug, Clone)]
pub enum IadvizeAuth {
    /// GraphQL, as a user.
    Graphql {
        /// The user's e-mail address.
        username: String,
        /// Their password.
        password: SecretString,
    },
    /// REST, with an API key.
    Rest {
        /// The key.
        key: SecretString,
    },
}

impl Kind for IadvizeConfig {
    fn word(&self) -> &'static str {
        "iadvize"
    }

    fn id_headers(&self, _object: &str) -> &'static [&'static str] {
        &["Operator ID", "iAdvize Operator ID"]
    }

    fn departs(&self, _object: &str, how: Departure) -> Result<(), &'static str> {
        match how {
            Departure::Detach | Departure::Delete => Ok(()),
            // Each operator has a project at least (R38).
            Departure::Remove => {
                Err("an operator cannot be without a project: say \"delete\", \"detach\" or \"report\"")
            }
        }
    }

    fn fingerprint(&self, of: &mut Fingerprint) {
        // Named one by one, so that a new field does not compile until it was thought of here.
        let Self {
            url,
            auth,
            platform,
            defaults,
            presence: _,
            calls_per_second,
            page_size: _,
            concurrency: _,
            request_timeout: _,
            ca_file: _,
        } = self;
        of.line("iadvize", url);
        match auth {
            IadvizeAuth::Graphql { username, password: _ } => of.line("username", username),
            IadvizeAuth::Rest { key: _ } => of.line("auth", "rest"),
        }
        if *platform == Platform::Standard {
            of.line("platform", "sd");
        }
        for (path, value) in defaults {
            let value = serde_json::to_string(value).expect("a value is JSON");
            of.line("default", format_args!("{path} {value}"));
        }
        of.line("calls_per_second", calls_per_second);
    }

    fn set_up(&self, _name: &SystemName, calls: Arc<dyn CallBudget>) -> Result<Box<dyn SetUp>, SetupError> {
        let iadvize = Iadvize::new(IadvizeSettings {
            url: self.url.clone(),
            login: match self.auth.clone() {
                IadvizeAuth::Graphql { username, password } => Login::User { username, password },
                IadvizeAuth::Rest { key } => Login::Key(key),
            },
            platform: self.platform,
            defaults: self.defaults.clone(),
            presence: self.presence,
            calls_per_second: self.calls_per_second,
            page_size: usize::try_from(self.page_size).unwrap_or(usize::MAX),
            concurrency: usize::try_from(self.concurrency).unwrap_or(usize::MAX),
            request_timeout: self.request_timeout,
            ca_file: self.ca_file.clone(),
            calls,
        })?;
        let iadvize: SharedSystem = Arc::new(iadvize);
        Ok(Box::new(iadvize))
    }
}

/// Reads the table of a customer.
pub(in crate::systems) fn read(table: &mut Table<'_, '_>) -> Option<Arc<dyn Kind>> {
    let url = system_url(
        table,
        "https://api.iadvize.com",
        "The API: https://api.iadvize.com for GraphQL, https://sd.iadvize.com or https://ha.iadvize.com for REST.",
    );
    let auth = table.required(
        "auth",
        Sub(auth),
        "How to log in: { transport = \"graphql\", username = \"...\", password = { env = \"CHAT_PASSWORD\" } }",
    );
    let platform = table.default(
        "platform",
        Words(&[("sd", Platform::Standard), ("ha", Platform::HighAvailability)]),
        Platform::HighAvailability,
        "The platform of the customer, which GraphQL has to be told: sd (standard) or ha (high availability).",
    );
    let defaults = table.default(
        "defaults",
        Pairs { name: ATTRIBUTE, value: PlainOrList },
        BTreeMap::new(),
        "What new operators get in attributes that the mapping does not fill: { \"native.projects\" = [\"Shop\"] }. \
         Their role is \"operator\", an agent, if \"roles\" says nothing else.",
    );
    let presence = table.default(
        "presence",
        Words(&[("respect", Presence::Respect), ("ignore", Presence::Ignore)]),
        Presence::Respect,
        "Whether an operator who is logged in is left alone until later, since an update throws people out.",
    );
    let calls_per_second = table.default(
        "calls_per_second",
        Whole(1..=1_000_u32),
        5,
        "Requests a second, by all processes together. iAdvize names no limit of its own.",
    );
    let page_size = table.default("page_size", Whole(1..=100_u32), 100, "Operators in one page of a list.");
    let concurrency = table.default("concurrency", Whole(1..=64_u32), 4, "Requests to it at once, of one process.");
    let request_timeout = request_timeout(table);
    let ca_file = ca_file(table);
    let (auth, defaults) = (auth?, defaults?);
    let defaults = checked(table, &auth, defaults)?;
    Some(Arc::new(IadvizeConfig {
        url: url?,
        auth,
        platform: platform?,
        defaults,
        presence: presence?,
        calls_per_second: calls_per_second?,
        page_size: page_size?,
        concurrency: concurrency?,
        request_timeout: request_timeout?,
        ca_file: ca_file?,
    }))
}

fn auth(table: &mut Table<'_, '_>) -> Option<IadvizeAuth> {
    fn graphql(table: &mut Table<'_, '_>) -> Option<IadvizeAuth> {
        let username = table.required("username", USERNAME, "The e-mail address of an administrator or manager.");
        let secret = Secret { variable: "CHAT_PASSWORD" };
        let password = table.required("password", secret, "Their password: { env = \"CHAT_PASSWORD\" }");
        Some(IadvizeAuth::Graphql { username: username?, password: password? })
    }
    fn rest(table: &mut Table<'_, '_>) -> Option<IadvizeAuth> {
        let key = table.required("key", Secret { variable: "CHAT_KEY" }, "The API key: { env = \"CHAT_KEY\" }");
        Some(IadvizeAuth::Rest { key: key? })
    }
    table.variant(
        "transport",
        "Which API is spoken.",
        &[
            Variant { word: "graphql", doc: "The GraphQL API, as a user of iAdvize.", read: graphql },
            Variant {
                word: "rest",
                doc: "The REST API, version 2, with an API key. iAdvize is retiring it.",
                read: rest,
            },
        ],
    )
}

/// Defaults that can be sent, with the role that everybody needs.
fn checked(
    table: &mut Table<'_, '_>,
    auth: &IadvizeAuth,
    defaults: BTreeMap<AttributePath, Value>,
) -> Option<Attributes> {
    let wire = match auth {
        IadvizeAuth::Graphql { .. } => Wire::Graphql,
        IadvizeAuth::Rest { .. } => Wire::Rest,
    };
    let mut all = Attributes::from([("roles".parse().expect("a constant path"), Some(Value::from(DEFAULT_ROLE)))]);
    let mut well = true;
    for (path, value) in defaults {
        let value = match (attribute(&path).map(|attribute| attribute.kind), value) {
            // One word is a list of one.
            (Some(ValueKind::Set), Value::Text(text)) => Value::Set([text].into()),
            (_, value) => value,
        };
        let fits = attribute(&path).is_none_or(|attribute| has_kind(attribute.kind, &value));
        let one = Attributes::from([(path.clone(), Some(value.clone()))]);
        let problem = match check(wire, &one) {
            Err(failure) => Some(failure.message.into_owned()),
            Ok(()) if !fits => Some(format!("attribute {path} has a value of the wrong kind")),
            Ok(()) => None,
        };
        if let Some(problem) = problem {
            table.mistake("defaults", problem, "see docs/systems/iadvize.md for the attributes and their values");
            well = false;
        }
        all.insert(path, Some(value));
    }
    well.then_some(all)
}

fn has_kind(kind: ValueKind, value: &Value) -> bool {
    matches!(
        (kind, value),
        (ValueKind::Text | ValueKind::Email, Value::Text(_))
            | (ValueKind::Bool, Value::Bool(_))
            | (ValueKind::Int, Value::Int(_))
            | (ValueKind::Set, Value::Set(_))
    )
}

const USERNAME: Text<String> = Text {
    what: "a username",
    rule: "a user of iAdvize logs in with an e-mail address",
    parse: |text| {
        let valid = text.len() <= 255 && text.contains('@') && !text.contains(|c: char| c.is_whitespace());
        valid.then(|| text.to_owned())
    },
};

const ATTRIBUTE: Text<AttributePath> = Text {
    what: "an attribute of operators",
    rule: "a default belongs to an attribute of operators, such as \"native.projects\" or preferredLanguage",
    parse: |text| text.parse().ok().filter(|path| attribute(path).is_some_and(|known| known.canonical != EXTERNAL_ID)),
};

const ITEM: Text<String> =
    Text { what: "a name", rule: "a name is a text", parse: |text| (!text.is_empty()).then(|| text.to_owned()) };

/// A plain value, or a list of texts.
struct PlainOrList;

impl Shape for PlainOrList {
    type Value = Value;

    fn schema(&self) -> Json {
        json!({ "oneOf": [Plain.schema(), List { of: ITEM, least: 1 }.schema()] })
    }

    fn read(&self, found: &Found<'_>, reader: &mut Reader<'_>) -> Option<Value> {
        match found.value {
            DeValue::Array(_) => {
                let items = List { of: ITEM, least: 1 }.read(found, reader)?;
                Some(Value::Set(items.into_iter().collect()))
            }
            _ => Plain.read(found, reader),
        }
    }
}
