//! The health pages of a process: `/livez`, `/readyz` and `/metrics`, on a listener of their own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::metrics::{self, Metrics};

/// Requests under way have this long to end once the process shuts down.
const DRAIN: Duration = Duration::from_secs(2);

/// Whether a process can do its work now.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Readiness {
    /// What is in the way; empty if nothing is.
    pub not_ready: Vec<NotReady>,
}

/// One thing that is in the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NotReady {
    /// What it is: `broker`, `store`.
    pub part: &'static str,
    /// Why, for a person; without secrets.
    pub reason: String,
}

impl Readiness {
    /// The same, with one more thing in the way.
    pub fn without(mut self, part: &'static str, reason: impl Into<String>) -> Self {
        self.not_ready.push(NotReady { part, reason: reason.into() });
        self
    }

    /// Whether nothing is in the way.
    pub fn is_ready(&self) -> bool {
        self.not_ready.is_empty()
    }
}

/// The health pages being served.
#[derive(Debug)]
pub struct HealthServer {
    /// Where: with the port that was found if 0 was asked for.
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl HealthServer {
    /// Returns once the pages are no longer served: after the shutdown token was cancelled.
    pub async fn stopped(self) {
        if let Err(error) = self.task.await {
            tracing::error!(%error, "The health pages ended with a panic");
        }
    }
}

/// Serves the pages on `address` until `shutdown` is cancelled.
///
/// `/livez` says that the process runs, whatever it waits for: restarting it would not bring a broker back. `/readyz`
/// asks `readiness`. `/metrics` is Prometheus' text form.
///
/// # Errors
/// The address cannot be bound.
pub async fn serve<R>(
    address: SocketAddr,
    metrics: Arc<Metrics>,
    readiness: R,
    shutdown: CancellationToken,
) -> std::io::Result<HealthServer>
where
    R: Fn() -> Readiness + Send + Sync + 'static,
{
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let pages = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz::<R>))
        .with_state(Arc::new(readiness))
        .route("/metrics", get(metrics_page).with_state(metrics));
    let serving = axum::serve(listener, pages).with_graceful_shutdown(shutdown.clone().cancelled_owned());
    let task = tokio::spawn(async move {
        tokio::select! {
            result = serving.into_future() => {
                if let Err(error) = result {
                    tracing::error!(%error, "The health pages ended");
                }
            }
            // A client that never finishes its request must not keep the process.
            () = after(shutdown, DRAIN) => {}
        }
    });
    Ok(HealthServer { address, task })
}

async fn after(shutdown: CancellationToken, grace: Duration) {
    shutdown.cancelled().await;
    tokio::time::sleep(grace).await;
}

async fn readyz<R: Fn() -> Readiness>(State(readiness): State<Arc<R>>) -> Response {
    let readiness = readiness();
    let status = if readiness.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    #[derive(Serialize)]
    struct Body {
        ready: bool,
        not_ready: Vec<NotReady>,
    }
    let body = Body { ready: readiness.is_ready(), not_ready: readiness.not_ready };
    (status, [(CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

async fn metrics_page(State(metrics): State<Arc<Metrics>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], metrics.render())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    struct Pages {
        server: HealthServer,
        shutdown: CancellationToken,
        broker: Arc<AtomicBool>,
    }

    impl Pages {
        async fn start() -> Self {
            let shutdown = CancellationToken::new();
            let broker = Arc::new(AtomicBool::new(true));
            let up = broker.clone();
            let readiness = move || match up.load(Ordering::SeqCst) {
                true => Readiness::default(),
                false => Readiness::default().without("broker", "connection refused"),
            };
            let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
            let server = serve(any_port, Arc::new(Metrics::new()), readiness, shutdown.clone()).await.unwrap();
            Self { server, shutdown, broker }
        }

        async fn get(&self, page: &str) -> reqwest::Response {
            reqwest::get(format!("http://{}{page}", self.server.address)).await.unwrap()
        }
    }

    #[tokio::test]
    async fn readiness_names_what_is_in_the_way() {
        let pages = Pages::start().await;
        assert_ne!(pages.server.address.port(), 0);
        let answer = pages.get("/readyz").await;
        assert_eq!(answer.status(), 200);
        let ready: serde_json::Value = answer.json().await.unwrap();
        assert_eq!(ready, serde_json::json!({ "ready": true, "not_ready": [] }));

        pages.broker.store(false, Ordering::SeqCst);
        let answer = pages.get("/readyz").await;
        assert_eq!(answer.status(), 503);
        let not_ready: serde_json::Value = answer.json().await.unwrap();
        let expected = serde_json::json!({
            "ready": false, "not_ready": [{ "part": "broker", "reason": "connection refused" }],
        });
        assert_eq!(not_ready, expected);
        assert_eq!(pages.get("/livez").await.status(), 200, "a process that waits for its broker is alive");
    }

    #[tokio::test]
    async fn metrics_have_the_type_that_prometheus_asks_for() {
        let pages = Pages::start().await;
        let answer = pages.get("/metrics").await;
        assert_eq!(answer.headers()["content-type"], "text/plain; version=0.0.4");
        assert!(answer.text().await.unwrap().contains("muster_build_info{version="));
        assert_eq!(pages.get("/elsewhere").await.status(), 404);
    }

    /// Also with a connection open on which nobody ever asks anything.
    #[tokio::test]
    async fn shutdown_ends_the_pages() {
        let pages = Pages::start().await;
        let address = pages.server.address;
        let silent = tokio::net::TcpStream::connect(address).await.unwrap();
        pages.shutdown.cancel();
        pages.server.stopped().await;
        assert!(tokio::net::TcpStream::connect(address).await.is_err());
        drop(silent);
    }

    #[tokio::test]
    async fn an_address_in_use_is_an_error() {
        let pages = Pages::start().await;
        let again = serve(pages.server.address, Arc::default(), Readiness::default, CancellationToken::new()).await;
        assert_eq!(again.unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
    }
}
