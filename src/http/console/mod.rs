//! The console: pages for people. For now those by which they sign in and out, and by which they let a command line sign in.

mod device;
mod next;
pub(in crate::http) mod session;
mod sign_in;

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};

use super::HttpState;
use super::refusal::Refusal;

/// Where people sign in.
const SIGN_IN: &str = "/sign-in";
/// Where a browser comes back to from the identity provider; registered there.
pub const SIGN_IN_CALLBACK: &str = "/sign-in/callback";

/// The pages' routes.
pub(super) fn routes() -> Router<Arc<HttpState>> {
    Router::new()
        .route("/", get(sign_in::home))
        .route(SIGN_IN, get(sign_in::begin))
        .route(SIGN_IN_CALLBACK, get(sign_in::finish))
        .route("/sign-out", post(sign_in::sign_out))
        .route("/device", get(device::show).post(device::answer))
}

/// A page that nobody keeps a copy of, nobody frames, and that loads nothing and runs nothing.
fn page(status: StatusCode, template: &impl Template) -> Response {
    const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; \
        frame-ancestors 'none'";
    match template.render() {
        Ok(html) => {
            let headers = [
                (header::CONTENT_TYPE, "text/html; charset=utf-8"),
                (header::CACHE_CONTROL, "no-store"),
                (header::CONTENT_SECURITY_POLICY, POLICY),
                (header::X_FRAME_OPTIONS, "DENY"),
                (header::REFERRER_POLICY, "same-origin"),
            ];
            (status, headers, html).into_response()
        }
        Err(error) => Refusal::internal(format!("a page could not be written: {error}")).into_response(),
    }
}

/// To another page of ours, or to the identity provider's.
fn see_other(to: &str) -> Response {
    match HeaderValue::try_from(to) {
        Ok(to) => {
            let private = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            (StatusCode::SEE_OTHER, [(header::LOCATION, to), private]).into_response()
        }
        Err(_) => Refusal::internal("a redirect to what is no URL").into_response(),
    }
}
