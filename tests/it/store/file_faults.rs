//! When a file cannot: the store says so within a bound, changes nothing, and goes on once it can again. And a file is its
//! owner's and one broker's alone.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use hallpass::store::{Store, StoreError, StoreSettings};
use sqlx::{Executor as _, Row as _};

use super::fixture::*;
use crate::support::process::Stage;

#[tokio::test]
async fn the_file_is_its_owners_alone_and_durability_is_on() {
    let f = Fixture::on_a_file().await;
    f.store.probe_write().await.unwrap();
    for name in ["hallpass.db", "hallpass.db-wal"] {
        let mode = std::fs::metadata(f.folder.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let mut back = f.behind_our_back().await;
    let row = back.fetch_one("PRAGMA journal_mode").await.unwrap();
    assert_eq!(row.get::<String, _>(0), "wal");
}

#[tokio::test]
async fn a_database_held_by_another_is_unavailable_until_it_is_let_go() {
    let f = Fixture::on_a_file().await;
    let mut back = f.behind_our_back().await;
    back.execute("BEGIN IMMEDIATE").await.unwrap();
    let task = f.task(&agent("builder"));
    let open = || {
        let mut tx = f.store.begin("open");
        tx.insert_task(&task);
        tx.commit(f.fact())
    };
    let answers = futures_util::future::join_all([open(), open()]).await;
    assert!(answers.iter().all(|answer| matches!(answer, Err(StoreError::Unavailable(_)))), "{answers:?}");
    assert_eq!(f.store.find_task(task.id).await.unwrap(), None);
    back.execute("ROLLBACK").await.unwrap();
    open().await.unwrap();
    assert_eq!(f.store.find_task(task.id).await.unwrap(), Some(task));
}

/// Run as a process of its own, because the limit on the size of files holds for a whole process.
#[tokio::test]
#[ignore = "run by a_full_disk_is_unavailable_until_there_is_room"]
async fn child_that_runs_out_of_room() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let f = Fixture::on_a_file().await;
    let hard = getrlimit(Resource::Fsize).maximum;
    setrlimit(Resource::Fsize, Rlimit { current: Some(300_000), maximum: hard }).unwrap();
    let fill = || {
        let story = f.story(&agent("builder"));
        let mut tx = f.store.begin("fill");
        tx.insert_decision(&story.decision, None, None, &agent("builder"));
        (story.decision.id, tx.commit(f.fact()))
    };
    let mut refused = None;
    for _ in 0..2000 {
        let (id, answer) = fill();
        match answer.await {
            Ok(()) => assert!(f.store.find_decision(id).await.unwrap().is_some()),
            Err(error) => {
                assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
                assert_eq!(f.store.find_decision(id).await.unwrap(), None);
                refused = Some(id);
                break;
            }
        }
    }
    assert!(refused.is_some(), "the limit was never reached");
    setrlimit(Resource::Fsize, Rlimit { current: hard, maximum: hard }).unwrap();
    fill().1.await.unwrap();
    f.store.probe_write().await.unwrap();
    let mut back = f.behind_our_back().await;
    let row = back.fetch_one("PRAGMA integrity_check").await.unwrap();
    assert_eq!(row.get::<String, _>(0), "ok");
}

#[test]
fn a_full_disk_is_unavailable_until_there_is_room() {
    // The signal for a file that grows too large must be ignored for a write to fail instead.
    let output = std::process::Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$0\" --exact store::file_faults::child_that_runs_out_of_room --ignored"])
        .arg(std::env::current_exe().unwrap())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[tokio::test]
async fn sto_01_a_file_is_opened_with_full_durability_which_is_read_back() {
    let f = Fixture::on_a_file().await;
    f.store.close().await;
    let mut back = f.behind_our_back().await;
    // Whoever had it open with less leaves nothing of that behind.
    back.execute("PRAGMA journal_mode = DELETE").await.unwrap();
    drop(back);
    let store = Store::open(&StoreSettings::new(f.url())).await.unwrap();
    store.probe_write().await.unwrap();
    let mut back = f.behind_our_back().await;
    let row = back.fetch_one("PRAGMA journal_mode").await.unwrap();
    assert_eq!(row.get::<String, _>(0), "wal");
}

#[tokio::test]
async fn a_file_that_is_one_brokers_alone_is_refused_to_another() {
    let f = Fixture::on_a_file().await;
    f.store.close().await;
    let alone = StoreSettings { exclusive: true, ..StoreSettings::new(f.url()) };
    let first = Store::open(&alone).await.unwrap();
    let error = Store::open(&alone).await.err().unwrap().to_string();
    assert!(error.contains("store-locked") && error.contains("stop it first"), "{error}");
    let error = Store::migrate(&alone).await.unwrap_err().to_string();
    assert!(error.contains("store-locked"), "{error}");
    first.close().await;
    drop(first);
    Store::open(&alone).await.unwrap();
}

#[tokio::test]
async fn sto_02_a_second_process_on_the_same_file_does_not_start() {
    let stage = Stage::new(1);
    let executable = Path::new(env!("CARGO_BIN_EXE_hallpass"));
    let mut first = stage.start(executable);
    stage.ready().await;
    stage.add_replica("second");
    let mut second = stage.start_replica(executable, "second");
    let status = second.wait().unwrap();
    assert!(!status.success());
    assert!(stage.log().contains("store-locked"), "{}", stage.log());
    first.kill().unwrap();
    first.wait().unwrap();
    // What a killed process held is let go.
    let mut third = stage.start(executable);
    stage.ready().await;
    third.kill().unwrap();
    third.wait().unwrap();
}

#[tokio::test]
async fn sto_03_a_database_or_key_that_others_may_read_is_refused() {
    let f = Fixture::on_a_file().await;
    f.store.close().await;
    let file = f.folder.path().join("hallpass.db");
    let allow = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    for mode in [0o640, 0o604, 0o620, 0o660] {
        allow(&file, mode);
        let error = Store::open(&StoreSettings::new(f.url())).await.err().unwrap().to_string();
        assert!(error.contains("chmod 600"), "{mode:o}: {error}");
    }
    allow(&file, 0o600);
    Store::open(&StoreSettings::new(f.url())).await.unwrap();

    let stage = Stage::new(1);
    allow(&stage.folder.path().join("kek"), 0o640);
    let status = stage.start(Path::new(env!("CARGO_BIN_EXE_hallpass"))).wait().unwrap();
    assert!(!status.success());
    assert!(stage.log().contains("chmod 600"), "{}", stage.log());
}
