//! The table from `BrokerError` to problems, row by row.

use super::*;
use crate::store::Control;

fn every_error() -> Vec<(BrokerError, Kind)> {
    use BrokerError as E;
    let secret = || "hunter2 in /etc/hallpass".to_owned();
    let control = Control { kill_epoch: 1, killed: false, bundle: None, agents_epoch: 1, ..Control::default() };
    let denied = |reason: &str| E::Denied {
        task: "tsk_1".into(),
        decision: "dec_1".into(),
        reason: reason.into(),
        because: vec!["Frozen".into()],
    };
    vec![
        (E::IdentityRefused, Kind::InvalidToken),
        (E::IssuerUnavailable(secret()), Kind::IssuerUnavailable),
        (E::BindingRefused { reason: "repository_id_mismatch".into() }, Kind::PolicyDenied),
        (E::AgentSuspended { agent: "a".into() }, Kind::AgentSuspended),
        (E::Invalid("`wait` is too long".into()), Kind::InvalidRequest),
        ("*".parse::<crate::domain::Scope>().unwrap_err().into(), Kind::ScopeInvalid),
        (TextError::Empty { what: "purpose" }.into(), Kind::PurposeInvalid),
        (TextError::Empty { what: "message" }.into(), Kind::InvalidRequest),
        (TextError::Forbidden { what: "purpose", found: vec!['\u{202E}'] }.into(), Kind::PurposeForbiddenCharacters),
        (E::TtlOutOfBounds { what: "ttl_seconds", found: 0 }, Kind::InvalidRequest),
        (E::TtlTooLong { what: "ttl_seconds", asked: 901, allowed: 900, whose: "a:b:c".into() }, Kind::TtlTooLong),
        (E::AboveCeiling(vec!["a:b:c".into()]), Kind::ScopeAboveCeiling),
        (denied("not_permitted"), Kind::PolicyDenied),
        (denied("forbidden"), Kind::PolicyDenied),
        (denied("policy_error"), Kind::PolicyError),
        (E::Forbidden("revoke this".into()), Kind::Forbidden),
        (E::NotFound("task"), Kind::NotFound),
        (E::ApprovalMismatch, Kind::ApprovalMismatch),
        (E::ApprovalStale, Kind::ApprovalStale),
        (E::ApprovalExpired, Kind::ApprovalExpired),
        (E::Unpermitted(Unpermitted::Tampered), Kind::IntegrityViolation),
        (E::Unpermitted(Unpermitted::ApproverNotInGroup), Kind::ApprovalStale),
        (E::Unpermitted(Unpermitted::Expired), Kind::ApprovalExpired),
        (E::Unpermitted(Unpermitted::Used), Kind::ApprovalUsed),
        (E::StepUpRequired(StepUp::SignIn), Kind::StepUpRequired),
        (E::AlreadyDecided("granted"), Kind::AlreadyDecided),
        (E::OwnRequest, Kind::SelfApprovalForbidden),
        (E::NotInGroup { rule: "1 of sre".into(), groups: vec!["sre".into()] }, Kind::NotAnApprover),
        (E::VerdictGiven, Kind::AlreadyDecided),
        (E::TooManyPending(5), Kind::TooManyPending),
        (E::TooManyQuestions, Kind::TooManyQuestions),
        (E::AlreadyDone("it is answered"), Kind::AlreadyDone),
        (E::TooManyLeases(50), Kind::TooManyLeases),
        (E::IdempotencyConflict, Kind::IdempotencyConflict),
        (E::InProgress, Kind::InProgress),
        (E::TaskClosed("completed".into()), Kind::TaskClosed),
        (E::Changed, Kind::PolicyChanged),
        (E::KillSwitch, Kind::KillSwitchActive),
        (E::ClockUnsure(secret()), Kind::ClockUnsure),
        (E::Restored, Kind::StoreRestored),
        (E::RateLimited { retry_after_secs: 7 }, Kind::RateLimited),
        (E::Overloaded, Kind::Overloaded),
        (MintError::Unavailable(secret()).into(), Kind::BackendUnavailable),
        (MintError::Unreached(secret()).into(), Kind::BackendUnavailable),
        (MintError::Refused(secret()).into(), Kind::BackendRejected),
        (MintError::TargetChanged(secret()).into(), Kind::TargetChanged),
        (MintError::Misconfigured(secret()).into(), Kind::BackendRejected),
        (MintError::Unsupported(secret()).into(), Kind::ScopeUnmappable),
        (StoreError::Unavailable(secret()).into(), Kind::StorageUnavailable),
        (StoreError::Unknown(secret()).into(), Kind::StorageUnavailable),
        (StoreError::Conflict { table: "leases" }.into(), Kind::PolicyChanged),
        (StoreError::ControlChanged(control).into(), Kind::PolicyChanged),
        (StoreError::LimitReached("live leases").into(), Kind::TooManyLeases),
        (StoreError::LimitReached("pending requests").into(), Kind::TooManyPending),
        (StoreError::Corrupt(secret()).into(), Kind::IntegrityViolation),
        (E::Internal(secret()), Kind::Internal),
    ]
}

#[test]
fn every_error_has_its_problem() {
    for (error, kind) in every_error() {
        let said = error.to_string();
        assert_eq!(Refusal::from(error).kind, kind, "{said}");
    }
}

#[test]
fn api_01_no_text_of_the_store_a_backend_or_an_issuer_leaves() {
    for (error, kind) in every_error() {
        let response = Refusal::from(error).detail;
        for word in ["hunter2", "/etc", "leases\"", "conflict on", "control row"] {
            assert!(!response.contains(word), "{}: {response}", kind.slug());
        }
    }
}

#[test]
fn an_agent_that_must_stop_is_never_told_to_try_something_else() {
    for (error, kind) in every_error() {
        let detail = Refusal::from(error).detail;
        assert!(detail.ends_with('.'), "{detail}");
        if kind.agent_action() == crate::api::AgentAction::Stop {
            for word in ["log in", "login", "sign in", "try again", "retry", "another token", "another key", "fresh"] {
                assert!(!detail.to_lowercase().contains(word), "{}: {detail}", kind.slug());
            }
        }
    }
    for (error, kind) in every_error() {
        if matches!(kind, Kind::PolicyDenied | Kind::PolicyError | Kind::ScopeAboveCeiling | Kind::AgentSuspended) {
            assert!(Refusal::from(error).detail.ends_with(USE_NOTHING_ELSE), "{}", kind.slug());
        }
    }
}

#[test]
fn whoever_may_try_again_is_told_when() {
    for (error, kind) in every_error() {
        let refusal = Refusal::from(error);
        let may_retry = matches!(kind.status(), 429 | 503) && kind != Kind::KillSwitchActive;
        assert!(!may_retry || refusal.retry_after().is_some(), "{}", kind.slug());
    }
}

#[test]
fn a_denial_says_which_task_which_decision_and_why() {
    let denied = BrokerError::Denied {
        task: "tsk_1".into(),
        decision: "dec_1".into(),
        reason: "forbidden".into(),
        because: vec!["Frozen".into()],
    };
    let refusal = Refusal::from(denied);
    assert_eq!(refusal.about.task.as_deref(), Some("tsk_1"));
    assert_eq!(refusal.about.decision.as_deref(), Some("dec_1"));
    assert_eq!(refusal.about.reason.as_deref(), Some("forbidden"));
    assert_eq!(refusal.about.because, ["Frozen"]);
}
