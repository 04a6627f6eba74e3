//! The probe: one row that exists to be written, so that readiness can ask whether anything can.

use super::codec::grouped;
use super::tx::{Change, Expect, Statement};
use super::{Store, StoreError};

pub(super) const WRITE: Statement = Statement {
    table: "probe",
    expect: Expect::Any,
    sql: grouped!(
        "-- probe.write
        UPDATE probe SET writes = probe.writes + 1 FROM ",
        " WHERE probe.id = CAST(v.value->>0 AS BIGINT)"
    ),
};

impl Store {
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
