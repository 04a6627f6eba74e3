//! §4 to §10.1: what is said of a denial, and what a filing must be bound to.

use serde_json::{Value, json};

use super::super::{
    BOT, EVALUATION, REQUESTS, bundle, denied, evaluate, filing, id_of, publish, question, read, send, send_keyed,
    text, urn, write,
};
use super::{Must, check, claims, refused_when};
use crate::support::harness::{Harness, PUBLIC_URL};

pub(super) const MUSTS: &[Must] = &[
    (
        "4",
        "the context that counts is stated and protected, and exactly that set is compared",
        check!(|house| {
            let mut asked = write();
            asked["context"] = json!({ "kind": "deploy", "time": "2026-11-22T10:00:00Z" });
            let context = denied(&house, &asked).await;
            let members = claims(&context["access_request"]["binding_token"])["binding_context_members"].clone();
            assert_eq!(members, json!(["kind", "on_behalf_of", "purpose", "task", "ttl_seconds"]));
            let mut body = filing(&asked, &context);
            body["context"]["time"] = json!("2026-11-22T10:05:00Z");
            body["context"]["another"] = json!(1);
            send(&house, &body).await.expect(202);
            for (member, value) in [("kind", Value::Null), ("ttl_seconds", json!(60))] {
                let mut body = filing(&asked, &denied(&house, &asked).await);
                body["context"][member] = value;
                let context = body["context"].as_object_mut().unwrap();
                context.retain(|_, value| !value.is_null());
                assert_eq!(urn(send(&house, &body).await, 400), "invalid_denial_binding");
            }
        }),
    ),
    (
        "6",
        "the metadata has `access_request_endpoint` and, as tokens are signed, `jwks_uri`, both https",
        check!(|house| {
            let metadata = house.get("/.well-known/authzen-configuration", "").await.expect(200);
            assert_eq!(metadata["policy_decision_point"], PUBLIC_URL);
            assert_eq!(metadata["access_request_endpoint"], format!("{PUBLIC_URL}{REQUESTS}"));
            assert_eq!(metadata["access_evaluation_endpoint"], format!("{PUBLIC_URL}{EVALUATION}"));
            assert_eq!(metadata["jwks_uri"], format!("{PUBLIC_URL}/.well-known/jwks.json"));
            assert_eq!(metadata["capabilities"], json!(["urn:openid:authzen:capability:access-request"]));
            assert!(text(&metadata["jwks_uri"]).starts_with("https://"));
        }),
    ),
    (
        "7",
        "only what is eligible for a request has `access_request`",
        check!(|house| {
            denied(&house, &write()).await;
            for asked in [question("api:secrets", "read"), question("sandbox:releases", "delete")] {
                assert!(evaluate(&house, &asked).await["context"].get("access_request").is_none());
            }
            let mut triage = write();
            triage["subject"]["id"] = json!("triage-bot");
            let answer = house.post(EVALUATION, &house.agent("triage-bot"), &triage).await.expect(200);
            assert!(answer["context"].get("access_request").is_none());
            assert!(evaluate(&house, &read()).await.get("context").is_none());
        }),
    ),
    (
        "7",
        "a requestable denial is a denial, has `expires_at`, and binding material that protects it",
        check!(|house| {
            let context = denied(&house, &write()).await;
            let hint = &context["access_request"];
            let token = claims(&hint["binding_token"]);
            assert_eq!(token["denial_expires_at"], hint["expires_at"]);
            let now = house.broker.now();
            assert_eq!(token["exp"], now.as_secs() + 600);
            assert_eq!(hint["expires_at"], now.plus_millis(600_000).to_string());
            assert_eq!((&token["iss"], &token["aud"]), (&json!(PUBLIC_URL), &hint["endpoint"]));
            assert_eq!((&token["sub"], &token["evaluation_id"]), (&json!(BOT), &context["evaluation_id"]));
            assert!(token["jti"].is_string() && token["iat"].is_i64());
            assert_eq!(context["reason"], "approval_required");
        }),
    ),
    (
        "7.1",
        "an evaluation's id is its own",
        check!(|house| {
            let (one, two) = (denied(&house, &write()).await, denied(&house, &write()).await);
            assert_ne!(one["evaluation_id"], two["evaluation_id"]);
            assert_eq!(one["evaluated_at"], house.broker.now().to_string());
        }),
    ),
    ("10.1", "what is not covered by its binding is refused: another resource", || {
        Box::pin(async {
            let other = |body: &mut Value| body["resource"]["properties"]["params"]["prefix"] = json!("v2/");
            assert_eq!(refused_when(other).await, "invalid_denial_binding");
            let more = |body: &mut Value| body["resource"]["properties"]["owner"] = json!("bob");
            assert_eq!(refused_when(more).await, "invalid_denial_binding");
        })
    }),
    ("10.1", "what is not covered by its binding is refused: another action", || {
        Box::pin(async {
            let other = |body: &mut Value| body["action"]["properties"] = json!({ "soft": true });
            assert_eq!(refused_when(other).await, "invalid_denial_binding");
        })
    }),
    ("10.1", "what is not covered by its binding is refused: other properties of the subject", || {
        Box::pin(async {
            let other = |body: &mut Value| body["subject"]["properties"] = json!({ "role": "admin" });
            assert_eq!(refused_when(other).await, "invalid_denial_binding");
        })
    }),
    ("10.1", "a filing without verifiable binding material is refused", || {
        Box::pin(async {
            let without = |member: &'static str| {
                move |body: &mut Value| drop(body["denial"].as_object_mut().unwrap().remove(member))
            };
            assert_eq!(refused_when(without("binding_token")).await, "invalid_denial_binding");
            assert_eq!(refused_when(without("expires_at")).await, "invalid_denial_binding");
            let none = |body: &mut Value| drop(body.as_object_mut().unwrap().remove("denial"));
            assert_eq!(refused_when(none).await, "invalid_denial_binding");
        })
    }),
    (
        "10.1",
        "with `items`, each has a denial or one covers all; `resource` and `action` stand in them only",
        check!(|house| {
            let mut body = bundle(&house, &[write(), publish("v1/")]).await;
            body["items"][1].as_object_mut().unwrap().remove("denial");
            assert_eq!(urn(send(&house, &body).await, 400), "invalid_denial_binding");
            let mut body = bundle(&house, &[write()]).await;
            body["resource"] = write()["resource"].clone();
            assert_eq!(send(&house, &body).await.expect(400)["code"], "invalid-request");
            body = json!({ "subject": body["subject"], "items": [] });
            assert_eq!(send(&house, &body).await.expect(400)["code"], "invalid-request");
        }),
    ),
    (
        "10.1",
        "a filing after `expires_at`, and the tolerance of clocks, is refused",
        check!(|house| {
            let asked = write();
            let body = filing(&asked, &denied(&house, &asked).await);
            house.clock.advance_secs(600 + 29);
            send(&house, &body).await.expect(202);
            let body = filing(&asked, &denied(&house, &asked).await);
            house.clock.advance_secs(600 + 30);
            assert_eq!(urn(send(&house, &body).await, 410), "expired_denial");
        }),
    ),
    (
        "10.1",
        "a key that is used for another filing is refused as a duplicate",
        check!(|house| {
            let (one, two) = (write(), publish("v1/"));
            let first = filing(&one, &denied(&house, &one).await);
            let other = filing(&two, &denied(&house, &two).await);
            send_keyed(&house, &first, "k").await.expect(202);
            assert_eq!(urn(send_keyed(&house, &other, "k").await, 409), "duplicate_request");
            // Members in another order are the same filing.
            let same: Value = serde_json::from_str(&first.to_string()).unwrap();
            send_keyed(&house, &same, "\"k\"").await.expect(202);
        }),
    ),
    (
        "10.1",
        "a key is kept for a day after the end (SHOULD)",
        check!(|house| {
            let asked = write();
            let body = filing(&asked, &denied(&house, &asked).await);
            let first = send_keyed(&house, &body, "k").await.expect(202);
            house.clock.advance_secs(86_400 + 300);
            house.sweep().await;
            house.broker.sweep_memory().await.unwrap();
            assert_eq!(id_of(&send_keyed(&house, &body, "k").await.expect(201)), id_of(&first));
        }),
    ),
];
