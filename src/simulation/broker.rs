//! A broker in memory that does all that a real one may do: it hands a message out again, at another place of its queue,
//! while its first receiver still works on it; it takes a message, loses the confirm and is sent it a second time; it
//! delivers late and out of order. It loses nothing that it confirmed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::Clock;
use super::executor::Owner;
use super::faults::{Fault, Faults};
use crate::broker::message::Payload;
use crate::broker::{
    Broker, BrokerError, BrokerHealth, Consumer, Delivery, Destination, Message, MessageError, Outgoing, PublishError,
    Queue, QueueDepth,
};
use crate::clock;
use crate::domain::{LetterEntry, Timestamp};

#[derive(Debug, Clone)]
struct Held {
    message: Message,
    body: bytes::Bytes,
    redeliveries: u32,
}

#[derive(Debug, Default)]
struct State {
    queues: BTreeMap<Queue, VecDeque<Held>>,
    waiting: Vec<(Timestamp, Queue, Held)>,
    letters: Vec<Message>,
    away: bool,
    /// Publishes that were waited for, and messages published.
    published: (u32, u32),
    /// Handed out and not settled, by delivery tag.
    unsettled: BTreeMap<u64, (Owner, Queue, Held)>,
    tags: u64,
}

/// One process's connection to the broker.
#[derive(Debug, Clone)]
pub(crate) struct MemoryBroker {
    clock: Clock,
    faults: Faults,
    owner: Owner,
    state: Arc<Mutex<State>>,
}

impl State {
    /// Back to its queue, at a place of the broker's choice.
    fn put_back(&mut self, tag: u64, faults: &Faults) {
        let Some((_, queue, held)) = self.unsettled.remove(&tag) else { return };
        faults.count(Fault::Redelivered);
        let again = Held { redeliveries: held.redeliveries + 1, ..held };
        let queue = self.queues.entry(queue).or_default();
        // Near the head where a delivery limit is set, at the end where none is.
        if faults.strike(Fault::MessageOvertaken) { queue.push_back(again) } else { queue.push_front(again) }
    }

    fn enqueue(&mut self, to: Queue, held: Held, now: Timestamp, faults: &Faults) {
        if faults.strike(Fault::MessageLate) {
            let late = Duration::from_millis(fastrand::u64(1_000..90_000));
            self.waiting.push((now + late, to, held));
            return;
        }
        let queue = self.queues.entry(to).or_default();
        if !queue.is_empty() && faults.strike(Fault::MessageOvertaken) {
            let place = fastrand::usize(..queue.len());
            queue.insert(place, held);
        } else {
            queue.push_back(held);
        }
    }
}

impl MemoryBroker {
    pub(crate) fn new(clock: Clock, faults: Faults) -> Self {
        Self { clock, faults, owner: Owner::World, state: Arc::default() }
    }

    /// The same broker, as this process is connected to it.
    pub(crate) fn connect(&self, owner: Owner) -> Self {
        Self { owner, ..self.clone() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while the lock is held")
    }

    /// A process loses its connection: what it has in hand is handed out again, whether or not it still works on it.
    pub(crate) fn lose_connection(&self, owner: Owner) {
        let mut state = self.state();
        let tags: Vec<_> = state.unsettled.iter().filter(|(_, (of, ..))| *of == owner).map(|(tag, _)| *tag).collect();
        tags.into_iter().for_each(|tag| state.put_back(tag, &self.faults));
    }

    /// The next delivery of the first of these queues that has one.
    pub(crate) fn take(&self, queues: &[Queue]) -> Option<MemoryDelivery> {
        let now = self.clock.now();
        let mut state = self.state();
        let waiting = std::mem::take(&mut state.waiting);
        for (due, queue, held) in waiting {
            if due <= now {
                state.queues.entry(queue).or_default().push_back(held);
            } else {
                state.waiting.push((due, queue, held));
            }
        }
        let (queue, held) = queues.iter().find_map(|queue| Some((queue, state.queues.get_mut(queue)?.pop_front()?)))?;
        state.tags += 1;
        let tag = state.tags;
        state.unsettled.insert(tag, (self.owner, queue.clone(), held.clone()));
        let (broker, queue) = (self.clone(), queue.clone());
        Some(MemoryDelivery { broker, queue, tag: Some(tag), held })
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        let state = self.state();
        state.waiting.is_empty() && state.queues.values().all(VecDeque::is_empty)
    }

    /// Whether everything that was handed out is settled.
    pub(crate) fn is_settled(&self) -> bool {
        self.state().unsettled.is_empty()
    }
}

#[cfg(test)]
impl MemoryBroker {
    /// From now on nothing that is published is ever confirmed.
    pub(crate) fn go_away(&self) {
        self.state().away = true;
    }

    /// Publishes that were waited for since the last time, and messages published.
    pub(crate) fn take_published(&self) -> (u32, u32) {
        std::mem::take(&mut self.state().published)
    }
}

impl Broker for MemoryBroker {
    type Consumer = MemoryConsumer;

    async fn publish(&self, messages: Vec<Outgoing>) -> Result<(), PublishError> {
        self.state().published.0 += 1;
        for Outgoing { to, message } in messages {
            loop {
                tokio::task::yield_now().await;
                self.state().published.1 += 1;
                if self.state().away {
                    std::future::pending::<()>().await;
                }
                let body = message.encode();
                let message = Message::decode(&body, message.attempt, message.traceparent.clone())
                    .expect("what was encoded can be decoded");
                let held = Held { message, body, redeliveries: 0 };
                {
                    let mut state = self.state();
                    let now = self.clock.now();
                    match to.clone() {
                        Destination::Queue(queue) => state.enqueue(queue, held, now, &self.faults),
                        // A rung is left between the asked wait and the rung's own end.
                        Destination::Retry { home, after } => {
                            let jitter = after.mul_f64(fastrand::f64());
                            let after = if self.faults.is_calm() { after } else { after + jitter };
                            state.waiting.push((now + after, home, held));
                        }
                        Destination::Dead => state.letters.push(held.message),
                    }
                }
                // Without its confirm nobody knows whether it was taken: it is sent again, under the same id.
                if !self.faults.strike(Fault::ConfirmLost) {
                    break;
                }
                clock::sleep(Duration::from_millis(fastrand::u64(1..5_000))).await;
            }
        }
        tokio::task::yield_now().await;
        Ok(())
    }

    async fn consume(&self, queues: Vec<Queue>, _prefetch: u16) -> Result<MemoryConsumer, BrokerError> {
        Ok(MemoryConsumer { broker: self.clone(), queues })
    }

    async fn declare(&self, _queues: &[Queue]) -> Result<(), BrokerError> {
        Ok(())
    }

    async fn read_log(&self, mut take: impl FnMut(LetterEntry) + Send) -> Result<(), BrokerError> {
        let letters = self.state().letters.clone();
        for message in letters {
            if let Payload::Letters(entries) = message.payload {
                entries.into_iter().for_each(&mut take);
            }
        }
        Ok(())
    }

    fn rewrites_log(&self) -> bool {
        false
    }

    async fn rewrite_log(
        &self,
        _: impl Fn(&LetterEntry) -> Option<LetterEntry> + Send + 'static,
    ) -> Result<u64, BrokerError> {
        Ok(0)
    }

    async fn depths(&self, _queues: &[Queue]) -> Result<Vec<QueueDepth>, BrokerError> {
        Ok(Vec::new())
    }

    fn health(&self) -> BrokerHealth {
        BrokerHealth { publishing: true, consuming: true, blocked: None }
    }

    async fn close(&self) {}
}

/// Takes deliveries one by one.
#[derive(Debug)]
pub(crate) struct MemoryConsumer {
    broker: MemoryBroker,
    queues: Vec<Queue>,
}

impl Consumer for MemoryConsumer {
    type Delivery = MemoryDelivery;

    async fn next(&mut self) -> Option<MemoryDelivery> {
        loop {
            match self.broker.take(&self.queues) {
                Some(delivery) => return Some(delivery),
                None => clock::sleep(Duration::from_millis(1)).await,
            }
        }
    }

    async fn stop(&mut self) {}
}

/// A message in a process's hands.
#[derive(Debug)]
pub(crate) struct MemoryDelivery {
    broker: MemoryBroker,
    queue: Queue,
    /// Taken once it is settled.
    tag: Option<u64>,
    held: Held,
}

impl MemoryDelivery {
    /// Back to its place, as if it had never been taken.
    pub(crate) fn put_back(mut self) {
        let Some(tag) = self.tag.take() else { return };
        let mut state = self.broker.state();
        if let Some((_, queue, held)) = state.unsettled.remove(&tag) {
            state.queues.entry(queue).or_default().push_front(held);
        }
    }
}

impl Delivery for MemoryDelivery {
    fn message(&self) -> Result<&Message, &MessageError> {
        Ok(&self.held.message)
    }

    fn body(&self) -> &[u8] {
        &self.held.body
    }

    fn message_id(&self) -> &str {
        &self.held.message.id
    }

    fn queue(&self) -> &Queue {
        &self.queue
    }

    fn redeliveries(&self) -> u32 {
        self.held.redeliveries
    }

    fn attempt(&self) -> u32 {
        self.held.message.attempt
    }

    async fn ack(mut self) {
        tokio::task::yield_now().await;
        // After a lost connection the tag is unknown, and the message comes again.
        if let Some(tag) = self.tag.take() {
            self.broker.state().unsettled.remove(&tag);
        }
    }
}

impl Drop for MemoryDelivery {
    fn drop(&mut self) {
        if let Some(tag) = self.tag.take() {
            let faults = self.broker.faults.clone();
            self.broker.state().put_back(tag, &faults);
        }
    }
}
