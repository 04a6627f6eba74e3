//! The look back at what one person let pass alone: due within a day, by somebody else, once.

use super::word::words;
use super::{AgentId, ApprovalRule, Person, RequestId, TaskId, Timestamp};

words! {
    /// What a review found.
    Finding as "finding" {
        /// It was right.
        Confirmed = "confirmed",
        /// It was not; what lives of it ends.
        Objected = "objected",
    }
}

/// What somebody else says about a request that one person let pass alone in an emergency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Review {
    /// The request.
    pub request: RequestId,
    /// Its task.
    pub task: TaskId,
    /// Whose it is.
    pub agent: AgentId,
    /// Who must have agreed, had there been time.
    pub rule: ApprovalRule,
    /// Who let it pass.
    pub breaker: Person,
    /// When.
    pub broken_at: Timestamp,
    /// By when it is to be reviewed.
    pub due_at: Timestamp,
    /// What was found, by whom, in which words, when.
    pub found: Option<(Finding, Person, String, Timestamp)>,
    /// When it was noted that nobody had reviewed it in time.
    pub overdue_at: Option<Timestamp>,
}

impl Review {
    /// How long there is for it, in milliseconds: a day.
    pub const WITHIN_MILLIS: i64 = 86_400_000;

    /// `due`, `confirmed` or `objected`.
    #[must_use]
    pub fn state(&self) -> &'static str {
        self.found.as_ref().map_or("due", |(finding, ..)| finding.as_str())
    }
}
