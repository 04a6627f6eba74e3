//! kubectl, with `hallpass creds kube` as its credential plugin, over an API server that forgets a token with its Secret.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::sync::Arc;

use hallpass::sys::{Clock as _, ManualClock, SystemClock};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::{HALLPASS, House, ran, tool};
use crate::minter::kube::{API, BROKER, Kube};
use crate::minter::kubernetes_accounts::tls;

const READ: &[&str] = &["--scope", "k8s:web:read", "--purpose", "Look at the configuration"];

struct Stage {
    house: House,
    kube: Kube,
    clock: Arc<ManualClock>,
    files: tempfile::TempDir,
}

impl Stage {
    async fn start() -> Self {
        let files = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(SystemClock.now()));
        let kube = Kube::start_with(clock.clone(), Some(tls(files.path()))).await;
        let token = files.path().join("token");
        std::fs::write(&token, BROKER).unwrap();
        std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).unwrap();
        let shown = files.path().display();
        let backend = format!(
            "name = 'k8s'\nkind = 'kubernetes'\nurl = 'https://{}'\nca_file = '{shown}/ca.pem'\n\
             token = {{ file = '{shown}/token' }}\nnamespaces = ['agents']\nown_accounts = true",
            kube.address
        );
        let rules = r#"[{ api_groups = [""], resources = ["configmaps"], resource_names = ["web"], verbs = ["get"] }]"#;
        let effect = format!(r#"{{ audiences = ["{API}"], rules = {rules} }}"#);
        let scopes = [("k8s:web:read", effect.as_str()), ("k8s:releases:write", &effect)];
        let house = House::start(&backend, &scopes).await;
        let stage = Self { house, kube, clock, files };
        stage.set(0);
        stage
    }

    /// Put the broker's and the API server's clocks so many seconds ahead of kubectl's.
    fn set(&self, ahead: i64) {
        let now = SystemClock.now().plus_millis(ahead * 1000);
        self.clock.set(now);
        self.house.harness.clock.set(now);
        self.house.sign_in();
    }

    /// kubectl with a kubeconfig as docs/clients.md has it.
    async fn kubectl(&self, plugin: &[&str], version: &str, arguments: &str) -> (i32, String, String) {
        let args: Vec<&str> = ["creds", "kube"].iter().chain(plugin).copied().collect();
        let exec = json!({
            "apiVersion": format!("client.authentication.k8s.io/{version}"), "command": HALLPASS, "args": args,
            "interactiveMode": "Never", "provideClusterInfo": true,
        });
        let cluster = json!({
            "server": format!("https://{}", self.kube.address), "certificate-authority": self.files.path().join("ca.pem"),
        });
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{ "name": "k", "cluster": cluster }],
            "contexts": [{ "name": "c", "context": { "cluster": "k", "user": "u", "namespace": "agents" } }],
            "users": [{ "name": "u", "user": { "exec": exec } }],
        });
        let path = self.files.path().join("kubeconfig");
        std::fs::write(&path, config.to_string()).unwrap();
        ran(self.house.program(&tool("kubectl")).env("KUBECONFIG", path).args(arguments.split(' '))).await
    }

    fn minted(&self) -> usize {
        self.kube.take_calls().iter().filter(|call| call.method == "POST" && call.path.ends_with("/token")).count()
    }
}

#[tokio::test]
async fn kubectl_runs_hallpass_for_a_token_and_again_when_that_was_ended() {
    let stage = Stage::start().await;
    for version in ["v1", "v1beta1"] {
        let (code, out, err) = stage.kubectl(READ, version, "get configmap web -o jsonpath={.data.colour}").await;
        assert_eq!((code, out.as_str(), err.as_str()), (0, "blue", ""));
        assert_eq!(stage.minted(), 1, "one for all the requests of a command");
        stage.house.end_all().await;
    }
    let (code, _, err) = stage.kubectl(READ, "v1", "get secrets").await;
    assert!(code != 0 && err.contains("Forbidden"), "and it may do what the lease says: {err}");
    assert_eq!(stage.house.leases().await, (1, 3));
}

#[tokio::test]
async fn kubectl_comes_again_within_a_command_when_a_token_has_ended() {
    let stage = Stage::start().await;
    stage.set(-3600);
    let (code, out, err) = stage.kubectl(READ, "v1", "get configmap web -o jsonpath={.data.colour}").await;
    assert_eq!((code, out.as_str()), (0, "blue"), "{err}");
    let minted = stage.minted();
    assert!(minted > 1, "what has ended by its own clock is asked for anew: {minted}");
}

#[tokio::test]
async fn a_tasks_credentials_end_with_the_task() {
    let stage = Stage::start().await;
    let ask = json!({ "purpose": "look around", "scopes": ["sandbox:releases:read"] });
    let agent = stage.house.harness.agent("release-bot");
    let task = stage.house.harness.post("/v1/tasks", &agent, &ask).await.expect(201)["id"].as_str().unwrap().to_owned();
    let plugin = ["--scope", "k8s:web:read", "--task", &task];
    for _ in 0..2 {
        let (code, _, err) = stage.kubectl(&plugin, "v1", "get configmap web").await;
        assert_eq!(code, 0, "{err}");
    }
    assert_eq!(stage.house.leases().await, (3, 3));
    stage.house.harness.post(&format!("/v1/tasks/{task}/complete"), &agent, &json!({})).await.expect(200);
    let (code, _, err) = stage.kubectl(&plugin, "v1", "get configmap web").await;
    assert!(code != 0 && err.contains("has ended (completed)"), "{err}");
    assert_eq!(stage.house.leases().await.1, 3);
}

#[tokio::test]
async fn a_refusal_says_why_and_prints_no_data() {
    let stage = Stage::start().await;
    let elsewhere = json!({
        "apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
        "spec": { "cluster": { "server": "https://evil.example" }, "interactive": false },
    })
    .to_string();
    let old = r#"{"apiVersion":"client.authentication.k8s.io/v1alpha1","spec":{}}"#;
    let purpose = ["--purpose", "p"];
    for (arguments, info, expected) in [
        (&["--scope", "k8s:web:read"][..], "", 2),
        (&[&purpose[..], &["--scope", "k8s:web:read"]].concat(), old, 2),
        (&[&purpose[..], &["--scope", "k8s:web:read"]].concat(), &elsewhere, 1),
        (&[&purpose[..], &["--scope", "sandbox:releases:read"]].concat(), "", 2),
        (&[&purpose[..], &["--scope", "k8s:web:read", "--scope", "sandbox:releases:read"]].concat(), "", 2),
        (&[&purpose[..], &["--scope", "k8s:web:admin"]].concat(), "", 2),
        (&[&purpose[..], &["--scope", "k8s:web:read", "--ttl", "8h"]].concat(), "", 2),
        (&[&purpose[..], &["--scope", "k8s:releases:write", "--no-wait"]].concat(), "", 4),
        (&[&purpose[..], &["--scope", "k8s:releases:write", "--wait", "1s"]].concat(), "", 4),
        (&["--scope", "k8s:web:read", "--task", "tsk_01m3250vz7040g2081040g2081"], "", 1),
    ] {
        let mut command = stage.house.hallpass(&[&["creds", "kube"], arguments].concat());
        if !info.is_empty() {
            command.env("KUBERNETES_EXEC_INFO", info);
        }
        let (code, out, err) = ran(&mut command).await;
        assert_eq!((code, out.as_str()), (expected, ""), "{arguments:?}: {err}");
        assert!(err.contains("error: ") && !err.contains("eyJ"), "{err}");
    }
    assert_eq!(stage.house.leases().await.0, 0, "what could not be handed over was ended");
    let unreachable = stage
        .house
        .hallpass(&["creds", "kube", "--purpose", "p", "--scope", "k8s:web:read"])
        .env("HALLPASS_SERVER", format!("http://127.0.0.1:{}", crate::support::ports::free_ports(1)))
        .output();
    assert_eq!(unreachable.await.unwrap().status.code(), Some(6));
}

#[tokio::test]
async fn it_waits_for_a_person_and_then_answers() {
    let stage = Stage::start().await;
    let mut command = stage.house.hallpass(&["creds", "kube", "--scope", "k8s:releases:write", "--purpose", "Release"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).await.unwrap();
    let request = stage.house.pending().await;
    assert!(line.starts_with("waiting") && line.contains(request["id"].as_str().unwrap()), "{line}");
    stage.house.approve(&request).await;
    let output = child.wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(0));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&answer["kind"], &answer["apiVersion"]),
        (&json!("ExecCredential"), &json!("client.authentication.k8s.io/v1"))
    );
    let token = answer["status"]["token"].as_str().unwrap();
    assert!(stage.kube.accepts(token, API, stage.clock.now()));
}
