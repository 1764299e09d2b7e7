//! What becomes of a command: [`course`] before anything is written, [`existing`] once a search has shown what is there,
//! and the times after which nothing of a write can happen any more.

use std::time::Duration;

use super::account::Snapshot;
use super::attribute::AttributePath;
use super::id::{AccountId, Epoch, Side};
use super::link::Link;
use super::outcome::CommandOutcome;
use super::pending::Pending;
use super::rules::{OnExisting, Rules};
use super::time::Timestamp;
use super::write::{Deadlines, Plan, plan};

/// What becomes of a command now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Course {
    /// It has its outcome.
    Over(CommandOutcome),
    /// The side lacks nothing, so the refusal that it has is taken back.
    Heal,
    /// The side lacks nothing, so nobody has to be waited for any more.
    EndWait,
    /// Another writer has the side. It comes back: that writer may be dead, its own redelivery first of all.
    Leased {
        /// When its lease ends, in the store's clock.
        until: Timestamp,
    },
    /// A creation by somebody else may still be under way. It comes back.
    Wait {
        /// Until when, in the store's clock.
        until: Timestamp,
    },
    /// The account is read, and what is seen goes on as a change in the command's place.
    Look {
        /// The account.
        account: AccountId,
        /// Only once a grain has passed since it was last read.
        settled: bool,
    },
    /// This is written.
    Write(Pending),
}

/// What becomes of a command for `side` of this link at `now` (store clock), in this epoch of the store.
/// `redelivered`: the command was here before, so if the work is done, another delivery of it did it.
pub fn course(link: &Link, side: Side, rules: &Rules, epoch: Epoch, now: Timestamp, redelivered: bool) -> Course {
    // What the link remembers may be older than the truth: the next read of its accounts decides.
    if link.epoch != epoch {
        return Course::Over(CommandOutcome::Superseded);
    }
    match plan(link, side, rules, now) {
        // A refusal that no longer matters: what was refused is there all the same.
        Plan::Nothing if link.sides[side].dead.is_some() => Course::Heal,
        Plan::Nothing if link.sides[side].deferral.is_some() => Course::EndWait,
        Plan::Nothing if redelivered => Course::Over(CommandOutcome::Merged),
        Plan::Nothing => Course::Over(CommandOutcome::AlreadyTrue),
        Plan::Held => Course::Over(CommandOutcome::Held),
        Plan::Rejected => Course::Over(CommandOutcome::Discarded),
        // The command that was refused is counted as dead, and has the letter.
        Plan::Buried => Course::Over(CommandOutcome::Merged),
        Plan::Leased { until } => Course::Leased { until },
        Plan::Wait { until } => Course::Wait { until },
        Plan::Unseen { account } => Course::Look { account, settled: false },
        Plan::Unsettled { account } => Course::Look { account, settled: true },
        Plan::Write(wanted) => Course::Write(wanted),
    }
}

/// What follows from what is there already, when an account is to be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Existing {
    /// Nothing is: it is created.
    Nobody,
    /// This one is linked.
    Adopt {
        /// What was seen of it: a change like any other.
        account: Box<Snapshot>,
        /// It names its partner, so the two were linked before.
        remembered: bool,
    },
    /// Several accounts name the same partner.
    Ambiguous,
    /// Somebody else has what must be unique, and the policy does not let the two be linked.
    Taken {
        /// Under the name that the target knows it by.
        attribute: AttributePath,
    },
}

/// What follows from searches: `ours` are the accounts that name our partner, `others` those that have the value of a
/// matching attribute, in the order in which the rules ask for them.
pub fn existing(ours: Vec<Snapshot>, others: Vec<(AttributePath, Vec<Snapshot>)>, rules: &Rules) -> Existing {
    match <[Snapshot; 1]>::try_from(ours) {
        Ok([account]) => return Existing::Adopt { account: Box::new(account), remembered: true },
        Err(none) if none.is_empty() => {}
        Err(_) => return Existing::Ambiguous,
    }
    for (attribute, found) in others {
        match <[Snapshot; 1]>::try_from(found) {
            Ok([account]) if rules.on_existing == OnExisting::Link && account.partner.is_none() => {
                return Existing::Adopt { account: Box::new(account), remembered: false };
            }
            Err(none) if none.is_empty() => {}
            _ => return Existing::Taken { attribute },
        }
    }
    Existing::Nobody
}

impl Deadlines {
    /// Those of a write that begins when the store's clock shows `now` and the target's is known to show `target`.
    pub fn of(now: Timestamp, target: Timestamp, lease: Duration, search_lag: Duration) -> Self {
        Self {
            begun_at: target,
            lease_until: now + lease,
            // The Date header has whole seconds, so the target's clock may be a second ahead of what is known of it.
            over_at: target + lease + Duration::from_secs(1),
            search_counts_at: now + lease + search_lag,
        }
    }
}

/// From when on the reads of an epoch are a base: no request from before it can land any more, and what such a request
/// created is found by a search.
pub fn quarantine_ends(began_at: Timestamp, lease: Duration, deadline: Duration, search_lag: Duration) -> Timestamp {
    began_at + lease + deadline + search_lag
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::resolve::tests::vocabulary::{EPOCH, Play, at, path, snapshot, two_way};

    /// V1, R85: whoever finds the side leased comes back. R86: a link of another epoch asks for nothing.
    #[test]
    fn a_command_is_over_only_when_there_is_nothing_to_do() {
        let mut play = Play::in_sync(two_way(Side::A, &["x"]), &[("x", "0")]);
        let course = |play: &Play, epoch| {
            course(&play.link, Side::B, &play.rules, epoch, Timestamp((play.now_s * 1000.0) as i64), true)
        };
        assert_eq!(course(&play, EPOCH), Course::Over(CommandOutcome::Merged));
        play.see(Side::A, at(100.0, 160.0), &[("x", "1")]);
        assert!(matches!(course(&play, EPOCH), Course::Write(_)));
        play.begin(Side::B);
        assert!(matches!(course(&play, EPOCH), Course::Leased { .. }));
        assert_eq!(course(&play, Epoch(8)), Course::Over(CommandOutcome::Superseded));
    }

    /// R12, R49: what names our partner is ours, whatever else is there; a stranger is the policy's case.
    #[test]
    fn a_search_decides_what_a_creation_becomes() {
        let mut rules = two_way(Side::A, &["x"]);
        let account = |partner: Option<&str>| Snapshot {
            partner: partner.map(|id| id.parse().unwrap()),
            ..snapshot(Side::B, at(1.0, 3.0), &[("x", "1")])
        };
        let (ours, stranger) = (account(Some("account-a")), account(None));
        let by_x = |found: Vec<Snapshot>| vec![(path("x"), found)];
        assert_eq!(existing(vec![], by_x(vec![]), &rules), Existing::Nobody);
        assert!(matches!(
            existing(vec![ours.clone()], by_x(vec![stranger.clone()]), &rules),
            Existing::Adopt { remembered: true, .. }
        ));
        assert_eq!(existing(vec![ours.clone(), ours.clone()], vec![], &rules), Existing::Ambiguous);
        assert_eq!(existing(vec![], by_x(vec![stranger.clone()]), &rules), Existing::Taken { attribute: path("x") });
        rules.on_existing = OnExisting::Link;
        assert!(matches!(
            existing(vec![], by_x(vec![stranger.clone()]), &rules),
            Existing::Adopt { remembered: false, .. }
        ));
        assert_eq!(
            existing(vec![], by_x(vec![stranger.clone(), stranger]), &rules),
            Existing::Taken { attribute: path("x") }
        );
    }
}
