//! Conflicts: values that lost, and giving them back.

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;
use serde::Deserialize;

use super::super::act::{Act, GiveBack};
use super::super::api::Shared;
use super::super::conflicts::{ConflictAsk, ConflictList, ConflictPage};
use super::super::problem::Problem;
use super::{Chrome, Fields, Visitor, done, encoded, shown};

const HERE: &str = "/conflicts";

#[derive(Template)]
#[template(path = "conflicts.html")]
struct ListPage {
    chrome: Chrome,
    list: ConflictList,
    ask: ConflictAsk,
}

#[derive(Deserialize)]
pub(super) struct ListAsk {
    #[serde(default)]
    account: Option<String>,
    #[serde(default)]
    attribute: Option<String>,
    #[serde(default)]
    all: Option<String>,
}

pub(super) async fn list(State(console): State<Shared>, visitor: Visitor, Query(asked): Query<ListAsk>) -> Response {
    let ListAsk { account, attribute, all } = asked;
    let ask = ConflictAsk { account, attribute, all: all.is_some(), ..ConflictAsk::default() };
    let found = console.operations.conflicts(&ask, visitor.person.values()).await.map_err(Problem::from);
    let made = found.map(|list| ListPage { chrome: Chrome::new(&console, &visitor, HERE, "Conflicts"), list, ask });
    shown(&console, &visitor, HERE, made)
}

#[derive(Template)]
#[template(path = "conflict.html")]
struct OnePage {
    chrome: Chrome,
    page: ConflictPage,
}

#[derive(Deserialize)]
pub(super) struct OneAsk {
    id: String,
}

pub(super) async fn one(State(console): State<Shared>, visitor: Visitor, Query(asked): Query<OneAsk>) -> Response {
    let found = console.operations.conflict(&asked.id, visitor.person.values()).await.map_err(Problem::named);
    let made = found.map(|page| OnePage { chrome: Chrome::new(&console, &visitor, HERE, "Conflict"), page });
    shown(&console, &visitor, HERE, made)
}

pub(super) async fn give_back(State(console): State<Shared>, visitor: Visitor, fields: Fields) -> Response {
    let conflicts = fields.all("conflict");
    let path = match conflicts.as_slice() {
        [one] => format!("/conflicts/one?id={}", encoded(one)),
        _ => HERE.to_owned(),
    };
    let ask = GiveBack { conflicts, pin: fields.is("pin"), force: fields.is("force") };
    done(&console, &visitor, HERE, Ok(Act::GiveBack { ask }), &path).await
}
