//! Flip anything of plan, policy, request or approver set after the approval: the mint refuses, and the audit says why.

use serde_json::json;

use super::*;

/// Any digest, of nothing that there is.
const OTHER: &str = "'sha256:0000000000000000000000000000000000000000000000000000000000000000'";
/// Any id's digits, of nothing that there is.
const DIGITS: &str = "01kaa00000aaaaaaaaaaaaaaaa";

/// Approved, and then changed behind the broker's back.
async fn approved(house: &Harness) -> Waiting {
    let waiting = house.waiting_for(&[API_WRITE, API_WRITE_TWO], 300, 900).await;
    let said = json!({ "reason": "checked" });
    assert_eq!(house.say(&waiting.request, &house.second_approver(), &said).await.expect(200)["state"], "granted");
    waiting
}

/// Why the audit says that nothing was minted for a task.
async fn why(house: &Harness, task: &str) -> Vec<String> {
    let events = house.events_of(task).await;
    let refused = events.iter().filter(|event| event["kind"] == "credential.refused");
    refused.map(|event| text(&event["data"]["reason"])).collect()
}

async fn nothing_is_minted(house: &Harness, waiting: &Waiting, what: &str) -> Value {
    let reply = house.collect(&waiting.task).await.json();
    assert!(reply["credentials"].as_array().is_none_or(Vec::is_empty), "{what}: {reply}");
    let minted = house.leases().await.iter().any(|lease| lease["task"] == waiting.task.as_str());
    assert!(!minted, "{what}");
    reply
}

#[tokio::test]
async fn a_changed_verdict_counts_for_nothing_and_raises_the_alarm() {
    let house = Harness::start().await;
    let changes = [
        "person = 'somebody'".to_owned(),
        "id = 'apr_".to_owned() + DIGITS + "'",
        "in_place_of = 'jonas'".to_owned(),
        "person_groups = '[\"release-approvers\",\"sre\"]'".to_owned(),
        "verdict = 'deny'".to_owned(),
        "verdict = 'break_glass'".to_owned(),
        format!("request_digest = {OTHER}"),
        "reason = 'looks fine'".to_owned(),
        "reason = NULL".to_owned(),
        "at = at + 1".to_owned(),
        "narrow = '{\"drop_scopes\":[],\"ttl_seconds\":1}'".to_owned(),
        format!("bundle = {OTHER}"),
        "bundle = NULL".to_owned(),
        format!("plan = {OTHER}"),
        "proof = '{}'".to_owned(),
        "thought_millis = 90000".to_owned(),
        "seal = '00' || substr(seal, 3)".to_owned(),
        "seal = ''".to_owned(),
    ];
    for change in changes {
        let waiting = approved(&house).await;
        let sql = format!("UPDATE approval SET {change} WHERE request_id = '{}'", waiting.request);
        assert_eq!(house.behind_its_back(&sql).await, 1, "{change}");
        let problem = nothing_is_minted(&house, &waiting, &change).await;
        assert_eq!(refusal(&problem), ("integrity-violation", "approval_tampered"), "{change}");
        assert_eq!(why(&house, &waiting.task).await, ["approval_tampered"], "{change}");
        let kinds = house.kinds_of(&waiting.task).await;
        assert!(kinds.iter().any(|kind| kind == "integrity.violated"), "{change}: {kinds:?}");
        assert!(kinds.iter().any(|kind| kind == "grant.ended"), "{change}: {kinds:?}");
    }
}

#[tokio::test]
async fn a_verdict_that_is_gone_or_without_a_seal_counts_for_nothing() {
    let house = Harness::start().await;
    for change in ["DELETE FROM approval", "UPDATE approval SET seal = NULL"] {
        let waiting = approved(&house).await;
        let sql = format!("{change} WHERE request_id = '{}'", waiting.request);
        assert_eq!(house.behind_its_back(&sql).await, 1, "{change}");
        let problem = nothing_is_minted(&house, &waiting, change).await;
        assert_eq!(refusal(&problem), ("approval-stale", "approvals_missing"), "{change}");
        assert_eq!(why(&house, &waiting.task).await, ["approvals_missing"], "{change}");
    }
}

#[tokio::test]
async fn a_yes_made_by_hand_grants_nothing() {
    let house = Harness::start().await;
    let waiting = house.waiting_for(&[API_WRITE], 300, 900).await;
    let digest = text(&house.shown(&waiting.request).await["request_digest"]);
    let other = house.waiting_for(&[API_WRITE], 300, 900).await;
    house.verdict(&other.request, &house.second_approver(), "approve").await.expect(200);
    // With the seal of another verdict, of the same person.
    let sql = format!(
        "INSERT INTO approval (request_id, person, id, person_groups, verdict, request_digest, reason, at, bundle, plan, seal)
            SELECT '{}', person, 'apr_{DIGITS}', person_groups, verdict, '{digest}', reason, at, bundle, plan, seal
            FROM approval WHERE request_id = '{}'",
        waiting.request, other.request
    );
    assert_eq!(house.behind_its_back(&sql).await, 1);
    assert_eq!(house.shown(&waiting.request).await["given"], 0);
    nothing_is_minted(&house, &waiting, "a verdict made by hand").await;
    assert_eq!(house.request_state(&waiting.request).await, "pending");
    assert!(house.kinds_of(&waiting.task).await.iter().any(|kind| kind == "integrity.violated"));
}

/// What was changed, and the words that the audit may say about it.
type Row<'a> = (&'a str, String, &'a str);

#[tokio::test]
async fn a_changed_request_task_or_grant_is_not_minted_on() {
    let house = Harness::start().await;
    let spare = house.waiting_for(&[API_WRITE], 300, 900).await;
    let row = |table, change: &str, word| (table, change.to_owned(), word);
    let rows: Vec<Row<'_>> = vec![
        row("access_request", "scopes = '[\"api:releases:write(prefix=v1)\"]'", "request_changed"),
        row(
            "access_request",
            "scopes = '[\"api:releases:write(prefix=v1)\",\"api:releases:write(prefix=v3)\"]'",
            "request_changed",
        ),
        row("access_request", "scopes = '[\"api:releases:delete\"]'", "request_changed"),
        row("access_request", "ttl = 600", "request_changed"),
        row("access_request", "ttl = 299", "request_changed"),
        row("access_request", "confirmation_key = '{\"kty\":\"EC\"}'", "request_changed"),
        row("access_request", "agent_id = 'triage-bot'", "request_changed"),
        ("access_request", format!("task_id = '{}'", spare.task), "request_changed"),
        ("access_request", format!("grant_id = 'grt_{DIGITS}'"), "request_changed"),
        ("access_request", format!("digest = {OTHER}"), "approval_tampered"),
        ("access_request", format!("plan = {OTHER}"), "approval_tampered"),
        row("access_request", "effect = '{\"harmless\":true}'", "approval_tampered"),
        row("access_request", "asked_at = asked_at - 1", "approval_tampered"),
        row("task", "purpose = 'something else'", "request_changed"),
        row("task", "kind = 'deploy'", "request_changed"),
        row("task", "beneficiary = 'jonas'", "request_changed"),
        row("task", "message = 'hello'", "request_changed"),
        row("task", "refs = '{\"ticket\":\"X-1\"}'", "request_changed"),
        row("task", "identity = 'http://127.0.0.1:8601#other'", "request_changed"),
        row("task", "ceiling = '[\"api:releases:write\",\"api:releases:read\"]'", "approval_tampered"),
        row("task", "ends_at = ends_at + 600000", "approval_tampered"),
        row("task", "opened_at = opened_at - 1000", "approval_tampered"),
        row("access_grant", "scopes = '[\"api:releases:write(prefix=v1)\"]'", "approval_tampered"),
        row("access_grant", "scopes = '[\"api:releases:write(prefix=v3)\"]'", "approval_tampered"),
        row("access_grant", "ttl = 301", "approval_tampered"),
        row("access_grant", "ttl = 60", "approval_tampered"),
        row("access_grant", "given_at = given_at - 1", "approval_tampered"),
        row("access_grant", "until_at = until_at + 600000", "approval_tampered"),
        row("access_grant", "uses = 100", "approval_tampered"),
        row("access_grant", "mint_until = 9000000000000", "approval_tampered"),
        row("access_grant", "mint_until = 1", "approval_expired"),
        row("access_grant", "seal = NULL", "approval_tampered"),
        row("access_grant", "seal = '00' || substr(seal, 3)", "approval_tampered"),
        row("access_grant", "seal = NULL, uses = NULL, mint_until = NULL", "policy_changed"),
        ("access_grant", format!("plan = {OTHER}"), "approval_tampered"),
        row("access_grant", "agent_id = 'triage-bot'", "request_changed"),
        row("access_grant", "backend = 'sandbox'", "request_changed"),
        ("access_grant", format!("request_id = '{}'", spare.request), "request_changed"),
        ("access_grant", format!("id = 'grt_{DIGITS}'"), "request_changed"),
    ];
    for (table, change, word) in rows {
        let waiting = approved(&house).await;
        let by = match table {
            "task" => format!("id = '{}'", waiting.task),
            "access_request" => format!("id = '{}'", waiting.request),
            _ => format!("request_id = '{}'", waiting.request),
        };
        let sql = format!("UPDATE {table} SET {change} WHERE {by}");
        assert_eq!(house.behind_its_back(&sql).await, 1, "{sql}");
        nothing_is_minted(&house, &waiting, &sql).await;
        let said = if change.starts_with("agent_id") && table == "access_grant" {
            // Its events are another agent's by then.
            house.reasons("credential.refused").await.last().cloned().into_iter().collect()
        } else {
            why(&house, &waiting.task).await
        };
        assert_eq!(said, [word], "{sql}");
        let path = format!("/v1/tasks/{}/cancel", waiting.task);
        house.post(&path, &house.agent("release-bot"), &json!({})).await;
        if change.starts_with("id = ") {
            house.behind_its_back(&format!("DELETE FROM access_grant WHERE id = 'grt_{DIGITS}'")).await;
        }
    }
}

#[tokio::test]
async fn another_policy_catalogue_or_register_is_not_what_was_approved() {
    for (file, from, to) in [
        ("agents.cedar", "1 of release-approvers", "2 of release-approvers"),
        ("agents.cedar", "1 of release-approvers", "1 of release-managers"),
        ("agents.cedar", "resource.risk >= 70", "resource.risk >= 71"),
        ("catalogue.toml", "Publish release files under one prefix", "Publish anything anywhere"),
        ("catalogue.toml", "audience = \"https://releases.hallpass.example\"", "audience = \"https://other.example\""),
        ("agents.toml", "Builds releases and publishes them", "Harmlessly looks at releases"),
        ("people.toml", "jonas@acme.example", "jonas@other.example"),
    ] {
        let mut house = Harness::start().await;
        let waiting = approved(&house).await;
        house
            .change_bundle(|files| {
                let text = files.get_mut(file).unwrap();
                assert!(text.contains(from), "{file}: {from}");
                *text = text.replace(from, to);
            })
            .await;
        let problem = nothing_is_minted(&house, &waiting, to).await;
        assert_eq!(refusal(&problem), ("approval-stale", "policy_changed"), "{file}: {to}");
        assert_eq!(why(&house, &waiting.task).await, ["policy_changed"], "{file}: {to}");
        assert_eq!(house.reasons("grant.ended").await, ["policy_changed"]);
    }
}
