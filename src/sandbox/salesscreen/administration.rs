//! The product as the rest of the sandbox knows it, and what a person does at its screens.

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::windows::{Limit, Windows};
use super::workspace::Absent;
use super::{SalesScreen, http};
use crate::sandbox::clock::Clock;
use crate::sandbox::imitation::{Imitation, Introduction};
use crate::sandbox::log::{Actor, System};
use crate::sandbox::people::Person;
use crate::sandbox::{DEFAULT_SALESSCREEN_KEY, lock};

/// What the administrator's API can do with it alone.
pub(in crate::sandbox) const HELP: &str = r#"
  POST   /_admin/salesscreen/users           makes a user: {"email": "ada@x.example", "lastname": "Byron", "team": "north"};
                                             "userId" maps an id of the API's caller to it. Edits take the same words
  POST   /_admin/salesscreen/teams           makes a team: {"key": "east", "name": "East"}
  POST   /_admin/salesscreen/settings        {"absent": "keep", "windows": [{"calls": 15, "within_ms": 1000}]}
                                             &object=Record, Team, and Window: the most calls each window ever held
"#;

/// Switches of the service; what is absent stays.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    absent: Option<Absent>,
    windows: Option<Vec<Limit>>,
}

impl Imitation for SalesScreen {
    fn system(&self) -> System {
        System::SalesScreen
    }

    fn clock(&self) -> &Clock {
        &self.clock
    }

    fn router(self: Arc<Self>) -> Router {
        http::router(&self)
    }

    fn operation(&self, method: &str, path: &str, _body: &[u8]) -> &'static str {
        operation(method, path)
    }

    fn refusal(&self, status: StatusCode) -> Response {
        http::refusal(status, status.canonical_reason().unwrap_or("refused"))
    }

    fn objects(&self) -> &'static [(&'static str, &'static str)] {
        &[("users", "User"), ("teams", "Team"), ("records", "Record"), ("windows", "Window")]
    }

    /// People whom a person made: nothing of the API's caller stands for them.
    fn seed(&self, people: &[Person]) -> Result<Vec<String>, String> {
        let mut workspace = lock(&self.workspace);
        let user = |person: &Person| {
            let email = person.email.clone().unwrap_or_else(|| person.user_name.clone());
            let fields =
                [("email", email), ("firstname", person.given_name.clone()), ("lastname", person.family_name.clone())];
            fields.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect::<Map<_, _>>()
        };
        people.iter().map(|person| Ok(workspace.create("User", &user(person))?.0)).collect()
    }

    fn records(&self, object: &str) -> Vec<Value> {
        if object == "Window" { lock(&self.windows).shown() } else { lock(&self.workspace).records(object) }
    }

    fn record(&self, object: &str, id: &str) -> Option<Value> {
        lock(&self.workspace).record(object, id)
    }

    fn create(&self, object: &str, fields: &Map<String, Value>) -> Result<String, String> {
        if !matches!(object, "User" | "Team") {
            return Err("a person makes users and teams".to_owned());
        }
        self.write(Actor::Administrator, "POST", "", |workspace| workspace.create(object, fields))
    }

    fn edit(&self, object: &str, id: &str, fields: &Map<String, Value>) -> Result<(), String> {
        if object != "User" {
            return Err("a person edits users".to_owned());
        }
        self.write(Actor::Administrator, "PATCH", "", |workspace| workspace.edit(id, fields))
    }

    fn delete(&self, object: &str, id: &str) -> Result<(), String> {
        self.write(Actor::Administrator, "DELETE", "", |workspace| workspace.delete(object, id))
    }

    fn deactivation(&self) -> (&'static str, Value) {
        ("active", Value::Bool(false))
    }

    fn configure(&self, settings: Value) -> Result<(), String> {
        let Settings { absent, windows } = serde_json::from_value(settings).map_err(|error| error.to_string())?;
        if let Some(absent) = absent {
            lock(&self.workspace).set_absent(absent);
        }
        if let Some(limits) = windows {
            *lock(&self.windows) = Windows::of(limits);
        }
        Ok(())
    }

    fn introduction(&self, url: &str) -> Introduction {
        let url = format!("{url}/salesscreen");
        Introduction {
            headline: format!("SalesScreen {url}"),
            configuration: format!(
                "[systems.results]\nkind = \"salesscreen\"\nurl = \"{url}\"\n\
                 api_key = {{ env = \"SALESSCREEN_KEY\" }}\nautomatic_sync_off = true\n\
                 teams = {{ north = \"North\", south = \"South\" }}\n"
            ),
            secrets: vec![("SALESSCREEN_KEY", DEFAULT_SALESSCREEN_KEY)],
        }
    }
}

/// What a request asks for, in one word.
fn operation(method: &str, path: &str) -> &'static str {
    match (method, path.trim_end_matches('/').rsplit_once("/api/v1/").map(|(_, rest)| rest)) {
        ("POST", Some("User/Add")) => "upsert",
        ("POST", Some("Record/Add")) => "record",
        ("GET", _) => "read",
        _ => "other",
    }
}
