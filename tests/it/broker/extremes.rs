//! Times far away and backends that do not answer: what is far off is told right, and what is slow costs only its own callers.

use std::time::Duration;

use hallpass::domain::Timestamp;
use serde_json::json;

use super::{API_READ, Held, READ, text};
use crate::support::harness::{Harness, ask};

/// 2100-01-01T00:00:00Z, beyond what 32 bits count.
const YEAR_2100: i64 = 4_102_444_800;

#[tokio::test]
async fn clk_05_times_beyond_2038_are_told_right_and_a_leap_second_is_no_reason_to_fail() {
    let house = Harness::start().await;
    let far = house.token(crate::support::harness::AGENTS, "release-bot", &json!({ "exp": YEAR_2100 }));
    house.post("/v1/tasks", &far, &ask(READ)).await.expect(401);
    house.clock.set(Timestamp::from_secs(YEAR_2100));
    let task = house.post("/v1/tasks", &house.agent("release-bot"), &ask(READ)).await.expect(201);
    assert!(text(&task["credentials"][0]["usable_until"]).starts_with("2100-01-01T00:"), "{task}");
    let held = Held::of(&task);
    assert!(house.works(&held.secret));
    house.advance_secs(3601);
    house.sweep().await;
    assert!(!house.works(&held.secret));
    assert_eq!(house.lease(&held.lease).await["state"], "ended");
    for (from, expected) in
        [("2099-12-31T23:59:60Z", 200), ("2100-13-01T00:00:00Z", 400), ("99999-01-01T00:00:00Z", 400)]
    {
        let reply = house.get(&format!("/v1/events?from={from}"), &house.operator()).await;
        assert_eq!(reply.status.as_u16(), expected, "{from}: {}", reply.json());
    }
}

#[tokio::test]
async fn load_04_a_backend_that_takes_its_time_costs_only_those_who_ask_for_it() {
    let house = Harness::start().await;
    house.sandbox.hang(&"sandbox".parse().unwrap());
    let slow: Vec<_> = (0..40)
        .map(|_| {
            let (router, token) = (house.router(), house.agent("release-bot"));
            tokio::spawn(async move {
                let request = http::Request::post("/v1/tasks")
                    .header("authorization", format!("Bearer {token}"))
                    .header("content-type", "application/json")
                    .body(axum::body::Body::from(ask(READ).to_string()));
                tower::ServiceExt::oneshot(router, request.unwrap()).await.unwrap().status().as_u16()
            })
        })
        .collect();
    let others = async {
        for _ in 0..8 {
            house.post("/v1/tasks", &house.agent("triage-bot"), &ask(API_READ)).await.expect(201);
        }
    };
    tokio::time::timeout(Duration::from_secs(5), others).await.expect("they need not wait for the slow one");
    assert!(slow.iter().all(|task| !task.is_finished()), "the slow one has not answered");
    for task in slow {
        task.abort();
    }
}
