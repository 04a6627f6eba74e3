//! How sure we must be who says yes: nothing is recorded of somebody we are not sure enough of.

use serde_json::json;

use super::*;
use crate::support::harness::PEOPLE;

fn signed_in(house: &Harness, secs_ago: i64) -> String {
    let at = house.broker.now().as_secs() - secs_ago;
    house.token(PEOPLE, "nia", &json!({ "groups": ["release-approvers"], "auth_time": at, "acr": "mfa" }))
}

#[tokio::test]
async fn apr_14_a_yes_of_somebody_who_signed_in_long_ago_is_not_taken() {
    let house = with_more("@step_up(\"sign_in\")").await;
    let waiting = house.waiting().await;
    for person in [house.second_approver(), signed_in(&house, 1200), signed_in(&house, 601)] {
        let reply = house.verdict(&waiting.request, &person, "approve").await;
        let challenge = reply.headers["www-authenticate"].to_str().unwrap().to_owned();
        assert!(challenge.contains("insufficient_user_authentication"), "{challenge}");
        let problem = reply.expect(401);
        assert_eq!(refusal(&problem), ("step-up-required", "sign_in"));
        assert!(text(&problem["detail"]).contains("Sign in again"), "{problem}");
    }
    assert!(house.events("approval.recorded").await.is_empty());
    assert_eq!(house.reasons("approval.refused").await, ["step_up_required"; 3]);
    assert_eq!(house.shown(&waiting.request).await["given"], 0);
    let said = house.verdict(&waiting.request, &signed_in(&house, 599), "approve").await.expect(200);
    assert_eq!(said["state"], "granted");
    house.collected(&waiting.task).await;
}

#[tokio::test]
async fn a_no_takes_no_step_up() {
    let house = with_more("@step_up(\"passkey\")").await;
    let waiting = house.waiting().await;
    assert_eq!(house.verdict(&waiting.request, &house.second_approver(), "deny").await.expect(200)["state"], "denied");
}

#[tokio::test]
async fn a_yes_that_a_passkey_must_sign_is_not_taken_without_one() {
    let house = with_more("@step_up(\"passkey\")").await;
    let waiting = house.waiting().await;
    let problem = house.verdict(&waiting.request, &signed_in(&house, 1), "approve").await.expect(401);
    assert_eq!(refusal(&problem), ("step-up-required", "passkey"));
    assert!(house.events("approval.recorded").await.is_empty());
}
