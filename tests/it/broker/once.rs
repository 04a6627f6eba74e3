//! Idempotency: a key and a question are answered with one thing, however often and at whatever moment they come.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::delivery::{Lock, let_others_work};
use super::{Held, READ, WRITE, text};
use crate::support::database;
use crate::support::harness::{Harness, Options, Reply, ask};

const KEY: &str = "8e03978e-40d5-43e8-bc93-6894a57f9324";

async fn keyed(house: &Harness, path: &str, body: Option<&Value>, key: &str) -> Reply {
    house.call("POST", path, &house.agent("release-bot"), body, &[("idempotency-key", key)]).await
}

#[tokio::test]
async fn task_07_the_same_key_and_question_again_make_nothing_new_and_carry_no_secret() {
    let house = Harness::start().await;
    let held = Held::of(&keyed(&house, "/v1/tasks", Some(&ask(READ)), KEY).await.expect(201));
    for key in [KEY.to_owned(), format!("\"{KEY}\"")] {
        let reply = keyed(&house, "/v1/tasks", Some(&ask(READ)), &key).await;
        assert!(reply.status.is_success());
        let again = reply.json();
        assert_eq!(again["id"], json!(held.task));
        assert_eq!(again["already_delivered"], json!([held.lease]));
        assert_eq!(again["credentials"], json!([]));
        assert!(!again.to_string().contains(&held.secret));
    }
    assert_eq!(house.leases().await.len(), 1);
    assert_eq!(house.sandbox.ever_minted().len(), 1);
    // Another agent's key of the same text is another key.
    let triage = house.agent("triage-bot");
    let other = house.call("POST", "/v1/tasks", &triage, Some(&ask(READ)), &[("idempotency-key", KEY)]).await;
    assert_ne!(other.expect(201)["id"], json!(held.task));
}

#[tokio::test]
async fn task_07_the_order_of_members_is_not_the_question() {
    let house = Harness::start().await;
    let first = keyed(&house, "/v1/tasks", Some(&ask(READ)), KEY).await.expect(201);
    let body = format!("{{\"scopes\":[{{\"scope\":\"{READ}\"}}],  \"purpose\":\"publish v1.4.2\"}}");
    let request = http::Request::post("/v1/tasks")
        .header("authorization", format!("Bearer {}", house.agent("release-bot")))
        .header("content-type", "application/json")
        .header("idempotency-key", KEY)
        .body(body.into())
        .unwrap();
    assert_eq!(house.send(request).await.json()["id"], first["id"]);
}

#[tokio::test]
async fn task_07_a_denial_is_denied_again() {
    let house = Harness::with(Options::default().with_file("agents.cedar", "")).await;
    let first = keyed(&house, "/v1/tasks", Some(&ask(READ)), KEY).await.expect(403);
    let again = keyed(&house, "/v1/tasks", Some(&ask(READ)), KEY).await.expect(403);
    for member in ["code", "reason", "task", "decision", "because", "detail"] {
        assert_eq!(first[member], again[member], "{member}");
    }
    assert_eq!(house.events("task.opened").await.len(), 1);
}

#[tokio::test]
async fn task_07_a_key_is_remembered_at_the_limit_and_across_a_restart() {
    let limited = Options::default().with_change(
        "agents.toml",
        "kinds = [\"deploy\"]",
        "kinds = [\"deploy\"]\nlimits = { live_leases = 1 }",
    );
    let mut house = Harness::with(limited).await;
    let held = Held::of(&keyed(&house, "/v1/tasks", Some(&ask(READ)), KEY).await.expect(201));
    for restart in [false, true] {
        if restart {
            house.restart().await;
        }
        let reply = keyed(&house, "/v1/tasks", Some(&ask(READ)), KEY).await;
        assert!(reply.status.is_success(), "{}", String::from_utf8_lossy(&reply.body));
        assert_eq!(reply.json()["id"], json!(held.task));
    }
}

#[tokio::test]
async fn task_07_more_access_and_collecting_are_done_once_too() {
    let house = Harness::start().await;
    let waiting = house.waiting().await;
    house.verdict(&waiting.request, &house.approver(), "approve").await.expect(200);
    let path = format!("/v1/tasks/{}/credentials", waiting.task);
    let held = Held::of(&keyed(&house, &path, None, KEY).await.expect(200));
    let again = keyed(&house, &path, None, KEY).await.expect(200);
    assert_eq!((&again["credentials"], &again["already_delivered"]), (&json!([]), &json!([held.lease])));
    let more = json!({ "scopes": [READ] });
    let path = format!("/v1/tasks/{}/requests", waiting.task);
    keyed(&house, &path, Some(&more), "another-key").await.expect(201);
    let again = keyed(&house, &path, Some(&more), "another-key").await.json();
    assert_eq!(again["credentials"], json!([]));
    assert_eq!(house.leases().await.len(), 2);
}

/// The catalogue allows 409 or a documented 422; ours is 422, as the draft's §2.7 says.
#[tokio::test]
async fn task_08_the_same_key_for_another_question_is_refused() {
    let house = Harness::start().await;
    keyed(&house, "/v1/tasks", Some(&ask(READ)), KEY).await.expect(201);
    let mut other = ask(READ);
    other["purpose"] = json!("something else");
    for body in [&other, &ask(WRITE)] {
        let problem = keyed(&house, "/v1/tasks", Some(body), KEY).await.expect(422);
        assert_eq!(problem["code"], "idempotency-conflict");
    }
    assert_eq!(house.leases().await.len(), 1);
}

#[tokio::test]
async fn task_10_fifty_equal_questions_at_once_have_one_answer() {
    let house = Harness::start().await;
    let body = ask(READ);
    let replies = futures_util::future::join_all((0..50).map(|_| keyed(&house, "/v1/tasks", Some(&body), KEY))).await;
    let mut ids = BTreeSet::new();
    let mut secrets = 0;
    for reply in replies {
        assert!(reply.status.is_success(), "{}", String::from_utf8_lossy(&reply.body));
        let answer = reply.json();
        ids.insert(text(&answer["id"]));
        secrets += answer["credentials"].as_array().unwrap().len();
    }
    assert_eq!((ids.len(), secrets), (1, 1));
    assert_eq!(house.leases().await.len(), 1);
    assert_eq!(house.sandbox.ever_minted().len(), 1);
    assert_eq!(house.events("credential.minted").await.len(), 1);
}

#[tokio::test]
async fn task_07_more_access_that_was_denied_is_denied_again_and_what_a_person_denied_is_not() {
    let house = Harness::with(Options::default().with_file(
        "no-api.cedar",
        "@id(\"no-api\") @reason(\"Not today.\") forbid (principal, action, resource == Hallpass::Scope::\"api:releases:read\");",
    ));
    let house = house.await;
    let held = house.granted(READ).await;
    let path = format!("/v1/tasks/{}/requests", held.task);
    let more = json!({ "scopes": ["api:releases:read"] });
    let first = keyed(&house, &path, Some(&more), KEY).await.expect(403);
    let again = keyed(&house, &path, Some(&more), KEY).await.expect(403);
    for member in ["code", "reason", "task", "decision", "because", "detail"] {
        assert_eq!(first[member], again[member], "{member}");
    }
    // The task and what it holds go on, and another key's answer is not touched by that denial.
    let waits = json!({ "scopes": [WRITE] });
    let asked = keyed(&house, &path, Some(&waits), "waits").await.expect(202);
    let requests = asked["requests"].as_array().unwrap();
    let request = text(&requests.iter().find(|request| request["state"] == "pending").unwrap()["id"]);
    house.verdict(&request, &house.approver(), "deny").await.expect(200);
    let again = keyed(&house, &path, Some(&waits), "waits").await;
    assert!(again.status.is_success(), "a person denied it later: {}", String::from_utf8_lossy(&again.body));
    assert!(house.works(&held.secret));
}

#[tokio::test]
async fn task_07_08_what_people_do_is_done_once_under_a_key() {
    let house = Harness::start().await;
    let operator = house.operator();
    let call = async |token: &str, path: &str, body: &Value, key: &str| {
        house.call("POST", path, token, Some(body), &[("idempotency-key", key)]).await
    };
    // A verdict again is the same verdict, and not one too many.
    let waiting = house.waiting().await;
    let approver = house.approver();
    let shown = house.get(&format!("/v1/requests/{}", waiting.request), &approver).await.expect(200);
    let verdict = json!({ "verdict": "approve", "request_digest": shown["request_digest"] });
    let path = format!("/v1/requests/{}/verdict", waiting.request);
    let first = call(&approver, &path, &verdict, "v").await.expect(200);
    assert_eq!(call(&approver, &path, &verdict, "v").await.expect(200), first);
    let other = json!({ "verdict": "deny", "request_digest": shown["request_digest"] });
    assert_eq!(call(&approver, &path, &other, "v").await.expect(422)["code"], "idempotency-conflict");
    assert_eq!(house.events("approval.recorded").await.len(), 1);

    // An old engagement of the kill switch does not throw it again.
    let switch = |word: &str| json!({ "target": { "kill_switch": word }, "reason": "a test" });
    for (word, key, state) in [("engage", "on", "engaged"), ("release", "off", "released")] {
        let closure = call(&operator, "/v1/revocations", &switch(word), key).await.expect(200);
        assert_eq!(closure["state"], state);
    }
    let closure = call(&operator, "/v1/revocations", &switch("engage"), "on").await.expect(200);
    assert_eq!(closure["state"], "released", "as it is now");
    assert_eq!(house.events("kill_switch.").await.len(), 2);
    let problem = call(&operator, "/v1/revocations", &switch("release"), "on").await.expect(422);
    assert_eq!(problem["code"], "idempotency-conflict");

    // Nor does an old suspension suspend again.
    let reason = json!({ "reason": "it behaves oddly" });
    call(&operator, "/v1/agents/triage-bot/suspend", &reason, "s").await.expect(200);
    call(&operator, "/v1/agents/triage-bot/resume", &reason, "r").await.expect(200);
    let view = call(&operator, "/v1/agents/triage-bot/suspend", &reason, "s").await.expect(200);
    assert!(view["suspended"].is_null());
    assert_eq!(house.events("agent.").await.len(), 2);
}

#[tokio::test]
async fn task_08_of_two_heartbeats_under_one_key_at_once_one_is_refused() {
    if database::is_postgres() {
        return;
    }
    let house = Harness::start().await;
    let mut body = ask(READ);
    body["heartbeat_seconds"] = json!(60);
    let mut beats = Vec::new();
    for _ in 0..2 {
        let held = Held::of(&house.post("/v1/tasks", &house.agent("release-bot"), &body).await.expect(201));
        beats.push(format!("/v1/tasks/{}/heartbeat", held.task));
    }
    // Neither is on record when the other looks whether its key was used.
    let lock = Lock::take(&house).await;
    let meanwhile = async {
        let_others_work().await;
        lock.let_go().await;
    };
    let (first, second, ()) =
        tokio::join!(keyed(&house, &beats[0], None, "beat"), keyed(&house, &beats[1], None, "beat"), meanwhile);
    let mut statuses = [first.status.as_u16(), second.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!((statuses, house.events("task.heard").await.len()), ([200, 422], 1));
}

#[tokio::test]
async fn task_07_08_what_agents_do_with_a_task_is_done_once_under_a_key() {
    let house = Harness::start().await;
    let mut body = ask(READ);
    body["heartbeat_seconds"] = json!(60);
    let held = Held::of(&house.post("/v1/tasks", &house.agent("release-bot"), &body).await.expect(201));
    let path = |word: &str| format!("/v1/tasks/{}/{word}", held.task);
    for _ in 0..2 {
        keyed(&house, &path("heartbeat"), None, "beat").await.expect(200);
    }
    assert_eq!(house.events("task.heard").await.len(), 1);
    let revoke = json!({ "target": { "lease": held.lease }, "reason": "a test" });
    // Each answer is signed anew, and no two signatures are alike.
    let known = |mut closure: Value| closure.as_object_mut().unwrap().remove("statement").map(|_| closure).unwrap();
    let first = keyed(&house, "/v1/revocations", Some(&revoke), "revoke").await.expect(200);
    let again = keyed(&house, "/v1/revocations", Some(&revoke), "revoke").await.expect(200);
    assert_eq!(known(again), known(first));
    assert_eq!(house.events("authority.revoked").await.len(), 1);
    let first = keyed(&house, &path("complete"), None, "end").await.expect(200);
    let again = keyed(&house, &path("complete"), None, "end").await.expect(200);
    assert_eq!(known(again), known(first));
    assert_eq!(keyed(&house, &path("cancel"), None, "end").await.expect(422)["code"], "idempotency-conflict");
    assert_eq!(keyed(&house, &path("heartbeat"), None, "end").await.expect(422)["code"], "idempotency-conflict");
    // What was answered before the end is answered after it too.
    keyed(&house, &path("heartbeat"), None, "beat").await.expect(200);
}
