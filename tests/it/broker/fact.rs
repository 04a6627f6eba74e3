//! The fact of a mint holds only if what its intent rested on still holds when it is committed.

use hallpass::domain::Actor;
use hallpass::minter::SandboxCall;
use hallpass::policy::Bundle;
use serde_json::{Value, json};

use super::{Held, READ, WRITE, text};
use crate::support::harness::{Harness, Reply, ask, shipped_bundle};

/// Open a task, and let something happen after the backend has minted and before the fact is recorded.
async fn interrupted(house: &Harness, body: &Value, meanwhile: impl AsyncFnOnce()) -> Reply {
    let mut held_back = house.sandbox.hold_next(SandboxCall::Mint);
    let token = house.agent("release-bot");
    let between = async {
        held_back.acted().await;
        meanwhile().await;
        held_back.release();
    };
    tokio::join!(house.post("/v1/tasks", &token, body), between).0
}

async fn nothing_is_left(house: &Harness) {
    house.settle().await;
    assert!(house.sandbox.honoured(house.broker.now()).is_empty());
    assert_eq!(house.sandbox.calls(SandboxCall::Activate), 0, "it never worked");
    assert!(house.events("credential.minted").await.is_empty());
    assert!(house.leases().await.iter().all(|lease| lease["state"] == "ended"));
}

/// The shipped bundle under another digest.
fn same_but_newer() -> Bundle {
    let mut files = shipped_bundle();
    files.get_mut("agents.cedar").unwrap().push_str("\n// Nothing has changed.\n");
    Bundle::from_files(files).unwrap()
}

#[tokio::test]
async fn a_new_bundle_that_permits_the_same_lets_a_mint_go_on() {
    let house = Harness::start().await;
    let newer = same_but_newer();
    let digest = newer.digest();
    let change = async || {
        house.broker.activate_bundle(newer, Actor::Broker).await.unwrap();
    };
    let task = interrupted(&house, &ask(READ), change).await.expect(201);
    let held = Held::of(&task);
    assert!(house.works(&held.secret));
    let decided = house.events_of(&held.task).await;
    let decided: Vec<_> = decided.iter().filter(|event| event["kind"] == "policy.decided").collect();
    assert_eq!(decided.len(), 2, "the permit of the bundle in force is on record");
    assert_eq!(decided[1]["data"]["bundle"], json!(digest.to_string()));
}

#[tokio::test]
async fn approvals_of_another_bundle_do_not_carry_a_mint() {
    let house = Harness::start().await;
    let waiting = house.waiting().await;
    house.verdict(&waiting.request, &house.approver(), "approve").await.expect(200);
    let mut held_back = house.sandbox.hold_next(SandboxCall::Mint);
    let change = async {
        held_back.acted().await;
        house.broker.activate_bundle(same_but_newer(), Actor::Broker).await.unwrap();
        held_back.release();
    };
    let (reply, ()) = tokio::join!(house.collect(&waiting.task), change);
    assert_eq!(reply.expect(409)["code"], "policy-changed");
    nothing_is_left(&house).await;
}

#[tokio::test]
async fn an_agent_that_is_suspended_meanwhile_gets_nothing_and_another_loses_nothing() {
    for (suspended, status) in [("release-bot", 403), ("triage-bot", 201)] {
        let house = Harness::start().await;
        let suspend = async || {
            let path = format!("/v1/agents/{suspended}/suspend");
            house.post(&path, &house.operator(), &json!({ "reason": "it behaves oddly" })).await.expect(200);
        };
        let answer = interrupted(&house, &ask(READ), suspend).await.expect(status);
        if status == 201 {
            assert!(house.works(&Held::of(&answer).secret));
        } else {
            assert_eq!(answer["code"], "agent-suspended");
            nothing_is_left(&house).await;
        }
    }
}

#[tokio::test]
async fn an_identity_that_has_gone_stale_meanwhile_is_no_identity() {
    let house = Harness::start().await;
    let reply = interrupted(&house, &ask(READ), async || house.advance_secs(400)).await;
    assert_eq!(reply.expect(401)["code"], "invalid-token");
    nothing_is_left(&house).await;
}

#[tokio::test]
async fn a_credential_whose_time_is_up_before_it_is_minted_is_not_delivered() {
    let house = Harness::start().await;
    let mut body = ask(READ);
    body["ttl_seconds"] = json!(60);
    let reply = interrupted(&house, &body, async || house.advance_secs(60)).await;
    assert_eq!(reply.expect(409)["code"], "task-closed");
    nothing_is_left(&house).await;
}

#[tokio::test]
async fn rev_15_a_mint_that_the_sweep_took_for_lost_is_not_delivered() {
    let house = Harness::start().await;
    let lost = async || {
        house.advance_secs(15);
        house.sweep().await;
    };
    let reply = interrupted(&house, &ask(READ), lost).await;
    assert_eq!(reply.expect(409)["code"], "task-closed");
    nothing_is_left(&house).await;
    assert_eq!(house.leases().await[0]["cause"], "aborted");
}

#[tokio::test]
async fn what_waits_beside_a_mint_that_was_stopped_is_still_answered() {
    let house = Harness::start().await;
    let mut body = ask(READ);
    body["scopes"] = json!([READ, WRITE]);
    body["ttl_seconds"] = json!(60);
    body["task_ttl_seconds"] = json!(600);
    let answer = interrupted(&house, &body, async || house.advance_secs(60)).await.expect(202);
    assert_eq!((&answer["credentials"], &answer["agent_action"]), (&json!([]), &json!("retry_later")));
    assert!(!text(&answer["id"]).is_empty());
}
