//! Collecting: mint what has been granted since. Policy is asked again and the plan made again before anything is minted; what
//! differs from what was decided is not minted.

use std::collections::BTreeSet;

use super::ask::delivery_key;
use super::end_lease::{Revocation, Telling};
use super::evaluate::{Asking, current_digest, is_no_more, voters};
use super::facts::Record;
use super::idempotency::{Attempt, Once, subject};
use super::mint::Begun;
use super::mint_outside::Ground;
use super::open_task::{note_decision, refuse_or_tell};
use super::{AgentCaller, Broker, BrokerError};
use crate::api::{CollectAsk, TaskAnswer};
use crate::domain::{AccessRequest, Actor, Agent, Decision, EndCause, Grant, Outcome, Task, Timestamp};
use crate::policy::Bundle;
use crate::store::LeaseFilter;
use crate::sys::DeliveryKey;

impl Broker {
    /// Mint and deliver what this task may hold and does not: after an approval, or anew after expiry.
    ///
    /// # Errors
    /// [`BrokerError`].
    pub async fn collect(
        &self,
        caller: &AgentCaller,
        task: &str,
        ask: CollectAsk,
        idempotency_key: Option<String>,
    ) -> Result<TaskAnswer, BrokerError> {
        let seal_to = ask.delivery_key.as_ref().map(delivery_key).transpose()?;
        let once = Once::of_agent(caller, &format!("POST /v1/tasks/{task}/credentials"), &ask, idempotency_key)?;
        self.exactly_once(&once, || self.try_collect(caller, task, seal_to.as_ref(), &once)).await
    }

    async fn try_collect(
        &self,
        caller: &AgentCaller,
        task: &str,
        seal_to: Option<&DeliveryKey>,
        once: &Once,
    ) -> Attempt<TaskAnswer> {
        let (bundle, control) = self.standing()?;
        let agent = self.standing_agent(&bundle, &caller.agent)?;
        let task = self.open_task_of(caller, task).await?;
        self.grant_what_is_agreed(&bundle, agent, &task).await?;
        let now = self.clock.now();
        let held = self.grants_held(&task, now).await?;
        let mut record = Record::new(&self.ids, now, Actor::Agent(agent.id.clone()));
        let mut tx = self.store.begin("credential.collect");
        let mut begun: Vec<(Grant, Begun)> = Vec::new();
        let mut refused = Vec::new();
        for grant in self.store.list_grants_of_task(task.id).await? {
            if !grant.is_live(now) || held.contains(&grant.id) {
                continue;
            }
            match self.begin_collect(&bundle, agent, &task, &grant, (now, seal_to), &mut record).await {
                Ok(Some((one, decision))) => {
                    tx.insert_decision(&decision, Some(grant.request), Some(task.id), &agent.id);
                    begun.push((grant, one));
                }
                Ok(None) => refused.push(grant),
                Err(error) if is_no_more(&error) => refused.push(grant),
                Err(error) => return Err(error),
            }
        }
        let why = Revocation {
            reason: Some("policy or plan differs now"),
            ..Revocation::by_broker(EndCause::PolicyChanged, Telling::AtOnce)
        };
        for grant in refused {
            self.end_grant(grant, &why).await?;
        }
        if begun.is_empty() {
            // Nothing is made under the key now, so it is not used up; what was made under it before is answered again.
            return Ok(match self.find_used(once).await? {
                Some(_) => self.replay(once).await,
                None => self.answer_stored(&task).await,
            });
        }
        let sealed = begun.iter().filter(|_| seal_to.is_some()).map(|(_, one)| one.lease());
        once.record(&mut tx, || subject(&task, std::iter::empty(), sealed), now);
        tx.expect_control(&control);
        tx.check_task(&task);
        tx.limit_usage(&agent.id, agent.limits.live_leases, agent.limits.pending_requests);
        for (grant, one) in &begun {
            tx.check_grant(grant);
            one.insert(&mut tx)?;
            tx.check_alone(one.lease());
        }
        let first = begun.first().map(|(_, one)| one.lease().id);
        crate::sys::killpoint!(MintBeforeIntent);
        let committed = record.commit(tx).await;
        let landed = self.read_back(committed, async |store| match first {
            Some(id) => Ok(store.find_lease(id).await?.is_some()),
            None => Ok(false),
        });
        if let Err(error) = landed.await {
            return Err(self.settle_store_error_for(error, agent).await);
        }
        let ground = Ground { task, seen: control, fresh_until: caller.expires_at, seal_to: seal_to.cloned() };
        Ok(self.deliver_collected(begun, &ground).await)
    }

    async fn deliver_collected(&self, begun: Vec<(Grant, Begun)>, ground: &Ground) -> Result<TaskAnswer, BrokerError> {
        let (ready, failed) = self.finish_mints(begun, ground).await;
        let failed = refuse_or_tell(failed, !ready.is_empty())?;
        let mut answer = self.answer_stored(&ground.task).await?;
        self.add_credentials(&mut answer, ready, failed.as_ref());
        Ok(answer)
    }

    /// The grants of a task that have a credential which works or is being minted.
    async fn grants_held(&self, task: &Task, now: Timestamp) -> Result<BTreeSet<crate::domain::GrantId>, BrokerError> {
        let filter = LeaseFilter { task: Some(task.id), live: Some(true), ..LeaseFilter::default() };
        let leases = self.store.list_leases(&filter, None, 200).await?;
        Ok(leases.iter().filter(|lease| now < lease.ends_at).map(|lease| lease.grant).collect())
    }

    /// Ask policy again and make the plan again; `None` when either says something else now than when the grant was given. The
    /// verdicts that the grant rests on count as far as they count under this bundle.
    pub(super) async fn permit_again(
        &self,
        bundle: &Bundle,
        agent: &Agent,
        task: &Task,
        grant: &Grant,
        now: Timestamp,
    ) -> Result<Option<(AccessRequest, Decision)>, BrokerError> {
        let request = self.store.find_request(grant.request).await?.ok_or(BrokerError::NotFound("request"))?;
        let key = request.confirmation_key.as_deref();
        let asking = Asking { bundle, agent, task, now, voters: &[], confirmation_key: key };
        let (plan, digest) = current_digest(self, &asking, &request)?;
        let approvals = self.store.list_approvals(request.id).await?;
        let voters = voters(bundle, agent, task, digest, &approvals);
        let asking = Asking { voters: &voters, ..asking };
        let decision = self.reevaluate(&asking, &request.scopes, request.ttl)?;
        let permitted = matches!(&decision.outcome, Outcome::Permit(terms) if grant.ttl <= terms.max_ttl);
        Ok((permitted && plan.digest == grant.plan).then_some((request, decision)))
    }

    async fn begin_collect(
        &self,
        bundle: &Bundle,
        agent: &Agent,
        task: &Task,
        grant: &Grant,
        (now, seal_to): (Timestamp, Option<&DeliveryKey>),
        record: &mut Record<'_>,
    ) -> Result<Option<(Begun, Decision)>, BrokerError> {
        let Some((request, decision)) = self.permit_again(bundle, agent, task, grant, now).await? else {
            return Ok(None);
        };
        note_decision(&request, &decision, record);
        let lease = self.ids.lease();
        let pairs = request
            .scopes
            .iter()
            .map(|scope| Ok((scope, bundle.catalogue().check(scope)?)))
            .collect::<Result<Vec<_>, BrokerError>>()?;
        let key = request.confirmation_key.as_deref();
        let asking = Asking { bundle, agent, task, now, voters: &[], confirmation_key: key };
        let plan = self.plan(&asking, &grant.backend, pairs, grant.ttl, lease, grant.credential_end(now))?;
        let begun = self.begin_mint(lease, grant, plan, &asking, seal_to, record).await?;
        Ok(Some((begun, decision)))
    }

    /// Grant requests that enough people have agreed to. Normally the last verdict does so; two people at the same moment may
    /// each have seen only their own.
    pub(super) async fn grant_what_is_agreed(
        &self,
        bundle: &Bundle,
        agent: &Agent,
        task: &Task,
    ) -> Result<(), BrokerError> {
        let pending: Vec<AccessRequest> = self
            .store
            .list_requests_of_task(task.id)
            .await?
            .into_iter()
            .filter(|request| request.pending().is_some())
            .collect();
        for request in pending {
            let approvals = self.store.list_approvals(request.id).await?;
            if !approvals.is_empty() {
                match self.grant_if_permitted(bundle, agent, task, request, &approvals, Actor::Broker).await {
                    Err(error) if !is_no_more(&error) => return Err(error),
                    Ok(()) | Err(_) => {}
                }
            }
        }
        Ok(())
    }
}
