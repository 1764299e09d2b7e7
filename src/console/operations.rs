//! What people do, without the types of broker and store: pages and API are one code for both modes. Each subject answers
//! plain data for a person or a program; [`Over`] gets it from the functions that the command line calls too.

use std::sync::Arc;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::access::Values;
use super::accounts::{AccountAsk, Explained, Found};
use super::act::{Act, ImportLinks, Outcome};
use super::approvals::Part;
use super::audit::ActView;
use super::conflicts::{ConflictAsk, ConflictList, ConflictPage};
use super::held::{HeldAsk, HeldList};
use super::letters::{Cause, LetterAsk, LetterList, LetterPage, LettersMeant, PageAsk, Preview};
use super::links::{Imported, Lately, Missing};
use super::overview::Overview;
use super::retries::{Retries, Retry};
use crate::broker::Broker;
use crate::config::Config;
use crate::domain::ConnectionName;
use crate::ops::connect::Mode;
use crate::stages::Pipeline;
use crate::store::Store;

/// What pages and API ask. Errors of the person's are [`UsageError`](crate::ops::sync::UsageError)s.
#[async_trait]
pub trait Operations: Send + Sync + 'static {
    /// How everything stands.
    async fn overview(&self) -> anyhow::Result<Overview>;
    /// The connections that there are, with the systems of each.
    fn connections(&self) -> Vec<ConnectionName>;
    /// Who is meant by a text.
    async fn accounts(&self, ask: &AccountAsk) -> anyhow::Result<Vec<Found>>;
    /// Why an account is as it is.
    async fn explain(&self, ask: &AccountAsk, values: Values) -> anyhow::Result<Vec<Explained>>;
    /// Open letters by cause.
    async fn causes(&self, ask: &LetterAsk) -> anyhow::Result<Vec<Cause>>;
    /// A page of open letters.
    async fn letters(&self, ask: &LetterAsk, page: &PageAsk) -> anyhow::Result<LetterList>;
    /// One letter whole; `live`: both systems are asked.
    async fn letter(&self, id: &str, live: bool, values: Values) -> anyhow::Result<LetterPage>;
    /// What would come of sending letters again.
    async fn preview(&self, meant: &LettersMeant, limit: usize, values: Values) -> anyhow::Result<Preview>;
    /// Retries of many letters, the latest first.
    async fn retries(&self) -> anyhow::Result<Vec<Retry>>;
    /// What is held.
    async fn held(&self, ask: &HeldAsk, values: Values) -> anyhow::Result<HeldList>;
    /// Values that lost.
    async fn conflicts(&self, ask: &ConflictAsk, values: Values) -> anyhow::Result<ConflictList>;
    /// One of them, with what both sides hold now.
    async fn conflict(&self, id: &str, values: Values) -> anyhow::Result<ConflictPage>;
    /// Who is on one side only; at most `limit` of them are told.
    async fn missing(&self, connection: &ConnectionName, limit: usize, values: Values) -> anyhow::Result<Missing>;
    /// What would come of an import.
    async fn preview_import(&self, ask: &ImportLinks) -> anyhow::Result<Imported>;
    /// What people did, the latest first.
    async fn audit(&self, limit: usize) -> anyhow::Result<Vec<ActView>>;
    /// The act as it is meant now: what joins its filter later is not part of it. Nothing is changed. An act that cannot be
    /// understood is an error.
    async fn fixed(&self, act: Act) -> anyhow::Result<Act>;
    /// What an act is about, one by one, with values; at most `limit` of it.
    async fn parts(&self, act: &Act, limit: usize) -> anyhow::Result<Vec<Part>>;
    /// Does an act in the name of a person. What it was and who did it is audited here.
    async fn act(&self, act: &Act, by: &str) -> anyhow::Result<Outcome>;
}

/// The operations over a pipeline.
pub struct Over<B, S> {
    pub(super) pipeline: Pipeline<B, S>,
    pub(super) mode: Mode,
    pub(super) config: Config,
    pub(super) retries: Arc<Retries>,
    pub(super) lately: Lately,
    /// Cancelled when the process stops: retries note how far they have come.
    pub(super) stop: CancellationToken,
}

impl<B: Broker, S: Store> Over<B, S> {
    /// Over this pipeline, until `stop`.
    pub fn new(pipeline: &Pipeline<B, S>, mode: &Mode, config: &Config, stop: CancellationToken) -> Self {
        let (pipeline, mode, config) = (pipeline.clone(), mode.clone(), config.clone());
        Self { pipeline, mode, config, retries: Arc::default(), lately: Lately::default(), stop }
    }
}

#[async_trait]
impl<B: Broker, S: Store> Operations for Over<B, S> {
    async fn overview(&self) -> anyhow::Result<Overview> {
        self.all_of_it().await
    }

    fn connections(&self) -> Vec<ConnectionName> {
        self.pipeline.connections.keys().cloned().collect()
    }

    async fn accounts(&self, ask: &AccountAsk) -> anyhow::Result<Vec<Found>> {
        self.find_accounts(ask).await
    }

    async fn explain(&self, ask: &AccountAsk, values: Values) -> anyhow::Result<Vec<Explained>> {
        self.explain_account(ask, values).await
    }

    async fn causes(&self, ask: &LetterAsk) -> anyhow::Result<Vec<Cause>> {
        self.letter_causes(ask).await
    }

    async fn letters(&self, ask: &LetterAsk, page: &PageAsk) -> anyhow::Result<LetterList> {
        self.letter_list(ask, page).await
    }

    async fn letter(&self, id: &str, live: bool, values: Values) -> anyhow::Result<LetterPage> {
        self.letter_page(id, live, values).await
    }

    async fn preview(&self, meant: &LettersMeant, limit: usize, values: Values) -> anyhow::Result<Preview> {
        self.letter_preview(meant, limit, values).await
    }

    async fn retries(&self) -> anyhow::Result<Vec<Retry>> {
        self.retry_list().await
    }

    async fn held(&self, ask: &HeldAsk, values: Values) -> anyhow::Result<HeldList> {
        self.held_list(ask, values).await
    }

    async fn conflicts(&self, ask: &ConflictAsk, values: Values) -> anyhow::Result<ConflictList> {
        self.conflict_list(ask, values).await
    }

    async fn conflict(&self, id: &str, values: Values) -> anyhow::Result<ConflictPage> {
        self.conflict_page(id, values).await
    }

    async fn missing(&self, connection: &ConnectionName, limit: usize, values: Values) -> anyhow::Result<Missing> {
        self.missing_links(connection, limit, values).await
    }

    async fn preview_import(&self, ask: &ImportLinks) -> anyhow::Result<Imported> {
        self.import(ask, true).await
    }

    async fn audit(&self, limit: usize) -> anyhow::Result<Vec<ActView>> {
        self.acts(limit).await
    }

    async fn fixed(&self, act: Act) -> anyhow::Result<Act> {
        self.fix_act(act).await
    }

    async fn parts(&self, act: &Act, limit: usize) -> anyhow::Result<Vec<Part>> {
        self.parts_of(act, limit).await
    }

    async fn act(&self, act: &Act, by: &str) -> anyhow::Result<Outcome> {
        self.do_act(act, by).await
    }
}
