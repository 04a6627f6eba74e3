//! The AuthZEN door over the router with real parts: the Authorization API as its certification asks, and the Access Request and
//! Approval Profile (Draft 1, openid/authzen @ e287920) as a table of its MUSTs.

mod callbacks;
mod evaluation;
mod filings;
mod interop;
mod musts;

use serde_json::{Value, json};

use crate::support::harness::{Harness, Reply};

pub(crate) const EVALUATION: &str = "/access/v1/evaluation";
pub(crate) const EVALUATIONS: &str = "/access/v1/evaluations";
pub(crate) const REQUESTS: &str = "/access/v1/requests";
const BOT: &str = "release-bot";
/// A policy that forbids everything to agents, whoever agrees.
const FROZEN: &str = "@id(\"frozen\")\n@reason(\"Frozen\")\n\
    forbid (principal is Hallpass::Agent, action == Hallpass::Action::\"grant\", resource);\n";

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}")).to_owned()
}

/// A question of release-bot's about a resource of the sandbox or the API.
fn question(resource: &str, action: &str) -> Value {
    json!({
        "subject": { "type": "agent", "id": BOT },
        "resource": { "type": "scope", "id": resource },
        "action": { "name": action },
    })
}

/// Permitted without anybody.
fn read() -> Value {
    question("sandbox:releases", "read")
}

/// Waits for one of `release-approvers`.
fn write() -> Value {
    question("sandbox:releases", "write")
}

/// The same with a parameter.
fn publish(prefix: &str) -> Value {
    let mut publish = question("api:releases", "write");
    publish["resource"]["properties"] = json!({ "params": { "prefix": prefix } });
    publish
}

/// The answer to a question of release-bot's.
async fn evaluate(house: &Harness, question: &Value) -> Value {
    house.post(EVALUATION, &house.agent(BOT), question).await.expect(200)
}

/// A denial that people can lift, which is what the question must be answered with.
async fn denied(house: &Harness, question: &Value) -> Value {
    let answer = evaluate(house, question).await;
    assert_eq!(answer["decision"], false, "{answer}");
    assert!(answer["context"]["access_request"].is_object(), "{answer}");
    answer["context"].clone()
}

/// What is sent back of a denial.
fn denial(context: &Value) -> Value {
    json!({
        "evaluation_id": context["evaluation_id"], "evaluated_at": context["evaluated_at"], "reason": context["reason"],
        "expires_at": context["access_request"]["expires_at"], "binding_token": context["access_request"]["binding_token"],
    })
}

/// A filing of one question that was denied.
fn filing(question: &Value, context: &Value) -> Value {
    let mut body = question.clone();
    if body["context"].is_null() {
        body["context"] = json!({});
    }
    body["context"]["business_justification"] = json!("Release train REL-482");
    body["denial"] = denial(context);
    body
}

/// A filing of several questions, each with its own denial.
async fn bundle(house: &Harness, questions: &[Value]) -> Value {
    let mut items = Vec::new();
    for question in questions {
        let context = denied(house, question).await;
        let denial = denial(&context);
        items.push(json!({ "resource": question["resource"], "action": question["action"], "denial": denial }));
    }
    json!({ "subject": { "type": "agent", "id": BOT }, "items": items })
}

async fn send(house: &Harness, body: &Value) -> Reply {
    house.post(REQUESTS, &house.agent(BOT), body).await
}

async fn send_keyed(house: &Harness, body: &Value, key: &str) -> Reply {
    house.call("POST", REQUESTS, &house.agent(BOT), Some(body), &[("idempotency-key", key)]).await
}

/// Deny, and file: what stands then.
async fn filed(house: &Harness, question: &Value) -> Value {
    let context = denied(house, question).await;
    send(house, &filing(question, &context)).await.expect(202)
}

fn id_of(filing: &Value) -> String {
    text(&filing["task"]["id"])
}

async fn stand(house: &Harness, filing: &Value) -> Value {
    house.get(&format!("{REQUESTS}/{}", id_of(filing)), &house.agent(BOT)).await.expect(200)
}

/// The request that a filing waits for, from its link for people.
fn request_of(filing: &Value) -> String {
    text(&filing["task"]["links"]["review"]).rsplit('/').next().unwrap().to_owned()
}

/// Every request of a filing's task that waits.
async fn waiting_of(house: &Harness, filing: &Value) -> Vec<String> {
    let url = text(&filing["task"]["links"]["urn:hallpass:task"]);
    let path = &url[url.find("/v1/").unwrap()..];
    let task = house.get(path, &house.agent(BOT)).await.expect(200);
    let requests = task["requests"].as_array().unwrap();
    requests.iter().filter(|request| request["state"] == "pending").map(|request| text(&request["id"])).collect()
}

async fn decide(house: &Harness, request: &str, person: &str, verdict: &str) -> Reply {
    let shown = house.get(&format!("/v1/requests/{request}"), person).await.expect(200);
    let body = json!({ "verdict": verdict, "request_digest": shown["request_digest"], "reason": "checked the build" });
    house.post(&format!("/v1/requests/{request}/verdict"), person, &body).await
}

async fn approve(house: &Harness, request: &str) {
    decide(house, request, &house.approver(), "approve").await.expect(200);
}

/// Deny, file, approve: the filing as it stands then.
async fn approved(house: &Harness, question: &Value) -> Value {
    let filing = filed(house, question).await;
    approve(house, &request_of(&filing)).await;
    let filing = stand(house, &filing).await;
    assert_eq!(filing["task"]["status"], "approved", "{filing}");
    filing
}

/// The question again, with an approval.
fn again(question: &Value, approval: &Value) -> Value {
    let mut question = question.clone();
    if question["context"].is_null() {
        question["context"] = json!({});
    }
    question["context"]["approval"] = approval.clone();
    question
}

/// The `type` of a problem, after its status.
fn urn(reply: Reply, status: u16) -> String {
    assert_eq!(reply.headers["content-type"], "application/problem+json");
    let problem = reply.expect(status);
    assert!(problem["request_id"].is_string(), "{problem}");
    text(&problem["type"]).replace("urn:openid:authzen:access-request:error:", "")
}
