//! Tasks, from the newest on; and one of them from its opening to the proof of its end: what was asked, what was held, what is known
//! to be dead, and everything that was recorded about it.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use serde_json::Value;

use super::super::HttpState;
use super::super::body::Params;
use super::super::caller::PathId;
use super::super::refusal::Refusal;
use super::page::{Page, Place, Reading as _, show};
use super::text::{Shown, moment, reveal, words};
use super::visit::Visit;
use crate::api::{Closure, LeaseView, TaskAnswer};
use crate::broker::{EventsAsk, LeasesAsk, PageAsk, TasksAsk};
use crate::domain::{Task, TaskState, Timestamp};

/// Events of a task that are shown.
const EVENTS_SHOWN: u32 = 200;

/// Which tasks to show.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TasksParams {
    agent: Option<String>,
    /// `open` or `closed`.
    state: Option<String>,
    cursor: Option<String>,
}

#[derive(Template)]
#[template(path = "console/tasks.html")]
struct TasksPage {
    page: Page,
    tasks: Vec<Task>,
    next: Option<String>,
    agents: Vec<String>,
    agent: String,
    state: String,
}

impl TasksPage {
    fn said(&self, task: &Task) -> Shown {
        let _ = self;
        let line: String = task.purpose.as_str().chars().take(160).collect();
        reveal(&line)
    }

    fn standing(&self, task: &Task) -> (&'static str, String) {
        standing(task, self.page.now)
    }

    fn more(&self) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        for (name, value) in [("agent", &self.agent), ("state", &self.state)] {
            if !value.is_empty() {
                query.append_pair(name, value);
            }
        }
        query.append_pair("cursor", self.next.as_deref().unwrap_or_default());
        format!("/tasks?{}", query.finish())
    }
}

/// How a task stands, as a kind of chip and words.
fn standing(task: &Task, now: Timestamp) -> (&'static str, String) {
    match task.state {
        TaskState::Open if task.is_open(now) => ("good", "open".to_owned()),
        TaskState::Open => ("wary", "over, being closed".to_owned()),
        TaskState::Closed { cause, .. } => ("", words(cause.as_str())),
    }
}

/// `GET /tasks`
pub(super) async fn list(
    State(state): State<Arc<HttpState>>,
    visit: Visit,
    Params(params): Params<TasksParams>,
) -> Result<Response, Refusal> {
    let named = |value: Option<String>| value.filter(|text| !text.is_empty());
    let (agent, wanted) = (named(params.agent), named(params.state));
    let open = match wanted.as_deref() {
        None => None,
        Some("open") => Some(true),
        Some("closed") => Some(false),
        Some(_) => return Err(Refusal::invalid("`state` is `open` or `closed`.")),
    };
    let ask = TasksAsk { agent: agent.clone(), open, page: PageAsk { limit: None, cursor: named(params.cursor) } };
    let (tasks, next) = state.broker.list_tasks(&visit.caller, ask).await?;
    Ok(show(&TasksPage {
        page: visit.page(&state, Place::Tasks, "Tasks").await?,
        tasks,
        next,
        agents: state.broker.bundle().agents().map(|agent| agent.id.to_string()).collect(),
        agent: agent.unwrap_or_default(),
        state: wanted.unwrap_or_default(),
    }))
}

/// One thing that happened.
struct Happened {
    kind: &'static str,
    words: String,
    actor: String,
    at: Shown,
    data: Vec<(String, Shown)>,
}

#[derive(Template)]
#[template(path = "console/task.html")]
struct TaskPage {
    page: Page,
    task: Task,
    answer: TaskAnswer,
    closure: Option<Closure>,
    leases: Vec<LeaseView>,
    /// Everything that was recorded, for those who may see it.
    events: Option<Vec<Happened>>,
}

impl TaskPage {
    fn standing(&self) -> (&'static str, String) {
        standing(&self.task, self.page.now)
    }

    /// What is known of all of it, in a sentence.
    fn summary(&self) -> (&'static str, String) {
        let Some(closure) = &self.closure else { return ("", String::new()) };
        match closure.closure.as_str() {
            "closed" => ("", "Everything it held is known to be dead.".to_owned()),
            "partial" => ("warn", "Something ends by a stated time and may work until then.".to_owned()),
            _ => ("danger", "Something could not be ended yet and may still work. It is tried again.".to_owned()),
        }
    }

    fn lease_chip(&self, lease: &LeaseView) -> (&'static str, String) {
        let _ = self;
        let kind = match lease.state.as_str() {
            _ if lease.irrevocable => "bad",
            "live" => "good",
            "ending" => "wary",
            _ => "",
        };
        (kind, if lease.irrevocable { "cannot be ended".to_owned() } else { words(&lease.state) })
    }
}

/// `GET /tasks/{id}`
pub(super) async fn read(
    State(state): State<Arc<HttpState>>,
    visit: Visit,
    PathId(id): PathId,
) -> Result<Response, Refusal> {
    let caller = visit.as_caller();
    let task = state.broker.find_task(&visit.caller, &id).await?;
    let answer = state.broker.read_task(&caller, &id, None).await?;
    let closure = match task.state {
        TaskState::Closed { .. } => Some(state.broker.closure_of_task(&caller, &id).await?),
        TaskState::Open => None,
    };
    let leases = if let Some(closure) = &closure {
        closure.leases.clone()
    } else {
        let page = PageAsk { limit: Some(EVENTS_SHOWN), cursor: None };
        let ask = LeasesAsk { task: Some(id.clone()), page, ..LeasesAsk::default() };
        state.broker.list_leases(&caller, ask).await?.items
    };
    let events = if visit.rights.audit {
        let page = PageAsk { limit: Some(EVENTS_SHOWN), cursor: None };
        let ask = EventsAsk { task: Some(id), page, ..EventsAsk::default() };
        let found = state.broker.list_events(&visit.caller, ask).await?;
        Some(found.items.iter().map(|event| happened(&event.event)).collect())
    } else {
        None
    };
    let page = visit.page(&state, Place::Tasks, format!("Task of {}", task.agent)).await?;
    Ok(show(&TaskPage { page, task, answer, closure, leases, events }))
}

/// An audit event as a line of a story.
fn happened(event: &Value) -> Happened {
    let text = |name: &str| event.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let kind = text("kind");
    let at = text("at").parse::<Timestamp>().map(moment).unwrap_or_default();
    let data = event.get("data").and_then(Value::as_object).into_iter().flatten();
    let data = data.filter(|(_, value)| !is_blank(value)).map(|(name, value)| (words(name), shown(value))).collect();
    let mark = match kind.rsplit('.').next().unwrap_or_default() {
        "denied" | "failed" | "rejected" | "irrevocable" | "delayed" => "bad",
        "granted" | "minted" | "delivered" | "ended" | "opened" => "good",
        _ => "",
    };
    Happened { kind: mark, words: words(&kind.replace('.', " ")), actor: actor(event), at, data }
}

fn is_blank(value: &Value) -> bool {
    value.as_str().is_some_and(str::is_empty) || value.as_array().is_some_and(Vec::is_empty)
}

fn shown(value: &Value) -> Shown {
    match value {
        Value::String(text) => reveal(text),
        Value::Array(items) => {
            let texts: Vec<String> =
                items.iter().map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned)).collect();
            reveal(&texts.join(", "))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => reveal(&value.to_string()),
    }
}

/// Whoever caused it, in words.
fn actor(event: &Value) -> String {
    let part = |name: &str| event.pointer(&format!("/actor/{name}")).and_then(Value::as_str).unwrap_or_default();
    match (part("kind"), part("name")) {
        ("broker", _) => "the broker".to_owned(),
        (kind, "") => kind.to_owned(),
        ("operator", name) => name.to_owned(),
        (kind, name) => format!("{kind} {name}"),
    }
}
