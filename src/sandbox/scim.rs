//! An imitation of a SCIM 2.0 service provider: RFC 7643 and RFC 7644 to the letter, unless a [`Quirk`] says otherwise.

mod administration;
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
use secrecy::SecretString;
use serde_json::{Value, json};

pub(super) use administration::HELP;
pub use dialect::{Dialect, Preset, Quirk};

use super::clock::Clock;
use super::faults::Withhold;
use super::log::{Actor, Contents, Entry, Log, System};
use super::{Scheme, lock};
use directory::{Directory, Done, Precondition, Resource};
use error::ScimError;
use project::Projection;
use schema::Type;

/// Resources of a page, if the client does not say.
const DEFAULT_PAGE: usize = 100;

/// One service provider.
pub(super) struct Scim {
    clock: Clock,
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

    fn post(&self, kind: Type, input: &Value, caller: &Caller) -> Result<Done, ScimError> {
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

    fn remove(&self, kind: Type, id: &str, precondition: &Precondition, caller: &Caller) -> Result<Done, ScimError> {
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
