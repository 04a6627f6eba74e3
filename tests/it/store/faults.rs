//! When the database cannot: the store says so within a bound, changes nothing, and goes on once it can again.

use std::os::unix::fs::PermissionsExt as _;

use hallpass::store::{Store, StoreError, StoreSettings};
use sqlx::{Executor as _, Row as _};

use super::fixture::*;

#[tokio::test]
async fn the_file_is_its_owners_alone_and_durability_is_on() {
    let f = Fixture::new().await;
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
    let f = Fixture::new().await;
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
    let f = Fixture::new().await;
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
    assert!(f.store.probe_write().await.is_err());
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
        .args(["-c", "trap '' XFSZ; exec \"$0\" --exact store::faults::child_that_runs_out_of_room --ignored"])
        .arg(std::env::current_exe().unwrap())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[tokio::test]
async fn a_schema_that_is_not_known_is_refused() {
    let f = Fixture::new().await;
    f.store.close().await;
    let mut back = f.behind_our_back().await;
    let open = async || Store::open(&StoreSettings::new(f.url())).await.err().map(|error| error.to_string());
    back.execute("INSERT INTO migration (name, checksum) VALUES ('9999_later', 'sha256:0')").await.unwrap();
    let error = open().await.unwrap();
    assert!(error.contains("9999_later") && error.contains("newer version"), "{error}");
    back.execute("DELETE FROM migration WHERE name = '9999_later'").await.unwrap();
    assert_eq!(open().await, None);
    back.execute("UPDATE migration SET checksum = 'sha256:0' WHERE name = '0003_leases'").await.unwrap();
    let error = open().await.unwrap();
    assert!(error.contains("0003_leases") && error.contains("another text"), "{error}");
}

#[tokio::test]
async fn a_url_that_names_no_file_is_refused() {
    for url in ["postgres://localhost/x", "sqlite:", "sqlite::memory:", "sqlite:/nowhere/at/all.db", "sqlite:a?mode=ro"]
    {
        let error = Store::open(&StoreSettings::new(url)).await.err();
        assert!(matches!(error, Some(StoreError::Unavailable(_))), "{url}");
    }
}
