//! What a use case can answer instead of its result: one variant for each thing a caller can do about it.

use crate::domain::{NarrowingRefusal, ParamError, PasskeyFault, ScopeError, StepUp, TextError, Unpermitted};
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
    /// The digest of a verdict is another request's.
    #[error("this digest is another request's; read this one, and decide on its own digest")]
    ApprovalMismatch,
    /// The verdict is about something else than what would be minted now.
    #[error("the request is not what you were shown any more; read it again, and decide on what it says now")]
    ApprovalStale,
    /// Nobody decided in time.
    #[error("the time to decide this request has passed; the agent must ask anew")]
    ApprovalExpired,
    /// What was approved is not minted any more.
    #[error("{}", .0.sentence())]
    Unpermitted(Unpermitted),
    /// Policy wants to be surer who says yes.
    #[error("policy wants {} for a yes to this request", wanted(*.0))]
    StepUpRequired(StepUp),
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
    /// Too many questions about one request.
    #[error("a request may have 20 questions, five of them without an answer")]
    TooManyQuestions,
    /// It was done before, and is done once.
    #[error("{0} already")]
    AlreadyDone(&'static str),
    /// The caller must sign in anew before this.
    #[error("{0}")]
    SignInAgain(&'static str),
    /// A passkey's answer does not count, or a passkey cannot be had.
    #[error("{}", .0.said())]
    PasskeyRefused(PasskeyFault),
    /// Passkeys cannot be used at the address the broker is reached by.
    #[error(transparent)]
    NoPasskeysHere(#[from] crate::identity::webauthn::PartyError),
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

/// What a step-up asks for, in words.
const fn wanted(step_up: StepUp) -> &'static str {
    match step_up {
        StepUp::None => "nothing more",
        StepUp::SignIn => "a sign-in of the last 10 minutes",
        StepUp::Passkey => "a passkey's signature over what was shown",
    }
}

impl From<NarrowingRefusal> for BrokerError {
    fn from(refusal: NarrowingRefusal) -> Self {
        Self::Invalid(refusal.to_string())
    }
}

impl BrokerError {
    /// Why a request that waits no more takes no verdict, by the word of its state.
    pub(super) const fn settled(state: &'static str) -> Self {
        match state.as_bytes() {
            b"lapsed" => Self::ApprovalExpired,
            _ => Self::AlreadyDecided(state),
        }
    }

    /// The word under which a verdict that was not taken for this goes on record; `None` where the reason is no business of the
    /// audit's.
    pub(super) const fn verdict_refusal(&self) -> Option<&'static str> {
        let word = if let Self::OwnRequest = self {
            "own_request"
        } else if let Self::NotInGroup { .. } = self {
            "not_in_group"
        } else if let Self::Forbidden(_) = self {
            "not_permitted"
        } else if let Self::ApprovalMismatch = self {
            "approval_mismatch"
        } else if let Self::ApprovalStale = self {
            "approval_stale"
        } else if let Self::ApprovalExpired = self {
            "approval_expired"
        } else if let Self::StepUpRequired(_) = self {
            "step_up_required"
        } else {
            return None;
        };
        Some(word)
    }
}
