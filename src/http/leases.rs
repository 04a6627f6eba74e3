//! What is live, and how to end it.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::api::{Closure, LeasesPage, RevokeAsk};
use crate::broker::{LeasesAsk, PageAsk};

use super::body::{Json, Params};
use super::caller::Anyone;
use super::idempotency::IdempotencyKey;
use super::refusal::Refusal;
use super::{HttpState, answer, detached};

/// Most items of a page.
const MAX_PAGE: u32 = 200;

/// A page, if its limit is one.
pub(super) fn page(limit: Option<u32>, cursor: Option<String>) -> Result<PageAsk, Refusal> {
    if limit.is_some_and(|limit| !(1..=MAX_PAGE).contains(&limit)) {
        return Err(Refusal::invalid("The query string: `limit` is 1 to 200."));
    }
    Ok(PageAsk { limit, cursor })
}

/// What may stand in the query of [`list`].
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListParams {
    /// `true` for those that may still work, `false` for those that ended.
    live: Option<bool>,
    /// Of this agent.
    agent: Option<String>,
    /// Of this task.
    task: Option<String>,
    /// Of this backend.
    backend: Option<String>,
    /// `true` for those alone whose end failed so often that somebody must look.
    #[param(default = false)]
    irrevocable: Option<bool>,
    /// How many at most.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// List leases
///
/// An agent sees its own.
#[utoipa::path(get, path = "/v1/leases", operation_id = "list_leases", tag = "leases", security(("agentToken" = []), ("operatorToken" = [])), params(ListParams),
    responses((status = 200, description = "A page of leases", body = LeasesPage)))]
pub(super) async fn list(
    State(state): State<Arc<HttpState>>,
    Anyone(caller): Anyone,
    Params(params): Params<ListParams>,
) -> Result<Response, Refusal> {
    let page = page(params.limit, params.cursor)?;
    let ask = LeasesAsk {
        live: params.live,
        agent: params.agent,
        task: params.task,
        backend: params.backend,
        irrevocable: params.irrevocable.unwrap_or(false),
        page,
    };
    Ok(answer(&state.broker.list_leases(&caller, ask).await?))
}

/// End authority now
///
/// By agent, task, grant, lease or backend, or everything by the kill switch. An agent may give up its own. The answer says what
/// is known to be dead and what ends by when.
#[utoipa::path(post, path = "/v1/revocations", operation_id = "revoke", tag = "leases", request_body = RevokeAsk,
    security(("agentToken" = []), ("operatorToken" = [])),
    params(("Idempotency-Key" = Option<String>, Header, description = "Names this request, so that it may be sent again safely")),
    responses(
        (status = 200, description = "What is known of everything that ended", body = Closure),
        (status = 404, description = "not-found"),
        (status = 422, description = "idempotency-conflict"),
    ))]
pub(super) async fn revoke(
    State(state): State<Arc<HttpState>>,
    Anyone(caller): Anyone,
    IdempotencyKey(key): IdempotencyKey,
    Json(ask): Json<RevokeAsk>,
) -> Result<Response, Refusal> {
    let broker = state.broker.clone();
    let closure = detached(&state, async move { broker.revoke_once(&caller, ask, key).await }).await?;
    Ok(answer(&closure))
}
