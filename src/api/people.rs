//! What people do besides giving a verdict, on the wire: the queue as cards.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::Timestamp;

/// A request that waits, as a list of them shows it. Nothing in it is the agent's own text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InboxCard {
    /// Its id.
    pub id: String,
    /// Who asks.
    pub agent: String,
    /// The task it is for.
    pub task: String,
    /// One sentence of ours.
    pub sentence: String,
    /// `low`, `medium` or `high`.
    pub impact: String,
    /// The highest risk of its scopes, 0 to 100.
    pub risk: u8,
    /// The environments its scopes are labelled with (`env`).
    pub environments: Vec<String>,
    /// Who must agree.
    pub rule: String,
    /// How many verdicts there are; how many of them count is said where it is decided.
    pub given: u32,
    /// How many more requests of the same agent wait for the same scopes.
    pub like: u32,
    /// When it was asked.
    #[schema(value_type = String, format = DateTime)]
    pub asked_at: Timestamp,
    /// When it lapses.
    #[schema(value_type = String, format = DateTime)]
    pub lapses_at: Timestamp,
    /// Why the caller may not decide it, in one word, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cannot_decide: Option<String>,
}

/// `POST /v1/requests/{id}/questions`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QuestionAsk {
    /// What the agent is asked: 1 to 500 characters, at most 20 lines, nothing invisible.
    pub text: String,
}

/// `POST /v1/tasks/{id}/requests/{request}/answers`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AnswerAsk {
    /// The id of the question.
    pub question: String,
    /// What the agent says to it: 1 to 500 characters, at most 20 lines, nothing invisible.
    pub text: String,
}
