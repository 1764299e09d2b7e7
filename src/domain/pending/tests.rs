//! What a side lacks, and when it is asked for.

use crate::domain::hold::HoldState;
use crate::domain::id::Side::{A, B};
use crate::domain::pending::{Need, held, lacking, pending};
use crate::domain::resolve::tests::vocabulary::{Play, account, at, path, to_b, two_way};
use crate::domain::rules::Occasion;
use crate::domain::write::{Plan, forget_creations, plan};
use crate::domain::{Epoch, Timestamp};

fn single() -> Play {
    let mut play = Play::of(to_b(&["x", "y"]));
    play.link.sides.b.account = None;
    play
}

/// R1, R45, R46: an account is asked for only where creation is allowed, and not before its partner was read.
#[test]
fn creation_is_asked_for_only_where_it_is_allowed() {
    let mut play = single();
    assert_eq!(play.behind(B), "", "the partner was not read");
    play.see(A, at(10.0, 20.0), &[("x", "1"), ("y", "-")]);
    assert_eq!(play.behind(B), "x=1", "a creation clears nothing");
    play.rules.create.b = false;
    assert_eq!(play.behind(B), "");
}

/// B12: nothing is written to an account that is gone, and none is created for a partner that is gone or inactive.
#[test]
fn nothing_is_asked_of_the_gone() {
    let mut play = Play::in_sync(to_b(&["x"]), &[("x", "0")]);
    play.see(A, at(100.0, 160.0), &[("x", "1")]);
    assert_eq!(play.behind(B), "x=1");
    for read_s in [300, 400] {
        play.link = crate::domain::resolve::resolve_absence(&play.link, B, Timestamp(read_s * 1000), &play.rules).link;
    }
    assert_eq!(play.behind(B), "");

    let mut partner_gone = single();
    partner_gone.see(A, at(10.0, 20.0), &[("x", "1"), ("y", "-")]);
    for read_s in [300, 400] {
        partner_gone.link = crate::domain::resolve::resolve_absence(
            &partner_gone.link,
            A,
            Timestamp(read_s * 1000),
            &partner_gone.rules,
        )
        .link;
    }
    assert_eq!(partner_gone.behind(B), "");
}

/// B3, B23: a creation that has no answer may have left an account. When its partner leaves meanwhile, that account is to
/// be found, and nobody is created.
#[test]
fn what_a_creation_may_have_left_is_found_when_the_partner_left() {
    let mut play = single();
    play.see(A, at(10.0, 20.0), &[("x", "1"), ("y", "-")]);
    play.begin(B);
    for read_s in [300, 400] {
        play.link = crate::domain::resolve::resolve_absence(&play.link, A, Timestamp(read_s * 1000), &play.rules).link;
    }
    let wanted = pending(&play.link, B, &play.rules).unwrap();
    assert_eq!(wanted.need, Need::Find { partner: account(A) });
    let until = play.link.sides.b.intents[0].until;
    let before = Timestamp(until.0 - 1);
    let lease = play.link.sides.b.lease.take().unwrap();
    assert_eq!(plan(&play.link, B, &play.rules, before), Plan::Wait { until });
    assert_eq!(plan(&play.link, B, &play.rules, until), Plan::Write(wanted));
    play.link.sides.b.lease = Some(lease);
    play.link = forget_creations(&play.link, B, lease.token).unwrap();
    assert_eq!(pending(&play.link, B, &play.rules), None, "it left nothing");
}

/// R9, R11: what is filled in at creation only is never written again.
#[test]
fn create_only_attributes_are_written_once() {
    let mut play = single();
    play.rules.attributes.get_mut(&path("y")).unwrap().occasion = Occasion::Create;
    play.see(A, at(10.0, 20.0), &[("x", "1"), ("y", "1")]);
    assert_eq!(play.behind(B), "x=1 y=1");
    let going = play.begin(B);
    play.finish(&going, at(30.0, 31.0), &[("x", "1"), ("y", "1")]);
    play.see(A, at(100.0, 160.0), &[("x", "2"), ("y", "2")]);
    assert_eq!(play.behind(B), "x=2");
}

/// R86, B11: what is on hold is left out, and the rest of the account flows.
#[test]
fn a_hold_stops_one_attribute() {
    let mut play = Play::in_sync(two_way(A, &["x", "y"]), &[("x", "0"), ("y", "0")]);
    play.link.enter(Epoch(8));
    play.see(A, at(100.0, 160.0), &[("x", "1"), ("y", "0")]);
    play.see(B, at(100.0, 160.0), &[("x", "2"), ("y", "0")]);
    assert_eq!(held(&play.link, B, &play.rules, Timestamp(300_000)), Some(HoldState::Waiting));
    play.see(A, at(200.0, 260.0), &[("x", "1"), ("y", "5")]);
    assert_eq!(play.behind(B), "y=5");
}

/// A refusal is of the very values, under the very rules.
#[test]
fn the_digest_tells_what_was_refused() {
    let mut play = Play::in_sync(two_way(A, &["x", "y"]), &[("x", "0"), ("y", "0")]);
    play.see(A, at(100.0, 160.0), &[("x", "1"), ("y", "0")]);
    let first = pending(&play.link, B, &play.rules).unwrap();
    assert_eq!(first.need, crate::domain::pending::Need::Update { account: account(B) });
    let digest = first.digest(&play.rules);
    assert_eq!(lacking(&play.link, B, &play.rules).unwrap().digest(&play.rules), digest);
    play.see(A, at(200.0, 260.0), &[("x", "1"), ("y", "1")]);
    assert_ne!(lacking(&play.link, B, &play.rules).unwrap().digest(&play.rules), digest);
}

/// What is filled in where there is nothing is never written over, whoever put it there and whenever.
#[test]
fn a_filled_attribute_is_left_alone() {
    let play_of = |there: &str| {
        let mut play = Play::of(to_b(&["x", "y"]));
        play.rules.attributes.get_mut(&path("y")).unwrap().occasion = Occasion::Fill;
        play.see(B, at(10.0, 20.0), &[("x", "1"), ("y", there)]);
        play
    };
    // Filled once, at rest then, and a person's own value stays.
    let mut play = play_of("-");
    play.see(A, at(10.0, 20.0), &[("x", "1"), ("y", "7")]);
    assert_eq!(play.behind(B), "y=7");
    let going = play.begin(B);
    play.finish(&going, at(30.0, 31.0), &[("x", "1"), ("y", "7")]);
    assert_eq!(play.behind(B), "");
    play.see(B, at(100.0, 160.0), &[("x", "1"), ("y", "8")]);
    assert_eq!(play.behind(B), "");
    play.see(A, at(200.0, 260.0), &[("x", "1"), ("y", "9")]);
    assert_eq!(play.behind(B), "", "what a person put there is worth more");

    // There before anything was known.
    let mut play = play_of("5");
    play.see(A, at(10.0, 20.0), &[("x", "1"), ("y", "7")]);
    assert_eq!(play.behind(B), "");

    // Put there while ours was on its way: the write is refused as moved, and what it found ends the matter.
    let mut play = play_of("-");
    play.see(A, at(10.0, 20.0), &[("x", "1"), ("y", "7")]);
    play.see(B, at(100.0, 160.0), &[("x", "1"), ("y", "5")]);
    assert_eq!(play.behind(B), "");
    assert!(!play.rules.contributes(B) && play.rules.contributes(A));
    play.rules.attributes.remove(&path("x"));
    assert!(!play.rules.contributes(A), "it follows a link and brings none into being");
}
