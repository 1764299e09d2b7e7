//! What holds for every request: how long it may be and take, how many there are at once, where an act may come from, and
//! the headers of every answer.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody as _};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::{
    CONTENT_SECURITY_POLICY, HOST, HeaderName, HeaderValue, ORIGIN, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, Method};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;

use super::Console;
use super::api::{Shared, bearer};
use super::problem::Problem;

/// The longest body of a request, in bytes: some ten thousand pairs of an import.
pub(super) const LONGEST_BODY: usize = 4 * 1024 * 1024;

/// How long a request may take.
const LONGEST: Duration = Duration::from_secs(60);

/// How long the rest of a body that is too long is read, in all.
const DRAIN: Duration = Duration::from_secs(2);

/// Requests of people with a token that are served at once.
pub(super) const AT_ONCE: usize = 64;

/// Requests of others that are served at once: the sign-in page, and refusals.
pub(super) const STRANGERS_AT_ONCE: usize = 32;

/// The longest body of a request without a token, in bytes: a form with a token in it.
const STRANGERS_BODY: usize = 16 * 1024;

/// How long a request without a token may take.
const STRANGERS_LONGEST: Duration = Duration::from_secs(5);

/// The longest body that is read of this request, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct LongestBody(pub(super) usize);

/// Nothing but what this process serves, and no script or style within a page.
const POLICY: &str =
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'";

const HEADERS: [(HeaderName, &str); 5] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_FRAME_OPTIONS, "DENY"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // Not `no-referrer`: forms of our own pages would then come from the origin `null`.
    (REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// The routes within these bounds.
pub(super) fn guarded(routes: Router<Shared>, console: &Arc<Console>) -> Router<Shared> {
    routes.layer(DefaultBodyLimit::max(LONGEST_BODY)).layer(from_fn_with_state(Arc::clone(console), guard))
}

async fn guard(State(console): State<Shared>, request: Request, next: Next) -> Response {
    let mut response = match allowed(&console, request, next).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn allowed(console: &Console, mut request: Request, next: Next) -> Result<Response, Problem> {
    // Who has no token takes no room from those who have one, and is not waited for.
    let is_known = is_known(console, request.headers());
    let (room, longest_body, longest) = match is_known {
        true => (&console.room, LONGEST_BODY, LONGEST),
        false => (&console.strangers, STRANGERS_BODY, STRANGERS_LONGEST),
    };
    if request.body().size_hint().lower() > longest_body as u64 {
        if is_known {
            // Whoever is still sending would not see the answer. No room is taken for that.
            tokio::time::timeout(DRAIN, drain(request.into_body())).await.unwrap_or_default();
        }
        return Err(Problem::too_large(longest_body));
    }
    let _permit = room.try_acquire().map_err(|_| Problem::too_busy())?;
    request.extensions_mut().insert(LongestBody(longest_body));
    if !matches!(*request.method(), Method::GET | Method::HEAD) && !is_from_here(request.headers()) {
        return Err(Problem::cross_origin());
    }
    let served: Result<Response<Body>, _> = tokio::time::timeout(longest, next.run(request)).await;
    served.map_err(|_| Problem::too_slow(longest.as_secs()))
}

/// Whether the request names a token, or a session made from one, that somebody holds.
fn is_known(console: &Console, headers: &HeaderMap) -> bool {
    let by_session = || console.sessions.of(headers).and_then(|(_, token)| console.holders.by_digest(&token));
    bearer(console, headers).is_ok() || by_session().is_some()
}

/// Reads a body that nobody wants, within bounds.
async fn drain(body: Body) {
    let mut body = body.into_data_stream();
    let mut left = 4 * LONGEST_BODY;
    while let Some(Ok(bytes)) = body.next().await {
        left = left.saturating_sub(bytes.len());
        if left == 0 {
            return;
        }
    }
}

/// Whether a request that may change something comes from a page of ours, or from no page at all. Every browser of today
/// sends at least one of these headers with a form.
fn is_from_here(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let by_fetch = text("sec-fetch-site").is_none_or(|site| site == "same-origin");
    let host = text(HOST.as_str()).unwrap_or_default();
    let is_host = |origin: &str| origin.split_once("://").is_some_and(|(_, of)| of.eq_ignore_ascii_case(host));
    by_fetch && text(ORIGIN.as_str()).is_none_or(|origin| !host.is_empty() && is_host(origin))
}

/// Whether a browser says that it sent the request, and from which page: pages act for nobody else.
pub(super) fn is_from_a_page(headers: &HeaderMap) -> bool {
    headers.contains_key(ORIGIN) || headers.contains_key("sec-fetch-site")
}

/// Whether the browser came by https, as a proxy in front says.
pub(super) fn is_https(headers: &HeaderMap) -> bool {
    headers.get("x-forwarded-proto").is_some_and(|proto| proto == "https")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acts_come_from_pages_of_ours_or_from_no_page() {
        for (headers, from_here) in [
            (&[][..], true),
            (&[("origin", "http://127.0.0.1:9468")], true),
            (&[("origin", "https://muster.example")], false),
            (&[("origin", "null")], false),
            (&[("origin", "http://127.0.0.1:9469")], false),
            (&[("sec-fetch-site", "same-origin")], true),
            (&[("sec-fetch-site", "cross-site")], false),
            (&[("sec-fetch-site", "same-site")], false),
            (&[("sec-fetch-site", "none")], false),
            (&[("sec-fetch-site", "cross-site"), ("origin", "http://127.0.0.1:9468")], false),
        ] {
            let mut map = HeaderMap::from_iter([(HOST, "127.0.0.1:9468".parse().unwrap())]);
            for (name, value) in headers {
                map.insert(HeaderName::from_static(name), value.parse().unwrap());
            }
            assert_eq!(is_from_here(&map), from_here, "{headers:?}");
        }
        assert!(!is_from_here(&HeaderMap::from_iter([(ORIGIN, "http://".parse().unwrap())])), "no host, no origin");
    }
}
