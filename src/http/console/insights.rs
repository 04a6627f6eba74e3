//! How much people are asked and how long they think before they answer; and what they allow so often that it could be policy.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::super::HttpState;
use super::super::refusal::Refusal;
use super::page::{Page, Place, Reading as _, show};
use super::visit::Visit;
use crate::api::{ApprovalInsights, ApproverDay, Suggestions};

#[derive(Template)]
#[template(path = "console/insights.html")]
struct InsightsPage {
    page: Page,
    insights: ApprovalInsights,
    suggestions: Suggestions,
}

impl InsightsPage {
    fn thought(&self, day: &ApproverDay) -> String {
        let _ = self;
        match day.median_thought_millis {
            None => "–".to_owned(),
            Some(millis @ ..60_000) => format!("{}.{} s", millis / 1000, millis % 1000 / 100),
            Some(millis) => format!("{} min {} s", millis / 60_000, millis / 1000 % 60),
        }
    }

    fn hasty(&self) -> u64 {
        self.insights.items.iter().map(|day| u64::from(day.hasty)).sum()
    }

    /// What the figures ask for, in a line.
    fn advice(&self) -> String {
        let most = self.insights.items.iter().map(|day| day.asked).max().unwrap_or_default();
        if self.hasty() > 0 {
            "Some verdicts came within three seconds of being shown the request. Talk to those who gave them, and ask whether the rule asks too often.".to_owned()
        } else if most > 20 {
            format!(
                "Somebody was asked {most} times in one day. Whoever is asked so often stops reading: turn what is always allowed into policy, or widen the group."
            )
        } else {
            "Nobody decides in haste, and nobody is asked too often.".to_owned()
        }
    }
}

/// `GET /insights`
pub(super) async fn read(State(state): State<Arc<HttpState>>, visit: Visit) -> Result<Response, Refusal> {
    let insights = state.broker.approval_insights(&visit.caller, None).await?;
    let suggestions = state.broker.suggestions(&visit.caller).await?;
    let page = visit.page(&state, Place::Settings, "Insights").await?;
    Ok(show(&InsightsPage { page, insights, suggestions }))
}
