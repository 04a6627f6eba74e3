//! The bundle in force: its digest, its files, what each policy says and how often it decided; and one decision with everything it was
//! made from.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use serde_json::Value;

use super::super::HttpState;
use super::super::caller::PathId;
use super::super::refusal::Refusal;
use super::effect::{EffectRow, rows};
use super::page::{Page, Place, Reading as _, show};
use super::text::words;
use super::visit::Visit;
use crate::api::DecisionView;
use crate::broker::{PoliciesView, PolicyUse};
use crate::domain::Decision;

#[derive(Template)]
#[template(path = "console/policies.html")]
struct PoliciesPage {
    page: Page,
    bundle: PoliciesView,
}

impl PoliciesPage {
    fn decided(&self, policy: &PolicyUse) -> u64 {
        let _ = self;
        decided(policy)
    }
}

fn decided(policy: &PolicyUse) -> u64 {
    policy.permitted.saturating_add(policy.waited).saturating_add(policy.denied)
}

/// `GET /policies`
pub(super) async fn list(State(state): State<Arc<HttpState>>, visit: Visit) -> Result<Response, Refusal> {
    let bundle = state.broker.policies(&visit.caller).await?;
    Ok(show(&PoliciesPage { page: visit.page(&state, Place::Policies, "Policies").await?, bundle }))
}

#[derive(Template)]
#[template(path = "console/policy.html")]
struct PolicyPage {
    page: Page,
    policy: PolicyUse,
    /// For those who may see them.
    decisions: Option<Vec<Decision>>,
}

/// `GET /policies/{id}`
pub(super) async fn read(
    State(state): State<Arc<HttpState>>,
    visit: Visit,
    PathId(id): PathId,
) -> Result<Response, Refusal> {
    let all = state.broker.policies(&visit.caller).await?.policies;
    let policy = all.into_iter().find(|one| one.policy.id == id).ok_or_else(Refusal::not_found)?;
    let decisions =
        if visit.rights.audit { Some(state.broker.decisions_of_policy(&visit.caller, &id).await?) } else { None };
    let page = visit.page(&state, Place::Policies, policy.policy.id.clone()).await?;
    Ok(show(&PolicyPage { page, policy, decisions }))
}

#[derive(Template)]
#[template(path = "console/decision.html")]
struct DecisionPage {
    page: Page,
    decision: DecisionView,
}

impl DecisionPage {
    fn outcome(&self) -> (&'static str, String) {
        let kind = match self.decision.outcome.as_str() {
            "permit" => "good",
            "deny" => "bad",
            _ => "wary",
        };
        (kind, words(&self.decision.outcome))
    }

    /// The input of each question, with the scope it was about.
    fn questions(&self) -> Vec<(String, Vec<EffectRow>)> {
        let one = |input: &Value| {
            let about = input.pointer("/context/scope").or_else(|| input.pointer("/resource/name"));
            let about = about.or_else(|| input.get("resource")).and_then(Value::as_str).unwrap_or("One question");
            (about.to_owned(), rows(input))
        };
        match self.decision.input.as_array() {
            Some(inputs) => inputs.iter().map(one).collect(),
            None => vec![one(&self.decision.input)],
        }
    }
}

/// `GET /decisions/{id}`
pub(super) async fn decision(
    State(state): State<Arc<HttpState>>,
    visit: Visit,
    PathId(id): PathId,
) -> Result<Response, Refusal> {
    let decision = state.broker.read_decision(&visit.as_caller(), &id).await?;
    Ok(show(&DecisionPage { page: visit.page(&state, Place::Policies, "A decision").await?, decision }))
}
