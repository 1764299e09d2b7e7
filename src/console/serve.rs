//! Connections: how many there are, and how long one may take to say what it wants. Whoever has no token costs a connection
//! for some seconds, and no more.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections at once; others wait to be accepted.
const CONNECTIONS: usize = 512;

/// How long the next request of a connection, up to the end of its headers, is waited for.
const HEADERS: Duration = Duration::from_secs(10);

/// The wait after a connection could not be accepted: the process has too many files open, say.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stop`, and then what is under way to its end.
pub(super) async fn serve(listener: TcpListener, routes: Router, stop: CancellationToken) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut server = Builder::new(TokioExecutor::new()).http1_only();
    // Without a timer it waits for ever.
    server.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS);
    let open = TaskTracker::new();
    loop {
        let next = async {
            let permit = Arc::clone(&room).acquire_owned().await.expect("nobody closes it");
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            next = next => next,
            () = stop.cancelled() => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!("A connection to the console was not accepted: {error}");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let (server, routes, stop) = (server.clone(), TowerToHyperService::new(routes.clone()), stop.clone());
        open.spawn(async move {
            let _permit = permit;
            let mut connection = pin!(server.serve_connection(TokioIo::new(stream), routes));
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!("A connection to the console ended: {error}");
            }
        });
    }
    open.close();
    open.wait().await;
}
