//! A question of a person to the agent that asks, and the agent's answer: part of what an approver is shown, so an answer changes what
//! a yes is about.

use super::{Message, Person, QuestionId, RequestId, Timestamp};

/// One question of an approver to the agent about its access request, and the agent's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Its id.
    pub id: QuestionId,
    /// What it is about.
    pub request: RequestId,
    /// Which one of that request it is, counted from one.
    pub number: u32,
    /// Who asks.
    pub person: Person,
    /// What is asked.
    pub text: Message,
    /// When.
    pub asked_at: Timestamp,
    /// What the agent said to it, and when.
    pub answer: Option<(Message, Timestamp)>,
}

impl Question {
    /// The most questions about one request.
    pub const MAX: u32 = 20;
    /// The most that wait for an answer at once.
    pub const MAX_OPEN: usize = 5;

    /// Whether the agent has not answered yet.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.answer.is_none()
    }
}
