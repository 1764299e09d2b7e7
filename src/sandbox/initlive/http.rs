//! `/initlive/v4`: the calls of the API.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::administration::{Filter, Key, Paging, Permission};
use super::directory::{Change, Refused};
use super::{InitLive, ORGANIZATION};
use crate::sandbox::faults::Withhold;
use crate::sandbox::log::Actor;
use crate::sandbox::serve::Received;
use crate::sandbox::{DEFAULT_INITLIVE_KEY, lock};

/// Where the API is.
const ROOT: &str = "/initlive/v4";

/// Users of a page, if the client does not say.
const DEFAULT_TAKE: usize = 100;

pub fn router(initlive: &Arc<InitLive>) -> Router {
    let api = Router::new()
        .route("/organizations/{organization}/users", get(list).post(create))
        .route("/organizations/{organization}/users/{id}", get(one).put(update).delete(remove))
        .fallback(unknown)
        .method_not_allowed_fallback(not_allowed)
        .layer(middleware::from_fn_with_state(Arc::clone(initlive), admit))
        .with_state(Arc::clone(initlive));
    Router::new().nest(ROOT, api)
}

/// A refusal in the shape of this API.
pub fn refusal(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({ "error": error }))).into_response()
}

async fn admit(State(initlive): State<Arc<InitLive>>, mut request: Request, next: Next) -> Response {
    let token = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = token.and_then(|value| value.split_once(' ')).filter(|(kind, _)| kind.eq_ignore_ascii_case("bearer"));
    let switches = lock(&initlive.switches).clone();
    if token.map(|(_, token)| token.trim()) != Some(DEFAULT_INITLIVE_KEY) || switches.key != Key::Active {
        return refusal(StatusCode::UNAUTHORIZED, "The API key is not valid.");
    }
    let allowed = match switches.permission {
        Permission::Full => true,
        Permission::Read => request.method().is_safe(),
        Permission::None => false,
    };
    if !allowed {
        return refusal(StatusCode::FORBIDDEN, "The API key has no permission for this.");
    }
    let received = request.extensions().get::<Received>().map(|received| received.id.clone());
    let withhold = request.extensions().get::<Withhold>().copied();
    request.extensions_mut().insert(Caller { request: received.unwrap_or_default(), withhold });
    next.run(request).await
}

/// What is known of the request that is served.
#[derive(Clone)]
struct Caller {
    request: String,
    withhold: Option<Withhold>,
}

async fn unknown() -> Response {
    refusal(StatusCode::NOT_FOUND, "Not found.")
}

async fn not_allowed() -> Response {
    refusal(StatusCode::METHOD_NOT_ALLOWED, "Not allowed.")
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Search {
    skip: Option<usize>,
    take: Option<usize>,
    username: Option<String>,
    external_id: Option<String>,
}

async fn list(
    State(initlive): State<Arc<InitLive>>,
    Extension(caller): Extension<Caller>,
    Path(organization): Path<u64>,
    Query(search): Query<Search>,
) -> Response {
    if organization != ORGANIZATION {
        return unknown().await;
    }
    let switches = lock(&initlive.switches).clone();
    let wanted = |filter: Filter, value: Option<String>| value.filter(|_| switches.filters.contains(&filter));
    let username = wanted(Filter::Username, search.username).map(|name| name.to_lowercase());
    let external_id = wanted(Filter::ExternalId, search.external_id);
    let directory = lock(&initlive.directory);
    let has = |user: &Value, name: &str, value: &str| user[name].as_str().is_some_and(|found| found == value);
    let found = directory
        .members()
        .filter(|(id, _)| caller.withhold.is_none_or(|withhold| !withhold.hides(&id.to_string())))
        .map(|(_, user)| user)
        .filter(|user| {
            username.as_ref().is_none_or(|name| user["username"].as_str().unwrap_or_default().to_lowercase() == *name)
        })
        .filter(|user| external_id.as_ref().is_none_or(|id| has(user, "externalId", id)));
    let page: Vec<Value> = match switches.paging {
        Paging::Honoured => {
            let take = search.take.unwrap_or(DEFAULT_TAKE).min(switches.max_take);
            found.skip(search.skip.unwrap_or_default()).take(take).collect()
        }
        Paging::Ignored => found.collect(),
    };
    Json(page).into_response()
}

async fn create(
    State(initlive): State<Arc<InitLive>>,
    Extension(caller): Extension<Caller>,
    Path(organization): Path<u64>,
    body: Bytes,
) -> Response {
    let body = match parsed(organization, &body) {
        Ok(body) => body,
        Err(refused) => return refused,
    };
    let written = initlive.write(Actor::Client, "POST", &caller.request, |directory, switches, now_ms| {
        directory.create(&body, switches, now_ms)
    });
    answer(written, |user| Json(json!([user])).into_response())
}

async fn one(State(initlive): State<Arc<InitLive>>, Path((organization, id)): Path<(u64, String)>) -> Response {
    let user =
        id.parse().ok().filter(|_| organization == ORGANIZATION).and_then(|id| lock(&initlive.directory).shown(id));
    match user {
        Some(user) => Json(user).into_response(),
        None => unknown().await,
    }
}

async fn update(
    State(initlive): State<Arc<InitLive>>,
    Extension(caller): Extension<Caller>,
    Path((organization, id)): Path<(u64, u64)>,
    body: Bytes,
) -> Response {
    let body = match parsed(organization, &body) {
        Ok(body) => body,
        Err(refused) => return refused,
    };
    let written = initlive.write(Actor::Client, "PUT", &caller.request, |directory, switches, now_ms| {
        directory.update(id, &body, switches, now_ms)
    });
    answer(written, |user| Json(user).into_response())
}

async fn remove(
    State(initlive): State<Arc<InitLive>>,
    Extension(caller): Extension<Caller>,
    Path((organization, id)): Path<(u64, u64)>,
) -> Response {
    if organization != ORGANIZATION {
        return unknown().await;
    }
    let written = initlive.write(Actor::Client, "DELETE", &caller.request, |directory, _, _| directory.remove(id));
    answer(written, |_| StatusCode::NO_CONTENT.into_response())
}

#[expect(clippy::result_large_err, reason = "an answer is what both ways end with")]
fn parsed(organization: u64, body: &[u8]) -> Result<Value, Response> {
    if organization != ORGANIZATION {
        return Err(refusal(StatusCode::NOT_FOUND, "Organization not found."));
    }
    let body: Option<Value> = serde_json::from_slice(body).ok();
    body.filter(Value::is_object).ok_or_else(|| refusal(StatusCode::BAD_REQUEST, "The body is no JSON object."))
}

fn answer(written: Result<Change, Refused>, show: impl FnOnce(Value) -> Response) -> Response {
    match written {
        Ok(change) => show(change.after.unwrap_or_default()),
        Err(Refused::Unknown) => refusal(StatusCode::NOT_FOUND, "User not found."),
        Err(Refused::OwnedElsewhere) => {
            refusal(StatusCode::FORBIDDEN, "This profile is managed by its owner and cannot be changed here.")
        }
        Err(Refused::Fields(fields)) => {
            let body = json!({"error": "The request is not valid.", "fields": fields});
            (StatusCode::BAD_REQUEST, Json(body)).into_response()
        }
    }
}
