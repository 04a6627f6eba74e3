//! Proving once more who one is: the provider is asked for a fresh proof, an old one does not do, and nobody becomes somebody else.

use serde_json::json;

use crate::support::harness::{Harness, Options};
use crate::support::sign_in::{Browser, People, text};

async fn session(harness: &Harness) -> serde_json::Value {
    harness.get("/v1/sessions?all=true", &harness.operator()).await.expect(200)["items"][0].clone()
}

#[tokio::test]
async fn a_step_up_asks_for_a_fresh_proof_and_renews_the_session() {
    let people = People::start().await;
    let harness = people.harness(Options::default()).await;
    let mut browser = Browser::new(&harness);
    let sent_to = browser.begin("/sign-in").await;
    assert!(!sent_to.query().unwrap().contains("max_age"), "{sent_to}");
    people.be(|manners| manners.claims = json!({ "auth_time": 1_799_990_000 }));
    let back = people.sign_in(&sent_to, "ann", &[]);
    assert_eq!(browser.get(&back).await.status, 303);
    let before = session(&harness).await;
    assert_eq!(before["auth_time"], json!("2027-01-15T05:13:20Z"));
    harness.clock.advance_secs(60);
    let sent_to = browser.begin("/sign-in?step_up=1&next=/device").await;
    let asked = sent_to.query().unwrap();
    assert!(asked.contains("max_age=0") && asked.contains("prompt=login"), "{asked}");
    let stale = people.sign_in(&sent_to, "ann", &[]);
    let reply = browser.get(&stale).await;
    assert_eq!(reply.status, 400, "the proof is as old as before");
    assert!(text(&reply).contains("fresh proof"), "{}", text(&reply));
    assert_eq!(browser.get("/device").await.status, 200, "and the session stands as it was");
    people.be(|manners| manners.claims = json!({ "auth_time": null }));
    assert_eq!(
        browser.sign_in(&people, "/sign-in?step_up=1", "ann", &[]).await.status,
        400,
        "none at all does not do either"
    );
    people.be(|manners| manners.claims = json!({ "acr": "phr" }));
    assert_eq!(browser.sign_in(&people, "/sign-in?step_up=1&next=/device", "ann", &[]).await.status, 303);
    let after = session(&harness).await;
    assert_ne!(before["id"], after["id"]);
    assert_eq!((&after["auth_time"], &after["acr"]), (&json!("2027-01-15T08:01:00Z"), &json!("phr")));
}

#[tokio::test]
async fn nobody_becomes_somebody_else_by_a_step_up() {
    let people = People::start().await;
    let harness = people.harness(Options::default()).await;
    let mut browser = Browser::signed_in(&harness, &people, "ann", &[]).await;
    let reply = browser.sign_in(&people, "/sign-in?step_up=1", "eve", &[]).await;
    assert_eq!(reply.status, 400, "{}", text(&reply));
    assert!(text(&browser.get("/device").await).contains("#ann</strong>"));
}

#[tokio::test]
async fn a_token_that_does_not_say_when_somebody_signed_in_proves_nothing_fresh() {
    let people = People::start().await;
    let harness = people.harness(Options::default()).await;
    let sign_in_of = async |claims: serde_json::Value| {
        let token = harness.token("http://127.0.0.1:8601/people", "ann", &claims);
        match harness.broker.authenticate(&token, "192.0.2.1").await.unwrap() {
            hallpass::broker::Caller::Operator(caller) => caller.sign_in,
            hallpass::broker::Caller::Agent(_) => panic!("a person"),
        }
    };
    let silent = sign_in_of(json!({})).await;
    assert_eq!((silent.at, harness.broker.proved_freshly(&silent)), (None, false));
    let fresh = sign_in_of(json!({ "auth_time": 1_800_000_000, "acr": "phr" })).await;
    assert_eq!(fresh.acr.as_deref(), Some("phr"));
    assert!(harness.broker.proved_freshly(&fresh));
    harness.clock.advance_secs(600);
    assert!(harness.broker.proved_freshly(&fresh));
    harness.clock.advance_secs(1);
    assert!(!harness.broker.proved_freshly(&fresh), "apr_14: after ten minutes it is old");
}
