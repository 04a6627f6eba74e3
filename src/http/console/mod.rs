//! The console: pages for people. For now those by which they sign in and out, and by which they let a command line sign in.

mod next;
pub(in crate::http) mod session;

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};

/// Where people sign in.
pub(super) const SIGN_IN: &str = "/sign-in";
/// Where a browser comes back to from the identity provider; registered there.
pub const SIGN_IN_CALLBACK: &str = "/sign-in/callback";

/// To another page of ours, or of the identity provider.
fn see_other(to: &str) -> Response {
    match HeaderValue::try_from(to) {
        Ok(to) => (StatusCode::SEE_OTHER, [(header::LOCATION, to), private()]).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Nobody keeps a copy.
fn private() -> (HeaderName, HeaderValue) {
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store"))
}
