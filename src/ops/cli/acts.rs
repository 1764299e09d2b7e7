//! Which commands are acts of people, to be noted in the log of acts: those that change something.
//!
//! `muster run` and the workers are none: what they do follows from the configuration. Nor are commands that only read,
//! that only try, or that touch nothing but files of whoever runs them (`init`, `backup`).

use super::{Command, HeldCommand, HeldFilter};
use crate::domain::audit::{About, Act, Verb};

impl Command {
    /// The act that this command is, if it is one.
    pub(super) fn act(&self) -> Option<Act> {
        match self {
            Self::Demo { .. }
            | Self::Init { .. }
            | Self::Check { .. }
            | Self::Plan { .. }
            | Self::Replay { .. }
            | Self::Run
            | Self::Status
            | Self::Explain { .. }
            | Self::Map { .. }
            | Self::Audit { .. }
            | Self::Forget { dry_run: true, .. }
            | Self::Undo { dry_run: true, .. }
            | Self::Backup { .. }
            // What is asked of it is noted as it is asked.
            | Self::Console(_)
            | Self::Token { .. }
            | Self::Openapi
            | Self::Bench(_)
            | Self::Simulate(_)
            | Self::ConfigSchema => None,
            Self::Sync { connection, only, full, wait: _ } => {
                let about = About::connection(Some(connection)).accounts(only).flag("full", *full);
                Some(Act::new(Verb::Sync, about))
            }
            Self::Undo { run, connection, dry_run: _, deactivate_created, wait: _ } => {
                let about = About::connection(connection.as_ref())
                    .option("run", Some(run))
                    .flag("deactivate_created", *deactivate_created);
                Some(Act::new(Verb::Undo, about))
            }
            Self::Dead { command } => command.act(),
            Self::Links { command } => command.act(),
            Self::Conflicts { command } => command.act(),
            Self::Held { command } => command.act(),
            Self::Pause { connection, all } => {
                Some(Act::new(Verb::Pause, About::connection(connection.as_ref()).flag("all", *all)))
            }
            Self::Resume { connection, all, system } => {
                let about = About::connection(connection.as_ref()).flag("all", *all).option("system", system.as_ref());
                Some(Act::new(Verb::Resume, about))
            }
            Self::Forget { account, .. } => Some(Act::new(Verb::Forget, About::default().accounts([account]))),
            Self::Topology => Some(Act::new(Verb::Topology, About::default())),
        }
    }
}

impl HeldCommand {
    fn act(&self) -> Option<Act> {
        match self {
            Self::List { .. } => None,
            Self::Approve { which, all, rejected, yes: _ } => {
                Some(Act::new(Verb::HeldApprove, which.about(*all).flag("rejected", *rejected)))
            }
            Self::Reject { which, all, yes: _ } => Some(Act::new(Verb::HeldReject, which.about(*all))),
        }
    }
}

impl HeldFilter {
    fn about(&self, all: bool) -> About {
        let about = About::connection(self.connection.as_ref()).accounts(&self.accounts);
        about.option("risk", self.risk).flag("all", all)
    }
}
