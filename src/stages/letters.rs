//! Opening and closing dead letters. The append-only log at the broker comes first, with a confirm; the index in the
//! store follows in the same step as what the letter is about. Done twice, both say the same again.

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Halt, Pipeline};
use crate::broker::message::Payload;
use crate::broker::{Broker, Delivery, Destination, Message, Outgoing};
use crate::domain::{
    Code, DeadLetter, FailureClass, Fingerprint, LetterContent, LetterEntry, LetterId, Resolution, Timestamp,
};
use crate::store::Store;

/// Now, by this machine's clock: for times that only people read.
pub(crate) fn wall_clock() -> Timestamp {
    crate::clock::wall()
}

impl<B: Broker, S: Store> Pipeline<B, S> {
    /// Appends entries to the log.
    pub(crate) async fn log_letters(&self, entries: Vec<LetterEntry>) -> Result<(), Halt> {
        let messages = entries
            .chunks(20)
            .map(|entries| Outgoing {
                to: Destination::Dead,
                message: Message::new(Payload::Letters(entries.to_vec())),
            })
            .collect();
        Ok(self.broker.publish(messages).await?)
    }

    /// What fails again joins the letter that is open (B7): it keeps when the incident began, and counts on.
    pub(crate) async fn join(&self, stop: &CancellationToken, letter: DeadLetter) -> Result<DeadLetter, Halt> {
        let open = self.ask(stop, || self.store.letter(letter.connection.as_ref(), &letter.id)).await?;
        Ok(match open {
            Some(open) => letter.joined(open),
            None => letter,
        })
    }

    /// Logs that letters were opened or failed again; the caller indexes them with what they are about.
    pub(crate) async fn log_opened(&self, letters: &[DeadLetter]) -> Result<(), Halt> {
        if letters.is_empty() {
            return Ok(());
        }
        for letter in letters {
            warn!(
                letter = %letter.id, code = %letter.fingerprint.code,
                "Opened dead letter {}: {}. See `muster dead show '{}'`", letter.id, letter.message, letter.id
            );
            if let Some(connection) = &letter.connection {
                self.metrics.letter_opened(connection);
            }
        }
        self.log_letters(
            letters.iter().map(|letter| LetterEntry::Opened { letter: Box::new(letter.clone()) }).collect(),
        )
        .await
    }

    /// Logs that letters healed by themselves; the caller takes them from the index.
    pub(crate) async fn log_healed(&self, healed: &[LetterId], by: &str) -> Result<(), Halt> {
        if healed.is_empty() {
            return Ok(());
        }
        let at = wall_clock();
        let entries = healed.iter().map(|id| {
            info!(letter = %id, "Dead letter {id} healed");
            LetterEntry::Closed { id: id.clone(), resolution: Resolution::Healed, at, by: by.to_owned() }
        });
        self.log_letters(entries.collect()).await
    }

    /// Opens a letter about a message that cannot be read or worked on, keeping its bytes.
    pub(crate) async fn open_message_letter<D: Delivery>(
        &self,
        stop: &CancellationToken,
        delivery: &D,
        code: Code,
        message: String,
    ) -> Result<(), Halt> {
        let now = wall_clock();
        let letter = DeadLetter {
            id: LetterId::of_message(delivery.message_id()),
            fingerprint: Fingerprint { target: None, class: FailureClass::Permanent, code, attribute: None },
            connection: None,
            account: None,
            partner: None,
            first_at: now,
            last_at: now,
            failures: delivery.redeliveries() + 1,
            message,
            first_message: None,
            attempts: Vec::new(),
            status: None,
            request_id: None,
            content: LetterContent::Message { queue: delivery.queue().to_string(), body: base64(delivery.body()) },
        };
        let letters = [letter];
        self.log_opened(&letters).await?;
        self.ask(stop, || self.store.file_letters(&letters, &[])).await
    }
}

/// Standard base64 with padding.
pub(crate) fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// The bytes that standard base64 stands for; `None` if it is none.
pub fn from_base64(text: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).ok()
}
