//! When a connection runs by itself (R63-R65, B24): a schedule has *slots*, points in time at which a run is due. Each is
//! served by one run; of several that passed without one, one run serves the latest and makes up for the others.

use std::fmt;
use std::time::Duration;

use jiff::civil::{Date, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};
use serde::{Deserialize, Serialize};

use super::Timestamp;

/// When a connection runs by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schedule {
    /// Never: only when told to (R64).
    Manual,
    /// Every so often (R65), counted from the slot served last.
    Every(Duration),
    /// Once on each day of a zone's calendar (R65).
    Daily {
        /// The local time. Where clocks skip it, the slot is the moment when the gap ends; where it comes twice, the
        /// first.
        at: Time,
        /// The zone.
        zone: TimeZone,
    },
}

/// A slot that a run serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// When the run was due, in the store's clock.
    pub at: Timestamp,
    /// Slots before it that no run served: this one makes up for them.
    pub missed: u32,
}

/// What is durable of a connection's schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timetable {
    /// The schedule as text; a connection whose schedule says something else begins anew.
    pub rule: String,
    /// When it came into force, in the store's clock.
    pub since: Timestamp,
    /// The slot that was served last, or from where slots count.
    pub served: Timestamp,
}

/// A day at most has this length, whatever clocks do.
const LONGEST_DAY: Duration = Duration::from_secs(2 * 24 * 3600);

impl Schedule {
    /// The slot that follows `served`; `None` for a manual schedule, or beyond the calendar.
    pub fn next(&self, served: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Manual => None,
            Self::Every(every) => Some(served + *every),
            Self::Daily { at, zone } => {
                let day = zone.to_datetime(instant(served)?).date();
                // Around a change of clocks, the slot of a day may lie on the day before or after.
                let first = day.checked_sub(jiff::Span::new().days(2)).unwrap_or(day);
                first.series(jiff::Span::new().days(1)).take(8).find_map(|day| {
                    let slot = slot_of(day, *at, zone)?;
                    (slot > served).then_some(slot)
                })
            }
        }
    }

    /// The slot that a run begun now would serve, if one is due since `served`.
    pub fn due(&self, served: Timestamp, now: Timestamp) -> Option<Slot> {
        let first = self.next(served).filter(|first| *first <= now)?;
        if let Self::Every(every) = self {
            let missed = now.since(first).as_millis() / every.as_millis().max(1);
            let missed = u32::try_from(missed).unwrap_or(u32::MAX);
            return Some(Slot { at: first + every.saturating_mul(missed), missed });
        }
        let slots = std::iter::successors(Some(first), |slot| self.next(*slot).filter(|next| *next <= now));
        let mut due = Slot { at: first, missed: 0 };
        for at in slots.skip(1) {
            due = Slot { at, missed: due.missed.saturating_add(1) };
        }
        Some(due)
    }

    /// How long after a slot nobody need worry that no run went well, where the configuration does not say it.
    pub fn usual_patience(&self) -> Duration {
        match self {
            Self::Manual => Duration::MAX,
            Self::Every(every) => (*every).max(Duration::from_secs(5 * 60)),
            Self::Daily { .. } => Duration::from_secs(3600),
        }
    }

    /// No two slots lie further apart.
    fn longest_gap(&self) -> Duration {
        match self {
            Self::Manual | Self::Daily { .. } => LONGEST_DAY,
            Self::Every(every) => *every,
        }
    }
}

impl Timetable {
    /// The timetable to go by from now on, where it is another than the stored one.
    ///
    /// A schedule that is new, or says something else than before, misses nothing of the past: `every` begins at once, and
    /// `daily` at its time. A stored slot that lies far ahead is what a store's clock left behind that ran ahead, and was
    /// set right since: waiting for it would miss all slots until then.
    pub fn renewed(schedule: &Schedule, stored: Option<&Self>, now: Timestamp) -> Option<Self> {
        if stored.is_none() && *schedule == Schedule::Manual {
            return None;
        }
        let rule = schedule.to_string();
        let served = match (stored, schedule) {
            (Some(stored), _) if stored.rule == rule => {
                if stored.served <= now + schedule.longest_gap() {
                    return None;
                }
                now
            }
            (_, Schedule::Every(every)) => now - *every,
            (_, Schedule::Manual | Schedule::Daily { .. }) => now,
        };
        Some(Self { rule, since: now, served })
    }
}

fn instant(at: Timestamp) -> Option<jiff::Timestamp> {
    jiff::Timestamp::from_millisecond(at.0).ok()
}

/// The moment of a local time on a day.
fn slot_of(day: Date, at: Time, zone: &TimeZone) -> Option<Timestamp> {
    let local = zone.to_ambiguous_timestamp(day.to_datetime(at));
    let moment = match local.offset() {
        AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => local.earlier().ok()?,
        AmbiguousOffset::Gap { .. } => {
            // The gap ends with the one change of clocks between the two readings of the time that does not exist.
            let (before, after) = (local.earlier().ok()?, local.later().ok()?);
            zone.following(before).next().map(|change| change.timestamp()).filter(|end| *end <= after).unwrap_or(after)
        }
    };
    Some(Timestamp(moment.as_millisecond()))
}

impl fmt::Display for Schedule {
    /// As the timetable keeps it, and as people are shown it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manual => f.write_str("manual"),
            Self::Every(every) => match jiff::SignedDuration::try_from(*every) {
                Ok(every) => write!(f, "every {}", format!("{every:#}").replace(' ', "")),
                Err(_) => f.write_str("never"),
            },
            Self::Daily { at, zone } => {
                write!(f, "daily {} {}", at.strftime("%H:%M"), zone.iana_name().unwrap_or("UTC"))
            }
        }
    }
}

#[cfg(test)]
mod tests;
