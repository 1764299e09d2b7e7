//! What is recorded of a change, and deciding it again (B14).

use super::Desk;
use super::linking::{Linked, Sighted};
use crate::domain::history::{Verdict, verdicts};
use crate::domain::resolve::{resolve, resolve_absence};
use crate::domain::rules::Policy;
use crate::domain::{Change, Lane, Side, Sighting};
use crate::stages::Connection;
use crate::store::{Found, Recorded};

/// Decides a recorded change again, as this connection would: by the link as it was, with nothing written anywhere.
pub fn judge(connection: &Connection, recorded: &Recorded) -> Vec<Verdict> {
    let rules = connection.rules(recorded.epoch);
    let rules = if rules.compares_times() {
        // Where the rules of then did not look at the clocks, they are taken to be right.
        rules.as_ref().clone().with_skew(Some(recorded.a_ahead_ms.unwrap_or_default()))
    } else {
        rules.as_ref().clone()
    };
    let desk = Desk { connection, rules: &rules, epoch: recorded.epoch, now: recorded.at, lane: Lane::Live };
    let link = recorded.link.clone().map(|link| (link, 0));
    let sighted = Sighted { found: Found { link, open_letter: false }, other: recorded.partner.clone() };
    desk.judge(&recorded.change, &sighted)
}

impl Desk<'_> {
    /// What is to be recorded of a change; `None` if it says nothing new, or nothing is recorded.
    ///
    /// Accounts out of scope are recorded when they change, and not each time that all are read.
    pub(super) fn record(&self, change: &Change, sighted: &Sighted) -> Option<Recorded> {
        let kept = self.connection.history?;
        if !self.epoch.accepts(change.epoch) {
            return None;
        }
        if let (Some((link, _)), Sighting::Present { snapshot }) = (&sighted.found.link, &change.seen)
            && link.epoch == self.epoch
            && link.sides[change.side].seen_at.as_ref() == Some(&snapshot.version.clone().without_future_stamp())
        {
            // The same sight delivered again: it was decided before.
            return None;
        }
        let verdicts = self.judge(change, sighted);
        let is_left_out = self.lane == Lane::Bulk && sighted.found.link.is_none();
        let is_out = |verdict: &Verdict| verdict.attribute.is_none() && verdict.decision == OUT_OF_SCOPE;
        if verdicts.is_empty() || (is_left_out && verdicts.iter().all(is_out)) {
            return None;
        }
        let ahead = self.rules.attributes.values().find_map(|rule| match rule.policy {
            Policy::LastWrite { a_ahead_ms, .. } => Some(a_ahead_ms),
            Policy::DefaultSystem(_) => None,
        });
        Some(Recorded {
            at: self.now,
            kept,
            epoch: self.epoch,
            version: self.rules.version,
            a_ahead_ms: ahead,
            change: change.clone(),
            link: sighted.found.link.as_ref().map(|(link, _)| link.clone()),
            partner: sighted.other.clone(),
            verdicts,
        })
    }

    /// What is decided of a change.
    fn judge(&self, change: &Change, sighted: &Sighted) -> Vec<Verdict> {
        let side = change.side;
        let snapshot = match &change.seen {
            Sighting::Present { snapshot } => snapshot,
            Sighting::Absent { account, read_at } => {
                let Some((link, _)) = &sighted.found.link else { return Vec::new() };
                if link.sides[side].account.as_ref() != Some(account) {
                    return Vec::new();
                }
                let mut link = link.clone();
                link.enter(self.epoch);
                let after = resolve_absence(&link, side, *read_at, self.rules);
                let writes = Side::BOTH.into_iter().filter(|side| after.emits[*side]).collect();
                return vec![Verdict { writes, ..Verdict::of_account("absent", String::new()) }];
            }
            Sighting::Merged { .. } => return vec![Verdict::of_account("merged", String::new())],
            Sighting::Unreadable { .. } => return vec![Verdict::of_account("unreadable", String::new())],
        };
        let fits = self.connection.fits(side, snapshot);
        let again = Sighted { found: sighted.found.clone(), other: sighted.other.clone() };
        match self.link_for(side, snapshot, again, fits) {
            Linked::Nowhere => vec![Verdict::of_account(OUT_OF_SCOPE, String::new())],
            Linked::Refused { refusal, .. } => vec![Verdict::of_account("refused", refusal.code.to_owned())],
            Linked::To { link, linking, quarrel } => {
                let mut told = Vec::new();
                if let Some(quarrel) = quarrel {
                    told.push(Verdict::of_account("refused", quarrel.code.to_owned()));
                }
                if !linking.claim.is_empty() {
                    told.push(Verdict::of_account(LINKED, String::new()));
                }
                if fits == Some(false) {
                    told.push(Verdict::of_account(OUT_OF_SCOPE, String::new()));
                }
                let after = resolve(&link, side, snapshot, self.rules, self.now).in_scope(side, fits, self.rules);
                let systems = &self.connection.systems;
                told.extend(verdicts(&link, side, snapshot, &after, self.rules, systems, self.now));
                told
            }
        }
    }
}

/// The account has a link from now on, or a partner.
const LINKED: &str = "linked";

const OUT_OF_SCOPE: &str = "out_of_scope";
