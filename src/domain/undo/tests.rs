use super::*;
use crate::domain::resolve::tests::vocabulary::{self, Play, at, attributes, path, snapshot, to_b, two_way};
use crate::domain::write::Finish;

fn before(play: &Play, side: Side) -> Vec<String> {
    let shown = |(path, value): (&AttributePath, &Option<Value>)| {
        format!("{path}={}", value.as_ref().and_then(Value::as_text).unwrap_or("-"))
    };
    play.link.sides[side].before.iter().map(shown).collect()
}

/// What a write of `side` that is due now overwrites, and what its answer, which shows it in these forms, tells.
fn noted_with(play: &mut Play, side: Side, forms: &[(&str, &str)]) -> Vec<Overwritten> {
    let link = play.link.clone();
    let going = play.begin(side);
    let mut notes = vec![overwritten(&link, side, &going.wanted, Timestamp(1), &play.rules)];
    let mut held: Vec<(String, String)> = Vec::new();
    for (path, value) in &going.wanted.values {
        let text = value.as_ref().and_then(Value::as_text).unwrap_or("-");
        let form = forms.iter().find(|(name, _)| *name == path.as_str()).map_or(text, |(_, form)| form);
        held.push((path.to_string(), form.to_owned()));
    }
    let held: Vec<_> = held.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    play.now_s += 200.0;
    let answer = snapshot(side, at(play.now_s, play.now_s + 2.0), &held);
    play.link = match crate::domain::write::finish(&play.link, side, going.token, &going.wanted, &answer, &play.rules) {
        Finish::Done { link, .. } => link,
        other => panic!("{other:?}"),
    };
    notes.extend(answered(&play.link, side, &going.wanted, &answer, Timestamp(1), &play.rules));
    notes
}

/// The note of a write of `side` that is due now, and lands as it is.
fn noted(play: &mut Play, side: Side) -> Overwritten {
    let mut notes = noted_with(play, side, &[]);
    assert_eq!(notes.len(), 1);
    notes.remove(0)
}

/// The note of a write that somebody's edit to this kept from being made, once that was read.
fn refused(play: &mut Play, side: Side, edit: &[(&str, &str)]) -> Overwritten {
    let link = play.link.clone();
    let going = play.begin(side);
    let note = overwritten(&link, side, &going.wanted, Timestamp(1), &play.rules);
    play.link = crate::domain::write::withdraw(&play.link, side, going.token).unwrap();
    play.now_s += 200.0;
    play.see(side, at(play.now_s, play.now_s + 60.0), edit);
    play.now_s += 200.0;
    note
}

/// What is skipped of an undo of these notes; what is not is brought back.
fn undo_all(play: &mut Play, notes: &[Overwritten], today: Sides<Option<&[(&str, &str)]>>) -> Vec<(String, Skip)> {
    let shown = Sides { a: today.a.map(attributes), b: today.b.map(attributes) };
    let today = Sides { a: shown.a.as_ref(), b: shown.b.as_ref() };
    let mut skipped = Vec::new();
    for target in targets(notes.iter().cloned(), &play.rules) {
        for (path, written) in &target.values {
            let what = Restore { side: target.side, path, written, today, read_at: Timestamp(1_000_000) };
            match restore(&play.link, what, &play.rules) {
                Ok(link) => play.link = link,
                Err(skip) => skipped.push((path.to_string(), skip)),
            }
        }
    }
    skipped
}

/// The same of one note; `today`: what the account that it is about holds.
fn undo(play: &mut Play, noted: &Overwritten, today: Option<&[(&str, &str)]>) -> Vec<(String, Skip)> {
    let today = Sides::from_fn(|side| today.filter(|_| side == noted.side));
    undo_all(play, std::slice::from_ref(noted), today)
}

const NOBODY_ASKED: Sides<Option<&[(&str, &str)]>> = Sides { a: None, b: None };

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
    let [replaced] = &noted.values[..] else { panic!("{noted:?}") };
    assert_eq!((replaced.path.as_str(), replaced.generation), ("x", 3));
    assert_eq!(replaced.before, Before::Held(Some(Value::from("0"))));
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
    assert_eq!(back.values[0].before, Before::Held(Some(Value::from("wrong"))), "an undo can be undone");
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
    let noted = overwritten(&link, Side::B, &wanted, Timestamp(1), &play.rules);
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
        values: vec![Replaced { path: vocabulary::path(path), before, ..noted.values[0].clone() }],
        ..noted.clone()
    };
    assert_eq!(undo(&mut play, &with("x", Before::Unknown), None)[0].1, Skip::Unknown);
    assert_eq!(undo(&mut play, &with("z", Before::Held(None)), None)[0].1, Skip::NotMapped);
    play.link.registers.clear();
    assert_eq!(undo(&mut play, &noted, None)[0].1, Skip::Unread);
}

/// B13: a write that a person's edit kept from being made, and that was made over that edit in the end, gives back the edit,
/// not what was there before it; whatever the mapping made of the value meanwhile.
#[test]
fn what_a_person_wrote_between_two_writes_comes_back() {
    for edits in [vec![], vec!["2"]] {
        let mut play = Play::in_sync(to_b(&["x"]), &[("x", "T0")]);
        play.see(Side::A, at(100.0, 160.0), &[("x", "V")]);
        let mut notes = vec![refused(&mut play, Side::B, &[("x", "C")])];
        for edit in &edits {
            play.see(Side::A, at(700.0, 760.0), &[("x", edit)]);
        }
        notes.push(noted(&mut play, Side::B));
        assert_eq!(undo_all(&mut play, &notes, NOBODY_ASKED), [], "{edits:?}");
        assert_eq!(play.behind(Side::B), "x=C", "{edits:?}");
    }
}

/// B13: of several values that a run wrote, one over the other, the one before all of them comes back, also where the system
/// kept them in a form of its own.
#[test]
fn what_was_there_before_all_writes_of_a_run_comes_back() {
    for forms in [vec![], vec![("x", "first")]] {
        let mut play = Play::in_sync(to_b(&["x"]), &[("x", "T0")]);
        play.see(Side::A, at(100.0, 160.0), &[("x", "first value")]);
        let mut notes = noted_with(&mut play, Side::B, &forms);
        let held = forms.first().copied().unwrap_or(("x", "first value"));
        play.see(Side::B, at(play.now_s, play.now_s + 60.0), &[held]);
        play.see(Side::A, at(700.0, 760.0), &[("x", "second value")]);
        notes.extend(noted_with(&mut play, Side::B, &[]));
        assert_eq!(undo_all(&mut play, &notes, NOBODY_ASKED), [], "{forms:?}");
        assert_eq!(play.behind(Side::B), "x=T0", "{forms:?}");
    }
}

/// B13: in another epoch the same generation counts another value, so nothing is brought back.
#[test]
fn nothing_is_brought_back_across_epochs() {
    let mut play = Play::in_sync(to_b(&["x"]), &[("x", "0")]);
    play.see(Side::A, at(100.0, 160.0), &[("x", "wrong")]);
    let noted = noted(&mut play, Side::B);
    let earlier = Overwritten { epoch: Epoch(noted.epoch.0 - 1), ..noted.clone() };
    let forgotten = [("x".to_owned(), Skip::Forgotten)];
    assert_eq!(undo(&mut play, &earlier, None), forgotten);
    assert_eq!(
        undo_all(&mut play, &[earlier, noted], NOBODY_ASKED),
        forgotten,
        "of two epochs nothing is told together"
    );
}

/// B13: a form that the system gave our value is ours, and a person's correction of it that looks the same is not.
#[test]
fn a_persons_shortening_is_not_taken_for_the_systems() {
    for (form, today, is_back) in
        [("Ada", "Ada", true), ("Ada L", "Ada", false), ("Ada Lovelace Byron", "Ada Lovelace", false)]
    {
        for is_read in [false, true] {
            let mut play = Play::in_sync(to_b(&["x"]), &[("x", "Bo")]);
            play.see(Side::A, at(100.0, 160.0), &[("x", "Ada Lovelace Byron")]);
            let notes = noted_with(&mut play, Side::B, &[("x", form)]);
            if is_read {
                play.see(Side::B, at(900.0, 960.0), &[("x", today)]);
            }
            let shown = [("x", today)];
            let skipped = undo_all(&mut play, &notes, Sides { a: None, b: (!is_read).then_some(&shown[..]) });
            assert_eq!(skipped.is_empty(), is_back, "{form} {today} {is_read}");
        }
    }
}

/// B13: both ways, an edit on the side that was not written stays, though nobody has read it yet.
#[test]
fn an_unread_edit_on_the_other_side_stays() {
    for (rules, skips) in [(two_way(Side::A, &["x"]), true), (to_b(&["x"]), false)] {
        let mut play = Play::in_sync(rules, &[("x", "0")]);
        play.see(Side::A, at(100.0, 160.0), &[("x", "wrong")]);
        let notes = [noted(&mut play, Side::B)];
        let skipped =
            undo_all(&mut play.clone(), &notes, Sides { a: Some(&[("x", "right")]), b: Some(&[("x", "wrong")]) });
        assert_eq!(!skipped.is_empty(), skips, "{skipped:?}");
        let today = Sides { a: Some(&[("x", "wrong")][..]), b: Some(&[("x", "wrong")][..]) };
        assert_eq!(undo_all(&mut play, &notes, today), []);
    }
}

/// B13, R25: who was created is known by the answer alone: what a search found is not.
#[test]
fn only_an_answer_tells_that_an_account_was_created() {
    let note = |act, account: Option<&str>| Overwritten {
        link: LinkId(1),
        epoch: Epoch(7),
        side: Side::B,
        accounts: Sides { a: None, b: account.map(|account| account.parse().unwrap()) },
        at: Timestamp(1),
        act,
        values: Vec::new(),
    };
    let acts = |notes: Vec<Overwritten>| -> Vec<(Act, Option<String>)> {
        let acts = targets(notes, &to_b(&["x"])).into_iter();
        acts.map(|target| (target.act, target.accounts.b.map(|account| account.to_string()))).collect()
    };
    let (created, made) = (note(Act::Created, None), note(Act::Made, Some("b1")));
    let changed = |account| note(Act::Changed, Some(account));
    let of = |act, account: &str| (act, Some(account.to_owned()));
    assert_eq!(acts(vec![created.clone(), made, changed("b1")]), [of(Act::Made, "b1")]);
    assert_eq!(acts(vec![created.clone(), changed("b9")]), [(Act::Created, None), of(Act::Changed, "b9")]);
    assert_eq!(acts(vec![changed("b1"), changed("b2")]), [of(Act::Changed, "b1"), of(Act::Changed, "b2")]);
}

/// B13: both ways, to deactivate who was created would deactivate their partner, who was there before.
#[test]
fn nobody_is_deactivated_both_ways() {
    for (rules, skip) in [(two_way(Side::A, &["active"]), Some(Skip::BothWays)), (to_b(&["active"]), None)] {
        let mut play = Play::in_sync(rules, &[("active", "yes")]);
        let path = path("active");
        let before = Before::Held(Some(Value::Bool(false)));
        let replaced = Replaced { path: path.clone(), generation: 1, wrote: Digest(1), before };
        let note = Overwritten { values: vec![replaced], ..play_note(&mut play) };
        let target = targets([note], &play.rules).remove(0);
        let written = &target.values[&path];
        let what =
            Restore { side: Side::B, path: &path, written, today: Sides::default(), read_at: Timestamp(1_000_000) };
        assert_eq!(deactivate(&play.link, what, &play.rules).err(), skip);
    }
}

fn play_note(play: &mut Play) -> Overwritten {
    let accounts = Sides::from_fn(|side| play.link.sides[side].account.clone());
    let (link, epoch) = (play.link.id, play.link.epoch);
    Overwritten { link, epoch, side: Side::B, accounts, at: Timestamp(1), act: Act::Made, values: Vec::new() }
}

/// B13: `undo = "off"` keeps no value, and drops what was kept.
#[test]
fn where_nothing_is_to_be_undone_no_value_is_kept() {
    let mut play = Play::in_sync(to_b(&["x"]), &[("x", "0")]);
    play.see(Side::A, at(100.0, 160.0), &[("x", "1")]);
    assert_eq!(before(&play, Side::B), ["x=0"]);
    play.rules.keeps_before = false;
    play.see(Side::A, at(200.0, 260.0), &[("x", "2")]);
    assert_eq!(before(&play, Side::B), Vec::<String>::new());
}
