//! Retries of letters: how far they are, stopping them and carrying them on.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;

use super::super::act::Act;
use super::super::api::Shared;
use super::super::problem::Problem;
use super::super::retries::Retry;
use super::{Chrome, Fields, Visitor, done, shown};

const HERE: &str = "/retries";

#[derive(Template)]
#[template(path = "retries.html")]
struct ListPage {
    chrome: Chrome,
    retries: Vec<Retry>,
}

pub(super) async fn list(State(console): State<Shared>, visitor: Visitor) -> Response {
    let made = console
        .operations
        .retries()
        .await
        .map_err(Problem::from)
        .map(|retries| ListPage { chrome: Chrome::new(&console, &visitor, HERE, "Retries"), retries });
    shown(&console, &visitor, HERE, made)
}

#[derive(Template)]
#[template(path = "retry.html")]
struct OnePage {
    chrome: Chrome,
    retry: Retry,
}

pub(super) async fn one(State(console): State<Shared>, visitor: Visitor, Path(id): Path<String>) -> Response {
    let made = console
        .retry(&id)
        .await
        .map(|retry| OnePage { chrome: Chrome::new(&console, &visitor, HERE, format!("Retry {id}")), retry });
    shown(&console, &visitor, HERE, made)
}

pub(super) async fn stop(
    State(console): State<Shared>,
    visitor: Visitor,
    Path(id): Path<String>,
    _: Fields,
) -> Response {
    let path = format!("/retries/{id}");
    done(&console, &visitor, HERE, Ok(Act::StopRetry { id }), &path).await
}

pub(super) async fn resume(
    State(console): State<Shared>,
    visitor: Visitor,
    Path(id): Path<String>,
    _: Fields,
) -> Response {
    let path = format!("/retries/{id}");
    done(&console, &visitor, HERE, Ok(Act::ResumeRetry { id }), &path).await
}
