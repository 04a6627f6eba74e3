//! What every answer of the console wears: a nonce of its own and the policy that names it, headers that keep the page alone, no
//! copy in any cache, gzip for those who take it, and a page instead of a problem document when something is refused.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use flate2::Compression;
use http_body::Body as _;

use super::super::HttpState;
use super::super::frame::RequestId;
use super::super::refusal::Refusal;
use super::assets;
use super::page::problem_page;

/// Pages larger than this are not compressed by us in one go.
const MAX_ZIPPED_BYTES: usize = 4 << 20;
/// A body smaller than this gains nothing.
const MIN_ZIPPED_BYTES: usize = 512;

/// The one-time word that tells our own scripts and styles from anybody else's.
#[derive(Debug, Clone)]
pub(in crate::http) struct Nonce(pub(in crate::http) String);

impl<S: Send + Sync> FromRequestParts<S> for Nonce {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let nonce = parts.extensions.get::<Self>().cloned();
        nonce.ok_or_else(|| Refusal::internal("a page of the console without its frame"))
    }
}

/// What scripts, styles and frames may do here (Content Security Policy Level 3, Trusted Types). The one Trusted Types policy is the
/// one that the vendored `hx-csp` makes.
fn content_security_policy(nonce: &str) -> String {
    format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; img-src 'self'; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types htmx"
    )
}

pub(in crate::http) async fn dress(State(state): State<Arc<HttpState>>, mut request: Request, next: Next) -> Response {
    let nonce = Nonce(state.broker.nonce());
    let zips = assets::takes_gzip(request.headers());
    let wants_json = request.headers().get(header::ACCEPT).is_some_and(|kind| kind == "application/json");
    let id = request.extensions().get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default();
    request.extensions_mut().insert(nonce.clone());
    let mut response = next.run(request).await;
    // A script that asked for JSON is told by the frame, as the API's callers are.
    if !wants_json && let Some(refusal) = response.extensions_mut().remove::<Refusal>() {
        refusal.record();
        response = as_page(&refusal, &nonce, &id);
    }
    wear(response.headers_mut(), &nonce, state.public_url.starts_with("https://"));
    if zips { zipped(response).await } else { response }
}

/// A refusal as a page, with its status and headers.
fn as_page(refusal: &Refusal, nonce: &Nonce, id: &str) -> Response {
    let mut response = problem_page(refusal, nonce, id);
    *response.status_mut() = refusal.status();
    if let Some(secs) = refusal.retry_after() {
        response.headers_mut().insert(header::RETRY_AFTER, secs);
    }
    response
}

fn wear(headers: &mut HeaderMap, nonce: &Nonce, is_https: bool) {
    if let Ok(policy) = HeaderValue::try_from(content_security_policy(&nonce.0)) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    for (name, value) in [
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("permissions-policy", PERMISSIONS),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if is_https {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=63072000"));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

/// Nothing a page could ask the browser for, but passkeys for ourselves.
const PERMISSIONS: &str = "camera=(), microphone=(), geolocation=(), payment=(), usb=(), serial=(), hid=(), midi=(), \
    display-capture=(), fullscreen=(), clipboard-read=(), publickey-credentials-get=(self), publickey-credentials-create=(self)";

/// The same answer compressed, if it is a page and small enough.
async fn zipped(response: Response) -> Response {
    let is_text = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/html") || kind.as_bytes().starts_with(b"text/csv"));
    let known = response.body().size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok());
    let fits = known.is_some_and(|bytes| (MIN_ZIPPED_BYTES..=MAX_ZIPPED_BYTES).contains(&bytes));
    if !is_text || !fits || response.headers().contains_key(header::CONTENT_ENCODING) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let Ok(bytes) = axum::body::to_bytes(body, MAX_ZIPPED_BYTES).await else {
        return Refusal::internal("a page could not be read back").into_response();
    };
    parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    parts.headers.append(header::VARY, HeaderValue::from_static("accept-encoding"));
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(assets::zip(&bytes, Compression::fast())))
}
