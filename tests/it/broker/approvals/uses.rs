//! How often and until when a yes is good: one credential where policy does not say, and none after its window.

use hallpass::minter::{Fault, SandboxCall};
use serde_json::json;

use super::*;

#[tokio::test]
async fn apr_12_a_second_mint_on_the_same_approval_is_refused() {
    let house = Harness::start().await;
    let waiting = house.waiting_for(&[API_WRITE], 60, 900).await;
    house.verdict(&waiting.request, &house.approver(), "approve").await.expect(200);
    house.collected(&waiting.task).await;
    // While it lives there is nothing to collect, and nothing is said against it.
    assert_eq!(house.collect(&waiting.task).await.expect(200)["credentials"], json!([]));
    house.run_out(61).await;
    for _ in 0..2 {
        let problem = house.collect(&waiting.task).await.expect(409);
        assert_eq!(refusal(&problem), ("approval-used", "approval_used"));
        assert!(text(&problem["detail"]).contains("/requests"), "{problem}");
    }
    assert_eq!(house.reasons("credential.refused").await, ["approval_used"]);
    assert_eq!(house.reasons("grant.ended").await, ["approval_used"]);
    assert_eq!(house.leases().await.len(), 1);
    // Asking anew waits for people anew, and is answered as such.
    let more = json!({ "scopes": [API_WRITE], "ttl_seconds": 60 });
    let path = format!("/v1/tasks/{}/requests", waiting.task);
    let asked = house.post(&path, &house.agent("release-bot"), &more).await.expect(202);
    assert_eq!(house.collect(&waiting.task).await.expect(202)["credentials"], json!([]));
    let again = text(&asked["requests"].as_array().unwrap().last().unwrap()["id"]);
    house.verdict(&again, &house.approver(), "approve").await.expect(200);
    house.collected(&waiting.task).await;
}

#[tokio::test]
async fn an_approval_is_good_for_as_many_credentials_as_policy_says() {
    let house = with_more("@approval_uses(\"3\")").await;
    let waiting = house.waiting_for(&[API_WRITE], 60, 900).await;
    house.verdict(&waiting.request, &house.approver(), "approve").await.expect(200);
    for _ in 0..3 {
        house.collected(&waiting.task).await;
        house.run_out(61).await;
    }
    assert_eq!(house.collect(&waiting.task).await.expect(409)["code"], "approval-used");
}

#[tokio::test]
async fn a_credential_that_nobody_had_is_no_use_of_the_approval() {
    let house = Harness::start().await;
    let waiting = house.waiting().await;
    house.verdict(&waiting.request, &house.approver(), "approve").await.expect(200);
    // The mint fails at the backend.
    house.sandbox.fail_next(SandboxCall::Mint, Fault::Unavailable);
    house.collect(&waiting.task).await;
    house.settle().await;
    assert_eq!(house.leases().await[0]["cause"], "aborted");
    let held = house.collected(&waiting.task).await;
    house.revoke(&json!({ "lease": held["id"] })).await;
    assert_eq!(house.collect(&waiting.task).await.expect(409)["code"], "approval-used");
}

#[tokio::test]
async fn what_nobody_had_to_approve_is_minted_anew_as_before() {
    let house = Harness::start().await;
    let held = house.granted(API_READ).await;
    let mut lease = held.lease;
    for _ in 0..3 {
        house.revoke(&json!({ "lease": lease })).await;
        lease = text(&house.collected(&held.task).await["id"]);
    }
}

#[tokio::test]
async fn two_who_collect_at_once_do_not_share_the_last_use() {
    let house = with_more("@approval_uses(\"2\")").await;
    for _ in 0..5 {
        let waiting = house.waiting_for(&[API_WRITE], 60, 300).await;
        house.verdict(&waiting.request, &house.approver(), "approve").await.expect(200);
        let mut minted = 0;
        for _ in 0..4 {
            let many = (0..6).map(|_| house.collect(&waiting.task));
            for reply in futures_util::future::join_all(many).await {
                minted += reply.json()["credentials"].as_array().map_or(0, Vec::len);
            }
            house.run_out(61).await;
        }
        assert_eq!(minted, 2);
    }
}

#[tokio::test]
async fn apr_09_neither_a_click_nor_a_mint_comes_after_the_window() {
    let house = with_more("@approval_window_seconds(\"900\")").await;
    // A click at 15:01.
    let late = house.waiting_for(&[API_WRITE], 600, 3600).await;
    let early = house.waiting_for(&[API_WRITE_TWO], 600, 3600).await;
    let shown = house.shown(&late.request).await;
    assert_eq!(
        shown["lapses_at"].as_str().unwrap().parse::<hallpass::domain::Timestamp>().unwrap(),
        house.broker.now().plus_millis(900_000)
    );
    house.clock.advance_secs(899);
    house.verdict(&early.request, &house.approver(), "approve").await.expect(200);
    house.clock.advance_secs(2);
    let problem = house.verdict(&late.request, &house.approver(), "approve").await.expect(410);
    assert_eq!(refusal(&problem), ("approval-expired", "approval_expired"));
    house.sweep().await;
    assert_eq!(house.request_state(&late.request).await, "lapsed");
    house.verdict(&late.request, &house.second_approver(), "approve").await.expect(410);
    // A click at 14:59, a mint at 15:01; and it does not come back.
    for _ in 0..3 {
        let problem = house.collect(&early.task).await.expect(410);
        assert_eq!(refusal(&problem), ("approval-expired", "approval_expired"));
        house.sweep().await;
    }
    assert!(house.leases().await.is_empty());
    assert_eq!(house.reasons("credential.refused").await, ["approval_expired"]);
}

#[tokio::test]
async fn a_mint_that_takes_until_after_the_window_hands_nothing_over() {
    let house = with_more("@approval_window_seconds(\"60\")").await;
    let waiting = house.waiting().await;
    house.verdict(&waiting.request, &house.approver(), "approve").await.expect(200);
    house.clock.advance_secs(59);
    let mut held_back = house.sandbox.hold_next(SandboxCall::Mint);
    let meanwhile = async {
        held_back.acted().await;
        house.clock.advance_secs(2);
        held_back.release();
    };
    let (reply, ()) = tokio::join!(house.collect(&waiting.task), meanwhile);
    assert_eq!(reply.expect(410)["code"], "approval-expired");
    house.settle().await;
    assert_eq!(house.sandbox.ever_minted().len(), 1, "it had been minted");
    assert!(house.sandbox.honoured(house.broker.now()).is_empty(), "and was ended");
    assert!(house.events("credential.delivered").await.is_empty());
}
