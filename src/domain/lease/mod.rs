//! The lease: the record of one credential's life. `Ending` and `Ended` are different states, because asking a backend to
//! end something and knowing that it has ended are different facts.

use std::fmt;
use std::ops::Deref;

use super::{
    AgentId, CorruptRecord, EndCause, GrantId, LeaseId, Name, PlanDigest, Refusal, RequestId, ScopeSet, TaskId,
    Timestamp,
};

/// The non-secret name by which a backend can find a credential in order to end it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Handle(String);

impl Handle {
    /// From the backend's own name for the credential.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a lease is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseState {
    /// Intent is on record; the credential may or may not exist.
    Minting,
    /// The credential works.
    Live {
        /// Since when.
        minted_at: Timestamp,
        /// The secret's SHA-256 in hexadecimal, to recognise it by.
        fingerprint: String,
    },
    /// It must not work any more; the backend is being told.
    Ending {
        /// Why.
        cause: EndCause,
        /// Since when.
        since: Timestamp,
        /// How often the backend was told.
        attempts: u32,
        /// When to tell it again.
        next_try: Timestamp,
        /// When the backend said it would end by, if it cannot end it at once.
        ends_by: Option<Timestamp>,
    },
    /// It does not work any more.
    Ended {
        /// Why.
        cause: EndCause,
        /// Since when.
        at: Timestamp,
        /// How we know.
        proof: String,
    },
}

impl LeaseState {
    /// The wire word.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Minting => "minting",
            Self::Live { .. } => "live",
            Self::Ending { .. } => "ending",
            Self::Ended { .. } => "ended",
        }
    }
}

/// What is known of a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRecord {
    /// Its id, and the credential's external name.
    pub id: LeaseId,
    /// The authority it rests on.
    pub grant: GrantId,
    /// The request that grant answers.
    pub request: RequestId,
    /// The task.
    pub task: TaskId,
    /// Who holds it.
    pub agent: AgentId,
    /// The backend that accepts the credential.
    pub backend: Name,
    /// What it permits.
    pub scopes: ScopeSet,
    /// The plan it was minted by.
    pub plan: PlanDigest,
    /// The name by which it can be ended.
    pub handle: Handle,
    /// When intent was recorded.
    pub intent_at: Timestamp,
    /// When it stops being usable; set once, never moved later.
    pub ends_at: Timestamp,
    /// When the backend stops honouring it without being told; not before `ends_at`.
    pub native_end: Timestamp,
    /// Grows with each change of state; a write with an old fence changes nothing.
    pub fence: i64,
    /// Where it is in its life.
    pub state: LeaseState,
}

/// The record of one credential's life: who holds it, when it ends, and the handle needed to end it early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease(LeaseRecord);

impl Deref for Lease {
    type Target = LeaseRecord;
    fn deref(&self) -> &LeaseRecord {
        &self.0
    }
}

/// How long a mint may be under way before the sweep takes it for lost, in milliseconds (`safety.md` §3.1).
const MINT_DEADLINE_MILLIS: i64 = 15_000;
/// The longest wait between two attempts to end a credential, in milliseconds.
const MAX_BACKOFF_MILLIS: i64 = 60_000;

impl Lease {
    /// From a record, new or read back.
    ///
    /// # Errors
    /// [`CorruptRecord`] when it ends before its intent, or natively before it ends.
    pub fn new(record: LeaseRecord) -> Result<Self, CorruptRecord> {
        let refuse = |why| CorruptRecord { what: "lease", id: record.id.to_string(), why };
        if record.ends_at <= record.intent_at {
            return Err(refuse("it ends before it begins"));
        }
        if record.native_end < record.ends_at {
            return Err(refuse("its native end lies before its end"));
        }
        Ok(Self(record))
    }

    /// Whether the credential may be used at `now`: live, and its time is not up.
    #[must_use]
    pub fn is_active(&self, now: Timestamp) -> bool {
        matches!(self.state, LeaseState::Live { .. }) && now < self.ends_at
    }

    /// When a sweep must look at it: its end, the deadline of its mint, or the next attempt. `None` once it has ended.
    #[must_use]
    pub fn due_at(&self) -> Option<Timestamp> {
        match &self.state {
            LeaseState::Minting => Some(self.intent_at.plus_millis(MINT_DEADLINE_MILLIS)),
            LeaseState::Live { .. } => Some(self.ends_at),
            LeaseState::Ending { next_try, .. } => Some(*next_try),
            LeaseState::Ended { .. } => None,
        }
    }

    fn step(mut self, state: LeaseState) -> Self {
        self.0.state = state;
        self.0.fence = self.0.fence.saturating_add(1);
        self
    }

    const fn refuse(&self, verb: &'static str) -> Refusal {
        Refusal { what: "lease", state: self.0.state.as_str(), verb }
    }

    /// The credential exists.
    ///
    /// # Errors
    /// [`Refusal`] unless it is `minting`.
    pub fn minted(self, fingerprint: String, now: Timestamp) -> Result<Self, Refusal> {
        match self.state {
            LeaseState::Minting => Ok(self.step(LeaseState::Live { minted_at: now, fingerprint })),
            LeaseState::Live { .. } | LeaseState::Ending { .. } | LeaseState::Ended { .. } => {
                Err(self.refuse("become live"))
            }
        }
    }

    /// It must end: from now on nobody may rely on it.
    ///
    /// # Errors
    /// [`Refusal`] when it is ending or has ended already.
    pub fn end(self, cause: EndCause, now: Timestamp) -> Result<Self, Refusal> {
        match self.state {
            LeaseState::Minting | LeaseState::Live { .. } => {
                Ok(self.step(LeaseState::Ending { cause, since: now, attempts: 0, next_try: now, ends_by: None }))
            }
            LeaseState::Ending { .. } | LeaseState::Ended { .. } => Err(self.refuse("end again")),
        }
    }

    /// The backend could not end it yet: try again, later each time, or at the moment the backend named.
    ///
    /// # Errors
    /// [`Refusal`] unless it is `ending`.
    pub fn try_again(self, ends_by: Option<Timestamp>, now: Timestamp) -> Result<Self, Refusal> {
        let LeaseState::Ending { cause, since, attempts, ends_by: earlier, .. } = self.state else {
            return Err(self.refuse("be tried again"));
        };
        let backoff = 1000_i64.saturating_mul(1_i64 << attempts.min(6)).min(MAX_BACKOFF_MILLIS);
        let next_try = ends_by.map_or_else(|| now.plus_millis(backoff), |by| by.max(now));
        let attempts = attempts.saturating_add(1);
        Ok(self.step(LeaseState::Ending { cause, since, attempts, next_try, ends_by: ends_by.or(earlier) }))
    }

    /// The backend has ended it, or was seen not to honour it.
    ///
    /// # Errors
    /// [`Refusal`] unless it is `ending`.
    pub fn ended(self, proof: String, now: Timestamp) -> Result<Self, Refusal> {
        match self.state {
            LeaseState::Ending { cause, .. } => Ok(self.step(LeaseState::Ended { cause, at: now, proof })),
            LeaseState::Minting | LeaseState::Live { .. } | LeaseState::Ended { .. } => Err(self.refuse("be ended")),
        }
    }
}

#[cfg(test)]
mod tests;
