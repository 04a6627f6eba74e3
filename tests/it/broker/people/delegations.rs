//! Deciding in somebody's place: what is passed on, to whom, for how long, and that it never makes two people of one.

use serde_json::{Value, json};

use super::{code, text, with_approval};
use crate::support::harness::{Harness, PEOPLE, Reply};

async fn gives(house: &Harness, giver: &str, to: &str, secs: i64) -> Reply {
    let until = house.broker.now().plus_millis(secs * 1000);
    let body = json!({ "to": to, "until": until, "reason": "on holiday" });
    house.post("/v1/delegations", giver, &body).await
}

/// Somebody registered who is in no group of the rule's.
fn jonas(house: &Harness) -> String {
    house.token(PEOPLE, "jonas", &json!({ "groups": [], "email": "jonas@acme.example", "email_verified": true }))
}

#[tokio::test]
async fn whoever_stands_in_decides_in_that_persons_place_while_it_holds() {
    let house = Harness::start().await;
    let waiting = house.waiting().await;
    let refused = house.verdict(&waiting.request, &jonas(&house), "approve").await.expect(403);
    assert_eq!(code(&refused), "not-an-approver");
    let given = gives(&house, &house.approver(), "jonas@acme.example", 3600).await.expect(201);
    assert_eq!((&given["state"], &given["receiver"]), (&json!("held"), &json!("jonas")));
    assert!(house.seen_by(&waiting.request, &jonas(&house)).await["cannot_decide"].is_null());
    assert_eq!(house.verdict(&waiting.request, &jonas(&house), "approve").await.expect(200)["state"], "granted");
    let shown = house.seen_by(&waiting.request, &house.operator()).await;
    assert_eq!(
        (&shown["verdicts"][0]["person"], &shown["verdicts"][0]["in_place_of"]),
        (&json!("jonas"), &json!("dev-approver"))
    );
    assert_eq!(house.collect(&waiting.task).await.expect(200)["credentials"].as_array().unwrap().len(), 1);
    assert_eq!(house.events("delegation.given").await.len(), 1);
    house.advance_secs(3600);
    let later = house.waiting().await;
    house.verdict(&later.request, &jonas(&house), "approve").await.expect(403);
}

#[tokio::test]
async fn what_was_decided_by_a_delegation_that_has_ended_is_not_minted() {
    let house = Harness::start().await;
    let waiting = house.waiting().await;
    let given = gives(&house, &house.approver(), "jonas", 3600).await.expect(201);
    assert_eq!(house.verdict(&waiting.request, &jonas(&house), "approve").await.expect(200)["state"], "granted");
    let path = format!("/v1/delegations/{}/end", text(&given["id"]));
    house.call("POST", &path, &house.nia(), None, &[]).await.expect(404);
    let ended = house.call("POST", &path, &house.approver(), None, &[]).await.expect(200);
    assert_eq!((&ended["state"], &ended["ended_by"]), (&json!("ended"), &json!("dev-approver")));
    let again = house.call("POST", &path, &house.approver(), None, &[]).await.expect(409);
    assert_eq!(code(&again), "already-done");
    let refused = house.collect(&waiting.task).await.expect(409);
    assert_eq!(refused["reason"], "delegation_ended");
    assert!(house.sandbox.ever_minted().is_empty());
}

#[tokio::test]
async fn a_person_and_who_stands_in_for_them_fill_one_place() {
    let house = with_approval("@approval(\"2 of release-approvers\")").await;
    let waiting = house.waiting().await;
    gives(&house, &house.approver(), "jonas", 3600).await.expect(201);
    house.verdict(&waiting.request, &jonas(&house), "approve").await.expect(200);
    let own = house.verdict(&waiting.request, &house.approver(), "approve").await.expect(200);
    assert_eq!((&own["state"], &own["given"]), (&json!("pending"), &json!(1)));
    // And nobody has two verdicts, however many stand behind them.
    gives(&house, &house.nia(), "jonas", 3600).await.expect(201);
    let twice = house.verdict(&waiting.request, &jonas(&house), "approve").await.expect(409);
    assert_eq!(code(&twice), "already-decided");
    assert_eq!(house.verdict(&waiting.request, &house.nia(), "approve").await.expect(200)["state"], "granted");
}

#[tokio::test]
async fn a_person_in_the_group_who_stands_in_for_another_is_one_person() {
    let house = with_approval("@approval(\"2 of release-approvers\")").await;
    let waiting = house.waiting().await;
    gives(&house, &house.approver(), "http://127.0.0.1:8601/people#nia", 3600).await.expect(400);
    house.seen_by(&waiting.request, &house.nia()).await;
    gives(&house, &house.approver(), "http://127.0.0.1:8601/people#nia", 3600).await.expect(201);
    let one = house.verdict(&waiting.request, &house.nia(), "approve").await.expect(200);
    assert_eq!((&one["state"], &one["given"]), (&json!("pending"), &json!(1)));
    // In her own place, as she has one.
    assert!(house.seen_by(&waiting.request, &house.operator()).await["verdicts"][0]["in_place_of"].is_null());
}

#[tokio::test]
async fn neither_for_the_owner_nor_by_the_owner_and_never_passed_on() {
    let house = Harness::start().await;
    let waiting = house.waiting().await;
    // The owner is in the group, and may not decide herself: nobody may in her place.
    let maya = house.addressed("maya", "maya@acme.example");
    gives(&house, &maya, "jonas", 3600).await.expect(201);
    let refused = house.verdict(&waiting.request, &jonas(&house), "approve").await.expect(403);
    assert_eq!(code(&refused), "not-an-approver");
    // Nor may she in anybody's place.
    gives(&house, &house.approver(), "maya", 3600).await.expect(201);
    let owner =
        house.token(PEOPLE, "m", &json!({ "groups": [], "email": "maya@acme.example", "email_verified": true }));
    let refused = house.verdict(&waiting.request, &owner, "approve").await.expect(403);
    assert_eq!(code(&refused), "self-approval-forbidden");
    // What was passed to somebody is not theirs to pass on.
    let house = Harness::start().await;
    let waiting = house.waiting().await;
    gives(&house, &house.approver(), "jonas", 3600).await.expect(201);
    house.seen_by(&waiting.request, &house.person("leo", &[])).await;
    gives(&house, &jonas(&house), "http://127.0.0.1:8601/people#leo", 3600).await.expect(201);
    let refused = house.verdict(&waiting.request, &house.person("leo", &[]), "approve").await.expect(403);
    assert_eq!(code(&refused), "not-an-approver");
}

#[tokio::test]
async fn a_delegation_has_bounds() {
    let house = Harness::start().await;
    let month = 30 * 86_400;
    gives(&house, &house.approver(), "dev-approver", 3600).await.expect(400);
    gives(&house, &house.approver(), "nobody-known", 3600).await.expect(400);
    gives(&house, &house.approver(), "jonas", month + 1).await.expect(400);
    gives(&house, &house.approver(), "jonas", 0).await.expect(400);
    gives(&house, &house.agent("release-bot"), "jonas", 60).await.expect(403);
    gives(&house, &house.approver(), "jonas", month).await.expect(201);
    let own = house.get("/v1/delegations", &jonas(&house)).await.expect(200);
    assert_eq!(own["items"].as_array().unwrap().len(), 1);
    let others = house.get("/v1/delegations", &house.nia()).await.expect(200);
    assert_eq!(others["items"].as_array().map(Vec::len), Some(0), "{others}");
    let all: Value = house.get("/v1/delegations", &house.operator()).await.expect(200);
    assert_eq!(all["items"].as_array().unwrap().len(), 1);
}
