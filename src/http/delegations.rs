//! Deciding in somebody's place, and looking back at what was let pass in an emergency.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::api::{DelegationAsk, DelegationView, Delegations, ReviewAsk, ReviewView, Reviews};

use super::body::{Json, NoBody, Params};
use super::caller::{PathId, Person};
use super::idempotency::IdempotencyKey;
use super::refusal::Refusal;
use super::{HttpState, answer, detached};

/// Let somebody decide in your place
///
/// While you are away, at most 30 days. What is passed on is your own say, for requests that you might decide; nobody can pass it on.
#[utoipa::path(post, path = "/v1/delegations", operation_id = "give_delegation", tag = "approvals", request_body = DelegationAsk,
    security(("operatorToken" = [])), params(
        ("Idempotency-Key" = Option<String>, Header, description = "Names this request, so that it may be sent again safely")),
    responses(
        (status = 201, description = "The delegation", body = DelegationView),
        (status = 400, description = "invalid-request, purpose-forbidden-characters"),
        (status = 403, description = "forbidden"),
        (status = 422, description = "idempotency-conflict"),
    ))]
pub(super) async fn give(
    State(state): State<Arc<HttpState>>,
    Person(person): Person,
    IdempotencyKey(key): IdempotencyKey,
    Json(ask): Json<DelegationAsk>,
) -> Result<Response, Refusal> {
    let broker = state.broker.clone();
    let given = detached(&state, async move { broker.give_delegation(&person, ask, key).await }).await?;
    Ok((StatusCode::CREATED, answer(&given)).into_response())
}

/// List delegations
///
/// Yours, on either side; for those who may read the audit, everybody's.
#[utoipa::path(get, path = "/v1/delegations", operation_id = "list_delegations", tag = "approvals", security(("operatorToken" = [])),
    responses((status = 200, description = "Delegations", body = Delegations)))]
pub(super) async fn list(State(state): State<Arc<HttpState>>, Person(person): Person) -> Result<Response, Refusal> {
    Ok(answer(&state.broker.list_delegations(&person).await?))
}

/// End a delegation
///
/// Before its time. What was decided by it and is not minted yet counts no more.
#[utoipa::path(post, path = "/v1/delegations/{id}/end", operation_id = "end_delegation", tag = "approvals",
    security(("operatorToken" = [])), params(("id" = String, Path, description = "The delegation's id"),
        ("Idempotency-Key" = Option<String>, Header, description = "Names this request, so that it may be sent again safely")),
    responses(
        (status = 200, description = "The delegation", body = DelegationView),
        (status = 409, description = "already-done"),
        (status = 422, description = "idempotency-conflict"),
    ))]
pub(super) async fn end(
    State(state): State<Arc<HttpState>>,
    Person(person): Person,
    PathId(id): PathId,
    IdempotencyKey(key): IdempotencyKey,
    _: NoBody,
) -> Result<Response, Refusal> {
    let broker = state.broker.clone();
    let ended = detached(&state, async move { broker.end_delegation(&person, &id, key).await }).await?;
    Ok(answer(&ended))
}

/// Review what was let pass
///
/// After one person let a request pass alone: by somebody else who might have decided it. An objection ends what lives of the grant.
#[utoipa::path(post, path = "/v1/requests/{id}/review", operation_id = "review_request", tag = "approvals", request_body = ReviewAsk,
    security(("operatorToken" = [])), params(("id" = String, Path, description = "The request's id"),
        ("Idempotency-Key" = Option<String>, Header, description = "Names this request, so that it may be sent again safely")),
    responses(
        (status = 200, description = "The review", body = ReviewView),
        (status = 400, description = "invalid-request, purpose-forbidden-characters"),
        (status = 403, description = "self-approval-forbidden, not-an-approver, forbidden"),
        (status = 409, description = "already-done"),
        (status = 422, description = "idempotency-conflict"),
    ))]
pub(super) async fn review(
    State(state): State<Arc<HttpState>>,
    Person(person): Person,
    PathId(id): PathId,
    IdempotencyKey(key): IdempotencyKey,
    Json(ask): Json<ReviewAsk>,
) -> Result<Response, Refusal> {
    let broker = state.broker.clone();
    let done = detached(&state, async move { broker.review_request(&person, &id, ask, key).await }).await?;
    Ok(answer(&done))
}

/// What may stand in the query of [`reviews`].
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ReviewParams {
    /// `due`; all when left out.
    state: Option<String>,
}

/// List reviews
///
/// Of what one person let pass alone. With `state=due` those that nobody has made yet.
#[utoipa::path(get, path = "/v1/reviews", operation_id = "list_reviews", tag = "approvals", security(("operatorToken" = [])),
    params(ReviewParams), responses((status = 200, description = "Reviews", body = Reviews)))]
pub(super) async fn reviews(
    State(state): State<Arc<HttpState>>,
    Person(person): Person,
    Params(params): Params<ReviewParams>,
) -> Result<Response, Refusal> {
    Ok(answer(&state.broker.list_reviews(&person, params.state.as_deref()).await?))
}
