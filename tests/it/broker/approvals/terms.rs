//! The annotations beside `@approval`, as they work: what is shown, and who is among those who decide.

use serde_json::json;

use super::*;

#[tokio::test]
async fn what_a_yes_takes_is_shown_and_set_by_the_strictest_policy() {
    let notes = "@step_up(\"sign_in\") @approval_uses(\"3\") @approval_reason(\"required\")\n@break_glass(\"1 of incident-commanders\") @break_glass_ttl_seconds(\"120\")";
    let more = "@id(\"also\") @reason(\"Writes are asked for twice\") @approval(\"1 of release-approvers\") @approval_uses(\"2\")
        forbid (principal, action == Hallpass::Action::\"grant\", resource) when { resource.action == \"write\" }
        unless { context.approvals.satisfied.contains(\"also\") };";
    let house = with_more(notes).await;
    let waiting = house.waiting().await;
    let expected = json!({ "step_up": "sign_in", "reason_required": true, "uses": 3,
        "break_glass": "1 of incident-commanders", "break_glass_ttl_seconds": 120 });
    assert_eq!(house.shown(&waiting.request).await["terms"], expected);

    let options = Options::default().with_change("agents.cedar", ONE, &format!("{ONE}\n{notes}"));
    let house = Harness::with(options.with_file("more.cedar", more)).await;
    let waiting = house.waiting().await;
    let expected = json!({ "step_up": "sign_in", "reason_required": true, "uses": 2 });
    let shown = house.shown(&waiting.request).await;
    assert_eq!((&shown["terms"], &shown["rule"]), (&expected, &json!("1 of release-approvers")));
}

#[tokio::test]
async fn a_reason_that_policy_wants_must_be_given_with_a_yes_and_not_with_a_no() {
    let house = with_more("@approval_reason(\"required\")").await;
    let waiting = house.waiting().await;
    let problem = house.verdict(&waiting.request, &house.approver(), "approve").await.expect(400);
    assert!(text(&problem["detail"]).contains("wants a `reason`"), "{problem}");
    let said = house.say(&waiting.request, &house.approver(), &json!({ "reason": "checked the build" })).await;
    assert_eq!(said.expect(200)["state"], "granted");
    let waiting = house.waiting().await;
    assert_eq!(house.verdict(&waiting.request, &house.approver(), "deny").await.expect(200)["state"], "denied");
}

#[tokio::test]
async fn the_owner_and_the_beneficiary_decide_only_where_policy_includes_them() {
    for (notes, beneficiary, name, status) in [
        ("", None, "maya", 403),
        ("@approval_includes(\"beneficiary\")", None, "maya", 403),
        ("@approval_includes(\"owner\")", None, "maya", 200),
        ("@approval_includes(\"owner\")", Some("jonas"), "jonas", 403),
        ("@approval_includes(\"beneficiary\")", Some("jonas"), "jonas", 200),
        ("@approval_includes(\"owner, beneficiary\")", Some("maya"), "maya", 200),
        ("@approval_includes(\"owner\")", Some("maya"), "maya", 403),
    ] {
        let house = with_more(notes).await;
        let members = beneficiary.map_or(json!({}), |name| json!({ "on_behalf_of": name }));
        let waiting = house.waiting_with(&members).await;
        let person = house.addressed(name, &format!("{name}@acme.example"));
        let said = house.verdict(&waiting.request, &person, "approve").await;
        assert_eq!(said.status.as_u16(), status, "{notes} {beneficiary:?} {name}");
        if status == 200 {
            house.collected(&waiting.task).await;
        } else {
            assert_eq!(house.reasons("approval.refused").await, ["own_request"]);
        }
    }
}

#[tokio::test]
async fn scopes_whose_yes_takes_something_else_wait_apart() {
    let other = "@id(\"api-writes\") @reason(\"Api writes wait too\") @approval(\"1 of release-approvers\") @step_up(\"passkey\")
        forbid (principal, action == Hallpass::Action::\"grant\", resource in Hallpass::Backend::\"api\")
        when { resource.action == \"write\" } unless { context.approvals.satisfied.contains(\"api-writes\") };";
    let house = Harness::with(Options::default().with_file("more.cedar", other)).await;
    let body = json!({ "purpose": "both", "scopes": [{ "scope": super::super::WRITE }, { "scope": API_WRITE }] });
    let task = house.post("/v1/tasks", &house.agent("release-bot"), &body).await.expect(202);
    let mut wanted = Vec::new();
    for request in task["requests"].as_array().unwrap() {
        wanted.push(text(&house.shown(request["id"].as_str().unwrap()).await["terms"]["step_up"]));
    }
    wanted.sort();
    assert_eq!(wanted, ["none", "passkey"]);
}
