//! What was answered is on disk: the broker is killed under load, again and again, and after each start every task, decision
//! and lease that a client was told of is there. What was due meanwhile ends.
//!
//! `ROUNDS=50 cargo test --test it durable::` (or `make kill9`) does it for longer.

use std::path::Path;
use std::process::Child;
use std::time::Duration;

use hallpass::sys::{Entropy as _, SystemEntropy};
use tokio::sync::mpsc;

use crate::support::loopback::{Answer, Wire, get, request};
use crate::support::process::Stage;

/// Rounds when nobody says how many.
const ROUNDS: u32 = 3;
/// Clients at a time.
const CLIENTS: usize = 16;
/// Most answers before a kill.
const MOST_ANSWERS: u32 = 200;
/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(30);
/// The life of each credential is two seconds, so that all are due before the test is over.
const ASK: &str = r#"{"purpose":"Read the release list","scopes":["api:releases:read"],"ttl_seconds":2}"#;

/// What a client was told.
struct Told {
    task: String,
    decision: String,
    lease: String,
    token: String,
}

impl Told {
    fn read(answer: &Answer<'_>) -> Self {
        let body = answer.json();
        let text = |pointer: &str| body.pointer(pointer).and_then(|value| value.as_str()).expect(pointer).to_owned();
        Self {
            task: text("/id"),
            decision: text("/requests/0/decision"),
            lease: text("/credentials/0/id"),
            token: text("/credentials/0/values/access_token"),
        }
    }
}

/// Ask as fast as answers come, until the broker is gone.
async fn client(address: std::net::SocketAddr, authorization: String, told: mpsc::UnboundedSender<Told>) {
    let task = request("POST", "/v1/tasks", &authorization, "application/json", ASK);
    let Ok(mut wire) = Wire::connect(address).await else { return };
    while let Ok(answer) = wire.send(&task).await {
        let fine = answer.status == 201 && answer.says("\"access_token\":\"ey");
        assert!(fine, "{} {}", answer.status, String::from_utf8_lossy(answer.body));
        if told.send(Told::read(&answer)).is_err() {
            return;
        }
    }
}

/// Load the broker, kill it at a random moment, and say what was answered before.
async fn kill_under_load(stage: &Stage, broker: &mut Child) -> Vec<Told> {
    let mut random = [0_u8; 4];
    SystemEntropy::default().fill(&mut random);
    let answers = 1 + u32::from_be_bytes(random) % MOST_ANSWERS;
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|n| tokio::spawn(client(stage.address, stage.agent(&format!("bench-{}", n % 4)), sender.clone())))
        .collect();
    drop(sender);
    let mut told = Vec::new();
    for _ in 0..answers {
        let one = tokio::time::timeout(PATIENCE, receiver.recv()).await.expect("answers in time");
        told.push(one.unwrap_or_else(|| panic!("the broker ended by itself: {}", stage.log())));
    }
    broker.kill().unwrap();
    broker.wait().unwrap();
    for client in clients {
        client.await.unwrap();
    }
    while let Some(one) = receiver.recv().await {
        told.push(one);
    }
    told
}

/// Everything that was told is there.
async fn check_all_there(stage: &Stage, told: &[Told]) {
    let operator = stage.operator();
    let mut wire = Wire::connect(stage.address).await.unwrap();
    for one in told {
        for path in [format!("/v1/tasks/{}", one.task), format!("/v1/decisions/{}", one.decision)] {
            let answer = wire.send(&get(&path, &operator)).await.unwrap();
            assert_eq!(answer.status, 200, "{path}: {}", String::from_utf8_lossy(answer.body));
        }
        let lease = lease_state(stage, &mut wire, &operator, one).await;
        assert!(lease.is_some(), "the lease {} of the task {} is missing", one.lease, one.task);
    }
}

async fn lease_state(stage: &Stage, wire: &mut Wire, operator: &str, told: &Told) -> Option<String> {
    let answer = wire.send(&get(&format!("/v1/leases?task={}", told.task), operator)).await.expect("an answer");
    assert_eq!(answer.status, 200, "{} {}", String::from_utf8_lossy(answer.body), stage.log());
    let page = answer.json();
    let found = page["items"].as_array()?.iter().find(|lease| lease["id"] == told.lease.as_str())?;
    found["state"].as_str().map(str::to_owned)
}

/// Everything that was due ended, and whoever asks about it hears so.
async fn check_all_ended(stage: &Stage, told: &[Told]) {
    let operator = stage.operator();
    let mut wire = Wire::connect(stage.address).await.unwrap();
    let mut tries = tokio::time::interval(Duration::from_millis(50));
    for one in told {
        while lease_state(stage, &mut wire, &operator, one).await.as_deref() != Some("ended") {
            tries.tick().await;
        }
        let answer = wire.send(&stage.introspection(&one.token)).await.unwrap();
        assert_eq!(answer.json(), serde_json::json!({ "active": false }), "{}", one.lease);
    }
}

#[tokio::test]
async fn whatever_was_answered_survives_a_kill_and_whatever_is_due_ends() {
    #[expect(clippy::disallowed_methods, reason = "how long to go on is for whoever runs the test to say")]
    let rounds = std::env::var("ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().expect("ROUNDS is a number"));
    let stage = Stage::new(4);
    let executable = Path::new(env!("CARGO_BIN_EXE_hallpass"));
    let mut broker = stage.start(executable);
    stage.ready().await;
    let mut all = Vec::new();
    for _ in 0..rounds {
        let told = kill_under_load(&stage, &mut broker).await;
        broker = stage.start(executable);
        stage.ready().await;
        check_all_there(&stage, &told).await;
        all.extend(told);
    }
    check_all_there(&stage, &all).await;
    tokio::time::timeout(PATIENCE, check_all_ended(&stage, &all)).await.expect("all ended in time");
    broker.kill().unwrap();
    broker.wait().unwrap();
    eprintln!("{rounds} kills; {} answered tasks, none lost, all credentials ended", all.len());
}
