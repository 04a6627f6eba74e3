//! A broker of its own process that keeps a revocation list: asked, told to end something, waited for, killed and started again.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use hallpass::sys::{Clock as _, SteadyClock};
use serde_json::{Value, json};

use super::loopback::{Wire, get, request};
use super::process::{Stage, write_agents};

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(20);

/// A broker that is ended with the test.
pub(crate) struct Served {
    pub(crate) stage: Stage,
    process: Child,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Served {
    /// One with this backend, whose scopes the catalogue has with these native effects (TOML), and whose agent may ask for each of
    /// them; `prepare` puts what the backend needs into its folder.
    pub(crate) async fn start(backend: &str, scopes: &[(&str, String)], prepare: impl FnOnce(&Path)) -> Self {
        let stage = Stage::with(None, 1, backend, false);
        let folder = stage.folder.path();
        prepare(folder);
        let names: Vec<&str> = scopes.iter().map(|(name, _)| *name).collect();
        let agent = format!(
            "description = \"Looks after things\"\nowner = \"maya\"\nrisk_tier = \"low\"\nceiling = {}",
            json!(names)
        );
        write_agents(folder, 1, &agent);
        let mut catalogue = std::fs::read_to_string(folder.join("policies/catalogue.toml")).unwrap();
        for (name, effect) in scopes {
            write!(
                catalogue,
                "\n[[scope]]\nname = \"{name}\"\ndescription = \"Ask how it is\"\nrisk = 10\nowner = \"maya\"\n\
                 max_ttl_seconds = 3600\neffect = {effect}\n"
            )
            .unwrap();
        }
        std::fs::write(folder.join("policies/catalogue.toml"), catalogue).unwrap();
        let process = stage.start(env!("CARGO_BIN_EXE_hallpass").as_ref());
        stage.ready().await;
        Self { stage, process }
    }

    pub(crate) fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    pub(crate) async fn start_again(&mut self) {
        self.process = self.stage.start(env!("CARGO_BIN_EXE_hallpass").as_ref());
        self.stage.ready().await;
    }

    async fn call(&self, request: &[u8]) -> (u16, Vec<u8>) {
        let mut wire = Wire::connect(self.stage.address).await.unwrap();
        let answer = wire.send(request).await.unwrap();
        (answer.status, answer.body.to_vec())
    }

    async fn post(&self, path: &str, authorization: &str, body: &Value) -> Value {
        let sent = request("POST", path, authorization, "application/json", &body.to_string());
        let (status, answer) = self.call(&sent).await;
        assert!((200..300).contains(&status), "{status}: {}", String::from_utf8_lossy(&answer));
        serde_json::from_slice(&answer).unwrap()
    }

    /// The credential of a new task.
    pub(crate) async fn granted(&self, scope: &str) -> Value {
        let body = json!({ "purpose": "Ask how it is", "scopes": [scope], "ttl_seconds": 600 });
        let task = self.post("/v1/tasks", &self.stage.agent("bench-0"), &body).await;
        task["credentials"][0].clone()
    }

    /// End a lease; what is known of it then.
    pub(crate) async fn revoke(&self, lease: &str) -> Value {
        let body = json!({ "target": { "lease": lease }, "reason": "a test ends it" });
        self.post("/v1/revocations", &self.stage.operator(), &body).await
    }

    /// What the broker answers there to somebody without a token.
    pub(crate) async fn read(&self, path: &str) -> Vec<u8> {
        let (status, body) = self.call(&get(path, "")).await;
        assert_eq!(status, 200);
        body
    }

    /// A file of its folder; empty when it is not there.
    pub(crate) fn file(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.stage.folder.path().join(name)).unwrap_or_default()
    }

    pub(crate) async fn lease(&self, id: &str) -> Value {
        let (_, body) = self.call(&get("/v1/leases?limit=200", &self.stage.operator())).await;
        let page: Value = serde_json::from_slice(&body).unwrap();
        page["items"].as_array().unwrap().iter().find(|lease| lease["id"] == id).unwrap().clone()
    }

    /// Wait for something; how long it took, in milliseconds.
    pub(crate) async fn until(&self, what: &str, is_so: impl AsyncFn() -> bool) -> i64 {
        let clock = SteadyClock::default();
        let (from, mut tries) = (clock.now(), tokio::time::interval(Duration::from_millis(20)));
        let waiting = async {
            while !is_so().await {
                tries.tick().await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "{what}: {}", self.stage.log());
        clock.now().millis_since(from)
    }
}
