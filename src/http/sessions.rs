//! Who is signed in where, and how to end it.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::api::{EndSessionsAnswer, EndSessionsAsk, SessionView, SessionsPage};
use crate::broker::SessionsAsk;

use super::body::{JsonOrNone, NoBody, Params};
use super::caller::{PathId, Person};
use super::leases::page;
use super::refusal::Refusal;
use super::{HttpState, answer, detached};

/// What may stand in the query of [`list`].
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListParams {
    /// Of this person; your own when absent.
    person: Option<String>,
    /// Of everybody.
    #[serde(default)]
    all: bool,
    /// How many at most.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// List sessions
///
/// Your own; somebody else's, or everybody's, if you may revoke.
#[utoipa::path(get, path = "/v1/sessions", operation_id = "list_sessions", tag = "sessions", security(("operatorToken" = [])), params(ListParams),
    responses((status = 200, description = "A page of sessions", body = SessionsPage)))]
pub(super) async fn list(
    State(state): State<Arc<HttpState>>,
    Person(person): Person,
    Params(params): Params<ListParams>,
) -> Result<Response, Refusal> {
    let page = page(params.limit, params.cursor)?;
    let ask = SessionsAsk { person: params.person, all: params.all, page };
    Ok(answer(&state.broker.list_sessions(&person, ask).await?))
}

/// End a session
///
/// Your own; anybody's, if you may revoke. It is refused from the next request on.
#[utoipa::path(post, path = "/v1/sessions/{id}/end", operation_id = "end_session", tag = "sessions", security(("operatorToken" = [])),
    params(("id" = String, Path, description = "The session's id")),
    responses((status = 200, description = "The session that is over", body = SessionView)))]
pub(super) async fn end(
    State(state): State<Arc<HttpState>>,
    Person(person): Person,
    PathId(id): PathId,
    NoBody: NoBody,
) -> Result<Response, Refusal> {
    let broker = state.broker.clone();
    Ok(answer(&detached(&state, async move { broker.end_session(&person, &id).await }).await?))
}

/// End every session of a person
///
/// Your own; anybody's, if you may revoke. Of what an agent holds nothing ends.
#[utoipa::path(post, path = "/v1/sessions/end-all", operation_id = "end_sessions", tag = "sessions", request_body = Option<EndSessionsAsk>,
    security(("operatorToken" = [])),
    responses((status = 200, description = "How many there were", body = EndSessionsAnswer)))]
pub(super) async fn end_all(
    State(state): State<Arc<HttpState>>,
    Person(person): Person,
    JsonOrNone(ask): JsonOrNone<EndSessionsAsk>,
) -> Result<Response, Refusal> {
    let broker = state.broker.clone();
    let ended = async move { broker.end_sessions_of(&person, ask.person.as_deref()).await };
    Ok(answer(&EndSessionsAnswer { ended: detached(&state, ended).await? }))
}
