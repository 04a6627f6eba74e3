//! The two calls of a command line that wants to be signed in (RFC 8628 §3.1, §3.4), in OAuth's shapes. Both are made by nobody, so
//! both count against the address; there is one client, and it has no secret.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::api::{DeviceAnswer, TokenAnswer};
use crate::broker::{DeviceError, OpenedFrom};
use crate::sys::{ExposeSecret as _, SecretString};

use super::address::client_address;
use super::introspect::{OAuthError, read_form};
use super::refusal::Refusal;
use super::{HttpState, answer, detached};

/// The one client there is.
const CLIENT: &str = "hallpass-cli";
/// The one grant there is (§3.4).
const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// What a command line asks with.
#[derive(Deserialize, ToSchema)]
#[expect(dead_code, reason = "describes the form; it is read by hand, so that a member that comes twice is refused")]
pub(super) struct DeviceForm {
    /// `hallpass-cli`.
    client_id: String,
    /// What it calls itself, for the person who is asked.
    client_name: Option<String>,
}

/// What it polls with.
#[derive(Deserialize, ToSchema)]
#[expect(dead_code, reason = "as above")]
pub(super) struct TokenForm {
    /// `urn:ietf:params:oauth:grant-type:device_code`.
    grant_type: String,
    /// What it was given.
    device_code: String,
    /// `hallpass-cli`.
    client_id: String,
}

impl From<DeviceError> for OAuthError {
    fn from(error: DeviceError) -> Self {
        let said = error.to_string();
        let word = match error {
            DeviceError::Pending => "authorization_pending",
            DeviceError::SlowDown => "slow_down",
            DeviceError::Denied => "access_denied",
            DeviceError::Expired => "expired_token",
            DeviceError::NotConfigured => "invalid_request",
            DeviceError::TooMany => {
                return Self::new(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", said);
            }
            DeviceError::Broker(error) => return Refusal::from(error).into(),
        };
        Self::new(StatusCode::BAD_REQUEST, word, said)
    }
}

/// Ask to sign a command line in
///
/// Show the person the code and the address, and poll with the device code.
#[utoipa::path(post, path = "/oauth/device_authorization", operation_id = "device_authorization", tag = "sessions",
    request_body(content = DeviceForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "The codes", body = DeviceAnswer),
        (status = 400, description = "invalid_request, invalid_client", body = OAuthError),
        (status = 413, description = "invalid_request", body = OAuthError),
        (status = 429, description = "temporarily_unavailable", body = OAuthError),
        (status = 500, description = "server_error", body = OAuthError),
        (status = 503, description = "temporarily_unavailable", body = OAuthError),
    ))]
pub(super) async fn authorize(State(state): State<Arc<HttpState>>, request: Request) -> Result<Response, OAuthError> {
    let (parts, body) = request.into_parts();
    let address = client_address(&parts, &state.trusted_proxies);
    state.broker.admit_address(address).map_err(Refusal::from)?;
    let [client, name] = read_form(&parts.headers, body, ["client_id", "client_name"]).await?;
    check_client(client.as_deref())?;
    let asked = state.broker.ask_device_sign_in(&name.unwrap_or_default(), &address.to_string()).await?;
    Ok(answer(&asked))
}

/// Poll for the session of a command line
///
/// `authorization_pending` until the person has answered; the session is handed over once.
#[utoipa::path(post, path = "/oauth/token", operation_id = "token", tag = "sessions",
    request_body(content = TokenForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "The session", body = TokenAnswer),
        (status = 400, description = "authorization_pending, slow_down, access_denied, expired_token, unsupported_grant_type, invalid_request, invalid_client", body = OAuthError),
        (status = 413, description = "invalid_request", body = OAuthError),
        (status = 429, description = "temporarily_unavailable", body = OAuthError),
        (status = 500, description = "server_error", body = OAuthError),
        (status = 503, description = "temporarily_unavailable", body = OAuthError),
    ))]
pub(super) async fn token(State(state): State<Arc<HttpState>>, request: Request) -> Result<Response, OAuthError> {
    let (parts, body) = request.into_parts();
    let address = client_address(&parts, &state.trusted_proxies);
    state.broker.admit_address(address).map_err(Refusal::from)?;
    let [grant, code, client] = read_form(&parts.headers, body, ["grant_type", "device_code", "client_id"]).await?;
    if grant.as_deref() != Some(GRANT) {
        let why = format!("The one `grant_type` here is `{GRANT}`.");
        return Err(OAuthError::new(StatusCode::BAD_REQUEST, "unsupported_grant_type", why));
    }
    check_client(client.as_deref())?;
    let invalid = || OAuthError::new(StatusCode::BAD_REQUEST, "invalid_request", "Send one `device_code`.");
    let code = SecretString::from(code.filter(|code| !code.is_empty()).ok_or_else(invalid)?);
    let user_agent = parts.headers.get(header::USER_AGENT).and_then(|text| text.to_str().ok()).unwrap_or_default();
    let from = OpenedFrom { user_agent: user_agent.to_owned(), address: address.to_string() };
    let broker = state.broker.clone();
    // Whoever hangs up now would lose the session and leave it open.
    let opened = detached(&state, async move { Ok(broker.poll_device_sign_in(&code, &from).await) }).await??;
    let expires_in = opened.session.ends_at.millis_since(opened.session.opened_at) / 1000;
    Ok(answer(&TokenAnswer {
        access_token: opened.secret.expose_secret().to_owned(),
        token_type: "Bearer".to_owned(),
        expires_in,
    }))
}

fn check_client(client: Option<&str>) -> Result<(), OAuthError> {
    if client == Some(CLIENT) {
        return Ok(());
    }
    Err(OAuthError::new(StatusCode::BAD_REQUEST, "invalid_client", format!("The one `client_id` here is `{CLIENT}`.")))
}
