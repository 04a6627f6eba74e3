//! Opening a task and asking for more within it: parse, ask policy, then grant, queue or deny, all in one commit. What needs no
//! outside call is minted before that commit and leaves after it.

use super::ask::{ParsedAccess, parse_access, parse_task};
use super::evaluate::{Asking, Group, request_digest};
use super::facts::{Record, about_request, close_denied, note_opened, note_request};
use super::idempotency::{Attempt, Once, subject};
use super::mint::{Begun, note_granted};
use super::mint_outside::Ground;
use super::repeat::Repeated;
use super::{AgentCaller, Broker, BrokerError};
use crate::api::{MoreAccessAsk, TaskAnswer, TaskAsk};
use crate::domain::{
    AccessRequest, AccessRequestRecord, Actor, Agent, Decision, Denial, EventKind, Grant, GrantRecord, GrantState,
    Outcome, RequestState, Subjects, Task, Terms,
};
use crate::minter::MintError;
use crate::policy::Bundle;
use crate::store::{Control, Tx};
use crate::sys::{DeliveryKey, sha256};

/// How often a use case starts over when policy, kill switch or agents changed under it.
pub(super) const MAX_TRIES: u32 = 3;

/// What one question came to, ready to be committed and then finished.
pub(super) struct Settled {
    pub(super) requests: Vec<AccessRequest>,
    pub(super) decisions: Vec<Decision>,
    /// What waits already and was asked for again.
    pub(super) repeated: Vec<Repeated>,
    /// Grants that are collected later.
    grants: Vec<Grant>,
    begun: Vec<(Grant, Begun)>,
    /// Whether what is permitted is minted at once.
    mints: bool,
    seal_to: Option<DeliveryKey>,
}

impl Settled {
    pub(super) fn all_denied(&self) -> bool {
        let denied = |request: &AccessRequest| matches!(request.state, RequestState::Denied { .. });
        self.repeated.is_empty() && self.requests.iter().all(denied)
    }

    /// The requests it made and those it joined.
    pub(super) fn all_requests(&self) -> impl Iterator<Item = &AccessRequest> {
        self.requests.iter().chain(self.repeated.iter().map(|repeated| &repeated.request))
    }

    /// As its idempotency key remembers it.
    fn subject(&self, task: &Task) -> String {
        let sealed = self.begun.iter().filter(|_| self.seal_to.is_some()).map(|(_, begun)| begun.lease());
        subject(task, self.all_requests(), sealed)
    }
}

/// The refusal, when nothing was permitted: the worst answer and every reason.
pub(super) fn denial(task: &Task, decisions: &[Decision]) -> BrokerError {
    let worst = decisions.iter().find(|decision| matches!(decision.outcome, Outcome::Deny(Denial::PolicyError { .. })));
    let decision = worst.or_else(|| decisions.first());
    let mut because: Vec<String> =
        decisions.iter().flat_map(|decision| decision.determining.iter().map(|policy| policy.reason.clone())).collect();
    because.dedup();
    BrokerError::Denied {
        task: task.id.to_string(),
        decision: decision.map(|decision| decision.id.to_string()).unwrap_or_default(),
        reason: decision.map_or("not_permitted", |decision| denial_word(&decision.outcome)).to_owned(),
        because,
    }
}

/// The word for why an outcome is no.
pub(super) const fn denial_word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Deny(denial) => denial.as_str(),
        Outcome::Permit(_) | Outcome::RequireApproval(_) => "not_permitted",
    }
}

impl Broker {
    /// Open a task and ask for scopes; what is permitted is minted and delivered in the answer.
    ///
    /// # Errors
    /// [`BrokerError`]; `Denied` when nothing was permitted, and then the closed task is on record.
    pub async fn open_task(
        &self,
        caller: &AgentCaller,
        ask: TaskAsk,
        idempotency_key: Option<String>,
    ) -> Result<TaskAnswer, BrokerError> {
        let once = Once::of_agent(caller, "POST /v1/tasks", &ask, idempotency_key)?;
        self.exactly_once(&once, || self.try_open_task(caller, &ask, &once)).await
    }

    async fn try_open_task(&self, caller: &AgentCaller, ask: &TaskAsk, once: &Once) -> Attempt<TaskAnswer> {
        let (bundle, control) = self.standing()?;
        let agent = self.standing_agent(&bundle, &caller.agent)?;
        let parsed = match parse_task(ask, agent, bundle.catalogue()) {
            Ok(parsed) => parsed,
            Err(error) => return Err(self.note_above_ceiling(agent, None, error).await),
        };
        let now = self.clock.now();
        let identity = format!("{}#{}", caller.issuer, caller.subject);
        let (task, access) = parsed.into_task(self.ids.task(), agent, identity, now)?;

        let mut record = Record::new(&self.ids, now, Actor::Agent(agent.id.clone()));
        note_opened(&task, &mut record);
        let settled = self.settle(&bundle, agent, &task, &access, true, &mut record).await?;
        let task = if settled.all_denied() { close_denied(task, &mut record)? } else { task };
        let mut tx = self.store.begin("task.open");
        once.record(&mut tx, || settled.subject(&task), now);
        tx.insert_task(&task);
        self.commit_settled(tx, agent, &task, &settled, &control, record).await?;
        Ok(self.deliver(caller, task, settled, control).await)
    }

    /// Ask for more within a task.
    ///
    /// # Errors
    /// [`BrokerError`]; `Denied` when nothing more was permitted, and then the task goes on as it was.
    pub async fn request_access(
        &self,
        caller: &AgentCaller,
        task: &str,
        ask: MoreAccessAsk,
        idempotency_key: Option<String>,
    ) -> Result<TaskAnswer, BrokerError> {
        let once = Once::of_agent(caller, &format!("POST /v1/tasks/{task}/requests"), &ask, idempotency_key)?;
        self.exactly_once(&once, || self.try_request_access(caller, task, &ask, &once)).await
    }

    async fn try_request_access(
        &self,
        caller: &AgentCaller,
        task: &str,
        ask: &MoreAccessAsk,
        once: &Once,
    ) -> Attempt<TaskAnswer> {
        let (bundle, control) = self.standing()?;
        let agent = self.standing_agent(&bundle, &caller.agent)?;
        let task = self.open_task_of(caller, task).await?;
        let now = self.clock.now();
        let access = parse_access(
            &ask.scopes,
            ask.ttl_seconds,
            (ask.confirmation_key.as_ref(), ask.delivery_key.as_ref()),
            bundle.catalogue(),
            &[&agent.ceiling, &task.ceiling],
        );
        let access = match access {
            Ok(access) => access,
            Err(error) => return Err(self.note_above_ceiling(agent, Some(&task), error).await),
        };
        let mut record = Record::new(&self.ids, now, Actor::Agent(agent.id.clone()));
        let settled = self.settle(&bundle, agent, &task, &access, true, &mut record).await?;
        let mut tx = self.store.begin("access.request");
        once.record(&mut tx, || settled.subject(&task), now);
        tx.check_task(&task);
        self.commit_settled(tx, agent, &task, &settled, &control, record).await?;
        Ok(self.deliver(caller, task, settled, control).await)
    }

    /// Who reaches above its ceiling is refused before policy is asked; that it reached goes on record all the same.
    pub(super) async fn note_above_ceiling(
        &self,
        agent: &Agent,
        task: Option<&Task>,
        error: BrokerError,
    ) -> BrokerError {
        let BrokerError::AboveCeiling(scopes) = &error else { return error };
        let subjects =
            Subjects { agent: Some(agent.id.clone()), task: task.map(|task| task.id), ..Subjects::default() };
        let mut record = Record::new(&self.ids, self.clock.now(), Actor::Agent(agent.id.clone()));
        record.note(
            EventKind::AccessDenied,
            subjects,
            [("reason", "above_ceiling".into()), ("scopes", scopes.clone().into())],
        );
        match record.commit(self.store.begin("access.refuse")).await {
            Ok(()) => error,
            Err(unwritten) => unwritten.into(),
        }
    }

    /// Ask policy, and turn each group of answers into a request and what follows from it. What is permitted is minted at once, or
    /// left to be collected.
    pub(super) async fn settle(
        &self,
        bundle: &Bundle,
        agent: &Agent,
        task: &Task,
        access: &ParsedAccess,
        mints: bool,
        record: &mut Record<'_>,
    ) -> Result<Settled, BrokerError> {
        let key = access.confirmation_key.as_deref();
        let asking = Asking { bundle, agent, task, now: record.now(), voters: &[], confirmation_key: key };
        let groups = self.evaluate(&asking, &access.scopes, access.ttl)?;
        let mut settled = Settled {
            requests: Vec::new(),
            decisions: Vec::new(),
            repeated: Vec::new(),
            grants: Vec::new(),
            begun: Vec::new(),
            mints,
            seal_to: access.delivery_key.clone(),
        };
        for group in groups {
            self.settle_group(&asking, group, record, &mut settled).await?;
        }
        Ok(settled)
    }

    async fn settle_group(
        &self,
        asking: &Asking<'_>,
        group: Group,
        record: &mut Record<'_>,
        settled: &mut Settled,
    ) -> Result<(), BrokerError> {
        let Group { backend, scopes, ttl, decision, lease, plan } = group;
        let nothing = || ("null".to_owned(), sha256("null"));
        let (effect, plan_digest) = plan.as_ref().map_or_else(nothing, |plan| (plan.effect.clone(), plan.digest));
        let (key, of) = (asking.confirmation_key, (plan_digest, decision.bundle));
        let digest = request_digest(asking.task, &scopes, ttl, key, of, &[])?;
        if let Some(repeated) = self.waiting_like(asking.task, &decision, digest, record).await? {
            settled.repeated.push(repeated);
            return Ok(());
        }
        let grant_id = self.ids.grant();
        let state = match &decision.outcome {
            Outcome::Permit(_) => RequestState::Granted { grant: grant_id },
            Outcome::RequireApproval(Terms { approval: Some(rule), of_approval, .. }) => RequestState::Pending {
                rule: rule.clone(),
                terms: of_approval.clone(),
                lapses_at: of_approval.lapses_at(asking.now, asking.task.ends_at),
            },
            Outcome::RequireApproval(Terms { approval: None, .. }) => {
                return Err(BrokerError::Internal("an approval without a rule".to_owned()));
            }
            Outcome::Deny(denial) => RequestState::Denied { reason: denial.as_str().to_owned() },
        };
        let request = AccessRequest::new(AccessRequestRecord {
            id: self.ids.request(),
            task: asking.task.id,
            agent: asking.agent.id.clone(),
            backend: backend.clone(),
            scopes,
            ttl,
            confirmation_key: key.map(str::to_owned),
            digest,
            plan: plan_digest,
            effect,
            decision: decision.id,
            asked_at: asking.now,
            settled_at: (!matches!(state, RequestState::Pending { .. })).then_some(asking.now),
            state,
        })
        .map_err(|corrupt| BrokerError::Internal(corrupt.to_string()))?;
        note_request(&request, &decision, record);
        if let (Outcome::Permit(_), Some(plan)) = (&decision.outcome, plan) {
            let grant = Grant::new(GrantRecord {
                id: grant_id,
                request: request.id,
                task: request.task,
                agent: request.agent.clone(),
                backend,
                scopes: request.scopes.clone(),
                plan: plan.digest,
                ttl,
                given_at: asking.now,
                until: asking.task.ends_at,
                approved: None,
                state: GrantState::Live,
            })
            .map_err(|corrupt| BrokerError::Internal(corrupt.to_string()))?;
            note_granted(&grant, decision.id, record);
            if settled.mints {
                let begun = self.begin_mint(lease, &grant, plan, asking, settled.seal_to.as_ref(), record).await?;
                settled.begun.push((grant, begun));
            } else {
                settled.grants.push(grant);
            }
        }
        settled.requests.push(request);
        settled.decisions.push(decision);
        Ok(())
    }

    /// Make it durable. What waits already must still wait, and of what waits now there must be one only.
    pub(super) async fn commit_settled(
        &self,
        mut tx: Tx,
        agent: &Agent,
        task: &Task,
        settled: &Settled,
        control: &Control,
        record: Record<'_>,
    ) -> Result<(), BrokerError> {
        tx.expect_control(control);
        tx.limit_usage(&agent.id, agent.limits.live_leases, agent.limits.pending_requests);
        for (request, decision) in settled.requests.iter().zip(&settled.decisions) {
            tx.insert_request(request);
            tx.insert_decision(decision, Some(request.id), Some(task.id), &agent.id);
            if request.pending().is_some() {
                tx.check_alone_waiting(request);
            }
        }
        for repeated in &settled.repeated {
            tx.check_request(&repeated.request);
        }
        for grant in &settled.grants {
            tx.insert_grant(grant);
        }
        for (grant, begun) in &settled.begun {
            tx.insert_grant(grant);
            begun.insert(&mut tx)?;
        }
        crate::sys::killpoint!(MintBeforeIntent);
        let committed = record.commit(tx).await;
        let first = settled.requests.first().map(|request| request.id);
        match self
            .read_back(committed, async |store| match first {
                Some(id) => Ok(store.find_request(id).await?.is_some()),
                None => Ok(false),
            })
            .await
        {
            Ok(()) => Ok(()),
            Err(error) => Err(self.settle_store_error_for(error, agent).await),
        }
    }

    /// After the commit: finish what needs the outside, and answer with every credential that is ready.
    async fn deliver(
        &self,
        caller: &AgentCaller,
        task: Task,
        settled: Settled,
        control: Control,
    ) -> Result<TaskAnswer, BrokerError> {
        if settled.all_denied() {
            return Err(denial(&task, &settled.decisions));
        }
        let Settled { requests, decisions, repeated, begun, seal_to, .. } = settled;
        let ground = Ground { task, seen: control, fresh_until: caller.expires_at, seal_to };
        let (ready, failed) = self.finish_mints(begun, &ground).await;
        let waits = !repeated.is_empty() || requests.iter().any(|request| request.pending().is_some());
        let failed = refuse_or_tell(failed, !ready.is_empty() || waits)?;
        let fresh = requests.iter().zip(&decisions);
        Ok(self.answer_fresh(&ground.task, fresh, &repeated, ready, failed.as_ref()))
    }
}

/// A mint that failed is told beside what there is to answer. Where there is nothing, and it is not a backend that may be asked
/// again, it is the answer.
pub(super) fn refuse_or_tell(
    failed: Option<BrokerError>,
    something_else: bool,
) -> Result<Option<BrokerError>, BrokerError> {
    match failed {
        // What has changed stays changed: asking again is no help.
        Some(error @ BrokerError::Mint(MintError::TargetChanged(_))) if !something_else => Err(error),
        Some(error) if !something_else && !matches!(error, BrokerError::Mint(_)) => Err(error),
        other => Ok(other),
    }
}

/// Note what policy said to a request.
pub(super) fn note_decision(request: &AccessRequest, decision: &Decision, record: &mut Record<'_>) {
    let subjects = Subjects { decision: Some(decision.id), ..about_request(request) };
    let policies: Vec<String> = decision.determining.iter().map(|policy| policy.id.clone()).collect();
    let errors = match &decision.outcome {
        Outcome::Deny(Denial::PolicyError { errors }) => errors.clone(),
        Outcome::Deny(_) | Outcome::Permit(_) | Outcome::RequireApproval(_) => Vec::new(),
    };
    record.note(
        EventKind::PolicyDecided,
        subjects,
        [
            ("bundle", decision.bundle.to_string().into()),
            ("errors", errors.into()),
            ("input", sha256(&decision.input).to_string().into()),
            ("outcome", decision.outcome.as_str().into()),
            ("policies", policies.into()),
        ],
    );
}
