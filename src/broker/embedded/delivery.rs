//! One message in hand.

use std::sync::Arc;

use super::feed::Feed;
use super::settler::Settler;
use super::tables::{Settlement, Taken};
use crate::broker::{Delivery, Message, MessageError, Queue};

/// A message from the file.
#[derive(Debug)]
pub struct EmbeddedDelivery {
    taken: Taken,
    message: Result<Message, MessageError>,
    queue: Queue,
    /// Its queue's place in the feed.
    slot: usize,
    feed: Arc<Feed>,
    settler: Settler,
    settlement: Settlement,
}

impl EmbeddedDelivery {
    pub(super) fn new(mut taken: Taken, queue: Queue, slot: usize, feed: Arc<Feed>, settler: Settler) -> Self {
        let message = Message::decode(&taken.body, taken.attempt, taken.traceparent.take());
        Self { taken, message, queue, slot, feed, settler, settlement: Settlement::Back { counted: true } }
    }
}

impl Delivery for EmbeddedDelivery {
    fn message(&self) -> Result<&Message, &MessageError> {
        self.message.as_ref()
    }

    fn body(&self) -> &[u8] {
        &self.taken.body
    }

    fn message_id(&self) -> &str {
        &self.taken.message_id
    }

    fn queue(&self) -> &Queue {
        &self.queue
    }

    fn redeliveries(&self) -> u32 {
        self.taken.redeliveries
    }

    fn attempt(&self) -> u32 {
        self.taken.attempt
    }

    /// Returns before the file knows. If this process dies first, the message comes again.
    async fn ack(mut self) {
        self.settlement = Settlement::Done;
    }
}

impl Drop for EmbeddedDelivery {
    fn drop(&mut self) {
        self.settler.settle(self.taken.place, self.settlement);
        self.feed.settled(self.slot);
    }
}
