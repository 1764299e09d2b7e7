//! The merge table: each case is a way for values to arrive, and where they come to rest.

use super::vocabulary::{Play, at, read_at, rules, snapshot, to_b, two_way};
use crate::domain::hold::Hold;
use crate::domain::id::Side::{A, B};
use crate::domain::id::{Epoch, Side};
use crate::domain::resolve::resolve_absence;
use crate::domain::rules::{Drift, Flow, Leavers, Policy, Rules};
use crate::domain::{ChangeOutcome, Timestamp};

use ChangeOutcome::{Accepted, ConflictLost, Stale, Unchanged};

/// One snapshot: side, stamp in seconds (read a minute later), value of `x`, and what becomes of it.
type Sight = (Side, f64, &'static str, ChangeOutcome);

/// Plays the sights; then the register, what `a` and `b` lack, and the journal must be these.
#[track_caller]
fn check(name: &str, mut play: Play, sights: &[Sight], register: &str, behind: [&str; 2], journal: &[&str]) {
    for (number, (side, modified, text, outcome)) in sights.iter().enumerate() {
        let resolution = play.see(*side, at(*modified, modified + 60.0), &[("x", text)]);
        assert_eq!(resolution.outcome, *outcome, "{name}, sight {number}");
    }
    assert_eq!(play.value("x"), register, "{name}");
    assert_eq!([play.behind(A), play.behind(B)], behind, "{name}");
    assert_eq!(play.journal, journal, "{name}");
}

fn synced(rules: Rules) -> Play {
    Play::in_sync(rules, &[("x", "0")])
}

/// R55, R57, R58: a change flows the way that the rules allow; both changed since they last agreed is a clash, and the
/// default side wins it, whoever was read first.
#[test]
fn edits_flow_and_the_default_side_wins_clashes() {
    let edit_a = (A, 100.0, "1", Accepted);
    let edit_b = (B, 100.0, "2", Accepted);
    let a_late = |outcome| (A, 100.0, "1", outcome);
    let b_late = |outcome| (B, 100.0, "2", outcome);
    for (name, default, sights, register, behind, journal) in [
        ("a edits", A, vec![edit_a], "1", ["", "x=1"], vec![]),
        ("b edits", A, vec![edit_b], "2", ["x=2", ""], vec![]),
        ("both, a wins", A, vec![edit_a, b_late(ConflictLost)], "1", ["", "x=1"], vec!["b x=2 lost"]),
        ("both, b read first", A, vec![edit_b, a_late(Accepted)], "1", ["", "x=1"], vec!["b x=2 lost"]),
        ("both, b wins", B, vec![edit_a, b_late(Accepted)], "2", ["x=2", ""], vec!["a x=1 lost"]),
        ("both, b wins, b first", B, vec![edit_b, a_late(ConflictLost)], "2", ["x=2", ""], vec!["a x=1 lost"]),
        ("both alike", A, vec![edit_a, (B, 100.0, "1", Unchanged)], "1", ["", ""], vec![]),
        ("a clears", A, vec![(A, 100.0, "-", Accepted)], "-", ["", "x=-"], vec![]),
        ("a edits twice", B, vec![edit_a, (A, 200.0, "3", Accepted)], "3", ["", "x=3"], vec![]),
        ("a puts it back", B, vec![edit_a, (A, 200.0, "0", Accepted)], "0", ["", ""], vec![]),
        ("late", A, vec![(A, 5.0, "1", Stale)], "0", ["", ""], vec![]),
    ] {
        check(name, synced(two_way(default, &["x"])), &sights, register, behind, &journal);
    }
}

/// R59, B1: disjoint edits merge.
#[test]
fn edits_of_different_attributes_merge() {
    let mut play = Play::in_sync(two_way(A, &["x", "y"]), &[("x", "0"), ("y", "0")]);
    play.see(A, at(100.0, 160.0), &[("x", "1"), ("y", "0")]);
    play.see(B, at(100.0, 160.0), &[("x", "0"), ("y", "2")]);
    assert_eq!((play.behind(A), play.behind(B)), ("y=2".into(), "x=1".into()));
    assert_eq!(play.journal, [""; 0]);
}

/// R56: one-way, what the other side types stays until the source changes it, or is overwritten at once where the
/// rules say so; it never reaches the source. In a two-way connection too.
#[test]
fn one_way_never_changes_the_source() {
    let drift = (B, 100.0, "2", Unchanged);
    let next = (A, 200.0, "1", Accepted);
    for (name, drift_rule, sights, register, behind) in [
        ("keep", Drift::Keep, vec![drift], "0", ["", ""]),
        ("enforce", Drift::Enforce, vec![drift], "0", ["", "x=0"]),
        ("next change of the source", Drift::Keep, vec![drift, next], "1", ["", "x=1"]),
        ("both", Drift::Keep, vec![next, (B, 150.0, "2", Unchanged)], "1", ["", "x=1"]),
        ("drift to what comes", Drift::Keep, vec![(B, 100.0, "1", Unchanged), next], "1", ["", ""]),
    ] {
        let mut rules = two_way(B, &["x", "y"]);
        let rule = rules.attributes.values_mut().next().unwrap();
        (rule.flow, rule.drift) = (Flow::Towards(B), drift_rule);
        check(name, synced(rules), &sights, register, behind, &[]);
    }
    let to_a = rules(Flow::Towards(A), Policy::DefaultSystem(B), &["x"]);
    check("b_to_a", synced(to_a.clone()), &[(B, 100.0, "2", Accepted)], "2", ["x=2", ""], &[]);
    check("b_to_a, drift of a", synced(to_a), &[(A, 100.0, "1", Unchanged)], "0", ["", ""], &[]);
}

#[test]
fn a_watched_attribute_is_noted_and_written_nowhere() {
    for drift in [Drift::Keep, Drift::Enforce] {
        let mut rules = rules(Flow::WatchedOn(A), Policy::DefaultSystem(A), &["x"]);
        rules.attributes.values_mut().for_each(|rule| rule.drift = drift);
        let sights = [(A, 100.0, "1", Accepted), (B, 100.0, "2", Unchanged)];
        check("watched", synced(rules), &sights, "1", ["", ""], &[]);
    }
}

/// R58, R73: the later edit wins, by clocks made comparable; where time does not tell, the default side.
#[test]
fn last_write_compares_edits_on_one_clock() {
    for (name, default, a_ahead_ms, a_at, b_at, winner) in [
        ("later a", B, 0, 110.0, 105.0, "1"),
        ("later b", A, 0, 105.0, 110.0, "2"),
        ("a's clock is ahead", A, 10_000, 110.0, 105.0, "2"),
        ("a's clock is behind", B, -10_000, 105.0, 110.0, "1"),
        ("closer than the clocks are known", A, 0, 105.0, 106.0, "1"),
        ("a little later", A, 0, 105.0, 106.1, "2"),
        ("tie, default a", A, 0, 100.0, 100.0, "1"),
        ("tie, default b", B, 0, 100.0, 100.0, "2"),
        ("a's stamp is from the future", B, 0, 9_000.0, 105.0, "2"),
        ("b's stamp is from the future", A, 0, 105.0, 9_000.0, "1"),
    ] {
        for a_first in [true, false] {
            let mut play = synced(rules(Flow::Both, Policy::LastWrite { default, a_ahead_ms }, &["x"]));
            play.now_s = 120.0;
            let see_a = |play: &mut Play| play.see(A, at(a_at, 160.0), &[("x", "1")]);
            let see_b = |play: &mut Play| play.see(B, at(b_at, 160.0), &[("x", "2")]);
            if a_first {
                see_a(&mut play);
                see_b(&mut play);
            } else {
                see_b(&mut play);
                see_a(&mut play);
            }
            assert_eq!(play.value("x"), winner, "{name}, a first: {a_first}");
            assert_eq!(play.journal.len(), 1, "{name}");
        }
    }
}

/// F27: a stamp far ahead of its own system's clock orders nothing, or every later edit would be stale.
#[test]
fn a_stamp_from_the_future_does_not_shut_out_later_edits() {
    let mut play = synced(two_way(A, &["x"]));
    play.see(A, at(1_000_000.0, 160.0), &[("x", "1")]);
    assert_eq!(play.see(A, at(200.0, 260.0), &[("x", "2")]).outcome, Accepted);
    assert_eq!(play.behind(B), "x=2");
}

/// First sights: equal values agree, a missing one is filled, nothing is cleared, different ones go to the policy.
#[test]
fn first_sights_clear_nothing() {
    for (name, default, a, b, register, behind, journal) in [
        ("equal", A, "1", "1", "1", ["", ""], vec![]),
        ("only a", B, "1", "-", "1", ["", "x=1"], vec![]),
        ("only b", A, "-", "2", "2", ["x=2", ""], vec![]),
        ("neither", A, "-", "-", "?", ["", ""], vec![]),
        ("different, a wins", A, "1", "2", "1", ["", "x=1"], vec!["b x=2 lost"]),
        ("different, b wins", B, "1", "2", "2", ["x=2", ""], vec!["a x=1 lost"]),
    ] {
        for order in [[A, B], [B, A]] {
            let mut play = Play::of(two_way(default, &["x"]));
            for side in order {
                let text = if side == A { a } else { b };
                play.see(side, at(10.0, 20.0), &[("x", text)]);
            }
            assert_eq!(play.value("x"), register, "{name}, {order:?}");
            assert_eq!([play.behind(A), play.behind(B)], behind, "{name}, {order:?}");
            assert_eq!(play.journal, journal, "{name}, {order:?}");
        }
    }
    for (name, a, b, behind) in
        [("source has it", "1", "2", "x=1"), ("source has none", "-", "2", ""), ("equal", "1", "1", "")]
    {
        for order in [[A, B], [B, A]] {
            let mut play = Play::of(to_b(&["x"]));
            for side in order {
                play.see(side, at(10.0, 20.0), &[("x", if side == A { a } else { b })]);
            }
            assert_eq!([play.behind(A).as_str(), &play.behind(B)], ["", behind], "one-way, {name}, {order:?}");
        }
    }
}

/// R83, B21: a clear is carried as a clear, an attribute that was not seen is none.
#[test]
fn a_clear_travels_and_an_unseen_attribute_does_not() {
    let mut play = Play::in_sync(two_way(A, &["x", "y"]), &[("x", "0"), ("y", "0")]);
    play.see(B, at(100.0, 160.0), &[("x", "-")]);
    assert_eq!((play.behind(A), play.behind(B)), ("x=-".into(), "".into()));
    let going = play.begin(A);
    assert_eq!(play.finish(&going, at(200.0, 201.0), &[("x", "-"), ("y", "0")]).0, "done");
    assert_eq!(play.behind(A), "");
    assert_eq!(play.see(A, at(200.0, 260.0), &[("x", "-"), ("y", "0")]).outcome, Unchanged);
}

/// B21: nothing is written over a value that was never read: not after a partial first read, and not when an
/// attribute is mapped that was not mapped before.
#[test]
fn nothing_is_written_over_a_value_that_was_never_read() {
    let mut play = Play::of(two_way(A, &["x", "y"]));
    play.see(A, at(10.0, 20.0), &[("x", "1"), ("y", "1")]);
    let first = play.see(B, at(10.0, 20.0), &[("x", "0")]);
    assert!(first.reread, "y was not seen");
    assert_eq!(play.behind(B), "x=1");
    assert!(play.see(B, at(5.0, 15.0), &[("x", "0"), ("y", "5")]).reread, "an older read shows more");
    play.see(B, at(10.0, 40.0), &[("x", "0"), ("y", "2")]);
    assert_eq!((play.behind(B), &*play.journal), ("x=1 y=1".into(), &["b x=0 lost".into(), "b y=2 lost".into()][..]));
}

fn rebuilt(a: &str, b: &str) -> Play {
    let mut play = synced(two_way(A, &["x"]));
    play.link.enter(Epoch(8));
    play.see(A, at(100.0, 160.0), &[("x", a)]);
    play.see(B, at(100.0, 160.0), &[("x", b)]);
    play
}

/// R86: after a loss of the store differing values are held, whatever the policy; so is a value against none.
#[test]
fn a_lost_base_is_held_and_not_guessed() {
    for (a, b, held) in [("1", "2", true), ("1", "1", false), ("1", "-", true), ("-", "2", true), ("-", "-", false)] {
        let play = rebuilt(a, b);
        assert_eq!([play.behind(A), play.behind(B)], ["", ""], "{a} and {b}");
        let hold = play.link.registers.values().next().and_then(|register| register.hold.clone());
        assert_eq!(matches!(hold, Some(Hold::BaseLost { .. })), held, "{a} and {b}");
    }
}

/// R86: a hold ends with the next edit of either side, or when they agree; not by reading either of them again.
#[test]
fn a_hold_ends_with_an_edit_or_with_agreement() {
    for (name, sights, register, behind, journal) in [
        ("a is read again", vec![(A, 100.0, "1", Unchanged)], "1", ["", ""], vec![]),
        ("b is read again", vec![(B, 100.0, "2", Unchanged)], "1", ["", ""], vec![]),
        ("a is edited", vec![(A, 200.0, "3", Accepted)], "3", ["", "x=3"], vec!["b x=2 overruled"]),
        ("b is edited", vec![(B, 200.0, "3", Accepted)], "3", ["x=3", ""], vec!["a x=1 overruled"]),
        ("a follows b", vec![(A, 200.0, "2", Accepted)], "2", ["", ""], vec!["b x=2 overruled"]),
        ("b follows a", vec![(B, 200.0, "1", Unchanged), (B, 300.0, "4", Accepted)], "4", ["x=4", ""], vec![]),
    ] {
        let mut play = rebuilt("1", "2");
        for (side, modified, text, outcome) in sights {
            let resolution = play.see(side, at(modified, modified + 90.0), &[("x", text)]);
            assert_eq!(resolution.outcome, outcome, "{name}");
        }
        assert_eq!(play.value("x"), register, "{name}");
        assert_eq!([play.behind(A), play.behind(B)], behind, "{name}");
        assert_eq!(play.journal, journal, "{name}");
    }
}

/// R86: of a link of another epoch only the pairing is believed, and nothing is asked before both sides were read.
#[test]
fn entering_an_epoch_forgets_all_but_the_pairing() {
    let mut play = synced(two_way(A, &["x"]));
    play.see(A, at(100.0, 160.0), &[("x", "1")]);
    play.begin(B);
    let before = play.link.clone();
    play.link.enter(before.epoch);
    assert_eq!(play.link, before);
    play.link.enter(Epoch(8));
    assert!(play.link.registers.is_empty() && play.link.is_paired());
    for side in Side::BOTH {
        let state = &play.link.sides[side];
        assert!(state.seen.is_empty() && state.seen_at.is_none() && state.intents.is_empty() && state.lease.is_none());
    }
    assert_eq!(play.see(A, at(100.0, 160.0), &[("x", "1")]).emits, Default::default());
}

/// B12: an account is gone after two proofs, each counted once; a later sight of it, and only a later one, undoes that.
#[test]
fn absence_is_proven_twice_and_undone_by_a_later_sight() {
    let mut play = synced(two_way(A, &["x"]));
    let absent = |play: &mut Play, read_s: i64| {
        let resolution = resolve_absence(&play.link, A, Timestamp(read_s * 1000), &play.rules);
        play.link = resolution.link.clone();
        (resolution.outcome, play.link.sides.a.is_gone())
    };
    assert_eq!(absent(&mut play, 15), (Stale, false), "the account was seen later");
    assert_eq!(absent(&mut play, 100), (Unchanged, false));
    assert_eq!(absent(&mut play, 100), (Stale, false), "the same proof counts once");
    play.see(A, at(10.0, 20.0), &[("x", "0")]);
    play.see(A, at(50.0, 60.0), &[("x", "0")]);
    assert_eq!(absent(&mut play, 200), (Unchanged, true), "what was read before the proofs does not undo them");
    play.see(A, at(50.0, 300.0), &[("x", "0")]);
    assert!(!play.link.sides.a.is_gone());
    assert_eq!(absent(&mut play, 400), (Unchanged, false), "counted from the beginning");
}

/// R25, B12: a leaver's partner is deactivated where the rules say so, and reactivated when the account comes back.
#[test]
fn a_leaver_comes_back() {
    let active = |play: &mut Play, side, stamp: f64, on: bool| {
        let mut seen = snapshot(side, at(stamp, stamp + 60.0), &[]);
        seen.attributes.insert("active".parse().unwrap(), Some(on.into()));
        play.resolve(side, &seen)
    };
    let mut rules = to_b(&["active"]);
    rules.leavers = Leavers::Deactivate;
    let mut play = Play::of(rules);
    active(&mut play, A, 10.0, true);
    active(&mut play, B, 10.0, true);
    for read_s in [100, 200] {
        play.link = resolve_absence(&play.link, A, Timestamp(read_s * 1000), &play.rules).link;
    }
    assert_eq!(play.behind(B), "active=?");
    let going = play.begin(B);
    assert!(going.wanted.deactivates());
    let mut answer = snapshot(B, at(210.0, 211.0), &[]);
    answer.attributes.insert("active".parse().unwrap(), Some(false.into()));
    let finish = crate::domain::write::finish(&play.link, B, going.token, &going.wanted, &answer, &play.rules);
    let crate::domain::write::Finish::Done { link, .. } = finish else { panic!("{finish:?}") };
    play.link = link;
    active(&mut play, B, 210.0, false);
    assert_eq!(active(&mut play, A, 10.0 + 300.0, true).outcome, Accepted, "it is back");
    assert_eq!(play.behind(B), "active=?");
    assert!(!play.begin(B).wanted.deactivates());
}

/// F26: ties and reads that cannot be ordered change nothing, emit nothing, and are read again.
#[test]
fn what_cannot_be_ordered_is_read_again() {
    let mut play = synced(two_way(A, &["x"]));
    play.see(B, at(100.0, 160.0), &[("x", "1")]);
    let before = play.link.clone();
    for (name, version, text, reread) in [
        ("a tie that differs", at(10.0, 20.5), "9", true),
        ("the same again", at(10.0, 20.0), "0", false),
        ("older by its stamp", at(5.0, 400.0), "9", false),
        ("older by its read, and different", at(10.0, 18.0), "9", true),
        ("older by its read", at(10.0, 18.0), "0", false),
    ] {
        let resolution = play.see(A, version, &[("x", text)]);
        assert_eq!((resolution.changed, resolution.reread), (false, reread), "{name}");
        assert_eq!(play.link, before, "{name}");
    }
    let mut play = synced(two_way(A, &["x"]));
    play.see(A, read_at(100.0), &[("x", "0")]);
    assert!(play.see(A, read_at(90.0), &[("x", "9")]).reread, "stale without stamps");
}

/// F29: a system that keeps what it is sent cut short, trimmed or in lower case comes to rest, and its form of the
/// value never flows back.
#[test]
fn a_system_with_its_own_form_of_a_value_comes_to_rest() {
    for (sent, kept) in [("Maximilian", "Maximil"), (" Ada ", "Ada"), ("Ada@X.Example", "ada@x.example")] {
        for rules in [two_way(A, &["x"]), two_way(B, &["x"]), to_b(&["x"])] {
            let mut play = synced(rules);
            play.see(A, at(100.0, 160.0), &[("x", sent)]);
            let going = play.begin(B);
            assert_eq!(play.finish(&going, at(170.0, 170.5), &[("x", kept)]), ("done", None), "{kept}");
            let read = play.see(B, at(170.0, 180.0), &[("x", kept)]);
            assert_eq!((read.outcome, play.behind(A), play.behind(B)), (Unchanged, "".into(), "".into()), "{kept}");
        }
    }
}
