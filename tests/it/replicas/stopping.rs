//! Stopping on purpose: a server that is told to stop answers everybody who asked, replicas are replaced one after another under
//! load, and a newer schema is no trouble for whoever runs on it.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::load::Load;
use super::{ASK, Replicas, for_a_while, until};
use crate::support::loopback::{Wire, get};
use crate::support::postgres::shared;

/// Seconds for which a server in these tests still serves after it was told to stop.
const DRAIN: Duration = Duration::from_secs(2);

fn draining(replicas: &Replicas) {
    for name in &replicas.names {
        let drain = format!("drain_seconds = {}\n", DRAIN.as_secs());
        replicas.stage.configure(name, "drain_seconds = 0\n", &drain);
    }
}

/// Ask for readiness on new connections until one is refused; whether each of them was taken until readiness was false, and for
/// how long after.
async fn readiness(address: SocketAddr) -> (bool, Duration) {
    let mut not_ready_since: Option<Instant> = None;
    let mut tries = tokio::time::interval(Duration::from_millis(10));
    loop {
        tries.tick().await;
        let Ok(mut wire) = Wire::connect(address).await else { break };
        let Ok(answer) = wire.send(&get("/readyz", "")).await else { break };
        if answer.status == 503 && not_ready_since.is_none() {
            not_ready_since = Some(Instant::now());
        }
    }
    (not_ready_since.is_some(), not_ready_since.map_or(Duration::ZERO, |since| since.elapsed()))
}

#[tokio::test]
async fn crash_07_a_server_that_is_told_to_stop_answers_everybody_and_ends_well() {
    let server = shared();
    let mut replicas = Replicas::prepare(server, "crash_07", 2);
    draining(&replicas);
    replicas.spawn_all().await;
    let load = Load::start(&replicas);
    load.goes_on(30).await;
    let watching = tokio::spawn(readiness(replicas.addresses[0]));
    for_a_while(200).await;
    let told = Instant::now();
    replicas.signal(0, Signal::TERM);
    let (was_false_first, served) = watching.await.unwrap();
    assert!(was_false_first, "a connection was refused before readiness was false");
    assert!(served + Duration::from_millis(500) >= DRAIN, "it served for {served:?}");
    assert_eq!(replicas.ended(0).await.code(), Some(0), "{}", replicas.stage.log());
    assert!(told.elapsed() <= Duration::from_secs(25), "{:?}", told.elapsed());
    load.goes_on(20).await;
    let seen = load.stop().await;
    assert_eq!((seen.cut, seen.unavailable), (0, 0), "whoever asks is answered");
    assert!(seen.longest_gap() <= Duration::from_secs(1), "{:?}", seen.longest_gap());
    seen.is_all_there(server, "crash_07");
}

#[tokio::test]
async fn crash_07_a_second_signal_ends_at_once_and_leaves_no_half_mint() {
    let server = shared();
    let mut replicas = Replicas::prepare(server, "crash_07_twice", 2);
    replicas.stage.configure("hallpass", "drain_seconds = 0\n", "drain_seconds = 60\n");
    replicas.spawn_all().await;
    let load = Load::start(&replicas);
    load.goes_on(30).await;
    replicas.signal(0, Signal::TERM);
    let told = Instant::now();
    for_a_while(200).await;
    replicas.signal(0, Signal::TERM);
    assert_eq!(replicas.ended(0).await.code(), Some(1));
    assert!(told.elapsed() < Duration::from_secs(2), "{:?}", told.elapsed());
    load.stop().await.is_all_there(server, "crash_07_twice");
    let half = "select count(*) from lease where state = 'minting'";
    until(Duration::from_secs(20), "nothing is half minted", async || {
        server.query("crash_07_twice", half).trim() == "0"
    })
    .await;
}

#[tokio::test]
async fn ha_09_replicas_are_replaced_one_after_another_and_nobody_notices() {
    let server = shared();
    let mut replicas = Replicas::prepare(server, "rolling", 3);
    draining(&replicas);
    replicas.spawn_all().await;
    let load = Load::start(&replicas);
    for number in 0..3 {
        load.goes_on(20).await;
        replicas.signal(number, Signal::TERM);
        assert_eq!(replicas.ended(number).await.code(), Some(0), "{}", replicas.stage.log());
        replicas.spawn(number);
        replicas.ready(number).await;
    }
    load.goes_on(20).await;
    let seen = load.stop().await;
    assert_eq!((seen.cut, seen.unavailable), (0, 0), "whoever asks is answered");
    assert!(seen.longest_gap() <= Duration::from_secs(1), "{:?}", seen.longest_gap());
    seen.is_all_there(server, "rolling");
}

/// What a newer version may add while an older one runs, as its migration would: in its turn, like every group.
const EXPAND: &str = "begin; select from pg_advisory_xact_lock(7311204658); alter table lease add column note text collate \"C\"; alter table task add column rank bigint;
    create table novelty (id text not null primary key); create index lease_by_note on lease (note) where note is not null;
    insert into migration (name, checksum) values ('9999_expand', 'of a newer version'); commit";

#[tokio::test]
async fn ha_09_a_version_that_runs_goes_on_when_a_newer_one_expands_the_schema() {
    let server = shared();
    let mut replicas = Replicas::start(server, "expand", 2).await;
    let load = Load::start(&replicas);
    load.goes_on(40).await;
    tokio::task::spawn_blocking(|| shared().query("expand", EXPAND)).await.unwrap();
    load.goes_on(60).await;
    let seen = load.stop().await;
    assert_eq!((seen.cut, seen.unavailable, seen.refused), (0, 0, 0), "nobody notices");
    assert!(seen.longest_gap() <= Duration::from_secs(2), "{:?}", seen.longest_gap());
    seen.is_all_there(server, "expand");
    assert_eq!(replicas.get(0, "/v1/leases?live=true").await.unwrap().0, 200);
    // But a version that does not know the schema does not start on it: it cannot know what else has changed.
    replicas.signal(1, Signal::TERM);
    assert_eq!(replicas.ended(1).await.code(), Some(0));
    replicas.spawn(1);
    assert_eq!(replicas.ended(1).await.code(), Some(1));
    let log = replicas.stage.log();
    assert!(log.contains("9999_expand") && log.contains("run the newer version"), "{log}");
    assert_eq!(replicas.open(0, ASK).await.unwrap().0, 201);
}

#[tokio::test]
async fn ha_09_a_version_waits_for_its_schema_and_says_how_to_get_it() {
    let server = shared();
    let mut replicas = Replicas::prepare(server, "behind", 1);
    replicas.stage.configure("hallpass", "migrate = true\n", "migrate = false\n");
    replicas.spawn(0);
    assert_eq!(replicas.ended(0).await.code(), Some(1));
    assert!(replicas.stage.log().contains("run `hallpass migrate`"), "{}", replicas.stage.log());
    let mut migrate = Command::new(Path::new(env!("CARGO_BIN_EXE_hallpass")));
    let migrated = migrate.arg("migrate").current_dir(replicas.stage.folder.path()).env_clear().output().unwrap();
    assert!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
    replicas.spawn(0);
    replicas.ready(0).await;
}
