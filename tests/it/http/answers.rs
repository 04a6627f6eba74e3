//! Answers: what is said twice, what is waited for, and who answers for a secret until it is handed over.

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt as _;
use serde_json::json;
use tower::ServiceExt as _;

use super::assert_problem;
use crate::support::wire::{APPROVER, RELEASE_BOT, Who, Wire};

#[tokio::test]
async fn task_07_08_a_key_names_one_request() {
    let wire = Wire::start().await;
    let ask = json!({ "purpose": "p", "scopes": ["sandbox:releases:read"] });
    let first = wire.call_with(RELEASE_BOT, "POST", "/v1/tasks", Some(&ask), &[("idempotency-key", "k1")]).await;
    // The same key in its quoted form.
    let second = wire.call_with(RELEASE_BOT, "POST", "/v1/tasks", Some(&ask), &[("idempotency-key", "\"k1\"")]).await;
    assert_eq!(first.json()["id"], second.json()["id"]);
    assert_eq!(second.json()["credentials"], json!([]));
    assert_eq!(second.json()["already_delivered"].as_array().unwrap().len(), 1);
    assert_eq!(wire.sandbox.ever_minted().len(), 1);
    let other = json!({ "purpose": "q", "scopes": ["sandbox:releases:read"] });
    let third = wire.call_with(RELEASE_BOT, "POST", "/v1/tasks", Some(&other), &[("idempotency-key", "k1")]).await;
    assert_problem(&third, "idempotency-conflict");
    assert_eq!(third.status, 422);
}

#[tokio::test]
async fn a_wait_is_bounded_and_ends_when_the_server_stops() {
    let wire = Wire::start().await;
    let answer = wire.open(&["sandbox:releases:read", "api:releases:write(prefix=v1)"]).await;
    assert_eq!(answer.status, 202);
    assert_eq!(answer.header("retry-after"), Some("5"));
    let location = answer.header("location").unwrap().to_owned();
    assert_eq!(location, format!("/v1/tasks/{}", answer.json()["id"].as_str().unwrap()));
    assert_eq!(wire.call(RELEASE_BOT, "GET", &format!("{location}?wait=26"), None).await.status, 400);
    wire.state.draining.cancel();
    let held = format!("{location}?wait=25");
    let held = wire.call(RELEASE_BOT, "GET", &held, None);
    let answer = tokio::time::timeout(std::time::Duration::from_secs(10), held).await.unwrap();
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn a_wait_ends_as_soon_as_a_person_decides() {
    let wire = Wire::start().await;
    let task = wire.open(&["api:releases:write(prefix=v1)"]).await.json();
    let request = task["requests"][0]["id"].as_str().unwrap();
    let view = wire.call(APPROVER, "GET", &format!("/v1/requests/{request}"), None).await.json();
    let verdict = json!({ "verdict": "approve", "request_digest": view["request_digest"] });
    let (verdict_path, wait_path) =
        (format!("/v1/requests/{request}/verdict"), format!("/v1/tasks/{}?wait=25", task["id"].as_str().unwrap()));
    let deciding = wire.call(APPROVER, "POST", &verdict_path, Some(&verdict));
    let waiting = wire.call(RELEASE_BOT, "GET", &wait_path, None);
    let both = async { tokio::join!(waiting, deciding) };
    let (seen, decided) = tokio::time::timeout(std::time::Duration::from_secs(10), both).await.unwrap();
    assert_eq!(decided.status, 200, "{}", decided.text);
    assert_eq!(seen.json()["requests"][0]["state"], "granted");
    let path = format!("/v1/tasks/{}/credentials", task["id"].as_str().unwrap());
    let collected = wire.call(RELEASE_BOT, "POST", &path, None).await;
    assert_eq!((collected.status, collected.json()["credentials"].as_array().unwrap().len()), (200, 1));
}

/// A request for one credential, not sent yet.
fn opening(wire: &Wire) -> Request<Body> {
    let ask = json!({ "purpose": "p", "scopes": ["sandbox:releases:read"] });
    wire.request(RELEASE_BOT, "POST", "/v1/tasks", Some(&ask), &[])
}

/// Returns once the sandbox honours nothing any more.
async fn everything_ended(wire: &Wire) {
    let ended = async {
        while !wire.sandbox.honoured(wire.broker.now()).is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), ended).await.unwrap();
}

#[tokio::test]
async fn a_credential_whose_answer_nobody_reads_is_ended() {
    let wire = Wire::start().await;
    let request = opening(&wire);
    let response = wire.router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), 201);
    assert_eq!(wire.sandbox.honoured(wire.broker.now()).len(), 1);
    // The connection breaks before a byte of it was taken.
    drop(response);
    everything_ended(&wire).await;
}

#[tokio::test]
async fn a_caller_who_hangs_up_leaves_no_credential_behind() {
    let wire = Wire::start().await;
    let request = opening(&wire);
    let mut answering = Box::pin(wire.router.clone().oneshot(request));
    // Poll until the use case runs on its own, then hang up.
    while wire.state.work.is_empty() {
        assert!(futures_util::poll!(answering.as_mut()).is_pending());
        tokio::task::yield_now().await;
    }
    drop(answering);
    wire.state.work.close();
    tokio::time::timeout(std::time::Duration::from_secs(10), wire.state.work.wait()).await.unwrap();
    assert_eq!(wire.sandbox.ever_minted().len(), 1, "the use case ran to its end");
    everything_ended(&wire).await;
}

#[tokio::test]
async fn a_credential_that_was_read_stays() {
    let wire = Wire::start().await;
    assert_eq!(wire.open(&["sandbox:releases:read"]).await.status, 201);
    assert_eq!(wire.sandbox.honoured(wire.broker.now()).len(), 1);
}

#[tokio::test]
async fn a_length_is_told_for_answers_with_secrets() {
    let wire = Wire::start().await;
    let request = opening(&wire);
    let body = wire.router.clone().oneshot(request).await.unwrap().into_body();
    let told = axum::body::HttpBody::size_hint(&body).exact().unwrap();
    assert_eq!(told, body.collect().await.unwrap().to_bytes().len() as u64);
}

#[tokio::test]
async fn introspection_answers_resource_servers_in_oauths_shape() {
    let wire = Wire::start().await;
    let token = wire.open(&["api:releases:read"]).await.json()["credentials"][0]["values"]["access_token"].clone();
    let ask = async |who: Who, content_type: &str, form: String| {
        let mut request = Request::post("/oauth/introspect").header("content-type", content_type);
        if let Some(authorization) = wire.authorization(who) {
            request = request.header("authorization", authorization);
        }
        wire.send(request.body(Body::from(form)).unwrap()).await
    };
    let form = "application/x-www-form-urlencoded";
    let one = format!("token={}", token.as_str().unwrap());
    let active = ask(Who::ResourceServer, form, one.clone()).await;
    assert_eq!((active.status, &active.json()["active"]), (200, &json!(true)), "{}", active.text);
    assert_eq!(active.header("cache-control"), Some("no-store"));
    assert_eq!(ask(Who::ResourceServer, form, "token=x".to_owned()).await.json(), json!({ "active": false }));
    for (who, content_type, body, status, error) in [
        (Who::Nobody, form, one.clone(), 401, "invalid_client"),
        (RELEASE_BOT, form, one.clone(), 401, "invalid_client"),
        (Who::ResourceServer, form, format!("{one}&{one}"), 400, "invalid_request"),
        (Who::ResourceServer, form, String::new(), 400, "invalid_request"),
        (Who::ResourceServer, "application/json", one, 400, "invalid_request"),
    ] {
        let answer = ask(who, content_type, body).await;
        assert_eq!((answer.status, answer.json()["error"].as_str()), (status, Some(error)), "{}", answer.text);
        assert_eq!(answer.header("www-authenticate").is_some_and(|value| value.starts_with("Basic ")), status == 401);
    }
}
