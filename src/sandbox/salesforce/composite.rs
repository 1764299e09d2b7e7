//! Several requests in one: each has an answer of its own, and all of them cost one call of the quota.
//!
//! Known difference: reads, and collections that write. References to earlier answers and other writes are refused, as a
//! whole. Where requests may be collated their order is not promised: the sandbox reads first then.

use std::collections::HashSet;
use std::sync::Arc;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tower::ServiceExt;

use super::error::{ApiError, json_response};
use super::rows::parse;
use super::{Call, MAX_HEAD_BYTES, Salesforce};

/// Requests that one call may have.
const MAX_REQUESTS: usize = 25;
/// How many of them may be queries or collections.
const MAX_QUERIES: usize = 5;
/// Headers that only the whole call may have.
const OF_THE_WHOLE: [&str; 3] = ["accept", "authorization", "content-type"];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Composite {
    composite_request: Vec<SubRequest>,
    #[serde(default)]
    all_or_none: bool,
    #[serde(default = "collated")]
    collate_subrequests: bool,
}

fn collated() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SubRequest {
    method: String,
    url: String,
    reference_id: String,
    #[serde(default)]
    http_headers: Map<String, Value>,
    body: Option<Value>,
}

impl SubRequest {
    /// Whether it is one that reads.
    fn reads(&self) -> bool {
        self.method == "GET"
    }
}

pub(super) async fn composite(
    State(salesforce): State<Arc<Salesforce>>,
    Extension(call): Extension<Call>,
    body: Bytes,
) -> Result<Response, ApiError> {
    let Composite { composite_request, all_or_none, collate_subrequests } = parse(&body)?;
    check(&composite_request, all_or_none)?;
    let resources = salesforce.resources();
    let mut answers = Vec::with_capacity(composite_request.len());
    let mut parts: Vec<_> = composite_request.into_iter().enumerate().collect();
    if collate_subrequests {
        parts.sort_by_key(|(_, part)| !part.reads());
    }
    for (place, part) in parts {
        let body = part.body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let request = Request::builder().method(part.method.as_str()).uri(address(&part.url)?).body(body);
        let mut request = request.map_err(|_| malformed(&part.url))?;
        *request.headers_mut() = headers(&part.http_headers)?;
        request.extensions_mut().insert(call.clone());
        let Ok(answer) = resources.clone().oneshot(request).await;
        let status = answer.status().as_u16();
        let body = to_bytes(answer.into_body(), usize::MAX).await.unwrap_or_default();
        let answer = json!({
            "body": serde_json::from_slice::<Value>(&body).unwrap_or_default(),
            "httpHeaders": {},
            "httpStatusCode": status,
            "referenceId": part.reference_id,
        });
        answers.push((place, answer));
    }
    answers.sort_by_key(|(place, _)| *place);
    let answers: Vec<_> = answers.into_iter().map(|(_, answer)| answer).collect();
    Ok(json_response(StatusCode::OK, &json!({ "compositeResponse": answers })))
}

/// Checks the call as a whole.
fn check(requests: &[SubRequest], all_or_none: bool) -> Result<(), ApiError> {
    let refused = |message: String| Err(ApiError::bad("INVALID_INPUT", message));
    let queries = requests.iter().filter(|part| part.url.contains("/query") || part.url.contains("/composite/"));
    if requests.is_empty() || requests.len() > MAX_REQUESTS || queries.count() > MAX_QUERIES {
        return refused(format!("1 to {MAX_REQUESTS} requests, {MAX_QUERIES} queries or collections among them"));
    }
    let mut names = HashSet::new();
    for part in requests {
        if !names.insert(&part.reference_id) {
            return refused(format!("The referenceId {} is not unique", part.reference_id));
        }
        if part.http_headers.keys().any(|name| OF_THE_WHOLE.contains(&name.to_ascii_lowercase().as_str())) {
            return refused(format!("{}: this header belongs to the whole call", part.reference_id));
        }
        let writes_records =
            ["POST", "PATCH"].contains(&part.method.as_str()) && part.url.ends_with("/composite/sobjects");
        if !(part.reads() || writes_records && !all_or_none) || part.url.contains("@{") {
            let name = &part.reference_id;
            return refused(format!(
                "{name}: this sandbox takes GET, and collections each for itself, without references"
            ));
        }
    }
    Ok(())
}

fn address(url: &str) -> Result<Uri, ApiError> {
    let uri: Uri = url.parse().map_err(|_| malformed(url))?;
    if url.len() > MAX_HEAD_BYTES {
        return Err(ApiError::with(StatusCode::URI_TOO_LONG, "URI_TOO_LONG", "The URI is too long"));
    }
    if uri.path().starts_with("/services/data/v") { Ok(uri) } else { Err(malformed(url)) }
}

fn malformed(url: &str) -> ApiError {
    ApiError::bad("INVALID_INPUT", format!("The URL '{url}' is not a resource below /services/data"))
}

fn headers(given: &Map<String, Value>) -> Result<HeaderMap, ApiError> {
    let header = |(name, value): (&String, &Value)| {
        let value = HeaderValue::from_str(value.as_str()?).ok()?;
        Some((HeaderName::from_bytes(name.as_bytes()).ok()?, value))
    };
    let refused = || ApiError::bad("INVALID_INPUT", "httpHeaders has a header that is none");
    given.iter().map(|entry| header(entry).ok_or_else(refused)).collect()
}
