//! Values that have no form on the other side. The rest of the account flows; a letter says which attribute does not.

use super::Desk;
use crate::domain::resolve::Resolution;
use crate::domain::{Change, ChangeOutcome, Code, DeadLetter};

impl Desk<'_> {
    /// The letter about the attributes of an account that the link cannot keep. A change of which nothing else was news
    /// counts as refused. An account out of scope has none, since nothing of it flows.
    pub(super) fn flawed(
        &self,
        change: &Change,
        resolution: &mut Resolution,
        fits: Option<bool>,
    ) -> Option<DeadLetter> {
        let (first, flaw) = resolution.flaws.first().filter(|_| fits != Some(false))?;
        if resolution.outcome == ChangeOutcome::Unchanged {
            resolution.outcome = ChangeOutcome::Refused;
        }
        let sentences = resolution.flaws.iter().map(|(path, flaw)| match flaw.at {
            Some(_) => format!("the expression of attribute {path} {flaw}"),
            None => format!("attribute {path} {flaw}"),
        });
        let message = format!(
            "{}; everything else of the account flows. Correct the account there or the configuration, and retry the letter",
            sentences.collect::<Vec<_>>().join("; ")
        );
        let account = change.account().cloned();
        Some(self.letter(change, account, Code::known(flaw.code), Some(first.clone()), message))
    }
}
