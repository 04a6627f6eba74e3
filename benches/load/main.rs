//! Drives the release executable over loopback HTTP and measures it: tasks with a credential, introspections and decisions, at
//! 64 connections, with what the machine itself can do beside each, because only the ratio says something about the broker.
//!
//! `cargo bench --bench load -- [--seconds N] [--connections N] [--phases a1,a2,b,c,o,s] [--store sqlite|postgres]
//! [--replicas N] [--executable FILE] [--perf FILE]`; see docs/benchmarks.md.
#![allow(
    clippy::pedantic,
    clippy::restriction,
    clippy::disallowed_methods,
    unreachable_pub,
    dead_code,
    reason = "a measuring program, not the broker"
)]

#[path = "../../tests/it/support/loopback.rs"]
mod loopback;
mod machine;
mod overload;
#[path = "../../tests/it/support/ports.rs"]
mod ports;
#[path = "../../tests/it/support/postgres.rs"]
mod postgres;
#[path = "../../tests/it/support/process.rs"]
mod process;
mod soak;
mod start;

use std::cell::Cell;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use loopback::{Wire, request};
use machine::{Limits, cpu_millis, resident_kib};
use process::Stage;
use serde_json::json;

/// How many agents ask; each connection is one of them.
const AGENTS: usize = 16;
/// Tasks a second for which tokens are signed before the clock runs; with all used a phase ends early.
const TOKENS_PER_SECOND: usize = 6000;
/// Requests of a connection before the clock runs.
const WARM_UP: usize = 30;
/// What every task asks for.
const ASK: &str = r#"{"purpose":"Read the release list to measure","scopes":["api:releases:read"],"ttl_seconds":900}"#;

/// What is asked for on the command line.
struct Options {
    seconds: u64,
    connections: usize,
    phases: Vec<String>,
    executable: PathBuf,
    perf: Option<String>,
    /// Whether on PostgreSQL.
    postgres: bool,
    /// How many replicas share the load.
    replicas: usize,
}

impl Options {
    fn read() -> Self {
        let args: Vec<String> = std::env::args().collect();
        let value = |name: &str| args.iter().position(|arg| arg == name).map(|at| args[at + 1].clone());
        let number = |name: &str, default: u64| value(name).map_or(default, |text| text.parse().unwrap());
        Self {
            seconds: number("--seconds", 10).clamp(1, 600),
            connections: number("--connections", 64).clamp(1, 1024) as usize,
            phases: value("--phases").unwrap_or("a1,a2,b,c,o".into()).split(',').map(str::to_owned).collect(),
            executable: value("--executable").unwrap_or(env!("CARGO_BIN_EXE_hallpass").into()).into(),
            perf: value("--perf"),
            postgres: value("--store").is_some_and(|store| store == "postgres"),
            replicas: number("--replicas", 1).clamp(1, 9) as usize,
        }
    }
}

/// The requests of one connection, and what each answer must be.
struct Script {
    requests: Vec<Vec<u8>>,
    status: u16,
    says: &'static str,
}

/// What a phase came to.
struct Measured {
    answers: usize,
    seconds: f64,
    waits_us: Vec<u32>,
    broker_millis: f64,
    own_millis: f64,
    resident_kib: u64,
}

impl Measured {
    fn rate(&self) -> f64 {
        self.answers as f64 / self.seconds
    }

    fn millis_at(&self, share: f64) -> f64 {
        at(&self.waits_us, share)
    }

    fn broker_us(&self) -> f64 {
        self.broker_millis * 1000.0 / self.answers as f64
    }

    fn own_us(&self) -> f64 {
        self.own_millis * 1000.0 / self.answers as f64
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let options = Options::read();
    let executable = options.executable.as_path();
    start::report(executable).await;
    let server = options.postgres.then(postgres::Server::start_for_load);
    let stage = Rc::new(Stage::on(server.as_ref().map(|server| server.url("bench")), AGENTS));
    let limits = Limits::measure(stage.folder.path());
    limits.print();
    let mut fleet = Fleet::start(&stage, executable, options.replicas).await;
    println!(
        "{:<15}{} x {}, {:.1} MB resident idle",
        "brokers",
        options.replicas,
        if options.postgres { "PostgreSQL" } else { "SQLite" },
        fleet.resident_kib() as f64 / 1024.0
    );
    println!(
        "\n{:<22}{:>10}{:>9}{:>9}{:>12}{:>12}{:>9}",
        "phase", "per s", "p50 ms", "p99 ms", "broker µs", "load µs", "RSS MB"
    );
    let local = tokio::task::LocalSet::new();
    let run = async {
        for phase in &options.phases {
            if phase == "o" {
                overload::report(&stage, &fleet, &options).await;
                continue;
            }
            if phase == "s" {
                soak::load_01_a_steady_rate_for_ten_minutes(&stage, &fleet, &options).await;
                continue;
            }
            let (what, mut scripts, repeats) = scripts(phase, &stage, &options).await;
            let warm: Vec<_> = scripts.iter_mut().map(warm_up).collect();
            drive(&fleet, warm, Duration::from_secs(2), true).await;
            let perf = options.perf.as_ref().map(|file| machine::perf(fleet.brokers[0].id(), file, options.seconds));
            let measured = drive(&fleet, scripts, Duration::from_secs(options.seconds), repeats).await;
            if let Some(mut perf) = perf {
                perf.wait().unwrap();
            }
            print(phase, what, &measured, &limits, options.connections);
        }
    };
    local.run_until(run).await;
    for broker in &mut fleet.brokers {
        broker.kill().unwrap();
        broker.wait().unwrap();
    }
}

/// The replicas under load.
struct Fleet {
    brokers: Vec<std::process::Child>,
    addresses: Vec<std::net::SocketAddr>,
}

impl Fleet {
    async fn start(stage: &Stage, executable: &std::path::Path, replicas: usize) -> Self {
        let mut fleet = Self { brokers: vec![stage.start(executable)], addresses: vec![stage.address] };
        stage.ready().await;
        for number in 1..replicas {
            let name = format!("replica-{number}");
            fleet.addresses.push(stage.add_replica(&name));
            fleet.brokers.push(stage.start_replica(executable, &name));
            stage.ready_at(fleet.addresses[number]).await;
        }
        fleet
    }

    fn cpu_millis(&self) -> f64 {
        self.brokers.iter().map(|broker| cpu_millis(Some(broker.id()))).sum()
    }

    fn resident_kib(&self) -> u64 {
        self.brokers.iter().map(|broker| resident_kib(broker.id())).sum()
    }
}

/// The value at a share of sorted ones, in milliseconds.
fn at(sorted_us: &[u32], share: f64) -> f64 {
    let place = ((sorted_us.len() as f64 * share) as usize).min(sorted_us.len().saturating_sub(1));
    f64::from(sorted_us.get(place).copied().unwrap_or(0)) / 1000.0
}

/// A few requests of a script that are spent before the clock runs.
fn warm_up(script: &mut Script) -> Script {
    let spared = script.requests.len().saturating_sub(WARM_UP).max(1);
    let requests = if script.requests.len() == 1 { script.requests.clone() } else { script.requests.split_off(spared) };
    Script { requests, ..*script }
}

fn agent(connection: usize) -> String {
    format!("bench-{}", connection % AGENTS)
}

/// What each connection sends in a phase, and whether it begins anew when all is sent.
async fn scripts(phase: &str, stage: &Stage, options: &Options) -> (&'static str, Vec<Script>, bool) {
    let connections = 0..options.connections;
    let task = |authorization: &str| request("POST", "/v1/tasks", authorization, "application/json", ASK);
    match phase {
        "a1" => {
            let each = (options.seconds as usize * TOKENS_PER_SECOND).div_ceil(options.connections) + WARM_UP;
            let tasks = |n| Script {
                requests: (0..each).map(|_| task(&stage.agent(&agent(n)))).collect(),
                status: 201,
                says: "\"access_token\":\"ey",
            };
            ("task, fresh token", connections.map(tasks).collect(), false)
        }
        "a2" => {
            let tasks = |n| Script {
                requests: vec![task(&stage.agent(&agent(n)))],
                status: 201,
                says: "\"access_token\":\"ey",
            };
            ("task, same token", connections.map(tasks).collect(), true)
        }
        "b" => {
            let mut scripts = Vec::new();
            for n in connections {
                let mut wire = Wire::connect(stage.address).await.unwrap();
                let answer = wire.send(&task(&stage.agent(&agent(n)))).await.unwrap();
                assert_eq!(answer.status, 201, "{}", String::from_utf8_lossy(answer.body));
                let token = answer.json()["credentials"][0]["values"]["access_token"].as_str().unwrap().to_owned();
                let requests = vec![stage.introspection(&token)];
                scripts.push(Script { requests, status: 200, says: "\"active\":true" });
            }
            ("introspection", scripts, true)
        }
        "c" => {
            let body = format!("{{\"task\":{ASK}}}");
            let decisions = |n| {
                let authorization = stage.agent(&agent(n));
                let one = request("POST", "/v1/decisions/simulate", &authorization, "application/json", &body);
                Script { requests: vec![one], status: 200, says: "\"outcome\":\"permit\"" }
            };
            ("decision only", connections.map(decisions).collect(), true)
        }
        other => panic!("no phase `{other}`; there are a1, a2, b, c, o and s"),
    }
}

/// Send every script on a connection of its own, until the time is over or all is sent.
async fn drive(fleet: &Fleet, scripts: Vec<Script>, time: Duration, repeats: bool) -> Measured {
    let (broker_before, own_before) = (fleet.cpu_millis(), cpu_millis(None));
    let start = Instant::now();
    let out_of_requests = Rc::new(Cell::new(false));
    let connections = scripts.into_iter().enumerate().map(|(number, script)| {
        let (address, out) = (fleet.addresses[number % fleet.addresses.len()], Rc::clone(&out_of_requests));
        tokio::task::spawn_local(async move {
            let mut wire = Wire::connect(address).await.unwrap();
            let mut waits = Vec::with_capacity(script.requests.len().max(1024));
            let mut next = 0;
            while start.elapsed() < time && !out.get() {
                let Some(bytes) = script.requests.get(next) else {
                    out.set(true);
                    break;
                };
                next = if repeats { (next + 1) % script.requests.len() } else { next + 1 };
                let before = Instant::now();
                let answer = wire.send(bytes).await.expect("an answer");
                waits.push(before.elapsed().as_micros() as u32);
                let fine = answer.status == script.status && answer.says(script.says);
                assert!(fine, "{} {}", answer.status, String::from_utf8_lossy(answer.body));
            }
            waits
        })
    });
    let mut waits_us = Vec::new();
    for connection in connections.collect::<Vec<_>>() {
        waits_us.extend(connection.await.unwrap());
    }
    waits_us.sort_unstable();
    Measured {
        answers: waits_us.len(),
        seconds: start.elapsed().as_secs_f64(),
        waits_us,
        broker_millis: fleet.cpu_millis() - broker_before,
        own_millis: cpu_millis(None) - own_before,
        resident_kib: fleet.resident_kib(),
    }
}

fn print(phase: &str, what: &str, measured: &Measured, limits: &Limits, connections: usize) {
    let resident = measured.resident_kib as f64 / 1024.0;
    let (p50, p99) = (measured.millis_at(0.5), measured.millis_at(0.99));
    println!(
        "{:<22}{:>10.0}{:>9.1}{:>9.1}{:>12.0}{:>12.0}{:>9.0}",
        format!("{phase} {what}"),
        measured.rate(),
        p50,
        p99,
        measured.broker_us(),
        measured.own_us(),
        resident
    );
    let line = json!({
        "phase": phase, "what": what, "connections": connections, "answers": measured.answers,
        "seconds": round(measured.seconds), "per_second": round(measured.rate()),
        "p50_ms": round(p50), "p99_ms": round(p99), "max_ms": round(measured.millis_at(1.0)),
        "broker_cpu_us": round(measured.broker_us()), "load_cpu_us": round(measured.own_us()),
        "rss_mb": round(resident), "fdatasync_per_second": round(limits.syncs_per_second),
        "es256_verify_us": round(limits.verify_us), "es256_sign_us": round(limits.sign_us),
        "answers_per_fdatasync": round(measured.rate() / limits.syncs_per_second),
        "broker_cpu_per_verify_and_sign": round(measured.broker_us() / (limits.verify_us + limits.sign_us)),
    });
    println!("{line}");
}

fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
