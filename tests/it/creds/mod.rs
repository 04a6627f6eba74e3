//! `hallpass creds …` and what `hallpass exec` serves, as the tools that they are for use them: Git, kubectl, boto3 and the AWS
//! command line, each as it comes, with the executable as their helper and a broker behind it.

mod aws;
mod aws_refresh;
mod git;
mod kube;
mod recorded;
mod x509;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use hallpass::http::{Limits, serve};
use hallpass::sys::{Clock as _, SystemClock};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use crate::support::harness::{Harness, Options};

const HALLPASS: &str = env!("CARGO_BIN_EXE_hallpass");

/// A broker that can be called from other processes, at the machine's time: the tools know no other.
struct House {
    harness: Harness,
    server: String,
    folder: tempfile::TempDir,
    _open: tokio_util::sync::DropGuard,
}

impl House {
    /// With a backend and these scopes, which release-bot may hold: entries of the catalogue without risk and owner. What is of
    /// `releases` and writes needs a person.
    async fn start(backend: &str, scopes: &[(&str, &str)]) -> Self {
        let mut options = Options { backends: vec![backend.to_owned()], ..Options::default() };
        let names: Vec<String> = scopes.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        options = options.with_change(
            "agents.toml",
            "ceiling = [\"sandbox:releases:read\", \"sandbox:releases:write\"",
            &format!("ceiling = [{}, \"sandbox:releases:read\", \"sandbox:releases:write\"", names.join(", ")),
        );
        let catalogue = options.bundle.get_mut("catalogue.toml").unwrap();
        for (name, effect) in scopes {
            let risk = if name.ends_with(":write") { 80 } else { 10 };
            write!(
                catalogue,
                "\n[[scope]]\nname = \"{name}\"\ndescription = \"Does something\"\nrisk = {risk}\nowner = \"maya\"\n\
                 max_ttl_seconds = 3600\neffect = {effect}\n"
            )
            .unwrap();
        }
        let harness = Harness::with(options).await;
        harness.clock.set(SystemClock.now());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        tokio::spawn(serve(listener, harness.router(), None, Limits::default(), shutdown.clone()));
        let house = Self { harness, server, folder: tempfile::tempdir().unwrap(), _open: shutdown.drop_guard() };
        house.sign_in();
        house
    }

    fn token_file(&self) -> PathBuf {
        self.folder.path().join("identity")
    }

    /// An identity token for the next five minutes of the broker's clock.
    fn sign_in(&self) {
        std::fs::write(self.token_file(), self.harness.agent("release-bot")).unwrap();
    }

    /// A program that finds the broker in its environment, and little else.
    fn program(&self, name: &str) -> Command {
        let mut command = program(name, self.folder.path(), &self.server);
        command.env("HALLPASS_TOKEN_FILE", self.token_file());
        command
    }

    fn hallpass(&self, arguments: &[&str]) -> Command {
        let mut command = self.program(HALLPASS);
        command.args(arguments);
        command
    }

    /// End everything that the agent holds.
    async fn end_all(&self) {
        let body = json!({ "target": { "agent": "release-bot" }, "reason": "a test" });
        self.harness.post("/v1/revocations", &self.harness.operator(), &body).await.expect(200);
    }

    /// The leases that are live, and all there ever were.
    async fn leases(&self) -> (usize, usize) {
        self.harness.sweep().await;
        let page = self.harness.get("/v1/leases?limit=100", &self.harness.operator()).await.expect(200);
        let items = page["items"].as_array().unwrap();
        (items.iter().filter(|lease| lease["state"] == "live").count(), items.len())
    }

    /// The one request that waits for a person, once there is one.
    async fn pending(&self) -> Value {
        let asking = async {
            loop {
                let page = self.harness.get("/v1/requests?state=pending", &self.harness.approver()).await.expect(200);
                if let Some(request) = page["items"].get(0) {
                    return request.clone();
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), asking).await.expect("somebody asks")
    }

    async fn approve(&self, request: &Value) {
        let body = json!({ "verdict": "approve", "request_digest": request["request_digest"], "reason": "checked" });
        let path = format!("/v1/requests/{}/verdict", request["id"].as_str().unwrap());
        self.harness.post(&path, &self.harness.approver(), &body).await.expect(200);
    }
}

/// A program at home in a folder, that finds the broker in its environment and nothing there that a tool may go by.
fn program(name: &str, home: &Path, server: &str) -> Command {
    let mut command = Command::new(name);
    for (name, _) in std::env::vars_os() {
        let shown = name.to_string_lossy();
        if ["HALLPASS_", "AWS_", "GIT_", "KUBE", "XDG_"].iter().any(|start| shown.starts_with(start)) {
            command.env_remove(name);
        }
    }
    command.env("HOME", home).env("HALLPASS_SERVER", server).current_dir(home).stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Exit code, standard output and standard error.
async fn ran(command: &mut Command) -> (i32, String, String) {
    crate::cli::said(command.output().await.unwrap())
}

/// A tool of the checks' Python.
fn tool(name: &str) -> String {
    let path = format!("{}/target/venv/bin/{name}", env!("CARGO_MANIFEST_DIR"));
    assert!(std::path::Path::new(&path).exists(), "{path} is missing: run `make tools`");
    path
}

/// boto3's own chain, so many times over: the place where it found keys, and which.
fn boto(times: &str) -> [String; 3] {
    [tool("python"), format!("{}/tests/foreign/aws_keys.py", env!("CARGO_MANIFEST_DIR")), times.to_owned()]
}

/// Keys of AWS that `hallpass exec` could find where it is started, and nobody below it should.
fn others(command: &mut Command, home: &Path) {
    std::fs::create_dir_all(home.join(".aws")).unwrap();
    let standing = "[default]\naws_access_key_id = AKIASTANDING\naws_secret_access_key = standing\n";
    std::fs::write(home.join(".aws/credentials"), standing).unwrap();
    command.env("AWS_ACCESS_KEY_ID", "AKIASTALE").env("AWS_SECRET_ACCESS_KEY", "stale").env("AWS_PROFILE", "default");
    command.env("AWS_EC2_METADATA_DISABLED", "true");
}
