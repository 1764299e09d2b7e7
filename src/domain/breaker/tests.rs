use std::time::Duration;

use super::Breaker;
use crate::domain::hold::{Approval, HoldState, Verdict, rule};
use crate::domain::id::Side;
use crate::domain::id::Side::{A, B};
use crate::domain::resolve::tests::vocabulary::{Play, at, path, to_b, two_way};
use crate::domain::rules::{Drift, Rules};
use crate::domain::{Timestamp, pending};

/// Two turns within a minute are let pass.
fn breaking(mut rules: Rules) -> Rules {
    rules.breaker = Some(Breaker { turns: 2, within: Duration::from_secs(60) });
    rules
}

/// Somebody changes `x` on `side` at this second, by all clocks; what was frozen by it.
fn edit(play: &mut Play, side: Side, second: f64, value: &str) -> Vec<String> {
    play.now_s = second + 1.0;
    let frozen = play.see(side, at(second, second + 1.5), &[("x", value), ("y", "0")]).frozen;
    frozen.iter().map(ToString::to_string).collect()
}

/// The other side is written and holds what it was sent.
fn write(play: &mut Play, side: Side, second: f64) {
    play.now_s = second + 1.0;
    let value = play.value("x");
    let going = play.begin(side);
    let held = [("x", value.as_str()), ("y", "0")];
    assert_eq!(play.finish(&going, at(second, second + 0.2), &held).0, "done");
    play.see(side, at(second, second + 1.6), &held);
}

/// Plays an attribute that is changed by turns, every four seconds, and brought to the other side in between.
fn alternate(play: &mut Play, from_s: f64, values: &[(Side, &str)]) -> Vec<String> {
    let mut frozen = Vec::new();
    for (number, (side, value)) in (0_u32..).zip(values) {
        let second = from_s + 4.0 * f64::from(number);
        frozen.extend(edit(play, *side, second, value));
        if !play.behind(side.other()).is_empty() {
            write(play, side.other(), second + 2.0);
        }
    }
    frozen
}

fn start() -> Play {
    Play::in_sync(breaking(two_way(A, &["x", "y"])), &[("x", "0"), ("y", "0")])
}

const LOOP: [(Side, &str); 6] = [(A, "1"), (B, "2"), (A, "1"), (B, "2"), (A, "1"), (B, "2")];

/// B4: the turn after the last that is allowed freezes the attribute and says so once; nothing of it is written any more,
/// and all else of the account flows.
#[test]
fn an_attribute_that_goes_to_and_fro_is_frozen_once() {
    let mut play = start();
    assert_eq!(alternate(&mut play, 100.0, &LOOP), ["x"]);
    assert_eq!([play.behind(A), play.behind(B)], ["", ""]);
    assert_eq!(play.value("x"), "2", "what people see last is noted");
    play.now_s = 130.0;
    play.see(A, at(129.0, 130.0), &[("x", "1"), ("y", "9")]);
    assert_eq!(play.behind(B), "y=9");
    let held: Vec<_> = play.link.held().map(|held| (held.path.unwrap().to_string(), held.stop.unwrap().why)).collect();
    assert_eq!(held, [("x".to_owned(), crate::domain::hold::Why::Frozen)]);
}

/// Edits of one side are none of it, however quick, unless they bring a value back; nor are turns that are far apart.
#[test]
fn what_people_do_is_no_loop() {
    let quick: Vec<String> = (1..20).map(|number| number.to_string()).collect();
    let quick: Vec<_> = quick.iter().map(|value| (A, value.as_str())).collect();
    assert_eq!(alternate(&mut start(), 100.0, &quick), [""; 0]);
    let mut play = start();
    for round in 0..6 {
        assert_eq!(alternate(&mut play, 100.0 + 200.0 * f64::from(round), &LOOP[..2]), [""; 0], "round {round}");
    }
    assert!(play.link.turns.len() <= 1, "{:?}", play.link.turns);
}

/// B4: connections that form a ring change one side again and again, between values that come back.
#[test]
fn a_ring_is_frozen_though_one_side_alone_changes() {
    let mut play = Play::in_sync(breaking(to_b(&["x", "y"])), &[("x", "0"), ("y", "0")]);
    let ring: Vec<_> = ["1", "2", "1", "2", "1", "2", "1"].map(|value| (A, value)).to_vec();
    assert_eq!(alternate(&mut play, 100.0, &ring), ["x"]);
    assert_eq!(play.behind(B), "");
}

/// B4: so is a value that the rules set back, and that somebody insists on.
#[test]
fn a_value_that_is_set_back_again_and_again_is_frozen() {
    let mut rules = breaking(to_b(&["x", "y"]));
    rules.attributes.values_mut().for_each(|rule| rule.drift = Drift::Enforce);
    let mut play = Play::in_sync(rules, &[("x", "0"), ("y", "0")]);
    let mut frozen = Vec::new();
    for round in 0..4 {
        let second = 100.0 + 4.0 * f64::from(round);
        frozen.extend(edit(&mut play, B, second, "9"));
        if !play.behind(B).is_empty() {
            write(&mut play, B, second + 2.0);
        }
    }
    assert_eq!((frozen, play.behind(B)), (vec!["x".to_owned()], String::new()));
}

/// A freeze ends with an edit after a quiet time, and not with the next turn of the loop; with agreement; and when a person
/// says so, who lets it begin anew.
#[test]
fn a_freeze_ends_with_an_edit_after_a_quiet_time_or_by_a_person() {
    let frozen = || {
        let mut play = start();
        alternate(&mut play, 100.0, &LOOP);
        play
    };
    let mut play = frozen();
    assert_eq!(edit(&mut play, A, 150.0, "7"), [""; 0], "it is told once");
    assert_eq!((play.value("x"), play.behind(B)), ("7".to_owned(), String::new()));
    assert_eq!(edit(&mut play, A, 260.0, "8"), [""; 0]);
    assert_eq!(play.behind(B), "x=8");

    let mut play = frozen();
    edit(&mut play, A, 150.0, "2");
    assert_eq!([play.behind(A), play.behind(B)], ["", ""]);
    assert!(play.link.held().next().is_none(), "both sides hold it");

    for verdict in [Verdict::Approved, Verdict::Rejected] {
        let mut play = frozen();
        let held = play.link.held().next().unwrap();
        let side = held.side;
        let mut about = Approval::new("ada@host".to_owned(), Timestamp(0));
        about.add(held.path, held.generation);
        play.link = rule(&play.link, side, &about, verdict).unwrap();
        let writes = pending::pending(&play.link, side, &play.rules).is_some();
        assert_eq!(writes, verdict == Verdict::Approved);
        let state = play.link.registers[&path("x")].hold.as_ref().unwrap().state(Timestamp(0));
        assert_eq!(state == HoldState::Rejected, verdict == Verdict::Rejected);
        // Another turn or two may follow.
        assert_eq!(edit(&mut play, A, 160.0, "5"), [""; 0]);
        assert_eq!(play.behind(B), "x=5");
    }
}

/// Without a loop breaker nothing is counted.
#[test]
fn without_it_nothing_is_counted() {
    let mut play = start();
    play.rules.breaker = None;
    assert_eq!(alternate(&mut play, 100.0, &LOOP), [""; 0]);
    assert!(play.link.turns.is_empty());
}
