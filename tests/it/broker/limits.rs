//! How much, how long, how high: limits are kept where they cannot be passed by asking twice at once.

use serde_json::{Value, json};

use super::{Held, READ, WRITE, text};
use crate::support::harness::{Harness, Options, ask};

pub(super) const KINDS: &str = "kinds = [\"deploy\"]";

async fn limited(limits: &str) -> Harness {
    let limits = format!("{KINDS}\nlimits = {{ {limits} }}");
    Harness::with(Options::default().with_change("agents.toml", KINDS, &limits)).await
}

#[tokio::test]
async fn a_sixth_request_does_not_wait_with_five_others() {
    let house = Harness::start().await;
    let mut all = Vec::new();
    for _ in 0..5 {
        all.push(house.waiting().await);
    }
    let token = house.agent("release-bot");
    let problem = house.post("/v1/tasks", &token, &ask(WRITE)).await.expect(429);
    assert_eq!(problem["code"], "too-many-pending");
    assert_eq!(house.events("task.opened").await.len(), 5, "what was refused left no task");
    house.granted(READ).await;
    // Any way a request stops waiting makes room for one.
    house.verdict(&all[0].request, &house.approver(), "deny").await.expect(200);
    all.push(house.waiting().await);
    house.verdict(&all[1].request, &house.approver(), "approve").await.expect(200);
    all.push(house.waiting().await);
    house.post(&format!("/v1/tasks/{}/cancel", all[2].task), &token, &json!({})).await.expect(200);
    all.push(house.waiting().await);
    house.post("/v1/tasks", &token, &ask(WRITE)).await.expect(429);
    house.advance_secs(601);
    house.sweep().await;
    for _ in 0..5 {
        house.waiting().await;
    }
}

#[tokio::test]
async fn no_agent_holds_more_credentials_than_it_may_even_at_once() {
    let house = limited("live_leases = 3").await;
    let (token, body) = (house.agent("release-bot"), ask(READ));
    let replies = futures_util::future::join_all((0..10).map(|_| house.post("/v1/tasks", &token, &body))).await;
    let held: Vec<Held> =
        replies.iter().filter(|reply| reply.status == 201).map(|reply| Held::of(&reply.json())).collect();
    assert_eq!(held.len(), 3);
    for reply in replies.iter().filter(|reply| reply.status != 201) {
        let problem = reply.json();
        assert_eq!((reply.status.as_u16(), &problem["code"]), (429, &json!("too-many-leases")));
        assert!(reply.headers.contains_key("retry-after"));
    }
    assert_eq!(house.sandbox.honoured(house.broker.now()).len(), 3);
    house.post(&format!("/v1/tasks/{}/complete", held[0].task), &token, &json!({})).await.expect(200);
    house.granted(READ).await;
    house.post("/v1/tasks", &token, &body).await.expect(429);
}

#[tokio::test]
async fn collecting_counts_like_asking() {
    let house = limited("live_leases = 1").await;
    let waiting = house.waiting().await;
    house.verdict(&waiting.request, &house.approver(), "approve").await.expect(200);
    let held = house.granted(READ).await;
    assert_eq!(house.collect(&waiting.task).await.expect(429)["code"], "too-many-leases");
    house.revoke(&json!({ "task": held.task })).await;
    assert!(house.works(&Held::of(&house.collect(&waiting.task).await.expect(200)).secret));
}

#[tokio::test]
async fn a_life_longer_than_allowed_is_refused_and_never_cut_short_in_silence() {
    let house = limited("task_ttl_seconds = 1800").await;
    let token = house.agent("release-bot");
    for (members, code) in [
        (json!({ "ttl_seconds": 3601 }), "ttl-too-long"),
        (json!({ "task_ttl_seconds": 1801 }), "ttl-too-long"),
        (json!({ "ttl_seconds": 1801 }), "ttl-too-long"),
        (json!({ "ttl_seconds": 900, "task_ttl_seconds": 600 }), "ttl-too-long"),
    ] {
        let mut body = ask(READ);
        body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        assert_eq!(house.post("/v1/tasks", &token, &body).await.expect(422)["code"], code, "{members}");
    }
    let mut body = ask(READ);
    body["ttl_seconds"] = json!(1800);
    let task = house.post("/v1/tasks", &token, &body).await.expect(201);
    assert_eq!(
        task["credentials"][0]["usable_until"], task["expires_at"],
        "a task is open as long as its credential lives"
    );
}

#[tokio::test]
async fn a_credential_ends_with_its_task_at_the_latest() {
    let house = Harness::start().await;
    let mut body = ask(READ);
    body["task_ttl_seconds"] = json!(60);
    let task = house.post("/v1/tasks", &house.agent("release-bot"), &body).await.expect(201);
    assert_eq!(task["credentials"][0]["usable_until"], task["expires_at"]);
    assert_eq!(task["credentials"][0]["native_end"], task["expires_at"]);
}

#[tokio::test]
async fn who_reaches_above_its_ceiling_is_refused_and_on_record() {
    let house = Harness::start().await;
    let triage = house.agent("triage-bot");
    let problem = house.post("/v1/tasks", &triage, &ask(WRITE)).await.expect(403);
    assert_eq!(problem["code"], "scope-above-ceiling");

    // A task's own ceiling binds as well, and cannot be wider than the agent's.
    let mut body = ask(READ);
    body["ceiling"] = json!([READ]);
    let held = Held::of(&house.post("/v1/tasks", &house.agent("release-bot"), &body).await.expect(201));
    let more = json!({ "scopes": [WRITE] });
    let path = format!("/v1/tasks/{}/requests", held.task);
    house.post(&path, &house.agent("release-bot"), &more).await.expect(403);
    let mut wide = ask(READ);
    wide["ceiling"] = json!([READ, WRITE]);
    house.post("/v1/tasks", &triage, &wide).await.expect(403);

    let denied: Vec<(Value, Value, Value)> = house
        .events("access.denied")
        .await
        .into_iter()
        .map(|event| (event["agent"].clone(), event["task"].clone(), event["data"].clone()))
        .collect();
    let data = json!({ "reason": "above_ceiling", "scopes": [WRITE] });
    let of = |agent: &str, task: Value| (json!(agent), task, data.clone());
    assert_eq!(
        denied,
        [of("triage-bot", Value::Null), of("release-bot", json!(held.task)), of("triage-bot", Value::Null)]
    );
    assert!(house.works(&held.secret), "the task goes on as it was");
}

#[tokio::test]
async fn a_ceiling_with_a_parameter_binds_that_parameter() {
    let house = Harness::start().await;
    let token = house.agent("release-bot");
    let task = json!({
        "purpose": "publish", "ceiling": ["api:releases:write(prefix=v1/)"], "scopes": ["api:releases:write(prefix=v1/)"],
    });
    let task = house.post("/v1/tasks", &token, &task).await.expect(202);
    let path = format!("/v1/tasks/{}/requests", text(&task["id"]));
    for scope in
        ["api:releases:write(prefix=v2/)", "api:releases:write(prefix=v/)", "api:releases:write(prefix=v1/../v2/)"]
    {
        let status = house.post(&path, &token, &json!({ "scopes": [scope] })).await.status.as_u16();
        assert!([400, 403].contains(&status), "{scope}: {status}");
    }
    // Deeper is narrower.
    house.post(&path, &token, &json!({ "scopes": ["api:releases:write(prefix=v1/rc/)"] })).await.expect(202);
}

#[tokio::test]
async fn each_agent_has_its_own_rate() {
    let house = limited("requests_per_minute = 3").await;
    let token = house.agent("release-bot");
    for _ in 0..3 {
        house.get("/v1/whoami", &token).await.expect(200);
    }
    let reply = house.get("/v1/whoami", &token).await;
    assert!(reply.headers.contains_key("retry-after"));
    assert_eq!(reply.expect(429)["code"], "rate-limited");
    house.get("/v1/whoami", &house.agent("triage-bot")).await.expect(200);
    house.advance_secs(60);
    house.get("/v1/whoami", &house.agent("release-bot")).await.expect(200);
}
