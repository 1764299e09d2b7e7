//! The HTTP API, `/api/v1`: one table of endpoints. What routes a request, what checks its role and what describes it come
//! from the same entry, so that none of them can be forgotten.

use std::sync::Arc;

use axum::extract::{Query, RawPathParams, Request, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::IntoResponse;
use axum::routing::{MethodFilter, MethodRouter, on};
use axum::{Json, Router};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value as JsonValue};

use super::Console;
use super::access::Person;
use super::edge::LONGEST_BODY;
use super::problem::Problem;
use crate::config::Role;

mod endpoints;
mod openapi;

pub use openapi::openapi;

/// Where the API begins.
pub(super) const ROOT: &str = "/api/v1";

/// What every request shares.
pub(super) type Shared = Arc<Console>;

/// One entry of the table.
pub(super) struct Endpoint {
    method: Method,
    /// Below [`ROOT`].
    path: &'static str,
    /// The least role.
    role: Role,
    /// What it does, for the description.
    summary: &'static str,
    /// Whether the answer may be that a second person is waited for.
    is_act: bool,
    describe: fn(&mut SchemaGenerator) -> Described,
    route: MethodRouter<Shared>,
}

/// What goes in and comes out.
pub(super) struct Described {
    /// An object: parameters of the path, of the query, or of the body.
    input: Schema,
    answer: Schema,
}

/// Takes nothing.
#[derive(Debug, serde::Deserialize, JsonSchema)]
pub(super) struct Nothing {}

/// How an endpoint answers.
pub(super) trait Answer: Serialize + JsonSchema + Send + 'static {
    /// The status of this answer.
    fn status(&self) -> StatusCode {
        StatusCode::OK
    }
}

/// An entry that looks: `GET`.
fn look<I, A, F, Fut>(path: &'static str, role: Role, summary: &'static str, answer: F) -> Endpoint
where
    I: DeserializeOwned + JsonSchema + Send + 'static,
    A: Answer,
    F: Fn(Shared, Person, I) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<A, Problem>> + Send + 'static,
{
    endpoint(Method::GET, path, role, summary, false, answer)
}

/// An entry that looks, and is asked by a body: `POST`.
fn ask<I, A, F, Fut>(path: &'static str, role: Role, summary: &'static str, answer: F) -> Endpoint
where
    I: DeserializeOwned + JsonSchema + Send + 'static,
    A: Answer,
    F: Fn(Shared, Person, I) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<A, Problem>> + Send + 'static,
{
    endpoint(Method::POST, path, role, summary, false, answer)
}

/// An entry that changes something: `POST`.
fn act<I, A, F, Fut>(path: &'static str, role: Role, summary: &'static str, answer: F) -> Endpoint
where
    I: DeserializeOwned + JsonSchema + Send + 'static,
    A: Answer,
    F: Fn(Shared, Person, I) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<A, Problem>> + Send + 'static,
{
    endpoint(Method::POST, path, role, summary, true, answer)
}

fn endpoint<I, A, F, Fut>(
    method: Method,
    path: &'static str,
    role: Role,
    summary: &'static str,
    is_act: bool,
    answer: F,
) -> Endpoint
where
    I: DeserializeOwned + JsonSchema + Send + 'static,
    A: Answer,
    F: Fn(Shared, Person, I) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<A, Problem>> + Send + 'static,
{
    let handler = move |State(console): State<Shared>, path: RawPathParams, request: Request| {
        let answer = answer.clone();
        async move {
            let answered = async {
                let person = bearer(&console, request.headers())?;
                person.needs(role)?;
                let input = input(request, &path).await?;
                answer(console, person, input).await
            };
            match answered.await {
                Ok(answer) => (answer.status(), [(CACHE_CONTROL, "no-store")], Json(answer)).into_response(),
                Err(problem) => problem.into_response(),
            }
        }
    };
    let filter = if method == Method::GET { MethodFilter::GET } else { MethodFilter::POST };
    let describe = |generator: &mut SchemaGenerator| Described {
        input: I::json_schema(generator),
        answer: generator.subschema_for::<A>(),
    };
    Endpoint { method, path, role, summary, is_act, describe, route: on(filter, handler) }
}

/// Who holds the token of a request.
pub(super) fn bearer(console: &Console, headers: &HeaderMap) -> Result<Person, Problem> {
    let token = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let holder = token.and_then(|token| console.holders.by_token(token.trim()));
    holder.map(|(person, _)| person).ok_or_else(Problem::unauthenticated)
}

/// What a request asks: parameters of its path, with its query or with the object in its body.
async fn input<I: DeserializeOwned>(request: Request, path: &RawPathParams) -> Result<I, Problem> {
    if request.method() == Method::GET {
        let mut pairs = url::form_urlencoded::Serializer::new(String::new());
        let query = request.uri().query().unwrap_or_default();
        pairs.extend_pairs(url::form_urlencoded::parse(query.as_bytes()));
        pairs.extend_pairs(path);
        let uri: Uri =
            format!("/?{}", pairs.finish()).parse().map_err(|_| Problem::bad_request("the query is unreadable"))?;
        return match Query::<I>::try_from_uri(&uri) {
            Ok(Query(input)) => Ok(input),
            Err(error) => Err(Problem::bad_request(error.body_text())),
        };
    }
    let is_json = request.headers().get(CONTENT_TYPE).is_none_or(|kind| {
        kind.to_str().is_ok_and(|kind| kind.split(';').next().unwrap_or_default().trim() == "application/json")
    });
    if !is_json {
        return Err(Problem::media_type());
    }
    let body = axum::body::to_bytes(request.into_body(), LONGEST_BODY).await;
    let body = body.map_err(|_| Problem::too_large(LONGEST_BODY))?;
    let mut object = match body.is_empty() {
        true => Map::new(),
        false => serde_json::from_slice(&body).map_err(|error| Problem::bad_request(format!("the body: {error}")))?,
    };
    for (name, value) in path {
        object.insert(name.to_owned(), value.into());
    }
    serde_json::from_value(JsonValue::Object(object))
        .map_err(|error| Problem::bad_request(format!("the body: {error}")))
}

/// The routes of the API.
pub(super) fn routes() -> Router<Shared> {
    let mut router = Router::new().route("/openapi.json", axum::routing::get(|| async { Json(openapi()) }));
    for endpoint in endpoints::all() {
        router = router.route(endpoint.path, endpoint.route);
    }
    router.fallback(|| async { Problem::no_such_path() }).method_not_allowed_fallback(|| async { Problem::method() })
}

/// Every entry, for a test of who may do what: method, path below the root of the API, and the least role.
pub fn table() -> Vec<(String, &'static str, Role)> {
    endpoints::all().into_iter().map(|endpoint| (endpoint.method.to_string(), endpoint.path, endpoint.role)).collect()
}
