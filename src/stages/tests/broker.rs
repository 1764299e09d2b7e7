//! A broker in memory.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use super::Clock;
use crate::broker::{
    Broker, BrokerError, BrokerHealth, Consumer, Delivery, Destination, Message, MessageError, Outgoing, PublishError,
    Queue, QueueDepth,
};
use crate::domain::Timestamp;

#[derive(Debug, Default)]
struct State {
    queues: BTreeMap<Queue, VecDeque<(Message, u32)>>,
    waiting: Vec<(Timestamp, Queue, Message)>,
    letters: Vec<Message>,
    away: bool,
    /// Publishes that were waited for, and messages published.
    published: (u32, u32),
}

#[derive(Debug, Clone, Default)]
pub struct MemoryBroker {
    clock: Clock,
    state: Arc<Mutex<State>>,
}

impl MemoryBroker {
    pub fn new(clock: Clock) -> Self {
        Self { clock, state: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// From now on nothing that is published is ever confirmed.
    pub fn go_away(&self) {
        self.state().away = true;
    }

    /// Publishes that were waited for since the last time, and messages published.
    pub fn take_published(&self) -> (u32, u32) {
        std::mem::take(&mut self.state().published)
    }

    /// The next delivery of the first of these queues that has one.
    pub fn take(&self, queues: &[Queue]) -> Option<MemoryDelivery> {
        let now = self.clock.now();
        let mut state = self.state();
        let waiting = std::mem::take(&mut state.waiting);
        for (due, queue, message) in waiting {
            if due <= now {
                state.queues.entry(queue).or_default().push_back((message, 0));
            } else {
                state.waiting.push((due, queue, message));
            }
        }
        queues.iter().find_map(|queue| {
            let (message, redeliveries) = state.queues.get_mut(queue)?.pop_front()?;
            let (broker, queue) = (self.clone(), queue.clone());
            Some(MemoryDelivery { broker, queue, body: message.encode(), message: Some(message), redeliveries })
        })
    }

    pub fn is_empty(&self) -> bool {
        let state = self.state();
        state.waiting.is_empty() && state.queues.values().all(VecDeque::is_empty)
    }
}

impl Broker for MemoryBroker {
    type Consumer = MemoryConsumer;

    async fn publish(&self, messages: Vec<Outgoing>) -> Result<(), PublishError> {
        self.state().published.0 += 1;
        for Outgoing { to, message } in messages {
            tokio::task::yield_now().await;
            self.state().published.1 += 1;
            if self.state().away {
                std::future::pending::<()>().await;
            }
            let message = Message::decode(&message.encode(), message.attempt, message.traceparent).unwrap();
            let mut state = self.state();
            match to {
                Destination::Queue(queue) => state.queues.entry(queue).or_default().push_back((message, 0)),
                Destination::Retry { home, after } => state.waiting.push((self.clock.now() + after, home, message)),
                Destination::Dead => state.letters.push(message),
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

    async fn depths(&self, _queues: &[Queue]) -> Result<Vec<QueueDepth>, BrokerError> {
        Ok(Vec::new())
    }

    fn health(&self) -> BrokerHealth {
        BrokerHealth { publishing: true, consuming: true, blocked: None }
    }

    async fn close(&self) {}
}

#[derive(Debug)]
pub struct MemoryConsumer {
    broker: MemoryBroker,
    queues: Vec<Queue>,
}

impl Consumer for MemoryConsumer {
    type Delivery = MemoryDelivery;

    async fn next(&mut self) -> Option<MemoryDelivery> {
        loop {
            match self.broker.take(&self.queues) {
                Some(delivery) => return Some(delivery),
                None => tokio::time::sleep(std::time::Duration::from_millis(1)).await,
            }
        }
    }

    async fn stop(&mut self) {}
}

#[derive(Debug)]
pub struct MemoryDelivery {
    broker: MemoryBroker,
    queue: Queue,
    body: bytes::Bytes,
    /// Taken once it is settled.
    message: Option<Message>,
    redeliveries: u32,
}

impl MemoryDelivery {
    /// Back to its place, as if it had never been taken.
    pub fn put_back(mut self) {
        if let Some(message) = self.message.take() {
            let again = (message, self.redeliveries);
            self.broker.state().queues.entry(self.queue.clone()).or_default().push_front(again);
        }
    }
}

impl Delivery for MemoryDelivery {
    fn message(&self) -> Result<&Message, &MessageError> {
        Ok(self.message.as_ref().unwrap())
    }

    fn body(&self) -> &[u8] {
        &self.body
    }

    fn message_id(&self) -> &str {
        &self.message.as_ref().unwrap().id
    }

    fn queue(&self) -> &Queue {
        &self.queue
    }

    fn redeliveries(&self) -> u32 {
        self.redeliveries
    }

    fn attempt(&self) -> u32 {
        self.message.as_ref().unwrap().attempt
    }

    async fn ack(mut self) {
        tokio::task::yield_now().await;
        self.message = None;
    }
}

impl Drop for MemoryDelivery {
    fn drop(&mut self) {
        if let Some(message) = self.message.take() {
            let again = (message, self.redeliveries + 1);
            self.broker.state().queues.entry(self.queue.clone()).or_default().push_front(again);
        }
    }
}
