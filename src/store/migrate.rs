//! Migrations: embedded in the binary, applied once each in their own transaction, recorded with their checksum. A schema
//! this binary does not know is refused, because guessing is how data is lost.

use sqlx::{AnyConnection, Executor as _, Row as _};

use super::codec::Database;
use super::{StoreError, group, unavailable};
use crate::sys::sha256;

/// A migration: its name, and its text for each database.
struct Migration {
    name: &'static str,
    sqlite: &'static str,
    postgres: &'static str,
}

impl Migration {
    const fn text(&self, database: Database) -> &'static str {
        match database {
            Database::Sqlite => self.sqlite,
            Database::Postgres => self.postgres,
        }
    }
}

macro_rules! migrations {
    ($($name:literal),+ $(,)?) => {
        /// Every migration in order.
        const MIGRATIONS: &[Migration] = &[$(Migration {
            name: $name,
            sqlite: include_str!(concat!("../../migrations/sqlite/", $name, ".sql")),
            postgres: include_str!(concat!("../../migrations/postgres/", $name, ".sql")),
        }),+];
    };
}

migrations! { "0001_tasks", "0002_access", "0003_leases", "0004_events", "0005_control", "0006_fewer_indexes",
"0007_delivery_and_ending", "0008_ending", "0009_lineage", "0010_rows", "0011_revocation_lists",
"0012_kept_secrets", "0013_approvals", "0014_people", "0015_sessions", "0016_passkeys", "0017_notices", "0018_authzen" }

const CREATE: &str = "-- migrate.create
    CREATE TABLE IF NOT EXISTS migration (name TEXT NOT NULL PRIMARY KEY, checksum TEXT NOT NULL)";
const LIST: &str = "-- migrate.list
    SELECT name, checksum FROM migration ORDER BY name";
const INSERT: &str = "-- migrate.insert
    INSERT INTO migration (name, checksum) VALUES ($1, $2)";

/// What to do about a schema that is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Bring it up to date.
    Apply,
    /// Refuse it.
    Check,
}

/// Bring the schema to where this binary wants it, or see that it is there; the names of what was applied.
pub(super) async fn migrate(
    connection: &mut AnyConnection,
    database: Database,
    mode: Mode,
) -> Result<Vec<&'static str>, StoreError> {
    // One at a time: two brokers that start together must not both apply.
    group::begin(connection, database).await?;
    let applied = apply(connection, database, mode).await;
    let end = if applied.is_ok() { "COMMIT" } else { "ROLLBACK" };
    connection.execute(end).await.map_err(unavailable)?;
    applied
}

async fn apply(
    connection: &mut AnyConnection,
    database: Database,
    mode: Mode,
) -> Result<Vec<&'static str>, StoreError> {
    connection.execute("SAVEPOINT look").await.map_err(unavailable)?;
    let applied = match connection.fetch_all(LIST).await {
        // An empty database has no such table. It is made only then: whoever may only read and write rows cannot, and need
        // not where nothing is to be done.
        Err(error) if error.as_database_error().is_some() => {
            connection.execute("ROLLBACK TO SAVEPOINT look").await.map_err(unavailable)?;
            if mode == Mode::Apply {
                connection.execute(CREATE).await.map_err(unavailable)?;
            }
            Vec::new()
        }
        listed => listed.map_err(unavailable)?,
    };
    let mut known = MIGRATIONS.iter();
    for row in applied {
        let name: String = row.try_get("name").map_err(unavailable)?;
        let checksum: String = row.try_get("checksum").map_err(unavailable)?;
        match known.next() {
            Some(expected) if expected.name == name => {
                if sha256(expected.text(database)).to_string() != checksum {
                    return Err(StoreError::Corrupt(format!("migration {name} was applied with another text")));
                }
            }
            Some(_) | None => {
                return Err(StoreError::Corrupt(format!(
                    "the database has the migration {name}, which this version does not know; run the newer version"
                )));
            }
        }
    }
    let missing: Vec<&Migration> = known.collect();
    if let (Mode::Check, Some(first)) = (mode, missing.first()) {
        return Err(StoreError::Corrupt(format!(
            "the database is behind: it lacks {} migrations, beginning with {}; run `hallpass migrate`",
            missing.len(),
            first.name
        )));
    }
    for migration in &missing {
        crate::sys::killpoint!(MigrateStatement);
        let text = migration.text(database);
        connection.execute(text).await.map_err(unavailable)?;
        let record = sqlx::query(INSERT).bind(migration.name).bind(sha256(text).to_string());
        record.execute(&mut *connection).await.map_err(unavailable)?;
    }
    crate::sys::killpoint!(MigrateBeforeCommit);
    Ok(missing.iter().map(|migration| migration.name).collect())
}
