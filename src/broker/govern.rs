//! Governing agents: heartbeat, suspension and its end. A suspended agent is refused at the door, and everything it holds ends.

use super::facts::{Record, about_task};
use super::idempotency::Once;
use super::{AgentCaller, Broker, BrokerError, OperatorCaller};
use crate::api::{AgentView, SuspendAsk, TaskAnswer};
use crate::domain::{Actor, AgentId, EventKind, Message, Subjects};
use crate::policy::OperatorAction;
use crate::store::StoreError;

impl Broker {
    /// Say that the work of a task goes on.
    ///
    /// # Errors
    /// [`BrokerError::TaskClosed`], or [`BrokerError::Invalid`] for a task without a heartbeat.
    pub async fn heartbeat(
        &self,
        caller: &AgentCaller,
        task: &str,
        idempotency_key: Option<String>,
    ) -> Result<TaskAnswer, BrokerError> {
        let once = Once::of_agent(caller, &format!("POST /v1/tasks/{task}/heartbeat"), &(), idempotency_key)?;
        let known = async { self.answer_stored(&self.task_of(caller, task).await?).await };
        self.done_once(&once, self.hear(caller, task, &once), known).await
    }

    async fn hear(&self, caller: &AgentCaller, task: &str, once: &Once) -> Result<TaskAnswer, BrokerError> {
        let task = self.open_task_of(caller, task).await?;
        let now = self.clock.now();
        let heard = task.clone().hear(now).map_err(|refusal| BrokerError::Invalid(refusal.to_string()))?;
        let mut record = Record::new(&self.ids, now, Actor::Agent(caller.agent.clone()));
        record.note(EventKind::TaskHeard, about_task(&task), []);
        let mut tx = self.store.begin("task.hear");
        tx.update_task(&task, &heard);
        once.record(&mut tx, || task.id.to_string(), now);
        self.note_heard(&self.store.list_leases_of_task(task.id).await?, now, &mut tx, &mut record);
        match record.commit(tx).await {
            Ok(()) => self.answer_stored(&heard).await,
            Err(error @ StoreError::Conflict { table: "idempotency" }) => Err(error.into()),
            Err(StoreError::Conflict { .. }) => Err(BrokerError::TaskClosed("in the same moment".to_owned())),
            Err(error) => Err(error.into()),
        }
    }

    /// Suspend an agent: it is refused from now on, and everything it holds ends.
    ///
    /// # Errors
    /// [`BrokerError::Forbidden`] or [`BrokerError::NotFound`].
    pub(super) async fn suspend_agent(
        &self,
        caller: &OperatorCaller,
        agent: &str,
        ask: &SuspendAsk,
        once: &Once,
    ) -> Result<AgentView, BrokerError> {
        let id = self.change_standing(caller, agent, ask, true, once).await?;
        let actor = Actor::Operator(caller.operator.person.clone());
        self.close_tasks_of(&id, actor, &ask.reason).await?;
        self.agent_by_id(&id)
    }

    /// End a suspension.
    ///
    /// # Errors
    /// [`BrokerError::Forbidden`] or [`BrokerError::NotFound`].
    pub(super) async fn resume_agent(
        &self,
        caller: &OperatorCaller,
        agent: &str,
        ask: &SuspendAsk,
        once: &Once,
    ) -> Result<AgentView, BrokerError> {
        let id = self.change_standing(caller, agent, ask, false, once).await?;
        self.agent_by_id(&id)
    }

    async fn change_standing(
        &self,
        caller: &OperatorCaller,
        agent: &str,
        ask: &SuspendAsk,
        suspend: bool,
        once: &Once,
    ) -> Result<AgentId, BrokerError> {
        let id: AgentId = agent.parse().map_err(|_| BrokerError::NotFound("agent"))?;
        self.policy.current().agent(&id).ok_or(BrokerError::NotFound("agent"))?;
        self.may(caller, OperatorAction::ManageAgents, Some(&id))?;
        let reason: Message = ask.reason.parse()?;
        let now = self.clock.now();
        let person = &caller.operator.person;
        let mut tx = self.store.begin("agent.standing");
        let kind = if suspend {
            tx.suspend_agent(&id, person.as_str(), reason.as_str(), now);
            EventKind::AgentSuspended
        } else {
            tx.resume_agent(&id);
            EventKind::AgentResumed
        };
        once.record(&mut tx, || id.to_string(), now);
        let mut record = Record::new(&self.ids, now, Actor::Operator(person.clone()));
        let subjects = Subjects { agent: Some(id.clone()), ..Subjects::default() };
        record.note(kind, subjects, [("reason", reason.as_str().into())]);
        match record.commit(tx).await {
            // It stands so already, with the reason of whoever was first: nothing to change and nothing to record.
            Ok(()) | Err(StoreError::Conflict { table: "suspension" }) => {}
            Err(error) => return Err(error.into()),
        }
        self.look_again().await?;
        Ok(id)
    }

    /// The agent of that name as the wire shows it.
    pub(super) fn agent_named(&self, agent: &str) -> Result<AgentView, BrokerError> {
        self.agent_by_id(&agent.parse().map_err(|_| BrokerError::NotFound("agent"))?)
    }

    fn agent_by_id(&self, id: &AgentId) -> Result<AgentView, BrokerError> {
        let bundle = self.policy.current();
        let agent = bundle.agent(id).ok_or(BrokerError::NotFound("agent"))?;
        Ok(super::views::agent_view(agent, self.standing.load().suspended.get(id).cloned()))
    }
}
