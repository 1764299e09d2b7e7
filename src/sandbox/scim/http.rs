//! The endpoints: what HTTP says, brought to [`Scim`], and back.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Bytes;
use axum::extract::{Path as UrlPath, Query, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Extension, Router};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::dialect::{Dialect, Quirk, has_versions};
use super::directory::{Done, Precondition, tag_matches};
use super::error::ScimError;
use super::list::{self, Search};
use super::project::Projection;
use super::schema::Type;
use super::{Caller, Scim, bulk, discovery};
use crate::sandbox::faults::Withhold;
use crate::sandbox::log::Actor;
use crate::sandbox::serve::Received;
use crate::sandbox::{lock, origin};

/// Where the endpoints are.
const ROOT: &str = "/scim/v2";

type Answer = Result<Response, Refused>;

/// A refusal, in the words of the dialect.
pub(super) struct Refused(pub ScimError, pub Dialect);

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
    pub(super) fn api(self: &Arc<Self>) -> Router {
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
        Router::new().nest(ROOT, api)
    }

    fn refuse(&self, error: ScimError) -> Refused {
        Refused(error, self.dialect())
    }

    /// What a server with a limit of calls, or with an opinion on addresses, answers before it looks at a request.
    fn refusal_by_habit(&self, address: &Uri) -> Option<Response> {
        let dialect = self.dialect();
        let limit =
            dialect.iter().find_map(|quirk| if let Quirk::RateLimited(every) = quirk { Some(*every) } else { None });
        if let Some(every) = limit
            && (self.requests.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(every.max(1))
        {
            let refused = self.refuse(ScimError::new(StatusCode::TOO_MANY_REQUESTS, "too many requests"));
            return Some(([(header::RETRY_AFTER, "1")], refused).into_response());
        }
        if dialect.contains(&Quirk::TrailingSlash) && !address.path().ends_with('/') {
            let query = address.query().map(|query| format!("?{query}")).unwrap_or_default();
            let with_slash = format!("{}/{query}", address.path());
            return Some((StatusCode::PERMANENT_REDIRECT, [(header::LOCATION, with_slash)]).into_response());
        }
        None
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
    // The address as it was sent: on the way here it lost its last slash.
    let address = request.extensions().get::<Received>().map_or_else(|| request.uri(), |received| &received.uri);
    if let Some(refusal) = scim.refusal_by_habit(address) {
        return refusal;
    }
    let base = format!("{}{ROOT}", origin(scim.scheme, headers));
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
            let done = scim.post(kind, &input, &caller).map_err(|error| scim.refuse(error))?;
            let response = answer(&scim, StatusCode::CREATED, &done, &search.projection, &caller);
            Ok(if scim.dialect().contains(&Quirk::EmptyBody) { emptied(response) } else { response })
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
            scim.remove(kind, &id, &precondition, &caller).map_err(refuse)?;
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
        _ => return Err(refuse(not_allowed(&method))),
    };
    let dialect = scim.dialect();
    let no_content = method == Method::PATCH && dialect.contains(&Quirk::PatchNoContent);
    let status = if no_content { StatusCode::NO_CONTENT } else { StatusCode::OK };
    let response = answer(&scim, status, &done, &projection, &caller);
    Ok(if no_content || dialect.contains(&Quirk::EmptyBody) { emptied(response) } else { response })
}

/// The same answer without its body.
fn emptied(response: Response) -> Response {
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(header::CONTENT_TYPE);
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, axum::body::Body::empty())
}

fn read(scim: &Scim, kind: Type, id: &str, headers: &HeaderMap, projection: &Projection, caller: &Caller) -> Answer {
    let directory = lock(&scim.directory);
    let resource = Arc::clone(directory.get(kind, id).map_err(|error| scim.refuse(error))?);
    drop(directory);
    let tags = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    if tags.is_some_and(|tags| tag_matches(tags, resource.version())) && has_versions(&scim.dialect()) {
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
    if has_versions(&dialect) {
        add(header::ETAG, resource.version());
    }
    response
}

fn respond(dialect: &Dialect, status: StatusCode, body: &Value) -> Response {
    let content_type = if dialect.contains(&Quirk::PlainJson) { "application/json" } else { "application/scim+json" };
    (status, [(header::CONTENT_TYPE, content_type)], body.to_string()).into_response()
}
