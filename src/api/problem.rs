//! Everything that can go wrong, as a table: the slug that names it, its HTTP status, its title, and what an agent should do.
//! Each slug has a page of the same name in `docs/problems/`. Shapes are those of RFC 9457.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::AgentAction;

/// An error as the API answers it: `application/problem+json` (RFC 9457).
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// A stable URI that ends in the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// The code: one of a closed list.
    pub code: String,
    /// What it is, always the same for one code.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened this time and what to do next.
    pub detail: String,
    /// Names this request in our logs.
    pub request_id: String,
    /// What an agent should do next.
    #[schema(value_type = String)]
    pub agent_action: AgentAction,
    /// One word that says more, where the caller may know it, e.g. `own_request`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why policy said no.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub because: Vec<String>,
    /// The task it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// The decision it follows from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<String>,
}

macro_rules! problems {
    ($($(#[$meta:meta])* $variant:ident = $slug:literal, $status:literal, $action:ident, $title:literal;)+) => {
        /// What can go wrong.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ProblemKind { $($(#[$meta])* $variant),+ }

        impl ProblemKind {
            /// Every kind.
            pub const ALL: &'static [ProblemKind] = &[$(ProblemKind::$variant),+];

            /// The slug: the code on the wire and the name of the page.
            #[must_use]
            pub const fn slug(self) -> &'static str {
                match self { $(ProblemKind::$variant => $slug),+ }
            }

            /// The HTTP status.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(ProblemKind::$variant => $status),+ }
            }

            /// What it is, in one sentence.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(ProblemKind::$variant => $title),+ }
            }

            /// Its page: what to do if you write the agent, operate the broker, or maintain it; in Markdown.
            #[must_use]
            pub const fn page(self) -> &'static str {
                match self { $(ProblemKind::$variant => include_str!(concat!("../../docs/problems/", $slug, ".md"))),+ }
            }

            /// What an agent should do.
            #[must_use]
            pub const fn agent_action(self) -> AgentAction {
                match self { $(ProblemKind::$variant => AgentAction::$action),+ }
            }
        }
    };
}

/// The problems that the access request profile of AuthZEN defines.
const STANDARD: [(ProblemKind, &str); 7] = [
    (ProblemKind::NotRequestable, "urn:openid:authzen:access-request:error:not_requestable"),
    (ProblemKind::InvalidDenialBinding, "urn:openid:authzen:access-request:error:invalid_denial_binding"),
    (ProblemKind::ExpiredDenial, "urn:openid:authzen:access-request:error:expired_denial"),
    (ProblemKind::DuplicateRequest, "urn:openid:authzen:access-request:error:duplicate_request"),
    (ProblemKind::UnknownTask, "urn:openid:authzen:access-request:error:unknown_task"),
    (ProblemKind::TaskExpired, "urn:openid:authzen:access-request:error:task_expired"),
    (ProblemKind::InvalidTaskState, "urn:openid:authzen:access-request:error:invalid_task_state"),
];

impl ProblemKind {
    /// The URI by which a standard knows it, where one does (ARAP §14); it is the document's `type` then.
    #[must_use]
    pub fn standard(self) -> Option<&'static str> {
        STANDARD.iter().find(|(kind, _)| *kind == self).map(|(_, urn)| *urn)
    }
}

problems! {
    /// The request cannot be read.
    InvalidRequest = "invalid-request", 400, Stop, "The request cannot be read";
    /// A scope cannot be read, or the catalogue lacks it.
    ScopeInvalid = "scope-invalid", 400, Narrow, "A scope is not in the catalogue or is written wrongly";
    /// A scope cannot be expressed by its backend.
    ScopeUnmappable = "scope-unmappable", 422, Narrow, "The backend cannot express what is asked for";
    /// A scope lies outside the ceiling.
    ScopeAboveCeiling = "scope-above-ceiling", 403, Narrow, "A scope lies above what this task or agent may ever hold";
    /// The life asked for is too long.
    TtlTooLong = "ttl-too-long", 422, Narrow, "The life asked for is longer than allowed";
    /// The purpose cannot be used.
    PurposeInvalid = "purpose-invalid", 400, Stop, "The purpose is empty or too long";
    /// A text has characters that deceive.
    PurposeForbiddenCharacters = "purpose-forbidden-characters", 400, Stop, "A text has characters that a reader cannot see";
    /// The identity token was not accepted.
    InvalidToken = "invalid-token", 401, Stop, "The identity token was not accepted";
    /// The issuer's keys cannot be had.
    IssuerUnavailable = "issuer-unavailable", 503, RetryLater, "The identity issuer cannot be reached";
    /// The agent is suspended.
    AgentSuspended = "agent-suspended", 403, Stop, "This agent is suspended";
    /// Policy says no.
    PolicyDenied = "policy-denied", 403, Stop, "Policy does not permit this";
    /// A policy failed to evaluate.
    PolicyError = "policy-error", 403, Stop, "A policy could not be evaluated, so nothing is permitted";
    /// Policy or a control changed in between.
    PolicyChanged = "policy-changed", 409, RetryLater, "Policy changed while this was being decided";
    /// A policy bundle was refused.
    PolicyInvalid = "policy-invalid", 422, Stop, "The policy bundle is not valid";
    /// The caller may not do this.
    Forbidden = "forbidden", 403, Stop, "You may not do this";
    /// A form that no page of the caller's session sent.
    CsrfFailed = "csrf-failed", 403, Stop, "The form did not come from a page of this session";
    /// The verdict carries another request's digest.
    ApprovalMismatch = "approval-mismatch", 409, Stop, "This approval is for another request";
    /// The request is not what was shown or approved any more.
    ApprovalStale = "approval-stale", 409, AskHuman, "The request is not what was shown or approved any more";
    /// The time to decide it, or to mint on what was decided, has passed.
    ApprovalExpired = "approval-expired", 410, AskHuman, "The time for this approval has passed";
    /// What was approved was minted as often as it may be.
    ApprovalUsed = "approval-used", 409, AskHuman, "The approval is used up";
    /// Policy wants to be surer who says yes.
    StepUpRequired = "step-up-required", 401, AskHuman, "Policy wants to be surer who you are";
    /// The request waits no more.
    AlreadyDecided = "already-decided", 409, Stop, "The request is already decided";
    /// One's own request.
    SelfApprovalForbidden = "self-approval-forbidden", 403, AskHuman, "You may not decide your own request";
    /// In none of the rule's groups.
    NotAnApprover = "not-an-approver", 403, AskHuman, "You are not among those who may decide this request";
    /// A passkey's answer does not count.
    PasskeyRefused = "passkey-refused", 403, AskHuman, "The passkey's answer was not accepted";
    /// Too many requests wait.
    TooManyPending = "too-many-pending", 429, Wait, "Too many of this agent's requests wait for a person";
    /// Too many questions about one request.
    TooManyQuestions = "too-many-questions", 429, Wait, "Too many questions about one request";
    /// It was done before.
    AlreadyDone = "already-done", 409, Stop, "This was done already";
    /// Too many leases live.
    TooManyLeases = "too-many-leases", 429, RetryLater, "This agent holds too many credentials";
    /// The key was used for another request.
    IdempotencyConflict = "idempotency-conflict", 422, Stop, "The Idempotency-Key was used for a different request";
    /// The same request is under way.
    InProgress = "in-progress", 409, RetryLater, "The same request is being worked on";
    /// Nobody could allow what was denied.
    NotRequestable = "not-requestable", 400, Stop, "What was denied cannot be asked for";
    /// The filing answers no denial of ours.
    InvalidDenialBinding = "invalid-denial-binding", 400, Stop, "The filing is not bound to the denial it names";
    /// The denial is too old.
    ExpiredDenial = "expired-denial", 410, RetryLater, "The denial is too old to be answered";
    /// The key was used for another filing.
    DuplicateRequest = "duplicate-request", 409, Stop, "The Idempotency-Key was used for a different filing";
    /// The caller filed no such thing.
    UnknownTask = "unknown-task", 404, Stop, "There is no such filing";
    /// The filing is too old.
    TaskExpired = "task-expired", 410, Stop, "The filing is too old to be read";
    /// Nothing of the filing waits.
    InvalidTaskState = "invalid-task-state", 409, Stop, "Nothing of the filing waits any more";
    /// The task is closed.
    TaskClosed = "task-closed", 409, Stop, "The task is closed";
    /// The kill switch is thrown.
    KillSwitchActive = "kill-switch-active", 503, Stop, "The kill switch is thrown";
    /// The backend does not answer.
    BackendUnavailable = "backend-unavailable", 503, RetryLater, "The backend cannot be reached";
    /// The backend refuses.
    BackendRejected = "backend-rejected", 502, AskHuman, "The backend refused";
    /// What a scope is about has changed since it was approved.
    TargetChanged = "target-changed", 409, AskHuman, "What the scopes are about has changed";
    /// The database cannot be written: no log, no credential.
    StorageUnavailable = "storage-unavailable", 503, RetryLater, "The broker cannot write its records";
    /// A clock is off.
    ClockUnsure = "clock-unsure", 503, RetryLater, "The broker is not sure of the time";
    /// The database was restored and is not reconciled yet.
    StoreRestored = "store-restored", 503, RetryLater, "The broker's database was restored and is not reconciled yet";
    /// Too many requests.
    RateLimited = "rate-limited", 429, RetryLater, "Too many requests";
    /// Too much work.
    Overloaded = "overloaded", 503, RetryLater, "The broker is overloaded";
    /// Nothing there that this caller may know of.
    NotFound = "not-found", 404, Stop, "There is no such thing";
    /// The path exists, the method does not.
    MethodNotAllowed = "method-not-allowed", 405, Stop, "This path does not take this method";
    /// A standard has it, and the broker does not.
    NotImplemented = "not-implemented", 501, Stop, "The broker does not offer this";
    /// The body is not JSON.
    UnsupportedMediaType = "unsupported-media-type", 415, Stop, "The body is not application/json in UTF-8";
    /// The body is too large.
    BodyTooLarge = "body-too-large", 413, Narrow, "The body is larger than 64 KiB";
    /// A stored record breaks a rule.
    IntegrityViolation = "integrity-violation", 500, AskHuman, "A stored record breaks a rule";
    /// A fault of ours.
    Internal = "internal", 500, RetryLater, "Something went wrong in the broker";
}
