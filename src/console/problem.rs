//! What is said to somebody whose request was not served: a code, what happened, and what to do next.

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, WWW_AUTHENTICATE};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

use crate::config::Role;
use crate::ops::sync::UsageError;
use crate::store::StoreError;

/// Why a request was not served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The status of the answer.
    pub status: StatusCode,
    /// What is told.
    pub told: Told,
}

/// What is told of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub struct Told {
    /// One word for programs.
    pub code: String,
    /// What happened, for a person.
    pub message: String,
    /// What to do next, for a person.
    pub next: String,
}

impl Problem {
    fn new(status: StatusCode, code: &str, message: impl Into<String>, next: impl Into<String>) -> Self {
        Self { status, told: Told { code: code.to_owned(), message: message.into(), next: next.into() } }
    }

    /// Nobody said who asks.
    pub fn unauthenticated() -> Self {
        let next = "send `Authorization: Bearer <token>`; `muster token new` makes a token";
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", "the token is missing or not known", next)
    }

    /// The token does not allow it.
    pub fn forbidden(needed: Role, has: Role) -> Self {
        let next = format!("ask somebody with the role {needed}, or use a token that has it");
        Self::new(StatusCode::FORBIDDEN, "forbidden", format!("this needs the role {needed}; you have {has}"), next)
    }

    /// The request comes from a page of another origin.
    pub fn cross_origin() -> Self {
        let message = "the request came from a page of another origin";
        let next = "open the console itself and act from there; a proxy in front must pass the Host header on";
        Self::new(StatusCode::FORBIDDEN, "cross_origin", message, next)
    }

    /// What was sent cannot be understood.
    pub fn bad_request(message: impl Into<String>) -> Self {
        let next = "correct the request; /api/v1/openapi.json describes each";
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message, next)
    }

    /// There is no such thing (any more).
    pub fn not_found(message: impl Into<String>) -> Self {
        let next = "look at the list again: it may have been dealt with meanwhile";
        Self::new(StatusCode::NOT_FOUND, "not_found", message, next)
    }

    /// There is no such path.
    pub fn no_such_path() -> Self {
        let next = "see /api/v1/openapi.json for those there are";
        Self::new(StatusCode::NOT_FOUND, "no_such_path", "there is nothing at this path", next)
    }

    /// The path does not know this method.
    pub fn method() -> Self {
        let next = "see /api/v1/openapi.json for the methods of each path";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "the path does not know this method", next)
    }

    /// It cannot be done as things are.
    pub fn conflict(code: &str, message: impl Into<String>, next: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, message, next)
    }

    /// The body is of another kind than what is read.
    pub fn media_type() -> Self {
        let next = "send `Content-Type: application/json`";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media_type", "the body is not JSON", next)
    }

    /// The request is too long.
    pub fn too_large(limit: usize) -> Self {
        let message = format!("the request is longer than {} kB", limit / 1024);
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message, "send less at a time, or use the command line")
    }

    /// It took too long.
    pub fn too_slow(seconds: u64) -> Self {
        let message = format!("it was not done within {seconds} s; an act that had begun may have been done");
        let next = "look again before you repeat it; what takes long is for the command line";
        Self::new(StatusCode::GATEWAY_TIMEOUT, "too_slow", message, next)
    }

    /// Too many requests at once.
    pub fn too_busy() -> Self {
        let message = "too many requests are under way";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "too_busy", message, "wait a moment, then ask again")
    }

    /// The same, where what a person named is simply not there.
    pub fn named(error: anyhow::Error) -> Self {
        match error.downcast_ref::<UsageError>() {
            Some(error) => Self::not_found(error.to_string()),
            None => error.into(),
        }
    }
}

impl From<anyhow::Error> for Problem {
    fn from(error: anyhow::Error) -> Self {
        if let Some(error) = error.downcast_ref::<UsageError>() {
            return Self::bad_request(error.to_string());
        }
        if let Some(error) = error.downcast_ref::<StoreError>() {
            let next = "wait until the store answers, then ask again; `muster status` says how it is";
            return Self::new(StatusCode::SERVICE_UNAVAILABLE, "store", error.to_string(), next);
        }
        tracing::error!("A request failed: {error:#}");
        let next = "look at the log of the console; `muster status` says how everything stands";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", format!("{error:#}"), next)
    }
}

impl From<UsageError> for Problem {
    fn from(error: UsageError) -> Self {
        Self::bad_request(error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, [(CACHE_CONTROL, "no-store")], Json(self.told)).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, "Bearer realm=\"muster\"".parse().expect("it is a header"));
        }
        response
    }
}
