//! The inventory: who answers for each agent, what it may ever hold, what it was given against what it used, and the two buttons that stop
//! it and let it go on.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;

use super::super::caller::PathId;
use super::super::refusal::Refusal;
use super::super::{HttpState, detached};
use super::page::{Page, Place, Reading as _, show};
use super::see_other;
use super::session::Posted;
use super::text::{Shown, reveal};
use super::visit::Visit;
use crate::api::{AgentView, SuspendAsk};
use crate::broker::{AgentUse, PageAsk, TasksAsk};
use crate::domain::Task;

/// Tasks shown with an agent.
const TASKS_SHOWN: u32 = 5;

#[derive(Template)]
#[template(path = "console/agents.html")]
struct AgentsPage {
    page: Page,
    agents: Vec<AgentView>,
}

/// `GET /agents`
pub(super) async fn list(State(state): State<Arc<HttpState>>, visit: Visit) -> Result<Response, Refusal> {
    let agents = state.broker.list_agents(&visit.caller)?.items;
    Ok(show(&AgentsPage { page: visit.page(&state, Place::Agents, "Agents").await?, agents }))
}

#[derive(Template)]
#[template(path = "console/agent.html")]
struct AgentPage {
    page: Page,
    agent: AgentView,
    usage: AgentUse,
    tasks: Vec<Task>,
}

impl AgentPage {
    fn said(&self, text: &str) -> Shown {
        let _ = self;
        let line: String = text.chars().take(160).collect();
        reveal(&line)
    }

    /// What could be taken away without anybody missing it.
    fn unused(&self) -> usize {
        self.usage.scopes.iter().filter(|scope| scope.in_ceiling && scope.minted == 0).count()
    }
}

/// `GET /agents/{id}`
pub(super) async fn read(
    State(state): State<Arc<HttpState>>,
    visit: Visit,
    PathId(id): PathId,
) -> Result<Response, Refusal> {
    let agents = state.broker.list_agents(&visit.caller)?.items;
    let agent = agents.into_iter().find(|agent| agent.id == id).ok_or_else(Refusal::not_found)?;
    let usage = state.broker.agent_use(&visit.caller, &id).await?;
    let ask = TasksAsk { agent: Some(id), open: None, page: PageAsk { limit: Some(TASKS_SHOWN), cursor: None } };
    let (tasks, _) = state.broker.list_tasks(&visit.caller, ask).await?;
    let page = visit.page(&state, Place::Agents, agent.id.clone()).await?;
    Ok(show(&AgentPage { page, agent, usage, tasks }))
}

/// Why it stops or goes on.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StandingForm {
    reason: String,
}

/// `POST /agents/{id}/suspend`
pub(super) async fn suspend(
    state: State<Arc<HttpState>>,
    visit: Visit,
    id: PathId,
    form: Posted<StandingForm>,
) -> Result<Response, Refusal> {
    change(state, visit, id, form, true).await
}

/// `POST /agents/{id}/resume`
pub(super) async fn resume(
    state: State<Arc<HttpState>>,
    visit: Visit,
    id: PathId,
    form: Posted<StandingForm>,
) -> Result<Response, Refusal> {
    change(state, visit, id, form, false).await
}

async fn change(
    State(state): State<Arc<HttpState>>,
    visit: Visit,
    PathId(id): PathId,
    Posted(form): Posted<StandingForm>,
    suspend: bool,
) -> Result<Response, Refusal> {
    let (broker, caller, agent) = (state.broker.clone(), visit.caller, id.clone());
    let ask = SuspendAsk { reason: form.reason };
    detached(&state, async move { broker.change_standing_once(&caller, &agent, ask, suspend, None).await }).await?;
    Ok(see_other(&format!("/agents/{id}")))
}
