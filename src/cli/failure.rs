//! How a command ends when it does not succeed: an exit code that scripts can rely on, and an error a person can act on, in
//! the lines who, clock, fix, more.

use std::fmt;

use crate::api::ProblemKind;

/// The exit codes, a closed list. `exec` otherwise answers its child's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It failed.
    Failure = 1,
    /// The command line or the request cannot be.
    Usage = 2,
    /// Policy or a person said no.
    Denied = 3,
    /// Somebody must decide first.
    Pending = 4,
    /// What was asked about has expired or was revoked.
    Ended = 5,
    /// The server cannot be reached.
    Unreachable = 6,
    /// The caller is not authenticated.
    Unauthenticated = 7,
    /// The backend failed.
    Backend = 8,
}

impl Exit {
    /// The code for a kind of problem.
    #[must_use]
    pub(crate) const fn of(kind: ProblemKind) -> Self {
        use ProblemKind as P;
        match kind {
            P::PolicyDenied
            | P::PolicyError
            | P::AgentSuspended
            | P::Forbidden
            | P::CsrfFailed
            | P::ScopeAboveCeiling
            | P::SelfApprovalForbidden
            | P::PasskeyRefused
            | P::NotAnApprover => Self::Denied,
            P::InvalidRequest
            | P::ScopeInvalid
            | P::ScopeUnmappable
            | P::TtlTooLong
            | P::PurposeInvalid
            | P::PurposeForbiddenCharacters
            | P::NotRequestable
            | P::InvalidDenialBinding => Self::Usage,
            P::InvalidToken | P::IssuerUnavailable | P::StepUpRequired => Self::Unauthenticated,
            P::TaskClosed | P::ApprovalExpired | P::ApprovalUsed | P::ExpiredDenial | P::TaskExpired => Self::Ended,
            P::BackendUnavailable | P::BackendRejected | P::TargetChanged => Self::Backend,
            P::PolicyChanged
            | P::PolicyInvalid
            | P::ApprovalMismatch
            | P::ApprovalStale
            | P::AlreadyDecided
            | P::TooManyPending
            | P::TooManyQuestions
            | P::AlreadyDone
            | P::TooManyLeases
            | P::IdempotencyConflict
            | P::DuplicateRequest
            | P::UnknownTask
            | P::InvalidTaskState
            | P::InProgress
            | P::KillSwitchActive
            | P::NotImplemented
            | P::StorageUnavailable
            | P::ClockUnsure
            | P::StoreRestored
            | P::RateLimited
            | P::Overloaded
            | P::NotFound
            | P::MethodNotAllowed
            | P::UnsupportedMediaType
            | P::BodyTooLarge
            | P::IntegrityViolation
            | P::Internal => Self::Failure,
        }
    }

    /// As a process answers it.
    #[must_use]
    pub(crate) const fn code(self) -> u8 {
        self as u8
    }
}

/// Why a command did not succeed, and what to do.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) exit: Exit,
    /// A stable name for it, where it has one.
    pub(crate) code: Option<String>,
    /// What happened, in one sentence.
    pub(crate) message: String,
    /// Labelled lines: `who`, `clock`, `fix`, `more`.
    pub(crate) lines: Vec<(&'static str, String)>,
}

impl Failure {
    /// With a message only.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, code: None, message: message.into(), lines: Vec::new() }
    }

    /// Something in what the user typed.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Add what to do.
    #[must_use]
    pub(crate) fn fix(self, text: impl Into<String>) -> Self {
        self.line("fix", text)
    }

    /// Add a labelled line.
    #[must_use]
    pub(crate) fn line(mut self, label: &'static str, text: impl Into<String>) -> Self {
        self.lines.push((label, text.into()));
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What a server or a file says is shown as text, never obeyed by the terminal.
        let safe = crate::app::telemetry::escape;
        write!(f, "error: {}", safe_lines(&self.message))?;
        if let Some(code) = &self.code {
            write!(f, "  [{}]", safe(code))?;
        }
        for (label, text) in &self.lines {
            write!(f, "\n  {label:<6} {}", safe(text))?;
        }
        Ok(())
    }
}

/// Escaped line by line, so that a list of problems stays a list.
fn safe_lines(text: &str) -> String {
    text.lines().map(crate::app::telemetry::escape).collect::<Vec<_>>().join("\n")
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::new(Exit::Failure, format!("{error:#}"))
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(Exit::Failure, error.to_string())
    }
}

impl From<crate::app::config::ConfigError> for Failure {
    fn from(error: crate::app::config::ConfigError) -> Self {
        Self::new(Exit::Failure, error.to_string())
    }
}

/// What a command answers: the process's exit code, 0 for success.
pub(crate) type Outcome = Result<u8, Failure>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_shows_its_code_and_what_to_do() {
        let mut failure = Failure::new(Exit::Denied, "policy permits none of it").fix("ask for less");
        failure.code = Some("policy-denied".to_owned());
        assert_eq!(failure.to_string(), "error: policy permits none of it  [policy-denied]\n  fix    ask for less");
    }

    #[test]
    fn a_terminal_does_not_obey_what_a_server_says() {
        let failure = Failure::new(Exit::Failure, "a\u{1b}[2Jb").fix("x\ny\u{202e}");
        assert_eq!(failure.to_string(), "error: a\\u001b[2Jb\n  fix    x\\u000ay\\u202e");
    }
}
