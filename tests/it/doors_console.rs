//! Who may pass which door of the console: every route of its table, tried by every kind of caller. An agent's token opens none of them,
//! whatever it would open in the API: it is met like nobody, and nobody is sent to sign in.

use axum::body::Body;
use axum::http::{Request, header};
use serde_json::json;
use tower::ServiceExt as _;

use crate::support::harness::Options;
use crate::support::sign_in::{Browser, People};
use crate::support::wire::{RELEASE_BOT, Who, Wire};

/// Whoever calls with a session: a name, an e-mail address of the register if there is one, and groups.
type Visitor = (&'static str, Option<&'static str>, &'static [&'static str]);

/// In the order of the table's columns, after nobody, the agent itself and another agent.
const VISITORS: [Visitor; 5] = [
    ("maya", Some("maya@acme.example"), &[]),
    ("guest", None, &[]),
    ("ana", None, &["release-approvers"]),
    ("olga", None, &["hallpass-operators"]),
    ("otto", None, &["hallpass-auditors"]),
];

/// Method and path, then the status for: nobody, the agent itself, another agent, the owner of the agent, a person without a group, an
/// approver, an operator, an auditor. 303 is to the sign-in for the first three, and to where the deed is seen for the others.
const DOORS: &[(&str, [u16; 8])] = &[
    ("GET /", [303, 303, 303, 200, 200, 200, 200, 200]),
    ("GET /inbox", [303, 303, 303, 200, 200, 200, 200, 200]),
    ("GET /r/{id}", [303, 303, 303, 200, 200, 200, 200, 200]),
    ("POST /r/{id}/verdict", [303, 303, 303, 403, 403, 303, 403, 403]),
    ("POST /r/{id}/challenge", [303, 303, 303, 403, 403, 403, 403, 403]),
    ("POST /r/{id}/break-glass", [303, 303, 303, 403, 403, 403, 403, 403]),
    ("POST /r/{id}/questions", [303, 303, 303, 403, 403, 303, 403, 403]),
    ("POST /r/{id}/review", [303, 303, 303, 404, 404, 404, 404, 404]),
    ("GET /live", [303, 303, 303, 403, 403, 403, 200, 200]),
    ("POST /live/end", [303, 303, 303, 403, 403, 403, 303, 403]),
    ("POST /live/kill", [303, 303, 303, 403, 403, 403, 303, 403]),
    ("GET /tasks", [303, 303, 303, 403, 403, 403, 200, 200]),
    ("GET /tasks/{id}", [303, 303, 303, 404, 404, 404, 200, 200]),
    ("GET /agents", [303, 303, 303, 403, 403, 403, 200, 200]),
    ("GET /agents/{id}", [303, 303, 303, 403, 403, 403, 200, 200]),
    ("POST /agents/{id}/suspend", [303, 303, 303, 403, 403, 403, 303, 403]),
    ("POST /agents/{id}/resume", [303, 303, 303, 403, 403, 403, 303, 403]),
    ("GET /policies", [303, 303, 303, 403, 403, 403, 200, 200]),
    ("GET /policies/{id}", [303, 303, 303, 403, 403, 403, 200, 200]),
    ("GET /decisions/{id}", [303, 303, 303, 404, 404, 404, 200, 200]),
    ("GET /insights", [303, 303, 303, 403, 403, 403, 200, 200]),
    ("GET /events.csv", [303, 303, 303, 403, 403, 403, 200, 200]),
    ("GET /settings", [303, 303, 303, 200, 200, 200, 200, 200]),
    ("POST /settings/delegations", [303, 303, 303, 303, 303, 303, 303, 303]),
    ("POST /settings/delegations/end", [303, 303, 303, 404, 404, 404, 404, 404]),
    ("POST /settings/passkeys", [303, 303, 303, 400, 400, 400, 400, 400]),
    ("POST /settings/passkeys/challenge", [303, 303, 303, 200, 200, 200, 200, 200]),
    ("POST /settings/passkeys/name", [303, 303, 303, 404, 404, 404, 404, 404]),
    ("POST /settings/passkeys/end", [303, 303, 303, 404, 404, 404, 404, 404]),
    ("POST /settings/sessions/end", [303, 303, 303, 404, 404, 404, 404, 404]),
    ("POST /settings/sessions/end-all", [303, 303, 303, 303, 303, 303, 303, 303]),
    ("GET /stream", [303, 303, 303, 200, 200, 200, 200, 200]),
    ("GET /sign-in", [303, 303, 303, 303, 303, 303, 303, 303]),
    ("GET /sign-in/callback", [400, 400, 400, 400, 400, 400, 400, 400]),
    ("POST /sign-out", [303, 303, 303, 303, 303, 303, 303, 303]),
    ("GET /device", [303, 303, 303, 200, 200, 200, 200, 200]),
    ("POST /device", [303, 303, 303, 404, 404, 404, 404, 404]),
    ("GET /static/{file}", [200, 200, 200, 200, 200, 200, 200, 200]),
];

/// Every door of the table.
pub(crate) fn doors() -> impl Iterator<Item = &'static str> {
    DOORS.iter().map(|(door, _)| *door)
}

/// A broker with people, and a task of release-bot with something live and something pending.
struct World {
    wire: Wire,
    people: People,
    task: String,
    request: String,
    decision: String,
    digest: String,
    lease: String,
}

impl World {
    async fn start(door: &str) -> Self {
        let people = People::start().await;
        let wire = Wire::over(people.harness(Options::default()).await);
        let ask = json!({ "purpose": "publish a release", "heartbeat_seconds": 300,
            "scopes": ["sandbox:releases:read", "api:releases:write(prefix=v1)"], "ttl_seconds": 600 });
        let task = wire.call(RELEASE_BOT, "POST", "/v1/tasks", Some(&ask)).await.json();
        let pending = task["requests"].as_array().unwrap().iter().find(|one| one["state"] == "pending").unwrap();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let request = text(&pending["id"]);
        let seen =
            wire.call(crate::support::wire::APPROVER, "GET", &format!("/v1/requests/{request}"), None).await.json();
        if door.ends_with("/resume") {
            let operator = Who::Person("jonas", &["hallpass-operators"]);
            let reason = json!({ "reason": "test" });
            assert_eq!(wire.call(operator, "POST", "/v1/agents/release-bot/suspend", Some(&reason)).await.status, 200);
        }
        Self {
            task: text(&task["id"]),
            decision: text(&pending["decision"]),
            digest: text(&seen["request_digest"]),
            lease: text(&task["credentials"][0]["id"]),
            request,
            people,
            wire,
        }
    }

    fn path(&self, path: &str) -> String {
        let id = match path.split('/').nth(1) {
            Some("r") => &self.request,
            Some("tasks") => &self.task,
            Some("decisions") => &self.decision,
            Some("policies") => "low-risk-reads",
            _ => "release-bot",
        };
        path.replace("{id}", id).replace("{file}", "console.css")
    }

    fn fields(&self, door: &str) -> Vec<(&'static str, String)> {
        let field = |name, value: &str| (name, value.to_owned());
        let verdict = |word: &str| {
            vec![field("verdict", word), field("request_digest", &self.digest), field("reason", "REL-482")]
        };
        match door {
            "POST /r/{id}/verdict" | "POST /r/{id}/challenge" => verdict("approve"),
            "POST /settings/passkeys/challenge" => vec![field("name", "A key")],
            "POST /settings/passkeys/name" => vec![field("id", "none"), field("name", "A key")],
            "POST /r/{id}/break-glass" => verdict("break_glass"),
            "POST /r/{id}/questions" => vec![field("text", "Which commit?")],
            "POST /r/{id}/review" => vec![field("finding", "confirmed"), field("note", "It was right")],
            "POST /live/end" => vec![field("what", "lease"), field("id", &self.lease), field("reason", "test")],
            "POST /live/kill" => {
                vec![field("word", "engage"), field("typed", "end everything"), field("reason", "test")]
            }
            "POST /agents/{id}/suspend" | "POST /agents/{id}/resume" => vec![field("reason", "test")],
            "POST /settings/delegations" => {
                vec![field("to", "dev-approver"), field("days", "3"), field("reason", "away")]
            }
            "POST /settings/delegations/end" | "POST /settings/sessions/end" | "POST /settings/passkeys/end" => {
                vec![field("id", "none")]
            }
            "POST /device" => vec![field("user_code", "AAAA-AAAA"), field("answer", "confirm")],
            _ => Vec::new(),
        }
    }

    /// Knock with whatever is in the request's headers; the status and where it leads. A stream is not read to its end.
    async fn knock(&self, door: &str, headers: &[(&str, String)], csrf: &str) -> (u16, String) {
        let (method, path) = door.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(self.path(path));
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let body = if method == "POST" {
            request = request
                .header("content-type", "application/x-www-form-urlencoded")
                .header("origin", "https://hallpass.test")
                .header("sec-fetch-site", "same-origin");
            let mut form = url::form_urlencoded::Serializer::new(String::new());
            form.append_pair("csrf", csrf).extend_pairs(self.fields(door));
            Body::from(form.finish())
        } else {
            Body::empty()
        };
        let response = self.wire.router.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        let to = response.headers().get(header::LOCATION).map(|to| to.to_str().unwrap().to_owned());
        (response.status().as_u16(), to.unwrap_or_default())
    }

    /// Sign a visitor in; the cookie, and the token of their forms.
    async fn sign_in(&self, (name, email, groups): Visitor) -> (String, String) {
        self.people.be(|manners| {
            manners.claims = email.map_or_else(|| json!({}), |email| json!({ "email": email }));
        });
        let mut browser = Browser::signed_in(&self.wire, &self.people, name, groups).await;
        let csrf = browser.csrf().await;
        (format!("__Host-hallpass={}", browser.session().unwrap()), csrf)
    }
}

#[tokio::test]
async fn api_02_each_door_of_the_console_opens_for_those_it_should() {
    let mut wrong = Vec::new();
    let shared = World::start("").await;
    let mut known = Vec::new();
    for visitor in VISITORS {
        known.push(shared.sign_in(visitor).await);
    }
    for (door, expected) in DOORS {
        let strangers = [None, Some(RELEASE_BOT), Some(Who::Agent("triage-bot"))];
        for (who, expected) in strangers.into_iter().zip(expected) {
            let bearer = who.and_then(|who| shared.wire.authorization(who));
            let headers: Vec<_> = bearer.map(|bearer| ("authorization", bearer)).into_iter().collect();
            let (status, to) = shared.knock(door, &headers, "").await;
            // What nobody may call without a session leads to the sign-in, and the sign-in to the provider.
            let leads = status != 303 || to.starts_with("/sign-in") || *door == "GET /sign-in";
            if status != *expected || !leads {
                wrong.push(format!("{door} as {who:?}: expected {expected}, got {status} {to}"));
            }
        }
        for ((index, visitor), expected) in VISITORS.iter().enumerate().zip(&expected[3..]) {
            // Who changes something gets a world of their own, so that it is there for the next.
            let changes = door.starts_with("POST") && *expected < 400;
            let own = if changes { Some(World::start(door).await) } else { None };
            let (status, to) = if let Some(own) = &own {
                let (cookie, csrf) = own.sign_in(*visitor).await;
                own.knock(door, &[("cookie", cookie)], &csrf).await
            } else {
                let (cookie, csrf) = &known[index];
                shared.knock(door, &[("cookie", cookie.clone())], csrf).await
            };
            let leads = !to.starts_with("/sign-in") || door.contains("sign-") || door.ends_with("end-all");
            if status != *expected || !leads {
                wrong.push(format!("{door} as {}: expected {expected}, got {status} {to}", visitor.0));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What `--print-routes` says of who may call, against what the doors do.
#[test]
fn api_02_the_console_says_who_may_call_what() {
    for route in hallpass::http::route_list() {
        let door = format!("{} {}", route.method, route.path);
        let Some((_, statuses)) = DOORS.iter().find(|(known, _)| *known == door) else { continue };
        let for_nobody = statuses[0] == 200 || door.starts_with("GET /sign-in");
        assert_eq!(route.callers, if for_nobody { ["nobody"] } else { ["operator"] }, "{door}");
    }
}

/// The API knows no cookie, as the console knows no token.
#[tokio::test]
async fn api_02_a_session_opens_nothing_in_the_api() {
    let world = World::start("").await;
    let (cookie, _) = world.sign_in(VISITORS[3]).await;
    let request = Request::get("/v1/whoami").header("cookie", cookie).body(Body::empty()).unwrap();
    assert_eq!(world.wire.send(request).await.status, 401);
}
