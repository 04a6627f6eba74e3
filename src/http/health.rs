//! Whether we live, whether we can work, and which keys sign what we mint. For anybody; nothing here is secret.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::{HttpState, answer};

/// Whether the broker can do its job.
#[derive(Serialize, ToSchema)]
pub(super) struct ReadinessView {
    /// `ready` or `not_ready`.
    status: &'static str,
    /// Each part: `ok` or `failing`. What is wrong with it stands in the log.
    parts: BTreeMap<String, &'static str>,
}

/// Ask whether the process lives
///
/// Depends on nothing outside the process.
#[utoipa::path(get, path = "/livez", operation_id = "livez", tag = "health",
    responses((status = 200, description = "It lives", body = String, content_type = "text/plain")))]
pub(super) async fn livez() -> Response {
    "ok\n".into_response()
}

/// Ask whether the broker can work
#[utoipa::path(get, path = "/readyz", operation_id = "readyz", tag = "health",
    responses(
        (status = 200, description = "It can", body = ReadinessView),
        (status = 503, description = "It cannot", body = ReadinessView),
    ))]
pub(super) async fn readyz(State(state): State<Arc<HttpState>>) -> Response {
    let readiness = state.broker.readiness().await;
    let ready = readiness.ready && !state.draining.is_cancelled();
    for (part, detail) in readiness.details.iter().filter(|(_, detail)| *detail != "ok") {
        tracing::warn!(part, detail, "a part of the broker is not well");
    }
    // Anybody may ask, so the words of databases and issuers stay in the log.
    let word = |detail: &String| if detail == "ok" { "ok" } else { "failing" };
    let view = ReadinessView {
        status: if ready { "ready" } else { "not_ready" },
        parts: readiness.details.iter().map(|(part, detail)| (part.clone(), word(detail))).collect(),
    };
    let mut response = answer(&view);
    if !ready {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Read the keys that sign credentials
#[utoipa::path(get, path = "/.well-known/jwks.json", operation_id = "jwks", tag = "resource servers",
    responses((status = 200, description = "A JWK set (RFC 7517 §5)", body = Object)))]
pub(super) async fn jwks(State(state): State<Arc<HttpState>>) -> Response {
    let (set, max_age_secs) = state.broker.jwks();
    let cache = format!("public, max-age={max_age_secs}");
    ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, cache.as_str())], set).into_response()
}
