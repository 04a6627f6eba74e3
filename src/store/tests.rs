//! What cannot be seen from outside: how the database goes about the grouped statements.

#[expect(clippy::disallowed_types, reason = "a test that asks for the plan of literal statements")]
use sqlx::AssertSqlSafe;
use sqlx::Row as _;

use super::codec::Database;
use super::connect::{StoreSettings, Target};
use super::migrate::{Mode, migrate};
use super::tx::Change;

#[tokio::test]
async fn no_grouped_statement_scans_a_table() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("plans.db").display());
    let target = Target::new(&StoreSettings::new(url)).unwrap();
    target.create_file().unwrap();
    let mut writer = target.writer().await.unwrap();
    migrate(&mut writer, Database::Sqlite, Mode::Apply).await.unwrap();
    for (change, statement) in Change::ALL {
        let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {}", statement.sql.text(Database::Sqlite)));
        let plan = sqlx::query(explain).bind("[]").fetch_all(&mut writer).await.unwrap();
        let steps: Vec<String> = plan.iter().map(|row| row.get("detail")).collect();
        assert!(!steps.is_empty(), "{change:?}");
        let scans = steps.iter().filter(|step| step.starts_with("SCAN") && !step.starts_with("SCAN v VIRTUAL TABLE"));
        assert_eq!(scans.collect::<Vec<_>>(), Vec::<&String>::new(), "{change:?}: {steps:?}");
    }
}
