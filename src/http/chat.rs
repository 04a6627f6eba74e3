//! What a chat calls when somebody pressed a button there. The chat's signature over the very bytes is all that counts; whose account it
//! was, and what that person may do, the broker finds out.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use utoipa::ToSchema;

use super::address::client_address;
use super::body::read;
use super::caller::PathId;
use super::refusal::Refusal;
use super::{HttpState, detached};
use crate::broker::{BrokerError, ChatCall};

/// What Slack sends.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the form; it is read from the bytes that were signed")]
pub(super) struct SlackForm {
    /// What was pressed, as JSON.
    payload: String,
}

/// The one value of a header field.
fn one(headers: &HeaderMap, name: &str) -> Option<String> {
    let mut values = headers.get_all(name).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    value.to_str().ok().map(str::to_owned)
}

/// Take what somebody pressed in Slack
///
/// For the interactivity request URL of your Slack app, with the name of the channel in `[[notify]]`. Slack signs the call; whoever pressed
/// Deny is told there what came of it. Nothing can be approved this way.
#[utoipa::path(post, path = "/notify/slack/{name}/actions", operation_id = "take_slack_action", tag = "approvals",
    security(("chatSignature" = [])), params(("name" = String, Path, description = "The channel's name")),
    request_body(content = SlackForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "Taken; whoever pressed the button is told what came of it"),
        (status = 400, description = "invalid-request"),
        (status = 401, description = "invalid-token"),
        (status = 404, description = "not-found"),
        (status = 413, description = "body-too-large"),
        (status = 429, description = "rate-limited"),
        (status = 503, description = "storage-unavailable, overloaded"),
    ))]
pub(super) async fn slack(
    State(state): State<Arc<HttpState>>,
    PathId(channel): PathId,
    request: Request,
) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let address = client_address(&parts, &state.trusted_proxies);
    let signature = one(&parts.headers, "x-slack-signature");
    let timestamp = one(&parts.headers, "x-slack-request-timestamp");
    let (Some(signature), Some(timestamp)) = (signature, timestamp) else {
        state.broker.admit_address(address)?;
        let known = state.broker.channels().iter().any(|name| name.as_str() == channel);
        return Err(if known { BrokerError::IdentityRefused } else { BrokerError::NotFound("channel") }.into());
    };
    let body = read(&parts.headers, body).await?.to_vec();
    let broker = state.broker.clone();
    let call = ChatCall { signature, timestamp, body };
    // Slack waits three seconds for an answer, and then shows that something went wrong: what came of it is told afterwards.
    let taking = Box::pin(async move { broker.take_chat_call(&channel, call).await });
    match detached(&state, taking).await {
        Ok(telling) => {
            state.work.spawn(telling);
            Ok(StatusCode::OK.into_response())
        }
        Err(refusal) => {
            if refusal.status().is_client_error() {
                state.broker.admit_address(address)?;
            }
            Err(refusal)
        }
    }
}
