//! Our own tokens over the router: what is on record of one, how it ends, and how the keys that sign it change.

use data_encoding::BASE64URL_NOPAD;
use http::Request;
use serde_json::{Value, json};

use super::{API_READ, text};
use crate::support::harness::{API_AUDIENCE, Harness, PUBLIC_URL};

/// A part of a compact token: 0 is the header, 1 the claims.
pub(super) fn part(token: &str, index: usize) -> Value {
    serde_json::from_slice(&BASE64URL_NOPAD.decode(token.split('.').nth(index).unwrap().as_bytes()).unwrap()).unwrap()
}

async fn jwks(house: &Harness) -> Vec<Value> {
    let reply = house.send(Request::get("/.well-known/jwks.json").body(axum::body::Body::empty()).unwrap()).await;
    reply.expect(200)["keys"].as_array().unwrap().clone()
}

async fn kids(house: &Harness) -> Vec<String> {
    jwks(house).await.iter().map(|key| text(&key["kid"])).collect()
}

/// Whether whoever has the JWK set verifies this token: its signature, not its time.
pub(super) async fn verifies(house: &Harness, token: &str) -> bool {
    let kid = part(token, 0)["kid"].clone();
    let Some(key) = jwks(house).await.into_iter().find(|key| key["kid"] == kid) else { return false };
    let jwk = josekit::jwk::Jwk::from_bytes(key.to_string()).unwrap();
    let verifier = josekit::jws::ES256.verifier_from_jwk(&jwk).unwrap();
    josekit::jws::deserialize_compact(token, &verifier).is_ok()
}

#[tokio::test]
async fn jwt_01_a_token_names_its_lease_and_every_step_is_on_record() {
    let house = Harness::start().await;
    let recorder = house.broker.clone();
    let recording = tokio::spawn(async move { recorder.record_deliveries_until(std::future::pending()).await });
    let held = house.granted(API_READ).await;
    let (header, claims) = (part(&held.secret, 0), part(&held.secret, 1));
    assert_eq!(header["typ"], "at+jwt");
    assert_eq!((&claims["iss"], &claims["aud"]), (&json!(PUBLIC_URL), &json!(API_AUDIENCE)));
    assert_eq!((&claims["jti"], &claims["scope"]), (&json!(held.lease), &json!("api:releases:read")), "{claims}");
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 600);
    assert!(verifies(&house, &held.secret).await);
    let introspected = house.introspect(&held.secret).await;
    assert_eq!((&introspected["active"], &introspected["jti"]), (&json!(true), &json!(held.lease)));

    house.until(&held.task, "credential.delivered").await;
    let events = house.events_of(&held.task).await;
    let of_lease: Vec<&str> = events
        .iter()
        .filter(|event| event["lease"] == json!(held.lease))
        .map(|event| event["kind"].as_str().unwrap())
        .collect();
    assert_eq!(of_lease, ["credential.minting", "credential.minted", "credential.delivered"]);
    assert!(!json!(events).to_string().contains(&held.secret), "no secret is on record");
    recording.abort();
}

#[tokio::test]
async fn jwt_02_a_revoked_token_is_inactive_from_the_next_question_on() {
    let house = Harness::start().await;
    let held = house.granted(API_READ).await;
    assert_eq!(house.introspect(&held.secret).await["active"], true);
    let closure = house.revoke(&json!({ "lease": held.lease })).await;
    assert_eq!(house.introspect(&held.secret).await, json!({ "active": false }));
    assert_ne!(closure["closure"], "unknown", "{closure}");
}

#[tokio::test]
async fn jwt_02_a_restart_revives_no_token() {
    let mut house = Harness::start().await;
    let (ended, alive) = (house.granted(API_READ).await, house.granted(API_READ).await);
    house.revoke(&json!({ "lease": ended.lease })).await;
    house.restart().await;
    assert_eq!(house.introspect(&ended.secret).await, json!({ "active": false }));
    assert_eq!(house.introspect(&alive.secret).await["active"], true);
}

#[tokio::test]
async fn jwt_04_a_new_key_is_published_before_it_signs_and_an_old_one_until_its_last_token_ends() {
    let house = Harness::start().await;
    let first = kids(&house).await;
    assert_eq!(first.len(), 1);
    let mut last_by_first = house.granted(API_READ).await;
    let mut published_at = None;
    // Thirty days in steps of ten minutes around the rotation: first by the day, then closely.
    house.advance_secs(29 * 86_400);
    let signed_by_second = loop {
        house.advance_secs(600);
        house.broker.rotate_keys().await.unwrap();
        house.sweep().await;
        if published_at.is_none() && kids(&house).await.len() == 2 {
            published_at = Some(house.broker.now().as_secs());
        }
        let held = house.granted(API_READ).await;
        if part(&held.secret, 0)["kid"] != json!(first[0]) {
            break held;
        }
        last_by_first = held;
        assert!(house.broker.now().as_secs() < crate::support::idp::NOW_SECS + 31 * 86_400, "no rotation in time");
    };
    assert!(published_at.is_some_and(|at| house.broker.now().as_secs() - at >= 300), "published before its first use");
    assert!(verifies(&house, &signed_by_second.secret).await);
    assert!(verifies(&house, &last_by_first.secret).await, "an old token is still verified");
    for key in jwks(&house).await {
        assert!(key.get("d").is_none(), "the private half is never served");
    }
    // A day for which it may stand in, the longest life of a token, and the time a JWK set may be cached.
    house.advance_secs(86_400 + 8 * 3600 + 3600);
    house.broker.rotate_keys().await.unwrap();
    assert!(!kids(&house).await.contains(&first[0]), "an old key is gone once its last token has ended");
    let kinds: Vec<String> = house.events("key.").await.iter().map(|event| text(&event["kind"])).collect();
    for kind in ["key.created", "key.activated", "key.retired"] {
        assert!(kinds.iter().any(|known| known == kind), "{kinds:?}");
    }
}
