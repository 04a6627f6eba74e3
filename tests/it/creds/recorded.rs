//! A broker's door with recorded answers, for keys of AWS: what a task is asked for is granted, each credential has a number, and
//! lives as long as it was told to.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use hallpass::domain::Timestamp;
use hallpass::sys::{Clock as _, SystemClock};
use serde_json::{Value, json};
use tokio::net::TcpListener;

pub(super) const SCOPE: &str = "aws:releases:read";
const TASK: &str = "tsk_01m3250vz7040g2081040g2081";

#[derive(Default)]
struct World {
    /// How long the next ones live, in seconds; an hour when nothing is said.
    lives: VecDeque<i64>,
    minted: usize,
    calls: Vec<String>,
    denies: bool,
}

#[derive(Clone, Default)]
pub(super) struct Recorded {
    world: Arc<Mutex<World>>,
    pub(super) server: String,
}

impl Recorded {
    pub(super) async fn start(lives: &[i64]) -> Self {
        let world = Arc::new(Mutex::new(World { lives: lives.iter().copied().collect(), ..World::default() }));
        let router = Router::new()
            .route("/v1/tasks", post(open))
            .route("/v1/tasks/{task}/{verb}", post(act))
            .with_state(Arc::clone(&world));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { world, server }
    }

    /// From now on policy says no.
    pub(super) fn deny(&self) {
        self.world.lock().unwrap().denies = true;
    }

    /// What was called since the last time.
    pub(super) fn take_calls(&self) -> Vec<String> {
        std::mem::take(&mut self.world.lock().unwrap().calls)
    }
}

fn stamp(secs: i64) -> String {
    Timestamp::from_secs(SystemClock.now().as_secs() + secs).to_string()
}

impl World {
    /// As the broker answers a question that it grants; docs/openapi.json, `TaskAnswer`.
    fn grant(&mut self) -> Value {
        self.minted += 1;
        let (number, ends) = (self.minted, stamp(self.lives.pop_front().unwrap_or(3600)));
        let request = format!("req_{number}");
        json!({
            "id": TASK, "state": "open", "agent": "release-bot", "purpose": "Read releases", "agent_action": "proceed",
            "opened_at": stamp(0), "expires_at": stamp(8 * 3600), "message": "Use what you have.",
            "requests": [{ "id": request, "state": "granted", "scopes": [SCOPE], "decision": format!("dec_{number}") }],
            "credentials": [{
                "id": format!("lse_{number}"), "request": request, "type": "aws", "scopes": [SCOPE],
                "values": {
                    "access_key_id": format!("ASIAEXAMPLE{number}"),
                    "secret_access_key": format!("example/secret+access/key{number}"),
                    "session_token": format!("example//session+token=={number}"),
                    "expiration": ends,
                    "region": "eu-central-1",
                },
                "usable_until": ends, "native_end": ends,
                "revocation": { "how": "a deny for this session", "strength": "within_minutes" },
            }],
        })
    }
}

async fn open(
    State(world): State<Arc<Mutex<World>>>,
    headers: HeaderMap,
    Json(ask): Json<Value>,
) -> (StatusCode, Json<Value>) {
    assert!(headers.contains_key("idempotency-key") && headers["authorization"] == "Bearer an-identity");
    assert_eq!(ask["scopes"], json!([SCOPE]));
    let mut world = world.lock().unwrap();
    world.calls.push("open".to_owned());
    (StatusCode::CREATED, Json(world.grant()))
}

async fn act(
    State(world): State<Arc<Mutex<World>>>,
    Path((task, verb)): Path<(String, String)>,
    body: axum::body::Bytes,
) -> (StatusCode, Json<Value>) {
    assert_eq!(task, TASK);
    let mut world = world.lock().unwrap();
    world.calls.push(verb.clone());
    match verb.as_str() {
        "requests" if world.denies => (
            StatusCode::FORBIDDEN,
            Json(json!({
                "type": "https://hallpass.test/problems/policy-denied", "code": "policy-denied", "title": "Policy denied it",
                "status": 403, "detail": "Policy permits none of it.", "request_id": "r", "agent_action": "stop",
            })),
        ),
        "requests" => {
            let ask: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(ask["scopes"], json!([SCOPE]));
            (StatusCode::CREATED, Json(world.grant()))
        }
        _ => {
            let closure = json!({
                "id": TASK, "state": "closed", "cause": verb, "closure": "closed", "leases": [], "total": 0,
            });
            (StatusCode::OK, Json(closure))
        }
    }
}
