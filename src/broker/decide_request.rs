//! A person's verdict on a waiting request. It binds exactly what was shown, by digest; policy is asked again with the verdicts
//! so far, and only a permit makes a grant. Nothing is minted here: that happens when the agent collects.

use super::evaluate::{Asking, current_digest, is_own_request, voters};
use super::facts::{Record, about_request};
use super::idempotency::Once;
use super::mint::note_granted;
use super::open_task::{denial_word, note_decision};
use super::{Broker, BrokerError, OperatorCaller};
use crate::api::{VerdictAnswer, VerdictAsk};
use crate::domain::{
    AccessRequest, Actor, Agent, Approval, Digest, EventKind, Grant, GrantRecord, GrantState, Message, Outcome, Task,
    Verdict,
};
use crate::policy::{Bundle, OperatorAction};
use crate::store::{Store, StoreError};

impl Broker {
    /// Record a verdict, and act on it.
    ///
    /// # Errors
    /// [`BrokerError::DigestMismatch`] when the request is not what was shown, [`BrokerError::OwnRequest`],
    /// [`BrokerError::NotInGroup`], [`BrokerError::VerdictGiven`], [`BrokerError::AlreadyDecided`].
    pub(super) async fn decide_request(
        &self,
        caller: &OperatorCaller,
        request: &str,
        ask: VerdictAsk,
        once: &Once,
    ) -> Result<VerdictAnswer, BrokerError> {
        let verdict: Verdict =
            ask.verdict.parse().map_err(|_| BrokerError::Invalid("`verdict` is `approve` or `deny`".to_owned()))?;
        let shown: Digest = ask.request_digest.parse().map_err(|_| {
            BrokerError::Invalid("`request_digest` is the digest the request was shown with".to_owned())
        })?;
        let reason = ask.reason.as_deref().map(str::parse::<Message>).transpose()?;
        self.out_of_quarantine()?;
        let bundle = self.policy.current();
        let (request, task) = self.request_and_task(request).await?;
        let agent = bundle.agent(&request.agent).ok_or(BrokerError::NotFound("request"))?;
        self.may(caller, OperatorAction::Decide, Some(&agent.id))?;
        check_voter(caller, &bundle, agent, &task, &request)?;
        let now = self.clock.now();
        if request.is_due(now) {
            return Err(BrokerError::AlreadyDecided("lapsed"));
        }
        let key = request.confirmation_key.as_deref();
        let asking = Asking { bundle: &bundle, agent, task: &task, now, voters: &[], confirmation_key: key };
        let (_, digest) = current_digest(self, &asking, &request)?;
        if digest != shown {
            return Err(BrokerError::DigestMismatch);
        }
        let approval = Approval {
            id: self.ids.approval(),
            request: request.id,
            person: caller.operator.person.clone(),
            groups: caller.operator.groups.clone(),
            verdict,
            request_digest: digest,
            reason: reason.map(|text| text.as_str().to_owned()),
            at: now,
            in_place_of: None,
            narrow: None,
            bundle: None,
            plan: None,
            proof: None,
            thought_millis: None,
            seal: None,
        };
        let actor = Actor::Operator(caller.operator.person.clone());
        self.record_verdict(&request, &approval, actor.clone(), once).await?;
        let approvals = self.store.list_approvals(request.id).await?;
        if verdict == Verdict::Approve {
            self.grant_if_permitted(&bundle, agent, &task, request.clone(), &approvals, actor).await?;
        }
        self.signals.changed(task.id);
        self.verdict_answer(&request.id.to_string()).await
    }

    /// What came of the verdicts on a request so far.
    pub(super) async fn verdict_answer(&self, request: &str) -> Result<VerdictAnswer, BrokerError> {
        let bundle = self.policy.current();
        let (request, task) = self.request_and_task(request).await?;
        let agent = bundle.agent(&request.agent).ok_or(BrokerError::NotFound("request"))?;
        let approvals = self.store.list_approvals(request.id).await?;
        // The yes that counts is for the latest digest that was shown.
        let given =
            approvals.last().map_or(0, |last| voters(&bundle, agent, &task, last.request_digest, &approvals).len());
        let given = u32::try_from(given).unwrap_or(u32::MAX);
        let message = match request.state.as_str() {
            "granted" => "Granted. The agent may collect its credential now.".to_owned(),
            "denied" => "Denied. The agent is told.".to_owned(),
            _ => format!("Your yes is recorded; {given} so far. More people must agree."),
        };
        Ok(VerdictAnswer { id: request.id.to_string(), state: request.state.as_str().to_owned(), given, message })
    }

    /// Why this person may not decide this request, in one word; `None` when they may.
    pub(super) fn cannot_decide(
        &self,
        caller: &OperatorCaller,
        bundle: &Bundle,
        agent: &Agent,
        task: &Task,
        request: &AccessRequest,
    ) -> Option<String> {
        match check_voter(caller, bundle, agent, task, request) {
            Ok(()) => {
                self.may(caller, OperatorAction::Decide, Some(&agent.id)).err().map(|_| "not_permitted".to_owned())
            }
            Err(refused) => Some(in_one_word(&refused)),
        }
    }

    /// The verdict becomes durable together with its event; one no ends the request in the same commit.
    async fn record_verdict(
        &self,
        request: &AccessRequest,
        approval: &Approval,
        actor: Actor,
        once: &Once,
    ) -> Result<(), BrokerError> {
        let mut record = Record::new(&self.ids, approval.at, actor);
        let mut tx = self.store.begin("approval.record");
        tx.insert_approval(approval);
        once.record(&mut tx, || request.id.to_string(), approval.at);
        record.note(
            EventKind::ApprovalRecorded,
            about_request(request),
            [
                ("digest", approval.request_digest.to_string().into()),
                ("groups", approval.groups.clone().into()),
                ("reason", approval.reason.clone().unwrap_or_default().into()),
                ("verdict", approval.verdict.as_str().into()),
            ],
        );
        match approval.verdict {
            Verdict::Approve | Verdict::BreakGlass => tx.check_request(request),
            Verdict::Deny => {
                let denied = request
                    .clone()
                    .deny("by_approver", approval.at)
                    .map_err(|refusal| BrokerError::AlreadyDecided(refusal.state))?;
                tx.update_request(request, &denied);
                record.note(EventKind::AccessDenied, about_request(request), [("reason", "by_approver".into())]);
            }
        }
        let committed = record.commit(tx).await;
        crate::sys::killpoint!(ApprovalAfterCommit);
        let is_there = async |store: &Store| {
            Ok(store.list_approvals(request.id).await?.iter().any(|known| known.id == approval.id))
        };
        match self.read_back(committed, is_there).await {
            Ok(()) => Ok(()),
            Err(error @ StoreError::Conflict { table: "idempotency" }) => Err(error.into()),
            Err(StoreError::Conflict { table: "approval" }) => Err(BrokerError::VerdictGiven),
            Err(StoreError::Conflict { .. }) => Err(BrokerError::AlreadyDecided("settled")),
            Err(error) => Err(error.into()),
        }
    }

    /// Ask policy again with the verdicts so far; a permit makes the grant. Any other answer leaves the request waiting, but for
    /// a plain no, which ends it.
    pub(super) async fn grant_if_permitted(
        &self,
        bundle: &Bundle,
        agent: &Agent,
        task: &Task,
        request: AccessRequest,
        approvals: &[Approval],
        actor: Actor,
    ) -> Result<(), BrokerError> {
        let now = self.clock.now();
        let key = request.confirmation_key.as_deref();
        let asking = Asking { bundle, agent, task, now, voters: &[], confirmation_key: key };
        let (plan, digest) = current_digest(self, &asking, &request)?;
        let voters = voters(bundle, agent, task, digest, approvals);
        let asking = Asking { voters: &voters, ..asking };
        let decision = self.reevaluate(&asking, &request.scopes, request.ttl)?;
        let mut record = Record::new(&self.ids, now, actor);
        let mut tx = self.store.begin("access.grant");
        tx.insert_decision(&decision, Some(request.id), Some(task.id), &agent.id);
        tx.check_task(task);
        note_decision(&request, &decision, &mut record);
        match &decision.outcome {
            Outcome::Permit(terms) if request.ttl <= terms.max_ttl => {
                let grant = Grant::new(GrantRecord {
                    id: self.ids.grant(),
                    request: request.id,
                    task: task.id,
                    agent: agent.id.clone(),
                    backend: request.backend.clone(),
                    scopes: request.scopes.clone(),
                    plan: plan.digest,
                    ttl: request.ttl,
                    given_at: now,
                    until: task.ends_at,
                    approved: None,
                    state: GrantState::Live,
                })
                .map_err(|_| BrokerError::AlreadyDecided("lapsed"))?;
                let granted = request
                    .clone()
                    .grant(grant.id, decision.id, now)
                    .map_err(|refusal| BrokerError::AlreadyDecided(refusal.state))?;
                tx.update_request(&request, &granted);
                tx.insert_grant(&grant);
                note_granted(&grant, decision.id, &mut record);
            }
            Outcome::Deny(_) => {
                let reason = denial_word(&decision.outcome);
                let denied =
                    request.clone().deny(reason, now).map_err(|refusal| BrokerError::AlreadyDecided(refusal.state))?;
                tx.update_request(&request, &denied);
                record.note(EventKind::AccessDenied, about_request(&request), [("reason", reason.into())]);
            }
            Outcome::Permit(_) | Outcome::RequireApproval(_) => tx.check_request(&request),
        }
        let committed = record.commit(tx).await;
        let decided = decision.id;
        let is_there = async |store: &Store| Ok(store.find_decision(decided).await?.is_some());
        match self.read_back(committed, is_there).await {
            Ok(()) => {
                self.signals.changed(task.id);
                Ok(())
            }
            // Another verdict settled it in the same moment: there is one outcome, and it is on record.
            Err(StoreError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Why somebody may not decide, in one word.
pub(super) fn in_one_word(refused: &BrokerError) -> String {
    match refused {
        BrokerError::OwnRequest => "own_request".to_owned(),
        BrokerError::NotInGroup { groups, .. } => format!("not_in_group:{}", groups.join(",")),
        _ => "already_decided".to_owned(),
    }
}

/// Whose verdict counts: not the owner's or the beneficiary's, and only of people in the rule's groups.
pub(super) fn check_voter(
    caller: &OperatorCaller,
    bundle: &Bundle,
    agent: &Agent,
    task: &Task,
    request: &AccessRequest,
) -> Result<(), BrokerError> {
    let Some((rule, _)) = request.pending() else {
        return Err(BrokerError::AlreadyDecided(request.state.as_str()));
    };
    if is_own_request(bundle, agent, task, &caller.operator) {
        return Err(BrokerError::OwnRequest);
    }
    let groups = rule.groups();
    if !groups.iter().any(|group| caller.operator.groups.iter().any(|own| own == group)) {
        let groups = groups.into_iter().map(str::to_owned).collect();
        return Err(BrokerError::NotInGroup { rule: rule.to_string(), groups });
    }
    Ok(())
}
