//! What waits for a person, and what follows from a decision.

use super::*;
use crate::domain::guard::{Exposure, stop};
use crate::domain::id::Side::{A, B};
use crate::domain::pending::{held, pending};
use crate::domain::resolve::tests::vocabulary::{Play, at, path, text, to_b, two_way};
use crate::domain::write::{Plan, plan};

/// Since when things are held in these tests.
const SINCE: Timestamp = Timestamp(40_000);

/// An edit of `x` and `y` by `a`, of which `x` was stopped.
fn stopped(mut play: Play) -> Play {
    play.see(A, at(30.0, 35.0), &[("x", "1"), ("y", "1")]);
    let exposure = Exposure { risk: Risk::EmailChange, paths: vec![path("x")] };
    play.link = stop(&play.link, B, &exposure, Why::OverBudget, SINCE);
    play
}

fn one_way() -> Play {
    stopped(Play::in_sync(to_b(&["x", "y"]), &[("x", "0"), ("y", "0")]))
}

fn both_ways(default: Side) -> Play {
    stopped(Play::in_sync(two_way(default, &["x", "y"]), &[("x", "0"), ("y", "0")]))
}

/// What a person sees of `x` and decides.
fn about(play: &Play) -> Approval {
    let mut about = Approval::new("ada@host".to_owned(), Timestamp(50_000));
    play.link.held().for_each(|held| about.add(held.path, held.generation));
    about
}

fn decide(play: &mut Play, verdict: Verdict) {
    play.link = rule(&play.link, B, &about(play), verdict).unwrap();
}

/// B11: only what was stopped is held, and the rest of the account flows.
#[test]
fn a_stop_holds_one_attribute() {
    let play = one_way();
    assert_eq!(play.behind(B), "y=1");
    assert_eq!(play.link.held_since(), Some(SINCE));
    let held: Vec<_> = play.link.held().map(|held| (held.side, held.path.cloned(), held.state(SINCE))).collect();
    assert_eq!(held, [(B, Some(path("x")), HoldState::Waiting)]);
}

/// B11: an approval lets the value pass that the person saw, once and for all.
#[test]
fn an_approved_value_flows() {
    let mut play = one_way();
    decide(&mut play, Verdict::Approved);
    assert_eq!((play.behind(B), play.link.held_since()), ("x=1 y=1".to_owned(), None));
    assert_eq!(rule(&play.link, B, &about(&play), Verdict::Approved), None, "nothing is decided twice");
}

/// B11: an approval of one value says nothing about the next.
#[test]
fn a_value_that_changed_since_is_not_meant() {
    let mut play = one_way();
    let seen = about(&play);
    play.see(A, at(60.0, 65.0), &[("x", "2"), ("y", "1")]);
    assert_eq!(play.behind(B), "x=2 y=1", "an edit is judged anew");
    let exposure = Exposure { risk: Risk::EmailChange, paths: vec![path("x")] };
    play.link = stop(&play.link, B, &exposure, Why::OverBudget, SINCE);
    assert_eq!(rule(&play.link, B, &seen, Verdict::Approved), None);
    assert_eq!(play.behind(B), "y=1");
}

/// B11: what was rejected, or has waited for too long, is not brought up again by reading the same.
#[test]
fn a_rejected_value_stays_away_until_it_changes() {
    for expires in [false, true] {
        let mut play = one_way();
        if expires {
            play.now_s = 40.0 + HOLD_TTL.as_secs_f64();
        } else {
            decide(&mut play, Verdict::Rejected);
            assert_eq!(play.link.held_since(), None);
        }
        play.see(A, at(60.0, 65.0), &[("x", "1"), ("y", "0")]);
        assert_eq!(play.behind(B), "", "y was taken back, and x is as it was rejected");
        assert_eq!(play.plan(B), Plan::Rejected, "expired: {expires}");
        play.see(A, at(70.0, 75.0), &[("x", "3"), ("y", "0")]);
        assert_eq!(play.behind(B), "x=3");
        play.see(A, at(80.0, 85.0), &[("x", "0"), ("y", "0")]);
        assert_eq!(play.behind(B), "", "and back again, nobody was harmed");
    }
}

/// A hold ends when the other side comes to hold the value by itself.
#[test]
fn agreement_ends_a_hold() {
    let mut play = one_way();
    play.see(B, at(60.0, 65.0), &[("x", "1"), ("y", "1")]);
    assert_eq!((play.behind(B), play.link.held().count()), (String::new(), 0));
    assert_eq!(play.plan(B), Plan::Nothing);
}

/// B1: a value that waits for a person contends with an edit of the other side as any value does; one that was rejected
/// does not.
#[test]
fn edits_of_the_other_side() {
    for (default, verdict, value, journal) in [
        (A, None, "1", "b x=2 lost"),
        (B, None, "2", "a x=1 lost"),
        (A, Some(Verdict::Rejected), "2", "a x=1 overruled"),
        (A, Some(Verdict::Approved), "1", "b x=2 lost"),
    ] {
        let mut play = both_ways(default);
        if let Some(verdict) = verdict {
            decide(&mut play, verdict);
        }
        play.see(B, at(60.0, 65.0), &[("x", "2"), ("y", "0")]);
        assert_eq!(
            (play.value("x").as_str(), play.journal.join(", ").as_str()),
            (value, journal),
            "{default} {verdict:?}"
        );
    }
}

/// B11: a creation is held as a whole, and a rejected one stays away whatever else changes.
#[test]
fn a_creation_is_held_as_a_whole() {
    let mut play = Play::of(to_b(&["x"]));
    play.link.sides.b.account = None;
    play.see(A, at(30.0, 35.0), &[("x", "1")]);
    assert_eq!(play.behind(B), "x=1");
    let creation = Exposure { risk: Risk::Create, paths: Vec::new() };
    play.link = stop(&play.link, B, &creation, Why::OverBudget, SINCE);
    assert_eq!((play.behind(B), play.plan(B), play.link.held_since()), (String::new(), Plan::Held, Some(SINCE)));
    let waiting = play.clone();

    decide(&mut play, Verdict::Approved);
    assert_eq!(play.behind(B), "x=1");

    play = waiting;
    decide(&mut play, Verdict::Rejected);
    play.see(A, at(60.0, 65.0), &[("x", "2")]);
    assert_eq!((play.behind(B), play.plan(B), play.link.held_since()), (String::new(), Plan::Rejected, None));
}

/// A side whose writes carry everything is not written while one value is held: left out, it would be cleared.
#[test]
fn a_side_that_takes_everything_at_once_waits_as_a_whole() {
    let mut play = one_way();
    play.rules.whole[B] = true;
    assert_eq!(pending(&play.link, B, &play.rules), None);
    assert_eq!(plan(&play.link, B, &play.rules, SINCE), Plan::Held);
    decide(&mut play, Verdict::Approved);
    assert_eq!(play.behind(B), "x=1 y=1");
}

/// Of two values of which nobody knows which is the later one, a person says whether the one overwrites the other.
#[test]
fn a_lost_base_is_decided_by_a_person() {
    for (verdict, behind) in [(Verdict::Approved, "x=1"), (Verdict::Rejected, "")] {
        let mut play = Play::in_sync(two_way(A, &["x"]), &[("x", "0")]);
        play.link.enter(crate::domain::Epoch(8));
        play.see(A, at(100.0, 160.0), &[("x", "1")]);
        play.see(B, at(100.0, 160.0), &[("x", "2")]);
        assert_eq!(held(&play.link, B, &play.rules, SINCE), Some(HoldState::Waiting));
        assert_eq!(play.link.held_since(), Some(Timestamp(160_000)));
        decide(&mut play, verdict);
        assert_eq!((play.behind(B).as_str(), play.behind(A), play.link.held_since()), (behind, String::new(), None));
        let value = play.link.registers[&path("x")].value.clone();
        assert_eq!(text(value.as_ref()), "1");
    }
}
