//! A message as RabbitMQ carries it: properties and headers, there and back.

use std::hash::Hasher;

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use siphasher::sip128::{Hasher128, SipHasher24};

use super::topology::Names;
use crate::broker::delay;
use crate::broker::message::{MAX_BODY_BYTES, Payload};
use crate::broker::{Destination, Message, MessageError, Outgoing, PublishError};

const CLOUD_EVENT: &str = "application/cloudevents+json";
const ATTEMPT: &str = "x-muster-attempt";
const TRACE: &str = "traceparent";

/// RabbitMQ keeps a message on disk, not only in memory.
const PERSISTENT: u8 = 2;

/// The longest `traceparent` that is carried; today's have 55 bytes.
const MAX_TRACE_BYTES: usize = 128;

/// The longest text that AMQP takes for a message id. lapin panics on a longer one, so a stranger's id must not reach it.
const MAX_ID_BYTES: usize = 255;

/// A message ready to be published, once or again.
#[derive(Debug, Clone)]
pub(super) struct Parcel {
    pub exchange: String,
    pub routing_key: String,
    pub properties: BasicProperties,
    pub body: Bytes,
    pub message_id: String,
}

/// What a returned message has in common with the parcel that it was. Two parcels of one window that share it also
/// share their fate.
pub(super) type ParcelKey = (String, String, String);

impl Parcel {
    /// Prepares a message. `draw`, uniform in 0..1, spreads retries.
    pub fn new(names: &Names, outgoing: Outgoing, draw: f64) -> Result<Self, PublishError> {
        let Outgoing { to, message } = outgoing;
        let body = message.encode();
        if body.len() > MAX_BODY_BYTES {
            let (message_id, size_bytes) = (message.id, body.len());
            return Err(PublishError::TooLarge { message_id, size_bytes, limit_bytes: MAX_BODY_BYTES });
        }
        let message_id = if message.id.len() <= MAX_ID_BYTES { message.id } else { fingerprint(message.id.as_bytes()) };
        let content_type = match message.payload {
            Payload::Raw(_) => "application/octet-stream",
            _ => CLOUD_EVENT,
        };
        let mut headers = FieldTable::default();
        headers.insert(ATTEMPT.into(), AMQPValue::LongLongInt(i64::from(message.attempt)));
        if let Some(trace) = message.traceparent.filter(|trace| trace.len() <= MAX_TRACE_BYTES) {
            headers.insert(TRACE.into(), AMQPValue::LongString(trace.into()));
        }
        let mut properties = BasicProperties::default()
            .with_message_id(message_id.as_str().into())
            .with_content_type(content_type.into())
            .with_delivery_mode(PERSISTENT)
            .with_headers(headers);
        // The default exchange leads to the queue of that name, and returns what has none.
        let (exchange, routing_key) = match to {
            Destination::Queue(queue) => (String::new(), names.home(&queue)),
            Destination::Dead => (String::new(), names.dead()),
            Destination::Retry { home, after } => {
                let wait_ms = delay::expiration(after, draw).as_millis();
                properties = properties.with_expiration(wait_ms.to_string().into());
                (names.rung(delay::rung(after)), names.home(&home))
            }
        };
        Ok(Self { exchange, routing_key, properties, body, message_id })
    }

    pub fn key(&self) -> ParcelKey {
        (self.exchange.clone(), self.routing_key.clone(), self.message_id.clone())
    }

    /// The error for a parcel that found no queue.
    pub fn unroutable(&self) -> PublishError {
        let missing = if self.exchange.is_empty() { &self.routing_key } else { &self.exchange };
        PublishError::Unroutable { queue: missing.clone(), message_id: self.message_id.clone() }
    }
}

/// The key of a message that came back.
pub(super) fn returned_key(returned: &lapin::message::Delivery) -> ParcelKey {
    let message_id = returned.properties.message_id().as_ref().map_or("", ShortString::as_str);
    (returned.exchange.to_string(), returned.routing_key.to_string(), message_id.to_owned())
}

/// What a delivery says, beside its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Received {
    pub message: Result<Message, MessageError>,
    pub message_id: String,
    pub redeliveries: u32,
    pub attempt: u32,
}

impl Received {
    /// Reads a delivery. Headers that are missing or of a strange type count as zero: a stranger may have sent it.
    pub fn read(properties: &BasicProperties, redelivered: bool, body: &[u8]) -> Self {
        let header = |name: &str| properties.headers().as_ref().and_then(|headers| headers.inner().get(name));
        let attempt = header(ATTEMPT).and_then(number).unwrap_or(0);
        let trace = match header(TRACE) {
            Some(AMQPValue::LongString(trace)) if trace.len() <= MAX_TRACE_BYTES => {
                std::str::from_utf8(trace.as_bytes()).ok().map(str::to_owned)
            }
            _ => None,
        };
        let message_id = match properties.message_id() {
            Some(id) if !id.as_str().is_empty() => id.to_string(),
            _ => fingerprint(body),
        };
        let redeliveries = header("x-delivery-count").and_then(number).unwrap_or(u32::from(redelivered));
        Self { message: Message::decode(body, attempt, trace), message_id, redeliveries, attempt }
    }
}

/// A name for bytes that have none; the same for the same bytes.
fn fingerprint(bytes: &[u8]) -> String {
    let mut hasher = SipHasher24::new();
    hasher.write(bytes);
    format!("body-{:032x}", hasher.finish128().as_u128())
}

fn number(value: &AMQPValue) -> Option<u32> {
    let number = match value {
        AMQPValue::ShortShortInt(n) => i64::from(*n),
        AMQPValue::ShortShortUInt(n) => i64::from(*n),
        AMQPValue::ShortInt(n) => i64::from(*n),
        AMQPValue::ShortUInt(n) => i64::from(*n),
        AMQPValue::LongInt(n) => i64::from(*n),
        AMQPValue::LongUInt(n) => i64::from(*n),
        AMQPValue::LongLongInt(n) => *n,
        _ => return None,
    };
    Some(u32::try_from(number.max(0)).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn raw(id: &str, body: &'static [u8]) -> Message {
        Message {
            id: id.to_owned(),
            attempt: 3,
            traceparent: Some("00-a-b-01".to_owned()),
            payload: Payload::Raw(body.into()),
        }
    }

    fn parcel(to: Destination, message: Message) -> Result<Parcel, PublishError> {
        Parcel::new(&Names::new("m"), Outgoing { to, message }, 0.5)
    }

    #[test]
    fn a_retry_goes_through_a_rung_and_keeps_its_home_as_routing_key() {
        let to = Destination::Retry { home: Queue::Changes, after: Duration::from_secs(3) };
        let parcel = parcel(to, raw("x", b"?")).unwrap();
        assert_eq!((parcel.exchange.as_str(), parcel.routing_key.as_str()), ("m.retry.5s", "m.changes"));
        assert_eq!(parcel.properties.expiration().as_ref().map(ShortString::as_str), Some("4000"));
    }

    #[test]
    fn headers_are_read_back() {
        let parcel = parcel(Destination::Dead, raw("x", b"?")).unwrap();
        let received = Received::read(&parcel.properties, true, b"?");
        assert_eq!((received.message_id.as_str(), received.attempt, received.redeliveries), ("x", 3, 1));
        assert!(received.message.is_err());
    }

    #[test]
    fn what_a_stranger_sent_is_read_without_harm() {
        let mut headers = FieldTable::default();
        headers.insert(ATTEMPT.into(), AMQPValue::LongLongInt(-1));
        headers.insert("x-delivery-count".into(), AMQPValue::LongLongInt(i64::MAX));
        headers.insert(TRACE.into(), AMQPValue::LongString("x".repeat(100_000).into()));
        let received = Received::read(&BasicProperties::default().with_headers(headers), false, b"body");
        assert_eq!((received.attempt, received.redeliveries), (0, u32::MAX));
        assert_eq!(received.message_id, fingerprint(b"body"));
        assert_ne!(received.message_id, fingerprint(b"another"));
    }

    #[test]
    fn an_id_that_amqp_cannot_carry_is_replaced_by_one_that_stays_the_same() {
        let long = "ä".repeat(200);
        let one = parcel(Destination::Dead, raw(&long, b"?")).unwrap();
        assert_eq!(one.message_id, parcel(Destination::Dead, raw(&long, b"?")).unwrap().message_id);
        assert!(one.message_id.len() <= MAX_ID_BYTES);
    }

    #[test]
    fn a_body_over_the_limit_is_refused_by_its_name() {
        let body: &'static [u8] = vec![b'x'; MAX_BODY_BYTES + 1].leak();
        let refused = parcel(Destination::Dead, raw("big", body)).unwrap_err();
        assert!(matches!(refused, PublishError::TooLarge { message_id, .. } if message_id == "big"));
    }

    use crate::broker::Queue;
}
