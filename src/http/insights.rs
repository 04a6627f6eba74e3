//! What operators and auditors read about approvals: how much is asked, how long people think, and what should be policy.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::api::{ApprovalInsights, Suggestions};

use super::body::Params;
use super::caller::Person;
use super::refusal::Refusal;
use super::{HttpState, answer};

/// What may stand in the query of [`approvals`].
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct InsightParams {
    /// So many days back.
    #[param(minimum = 1, maximum = 90, default = 30)]
    days: Option<u32>,
}

/// See how much approvers are asked
///
/// Person by person and day by day: requests they were shown, verdicts, how long they thought, and verdicts within three seconds.
#[utoipa::path(get, path = "/v1/insights/approvals", operation_id = "approval_insights", tag = "audit",
    security(("operatorToken" = [])), params(InsightParams),
    responses((status = 200, description = "Each person's days", body = ApprovalInsights)))]
pub(super) async fn approvals(
    State(state): State<Arc<HttpState>>,
    Person(person): Person,
    Params(params): Params<InsightParams>,
) -> Result<Response, Refusal> {
    Ok(answer(&state.broker.approval_insights(&person, params.days).await?))
}

/// See what could be turned into policy
///
/// After five like requests were granted within 30 days and none denied in between: the change of the policies that waited for
/// people, as a diff. Nothing is changed by asking.
#[utoipa::path(get, path = "/v1/insights/suggestions", operation_id = "policy_suggestions", tag = "audit",
    security(("operatorToken" = [])),
    responses((status = 200, description = "What could be turned into policy", body = Suggestions)))]
pub(super) async fn suggestions(
    State(state): State<Arc<HttpState>>,
    Person(person): Person,
) -> Result<Response, Refusal> {
    Ok(answer(&state.broker.suggestions(&person).await?))
}
