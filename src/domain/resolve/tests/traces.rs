//! Traces that an explicit-state model found against simpler rules, played through the real steps. Each is named after
//! what would be lost; the rule that prevents it is named in the comment.

use super::vocabulary::{LEASE_S, Play, at, path, read_at, two_way};
use crate::domain::ChangeOutcome::{Accepted, ConflictLost, Stale, Unchanged};
use crate::domain::hold::Hold;
use crate::domain::id::Side::{A, B};
use crate::domain::id::{Epoch, Side};
use crate::domain::link::Link;
use crate::domain::write::Plan;

fn synced(default: Side) -> Play {
    Play::in_sync(two_way(default, &["x", "y"]), &[("x", "0"), ("y", "0")])
}

/// `a` types 1 over 0, and a writer begins to carry it to `b`.
fn a_types_1(default: Side) -> (Play, super::vocabulary::Going) {
    let mut play = synced(default);
    play.see(A, at(100.0, 160.0), &[("x", "1"), ("y", "0")]);
    let going = play.begin(B);
    (play, going)
}

/// V1, R85: the holder of the lease may be dead; a command that finds it held waits, and is then carried out.
#[test]
fn a_command_that_finds_the_lease_held_is_not_acked_away() {
    let (mut play, _dead) = a_types_1(A);
    assert!(matches!(play.plan(B), Plan::Leased { .. }));
    play.now_s += LEASE_S as f64 + 1.0;
    assert!(matches!(play.plan(B), Plan::Write(_)));
}

/// V2 (fence): what was decided between the write and its commit stands.
#[test]
fn a_person_who_types_before_the_commit_is_not_believed_in_sync() {
    let (mut play, going) = a_types_1(A);
    assert_eq!(play.see(B, at(165.0, 166.0), &[("x", "2"), ("y", "0")]).outcome, ConflictLost);
    assert_eq!(play.finish(&going, at(163.0, 164.0), &[("x", "1"), ("y", "0")]).0, "fenced");
    assert_eq!((play.behind(B), &*play.journal), ("x=1".into(), &["b x=2 lost".into()][..]));
    // The fenced write is over: what it left is known from the next read, and its intent is gone.
    play.see(B, at(165.0, 170.0), &[("x", "2"), ("y", "0")]);
    assert!(play.link.sides.b.intents.is_empty());
}

/// V3 (settled): of two edits in one second, delivered swapped, the older is not taken for an edit, and nothing is
/// written over a base that a third edit could hide under.
#[test]
fn two_edits_in_one_second_do_not_bounce() {
    let mut play = synced(A);
    assert_eq!(play.see(A, at(100.0, 100.8), &[("x", "2"), ("y", "0")]).outcome, Accepted);
    let swapped = play.see(A, at(100.0, 100.2), &[("x", "1"), ("y", "0")]);
    assert_eq!((swapped.outcome, swapped.reread), (Stale, true));
    assert_eq!(play.value("x"), "2");
    play.see(B, at(100.0, 160.0), &[("x", "0"), ("y", "3")]);
    assert!(matches!(play.plan(A), Plan::Unsettled { .. }));
    play.see(A, at(100.0, 102.0), &[("x", "2"), ("y", "0")]);
    assert!(matches!(play.plan(A), Plan::Write(_)));
}

/// A writer freezes with a request under way; `a` types 2, and another writer carries that to `b`.
fn a_newer_value_overtakes(default: Side) -> Play {
    let (mut play, _frozen) = a_types_1(default);
    play.now_s += LEASE_S as f64 + 1.0;
    play.see(A, at(200.0, 260.0), &[("x", "2"), ("y", "0")]);
    let second = play.begin(B);
    assert_eq!(play.finish(&second, at(25.0, 26.0), &[("x", "2"), ("y", "0")]).0, "done");
    play
}

/// V4 (exact), R76: a late write of ours sets the side back, and the newer value is written again.
#[test]
fn a_late_write_of_an_older_value_does_not_stay() {
    let mut play = a_newer_value_overtakes(A);
    assert_eq!(play.see(B, at(27.0, 28.0), &[("x", "1"), ("y", "0")]).outcome, Unchanged);
    assert_eq!(play.behind(B), "x=2");
}

/// V5 (intent), B2: a late write of ours is never an edit that undoes newer data, not even where its side wins.
#[test]
fn a_late_write_of_ours_does_not_undo_the_newer_edit() {
    let mut play = a_newer_value_overtakes(B);
    play.see(B, at(27.0, 28.0), &[("x", "1"), ("y", "0")]);
    assert_eq!((play.value("x"), play.behind(A)), ("2".into(), String::new()));
    assert_eq!(play.journal, ["b x=1 maybe"]);
}

/// B2: what a target makes of a value that it was sent is no edit either, where the answer that shows it was lost, and not
/// even where its side wins.
#[test]
fn what_a_target_makes_of_a_lost_write_is_our_own_hand() {
    for default in [A, B] {
        let mut play = synced(default);
        play.see(A, at(100.0, 160.0), &[("x", "Anna-Maria "), ("y", "0")]);
        play.begin(B);
        assert_eq!(play.see(B, at(23.0, 25.0), &[("x", "anna"), ("y", "0")]).outcome, Unchanged);
        assert_eq!((&*play.value("x"), play.behind(A), play.behind(B)), ("Anna-Maria ", "".into(), "".into()));
        assert_eq!(play.see(B, at(30.0, 35.0), &[("x", "annabel"), ("y", "0")]).outcome, Accepted, "a person's");
    }
}

/// V5: nor is it one that undoes a newer edit of the other side.
#[test]
fn what_a_target_makes_of_an_older_write_undoes_nothing() {
    let mut play = synced(B);
    play.see(A, at(100.0, 160.0), &[("x", "Anna-Maria "), ("y", "0")]);
    play.begin(B);
    play.see(A, at(170.0, 172.0), &[("x", "Berta"), ("y", "0")]);
    assert_eq!(play.see(B, at(23.0, 25.0), &[("x", "anna"), ("y", "0")]).outcome, Unchanged);
    assert_eq!((&*play.value("x"), play.behind(A), play.behind(B)), ("Berta", "".into(), "x=Berta".into()));
}

/// V6 (mask): an edit of another attribute that the answer shows is a change like any other.
#[test]
fn an_edit_shown_by_the_answer_is_not_swallowed() {
    let (mut play, going) = a_types_1(A);
    let (end, rest) = play.finish(&going, at(163.0, 164.0), &[("x", "1"), ("y", "5")]);
    assert_eq!((end, rest.unwrap().attributes), ("done", super::vocabulary::attributes(&[("y", "5")])));
    assert_eq!(play.see(B, at(163.0, 170.0), &[("x", "1"), ("y", "5")]).outcome, Accepted);
    assert_eq!(play.behind(A), "y=5");
}

/// V7 (doubt): a write whose commit was lost landed, and a person took it back. It cannot be told from a write that
/// never landed, so the value is kept in the journal, once.
#[test]
fn a_person_who_takes_a_write_back_is_journalled() {
    for stamped in [true, false] {
        let (mut play, _dead) = a_types_1(A);
        if !stamped {
            play = synced(A);
            play.see(B, read_at(30.0), &[("x", "0"), ("y", "0")]);
            play.see(A, at(100.0, 160.0), &[("x", "1"), ("y", "0")]);
            play.begin(B);
        }
        let version = || if stamped { at(24.0, 26.0) } else { read_at(31.0) };
        for _ in 0..2 {
            assert_eq!(play.see(B, version(), &[("x", "0"), ("y", "0")]).outcome, Unchanged);
            assert_eq!((play.behind(B), &*play.journal), ("x=1".into(), &["b x=0 maybe".into()][..]), "{stamped}");
        }
    }
}

/// V7b: a value that an old, still open write carries may have been typed by hand.
#[test]
fn a_value_typed_like_an_older_write_is_journalled() {
    let mut play = a_newer_value_overtakes(A);
    play.see(B, at(28.0, 28.5), &[("x", "1"), ("y", "0")]);
    assert_eq!((&*play.journal, play.behind(B)), (&["b x=1 maybe".into()][..], "x=2".into()));
}

/// V8 (start): on a side without stamps a read that was sent before the answer to our write is older than the write.
#[test]
fn a_read_sent_before_the_write_is_no_edit() {
    let mut play = synced(B);
    play.see(B, read_at(30.0), &[("x", "0"), ("y", "0")]);
    play.see(A, at(100.0, 160.0), &[("x", "1"), ("y", "0")]);
    let going = play.begin(B);
    assert_eq!(play.finish(&going, read_at(42.0), &[("x", "1"), ("y", "0")]).0, "done");
    let slow = play.see(B, read_at(40.0), &[("x", "0"), ("y", "0")]);
    assert_eq!((slow.outcome, slow.reread, slow.emits), (Stale, true, Default::default()));
    assert_eq!((play.value("x"), play.behind(A)), ("1".into(), String::new()));
}

/// V9 (hold), R86: an edit that was not taken over before the store was lost is not overwritten by the older value.
#[test]
fn an_edit_before_a_loss_is_not_overwritten_by_the_default_side() {
    let mut play = synced(A);
    play.link.enter(Epoch(8));
    for _ in 0..2 {
        play.see(A, at(10.0, 160.0), &[("x", "0"), ("y", "0")]);
        play.see(B, at(100.0, 160.0), &[("x", "5"), ("y", "0")]);
        assert_eq!((play.behind(A), play.behind(B)), (String::new(), String::new()));
    }
    assert!(matches!(play.link.registers[&path("x")].hold, Some(Hold::BaseLost { .. })));
}

/// V10 (epoch): a writer of the epoch before commits nothing in the new one.
#[test]
fn a_write_from_before_a_loss_commits_nothing() {
    let (mut play, going) = a_types_1(A);
    play.link.enter(Epoch(8));
    let before: Link = play.link.clone();
    assert_eq!(play.finish(&going, at(163.0, 164.0), &[("x", "1"), ("y", "0")]).0, "lost lease");
    assert_eq!(play.link, before);
}

/// V11: a tie emits no command, or check, snapshot and command would chase each other until the clock ticks.
#[test]
fn a_tie_emits_no_command() {
    let (mut play, _going) = a_types_1(A);
    let tie = play.see(B, at(10.0, 20.5), &[("x", "7"), ("y", "0")]);
    assert_eq!((tie.emits, tie.reread, tie.changed), (Default::default(), true, false));
}

/// V12, B23, R15: while somebody else's creation may be under way a search proves nothing; then it does.
#[test]
fn a_creation_that_may_be_under_way_is_waited_for() {
    let mut play = Play::of(two_way(A, &["x", "y"]));
    play.link.sides.b.account = None;
    play.see(A, at(10.0, 20.0), &[("x", "1"), ("y", "-")]);
    play.begin(B);
    play.link.sides.b.lease = None;
    assert!(matches!(play.plan(B), Plan::Wait { .. }));
    play.now_s += LEASE_S as f64 + 1.0;
    let Plan::Write(wanted) = play.plan(B) else { panic!("{:?}", play.plan(B)) };
    assert_eq!(wanted.values, super::vocabulary::attributes(&[("x", "1")]), "a creation clears nothing");
}

/// V14, which no rule can tell from a real clash: a person types over our value before its commit. It is journalled.
#[test]
fn a_false_clash_is_journalled() {
    let (mut play, _going) = a_types_1(A);
    assert_eq!(play.see(B, at(170.0, 171.0), &[("x", "2"), ("y", "0")]).outcome, ConflictLost);
    assert_eq!(play.journal, ["b x=2 lost"]);
}

/// V15 (epoch): a base from before the truth is dropped and not used: what a person put back is not overwritten.
#[test]
fn a_restored_base_is_not_used() {
    let (mut play, _going) = a_types_1(A);
    play.link.enter(Epoch(8));
    play.see(A, at(100.0, 300.0), &[("x", "1"), ("y", "0")]);
    play.see(B, at(200.0, 300.0), &[("x", "0"), ("y", "0")]);
    assert_eq!((play.behind(A), play.behind(B)), (String::new(), String::new()));
}
