//! Logins of the GraphQL API: a password grant, counted, and tokens that live a day.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Form, Json, Router};
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::{DEFAULT_PASSWORD, DEFAULT_USERNAME, Iadvize, refusal};
use crate::sandbox::lock;

const MINUTE_MS: i64 = 60_000;

/// Tokens given out, with the moment when each dies, and the logins of the last minute.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    open: HashMap<String, i64>,
    logins: VecDeque<i64>,
}

impl Sessions {
    /// Takes a login at `now_ms`; otherwise how long the user is blocked, in milliseconds.
    fn admit(&mut self, now_ms: i64, most: usize) -> Result<(), i64> {
        while self.logins.front().is_some_and(|at| *at + MINUTE_MS <= now_ms) {
            self.logins.pop_front();
        }
        match self.logins.front() {
            Some(first) if self.logins.len() >= most => Err(first + MINUTE_MS - now_ms),
            _ => {
                self.logins.push_back(now_ms);
                Ok(())
            }
        }
    }

    pub fn is_open(&self, token: &str, now_ms: i64) -> bool {
        self.open.get(token).is_some_and(|dies_ms| now_ms < *dies_ms)
    }

    pub fn revoke(&mut self, token: &str) {
        self.open.remove(token);
    }
}

pub(super) fn routes() -> Router<Arc<Iadvize>> {
    Router::new().route("/oauth2/token", post(token)).route("/_authenticated", get(authenticated))
}

#[derive(Deserialize)]
struct TokenRequest {
    username: Option<String>,
    password: Option<String>,
    grant_type: Option<String>,
}

async fn token(State(iadvize): State<Arc<Iadvize>>, Form(request): Form<TokenRequest>) -> Response {
    let (now_ms, options) = (iadvize.clock.now_ms(), iadvize.options());
    let mut sessions = lock(&iadvize.sessions);
    if let Err(blocked_ms) = sessions.admit(now_ms, options.logins_per_minute) {
        let seconds = (blocked_ms.max(0) + 999) / 1000;
        let headers = [(header::RETRY_AFTER, seconds.to_string())];
        return (headers, refusal(StatusCode::TOO_MANY_REQUESTS)).into_response();
    }
    let error = if request.grant_type.as_deref() != Some("password") {
        Some("unsupported_grant_type")
    } else if request.username.as_deref() != Some(DEFAULT_USERNAME)
        || request.password.as_deref() != Some(DEFAULT_PASSWORD)
    {
        Some("invalid_grant")
    } else {
        None
    };
    if let Some(error) = error {
        return (StatusCode::BAD_REQUEST, Json(json!({"error": error}))).into_response();
    }
    let token = Uuid::new_v4().simple().to_string();
    sessions.open.insert(token.clone(), now_ms + options.token_seconds * 1000);
    Json(json!({
        "access_token": token, "expires_in": options.token_seconds, "token_type": "Bearer", "refresh_token": "none",
    }))
    .into_response()
}

async fn authenticated(State(iadvize): State<Arc<Iadvize>>, headers: HeaderMap) -> Response {
    if iadvize.is_authenticated(&headers) {
        Json(json!({"authenticated": true})).into_response()
    } else {
        refusal(StatusCode::UNAUTHORIZED)
    }
}

impl Iadvize {
    pub(super) fn is_authenticated(&self, headers: &HeaderMap) -> bool {
        bearer(headers).is_some_and(|token| lock(&self.sessions).is_open(token, self.clock.now_ms()))
    }
}

/// The token of an `Authorization` header.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
