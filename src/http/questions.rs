//! Questions of approvers to agents, and what agents answer.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};

use crate::api::{AnswerAsk, QuestionAsk, QuestionView};

use super::body::Json;
use super::caller::{Agent, PathId, PathIds, Person};
use super::idempotency::IdempotencyKey;
use super::refusal::Refusal;
use super::{HttpState, answer, detached};

/// Ask the agent
///
/// For whoever may decide the request. The agent's long poll wakes, and its answer is part of what a verdict is about.
#[utoipa::path(post, path = "/v1/requests/{id}/questions", operation_id = "ask_question", tag = "approvals", request_body = QuestionAsk,
    security(("operatorToken" = [])), params(("id" = String, Path, description = "The request's id"),
        ("Idempotency-Key" = Option<String>, Header, description = "Names this request, so that it may be sent again safely")),
    responses(
        (status = 201, description = "The question", body = QuestionView),
        (status = 400, description = "invalid-request, purpose-forbidden-characters"),
        (status = 403, description = "self-approval-forbidden, not-an-approver, forbidden"),
        (status = 409, description = "already-decided, policy-changed"),
        (status = 422, description = "idempotency-conflict"),
        (status = 429, description = "too-many-questions, rate-limited"),
    ))]
pub(super) async fn ask(
    State(state): State<Arc<HttpState>>,
    Person(person): Person,
    PathId(id): PathId,
    IdempotencyKey(key): IdempotencyKey,
    Json(ask): Json<QuestionAsk>,
) -> Result<Response, Refusal> {
    let broker = state.broker.clone();
    let question = detached(&state, async move { broker.ask_question(&person, &id, ask, key).await }).await?;
    Ok((StatusCode::CREATED, answer(&question)).into_response())
}

/// Answer a question
///
/// Once, while the request waits. Whoever had said yes before must look again: it was about less than is known now.
#[utoipa::path(post, path = "/v1/tasks/{id}/requests/{request}/answers", operation_id = "answer_question", tag = "tasks",
    request_body = AnswerAsk, security(("agentToken" = [])),
    params(("id" = String, Path, description = "The task's id"), ("request" = String, Path, description = "The request's id"),
        ("Idempotency-Key" = Option<String>, Header, description = "Names this request, so that it may be sent again safely")),
    responses(
        (status = 200, description = "The question with its answer", body = QuestionView),
        (status = 400, description = "invalid-request, purpose-forbidden-characters"),
        (status = 409, description = "already-decided, already-done, task-closed"),
        (status = 422, description = "idempotency-conflict"),
    ))]
pub(super) async fn answer_one(
    State(state): State<Arc<HttpState>>,
    Agent(agent): Agent,
    PathIds(task, request): PathIds,
    IdempotencyKey(key): IdempotencyKey,
    Json(ask): Json<AnswerAsk>,
) -> Result<Response, Refusal> {
    let broker = state.broker.clone();
    let work = async move { broker.answer_question(&agent, (&task, &request), ask, key).await };
    Ok(answer(&detached(&state, work).await?))
}
