//! OAuth of the org: the flows of a client without a person, the tokens they give out, and how those die.

mod jwt;

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
use serde_json::{Value, json};

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

/// Who may act by the JWT bearer flow. Approved are the users with the profile of administrators; the rest is told so in
/// different words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PermittedUsers {
    /// Those whom an administrator has approved.
    #[default]
    AdminApproved,
    /// Those who have approved the app themselves.
    SelfAuthorized,
}

/// Why the token endpoint refuses: code and description.
type Refusal = (&'static str, &'static str);

/// Tokens given out and not yet dead.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    open: HashMap<String, Session>,
}

#[derive(Debug)]
struct Session {
    /// Serial of the user as whom its bearer acts.
    user: u64,
    /// When it was last used, in milliseconds by the org's clock.
    used_at_ms: i64,
}

impl Sessions {
    /// The user of a token, if it is good; using it keeps it alive for another `lifetime_ms`.
    pub fn touch(&mut self, token: &str, now_ms: i64, lifetime_ms: i64) -> Option<u64> {
        let session = self.open.get_mut(token).filter(|session| now_ms - session.used_at_ms <= lifetime_ms)?;
        session.used_at_ms = now_ms;
        Some(session.user)
    }

    /// A new token.
    pub fn open(&mut self, user: u64, now_ms: i64) -> String {
        let token = format!("{ORG_ID15}!AQcAQ{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
        self.open.insert(token.clone(), Session { user, used_at_ms: now_ms });
        token
    }

    pub fn revoke(&mut self, token: &str) -> bool {
        self.open.remove(token).is_some()
    }

    /// Ends all sessions; their number.
    pub fn expire_all(&mut self) -> usize {
        std::mem::take(&mut self.open).len()
    }
}

#[derive(Deserialize)]
pub(super) struct TokenRequest {
    grant_type: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
    assertion: Option<String>,
}

pub(super) async fn token(
    State(salesforce): State<Arc<Salesforce>>,
    headers: HeaderMap,
    form: Result<Form<TokenRequest>, axum::extract::rejection::FormRejection>,
) -> Response {
    let Ok(Form(request)) = form else { return refuse(("invalid_request", "wrong content type or body")) };
    let origin = origin(salesforce.scheme, &headers);
    let answer = match request.grant_type.as_deref() {
        Some("client_credentials") => client_credentials(&salesforce, request, &headers, &origin),
        Some("urn:ietf:params:oauth:grant-type:jwt-bearer") => jwt_bearer(&salesforce, &request, &origin),
        None => Err(("invalid_request", "missing grant_type")),
        Some(_) => Err(("unsupported_grant_type", "grant type not supported")),
    };
    answer.map_or_else(refuse, |body| no_store(StatusCode::OK, body))
}

fn client_credentials(
    salesforce: &Salesforce,
    request: TokenRequest,
    headers: &HeaderMap,
    origin: &str,
) -> Result<Value, Refusal> {
    match lock(&salesforce.options).flow {
        Flow::Enabled => {}
        Flow::Disabled => return Err(("unsupported_grant_type", "grant type not supported")),
        Flow::NoRunAsUser => return Err(("invalid_grant", "no client credentials user enabled")),
    }
    // Credentials in the body win over those in the header.
    let credentials = match (request.client_id, request.client_secret) {
        (None, None) => basic(headers),
        (id, secret) => id.zip(secret),
    };
    let (client_id, client_secret) = credentials.ok_or(("invalid_request", "missing client credentials"))?;
    if client_id != salesforce.app.client_id {
        return Err(("invalid_client_id", "client identifier invalid"));
    }
    if client_secret != salesforce.app.client_secret.expose_secret() {
        return Err(("invalid_client", "invalid client credentials"));
    }
    let user = lock(&salesforce.org).integration_user;
    let now_ms = salesforce.clock.now_ms();
    let token = lock(&salesforce.sessions).open(user, now_ms);
    let id = identity(user, origin);
    let issued_at = now_ms.to_string();
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, client_secret.as_bytes());
    let signature = STANDARD.encode(aws_lc_rs::hmac::sign(&key, format!("{id}{issued_at}").as_bytes()));
    Ok(json!({
        "access_token": token, "signature": signature, "scope": "api id", "instance_url": origin, "id": id,
        "token_type": "Bearer", "issued_at": issued_at,
    }))
}

/// This flow's answer is documented without `issued_at` and `signature`.
fn jwt_bearer(salesforce: &Salesforce, request: &TokenRequest, origin: &str) -> Result<Value, Refusal> {
    let assertion = request.assertion.as_deref().ok_or(("invalid_request", "missing assertion"))?;
    let user = jwt::user_of(salesforce, assertion, origin)?;
    let token = lock(&salesforce.sessions).open(user, salesforce.clock.now_ms());
    let id = identity(user, origin);
    Ok(json!({"access_token": token, "scope": "api id", "instance_url": origin, "id": id, "token_type": "Bearer"}))
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
    let bad_token = || (StatusCode::FORBIDDEN, "Bad_OAuth_Token").into_response();
    let Some(user) = salesforce.authenticate(&headers) else { return bad_token() };
    let origin = origin(salesforce.scheme, &headers);
    let org = lock(&salesforce.org);
    let Ok(row) = org.find("User", &id18("005", user)) else { return bad_token() };
    let text = |field: &str| row.cell(field).as_text();
    let body = json!({
        "sub": identity(user, &origin), "user_id": row.id(), "organization_id": org_id(),
        "preferred_username": text("Username"), "nickname": text("CommunityNickname"), "name": text("Name"),
        "email": text("Email"), "email_verified": true, "given_name": text("FirstName"), "family_name": text("LastName"),
        "zoneinfo": text("TimeZoneSidKey"), "locale": text("LocaleSidKey"), "language": text("LanguageLocaleKey"),
        "active": row.cell("IsActive").to_json(), "user_type": text("UserType").map(str::to_uppercase),
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

fn identity(user: u64, origin: &str) -> String {
    format!("{origin}/id/{}/{}", org_id(), id18("005", user))
}

fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Basic ")?;
    let decoded = String::from_utf8(STANDARD.decode(value).ok()?).ok()?;
    let (id, secret) = decoded.split_once(':')?;
    Some((id.to_owned(), secret.to_owned()))
}

fn refuse((error, description): Refusal) -> Response {
    no_store(StatusCode::BAD_REQUEST, json!({"error": error, "error_description": description}))
}

fn no_store(status: StatusCode, body: Value) -> Response {
    let headers =
        [(header::CONTENT_TYPE, "application/json;charset=UTF-8"), (header::CACHE_CONTROL, "no-cache, no-store")];
    (status, headers, body.to_string()).into_response()
}
