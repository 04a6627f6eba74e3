//! Collecting: mint what has been granted since. Policy is asked again and the plan made again before anything is minted; what
//! differs from what was decided is not minted.

use super::ask::delivery_key;
use super::end_lease::{Revocation, Telling};
use super::evaluate::{Asking, pairs};
use super::facts::{Record, about_grant};
use super::idempotency::{Attempt, Once, subject};
use super::mint::Begun;
use super::mint_outside::Ground;
use super::open_task::{note_decision, refuse_or_tell};
use super::permit_again::{Again, Permitted};
use super::{AgentCaller, Broker, BrokerError};
use crate::api::{CollectAsk, TaskAnswer};
use crate::domain::{
    Actor, Agent, Decision, EndCause, EventKind, Grant, GrantState, Lease, LeaseState, Task, Timestamp, Unpermitted,
};
use crate::policy::Bundle;
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
        self.grant_what_is_agreed(&bundle, &control, agent, &task).await?;
        let now = self.clock.now();
        let leases = self.store.list_leases_of_task(task.id).await?;
        let held = |grant: &Grant| leases.iter().any(|lease| lease.grant == grant.id && is_held(lease, now));
        let mut record = Record::new(&self.ids, now, Actor::Agent(agent.id.clone()));
        let mut tx = self.store.begin("credential.collect");
        let mut begun: Vec<(Grant, Begun)> = Vec::new();
        let mut refused = Vec::new();
        let mut holds = false;
        for grant in self.store.list_grants_of_task(task.id).await? {
            if held(&grant) {
                holds = true;
                continue;
            }
            if let Some(why) = why_spent(&grant, &leases, now) {
                refused.push((grant, why));
                continue;
            }
            if !grant.is_live(now) {
                continue;
            }
            match self.begin_collect(&bundle, agent, &task, &grant, (now, seal_to), &mut record).await? {
                Ok((one, decision)) => {
                    tx.insert_decision(&decision, Some(grant.request), Some(task.id), &agent.id);
                    begun.push((grant, one));
                }
                Err(why) => refused.push((grant, why)),
            }
        }
        let refusal = self.end_refused(refused).await?;
        if begun.is_empty() {
            // Nothing is made under the key now, so it is not used up; what was made under it before is answered again.
            return match (self.find_used(once).await?, refusal) {
                (Some(_), _) => Ok(self.replay(once).await),
                (None, Some(why)) if !holds && !self.waits(&task).await? => Err(BrokerError::Unpermitted(why)),
                (None, _) => Ok(self.answer_stored(&task).await),
            };
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
            if let Some(approved) = &grant.approved {
                tx.check_uses(one.lease(), approved.uses);
            }
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

    /// End grants on which nothing is minted any more; the gravest reason of those that rested on somebody's yes.
    async fn end_refused(&self, refused: Vec<(Grant, Unpermitted)>) -> Result<Option<Unpermitted>, BrokerError> {
        let mut gravest = None;
        for (grant, why) in refused {
            let approved = grant.approved.is_some();
            if approved {
                gravest = Some(gravest.map_or(why, |other: Unpermitted| other.min(why)));
            }
            if !matches!(grant.state, GrantState::Live) {
                continue;
            }
            let cause = match why {
                Unpermitted::PolicyChanged | Unpermitted::PlanChanged => EndCause::PolicyChanged,
                Unpermitted::Tampered
                | Unpermitted::RequestChanged
                | Unpermitted::ApproverDisabled
                | Unpermitted::ApproverNotInGroup
                | Unpermitted::ApproverExcluded
                | Unpermitted::DelegationEnded
                | Unpermitted::ApprovalsMissing
                | Unpermitted::Expired
                | Unpermitted::Used => EndCause::Unapproved,
            };
            self.note_credential_refused(&grant, why).await?;
            let reason = Some(why.as_str());
            self.end_grant(grant, &Revocation { reason, ..Revocation::by_broker(cause, Telling::AtOnce) }).await?;
        }
        Ok(gravest)
    }

    async fn note_credential_refused(&self, grant: &Grant, why: Unpermitted) -> Result<(), BrokerError> {
        let mut record = Record::new(&self.ids, self.clock.now(), Actor::Broker);
        record.note(EventKind::CredentialRefused, about_grant(grant), [("reason", why.as_str().into())]);
        Ok(record.commit(self.store.begin("credential.refuse")).await?)
    }

    /// Whether a request of the task waits for people.
    async fn waits(&self, task: &Task) -> Result<bool, BrokerError> {
        Ok(!self.store.list_pending_requests_of_task(task.id, 1).await?.is_empty())
    }

    async fn begin_collect(
        &self,
        bundle: &Bundle,
        agent: &Agent,
        task: &Task,
        grant: &Grant,
        (now, seal_to): (Timestamp, Option<&DeliveryKey>),
        record: &mut Record<'_>,
    ) -> Result<Result<(Begun, Decision), Unpermitted>, BrokerError> {
        let permitted = match self.permit_again(bundle, agent, task, grant, now).await? {
            Again::Permitted(permitted) => *permitted,
            Again::Refused(why) => return Ok(Err(why)),
        };
        let Permitted { request, decision } = permitted;
        note_decision(&request, &decision, record);
        let lease = self.ids.lease();
        let pairs = pairs(bundle, &grant.scopes)?;
        let key = request.confirmation_key.as_deref();
        let asking = Asking { bundle, agent, task, now, voters: &[], confirmation_key: key };
        let plan = self.plan(&asking, &grant.backend, pairs, grant.ttl, lease, grant.credential_end(now))?;
        let begun = self.begin_mint(lease, grant, plan, &asking, seal_to, record).await?;
        Ok(Ok((begun, decision)))
    }
}

/// Whether a credential works or is being minted.
fn is_held(lease: &Lease, now: Timestamp) -> bool {
    matches!(lease.state, LeaseState::Minting | LeaseState::Live { .. }) && now < lease.ends_at
}

/// Whether what people agreed to is used up, or past its time; also of a grant that has ended for that.
fn why_spent(grant: &Grant, leases: &[Lease], now: Timestamp) -> Option<Unpermitted> {
    let approved = grant.approved.as_ref()?;
    if matches!(grant.state, GrantState::Ended { cause, .. } if cause != EndCause::Unapproved) {
        return None;
    }
    let used = leases.iter().filter(|lease| lease.grant == grant.id && lease.is_a_use()).count();
    if u32::try_from(used).is_ok_and(|used| used < approved.uses) {
        return grant.is_past_its_window(now).then_some(Unpermitted::Expired);
    }
    Some(Unpermitted::Used)
}
