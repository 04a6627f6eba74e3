//! The disk is full: a data folder that is a file system of a few megabytes, in a mount namespace of the broker's own.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;

use super::drive::{House, Minter, Reply};

/// What the file system holds: the empty database, its log, and a ballast that is thrown off to make room again.
const SIZE_KIB: u32 = 20 * 1024;
const BALLAST_KIB: u32 = 16 * 1024;

/// Start the broker with a small data folder; `None` where namespaces may not be made.
fn start(house: &House) -> Option<Child> {
    let allowed = Command::new("unshare").args(["-Urm", "true"]).stderr(Stdio::null()).status();
    if !allowed.is_ok_and(|status| status.success()) {
        return None;
    }
    let script = format!(
        "mkdir -p data && mount -t tmpfs -o size={SIZE_KIB}k,mode=0700 tmpfs data && \
         dd if=/dev/zero of=data/ballast bs=1k count={BALLAST_KIB} status=none && \
         (exec setpriv --pdeathsig KILL \"$0\" serve --config hallpass.toml) & wait"
    );
    let log = std::fs::File::create(house.stage.folder.path().join("log")).unwrap();
    let mut command = Command::new("unshare");
    command.args(["-Urm", "sh", "-c", &script, env!("CARGO_BIN_EXE_hallpass")]);
    command.current_dir(house.stage.folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    Some(command.spawn().unwrap())
}

/// Where the broker's ballast is, seen from outside its namespace.
fn ballast(house: &House, broker: &Child) -> PathBuf {
    let folder = house.stage.folder.path().strip_prefix("/").unwrap().join("data/ballast");
    PathBuf::from(format!("/proc/{}/root", broker.id())).join(folder)
}

async fn open(house: &House) -> Reply {
    let ask = json!({ "purpose": "read it ".repeat(200), "scopes": [house.read_scope()], "ttl_seconds": 600 });
    let reply = house.call("POST", "/v1/tasks", &house.stage.agent("bench-0"), Some(&ask), "").await;
    reply.unwrap_or_else(|_| panic!("no answer: {}", house.stage.log()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sto_04_a_full_disk_refuses_before_any_backend_is_asked_and_recovers() {
    if crate::support::database::is_postgres() {
        return;
    }
    let mut house = House::new(Minter::Outside).await;
    let Some(mut broker) = start(&house) else {
        eprintln!("no namespaces here; store::faults fills a file instead");
        return;
    };
    house.stage.ready().await;
    let mut opened = Vec::new();
    let refused = loop {
        let reply = open(&house).await;
        if reply.status != 201 {
            break reply;
        }
        house.note(&reply.body);
        opened.push(reply.body["id"].as_str().unwrap().to_owned());
        assert!(opened.len() < 5_000, "the disk is never full");
    };
    assert!(opened.len() > 10, "{} fit", opened.len());
    assert_eq!((refused.status, &refused.body["code"]), (503, &json!("storage-unavailable")), "{}", refused.body);
    // The one at the brink may have been made before its fact found no room; from now on nothing is.
    let made = house.outside.sandbox.ever_minted().len();
    for _ in 0..5 {
        let reply = open(&house).await;
        assert_eq!((reply.status, &reply.body["code"]), (503, &json!("storage-unavailable")), "{}", reply.body);
    }
    assert_eq!(house.outside.sandbox.ever_minted().len(), made, "a backend was asked without a record");
    // An end that cannot be recorded is refused, not claimed; with room again it is done. It is smaller than what was refused, so
    // the first few may still fit.
    let token = house.stage.agent("bench-0");
    let complete = async |task: &str| {
        let path = format!("/v1/tasks/{task}/complete");
        let ended = house.call("POST", &path, &token, Some(&json!({})), "").await;
        ended.map_or(0, |reply| reply.status)
    };
    let mut tasks = opened.iter();
    let unended = loop {
        let task = tasks.next().expect("an end that finds no room");
        match complete(task).await {
            200 => {}
            status => {
                assert_eq!(status, 503);
                break task;
            }
        }
    };
    std::fs::remove_file(ballast(&house, &broker)).unwrap();
    assert_eq!(complete(unended).await, 200, "{}", house.stage.log());
    assert_eq!(open(&house).await.status, 201);
    let all = json!({ "target": { "agent": "bench-0" }, "reason": "a test is over" });
    let revoked = house.call("POST", "/v1/revocations", &house.stage.operator(), Some(&all), "").await;
    assert_eq!(revoked.map_or(0, |reply| reply.status), 200);
    let mut tries = tokio::time::interval(Duration::from_millis(200));
    let ending = async {
        while !house.outside.honoured().is_empty() {
            tries.tick().await;
        }
    };
    let ended = tokio::time::timeout(Duration::from_mins(1), ending).await;
    broker.kill().unwrap();
    broker.wait().unwrap();
    assert!(ended.is_ok(), "still honoured: {:?}", house.outside.honoured());
}
