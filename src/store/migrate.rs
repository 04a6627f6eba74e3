//! Migrations: embedded in the binary, applied once each in their own transaction, recorded with their checksum. A schema
//! this binary does not know is refused, because guessing is how data is lost.

use sqlx::{AnyConnection, Connection as _, Executor as _, Row as _};

use super::{StoreError, unavailable};
use crate::sys::sha256;

macro_rules! migrations {
    ($($name:literal),+ $(,)?) => {
        /// Every migration in order: its name and its text.
        const MIGRATIONS: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../migrations/sqlite/", $name, ".sql")))),+];
    };
}

migrations! { "0001_tasks", "0002_access", "0003_leases", "0004_events", "0005_control", "0006_fewer_indexes",
"0007_delivery_and_ending" }

const CREATE: &str = "-- migrate.create
    CREATE TABLE IF NOT EXISTS migration (name TEXT NOT NULL PRIMARY KEY, checksum TEXT NOT NULL)";
const LIST: &str = "-- migrate.list
    SELECT name, checksum FROM migration ORDER BY name";
const INSERT: &str = "-- migrate.insert
    INSERT INTO migration (name, checksum) VALUES ($1, $2)";

/// Bring the schema to where this binary wants it.
pub(super) async fn migrate(connection: &mut AnyConnection) -> Result<(), StoreError> {
    // One at a time: two brokers that start together must not both apply.
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(unavailable)?;
    transaction.execute(CREATE).await.map_err(unavailable)?;
    let applied = transaction.fetch_all(LIST).await.map_err(unavailable)?;
    let mut known = MIGRATIONS.iter();
    for row in applied {
        let name: String = row.try_get("name").map_err(unavailable)?;
        let checksum: String = row.try_get("checksum").map_err(unavailable)?;
        match known.next() {
            Some((expected, text)) if *expected == name && sha256(text).to_string() == checksum => {}
            Some((expected, _)) if *expected == name => {
                return Err(StoreError::Corrupt(format!("migration {name} was applied with another text")));
            }
            Some(_) | None => {
                return Err(StoreError::Corrupt(format!(
                    "the database has the migration {name}, which this version does not know; run the newer version"
                )));
            }
        }
    }
    for (name, text) in known {
        transaction.execute(*text).await.map_err(unavailable)?;
        let record = sqlx::query(INSERT).bind(*name).bind(sha256(text).to_string());
        record.execute(&mut *transaction).await.map_err(unavailable)?;
    }
    transaction.commit().await.map_err(unavailable)
}
