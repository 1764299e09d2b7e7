//! The log of acts: a chain that many append to.

use futures_util::future::join_all;
use muster::domain::Timestamp;
use muster::domain::audit::{ChainId, Door, End, Entry, Follower, Line, Outcome, Verb, Why};
use muster::store::*;

/// The line that follows `after`, and its place.
fn next(chain: ChainId, after: Option<&End>, by: &str) -> (Line, End) {
    next_at(Timestamp(7), chain, after, by)
}

fn next_at(at: Timestamp, chain: ChainId, after: Option<&End>, by: &str) -> (Line, End) {
    let before = after.cloned().unwrap_or_else(|| End::before_all(chain));
    let number = before.number + 1;
    let entry = Entry {
        chain,
        number,
        at,
        act: number,
        by: by.to_owned(),
        door: Door::Cli,
        verb: Verb::Pause,
        about: None,
        why: Why::default(),
        outcome: Outcome::Begun,
        counts: [].into(),
    };
    let (line, hash) = Line::seal(&entry, &before.hash);
    (line, End { chain, number, hash })
}

/// Appends so many and returns all lines.
async fn filled<S: Store>(store: &S, count: u64) -> Vec<Line> {
    let mut last = None;
    for _ in 0..count {
        let (line, place) = next(ChainId(5), last.as_ref(), "ada@desk");
        assert!(store.append_act(last.as_ref(), &line, &place).await.unwrap());
        last = Some(place);
    }
    assert_eq!(store.acts_ends().await.unwrap().last, last);
    store.acts(0, 1_000).await.unwrap()
}

/// Of many who append behind the same entry one does; the others are told, and nothing of theirs is kept.
pub async fn of_many_acts_at_once_one_follows<S: Store>(store: S) {
    let ends = store.acts_ends().await.unwrap();
    assert_eq!((ends.last, ends.anchor), (None, None));
    assert_eq!(store.acts(0, 10).await.unwrap(), []);
    const HANDS: usize = 8;
    const ROUNDS: usize = 12;
    let hand = async |hand: usize| {
        let mut appended = 0;
        while appended < ROUNDS {
            let last = store.acts_ends().await.unwrap().last;
            let chain = last.as_ref().map_or(ChainId(hand as u64), |last| last.chain);
            let (line, place) = next(chain, last.as_ref(), &format!("hand {hand}"));
            appended += usize::from(store.append_act(last.as_ref(), &line, &place).await.unwrap());
        }
    };
    join_all((0..HANDS).map(hand)).await;
    let (mut follower, mut after, mut hands) = (Follower::default(), 0, [0; HANDS]);
    loop {
        let page = store.acts(after, 10).await.unwrap();
        for line in &page {
            after = follower.follow(line).unwrap().number;
            let by = line.entry().unwrap().by;
            hands[by.trim_start_matches("hand ").parse::<usize>().unwrap()] += 1;
        }
        if page.len() < 10 {
            break;
        }
    }
    assert_eq!(hands, [ROUNDS; HANDS], "each of them was kept once");
    assert_eq!(store.acts_ends().await.unwrap().last.as_ref(), follower.last());
}

/// What follows an entry that is not the last one is refused, also where it is of another chain.
pub async fn an_act_follows_the_last_one_alone<S: Store>(store: S) {
    let lines = filled(&store, 3).await;
    let place = |at: usize| lines[at].place().unwrap();
    for wrong in
        [None, Some(place(1)), Some(End { chain: ChainId(6), ..place(2) }), Some(End { number: 9, ..place(2) })]
    {
        let (line, end) = next(ChainId(5), wrong.as_ref(), "eve@desk");
        assert!(!store.append_act(wrong.as_ref(), &line, &end).await.unwrap(), "{wrong:?}");
    }
    assert_eq!(store.acts(0, 10).await.unwrap(), lines);
    assert_eq!(store.acts(1, 1).await.unwrap(), lines[1..2]);
    assert_eq!(store.acts(3, 10).await.unwrap(), []);
}

/// The beginning is forgotten up to an anchor, from which the rest follows; the anchor only moves forward, and not past
/// the end.
pub async fn the_beginning_of_acts_is_forgotten_up_to_an_anchor<S: Store>(store: S) {
    let lines = filled(&store, 6).await;
    let place = |at: usize| lines[at].place().unwrap();
    let beyond = next(ChainId(5), Some(&place(5)), "eve@desk").1;
    assert!(!store.cut_acts(&beyond).await.unwrap());
    assert!(!store.cut_acts(&End { chain: ChainId(6), ..place(2) }).await.unwrap());
    assert_eq!(store.acts(0, 10).await.unwrap().len(), 6);
    assert!(store.cut_acts(&place(2)).await.unwrap());
    assert_eq!(store.acts(0, 10).await.unwrap(), lines[3..]);
    let ends = store.acts_ends().await.unwrap();
    assert_eq!((ends.anchor, ends.last), (Some(place(2)), Some(place(5))));
    assert!(!store.cut_acts(&place(1)).await.unwrap(), "it never goes back");
    assert!(!store.cut_acts(&place(2)).await.unwrap());

    // Everything may be forgotten, and what follows still follows.
    assert!(store.cut_acts(&place(5)).await.unwrap());
    assert_eq!(store.acts(0, 10).await.unwrap(), []);
    let (line, end) = next(ChainId(5), Some(&place(5)), "ada@desk");
    assert!(store.append_act(Some(&place(5)), &line, &end).await.unwrap());
    let mut follower = Follower::new(store.acts_ends().await.unwrap().anchor);
    follower.follow(&store.acts(0, 10).await.unwrap()[0]).unwrap();
}

/// What people did longer ago than it is kept is forgotten, and the rest still follows from the anchor.
pub async fn old_acts_are_forgotten<S: Store>(store: S) {
    const OLD: u64 = 450;
    let mut last = filled(&store, OLD).await.pop().unwrap().place();
    let now = store.acts_ends().await.unwrap().now;
    for _ in 0..3 {
        let (line, place) = next_at(now, ChainId(5), last.as_ref(), "ada@desk");
        assert!(store.append_act(last.as_ref(), &line, &place).await.unwrap());
        last = Some(place);
    }
    for _ in 0..2 {
        store.expire(&super::connection()).await.unwrap();
        let (ends, left) = (store.acts_ends().await.unwrap(), store.acts(0, 1_000).await.unwrap());
        assert_eq!((ends.anchor.as_ref().map(|anchor| anchor.number), left.len()), (Some(OLD), 3));
        let mut follower = Follower::new(ends.anchor);
        assert!(left.iter().all(|line| follower.follow(line).is_ok()));
        assert_eq!(follower.last(), ends.last.as_ref());
    }
}
