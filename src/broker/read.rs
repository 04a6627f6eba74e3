//! Lists and look-ups. An agent sees what is its own; a person sees what policy lets a person see; everybody else is told that
//! there is no such thing.

use std::time::Duration;

use super::evaluate::{Asking, current_digest};
use super::views::{reasons, terms_view, verdict_view};
use super::{
    AgentCaller, Broker, BrokerError, Caller, EventsAsk, LeasesAsk, MAX_WAIT, OperatorCaller, PageAsk, RequestsAsk,
};
use crate::api::{
    AgentsPage, DecisionView, EventView, EventsPage, HistoryView, LeaseView, LeasesPage, RequestSummary, RequestView,
    RequestsPage, TaskAnswer, Whoami,
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
    fn limit(&self) -> Result<u32, BrokerError> {
        match self.limit.unwrap_or(DEFAULT_PAGE) {
            limit @ 1..=MAX_PAGE => Ok(limit),
            other => Err(BrokerError::Invalid(format!("`limit` of {other} is out of bounds (1 to {MAX_PAGE})"))),
        }
    }

    fn after<T: std::str::FromStr>(&self) -> Result<Option<T>, BrokerError> {
        let bad = || BrokerError::Invalid("`cursor` is not one that this list gave".to_owned());
        self.cursor.as_deref().map(|cursor| cursor.parse().map_err(|_| bad())).transpose()
    }
}

/// What those who wait for a task wait for.
fn how_far(answer: &TaskAnswer) -> (&str, Vec<(&str, Option<u32>)>) {
    let given = |request: &RequestSummary| request.approval.as_ref().map(|approval| approval.given);
    (&answer.state, answer.requests.iter().map(|request| (&*request.state, given(request))).collect())
}

fn agent_filter(agent: Option<&str>) -> Result<Option<AgentId>, BrokerError> {
    Ok(agent.map(str::parse).transpose()?)
}

fn id_filter<T: std::str::FromStr>(what: &str, text: Option<&str>) -> Result<Option<T>, BrokerError> {
    text.map(|text| text.parse().map_err(|_| BrokerError::Invalid(format!("`{what}` is not an id of a {what}"))))
        .transpose()
}

/// The cursor for the next page, when this one is full.
fn next_cursor<T>(items: &[T], limit: u32, cursor: impl Fn(&T) -> String) -> Option<String> {
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

    /// Requests, oldest first.
    ///
    /// # Errors
    /// [`BrokerError::Forbidden`] or [`BrokerError::Invalid`].
    pub async fn list_requests(&self, caller: &OperatorCaller, ask: RequestsAsk) -> Result<RequestsPage, BrokerError> {
        self.may(caller, OperatorAction::Review, None)?;
        let limit = ask.page.limit()?;
        let agent = agent_filter(ask.agent.as_deref())?;
        let states = ["pending", "granted", "denied", "withdrawn", "lapsed"];
        if ask.state.as_deref().is_some_and(|state| !states.contains(&state)) {
            return Err(BrokerError::Invalid(format!("`state` is one of {}", states.join(", "))));
        }
        let rows = self.store.list_requests(ask.state.as_deref(), agent.as_ref(), ask.page.after()?, limit).await?;
        let next_cursor = next_cursor(&rows, limit, |row| row.id.to_string());
        let mut items = Vec::with_capacity(rows.len());
        for request in rows {
            let task = self.store.find_task(request.task).await?.ok_or(BrokerError::NotFound("task"))?;
            items.push(self.request_view(caller, &request, &task).await?);
        }
        Ok(RequestsPage { items, next_cursor })
    }

    /// One request, as an approver reads it.
    ///
    /// # Errors
    /// [`BrokerError::NotFound`] or [`BrokerError::Forbidden`].
    pub async fn read_request(&self, caller: &OperatorCaller, request: &str) -> Result<RequestView, BrokerError> {
        let (request, task) = self.request_and_task(request).await?;
        self.may(caller, OperatorAction::Review, Some(&request.agent))?;
        self.request_view(caller, &request, &task).await
    }

    async fn request_view(
        &self,
        caller: &OperatorCaller,
        request: &AccessRequest,
        task: &Task,
    ) -> Result<RequestView, BrokerError> {
        let bundle = self.policy.current();
        let agent = bundle.agent(&request.agent);
        let key = request.confirmation_key.as_deref();
        // Plan and digest as things stand now: a verdict with an older digest is refused, and what is shown is what is bound.
        // Where nothing could be minted any more, those of then are shown, and cannot be decided on.
        let standing = agent.and_then(|agent| {
            let asking =
                Asking { bundle: &bundle, agent, task, now: self.clock.now(), voters: &[], confirmation_key: key };
            current_digest(self, &asking, request).ok()
        });
        let (effect, digest) = match &standing {
            Some((plan, digest)) => (plan.effect.as_str(), *digest),
            None => (request.effect.as_str(), request.digest),
        };
        let verdicts = self.store.list_approvals(request.id).await?;
        let given = self.given(&bundle, request, task, standing.as_ref(), &verdicts).await?;
        let decision = self.store.find_decision(request.decision).await?;
        let risk = request
            .scopes
            .iter()
            .filter_map(|scope| bundle.catalogue().find(scope.entry()))
            .map(|entry| entry.risk)
            .max();
        let scopes: Vec<String> = request.scopes.iter().map(ToString::to_string).collect();
        Ok(RequestView {
            id: request.id.to_string(),
            task: task.id.to_string(),
            agent: request.agent.to_string(),
            owner: agent.map(|agent| agent.owner.to_string()).unwrap_or_default(),
            state: request.state.as_str().to_owned(),
            sentence: format!("{} asks for {} for {}", request.agent, scopes.join(" and "), request.ttl),
            scopes,
            scope_details: Vec::new(),
            risk: risk.unwrap_or(100),
            impact: String::new(),
            environments: Vec::new(),
            ttl_seconds: request.ttl.as_secs(),
            effect: serde_json::from_str(effect).unwrap_or(serde_json::Value::Null),
            revocation: None,
            reasons: reasons(decision.as_ref()),
            unusual: Vec::new(),
            terms: request.terms().map(terms_view).unwrap_or_default(),
            given,
            questions: Vec::new(),
            history: HistoryView::default(),
            siblings: Vec::new(),
            review: None,
            rule: request.pending().map(|(rule, _)| rule.to_string()),
            verdicts: verdicts.iter().map(verdict_view).collect(),
            asserted_purpose: task.purpose.as_str().to_owned(),
            asserted_message: task.message.as_ref().map(|message| message.as_str().to_owned()),
            asserted_beneficiary: task.beneficiary.clone(),
            asserted_references: task.references.clone(),
            verified_identity: task.identity.clone(),
            request_digest: digest.to_string(),
            decision: request.decision.to_string(),
            asked_at: request.asked_at,
            lapses_at: request.pending().map(|(_, lapses_at)| lapses_at),
            cannot_decide: match agent {
                Some(agent) => self.cannot_decide(caller, &bundle, agent, task, request),
                None => Some("agent_unknown".to_owned()),
            },
        })
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
