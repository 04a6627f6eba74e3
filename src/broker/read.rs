//! Lists and look-ups. An agent sees what is its own; a person sees what policy lets a person see; everybody else is told that
//! there is no such thing.

use std::time::Duration;

use super::{AgentCaller, Broker, BrokerError, Caller, EventsAsk, LeasesAsk, MAX_WAIT, OperatorCaller, PageAsk};
use crate::api::{
    AgentsPage, DecisionView, EventView, EventsPage, LeaseView, LeasesPage, RequestSummary, TaskAnswer, Whoami,
};
use crate::domain::{AccessRequest, AgentId, Task, TaskId};
use crate::policy::{OperatorAction, OperatorQuestion};
use crate::store::{EventFilter, LeaseFilter};

/// Items on a page when the caller does not say.
const DEFAULT_PAGE: u32 = 50;
/// How often the rows are looked at while somebody waits for a change of them.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// The most items on a page.
const MAX_PAGE: u32 = 200;

impl PageAsk {
    pub(super) fn limit(&self) -> Result<u32, BrokerError> {
        match self.limit.unwrap_or(DEFAULT_PAGE) {
            limit @ 1..=MAX_PAGE => Ok(limit),
            other => Err(BrokerError::Invalid(format!("`limit` of {other} is out of bounds (1 to {MAX_PAGE})"))),
        }
    }

    pub(super) fn after<T: std::str::FromStr>(&self) -> Result<Option<T>, BrokerError> {
        let bad = || BrokerError::Invalid("`cursor` is not one that this list gave".to_owned());
        self.cursor.as_deref().map(|cursor| cursor.parse().map_err(|_| bad())).transpose()
    }
}

/// Of one request: its state, how many agreed, and how much was asked and answered.
type Told<'a> = (&'a str, Option<u32>, usize);

/// What those who wait for a task wait for: its state; of each request the state, how many agreed, and how much was asked and
/// answered.
fn how_far(answer: &TaskAnswer) -> (&str, Vec<Told<'_>>) {
    let told = |request: &RequestSummary| {
        request.questions.len() + request.questions.iter().filter(|asked| asked.answered_at.is_some()).count()
    };
    let given = |request: &RequestSummary| request.approval.as_ref().map(|approval| approval.given);
    (&answer.state, answer.requests.iter().map(|request| (&*request.state, given(request), told(request))).collect())
}

pub(super) fn agent_filter(agent: Option<&str>) -> Result<Option<AgentId>, BrokerError> {
    Ok(agent.map(str::parse).transpose()?)
}

fn id_filter<T: std::str::FromStr>(what: &str, text: Option<&str>) -> Result<Option<T>, BrokerError> {
    text.map(|text| text.parse().map_err(|_| BrokerError::Invalid(format!("`{what}` is not an id of a {what}"))))
        .transpose()
}

/// The cursor for the next page, when this one is full.
pub(super) fn next_cursor<T>(items: &[T], limit: u32, cursor: impl Fn(&T) -> String) -> Option<String> {
    let full = u32::try_from(items.len()).is_ok_and(|count| count >= limit);
    if full { items.last().map(cursor) } else { None }
}

impl Broker {
    /// Ask policy whether a person may do something, to a named agent's authority or in general.
    pub(super) fn may(
        &self,
        caller: &OperatorCaller,
        action: OperatorAction,
        agent: Option<&AgentId>,
    ) -> Result<(), BrokerError> {
        let bundle = self.policy.current();
        let agent = agent.and_then(|id| bundle.agent(id));
        let question = OperatorQuestion { operator: &caller.operator, action, agent, now: self.clock.now() };
        if bundle.may_operator(&question).is_allowed() {
            Ok(())
        } else {
            Err(BrokerError::Forbidden(format!("{action}: no policy permits it to {}", caller.operator.person)))
        }
    }

    /// The caller's task by its written id.
    pub(super) async fn task_of(&self, caller: &AgentCaller, task: &str) -> Result<Task, BrokerError> {
        let id: TaskId = task.parse().map_err(|_| BrokerError::NotFound("task"))?;
        let task = self.store.find_task(id).await?;
        task.filter(|task| task.agent == caller.agent).ok_or(BrokerError::NotFound("task"))
    }

    /// The caller's task, if it is open.
    pub(super) async fn open_task_of(&self, caller: &AgentCaller, task: &str) -> Result<Task, BrokerError> {
        let task = self.task_of(caller, task).await?;
        if task.is_open(self.clock.now()) {
            return Ok(task);
        }
        let cause = match task.state {
            crate::domain::TaskState::Closed { cause, .. } => cause,
            crate::domain::TaskState::Open => crate::domain::EndCause::Expired,
        };
        Err(BrokerError::TaskClosed(cause.to_string()))
    }

    /// A task; with `wait`, as soon as something about it has changed, or after that time (at most [`MAX_WAIT`]).
    ///
    /// # Errors
    /// [`BrokerError::NotFound`] for another agent's task, or a person whom policy does not let read.
    pub async fn read_task(
        &self,
        caller: &Caller,
        task: &str,
        wait: Option<Duration>,
    ) -> Result<TaskAnswer, BrokerError> {
        let id: TaskId = task.parse().map_err(|_| BrokerError::NotFound("task"))?;
        let watch = self.signals.watch(id);
        // Registered before the first look, so that no change falls between the look and the wait.
        let mut woken = Box::pin(watch.notified());
        woken.as_mut().enable();
        let answer = self.look_at_task(caller, id).await?;
        let waits = answer.state == "open" && answer.requests.iter().any(|request| request.state == "pending");
        match wait {
            Some(wait) if waits => {
                let changed = self.task_changed(caller, id, &answer, woken);
                tokio::time::timeout(wait.min(MAX_WAIT), changed).await.unwrap_or(Ok(answer))
            }
            _ => Ok(answer),
        }
    }

    /// The task once somebody called, or once it is seen to differ from what it was: a call of another replica may be lost.
    async fn task_changed(
        &self,
        caller: &Caller,
        id: TaskId,
        before: &TaskAnswer,
        mut woken: impl Future<Output = ()> + Unpin,
    ) -> Result<TaskAnswer, BrokerError> {
        loop {
            let called = tokio::time::timeout(LOOK_EVERY, &mut woken).await.is_ok();
            let answer = self.look_at_task(caller, id).await?;
            if called || how_far(&answer) != how_far(before) {
                return Ok(answer);
            }
        }
    }

    async fn look_at_task(&self, caller: &Caller, id: TaskId) -> Result<TaskAnswer, BrokerError> {
        let task = self.readable_task(caller, id).await?;
        self.answer_stored(&task).await
    }

    /// A task that the caller may know of.
    pub(super) async fn readable_task(&self, caller: &Caller, id: TaskId) -> Result<Task, BrokerError> {
        let task = self.store.find_task(id).await?.ok_or(BrokerError::NotFound("task"))?;
        match caller {
            Caller::Agent(agent) if agent.agent == task.agent => {}
            Caller::Agent(_) => return Err(BrokerError::NotFound("task")),
            Caller::Operator(person) => {
                self.may(person, OperatorAction::Read, Some(&task.agent)).map_err(|_| BrokerError::NotFound("task"))?;
            }
        }
        Ok(task)
    }

    /// A request and its task by the request's written id.
    pub(super) async fn request_and_task(&self, request: &str) -> Result<(AccessRequest, Task), BrokerError> {
        let id = request.parse().map_err(|_| BrokerError::NotFound("request"))?;
        let request = self.store.find_request(id).await?.ok_or(BrokerError::NotFound("request"))?;
        let task = self.store.find_task(request.task).await?.ok_or(BrokerError::NotFound("request"))?;
        Ok((request, task))
    }

    /// Leases, oldest first; an agent sees its own.
    ///
    /// # Errors
    /// [`BrokerError::Forbidden`] or [`BrokerError::Invalid`].
    pub async fn list_leases(&self, caller: &Caller, ask: LeasesAsk) -> Result<LeasesPage, BrokerError> {
        let mut agent = agent_filter(ask.agent.as_deref())?;
        match caller {
            Caller::Agent(own) if agent.as_ref().is_some_and(|named| *named != own.agent) => {
                return Ok(LeasesPage { items: Vec::new(), next_cursor: None });
            }
            Caller::Agent(own) => agent = Some(own.agent.clone()),
            Caller::Operator(person) => self.may(person, OperatorAction::Read, agent.as_ref())?,
        }
        let limit = ask.page.limit()?;
        let filter = LeaseFilter {
            agent,
            task: id_filter("task", ask.task.as_deref())?,
            backend: ask.backend.as_deref().map(str::parse).transpose()?,
            live: ask.live,
            irrevocable: ask.irrevocable,
            ..LeaseFilter::default()
        };
        let rows = self.store.list_leases(&filter, ask.page.after()?, limit).await?;
        let next_cursor = next_cursor(&rows, limit, |row| row.id.to_string());
        Ok(LeasesPage { items: rows.iter().map(LeaseView::from).collect(), next_cursor })
    }

    /// A decision; an agent sees those on its own requests.
    ///
    /// # Errors
    /// [`BrokerError::NotFound`].
    pub async fn read_decision(&self, caller: &Caller, decision: &str) -> Result<DecisionView, BrokerError> {
        let id = decision.parse().map_err(|_| BrokerError::NotFound("decision"))?;
        let found = self.store.find_decision(id).await?.ok_or(BrokerError::NotFound("decision"))?;
        match caller {
            Caller::Agent(agent) => {
                let owner = self.store.find_decision_agent(id).await?;
                if owner.as_ref() != Some(&agent.agent) {
                    return Err(BrokerError::NotFound("decision"));
                }
            }
            Caller::Operator(person) => {
                self.may(person, OperatorAction::Audit, None).map_err(|_| BrokerError::NotFound("decision"))?;
            }
        }
        Ok(super::views::decision_view(&found))
    }

    /// The agents of the bundle in force.
    ///
    /// # Errors
    /// [`BrokerError::Forbidden`].
    pub fn list_agents(&self, caller: &OperatorCaller) -> Result<AgentsPage, BrokerError> {
        self.may(caller, OperatorAction::Read, None)?;
        let bundle = self.policy.current();
        let standing = self.standing.load();
        let items =
            bundle.agents().map(|agent| super::views::agent_view(agent, standing.suspended.get(&agent.id).cloned()));
        Ok(AgentsPage { items: items.collect() })
    }

    /// Audit events, in the order of commits.
    ///
    /// # Errors
    /// [`BrokerError::Forbidden`] or [`BrokerError::Invalid`].
    pub async fn list_events(&self, caller: &OperatorCaller, ask: EventsAsk) -> Result<EventsPage, BrokerError> {
        self.may(caller, OperatorAction::Audit, None)?;
        let limit = ask.page.limit()?;
        let filter = EventFilter {
            agent: agent_filter(ask.agent.as_deref())?,
            task: id_filter("task", ask.task.as_deref())?,
            request: id_filter("request", ask.request.as_deref())?,
            lease: id_filter("lease", ask.lease.as_deref())?,
            kind: ask.kind,
            actor: None,
            from: ask.from,
            to: ask.to,
            newest_first: ask.newest_first,
        };
        let rows = self.store.list_events(&filter, ask.page.after::<i64>()?.unwrap_or(0), limit).await?;
        let next_cursor = next_cursor(&rows, limit, |row| row.seq.to_string());
        let items = rows
            .into_iter()
            .map(|row| EventView {
                seq: row.seq,
                event: serde_json::from_str(&row.body).unwrap_or_else(|_| row.body.into()),
            })
            .collect();
        Ok(EventsPage { items, next_cursor })
    }

    /// Who the broker thinks the caller is.
    #[must_use]
    pub fn whoami(&self, caller: &Caller) -> Whoami {
        match caller {
            Caller::Agent(agent) => Whoami {
                kind: "agent".to_owned(),
                name: agent.agent.to_string(),
                issuer: agent.issuer.to_string(),
                subject: agent.subject.clone(),
                owner: self.policy.current().agent(&agent.agent).map(|known| known.owner.to_string()),
                groups: Vec::new(),
                token_expires_at: agent.expires_at,
            },
            Caller::Operator(person) => Whoami {
                kind: "operator".to_owned(),
                name: person.operator.person.to_string(),
                issuer: person.operator.issuer.clone(),
                subject: person.operator.subject.clone(),
                owner: None,
                groups: person.operator.groups.clone(),
                token_expires_at: person.expires_at,
            },
        }
    }
}
