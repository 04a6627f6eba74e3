//! What a caller may ask for, who the broker thinks it is, why something was decided, and what would be.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;

use crate::api::{DecisionView, ScopesAnswer, SimulateAnswer, SimulateAsk, Whoami};

use super::body::Json;
use super::caller::{Anyone, PathId};
use super::refusal::Refusal;
use super::{HttpState, answer};

/// List the scopes you may ask for
///
/// With their risk, their parameters, and what policy would say now.
#[utoipa::path(get, path = "/v1/scopes", operation_id = "list_scopes", tag = "policy", security(("agentToken" = []), ("operatorToken" = [])),
    responses((status = 200, description = "What this caller may ask for", body = ScopesAnswer)))]
pub(super) async fn scopes(State(state): State<Arc<HttpState>>, Anyone(caller): Anyone) -> Result<Response, Refusal> {
    Ok(answer(&state.broker.scopes(&caller)?))
}

/// Ask who the broker thinks you are
#[utoipa::path(get, path = "/v1/whoami", operation_id = "whoami", tag = "policy", security(("agentToken" = []), ("operatorToken" = [])),
    responses((status = 200, description = "The caller", body = Whoami)))]
pub(super) async fn whoami(State(state): State<Arc<HttpState>>, Anyone(caller): Anyone) -> Response {
    answer(&state.broker.whoami(&caller))
}

/// Read a decision
///
/// The policies that determined it, the bundle, and the complete input.
#[utoipa::path(get, path = "/v1/decisions/{id}", operation_id = "read_decision", tag = "policy", security(("agentToken" = []), ("operatorToken" = [])),
    params(("id" = String, Path, description = "The decision's id")),
    responses((status = 200, description = "The decision", body = DecisionView)))]
pub(super) async fn decision(
    State(state): State<Arc<HttpState>>,
    Anyone(caller): Anyone,
    PathId(id): PathId,
) -> Result<Response, Refusal> {
    Ok(answer(&state.broker.read_decision(&caller, &id).await?))
}

/// Ask what policy would say
///
/// Nothing is recorded and nothing is granted. An agent asks for itself; a person may name an agent.
#[utoipa::path(post, path = "/v1/decisions/simulate", operation_id = "simulate_decision", tag = "policy", request_body = SimulateAsk,
    security(("agentToken" = []), ("operatorToken" = [])),
    responses(
        (status = 200, description = "What policy would say", body = SimulateAnswer),
        (status = 422, description = "ttl-too-long"),
    ))]
pub(super) async fn simulate(
    State(state): State<Arc<HttpState>>,
    Anyone(caller): Anyone,
    Json(ask): Json<SimulateAsk>,
) -> Result<Response, Refusal> {
    Ok(answer(&state.broker.simulate(&caller, &ask)?))
}
