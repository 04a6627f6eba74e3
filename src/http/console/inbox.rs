//! The inbox: what waits for whoever looks, agent by agent, then what waits for others, and the reviews that are due.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::super::HttpState;
use super::super::refusal::Refusal;
use super::page::{Page, Place, Reading as _, show};
use super::request_page::why_not;
use super::text::{Shown, reveal, until};
use super::visit::Visit;
use crate::api::{InboxCard, ReviewItem};

/// What waits from one agent.
struct Group {
    agent: String,
    cards: Vec<Pile>,
}

/// Requests for the same: one card. Each is still decided by itself, for each has a task of its own.
struct Pile {
    /// The one that lapses first.
    first: InboxCard,
    others: Vec<InboxCard>,
}

#[derive(Template)]
#[template(path = "console/inbox.html")]
struct InboxPage {
    page: Page,
    /// What whoever looks may decide.
    own: Vec<Group>,
    /// What waits for others.
    others: Vec<Group>,
    /// What was let pass in an emergency and is to be looked back at by whoever looks.
    reviews: Vec<ReviewItem>,
    /// The newest request on the page.
    newest: String,
}

impl InboxPage {
    fn is_empty(&self) -> bool {
        self.own.is_empty() && self.others.is_empty() && self.reviews.is_empty()
    }

    fn sentence(&self, card: &InboxCard) -> Shown {
        let _ = self;
        reveal(&card.sentence)
    }

    fn kind(&self, card: &InboxCard) -> &'static str {
        let _ = self;
        match card.impact.as_str() {
            "high" => "bad",
            "medium" => "wary",
            _ => "",
        }
    }

    fn until(&self, card: &InboxCard) -> Shown {
        let _ = self;
        until(card.lapses_at)
    }

    fn due(&self, review: &ReviewItem) -> Shown {
        let _ = self;
        until(review.review.due_at)
    }

    fn why(&self, card: &InboxCard) -> String {
        let _ = self;
        card.cannot_decide.as_deref().map(|word| why_not(word, &card.agent)).unwrap_or_default()
    }
}

/// `GET /`
pub(super) async fn read(State(state): State<Arc<HttpState>>, visit: Visit) -> Result<Response, Refusal> {
    let cards = state.broker.inbox(&visit.caller).await?;
    let newest = cards.iter().map(|card| card.id.as_str()).max().unwrap_or_default().to_owned();
    let (others, own): (Vec<_>, Vec<_>) = cards.into_iter().partition(|card| card.cannot_decide.is_some());
    let due = state.broker.list_reviews(&visit.caller, Some("due")).await?.items;
    let reviews = due.into_iter().filter(|review| review.cannot_review.is_none()).collect();
    let page = visit.page(&state, Place::Inbox, "Inbox").await?;
    Ok(show(&InboxPage { page, own: grouped(own), others: grouped(others), reviews, newest }))
}

/// One group an agent, in the order in which their first requests lapse; within it one pile for each thing that is asked for.
fn grouped(cards: Vec<InboxCard>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for card in cards {
        if !groups.iter().any(|group| group.agent == card.agent) {
            groups.push(Group { agent: card.agent.clone(), cards: Vec::new() });
        }
        let Some(group) = groups.iter_mut().find(|group| group.agent == card.agent) else { continue };
        match group.cards.iter_mut().find(|pile| pile.first.sentence == card.sentence && pile.first.like > 0) {
            Some(pile) => pile.others.push(card),
            None => group.cards.push(Pile { first: card, others: Vec::new() }),
        }
    }
    groups
}
