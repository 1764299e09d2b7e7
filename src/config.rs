//! The configuration: one TOML file, parsed whole into validated types before anything connects.
//!
//! [`Config::load`] reads it and reports every mistake at once, each with its place and what would be right. Each table
//! of the file is read by one function that asks for its keys; [`schema`] runs the same functions to describe them.

use std::collections::BTreeMap;
use std::path::Path;

use toml::de::DeTable;

use crate::domain::{ConnectionName, SystemName};

mod alerts;
mod api;
mod attributes;
mod connection;
pub(crate) mod endpoint;
mod environment;
mod excerpt;
mod fingerprint;
mod guards;
mod infrastructure;
mod matching;
mod process;
mod report;
mod retention;
mod schedule;
pub(crate) mod shape;
pub(crate) mod system;
pub(crate) mod table;
mod words;

pub use alerts::{AlertsConfig, MailConfig, WebhookConfig};
pub use api::{ActKind, ApiConfig, ApiToken, Role};
pub use attributes::AttributeConfig;
pub use connection::{Conflict, ConnectionConfig, Create, Direction, End, PartnerField};
pub use environment::{Environment, ProcessEnvironment};
pub use guards::ProtectedConfig;
pub use infrastructure::{BrokerConfig, Infrastructure, StoreConfig};
pub use process::{LEASE_MARGIN, Listen, LogFormat, TelemetryConfig, WriterConfig};
pub use report::{ConfigErrors, Mistake};
pub use retention::RetentionConfig;
pub use system::SystemConfig;

pub use crate::domain::schedule::Schedule;

pub(crate) use words::nearest;

use excerpt::Source;
use shape::{Entries, parsed};
use table::{Kind, Place, Raw, Reader, Table};

/// A valid configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// What keeps messages and links between the stages.
    pub infrastructure: Infrastructure,
    /// The outside applications.
    pub systems: BTreeMap<SystemName, SystemConfig>,
    /// The rules that keep two of them in step.
    pub connections: BTreeMap<ConnectionName, ConnectionConfig>,
    /// How writers write.
    pub writer: WriterConfig,
    /// What processes show of their work.
    pub telemetry: TelemetryConfig,
    /// Where people are told of trouble.
    pub alerts: AlertsConfig,
    /// How long each kind of data is kept.
    pub retention: RetentionConfig,
    /// How the HTTP API and the console are served.
    pub api: ApiConfig,
    /// Equal in all processes that work by the same rules on the same servers. Secrets are no part of it.
    pub fingerprint: u64,
}

impl Config {
    /// Reads and checks a file. Relative paths in it begin at its folder.
    pub fn load(path: &Path, environment: &dyn Environment) -> Result<Self, ConfigErrors> {
        let file_name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| ConfigErrors::unreadable(&file_name, &error))?;
        Self::parse(&text, &file_name, environment)
    }

    /// Checks the text of a file.
    pub fn parse(text: &str, file_name: &str, environment: &dyn Environment) -> Result<Self, ConfigErrors> {
        let (document, syntax) = DeTable::parse_recoverable(text);
        let folder = Path::new(file_name).parent().unwrap_or(Path::new(""));
        let mut reader = Reader::new(environment, folder, text);
        for error in &syntax {
            let span = error.span().unwrap_or(0..0);
            let place = Place { span, key: String::new() };
            reader.note(Kind::Syntax, &place, format!("is not TOML: {}", error.message()), "see https://toml.io");
        }
        let top = Place { span: 0..0, key: String::new() };
        let config = Table::read(document.get_ref(), top, &mut reader, root);
        match config {
            Some(config) if reader.mistakes.is_empty() => Ok(config),
            _ => {
                let source = Source::new(text, document.get_ref(), &reader.plain, syntax.is_empty());
                Err(ConfigErrors { file: file_name.to_owned(), mistakes: in_order(reader.mistakes, &source) })
            }
        }
    }
}

/// JSON Schema (draft 7) of the file, for editors. Committed as `docs/config.schema.json`.
pub fn schema() -> serde_json::Value {
    let mut schema = Table::describe(root);
    schema["$schema"] = "http://json-schema.org/draft-07/schema#".into();
    schema["title"] = "Configuration of Muster".into();
    // Both or neither, and one file only without them.
    let without_file = |other: &str| serde_json::json!({ "required": [other], "not": { "required": ["file"] } });
    schema["dependencies"] = serde_json::json!({ "broker": without_file("store"), "store": without_file("broker") });
    schema
}

fn root(table: &mut Table<'_, '_>) -> Option<Config> {
    let infrastructure = infrastructure::infrastructure(table);
    let name_rule = "a name has 1 to 64 characters of a-z, 0-9 and -, and begins with a letter";
    let systems = table.optional(
        "systems",
        Entries {
            name: parsed::<SystemName>("a name", name_rule),
            read: |table: &mut Table<'_, '_>, _: &SystemName| system::system(table),
        },
        "The systems, each under a name of your choice: [systems.crm].",
    );
    let systems = systems.flatten().unwrap_or_default();
    // Also a system that has mistakes may be referred to; it is reported once, at its own place.
    let known = systems.iter().map(|entry| (entry.name.clone(), entry.value.clone())).collect();
    let connections = table.optional(
        "connections",
        Entries {
            name: parsed::<ConnectionName>("a name", name_rule),
            read: |table: &mut Table<'_, '_>, name: &ConnectionName| connection::connection(table, name, &known),
        },
        "The connections, each under a name of your choice: [connections.crm-directory].",
    );
    connection::check_ends(table, connections.as_ref().and_then(Option::as_deref).unwrap_or_default());
    let writer = table.table("writer", "How writers write.", process::writer);
    let telemetry = table.table("telemetry", "What processes show of their work.", process::telemetry);
    let alerts =
        table.table("alerts", "Where people are told of a connection that does not run as it should.", alerts::alerts);
    let retention = table.table("retention", "How long each kind of data is kept.", retention::retention);

    let api = table.table("api", "How the HTTP API and the console are served, and to whom.", api::api);

    let mut config = Config {
        infrastructure: infrastructure?,
        systems: BTreeMap::new(),
        connections: BTreeMap::new(),
        writer: writer?,
        telemetry: telemetry?,
        alerts: alerts?,
        retention: retention?,
        api: api?,
        fingerprint: 0,
    };
    for entry in systems {
        let system = SystemConfig { name: entry.name.clone(), kind: entry.value? };
        config.systems.insert(entry.name, system);
    }
    for entry in connections?.unwrap_or_default() {
        let mut connection = entry.value?;
        connection.history = connection.history.or(config.retention.history);
        config.connections.insert(entry.name, connection);
    }
    config.fingerprint = fingerprint::of_config(&config);
    Some(config)
}

/// The mistakes in the order of the file, without those that only follow from a syntax error.
fn in_order(mut raw: Vec<Raw>, source: &Source<'_>) -> Vec<Mistake> {
    let broken: Vec<_> =
        raw.iter().filter(|raw| raw.kind == Kind::Syntax).map(|raw| source.line_of(raw.place.span.start)).collect();
    let follows = |raw: &Raw| match raw.kind {
        Kind::Syntax => false,
        Kind::Missing => !broken.is_empty(),
        // What stands behind an unclosed string or table may be read as keys of something else.
        Kind::UnknownKey => broken.iter().any(|line| raw.place.span.start >= line.start),
        Kind::Value => broken.iter().any(|line| line.contains(&raw.place.span.start)),
    };
    raw.retain(|raw| !follows(raw));
    raw.sort_by_key(|raw| raw.place.span.start);
    raw.into_iter()
        .map(|raw| {
            let (line, column) = source.position(raw.place.span.start);
            let is_broken = broken.contains(&source.line_of(raw.place.span.start));
            let excerpt = source.excerpt(&raw.place.span, is_broken).filter(|_| raw.place.span != (0..0) || is_broken);
            Mistake {
                line: Some(line),
                column: Some(column),
                key: raw.place.key,
                problem: raw.problem,
                remedy: raw.remedy,
                excerpt,
            }
        })
        .collect()
}
