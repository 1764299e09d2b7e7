//! Open letters.

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
