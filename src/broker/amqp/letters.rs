//! Reads the log of dead letters. It is a stream, so reading takes nothing out.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use lapin::Channel;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{AMQPValue, FieldTable};
use tokio::time::timeout;
use tracing::warn;

use super::supervisor::Incarnation;
use super::topology;
use super::wire::Received;
use crate::broker::message::Payload;
use crate::broker::{BrokerError, Message};
use crate::domain::LetterEntry;

/// Entries that the broker may send ahead.
const PREFETCH: u16 = 200;

/// The body of a bookmark, which is no entry.
const BOOKMARK: &[u8] = b"muster bookmark";

/// The log of dead letters, from its first entry to the bookmark that was appended when reading began.
///
/// There is no other way to know where the end is: a stream tells its length some seconds late, and an empty one says
/// nothing at all.
pub struct LetterLog {
    stream: lapin::Consumer,
    bookmark: String,
    /// Entries of the last message, in reverse.
    entries: Vec<LetterEntry>,
    silence: Duration,
    _channel: Channel,
    _incarnation: Arc<Incarnation>,
}

/// A message that marks the end of what is read.
pub(super) fn bookmark() -> Message {
    Message::new(Payload::Raw(BOOKMARK.into()))
}

impl LetterLog {
    /// Begins to read the log up to the bookmark of this message id. `silence` is the longest wait for the next message.
    pub(super) async fn open(
        incarnation: Arc<Incarnation>,
        log: &str,
        bookmark: String,
        silence: Duration,
    ) -> Result<Self, BrokerError> {
        let open = async {
            let channel = incarnation.connection.create_channel().await?;
            // A stream is only sent against a prefetch.
            channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
            let mut arguments = FieldTable::default();
            arguments.insert("x-stream-offset".into(), AMQPValue::LongString("first".into()));
            let stream =
                channel.basic_consume(log.into(), "".into(), BasicConsumeOptions::default(), arguments).await?;
            lapin::Result::Ok((channel, stream))
        };
        let (channel, stream) = match timeout(silence, open).await {
            Ok(opened) => opened.map_err(topology::refused)?,
            Err(_) => return Err(BrokerError::Refused("no answer in time".to_owned())),
        };
        Ok(Self { stream, bookmark, entries: Vec::new(), silence, _channel: channel, _incarnation: incarnation })
    }

    /// The next entry, oldest first; `None` at the end. A message that this version cannot read is passed over, with a
    /// warning.
    ///
    /// # Errors
    /// The connection was lost. Reading begins again with [`AmqpBroker::letters`](super::AmqpBroker::letters).
    pub async fn next(&mut self) -> Result<Option<LetterEntry>, BrokerError> {
        loop {
            if let Some(entry) = self.entries.pop() {
                return Ok(Some(entry));
            }
            if self.bookmark.is_empty() {
                return Ok(None);
            }
            let delivery = match timeout(self.silence, self.stream.next()).await {
                Ok(Some(Ok(delivery))) => delivery,
                Ok(Some(Err(error))) => return Err(topology::refused(error)),
                Ok(None) => return Err(BrokerError::Refused("the log of dead letters was deleted".to_owned())),
                Err(_) => return Err(BrokerError::Refused("the log of dead letters went silent".to_owned())),
            };
            // On a stream this takes nothing out: it asks for more.
            delivery.ack(BasicAckOptions::default()).await.map_err(topology::refused)?;
            let received = Received::read(&delivery.properties, delivery.redelivered, &delivery.data);
            match received.message.map(|message| message.payload) {
                Ok(Payload::Letters(entries)) => self.entries = entries.into_iter().rev().collect(),
                _ if received.message_id == self.bookmark => self.bookmark.clear(),
                _ if delivery.data == BOOKMARK => {}
                _ => {
                    let id = received.message_id;
                    warn!(message_id = id, "The log of dead letters holds a message that cannot be read: {id}");
                }
            }
        }
    }
}
