//! Clocks that are wrong: the executable runs on a machine whose clock is off from the start, or is set while credentials live.
//! The clock is bent by libfaketime (Debian package `faketime`); where that is not installed, these tests say so and end.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use hallpass::domain::Timestamp;
use serde_json::Value;

use super::{ASK, Replicas, for_a_while, text, until};
use crate::support::database;
use crate::support::postgres::shared;
use crate::support::process::Stage;

/// A life short enough to wait for.
const BRIEF: &str = r#"{"purpose":"Read the release list","scopes":["api:releases:read"],"ttl_seconds":4}"#;

/// What bends the clock of a process, if it is installed.
fn library() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.flatten();
    let found = folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1")).find(|path| path.exists());
    if found.is_none() {
        eprintln!("libfaketime is not installed, so nothing was tested (Debian package: faketime)");
    }
    found
}

/// A clock that a test sets: the environment of a process, and the file that says how far off it is. Only the time of day
/// jumps; time passes as it does.
struct BentClock {
    file: PathBuf,
    environment: Vec<(&'static str, String)>,
}

impl BentClock {
    fn new(stage: &Stage) -> Option<Self> {
        let file = stage.folder.path().join("clock");
        std::fs::write(&file, "+0\n").unwrap();
        let environment = vec![
            ("LD_PRELOAD", library()?.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", file.display().to_string()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("DONT_FAKE_MONOTONIC", "1".to_owned()),
        ];
        Some(Self { file, environment })
    }

    fn set(&self, offset: &str) {
        let new = self.file.with_extension("new");
        std::fs::write(&new, format!("{offset}\n")).unwrap();
        std::fs::rename(new, &self.file).unwrap();
    }
}

/// One replica whose clock can be bent, on the database that this run is on.
async fn one() -> Option<(Replicas, BentClock)> {
    let folder = tempfile::tempdir().unwrap();
    let url = if database::is_postgres() { database::url(folder.path()) } else { "sqlite:hallpass.db".to_owned() };
    let mut replicas = Replicas::on(url, 1);
    let clock = BentClock::new(&replicas.stage)?;
    replicas.spawn_in(0, &clock.environment);
    replicas.ready(0).await;
    Some((replicas, clock))
}

async fn part(replicas: &Replicas, number: usize, name: &str) -> String {
    replicas.get(number, "/readyz").await.map_or_else(String::new, |(_, view)| text(&view["parts"][name]))
}

async fn hold(replicas: &Replicas, ask: &str) -> String {
    let (status, held) = replicas.open(0, ask).await.unwrap();
    assert_eq!(status, 201, "{held}");
    text(&held["credentials"][0]["values"]["access_token"])
}

#[tokio::test]
async fn ha_08_a_replica_whose_clock_is_off_is_not_ready_and_mints_nothing() {
    let Some(library) = library() else { return };
    let mut replicas = Replicas::prepare(shared(), "ha_08", 3);
    for (number, offset) in ["+0", "+300", "-300"].into_iter().enumerate() {
        let environment = [("LD_PRELOAD", library.display().to_string()), ("FAKETIME", offset.to_owned())];
        replicas.spawn_in(number, &environment);
    }
    replicas.ready(0).await;
    assert_eq!(replicas.open(0, ASK).await.unwrap().0, 201);
    for number in [1, 2] {
        until(Duration::from_secs(10), "it answers", async || replicas.get(number, "/readyz").await.is_some()).await;
        let (status, view) = replicas.get(number, "/readyz").await.unwrap();
        assert_eq!((status, view["parts"]["clock"].as_str()), (503, Some("failing")), "{view}");
        let (status, problem) = replicas.open(number, ASK).await.unwrap();
        assert_eq!((status, problem["code"].as_str()), (503, Some("clock-unsure")), "{problem}");
    }
    let log = std::fs::read_to_string(replicas.stage.folder.path().join("log")).unwrap();
    assert!(log.contains("s ahead of the database's") && log.contains("s behind the database's"), "{log}");
}

#[tokio::test]
async fn clk_01_a_clock_that_jumps_ahead_by_an_hour_ends_what_is_over_then() {
    let Some((replicas, clock)) = one().await else { return };
    let token = hold(&replicas, ASK).await;
    assert!(replicas.is_active(0, &token).await);
    clock.set("+3600");
    if database::is_postgres() {
        // The database's clock did not jump, so nothing is over; and this replica stands back.
        until(Duration::from_secs(5), "it notices", async || part(&replicas, 0, "clock").await == "failing").await;
        assert_eq!(replicas.open(0, ASK).await.unwrap().1["code"], "clock-unsure");
        assert!(replicas.is_active(0, &token).await, "it did not end early");
        clock.set("+0");
        until(Duration::from_secs(5), "it notices", async || part(&replicas, 0, "clock").await == "ok").await;
        assert_eq!(replicas.open(0, ASK).await.unwrap().0, 201);
        return;
    }
    assert!(!replicas.is_active(0, &token).await);
    until(Duration::from_secs(5), "it is on record as ended", async || {
        let page = replicas.get(0, "/v1/leases?live=true").await;
        page.is_some_and(|(_, page)| page["items"].as_array().is_some_and(Vec::is_empty))
    })
    .await;
}

#[tokio::test]
async fn clk_02_a_clock_that_jumps_back_by_an_hour_lets_nothing_live_longer() {
    let Some((replicas, clock)) = one().await else { return };
    let revoked = hold(&replicas, ASK).await;
    assert_eq!(replicas.revoke(0, r#"{"agent":"bench-0"}"#).await.unwrap().0, 200);
    let (token, since) = (hold(&replicas, BRIEF).await, Instant::now());
    clock.set("-3600");
    until(Duration::from_secs(5), "it notices", async || part(&replicas, 0, "clock").await == "failing").await;
    assert_eq!(replicas.open(0, ASK).await.unwrap().1["code"], "clock-unsure");
    assert!(since.elapsed() > Duration::from_secs(3) || replicas.is_active(0, &token).await, "it did not end early");
    while since.elapsed() < Duration::from_millis(4_100) {
        for_a_while(50).await;
    }
    assert!(!replicas.is_active(0, &token).await, "its four seconds are over");
    assert!(!replicas.is_active(0, &revoked).await, "what was revoked stays revoked");
    until(Duration::from_secs(5), "it is on record as ended", async || {
        let page = replicas.get(0, "/v1/leases?live=true").await;
        page.is_some_and(|(_, page)| page["items"].as_array().is_some_and(Vec::is_empty))
    })
    .await;
    let page = replicas.get(0, "/v1/events?agent=bench-0&limit=200").await;
    let (status, page) = page.unwrap_or_else(|| panic!("no answer: {}", replicas.stage.log()));
    assert_eq!(status, 200, "{page}");
    let at = |event: &Value| event["event"]["at"].as_str().unwrap().parse::<Timestamp>().unwrap();
    let times: Vec<Timestamp> = page["items"].as_array().unwrap().iter().map(at).collect();
    // What is recorded in the same commit may have happened in another order, some milliseconds apart.
    let goes_back = times.windows(2).any(|pair| pair[0].millis_since(pair[1]) > 1_000);
    assert!(times.len() > 4 && !goes_back, "{times:?}");
}
