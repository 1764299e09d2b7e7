//! A TCP proxy inside the test's process, for cut and stalled connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Forwards connections to an upstream. It ends with the runtime of the test.
pub struct Proxy {
    addr: SocketAddr,
    weather: watch::Sender<Weather>,
    open: Arc<AtomicUsize>,
}

/// What the proxy does to its connections.
#[derive(Debug, Clone, Copy, Default)]
struct Weather {
    /// Connections of an older generation are cut.
    generation: u64,
    /// Bytes from the client are kept back.
    stall_up: bool,
    /// Bytes from the upstream are kept back.
    stall_down: bool,
    /// New connections are closed at once.
    refuse: bool,
}

impl Proxy {
    /// A proxy on a free port of loopback.
    pub async fn start(upstream: SocketAddr) -> Self {
        let listener = listen().await;
        let addr = listener.local_addr().unwrap();
        let weather = watch::Sender::new(Weather::default());
        let open = Arc::new(AtomicUsize::new(0));
        tokio::spawn(accept(listener, upstream, weather.subscribe(), Arc::clone(&open)));
        Self { addr, weather, open }
    }

    /// Where clients connect.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Connections that are open now.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// Cuts all connections that are open now, in the middle of whatever they carry.
    pub fn cut(&self) {
        self.weather.send_modify(|weather| weather.generation += 1);
    }

    /// Whether new connections are refused.
    pub fn refuse(&self, refuse: bool) {
        self.weather.send_modify(|weather| weather.refuse = refuse);
    }

    /// Whether bytes are kept back in both directions: the peer seems frozen.
    pub fn stall(&self, stall: bool) {
        self.weather.send_modify(|weather| (weather.stall_up, weather.stall_down) = (stall, stall));
    }

    /// Whether answers are kept back: the upstream gets the requests and does them.
    pub fn stall_answers(&self, stall: bool) {
        self.weather.send_modify(|weather| weather.stall_down = stall);
    }
}

/// Below the range from which the system draws the ports of outgoing connections.
async fn listen() -> TcpListener {
    loop {
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", fastrand::u16(20_000..32_000))).await {
            return listener;
        }
    }
}

async fn accept(
    listener: TcpListener,
    upstream: SocketAddr,
    weather: watch::Receiver<Weather>,
    open: Arc<AtomicUsize>,
) {
    while let Ok((client, _)) = listener.accept().await {
        let now = *weather.borrow();
        if now.refuse {
            continue;
        }
        let (mut weather, open) = (weather.clone(), Arc::clone(&open));
        tokio::spawn(async move {
            let Ok(server) = TcpStream::connect(upstream).await else { return };
            open.fetch_add(1, Ordering::SeqCst);
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            let up = forward(from_client, to_server, weather.clone(), |weather| weather.stall_up);
            let down = forward(from_server, to_client, weather.clone(), |weather| weather.stall_down);
            tokio::select! {
                () = up => {}
                () = down => {}
                _ = weather.wait_for(|later| later.generation != now.generation) => {}
            }
            open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

async fn forward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut weather: watch::Receiver<Weather>,
    stalled: fn(&Weather) -> bool,
) {
    let mut kept_back = Vec::new();
    loop {
        let is_stalled = stalled(&weather.borrow_and_update());
        if !is_stalled && to.write_all(&std::mem::take(&mut kept_back)).await.is_err() {
            return;
        }
        tokio::select! {
            // Reading goes on during a stall, so that a peer that hangs up is noticed.
            read = from.read_buf(&mut kept_back) => if !matches!(read, Ok(1..)) { return },
            changed = weather.changed() => if changed.is_err() { return },
        }
    }
}
