//! What people do besides giving a verdict, on the wire: the queue as cards.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ReviewView;
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
    /// How many people have said yes; whether each still counts is said where it is decided.
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

/// How much one approver was asked and decided on one day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApproverDay {
    /// Who.
    pub person: String,
    /// The day, in UTC, as `2026-11-22`.
    pub day: String,
    /// Requests that this person was first shown on that day and could have decided.
    pub asked: u32,
    /// Verdicts of this person on that day.
    pub decided: u32,
    /// Of these, how many were approvals.
    pub approved: u32,
    /// Half of the verdicts took so long or less, in milliseconds, from when the request was first shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub median_thought_millis: Option<i64>,
    /// Verdicts within three seconds of being shown the request.
    pub hasty: u32,
}

/// How much approvers are asked, and how long they think.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ApprovalInsights {
    /// From when on.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// Each person's days, the newest first.
    pub items: Vec<ApproverDay>,
}

/// Something that people allow again and again, and the policy that would allow it without them.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Suggestion {
    /// Whose requests.
    pub agent: String,
    /// For which scopes, as entries of the catalogue.
    pub entries: Vec<String>,
    /// How many requests were granted since the last denial, within 30 days.
    pub granted: u32,
    /// Who approved them.
    pub people: Vec<String>,
    /// The longest life that was granted, in seconds.
    pub ttl_seconds: u32,
    /// The policies that waited for people.
    pub policies: Vec<String>,
    /// The changed policies, each as its whole text.
    pub text: Vec<String>,
    /// What changes in the bundle, as a unified diff. It was loaded, and permits the request without a person.
    pub diff: String,
}

/// What could be turned into policy.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Suggestions {
    /// The most often granted first; at most 20.
    pub items: Vec<Suggestion>,
    /// The bundle that the diffs are against.
    pub bundle: String,
}

/// `POST /v1/delegations`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DelegationAsk {
    /// Who decides in your place: a registered person's name or e-mail address, or somebody who has signed in, as they are named here.
    pub to: String,
    /// From when on; at once when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub from: Option<Timestamp>,
    /// Until when, at most 30 days later.
    #[schema(value_type = String, format = DateTime)]
    pub until: Timestamp,
    /// Why: 1 to 500 characters.
    pub reason: String,
}

/// One person's leave for another to decide in their place.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DelegationView {
    /// Its id.
    pub id: String,
    /// `given` (it does not hold yet), `held`, `ended` (early) or `over`.
    pub state: String,
    /// Who is away.
    pub giver: String,
    /// Who decides instead.
    pub receiver: String,
    /// Why.
    pub reason: String,
    /// From when on.
    #[schema(value_type = String, format = DateTime)]
    pub from: Timestamp,
    /// Until when.
    #[schema(value_type = String, format = DateTime)]
    pub until: Timestamp,
    /// Who ended it early.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_by: Option<String>,
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
}

/// Delegations that hold, will hold, or held within the last 30 days.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Delegations {
    /// The newest first; at most 1,000.
    pub items: Vec<DelegationView>,
}

/// `POST /v1/requests/{id}/review`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReviewAsk {
    /// `confirmed` or `objected`; what lives of the grant ends at an objection.
    pub verdict: String,
    /// What you found: 1 to 500 characters.
    pub note: String,
}

/// A review with what it is about.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ReviewItem {
    /// The request.
    pub request: String,
    /// Its task.
    pub task: String,
    /// Whose it is.
    pub agent: String,
    /// Who must have agreed, had there been time; a review is for one of these.
    pub rule: String,
    /// Who let it pass.
    pub breaker: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub broken_at: Timestamp,
    /// What is known of the review.
    #[serde(flatten)]
    pub review: ReviewView,
    /// Whether it is due and late.
    pub overdue: bool,
    /// Why the caller may not review it, in one word, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cannot_review: Option<String>,
}

/// Reviews.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Reviews {
    /// Those that are due, the latest first to be missed first; or all, the newest first. At most 1,000.
    pub items: Vec<ReviewItem>,
}
