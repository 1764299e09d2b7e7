//! Keeps one connection up: connects, watches it, tears it down at the first sign of trouble and starts again, without
//! end. There are two of them: a broker that runs out of memory or disk stops reading from connections that publish, and
//! lapin then sends nothing at all on them, so acknowledgements need a connection of their own.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use lapin::{Connection, Event};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::settings::AmqpSettings;
use super::socket::{self, Cord};
use crate::broker::delay;

/// The longest that an orderly close may take.
const CLOSE_DEADLINE: Duration = Duration::from_secs(2);

/// One life of a connection.
#[derive(Debug)]
pub(super) struct Incarnation {
    /// Counts up over the lives of one supervised connection.
    pub number: u64,
    pub connection: Connection,
    blocked: watch::Sender<Option<String>>,
    over: CancellationToken,
    useful: AtomicBool,
    role: &'static str,
    _cord: Cord,
}

impl Incarnation {
    /// Gives up on this life, for this reason; the supervisor begins the next one.
    pub fn condemn(&self, reason: &str) {
        if !self.over.is_cancelled() {
            warn!(
                role = self.role,
                incarnation = self.number,
                reason,
                "Giving up a connection to the broker: {reason}"
            );
            self.over.cancel();
        }
    }

    /// Notes that something was achieved in this life, so that the next one may begin without much delay.
    pub fn was_useful(&self) {
        self.useful.store(true, Ordering::Relaxed);
    }

    /// Whether this life is over.
    pub fn is_over(&self) -> bool {
        self.over.is_cancelled()
    }

    /// Returns when this life is over.
    pub async fn over(&self) {
        self.over.cancelled().await;
    }

    /// The broker's reason while it takes nothing from this connection.
    pub fn blocked(&self) -> watch::Receiver<Option<String>> {
        self.blocked.subscribe()
    }
}

/// One connection, over all its lives.
#[derive(Debug, Clone)]
pub(super) struct Supervisor {
    current: watch::Receiver<Option<Arc<Incarnation>>>,
    wanted: watch::Sender<bool>,
    trouble: watch::Receiver<Option<String>>,
    shutdown: CancellationToken,
}

impl Supervisor {
    /// A supervisor, and its work, which is to be spawned. It connects once [`Supervisor::connected`] was first asked.
    /// It ends with `shutdown`: an orderly close if the peer takes part, else a disorderly one.
    pub fn new(
        role: &'static str,
        settings: Arc<AmqpSettings>,
        shutdown: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (current_sender, current) = watch::channel(None);
        let (trouble_sender, trouble) = watch::channel(None);
        let (wanted, mut wanted_receiver) = watch::channel(false);
        let work = Work { role, settings, current: current_sender, trouble: trouble_sender, lives: AtomicU64::new(0) };
        let token = shutdown.clone();
        let run = async move {
            tokio::select! {
                biased;
                () = token.cancelled() => return,
                wanted = wanted_receiver.wait_for(|wanted| *wanted) => if wanted.is_err() { return },
            }
            work.run(token).await;
        };
        (Self { current, wanted, trouble, shutdown }, run)
    }

    /// Begins to connect, if it has not begun yet.
    pub fn start(&self) {
        self.wanted.send_replace(true);
    }

    /// The connection, waited for without end; `None` once it was shut down.
    pub async fn connected(&self) -> Option<Arc<Incarnation>> {
        self.start();
        let mut current = self.current.clone();
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => None,
            found = current.wait_for(|current| current.as_ref().is_some_and(|it| !it.is_over())) => {
                found.ok().and_then(|current| current.clone())
            }
        }
    }

    /// The connection, if it is up just now.
    pub fn current(&self) -> Option<Arc<Incarnation>> {
        self.current.borrow().clone().filter(|incarnation| !incarnation.is_over())
    }

    /// Why there is no connection, if the last attempt failed.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.borrow().clone()
    }

    /// Ends it.
    pub fn shut_down(&self) {
        self.shutdown.cancel();
    }
}

struct Work {
    role: &'static str,
    settings: Arc<AmqpSettings>,
    current: watch::Sender<Option<Arc<Incarnation>>>,
    trouble: watch::Sender<Option<String>>,
    lives: AtomicU64,
}

impl Work {
    async fn run(self, shutdown: CancellationToken) {
        let (role, peer) = (self.role, self.settings.peer());
        let mut delays = delay::reconnect_delays();
        while !shutdown.is_cancelled() {
            let name = format!("{} {role}", self.settings.prefix);
            let mut connecting = pin!(socket::connect(&self.settings, &name));
            let connected = tokio::select! {
                biased;
                () = shutdown.cancelled() => {
                    // Left half way, lapin's own task would end with the runtime, and say so by a panic.
                    if let Ok(Ok((connection, _cord))) = timeout(CLOSE_DEADLINE, connecting).await {
                        drop(timeout(CLOSE_DEADLINE, connection.close(200, "OK".into())).await);
                    }
                    return;
                }
                connected = &mut connecting => connected,
            };
            match connected {
                Ok((connection, cord)) => {
                    self.trouble.send_replace(None);
                    if self.live(connection, cord, &shutdown).await {
                        delays = delay::reconnect_delays();
                    }
                }
                Err(error) => {
                    let error = error.to_string();
                    // An outage is told once; the attempts during it are not news.
                    let news = self.trouble.send_replace(Some(error.clone())).as_ref() != Some(&error);
                    if news {
                        warn!(role, peer, error, "No connection to the broker at {peer}, trying on: {error}");
                    } else {
                        debug!(role, peer, error, "Still no connection to the broker at {peer}");
                    }
                }
            }
            let delay = delay::full_jitter(delays.next().unwrap_or_default(), fastrand::f64());
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = sleep(delay) => {}
            }
        }
    }

    /// One life, from the first moment to the last; says whether it was of use.
    async fn live(&self, connection: Connection, cord: Cord, shutdown: &CancellationToken) -> bool {
        let mut events = connection.events_listener();
        let role = self.role;
        let incarnation = Arc::new(Incarnation {
            number: self.lives.fetch_add(1, Ordering::Relaxed),
            connection,
            blocked: watch::Sender::new(None),
            over: CancellationToken::new(),
            useful: AtomicBool::new(false),
            role,
            _cord: cord,
        });
        // What went wrong before there was a listener was told to nobody.
        if !incarnation.connection.status().connected() {
            incarnation.condemn("it was closed at once");
        }
        info!(role, incarnation = incarnation.number, "Connected to the broker at {}", self.settings.peer());
        self.current.send_replace(Some(Arc::clone(&incarnation)));
        loop {
            let event = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                () = incarnation.over() => break,
                event = events.next() => event,
            };
            match event {
                Some(Event::ConnectionBlocked(reason)) => {
                    warn!(role, reason, "The broker takes no messages for now: {reason}");
                    incarnation.blocked.send_replace(Some(reason));
                }
                Some(Event::ConnectionUnblocked) => {
                    info!(role, "The broker takes messages again");
                    incarnation.blocked.send_replace(None);
                }
                // Errors of one channel are told here as well; they are for those who use that channel.
                Some(Event::Error(error))
                    if error.is_amqp_soft_error() && incarnation.connection.status().connected() => {}
                Some(Event::Error(error)) => incarnation.condemn(&error.to_string()),
                None => incarnation.condemn("its events ended"),
                Some(_) => {}
            }
        }
        self.current.send_replace(None);
        incarnation.over.cancel();
        // While we are blocked a close would not be sent, and the broker keeps nothing of ours that a close would save.
        let blocked = incarnation.blocked.borrow().is_some();
        if !blocked && incarnation.connection.status().connected() {
            let close = incarnation.connection.close(200, "OK".into());
            match timeout(CLOSE_DEADLINE, close).await {
                Ok(Ok(())) => debug!(role, "Closed the connection to the broker"),
                Ok(Err(error)) => debug!(role, %error, "The connection to the broker was gone before it was closed"),
                Err(_) => debug!(role, "The broker did not answer the close"),
            }
        }
        incarnation.useful.load(Ordering::Relaxed)
    }
}
