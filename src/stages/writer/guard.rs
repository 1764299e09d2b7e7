//! What stands between a plan and its write: what a person let pass, budgets, and protected accounts. What they stop goes
//! on hold, and the rest of the account flows (B10, B11).

use super::attempt::Attempt;
use crate::broker::Broker;
use crate::domain::Link;
use crate::domain::deferral::end_idle;
use crate::domain::guard::{Exposure, Risk, exposures, is_protected, spares, stop};
use crate::domain::hold::{Approval, Verdict, Why, rule};
use crate::domain::pending::Pending;
use crate::failpoint::hit;
use crate::stages::Halt;
use crate::store::{Commit, Committed, Store};

/// What guards say to a write.
pub(super) enum Guarded {
    /// All of it may pass.
    Pass,
    /// Some of it is on hold now; this is the link after.
    Stopped(Link),
    /// The link was committed by others meanwhile.
    Moved(Link),
}

/// A write of some kind that asks for a place in its budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) risk: Risk,
    pub(super) act: String,
}

impl<B: Broker, S: Store> Attempt<'_, B, S> {
    /// The link with what a person let pass, where the value is still the one that the person saw. It is noted before
    /// anything else: the command may have to wait.
    pub(super) async fn approve(&self, mut link: Link, approval: &Approval) -> Result<Link, Halt> {
        loop {
            let Some(approved) = rule(&link, self.wave.side, approval, Verdict::Approved) else { return Ok(link) };
            match self.commit(Commit { link: Some(approved.clone()), ..Commit::default() }).await? {
                Committed::Done { .. } => {
                    hit("writer.approved");
                    return Ok(Link { revision: approved.revision + 1, ..approved });
                }
                Committed::Moved | Committed::Taken { .. } => link = self.reload().await?,
            }
        }
    }

    /// Asks the guards. A place in a budget that was given stays with this very write, however often it is tried; a process
    /// that dies after asking has taken one place, and has let nothing more pass.
    pub(super) async fn guard(&self, link: &Link, wanted: &Pending) -> Result<Guarded, Halt> {
        let (wave, rules) = (self.wave, &self.wave.rules);
        let mut stopped: Vec<(Exposure, Why)> = Vec::new();
        for exposure in exposures(link, wave.side, wanted, rules) {
            let why = if spares(exposure.risk) && is_protected(link, rules) {
                Some(Why::Protected)
            } else if rules.budgets.of(exposure.risk).is_some() {
                let place = Place { risk: exposure.risk, act: exposure.act(link, wanted) };
                (!wave.spend(place).await?).then_some(Why::OverBudget)
            } else {
                None
            };
            stopped.extend(why.map(|why| (exposure, why)));
        }
        if stopped.is_empty() {
            return Ok(Guarded::Pass);
        }
        hit("writer.asked_guards");
        let now = wave.store_clock();
        let mut held = link.clone();
        for (exposure, why) in &stopped {
            held = stop(&held, wave.side, exposure, *why, now);
        }
        end_idle(&mut held, rules);
        match self.commit(Commit { link: Some(held.clone()), ..Commit::default() }).await? {
            Committed::Done { .. } => {
                hit("writer.held");
                for (exposure, why) in &stopped {
                    wave.pipeline.metrics.held(&wave.connection.name, *why, exposure.risk);
                }
                Ok(Guarded::Stopped(Link { revision: held.revision + 1, ..held }))
            }
            Committed::Moved | Committed::Taken { .. } => self.reload().await.map(Guarded::Moved),
        }
    }
}
