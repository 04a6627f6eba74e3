//! Against fatigue: what is counted, and what is proposed as policy.

use std::collections::BTreeMap;

use hallpass::policy::Bundle;
use serde_json::{Value, json};

use super::text;
use crate::support::harness::Harness;

async fn approvals(house: &Harness) -> Vec<Value> {
    let page = house.get("/v1/insights/approvals?days=30", &house.operator()).await.expect(200);
    page["items"].as_array().unwrap().clone()
}

async fn suggestions(house: &Harness) -> Vec<Value> {
    let page = house.get("/v1/insights/suggestions", &house.operator()).await.expect(200);
    page["items"].as_array().unwrap().clone()
}

async fn decided(house: &Harness, person: &str, verdict: &str, thinks_secs: i64) {
    let waiting = house.waiting().await;
    let digest = text(&house.seen_by(&waiting.request, person).await["request_digest"]);
    house.advance_secs(thinks_secs);
    house.verdict_on(&waiting.request, person, verdict, &digest).await.expect(200);
}

#[tokio::test]
async fn each_persons_day_says_how_much_was_asked_and_how_long_they_thought() {
    let house = Harness::start().await;
    for (thinks, verdict) in [(2, "approve"), (20, "approve"), (10, "deny")] {
        decided(&house, &house.approver(), verdict, thinks).await;
    }
    let waiting = house.waiting().await;
    house.seen_by(&waiting.request, &house.approver()).await;
    house.seen_by(&waiting.request, &house.nia()).await;
    let days = approvals(&house).await;
    let of = |person: &str| days.iter().find(|day| text(&day["person"]).ends_with(person)).unwrap().clone();
    let day = of("dev-approver");
    let counts =
        ["asked", "decided", "approved", "hasty", "median_thought_millis"].map(|name| day[name].as_i64().unwrap());
    assert_eq!(counts, [4, 3, 2, 1, 10_000], "{day}");
    assert_eq!((&of("nia")["asked"], &of("nia")["decided"]), (&json!(1), &json!(0)));
    assert_eq!(day["day"].as_str().unwrap().len(), 10);
    for days in ["0", "91", "x"] {
        house.get(&format!("/v1/insights/approvals?days={days}"), &house.operator()).await.expect(400);
    }
}

#[tokio::test]
async fn five_like_approvals_make_a_diff_that_loads_and_asks_nobody() {
    let house = Harness::start().await;
    for _ in 0..4 {
        decided(&house, &house.approver(), "approve", 5).await;
    }
    assert!(suggestions(&house).await.is_empty());
    decided(&house, &house.nia(), "approve", 5).await;
    let made = suggestions(&house).await;
    assert_eq!(made.len(), 1);
    let one = &made[0];
    assert_eq!(one["entries"], json!(["sandbox:releases:write"]));
    assert_eq!((&one["agent"], &one["granted"]), (&json!("release-bot"), &json!(5)));
    assert_eq!(one["policies"], json!(["high-risk-needs-a-person"]));
    assert_eq!(one["people"].as_array().unwrap().len(), 2);
    let diff = text(&one["diff"]);
    assert!(diff.starts_with("--- a/agents.cedar\n+++ b/agents.cedar\n@@ "), "{diff}");
    assert!(diff.contains("+unless { principal == Hallpass::Agent::\"release-bot\""), "{diff}");
    // Applied as it stands, the bundle loads, and the agent is asked for nobody; others and other scopes are as before.
    let files = applied(house.broker.bundle().files(), &diff);
    Bundle::from_files(files.clone()).unwrap();
    let mut house = house;
    house.change_bundle(|bundle| *bundle = files).await;
    let granted =
        house.post("/v1/tasks", &house.agent("release-bot"), &crate::support::harness::ask(super::WRITE)).await;
    assert_eq!(granted.status.as_u16(), 201);
    let other = crate::support::harness::ask("api:releases:write(prefix=v1)");
    let other = house.post("/v1/tasks", &house.agent("release-bot"), &other).await.expect(202);
    assert_eq!(other["requests"][0]["state"], "pending");
    let mut longer = crate::support::harness::ask(super::WRITE);
    longer["ttl_seconds"] = json!(900);
    house.post("/v1/tasks", &house.agent("release-bot"), &longer).await.expect(202);
    assert!(suggestions(&house).await.is_empty());
}

#[tokio::test]
async fn a_denial_in_between_begins_the_count_anew() {
    let house = Harness::start().await;
    for verdict in ["approve", "approve", "approve", "deny", "approve", "approve"] {
        decided(&house, &house.approver(), verdict, 5).await;
    }
    assert!(suggestions(&house).await.is_empty());
    let insights = house.get("/v1/insights/suggestions", &house.approver()).await;
    assert_eq!(insights.status.as_u16(), 403);
}

/// Apply a unified diff with one hunk a file, strictly.
fn applied(files: &BTreeMap<String, String>, diff: &str) -> BTreeMap<String, String> {
    let mut files = files.clone();
    for part in diff.split("--- a/").skip(1) {
        let mut lines = part.lines();
        let path = lines.next().unwrap().to_owned();
        assert_eq!(lines.next().unwrap(), format!("+++ b/{path}"));
        let hunk = lines.next().unwrap();
        let from: usize = hunk.split(['-', ',']).nth(1).unwrap().parse().unwrap();
        let mut out: Vec<String> = Vec::new();
        let old: Vec<&str> = files[&path].lines().collect();
        out.extend(old[..from - 1].iter().map(ToString::to_string));
        let mut at = from - 1;
        for line in lines {
            let (mark, text) = line.split_at(1);
            if mark != "+" {
                assert_eq!(old[at], text, "the context fits");
                at += 1;
            }
            if mark != "-" {
                out.push(text.to_owned());
            }
        }
        out.extend(old[at..].iter().map(ToString::to_string));
        files.insert(path, out.join("\n") + "\n");
    }
    files
}
