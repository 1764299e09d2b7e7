//! What to do next: commands that exist, or that there is nothing to do.

use super::report::{LetterReport, Step};
use super::teller::Teller;
use crate::domain::explain::{NoAccount, Verdict};
use crate::domain::hold::HoldState;
use crate::domain::link::{LastWrite, WriteAnswer};
use crate::domain::rules::Leavers;
use crate::domain::{AttributePath, LetterId, Side};
use crate::store::Pause;

impl Teller<'_> {
    /// Reads the account anew, and does what follows.
    fn sync(&self, text: impl Into<String>) -> Step {
        let connection = &self.meant.connection;
        let has = |side: &Side| self.meant.accounts[*side].is_some();
        let contributes = |side: &Side| has(side) && self.rules.contributes(*side);
        let side = Side::BOTH.into_iter().find(contributes).or_else(|| Side::BOTH.into_iter().find(has));
        let only = side.and_then(|side| {
            let account = self.meant.accounts[side].as_ref()?;
            Some(format!(" --only {}:{account}", connection.systems[side]))
        });
        let command = format!("muster sync {}{} --wait", connection.name, only.unwrap_or_default());
        Step { text: text.into(), command: Some(command) }
    }

    fn full_sync(&self, text: &str) -> Step {
        let command = format!("muster sync {} --full --wait", self.meant.connection.name);
        Step { text: text.to_owned(), command: Some(command) }
    }

    pub(super) fn next(&self, letters: &[LetterReport]) -> Vec<Step> {
        let told = |text: String| vec![Step { text, command: None }];
        let nothing = || told("Nothing to do.".to_owned());
        let verdict = self.explanation.map(|explanation| &explanation.verdict);
        if !letters.is_empty() && (self.account_letter().is_some() || matches!(verdict, Some(Verdict::Refused { .. })))
        {
            return letters.iter().flat_map(again).collect();
        }
        let Some(verdict) = verdict else {
            return match self.verdict().0 {
                "unknown" | "left_alone" => nothing(),
                _ => vec![self.sync("To have it read now:")],
            };
        };
        match verdict {
            Verdict::InStep | Verdict::ConflictDecided { .. } | Verdict::Apart { .. } => {
                self.unseen().map_or_else(nothing, told)
            }
            Verdict::Behind { side, .. } => vec![self.sync(self.waiting(*side))],
            Verdict::Writing { .. } => told("Nothing to do: look again in a moment.".to_owned()),
            Verdict::Changed { .. } => vec![self.sync("The next sync takes it up. To have that now:")],
            Verdict::Unread { .. } => vec![self.sync("The next sync reads it. To have that now:")],
            Verdict::Missing { .. } => vec![self.full_sync("A full sync looks at every account:")],
            Verdict::Gone { back: true, .. } => vec![self.sync("The next sync takes it up. To have that now:")],
            Verdict::Gone { side, .. } => {
                let other = self.words.name(side.other());
                let active = self.rules.attributes.get(&AttributePath::active());
                let follows = self.rules.leavers == Leavers::Deactivate
                    && active.is_some_and(|rule| rule.flow.contributes(*side));
                told(if follows {
                    format!("Nothing to do: by the rules the account in {other} is deactivated.")
                } else {
                    format!(
                        "By the rules nothing follows for the account in {other}. Should it end as well, end it there."
                    )
                })
            }
            Verdict::Leaving { side, stop: Some(stop), .. } => {
                let is_rejected = matches!(stop.state(self.words.now), HoldState::Rejected | HoldState::Expired);
                self.after_stop(*side, stop, is_rejected)
            }
            Verdict::Leaving { side, .. } => vec![self.sync(self.waiting(*side))],
            Verdict::Parted { side } => told(format!(
                "Nothing to do: should the account in {} come back, it is linked or created again by the rules.",
                self.words.name(side.other())
            )),
            Verdict::OnlyHere { side, why: NoAccount::NotCreated } => {
                let (here, other) = (self.words.name(*side), self.words.name(side.other()));
                told(format!(
                    "Let accounts be created (create = \"automatic\" for this connection), or create one in {other} \
                     that carries the id of the one in {here} as its external id."
                ))
            }
            Verdict::OnlyHere { .. } => nothing(),
            Verdict::OutOfScope { side } => {
                let scope = self.meant.connection.scope.as_ref().map(ToString::to_string).unwrap_or_default();
                told(format!(
                    "Should it be kept in step again, let the account in {} fit the scope: {scope}",
                    self.words.name(*side)
                ))
            }
            Verdict::Held { side, stop: Some(stop), .. } => self.after_stop(*side, stop, false),
            Verdict::Rejected { side, stop, .. } => self.after_stop(*side, stop, true),
            Verdict::Held { .. } => vec![self.sync(
                "Give both sides the value that is right, or one of them a new one; the next sync takes it up. To have \
                 that now:",
            )],
            Verdict::Refused { side } => {
                let text = "Nothing is sent before its values or the rules change. To send it again all the same:";
                let letter =
                    self.meant.link.as_ref().map(|link| LetterId::of_link(&self.meant.connection.name, *side, link.id));
                let command = letter.map(|letter| format!("muster dead retry '{letter}'"));
                vec![Step { text: text.to_owned(), command }]
            }
        }
    }

    /// What an account lacks that is in step and shows nothing all the same (R50).
    fn unseen(&self) -> Option<String> {
        let link = self.meant.link.as_ref()?;
        let unseen = |side: &Side| link.sides[*side].account.is_some() && self.rules.is_unseen(*side, &link.registers);
        let side = Side::BOTH.into_iter().find(unseen)?;
        let path = self.rules.shown_by[side].as_ref()?;
        let (here, other) = (self.words.name(side), self.words.name(side.other()));
        Some(format!(
            "The account in {here} shows nothing until it has {path}, and the one in {other} gives it none: give it a \
             value there, or list the value that it has under `values` of the attribute."
        ))
    }

    /// Why a side that is behind was not written yet.
    fn waiting(&self, side: Side) -> String {
        let name = self.words.name(side);
        if let Some(Pause { connection, since, by }) = &self.known.pause {
            let resume = connection.as_ref().map_or("--all", |name| name.as_str());
            return format!(
                "Paused since {since} by {by}: `muster resume {resume}` lets it go on. To look again then:"
            );
        }
        if let Some(until) = self.known.systems[side].not_before {
            let reason = self.known.systems[side].reason.as_deref().unwrap_or("it asked for that");
            return format!("{name} is left alone until {until} ({reason}), then it goes on by itself. To look again:");
        }
        let failed = |write: &LastWrite| matches!(write.answer, WriteAnswer::Failed(_));
        if let Some(idle) = &self.known.idle {
            return format!("{idle}, so nothing is written. To have it done now:");
        }
        if self.state(side).and_then(|state| state.last_write.as_ref()).is_some_and(failed) {
            return "It is tried again by itself. To have that now:".to_owned();
        }
        "It is written by itself. To have that now:".to_owned()
    }
}

/// What can be done about an open letter.
fn again(letter: &LetterReport) -> [Step; 2] {
    let text = match &letter.remedy {
        Some(remedy) => format!("{remedy} Then:"),
        None => "When the cause is gone:".to_owned(),
    };
    let id = &letter.letter;
    [
        Step { text, command: Some(format!("muster dead retry '{id}'")) },
        Step {
            text: "If it shall stay as it is:".to_owned(),
            command: Some(format!("muster dead discard '{id}' --reason accepted")),
        },
    ]
}
