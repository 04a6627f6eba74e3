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
        /// When the agent was seen to have it; until then nobody may hold it, and it is not left so for long.
        delivered_at: Option<Timestamp>,
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
        /// From when on no call of its mint can be under way any more, if one may have been when its end began: a backend
        /// that was told before then is told once more after.
        settles_at: Option<Timestamp>,
        /// Since when the backend was seen not to honour it; what is left then is to tidy up.
        disabled_at: Option<Timestamp>,
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

/// How long one mint may take, in milliseconds; whoever mints gives up then.
pub const MINT_TIMEOUT_MILLIS: u32 = 8_000;
/// For how long a call that was given up may still land at the backend, in milliseconds.
pub const MAX_IN_FLIGHT_MILLIS: u32 = 7_000;
/// How long a mint may be under way before the sweep takes it for lost, in milliseconds.
const MINT_DEADLINE_MILLIS: i64 = (MINT_TIMEOUT_MILLIS + MAX_IN_FLIGHT_MILLIS) as i64;
/// How long a credential may be on its way to its agent, in milliseconds; then it is ended.
const DELIVERY_MILLIS: i64 = 30_000;
/// The longest wait between two attempts to end a credential, in milliseconds.
const MAX_BACKOFF_MILLIS: i64 = 60_000;
/// The attempts after which ending it counts as failed: somebody is alarmed, and the backend is told now and then for ever.
const IRREVOCABLE_AFTER: u32 = 10;
/// The wait between attempts then, in milliseconds.
const IRREVOCABLE_BACKOFF_MILLIS: i64 = 900_000;
/// The longest wait between two attempts to tidy up after a credential, in milliseconds; the shortest is a minute.
const MAX_TIDY_BACKOFF_MILLIS: i64 = 3_600_000;

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

    /// Whether it works and nobody was seen to have it.
    #[must_use]
    pub const fn is_undelivered(&self) -> bool {
        matches!(self.0.state, LeaseState::Live { delivered_at: None, .. })
    }

    /// When a sweep must look at it: the deadline of its mint or its delivery, its end, or the next attempt. `None` once it has
    /// ended.
    #[must_use]
    pub fn due_at(&self) -> Option<Timestamp> {
        match &self.state {
            LeaseState::Minting => Some(self.intent_at.plus_millis(MINT_DEADLINE_MILLIS)),
            LeaseState::Live { minted_at, delivered_at: None, .. } => {
                Some(self.ends_at.min(minted_at.plus_millis(DELIVERY_MILLIS)))
            }
            LeaseState::Live { delivered_at: Some(_), .. } => Some(self.ends_at),
            LeaseState::Ending { next_try, .. } => Some(*next_try),
            LeaseState::Ended { .. } => None,
        }
    }

    /// Whether ending it has failed so often that somebody must look: it may still work, and is tried on for ever.
    #[must_use]
    pub fn is_irrevocable(&self) -> bool {
        matches!(self.state, LeaseState::Ending { attempts, ends_by: None, disabled_at: None, .. } if attempts >= IRREVOCABLE_AFTER)
    }

    /// Whether the backend was seen not to honour it, though it has not ended: there is something left to tidy up.
    #[must_use]
    pub fn is_disabled(&self) -> bool {
        matches!(self.state, LeaseState::Ending { disabled_at: Some(_), .. })
    }

    /// Whether it counts as a use of what people approved: not when its mint failed, nor when its agent went away before it had
    /// the secret.
    #[must_use]
    pub const fn is_a_use(&self) -> bool {
        match self.0.state {
            LeaseState::Minting | LeaseState::Live { .. } => true,
            LeaseState::Ending { cause, .. } | LeaseState::Ended { cause, .. } => {
                !matches!(cause, EndCause::Aborted | EndCause::Undelivered)
            }
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
            LeaseState::Minting => Ok(self.step(LeaseState::Live { minted_at: now, fingerprint, delivered_at: None })),
            LeaseState::Live { .. } | LeaseState::Ending { .. } | LeaseState::Ended { .. } => {
                Err(self.refuse("become live"))
            }
        }
    }

    /// The agent has it. Its fence stays: this takes nothing from whoever is about to end it.
    ///
    /// # Errors
    /// [`Refusal`] unless it is `live`; the first delivery counts.
    pub fn delivered(mut self, now: Timestamp) -> Result<Self, Refusal> {
        match &mut self.0.state {
            LeaseState::Live { delivered_at, .. } => {
                delivered_at.get_or_insert(now);
                Ok(self)
            }
            LeaseState::Minting | LeaseState::Ending { .. } | LeaseState::Ended { .. } => {
                Err(self.refuse("be delivered"))
            }
        }
    }

    /// It must end: from now on nobody may rely on it.
    ///
    /// # Errors
    /// [`Refusal`] when it is ending or has ended already.
    pub fn end(self, cause: EndCause, now: Timestamp) -> Result<Self, Refusal> {
        // What was delivered was let work before; nothing of its mint is under way any more.
        let settles_at = match &self.state {
            LeaseState::Minting => Some(self.intent_at.plus_millis(i64::from(MINT_TIMEOUT_MILLIS)).max(now)),
            LeaseState::Live { delivered_at: None, .. } => Some(now),
            LeaseState::Live { delivered_at: Some(_), .. } => None,
            LeaseState::Ending { .. } | LeaseState::Ended { .. } => return Err(self.refuse("end again")),
        };
        let settles_at = settles_at.map(|at| at.plus_millis(i64::from(MAX_IN_FLIGHT_MILLIS)));
        Ok(self.step(LeaseState::Ending {
            cause,
            since: now,
            attempts: 0,
            next_try: now,
            ends_by: None,
            settles_at,
            disabled_at: None,
        }))
    }

    /// Whoever put it to its end tells its backend right away; others leave it alone until then.
    #[must_use]
    pub fn held(mut self, until: Timestamp) -> Self {
        if let LeaseState::Ending { next_try, .. } = &mut self.0.state {
            *next_try = until.max(*next_try);
        }
        self
    }

    /// It was seen not to be honoured, and that is not sure any more: a call of its mint may have landed since.
    #[must_use]
    pub fn doubted(mut self) -> Self {
        if let LeaseState::Ending { disabled_at, .. } = &mut self.0.state {
            *disabled_at = None;
        }
        self
    }

    /// The backend does not honour it any more, but a call of its mint may still land, or there is something to tidy up: look
    /// again when nothing can land any more.
    ///
    /// # Errors
    /// [`Refusal`] unless it is `ending`.
    pub fn disabled(self, now: Timestamp) -> Result<Self, Refusal> {
        let LeaseState::Ending { cause, since, ends_by, settles_at, disabled_at, .. } = self.state else {
            return Err(self.refuse("be disabled"));
        };
        let next_try = settles_at.map_or(now, |at| at.max(now));
        let disabled_at = Some(disabled_at.unwrap_or(now));
        Ok(self.step(LeaseState::Ending { cause, since, attempts: 0, next_try, ends_by, settles_at, disabled_at }))
    }

    /// The backend could not end it, or tidy up after it, yet: try again, later each time, or at the moment the backend named.
    /// `spread` is in thousandths, 500 to 1500, so that many leases do not come back at the same moment.
    ///
    /// # Errors
    /// [`Refusal`] unless it is `ending`.
    pub fn try_again(self, ends_by: Option<Timestamp>, spread: u16, now: Timestamp) -> Result<Self, Refusal> {
        let LeaseState::Ending { cause, since, attempts, ends_by: earlier, settles_at, disabled_at, .. } = self.state
        else {
            return Err(self.refuse("be tried again"));
        };
        let attempts = attempts.saturating_add(1);
        let doubled =
            |first: i64, most: i64| first.saturating_mul(1_i64 << attempts.saturating_sub(1).min(16)).min(most);
        let backoff = match disabled_at {
            Some(_) => doubled(60_000, MAX_TIDY_BACKOFF_MILLIS),
            None if attempts >= IRREVOCABLE_AFTER => IRREVOCABLE_BACKOFF_MILLIS,
            None => doubled(1_000, MAX_BACKOFF_MILLIS),
        };
        let backoff = backoff.saturating_mul(i64::from(spread.clamp(500, 1500))) / 1000;
        let next_try = ends_by.map_or_else(|| now.plus_millis(backoff), |by| by.max(now));
        let ends_by = ends_by.or(earlier);
        Ok(self.step(LeaseState::Ending { cause, since, attempts, next_try, ends_by, settles_at, disabled_at }))
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
