//! The statements, on a database in memory.

use super::*;
use crate::broker::message::Payload;
use crate::broker::{Destination, Message, Outgoing, Queue};

const QUEUES: &str = include_str!("../../../database/queues.sql");
const TAKE_OVER: &str = include_str!("../../../database/take_over.sql");

/// The queues `changes` (1) and `commands.chat` (2), empty.
fn queues() -> Connection {
    let connection = Connection::open_in_memory().unwrap();
    connection.execute_batch(QUEUES).unwrap();
    declare(&connection, &["changes".to_owned(), "commands.chat".to_owned()]).unwrap();
    declare(&connection, &["changes".to_owned()]).unwrap();
    assert_eq!(ids(&connection, &["commands.chat".to_owned(), "changes".to_owned()]).unwrap(), [2, 1]);
    connection
}

fn parcel(id: &str, to: Table) -> Parcel {
    let message = Message { id: id.to_owned(), ..Message::new(Payload::Raw(vec![b'x'; 100].into())) };
    Parcel { to, ..Parcel::new(Outgoing { to: Destination::Queue(Queue::Changes), message }, 0.0).unwrap() }
}

fn ready_in(connection: &Connection, ids: &[&str]) {
    let parcels: Vec<_> = ids.iter().map(|id| parcel(id, Table::Queue("changes".to_owned()))).collect();
    put(connection, &parcels, 0).unwrap();
}

fn delayed(connection: &Connection, id: &str, home: &str, wait_ms: u64) {
    let to = Table::Delayed { home: home.to_owned(), wait: Duration::from_millis(wait_ms) };
    put(connection, &[parcel(id, to)], 1000).unwrap();
}

/// Takes out what is ready in `changes`: id, number in its queue, redeliveries.
fn out(connection: &Connection, limit: usize) -> Vec<(String, i64, u32)> {
    let (taken, _) = take(connection, 1, limit, usize::MAX).unwrap();
    taken.into_iter().map(|taken| (taken.message_id, taken.place - (1 << 40), taken.redeliveries)).collect()
}

fn row(id: &str, number: i64, redeliveries: u32) -> (String, i64, u32) {
    (id.to_owned(), number, redeliveries)
}

/// What `depths` says, and that it is what counting would say.
#[track_caller]
fn check_depths(connection: &Connection, changes: u64, waiting: u64) {
    let found = depths(connection, vec!["changes".to_owned(), "nowhere".to_owned()]).unwrap();
    let expected = vec![("changes".to_owned(), Some(changes)), ("nowhere".to_owned(), None)];
    assert_eq!(found, Depths { queues: expected, delayed: waiting });
    let counted =
        "SELECT count(*) FROM messages JOIN queues ON id = place >> 40 WHERE name = 'changes' AND place > taken";
    assert_eq!(connection.query_row(counted, [], count), Ok(changes));
}

#[test]
fn messages_are_taken_in_order_and_once() {
    let connection = queues();
    ready_in(&connection, &["a", "b", "c"]);
    check_depths(&connection, 3, 0);
    assert_eq!(ready(&connection).unwrap(), ["changes"]);
    assert_eq!(out(&connection, 2), [row("a", 1, 0), row("b", 2, 0)]);
    check_depths(&connection, 1, 0);
    assert_eq!(out(&connection, 2), [row("c", 3, 0)]);
    assert_eq!(out(&connection, 2), []);
    assert_eq!(ready(&connection).unwrap(), Vec::<String>::new());
}

/// Else a settlement of the old message would be one of the new.
#[test]
fn a_place_is_never_given_twice() {
    let connection = queues();
    ready_in(&connection, &["a", "b"]);
    out(&connection, 2);
    for number in [1, 2] {
        settle(&connection, (1 << 40) + number, Settlement::Done).unwrap();
    }
    check_depths(&connection, 0, 0);
    ready_in(&connection, &["c"]);
    assert_eq!(out(&connection, 1), [row("c", 3, 0)]);
}

#[test]
fn what_comes_back_goes_to_the_end_and_is_counted_if_somebody_had_it() {
    let connection = queues();
    ready_in(&connection, &["a", "b", "c"]);
    out(&connection, 2);
    settle(&connection, (1 << 40) + 1, Settlement::Back { counted: true }).unwrap();
    settle(&connection, (1 << 40) + 2, Settlement::Back { counted: false }).unwrap();
    check_depths(&connection, 3, 0);
    assert_eq!(out(&connection, 9), [row("c", 3, 0), row("a", 4, 1), row("b", 5, 0)]);
}

#[test]
fn what_the_dead_one_had_out_goes_to_the_end_of_its_queue() {
    let connection = queues();
    ready_in(&connection, &["a", "b", "c", "d"]);
    put(&connection, &[parcel("other", Table::Queue("commands.chat".to_owned()))], 0).unwrap();
    out(&connection, 3);
    settle(&connection, (1 << 40) + 2, Settlement::Done).unwrap();
    connection.execute_batch(TAKE_OVER).unwrap();
    check_depths(&connection, 3, 0);
    assert_eq!(out(&connection, 9), [row("d", 4, 0), row("a", 5, 1), row("c", 6, 1)]);
    connection.execute_batch(TAKE_OVER).unwrap();
    assert_eq!(out(&connection, 9), [row("d", 7, 1), row("a", 8, 2), row("c", 9, 2)]);
    let (taken, _) = take(&connection, 2, 9, usize::MAX).unwrap();
    assert_eq!((taken[0].place, taken[0].redeliveries), ((2 << 40) + 1, 0), "it was not out");
}

#[test]
fn delayed_messages_come_home_when_they_are_due() {
    let connection = queues();
    ready_in(&connection, &["a", "b"]);
    out(&connection, 1);
    for (id, home, wait_ms) in
        [("late", "changes", 5000), ("second", "changes", 20), ("first", "changes", 10), ("else", "commands.chat", 10)]
    {
        delayed(&connection, id, home, wait_ms);
    }
    assert!(!is_due(&connection, 1009).unwrap());
    assert!(!promote(&connection, 1009).unwrap());
    check_depths(&connection, 1, 4);
    assert!(is_due(&connection, 1020).unwrap());
    assert!(!promote(&connection, 1020).unwrap());
    check_depths(&connection, 3, 1);
    assert_eq!(out(&connection, 9), [row("b", 2, 0), row("first", 3, 0), row("second", 4, 0)]);
    assert_eq!(take(&connection, 2, 9, usize::MAX).unwrap().0[0].message_id, "else");
}

/// A clock that was wrong, and was set right, must not keep a message for years.
#[test]
fn a_clock_that_is_set_back_releases_what_nobody_can_be_waiting_for() {
    let connection = queues();
    delayed(&connection, "a", "changes", 3_600_000);
    assert!(!is_due(&connection, 1000).unwrap());
    assert!(is_due(&connection, 999).unwrap());
    promote(&connection, 999).unwrap();
    assert_eq!(out(&connection, 9), [row("a", 1, 0)]);
}

#[test]
fn many_that_are_due_come_home_in_several_steps() {
    let connection = queues();
    for number in 0..PROMOTED + 1 {
        delayed(&connection, &number.to_string(), "changes", 1);
    }
    assert!(promote(&connection, 2000).unwrap());
    check_depths(&connection, PROMOTED as u64, 1);
    assert!(!promote(&connection, 2000).unwrap());
    check_depths(&connection, PROMOTED as u64 + 1, 0);
}

#[test]
fn no_more_bytes_are_taken_than_asked_for_but_one_message_always() {
    let connection = queues();
    ready_in(&connection, &["a", "b", "c"]);
    for (bytes, count, more) in [(1, 1, true), (101, 2, true), (101, 0, false)] {
        let (taken, may_be_more) = take(&connection, 1, 9, bytes).unwrap();
        assert_eq!((taken.len(), may_be_more), (count, more), "{bytes} bytes");
    }
}

#[test]
fn letters_are_read_page_by_page_up_to_the_newest() {
    let connection = queues();
    for id in ["a", "b", "c"] {
        put(&connection, &[parcel(id, Table::Letters)], 0).unwrap();
    }
    let newest = newest_letter(&connection).unwrap();
    put(&connection, &[parcel("later", Table::Letters)], 0).unwrap();
    let page = |after| -> Vec<_> {
        letters(&connection, after, newest, 2).unwrap().into_iter().map(|(number, id, _)| (number, id)).collect()
    };
    assert_eq!(page(0), [(1, "a".to_owned()), (2, "b".to_owned())]);
    assert_eq!(page(2), [(3, "c".to_owned())]);
    assert_eq!(page(3), []);
}
