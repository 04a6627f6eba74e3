//! Closures: what is said of an end is true when it is said, signed, on record, and becomes better when the backend obeys.

use hallpass::minter::{Fault, SandboxCall};
use serde_json::{Value, json};

use super::jwt::{part, verifies};
use super::{READ, text};
use crate::support::harness::{Harness, PUBLIC_URL};

/// What the statement of a closure says, once it is seen to be signed by the broker and to say what the answer says.
async fn stated(house: &Harness, closure: &Value) -> Value {
    let statement = text(&closure["statement"]);
    assert!(verifies(house, &statement).await, "{closure}");
    let (header, claims) = (part(&statement, 0), part(&statement, 1));
    assert_eq!((&header["typ"], &claims["iss"]), (&json!("hallpass-closure+jwt"), &json!(PUBLIC_URL)));
    assert_eq!(claims["iat"], house.broker.now().as_secs());
    for (claim, member) in [("sub", "id"), ("cause", "cause"), ("closure", "closure"), ("total", "total")] {
        assert_eq!(claims[claim], closure[member], "{claim}");
    }
    let told: Vec<&Value> = closure["leases"].as_array().unwrap().iter().collect();
    let signed = claims["leases"].as_array().unwrap();
    assert_eq!(told.len(), signed.len());
    for (told, signed) in told.iter().zip(signed) {
        for member in ["id", "backend", "closure", "proof", "ends_by"] {
            assert_eq!(told[member], signed[member], "{member}");
        }
    }
    claims
}

#[tokio::test]
async fn a_closure_is_signed_and_a_changed_one_does_not_verify() {
    let house = Harness::start().await;
    let held = house.granted(READ).await;
    let path = format!("/v1/tasks/{}/complete", held.task);
    let closure = house.post(&path, &house.agent("release-bot"), &json!({})).await.expect(200);
    let claims = stated(&house, &closure).await;
    assert_eq!((&claims["closure"], &claims["leases"][0]["closure"]), (&json!("closed"), &json!("closed")));
    let statement = text(&closure["statement"]);
    let mut parts: Vec<&str> = statement.split('.').collect();
    let other =
        data_encoding::BASE64URL_NOPAD.encode(part(&statement, 1).to_string().replace("closed", "unknown").as_bytes());
    parts[1] = &other;
    assert!(!verifies(&house, &parts.join(".")).await);
}

#[tokio::test]
async fn what_is_unknown_becomes_closed_when_the_backend_obeys_and_both_are_on_record() {
    let house = Harness::start().await;
    let held = house.granted(READ).await;
    house.sandbox.fail_always(SandboxCall::Revoke, Fault::Refused);
    let (token, path) = (house.agent("release-bot"), format!("/v1/tasks/{}/closure", held.task));
    assert_eq!(house.get(&path, &token).await.expect(404)["code"], "not-found", "an open task has none");
    house.post(&format!("/v1/tasks/{}/complete", held.task), &token, &json!({})).await.expect(200);
    for reader in [token.clone(), house.operator()] {
        let closure = house.get(&path, &reader).await.expect(200);
        assert_eq!((&closure["closure"], &closure["leases"][0]["closure"]), (&json!("unknown"), &json!("unknown")));
        stated(&house, &closure).await;
    }
    assert!(house.works(&held.secret));
    house.sandbox.mend();
    house.advance_secs(60);
    house.sweep().await;
    let closure = house.get(&path, &token).await.expect(200);
    assert_eq!((&closure["closure"], &closure["leases"][0]["closure"]), (&json!("closed"), &json!("closed")));
    stated(&house, &closure).await;
    let told = house.events_of(&held.task).await;
    let told: Vec<&Value> = told.iter().filter_map(|event| event["data"].get("closure")).collect();
    assert_eq!(told, [&json!("unknown"), &json!("closed")], "each step says what was known");
}

#[tokio::test]
async fn a_closure_is_nobody_elses_to_read() {
    let house = Harness::start().await;
    let held = house.granted(READ).await;
    let path = format!("/v1/tasks/{}", held.task);
    house.post(&format!("{path}/complete"), &house.agent("release-bot"), &json!({})).await.expect(200);
    let path = format!("{path}/closure");
    house.get(&path, &house.agent("triage-bot")).await.expect(404);
    house.get(&path, &house.person("stranger", &[])).await.expect(404);
    assert_eq!(house.send(http::Request::get(&path).body(axum::body::Body::empty()).unwrap()).await.status, 401);
}
