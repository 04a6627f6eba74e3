//! Who may pass which door: every route of the OpenAPI document, called by every kind of caller. The table is checked in; a route
//! that is not in it fails the test, and so does a line without a route.

use hallpass::broker::{OpenedFrom, OperatorCaller};
use hallpass::domain::SessionKind;
use hallpass::identity::PresentedToken;
use hallpass::sys::ExposeSecret as _;
use serde_json::{Value, json};

use crate::support::harness::Options;
use crate::support::wire::{APPROVER, Who, Wire};

const OPERATOR: Who = Who::Person("jonas", &["hallpass-operators"]);

/// The callers, in the order of the table's columns.
const CALLERS: [Who; 8] = [
    Who::Nobody,
    Who::Agent("release-bot"),
    Who::Agent("triage-bot"),
    Who::Person("guest", &[]),
    APPROVER,
    OPERATOR,
    Who::Person("auditor", &["hallpass-auditors"]),
    Who::ResourceServer,
];

/// What the shipped policies make of it; they let every person who is signed in see what waits, and nothing
/// else.
///
/// Method and path, then the status for: nobody, the agent itself, another agent, a person without a group, an approver, an
/// operator, an auditor, a resource server.
const DOORS: &[(&str, [u16; 8])] = &[
    ("GET /.well-known/authzen-configuration", [200; 8]),
    ("GET /.well-known/jwks.json", [200; 8]),
    ("POST /access/v1/evaluation", [401, 200, 200, 403, 403, 403, 403, 401]),
    ("POST /access/v1/evaluations", [401, 200, 200, 403, 403, 403, 403, 401]),
    ("POST /access/v1/requests", [401, 202, 403, 403, 403, 403, 403, 401]),
    ("GET /access/v1/requests/{id}", [401, 200, 404, 403, 403, 403, 403, 401]),
    ("DELETE /access/v1/requests/{id}/cancel", [401, 200, 404, 403, 403, 403, 403, 401]),
    ("POST /access/v1/requests/{id}/cancel", [401, 200, 404, 403, 403, 403, 403, 401]),
    ("GET /docs", [200; 8]),
    ("GET /livez", [200; 8]),
    ("GET /openapi.json", [200; 8]),
    ("GET /problems/{slug}", [200; 8]),
    ("GET /readyz", [200; 8]),
    ("POST /oauth/device_authorization", [200; 8]),
    ("POST /oauth/token", [200; 8]),
    // Signed by the chat, for a channel that is configured; there is none here.
    ("POST /notify/slack/{name}/actions", [404; 8]),
    ("POST /oauth/introspect", [401, 401, 401, 401, 401, 401, 401, 200]),
    ("GET /v1/agents", [401, 403, 403, 403, 403, 200, 200, 401]),
    ("POST /v1/agents/{id}/resume", [401, 403, 403, 403, 403, 200, 403, 401]),
    ("POST /v1/agents/{id}/suspend", [401, 403, 403, 403, 403, 200, 403, 401]),
    ("GET /v1/backends/{name}/krl", [200; 8]),
    ("GET /v1/backends/{name}/revocation-list", [200; 8]),
    ("GET /v1/backends/{name}/status-lists/{list}", [200; 8]),
    ("POST /v1/decisions/simulate", [401, 200, 200, 403, 403, 200, 200, 401]),
    ("GET /v1/decisions/{id}", [401, 200, 404, 404, 404, 200, 200, 401]),
    ("GET /v1/delegations", [401, 403, 403, 200, 200, 200, 200, 401]),
    ("POST /v1/delegations", [401, 403, 403, 201, 201, 201, 201, 401]),
    ("POST /v1/delegations/{id}/end", [401, 403, 403, 404, 200, 200, 404, 401]),
    ("GET /v1/insights/approvals", [401, 403, 403, 403, 403, 200, 200, 401]),
    ("GET /v1/insights/suggestions", [401, 403, 403, 403, 403, 200, 200, 401]),
    ("GET /v1/events", [401, 403, 403, 403, 403, 200, 200, 401]),
    ("GET /v1/leases", [401, 200, 200, 403, 403, 200, 200, 401]),
    ("GET /v1/passkeys", [401, 403, 403, 200, 200, 200, 200, 401]),
    // A token that does not say when its person signed in opens nothing that lasts; `tests/it/passkeys` has those that do.
    ("POST /v1/passkeys", [401, 403, 403, 401, 401, 401, 401, 401]),
    ("POST /v1/passkeys/challenges", [401, 403, 403, 401, 401, 401, 401, 401]),
    ("POST /v1/passkeys/{id}/end", [401, 403, 403, 401, 401, 401, 401, 401]),
    ("POST /v1/passkeys/{id}/name", [401, 403, 403, 404, 404, 404, 404, 401]),
    ("GET /v1/requests", [401, 403, 403, 200, 200, 200, 200, 401]),
    ("GET /v1/requests/{id}", [401, 403, 403, 200, 200, 200, 200, 401]),
    ("POST /v1/requests/{id}/questions", [401, 403, 403, 403, 201, 403, 403, 401]),
    ("POST /v1/requests/{id}/review", [401, 403, 403, 403, 200, 403, 403, 401]),
    ("GET /v1/reviews", [401, 403, 403, 200, 200, 200, 200, 401]),
    // Nobody here has a passkey to be asked.
    ("POST /v1/requests/{id}/challenge", [401, 403, 403, 403, 403, 403, 403, 401]),
    ("GET /v1/requests/{id}/evidence", [401, 403, 403, 200, 200, 200, 200, 401]),
    ("POST /v1/requests/{id}/verdict", [401, 403, 403, 403, 200, 403, 403, 401]),
    ("POST /v1/revocations", [401, 200, 404, 403, 403, 200, 403, 401]),
    ("GET /v1/scopes", [401, 200, 200, 403, 403, 200, 200, 401]),
    ("GET /v1/sessions", [401, 403, 403, 200, 200, 200, 200, 401]),
    ("POST /v1/sessions/end-all", [401, 403, 403, 200, 200, 200, 200, 401]),
    ("POST /v1/sessions/{id}/end", [401, 403, 403, 404, 404, 200, 404, 401]),
    ("POST /v1/tasks", [401, 201, 201, 403, 403, 403, 403, 401]),
    ("GET /v1/tasks/{id}", [401, 200, 404, 404, 404, 200, 200, 401]),
    ("POST /v1/tasks/{id}/cancel", [401, 200, 404, 403, 403, 403, 403, 401]),
    ("GET /v1/tasks/{id}/closure", [401, 200, 404, 404, 404, 200, 200, 401]),
    ("POST /v1/tasks/{id}/complete", [401, 200, 404, 403, 403, 403, 403, 401]),
    ("POST /v1/tasks/{id}/credentials", [401, 202, 404, 403, 403, 403, 403, 401]),
    ("POST /v1/tasks/{id}/heartbeat", [401, 200, 404, 403, 403, 403, 403, 401]),
    ("POST /v1/tasks/{id}/requests", [401, 201, 404, 403, 403, 403, 403, 401]),
    ("POST /v1/tasks/{id}/requests/{request}/answers", [401, 200, 404, 403, 403, 403, 403, 401]),
    ("POST /v1/tasks/{id}/requests/{request}/withdraw", [401, 200, 404, 403, 403, 403, 403, 401]),
    ("GET /v1/whoami", [401, 200, 200, 200, 200, 200, 200, 401]),
];

#[test]
fn api_02_every_route_is_in_the_table_and_the_table_has_no_other() {
    let mut routes: Vec<String> =
        hallpass::http::route_list().into_iter().map(|route| format!("{} {}", route.method, route.path)).collect();
    let mut listed: Vec<String> = DOORS.iter().map(|(door, _)| (*door).to_owned()).collect();
    listed.extend(crate::doors_console::doors().map(str::to_owned));
    routes.sort();
    listed.sort();
    assert_eq!(listed, routes);
}

/// Doors that open to people who signed in a moment ago and have a passkey, of whom there is none in the table; `tests/it/passkeys`
/// opens them.
const OPENED_ELSEWHERE: [&str; 5] = [
    "POST /v1/passkeys",
    "POST /v1/passkeys/challenges",
    "POST /v1/passkeys/{id}/end",
    "POST /v1/passkeys/{id}/name",
    "POST /v1/requests/{id}/challenge",
];

/// What `--print-routes` says of who may call, against what the doors do: whoever is named passes at least one door-keeper, and
/// whoever is not named is refused.
#[test]
fn api_02_what_print_routes_says_is_what_the_doors_do() {
    let (code, out, err) = crate::cli::run(crate::cli::hallpass().arg("--print-routes"));
    assert_eq!(code, 0, "{err}");
    let mut printed = 0;
    for line in out.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let door = format!("{} {}", words[0], words[1]);
        if crate::doors_console::doors().any(|known| known == door) {
            // That table says the same of its own.
            continue;
        }
        let (_, statuses) = DOORS.iter().find(|(known, _)| *known == door).unwrap_or_else(|| panic!("{door}?"));
        printed += 1;
        let named = |word: &str| words[2..].contains(&word);
        let passes = |columns: &[usize]| columns.iter().any(|column| statuses[*column] < 300);
        if OPENED_ELSEWHERE.contains(&door.as_str()) {
            assert!(named("operator") && !passes(&[0, 1, 2, 3, 4, 5, 6, 7]), "{line}");
            continue;
        }
        assert_eq!(named("nobody"), passes(&[0]), "{line}");
        if !named("nobody") {
            assert_eq!(named("agent"), passes(&[1, 2]), "{line}");
            assert_eq!(named("operator"), passes(&[3, 4, 5, 6]), "{line}");
            assert_eq!(named("resource-server"), passes(&[7]), "{line}");
        }
    }
    assert_eq!(printed, DOORS.len());
}

/// A task of release-bot with something live and something pending, and something of its that was denied and filed.
struct Story {
    filing: String,
    denied: Value,
    task: String,
    request: String,
    decision: String,
    digest: String,
    session: String,
    /// A question that waits for an answer, and a delegation of the approver's, where the door is about one.
    asked: String,
    delegation: String,
    /// An hour from now.
    later: String,
}

/// Somebody who is signed in to the console.
async fn signed_in(wire: &Wire) -> OperatorCaller {
    let token = PresentedToken::parse(&wire.person("nia", &[])).unwrap();
    let identity = wire.broker.verifiers().verify(&token, wire.broker.now()).await.unwrap();
    let from = OpenedFrom { user_agent: "a browser".to_owned(), address: "192.0.2.1".to_owned() };
    let opened = wire.broker.open_session(&identity, SessionKind::Console, &from).await.unwrap();
    wire.broker.session_caller(opened.secret.expose_secret()).await.unwrap()
}

/// The form of a call in OAuth's shape; the code of one that polls was confirmed.
async fn form_for(wire: &Wire, path: &str) -> String {
    match path {
        "/oauth/device_authorization" => "client_id=hallpass-cli".to_owned(),
        "/oauth/token" => {
            let asked = wire.broker.ask_device_sign_in("a command line", "192.0.2.1").await.unwrap();
            wire.broker.answer_device_sign_in(&signed_in(wire).await, &asked.user_code, true).await.unwrap();
            let grant = "urn:ietf:params:oauth:grant-type:device_code";
            format!("client_id=hallpass-cli&grant_type={grant}&device_code={}", asked.device_code)
        }
        _ => "token=abc".to_owned(),
    }
}

/// What release-bot may ask people for through AuthZEN.
fn question() -> Value {
    json!({ "subject": { "type": "agent", "id": "release-bot" }, "action": { "name": "write" },
        "resource": { "type": "scope", "id": "sandbox:releases" } })
}

/// A filing of it, with a fresh denial.
async fn denied(wire: &Wire) -> Value {
    let mut filing = question();
    let context = wire.call(CALLERS[1], "POST", "/access/v1/evaluation", Some(&filing)).await.json()["context"].clone();
    let hint = &context["access_request"];
    filing["denial"] = json!({ "expires_at": hint["expires_at"], "binding_token": hint["binding_token"] });
    filing
}

async fn story(wire: &Wire) -> Story {
    let ask = json!({ "purpose": "publish a release", "heartbeat_seconds": 300,
        "scopes": ["sandbox:releases:read", "api:releases:write(prefix=v1)"], "ttl_seconds": 600 });
    let answer = wire.call(CALLERS[1], "POST", "/v1/tasks", Some(&ask)).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let task = answer.json();
    let pending = task["requests"].as_array().unwrap().iter().find(|request| request["state"] == "pending").unwrap();
    let request = pending["id"].as_str().unwrap().to_owned();
    let view = wire.call(CALLERS[4], "GET", &format!("/v1/requests/{request}"), None).await.json();
    let filed = wire.call(CALLERS[1], "POST", "/access/v1/requests", Some(&denied(wire).await)).await;
    assert_eq!(filed.status, 202, "{}", filed.text);
    Story {
        filing: filed.json()["task"]["id"].as_str().unwrap().to_owned(),
        denied: denied(wire).await,
        task: task["id"].as_str().unwrap().to_owned(),
        decision: pending["decision"].as_str().unwrap().to_owned(),
        digest: view["request_digest"].as_str().unwrap().to_owned(),
        request,
        session: signed_in(wire).await.sign_in.session.unwrap().to_string(),
        asked: String::new(),
        delegation: String::new(),
        later: wire.broker.now().plus_millis(3_600_000).to_string(),
    }
}

fn body_for(door: &str, story: &Story) -> Option<Value> {
    let ask = json!({ "purpose": "read releases", "scopes": ["sandbox:releases:read"], "ttl_seconds": 600 });
    let simulated = |agent: Option<&str>| json!({ "agent": agent, "task": ask });
    match door {
        "POST /access/v1/evaluation" | "POST /access/v1/evaluations" => Some(question()),
        "POST /access/v1/requests" => Some(story.denied.clone()),
        "POST /v1/tasks" => Some(ask),
        "POST /v1/tasks/{id}/requests" => Some(json!({ "scopes": ["api:releases:read"], "ttl_seconds": 600 })),
        "POST /v1/decisions/simulate" => Some(simulated(None)),
        "POST /v1/passkeys/challenges" | "POST /v1/passkeys/{id}/name" => Some(json!({ "name": "laptop" })),
        "POST /v1/passkeys" => Some(json!({ "challenge": "pkc_0", "client_data": "e30", "attestation_object": "oA" })),
        "POST /v1/requests/{id}/challenge" | "POST /v1/requests/{id}/verdict" => {
            Some(json!({ "verdict": "approve", "request_digest": story.digest, "reason": "REL-482" }))
        }
        "POST /v1/requests/{id}/questions" => Some(json!({ "text": "Why now?" })),
        "POST /v1/requests/{id}/review" => Some(json!({ "verdict": "confirmed", "note": "looked at it" })),
        "POST /v1/tasks/{id}/requests/{request}/answers" => {
            Some(json!({ "question": story.asked, "text": "The release is due." }))
        }
        "POST /v1/delegations" => Some(json!({ "to": "maya", "until": story.later, "reason": "on holiday" })),
        "POST /v1/revocations" => Some(json!({ "target": { "task": story.task }, "reason": "test" })),
        "POST /v1/agents/{id}/resume" | "POST /v1/agents/{id}/suspend" => Some(json!({ "reason": "test" })),
        _ => None,
    }
}

fn path_for(path: &str, story: &Story) -> String {
    let id = match path.split('/').nth(2) {
        Some(_) if path.starts_with("/access/") => &story.filing,
        Some("tasks") => &story.task,
        Some("requests") => &story.request,
        Some("decisions") => &story.decision,
        Some("sessions") => &story.session,
        Some("delegations") => &story.delegation,
        _ => "release-bot",
    };
    let backend = if path.ends_with("{list}") { "parts" } else { "hosts" };
    let path = path
        .replace("{id}", id)
        .replace("{request}", &story.request)
        .replace("{slug}", "policy-denied")
        .replace("{name}", backend);
    path.replace("{list}", "0123456789abcdef0123")
}

async fn knock(wire: &Wire, who: Who, door: &str, story: &Story) -> (u16, String) {
    let (method, path) = door.split_once(' ').unwrap();
    let path = path_for(path, story);
    if path.starts_with("/oauth/") {
        let form = form_for(wire, &path).await;
        let mut request = axum::http::Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/x-www-form-urlencoded");
        if let Some(authorization) = wire.authorization(who) {
            request = request.header("authorization", authorization);
        }
        let answer = wire.send(request.body(form.into()).unwrap()).await;
        return (answer.status, answer.text);
    }
    let mut body = body_for(door, story);
    if let (Who::Person(..), "POST /v1/decisions/simulate", Some(body)) = (who, door, body.as_mut()) {
        body["agent"] = json!("release-bot");
    }
    let answer = wire.call(who, method, &path, body.as_ref()).await;
    (answer.status, answer.text)
}

/// What only some doors are about: a question that waits for an answer, a delegation, glass that was broken.
async fn prepare(wire: &Wire, door: &str, story: &mut Story) {
    let made = async |who: Who, path: &str, body: Value| {
        let answer = wire.call(who, "POST", path, Some(&body)).await;
        assert!(answer.status < 300, "{}", answer.text);
        answer.json()
    };
    if door.ends_with("/answers") {
        let path = format!("/v1/requests/{}/questions", story.request);
        made(APPROVER, &path, json!({ "text": "Why?" })).await["id"].as_str().unwrap().clone_into(&mut story.asked);
    }
    if door.contains("/delegations/") {
        let body = json!({ "to": "maya", "until": story.later, "reason": "away" });
        made(APPROVER, "/v1/delegations", body).await["id"].as_str().unwrap().clone_into(&mut story.delegation);
    }
    if door.ends_with("/review") {
        let path = format!("/v1/requests/{}/verdict", story.request);
        let commander = Who::Person("cora", &["incident-commanders"]);
        let body = json!({ "verdict": "break_glass", "request_digest": story.digest, "reason": "site is down" });
        made(commander, &path, body).await;
    }
}

/// A world with a story, and the agent suspended where the door would resume it, or its task over where the door tells its end.
async fn world(door: &str) -> (Wire, Story) {
    let glass = "@approval(\"1 of release-approvers\")\n@break_glass(\"1 of incident-commanders\")";
    let wire = if door.ends_with("/review") {
        let options = Options::default();
        Wire::with(options.with_change("agents.cedar", "@approval(\"1 of release-approvers\")", glass)).await
    } else {
        Wire::start().await
    };
    let mut story = story(&wire).await;
    prepare(&wire, door, &mut story).await;
    if door.ends_with("/resume") {
        let reason = json!({ "reason": "test" });
        let suspended = wire.call(OPERATOR, "POST", "/v1/agents/release-bot/suspend", Some(&reason)).await;
        assert_eq!(suspended.status, 200, "{}", suspended.text);
    }
    if door.ends_with("/closure") {
        let path = format!("/v1/tasks/{}/complete", story.task);
        assert_eq!(wire.call(CALLERS[1], "POST", &path, None).await.status, 200);
    }
    (wire, story)
}

#[tokio::test]
async fn api_02_each_door_opens_for_those_it_should() {
    let mut wrong = Vec::new();
    for (door, expected) in DOORS {
        let (shared, shared_story) = world(door).await;
        for (who, expected) in CALLERS.into_iter().zip(expected) {
            // Who changes something gets a world of their own, so that it is there for the next.
            let (status, text) = if !door.starts_with("GET") && *expected < 400 {
                let (own, story) = world(door).await;
                knock(&own, who, door, &story).await
            } else {
                knock(&shared, who, door, &shared_story).await
            };
            if status != *expected {
                wrong.push(format!("{door} as {who:?}: expected {expected}, got {status}: {text}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Where the owner of an agent is met otherwise than any person without a group: the delegations tried here are to them, so that they
/// cannot give one to themselves, and may end the one they hold.
const OWNER_DIFFERS: &[(&str, u16)] = &[("POST /v1/delegations", 400), ("POST /v1/delegations/{id}/end", 200)];

#[tokio::test]
async fn api_02_the_owner_of_an_agent_has_no_door_of_their_own() {
    let mut wrong = Vec::new();
    for (door, expected) in DOORS {
        let (wire, story) = world(door).await;
        let differs = OWNER_DIFFERS.iter().find(|(known, _)| known == door).map(|(_, status)| *status);
        let expected = differs.unwrap_or(expected[3]);
        let (status, text) = knock(&wire, crate::support::wire::OWNER, door, &story).await;
        if status != expected {
            wrong.push(format!("{door} as the owner: expected {expected}, got {status}: {text}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
