//! How a world is made: drawn from its seed.

use std::time::Duration;

use super::faults::{Fault, Faults};
use super::system::{GRAIN, Guard, Keeping, Shape};
use crate::domain::deferral::BusyPolicy;
use crate::domain::guard::{Budgets, Protected};
use crate::domain::mapping::Mapping;
use crate::domain::rules::{AttributeRule, Drift, Flow, Leavers, Occasion, OnExisting, Policy, Rules};
use crate::domain::{AttributePath, Comparison, DigestKey, Epoch, Side, Sides};

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

fn shape() -> Shape {
    let guard = pick(&[Guard::Tag, Guard::Tag, Guard::Stamp, Guard::LookFirst, Guard::Unstamped]);
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
        let shapes = Sides { a: shape(), b: shape() };
        let two_way = chance(75);
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
        let rule = |(name, flow): (AttributePath, Flow)| {
            let winner = match flow {
                Flow::Both if !name.is_active() && chance(25) => default.other(),
                Flow::Both => default,
                Flow::Towards(side) => side.other(),
                Flow::WatchedOn(side) => side,
            };
            let rule = AttributeRule {
                names: Sides { a: name.clone(), b: name.clone() },
                flow,
                policy: Policy::DefaultSystem(winner),
                drift: if chance(30) { Drift::Enforce } else { Drift::Keep },
                occasion: Occasion::Always,
                comparison,
                mapping: Mapping::default(),
            };
            (name, rule)
        };
        let names = [title, display_name, department, nick_name];
        let leavers = if chance(40) { Leavers::Deactivate } else { Leavers::Report };
        let active = match (leavers, two_way) {
            (Leavers::Deactivate, true) => Flow::Both,
            (Leavers::Deactivate, false) => Flow::Towards(Side::B),
            (_, true) => Flow::WatchedOn(default),
            (_, false) => Flow::WatchedOn(Side::A),
        };
        let connection = "crm-scim".parse().expect("a constant name");
        let rules = Rules {
            digest_key: DigestKey::new(&connection, Epoch(0)),
            connection,
            version: 1,
            attributes: names.into_iter().zip(flows).chain([(AttributePath::active(), active)]).map(rule).collect(),
            create: Sides { a: two_way, b: true },
            leavers,
            leads: if two_way { default } else { Side::A },
            on_existing: OnExisting::Refuse,
            match_on: Vec::new(),
            write_only: Sides::default(),
            shown_by: Sides::default(),
            whole: Sides::default(),
            budgets: Budgets::off(),
            protected: Protected::default(),
            busy: BusyPolicy::default(),
            breaker: None,
            grain: Sides { a: GRAIN, b: GRAIN },
        };
        let on_b_alone = if two_way { fastrand::usize(3..7) } else { 0 };
        let on_both = fastrand::usize(3..9);
        let people = (LEAST_PEOPLE - on_b_alone - on_both + fastrand::usize(..3), on_b_alone, on_both);
        Self {
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
        }
    }

    /// Lets things go wrong, each world in its own way.
    pub(crate) fn unleash(faults: &Faults) {
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
            (Fault::RowFailed, 60),
            (Fault::RowDoneAndFailed, 60),
            (Fault::ListCutShort, 60),
            (Fault::ListEmpty, 40),
        ] {
            if chance(60) {
                faults.set(fault, fastrand::u16(1..=at_most));
            }
        }
    }
}
