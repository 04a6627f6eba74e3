//! Three replicas on a PostgreSQL of their own, clients that never give up, and a killer: again and again one replica gets a
//! `kill -9` and is started again. Nothing that was answered is lost, no invariant is broken at any moment, and when it is over
//! everything ends.
//!
//! `make kill-replicas` does it for ten minutes (`KILL_SECONDS`), with the release executable (`KILL_EXECUTABLE`).

mod client;
mod invariants;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hallpass::sys::{Clock as _, SteadyClock, SystemEntropy};

use crate::support::loopback::{Wire, request};
use crate::support::postgres::Server;
use crate::support::process::{Stage, write_agents};
use client::{Client, Told, unit};

/// How long it goes on when nobody says, in seconds.
const SECONDS: u32 = 12;
/// Replicas.
const REPLICAS: usize = 3;
/// Clients at a time.
const CLIENTS: usize = 24;
/// Time between two kills, in milliseconds: from, to.
const KILL_EVERY: (u64, u64) = (1500, 6500);
/// Fewer tasks a second than this prove nothing.
const FEWEST_TASKS_PER_SECOND: f64 = 40.0;
/// Everything that is due has ended this long after the faults stopped (I13).
const AT_REST_WITHIN: Duration = Duration::from_mins(1);
/// The most memory and files one replica may come to (I14).
const MOST_RESIDENT_KIB: u64 = 400 * 1024;
const MOST_FILES: usize = 600;
/// The name of the database.
const DATABASE: &str = "kill_run";

/// The replicas, alive or about to be.
struct Fleet {
    stage: Stage,
    names: Vec<String>,
    addresses: Vec<SocketAddr>,
    brokers: Vec<Child>,
    executable: PathBuf,
}

/// How long to go on and with what is for whoever runs the test to say.
fn told_by(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "read by a test, not by the broker")]
    std::env::var(name).ok()
}

impl Fleet {
    async fn start(server: &Server, executable: PathBuf) -> Self {
        let stage = Stage::on(Some(server.url(DATABASE)), 8);
        write_agents(stage.folder.path(), 8, client::AGENTS);
        let mut migrate = std::process::Command::new(&executable);
        let migrated = migrate.arg("migrate").current_dir(stage.folder.path()).env_clear().output().unwrap();
        assert!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
        server.query(DATABASE, invariants::WATCH);
        let mut fleet = Self {
            names: vec!["hallpass".to_owned()],
            addresses: vec![stage.address],
            brokers: Vec::new(),
            executable,
            stage,
        };
        for number in 1..REPLICAS {
            let name = format!("replica-{number}");
            fleet.addresses.push(fleet.stage.add_replica(&name));
            fleet.names.push(name);
        }
        for number in 0..REPLICAS {
            let broker = fleet.stage.start_replica(&fleet.executable, &fleet.names[number]);
            fleet.brokers.push(broker);
            fleet.stage.ready_at(fleet.addresses[number]).await;
        }
        fleet
    }

    /// Kill one as a power cut would, and start it again; nobody waits for it.
    fn kill_and_start(&mut self, number: usize) {
        self.brokers[number].kill().unwrap();
        self.brokers[number].wait().unwrap();
        self.brokers[number] = self.stage.start_replica(&self.executable, &self.names[number]);
    }

    /// The most memory, and the most open files, of any.
    fn uses(&self) -> (u64, usize) {
        let of = |broker: &Child| {
            let status = std::fs::read_to_string(format!("/proc/{}/status", broker.id())).unwrap_or_default();
            let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            let kib = resident.and_then(|text| text.trim().trim_end_matches(" kB").trim().parse().ok()).unwrap_or(0);
            (kib, std::fs::read_dir(format!("/proc/{}/fd", broker.id())).map_or(0, Iterator::count))
        };
        self.brokers.iter().map(of).fold((0, 0), |most, one| (most.0.max(one.0), most.1.max(one.1)))
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for broker in &mut self.brokers {
            drop(broker.kill());
            drop(broker.wait());
        }
    }
}

/// The seconds since a clock was made.
fn seconds_of(clock: SteadyClock) -> f64 {
    f64::from(u32::try_from(clock.now().as_millis()).unwrap()) / 1000.0
}

/// Throw the kill switch and release it, now and then, at any replica that answers.
async fn throw_the_switch(addresses: Vec<SocketAddr>, operator: String, stop: Arc<AtomicBool>) -> u32 {
    let mut thrown = 0;
    let mut every = tokio::time::interval(Duration::from_secs(9));
    every.tick().await;
    loop {
        every.tick().await;
        if stop.load(Ordering::Relaxed) {
            return thrown;
        }
        for word in ["engage", "release"] {
            let ask = format!(r#"{{"target":{{"kill_switch":"{word}"}},"reason":"drill"}}"#);
            let bytes = request("POST", "/v1/revocations", &operator, "application/json", &ask);
            let mut tries = tokio::time::interval(Duration::from_millis(100));
            'done: loop {
                tries.tick().await;
                for address in &addresses {
                    let Ok(mut wire) = Wire::connect(*address).await else { continue };
                    if wire.send(&bytes).await.is_ok_and(|answer| answer.status == 200) {
                        break 'done;
                    }
                }
            }
        }
        thrown += 1;
    }
}

#[tokio::test]
async fn no_kill_loses_what_was_answered_or_leaves_anything_behind() {
    let seconds = told_by("KILL_SECONDS").map_or(SECONDS, |text| text.parse().expect("a number of seconds"));
    let executable = told_by("KILL_EXECUTABLE").unwrap_or_else(|| env!("CARGO_BIN_EXE_hallpass").to_owned());
    let server = Server::start();
    let mut fleet = Fleet::start(&server, executable.into()).await;
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::new(Mutex::new(Vec::<Told>::new()));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let client = Client::new(number, &fleet.stage, &fleet.addresses, Arc::clone(&told), Arc::clone(&stop));
            tokio::spawn(client.run())
        })
        .collect();
    let switch = tokio::spawn(throw_the_switch(fleet.addresses.clone(), fleet.stage.operator(), Arc::clone(&stop)));
    let (clock, mut kills, mut most) = (SteadyClock::default(), 0_u32, (0, 0));
    let random = SystemEntropy::default();
    while seconds_of(clock) < f64::from(seconds) {
        let wait = KILL_EVERY.0 + unit(&random) % (KILL_EVERY.1 - KILL_EVERY.0);
        drop(tokio::time::timeout(Duration::from_millis(wait), std::future::pending::<()>()).await);
        let uses = fleet.uses();
        most = (most.0.max(uses.0), most.1.max(uses.1));
        fleet.kill_and_start(usize::try_from(unit(&random)).unwrap() % REPLICAS);
        kills += 1;
        if kills % 10 == 0 {
            let found = invariants::violations(&server, DATABASE, false);
            assert!(found.is_empty(), "after {kills} kills: {found:#?}\n{}", fleet.stage.log());
        }
    }
    let lasted = seconds_of(clock);
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    let thrown = switch.await.unwrap();
    let resting = SteadyClock::default();
    let mut tries = tokio::time::interval(Duration::from_millis(250));
    let mut found = Vec::new();
    while seconds_of(resting) < AT_REST_WITHIN.as_secs_f64() {
        tries.tick().await;
        found = invariants::violations(&server, DATABASE, true);
        if found.is_empty() {
            break;
        }
    }
    assert!(found.is_empty(), "{found:#?}\n{}", fleet.stage.log());
    let told = std::mem::take(&mut *told.lock().unwrap());
    everything_told_is_there(&server, &told);
    assert!(most.0 < MOST_RESIDENT_KIB && most.1 < MOST_FILES, "I14: {} KiB, {} files", most.0, most.1);
    let rate = f64::from(u32::try_from(told.len()).unwrap()) / lasted;
    println!(
        "{lasted:.0} s, {REPLICAS} replicas, {kills} kills, {thrown} times the kill switch, {} tasks answered ({rate:.0}/s), 0 \
         violations; at rest {:.1} s after the last fault; at most {} MiB and {} files a replica",
        told.len(),
        seconds_of(resting),
        most.0 / 1024,
        most.1
    );
    // A short run shares the machine with other tests.
    assert!(seconds < 60 || rate >= FEWEST_TASKS_PER_SECOND, "{rate:.0} tasks/s prove nothing; the run is void");
}

/// What a client was told is on record, once: its task, its lease; and no secret was handed out twice.
fn everything_told_is_there(server: &Server, told: &[Told]) {
    let rows =
        |question: &str| -> BTreeSet<String> { server.query(DATABASE, question).lines().map(str::to_owned).collect() };
    let tasks = rows("select id from task");
    let leases: BTreeMap<String, String> = rows("select id || ' ' || task_id from lease")
        .into_iter()
        .filter_map(|row| row.split_once(' ').map(|(lease, task)| (lease.to_owned(), task.to_owned())))
        .collect();
    let (mut secrets, mut keys) = (BTreeSet::new(), BTreeMap::new());
    for one in told {
        assert!(tasks.contains(&one.task), "the task {} is lost", one.task);
        assert_eq!(*keys.entry(&one.key).or_insert(&one.task), &one.task, "I9: one key, two tasks");
        for (lease, secret) in &one.credentials {
            assert_eq!(leases.get(lease), Some(&one.task), "the lease {lease} is lost");
            assert!(secrets.insert(secret), "I3: a secret was handed out twice");
        }
    }
}
