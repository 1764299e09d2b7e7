//! Acts that wait for a second person.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;

use super::super::api::Shared;
use super::super::approvals::Approval;
use super::{Chrome, Fields, Visitor, shown, told, words};
use crate::config::ActKind;

const HERE: &str = "/approvals";

#[derive(Template)]
#[template(path = "approvals.html")]
struct ApprovalsPage {
    chrome: Chrome,
    approvals: Vec<Approval>,
    /// Acts that need two persons, in words.
    two_person: Vec<String>,
}

pub(super) async fn show(State(console): State<Shared>, visitor: Visitor) -> Response {
    let made = ApprovalsPage {
        chrome: Chrome::new(&console, &visitor, HERE, "Approvals"),
        approvals: console.approvals.list(super::super::now()),
        two_person: console.two_person.iter().map(|kind: &ActKind| words(kind.as_str())).collect(),
    };
    shown(&console, &visitor, HERE, Ok(made))
}

pub(super) async fn approve(
    State(console): State<Shared>,
    visitor: Visitor,
    Path(id): Path<String>,
    _: Fields,
) -> Response {
    let outcome = console.approve(&visitor.person, &id).await;
    told(&console, &visitor, HERE, outcome, HERE)
}

pub(super) async fn reject(
    State(console): State<Shared>,
    visitor: Visitor,
    Path(id): Path<String>,
    _: Fields,
) -> Response {
    let outcome = console.reject(&visitor.person, &id);
    told(&console, &visitor, HERE, outcome, HERE)
}
