//! What may be asked at all: nothing of what is refused here leaves a task, a lease or a credential.

use http::{Request, StatusCode};
use serde_json::{Value, json};

use super::{READ, WRITE, text};
use crate::support::harness::{Harness, ask};

/// Ask, and be refused with this problem; nothing is minted and no task is left.
async fn refused(house: &Harness, body: &Value, status: u16, code: &str) -> Value {
    let problem = house.post("/v1/tasks", &house.agent("release-bot"), body).await.expect(status);
    assert_eq!(problem["code"], code, "{body}: {problem}");
    assert!(house.events("task.opened").await.is_empty());
    assert!(house.sandbox.ever_minted().is_empty());
    problem
}

fn with(name: &str, value: Value) -> Value {
    let mut body = ask(READ);
    body[name] = value;
    body
}

#[tokio::test]
async fn task_01_members_that_nobody_defined_are_refused_at_every_level() {
    let house = Harness::start().await;
    for (name, value) in [("approved", json!(true)), ("risk", json!("low")), ("max_ttl", json!(9e9))] {
        let problem = refused(&house, &with(name, value), 400, "invalid-request").await;
        assert!(text(&problem["detail"]).contains(name), "{problem}");
    }
    let nested = json!({ "purpose": "x", "scopes": [{ "scope": READ, "approved": true }] });
    refused(&house, &nested, 400, "invalid-request").await;
}

#[tokio::test]
async fn task_02_what_is_too_large_too_deep_or_too_many_is_refused() {
    let house = Harness::start().await;
    let token = house.agent("release-bot");
    let deep = format!("{{\"purpose\":{}1{}}}", "[".repeat(17), "]".repeat(17));
    let many = format!("{{\"purpose\":\"x\",\"scopes\":[{}]}}", vec!["1"; 30_000].join(","));
    let large = format!("{{\"purpose\":\"{}\"}}", "x".repeat(65 * 1024));
    let digits = format!("{{\"ttl_seconds\":{}}}", "9".repeat(60_000));
    for (body, status) in [(deep, 400), (many, 400), (large, 413), (digits, 400)] {
        let request = Request::post("/v1/tasks")
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .body(body.into());
        let reply = house.send(request.unwrap()).await;
        assert_eq!(reply.status.as_u16(), status, "{}", String::from_utf8_lossy(&reply.body));
    }
    let scopes: Vec<String> = (0..51).map(|n| format!("api:releases:write(prefix=v{n}/)")).collect();
    refused(&house, &json!({ "purpose": "x", "scopes": scopes }), 400, "scope-invalid").await;
}

#[tokio::test]
async fn task_03_a_life_is_a_whole_number_of_seconds_and_never_longer_than_the_catalogue_allows() {
    let house = Harness::start().await;
    for bad in [json!(0), json!(-1), json!(1.5), json!("900"), json!(9_223_372_036_854_775_808_u64)] {
        refused(&house, &with("ttl_seconds", bad), 400, "invalid-request").await;
    }
    let mut long = ask(WRITE);
    long["ttl_seconds"] = json!(901);
    let problem = refused(&house, &long, 422, "ttl-too-long").await;
    assert!(text(&problem["detail"]).contains("900 s"), "{problem}");

    let held = house.granted(READ).await;
    let lease = house.lease(&held.lease).await;
    let secs = |name: &str| lease[name].as_str().unwrap().parse::<hallpass::domain::Timestamp>().unwrap().as_secs();
    assert_eq!(secs("usable_until") - secs("intent_at"), 600, "absent is ten minutes");
}

#[tokio::test]
async fn task_04_a_purpose_says_something_in_at_most_two_thousand_characters() {
    let house = Harness::start().await;
    for bad in [String::new(), " \n ".to_owned(), "\u{200b}\u{2060}".to_owned(), "x".repeat(2001)] {
        refused(&house, &with("purpose", json!(bad)), 400, "purpose-invalid").await;
    }
    house.post("/v1/tasks", &house.agent("release-bot"), &with("purpose", json!("x".repeat(2000)))).await.expect(201);
}

#[tokio::test]
async fn task_05_characters_that_deceive_a_reader_are_refused_by_their_code_points() {
    let house = Harness::start().await;
    for (bad, point) in [
        ("publish\u{202e}x", "U+202E"),
        ("publish\u{2066}x", "U+2066"),
        ("publish\u{200b}x", "U+200B"),
        ("publish\u{e0041}x", "U+E0041"),
        ("publish\u{7}x", "U+0007"),
        ("publish\u{1b}[2J", "U+001B"),
        ("publish\u{2028}x", "U+2028"),
    ] {
        for name in ["purpose", "message"] {
            let problem = refused(&house, &with(name, json!(bad)), 400, "purpose-forbidden-characters").await;
            assert!(text(&problem["detail"]).contains(point), "{problem}");
        }
    }
}

#[tokio::test]
async fn task_11_nothing_asked_for_is_nothing_and_never_everything() {
    let house = Harness::start().await;
    refused(&house, &json!({ "purpose": "x" }), 400, "scope-invalid").await;
    for scopes in [json!([]), json!(["*"]), json!(["sandbox:*"]), json!(["sandbox:releases:*"]), json!([""])] {
        refused(&house, &json!({ "purpose": "x", "scopes": scopes }), 400, "scope-invalid").await;
    }
    // An empty ceiling covers nothing either.
    refused(&house, &with("ceiling", json!([])), 403, "scope-above-ceiling").await;
}

#[tokio::test]
async fn task_13_another_agents_task_looks_like_one_that_does_not_exist() {
    let house = Harness::start().await;
    let held = house.granted(READ).await;
    let missing = "tsk_01hzzzzzzzzzzzzzzzzzzzzzzz";
    let stranger = house.agent("triage-bot");
    let body = json!({ "target": { "task": held.task }, "reason": "not mine" });
    for (method, path) in [
        ("GET", "/v1/tasks/{}"),
        ("POST", "/v1/tasks/{}/credentials"),
        ("POST", "/v1/tasks/{}/complete"),
        ("POST", "/v1/tasks/{}/cancel"),
        ("POST", "/v1/tasks/{}/heartbeat"),
    ] {
        let mut answers = Vec::new();
        for id in [held.task.as_str(), missing] {
            let reply = house.call(method, &path.replace("{}", id), &stranger, None, &[]).await;
            let mut problem = reply.expect(404);
            problem.as_object_mut().unwrap().remove("request_id");
            answers.push(problem);
        }
        assert_eq!(answers[0], answers[1], "{path}");
    }
    house.post("/v1/revocations", &stranger, &body).await.expect(404);
    let more = json!({ "scopes": [READ] });
    house.post(&format!("/v1/tasks/{}/requests", held.task), &stranger, &more).await.expect(404);
    let page = house.get(&format!("/v1/leases?task={}", held.task), &stranger).await.expect(200);
    assert_eq!(page["items"], json!([]));
    assert!(house.works(&held.secret));
}

#[tokio::test]
async fn task_15_a_task_that_waits_is_never_edited_and_what_it_shows_is_bound_to_its_digest() {
    let mut house = Harness::start().await;
    let waiting = house.waiting().await;
    let token = house.agent("release-bot");
    for method in ["PUT", "PATCH", "DELETE"] {
        let path = format!("/v1/tasks/{}", waiting.task);
        let reply = house.call(method, &path, &token, Some(&ask(READ)), &[]).await;
        assert_eq!(reply.status, StatusCode::METHOD_NOT_ALLOWED, "{method}");
    }
    house.post("/v1/tasks", &token, &with("id", json!(waiting.task))).await.expect(400);

    let shown = house.get(&format!("/v1/requests/{}", waiting.request), &house.approver()).await.expect(200);
    let digest = text(&shown["request_digest"]);
    house
        .change_bundle(|files| {
            let agents = files.get_mut("agents.toml").unwrap();
            *agents = agents.replace("Builds releases and publishes them", "Harmlessly looks at releases");
        })
        .await;
    let problem = house.verdict_on(&waiting.request, &house.approver(), "approve", &digest).await.expect(409);
    assert_eq!(problem["code"], "approval-stale");
    assert_eq!(house.request_state(&waiting.request).await, "pending");
}
