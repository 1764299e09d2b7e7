//! What people did.

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::super::api::Shared;
use super::super::audit::ActView;
use super::super::problem::Problem;
use super::{Chrome, Visitor, shown};
use crate::config::Role;

const HERE: &str = "/audit";

/// Acts of a page.
const TOLD: usize = 200;

#[derive(Template)]
#[template(path = "audit.html")]
struct AuditPage {
    chrome: Chrome,
    acts: Vec<ActView>,
}

pub(super) async fn show(State(console): State<Shared>, visitor: Visitor) -> Response {
    let looked_at = async {
        visitor.person.needs(Role::Admin)?;
        let acts = console.operations.audit(TOLD).await.map_err(Problem::from)?;
        Ok(AuditPage { chrome: Chrome::new(&console, &visitor, HERE, "Audit"), acts })
    };
    let made = looked_at.await;
    shown(&console, &visitor, HERE, made)
}
