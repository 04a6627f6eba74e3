//! The access request: one question, its answer, and the wait between them when a person must agree.

use std::ops::Deref;

use super::{
    AgentId, ApprovalRule, ApprovalTerms, CorruptRecord, DecisionId, Digest, GrantId, Name, PlanDigest, Refusal,
    RequestId, ScopeSet, TaskId, Timestamp, Ttl,
};

/// Where an access request is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestState {
    /// It waits for people.
    Pending {
        /// Who must agree.
        rule: ApprovalRule,
        /// What their yes takes, and what it is good for.
        terms: ApprovalTerms,
        /// When it lapses.
        lapses_at: Timestamp,
    },
    /// The agent may hold what it asked for.
    Granted {
        /// The authority that followed.
        grant: GrantId,
    },
    /// Policy or a person said no.
    Denied {
        /// One word: `not_permitted`, `forbidden`, `policy_error`, or `by_approver`.
        reason: String,
    },
    /// The agent took it back, or its task ended, before there was an answer.
    Withdrawn,
    /// Nobody answered in time.
    Lapsed,
}

impl RequestState {
    /// The wire word.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Pending { .. } => "pending",
            Self::Granted { .. } => "granted",
            Self::Denied { .. } => "denied",
            Self::Withdrawn => "withdrawn",
            Self::Lapsed => "lapsed",
        }
    }
}

/// What is known of an access request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessRequestRecord {
    /// Its id.
    pub id: RequestId,
    /// The task it is for.
    pub task: TaskId,
    /// Whose task that is.
    pub agent: AgentId,
    /// The one backend its scopes belong to.
    pub backend: Name,
    /// What is asked for.
    pub scopes: ScopeSet,
    /// How long one credential shall live.
    pub ttl: Ttl,
    /// The public key the credential shall be bound to, as canonical JWK JSON, if the agent sent one.
    pub confirmation_key: Option<String>,
    /// The digest of everything an approver is shown and a mint obeys.
    pub digest: Digest,
    /// The plan as computed when it was asked.
    pub plan: PlanDigest,
    /// The plan's effect as canonical JSON, for people.
    pub effect: String,
    /// The latest decision.
    pub decision: DecisionId,
    /// When it was asked.
    pub asked_at: Timestamp,
    /// When it left `pending`, or was answered at once.
    pub settled_at: Option<Timestamp>,
    /// Where it is in its life.
    pub state: RequestState,
}

/// An agent's question: may I hold these scopes, for this long, for this task?
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessRequest(AccessRequestRecord);

impl Deref for AccessRequest {
    type Target = AccessRequestRecord;
    fn deref(&self) -> &AccessRequestRecord {
        &self.0
    }
}

impl AccessRequest {
    /// From a record, new or read back.
    ///
    /// # Errors
    /// [`CorruptRecord`] when scopes belong to another backend, or when it is settled and pending at once.
    pub fn new(record: AccessRequestRecord) -> Result<Self, CorruptRecord> {
        let refuse = |why| CorruptRecord { what: "request", id: record.id.to_string(), why };
        if record.scopes.iter().any(|scope| scope.entry().backend() != &record.backend) {
            return Err(refuse("a scope belongs to another backend"));
        }
        if matches!(record.state, RequestState::Pending { .. }) == record.settled_at.is_some() {
            return Err(refuse("it is settled exactly when it is not pending"));
        }
        Ok(Self(record))
    }

    /// The rule and the time of lapse, while it waits.
    #[must_use]
    pub fn pending(&self) -> Option<(&ApprovalRule, Timestamp)> {
        match &self.state {
            RequestState::Pending { rule, lapses_at, .. } => Some((rule, *lapses_at)),
            RequestState::Granted { .. }
            | RequestState::Denied { .. }
            | RequestState::Withdrawn
            | RequestState::Lapsed => None,
        }
    }

    /// What a yes takes and is good for, while it waits.
    #[must_use]
    pub const fn terms(&self) -> Option<&ApprovalTerms> {
        match &self.0.state {
            RequestState::Pending { terms, .. } => Some(terms),
            RequestState::Granted { .. }
            | RequestState::Denied { .. }
            | RequestState::Withdrawn
            | RequestState::Lapsed => None,
        }
    }

    /// Whether it waits and its time has come.
    #[must_use]
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.pending().is_some_and(|(_, lapses_at)| now >= lapses_at)
    }

    fn settle(mut self, state: RequestState, verb: &'static str, now: Timestamp) -> Result<Self, Refusal> {
        if self.pending().is_none() {
            return Err(Refusal { what: "request", state: self.state.as_str(), verb });
        }
        self.0.state = state;
        self.0.settled_at = Some(now);
        Ok(self)
    }

    /// Policy permits it now: the grant follows from the latest decision.
    ///
    /// # Errors
    /// [`Refusal`] when it does not wait, or waited too long.
    pub fn grant(mut self, grant: GrantId, decision: DecisionId, now: Timestamp) -> Result<Self, Refusal> {
        if self.is_due(now) {
            return Err(Refusal { what: "request", state: "lapsed", verb: "be granted" });
        }
        self.0.decision = decision;
        self.settle(RequestState::Granted { grant }, "be granted", now)
    }

    /// Policy or a person says no.
    ///
    /// # Errors
    /// [`Refusal`] when it does not wait.
    pub fn deny(self, reason: &str, now: Timestamp) -> Result<Self, Refusal> {
        self.settle(RequestState::Denied { reason: reason.to_owned() }, "be denied", now)
    }

    /// The agent gave it up.
    ///
    /// # Errors
    /// [`Refusal`] when it does not wait.
    pub fn withdraw(self, now: Timestamp) -> Result<Self, Refusal> {
        self.settle(RequestState::Withdrawn, "be withdrawn", now)
    }

    /// Nobody answered in time.
    ///
    /// # Errors
    /// [`Refusal`] when it does not wait.
    pub fn lapse(self, now: Timestamp) -> Result<Self, Refusal> {
        self.settle(RequestState::Lapsed, "lapse", now)
    }
}

#[cfg(test)]
mod tests;
