//! The Access Request and Approval Profile of AuthZEN (Draft 1): file a denial, see how it stands, take it back. What the profile
//! calls a task is a filing here, because a task is the agent's work.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;

use crate::api::authzen::{CancelAnswer, CancelAsk, FilingAnswer, FilingAsk};
use crate::api::openapi::{ASK_422, ASK_503};

use super::body::{Json, JsonOrNone};
use super::caller::{Agent, PathId};
use super::idempotency::IdempotencyKey;
use super::refusal::Refusal;
use super::{HttpState, answer, detached};

type Shared = State<Arc<HttpState>>;

/// Seconds until it is worth asking again how a filing stands.
const POLL_SECS: u64 = 5;

/// An answer, and when to ask again while it waits.
fn stand(status: StatusCode, filing: &FilingAnswer) -> Response {
    let mut response = answer(filing);
    *response.status_mut() = status;
    if filing.task.status == "pending" {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(POLL_SECS));
    }
    response
}

/// File a denial
///
/// Opens a task, or joins the one that the context names, and asks people for what was denied. Nothing is minted: once it is approved,
/// evaluate again with the approval, then collect the credential where `links` says. Equal filings are one.
#[utoipa::path(post, path = "/access/v1/requests", operation_id = "file_access", tag = "authzen", request_body = FilingAsk,
    security(("agentToken" = [])),
    params(("Idempotency-Key" = Option<String>, Header, description = "Names this filing, so that it may be sent again safely")),
    responses(
        (status = 201, description = "It is settled already", body = FilingAnswer,
            headers(("Location" = String, description = "Where to read it"))),
        (status = 202, description = "It waits for people", body = FilingAnswer,
            headers(("Location" = String, description = "Where to read it"),
                ("Retry-After" = u64, description = "Seconds until it is worth asking"))),
        (status = 400, description = "invalid-request, invalid-denial-binding, not-requestable, purpose-invalid, purpose-forbidden-characters"),
        (status = 409, description = "duplicate-request, task-closed, policy-changed"),
        (status = 410, description = "expired-denial"),
        (status = 422, description = ASK_422),
        (status = 429, description = "rate-limited, too-many-pending"),
        (status = 503, description = ASK_503),
    ))]
pub(super) async fn file(
    State(state): Shared,
    Agent(agent): Agent,
    IdempotencyKey(key): IdempotencyKey,
    Json(ask): Json<FilingAsk>,
) -> Result<Response, Refusal> {
    let broker = state.broker.clone();
    let filing = detached(&state, async move { broker.file_access(&agent, ask, key).await }).await?;
    let status = if filing.task.status == "pending" { StatusCode::ACCEPTED } else { StatusCode::CREATED };
    let mut response = stand(status, &filing);
    if let Ok(place) = HeaderValue::try_from(&filing.task.status_endpoint) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    Ok(response)
}

/// Read how a filing stands
///
/// For whoever filed it; to everybody else there is none.
#[utoipa::path(get, path = "/access/v1/requests/{id}", operation_id = "read_filing", tag = "authzen", security(("agentToken" = [])),
    params(("id" = String, Path, description = "The filing's id")),
    responses(
        (status = 200, description = "How it stands", body = FilingAnswer),
        (status = 404, description = "unknown-task"),
        (status = 410, description = "task-expired"),
    ))]
pub(super) async fn read(State(state): Shared, Agent(agent): Agent, PathId(id): PathId) -> Result<Response, Refusal> {
    let broker = state.broker.clone();
    let filing = detached(&state, async move { broker.read_filing(&agent, &id).await }).await?;
    Ok(stand(StatusCode::OK, &filing))
}

/// Take a filing back
///
/// Whatever of it waits is withdrawn; what is settled stays as it is.
#[utoipa::path(post, path = "/access/v1/requests/{id}/cancel", operation_id = "cancel_filing", tag = "authzen",
    request_body = Option<CancelAsk>, security(("agentToken" = [])), params(("id" = String, Path, description = "The filing's id")),
    responses(
        (status = 200, description = "How it stands now", body = CancelAnswer),
        (status = 404, description = "unknown-task"),
        (status = 409, description = "invalid-task-state"),
        (status = 410, description = "task-expired"),
    ))]
pub(super) async fn cancel(
    State(state): Shared,
    Agent(agent): Agent,
    PathId(id): PathId,
    JsonOrNone(ask): JsonOrNone<CancelAsk>,
) -> Result<Response, Refusal> {
    let broker = state.broker.clone();
    let done = detached(&state, async move { broker.cancel_filing(&agent, &id, &ask).await }).await?;
    Ok(answer(&done))
}

/// Take a filing back, by the other method
///
/// The same as a POST.
#[utoipa::path(delete, path = "/access/v1/requests/{id}/cancel", operation_id = "delete_filing", tag = "authzen",
    request_body = Option<CancelAsk>, security(("agentToken" = [])), params(("id" = String, Path, description = "The filing's id")),
    responses(
        (status = 200, description = "How it stands now", body = CancelAnswer),
        (status = 404, description = "unknown-task"),
        (status = 409, description = "invalid-task-state"),
        (status = 410, description = "task-expired"),
    ))]
pub(super) async fn delete(
    state: Shared,
    agent: Agent,
    id: PathId,
    ask: JsonOrNone<CancelAsk>,
) -> Result<Response, Refusal> {
    cancel(state, agent, id, ask).await
}
