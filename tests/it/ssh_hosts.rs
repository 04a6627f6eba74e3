//! A broker of its own process, a real sshd and a real ssh: a certificate logs in for its command and its account only, and is
//! refused from soon after its end on, while its sibling goes on.

use std::fmt::Write as _;
use std::process::{Child, Command};
use std::time::Duration;

use hallpass::sys::{Clock as _, SteadyClock};
use serde_json::{Value, json};

use crate::support::loopback::{Wire, get, request};
use crate::support::openssh::{Key, Sshd, is_revoked, make_key};
use crate::support::process::{Stage, write_agents};

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(20);
const BACKEND: &str = r#"
[[backends]]
name = "hosts"
kind = "ssh"
ca_key = { file = "ssh-ca" }
krl_file = "hosts.krl"
hosts_poll_seconds = 1
"#;
const AGENT: &str = r#"description = "Looks after hosts"
owner = "maya"
risk_tier = "low"
ceiling = ["hosts:web:read", "hosts:other:read"]"#;

/// A broker that is ended with the test.
struct Broker {
    stage: Stage,
    process: Child,
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

struct Held {
    lease: String,
    certificate: String,
    key: Key,
}

impl Broker {
    async fn start(user: &str) -> Self {
        let stage = Stage::with(None, 1, BACKEND, false);
        let folder = stage.folder.path();
        make_key(&folder.join("ssh-ca"), &["ed25519"]);
        write_agents(folder, 1, AGENT);
        let mut catalogue = std::fs::read_to_string(folder.join("policies/catalogue.toml")).unwrap();
        for (resource, principal) in [("web", user), ("other", "nobody-here")] {
            write!(
                catalogue,
                "\n[[scope]]\nname = \"hosts:{resource}:read\"\ndescription = \"Ask a host how it is\"\nrisk = 10\n\
                 owner = \"maya\"\nmax_ttl_seconds = 3600\neffect = {{ principals = [\"{principal}\"], \
                 force_command = [\"/bin/echo\", \"it is well; $HOME; and that is all\"], source_address = [\"127.0.0.0/8\"] }}\n"
            )
            .unwrap();
        }
        std::fs::write(folder.join("policies/catalogue.toml"), catalogue).unwrap();
        let process = stage.start(env!("CARGO_BIN_EXE_hallpass").as_ref());
        stage.ready().await;
        Self { stage, process }
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

    async fn granted(&self, scope: &str) -> Held {
        let body = json!({ "purpose": "Ask a host how it is", "scopes": [scope], "ttl_seconds": 600 });
        let task = self.post("/v1/tasks", &self.stage.agent("bench-0"), &body).await;
        let credential = &task["credentials"][0];
        let value = |name: &str| credential["values"][name].as_str().unwrap();
        assert_eq!(credential["type"], "ssh", "{credential}");
        Held {
            lease: credential["id"].as_str().unwrap().to_owned(),
            certificate: value("certificate").to_owned(),
            key: Key::new(value("private_key"), value("certificate")),
        }
    }

    fn krl_file(&self) -> Vec<u8> {
        std::fs::read(self.stage.folder.path().join("hosts.krl")).unwrap_or_default()
    }

    async fn krl(&self) -> Vec<u8> {
        let (status, body) = self.call(&get("/v1/backends/hosts/krl", "")).await;
        assert_eq!(status, 200);
        body
    }

    async fn lease(&self, id: &str) -> Value {
        let (_, body) = self.call(&get("/v1/leases?limit=200", &self.stage.operator())).await;
        let page: Value = serde_json::from_slice(&body).unwrap();
        page["items"].as_array().unwrap().iter().find(|lease| lease["id"] == id).unwrap().clone()
    }

    /// Wait for something; how long it took, in milliseconds.
    async fn until(&self, what: &str, is_so: impl AsyncFn() -> bool) -> i64 {
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

fn user() -> String {
    let said = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(said.stdout).unwrap().trim().to_owned()
}

#[tokio::test]
async fn ssh_06_a_certificate_logs_in_until_it_is_revoked_and_its_sibling_goes_on() {
    let user = user();
    let broker = Broker::start(&user).await;
    broker.until("the list is in its file", async || !broker.krl_file().is_empty()).await;
    let folder = broker.stage.folder.path();
    let sshd = Sshd::start(&folder.join("ssh-ca.pub"), &folder.join("hosts.krl"));
    sshd.ready().await;
    let (ended, sibling) = (broker.granted("hosts:web:read").await, broker.granted("hosts:web:read").await);
    let elsewhere = broker.granted("hosts:other:read").await;

    let well = Ok("it is well; $HOME; and that is all".to_owned());
    assert_eq!(sshd.log_in(&user, &ended.key), well, "its command runs, not what the client asked for: {}", sshd.log());
    assert_eq!(sshd.log_in(&user, &sibling.key), well);
    let refused = sshd.log_in(&user, &elsewhere.key).unwrap_err();
    assert!(refused.contains("Permission denied"), "of another account: {refused}");
    assert!(sshd.log().contains(&ended.lease), "the log of the host names the lease");

    let body = json!({ "target": { "lease": ended.lease }, "reason": "a test ends it" });
    let closure = broker.post("/v1/revocations", &broker.stage.operator(), &body).await;
    assert_ne!(closure["closure"], "closed", "hosts do not know yet: {closure}");
    let lease = broker.lease(&ended.lease).await;
    assert!(lease["state"] == "ending" && lease["ends_by"].is_string(), "{lease}");
    let listed = async || is_revoked(&broker.krl().await, &ended.certificate);
    let written = async || is_revoked(&broker.krl_file(), &ended.certificate);
    let took = broker.until("it is listed", listed).await + broker.until("it is in the file", written).await;
    assert!(took <= 5_000, "listed within 5 s: {took} ms");
    let refused = sshd.log_in(&user, &ended.key).unwrap_err();
    assert!(refused.contains("Permission denied"), "{refused}");
    assert!(sshd.log().contains("revoked by file"), "{}", sshd.log());
    assert_eq!(sshd.log_in(&user, &sibling.key), well);

    broker.until("it has ended", async || broker.lease(&ended.lease).await["state"] == "ended").await;
    let lease = broker.lease(&ended.lease).await;
    assert!(lease["proof"].as_str().unwrap().contains("on the revocation list since"), "{lease}");
    assert!(is_revoked(&broker.krl().await, &ended.certificate), "it stays listed until its own end");
    assert!(!is_revoked(&broker.krl_file(), &sibling.certificate));
}

#[tokio::test]
async fn ssh_06_a_killed_broker_forgets_no_revocation() {
    let user = user();
    let mut broker = Broker::start(&user).await;
    let ended = broker.granted("hosts:web:read").await;
    let body = json!({ "target": { "lease": ended.lease }, "reason": "a test ends it" });
    broker.post("/v1/revocations", &broker.stage.operator(), &body).await;
    broker.process.kill().unwrap();
    broker.process.wait().unwrap();
    // Whatever was written of it is lost with the file.
    let _ = std::fs::remove_file(broker.stage.folder.path().join("hosts.krl"));
    broker.process = broker.stage.start(env!("CARGO_BIN_EXE_hallpass").as_ref());
    broker.stage.ready().await;
    assert!(is_revoked(&broker.krl().await, &ended.certificate));
    let written = async || !broker.krl_file().is_empty() && is_revoked(&broker.krl_file(), &ended.certificate);
    broker.until("it is in the file", written).await;
}
