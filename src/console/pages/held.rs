//! Held writes: what a guard has stopped, let pass or refused.

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;

use super::super::act::{Act, HeldMeant};
use super::super::api::Shared;
use super::super::held::{HeldAsk, HeldList};
use super::super::problem::Problem;
use super::{Chrome, Fields, Visitor, done, shown};
use crate::domain::hold::Verdict;

const HERE: &str = "/held";

#[derive(Template)]
#[template(path = "held.html")]
struct HeldPage {
    chrome: Chrome,
    list: HeldList,
    /// Whether what was rejected is listed, too.
    rejected: bool,
}

pub(super) async fn show(State(console): State<Shared>, visitor: Visitor, Query(ask): Query<HeldAsk>) -> Response {
    let made = console.operations.held(&ask, visitor.person.values()).await.map_err(Problem::from).map(|list| {
        HeldPage { chrome: Chrome::new(&console, &visitor, HERE, "Held writes"), list, rejected: ask.rejected }
    });
    shown(&console, &visitor, HERE, made)
}

pub(super) async fn decide(State(console): State<Shared>, visitor: Visitor, fields: Fields) -> Response {
    let act = || {
        let writes = fields.all("write");
        if writes.is_empty() {
            return Err(Problem::bad_request("tick at least one write"));
        }
        let verdict = match fields.get("verdict").as_deref() {
            Some("approve") => Verdict::Approved,
            Some("reject") => Verdict::Rejected,
            _ => return Err(Problem::bad_request("say whether the writes may pass")),
        };
        let rejected = fields.get("rejected").is_some();
        Ok(Act::DecideHeld { meant: HeldMeant { writes, rejected, ..HeldMeant::default() }, verdict })
    };
    done(&console, &visitor, HERE, act(), HERE).await
}
