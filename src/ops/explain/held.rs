//! What guards have stopped, in words: by which of them, since when, who decided what, and what to do next.

use super::report::Step;
use super::teller::Teller;
use super::words::list;
use crate::domain::guard::Risk;
use crate::domain::hold::{HoldState, Stop, Verdict, Why};
use crate::domain::{AttributePath, Side};

impl Teller<'_> {
    /// The words for a write to `side` that a guard has stopped.
    pub(super) fn stopped(&self, side: Side, paths: &[AttributePath], stop: &Stop) -> (&'static str, String) {
        let (name, since) = (self.words.name(side), self.words.when_here(stop.since));
        let what = match stop.risk {
            Some(Risk::Create) => format!("the account is not created in {name}"),
            Some(Risk::Delete) => format!("the account is not deleted in {name}"),
            Some(Risk::Relink) if paths.is_empty() => "the link does not end".to_owned(),
            Some(Risk::Deactivate) if paths.is_empty() => format!("the account is not removed from {name}"),
            _ => {
                let are = if paths.len() == 1 { "is" } else { "are" };
                format!("{} {are} not written to {name}", list(paths))
            }
        };
        let why = match (stop.why, stop.risk) {
            (Why::Protected, _) => "the account is protected".to_owned(),
            (Why::OverBudget, Some(risk)) => {
                let budget = self.rules.budgets.of(risk);
                let budget = budget.map_or("off by now".to_owned(), |budget| format!("\"{budget}\""));
                format!("the budget of {risk} ({budget}) was used up")
            }
            (Why::OverBudget, None) => "a budget was used up".to_owned(),
            (Why::Frozen, _) => {
                let (a, b) = (self.words.name(Side::A), self.words.name(Side::B));
                format!("it went to and fro between {a} and {b} too often and is frozen")
            }
        };
        match &stop.ruling {
            Some(ruling) if ruling.verdict == Verdict::Rejected => {
                let when = self.words.when_here(ruling.at);
                ("rejected", format!("{what}, because {why}, and {} rejected it {when}", ruling.by))
            }
            Some(_) => ("held", format!("{what}, because {why}")),
            None if stop.state(self.words.now) == HoldState::Expired => {
                ("rejected", format!("{what}, because {why}, and nobody decided about it since {since}"))
            }
            None => ("held", format!("waits for a person, held {since}: {what}, because {why}")),
        }
    }

    /// What to do about it.
    pub(super) fn after_stop(&self, side: Side, stop: &Stop, is_rejected: bool) -> Vec<Step> {
        let accounts = &self.meant.accounts;
        let named = accounts[side].as_ref().map(|account| (side, account));
        let named = named.or_else(|| accounts[side.other()].as_ref().map(|account| (side.other(), account)));
        let command = |verb: &str| {
            let (side, account) = named?;
            Some(format!("muster held {verb} {}:{account}", self.meant.connection.systems[side]))
        };
        let step = |text: &str, verb| Step { text: text.to_owned(), command: command(verb) };
        match (is_rejected, stop.why) {
            (true, _) => vec![step(
                "Nothing to do: it stays so until the source changes the value. To have it written all the same:",
                "approve --rejected",
            )],
            (false, Why::Protected) => vec![
                step("Should it be written all the same, take the account out of `protected`, and then:", "approve"),
                step("If it shall stay as it is:", "reject"),
            ],
            (false, Why::Frozen) => vec![
                step(
                    "Find out what changes it in both systems and stop one of them. An edit after a quiet time ends the \
                     freeze; to let the value flow now:",
                    "approve",
                ),
                step("If each side shall keep its own:", "reject"),
            ],
            (false, Why::OverBudget) => {
                vec![step("If it is meant:", "approve"), step("If it is a mistake:", "reject")]
            }
        }
    }
}
