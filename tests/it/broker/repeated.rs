//! Taking a request back, and asking twice: people are asked once for one thing, and no more once it is not wanted.

use serde_json::{Value, json};

use crate::support::harness::{Harness, Reply, ask};

const WRITE: &str = "sandbox:releases:write";
const BOT: &str = "release-bot";

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}")).to_owned()
}

/// A task of release-bot's with one request that waits.
async fn waiting(house: &Harness) -> (String, String) {
    let task = house.post("/v1/tasks", &house.agent(BOT), &ask(WRITE)).await.expect(202);
    (text(&task["id"]), text(&task["requests"][0]["id"]))
}

async fn ask_for(house: &Harness, task: &str, body: &Value) -> Reply {
    house.post(&format!("/v1/tasks/{task}/requests"), &house.agent(BOT), body).await
}

fn more(scope: &str) -> Value {
    json!({ "scopes": [scope] })
}

async fn withdraw(house: &Harness, task: &str, request: &str, agent: &str) -> Reply {
    house.post(&format!("/v1/tasks/{task}/requests/{request}/withdraw"), &house.agent(agent), &json!({})).await
}

/// How many wait, as approvers see it.
async fn cards(house: &Harness) -> usize {
    let page = house.get("/v1/requests?state=pending&limit=200", &house.operator()).await.expect(200);
    page["items"].as_array().unwrap().len()
}

async fn decide(house: &Harness, request: &str, verdict: &str) -> Reply {
    let shown = house.get(&format!("/v1/requests/{request}"), &house.approver()).await.expect(200);
    let body = json!({ "verdict": verdict, "request_digest": shown["request_digest"] });
    house.post(&format!("/v1/requests/{request}/verdict"), &house.approver(), &body).await
}

#[tokio::test]
async fn an_agent_takes_back_what_it_asked_for_and_its_task_goes_on() {
    let house = Harness::start().await;
    let (task, request) = waiting(&house).await;
    let answer = withdraw(&house, &task, &request, BOT).await.expect(200);
    assert_eq!((&answer["state"], &answer["requests"][0]["state"]), (&json!("open"), &json!("withdrawn")));
    assert_eq!(cards(&house).await, 0);
    let late = decide(&house, &request, "approve").await.expect(409);
    assert_eq!(late["code"], "already-decided");
    assert!(house.kinds_of(&task).await.contains(&"access.withdrawn".to_owned()));
    // It may ask for it again.
    let again = ask_for(&house, &task, &more(WRITE)).await.expect(202);
    assert_ne!(again["requests"][0]["id"], request.as_str());
}

#[tokio::test]
async fn what_is_decided_or_lapsed_or_anothers_cannot_be_taken_back() {
    let house = Harness::start().await;
    let (task, request) = waiting(&house).await;
    for (task, request, agent) in [
        (task.as_str(), request.as_str(), "triage-bot"),
        (&task, "req_00000000000000000000000000", BOT),
        (&task, "nonsense", BOT),
        ("tsk_00000000000000000000000000", &request, BOT),
    ] {
        assert_eq!(withdraw(&house, task, request, agent).await.expect(404)["code"], "not-found");
    }
    let (other, _) = waiting(&house).await;
    assert_eq!(withdraw(&house, &other, &request, BOT).await.status, 404);
    decide(&house, &request, "approve").await.expect(200);
    assert_eq!(withdraw(&house, &task, &request, BOT).await.expect(409)["code"], "already-decided");
    let (task, request) = waiting(&house).await;
    withdraw(&house, &task, &request, BOT).await.expect(200);
    assert_eq!(withdraw(&house, &task, &request, BOT).await.expect(409)["code"], "already-decided");
    let (task, request) = waiting(&house).await;
    house.clock.advance_secs(3600);
    assert_eq!(withdraw(&house, &task, &request, BOT).await.expect(409)["code"], "already-decided");
}

#[tokio::test]
async fn taking_back_is_done_once_under_a_key() {
    let house = Harness::start().await;
    let (task, request) = waiting(&house).await;
    let path = format!("/v1/tasks/{task}/requests/{request}/withdraw");
    for _ in 0..2 {
        let reply = house.call("POST", &path, &house.agent(BOT), None, &[("idempotency-key", "w-1")]).await;
        assert_eq!(reply.expect(200)["requests"][0]["state"], "withdrawn");
    }
    let withdrawn = house.kinds_of(&task).await.into_iter().filter(|kind| kind == "access.withdrawn").count();
    assert_eq!(withdrawn, 1);
}

#[tokio::test]
async fn a_yes_and_taking_back_at_the_same_moment_have_one_outcome() {
    for _ in 0..8 {
        let house = Harness::start().await;
        let (task, request) = waiting(&house).await;
        let (yes, back) = tokio::join!(decide(&house, &request, "approve"), withdraw(&house, &task, &request, BOT));
        let page = house.get(&format!("/v1/requests/{request}"), &house.operator()).await.expect(200);
        match text(&page["state"]).as_str() {
            "granted" => assert_eq!((yes.status.as_u16(), back.status.as_u16()), (200, 409)),
            "withdrawn" => assert_eq!(back.status.as_u16(), 200),
            other => panic!("{other}"),
        }
        let kinds = house.kinds_of(&task).await;
        let outcomes = kinds.iter().filter(|kind| ["access.granted", "access.withdrawn"].contains(&kind.as_str()));
        assert_eq!(outcomes.count(), 1, "{kinds:?}");
    }
}

#[tokio::test]
async fn apr_20_fifty_like_asks_of_a_task_are_one_card() {
    let house = Harness::start().await;
    let (task, request) = waiting(&house).await;
    for _ in 0..50 {
        let answer = ask_for(&house, &task, &more(WRITE)).await.expect(202);
        assert_eq!(answer["requests"][0]["id"], request.as_str());
        assert_eq!(answer["agent_action"], "wait");
    }
    assert_eq!(cards(&house).await, 1);
    let kinds = house.kinds_of(&task).await;
    let count = |kind: &str| kinds.iter().filter(|found| *found == kind).count();
    assert_eq!((count("access.repeated"), count("access.requested"), count("approval.awaited")), (50, 1, 1));
    // One yes settles it for all who asked.
    decide(&house, &request, "approve").await.expect(200);
    let collect = format!("/v1/tasks/{task}/credentials");
    let collected = house.post(&collect, &house.agent(BOT), &json!({})).await.expect(200);
    assert_eq!(collected["credentials"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn apr_20_beyond_the_limit_different_asks_are_told_to_wait() {
    let house = Harness::start().await;
    let (task, _) = waiting(&house).await;
    let mut told = Vec::new();
    for n in 0..500 {
        let reply = ask_for(&house, &task, &more(&format!("api:releases:write(prefix=v{n}/)"))).await;
        told.push(reply.status.as_u16());
        if reply.status == 429 {
            assert_eq!(reply.json()["code"], "too-many-pending");
        }
    }
    assert_eq!(told[..4], [202; 4]);
    assert!(told[4..].iter().all(|status| *status == 429));
    assert_eq!(cards(&house).await, 5);
    // Asking again for one of those that wait is not one more.
    let again = ask_for(&house, &task, &more("api:releases:write(prefix=v0/)")).await;
    assert_eq!(again.status, 202);
}

#[tokio::test]
async fn what_differs_in_anything_that_people_are_shown_is_another_ask() {
    let house = Harness::start().await;
    let (task, request) = waiting(&house).await;
    let shorter = json!({ "scopes": [WRITE], "ttl_seconds": 60 });
    let bound = json!({ "scopes": [WRITE], "confirmation_key": { "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" } });
    let mut others = Vec::new();
    for body in [&shorter, &more("api:releases:write(prefix=v1/)"), &bound] {
        let answer = ask_for(&house, &task, body).await;
        if answer.status == 202 {
            others.push(text(&answer.json()["requests"][0]["id"]));
        }
    }
    assert!(others.len() >= 2 && !others.contains(&request), "{others:?}");
    // Another task is another reason, so it is another card.
    let (_, elsewhere) = waiting(&house).await;
    assert_ne!(elsewhere, request);
    assert_eq!(cards(&house).await, others.len() + 2);
}

#[tokio::test]
async fn a_like_ask_beside_something_new_is_joined_and_the_new_is_answered() {
    let house = Harness::start().await;
    let (task, request) = waiting(&house).await;
    let both = json!({ "scopes": [WRITE, "sandbox:releases:read"] });
    let answer = ask_for(&house, &task, &both).await.expect(202);
    let states: Vec<(String, String)> = answer["requests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|request| (text(&request["id"]), text(&request["state"])))
        .collect();
    assert!(states.contains(&(request.clone(), "pending".to_owned())), "{states:?}");
    assert_eq!(answer["credentials"][0]["scopes"], json!(["sandbox:releases:read"]));
    assert_eq!(cards(&house).await, 1);
    // How many have agreed is told with it.
    let again = ask_for(&house, &task, &more(WRITE)).await.expect(202);
    assert_eq!(again["requests"][0]["approval"]["given"], 0);
}

#[tokio::test]
async fn like_asks_at_the_same_moment_are_one_card() {
    let house = Harness::start().await;
    let open = json!({ "purpose": "publish", "scopes": ["sandbox:releases:read"], "ttl_seconds": 600 });
    let task = text(&house.post("/v1/tasks", &house.agent(BOT), &open).await.expect(201)["id"]);
    let body = more(WRITE);
    let asks = (0..12).map(|_| ask_for(&house, &task, &body));
    let answers = futures_util::future::join_all(asks).await;
    let ids: std::collections::BTreeSet<String> =
        answers.into_iter().map(|reply| text(&reply.expect(202)["requests"][0]["id"])).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(cards(&house).await, 1);
}

#[tokio::test]
async fn a_repeated_ask_under_a_key_answers_with_the_same_request() {
    let house = Harness::start().await;
    let (task, request) = waiting(&house).await;
    let path = format!("/v1/tasks/{task}/requests");
    for _ in 0..2 {
        let reply = house.call("POST", &path, &house.agent(BOT), Some(&more(WRITE)), &[("idempotency-key", "r")]).await;
        assert_eq!(reply.expect(202)["requests"][0]["id"], request.as_str());
    }
    let repeated = house.kinds_of(&task).await.into_iter().filter(|kind| kind == "access.repeated").count();
    assert_eq!(repeated, 1);
}
