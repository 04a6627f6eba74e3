//! Fills a store with live leases, starts the release executable on it, and measures what that costs: how long until it is
//! ready, what is resident, how late leases end while thousands end each second.
//!
//! `cargo bench --bench million -- [--leases N] [--rate N] [--seconds N] [--store sqlite|postgres] [--executable FILE]`; of
//! `leases` live leases `rate * seconds` come to their end while it is looked at, evenly spread. See docs/benchmarks.md.
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
#[path = "load/machine.rs"]
mod machine;
#[path = "../tests/it/support/ports.rs"]
mod ports;
#[path = "../tests/it/support/postgres.rs"]
mod postgres;
#[path = "../tests/it/support/process.rs"]
mod process;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hallpass::domain::{
    Actor, AuditEvent, Digest, EventKind, Facts, Handle, Lease, LeaseId, LeaseRecord, LeaseState, ScopeSet, Subjects,
    Timestamp,
};
use hallpass::store::{Store, StoreSettings};
use hallpass::sys::{Clock, Ids, SystemClock, SystemEntropy};
use machine::{cpu_millis, resident_kib};
use process::Stage;

/// Leases written as one change.
const CHUNK: usize = 4000;
/// Tasks that share them.
const PER_TASK: usize = 20;
/// How long after the start the first of them come to their end.
const LEAD_MILLIS: i64 = 10_000;

fn option(args: &[String], name: &str) -> Option<String> {
    args.iter().position(|arg| arg == name).and_then(|at| args.get(at + 1)).cloned()
}

fn event(ids: &Ids, at: Timestamp) -> AuditEvent {
    AuditEvent {
        id: ids.event(),
        at,
        kind: EventKind::CredentialMinted,
        actor: Actor::Broker,
        subjects: Subjects::default(),
        data: BTreeMap::new(),
    }
}

/// Write so many live leases that end at the given moments.
async fn fill(store: &Store, ids: &Ids, ends: &mut dyn Iterator<Item = Timestamp>) -> Vec<LeaseId> {
    let scopes = ScopeSet::new(["api:releases:read".parse().unwrap()]).unwrap();
    let now = SystemClock.now();
    let mut written = Vec::new();
    let (mut task, mut held) = (ids.task(), 0);
    loop {
        let ends: Vec<Timestamp> = ends.take(CHUNK).collect();
        if ends.is_empty() {
            return written;
        }
        let mut tx = store.begin("fill");
        for ends_at in ends {
            if held == PER_TASK {
                (task, held) = (ids.task(), 0);
            }
            held += 1;
            let id = ids.lease();
            let lease = LeaseRecord {
                id,
                grant: ids.grant(),
                request: ids.request(),
                task,
                agent: format!("bench-{}", written.len() % 16).parse().unwrap(),
                backend: "api".parse().unwrap(),
                scopes: scopes.clone(),
                plan: Digest::from_bytes([5; 32]),
                handle: Handle::new(id.to_string()),
                intent_at: now,
                ends_at,
                native_end: ends_at,
                fence: 1,
                state: LeaseState::Live {
                    minted_at: now,
                    fingerprint: "0123456789abcdef".to_owned(),
                    delivered_at: Some(now),
                },
            };
            tx.insert_lease(&Lease::new(lease).unwrap());
            written.push(id);
        }
        tx.commit(Facts::new(event(ids, now))).await.unwrap();
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str, default: usize| option(&args, name).map_or(default, |text| text.parse().unwrap());
    let (leases, rate, seconds) = (number("--leases", 1_000_000), number("--rate", 2000), number("--seconds", 20));
    let server =
        option(&args, "--store").is_some_and(|store| store == "postgres").then(postgres::Server::start_for_load);
    let executable = option(&args, "--executable").unwrap_or_else(|| "target/release/hallpass".to_owned());
    let executable = PathBuf::from(executable).canonicalize().unwrap();

    let stage = Stage::on(server.as_ref().map(|server| server.url("million")), 16);
    let url = server.as_ref().map_or_else(
        || format!("sqlite:{}", stage.folder.path().join("data/hallpass.db").display()),
        |server| server.url("million"),
    );
    // The bundle is in force before there are leases, as it would be.
    let mut first = stage.start(&executable);
    stage.ready().await;
    stop(&mut first);

    let store = Store::open(&StoreSettings::new(url)).await.unwrap();
    let ids = Ids::new(Arc::new(SystemClock), Arc::new(SystemEntropy::default()));
    let filling = Instant::now();
    let due = rate * seconds;
    let later = SystemClock.now().plus_millis(86_400_000);
    fill(&store, &ids, &mut std::iter::repeat_n(later, leases.saturating_sub(due))).await;
    let from = SystemClock.now().plus_millis(LEAD_MILLIS + due as i64 / 10);
    let due = fill(&store, &ids, &mut (0..due).map(|n| from.plus_millis((n * 1000 / rate) as i64))).await;
    println!("filled         {leases} live leases in {:.1} s", filling.elapsed().as_secs_f64());
    // What the writer kept is folded into the database, as a broker that stops leaves it.
    store.close().await;

    let start = Instant::now();
    let mut broker = stage.start(&executable);
    stage.ready().await;
    println!("ready          after {:.0} ms", start.elapsed().as_secs_f64() * 1000.0);
    println!("resident       {:.0} MB once ready", resident_kib(broker.id()) as f64 / 1024.0);
    let wait = from.millis_since(SystemClock.now()).max(0);
    println!("first end      in {:.1} s", wait as f64 / 1000.0);
    tokio::time::sleep(Duration::from_millis(wait.unsigned_abs())).await;
    let cpu = cpu_millis(Some(broker.id()));
    let mut peak = 0;
    for _ in 0..seconds + 5 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        peak = peak.max(resident_kib(broker.id()));
    }
    let cpu = cpu_millis(Some(broker.id())) - cpu;
    stop(&mut broker);

    let settings = StoreSettings::new(server.as_ref().map_or_else(
        || format!("sqlite:{}", stage.folder.path().join("data/hallpass.db").display()),
        |server| server.url("million"),
    ));
    let store = Store::open(&settings).await.unwrap();
    let mut late = Vec::new();
    for chunk in due.chunks(1000) {
        for lease in store.find_leases(chunk).await.unwrap() {
            if let LeaseState::Ended { at, .. } = lease.state {
                late.push(at.millis_since(lease.ends_at));
            }
        }
    }
    late.sort_unstable();
    let at = |share: f64| late.get((late.len() as f64 * share) as usize).copied().unwrap_or(0);
    println!("ended          {} of {} that came to their end within {seconds} s", late.len(), due.len());
    println!("lateness       p50 {} ms, p99 {} ms, worst {} ms", at(0.5), at(0.99), late.last().unwrap_or(&0));
    println!("resident       {:.0} MB at most meanwhile", peak as f64 / 1024.0);
    println!("CPU            {:.1} % of one core meanwhile", cpu / 10.0 / (seconds + 5) as f64);
    store.close().await;
}

/// Ask a broker to stop, and wait until it has.
fn stop(broker: &mut std::process::Child) {
    let asked = std::process::Command::new("kill").arg("-TERM").arg(broker.id().to_string()).status().unwrap();
    assert!(asked.success());
    broker.wait().unwrap();
}
