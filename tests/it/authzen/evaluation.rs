//! Evaluation: what is permitted, what people could permit, what is denied, and that nothing happens by asking.

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use super::{BOT, EVALUATION, EVALUATIONS, FROZEN, denied, evaluate, publish, question, read, text, write};
use crate::support::harness::{Harness, Options};

/// The reason of a denial that nobody can lift.
fn reason(answer: &Value) -> String {
    assert_eq!(answer["decision"], false, "{answer}");
    assert!(answer["context"].get("access_request").is_none(), "{answer}");
    text(&answer["context"]["reason"])
}

#[tokio::test]
async fn what_policy_permits_without_people_is_true_and_nothing_is_minted_by_asking() {
    let house = Harness::start().await;
    assert_eq!(evaluate(&house, &read()).await, json!({ "decision": true }));
    let leases = house.get("/v1/leases", &house.operator()).await.expect(200);
    assert_eq!(leases["items"], json!([]));
    let events = house.get("/v1/events?kind=task.opened", &house.operator()).await.expect(200);
    assert_eq!(events["items"], json!([]));
}

#[tokio::test]
async fn a_scope_is_named_by_resource_and_action_or_as_it_is_written() {
    let house = Harness::start().await;
    denied(&house, &publish("v1/")).await;
    let written = question("api:releases:write(prefix=v1/)", "write");
    denied(&house, &written).await;
    for (resource, action) in [
        ("api:releases:write(prefix=v1/)", "read"),
        ("api:releases", "write"),
        ("api:releases(prefix=v1/)", "write"),
        ("sandbox", "read"),
        ("sandbox:releases:read:read", "read"),
        ("*:releases", "read"),
    ] {
        let answer = evaluate(&house, &question(resource, action)).await;
        assert_eq!(reason(&answer), "not_available", "{resource} {action}");
    }
    let mut twice = question("api:releases:write(prefix=v1/)", "write");
    twice["resource"]["properties"] = json!({ "params": { "prefix": "v2/" } });
    assert_eq!(reason(&evaluate(&house, &twice).await), "not_available");
    let mut other = read();
    other["resource"]["type"] = json!("document");
    assert_eq!(reason(&evaluate(&house, &other).await), "not_available");
}

#[tokio::test]
async fn the_unknown_and_what_is_above_the_ceiling_look_alike() {
    let options = Options::default().with_change(
        "agents.toml",
        r#"ceiling = ["sandbox:releases:read", "sandbox:releases:write", "api:releases:read", "api:releases:write"]"#,
        r#"ceiling = ["sandbox:releases:read"]"#,
    );
    let house = Harness::with(options).await;
    let without_names = |mut answer: Value| {
        for member in ["evaluation_id", "evaluated_at"] {
            answer["context"].as_object_mut().unwrap().remove(member);
        }
        answer
    };
    let above = without_names(evaluate(&house, &question("api:releases", "read")).await);
    let unknown = without_names(evaluate(&house, &question("api:secrets", "read")).await);
    assert_eq!(above, unknown);
}

#[tokio::test]
async fn nobody_evaluates_for_somebody_else() {
    let house = Harness::start().await;
    for subject in [json!({ "type": "agent", "id": "triage-bot" }), json!({ "type": "user", "id": BOT })] {
        let mut asked = read();
        asked["subject"] = subject;
        assert_eq!(reason(&evaluate(&house, &asked).await), "subject_mismatch");
    }
    let refused = house.post(EVALUATION, &house.operator(), &read()).await;
    assert_eq!(refused.status, 403);
}

#[tokio::test]
async fn what_policy_forbids_nobody_is_asked_about() {
    let house = Harness::start().await;
    let mut asked = read();
    asked["context"] = json!({ "kind": "deploy", "ttl_seconds": 600 });
    assert_eq!(evaluate(&house, &asked).await["decision"], true);
    let mut long = write();
    long["context"] = json!({ "ttl_seconds": 901 });
    assert_eq!(reason(&evaluate(&house, &long).await), "ttl_too_long");
    let options = Options::default().with_file("more.cedar", FROZEN);
    let house = Harness::with(options).await;
    assert_eq!(reason(&evaluate(&house, &write()).await), "policy_denied");
}

#[tokio::test]
async fn a_suspended_agent_and_a_thrown_kill_switch_are_denials() {
    let house = Harness::start().await;
    let why = json!({ "reason": "a test" });
    house.post("/v1/agents/release-bot/suspend", &house.operator(), &why).await.expect(200);
    // Its identity itself is refused.
    assert_eq!(house.post(EVALUATION, &house.agent(BOT), &read()).await.status, 403);
    let house = Harness::start().await;
    let all = json!({ "target": { "kill_switch": "engage" }, "reason": "a test" });
    house.post("/v1/revocations", &house.operator(), &all).await.expect(200);
    assert_eq!(reason(&evaluate(&house, &read()).await), "kill_switch_active");
}

#[tokio::test]
async fn a_question_may_name_the_task_it_belongs_to() {
    let house = Harness::start().await;
    let open =
        json!({ "purpose": "publish", "scopes": ["sandbox:releases:read"], "ceiling": ["sandbox:releases:read"] });
    let task = house.post("/v1/tasks", &house.agent(BOT), &open).await.expect(201);
    let within = |mut asked: Value| {
        asked["context"] = json!({ "task": task["id"] });
        asked
    };
    assert_eq!(evaluate(&house, &within(read())).await["decision"], true);
    // Below the agent's ceiling, and above the task's.
    assert_eq!(reason(&evaluate(&house, &within(write())).await), "not_available");
    house.post(&format!("/v1/tasks/{}/complete", text(&task["id"])), &house.agent(BOT), &json!({})).await.expect(200);
    assert_eq!(reason(&evaluate(&house, &within(read())).await), "task_unavailable");
    let mut strange = read();
    strange["context"] = json!({ "task": "tsk_00000000000000000000000000" });
    assert_eq!(reason(&evaluate(&house, &strange).await), "task_unavailable");
    strange["context"] = json!({ "task": task["id"], "kind": "deploy" });
    assert_eq!(house.post(EVALUATION, &house.agent(BOT), &strange).await.status, 400);
}

#[tokio::test]
async fn errors_are_a_line_of_text_and_the_request_id_comes_back() {
    let house = Harness::start().await;
    let token = house.agent(BOT);
    for (body, token, status) in [
        (json!({}), token.as_str(), 400),
        (json!([read()]), &token, 400),
        (json!({ "subject": "alice", "action": { "name": "read" }, "resource": read()["resource"] }), &token, 400),
        (read(), "", 401),
        (read(), "nonsense", 401),
    ] {
        for path in [EVALUATION, EVALUATIONS] {
            let reply = house.call("POST", path, token, Some(&body), &[("x-request-id", "bfe9eb29-ab87")]).await;
            assert_eq!(reply.status, status, "{path} {body}");
            assert_eq!(reply.headers["content-type"], "text/plain; charset=utf-8");
            assert_eq!(reply.headers["x-request-id"], "bfe9eb29-ab87");
            assert!(String::from_utf8(reply.body).unwrap().len() > 10);
        }
    }
    let answered = house.call("POST", EVALUATION, &token, Some(&read()), &[("x-request-id", "bfe9eb29-ab87")]).await;
    assert_eq!(answered.headers["x-request-id"], "bfe9eb29-ab87");
    assert_eq!(answered.headers["cache-control"], "no-store");
    for method in ["GET", "PUT", "DELETE"] {
        assert_eq!(house.call(method, EVALUATION, &token, None, &[]).await.status, 405);
    }
    let utf8 = Request::post(EVALUATION)
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json; charset=utf-8")
        .body(Body::from(read().to_string()));
    assert_eq!(house.send(utf8.unwrap()).await.status, 200);
}

#[tokio::test]
async fn a_known_member_of_another_type_is_refused_and_an_unknown_one_is_not() {
    let house = Harness::start().await;
    let token = house.agent(BOT);
    for context in [
        json!({ "ttl_seconds": "600" }),
        json!({ "ttl_seconds": 1.5 }),
        json!({ "kind": 7 }),
        json!({ "purpose": ["a"] }),
        json!({ "task": {} }),
        json!("deploy"),
        json!({ "purpose": "a\u{202e}b" }),
    ] {
        let mut asked = read();
        asked["context"] = context.clone();
        assert_eq!(house.post(EVALUATION, &token, &asked).await.status, 400, "{context}");
    }
    for (part, member) in [("subject", "id"), ("subject", "type"), ("resource", "id"), ("resource", "type")] {
        let mut asked = read();
        asked[part][member] = json!("");
        assert_eq!(house.post(EVALUATION, &token, &asked).await.status, 400, "empty {part}.{member}");
    }
    let mut asked = read();
    asked["futureField"] = json!({ "nested": true });
    asked["subject"]["more"] = json!(1);
    asked["context"] = json!({ "time": "2026-11-22T10:00:00Z", "ip": "192.0.2.1", "more": [1, 2] });
    assert_eq!(evaluate(&house, &asked).await["decision"], true);
}

#[tokio::test]
async fn a_batch_is_answered_in_order_and_stops_where_it_is_told_to() {
    let house = Harness::start().await;
    let items = json!([
        { "resource": read()["resource"], "action": { "name": "read" } },
        { "resource": write()["resource"], "action": { "name": "write" } },
        {},
        { "resource": 7 },
        { "action": { "name": "read" } },
    ]);
    let mut batch = json!({
        "subject": { "type": "agent", "id": BOT }, "resource": read()["resource"], "evaluations": items,
        "options": { "another": true },
    });
    let token = house.agent(BOT);
    let decisions = |answer: &Value| -> Vec<bool> {
        answer["evaluations"].as_array().unwrap().iter().map(|one| one["decision"].as_bool().unwrap()).collect()
    };
    let all = house.post(EVALUATIONS, &token, &batch).await.expect(200);
    assert_eq!(decisions(&all), [true, false, false, false, true]);
    assert!(all["evaluations"][1]["context"]["access_request"].is_object());
    for unreadable in [2, 3] {
        assert_eq!(all["evaluations"][unreadable]["context"]["error"]["status"], 400);
    }
    batch["options"] = json!({ "evaluations_semantic": "deny_on_first_deny" });
    assert_eq!(decisions(&house.post(EVALUATIONS, &token, &batch).await.expect(200)), [true, false]);
    batch["options"] = json!({ "evaluations_semantic": "permit_on_first_permit" });
    assert_eq!(decisions(&house.post(EVALUATIONS, &token, &batch).await.expect(200)), [true]);
    batch["options"] = json!({ "evaluations_semantic": "whatever" });
    assert_eq!(house.post(EVALUATIONS, &token, &batch).await.status, 400);
    batch["options"] = json!({});
    batch["evaluations"] = json!(vec![json!({}); 51]);
    assert_eq!(house.post(EVALUATIONS, &token, &batch).await.status, 400);
}

#[tokio::test]
async fn a_batch_without_items_is_a_single_question() {
    let house = Harness::start().await;
    for items in [json!([]), Value::Null] {
        let mut asked = read();
        asked["evaluations"] = items;
        assert_eq!(house.post(EVALUATIONS, &house.agent(BOT), &asked).await.expect(200), json!({ "decision": true }));
    }
}
