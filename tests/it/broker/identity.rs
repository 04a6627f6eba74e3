//! Identity tokens at the door: used once, and of the workload that was registered.

use serde_json::json;

use super::READ;
use crate::support::harness::{AGENTS, Harness, Options, ask};

async fn single_use() -> Harness {
    Harness::with(Options { single_use: true, ..Options::default() }).await
}

/// The reasons for which tokens were refused so far, oldest first.
async fn refusals(house: &Harness) -> Vec<String> {
    house.events("identity.rejected").await.iter().map(|event| super::text(&event["data"]["reason"])).collect()
}

#[tokio::test]
async fn tok_09_a_token_that_may_be_used_once_is_used_once() {
    let house = single_use().await;
    let token = house.agent("release-bot");
    house.post("/v1/tasks", &token, &ask(READ)).await.expect(201);
    let problem = house.post("/v1/tasks", &token, &ask(READ)).await.expect(401);
    assert_eq!(problem["code"], "invalid-token");
    assert!(problem["reason"].is_null(), "a stranger is not told which check failed");
    assert_eq!(house.events("identity.verified").await.len(), 1);
    assert_eq!(refusals(&house).await, ["token_replayed"]);
    assert_eq!(house.events("task.opened").await.len(), 1);
}

#[tokio::test]
async fn tok_09_of_many_uses_in_the_same_moment_one_is_the_first() {
    let house = single_use().await;
    let token = house.agent("release-bot");
    let uses = (0..20).map(|_| house.get("/v1/whoami", &token));
    let replies = futures_util::future::join_all(uses).await;
    assert_eq!(replies.iter().filter(|reply| reply.status == 200).count(), 1);
    assert_eq!(replies.iter().filter(|reply| reply.status == 401).count(), 19);
}

#[tokio::test]
async fn tok_10_a_restart_forgets_no_used_token() {
    let mut house = single_use().await;
    let token = house.agent("release-bot");
    house.get("/v1/whoami", &token).await.expect(200);
    house.restart().await;
    house.get("/v1/whoami", &token).await.expect(401);
    assert_eq!(refusals(&house).await, ["token_replayed"]);
}

#[tokio::test]
async fn tok_10_the_mark_of_a_used_token_lives_as_long_as_the_token_leeway_included() {
    let house = single_use().await;
    let exp = house.broker.now().as_secs() + 86_400;
    let token = house.token(AGENTS, "release-bot", &json!({ "exp": exp }));
    house.get("/v1/whoami", &token).await.expect(200);
    for secs in [3600, 80_000, 86_400 + 29 - 83_600] {
        house.advance_secs(secs);
        house.broker.sweep_memory().await.unwrap();
        house.get("/v1/whoami", &token).await.expect(401);
    }
    house.advance_secs(2);
    house.broker.sweep_memory().await.unwrap();
    house.get("/v1/whoami", &token).await.expect(401);
    let replayed = "token_replayed";
    assert_eq!(refusals(&house).await, [replayed, replayed, replayed, "expired"]);
}

#[tokio::test]
async fn tok_30_the_same_names_with_another_repository_id_are_not_the_agent() {
    let binding = "[[agent.binding]]\nissuer = \"http://127.0.0.1:8601\"\nsubject = \"triage-bot\"";
    let pinned = "[[agent.binding]]\nissuer = \"http://127.0.0.1:8601\"\nsubject = \"triage-bot\"\n\
                  claims = { repository_id = \"482\", repository_owner_id = \"7\" }";
    let house = Harness::with(Options::default().with_change("agents.toml", binding, pinned)).await;
    let claims = |repository: i64, owner: i64| json!({ "repository": "acme/triage", "repository_id": repository.to_string(), "repository_owner_id": owner.to_string() });
    house.get("/v1/whoami", &house.token(AGENTS, "triage-bot", &claims(482, 7))).await.expect(200);
    for (repository, owner, reason) in [
        (9000, 7, "repository_id_mismatch"),
        (482, 8, "repository_owner_id_mismatch"),
        (9000, 8, "repository_id_mismatch"),
    ] {
        let problem =
            house.get("/v1/whoami", &house.token(AGENTS, "triage-bot", &claims(repository, owner))).await.expect(403);
        assert_eq!(problem["code"], "policy-denied");
        assert_eq!(problem["reason"], reason);
    }
    let absent = house.get("/v1/whoami", &house.agent("triage-bot")).await.expect(403);
    assert_eq!(absent["reason"], "repository_id_mismatch");
    assert_eq!(refusals(&house).await.len(), 4);
}
