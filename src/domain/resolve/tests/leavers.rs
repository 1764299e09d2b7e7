//! What follows from who left, as the connection says: nothing, or the two part.

use super::vocabulary::{EPOCH, Play, account, at, path, rules, to_b};
use crate::domain::attribute::Value;
use crate::domain::guard::{Risk, exposures, stop};
use crate::domain::hold::{Approval, HoldState, Verdict, Why, rule};
use crate::domain::id::Side::{A, B};
use crate::domain::id::{Epoch, RunId, Token};
use crate::domain::link::{Left, Link, Parting};
use crate::domain::pending::{Need, held, pending};
use crate::domain::resolve::resolve_absence;
use crate::domain::rules::{Departure, Flow, Leavers, Occasion, Policy, Rules};
use crate::domain::write::{Plan, part, plan};
use crate::domain::{Snapshot, Timestamp};

const ALL: [Departure; 3] = [Departure::Detach, Departure::Remove, Departure::Delete];

/// `b` follows `a`, which tells who is active.
fn rules_for(leavers: Leavers) -> Rules {
    let mut of = to_b(&["x"]);
    let watched = rules(Flow::WatchedOn(A), Policy::DefaultSystem(A), &["active"]);
    of.attributes.extend(watched.attributes);
    of.leavers = leavers;
    of
}

fn seen(play: &mut Play, second: f64, active: Option<bool>, x: &str) {
    let mut snapshot = super::vocabulary::snapshot(A, at(second, second + 60.0), &[("x", x)]);
    if let Some(active) = active {
        snapshot.attributes.insert(path("active"), Some(Value::Bool(active)));
    }
    play.resolve(A, &snapshot);
}

/// Two accounts in step since second 10, of which the leading one is active.
fn in_step(leavers: Leavers) -> Play {
    let mut play = Play::of(rules_for(leavers));
    seen(&mut play, 10.0, Some(true), "1");
    play.see(B, at(10.0, 70.0), &[("x", "1")]);
    play.now_s = 100.0;
    assert_eq!(pending(&play.link, B, &play.rules), None);
    play
}

fn need(play: &Play) -> Option<Need> {
    pending(&play.link, B, &play.rules).map(|wanted| wanted.need)
}

fn parted(play: &Play, how: Departure) -> Link {
    let run: RunId = "r1".parse().unwrap();
    let parting = Parting {
        account: account(B),
        how,
        why: Left::Inactive,
        at: Timestamp(1),
        run,
        was_gone: false,
        over_at: None,
    };
    part(&play.link, B, None, parting, &play.rules).unwrap()
}

fn is_asked_for(how: Departure) -> Option<Need> {
    Some(Need::Part { account: account(B), how })
}

/// R25: who is no longer active parts from the partner as the connection says, and by default not at all. Nothing else of
/// the partner is written any more.
#[test]
fn who_is_inactive_parts_as_the_connection_says() {
    for how in ALL {
        let mut play = in_step(Leavers::Part(how));
        seen(&mut play, 200.0, Some(false), "2");
        assert_eq!((need(&play), play.behind(B)), (is_asked_for(how), String::new()), "{how:?}");
        assert_eq!(pending(&play.link, A, &play.rules), None, "who leads is never written");
        assert!(pending(&play.link, B, &play.rules).unwrap().deactivates(), "it travels live");
    }
    let mut reported = in_step(Leavers::Report);
    seen(&mut reported, 200.0, Some(false), "2");
    assert_eq!((need(&reported), reported.behind(B)), (Some(Need::Update { account: account(B) }), "x=2".to_owned()));
    assert_eq!(reported.link.left(A), Some(Left::Inactive), "the link shows it");
}

/// B12, R25: one proof of absence deletes nobody; two do, also where accounts do not tell whether they are active.
#[test]
fn who_is_gone_is_proven_gone_twice() {
    for leavers in [
        rules_for(Leavers::Part(Departure::Delete)),
        Rules { leavers: Leavers::Part(Departure::Delete), ..to_b(&["x"]) },
    ] {
        let mut play = Play::of(leavers);
        let tells = play.rules.attributes.contains_key(&path("active"));
        seen(&mut play, 10.0, tells.then_some(true), "1");
        play.see(B, at(10.0, 70.0), &[("x", "1")]);
        play.now_s = 100.0;
        play.link = resolve_absence(&play.link, A, Timestamp(300_000), &play.rules).link;
        assert_eq!(need(&play), None, "one proof");
        play.link = resolve_absence(&play.link, A, Timestamp(300_000), &play.rules).link;
        assert_eq!(need(&play), None, "the same proof again");
        play.link = resolve_absence(&play.link, A, Timestamp(400_000), &play.rules).link;
        assert_eq!(need(&play), is_asked_for(Departure::Delete), "two proofs");
        assert_eq!(play.link.left(A), Some(Left::Gone));
    }
}

/// B12: that an account goes is news also where it was off before: whatever its partner was made since is from before that, once.
#[test]
fn who_goes_leaves_nobody_active() {
    let mut play = Play::of(rules(Flow::Towards(B), Policy::DefaultSystem(A), &["active", "x"]));
    play.rules.leavers = Leavers::Deactivate;
    seen(&mut play, 10.0, Some(false), "1");
    let on_b = |play: &mut Play, second: f64, active: bool| {
        let mut snapshot = super::vocabulary::snapshot(B, at(second, second + 60.0), &[("x", "1")]);
        snapshot.attributes.insert(path("active"), Some(Value::Bool(active)));
        play.resolve(B, &snapshot);
    };
    on_b(&mut play, 11.0, false);
    on_b(&mut play, 20.0, true);
    play.now_s = 100.0;
    assert_eq!(pending(&play.link, B, &play.rules), None, "somebody turned it on, and that is kept");
    let gone_at = |play: &mut Play, read_at: f64| {
        let read_at = at(0.0, read_at).read_at;
        play.link = resolve_absence(&play.link, A, read_at, &play.rules).link;
    };
    gone_at(&mut play, 100.0);
    assert_eq!(pending(&play.link, B, &play.rules), None, "one proof is none");
    gone_at(&mut play, 110.0);
    assert!(pending(&play.link, B, &play.rules).is_some_and(|wanted| wanted.deactivates()));
    on_b(&mut play, 80.0, false);
    on_b(&mut play, 90.0, true);
    gone_at(&mut play, 160.0);
    assert_eq!(pending(&play.link, B, &play.rules), None, "who is turned on afterwards stays on");
}

/// R43: an account that names the partner of one that is proven gone takes its place, and nothing of the other is taken for its own.
#[test]
fn the_place_of_who_is_gone_is_taken() {
    let mut play = in_step(Leavers::Report);
    for read_at in [200.0, 210.0] {
        play.link = resolve_absence(&play.link, B, at(0.0, read_at).read_at, &play.rules).link;
    }
    assert!(play.link.sides.b.is_gone() && play.link.sides.b.is_idle(Timestamp(0)));
    let mut newcomer = super::vocabulary::snapshot(B, at(150.0, 211.0), &[("x", "2")]);
    newcomer.account = "b2".parse().unwrap();
    play.link.succeed(B, &newcomer, &play.rules);
    assert_eq!(play.link.sides.b.account, Some(newcomer.account.clone()));
    assert!(!play.link.sides.b.is_gone() && play.link.sides.b.seen.is_empty());
    play.resolve(B, &newcomer);
    assert!(pending(&play.link, B, &play.rules).is_some_and(|wanted| wanted.values.contains_key(&path("x"))));
}

/// R8: who does not fit the scope any more is no leaver: nothing is written, and nobody parts, whatever else is true.
#[test]
fn out_of_scope_is_not_left() {
    let mut play = in_step(Leavers::Part(Departure::Delete));
    play.link.sides.a.out_of_scope = true;
    seen(&mut play, 200.0, Some(false), "1");
    assert_eq!(need(&play), None);
}

/// R86: after a loss of the store nobody parts before both accounts were read again.
#[test]
fn a_lost_store_parts_nobody() {
    let mut play = in_step(Leavers::Part(Departure::Delete));
    seen(&mut play, 200.0, Some(false), "1");
    play.link.enter(Epoch(EPOCH.0 + 1));
    assert_eq!(need(&play), None);
    seen(&mut play, 200.0, Some(false), "1");
    assert_eq!(need(&play), None, "the partner was not read yet");
    play.see(B, at(10.0, 270.0), &[("x", "1")]);
    assert_eq!(need(&play), is_asked_for(Departure::Delete));
}

/// Who follows and leaves means nothing for who leads; of two who are both gone only the link is left to end.
#[test]
fn only_the_side_that_leads_has_leavers() {
    let mut play = in_step(Leavers::Part(Departure::Delete));
    for read_s in [300, 400] {
        play.link = resolve_absence(&play.link, B, Timestamp(read_s * 1000), &play.rules).link;
    }
    assert_eq!((need(&play), pending(&play.link, A, &play.rules)), (None, None));
    seen(&mut play, 500.0, Some(false), "1");
    assert_eq!(need(&play), is_asked_for(Departure::Detach));
}

/// Whoever comes back is linked or created again as anybody new, and nothing that was known of the old partner counts.
#[test]
fn who_comes_back_gets_a_partner_again() {
    for how in ALL {
        let mut play = in_step(Leavers::Part(how));
        seen(&mut play, 200.0, Some(false), "2");
        play.link = parted(&play, how);
        let state = &play.link.sides.b;
        assert_eq!((&state.account, state.seen.len(), &state.seen_at), (&None, 0, &None));
        assert_eq!(need(&play), None, "nobody is created for a leaver: {how:?}");
        assert_eq!(play.link.parted(B).unwrap().how, how);
        seen(&mut play, 300.0, Some(true), "2");
        assert_eq!(need(&play), Some(Need::Create { partner: account(A) }), "{how:?}");
        assert_eq!(play.behind(B), "x=2");
        play.rules.create.b = false;
        assert_eq!(need(&play), None, "by the connection's own rules");
    }
}

/// B10, B11: a guard stops the parting as a whole. An approval is about the leaving that a person saw: who came back and
/// left again has to be asked about anew.
#[test]
fn an_approval_is_about_one_leaving() {
    for (how, risk) in ALL.into_iter().zip([Risk::Relink, Risk::Deactivate, Risk::Delete]) {
        let mut play = in_step(Leavers::Part(how));
        seen(&mut play, 200.0, Some(false), "1");
        let exposed = exposures(&play.link, B, &pending(&play.link, B, &play.rules).unwrap(), &play.rules);
        assert_eq!(exposed.iter().map(|exposure| exposure.risk).collect::<Vec<_>>(), [risk]);
        let now = Timestamp(300_000);
        play.link = stop(&play.link, B, &exposed[0], Why::OverBudget, now);
        assert_eq!(need(&play), None);
        assert_eq!(held(&play.link, B, &play.rules, now), Some(HoldState::Waiting));
        let waiting: Vec<_> = play.link.held().map(|held| (held.side, held.path.cloned(), held.generation)).collect();
        let [(B, None, leaving)] = waiting[..] else { panic!("{waiting:?}") };
        let mut approval = Approval::new("ada@host".to_owned(), now);
        approval.add(None, leaving);
        let approved = rule(&play.link, B, &approval, Verdict::Approved).unwrap();
        assert_eq!(pending(&approved, B, &play.rules).map(|wanted| wanted.need), is_asked_for(how));
        let wanted = pending(&approved, B, &play.rules).unwrap();
        assert_eq!(exposures(&approved, B, &wanted, &play.rules), []);

        seen(&mut play, 400.0, Some(true), "1");
        assert_eq!((play.link.held().count(), play.link.sides.b.stop.clone()), (0, None), "it came back");
        seen(&mut play, 500.0, Some(false), "1");
        play.link = stop(&play.link, B, &exposed[0], Why::OverBudget, now);
        assert_eq!(rule(&play.link, B, &approval, Verdict::Approved), None, "an older approval says nothing of it");
    }
}

/// Where only the link ends, nobody has to read the partner first; where the partner is deleted, somebody has.
#[test]
fn a_partner_that_was_never_read_is_detached() {
    for how in ALL {
        let mut play = Play::of(rules_for(Leavers::Part(how)));
        play.now_s = 100.0;
        seen(&mut play, 10.0, Some(false), "1");
        let next = play.plan(B);
        match how {
            Departure::Detach => assert!(matches!(next, Plan::Write(_)), "{next:?}"),
            Departure::Remove | Departure::Delete => assert_eq!(next, Plan::Unseen { account: account(B) }),
        }
    }
}

/// Protected accounts part from nobody, whoever approves.
#[test]
fn the_protected_stay() {
    for how in ALL {
        let mut play = in_step(Leavers::Part(how));
        seen(&mut play, 200.0, Some(false), "1");
        play.link.sides.b.protected = true;
        let wanted = pending(&play.link, B, &play.rules).unwrap();
        let [exposure] = &exposures(&play.link, B, &wanted, &play.rules)[..] else { panic!("one exposure") };
        play.link = stop(&play.link, B, exposure, Why::Protected, Timestamp(1));
        let stopped = play.link.sides.b.stop.as_mut().unwrap();
        stopped.ruling = Some(crate::domain::hold::Ruling {
            verdict: Verdict::Approved,
            by: "ada@host".to_owned(),
            at: Timestamp(2),
        });
        let wanted = pending(&play.link, B, &play.rules).unwrap();
        assert_eq!(exposures(&play.link, B, &wanted, &play.rules).len(), 1, "{how:?}");
    }
}

/// B3: a deletion that was begun and has no answer keeps its intent until a read that was sent after its end shows the
/// account; whoever else has the lease is waited for.
#[test]
fn a_deletion_without_an_answer_is_remembered() {
    let mut play = in_step(Leavers::Part(Departure::Delete));
    seen(&mut play, 200.0, Some(false), "1");
    let going = play.begin(B);
    assert!(matches!(play.plan(B), Plan::Leased { .. }));
    let stranger = Parting {
        account: account(B),
        how: Departure::Delete,
        why: Left::Inactive,
        at: Timestamp(1),
        run: "r1".parse().unwrap(),
        was_gone: false,
        over_at: None,
    };
    assert_eq!(part(&play.link, B, Some(Token(99)), stranger.clone(), &play.rules), None, "another's lease");
    assert!(part(&play.link, B, Some(going.token), stranger, &play.rules).is_some());
    play.link.sides.b.lease = None;
    play.see(B, at(10.0, 105.0), &[("x", "1")]);
    assert_eq!(play.link.sides.b.intents.len(), 1, "it may still be carried out");
    play.see(B, at(10.0, 150.0), &[("x", "1")]);
    assert_eq!(play.link.sides.b.intents.len(), 0, "it was not");
    assert!(matches!(plan(&play.link, B, &play.rules, Timestamp(900_000)), Plan::Write(_)));
}

/// The id of an account that we deleted is overwritten by that of the next one, where ids are written back.
#[test]
fn the_id_of_a_deleted_account_is_written_over() {
    let mut rules = rules_for(Leavers::Part(Departure::Delete));
    let mut back = rules.attributes[&path("x")].clone();
    back.flow = Flow::Towards(A);
    back.occasion = Occasion::Fill;
    back.names.b = crate::domain::AttributePath::id();
    back.names.a = path("native.Partner");
    rules.attributes.insert(path("id.b"), back);
    let mut play = Play::of(rules);
    let native = |id: &str| ("native.Partner".to_owned(), id.to_owned());
    let a = |play: &mut Play, second: f64, active: bool, id: &str| {
        let (name, id) = native(id);
        let mut snapshot: Snapshot =
            super::vocabulary::snapshot(A, at(second, second + 60.0), &[("x", "1"), (&name, &id)]);
        snapshot.attributes.insert(path("active"), Some(Value::Bool(active)));
        play.resolve(A, &snapshot);
    };
    a(&mut play, 10.0, true, "account-b");
    play.see(B, at(10.0, 70.0), &[("x", "1")]);
    play.now_s = 100.0;
    a(&mut play, 200.0, false, "account-b");
    play.link = parted(&play, Departure::Delete);
    assert!(!play.link.registers.contains_key(&path("id.b")), "nobody is told of a deleted account");
    a(&mut play, 300.0, true, "account-b");
    play.link.sides.b.account = Some("account-c".parse().unwrap());
    let mut next = super::vocabulary::snapshot(B, at(400.0, 460.0), &[("x", "1")]);
    next.account = "account-c".parse().unwrap();
    play.resolve(B, &next);
    assert_eq!(play.behind(A), "id.b=account-c");
}
