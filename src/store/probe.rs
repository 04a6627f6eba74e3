//! The probe: one row that exists to be written, so that readiness can ask whether anything can.

use super::codec::{Database, Reader, grouped};
use super::tx::{Change, Expect, Statement};
use super::{Store, StoreError};
use crate::domain::Timestamp;

pub(super) const WRITE: Statement = Statement {
    table: "probe",
    expect: Expect::Any,
    sql: grouped!(
        "-- probe.write
        UPDATE probe SET writes = probe.writes + 1 FROM ",
        " WHERE probe.id = CAST(v.value->>0 AS BIGINT)"
    ),
};

const TIME: &str = "-- probe.time
    SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT) AS at";

impl Store {
    /// What the database's own clock says, where it has one.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    pub async fn database_time(&self) -> Result<Option<Timestamp>, StoreError> {
        match self.inner.queue.database {
            Database::Sqlite => Ok(None),
            Database::Postgres => self.find(sqlx::query(TIME), |row| Reader::new("clock", row).time("at")).await,
        }
    }

    /// Write something durably through the committer, as every change is.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Unknown`].
    pub async fn probe_write(&self) -> Result<(), StoreError> {
        let mut tx = self.begin("probe_write");
        tx.list.push(Change::Probe, |row| {
            row.int(1);
        });
        tx.commit_without_facts().await
    }
}
