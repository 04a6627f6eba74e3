//! The narrower yes: the mint obeys it (I6: what is minted lies within what was approved, and that within what was asked).

use serde_json::json;

use super::*;

#[tokio::test]
async fn apr_13_a_narrower_yes_is_what_is_minted_and_a_wider_one_is_refused() {
    let house = Harness::start().await;
    let waiting = house.waiting_for(&[API_WRITE, API_WRITE_TWO], 600, 900).await;
    for (narrow, says) in [
        (json!({ "drop_scopes": ["api:releases:write(prefix=v3)"] }), "is not a scope of this request"),
        (json!({ "drop_scopes": [API_READ] }), "is not a scope of this request"),
        (json!({ "drop_scopes": ["*"] }), "is not a scope of this request"),
        (json!({ "drop_scopes": [API_WRITE, API_WRITE_TWO] }), "deny it instead"),
        (json!({ "ttl_seconds": 601 }), "is more than the 600 s"),
        (json!({ "ttl_seconds": 0 }), "out of bounds"),
        (json!({}), "leaves out nothing"),
        (json!({ "add_scopes": [API_READ] }), "add_scopes"),
        (json!({ "scopes": [API_WRITE, API_READ] }), "scopes"),
    ] {
        let problem = house.say(&waiting.request, &house.approver(), &json!({ "narrow": narrow })).await.expect(400);
        assert!(text(&problem["detail"]).contains(says), "{narrow}: {problem}");
    }
    let wrong = json!({ "verdict": "deny", "narrow": { "ttl_seconds": 60 } });
    house.say(&waiting.request, &house.approver(), &wrong).await.expect(400);
    assert_eq!(house.request_state(&waiting.request).await, "pending");

    let narrow = json!({ "ttl_seconds": 120, "drop_scopes": [API_WRITE_TWO] });
    let said = house.say(&waiting.request, &house.approver(), &json!({ "narrow": narrow })).await.expect(200);
    assert_eq!(said["state"], "granted");
    let shown = house.shown(&waiting.request).await;
    assert_eq!((&shown["verdicts"][0]["narrow"], &shown["given"]), (&narrow, &json!(1)));

    let credential = house.collected(&waiting.task).await;
    assert_eq!(credential["scopes"], json!([API_WRITE]));
    let token = text(&credential["values"]["access_token"]);
    let payload = token.split('.').nth(1).unwrap();
    let claims: Value =
        serde_json::from_slice(&data_encoding::BASE64URL_NOPAD.decode(payload.as_bytes()).unwrap()).unwrap();
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 120);
    let native = claims.to_string();
    assert!(native.contains("v1") && !native.contains("v2"), "{native}");
}

#[tokio::test]
async fn what_two_people_left_out_is_left_out_together() {
    let house = with_notes("@approval(\"2 of release-approvers\")").await;
    let scopes = [API_WRITE, API_WRITE_TWO, "api:releases:write(prefix=v3)"];
    let waiting = house.waiting_for(&scopes, 600, 900).await;
    let one = json!({ "narrow": { "ttl_seconds": 300, "drop_scopes": [scopes[0]] } });
    house.say(&waiting.request, &house.approver(), &one).await.expect(200);
    let all = json!({ "narrow": { "drop_scopes": [scopes[1], scopes[2]] } });
    let problem = house.say(&waiting.request, &house.second_approver(), &all).await.expect(400);
    assert!(text(&problem["detail"]).contains("nothing of the request would be left"), "{problem}");
    let two = json!({ "narrow": { "ttl_seconds": 400, "drop_scopes": [scopes[1]] } });
    let said = house.say(&waiting.request, &house.second_approver(), &two).await.expect(200);
    assert_eq!(said["state"], "granted");
    let credential = house.collected(&waiting.task).await;
    assert_eq!(credential["scopes"], json!([scopes[2]]));
    let lease = house.lease(credential["id"].as_str().unwrap()).await;
    let lives = |name: &str| lease[name].as_str().unwrap().parse::<hallpass::domain::Timestamp>().unwrap();
    assert_eq!(lives("usable_until").millis_since(lives("intent_at")), 300_000);
}

#[tokio::test]
async fn less_than_was_asked_is_all_that_may_be_asked_again_too() {
    let house = with_more("@approval_uses(\"2\")").await;
    let waiting = house.waiting_for(&[API_WRITE, API_WRITE_TWO], 300, 900).await;
    let narrow = json!({ "narrow": { "drop_scopes": [API_WRITE_TWO] } });
    house.say(&waiting.request, &house.approver(), &narrow).await.expect(200);
    for _ in 0..2 {
        assert_eq!(house.collected(&waiting.task).await["scopes"], json!([API_WRITE]));
        house.run_out(301).await;
    }
    let granted = house.events("access.granted").await;
    assert_eq!(granted[0]["data"]["scopes"], json!([API_WRITE]));
}

#[tokio::test]
async fn a_narrower_yes_reaches_the_sandbox() {
    let house = Harness::start().await;
    let waiting = house.waiting().await;
    let narrow = json!({ "narrow": { "ttl_seconds": 60 } });
    house.say(&waiting.request, &house.approver(), &narrow).await.expect(200);
    let held = super::super::Held::of(&house.collect(&waiting.task).await.expect(200));
    assert!(house.works(&held.secret));
    house.clock.advance_secs(61);
    assert!(!house.works(&held.secret), "the backend itself ends it after the shorter life");
}
