//! The grant: authority that outlives the question it answered and never outlives its task.

use std::ops::Deref;

use super::{
    AgentId, CorruptRecord, EndCause, GrantId, Name, PlanDigest, Refusal, RequestId, ScopeSet, TaskId, Timestamp, Ttl,
};

/// Where a grant is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrantState {
    /// Credentials may be minted on it.
    Live,
    /// None may be.
    Ended {
        /// Why.
        cause: EndCause,
        /// Since when.
        at: Timestamp,
    },
}

impl GrantState {
    /// The wire word.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Ended { .. } => "ended",
        }
    }
}

/// What people's yes bounds a grant to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approved {
    /// How many credentials may be minted on it.
    pub uses: u32,
    /// Until when one may be minted, where policy sets a window.
    pub mint_until: Option<Timestamp>,
    /// The seal over the grant, its request and its task as they were when it was given.
    pub seal: String,
}

/// What is known of a grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantRecord {
    /// Its id.
    pub id: GrantId,
    /// The request it answers.
    pub request: RequestId,
    /// The task it belongs to.
    pub task: TaskId,
    /// Whose task that is.
    pub agent: AgentId,
    /// The backend its scopes belong to.
    pub backend: Name,
    /// What may be held.
    pub scopes: ScopeSet,
    /// The plan that was decided on.
    pub plan: PlanDigest,
    /// How long one credential may live.
    pub ttl: Ttl,
    /// When it was given.
    pub given_at: Timestamp,
    /// When it ends by itself; never after its task.
    pub until: Timestamp,
    /// What the yes it rests on bounds it to; absent where nobody had to agree.
    pub approved: Option<Approved>,
    /// Where it is in its life.
    pub state: GrantState,
}

/// The durable authority that follows from a permit: this agent may hold these scopes, for this task, until this time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant(GrantRecord);

impl Deref for Grant {
    type Target = GrantRecord;
    fn deref(&self) -> &GrantRecord {
        &self.0
    }
}

impl Grant {
    /// From a record, new or read back.
    ///
    /// # Errors
    /// [`CorruptRecord`] when it ends before it begins.
    pub fn new(record: GrantRecord) -> Result<Self, CorruptRecord> {
        if record.until <= record.given_at {
            return Err(CorruptRecord { what: "grant", id: record.id.to_string(), why: "it ends before it begins" });
        }
        Ok(Self(record))
    }

    /// Whether a credential may be minted on it at `now`.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        matches!(self.state, GrantState::Live) && now < self.until
    }

    /// Whether the yes it rests on is too old to mint on.
    #[must_use]
    pub fn is_past_its_window(&self, now: Timestamp) -> bool {
        self.approved.as_ref().and_then(|approved| approved.mint_until).is_some_and(|until| now >= until)
    }

    /// When a credential minted at `now` must end: its life, cut at the grant's own end.
    #[must_use]
    pub fn credential_end(&self, now: Timestamp) -> Timestamp {
        now.plus(self.ttl).min(self.until)
    }

    /// End it.
    ///
    /// # Errors
    /// [`Refusal`] when it has ended already.
    pub fn end(mut self, cause: EndCause, now: Timestamp) -> Result<Self, Refusal> {
        match self.state {
            GrantState::Live => {
                self.0.state = GrantState::Ended { cause, at: now };
                Ok(self)
            }
            GrantState::Ended { .. } => Err(Refusal { what: "grant", state: "ended", verb: "end again" }),
        }
    }
}

#[cfg(test)]
mod tests;
