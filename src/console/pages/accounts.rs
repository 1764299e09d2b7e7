//! Accounts: search, and why one is as it is.

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;
use serde::Deserialize;

use super::super::accounts::{AccountAsk, Explained};
use super::super::api::Shared;
use super::super::problem::Problem;
use super::{Chrome, Visitor, shown};

const HERE: &str = "/accounts";

#[derive(Template)]
#[template(path = "accounts.html")]
struct AccountsPage {
    chrome: Chrome,
    account: String,
    /// What there is to say; empty before anybody asked.
    explained: Vec<Explained>,
    /// Why nothing was found.
    problem: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    account: String,
}

pub(super) async fn show(State(console): State<Shared>, visitor: Visitor, Query(asked): Query<Asked>) -> Response {
    let account = asked.account.trim().to_owned();
    let ask = AccountAsk { account: account.clone(), ..AccountAsk::default() };
    let values = visitor.person.values();
    let explained = match account.is_empty() {
        true => Ok(Vec::new()),
        false => console.operations.explain(&ask, values).await.map_err(Problem::named),
    };
    let (explained, problem) = match explained {
        Ok(explained) => (explained, None),
        // A mistyped name is no failure of the page.
        Err(problem) if problem.status.is_client_error() => (Vec::new(), Some(problem.told.message)),
        Err(problem) => return super::failed(&console, &visitor, HERE, problem),
    };
    let title = if account.is_empty() { "Accounts".to_owned() } else { account.clone() };
    let chrome = Chrome::new(&console, &visitor, HERE, title);
    shown(&console, &visitor, HERE, Ok(AccountsPage { chrome, account, explained, problem }))
}
