//! Laws that hold whatever is seen in whatever order.

use proptest::prelude::*;

use super::vocabulary::{Play, at, path, rules, to_b, two_way};
use crate::domain::ChangeOutcome::{Accepted, ConflictLost, Unchanged};
use crate::domain::id::Side;
use crate::domain::link::Link;
use crate::domain::pending::pending;
use crate::domain::rules::{Drift, Flow, Policy, Rules};

/// A sight of one side; stamps of one side are two seconds apart, so that no two of them tie.
#[derive(Debug, Clone)]
struct Sight {
    side: Side,
    stamp: u8,
    x: &'static str,
    y: &'static str,
}

impl Sight {
    fn show(&self, play: &mut Play) -> crate::domain::resolve::Resolution {
        let modified = 30.0 + 2.0 * f64::from(self.stamp);
        play.see(self.side, at(modified, modified + 1.5), &[("x", self.x), ("y", self.y)])
    }
}

fn side() -> impl Strategy<Value = Side> {
    prop::sample::select(&Side::BOTH)
}

/// Anything at all: values come back, stamps are reused with other values.
fn sights() -> impl Strategy<Value = Vec<Sight>> {
    let text = || prop::sample::select(&["-", "0", "1", "2"]);
    let sight = (side(), 0..6_u8, text(), text()).prop_map(|(side, stamp, x, y)| Sight { side, stamp, x, y });
    prop::collection::vec(sight, 0..10)
}

/// What each side truly went through: each edit types a value of its own. (With values that come back, "ABA", the
/// order does tell: a value that equals the base is no edit, so whoever sees only the end of it sees nothing.)
fn history(only_x: bool) -> impl Strategy<Value = Vec<Sight>> {
    prop::collection::vec((side(), 0..6_u8, any::<bool>()), 0..7).prop_map(move |mut edits| {
        const TYPED: [&str; 7] = ["1", "2", "3", "4", "5", "6", "7"];
        edits.sort_by_key(|(side, stamp, _)| (*side, *stamp));
        edits.dedup_by_key(|(side, stamp, _)| (*side, *stamp));
        let mut held = crate::domain::Sides { a: ("0", "0"), b: ("0", "0") };
        let show = |(number, (side, stamp, edits_x)): (usize, (Side, u8, bool))| {
            let both = &mut held[side];
            *(if edits_x || only_x { &mut both.0 } else { &mut both.1 }) = TYPED[number];
            Sight { side, stamp, x: both.0, y: both.1 }
        };
        edits.into_iter().enumerate().map(show).collect()
    })
}

fn any_rules() -> impl Strategy<Value = Rules> {
    let flow = prop::sample::select(&[
        Flow::Both,
        Flow::Towards(Side::A),
        Flow::Towards(Side::B),
        Flow::WatchedOn(Side::A),
        Flow::WatchedOn(Side::B),
    ]);
    let policy = prop_oneof![
        side().prop_map(Policy::DefaultSystem),
        side().prop_map(|default| Policy::LastWrite { default, a_ahead_ms: 700 }),
    ];
    (flow, policy, any::<bool>()).prop_map(|(flow, policy, enforce)| {
        let mut rules = rules(Flow::Both, policy, &["x", "y"]);
        let x = rules.attributes.get_mut(&path("x")).unwrap();
        x.flow = flow;
        x.drift = if enforce { Drift::Enforce } else { Drift::Keep };
        rules
    })
}

/// The part of a link that is worth comparing: values, bases and who is behind. Generations count arrivals.
fn essence(link: &Link) -> impl PartialEq + std::fmt::Debug {
    let registers: Vec<_> = link
        .registers
        .iter()
        .map(|(path, register)| {
            let holds = Side::BOTH.map(|side| register.applied[side] == register.generation);
            (path.clone(), super::vocabulary::text(register.value.as_ref()), holds)
        })
        .collect();
    (registers, link.sides.a.seen.clone(), link.sides.b.seen.clone())
}

fn synced(rules: Rules) -> Play {
    Play::in_sync(rules, &[("x", "0"), ("y", "0")])
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// B3: what is delivered twice changes nothing the second time, whatever was going on.
    #[test]
    fn the_same_snapshot_again_changes_nothing(rules in any_rules(), sights in sights(), write in any::<bool>()) {
        let mut play = Play::of(rules);
        for sight in &sights {
            sight.show(&mut play);
            if write && let crate::domain::write::Plan::Write(_) = play.plan(sight.side.other()) {
                play.begin(sight.side.other());
            }
            let (before, journalled) = (play.link.clone(), play.journal.len());
            let again = sight.show(&mut play);
            prop_assert!(again.outcome != Accepted && again.outcome != ConflictLost);
            prop_assert!(!again.changed);
            prop_assert_eq!(&play.link, &before);
            prop_assert_eq!(play.journal.len(), journalled);
        }
    }

    /// R76: any order and any repetition of the same sights ends in the same link. Under `last_write` that holds while
    /// one attribute is edited: a stamp is the account's, so an edit of `y` makes an older edit of `x` look as late.
    #[test]
    fn the_order_of_arrival_does_not_matter(
        default in side(),
        (last_write, history) in any::<bool>().prop_flat_map(|last_write| (Just(last_write), history(last_write))),
        arrivals in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let policy =
            if last_write { Policy::LastWrite { default, a_ahead_ms: 0 } } else { Policy::DefaultSystem(default) };
        let mut in_order = synced(rules(Flow::Both, policy, &["x", "y"]));
        let mut shuffled = in_order.clone();
        // Settled and in order of their stamps, then any which way and at last each once more.
        history.iter().for_each(|sight| drop(sight.show(&mut in_order)));
        if !history.is_empty() {
            arrivals.iter().for_each(|index| drop(index.get(&history).show(&mut shuffled)));
        }
        history.iter().rev().for_each(|sight| drop(sight.show(&mut shuffled)));
        prop_assert_eq!(essence(&in_order.link), essence(&shuffled.link));
    }

    /// Nothing is ever asked of a side that the rules do not let be written.
    #[test]
    fn nothing_is_asked_that_the_flow_forbids(rules in any_rules(), sights in sights()) {
        let mut play = Play::of(rules);
        for sight in &sights {
            sight.show(&mut play);
            for side in Side::BOTH {
                let wanted = pending(&play.link, side, &play.rules).map(|wanted| wanted.values).unwrap_or_default();
                for path in wanted.keys() {
                    prop_assert!(play.rules.attributes[path].flow.writes(side), "{path} of {side}");
                }
            }
        }
    }

    /// R56: one-way, nothing that the target side shows moves the register.
    #[test]
    fn one_way_never_takes_a_value_from_the_target(sights in sights()) {
        let mut play = Play::of(to_b(&["x", "y"]));
        for sight in &sights {
            let before: Vec<_> = ["x", "y"].map(|name| play.value(name)).into();
            sight.show(&mut play);
            if sight.side == Side::B {
                prop_assert_eq!(["x", "y"].map(|name| play.value(name)).to_vec(), before);
            }
        }
    }

    /// R85, B2: whatever was seen before, a write of ours that is read back is never an edit: committed or not, with
    /// the lease lost or not. Once it is committed nothing is pending, and that stays so when the answer is read again.
    #[test]
    fn an_own_echo_is_never_an_edit(default in side(), sights in sights(), lost in 0..3) {
        let mut play = synced(two_way(default, &["x", "y"]));
        sights.iter().for_each(|sight| drop(sight.show(&mut play)));
        // A settled look at both sides: what they were last seen to hold.
        for side in Side::BOTH {
            let held = |name| sights.iter().filter(|sight| sight.side == side).max_by_key(|sight| sight.stamp)
                .map_or("0", |sight| if name == "x" { sight.x } else { sight.y });
            play.see(side, at(50.0, 60.0), &[("x", held("x")), ("y", held("y"))]);
        }
        for side in Side::BOTH {
            if pending(&play.link, side, &play.rules).is_none() {
                continue;
            }
            let going = play.begin(side);
            let values: Vec<(String, String)> =
                ["x", "y"].into_iter().filter(|name| going.wanted.values.contains_key(&path(name)))
                    .map(|name| (name.to_owned(), play.value(name))).collect();
            let answer: Vec<(&str, &str)> = values.iter().map(|(name, text)| (&**name, &**text)).collect();
            match lost {
                0 => prop_assert_eq!(play.finish(&going, at(70.0, 70.5), &answer).0, "done"),
                // The lease ran out, and somebody else begins the same write.
                1 => {
                    play.now_s += 100.0;
                    play.begin(side);
                    prop_assert_eq!(play.finish(&going, at(70.0, 70.5), &answer).0, "lost lease");
                }
                _ => {}
            }
            for read_s in [70.8, 80.0, 95.0] {
                let echo = play.see(side, at(70.0, read_s), &answer);
                prop_assert!(!matches!(echo.outcome, Accepted | ConflictLost), "{:?}", echo.outcome);
                prop_assert_eq!(pending(&play.link, side, &play.rules), None);
            }
            prop_assert_eq!(play.see(side, at(70.0, 95.0), &answer).outcome, Unchanged);
        }
    }

    /// A link survives its text form whatever is in it.
    #[test]
    fn a_link_survives_json(rules in any_rules(), sights in sights(), epoch in any::<bool>()) {
        let mut play = synced(rules);
        for sight in &sights {
            sight.show(&mut play);
            if let crate::domain::write::Plan::Write(_) = play.plan(sight.side) {
                play.begin(sight.side);
            }
        }
        if epoch {
            play.link.enter(crate::domain::Epoch(8));
        }
        let text = serde_json::to_string(&play.link).unwrap();
        prop_assert_eq!(serde_json::from_str::<Link>(&text).unwrap(), play.link);
    }
}
