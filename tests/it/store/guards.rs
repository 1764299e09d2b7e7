//! Budgets, what is held, and pauses.

use std::time::Duration;

use futures_util::future::join_all;
use muster::domain::deferral::defer;
use muster::domain::guard::{Budget, Exposure, Risk, stop};
use muster::domain::hold::{Approval, Verdict, Why, rule};
use muster::domain::link::Link;
use muster::domain::*;
use muster::store::*;

use super::*;

fn spend(risk: Risk, budget: &str, acts: &[&str]) -> Spend {
    let acts = acts.iter().map(|act| (*act).to_owned()).collect();
    Spend { side: Side::A, risk, budget: budget.parse().unwrap(), acts }
}

async fn spent<S: Store>(store: &S, spend: &Spend) -> Vec<bool> {
    store.spend(&connection(), spend).await.unwrap()
}

/// B10: however many workers ask at once, and however often each write is delivered again, no more pass than the budget
/// allows, and each write that passed passes again.
pub async fn no_budget_is_ever_exceeded<S: Store>(store: S) {
    epoch(&store).await;
    let acts: Vec<String> = (0..40).map(|act| format!("{act:016x}-act")).collect();
    let one = |act: &String| spend(Risk::Deactivate, "25/1h", &[act]);
    // Each is asked for twice at the same time, as two deliveries of one command are.
    let asked =
        join_all(acts.iter().chain(&acts).map(async |act| (act.clone(), spent(&store, &one(act)).await[0]))).await;
    let passed: std::collections::BTreeSet<_> =
        asked.iter().filter(|(_, passed)| *passed).map(|(act, _)| act).collect();
    assert_eq!(passed.len(), 25);
    assert_eq!(asked.iter().filter(|(_, passed)| *passed).count(), 50, "both deliveries of a write hear the same");
    for act in &acts {
        assert_eq!(spent(&store, &one(act)).await, [passed.contains(act)], "{act} asks again");
    }
    let many: Vec<&str> = acts.iter().map(String::as_str).collect();
    let answers = spent(&store, &spend(Risk::Deactivate, "25/1h", &many)).await;
    assert_eq!(answers, many.iter().map(|act| passed.contains(&(*act).to_owned())).collect::<Vec<_>>());

    // Each kind, side and connection has a budget of its own.
    assert_eq!(spent(&store, &spend(Risk::MassClear, "1/1h", &["x", "y"])).await, [true, false]);
    let other_side = Spend { side: Side::B, ..spend(Risk::Deactivate, "1/1h", &["x", "y", "x"]) };
    assert_eq!(spent(&store, &other_side).await, [true, false, true]);
    let other = "crm-chat".parse().unwrap();
    store.epoch(&other).await.unwrap();
    assert_eq!(store.spend(&other, &spend(Risk::Deactivate, "1/1h", &["x"])).await.unwrap(), [true]);
    assert_eq!(spent(&store, &spend(Risk::Delete, "0/1h", &["x"])).await, [false]);
}

/// B10: a share is of the accounts that links hold on the side written to, and a small roster is not stuck.
pub async fn a_budget_grows_with_the_roster<S: Store>(store: S) {
    let epoch = epoch(&store).await;
    let acts: Vec<String> = (0..20).map(|act| act.to_string()).collect();
    let acts: Vec<&str> = acts.iter().map(String::as_str).collect();
    let passed = async |risk| {
        let answers = spent(&store, &spend(risk, "2%/1h", &acts)).await;
        answers.into_iter().filter(|passed| *passed).count()
    };
    assert_eq!(passed(Risk::EmailChange).await, 5);
    let commits: Vec<_> = (0..450).map(|id| new_link(epoch, id)).collect();
    store.commit(&connection(), epoch, &commits).await.unwrap();
    assert_eq!(passed(Risk::RoleElevation).await, 9);
    assert_eq!(passed(Risk::EmailChange).await, 9, "four more");
    let other_side = Spend { side: Side::B, ..spend(Risk::Relink, "2%/1h", &acts) };
    let answers = spent(&store, &other_side).await;
    assert_eq!(answers.into_iter().filter(|passed| *passed).count(), 5);
}

/// B10: a window slides: what passed long enough ago counts no more, and a write that is tried again counts from then.
pub async fn places_of_a_window_that_has_passed_are_free<S: Store>(store: S) {
    epoch(&store).await;
    let short = |act| Spend {
        budget: Budget { share_percent: 0, at_least: 1, window: Duration::from_millis(60) },
        ..spend(Risk::Create, "1/1h", &[act])
    };
    assert_eq!(spent(&store, &short("first")).await, [true]);
    while spent(&store, &short("second")).await != [true] {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(spent(&store, &spend(Risk::Create, "1/1h", &["second", "third"])).await, [true, false]);
}

/// B10, B15: what has a place in a budget is listed, so that a plan can count on from there.
pub async fn places_in_budgets_are_listed<S: Store>(store: S) {
    epoch(&store).await;
    let listed = async |risk| {
        let listed = store.spent(&connection(), Side::A, risk).await.unwrap();
        listed.into_iter().map(|(act, _)| act).collect::<Vec<_>>()
    };
    assert_eq!(listed(Risk::Create).await, [] as [String; 0]);
    let before = store.epoch(&connection()).await.unwrap().now;
    assert_eq!(spent(&store, &spend(Risk::Create, "1/1h", &["first", "second"])).await, [true, false]);
    assert_eq!(listed(Risk::Create).await, ["first"]);
    assert_eq!(listed(Risk::Deactivate).await, [] as [String; 0]);
    let (_, at) = store.spent(&connection(), Side::A, Risk::Create).await.unwrap().remove(0);
    assert!(at >= before, "{at} {before}");
}

/// B11: what waits for a person is listed as long as it does, and no longer.
pub async fn what_is_held_is_listed<S: Store>(store: S) {
    let epoch = epoch(&store).await;
    let now = store.epoch(&connection()).await.unwrap().now;
    let held_for = |id: u64, seconds: i64| {
        let creation = Exposure { risk: Risk::Create, paths: Vec::new() };
        let commit = new_link(epoch, id);
        let since = Timestamp(now.0 - seconds * 1000);
        let link = commit.link.map(|link| stop(&link, Side::B, &creation, Why::OverBudget, since));
        (Commit { link, ..commit }, since)
    };
    assert_eq!(store.held(&connection()).await.unwrap(), []);
    let (later, since_later) = held_for(1, 10);
    let (first, since_first) = held_for(2, 20);
    let (expired, _) = held_for(3, 31 * 24 * 3600);
    for step in [later, first, expired, new_link(epoch, 4)] {
        assert_eq!(commit(&store, epoch, step).await, DONE);
    }
    assert_eq!(store.held(&connection()).await.unwrap(), [(LinkId(2), since_first), (LinkId(1), since_later)]);
    let counts = store.counts(&connection()).await.unwrap();
    assert_eq!((counts.held, counts.held_since), (2, Some(since_first)));

    let link = load(&store, 2).await.unwrap();
    let about = Approval { account: true, ..Approval::new("ada@host".to_owned(), now) };
    let approved: Link = rule(&link, Side::B, &about, Verdict::Approved).unwrap();
    assert_eq!(commit(&store, epoch, Commit { link: Some(approved), ..Commit::default() }).await, DONE);
    assert_eq!(store.held(&connection()).await.unwrap(), [(LinkId(1), since_later)]);

    // A link that ends is waited for by nobody.
    let ended = load(&store, 1).await;
    assert_eq!(commit(&store, epoch, Commit { ended, ..Commit::default() }).await, DONE);
    assert_eq!(store.held(&connection()).await.unwrap(), []);
    assert_eq!(store.counts(&connection()).await.unwrap().held, 0);
    assert_eq!(load(&store, 2).await.unwrap().sides.b.stop.unwrap().ruling.unwrap().by, "ada@host");
}

/// R22: accounts whose writes wait until nobody works with them are counted as long as they do.
pub async fn what_is_deferred_is_counted<S: Store>(store: S) {
    let epoch = epoch(&store).await;
    let deferred_for = |id: u64, seconds: i64| {
        let commit = new_link(epoch, id);
        let since = Timestamp(1_000_000 - seconds * 1000);
        let link = commit.link.map(|link| defer(link, Side::B, &Code::known("logged_in"), since));
        (Commit { link, ..commit }, since)
    };
    assert_eq!(store.deferred(&connection()).await.unwrap(), (0, None));
    let ((later, since_later), (first, since_first)) = (deferred_for(1, 10), deferred_for(2, 20));
    for step in [later, first, new_link(epoch, 3)] {
        assert_eq!(commit(&store, epoch, step).await, DONE);
    }
    assert_eq!(store.deferred(&connection()).await.unwrap(), (2, Some(since_first)));
    let counts = store.counts(&connection()).await.unwrap();
    assert_eq!((counts.deferred, counts.deferred_since), (2, Some(since_first)));

    let mut free = load(&store, 2).await.unwrap();
    assert_eq!(free.sides.b.deferral.take().unwrap().since, since_first);
    assert_eq!(commit(&store, epoch, Commit { link: Some(free), ..Commit::default() }).await, DONE);
    assert_eq!(store.deferred(&connection()).await.unwrap(), (1, Some(since_later)));
    let ends = load(&store, 1).await;
    let other = load(&store, 3).await;
    assert_eq!(commit(&store, epoch, Commit { link: other, ended: ends, ..Commit::default() }).await, DONE);
    assert_eq!(store.deferred(&connection()).await.unwrap(), (0, None));
}

/// A pause stays until a person ends it, and says who began it.
pub async fn a_pause_stays_until_it_is_ended<S: Store>(store: S) {
    let (one, other) = (connection(), "crm-chat".parse::<ConnectionName>().unwrap());
    assert_eq!(store.pauses().await.unwrap(), []);
    assert!(!store.resume(Some(&one)).await.unwrap());
    store.pause(Some(&one), "ada \"the\" admin@host").await.unwrap();
    let first = store.pauses().await.unwrap();
    assert_eq!((&first[0].connection, &*first[0].by, first.len()), (&Some(one.clone()), "ada \"the\" admin@host", 1));
    assert!(first[0].is_of(&one) && !first[0].is_of(&other));
    store.pause(Some(&one), "bob@host").await.unwrap();
    assert_eq!(store.pauses().await.unwrap(), first, "the first stays");

    store.pause(None, "bob@host").await.unwrap();
    let both = store.pauses().await.unwrap();
    assert_eq!((&both[0].connection, &both[1]), (&None, &first[0]));
    assert!(both[0].is_of(&other) && both[0].since >= first[0].since);
    assert!(store.resume(None).await.unwrap());
    assert_eq!(store.pauses().await.unwrap(), first, "paused by itself, it stays so");
    assert!(store.resume(Some(&one)).await.unwrap());
    assert_eq!(store.pauses().await.unwrap(), []);
}
