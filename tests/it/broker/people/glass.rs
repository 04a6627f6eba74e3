//! One person lets a request pass alone, in an emergency; somebody else looks back at it.

use serde_json::{Value, json};

use super::{code, text, with_approval};
use crate::support::harness::{Harness, Reply};

const GLASS: &str = "@approval(\"2 of release-approvers\")\n@break_glass(\"1 of incident-commanders\")\n@break_glass_ttl_seconds(\"120\")";

async fn breaks(house: &Harness, request: &str, person: &str, reason: Option<&str>) -> Reply {
    let digest = text(&house.seen_by(request, person).await["request_digest"]);
    let mut body = json!({ "verdict": "break_glass", "request_digest": digest });
    if let Some(reason) = reason {
        body["reason"] = json!(reason);
    }
    house.post(&format!("/v1/requests/{request}/verdict"), person, &body).await
}

fn commander(house: &Harness) -> String {
    house.person("cora", &["incident-commanders"])
}

async fn reviews(house: &Harness, person: &str) -> Vec<Value> {
    let page = house.get("/v1/reviews?state=due", person).await.expect(200);
    page["items"].as_array().unwrap().clone()
}

async fn review(house: &Harness, request: &str, person: &str, verdict: &str) -> Reply {
    let body = json!({ "verdict": verdict, "note": "looked at the release" });
    house.post(&format!("/v1/requests/{request}/review"), person, &body).await
}

#[tokio::test]
async fn apr_23_one_person_lets_it_pass_alone_with_a_reason_and_a_capped_life_and_a_review_is_due() {
    let house = with_approval(GLASS).await;
    let waiting = house.waiting().await;
    let shown = house.seen_by(&waiting.request, &commander(&house)).await;
    assert_eq!(shown["terms"]["break_glass"], "1 of incident-commanders");
    assert_eq!(shown["terms"]["break_glass_ttl_seconds"], 120);
    breaks(&house, &waiting.request, &commander(&house), None).await.expect(400);
    assert_eq!(house.request_state(&waiting.request).await, "pending");
    let answer = breaks(&house, &waiting.request, &commander(&house), Some("site is down")).await.expect(200);
    assert_eq!(answer["state"], "granted");
    let task = house.collect(&waiting.task).await.expect(200);
    let until: hallpass::domain::Timestamp = task["credentials"][0]["usable_until"].as_str().unwrap().parse().unwrap();
    assert_eq!(until.millis_since(house.broker.now()), 120_000);
    for kind in ["glass.broken", "review.due"] {
        let events = house.events(kind).await;
        assert_eq!(events.len(), 1, "{kind}");
        assert_eq!(events[0]["request"], json!(waiting.request));
    }
    let shown = house.seen_by(&waiting.request, &house.operator()).await;
    assert_eq!(shown["review"]["state"], "due");
    assert_eq!(shown["verdicts"][0]["verdict"], "break_glass");
    let due = reviews(&house, &house.approver()).await;
    assert_eq!(
        (&due[0]["request"], &due[0]["breaker"]),
        (&json!(waiting.request), &json!("http://127.0.0.1:8601/people#cora"))
    );
    assert!(due[0]["cannot_review"].is_null(), "{}", due[0]);
}

#[tokio::test]
async fn only_whom_policy_names_breaks_glass_and_never_for_their_own() {
    let house = with_approval(GLASS).await;
    let waiting = house.waiting().await;
    let maya = json!({ "groups": ["incident-commanders"], "email": "maya@acme.example", "email_verified": true });
    let maya = house.token(crate::support::harness::PEOPLE, "maya", &maya);
    let refused = breaks(&house, &waiting.request, &maya, Some("mine")).await.expect(403);
    assert_eq!(code(&refused), "self-approval-forbidden");
    let refused = breaks(&house, &waiting.request, &house.approver(), Some("me too")).await.expect(403);
    assert_eq!(code(&refused), "not-an-approver");
    let plain = Harness::start().await;
    let waiting = plain.waiting().await;
    let refused = breaks(&plain, &waiting.request, &commander(&plain), Some("no such rule")).await.expect(403);
    assert_eq!(code(&refused), "forbidden");
    assert!(plain.events("glass.broken").await.is_empty());
}

#[tokio::test]
async fn a_no_is_not_broken_through() {
    let house = with_approval(GLASS).await;
    let waiting = house.waiting().await;
    house.verdict(&waiting.request, &house.approver(), "deny").await.expect(200);
    let late = breaks(&house, &waiting.request, &commander(&house), Some("all the same")).await.expect(409);
    assert_eq!(code(&late), "already-decided");
    assert!(house.events("glass.broken").await.is_empty());
}

#[tokio::test]
async fn whoever_breaks_glass_counts_for_nothing_else() {
    let house = with_approval(
        "@approval(\"2 of release-approvers\")\n@break_glass(\"1 of incident-commanders\")\n@step_up(\"sign_in\")",
    )
    .await;
    let waiting = house.waiting().await;
    let refused = breaks(&house, &waiting.request, &commander(&house), Some("down")).await.expect(401);
    assert_eq!(code(&refused), "step-up-required");
    assert_eq!(house.request_state(&waiting.request).await, "pending");
}

#[tokio::test]
async fn somebody_else_who_might_have_decided_reviews_it_once() {
    let house = with_approval(GLASS).await;
    let waiting = house.waiting().await;
    review(&house, &waiting.request, &house.approver(), "confirmed").await.expect(404);
    breaks(&house, &waiting.request, &commander(&house), Some("site is down")).await.expect(200);
    let both = house.person("cora", &["incident-commanders", "release-approvers"]);
    assert_eq!(
        code(&review(&house, &waiting.request, &both, "confirmed").await.expect(403)),
        "self-approval-forbidden"
    );
    let other = house.person("cody", &["incident-commanders"]);
    assert_eq!(code(&review(&house, &waiting.request, &other, "confirmed").await.expect(403)), "not-an-approver");
    let owner = house.addressed("maya", "maya@acme.example");
    assert_eq!(
        code(&review(&house, &waiting.request, &owner, "confirmed").await.expect(403)),
        "self-approval-forbidden"
    );
    review(&house, &waiting.request, &house.approver(), "fine").await.expect(400);
    let done = review(&house, &waiting.request, &house.approver(), "confirmed").await.expect(200);
    assert_eq!((&done["state"], &done["person"]), (&json!("confirmed"), &json!("dev-approver")));
    assert_eq!(code(&review(&house, &waiting.request, &house.nia(), "objected").await.expect(409)), "already-done");
    assert!(reviews(&house, &house.approver()).await.is_empty());
    assert_eq!(house.events("review.done").await.len(), 1);
}

#[tokio::test]
async fn an_objection_ends_what_lives() {
    let house = with_approval(GLASS).await;
    let waiting = house.waiting().await;
    breaks(&house, &waiting.request, &commander(&house), Some("site is down")).await.expect(200);
    let task = house.collect(&waiting.task).await.expect(200);
    let secret = text(&task["credentials"][0]["values"]["token"]);
    assert!(house.works(&secret));
    review(&house, &waiting.request, &house.approver(), "objected").await.expect(200);
    house.settle().await;
    assert!(!house.works(&secret));
    assert_eq!(house.seen_by(&waiting.request, &house.operator()).await["review"]["state"], "objected");
}

#[tokio::test]
async fn a_review_that_nobody_makes_in_time_is_said_once() {
    let house = with_approval(GLASS).await;
    let waiting = house.waiting().await;
    breaks(&house, &waiting.request, &commander(&house), Some("site is down")).await.expect(200);
    house.advance_secs(86_399);
    assert_eq!(house.broker.sweep_reviews().await.unwrap().done, 0);
    house.advance_secs(1);
    assert_eq!(house.broker.sweep_reviews().await.unwrap().done, 1);
    assert_eq!(house.broker.sweep_reviews().await.unwrap().done, 0);
    assert_eq!(house.events("review.overdue").await.len(), 1);
    assert_eq!(reviews(&house, &house.approver()).await[0]["overdue"], true);
    review(&house, &waiting.request, &house.approver(), "confirmed").await.expect(200);
}
