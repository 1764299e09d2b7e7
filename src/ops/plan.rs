//! `muster plan`: what a sync would change, and why, without changing anything.
//!
//! It is no second opinion: the pipeline itself runs, on a copy of what the store holds, with systems that are read
//! and whose writes are only noted. The store is asked and never told: no epoch, no lease, no request, no letter. Beside
//! running workers it is a picture of the moment at which it was made.

use tokio_util::sync::CancellationToken;

use super::connect::{self, Connections, Systems};
use super::exit::Exit;
use super::output::Form;
use super::sync::UsageError;
use crate::config::{Config, Infrastructure};
use crate::database::Database;
use crate::domain::ConnectionName;
use crate::store::Store;
use crate::store::embedded::EmbeddedStore;

mod dry;
mod meeting;
mod page;
mod planned;
mod reasons;
mod report;

/// What is asked.
#[derive(Debug, Clone)]
pub struct Ask {
    /// The connection; `None`: all of them.
    pub connection: Option<ConnectionName>,
    /// Every account of both sides.
    pub full: bool,
    /// Accounts to show at most.
    pub limit: Option<usize>,
}

/// Accounts that a page at a terminal shows where nobody says how many.
const SHOWN: usize = 50;

/// Plans, and prints the plan.
pub async fn run(config: &Config, ask: &Ask, stop: CancellationToken, form: Form) -> anyhow::Result<Exit> {
    let systems = connect::systems(config)?;
    let connections = connect::connections(config, &systems)?;
    if let Some(name) = ask.connection.as_ref().filter(|name| !connections.contains_key(*name)) {
        let known = connections.keys().map(ConnectionName::as_str).collect::<Vec<_>>().join(", ");
        return Err(UsageError::new(format!("there is no connection {name}; the configuration has: {known}")).into());
    }
    let with = With { config, systems: &systems, connections: &connections, ask, stop, form };
    match &config.infrastructure {
        Infrastructure::Servers { store, .. } => with.plan(Some((&connect::redis(store)?, false))).await,
        // A file that is not there holds nothing, and looking must not make it.
        Infrastructure::File { path } if !std::fs::metadata(path).is_ok_and(|file| file.len() > 0) => {
            with.plan(None::<(&EmbeddedStore, bool)>).await
        }
        Infrastructure::File { path } => {
            let database = Database::open(path)?;
            let (store, is_other) = EmbeddedStore::look(&database).await?;
            let exit = with.plan(Some((&store, is_other))).await;
            drop(store);
            database.close().await;
            exit
        }
    }
}

/// What a plan is made with.
struct With<'w> {
    config: &'w Config,
    systems: &'w Systems,
    connections: &'w Connections,
    ask: &'w Ask,
    stop: CancellationToken,
    form: Form,
}

impl With<'_> {
    async fn plan<S: Store>(&self, source: Option<(&S, bool)>) -> anyhow::Result<Exit> {
        let mut exits = Vec::new();
        for connection in self.connections.values() {
            if self.ask.connection.as_ref().is_none_or(|name| *name == connection.name) {
                let dry = dry::Dry::of(self.config, self.systems, connection, source).await?;
                let meeting = dry.meet(self.ask.full, &self.stop).await?;
                let run = dry.run(self.ask.full, &self.stop, self.form).await?;
                let report = report::Report::of(&dry, meeting, &run, source.map(|(source, _)| source)).await?;
                match self.form {
                    Form::Json => page::objects(&report, self.ask.limit),
                    Form::Text => page::print(&report, self.ask.limit, !exits.is_empty()),
                }
                exits.push(report.exit());
            }
        }
        let first = [Exit::Failed, Exit::Changes, Exit::Attention].into_iter().find(|exit| exits.contains(exit));
        Ok(first.unwrap_or(Exit::Done))
    }
}
