//! The product as the rest of the sandbox knows it, its switches, and what a person does at its screens.

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::directory::Refused;
use super::{InitLive, ORGANIZATION, http};
use crate::sandbox::clock::Clock;
use crate::sandbox::imitation::{Imitation, Introduction, record_operation};
use crate::sandbox::log::{Actor, System};
use crate::sandbox::people::Person;
use crate::sandbox::{DEFAULT_INITLIVE_KEY, lock};

/// What the administrator's API can do with it alone.
pub(in crate::sandbox) const HELP: &str = r#"
  POST   /_admin/initlive/users              enters a person: {"username": "ada@x.example", "firstName": "Ada",
                                             "lastName": "Byron"}; edits also take externalId, tags, status, canLogIn, and
                                             "organizations": [1001, 2002], of which the key reaches the first
  POST   /_admin/initlive/settings           {"key": "off"} (expired, active), {"permission": "read"} (none, full),
                                             {"paging": "ignored"}, {"max_take": 500}, {"filters": ["username",
                                             "external-id"]}, {"owned_elsewhere": "allowed"}, {"external_id": "dropped"}
  DELETE /_admin/initlive/users/{id}         ends the membership; the person stays
"#;

/// State of the API key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Key {
    #[default]
    Active,
    Off,
    Expired,
}

/// What the key's owner may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Permission {
    #[default]
    Full,
    Read,
    None,
}

/// Whether `skip` and `take` are honoured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Paging {
    #[default]
    Honoured,
    Ignored,
}

/// A filter of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Filter {
    Username,
    ExternalId,
}

/// Whether the profile of a person who is in several organisations can be changed from one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OwnedElsewhere {
    #[default]
    Refused,
    Allowed,
}

/// Whether users have an external id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExternalId {
    #[default]
    Kept,
    Dropped,
}

/// How this service behaves.
#[derive(Debug, Clone)]
pub struct Switches {
    pub key: Key,
    pub permission: Permission,
    pub paging: Paging,
    pub max_take: usize,
    pub filters: Vec<Filter>,
    pub owned_elsewhere: OwnedElsewhere,
    pub external_id: ExternalId,
}

impl Default for Switches {
    fn default() -> Self {
        Self {
            key: Key::default(),
            permission: Permission::default(),
            paging: Paging::default(),
            max_take: 500,
            filters: vec![Filter::Username],
            owned_elsewhere: OwnedElsewhere::default(),
            external_id: ExternalId::default(),
        }
    }
}

/// Changes of the switches; what is absent stays.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    key: Option<Key>,
    permission: Option<Permission>,
    paging: Option<Paging>,
    max_take: Option<usize>,
    filters: Option<Vec<Filter>>,
    owned_elsewhere: Option<OwnedElsewhere>,
    external_id: Option<ExternalId>,
}

impl Imitation for InitLive {
    fn system(&self) -> System {
        System::InitLive
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
        &[("users", "User")]
    }

    fn seed(&self, people: &[Person]) -> Result<Vec<String>, String> {
        let (mut directory, now_ms) = (lock(&self.directory), self.clock.now_ms());
        let enter = |person: &Person| {
            let fields = json!({
                "username": person.user_name, "firstName": person.given_name, "lastName": person.family_name,
                "phone": person.phone, "address": {"city": person.city, "country": person.country},
            });
            let change = directory.enter(fields.as_object().expect("it is an object"), now_ms)?;
            Ok(change.id.to_string())
        };
        people.iter().map(enter).collect()
    }

    fn records(&self, _object: &str) -> Vec<Value> {
        lock(&self.directory).people()
    }

    fn record(&self, _object: &str, id: &str) -> Option<Value> {
        lock(&self.directory).person(id.parse().ok()?)
    }

    fn create(&self, _object: &str, fields: &Map<String, Value>) -> Result<String, String> {
        let entered =
            self.write(Actor::Administrator, "POST", "", |directory, _, now_ms| directory.enter(fields, now_ms));
        entered.map(|change| change.id.to_string())
    }

    fn edit(&self, _object: &str, id: &str, fields: &Map<String, Value>) -> Result<(), String> {
        let id = id.parse().map_err(|_| "an id is a number")?;
        self.write(Actor::Administrator, "PUT", "", |directory, _, now_ms| directory.edit(id, fields, now_ms)).map(drop)
    }

    fn delete(&self, _object: &str, id: &str) -> Result<(), String> {
        let id = id.parse().map_err(|_| "an id is a number")?;
        let removed = self.write(Actor::Administrator, "DELETE", "", |directory, _, _| directory.remove(id));
        removed.map(drop).map_err(|_: Refused| "there is no such member".to_owned())
    }

    fn deactivation(&self) -> (&'static str, Value) {
        ("status", json!("rejected"))
    }

    fn configure(&self, settings: Value) -> Result<(), String> {
        let settings: Settings = serde_json::from_value(settings).map_err(|error| error.to_string())?;
        let mut switches = lock(&self.switches);
        let now = switches.clone();
        *switches = Switches {
            key: settings.key.unwrap_or(now.key),
            permission: settings.permission.unwrap_or(now.permission),
            paging: settings.paging.unwrap_or(now.paging),
            max_take: settings.max_take.map_or(now.max_take, |most| most.max(1)),
            filters: settings.filters.unwrap_or(now.filters),
            owned_elsewhere: settings.owned_elsewhere.unwrap_or(now.owned_elsewhere),
            external_id: settings.external_id.unwrap_or(now.external_id),
        };
        Ok(())
    }

    fn introduction(&self, url: &str) -> Introduction {
        let url = format!("{url}/initlive");
        Introduction {
            headline: format!("InitLive    {url}"),
            configuration: format!(
                "[systems.volunteers]\nkind = \"initlive\"\nurl = \"{url}\"\norganization = {ORGANIZATION}\n\
                 api_key = {{ env = \"INITLIVE_KEY\" }}\n"
            ),
            secrets: vec![("INITLIVE_KEY", DEFAULT_INITLIVE_KEY)],
        }
    }
}

/// What a request asks for, in one word.
fn operation(method: &str, path: &str) -> &'static str {
    match path.trim_end_matches('/').rsplit_once("/users") {
        Some((_, "")) if method == "GET" => "list",
        Some(_) if method == "PUT" => "update",
        Some(_) => record_operation(method),
        None => "other",
    }
}
