//! What is live: every credential that may still work, how surely each can be ended, and the switch that ends them all. Ending asks
//! for a reason, and the switch for more than a slip of the finger.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;

use super::super::body::Params;
use super::super::refusal::Refusal;
use super::super::{HttpState, detached};
use super::page::{Note, Page, Place, Reading as _, show};
use super::session::Posted;
use super::text::{Shown, exact};
use super::visit::Visit;
use super::{see_other, text};
use crate::api::{RevocationTarget, RevokeAsk};
use crate::broker::PageAsk;
use crate::domain::{Lease, LeaseState, Scope};

/// What must be typed before everything ends.
const TYPED: &str = "end everything";

/// Which leases to show.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LiveParams {
    agent: Option<String>,
    backend: Option<String>,
    cursor: Option<String>,
    /// The lease that was just told to end.
    ended: Option<String>,
}

/// A lease as a row.
struct Row {
    lease: Lease,
    /// How it can be ended, and how surely.
    ending: String,
}

#[derive(Template)]
#[template(path = "console/live.html")]
struct LivePage {
    page: Page,
    note: Option<Note>,
    rows: Vec<Row>,
    next: Option<String>,
    agents: Vec<String>,
    backends: Vec<String>,
    agent: String,
    backend: String,
}

impl LivePage {
    fn scope(&self, scope: &Scope) -> Shown {
        let _ = self;
        exact(&scope.to_string())
    }

    fn chip(&self, lease: &Lease) -> (&'static str, &'static str) {
        let _ = self;
        chip(lease)
    }

    fn more(&self) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        for (name, value) in [("agent", &self.agent), ("backend", &self.backend)] {
            if !value.is_empty() {
                query.append_pair(name, value);
            }
        }
        query.append_pair("cursor", self.next.as_deref().unwrap_or_default());
        format!("/live?{}", query.finish())
    }

    fn typed(&self) -> &'static str {
        let _ = self;
        TYPED
    }
}

/// How a lease stands, as a kind of chip and a word.
pub(super) fn chip(lease: &Lease) -> (&'static str, &'static str) {
    match &lease.state {
        _ if lease.is_irrevocable() => ("bad", "cannot be ended: look at it"),
        LeaseState::Minting => ("", "being minted"),
        LeaseState::Live { .. } => ("good", "live"),
        LeaseState::Ending { disabled_at: Some(_), .. } => ("", "dead, being tidied up"),
        LeaseState::Ending { .. } => ("wary", "ending"),
        LeaseState::Ended { .. } => ("", "ended"),
    }
}

/// `GET /live`
pub(super) async fn read(
    State(state): State<Arc<HttpState>>,
    visit: Visit,
    Params(params): Params<LiveParams>,
) -> Result<Response, Refusal> {
    // A form that was left empty names nothing.
    let named = |value: &Option<String>| value.clone().filter(|text| !text.is_empty());
    let (agent, backend) = (named(&params.agent), named(&params.backend));
    let ask = PageAsk { limit: None, cursor: named(&params.cursor) };
    let (leases, next) = state.broker.unended_leases(&visit.caller, agent.as_deref(), backend.as_deref(), &ask).await?;
    let note = match named(&params.ended) {
        Some(id) => Some(told(&state.broker.find_lease(&visit.caller, &id).await?)),
        None => None,
    };
    let row = |lease: Lease| Row { ending: ending(&state, &lease), lease };
    let page = visit.page(&state, Place::Live, "Live").await?;
    Ok(show(&LivePage {
        page,
        note,
        rows: leases.into_iter().map(row).collect(),
        next,
        agents: state.broker.bundle().agents().map(|agent| agent.id.to_string()).collect(),
        backends: state.broker.minters().iter().map(|(name, _)| name.to_string()).collect(),
        agent: agent.unwrap_or_default(),
        backend: backend.unwrap_or_default(),
    }))
}

/// How a lease can be ended early.
fn ending(state: &HttpState, lease: &Lease) -> String {
    match state.broker.minters().find(&lease.backend) {
        Some(minter) => {
            let how = minter.revocability();
            let soon = match how.strength {
                "immediate" => "can be ended at once",
                "within_seconds" => "can be ended within seconds",
                "within_minutes" => "can be ended within minutes",
                _ => "cannot be ended early",
            };
            format!("{soon}: {}", how.how)
        }
        None => "its backend is not set up here".to_owned(),
    }
}

/// What became of a lease that somebody told to end: never more than is known.
fn told(lease: &Lease) -> Note {
    match &lease.state {
        LeaseState::Ended { proof, .. } => Note::plain("It has ended").line(format!("How we know: {proof}.")),
        LeaseState::Ending { ends_by: Some(at), .. } => {
            Note { kind: "warn", ..Note::plain("It is ending, and may work until then") }
                .line(format!("Its backend ends it by {}.", text::when(*at)))
        }
        LeaseState::Ending { .. } | LeaseState::Live { .. } | LeaseState::Minting => {
            Note { kind: "warn", ..Note::plain("It is ending") }
                .line("Its backend is being told; until it has answered, the credential may still work.")
        }
    }
}

/// What ends.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EndForm {
    /// `lease`, `task`, `agent` or `backend`.
    what: String,
    id: String,
    reason: String,
}

/// `POST /live/end`
pub(super) async fn end(
    State(state): State<Arc<HttpState>>,
    visit: Visit,
    Posted(form): Posted<EndForm>,
) -> Result<Response, Refusal> {
    let EndForm { what, id, reason } = form;
    let (target, back) = match what.as_str() {
        "lease" => (RevocationTarget::Lease(id.clone()), format!("/live?ended={id}")),
        "task" => (RevocationTarget::Task(id.clone()), format!("/tasks/{id}")),
        "agent" => (RevocationTarget::Agent(id.clone()), format!("/agents/{id}")),
        "backend" => (RevocationTarget::Backend(id.clone()), format!("/live?backend={id}")),
        _ => return Err(Refusal::invalid("What ends is a lease, a task, an agent's all, or a backend's all.")),
    };
    let (broker, caller) = (state.broker.clone(), visit.as_caller());
    detached(&state, async move { broker.revoke_once(&caller, RevokeAsk { target, reason }, None).await }).await?;
    Ok(see_other(&back))
}

/// The kill switch.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KillForm {
    /// `engage` or `release`.
    word: String,
    reason: String,
    #[serde(default)]
    typed: String,
}

/// `POST /live/kill`
pub(super) async fn kill(
    State(state): State<Arc<HttpState>>,
    visit: Visit,
    Posted(form): Posted<KillForm>,
) -> Result<Response, Refusal> {
    if form.word == "engage" && form.typed.trim() != TYPED {
        return Err(Refusal::invalid(format!("Nothing was ended. Type “{TYPED}” to throw the kill switch.")));
    }
    let ask = RevokeAsk { target: RevocationTarget::KillSwitch(form.word), reason: form.reason };
    let (broker, caller) = (state.broker.clone(), visit.as_caller());
    detached(&state, async move { broker.revoke_once(&caller, ask, None).await }).await?;
    Ok(see_other("/live"))
}
