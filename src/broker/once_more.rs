//! Acts that are safe to repeat, done once under a key: ending a task, revoking, and what people decide. A key that was used
//! before is answered with what is known now, and nothing is done again: what has ended stays ended, and what was begun since is
//! none of an old question's business.

use super::idempotency::Once;
use super::{AgentCaller, Broker, BrokerError, Caller, OperatorCaller};
use crate::api::{AgentView, Closure, RevocationTarget, RevokeAsk, SuspendAsk, VerdictAnswer, VerdictAsk};
use crate::domain::{Actor, EndCause};
use crate::store::{LeaseFilter, StoreError};

impl Broker {
    /// `Broker::end_task`, once under a key.
    ///
    /// # Errors
    /// Those of `Broker::end_task`, and [`BrokerError::IdempotencyConflict`].
    pub async fn end_task_once(
        &self,
        caller: &AgentCaller,
        task: &str,
        cause: EndCause,
        idempotency_key: Option<String>,
    ) -> Result<Closure, BrokerError> {
        let once = Once::of_agent(caller, &format!("POST /v1/tasks/{task}/{cause}"), &(), idempotency_key)?;
        self.find_used(&once).await?;
        // A task ends once, whoever repeats it: the answer is the same closure again.
        let closure = self.end_task(caller, task, cause).await?;
        self.remember(&once, task).await?;
        Ok(closure)
    }

    /// `Broker::revoke`, once under a key.
    ///
    /// # Errors
    /// Those of `Broker::revoke`, and [`BrokerError::IdempotencyConflict`].
    pub async fn revoke_once(
        &self,
        caller: &Caller,
        ask: RevokeAsk,
        idempotency_key: Option<String>,
    ) -> Result<Closure, BrokerError> {
        let route = "POST /v1/revocations";
        let once = match caller {
            Caller::Agent(agent) => Once::of_agent(agent, route, &ask, idempotency_key)?,
            Caller::Operator(person) => Once::of_operator(person, route, &ask, idempotency_key)?,
        };
        let target = ask.target.clone();
        let act = async {
            let closure = self.revoke(caller, ask, &once).await?;
            self.remember(&once, &closure.id).await?;
            Ok(closure)
        };
        self.done_once(&once, act, self.revoked_now(&target)).await
    }

    /// What is known now of what was once revoked.
    async fn revoked_now(&self, target: &RevocationTarget) -> Result<Closure, BrokerError> {
        let any = LeaseFilter::default;
        let (id, filter) = match target {
            RevocationTarget::Agent(name) => (name, LeaseFilter { agent: name.parse().ok(), ..any() }),
            RevocationTarget::Task(id) => (id, LeaseFilter { task: id.parse().ok(), ..any() }),
            RevocationTarget::Grant(id) => (id, LeaseFilter { grant: id.parse().ok(), ..any() }),
            RevocationTarget::Backend(name) => (name, LeaseFilter { backend: name.parse().ok(), ..any() }),
            RevocationTarget::Lease(id) => {
                let lease = id.parse().map_err(|_| BrokerError::NotFound("lease"))?;
                let row = self.store.find_lease(lease).await?.into_iter().collect();
                return Ok(self.closure_of(id.clone(), EndCause::Revoked, row, 1));
            }
            RevocationTarget::KillSwitch(_) => {
                let killed = self.store.control().await?.killed;
                return self.switch_closure(killed).await;
            }
        };
        self.closure(id.clone(), EndCause::Revoked, &filter).await
    }

    /// `Broker::suspend_agent` or `Broker::resume_agent`, once under a key.
    ///
    /// # Errors
    /// Theirs, and [`BrokerError::IdempotencyConflict`].
    pub async fn change_standing_once(
        &self,
        caller: &OperatorCaller,
        agent: &str,
        ask: SuspendAsk,
        suspend: bool,
        idempotency_key: Option<String>,
    ) -> Result<AgentView, BrokerError> {
        let word = if suspend { "suspend" } else { "resume" };
        let once = Once::of_operator(caller, &format!("POST /v1/agents/{agent}/{word}"), &ask, idempotency_key)?;
        let act = async {
            if suspend {
                self.suspend_agent(caller, agent, &ask, &once).await
            } else {
                self.resume_agent(caller, agent, &ask, &once).await
            }
        };
        self.done_once(&once, act, self.stands_now(caller, agent, &ask, suspend)).await
    }

    /// How an agent stands now. If the caller suspended it and it still is, what it holds is ended, should whoever began that
    /// have died over it.
    async fn stands_now(
        &self,
        caller: &OperatorCaller,
        agent: &str,
        ask: &SuspendAsk,
        suspend: bool,
    ) -> Result<AgentView, BrokerError> {
        let view = self.agent_named(agent)?;
        if suspend && view.suspended.is_some() {
            let id = agent.parse().map_err(|_| BrokerError::NotFound("agent"))?;
            let actor = Actor::Operator(caller.operator.person.clone());
            self.close_tasks_of(&id, actor, &ask.reason).await?;
        }
        Ok(view)
    }

    /// `Broker::decide_request`, once under a key.
    ///
    /// # Errors
    /// Those of `Broker::decide_request`, and [`BrokerError::IdempotencyConflict`].
    pub async fn decide_request_once(
        &self,
        caller: &OperatorCaller,
        request: &str,
        ask: VerdictAsk,
        idempotency_key: Option<String>,
    ) -> Result<VerdictAnswer, BrokerError> {
        let once = Once::of_operator(caller, &format!("POST /v1/requests/{request}/verdict"), &ask, idempotency_key)?;
        let act = Box::pin(self.decide_request(caller, request, ask, &once));
        self.done_once(&once, act, Box::pin(self.verdict_answer(request))).await
    }

    /// Do a thing whose change carries its key. If the key was used before, or is by a call that is faster, nothing is done, and
    /// the answer is what is known now.
    pub(super) async fn done_once<T>(
        &self,
        once: &Once,
        act: impl Future<Output = Result<T, BrokerError>> + Send,
        known: impl Future<Output = Result<T, BrokerError>> + Send,
    ) -> Result<T, BrokerError> {
        if self.find_used(once).await?.is_none() {
            match act.await {
                Err(BrokerError::Store(StoreError::Conflict { table: "idempotency" })) => {
                    self.find_used(once).await?;
                }
                done => return done,
            }
        }
        known.await
    }
}
