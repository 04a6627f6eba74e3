//! A yes is its giver's: it counts while they are in the group and may act, at the click, at the mint, and while a credential
//! lives on it.

use serde_json::json;

use super::*;
use crate::support::harness::PEOPLE;

const TWO: &str = "@approval(\"2 of release-approvers\")";

async fn approved(house: &Harness) -> Waiting {
    let waiting = house.waiting_for(&[API_WRITE], 300, 900).await;
    assert_eq!(
        house.verdict(&waiting.request, &house.second_approver(), "approve").await.expect(200)["state"],
        "granted"
    );
    waiting
}

#[tokio::test]
async fn who_has_left_the_group_since_has_approved_nothing() {
    let house = Harness::start().await;
    let waiting = approved(&house).await;
    house.clock.advance_secs(1);
    // Nia comes back for something else, and her issuer says that she is somewhere else now.
    house.get("/v1/whoami", &house.person("nia", &["interns"])).await.expect(200);
    assert_eq!(house.reasons("grant.ended").await, ["approver_not_in_group"], "it ended at once");
    house.collect(&waiting.task).await;
    assert!(house.leases().await.is_empty());
    let changed = house.events("person.changed").await;
    let last = &changed.iter().rfind(|event| event["data"]["person"] == format!("{PEOPLE}#nia")).unwrap()["data"];
    assert_eq!((&last["groups"], &last["was_in"]), (&json!(["interns"]), &json!(["release-approvers"])));
}

#[tokio::test]
async fn what_lives_on_the_yes_of_somebody_who_leaves_the_group_ends() {
    let house = Harness::start().await;
    let waiting = house.waiting().await;
    house.verdict(&waiting.request, &house.second_approver(), "approve").await.expect(200);
    let held = super::super::Held::of(&house.collect(&waiting.task).await.expect(200));
    assert!(house.works(&held.secret));
    house.clock.advance_secs(1);
    // More groups take nothing away.
    house.get("/v1/whoami", &house.person("nia", &["release-approvers", "sre"])).await.expect(200);
    assert!(house.works(&held.secret));
    house.clock.advance_secs(1);
    house.get("/v1/whoami", &house.person("nia", &["sre"])).await.expect(200);
    assert!(!house.works(&held.secret));
    let lease = house.lease(&held.lease).await;
    assert_eq!((&lease["state"], &lease["cause"]), (&json!("ended"), &json!("unapproved")));
    house.sweep().await;
    assert_eq!(house.reasons("grant.ended").await, ["approver_not_in_group"]);
}

#[tokio::test]
async fn a_rule_that_others_still_satisfy_goes_on() {
    let notes = "@approval(\"1 of release-approvers or 1 of sre\")";
    let house = with_notes(notes).await;
    let waiting = house.waiting().await;
    let both = house.person("nia", &["release-approvers", "sre"]);
    house.verdict(&waiting.request, &both, "approve").await.expect(200);
    let held = super::super::Held::of(&house.collect(&waiting.task).await.expect(200));
    house.clock.advance_secs(1);
    house.get("/v1/whoami", &house.person("nia", &["sre"])).await.expect(200);
    assert!(house.works(&held.secret), "she is still in one of the groups she approved by");
    house.clock.advance_secs(1);
    // Groups she was not in when she said yes do not make up for it.
    house.get("/v1/whoami", &house.person("nia", &["other"])).await.expect(200);
    assert!(!house.works(&held.secret));
}

#[tokio::test]
async fn a_pending_yes_counts_again_as_its_giver_stands() {
    let house = with_notes(TWO).await;
    let waiting = house.waiting().await;
    house.verdict(&waiting.request, &house.second_approver(), "approve").await.expect(200);
    assert_eq!(house.shown(&waiting.request).await["given"], 1);
    house.clock.advance_secs(1);
    house.get("/v1/whoami", &house.person("nia", &[])).await.expect(200);
    assert_eq!(house.shown(&waiting.request).await["given"], 0);
    let second = house.verdict(&waiting.request, &house.approver(), "approve").await.expect(200);
    assert_eq!((&second["state"], &second["given"]), (&json!("pending"), &json!(1)));
    house.clock.advance_secs(1);
    house.get("/v1/whoami", &house.second_approver()).await.expect(200);
    house.collected(&waiting.task).await;
}

#[tokio::test]
async fn a_token_of_before_gives_nobody_their_group_back() {
    let house = Harness::start().await;
    let before = house.second_approver();
    let waiting = house.waiting().await;
    house.clock.advance_secs(1);
    house.get("/v1/whoami", &house.person("nia", &["interns"])).await.expect(200);
    let problem = house.verdict(&waiting.request, &before, "approve").await.expect(403);
    assert_eq!(refusal(&problem).0, "not-an-approver");
    assert_eq!(house.request_state(&waiting.request).await, "pending");
}

#[tokio::test]
async fn people_who_are_registered_as_disabled_do_not_sign_in_and_their_yes_counts_for_nothing() {
    let mut house = Harness::start().await;
    let granted = house.waiting_for(&[API_WRITE], 300, 900).await;
    house.verdict(&granted.request, &house.approver(), "approve").await.expect(200);
    let waiting = house.waiting().await;
    house.verdict(&waiting.request, &house.approver(), "approve").await.expect(200);
    let held = super::super::Held::of(&house.collect(&waiting.task).await.expect(200));
    let disable = |files: &mut std::collections::BTreeMap<String, String>| {
        let people = files.get_mut("people.toml").unwrap();
        *people = people.replace("name = \"dev-approver\"", "name = \"dev-approver\"\ndisabled = true");
    };
    house.change_bundle(disable).await;
    house.get("/v1/whoami", &house.approver()).await.expect(401);
    assert!(house.events("identity.rejected").await.iter().any(|event| event["data"]["reason"] == "person_disabled"));
    house.sweep().await;
    assert!(!house.works(&held.secret), "what lived on their yes has ended");
    let problem = house.collect(&granted.task).await.expect(409);
    assert_eq!(problem["code"], "approval-stale", "{problem}");
    assert!(house.leases().await.iter().all(|lease| lease["state"] != "live"));
}

#[tokio::test]
async fn what_is_known_of_people_is_written_only_when_it_is_new_or_different() {
    let mut house = Harness::start().await;
    for _ in 0..5 {
        house.clock.advance_secs(1);
        house.get("/v1/whoami", &house.second_approver()).await.expect(200);
    }
    house.restart().await;
    house.get("/v1/whoami", &house.second_approver()).await.expect(200);
    let of_nia =
        |events: Vec<Value>| events.iter().filter(|event| event["data"]["person"] == format!("{PEOPLE}#nia")).count();
    assert_eq!(of_nia(house.events("person.changed").await), 1);
}

#[tokio::test]
async fn what_a_process_that_died_left_undone_the_sweep_does() {
    let house = Harness::start().await;
    let waiting = house.waiting().await;
    house.verdict(&waiting.request, &house.second_approver(), "approve").await.expect(200);
    let held = super::super::Held::of(&house.collect(&waiting.task).await.expect(200));
    // As if it had been written and nothing after it.
    let changed = house
        .behind_its_back("UPDATE person_known SET person_groups = '[]', recheck_at = 1 WHERE subject = 'nia'")
        .await;
    assert_eq!(changed, 1);
    house.sweep().await;
    assert!(!house.works(&held.secret));
    assert_eq!(
        house.behind_its_back("UPDATE person_known SET recheck_at = NULL WHERE recheck_at IS NOT NULL").await,
        0
    );
}
