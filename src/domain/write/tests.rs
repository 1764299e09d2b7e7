//! What a writer is told to do, and what each end of a write leaves on the link. The traces that need both stages are
//! beside `resolve`.

use super::{Finish, Plan, adopt, bury, exhume, finish, give_up, plan, withdraw};
use crate::domain::account::READ_UNCERTAINTY;
use crate::domain::id::Side::{A, B};
use crate::domain::id::Token;
use crate::domain::link::Origin;
use crate::domain::pending::Need;
use crate::domain::resolve::tests::vocabulary::{Going, LEASE_S, Play, account, at, path, snapshot, to_b, two_way};
use crate::domain::rules::Flow;
use crate::domain::{Timestamp, Version};

fn behind() -> Play {
    let mut play = Play::in_sync(two_way(A, &["x", "y"]), &[("x", "0"), ("y", "0")]);
    play.see(A, at(100.0, 160.0), &[("x", "1"), ("y", "0")]);
    play
}

/// A link whose `b` is to be created.
fn single() -> Play {
    let mut play = Play::of(to_b(&["x", "y"]));
    play.link.sides.b.account = None;
    play.see(A, at(10.0, 20.0), &[("x", "1"), ("y", "-")]);
    play
}

#[test]
fn plans_follow_from_the_link() {
    let plan_of = |play: &Play| format!("{:?}", play.plan(B)).split([' ', '(']).next().unwrap().to_owned();
    let mut play = Play::of(two_way(A, &["x", "y"]));
    assert_eq!(plan_of(&play), "Unseen");
    play = Play::in_sync(two_way(A, &["x", "y"]), &[("x", "0"), ("y", "0")]);
    assert_eq!(plan_of(&play), "Nothing");
    play = behind();
    assert_eq!(plan_of(&play), "Write");
    let going = play.begin(B);
    assert_eq!(plan_of(&play), "Leased");
    let released = withdraw(&play.link, B, going.token).unwrap();
    play.link = bury(&released, B, &going.wanted, "value_too_long", &play.rules);
    assert_eq!(plan_of(&play), "Buried");
    play.link = exhume(&play.link, B);
    assert_eq!(plan_of(&play), "Write");
}

/// A refusal holds while the refused values stay the same: the next edit, or other rules, try again.
#[test]
fn a_refusal_holds_until_something_changes() {
    let mut play = behind();
    let going = play.begin(B);
    let released = withdraw(&play.link, B, going.token).unwrap();
    play.link = bury(&released, B, &going.wanted, "value_too_long", &play.rules);
    assert_eq!(play.behind(B), "");
    let mut other_rules = play.clone();
    other_rules.rules.version += 1;
    assert_eq!(other_rules.behind(B), "x=1");
    play.see(A, at(200.0, 260.0), &[("x", "2"), ("y", "0")]);
    assert_eq!(play.behind(B), "x=2");
}

/// A tag is an exact condition; a stamp is one only when the account was read more than its grain later.
#[test]
fn only_a_settled_base_or_a_tag_is_written_on() {
    let settled = at(30.0, 31.5);
    let unsettled = at(30.0, 30.9);
    let tagged = Version { tag: Some("7".into()), ..unsettled.clone() };
    let unstamped = Version { modified_at: None, ..unsettled.clone() };
    for (version, writes) in [(settled, true), (unsettled, false), (tagged, true), (unstamped, true)] {
        let mut play = behind();
        play.see(B, version.clone(), &[("x", "0"), ("y", "0")]);
        assert_eq!(matches!(play.plan(B), Plan::Write(_)), writes, "{version:?}");
        assert_eq!(matches!(play.plan(B), Plan::Unsettled { .. }), !writes, "{version:?}");
    }
}

/// The answer to a write is as old as the write: it is no settled base, however late it came.
#[test]
fn an_answer_is_not_settled() {
    let mut play = behind();
    let going = play.begin(B);
    assert_eq!(play.finish(&going, at(161.0, 169.0), &[("x", "1"), ("y", "0")]).0, "done");
    play.see(A, at(200.0, 260.0), &[("x", "2"), ("y", "0")]);
    assert!(matches!(play.plan(B), Plan::Unsettled { .. }));
}

/// R85: each end of a write, with the lease and without it.
#[test]
fn only_the_holder_of_the_lease_ends_a_write() {
    let mut play = behind();
    let going = play.begin(B);
    let stranger = Token(99);
    assert_eq!(withdraw(&play.link, B, stranger), None);
    assert_eq!(give_up(&play.link, B, stranger, false), None);
    let found = snapshot(B, at(1.0, 2.0), &[]);
    assert_eq!(adopt(&play.link, B, stranger, &found, true, &play.rules), None);
    let answer = snapshot(B, at(161.0, 162.0), &[("x", "1")]);
    assert_eq!(finish(&play.link, B, stranger, &going.wanted, &answer, &play.rules), Finish::LostLease);

    let withdrawn = withdraw(&play.link, B, going.token).unwrap();
    assert!(withdrawn.sides.b.lease.is_none() && withdrawn.sides.b.intents.is_empty());
    let given_up = give_up(&play.link, B, going.token, false).unwrap();
    assert!(given_up.sides.b.lease.is_none() && given_up.sides.b.intents.len() == 1);
    assert_eq!(give_up(&given_up, B, going.token, false), None, "twice");
}

/// An expired lease that nobody took is still the own one.
#[test]
fn an_answer_after_the_lease_counts_unless_somebody_took_over() {
    let mut play = behind();
    let going = play.begin(B);
    play.now_s += LEASE_S as f64 + 1.0;
    let mut taken_over = play.clone();
    assert_eq!(play.finish(&going, at(161.0, 162.0), &[("x", "1"), ("y", "0")]).0, "done");
    taken_over.begin(B);
    assert_eq!(taken_over.finish(&going, at(161.0, 162.0), &[("x", "1"), ("y", "0")]).0, "lost lease");
}

/// The generation that was written is what the side holds, even if the register has moved on meanwhile.
#[test]
fn an_answer_does_not_cover_a_later_edit() {
    let mut play = behind();
    let going = play.begin(B);
    play.see(A, at(200.0, 260.0), &[("x", "2"), ("y", "0")]);
    assert_eq!(play.finish(&going, at(161.0, 162.0), &[("x", "1"), ("y", "0")]), ("done", None));
    assert_eq!(play.behind(B), "x=2");
}

/// A value that somebody typed between the write and its read-back is a change, and no write passes over it before it
/// was judged; a side that may not contribute only drifts.
#[test]
fn an_edit_in_the_read_back_is_a_change() {
    let mut play = behind();
    let going = play.begin(B);
    let mut version = at(161.0, 162.0);
    version.tag = Some("8".into());
    let (end, rest) = play.finish(&going, version, &[("x", "typed"), ("y", "0")]);
    assert_eq!((end, rest.map(|rest| rest.attributes.len())), ("done", Some(1)));
    play.see(A, at(200.0, 260.0), &[("x", "2"), ("y", "0")]);
    assert!(matches!(play.plan(B), Plan::Unsettled { .. }));
    play.see(B, at(161.0, 170.0), &[("x", "typed"), ("y", "0")]);
    assert_eq!(play.journal, ["b x=typed lost"]);
}

/// What is only watched on the other side is noted where it is not: it is nobody's edit, and worth no change of its own.
#[test]
fn what_takes_no_part_is_noted() {
    let mut play = single();
    play.rules.attributes.get_mut(&path("y")).unwrap().flow = Flow::WatchedOn(A);
    let going = play.begin(B);
    assert_eq!(play.finish(&going, at(30.0, 31.0), &[("x", "1"), ("y", "own")]), ("done", None));
    assert_eq!((play.plan(B), play.behind(A)), (Plan::Nothing, String::new()));
}

/// R85: of a request that nobody answered it is not known when it lands; only a condition keeps it off what is written next.
#[test]
fn nothing_is_written_while_an_unconditional_request_may_land() {
    for (tag, waits) in [(None, true), (Some("1"), false)] {
        let mut play = behind();
        play.link.sides.b.seen_at.as_mut().unwrap().tag = tag.map(Into::into);
        let lost = play.begin(B);
        play.link = give_up(&play.link, B, lost.token, true).unwrap();
        assert_eq!(matches!(play.plan(B), Plan::Leased { .. }), waits, "{tag:?}");
        play.now_s += 100.0;
        assert!(!matches!(play.plan(B), Plan::Leased { .. }), "it is over");
    }
}

/// What a write without an answer may have left where nobody can read is overwritten by the next one; an intent that is
/// not over yet may still land, and stays.
#[test]
fn a_later_write_overwrites_what_nobody_can_read() {
    for (after_its_end_s, open) in [(READ_UNCERTAINTY.as_secs_f64(), 0), (0.0, 1)] {
        let mut play = behind();
        play.rules.write_only.b = true;
        let lost = play.begin(B);
        play.link = give_up(&play.link, B, lost.token, false).unwrap();
        let [intent] = play.link.sides.b.intents.as_slice() else { panic!("one intent") };
        let answered_at = intent.over_at.0 as f64 / 1e3 + after_its_end_s;
        let going = play.begin(B);
        let (end, _) = play.finish(&going, at(answered_at, answered_at), &[("x", "1"), ("y", "0")]);
        assert_eq!((end, play.link.sides.b.intents.len()), ("done", open));
    }
}

/// An answer that shows only some attributes makes older, fuller reads worth repeating.
#[test]
fn a_bare_answer_is_partial() {
    let mut play = behind();
    let going = play.begin(B);
    assert_eq!(play.finish(&going, at(161.0, 162.0), &[]), ("done", None));
    assert_eq!(play.behind(B), "");
    assert!(play.see(B, at(150.0, 155.0), &[("x", "0"), ("y", "7")]).reread);
}

/// R12, R49, B23: what a search found is linked. Where it names its partner the two were linked before, and differing
/// values are held, also where a creation without an answer is noted that came after the account.
#[test]
fn what_a_search_finds_is_adopted() {
    let sent: &[_] = &[("x", "1")];
    for (own_creation_open, modified_after_s, remembered, held, origin) in [
        (false, Some(1.0), true, sent, Origin::Rebuilt),
        (true, Some(1.0), true, sent, Origin::FirstMatch),
        (false, Some(1.0), false, sent, Origin::FirstMatch),
        // It was there before the creation that has no answer: the store forgot it.
        (true, Some(-5.0), true, sent, Origin::Rebuilt),
        // It was edited since the creation left, and holds something else than that sent: perhaps it was there before.
        (true, Some(1.0), true, &[("x", "2")], Origin::Rebuilt),
        // It cannot be told.
        (true, None, true, sent, Origin::Rebuilt),
    ] {
        let mut play = single();
        let begun_s = play.now_s;
        if own_creation_open {
            play.begin(B);
            play.now_s += LEASE_S as f64 + 1.0;
        }
        let Going { token, wanted, .. } = play.begin(B);
        assert_eq!(wanted.need, Need::Create { partner: account(A) });
        let mut found = snapshot(B, at(begun_s + modified_after_s.unwrap_or(1.0), play.now_s + 1.0), held);
        found.version.modified_at = found.version.modified_at.filter(|_| modified_after_s.is_some());
        let adopted = adopt(&play.link, B, token, &found, remembered, &play.rules).unwrap();
        assert_eq!((adopted.origin, adopted.sides.b.account.clone()), (origin, Some(account(B))));
        assert!(adopted.sides.b.lease.is_none());
        assert!(matches!(plan(&adopted, B, &play.rules, Timestamp(0)), Plan::Unseen { .. }));
    }
}

/// B23, R19: a creation ends with the account linked and nothing pending, though the new account has values of its own.
#[test]
fn a_creation_links_the_account() {
    let mut play = single();
    let going = play.begin(B);
    assert_eq!(play.finish(&going, at(30.0, 31.0), &[("x", "1"), ("y", "-")]), ("done", None));
    assert!(play.link.is_paired());
    assert_eq!((play.plan(B), play.behind(A)), (Plan::Nothing, String::new()));
}
