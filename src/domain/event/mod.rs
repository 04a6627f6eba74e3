//! Audit events and their canonical bytes, which are fixed: a later Merkle log hashes exactly these. An event ending in
//! -ing is an intent, one in the past tense is a fact.

use std::collections::BTreeMap;

use serde::Serialize;

use super::word::words;
use super::{Actor, AgentId, DecisionId, EventId, GrantId, LeaseId, RequestId, TaskId, Timestamp};

words! {
    /// What happened.
    EventKind as "event kind" {
        /// A workload token was accepted and an agent recognised.
        IdentityVerified = "identity.verified",
        /// A workload token was refused.
        IdentityRejected = "identity.rejected",
        /// A person signed in, or signed a command line in.
        SessionOpened = "session.opened",
        /// A person answered a command line that asked to be signed in.
        SessionAnswered = "session.answered",
        /// A session was ended before its time.
        SessionEnded = "session.ended",
        /// A task was opened.
        TaskOpened = "task.opened",
        /// A task was heard from.
        TaskHeard = "task.heard",
        /// A task was closed.
        TaskClosed = "task.closed",
        /// Scopes were asked for.
        AccessRequested = "access.requested",
        /// Policy answered.
        PolicyDecided = "policy.decided",
        /// A grant was given.
        AccessGranted = "access.granted",
        /// A request was denied.
        AccessDenied = "access.denied",
        /// A request was withdrawn, by its agent or with its task.
        AccessWithdrawn = "access.withdrawn",
        /// The same was asked for again while a request for it waits; there is still one.
        AccessRepeated = "access.repeated",
        /// A request was filed through the access request profile of AuthZEN, with what it was bound to.
        AccessFiled = "access.filed",
        /// Nobody answered a request in time.
        AccessLapsed = "access.lapsed",
        /// A request waits for people.
        ApprovalAwaited = "approval.awaited",
        /// A person gave a verdict.
        ApprovalRecorded = "approval.recorded",
        /// Somebody who may decide asked the agent something.
        QuestionAsked = "question.asked",
        /// The agent answered; whoever had said yes before must look again.
        QuestionAnswered = "question.answered",
        /// One person let a request pass alone, in an emergency.
        GlassBroken = "glass.broken",
        /// Somebody else must review it by a time.
        ReviewDue = "review.due",
        /// Somebody else said whether it was right.
        ReviewDone = "review.done",
        /// Nobody reviewed it in time.
        ReviewOverdue = "review.overdue",
        /// A person let another decide in their place.
        DelegationGiven = "delegation.given",
        /// That ended before its time.
        DelegationEnded = "delegation.ended",
        /// A person's verdict was not taken.
        ApprovalRefused = "approval.refused",
        /// An issuer says something else of a person than before.
        PersonChanged = "person.changed",
        /// A stored record does not fit its seal: somebody changed it behind our back.
        IntegrityViolated = "integrity.violated",
        /// A credential was refused, because what was approved is not what would be minted.
        CredentialRefused = "credential.refused",
        /// A credential is about to be minted.
        CredentialMinting = "credential.minting",
        /// A credential was minted.
        CredentialMinted = "credential.minted",
        /// A secret was handed over.
        CredentialDelivered = "credential.delivered",
        /// A mint failed.
        CredentialFailed = "credential.failed",
        /// Authority ended: an agent's, a task's, a grant's, or a lease's.
        AuthorityRevoked = "authority.revoked",
        /// A grant ended.
        GrantEnded = "grant.ended",
        /// A lease must end.
        LeaseEnding = "lease.ending",
        /// A backend could not end a credential yet.
        LeaseDelayed = "lease.delayed",
        /// A backend was seen not to honour a credential any more; what is left is to make sure and to tidy up.
        LeaseDisabled = "lease.disabled",
        /// Ending a credential has failed so often that somebody must look: it may still work.
        LeaseIrrevocable = "lease.irrevocable",
        /// A lease has ended.
        LeaseEnded = "lease.ended",
        /// A credential of ours that no lease answers for was found at a backend, and ended.
        OrphanRevoked = "orphan.revoked",
        /// Nobody could be told by a channel; it was tried often and long enough.
        NoticeFailed = "notice.failed",
        /// The kill switch was thrown.
        KillSwitchEngaged = "kill_switch.engaged",
        /// The kill switch was released.
        KillSwitchReleased = "kill_switch.released",
        /// An agent was suspended.
        AgentSuspended = "agent.suspended",
        /// An agent was resumed.
        AgentResumed = "agent.resumed",
        /// Another policy bundle came into force.
        PolicyChanged = "policy.changed",
        /// A policy bundle was refused; the old one stays in force.
        PolicyChangeRejected = "policy.change_rejected",
        /// A person registered a passkey.
        PasskeyRegistered = "passkey.registered",
        /// A person gave a passkey another name.
        PasskeyRenamed = "passkey.renamed",
        /// A person removed a passkey.
        PasskeyRemoved = "passkey.removed",
        /// A passkey's answer was refused.
        PasskeyRefused = "passkey.refused",
        /// A signing key was made.
        KeyCreated = "key.created",
        /// A signing key became the one that signs.
        KeyActivated = "key.activated",
        /// A signing key was retired.
        KeyRetired = "key.retired",
        /// The database was found to be restored, copied, moved or promoted.
        StoreRestored = "store.restored",
        /// What the database says was compared with the backends, and an operator let it be relied on again.
        StoreReconciled = "store.reconciled",
    }
}

/// Which things an event is about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Subjects {
    /// The agent.
    pub agent: Option<AgentId>,
    /// The task.
    pub task: Option<TaskId>,
    /// The access request.
    pub request: Option<RequestId>,
    /// The decision.
    pub decision: Option<DecisionId>,
    /// The grant.
    pub grant: Option<GrantId>,
    /// The lease.
    pub lease: Option<LeaseId>,
}

/// One value in an event's data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Datum {
    /// Text.
    Text(String),
    /// A whole number within ±2^53, as JSON can carry it exactly.
    Number(i64),
    /// A list of texts.
    List(Vec<String>),
}

impl From<&str> for Datum {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Datum {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Datum {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<Vec<String>> for Datum {
    fn from(list: Vec<String>) -> Self {
        Self::List(list)
    }
}

/// One immutable intent or fact about authority: who did what to which thing, when, with what outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEvent {
    /// Its id.
    pub id: EventId,
    /// When it happened.
    pub at: Timestamp,
    /// What happened.
    pub kind: EventKind,
    /// Who did it.
    pub actor: Actor,
    /// What it is about.
    pub subjects: Subjects,
    /// What else is to be known, by name (lower-case ASCII).
    pub data: BTreeMap<&'static str, Datum>,
}

/// The canonical form: members in the order RFC 8785 demands, absent ones left out.
#[derive(Serialize)]
struct Canonical<'a> {
    actor: CanonicalActor<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<&'a AgentId>,
    at: Timestamp,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    data: &'a BTreeMap<&'static str, Datum>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<DecisionId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grant: Option<GrantId>,
    id: EventId,
    kind: EventKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease: Option<LeaseId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<RequestId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    task: Option<TaskId>,
    v: u8,
}

#[derive(Serialize)]
struct CanonicalActor<'a> {
    kind: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
}

impl AuditEvent {
    /// The canonical bytes: JSON as RFC 8785 (JCS) writes it, version 1. Anything hashed or signed later is exactly this.
    #[must_use]
    pub fn canonical(&self) -> String {
        let form = Canonical {
            actor: CanonicalActor { kind: self.actor.kind(), name: self.actor.name() },
            agent: self.subjects.agent.as_ref(),
            at: self.at,
            data: &self.data,
            decision: self.subjects.decision,
            grant: self.subjects.grant,
            id: self.id,
            kind: self.kind,
            lease: self.subjects.lease,
            request: self.subjects.request,
            task: self.subjects.task,
            v: 1,
        };
        // INVARIANT: no member of the form can fail to serialise: every key is a string and every number an integer.
        serde_json::to_string(&form).unwrap_or_default()
    }
}

/// Events that explain one change; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts(Vec<AuditEvent>);

impl Facts {
    /// From the first event.
    #[must_use]
    pub fn new(first: AuditEvent) -> Self {
        Self(vec![first])
    }

    /// Add another.
    pub fn push(&mut self, event: AuditEvent) {
        self.0.push(event);
    }

    /// Add others.
    pub fn extend(&mut self, events: impl IntoIterator<Item = AuditEvent>) {
        self.0.extend(events);
    }

    /// The events in order.
    pub fn iter(&self) -> impl Iterator<Item = &AuditEvent> {
        self.0.iter()
    }

    /// How many, at least one.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Never true; here because a length wants it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The events.
    #[must_use]
    pub fn into_vec(self) -> Vec<AuditEvent> {
        self.0
    }
}

impl From<AuditEvent> for Facts {
    fn from(event: AuditEvent) -> Self {
        Self::new(event)
    }
}

#[cfg(test)]
mod tests;
