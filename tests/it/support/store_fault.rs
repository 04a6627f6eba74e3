//! A database that refuses one kind of write: a trigger behind the broker's back that raises for a chosen table and state, in
//! SQLite and PostgreSQL alike.

use std::path::Path;

use sqlx::{AnyConnection, Connection as _, Executor as _, Row as _};

use super::database;

/// A connection of somebody else to the store of a folder.
pub(crate) struct StoreFault {
    connection: AnyConnection,
    /// The table that has the trigger now.
    table: Option<&'static str>,
}

/// A write that can be made to fail: its table, `INSERT` or `UPDATE`, and for which rows.
pub(crate) type Target = (&'static str, &'static str, &'static str);

/// Every write on the way of a credential.
pub(crate) const TARGETS: &[Target] = &[
    ("task", "INSERT", "1 = 1"),
    ("task", "UPDATE", "NEW.state = 'closed'"),
    ("access_request", "INSERT", "1 = 1"),
    ("access_request", "UPDATE", "NEW.state = 'granted'"),
    ("approval", "INSERT", "1 = 1"),
    ("access_grant", "INSERT", "1 = 1"),
    ("access_grant", "UPDATE", "1 = 1"),
    ("lease", "INSERT", "NEW.state = 'minting'"),
    ("lease", "INSERT", "NEW.state = 'live'"),
    ("lease", "UPDATE", "NEW.state = 'live'"),
    ("lease", "UPDATE", "NEW.state = 'ending'"),
    ("lease", "UPDATE", "NEW.state = 'ended'"),
    ("event", "INSERT", "NEW.kind = 'credential.minted'"),
    ("event", "INSERT", "NEW.kind = 'lease.ending'"),
    ("event", "INSERT", "NEW.kind = 'lease.ended'"),
    ("event", "INSERT", "NEW.kind = 'credential.delivered'"),
    ("idempotency", "INSERT", "1 = 1"),
];

impl StoreFault {
    pub(crate) async fn behind(folder: &Path) -> Self {
        let connection = AnyConnection::connect(&database::url(folder)).await.unwrap();
        Self { connection, table: None }
    }

    /// From now on such a write is refused, and with it the transaction it is in.
    pub(crate) async fn raise(&mut self, (table, write, when): Target) {
        self.mend().await;
        let sql = if database::is_postgres() {
            format!(
                "CREATE OR REPLACE FUNCTION a_fault() RETURNS trigger LANGUAGE plpgsql AS \
                 $$ BEGIN RAISE EXCEPTION 'a fault was ordered'; END $$; \
                 CREATE TRIGGER a_fault BEFORE {write} ON {table} FOR EACH ROW WHEN ({when}) EXECUTE FUNCTION a_fault()"
            )
        } else {
            format!(
                "CREATE TRIGGER a_fault BEFORE {write} ON {table} WHEN {when} \
                 BEGIN SELECT RAISE(ABORT, 'a fault was ordered'); END"
            )
        };
        self.run(sql).await;
        self.table = Some(table);
    }

    /// Every write is taken again.
    pub(crate) async fn mend(&mut self) {
        if let Some(table) = self.table.take() {
            let on = if database::is_postgres() { format!(" ON {table}") } else { String::new() };
            self.run(format!("DROP TRIGGER a_fault{on}")).await;
        }
    }

    /// The fence of every lease.
    pub(crate) async fn fences(&mut self) -> Vec<(String, i64)> {
        let rows = self.connection.fetch_all("SELECT id, fence FROM lease ORDER BY id").await.unwrap();
        rows.iter().map(|row| (row.get("id"), row.get("fence"))).collect()
    }

    async fn run(&mut self, sql: String) {
        let sql = sqlx::AssertSqlSafe(sql);
        self.connection.execute(sqlx::raw_sql(sql)).await.unwrap();
    }
}
