//! Links: who is on one side only, and linking by a file.

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;
use serde::Deserialize;

use super::super::act::{Act, ImportLinks};
use super::super::api::Shared;
use super::super::links::{Imported, Missing};
use super::super::problem::Problem;
use super::{Chrome, Fields, Visitor, done, shown};
use crate::config::Role;
use crate::domain::ConnectionName;

const HERE: &str = "/links";

/// Accounts of a page.
const TOLD: usize = 500;

#[derive(Template)]
#[template(path = "links.html")]
struct LinksPage {
    chrome: Chrome,
    connections: Vec<String>,
    /// The connection that was looked at, and who is on one side only.
    missing: Option<(String, Missing)>,
}

#[derive(Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    connection: Option<ConnectionName>,
}

pub(super) async fn show(State(console): State<Shared>, visitor: Visitor, Query(asked): Query<Asked>) -> Response {
    let missing = match &asked.connection {
        None => Ok(None),
        // It costs calls of both systems.
        Some(_) if visitor.person.role < Role::Operator => Err(Problem::forbidden(Role::Operator, visitor.person.role)),
        Some(name) => {
            let missing = console.operations.missing(name, TOLD, visitor.person.values()).await;
            missing.map(|missing| Some((name.to_string(), missing))).map_err(Problem::from)
        }
    };
    let made = missing.map(|missing| LinksPage {
        chrome: Chrome::new(&console, &visitor, HERE, "Links"),
        connections: console.operations.connections().iter().map(ToString::to_string).collect(),
        missing,
    });
    shown(&console, &visitor, HERE, made)
}

#[derive(Template)]
#[template(path = "links_preview.html")]
struct PreviewPage {
    chrome: Chrome,
    ask: ImportLinks,
    imported: Imported,
}

impl PreviewPage {
    fn would_link(&self) -> u64 {
        self.imported.counts.get("would_link").copied().unwrap_or_default()
    }
}

fn ask(fields: &Fields) -> Result<ImportLinks, Problem> {
    let connection = fields.parsed("connection", "name of a connection")?;
    let connection = connection.ok_or_else(|| Problem::bad_request("choose a connection"))?;
    let csv = fields.get("csv").ok_or_else(|| Problem::bad_request("paste a table of pairs"))?;
    Ok(ImportLinks { connection, csv, check: fields.is("check") })
}

pub(super) async fn preview(State(console): State<Shared>, visitor: Visitor, fields: Fields) -> Response {
    let looked_at = async {
        visitor.person.needs(Role::Operator)?;
        let ask = ask(&fields)?;
        let imported = console.operations.preview_import(&ask).await?;
        Ok(PreviewPage { chrome: Chrome::new(&console, &visitor, HERE, "What would be linked"), ask, imported })
    };
    let made = looked_at.await;
    shown(&console, &visitor, HERE, made)
}

pub(super) async fn import(State(console): State<Shared>, visitor: Visitor, fields: Fields) -> Response {
    let act = ask(&fields).map(|ask| Act::ImportLinks { ask });
    done(&console, &visitor, HERE, act, HERE).await
}
