//! Metrics, on a listener of their own: what the public listener never shows. No label carries an id.

use axum::Router;
use axum::http::header;
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;

use super::refusal::Refusal;

/// `GET /metrics` in the Prometheus text format, and nothing else.
pub fn metrics_router(handle: PrometheusHandle) -> Router {
    let render = async move || {
        ([(header::CONTENT_TYPE, "text/plain; version=0.0.4"), (header::CACHE_CONTROL, "no-store")], handle.render())
    };
    Router::new().route("/metrics", get(render)).fallback(async || Refusal::not_found())
}
