//! Seals: a MAC over each verdict and over each grant that rests on verdicts. Who can write to the database but has not the key
//! can neither make a yes nor make one say more; what does not fit its seal counts for nothing, and an alarm is raised.

use serde::Serialize;

use super::facts::{Record, about_grant, about_request};
use super::{Broker, BrokerError};
use crate::domain::{
    AccessRequest, Actor, AgentId, Approval, Approved, Digest, EventKind, Grant, GrantId, GrantRecord, Name,
    PlanDigest, RequestId, ScopeSet, Subjects, Task, TaskId, Timestamp,
};
use crate::sys::sha256;

/// By which the keys are told apart.
const OF_APPROVAL: &str = "approval v1";
const OF_GRANT: &str = "grant v1";

/// What the seal of a verdict says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seal {
    /// It fits.
    Fits,
    /// There is none: the verdict is of before there were seals.
    Absent,
    /// Somebody changed the row.
    Broken,
}

/// What is under the seal of a grant: itself, and what never changes of its request and its task. Members in alphabetical order.
#[derive(Serialize)]
struct GrantText<'a> {
    agent: &'a AgentId,
    backend: &'a Name,
    given_at: Timestamp,
    id: GrantId,
    mint_until: Option<Timestamp>,
    plan: PlanDigest,
    request: RequestText<'a>,
    scopes: &'a ScopeSet,
    task: TaskText<'a>,
    ttl_seconds: u32,
    until: Timestamp,
    uses: u32,
    v: u8,
}

#[derive(Serialize)]
struct RequestText<'a> {
    agent: &'a AgentId,
    asked_at: Timestamp,
    backend: &'a Name,
    confirmation_key: Option<&'a str>,
    digest: Digest,
    effect: Digest,
    id: RequestId,
    plan: PlanDigest,
    scopes: &'a ScopeSet,
    task: TaskId,
    ttl_seconds: u32,
}

#[derive(Serialize)]
struct TaskText<'a> {
    agent: &'a AgentId,
    beneficiary: Option<&'a str>,
    ceiling: String,
    ends_at: Timestamp,
    id: TaskId,
    identity: &'a str,
    kind: Option<&'a Name>,
    opened_at: Timestamp,
}

fn text_of(
    grant: &GrantRecord,
    uses: u32,
    mint_until: Option<Timestamp>,
    request: &AccessRequest,
    task: &Task,
) -> Result<String, BrokerError> {
    let text = GrantText {
        agent: &grant.agent,
        backend: &grant.backend,
        given_at: grant.given_at,
        id: grant.id,
        mint_until,
        plan: grant.plan,
        request: RequestText {
            agent: &request.agent,
            asked_at: request.asked_at,
            backend: &request.backend,
            confirmation_key: request.confirmation_key.as_deref(),
            digest: request.digest,
            effect: sha256(&request.effect),
            id: request.id,
            plan: request.plan,
            scopes: &request.scopes,
            task: request.task,
            ttl_seconds: request.ttl.as_secs(),
        },
        scopes: &grant.scopes,
        task: TaskText {
            agent: &task.agent,
            beneficiary: task.beneficiary.as_deref(),
            ceiling: task.ceiling.entries().iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            ends_at: task.ends_at,
            id: task.id,
            identity: &task.identity,
            kind: task.kind.as_ref(),
            opened_at: task.opened_at,
        },
        ttl_seconds: grant.ttl.as_secs(),
        until: grant.until,
        uses,
        v: 1,
    };
    serde_json::to_string(&text).map_err(|error| BrokerError::Internal(error.to_string()))
}

impl Broker {
    /// The verdict with its seal.
    pub(super) fn sealed(&self, approval: Approval) -> Result<Approval, BrokerError> {
        let seal = self.kek.mac(OF_APPROVAL, &approval.sealed_text())?;
        Ok(Approval { seal: Some(seal), ..approval })
    }

    /// Whether a verdict is what was recorded.
    pub(super) fn seal_of(&self, approval: &Approval) -> Seal {
        match &approval.seal {
            None => Seal::Absent,
            Some(seal) if self.kek.is_mac(OF_APPROVAL, &approval.sealed_text(), seal) => Seal::Fits,
            Some(_) => Seal::Broken,
        }
    }

    /// What people's yes bounds a grant to, sealed together with what it is for.
    pub(super) fn approved(
        &self,
        grant: &GrantRecord,
        uses: u32,
        mint_until: Option<Timestamp>,
        request: &AccessRequest,
        task: &Task,
    ) -> Result<Approved, BrokerError> {
        let seal = self.kek.mac(OF_GRANT, &text_of(grant, uses, mint_until, request, task)?)?;
        Ok(Approved { uses, mint_until, seal })
    }

    /// Whether a grant that rests on verdicts, its request and its task are what they were when it was given.
    pub(super) fn fits_its_seal(
        &self,
        grant: &Grant,
        request: &AccessRequest,
        task: &Task,
    ) -> Result<bool, BrokerError> {
        let Some(Approved { uses, mint_until, seal }) = &grant.approved else { return Ok(true) };
        Ok(self.kek.is_mac(OF_GRANT, &text_of(grant, *uses, *mint_until, request, task)?, seal))
    }

    /// Raise the alarm over verdicts that do not fit their seals.
    pub(super) async fn note_broken_seals(&self, request: &AccessRequest, broken: &[String]) {
        self.note_violations(about_request(request), broken).await;
    }

    /// Raise the alarm over a grant that does not fit its seal.
    pub(super) async fn note_broken_grant(&self, grant: &Grant) {
        self.note_violations(about_grant(grant), &[grant.id.to_string()]).await;
    }

    /// Within a budget: a row that stays broken is found anew by each look at it.
    async fn note_violations(&self, subjects: Subjects, records: &[String]) {
        if records.is_empty() {
            return;
        }
        metrics::counter!("hallpass_integrity_violations_total").increment(1);
        tracing::error!(
            ?records,
            "a stored record does not fit its seal; it counts for nothing, and somebody must look"
        );
        if !self.limits.may_record_rejection() {
            return;
        }
        let mut record = Record::new(&self.ids, self.clock.now(), Actor::Broker);
        record.note(EventKind::IntegrityViolated, subjects, [("records", records.to_vec().into())]);
        if let Err(error) = record.commit(self.store.begin("integrity.violated")).await {
            tracing::error!(%error, "a broken seal could not be recorded");
        }
    }
}
