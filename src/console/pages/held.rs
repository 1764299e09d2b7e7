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
}

pub(super) async fn show(State(console): State<Shared>, visitor: Visitor, Query(ask): Query<HeldAsk>) -> Response {
    let made = console
        .operations
        .held(&ask, visitor.person.values())
        .await
        .map_err(Problem::from)
        .map(|list| HeldPage { chrome: Chrome::new(&console, &visitor, HERE, "Held writes"), list });
    shown(&console, &visitor, HERE, made)
}

pub(super) async fn decide(State(console): State<Shared>, visitor: Visitor, fields: Fields) -> Response {
    let act = || {
        let accounts = fields.all("account");
        if accounts.is_empty() {
            return Err(Problem::bad_request("tick at least one account"));
        }
        let verdict = match fields.get("verdict").as_deref() {
            Some("approve") => Verdict::Approved,
            Some("reject") => Verdict::Rejected,
            _ => return Err(Problem::bad_request("say whether the writes may pass")),
        };
        Ok(Act::DecideHeld { meant: HeldMeant { accounts, ..HeldMeant::default() }, verdict })
    };
    done(&console, &visitor, HERE, act(), HERE).await
}
