//! What a consumer holds ready, and how much more it may have. It is filled by its `consumer`'s task, and told of new
//! messages by whoever stores them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use tokio::sync::Notify;

use super::tables::Taken;
use crate::broker::Queue;

/// Bytes of bodies that are taken out at once and held ready, for each queue, or one message.
pub(super) const BYTES: usize = 2 * 1024 * 1024;

/// The consumers of a broker.
#[derive(Debug, Default)]
pub(super) struct Feeds(Mutex<Vec<Weak<Feed>>>);

/// One consumer's queues.
#[derive(Debug)]
pub(super) struct Feed {
    prefetch: usize,
    state: Mutex<State>,
    /// Something may be taken out.
    pub wanted: Notify,
    /// Something is held ready.
    pub arrived: Notify,
}

#[derive(Debug)]
struct State {
    /// In the order of their rank.
    slots: Vec<Slot>,
    /// The last attempt at the file was good.
    fed: bool,
    stopped: bool,
}

#[derive(Debug)]
struct Slot {
    queue: Queue,
    name: String,
    /// Something may be ready in the queue.
    may_hold: bool,
    ready: VecDeque<Taken>,
    ready_bytes: usize,
    in_hand: usize,
}

/// A wish of a feed: so many messages of one of its queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wish {
    pub slot: usize,
    pub limit: usize,
}

impl Feeds {
    /// A feed for these queues.
    pub fn add(&self, queues: Vec<Queue>, prefetch: u16) -> Arc<Feed> {
        let slots = queues.into_iter().map(|queue| Slot {
            name: queue.to_string(),
            queue,
            may_hold: true,
            ready: VecDeque::new(),
            ready_bytes: 0,
            in_hand: 0,
        });
        let feed = Arc::new(Feed {
            // As at RabbitMQ, one at least.
            prefetch: usize::from(prefetch.max(1)),
            state: Mutex::new(State { slots: slots.collect(), fed: false, stopped: false }),
            wanted: Notify::new(),
            arrived: Notify::new(),
        });
        let mut feeds = self.lock();
        feeds.retain(|feed| feed.strong_count() > 0);
        feeds.push(Arc::downgrade(&feed));
        feed
    }

    /// Something was put into these queues.
    pub fn offer<'n>(&self, names: impl IntoIterator<Item = &'n str>) {
        let mut last = None;
        for name in names {
            // A page goes to one queue, mostly.
            if last.replace(name) != Some(name) {
                self.lock().iter().filter_map(Weak::upgrade).for_each(|feed| feed.offer_where(|queue| queue == name));
            }
        }
    }

    /// Something may be in any queue.
    pub fn offer_all(&self) {
        self.lock().iter().filter_map(Weak::upgrade).for_each(|feed| feed.offer_where(|_| true));
    }

    /// Whether all that still run are fed.
    pub fn all_fed(&self) -> bool {
        self.lock().iter().filter_map(Weak::upgrade).all(|feed| {
            let state = feed.lock();
            state.stopped || state.fed
        })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Feed>>> {
        self.0.lock().expect("nothing panics while the lock is held")
    }
}

impl Feed {
    fn offer_where(&self, is_meant: impl Fn(&str) -> bool) {
        let mut state = self.lock();
        let mut found = false;
        for slot in state.slots.iter_mut().filter(|slot| is_meant(&slot.name)) {
            slot.may_hold = true;
            found = true;
        }
        drop(state);
        if found {
            self.wanted.notify_one();
        }
    }

    /// The names of its queues, in the order of their rank.
    pub fn names(&self) -> Vec<String> {
        self.lock().slots.iter().map(|slot| slot.name.clone()).collect()
    }

    /// Whether the file can be used, as far as is known.
    pub fn set_fed(&self, fed: bool) {
        self.lock().fed = fed;
    }

    /// What should be taken out now. Many at once cost little more than one, so a wish waits until most of what is held
    /// ready was handed out.
    pub fn wishes(&self) -> Vec<Wish> {
        let (mut state, prefetch) = (self.lock(), self.prefetch);
        let slots = state.slots.iter_mut().enumerate();
        slots
            .filter_map(|(index, slot)| {
                let limit = prefetch.saturating_sub(slot.in_hand + slot.ready.len());
                let low = slot.ready.len() <= prefetch / 4 && slot.ready_bytes < BYTES;
                if !slot.may_hold || limit == 0 || !low {
                    return None;
                }
                // Whoever puts something in from here on says so again.
                slot.may_hold = false;
                Some(Wish { slot: index, limit })
            })
            .collect()
    }

    /// The wish was not granted, it remains.
    pub fn still_wants(&self, slot: usize) {
        self.lock().slots[slot].may_hold = true;
    }

    /// Holds these ready.
    pub fn fill(&self, slot: usize, taken: Vec<Taken>) {
        let mut state = self.lock();
        let slot = &mut state.slots[slot];
        slot.ready_bytes += taken.iter().map(|message| message.body.len()).sum::<usize>();
        slot.ready.extend(taken);
        drop(state);
        self.arrived.notify_one();
    }

    /// Hands out the next message of the first queue that has one.
    pub fn hand_out(&self) -> Option<(usize, Queue, Taken)> {
        let mut state = self.lock();
        let (index, slot) = state.slots.iter_mut().enumerate().find(|(_, slot)| !slot.ready.is_empty())?;
        let taken = slot.ready.pop_front()?;
        slot.ready_bytes -= taken.body.len();
        slot.in_hand += 1;
        let found = (index, slot.queue.clone(), taken);
        drop(state);
        self.wanted.notify_one();
        Some(found)
    }

    /// One that was handed out is settled, so there is room for another.
    pub fn settled(&self, slot: usize) {
        self.lock().slots[slot].in_hand -= 1;
        self.wanted.notify_one();
    }

    /// Takes nothing further, and returns what was held ready.
    pub fn stop(&self) -> Vec<Taken> {
        let mut state = self.lock();
        state.stopped = true;
        state.slots.iter_mut().flat_map(|slot| slot.ready.drain(..)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while the lock is held")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(place: i64) -> Taken {
        Taken {
            place,
            message_id: place.to_string(),
            attempt: 0,
            traceparent: None,
            redeliveries: 0,
            body: vec![0; 10],
        }
    }

    fn feed(prefetch: u16) -> (Feeds, Arc<Feed>) {
        let feeds = Feeds::default();
        let feed = feeds.add(vec![Queue::Changes, Queue::ChangesBulk("crm-chat".parse().unwrap())], prefetch);
        (feeds, feed)
    }

    #[test]
    fn no_more_is_wished_for_than_the_prefetch_leaves_free() {
        let (_feeds, feed) = feed(2);
        assert_eq!(feed.wishes(), [Wish { slot: 0, limit: 2 }, Wish { slot: 1, limit: 2 }]);
        feed.fill(0, vec![taken(1)]);
        feed.still_wants(0);
        assert_eq!(feed.hand_out().unwrap().2.place, 1);
        assert_eq!(feed.wishes(), [Wish { slot: 0, limit: 1 }]);
        feed.fill(0, vec![taken(2)]);
        feed.still_wants(0);
        assert_eq!(feed.hand_out().unwrap().2.place, 2);
        assert_eq!(feed.wishes(), [], "both are in hand");
        feed.settled(0);
        assert_eq!(feed.wishes(), [Wish { slot: 0, limit: 1 }]);
    }

    #[test]
    fn the_next_wish_waits_until_most_was_handed_out() {
        let (_feeds, feed) = feed(8);
        feed.wishes();
        feed.fill(0, (1..=8).map(taken).collect());
        feed.still_wants(0);
        for ready in (3..8).rev() {
            feed.hand_out().unwrap();
            feed.settled(0);
            assert_eq!(feed.wishes(), [], "{ready} are held ready");
        }
        feed.hand_out().unwrap();
        assert_eq!(feed.wishes(), [Wish { slot: 0, limit: 5 }]);
    }

    #[test]
    fn what_is_stored_while_a_wish_is_granted_is_asked_for_again() {
        let (feeds, feed) = feed(8);
        feed.wishes();
        assert_eq!(feed.wishes(), [], "nothing was said to be there");
        feeds.offer(["changes", "commands.chat"]);
        assert_eq!(feed.wishes(), [Wish { slot: 0, limit: 8 }]);
        feeds.offer_all();
        assert_eq!(feed.wishes().len(), 2);
    }

    #[test]
    fn the_first_queue_is_served_first() {
        let (_feeds, feed) = feed(8);
        feed.fill(1, vec![taken(1), taken(2)]);
        assert_eq!(feed.hand_out().unwrap().0, 1);
        feed.fill(0, vec![taken(3)]);
        assert_eq!(feed.hand_out().unwrap().0, 0);
        assert_eq!(feed.stop(), [taken(2)]);
        assert!(feed.hand_out().is_none());
    }

    #[test]
    fn whoever_is_not_fed_is_known_until_it_stops() {
        let (feeds, feed) = feed(8);
        assert!(!feeds.all_fed());
        feed.set_fed(true);
        assert!(feeds.all_fed());
        feed.set_fed(false);
        feed.stop();
        assert!(feeds.all_fed());
    }
}
