//! The directory as the rest of the sandbox knows it, and what an administrator does to it. Refusals are told as text.

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::directory::{self, Precondition};
use super::error::ScimError;
use super::http::Refused;
use super::schema::Type;
use super::{Caller, Dialect, Scim};
use crate::sandbox::clock::Clock;
use crate::sandbox::imitation::{Imitation, Introduction, record_operation};
use crate::sandbox::log::{Actor, System};
use crate::sandbox::people::Person;
use crate::sandbox::{DEFAULT_SCIM_TOKEN, lock};

/// What the administrator's API can do with it alone.
pub(in crate::sandbox) const HELP: &str = r#"
  POST   /_admin/scim/users                  creates a user (also: groups); schemas may be left out
  POST   /_admin/scim/users/{id}             edits it: {"title": "Agent", "name.familyName": "Byron", "nickName": null}
  POST   /_admin/scim/settings               {"max_page": 200}
  PUT    /_admin/scim/dialect                ["patch-no-content", {"truncate-at": 40}, ...] or a name of --scim-dialect
"#;

/// Switches of the service; what is absent stays.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    max_page: Option<usize>,
}

impl Imitation for Scim {
    fn system(&self) -> System {
        System::Scim
    }

    fn clock(&self) -> &Clock {
        &self.clock
    }

    fn router(self: Arc<Self>) -> Router {
        self.api()
    }

    fn operation(&self, method: &str, path: &str, _body: &[u8]) -> &'static str {
        operation(method, path)
    }

    fn refusal(&self, status: StatusCode) -> Response {
        Refused(ScimError::new(status, status.canonical_reason().unwrap_or("refused")), Dialect::new()).into_response()
    }

    fn objects(&self) -> &'static [(&'static str, &'static str)] {
        &[("users", "Users"), ("groups", "Groups")]
    }

    fn seed(&self, people: &[Person]) -> Result<Vec<String>, String> {
        let now_ms = self.clock.now_ms();
        let mut directory = lock(&self.directory);
        let mut added = Vec::with_capacity(people.len());
        for person in people {
            let done = directory
                .create(Type::User, &directory::user_of(person, None), &Dialect::new(), now_ms)
                .map_err(told)?;
            added.extend(done.after.map(|resource| resource.id.clone()));
        }
        Ok(added)
    }

    fn create(&self, endpoint: &str, fields: &Map<String, Value>) -> Result<String, String> {
        let kind = Type::of_endpoint(endpoint).ok_or("no such endpoint")?;
        let mut fields = fields.clone();
        fields.entry("schemas").or_insert_with(|| json!([kind.schema().id]));
        let done = self.post(kind, &Value::Object(fields), &administrator()).map_err(told)?;
        Ok(done.after.map(|resource| resource.id.clone()).unwrap_or_default())
    }

    /// Sets attributes, each under a path of PATCH; null clears.
    fn edit(&self, endpoint: &str, id: &str, fields: &Map<String, Value>) -> Result<(), String> {
        let kind = Type::of_endpoint(endpoint).ok_or("no such endpoint")?;
        let operations: Vec<Value> = fields
            .iter()
            .map(|(path, value)| match value {
                Value::Null => json!({"op": "remove", "path": path}),
                value => json!({"op": "replace", "path": path, "value": value}),
            })
            .collect();
        let request = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": operations});
        self.patch(kind, id, &request, &Precondition::None, &administrator()).map_err(told)?;
        Ok(())
    }

    fn delete(&self, endpoint: &str, id: &str) -> Result<(), String> {
        let kind = Type::of_endpoint(endpoint).ok_or("no such endpoint")?;
        self.remove(kind, id, &Precondition::None, &administrator()).map_err(told)?;
        Ok(())
    }

    fn records(&self, endpoint: &str) -> Vec<Value> {
        let Some(kind) = Type::of_endpoint(endpoint) else { return Vec::new() };
        let directory = lock(&self.directory);
        directory.all(kind).map(|resource| Value::Object(directory.with_groups(resource))).collect()
    }

    fn record(&self, endpoint: &str, id: &str) -> Option<Value> {
        let kind = Type::of_endpoint(endpoint)?;
        let directory = lock(&self.directory);
        directory.get(kind, id).ok().map(|resource| Value::Object(directory.with_groups(resource)))
    }

    fn deactivation(&self) -> (&'static str, Value) {
        ("active", Value::Bool(false))
    }

    fn configure(&self, settings: Value) -> Result<(), String> {
        let Settings { max_page } = serde_json::from_value(settings).map_err(|error| error.to_string())?;
        if let Some(max_page) = max_page {
            self.set_max_page(max_page);
        }
        Ok(())
    }

    fn introduction(&self, url: &str) -> Introduction {
        let url = format!("{url}/scim/v2");
        Introduction {
            headline: format!("SCIM 2.0    {url}"),
            configuration: format!(
                "[systems.directory]\nkind = \"scim\"\nurl = \"{url}\"\nauth = {{ flow = \"bearer\", \
                 token = {{ env = \"DIRECTORY_TOKEN\" }} }}\n"
            ),
            secrets: vec![("DIRECTORY_TOKEN", DEFAULT_SCIM_TOKEN)],
        }
    }
}

impl Scim {
    pub fn set_dialect(&self, dialect: Dialect) {
        *lock(&self.dialect) = dialect;
    }

    pub fn set_max_page(&self, max_page: usize) {
        *lock(&self.max_page) = max_page.max(1);
    }
}

/// What a request asks for, in one word.
fn operation(method: &str, path: &str) -> &'static str {
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    match segments.last() {
        Some(&".search") => "search",
        Some(&"Bulk") => "bulk",
        Some(&("Users" | "Groups")) if method == "GET" => "list",
        _ if segments.iter().any(|segment| matches!(*segment, "Users" | "Groups")) => record_operation(method),
        _ => "discover",
    }
}

fn administrator() -> Caller {
    Caller { actor: Actor::Administrator, request: String::new(), base: String::new(), withhold: None }
}

fn told(error: ScimError) -> String {
    match error.scim_type {
        Some(scim_type) => format!("{scim_type}: {}", error.detail),
        None => error.detail,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_named_by_what_they_ask_for() {
        for (method, path, expected) in [
            ("GET", "/scim/v2/Users", "list"),
            ("POST", "/scim/v2/Users", "create"),
            ("POST", "/scim/v2/Users/.search", "search"),
            ("PUT", "/scim/v2/Users/17", "replace"),
            ("GET", "/scim/v2/Schemas", "discover"),
        ] {
            assert_eq!(operation(method, path), expected, "{method} {path}");
        }
    }
}
