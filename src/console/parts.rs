//! What an act is about, one by one, for whoever is to approve it: they decide about what they see.

use std::collections::BTreeSet;

use super::act::Act;
use super::approvals::Part;
use super::letters::LettersMeant;
use super::operations::Over;
use crate::broker::Broker;
use crate::ops::conflicts;
use crate::ops::dead::Letters;
use crate::ops::explain::words::quoted;
use crate::ops::held;
use crate::store::Store;

impl<B: Broker, S: Store> Over<B, S> {
    /// See [`Operations::parts`](super::operations::Operations::parts).
    pub(super) async fn parts_of(&self, act: &Act, limit: usize) -> anyhow::Result<Vec<Part>> {
        match act {
            Act::Retry { meant, .. } | Act::Discard { meant, .. } => self.letters_of(meant, limit).await,
            Act::DecideHeld { meant, .. } => self.held_of(meant, limit).await,
            Act::GiveBack { ask } => {
                let mut parts = Vec::new();
                for id in ask.conflicts.iter().take(limit) {
                    let conflict = conflicts::find(&self.pipeline, id).await?;
                    let entry = &conflict.kept.entry;
                    let value = quoted(entry.value.as_ref(), false);
                    let system = &conflict.connection.systems[entry.side];
                    let text = format!("{} = {value} in {system}, of {}", entry.attribute, conflict.accounts());
                    parts.push(Part { subject: conflict.name(), text });
                }
                Ok(parts)
            }
            Act::ImportLinks { ask } => {
                let line = |(number, text): (usize, &str)| Part {
                    subject: format!("line {}", number + 1),
                    text: text.to_owned(),
                };
                Ok(ask.csv.lines().enumerate().take(limit).map(line).collect())
            }
            Act::StopRetry { .. }
            | Act::ResumeRetry { .. }
            | Act::Pause { .. }
            | Act::Resume { .. }
            | Act::Sync { .. } => Ok(Vec::new()),
        }
    }

    async fn letters_of(&self, meant: &LettersMeant, limit: usize) -> anyhow::Result<Vec<Part>> {
        let which = meant.parse()?.which(&self.pipeline).await?;
        let letters = Letters::of(&self.pipeline, &which, None).await?.take(&self.pipeline, limit).await?;
        let part = |letter: crate::domain::DeadLetter| {
            let who = letter.account.as_ref().or(letter.partner.as_ref());
            let who = who.map(|account| format!("{account}: ")).unwrap_or_default();
            Part { subject: letter.id.to_string(), text: format!("{who}{}", letter.message) }
        };
        Ok(letters.into_iter().map(part).collect())
    }

    async fn held_of(&self, meant: &super::act::HeldMeant, limit: usize) -> anyhow::Result<Vec<Part>> {
        let filter = meant.decision()?.filter;
        let items = held::gather(&self.pipeline, &filter).await?;
        let found: BTreeSet<_> = items.iter().map(held::Item::key).collect();
        let gone = filter.writes.iter().filter(|key| !found.contains(key)).map(|key| Part {
            subject: key.to_string(),
            text: "is not held any more as it was when this was asked for, and is left as it is".to_owned(),
        });
        let parts = items.iter().map(|item| Part { subject: item.name(), text: item.what() });
        Ok(parts.chain(gone).take(limit).collect())
    }
}
