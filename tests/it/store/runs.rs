//! Counts, runs and requests.

use futures_util::future::join_all;
use muster::domain::*;
use muster::store::*;

use super::*;

/// B16: each number of a run has one outcome, and each of its commands one.
pub async fn an_outcome_is_counted_once<S: Store>(store: S) {
    let epoch = epoch(&store).await;
    let run = begin(&store, "r1", RunKind::Sync, 4).await;
    for step in [
        change(&run, 0, ChangeOutcome::Accepted, false, true),
        command(&run, 0, Side::B, CommandOutcome::Applied),
        // Everything comes once more, with other words this time.
        change(&run, 0, ChangeOutcome::Unchanged, false, true),
        command(&run, 0, Side::B, CommandOutcome::AlreadyTrue),
        // The outcome of a command may be known before the change that emitted it is counted.
        command(&run, 1, Side::A, CommandOutcome::Merged),
        change(&run, 1, ChangeOutcome::Accepted, true, false),
        // Or be all that is ever known of it.
        command(&run, 3, Side::B, CommandOutcome::Superseded),
        // A redelivery may emit for one more side.
        change(&run, 2, ChangeOutcome::Accepted, true, false),
        change(&run, 2, ChangeOutcome::Unchanged, true, true),
        // A number that was never given out belongs to no sum.
        change(&run, 4, ChangeOutcome::Accepted, true, true),
        command(&run, 900, Side::A, CommandOutcome::Dead),
    ] {
        assert!(matches!(commit(&store, epoch, step).await, Committed::Done { .. }));
    }
    let run = look(&store, &run).await;
    assert_eq!(run.changes, [(ChangeOutcome::Accepted, 3)]);
    assert_eq!(run.emitted, 5);
    let each =
        [CommandOutcome::Applied, CommandOutcome::Superseded, CommandOutcome::Merged].map(|outcome| (outcome, 1));
    assert_eq!(run.commands, each);
    assert_eq!((run.changes_in_flight(), run.commands_in_flight()), (1, 2));
}

/// B16, R76: several workers that get the same deliveries at the same time.
pub async fn outcomes_add_up_under_concurrent_redelivery<S: Store>(store: S) {
    let epoch = epoch(&store).await;
    let run = begin(&store, "r1", RunKind::Sync, 40).await;
    let deliveries = (0..6).map(|worker| {
        let (store, run) = (store.clone(), run.clone());
        async move {
            let mut steps = Vec::new();
            for number in 0..40 {
                steps.push(change(&run, number, ChangeOutcome::Accepted, number % 2 == 0, true));
                steps.push(command(&run, number, Side::B, CommandOutcome::Applied));
            }
            if worker % 2 == 1 {
                steps.reverse();
            }
            for batch in steps.chunks(7) {
                store.commit(&connection(), epoch, batch).await.unwrap();
            }
        }
    });
    join_all(deliveries).await;
    let run = look(&store, &run).await;
    assert_eq!(run.changes, [(ChangeOutcome::Accepted, 40)]);
    assert_eq!((run.emitted, run.commands), (60, vec![(CommandOutcome::Applied, 40)]));
}

/// B3: a mapper killed between its commit and its publish published nothing, and the redelivery must.
pub async fn a_command_counted_but_not_settled_is_owed<S: Store>(store: S) {
    let epoch = epoch(&store).await;
    let run = begin(&store, "r1", RunKind::Sync, 1).await;
    let owed = |a, b| Committed::Done { owed: Sides { a, b } };
    let accepted = change(&run, 0, ChangeOutcome::Accepted, false, true);
    let unchanged = change(&run, 0, ChangeOutcome::Unchanged, false, false);
    assert_eq!(commit(&store, epoch, accepted.clone()).await, owed(false, false), "it is emitted now");
    assert_eq!(commit(&store, epoch, unchanged.clone()).await, owed(false, true));
    assert_eq!(commit(&store, epoch, accepted).await, owed(false, true));
    commit(&store, epoch, command(&run, 0, Side::B, CommandOutcome::Held)).await;
    assert_eq!(commit(&store, epoch, unchanged).await, owed(false, false), "it has its outcome");
}

pub async fn counts_of_an_unknown_run_do_not_stop_the_rest<S: Store>(store: S) {
    let epoch = epoch(&store).await;
    let lost = run_id("lost");
    let counted = Commit { count: change(&lost, 0, ChangeOutcome::Accepted, true, true).count, ..new_link(epoch, 1) };
    assert_eq!(commit(&store, epoch, counted).await, DONE);
    assert!(load(&store, 1).await.is_some());
    assert_eq!(store.run(&connection(), &lost).await.unwrap(), None);
    assert_eq!(store.reserve(&connection(), &lost, 5, None).await.unwrap(), None);
    store.abandon(&connection(), &lost, (0, 5)).await.unwrap();
    store.end_reading(&connection(), &lost, Side::A, None).await.unwrap();
    store.expect(&connection(), &lost, 7).await.unwrap();
    assert_eq!(store.run(&connection(), &lost).await.unwrap(), None);
}

/// B16: a run is over when both sides were read and everything that was read has its outcome.
pub async fn a_run_is_over_when_nothing_is_in_flight<S: Store>(store: S) {
    let epoch = epoch(&store).await;
    let run = begin(&store, "r1", RunKind::Sync, 2).await;
    store.expect(&connection(), &run, 30).await.unwrap();
    store.expect(&connection(), &run, 12).await.unwrap();
    commit(&store, epoch, change(&run, 0, ChangeOutcome::Accepted, false, true)).await;
    commit(&store, epoch, change(&run, 1, ChangeOutcome::Unchanged, false, false)).await;
    store.end_reading(&connection(), &run, Side::A, None).await.unwrap();
    commit(&store, epoch, command(&run, 0, Side::B, CommandOutcome::Applied)).await;
    let seen = look(&store, &run).await;
    assert!(!seen.is_over() && seen.reading == Sides { a: false, b: true } && seen.expected == Some(42));
    store.end_reading(&connection(), &run, Side::B, Some("timeout")).await.unwrap();
    store.end_reading(&connection(), &run, Side::A, Some("another")).await.unwrap();
    let seen = look(&store, &run).await;
    assert!(seen.is_over());
    assert_eq!(seen.failed.as_deref(), Some("timeout"), "the first reason");
}

pub async fn runs_are_listed_newest_first_and_begun_once<S: Store>(store: S) {
    epoch(&store).await;
    let only = Run { only: Some((Side::B, account("b1"))), ..run("r1", RunKind::Only, Timestamp(1_000)) };
    let second = Run { expected: Some(3), ..run("live-2026112121", RunKind::Live, Timestamp(2_000)) };
    store.begin_run(&connection(), &second).await.unwrap();
    store.begin_run(&connection(), &only).await.unwrap();
    store.reserve(&connection(), &only.id, 4, None).await.unwrap();
    store.begin_run(&connection(), &Run { by: "somebody else".to_owned(), ..only.clone() }).await.unwrap();
    let only = Run { read: 4, ..only };
    assert_eq!(store.runs(&connection(), 10).await.unwrap(), [second.clone(), only.clone()]);
    assert_eq!(store.runs(&connection(), 1).await.unwrap(), [second]);
    assert_eq!(store.run(&connection(), &only.id).await.unwrap(), Some(only));
    assert!(store.runs(&"other".parse().unwrap(), 10).await.unwrap().is_empty());
}

/// R66: a "sync now" during a run is neither doubled nor lost.
pub async fn requests_wait_until_they_are_served<S: Store>(store: S) {
    let request = |id: &str| SyncRequest {
        run: run_id(id),
        kind: RunKind::Sync,
        by: "ada@host".to_owned(),
        only: Some((Side::A, account("a1"))),
    };
    // Of two in the same millisecond either may come first.
    store.request(&connection(), &request("r1")).await.unwrap();
    store.request(&connection(), &request("r1")).await.unwrap();
    assert_eq!(store.requests(&connection()).await.unwrap(), [request("r1")]);
    store.request(&connection(), &request("r2")).await.unwrap();
    store.request_done(&connection(), &run_id("r1")).await.unwrap();
    store.request_done(&connection(), &run_id("r9")).await.unwrap();
    assert_eq!(store.requests(&connection()).await.unwrap(), [request("r2")]);
}

/// B13, B16: whoever sees to it that a run has numbers, however often and however many at once, gives out no more than are
/// wanted, so that the run is over when each has its outcome.
pub async fn numbers_up_to_a_count_are_given_out_once<S: Store>(store: S) {
    let epoch = epoch(&store).await;
    let undo = Run::new(run_id("undo-r1"), RunKind::Retry, "ada@host".to_owned(), Timestamp(1_000));
    assert!(!store.reserve_up_to(&connection(), &undo.id, 3).await.unwrap(), "nobody has begun it");
    store.begin_run(&connection(), &undo).await.unwrap();
    let asked =
        join_all((0..8).map(|_| async { store.reserve_up_to(&connection(), &undo.id, 3).await.unwrap() })).await;
    assert!(asked.into_iter().all(|is_known| is_known));
    assert_eq!(look(&store, &undo.id).await.read, 3);
    assert!(store.reserve_up_to(&connection(), &undo.id, 2).await.unwrap());
    assert_eq!(look(&store, &undo.id).await.read, 3, "never fewer");
    assert!(store.reserve_up_to(&connection(), &undo.id, 4).await.unwrap());
    for number in 0..4 {
        assert!(!look(&store, &undo.id).await.is_over(), "{number}");
        commit(&store, epoch, change(&undo.id, number, ChangeOutcome::Unchanged, false, false)).await;
    }
    assert!(look(&store, &undo.id).await.is_over());
}
