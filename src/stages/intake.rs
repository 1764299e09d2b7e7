//! What every stage does with a delivery before its own work: messages that nobody can read become letters, and those
//! that come back again and again are split, then called poison.

use std::sync::Arc;

use tokio::sync::OwnedMutexGuard;
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

/// Redeliveries after which a message is published again as it is, so that it never comes near the queues' own delivery
/// limit: a message comes back as well when its worker died over another one, before anybody began with it.
const RENEW_AFTER: u32 = 8;

/// How often work on a suspect message of one item may begin and not end before it is called poison.
const POISON_AFTER: u32 = 4;

/// What is to be done with a delivery.
pub(crate) enum Intake<'d, T> {
    /// Its own work: these items. While the guard of a suspect is held, no other suspect is worked on by this process,
    /// so that what kills a worker is counted against one of them only.
    Work(&'d [T], Option<OwnedMutexGuard<()>>),
    /// It came back too often and has a letter now; its item is still to be counted.
    Poison(&'d T),
    /// Nothing more: what was to be done is durable elsewhere, acknowledge it.
    Settled,
}

impl<B: Broker, S: Store> Pipeline<B, S> {
    /// Reads a delivery. `items` picks the payload that the stage understands and puts single items back into one.
    pub(crate) async fn take_in<'d, D: Delivery, T: Clone + 'd>(
        &self,
        stop: &CancellationToken,
        delivery: &'d D,
        items: impl Fn(&Payload) -> Option<&[T]>,
        single: impl Fn(T) -> Payload,
    ) -> Result<Intake<'d, T>, Halt> {
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
        if redeliveries >= RENEW_AFTER {
            let again = Outgoing { to: Destination::Queue(delivery.queue().clone()), message: message.clone() };
            self.broker.publish(vec![again]).await?;
            return Ok(Intake::Settled);
        }
        if redeliveries < SPLIT_AFTER {
            return Ok(Intake::Work(found, None));
        }
        let alone = tokio::select! {
            biased;
            () = stop.cancelled() => return Err(Halt::Stopped),
            alone = Arc::clone(&self.suspect).lock_owned() => alone,
        };
        let begun = self.ask(stop, || self.store.begin_suspect(&message.id)).await?;
        if begun > POISON_AFTER {
            let text =
                format!("work on a message in queue {} began {POISON_AFTER} times and never ended", delivery.queue());
            self.open_message_letter(stop, delivery, Code::known("poison_message"), text).await?;
            return Ok(found.first().map_or(Intake::Settled, Intake::Poison));
        }
        Ok(Intake::Work(found, Some(alone)))
    }
}
