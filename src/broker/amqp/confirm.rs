//! A channel in confirm mode. [`ConfirmChannel::open`] is the only way to one, so nothing is published unconfirmed.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{Channel, Confirmation};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::supervisor::Incarnation;
use super::topology;
use super::wire::{Parcel, ParcelKey, returned_key};

/// A channel in confirm mode. It is used by one task: lapin hands out delivery tags and queues frames under two
/// different locks, so two tasks could get each other's confirms.
#[derive(Debug)]
pub(super) struct ConfirmChannel {
    channel: Channel,
    incarnation: Arc<Incarnation>,
    blocked: watch::Receiver<Option<String>>,
}

/// What became of one parcel of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is in a queue, on disk, at a majority.
    Stored,
    /// The queue refused it (`basic.nack`): it is full, or its leader moved.
    Refused,
    /// There was no queue for it.
    Unroutable,
}

/// The window did not come to its end, so nothing is known of any parcel in it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("no confirm came within {0:?}")]
    Silent(Duration),
    #[error("the connection was lost")]
    Lost,
    #[error("this process is closing, and the broker takes no messages")]
    Closing,
    #[error(transparent)]
    Amqp(#[from] lapin::Error),
}

impl Broken {
    /// Whether the broker named something that does not exist. For a publish that is an exchange: a queue that is
    /// missing returns the message instead.
    pub fn names_nothing(&self) -> bool {
        matches!(self, Self::Amqp(error) if topology::is_not_found(error))
    }
}

impl ConfirmChannel {
    /// Opens a channel and puts it into confirm mode.
    pub async fn open(incarnation: Arc<Incarnation>, deadline: Duration) -> Result<Self, Broken> {
        let open = async {
            let channel = incarnation.connection.create_channel().await?;
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            lapin::Result::Ok(channel)
        };
        let channel = match timeout(deadline, open).await {
            Ok(channel) => channel?,
            Err(_) => return Err(Broken::Silent(deadline)),
        };
        let blocked = incarnation.blocked();
        Ok(Self { channel, incarnation, blocked })
    }

    /// The connection that it is on.
    pub fn incarnation(&self) -> &Incarnation {
        &self.incarnation
    }

    /// Waits until the broker takes messages.
    pub async fn unblocked(&mut self, closing: &CancellationToken) -> Result<(), Broken> {
        tokio::select! {
            biased;
            () = self.incarnation.over() => Err(Broken::Lost),
            free = self.blocked.wait_for(Option::is_none) => free.map(drop).map_err(|_| Broken::Lost),
            () = closing.cancelled() => Err(Broken::Closing),
        }
    }

    /// Publishes all of these and waits for every confirm. `deadline` is the longest silence in between; it does not
    /// run while the broker blocks us.
    ///
    /// A returned message rides on the confirm of *some* parcel of the window, not always its own: lapin walks a
    /// `multiple` confirm in the order of a hash map and gives each entry the oldest return. Each return comes before
    /// its parcel's own confirm, so when all confirms are in, all returns are; hence verdicts on whole windows only.
    pub async fn send(
        &mut self,
        window: &[Parcel],
        deadline: Duration,
        closing: &CancellationToken,
    ) -> Result<Vec<Verdict>, Broken> {
        let channel = &self.channel;
        let mut in_flight: FuturesUnordered<_> = window
            .iter()
            .enumerate()
            .map(|(place, parcel)| async move { (place, publish(channel, parcel).await) })
            .collect();
        let mut verdicts = vec![Verdict::Refused; window.len()];
        let mut returned: HashSet<ParcelKey> = HashSet::new();
        let mut silent_at = Instant::now() + deadline;
        while !in_flight.is_empty() {
            let is_blocked = self.blocked.borrow_and_update().is_some();
            if is_blocked && closing.is_cancelled() {
                return Err(Broken::Closing);
            }
            tokio::select! {
                biased;
                Some((place, confirmation)) = in_flight.next() => {
                    let confirmation = confirmation?;
                    if confirmation.is_ack() {
                        verdicts[place] = Verdict::Stored;
                    }
                    if let Some(message) = confirmation.take_message() {
                        returned.insert(returned_key(&message.delivery));
                    }
                    silent_at = Instant::now() + deadline;
                }
                () = self.incarnation.over() => return Err(Broken::Lost),
                changed = self.blocked.changed() => {
                    if changed.is_err() {
                        return Err(Broken::Lost);
                    }
                    silent_at = Instant::now() + deadline;
                }
                () = closing.cancelled(), if is_blocked => return Err(Broken::Closing),
                () = sleep_until(silent_at), if !is_blocked => return Err(Broken::Silent(deadline)),
            }
        }
        if !returned.is_empty() {
            for (verdict, parcel) in verdicts.iter_mut().zip(window) {
                if returned.contains(&parcel.key()) {
                    *verdict = Verdict::Unroutable;
                }
            }
        }
        Ok(verdicts)
    }
}

async fn publish(channel: &Channel, parcel: &Parcel) -> lapin::Result<Confirmation> {
    let options = BasicPublishOptions {
        // Without it a message that finds no queue is confirmed and dropped.
        mandatory: true,
        ..BasicPublishOptions::default()
    };
    let (exchange, routing_key) = (parcel.exchange.as_str().into(), parcel.routing_key.as_str().into());
    let confirm =
        channel.basic_publish(exchange, routing_key, options, &parcel.body, parcel.properties.clone()).await?;
    match confirm.await? {
        Confirmation::NotRequested => unreachable!("`open` put the channel into confirm mode"),
        confirmation => Ok(confirmation),
    }
}
