//! What a call can end with instead of its answer: one variant for each thing a caller can do about it.

use super::UnverifiedClaims;
use crate::api::{Problem, ProblemKind};
use crate::domain::Timestamp;

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection, or none that lasted; start the server or mend its address.
    #[error("{server} cannot be reached: {why}")]
    Unreachable {
        /// The server's address.
        server: String,
        /// What failed.
        why: String,
    },
    /// There is no identity token to present; get one.
    #[error("{0}")]
    NoToken(String),
    /// The server refused, and said why.
    #[error("{}", .0.problem.detail)]
    Refused(Box<Refusal>),
    /// The answer is not one of ours; something else listens there, or it is another version.
    #[error("the answer of {server} cannot be read: {why}")]
    Unreadable {
        /// The server's address.
        server: String,
        /// What is wrong with it.
        why: String,
    },
    /// The settings of the client are wrong.
    #[error("{0}")]
    Invalid(String),
}

impl ClientError {
    /// The kind of problem, when the server refused with one we know.
    #[must_use]
    pub fn kind(&self) -> Option<ProblemKind> {
        match self {
            Self::Refused(refusal) => refusal.kind(),
            Self::Unreachable { .. } | Self::NoToken(_) | Self::Unreadable { .. } | Self::Invalid(_) => None,
        }
    }
}

/// A refusal, with what explains it to the one who was refused.
#[derive(Debug)]
pub struct Refusal {
    /// The problem as answered.
    pub problem: Problem,
    /// When to try again, if that helps.
    pub retry_after_secs: Option<u64>,
    /// The server's clock, from its `Date` header.
    pub server_now: Option<Timestamp>,
    /// What the presented token says about itself.
    pub presented: Option<UnverifiedClaims>,
}

impl Refusal {
    /// The kind of problem, if this version knows it.
    #[must_use]
    pub fn kind(&self) -> Option<ProblemKind> {
        ProblemKind::ALL.iter().copied().find(|kind| kind.slug() == self.problem.code)
    }
}
