//! Ending authority: the decision that it ends now falls from agent to task to grant to lease in one commit, and the
//! credentials follow by one path, whoever asked for it: the agent, a person, the clock or a crash.

use futures_util::StreamExt as _;

use super::end_lease::put_to_end;
use super::facts::{Record, about_grant, about_lease, about_request, about_task};
use super::idempotency::Once;
use super::{AgentCaller, Broker, BrokerError, Caller, OperatorCaller};
use crate::api::{Closure, RevocationTarget, RevokeAsk};
use crate::domain::{
    Actor, AgentId, EndCause, EventKind, Grant, GrantId, GrantState, Lease, LeaseId, LeaseState, Name, Subjects, Task,
};
use crate::policy::OperatorAction;
use crate::store::{LeaseFilter, StoreError, TaskFilter};

/// Leases or tasks looked at in one step.
const PAGE: u32 = 200;
/// Tasks of one agent ended at the same time.
const PARALLEL: usize = 16;

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
        if let crate::domain::TaskState::Closed { cause, .. } = task.state {
            // Ending what has ended is no error: the answer is the same closure again.
            return self
                .closure(task.id.to_string(), cause, &LeaseFilter { task: Some(task.id), ..LeaseFilter::default() })
                .await;
        }
        self.close_task(task.clone(), cause, Actor::Agent(caller.agent.clone()), None).await?;
        self.closure(task.id.to_string(), cause, &LeaseFilter { task: Some(task.id), ..LeaseFilter::default() }).await
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
        let task = self.store.find_task(id).await?.ok_or(BrokerError::NotFound("task"))?;
        let actor = self.may_revoke(caller, &task.agent, "task")?;
        if matches!(task.state, crate::domain::TaskState::Open) {
            self.close_task(task, EndCause::Revoked, actor, Some(reason)).await?;
        }
        self.closure(id.to_string(), EndCause::Revoked, &LeaseFilter { task: Some(id), ..LeaseFilter::default() }).await
    }

    async fn revoke_grant(&self, caller: &Caller, id: &str, reason: &str) -> Result<Closure, BrokerError> {
        let id: GrantId = id.parse().map_err(|_| BrokerError::NotFound("grant"))?;
        let grant = self.store.find_grant(id).await?.ok_or(BrokerError::NotFound("grant"))?;
        let actor = self.may_revoke(caller, &grant.agent, "grant")?;
        self.end_grant(grant, EndCause::Revoked, actor, Some(reason)).await?;
        self.closure(id.to_string(), EndCause::Revoked, &LeaseFilter { grant: Some(id), ..LeaseFilter::default() })
            .await
    }

    async fn revoke_lease(&self, caller: &Caller, id: &str, reason: &str) -> Result<Closure, BrokerError> {
        let id: LeaseId = id.parse().map_err(|_| BrokerError::NotFound("lease"))?;
        let lease = self.store.find_lease(id).await?.ok_or(BrokerError::NotFound("lease"))?;
        let actor = self.may_revoke(caller, &lease.agent, "lease")?;
        if matches!(lease.state, LeaseState::Minting | LeaseState::Live { .. }) {
            let mut record = Record::new(&self.ids, self.clock.now(), actor.clone());
            record.note(
                EventKind::AuthorityRevoked,
                about_lease(&lease),
                [("reason", reason.into()), ("what", "lease".into())],
            );
            record.commit(self.store.begin("authority.revoke")).await?;
            self.end_leases_of(vec![lease], EndCause::Revoked, actor).await?;
        }
        let row = self.store.find_lease(id).await?.into_iter().collect();
        Ok(self.closure_of(id.to_string(), EndCause::Revoked, row, 1))
    }

    async fn revoke_agent(&self, person: &OperatorCaller, name: &str, reason: &str) -> Result<Closure, BrokerError> {
        let agent: AgentId = name.parse().map_err(|_| BrokerError::NotFound("agent"))?;
        self.may(person, OperatorAction::Revoke, Some(&agent))?;
        let actor = Actor::Operator(person.operator.person.clone());
        let mut record = Record::new(&self.ids, self.clock.now(), actor.clone());
        let subjects = Subjects { agent: Some(agent.clone()), ..Subjects::default() };
        record.note(EventKind::AuthorityRevoked, subjects, [("reason", reason.into()), ("what", "agent".into())]);
        record.commit(self.store.begin("authority.revoke")).await?;
        self.close_tasks_of(&agent, EndCause::Revoked, &actor, reason).await?;
        self.closure(name.to_owned(), EndCause::Revoked, &LeaseFilter { agent: Some(agent), ..LeaseFilter::default() })
            .await
    }

    /// Close every open task of an agent.
    pub(super) async fn close_tasks_of(
        &self,
        agent: &AgentId,
        cause: EndCause,
        actor: &Actor,
        reason: &str,
    ) -> Result<(), BrokerError> {
        let filter = TaskFilter { agent: Some(agent.clone()), open: Some(true) };
        let mut after = None;
        loop {
            let tasks = self.store.list_tasks(&filter, after, PAGE).await?;
            let Some(last) = tasks.last() else { return Ok(()) };
            after = Some(last.id);
            let ended = futures_util::stream::iter(tasks)
                .map(|task| self.close_task(task, cause, actor.clone(), Some(reason)))
                .buffer_unordered(PARALLEL)
                .collect::<Vec<_>>()
                .await;
            ended.into_iter().collect::<Result<Vec<_>, _>>()?;
        }
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
        record.commit(self.store.begin("authority.revoke")).await?;
        let filter = LeaseFilter { backend: Some(backend), live: Some(true), ..LeaseFilter::default() };
        let mut after = None;
        loop {
            let leases = self.store.list_leases(&filter, after, PAGE).await?;
            let Some(last) = leases.last() else { break };
            after = Some(last.id);
            for lease in leases {
                // The grant ends with its lease, or the agent would simply collect another.
                if let Some(grant) = self.store.find_grant(lease.grant).await? {
                    self.end_grant(grant, EndCause::Revoked, actor.clone(), None).await?;
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
            self.sweep_killed().await?;
        }
        let filter = LeaseFilter { live: Some(true), ..LeaseFilter::default() };
        let mut closure = self.closure("kill_switch".to_owned(), EndCause::KillSwitch, &filter).await?;
        if killed { "engaged" } else { "released" }.clone_into(&mut closure.state);
        Ok(closure)
    }

    /// Close one task: it, its pending requests, its grants and its leases, in one commit; then the credentials. Starts over
    /// when something changed in between, and is content when somebody else closed it.
    pub(super) async fn close_task(
        &self,
        task: Task,
        cause: EndCause,
        actor: Actor,
        reason: Option<&str>,
    ) -> Result<(), BrokerError> {
        let id = task.id;
        let mut task = Some(task);
        for _ in 0..super::open_task::MAX_TRIES {
            let current = match task.take() {
                Some(task) => task,
                None => self.store.find_task(id).await?.ok_or(BrokerError::NotFound("task"))?,
            };
            let Ok(closed) = current.clone().close(cause, self.clock.now()) else { return Ok(()) };
            match self.commit_close(&current, &closed, cause, &actor, reason).await {
                Ok(leases) => {
                    self.signals.changed(id);
                    self.finish_leases(leases).await;
                    // A mint may have committed after we read the leases and before the task closed; none can after.
                    let filter = LeaseFilter { task: Some(id), live: Some(true), ..LeaseFilter::default() };
                    let late = self.store.list_leases(&filter, None, PAGE).await?;
                    return self.end_leases_of(late, cause, actor).await;
                }
                Err(BrokerError::Store(StoreError::Conflict { .. })) => {}
                Err(error) => return Err(error),
            }
        }
        Err(BrokerError::Changed)
    }

    async fn commit_close(
        &self,
        task: &Task,
        closed: &Task,
        cause: EndCause,
        actor: &Actor,
        reason: Option<&str>,
    ) -> Result<Vec<Lease>, BrokerError> {
        let now = self.clock.now();
        let mut record = Record::new(&self.ids, now, actor.clone());
        let mut tx = self.store.begin("task.close");
        tx.update_task(task, closed);
        if cause == EndCause::Revoked {
            record.note(
                EventKind::AuthorityRevoked,
                about_task(task),
                [("reason", reason.unwrap_or("").into()), ("what", "task".into())],
            );
        }
        record.note(EventKind::TaskClosed, about_task(task), [("cause", cause.as_str().into())]);
        for request in self.store.list_requests_of_task(task.id).await? {
            if let Ok(withdrawn) = request.clone().withdraw(now) {
                tx.update_request(&request, &withdrawn);
                record.note(EventKind::AccessWithdrawn, about_request(&request), []);
            }
        }
        for grant in self.store.list_grants_of_task(task.id).await? {
            if let Ok(ended) = grant.clone().end(cause, now) {
                tx.update_grant(&grant, &ended);
                record.note(EventKind::GrantEnded, about_grant(&grant), [("cause", cause.as_str().into())]);
            }
        }
        let leases = self.deliveries.as_delivered(self.store.list_leases_of_task(task.id).await?);
        let ending = put_to_end(leases, cause, now, &mut tx, &mut record);
        record.commit(tx).await?;
        Ok(ending)
    }

    /// End one grant and its leases in one commit; then the credentials. Starts over when something changed in between.
    pub(super) async fn end_grant(
        &self,
        grant: Grant,
        cause: EndCause,
        actor: Actor,
        reason: Option<&str>,
    ) -> Result<(), BrokerError> {
        let id = grant.id;
        let mut grant = Some(grant);
        for _ in 0..super::open_task::MAX_TRIES {
            let current = match grant.take() {
                Some(grant) => grant,
                None => self.store.find_grant(id).await?.ok_or(BrokerError::NotFound("grant"))?,
            };
            match self.try_end_grant(current, cause, actor.clone(), reason).await {
                Err(BrokerError::Changed) => {}
                done => return done,
            }
        }
        Err(BrokerError::Changed)
    }

    async fn try_end_grant(
        &self,
        grant: Grant,
        cause: EndCause,
        actor: Actor,
        reason: Option<&str>,
    ) -> Result<(), BrokerError> {
        if !matches!(grant.state, GrantState::Live) {
            return Ok(());
        }
        let now = self.clock.now();
        let mut record = Record::new(&self.ids, now, actor);
        let mut tx = self.store.begin("grant.end");
        let Ok(ended) = grant.clone().end(cause, now) else { return Ok(()) };
        tx.update_grant(&grant, &ended);
        if let (EndCause::Revoked, Some(reason)) = (cause, reason) {
            record.note(
                EventKind::AuthorityRevoked,
                about_grant(&grant),
                [("reason", reason.into()), ("what", "grant".into())],
            );
        }
        record.note(
            EventKind::GrantEnded,
            about_grant(&grant),
            [("cause", cause.as_str().into()), ("reason", reason.unwrap_or("").into())],
        );
        let filter = LeaseFilter { grant: Some(grant.id), live: Some(true), ..LeaseFilter::default() };
        let leases = self.deliveries.as_delivered(self.store.list_leases(&filter, None, PAGE).await?);
        let ending = put_to_end(leases, cause, now, &mut tx, &mut record);
        match record.commit(tx).await {
            Ok(()) => {
                self.signals.changed(grant.task);
                self.finish_leases(ending).await;
                Ok(())
            }
            // Somebody else ended it, or the sweep ended one of its leases.
            Err(StoreError::Conflict { .. }) => Err(BrokerError::Changed),
            Err(error) => Err(error.into()),
        }
    }
}
