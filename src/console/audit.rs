//! What people did, for a person and a program.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::operations::Over;
use crate::broker::Broker;
use crate::domain::audit::Outcome;
use crate::ops::audit;
use crate::store::Store;

/// An act of a person.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ActView {
    /// Its number in the log of acts.
    pub act: u64,
    /// When it began.
    pub begun_at: String,
    /// When it ended; absent while it is under way, or if it was killed.
    pub ended_at: Option<String>,
    /// Who.
    pub by: String,
    /// Which way they came: `cli` or `api`.
    pub door: String,
    /// What was done, such as `dead.retry`.
    pub verb: String,
    /// What it was about, and why, in words.
    pub about: String,
    /// `begun`, `done`, `attention`, `refused` or `failed`.
    pub outcome: String,
    /// What it came to, in words.
    pub came_to: String,
    /// How much was done.
    pub counts: BTreeMap<String, u64>,
}

impl<B: Broker, S: Store> Over<B, S> {
    pub(super) async fn acts(&self, limit: usize) -> anyhow::Result<Vec<ActView>> {
        let acts = audit::latest(&self.pipeline.store, limit).await?;
        let view = |act: audit::Told| {
            let outcome = act.ended.as_ref().map_or(Outcome::Begun, |ended| ended.outcome);
            ActView {
                act: act.begun.number,
                begun_at: act.begun.at.to_string(),
                ended_at: act.ended.as_ref().map(|ended| ended.at.to_string()),
                by: act.begun.by.clone(),
                door: act.begun.door.as_str().to_owned(),
                verb: act.begun.verb.to_string(),
                about: act.about(),
                outcome: outcome.as_str().to_owned(),
                came_to: act.end(),
                counts: act.ended.map(|ended| ended.counts).unwrap_or_default(),
            }
        };
        Ok(acts.into_iter().map(view).collect())
    }
}
