//! iAdvize as the rest of the sandbox knows it, and what an administrator does to it. Refusals are told as text.

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::directory::Refusal;
use super::operator::{Presence, defaults, of_person};
use super::session::bearer;
use super::{Caller, DEFAULT_PASSWORD, Iadvize, Ids, ROOT, refusal};
use crate::sandbox::clock::Clock;
use crate::sandbox::imitation::{Imitation, Introduction, record_operation};
use crate::sandbox::lock;
use crate::sandbox::log::{Actor, Contents, System};
use crate::sandbox::people::Person;

/// What the administrator's API can do with it alone.
pub(in crate::sandbox) const HELP: &str = r#"
  POST   /_admin/iadvize/users               creates an operator, who gets a mail: {"name": "Byron", "email": "a@x.example", "pseudo": "Ada"}
  POST   /_admin/iadvize/users/{id}          edits one under REST's names; {"presence": "offline" | "online" | "conversation"}
  POST   /_admin/iadvize/skills              {"name": "Returns"} (also: websites, groups, roles)
  GET    /_admin/accounts?system=iadvize&object=Mail     invitations that were sent (also: Disconnection, Skill, Website, ...)
  POST   /_admin/iadvize/settings            {"logins_per_minute": 10, "token_seconds": 86400, "requests_per_second": 5,
                                             "max_page": 100, "ids": "number" | "text" | "object", "busy_on_update": 1,
                                             "channels": ["chat", "call", "video", "third-party"], "presence": false}
"#;

/// Switches; what is absent stays.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    logins_per_minute: Option<usize>,
    token_seconds: Option<i64>,
    requests_per_second: Option<usize>,
    max_page: Option<usize>,
    ids: Option<Ids>,
    busy_on_update: Option<usize>,
    channels: Option<Vec<String>>,
    presence: Option<bool>,
}

impl Imitation for Iadvize {
    fn system(&self) -> System {
        System::Iadvize
    }

    fn clock(&self) -> &Clock {
        &self.clock
    }

    fn router(self: Arc<Self>) -> Router {
        self.api()
    }

    fn operation(&self, method: &str, path: &str, body: &[u8]) -> &'static str {
        operation(method, path, body)
    }

    fn refusal(&self, status: StatusCode) -> Response {
        refusal(status)
    }

    fn expire_session(&self, headers: &HeaderMap) -> Option<Response> {
        match bearer(headers) {
            Some(token) => {
                lock(&self.sessions).revoke(token);
                None
            }
            None => Some(refusal(StatusCode::FORBIDDEN)),
        }
    }

    fn objects(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("users", "Operator"),
            ("mails", "Mail"),
            ("disconnections", "Disconnection"),
            ("websites", "Website"),
            ("groups", "Group"),
            ("skills", "Skill"),
            ("roles", "Role"),
        ]
    }

    fn seed(&self, people: &[Person]) -> Result<Vec<String>, String> {
        let now_ms = self.clock.now_ms();
        let mut directory = lock(&self.directory);
        let added = people.iter().map(|person| {
            let mut fields = defaults();
            fields.extend(of_person(person));
            directory.insert(fields, now_ms).id.to_string()
        });
        Ok(added.collect())
    }

    fn records(&self, object: &str) -> Vec<Value> {
        let directory = lock(&self.directory);
        let table = |kind: &str| directory.table(kind).map(|(id, name)| json!({"id": id, "name": name})).collect();
        match object {
            "Operator" => {
                let live = directory.all().filter(|operator| operator.deleted_at.is_none());
                live.map(|operator| operator.to_json()).collect()
            }
            "Mail" => directory.mails().to_vec(),
            "Disconnection" => directory.disconnections().to_vec(),
            "Website" => table("websites"),
            "Group" => table("groups"),
            "Skill" => table("skills"),
            "Role" => directory.roles().collect(),
            _ => Vec::new(),
        }
    }

    fn record(&self, object: &str, id: &str) -> Option<Value> {
        if object != "Operator" {
            return None;
        }
        let directory = lock(&self.directory);
        directory.live(id.parse().ok()?).map(|operator| operator.to_json())
    }

    fn create(&self, object: &str, fields: &Map<String, Value>) -> Result<String, String> {
        let table = match object {
            "Operator" => {
                let operator =
                    Self::create(self, &administrator(), fields.clone()).map_err(|refused| told(&refused))?;
                return Ok(operator.id.to_string());
            }
            "Website" => "websites",
            "Group" => "groups",
            "Skill" => "skills",
            "Role" => "roles",
            _ => return Err(format!("{object} cannot be made")),
        };
        let name = fields.get("name").and_then(Value::as_str).ok_or("name is a text")?;
        Ok(lock(&self.directory).add(table, name))
    }

    fn edit(&self, object: &str, id: &str, fields: &Map<String, Value>) -> Result<(), String> {
        let id: u64 = id.parse().ok().filter(|_| object == "Operator").ok_or("only operators can be edited")?;
        let mut fields = fields.clone();
        if let Some(presence) = fields.remove("presence") {
            let presence = presence.as_str().and_then(Presence::named).ok_or("no such presence")?;
            if !lock(&self.directory).set_presence(id, presence) {
                return Err("there is no such operator".into());
            }
        }
        if !fields.is_empty() {
            self.update(&administrator(), id, fields).map_err(|refused| told(&refused))?;
        }
        Ok(())
    }

    fn delete(&self, object: &str, id: &str) -> Result<(), String> {
        let id: u64 = id.parse().ok().filter(|_| object == "Operator").ok_or("only operators can be deleted")?;
        self.remove(&administrator(), id).map_err(|refused| told(&refused))?;
        Ok(())
    }

    /// There is no account that cannot be used: the nearest is one that takes no chats.
    fn deactivation(&self) -> (&'static str, Value) {
        ("chat_enabled", Value::Bool(false))
    }

    fn configure(&self, settings: Value) -> Result<(), String> {
        let settings: Settings = serde_json::from_value(settings).map_err(|error| error.to_string())?;
        let mut options = lock(&self.options);
        options.logins_per_minute = settings.logins_per_minute.unwrap_or(options.logins_per_minute);
        options.token_seconds = settings.token_seconds.unwrap_or(options.token_seconds);
        options.requests_per_second = settings.requests_per_second.or(options.requests_per_second);
        options.max_page = settings.max_page.unwrap_or(options.max_page).max(1);
        options.ids = settings.ids.unwrap_or(options.ids);
        options.busy_on_update = settings.busy_on_update.unwrap_or(options.busy_on_update);
        options.presence = settings.presence.unwrap_or(options.presence);
        if let Some(channels) = settings.channels {
            options.channels = channels;
        }
        Ok(())
    }

    fn introduction(&self, url: &str) -> Introduction {
        let url = format!("{url}{ROOT}");
        Introduction {
            headline: format!("iAdvize     {url}"),
            configuration: format!(
                "[systems.chat]\nkind = \"iadvize\"\nurl = \"{url}\"\nauth = {{ transport = \"graphql\", \
                 username = \"{}\", password = {{ env = \"CHAT_PASSWORD\" }} }}\n\
                 defaults = {{ \"native.projects\" = [\"Shop\"] }}\n",
                super::DEFAULT_USERNAME
            ),
            secrets: vec![("CHAT_PASSWORD", DEFAULT_PASSWORD)],
        }
    }
}

/// What a request asks for, in one word.
fn operation(method: &str, path: &str, body: &[u8]) -> &'static str {
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let says = |word: &str| body.windows(word.len()).any(|window| window == word.as_bytes());
    match segments.last() {
        Some(&("token" | "_authenticated")) => "token",
        Some(&"graphql") => {
            let words = [("userCreate(", "create"), ("userUpdate(", "update"), ("userDelete(", "delete")];
            let words = words.into_iter().chain([("presence{", "presence"), ("presence {", "presence")]);
            let mut words = words.chain([("users(", "list"), ("user(", "read")]);
            words.find(|(word, _)| says(word)).map_or("discover", |(_, operation)| operation)
        }
        Some(&"live") => "presence",
        Some(&"operator") if method == "GET" => "list",
        _ if segments.contains(&"operator") && method == "PUT" => "update",
        _ if segments.contains(&"operator") => record_operation(method),
        _ => "discover",
    }
}

fn administrator() -> Caller {
    Caller { actor: Actor::Administrator, request: String::new() }
}

fn told(refused: &Refusal) -> String {
    format!("{}: {}", refused.kind, refused.field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_named_by_what_they_ask_for() {
        for (method, path, body, expected) in [
            ("POST", "/iadvize/oauth2/token", "", "token"),
            ("POST", "/iadvize/graphql", "mutation{userCreate(input:$i){user{id}}}", "create"),
            ("POST", "/iadvize/graphql", "{users(first:1){edges{node{id}}}}", "list"),
            ("POST", "/iadvize/graphql", "{roles{id}}", "discover"),
            ("GET", "/iadvize/api/2/operator", "", "list"),
            ("PUT", "/iadvize/api/2/operator/17", "", "update"),
            ("GET", "/iadvize/api/2/operator/17/live", "", "presence"),
            ("GET", "/iadvize/api/2/skill", "", "discover"),
        ] {
            assert_eq!(operation(method, path, body.as_bytes()), expected, "{method} {path}");
        }
    }
}
