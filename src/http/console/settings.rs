//! Settings: who the broker thinks you are, where you are signed in, what you sign with, and who decides in your place.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;

use super::super::HttpState;
use super::super::refusal::Refusal;
use super::page::{Page, Place, Reading as _, show};
use super::see_other;
use super::session::Posted;
use super::visit::Visit;
use crate::api::{DelegationAsk, DelegationView, PasskeyView, SessionView, Whoami};
use crate::broker::SessionsAsk;

/// Longest that somebody may stand in, in days.
const MAX_DAYS: i64 = 30;
const DAY_MILLIS: i64 = 86_400_000;

#[derive(Template)]
#[template(path = "console/settings.html")]
struct SettingsPage {
    page: Page,
    me: Whoami,
    sessions: Vec<SessionView>,
    passkeys: Vec<PasskeyView>,
    /// Whether the sign-in is recent enough to change what one signs with.
    is_fresh: bool,
    /// Who decides in whose place, as far as it concerns whoever looks.
    delegations: Vec<DelegationView>,
}

/// `GET /settings`
pub(super) async fn read(State(state): State<Arc<HttpState>>, visit: Visit) -> Result<Response, Refusal> {
    let me = state.broker.whoami(&visit.as_caller());
    let sessions = state.broker.list_sessions(&visit.caller, SessionsAsk::default()).await?.items;
    let all = state.broker.list_delegations(&visit.caller).await?.items;
    let mine = |one: &DelegationView| one.giver == me.name || one.receiver == me.name;
    let delegations =
        all.into_iter().filter(|one| mine(one) && matches!(one.state.as_str(), "given" | "held")).collect();
    let passkeys = state.broker.list_passkeys(&visit.caller).await?.items;
    let is_fresh = state.broker.proved_freshly(&visit.caller.sign_in);
    let page = visit.page(&state, Place::Settings, "Settings").await?;
    Ok(show(&SettingsPage { page, me, sessions, passkeys, is_fresh, delegations }))
}

/// Which session ends.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EndForm {
    id: String,
}

/// `POST /settings/sessions/end`
pub(super) async fn end_session(
    State(state): State<Arc<HttpState>>,
    visit: Visit,
    Posted(form): Posted<EndForm>,
) -> Result<Response, Refusal> {
    state.broker.end_session(&visit.caller, &form.id).await?;
    Ok(see_other("/settings"))
}

/// Nothing but the token of the form.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// `POST /settings/sessions/end-all`
pub(super) async fn end_all(
    State(state): State<Arc<HttpState>>,
    visit: Visit,
    Posted(Nothing {}): Posted<Nothing>,
) -> Result<Response, Refusal> {
    state.broker.end_sessions_of(&visit.caller, None).await?;
    Ok(see_other("/settings"))
}

/// Who decides in one's place, until when.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DelegateForm {
    to: String,
    days: String,
    reason: String,
}

/// `POST /settings/delegations`
pub(super) async fn delegate(
    State(state): State<Arc<HttpState>>,
    visit: Visit,
    Posted(form): Posted<DelegateForm>,
) -> Result<Response, Refusal> {
    let days: i64 = form.days.trim().parse().map_err(|_| Refusal::invalid("The number of days is a number."))?;
    if !(1..=MAX_DAYS).contains(&days) {
        return Err(Refusal::invalid(format!("Somebody may stand in for 1 to {MAX_DAYS} days.")));
    }
    let until = state.broker.now().plus_millis(days.saturating_mul(DAY_MILLIS));
    let ask = DelegationAsk { to: form.to, from: None, until, reason: form.reason };
    state.broker.give_delegation(&visit.caller, ask, None).await?;
    Ok(see_other("/settings"))
}

/// `POST /settings/delegations/end`
pub(super) async fn end_delegation(
    State(state): State<Arc<HttpState>>,
    visit: Visit,
    Posted(form): Posted<EndForm>,
) -> Result<Response, Refusal> {
    state.broker.end_delegation(&visit.caller, &form.id, None).await?;
    Ok(see_other("/settings"))
}
