//! Asking again before a mint: does policy still permit what was granted, is the plan still the one, and do the people who
//! agreed still count? The answer says which of these has changed, for the audit and for the agent.

use super::count::{Count, Counting};
use super::evaluate::{Asking, current_digest, is_no_more};
use super::{Broker, BrokerError};
use crate::domain::{
    AccessRequest, Agent, ApprovalTerms, Decision, Grant, Narrowing, Outcome, RequestState, Task, Timestamp,
    Unpermitted, Verdict,
};
use crate::policy::Bundle;

/// What asking again came to.
pub(super) enum Again {
    /// It may be minted, by this plan.
    Permitted(Box<Permitted>),
    /// Not any more.
    Refused(Unpermitted),
}

/// What may be minted now.
pub(super) struct Permitted {
    pub request: AccessRequest,
    pub decision: Decision,
}

impl Broker {
    /// Ask policy again and make the plan again. The verdicts that the grant rests on count as far as they count now.
    ///
    /// # Errors
    /// What the store says, or a minter that cannot say.
    pub(super) async fn permit_again(
        &self,
        bundle: &Bundle,
        agent: &Agent,
        task: &Task,
        grant: &Grant,
        now: Timestamp,
    ) -> Result<Again, BrokerError> {
        let Some(request) = self.store.find_request(grant.request).await? else {
            return Ok(Again::Refused(Unpermitted::RequestChanged));
        };
        let key = request.confirmation_key.clone();
        let asking = Asking { bundle, agent, task, now, voters: &[], confirmation_key: key.as_deref() };
        match self.ask_again(&asking, grant, request).await {
            Err(error) if is_no_more(&error) => {
                // What was approved under this very bundle could be asked for then: it is the request that has changed.
                let approvals = self.store.list_approvals(grant.request).await?;
                let same = approvals.iter().any(|approval| approval.bundle == Some(bundle.digest()));
                Ok(Again::Refused(if same { Unpermitted::RequestChanged } else { Unpermitted::PolicyChanged }))
            }
            answer => answer,
        }
    }

    async fn ask_again(
        &self,
        asking: &Asking<'_>,
        grant: &Grant,
        request: AccessRequest,
    ) -> Result<Again, BrokerError> {
        let Asking { agent, task, now, .. } = *asking;
        let belongs = request.task == task.id
            && grant.task == task.id
            && [&request.agent, &grant.agent, &task.agent].iter().all(|named| **named == agent.id)
            && request.backend == grant.backend
            && matches!(request.state, RequestState::Granted { grant: id } if id == grant.id);
        if !belongs {
            self.note_broken_grant(grant).await;
            return Ok(Again::Refused(Unpermitted::RequestChanged));
        }
        if grant.is_past_its_window(now) {
            return Ok(Again::Refused(Unpermitted::Expired));
        }
        let alone = self.reevaluate(asking, &grant.scopes, grant.ttl)?;
        let decision = match (&alone.outcome, &grant.approved) {
            (Outcome::Permit(_), None) => Ok(alone),
            // A yes that nobody needed when it was granted, and that nobody gave.
            (Outcome::RequireApproval(_) | Outcome::Deny(_), None) => Err(Unpermitted::PolicyChanged),
            // No yes lifts a no; what remains is to say whether it is policy that says something else, or the request.
            (Outcome::Deny(_), Some(_)) => {
                let agreed = self.agreed_again(asking, grant, &request, &ApprovalTerms::default()).await?;
                Err(agreed
                    .err()
                    .filter(|why| *why != Unpermitted::ApprovalsMissing)
                    .unwrap_or(Unpermitted::PolicyChanged))
            }
            (Outcome::Permit(terms) | Outcome::RequireApproval(terms), Some(_)) => {
                self.agreed_again(asking, grant, &request, &terms.of_approval).await?
            }
        };
        let decision = match decision {
            Ok(decision) => decision,
            Err(why) => return Ok(Again::Refused(why)),
        };
        let fits = matches!(&decision.outcome, Outcome::Permit(terms) if grant.ttl <= terms.max_ttl);
        if !fits {
            return Ok(Again::Refused(Unpermitted::PolicyChanged));
        }
        let plan = self.plan_now(asking, &grant.backend, &grant.scopes, grant.ttl)?;
        Ok(if plan.digest == grant.plan {
            Again::Permitted(Box::new(Permitted { request, decision }))
        } else {
            Again::Refused(Unpermitted::PlanChanged)
        })
    }

    /// Whether those who agreed still count, and agree to no less than the grant gives.
    async fn agreed_again(
        &self,
        asking: &Asking<'_>,
        grant: &Grant,
        request: &AccessRequest,
        terms: &ApprovalTerms,
    ) -> Result<Result<Decision, Unpermitted>, BrokerError> {
        let questions = self.store.list_questions(request.id).await?;
        let (full, digest) = current_digest(self, asking, request, &questions)?;
        let approvals = self.store.list_approvals(request.id).await?;
        let counting = Counting::of(asking, terms, digest, full.digest);
        let count = self.count(&counting, &approvals).await?;
        if !count.broken.is_empty() {
            self.note_broken_seals(request, &count.broken).await;
            return Ok(Err(Unpermitted::Tampered));
        }
        let asking = Asking { voters: &count.voters, ..*asking };
        let decision = self.reevaluate(&asking, &grant.scopes, grant.ttl)?;
        let permitted = matches!(decision.outcome, Outcome::Permit(_)) && !count.voters.is_empty();
        if !permitted {
            let why = count.why_not();
            // Under the same policy a plan differs because the backend is set up otherwise, or because the request was changed.
            let by_hand = why == Unpermitted::PlanChanged && !self.fits_its_seal(grant, request, asking.task)?;
            return Ok(Err(if by_hand { Unpermitted::RequestChanged } else { why }));
        }
        // After the reasons that name what has changed: whatever else differs was changed behind our back.
        if !self.fits_its_seal(grant, request, asking.task)? || !is_within_what_is_left(grant, request, &count) {
            self.note_broken_grant(grant).await;
            return Ok(Err(Unpermitted::Tampered));
        }
        Ok(Ok(decision))
    }

    /// Why a live grant that rests on verdicts may live no longer, as far as its approvers go: policy and plan may have changed
    /// since, which counts when it is minted on. `None` while enough of them count.
    ///
    /// # Errors
    /// What the store says.
    pub(super) async fn lost_its_approval(&self, grant: &Grant) -> Result<Option<Unpermitted>, BrokerError> {
        let bundle = self.policy.current();
        let Some(agent) = bundle.agent(&grant.agent) else { return Ok(Some(Unpermitted::PolicyChanged)) };
        let task = self.store.find_task(grant.task).await?;
        let request = self.store.find_request(grant.request).await?;
        let (Some(task), Some(request)) = (task, request) else { return Ok(Some(Unpermitted::RequestChanged)) };
        let key = request.confirmation_key.as_deref();
        let asking =
            Asking { bundle: &bundle, agent, task: &task, now: self.clock.now(), voters: &[], confirmation_key: key };
        let terms = match self.reevaluate(&asking, &grant.scopes, grant.ttl) {
            Ok(Decision { outcome: Outcome::RequireApproval(terms), .. }) => terms,
            Ok(Decision { outcome: Outcome::Permit(_), .. }) => return Ok(None),
            Ok(Decision { outcome: Outcome::Deny(_), .. }) => return Ok(Some(Unpermitted::PolicyChanged)),
            Err(error) if is_no_more(&error) => return Ok(Some(Unpermitted::PolicyChanged)),
            Err(error) => return Err(error),
        };
        let approvals = self.store.list_approvals(request.id).await?;
        // Those that it rests on are about the last digest that anybody approved.
        let last = approvals.iter().rfind(|approval| approval.verdict != Verdict::Deny);
        let Some((digest, plan)) = last.and_then(|last| Some((last.request_digest, last.plan?))) else {
            return Ok(Some(Unpermitted::ApprovalsMissing));
        };
        let count = self.count(&Counting::of(&asking, &terms.of_approval, digest, plan), &approvals).await?;
        self.note_broken_seals(&request, &count.broken).await;
        let asking = Asking { voters: &count.voters, ..asking };
        let decision = self.reevaluate(&asking, &grant.scopes, grant.ttl)?;
        Ok((!matches!(decision.outcome, Outcome::Permit(_))).then(|| count.why_not()))
    }
}

/// I6: what is minted lies within what was approved, and that within what was asked.
fn is_within_what_is_left(grant: &Grant, request: &AccessRequest, count: &Count) -> bool {
    let left = Narrowing::apply(count.narrowings.iter(), &request.scopes, request.ttl);
    left.is_some_and(|(scopes, ttl)| {
        grant.ttl <= ttl && grant.scopes.iter().all(|scope| scopes.iter().any(|left| left == scope))
    })
}
