//! An imitation of a SCIM 2.0 service provider: RFC 7643 and RFC 7644 to the letter, unless a [`Quirk`] says otherwise.

mod bulk;
mod dialect;
mod directory;
mod discovery;
mod error;
mod filter;
mod list;
mod patch;
mod path;
mod project;
mod resource;
mod schema;

use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::{Path as UrlPath, Query, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Extension, Router};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};

pub use dialect::{Dialect, Quirk};

use super::clock::Clock;
use super::faults::Withhold;
use super::log::{Actor, Contents, Entry, Log, System};
use super::people::Person;
use super::serve::Received;
use super::{Scheme, lock, origin};
use directory::{Directory, Done, Precondition, Resource, tag_matches};
use error::ScimError;
use list::Search;
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

type Answer = Result<Response, Refused>;

/// A refusal, in the words of the dialect.
struct Refused(ScimError, Dialect);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Self(error, dialect) = self;
        let mut body = error.to_json();
        if dialect.contains(&Quirk::NoScimType)
            && let Some(fields) = body.as_object_mut()
        {
            fields.remove("scimType");
        }
        if dialect.contains(&Quirk::NumericStatus) {
            body["status"] = json!(error.status.as_u16());
        }
        let mut response = respond(&dialect, error.status, &body);
        if error.status == StatusCode::UNAUTHORIZED {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer realm=\"SCIM\""));
        }
        response
    }
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
        }
    }

    pub fn router(self: &Arc<Self>) -> Router {
        let api = Router::new()
            .route("/ServiceProviderConfig", get(service_provider_config))
            .route("/ResourceTypes", get(resource_types))
            .route("/ResourceTypes/{name}", get(resource_type))
            .route("/Schemas", get(schemas))
            .route("/Schemas/{id}", get(one_schema))
            .route("/.search", post(search_all))
            .route("/Bulk", post(run_bulk))
            .route("/Me", any(me))
            .route("/{endpoint}", any(collection))
            .route("/{endpoint}/.search", post(search_one))
            .route("/{endpoint}/{id}", any(item))
            .fallback(unknown)
            .method_not_allowed_fallback(unsupported)
            .layer(middleware::from_fn_with_state(Arc::clone(self), admit))
            .with_state(Arc::clone(self));
        Router::new().nest("/scim/v2", api)
    }

    fn dialect(&self) -> Dialect {
        lock(&self.dialect).clone()
    }

    fn refuse(&self, error: ScimError) -> Refused {
        Refused(error, self.dialect())
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
        if dialect.contains(&Quirk::PatchUnsupported) && caller.actor == Actor::Client {
            return Err(ScimError::new(StatusCode::NOT_IMPLEMENTED, "PATCH is not supported"));
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

async fn admit(State(scim): State<Arc<Scim>>, mut request: Request, next: Next) -> Response {
    let headers = request.headers();
    let token = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '));
    let known = token
        .is_some_and(|(kind, token)| kind.eq_ignore_ascii_case("bearer") && token.trim() == scim.token.expose_secret());
    if !known {
        return scim
            .refuse(ScimError::new(StatusCode::UNAUTHORIZED, "the bearer token is missing or wrong"))
            .into_response();
    }
    let base = format!("{}/scim/v2", origin(scim.scheme, headers));
    let caller = Caller {
        actor: Actor::Client,
        request: request.extensions().get::<Received>().map(|received| received.id.clone()).unwrap_or_default(),
        base,
        withhold: request.extensions().get::<Withhold>().copied(),
    };
    request.extensions_mut().insert(caller);
    next.run(request).await
}

async fn service_provider_config(State(scim): State<Arc<Scim>>, Extension(caller): Extension<Caller>) -> Answer {
    let dialect = discoverable(&scim)?;
    let config = discovery::service_provider_config(&dialect, &caller.base, scim.page_sizes().1);
    Ok(respond(&dialect, StatusCode::OK, &config))
}

async fn resource_types(
    State(scim): State<Arc<Scim>>,
    Extension(caller): Extension<Caller>,
    query: Query<Search>,
) -> Answer {
    all_of(&scim, discovery::resource_types(&caller.base), &query)
}

async fn resource_type(
    State(scim): State<Arc<Scim>>,
    Extension(caller): Extension<Caller>,
    UrlPath(name): UrlPath<String>,
) -> Answer {
    one_of(&scim, discovery::resource_types(&caller.base), &name)
}

async fn schemas(State(scim): State<Arc<Scim>>, Extension(caller): Extension<Caller>, query: Query<Search>) -> Answer {
    all_of(&scim, discovery::schemas(&caller.base), &query)
}

async fn one_schema(
    State(scim): State<Arc<Scim>>,
    Extension(caller): Extension<Caller>,
    UrlPath(id): UrlPath<String>,
) -> Answer {
    one_of(&scim, discovery::schemas(&caller.base), &id)
}

fn discoverable(scim: &Scim) -> Result<Dialect, Refused> {
    let dialect = scim.dialect();
    if dialect.contains(&Quirk::NoDiscovery) {
        return Err(scim.refuse(ScimError::not_found("the endpoint")));
    }
    Ok(dialect)
}

fn all_of(scim: &Scim, resources: Vec<Value>, search: &Search) -> Answer {
    let dialect = discoverable(scim)?;
    if search.filter.is_some() {
        return Err(scim.refuse(ScimError::new(StatusCode::FORBIDDEN, "discovery cannot be filtered")));
    }
    Ok(respond(&dialect, StatusCode::OK, &list::envelope(&dialect, resources.len(), 1, resources)))
}

fn one_of(scim: &Scim, resources: Vec<Value>, id: &str) -> Answer {
    let dialect = discoverable(scim)?;
    let named = resources
        .into_iter()
        .find(|resource| resource["id"].as_str().is_some_and(|known| known.eq_ignore_ascii_case(id)));
    let resource = named.ok_or_else(|| scim.refuse(ScimError::not_found(id)))?;
    Ok(respond(&dialect, StatusCode::OK, &resource))
}

async fn collection(
    State(scim): State<Arc<Scim>>,
    Extension(caller): Extension<Caller>,
    UrlPath(endpoint): UrlPath<String>,
    method: Method,
    search: Result<Query<Search>, axum::extract::rejection::QueryRejection>,
    body: Bytes,
) -> Answer {
    let kind = known_endpoint(&scim, &endpoint)?;
    let Query(search) =
        search.map_err(|_| scim.refuse(ScimError::bad("invalidValue", "a parameter of the URL is wrong")))?;
    match method {
        Method::GET => listed(&scim, &[kind], &search, &caller),
        Method::POST => {
            let input = parse(&scim, &body)?;
            let done = scim.create(kind, &input, &caller).map_err(|error| scim.refuse(error))?;
            Ok(answer(&scim, StatusCode::CREATED, &done, &search.projection, &caller))
        }
        _ => Err(scim.refuse(not_allowed(&method))),
    }
}

async fn item(
    State(scim): State<Arc<Scim>>,
    Extension(caller): Extension<Caller>,
    UrlPath((endpoint, id)): UrlPath<(String, String)>,
    method: Method,
    headers: HeaderMap,
    Query(projection): Query<Projection>,
    body: Bytes,
) -> Answer {
    let kind = known_endpoint(&scim, &endpoint)?;
    let refuse = |error| scim.refuse(error);
    let precondition = match headers.get(header::IF_MATCH).map(|value| value.to_str().unwrap_or_default()) {
        Some(tags) => Precondition::OneOf(tags.to_owned()),
        None => Precondition::None,
    };
    let done = match method {
        Method::GET => return read(&scim, kind, &id, &headers, &projection, &caller),
        Method::PUT => scim.replace(kind, &id, &parse(&scim, &body)?, &precondition, &caller).map_err(refuse)?,
        Method::PATCH => scim.patch(kind, &id, &parse(&scim, &body)?, &precondition, &caller).map_err(refuse)?,
        Method::DELETE => {
            scim.delete(kind, &id, &precondition, &caller).map_err(refuse)?;
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
        _ => return Err(refuse(not_allowed(&method))),
    };
    let dialect = scim.dialect();
    let no_content = method == Method::PATCH && dialect.contains(&Quirk::PatchNoContent);
    let mut response = answer(&scim, StatusCode::OK, &done, &projection, &caller);
    if no_content || dialect.contains(&Quirk::EmptyBody) {
        let (mut parts, _) = response.into_parts();
        parts.status = if no_content { StatusCode::NO_CONTENT } else { StatusCode::OK };
        parts.headers.remove(header::CONTENT_TYPE);
        parts.headers.remove(header::CONTENT_LENGTH);
        response = Response::from_parts(parts, axum::body::Body::empty());
    }
    Ok(response)
}

fn read(scim: &Scim, kind: Type, id: &str, headers: &HeaderMap, projection: &Projection, caller: &Caller) -> Answer {
    let directory = lock(&scim.directory);
    let resource = Arc::clone(directory.get(kind, id).map_err(|error| scim.refuse(error))?);
    drop(directory);
    let tags = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    if tags.is_some_and(|tags| tag_matches(tags, resource.version())) && !scim.dialect().contains(&Quirk::NoEtag) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, resource.version().to_owned())]).into_response());
    }
    let done = Done { before: None, after: Some(resource), changed: false };
    Ok(answer(scim, StatusCode::OK, &done, projection, caller))
}

async fn search_all(State(scim): State<Arc<Scim>>, Extension(caller): Extension<Caller>, body: Bytes) -> Answer {
    listed(&scim, &[Type::User, Type::Group], &parse_search(&scim, &body)?, &caller)
}

async fn search_one(
    State(scim): State<Arc<Scim>>,
    Extension(caller): Extension<Caller>,
    UrlPath(endpoint): UrlPath<String>,
    body: Bytes,
) -> Answer {
    let kind = known_endpoint(&scim, &endpoint)?;
    listed(&scim, &[kind], &parse_search(&scim, &body)?, &caller)
}

fn listed(scim: &Scim, kinds: &[Type], search: &Search, caller: &Caller) -> Answer {
    let directory = lock(&scim.directory);
    let list = list::list(scim, &directory, kinds, search, caller.withhold, &caller.base);
    let list = list.map_err(|error| scim.refuse(error))?;
    Ok(respond(&scim.dialect(), StatusCode::OK, &list))
}

async fn run_bulk(State(scim): State<Arc<Scim>>, Extension(caller): Extension<Caller>, body: Bytes) -> Answer {
    let answer = bulk::run(&scim, &body, &caller).map_err(|error| scim.refuse(error))?;
    Ok(respond(&scim.dialect(), StatusCode::OK, &answer))
}

async fn me(State(scim): State<Arc<Scim>>) -> Refused {
    scim.refuse(ScimError::new(StatusCode::NOT_IMPLEMENTED, "the token belongs to no user"))
}

async fn unknown(State(scim): State<Arc<Scim>>) -> Refused {
    scim.refuse(ScimError::not_found("the endpoint"))
}

async fn unsupported(State(scim): State<Arc<Scim>>, method: Method) -> Refused {
    scim.refuse(not_allowed(&method))
}

fn not_allowed(method: &Method) -> ScimError {
    ScimError::new(StatusCode::METHOD_NOT_ALLOWED, format!("{method} is not possible here"))
}

fn known_endpoint(scim: &Scim, endpoint: &str) -> Result<Type, Refused> {
    Type::of_endpoint(endpoint).ok_or_else(|| scim.refuse(ScimError::not_found("the endpoint")))
}

fn parse(scim: &Scim, body: &[u8]) -> Result<Value, Refused> {
    serde_json::from_slice(body).map_err(|error| {
        scim.refuse(ScimError::bad(
            "invalidSyntax",
            format!("the body is no JSON (line {}, column {})", error.line(), error.column()),
        ))
    })
}

fn parse_search(scim: &Scim, body: &[u8]) -> Result<Search, Refused> {
    serde_json::from_slice(body)
        .map_err(|_| scim.refuse(ScimError::bad("invalidSyntax", "the body is no search request")))
}

/// The answer that shows a resource.
fn answer(scim: &Scim, status: StatusCode, done: &Done, projection: &Projection, caller: &Caller) -> Response {
    let dialect = scim.dialect();
    let Some(resource) = &done.after else { return status.into_response() };
    let body = scim.shown(&lock(&scim.directory), resource, projection, &dialect, &caller.base);
    let mut response = respond(&dialect, status, &body);
    let location = format!("{}{}/{}", caller.base, resource.kind.endpoint(), resource.id);
    let mut add = |name, value: &str| {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    };
    add(header::LOCATION, &location);
    if !dialect.contains(&Quirk::NoEtag) {
        add(header::ETAG, resource.version());
    }
    response
}

fn respond(dialect: &Dialect, status: StatusCode, body: &Value) -> Response {
    let content_type = if dialect.contains(&Quirk::PlainJson) { "application/json" } else { "application/scim+json" };
    (status, [(header::CONTENT_TYPE, content_type)], body.to_string()).into_response()
}

/// The refusal with a status of one's own, in this system's shape.
pub(super) fn refusal(status: StatusCode) -> Response {
    Refused(ScimError::new(status, status.canonical_reason().unwrap_or("refused")), Dialect::new()).into_response()
}
