//! What every stage does with a delivery before its own work: messages that nobody can read become letters, and those
//! that come back again and again are split, then called poison.

use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{Halt, Pipeline};
use crate::broker::message::Payload;
use crate::broker::{Broker, Delivery, Destination, Message, Outgoing};
use crate::domain::Code;
use crate::store::Store;

/// Redeliveries after which a message of several items is published again item by item, so that one of them cannot
/// keep the others from being done.
const SPLIT_AFTER: u32 = 3;

/// Redeliveries after which a message of one item is called poison. Well below the queues' own delivery limit.
const POISON_AFTER: u32 = 12;

/// What is to be done with a delivery.
pub(crate) enum Intake<T> {
    /// Its own work: these items.
    Work(Vec<T>),
    /// It came back too often and has a letter now; its item is still to be counted.
    Poison(T),
    /// Nothing more: what was to be done is durable elsewhere, acknowledge it.
    Settled,
}

impl<B: Broker, S: Store> Pipeline<B, S> {
    /// Reads a delivery. `items` picks the payload that the stage understands and puts single items back into one.
    pub(crate) async fn take_in<D: Delivery, T: Clone>(
        &self,
        stop: &CancellationToken,
        delivery: &D,
        items: impl Fn(&Payload) -> Option<Vec<T>>,
        single: impl Fn(T) -> Payload,
    ) -> Result<Intake<T>, Halt> {
        let message = match delivery.message() {
            Ok(message) => message,
            Err(error) => {
                let text = format!("a message in queue {} cannot be read: {error}", delivery.queue());
                self.open_message_letter(stop, delivery, Code::known("undecodable_message"), text).await?;
                return Ok(Intake::Settled);
            }
        };
        let Some(found) = items(&message.payload) else {
            let text = format!("a message in queue {} is of a kind that does not belong there", delivery.queue());
            self.open_message_letter(stop, delivery, Code::known("misplaced_message"), text).await?;
            return Ok(Intake::Settled);
        };
        let redeliveries = delivery.redeliveries();
        if redeliveries >= SPLIT_AFTER && found.len() > 1 {
            warn!("A message of {} items came back {redeliveries} times; splitting it", found.len());
            let parts = found.iter().map(|item| Outgoing {
                to: Destination::Queue(delivery.queue().clone()),
                message: Message {
                    attempt: message.attempt,
                    traceparent: message.traceparent.clone(),
                    ..Message::new(single(item.clone()))
                },
            });
            self.broker.publish(parts.collect()).await?;
            return Ok(Intake::Settled);
        }
        if redeliveries >= POISON_AFTER {
            let text =
                format!("a message in queue {} was given back {redeliveries} times unfinished", delivery.queue());
            self.open_message_letter(stop, delivery, Code::known("poison_message"), text).await?;
            return Ok(found.into_iter().next().map_or(Intake::Settled, Intake::Poison));
        }
        Ok(Intake::Work(found))
    }
}
