//! What every store must do, whatever it is made of: a suite over the trait, run by `suite!` for each implementation.

use std::time::Duration;

use futures_util::future::join_all;
use muster::domain::link::{Link, Origin, Register};
use muster::domain::resolve::JournalReason;
use muster::domain::*;
use muster::store::*;

/// Makes a test of each function below. `$open` is an expression that gives an empty store.
macro_rules! suite {
    ($open:expr) => {
        $crate::store::suite!($open;
            a_link_is_replaced_only_at_the_revision_that_was_read,
            a_link_is_found_by_the_surest_claim_that_is_held,
            many_questions_are_answered_in_their_order,
            of_two_links_that_race_for_a_claim_one_wins,
            claims_are_released_only_by_their_holder,
            a_failed_step_leaves_no_trace,
            a_commit_of_another_epoch_is_refused,
            an_outcome_is_counted_once,
            outcomes_add_up_under_concurrent_redelivery,
            a_command_counted_but_not_settled_is_owed,
            counts_of_an_unknown_run_do_not_stop_the_rest,
            a_lease_has_one_holder,
            a_cursor_moves_only_under_the_lease,
            reserved_numbers_are_given_out_once_and_abandoned_ones_add_up,
            a_reread_asked_for_while_being_read_stays,
            letters_open_join_and_close,
            letters_about_messages_have_no_connection_or_one,
            a_run_is_over_when_nothing_is_in_flight,
            runs_are_listed_newest_first_and_begun_once,
            requests_wait_until_they_are_served,
            a_longer_pause_stays,
            processes_that_work_are_heard_of,
            accounts_are_listed_page_by_page,
        );
    };
    ($open:expr; $($name:ident,)+) => {
        $(#[tokio::test]
        async fn $name() {
            $crate::store::$name($open).await;
        })+
    };
}
pub(crate) use suite;

pub fn connection() -> ConnectionName {
    "crm-scim".parse().unwrap()
}

fn account(id: impl std::fmt::Display) -> AccountId {
    id.to_string().parse().unwrap()
}

fn run_id(id: &str) -> RunId {
    id.parse().unwrap()
}

fn claim(side: Side, id: impl std::fmt::Display) -> Claim {
    Claim::Account(side, account(id))
}

/// A link of account `id` on side `a`, as it would be created.
pub fn new_link(epoch: Epoch, id: u64) -> Commit {
    let link = Link::new(LinkId(id), epoch, Origin::FirstMatch, Side::A, account(format!("a{id}")));
    Commit { link: Some(link), claim: vec![claim(Side::A, format!("a{id}"))], ..Commit::default() }
}

pub async fn commit<S: Store>(store: &S, epoch: Epoch, commit: Commit) -> Committed {
    store.commit(&connection(), epoch, vec![commit]).await.unwrap().remove(0)
}

pub const DONE: Committed = Committed::Done { owed: Sides { a: false, b: false } };

pub async fn epoch<S: Store>(store: &S) -> Epoch {
    store.epoch(&connection()).await.unwrap().id
}

pub async fn load<S: Store>(store: &S, id: u64) -> Option<Link> {
    store.load(&connection(), &[LinkId(id)]).await.unwrap().items.remove(0)
}

pub async fn find<S: Store>(store: &S, claims: Vec<Claim>) -> Option<(LinkId, usize)> {
    let found = store.find(&connection(), vec![Find { claims, letter: None }]).await.unwrap().items.remove(0);
    found.link.map(|(link, index)| (link.id, index))
}

pub async fn begin<S: Store>(store: &S, id: &str, kind: RunKind, read: u32) -> RunId {
    let began_at = store.epoch(&connection()).await.unwrap().now;
    store.begin_run(&connection(), &run(id, kind, began_at)).await.unwrap();
    if read > 0 {
        store.reserve(&connection(), &run_id(id), read, None).await.unwrap().unwrap();
    }
    run_id(id)
}

fn run(id: &str, kind: RunKind, began_at: Timestamp) -> Run {
    Run {
        id: run_id(id),
        kind,
        by: "schedule".to_owned(),
        began_at,
        only: None,
        reading: Sides { a: true, b: true },
        read: 0,
        expected: None,
        changes: vec![],
        emitted: 0,
        commands: vec![],
        failed: None,
    }
}

fn change(run: &RunId, number: u32, outcome: ChangeOutcome, a: bool, b: bool) -> Commit {
    let count = Count::Change { run: run.clone(), number, outcome, emits: Sides { a, b } };
    Commit { count: Some(count), ..Commit::default() }
}

fn command(run: &RunId, number: u32, side: Side, outcome: CommandOutcome) -> Commit {
    Commit { count: Some(Count::Command { run: run.clone(), number, side, outcome }), ..Commit::default() }
}

async fn look<S: Store>(store: &S, run: &RunId) -> Run {
    store.run(&connection(), run).await.unwrap().unwrap()
}

fn letter(id: LetterId, first_at: i64) -> DeadLetter {
    DeadLetter {
        id,
        fingerprint: Fingerprint {
            target: Some("scim".parse().unwrap()),
            class: FailureClass::Permanent,
            code: Code::known("email_exists"),
            attribute: None,
        },
        connection: Some(connection()),
        account: Some(account("b1")),
        partner: None,
        first_at: Timestamp(first_at),
        last_at: Timestamp(first_at),
        failures: 1,
        message: "an account with this e-mail exists".to_owned(),
        status: Some(409),
        request_id: None,
        content: LetterContent::Account { side: Side::B },
    }
}

pub async fn a_link_is_replaced_only_at_the_revision_that_was_read<S: Store>(store: S) {
    let epoch = epoch(&store).await;
    assert_eq!(load(&store, 1).await, None);
    assert_eq!(commit(&store, epoch, new_link(epoch, 1)).await, DONE);
    assert_eq!(commit(&store, epoch, new_link(epoch, 1)).await, Committed::Moved, "it exists already");

    let mut link = load(&store, 1).await.unwrap();
    assert_eq!(link.revision, 1);
    let version = Version { modified_at: Some(Timestamp(5)), read_at: Timestamp(6), tag: Some("\"x\"".into()) };
    link.registers.insert(
        "emails".parse().unwrap(),
        Register {
            value: Some("ada@x.example".into()),
            at: version,
            by: Side::A,
            generation: 1,
            applied: Sides { a: 1, b: 0 },
            hold: None,
        },
    );
    let replace = Commit { link: Some(link.clone()), ..Commit::default() };
    assert_eq!(commit(&store, epoch, replace.clone()).await, DONE);
    assert_eq!(commit(&store, epoch, replace).await, Committed::Moved, "the same revision twice");
    assert_eq!(load(&store, 1).await, Some(Link { revision: 2, ..link }));

    let absent = Link { revision: 4, ..Link::new(LinkId(9), epoch, Origin::FirstMatch, Side::A, account("a9")) };
    let absent = Commit { link: Some(absent), ..Commit::default() };
    assert_eq!(commit(&store, epoch, absent).await, Committed::Moved, "what was read is not there any more");
}

pub async fn a_link_is_found_by_the_surest_claim_that_is_held<S: Store>(store: S) {
    let epoch = epoch(&store).await;
    let key = |value: &str| Claim::Key(Side::B, format!("emails={value}"));
    let mut first = new_link(epoch, 1);
    first.claim.push(key("0001"));
    assert_eq!(commit(&store, epoch, first).await, DONE);
    assert_eq!(commit(&store, epoch, new_link(epoch, 2)).await, DONE);

    let one = LinkId(1);
    assert_eq!(find(&store, vec![claim(Side::A, "a1")]).await, Some((one, 0)));
    assert_eq!(find(&store, vec![claim(Side::B, "a1")]).await, None, "claims belong to a side");
    assert_eq!(find(&store, vec![claim(Side::B, "b1"), key("0001"), claim(Side::A, "a2")]).await, Some((one, 1)));
    assert_eq!(find(&store, vec![Claim::Key(Side::A, "emails=0001".to_owned())]).await, None);
    assert_eq!(find(&store, vec![]).await, None);
}

pub async fn many_questions_are_answered_in_their_order<S: Store>(store: S) {
    let epoch = epoch(&store).await;
    let commits = (0..1_100).map(|id| new_link(epoch, id)).collect();
    let committed = store.commit(&connection(), epoch, commits).await.unwrap();
    assert!(committed.len() == 1_100 && committed.iter().all(|committed| *committed == DONE));

    let questions = (0..450).map(|id| Find { claims: vec![claim(Side::A, format!("a{id}"))], letter: None });
    let found = store.find(&connection(), questions.collect()).await.unwrap();
    assert_eq!(found.epoch, epoch);
    let ids: Vec<u64> = found.items.iter().map(|found| found.link.as_ref().unwrap().0.id.0).collect();
    assert_eq!(ids, (0..450).collect::<Vec<_>>());

    let wanted: Vec<LinkId> = (1_000..1_450).map(LinkId).collect();
    let loaded = store.load(&connection(), &wanted).await.unwrap().items;
    assert_eq!(loaded.len(), 450);
    assert!(
        loaded.iter().zip(&wanted).all(|(link, id)| link.as_ref().map(|link| link.id) == (id.0 < 1_100).then_some(*id))
    );

    assert!(store.load(&connection(), &[]).await.unwrap().items.is_empty());
    assert!(store.find(&connection(), vec![]).await.unwrap().items.is_empty());
    assert!(store.commit(&connection(), epoch, vec![]).await.unwrap().is_empty());
    assert_eq!(store.counts(&connection()).await.unwrap().links, 1_100);
}

/// R2, R15: an account belongs to one link, whoever asks at the same time.
pub async fn of_two_links_that_race_for_a_claim_one_wins<S: Store>(store: S) {
    let epoch = epoch(&store).await;
    for id in 1..=20 {
        assert_eq!(commit(&store, epoch, new_link(epoch, id)).await, DONE);
    }
    let races = (1..=20).map(|id| {
        let store = store.clone();
        async move {
            let mut link = load(&store, id).await.unwrap();
            link.sides.b.account = Some(account("b1"));
            let take = Commit { link: Some(link), claim: vec![claim(Side::B, "b1")], ..Commit::default() };
            (id, commit(&store, epoch, take).await)
        }
    });
    let outcomes = join_all(races).await;
    let winners: Vec<u64> = outcomes.iter().filter(|(_, outcome)| *outcome == DONE).map(|(id, _)| *id).collect();
    assert_eq!(winners.len(), 1, "{outcomes:?}");
    let holder = LinkId(winners[0]);
    for (id, outcome) in outcomes.into_iter().filter(|(id, _)| *id != holder.0) {
        assert_eq!(outcome, Committed::Taken { claim: claim(Side::B, "b1"), holder });
        let loser = load(&store, id).await.unwrap();
        assert_eq!((loser.revision, loser.sides.b.account), (1, None), "the loser's link is unchanged");
    }
    assert_eq!(find(&store, vec![claim(Side::B, "b1")]).await, Some((holder, 0)));
}

pub async fn claims_are_released_only_by_their_holder<S: Store>(store: S) {
    let epoch = epoch(&store).await;
    for id in [1, 2] {
        assert_eq!(commit(&store, epoch, new_link(epoch, id)).await, DONE);
    }
    let release = |link: Link| Commit { link: Some(link), release: vec![claim(Side::A, "a1")], ..Commit::default() };
    assert_eq!(commit(&store, epoch, release(load(&store, 2).await.unwrap())).await, DONE);
    assert_eq!(find(&store, vec![claim(Side::A, "a1")]).await, Some((LinkId(1), 0)));
    assert_eq!(commit(&store, epoch, release(load(&store, 1).await.unwrap())).await, DONE);
    assert_eq!(find(&store, vec![claim(Side::A, "a1")]).await, None);

    // Given up and taken in one step, it stays.
    let link = load(&store, 2).await.unwrap();
    let both = vec![claim(Side::A, "a2")];
    let both = Commit { link: Some(link), claim: both.clone(), release: both, ..Commit::default() };
    assert_eq!(commit(&store, epoch, both).await, DONE);
    assert_eq!(find(&store, vec![claim(Side::A, "a2")]).await, Some((LinkId(2), 0)));
}

/// B3: a step that does not happen does not happen at all.
pub async fn a_failed_step_leaves_no_trace<S: Store>(store: S) {
    let epoch = epoch(&store).await;
    let run = begin(&store, "r1", RunKind::Sync, 1).await;
    assert_eq!(commit(&store, epoch, new_link(epoch, 1)).await, DONE);
    let counts = store.counts(&connection()).await.unwrap();

    let full = |link: Commit| Commit {
        open: vec![letter(LetterId::of_link(&connection(), Side::B, LinkId(1)), 1)],
        reread: vec![(Side::A, account("a1"))],
        count: change(&run, 0, ChangeOutcome::Accepted, true, true).count,
        journal: vec![JournalEntry {
            link: LinkId(1),
            attribute: "title".parse().unwrap(),
            side: Side::B,
            value: Some("lost".into()),
            reason: JournalReason::ConflictLost,
            seen_at: Timestamp(1),
        }],
        ..link
    };
    assert_eq!(commit(&store, epoch, full(new_link(epoch, 1))).await, Committed::Moved);
    let mut taken = new_link(epoch, 2);
    taken.claim.push(claim(Side::A, "a1"));
    let refused = Committed::Taken { claim: claim(Side::A, "a1"), holder: LinkId(1) };
    assert_eq!(commit(&store, epoch, full(taken)).await, refused);
    assert_eq!(store.counts(&connection()).await.unwrap(), counts);
    let run = look(&store, &run).await;
    assert_eq!((run.changes, run.emitted), (vec![], 0));

    let orphan = Commit { claim: vec![claim(Side::A, "a7")], ..Commit::default() };
    assert!(matches!(store.commit(&connection(), epoch, vec![orphan]).await, Err(StoreError::Unusable(_))));
}

pub async fn a_commit_of_another_epoch_is_refused<S: Store>(store: S) {
    let epoch = epoch(&store).await;
    assert_eq!(store.epoch(&connection()).await.unwrap().id, epoch, "asking changes nothing");
    let other = Epoch(epoch.0 ^ 1);
    let refused = store.commit(&connection(), other, vec![new_link(other, 1)]).await;
    assert!(matches!(refused, Err(StoreError::EpochChanged(name)) if name == connection()));
    assert_eq!(load(&store, 1).await, None);
    let loaded = store.load(&connection(), &[LinkId(1)]).await.unwrap();
    let state = store.epoch(&connection()).await.unwrap();
    assert!(loaded.epoch == epoch && state.began_at <= loaded.now && loaded.now <= state.now);
}

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
    assert_eq!(run.emitted, 4);
    assert_eq!(run.commands, [(CommandOutcome::Applied, 1), (CommandOutcome::Merged, 1)]);
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
                store.commit(&connection(), epoch, batch.to_vec()).await.unwrap();
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
    epoch(&store).await;
    let (holder, other) = (Token(1), Token(2));
    let moved = ReaderState { watermark: Some("w1".to_owned()), active: None };
    let set = |token, state: ReaderState| {
        let store = store.clone();
        async move { store.set_reader(&connection(), Side::A, token, &state).await.unwrap() }
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
        async move { store.reserve(&connection(), &run, count, Some((Side::A, token, &state))).await.unwrap() }
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
    assert!(store.set_reader(&connection(), Side::A, token, &state).await.unwrap());
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

    // Within the same millisecond, as like as not.
    ask(&["a2"]).await;
    store.reread_done(&connection(), Side::A, &asked).await.unwrap();
    let left = store.rereads(&connection(), Side::A, 10).await.unwrap();
    assert_eq!(left.iter().map(|(account, _)| account.as_str()).collect::<Vec<_>>(), ["a2"]);
    assert_eq!(store.counts(&connection()).await.unwrap().rereads, Sides { a: 1, b: 0 });
    store.reread_done(&connection(), Side::A, &left).await.unwrap();
    assert!(store.rereads(&connection(), Side::A, 10).await.unwrap().is_empty());
}

/// B7: one letter is open for an account on a target, and a success closes it.
pub async fn letters_open_join_and_close<S: Store>(store: S) {
    let epoch = epoch(&store).await;
    let id = LetterId::of_link(&connection(), Side::B, LinkId(1));
    let open = |letters: Vec<DeadLetter>| Commit { open: letters, ..Commit::default() };
    let earlier = letter(LetterId::of_account(&connection(), Side::A, &account("a/5")), 1);
    commit(&store, epoch, open(vec![letter(id.clone(), 5), earlier.clone()])).await;
    let again = DeadLetter { failures: 2, last_at: Timestamp(9), ..letter(id.clone(), 5) };
    commit(&store, epoch, open(vec![again.clone()])).await;
    assert_eq!(store.letters(Some(&connection())).await.unwrap(), [earlier.clone(), again], "the oldest first");
    assert_eq!(store.counts(&connection()).await.unwrap().letters, 2);
    assert!(store.letters(None).await.unwrap().is_empty());

    let asks = |letter| Find { claims: vec![], letter };
    let questions = vec![asks(Some(id.clone())), asks(Some(LetterId::from_text("none"))), asks(None)];
    let found = store.find(&connection(), questions).await.unwrap().items;
    assert_eq!(found.iter().map(|found| found.open_letter).collect::<Vec<_>>(), [true, false, false]);

    commit(&store, epoch, Commit { close: vec![id.clone()], ..Commit::default() }).await;
    assert_eq!(store.letters(Some(&connection())).await.unwrap(), [earlier.clone()]);
    store.file_letters(&[], &[earlier.id, id]).await.unwrap();
    assert!(store.letters(Some(&connection())).await.unwrap().is_empty());
}

pub async fn letters_about_messages_have_no_connection_or_one<S: Store>(store: S) {
    epoch(&store).await;
    let known = letter(LetterId::of_message("m1"), 1);
    let unknown = DeadLetter { connection: None, ..letter(LetterId::of_message("m2"), 2) };
    let linked = letter(LetterId::of_link(&connection(), Side::A, LinkId(3)), 3);
    store.file_letters(&[unknown.clone(), linked.clone(), known.clone()], &[]).await.unwrap();
    assert_eq!(store.letters(None).await.unwrap(), [unknown.clone()]);
    assert_eq!(store.letters(Some(&connection())).await.unwrap(), [known.clone(), linked.clone()]);
    assert_eq!(store.counts(&connection()).await.unwrap().letters, 2);
    store.file_letters(&[], &[known.id, unknown.id, linked.id]).await.unwrap();
    assert!(store.letters(None).await.unwrap().is_empty());
    assert!(store.letters(Some(&connection())).await.unwrap().is_empty());
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

/// B19: all writers of a system obey the longest wait that it asked of any.
pub async fn a_longer_pause_stays<S: Store>(store: S) {
    let crm: SystemName = "crm".parse().unwrap();
    assert_eq!(store.system(&crm).await.unwrap(), SystemState::default());
    store.pause_system(&crm, Duration::from_secs(60), "throttled").await.unwrap();
    let long = store.system(&crm).await.unwrap();
    store.pause_system(&crm, Duration::from_secs(5), "unauthorised").await.unwrap();
    assert_eq!(store.system(&crm).await.unwrap(), long);
    store.pause_system(&crm, Duration::from_secs(600), "unauthorised").await.unwrap();
    store.note_usage(&crm, 7, 15_000).await.unwrap();
    let longer = store.system(&crm).await.unwrap();
    assert!(longer.not_before > long.not_before);
    assert_eq!((longer.reason.as_deref(), longer.usage), (Some("unauthorised"), Some((7, 15_000))));
    assert_eq!(store.system(&"chat".parse().unwrap()).await.unwrap(), SystemState::default());
}

pub async fn processes_that_work_are_heard_of<S: Store>(store: S) {
    store.ping().await.unwrap();
    store.beat("writer", "host/2").await.unwrap();
    store.beat("producer", "host/1").await.unwrap();
    store.beat("producer", "host/1").await.unwrap();
    let heard = store.instances().await.unwrap();
    let names: Vec<_> = heard.iter().map(|instance| (instance.role.as_str(), instance.name.as_str())).collect();
    assert_eq!(names, [("producer", "host/1"), ("writer", "host/2")]);
    assert!(heard.iter().all(|instance| !instance.version.is_empty() && instance.seen_at > Timestamp(0)));
}

pub async fn accounts_are_listed_page_by_page<S: Store>(store: S) {
    let epoch = epoch(&store).await;
    let commits = (0..1_300).map(|id| new_link(epoch, id)).collect();
    store.commit(&connection(), epoch, commits).await.unwrap();
    let (mut listed, mut from) = (std::collections::BTreeMap::new(), None);
    let mut pages = 0;
    loop {
        let (page, next) = store.accounts(&connection(), Side::A, from).await.unwrap();
        listed.extend(page);
        pages += 1;
        from = next;
        if from.is_none() {
            break;
        }
    }
    assert!(pages > 1);
    assert_eq!(listed.len(), 1_300);
    assert!(listed.iter().all(|(account, link)| account.as_str() == format!("a{}", link.0)));
    assert_eq!(store.accounts(&connection(), Side::B, None).await.unwrap(), (vec![], None));
    assert_eq!(store.counts(&connection()).await.unwrap().accounts, Sides { a: 1_300, b: 0 });
}
