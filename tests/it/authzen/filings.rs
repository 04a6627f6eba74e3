//! Filing a denial: the whole way from no to a credential, and what else becomes of a filing.

use serde_json::{Value, json};

use super::{
    BOT, FROZEN, REQUESTS, again, approve, approved, bundle, decide, denied, evaluate, filed, filing, id_of, publish,
    request_of, send, send_keyed, stand, text, urn, waiting_of, write,
};
use crate::support::harness::{Harness, Options};

fn collect_path(filing: &Value) -> String {
    let url = text(&filing["task"]["links"]["urn:hallpass:credentials"]);
    url[url.find("/v1/").unwrap()..].to_owned()
}

#[tokio::test]
async fn from_no_over_people_to_a_credential() {
    let house = Harness::start().await;
    let asked = publish("v1.4.2/");
    let context = denied(&house, &asked).await;
    let reply = send(&house, &filing(&asked, &context)).await;
    assert_eq!(reply.headers["location"], text(&reply.json()["task"]["status_endpoint"]).as_str());
    assert_eq!(reply.headers["retry-after"], "5");
    let first = reply.expect(202);
    assert_eq!(first["task"]["status"], "pending");
    // What people are shown says what it is for.
    let shown = house.get(&format!("/v1/requests/{}", request_of(&first)), &house.approver()).await.expect(200);
    assert_eq!(shown["scopes"], json!(["api:releases:write(prefix=v1.4.2/)"]));
    assert_eq!(shown["asserted_purpose"], "Release train REL-482");
    // As long as they have not agreed, nothing changed.
    assert_eq!(evaluate(&house, &asked).await["decision"], false);
    approve(&house, &request_of(&first)).await;
    let settled = stand(&house, &first).await;
    assert_eq!((&settled["task"]["status"], &settled["result"]["mode"]), (&json!("approved"), &json!("reevaluate")));
    // Nothing was minted by all this, and the approval is no answer to the question without it.
    assert_eq!(house.get("/v1/leases", &house.operator()).await.expect(200)["items"], json!([]));
    assert_eq!(evaluate(&house, &asked).await["decision"], false);
    let yes = evaluate(&house, &again(&asked, &settled["result"]["approval"])).await;
    assert_eq!(yes["decision"], true);
    assert_eq!(yes["context"]["approval"]["id"], settled["result"]["approval"]["id"]);
    assert_eq!(
        yes["context"]["links"]["urn:hallpass:credentials"],
        settled["task"]["links"]["urn:hallpass:credentials"]
    );
    let collected = house.post(&collect_path(&settled), &house.agent(BOT), &json!({})).await.expect(200);
    assert_eq!(collected["credentials"][0]["scopes"], json!(["api:releases:write(prefix=v1.4.2/)"]));
    // Everything that happened is on record under the task, beginning with what was filed.
    let kinds = house.kinds_of(&text(&collected["id"])).await;
    for kind in
        ["task.opened", "access.requested", "access.filed", "approval.recorded", "access.granted", "credential.minted"]
    {
        assert!(kinds.iter().any(|found| found == kind), "{kind}: {kinds:?}");
    }
}

#[tokio::test]
async fn a_filing_may_join_the_task_its_evaluation_named() {
    let house = Harness::start().await;
    let open = json!({ "purpose": "publish v1.4.2", "scopes": ["sandbox:releases:read"], "ttl_seconds": 600 });
    let task = house.post("/v1/tasks", &house.agent(BOT), &open).await.expect(201);
    let mut asked = write();
    asked["context"] = json!({ "task": task["id"], "ttl_seconds": 300 });
    let standing = filed(&house, &asked).await;
    assert!(text(&standing["task"]["links"]["urn:hallpass:task"]).ends_with(&text(&task["id"])));
    // Asked for at our own API, it is the same request.
    let more = json!({ "scopes": ["sandbox:releases:write"], "ttl_seconds": 300 });
    let path = format!("/v1/tasks/{}/requests", text(&task["id"]));
    let same = house.post(&path, &house.agent(BOT), &more).await.expect(202);
    assert_eq!(same["requests"][0]["id"], request_of(&standing).as_str());
    assert_eq!(waiting_of(&house, &standing).await.len(), 1);
}

#[tokio::test]
async fn equal_filings_within_a_task_are_one_request() {
    let house = Harness::start().await;
    let open = json!({ "purpose": "publish v1.4.2", "scopes": ["sandbox:releases:read"], "ttl_seconds": 600 });
    let task = house.post("/v1/tasks", &house.agent(BOT), &open).await.expect(201);
    let mut asked = write();
    asked["context"] = json!({ "task": task["id"] });
    let (first, second) = (filed(&house, &asked).await, filed(&house, &asked).await);
    assert_ne!(id_of(&first), id_of(&second));
    assert_eq!(request_of(&first), request_of(&second));
    assert_eq!(waiting_of(&house, &first).await.len(), 1);
    // Both are settled by one yes, and both approvals are good.
    approve(&house, &request_of(&first)).await;
    for filing in [first, second] {
        let settled = stand(&house, &filing).await;
        assert_eq!(evaluate(&house, &again(&asked, &settled["result"]["approval"])).await["decision"], true);
    }
}

#[tokio::test]
async fn several_items_stand_each_for_itself_and_all_together() {
    let options = Options::default().with_change(
        "agents.cedar",
        "when { resource.risk >= 70 }",
        "when { resource.risk >= 70 || resource in Hallpass::Backend::\"api\" }",
    );
    let house = Harness::with(options).await;
    let asked = [write(), publish("v1/"), super::question("api:releases", "read")];
    let body = bundle(&house, &asked).await;
    let standing = send(&house, &body).await.expect(202);
    assert!(standing.get("result").is_none());
    let waiting = waiting_of(&house, &standing).await;
    // One card for each backend.
    assert_eq!(waiting.len(), 2);
    let mut by_backend = Vec::new();
    for request in &waiting {
        let shown = house.get(&format!("/v1/requests/{request}"), &house.approver()).await.expect(200);
        by_backend.push((text(&shown["scopes"][0]).split(':').next().unwrap().to_owned(), request.clone()));
    }
    by_backend.sort();
    approve(&house, &by_backend[0].1).await;
    let half = stand(&house, &standing).await;
    assert_eq!(half["task"]["status"], "pending");
    let statuses = |filing: &Value| -> Vec<String> {
        filing["task"]["items"].as_array().unwrap().iter().map(|item| text(&item["status"])).collect()
    };
    assert_eq!(statuses(&half), ["pending", "approved", "approved"]);
    decide(&house, &by_backend[1].1, &house.approver(), "deny").await.expect(200);
    let settled = stand(&house, &standing).await;
    assert_eq!(
        (settled["task"]["status"].clone(), statuses(&settled)),
        (json!("partial"), vec!["denied".to_owned(), "approved".to_owned(), "approved".to_owned()])
    );
    for (item, asked) in settled["task"]["items"].as_array().unwrap().iter().zip(&asked) {
        assert_eq!((&item["resource"], &item["action"]), (&asked["resource"], &asked["action"]));
        if item["status"] == "approved" {
            assert_eq!(evaluate(&house, &again(asked, &item["result"]["approval"])).await["decision"], true);
        }
    }
    // The approval of one item is none for another.
    let approval = &settled["task"]["items"][1]["result"]["approval"];
    let other = evaluate(&house, &again(&asked[2], approval)).await;
    assert_eq!((&other["decision"], &other["context"]["reason"]), (&json!(false), &json!("out_of_scope")));
}

#[tokio::test]
async fn what_is_granted_by_now_is_settled_at_once() {
    let mut house = Harness::start().await;
    let asked = write();
    let context = denied(&house, &asked).await;
    house
        .change_bundle(|files| {
            let policies = files.get_mut("agents.cedar").unwrap();
            *policies = policies.replace("resource.risk >= 70", "resource.risk >= 90");
        })
        .await;
    let settled = send(&house, &filing(&asked, &context)).await.expect(201);
    assert_eq!(settled["task"]["status"], "approved");
    assert_eq!(evaluate(&house, &again(&asked, &settled["result"]["approval"])).await["decision"], true);
    assert_eq!(house.get("/v1/leases", &house.operator()).await.expect(200)["items"], json!([]));
    let collected = house.post(&collect_path(&settled), &house.agent(BOT), &json!({})).await.expect(200);
    assert_eq!(collected["credentials"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_filing_ends_as_denied_cancelled_or_expired_and_stays_so() {
    let house = Harness::start().await;
    let refused = filed(&house, &write()).await;
    decide(&house, &request_of(&refused), &house.approver(), "deny").await.expect(200);
    let withdrawn = filed(&house, &write()).await;
    let path = format!("{REQUESTS}/{}/cancel", id_of(&withdrawn));
    house
        .post(&path, &house.agent(BOT), &json!({ "reason": "not_needed", "comment": "built again" }))
        .await
        .expect(200);
    let late = filed(&house, &write()).await;
    house.clock.advance_secs(1000);
    house.sweep().await;
    for (filing, status) in [(&refused, "denied"), (&withdrawn, "cancelled"), (&late, "expired")] {
        let stands = stand(&house, filing).await;
        assert_eq!(stands["task"]["status"], status);
        assert!(stands.get("result").is_none());
        assert!(stands["task"]["links"].get("cancel").is_none());
    }
    house.clock.advance_secs(86_400);
    house.sweep().await;
    for filing in [&refused, &withdrawn, &late] {
        let reply = house.get(&format!("{REQUESTS}/{}", id_of(filing)), &house.agent(BOT)).await;
        assert_eq!(urn(reply, 410), "task_expired");
    }
}

#[tokio::test]
async fn access_is_asked_for_no_longer_than_wanted_and_never_longer_than_an_agent_may() {
    let house = Harness::start().await;
    let now = house.broker.now();
    let asked = write();
    for (wanted_secs, ends_after) in [(1800, 1800), (86_400 * 30, 8 * 3600)] {
        let mut body = filing(&asked, &denied(&house, &asked).await);
        body["requested_access"] = json!({ "requested_until": now.plus_millis(wanted_secs * 1000) });
        let standing = send(&house, &body).await.expect(202);
        approve(&house, &request_of(&standing)).await;
        let settled = stand(&house, &standing).await;
        let until = now.plus_millis(ends_after * 1000);
        assert_eq!(settled["result"]["approval"]["approved_until"], until.to_string());
    }
    let mut body = filing(&asked, &denied(&house, &asked).await);
    body["requested_access"] = json!({ "requested_until": now });
    assert_eq!(send(&house, &body).await.status, 400);
}

#[tokio::test]
async fn a_sent_again_filing_is_the_same_filing() {
    let house = Harness::start().await;
    let asked = write();
    let body = filing(&asked, &denied(&house, &asked).await);
    let first = send_keyed(&house, &body, "k-1").await.expect(202);
    let again = send_keyed(&house, &body, "k-1").await.expect(202);
    assert_eq!(id_of(&first), id_of(&again));
    // Without the key the denial itself names it: it is used once.
    assert_eq!(id_of(&send(&house, &body).await.expect(202)), id_of(&first));
    // Also when the denial has expired, and the task has ended.
    house.clock.advance_secs(3600);
    house.sweep().await;
    let late = send_keyed(&house, &body, "k-1").await.expect(201);
    assert_eq!((id_of(&late), &late["task"]["status"]), (id_of(&first), &json!("expired")));
    assert_eq!(urn(send(&house, &body).await, 410), "expired_denial");
}

#[tokio::test]
async fn two_equal_filings_at_the_same_moment_are_one() {
    let house = Harness::start().await;
    let asked = write();
    let body = filing(&asked, &denied(&house, &asked).await);
    let (one, two) = tokio::join!(send(&house, &body), send(&house, &body));
    let (one, two) = (one.expect(202), two.expect(202));
    assert_eq!(id_of(&one), id_of(&two));
    let page = house.get("/v1/requests?state=pending", &house.operator()).await.expect(200);
    assert_eq!(page["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn denial_and_approval_survive_a_restart() {
    let mut house = Harness::start().await;
    let asked = write();
    let context = denied(&house, &asked).await;
    house.restart().await;
    let standing = send(&house, &filing(&asked, &context)).await.expect(202);
    approve(&house, &request_of(&standing)).await;
    let settled = stand(&house, &standing).await;
    house.restart().await;
    assert_eq!(evaluate(&house, &again(&asked, &settled["result"]["approval"])).await["decision"], true);
}

#[tokio::test]
async fn an_approval_counts_as_long_as_the_policy_in_force_says_so() {
    let mut house = Harness::start().await;
    let asked = write();
    let settled = approved(&house, &asked).await;
    let approval = &settled["result"]["approval"];
    assert_eq!(evaluate(&house, &again(&asked, approval)).await["decision"], true);
    // Another bundle: what people agreed to was something else, so they may be asked anew.
    house.change_bundle(|files| files.get_mut("agents.cedar").unwrap().push_str("// changed\n")).await;
    let superseded = evaluate(&house, &again(&asked, approval)).await;
    assert_eq!(
        (&superseded["decision"], &superseded["context"]["reason"]),
        (&json!(false), &json!("approval_expired"))
    );
    assert_eq!(superseded["context"]["next_action"], "request");
    // The denial that comes with it is one to file.
    send(&house, &filing(&asked, &superseded["context"])).await.expect(202);
    // And one that forbids it: nobody needs to be asked.
    house
        .change_bundle(|files| {
            files.get_mut("agents.cedar").unwrap().push_str(FROZEN);
        })
        .await;
    let forbidden = evaluate(&house, &again(&asked, approval)).await;
    assert_eq!(
        (&forbidden["context"]["reason"], &forbidden["context"]["next_action"]),
        (&json!("policy_denied"), &json!("none"))
    );
}

#[tokio::test]
async fn too_many_that_wait_are_told_as_everywhere() {
    let house = Harness::start().await;
    for n in 0..5 {
        filed(&house, &publish(&format!("v{n}/"))).await;
    }
    let asked = publish("v6/");
    let reply = send(&house, &filing(&asked, &denied(&house, &asked).await)).await;
    assert_eq!(reply.expect(429)["code"], "too-many-pending");
}

#[tokio::test]
async fn an_approval_is_good_for_as_many_credentials_as_policy_says() {
    let house = Harness::start().await;
    let asked = write();
    let mut body = filing(&asked, &denied(&house, &asked).await);
    body["requested_access"] = json!({ "requested_until": house.broker.now().plus_millis(1_800_000) });
    let standing = send(&house, &body).await.expect(202);
    approve(&house, &request_of(&standing)).await;
    let settled = stand(&house, &standing).await;
    let shown = again(&asked, &settled["result"]["approval"]);
    assert_eq!(evaluate(&house, &shown).await["decision"], true);
    house.post(&collect_path(&settled), &house.agent(BOT), &json!({})).await.expect(200);
    // As long as its one credential works, what was approved may be done.
    assert_eq!(evaluate(&house, &shown).await["decision"], true);
    house.clock.advance_secs(901);
    house.sweep().await;
    let over = evaluate(&house, &shown).await;
    assert_eq!((&over["decision"], &over["context"]["reason"]), (&json!(false), &json!("approval_expired")));
    assert_eq!(over["context"]["next_action"], "request");
}

#[tokio::test]
async fn an_approval_lasts_no_longer_than_the_window_policy_sets() {
    let window = "@approval(\"1 of release-approvers\")\n@approval_window_seconds(\"120\")";
    let options = Options::default().with_change("agents.cedar", "@approval(\"1 of release-approvers\")", window);
    let house = Harness::with(options).await;
    let asked = write();
    let settled = approved(&house, &asked).await;
    let approval = &settled["result"]["approval"];
    assert_eq!(approval["approved_until"], house.broker.now().plus_millis(120_000).to_string());
    house.clock.advance_secs(120);
    let over = evaluate(&house, &again(&asked, approval)).await;
    assert_eq!(over["context"]["reason"], "approval_expired");
}

#[tokio::test]
async fn what_a_narrower_yes_leaves_out_is_denied() {
    let house = Harness::start().await;
    let asked = [publish("v1/"), publish("v2/")];
    let standing = send(&house, &bundle(&house, &asked).await).await.expect(202);
    let waiting = waiting_of(&house, &standing).await;
    assert_eq!(waiting.len(), 1, "one card for what one credential may hold");
    let path = format!("/v1/requests/{}", waiting[0]);
    let shown = house.get(&path, &house.approver()).await.expect(200);
    let narrow = json!({ "verdict": "approve", "request_digest": shown["request_digest"],
        "narrow": { "drop_scopes": ["api:releases:write(prefix=v2/)"] } });
    house.post(&format!("{path}/verdict"), &house.approver(), &narrow).await.expect(200);
    let settled = stand(&house, &standing).await;
    assert_eq!(settled["task"]["status"], "partial");
    let items = settled["task"]["items"].as_array().unwrap();
    assert_eq!((&items[0]["status"], &items[1]["status"]), (&json!("approved"), &json!("denied")));
    let approval = &items[0]["result"]["approval"];
    assert_eq!(evaluate(&house, &again(&asked[0], approval)).await["decision"], true);
    let other = evaluate(&house, &again(&asked[1], approval)).await;
    assert_eq!((&other["decision"], &other["context"]["reason"]), (&json!(false), &json!("out_of_scope")));
}
