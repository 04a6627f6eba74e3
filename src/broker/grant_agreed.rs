//! From verdicts to a grant: policy is asked again with those whose yes counts, for no more than all of them allow, and only a
//! permit grants. What the yes bounds goes into the grant, under a seal.

use super::count::Counting;
use super::decide_request::Table;
use super::evaluate::{Asking, current_digest, is_no_more};
use super::facts::{Record, about_request};
use super::mint::note_granted;
use super::open_task::{denial_word, note_decision};
use super::reviews::{put_review, raise_alarm};
use super::{Broker, BrokerError};
use crate::domain::{
    AccessRequest, Actor, Agent, ApprovalTerms, Decision, EventKind, Grant, GrantRecord, GrantState, MintPlan,
    Narrowing, Outcome, Person, ScopeSet, Task, Timestamp, Ttl,
};
use crate::policy::Bundle;
use crate::store::{Control, Store, StoreError, Tx};

/// What all whose yes counts allow.
struct Allowed {
    scopes: ScopeSet,
    ttl: Ttl,
    plan: MintPlan,
    decision: Decision,
    /// Who let it pass alone, if anybody did.
    broken_by: Option<Person>,
    /// How many questions were answered when they agreed.
    answered: usize,
}

impl Broker {
    /// Ask policy again with the verdicts so far; a permit makes the grant. Any other answer leaves the request waiting, but for
    /// a plain no, which ends it.
    ///
    /// # Errors
    /// [`BrokerError::Changed`] when policy or a control changed in between.
    pub(super) async fn grant_if_permitted(&self, table: &Table<'_>, actor: Actor) -> Result<(), BrokerError> {
        let Table { bundle, agent, task, request, .. } = *table;
        let now = self.clock.now();
        let Some(terms) = request.terms().cloned() else { return Ok(()) };
        let key = request.confirmation_key.as_deref();
        let asking = Asking { bundle, agent, task, now, voters: &[], confirmation_key: key };
        let Some(allowed) = self.what_is_allowed(&asking, request, &terms).await? else { return Ok(()) };
        let decision = &allowed.decision;
        let mut record = Record::new(&self.ids, now, actor);
        let mut tx = self.store.begin("access.grant");
        tx.expect_control(table.control);
        tx.insert_decision(decision, Some(request.id), Some(task.id), &agent.id);
        tx.check_task(task);
        note_decision(request, decision, &mut record);
        match &decision.outcome {
            Outcome::Permit(most) if allowed.ttl <= most.max_ttl => {
                // An answer that came in the same moment is nothing they agreed to.
                tx.check_answers(request.id, allowed.answered);
                self.put_grant(&asking, request, &terms, &allowed, &mut tx, &mut record)?;
            }
            Outcome::Deny(_) => {
                let reason = denial_word(&decision.outcome);
                let denied =
                    request.clone().deny(reason, now).map_err(|refusal| BrokerError::settled(refusal.state))?;
                tx.update_request(request, &denied);
                record.note(EventKind::AccessDenied, about_request(request), [("reason", reason.into())]);
            }
            Outcome::Permit(_) | Outcome::RequireApproval(_) => tx.check_request(request),
        }
        let granted = matches!(decision.outcome, Outcome::Permit(_));
        let committed = record.commit(tx).await;
        let decided = decision.id;
        let is_there = async |store: &Store| Ok(store.find_decision(decided).await?.is_some());
        match self.read_back(committed, is_there).await {
            Ok(()) => {
                if let Some(breaker) = allowed.broken_by.as_ref().filter(|_| granted) {
                    raise_alarm(request, breaker);
                }
                self.signals.changed(task.id);
                Ok(())
            }
            // Another verdict settled it in the same moment: there is one outcome, and it is on record.
            Err(StoreError::Conflict { .. }) => Ok(()),
            // Under another bundle the yes may not count: it waits to be looked at again.
            Err(StoreError::ControlChanged(_)) => self.look_again().await,
            Err(error) => Err(error.into()),
        }
    }

    /// What policy says to what all whose yes counts allow; `None` when together they allow nothing.
    async fn what_is_allowed(
        &self,
        asking: &Asking<'_>,
        request: &AccessRequest,
        terms: &ApprovalTerms,
    ) -> Result<Option<Allowed>, BrokerError> {
        let questions = self.store.list_questions(request.id).await?;
        let (full, digest) = current_digest(self, asking, request, &questions)?;
        let approvals = self.store.list_approvals(request.id).await?;
        let count = self.count(&Counting::of(asking, terms, digest, full.digest), &approvals).await?;
        self.note_broken_seals(request, &count.broken).await;
        let Some((scopes, ttl)) = Narrowing::apply(count.narrowings.iter(), &request.scopes, request.ttl) else {
            return Ok(None);
        };
        let asking = Asking { voters: &count.voters, ..*asking };
        let decision = self.reevaluate(&asking, &scopes, ttl)?;
        let plan = self.plan_now(&asking, &request.backend, &scopes, ttl)?;
        // Less may need nobody; but it is on somebody's yes that it is given.
        let agreed = !count.voters.is_empty() || !matches!(decision.outcome, Outcome::Permit(_));
        let alone = count.voters.iter().find(|voter| voter.break_glass);
        let broken_by = alone.map(|voter| voter.person.clone());
        let answered = questions.iter().filter(|question| !question.is_open()).count();
        Ok(agreed.then_some(Allowed { scopes, ttl, plan, decision, broken_by, answered }))
    }

    fn put_grant(
        &self,
        asking: &Asking<'_>,
        request: &AccessRequest,
        terms: &ApprovalTerms,
        allowed: &Allowed,
        tx: &mut Tx,
        record: &mut Record<'_>,
    ) -> Result<(), BrokerError> {
        let (task, now): (&Task, Timestamp) = (asking.task, asking.now);
        let Allowed { scopes, ttl, plan, decision, .. } = allowed;
        let mut grant = GrantRecord {
            id: self.ids.grant(),
            request: request.id,
            task: task.id,
            agent: asking.agent.id.clone(),
            backend: request.backend.clone(),
            scopes: scopes.clone(),
            plan: plan.digest,
            ttl: *ttl,
            given_at: now,
            until: task.ends_at,
            approved: None,
            state: GrantState::Live,
        };
        let mint_until = terms.window.map(|_| terms.lapses_at(request.asked_at, task.ends_at));
        grant.approved = Some(self.approved(&grant, terms.uses, mint_until, request, task)?);
        let grant = Grant::new(grant).map_err(|_| BrokerError::ApprovalExpired)?;
        let granted =
            request.clone().grant(grant.id, decision.id, now).map_err(|refusal| BrokerError::settled(refusal.state))?;
        tx.update_request(request, &granted);
        tx.insert_grant(&grant);
        note_granted(&grant, decision.id, record);
        if let Some(breaker) = &allowed.broken_by {
            put_review(request, breaker, tx, record);
        }
        Ok(())
    }

    /// Grant requests that enough people have agreed to. Normally the last verdict does so; two people at the same moment may
    /// each have seen only their own.
    pub(super) async fn grant_what_is_agreed(
        &self,
        bundle: &Bundle,
        control: &Control,
        agent: &Agent,
        task: &Task,
    ) -> Result<(), BrokerError> {
        let requests = self.store.list_requests_of_task(task.id).await?;
        for request in
            requests.iter().filter(|request| request.pending().is_some() && !request.is_due(self.clock.now()))
        {
            if self.store.list_approvals(request.id).await?.is_empty() {
                continue;
            }
            let table = Table { bundle, control, agent, task, request };
            match self.grant_if_permitted(&table, Actor::Broker).await {
                Err(error) if !is_no_more(&error) => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }
}
