use super::*;
use crate::domain::resolve::tests::vocabulary::{Play, at, attributes, path, snapshot, to_b, two_way};
use crate::domain::write::Finish;

fn before(play: &Play, side: Side) -> Vec<String> {
    let shown = |(path, value): (&AttributePath, &Option<Value>)| {
        format!("{path}={}", value.as_ref().and_then(Value::as_text).unwrap_or("-"))
    };
    play.link.sides[side].before.iter().map(shown).collect()
}

/// What a write of `side` that is due now overwrites.
fn noted(play: &mut Play, side: Side) -> Overwritten {
    let link = play.link.clone();
    let going = play.begin(side);
    let noted = overwritten(&link, side, &going.wanted, Timestamp(1));
    let held: Vec<(String, String)> = going
        .wanted
        .values
        .iter()
        .map(|(path, value)| {
            let text = value.as_ref().and_then(Value::as_text).unwrap_or("-");
            (path.to_string(), text.to_owned())
        })
        .collect();
    let held: Vec<_> = held.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    play.now_s += 200.0;
    let answer = snapshot(side, at(play.now_s, play.now_s + 2.0), &held);
    play.link = match crate::domain::write::finish(&play.link, side, going.token, &going.wanted, &answer, &play.rules) {
        Finish::Done { link, .. } => link,
        other => panic!("{other:?}"),
    };
    noted
}

/// The link after all that was noted is brought back, with what was not.
fn undo(play: &mut Play, noted: &Overwritten, today: Option<&[(&str, &str)]>) -> Vec<(String, Skip)> {
    let today = today.map(attributes);
    let mut skipped = Vec::new();
    for (path, generation, before) in &noted.values {
        let restore_one = Restore {
            side: noted.side,
            path,
            generation: *generation,
            before,
            today: today.as_ref(),
            read_at: Timestamp(1_000_000),
        };
        match restore(&play.link, restore_one, &play.rules) {
            Ok(link) => play.link = link,
            Err(skip) => skipped.push((path.to_string(), skip)),
        }
    }
    skipped
}

/// B13: values are kept where they may be overwritten, as long as they may, and nowhere else.
#[test]
fn a_link_keeps_what_may_be_overwritten_and_nothing_of_what_is_in_step() {
    let mut play = Play::in_sync(to_b(&["x", "y"]), &[("x", "0"), ("y", "0")]);
    assert_eq!((before(&play, Side::A), before(&play, Side::B)), (vec![], vec![]));
    play.see(Side::A, at(100.0, 160.0), &[("x", "1")]);
    assert_eq!(before(&play, Side::B), ["x=0"]);
    play.see(Side::A, at(200.0, 260.0), &[("x", "2")]);
    assert_eq!(before(&play, Side::B), ["x=0"], "it is what the side still holds");
    let noted = noted(&mut play, Side::B);
    assert_eq!(noted.values, [(path("x"), 3, Before::Held(Some(Value::from("0"))))]);
    assert_eq!(before(&play, Side::B), Vec::<String>::new());
}

/// B13: what was there before the first match is known, whoever was read first.
#[test]
fn what_a_first_match_overwrites_is_known() {
    for order in [[Side::A, Side::B], [Side::B, Side::A]] {
        let mut play = Play::of(to_b(&["x"]));
        for side in order {
            let value = if side == Side::A { "ours" } else { "theirs" };
            play.see(side, at(10.0, 20.0), &[("x", value)]);
        }
        assert_eq!(before(&play, Side::B), ["x=theirs"], "{order:?}");
    }
}

/// B13: a value that was edited on the receiving side and then overwritten is known as well.
#[test]
fn drift_that_is_overwritten_is_known() {
    let mut play = Play::in_sync(to_b(&["x"]), &[("x", "0")]);
    play.see(Side::B, at(100.0, 160.0), &[("x", "theirs")]);
    play.see(Side::A, at(200.0, 260.0), &[("x", "1")]);
    assert_eq!(before(&play, Side::B), ["x=theirs"]);
}

/// B13: one way, the target is set back; the source is left alone, and says nothing new when it is read again.
#[test]
fn one_way_the_target_is_set_back() {
    let mut play = Play::in_sync(to_b(&["x"]), &[("x", "0")]);
    play.see(Side::A, at(100.0, 160.0), &[("x", "wrong")]);
    let noted_write = noted(&mut play, Side::B);
    assert_eq!(undo(&mut play, &noted_write, Some(&[("x", "wrong")])), []);
    assert_eq!((play.behind(Side::A), play.behind(Side::B)), (String::new(), "x=0".to_owned()));
    play.see(Side::B, at(220.0, 900.0), &[("x", "wrong")]);
    let back = noted(&mut play, Side::B);
    assert_eq!(back.values[0].2, Before::Held(Some(Value::from("wrong"))), "an undo can be undone");
    play.see(Side::A, at(100.0, 900.0), &[("x", "wrong")]);
    assert_eq!((play.behind(Side::A), play.behind(Side::B)), (String::new(), String::new()));
    assert_eq!(undo(&mut play, &noted_write, None), [("x".to_owned(), Skip::AlreadyUndone)]);
}

/// B13: two ways, an undo wins over the register on both sides.
#[test]
fn two_ways_both_sides_are_set_back() {
    let mut play = Play::in_sync(two_way(Side::A, &["x"]), &[("x", "0")]);
    play.see(Side::A, at(100.0, 160.0), &[("x", "wrong")]);
    let noted = noted(&mut play, Side::B);
    assert_eq!(undo(&mut play, &noted, Some(&[("x", "wrong")])), []);
    assert_eq!((play.behind(Side::A), play.behind(Side::B)), ("x=0".to_owned(), "x=0".to_owned()));
}

/// B13: what somebody has changed since stays, whether or not that was read yet.
#[test]
fn what_was_edited_since_stays() {
    let written = |rules| {
        let mut play = Play::in_sync(rules, &[("x", "0")]);
        play.see(Side::A, at(100.0, 160.0), &[("x", "wrong")]);
        let noted = noted(&mut play, Side::B);
        (play, noted)
    };
    let edited = vec![("x".to_owned(), Skip::EditedSince)];
    for side in Side::BOTH {
        let (mut play, noted) = written(two_way(Side::A, &["x"]));
        play.see(side, at(900.0, 960.0), &[("x", "theirs")]);
        assert_eq!(undo(&mut play, &noted, None), edited, "two ways, on {side}");
    }
    let (mut play, noted) = written(to_b(&["x"]));
    assert_eq!(undo(&mut play, &noted, Some(&[("x", "theirs")])), edited, "not read yet");
    play.see(Side::B, at(900.0, 960.0), &[("x", "theirs")]);
    assert_eq!(undo(&mut play, &noted, None), edited, "drift");
}

/// B13: a write that was noted and never landed leaves what was there before, and is not made later either.
#[test]
fn a_write_that_never_landed_is_undone_too() {
    let mut play = Play::in_sync(to_b(&["x"]), &[("x", "0")]);
    play.see(Side::A, at(100.0, 160.0), &[("x", "wrong")]);
    let link = play.link.clone();
    let wanted = crate::domain::pending::pending(&link, Side::B, &play.rules).unwrap();
    let noted = overwritten(&link, Side::B, &wanted, Timestamp(1));
    assert_eq!(undo(&mut play, &noted, Some(&[("x", "0")])), []);
    assert_eq!(play.behind(Side::B), "", "the account holds it");
}

/// B13: what cannot be brought back says why.
#[test]
fn what_cannot_be_brought_back_says_why() {
    let mut play = Play::in_sync(to_b(&["x"]), &[("x", "0")]);
    play.see(Side::A, at(100.0, 160.0), &[("x", "wrong")]);
    let noted = noted(&mut play, Side::B);
    let with = |path: &str, before: Before| Overwritten {
        values: vec![(crate::domain::resolve::tests::vocabulary::path(path), noted.values[0].1, before)],
        ..noted.clone()
    };
    assert_eq!(undo(&mut play, &with("x", Before::Unknown), None)[0].1, Skip::Unknown);
    assert_eq!(undo(&mut play, &with("z", Before::Held(None)), None)[0].1, Skip::NotMapped);
    play.link.registers.clear();
    assert_eq!(undo(&mut play, &noted, None)[0].1, Skip::Unread);
}
