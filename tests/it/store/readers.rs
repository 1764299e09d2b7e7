//! Leases, cursors, numbers, and accounts to read again.

use std::time::Duration;

use muster::domain::*;
use muster::store::*;

use super::*;

pub async fn a_lease_has_one_holder<S: Store>(store: S) {
    let (mine, other) = (Token(1), Token(2));
    let long = Duration::from_secs(600);
    let lease = |name: LeaseName, token, ttl| {
        let store = store.clone();
        async move { store.lease(&connection(), &name, token, ttl).await.unwrap() }
    };
    assert!(lease(LeaseName::Reader(Side::A), mine, long).await);
    assert!(lease(LeaseName::Reader(Side::A), mine, long).await, "renewed");
    assert!(!lease(LeaseName::Reader(Side::A), other, long).await);
    assert!(lease(LeaseName::Reader(Side::B), other, long).await, "another lease");
    assert!(lease(LeaseName::Runs, other, long).await);

    store.release(&connection(), &LeaseName::Reader(Side::A), other).await.unwrap();
    assert!(!lease(LeaseName::Reader(Side::A), other, long).await, "only its holder gives it up");
    store.release(&connection(), &LeaseName::Reader(Side::A), mine).await.unwrap();
    assert!(lease(LeaseName::Reader(Side::A), other, Duration::from_millis(20)).await);
    // It ends by the store's clock, and whoever asks until then gets it.
    while !lease(LeaseName::Reader(Side::A), mine, long).await {
        tokio::task::yield_now().await;
    }
    assert!(!lease(LeaseName::Reader(Side::A), other, long).await);
}

/// R82: a cursor moves only by the hand of the one reader that holds the lease.
pub async fn a_cursor_moves_only_under_the_lease<S: Store>(store: S) {
    let epoch = epoch(&store).await;
    let (holder, other) = (Token(1), Token(2));
    let moved = ReaderState { watermark: Some("w1".to_owned()), active: None };
    let set = |token, state: ReaderState| {
        let store = store.clone();
        async move { store.set_reader(&connection(), epoch, Side::A, token, &state).await.unwrap() }
    };
    assert_eq!(store.reader(&connection(), Side::A).await.unwrap(), ReaderState::default());
    assert!(!set(holder, moved.clone()).await, "without a lease");
    assert!(store.lease(&connection(), &LeaseName::Reader(Side::A), holder, Duration::from_secs(60)).await.unwrap());
    assert!(!set(other, moved.clone()).await);
    assert_eq!(store.reader(&connection(), Side::A).await.unwrap(), ReaderState::default());
    assert!(set(holder, moved.clone()).await);
    assert_eq!(store.reader(&connection(), Side::A).await.unwrap(), moved);
    assert_eq!(store.reader(&connection(), Side::B).await.unwrap(), ReaderState::default());
}

/// B3, B16: a producer killed between reserving and publishing leaves numbers without a change; the books still close.
pub async fn reserved_numbers_are_given_out_once_and_abandoned_ones_add_up<S: Store>(store: S) {
    let epoch = epoch(&store).await;
    let run = begin(&store, "r1", RunKind::Reconcile, 0).await;
    let state = ReaderState {
        watermark: None,
        active: Some(ActiveRead { run: run.clone(), complete: true, position: Some("p1".to_owned()), reserved: None }),
    };
    let token = Token(1);
    let reserve = |count, token| {
        let (store, run, state) = (store.clone(), run.clone(), state.clone());
        async move { store.reserve(&connection(), &run, count, Some((epoch, Side::A, token, &state))).await.unwrap() }
    };
    assert_eq!(reserve(10, token).await, None, "without a lease");
    assert!(store.lease(&connection(), &LeaseName::Reader(Side::A), token, Duration::from_secs(60)).await.unwrap());
    assert_eq!(reserve(10, Token(2)).await, None);
    assert_eq!(look(&store, &run).await.read, 0);
    assert_eq!(store.reader(&connection(), Side::A).await.unwrap(), ReaderState::default());

    assert_eq!(reserve(10, token).await, Some(0));
    let found = store.reader(&connection(), Side::A).await.unwrap();
    assert_eq!(found.active.as_ref().unwrap().reserved, Some((0, 10)));
    assert_eq!(found.active.unwrap().position.as_deref(), Some("p1"));
    assert!(store.set_reader(&connection(), epoch, Side::A, token, &state).await.unwrap());
    assert_eq!(store.reader(&connection(), Side::A).await.unwrap(), state, "published: nothing is reserved");
    assert_eq!(store.reserve(&connection(), &run, 3, None).await.unwrap(), Some(10));

    commit(&store, epoch, change(&run, 4, ChangeOutcome::Accepted, false, false)).await;
    for _ in 0..2 {
        store.abandon(&connection(), &run, (0, 10)).await.unwrap();
    }
    // One of them was published all the same.
    commit(&store, epoch, change(&run, 5, ChangeOutcome::Accepted, false, false)).await;
    store.abandon(&connection(), &run, (12, 100)).await.unwrap();
    let run = look(&store, &run).await;
    assert_eq!((run.read, run.changes_in_flight()), (13, 2));
    assert_eq!((run.changes(ChangeOutcome::Stale), run.changes(ChangeOutcome::Accepted)), (10, 1));
}

pub async fn a_reread_asked_for_while_being_read_stays<S: Store>(store: S) {
    let epoch = epoch(&store).await;
    let ask = |ids: &'static [&'static str]| {
        let store = store.clone();
        async move {
            let reread = ids.iter().map(|id| (Side::A, account(id))).collect();
            commit(&store, epoch, Commit { reread, ..Commit::default() }).await;
        }
    };
    ask(&["a1"]).await;
    ask(&["a2", "a3"]).await;
    let asked = store.rereads(&connection(), Side::A, 10).await.unwrap();
    assert_eq!(asked.len(), 3);
    assert!(asked.is_sorted_by_key(|(_, asked_at)| *asked_at));
    assert_eq!(store.rereads(&connection(), Side::A, 1).await.unwrap(), asked[..1]);
    assert!(store.rereads(&connection(), Side::B, 10).await.unwrap().is_empty());

    store.reread_done(&connection(), Side::A, &asked).await.unwrap();
    assert!(store.rereads(&connection(), Side::A, 10).await.unwrap().is_empty());

    // Of so many rounds, some fall into one millisecond.
    for round in 0..50 {
        ask(&["a2", "a3"]).await;
        let asked = store.rereads(&connection(), Side::A, 10).await.unwrap();
        ask(&["a2"]).await;
        store.reread_done(&connection(), Side::A, &asked).await.unwrap();
        let left = store.rereads(&connection(), Side::A, 10).await.unwrap();
        assert_eq!(left.iter().map(|(account, _)| account.as_str()).collect::<Vec<_>>(), ["a2"], "round {round}");
    }
    let left = store.rereads(&connection(), Side::A, 10).await.unwrap();
    assert_eq!(store.counts(&connection()).await.unwrap().rereads, Sides { a: 1, b: 0 });
    store.reread_done(&connection(), Side::A, &left).await.unwrap();
    assert!(store.rereads(&connection(), Side::A, 10).await.unwrap().is_empty());
}
