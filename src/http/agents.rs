//! The inventory of agents, and the audit events of everything.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::api::{AgentView, AgentsPage, EventsPage, SuspendAsk};
use crate::broker::EventsAsk;
use crate::domain::Timestamp;

use super::body::{Json, Params};
use super::caller::{PathId, Person};
use super::idempotency::IdempotencyKey;
use super::leases::page;
use super::refusal::Refusal;
use super::{HttpState, answer, detached};

/// List agents
#[utoipa::path(get, path = "/v1/agents", operation_id = "list_agents", tag = "agents", security(("operatorToken" = [])),
    responses((status = 200, description = "Every agent of the bundle in force", body = AgentsPage)))]
pub(super) async fn list(State(state): State<Arc<HttpState>>, Person(person): Person) -> Result<Response, Refusal> {
    Ok(answer(&state.broker.list_agents(&person)?))
}

/// Suspend an agent
///
/// Its tasks and everything it holds end, and it can open no more until it is resumed.
#[utoipa::path(post, path = "/v1/agents/{id}/suspend", operation_id = "suspend_agent", tag = "agents", request_body = SuspendAsk, security(("operatorToken" = [])),
    params(("id" = String, Path, description = "The agent's name"),
        ("Idempotency-Key" = Option<String>, Header, description = "Names this request, so that it may be sent again safely")),
    responses((status = 200, description = "The agent", body = AgentView), (status = 422, description = "idempotency-conflict")))]
pub(super) async fn suspend(
    State(state): State<Arc<HttpState>>,
    Person(person): Person,
    PathId(id): PathId,
    IdempotencyKey(key): IdempotencyKey,
    Json(ask): Json<SuspendAsk>,
) -> Result<Response, Refusal> {
    let broker = state.broker.clone();
    let agent =
        detached(&state, async move { broker.change_standing_once(&person, &id, ask, true, key).await }).await?;
    Ok(answer(&agent))
}

/// Resume an agent
///
/// It may open tasks again. What ended stays ended.
#[utoipa::path(post, path = "/v1/agents/{id}/resume", operation_id = "resume_agent", tag = "agents", request_body = SuspendAsk, security(("operatorToken" = [])),
    params(("id" = String, Path, description = "The agent's name"),
        ("Idempotency-Key" = Option<String>, Header, description = "Names this request, so that it may be sent again safely")),
    responses((status = 200, description = "The agent", body = AgentView), (status = 422, description = "idempotency-conflict")))]
pub(super) async fn resume(
    State(state): State<Arc<HttpState>>,
    Person(person): Person,
    PathId(id): PathId,
    IdempotencyKey(key): IdempotencyKey,
    Json(ask): Json<SuspendAsk>,
) -> Result<Response, Refusal> {
    let broker = state.broker.clone();
    let agent =
        detached(&state, async move { broker.change_standing_once(&person, &id, ask, false, key).await }).await?;
    Ok(answer(&agent))
}

/// What may stand in the query of [`events`].
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EventParams {
    /// About this agent.
    agent: Option<String>,
    /// About this task.
    task: Option<String>,
    /// About this request.
    request: Option<String>,
    /// About this lease.
    lease: Option<String>,
    /// Of this kind, or of every kind below a prefix that ends in `.`.
    kind: Option<String>,
    /// Not before.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// Before.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<Timestamp>,
    /// The newest first instead of the oldest.
    #[serde(default)]
    newest_first: bool,
    /// How many at most.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// List audit events
#[utoipa::path(get, path = "/v1/events", operation_id = "list_events", tag = "audit", security(("operatorToken" = [])), params(EventParams),
    responses((status = 200, description = "A page of audit events", body = EventsPage)))]
pub(super) async fn events(
    State(state): State<Arc<HttpState>>,
    Person(person): Person,
    Params(params): Params<EventParams>,
) -> Result<Response, Refusal> {
    let page = page(params.limit, params.cursor)?;
    let EventParams { agent, task, request, lease, kind, from, to, newest_first, .. } = params;
    let ask = EventsAsk { agent, task, request, lease, kind, from, to, newest_first, page };
    Ok(answer(&state.broker.list_events(&person, ask).await?))
}
