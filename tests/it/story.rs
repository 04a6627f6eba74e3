//! The main job, end to end over the router: ask, be granted, wait for a person, collect, end, expire.

use serde_json::json;

use crate::support::harness::{Harness, ask};

#[tokio::test]
async fn a_harmless_scope_is_granted_at_once_and_ends_with_its_task() {
    let house = Harness::start().await;
    let token = house.agent("release-bot");
    let task = house.post("/v1/tasks", &token, &ask("api:releases:read")).await.expect(201);
    let access = task["credentials"][0]["values"]["access_token"].as_str().unwrap();
    assert_eq!(house.introspect(access).await["active"], true);

    let id = task["id"].as_str().unwrap();
    let closure = house.post(&format!("/v1/tasks/{id}/complete"), &token, &json!({})).await.expect(200);
    assert_eq!(closure["closure"], "closed", "{closure}");
    assert_eq!(house.introspect(access).await, json!({ "active": false }));
    assert_eq!(
        house.kinds_of(id).await,
        [
            "task.opened",
            "access.requested",
            "policy.decided",
            "access.granted",
            "credential.minting",
            "credential.minted",
            "credential.delivered",
            "task.closed",
            "grant.ended",
            "lease.ending",
            "lease.ended"
        ]
    );
}

#[tokio::test]
async fn a_dangerous_scope_waits_for_a_person_and_is_minted_when_the_agent_collects() {
    let house = Harness::start().await;
    let token = house.agent("release-bot");
    let task = house.post("/v1/tasks", &token, &ask("sandbox:releases:write")).await.expect(202);
    let id = task["id"].as_str().unwrap();
    let request = task["requests"][0]["id"].as_str().unwrap();
    assert_eq!(task["requests"][0]["state"], "pending");
    assert!(house.sandbox.ever_minted().is_empty());

    let approver = house.approver();
    let shown = house.get(&format!("/v1/requests/{request}"), &approver).await.expect(200);
    let verdict =
        json!({ "verdict": "approve", "request_digest": shown["request_digest"], "reason": "checked the build" });
    let answer = house.post(&format!("/v1/requests/{request}/verdict"), &approver, &verdict).await.expect(200);
    assert_eq!(answer["state"], "granted");
    assert!(house.sandbox.ever_minted().is_empty(), "a click mints nothing");

    let collected = house.post(&format!("/v1/tasks/{id}/credentials"), &token, &json!({})).await.expect(200);
    let secret = collected["credentials"][0]["values"]["token"].as_str().unwrap();
    assert!(house.sandbox.check(secret, house.broker.now()).is_some());
    house.post(&format!("/v1/tasks/{id}/cancel"), &token, &json!({})).await.expect(200);
    assert!(house.sandbox.check(secret, house.broker.now()).is_none());
}
