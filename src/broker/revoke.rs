//! Ending authority: the decision that it ends now falls from agent to task to grant to lease in one commit, and the
//! credentials follow by one path, whoever asked for it: the agent, a person, the clock or a crash.

use std::time::Duration;

use super::end_lease::{Revocation, Telling};
use super::facts::{Record, about_lease};
use super::idempotency::Once;
use super::{AgentCaller, Broker, BrokerError, Caller, OperatorCaller};
use crate::api::{Closure, RevocationTarget, RevokeAsk};
use crate::domain::{Actor, AgentId, EndCause, EventKind, GrantId, LeaseId, LeaseState, Name, Subjects, TaskState};
use crate::policy::OperatorAction;
use crate::store::LeaseFilter;

/// Leases looked at in one step.
const PAGE: u32 = 200;
/// How long the answer to the kill switch waits for credentials to end.
const KILLED_WAIT: Duration = Duration::from_millis(250);

impl Broker {
    /// End a task of the caller's: everything it holds ends, and the answer says how surely.
    ///
    /// # Errors
    /// [`BrokerError::NotFound`], [`BrokerError::TaskClosed`], or what the store says.
    pub(super) async fn end_task(
        &self,
        caller: &AgentCaller,
        task: &str,
        cause: EndCause,
    ) -> Result<Closure, BrokerError> {
        let task = self.task_of(caller, task).await?;
        let id = task.id;
        let cause = match task.state {
            // Ending what has ended is no error: the answer is the same closure again.
            TaskState::Closed { cause, .. } => cause,
            TaskState::Open => {
                let actor = Actor::Agent(caller.agent.clone());
                self.close_task(task, &Revocation { cause, actor, reason: None, telling: Telling::AtOnce }).await?;
                cause
            }
        };
        self.closure(id.to_string(), cause, &LeaseFilter { task: Some(id), ..LeaseFilter::default() }).await
    }

    /// End authority by name. Giving up one's own needs no permission; ending another's is policy's to allow.
    ///
    /// # Errors
    /// [`BrokerError::Forbidden`], [`BrokerError::NotFound`], or what the store says.
    pub(super) async fn revoke(&self, caller: &Caller, ask: RevokeAsk, once: &Once) -> Result<Closure, BrokerError> {
        let reason: crate::domain::Message = ask.reason.parse()?;
        let reason = reason.as_str();
        match (ask.target, caller) {
            (RevocationTarget::Agent(name), Caller::Operator(person)) => self.revoke_agent(person, &name, reason).await,
            (RevocationTarget::Backend(name), Caller::Operator(person)) => {
                self.revoke_backend(person, &name, reason).await
            }
            (RevocationTarget::KillSwitch(word), Caller::Operator(person)) => {
                self.kill_switch(person, &word, reason, once).await
            }
            (
                RevocationTarget::Agent(_) | RevocationTarget::Backend(_) | RevocationTarget::KillSwitch(_),
                Caller::Agent(_),
            ) => Err(BrokerError::Forbidden("end more than a task, grant or lease of your own".to_owned())),
            (RevocationTarget::Task(id), caller) => self.revoke_task(caller, &id, reason).await,
            (RevocationTarget::Grant(id), caller) => self.revoke_grant(caller, &id, reason).await,
            (RevocationTarget::Lease(id), caller) => self.revoke_lease(caller, &id, reason).await,
        }
    }

    /// Whether the caller may end what this agent holds; if not, it is told that there is no such thing.
    fn may_revoke(&self, caller: &Caller, agent: &AgentId, what: &'static str) -> Result<Actor, BrokerError> {
        match caller {
            Caller::Agent(own) if own.agent == *agent => Ok(Actor::Agent(own.agent.clone())),
            Caller::Agent(_) => Err(BrokerError::NotFound(what)),
            Caller::Operator(person) => {
                self.may(person, OperatorAction::Revoke, Some(agent))?;
                Ok(Actor::Operator(person.operator.person.clone()))
            }
        }
    }

    async fn revoke_task(&self, caller: &Caller, id: &str, reason: &str) -> Result<Closure, BrokerError> {
        let id = id.parse().map_err(|_| BrokerError::NotFound("task"))?;
        let task = self.endings.find_task(id).await?.ok_or(BrokerError::NotFound("task"))?;
        let actor = self.may_revoke(caller, &task.agent, "task")?;
        self.close_task(task, &revoked(actor, Some(reason))).await?;
        self.closure(id.to_string(), EndCause::Revoked, &LeaseFilter { task: Some(id), ..LeaseFilter::default() }).await
    }

    async fn revoke_grant(&self, caller: &Caller, id: &str, reason: &str) -> Result<Closure, BrokerError> {
        let id: GrantId = id.parse().map_err(|_| BrokerError::NotFound("grant"))?;
        let grant = self.endings.find_grant(id).await?.ok_or(BrokerError::NotFound("grant"))?;
        let actor = self.may_revoke(caller, &grant.agent, "grant")?;
        self.end_grant(grant, &revoked(actor, Some(reason))).await?;
        self.closure(id.to_string(), EndCause::Revoked, &LeaseFilter { grant: Some(id), ..LeaseFilter::default() })
            .await
    }

    async fn revoke_lease(&self, caller: &Caller, id: &str, reason: &str) -> Result<Closure, BrokerError> {
        let id: LeaseId = id.parse().map_err(|_| BrokerError::NotFound("lease"))?;
        let lease = self.endings.find_lease(id).await?.ok_or(BrokerError::NotFound("lease"))?;
        let actor = self.may_revoke(caller, &lease.agent, "lease")?;
        if matches!(lease.state, LeaseState::Minting | LeaseState::Live { .. }) {
            let mut record = Record::new(&self.ids, self.clock.now(), actor.clone());
            record.note(
                EventKind::AuthorityRevoked,
                about_lease(&lease),
                [("reason", reason.into()), ("what", "lease".into())],
            );
            record.commit(self.endings.begin("authority.revoke")).await?;
            self.end_leases_of(vec![lease], &revoked(actor, Some(reason))).await?;
        }
        let row = self.endings.find_lease(id).await?.into_iter().collect();
        Ok(self.closure_of(id.to_string(), EndCause::Revoked, row, 1))
    }

    async fn revoke_agent(&self, person: &OperatorCaller, name: &str, reason: &str) -> Result<Closure, BrokerError> {
        let agent: AgentId = name.parse().map_err(|_| BrokerError::NotFound("agent"))?;
        self.may(person, OperatorAction::Revoke, Some(&agent))?;
        let actor = Actor::Operator(person.operator.person.clone());
        let mut record = Record::new(&self.ids, self.clock.now(), actor.clone());
        let subjects = Subjects { agent: Some(agent.clone()), ..Subjects::default() };
        record.note(EventKind::AuthorityRevoked, subjects, [("reason", reason.into()), ("what", "agent".into())]);
        record.commit(self.endings.begin("authority.revoke")).await?;
        self.close_tasks_of(&agent, actor, reason).await?;
        self.closure(name.to_owned(), EndCause::Revoked, &LeaseFilter { agent: Some(agent), ..LeaseFilter::default() })
            .await
    }

    /// Close every open task of an agent.
    pub(super) async fn close_tasks_of(&self, agent: &AgentId, actor: Actor, reason: &str) -> Result<(), BrokerError> {
        self.close_tasks(Some(agent.clone()), &revoked(actor, Some(reason))).await
    }

    async fn revoke_backend(&self, person: &OperatorCaller, name: &str, reason: &str) -> Result<Closure, BrokerError> {
        let backend: Name = name.parse()?;
        self.may(person, OperatorAction::Revoke, None)?;
        self.minter(&backend).map_err(|_| BrokerError::NotFound("backend"))?;
        let actor = Actor::Operator(person.operator.person.clone());
        let mut record = Record::new(&self.ids, self.clock.now(), actor.clone());
        record.note(
            EventKind::AuthorityRevoked,
            Subjects::default(),
            [("backend", backend.as_str().into()), ("reason", reason.into()), ("what", "backend".into())],
        );
        record.commit(self.endings.begin("authority.revoke")).await?;
        let filter = LeaseFilter { backend: Some(backend), live: Some(true), ..LeaseFilter::default() };
        let why = revoked(actor, None);
        let mut after = None;
        loop {
            let leases = self.endings.list_leases(&filter, after, PAGE).await?;
            let Some(last) = leases.last() else { break };
            after = Some(last.id);
            for lease in leases {
                // The grant ends with its lease, or the agent would simply collect another.
                if let Some(grant) = self.endings.find_grant(lease.grant).await? {
                    self.end_grant(grant, &why).await?;
                }
            }
        }
        self.closure(name.to_owned(), EndCause::Revoked, &LeaseFilter { live: None, ..filter }).await
    }

    async fn kill_switch(
        &self,
        person: &OperatorCaller,
        word: &str,
        reason: &str,
        once: &Once,
    ) -> Result<Closure, BrokerError> {
        self.may(person, OperatorAction::KillSwitch, None)?;
        let killed = match word {
            "engage" => true,
            "release" => false,
            _ => return Err(BrokerError::Invalid("`kill_switch` is `engage` or `release`".to_owned())),
        };
        self.set_kill_switch(person, killed, reason, once).await?;
        if killed {
            // The switch is on record. What takes longer than a person should wait is left to the sweeps.
            let broker = self.clone();
            let ending = tokio::spawn(async move { broker.end_killed(Telling::AtOnce).await });
            match tokio::time::timeout(KILLED_WAIT, ending).await {
                Ok(Ok(Err(error))) => return Err(error),
                Ok(Ok(Ok(_)) | Err(_)) | Err(_) => self.wake_sweeps(),
            }
        }
        self.switch_closure(killed).await
    }

    /// What is known of everything that lives, and how the kill switch stands. Of all that lives one page is looked at: whoever
    /// throws the switch waits for it, and the sweeps work on the rest.
    pub(super) async fn switch_closure(&self, killed: bool) -> Result<Closure, BrokerError> {
        let filter = LeaseFilter { live: Some(true), ..LeaseFilter::default() };
        let name = "kill_switch".to_owned();
        let mut closure = self.closure_within(1, name, EndCause::KillSwitch, &filter).await?;
        if killed { "engaged" } else { "released" }.clone_into(&mut closure.state);
        Ok(closure)
    }
}

/// A revocation that somebody asked for and waits for.
const fn revoked(actor: Actor, reason: Option<&str>) -> Revocation<'_> {
    Revocation { cause: EndCause::Revoked, actor, reason, telling: Telling::AtOnce }
}
