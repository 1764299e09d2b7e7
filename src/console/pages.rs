//! The pages for people: made on the server, usable without script, forms that post and redirect. Script only keeps what is
//! under way fresh.

use askama::Template;
use axum::Router;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION};
use axum::http::request::Parts;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};

use super::access::Person;
use super::act::Outcome;
use super::api::Shared;
use super::problem::Problem;
use super::sessions::SessionId;
use crate::config::Role;

mod accounts;
mod approvals;
mod assets;
mod audit;
mod conflicts;
mod held;
mod letters;
mod links;
mod overview;
mod retries;
mod sign_in;

/// The routes of the pages.
pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/", get(overview::show))
        .route("/pause", post(overview::pause))
        .route("/resume", post(overview::resume))
        .route("/sync", post(overview::sync))
        .route("/accounts", get(accounts::show))
        .route("/letters", get(letters::causes))
        .route("/letters/list", get(letters::list))
        .route("/letters/one", get(letters::one))
        .route("/letters/preview", get(letters::preview))
        .route("/letters/retry", post(letters::retry))
        .route("/letters/discard", post(letters::discard))
        .route("/retries", get(retries::list))
        .route("/retries/{id}", get(retries::one))
        .route("/retries/{id}/stop", post(retries::stop))
        .route("/retries/{id}/resume", post(retries::resume))
        .route("/held", get(held::show).post(held::decide))
        .route("/conflicts", get(conflicts::list))
        .route("/conflicts/one", get(conflicts::one))
        .route("/conflicts/give-back", post(conflicts::give_back))
        .route("/links", get(links::show))
        .route("/links/preview", post(links::preview))
        .route("/links/import", post(links::import))
        .route("/approvals", get(approvals::show))
        .route("/approvals/{id}", get(approvals::one))
        .route("/approvals/{id}/approve", post(approvals::approve))
        .route("/approvals/{id}/reject", post(approvals::reject))
        .route("/audit", get(audit::show))
        .route("/sign-in", get(sign_in::show).post(sign_in::enter))
        .route("/sign-out", post(sign_in::leave))
        .merge(assets::routes())
        .fallback(nothing_here)
}

/// A person with a session.
pub(super) struct Visitor {
    person: Person,
    session: SessionId,
}

impl FromRequestParts<Shared> for Visitor {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, console: &Shared) -> Result<Self, Response> {
        let session = console.sessions.of(&parts.headers);
        let known = session.and_then(|(session, token)| Some((session, console.holders.by_digest(&token)?)));
        match known {
            Some((session, (person, _))) => Ok(Self { person, session }),
            None => Err(to_sign_in(parts)),
        }
    }
}

/// Where somebody without a session goes: to the sign-in page, and from there to where they wanted to go.
fn to_sign_in(parts: &Parts) -> Response {
    // What script keeps fresh is only a part of a page.
    if parts.headers.contains_key("hx-request") {
        return (StatusCode::UNAUTHORIZED, [("hx-redirect", "/sign-in")]).into_response();
    }
    let wanted = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let wanted = if parts.method == axum::http::Method::GET { wanted } else { "/" };
    let next = url::form_urlencoded::Serializer::new(String::new()).append_pair("next", wanted).finish();
    see(&format!("/sign-in?{next}"))
}

/// Answers a form: go and look there.
fn see(path: &str) -> Response {
    // A path of ours, never another host. Browsers read `\` as `/`, and drop tabs and ends of lines before they look.
    let is_odd = |character: char| character == '\\' || character.is_control();
    let path = if path.starts_with('/') && !path.starts_with("//") && !path.contains(is_odd) { path } else { "/" };
    (StatusCode::SEE_OTHER, [(LOCATION, path), (CACHE_CONTROL, "no-store")]).into_response()
}

/// What every page has around it.
pub(super) struct Chrome {
    /// The title of the page.
    title: String,
    /// The entry of the navigation that it belongs to.
    section: &'static str,
    person: Person,
    /// What came of the form that led here.
    notice: Option<Outcome>,
    /// Acts that wait for a second person.
    waiting: usize,
}

/// Entries of the navigation.
const SECTIONS: [(&str, &str); 9] = [
    ("/", "Overview"),
    ("/accounts", "Accounts"),
    ("/letters", "Letters"),
    ("/retries", "Retries"),
    ("/held", "Held"),
    ("/conflicts", "Conflicts"),
    ("/links", "Links"),
    ("/approvals", "Approvals"),
    ("/audit", "Audit"),
];

impl Chrome {
    fn new(console: &Shared, visitor: &Visitor, section: &'static str, title: impl Into<String>) -> Self {
        let approvals = console.approvals.list(super::now());
        Self {
            title: title.into(),
            section,
            person: visitor.person.clone(),
            notice: console.sessions.take_notice(&visitor.session),
            waiting: approvals.iter().filter(|approval| approval.state == "waiting").count(),
        }
    }

    /// The entries that this person may open.
    fn sections(&self) -> Vec<(&'static str, &'static str)> {
        let may = |path: &str| path != "/audit" || self.person.role >= Role::Admin;
        SECTIONS.into_iter().filter(|(path, _)| may(path)).collect()
    }

    fn may_act(&self) -> bool {
        self.person.role >= Role::Operator
    }

    fn may_approve(&self) -> bool {
        self.person.role >= Role::Approver
    }
}

/// A page that could not be shown, or a form that was refused.
#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage {
    chrome: Chrome,
    problem: Problem,
}

fn page(page: &impl Template) -> Response {
    match page.render() {
        Ok(text) => ([(CACHE_CONTROL, "no-store")], Html(text)).into_response(),
        Err(error) => Problem::from(anyhow::Error::from(error)).into_response(),
    }
}

/// The page, or the problem as one.
fn shown<P: Template>(
    console: &Shared,
    visitor: &Visitor,
    section: &'static str,
    made: Result<P, Problem>,
) -> Response {
    match made {
        Ok(made) => page(&made),
        Err(problem) => failed(console, visitor, section, problem),
    }
}

fn failed(console: &Shared, visitor: &Visitor, section: &'static str, problem: Problem) -> Response {
    let status = problem.status;
    let chrome = Chrome::new(console, visitor, section, "That did not work");
    let mut response = page(&ProblemPage { chrome, problem });
    *response.status_mut() = status;
    response
}

/// Has an act done and leads on, to `path` or where its outcome can be followed; or shows why not.
async fn done(
    console: &Shared,
    visitor: &Visitor,
    section: &'static str,
    act: Result<super::act::Act, Problem>,
    path: &str,
) -> Response {
    let outcome = match act {
        Ok(act) => console.act(&visitor.person, act).await,
        Err(problem) => Err(problem),
    };
    told(console, visitor, section, outcome, path)
}

fn told(
    console: &Shared,
    visitor: &Visitor,
    section: &'static str,
    outcome: Result<Outcome, Problem>,
    path: &str,
) -> Response {
    match outcome {
        Ok(outcome) => {
            let path = match (&outcome.retry, outcome.waits()) {
                (Some(retry), _) => format!("/retries/{retry}"),
                (None, true) => "/approvals".to_owned(),
                (None, false) => path.to_owned(),
            };
            console.sessions.notice(&visitor.session, outcome);
            see(&path)
        }
        Err(problem) => failed(console, visitor, section, problem),
    }
}

/// What a form says.
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    /// What the field of this name says, if anything.
    fn get(&self, name: &str) -> Option<String> {
        let value = self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.trim().to_owned());
        value.filter(|value| !value.is_empty())
    }

    /// Everything that fields of this name say.
    fn all(&self, name: &str) -> Vec<String> {
        self.0
            .iter()
            .filter(|(known, value)| known == name && !value.is_empty())
            .map(|(_, value)| value.clone())
            .collect()
    }

    /// Whether a box is ticked.
    fn is(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// A number.
    fn number(&self, name: &str, what: &str) -> Result<Option<u32>, Problem> {
        let parse = |text: String| text.parse().map_err(|_| Problem::bad_request(format!("{what} is no whole number")));
        self.get(name).map(parse).transpose()
    }

    /// Text that a type parses.
    fn parsed<T: std::str::FromStr>(&self, name: &str, what: &str) -> Result<Option<T>, Problem> {
        let parse = |text: String| text.parse().map_err(|_| Problem::bad_request(format!("`{text}` is no {what}")));
        self.get(name).map(parse).transpose()
    }
}

impl<S: Sync> axum::extract::FromRequest<S> for Fields {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let is_form = request
            .headers()
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind.to_str().is_ok_and(|kind| kind.starts_with("application/x-www-form-urlencoded")));
        // A form is sent by a page, and every browser says from which.
        if !is_form || !super::edge::is_from_a_page(request.headers()) {
            return Err(Problem::cross_origin());
        }
        let longest =
            request.extensions().get().map_or(super::edge::LONGEST_BODY, |super::edge::LongestBody(bytes)| *bytes);
        let body = axum::body::to_bytes(request.into_body(), longest).await;
        let body = body.map_err(|_| Problem::too_large(longest))?;
        Ok(Self(url::form_urlencoded::parse(&body).into_owned().collect()))
    }
}

async fn nothing_here(State(console): State<Shared>, visitor: Visitor) -> Response {
    failed(&console, &visitor, "/", Problem::not_found("there is no such page"))
}

/// A text that may be missing.
fn dash(text: &Option<String>) -> &str {
    text.as_deref().unwrap_or("–")
}

/// A time for people: `2026-05-01 08:00:00 UTC`.
fn when(text: &str) -> String {
    text.replacen('T', " ", 1).replacen('Z', " UTC", 1)
}

/// A time that may be missing.
fn maybe_when(text: &Option<String>) -> String {
    text.as_deref().map_or("–".to_owned(), when)
}

/// Text as part of the query of a link.
fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// A word of the program for people: `still_failing` becomes `still failing`.
fn words(word: &str) -> String {
    word.replace('_', " ")
}
