//! Erasing what is kept of one person.

use std::time::Duration;

use muster::domain::journal::JournalReason;
use muster::domain::link::{Link, Origin};
use muster::domain::undo::{Act, Before, Overwritten, Replaced};
use muster::domain::*;
use muster::store::*;

use super::*;

fn lost(link: u64, owner: &str, value: &str) -> JournalEntry {
    JournalEntry {
        link: LinkId(link),
        attribute: "title".parse().unwrap(),
        side: Side::B,
        value: Some(value.into()),
        is_erased: false,
        reason: JournalReason::ConflictLost,
        seen_at: Timestamp(5),
        generation: 3,
        accounts: Sides { a: Some(account(owner)), b: None },
        gave_back: None,
    }
}

async fn note<S: Store>(store: &S, entries: Vec<JournalEntry>) {
    let epoch = epoch(store).await;
    assert_eq!(commit(store, epoch, Commit { journal: entries, ..Commit::default() }).await, DONE);
}

async fn recorded<S: Store>(store: &S, owner: &str, link: Option<u64>) -> Recorded {
    let EpochState { id, now, .. } = store.epoch(&connection()).await.unwrap();
    let snapshot = Snapshot {
        account: account(owner),
        version: Version { modified_at: None, read_at: Timestamp(4), tag: None },
        attributes: [("title".parse().unwrap(), Some(Value::from("Clerk")))].into(),
        partner: None,
    };
    let link = link.map(|link| Link::new(LinkId(link), id, Origin::FirstMatch, Side::A, account(owner)));
    Recorded {
        at: now,
        kept: Duration::from_secs(3600),
        epoch: id,
        version: 1,
        a_ahead_ms: None,
        change: Change {
            connection: connection(),
            side: Side::A,
            cause: Cause { run: run_id("r1"), number: 0 },
            epoch: id,
            seen: Sighting::Present { snapshot },
        },
        link,
        partner: None,
        verdicts: Vec::new(),
    }
}

fn person(owner: &str, link: u64) -> Person {
    Person { accounts: Sides { a: [account(owner)].into(), b: [].into() }, links: [LinkId(link)].into() }
}

async fn journal<S: Store>(store: &S) -> Vec<Kept> {
    store.journal(&connection(), None, None, 10_000).await.unwrap()
}

/// A write by a run, and what is left of it once the person is forgotten.
fn overwrite(run: &str, link: u64, owner: &str) -> (Overwrite, Overwritten) {
    let entry = Overwritten {
        link: LinkId(link),
        epoch: Epoch(3),
        side: Side::A,
        accounts: Sides { a: Some(account(owner)), b: None },
        at: Timestamp(7),
        act: Act::Changed,
        values: vec![Replaced {
            path: "title".parse().unwrap(),
            generation: 2,
            wrote: Digest(5),
            before: Before::Held(Some(Value::from("Captain"))),
        }],
    };
    let mut after = entry.clone();
    (after.values[0].before, after.values[0].wrote) = (Before::Unknown, Digest(0));
    (Overwrite { run: run_id(run), kept: Duration::from_secs(3600), entry }, after)
}

/// Of one person values go out of the journal, whose entries stay where they are, and recorded changes go; of all others
/// everything stays. Without `really` it is only counted, and the second time there is nothing to do.
pub async fn of_one_person_everything_is_erased<S: Store>(store: S) {
    // Of the third the link is another one by now, and of the last the account is.
    let entries = [
        lost(1, "ada", "a1"),
        lost(2, "bob", "b1"),
        lost(9, "ada", "a2"),
        lost(2, "bob", "b2"),
        lost(1, "was-ada", "a3"),
    ];
    note(&store, entries.to_vec()).await;
    let changes = [
        recorded(&store, "ada", Some(1)).await,
        recorded(&store, "bob", Some(2)).await,
        recorded(&store, "ada", None).await,
        recorded(&store, "eve", Some(1)).await,
        recorded(&store, "bob", None).await,
    ];
    store.record(&connection(), &changes).await.unwrap();
    let writes =
        [("r1", 1, "ada"), ("r1", 2, "bob"), ("r2", 9, "ada")].map(|(run, link, owner)| overwrite(run, link, owner));
    let epoch_now = epoch(&store).await;
    for (overwrite, _) in writes.clone() {
        let noted = Commit { overwrite: Some(overwrite), ..Commit::default() };
        assert_eq!(commit(&store, epoch_now, noted).await, DONE);
    }
    let kept = async |run: &str| store.overwritten(&connection(), &run_id(run), 0, 100).await.unwrap();
    let before = journal(&store).await;
    let ada = person("ada", 1);
    let erased = Erased { conflicts: 3, history: 3, overwritten: 2 };
    assert_eq!(store.erase(&connection(), &ada, false).await.unwrap(), erased);
    assert_eq!(journal(&store).await, before);
    assert_eq!(store.history(&connection(), None, 100).await.unwrap().len(), 5);
    assert_eq!(kept("r2").await, [writes[2].0.entry.clone()]);

    assert_eq!(store.erase(&"other".parse().unwrap(), &ada, true).await.unwrap(), Erased::default());
    assert_eq!(store.erase(&connection(), &ada, true).await.unwrap(), erased);
    let expected: Vec<Kept> = before
        .into_iter()
        .map(|kept| match kept.entry.value.clone() {
            Some(Value::Text(text)) if text.starts_with('a') => {
                Kept { entry: JournalEntry { value: None, is_erased: true, ..kept.entry }, ..kept }
            }
            _ => kept,
        })
        .collect();
    assert_eq!(journal(&store).await, expected, "each where it was");
    let left = store.history(&connection(), None, 100).await.unwrap();
    assert!(left.len() == 2 && left.iter().all(|(_, told)| told.change.account() == Some(&account("bob"))), "{left:?}");
    assert_eq!(kept("r1").await, [writes[0].1.clone(), writes[1].0.entry.clone()]);
    assert_eq!(kept("r2").await, [writes[2].1.clone()]);
    assert_eq!(store.erase(&connection(), &ada, true).await.unwrap(), Erased::default());

    // All that there is may be one person's.
    let bob = person("bob", 2);
    assert_eq!(
        store.erase(&connection(), &bob, true).await.unwrap(),
        Erased { conflicts: 2, history: 2, overwritten: 1 }
    );
    assert_eq!(store.history(&connection(), None, 100).await.unwrap(), []);
    store.record(&connection(), &changes[1..2]).await.unwrap();
    assert_eq!(store.history(&connection(), None, 100).await.unwrap().len(), 1);
}

/// What is noted while a person is erased, of them and of others, is not lost, and nothing is doubled.
pub async fn what_is_noted_meanwhile_stays<S: Store>(store: S) {
    const BEFORE: usize = 600;
    const HANDS: usize = 4;
    const NOTED: usize = 100;
    note(&store, (0..BEFORE).map(|at| lost(1 + (at % 2) as u64, "x", &format!("old {at}"))).collect()).await;
    let is_over = std::cell::Cell::new(false);
    let hand = async |hand: usize| {
        for at in 0..NOTED {
            note(&store, vec![lost(1 + (at % 2) as u64, "y", &format!("new {hand}-{at}"))]).await;
        }
    };
    let noting = async {
        futures_util::future::join_all((0..HANDS).map(hand)).await;
        is_over.set(true);
    };
    let erasing = async {
        let mut erased = 0;
        while !is_over.get() {
            erased += store.erase(&connection(), &person("nobody", 1), true).await.unwrap().conflicts;
        }
        erased + store.erase(&connection(), &person("nobody", 1), true).await.unwrap().conflicts
    };
    let ((), erased) = futures_util::future::join(noting, erasing).await;
    let all = journal(&store).await;
    let text = |kept: &Kept| match &kept.entry.value {
        Some(Value::Text(text)) => Some(text.to_string()),
        _ => None,
    };
    let values: std::collections::BTreeSet<_> = all.iter().filter_map(text).collect();
    let half = (BEFORE + HANDS * NOTED) / 2;
    assert_eq!((all.len(), values.len()), (2 * half, half), "each is there, and each of the others has its own value");
    assert_eq!(all.iter().filter(|kept| kept.entry.is_erased).count(), half);
    assert!(erased >= half as u64, "{erased}");
}
