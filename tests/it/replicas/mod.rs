//! Several replicas as processes of their own on a real PostgreSQL: what each must withstand that the others, the database, a
//! clock or an operator does to it, while clients go on asking.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "how long others take is measured; a test that cannot run says so"
)]

mod clocks;
mod database;
mod load;
mod stopping;

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::loopback::{Wire, get, request};
use crate::support::postgres::Server;
use crate::support::process::Stage;

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(30);
/// What clients ask for: a life that no test outlives.
const ASK: &str = r#"{"purpose":"Read the release list","scopes":["api:releases:read"],"ttl_seconds":600}"#;

/// Replicas that share a folder and a database.
struct Replicas {
    stage: Stage,
    names: Vec<String>,
    addresses: Vec<SocketAddr>,
    brokers: Vec<Option<Child>>,
}

impl Replicas {
    /// Write so many configurations; nothing is started.
    fn prepare(server: &Server, purpose: &str, count: usize) -> Self {
        Self::on(server.url(purpose), count)
    }

    fn on(url: String, count: usize) -> Self {
        let stage = Stage::on(Some(url), 4);
        let mut replicas =
            Self { names: vec!["hallpass".to_owned()], addresses: vec![stage.address], brokers: vec![None], stage };
        for number in 1..count {
            let name = format!("replica-{number}");
            replicas.addresses.push(replicas.stage.add_replica(&name));
            replicas.names.push(name);
            replicas.brokers.push(None);
        }
        replicas
    }

    /// So many that are ready.
    async fn start(server: &Server, purpose: &str, count: usize) -> Self {
        let mut replicas = Self::prepare(server, purpose, count);
        replicas.spawn_all().await;
        replicas
    }

    async fn spawn_all(&mut self) {
        for number in 0..self.names.len() {
            self.spawn(number);
            self.ready(number).await;
        }
    }

    fn spawn(&mut self, number: usize) {
        self.spawn_in(number, &[]);
    }

    fn spawn_in(&mut self, number: usize, environment: &[(&str, String)]) {
        let executable = Path::new(env!("CARGO_BIN_EXE_hallpass"));
        let environment: Vec<_> = environment.iter().map(|(name, value)| (*name, &**value)).collect();
        self.brokers[number] = Some(self.stage.start_with(executable, &self.names[number], &environment));
    }

    async fn ready(&self, number: usize) {
        self.stage.ready_at(self.addresses[number]).await;
    }

    fn signal(&self, number: usize, signal: Signal) {
        kill_process(Pid::from_child(self.brokers[number].as_ref().unwrap()), signal).unwrap();
    }

    /// Wait until it has ended by itself.
    async fn ended(&mut self, number: usize) -> ExitStatus {
        let mut broker = self.brokers[number].take().unwrap();
        let mut tries = tokio::time::interval(Duration::from_millis(5));
        let ending = async {
            loop {
                tries.tick().await;
                if let Some(status) = broker.try_wait().unwrap() {
                    return status;
                }
            }
        };
        let ended = tokio::time::timeout(PATIENCE, ending).await;
        ended.unwrap_or_else(|_| panic!("it does not end: {}", self.stage.log()))
    }

    /// One request on a connection of its own; nothing when it was not answered.
    async fn send(&self, number: usize, bytes: &[u8]) -> Option<(u16, Value)> {
        let asked = async {
            let mut wire = Wire::connect(self.addresses[number]).await.ok()?;
            let answer = wire.send(bytes).await.ok()?;
            Some((answer.status, answer.json()))
        };
        tokio::time::timeout(PATIENCE, asked).await.ok()?
    }

    async fn get(&self, number: usize, path: &str) -> Option<(u16, Value)> {
        self.send(number, &get(path, &self.stage.operator())).await
    }

    async fn open(&self, number: usize, ask: &str) -> Option<(u16, Value)> {
        self.send(number, &request("POST", "/v1/tasks", &self.stage.agent("bench-0"), "application/json", ask)).await
    }

    async fn revoke(&self, number: usize, target: &str) -> Option<(u16, Value)> {
        let ask = format!(r#"{{"target":{target},"reason":"a drill"}}"#);
        let bytes = request("POST", "/v1/revocations", &self.stage.operator(), "application/json", &ask);
        self.send(number, &bytes).await
    }

    async fn is_active(&self, number: usize, token: &str) -> bool {
        let (status, answer) = self.send(number, &self.stage.introspection(token)).await.unwrap();
        assert_eq!(status, 200);
        answer["active"].as_bool().unwrap()
    }
}

impl Drop for Replicas {
    fn drop(&mut self) {
        for broker in self.brokers.iter_mut().flatten() {
            drop(broker.kill());
            drop(broker.wait());
        }
    }
}

/// Wait until something is so, at most so long.
async fn until(within: Duration, what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let mut tries = tokio::time::interval(Duration::from_millis(20));
    let waiting = async {
        while !is_so().await {
            tries.tick().await;
        }
    };
    tokio::time::timeout(within, waiting).await.unwrap_or_else(|_| panic!("not within {within:?}: {what}"));
}

/// Let it go on for a while.
async fn for_a_while(millis: u64) {
    let while_ = Duration::from_millis(millis);
    let _ = tokio::time::timeout(while_, std::future::pending::<()>()).await;
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}")).to_owned()
}
