//! Many click at once, or the clock or policy comes between: there is one outcome, and everybody is told the same.

use serde_json::json;

use super::*;

/// How many of these events there are about a task.
fn count(kinds: &[String], kind: &str) -> usize {
    kinds.iter().filter(|one| *one == kind).count()
}

#[tokio::test]
async fn apr_10_a_hundred_who_approve_and_deny_at_once_have_one_outcome() {
    let house = Harness::start().await;
    let one = house.replica_with(|_| {}).await;
    let two = house.replica_with(|_| {}).await;
    let mut outcomes = Vec::new();
    for round in 0..3 {
        let waiting = house.waiting_for(&[API_WRITE], 60, 600).await;
        let digest = text(&house.shown(&waiting.request).await["request_digest"]);
        let replicas = [&house, &one, &two];
        let clicks = (0..100_usize).map(|number| {
            let at = replicas[number % 3];
            let verdict = if (number + round) % 2 == 0 { "approve" } else { "deny" };
            let person = at.person(&format!("p{number}"), &["release-approvers"]);
            let (request, digest) = (waiting.request.clone(), digest.clone());
            async move { (verdict, at.verdict_on(&request, &person, verdict, &digest).await) }
        });
        let replies = futures_util::future::join_all(clicks).await;
        let state = house.request_state(&waiting.request).await;
        for (verdict, reply) in replies {
            let said = reply.json();
            match reply.status.as_u16() {
                200 => assert_eq!(said["state"], state, "{verdict}: whoever is told yes is told what holds"),
                409 => {
                    assert_eq!(said["code"], "already-decided", "{said}");
                    assert!(text(&said["detail"]).contains(&state), "{said}: the final state is `{state}`");
                }
                other => panic!("{other}: {said}"),
            }
            assert!(reply.status.as_u16() == 409 || (verdict == "approve") == (state == "granted"), "{verdict} {said}");
        }
        let kinds = house.kinds_of(&waiting.task).await;
        assert_eq!(count(&kinds, "access.granted") + count(&kinds, "access.denied"), 1, "{kinds:?}");
        let minted = house.collect(&waiting.task).await.json()["credentials"].as_array().map_or(0, Vec::len);
        assert_eq!(minted, usize::from(state == "granted"));
        outcomes.push(state);
    }
    assert!(outcomes.iter().all(|state| ["granted", "denied"].contains(&state.as_str())), "{outcomes:?}");
}

#[tokio::test]
async fn a_click_against_the_clock_has_one_outcome() {
    let house = with_more("@approval_window_seconds(\"60\")").await;
    for _ in 0..20 {
        let waiting = house.waiting_for(&[API_WRITE], 60, 600).await;
        let digest = text(&house.shown(&waiting.request).await["request_digest"]);
        let person = house.approver();
        let clock = async {
            tokio::task::yield_now().await;
            house.clock.advance_secs(61);
            house.broker.sweep_requests().await.unwrap();
        };
        let (reply, ()) = tokio::join!(house.verdict_on(&waiting.request, &person, "approve", &digest), clock);
        house.sweep().await;
        let state = house.request_state(&waiting.request).await;
        match reply.status.as_u16() {
            200 => assert_eq!(state, "granted"),
            410 => assert_eq!(state, "lapsed"),
            other => panic!("{other}: {}", reply.json()),
        }
        let kinds = house.kinds_of(&waiting.task).await;
        assert_eq!(count(&kinds, "access.granted") + count(&kinds, "access.lapsed"), 1, "{kinds:?}");
        assert_eq!(house.collect(&waiting.task).await.json()["credentials"].as_array().map_or(0, Vec::len), 0);
        house.run_out(600).await;
    }
}

#[tokio::test]
async fn a_click_against_a_change_of_policy_has_one_outcome() {
    let mut house = Harness::start().await;
    for round in 0..10 {
        let waiting = house.waiting_for(&[API_WRITE], 60, 600).await;
        let digest = text(&house.shown(&waiting.request).await["request_digest"]);
        let (person, router, clock) = (house.approver(), house.router(), house.broker.now());
        let body = json!({ "verdict": "approve", "request_digest": digest }).to_string();
        let request = http::Request::post(format!("/v1/requests/{}/verdict", waiting.request))
            .header("authorization", format!("Bearer {person}"))
            .header("content-type", "application/json")
            .body(axum::body::Body::from(body))
            .unwrap();
        let click = tower::ServiceExt::oneshot(router, request);
        let change = house.change_bundle(|files| {
            let policies = files.get_mut("agents.cedar").unwrap();
            *policies = format!("{policies}// change {round} at {clock}\n");
        });
        let (reply, ()) = tokio::join!(click, change);
        let state = house.request_state(&waiting.request).await;
        let collected = house.collect(&waiting.task).await;
        let minted = collected.json()["credentials"].as_array().map_or(0, Vec::len);
        assert_eq!(minted, 0, "a yes under another bundle mints nothing");
        match (reply.unwrap().status().as_u16(), state.as_str()) {
            (409, "pending") => assert_eq!(house.collect(&waiting.task).await.status.as_u16(), 202),
            (200, "granted") => assert_eq!(house.reasons("credential.refused").await.last().unwrap(), "policy_changed"),
            (200, "pending") => assert_eq!(house.shown(&waiting.request).await["given"], 0),
            other => panic!("{other:?}"),
        }
        house.run_out(600).await;
    }
}
