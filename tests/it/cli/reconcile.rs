//! `hallpass reconcile`, as an operator runs it after a restore.

use std::path::Path;

use super::{hallpass, run};
use crate::support::loopback::{Wire, get};
use crate::support::process::Stage;

/// The status of `/readyz`, once somebody listens.
async fn readiness(stage: &Stage) -> u16 {
    let mut tries = tokio::time::interval(std::time::Duration::from_millis(20));
    for _ in 0..1500 {
        tries.tick().await;
        let Ok(mut wire) = Wire::connect(stage.address).await else { continue };
        if let Ok(answer) = wire.send(&get("/readyz", "")).await {
            return answer.status;
        }
    }
    panic!("it does not listen: {}", stage.log());
}

#[tokio::test]
async fn a_moved_database_is_reconciled_by_one_command_while_the_broker_is_stopped() {
    let stage = Stage::new(1);
    let executable = Path::new(env!("CARGO_BIN_EXE_hallpass"));
    let reconcile = |args: &[&str]| {
        run(hallpass().arg("reconcile").args(args).args(["--config", "hallpass.toml"]).current_dir(stage.folder.path()))
    };
    let mut broker = stage.start(executable);
    stage.ready().await;
    broker.kill().unwrap();
    broker.wait().unwrap();
    let data = stage.folder.path().join("data");
    let copy = data.join("copy");
    for file in ["hallpass.db", "hallpass.db-wal"] {
        std::fs::copy(data.join(file), &copy).unwrap();
        std::fs::rename(&copy, data.join(file)).unwrap();
    }
    drop(std::fs::remove_file(data.join("hallpass.db-shm")));

    let mut broker = stage.start(executable);
    assert_eq!(readiness(&stage).await, 503);
    assert!(stage.log().contains("hallpass reconcile"), "{}", stage.log());
    let (code, _, said) = reconcile(&["--complete", "--reason", "moved"]);
    assert!(code == 1 && said.contains("store-locked"), "{code} {said}");
    broker.kill().unwrap();
    broker.wait().unwrap();

    assert_eq!(reconcile(&["--reason", "moved"]).0, 2, "what happened must be said");
    assert_eq!(reconcile(&["--complete", "--fork", "--reason", "moved"]).0, 2, "and only one thing");
    assert_eq!(reconcile(&["--complete"]).0, 2, "and why");
    assert_eq!(reconcile(&["--complete", "--reason", "two\nlines"]).0, 2);
    let (code, out, said) = reconcile(&["--complete", "--reason", "moved", "--dry-run"]);
    assert!(code == 0 && out.contains("api") && said.contains("nothing was changed"), "{code} {out} {said}");
    let (code, out, said) = reconcile(&["--complete", "--reason", "moved", "-o", "json"]);
    assert!(
        code == 0 && out.contains("\"backend\": \"api\"") && said.contains("a new epoch is open"),
        "{code} {out} {said}"
    );

    let mut broker = stage.start(executable);
    stage.ready().await;
    broker.kill().unwrap();
    broker.wait().unwrap();
}
