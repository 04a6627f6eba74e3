//! What a use case can answer instead of its result: one variant for each thing a caller can do about it.

use crate::domain::{ParamError, ScopeError, TextError};
use crate::minter::MintError;
use crate::store::StoreError;

/// Why a filing cannot be taken, read or cancelled (ARAP §14).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FilingFault {
    /// Nobody could allow what was denied.
    #[error("what was denied cannot be asked for: nobody may allow it")]
    NotRequestable,
    /// It is not bound to a denial of ours.
    #[error("the filing cannot be bound to the denial it names: {0}")]
    Unbound(&'static str),
    /// The denial is too old to be answered.
    #[error("the denial has expired; evaluate again, and file the new denial")]
    DenialExpired,
    /// The key was used for another filing.
    #[error("this Idempotency-Key was used for a different filing")]
    Duplicate,
    /// The caller filed no such thing.
    #[error("there is no such filing")]
    Unknown,
    /// It can be read no more.
    #[error("the filing is too old to be read")]
    Expired,
    /// Nothing of it waits any more.
    #[error("nothing of the filing waits any more")]
    Settled,
}

/// Why a use case did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The identity token was not accepted; which check failed goes to the audit, not to the caller.
    #[error("the identity token was not accepted")]
    IdentityRefused,
    /// The issuer's keys cannot be had.
    #[error("the keys of issuer {0} cannot be had")]
    IssuerUnavailable(String),
    /// A pinned claim differs, so no agent is recognised.
    #[error("the identity is not allowed: {reason}")]
    BindingRefused {
        /// One word, e.g. `repository_id_mismatch`.
        reason: String,
    },
    /// The agent is suspended.
    #[error("agent {agent} is suspended")]
    AgentSuspended {
        /// Which.
        agent: String,
    },
    /// Something in the request cannot be.
    #[error("{0}")]
    Invalid(String),
    /// A scope cannot be read.
    #[error(transparent)]
    Scope(#[from] ScopeError),
    /// A scope does not fit the catalogue.
    #[error(transparent)]
    Param(#[from] ParamError),
    /// A text cannot be shown to people.
    #[error(transparent)]
    Text(#[from] TextError),
    /// A life that is not a positive number of seconds.
    #[error("{what} of {found} s is out of bounds (1 to 86400 s)")]
    TtlOutOfBounds {
        /// Which member.
        what: &'static str,
        /// What was asked for.
        found: i64,
    },
    /// A life longer than allowed.
    #[error("{what} of {asked} s is longer than the {allowed} s allowed for {whose}")]
    TtlTooLong {
        /// Which member.
        what: &'static str,
        /// What was asked for.
        asked: u32,
        /// What is allowed.
        allowed: u32,
        /// By which entry or agent.
        whose: String,
    },
    /// Scopes above the ceiling.
    #[error("above what this task or agent may ever hold: {}", .0.join(", "))]
    AboveCeiling(Vec<String>),
    /// Nothing asked for was permitted; the task and its decisions are on record.
    #[error("policy permits none of it")]
    Denied {
        /// The closed task.
        task: String,
        /// The decision.
        decision: String,
        /// `not_permitted`, `forbidden` or `policy_error`.
        reason: String,
        /// The reasons of the policies that determined it.
        because: Vec<String>,
    },
    /// The caller may not do this.
    #[error("you may not {0}")]
    Forbidden(String),
    /// There is no such thing, or the caller may not know of it.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// The verdict is about something else than what would be minted now.
    #[error("the request is not what you were shown; read it again")]
    DigestMismatch,
    /// The request waits no more.
    #[error("the request is {0} already")]
    AlreadyDecided(&'static str),
    /// The caller's own request.
    #[error("you own the agent that asks, or it asks on your behalf; somebody else must decide")]
    OwnRequest,
    /// The caller is in none of the rule's groups.
    #[error("{rule} decide this request, and you are in none of these groups")]
    NotInGroup {
        /// The rule.
        rule: String,
        /// The groups it names.
        groups: Vec<String>,
    },
    /// The caller has given a verdict before.
    #[error("you have already given your verdict")]
    VerdictGiven,
    /// Too many requests wait.
    #[error("{0} requests of this agent wait for a person already")]
    TooManyPending(u32),
    /// Too many leases live.
    #[error("this agent holds {0} credentials already")]
    TooManyLeases(u32),
    /// The key was used for another request.
    #[error("this Idempotency-Key was used for a different request")]
    IdempotencyConflict,
    /// The same key is being worked on.
    #[error("a request with this Idempotency-Key is being worked on")]
    InProgress,
    /// The task is closed.
    #[error("the task is closed: {0}")]
    TaskClosed(String),
    /// Policy, kill switch or a row changed in between, more often than we try again.
    #[error("policy or state changed while this was being decided; ask again")]
    Changed,
    /// The kill switch is thrown.
    #[error("the kill switch is thrown: nothing is minted until an operator releases it")]
    KillSwitch,
    /// The time cannot be trusted.
    #[error("the broker is not sure of the time, so it mints nothing: {0}")]
    ClockUnsure(String),
    /// The database was restored or copied, and nobody has reconciled it yet.
    #[error("the database was restored and is not reconciled yet: nothing is issued and nothing is ended until it is")]
    Restored,
    /// A filing cannot be taken, or is not what the caller takes it for.
    #[error(transparent)]
    Filing(#[from] FilingFault),
    /// The limiter says no.
    #[error("too many requests; try again in {retry_after_secs} s")]
    RateLimited {
        /// Whole seconds, at least one.
        retry_after_secs: u64,
    },
    /// Too much work is under way.
    #[error("too much work is under way")]
    Overloaded,
    /// The backend has a problem.
    #[error(transparent)]
    Mint(#[from] MintError),
    /// The store has a problem.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The signing keys have a problem.
    #[error(transparent)]
    Keys(#[from] crate::sys::keys::KeyError),
    /// A fault of ours.
    #[error("internal: {0}")]
    Internal(String),
}
