//! All kinds at once: a broker as a process of its own with a backend of every kind, tasks that hold a credential of each, and the
//! targets themselves asked what still works. What ends is dead where it was honoured, what does not is untouched, and nothing is
//! called closed before it is.

mod faults;
mod many;
mod more_targets;
mod targets;

use std::collections::BTreeMap;
use std::process::Child;
use std::sync::Arc;
use std::time::Duration;

use hallpass::sys::{Clock as _, SteadyClock};
use serde_json::{Value, json};

use crate::support::fault_proxy::FaultProxy;
use crate::support::loopback::{Wire, get, request};
use crate::support::process::{Stage, write_agents};
use targets::Target;

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(90);
/// Agents that share the tasks.
const AGENTS: usize = 10;

/// A broker that is ended with the test, in front of targets of all kinds.
struct Broker {
    stage: Stage,
    process: Child,
    targets: Vec<Arc<dyn Target>>,
    /// What stands between the broker and the targets that it calls, by backend.
    between: BTreeMap<&'static str, FaultProxy>,
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A credential that a task holds.
#[derive(Debug, Clone)]
struct Held {
    lease: String,
    backend: String,
    values: Value,
}

/// A task with one credential of each backend.
#[derive(Debug, Clone)]
struct Task {
    id: String,
    agent: String,
    held: Vec<Held>,
}

impl Broker {
    /// Start it with a backend of every kind, those that it calls behind proxies.
    async fn start() -> Self {
        let github = super::fake_github::FakeGithub::start(Arc::new(hallpass::sys::SystemClock)).await;
        let targets: Vec<Arc<dyn Target>> = vec![
            Arc::new(targets::Asking),
            Arc::new(targets::Listing),
            Arc::new(targets::Hosts),
            Arc::new(github),
            Arc::new(targets::Cluster::start().await),
            Arc::new(targets::Database::start().await),
            Arc::new(more_targets::Cloud::start().await),
            Arc::new(more_targets::Servers::new()),
            Arc::new(more_targets::Upstream::start().await),
            Arc::new(more_targets::Cache::start().await),
        ];
        let (mut between, mut more) = (BTreeMap::new(), String::from("\n[intervals]\nending_seconds = 1\n"));
        for target in &targets {
            let proxy = match target.address() {
                Some(address) => Some(FaultProxy::start(address).await),
                None => None,
            };
            more += &target.section(proxy.as_ref().map(|proxy| proxy.address));
            between.extend(proxy.map(|proxy| (target.backend(), proxy)));
        }
        let stage = Stage::with(None, AGENTS, &more, false);
        let folder = stage.folder.path();
        targets::write_files(folder);
        let catalogue = folder.join("policies/catalogue.toml");
        let entries: String = targets.iter().map(|target| target.catalogue()).collect();
        std::fs::write(&catalogue, std::fs::read_to_string(&catalogue).unwrap() + &entries).unwrap();
        let ceiling: Vec<String> = targets.iter().map(|target| target.scope()).collect();
        let agent = format!(
            "description = \"Works\"\nowner = \"maya\"\nrisk_tier = \"low\"\nceiling = {}\nlimits = {{ live_leases = 100000, \
             requests_per_minute = 100000 }}",
            json!(ceiling)
        );
        write_agents(folder, AGENTS, &agent);
        let process = stage.start(env!("CARGO_BIN_EXE_hallpass").as_ref());
        stage.ready().await;
        let broker = Self { stage, process, targets, between };
        for target in &broker.targets {
            target.meet(&broker).await;
        }
        broker
    }

    /// Kill it as a crash does, and start it again.
    async fn crash(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.process = self.stage.start(env!("CARGO_BIN_EXE_hallpass").as_ref());
        self.stage.ready().await;
    }

    async fn call(&self, request: &[u8]) -> (u16, Vec<u8>) {
        let mut wire = Wire::connect(self.stage.address).await.unwrap();
        let answer = tokio::time::timeout(PATIENCE, wire.send(request)).await.expect("an answer").unwrap();
        (answer.status, answer.body.to_vec())
    }

    /// The bytes of something public.
    async fn list(&self, path: &str) -> Vec<u8> {
        let (status, body) = self.call(&get(path, "")).await;
        assert_eq!(status, 200, "{path}: {}", String::from_utf8_lossy(&body));
        body
    }

    async fn fetch(&self, path: &str) -> String {
        String::from_utf8(self.list(path).await).unwrap()
    }

    async fn post(&self, path: &str, agent: &str, body: &Value) -> Value {
        let sent = request("POST", path, &self.stage.agent(agent), "application/json", &body.to_string());
        let (status, answer) = self.call(&sent).await;
        assert!((200..300).contains(&status), "{path}: {status}: {}", String::from_utf8_lossy(&answer));
        serde_json::from_slice(&answer).unwrap()
    }

    /// Open a task that holds a credential of each target.
    async fn open(&self, number: usize) -> Task {
        let scopes: Vec<String> = self.targets.iter().map(|target| target.scope()).collect();
        let agent = format!("bench-{}", number % AGENTS);
        let body = json!({ "purpose": "Do all of it", "scopes": scopes, "ttl_seconds": 600 });
        let mut opened = self.post("/v1/tasks", &agent, &body).await;
        let (id, mut held) = (text(&opened["id"]), held_of(&opened));
        let mut tries = tokio::time::interval(Duration::from_secs(2));
        // A backend that is asked by many at once may not be able to mint now; an agent collects again.
        for _ in 0..10 {
            if held.len() == self.targets.len() {
                return Task { id, agent, held };
            }
            tries.tick().await;
            opened = self.post(&format!("/v1/tasks/{id}/credentials"), &agent, &json!({})).await;
            held.extend(held_of(&opened));
        }
        opened["credentials"].take();
        panic!("one of each: {opened}\n{}", self.stage.log())
    }

    /// End it; what the answer says of each lease.
    async fn complete(&self, task: &Task) -> BTreeMap<String, Known> {
        known(&self.post(&format!("/v1/tasks/{}/complete", task.id), &task.agent, &json!({})).await)
    }

    /// What is known by now of each lease of a task that ended.
    async fn closure(&self, task: &Task) -> BTreeMap<String, Known> {
        let sent = get(&format!("/v1/tasks/{}/closure", task.id), &self.stage.agent(&task.agent));
        let (status, body) = self.call(&sent).await;
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        known(&serde_json::from_slice(&body).unwrap())
    }

    fn target(&self, backend: &str) -> &dyn Target {
        &**self.targets.iter().find(|target| target.backend() == backend).unwrap()
    }

    /// Whether the target itself honours it.
    async fn works(&self, held: &Held) -> bool {
        self.target(&held.backend).works(self, &held.values).await
    }

    /// Wait until all of a task is closed, and see at each look that nothing is called closed that works. What is closed, and how
    /// many milliseconds after `from` that was known.
    async fn until_closed(
        &self,
        task: &Task,
        from: hallpass::domain::Timestamp,
        clock: &SteadyClock,
    ) -> Vec<(String, i64)> {
        let (mut closed, mut tries) = (BTreeMap::new(), tokio::time::interval(Duration::from_millis(100)));
        let waiting = async {
            while closed.len() < task.held.len() {
                tries.tick().await;
                let known = self.closure(task).await;
                let at = clock.now().millis_since(from);
                for held in &task.held {
                    if known[&held.lease].closure == "closed" && !closed.contains_key(&held.lease) {
                        assert!(!self.works(held).await, "{} is closed and works", held.backend);
                        closed.insert(held.lease.clone(), (held.backend.clone(), at));
                    }
                }
            }
        };
        let done = tokio::time::timeout(PATIENCE, waiting).await.is_ok();
        assert!(done, "not closed: {:?}\n{}", self.closure(task).await, self.stage.log());
        closed.into_values().collect()
    }
}

fn held_of(answer: &Value) -> Vec<Held> {
    let held = |credential: &Value| Held {
        lease: text(&credential["id"]),
        backend: text(&credential["scopes"][0]).split_once(':').unwrap().0.to_owned(),
        values: credential["values"].clone(),
    };
    answer["credentials"].as_array().into_iter().flatten().map(held).collect()
}

/// What is known of the end of a lease.
#[derive(Debug, Clone)]
struct Known {
    closure: String,
    ends_by: bool,
}

fn known(closure: &Value) -> BTreeMap<String, Known> {
    let leases = closure["leases"].as_array().unwrap();
    let of = |lease: &Value| Known { closure: text(&lease["closure"]), ends_by: lease["ends_by"].is_string() };
    leases.iter().map(|lease| (text(&lease["id"]), of(lease))).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}
