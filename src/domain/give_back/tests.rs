use super::*;
use crate::domain::ChangeOutcome::{Accepted, ConflictLost, Unchanged};
use crate::domain::id::Side::{A, B};
use crate::domain::resolve::tests::vocabulary::{Play, at, path, rules, snapshot, text, to_b, two_way};
use crate::domain::rules::{Flow, Policy};

fn wish(pin: bool, force: bool) -> Wish {
    Wish { by: "ada@host".to_owned(), at: Timestamp(20_000), read_at: Timestamp(20_000), pin, force }
}

/// Both sides have changed `x` since they agreed, and `a` won: 1 stays and 2 lost, to the register's second value.
fn clash() -> Play {
    let mut play = Play::in_sync(two_way(A, &["x", "y"]), &[("x", "0"), ("y", "0")]);
    play.see(A, at(100.0, 160.0), &[("x", "1"), ("y", "0")]);
    play.see(B, at(100.0, 160.0), &[("x", "2"), ("y", "0")]);
    assert_eq!((play.value("x"), play.journal.as_slice()), ("1".into(), &["b x=2 lost".to_owned()][..]));
    play
}

/// The writer brings `side` what it lacks.
fn write(play: &mut Play, side: Side, at_s: f64) {
    let going = play.begin(side);
    let held: Vec<(String, String)> =
        going.wanted.values.iter().map(|(path, value)| (path.to_string(), text(value.as_ref()))).collect();
    let held: Vec<(&str, &str)> = held.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    assert_eq!(play.finish(&going, at(at_s, at_s + 0.5), &held).0, "done");
    play.see(side, at(at_s, at_s + 9.0), &held);
}

/// What the journal would have kept of the last replacement.
#[track_caller]
fn give(play: &mut Play, side: Side, value: &str, generation: u32, wish: &Wish) -> Vec<String> {
    let value = Value::from(value);
    let offer = Offer { path: &path("x"), side, value: Some(&value), generation };
    let given = give_back(&play.link, offer, wish, &play.rules).unwrap();
    play.link = given.link;
    given
        .replaced
        .iter()
        .map(|lost| format!("{} x={} {}", lost.side, text(lost.value.as_ref()), lost.generation))
        .collect()
}

/// B5: a value that is given back flows to where it is missing, like an edit of its side; what it replaces is kept, and
/// can be given back in its turn.
#[test]
fn a_value_given_back_flows_and_can_be_taken_back() {
    let mut play = clash();
    write(&mut play, B, 170.0);
    let replaced = give(&mut play, B, "2", 2, &wish(false, false));
    assert_eq!(replaced, ["a x=1 3"]);
    assert_eq!([play.behind(A), play.behind(B)], ["x=2", "x=2"], "neither has it any more");
    // Reading what is there is no edit.
    assert_eq!(play.see(A, at(100.0, 300.0), &[("x", "1"), ("y", "0")]).outcome, Unchanged);
    write(&mut play, A, 310.0);
    write(&mut play, B, 310.0);
    assert_eq!([play.behind(A), play.behind(B)], ["", ""]);
    let replaced = give(&mut play, A, "1", 3, &wish(false, false));
    assert_eq!((replaced, play.value("x")), (vec!["b x=2 4".to_owned()], "1".to_owned()));
}

/// A side that holds the value still, since nobody wrote it over yet, is not written.
#[test]
fn a_side_that_holds_it_still_is_not_written() {
    let mut play = clash();
    give(&mut play, B, "2", 2, &wish(false, false));
    assert_eq!([play.behind(A), play.behind(B)], ["x=2", ""]);
    // A write of the other value that is under way may still land: then it is not believed.
    let mut play = clash();
    play.begin(B);
    give(&mut play, B, "2", 2, &wish(false, false));
    assert_eq!(play.link.registers[&path("x")].applied[B], 1);
}

/// What was changed since is not written over without a person's say; what cannot be is refused with its reason.
#[test]
fn what_should_not_be_given_back_is_refused() {
    let refused = |play: &Play, side, value: &str, generation, wish: &Wish| {
        let value = Value::from(value);
        let offer = Offer { path: &path("x"), side, value: Some(&value), generation };
        give_back(&play.link, offer, wish, &play.rules).map(|given| given.link.registers[&path("x")].generation)
    };
    let mut play = clash();
    let no = wish(false, false);
    assert_eq!(refused(&play, A, "1", 2, &no), Err(Refusal::AlreadyThere));
    play.see(A, at(200.0, 260.0), &[("x", "3"), ("y", "0")]);
    assert_eq!(refused(&play, B, "2", 2, &no), Err(Refusal::ChangedSince));
    assert_eq!(refused(&play, B, "2", 2, &wish(false, true)), Ok(4), "with a person's say");
    let with = |change: &dyn Fn(&mut Play)| {
        let mut play = play.clone();
        change(&mut play);
        play
    };
    let pinned = with(&|play| drop(give(play, A, "3", 3, &wish(true, false))));
    assert_eq!(refused(&pinned, B, "2", 3, &no), Err(Refusal::PinnedAway));
    assert_eq!(refused(&pinned, B, "2", 4, &wish(true, false)), Ok(5), "--pin moves the pin");
    let one_way = with(&|play| play.rules = to_b(&["x"]));
    assert_eq!(refused(&one_way, B, "2", 3, &no), Err(Refusal::DoesNotCount));
    let unmapped = with(&|play| play.rules = two_way(A, &["y"]));
    assert_eq!(refused(&unmapped, B, "2", 3, &no), Err(Refusal::NotMapped));
    let mut lost = play.clone();
    lost.link.enter(crate::domain::Epoch(9));
    assert_eq!(refused(&lost, B, "2", 3, &no), Err(Refusal::Unread));
}

/// B5: while an attribute is pinned, its side alone counts on this link: its edits flow, also over the default system's; an
/// edit of the other side is kept and set back, whatever the policy, and what is not pinned is as ever.
#[test]
fn a_pin_lets_one_side_alone_count() {
    let a_edits = (A, "5");
    let b_edits = (B, "6");
    for (name, sights, register, behind, journal) in [
        ("the other side edits", vec![a_edits], "2", ["x=2", ""], vec!["a x=5 pinned"]),
        ("its own side edits", vec![b_edits], "6", ["x=6", ""], vec![]),
        ("both edit", vec![a_edits, b_edits], "6", ["x=6", ""], vec!["a x=5 pinned"]),
        ("both edit, its own first", vec![b_edits, a_edits], "6", ["x=6", ""], vec!["a x=5 pinned"]),
        ("the other side gives in", vec![(A, "2")], "2", ["", ""], vec![]),
    ] {
        for last_write in [false, true] {
            let mut play = clash();
            if last_write {
                let policy = Policy::LastWrite { default: A, a_ahead_ms: 0 };
                play.rules = rules(Flow::Both, policy, &["x", "y"]);
            }
            play.journal.clear();
            give(&mut play, B, "2", 2, &wish(true, false));
            write(&mut play, A, 170.0);
            for (number, (side, value)) in (0_u32..).zip(sights.iter()) {
                let stamp = 300.0 + 10.0 * f64::from(number);
                let outcome = play.see(*side, at(stamp, stamp + 5.0), &[("x", value), ("y", "0")]).outcome;
                let expected = match (side, *value) {
                    (A, "2") => Unchanged,
                    (A, _) => ConflictLost,
                    (B, _) => Accepted,
                };
                assert_eq!(outcome, expected, "{name}");
            }
            assert_eq!(play.value("x"), register, "{name}");
            assert_eq!([play.behind(A), play.behind(B)], behind, "{name}");
            assert_eq!(play.journal, journal, "{name}");
            // What is not pinned flows from both.
            let a_holds = if behind[0].is_empty() { "2" } else { "7" };
            play.see(A, at(900.0, 960.0), &[("x", a_holds), ("y", "1")]);
            assert_eq!(play.value("y"), "1", "{name}");
        }
    }
}

/// A pin outlives the store's memory, and then decides in the place of a person.
#[test]
fn a_pin_decides_where_the_base_was_lost() {
    for a_first in [true, false] {
        let mut play = clash();
        give(&mut play, B, "2", 2, &wish(true, false));
        play.journal.clear();
        play.link.enter(crate::domain::Epoch(8));
        let mut sights = [(A, "1"), (B, "2")];
        if !a_first {
            sights.reverse();
        }
        for (side, value) in sights {
            play.see(side, at(400.0, 460.0), &[("x", value), ("y", "0")]);
        }
        assert_eq!([play.behind(A), play.behind(B)], ["x=2", ""], "a first: {a_first}");
        assert_eq!(play.journal, ["a x=1 pinned"]);
        play.link = unpin(&play.link, &path("x")).unwrap();
        assert_eq!(unpin(&play.link, &path("x")), None);
        play.see(B, at(400.0, 470.0), &[("x", "2"), ("y", "0")]);
        assert_eq!(play.behind(A), "x=2", "the value stays");
    }
}

/// A hold ends with a person's decision, and both of the values that it was about are accounted for.
#[test]
fn a_hold_ends_when_a_value_is_given_back() {
    let mut play = clash();
    play.link.enter(crate::domain::Epoch(8));
    play.see(A, at(400.0, 460.0), &[("x", "1"), ("y", "0")]);
    play.see(B, at(400.0, 460.0), &[("x", "2"), ("y", "0")]);
    assert_eq!([play.behind(A), play.behind(B)], ["", ""]);
    assert_eq!(give(&mut play, B, "2", 1, &wish(false, false)), ["a x=1 2"]);
    assert_eq!([play.behind(A), play.behind(B)], ["x=2", ""]);
    let shown = snapshot(A, at(500.0, 560.0), &[("x", "2"), ("y", "0")]);
    assert_eq!(play.resolve(A, &shown).outcome, Unchanged);
}
