//! Tasks: the agent's side of the API. What mints or ends runs detached, so that a caller who hangs up leaves nothing half
//! done, and answers that carry secrets go out as a `Delivery`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::api::openapi::{ASK_400, ASK_403, ASK_422, ASK_429, ASK_503};
use crate::api::{Closure, CollectAsk, MoreAccessAsk, TaskAnswer, TaskAsk};
use crate::broker::{AgentCaller, MAX_WAIT};
use crate::domain::EndCause;

use super::body::{Json, JsonOrNone, NoBody, Params};
use super::caller::{Agent, Anyone, PathId, PathIds};
use super::delivery::Delivery;
use super::idempotency::IdempotencyKey;
use super::refusal::Refusal;
use super::{HttpState, answer, detached};

type Shared = State<Arc<HttpState>>;

/// Open a task and ask for scopes
///
/// What is permitted is minted and delivered in this answer, and only in this answer. What needs a person waits: read the task
/// with `?wait=25`, then collect. When nothing is permitted, the task is closed and the answer is a problem.
#[utoipa::path(post, path = "/v1/tasks", operation_id = "open_task", tag = "tasks", request_body = TaskAsk, security(("agentToken" = [])),
    params(("Idempotency-Key" = Option<String>, Header, description = "Names this request, so that it may be sent again safely")),
    responses(
        (status = 201, description = "All was granted", body = TaskAnswer, headers(("Location" = String, description = "The task"))),
        (status = 202, description = "Something waits for a person", body = TaskAnswer,
            headers(("Location" = String, description = "The task"), ("Retry-After" = u64, description = "Seconds until it is worth asking"))),
        (status = 400, description = ASK_400),
        (status = 403, description = ASK_403),
        (status = 409, description = "in-progress, policy-changed, target-changed"),
        (status = 422, description = ASK_422),
        (status = 429, description = ASK_429),
        (status = 502, description = "backend-rejected"),
        (status = 503, description = ASK_503),
    ))]
pub(super) async fn open(
    State(state): Shared,
    Agent(agent): Agent,
    IdempotencyKey(key): IdempotencyKey,
    Json(ask): Json<TaskAsk>,
) -> Result<Response, Refusal> {
    let broker = state.broker.clone();
    let work = async move { Ok(Delivery::new(broker.clone(), broker.open_task(&agent, ask, key).await?)) };
    let delivery = detached(&state, work).await?;
    let status = if delivery.waits() { StatusCode::ACCEPTED } else { StatusCode::CREATED };
    Ok(delivery.respond(status))
}

/// What may stand in the query of [`read`].
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ReadParams {
    /// Hold the answer for at most so many seconds, until something about the task changes.
    #[param(maximum = 25)]
    #[serde(default)]
    wait: u64,
}

/// Read a task
///
/// An agent sees its own tasks. No answer of this route carries a credential.
#[utoipa::path(get, path = "/v1/tasks/{id}", operation_id = "read_task", tag = "tasks", security(("agentToken" = []), ("operatorToken" = [])),
    params(("id" = String, Path, description = "The task's id"), ReadParams),
    responses((status = 200, description = "The task", body = TaskAnswer)))]
pub(super) async fn read(
    State(state): Shared,
    Anyone(caller): Anyone,
    PathId(id): PathId,
    Params(params): Params<ReadParams>,
) -> Result<Response, Refusal> {
    let wait = Duration::from_secs(params.wait);
    if wait > MAX_WAIT {
        return Err(Refusal::invalid("The query string: `wait` is at most 25 seconds."));
    }
    let held = async {
        let wait = (!wait.is_zero()).then_some(wait);
        state.broker.read_task(&caller, &id, wait).await
    };
    let task = tokio::select! {
        task = held => task?,
        () = state.draining.cancelled() => state.broker.read_task(&caller, &id, None).await?,
    };
    Ok(answer(&task))
}

/// Ask for more within a task
///
/// The task keeps its purpose, its ceiling and its end.
#[utoipa::path(post, path = "/v1/tasks/{id}/requests", operation_id = "request_access", tag = "tasks", request_body = MoreAccessAsk, security(("agentToken" = [])),
    params(("id" = String, Path, description = "The task's id"),
        ("Idempotency-Key" = Option<String>, Header, description = "Names this request, so that it may be sent again safely")),
    responses(
        (status = 201, description = "All was granted", body = TaskAnswer),
        (status = 202, description = "Something waits for a person", body = TaskAnswer),
        (status = 400, description = ASK_400),
        (status = 403, description = ASK_403),
        (status = 409, description = "task-closed, in-progress, policy-changed, target-changed"),
        (status = 422, description = ASK_422),
        (status = 429, description = ASK_429),
        (status = 502, description = "backend-rejected"),
        (status = 503, description = ASK_503),
    ))]
pub(super) async fn ask_for_more(
    State(state): Shared,
    Agent(agent): Agent,
    PathId(id): PathId,
    IdempotencyKey(key): IdempotencyKey,
    Json(ask): Json<MoreAccessAsk>,
) -> Result<Response, Refusal> {
    let broker = state.broker.clone();
    let work = async move { Ok(Delivery::new(broker.clone(), broker.request_access(&agent, &id, ask, key).await?)) };
    let delivery = detached(&state, work).await?;
    let status = if delivery.waits() { StatusCode::ACCEPTED } else { StatusCode::CREATED };
    Ok(delivery.respond(status))
}

/// Take a request back
///
/// Nobody is asked about it any more. The task goes on without it; what is decided already stays as it was decided.
#[utoipa::path(post, path = "/v1/tasks/{id}/requests/{request}/withdraw", operation_id = "withdraw_request", tag = "tasks", security(("agentToken" = [])),
    params(("id" = String, Path, description = "The task's id"), ("request" = String, Path, description = "The request's id"),
        ("Idempotency-Key" = Option<String>, Header, description = "Names this request, so that it may be sent again safely")),
    responses(
        (status = 200, description = "The task", body = TaskAnswer),
        (status = 409, description = "already-decided"),
        (status = 422, description = "idempotency-conflict"),
    ))]
pub(super) async fn withdraw(
    State(state): Shared,
    Agent(agent): Agent,
    PathIds(id, request): PathIds,
    IdempotencyKey(key): IdempotencyKey,
    _: NoBody,
) -> Result<Response, Refusal> {
    let broker = state.broker.clone();
    let work = async move { broker.withdraw_request(&agent, &id, &request, key).await };
    Ok(answer(&detached(&state, work).await?))
}

/// Collect what has been granted since
///
/// Mints and delivers after an approval, or afresh after a credential expired, while the grant lives.
#[utoipa::path(post, path = "/v1/tasks/{id}/credentials", operation_id = "collect_credentials", tag = "tasks",
    request_body = Option<CollectAsk>, security(("agentToken" = [])),
    params(("id" = String, Path, description = "The task's id"),
        ("Idempotency-Key" = Option<String>, Header, description = "Names this request, so that it may be sent again safely")),
    responses(
        (status = 200, description = "The task, with what could be delivered", body = TaskAnswer),
        (status = 202, description = "Nothing to deliver yet: something waits for a person", body = TaskAnswer),
        (status = 403, description = "policy-denied, policy-error, agent-suspended, forbidden"),
        (status = 409, description = "task-closed, in-progress, policy-changed, target-changed"),
        (status = 422, description = "idempotency-conflict"),
        (status = 429, description = ASK_429),
        (status = 502, description = "backend-rejected"),
        (status = 503, description = ASK_503),
    ))]
pub(super) async fn collect(
    State(state): Shared,
    Agent(agent): Agent,
    PathId(id): PathId,
    IdempotencyKey(key): IdempotencyKey,
    JsonOrNone(ask): JsonOrNone<CollectAsk>,
) -> Result<Response, Refusal> {
    let broker = state.broker.clone();
    let work = async move { Ok(Delivery::new(broker.clone(), broker.collect(&agent, &id, ask, key).await?)) };
    let delivery = detached(&state, work).await?;
    let nothing_yet = delivery.waits() && !delivery.has_credentials();
    let status = if nothing_yet { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok(delivery.respond(status))
}

/// Say that a task is still worked on
///
/// A task opened with `heartbeat_seconds` ends when this stops coming.
#[utoipa::path(post, path = "/v1/tasks/{id}/heartbeat", operation_id = "heartbeat_task", tag = "tasks", security(("agentToken" = [])),
    params(("id" = String, Path, description = "The task's id"),
        ("Idempotency-Key" = Option<String>, Header, description = "Names this request, so that it may be sent again safely")),
    responses(
        (status = 200, description = "The task", body = TaskAnswer),
        (status = 409, description = "task-closed"),
        (status = 422, description = "idempotency-conflict"),
    ))]
pub(super) async fn heartbeat(
    State(state): Shared,
    Agent(agent): Agent,
    PathId(id): PathId,
    IdempotencyKey(key): IdempotencyKey,
    _: NoBody,
) -> Result<Response, Refusal> {
    let broker = state.broker.clone();
    let task = detached(&state, async move { broker.heartbeat(&agent, &id, key).await }).await?;
    Ok(answer(&task))
}

/// End a task that is done
///
/// Everything it holds ends. The answer says, credential by credential, what is known to be dead. Safe to repeat.
#[utoipa::path(post, path = "/v1/tasks/{id}/complete", operation_id = "complete_task", tag = "tasks", security(("agentToken" = [])),
    params(("id" = String, Path, description = "The task's id"),
        ("Idempotency-Key" = Option<String>, Header, description = "Names this request, so that it may be sent again safely")),
    responses(
        (status = 200, description = "What is known of everything that ended", body = Closure),
        (status = 422, description = "idempotency-conflict"),
    ))]
pub(super) async fn complete(
    State(state): Shared,
    Agent(agent): Agent,
    PathId(id): PathId,
    IdempotencyKey(key): IdempotencyKey,
    _: NoBody,
) -> Result<Response, Refusal> {
    end(&state, agent, id, EndCause::Completed, key).await
}

/// Give a task up
///
/// The same as completing it, but the record says that it was not done. Safe to repeat.
#[utoipa::path(post, path = "/v1/tasks/{id}/cancel", operation_id = "cancel_task", tag = "tasks", security(("agentToken" = [])),
    params(("id" = String, Path, description = "The task's id"),
        ("Idempotency-Key" = Option<String>, Header, description = "Names this request, so that it may be sent again safely")),
    responses(
        (status = 200, description = "What is known of everything that ended", body = Closure),
        (status = 422, description = "idempotency-conflict"),
    ))]
pub(super) async fn cancel(
    State(state): Shared,
    Agent(agent): Agent,
    PathId(id): PathId,
    IdempotencyKey(key): IdempotencyKey,
    _: NoBody,
) -> Result<Response, Refusal> {
    end(&state, agent, id, EndCause::Cancelled, key).await
}

/// Read what is known of a task's end
///
/// The closure as it is now, which may be better than the one that ending the task was answered with: `unknown` becomes `closed`
/// when the backend obeys. Signed, for whoever keeps it. For the agent whose task it is and for people who may read it. An open task has none.
#[utoipa::path(get, path = "/v1/tasks/{id}/closure", operation_id = "read_closure", tag = "tasks",
    security(("agentToken" = []), ("operatorToken" = [])),
    params(("id" = String, Path, description = "The task's id")),
    responses(
        (status = 200, description = "What is known of everything that ended", body = Closure),
        (status = 404, description = "not-found"),
    ))]
pub(super) async fn closure(
    State(state): Shared,
    Anyone(caller): Anyone,
    PathId(id): PathId,
) -> Result<Response, Refusal> {
    Ok(answer(&state.broker.closure_of_task(&caller, &id).await?))
}

async fn end(
    state: &HttpState,
    agent: AgentCaller,
    id: String,
    cause: EndCause,
    key: Option<String>,
) -> Result<Response, Refusal> {
    let broker = state.broker.clone();
    let closure = detached(state, async move { broker.end_task_once(&agent, &id, cause, key).await }).await?;
    Ok(answer(&closure))
}
