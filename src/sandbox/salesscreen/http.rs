//! `/salesscreen/api/v1`: the calls of the API.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router, body::Bytes};
use serde_json::{Map, Value, json};

use super::SalesScreen;
use super::workspace::{Change, Errors, Workspace};
use crate::sandbox::log::Actor;
use crate::sandbox::serve::Received;
use crate::sandbox::{DEFAULT_SALESSCREEN_KEY, lock};

/// Where the API is.
const ROOT: &str = "/salesscreen/api/v1";

/// The header of the key; names of headers have no letter case.
const API_KEY: HeaderName = HeaderName::from_static("apikey");

pub fn router(salesscreen: &Arc<SalesScreen>) -> Router {
    let api = Router::new()
        // Nothing can be read: also these are not there for a GET.
        .route("/User/Add", post(add_user).get(unknown))
        .route("/Record/Add", post(add_records).get(unknown))
        .route("/{*rest}", get(unknown))
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
        .layer(middleware::from_fn_with_state(Arc::clone(salesscreen), admit))
        .with_state(Arc::clone(salesscreen));
    Router::new().nest(ROOT, api)
}

/// A refusal in the shape of this API.
pub fn refusal(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "message": message }))).into_response()
}

async fn admit(State(salesscreen): State<Arc<SalesScreen>>, mut request: Request, next: Next) -> Response {
    let key = request.headers().get(API_KEY).and_then(|key| key.to_str().ok());
    if key != Some(DEFAULT_SALESSCREEN_KEY) {
        return refusal(StatusCode::UNAUTHORIZED, "The API key is missing or not valid.");
    }
    let admitted = lock(&salesscreen.windows).admit(Instant::now());
    if let Err(wait) = admitted {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        let refused = refusal(StatusCode::TOO_MANY_REQUESTS, "The limit of requests is exceeded.");
        return ([(header::RETRY_AFTER, seconds.to_string())], refused).into_response();
    }
    let received = request.extensions().get::<Received>().map(|received| received.id.clone());
    request.extensions_mut().insert(RequestId(received.unwrap_or_default()));
    next.run(request).await
}

/// Of the request that is served, as the log has it.
#[derive(Clone)]
struct RequestId(String);

async fn unknown() -> Response {
    refusal(StatusCode::NOT_FOUND, "No HTTP resource was found that matches the request.")
}

async fn add_user(
    State(salesscreen): State<Arc<SalesScreen>>,
    Extension(id): Extension<RequestId>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    carried_out(&salesscreen, &id, &headers, &body, Workspace::add_user)
}

async fn add_records(
    State(salesscreen): State<Arc<SalesScreen>>,
    Extension(id): Extension<RequestId>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    carried_out(&salesscreen, &id, &headers, &body, Workspace::add_records)
}

type Work = fn(&mut Workspace, &Value) -> Result<((), Vec<Change>), Errors>;

fn carried_out(
    salesscreen: &SalesScreen,
    RequestId(request): &RequestId,
    headers: &HeaderMap,
    body: &[u8],
    work: Work,
) -> Response {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.to_ascii_lowercase().starts_with("application/json") {
        return refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, "The body must be application/json.");
    }
    let Ok(body) = serde_json::from_slice::<Value>(body) else {
        return refusal(StatusCode::BAD_REQUEST, "The body is no JSON.");
    };
    let written = salesscreen.write(Actor::Client, "POST", request, |workspace| work(workspace, &body));
    match written {
        Ok(()) => Json(json!({})).into_response(),
        Err(errors) => {
            let errors = errors.into_iter().filter(|(field, _)| !field.is_empty());
            let errors: Map<_, _> = errors.map(|(field, text)| (field.to_owned(), json!([text]))).collect();
            let body = json!({"message": "The request is not valid.", "errors": errors});
            (StatusCode::BAD_REQUEST, Json(body)).into_response()
        }
    }
}
