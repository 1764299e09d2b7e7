//! Deliveries from several queues, across lost connections and deleted queues, without end.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use lapin::Channel;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions};
use lapin::types::FieldTable;
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::delivery::AmqpDelivery;
use super::settings::AmqpSettings;
use super::supervisor::{Incarnation, Supervisor};
use super::topology::{self, Names, Topology};
use crate::broker::delay;
use crate::broker::{Consumer, Queue};

/// The longest wait for the answer to a cancel.
const CANCEL_DEADLINE: Duration = Duration::from_secs(2);

/// What consumers share with the broker that they came from.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    pub settings: Arc<AmqpSettings>,
    pub supervisor: Supervisor,
    pub closing: CancellationToken,
    pub census: Arc<Census>,
    /// Where deliveries that are dropped on any thread give themselves back.
    pub runtime: Handle,
}

/// How many consumers there are, and how many of them the broker feeds just now.
#[derive(Debug, Default)]
pub(super) struct Census {
    pub consumers: AtomicUsize,
    pub attached: AtomicUsize,
}

/// Deliveries from RabbitMQ.
///
/// It does its work inside [`Consumer::next`], which may be cancelled at any point. What was begun is kept.
pub struct AmqpConsumer {
    shared: Shared,
    wanted: Arc<Wanted>,
    state: State,
    /// Keeps the connections up after the broker's own handles are gone.
    _broker: Arc<dyn Send + Sync>,
}

#[derive(Debug)]
struct Wanted {
    queues: Vec<Queue>,
    prefetch: u16,
}

enum State {
    /// On the way to the broker; `None` once this process is closing.
    Attaching(BoxFuture<'static, Option<Attachment>>),
    Attached(Attachment),
    Stopped,
}

/// A channel that consumes all the queues.
struct Attachment {
    incarnation: Arc<Incarnation>,
    channel: Channel,
    /// In the order of their rank. lapin buffers what was prefetched.
    streams: Vec<(Queue, lapin::Consumer)>,
    census: Arc<Census>,
}

impl Drop for Attachment {
    fn drop(&mut self) {
        self.census.attached.fetch_sub(1, Ordering::Relaxed);
    }
}

impl AmqpConsumer {
    pub(super) fn new(shared: Shared, queues: Vec<Queue>, prefetch: u16, broker: Arc<dyn Send + Sync>) -> Self {
        // Zero would mean "no limit": the whole queue in memory.
        let wanted = Arc::new(Wanted { queues, prefetch: prefetch.max(1) });
        shared.census.consumers.fetch_add(1, Ordering::Relaxed);
        let state = State::Attaching(attach(shared.clone(), Arc::clone(&wanted)).boxed());
        Self { shared, wanted, state, _broker: broker }
    }
}

impl Consumer for AmqpConsumer {
    type Delivery = AmqpDelivery;

    async fn next(&mut self) -> Option<AmqpDelivery> {
        loop {
            let closing = self.shared.closing.clone();
            match &mut self.state {
                State::Stopped => return None,
                State::Attaching(attaching) => {
                    self.state = attaching.await.map_or(State::Stopped, State::Attached);
                }
                State::Attached(attachment) => {
                    let found = tokio::select! {
                        biased;
                        () = closing.cancelled() => {
                            self.stop().await;
                            return None;
                        }
                        found = attachment.next() => found,
                    };
                    match found {
                        Ok((queue, delivery)) => {
                            let channel = attachment.channel.clone();
                            return Some(AmqpDelivery::new(queue, delivery, channel, self.shared.runtime.clone()));
                        }
                        Err(reason) => {
                            debug!(reason, "A consumer lost its channel, opening another");
                            let attaching = attach(self.shared.clone(), Arc::clone(&self.wanted)).boxed();
                            if let State::Attached(lost) =
                                std::mem::replace(&mut self.state, State::Attaching(attaching))
                            {
                                // The other queues of this channel may still be well, with deliveries prefetched.
                                self.shared.runtime.spawn(lost.release());
                            }
                        }
                    }
                }
            }
        }
    }

    async fn stop(&mut self) {
        if let State::Attached(attachment) = std::mem::replace(&mut self.state, State::Stopped) {
            // A task of its own, so that it is done even if nobody waits for it to the end.
            let released = self.shared.runtime.spawn(attachment.release()).await;
            if let Err(error) = released {
                debug!(%error, "The prefetched deliveries were not given back one by one");
            }
        }
    }
}

impl Drop for AmqpConsumer {
    fn drop(&mut self) {
        self.shared.census.consumers.fetch_sub(1, Ordering::Relaxed);
        if let State::Attached(attachment) = std::mem::replace(&mut self.state, State::Stopped) {
            self.shared.runtime.spawn(attachment.release());
        }
    }
}

impl Attachment {
    /// The next delivery of the first queue that has one, or why there will be none on this channel.
    async fn next(&mut self) -> Result<(Queue, lapin::message::Delivery), String> {
        let streams = &mut self.streams;
        let delivery = poll_fn(|context| {
            for (queue, stream) in streams.iter_mut() {
                loop {
                    match Pin::new(&mut *stream).poll_next_unpin(context) {
                        // Prefetched on a channel that died since: it comes again, so handing it out doubles the work.
                        Poll::Ready(Some(Ok(delivery))) if !delivery.acker.usable() => {}
                        Poll::Ready(Some(Ok(delivery))) => return Poll::Ready(Ok((queue.clone(), delivery))),
                        Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error.to_string())),
                        Poll::Ready(None) => {
                            return Poll::Ready(Err(format!("the broker ended the consumer of {queue}")));
                        }
                        Poll::Pending => break,
                    }
                }
            }
            Poll::Pending
        });
        tokio::select! {
            biased;
            () = self.incarnation.over() => Err("the connection was lost".to_owned()),
            delivery = delivery => delivery,
        }
    }

    /// Takes nothing further, and gives back what was prefetched but not handed out. What was handed out can still be
    /// settled: the deliveries keep the channel.
    async fn release(mut self) {
        for (_, stream) in &self.streams {
            let cancel = self.channel.basic_cancel(stream.tag(), BasicCancelOptions::default());
            if !matches!(timeout(CANCEL_DEADLINE, cancel).await, Ok(Ok(()))) {
                // A channel that does not answer is at its end, and with it everything comes back.
                break;
            }
        }
        for (_, stream) in &mut self.streams {
            while let Some(Some(Ok(delivery))) = stream.next().now_or_never() {
                // `nack`, not `reject`: nobody failed at it, and RabbitMQ 4.3 counts only rejects against the limit.
                let nack = delivery.acker.nack(BasicNackOptions { requeue: true, ..BasicNackOptions::default() });
                if !matches!(timeout(CANCEL_DEADLINE, nack).await, Ok(Ok(true))) {
                    return;
                }
            }
        }
    }
}

/// Consumes the queues on a new channel, tried without end; `None` once this process is closing.
async fn attach(shared: Shared, wanted: Arc<Wanted>) -> Option<Attachment> {
    let mut delays = delay::reconnect_delays();
    let mut told = None;
    loop {
        let incarnation = tokio::select! {
            biased;
            () = shared.closing.cancelled() => return None,
            connected = shared.supervisor.connected() => connected?,
        };
        let attempt = try_attach(&shared, &wanted, &incarnation);
        let error = match timeout(shared.settings.confirm_deadline, attempt).await {
            Ok(Ok(attachment)) => return Some(attachment),
            Ok(Err(error)) => match topology::is_not_found(&error) {
                true => format!("{error}; declare it with `muster topology`"),
                false => error.to_string(),
            },
            Err(_) => {
                incarnation.condemn("it does not answer");
                continue;
            }
        };
        // The same trouble is told once, not at every attempt.
        if told.as_ref() != Some(&error) && !incarnation.is_over() {
            warn!(error, "Cannot consume, trying on: {error}");
            told = Some(error);
        }
        let delay = delay::full_jitter(delays.next().unwrap_or_default(), fastrand::f64());
        tokio::select! {
            () = shared.closing.cancelled() => return None,
            () = sleep(delay) => {}
        }
    }
}

/// Consumes first and declares only what turns out to be missing, so that a home queue is served even while the broker
/// cannot answer for some other queue.
async fn try_attach(shared: &Shared, wanted: &Wanted, incarnation: &Arc<Incarnation>) -> lapin::Result<Attachment> {
    let settings = &shared.settings;
    let names = Names::new(&settings.prefix);
    let (channel, streams) = match consume(wanted, &names, incarnation).await {
        Err(error) if settings.declare && topology::is_not_found(&error) => {
            // A queue that was deleted comes back, empty. The failure cost the channel.
            let channel = incarnation.connection.create_channel().await?;
            Topology::new(&settings.prefix, &wanted.queues).declare(&channel).await?;
            consume(wanted, &names, incarnation).await?
        }
        consumed => consumed?,
    };
    incarnation.was_useful();
    shared.census.attached.fetch_add(1, Ordering::Relaxed);
    Ok(Attachment { incarnation: Arc::clone(incarnation), channel, streams, census: Arc::clone(&shared.census) })
}

async fn consume(
    wanted: &Wanted,
    names: &Names,
    incarnation: &Incarnation,
) -> lapin::Result<(Channel, Vec<(Queue, lapin::Consumer)>)> {
    let channel = incarnation.connection.create_channel().await?;
    // Per consumer, for those that follow: `global` is refused by quorum queues.
    channel.basic_qos(wanted.prefetch, BasicQosOptions { global: false }).await?;
    let mut streams = Vec::with_capacity(wanted.queues.len());
    for queue in &wanted.queues {
        let options = BasicConsumeOptions::default();
        let name = names.home(queue).as_str().into();
        let stream = channel.basic_consume(name, "".into(), options, FieldTable::default()).await?;
        streams.push((queue.clone(), stream));
    }
    Ok((channel, streams))
}
