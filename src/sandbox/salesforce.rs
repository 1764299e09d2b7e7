//! An imitation of a Salesforce org: OAuth, describe, SOQL queries with pages, and writes of users, contacts and accounts,
//! one by one or up to 200 a call. What it does and refuses follows the vendor's documents; texts and codes are theirs.
//!
//! Known differences: no Apex, no sharing, no setup audit; trailing space of a value is dropped and an empty text is null,
//! as in a real org. The user as whom clients act is a robot (`UserType = 'AutomatedProcess'`) and listed like one.

mod collections;
mod describe;
mod error;
mod id;
mod object;
mod org;
mod query;
mod row;
mod rows;
mod seed;
mod session;
mod soql;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, patch, post};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Map, Value};

pub use object::{Access, CustomField, CustomKind};
pub use org::DuplicateRule;
pub use session::{Flow, PermittedUsers};

use super::clock::Clock;
use super::faults::{RowFault, Withhold};
use super::log::{Actor, Contents, Entry, Log, System};
use super::people::Person;
use super::serve::Received;
use super::{Scheme, lock};
use error::ApiError;
use org::{Checks, Done, Org};

/// API versions served.
const FIRST_VERSION: u32 = 46;
const LAST_VERSION: u32 = 67;
/// URI and headers together may have this many bytes.
const MAX_HEAD_BYTES: usize = 16_384;

/// What an administrator of the org can set while it runs.
#[derive(Debug, Clone)]
pub struct SalesforceOptions {
    /// API requests a day; more are refused with 403.
    pub daily_requests: u64,
    /// Most records of a page of a query, however many were asked for.
    pub max_page: usize,
    /// A token dies when it was not used for this many seconds.
    pub token_seconds: i64,
    /// Whether the client credentials flow is on.
    pub flow: Flow,
    /// Who may act by the JWT bearer flow.
    pub permitted_users: PermittedUsers,
}

impl Default for SalesforceOptions {
    fn default() -> Self {
        Self {
            daily_requests: 5_000_000,
            max_page: 2000,
            token_seconds: 7200,
            flow: Flow::Enabled,
            permitted_users: PermittedUsers::AdminApproved,
        }
    }
}

/// A change of options and of the org; what is absent stays.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SalesforceEdit {
    /// See [`SalesforceOptions`].
    pub daily_requests: Option<u64>,
    /// Requests of the day so far.
    pub used_requests: Option<u64>,
    /// See [`SalesforceOptions`].
    pub max_page: Option<usize>,
    /// See [`SalesforceOptions`].
    pub token_seconds: Option<i64>,
    /// See [`SalesforceOptions`].
    pub flow: Option<Flow>,
    /// See [`SalesforceOptions`].
    pub permitted_users: Option<PermittedUsers>,
    /// Most active users.
    pub licences: Option<usize>,
    /// Usernames taken in other orgs.
    pub reserved_usernames: Vec<String>,
    /// `User.Email` -> what the integration user may do with it.
    pub access: std::collections::BTreeMap<String, Access>,
    /// Whether every write moves the stamp by a second at least, unlike in a real org, where two within one second share it.
    pub every_write_moves_stamp: Option<bool>,
    /// What happens to contacts that look like others.
    pub duplicate_rule: Option<DuplicateRule>,
}

/// What the org knows of its one client.
pub(super) struct ConnectedApp {
    pub client_id: String,
    pub client_secret: SecretString,
    /// Certificate or public key, as PEM, for the JWT bearer flow.
    pub certificate_pem: Option<String>,
}

/// One org.
pub(super) struct Salesforce {
    pub clock: Clock,
    org: Mutex<Org>,
    sessions: Mutex<session::Sessions>,
    cursors: Mutex<query::Cursors>,
    options: Mutex<SalesforceOptions>,
    used_requests: AtomicU64,
    app: ConnectedApp,
    scheme: Scheme,
    log: Arc<Log>,
}

/// What every handler knows of the request it serves.
#[derive(Clone)]
struct Call {
    /// `v66.0`, as in the URL.
    version: String,
    request: String,
    withhold: Option<Withhold>,
    row_fault: Option<RowFault>,
}

impl Call {
    /// What a fault makes of one row of a write: `number` is its place, `text` what the client says of it.
    fn refuses(&self, number: usize, text: impl FnOnce() -> String) -> Option<ApiError> {
        match self.row_fault.as_ref()? {
            RowFault::Refuse(rows) => rows.strikes(number, text).then(|| ApiError {
                fields: Some(rows.fields.clone()),
                ..ApiError::bad(rows.code.clone(), rows.message.clone())
            }),
            // Nobody hears of it: the connection is cut.
            RowFault::StopAfter(rows) => (number >= *rows).then(ApiError::session),
        }
    }
}

impl Salesforce {
    pub fn new(
        app: ConnectedApp,
        custom: &[CustomField],
        options: SalesforceOptions,
        scheme: Scheme,
        log: Arc<Log>,
    ) -> Self {
        let clock = Clock::default();
        Self {
            org: Mutex::new(Org::new(custom, clock.now_seconds())),
            clock,
            sessions: Mutex::default(),
            cursors: Mutex::default(),
            options: Mutex::new(options),
            used_requests: AtomicU64::new(0),
            app,
            scheme,
            log,
        }
    }

    pub fn router(self: &Arc<Self>) -> Router {
        let data = Router::new()
            .route("/", get(describe::resources))
            .route("/limits", get(describe::limits))
            .route("/query", get(query::query))
            .route("/queryAll", get(query::query))
            .route("/query/{locator}", get(query::more))
            .route("/queryAll/{locator}", get(query::more))
            .route("/sobjects", get(describe::objects))
            .route("/sobjects/{object}", get(describe::object).post(rows::create))
            .route("/sobjects/{object}/describe", get(describe::describe))
            .route("/sobjects/{object}/{id}", any(rows::row))
            .route("/sobjects/{object}/{field}/{value}", any(rows::row_by_external_id))
            .route(
                "/composite/sobjects",
                post(collections::create).patch(collections::update).delete(collections::delete),
            )
            .route("/composite/sobjects/{object}", get(collections::retrieve).post(collections::retrieve_by_post))
            .route("/composite/sobjects/{object}/{field}", patch(collections::upsert))
            .fallback(|| async { ApiError::not_found() })
            .method_not_allowed_fallback(|method: axum::http::Method| async move {
                ApiError::method(method.as_str(), "HEAD,GET")
            })
            .layer(middleware::from_fn_with_state(Arc::clone(self), admit));
        Router::new()
            .route("/services/oauth2/token", post(session::token))
            .route("/services/oauth2/revoke", post(session::revoke))
            .route("/services/oauth2/userinfo", get(session::userinfo))
            .route("/services/data", get(describe::versions))
            .nest("/services/data/{version}", data)
            .fallback(|| async { ApiError::not_found() })
            .with_state(Arc::clone(self))
    }

    /// Ends the session of a request, as if it had timed out just then.
    pub fn expire_session_of(&self, headers: &HeaderMap) {
        if let Some(token) = session::bearer(headers) {
            lock(&self.sessions).revoke(token);
        }
    }

    /// The user as whom a request acts; their serial. `None` without a good token.
    fn authenticate(&self, headers: &HeaderMap) -> Option<u64> {
        let lifetime_ms = lock(&self.options).token_seconds.saturating_mul(1000);
        lock(&self.sessions).touch(session::bearer(headers)?, self.clock.now_ms(), lifetime_ms)
    }

    fn note(&self, actor: Actor, method: &'static str, done: &Done, request: &str) {
        let Some(row) = done.after.as_ref().or(done.before.as_ref()) else { return };
        let contents = |row: &Arc<row::Row>| Arc::clone(row) as Arc<dyn Contents>;
        self.log.wrote(Entry {
            at_ms: self.clock.now_ms(),
            system: System::Salesforce,
            actor,
            method,
            object: row.object.name,
            account: row.id(),
            before: done.before.as_ref().map(contents),
            after: done.after.as_ref().map(contents),
            changed: done.changed(),
            request: request.to_owned(),
        });
    }
}

/// What an administrator does to the org. Refusals are told as `code: message`.
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

/// Checks of every call below a version: the session, the version, the quota; and the usage that every answer tells.
async fn admit(State(salesforce): State<Arc<Salesforce>>, mut request: Request, next: Next) -> Response {
    let used = salesforce.used_requests.fetch_add(1, Ordering::Relaxed) + 1;
    let quota = lock(&salesforce.options).daily_requests;
    let mut response = match salesforce.inspect(&mut request, used, quota) {
        Ok(call) => {
            request.extensions_mut().insert(call);
            next.run(request).await
        }
        Err(refusal) => refusal.into_response(),
    };
    let usage = HeaderValue::from_str(&format!("api-usage={}/{quota}", used.min(quota))).expect("digits are ASCII");
    response.headers_mut().insert("sforce-limit-info", usage);
    response
}

impl Salesforce {
    fn inspect(&self, request: &mut Request, used: u64, quota: u64) -> Result<Call, ApiError> {
        let headers =
            request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum::<usize>();
        let received = request.extensions().get::<Received>().cloned().ok_or_else(ApiError::not_found)?;
        let uri = &received.uri;
        if uri.path_and_query().map_or(0, |text| text.as_str().len()) > MAX_HEAD_BYTES {
            return Err(ApiError::with(StatusCode::URI_TOO_LONG, "URI_TOO_LONG", "The URI is too long"));
        }
        if uri.path_and_query().map_or(0, |text| text.as_str().len()) + headers > MAX_HEAD_BYTES {
            let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
            return Err(ApiError::with(status, "HEADERS_TOO_LARGE", "URI and headers are too large"));
        }
        self.authenticate(request.headers()).ok_or_else(ApiError::session)?;
        let version = uri.path().split('/').nth(3).unwrap_or_default().to_owned();
        check_version(&version)?;
        if used > quota {
            return Err(ApiError::request_limit());
        }
        Ok(Call {
            version: if version == "latest" { format!("v{LAST_VERSION}.0") } else { version },
            request: received.id,
            withhold: request.extensions().get::<Withhold>().copied(),
            row_fault: request.extensions().get::<RowFault>().cloned(),
        })
    }
}

fn check_version(version: &str) -> Result<(), ApiError> {
    let number =
        version.strip_prefix('v').and_then(|text| text.strip_suffix(".0")).and_then(|text| text.parse::<u32>().ok());
    match number {
        _ if version == "latest" => Ok(()),
        Some(FIRST_VERSION..=LAST_VERSION) => Ok(()),
        Some(1..=30) => Err(ApiError::with(StatusCode::GONE, "UNSUPPORTED_API_VERSION", "This API version is retired")),
        _ => Err(ApiError::not_found()),
    }
}

fn ids(org: &Org, object: &str) -> Vec<String> {
    org.table(object).map(|table| table.rows.values().map(|row| row.id()).collect()).unwrap_or_default()
}

fn told(refusal: ApiError) -> String {
    format!("{}: {}", refusal.code, refusal.message)
}

/// The refusal of a request that fits the request quota no more, for faults on demand.
pub(super) fn request_limit() -> Response {
    ApiError::request_limit().into_response()
}

/// The refusal with a status of one's own, in this system's shape.
pub(super) fn refusal(status: StatusCode) -> Response {
    let (code, message) = match status.as_u16() {
        401 => return ApiError::session().into_response(),
        429 => ("REQUEST_LIMIT_EXCEEDED", "ConcurrentRequests (Concurrent API Requests) Limit exceeded."),
        503 => ("SERVER_UNAVAILABLE", "Server is unavailable"),
        _ => (
            "UNKNOWN_EXCEPTION",
            "An unexpected error occurred. Please include this ErrorId if you contact support: 17-0",
        ),
    };
    ApiError::with(status, code, message).into_response()
}
