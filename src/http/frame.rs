//! What surrounds every route: a request id, one span, a net under panics, the problem document of a refusal, and the headers
//! every answer carries. One layer, because each layer is paid for by every request.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use tracing::Instrument as _;

use crate::broker::BrokerError;
use crate::sys::Entropy;

use super::HttpState;
use super::refusal::Refusal;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Longest request id taken over from a caller.
const MAX_REQUEST_ID: usize = 64;
/// Length of a `traceparent` (W3C Trace Context §3.2).
const TRACEPARENT_LEN: usize = 55;

/// Makes request ids: a random word of this process and a count.
#[derive(Debug)]
pub struct RequestIds {
    process: String,
    made: AtomicU64,
}

impl RequestIds {
    /// With a random word that tells this process from others.
    #[must_use]
    pub fn new(entropy: &dyn Entropy) -> Self {
        let mut random = [0_u8; 5];
        entropy.fill(&mut random);
        Self { process: data_encoding::BASE32_DNSSEC.encode(&random), made: AtomicU64::new(0) }
    }

    fn make(&self) -> String {
        format!("{}-{}", self.process, self.made.fetch_add(1, Ordering::Relaxed))
    }
}

/// The request's id, for whoever answers in a shape of their own.
#[derive(Debug, Clone)]
pub(super) struct RequestId(pub(super) String);

pub(super) async fn frame(State(state): State<Arc<HttpState>>, mut request: Request, next: Next) -> Response {
    let id = taken_over(request.headers()).unwrap_or_else(|| state.request_ids.make());
    request.extensions_mut().insert(RequestId(id.clone()));
    let is_private = ["/v1/", "/oauth/", "/access/"].iter().any(|prefix| request.uri().path().starts_with(prefix));
    let in_text = super::authzen::answers_in_text(request.uri().path());
    let method = method_word(request.method());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let span = tracing::error_span!(
        "request",
        request.id = id,
        http.method = method,
        http.route = route.as_ref().map(MatchedPath::as_str),
        traceparent = traceparent(request.headers()),
    );
    async {
        let mut response = match state.admission.admit(&request) {
            Err(_) => Refusal::from(BrokerError::Overloaded).into_response(),
            Ok(_room) => match AssertUnwindSafe(next.run(request)).catch_unwind().await {
                Ok(response) => response,
                Err(_) => Refusal::internal("a handler panicked").into_response(),
            },
        };
        if let Some(refusal) = response.extensions_mut().remove::<Refusal>() {
            refusal.record();
            response = if in_text { refusal.render_text() } else { refusal.render(&state.public_url, &id) };
        }
        let status = response.status().as_u16();
        let route = route.as_ref().map_or("unmatched", MatchedPath::as_str).to_owned();
        metrics::counter!("hallpass_http_requests_total", "method" => method, "route" => route, "status" => status.to_string())
            .increment(1);
        tracing::debug!(http.status = status, "request answered");
        dress(response.headers_mut(), &id, is_private);
        if state.draining.is_cancelled() {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
    .instrument(span)
    .await
}

fn dress(headers: &mut HeaderMap, id: &str, is_private: bool) {
    if let Ok(value) = HeaderValue::try_from(id) {
        headers.insert(X_REQUEST_ID, value);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if is_private {
        // What is public there says so itself.
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    }
}

/// The caller's own request id, if it can be repeated safely in a header and in the log.
fn taken_over(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(X_REQUEST_ID)?.to_str().ok()?;
    let safe = id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    ((1..=MAX_REQUEST_ID).contains(&id.len()) && safe).then(|| id.to_owned())
}

/// The caller's trace, for the log only.
fn traceparent(headers: &HeaderMap) -> Option<&str> {
    let trace = headers.get(TRACEPARENT)?.to_str().ok()?;
    let safe = trace.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    (trace.len() == TRACEPARENT_LEN && safe).then_some(trace)
}

/// The method as one of a few words, so that a caller cannot invent metric labels.
fn method_word(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        _ => "other",
    }
}
