//! How a world is made: drawn from its seed.

use std::time::Duration;

use super::faults::{Fault, Faults};
use super::system::{GRAIN, Guard, Keeping, Shape};
use crate::domain::rules::{AttributeRule, Departure, Drift, Flow, Leavers, Policy, Rules};
use crate::domain::{AttributePath, Comparison, Epoch, Side, Sides};

/// How a world is made.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) rules: Rules,
    pub(crate) shapes: Sides<Shape>,
    /// People who have an account in the beginning, by where: on `a` alone, on `b` alone, on both.
    pub(crate) people: (usize, usize, usize),
    /// Edits by people.
    pub(crate) edits: usize,
    /// Kills, frozen processes, lost connections, losses of memory.
    pub(crate) blows: usize,
    /// Of a hundred blows, how many hit the store's memory.
    pub(crate) memory_blows: u8,
    pub(crate) mappers: usize,
    pub(crate) writers: usize,
    pub(crate) producers: usize,
    /// The wait between two edits is one of these, in milliseconds.
    pub(crate) gaps_ms: Vec<u64>,
    /// The wait between two runs, in milliseconds.
    pub(crate) runs_ms: u64,
    /// Of a hundred runs that are asked for in the storm, how many are complete reads.
    pub(crate) complete_runs: u8,
    /// Of a hundred edits, how many are of whom was edited last.
    pub(crate) sticky: u8,
    /// Of a hundred edits, how many say of somebody that they left or came back.
    pub(crate) moves: u8,
    /// Of a hundred edits, how many wait for a request that is on its way, and are typed where it is about to write.
    pub(crate) under_way: u8,
    /// How often a system is out of order for a minute or so.
    pub(crate) outages: usize,
    /// The longest wait of a process that found nothing to do, in milliseconds.
    pub(crate) idle_ms: u64,
    pub(crate) focus: Focus,
}

/// What a world has most of. Some faults do harm only in rare meetings, and are rare among all others; so half of the worlds are
/// about one kind of meeting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Focus {
    /// Everything, evenly.
    Everything,
    /// Edits within one second, where writes are guarded by stamps of whole seconds and accounts are read at once.
    Seconds,
    /// Requests that are carried out after their sender gave up waiting, by systems that know no conditions.
    LateRequests,
    /// Commits that take seconds, while people type just where a request writes.
    SlowCommits,
    /// The store loses its memory while a request is on its way.
    LostUnderWay,
    /// The store gets a memory of a while ago, with a minute or so between the edits of a few people.
    OldCopies,
    /// Lists that lack accounts, where whoever leaves is deactivated.
    Lists,
    /// People leave and come back, one way, where leavers part from their partners.
    Leavers,
}

impl Focus {
    fn draw() -> Self {
        use Focus::{Everything, LateRequests, Leavers, Lists, LostUnderWay, OldCopies, Seconds, SlowCommits};
        if chance(50) {
            return Everything;
        }
        pick(&[Seconds, LateRequests, SlowCommits, LostUnderWay, OldCopies, Lists, Leavers])
    }

    /// Whether all that happens is seen without complete reads: nobody leaves by being removed, no list lacks accounts, and
    /// the store keeps its memory.
    fn needs_no_complete_read(self) -> bool {
        matches!(self, Self::Seconds | Self::LateRequests | Self::SlowCommits)
    }
}

/// The least that a world has.
pub(crate) const LEAST_PEOPLE: usize = 20;
pub(crate) const LEAST_EDITS: usize = 60;
pub(crate) const LEAST_BLOWS: usize = 10;

pub(crate) fn path(name: &str) -> AttributePath {
    name.parse().expect("a constant path")
}

/// Attributes that are texts.
pub(crate) fn texts() -> [AttributePath; 4] {
    ["title", "displayName", "department", "nickName"].map(path)
}

fn chance(percent: u8) -> bool {
    fastrand::u8(..100) < percent
}

fn pick<T: Clone>(of: &[T]) -> T {
    of[fastrand::usize(..of.len())].clone()
}

fn shape(focus: Focus) -> Shape {
    let guard = match focus {
        Focus::Seconds => Guard::Stamp,
        Focus::LateRequests => pick(&[Guard::LookFirst, Guard::Unstamped]),
        _ => pick(&[Guard::Tag, Guard::Tag, Guard::Stamp, Guard::LookFirst, Guard::Unstamped]),
    };
    let (page, batch, calls) = pick(&[(4, 1, 3), (10, 3, 2), (50, 200, 1)]);
    Shape {
        guard,
        keeping: pick(&[Keeping::AsSent, Keeping::AsSent, Keeping::Folded, Keeping::Cut(10)]),
        ahead_ms: pick(&[0, 0, 700, -4_300, 95_000, -240_000]),
        page,
        batch,
        calls,
        search_lag: Duration::from_millis(pick(&[0, 2_000, 8_000])),
    }
}

impl Plan {
    /// Draws one.
    pub(crate) fn draw() -> Self {
        let focus = Focus::draw();
        let shapes = Sides { a: shape(focus), b: shape(focus) };
        // A side that only receives is read by complete reads.
        let two_way = focus != Focus::Leavers && (chance(75) || focus.needs_no_complete_read());
        let default = pick(&Side::BOTH);
        let [title, display_name, department, nick_name] = texts();
        let flows = match two_way {
            true => [Flow::Both, Flow::Both, Flow::Towards(Side::B), Flow::Towards(Side::A)],
            false => [Flow::Towards(Side::B); 4],
        };
        let comparison = Sides::from_fn(|side| {
            let folded = shapes[side].keeping == Keeping::Folded;
            Comparison { fold_case: folded, trim: folded, empty_is_clear: false }
        });
        let later_wins = two_way && chance(25);
        let rule = |(name, flow): (AttributePath, Flow)| {
            let winner = match flow {
                Flow::Both if !name.is_active() && chance(25) => default.other(),
                Flow::Both => default,
                Flow::Towards(side) => side.other(),
                Flow::WatchedOn(side) => side,
            };
            let policy = match flow {
                // How far the clocks are apart, the producers measure.
                Flow::Both if later_wins && !name.is_active() => Policy::LastWrite { default: winner, a_ahead_ms: 0 },
                _ => Policy::DefaultSystem(winner),
            };
            let rule = AttributeRule {
                drift: if chance(30) { Drift::Enforce } else { Drift::Keep },
                comparison,
                ..AttributeRule::new(name.clone(), flow, policy)
            };
            (name, rule)
        };
        let names = [title, display_name, department, nick_name];
        let leavers = match focus {
            Focus::Lists => Leavers::Deactivate,
            Focus::Leavers => Leavers::Part(pick(&[Departure::Detach, Departure::Remove, Departure::Delete])),
            _ if focus.needs_no_complete_read() => Leavers::Report,
            _ if chance(40) => Leavers::Deactivate,
            _ => Leavers::Report,
        };
        let active = match (leavers, two_way) {
            (Leavers::Deactivate, true) => Flow::Both,
            (Leavers::Deactivate, false) => Flow::Towards(Side::B),
            (_, true) => Flow::WatchedOn(default),
            (_, false) => Flow::WatchedOn(Side::A),
        };
        let connection = "crm-scim".parse().expect("a constant name");
        let attributes = names.into_iter().zip(flows).chain([(AttributePath::active(), active)]).map(rule).collect();
        let rules = Rules {
            create: Sides { a: two_way, b: true },
            leavers,
            leads: if two_way { default } else { Side::A },
            ..Rules::new(connection, Epoch(0), attributes, GRAIN)
        };
        let on_b_alone = if two_way { fastrand::usize(3..7) } else { 0 };
        let on_both = fastrand::usize(3..9);
        let people = (LEAST_PEOPLE - on_b_alone - on_both + fastrand::usize(..3), on_b_alone, on_both);
        let plan = Self {
            rules,
            shapes,
            people,
            edits: LEAST_EDITS + fastrand::usize(..20),
            blows: LEAST_BLOWS + fastrand::usize(..10),
            memory_blows: pick(&[0, 0, 0, 10]),
            mappers: fastrand::usize(1..=3),
            writers: fastrand::usize(1..=3),
            producers: fastrand::usize(1..=2),
            gaps_ms: pick(&[vec![0, 300, 1_100, 2_500], vec![0, 1_100, 6_000], vec![300, 4_000, 15_000]]),
            runs_ms: pick(&[2_000, 8_000, 20_000]),
            complete_runs: 10,
            sticky: 60,
            under_way: 15,
            moves: 8,
            outages: pick(&[0, 0, 1]),
            idle_ms: 2_500,
            focus,
        };
        plan.focused()
    }

    /// The same, with more of what it is about.
    fn focused(self) -> Self {
        let quick = |plan: Self| Self {
            memory_blows: 0,
            gaps_ms: vec![0, 150, 300, 600, 2_000],
            runs_ms: 100,
            complete_runs: 0,
            outages: 0,
            sticky: 90,
            idle_ms: 300,
            ..plan
        };
        match self.focus {
            Focus::Everything => self,
            Focus::Seconds => quick(self),
            Focus::LateRequests => Self { gaps_ms: vec![0, 600, 2_000, 5_000], ..quick(self) },
            Focus::SlowCommits => Self { under_way: 60, ..quick(self) },
            Focus::LostUnderWay => Self { memory_blows: 70, under_way: 40, sticky: 80, runs_ms: 2_000, ..self },
            Focus::OldCopies => {
                Self { memory_blows: 50, gaps_ms: vec![500, 5_000, 30_000, 80_000], sticky: 90, runs_ms: 8_000, ..self }
            }
            Focus::Leavers => Self { moves: 40, sticky: 75, runs_ms: 2_000, ..self },
            Focus::Lists => Self { memory_blows: 0, runs_ms: 2_000, complete_runs: 70, ..self },
        }
    }

    /// Whether what people type comes through without a complete read at the end.
    pub(crate) fn needs_no_complete_read(&self) -> bool {
        self.focus.needs_no_complete_read()
    }

    /// Lets things go wrong, each world in its own way.
    pub(crate) fn unleash(&self, faults: &Faults) {
        for (fault, at_most) in [
            (Fault::ConfirmLost, 60),
            (Fault::MessageLate, 60),
            (Fault::MessageOvertaken, 300),
            (Fault::StoreRefused, 15),
            (Fault::AnswerOfStoreLost, 15),
            (Fault::StoreSlow, 15),
            (Fault::CallRefused, 60),
            (Fault::Throttled, 25),
            (Fault::CallSlow, 150),
            (Fault::AnswerLost, 80),
            (Fault::LeftBehind, 80),
            (Fault::LandsLate, 20),
            (Fault::RowFailed, 60),
            (Fault::RowDoneAndFailed, 60),
            (Fault::ListCutShort, 60),
            (Fault::ListEmpty, 40),
        ] {
            if chance(60) {
                faults.set(fault, fastrand::u16(1..=at_most));
            }
        }
        if self.needs_no_complete_read() {
            [Fault::ListCutShort, Fault::ListEmpty].into_iter().for_each(|fault| faults.set(fault, 0));
        }
        match self.focus {
            Focus::Everything | Focus::Seconds | Focus::OldCopies | Focus::Leavers => {}
            Focus::LateRequests => faults.set(Fault::LandsLate, 200),
            Focus::SlowCommits => faults.set(Fault::StoreSlow, 100),
            Focus::LostUnderWay => faults.set(Fault::CallSlow, 300),
            Focus::Lists => {
                faults.set(Fault::ListCutShort, 150);
                faults.set(Fault::ListEmpty, 30);
            }
        }
    }
}
