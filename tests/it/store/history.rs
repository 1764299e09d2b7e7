//! What is noted of a match, and recorded changes.

use std::time::Duration;

use muster::domain::history::Verdict;
use muster::domain::*;
use muster::store::*;

use super::*;

/// The note of a match is that of its connection, and the last one counts.
pub async fn a_match_is_noted<S: Store>(store: S) {
    let epoch = epoch(&store).await;
    let note = |matched| MatchNote {
        epoch,
        version: 7,
        run: run_id("r1"),
        at: Timestamp(5),
        matched,
        ambiguous: Sides { a: 1, b: 2 },
        alone: Sides { a: 3, b: 4 },
    };
    assert_eq!(store.match_note(&connection()).await.unwrap(), None);
    for matched in [8, 9] {
        store.note_match(&connection(), &note(matched)).await.unwrap();
        assert_eq!(store.match_note(&connection()).await.unwrap(), Some(note(matched)));
    }
    assert_eq!(store.match_note(&"other".parse().unwrap()).await.unwrap(), None);
}

/// B14: recorded changes come back whole, newest first, page by page, each connection's by itself.
pub async fn recorded_changes_come_back_whole<S: Store>(store: S) {
    let epoch = epoch(&store).await;
    let now = store.epoch(&connection()).await.unwrap().now;
    let recorded = |number: u32| {
        let mut link = Link::new(LinkId(7), epoch, Origin::FirstMatch, Side::A, account("a1"));
        link.revision = 3;
        let snapshot = Snapshot {
            account: account("a1"),
            version: Version { modified_at: Some(Timestamp(2)), read_at: Timestamp(4), tag: Some("W/1".into()) },
            attributes: [("title".parse().unwrap(), Some(Value::from("Clerk")))].into(),
            partner: None,
        };
        let change = Change {
            connection: connection(),
            side: Side::A,
            cause: Cause { run: run_id("r1"), number },
            epoch,
            seen: Sighting::Present { snapshot },
        };
        let verdict = Verdict {
            attribute: Some("title".parse().unwrap()),
            writes: vec![Side::B],
            value: Some(Digest(9)),
            ..Verdict::of_account("edit", "both ways, crm wins".to_owned())
        };
        Recorded {
            at: now,
            kept: Duration::from_secs(3600),
            epoch,
            version: 12,
            a_ahead_ms: Some(-3),
            change,
            link: number.is_multiple_of(2).then(|| link.clone()),
            partner: number.is_multiple_of(3).then_some(link),
            verdicts: vec![verdict],
        }
    };
    let all: Vec<_> = (0..25).map(recorded).collect();
    for page in all.chunks(10) {
        store.record(&connection(), page).await.unwrap();
    }
    let (mut told, mut before) = (Vec::new(), None);
    loop {
        let page = store.history(&connection(), before.as_ref(), 10).await.unwrap();
        let Some((oldest, _)) = page.last() else { break };
        before = Some(oldest.clone());
        // How long it is kept is the store's matter.
        told.extend(page.into_iter().map(|(_, recorded)| Recorded { kept: Duration::from_secs(3600), ..recorded }));
    }
    assert_eq!(told, all.into_iter().rev().collect::<Vec<_>>());
    assert_eq!(store.history(&"other".parse().unwrap(), None, 10).await.unwrap(), []);
    assert_eq!(store.history(&connection(), None, 1).await.unwrap().len(), 1);
}
