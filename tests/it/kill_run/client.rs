//! A client that never gives up: whatever answer is lost, it asks again elsewhere with the same idempotency key, and writes down
//! what it was told.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hallpass::sys::{Entropy as _, SystemEntropy};
use serde_json::{Value, json};

use crate::support::loopback::Wire;
use crate::support::process::Stage;

/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// Wait between two tries.
const PAUSE: Duration = Duration::from_millis(50);

/// What a client was told.
pub(super) struct Told {
    pub(super) key: String,
    pub(super) task: String,
    /// Each lease with its secret.
    pub(super) credentials: Vec<(String, String)>,
}

/// A number nobody can guess.
pub(super) fn unit(random: &SystemEntropy) -> u64 {
    let mut bytes = [0; 8];
    random.fill(&mut bytes);
    u64::from_be_bytes(bytes) >> 1
}

/// Agents that may read and, with a person's yes, write.
pub(super) const AGENTS: &str = r#"description = "Asks while replicas die"
owner = "maya"
risk_tier = "high"
teams = ["deploy"]
ceiling = ["api:releases:read", "api:releases:write"]
limits = { live_leases = 100000000, pending_requests = 1000000, requests_per_minute = 100000000 }"#;

/// A client.
pub(super) struct Client {
    random: SystemEntropy,
    agent: String,
    operator: String,
    approver: String,
    addresses: Vec<SocketAddr>,
    told: Arc<Mutex<Vec<Told>>>,
    stop: Arc<AtomicBool>,
}

impl Client {
    pub(super) fn new(
        number: usize,
        stage: &Stage,
        addresses: &[SocketAddr],
        told: Arc<Mutex<Vec<Told>>>,
        stop: Arc<AtomicBool>,
    ) -> Self {
        Self {
            random: SystemEntropy::default(),
            agent: stage.agent(&format!("bench-{}", number % 8)),
            operator: stage.operator(),
            approver: stage.person("dev-approver", &["release-approvers"]),
            addresses: addresses.to_vec(),
            told,
            stop,
        }
    }

    /// Work until it is time to stop.
    pub(super) async fn run(self) {
        while !self.stop.load(Ordering::Relaxed) {
            let writes = unit(&self.random).is_multiple_of(12);
            let scope = if writes { "api:releases:write(prefix=app/)" } else { "api:releases:read" };
            let seconds = 1 + unit(&self.random) % 4;
            let ask = json!({
                "purpose": "outlive whoever is killed", "scopes": [{ "scope": scope }], "ttl_seconds": seconds,
                "task_ttl_seconds": 20, "heartbeat_seconds": 10,
            });
            let Some((key, answer)) = self.post("/v1/tasks", &self.agent, &ask).await else { continue };
            let Some(task) = answer["id"].as_str().map(str::to_owned) else { continue };
            self.note(&key, &task, &answer);
            if writes {
                self.have_it_approved(&task, &answer).await;
            }
            match unit(&self.random) % 8 {
                0..=3 => drop(self.post(&format!("/v1/tasks/{task}/complete"), &self.agent, &json!({})).await),
                4 => drop(self.post(&format!("/v1/tasks/{task}/heartbeat"), &self.agent, &json!({})).await),
                5 => {
                    let ask = json!({ "target": { "task": task }, "reason": "changed our mind" });
                    drop(self.post("/v1/revocations", &self.operator, &ask).await);
                }
                _ => {}
            }
        }
    }

    /// A person says yes, and the agent collects.
    async fn have_it_approved(&self, task: &str, answer: &Value) {
        let Some(request) = answer["requests"][0]["id"].as_str() else { return };
        let Some(shown) = self.get(&format!("/v1/requests/{request}"), &self.operator).await else { return };
        let verdict = json!({ "verdict": "approve", "request_digest": shown["request_digest"] });
        drop(self.post(&format!("/v1/requests/{request}/verdict"), &self.approver, &verdict).await);
        let collected = self.post(&format!("/v1/tasks/{task}/credentials"), &self.agent, &json!({})).await;
        if let Some((key, answer)) = collected {
            self.note(&key, task, &answer);
        }
    }

    fn note(&self, key: &str, task: &str, answer: &Value) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let credentials = answer["credentials"].as_array().into_iter().flatten();
        let credentials = credentials.map(|one| (text(&one["id"]), text(&one["values"]["access_token"]))).collect();
        self.told.lock().unwrap().push(Told { key: key.to_owned(), task: task.to_owned(), credentials });
    }

    /// Ask until somebody answers with something that is not a failure of theirs; with the same key each time.
    async fn post(&self, path: &str, authorization: &str, body: &Value) -> Option<(String, Value)> {
        let key = format!("k-{:016x}{:016x}", unit(&self.random), unit(&self.random));
        let body = body.to_string();
        let bytes = format!(
            "POST {path} HTTP/1.1\r\nhost: h\r\nauthorization: {authorization}\r\ncontent-type: application/json\r\n\
             idempotency-key: {key}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.ask(bytes.as_bytes()).await.map(|answer| (key, answer))
    }

    async fn get(&self, path: &str, authorization: &str) -> Option<Value> {
        self.ask(&crate::support::loopback::get(path, authorization)).await
    }

    /// The answer, or `None` when it was a refusal or it is time to stop.
    async fn ask(&self, bytes: &[u8]) -> Option<Value> {
        let mut tries = tokio::time::interval(PAUSE);
        loop {
            tries.tick().await;
            let address = self.addresses[usize::try_from(unit(&self.random)).unwrap() % self.addresses.len()];
            let asked = tokio::time::timeout(PATIENCE, async {
                let mut wire = Wire::connect(address).await.ok()?;
                let answer = wire.send(bytes).await.ok()?;
                Some((answer.status, answer.json()))
            });
            match asked.await {
                Ok(Some((200..=299, answer))) => return Some(answer),
                // Its state has moved on, which is an answer too; a wrong question would prove nothing.
                Ok(Some((status @ (403 | 404 | 409 | 410 | 422), _))) if status != 422 => return None,
                Ok(Some((status @ 400..=499, answer))) if status != 429 => panic!("{status} {answer}"),
                Ok(Some(_) | None) | Err(_) if self.stop.load(Ordering::Relaxed) => return None,
                Ok(Some(_) | None) | Err(_) => {}
            }
        }
    }
}
