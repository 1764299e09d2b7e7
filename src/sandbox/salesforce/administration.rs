//! The org as the rest of the sandbox knows it, and what a person at its screens does: seeds and edits records, restores
//! and merges them, sets limits and switches. Refusals are told as `code: message`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::error::ApiError;
use super::org::{Checks, Org};
use super::{Access, DuplicateRule, Flow, PermittedUsers, Salesforce, seed};
use crate::sandbox::clock::Clock;
use crate::sandbox::imitation::{Imitation, Introduction, record_operation};
use crate::sandbox::log::{Actor, Contents, System};
use crate::sandbox::people::Person;
use crate::sandbox::{DEFAULT_CLIENT_SECRET, lock};

/// What the administrator's API can do with it alone.
pub(in crate::sandbox) const HELP: &str = r#"
  POST   /_admin/salesforce/users/{id}       edits it, like a person at the screen; null clears, SystemModstamp may be set
  DELETE /_admin/salesforce/users/{id}       takes it out of sight (contacts: deletes)
  POST   /_admin/salesforce/contacts/{id}/undelete
  POST   /_admin/salesforce/contacts/{id}/merge      {"loser": "003..."}
  POST   /_admin/salesforce/settings         {"daily_requests": 10, "used_requests": 0, "max_page": 3, "token_seconds": 60,
                                              "flow": "disabled", "permitted_users": "self-authorized", "licences": 5, "reserved_usernames": ["a@b.example"],
                                              "access": {"User.Title": "hidden"}, "every_write_moves_stamp": true,
                                              "duplicate_rule": "alert"}
  POST   /_admin/salesforce/expire-sessions  all tokens die
  POST   /_admin/salesforce/drop-cursors     all query locators die
"#;

/// A change of options and of the org; what is absent stays.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SalesforceEdit {
    /// See [`SalesforceOptions`](super::SalesforceOptions).
    pub daily_requests: Option<u64>,
    /// Requests of the day so far.
    pub used_requests: Option<u64>,
    /// See [`SalesforceOptions`](super::SalesforceOptions).
    pub max_page: Option<usize>,
    /// See [`SalesforceOptions`](super::SalesforceOptions).
    pub token_seconds: Option<i64>,
    /// See [`SalesforceOptions`](super::SalesforceOptions).
    pub flow: Option<Flow>,
    /// See [`SalesforceOptions`](super::SalesforceOptions).
    pub permitted_users: Option<PermittedUsers>,
    /// Most active users.
    pub licences: Option<usize>,
    /// Usernames taken in other orgs.
    pub reserved_usernames: Vec<String>,
    /// `User.Email` -> what the integration user may do with it.
    pub access: BTreeMap<String, Access>,
    /// Whether every write moves the stamp by a second at least, unlike in a real org, where two within one second share it.
    pub every_write_moves_stamp: Option<bool>,
    /// What happens to contacts that look like others.
    pub duplicate_rule: Option<DuplicateRule>,
}

impl Salesforce {
    /// Adds people as contacts of one account, unlogged. Returns their ids.
    pub fn seed_contacts(&self, people: &[Person]) -> Result<Vec<String>, String> {
        let mut org = lock(&self.org);
        let now = self.clock.now_seconds();
        if people.is_empty() {
            return Ok(Vec::new());
        }
        if org.first_id("Account").is_empty() {
            let fields = Map::from_iter([("Name".to_owned(), Value::from("Sandbox Ltd."))]);
            org.create("Account", &fields, now, Checks::Seed).map_err(told)?;
        }
        let account = org.first_id("Account");
        let mut added = Vec::with_capacity(people.len());
        for (number, person) in people.iter().enumerate() {
            let fields = seed::contact(person, number, &account, now);
            let done = org.create("Contact", &fields, now, Checks::Seed).map_err(told)?;
            added.extend(done.after.map(|row| row.id()));
        }
        Ok(added)
    }

    /// Takes a record out of the recycle bin.
    pub fn undelete(&self, object: &str, id: &str) -> Result<(), String> {
        let done = lock(&self.org).undelete(object, id, self.clock.now_seconds()).map_err(told)?;
        self.note(Actor::Administrator, "PATCH", &done, "");
        Ok(())
    }

    /// Merges a record into another of its object.
    pub fn merge(&self, object: &str, winner: &str, loser: &str) -> Result<(), String> {
        let [kept, gone] = lock(&self.org).merge(object, winner, loser, self.clock.now_seconds()).map_err(told)?;
        self.note(Actor::Administrator, "PATCH", &kept, "");
        self.note(Actor::Administrator, "DELETE", &gone, "");
        Ok(())
    }

    pub fn expire_sessions(&self) -> usize {
        lock(&self.sessions).expire_all()
    }

    pub fn drop_cursors(&self) -> usize {
        lock(&self.cursors).drop_all()
    }

    pub fn change(&self, edit: SalesforceEdit) -> Result<(), String> {
        let mut org = lock(&self.org);
        for (field, access) in edit.access {
            let (object, field) = field.split_once('.').ok_or("write fields as User.Email")?;
            let object = Arc::clone(&org.table(object).ok_or("no such object")?.object);
            let place = object.index(field).ok_or("no such field")?;
            org.access.insert((object.name, object.fields[place].name.clone()), access);
        }
        org.reserved_usernames.extend(edit.reserved_usernames.iter().map(|name| name.to_lowercase()));
        org.licences = edit.licences.or(org.licences);
        org.every_write_moves_stamp = edit.every_write_moves_stamp.unwrap_or(org.every_write_moves_stamp);
        org.duplicate_rule = edit.duplicate_rule.unwrap_or(org.duplicate_rule);
        let mut options = lock(&self.options);
        options.daily_requests = edit.daily_requests.unwrap_or(options.daily_requests);
        options.max_page = edit.max_page.map_or(options.max_page, |page| page.max(1));
        options.token_seconds = edit.token_seconds.unwrap_or(options.token_seconds);
        options.flow = edit.flow.unwrap_or(options.flow);
        options.permitted_users = edit.permitted_users.unwrap_or(options.permitted_users);
        if let Some(used) = edit.used_requests {
            self.used_requests.store(used, Ordering::Relaxed);
        }
        Ok(())
    }
}

impl Imitation for Salesforce {
    fn system(&self) -> System {
        System::Salesforce
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
        super::refusal(status)
    }

    /// The org finds it out by itself.
    fn expire_session(&self, headers: &HeaderMap) -> Option<Response> {
        self.expire_session_of(headers);
        None
    }

    fn objects(&self) -> &'static [(&'static str, &'static str)] {
        &[("users", "User"), ("contacts", "Contact"), ("accounts", "Account"), ("profiles", "Profile")]
    }

    fn seed(&self, people: &[Person]) -> Result<Vec<String>, String> {
        let mut org = lock(&self.org);
        let profiles: Vec<String> = ids(&org, "Profile");
        let roles: Vec<String> = ids(&org, "UserRole");
        let now = self.clock.now_seconds();
        let mut added = Vec::with_capacity(people.len());
        for (number, person) in (0..).zip(people) {
            let profile = &profiles[1 + number % (profiles.len() - 1)];
            let fields = seed::user(person, number, profile, &roles[number % roles.len()], now);
            let done = org.create("User", &fields, now, Checks::Seed).map_err(told)?;
            added.extend(done.after.map(|row| row.id()));
        }
        Ok(added)
    }

    /// Deleted ones are left out.
    fn records(&self, object: &str) -> Vec<Value> {
        let org = lock(&self.org);
        let rows = org.table(object).map(|table| table.rows.values()).into_iter().flatten();
        rows.filter(|row| !row.deleted).map(|row| row.to_json()).collect()
    }

    fn record(&self, object: &str, id: &str) -> Option<Value> {
        lock(&self.org).find(object, id).ok().map(|row| row.to_json())
    }

    /// Creates a record with the rights of a person, except that required fields may be missing.
    fn create(&self, object: &str, fields: &Map<String, Value>) -> Result<String, String> {
        let mut org = lock(&self.org);
        let mut fields = fields.clone();
        if object == "User" && !fields.contains_key("ProfileId") {
            fields.insert("ProfileId".into(), org.first_id("Profile").into());
        }
        let done = org.create(object, &fields, self.clock.now_seconds(), Checks::Seed).map_err(told)?;
        self.note(Actor::Administrator, "POST", &done, "");
        Ok(done.after.map(|row| row.id()).unwrap_or_default())
    }

    fn edit(&self, object: &str, id: &str, fields: &Map<String, Value>) -> Result<(), String> {
        let done = lock(&self.org).update(object, id, fields, self.clock.now_seconds(), Checks::Seed).map_err(told)?;
        self.note(Actor::Administrator, "PATCH", &done, "");
        Ok(())
    }

    /// Deletes a record that can be deleted; takes any other out of sight.
    fn delete(&self, object: &str, id: &str) -> Result<(), String> {
        let mut org = lock(&self.org);
        let done = match org.delete(object, id, self.clock.now_seconds()) {
            Err(refusal) if refusal.status == StatusCode::METHOD_NOT_ALLOWED => org.vanish(object, id),
            other => other,
        };
        self.note(Actor::Administrator, "DELETE", &done.map_err(told)?, "");
        Ok(())
    }

    fn deactivation(&self) -> (&'static str, Value) {
        ("IsActive", Value::Bool(false))
    }

    fn configure(&self, settings: Value) -> Result<(), String> {
        self.change(serde_json::from_value(settings).map_err(|error| error.to_string())?)
    }

    fn introduction(&self, url: &str) -> Introduction {
        Introduction {
            headline: format!("Salesforce  {url}"),
            configuration: format!(
                "[systems.crm]\nkind = \"salesforce\"\nurl = \"{url}\"\nauth = {{ flow = \"client-credentials\", \
                 client_id = \"{}\", client_secret = {{ env = \"CRM_SECRET\" }} }}\n",
                self.app.client_id
            ),
            secrets: vec![("CRM_SECRET", DEFAULT_CLIENT_SECRET)],
        }
    }
}

/// What a request asks for, in one word.
fn operation(method: &str, path: &str) -> &'static str {
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    match segments.as_slice() {
        ["services", "oauth2", "token"] => "token",
        ["services", "oauth2", ..] => "session",
        ["services", "data", _, "query" | "queryAll"] => "query",
        ["services", "data", _, "query" | "queryAll", _] => "query-more",
        ["services", "data", _, "composite", "sobjects", rest @ ..] => collections_operation(method, rest.len()),
        ["services", "data", _, "composite"] => "composite",
        ["services", "data", _, "sobjects", _, "describe"] => "describe",
        ["services", "data", _, "sobjects", _, ..] => record_operation(method),
        _ => "discover",
    }
}

/// `named` counts what follows `composite/sobjects`: nothing, an object, or an object and a field.
fn collections_operation(method: &str, named: usize) -> &'static str {
    match (method, named) {
        ("POST", 0) => "create-many",
        ("PATCH", 0) => "update-many",
        ("PATCH", _) => "upsert-many",
        ("DELETE", _) => "delete-many",
        _ => "read-many",
    }
}

fn ids(org: &Org, object: &str) -> Vec<String> {
    org.table(object).map(|table| table.rows.values().map(|row| row.id()).collect()).unwrap_or_default()
}

fn told(refusal: ApiError) -> String {
    format!("{}: {}", refusal.code, refusal.message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_named_by_what_they_ask_for() {
        for (method, path, expected) in [
            ("POST", "/services/oauth2/token", "token"),
            ("GET", "/services/data", "discover"),
            ("GET", "/services/data/v66.0/query", "query"),
            ("GET", "/services/data/v66.0/query/01gRM000000003xYAA-2000", "query-more"),
            ("GET", "/services/data/v66.0/sobjects/User/describe", "describe"),
            ("PATCH", "/services/data/v66.0/sobjects/User/005RM000001iKYtYAM", "update"),
            ("POST", "/services/data/v66.0/composite/sobjects", "create-many"),
            ("PATCH", "/services/data/v66.0/composite/sobjects/", "update-many"),
            ("PATCH", "/services/data/v66.0/composite/sobjects/Contact/Partner_Id__c", "upsert-many"),
            ("POST", "/services/data/v66.0/composite/sobjects/Contact", "read-many"),
            ("POST", "/services/data/v66.0/composite", "composite"),
        ] {
            assert_eq!(operation(method, path), expected, "{method} {path}");
        }
    }
}
