//! When a server cannot: the store says so within a bound, changes nothing, and goes on once it can again. Whatever the other
//! tests run on, these run on servers of their own.

use std::time::Duration;

use hallpass::domain::TaskId;
use hallpass::store::{Store, StoreError, StoreSettings};

use super::fixture::*;
use crate::support::postgres::{self, Server};

async fn on(server: &Server) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let url = server.url(&folder.path().display().to_string());
    Fixture::on(folder, url).await
}

/// Open a task; which, and what came of it.
async fn write(f: &Fixture) -> (TaskId, Result<(), StoreError>) {
    let task = f.task(&agent("builder"));
    let mut tx = f.store.begin("open");
    tx.insert_task(&task);
    (task.id, tx.commit(f.fact()).await)
}

async fn write_until_it_works(f: &Fixture) {
    let mut tries = tokio::time::interval(Duration::from_millis(100));
    for _ in 0..100 {
        tries.tick().await;
        if write(f).await.1.is_ok() {
            return;
        }
    }
    panic!("it never works again: {:?}", write(f).await.1);
}

#[tokio::test]
async fn a_server_that_is_gone_is_unavailable_until_it_is_back() {
    let server = Server::start();
    let f = on(&server).await;
    let (kept, first) = write(&f).await;
    first.unwrap();
    server.crash();
    for _ in 0..3 {
        let (_, refused) = write(&f).await;
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    }
    assert!(matches!(f.store.find_task(kept).await, Err(StoreError::Unavailable(_))));
    server.resume();
    write_until_it_works(&f).await;
    f.store.probe_write().await.unwrap();
    let mut tries = tokio::time::interval(Duration::from_millis(100));
    while f.store.find_task(kept).await.is_err() {
        tries.tick().await;
    }
    assert!(f.store.find_task(kept).await.unwrap().is_some(), "what was answered is there");
}

#[tokio::test]
async fn what_a_cut_connection_did_not_write_is_not_there_and_what_it_wrote_is() {
    let f = on(postgres::shared()).await;
    let purpose = f.folder.path().display().to_string();
    let name = postgres::shared().name(&purpose);
    let cut = format!(
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}' and pid <> pg_backend_pid()"
    );
    let (mut written, mut refused) = (Vec::new(), Vec::new());
    for round in 0..12 {
        let writes = futures_util::future::join_all((0..8).map(|_| write(&f)));
        let cutting = async {
            for _ in 0..round {
                tokio::task::yield_now().await;
            }
            let (purpose, cut) = (purpose.clone(), cut.clone());
            tokio::task::spawn_blocking(move || postgres::shared().query(&purpose, &cut)).await.unwrap()
        };
        let (answers, _) = tokio::join!(writes, cutting);
        for (task, answer) in answers {
            match answer {
                Ok(()) => written.push(task),
                Err(StoreError::Unavailable(_)) => refused.push(task),
                Err(other) => panic!("the database can be asked what became of it: {other:?}"),
            }
        }
        write_until_it_works(&f).await;
    }
    let mut look = connect(&f.url()).await;
    for (tasks, there) in [(written, 1_i64), (refused, 0)] {
        for task in tasks {
            use sqlx::Row as _;
            let query = sqlx::query("SELECT count(*) AS found FROM task WHERE id = $1").bind(task.to_string());
            assert_eq!(query.fetch_one(&mut look).await.unwrap().get::<i64, _>("found"), there, "{task}");
        }
    }
}

#[tokio::test]
async fn a_server_that_may_lose_what_it_committed_or_cannot_write_is_refused() {
    let server = Server::start();
    let f = on(&server).await;
    let open = async || Store::open(&StoreSettings::new(f.url())).await.err().map(|error| error.to_string());
    assert_eq!(open().await, None);
    for (name, value) in [("fsync", "off"), ("full_page_writes", "off"), ("default_transaction_read_only", "on")] {
        server.set(name, value);
        let mut why = None;
        // The server hears of it a moment later.
        for _ in 0..200 {
            why = open().await;
            if why.is_some() {
                break;
            }
        }
        let why = why.unwrap_or_else(|| panic!("{name} = {value} is accepted"));
        assert!(why.contains(name) || why.contains("read-only"), "{why}");
        if name == "default_transaction_read_only" {
            break;
        }
        server.set(name, "on");
        while open().await.is_some() {}
    }
}
