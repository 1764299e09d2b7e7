//! What would come of a command that is sent now, told by the same functions that the writer decides with (B8). Nothing is
//! changed. What only the target can decide, and what somebody does before the command arrives, cannot be foreseen.

use super::course::{Course, course};
use super::guard::{exposures, is_protected, spares};
use super::hold::Why;
use super::id::{Epoch, Side};
use super::link::Link;
use super::outcome::CommandOutcome;
use super::pending::{Pending, pending};
use super::rules::Rules;
use super::time::Timestamp;
use super::write::exhume;

/// What would come of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Foreseen {
    /// This would be written. Whether the target takes it, only the target knows.
    Applied(Pending),
    /// Nothing is lacking any more.
    AlreadyTrue,
    /// What is known is of another time, or somebody else decides: the next reading does.
    Superseded,
    /// A person decides first.
    Held(Option<Why>),
    /// A person decided that it is not written.
    Discarded,
    /// Another writer has the account right now, or a request of one may still be under way.
    Waits,
}

/// What would come of a command for this side of a link, whose letter is sent again at `now` (store clock). `read`: what the
/// link knows of both sides is all that is to be known, so that looking once more would show nothing else.
pub fn foresee(link: &Link, side: Side, rules: &Rules, epoch: Epoch, now: Timestamp, read: bool) -> Foreseen {
    let link = exhume(link, side);
    match course(&link, side, rules, epoch, now, false) {
        Course::Over(CommandOutcome::AlreadyTrue | CommandOutcome::Merged) | Course::Heal | Course::EndWait => {
            Foreseen::AlreadyTrue
        }
        Course::Over(CommandOutcome::Held) => Foreseen::Held(None),
        Course::Over(CommandOutcome::Discarded) => Foreseen::Discarded,
        Course::Over(_) => Foreseen::Superseded,
        Course::Leased { .. } | Course::Wait { .. } => Foreseen::Waits,
        Course::Write(wanted) => stopped(&link, side, wanted, rules),
        // The writer looks at the account first, and so did whoever asks.
        Course::Look { .. } if read => match pending(&link, side, rules) {
            Some(wanted) => stopped(&link, side, wanted, rules),
            None => Foreseen::AlreadyTrue,
        },
        Course::Look { .. } => Foreseen::Waits,
    }
}

/// What would be written, unless the accounts are protected from it. Budgets are the caller's to ask.
fn stopped(link: &Link, side: Side, wanted: Pending, rules: &Rules) -> Foreseen {
    let exposed = exposures(link, side, &wanted, rules);
    match exposed.iter().any(|exposure| spares(exposure.risk)) && is_protected(link, rules) {
        true => Foreseen::Held(Some(Why::Protected)),
        false => Foreseen::Applied(wanted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::resolve::tests::vocabulary::{EPOCH, Play, at, two_way};
    use crate::domain::write::bury;

    fn now(play: &Play) -> Timestamp {
        Timestamp((play.now_s * 1000.0) as i64)
    }

    /// B6, B8: a letter is judged by what is lacking today, whatever was refused then.
    #[test]
    fn a_refused_write_is_foreseen_by_what_is_lacking_today() {
        let mut play = Play::in_sync(two_way(Side::A, &["x"]), &[("x", "0")]);
        let look = |play: &Play| foresee(&play.link, Side::B, &play.rules, EPOCH, now(play), true);
        assert_eq!(look(&play), Foreseen::AlreadyTrue);
        play.see(Side::A, at(100.0, 160.0), &[("x", "1")]);
        let wanted = pending(&play.link, Side::B, &play.rules).unwrap();
        play.link = bury(&play.link, Side::B, &wanted, "refused", &play.rules);
        assert_eq!(look(&play), Foreseen::Applied(wanted), "what was refused is sent again");
        let elsewhere = foresee(&play.link, Side::B, &play.rules, Epoch(8), now(&play), true);
        assert_eq!(elsewhere, Foreseen::Superseded);
        play.see(Side::B, at(200.0, 260.0), &[("x", "1")]);
        assert_eq!(look(&play), Foreseen::AlreadyTrue, "somebody put it there by hand");
    }

    /// R85: nothing is foreseen of an account that another writer has.
    #[test]
    fn a_leased_account_waits() {
        let mut play = Play::in_sync(two_way(Side::A, &["x"]), &[("x", "0")]);
        play.see(Side::A, at(100.0, 160.0), &[("x", "1")]);
        play.begin(Side::B);
        assert_eq!(foresee(&play.link, Side::B, &play.rules, EPOCH, now(&play), true), Foreseen::Waits);
    }
}
