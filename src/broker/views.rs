//! From the nouns of the house to the shapes of the wire.

use super::mint::Ready;
use super::repeat::Repeated;
use super::{Broker, BrokerError};
use crate::api::{
    AgentAction, AgentView, ApprovalView, DecisionView, LeaseView, QuestionView, RequestSummary, TaskAnswer,
};
use crate::domain::{
    AccessRequest, Agent, ApprovalRule, Decision, Lease, LeaseState, PolicyRef, RequestState, Task, TaskState,
};

impl From<&Lease> for LeaseView {
    fn from(lease: &Lease) -> Self {
        let (cause, proof, ends_by) = match &lease.state {
            LeaseState::Minting | LeaseState::Live { .. } => (None, None, None),
            LeaseState::Ending { cause, ends_by, .. } => (Some(cause.to_string()), None, *ends_by),
            LeaseState::Ended { cause, proof, .. } => (Some(cause.to_string()), Some(proof.clone()), None),
        };
        Self {
            id: lease.id.to_string(),
            task: lease.task.to_string(),
            agent: lease.agent.to_string(),
            request: lease.request.to_string(),
            grant: lease.grant.to_string(),
            backend: lease.backend.to_string(),
            scopes: lease.scopes.iter().map(ToString::to_string).collect(),
            state: lease.state.as_str().to_owned(),
            closure: None,
            cause,
            proof,
            ends_by,
            disabled_at: match &lease.state {
                LeaseState::Ending { disabled_at, .. } => *disabled_at,
                LeaseState::Minting | LeaseState::Live { .. } | LeaseState::Ended { .. } => None,
            },
            irrevocable: lease.is_irrevocable(),
            intent_at: lease.intent_at,
            usable_until: lease.ends_at,
            native_end: lease.native_end,
        }
    }
}

/// Policies as the wire shows them.
pub(super) fn policies(determining: &[PolicyRef]) -> Vec<crate::api::operator::PolicyView> {
    determining
        .iter()
        .map(|policy| crate::api::operator::PolicyView { id: policy.id.clone(), reason: policy.reason.clone() })
        .collect()
}

/// A decision as the wire shows it.
pub(super) fn decision_view(decision: &Decision) -> DecisionView {
    DecisionView {
        id: decision.id.to_string(),
        outcome: decision.outcome.as_str().to_owned(),
        determining: policies(&decision.determining),
        bundle: decision.bundle.to_string(),
        // A stored input is canonical JSON; anything else was changed behind our back and is shown as the text it is.
        input: serde_json::from_str(&decision.input).unwrap_or_else(|_| decision.input.clone().into()),
        at: decision.at,
    }
}

/// An agent of the inventory as the wire shows it.
pub(super) fn agent_view(agent: &Agent, suspended: Option<String>) -> AgentView {
    AgentView {
        id: agent.id.to_string(),
        description: agent.description.clone(),
        owner: agent.owner.to_string(),
        risk_tier: agent.risk_tier.to_string(),
        kinds: agent.kinds.iter().map(ToString::to_string).collect(),
        ceiling: agent.ceiling.entries().iter().map(ToString::to_string).collect(),
        suspended,
    }
}

/// What the decision on a request lets its agent know.
pub(super) fn reasons(decision: Option<&Decision>) -> Vec<String> {
    decision
        .map(|decision| decision.determining.iter().map(|policy| policy.reason.clone()).collect())
        .unwrap_or_default()
}

impl Broker {
    fn request_summary(&self, request: &AccessRequest, decision: Option<&Decision>, given: u32) -> RequestSummary {
        let (approval, denied) = match &request.state {
            RequestState::Pending { rule, lapses_at, .. } => {
                (Some(self.approval_view(request, rule, *lapses_at, &reasons(decision), given)), None)
            }
            RequestState::Denied { reason } => {
                let because = if reason == "by_approver" { Vec::new() } else { reasons(decision) };
                (None, Some(crate::api::task::DenialView { reason: reason.clone(), because }))
            }
            RequestState::Granted { .. } | RequestState::Withdrawn | RequestState::Lapsed => (None, None),
        };
        RequestSummary {
            id: request.id.to_string(),
            state: request.state.as_str().to_owned(),
            scopes: request.scopes.iter().map(ToString::to_string).collect(),
            decision: request.decision.to_string(),
            approval,
            denied,
            questions: Vec::new(),
        }
    }

    /// Where a person reads and decides a request.
    pub(super) fn review_url(&self, request: crate::domain::RequestId) -> String {
        format!("{}/r/{request}", self.public_url)
    }

    fn approval_view(
        &self,
        request: &AccessRequest,
        rule: &ApprovalRule,
        lapses_at: crate::domain::Timestamp,
        reasons: &[String],
        given: u32,
    ) -> ApprovalView {
        ApprovalView {
            url: self.review_url(request.id),
            rule: rule.to_string(),
            given,
            reason: reasons.join(" "),
            lapses_at,
        }
    }

    /// The answer to a question that was just settled, with what waited already and the credentials that are ready.
    pub(super) fn answer_fresh<'a>(
        &self,
        task: &Task,
        fresh: impl Iterator<Item = (&'a AccessRequest, &'a Decision)>,
        repeated: &[Repeated],
        ready: Vec<Ready>,
        failed: Option<&BrokerError>,
    ) -> TaskAnswer {
        let fresh = fresh.map(|(request, decision)| self.request_summary(request, Some(decision), 0));
        let waiting = repeated.iter().map(|one| self.request_summary(&one.request, Some(&one.decision), one.given));
        let summaries = fresh.chain(waiting).collect();
        let mut answer = task_answer(task, summaries, Vec::new());
        self.add_credentials(&mut answer, ready, failed);
        answer
    }

    /// A task as it is on record, without any secret.
    pub(super) async fn answer_stored(&self, task: &Task) -> Result<TaskAnswer, BrokerError> {
        let requests = self.store.list_requests_of_task(task.id).await?;
        let decisions = self.store.list_decisions_of_task(task.id).await?;
        let questions = if requests.iter().any(|request| request.pending().is_some()) {
            self.store.list_questions_of_task(task.id).await?
        } else {
            Vec::new()
        };
        let mut summaries = Vec::with_capacity(requests.len());
        for request in &requests {
            let decision = decisions.iter().find(|decision| decision.id == request.decision);
            let given = match request.pending() {
                Some(_) => self.store.list_approvals(request.id).await?.len(),
                None => 0,
            };
            let mut summary = self.request_summary(request, decision, u32::try_from(given).unwrap_or(u32::MAX));
            let own = questions.iter().filter(|question| question.request == request.id);
            summary.questions = own.map(QuestionView::from).collect();
            summaries.push(summary);
        }
        let now = self.clock.now();
        let leases = self.store.list_leases_of_task(task.id).await?;
        let held = leases.iter().filter(|lease| lease.is_active(now)).map(|lease| lease.id.to_string()).collect();
        let collectable = requests.iter().any(|request| {
            matches!(&request.state, RequestState::Granted { grant } if !leases.iter().any(|lease| lease.grant == *grant))
        });
        let mut answer = task_answer(task, summaries, held);
        if collectable && task.is_open(now) {
            "Something was granted that you have not collected: POST to this task's /credentials."
                .clone_into(&mut answer.message);
        }
        Ok(answer)
    }

    /// Put credentials into an answer, and say what to do next.
    pub(super) fn add_credentials(&self, answer: &mut TaskAnswer, ready: Vec<Ready>, failed: Option<&BrokerError>) {
        for one in ready {
            match &one.sealed {
                None => self.deliveries.send(&one.lease),
                // One that was minted outside works only now; the others are on record as delivered.
                Some(sealed) if one.lease.is_undelivered() => {
                    self.deliveries.deposit(&one.lease, sealed.to.clone(), self.clock.now());
                }
                Some(_) => {}
            }
            let id = one.lease.id.to_string();
            answer.already_delivered.retain(|held| *held != id);
            answer.credentials.push(one.into_credential());
        }
        if let Some(error) = failed {
            tracing::warn!(task.id = answer.id, %error, "a granted credential could not be minted");
            answer.agent_action = AgentAction::RetryLater;
            "Granted, but a backend could not mint it now. POST to this task's /credentials again in a few seconds."
                .clone_into(&mut answer.message);
        } else if !answer.credentials.is_empty() && answer.agent_action == AgentAction::Proceed {
            "Use these credentials for this task only. POST to this task's /complete when you are done; everything ends then.".clone_into(&mut answer.message);
        }
    }
}

fn task_answer(task: &Task, requests: Vec<RequestSummary>, held: Vec<String>) -> TaskAnswer {
    let (agent_action, message) = next_step(task, &requests);
    let cause = match task.state {
        TaskState::Open => None,
        TaskState::Closed { cause, .. } => Some(cause.to_string()),
    };
    TaskAnswer {
        id: task.id.to_string(),
        state: task.state.as_str().to_owned(),
        cause,
        agent: task.agent.to_string(),
        purpose: task.purpose.as_str().to_owned(),
        agent_action,
        opened_at: task.opened_at,
        expires_at: task.ends_at,
        requests,
        credentials: Vec::new(),
        already_delivered: held,
        message: message.to_owned(),
    }
}

/// What an agent should do next, in one word and in words that never send it looking for another credential.
fn next_step(task: &Task, requests: &[RequestSummary]) -> (AgentAction, &'static str) {
    let any = |state: &str| requests.iter().any(|request| request.state == state);
    if matches!(task.state, TaskState::Closed { .. }) {
        (
            AgentAction::Stop,
            "This task has ended, and everything it held with it. Stop work that needs it and report. Do not use any other key, profile or token you can find.",
        )
    } else if requests.iter().any(|request| request.questions.iter().any(|asked| asked.answered_at.is_none())) {
        (
            AgentAction::Answer,
            "A person asks you something before deciding: POST your answer to /requests/{request}/answers of this task, then GET this task with ?wait=25. Do not look for other credentials.",
        )
    } else if any("pending") && any("granted") {
        (
            AgentAction::Wait,
            "Some of it needs a person. Use what you have, then GET this task with ?wait=25. Do not look for other credentials.",
        )
    } else if any("pending") {
        (
            AgentAction::Wait,
            "This needs a person. GET this task with ?wait=25, and POST to its /credentials once it is granted. Do not look for other credentials.",
        )
    } else if any("granted") && (any("denied") || any("lapsed")) {
        (
            AgentAction::Narrow,
            "Part of it was not granted. Go on with what you have, or stop and report. Do not use any other key, profile or token you can find.",
        )
    } else if any("granted") {
        (
            AgentAction::Proceed,
            "Everything was granted. Credentials are delivered once; POST to this task's /credentials for a fresh one after expiry.",
        )
    } else {
        (
            AgentAction::Stop,
            "Nothing was granted. Stop work that needs it and report. Do not use any other key, profile or token you can find.",
        )
    }
}
