//! Policy over time: what decides, what a change does to what is under way, and what is on record of it.

use std::collections::BTreeMap;

use hallpass::domain::Actor;
use hallpass::minter::SandboxCall;
use hallpass::policy::Bundle;
use hallpass::worker::BundleWatch;
use serde_json::{Value, json};

use super::{API_READ, Held, READ, text};
use crate::support::harness::{Harness, Options, ask, shipped_bundle};

const PERMIT_ALL: &str = "@id(\"all\")\n@reason(\"Everything\")\n\
    permit (principal is Hallpass::Agent, action == Hallpass::Action::\"grant\", resource is Hallpass::Scope);\n";

/// A forbid of one resource label, as a policy file.
fn forbid(id: &str, when: &str) -> String {
    format!(
        "@id(\"{id}\")\n@reason(\"Not {id}\")\nforbid (principal, action == Hallpass::Action::\"grant\", resource)\nwhen {{ {when} }};\n"
    )
}

const PROD: &str = "resource.hasTag(\"env\") && resource.getTag(\"env\") == \"prod\"";

async fn with_policies(agents: &str) -> Harness {
    Harness::with(Options::default().with_file("agents.cedar", agents)).await
}

/// What policy decided on the closed task of a refusal.
async fn decided(house: &Harness, problem: &Value) -> Value {
    let events = house.events_of(&text(&problem["task"])).await;
    events.into_iter().find(|event| event["kind"] == "policy.decided").unwrap()
}

#[tokio::test]
async fn pol_01_without_a_policy_nothing_is_permitted() {
    let house = with_policies("").await;
    let problem = house.post("/v1/tasks", &house.agent("release-bot"), &ask(READ)).await.expect(403);
    assert_eq!((&problem["code"], &problem["reason"]), (&json!("policy-denied"), &json!("not_permitted")));
    let event = decided(&house, &problem).await;
    assert_eq!(event["data"]["outcome"], "deny");
    assert_eq!(event["data"]["bundle"], house.broker.bundle().digest().to_string());
    assert!(house.sandbox.ever_minted().is_empty());
}

#[tokio::test]
async fn pol_02_what_is_forbidden_is_forbidden_whatever_is_permitted() {
    let house = with_policies(&format!("{PERMIT_ALL}{}", forbid("prod", PROD))).await;
    let problem = house.post("/v1/tasks", &house.agent("release-bot"), &ask(API_READ)).await.expect(403);
    assert_eq!(problem["reason"], "forbidden");
    assert_eq!(problem["because"], json!(["Not prod"]));
    assert_eq!(decided(&house, &problem).await["data"]["policies"], json!(["prod"]));
    house.granted(READ).await;
}

#[tokio::test]
async fn pol_03_a_policy_that_cannot_be_evaluated_permits_nothing() {
    // A tag that no entry has: Cedar skips the erring forbid and would answer allow.
    let house =
        with_policies(&format!("{PERMIT_ALL}{}", forbid("broken", "context.ttl_seconds * 9223372036854775807 > 0")))
            .await;
    let problem = house.post("/v1/tasks", &house.agent("release-bot"), &ask(READ)).await.expect(403);
    assert_eq!(problem["code"], "policy-error");
    let errors = decided(&house, &problem).await["data"]["errors"].clone();
    assert!(errors.to_string().contains("broken"), "{errors}");
    assert!(house.sandbox.ever_minted().is_empty());
}

fn write_bundle(folder: &std::path::Path, files: &BTreeMap<String, String>) {
    for (path, text) in files {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

#[tokio::test]
async fn pol_04_a_folder_that_does_not_load_changes_nothing_and_is_reported_once() {
    let house = Harness::start().await;
    let folder = house.dir.path().join("policies");
    write_bundle(&folder, &shipped_bundle());
    let watch = BundleWatch::new(house.broker.clone(), folder.clone());
    let before = house.broker.bundle().digest();
    assert_eq!(watch.reload().await.unwrap(), before);

    for broken in [
        "permit (principal",
        "@id(\"x\")\n@reason(\"X\")\npermit (principal, action, resource) when { principal.nobody };",
    ] {
        std::fs::write(folder.join("agents.cedar"), broken).unwrap();
        let why = watch.reload().await.unwrap_err();
        assert!(why.contains("agents.cedar:"), "says where: {why}");
        watch.reload().await.unwrap_err();
        assert_eq!(house.broker.bundle().digest(), before);
        house.granted(READ).await;
    }
    let rejected = house.events("policy.change_rejected").await;
    assert_eq!(rejected.len(), 2, "each broken state once");
    assert_eq!(rejected[0]["data"]["in_force"], before.to_string());

    let changed = format!("{PERMIT_ALL}{}", forbid("prod", PROD));
    std::fs::write(folder.join("agents.cedar"), changed).unwrap();
    assert_ne!(watch.reload().await.unwrap(), before);
    house.post("/v1/tasks", &house.agent("release-bot"), &ask(API_READ)).await.expect(403);
}

fn forbid_reading(files: &mut BTreeMap<String, String>) {
    let agents = files.get_mut("agents.cedar").unwrap();
    agents.push_str(&forbid("reading", "resource.action == \"read\""));
}

#[tokio::test]
async fn pol_06_a_bundle_that_changes_while_a_credential_is_minted_leaves_no_credential() {
    let house = Harness::start().await;
    let mut held_back = house.sandbox.hold_next(SandboxCall::Mint);
    let mut denying = shipped_bundle();
    forbid_reading(&mut denying);
    let token = house.agent("release-bot");
    let body = ask(READ);
    let change = async {
        held_back.acted().await;
        house.broker.activate_bundle(Bundle::from_files(denying).unwrap(), Actor::Broker).await.unwrap();
        held_back.release();
    };
    let (reply, ()) = tokio::join!(house.post("/v1/tasks", &token, &body), change);
    assert_eq!(reply.expect(409)["code"], "policy-changed", "nothing is delivered");
    let lease = house.leases().await.remove(0);
    assert_ne!(lease["state"], "live");
    house.settle().await;
    assert!(house.sandbox.honoured(house.broker.now()).is_empty());
    assert_eq!(house.lease(&text(&lease["id"])).await["state"], "ended");
    let again = house.collect(&text(&lease["task"])).await.json();
    assert_eq!(again["credentials"], json!([]), "nor minted again: {again}");
    assert_eq!(house.sandbox.ever_minted().len(), 1);
}

#[tokio::test]
async fn pol_07_what_a_new_bundle_forbids_ends_within_one_sweep() {
    let mut house = Harness::start().await;
    let sandbox = house.granted(READ).await;
    let api = house.granted(API_READ).await;
    house.change_bundle(forbid_reading).await;
    house.sweep().await;
    assert!(!house.works(&sandbox.secret));
    assert_eq!(house.introspect(&api.secret).await, json!({ "active": false }));
    for held in [&sandbox, &api] {
        let events = house.events_of(&held.task).await;
        let ending = events.iter().find(|event| event["kind"] == "lease.ending").unwrap();
        assert_eq!(ending["data"]["cause"], "policy_changed");
        let collected = house.collect(&held.task).await.json();
        assert_eq!(collected["credentials"], json!([]), "and stays ended: {collected}");
    }
}

#[tokio::test]
async fn pol_07_a_restart_with_a_stricter_bundle_ends_what_it_forbids() {
    let mut house = Harness::start().await;
    let held = house.granted(READ).await;
    house.restart_with(forbid_reading).await;
    house.sweep().await;
    assert!(!house.works(&held.secret));
}

/// Put an agent's ceiling in force that has only this scope.
async fn narrow_ceiling(house: &mut Harness, to: &str) {
    house
        .change_bundle(|files| {
            let agents = files.get_mut("agents.toml").unwrap();
            let wide = "ceiling = [\"sandbox:releases:read\", \"sandbox:releases:write\", \"api:releases:read\", \"api:releases:write\"]";
            assert!(agents.contains(wide));
            *agents = agents.replace(wide, &format!("ceiling = [\"{to}\"]"));
        })
        .await;
}

#[tokio::test]
async fn pol_07_a_narrower_ceiling_ends_what_lies_above_it_and_it_is_not_collected_again() {
    let mut house = Harness::start().await;
    let mut body = ask(READ);
    body["task_ttl_seconds"] = json!(3600);
    let token = house.agent("release-bot");
    let above = Held::of(&house.post("/v1/tasks", &token, &body).await.expect(201));
    let below = house.granted(API_READ).await;
    // One whose lease is over, but whose grant lives.
    let idle = Held::of(&house.post("/v1/tasks", &token, &body).await.expect(201));
    house.revoke(&json!({ "lease": idle.lease })).await;
    narrow_ceiling(&mut house, API_READ).await;
    house.sweep().await;
    assert!(!house.works(&above.secret));
    assert_eq!(house.introspect(&below.secret).await["active"], true);
    for task in [&above.task, &idle.task] {
        assert_eq!(house.collect(task).await.json()["credentials"], json!([]));
    }
    assert!(house.sandbox.honoured(house.broker.now()).is_empty());
}

#[tokio::test]
async fn pol_07_an_agent_that_is_taken_out_of_the_bundle_holds_nothing_and_is_nobody() {
    let mut house = Harness::start().await;
    let held = house.granted(READ).await;
    house
        .change_bundle(|files| {
            let agents = files.get_mut("agents.toml").unwrap();
            let start = agents.find("[[agent]]\nid = \"release-bot\"").unwrap();
            let end = agents.find("[[agent]]\nid = \"triage-bot\"").unwrap();
            agents.replace_range(start..end, "");
        })
        .await;
    house.sweep().await;
    assert!(!house.works(&held.secret));
    house.post("/v1/tasks", &house.agent("release-bot"), &ask(READ)).await.expect(401);
}

#[tokio::test]
async fn pol_07_a_scope_that_left_the_catalogue_ends_and_holds_up_nothing_else() {
    let mut house = Harness::start().await;
    let body = json!({ "purpose": "both", "scopes": [READ, API_READ], "task_ttl_seconds": 3600 });
    let task = house.post("/v1/tasks", &house.agent("release-bot"), &body).await.expect(201);
    let id = text(&task["id"]);
    for credential in task["credentials"].as_array().unwrap() {
        house.revoke(&json!({ "lease": credential["id"] })).await;
    }
    narrow_ceiling(&mut house, API_READ).await;
    house
        .change_bundle(|files| {
            let agents = files.get_mut("agents.toml").unwrap();
            *agents = agents.replace("\"sandbox:releases:read\", ", "");
            let catalogue = files.get_mut("catalogue.toml").unwrap();
            let start = catalogue.find("[[scope]]\nname = \"sandbox:releases:read\"").unwrap();
            let end = catalogue.find("[[scope]]\nname = \"sandbox:releases:write\"").unwrap();
            catalogue.replace_range(start..end, "");
        })
        .await;
    let collected = house.collect(&id).await.expect(200);
    assert_eq!(collected["credentials"].as_array().unwrap().len(), 1, "{collected}");
    assert_eq!(collected["credentials"][0]["scopes"], json!([API_READ]));
}

#[tokio::test]
async fn pol_07_what_a_new_bundle_still_permits_lives_on() {
    let mut house = Harness::start().await;
    let held = house.granted(READ).await;
    house.change_bundle(|files| files.get_mut("agents.cedar").unwrap().push_str("// nothing new\n")).await;
    house.sweep().await;
    assert!(house.works(&held.secret));
}

#[tokio::test]
async fn pol_12_what_an_agent_says_is_what_it_says_and_nothing_else() {
    let forbidden =
        forbid("unapproved", "context.request.message != \"approved\" || context.request.references.hasTag(\"now\")");
    let house = with_policies(&format!("{PERMIT_ALL}{forbidden}")).await;
    let token = house.agent("release-bot");
    let mut body = ask(READ);
    // There is no place to put context; what there is lands under `request`.
    for name in ["context", "now", "principal", "approvals"] {
        let mut body = body.clone();
        body[name] = json!({ "satisfied": ["high-risk-needs-a-person"] });
        house.post("/v1/tasks", &token, &body).await.expect(400);
    }
    body["message"] = json!("approved");
    body["references"] = json!({ "now": "2020-01-01", "principal": "root", "approved": "true", "risk": "0" });
    let problem = house.post("/v1/tasks", &token, &body).await.expect(403);
    let decision = house.get(&format!("/v1/decisions/{}", text(&problem["decision"])), &token).await.expect(200);
    let input = &decision["input"][0];
    let context = input.get("context").unwrap_or(input);
    assert_ne!(context["now"], "2020-01-01", "{input}");
    assert!(context["request"].to_string().contains("2020-01-01"), "{input}");
    assert!(context["approved"].is_null() && context["risk"].is_null() && context["principal"].is_null(), "{input}");
}

#[tokio::test]
async fn pol_13_to_simulate_leaves_no_trace_and_needs_the_right_to() {
    let house = Harness::start().await;
    let before = house.events("policy.").await.len();
    let body = json!({ "agent": "release-bot", "task": ask(super::WRITE) });
    let answer = house.post("/v1/decisions/simulate", &house.operator(), &body).await.expect(200);
    assert_eq!(answer["outcome"], "require_approval");
    assert_eq!(answer["scopes"][0]["rule"], "1 of release-approvers");
    house.post("/v1/decisions/simulate", &house.approver(), &body).await.expect(403);
    house.post("/v1/decisions/simulate", &house.agent("triage-bot"), &body).await.expect(404);
    house.post("/v1/decisions/simulate", &house.agent("release-bot"), &json!({ "task": ask(READ) })).await.expect(200);
    let mut with_yes = body.clone();
    with_yes["approved"] = json!(true);
    house.post("/v1/decisions/simulate", &house.operator(), &with_yes).await.expect(400);

    assert_eq!(house.events("policy.").await.len(), before);
    for kind in ["task.", "access.", "credential.", "approval."] {
        assert!(house.events(kind).await.is_empty(), "{kind}");
    }
    assert!(house.leases().await.is_empty());
    let requests = house.get("/v1/requests", &house.operator()).await.expect(200);
    assert_eq!(requests["items"], json!([]));
}

#[tokio::test]
async fn pol_16_a_roll_back_is_a_change_like_any_other_and_names_both_bundles() {
    let mut house = Harness::start().await;
    let first = house.broker.bundle().digest().to_string();
    house.change_bundle(forbid_reading).await;
    let second = house.broker.bundle().digest().to_string();
    house.change_bundle(|files| *files = shipped_bundle()).await;
    assert_eq!(house.broker.bundle().digest().to_string(), first);
    let changes: Vec<(String, String)> = house
        .events("policy.changed")
        .await
        .iter()
        .map(|event| (text(&event["data"]["previous"]), text(&event["data"]["bundle"])))
        .collect();
    let expected = [("none".to_owned(), first.clone()), (first.clone(), second.clone()), (second, first)];
    assert_eq!(changes, expected);
    let held: Held = house.granted(READ).await;
    assert!(house.works(&held.secret));
}
