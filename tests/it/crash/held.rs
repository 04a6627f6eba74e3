//! The broker is killed while its backend holds back an answer: the backend has acted, and nobody was told.

use hallpass::minter::SandboxCall;

use super::drive::{House, Minter};
use super::points::Fate;

/// Kill the broker when the backend has acted on a call of this kind, and look.
async fn killed_while(call: SandboxCall, fate: Fate) {
    let mut house = House::new(Minter::Outside).await;
    let mut broker = house.start(&[]);
    house.stage.ready().await;
    let mut answer = house.outside.sandbox.hold_next(call);
    let path = if call == SandboxCall::Revoke {
        let Ok(task) = house.open("first").await else { panic!("{}", house.stage.log()) };
        Some(format!("/v1/tasks/{task}/complete"))
    } else {
        None
    };
    {
        let agent = house.stage.agent("bench-0");
        let ask = serde_json::json!({ "purpose": "read it", "scopes": [house.read_scope()], "ttl_seconds": 600 });
        let body = if path.is_some() { serde_json::json!({}) } else { ask };
        let key = if path.is_some() { "end" } else { "first" };
        let asked = house.call("POST", path.as_deref().unwrap_or("/v1/tasks"), &agent, Some(&body), key);
        tokio::select! {
            _ = asked => panic!("it was answered: {}", house.stage.log()),
            () = answer.acted() => {}
        }
    }
    broker.kill().unwrap();
    broker.wait().unwrap();
    answer.release();
    assert_eq!(house.outside.sandbox.ever_minted().len(), 1);
    let mut broker = house.start_later();
    house.stage.ready().await;
    let looked = house.look(fate).await;
    broker.kill().unwrap();
    broker.wait().unwrap();
    assert_eq!(looked, Ok(()), "{}", house.stage.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_01_k4_a_mint_whose_answer_nobody_heard_is_undone() {
    killed_while(SandboxCall::Mint, Fate::Ends("aborted")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_01_k7_an_activation_whose_answer_nobody_heard_is_undone() {
    killed_while(SandboxCall::Activate, Fate::Ends("undelivered")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_01_k11_an_end_whose_answer_nobody_heard_is_told_again() {
    killed_while(SandboxCall::Revoke, Fate::Completed).await;
}
