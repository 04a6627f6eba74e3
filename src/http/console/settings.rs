//! Settings: who the broker thinks you are, and where you are signed in.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;

use super::super::HttpState;
use super::super::refusal::Refusal;
use super::page::{Page, Place, show};
use super::see_other;
use super::session::Posted;
use super::text::{Shown, exact, moment, reveal, until};
use super::visit::Visit;
use crate::api::{SessionView, Whoami};
use crate::broker::SessionsAsk;
use crate::domain::Timestamp;

#[derive(Template)]
#[template(path = "console/settings.html")]
struct SettingsPage {
    page: Page,
    me: Whoami,
    sessions: Vec<SessionView>,
}

impl SettingsPage {
    fn exact(&self, text: &str) -> Shown {
        let _ = self;
        exact(text)
    }

    fn said(&self, text: &str) -> Shown {
        let _ = self;
        reveal(text)
    }

    fn at(&self, at: &Timestamp) -> Shown {
        let _ = self;
        moment(*at)
    }

    fn until(&self, at: &Timestamp) -> Shown {
        let _ = self;
        until(*at)
    }
}

/// `GET /settings`
pub(super) async fn read(State(state): State<Arc<HttpState>>, visit: Visit) -> Result<Response, Refusal> {
    let me = state.broker.whoami(&visit.as_caller());
    let sessions = state.broker.list_sessions(&visit.caller, SessionsAsk::default()).await?.items;
    Ok(show(&SettingsPage { page: visit.page(&state, Place::Settings, "Settings").await?, me, sessions }))
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
