//! What an approver is shown, and the queue.

use serde_json::{Value, json};

use super::{WRITE, text, with_approval};
use crate::support::harness::{Harness, Options};

#[tokio::test]
async fn an_approver_reads_our_sentence_and_everything_a_decision_rests_on() {
    let house = Harness::start().await;
    let body =
        json!({ "purpose": "only reading logs, nothing else", "scopes": [WRITE, "api:releases:write(prefix=v1)"] });
    let task = house.post("/v1/tasks", &house.agent("release-bot"), &body).await.expect(202);
    let ids: Vec<String> = task["requests"].as_array().unwrap().iter().map(|request| text(&request["id"])).collect();
    assert_eq!(ids.len(), 2);
    let mut shown = house.seen_by(&ids[0], &house.approver()).await;
    if shown["environments"] != json!(["sandbox"]) {
        shown = house.seen_by(&ids[1], &house.approver()).await;
    }
    let sentence = "release-bot wants to WRITE sandbox:releases for 10 minutes: Upload, replace and delete releases in the sandbox";
    assert_eq!(shown["sentence"], sentence);
    assert_eq!((&shown["impact"], &shown["risk"]), (&json!("high"), &json!(80)));
    assert_eq!(shown["environments"], json!(["sandbox"]));
    let detail = &shown["scope_details"][0];
    assert_eq!((&detail["action"], &detail["inspectable"]), (&json!("write"), &json!(true)));
    assert!(shown["revocation"]["strength"].is_string(), "{shown}");
    assert_eq!(shown["siblings"].as_array().unwrap().len(), 1);
    assert_eq!(shown["terms"]["step_up"], "none");
    assert_eq!(shown["unusual"], json!(["release-bot has not asked for sandbox:releases:write in the last 30 days."]));
    assert_eq!(shown["history"]["asked"], 0);
}

#[tokio::test]
async fn what_became_of_like_requests_is_counted_and_is_not_unusual_any_more() {
    let house = Harness::start().await;
    for verdict in ["approve", "deny", "approve"] {
        let waiting = house.waiting().await;
        house.verdict(&waiting.request, &house.approver(), verdict).await.expect(200);
        house.advance_secs(86_400);
    }
    let waiting = house.waiting().await;
    let shown = house.seen_by(&waiting.request, &house.approver()).await;
    let history = &shown["history"];
    assert_eq!((&history["asked"], &history["granted"], &history["denied"]), (&json!(3), &json!(2), &json!(1)));
    assert!(history["last_granted_at"].is_string());
    assert_eq!(shown["unusual"], json!([]));
    // After 30 days nobody remembers.
    house.advance_secs(31 * 86_400);
    let later = house.waiting().await;
    let shown = house.seen_by(&later.request, &house.approver()).await;
    assert_eq!(shown["history"]["asked"], 0);
    assert_eq!(shown["unusual"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn apr_25_what_the_catalogue_knows_no_more_cannot_be_inspected_and_not_be_approved() {
    let mut house = Harness::start().await;
    let waiting = house.waiting_with(&json!({ "purpose": "read-only log fetch" })).await;
    house
        .change_bundle(|files| {
            let catalogue = files.get_mut("catalogue.toml").unwrap();
            *catalogue = catalogue.replace("sandbox:releases:write", "sandbox:releases:overwrite");
            let agents = files.get_mut("agents.toml").unwrap();
            *agents = agents.replace("sandbox:releases:write", "sandbox:releases:overwrite");
        })
        .await;
    let shown = house.seen_by(&waiting.request, &house.approver()).await;
    assert_eq!(shown["scope_details"][0]["inspectable"], false);
    assert_eq!((&shown["risk"], &shown["impact"]), (&json!(100), &json!("high")));
    assert!(text(&shown["sentence"]).contains("nobody can say what it would do"), "{shown}");
    let verdict = house.verdict(&waiting.request, &house.approver(), "approve").await;
    assert!(!verdict.status.is_success());
    assert!(house.sandbox.ever_minted().is_empty());
}

async fn cards(house: &Harness, name: &str, groups: &[&str]) -> Vec<hallpass::api::InboxCard> {
    let token = house.person(name, groups);
    let caller = house.broker.authenticate(&token, "127.0.0.1").await.unwrap();
    let hallpass::broker::Caller::Operator(caller) = caller else { panic!("not a person") };
    house.broker.inbox(&caller).await.unwrap()
}

#[tokio::test]
async fn the_queue_has_a_card_for_each_request_and_says_who_may_decide() {
    let house = with_approval("@approval(\"2 of release-approvers\")").await;
    let (first, second) = (house.waiting().await, house.waiting().await);
    house.verdict(&second.request, &house.nia(), "approve").await.expect(200);
    let seen = cards(&house, "dev-approver", &["release-approvers"]).await;
    assert_eq!(seen.len(), 2);
    assert_eq!(seen.iter().map(|card| card.like).collect::<Vec<_>>(), [1, 1]);
    let card = seen.iter().find(|card| card.id == first.request).unwrap();
    assert_eq!((card.impact.as_str(), card.risk, card.given), ("high", 80, 0));
    assert_eq!(seen.iter().find(|card| card.id == second.request).unwrap().given, 1);
    assert!(seen.iter().all(|card| card.cannot_decide.is_none()));
    let guest = cards(&house, "guest", &[]).await;
    assert!(guest.iter().all(|card| card.cannot_decide.as_deref() == Some("not_in_group:release-approvers")));
    house.verdict(&first.request, &house.nia(), "deny").await.expect(200);
    assert_eq!(cards(&house, "dev-approver", &["release-approvers"]).await.len(), 1);
}

#[tokio::test]
async fn a_long_queue_is_listed_in_a_few_queries() {
    let limits = "kinds = [\"deploy\"]\nlimits = { live_leases = 1000, pending_requests = 1000 }";
    let options = Options::default().with_change("agents.toml", "kinds = [\"deploy\"]", limits);
    let house = Harness::with(options).await;
    let count = 150;
    for _ in 0..count {
        house.waiting().await;
    }
    let seen = cards(&house, "dev-approver", &["release-approvers"]).await;
    assert_eq!(seen.len(), count);
    assert!(seen.iter().all(|card| usize::try_from(card.like).unwrap() == count - 1));
}

#[tokio::test]
async fn that_somebody_was_shown_a_request_is_noted_once_and_only_of_those_who_may_decide() {
    let house = Harness::start().await;
    let waiting = house.waiting().await;
    house.seen_by(&waiting.request, &house.operator()).await;
    house.seen_by(&waiting.request, &house.approver()).await;
    house.advance_secs(7);
    house.seen_by(&waiting.request, &house.approver()).await;
    house.verdict(&waiting.request, &house.approver(), "approve").await.expect(200);
    let shown = house.seen_by(&waiting.request, &house.operator()).await;
    assert_eq!(shown["verdicts"][0]["thought_millis"], 7000);
    let insights = house.get("/v1/insights/approvals", &house.operator()).await.expect(200);
    let people: Vec<&Value> = insights["items"].as_array().unwrap().iter().map(|item| &item["person"]).collect();
    assert_eq!(people, ["dev-approver"]);
}
