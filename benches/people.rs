//! Measures what people wait for: how long from a person's yes until an agent that is long-polling holds its credential, and how
//! long the inbox takes with a thousand requests in it. `hallpass dev` of the release executable is asked over loopback HTTP.
//!
//! `cargo bench --bench people -- [--rounds N] [--pending N] [--executable FILE]`. See docs/benchmarks.md.
#![allow(
    clippy::pedantic,
    clippy::restriction,
    clippy::disallowed_methods,
    unreachable_pub,
    dead_code,
    reason = "a measuring program, not the broker"
)]

#[path = "../tests/it/support/loopback.rs"]
mod loopback;
#[path = "../tests/it/support/ports.rs"]
mod ports;

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use loopback::{Wire, get, request};
use ports::free_ports;
use serde_json::{Value, json};

fn option(args: &[String], name: &str) -> Option<String> {
    args.iter().position(|arg| arg == name).and_then(|at| args.get(at + 1)).cloned()
}

/// The middle one, and the one that 99 of 100 do not exceed, in milliseconds.
fn percentiles(mut times: Vec<Duration>) -> (f64, f64) {
    times.sort();
    let at = |share: f64| times[((times.len() as f64 * share).ceil() as usize).clamp(1, times.len()) - 1];
    (at(0.5).as_secs_f64() * 1000.0, at(0.99).as_secs_f64() * 1000.0)
}

/// A broker to play with, and what its callers present.
struct Dev {
    process: Child,
    folder: tempfile::TempDir,
    address: SocketAddr,
    /// The one-time link that signs in.
    link: String,
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Dev {
    fn start(executable: &Path, folder: tempfile::TempDir, first: u16) -> Self {
        let address: SocketAddr = (Ipv4Addr::LOCALHOST, first).into();
        let mut process = Command::new(executable)
            .args(["dev", "--dir", "dev", "--listen", &address.to_string()])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(process.stderr.take().unwrap()).lines().map_while(Result::ok);
        let line = said.find(|line| line.contains("?code=")).expect("`hallpass dev` prints a link that signs in");
        std::thread::spawn(move || said.for_each(drop));
        let link = line.split_whitespace().find(|word| word.contains("?code=")).unwrap().to_owned();
        Self { process, folder, address, link }
    }

    /// Started once to write its folder, and again once agents may ask for more than is good for them.
    fn with_patient_agents(executable: &Path) -> Self {
        let folder = tempfile::Builder::new().prefix("hallpass-people-").tempdir().unwrap();
        let first = free_ports(3);
        let mut dev = Self::start(executable, folder, first);
        dev.process.kill().unwrap();
        dev.process.wait().unwrap();
        let agents = dev.folder.path().join("dev/policies/agents.toml");
        let text = std::fs::read_to_string(&agents).unwrap();
        let more = "kinds = [\"deploy\"]\nlimits = { pending_requests = 100000, live_leases = 100000, requests_per_minute = 1000000 }";
        assert!(text.contains("kinds = [\"deploy\"]"));
        std::fs::write(&agents, text.replace("kinds = [\"deploy\"]", more)).unwrap();
        let config = dev.folder.path().join("dev/hallpass.toml");
        let text = std::fs::read_to_string(&config).unwrap();
        let limits = "address_per_minute = 1000000\nissuer_per_minute = 1000000\noperator_per_minute = 1000000";
        assert!(text.contains("address_per_minute = 600") && text.contains("single_use = true"));
        // One token of each for the whole run: making tokens is not what is measured.
        let text = text.replace("address_per_minute = 600", limits).replace("single_use = true", "single_use = false");
        std::fs::write(&config, text).unwrap();
        let folder = std::mem::replace(&mut dev.folder, tempfile::tempdir().unwrap());
        drop(dev);
        Self::start(executable, folder, first)
    }

    async fn wire(&self) -> Wire {
        Wire::connect(self.address).await.unwrap()
    }

    /// The `Authorization` of one of its agents or people.
    async fn bearer(&self, name: &str) -> String {
        let state = std::fs::read_to_string(self.folder.path().join("dev/dev.json")).unwrap();
        let state: Value = serde_json::from_str(&state).unwrap();
        let secret = state["token_secret"].as_str().expect("the secret of the dev issuer is in dev.json");
        let issuer = SocketAddr::new(self.address.ip(), self.address.port() + 1);
        let ask = json!({ "name": name, "ttl_seconds": 3600 }).to_string();
        let mut wire = Wire::connect(issuer).await.unwrap();
        let sent = request("POST", "/token", &format!("Bearer {secret}"), "application/json", &ask);
        let answer = wire.send(&sent).await.unwrap().json();
        format!("Bearer {}", answer["token"].as_str().expect("the dev issuer makes tokens"))
    }

    /// The cookie of a console session: the link leads to the issuer and back, as it does a browser.
    async fn session(&self) -> String {
        let mut url = url::Url::parse(&self.link).unwrap();
        let mut cookies: Vec<(Option<u16>, String)> = Vec::new();
        for _ in 0..8 {
            let port = url.port();
            let own: Vec<&str> =
                cookies.iter().filter(|(of, _)| *of == port).map(|(_, cookie)| cookie.as_str()).collect();
            let path = &url[url::Position::BeforePath..];
            let (host, cookie) = (&url[url::Position::BeforeHost..url::Position::AfterPort], own.join("; "));
            let sent = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\ncookie: {cookie}\r\nconnection: close\r\n\r\n");
            let answer = raw((self.address.ip(), port.unwrap()).into(), &sent).await;
            let head = answer.split("\r\n\r\n").next().unwrap();
            let values = |name: &str| -> Vec<&str> {
                let of =
                    |line: &'_ str| line.split_once(": ").is_some_and(|(found, _)| found.eq_ignore_ascii_case(name));
                head.lines().filter(|line| of(line)).map(|line| line.split_once(": ").unwrap().1).collect()
            };
            for cookie in values("set-cookie") {
                cookies.push((port, cookie.split(';').next().unwrap().to_owned()));
            }
            if let Some((_, session)) = cookies.iter().find(|(_, cookie)| cookie.starts_with("__Host-hallpass=")) {
                return session.clone();
            }
            let next = *values("location").first().unwrap_or_else(|| panic!("the link signs in: {answer}"));
            url = url.join(next).unwrap();
        }
        panic!("the link does not sign in within eight steps");
    }
}

/// Everything a server answers to one request, as text.
async fn raw(address: SocketAddr, request: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

async fn call(wire: &mut Wire, method: &str, path: &str, authorization: &str, body: &Value) -> Value {
    let sent = match method {
        "GET" => get(path, authorization),
        _ => request(method, path, authorization, "application/json", &body.to_string()),
    };
    let answer = wire.send(&sent).await.unwrap();
    assert!(answer.status < 300, "{method} {path}: {} {}", answer.status, String::from_utf8_lossy(answer.body));
    answer.json()
}

/// One task that waits for a person: its id and its request's.
async fn waiting(wire: &mut Wire, agent: &str, prefix: usize) -> (String, String) {
    let scope = format!("api:releases:write(prefix=v{prefix}/)");
    let ask = json!({ "purpose": "Publish a release to measure", "scopes": [scope], "ttl_seconds": 600 });
    let task = call(wire, "POST", "/v1/tasks", agent, &ask).await;
    let request = &task["requests"][0];
    assert_eq!(request["state"], "pending", "{task}");
    (task["id"].as_str().unwrap().to_owned(), request["id"].as_str().unwrap().to_owned())
}

/// From a person's yes until the credential is in the agent's hands: it long-polls, is woken, and collects.
async fn approve_to_mint(dev: &Dev, rounds: usize) -> Vec<Duration> {
    let (agent, person) = (dev.bearer("release-bot").await, dev.bearer("dev-approver").await);
    let (mut asking, mut deciding) = (dev.wire().await, dev.wire().await);
    let mut times = Vec::with_capacity(rounds);
    for round in 0..rounds {
        let (task, pending) = waiting(&mut asking, &agent, round).await;
        let view = call(&mut deciding, "GET", &format!("/v1/requests/{pending}"), &person, &Value::Null).await;
        let verdict = json!({ "verdict": "approve", "request_digest": view["request_digest"], "reason": "Measured" });
        let held = async {
            call(&mut asking, "GET", &format!("/v1/tasks/{task}?wait=25"), &agent, &Value::Null).await;
            let answer = call(&mut asking, "POST", &format!("/v1/tasks/{task}/credentials"), &agent, &json!({})).await;
            assert_eq!(answer["credentials"].as_array().map(Vec::len), Some(1), "{answer}");
            Instant::now()
        };
        let said = async {
            // The poll is under way before anybody says yes.
            tokio::time::sleep(Duration::from_millis(20)).await;
            let from = Instant::now();
            call(&mut deciding, "POST", &format!("/v1/requests/{pending}/verdict"), &person, &verdict).await;
            from
        };
        let (held, said) = tokio::join!(held, said);
        times.push(held - said);
        call(&mut asking, "POST", &format!("/v1/tasks/{task}/complete"), &agent, &json!({})).await;
    }
    times
}

/// How long the inbox takes, and what it weighs as it goes over the wire, with its style and scripts.
async fn inbox(dev: &Dev, pending: usize) -> (Vec<Duration>, usize, usize) {
    let agent = dev.bearer("release-bot").await;
    let mut asking = dev.wire().await;
    for number in 0..pending {
        waiting(&mut asking, &agent, number).await;
    }
    let cookie = dev.session().await;
    let page = |path: &str| {
        format!("GET {path} HTTP/1.1\r\nhost: {}\r\ncookie: {cookie}\r\naccept-encoding: gzip\r\n\r\n", dev.address)
            .into_bytes()
    };
    let mut reading = dev.wire().await;
    let (mut times, mut html) = (Vec::new(), 0);
    for _ in 0..50 {
        let from = Instant::now();
        let answer = reading.send(&page("/")).await.unwrap();
        times.push(from.elapsed());
        assert_eq!(answer.status, 200);
        html = answer.body.len();
    }
    let plain = raw(
        dev.address,
        &format!("GET / HTTP/1.1\r\nhost: {}\r\ncookie: {cookie}\r\nconnection: close\r\n\r\n", dev.address),
    )
    .await;
    let mut parts: Vec<&str> = plain.split('"').filter(|word| word.starts_with("/static/")).collect();
    parts.sort_unstable();
    parts.dedup();
    let mut weight = 0;
    for part in parts {
        weight += reading.send(&page(part)).await.unwrap().body.len();
    }
    (times, html, weight)
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let args: Vec<String> = std::env::args().collect();
    let number = |name: &str, usual: usize| option(&args, name).map_or(usual, |text| text.parse().unwrap());
    let (rounds, pending) = (number("--rounds", 300), number("--pending", 1000));
    let usual = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/release/hallpass");
    let executable = option(&args, "--executable").map_or(usual, PathBuf::from);
    let dev = Dev::with_patient_agents(&executable.canonicalize().unwrap());
    let (p50, p99) = percentiles(approve_to_mint(&dev, rounds).await);
    println!("yes to credential   {rounds} rounds, agent long-polling: p50 {p50:.1} ms, p99 {p99:.1} ms");
    let (times, html, parts) = inbox(&dev, pending).await;
    let (p50, p99) = percentiles(times);
    println!(
        "inbox               {pending} pending: p50 {p50:.1} ms, p99 {p99:.1} ms; {:.1} KB of HTML",
        html as f64 / 1000.0
    );
    println!("page weight         {:.1} KB of style and scripts, compressed", parts as f64 / 1000.0);
}
