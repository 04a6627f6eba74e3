//! From what a use case refused to what the wire says: one exhaustive match, so that a new `BrokerError` does not compile
//! until somebody decides its problem. Texts of the store, of backends and of our own faults go to the log, never out.

use std::borrow::Cow;

use crate::api::ProblemKind as Kind;
use crate::broker::{BrokerError, FilingFault};
use crate::domain::{StepUp, TextError, Unpermitted};
use crate::minter::MintError;
use crate::store::StoreError;

use super::refusal::Refusal;

/// Ends every denial: what an agent must not do about it.
pub(super) const USE_NOTHING_ELSE: &str = "Do not use any other key, profile or token you can find.";

/// Seconds after which a store that did not answer may be asked again.
const STORE_RETRY_SECS: u64 = 2;
/// Seconds after which a backend or an issuer that did not answer may be asked again.
const OUTSIDE_RETRY_SECS: u64 = 5;
/// Seconds after which it may be asked again whether an operator has done what must be done first.
const RESTORED_RETRY_SECS: u64 = 60;
/// Seconds after which something that is freed by people or by the clock may be asked for again.
const WAIT_RETRY_SECS: u64 = 30;

const NOT_REGISTERED: &str = "This identity is not one an agent is registered with.";
const SUSPENDED: &str = "An operator has suspended this agent. Stop, and tell the person you work for.";

/// A refusal that says what was said, with the word for why.
fn because(kind: Kind, said: &str, reason: impl Into<String>) -> Refusal {
    Refusal::new(kind, sentence(said)).because_of(reason)
}

impl From<BrokerError> for Refusal {
    fn from(error: BrokerError) -> Self {
        use BrokerError as E;
        let said = error.to_string();
        match error {
            E::IdentityRefused => Self::unauthenticated(),
            E::IssuerUnavailable(_) => {
                Self::new(Kind::IssuerUnavailable, "The keys of the identity issuer cannot be had now.")
                    .after_secs(OUTSIDE_RETRY_SECS)
                    .logging(said)
            }
            E::BindingRefused { reason } => Self::new(Kind::PolicyDenied, stop_with(NOT_REGISTERED)).because_of(reason),
            E::AgentSuspended { .. } => Self::new(Kind::AgentSuspended, stop_with(SUSPENDED)),
            E::Invalid(_) | E::TtlOutOfBounds { .. } => Self::new(Kind::InvalidRequest, sentence(&said)),
            E::Scope(_) | E::Param(_) => Self::new(Kind::ScopeInvalid, sentence(&said)),
            E::Text(error) => Self::new(text_kind(&error), sentence(&said)),
            E::TtlTooLong { allowed, .. } => {
                Self::new(Kind::TtlTooLong, format!("{} Ask for {allowed} s or less.", sentence(&said)))
            }
            E::AboveCeiling(_) => Self::new(
                Kind::ScopeAboveCeiling,
                stop_with(&format!("{} Leave these scopes out, or stop.", sentence(&said))),
            ),
            E::Denied { task, decision, reason, because } => denied(task, decision, reason, because),
            E::Forbidden(_) => Self::new(Kind::Forbidden, sentence(&said)),
            E::NotFound(_) => Self::new(Kind::NotFound, sentence(&said)),
            E::ApprovalMismatch => because(Kind::ApprovalMismatch, &said, "approval_mismatch"),
            E::ApprovalStale => because(Kind::ApprovalStale, &said, "approval_stale"),
            E::ApprovalExpired => because(Kind::ApprovalExpired, &said, "approval_expired"),
            E::Unpermitted(why) => unpermitted(why),
            E::StepUpRequired(wanted) => step_up(wanted, &said),
            E::AlreadyDecided(_) => because(Kind::AlreadyDecided, &said, "already_decided"),
            E::OwnRequest => because(Kind::SelfApprovalForbidden, &said, "own_request"),
            E::NotInGroup { groups, .. } => {
                because(Kind::NotAnApprover, &said, format!("not_in_group:{}", groups.join(",")))
            }
            E::VerdictGiven => because(Kind::AlreadyDecided, &said, "verdict_given"),
            E::SignInAgain(_) | E::NoPasskeysHere(_) | E::PasskeyRefused(_) => passkey(&error, &said),
            E::Filing(fault) => Self::new(filing_kind(fault), sentence(&said)),
            E::TooManyPending(_) => Self::new(Kind::TooManyPending, sentence(&said)).after_secs(WAIT_RETRY_SECS),
            E::TooManyQuestions => Self::new(Kind::TooManyQuestions, sentence(&said)).after_secs(WAIT_RETRY_SECS),
            E::AlreadyDone(_) => because(Kind::AlreadyDone, &said, "already_done"),
            E::TooManyLeases(_) => Self::new(
                Kind::TooManyLeases,
                format!("{} Complete a task you no longer need, then ask again.", sentence(&said)),
            )
            .after_secs(WAIT_RETRY_SECS),
            E::IdempotencyConflict => {
                Self::new(Kind::IdempotencyConflict, format!("{} Make a new key for a new request.", sentence(&said)))
            }
            E::InProgress => Self::new(Kind::InProgress, sentence(&said)).after_secs(1),
            E::TaskClosed(_) => Self::new(Kind::TaskClosed, sentence(&said)),
            E::Changed => Self::new(Kind::PolicyChanged, sentence(&said)).after_secs(1),
            // No Retry-After: only an operator can end this, and nobody should try again by themselves.
            E::KillSwitch => Self::new(Kind::KillSwitchActive, stop_with(&sentence(&said))),
            E::ClockUnsure(_) => {
                Self::new(Kind::ClockUnsure, "The broker is not sure of the time, so it grants nothing.")
                    .after_secs(STORE_RETRY_SECS)
                    .logging(said)
            }
            E::Restored => Self::new(Kind::StoreRestored, sentence(&said)).after_secs(RESTORED_RETRY_SECS),
            E::RateLimited { retry_after_secs } => {
                Self::new(Kind::RateLimited, sentence(&said)).after_secs(retry_after_secs.max(1))
            }
            E::Overloaded => Self::new(Kind::Overloaded, sentence(&said)).after_secs(1),
            E::Mint(error) => mint(&error, said),
            E::Store(error) => store(&error, said),
            E::Keys(_) | E::Internal(_) => Self::internal(said),
        }
    }
}

fn denied(task: String, decision: String, reason: String, because: Vec<String>) -> Refusal {
    let (kind, why) = if reason == "policy_error" {
        (Kind::PolicyError, "A policy could not be evaluated, so nothing was granted.")
    } else {
        (Kind::PolicyDenied, "Nothing of what you asked for is permitted, so nothing was granted.")
    };
    let mut refusal = Refusal::new(kind, stop_with(&format!("{why} Stop the work that needs it, and report.")));
    refusal.about.reason = Some(reason);
    refusal.about.because = because;
    refusal.about.task = Some(task);
    refusal.about.decision = Some(decision);
    refusal
}

/// What was approved and is not minted: the agent must ask anew, and people decide anew.
fn unpermitted(why: Unpermitted) -> Refusal {
    let kind = match why {
        Unpermitted::Tampered => Kind::IntegrityViolation,
        Unpermitted::Expired => Kind::ApprovalExpired,
        Unpermitted::Used => Kind::ApprovalUsed,
        Unpermitted::RequestChanged
        | Unpermitted::PolicyChanged
        | Unpermitted::PlanChanged
        | Unpermitted::ApproverDisabled
        | Unpermitted::ApproverNotInGroup
        | Unpermitted::ApproverExcluded
        | Unpermitted::DelegationEnded
        | Unpermitted::ApprovalsMissing => Kind::ApprovalStale,
    };
    let next = if why == Unpermitted::Tampered {
        "An operator must look at it before you ask again."
    } else {
        "If you still need it, ask for it again with POST to this task's /requests; people decide anew."
    };
    Refusal::new(kind, stop_with(&format!("{} {next}", why.sentence()))).because_of(why.as_str())
}

/// RFC 9470 §3: how sure we want to be.
fn step_up(wanted: StepUp, said: &str) -> Refusal {
    let next = match wanted {
        StepUp::Passkey => "Send an `assertion` of one of your passkeys over this verdict; the console asks for it.",
        StepUp::SignIn | StepUp::None => {
            "Sign in again (`hallpass login`, or the console's sign-in page), then send the same verdict."
        }
    };
    Refusal::new(Kind::StepUpRequired, format!("{} Nothing was recorded. {next}", sentence(said)))
        .because_of(wanted.as_str())
        .challenging("Bearer realm=\"hallpass\", error=\"insufficient_user_authentication\", max_age=\"600\"")
}

/// What keeps a passkey from being made or used.
fn passkey(error: &BrokerError, said: &str) -> Refusal {
    if let BrokerError::PasskeyRefused(fault) = error {
        return Refusal::new(Kind::PasskeyRefused, sentence(said)).because_of(fault.as_str());
    }
    let stale = matches!(error, BrokerError::SignInAgain(_));
    Refusal::new(if stale { Kind::StepUpRequired } else { Kind::NotImplemented }, sentence(said))
}

const fn filing_kind(fault: FilingFault) -> Kind {
    match fault {
        FilingFault::NotRequestable => Kind::NotRequestable,
        FilingFault::Unbound(_) => Kind::InvalidDenialBinding,
        FilingFault::DenialExpired => Kind::ExpiredDenial,
        FilingFault::Duplicate => Kind::DuplicateRequest,
        FilingFault::Unknown => Kind::UnknownTask,
        FilingFault::Expired => Kind::TaskExpired,
        FilingFault::Settled => Kind::InvalidTaskState,
    }
}

fn text_kind(error: &TextError) -> Kind {
    match error {
        TextError::Forbidden { .. } => Kind::PurposeForbiddenCharacters,
        TextError::Empty { what } | TextError::TooLong { what, .. } if *what == "purpose" => Kind::PurposeInvalid,
        TextError::Empty { .. } | TextError::TooLong { .. } => Kind::InvalidRequest,
    }
}

fn mint(error: &MintError, said: String) -> Refusal {
    let refusal = match error {
        MintError::Unavailable(_) | MintError::Unreached(_) => {
            Refusal::new(Kind::BackendUnavailable, "The backend does not answer. Nothing was delivered.")
                .after_secs(OUTSIDE_RETRY_SECS)
        }
        MintError::Refused(_) => Refusal::new(
            Kind::BackendRejected,
            "The backend refused, and an operator must look at it. Nothing was delivered.",
        ),
        MintError::TargetChanged(_) => Refusal::new(
            Kind::TargetChanged,
            "What these scopes are about is not what it was when it was approved, and an operator must look at the catalogue. \
             Nothing was delivered.",
        ),
        MintError::Misconfigured(_) => Refusal::new(
            Kind::BackendRejected,
            "The backend or a catalogue entry is set up wrongly, and an operator must mend it. Nothing was delivered.",
        ),
        MintError::Unsupported(_) => Refusal::new(
            Kind::ScopeUnmappable,
            "The backend cannot express these scopes, this life or this key. Ask for fewer scopes at a time.",
        ),
    };
    refusal.logging(said)
}

fn store(error: &StoreError, said: String) -> Refusal {
    let refusal = match error {
        StoreError::Unavailable(_) | StoreError::Unknown(_) => Refusal::new(
            Kind::StorageUnavailable,
            "The broker cannot write its records, and without a record it grants nothing.",
        )
        .after_secs(STORE_RETRY_SECS),
        StoreError::Conflict { .. } | StoreError::ControlChanged(_) => {
            Refusal::new(Kind::PolicyChanged, "Something changed while this was being decided; ask again.")
                .after_secs(1)
        }
        StoreError::LimitReached(what) => {
            let kind = if what.contains("pending") { Kind::TooManyPending } else { Kind::TooManyLeases };
            Refusal::new(kind, "A limit of this agent is reached.").after_secs(WAIT_RETRY_SECS)
        }
        StoreError::Corrupt(_) => Refusal::new(
            Kind::IntegrityViolation,
            "A stored record breaks a rule, so the broker does not act on it. An operator must look at it.",
        ),
    };
    refusal.logging(said)
}

/// A text of ours as a sentence: with a capital letter and a full stop.
fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let mut out: String = chars.next().into_iter().flat_map(char::to_uppercase).chain(chars).collect();
    if !out.ends_with(['.', '!', '?']) {
        out.push('.');
    }
    out
}

fn stop_with(text: &str) -> Cow<'static, str> {
    format!("{text} {USE_NOTHING_ELSE}").into()
}

#[cfg(test)]
mod tests;
