//! Open letters.

use std::collections::BTreeMap;
use std::ops::Range;

use muster::domain::redrive::{InHand, LetterFilter, Phase, Redrive, Which};
use muster::domain::*;
use muster::store::*;

use super::*;

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
    assert_eq!(store.letters(Some(&connection())).await.unwrap(), std::slice::from_ref(&earlier));
    store.file_letters(&[], &[earlier.id, id]).await.unwrap();
    assert!(store.letters(Some(&connection())).await.unwrap().is_empty());
}

pub async fn letters_about_messages_have_no_connection_or_one<S: Store>(store: S) {
    epoch(&store).await;
    let known = letter(LetterId::of_message("m1"), 1);
    let unknown = DeadLetter { connection: None, ..letter(LetterId::of_message("m2"), 2) };
    let linked = letter(LetterId::of_link(&connection(), Side::A, LinkId(3)), 3);
    store.file_letters(&[unknown.clone(), linked.clone(), known.clone()], &[]).await.unwrap();
    assert_eq!(store.letters(None).await.unwrap(), std::slice::from_ref(&unknown));
    assert_eq!(store.letters(Some(&connection())).await.unwrap(), [known.clone(), linked.clone()]);
    assert_eq!(store.counts(&connection()).await.unwrap().letters, 2);
    store.file_letters(&[], &[known.id, unknown.id, linked.id]).await.unwrap();
    assert!(store.letters(None).await.unwrap().is_empty());
    assert!(store.letters(Some(&connection())).await.unwrap().is_empty());
}

pub async fn one_letter_is_found_by_its_id<S: Store>(store: S) {
    let epoch = epoch(&store).await;
    let linked = letter(LetterId::of_link(&connection(), Side::B, LinkId(1)), 5);
    let message = letter(LetterId::of_message("m1"), 1);
    commit(&store, epoch, Commit { open: vec![linked.clone()], ..Commit::default() }).await;
    store.file_letters(std::slice::from_ref(&message), &[]).await.unwrap();
    let find = |connection: Option<ConnectionName>, letter: DeadLetter| {
        let store = store.clone();
        async move { store.letter(connection.as_ref(), &letter.id).await.unwrap() }
    };
    assert_eq!(find(Some(connection()), linked.clone()).await, Some(linked.clone()));
    assert_eq!(find(None, linked.clone()).await, None, "it belongs to a connection");
    assert_eq!(find(Some("other".parse().unwrap()), linked.clone()).await, None);
    // Nobody needs to know the connection of a letter about a message.
    assert_eq!(find(Some(connection()), message.clone()).await, Some(message.clone()));
    assert_eq!(find(None, message.clone()).await, Some(message.clone()));
    store.file_letters(&[], &[message.id.clone(), linked.id.clone()]).await.unwrap();
    assert_eq!((find(None, message).await, find(Some(connection()), linked).await), (None, None));
}

const EVER: Range<Timestamp> = Timestamp(0)..Timestamp(i64::MAX);

fn of_code(link: u64, first_at: i64, code: &'static str) -> DeadLetter {
    let letter = letter(LetterId::of_link(&connection(), Side::B, LinkId(link)), first_at);
    DeadLetter { fingerprint: Fingerprint { code: Code::known(code), ..letter.fingerprint.clone() }, ..letter }
}

async fn groups<S: Store>(
    store: &S,
    shelf: Option<&ConnectionName>,
    when: &Range<Timestamp>,
) -> Vec<(String, u64, i64, i64)> {
    let groups = store.letter_groups(shelf, when).await.unwrap();
    let told =
        |group: LetterGroup| (group.fingerprint.code.to_string(), group.letters, group.first_at.0, group.last_at.0);
    groups.into_iter().map(told).collect()
}

/// B9: letters of one cause are counted and read without the others, by the time when they were opened.
pub async fn letters_lie_by_fingerprint_and_time<S: Store>(store: S) {
    let epoch = epoch(&store).await;
    let name = connection();
    let mut letters: Vec<_> = (0..7).map(|link| of_code(link, 100 + link as i64, "one")).collect();
    // Opened at the same time, they are told apart by their ids.
    letters.extend((7..9).map(|link| of_code(link, 106, "one")));
    let others: Vec<_> = (20..23).map(|link| of_code(link, 50, "one_more")).collect();
    let message = letter(LetterId::of_message("m1"), 7);
    let open = letters.iter().chain(&others).cloned().collect();
    commit(&store, epoch, Commit { open, ..Commit::default() }).await;
    store.file_letters(std::slice::from_ref(&message), &[]).await.unwrap();
    let expected = [("one".to_owned(), 9, 100, 106), ("one_more".to_owned(), 3, 50, 50)];
    assert_eq!(groups(&store, Some(&name), &EVER).await, expected);
    assert_eq!(groups(&store, None, &EVER).await, [("email_exists".to_owned(), 1, 7, 7)]);
    let some = groups(&store, Some(&name), &(Timestamp(101)..Timestamp(106))).await;
    assert_eq!(
        some.iter().map(|(code, count, first, _)| (code.as_str(), *count, *first)).collect::<Vec<_>>(),
        [("one", 5, 101)]
    );

    let cause = &letters[0].fingerprint;
    let (mut read, mut after) = (Vec::new(), None);
    loop {
        let (page, next) = store.letter_page(Some(&name), cause, &EVER, after.as_ref(), 4).await.unwrap();
        assert!(page.len() <= 4);
        read.extend(page);
        let Some(next) = next else { break };
        after = Some(next);
    }
    assert_eq!(read, letters);
    let when = Timestamp(103)..Timestamp(106);
    let (page, next) = store.letter_page(Some(&name), cause, &when, None, 10).await.unwrap();
    assert_eq!((&page[..], next), (&letters[3..6], None));
    let (page, _) = store.letter_page(Some(&name), cause, &when, Some(&letters[0].place()), 10).await.unwrap();
    assert_eq!(page, letters[3..6], "behind a place before the time");
    let (page, _) = store.letter_page(None, &message.fingerprint, &EVER, None, 10).await.unwrap();
    assert_eq!(page, std::slice::from_ref(&message));
    assert!(store.letter_page(None, cause, &EVER, None, 10).await.unwrap().0.is_empty());

    let close = letters[..8].iter().map(|letter| letter.id.clone()).collect();
    commit(&store, epoch, Commit { close, ..Commit::default() }).await;
    assert_eq!(groups(&store, Some(&name), &EVER).await[0], ("one".to_owned(), 1, 106, 106));
    store.file_letters(&[], &[letters[8].id.clone(), message.id]).await.unwrap();
    assert_eq!(groups(&store, Some(&name), &EVER).await, [("one_more".to_owned(), 3, 50, 50)]);
    assert!(groups(&store, None, &EVER).await.is_empty());
}

/// B7, B9: one letter, however it fails: it is in the group of what happened last.
pub async fn a_letter_that_fails_otherwise_changes_its_group<S: Store>(store: S) {
    let epoch = epoch(&store).await;
    let name = connection();
    for (step, (code, last_at)) in [("one", 5), ("other", 9), ("one", 12)].into_iter().enumerate() {
        let letter = DeadLetter { last_at: Timestamp(last_at), ..of_code(1, 5, code) };
        commit(&store, epoch, Commit { open: vec![letter.clone()], ..Commit::default() }).await;
        assert_eq!(groups(&store, Some(&name), &EVER).await, [(code.to_owned(), 1, 5, last_at)], "step {step}");
        let (page, _) = store.letter_page(Some(&name), &letter.fingerprint, &EVER, None, 10).await.unwrap();
        assert_eq!(page, [letter]);
    }
}

/// B8: of two that carry on the same retry one does. Of many, those that are done are forgotten; one that can be carried on is
/// not thrown out by small ones that come and go.
pub async fn a_retry_of_many_letters_has_one_hand<S: Store>(store: S) {
    let redrive = |id: &str, began_at: i64| Redrive {
        id: id.to_owned(),
        revision: 1,
        saved_at: Timestamp(began_at),
        which: Which::Fitting(LetterFilter { code: Some("timeout".to_owned()), ..LetterFilter::default() }),
        by: "ada@host".to_owned(),
        began_at: Timestamp(began_at),
        canary: 3,
        rate: Some(20),
        phase: Phase::Stopped { why: "a canary failed".to_owned(), unproven: true },
        meant: 10,
        sent: 3,
        closed: 0,
        left: 0,
        after: Some(letter(LetterId::from_text("a/b/1"), 3).place()),
        in_hand: vec![InHand {
            place: letter(LetterId::from_text("a/b/2"), 4).place(),
            failures: 2,
            counted: Some((connection(), Cause { run: run_id("r"), number: 7 })),
        }],
        canaries: Vec::new(),
        runs: BTreeMap::from([(connection(), run_id("r"))]),
    };
    let first = redrive("one", 1);
    assert!(store.save_redrive(&first).await.unwrap());
    assert!(!store.save_redrive(&first).await.unwrap(), "it is there already");
    let second = Redrive { revision: 2, sent: 4, ..first.clone() };
    assert!(store.save_redrive(&second).await.unwrap());
    assert!(!store.save_redrive(&Redrive { revision: 2, ..first }).await.unwrap(), "somebody was quicker");
    assert!(store.save_redrive(&redrive("never seen", 5)).await.is_ok());
    let kept = store.redrives().await.unwrap();
    assert_eq!(kept.iter().map(|redrive| redrive.id.as_str()).collect::<Vec<_>>(), ["never seen", "one"]);
    assert_eq!(kept[1], second);
    let done = |number: i64| Redrive { phase: Phase::Done, ..redrive(&format!("d{number}"), 100 + number) };
    let going = |number: i64| {
        let which =
            Which::Fitting(LetterFilter { code: Some("\"phase\":\"done\"".to_owned()), ..LetterFilter::default() });
        Redrive { phase: Phase::Going, which, ..redrive(&format!("g{number}"), 1_000 + number) }
    };
    for number in 0..REDRIVES_KEPT as i64 + 5 {
        assert!(store.save_redrive(&done(number)).await.unwrap());
    }
    let ids = async || store.redrives().await.unwrap().into_iter().map(|redrive| redrive.id).collect::<Vec<_>>();
    let kept = ids().await;
    assert_eq!((kept.len(), kept[0].as_str()), (REDRIVES_KEPT, "d24"));
    assert!(kept.contains(&"one".to_owned()) && kept.contains(&"never seen".to_owned()), "{kept:?}");
    for number in 0..REDRIVES_OPEN_KEPT as i64 {
        assert!(store.save_redrive(&going(number)).await.unwrap());
    }
    let kept = ids().await;
    assert_eq!(kept.len(), REDRIVES_OPEN_KEPT);
    assert!(kept.iter().all(|id| id.starts_with('g')), "of too many that are not done the oldest go: {kept:?}");
}
