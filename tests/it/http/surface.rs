//! What the wire shows, whatever is asked: shapes of errors, headers, limits of rates, and where secrets go and do not go.

use axum::body::Body;
use axum::http::Request;
use hallpass::broker::LimitSettings;
use hallpass::http::Peer;
use serde_json::json;

use super::assert_problem;
use crate::support::wire::{Answer, RELEASE_BOT, Who, Wire};

#[tokio::test]
async fn api_01_every_error_is_a_problem_of_the_table() {
    let wire = Wire::start().await;
    let ask = |scopes: serde_json::Value| json!({ "purpose": "p", "scopes": scopes });
    for (who, method, path, body, status, code) in [
        (Who::Nobody, "GET", "/v1/whoami", None, 401, "invalid-token"),
        (RELEASE_BOT, "GET", "/nonsense", None, 404, "not-found"),
        (RELEASE_BOT, "GET", "/v1/tasks/%FF", None, 404, "not-found"),
        (RELEASE_BOT, "GET", "/v1/tasks/tsk_nonsense", None, 404, "not-found"),
        (RELEASE_BOT, "PUT", "/v1/tasks", None, 405, "method-not-allowed"),
        (RELEASE_BOT, "POST", "/v1/tasks", None, 415, "unsupported-media-type"),
        (RELEASE_BOT, "POST", "/v1/tasks", Some(json!({ "purpose": "p", "scope": 1 })), 400, "invalid-request"),
        (RELEASE_BOT, "POST", "/v1/tasks", Some(ask(json!(["*"]))), 400, "scope-invalid"),
        (RELEASE_BOT, "POST", "/v1/tasks", Some(ask(json!(["nope:a:b"]))), 400, "scope-invalid"),
        (RELEASE_BOT, "GET", "/v1/agents", None, 403, "forbidden"),
        (RELEASE_BOT, "GET", "/v1/leases?limit=0", None, 400, "invalid-request"),
        (RELEASE_BOT, "GET", "/v1/leases?limt=1", None, 400, "invalid-request"),
        (RELEASE_BOT, "GET", "/problems/nonsense", None, 404, "not-found"),
    ] {
        let answer = wire.call(who, method, path, body.as_ref()).await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text);
        assert_problem(&answer, code);
    }
    let answer = wire.call(Who::Nobody, "GET", "/v1/whoami", None).await;
    assert!(answer.header("www-authenticate").unwrap().starts_with("Bearer "));
}

#[tokio::test]
async fn task_11_no_scopes_and_wildcards_are_refused() {
    let wire = Wire::start().await;
    for scopes in [json!([]), json!(null), json!(["*"]), json!(["prod:*"]), json!([""])] {
        let mut ask = json!({ "purpose": "p", "scopes": scopes });
        if scopes.is_null() {
            ask.as_object_mut().unwrap().remove("scopes");
        }
        let answer = wire.call(RELEASE_BOT, "POST", "/v1/tasks", Some(&ask)).await;
        assert_eq!((answer.status, answer.json()["code"].as_str()), (400, Some("scope-invalid")), "{ask}");
    }
    assert_eq!(wire.sandbox.ever_minted().len(), 0);
}

#[tokio::test]
async fn task_02_fifty_one_scopes_are_refused() {
    let wire = Wire::start().await;
    let answer = wire.open(&["sandbox:releases:read"; 51]).await;
    assert_eq!((answer.status, answer.json()["code"].as_str()), (400, Some("scope-invalid")));
}

#[tokio::test]
async fn task_03_lives_out_of_bounds_are_refused_and_never_clamped() {
    let wire = Wire::start().await;
    for (ttl, status, code) in [(0, 400, "invalid-request"), (-1, 400, "invalid-request"), (3601, 422, "ttl-too-long")]
    {
        let ask = json!({ "purpose": "p", "scopes": ["sandbox:releases:read"], "ttl_seconds": ttl });
        let answer = wire.call(RELEASE_BOT, "POST", "/v1/tasks", Some(&ask)).await;
        assert_eq!((answer.status, answer.json()["code"].as_str()), (status, Some(code)), "{ttl}");
    }
    let ask = json!({ "purpose": "p", "scopes": ["sandbox:releases:read"] });
    assert_eq!(wire.call(RELEASE_BOT, "POST", "/v1/tasks", Some(&ask)).await.status, 201);
}

#[tokio::test]
async fn task_15_a_task_cannot_be_rewritten() {
    let wire = Wire::start().await;
    let path = format!("/v1/tasks/{}", wire.open(&["sandbox:releases:read"]).await.json()["id"].as_str().unwrap());
    for method in ["PUT", "PATCH", "DELETE", "POST"] {
        let answer = wire.call(RELEASE_BOT, method, &path, Some(&json!({ "purpose": "other" }))).await;
        assert_problem(&answer, "method-not-allowed");
        assert_eq!(answer.header("allow"), Some("GET,HEAD"));
    }
    let ask = json!({ "id": path, "purpose": "p", "scopes": ["sandbox:releases:read"] });
    assert_eq!(wire.call(RELEASE_BOT, "POST", "/v1/tasks", Some(&ask)).await.status, 400);
}

#[tokio::test]
async fn tok_39_no_header_but_authorization_names_a_caller() {
    let wire = Wire::start().await;
    for name in ["x-forwarded-client-cert", "x-ssl-client-cert", "x_forwarded_client_cert", "x-remote-user", "cookie"] {
        let headers = [(name, "release-bot"), ("x-forwarded-for", "127.0.0.1")];
        assert_eq!(wire.call_with(Who::Nobody, "GET", "/v1/whoami", None, &headers).await.status, 401, "{name}");
    }
}

#[tokio::test]
async fn tok_29_absurd_tokens_are_refused_like_any_other() {
    let wire = Wire::start().await;
    for token in
        ["a".repeat(64 * 1024), ".".repeat(100_000), "a.b.c==".to_owned(), "a b".to_owned(), "+/.+/.+/".to_owned()]
    {
        let headers = [("authorization", format!("Bearer {token}"))];
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = wire.call_with(Who::Nobody, "GET", "/v1/whoami", None, &headers).await;
        assert_problem(&answer, "invalid-token");
    }
}

/// Call as nobody from an address, claiming to be forwarded for another.
async fn from(wire: &Wire, peer: &str, forwarded: &str) -> Answer {
    let mut request = Request::get("/v1/whoami").header("x-forwarded-for", forwarded).body(Body::empty()).unwrap();
    request.extensions_mut().insert(Peer(peer.parse().unwrap()));
    wire.send(request).await
}

fn ten_a_minute() -> LimitSettings {
    LimitSettings { address_per_minute: 10, ..LimitSettings::default() }
}

#[tokio::test]
async fn api_05_a_spoofed_forwarded_for_does_not_make_another_caller() {
    let wire = Wire::start_with(ten_a_minute()).await;
    let mut statuses = Vec::new();
    for number in 0..200 {
        statuses.push(from(&wire, "192.0.2.1:5000", &format!("203.0.113.{number}")).await.status);
    }
    assert_eq!(statuses.iter().filter(|status| **status == 401).count(), 10);
    assert!(statuses.iter().skip(10).all(|status| *status == 429));
}

#[tokio::test]
async fn api_08_a_limit_says_when_to_come_back_and_keeps_its_word() {
    let wire = Wire::start_with(ten_a_minute()).await;
    for _ in 0..10 {
        assert_eq!(from(&wire, "192.0.2.1:5000", "").await.status, 401);
    }
    let refused = from(&wire, "192.0.2.1:5000", "").await;
    assert_problem(&refused, "rate-limited");
    assert_eq!(from(&wire, "192.0.2.2:5000", "").await.status, 401, "another address has its own budget");
    assert_eq!(wire.call(RELEASE_BOT, "GET", "/v1/whoami", None).await.status, 200);
    wire.clock.advance_secs(refused.header("retry-after").unwrap().parse().unwrap());
    assert_eq!(from(&wire, "192.0.2.1:5000", "").await.status, 401);
}

#[tokio::test]
async fn api_16_no_origin_is_let_in() {
    let wire = Wire::start().await;
    for origin in ["null", "https://evil.example"] {
        let headers = [("origin", origin), ("access-control-request-method", "POST")];
        for (method, path) in [("OPTIONS", "/v1/tasks"), ("GET", "/v1/whoami"), ("GET", "/openapi.json")] {
            let answer = wire.call_with(RELEASE_BOT, method, path, None, &headers).await;
            assert!(answer.headers.keys().all(|name| !name.as_str().starts_with("access-control")), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn api_18_answers_with_credentials_are_stored_nowhere_and_not_compressed() {
    let wire = Wire::start().await;
    let ask = json!({ "purpose": "p", "scopes": ["sandbox:releases:read"] });
    let headers = [("accept-encoding", "gzip, br"), ("if-none-match", "*")];
    let answer = wire.call_with(RELEASE_BOT, "POST", "/v1/tasks", Some(&ask), &headers).await;
    assert_eq!(answer.json()["credentials"].as_array().unwrap().len(), 1);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    for absent in ["etag", "content-encoding", "last-modified"] {
        assert_eq!(answer.header(absent), None);
    }
}

#[tokio::test]
async fn api_21_strangers_learn_nothing_about_the_inside() {
    let wire = Wire::start().await;
    for path in ["/metrics", "/debug", "/debug/pprof", "/healthz", "/config", "/.env"] {
        assert_eq!(wire.call(Who::Nobody, "GET", path, None).await.status, 404, "{path}");
    }
    let ready = wire.call(Who::Nobody, "GET", "/readyz", None).await;
    for word in ["sqlite", "127.0.0.1", env!("CARGO_PKG_VERSION"), "http:"] {
        assert!(!ready.text.contains(word), "{}", ready.text);
    }
}

#[tokio::test]
async fn a_request_id_is_taken_over_only_when_it_is_harmless() {
    let wire = Wire::start().await;
    for (sent, kept) in [("abc-DEF_123", true), ("a b", false), ("a\"b", false), ("", false)] {
        let answer = wire.call_with(Who::Nobody, "GET", "/livez", None, &[("x-request-id", sent)]).await;
        assert_eq!(answer.header("x-request-id") == Some(sent), kept, "{sent}");
    }
    let long = "a".repeat(65);
    let answer = wire.call_with(Who::Nobody, "GET", "/livez", None, &[("x-request-id", &long)]).await;
    assert_ne!(answer.header("x-request-id"), Some(long.as_str()));
}
