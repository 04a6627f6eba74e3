//! The AuthZEN Authorization API 1.0: the same question policy is asked anyway, for clients that know no more of us than the
//! standard. A denial is an answer; errors are a line of text, as its §10.1 has it.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};

use crate::api::authzen::{AuthzenConfiguration, EvaluationAnswer, EvaluationAsk, EvaluationsAnswer, EvaluationsAsk};

use super::body::Json;
use super::caller::Agent;
use super::refusal::Refusal;
use super::{HttpState, answer};

/// For how many seconds the metadata may be kept.
const METADATA_SECONDS: u32 = 300;
/// What the paths begin with whose errors are text.
const EVALUATION: &str = "/access/v1/evaluation";

/// Whether errors of this path are text.
pub(super) fn answers_in_text(path: &str) -> bool {
    path.starts_with(EVALUATION)
}

/// Find out where AuthZEN is spoken
///
/// The metadata of AuthZEN §9 and of its access request profile §6.
#[utoipa::path(get, path = "/.well-known/authzen-configuration", operation_id = "authzen_configuration", tag = "authzen",
    responses((status = 200, description = "The metadata", body = AuthzenConfiguration)))]
pub(super) async fn configuration(State(state): State<Arc<HttpState>>) -> Response {
    let caching = format!("public, max-age={METADATA_SECONDS}");
    ([(axum::http::header::CACHE_CONTROL, caching)], answer(&state.broker.authzen_configuration())).into_response()
}

/// Ask whether something may be done now
///
/// For the caller itself. Nothing is recorded or minted. A denial that people could lift carries `context.access_request`; after they
/// did, the same question with `context.approval` is answered anew.
#[utoipa::path(post, path = "/access/v1/evaluation", operation_id = "evaluate_access", tag = "authzen", request_body = EvaluationAsk,
    security(("agentToken" = [])), responses((status = 200, description = "The decision", body = EvaluationAnswer)))]
pub(super) async fn evaluation(
    State(state): State<Arc<HttpState>>,
    Agent(agent): Agent,
    Json(ask): Json<EvaluationAsk>,
) -> Result<Response, Refusal> {
    Ok(answer(&state.broker.evaluate_access(&agent, ask).await?))
}

/// Ask several such questions at once
///
/// At most 50. Where there are no `evaluations`, the answer is that of a single question.
#[utoipa::path(post, path = "/access/v1/evaluations", operation_id = "evaluate_accesses", tag = "authzen",
    request_body = EvaluationsAsk, security(("agentToken" = [])),
    responses((status = 200, description = "The decisions, in the order of the questions", body = EvaluationsAnswer)))]
pub(super) async fn evaluations(
    State(state): State<Arc<HttpState>>,
    Agent(agent): Agent,
    Json(ask): Json<EvaluationsAsk>,
) -> Result<Response, Refusal> {
    Ok(match state.broker.evaluate_batch(&agent, ask).await? {
        Ok(several) => answer(&several),
        Err(one) => answer(&one),
    })
}
