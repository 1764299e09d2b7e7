//! One message in hand.

use std::time::Duration;

use lapin::options::{BasicAckOptions, BasicRejectOptions};
use lapin::{Acker, Channel};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tracing::debug;

use super::wire::Received;
use crate::broker::{Delivery, Message, MessageError, Queue};

/// The longest that an acknowledgement may wait for the socket. One that is not sent only means that the message
/// comes again.
const SETTLE_DEADLINE: Duration = Duration::from_secs(5);

/// A message from RabbitMQ.
#[derive(Debug)]
pub struct AmqpDelivery {
    received: Received,
    body: Vec<u8>,
    queue: Queue,
    /// Taken once the delivery is settled. It belongs to the channel that the delivery came on: when that is dead, it
    /// says so and sends nothing, so no acknowledgement ever reaches the wrong life of a connection.
    acker: Option<Acker>,
    /// The channel stays open as long as a delivery of it is in hand, even after its consumer stopped.
    _channel: Channel,
    runtime: Handle,
}

impl AmqpDelivery {
    pub(super) fn new(queue: Queue, delivery: lapin::message::Delivery, channel: Channel, runtime: Handle) -> Self {
        let received = Received::read(&delivery.properties, delivery.redelivered, &delivery.data);
        Self { received, body: delivery.data, queue, acker: Some(delivery.acker), _channel: channel, runtime }
    }

    /// Settles it, and says whether the broker was told: not if the connection that it came on is gone.
    pub async fn acknowledge(mut self) -> bool {
        let Some(acker) = self.acker.take() else { return false };
        let told = matches!(timeout(SETTLE_DEADLINE, acker.ack(BasicAckOptions::default())).await, Ok(Ok(true)));
        if !told {
            debug!(queue = %self.queue, message_id = self.received.message_id, "Settled too late, the message comes again");
        }
        told
    }
}

impl Delivery for AmqpDelivery {
    fn message(&self) -> Result<&Message, &MessageError> {
        self.received.message.as_ref()
    }

    fn body(&self) -> &[u8] {
        &self.body
    }

    fn message_id(&self) -> &str {
        &self.received.message_id
    }

    fn queue(&self) -> &Queue {
        &self.queue
    }

    fn redeliveries(&self) -> u32 {
        self.received.redeliveries
    }

    fn attempt(&self) -> u32 {
        self.received.attempt
    }

    async fn ack(self) {
        self.acknowledge().await;
    }
}

impl Drop for AmqpDelivery {
    /// Gives the message back at once. Otherwise it would come back only with the end of its channel, which the other
    /// deliveries in hand keep open. `reject` counts against the delivery limit on every version, so a message that
    /// kills its worker again and again does not do so for ever; `nack` no longer counts on RabbitMQ 4.3.
    fn drop(&mut self) {
        let Some(acker) = self.acker.take().filter(Acker::usable) else { return };
        let channel = self._channel.clone();
        self.runtime.spawn(async move {
            let reject = acker.reject(BasicRejectOptions { requeue: true });
            if !matches!(timeout(SETTLE_DEADLINE, reject).await, Ok(Ok(true))) {
                debug!("A delivery could not be given back, it comes with the end of its channel");
            }
            drop(channel);
        });
    }
}
