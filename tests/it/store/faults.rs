//! What either database refuses before anything is served.

use hallpass::store::{Store, StoreError, StoreSettings};
use sqlx::Executor as _;

use super::fixture::*;

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
async fn a_url_that_names_no_database_is_refused() {
    for url in [
        "postgres://127.0.0.1:1/x?sslmode=disable",
        "sqlite:",
        "sqlite::memory:",
        "sqlite:/nowhere/at/all.db",
        "sqlite:a?mode=ro",
    ] {
        let error = Store::open(&StoreSettings::new(url)).await.err();
        assert!(matches!(error, Some(StoreError::Unavailable(_))), "{url}");
    }
}

#[tokio::test]
async fn a_url_with_a_password_in_it_is_refused_without_repeating_it() {
    let error = Store::open(&StoreSettings::new("postgres://hallpass:hunter2@127.0.0.1/x")).await.err().unwrap();
    let error = error.to_string();
    assert!(error.contains("store.password") && !error.contains("hunter2"), "{error}");
}

#[tokio::test]
async fn a_schema_that_is_behind_is_refused_unless_it_may_be_migrated() {
    let folder = tempfile::tempdir().unwrap();
    let behind = StoreSettings { migrate: false, ..StoreSettings::new(url(&folder)) };
    let error = Store::open(&behind).await.err().unwrap();
    assert!(matches!(&error, StoreError::Corrupt(why) if why.contains("run `hallpass migrate`")), "{error}");
    let applied = Store::migrate(&behind).await.unwrap();
    let there = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/sqlite")).unwrap().count();
    assert!(applied.first() == Some(&"0001_tasks") && applied.len() == there && applied.is_sorted(), "{applied:?}");
    assert_eq!(Store::migrate(&behind).await.unwrap(), Vec::<&str>::new());
    Store::open(&behind).await.unwrap().probe_write().await.unwrap();
}

/// STO-08: a process that dies in the middle of a migration leaves it to the next one, from the start.
#[tokio::test]
async fn sto_08_a_migration_that_was_cut_off_at_any_statement_is_done_by_the_next_start() {
    let database = if crate::support::database::is_postgres() { "postgres" } else { "sqlite" };
    let read = |name: &str| {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(database);
        std::fs::read_to_string(folder.join(format!("{name}.sql"))).unwrap()
    };
    let names = Store::migrate(&StoreSettings::new(url(&tempfile::tempdir().unwrap()))).await.unwrap();
    // Triggers have semicolons inside, so that file is one statement here.
    let mut statements: Vec<String> =
        vec!["CREATE TABLE migration (name TEXT NOT NULL PRIMARY KEY, checksum TEXT)".into()];
    for name in names {
        let text = read(name);
        if text.contains("TRIGGER") {
            statements.push(text);
        } else {
            statements.extend(text.split(";\n").map(str::to_owned).filter(|one| !one.trim().is_empty()));
        }
    }
    assert!(statements.len() > 20, "{}", statements.len());
    let folder = tempfile::tempdir().unwrap();
    if database == "sqlite" {
        use std::os::unix::fs::OpenOptionsExt as _;
        let file = folder.path().join("hallpass.db");
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).unwrap();
    }
    for cut in 1..=statements.len() {
        let mut dying = connect(&url(&folder)).await;
        dying.execute("BEGIN").await.unwrap();
        for statement in &statements[..cut] {
            dying.execute(sqlx::AssertSqlSafe(statement.clone())).await.unwrap();
        }
        drop(dying);
    }
    let store = Store::open(&StoreSettings::new(url(&folder))).await.unwrap();
    store.probe_write().await.unwrap();
    assert_eq!(Store::migrate(&StoreSettings::new(url(&folder))).await.unwrap(), Vec::<&str>::new());
}
