//! The approval queue: what approvers read and decide.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::api::{RequestView, RequestsPage, VerdictAnswer, VerdictAsk};
use crate::broker::RequestsAsk;

use super::body::{Json, Params};
use super::caller::{PathId, Person};
use super::idempotency::IdempotencyKey;
use super::leases::page;
use super::refusal::Refusal;
use super::{HttpState, answer, detached};

/// What may stand in the query of [`list`].
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListParams {
    /// `pending`, `granted`, `denied`, `withdrawn` or `lapsed`.
    state: Option<String>,
    /// Of this agent.
    agent: Option<String>,
    /// How many at most.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// List requests
///
/// The oldest first. Each carries what would be minted, and whether you may decide it.
#[utoipa::path(get, path = "/v1/requests", operation_id = "list_requests", tag = "approvals", security(("operatorToken" = [])), params(ListParams),
    responses((status = 200, description = "A page of requests", body = RequestsPage)))]
pub(super) async fn list(
    State(state): State<Arc<HttpState>>,
    Person(person): Person,
    Params(params): Params<ListParams>,
) -> Result<Response, Refusal> {
    let page = page(params.limit, params.cursor)?;
    let ask = RequestsAsk { state: params.state, agent: params.agent, page };
    Ok(answer(&state.broker.list_requests(&person, ask).await?))
}

/// Read a request
///
/// With the native effect of what would be minted, and the digest a verdict must carry.
#[utoipa::path(get, path = "/v1/requests/{id}", operation_id = "read_request", tag = "approvals", security(("operatorToken" = [])),
    params(("id" = String, Path, description = "The request's id")),
    responses((status = 200, description = "The request", body = RequestView)))]
pub(super) async fn read(
    State(state): State<Arc<HttpState>>,
    Person(person): Person,
    PathId(id): PathId,
) -> Result<Response, Refusal> {
    Ok(answer(&state.broker.read_request(&person, &id).await?))
}

/// Decide a request
///
/// An approval is evidence: policy is asked again, and only its answer grants anything.
#[utoipa::path(post, path = "/v1/requests/{id}/verdict", operation_id = "decide_request", tag = "approvals", request_body = VerdictAsk,
    security(("operatorToken" = [])), params(("id" = String, Path, description = "The request's id"),
        ("Idempotency-Key" = Option<String>, Header, description = "Names this request, so that it may be sent again safely")),
    responses(
        (status = 200, description = "What came of it", body = VerdictAnswer),
        (status = 401, description = "step-up-required"),
        (status = 403, description = "self-approval-forbidden, not-an-approver, forbidden"),
        (status = 409, description = "approval-stale, approval-mismatch, already-decided, policy-changed"),
        (status = 410, description = "approval-expired"),
        (status = 422, description = "idempotency-conflict"),
    ))]
pub(super) async fn decide(
    State(state): State<Arc<HttpState>>,
    Person(person): Person,
    PathId(id): PathId,
    IdempotencyKey(key): IdempotencyKey,
    Json(ask): Json<VerdictAsk>,
) -> Result<Response, Refusal> {
    let broker = state.broker.clone();
    let verdict = detached(&state, async move { broker.decide_request_once(&person, &id, ask, key).await }).await?;
    Ok(answer(&verdict))
}
