//! Backends that fail: nothing is called closed that still works, and nothing that was made is left behind.

use hallpass::minter::{Fault, SandboxCall};
use serde_json::{Value, json};

use super::{Held, READ, text};
use crate::support::harness::{Harness, ask};

/// Ask for a credential that the backend fails to mint: the answer has none.
async fn unminted(house: &Harness) -> Value {
    let task = house.post("/v1/tasks", &house.agent("release-bot"), &ask(READ)).await.expect(201);
    assert_eq!(task["credentials"], json!([]));
    assert_eq!(task["agent_action"], "retry_later");
    task
}

#[tokio::test]
async fn a_mint_that_fails_leaves_nothing_behind_and_can_be_tried_again() {
    for fault in [Fault::Refused, Fault::Unavailable, Fault::Unheard] {
        for call in [SandboxCall::Mint, SandboxCall::Activate] {
            let house = Harness::start().await;
            house.sandbox.fail_next(call, fault);
            let task = unminted(&house).await;
            house.settle().await;
            let now = house.broker.now();
            assert!(house.sandbox.honoured(now).is_empty(), "{fault:?} {call:?}");
            let lease = house.leases().await.remove(0);
            assert_eq!((&lease["state"], &lease["cause"]), (&json!("ended"), &json!("aborted")), "{fault:?} {call:?}");
            let kinds = house.kinds_of(&text(&task["id"])).await;
            let ended = kinds.iter().filter(|kind| *kind == "lease.ended").count();
            assert_eq!(ended, 1, "{kinds:?}");
            let held = Held::of(&house.collect(&text(&task["id"])).await.expect(200));
            assert!(house.works(&held.secret));
        }
    }
}

/// The deadline of a call to the outside is of the runtime's clock, not ours; it is moved while nothing else waits for it.
#[tokio::test]
async fn a_mint_whose_answer_does_not_come_in_time_is_given_up_and_its_object_is_ended() {
    let house = Harness::start().await;
    let mut held_back = house.sandbox.hold_next(SandboxCall::Mint);
    let wait = async {
        held_back.acted().await;
        tokio::time::pause();
        tokio::time::advance(std::time::Duration::from_secs(8)).await;
        tokio::time::resume();
    };
    let (task, ()) = tokio::join!(unminted(&house), wait);
    assert_eq!(house.sandbox.ever_minted().len(), 1, "the backend has made it");
    held_back.release();
    house.settle().await;
    let lease = house.leases().await.remove(0);
    assert_eq!((&lease["state"], &lease["cause"]), (&json!("ended"), &json!("aborted")));
    assert_eq!(house.sandbox.calls(SandboxCall::Activate), 0);
    let failed = house.events_of(&text(&task["id"])).await;
    let failed = failed.iter().find(|event| event["kind"] == "credential.failed").unwrap();
    assert_eq!(failed["data"]["why"], "the backend is unavailable: no answer in time");
}

#[tokio::test]
async fn a_credential_whose_task_ends_while_it_is_minted_is_not_delivered() {
    let house = Harness::start().await;
    let mut held_back = house.sandbox.hold_next(SandboxCall::Mint);
    let operator = house.operator();
    let token = house.agent("release-bot");
    let body = ask(READ);
    let end = async {
        held_back.acted().await;
        let task = text(&house.leases().await[0]["task"]);
        let revoke = json!({ "target": { "task": task }, "reason": "too late" });
        house.post("/v1/revocations", &operator, &revoke).await.expect(200);
        held_back.release();
    };
    let (reply, ()) = tokio::join!(house.post("/v1/tasks", &token, &body), end);
    assert_eq!(reply.expect(409)["code"], "task-closed");
    house.settle().await;
    assert!(house.sandbox.honoured(house.broker.now()).is_empty());
    assert_eq!(house.leases().await[0]["state"], "ended");
}

#[tokio::test]
async fn crash_01_k7b_a_revocation_between_fact_and_activation_lets_nothing_work() {
    for call in [SandboxCall::Activate, SandboxCall::Revoke] {
        let house = Harness::start().await;
        let mut held_back = house.sandbox.hold_next(SandboxCall::Activate);
        let operator = house.operator();
        let token = house.agent("release-bot");
        let body = ask(READ);
        if call == SandboxCall::Revoke {
            house.sandbox.fail_next(call, Fault::Unavailable);
        }
        let end = async {
            held_back.acted().await;
            let task = text(&house.leases().await[0]["task"]);
            let revoke = json!({ "target": { "task": task }, "reason": "too late" });
            house.post("/v1/revocations", &operator, &revoke).await.expect(200);
            held_back.release();
        };
        let (reply, ()) = tokio::join!(house.post("/v1/tasks", &token, &body), end);
        assert_eq!(reply.expect(409)["code"], "task-closed", "{call:?}");
        house.advance_secs(2);
        house.settle().await;
        assert!(house.sandbox.honoured(house.broker.now()).is_empty(), "{call:?}");
        assert_eq!(house.leases().await[0]["state"], "ended");
    }
}

#[tokio::test]
async fn a_backend_that_does_not_end_it_is_told_again_later_and_later_until_it_does() {
    for fault in [Fault::Refused, Fault::Unavailable] {
        let house = Harness::start().await;
        let held = house.granted(READ).await;
        house.sandbox.fail_always(SandboxCall::Revoke, fault);
        let token = house.agent("release-bot");
        let path = format!("/v1/tasks/{}/complete", held.task);
        let closure = house.post(&path, &token, &json!({})).await.expect(200);
        assert_eq!(closure["closure"], "unknown", "never closed while it works");
        assert!(house.works(&held.secret));
        for wait in [1, 2, 4, 8, 16] {
            let before = house.sandbox.calls(SandboxCall::Revoke);
            // Half as long at least, and half as long again at most, so that many do not come back at the same moment.
            let told_at = house.broker.now();
            house.clock.set(told_at.plus_millis(wait * 500 - 1));
            house.sweep().await;
            assert_eq!(house.sandbox.calls(SandboxCall::Revoke), before, "not before {wait} s");
            house.clock.set(told_at.plus_millis(wait * 1500));
            house.sweep().await;
            assert_eq!(house.sandbox.calls(SandboxCall::Revoke), before + 1, "after {wait} s");
            assert_eq!(house.lease(&held.lease).await["state"], "ending");
        }
        house.sandbox.mend();
        house.advance_secs(60);
        house.sweep().await;
        assert!(!house.works(&held.secret));
        let lease = house.lease(&held.lease).await;
        assert_eq!((&lease["state"], &lease["cause"]), (&json!("ended"), &json!("completed")));
        // Ending what has ended is no error: the same closure again, and better.
        assert_eq!(house.post(&path, &token, &json!({})).await.expect(200)["closure"], "closed");
    }
}

#[tokio::test]
async fn an_end_whose_answer_was_lost_is_unknown_until_it_is_seen() {
    let house = Harness::start().await;
    let held = house.granted(READ).await;
    house.sandbox.fail_next(SandboxCall::Revoke, Fault::Unheard);
    let closure = house.revoke(&json!({ "lease": held.lease })).await;
    assert_eq!(closure["closure"], "unknown");
    house.advance_secs(2);
    house.sweep().await;
    assert_eq!(house.lease(&held.lease).await["state"], "ended");
}

#[tokio::test]
async fn an_end_that_cannot_be_probed_is_not_called_an_end() {
    let house = Harness::start().await;
    let held = house.granted(READ).await;
    house.sandbox.fail_next(SandboxCall::Probe, Fault::Unavailable);
    assert_eq!(house.revoke(&json!({ "task": held.task })).await["closure"], "unknown");
    house.advance_secs(2);
    house.sweep().await;
    let lease = house.lease(&held.lease).await;
    assert_eq!(lease["state"], "ended");
    assert!(text(&lease["proof"]).contains("probe was refused"), "{lease}");
}

#[tokio::test]
async fn a_backend_that_says_gone_and_honours_on_is_not_believed() {
    let house = Harness::start().await;
    let held = house.granted(READ).await;
    house.sandbox.lie_about_ends();
    assert_eq!(house.revoke(&json!({ "task": held.task })).await["closure"], "unknown");
    house.advance_secs(5);
    house.sweep().await;
    assert!(house.works(&held.secret));
    assert_eq!(house.lease(&held.lease).await["state"], "ending");
    assert!(house.kinds_of(&held.task).await.iter().any(|kind| kind == "lease.delayed"));
    house.sandbox.mend();
    house.advance_secs(60);
    house.sweep().await;
    assert!(!house.works(&held.secret));
    assert_eq!(house.lease(&held.lease).await["state"], "ended");
}

#[tokio::test]
async fn a_failed_end_survives_a_restart() {
    let mut house = Harness::start().await;
    let held = house.granted(READ).await;
    house.sandbox.fail_always(SandboxCall::Revoke, Fault::Unavailable);
    house.revoke(&json!({ "task": held.task })).await;
    assert!(house.works(&held.secret));
    house.restart().await;
    house.sandbox.mend();
    house.advance_secs(2);
    house.sweep().await;
    assert!(!house.works(&held.secret));
    assert_eq!(house.lease(&held.lease).await["state"], "ended");
}
