//! From what a backend holds to the leases that answer for it: what nobody answers for ends, and nothing else.

use std::time::Duration;

use hallpass::minter::{Fault, SandboxCall};

use super::{READ, ending_at_scale::name};
use crate::support::harness::{Harness, ask};

#[tokio::test]
async fn what_no_lease_answers_for_is_ended_and_somebody_is_told() {
    let house = Harness::start().await;
    let held = house.granted(READ).await;
    let orphan = house.ids().lease();
    house.make_object("sandbox", orphan).await;
    house.sandbox.fail_next(SandboxCall::Revoke, Fault::Unavailable);
    assert_eq!(house.broker.sweep_orphans().await.unwrap().done, 0);
    assert_eq!(house.sandbox.honoured(house.broker.now()).len(), 2, "it could not be ended yet");
    assert_eq!(house.broker.sweep_orphans().await.unwrap().done, 1);
    assert!(house.works(&held.secret), "what a lease answers for is left alone");
    assert_eq!(house.sandbox.honoured(house.broker.now()).len(), 1);
    let told = house.events("orphan.revoked").await;
    assert_eq!((told.len(), &told[0]["lease"]), (1, &serde_json::json!(orphan.to_string())));
    assert_eq!(told[0]["data"]["backend"], "sandbox");
    assert_eq!(house.broker.sweep_orphans().await.unwrap().done, 0);
}

#[tokio::test]
async fn what_is_being_minted_is_never_taken_for_an_orphan() {
    let house = Harness::start().await;
    let mut held_back = house.sandbox.hold_next(SandboxCall::Mint);
    let (token, body) = (house.agent("release-bot"), ask(READ));
    let look = async {
        held_back.acted().await;
        assert_eq!(house.broker.sweep_orphans().await.unwrap().done, 0);
        held_back.release();
    };
    let (reply, ()) = tokio::join!(house.post("/v1/tasks", &token, &body), look);
    let held = super::Held::of(&reply.expect(201));
    assert!(house.works(&held.secret));
}

#[tokio::test]
async fn what_comes_alive_after_its_lease_has_ended_is_found_and_ended() {
    let house = Harness::start().await;
    let held = house.granted(READ).await;
    house.revoke(&serde_json::json!({ "lease": held.lease })).await;
    house.make_object("sandbox", held.lease.parse().unwrap()).await;
    // Ended so lately that it may have been listed before: the next look is sure.
    assert_eq!(house.broker.sweep_orphans().await.unwrap().done, 0);
    house.advance_secs(31);
    assert_eq!(house.broker.sweep_orphans().await.unwrap().done, 1);
    assert!(house.sandbox.honoured(house.broker.now()).is_empty());
}

#[tokio::test]
async fn a_lease_of_another_backend_answers_for_nothing_and_debris_is_tidied_up() {
    let house = Harness::start().await;
    let lease = house.fill("other", 1, 600).await.remove(0);
    house.make_object("untidy", lease.id).await;
    assert_eq!(house.broker.sweep_orphans().await.unwrap().done, 1);
    assert!(house.sandbox.honoured(house.broker.now()).is_empty());
    assert!(house.sandbox.debris().is_empty());
    house.sandbox.hang(&name("sandbox"));
    assert!(house.broker.readiness().await.ready);
}

#[tokio::test]
async fn an_orphan_whose_backend_hangs_over_tidying_up_is_given_up_and_holds_up_nobody() {
    let house = Harness::start().await;
    house.make_object("untidy", house.ids().lease()).await;
    let mut held_back = house.sandbox.hold_next(SandboxCall::Cleanup);
    let meanwhile = async {
        held_back.acted().await;
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(11)).await;
        tokio::time::resume();
    };
    let look = tokio::time::timeout(Duration::from_mins(1), house.broker.sweep_orphans());
    let (looked, ()) = tokio::join!(look, meanwhile);
    assert_eq!(looked.expect("the look ends").unwrap().done, 0);
    held_back.release();
}
