//! Delivery: a secret leaves the house once, and one that reached nobody ends.

use http::Request;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::{API_READ, Held, READ, text};
use crate::support::harness::{Harness, ask};

impl Harness {
    /// Wait, without a clock, until an event of this kind is on record about a task.
    pub(super) async fn until(&self, task: &str, kind: &str) -> Value {
        for _ in 0..10_000 {
            if let Some(event) = self.events_of(task).await.into_iter().find(|event| event["kind"] == kind) {
                return event;
            }
            tokio::task::yield_now().await;
        }
        panic!("no {kind} about {task}: {:?}", self.kinds_of(task).await);
    }
}

#[tokio::test]
async fn a_secret_that_was_delivered_is_on_record_as_delivered() {
    let house = Harness::start().await;
    let recorder = house.broker.clone();
    let recording = tokio::spawn(async move { recorder.record_deliveries_until(std::future::pending()).await });
    let held = house.granted(READ).await;
    let event = house.until(&held.task, "credential.delivered").await;
    assert_eq!(event["lease"], json!(held.lease));
    assert!(house.works(&held.secret));
    recording.abort();
}

#[tokio::test]
async fn a_secret_that_nobody_took_ends() {
    for scope in [READ, API_READ] {
        let house = Harness::start().await;
        let request = Request::post("/v1/tasks")
            .header("authorization", format!("Bearer {}", house.agent("release-bot")))
            .header("content-type", "application/json")
            .body(axum::body::Body::from(ask(scope).to_string()))
            .unwrap();
        // The answer is there, and its body is dropped before anybody reads it.
        let response = house.router().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 201);
        drop(response);
        let lease = house.leases().await.remove(0);
        // Outside, a call of its mint may still land: it is told once more when none can.
        let event =
            house.until(&text(&lease["task"]), if scope == READ { "lease.disabled" } else { "lease.ended" }).await;
        assert_eq!(event["lease"], lease["id"]);
        assert_eq!(house.lease(&text(&lease["id"])).await["cause"], "undelivered");
        assert!(house.sandbox.honoured(house.broker.now()).is_empty());

        // The grant lives on: the agent that comes back collects a fresh one.
        let again = house.collect(&text(&lease["task"])).await.expect(200);
        assert_eq!(again["credentials"].as_array().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn what_was_delivered_is_delivered_again_by_no_answer() {
    let house = Harness::start().await;
    let held = house.granted(READ).await;
    let collected = house.collect(&held.task).await.expect(200);
    assert_eq!(collected["credentials"], json!([]));
    assert_eq!(collected["already_delivered"], json!([held.lease]));
    let read = house.task(&held.task).await;
    assert!(!read.to_string().contains(&held.secret));
    assert_eq!(house.sandbox.ever_minted().len(), 1);
}

#[tokio::test]
async fn after_expiry_a_fresh_credential_is_collected_as_long_as_the_grant_lives() {
    let house = Harness::start().await;
    let mut body = ask(READ);
    body["task_ttl_seconds"] = json!(1500);
    let task = house.post("/v1/tasks", &house.agent("release-bot"), &body).await.expect(201);
    let first = Held::of(&task);
    house.advance_secs(601);
    house.sweep().await;
    assert!(!house.works(&first.secret));
    let second = Held::of(&house.collect(&first.task).await.expect(200));
    assert!(house.works(&second.secret) && second.lease != first.lease);
    house.advance_secs(601);
    house.sweep().await;
    // 298 s of the task are left, and the credential lives no longer.
    let third = Held::of(&house.collect(&first.task).await.expect(200));
    house.advance_secs(297);
    assert!(house.works(&third.secret));
    house.advance_secs(1);
    assert!(!house.works(&third.secret));
    assert_eq!(house.collect(&first.task).await.expect(409)["code"], "task-closed");
}
