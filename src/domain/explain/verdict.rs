//! The one thing to say first of a link.

use super::{Facts, NoAccount, Sight, Standing, Story};
use crate::domain::attribute::AttributePath;
use crate::domain::hold::{Hold, Stop};
use crate::domain::id::Side;
use crate::domain::resolve::JournalReason;
use crate::domain::rules::Departure;
use crate::domain::time::Timestamp;

/// The one thing to say first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// An account was proven gone.
    Gone {
        /// The side that had it.
        side: Side,
        /// Today it is there again.
        back: bool,
    },
    /// A system says that there is no such account, which is not proven yet.
    Missing {
        /// The side that should have it.
        side: Side,
    },
    /// What a side lacks was refused.
    Refused {
        /// The side that lacks it.
        side: Side,
    },
    /// The account of the other side left, and the two are to part.
    Leaving {
        /// The side whose account is the leaver's partner.
        side: Side,
        /// How they part.
        how: Departure,
        /// What has stopped that.
        stop: Option<Stop>,
    },
    /// The account of the other side left, and the two have parted.
    Parted {
        /// The side that had the partner.
        side: Side,
    },
    /// There is an account on one side alone.
    OnlyHere {
        /// The side that has it.
        side: Side,
        /// Why the other one has none.
        why: NoAccount,
    },
    /// An account does not fit the connection's scope (any more).
    OutOfScope {
        /// Its side.
        side: Side,
    },
    /// An account must be read before anything follows.
    Unread {
        /// Its side.
        side: Side,
    },
    /// Some attributes wait for a person.
    Held {
        /// The side that is not written.
        side: Side,
        /// These.
        paths: Vec<AttributePath>,
        /// The guard that has stopped the first of them; `None`: which of two values is the later one was forgotten.
        stop: Option<Stop>,
    },
    /// A guard has stopped some attributes, and they are not written.
    Rejected {
        /// The side that is not written.
        side: Side,
        /// These.
        paths: Vec<AttributePath>,
        /// What has stopped the first of them.
        stop: Stop,
    },
    /// A writer is at it.
    Writing {
        /// The side that is written.
        side: Side,
    },
    /// A side lacks something that is to be written.
    Behind {
        /// The side that lacks it.
        side: Side,
        /// It lacks the account.
        creating: bool,
        /// The earliest change that it lacks.
        since: Option<Since>,
        /// What it lacks.
        paths: Vec<AttributePath>,
    },
    /// A side was changed since it was last read, and something follows from that.
    Changed {
        /// The side that was changed.
        side: Side,
        /// What was changed.
        paths: Vec<AttributePath>,
    },
    /// Both sides hold what they should, and an attribute is so because the other side's value lost a clash.
    ConflictDecided {
        /// The attribute.
        path: AttributePath,
        /// The side whose value lost.
        loser: Side,
    },
    /// Some attributes differ, and the rules leave them so.
    Apart {
        /// These.
        paths: Vec<AttributePath>,
    },
    /// Both sides hold what they should.
    InStep,
}

/// Since when a side is behind: the change that it lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Since {
    /// The side that was changed.
    pub changed: Side,
    /// When, in the clock of that side.
    pub at: Timestamp,
}

impl Facts<'_> {
    /// What comes first: what a person must do, then what happens by itself, then what is as it should be.
    pub(super) fn verdict(&self, stories: &[Story]) -> Verdict {
        let state = |side| &self.link.sides[side];
        let first = |is: &dyn Fn(Side) -> bool| Side::BOTH.into_iter().find(|side| is(*side));
        let parted = |side: Side| self.link.parted(side).is_some() && self.link.left(side.other()).is_some();
        if let Some(side) = first(&parted) {
            return Verdict::Parted { side };
        }
        if let Some((side, how)) = Side::BOTH.into_iter().find_map(|side| Some((side, self.departure(side)?)))
            && !self.is_refused(side)
        {
            let stop = state(side).stop.clone().filter(|stop| stop.risk == Some(how.risk()) && !stop.is_approved());
            return Verdict::Leaving { side, how, stop };
        }
        if let Some(side) = first(&|side| state(side).is_gone()) {
            return Verdict::Gone { side, back: matches!(self.today[side], Some(Sight::Shown(_))) };
        }
        if let Some(side) = first(&|side| matches!(self.today[side], Some(Sight::Absent))) {
            return Verdict::Missing { side };
        }
        if let Some(side) = first(&|side| state(side).out_of_scope) {
            return Verdict::OutOfScope { side };
        }
        if let Some(side) = first(&|side| self.is_refused(side)) {
            return Verdict::Refused { side };
        }
        let alone = first(&|side| state(side).account.is_some() && state(side.other()).account.is_none());
        if let Some((side, why)) = alone.and_then(|side| Some((side, self.no_account(side.other())?))) {
            return Verdict::OnlyHere { side, why };
        }
        if let Some(side) = first(&|side| state(side).account.is_some() && state(side).seen_at.is_none()) {
            return Verdict::Unread { side };
        }
        let with = |side: Side, standing: Standing| -> Vec<AttributePath> {
            stories.iter().filter(|story| story.standing[side] == standing).map(|story| story.path.clone()).collect()
        };
        if let Some(side) = first(&|side| !with(side, Standing::Held).is_empty()) {
            let paths = with(side, Standing::Held);
            let stop = self.stop(side, &paths);
            return Verdict::Held { side, paths, stop };
        }
        if let Some(side) = first(&|side| !with(side, Standing::UnderWay).is_empty()) {
            return Verdict::Writing { side };
        }
        if let Some(side) = first(&|side| !with(side, Standing::Due).is_empty()) {
            let paths = with(side, Standing::Due);
            let registers = paths.iter().filter_map(|path| self.link.registers.get(path));
            let since = registers.map(|register| Since {
                changed: register.by,
                at: register.at.modified_at.unwrap_or(register.at.read_at),
            });
            let since = since.min_by_key(|since| since.at);
            return Verdict::Behind { side, creating: state(side).account.is_none(), since, paths };
        }
        if let Some(side) = first(&|side| stories.iter().any(|story| story.is_changed(side))) {
            let changed = stories.iter().filter(|story| story.is_changed(side));
            return Verdict::Changed { side, paths: changed.map(|story| story.path.clone()).collect() };
        }
        if let Some((path, loser)) = self.conflict() {
            return Verdict::ConflictDecided { path, loser };
        }
        if let Some(side) = first(&|side| !with(side, Standing::Rejected).is_empty()) {
            let paths = with(side, Standing::Rejected);
            if let Some(stop) = self.stop(side, &paths) {
                return Verdict::Rejected { side, paths, stop };
            }
        }
        let apart = stories.iter().filter(|story| story.is_apart());
        let paths: Vec<_> = apart.map(|story| story.path.clone()).collect();
        if paths.is_empty() { Verdict::InStep } else { Verdict::Apart { paths } }
    }

    /// How the account of a side is to part from its partner, who left.
    fn departure(&self, side: Side) -> Option<Departure> {
        let how = self.rules.departure(side)?;
        let link = self.link;
        let is_out = Side::BOTH.into_iter().any(|side| link.sides[side].out_of_scope);
        (link.is_paired() && !is_out && link.left(side.other()).is_some()).then_some(how)
    }

    /// What has stopped the account as a whole, or the first of these attributes.
    fn stop(&self, side: Side, paths: &[AttributePath]) -> Option<Stop> {
        let state = &self.link.sides[side];
        let of_account = state.stop.as_ref().filter(|_| state.account.is_none());
        let of_value = || match self.link.registers.get(paths.first()?)?.hold.as_ref()? {
            Hold::Stopped(stop) => Some(stop),
            Hold::BaseLost { .. } => None,
        };
        of_account.or_else(of_value).cloned()
    }

    /// The latest clash whose winner is still the value that both sides should have.
    fn conflict(&self) -> Option<(AttributePath, Side)> {
        let clash = self.lost.iter().find(|lost| {
            let register = self.link.registers.get(&lost.path);
            lost.reason == JournalReason::ConflictLost
                && register.is_some_and(|register| register.by != lost.side && register.value != lost.value)
        })?;
        Some((clash.path.clone(), clash.side))
    }
}
