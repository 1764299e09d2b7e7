//! OAuth of the org: the client credentials flow, the tokens it gives out, and how they die.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Form;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::json;

use super::Salesforce;
use super::id::{id18, long_form};
use crate::sandbox::{lock, origin};

/// The org's own id, in both forms.
pub(super) const ORG_ID15: &str = "00DRM0000004xQr";

/// Whether the connected app may use the client credentials flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flow {
    /// It may.
    #[default]
    Enabled,
    /// It may not.
    Disabled,
    /// It may, but nobody chose the user to run as.
    NoRunAsUser,
}

/// Tokens given out and not yet dead.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    /// Token -> when it was last used, in milliseconds by the org's clock.
    used_at: HashMap<String, i64>,
}

impl Sessions {
    /// Whether a token is good; using it keeps it alive for another `lifetime_ms`.
    pub fn touch(&mut self, token: &str, now_ms: i64, lifetime_ms: i64) -> bool {
        match self.used_at.get_mut(token) {
            Some(used_at) if now_ms - *used_at <= lifetime_ms => {
                *used_at = now_ms;
                true
            }
            _ => false,
        }
    }

    pub fn revoke(&mut self, token: &str) -> bool {
        self.used_at.remove(token).is_some()
    }

    /// Ends all sessions; their number.
    pub fn expire_all(&mut self) -> usize {
        std::mem::take(&mut self.used_at).len()
    }
}

#[derive(Deserialize)]
pub(super) struct TokenRequest {
    grant_type: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
}

pub(super) async fn token(
    State(salesforce): State<Arc<Salesforce>>,
    headers: HeaderMap,
    form: Result<Form<TokenRequest>, axum::extract::rejection::FormRejection>,
) -> Response {
    let Ok(Form(request)) = form else { return refuse("invalid_request", "wrong content type or body") };
    match request.grant_type.as_deref() {
        Some("client_credentials") => {}
        None => return refuse("invalid_request", "missing grant_type"),
        Some(_) => return refuse("unsupported_grant_type", "grant type not supported"),
    }
    match lock(&salesforce.options).flow {
        Flow::Enabled => {}
        Flow::Disabled => return refuse("unsupported_grant_type", "grant type not supported"),
        Flow::NoRunAsUser => return refuse("invalid_grant", "no client credentials user enabled"),
    }
    // Credentials in the body win over those in the header.
    let credentials = match (request.client_id, request.client_secret) {
        (None, None) => basic(&headers),
        (id, secret) => id.zip(secret),
    };
    let Some((client_id, client_secret)) = credentials else {
        return refuse("invalid_request", "missing client credentials");
    };
    if client_id != salesforce.client_id {
        return refuse("invalid_client_id", "client identifier invalid");
    }
    if client_secret != salesforce.client_secret.expose_secret() {
        return refuse("invalid_client", "invalid client credentials");
    }

    let now_ms = salesforce.clock.now_ms();
    let token = format!("{ORG_ID15}!AQcAQ{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
    lock(&salesforce.sessions).used_at.insert(token.clone(), now_ms);
    let origin = origin(salesforce.scheme, &headers);
    let id = identity(&salesforce, &origin);
    let issued_at = now_ms.to_string();
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, client_secret.as_bytes());
    let signature = STANDARD.encode(aws_lc_rs::hmac::sign(&key, format!("{id}{issued_at}").as_bytes()));
    let body = json!({
        "access_token": token, "signature": signature, "scope": "api id", "instance_url": origin, "id": id,
        "token_type": "Bearer", "issued_at": issued_at,
    });
    no_store(StatusCode::OK, body)
}

#[derive(Deserialize)]
pub(super) struct RevokeRequest {
    token: String,
}

pub(super) async fn revoke(State(salesforce): State<Arc<Salesforce>>, Form(request): Form<RevokeRequest>) -> Response {
    if lock(&salesforce.sessions).revoke(&request.token) {
        return StatusCode::OK.into_response();
    }
    // This one endpoint answers like a form.
    let form = [(header::CONTENT_TYPE, "application/x-www-form-urlencoded")];
    (StatusCode::BAD_REQUEST, form, "error=invalid_token&error_description=invalid%20token").into_response()
}

pub(super) async fn userinfo(State(salesforce): State<Arc<Salesforce>>, headers: HeaderMap) -> Response {
    if !salesforce.authenticate(&headers) {
        return (StatusCode::FORBIDDEN, "Bad_OAuth_Token").into_response();
    }
    let origin = origin(salesforce.scheme, &headers);
    let user = id18("005", lock(&salesforce.org).integration_user);
    let body = json!({
        "sub": identity(&salesforce, &origin), "user_id": user, "organization_id": org_id(),
        "preferred_username": "integration@sandbox.example", "nickname": "integration", "name": "Integration User",
        "email": "integration@sandbox.example", "email_verified": true, "family_name": "Integration User",
        "zoneinfo": "GMT", "locale": "en_US", "language": "en_US", "active": true, "user_type": "AUTOMATED_PROCESS",
    });
    no_store(StatusCode::OK, body)
}

/// The token of an `Authorization` header.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("oauth")).then(|| token.trim())
}

/// The org's id in its long form.
fn org_id() -> String {
    long_form(ORG_ID15)
}

fn identity(salesforce: &Salesforce, origin: &str) -> String {
    format!("{origin}/id/{}/{}", org_id(), id18("005", lock(&salesforce.org).integration_user))
}

fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Basic ")?;
    let decoded = String::from_utf8(STANDARD.decode(value).ok()?).ok()?;
    let (id, secret) = decoded.split_once(':')?;
    Some((id.to_owned(), secret.to_owned()))
}

fn refuse(error: &str, description: &str) -> Response {
    no_store(StatusCode::BAD_REQUEST, json!({"error": error, "error_description": description}))
}

fn no_store(status: StatusCode, body: serde_json::Value) -> Response {
    let headers =
        [(header::CONTENT_TYPE, "application/json;charset=UTF-8"), (header::CACHE_CONTROL, "no-cache, no-store")];
    (status, headers, body.to_string()).into_response()
}
