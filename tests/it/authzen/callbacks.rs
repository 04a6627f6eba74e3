//! Callbacks: who is told, how the note proves itself, and where none is sent.

use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use hallpass::sys::keys::KeyAlgorithm;
use serde_json::{Value, json};

use super::{
    approve, bundle, decide, denied, filing, id_of, publish, request_of, send, stand, text, waiting_of, write,
};
use crate::support::harness::{Harness, PUBLIC_URL};

type Notes = Arc<Mutex<Vec<(HeaderMap, String)>>>;
type Shared = (Notes, Arc<Mutex<StatusCode>>);

/// Somebody who listens on this machine and answers as told.
struct Receiver {
    url: String,
    notes: Notes,
    status: Arc<Mutex<StatusCode>>,
}

impl Receiver {
    /// Listen, and be allowed by the deployment.
    async fn start(house: &mut Harness) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = listener.local_addr().unwrap();
        let (notes, status) = (Notes::default(), Arc::new(Mutex::new(StatusCode::NO_CONTENT)));
        let state = (Arc::clone(&notes), Arc::clone(&status));
        let hear = async |State((notes, status)): State<Shared>, headers: HeaderMap, body: String| {
            notes.lock().unwrap().push((headers, body));
            *status.lock().unwrap()
        };
        let router = axum::Router::new().route("/told", axum::routing::post(hear)).with_state(state);
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        house.restart_after(|dir| std::fs::write(dir.join("callback-hosts"), place.to_string()).unwrap()).await;
        Self { url: format!("http://{place}/told"), notes, status }
    }

    fn heard(&self) -> Vec<Value> {
        self.notes.lock().unwrap().iter().map(|(_, body)| serde_json::from_str(body).unwrap()).collect()
    }

    fn answer(&self, status: StatusCode) {
        *self.status.lock().unwrap() = status;
    }
}

async fn filed_with(house: &Harness, callback: &Value) -> Value {
    let asked = write();
    let mut body = filing(&asked, &denied(house, &asked).await);
    body["callback"] = callback.clone();
    send(house, &body).await.expect(202)
}

#[tokio::test]
async fn whoever_filed_is_told_once_it_is_settled_and_nothing_else_than_that() {
    let mut house = Harness::start().await;
    let receiver = Receiver::start(&mut house).await;
    let standing = filed_with(&house, &json!({ "endpoint": receiver.url, "state": "run-7" })).await;
    house.broker.sweep_callbacks().await.unwrap();
    assert_eq!(receiver.heard(), Vec::<Value>::new());
    approve(&house, &request_of(&standing)).await;
    house.broker.sweep_callbacks().await.unwrap();
    house.broker.sweep_callbacks().await.unwrap();
    let task =
        json!({ "id": id_of(&standing), "status": "approved", "status_endpoint": standing["task"]["status_endpoint"] });
    assert_eq!(receiver.heard(), [json!({ "state": "run-7", "task": task })]);
}

/// The token verifies with the published keys, and is for this endpoint and this body.
#[tokio::test]
async fn a_callback_proves_who_sends_it() {
    let mut house = Harness::start().await;
    let receiver = Receiver::start(&mut house).await;
    let standing = filed_with(&house, &json!({ "endpoint": receiver.url })).await;
    approve(&house, &request_of(&standing)).await;
    house.broker.sweep_callbacks().await.unwrap();
    let (headers, body) = receiver.notes.lock().unwrap()[0].clone();
    assert_eq!(headers["webhook-id"], id_of(&standing).as_str());
    let token = headers["authorization"].to_str().unwrap().strip_prefix("Bearer ").unwrap().to_owned();
    let keys = house.get("/.well-known/jwks.json", "").await.expect(200);
    let jwk = josekit::jwk::Jwk::from_bytes(keys["keys"][0].to_string()).unwrap();
    let verifier = josekit::jws::ES256.verifier_from_jwk(&jwk).unwrap();
    assert_eq!(jwk.algorithm(), Some(KeyAlgorithm::Es256.as_str()));
    let (payload, header) = josekit::jws::deserialize_compact(&token, &verifier).unwrap();
    assert_eq!(header.token_type(), Some("authzen-callback+jwt"));
    let claims: Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!((&claims["iss"], &claims["aud"]), (&json!(PUBLIC_URL), &json!(receiver.url)));
    let digest = data_encoding::BASE64URL_NOPAD.encode(hallpass::sys::sha256(&body).as_bytes());
    assert_eq!(claims["body_sha256"], digest.as_str());
    let now = house.broker.now().as_secs();
    assert!(claims["exp"].as_i64().unwrap() <= now + 300 && claims["jti"].is_string());
}

#[tokio::test]
async fn who_wants_to_hear_of_some_outcomes_hears_of_no_other() {
    let mut house = Harness::start().await;
    let receiver = Receiver::start(&mut house).await;
    let callback = json!({ "endpoint": receiver.url, "events": ["approved", "expired"] });
    let (refused, late) = (filed_with(&house, &callback).await, filed_with(&house, &callback).await);
    decide(&house, &request_of(&refused), &house.approver(), "deny").await.expect(200);
    house.broker.sweep_callbacks().await.unwrap();
    assert_eq!(receiver.heard(), Vec::<Value>::new());
    house.clock.advance_secs(1000);
    house.sweep().await;
    house.broker.sweep_callbacks().await.unwrap();
    let heard = receiver.heard();
    assert_eq!(heard.len(), 1);
    assert_eq!((&heard[0]["task"]["id"], &heard[0]["task"]["status"]), (&late["task"]["id"], &json!("expired")));
}

#[tokio::test]
async fn several_items_are_told_of_together_when_the_last_is_settled() {
    let mut house = Harness::start().await;
    let receiver = Receiver::start(&mut house).await;
    let mut body = bundle(&house, &[write(), publish("v1/")]).await;
    body["callback"] = json!({ "endpoint": receiver.url });
    let standing = send(&house, &body).await.expect(202);
    for (n, request) in waiting_of(&house, &standing).await.into_iter().enumerate() {
        house.broker.sweep_callbacks().await.unwrap();
        assert_eq!(receiver.heard().len(), 0, "{n}");
        let verdict = if n == 0 { "approve" } else { "deny" };
        decide(&house, &request, &house.approver(), verdict).await.expect(200);
    }
    house.broker.sweep_callbacks().await.unwrap();
    assert_eq!(receiver.heard()[0]["task"]["status"], "partial");
    assert_eq!(stand(&house, &standing).await["task"]["status"], "partial");
}

#[tokio::test]
async fn a_callback_that_is_not_heard_is_tried_again_later_and_some_time_no_more() {
    let mut house = Harness::start().await;
    let receiver = Receiver::start(&mut house).await;
    let standing = filed_with(&house, &json!({ "endpoint": receiver.url })).await;
    approve(&house, &request_of(&standing)).await;
    receiver.answer(StatusCode::SERVICE_UNAVAILABLE);
    let mut waited = 0;
    while waited < 3600 {
        house.broker.sweep_callbacks().await.unwrap();
        house.clock.advance_secs(5);
        waited += 5;
    }
    let notes = receiver.heard();
    assert_eq!(notes.len(), 9);
    assert!(notes.iter().all(|note| *note == notes[0]));
    // One that is heard after all is told once.
    let standing = filed_with(&house, &json!({ "endpoint": receiver.url })).await;
    approve(&house, &request_of(&standing)).await;
    house.broker.sweep_callbacks().await.unwrap();
    receiver.answer(StatusCode::OK);
    for _ in 0..20 {
        house.clock.advance_secs(5);
        house.broker.sweep_callbacks().await.unwrap();
    }
    assert_eq!(receiver.heard().len(), 9 + 2);
}

#[tokio::test]
async fn no_callback_goes_where_the_deployment_does_not_allow_it() {
    let house = Harness::start().await;
    let asked = write();
    let context = denied(&house, &asked).await;
    for endpoint in [
        "https://elsewhere.example/told",
        "https://127.0.0.1/told",
        "https://localhost/told",
        "https://[::1]/told",
        "https://169.254.169.254/latest",
        "https://10.0.0.1/told",
        "https://callbacks.example:8443/told",
        "https://user@callbacks.example/told",
        "http://callbacks.example/told",
        "file:///etc/passwd",
        "told",
        "",
    ] {
        let mut body = filing(&asked, &context);
        body["callback"] = json!({ "endpoint": endpoint });
        let problem = send(&house, &body).await.expect(400);
        assert_eq!(problem["code"], "invalid-request", "{endpoint}");
        assert!(text(&problem["detail"]).contains("callback.endpoint"), "{problem}");
    }
    for callback in [
        json!({ "endpoint": "https://callbacks.example/told", "events": ["granted"] }),
        json!({ "endpoint": "https://callbacks.example/told", "state": "s".repeat(513) }),
        json!({ "endpoint": "https://callbacks.example/told", "state": 7 }),
    ] {
        let mut body = filing(&asked, &context);
        body["callback"] = callback.clone();
        assert_eq!(send(&house, &body).await.status, 400, "{callback}");
    }
    // Nothing of all this was filed; where it is allowed, it is.
    assert_eq!(house.get("/v1/requests", &house.operator()).await.expect(200)["items"], json!([]));
    let mut body = filing(&asked, &context);
    body["callback"] = json!({ "endpoint": "https://callbacks.example/told" });
    send(&house, &body).await.expect(202);
}
