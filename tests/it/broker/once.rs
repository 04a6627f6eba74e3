//! Idempotency: a key and a question are answered with one thing, however often and at whatever moment they come.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Held, READ, WRITE, text};
use crate::support::harness::{Harness, Options, Reply, ask};

const KEY: &str = "8e03978e-40d5-43e8-bc93-6894a57f9324";

async fn keyed(house: &Harness, path: &str, body: Option<&Value>, key: &str) -> Reply {
    house.call("POST", path, &house.agent("release-bot"), body, &[("idempotency-key", key)]).await
}

#[tokio::test]
async fn task_07_the_same_key_and_question_again_make_nothing_new_and_carry_no_secret() {
    let house = Harness::start().await;
    let held = Held::of(&keyed(&house, "/v1/tasks", Some(&ask(READ)), KEY).await.expect(201));
    for key in [KEY.to_owned(), format!("\"{KEY}\"")] {
        let reply = keyed(&house, "/v1/tasks", Some(&ask(READ)), &key).await;
        assert!(reply.status.is_success());
        let again = reply.json();
        assert_eq!(again["id"], json!(held.task));
        assert_eq!(again["already_delivered"], json!([held.lease]));
        assert_eq!(again["credentials"], json!([]));
        assert!(!again.to_string().contains(&held.secret));
    }
    assert_eq!(house.leases().await.len(), 1);
    assert_eq!(house.sandbox.ever_minted().len(), 1);
    // Another agent's key of the same text is another key.
    let triage = house.agent("triage-bot");
    let other = house.call("POST", "/v1/tasks", &triage, Some(&ask(READ)), &[("idempotency-key", KEY)]).await;
    assert_ne!(other.expect(201)["id"], json!(held.task));
}

#[tokio::test]
async fn task_07_the_order_of_members_is_not_the_question() {
    let house = Harness::start().await;
    let first = keyed(&house, "/v1/tasks", Some(&ask(READ)), KEY).await.expect(201);
    let body = format!("{{\"scopes\":[{{\"scope\":\"{READ}\"}}],  \"purpose\":\"publish v1.4.2\"}}");
    let request = http::Request::post("/v1/tasks")
        .header("authorization", format!("Bearer {}", house.agent("release-bot")))
        .header("content-type", "application/json")
        .header("idempotency-key", KEY)
        .body(body.into())
        .unwrap();
    assert_eq!(house.send(request).await.json()["id"], first["id"]);
}

#[tokio::test]
async fn task_07_a_denial_is_denied_again() {
    let house = Harness::with(Options::default().with_file("agents.cedar", "")).await;
    let first = keyed(&house, "/v1/tasks", Some(&ask(READ)), KEY).await.expect(403);
    let again = keyed(&house, "/v1/tasks", Some(&ask(READ)), KEY).await.expect(403);
    for member in ["code", "reason", "task", "decision", "because", "detail"] {
        assert_eq!(first[member], again[member], "{member}");
    }
    assert_eq!(house.events("task.opened").await.len(), 1);
}

#[tokio::test]
async fn task_07_a_key_is_remembered_at_the_limit_and_across_a_restart() {
    let limited = Options::default().with_change(
        "agents.toml",
        "kinds = [\"deploy\"]",
        "kinds = [\"deploy\"]\nlimits = { live_leases = 1 }",
    );
    let mut house = Harness::with(limited).await;
    let held = Held::of(&keyed(&house, "/v1/tasks", Some(&ask(READ)), KEY).await.expect(201));
    for restart in [false, true] {
        if restart {
            house.restart().await;
        }
        let reply = keyed(&house, "/v1/tasks", Some(&ask(READ)), KEY).await;
        assert!(reply.status.is_success(), "{}", String::from_utf8_lossy(&reply.body));
        assert_eq!(reply.json()["id"], json!(held.task));
    }
}

#[tokio::test]
async fn task_07_more_access_and_collecting_are_done_once_too() {
    let house = Harness::start().await;
    let waiting = house.waiting().await;
    house.verdict(&waiting.request, &house.approver(), "approve").await.expect(200);
    let path = format!("/v1/tasks/{}/credentials", waiting.task);
    let held = Held::of(&keyed(&house, &path, None, KEY).await.expect(200));
    let again = keyed(&house, &path, None, KEY).await.expect(200);
    assert_eq!((&again["credentials"], &again["already_delivered"]), (&json!([]), &json!([held.lease])));
    let more = json!({ "scopes": [READ] });
    let path = format!("/v1/tasks/{}/requests", waiting.task);
    keyed(&house, &path, Some(&more), "another-key").await.expect(201);
    let again = keyed(&house, &path, Some(&more), "another-key").await.json();
    assert_eq!(again["credentials"], json!([]));
    assert_eq!(house.leases().await.len(), 2);
}

/// The catalogue allows 409 or a documented 422; ours is 422, as the draft's §2.7 says.
#[tokio::test]
async fn task_08_the_same_key_for_another_question_is_refused() {
    let house = Harness::start().await;
    keyed(&house, "/v1/tasks", Some(&ask(READ)), KEY).await.expect(201);
    let mut other = ask(READ);
    other["purpose"] = json!("something else");
    for body in [&other, &ask(WRITE)] {
        let problem = keyed(&house, "/v1/tasks", Some(body), KEY).await.expect(422);
        assert_eq!(problem["code"], "idempotency-conflict");
    }
    assert_eq!(house.leases().await.len(), 1);
}

#[tokio::test]
async fn task_10_fifty_equal_questions_at_once_have_one_answer() {
    let house = Harness::start().await;
    let body = ask(READ);
    let replies = futures_util::future::join_all((0..50).map(|_| keyed(&house, "/v1/tasks", Some(&body), KEY))).await;
    let mut ids = BTreeSet::new();
    let mut secrets = 0;
    for reply in replies {
        assert!(reply.status.is_success(), "{}", String::from_utf8_lossy(&reply.body));
        let answer = reply.json();
        ids.insert(text(&answer["id"]));
        secrets += answer["credentials"].as_array().unwrap().len();
    }
    assert_eq!((ids.len(), secrets), (1, 1));
    assert_eq!(house.leases().await.len(), 1);
    assert_eq!(house.sandbox.ever_minted().len(), 1);
    assert_eq!(house.events("credential.minted").await.len(), 1);
}
