//! The overview: connections, how fresh they are, runs and their progress, and what waits for a person.

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::super::act::{Act, SyncNow};
use super::super::api::Shared;
use super::super::overview::{Overview, RunView};
use super::super::problem::Problem;
use super::{Chrome, Fields, Visitor, done, shown};

const HERE: &str = "/";

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage {
    chrome: Chrome,
    overview: Overview,
}

impl OverviewPage {
    fn runs(&self) -> Vec<&RunView> {
        self.overview.connections.iter().flat_map(|connection| &connection.runs).collect()
    }

    fn letters(&self) -> u64 {
        self.overview.connections.iter().map(|it| it.letters).sum::<u64>() + self.overview.other_letters
    }

    fn held(&self) -> u64 {
        self.overview.connections.iter().map(|it| it.held).sum()
    }

    fn is_paused_together(&self) -> bool {
        self.overview.pauses.iter().any(|pause| pause.connection.is_none())
    }

    fn is_paused_alone(&self, connection: &str) -> bool {
        self.overview.pauses.iter().any(|pause| pause.connection.as_deref() == Some(connection))
    }
}

pub(super) async fn show(State(console): State<Shared>, visitor: Visitor) -> Response {
    let made = console
        .operations
        .overview()
        .await
        .map_err(Problem::from)
        .map(|overview| OverviewPage { chrome: Chrome::new(&console, &visitor, HERE, "Overview"), overview });
    shown(&console, &visitor, HERE, made)
}

pub(super) async fn pause(State(console): State<Shared>, visitor: Visitor, fields: Fields) -> Response {
    let act = fields.parsed("connection", "name of a connection").map(|connection| Act::Pause { connection });
    done(&console, &visitor, HERE, act, HERE).await
}

pub(super) async fn resume(State(console): State<Shared>, visitor: Visitor, fields: Fields) -> Response {
    let act = fields.parsed("connection", "name of a connection").map(|connection| Act::Resume { connection });
    done(&console, &visitor, HERE, act, HERE).await
}

pub(super) async fn sync(State(console): State<Shared>, visitor: Visitor, fields: Fields) -> Response {
    let act = fields.parsed("connection", "name of a connection").and_then(|connection| {
        let connection = connection.ok_or_else(|| Problem::bad_request("name a connection"))?;
        Ok(Act::Sync { ask: SyncNow { connection, full: fields.is("full"), only: fields.get("only") } })
    });
    done(&console, &visitor, HERE, act, HERE).await
}
