//! The cases of approval that are about who may say what through which door.

use serde_json::json;

use super::*;
use crate::support::harness::ask;

#[tokio::test]
async fn apr_01_nobody_approves_the_request_of_an_agent_that_is_their_own() {
    let house = Harness::start().await;
    let waiting = house.waiting().await;
    let maya = house.addressed("maya", "maya@acme.example");
    let problem = house.verdict(&waiting.request, &maya, "approve").await.expect(403);
    assert_eq!(refusal(&problem), ("self-approval-forbidden", "own_request"));
    let refused = house.events("approval.refused").await;
    assert_eq!(refused.len(), 1);
    assert_eq!((&refused[0]["data"]["reason"], &refused[0]["actor"]["name"]), (&json!("own_request"), &json!("maya")));
    assert_eq!(refused[0]["request"], waiting.request);
}

#[tokio::test]
async fn apr_03_an_agent_is_never_an_approver() {
    let house = Harness::start().await;
    let waiting = house.waiting().await;
    let shown = house.shown(&waiting.request).await;
    let body = json!({ "verdict": "approve", "request_digest": shown["request_digest"] });
    for agent in ["release-bot", "triage-bot"] {
        let reply = house.post(&format!("/v1/requests/{}/verdict", waiting.request), &house.agent(agent), &body).await;
        assert_eq!(reply.expect(403)["code"], "forbidden");
    }
    assert_eq!(house.request_state(&waiting.request).await, "pending");
}

#[tokio::test]
async fn apr_04_one_person_who_approves_twice_counts_once() {
    let house = with_notes("@approval(\"2 of release-approvers\")").await;
    let waiting = house.waiting().await;
    house.verdict(&waiting.request, &house.approver(), "approve").await.expect(200);
    let (same, other) = (house.approver(), house.addressed("second-account", "dev-approver@hallpass.example"));
    for again in [same, other] {
        let problem = house.verdict(&waiting.request, &again, "approve").await.expect(409);
        assert_eq!(refusal(&problem), ("already-decided", "verdict_given"));
    }
    let shown = house.shown(&waiting.request).await;
    assert_eq!((&shown["state"], &shown["given"]), (&json!("pending"), &json!(1)));
    assert_eq!(house.collect(&waiting.task).await.expect(202)["credentials"], json!([]));
}

#[tokio::test]
async fn apr_06_what_was_said_of_one_request_says_nothing_of_another() {
    let house = Harness::start().await;
    let (one, two, three) = (house.waiting().await, house.waiting().await, house.waiting().await);
    let digest = |shown: &Value| text(&shown["request_digest"]);
    let of_one = digest(&house.shown(&one.request).await);
    house.verdict(&one.request, &house.approver(), "approve").await.expect(200);
    let approval = text(&house.shown(&one.request).await["verdicts"][0]["id"]);
    // Swapped digests: of one that was approved, and of one that waits.
    for other in [of_one.clone(), digest(&house.shown(&three.request).await)] {
        let problem = house.verdict_on(&two.request, &house.approver(), "approve", &other).await.expect(409);
        assert_eq!(refusal(&problem), ("approval-mismatch", "approval_mismatch"));
    }
    // In the URL it is no request; in the body there is no place for it.
    house.verdict_on(&approval, &house.approver(), "approve", &of_one).await.expect(404);
    let body = json!({ "verdict": "approve", "request_digest": of_one, "approval": approval });
    house.post(&format!("/v1/requests/{}/verdict", two.request), &house.approver(), &body).await.expect(400);
    assert_eq!(house.request_state(&two.request).await, "pending");
    assert_eq!(house.collect(&two.task).await.expect(202)["credentials"], json!([]));
}

#[tokio::test]
async fn apr_07_a_yes_without_a_digest_or_with_a_stale_one_is_refused() {
    let mut house = Harness::start().await;
    let waiting = house.waiting().await;
    let path = format!("/v1/requests/{}/verdict", waiting.request);
    for body in [json!({ "verdict": "approve" }), json!({ "verdict": "approve", "request_digest": null })] {
        house.post(&path, &house.approver(), &body).await.expect(400);
    }
    let stale = text(&house.shown(&waiting.request).await["request_digest"]);
    house.change_bundle(|files| files.get_mut("agents.cedar").unwrap().push_str("// changed\n")).await;
    let problem = house.verdict_on(&waiting.request, &house.approver(), "approve", &stale).await.expect(409);
    assert_eq!(refusal(&problem), ("approval-stale", "approval_stale"));
    assert_eq!(house.reasons("approval.refused").await, ["approval_stale"]);
    assert!(house.events("approval.recorded").await.is_empty());
}

#[tokio::test]
async fn apr_16_whoever_calls_is_who_approves() {
    let house = Harness::start().await;
    let waiting = house.waiting().await;
    let digest = house.shown(&waiting.request).await["request_digest"].clone();
    let path = format!("/v1/requests/{}/verdict", waiting.request);
    for name in ["approver", "author", "person", "groups", "on_behalf_of", "in_place_of"] {
        let body = json!({ "verdict": "approve", "request_digest": digest, name: "bob" });
        house.post(&path, &house.approver(), &body).await.expect(400);
    }
    let body = json!({ "verdict": "approve", "request_digest": digest });
    let maya = house.addressed("maya", "maya@acme.example");
    let headers = [("x-http-method-override", "PUT"), ("x-forwarded-user", "bob"), ("x-author", "bob")];
    house.call("POST", &format!("{path}?author=bob"), &maya, Some(&body), &headers).await.expect(403);
    let reply = house.call("POST", &path, &house.approver(), Some(&body), &headers).await;
    assert_eq!(reply.expect(200)["state"], "granted");
    let recorded = house.events("approval.recorded").await;
    assert_eq!(recorded[0]["actor"], json!({ "kind": "operator", "name": "dev-approver" }));
    assert_eq!(house.shown(&waiting.request).await["verdicts"][0]["person"], "dev-approver");
}

#[tokio::test]
async fn apr_19_a_policy_that_cannot_be_evaluated_grants_nothing_and_approves_nothing() {
    let broken = "@id(\"scored\") @reason(\"High scores wait\") @approval(\"1 of release-approvers\")
        forbid (principal, action == Hallpass::Action::\"grant\", resource)
        when { context.task.ttl_seconds * 9223372036854775807 > 0 }
        unless { context.approvals.satisfied.contains(\"scored\") };";
    let house = Harness::with(Options::default().with_file("more.cedar", broken)).await;
    for scope in [super::super::READ, super::super::WRITE] {
        let problem = house.post("/v1/tasks", &house.agent("release-bot"), &ask(scope)).await.expect(403);
        assert_eq!(refusal(&problem), ("policy-error", "policy_error"));
    }
    assert!(house.events("access.granted").await.is_empty());
    assert!(house.events("approval.awaited").await.is_empty());
}

#[tokio::test]
async fn apr_20_an_agent_that_asks_and_asks_waits_for_people_only_so_often() {
    let house = Harness::start().await;
    let mut waiting = 0;
    for _ in 0..500 {
        let reply = house.post("/v1/tasks", &house.agent("release-bot"), &ask(super::super::WRITE)).await;
        if reply.status.as_u16() == 202 {
            waiting += 1;
        } else {
            let problem = reply.expect(429);
            assert!(["too-many-pending", "rate-limited"].contains(&problem["code"].as_str().unwrap()), "{problem}");
        }
    }
    assert_eq!(waiting, 5);
    let page = house.get("/v1/requests?state=pending&agent=release-bot", &house.operator()).await.expect(200);
    assert_eq!(page["items"].as_array().map(Vec::len), Some(5));
}
