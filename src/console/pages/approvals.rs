//! Acts that wait for a second person.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;

use super::super::api::Shared;
use super::super::approvals::{Approval, ApprovalPage};
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

#[derive(Template)]
#[template(path = "approval.html")]
struct OnePage {
    chrome: Chrome,
    page: ApprovalPage,
}

pub(super) async fn one(State(console): State<Shared>, visitor: Visitor, Path(id): Path<String>) -> Response {
    let found = console.approval(&visitor.person, &id).await;
    let made = found.map(|page| OnePage { chrome: Chrome::new(&console, &visitor, HERE, "An act that waits"), page });
    shown(&console, &visitor, HERE, made)
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
