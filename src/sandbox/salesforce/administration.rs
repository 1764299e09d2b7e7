//! What a person at the org's screens does: seeds and edits records, restores and merges them, sets limits and switches.
//! Refusals are told as `code: message`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::error::ApiError;
use super::org::{Checks, Org};
use super::{Access, DuplicateRule, Flow, PermittedUsers, Salesforce, seed};
use crate::sandbox::lock;
use crate::sandbox::log::{Actor, Contents};
use crate::sandbox::people::Person;

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
    /// Adds people as users, unlogged, as data that was there before. Returns their ids.
    pub fn seed(&self, people: &[Person], first_number: usize) -> Result<Vec<String>, String> {
        let mut org = lock(&self.org);
        let profiles: Vec<String> = ids(&org, "Profile");
        let roles: Vec<String> = ids(&org, "UserRole");
        let now = self.clock.now_seconds();
        let mut added = Vec::with_capacity(people.len());
        for (number, person) in (first_number..).zip(people) {
            let profile = &profiles[1 + number % (profiles.len() - 1)];
            let fields = seed::user(person, number, profile, &roles[number % roles.len()], now);
            let done = org.create("User", &fields, now, Checks::Seed).map_err(told)?;
            added.extend(done.after.map(|row| row.id()));
        }
        Ok(added)
    }

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

    /// Creates a record with the rights of a person, except that required fields may be missing.
    pub fn create(&self, object: &str, fields: &Map<String, Value>) -> Result<String, String> {
        let mut org = lock(&self.org);
        let mut fields = fields.clone();
        if object == "User" && !fields.contains_key("ProfileId") {
            fields.insert("ProfileId".into(), org.first_id("Profile").into());
        }
        let done = org.create(object, &fields, self.clock.now_seconds(), Checks::Seed).map_err(told)?;
        self.note(Actor::Administrator, "POST", &done, "");
        Ok(done.after.map(|row| row.id()).unwrap_or_default())
    }

    pub fn edit(&self, object: &str, id: &str, fields: &Map<String, Value>) -> Result<(), String> {
        let done = lock(&self.org).update(object, id, fields, self.clock.now_seconds(), Checks::Seed).map_err(told)?;
        self.note(Actor::Administrator, "PATCH", &done, "");
        Ok(())
    }

    /// Deletes a record that can be deleted; takes any other out of sight.
    pub fn delete(&self, object: &str, id: &str) -> Result<(), String> {
        let mut org = lock(&self.org);
        let done = match org.delete(object, id, self.clock.now_seconds()) {
            Err(refusal) if refusal.status == StatusCode::METHOD_NOT_ALLOWED => org.vanish(object, id),
            other => other,
        };
        self.note(Actor::Administrator, "DELETE", &done.map_err(told)?, "");
        Ok(())
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

    /// All records of an object, deleted ones left out.
    pub fn records(&self, object: &str) -> Vec<Value> {
        let org = lock(&self.org);
        let rows = org.table(object).map(|table| table.rows.values()).into_iter().flatten();
        rows.filter(|row| !row.deleted).map(|row| row.to_json()).collect()
    }

    pub fn record(&self, object: &str, id: &str) -> Option<Value> {
        lock(&self.org).find(object, id).ok().map(|row| row.to_json())
    }

    pub fn expire_sessions(&self) -> usize {
        lock(&self.sessions).expire_all()
    }

    pub fn drop_cursors(&self) -> usize {
        lock(&self.cursors).drop_all()
    }

    pub fn configure(&self, edit: SalesforceEdit) -> Result<(), String> {
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

fn ids(org: &Org, object: &str) -> Vec<String> {
    org.table(object).map(|table| table.rows.values().map(|row| row.id()).collect()).unwrap_or_default()
}

fn told(refusal: ApiError) -> String {
    format!("{}: {}", refusal.code, refusal.message)
}
