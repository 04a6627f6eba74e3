//! The calls about what people do besides giving a verdict: questions, delegations, reviews, and what is known of how they decide.

use super::calls::{query, segment};
use super::transport::NO_BODY;
use super::{Client, ClientError};
use crate::api::{
    AnswerAsk, ApprovalInsights, DelegationAsk, DelegationView, Delegations, QuestionAsk, QuestionView, ReviewAsk,
    ReviewView, Reviews, Suggestions,
};

impl Client {
    /// `POST /v1/tasks/{id}/requests/{request}/answers`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn answer_question(
        &self,
        task: &str,
        request: &str,
        ask: &AnswerAsk,
    ) -> Result<QuestionView, ClientError> {
        let path = format!("v1/tasks/{}/requests/{}/answers", segment(task)?, segment(request)?);
        self.post(&path, Some(ask), None).await
    }

    /// `POST /v1/requests/{id}/questions`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn ask_question(&self, request: &str, text: &str) -> Result<QuestionView, ClientError> {
        let ask = QuestionAsk { text: text.to_owned() };
        self.post(&format!("v1/requests/{}/questions", segment(request)?), Some(&ask), None).await
    }

    /// `GET /v1/insights/approvals`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn approval_insights(&self, days: u32) -> Result<ApprovalInsights, ClientError> {
        self.get("v1/insights/approvals", &query([("days", Some(days.to_string()))])).await
    }

    /// `GET /v1/insights/suggestions`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn policy_suggestions(&self) -> Result<Suggestions, ClientError> {
        self.get("v1/insights/suggestions", &[]).await
    }

    /// `POST /v1/delegations`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn give_delegation(&self, ask: &DelegationAsk) -> Result<DelegationView, ClientError> {
        self.post("v1/delegations", Some(ask), None).await
    }

    /// `GET /v1/delegations`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn list_delegations(&self) -> Result<Delegations, ClientError> {
        self.get("v1/delegations", &[]).await
    }

    /// `POST /v1/delegations/{id}/end`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn end_delegation(&self, delegation: &str) -> Result<DelegationView, ClientError> {
        self.post(&format!("v1/delegations/{}/end", segment(delegation)?), NO_BODY, None).await
    }

    /// `POST /v1/requests/{id}/review`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn review_request(&self, request: &str, ask: &ReviewAsk) -> Result<ReviewView, ClientError> {
        self.post(&format!("v1/requests/{}/review", segment(request)?), Some(ask), None).await
    }

    /// `GET /v1/reviews`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn list_reviews(&self, state: Option<&str>) -> Result<Reviews, ClientError> {
        self.get("v1/reviews", &query([("state", state.map(str::to_owned))])).await
    }
}
