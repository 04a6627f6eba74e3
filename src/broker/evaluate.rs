//! Asking policy about a whole request: one question a scope, then scopes with the same answer, backend and bucket become one
//! access request each, so that a harmless scope need not wait for a dangerous one.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::{Broker, BrokerError};
use crate::domain::{
    AccessRequest, Agent, CatalogueEntry, Decision, Digest, LeaseId, MintPlan, Name, Outcome, PolicyRef, Scope,
    ScopeSet, Task, TaskId, Timestamp, Ttl, Voter,
};
use crate::minter::{MintOrder, Minter};
use crate::policy::{Answer, Bundle, Question};
use crate::sys::{sha256, sorted_json};

/// Scopes of one request with one answer.
pub(super) struct Group {
    pub backend: Name,
    pub scopes: ScopeSet,
    pub ttl: Ttl,
    pub decision: Decision,
    /// The lease a mint would have.
    pub lease: LeaseId,
    /// What would be minted; absent when the answer is no.
    pub plan: Option<MintPlan>,
}

/// One scope of a question, with its entry, its answer and the life it would have.
struct Member<'a> {
    scope: &'a Scope,
    entry: &'a CatalogueEntry,
    answer: Answer,
    ttl: Ttl,
}

/// Everything that is the same for each scope of a question.
pub(super) struct Asking<'a> {
    pub bundle: &'a Bundle,
    pub agent: &'a Agent,
    pub task: &'a Task,
    pub now: Timestamp,
    pub voters: &'a [Voter],
    pub confirmation_key: Option<&'a str>,
}

impl Asking<'_> {
    /// Ask about one scope.
    pub(super) fn ask(&self, scope: &Scope, ttl: Ttl) -> Answer {
        let issuer = self.task.identity.split_once('#').map_or("", |(issuer, _)| issuer);
        let question = Question {
            agent: self.agent,
            task: self.task,
            issuer,
            ttl,
            now: self.now,
            voters: self.voters,
            key_bound: self.confirmation_key.is_some(),
        };
        self.bundle.ask(&question, scope)
    }
}

/// The answers to several scopes as one decision: the strictest, with all that determined it and every input.
fn combine(id: crate::domain::DecisionId, answers: Vec<Answer>, bundle: Digest, at: Timestamp) -> Option<Decision> {
    let mut input = String::from("[");
    let mut determining: Vec<PolicyRef> = Vec::new();
    let mut outcome: Option<Outcome> = None;
    for answer in answers {
        if outcome.is_some() {
            input.push(',');
        }
        input.push_str(&answer.input);
        determining.extend(answer.determining);
        outcome = Some(match outcome {
            None => answer.outcome,
            Some(so_far) => so_far.meet(answer.outcome),
        });
    }
    input.push(']');
    determining.sort();
    determining.dedup();
    outcome.map(|outcome| Decision { id, outcome, determining, bundle, input, at })
}

/// What keeps scopes apart: backend, bucket, and the answer with its approval rule and what a yes takes.
fn group_key(backend: &Name, bucket: String, outcome: &Outcome) -> (Name, String, String) {
    let class = match outcome {
        Outcome::Permit(_) => "permit".to_owned(),
        Outcome::RequireApproval(terms) => {
            let takes = serde_json::to_string(&terms.of_approval).unwrap_or_default();
            terms.approval.as_ref().map_or_else(|| "approval".to_owned(), |rule| format!("approval:{rule}:{takes}"))
        }
        Outcome::Deny(denial) => format!("deny:{}", denial.as_str()),
    };
    (backend.clone(), bucket, class)
}

impl Broker {
    pub(super) fn minter(&self, backend: &Name) -> Result<&Arc<dyn Minter>, BrokerError> {
        self.minters.find(backend).ok_or_else(|| {
            BrokerError::Invalid(format!(
                "the backend `{backend}` of this scope is not configured here; ask your operator"
            ))
        })
    }

    /// Ask policy about each scope and group them by answer. `life` is the life that was asked for, if any.
    pub(super) fn evaluate(
        &self,
        asking: &Asking<'_>,
        scopes: &ScopeSet,
        life: Option<Ttl>,
    ) -> Result<Vec<Group>, BrokerError> {
        let catalogue = asking.bundle.catalogue();
        let mut groups: BTreeMap<(Name, String, String), Vec<Member<'_>>> = BTreeMap::new();
        for scope in scopes.iter() {
            let entry = catalogue.check(scope)?;
            let backend = entry.name.backend();
            let bucket = self.minter(backend)?.bucket(entry)?;
            let ttl = life.unwrap_or_else(|| entry.max_ttl.min(Ttl::TEN_MINUTES));
            let answer = asking.ask(scope, ttl);
            let key = group_key(backend, bucket, &answer.outcome);
            groups.entry(key).or_default().push(Member { scope, entry, answer, ttl });
        }
        groups.into_iter().map(|((backend, _, _), members)| self.group(asking, backend, members, life)).collect()
    }

    fn group(
        &self,
        asking: &Asking<'_>,
        backend: Name,
        members: Vec<Member<'_>>,
        life: Option<Ttl>,
    ) -> Result<Group, BrokerError> {
        let mut ttl = members.iter().map(|member| member.ttl).min().unwrap_or(Ttl::TEN_MINUTES);
        let scopes = ScopeSet::new(members.iter().map(|member| member.scope.clone()))?;
        let pairs: Vec<_> = members.iter().map(|member| (member.scope, member.entry)).collect();
        let answers = members.into_iter().map(|member| member.answer).collect();
        let decision = combine(self.ids.decision(), answers, asking.bundle.digest(), asking.now)
            .ok_or_else(|| BrokerError::Internal("a group without scopes".to_owned()))?;
        let lease = self.ids.lease();
        let plan = match &decision.outcome {
            Outcome::Deny(_) => None,
            Outcome::Permit(terms) | Outcome::RequireApproval(terms) => {
                // Nothing is clamped silently: a life that was asked for is refused when policy's terms are shorter.
                if let Some(asked) = life.filter(|asked| *asked > terms.max_ttl) {
                    return Err(BrokerError::TtlTooLong {
                        what: "ttl_seconds",
                        asked: asked.as_secs(),
                        allowed: terms.max_ttl.as_secs(),
                        whose: "this by policy".to_owned(),
                    });
                }
                ttl = ttl.min(terms.max_ttl);
                let ends_at = asking.now.plus(ttl).min(asking.task.ends_at);
                Some(self.plan(asking, &backend, pairs, ttl, lease, ends_at)?)
            }
        };
        Ok(Group { backend, scopes, ttl, decision, lease, plan })
    }

    /// The plan for one lease; pure but for the id.
    pub(super) fn plan(
        &self,
        asking: &Asking<'_>,
        backend: &Name,
        scopes: Vec<(&Scope, &CatalogueEntry)>,
        ttl: Ttl,
        lease: LeaseId,
        ends_at: Timestamp,
    ) -> Result<MintPlan, BrokerError> {
        let minter = self.minter(backend)?;
        let order = MintOrder {
            lease,
            task: asking.task.id,
            agent: &asking.agent.id,
            beneficiary: asking.task.beneficiary.as_deref(),
            scopes,
            ttl,
            now: asking.now,
            ends_at,
            confirmation_key: asking.confirmation_key,
            status: minter.has_status_lists().then(|| self.status_places.next()),
        };
        Ok(minter.plan(&order)?)
    }

    /// The plan for these scopes and this life as things stand now: for its effect and its digest, not to be minted by.
    pub(super) fn plan_now(
        &self,
        asking: &Asking<'_>,
        backend: &Name,
        scopes: &ScopeSet,
        ttl: Ttl,
    ) -> Result<MintPlan, BrokerError> {
        let ends_at = asking.now.plus(ttl).min(asking.task.ends_at);
        self.plan(asking, backend, pairs(asking.bundle, scopes)?, ttl, self.ids.lease(), ends_at)
    }

    /// Ask policy again about a request that was asked before, as things stand now: catalogue and ceilings may be others since.
    ///
    /// # Errors
    /// Those of [`is_no_more`] when it could not even be asked for now.
    pub(super) fn reevaluate(&self, asking: &Asking<'_>, scopes: &ScopeSet, ttl: Ttl) -> Result<Decision, BrokerError> {
        let catalogue = asking.bundle.catalogue();
        let mut answers = Vec::with_capacity(scopes.len());
        for scope in scopes.iter() {
            catalogue.check(scope)?;
            if ![&asking.agent.ceiling, &asking.task.ceiling].iter().all(|ceiling| ceiling.covers(scope, catalogue)) {
                return Err(BrokerError::AboveCeiling(vec![scope.to_string()]));
            }
            answers.push(asking.ask(scope, ttl));
        }
        combine(self.ids.decision(), answers, asking.bundle.digest(), asking.now)
            .ok_or_else(|| BrokerError::Internal("a request without scopes".to_owned()))
    }
}

/// Scopes with their catalogue entries.
pub(super) fn pairs<'a>(
    bundle: &'a Bundle,
    scopes: &'a ScopeSet,
) -> Result<Vec<(&'a Scope, &'a CatalogueEntry)>, BrokerError> {
    scopes.iter().map(|scope| Ok((scope, bundle.catalogue().check(scope)?))).collect()
}

/// Whether asking again says that what was once asked for cannot even be asked for now.
pub(super) const fn is_no_more(error: &BrokerError) -> bool {
    matches!(
        error,
        BrokerError::Param(_)
            | BrokerError::AboveCeiling(_)
            | BrokerError::Mint(crate::minter::MintError::Unsupported(_))
    )
}

/// Everything an approver is shown and a mint obeys, in canonical order; its digest ties the three together.
#[derive(Serialize)]
struct Shown<'a> {
    agent: &'a str,
    /// What people asked and the agent answered; what waits for an answer changes nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    answers: Vec<(&'a str, &'a str)>,
    bundle: Digest,
    confirmation_key: Option<&'a str>,
    identity: &'a str,
    kind: Option<&'a Name>,
    message: Option<&'a str>,
    on_behalf_of: Option<&'a str>,
    plan: Digest,
    purpose: &'a str,
    references: &'a BTreeMap<String, String>,
    scopes: &'a ScopeSet,
    task: TaskId,
    ttl_seconds: u32,
}

/// Everything an approver is shown and a mint obeys, under this bundle and this plan, as the canonical JSON whose digest is the
/// request digest.
pub(super) fn shown_request(
    task: &Task,
    scopes: &ScopeSet,
    ttl: Ttl,
    confirmation_key: Option<&str>,
    (plan, bundle): (Digest, Digest),
    questions: &[crate::domain::Question],
) -> Result<String, BrokerError> {
    let shown = Shown {
        agent: task.agent.as_str(),
        answers: questions
            .iter()
            .filter_map(|question| {
                question.answer.as_ref().map(|(answer, _)| (question.text.as_str(), answer.as_str()))
            })
            .collect(),
        bundle,
        confirmation_key,
        identity: &task.identity,
        kind: task.kind.as_ref(),
        message: task.message.as_ref().map(crate::domain::Message::as_str),
        on_behalf_of: task.beneficiary.as_deref(),
        plan,
        purpose: task.purpose.as_str(),
        references: &task.references,
        scopes,
        task: task.id,
        ttl_seconds: ttl.as_secs(),
    };
    sorted_json(&shown).map_err(|error| BrokerError::Internal(error.to_string()))
}

/// The digest of [`shown_request`].
pub(super) fn request_digest(
    task: &Task,
    scopes: &ScopeSet,
    ttl: Ttl,
    confirmation_key: Option<&str>,
    of: (Digest, Digest),
    questions: &[crate::domain::Question],
) -> Result<Digest, BrokerError> {
    shown_request(task, scopes, ttl, confirmation_key, of, questions).map(sha256)
}

/// The digest of a stored request as it stands now: the same when neither plan nor bundle nor request has changed, and the agent has
/// answered nothing since.
pub(super) fn current_digest(
    broker: &Broker,
    asking: &Asking<'_>,
    request: &AccessRequest,
    questions: &[crate::domain::Question],
) -> Result<(MintPlan, Digest), BrokerError> {
    let (plan, shown) = current_shown(broker, asking, request, questions)?;
    Ok((plan, sha256(shown)))
}

/// A stored request as it is shown now: the plan, and what the request digest is the digest of.
pub(super) fn current_shown(
    broker: &Broker,
    asking: &Asking<'_>,
    request: &AccessRequest,
    questions: &[crate::domain::Question],
) -> Result<(MintPlan, String), BrokerError> {
    let plan = broker.plan_now(asking, &request.backend, &request.scopes, request.ttl)?;
    let key = request.confirmation_key.as_deref();
    let of = (plan.digest, asking.bundle.digest());
    let shown = shown_request(asking.task, &request.scopes, request.ttl, key, of, questions)?;
    Ok((plan, shown))
}
