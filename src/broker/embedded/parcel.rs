//! A message as a row.

use std::time::Duration;

use bytes::Bytes;

use crate::broker::delay;
use crate::broker::message::MAX_BODY_BYTES;
use crate::broker::{Destination, Outgoing, PublishError};

/// A message ready to be published, once or again.
#[derive(Debug)]
pub(super) struct Parcel {
    pub to: Table,
    pub message_id: String,
    pub attempt: u32,
    pub traceparent: Option<String>,
    pub body: Bytes,
}

/// The table that it goes to. Queues by their name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Table {
    Queue(String),
    Delayed { home: String, wait: Duration },
    Letters,
}

impl Parcel {
    /// Prepares a message. `draw`, uniform in 0..1, spreads retries.
    pub fn new(outgoing: Outgoing, draw: f64) -> Result<Self, PublishError> {
        let Outgoing { to, message } = outgoing;
        let body = message.encode();
        if body.len() > MAX_BODY_BYTES {
            let (message_id, size_bytes) = (message.id, body.len());
            return Err(PublishError::TooLarge { message_id, size_bytes, limit_bytes: MAX_BODY_BYTES });
        }
        let to = match to {
            Destination::Queue(queue) => Table::Queue(queue.to_string()),
            Destination::Retry { home, after } => {
                Table::Delayed { home: home.to_string(), wait: delay::expiration(after, draw) }
            }
            Destination::Dead => Table::Letters,
        };
        Ok(Self { to, message_id: message.id, attempt: message.attempt, traceparent: message.traceparent, body })
    }

    /// The queue that it can be taken from at once.
    pub fn home(&self) -> Option<&str> {
        match &self.to {
            Table::Queue(name) => Some(name),
            Table::Delayed { .. } | Table::Letters => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::message::Payload;
    use crate::broker::{Message, Queue};

    #[test]
    fn a_retry_waits_for_at_least_what_was_asked() {
        let message = Message::new(Payload::Raw(Bytes::new()));
        let to = Destination::Retry { home: Queue::Changes, after: Duration::from_secs(3) };
        let parcel = Parcel::new(Outgoing { to, message }, 0.5).unwrap();
        assert_eq!(parcel.to, Table::Delayed { home: "changes".to_owned(), wait: Duration::from_secs(4) });
        assert_eq!(parcel.home(), None);
    }

    #[test]
    fn a_body_over_the_limit_is_refused_by_its_name() {
        let message =
            Message { id: "big".to_owned(), ..Message::new(Payload::Raw(vec![0; MAX_BODY_BYTES + 1].into())) };
        let refused = Parcel::new(Outgoing { to: Destination::Dead, message }, 0.5).unwrap_err();
        assert!(matches!(refused, PublishError::TooLarge { message_id, .. } if message_id == "big"));
    }
}
