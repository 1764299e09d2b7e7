//! The listener: takes requests apart, lets a fault strike, keeps the log, and may leave a request without an answer.

pub(super) mod tls;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Request as HttpRequest, Uri, header};
use axum::response::Response;
use axum_server::Handle;
use tower::make::Shared;
use tower::{ServiceExt, service_fn};

use super::World;
use super::clock::{http_date, iso_ms};
use super::faults::{Effect, garble, instead};
use super::imitation::Imitation;
use super::log::{Request, System};

/// Largest body that a client may send.
const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;

/// The request that is being served.
#[derive(Debug, Clone)]
pub(super) struct Received {
    /// As in the log.
    pub id: String,
    /// As it was sent.
    pub uri: Uri,
}

/// The request is left without an answer: the connection is closed instead.
#[derive(Debug, thiserror::Error)]
#[error("the connection is cut on purpose")]
struct Cut;

/// Serves until the handle is told to stop.
pub(super) fn spawn(
    listener: TcpListener,
    tls: Option<axum_server::tls_rustls::RustlsConfig>,
    world: Arc<World>,
    router: Router,
    handle: Handle<SocketAddr>,
) -> std::io::Result<tokio::task::JoinHandle<std::io::Result<()>>> {
    let service = service_fn(move |request: HttpRequest<_>| {
        let (world, router) = (Arc::clone(&world), router.clone());
        async move { answer(world, router, request.map(Body::new)).await }
    });
    let service = Shared::new(service);
    Ok(match tls {
        None => {
            let server = axum_server::from_tcp(listener)?.handle(handle);
            tokio::spawn(server.serve(service))
        }
        Some(config) => {
            let server = axum_server::from_tcp_rustls(listener, config)?.handle(handle);
            tokio::spawn(server.serve(service))
        }
    })
}

async fn answer(world: Arc<World>, router: Router, request: HttpRequest<Body>) -> Result<Response, Cut> {
    let (parts, body) = request.into_parts();
    let Some(system) = System::of_path(parts.uri.path()) else {
        let Ok(response) = router.oneshot(HttpRequest::from_parts(parts, body)).await;
        return Ok(response);
    };
    let body = to_bytes(body, MAX_BODY_BYTES).await.map_err(|_| Cut)?;
    // A task of its own: a server goes on with a request even if the client has gone.
    tokio::spawn(serve(world, router, system, parts, body)).await.map_err(|_| Cut)?
}

async fn serve(
    world: Arc<World>,
    router: Router,
    system: System,
    mut parts: Parts,
    body: Bytes,
) -> Result<Response, Cut> {
    let id = world.log.next_request();
    let method = parts.method.to_string();
    let path = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let imitation = world.imitation(system);
    let operation = imitation.operation(&method, parts.uri.path(), &body);
    let at = iso_ms(imitation.clock().now_ms());
    let strike = world.faults.strike(system, &method, &path, &body);
    let (fault, effect) = strike.map_or((None, None), |(id, effect)| (Some(id), Some(effect)));
    parts.extensions.insert(Received { id: id.clone(), uri: parts.uri.clone() });
    parts.uri = without_last_slash(&parts.uri);
    // HTTP/2 names the host in the URI.
    if let Some(Ok(host)) = parts.uri.authority().map(|authority| HeaderValue::from_str(authority.as_str())) {
        parts.headers.entry(header::HOST).or_insert(host);
    }

    let request = HttpRequest::from_parts(parts, Body::from(body));
    let answer = match effect {
        None => Ok(run(router, request).await),
        Some(effect) => struck(&world, router, imitation.as_ref(), request, effect).await,
    };
    let status = answer.as_ref().map_or(0, |response| response.status().as_u16());
    world.log.answered(Request { id: id.clone(), at, system, method, path, operation, status, fault });
    let mut response = answer?;
    let headers = response.headers_mut();
    if let (Ok(date), Ok(id)) =
        (HeaderValue::from_str(&http_date(imitation.clock().now_ms())), HeaderValue::from_str(&id))
    {
        headers.insert(header::DATE, date);
        headers.insert("x-sandbox-request", id);
    }
    Ok(response)
}

/// Serves a request that a fault strikes.
async fn struck(
    world: &World,
    router: Router,
    imitation: &dyn Imitation,
    mut request: HttpRequest<Body>,
    effect: Effect,
) -> Result<Response, Cut> {
    match &effect {
        Effect::Cut => return Err(Cut),
        Effect::Slow { ms } => tokio::time::sleep(Duration::from_millis(*ms)).await,
        Effect::Hang => world.faults.hold(|| world.log.tick()).await,
        Effect::ExpiredSession => {
            if let Some(refusal) = imitation.expire_session(request.headers()) {
                return Ok(refusal);
            }
        }
        _ => {}
    }
    if let Some(withhold) = effect.withholds() {
        request.extensions_mut().insert(withhold);
    }
    if let Some(row_fault) = effect.row_fault() {
        request.extensions_mut().insert(row_fault);
    }
    let made_up = instead(&effect, imitation);
    let is_applied = made_up.is_none() || matches!(effect, Effect::AppliedThenStatus { .. });
    if !is_applied {
        return made_up.ok_or(Cut);
    }
    let response = run(router, request).await;
    match effect {
        Effect::AppliedThenStatus { .. } => made_up.ok_or(Cut),
        Effect::AppliedThenCut | Effect::RowsThenCut { .. } => Err(Cut),
        Effect::AppliedThenHang => {
            world.faults.hold(|| world.log.tick()).await;
            Ok(response)
        }
        Effect::TruncatedJson | Effect::InvalidUtf8 | Effect::HugeAttribute { .. } => {
            let (mut parts, body) = response.into_parts();
            let body = to_bytes(body, usize::MAX).await.map_err(|_| Cut)?;
            parts.headers.remove(header::CONTENT_LENGTH);
            Ok(Response::from_parts(parts, Body::from(garble(&effect, body))))
        }
        _ => Ok(response),
    }
}

async fn run(router: Router, request: HttpRequest<Body>) -> Response {
    let Ok(response) = router.oneshot(request).await;
    response
}

/// `/limits/` is `/limits`: real servers take both, and clients send both.
fn without_last_slash(uri: &Uri) -> Uri {
    let Some(path) = uri.path().strip_suffix('/').filter(|path| !path.is_empty()) else { return uri.clone() };
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = format!("{path}{query}").parse().ok();
    Uri::from_parts(parts).unwrap_or_else(|_| uri.clone())
}
