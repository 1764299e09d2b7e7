//! The one task that publishes. Callers hand it batches; it sends them window by window, and tells each caller when all
//! of its messages are stored, or which one cannot be. What it could not get confirmed it sends again, under the same
//! message id, on the next connection.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::confirm::{Broken, ConfirmChannel, Verdict};
use super::settings::AmqpSettings;
use super::supervisor::Supervisor;
use super::topology;
use super::wire::Parcel;
use crate::broker::PublishError;

/// Messages in one window. Waiting for each confirm by itself costs a factor of ten; beyond 256 nothing is gained.
const WINDOW: usize = 256;

/// Bytes in one window: it is held twice, here and in lapin's queue of frames.
const WINDOW_BYTES: usize = 8 * 1024 * 1024;

/// Batches that wait for their turn; then callers wait.
const INBOX: usize = 64;

/// The wait before a message that a queue refused is offered to it again.
const REFUSED_PAUSE: Duration = Duration::from_millis(500);

/// A caller's messages, and where the answer goes.
#[derive(Debug)]
struct Batch {
    parcels: Vec<Parcel>,
    done: oneshot::Sender<Result<(), PublishError>>,
}

/// The callers' end.
#[derive(Debug, Clone)]
pub(super) struct Publisher {
    inbox: mpsc::Sender<Batch>,
}

impl Publisher {
    /// A publisher, and its work, which is to be spawned.
    pub fn new(
        settings: Arc<AmqpSettings>,
        supervisor: Supervisor,
        closing: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (inbox, batches) = mpsc::channel(INBOX);
        let work = Work {
            settings,
            supervisor,
            closing,
            inbox: batches,
            channel: None,
            callers: HashMap::new(),
            next_caller: 0,
            waiting: VecDeque::new(),
            refused: Vec::new(),
            refused_until: Instant::now(),
            suspect: false,
        };
        (Self { inbox }, work.run())
    }

    /// Publishes all of these. A caller that stops waiting takes its messages back, as far as they are not sent.
    pub async fn publish(&self, parcels: Vec<Parcel>) -> Result<(), PublishError> {
        if parcels.is_empty() {
            return Ok(());
        }
        let (done, answer) = oneshot::channel();
        self.inbox.send(Batch { parcels, done }).await.map_err(|_| PublishError::Closed)?;
        answer.await.unwrap_or(Err(PublishError::Closed))
    }
}

/// A caller who waits.
struct Caller {
    done: oneshot::Sender<Result<(), PublishError>>,
    /// Messages that are not stored yet.
    left: usize,
}

/// A message of a caller.
struct Item {
    caller: u64,
    parcel: Parcel,
}

struct Work {
    settings: Arc<AmqpSettings>,
    supervisor: Supervisor,
    closing: CancellationToken,
    inbox: mpsc::Receiver<Batch>,
    channel: Option<ConfirmChannel>,
    callers: HashMap<u64, Caller>,
    next_caller: u64,
    /// To be sent, in this order.
    waiting: VecDeque<Item>,
    /// Refused by their queue, to be sent again after a pause; others are not held up by them.
    refused: Vec<Item>,
    refused_until: Instant,
    /// The last window may have named an exchange that does not exist.
    suspect: bool,
}

impl Work {
    async fn run(mut self) {
        while self.fill().await {
            let Some(mut channel) = self.channel().await else { break };
            let sent = self.send_window(&mut channel).await;
            match sent {
                Ok(()) => self.channel = Some(channel),
                Err(Broken::Closing) => break,
                Err(broken) => {
                    self.suspect |= broken.names_nothing();
                    channel.incarnation().condemn(&broken.to_string());
                }
            }
        }
        // Whoever still waits learns `Closed`, since their senders are dropped here.
    }

    /// Waits until there is something to send; false when this process is closing and nothing is left.
    async fn fill(&mut self) -> bool {
        loop {
            if !self.refused.is_empty() && self.refused_until <= Instant::now() {
                self.waiting.extend(self.refused.drain(..));
            }
            // Only a window's worth is taken in, so that the inbox's bound holds callers back.
            while self.waiting.len() < WINDOW
                && let Ok(batch) = self.inbox.try_recv()
            {
                self.take_in(batch);
            }
            self.waiting.retain(|item| self.callers.contains_key(&item.caller));
            if !self.waiting.is_empty() {
                return true;
            }
            tokio::select! {
                batch = self.inbox.recv() => match batch {
                    Some(batch) => self.take_in(batch),
                    // A message that its queue refuses is no reason to stay.
                    None => return false,
                },
                () = sleep_until(self.refused_until), if !self.refused.is_empty() => {}
                () = self.closing.cancelled(), if !self.inbox.is_closed() => self.inbox.close(),
            }
        }
    }

    fn take_in(&mut self, Batch { parcels, done }: Batch) {
        let caller = self.next_caller;
        self.next_caller += 1;
        self.callers.insert(caller, Caller { done, left: parcels.len() });
        self.waiting.extend(parcels.into_iter().map(|parcel| Item { caller, parcel }));
    }

    /// A channel in confirm mode on the current connection, waited for without end; `None` when this process is closing
    /// and there is no connection.
    async fn channel(&mut self) -> Option<ConfirmChannel> {
        if let Some(channel) = self.channel.take().filter(|channel| !channel.incarnation().is_over()) {
            return Some(channel);
        }
        loop {
            let incarnation = match self.supervisor.current() {
                Some(incarnation) => incarnation,
                None => tokio::select! {
                    biased;
                    () = self.closing.cancelled() => return None,
                    connected = self.supervisor.connected() => connected?,
                },
            };
            match ConfirmChannel::open(Arc::clone(&incarnation), self.settings.confirm_deadline).await {
                Ok(channel) => return Some(channel),
                Err(broken) => incarnation.condemn(&broken.to_string()),
            }
        }
    }

    /// Sends one window and settles with its callers. On an error all of it waits again, in its old place.
    async fn send_window(&mut self, channel: &mut ConfirmChannel) -> Result<(), Broken> {
        channel.unblocked(&self.closing).await?;
        self.drop_the_forsaken();
        if self.suspect {
            self.refuse_missing_exchanges(channel).await?;
            self.suspect = false;
        }
        let count = window_len(&self.waiting);
        let (callers, window): (Vec<u64>, Vec<Parcel>) =
            self.waiting.drain(..count).map(|item| (item.caller, item.parcel)).unzip();
        let sent = channel.send(&window, self.settings.confirm_deadline, &self.closing).await;
        let items = callers.into_iter().zip(window).map(|(caller, parcel)| Item { caller, parcel });
        match sent {
            Ok(verdicts) => {
                channel.incarnation().was_useful();
                for (item, verdict) in items.zip(verdicts) {
                    self.settle(item, verdict);
                }
                Ok(())
            }
            Err(broken) => {
                for item in items.rev() {
                    self.waiting.push_front(item);
                }
                Err(broken)
            }
        }
    }

    fn settle(&mut self, item: Item, verdict: Verdict) {
        match verdict {
            Verdict::Stored => {
                if let Some(caller) = self.callers.get_mut(&item.caller) {
                    caller.left -= 1;
                    if caller.left == 0 {
                        self.answer(item.caller, Ok(()));
                    }
                }
            }
            Verdict::Unroutable => self.answer(item.caller, Err(item.parcel.unroutable())),
            Verdict::Refused => {
                if self.refused.is_empty() {
                    warn!(queue = item.parcel.routing_key, "A queue refuses messages, offering them again");
                }
                self.refused_until = Instant::now() + REFUSED_PAUSE;
                self.refused.push(item);
            }
        }
    }

    /// Answers a caller. Its other messages, if it still has some, are not sent any more.
    fn answer(&mut self, caller: u64, answer: Result<(), PublishError>) {
        if let Some(caller) = self.callers.remove(&caller) {
            // Nobody may be waiting any more, which is the caller's good right.
            caller.done.send(answer).ok();
        }
    }

    /// Forgets callers that stopped waiting, and what they have not sent.
    fn drop_the_forsaken(&mut self) {
        self.callers.retain(|_, caller| !caller.done.is_closed());
        self.waiting.retain(|item| self.callers.contains_key(&item.caller));
        self.refused.retain(|item| self.callers.contains_key(&item.caller));
    }

    /// A publish to an exchange that does not exist costs the channel and says nothing of which message it was. So each
    /// exchange is asked for, and what would go to a missing one is unroutable.
    async fn refuse_missing_exchanges(&mut self, channel: &ConfirmChannel) -> Result<(), Broken> {
        let named: HashSet<_> = self.waiting.iter().map(|item| item.parcel.exchange.clone()).collect();
        let mut missing = HashSet::new();
        for exchange in named.into_iter().filter(|exchange| !exchange.is_empty()) {
            let probe = channel.incarnation().connection.create_channel().await?;
            // Any other answer than "no" is not about this exchange's being there.
            if matches!(topology::exchange_exists(&probe, &exchange).await, Ok(false)) {
                missing.insert(exchange);
            }
        }
        for item in std::mem::take(&mut self.waiting) {
            if missing.contains(&item.parcel.exchange) {
                self.answer(item.caller, Err(item.parcel.unroutable()));
            } else {
                self.waiting.push_back(item);
            }
        }
        self.waiting.retain(|item| self.callers.contains_key(&item.caller));
        Ok(())
    }
}

/// How many of the waiting messages make the next window: one at least, if there is one.
fn window_len(waiting: &VecDeque<Item>) -> usize {
    let mut bytes = 0;
    let fitting = waiting.iter().take(WINDOW).take_while(|item| {
        bytes += item.parcel.body.len();
        bytes <= WINDOW_BYTES
    });
    fitting.count().max(1).min(waiting.len())
}
