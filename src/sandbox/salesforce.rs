//! An imitation of a Salesforce org: OAuth, describe, SOQL queries with pages, and writes of users, contacts and accounts,
//! one by one or up to 200 a call. What it does and refuses follows the vendor's documents; texts and codes are theirs.
//!
//! Known differences: no Apex, no sharing, no setup audit; trailing space of a value is dropped and an empty text is null,
//! as in a real org. The user as whom clients act is a robot (`UserType = 'AutomatedProcess'`) and listed like one.

mod administration;
mod collections;
mod composite;
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

pub(super) use administration::HELP;
pub use administration::SalesforceEdit;
pub use object::{Access, CustomField, CustomKind};
pub use org::DuplicateRule;
pub use session::{Flow, PermittedUsers};

use super::clock::Clock;
use super::faults::{RowFault, Withhold};
use super::log::{Actor, Contents, Entry, Log, System};
use super::serve::Received;
use super::{Scheme, lock};
use error::ApiError;
use org::{Done, Org};

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

/// What the org knows of its one client.
pub(super) struct ConnectedApp {
    pub client_id: String,
    pub client_secret: SecretString,
    /// Certificate or public key, as PEM, for the JWT bearer flow.
    pub certificate_pem: Option<String>,
}

/// One org.
pub(super) struct Salesforce {
    clock: Clock,
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

    fn api(self: &Arc<Self>) -> Router {
        let data = resources()
            .route("/composite", post(composite::composite))
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

    /// What a composite call can ask for.
    fn resources(self: &Arc<Self>) -> Router {
        Router::new().nest("/services/data/{version}", resources()).with_state(Arc::clone(self))
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

/// The resources below a version.
fn resources() -> Router<Arc<Salesforce>> {
    Router::new()
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
        .route("/composite/sobjects", post(collections::create).patch(collections::update).delete(collections::delete))
        .route("/composite/sobjects/{object}", get(collections::retrieve).post(collections::retrieve_by_post))
        .route("/composite/sobjects/{object}/{field}", patch(collections::upsert))
        .fallback(|| async { ApiError::not_found() })
        .method_not_allowed_fallback(|method: axum::http::Method| async move {
            ApiError::method(method.as_str(), "HEAD,GET")
        })
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
