//! Style, script and icon: part of the program, from no other host.

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::IntoResponse;
use axum::routing::get;

use super::super::api::Shared;

/// How long a browser may keep them. A new version of the program has other texts behind the same names.
const KEPT: &str = "public, max-age=3600";

const STYLE: &str = include_str!("../assets/console.css");
const SCRIPT: &str = include_str!("../assets/htmx.min.js");
const ICON: &str = include_str!("../assets/icon.svg");

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/assets/console.css", get(|| text("text/css; charset=utf-8", STYLE)))
        .route("/assets/htmx.js", get(|| text("text/javascript; charset=utf-8", SCRIPT)))
        .route("/assets/icon.svg", get(|| text("image/svg+xml", ICON)))
}

async fn text(kind: &'static str, text: &'static str) -> impl IntoResponse {
    ([(CONTENT_TYPE, kind), (CACHE_CONTROL, KEPT)], text)
}
