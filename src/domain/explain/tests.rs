//! One play for each verdict, and how attributes stand in it.

use super::*;
use crate::domain::id::Side::{A, B};
use crate::domain::resolve::resolve_absence;
use crate::domain::resolve::tests::vocabulary::{LEASE_S, Play, at, path, snapshot, to_b, two_way};
use crate::domain::rules::{Flow, Leavers};
use crate::domain::write::bury;
use crate::domain::{Epoch, Link};

/// The explanation when nobody looked at the systems.
fn told(play: &Play) -> Explanation {
    looked(play, Sides::default(), &[])
}

fn looked(play: &Play, today: Sides<Option<Sight<'_>>>, lost: &[Lost]) -> Explanation {
    let now = Timestamp((play.now_s * 1000.0) as i64);
    explain(Facts { link: &play.link, rules: &play.rules, now, today, lost })
}

fn story(explanation: &Explanation, name: &str) -> Story {
    explanation.attributes.iter().find(|story| story.path == path(name)).unwrap().clone()
}

fn edited(rules: Rules) -> Play {
    let mut play = Play::in_sync(rules, &[("x", "0"), ("y", "0")]);
    play.see(A, at(100.0, 160.0), &[("x", "1"), ("y", "0")]);
    play
}

/// Only the account on `a` is known, and was read.
fn single(rules: Rules) -> Play {
    let mut play = Play::of(rules);
    play.link.sides.b.account = None;
    play.see(A, at(10.0, 20.0), &[("x", "1"), ("y", "-")]);
    play
}

fn gone(link: &Link, side: Side, rules: &Rules) -> Link {
    let once = resolve_absence(link, side, Timestamp(300_000), rules).link;
    resolve_absence(&once, side, Timestamp(400_000), rules).link
}

#[test]
fn sides_that_hold_the_same_are_in_step() {
    let explanation = told(&Play::in_sync(to_b(&["x"]), &[("x", "0")]));
    assert_eq!(explanation.verdict, Verdict::InStep);
    let x = story(&explanation, "x");
    assert_eq!(x.seen, Sides { a: Seen::Same, b: Seen::Same });
    assert_eq!(x.standing, Sides { a: Standing::There, b: Standing::There });
    assert!(x.is_plain());
}

#[test]
fn an_edit_leaves_the_other_side_behind_since_then() {
    let explanation = told(&edited(to_b(&["x", "y"])));
    let since = Some(Since { changed: A, at: Timestamp(100_000) });
    assert_eq!(explanation.verdict, Verdict::Behind { side: B, creating: false, since, paths: vec![path("x")] });
    let x = story(&explanation, "x");
    assert_eq!((x.seen.b, x.standing.b, x.is_plain()), (Seen::Other, Standing::Due, false));
    assert!(story(&explanation, "y").is_plain());
}

#[test]
fn an_account_that_is_to_be_created_is_behind() {
    let explanation = told(&single(to_b(&["x", "y"])));
    let Verdict::Behind { side: B, creating: true, paths, .. } = &explanation.verdict else {
        panic!("{explanation:?}")
    };
    assert_eq!(*paths, [path("x")], "a creation clears nothing");
}

#[test]
fn a_write_under_way_is_told_until_its_lease_is_over() {
    let mut play = edited(to_b(&["x", "y"]));
    play.begin(B);
    assert_eq!(told(&play).verdict, Verdict::Writing { side: B });
    play.now_s += LEASE_S as f64;
    assert!(matches!(told(&play).verdict, Verdict::Behind { side: B, .. }));
}

#[test]
fn a_refusal_stands_until_what_is_wanted_changes() {
    let mut play = edited(to_b(&["x", "y"]));
    let wanted = pending(&play.link, B, &play.rules).unwrap();
    play.link = bury(&play.link, B, &wanted, "email_exists", &play.rules);
    let explanation = told(&play);
    assert_eq!(explanation.verdict, Verdict::Refused { side: B });
    assert_eq!(story(&explanation, "x").standing.b, Standing::Refused);
    play.see(A, at(200.0, 260.0), &[("x", "2"), ("y", "0")]);
    assert!(matches!(told(&play).verdict, Verdict::Behind { .. }));
}

/// B5: the clash is told as long as its winner stands.
#[test]
fn a_clash_is_told_until_the_attribute_changes_again() {
    let mut play = Play::in_sync(two_way(A, &["x"]), &[("x", "0")]);
    play.see(A, at(100.0, 160.0), &[("x", "1")]);
    let lost = play.see(B, at(110.0, 170.0), &[("x", "2")]).lost;
    let clash = |play: &Play| looked(play, Sides::default(), &lost).verdict;
    assert!(matches!(clash(&play), Verdict::Behind { side: B, .. }));
    let going = play.begin(B);
    play.finish(&going, at(172.0, 173.0), &[("x", "1")]);
    assert_eq!(clash(&play), Verdict::ConflictDecided { path: path("x"), loser: B });
    play.see(B, at(300.0, 360.0), &[("x", "3")]);
    assert!(matches!(clash(&play), Verdict::Behind { side: A, .. }));
}

#[test]
fn an_account_alone_says_why() {
    let mut play = single(to_b(&["x", "y"]));
    play.rules.create.b = false;
    let explanation = told(&play);
    assert_eq!(explanation.verdict, Verdict::OnlyHere { side: A, why: NoAccount::NotCreated });
    assert_eq!(story(&explanation, "x").standing.b, Standing::NoAccount(NoAccount::NotCreated));

    let mut leaver = single(to_b(&["active", "x"]));
    leaver.see(A, at(30.0, 40.0), &[("x", "1")]);
    leaver.link.registers.insert(path("active"), {
        let mut register = leaver.link.registers[&path("x")].clone();
        register.value = Some(Value::Bool(false));
        register
    });
    assert_eq!(told(&leaver).verdict, Verdict::OnlyHere { side: A, why: NoAccount::Leaver });
}

/// B12: absence is told as a proof only once it is one.
#[test]
fn gone_is_told_apart_from_not_found_today() {
    let mut play = Play::in_sync(to_b(&["x"]), &[("x", "0")]);
    play.rules.leavers = Leavers::Report;
    let today = Sides { a: Some(Sight::Absent), b: None };
    assert_eq!(looked(&play, today, &[]).verdict, Verdict::Missing { side: A });
    play.link = gone(&play.link, A, &play.rules);
    assert_eq!(told(&play).verdict, Verdict::Gone { side: A, back: false });
    assert_eq!(story(&told(&play), "x").standing.a, Standing::Gone);
    let shown = snapshot(A, at(500.0, 600.0), &[("x", "0")]);
    let today = Sides { a: Some(Sight::Shown(&shown)), b: None };
    assert_eq!(looked(&play, today, &[]).verdict, Verdict::Gone { side: A, back: true });
}

#[test]
fn a_side_that_nobody_read_waits_for_a_reading() {
    let mut play = Play::of(to_b(&["x"]));
    play.see(A, at(10.0, 20.0), &[("x", "1")]);
    let explanation = told(&play);
    assert_eq!(explanation.verdict, Verdict::Unread { side: B });
    assert_eq!(story(&explanation, "x").standing.b, Standing::Unread);
}

/// R86: which value is the later one was forgotten, so a person decides; the rest of the account flows.
#[test]
fn what_is_on_hold_waits_for_a_person() {
    let mut play = Play::in_sync(two_way(A, &["x", "y"]), &[("x", "0"), ("y", "0")]);
    play.link.enter(Epoch(8));
    play.see(A, at(100.0, 160.0), &[("x", "1"), ("y", "0")]);
    play.see(B, at(100.0, 160.0), &[("x", "2"), ("y", "0")]);
    let explanation = told(&play);
    assert_eq!(explanation.verdict, Verdict::Held { side: B, paths: vec![path("x")], stop: None });
    assert_eq!(story(&explanation, "x").standing.b, Standing::Held);
    assert!(story(&explanation, "y").is_plain());
}

/// R56: what a side that follows was changed to stays there, and is told.
#[test]
fn drift_that_stays_is_told() {
    let mut play = Play::in_sync(to_b(&["x"]), &[("x", "0")]);
    play.see(B, at(100.0, 160.0), &[("x", "5")]);
    let explanation = told(&play);
    assert_eq!(explanation.verdict, Verdict::Apart { paths: vec![path("x")] });
    assert_eq!(story(&explanation, "x").standing.b, Standing::Stays);
    play.rules.attributes.get_mut(&path("x")).unwrap().drift = Drift::Enforce;
    play.see(B, at(200.0, 260.0), &[("x", "6")]);
    assert!(matches!(told(&play).verdict, Verdict::Behind { side: B, .. }));
}

/// What a look at the systems shows is judged as the next reading will judge it.
#[test]
fn a_change_that_was_not_read_yet_is_told() {
    let mut play = Play::in_sync(two_way(A, &["x", "y"]), &[("x", "0"), ("y", "0")]);
    let shown = snapshot(B, at(500.0, 600.0), &[("x", "7"), ("y", "0")]);
    let today = Sides { a: None, b: Some(Sight::Shown(&shown)) };
    let explanation = looked(&play, today, &[]);
    assert_eq!(explanation.verdict, Verdict::Changed { side: B, paths: vec![path("x")] });
    let x = story(&explanation, "x").today.b.unwrap();
    assert_eq!((x.value, x.agrees, x.news), (Some(Value::from("7")), false, Some(Decision::Edit)));
    assert_eq!(story(&explanation, "y").today.b.unwrap().news, None);

    play.rules = to_b(&["x", "y"]);
    let explanation = looked(&play, today, &[]);
    assert_eq!(explanation.verdict, Verdict::Apart { paths: vec![path("x")] });
    assert_eq!(story(&explanation, "x").today.b.unwrap().news, Some(Decision::Drift));
}

#[test]
fn what_is_never_written_is_told_apart_from_what_is_written_once() {
    let mut play = Play::in_sync(to_b(&["w", "x", "y"]), &[("w", "0"), ("x", "0"), ("y", "0")]);
    play.rules.attributes.get_mut(&path("w")).unwrap().flow = Flow::WatchedOn(A);
    play.rules.attributes.get_mut(&path("x")).unwrap().occasion = Occasion::Create;
    play.rules.attributes.remove(&path("y"));
    play.see(A, at(100.0, 160.0), &[("w", "1"), ("x", "1"), ("y", "1")]);
    let explanation = told(&play);
    assert_eq!(story(&explanation, "w").standing.b, Standing::NotWritten);
    assert_eq!(story(&explanation, "x").standing.b, Standing::CreationOnly);
    assert_eq!(story(&explanation, "y").standing.b, Standing::NotWritten);
    assert_eq!(story(&explanation, "y").rule, None);
    assert!(matches!(explanation.verdict, Verdict::Apart { .. }));
}
