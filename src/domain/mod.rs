//! Floor 0: the nouns of Hallpass and their rules, in the order of the story. Pure: no I/O, no clock, no randomness;
//! time, ids and digests come in as arguments, so that every rule can be tested by a table.

mod access_request;
mod actor;
mod agent;
mod approval;
mod approval_rule;
mod approval_terms;
mod catalogue;
mod decision;
mod delegation;
mod digest;
mod event;
mod filing;
mod grant;
mod id;
mod lease;
mod narrowing;
mod notice;
mod passkey;
mod plan;
mod question;
mod review;
mod scope;
mod scope_token;
mod session;
mod shared_issuers;
mod task;
mod text;
mod time;
mod unpermitted;
pub(crate) mod word;

pub use access_request::{AccessRequest, AccessRequestRecord, RequestState};
pub use actor::{Actor, Operator, Person};
pub use agent::{Agent, AgentLimits, Binding, BindingMatch, Owner, RiskTier, SubjectRule};
pub use approval::{Approval, Verdict};
pub use approval_rule::{ApprovalRule, RuleError, Voter};
pub use approval_terms::{ApprovalTerms, BreakGlass, StepUp};
pub use catalogue::{Catalogue, CatalogueEntry, ParamError, ParamType};
pub use decision::{Decision, Denial, Outcome, PolicyRef, Terms};
pub use delegation::Delegation;
pub use digest::Digest;
pub use event::{AuditEvent, Datum, EventKind, Facts, Subjects};
pub use filing::{Callback, FiledItem, FiledText, Filing};
pub use grant::{Approved, Grant, GrantRecord, GrantState};
pub use id::{
    AgentId, ApprovalId, ChallengeId, DecisionId, DelegationId, EvaluationId, EventId, FilingId, GrantId, IdError,
    LeaseId, NoticeId, PasskeyId, QuestionId, RequestId, SessionId, TaskId,
};
pub use lease::{Handle, Lease, LeaseRecord, LeaseState, MAX_IN_FLIGHT_MILLIS, MINT_TIMEOUT_MILLIS};
pub use narrowing::{Narrowing, NarrowingRefusal};
pub use notice::{Notice, NoticeKind, NoticeState};
pub use passkey::{
    Backup, ChallengeKind, Passkey, PasskeyChallenge, PasskeyFault, RegistrationStatement, Shown, StatedNarrow,
    VerdictStatement,
};
pub use plan::{MintPlan, PlanDigest};
pub use question::Question;
pub use review::{Finding, Review};
pub use scope::{Ceiling, CeilingEntry, EntryName, Name, Scope, ScopeError, ScopeSet};
pub use session::{DeviceSignIn, DeviceSignInState, Session, SessionKind};
pub use shared_issuers::required_pins;
pub use task::{Beneficiary, Task, TaskRecord, TaskState};
pub use text::{Message, PasskeyName, Purpose, TextError, forbidden_characters};
pub use time::{Timestamp, Ttl, TtlError};
pub use unpermitted::Unpermitted;
pub(crate) use word::words;
pub use word::{EndCause, UnknownWord};

/// A transition that the state of the thing does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} is {state}, so it cannot {verb}")]
pub struct Refusal {
    /// Which noun refused, e.g. `task`.
    pub what: &'static str,
    /// The state it is in, as its wire word.
    pub state: &'static str,
    /// What was tried, e.g. `complete`.
    pub verb: &'static str,
}

/// A stored record that breaks a rule its constructor enforces; the row was changed behind our back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("corrupt {what} {id}: {why}")]
pub struct CorruptRecord {
    /// Which noun.
    pub what: &'static str,
    /// Its id.
    pub id: String,
    /// The broken rule.
    pub why: &'static str,
}
