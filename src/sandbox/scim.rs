//! An imitation of a SCIM 2.0 service provider: RFC 7643 and RFC 7644 to the letter, unless a [`Quirk`] says otherwise.

mod bulk;
mod dialect;
mod directory;
mod discovery;
mod error;
mod filter;
mod http;
mod list;
mod patch;
mod path;
mod project;
mod resource;
mod schema;

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use secrecy::SecretString;
use serde_json::{Map, Value, json};

pub use dialect::{Dialect, Preset, Quirk};

use super::clock::Clock;
use super::faults::Withhold;
use super::log::{Actor, Contents, Entry, Log, System};
use super::people::Person;
use super::{Scheme, lock};
use directory::{Directory, Done, Precondition, Resource};
use error::ScimError;
use http::Refused;
use project::Projection;
use schema::Type;

/// Resources of a page, if the client does not say.
const DEFAULT_PAGE: usize = 100;

/// One service provider.
pub(super) struct Scim {
    pub clock: Clock,
    directory: Mutex<Directory>,
    dialect: Mutex<Dialect>,
    max_page: Mutex<usize>,
    token: SecretString,
    scheme: Scheme,
    log: Arc<Log>,
    /// Requests so far, for those who count them.
    requests: AtomicU64,
}

/// What every handler knows of the request it serves.
#[derive(Clone)]
struct Caller {
    actor: Actor,
    request: String,
    /// `https://127.0.0.1:4443/scim/v2`
    base: String,
    withhold: Option<Withhold>,
}

impl Scim {
    pub fn new(token: SecretString, dialect: Dialect, max_page: usize, scheme: Scheme, log: Arc<Log>) -> Self {
        Self {
            clock: Clock::default(),
            directory: Mutex::default(),
            dialect: Mutex::new(dialect),
            max_page: Mutex::new(max_page),
            token,
            scheme,
            log,
            requests: AtomicU64::new(0),
        }
    }

    fn dialect(&self) -> Dialect {
        lock(&self.dialect).clone()
    }

    /// Resources of a page: by default, and at most.
    fn page_sizes(&self) -> (usize, usize) {
        let max_page = *lock(&self.max_page);
        (DEFAULT_PAGE.min(max_page), max_page)
    }

    /// A resource as an answer shows it.
    fn shown(
        &self,
        directory: &Directory,
        resource: &Resource,
        projection: &Projection,
        dialect: &Dialect,
        base: &str,
    ) -> Value {
        let mut fields = directory.with_groups(resource);
        fields["meta"]["location"] = json!(format!("{base}{}/{}", resource.kind.endpoint(), resource.id));
        dialect::show(dialect, &mut fields);
        Value::Object(projection.apply(resource.kind, fields))
    }

    fn create(&self, kind: Type, input: &Value, caller: &Caller) -> Result<Done, ScimError> {
        let dialect = self.dialect();
        if caller.actor == Actor::Client {
            dialect::check_body(&dialect, input)?;
        }
        self.write(caller, "POST", |directory, now| directory.create(kind, input, &dialect, now))
    }

    fn replace(
        &self,
        kind: Type,
        id: &str,
        input: &Value,
        precondition: &Precondition,
        caller: &Caller,
    ) -> Result<Done, ScimError> {
        let dialect = self.dialect();
        if caller.actor == Actor::Client {
            dialect::check_body(&dialect, input)?;
        }
        self.write(caller, "PUT", |directory, now| directory.replace(kind, id, input, precondition, &dialect, now))
    }

    fn patch(
        &self,
        kind: Type,
        id: &str,
        request: &Value,
        precondition: &Precondition,
        caller: &Caller,
    ) -> Result<Done, ScimError> {
        let dialect = self.dialect();
        if caller.actor == Actor::Client {
            if dialect.contains(&Quirk::PatchUnsupported) {
                return Err(ScimError::new(StatusCode::NOT_IMPLEMENTED, "PATCH is not supported"));
            }
            if dialect.contains(&Quirk::PatchNotAllowed) {
                return Err(ScimError::new(StatusCode::METHOD_NOT_ALLOWED, "PATCH is not possible here"));
            }
            dialect::check_patch(&dialect, request)?;
        }
        self.write(caller, "PATCH", |directory, now| directory.patch(kind, id, request, precondition, &dialect, now))
    }

    fn delete(&self, kind: Type, id: &str, precondition: &Precondition, caller: &Caller) -> Result<Done, ScimError> {
        let dialect = self.dialect();
        self.write(caller, "DELETE", |directory, _| directory.delete(kind, id, precondition, &dialect))
    }

    /// Writes and notes it in one step, so that the log has the order of the writes.
    fn write(
        &self,
        caller: &Caller,
        method: &'static str,
        work: impl FnOnce(&mut Directory, i64) -> Result<Done, ScimError>,
    ) -> Result<Done, ScimError> {
        let now_ms = self.clock.now_ms();
        let mut directory = lock(&self.directory);
        let done = work(&mut directory, now_ms)?;
        let contents = |resource: &Arc<Resource>| Arc::clone(resource) as Arc<dyn Contents>;
        if let Some(resource) = done.after.as_ref().or(done.before.as_ref()) {
            self.log.wrote(Entry {
                at_ms: now_ms,
                system: System::Scim,
                actor: caller.actor,
                method,
                object: resource.kind.name(),
                account: resource.id.clone(),
                before: done.before.as_ref().map(contents),
                after: done.after.as_ref().map(contents),
                changed: done.changed,
                request: caller.request.clone(),
            });
        }
        Ok(done)
    }
}

/// What an administrator does to the directory. Refusals are told as text.
impl Scim {
    /// Adds people, unlogged, as data that was there before. Returns their ids.
    pub fn seed(&self, people: &[Person]) -> Result<Vec<String>, String> {
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

    pub fn administrator_creates(&self, endpoint: &str, fields: &Map<String, Value>) -> Result<String, String> {
        let kind = Type::of_endpoint(endpoint).ok_or("no such endpoint")?;
        let mut fields = fields.clone();
        fields.entry("schemas").or_insert_with(|| json!([kind.schema().id]));
        let done = self.create(kind, &Value::Object(fields), &administrator()).map_err(told)?;
        Ok(done.after.map(|resource| resource.id.clone()).unwrap_or_default())
    }

    /// Sets attributes, each under a path of PATCH; null clears.
    pub fn administrator_edits(&self, endpoint: &str, id: &str, fields: &Map<String, Value>) -> Result<(), String> {
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

    pub fn administrator_deletes(&self, endpoint: &str, id: &str) -> Result<(), String> {
        let kind = Type::of_endpoint(endpoint).ok_or("no such endpoint")?;
        self.delete(kind, id, &Precondition::None, &administrator()).map_err(told)?;
        Ok(())
    }

    /// All users or groups.
    pub fn records(&self, endpoint: &str) -> Vec<Value> {
        let Some(kind) = Type::of_endpoint(endpoint) else { return Vec::new() };
        let directory = lock(&self.directory);
        directory.all(kind).map(|resource| Value::Object(directory.with_groups(resource))).collect()
    }

    pub fn record(&self, endpoint: &str, id: &str) -> Option<Value> {
        let kind = Type::of_endpoint(endpoint)?;
        let directory = lock(&self.directory);
        directory.get(kind, id).ok().map(|resource| Value::Object(directory.with_groups(resource)))
    }

    pub fn set_dialect(&self, dialect: Dialect) {
        *lock(&self.dialect) = dialect;
    }

    pub fn set_max_page(&self, max_page: usize) {
        *lock(&self.max_page) = max_page.max(1);
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

/// The refusal with a status of one's own, in this system's shape.
pub(super) fn refusal(status: StatusCode) -> Response {
    Refused(ScimError::new(status, status.canonical_reason().unwrap_or("refused")), Dialect::new()).into_response()
}
