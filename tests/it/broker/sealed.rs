//! Sealed delivery: only the agent's key opens it, a lost answer is fetched again, and nothing is minted twice.

use std::process::Command;

use hallpass::minter::SandboxCall;
use josekit::jwe::ECDH_ES_A256KW;
use josekit::jwk::alg::ec::EcCurve;
use serde_json::{Value, json};

use super::{API_READ, Held, READ, WRITE, text};
use crate::support::database;
use crate::support::harness::{Harness, Reply, ask};

/// A key pair of an agent's.
struct Own {
    public: Value,
    private: Value,
}

impl Own {
    fn new() -> Self {
        let pair = ECDH_ES_A256KW.generate_ec_key_pair(EcCurve::P256).unwrap();
        let [public, secret]: [Value; 2] = [pair.to_jwk_public_key(), pair.to_jwk_private_key()]
            .map(|jwk| serde_json::from_str(&jwk.to_string()).unwrap());
        let mut private = public.clone();
        private["d"] = secret["d"].clone();
        Self { public, private }
    }

    /// Ask Python's joserfc, which shares no code with josekit.
    fn open(&self, sealed: &Value) -> Result<Value, String> {
        let root = env!("CARGO_MANIFEST_DIR");
        let python = format!("{root}/target/venv/bin/python");
        assert!(std::path::Path::new(&python).exists(), "{python} is missing: run `make tools`");
        let output = Command::new(python)
            .arg(format!("{root}/tests/foreign/open_sealed.py"))
            .arg(json!({ "key": self.private, "sealed": sealed }).to_string())
            .output()
            .unwrap();
        if output.status.success() {
            Ok(serde_json::from_slice(&output.stdout).unwrap())
        } else {
            Err(String::from_utf8(output.stderr).unwrap())
        }
    }

    /// The answer as it would be without a key.
    fn opened(&self, answer: &Value) -> Value {
        let mut answer = answer.clone();
        for credential in answer["credentials"].as_array_mut().unwrap() {
            assert_eq!(credential["values"], json!({}));
            *credential = self.open(&credential["sealed"]).unwrap()["plaintext"].clone();
        }
        answer
    }

    fn ask(&self, scope: &str) -> Value {
        let mut body = ask(scope);
        body["delivery_key"] = self.public.clone();
        body
    }
}

const KEY: &str = "one-key";

async fn keyed(house: &Harness, path: &str, body: &Value) -> Reply {
    house.call("POST", path, &house.agent("release-bot"), Some(body), &[("idempotency-key", KEY)]).await
}

#[tokio::test]
async fn a_credential_is_sealed_to_a_key_that_only_its_agent_has() {
    for scope in [READ, API_READ] {
        let (house, own) = (Harness::start().await, Own::new());
        let answer = house.post("/v1/tasks", &house.agent("release-bot"), &own.ask(scope)).await.expect(201);
        let sealed = &answer["credentials"][0]["sealed"];
        let opened = own.open(sealed).unwrap();
        assert_eq!((&opened["header"]["alg"], &opened["header"]["enc"]), (&json!("ECDH-ES+A256KW"), &json!("A256GCM")));
        let events = house.events("credential.delivered").await;
        assert_eq!((events.len(), &events[0]["data"]["sealed_to"]), (1, &opened["header"]["kid"]), "{scope}");
        // What is inside is what an answer without a key would carry, and what is outside says the same but for the values.
        for member in ["id", "request", "type", "scopes", "usable_until", "native_end", "revocation"] {
            assert_eq!(opened["plaintext"][member], answer["credentials"][0][member], "{member}");
        }
        let held = Held::of(&own.opened(&answer));
        let works = if scope == READ {
            house.works(&held.secret)
        } else {
            house.introspect(&held.secret).await["active"] == true
        };
        assert!(works, "{scope}");
        assert!(Own::new().open(sealed).is_err());
        if !database::is_postgres() {
            for file in ["hallpass.db", "hallpass.db-wal"] {
                let bytes = std::fs::read(house.dir.path().join(file)).unwrap();
                let found = |what: &str| bytes.windows(what.len()).any(|window| window == what.as_bytes());
                assert!(!found(&held.secret), "{scope}: {file}");
            }
        }
    }
}

#[tokio::test]
async fn a_lost_sealed_answer_is_fetched_again_everywhere_until_its_lease_ends() {
    for scope in [READ, API_READ] {
        let (mut house, own) = (Harness::start().await, Own::new());
        let first = keyed(&house, "/v1/tasks", &own.ask(scope)).await.expect(201);
        let held = Held::of(&own.opened(&first));
        house.advance_secs(60);
        house.sweep().await;
        assert_eq!(house.lease(&held.lease).await["state"], "live", "{scope}: nobody need fetch it soon");
        let replica = house.replica_with(|_| ()).await;
        for restart in [false, true] {
            if restart {
                house.restart().await;
            }
            for house in [&house, &replica] {
                let again = keyed(house, "/v1/tasks", &own.ask(scope)).await.expect(201);
                assert_eq!(again["credentials"], first["credentials"], "{scope}");
                assert!(again["already_delivered"].is_null(), "{again}");
            }
        }
        assert_eq!(house.leases().await.len(), 1);
        assert_eq!(house.events("credential.minted").await.len(), 1);
        // Another key is another question.
        let problem = keyed(&house, "/v1/tasks", &Own::new().ask(scope)).await.expect(422);
        assert_eq!(problem["code"], "idempotency-conflict");

        house.post(&format!("/v1/tasks/{}/complete", held.task), &house.agent("release-bot"), &json!({})).await;
        let over = keyed(&house, "/v1/tasks", &own.ask(scope)).await.json();
        assert_eq!((&over["state"], &over["credentials"]), (&json!("closed"), &json!([])), "{scope}");
        assert_eq!(house.broker.sweep_memory().await.unwrap().done, 1, "what is sealed is forgotten with its lease");
        assert_eq!(house.broker.sweep_memory().await.unwrap().done, 0);
    }
}

#[tokio::test]
async fn a_sealed_answer_that_nobody_took_is_not_the_end_of_its_lease() {
    for scope in [READ, API_READ] {
        let (house, own) = (Harness::start().await, Own::new());
        let body = own.ask(scope).to_string();
        let request = http::Request::post("/v1/tasks")
            .header("authorization", format!("Bearer {}", house.agent("release-bot")))
            .header("content-type", "application/json")
            .header("idempotency-key", KEY)
            .body(axum::body::Body::from(body))
            .unwrap();
        drop(tower::ServiceExt::oneshot(house.router(), request).await.unwrap());
        let again = keyed(&house, "/v1/tasks", &own.ask(scope)).await.expect(201);
        house.settle().await;
        let held = Held::of(&own.opened(&again));
        assert_eq!(house.lease(&held.lease).await["state"], "live", "{scope}");
        assert_eq!(house.leases().await.len(), 1);
    }
}

#[tokio::test]
async fn more_access_and_what_is_collected_are_sealed_and_fetched_again_too() {
    let (house, own) = (Harness::start().await, Own::new());
    let waiting = house.waiting().await;
    house.verdict(&waiting.request, &house.approver(), "approve").await.expect(200);
    let calls = [
        (format!("/v1/tasks/{}/credentials", waiting.task), json!({ "delivery_key": own.public })),
        (format!("/v1/tasks/{}/requests", waiting.task), json!({ "scopes": [API_READ], "delivery_key": own.public })),
    ];
    for (path, body) in calls {
        let token = house.agent("release-bot");
        let header = [("idempotency-key", path.as_str())];
        let first = house.call("POST", &path, &token, Some(&body), &header).await;
        let first = first.json();
        assert_eq!(first["credentials"].as_array().unwrap().len(), 1, "{first}");
        own.opened(&first);
        let again = house.call("POST", &path, &token, Some(&body), &header).await.json();
        assert_eq!(again["credentials"], first["credentials"], "{path}: its own, and no other's");
    }
    assert_eq!(house.leases().await.len(), 2);
    let body = json!({ "delivery_key": own.public, "more": 1 });
    let path = format!("/v1/tasks/{}/credentials", waiting.task);
    assert_eq!(house.post(&path, &house.agent("release-bot"), &body).await.expect(400)["code"], "invalid-request");
}

#[tokio::test]
async fn what_is_not_let_work_yet_is_in_progress_and_ends_if_nobody_goes_on_with_it() {
    let (house, own) = (Harness::start().await, Own::new());
    let mut held_back = house.sandbox.hold_next(SandboxCall::Activate);
    let body = own.ask(READ);
    let meanwhile = async {
        held_back.acted().await;
        let replica = house.replica_with(|_| ()).await;
        for house in [&house, &replica] {
            let problem = keyed(house, "/v1/tasks", &body).await.expect(409);
            assert_eq!(problem["code"], "in-progress");
        }
        // Nobody hears of it again, as after a crash: another replica ends it.
        house.advance_secs(31);
        replica.sweep().await;
        assert_eq!(house.leases().await[0]["cause"], "undelivered");
        held_back.release();
    };
    let (reply, ()) = tokio::join!(keyed(&house, "/v1/tasks", &body), meanwhile);
    assert_eq!(reply.expect(409)["code"], "task-closed");
    house.settle().await;
    assert!(house.sandbox.honoured(house.broker.now()).is_empty());
}

#[tokio::test]
async fn keys_that_cannot_be_sealed_to_are_refused_before_anything_is_made() {
    let house = Harness::start().await;
    let private = Own::new().private;
    let p384 = ECDH_ES_A256KW.generate_ec_key_pair(EcCurve::P384).unwrap().to_jwk_public_key().to_string();
    let mut off_curve = Own::new().public;
    off_curve["y"] = off_curve["x"].clone();
    let keys = [private, serde_json::from_str(&p384).unwrap(), off_curve, json!("text"), json!({}), json!([])];
    for key in keys {
        for scope in [READ, WRITE] {
            let mut body = ask(scope);
            body["delivery_key"] = key.clone();
            let problem = house.post("/v1/tasks", &house.agent("release-bot"), &body).await.expect(400);
            assert_eq!(problem["code"], "invalid-request");
            assert!(text(&problem["detail"]).contains("delivery_key"), "{problem}");
        }
    }
    assert!(house.leases().await.is_empty());
}
