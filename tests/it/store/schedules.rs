//! Timetables, the slots that runs serve, and how a connection stands.

use std::time::Duration;

use futures_util::future::join_all;
use muster::domain::schedule::{Slot, Timetable};
use muster::domain::watch::{Ended, Standing, Watch};
use muster::domain::*;
use muster::store::*;

use super::*;

fn timetable(served: i64) -> Timetable {
    Timetable { rule: "daily 02:30 Europe/Paris".to_owned(), since: Timestamp(5), served: Timestamp(served) }
}

fn serving(id: &str, slot: i64) -> Run {
    let at = Timestamp(slot);
    Run { slot: Some(Slot { at, missed: 2 }), ..run(id, RunKind::Sync, at) }
}

/// B24: two clerks that change a timetable at the same time do not undo each other's work.
pub async fn a_timetable_is_replaced_only_where_it_was_read<S: Store>(store: S) {
    let connection = connection();
    assert_eq!(store.timetable(&connection).await.unwrap(), None);
    assert!(!store.set_timetable(&connection, Some(&timetable(10)), &timetable(20)).await.unwrap());
    assert!(store.set_timetable(&connection, None, &timetable(10)).await.unwrap());
    assert!(!store.set_timetable(&connection, None, &timetable(30)).await.unwrap());
    assert_eq!(store.timetable(&connection).await.unwrap(), Some(timetable(10)));
    let manual = Timetable { rule: "manual".to_owned(), since: Timestamp(-7), served: Timestamp(0) };
    assert!(store.set_timetable(&connection, Some(&timetable(10)), &manual).await.unwrap());
    assert_eq!(store.timetable(&connection).await.unwrap(), Some(manual));
    assert_eq!(store.timetable(&"other".parse().unwrap()).await.unwrap(), None);
}

/// B24: of many replicas that find the same slot due, one begins a run for it; a late one does not come back to it.
pub async fn a_slot_is_served_once<S: Store>(store: S) {
    epoch(&store).await;
    let connection = connection();
    assert!(!store.begin_run(&connection, &serving("early", 100)).await.unwrap(), "there is no timetable yet");
    store.set_timetable(&connection, None, &timetable(10)).await.unwrap();
    let replicas = (0..8).map(|replica| {
        let (store, connection) = (store.clone(), connection.clone());
        async move { store.begin_run(&connection, &serving(&format!("r{replica}"), 100)).await.unwrap() }
    });
    let begun = join_all(replicas).await;
    assert_eq!(begun.iter().filter(|begun| **begun).count(), 1, "{begun:?}");
    assert!(!store.begin_run(&connection, &serving("late", 99)).await.unwrap());
    assert_eq!(store.timetable(&connection).await.unwrap(), Some(timetable(100)));
    // A run that somebody asked for serves no slot, and is in nobody's way.
    assert!(store.begin_run(&connection, &run("asked", RunKind::Sync, Timestamp(50))).await.unwrap());
    assert!(!store.begin_run(&connection, &serving("asked", 150)).await.unwrap(), "begun already");
    assert_eq!(store.timetable(&connection).await.unwrap(), Some(timetable(100)), "and so its slot is not served");
    assert!(store.begin_run(&connection, &serving("next", 150)).await.unwrap());
    let runs = store.runs(&connection, 10).await.unwrap();
    assert_eq!(runs.len(), 3, "{runs:?}");
    assert_eq!(runs[0].slot, Some(Slot { at: Timestamp(150), missed: 2 }));
}

/// R6: what cannot be read at all is a run of its own, over as soon as it begins.
pub async fn a_run_may_begin_with_its_end<S: Store>(store: S) {
    epoch(&store).await;
    let failed = Some("crm: the token was refused".to_owned());
    let blocked = Run { failed, reading: Sides::default(), ..run("blocked", RunKind::Sync, Timestamp(50)) };
    assert!(store.begin_run(&connection(), &blocked).await.unwrap());
    let seen = look(&store, &blocked.id).await;
    assert!(seen.is_over());
    assert_eq!(seen, blocked);
}

/// R70: of many processes one tells people, and the next one knows what was told.
pub async fn how_a_connection_stands_is_noted_under_a_lease<S: Store>(store: S) {
    let (connection, minute) = (connection(), Duration::from_secs(60));
    assert_eq!(store.watch(&connection).await.unwrap(), Watch::default());
    let failing = Some(Ended { run: run_id("r1"), began_at: Timestamp(7), failed: Some("crm: 503".to_owned()) });
    let standing = Standing { good_at: Some(Timestamp(3)), overdue: None, failing, ..Standing::default() };
    let watch = Watch { standing, unsent: Vec::new() };
    assert!(!store.set_watch(&connection, Token(1), &watch).await.unwrap(), "nobody holds the lease");
    assert!(store.lease(&connection, &LeaseName::Watch, Token(1), minute).await.unwrap());
    assert!(store.set_watch(&connection, Token(1), &watch).await.unwrap());
    assert!(!store.set_watch(&connection, Token(2), &Watch::default()).await.unwrap());
    assert_eq!(store.watch(&connection).await.unwrap(), watch);
    // It lies beside the timetable, and neither touches the other.
    assert!(store.set_timetable(&connection, None, &timetable(10)).await.unwrap());
    assert!(store.set_watch(&connection, Token(1), &Watch::default()).await.unwrap());
    assert_eq!(store.timetable(&connection).await.unwrap(), Some(timetable(10)));
    assert!(store.set_timetable(&connection, Some(&timetable(10)), &timetable(20)).await.unwrap());
    assert_eq!(store.watch(&connection).await.unwrap(), Watch::default());
}
