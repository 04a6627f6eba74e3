//! People decide: who may, on what exactly, how many, and what a yes is worth when things change.

use serde_json::{Value, json};

use super::{READ, WRITE, Waiting, text};
use crate::support::harness::{Harness, Options, ask};

const QUORUM_OF_ONE: &str = "@approval(\"1 of release-approvers\")";
const QUORUM_OF_TWO: &str = "@approval(\"2 of release-approvers\")";

async fn two_must_agree() -> Harness {
    Harness::with(Options::default().with_change("agents.cedar", QUORUM_OF_ONE, QUORUM_OF_TWO)).await
}

fn refusal(problem: &Value) -> (&str, &str) {
    (problem["code"].as_str().unwrap(), problem["reason"].as_str().unwrap())
}

#[tokio::test]
async fn nobody_decides_the_request_of_an_agent_that_is_their_own() {
    let house = Harness::start().await;
    let waiting = house.waiting().await;
    // Maya owns release-bot. Her account is not registered, but its address is hers.
    for maya in [house.addressed("maya", "maya@acme.example"), house.addressed("m2", "Maya@ACME.example")] {
        for verdict in ["approve", "deny"] {
            let problem = house.verdict(&waiting.request, &maya, verdict).await.expect(403);
            assert_eq!(refusal(&problem), ("self-approval-forbidden", "own_request"));
        }
        let shown = house.get(&format!("/v1/requests/{}", waiting.request), &maya).await.expect(200);
        assert_eq!(shown["cannot_decide"], "own_request");
    }
}

#[tokio::test]
async fn nobody_decides_what_is_asked_on_their_behalf() {
    let (jonas, nia) = (("j", "jonas@acme.example"), ("nia", "nia@acme.example"));
    for (beneficiary, (name, email)) in [
        ("jonas", jonas),
        (" Jonas ", jonas),
        ("jonas@acme.example", jonas),
        ("dev-approver@hallpass.example", ("dev-approver", "other@acme.example")),
        // Nia is not registered: the address of her token is all there is to know her by, and her account's name.
        ("nia@acme.example", nia),
        (" NIA@acme.example ", nia),
        ("http://127.0.0.1:8601/people#nia", nia),
    ] {
        let house = Harness::start().await;
        let waiting = house.waiting_with(&json!({ "on_behalf_of": beneficiary })).await;
        let problem = house.verdict(&waiting.request, &house.addressed(name, email), "approve").await.expect(403);
        assert_eq!(refusal(&problem), ("self-approval-forbidden", "own_request"), "{beneficiary}");
    }
}

#[tokio::test]
async fn only_people_of_the_rules_groups_decide() {
    let house = Harness::start().await;
    let waiting = house.waiting().await;
    for groups in [vec![], vec!["hallpass-operators"], vec!["release-approver"]] {
        let problem = house.verdict(&waiting.request, &house.person("nia", &groups), "approve").await.expect(403);
        assert_eq!(refusal(&problem), ("not-an-approver", "not_in_group:release-approvers"));
    }
    let path = format!("/v1/requests/{}/verdict", waiting.request);
    let body = json!({ "verdict": "approve", "request_digest": "sha256:0" });
    house.post(&path, &house.agent("release-bot"), &body).await.expect(403);
    house.post(&path, "", &body).await.expect(401);
    assert_eq!(house.request_state(&waiting.request).await, "pending");
    assert!(house.events("approval.recorded").await.is_empty());
}

#[tokio::test]
async fn a_yes_to_another_digest_than_the_present_one_is_refused() {
    let mut house = Harness::start().await;
    let waiting = house.waiting().await;
    let approver = house.approver();
    let shown = house.get(&format!("/v1/requests/{}", waiting.request), &approver).await.expect(200);
    let digest = text(&shown["request_digest"]);
    let other = format!("{}0", &digest[..digest.len() - 1]);
    let other = if other == digest { format!("{}1", &digest[..digest.len() - 1]) } else { other };
    house.verdict_on(&waiting.request, &approver, "approve", "nonsense").await.expect(400);
    let problem = house.verdict_on(&waiting.request, &approver, "approve", &other).await.expect(409);
    assert_eq!(refusal(&problem), ("approval-stale", "approval_stale"));
    house.change_bundle(|files| files.get_mut("agents.cedar").unwrap().push_str("// changed\n")).await;
    let problem = house.verdict_on(&waiting.request, &house.approver(), "approve", &digest).await.expect(409);
    assert_eq!(refusal(&problem), ("approval-stale", "approval_stale"));
    // What is shown now can be decided on.
    assert_eq!(house.verdict(&waiting.request, &house.approver(), "approve").await.expect(200)["state"], "granted");
}

#[tokio::test]
async fn one_no_ends_it_however_many_said_yes() {
    let house = two_must_agree().await;
    let waiting = house.waiting().await;
    let yes = house.verdict(&waiting.request, &house.approver(), "approve").await.expect(200);
    assert_eq!((&yes["state"], &yes["given"]), (&json!("pending"), &json!(1)));
    let no = house.verdict(&waiting.request, &house.person("nia", &["release-approvers"]), "deny").await.expect(200);
    assert_eq!(no["state"], "denied");
    let late = house.verdict(&waiting.request, &house.person("leo", &["release-approvers"]), "approve").await;
    assert_eq!(refusal(&late.expect(409)), ("already-decided", "already_decided"));
    assert_eq!(house.collect(&waiting.task).await.json()["credentials"], json!([]));
    let task = house.task(&waiting.task).await;
    assert_eq!(task["requests"][0]["denied"]["reason"], "by_approver");
    assert!(house.sandbox.ever_minted().is_empty());
}

#[tokio::test]
async fn two_of_a_group_are_two_people() {
    let house = two_must_agree().await;
    let waiting = house.waiting().await;
    house.verdict(&waiting.request, &house.approver(), "approve").await.expect(200);
    let again = house.verdict(&waiting.request, &house.approver(), "approve").await.expect(409);
    assert_eq!(refusal(&again), ("already-decided", "verdict_given"));
    // Another account with the address of the same person is the same person.
    let account = house.addressed("second-account", "dev-approver@hallpass.example");
    let again = house.verdict(&waiting.request, &account, "approve").await.expect(409);
    assert_eq!(refusal(&again), ("already-decided", "verdict_given"));
    assert_eq!(house.collect(&waiting.task).await.expect(202)["credentials"], json!([]));
    let second = house.verdict(&waiting.request, &house.person("nia", &["release-approvers"]), "approve").await;
    assert_eq!(second.expect(200)["state"], "granted");
    assert_eq!(house.collect(&waiting.task).await.expect(200)["credentials"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn two_people_at_the_same_moment_make_one_grant() {
    let house = two_must_agree().await;
    for _ in 0..5 {
        let waiting = house.waiting().await;
        let (one, two) = (house.approver(), house.person("nia", &["release-approvers"]));
        let (first, second) = tokio::join!(
            house.verdict(&waiting.request, &one, "approve"),
            house.verdict(&waiting.request, &two, "approve")
        );
        assert_eq!((first.status.as_u16(), second.status.as_u16()), (200, 200));
        let (first, second) = tokio::join!(house.collect(&waiting.task), house.collect(&waiting.task));
        let count = |body: Value| body["credentials"].as_array().map_or(0, Vec::len);
        assert_eq!(count(first.json()) + count(second.json()), 1, "one credential between the two");
        let kinds = house.kinds_of(&waiting.task).await;
        assert_eq!(kinds.iter().filter(|kind| *kind == "access.granted").count(), 1, "{kinds:?}");
        assert_eq!(kinds.iter().filter(|kind| *kind == "credential.minted").count(), 1, "{kinds:?}");
    }
}

#[tokio::test]
async fn yes_and_no_at_the_same_moment_have_one_outcome() {
    let house = Harness::start().await;
    for _ in 0..5 {
        let waiting = house.waiting().await;
        let (one, two) = (house.approver(), house.person("nia", &["release-approvers"]));
        tokio::join!(house.verdict(&waiting.request, &one, "approve"), house.verdict(&waiting.request, &two, "deny"));
        let state = house.request_state(&waiting.request).await;
        assert!(["granted", "denied"].contains(&state.as_str()), "{state}");
        let collected = house.collect(&waiting.task).await.json();
        let minted = collected["credentials"].as_array().map_or(0, Vec::len);
        assert_eq!(minted, usize::from(state == "granted"), "{collected}");
    }
}

#[tokio::test]
async fn what_nobody_answers_lapses_with_its_task() {
    let house = Harness::start().await;
    let waiting = house.waiting().await;
    house.advance_secs(601);
    // Whether or not a sweep has been there.
    let problem = house.verdict(&waiting.request, &house.approver(), "approve").await.expect(410);
    assert_eq!(refusal(&problem), ("approval-expired", "approval_expired"));
    house.broker.sweep_requests().await.unwrap();
    assert_eq!(house.request_state(&waiting.request).await, "lapsed");
    house.sweep().await;
    assert_eq!(house.kinds_of(&waiting.task).await.iter().filter(|kind| *kind == "access.lapsed").count(), 1);
    assert!(house.sandbox.ever_minted().is_empty());
}

async fn approved(house: &Harness) -> Waiting {
    let waiting = house.waiting().await;
    assert_eq!(house.verdict(&waiting.request, &house.approver(), "approve").await.expect(200)["state"], "granted");
    waiting
}

#[tokio::test]
async fn a_no_after_a_yes_is_too_late_and_says_so() {
    let house = Harness::start().await;
    let waiting = approved(&house).await;
    let late = house.verdict(&waiting.request, &house.person("nia", &["release-approvers"]), "deny").await.expect(409);
    assert_eq!(refusal(&late), ("already-decided", "already_decided"));
}

#[tokio::test]
async fn a_yes_under_another_bundle_mints_nothing() {
    let changes: [(&str, &str); 3] = [
        ("description = \"Upload, replace and delete releases in the sandbox\"", "description = \"Upload releases\""),
        ("effect = { allows = \"PUT and DELETE /releases\" }", "effect = { allows = \"everything\" }"),
        (
            "max_ttl_seconds = 900\nlabels = { env = \"sandbox\" }",
            "max_ttl_seconds = 300\nlabels = { env = \"sandbox\" }",
        ),
    ];
    for (from, to) in changes {
        let mut house = Harness::start().await;
        let waiting = approved(&house).await;
        house
            .change_bundle(|files| {
                let catalogue = files.get_mut("catalogue.toml").unwrap();
                assert!(catalogue.contains(from));
                *catalogue = catalogue.replace(from, to);
            })
            .await;
        let answer = house.collect(&waiting.task).await.json();
        assert!(answer["credentials"].as_array().is_none_or(Vec::is_empty), "{answer}");
        assert!(house.sandbox.ever_minted().is_empty());
        let kinds = house.kinds_of(&waiting.task).await;
        assert!(kinds.iter().any(|kind| kind == "grant.ended"), "{kinds:?}");
    }
}

#[tokio::test]
async fn a_yes_is_not_worth_more_than_what_it_said() {
    let house = Harness::start().await;
    let waiting = approved(&house).await;
    let credential = house.collect(&waiting.task).await.expect(200)["credentials"][0].clone();
    assert_eq!(credential["scopes"], json!([WRITE]));
    // The next one of the same task asks again.
    let more = json!({ "scopes": [WRITE] });
    let path = format!("/v1/tasks/{}/requests", waiting.task);
    let answer = house.post(&path, &house.agent("release-bot"), &more).await.expect(202);
    assert_eq!(answer["credentials"], json!([]));
}

#[tokio::test]
async fn what_is_harmless_does_not_wait_for_what_is_not() {
    let house = Harness::start().await;
    let body = json!({ "purpose": "both", "scopes": [READ, WRITE] });
    let task = house.post("/v1/tasks", &house.agent("release-bot"), &body).await.expect(202);
    assert_eq!(task["credentials"][0]["scopes"], json!([READ]));
    let states: Vec<&Value> = task["requests"].as_array().unwrap().iter().map(|request| &request["state"]).collect();
    assert!(states.contains(&&json!("pending")) && states.contains(&&json!("granted")), "{states:?}");
}

#[tokio::test]
async fn a_long_poll_wakes_when_a_person_has_decided() {
    let house = Harness::start().await;
    let waiting = house.waiting().await;
    let token = house.agent("release-bot");
    let path = format!("/v1/tasks/{}?wait=25", waiting.task);
    let decide = async {
        tokio::task::yield_now().await;
        house.verdict(&waiting.request, &house.approver(), "approve").await.expect(200);
    };
    let both = async { tokio::join!(house.get(&path, &token), decide) };
    let woken = tokio::time::timeout(std::time::Duration::from_secs(20), both).await;
    let task = woken.expect("it is woken, not timed out").0.expect(200);
    assert_eq!(task["requests"][0]["state"], "granted");
    assert!(text(&task["message"]).contains("/credentials"), "{task}");
}

#[tokio::test]
async fn who_asks_for_what_policy_will_never_permit_is_told_at_once() {
    let house = Harness::start().await;
    let mut body = ask(WRITE);
    // deploy-bots-write permits up to 900 s; a yes could not lift that.
    body["ttl_seconds"] = json!(900);
    house.post("/v1/tasks", &house.agent("release-bot"), &body).await.expect(202);
    let problem = house.post("/v1/tasks", &house.agent("triage-bot"), &ask(WRITE)).await.expect(403);
    assert_eq!(problem["code"], "scope-above-ceiling");
}
