//! Introspection for resource servers (RFC 7662): the one route that speaks OAuth's error shape instead of problem documents,
//! and that authenticates by HTTP Basic.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::Introspection;
use crate::broker::ResourceServer;
use crate::sys::{ExposeSecret as _, SecretString};

use super::address::client_address;
use super::body::{media_type, read};
use super::caller::credentials;
use super::refusal::Refusal;
use super::{HttpState, answer};

/// What a resource server sends.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "describes the form; the form is read by hand, so that a member that comes twice is refused"
)]
pub(super) struct IntrospectForm {
    /// The credential to ask about.
    token: String,
    /// Ignored: there is one type.
    token_type_hint: Option<String>,
}

/// An error as OAuth answers it (RFC 6749 §5.2).
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OAuthError {
    /// One word of RFC 6749 §5.2 or RFC 8628 §3.5, or `temporarily_unavailable` or `server_error`.
    error: &'static str,
    /// The same in a sentence.
    error_description: String,
    #[serde(skip)]
    status: u16,
    #[serde(skip)]
    retry_after: Option<HeaderValue>,
}

impl OAuthError {
    pub(super) fn new(status: StatusCode, error: &'static str, description: impl Into<String>) -> Self {
        Self { error, error_description: description.into(), status: status.as_u16(), retry_after: None }
    }

    fn invalid_client() -> Self {
        let description = "Send the id and secret of a resource server as HTTP Basic.";
        Self::new(StatusCode::UNAUTHORIZED, "invalid_client", description)
    }
}

impl From<Refusal> for OAuthError {
    fn from(refusal: Refusal) -> Self {
        refusal.record();
        let error = match refusal.status().as_u16() {
            429 | 503 => "temporarily_unavailable",
            400..=499 => "invalid_request",
            _ => "server_error",
        };
        let retry_after = refusal.retry_after();
        Self { retry_after, ..Self::new(refusal.status(), error, refusal.detail) }
    }
}

impl IntoResponse for OAuthError {
    fn into_response(self) -> Response {
        let mut response = answer(&self);
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if response.status() == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Basic realm=\"hallpass\", charset=\"UTF-8\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        if let Some(secs) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, secs);
        }
        response
    }
}

/// Ask whether a credential may be relied on now
///
/// A resource server learns of credentials minted for its own audiences; every other token is inactive to it.
#[utoipa::path(post, path = "/oauth/introspect", operation_id = "introspect", tag = "resource servers", security(("resourceServer" = [])),
    request_body(content = IntrospectForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "What may be said about the token", body = Introspection),
        (status = 400, description = "invalid_request", body = OAuthError),
        (status = 401, description = "invalid_client", body = OAuthError),
        (status = 413, description = "invalid_request", body = OAuthError),
        (status = 429, description = "temporarily_unavailable", body = OAuthError),
        (status = 500, description = "server_error", body = OAuthError),
        (status = 503, description = "temporarily_unavailable", body = OAuthError),
    ))]
pub(super) async fn introspect(State(state): State<Arc<HttpState>>, request: Request) -> Result<Response, OAuthError> {
    let (parts, body) = request.into_parts();
    let Some(resource_server) = authenticate(&state, &parts.headers) else {
        let address = client_address(&parts, &state.trusted_proxies);
        state.broker.admit_address(address).map_err(Refusal::from)?;
        return Err(OAuthError::invalid_client());
    };
    let [token] = read_form(&parts.headers, body, ["token"]).await?;
    match token.filter(|token| !token.is_empty()) {
        Some(token) => {
            let found = state.broker.introspect(&resource_server, &token).await.map_err(Refusal::from)?;
            Ok(answer(&found))
        }
        None => Err(OAuthError::new(StatusCode::BAD_REQUEST, "invalid_request", "Send one `token`.")),
    }
}

/// Some members of a form, each of which may come once (RFC 6749 §3.2); others are ignored.
pub(super) async fn read_form<const N: usize>(
    headers: &HeaderMap,
    body: Body,
    names: [&str; N],
) -> Result<[Option<String>; N], OAuthError> {
    let invalid = |why: String| OAuthError::new(StatusCode::BAD_REQUEST, "invalid_request", why);
    let is_form = media_type(headers).is_some_and(|(kind, charset)| {
        kind.eq_ignore_ascii_case("application/x-www-form-urlencoded")
            && charset.is_none_or(|set| set.eq_ignore_ascii_case("utf-8"))
    });
    if !is_form {
        return Err(invalid("Send the body as `Content-Type: application/x-www-form-urlencoded`.".to_owned()));
    }
    let form = read(headers, body).await?;
    let mut found = [const { None }; N];
    for (name, value) in url::form_urlencoded::parse(&form) {
        let Some(slot) = names.iter().position(|known| *known == name).and_then(|at| found.get_mut(at)) else {
            continue;
        };
        if slot.replace(value.into_owned()).is_some() {
            return Err(invalid(format!("Send one `{name}`.")));
        }
    }
    Ok(found)
}

fn authenticate(state: &HttpState, headers: &HeaderMap) -> Option<ResourceServer> {
    let (id, secret) = basic(credentials(headers, "Basic")?)?;
    state.broker.authenticate_resource_server(&id, secret.expose_secret())
}

/// The id and the secret, each form-encoded inside (RFC 6749 §2.3.1).
fn basic(credentials: &str) -> Option<(String, SecretString)> {
    let decoded = String::from_utf8(STANDARD.decode(credentials).ok()?).ok()?;
    let (id, secret) = decoded.split_once(':')?;
    Some((form_decode(id)?, form_decode(secret)?.into()))
}

fn form_decode(text: &str) -> Option<String> {
    // Whatever separates members must have been encoded.
    if text.contains(['&', '=']) {
        return None;
    }
    url::form_urlencoded::parse(text.as_bytes()).next().map(|(decoded, _)| decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_credentials_are_form_encoded_inside() {
        let (id, secret) = basic(&STANDARD.encode("api%3Aeu:s%26cret+1")).unwrap();
        assert_eq!((id.as_str(), secret.expose_secret()), ("api:eu", "s&cret 1"));
    }

    #[test]
    fn what_is_no_basic_credential_is_none() {
        for bad in ["", "!!", "YWJj", &STANDARD.encode(":secret"), &STANDARD.encode("id:"), &STANDARD.encode("a&b:c")] {
            assert!(basic(bad).is_none(), "{bad}");
        }
    }
}
