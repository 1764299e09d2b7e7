//! Signing in with a token, and out.

use askama::Template;
use axum::extract::{Query, State};
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;

use super::super::api::Shared;
use super::super::edge::is_https;
use super::super::problem::Problem;
use super::{Fields, page, see};

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignIn {
    /// Where the person wanted to go.
    next: String,
    problem: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Wanted {
    #[serde(default)]
    next: String,
}

pub(super) async fn show(Query(Wanted { next }): Query<Wanted>) -> Response {
    page(&SignIn { next, problem: None })
}

pub(super) async fn enter(
    State(console): State<Shared>,
    headers: HeaderMap,
    fields: Fields,
) -> Result<Response, Problem> {
    let next = fields.get("next").unwrap_or_else(|| "/".to_owned());
    let Some((_, token)) = fields.get("token").and_then(|token| console.holders.by_token(&token)) else {
        let problem = "This token is not known. Paste it whole; `muster token new` makes another one.".to_owned();
        let mut response = page(&SignIn { next, problem: Some(problem) });
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        return Ok(response);
    };
    let cookie = console.sessions.begin(token, is_https(&headers))?;
    Ok(with_cookie(see(&next), &cookie))
}

pub(super) async fn leave(State(console): State<Shared>, headers: HeaderMap, _: Fields) -> Response {
    with_cookie(see("/sign-in"), &console.sessions.end(&headers))
}

fn with_cookie(mut response: Response, cookie: &str) -> Response {
    response.headers_mut().insert(SET_COOKIE, cookie.parse().expect("a cookie is made of letters and digits"));
    response
}
